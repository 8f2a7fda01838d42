"""`smoldebug patch` against a Kubernetes that this project did not write: the real kubectl and API
server take what it has edited, and what runs there is told from what only stands in files.

$SMOLDEBUG_REAL_KUBECONFIG names the cluster, as for test_realcluster.py. The example's manifests
are about a namespace called staging: it must not be there before, and is gone afterwards.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from githost import WHO, git
from test_edits_text import GOOD, owner, places
from test_realcluster import Namespace, pytestmark
from test_realcluster_rbac import account

from smoldebug.edits.documents import find
from smoldebug.edits.draft import draft
from smoldebug.edits.operations import Operation
from smoldebug.edits.render import render
from smoldebug.edits.text import edited
from smoldebug.lab.forge.server import serve_forge
from smoldebug.playbook.load import load
from smoldebug.playbook.rules import checks_of
from smoldebug.pointers import lookup
from smoldebug.shipped import shipped
from smoldebug.sources.fakes import MemoryTree

__all__ = ["pytestmark"]  # its marks hold here too

EXAMPLE = shipped("examples") / "03-env-var-pull-request"
FLAG = {"name": "FEATURE_FLAG", "value": "true"}
DRY_RUN = ("apply", "--dry-run=server", "-o", "json")


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    place = Namespace(tmp_path_factory.mktemp("staging"))
    place.name = "staging"
    place.kubectl("create", "namespace", place.name)
    try:
        yield place
    finally:
        at_once = ("--all", "--force", "--grace-period=0")
        place.kubectl("delete", "deployments,replicasets,pods", *at_once)
        place.kubectl("delete", "namespace", place.name, "--timeout=90s")


# --- what is edited is accepted ---------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's repository after the playbook's edits."""
    folder: Path = tmp_path_factory.mktemp("tree")
    source = EXAMPLE / "repo"
    files = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file()
    }
    playbook = load("add-env-var", {}).playbook
    (check,) = [each.manifests for each in checks_of(playbook.goal.all) if each.manifests]
    done = draft(MemoryTree(files), playbook.edits, check, playbook.scope.paths)
    assert (len(done.edited), done.problems) == (12, ())
    for path, data in {**files, **done.files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def stored(staging: Namespace, *words: str, given: Any = None) -> dict[str, list[Any]]:
    """The environments of all containers of every Deployment that a server would store."""
    said = json.loads(staging.kubectl(*DRY_RUN, *words, given=given))
    return {
        each["metadata"]["name"]: [
            container.get("env", []) for container in each["spec"]["template"]["spec"]["containers"]
        ]
        for each in said.get("items", [said])
        if each["kind"] == "Deployment"
    }


def flagged(deployments: dict[str, list[Any]]) -> list[str]:
    assert all(FLAG in env for several in deployments.values() for env in several)
    return sorted(deployments)


def test_edited_files_and_the_edited_overlay_are_stored_with_the_variable_as_text(
    staging: Namespace, tree: Path
):
    plain = flagged(stored(staging, "-f", str(tree / "deploy/staging")))
    overlay = flagged(stored(staging, "-k", str(tree / "deploy/overlays/staging")))
    assert len(plain) == 8
    assert overlay == ["cart", "invoices", "session"]


def test_production_does_not_get_it(staging: Namespace, tree: Path):
    built = staging.kubectl("kustomize", str(tree / "deploy/overlays/production"))
    assert "kind: Deployment" in built
    assert "FEATURE_FLAG" not in built


def test_the_edited_chart_as_it_is_rendered_here_is_stored_with_it(staging: Namespace, tree: Path):
    names = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
    files = MemoryTree({name: (tree / name).read_bytes() for name in names})
    made = [each for each in render(files, find(files, ["deploy/**"])).objects]
    (chart,) = [
        each.object
        for each in made
        if each.via.startswith("helm") and each.ref.namespace == "staging"
    ]
    assert flagged(stored(staging, "-f", "-", given=chart)) == ["search"]


# Files of the corpus that this version does not take, whatever is edited in them.
NOT_TAKEN = {
    "alerts-templates.yaml",  # beside the workload is a PrometheusRule
    "directive.yaml",  # YAML 1.2
    "env-empty-flow.yaml",  # called n, which kubectl reads as false; and so are the next three
    "env-null.yaml",
    "no-newline-crlf.yaml",
    "no-newline-in-flow.yaml",
    "four-spaces.yaml",  # a StatefulSet without a serviceName
    "list-of-objects.json",  # beside the workload is a Service without ports; and in the next two
    "list-of-objects.yaml",
    "no-newline-at-end.yaml",
    "many-documents.yaml",  # a directive above a comment
    "merge-keys.yaml",  # a field of its own for anchors
    "misread-strings.yaml",  # a field in the wrong place
    "names-like-fields.yaml",  # a label that may not be one
    "sorted-keys.yaml",  # a Rollout
    "two-workloads.yaml",  # a CronJob of 1.21
    "unicode.yaml",  # an annotation that may not be one
}


def completed(data: bytes) -> bytes:
    """The file with all that a server wants of a workload, and the variable: by edits, too."""
    for index, container, document in places(data):
        at = owner(container)
        labels = lookup(document, f"{at}/spec/template/metadata/labels") or {"app": "corpus"}
        wanted = {
            f"{at}/apiVersion": "apps/v1",
            f"{at}/kind": "Deployment",
            f"{at}/metadata/name": "corpus",
            f"{at}/spec/selector": {"matchLabels": labels},
            f"{at}/spec/template/metadata/labels": labels,
            f"{container}/image": "web:1",
        }
        new = {path: value for path, value in wanted.items() if lookup(document, path) is None}
        new[f"{container}/env/[name=FEATURE_FLAG]"] = FLAG
        data = edited(data, index, [Operation(path, value) for path, value in new.items()])
    return data


def test_awkward_files_that_were_edited_are_stored_with_it(staging: Namespace, tmp_path: Path):
    taken = [path for path in GOOD if path.name not in NOT_TAKEN]
    words: list[str] = []
    for path in taken:
        (tmp_path / path.name).write_bytes(completed(path.read_bytes()))
        words += ["-f", str(tmp_path / path.name)]
    said = json.loads(staging.kubectl(*DRY_RUN, *words))["items"]
    assert len(said) >= len(taken) >= 34
    flags = json.dumps(said).count(json.dumps(FLAG))
    assert flags >= len(taken)


# --- what runs, and what stands in files --------------------------------------------------------

COVERED = """\
apiVersion: smoldebug.dev/v1
name: covered
inputs: {namespace: {default: staging}}
goal:
  all:
    - manifests:
        repo: REPO
        paths: ["deploy/**"]
        select: {kind: Deployment, namespace: staging}
        matches: {apiVersion: apps/v1}
    - covers_cluster: {kind: KIND, namespace: staging, missing: MISSING}
scope: {paths: ["deploy/**"], cluster: read-only}
tools:
  git: {base: main, branch: smoldebug/covered}
"""


@pytest.fixture(scope="module")
def applied(staging: Namespace) -> Namespace:
    """What the example's README says: twelve of its repository and one of nobody's."""
    words = ("-f", str(EXAMPLE / "repo/deploy/staging"), "-f", str(EXAMPLE / "cluster"))
    staging.kubectl("apply", *words)
    return staging


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("repository")
    shutil.copytree(EXAMPLE / "repo", folder, dirs_exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "as it is")
    return folder


@pytest.fixture(scope="module")
def limited(applied: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A kubeconfig with the role that is printed for the playbook, and nothing else."""
    with account(applied, tmp_path_factory.mktemp("limited"), book="add-env-var") as path:
        yield path


def coverage(place: Namespace, book: Path, *words: str) -> tuple[int, str]:
    code, out, _ = place.typed("check", "-p", str(book), "--no-wait", "-o", "json", *words)
    checks = json.loads(out)["goal"]["checks"]
    (said,) = [each["says"] for each in checks if each["kind"] == "covers_cluster"]
    return code, said


def book(folder: Path, repo: Path, kind: str = "Deployment", missing: str = "report") -> Path:
    text = COVERED.replace("REPO", str(repo)).replace("KIND", kind).replace("MISSING", missing)
    path = folder / f"{kind}-{missing}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_no_manifest_describes_is_reported_or_fails(
    applied: Namespace, repository: Path, limited: str, tmp_path: Path
):
    for missing, status in {"report": 0, "fail": 1}.items():
        playbook = book(tmp_path, repository, missing=missing)
        code, said = coverage(applied, playbook, "--kubeconfig", limited)
        assert code == status
        assert said.startswith("12 of 13 live have one; only in the cluster: legacy-report")


def test_what_the_role_does_not_allow_is_not_seen(
    applied: Namespace, repository: Path, limited: str, tmp_path: Path
):
    playbook = book(tmp_path, repository, kind="Pod")
    code, said = coverage(applied, playbook, "--kubeconfig", limited)
    assert code in (3, 8)
    assert "list pods" in said


def test_a_change_by_hand_is_drift_and_none_when_it_is_taken_back(
    applied: Namespace, repository: Path, limited: str, tmp_path: Path
):
    playbook = book(tmp_path, repository)

    def drift() -> str:
        code, said = coverage(applied, playbook, "--kubeconfig", limited)
        assert code == 0
        return said.partition("; drift: ")[2]

    assert "auth" not in drift()
    applied.kubectl("scale", "deployment/auth", "--replicas=2")
    scaled = (
        "Deployment/staging/auth spec.replicas 2 live, 1 in deploy/staging/auth.yaml and 1 more"
    )
    assert drift() == scaled
    applied.kubectl("scale", "deployment/auth", "--replicas=1")
    applied.kubectl("set", "image", "deployment/auth", "auth=busybox:1.37")
    assert "containers[auth].image busybox:1.37 live, busybox:1.36 in" in drift()
    applied.kubectl("set", "image", "deployment/auth", "auth=busybox:1.36")
    assert "auth" not in drift()


def test_what_a_controller_made_needs_no_manifest(
    applied: Namespace, repository: Path, tmp_path: Path
):
    playbook = book(tmp_path, repository, kind="Pod")
    assert len(applied.kubectl("get", "pods", "-o", "name").split()) >= 12
    code, said = coverage(applied, playbook)
    assert (code, said) == (3, "there is no live one")
    spec = {"containers": [{"name": "shell", "image": "busybox:1.36"}]}
    lone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lone"}, "spec": spec}
    applied.kubectl("apply", "-f", "-", given=lone)
    assert coverage(applied, playbook) == (0, "0 of 1 live have one; only in the cluster: lone")


# --- end to end ---------------------------------------------------------------------------------


def test_a_pull_request_of_a_real_clusters_manifests_is_opened_and_passes(
    limited: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with serve_forge(tmp_path / "hub") as forge:
        url = forge.create_repository("shop/manifests", EXAMPLE / "repo")
        for name, value in {**WHO, "GITHUB_TOKEN": forge.token}.items():
            monkeypatch.setenv(name, value)
        me = Namespace(tmp_path / "home")
        words = ("patch", "-p", "add-env-var", "--repo", url, "--kubeconfig", limited, "-o", "json")
        code, out, err = me.typed(*words, "-y")
        assert code == 0, out + err
        first = json.loads(out)
        assert [each["state"] for each in first["changes"]] == ["verified", "verified"]
        (pull,) = forge.status()["repositories"][0]["pulls"]
        assert pull["checks"] == {"validate": "success"}
        (check,) = [e for e in first["goal"]["checks"] if e["kind"] == "covers_cluster"]
        assert "only in the cluster: legacy-report" in check["says"]
        code, out, err = me.typed(*words, "-y")
        assert (code, json.loads(out)["changes"]) == (0, []), err
