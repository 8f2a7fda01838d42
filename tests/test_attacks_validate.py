"""A hostile chart, service, release or neighbour, and an upgrade: nothing is hidden from the guard,
no other bytes are sent than were approved, nothing broken is called well, nothing leaks."""

import copy
import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import services
import test_releases
import test_steps
import test_upgrade
from attacks import ACTIVE, ATTACKS, PASSWORD
from forgeservers import bench
from services import Shop
from test_attacks import COMMAND, INVISIBLE, everything_said, harmless, run_of
from test_helm import FILES, Spoken, fetched, helm, laid, packed
from test_pull_request import acting
from test_releases import CHART, SHOP, Stage, played, templates, thing

from smoldebug.agent import Signals
from smoldebug.appliers.releases import chart_of
from smoldebug.cells import Cell
from smoldebug.clock import FakeClock
from smoldebug.errors import ChangeRefused, ToolError, UsageError
from smoldebug.events import AnyEvent, PhaseBegan, RunEnded, Stamped
from smoldebug.goal import Goal
from smoldebug.lab.forge.faults import Rule
from smoldebug.lab.forge.state import Comment
from smoldebug.playbook import models
from smoldebug.playbook.base import Duration
from smoldebug.playbook.upgrades import EachService, Matrix, Step
from smoldebug.records import Change, Outcome, Verdict
from smoldebug.report import fleet
from smoldebug.report.junit import junit
from smoldebug.report.summary import comment, summary
from smoldebug.sources.fake_helm import FakeChart
from smoldebug.sources.fakes import FakeCluster, FakeProcesses
from smoldebug.sources.helm import Hook, Object
from smoldebug.sources.kube_writes import ref_of
from smoldebug.sources.repository import PullRequestText
from smoldebug.sources.world import World
from smoldebug.status import ExitStatus
from smoldebug.steps import Material, changes, ready
from smoldebug.view import OutputFormat
from smoldebug.view.fleet import open_fleet_view
from smoldebug.view.github import annotations, outputs
from smoldebug.watching import Watch

# --- what a manifest hides from whoever reads it otherwise than Helm does ------------------------


def seen(manifest: str) -> list[Object]:
    """The objects of a release with that manifest, as the guard gets them."""
    return list(helm(Spoken(get=manifest)).objects(SHOP))


def names(manifest: str) -> list[str]:
    found = [(each["kind"], each["metadata"]) for each in seen(manifest)]
    return [f"{kind}/{meta.get('namespace', '')}/{meta['name']}" for kind, meta in found]


@pytest.mark.parametrize(
    ("metadata", "namespace"),
    [  # each as Helm 3.6, 3.10 and 4.2 took it on a lab
        ("{name: x, namespace: shop, <<: {namespace: kube-system}}", "kube-system"),
        ("{name: x, <<: {namespace: kube-system}, namespace: shop}", "shop"),
        ('{name: x, namespace: kube-system, "<<": {namespace: shop}}', "kube-system"),
        ("{name: x, <<: [{namespace: kube-system}, {namespace: shop}]}", "kube-system"),
        ("{name: x, namespace: shop, namespace: kube-system}", "kube-system"),
        ("{name: x, namespace: !!binary a3ViZS1zeXN0ZW0=}", "kube-system"),
        ("{name: !!binary eA==}", "shop"),
        ("{name: x, namespace: null}", "shop"),
    ],
)
def test_an_object_is_where_helm_puts_it(metadata: str, namespace: str):
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n"
    assert names(text) == [f"ConfigMap/{namespace}/x"]


def test_whatever_has_items_is_a_list_and_gives_them_its_kind():
    """A ConfigMap to whoever looks, and to Kubernetes a list of what it should not have."""
    text = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: innocent}
items:
- {apiVersion: v1, kind: Secret, metadata: {name: a, namespace: kube-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBindingList
items:
- {metadata: {name: admin, namespace: shop}, roleRef: {kind: ClusterRole, name: cluster-admin}}
---
kind: List
items: [{kind: RoleList, apiVersion: rbac.authorization.k8s.io/v1, items: [{metadata: {name: b}}]}]
---
{apiVersion: batch/v1, kind: Job, metadata: {generateName: c-, namespace: kube-system}}
"""
    assert names(text) == [
        "Secret/kube-system/a",
        "ClusterRoleBinding//admin",
        "Role/shop/b",
        "Job/kube-system/c-",
    ]


@pytest.mark.parametrize("value", ['!!bool "true"', "yes", "on", "&x true", "!!bool yes"])
def test_a_privilege_is_one_however_it_is_spelt(value: str):
    text = f"kind: Pod\nmetadata: {{name: x}}\nspec: {{privileged: {value}}}"
    [pod] = seen(text)
    assert pod["spec"] == {"privileged": True}


@pytest.mark.parametrize(
    "odd", ["{name: 5}", "{name: [x]}", "{name: {}}", "{name: x, namespace: 7}", "{}", "[]", "null"]
)
def test_odd_names_are_names_or_nothing(odd: str):
    for item in seen(f"kind: Job\nmetadata: {odd}"):
        meta: dict[str, Any] = item["metadata"]
        assert isinstance(meta["name"], str)
        assert isinstance(meta["namespace"], str)


@pytest.mark.parametrize(
    "odd",
    [
        "kind: Job\nmetadata: {name: x, labels: [a]}",
        "kind: Job\nmetadata: {name: x, annotations: yes}",
        "kind: Secret\nmetadata: {name: x}\nstringData: [a]",
    ],
)
def test_what_no_server_would_take_is_refused(odd: str):
    with pytest.raises(ToolError, match=r"(?:Job|Secret) in platform is no object"):
        seen(odd)


# --- the bytes that were approved are the bytes that are sent, in every cluster -------------------


class Clusters:
    """One playbook and several clusters, whose Helm reads real files."""

    def __init__(self, tmp_path: Path, *steps: Step) -> None:
        self.book, self.material = test_steps.Stage(tmp_path, *steps), Material()
        self.chart = laid(self.book.folder / "chart", FILES)
        self.spoken = Spoken(get="{}")
        self.world = World(
            FakeClock(), FakeProcesses(), cluster=FakeCluster, helm=lambda _: helm(self.spoken)
        )

    def run(self, name: str) -> Change:
        """What the only step comes to in one cluster."""
        folder = self.book.run / name
        ready(self.book.plan, self.world, folder, self.material)
        (step,) = self.book.plan.playbook.steps
        (change,) = changes(step, self.book.plan, self.world, folder, self.material)
        assert isinstance(change, Change)
        return change


def upgrade(**fields: Any) -> Step:
    return test_steps.upgrade(chart="chart", **fields)


def poison(chart: Path) -> None:
    """As somebody would who may write there, or whoever checks out another branch."""
    laid(chart, {"templates/web.yaml": "kind: Miner", "templates/more.yaml": "kind: Miner"})
    (chart / "charts" / "out").symlink_to("/")


def test_every_cluster_gets_the_bytes_of_the_canary(tmp_path: Path):
    matrix = Clusters(tmp_path, upgrade())
    canary = matrix.run("eu")
    poison(matrix.chart)
    other = matrix.run("us")
    assert other.after["/digest"] == canary.after["/digest"]
    for name, change in (("eu", canary), ("us", other)):
        copy = Path(change.after["/path"])
        assert copy.is_relative_to(matrix.book.run / name), "each run has a copy of its own"
        assert chart_of(matrix.world, change).path == copy
        found = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()}
        assert found == set(FILES)


def test_a_chart_is_not_read_again_where_it_lay(tmp_path: Path):
    """It is gone between the card and the upgrade, or a link leads elsewhere."""
    matrix = Clusters(tmp_path, upgrade())
    change = matrix.run("eu")
    shutil.rmtree(matrix.chart)
    matrix.chart.symlink_to(laid(tmp_path / "evil", {"Chart.yaml": "name: e\nversion: 1.0.0"}))
    assert chart_of(matrix.world, change).digest == change.after["/digest"]


@pytest.mark.parametrize("file", ["templates/web.yaml", "templates/new.yaml", "values.yaml"])
def test_a_copy_that_was_altered_is_not_sent(tmp_path: Path, file: str):
    matrix = Clusters(tmp_path, upgrade())
    change = matrix.run("eu")
    laid(Path(change.after["/path"]), {file: "altered"})
    with pytest.raises(ChangeRefused, match="the chart has changed since"):
        chart_of(matrix.world, change)


def test_a_cluster_does_not_take_an_altered_copy_of_another(tmp_path: Path):
    matrix = Clusters(tmp_path, upgrade())
    laid(Path(matrix.run("eu").after["/path"]), {"values.yaml": "altered: true"})
    with pytest.raises(UsageError, match="that another cluster got has changed since"):
        matrix.run("us")


def test_links_of_a_chart_mean_the_same_in_its_copy(tmp_path: Path):
    """Else a copy would lead where the chart itself did not."""
    chart = laid(tmp_path / "a" / "platform", FILES)
    laid(tmp_path / "b" / "platform", {"templates/web.yaml": "kind: Miner"})
    (chart / "files").symlink_to("../platform/templates")
    (chart / "whole").symlink_to(chart / "values.yaml")
    copy = fetched(chart).path
    assert (copy / "files").readlink() == Path("templates")
    assert (copy / "whole").readlink() == Path("values.yaml")


def test_values_are_those_of_the_canary(tmp_path: Path):
    matrix = Clusters(tmp_path, upgrade(values=["staging.yaml"]))
    matrix.book.write("staging.yaml", "replicas: 3")
    assert matrix.run("eu").after["/values"] == {"replicas": 3}
    matrix.book.write("staging.yaml", "replicas: 99")
    assert matrix.run("us").after["/values"] == {"replicas": 3}


def test_manifests_are_those_of_the_canary(tmp_path: Path):
    matrix = Clusters(tmp_path, test_steps.apply("web.yaml"))
    matrix.book.write("web.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")
    matrix.run("eu").after[""]["metadata"]["name"] = "altered in one run"
    matrix.book.write("web.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}")
    assert matrix.run("us").after[""]["metadata"]["name"] == "a"


@pytest.mark.parametrize("name", ["out.yaml", "folder/out.yaml"])
def test_no_link_makes_a_file_elsewhere_one_beside_the_playbook(tmp_path: Path, name: str):
    matrix = Clusters(tmp_path, upgrade(values=[name]))
    secret = laid(tmp_path, {"id_rsa": "password: hunter22"}) / "id_rsa"
    (matrix.book.folder / "folder").mkdir()
    (matrix.book.folder / name).symlink_to(secret)
    with pytest.raises(UsageError, match="leads out of it"):
        matrix.run("eu")
    inside = matrix.book.folder / "..data"  # as Kubernetes mounts a ConfigMap
    inside.mkdir()
    (inside / "real.yaml").write_text("replicas: 3")
    (matrix.book.folder / name).unlink()
    (matrix.book.folder / name).symlink_to(inside / "real.yaml")
    assert matrix.run("eu").after["/values"] == {"replicas": 3}


# --- charts that are made to be large -------------------------------------------------------------


def zeros(megabytes: int) -> bytes:
    return packed({"templates/x": bytes(megabytes << 20)}, "kid")


def sparse() -> bytes:
    """A terabyte in a few hundred bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        about = tarfile.TarInfo("platform/Chart.yaml")
        about.size = len(FILES["Chart.yaml"])
        archive.addfile(about, io.BytesIO(FILES["Chart.yaml"].encode()))
        member = tarfile.TarInfo("platform/templates/hole")
        member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)}
        archive.addfile(member)
    return gzip.compress(stream.getvalue())


def test_what_is_packed_in_a_chart_counts_as_its_own(tmp_path: Path):
    """Two levels deep, and each of them small by itself."""
    kid = zeros(26)
    packs = {f"charts/k{n}.tgz": packed({"charts/kid.tgz": kid}, "k") for n in range(4)}
    with pytest.raises(ToolError, match="larger than 100 MiB"):
        fetched(laid(tmp_path / "platform", {**FILES, **packs}))


def test_a_hole_that_says_it_is_a_terabyte_is_not_filled(tmp_path: Path):
    path = laid(tmp_path, {"platform.tgz": sparse()}) / "platform.tgz"
    with pytest.raises(ToolError, match="hole is a sparse file"):
        fetched(path)


def test_a_digest_is_of_the_bytes_that_were_kept(tmp_path: Path):
    data = packed(FILES)
    chart = fetched(laid(tmp_path, {"platform.tgz": data}) / "platform.tgz")
    assert chart.digest == f"sha256:{hashlib.sha256(chart.path.read_bytes()).hexdigest()}"
    assert chart.path.read_bytes() == data


# --- what a chart would do, seen before it does ---------------------------------------------------

IN_SHOP = models.Scope(namespaces=["shop"])


def hook(item: Object, events: str = "pre-upgrade", policy: str = "") -> Hook:
    notes = {"helm.sh/hook": events, **({"helm.sh/hook-delete-policy": policy} if policy else {})}
    made = {**item, "metadata": {**item["metadata"], "annotations": notes}}
    return Hook(ref_of(made), tuple(events.split(",")), made)


def chart(*more: Object, version: str = "1.1.0", hooks: tuple[Hook, ...] = ()) -> FakeChart:
    return FakeChart("platform", version, templates(version, "auth:2", *more), hooks)


def tried(new: FakeChart, old: FakeChart | None = None, **fields: Any) -> tuple[Stage, str, list]:
    """An upgrade under `auto`: how it ended, and the warnings somebody was asked about."""
    stage = Stage(new, old or chart(version="1.0.0"), **{"scope": IN_SHOP, **fields})
    _, outcome = stage.execute(stage.upgrade(new))
    return stage, outcome.text, [each for card in stage.asked for each in card.warnings]


def elsewhere(kind: str, namespace: str, **fields: Any) -> Object:
    item = thing(kind, "x", **fields)
    item["metadata"]["namespace"] = namespace
    return item


def anywhere(kind: str, **fields: Any) -> Object:
    item = thing(kind, "x", **fields)
    del item["metadata"]["namespace"]
    return item


ADMIN = anywhere(
    "ClusterRoleBinding",
    roleRef={"kind": "ClusterRole", "name": "cluster-admin"},
    subjects=[{"kind": "ServiceAccount", "name": "default", "namespace": "shop"}],
)
PRIVILEGED = thing(
    "Job",
    "dig",
    spec={
        "template": {
            "spec": {"containers": [{"name": "a", "securityContext": {"privileged": True}}]}
        }
    },
)


@pytest.mark.parametrize("events", ["pre-upgrade", "post-upgrade", "test,post-rollback"])
def test_a_hook_outside_the_scope_is_refused_like_any_object(events: str):
    stage, said, _ = tried(chart(hooks=(hook(elsewhere("Job", "kube-system"), events),)))
    assert "changes Job/kube-system/x, which is outside the playbook's scope" in said
    assert stage.statuses == ["deployed"], "and nothing was sent"


def test_a_hook_that_no_upgrade_runs_is_none_of_its_doings():
    _, said, asked = tried(chart(hooks=(hook(elsewhere("Pod", "kube-system"), "test"),)))
    assert "applied and verified" in said
    assert asked == []


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (ADMIN, "ClusterRoleBinding/x grants more: its subjects have new ones"),
        (PRIVILEGED, "Job/shop/dig gains rights: privileged: true (containers a)"),
    ],
)
def test_what_a_hook_may_do_is_asked_for_once(item: Object, says: str):
    with_it = (hook(item, policy="hook-succeeded"),)
    _, _, asked = tried(chart(hooks=with_it))
    assert asked == [says]
    _, said, asked = tried(chart(hooks=with_it), chart(version="1.0.0", hooks=with_it))
    assert "applied and verified" in said
    assert asked == [], "the revision before had it too"


@pytest.mark.parametrize(
    ("policy", "lost"),
    [("", True), ("before-hook-creation", True), ("hook-failed , x", True), ("never", False)],
)
def test_a_hook_does_not_delete_what_is_never_deleted(policy: str, lost: bool):
    """Helm deletes what is called like a hook before it makes the hook."""
    data = thing("PersistentVolumeClaim", "data")
    new = chart(hooks=(hook(data, policy=policy),))
    stage = Stage(new, chart(version="1.0.0"), scope=IN_SHOP)
    stage.cluster.put(copy.deepcopy(data))
    _, outcome = stage.execute(stage.upgrade(new))
    says = "would lose PersistentVolumeClaim/shop/data is in limits.never_delete"
    assert (says in outcome.text) is lost
    stage.cluster.objects.pop(ref_of(data))
    assert stage.execute(stage.upgrade(new))[1].state == "verified" or not lost


def test_what_may_not_be_read_is_in_scope_all_the_same():
    """Not even a yes to everything makes it so."""
    away = elsewhere("ConfigMap", "kube-system")
    stage = Stage(chart(away), chart(version="1.0.0"), scope=IN_SHOP, approval="ask")
    stage.cluster.refuse("get", "ConfigMap")
    events, outcome = stage.execute(stage.upgrade(chart(away)))
    assert (events, stage.asked) == ([], [])
    assert "changes ConfigMap/kube-system/x" in outcome.text


def test_rights_that_may_not_be_read_are_judged_by_the_manifests():
    new = chart(ADMIN)
    stage = Stage(new, chart(version="1.0.0"), scope=IN_SHOP)
    stage.cluster.refuse("get", "ClusterRoleBinding")
    stage.execute(stage.upgrade(new))
    [card] = stage.asked
    assert "ClusterRoleBinding/x grants more: its subjects have new ones" in card.warnings


def test_of_two_objects_that_are_one_both_are_told():
    """Whichever is sent first or last: one of them is on no card."""
    role = anywhere("PriorityClass", value=1)
    _, _, asked = tried(chart(role, {**role, "value": 2}))
    assert asked == ["could not be seen: PriorityClass/x is in the chart 2 times"]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            anywhere("ClusterRole", rules=[]),
            anywhere("ClusterRole", rules=[], aggregationRule={"clusterRoleSelectors": [{}]}),
            "its aggregationRule have new ones",
        ),
        (
            anywhere("MutatingWebhookConfiguration", webhooks=[{"name": "a", "rules": [1]}]),
            anywhere("MutatingWebhookConfiguration", webhooks=[{"name": "a", "rules": [1, 2]}]),
            "its webhooks have new ones",
        ),
        (
            anywhere("MutatingWebhookConfiguration", webhooks=[{"clientConfig": {"caBundle": 1}}]),
            anywhere("MutatingWebhookConfiguration", webhooks=[{"clientConfig": {"caBundle": 2}}]),
            "",
        ),
    ],
)
def test_power_over_others_is_asked_for(before: Object, after: Object, says: str):
    _, said, asked = tried(chart(after), chart(before, version="1.0.0"))
    assert [says in each for each in asked] == [True] * bool(says)
    assert "applied and verified" in said


@pytest.mark.parametrize("shape", [["x"], {"x": "y"}, "x"])
def test_what_only_a_secret_has_is_shown_of_other_kinds(shape: Any):
    item = thing("Sealed", "x", stringData=shape)
    stage = Stage(chart(item), chart({**item, "stringData": "old"}, version="1.0.0"))
    card = stage.card(stage.upgrade(chart(item)))
    assert "stringData" in card.full_diff


def test_rules_that_other_roles_take_over_are_asked_for():
    role = anywhere("ClusterRole", rules=[{"verbs": ["*"], "resources": ["secrets"]}])
    more = copy.deepcopy(role)
    more["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] = "true"
    _, _, asked = tried(chart(more), chart(role, version="1.0.0"))
    assert asked == ["ClusterRole/x grants more: what it grants is granted by other roles, too"]


def test_what_somebody_made_deletable_is_not_kept():
    """Helm looks at the live object for what to keep, and so does the guard."""
    data = thing("PersistentVolumeClaim", "data")
    data["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    stage = Stage(chart(), chart(data, version="1.0.0"), scope=IN_SHOP)
    assert stage.execute(stage.upgrade(chart()))[1].state == "verified"
    stage = Stage(chart(), chart(data, version="1.0.0"), scope=IN_SHOP)
    del stage.cluster.objects[ref_of(data)]["metadata"]["annotations"]
    _, outcome = stage.execute(stage.upgrade(chart()))
    assert "would lose PersistentVolumeClaim/shop/data" in outcome.text


def test_a_step_back_runs_hooks_that_are_judged_too():
    old = chart(version="1.0.0", hooks=(hook(elsewhere("Job", "x"), "pre-rollback"),))
    stage = Stage(chart(), old, scope=IN_SHOP)
    stage.helm.install(SHOP, CHART, {"replicas": 2})
    _, outcome = stage.execute(stage.rollback(1))
    assert "changes Job/x/x, which is outside the playbook's scope" in outcome.text


# --- an undo is proven, or is none ----------------------------------------------------------------


def taken_back(new: FakeChart) -> tuple[Stage, Change]:
    stage = Stage(new, chart(version="1.0.0"), scope=IN_SHOP, approval="auto")
    change = stage.upgrade(new)
    assert stage.execute(change)[1].state == "verified"
    assert stage.take_back()[1]
    return stage, change.inverse()


def test_what_a_rollback_could_not_delete_is_found():
    """Helm logs that, and ends well."""
    extra = thing("ConfigMap", "extra")
    stage, undo = taken_back(chart(extra))
    assert stage.applier.holds(undo, test_releases.NOTE)
    stage.cluster.put(copy.deepcopy(extra))
    assert not stage.applier.holds(undo, test_releases.NOTE)
    extra["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    stage.cluster.put(copy.deepcopy(extra))
    assert stage.applier.holds(undo, test_releases.NOTE), "it is on its way"
    del extra["metadata"]["deletionTimestamp"]
    extra["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    stage.cluster.put(copy.deepcopy(extra))
    assert stage.applier.holds(undo, test_releases.NOTE), "it is kept on purpose"


def test_what_a_rollback_may_not_see_is_not_proven():
    stage, undo = taken_back(chart(thing("ConfigMap", "extra")))
    stage.cluster.refuse("get", "ConfigMap")
    with pytest.raises(ToolError, match="not allowed to get"):
        stage.applier.holds(undo, test_releases.NOTE)


@pytest.mark.parametrize("values", [{}, {"hidden": "new"}])
def test_the_same_objects_of_another_chart_or_values_are_not_as_before(values: dict[str, str]):
    """Nothing differs in the cluster, and whoever upgrades next gets the new chart or values."""
    same = (
        test_releases.OLD if values else FakeChart("platform", "9.0.0", test_releases.OLD.objects)
    )
    stage = Stage(same, scope=IN_SHOP)
    change = stage.upgrade(same, **values)
    stage.execute(change)
    assert not stage.applier.holds(change.inverse(), test_releases.NOTE)
    assert stage.take_back()[1]
    assert stage.helm.history(SHOP)[-1].chart == "platform-1.0.0"
    assert stage.helm.values(SHOP) == {"replicas": 2}


def test_who_released_right_before_is_not_lost_by_the_undo():
    """Helm takes the newest revision there is: an upgrade that was made from 1 became 3."""
    stage = Stage(scope=IN_SHOP)
    change = stage.upgrade()

    class Raced(type(stage.helm)):  # type: ignore[misc]
        def upgrade(self, upgrade: Any, description: str) -> None:
            self.install(SHOP, CHART, {"replicas": 7})
            super().upgrade(upgrade, description)

    stage.helm.__class__ = Raced
    assert stage.execute(change)[1].state == "verified"
    events, clean = stage.take_back()
    assert not clean
    assert "somebody else has released right before: revision 2" in events[-1].detail
    assert stage.helm.history(SHOP)[-1].number == 3


# --- what is broken is not called well ------------------------------------------------------------

WINDOW: dict[str, Any] = {"every": Duration(15), "for_": Duration(30)}


def held(goal: Goal, shop: Shop, *, every: float = 15.0, at_most: int = 9) -> list[Verdict]:
    """Samples until the goal is met, one when each is due."""
    seen = [goal.check()]
    while seen[-1].outcome is not Outcome.MET and len(seen) < at_most:
        shop.clock.sleep(every)
        seen.append(goal.check())
    return seen


def test_a_watch_that_died_without_a_sign_proves_nothing():
    shop = Shop("pay")
    goal = shop.goal(services.CHECKS[0], **WINDOW)
    with goal.watch():
        goal.check()
        broken = services.deployment("pay", updatedReplicas=0)  # no watch hears of it
        shop.cluster.objects[ref_of(broken)] = broken
        shop.clock.sleep(15)
        assert goal.check().sample is Outcome.MET, "as the watch has it"
        shop.clock.sleep(15)
        last = goal.check()
        assert (last.outcome, last.results[0].says) == (Outcome.NOT_MET, "0 of 1 updated")


def test_what_was_measured_a_while_ago_completes_no_window():
    """A pod that changes all the time has everything looked at in haste, but not at the end."""
    shop = Shop("pay", "web")
    goal = shop.goal(services.CHECKS[1], **WINDOW)
    with goal.watch():
        verdicts = [goal.check()]
        for second in range(1, 31):
            shop.clock.sleep(1)
            if second == 29:
                shop.answer("web", 500)
            verdicts.append(goal.check(hurry=True))
    assert [each.outcome for each in verdicts] == [Outcome.NOT_MET] * 31
    assert verdicts[-2].sample is Outcome.MET, "web was not asked in this one"


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_neither_does_it_complete_a_baseline_or_prove_a_rollback(seconds: float):
    shop = Shop("pay", "web")
    goal = shop.goal(services.CHECKS[1], every=Duration(15), for_=Duration(600))
    samples: list[Verdict] = []

    class Hasty(Watch):
        def _wait(self) -> bool:
            shop.clock.sleep(1)
            if shop.clock.monotonic() >= began + 29:
                shop.answer("web", 500)
            return True

        def _sample(self, *, hurry: bool) -> tuple[Verdict, bool]:
            samples.append(super()._sample(hurry=hurry)[0])
            return samples[-1], True

    began = shop.clock.monotonic()
    with goal.watch():
        goal.check()
        watch = Hasty(goal, shop.clock, Signals(), lambda seen: seen, lambda: 999.0)
        over = iter(range(60)).__next__
        done = played(watch.hold(seconds, lambda: over() > 40))[1]
    assert done is (seconds == 0.0)
    assert goal.sure or not done


def scaled(*replicas: int) -> Iterator[Object]:
    for number in replicas:
        item = services.deployment("pay", replicas=number)
        yield {**item, "spec": {**item["spec"], "replicas": number}}


AUTOSCALER = {
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "pay", "namespace": "shop"},
    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "pay"}},
}


@pytest.mark.parametrize("autoscaler", [False, True])
def test_a_service_that_was_scaled_to_nothing_is_not_well(autoscaler: bool):
    """Nothing answers with an error, nothing logs one, nothing is restarted."""
    shop = Shop("pay", "web")
    goal = shop.goal()
    goal.check()
    goal.mark()
    (none,) = scaled(0)
    shop.put(none, *([AUTOSCALER] if autoscaler else []))
    shop.gone(services.pod("pay"))
    verdict = goal.check()
    assert verdict.sample is (Outcome.MET if autoscaler else Outcome.NOT_MET)
    says = {row.says for row in verdict.results if row.outcome is Outcome.NOT_MET}
    assert says == (set() if autoscaler else {"it wants no pods any more"})
    assert not any(row.pending for row in verdict.results)


def test_a_service_that_never_had_pods_needs_none():
    shop = Shop("pay", "web")
    shop.put(*scaled(0))
    shop.gone(services.pod("pay"))
    goal = shop.goal()
    assert goal.check().sample is Outcome.MET
    goal.mark()
    assert goal.check().sample is Outcome.MET


def test_a_service_that_takes_its_port_away_is_not_well():
    shop = Shop("pay")
    goal = shop.goal(services.CHECKS[1])
    goal.mark()  # without a baseline before it
    silent = services.deployment("pay")
    silent["spec"]["template"]["spec"]["containers"] = [{"name": "app"}]
    shop.put(silent)
    (row,) = goal.check().results
    assert (row.outcome, row.says) == (Outcome.NOT_MET, "there is no HTTP port any more")
    assert (row.service, row.kind) == ("Deployment/shop/pay", "http")


def test_to_replace_a_pod_that_crashes_hides_no_restart():
    shop = Shop("pay")
    goal = shop.goal(services.CHECKS[3])
    goal.mark()
    shop.put(services.pod("pay", restartCount=2))
    assert goal.check().sample is Outcome.NOT_MET
    shop.gone(services.pod("pay"))
    fresh = services.pod("pay")
    fresh["metadata"] |= {"name": "pay-1-y", "uid": "another"}
    shop.put(fresh)
    (row,) = goal.check().results
    assert (row.outcome, row.value) == (Outcome.NOT_MET, 2)
    assert row.subject == "Pod/shop/pay-1-x"
    goal.mark()
    assert goal.check().sample is Outcome.MET, "after a rollback it counts anew"


def test_without_a_baseline_the_pods_that_are_there_count():
    """Triage replaces what crashes, and that is a repair."""
    shop = Shop("pay")
    goal = shop.goal(services.CHECKS[3], steps=False)
    goal.check()
    shop.put(services.pod("pay", restartCount=2))
    assert goal.check().sample is Outcome.NOT_MET
    shop.gone(services.pod("pay"))
    fresh = services.pod("pay")
    fresh["metadata"] |= {"name": "pay-1-y", "uid": "another"}
    shop.put(fresh)
    assert goal.check().sample is Outcome.MET


def whole_run(tmp_path: Path, new: FakeChart, **fields: Any) -> tuple[test_upgrade.Stage, RunEnded]:
    stage = test_upgrade.Stage(tmp_path, **fields)
    stage.helm.charts[test_upgrade.CHART] = [test_upgrade.chart("1.0"), new]
    return stage, stage.play()


def test_a_service_that_is_gone_after_the_steps_is_named(tmp_path: Path):
    new = FakeChart("platform", "2.0", [test_upgrade.workload("web", "2.0")])
    _, ended = whole_run(tmp_path, new)
    assert ended.status is ExitStatus.MET
    assert ended.reason.endswith("after the steps; Deployment/shop/payments is gone")


def test_pods_of_the_old_revision_that_stay_on_purpose_are_named():
    shop = Shop("pay")
    db = services.deployment("pay") | {"kind": "StatefulSet"}
    db["spec"]["updateStrategy"] = {"type": "OnDelete"}
    db["status"] |= {"updateRevision": "b", "currentRevision": "a", "updatedReplicas": 0}
    shop.put({**db, "metadata": {**db["metadata"], "name": "db"}})
    named = EachService(workloads=["StatefulSet/shop/db"])
    (row,) = shop.goal(services.CHECKS[0], each=named).check().results
    assert (row.outcome, row.says) == (Outcome.MET, "complete: 0 of 1 updated (OnDelete)")


def test_a_goal_that_holds_for_what_somebody_else_released_proves_nothing(tmp_path: Path):
    stage = test_upgrade.Stage(tmp_path)

    def somebody(event: AnyEvent) -> None:
        if event == PhaseBegan("watching"):
            stage.helm.charts[test_upgrade.CHART].append(test_upgrade.chart("3.0"))
            stage.helm.install(test_upgrade.PLATFORM, test_upgrade.CHART)
            stage.helm.roll_out(test_upgrade.PLATFORM)

    ended = stage.play(at=somebody)
    assert ended.status is ExitStatus.INCONCLUSIVE
    assert stage.verbs() == ["upgrade"], "nor is it taken back"
    assert "what held is not what the steps made: somebody else has released since" in ended.reason
    assert stage.helm.history(test_upgrade.PLATFORM)[-1].number == 3


# --- text of the world in what CI systems, forges and people are told -----------------------------

FAMILIES = [*sorted({each.family for each in ACTIVE}), "order", "fake", "secret"]


def together(family: str) -> str:
    return "\n".join(each.text for each in ATTACKS if each.family.startswith(family))


def logs(events: Sequence[Stamped], cluster: str) -> Iterator[tuple[OutputFormat, str, str]]:
    """What each view of a matrix writes, report included."""
    cells = [Cell(cluster, events)]
    for output in OutputFormat:
        out, err = io.StringIO(), io.StringIO()
        matrix = Matrix(cluster=[cluster])
        view = open_fleet_view(
            output, matrix, fleet.document, stdout=out, stderr=err, clock=FakeClock()
        )
        for stamped in events:
            view.show(cluster, stamped)
        view.closing(cells, fleet.sections(cells))
        view.close()
        yield output, out.getvalue(), err.getvalue()


def files(events: Sequence[Stamped], cluster: str) -> dict[str, str]:
    """What is written beside the view."""
    cells = [Cell(cluster, events)]
    return {
        "summary": summary(cells),
        "comment": comment(cells),
        "junit": junit(cells),
        "annotations": annotations(cells),
        "outputs": outputs(cells, comment(cells), cluster),
        "document": json.dumps(fleet.document(cells)),
    }


def without_own(output: OutputFormat, text: str) -> str:
    """Of a log, what is not smoldebug's own: marks of sections and groups, and the words around
    the text for which commands are stopped."""
    if output is OutputFormat.GITLAB:
        return re.sub(r"\x1b\[0Ksection_(?:start|end):\d+:[\w.-]+\r\x1b\[0K", "", text)
    if output is not OutputFormat.GITHUB:
        return text
    (word,) = set(re.findall(r"^::stop-commands::(\w{32})$", text, re.MULTILINE)) or {""}
    stopped = rf"::stop-commands::{word}|::{word}::" if word else "::endgroup::"
    own = rf"^(?:::group::[^\n]*|{stopped}|::endgroup::|::(?:error|warning) title=[^\n]*)$"
    return re.sub(own, "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_acts_in_a_log_of_a_matrix(family: str):
    text = together(family)
    for output, out, err in logs(run_of(text), text):
        if output in (OutputFormat.JSON, OutputFormat.JSONL):
            assert not COMMAND.search(out)
            assert out.isascii()
        else:
            harmless(without_own(output, out))
        harmless(without_own(output, err))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_acts_in_a_file_of_a_matrix(family: str):
    text = together(family)
    written = files(run_of(text), text)
    for name in ("summary", "comment"):
        harmless(written[name])
        assert acting(written[name]) == []
    odd = {char for char in written["junit"] if unicodedata.category(char) in INVISIBLE}
    assert not odd - {"\n", "\t"}
    ElementTree.fromstring(written["junit"])
    for line in written["annotations"].splitlines():
        assert re.fullmatch(r"::(?:error|warning) title=[^:,\x00-\x1f\x7f]*::[^\x00-\x1f]*", line)
    assert [name for name, _ in read_outputs(written["outputs"])] == OUTPUTS


OUTPUTS = ["status", "exit_code", "cluster", "offender", "report", "summary"]


def read_outputs(text: str) -> Iterator[tuple[str, str]]:
    """As GitHub reads them: NAME<<WORD, lines, WORD."""
    lines = iter(text.splitlines())
    for line in lines:
        name, _, word = line.partition("<<")
        yield name, "\n".join(iter(lambda: next(lines), word))


@pytest.mark.parametrize("who", ["a user", "a job"])
def test_nobody_elses_comment_is_taken_for_ours(who: str, tmp_path: Path):
    """Who copies a marker could change what is said in CI's name."""
    with bench("github", tmp_path) as forge:
        branch, _ = forge.branch()
        number = forge.open().open(PullRequestText("main", branch, "Upgrade", "Why")).number
        theirs = Comment(1, number, "<!-- x --> all is well", "", "", "mallory")
        forge.project.comments.append(theirs)
        if who == "a job":  # its token may not ask who it is; what it writes is a bot's
            forge.faults.add(Rule("GET", "*/user", times=9, status=403, message="not accessible"))
            forge.project.comments.append(
                Comment(2, number, "<!-- x --> old", "", "", "github-actions[bot]")
            )
        for word in ("broken", "mended"):
            forge.open().comment(number, f"<!-- x --> {word}", "<!-- x -->")
        assert theirs.body == "<!-- x --> all is well"
        assert forge.comments(number)[1:] == ["<!-- x --> mended"]


# --- secrets of an upgrade ------------------------------------------------------------------------

LOOSE = "Tr0ub4dor-and-3"  # a password that only its key in the values gives away


def leaky(tmp_path: Path) -> test_upgrade.Stage:
    """The release's values hold a password, and everybody quotes it: Helm, a pod's log, an event,
    what a pod waits for."""
    stage = test_upgrade.Stage(
        tmp_path, bad={"updatedReplicas": 0, "conditions": [_failed(f"cannot use {LOOSE}")]}
    )
    old = test_upgrade.chart("1.0")
    charts, stage.helm.charts[test_upgrade.CHART] = stage.helm.charts[test_upgrade.CHART], [old]
    stage.helm.install(test_upgrade.PLATFORM, test_upgrade.CHART, {"db": {"password": LOOSE}})
    stage.helm.charts[test_upgrade.CHART] = charts
    stage.helm.roll_out(test_upgrade.PLATFORM)
    stage.cluster.log_texts["shop/payments-1/app"] = f"ERROR cannot log in with {LOOSE}\n"
    return stage


def _failed(message: str) -> dict[str, str]:
    return {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": message}


def told(stage: test_upgrade.Stage) -> Iterator[tuple[str, str]]:
    for output, out, err in logs(stage.seen, "eu"):
        yield str(output), out + err
    yield from files(stage.seen, "eu").items()
    yield from (("report", text) for text in everything_said(stage.seen))


@pytest.mark.parametrize("broken", [False, True])
def test_a_password_of_the_values_is_told_nowhere(tmp_path: Path, broken: bool):
    stage = leaky(tmp_path)
    if broken:
        says = f'values: db.password: "{LOOSE}" is too weak (https://u:{PASSWORD}@charts.example/x)'
        stage.helm.fail("upgrade", ToolError(says))
    ended = stage.play()
    assert ended.status is not ExitStatus.MET
    for place, text in told(stage):
        assert LOOSE not in text, place
        assert PASSWORD not in text, place
    kept = [line for line in journal_of(stage) if LOOSE in line or PASSWORD in line]
    events = {json.loads(line)["record"]["event"]["event"] for line in kept}
    assert events <= {"ChangeProposed", "ChangeIntended"}, "where an approval binds them"


def journal_of(stage: test_upgrade.Stage) -> list[str]:
    return (stage.folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()
