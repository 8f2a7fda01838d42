"""Helm releases as changes: what an approver sees, what stands in the way, what is proven."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.appliers import ReleaseApplier
from smoldebug.appliers.manifest_diff import MOST
from smoldebug.appliers.releases import lacking
from smoldebug.change import Executor, Outcome, Place, digest
from smoldebug.clock import FakeClock
from smoldebug.errors import AccessDenied, ChangeRefused, Conflict, ToolError, UnreachableError
from smoldebug.events import AnyEvent, ChangeProposed
from smoldebug.guard import Guard
from smoldebug.guard.fields import never
from smoldebug.kubectl import helm_command, summary
from smoldebug.playbook import models
from smoldebug.playbook.policy import Policy, PolicyFile, Selection
from smoldebug.pointers import projected
from smoldebug.records import OF_RELEASE, Answer, Card, Change, ChangeKind, Decision, ObjectRef
from smoldebug.sources.fake_helm import FakeChart, FakeHelm
from smoldebug.sources.fakes import FakeCluster, FakeProcesses
from smoldebug.sources.helm import Hook, Object, Release
from smoldebug.sources.world import World

SHOP = Release("shop", "platform")
NOTE = "7f3a1c C1"
CHART = "charts/platform"


def deployment(name: str, image: str = "auth:1", version: str = "1.0.0", **spec: Any) -> Object:
    container = {"name": "app", "image": image, "resources": {"limits": {"cpu": 0.5}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": {"helm.sh/chart": f"platform-{version}"},
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}, **spec},
    }


def thing(kind: str, name: str, version: str = "1.0.0", **fields: Any) -> Object:
    labels = {"helm.sh/chart": f"platform-{version}"}
    meta = {"name": name, "namespace": "shop", "labels": labels}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta, **fields}


def templates(version: str, image: str, *more: Object) -> Any:
    def rendered(values: Mapping[str, Any]) -> list[Object]:
        replicas = values.get("replicas", 1)
        auth = deployment("auth", image, version, replicas=replicas)
        return [auth, thing("Service", "auth", version), thing("Service", "web", version), *more]

    return rendered


OLD = FakeChart("platform", "1.0.0", templates("1.0.0", "auth:1"))
NEW = FakeChart("platform", "1.1.0", templates("1.1.0", "auth:2"))


class Stage:
    """A release at 1.0.0, and what is around it."""

    def __init__(self, new: FakeChart = NEW, old: FakeChart = OLD, **fields: Any) -> None:
        self.cluster, self.clock = FakeCluster(context="eu"), FakeClock()
        self.helm = FakeHelm(self.cluster, {CHART: [old]}, self.clock)
        self.helm.install(SHOP, CHART, {"replicas": 2})
        self.helm.charts[CHART] = [old, new]
        self.world = World(
            self.clock,
            FakeProcesses(),
            cluster=lambda: self.cluster,
            helm=lambda _: self.helm,
        )
        self.applier = ReleaseApplier(self.world)
        tool = models.ChangeTool(allow=list(OF_RELEASE), targets=["HelmRelease/shop/platform"])
        book = models.Playbook(
            apiVersion="smoldebug.dev/v1",
            name="upgrade",
            goal=models.Goal(),
            tools=models.Tools(change=tool),
            **{"approval": "auto", **fields},
        )
        self.asked: list[Card] = []
        self.guard = Guard(book, context="eu")
        self.executor = self.made_executor()

    def made_executor(self) -> Executor:
        return Executor(
            self.guard,
            dict.fromkeys(OF_RELEASE, self.applier),
            self._asked,
            self.clock,
            Place("7f3a1c", "eu"),
        )

    def _asked(self, card: Card) -> Decision:
        self.asked.append(card)
        return Decision(Answer.YES, "operator")

    def upgrade(self, chart: FakeChart = NEW, **values: Any) -> Change:
        newest = self.helm.history(SHOP)[-1]
        path = f"/run/{chart.name}-{chart.version}.tgz"
        self.helm.archives[path] = chart
        return Change(
            ChangeKind.HELM_UPGRADE,
            SHOP.ref,
            before={"/revision": newest.number, "/chart": newest.chart},
            after={
                "/chart": f"{chart.name}-{chart.version}",
                "/digest": chart.digest,
                "/path": path,
                "/values": {"replicas": 2, **values},
                "/timeout": 60.0,
            },
            why="a new version",
            from_revision=newest.number,
            given=True,
        )

    def rollback(self, to: int) -> Change:
        newest = self.helm.history(SHOP)[-1]
        return Change(
            ChangeKind.HELM_ROLLBACK,
            SHOP.ref,
            before={"/revision": newest.number, "/chart": newest.chart},
            after={"/to": to},
            why="it is broken",
            revision=to,
            from_revision=newest.number,
        )

    def execute(self, change: Change) -> tuple[list[AnyEvent], Outcome]:
        return played(self.executor.execute(change))

    def take_back(self) -> tuple[list[AnyEvent], bool]:
        return played(self.executor.take_back())

    def card(self, change: Change) -> Card:
        events, _ = self.execute(change)
        return next(each.card for each in events if isinstance(each, ChangeProposed))

    @property
    def image(self) -> str:
        auth = self.cluster.objects[ObjectRef("Deployment", "shop", "auth")]
        return str(auth["spec"]["template"]["spec"]["containers"][0]["image"])

    @property
    def statuses(self) -> list[str]:
        return [each.status for each in self.helm.history(SHOP)]


def played(steps: Any) -> tuple[list[AnyEvent], Any]:
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as done:
            return events, done.value


# --- there and back --------------------------------------------------------------------------


def test_an_upgrade_is_carried_out_read_back_and_taken_back():
    stage = Stage()
    _, outcome = stage.execute(stage.upgrade())
    assert (outcome.state, stage.image, stage.asked) == ("verified", "auth:2", [])
    assert stage.helm.history(SHOP)[-1].description == "smoldebug 7f3a1c C1"
    assert "revision 1→2" in outcome.text
    _, clean = stage.take_back()
    assert clean
    assert (stage.image, stage.statuses) == ("auth:1", ["superseded", "superseded", "deployed"])


def test_the_inverse_of_an_upgrade_is_a_rollback_and_that_of_a_rollback_goes_forth_again():
    stage = Stage()
    inverse = stage.upgrade().inverse()
    assert (inverse.kind, inverse.revision) == (ChangeKind.HELM_ROLLBACK, 1)
    stage.execute(stage.upgrade())
    _, outcome = stage.execute(stage.rollback(1))
    assert (outcome.state, stage.image) == ("verified", "auth:1")
    (applied,) = stage.executor.applied[1:]
    assert applied.change.inverse().revision == 2
    stage.executor.applied.pop(0)
    assert stage.take_back()[1]
    assert stage.image == "auth:2"


def test_two_upgrades_of_one_release_are_both_taken_back():
    stage = Stage()
    stage.execute(stage.upgrade())
    newer = FakeChart("platform", "1.2.0", templates("1.2.0", "auth:3"))
    stage.execute(stage.upgrade(newer))
    assert stage.image == "auth:3"
    assert stage.take_back()[1]
    assert (stage.image, stage.executor.applied) == ("auth:1", [])


def test_values_are_given_whole_and_read_back():
    stage = Stage()
    _, outcome = stage.execute(stage.upgrade(replicas=3, extra=None))
    assert outcome.state == "verified", "what is null may be kept or left out"
    assert stage.helm.values(SHOP) == {"replicas": 3, "extra": None}


def test_an_upgrade_that_was_made_by_somebody_else_is_not_ours():
    stage = Stage()
    change = stage.upgrade()
    stage.helm.install(SHOP, CHART, {"replicas": 2})
    assert not stage.applier.holds(change, NOTE)


def test_a_rollback_is_proven_by_the_live_objects_and_not_by_helms_record():
    stage = Stage()
    stage.execute(stage.upgrade())
    stage.execute(stage.rollback(1))
    change = stage.executor.applied[-1].change
    assert stage.applier.holds(change, NOTE)
    auth = ObjectRef("Deployment", "shop", "auth")
    stage.cluster.objects[auth]["spec"]["template"]["spec"]["containers"][0]["image"] = "auth:9"
    assert not stage.applier.holds(change, NOTE)
    del stage.cluster.objects[auth]
    assert not stage.applier.holds(change, NOTE)


def test_what_cannot_be_seen_proves_nothing():
    stage = Stage()
    stage.cluster.refuse("get", "Service")
    with pytest.raises(ToolError):
        lacking(stage.cluster, stage.helm.objects(SHOP))


def test_the_replicas_of_a_workload_are_its_autoscalers():
    target = {"kind": "Deployment", "name": "auth"}
    scaler = thing("HorizontalPodAutoscaler", "auth", spec={"scaleTargetRef": target})
    stage = Stage(old=FakeChart("platform", "1.0.0", templates("1.0.0", "auth:1", scaler)))
    auth = stage.cluster.objects[ObjectRef("Deployment", "shop", "auth")]
    auth["spec"]["replicas"] = 7
    assert lacking(stage.cluster, stage.helm.objects(SHOP)) == []
    auth["spec"]["paused"] = auth["spec"]["template"]["spec"]["containers"][0]["image"] = "x"
    assert lacking(stage.cluster, stage.helm.objects(SHOP)) == [
        ObjectRef("Deployment", "shop", "auth")
    ]


def test_an_autoscaler_beside_the_release_counts_as_well():
    stage = Stage()
    auth = ObjectRef("Deployment", "shop", "auth")
    stage.cluster.objects[auth]["spec"]["replicas"] = 7
    assert lacking(stage.cluster, stage.helm.objects(SHOP)) == [auth]
    target = {"kind": "Deployment", "name": "auth"}
    stage.cluster.put(thing("HorizontalPodAutoscaler", "keda", spec={"scaleTargetRef": target}))
    assert lacking(stage.cluster, stage.helm.objects(SHOP)) == []


def test_whom_a_webhook_trusts_is_filled_in_by_others():
    hook = thing("ConfigMap", "hook", clientConfig={"caBundle": "Cg==", "path": "/check"})
    stage = Stage(old=FakeChart("platform", "1.0.0", templates("1.0.0", "auth:1", hook)))
    live = stage.cluster.objects[ObjectRef("ConfigMap", "shop", "hook")]
    live["clientConfig"]["caBundle"] = "LS0t"
    assert lacking(stage.cluster, stage.helm.objects(SHOP)) == []
    live["clientConfig"]["path"] = "/else"
    assert lacking(stage.cluster, stage.helm.objects(SHOP)) != []


def test_as_before_already_is_undone_without_another_release():
    stage = Stage()
    stage.helm.fail("upgrade", UnreachableError("connection reset"))
    stage.execute(stage.upgrade())
    stage.helm.recover("upgrade")
    assert stage.take_back()[1]
    assert stage.statuses == ["deployed"]


# --- how it may end --------------------------------------------------------------------------


def test_a_failure_that_made_no_revision_changed_nothing():
    stage = Stage()
    stage.helm.fail("upgrade", ToolError("cannot patch: field is immutable"))
    _, outcome = stage.execute(stage.upgrade())
    assert (outcome.state, stage.executor.applied) == ("failed", [])
    assert "nothing changed: cannot patch: field is immutable" in outcome.text


@pytest.mark.parametrize("leaves", ["failed", "pending-upgrade"])
@pytest.mark.parametrize("error", [ToolError("a hook timed out"), AccessDenied("forbidden")])
def test_a_failure_that_left_a_revision_counts_as_changed_and_is_taken_back(leaves, error):
    stage = Stage()
    stage.helm.fail("upgrade", error, leaves)
    _, outcome = stage.execute(stage.upgrade())
    assert outcome.state == "unknown"
    assert f"revision 2 is {leaves}: {error}" in outcome.text
    assert stage.take_back()[1]
    assert (stage.image, stage.statuses[-1]) == ("auth:1", "deployed")


def test_a_revision_that_failed_is_told_apart_from_one_that_nobody_knows_of():
    stage = Stage()
    stage.helm.fail("upgrade", ToolError("a hook failed"), "failed")
    assert stage.execute(stage.upgrade())[1].text.startswith("FAILED, and may be half done: rev")
    stage = Stage()
    stage.helm.fail("upgrade", ToolError("cut off"), "pending-upgrade")
    assert stage.execute(stage.upgrade())[1].text.startswith("OUTCOME UNKNOWN: revision 2 is pend")


def test_a_cluster_that_hangs_is_not_looked_at_again_and_again():
    class Hanging(ReleaseApplier):
        def holds(self, change: Change, note: str) -> bool:
            stage.clock.sleep(10)
            raise UnreachableError("no answer in time")

    stage = Stage()
    stage.applier = Hanging(stage.world)
    stage.executor = stage.made_executor()
    stage.helm.fail("upgrade", UnreachableError("Helm was stopped after 75 s"), "pending-upgrade")
    change, began = stage.upgrade(), stage.clock.monotonic()
    assert stage.execute(change)[1].state == "unknown"
    assert stage.clock.monotonic() - began == 10


def test_a_rollback_that_fails_is_told():
    stage = Stage()
    stage.execute(stage.upgrade())
    stage.helm.fail("rollback", ToolError("cannot patch Deployment auth"), "failed")
    events, clean = stage.take_back()
    assert not clean
    assert events[-1].state == "undo failed"
    assert "cannot patch Deployment auth" in events[-1].detail


@pytest.mark.parametrize("leaves", ["failed", "pending-rollback"])
def test_an_undo_that_failed_can_be_tried_again(leaves):
    stage = Stage()
    stage.execute(stage.upgrade())
    stage.helm.fail("rollback", AccessDenied("cannot patch deployments"), leaves)
    assert not stage.take_back()[1]
    stage.helm.recover("rollback")
    assert stage.take_back()[1]
    assert (stage.image, stage.statuses[-1]) == ("auth:1", "deployed")


def test_a_release_of_somebody_else_blocks_the_undo_and_is_named():
    stage = Stage()
    stage.execute(stage.upgrade())
    stage.helm.install(SHOP, CHART)
    events, clean = stage.take_back()
    assert not clean
    assert events[-1].state == "undo blocked"
    assert "somebody else has released since: revision 3, platform-1.1.0" in events[-1].detail
    assert "2026-01-01 00:00:00 UTC" in events[-1].detail


def test_other_values_that_render_the_same_are_somebody_elses_all_the_same():
    stage = Stage()
    stage.execute(stage.upgrade())
    stage.helm.charts[CHART] = [OLD]
    stage.helm.install(SHOP, CHART, {"replicas": 2, "image": {"tag": "kept"}})
    assert stage.take_back()[0][-1].state == "undo blocked"


def test_a_release_between_the_last_look_and_the_undo_is_not_rolled_over():
    class Quicker(ReleaseApplier):
        def drift(self, change: Change, note: str) -> str:
            found = super().drift(change, note)
            stage.helm.install(SHOP, CHART)
            return found

    stage = Stage()
    stage.applier = Quicker(stage.world)
    stage.executor = stage.made_executor()
    stage.execute(stage.upgrade())
    events, clean = stage.take_back()
    assert (clean, events[-1].state) == (False, "undo blocked")
    assert "meant for revision 2, and now there is revision 3" in events[-1].detail


def test_a_failed_release_of_somebody_else_is_not_taken_for_ours():
    stage = Stage()
    stage.helm.fail("upgrade", ToolError("x"), "failed")
    change = stage.upgrade()
    stage.execute(change)
    assert stage.applier.drift(change, NOTE) == ""
    stage.helm.charts[CHART] = [OLD]
    other = Stage()
    change = other.upgrade()
    other.helm.charts[CHART] = [OLD]
    other.helm.install(SHOP, CHART, {}, "failed")
    assert "somebody else" in other.applier.drift(change, NOTE)


# --- what stands in the way ------------------------------------------------------------------


def test_a_release_since_it_was_proposed_is_a_conflict():
    stage = Stage()
    change = stage.upgrade()
    stage.helm.install(SHOP, CHART)
    with pytest.raises(Conflict, match="meant for revision 1, and now there is revision 2"):
        stage.applier.look(change)
    with pytest.raises(Conflict):
        stage.applier.apply(change, NOTE)
    assert [each.verb for each in stage.helm.requests].count("upgrade") == 0


def test_an_operation_under_way_is_said_with_the_fix():
    stage = Stage()
    stage.helm.install(SHOP, CHART, {}, "pending-upgrade")
    with pytest.raises(ChangeRefused, match="under way since 2026-01-01.*helm rollback"):
        stage.applier.look(stage.upgrade())


def test_a_chart_that_changed_on_disk_is_not_what_was_approved():
    stage = Stage()
    change = stage.upgrade()
    stage.helm.archives[change.after["/path"]] = replace(NEW, build="other")
    for act in (stage.applier.look, lambda change: stage.applier.apply(change, NOTE)):
        with pytest.raises(ChangeRefused, match="the chart has changed since"):
            act(change)


def test_what_could_not_be_checked_was_not_sent():
    stage = Stage()
    change = stage.upgrade()
    stage.helm.fail("history", UnreachableError("no route to host"))
    with pytest.raises(ChangeRefused, match="it was not sent: no route to host"):
        stage.applier.apply(change, NOTE)


def test_what_helm_refuses_in_its_dry_run_is_not_proposed():
    stage = Stage()
    stage.helm.fail("rehearse", ToolError("parse error at templates/auth.yaml:3"))
    events, outcome = stage.execute(stage.upgrade())
    assert (events, outcome.state) == ([], "refused")
    assert "templates/auth.yaml:3" in outcome.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "env", "ports", "port", "x"]), inner, max_size=3)
    ),
    max_leaves=15,
)


@given(JSON, JSON)
def test_any_object_has_all_that_it_sets_itself_and_nothing_that_nobody_sets(live, shape):
    assert projected(live, live) == live
    assert projected(live, shape) == projected(projected(live, shape), shape)
    if isinstance(live, dict) and isinstance(shape, dict):
        assert set(projected(live, shape)) == live.keys() & shape.keys()


# --- the card --------------------------------------------------------------------------------


def test_a_card_shows_each_edit_once_and_the_odd_ones_first():
    stage = Stage(
        FakeChart("platform", "1.1.0", templates("1.1.0", "auth:2", thing("ConfigMap", "new")))
    )
    card = stage.card(stage.upgrade(stage.helm.charts[CHART][-1]))
    assert card.diff.splitlines() == [
        "+ ConfigMap/shop/new (created)",
        "▸ Deployment/shop/auth",
        "-metadata.labels.helm.sh/chart: platform-1.0.0",
        "+metadata.labels.helm.sh/chart: platform-1.1.0",
        "-spec.template.spec.containers[app].image: auth:1",
        "+spec.template.spec.containers[app].image: auth:2",
        "▸ Service/shop/auth",
        "▸ the same in 1 more: web",
        "-metadata.labels.helm.sh/chart: platform-1.0.0",
        "+metadata.labels.helm.sh/chart: platform-1.1.0",
    ]
    assert card.dry_run == "accepted"
    assert card.warnings == ()
    assert "▸ Service/shop/web (changed)" in card.full_diff


def test_drift_that_helm_would_overwrite_is_seen_and_a_servers_defaults_are_not():
    stage = Stage()
    auth = stage.cluster.objects[ObjectRef("Deployment", "shop", "auth")]
    auth["spec"]["progressDeadlineSeconds"] = 600
    container = auth["spec"]["template"]["spec"]["containers"][0]
    container |= {"image": "auth:hotfix", "imagePullPolicy": "Always"}
    container["resources"]["limits"]["cpu"] = "500m"
    auth["spec"]["template"]["spec"]["containers"].insert(0, {"name": "injected", "image": "p"})
    card = stage.card(stage.upgrade())
    assert "-spec.template.spec.containers[app].image: auth:hotfix" in card.diff
    for unseen in ("progressDeadline", "PullPolicy", "cpu", "injected"):
        assert unseen not in card.diff + card.full_diff


def test_nulls_and_what_is_the_servers_to_say_are_no_difference():
    def conf(version: str, **data: Any) -> Object:
        item = thing("ConfigMap", "conf", version, data=data, status={})
        item["metadata"] |= {"creationTimestamp": None, "annotations": None}
        return item

    stage = Stage(
        FakeChart("platform", "1.1.0", [conf("1.0.0", a="2", b=None)]),
        FakeChart("platform", "1.0.0", [conf("1.0.0", a="1")]),
    )
    live = stage.cluster.objects[ObjectRef("ConfigMap", "shop", "conf")]
    live["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"x": "y"}}
    card = stage.card(stage.upgrade(stage.helm.charts[CHART][-1]))
    assert card.diff.splitlines() == ["▸ ConfigMap/shop/conf", "-data.a: '1'", "+data.a: '2'"]
    assert stage.take_back()[1]


def test_objects_that_an_upgrade_deletes_are_named_and_those_to_be_kept_are_not():
    keep = {"helm.sh/resource-policy": "keep"}
    kept = thing("ConfigMap", "kept")
    kept["metadata"]["annotations"] = keep
    stage = Stage(
        old=FakeChart("platform", "1.0.0", templates("1.0.0", "a", kept, thing("ConfigMap", "old")))
    )
    card = stage.card(stage.upgrade())
    assert "- ConfigMap/shop/old (deleted)" in card.diff
    assert "kept" not in card.diff


def test_hooks_and_crds_are_told_and_need_no_answer():
    migrate = Hook(ObjectRef("Job", "shop", "migrate"), ("pre-upgrade",))
    chart = replace(NEW, hooks=(migrate,), crds=("backups.example.com",))
    stage = Stage(chart)
    card = stage.card(stage.upgrade(chart))
    assert card.dry_run == (
        "accepted · hooks, which no undo takes back: Job/shop/migrate (pre-upgrade) "
        "· CRDs, which Helm does not upgrade: backups.example.com"
    )
    assert stage.asked == []


def test_secrets_are_masked_on_a_card_and_in_its_command():
    new = thing("Secret", "db", "1.1.0", stringData={"url": "postgres://u:hunter2222@db"})
    old = thing("Secret", "db", data={"url": "b2xkc2VjcmV0dmFsdWU="})
    stage = Stage(
        FakeChart("platform", "1.1.0", templates("1.1.0", "auth:2", new)),
        FakeChart("platform", "1.0.0", templates("1.0.0", "auth:1", old)),
    )
    card = stage.card(stage.upgrade(stage.helm.charts[CHART][-1], password="correct horse 1"))
    told = f"{card.diff} {card.full_diff} {card.command}"
    for secret in ("hunter2222", "correct horse", "b2xkc2VjcmV0dmFsdWU", "aHVudGVy"):
        assert secret not in told
    assert "data.url" in card.diff
    assert card.command == "# no helm command: a value in it is masked here"


def test_containers_that_are_called_as_their_workloads_get_one_edit():
    def chart(version: str) -> FakeChart:
        made = [deployment(name, f"shop:{version}") for name in ("auth", "cart", "web")]
        for each in made:
            each["spec"]["template"]["spec"]["containers"][0]["name"] = each["metadata"]["name"]
        return FakeChart("platform", f"1.{version}.0", made)

    stage = Stage(chart("1"), chart("0"))
    card = stage.card(stage.upgrade(stage.helm.charts[CHART][-1]))
    assert card.diff.splitlines() == [
        "▸ Deployment/shop/auth",
        "▸ the same in 2 more: cart, web",
        "-spec.template.spec.containers[auth].image: shop:0",
        "+spec.template.spec.containers[auth].image: shop:1",
    ]


def test_a_long_diff_is_cut_on_the_card_and_whole_behind_it():
    many = [deployment(f"s{n}", f"s{n}:2") for n in range(30)]
    old = [deployment(f"s{n}", f"s{n}:1") for n in range(30)]
    stage = Stage(FakeChart("platform", "1.1.0", many), FakeChart("platform", "1.0.0", old))
    card = stage.card(stage.upgrade(stage.helm.charts[CHART][-1]))
    lines = card.diff.splitlines()
    assert len(lines) == MOST + 1
    assert lines[-1] == "… and 50 more lines, 16 more edits"
    assert "s29:2" in card.full_diff


def test_a_card_says_what_a_person_would_type():
    stage = Stage()
    change = stage.upgrade()
    assert stage.card(change).command == (
        "printf %s '{\"replicas\":2}' | helm --kube-context eu -n shop upgrade platform "
        "/run/platform-1.1.0.tgz --reset-values -f -"
    )
    back = helm_command(change.inverse(), "eu", "/tmp/kube")
    assert back == "helm --kubeconfig /tmp/kube --kube-context eu -n shop rollback platform 1"
    assert summary(change) == "HelmRelease/shop/platform platform-1.0.0 → platform-1.1.0"
    assert summary(stage.rollback(1)).endswith("revision 2 → 1, ?")


def test_a_rollback_is_compared_with_the_revision_it_goes_back_to():
    stage = Stage()
    stage.execute(stage.upgrade())
    card = stage.card(stage.rollback(1))
    assert "+spec.template.spec.containers[app].image: auth:1" in card.diff
    assert card.dry_run == "not supported by Helm: compared with revision 1"


@pytest.mark.parametrize(
    "other", [{"/digest": "sha256:0"}, {"/values": {"replicas": 3}}, {"/path": "/elsewhere.tgz"}]
)
def test_an_approval_is_bound_to_the_charts_bytes_and_the_values(other: dict[str, Any]):
    change = Stage().upgrade()
    assert digest(change) != digest(replace(change, after={**change.after, **other}))


# --- the guard -------------------------------------------------------------------------------


def test_values_are_no_objects_to_the_guard():
    stage = Stage()
    odd = {
        "securityContext": {"privileged": True},
        "image": "registry.example/x:9",
        "spec": {"replicas": 0},
    }
    _, outcome = stage.execute(stage.upgrade(memory="900Gi", serviceAccountName="admin", **odd))
    assert outcome.state == "verified"
    assert stage.asked == []


def test_never_delete_holds_inside_a_release_too():
    claim = thing("PersistentVolumeClaim", "data")
    stage = Stage(old=FakeChart("platform", "1.0.0", templates("1.0.0", "auth:1", claim)))
    events, outcome = stage.execute(stage.upgrade())
    assert (events, outcome.state) == ([], "refused")
    assert "lose PersistentVolumeClaim/shop/data is in limits.never_delete" in outcome.text


def test_objects_outside_the_scope_are_refused_and_cluster_scoped_ones_are_not():
    away = thing("ConfigMap", "shared")
    away["metadata"]["namespace"] = "other"
    stage = Stage(
        FakeChart("platform", "1.1.0", templates("1.1.0", "auth:2", away)),
        scope=models.Scope(namespaces=["shop"]),
    )
    _, outcome = stage.execute(stage.upgrade(stage.helm.charts[CHART][-1]))
    assert "changes ConfigMap/other/shared, which is outside the playbook's scope" in outcome.text
    del away["metadata"]["namespace"]
    away["kind"] = "PriorityClass"
    assert stage.execute(stage.upgrade(stage.helm.charts[CHART][-1]))[1].state == "verified"


def test_a_policy_that_denies_an_object_denies_the_release_that_changes_it():
    stage = Stage()
    denied = Selection(targets=["Service/*/web"])
    file = PolicyFile(apiVersion="smoldebug.dev/v1", kind="Policy", deny=denied)
    deny = Policy(file=file, source="org")
    guard = Guard(stage.guard._playbook, [deny], context="eu")
    change = stage.upgrade()
    verdict = guard.weigh(change, stage.applier.look(change), Decision(Answer.YES, "guard"))
    assert verdict.answer is Answer.NO
    assert "Service/shop/web" in verdict.reason


def test_rights_that_a_chart_grants_are_asked_for():
    def role(*verbs: str) -> Object:
        item = thing("ClusterRole", "shop", rules=[{"resources": ["pods"], "verbs": list(verbs)}])
        del item["metadata"]["namespace"]
        return item

    chart = FakeChart("platform", "1.1.0", templates("1.1.0", "auth:2", role("get", "delete")))
    old = FakeChart("platform", "1.0.0", templates("1.0.0", "auth:1", role("get")))
    stage = Stage(chart, old)
    _, outcome = stage.execute(stage.upgrade(chart))
    assert outcome.state == "verified"
    [card] = stage.asked
    assert card.warnings == ("ClusterRole/shop grants more: its rules have new ones",)
    stage = Stage(replace(chart, version="1.2.0"), chart)
    stage.execute(stage.upgrade(chart))
    assert stage.asked == [], "it had these rights before"


def test_rights_of_pods_that_a_chart_raises_are_asked_for():
    spec = copy.deepcopy(deployment("auth", "auth:2"))
    spec["spec"]["template"]["spec"] |= {"hostNetwork": True, "serviceAccountName": "shop"}
    chart = FakeChart("platform", "1.1.0", [spec])
    stage = Stage(chart)
    stage.execute(stage.upgrade(chart))
    assert stage.asked[0].warnings == (
        "Deployment/shop/auth gains rights: hostNetwork: true (template spec)",
    )
    quiet = copy.deepcopy(deployment("new", "new:1"))
    quiet["spec"]["template"]["spec"]["serviceAccountName"] = "new"
    chart = FakeChart("platform", "1.1.0", templates("1.1.0", "auth:2", quiet))
    stage = Stage(chart)
    stage.execute(stage.upgrade(chart))
    assert stage.asked == [], "what its account may do is in roles"


def test_a_release_that_flux_makes_is_changed_elsewhere():
    stage = Stage(on_managed="pr")
    auth = stage.cluster.objects[ObjectRef("Deployment", "shop", "auth")]
    auth["metadata"]["labels"] |= {
        "helm.toolkit.fluxcd.io/name": "platform",
        "helm.toolkit.fluxcd.io/namespace": "flux",
    }
    _, outcome = stage.execute(stage.upgrade())
    assert "managed by Flux: HelmRelease flux/platform" in outcome.text


def test_an_object_that_cannot_be_seen_is_a_gap_that_is_asked_about():
    stage = Stage()
    stage.cluster.refuse("get", "Service")
    stage.execute(stage.upgrade())
    assert stage.asked[0].warnings == ("could not be seen: not allowed to get: Service",)


def test_another_kind_of_object_is_no_release():
    stage = Stage()
    wrong = replace(stage.upgrade(), target=ObjectRef("Deployment", "shop", "platform"))
    assert "a helm-upgrade is of a HelmRelease" in list(never(wrong))


def test_one_release_is_one_change_to_the_limits():
    stage = Stage(limits=models.Limits(changes=1))
    card = stage.card(stage.upgrade())
    assert card.limits == "1 of 1 change"
    assert stage.execute(stage.rollback(1))[1].state == "verified"


def test_after_a_crash_it_can_be_told_whether_it_took():
    stage = Stage()
    change = stage.upgrade()
    stage.applier.apply(change, NOTE)
    assert stage.applier.holds(change, NOTE)
    assert not stage.applier.holds(change.inverse(), NOTE)
