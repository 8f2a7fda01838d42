"""A playbook's steps become changes, one by one, from how things are when their turn comes."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.appliers import KubeApplier, ReleaseApplier
from smoldebug.change import Executor, Place
from smoldebug.clock import FakeClock
from smoldebug.edits.values import merged, with_set
from smoldebug.errors import ToolError, UsageError
from smoldebug.guard import Guard
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.playbook import models
from smoldebug.playbook.base import Duration
from smoldebug.playbook.models import Input, RunPlan
from smoldebug.playbook.upgrades import (
    HelmRollback,
    HelmUpgrade,
    KubectlApply,
    SetImage,
    Step,
    WaitForRollout,
)
from smoldebug.records import OF_RELEASE, Answer, Card, Change, ChangeKind, Decision, ObjectRef
from smoldebug.sources.fake_helm import FakeChart, FakeHelm
from smoldebug.sources.fakes import FakeCluster, FakeProcesses
from smoldebug.sources.helm import Object, Release
from smoldebug.sources.world import World
from smoldebug.steps import WaitFor, changes, ready

SHOP = Release("shop", "platform")
OCI = "oci://registry.example/platform"
ALL = list(ChangeKind)


def workload(image: str, **spec: Any) -> Object:
    pods = {"containers": [{"name": "app", "image": image}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "auth", "namespace": "shop"},
        "spec": {**spec, "template": {"spec": pods}},
    }


def chart(version: str) -> FakeChart:
    def rendered(values: Mapping[str, Any]) -> list[Object]:
        return [workload(f"auth:{version}", replicas=values.get("replicas", 1))]

    return FakeChart("platform", version, rendered)


class Stage:
    """A release at 1.0.0 and a playbook in a folder."""

    def __init__(self, tmp_path: Path, *steps: Step, **inputs: tuple[str, str]) -> None:
        self.folder, self.run = tmp_path / "book", tmp_path / "run"
        self.folder.mkdir()
        self.cluster, self.clock = FakeCluster(), FakeClock()
        self.helm = FakeHelm(self.cluster, {OCI: [chart("1.0.0")]}, self.clock)
        self.helm.install(SHOP, OCI, {"replicas": 2, "env": {"a": 1, "b": [1, 2]}})
        self.helm.charts[OCI] = [chart(each) for each in ("1.0.0", "1.1.0", "1.2.0")]
        self.world = World(
            self.clock, FakeProcesses(), cluster=lambda: self.cluster, helm=lambda _: self.helm
        )
        tool = models.ChangeTool(allow=ALL, targets=["*/shop/*", "HelmRelease/shop/platform"])
        book = models.Playbook(
            apiVersion="smoldebug.dev/v1",
            name="upgrade",
            goal=models.Goal(),
            inputs={key: Input(default=default) for key, (default, _) in inputs.items()},
            scope=models.Scope(namespaces=["shop"]),
            tools=models.Tools(change=tool),
            approval="auto",
            steps=list(steps),
        )
        self.plan = RunPlan(
            playbook=book,
            inputs={key: value for key, (_, value) in inputs.items()},
            source=str(self.folder / "book.yaml"),
            folder=str(self.folder),
        )
        self.asked: list[Card] = []
        kube = KubeApplier(lambda: self.cluster)
        releases = ReleaseApplier(self.world)
        self.executor = Executor(
            Guard(book),
            {**dict.fromkeys(KUBE_KINDS, kube), **dict.fromkeys(OF_RELEASE, releases)},
            self._yes,
            self.clock,
            Place("7f3a1c"),
        )

    def _yes(self, card: Card) -> Decision:
        self.asked.append(card)
        return Decision(Answer.YES, "operator")

    def write(self, path: str, content: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")

    def items(self, step: Step) -> list[Any]:
        return list(changes(step, self.plan, self.world, self.run))

    def change(self, step: Step) -> Change:
        [found] = self.items(step)
        assert isinstance(found, Change)
        return found

    def carry_out(self, step: Step) -> list[str]:
        """How each change of the step ended."""
        states = []
        for item in changes(step, self.plan, self.world, self.run):
            assert isinstance(item, Change), item
            *_, outcome = _outcomes(self.executor.execute(item))
            assert outcome.state == "verified", outcome.text
            states.append(item.kind.value)
        return states


def _outcomes(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            yield done.value
            return


def upgrade(**fields: Any) -> Step:
    return Step(helm_upgrade=HelmUpgrade(**{"release": "platform", "chart": OCI, **fields}))


def rollback(revision: int = 0) -> Step:
    return Step(helm_rollback=HelmRollback(release="platform", revision=revision))


def apply(path: str) -> Step:
    return Step(kubectl_apply=KubectlApply(path=path))


# --- helm_upgrade ----------------------------------------------------------------------------


def test_an_upgrade_says_from_where_to_where_and_gives_all_values(tmp_path: Path):
    stage = Stage(tmp_path)
    change = stage.change(upgrade(version="1.1.0", timeout=Duration(90)))
    assert change.kind is ChangeKind.HELM_UPGRADE
    assert str(change.target) == "HelmRelease/shop/platform"
    assert (change.before, change.from_revision) == (
        {"/revision": 1, "/chart": "platform-1.0.0"},
        1,
    )
    assert change.after["/chart"] == "platform-1.1.0"
    assert change.after["/digest"] == chart("1.1.0").digest
    assert change.after["/values"] == {"replicas": 2, "env": {"a": 1, "b": [1, 2]}}
    assert change.after["/timeout"] == 90.0
    assert change.given
    json.dumps(change.after)


def test_values_are_the_releases_then_the_files_then_the_single_ones(tmp_path: Path):
    stage = Stage(tmp_path)
    stage.write("one.yaml", "env: {a: 2, c: yes}\nreplicas: 3\n")
    stage.write("more/two.yaml", "replicas: 4\nenv: {b: null}\n")
    single = {"env.b[0].name": "x", r"hosts.api\.example": True}
    change = stage.change(upgrade(values=["one.yaml", "more/two.yaml"], set=single))
    assert change.after["/values"] == {
        "replicas": 4,
        "env": {"a": 2, "b": [{"name": "x"}], "c": True},
        "hosts": {"api.example": True},
    }


def test_the_values_are_those_of_the_revision_that_is_deployed(tmp_path: Path):
    stage = Stage(tmp_path)
    stage.helm.install(SHOP, OCI, {"replicas": 9}, "failed")
    change = stage.change(upgrade(version="1.1.0"))
    assert change.after["/values"]["replicas"] == 2
    assert (change.before["/revision"], change.from_revision) == (2, 1)
    assert change.inverse().revision == 1, "a revision that failed is nothing to go back to"


def test_a_chart_is_pulled_once_whatever_its_tag_means_later(tmp_path: Path):
    stage = Stage(tmp_path)
    first = stage.change(upgrade())
    stage.helm.charts[OCI].append(chart("1.3.0"))
    assert stage.change(upgrade()) == first
    assert first.after["/path"].startswith(str(stage.run))
    assert stage.change(upgrade(version="1.3.0")).after["/chart"] == "platform-1.3.0"


def test_what_a_release_has_already_is_no_change(tmp_path: Path):
    stage = Stage(tmp_path)
    step = upgrade(version="1.1.0")
    assert stage.carry_out(step) == ["helm-upgrade"]
    (said,) = stage.items(step)
    assert said == (
        "HelmRelease/shop/platform has all of it already: revision 2, platform-1.1.0, deployed, "
        "of 2026-01-01 00:00:00 UTC; nothing is changed"
    )
    auth = stage.cluster.objects[ObjectRef("Deployment", "shop", "auth")]
    auth["spec"]["replicas"] = 7
    assert isinstance(stage.change(step), Change), "it would set back what somebody has edited"


def test_a_release_that_is_stuck_is_freed_first_and_asked_for(tmp_path: Path):
    stage = Stage(tmp_path)
    stage.helm.install(SHOP, OCI, {}, "pending-upgrade")
    assert stage.carry_out(upgrade(version="1.1.0")) == ["helm-rollback", "helm-upgrade"]
    [card] = stage.asked
    assert (card.change.kind, card.change.revision) == (ChangeKind.HELM_ROLLBACK, 1)
    assert "revision 2 is pending-upgrade" in card.warnings[0]
    assert stage.helm.history(SHOP)[-1].number == 4
    clean = list(_outcomes(stage.executor.take_back()))[-1]
    assert clean, "what was pending is nothing to go back to"
    assert stage.helm.objects(SHOP) == stage.helm.objects(SHOP, 1)


def test_each_change_is_made_from_what_the_one_before_has_left(tmp_path: Path):
    stage = Stage(tmp_path)
    for version in ("1.1.0", "1.2.0"):
        stage.carry_out(upgrade(version=version))
    assert [each.change.before["/revision"] for each in stage.executor.applied] == [1, 2]


def test_a_folder_in_the_playbook_counts_from_its_folder(tmp_path: Path):
    stage = Stage(tmp_path)
    stage.write("charts/platform/Chart.yaml", "name: platform")
    stage.helm.charts["platform"] = [chart("1.1.0")]
    change = stage.change(upgrade(chart="charts/platform"))
    assert change.after["/path"] == str(stage.folder / "charts/platform")


def test_a_folder_that_set_has_given_counts_from_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stage = Stage(tmp_path, chart=("charts/platform", "mine"))
    stage.write("mine/Chart.yaml", "the playbook's")
    mine = tmp_path / "here" / "mine"
    mine.mkdir(parents=True)
    stage.helm.charts["mine"] = [chart("1.1.0")]
    monkeypatch.chdir(tmp_path / "here")
    assert stage.change(upgrade(chart="mine")).after["/path"] == str(mine)


# --- what is wrong with them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (upgrade(release="shop"), "no release in namespace shop is called: shop"),
        (upgrade(chart="./charts/none"), "no such chart: "),
        (upgrade(chart="none.tgz"), "no such chart: "),
        (upgrade(chart="repo/none"), "no such chart: repo/none"),
        (upgrade(version="9.9.9"), "9.9.9"),
        (upgrade(values=["none.yaml"]), "no such file: "),
        (upgrade(values=["bad.yaml"]), "not a values file: bad.yaml"),
        (upgrade(values=["list.yaml"]), "a values file is one map of values: list.yaml"),
        (upgrade(values=["latin.yaml"]), "not a values file: latin.yaml"),
        (upgrade(values=["../book/bad.yaml"]), "only files beside the playbook"),
        (upgrade(values=["/etc/passwd"]), "only files beside the playbook"),
        (upgrade(set={"a..b": 1}), "not the path of a value: a..b"),
        (upgrade(set={"env.b[7]": 1}), "no place for item 7"),
        (apply("none"), "no such file: "),
        (apply("../book"), "only files beside the playbook"),
        (apply("list.yaml"), "no manifests: list.yaml"),
        (apply("broken"), "broken/x.yaml:"),
        (apply("secret.yaml"), "Secrets are not written"),
        (apply("generated"), "configMapGenerator"),
        (apply("remote"), "remote"),
    ],
)
def test_what_is_wrong_with_a_step_is_said_before_the_first_one(
    tmp_path: Path, step: Step, says: str
):
    stage = Stage(tmp_path, upgrade(), step)
    stage.write("bad.yaml", "a: [1\n")
    stage.write("list.yaml", "- 1\n")
    (stage.folder / "latin.yaml").write_bytes(b"a: \xff\n")
    stage.write("broken/x.yaml", "apiVersion: v1\nkind: [\n")
    stage.write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\n")
    stage.write("generated/kustomization.yaml", "configMapGenerator: [{name: x}]\n")
    stage.write("remote/kustomization.yaml", "resources: ['https://example.com/x.yaml']\n")
    with pytest.raises(UsageError) as error:
        ready(stage.plan, stage.world, stage.run)
    assert says in str(error.value)
    with pytest.raises((UsageError, ToolError)) as same:
        stage.items(step)
    assert str(same.value) == str(error.value)


def test_steps_that_can_be_made_are_ready_and_nothing_is_changed(tmp_path: Path):
    stage = Stage(tmp_path, upgrade(), rollback(1))
    ready(stage.plan, stage.world, stage.run)
    assert {each.verb for each in stage.helm.requests} == {"history", "fetch"}


def test_a_release_that_never_was_deployed_cannot_be_upgraded(tmp_path: Path):
    stage = Stage(tmp_path)
    other = Release("shop", "other")
    stage.helm.install(other, OCI, {}, "pending-install")
    with pytest.raises(ToolError, match="release other was never deployed: revision 1"):
        stage.items(upgrade(release="other"))


def test_a_release_needs_a_namespace(tmp_path: Path):
    stage = Stage(tmp_path)
    stage.plan.playbook.scope.namespaces.append("second")
    with pytest.raises(UsageError, match="in which namespace the release is: platform"):
        stage.items(upgrade())
    assert stage.change(upgrade(namespace="shop")).target == SHOP.ref


# --- helm_rollback ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "to"),
    [(["deployed"], 1), (["deployed", "failed"], 2), (["failed"], 1), (["pending-upgrade"], 1)],
)
def test_a_rollback_goes_to_the_last_revision_that_was_deployed_before(
    tmp_path: Path, later: list[str], to: int
):
    stage = Stage(tmp_path)
    for status in later:
        stage.helm.install(SHOP, OCI, {}, status)
    assert stage.change(rollback()).revision == to


def test_a_rollback_to_a_revision_that_is_not_there_or_is_there_already(tmp_path: Path):
    stage = Stage(tmp_path)
    with pytest.raises(ToolError, match="no earlier revision"):
        stage.items(rollback())
    with pytest.raises(ToolError, match="has no revision 7"):
        stage.items(rollback(7))
    (said,) = stage.items(rollback(1))
    assert said == (
        "HelmRelease/shop/platform is there already: revision 1, platform-1.0.0, deployed, of "
        "2026-01-01 00:00:00 UTC; nothing is changed"
    )


# --- kubectl_apply ---------------------------------------------------------------------------

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: flags}\ndata: {new: 'on'}\n"
SPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def test_manifests_are_applied_what_others_need_first_and_taken_back(tmp_path: Path):
    stage = Stage(tmp_path)
    stage.write("new/a.yaml", f"{CONFIG}---\n{SPACE}")
    stage.write("new/deeper/b.yaml", CONFIG.replace("flags", "deeper"))
    found = [str(each.target) for each in stage.items(apply("new"))]
    assert found == ["Namespace/shop", "ConfigMap/shop/flags"], "kubectl does not go deeper either"
    assert stage.carry_out(apply("new/deeper/b.yaml")) == ["create-object"]
    assert stage.items(apply("new/deeper")) == [
        "ConfigMap/shop/deeper is so already; nothing is changed"
    ]
    list(stage.executor.take_back())
    assert ObjectRef("ConfigMap", "shop", "deeper") not in stage.cluster.objects


def test_an_object_that_is_there_is_changed_where_the_manifest_differs(tmp_path: Path):
    stage = Stage(tmp_path)
    manifest = {**workload("auth:1.0.0"), "spec": {"replicas": 3}}
    stage.write("scale.yaml", json.dumps(manifest))
    change = stage.change(apply("scale.yaml"))
    assert change.kind is ChangeKind.APPLY_OBJECT
    assert (change.before, change.after) == ({"/spec/replicas": 2}, {"/spec/replicas": 3})


def test_a_folder_with_a_kustomization_is_built(tmp_path: Path):
    stage = Stage(tmp_path)
    stage.write("base/kustomization.yaml", "resources: [flags.yaml]\n")
    stage.write("base/flags.yaml", CONFIG)
    stage.write("eu/kustomization.yaml", "resources: [../base]\nnamePrefix: eu-\n")
    assert str(stage.change(apply("eu")).target) == "ConfigMap/shop/eu-flags"
    assert str(stage.change(apply("base")).target) == "ConfigMap/shop/flags"


def test_what_the_playbooks_own_files_say_needs_no_other_source(tmp_path: Path):
    stage = Stage(tmp_path)
    stage.write("new.yaml", CONFIG.replace("'on'", "https://elsewhere.example/x"))
    assert stage.carry_out(apply("new.yaml")) == ["create-object"]
    pods = {"serviceAccountName": "auth", "containers": [{"name": "app", "image": "new:1"}]}
    manifest = workload("new:1") | {"spec": {"template": {"spec": pods}}}
    manifest["metadata"] = {"name": "new", "namespace": "shop"}
    stage.write("pods.yaml", json.dumps(manifest))
    assert stage.carry_out(apply("pods.yaml")) == ["create-object"]
    [card] = stage.asked
    assert card.warnings == (
        "it gives a pod more rights: serviceAccountName: auth (template spec)",
    )


# --- set_image and wait_for_rollout -----------------------------------------------------------


def test_set_image_changes_one_container(tmp_path: Path):
    stage = Stage(tmp_path)
    step = Step(set_image=SetImage(target="Deployment/auth", image="elsewhere.example/auth:2"))
    assert stage.carry_out(step) == ["set-image"]
    assert stage.items(step) == [
        "Deployment/shop/auth runs elsewhere.example/auth:2 already; nothing is changed"
    ]
    wrong = SetImage(target="Deployment/auth", image="x", container="sidecar")
    with pytest.raises(ToolError, match="has no container sidecar"):
        stage.items(Step(set_image=wrong))


def test_waiting_changes_nothing(tmp_path: Path):
    stage = Stage(tmp_path)
    assert stage.items(Step(wait_for_rollout=WaitForRollout())) == [WaitFor(None, 600.0)]
    one = WaitForRollout(target="deployment/auth", within=Duration(60))
    assert stage.items(Step(wait_for_rollout=one)) == [
        WaitFor(ObjectRef("Deployment", "shop", "auth"), 60.0)
    ]


# --- values ----------------------------------------------------------------------------------

NAMES = st.text("abc.[]\\-/ é", min_size=1, max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=8,
)
MAPS = st.dictionaries(NAMES, VALUES, max_size=3)


@given(MAPS, st.lists(NAMES, min_size=1, max_size=3), VALUES)
def test_any_key_can_be_set_by_its_path_and_nothing_else_changes(values, keys, value):
    path = ".".join("".join(f"\\{c}" if c in ".[]\\" else c for c in key) for key in keys)
    found: Any = with_set(values, path, value)
    assert {k: v for k, v in found.items() if k != keys[0]} == {
        k: v for k, v in values.items() if k != keys[0]
    }
    for key in keys:
        found = found[key]
    assert found == value


@given(st.text(max_size=12), MAPS)
def test_any_text_as_a_path_sets_a_value_or_is_refused(path, values):
    before = json.dumps(values)
    with suppress(UsageError):
        assert with_set(values, path, 1) != {}
    assert json.dumps(values) == before


@given(MAPS, MAPS)
def test_what_is_laid_over_values_wins_and_the_rest_stays(old, new):
    found = merged(old, new)
    assert merged(found, new) == found
    assert set(found) == {*old, *new}
    assert all(found[key] == old[key] for key in old.keys() - new.keys())
