"""`smoldebug lab up --manifests`: people's own objects in the practice cluster."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from labkit import new_store

from smoldebug.cli import program, seed
from smoldebug.errors import UsageError
from smoldebug.lab.server import serve
from smoldebug.records import ObjectRef
from smoldebug.sources.kube import connect

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}{where}}}\ndata: {{a: b}}\n"
UNKNOWN = "apiVersion: acme.io/v1\nkind: Gadget\nmetadata: {name: one, namespace: staging}\n"


def config(name: str, namespace: str = "") -> str:
    return CONFIG.format(name=name, where=f", namespace: {namespace}" if namespace else "")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """Of a cluster with the namespace shop and nothing in it."""
    server = serve(new_store("shop"))
    path = tmp_path / "kubeconfig"
    path.write_text(server.kubeconfig(), "utf-8")
    yield path
    server.close()


def brought(kubeconfig: Path, *paths: Path) -> int:
    return seed.apply(seed.read(paths), kubeconfig)


def there(kubeconfig: Path, namespace: str, name: str) -> bool:
    with closing(connect(None, str(kubeconfig))) as cluster:
        return bool(cluster.get(ObjectRef("ConfigMap", namespace, name)))


def test_files_and_folders_are_applied_and_their_namespaces_made(
    kubeconfig: Path, tmp_path: Path
) -> None:
    (tmp_path / "k8s/deep").mkdir(parents=True)
    (tmp_path / "k8s/two.yaml").write_text(f"{config('one', 'staging')}---\n{config('two')}")
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "three"}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [item]}
    (tmp_path / "k8s/deep/three.json").write_text(json.dumps(listed))
    (tmp_path / "k8s/notes.yaml").write_text("just: notes\n")
    (tmp_path / "four.yml").write_text(config("four", "shop"))
    assert brought(kubeconfig, tmp_path / "k8s", tmp_path / "four.yml") == 4
    for namespace, name in (("staging", "one"), ("default", "two"), ("default", "three")):
        assert there(kubeconfig, namespace, name)  # default is where the kubeconfig says


def test_a_namespace_that_is_among_them_is_applied_first(kubeconfig: Path, tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: staging, labels: {team: web}}\n"
    (tmp_path / "a.yaml").write_text(config("one", "staging"))
    (tmp_path / "z.yaml").write_text(text)
    assert brought(kubeconfig, tmp_path / "a.yaml", tmp_path / "z.yaml") == 2
    with closing(connect(None, str(kubeconfig))) as cluster:
        found = cluster.get(ObjectRef("Namespace", "", "staging"))
    assert found["metadata"]["labels"]["team"] == "web"


def test_kinds_that_the_lab_does_not_serve_are_left_out_and_named(
    kubeconfig: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(f"{UNKNOWN}---\n{config('one', 'staging')}")
    documents = seed.read([tmp_path / "a.yaml"])
    (said,) = seed.unknown(documents)
    assert said == f"{tmp_path}/a.yaml:1: the lab has no Gadget/staging/one"
    assert seed.apply(documents, kubeconfig) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("kind: [apiVersion\n", "bad.yaml:"),
        (b"apiVersion: v1\nkind: \xff\n", "bad.yaml"),
        ("replicas: 1\n", "no manifests: "),
        (None, "cannot read manifests: .*bad.yaml: No such file"),
    ],
)
def test_a_bad_file_is_one_sentence_and_no_lab_is_started(
    content: str | bytes | None,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = tmp_path / "bad.yaml"
    if content is not None:
        bad.write_bytes(content.encode() if isinstance(content, str) else content)
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path / "home"))
    assert program(["lab", "up", "--manifests", str(bad)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("smoldebug: ")
    with pytest.raises(UsageError, match=says):
        seed.read([bad])


@pytest.mark.parametrize(
    "text",
    [
        config("Not_A_Name", "staging"),
        config("../x", "staging"),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: none}\n",
        "apiVersion: v7\nkind: ConfigMap\nmetadata: {name: web}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {labels: {a: b}}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 5}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: [a]}\n",
    ],
)
def test_what_the_server_refuses_is_told_with_its_place(
    text: str, kubeconfig: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"a\.yaml:1: "):
        brought(kubeconfig, tmp_path / "a.yaml")
