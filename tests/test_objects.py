"""Changes of Kubernetes objects over real HTTP: sent, read back, compared, taken back."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from clusters import Practice, client, deployment, pod, practice, service

from smoldebug.appliers import KubeApplier
from smoldebug.clock import FakeClock, SystemClock
from smoldebug.errors import AccessDenied, ChangeRefused, Conflict, NotFound, UnreachableError
from smoldebug.fieldvalues import same
from smoldebug.lab.apifaults import Rule
from smoldebug.pointers import diff, lookup, operations
from smoldebug.records import Budget, Change, ChangeKind, ObjectRef
from smoldebug.sources.fakes import FakeCluster
from smoldebug.sources.kube import KubeCluster
from smoldebug.sources.kube_writes import ANNOTATION
from smoldebug.sources.world import Object

AUTH = ObjectRef("Deployment", "shop", "auth")
CONFIG = ObjectRef("ConfigMap", "shop", "auth")
WEB = "/spec/template/spec/containers/[name=web]"
NOTE, UNDO = "7f3a C1", "7f3a undo C1"


def config_map(name: str = "auth", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "shop"},
        "data": data or {"level": "info"},
    }


class Later:
    """The system's clock, some seconds on."""

    def now(self) -> Any:
        return SystemClock().now() + timedelta(seconds=12)

    monotonic, sleep = FakeClock().monotonic, FakeClock().sleep


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Practice]:
    objects = deployment(env=[{"name": "A", "value": "1"}]), config_map(), service()
    with practice(tmp_path, *objects) as found:
        yield found


@pytest.fixture
def cluster(here: Practice) -> Iterator[KubeCluster]:
    with client(here) as found:
        yield found


@pytest.fixture
def applier(cluster: KubeCluster) -> KubeApplier:
    return KubeApplier(lambda: cluster, clock=Later())


Edit = Callable[[Object], Any]


def proposed(
    cluster: Any, edit: Edit, kind: ChangeKind = ChangeKind.PATCH_OBJECT, target: ObjectRef = AUTH
) -> Change:
    """What a tool makes of a wish."""
    live = cluster.get(target)
    wanted = copy.deepcopy(live)
    edit(wanted)
    before, after = diff(live, wanted)
    return Change(kind, target, before, after, "why", uid=live["metadata"]["uid"])


def edited(cluster: KubeCluster, edit: Edit, target: ObjectRef = AUTH) -> None:
    """Somebody else's edit."""
    live = cluster.get(target)
    change = proposed(cluster, edit, target=target)
    cluster.patch(target, operations(change, live), dry_run=False, note="")


def container(item: Object) -> Object:
    return item["spec"]["template"]["spec"]["containers"][0]


def scaled(item: Object) -> None:
    item["spec"]["replicas"] = 3


def created(**data: str) -> Change:
    manifest = config_map("new", **data)
    target = ObjectRef("ConfigMap", "shop", "new")
    return Change(ChangeKind.CREATE_OBJECT, target, {}, {"": manifest}, "why")


def deleted(cluster: Any, target: ObjectRef = CONFIG) -> Change:
    live = cluster.get(target)
    uid = live["metadata"]["uid"]
    return Change(ChangeKind.DELETE_OBJECT, target, {"": live}, {}, "why", uid=uid)


# --- there and back ------------------------------------------------------------------------------

EDITS: dict[str, Edit] = {
    "a number": scaled,
    "an image": lambda item: container(item).update(image="auth:2"),
    "a variable": lambda item: container(item)["env"][0].update(value="2"),
    "another variable": lambda item: container(item)["env"].append({"name": "B", "value": "2"}),
    "no variable": lambda item: container(item).pop("env"),
    "a probe": lambda item: container(item).update(
        livenessProbe={"httpGet": {"path": "/health", "port": 8080}}
    ),
    "resources": lambda item: container(item).update(resources={"limits": {"cpu": "0.5"}}),
    "a command": lambda item: container(item).update(command=["sleep", "1"]),
    "a label": lambda item: item["metadata"].update(labels={"a/b": "c"}),
    "a port": lambda item: container(item).update(ports=[{"containerPort": 8080}]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_is_sent_read_back_and_taken_back(cluster, applier, edit: Edit):
    live = cluster.get(AUTH)
    change = proposed(cluster, edit)
    preview = applier.preview(change, NOTE)
    assert preview.dry_run == "accepted"
    assert cluster.get(AUTH) == live
    assert not applier.holds(change, NOTE)
    assert applier.apply(change, NOTE).startswith("resourceVersion ")
    assert applier.holds(change, NOTE)
    assert applier.drift(change, NOTE) == ""
    inverse = change.inverse()
    assert not applier.holds(inverse, UNDO)
    applier.apply(inverse, UNDO)
    assert applier.holds(inverse, UNDO)
    assert same("/spec", cluster.get(AUTH)["spec"], live["spec"])


def test_what_is_created_is_deleted_again(cluster, applier):
    change = created(level="debug")
    assert applier.preview(change, NOTE).dry_run == "accepted"
    assert not any(item["metadata"]["name"] == "new" for item in cluster.list("cm", "shop"))
    assert applier.apply(change, NOTE).startswith("created at resourceVersion ")
    assert applier.holds(change, NOTE)
    assert applier.drift(change, NOTE) == ""
    assert not applier.holds(change, "7f3a C2")
    inverse = change.inverse()
    assert applier.preview(inverse, UNDO).dry_run == "accepted"
    assert applier.apply(inverse, UNDO).startswith("deleted at ")
    assert applier.holds(inverse, UNDO)


@pytest.mark.parametrize("target", [CONFIG, AUTH, ObjectRef("Service", "shop", "auth")], ids=str)
def test_what_is_deleted_is_made_again_as_it_was(cluster, applier, target: ObjectRef):
    live = cluster.get(target)
    change = deleted(cluster, target)
    assert applier.preview(change, NOTE).dry_run == "accepted"
    applier.apply(change, NOTE)
    assert applier.holds(change, NOTE)
    assert applier.drift(change, NOTE) == ""
    inverse = change.inverse()
    applier.apply(inverse, UNDO)
    assert applier.holds(inverse, UNDO)
    again = cluster.get(target)
    assert {key: again.get(key) for key in ("spec", "data")} == {
        key: live.get(key) for key in ("spec", "data")
    }
    assert again["metadata"]["annotations"][ANNOTATION] == UNDO


def test_a_card_shows_of_a_deleted_object_what_a_manifest_would_say(cluster, applier):
    shown = applier.preview(deleted(cluster), NOTE).diff
    assert "-data:" in shown
    assert "managedFields" not in shown
    assert "resourceVersion" not in shown


def test_what_was_never_deleted_is_as_before(cluster, applier):
    change = deleted(cluster)
    assert not applier.holds(change, NOTE)
    assert applier.holds(change.inverse(), NOTE)
    edited(cluster, lambda item: item["data"].update(level="warn"), CONFIG)
    assert not applier.holds(change.inverse(), NOTE)


def applied(cluster: KubeCluster, edit: Edit, **manifest: Any) -> Change:
    change = proposed(cluster, edit, ChangeKind.APPLY_OBJECT, CONFIG)
    return replace(change, manifest={**config_map(), **manifest})


def test_an_apply_sets_what_its_manifest_says_and_is_patched_back(cluster, applier):
    change = applied(cluster, lambda item: item["data"].update(more="x"), data={"more": "x"})
    assert applier.preview(change, NOTE).dry_run == "accepted"
    applier.apply(change, NOTE)
    assert applier.holds(change, NOTE)
    assert cluster.get(CONFIG)["data"] == {"level": "info", "more": "x"}
    inverse = change.inverse()
    assert inverse.kind is ChangeKind.PATCH_OBJECT
    applier.apply(inverse, UNDO)
    assert cluster.get(CONFIG)["data"] == {"level": "info"}


def test_an_apply_takes_no_field_away_from_its_owner(cluster, applier):
    change = applied(cluster, lambda item: item["data"].update(level="x"), data={"level": "x"})
    for send in (applier.preview, applier.apply):
        with pytest.raises(Conflict, match=r"conflict with .*\.data\.level"):
            send(change, NOTE)


def test_the_note_of_an_earlier_run_is_no_conflict(cluster, applier):
    edited(cluster, scaled)
    cluster.patch(CONFIG, [], dry_run=False, note="0000 C9")
    change = applied(cluster, lambda item: item["data"].update(more="x"), data={"more": "x"})
    applier.apply(change, NOTE)
    assert applier.holds(change, NOTE)


def test_a_debug_container_is_added_to_a_pod(here, cluster, applier):
    here.add(pod("auth-1"))
    target = ObjectRef("Pod", "shop", "auth-1")
    added = {"name": "debug-1", "image": "busybox", "command": ["sh"], "targetContainerName": "web"}
    change = Change(
        ChangeKind.DEBUG_CONTAINER,
        target,
        {},
        {"/spec/ephemeralContainers/[name=debug-1]": added},
        "why",
        no_undo="a container cannot be taken out of a running pod",
        uid=cluster.get(target)["metadata"]["uid"],
    )
    preview = applier.preview(change, NOTE)
    assert preview.dry_run == "accepted"
    assert preview.command.endswith(
        "-n shop debug auth-1 --image=busybox --container=debug-1 --target=web -- sh"
    )
    applier.apply(change, NOTE)
    assert applier.holds(change, NOTE)


# --- what the card shows ---------------------------------------------------------------------


def test_the_preview_has_the_fields_the_whole_object_and_the_command(cluster, applier):
    preview = applier.preview(proposed(cluster, scaled, ChangeKind.SCALE), NOTE)
    assert preview.diff == "-spec.replicas: 2\n+spec.replicas: 3"
    assert "-  replicas: 2" in preview.full_diff.splitlines()
    assert "+  replicas: 3" in preview.full_diff.splitlines()
    for noise in ("managedFields", "resourceVersion", "generation", "status"):
        assert noise not in preview.full_diff
    assert preview.command == "kubectl --context lab -n shop scale deployment/auth --replicas=3"


def test_a_keyed_pointer_is_in_no_command(cluster, applier):
    for edit in EDITS.values():
        assert "[name=" not in applier.preview(proposed(cluster, edit), NOTE).command


def test_what_admission_changes_besides_is_told():
    class Webhook(FakeCluster):
        def patch(self, *args: Any, **named: Any) -> Object:
            answer = super().patch(*args, **named)
            answer["spec"]["paused"] = True
            return answer

    cluster = Webhook([deployment()])
    cluster.objects[AUTH]["metadata"]["uid"] = "u1"
    preview = KubeApplier(lambda: cluster).preview(proposed(cluster, scaled), NOTE)
    assert preview.dry_run == "accepted · also changes: spec.paused"


def test_secrets_show_nowhere_in_a_preview(here, cluster, applier):
    token = "c3VwZXJzZWNyZXQxMjM="
    secret = {**config_map("keys"), "kind": "Secret", "data": {"blob": token}}
    here.add(secret)
    target = ObjectRef("Secret", "shop", "keys")
    changes = [
        proposed(cluster, lambda item: item["data"].update(blob="b3RoZXJzZWNyZXQ5"), target=target),
        deleted(cluster, target),
        proposed(
            cluster,
            lambda item: container(item)["env"].append(
                {"name": "DB_PASSWORD", "value": "hunter2!"}
            ),
        ),
    ]
    for change in changes:
        shown = str(applier.preview(change, NOTE))
        for value in (token, "supersecret123", "b3RoZXJzZWNyZXQ5", "hunter2!"):
            assert value not in shown
    applier.apply(changes[0], NOTE)
    edited(cluster, lambda item: item["data"].update(blob="dGhpcmRzZWNyZXQ3"), target)
    drift = applier.drift(changes[0], NOTE)
    assert drift.startswith("data.blob: before [secret:")
    assert "dGhpcmRzZWNyZXQ3" not in drift


# --- who else was there ----------------------------------------------------------------------


def test_a_touched_field_that_moved_is_a_conflict_that_says_whose(cluster, applier):
    change = proposed(cluster, scaled)
    edited(cluster, lambda item: item["spec"].update(replicas=5))
    for send in (applier.preview, applier.apply):
        with pytest.raises(Conflict, match=r"spec\.replicas: was 2, is 5 \(set by smoldebug 1\ds"):
            send(change, NOTE)
    assert cluster.get(AUTH)["spec"]["replicas"] == 5


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_what_others_do_elsewhere_meanwhile_does_not_matter(here, cluster, edit: Edit):
    """Somebody writes between the reading of the object and the sending of the patch."""
    change = proposed(cluster, edit)
    others = iter([lambda item: item["spec"].update(minReadySeconds=7)])

    class Busy:
        context = "lab"

        def get(self, ref: ObjectRef) -> Object:
            found = cluster.get(ref)
            for other in others:
                edited(cluster, other)
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(cluster, name)

    applier = KubeApplier(Busy)  # type: ignore[arg-type]
    applier.apply(change, NOTE)
    assert applier.holds(change, NOTE)
    assert cluster.get(AUTH)["spec"]["minReadySeconds"] == 7


def test_a_sibling_that_others_add_stays_when_ours_is_taken_back(cluster, applier):
    change = proposed(cluster, lambda item: container(item)["env"][0].update(value="2"))
    applier.apply(change, NOTE)
    edited(cluster, lambda item: container(item)["env"].insert(0, {"name": "X", "value": "9"}))
    edited(cluster, lambda item: container(item).update(image="auth:9"))
    assert applier.drift(change, NOTE) == ""
    applier.apply(change.inverse(), UNDO)
    assert container(cluster.get(AUTH))["env"] == [
        {"name": "X", "value": "9"},
        {"name": "A", "value": "1"},
    ]


def test_drift_shows_before_ours_and_now(cluster, applier):
    change = proposed(cluster, scaled)
    applier.apply(change, NOTE)
    edited(cluster, lambda item: item["spec"].update(replicas=5))
    said = applier.drift(change, NOTE)
    assert said.startswith("spec.replicas: before 2, ours 3, now 5 (set by smoldebug 1")
    with pytest.raises(Conflict):
        applier.apply(change.inverse(), UNDO)


def test_a_field_that_is_still_recorded_as_ours_is_not_said_to_be_set_by_us():
    """Older servers do not record who scales through the scale subresource."""
    live = deployment(replicas=5)
    fields = {"f:spec": {"f:replicas": {}}}
    live["metadata"]["managedFields"] = [{"manager": "smoldebug-7f3a", "fieldsV1": fields}]
    live["metadata"]["annotations"] = {ANNOTATION: NOTE}
    cluster = FakeCluster([live])
    change = Change(ChangeKind.SCALE, AUTH, {"/spec/replicas": 2}, {"/spec/replicas": 3}, "why")
    applier = KubeApplier(lambda: cluster)
    assert applier.drift(change, NOTE) == "spec.replicas: before 2, ours 3, now 5"
    live["metadata"]["annotations"] = {ANNOTATION: "7f3a C2"}
    assert applier.drift(change, NOTE).endswith("now 5 (set by smoldebug-7f3a)")


def test_somebody_elses_object_is_neither_ours_nor_deleted(here, cluster, applier):
    change = created(level="debug")
    here.add(config_map("new", level="debug"))
    assert not applier.holds(change, NOTE)
    assert "was not made by this run" in applier.drift(change, NOTE)
    with pytest.raises(Conflict, match="was not made by this run"):
        applier.apply(change.inverse(), UNDO)
    with pytest.raises(Conflict, match="already exists"):
        applier.apply(change, NOTE)


def test_a_created_object_that_somebody_changed_is_not_deleted(cluster, applier):
    change = created(level="debug")
    applier.apply(change, NOTE)
    edited(cluster, lambda item: item["data"].update(level="warn"), change.target)
    assert "data.level: ours debug, now warn (set by smoldebug" in applier.drift(change, NOTE)
    with pytest.raises(Conflict, match=r"data\.level"):
        applier.apply(change.inverse(), UNDO)


def test_what_somebody_added_is_not_lost_with_a_created_object(cluster, applier):
    change = created(level="debug")
    applier.apply(change, NOTE)
    assert not applier.drift(change, NOTE), "what a server adds is nobody's edit"
    edited(cluster, lambda item: item["data"].update(more="x"), change.target)
    assert "data.more: ours absent, now x (set by smoldebug" in applier.drift(change, NOTE)
    with pytest.raises(Conflict, match=r"data\.more"):
        applier.apply(change.inverse(), UNDO)
    assert cluster.get(change.target)["data"] == {"level": "debug", "more": "x"}


def test_another_of_the_same_name_is_not_touched(here, cluster, applier):
    patch, delete = proposed(cluster, lambda i: i["data"].update(a="b"), target=CONFIG), None
    delete = deleted(cluster)
    applier.apply(delete, NOTE)
    here.add(config_map(level="info"))
    assert "another" in applier.drift(delete, NOTE)
    for change in (patch, delete):
        with pytest.raises(Conflict, match="another"):
            applier.apply(change, NOTE)
    assert applier.holds(delete, NOTE)


def test_an_object_that_changed_since_is_not_deleted(cluster, applier):
    change = deleted(cluster)
    edited(cluster, lambda item: item["data"].update(level="warn"), CONFIG)
    with pytest.raises(Conflict, match=r"data\.level"):
        applier.apply(change, NOTE)
    assert cluster.get(CONFIG)["data"] == {"level": "warn"}


@pytest.mark.parametrize(
    "edit",
    [
        lambda item: item["data"].update(more="x"),
        lambda item: item["metadata"].update(labels={"team": "shop"}),
    ],
)
def test_what_was_added_since_is_not_lost_with_a_deleted_object(cluster, applier, edit: Edit):
    change = deleted(cluster)
    edited(cluster, edit, CONFIG)
    with pytest.raises(Conflict, match="ours absent, now"):
        applier.apply(change, NOTE)


@pytest.mark.parametrize(
    ("manager", "stands"), [("kube-controller-manager", False), ("kubectl-edit", True)]
)
def test_what_kubernetes_itself_added_keeps_nobody_from_deleting(manager: str, stands: bool):
    """As the tokens that older servers add to a ServiceAccount just after it is made."""
    live = config_map()
    live["metadata"] |= {"uid": "u1", "resourceVersion": "7"}
    cluster = FakeCluster([live])
    change = deleted(cluster)
    live["data"]["more"] = "x"
    owned = {"manager": manager, "operation": "Update", "fieldsV1": {"f:data": {"f:more": {}}}}
    live["metadata"]["managedFields"] = [owned]
    cluster.objects[CONFIG] = live
    if stands:
        with pytest.raises(Conflict, match=rf"data\.more.*{manager}"):
            KubeApplier(lambda: cluster).apply(change, NOTE)
    else:
        KubeApplier(lambda: cluster).apply(change, NOTE)
    assert (CONFIG in cluster.objects) is stands


def test_a_delete_is_of_that_very_object_as_it_was_read():
    live = config_map()
    live["metadata"] |= {"uid": "u1", "resourceVersion": "7"}
    cluster = FakeCluster([live])
    KubeApplier(lambda: cluster).apply(deleted(cluster), NOTE)
    [sent] = [request.detail for request in cluster.requests if request.verb == "delete"]
    assert (sent["uid"], sent["revision"], sent["dry_run"]) == ("u1", "7", False)


@pytest.mark.parametrize(
    ("why", "requests"), [("exceeded quota", 1), ("10.0.0.9 is already allocated", 2)]
)
def test_only_a_service_whose_address_was_taken_is_asked_for_with_another(why, requests):
    cluster = FakeCluster()
    cluster.refuse("create", error=ChangeRefused(why))
    manifest = service()
    manifest["spec"]["clusterIP"] = "10.0.0.9"
    target = ObjectRef("Service", "shop", manifest["metadata"]["name"])
    change = Change(ChangeKind.CREATE_OBJECT, target, {}, {"": manifest}, "why")
    with pytest.raises(ChangeRefused):
        KubeApplier(lambda: cluster).apply(change, NOTE)
    assert [request.verb for request in cluster.requests] == ["create"] * requests


def test_an_object_that_is_deleted_meanwhile_is_not_made_again_by_an_apply(cluster):
    class Racing:
        context = "lab"

        def get(self, ref: ObjectRef) -> Object:
            found = cluster.get(ref)
            uid, version = (found["metadata"][key] for key in ("uid", "resourceVersion"))
            cluster.delete(ref, uid=uid, revision=version, dry_run=False, note="")
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(cluster, name)

    change = applied(cluster, lambda item: item["data"].update(more="x"), data={"more": "x"})
    with pytest.raises(Conflict, match="uid mismatch"):
        KubeApplier(Racing).apply(change, NOTE)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        cluster.get(CONFIG)


def test_a_manifest_of_another_object_than_was_judged_is_refused(cluster, applier):
    other = created()
    for manifest in (config_map("other"), {"kind": "ConfigMap"}, "text", {}):
        with pytest.raises(ChangeRefused):
            applier.apply(replace(other, after={"": manifest}), NOTE)


@pytest.mark.parametrize(
    ("uid", "replicas", "before"),
    [
        ("u1", 5, {"/spec/replicas": 5}),
        ("u1", 2, None),  # nothing has moved
        ("u1", 3, None),  # somebody has done it
        ("u2", 5, None),  # it is another one
    ],
)
def test_a_change_is_renewed_where_there_is_still_something_to_change(uid, replicas, before):
    live = deployment(replicas=replicas)
    live["metadata"]["uid"] = uid
    fields = {"/spec/replicas": 2}, {"/spec/replicas": 3}
    change = Change(ChangeKind.SCALE, AUTH, *fields, "why", uid="u1")
    renewed = KubeApplier(lambda: FakeCluster([live])).renewed(change)
    assert renewed == (replace(change, before=before) if before else None)


def test_a_change_of_a_whole_object_is_not_renewed(cluster, applier):
    assert applier.renewed(deleted(cluster)) is None
    assert applier.renewed(created()) is None


def test_what_another_object_of_the_name_has_does_not_hold_for_this_one():
    live = deployment(replicas=3)
    live["metadata"]["uid"] = "u2"
    fields = {"/spec/replicas": 2}, {"/spec/replicas": 3}
    change = Change(ChangeKind.SCALE, AUTH, *fields, "why", uid="u1")
    applier = KubeApplier(lambda: FakeCluster([live]))
    assert not applier.holds(change, NOTE)
    assert applier.holds(replace(change, uid="u2"), NOTE)


def test_what_is_being_deleted_counts_as_deleted_and_cannot_be_made_again_yet():
    live = config_map()
    live["metadata"] |= {"uid": "u1", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    change = Change(ChangeKind.DELETE_OBJECT, CONFIG, {"": live}, {}, "why", uid="u1")
    applier = KubeApplier(lambda: FakeCluster([live]))
    assert applier.holds(change, NOTE)
    assert not applier.holds(change.inverse(), UNDO)
    assert applier.drift(change, NOTE) == "ConfigMap/shop/auth is still being deleted"


# --- what is around --------------------------------------------------------------------------


def budget(name: str, labels: dict[str, str], **status: int) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"matchLabels": labels}},
        "status": status,
    }


def seen(*more: Object) -> FakeCluster:
    found = FakeCluster([deployment(), deployment("pay"), config_map(), service(), *more])
    for number, item in enumerate(found.objects.values()):
        item["metadata"]["uid"] = f"u{number}"
    return found


def test_a_scale_needs_the_target_and_the_budgets_only():
    cluster = seen(
        budget("ours", {"app": "auth"}, disruptionsAllowed=1, desiredHealthy=2),
        budget("theirs", {"app": "pay"}),
    )
    around = KubeApplier(lambda: cluster).look(proposed(cluster, scaled, ChangeKind.SCALE))
    assert around.budgets == (Budget("ours", 1, 2),)
    assert around.replicas == 2
    assert [item["metadata"]["name"] for item in around.typed] == ["auth"]
    assert [request.verb for request in cluster.requests[1:]] == ["get", "list"]


def test_typed_state_is_what_values_may_come_from():
    revision = {**deployment("auth-1"), "kind": "ReplicaSet"}
    revision["metadata"]["ownerReferences"] = [{"uid": "u0"}]
    stranger = {**deployment("pay-1"), "kind": "ReplicaSet"}
    cluster = seen(revision, stranger, {**config_map("keys"), "kind": "Secret"})
    change = proposed(
        cluster,
        lambda item: container(item).update(env=[{"name": "A", "valueFrom": {"secretKeyRef": {}}}]),
        ChangeKind.SET_ENV,
    )
    around = KubeApplier(lambda: cluster).look(change)
    assert [(item["kind"], item["metadata"]["name"]) for item in around.typed] == [
        ("Deployment", "auth"),
        ("ReplicaSet", "auth-1"),
        ("Deployment", "pay"),
        ("Service", "auth"),
        ("ConfigMap", "auth"),
        ("Secret", "keys"),
    ]
    assert "data" not in around.typed[-1], "only the names of Secrets are kept"


def test_what_may_not_be_read_is_a_gap():
    cluster = seen()
    change = proposed(cluster, scaled, ChangeKind.SET_IMAGE)
    cluster.refuse("list")
    around = KubeApplier(lambda: cluster).look(change)
    assert around.gaps == ("not allowed to list: *",) * 3
    assert len(around.typed) == 1


def test_a_target_that_is_not_there_is_not_found_unless_it_is_to_be_made():
    cluster = seen()
    with pytest.raises(NotFound):
        KubeApplier(lambda: cluster).look(replace(created(), kind=ChangeKind.PATCH_OBJECT))
    around = KubeApplier(lambda: cluster).look(created())
    assert {item["kind"] for item in around.typed} == {"ConfigMap", "Service"}


# --- when the server is in trouble -----------------------------------------------------------


def test_a_refusal_is_in_the_servers_own_words(here, cluster, applier):
    change = proposed(cluster, scaled)
    words = "replicas of auth are 2 by decree"
    here.faults.add(Rule("patch", "deployments", webhook="guard.example.com", message=words))
    with pytest.raises(ChangeRefused, match=f'webhook "guard.example.com" denied .*{words}'):
        applier.preview(change, NOTE)


def test_what_is_not_allowed_names_the_verb(here, cluster, applier):
    here.faults.add(Rule("patch", "deployments"))
    with pytest.raises(AccessDenied) as caught:
        applier.apply(proposed(cluster, scaled), NOTE)
    assert caught.value.needs == "patch deployments in namespace shop"


def test_an_object_that_cannot_be_read_is_not_changed(here, cluster, applier):
    change = proposed(cluster, scaled)
    here.faults.add(Rule("get", "deployments", status=500))
    with pytest.raises(ChangeRefused, match="it was not sent"):
        applier.apply(change, NOTE)


def test_a_lost_answer_leaves_it_to_reading_back(here, cluster, applier):
    change = proposed(cluster, scaled)
    here.faults.add(Rule("patch", "deployments", drop=True, after=True))
    with pytest.raises(UnreachableError):
        applier.apply(change, NOTE)
    assert applier.holds(change, NOTE)


def test_quantities_compare_by_value(cluster, applier):
    change = proposed(cluster, EDITS["resources"])
    applier.apply(change, NOTE)
    edited(cluster, lambda i: container(i)["resources"]["limits"].update(cpu="500m"))
    assert lookup(cluster.get(AUTH), f"{WEB}/resources/limits/cpu") == "500m"
    assert applier.holds(change, NOTE)
    assert applier.drift(change, NOTE) == ""
    applier.apply(change.inverse(), UNDO)
    assert applier.holds(change.inverse(), UNDO)
