"""The tools that read and roll back Helm releases, called as a model calls them."""

from collections.abc import Mapping
from typing import Any

import pytest
from toolbench import SPECS

from smoldebug.cli.toolbox import enabled
from smoldebug.clock import FakeClock
from smoldebug.errors import AccessDenied
from smoldebug.evidence import EvidenceStore
from smoldebug.guard import ScopedHelm
from smoldebug.playbook import models
from smoldebug.records import Change, ChangeKind
from smoldebug.redact import Redactor
from smoldebug.sources.fake_helm import FakeChart, FakeHelm
from smoldebug.sources.fakes import FakeCluster, FakeProcesses
from smoldebug.sources.helm import Chart, Object, Release, Upgrade
from smoldebug.sources.world import World
from smoldebug.toolset import ToolContext, Toolset

SHOP = Release("shop", "platform")


def rendered(version: str) -> Any:
    def objects(values: Mapping[str, Any]) -> list[Object]:
        def made(kind: str, name: str, **fields: Any) -> Object:
            meta = {"name": name, "namespace": "shop", "labels": {"chart": version}}
            return {"apiVersion": "v1", "kind": kind, "metadata": meta, **fields}

        more = [made("ConfigMap", "new")] if version == "1.1.0" else []
        secret = made("Secret", "db", data={"url": f"c2VjcmV0LXVybC0{version[2]}"})
        return [made("Service", "a"), made("Service", "b"), secret, *more]

    return objects


def playbook(*allow: str, **fields: Any) -> models.Playbook:
    change = models.ChangeTool(allow=list(allow), targets=["HelmRelease/shop/platform"])
    return models.Playbook(
        apiVersion="smoldebug.dev/v1",
        name="x",
        goal=models.Goal(),
        tools=models.Tools(change=change),
        **fields,
    )


class Bench:
    def __init__(self) -> None:
        clock = FakeClock()
        charts = [FakeChart("platform", each, rendered(each)) for each in ("1.0.0", "1.1.0")]
        self.helm = FakeHelm(FakeCluster(), {"c": charts[:1]}, clock)
        self.helm.install(SHOP, "c", {"replicas": 1, "db": {"password": "correct horse 1"}})
        clock.sleep(3600)
        self.helm.charts["c"] = charts
        self.helm.install(SHOP, "c", {"replicas": 2, "db": {"password": "correct horse 2"}})
        scope = models.Scope(namespaces=["shop"])
        seen = ScopedHelm(self.helm, playbook("helm-rollback", scope=scope))
        world = World(clock, FakeProcesses(), helm=lambda _: seen)
        evidence = EvidenceStore(clock)
        context = ToolContext(world, {}, evidence, "shop")
        self.tools = Toolset(SPECS, lambda _: context, evidence, Redactor())

    def text(self, tool: str, **arguments: Any) -> str:
        answer = self.tools.call(tool, {"release": "platform", **arguments})
        return answer.text

    def change(self, **arguments: Any) -> Change:
        answer = self.tools.call("rollback_release", {"release": "platform", **arguments})
        assert answer.change is not None, answer.text
        return answer.change


def test_the_history_of_a_release():
    lines = Bench().text("helm_history").splitlines()
    assert lines[0].split() == ["REVISION", "AGE", "STATUS", "CHART", "APP", "DESCRIPTION"]
    assert lines[1].split()[:4] == ["1", "1h", "superseded", "platform-1.0.0"]
    assert lines[2].split()[:4] == ["2", "0s", "deployed", "platform-1.1.0"]


def test_values_come_masked():
    bench = Bench()
    text = bench.text("helm_values", revision=1)
    assert "replicas: 1" in text
    assert "password: " in text
    assert "correct horse" not in text


def test_what_a_revision_changed_each_edit_once_secrets_masked():
    text = Bench().text("helm_changes")
    assert "replicas: 1 -> 2" in text
    assert "ConfigMap/shop/new created" in text
    assert "Service/shop/a, Service/shop/b\n    metadata.labels.chart: 1.0.0 -> 1.1.0" in text
    assert "data.url: [secret:" in text
    assert "correct horse" not in text
    assert "c2VjcmV0" not in text


def test_a_first_revision_changed_nothing_that_is_known():
    assert "no revision before 1" in Bench().text("helm_changes", revision=1)


def test_a_release_that_is_not_there_is_said():
    assert "no such release in namespace shop: x" in Bench().text("helm_history", release="x")


def test_a_rollback_is_proposed_and_not_carried_out():
    bench = Bench()
    change = bench.change(why="E1")
    assert (change.kind, change.revision, change.from_revision) == (
        ChangeKind.HELM_ROLLBACK,
        1,
        2,
    )
    assert bench.helm.history(SHOP)[-1].number == 2
    assert change.expects == "release platform runs platform-1.0.0 of revision 1"


def test_another_namespace_is_not_seen():
    text = Bench().text("helm_history", namespace="kube-system")
    assert "namespace kube-system is outside the playbook's scope: shop" in text


def test_a_tool_cannot_change_a_release(tmp_path):
    seen = ScopedHelm(Bench().helm, playbook("helm-upgrade"))
    upgrade = Upgrade(SHOP, Chart(tmp_path, "platform", "1.1.0", "", "sha256:0"))
    for act in (
        lambda: seen.upgrade(upgrade, ""),
        lambda: seen.rehearse(upgrade),
        lambda: seen.rollback(SHOP, 1, 1.0),
        lambda: seen.fetch("c", "", tmp_path),
    ):
        with pytest.raises(AccessDenied, match="it returns a Change"):
            act()
    assert seen.version == "3.10.1"


@pytest.mark.parametrize(
    ("allow", "names"),
    [
        (["scale"], set()),
        (["helm-upgrade"], {"helm_history", "helm_values", "helm_changes"}),
        (["helm-rollback"], {"helm_history", "helm_values", "helm_changes", "rollback_release"}),
    ],
)
def test_they_are_for_playbooks_that_are_about_releases(allow, names):
    book = playbook(*allow)
    helm = [spec for spec in SPECS if spec.family == "helm"]
    assert {spec.name for spec in helm if enabled(spec, book, False)} == names
