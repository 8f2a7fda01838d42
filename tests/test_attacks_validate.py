"""A hostile chart, service, release or neighbour, and an upgrade: nothing is hidden from the guard,
no other bytes are sent than were approved, nothing broken is called well, nothing leaks."""

import gzip
import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import test_steps
from test_helm import FILES, Spoken, fetched, helm, laid, packed
from test_releases import SHOP

from smoldebug.appliers.releases import chart_of
from smoldebug.clock import FakeClock
from smoldebug.errors import ChangeRefused, ToolError, UsageError
from smoldebug.playbook.upgrades import Step
from smoldebug.records import Change
from smoldebug.sources.fakes import FakeCluster, FakeProcesses
from smoldebug.sources.helm import Object
from smoldebug.sources.world import World
from smoldebug.steps import Material, changes, ready

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


# --- the bytes that were approved are the bytes that are sent, in every cluster -------------------


class Matrix:
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
    matrix = Matrix(tmp_path, upgrade())
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
    matrix = Matrix(tmp_path, upgrade())
    change = matrix.run("eu")
    shutil.rmtree(matrix.chart)
    matrix.chart.symlink_to(laid(tmp_path / "evil", {"Chart.yaml": "name: e\nversion: 1.0.0"}))
    assert chart_of(matrix.world, change).digest == change.after["/digest"]


@pytest.mark.parametrize("file", ["templates/web.yaml", "templates/new.yaml", "values.yaml"])
def test_a_copy_that_was_altered_is_not_sent(tmp_path: Path, file: str):
    matrix = Matrix(tmp_path, upgrade())
    change = matrix.run("eu")
    laid(Path(change.after["/path"]), {file: "altered"})
    with pytest.raises(ChangeRefused, match="the chart has changed since"):
        chart_of(matrix.world, change)


def test_a_cluster_does_not_take_an_altered_copy_of_another(tmp_path: Path):
    matrix = Matrix(tmp_path, upgrade())
    laid(Path(matrix.run("eu").after["/path"]), {"values.yaml": "altered: true"})
    with pytest.raises(ToolError, match="that another cluster got has changed since"):
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
    matrix = Matrix(tmp_path, upgrade(values=["staging.yaml"]))
    matrix.book.write("staging.yaml", "replicas: 3")
    assert matrix.run("eu").after["/values"] == {"replicas": 3}
    matrix.book.write("staging.yaml", "replicas: 99")
    assert matrix.run("us").after["/values"] == {"replicas": 3}


def test_manifests_are_those_of_the_canary(tmp_path: Path):
    matrix = Matrix(tmp_path, test_steps.apply("web.yaml"))
    matrix.book.write("web.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")
    matrix.run("eu").after[""]["metadata"]["name"] = "altered in one run"
    matrix.book.write("web.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}")
    assert matrix.run("us").after[""]["metadata"]["name"] == "a"


@pytest.mark.parametrize("name", ["out.yaml", "folder/out.yaml"])
def test_no_link_makes_a_file_elsewhere_one_beside_the_playbook(tmp_path: Path, name: str):
    matrix = Matrix(tmp_path, upgrade(values=[name]))
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


@pytest.mark.parametrize(
    ("packs", "why"),
    [
        (lambda: {f"charts/k{n}.tgz": zeros(26) for n in range(4)}, "larger than 100 MiB"),
        (
            lambda: {"charts/k.tgz": packed({"charts/k.tgz": zeros(101)}, "k")},
            "larger than 100 MiB",
        ),
    ],
)
def test_what_is_packed_in_a_chart_counts_as_its_own(tmp_path: Path, packs: Any, why: str):
    with pytest.raises(ToolError, match=why):
        fetched(laid(tmp_path / "platform", {**FILES, **packs()}))


def test_a_hole_that_says_it_is_a_terabyte_is_not_filled(tmp_path: Path):
    path = laid(tmp_path, {"platform.tgz": sparse()}) / "platform.tgz"
    with pytest.raises(ToolError, match="hole is a sparse file"):
        fetched(path)


def test_a_digest_is_of_the_bytes_that_were_kept(tmp_path: Path):
    data = packed(FILES)
    chart = fetched(laid(tmp_path, {"platform.tgz": data}) / "platform.tgz")
    assert chart.digest == f"sha256:{hashlib.sha256(chart.path.read_bytes()).hexdigest()}"
    assert chart.path.read_bytes() == data
