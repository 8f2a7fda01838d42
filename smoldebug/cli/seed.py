"""People's own manifests for `smoldebug lab up`: what the practice cluster begins with."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from smoldebug.edits.documents import objects
from smoldebug.edits.operations import Document
from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.lab.catalog import RESOURCES
from smoldebug.sources.kube import KubeCluster, connect
from smoldebug.sources.world import Object
from smoldebug.untrusted import one_line

_SUFFIXES = (".yaml", ".yml", ".json")
_NAMESPACED = {resource.kind: resource.namespaced for resource in RESOURCES}


def read(paths: Iterable[Path]) -> list[Document]:
    """The objects of these files, and of those below these folders.

    Raises UsageError for a path that holds none, and for a file that is not YAML.
    """
    found: list[Document] = []
    for path in paths:
        held = [each for file in _files(path) for each in _held(file)]
        if not held:
            raise UsageError(f"no manifests: {path}")
        found += held
    return found


def unknown(documents: Iterable[Document]) -> Iterator[str]:
    """Those of a kind that the lab does not serve."""
    for each in documents:
        if each.ref.kind not in _NAMESPACED:
            yield one_line(f"{each.path}:{each.line}: the lab has no {each.ref}", 300)


def apply(documents: Iterable[Document], kubeconfig: Path) -> int:
    """Apply what the lab serves, namespaces first, and say how many objects that were.

    An object that names no namespace goes where the kubeconfig says. Raises UsageError for one
    that the API server refuses, UnreachableError when it does not answer.
    """
    with closing(connect(None, str(kubeconfig))) as cluster:
        known = [_placed(each, cluster) for each in documents if each.ref.kind in _NAMESPACED]
        there = {item["metadata"]["name"] for item in cluster.list("Namespace")}
        there |= {each.ref.name for each in known if each.ref.kind == "Namespace"}
        for each in sorted(known, key=lambda each: each.ref.kind != "Namespace"):
            _apply(each, cluster, there)
    return len(known)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES and each.is_file())


def _held(file: Path) -> list[Document]:
    try:
        return objects(str(file), file.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read manifests: {file}: {error.strerror}") from None
    except SmoldebugError as error:
        raise UsageError(str(error)) from error


def _placed(document: Document, cluster: KubeCluster) -> Document:
    """With its namespace, where its kind has one."""
    meta = dict(document.object["metadata"])
    namespace = meta.pop("namespace", "") or cluster.namespace
    if _NAMESPACED[document.ref.kind]:
        meta["namespace"] = namespace
    return replace(document, object={**document.object, "metadata": meta})


def _apply(document: Document, cluster: KubeCluster, there: set[str]) -> None:
    """In its namespace, which is made where it is not `there` yet."""
    namespace = document.ref.namespace
    try:
        if namespace and namespace not in there:
            cluster.apply(_namespace(namespace), dry_run=False, note="")
            there.add(namespace)
        cluster.apply(document.object, dry_run=False, note="")
    except SmoldebugError as error:
        where = f"{document.path}:{document.line}"
        raise UsageError(f"{where}: {document.ref}: {error}") from error


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
