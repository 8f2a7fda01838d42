"""The manifests of a repository: which files hold some, and which objects these are."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from smoldebug.edits import text
from smoldebug.edits.operations import Document
from smoldebug.edits.rendered import Rendered
from smoldebug.errors import ChangeRefused
from smoldebug.playbook.patches import Select
from smoldebug.records import Json, ObjectRef
from smoldebug.sources.globs import matches
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.repository import Tree, TreeEntry
from smoldebug.sources.selectors import holds
from smoldebug.untrusted import one_line

MAX_BYTES = 10_000_000  # of one file
_SUFFIXES = (".yaml", ".yml", ".json")
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below some paths. `others` are the YAML and JSON files that hold no object that
    could be applied: kustomizations, charts, values, anything else."""

    documents: tuple[Document, ...] = ()
    problems: tuple[str, ...] = ()  # "deploy/x.yaml:12: why": files that could not be read
    others: tuple[str, ...] = ()


def find(tree: Tree, paths: Sequence[str]) -> Found:
    """Every object in the files that `paths` mean, in the order of the tree.

    Links, submodules and the templates of Helm charts are left alone. A file that is too large,
    not YAML, or kept in Git LFS is a problem, and the rest is found all the same.
    """
    return _collected(tree, _files(tree, paths))


def found_again(found: Found, tree: Tree, paths: Sequence[str], changed: Collection[str]) -> Found:
    """The same after some files of the tree have changed: only these are read again."""
    again = _collected(tree, (each for each in _files(tree, paths) if each[0] in changed))
    kept = [each for each in found.documents if each.path not in changed]
    return Found(
        tuple(sorted((*kept, *again.documents), key=lambda each: each.path)),
        (*found.problems, *again.problems),
        tuple(sorted({*found.others, *again.others})),
    )


def _collected(tree: Tree, files: Iterable[tuple[str, TreeEntry]]) -> Found:
    documents: list[Document] = []
    problems: list[str] = []
    others: list[str] = []
    for path, entry in files:
        try:
            held = objects(path, _read(tree, path, entry))
        except ChangeRefused as error:
            problems.append(str(error))
            continue
        documents += held
        if not held:
            others.append(path)
    return Found(tuple(documents), tuple(problems), tuple(others))


def _files(tree: Tree, paths: Sequence[str]) -> Iterator[tuple[str, TreeEntry]]:
    entries = tree.files()
    templates = {
        f"{path.removesuffix('Chart.yaml')}templates/"
        for path in entries
        if PurePosixPath(path).name == "Chart.yaml"
    }
    for path, entry in entries.items():
        if entry.kind != "file" or not path.endswith(_SUFFIXES) or not matches(path, paths):
            continue
        folders = (path[: at + 1] for at, letter in enumerate(path) if letter == "/")
        if templates.isdisjoint(folders):
            yield path, entry


def _read(tree: Tree, path: str, entry: TreeEntry) -> bytes:
    if entry.size > MAX_BYTES:
        raise ChangeRefused(f"{path}: larger than 10 MB, not read: {entry.size / 1e6:.1f} MB")
    data = tree.read(path)
    if data.startswith(_LFS):
        raise ChangeRefused(f"{path}: kept in Git LFS, not read")
    return data


def objects(path: str, data: bytes) -> list[Document]:
    """The objects that a file holds, none in a file of another sort. Raises ChangeRefused,
    `deploy/x.yaml:12: why`, when it may hold some and is not YAML."""
    if b"apiVersion" not in data or b"kind" not in data:
        return []  # lock files and the like: large, and not always YAML
    with located(path):
        held = text.documents(data)
    found: list[Document] = []
    for index, (line, item) in enumerate(held):
        for inside, each in _unfolded(item):
            if _is_object(each):
                found.append(Document(path, index, each, line, inside))
    return found


@contextmanager
def located(path: str) -> Iterator[None]:
    """Refusals of `edits.text`, `line 12: why`, as `deploy/x.yaml:12: why`."""
    try:
        yield
    except ChangeRefused as error:
        raise ChangeRefused(f"{path}:{str(error).removeprefix('line ')}") from error


def _unfolded(item: Json) -> Iterator[tuple[str, Json]]:
    """An object, or those of a List, each with where it is inside."""
    items = item.get("items") if isinstance(item, dict) else None
    if isinstance(items, list) and str(item.get("kind")).endswith("List"):
        yield from ((f"/items/{at}", each) for at, each in enumerate(items))
    else:
        yield "", item


def _is_object(item: Json) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
        return False
    kind, version = item.get("kind"), item.get("apiVersion")
    named = isinstance(kind, str) and isinstance(version, str)
    return named and not str(version).startswith("kustomize.config.k8s.io/")


# --- selecting ------------------------------------------------------------------------------


def selected(rendered: Rendered, select: Select) -> bool:
    """Whether a check or an edit is about this object.

    One that names no namespace is of every namespace that a folder of its path is called after.
    Raises ToolError when the label selector is none.
    """
    ref = rendered.ref
    if not _named(rendered, select):
        return False
    if select.namespace and ref.namespace != select.namespace:
        return not ref.namespace and select.namespace in _folders(rendered)
    return True


def described(select: Select) -> str:
    """`Deployment auth of namespace staging with team=shop`."""
    words = [kind_name(select.kind), select.name]
    words += ["of namespace", select.namespace] if select.namespace else []
    words += ["with", one_line(select.labels, 40)] if select.labels else []
    return " ".join(filter(None, words))


def nowhere(rendered: Rendered, select: Select) -> str:
    """Why an object that might be meant is not: it names no namespace; "" for any other."""
    ref, document = rendered.ref, rendered.document
    unnamed = select.namespace and not ref.namespace and _named(rendered, select)
    if not unnamed or selected(rendered, select):
        return ""
    return f"{document.path}:{document.line}: {ref} names no namespace"


def _named(rendered: Rendered, select: Select) -> bool:
    """All that is selected by, but the namespace."""
    ref = rendered.ref
    metadata: Any = rendered.object.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return (
        ref.kind == kind_name(select.kind)
        and select.name in ("", ref.name)
        and holds(select.labels, (labels if isinstance(labels, dict) else {}).get)
    )


def _folders(rendered: Rendered) -> list[str]:
    """Of the overlays or the chart that make it, else of its file."""
    made_by = rendered.via.partition(" ")[2]
    return re.split("/| < ", made_by) if made_by else rendered.document.path.split("/")[:-1]


def doubled(chosen: Iterable[Rendered]) -> Iterator[str]:
    """Objects that stand twice, as they are, in the files of one folder: applied together, the
    last one wins."""
    known: dict[tuple[str, ObjectRef], Document] = {}
    for each in chosen:
        if each.via:
            continue
        document = each.document
        first = known.setdefault((document.path.rpartition("/")[0], each.ref), document)
        if first is not document:
            places = " and ".join(f"{at.path}:{at.line}" for at in (first, document))
            yield f"{places}: {each.ref} is there twice"
