"""Helm charts as they would be installed, and which of their values an edit belongs to.

Which value feeds a field is found by trying: the edit of a value is right when the chart comes out
with exactly that field edited. Templates are never edited.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from smoldebug.edits import text
from smoldebug.edits.documents import Found
from smoldebug.edits.intended import intended
from smoldebug.edits.kustomize import join_image, split_image
from smoldebug.edits.operations import Document, Operation, Placed
from smoldebug.edits.rendered import Rendered
from smoldebug.edits.templates import Evaluation, Known, Node, Unknown, parse
from smoldebug.errors import ChangeRefused
from smoldebug.pointers import child, dotted, lookup, merged, steps
from smoldebug.records import Json
from smoldebug.sources.kinds import CLUSTER_SCOPED
from smoldebug.sources.repository import Tree

_UNKNOWN = "(the release's namespace)"  # stands for one that nothing in the tree says
_ENVIRONMENT = re.compile(r"values[-._]([a-z0-9-]+)\.ya?ml|([a-z0-9-]+)[-._]values\.ya?ml")
_TEMPLATES = (".yaml", ".yml", ".tpl")
_VALUE = re.compile(r"\.Values((?:\.\w+)+)")


# --- charts -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Values:
    """One source of values: a file, or what is `inside` an object of Argo CD's or Flux's."""

    path: str
    content: Json
    index: int = 0
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """A chart as it is installed in one place; of its values the later ones win."""

    via: str
    name: str
    namespace: str  # "": not known
    sources: tuple[Values, ...]

    @property
    def values(self) -> Json:
        whole: Json = {}
        for each in self.sources:
            whole = merged(whole, each.content)
        return whole


@dataclass(frozen=True)
class Chart:
    """A chart's templates, by path: their text and what it is parsed to."""

    folder: str
    about: Mapping[str, Json]  # Chart.yaml
    templates: Mapping[str, tuple[str, list[Node]]]
    defined: Mapping[str, list[Node]]

    @property
    def name(self) -> str:
        return str(self.about.get("name") or posixpath.basename(self.folder))

    def text(self, path: str, release: Release, values: Json) -> str:
        """What a template comes to. Raises Unknown."""
        keys = ("version", "appVersion", "description", "type")
        about = {key[0].upper() + key[1:]: self.about.get(key) for key in keys}
        named = Known(Name=release.name, Namespace=release.namespace or _UNKNOWN, Service="Helm")
        top = Known(Values=values, Chart=Known(about, Name=self.name), Release=named)
        return Evaluation(top, self.defined).text(path, self.templates[path][1])

    def line(self, path: str, key: str) -> int:
        """The first line of a template that begins a field, from 1."""
        begins = re.compile(rf"\s*(- )?{re.escape(key)}\s*:")
        lines = enumerate(self.templates[path][0].splitlines(), 1)
        return next((number for number, line in lines if begins.match(line)), 1)


def charts(tree: Tree, found: Found) -> tuple[list[Rendered], list[str]]:
    """The objects of all charts, and what of them could not be rendered."""
    files = tree.files()
    objects: list[Rendered] = []
    problems: list[str] = []
    for path in found.others:
        folder, _, name = path.rpartition("/")
        within, packed, _ = folder.rpartition("/charts/")
        if name != "Chart.yaml" or (packed and f"{within}/Chart.yaml" in files):
            continue
        try:
            chart = _chart(tree, folder or ".", path)
            made = _Rendering(chart, _releases(tree, found, chart))
        except ChangeRefused as error:
            problems.append(str(error))
            continue
        objects += made.objects()
        problems += made.problems
    return objects, problems


def _chart(tree: Tree, folder: str, path: str) -> Chart:
    about, below = _read(tree, path), posixpath.join(folder, "templates/").removeprefix("./")
    defined: dict[str, list[Node]] = {}
    templates: dict[str, tuple[str, list[Node]]] = {}
    for each, entry in tree.files().items():
        if entry.kind == "file" and each.startswith(below) and each.endswith(_TEMPLATES):
            said = tree.read(each).decode(errors="replace")
            try:
                templates[each] = (said, parse(said, defined))
            except Unknown as error:
                raise ChangeRefused(f"{each}:{error.line}: {error}") from error
    library = about.get("type") == "library"
    return Chart(folder, about, {} if library else templates, defined)


def _read(tree: Tree, path: str) -> Json:
    """The map in a file. Raises ChangeRefused where there is none."""
    try:
        held = text.documents(tree.read(path))
    except ChangeRefused as error:
        raise ChangeRefused(f"{path}:{str(error).removeprefix('line ')}") from error
    content = held[0][1] if held else None
    if not isinstance(content, dict | None):
        raise ChangeRefused(f"{path}:1: not a map")
    return content or {}


# --- releases -----------------------------------------------------------------------------------


def _releases(tree: Tree, found: Found, chart: Chart) -> list[Release]:
    """Where a chart is installed: as Argo CD or Flux say, else once per environment that has a
    file of values of its own, else once."""
    folder = chart.folder.removeprefix(".")
    base = _values(tree, posixpath.join(folder, "values.yaml"))
    deployed = [each for one in found.documents for each in _deployed(tree, one, chart, base)]
    if deployed:
        return deployed
    environments: list[Release] = []
    for path in tree.files():
        place, _, name = path.rpartition("/")
        if place == folder and (environment := _ENVIRONMENT.fullmatch(name)):
            namespace = environment[1] or environment[2]
            sources = (*base, *_values(tree, path))
            environments.append(
                Release(f"helm {chart.folder} {name}", chart.name, namespace, sources)
            )
    once = Release(f"helm {chart.folder}", chart.name, "", base)
    return [_named(each) for each in environments or [once]]


def _values(tree: Tree, path: str) -> tuple[Values, ...]:
    return (Values(path, _read(tree, path)),) if path in tree.files() else ()


def _named(release: Release) -> Release:
    """In the namespace that its values name, if they do."""
    name = release.values.get("namespace")
    return replace(release, namespace=name) if name and isinstance(name, str) else release


@dataclass(frozen=True, slots=True)
class _Deployment:
    """What an object of Argo CD or Flux says of one chart."""

    path: str
    name: str
    namespace: str
    files: Sequence[str]  # of values
    inside: str  # pointer of more values in the object itself
    unread: str  # a field with values that are not looked at


def _deployed(
    tree: Tree, document: Document, chart: Chart, base: tuple[Values, ...]
) -> Iterator[Release]:
    group, kind = str(document.object.get("apiVersion")).partition("/")[0], document.ref.kind
    deployer = _DEPLOYERS.get((group, kind))
    for said in deployer(document) if deployer else ():
        if posixpath.normpath(said.path) != chart.folder:
            continue
        if said.unread:
            where = f"{document.path}:{document.line}"
            raise ChangeRefused(f"{where}: not rendered, some values are in {said.unread}")
        sources = [each for path in said.files for each in _values(tree, posixpath.normpath(path))]
        if inline := lookup(document.object, said.inside):
            inside = document.inside + said.inside
            sources.append(Values(document.path, inline, document.index, inside))
        via = f"helm {chart.folder} {kind}/{document.ref.name}"
        yield Release(via, said.name, said.namespace, (*base, *sources))


def _application(document: Document) -> Iterator[_Deployment]:
    spec = _map(document.object.get("spec"))
    several = spec.get("sources")
    namespace = str(_map(spec.get("destination")).get("namespace") or "")
    for at, source in enumerate(several if isinstance(several, list) else [spec.get("source")]):
        path, helm = str(_map(source).get("path") or ""), _map(_map(source).get("helm"))
        unread = [each for each in ("values", "parameters", "fileParameters") if helm.get(each)]
        yield _Deployment(
            path,
            str(helm.get("releaseName") or document.ref.name),
            namespace,
            [posixpath.join(path, each) for each in _texts(helm.get("valueFiles"))],
            f"/spec/sources/{at}/helm/valuesObject"
            if several
            else "/spec/source/helm/valuesObject",
            "".join(unread[:1]),
        )


def _helm_release(document: Document) -> Iterator[_Deployment]:
    spec = _map(document.object.get("spec"))
    chart, target = (
        _map(_map(spec.get("chart")).get("spec")),
        str(spec.get("targetNamespace") or ""),
    )
    name = "-".join(filter(None, (target, document.ref.name)))
    yield _Deployment(
        str(chart.get("chart") or ""),
        str(spec.get("releaseName") or name),
        target or document.ref.namespace,
        _texts(chart.get("valuesFiles")),
        "/spec/values",
        "valuesFrom" if spec.get("valuesFrom") else "",
    )


_DEPLOYERS = {
    ("argoproj.io", "Application"): _application,
    ("helm.toolkit.fluxcd.io", "HelmRelease"): _helm_release,
}


def _map(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _texts(value: Json) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


# --- objects, and the values behind their fields --------------------------------------------------


@dataclass
class _Rendering:
    chart: Chart
    releases: Sequence[Release]
    problems: list[str] = field(default_factory=list)

    def objects(self) -> list[Rendered]:
        if self.chart.about.get("dependencies"):
            path = posixpath.join(self.chart.folder, "Chart.yaml")
            self.problems.append(f"{path}:1: the charts it depends on are not rendered")
        return [
            made
            for release in self.releases
            for path in self.chart.templates
            if not path.endswith(".tpl")
            for made in self._of(release, path)
        ]

    def _of(self, release: Release, path: str) -> Iterator[Rendered]:
        try:
            said = self.chart.text(path, release, release.values)
            held = text.documents(said.encode())
        except Unknown as error:
            self.problems.append(f"{error.path}:{error.line}: not rendered: {error}")
            return
        except ChangeRefused as error:
            self.problems.append(f"{path}:1: not rendered, it becomes no YAML: {error}")
            return
        shared = frozenset(each.via for each in self.releases)
        line = self.chart.line(path, "kind")
        for index, (_, item) in enumerate(held):
            if isinstance(item, dict) and isinstance(item.get("metadata"), dict):
                document = Document(path, index, item, line)
                placer = partial(self._place, release, document)
                yield Rendered(_installed(item, release), document, release.via, shared, placer)

    def _place(
        self,
        release: Release,
        document: Document,
        operations: Sequence[Operation],
        wanted: frozenset[str],
    ) -> tuple[Placed, ...]:
        trial = _Trial(self.chart, release, document, release.values)
        edits: dict[tuple[str, int], list[Operation]] = {}
        for operation in trial.steps(operations):
            root, edit = trial.edit(operation)
            source, edit = self._in_source(release, wanted, root, edit, trial.values)
            trial = replace(trial, values=intended(trial.values, [edit]))
            moved = replace(edit, pointer=f"{source.inside}{edit.pointer}")
            edits.setdefault((source.path, source.index), []).append(moved)
        return tuple(Placed(*place, tuple(each)) for place, each in edits.items())

    def _in_source(
        self, release: Release, wanted: frozenset[str], root: str, edit: Operation, values: Json
    ) -> tuple[Values, Operation]:
        """The source that sets a value, or the next above it that only these releases use. A list
        is set there as a whole: lists are not merged."""
        users: dict[str, set[str]] = {}
        for each in self.releases:
            for source in each.sources:
                users.setdefault(source.path, set()).add(each.via)
        setting = [
            at for at, each in enumerate(release.sources) if lookup(each.content, root) is not None
        ]
        everywhere = len(self.releases) > 1 and {each.via for each in self.releases} <= wanted
        first = setting[-1] if setting else 0 if everywhere else len(release.sources) - 1
        for source in release.sources[max(first, 0) :]:
            if users[source.path] <= wanted:
                inherited = lookup(source.content, root) is None
                if inherited and isinstance(lookup(values, root), list):
                    return source, Operation(root, lookup(intended(values, [edit]), root))
                return source, edit
        raise ChangeRefused(f"{self.chart.folder}: no file of values is for {release.via} alone")


def _installed(item: Json, release: Release) -> Json:
    """The object in the namespace of its release, where nothing else is said."""
    metadata = dict(item["metadata"])
    if metadata.get("namespace") in (None, "", _UNKNOWN):
        metadata.pop("namespace", None)
        if release.namespace and item.get("kind") not in CLUSTER_SCOPED:
            metadata["namespace"] = release.namespace
    return {**item, "metadata": metadata}


@dataclass(frozen=True)
class _Trial:
    """Edits of values, tried until one makes an object as it should be."""

    chart: Chart
    release: Release
    document: Document
    values: Json

    def steps(self, operations: Sequence[Operation]) -> Iterator[Operation]:
        """The operations; of an image whose name and tag both change, one after the other, since
        charts tend to have a value for each."""
        whole = self._object(self._text(self.values))
        for each in operations:
            old = split_image(str(lookup(whole, each.pointer)))
            name, *rest = split_image(str(each.value))
            if each.pointer.endswith("/image") and name != old[0] and rest != list(old[1:]):
                yield replace(each, value=join_image(name, *old[1:]))
            yield each

    def edit(self, operation: Operation) -> tuple[str, Operation]:
        """The value that feeds a field (a pointer), and its edit. Raises ChangeRefused."""
        before = self._text(self.values)
        goal = _in_order(intended(self._object(before), [operation]))
        for root in self._roots():
            for edit in _candidates(self.values, root, operation):
                try:
                    said = self._text(intended(self.values, [edit]))
                    if said != before and _in_order(self._object(said)) == goal:
                        return root, edit
                except (Unknown, ChangeRefused):
                    continue  # not this one
        path, keys = (
            self.document.path,
            [each for each in steps(operation.pointer) if isinstance(each, str)],
        )
        known = (line for key in reversed(keys) if (line := self.chart.line(path, key)) > 1)
        raise ChangeRefused(
            f"{path}:{next(known, self.document.line)}: the template takes "
            f"{dotted(operation.pointer)} from no value, edit it by hand"
        )

    def _text(self, values: Json) -> str:
        return self.chart.text(self.document.path, self.release, values)

    def _object(self, said: str) -> Json:
        held = text.documents(said.encode())
        return held[self.document.index][1] if self.document.index < len(held) else None

    def _roots(self) -> list[str]:
        """The values that templates mention and what is inside them, those that are set first."""
        files = [said for said, _ in self.chart.templates.values()]
        named = {name.replace(".", "/") for said in files for name in _VALUE.findall(said)}
        found = dict.fromkeys(sorted(named))
        for root in list(found):
            found |= dict.fromkeys(_inside(root, lookup(self.values, root)))
        return sorted(found, key=lambda root: not lookup(self.values, root))


def _inside(pointer: str, value: Json) -> Iterator[str]:
    for key, each in value.items() if isinstance(value, dict) else ():
        yield child(pointer, key)
        yield from _inside(child(pointer, key), each)


def _candidates(values: Json, root: str, operation: Operation) -> Iterator[Operation]:
    """The edits of one value that may stand behind an edit of a field: of the value itself, of an
    item of a list, of a key of a map; of a part of an image."""
    there, segments = lookup(values, root), operation.pointer.split("/")[1:]
    if not isinstance(there, dict | list):
        yield replace(operation, pointer=root)
    if segments[-1] == "image" and isinstance(there, str | int | float | None):
        yield from (Operation(root, part) for part in split_image(str(operation.value)) if part)
    if not isinstance(there, str | int | float):
        tails = ("/".join(segments[at:]) for at in range(1, len(segments)))
        yield from (replace(operation, pointer=f"{root}/{tail}") for tail in tails)
        yield from _as_map(root, operation)


def _as_map(root: str, operation: Operation) -> Iterator[Operation]:
    """Variables that a chart keeps as `NAME: value`."""
    path = steps(operation.pointer)
    names = [each["name"] for each in path if isinstance(each, dict) and "name" in each]
    if "env" in path and names:
        value = operation.value
        plain = value.get("value") if isinstance(value, dict) else value
        yield replace(operation, pointer=child(root, names[-1]), value=plain)


def _in_order(value: Json) -> Json:
    """Lists of named items by name: in a chart that keeps a map their order is not its own."""
    if isinstance(value, dict):
        return {key: _in_order(each) for key, each in value.items()}
    if not isinstance(value, list):
        return value
    items = [_in_order(each) for each in value]
    named = all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in items)
    return sorted(items, key=lambda each: str(each["name"])) if named else items
