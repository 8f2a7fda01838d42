"""What may be changed and what may be read is decided here, by code, from playbook and policies."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldebug.appliers import KubeApplier
from smoldebug.change import Executor
from smoldebug.clock import FakeClock
from smoldebug.errors import AccessDenied
from smoldebug.guard import FIELDS, Guard, ScopedCluster, Tally, asks, covers, plural
from smoldebug.guard.leaves import spoken, steps
from smoldebug.guard.limits import factor
from smoldebug.playbook import models
from smoldebug.playbook.base import Duration
from smoldebug.playbook.patches import GitTool, PullRequestTool
from smoldebug.playbook.policy import Bounds, Policy, PolicyFile, ReplicaBounds, Selection
from smoldebug.pointers import dotted
from smoldebug.records import (
    Answer,
    Budget,
    Card,
    Change,
    ChangeKind,
    Decision,
    FileChange,
    Managed,
    ObjectRef,
    Surroundings,
)
from smoldebug.sources.fakes import FakeCluster, FakeHttp, FakeProcesses, completed, reply
from smoldebug.sources.kinds import KINDS

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # a Friday
AUTH = ObjectRef("Deployment", "shop", "auth")
PAY = ObjectRef("Deployment", "shop", "pay")
HPA = ObjectRef("HorizontalPodAutoscaler", "shop", "auth")
APP = "/spec/template/spec/containers/[name=app]"


def playbook(
    allow: list[str] | None = None,
    targets: list[str] | None = None,
    namespaces: list[str] | None = None,
    values: list[str] | None = None,
    **fields: Any,
) -> models.Playbook:
    change = models.ChangeTool(
        allow=[ChangeKind(kind) for kind in (allow or ["scale"])],
        targets=["Deployment/shop/*"] if targets is None else targets,
        values=values or [],
    )
    tools = fields.pop("tools", models.Tools(change=change))
    scope = fields.pop("scope", models.Scope(namespaces=namespaces or []))
    return models.Playbook(
        apiVersion="smoldebug.dev/v1",
        name="test",
        goal=models.Goal(),
        tools=tools,
        scope=scope,
        **fields,
    )


def policy(**fields: Any) -> Policy:
    file = PolicyFile(apiVersion="smoldebug.dev/v1", kind="Policy", **fields)
    return Policy(file=file, source="org.yaml")


def limits(changes: int = 3, factor: float = 3, most: int = 20, **more: Any) -> models.Limits:
    replicas = models.ReplicaLimits(max_factor=factor, max=most)
    return models.Limits(changes=changes, replicas=replicas, **more)


def scale(before: Any = 1, after: Any = 2, target: ObjectRef = AUTH, **fields: Any) -> Change:
    return Change(
        ChangeKind.SCALE,
        target,
        {"/spec/replicas": before},
        {"/spec/replicas": after},
        "busy",
        **fields,
    )


def patch(before: dict[str, Any], after: dict[str, Any], kind: str = "patch-object") -> Change:
    return Change(ChangeKind(kind), AUTH, before, after, "why")


def tally(*applied: Change, **fields: Any) -> Tally:
    return Tally(applied, **{"now": NOW, **fields})


def refusal(change: Change, book: models.Playbook | None = None, *applied: Change) -> str:
    """Why the guard refuses, "" when it does not."""
    decision = Guard(book or playbook()).judge(change, tally(*applied))
    assert (decision.answer is Answer.YES) == (not decision.reason)
    return decision.reason


def patched(before: dict[str, Any], after: dict[str, Any]) -> str:
    return refusal(patch(before, after), playbook(allow=["patch-object"]))


# --- the playbook must name it ----------------------------------------------------------------


def test_what_the_playbook_names_may_be_changed():
    assert refusal(scale()) == ""


def test_without_a_change_block_nothing_may_be_changed():
    assert "read-only" in refusal(scale(), playbook(tools=models.Tools()))


def test_a_read_only_scope_overrules_the_change_block():
    assert "read-only" in refusal(scale(), playbook(scope=models.Scope(cluster="read-only")))


def test_a_kind_of_change_that_is_not_named_is_refused():
    assert refusal(scale(), playbook(allow=["restart", "rollback"])) == (
        "scale is not in tools.change.allow: restart, rollback"
    )


@pytest.mark.parametrize(
    ("pattern", "target", "covered"),
    [
        ("Deployment/shop/auth", AUTH, True),
        ("Deployment/shop/*", AUTH, True),
        ("Deployment/*/*", AUTH, True),
        ("*/*/*", AUTH, True),
        ("Deployment/shop/au*", AUTH, False),
        ("Deployment/shop/????", AUTH, False),
        ("Deploy*/shop/auth", AUTH, False),
        ("deployment/shop/auth", AUTH, False),
        ("Deployment/*", AUTH, False),
        ("*", AUTH, False),
        ("Deployment/shop", AUTH, False),
        ("Deployment/shop/auth/", AUTH, False),
        ("Node/*", ObjectRef("Node", "", "n1"), True),
        ("Node/*/n1", ObjectRef("Node", "", "n1"), False),
        ("Deployment/shop/*", ObjectRef("Deployment", "", "shop/auth"), False),
        ("Deployment/*", ObjectRef("Deployment", "", "shop/auth"), False),
        ("Process/local/*", ObjectRef("Process", "local", "../../etc"), False),
        ("Deployment/shop/*", ObjectRef("Deployment", "shop", ""), False),
    ],
)
def test_a_star_stands_for_one_whole_part(pattern: str, target: ObjectRef, covered: bool):
    assert covers(pattern, target) is covered


def test_the_namespace_must_be_in_scope_whatever_the_targets_say():
    book = playbook(targets=["Deployment/*/*"], namespaces=["shop", "shop-eu"])
    assert refusal(scale(), book) == ""
    elsewhere = scale(target=ObjectRef("Deployment", "kube-system", "coredns"))
    assert refusal(elsewhere, book) == "namespace kube-system is outside the playbook's scope"


def test_only_changes_of_this_machine_may_use_its_name_for_a_namespace():
    book = playbook(
        allow=["scale", "process-restart", "run-command"],
        targets=["*/*/*"],
        namespaces=["shop"],
    )
    assert refusal(scale(target=ObjectRef("Deployment", "local", "auth")), book)
    for kind, of in ((ChangeKind.PROCESS_RESTART, "Process"), (ChangeKind.RUN_COMMAND, "Command")):
        target = ObjectRef(of, "local", "web")
        assert refusal(Change(kind, target, {}, {"/argv": ["true"]}, "down"), book) == ""


@pytest.mark.parametrize(
    ("kind", "pointer"),
    [
        ("scale", "/spec/template/spec/containers/0/image"),
        ("scale", "/spec"),
        ("scale", "/spec/replicasX"),
        ("set-replicas-bounds", "/spec/scaleTargetRef/name"),
        ("rollback", "/spec/replicas"),
        ("rollback", "/metadata/labels"),
        ("restart", "/spec/template/spec/containers"),
        ("restart", "/spec/template"),
        ("restart", "/spec/template/metadata/annotations/sidecar.istio.io~1inject"),
        ("set-image", f"{APP}/command"),
        ("set-image", "/spec/template/spec/serviceAccountName"),
        ("set-env", f"{APP}/image"),
        ("set-probe", f"{APP}/lifecycle"),
        ("set-resources", "/spec/template/spec/containers"),
        ("patch-object", "/metadata/name"),
        ("patch-object", "/metadata/ownerReferences"),
        ("patch-object", "/status/replicas"),
    ],
)
def test_allowing_one_kind_of_change_allows_its_fields_only(kind: str, pointer: str):
    target = HPA if kind == "set-replicas-bounds" else AUTH
    book = playbook(allow=[kind], targets=["*/shop/*"])
    for sides in (({}, {pointer: "x"}), ({pointer: "x"}, {})):
        said = refusal(Change(ChangeKind(kind), target, *sides, "sneaky"), book)
        assert said.startswith(f"a {kind} does not touch: {dotted(pointer)[:8]}")


@pytest.mark.parametrize("kind", ["scale", "patch-object", "rollback", "apply-object"])
def test_only_creating_and_deleting_takes_an_object_as_a_whole(kind: str):
    change = patch({"": {"spec": {"replicas": 1}}}, {"": {"spec": {"replicas": 2}}}, kind)
    said = refusal(change, playbook(allow=[kind]))
    article = "an" if kind == "apply-object" else "a"
    assert said == f"{article} {kind} does not touch: the whole object"


def test_a_field_is_named_as_people_write_it():
    path = steps("/spec/template/spec/containers/[name=web]/env/[name=a~1b]/value")
    assert spoken(path) == "spec.template.spec.containers[web].env[a/b].value"
    assert spoken(steps("/spec/rules/0/host")) == "spec.rules[0].host"
    assert spoken(()) == "the whole object"


def test_a_field_may_be_set_with_the_empty_map_around_it():
    stamp = {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-20T12:00:00Z"}}
    restart = patch({}, {"/spec/template/metadata": stamp}, "restart")
    assert refusal(restart, playbook(allow=["restart"])) == ""


# --- limits ------------------------------------------------------------------------------------


def test_objects_are_counted_over_the_run():
    book = playbook(limits=limits(changes=2))
    pay = ObjectRef("Deployment", "shop", "pay")
    cart = ObjectRef("Deployment", "shop", "cart")
    assert refusal(scale(target=pay), book, scale()) == ""
    assert refusal(scale(1, 3), book, scale(), scale(target=pay)) == "", "the same object again"
    assert "limits.changes" in refusal(scale(target=cart), book, scale(), scale(target=pay))
    assert "limits.changes" in refusal(scale(), playbook(limits=limits(changes=0)))


@pytest.mark.parametrize("after", [0, -1, True, "2", 2.0, [2], {"x": 1}])
def test_replicas_stay_a_whole_number_above_zero(after: Any):
    assert "at least 1" in refusal(scale(1, after))


def test_replicas_grow_by_the_factor_and_to_the_maximum_at_most():
    assert refusal(scale(2, 6)) == ""
    assert "max_factor: 3" in refusal(scale(2, 7))
    assert refusal(scale(10, 20)) == ""
    assert "limits.replicas.max: 20" in refusal(scale(10, 21))
    assert refusal(scale(0, 3)) == "", "nothing counts as one"
    assert refusal(scale(0, 4))


def test_two_doublings_are_a_factor_of_four():
    assert refusal(scale(2, 4), None, scale(1, 2)) == (
        "/spec/replicas 1 -> 4 is over limits.replicas.max_factor: 3"
    )
    pay = ObjectRef("Deployment", "shop", "pay")
    assert refusal(scale(2, 4), None, scale(1, 2, target=pay)) == "", "another object"


def test_what_the_object_leaves_open_counts_as_one():
    bounds = Change(ChangeKind.SET_REPLICAS_BOUNDS, HPA, {}, {"/spec/minReplicas": 4}, "busy")
    book = playbook(allow=["set-replicas-bounds"], targets=[str(HPA)])
    assert "1 -> 4" in refusal(bounds, book)
    then = Change(bounds.kind, HPA, {"/spec/minReplicas": 3}, {"/spec/minReplicas": 4}, "busy")
    first = Change(bounds.kind, HPA, {}, {"/spec/minReplicas": 3}, "busy")
    assert "1 -> 4" in refusal(then, book, first)


def test_a_patch_of_the_whole_spec_is_still_not_to_zero():
    assert "at least 1" in patched({}, {"/spec": {"replicas": 0}})


@pytest.mark.parametrize("before", [{"/spec": {"replicas": 2}}, {"/spec": {}}, {}])
def test_a_patch_of_the_whole_spec_is_still_within_the_factor(before: dict[str, Any]):
    assert "max_factor" in patched(before, {"/spec": {"replicas": 7}})


def test_the_card_says_how_much_of_the_limits_is_used():
    guard = Guard(playbook(limits=limits(changes=2)))
    assert guard.describe(scale(), tally()) == "1 of 2 changes · factor 2 of 3 allowed"
    assert guard.describe(scale(3, 1), tally()) == "1 of 2 changes · factor 3 of 3 allowed"
    again = guard.describe(scale(2, 3), tally(scale(1, 2)))
    assert again == "1 of 2 changes · factor 3 of 3 allowed"
    restart = Change(ChangeKind.RESTART, AUTH, {}, {}, "stuck")
    assert guard.describe(restart, tally()) == "1 of 2 changes"
    hourly = Bounds(changes=1, rate=models.Rate(changes=4, per=Duration(3600)))
    narrowed = Guard(playbook(), [policy(limits=hourly)], recent=lambda since: (NOW,))
    assert narrowed.describe(restart, tally()) == "1 of 1 change · 2 of 4 changes per 1h"


def test_replicas_shrink_by_the_factor_at_most_too():
    assert refusal(scale(3, 1)) == ""
    assert "3 -> 1" in refusal(scale(3, 1), playbook(limits=limits(factor=2)))
    assert "6 -> 1" in refusal(scale(3, 1), None, scale(6, 3))
    removed = Change(ChangeKind.SCALE, AUTH, {"/spec/replicas": 6}, {}, "the server makes it 1")
    assert "6 -> 1" in refusal(removed)


def test_a_number_that_is_not_there_any_more_is_no_way_around_its_factor():
    restart = patch({}, {"/spec/paused": True})
    assert refusal(restart, playbook(allow=["patch-object"]), scale(6, 3)) == ""


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("64Mi", "256Mi", False),
        ("64Mi", "257Mi", True),
        ("256Mi", "63Mi", True),
        ("500m", "2", False),
        ("500m", 3, True),
        (1, "0.2", True),
        ("10s", "30s", False),
        ("10s", "60s", True),
        (30, 0, True),
        (0, 4, False),
        (0, 5, True),
        ("25%", "100%", False),
        (-1, 1, True),
        (-1, -4, False),
        ("latest", "9", False),  # text is a matter of where it comes from
    ],
)
def test_other_numbers_and_quantities_move_by_their_own_factor(before, after, refused: bool):
    said = patched({f"{APP}/x": before}, {f"{APP}/x": after})
    assert ("limits.max_factor: 4" in said) is refused


def test_a_port_is_no_magnitude():
    for name in ("port", "targetPort", "containerPort", "number"):
        assert patched({f"/spec/{name}": 80}, {f"/spec/{name}": 8080}) == ""
    env = f"{APP}/env/[name=DB_PORT]/value"
    assert patched({env: "80"}, {env: "5432"}) == ""


def test_quantities_are_counted_over_the_run_too():
    memory = f"{APP}/resources/limits/memory"
    first, then = ({memory: "1Gi"}, {memory: "4Gi"}), ({memory: "4Gi"}, {memory: "5Gi"})
    book = playbook(allow=["patch-object"])
    assert "1Gi -> 5Gi" in refusal(patch(*then), book, patch(*first))
    added = patch({}, {memory: "1Gi"})
    assert "1Gi -> 5Gi" in refusal(patch({memory: "1Gi"}, {memory: "5Gi"}), book, added)


def test_a_rollback_restores_whatever_was_there():
    before, after = ({"/spec/template": {"spec": {"x": value}}} for value in ("1Gi", "64Mi"))
    assert refusal(patch(before, after, "rollback"), playbook(allow=["rollback"])) == ""


def delete(target: ObjectRef) -> Change:
    meta = {"name": target.name, "namespace": target.namespace}
    return Change(
        ChangeKind.DELETE_OBJECT, target, {"": {"kind": target.kind, "metadata": meta}}, {}, "gone"
    )


@pytest.mark.parametrize(
    ("never", "refused"),
    [(["Pod"], True), (["Pod/shop/db"], True), (["Pod/shop/*"], True), (["Pod/shop/x"], False)],
)
def test_what_is_never_deleted_is_not_deleted_for_any_reason(never: list[str], refused: bool):
    book = playbook(["delete-object"], ["Pod/shop/*"], limits=limits(never_delete=tuple(never)))
    verdict = Guard(book).judge(
        delete(ObjectRef("Pod", "shop", "db")), tally(break_glass="the house is on fire")
    )
    assert ("limits.never_delete" in verdict.reason) is refused
    assert (verdict.answer is Answer.NO) is refused


def test_changes_are_counted_over_time_and_over_all_runs():
    book = playbook(limits=limits(rate=models.Rate(changes=2, per=Duration(3600))))
    asked = []

    def recent(since: datetime) -> list[datetime]:
        asked.append(since)
        return [NOW - timedelta(minutes=50), NOW - timedelta(hours=2)]

    guard = Guard(book, recent=recent)
    assert guard.judge(scale(), tally()).answer is Answer.YES
    assert asked == [NOW - timedelta(hours=1)]
    busy = guard.judge(scale(), tally(times=(NOW - timedelta(minutes=1),)))
    assert busy.reason == "limits.rate is used up: 2 changes per 1h; the next one in 10m"
    book = playbook(limits=limits(rate=models.Rate(changes=1, per=Duration(3600))))
    busy = Guard(book, recent=recent).judge(scale(), tally())
    assert busy.reason == "limits.rate is used up: 1 change per 1h; the next one in 10m"


def test_outside_the_window_and_in_a_freeze_nothing_is_changed():
    window = models.Window(days=["mon"])
    freeze = models.Freeze(from_="2026-11-20", to="2026-11-20", reason="sale")
    assert refusal(scale(), playbook(limits=limits(windows=[window]))) == (
        "it is outside the change windows: mon 00:00-24:00 UTC"
    )
    assert refusal(scale(), playbook(limits=limits(freezes=[freeze]))) == (
        "changes are frozen until 2026-11-20 (sale)"
    )


# --- what no approval allows ----------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    ["Secret", "ServiceAccount", "RoleBinding", "ClusterRole", "MutatingWebhookConfiguration",
     "CustomResourceDefinition", "Namespace", "Node", "NetworkPolicy", "PodDisruptionBudget",
     "ResourceQuota", "APIService", "Backup"],
)  # fmt: skip
def test_what_grants_guards_or_defines_must_be_named_by_its_kind(kind: str):
    target = ObjectRef(kind, "shop", "x")
    change = Change(ChangeKind.PATCH_OBJECT, target, {}, {"/spec/x": True}, "why")
    said = refusal(change, playbook(["patch-object"], ["*/shop/*", "*/*/*"]))
    assert said == f"tools.change.targets must name the Kind, * is not enough: {kind}"
    assert refusal(change, playbook(["patch-object"], [f"{kind}/shop/*"])) == ""


POD = "/spec/template/spec"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {f"{APP}/securityContext": {"privileged": True}}),
        ({}, {f"{APP}/securityContext/allowPrivilegeEscalation": True}),
        ({}, {f"{APP}/securityContext/capabilities": {"add": ["SYS_ADMIN"]}}),
        ({}, {f"{APP}/securityContext/capabilities/add/0": "NET_ADMIN"}),
        ({}, {f"{APP}/securityContext/runAsUser": 0}),
        ({f"{POD}/securityContext": {"runAsNonRoot": True}}, {}),
        (
            {f"{POD}/securityContext/runAsNonRoot": True},
            {f"{POD}/securityContext/runAsNonRoot": False},
        ),
        ({f"{APP}/securityContext/runAsUser": 1000}, {}),
        ({f"{APP}/securityContext/capabilities/drop": ["ALL"]}, {}),
        ({}, {f"{POD}/securityContext/runAsGroup": 0}),
        ({f"{POD}/hostUsers": False}, {}),
        ({}, {f"{POD}/securityContext/seccompProfile/type": "Unconfined"}),
        ({}, {f"{POD}/hostNetwork": True}),
        ({f"{POD}/hostPID": False}, {f"{POD}/hostPID": True}),
        ({}, {POD: {"hostIPC": True}}),
        ({}, {f"{POD}/volumes/[name=x]": {"name": "x", "hostPath": {"path": "/"}}}),
        ({}, {f"{POD}/volumes": [{"name": "x", "hostPath": {"path": "/"}}]}),
        ({f"{POD}/serviceAccountName": "shop"}, {f"{POD}/serviceAccountName": "admin"}),
        ({f"{POD}/serviceAccountName": "shop"}, {}),
        ({}, {f"{POD}/serviceAccountName": "admin"}),
        ({f"{POD}/automountServiceAccountToken": False}, {}),
        ({}, {f"{POD}/automountServiceAccountToken": True}),
        ({}, {"/spec/ephemeralContainers": [{"securityContext": {"privileged": True}}]}),
        ({}, {"/spec/jobTemplate": {"spec": {"template": {"spec": {"hostNetwork": True}}}}}),
    ],
)
def test_a_pod_gets_no_more_rights(before: dict[str, Any], after: dict[str, Any]):
    assert "more rights" in patched(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({f"{APP}/securityContext/privileged": True}, {f"{APP}/securityContext/privileged": False}),
        ({}, {f"{POD}/securityContext": {"runAsNonRoot": True, "runAsUser": 1000}}),
        ({f"{POD}/securityContext/runAsUser": 1000}, {f"{POD}/securityContext/runAsUser": 2000}),
        ({f"{POD}/containers/[name=b]": {"name": "b", "securityContext": {"runAsNonRoot": True}}},
         {}),
        ({f"{POD}/hostNetwork": True}, {}),
        ({f"{POD}/serviceAccountName": "shop", f"{POD}/x": 1},
         {f"{POD}/serviceAccountName": "shop", f"{POD}/x": 2}),
        ({}, {"/data/hostNetwork": True}),
        ({}, {"/metadata/labels/privileged": True}),
    ],
)  # fmt: skip
def test_what_takes_rights_away_or_leaves_them_is_no_raise(before, after):
    assert patched(before, after) == ""


def test_a_rollback_that_gives_rights_back_is_told():
    before = {"/spec/template": {"spec": {"containers": [{"name": "app"}]}}}
    after = {"/spec/template": {"spec": {"hostNetwork": True, "containers": [{"name": "app"}]}}}
    change, guard = patch(before, after, "rollback"), Guard(playbook(allow=["rollback"]))
    verdict = guard.judge(change, tally())
    assert verdict.answer is Answer.YES
    (told,) = guard.warnings(change, Surroundings(), verdict)
    assert told == "the earlier revision has more rights: hostNetwork: true (template spec)"


def manifest(name: str = "auth", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def test_a_manifest_is_that_of_the_target():
    book = playbook(allow=["create-object", "apply-object", "delete-object"])
    for name, refused in (("auth", False), ("other", True)):
        for change in (
            patch({}, {"": manifest(name)}, "create-object"),
            patch({"": manifest(name)}, {}, "delete-object"),
            replace(patch({}, {"/spec/paused": True}, "apply-object"), manifest=manifest(name)),
        ):
            assert ("another object" in refusal(change, replace_limits(book))) is refused


def test_only_an_apply_has_a_manifest_beside_what_it_changes():
    book = playbook(allow=["apply-object", "patch-object", "create-object"])
    change = patch({}, {"/spec/paused": True}, "apply-object")
    assert refusal(change, book) == "an apply-object needs its manifest"
    change = replace(patch({}, {"/spec/paused": True}), manifest=manifest())
    assert refusal(change, book) == "a patch-object has no manifest"
    assert refusal(patch({}, {}, "create-object"), book) == "a create-object needs the whole object"
    assert refusal(patch({}, {"": []}, "create-object"), book)


def test_a_kind_of_change_is_of_the_objects_it_makes_sense_for():
    book = playbook(["set-config-key", "cordon"], ["*/shop/*", "Secret/shop/*"])
    secret = ObjectRef("Secret", "shop", "db")
    change = Change(ChangeKind.SET_CONFIG_KEY, secret, {}, {"/data/x": "y"}, "why")
    assert refusal(change, book) == "a set-config-key is of a ConfigMap"
    assert refusal(replace(change, kind=ChangeKind.CORDON), book) == "a cordon is of a Node"


def replace_limits(book: models.Playbook) -> models.Playbook:
    """The same without a list of what is never deleted."""
    return msgspec.structs.replace(book, limits=limits(never_delete=()))


def test_a_manifest_sets_nothing_that_its_change_does_not_show():
    book = playbook(allow=["apply-object"], values=["*"])
    guard, around = Guard(book), Surroundings(typed=(manifest(paused=False, cpu="500m"),))
    change = patch({"/spec/paused": False}, {"/spec/paused": True}, "apply-object")

    def weighed(**spec: Any) -> str:
        return guard.weigh(
            replace(change, manifest=manifest(**spec)), around, Decision(Answer.YES, "guard")
        ).reason

    assert weighed(paused=True) == ""
    assert weighed(paused=True, cpu="0.5") == "", "as it is already"
    hidden = "its manifest sets what the change does not show"
    assert weighed(paused=True, replicas=0) == f"{hidden}: spec.replicas"
    assert weighed(paused=True, cpu="9") == f"{hidden}: spec.cpu"


def test_a_change_of_a_kind_nobody_knows_is_refused():
    book = playbook(allow=[str(kind) for kind in ChangeKind], targets=["*/shop/*"])
    strange: Any = "reboot-cluster"
    assert "not in tools.change.allow" in refusal(replace(scale(), kind=strange), book)
    for kind in set(ChangeKind) - set(FIELDS):
        assert refusal(replace(scale(), kind=kind), book)


# --- managed objects ------------------------------------------------------------------------


HELM = Managed("Helm", "release shop/auth")
OWNED = Managed("Deployment", "Deployment/shop/auth")


def around(**fields: Any) -> Surroundings:
    return Surroundings(**fields)


def weighed(book: models.Playbook, change: Change, seen: Surroundings, *policies: Policy):
    """The verdict after looking, and what an approver is told."""
    guard = Guard(book, policies)
    verdict = guard.weigh(change, seen, guard.judge(change, tally()))
    return verdict, guard.warnings(change, seen, verdict)


def test_a_managed_object_is_changed_at_its_source_where_the_playbook_says_so():
    verdict, _ = weighed(playbook(on_managed="pr"), scale(), around(managed=HELM))
    assert verdict.reason == (
        "Deployment/shop/auth is managed by Helm: release shop/auth, on_managed is pr: "
        "change the values of its chart and upgrade release shop/auth"
    )


def test_by_default_an_approver_is_told_who_will_set_it_back():
    verdict, told = weighed(playbook(), scale(), around(managed=HELM))
    assert verdict.answer is Answer.YES
    assert told[0].startswith("managed by Helm: release shop/auth, which may set it back")
    assert weighed(playbook(on_managed="allow"), scale(), around(managed=HELM))[1] == ()


def test_what_belongs_to_another_object_is_told_and_never_a_matter_of_pull_requests():
    verdict, told = weighed(playbook(on_managed="pr"), scale(), around(managed=OWNED))
    assert verdict.answer is Answer.YES
    assert len(told) == 1
    assert told[0].startswith("it belongs to Deployment/shop/auth, which may set it back")


# --- pods that go down ----------------------------------------------------------------------


TIGHT = Budget("auth", allowed=0, needed=2)
TEMPLATE = f"{APP}/image"
IMAGE = patch({TEMPLATE: "a"}, {TEMPLATE: "b"}, "set-image")
RESTART = patch(
    {}, {"/spec/template/metadata/annotations/restartedAt": "2026-11-20T12:00:00Z"}, "restart"
)
ROLLOUTS = playbook(["set-image", "restart", "scale", "delete-object"], values=["*"])


def running(ready: int) -> dict[str, Any]:
    return {**manifest(), "status": {"readyReplicas": ready}}


@pytest.mark.parametrize("change", [IMAGE, RESTART, scale(3, 2)])
def test_where_a_budget_allows_no_disruption_no_healthy_pod_goes_down(change: Change):
    for seen in (around(budgets=(TIGHT,)), around(budgets=(TIGHT,), typed=(running(2),))):
        verdict, _ = weighed(ROLLOUTS, change, seen)
        assert verdict.reason == "PodDisruptionBudget auth allows no disruption now"


def test_a_repair_of_pods_that_are_down_already_is_asked_for_instead():
    seen = around(budgets=(TIGHT,), typed=(running(1),))
    verdict, told = weighed(ROLLOUTS, IMAGE, seen)
    assert verdict.answer is Answer.YES
    assert told == ("PodDisruptionBudget auth wants 2 healthy pods and has fewer already",)
    assert weighed(ROLLOUTS, scale(3, 2), seen)[0].answer is Answer.NO, "fewer repair nothing"


def test_scaling_stays_above_what_a_budget_needs():
    roomy = around(budgets=(Budget("auth", allowed=1, needed=2),))
    assert weighed(ROLLOUTS, scale(3, 2), roomy)[0].answer is Answer.YES
    assert "wants 2 pods: 1 is less" in weighed(ROLLOUTS, scale(3, 1), roomy)[0].reason
    assert weighed(ROLLOUTS, scale(1, 2), around(budgets=(TIGHT,)))[0].answer is Answer.YES


def test_a_pod_is_not_deleted_against_its_budget():
    pod = delete(ObjectRef("Pod", "shop", "auth-1"))
    book = playbook(["delete-object"], ["Pod/shop/*"])
    assert weighed(book, pod, around(budgets=(TIGHT,)))[0].answer is Answer.NO
    assert weighed(book, pod, around(budgets=(Budget("auth", 1, 2),)))[0].answer is Answer.YES
    assert weighed(book, pod, around(managed=OWNED, replicas=3))[1] == (), "it comes again"


def test_a_template_that_nobody_rolls_out_takes_nothing_down():
    job = ObjectRef("Job", "shop", "import")
    change = Change(ChangeKind.PATCH_OBJECT, job, {}, {"/spec/template/x": True}, "why")
    book = playbook(["patch-object"], ["Job/shop/*"])
    assert weighed(book, change, around(budgets=(TIGHT,)))[0].answer is Answer.YES


def test_the_only_pod_is_not_restarted_unseen():
    told = weighed(ROLLOUTS, RESTART, around(replicas=1))[1]
    assert told == (
        "Deployment/shop/auth runs a single pod: nothing may answer until another is ready",
    )
    assert weighed(ROLLOUTS, RESTART, around(replicas=1, typed=(running(0),)))[1] == ()
    assert weighed(ROLLOUTS, RESTART, around(replicas=2))[1] == ()
    assert weighed(ROLLOUTS, scale(1, 2), around(replicas=1))[1] == ()


def test_what_could_not_be_seen_is_told():
    assert weighed(ROLLOUTS, scale(), around(gaps=("budgets: forbidden",)))[1] == (
        "could not be seen: budgets: forbidden",
    )


# --- break-glass ----------------------------------------------------------------------------


FULL = limits(
    changes=0,
    factor=1,
    rate=models.Rate(changes=0, per=Duration(60)),
    freezes=[models.Freeze(from_="2026-11-01", to="2026-11-30")],
)


def test_break_glass_lifts_limits_and_says_which():
    guard = Guard(playbook(limits=FULL))
    assert guard.judge(scale(), tally()).answer is Answer.NO
    verdict = guard.judge(scale(), tally(break_glass="INC-7"))
    assert verdict.answer is Answer.YES
    for word in ("limits.changes", "limits.rate", "frozen", "max_factor"):
        assert word in verdict.lifted
    told = guard.warnings(scale(), Surroundings(), verdict)
    assert told == (f"break-glass (INC-7): {verdict.lifted}",)


def test_break_glass_lifts_a_budget_too():
    guard, seen = Guard(ROLLOUTS), around(budgets=(TIGHT,))
    verdict = guard.judge(RESTART, tally(break_glass="INC-7"))
    assert (verdict.answer, verdict.lifted) == (Answer.YES, "")
    after = guard.weigh(RESTART, seen, verdict)
    assert after.lifted == "PodDisruptionBudget auth allows no disruption now"


@pytest.mark.parametrize(
    "change",
    [
        scale(1, 0),
        scale(target=ObjectRef("Deployment", "kube-system", "dns")),
        patch({}, {"/spec/paused": True}),
        patch({}, {f"{POD}/hostNetwork": True}, "set-image"),
    ],
)
def test_break_glass_lifts_nothing_else(change: Change):
    book = playbook(["scale", "set-image"], limits=FULL)
    verdict = Guard(book).judge(change, tally(break_glass="INC-7"))
    assert verdict.answer is Answer.NO
    assert "limits" not in verdict.reason


def test_break_glass_lifts_no_provenance():
    guard = Guard(ROLLOUTS_WITHOUT_VALUES)
    verdict = guard.judge(IMAGE, tally(break_glass="INC-7"))
    assert guard.weigh(IMAGE, Surroundings(), verdict).answer is Answer.NO


ROLLOUTS_WITHOUT_VALUES = playbook(["set-image"])


def test_a_policy_may_forbid_it():
    guard = Guard(playbook(limits=FULL), [policy(break_glass=False)])
    verdict = guard.judge(scale(), tally(break_glass="INC-7"))
    assert (verdict.answer, verdict.by) == (Answer.NO, "policy")
    assert verdict.reason.endswith("org.yaml allows no break-glass")


# --- policies only narrow -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrowed", "says"),
    [
        ({"allow": Selection(contexts=["*-staging"])}, "context prod-eu is outside the policy"),
        ({"deny": Selection(contexts=["prod-*"])}, "denies changes in context prod-eu"),
        ({"allow": Selection(namespaces=["team-*"])}, "does not allow changes in namespace shop"),
        ({"deny": Selection(namespaces=["sh*"])}, "denies changes in namespace shop"),
        ({"allow": Selection(changes=[ChangeKind.RESTART])}, "does not allow: scale"),
        ({"deny": Selection(changes=[ChangeKind.SCALE])}, "denies: scale"),
        ({"allow": Selection(targets=["Deployment/shop/pay"])}, "does not allow changes of"),
        ({"deny": Selection(targets=["Deployment/*/auth"])}, "denies changes of Deployment/shop"),
        ({"limits": Bounds(changes=0)}, "by org.yaml, it would change more than limits.changes"),
        (
            {"limits": Bounds(replicas=ReplicaBounds(max=1))},
            "by org.yaml, /spec/replicas 2",
        ),
        ({"limits": Bounds(replicas=ReplicaBounds(max_factor=1.5))}, "max_factor: 1.5"),
        ({"limits": Bounds(windows=[models.Window(days=["sun"])])}, "outside the change windows"),
    ],
)
def test_a_policy_says_no_where_the_playbook_says_yes(narrowed: dict[str, Any], says: str):
    assert Guard(playbook(), [policy()], context="prod-eu").judge(scale(), tally()).answer
    verdict = Guard(playbook(), [policy(), policy(**narrowed)], context="prod-eu").judge(
        scale(), tally()
    )
    assert verdict.answer is Answer.NO
    assert says in verdict.reason
    assert "org.yaml" in verdict.reason


GIT = models.Playbook(
    apiVersion="smoldebug.dev/v1",
    name="patch",
    goal=models.Goal(),
    scope=models.Scope(paths=["deploy/**"]),
    tools=models.Tools(git=GitTool(branch="fix")),
    limits=models.Limits(files=80),
)
PUSH = Change(ChangeKind.GIT_COMMIT, ObjectRef("Branch", "", "fix"), {}, {"/tip": "c0ffee"}, "")


@pytest.mark.parametrize(
    ("narrowed", "says"),
    [
        ({"deny": Selection(contexts=["prod-*"], namespaces=["*"], clusters=["u1"])}, ""),
        ({"limits": Bounds(changes=0, windows=[models.Window(days=["sun"])])}, ""),
        ({"deny": Selection(changes=[ChangeKind.GIT_COMMIT])}, "denies: git-commit"),
        ({"deny": Selection(targets=["Branch/*"])}, "denies changes of Branch/fix"),
        ({"limits": Bounds(rate=models.Rate(changes=0, per=Duration(60)))}, "limits.rate"),
    ],
)
def test_a_push_changes_no_cluster_and_waits_for_no_window(narrowed: dict[str, Any], says: str):
    guard = Guard(GIT, [policy(**narrowed)], context="prod-eu", cluster="u1")
    verdict = guard.judge(PUSH, tally())
    assert (verdict.answer is Answer.YES, says in verdict.reason) == (not says, True)


REQUEST = replace(
    PUSH, kind=ChangeKind.PULL_REQUEST, target=ObjectRef("PullRequest", "", "fix"), after={}
)


@pytest.mark.parametrize(
    ("change", "tools", "says"),
    [
        (PUSH, models.Tools(), "no tools.git block"),
        (REQUEST, models.Tools(git=GitTool(branch="fix")), "no tools.pull_request block"),
        (PUSH, models.Tools(git=GitTool(branch="main")), "branch is main, not fix"),
        (
            REQUEST,
            models.Tools(git=GitTool(branch="other"), pull_request=PullRequestTool()),
            "branch is other, not fix",
        ),
    ],
)
def test_a_playbook_pushes_one_branch_and_opens_what_it_says(
    change: Change, tools: models.Tools, says: str
):
    book = msgspec.structs.replace(GIT, tools=tools)
    verdict = Guard(book).judge(change, tally())
    assert (verdict.answer, says in verdict.reason) == (Answer.NO, True)
    assert Guard(book).judge(change, tally(break_glass="INC-7")).answer is Answer.NO


@pytest.mark.parametrize(
    ("paths", "path", "says"),
    [
        (["deploy/**"], "deploy/a/b.yaml", ""),
        (["deploy/**"], "deployment.yaml", "outside scope.paths: deployment.yaml"),
        (["deploy/**"], "x\x1b[31m", "outside scope.paths: x"),
        ([], "deploy/a.yaml", "names no files that may change"),
    ],
)
def test_a_commit_changes_files_of_the_scope_only(paths: list[str], path: str, says: str):
    guard = Guard(msgspec.structs.replace(GIT, scope=models.Scope(paths=paths)))
    verdict = guard.judge(PUSH, tally())
    around = Surroundings(files=(FileChange("deploy/ok.yaml", 1, 0), FileChange(path, 1, 0)))
    weighed = guard.weigh(PUSH, around, verdict)
    assert (weighed.answer is Answer.NO, says in weighed.reason) == (bool(says), True)
    assert "\x1b" not in weighed.reason


@pytest.mark.parametrize(
    ("file", "allowed"),
    [
        (FileChange("deploy/a", added=3, removed=0, containers=1), True),
        (FileChange("deploy/a", added=4, removed=0, containers=1), False),
        (FileChange("deploy/a", added=3, removed=3, containers=1), True),  # replaced, not twice
        (FileChange("deploy/a", added=0, removed=4, containers=1), False),
        (FileChange("deploy/a", added=6, removed=0, containers=2), True),
        (FileChange("deploy/a", added=7, removed=0, containers=2), False),
        (FileChange("deploy/a", added=3, removed=0, containers=0), True),
        (FileChange("deploy/a", added=99, removed=0, status="added"), True),
        (FileChange("deploy/a", added=0, removed=99, status="deleted"), False),
    ],
)
def test_lines_are_limited_for_each_container_of_a_file(file: FileChange, allowed: bool):
    limits = models.Limits(files=80, changed_lines_per_container=3)
    guard = Guard(msgspec.structs.replace(GIT, limits=limits))
    verdict = guard.judge(PUSH, tally())
    weighed = guard.weigh(PUSH, Surroundings(files=(file,)), verdict)
    assert (weighed.answer is Answer.YES) == allowed
    assert allowed or "limits.changed_lines_per_container is 3" in weighed.reason
    unlimited = models.Limits(changed_lines_per_container=0)
    guard = Guard(msgspec.structs.replace(GIT, limits=unlimited))
    assert guard.weigh(PUSH, Surroundings(files=(file,)), verdict).answer is Answer.YES


def test_what_a_run_did_in_git_is_no_object_that_it_changed():
    book = playbook(limits=limits(changes=1))
    assert Guard(book).judge(scale(), tally(PUSH, REQUEST)).answer is Answer.YES


def test_a_policy_that_says_nothing_of_files_limits_none():
    guard, files = Guard(GIT, [policy()]), [FileChange(f"deploy/{n}", 1, 0, 1) for n in range(81)]
    verdict = guard.judge(PUSH, tally())
    assert guard.weigh(PUSH, Surroundings(files=tuple(files[:80])), verdict).answer is Answer.YES
    over = guard.weigh(PUSH, Surroundings(files=tuple(files)), verdict)
    assert over.reason == "it would change 81 files, limits.files is 80"


@pytest.mark.parametrize(
    ("narrowed", "cluster", "allowed"),
    [
        ({"allow": Selection(clusters=["u1"])}, "u1", True),
        ({"allow": Selection(clusters=["u1"])}, "u2", False),
        ({"allow": Selection(clusters=["u1"])}, "", False),
        ({"deny": Selection(clusters=["u1"])}, "u1", False),
        ({"deny": Selection(clusters=["u1"])}, "u2", True),
        ({"deny": Selection(clusters=["u1"])}, "", False),
    ],
)
def test_a_cluster_is_known_by_its_id_whatever_a_kubeconfig_calls_it(
    narrowed: dict[str, Any], cluster: str, allowed: bool
):
    guard = Guard(playbook(), [policy(**narrowed)], context="renamed", cluster=cluster)
    assert (guard.judge(scale(), tally()).answer is Answer.YES) is allowed


def test_any_kind_can_be_denied():
    denied = policy(deny=Selection(targets=["*/shop/*"]))
    verdict = Guard(playbook(), [denied]).judge(scale(), tally())
    assert "denies changes of Deployment/shop/auth" in verdict.reason


def test_what_a_policy_is_silent_about_it_does_not_narrow():
    wide = playbook(limits=limits(50, 50, 500))
    assert Guard(wide, [policy()]).judge(scale(2, 90), tally()).answer is Answer.YES


def test_a_policy_for_namespaces_allows_nothing_outside_them():
    node = ObjectRef("Node", "", "n1")
    cordon = Change(ChangeKind.CORDON, node, {}, {"/spec/unschedulable": True}, "bad disk")
    book = playbook(["cordon"], ["Node/*"])
    assert refusal(cordon, book) == ""
    verdict = Guard(book, [policy(allow=Selection(namespaces=["shop"]))]).judge(cordon, tally())
    assert verdict.reason == "the policy does not allow changes outside any namespace (org.yaml)"


def test_a_policy_s_floors_hold_for_every_playbook():
    auto = playbook(approval="auto", allow_without_undo=[ChangeKind.SCALE], on_managed="allow")
    once = scale(no_undo="gone")
    assert not Guard(auto).asks(once)
    assert Guard(auto, [policy(approval="ask")]).asks(scale())
    assert Guard(auto, [policy(approval="ask")]).approval == "ask"
    assert Guard(auto, [policy(approval="ask"), policy(approval="never")]).approval == "never"
    assert Guard(auto, [policy(allow_without_undo=[])]).asks(once)
    assert not Guard(auto, [policy(allow_without_undo=[])]).asks(scale())
    assert not Guard(auto, [policy(allow_without_undo=[ChangeKind.SCALE])]).asks(once)
    assert weighed(auto, scale(), around(managed=HELM), policy(on_managed="warn"))[1]
    refused, _ = weighed(auto, scale(), around(managed=HELM), policy(on_managed="pr"))
    assert refused.answer is Answer.NO


def test_the_playbook_s_contexts_bind_it():
    book = playbook(scope=models.Scope(contexts=["*-staging", "lab"]))
    for context, allowed in (("eu-staging", True), ("lab", True), ("eu-prod", False), ("", False)):
        verdict = Guard(book, context=context).judge(scale(), tally())
        assert (verdict.answer is Answer.YES) is allowed


def test_a_server_of_this_machine_is_in_no_context():
    book = playbook(
        ["process-restart"], ["Process/local/*"], scope=models.Scope(contexts=["*-staging"])
    )
    web = ObjectRef("Process", "local", "web")
    change = Change(ChangeKind.PROCESS_RESTART, web, {}, {"/argv": ["true"]}, "down")
    for context, allowed in (("", True), ("eu-staging", True), ("eu-prod", False)):
        narrow = policy(allow=Selection(contexts=["eu-*"], namespaces=["shop"]))
        verdict = Guard(book, [narrow], context=context).judge(change, tally())
        assert (verdict.answer is Answer.YES) is allowed


# --- who is asked ------------------------------------------------------------------------------


PROD = {"cluster": "prod", "uid": "u-prod", "server": "10.0.0.1:6443"}


def test_the_operator_is_asked_unless_the_playbook_says_auto():
    assert asks(playbook(), scale(), PROD)
    assert asks(playbook(approval="never"), scale(), PROD)
    assert not asks(playbook(approval="auto"), scale(), PROD)


def test_what_cannot_be_undone_is_asked_for_even_under_auto():
    once = scale(no_undo="cannot be taken back")
    assert asks(playbook(approval="auto"), once, PROD)
    allowed = playbook(approval="auto", allow_without_undo=[ChangeKind.SCALE])
    assert not asks(allowed, once, PROD)


@pytest.mark.parametrize(
    ("when", "context", "asked"),
    [
        ({"cluster": ["*-staging", "lab"]}, "eu-staging", False),
        ({"cluster": ["*-staging", "lab"]}, "lab", False),
        ({"cluster": ["*-staging", "lab"]}, "eu-prod", True),
        ({"cluster": ["lab"]}, "LAB", True),
        ({"cluster": ["*"]}, "", False),
        ({"cluster": []}, "lab", True),
        ({"weekday": ["monday"]}, "lab", True),
        ({"cluster": ["lab"], "weekday": ["monday"]}, "lab", True),
        ({}, "eu-prod", False),
    ],
)
def test_auto_holds_only_where_every_condition_does(when, context: str, asked: bool):
    where = {"cluster": context, "uid": "", "server": ""}
    assert asks(playbook(approval="auto", allow_auto_when=when), scale(), where) is asked


@pytest.mark.parametrize(
    ("when", "asked"),
    [
        ({"uid": ["u-prod"]}, False),
        ({"uid": ["u-lab"]}, True),
        ({"server": ["10.0.0.1:*"]}, False),
        ({"server": ["https://10.0.0.1:6443"]}, False),
        ({"server": ["10.0.0.2:6443"]}, True),
        ({"cluster": ["prod"], "uid": ["u-prod"], "server": ["10.*"]}, False),
        ({"cluster": ["prod"], "uid": ["u-lab"]}, True),
    ],
)
def test_a_cluster_whose_name_is_not_to_be_trusted_is_pinned(when, asked: bool):
    auto = playbook(approval="auto", allow_auto_when=when)
    guard = Guard(auto, context="prod", cluster="u-prod", server="10.0.0.1:6443")
    assert guard.asks(scale()) is asked
    assert Guard(auto, context="prod").asks(scale()), "what is not known matches nothing"


# --- whatever is proposed -------------------------------------------------------------------

POINTERS = {  # what an honest change of the kind touches, and what a sneaky one might
    "scale": ["/spec/replicas", "/spec/replicas", "/spec/replicas", "/spec/image"],
    "set-replicas-bounds": ["/spec/minReplicas", "/spec/maxReplicas", "/spec/replicas"],
    "set-image": [f"{APP}/image", f"{APP}/image", f"{APP}/command"],
    "patch-object": ["/spec/replicas", "/spec", "", "/spec/paused", f"{POD}/hostNetwork"],
    "reboot": ["/spec/replicas"],
}
kinds = st.sampled_from(list(POINTERS))
names = st.sampled_from(["auth"] * 6 + ["pay", "shop/auth", "", "*", ".."])
spaces = st.sampled_from(["shop"] * 6 + ["pay", "local", "kube-system", "", "shop/auth"])
sorts = st.sampled_from(["Deployment"] * 4 + ["HorizontalPodAutoscaler", "Node", "Secret"])
refs = st.builds(ObjectRef, sorts, spaces, names)
counts = st.sampled_from([1, 1, 2, 2, 2, 3, 3, 4, 6, 9, 21, 0, -1, None, True, "3", "shop/a:1"])
patterns = st.one_of(
    st.sampled_from(["Deployment/shop/*", "*/*/*", "Deployment/*/auth", "Node/*"]),
    st.lists(st.one_of(spaces, st.just("*")), min_size=1, max_size=4).map("/".join),
)


@st.composite
def proposals(draw: st.DrawFn) -> Change:
    kind = draw(kinds)

    def side() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for pointer in draw(st.lists(st.sampled_from(POINTERS[kind]), max_size=2, unique=True)):
            count = draw(counts)
            wrapped = {"replicas": count, "image": "x"}
            found[pointer] = {"/spec": wrapped, "": {"spec": wrapped}}.get(pointer, count)
        return found

    strange: Any = kind
    known = kind in set(ChangeKind)
    return Change(ChangeKind(kind) if known else strange, draw(refs), side(), side(), "why")


# Half of what is proposed gets as far as being weighed, so that not all is settled before.
HONEST = [scale(), scale(3, 2), scale(3, 1), IMAGE, RESTART, patch({}, {"/spec/paused": "x"})]
changes = st.one_of(proposals(), *[st.sampled_from(HONEST)] * 3)
tallies = st.builds(
    lambda applied, ago, broken: tally(
        *applied, times=tuple(NOW - timedelta(minutes=each) for each in ago), break_glass=broken
    ),
    st.lists(changes, max_size=3),
    st.lists(st.integers(0, 90), max_size=3),
    st.sampled_from(["", "", "INC-7"]),
)
allowances = st.lists(kinds.filter(lambda kind: kind != "reboot"), min_size=2, max_size=6)
books = st.builds(
    lambda allow, targets, namespaces, factor, most, changed, access, approval: playbook(
        allow,
        targets,
        limits=limits(changed, factor, most),
        scope=models.Scope(namespaces=namespaces, cluster=access),
        approval=approval,
    ),
    allowances,
    st.lists(patterns, min_size=1, max_size=3),
    st.sampled_from([[], [], ["shop"], ["shop", "pay"], ["pay"]]),
    st.sampled_from([3, 3, 1.5, 1]),
    st.sampled_from([20, 20, 5, 1]),
    st.sampled_from([3, 3, 2, 1, 0]),
    st.sampled_from(["read-write"] * 5 + ["read-only"]),
    st.sampled_from(["ask", "auto", "auto", "never"]),
)
WIDE = playbook(["scale", "set-image", "restart", "patch-object"], approval="auto")
books = st.one_of(books, *[st.just(WIDE)] * 3)
selections = st.builds(
    Selection,
    contexts=st.sampled_from([[], [], ["lab"], ["*-prod"]]),
    namespaces=st.sampled_from([[], [], ["shop"], ["s*"], ["pay"]]),
    changes=st.sampled_from([[], [], [ChangeKind.SCALE], [ChangeKind.SET_IMAGE]]),
    targets=st.sampled_from([[], [], ["Deployment/shop/auth"], ["Deployment/*/*"]]),
)
policies = st.builds(
    lambda allow, deny, changed, factor, windows, glass, managed, approval: policy(
        allow=allow,
        deny=deny,
        limits=Bounds(changes=changed, replicas=ReplicaBounds(max_factor=factor), windows=windows),
        break_glass=glass,
        on_managed=managed,
        approval=approval,
    ),
    selections,
    st.one_of(st.just(Selection()), selections),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from([None, 1, 2.0]),
    st.sampled_from([[], [models.Window(days=["fri"])], [models.Window(days=["sat"])]]),
    st.booleans(),
    st.sampled_from([None, "pr", "warn", "allow"]),
    st.sampled_from([None, "ask", "never"]),
)
surroundings = st.builds(
    Surroundings,
    managed=st.sampled_from([None, HELM, OWNED]),
    budgets=st.sampled_from([(), (TIGHT,), (Budget("auth", 1, 1),)]),
    replicas=st.sampled_from([None, 1, 3]),
    typed=st.sampled_from([(), (manifest(image="shop/a:1"),)]),
    gaps=st.sampled_from([(), ("budgets",)]),
)


def replicas_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every replica count on a side of a change, found by walking all of it."""
    found: dict[str, Any] = {}

    def walk(path: str, value: Any) -> None:
        if path in ("/spec/replicas", "/spec/minReplicas", "/spec/maxReplicas"):
            found.setdefault(path, value)
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{path}/{key}", item)

    for pointer, value in values.items():
        walk(pointer, value)
    return found


@settings(max_examples=150)
@given(books, changes, st.lists(changes, max_size=3))
def test_what_gets_through_is_named_in_scope_and_within_every_limit(
    book: models.Playbook, change: Change, applied: list[Change]
):
    if Guard(book).judge(change, tally(*applied)).answer is not Answer.YES:
        return
    tool, target = book.tools.change, change.target
    assert tool is not None
    assert book.scope.cluster != "read-only"
    assert change.kind in tool.allow
    spelled = [part for part in (target.kind, target.namespace, target.name) if part]
    assert not any("/" in part for part in spelled)
    assert any(
        len(pattern.split("/")) == len(spelled)
        and all(map(lambda want, have: want in ("*", have), pattern.split("/"), spelled))
        for pattern in tool.targets
    )
    assert target.namespace in (*(book.scope.namespaces or [target.namespace]), "")
    touched = {each.target for each in (*applied, change)}
    assert len(touched) <= book.limits.changes
    for path, after in replicas_of(change.after).items():
        assert type(after) is int
        assert 1 <= after <= book.limits.replicas.max
        history = [each for each in (*applied, change) if each.target == target]
        first = next(
            each
            for each in history
            if path in replicas_of(each.before) or path in replicas_of(each.after)
        )
        before = replicas_of(first.before).get(path, 1)
        before = before if isinstance(before, int) else 1
        assert factor(before, after) <= book.limits.replicas.max_factor
    if change.kind is ChangeKind.SCALE:
        assert {*change.before, *change.after} <= {"/spec/replicas"}


@given(
    st.integers(0, 8),
    st.lists(st.integers(-1, 30), max_size=6),
    st.sampled_from([1, 1.5, 2, 3]),
    st.integers(1, 20),
    st.sampled_from(["/spec/replicas", "/spec"]),
)
def test_no_sequence_of_changes_gets_around_the_replica_limits(
    first: int, wanted: list[int], most_factor: float, most: int, pointer: str
):
    def side(replicas: int) -> dict[str, Any]:
        return {pointer: {"/spec": {"replicas": replicas}}.get(pointer, replicas)}

    guard = Guard(playbook(allow=["patch-object"], limits=limits(1, most_factor, most)))
    now, applied = first, []
    for replicas in wanted:
        change = Change(ChangeKind.PATCH_OBJECT, AUTH, side(now), side(replicas), "more")
        allowed = 1 <= replicas <= most and factor(first, replicas) <= most_factor
        assert (guard.judge(change, tally(*applied)).answer is Answer.YES) is allowed
        if allowed:
            now = replicas
            applied.append(change)


@settings(max_examples=100)
@given(books, st.lists(policies, max_size=2), policies, changes, tallies, surroundings)
def test_another_policy_never_turns_a_no_into_a_yes(
    book: models.Playbook,
    first: list[Policy],
    more: Policy,
    change: Change,
    so_far: Tally,
    seen: Surroundings,
):
    def answers(guard: Guard) -> list[bool]:
        verdict = guard.judge(change, so_far)
        weighed = guard.weigh(change, seen, verdict) if verdict.answer is Answer.YES else verdict
        return [
            verdict.answer is Answer.YES,
            weighed.answer is Answer.YES,
            not guard.asks(change),
            guard.approval != "never",
        ]

    before = answers(Guard(book, first, context="lab"))
    after = answers(Guard(book, [*first, more], context="lab"))
    assert all(was or not now for was, now in zip(before, after, strict=True))


@settings(max_examples=100)
@given(books, changes, tallies, st.data())
def test_narrowing_a_playbook_never_turns_a_no_into_a_yes(
    book: models.Playbook, change: Change, so_far: Tally, data: st.DataObject
):
    tool = book.tools.change
    assert tool is not None
    fewer = models.ChangeTool(
        allow=data.draw(st.lists(st.sampled_from(tool.allow))),
        targets=data.draw(st.lists(st.sampled_from(tool.targets))),
    )
    tight = limits(
        min(book.limits.changes, data.draw(st.integers(0, 3))),
        min(book.limits.replicas.max_factor, data.draw(st.sampled_from([1, 2, 9]))),
        min(book.limits.replicas.max, data.draw(st.sampled_from([1, 4, 99]))),
    )
    narrowed = msgspec.structs.replace(book, tools=models.Tools(change=fewer), limits=tight)
    if Guard(book).judge(change, so_far).answer is Answer.NO:
        assert Guard(narrowed).judge(change, so_far).answer is Answer.NO


class Around(KubeApplier):
    """An applier whose target has given surroundings; all it sends is recorded by its cluster."""

    def __init__(self, cluster: FakeCluster, seen: Surroundings) -> None:
        super().__init__(lambda: cluster)
        self._fake, self._seen = cluster, seen

    def look(self, change: Change) -> Surroundings:
        self._fake.get(change.target)
        return self._seen


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (IMAGE, Surroundings()),  # an image that stands nowhere
        (scale(), Surroundings(managed=HELM)),
        (RESTART, Surroundings(budgets=(TIGHT,))),
        (scale(3, 2), Surroundings(budgets=(TIGHT,))),
    ],
)
def test_what_is_weighed_and_refused_is_read_and_no_more(change: Change, seen: Surroundings):
    cluster = FakeCluster([manifest(replicas=1)])
    by: Any = dict.fromkeys(ChangeKind, Around(cluster, seen))
    book = msgspec.structs.replace(WIDE, on_managed="pr")
    executor = Executor(Guard(book), by, lambda card: pytest.fail("asked"), FakeClock())
    assert list(executor.execute(change)) == []
    assert [request.verb for request in cluster.requests] == ["get"]


@settings(max_examples=100)
@given(books, st.lists(policies, max_size=1), changes, surroundings)
def test_what_is_refused_never_reaches_the_world(
    book: models.Playbook, in_force: list[Policy], change: Change, seen: Surroundings
):
    """Against an operator who says yes to everything: the cluster got no request at all for what
    `judge` refuses, and no changing one, dry run included, for what `weigh` refuses."""
    cluster = FakeCluster([manifest(replicas=1), {**manifest("pay"), "spec": {"replicas": 2}}])
    guard = Guard(book, in_force, context="lab")
    asked: list[Card] = []

    def approver(card: Card) -> Decision:
        asked.append(card)
        return Decision(Answer.YES, "operator")

    clock = FakeClock()
    by: Any = dict.fromkeys((*ChangeKind, change.kind), Around(cluster, seen))
    executor = Executor(guard, by, approver, clock)
    verdict = guard.judge(change, Tally(now=clock.now()))
    events = list(executor.execute(change))
    if verdict.answer is Answer.NO:
        assert (cluster.requests, events, asked) == ([], [], [])
        return
    weighed = guard.weigh(change, seen, verdict)
    if weighed.answer is Answer.NO:
        assert {request.verb for request in cluster.requests} <= {"get"}
        assert (events, asked) == ([], [])
    if guard.approval == "never":
        sent = [request for request in cluster.requests if request.verb != "get"]
        assert all(request.detail["dry_run"] for request in sent)
    if guard.asks(change) and any(not r.detail.get("dry_run", True) for r in cluster.requests):
        assert asked, "sent without a question"


# --- what may be read --------------------------------------------------------------------------


def scoped(
    cluster: FakeCluster, read: list[str] | None = None, namespaces: list[str] | None = None
) -> ScopedCluster:
    kubectl = None if read is None else models.KubectlTool(read=read)
    book = playbook(tools=models.Tools(kubectl=kubectl), namespaces=namespaces)
    return ScopedCluster(cluster, book)


def pod(namespace: str = "shop") -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "auth-1", "namespace": namespace}}


READS = {
    "get": lambda cluster: cluster.get(ObjectRef("Pod", "shop", "auth-1")),
    "list": lambda cluster: cluster.list("Pod", "shop"),
    "logs": lambda cluster: cluster.logs("shop", "auth-1", previous=False, lines=5),
    "proxy": lambda cluster: cluster.proxy(ObjectRef("Pod", "shop", "auth-1"), 80, "/", 1.0),
    "exec": lambda cluster: cluster.exec("shop", "auth-1", "", ["df"], 1.0),
}


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize(
    ("read", "namespaces"), [(None, None), ([], ["shop"]), (["po"], None), (["pods"], ["shop"])]
)
def test_reads_in_scope_go_through(verb: str, read, namespaces):
    cluster = FakeCluster(
        [pod()],
        http=FakeHttp({"Pod/shop/auth-1:80/": reply(200)}),
        processes=FakeProcesses({"df": completed()}),
    )
    READS[verb](scoped(cluster, read, namespaces))
    assert [request.verb for request in cluster.requests] == [verb]


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize(
    ("read", "namespaces", "needs"),
    [
        (["deployments"], None, "pods in tools.kubectl.read"),
        (["podtemplates"], None, "pods in tools.kubectl.read"),
        (None, ["pay"], "shop in scope.namespaces"),
        (["pods"], ["pay", "sho", "shop-eu"], "shop in scope.namespaces"),
    ],
)
def test_a_refused_read_sends_nothing_and_says_what_it_needs(verb: str, read, namespaces, needs):
    cluster = FakeCluster([pod()])
    with pytest.raises(AccessDenied) as refused:
        READS[verb](scoped(cluster, read, namespaces))
    assert refused.value.needs == needs
    assert cluster.requests == []


def test_all_namespaces_are_more_than_the_scope():
    cluster = FakeCluster([pod()])
    with pytest.raises(AccessDenied, match="all namespaces"):
        scoped(cluster, None, ["shop"]).list("pods")
    with pytest.raises(AccessDenied):
        scoped(cluster, None, ["shop"]).get(ObjectRef("Pod", "", "auth-1"))
    assert cluster.requests == []


def test_objects_without_a_namespace_are_outside_no_scope():
    cluster = FakeCluster([{"kind": "Node", "metadata": {"name": "n1"}}])
    seen = scoped(cluster, None, ["shop"])
    assert seen.get(ObjectRef("Node", "", "n1"))
    assert seen.list("nodes")
    with pytest.raises(AccessDenied):
        scoped(cluster, ["pods"], ["shop"]).list("nodes")


@pytest.mark.parametrize("kind", ["Secret", "secret", "secrets", "SECRETS"])
def test_secrets_are_read_only_where_they_are_named(kind: str):
    cluster = FakeCluster()
    for read in (None, [], ["pods"]):
        with pytest.raises(AccessDenied, match="secrets"):
            scoped(cluster, read).list(kind, "shop")
    assert cluster.requests == []
    scoped(cluster, ["secrets"]).list(kind, "shop")
    assert len(cluster.requests) == 1


def test_nobody_patches_through_a_scoped_cluster():
    cluster = FakeCluster([pod()])
    with pytest.raises(AccessDenied):
        scoped(cluster).patch(ObjectRef("Pod", "shop", "auth-1"), [], dry_run=True, note="")
    assert cluster.requests == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_name_of_a_kind_is_the_same_kind(kind):
    assert {plural(name) for name in (kind.kind, *kind.names)} == {kind.plural}


@pytest.mark.parametrize(
    ("kind", "resources"),
    [
        ("Certificate", "certificates"),
        ("certificates", "certificates"),
        ("BackendPolicy", "backendpolicies"),
        ("Gateway", "gateways"),
        ("Mesh", "meshes"),
        ("IngressClassParams", "ingressclassparams"),
    ],
)
def test_custom_kinds_are_spelled_as_the_api_does(kind: str, resources: str):
    assert plural(kind) == resources
