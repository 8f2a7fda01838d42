"""Kustomizations built here, without kustomize, so that every object knows what made it so.

Built is what people use: resources, bases, components, namespace, prefix and suffix, labels and
annotations, images, replicas, patches of every sort. A kustomization that uses more is not built,
and a problem says why. Names by which objects refer to each other (the ConfigMap of a volume) stay
as written: they get neither a prefix nor a generator's hash.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import jsonpatch
import msgspec
from jsonpointer import JsonPointerException

from smoldebug.edits import text
from smoldebug.edits.documents import Found, objects
from smoldebug.edits.operations import Document
from smoldebug.errors import ChangeRefused, ToolError, UsageError
from smoldebug.pointers import child, item, merged
from smoldebug.records import Json
from smoldebug.sources.kinds import CLUSTER_SCOPED
from smoldebug.sources.repository import Tree
from smoldebug.sources.selectors import holds

_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_FOLDERS = ("resources", "bases", "components", "generators", "transformers", "validators")
# What adds objects of other kinds, checks them, or says how they are written out
_IGNORED = {
    "apiVersion", "kind", "metadata", "configMapGenerator", "secretGenerator", "generatorOptions",
    "crds", "validators", "sortOptions", "buildMetadata",
}  # fmt: skip
_GENERATORS = ("configMapGenerator", "secretGenerator")  # what these add is not built
_UNPREFIXED = ("APIService", "CustomResourceDefinition", "Namespace")
SCALED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")

Path = tuple[str, ...]
_POD = ("spec", "template")
_TEMPLATES: dict[str, tuple[Path, ...]] = {
    **dict.fromkeys((*SCALED, "DaemonSet", "Job"), (_POD,)),
    "CronJob": (("spec", "jobTemplate"), ("spec", "jobTemplate", *_POD)),
}
_SELECTORS: dict[str, Path] = {
    **dict.fromkeys((*SCALED, "DaemonSet"), ("spec", "selector", "matchLabels")),
    **dict.fromkeys(("ReplicationController", "Service"), ("spec", "selector")),
}
# Where labels of selectors also go into every `matchLabels` that is there already
_MATCHING = {*_SELECTORS, "CronJob", "Job", "NetworkPolicy", "PodDisruptionBudget"} - {"Service"}


# --- what a kustomization says ----------------------------------------------------------------


class _Block(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class Target(_Block, frozen=True):
    group: str = ""
    version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    label_selector: str = ""
    annotation_selector: str = ""


class PatchEntry(_Block, frozen=True):
    path: str = ""
    patch: str = ""
    target: Target | None = None


class Image(_Block, frozen=True):
    name: str
    new_name: str = ""
    new_tag: str = ""
    digest: str = ""


class Replicas(_Block, frozen=True):
    name: str
    count: int


class Labels(_Block, frozen=True):
    pairs: dict[str, str]
    include_selectors: bool = False
    include_templates: bool = False


class Kustomization(_Block, frozen=True):
    """The fields that are built."""

    resources: list[str] = []
    bases: list[str] = []
    components: list[str] = []
    namespace: str = ""
    name_prefix: str = ""
    name_suffix: str = ""
    common_labels: dict[str, str] = {}
    labels: list[Labels] = []
    common_annotations: dict[str, str] = {}
    images: list[Image] = []
    replicas: list[Replicas] = []
    patches: list[PatchEntry] = []
    patches_strategic_merge: list[str] = []
    patches_json6902: list[PatchEntry] = msgspec.field(default=[], name="patchesJson6902")


# --- what becomes of an object ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch: a map is merged strategically, a list is a JSON patch (RFC 6902)."""

    content: Json
    entry: str  # pointer of it in the kustomization
    path: str = ""  # of its file; "": it is written in the kustomization
    index: int = 0  # of the YAML document it is
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What one entry of a kustomization did to an object, or would undo if the base changed."""

    folder: str
    source: str  # pointer of the entry in the kustomization: /images/0
    before: Json
    after: Json
    patch: Patch | None = None
    ruled: frozenset[str] = frozenset()  # fields it sets, whatever stood there


@dataclass(frozen=True, slots=True)
class Built:
    """An object on its way from `document` through the folders of kustomizations."""

    object: Json
    document: Document
    layers: tuple[tuple[str, Json], ...] = ()  # folder, and the object as it came there
    steps: tuple[Step, ...] = ()
    ids: frozenset[tuple[str, ...]] = frozenset()  # what it is, and was, called

    @property
    def kind(self) -> str:
        return str(self.object.get("kind"))

    @property
    def has_pods(self) -> bool:
        return self.kind in _TEMPLATES

    def entering(self, folder: str) -> "Built":
        return replace(self, layers=(*self.layers, (folder, self.object)))

    def known(self) -> "Built":
        return replace(self, ids=self.ids | {_id(self.object)})

    def after(self, folder: str, source: str, changed: Json, **more: Any) -> "Built":
        step = Step(folder, source, self.object, changed, **more)
        if not more and step.before == step.after:
            return self
        return replace(self, object=changed, steps=(*self.steps, step))


def _id(item: Json) -> tuple[str, ...]:
    meta = item.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    names = (item.get("apiVersion"), item.get("kind"), meta.get("name"))
    return (*map(str, names), str(meta.get("namespace") or "default"))


@dataclass(frozen=True, slots=True)
class Layer:
    """A folder with a kustomization. `raw` is the file as it was parsed."""

    folder: str
    path: str
    raw: Json

    @property
    def component(self) -> bool:
        return bool(self.raw.get("kind") == "Component")

    def spec(self) -> Kustomization:
        """Raises ChangeRefused with the field that cannot be built."""
        said = {key: value for key, value in self.raw.items() if value is not None}
        used = {key: value for key, value in said.items() if key not in _IGNORED}
        try:
            return msgspec.convert(used, Kustomization)
        except msgspec.ValidationError as error:
            raise self.refused(str(error)) from error

    def refused(self, why: str) -> ChangeRefused:
        return ChangeRefused(f"{self.path}:1: not built: {why}")

    def joined(self, entry: str) -> str:
        """The path an entry means, from the repository's root."""
        return posixpath.normpath(posixpath.join(self.folder, entry))


@dataclass
class Kustomizations:
    """All kustomizations of a tree. `consumed` are the files they use, which are not applied as
    they are; `problems` say what could not be built."""

    tree: Tree
    found: Found
    layers: dict[str, Layer] = field(default_factory=dict)
    consumed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._files = self.tree.files()
        self._documents: dict[str, list[Document]] = {}
        for each in self.found.documents:
            self._documents.setdefault(each.path, []).append(each)
        self._built: dict[str, tuple[Built, ...]] = {}
        self._remote: set[str] = set()  # folders with resources that cannot be seen
        for path in self._files:
            folder, _, name = path.rpartition("/")
            if name in _FILES and self._files[path].kind == "file":
                self._load(folder or ".", path)
        for layer in self.layers.values():
            paths = {layer.joined(each) for each in _strings(layer.raw)}
            self.consumed |= {path for path in paths if path in self._files}

    def _load(self, folder: str, path: str) -> None:
        try:
            held = text.documents(self.tree.read(path))
        except ChangeRefused as error:
            self.problems.append(f"{path}:{str(error).removeprefix('line ')}")
            return
        raw = held[0][1] if held else None
        ours = ("", "kustomize.config.k8s.io")
        if isinstance(raw, dict) and str(raw.get("apiVersion") or "").partition("/")[0] in ours:
            self.layers[folder] = Layer(folder, path, raw)

    def leaves(self) -> Iterator[tuple[str, tuple[Built, ...]]]:
        """Every kustomization that no other one uses, and its objects."""
        used = {layer.joined(each) for layer in self.layers.values() for each in _folders(layer)}
        tops = [each for each in self.layers.values() if not each.component]
        for layer in sorted(tops, key=lambda each: each.folder in used):
            if layer.folder in self._built or not self._in_scope(layer):
                continue
            try:  # one in use that nobody has built yet is in a circle, which building it tells
                built = self._build(layer.folder, ())
            except ChangeRefused as error:
                self.problems.append(str(error))
                continue
            if layer.folder not in used:
                yield layer.folder, built

    def whole(self, folder: str) -> tuple[Json, ...]:
        """Every object of one kustomization, for whoever applies them. Raises ChangeRefused where
        that would not be all: a generator, a resource that is remote."""
        made, seen, left = self._build(folder, ()), set[str](), [folder]
        while left:
            layer = self.layers[left.pop()]
            if generators := [key for key in _GENERATORS if layer.raw.get(key)]:
                raise layer.refused(generators[0])
            seen.add(layer.folder)
            below = {layer.joined(each) for each in _folders(layer)} & self.layers.keys()
            left += below - seen
        if self.problems:
            raise ChangeRefused(self.problems[0])
        return tuple(each.object for each in made)

    def _in_scope(self, layer: Layer) -> bool:
        consumed = map(layer.joined, _strings(layer.raw))
        return layer.path in self.found.others or any(each in self._documents for each in consumed)

    # --- resources

    def _build(self, folder: str, above: Path) -> tuple[Built, ...]:
        if folder not in self._built:
            self._built[folder] = self._accumulated(folder, (), above)
        return self._built[folder]

    def _accumulated(
        self, folder: str, incoming: tuple[Built, ...], above: Path
    ) -> tuple[Built, ...]:
        """The objects of a kustomization; a component's are those of whoever uses it, too."""
        layer = self.layers[folder]
        if folder in above:
            raise layer.refused("it uses itself through its resources")
        spec, above = layer.spec(), (*above, folder)
        built = incoming
        for entry in (*spec.resources, *spec.bases):
            built += self._resource(layer, entry, above)
        for entry in spec.components:
            path = layer.joined(entry)
            if path in self.layers:
                built = self._accumulated(path, built, above)
            else:
                self._unseen(layer, entry)
        if len({_id(each.object) for each in built}) < len(built):
            raise layer.refused("two of its resources have the same kind, namespace and name")
        return self._transformed(layer, spec, [each.entering(folder) for each in built])

    def _resource(self, layer: Layer, entry: str, above: Path) -> tuple[Built, ...]:
        path = layer.joined(entry)
        if path in self.layers:
            built = self._build(path, above)
            self._remote |= {layer.folder} if path in self._remote else set()
            return built
        if path not in self._files or self._files[path].kind != "file":
            self._unseen(layer, entry)
            return ()
        if path not in self._documents:
            self._documents[path] = objects(path, self.tree.read(path))
        return tuple(Built(each.object, each).known() for each in self._documents[path])

    def _unseen(self, layer: Layer, entry: str) -> None:
        if "://" not in entry and not entry.startswith(("git@", "github.com/")):
            raise layer.refused(f"no file and no kustomization of the repository: {entry}")
        self.problems.append(f"{layer.path}:1: a resource is remote, not looked at: {entry}")
        self._remote.add(layer.folder)

    # --- transformers, in kustomize's own order

    def _transformed(
        self, layer: Layer, spec: Kustomization, built: list[Built]
    ) -> tuple[Built, ...]:
        for patch in self._patches(layer, spec):
            built = self._patched(layer, patch, built)
        for change in (_namespaced, _renamed, _labelled, _annotated):
            built = [change(layer.folder, spec, each).known() for each in built]
        for at, entry in enumerate(spec.patches_json6902):
            for patch in self._read(layer, f"/patchesJson6902/{at}", entry):
                built = self._patched(layer, patch, built)
        for replicas in spec.replicas:
            known = any(_is_scaled(each, replicas) for each in built)
            if not known and layer.folder not in self._remote:
                raise layer.refused(f"replicas of an object that is not there: {replicas.name}")
        return tuple(
            _imaged(layer.folder, spec, _scaled(layer.folder, spec, each)) for each in built
        )

    def _patches(self, layer: Layer, spec: Kustomization) -> Iterator[Patch]:
        for at, name in enumerate(spec.patches_strategic_merge):
            is_file = layer.joined(name) in self._files
            said = PatchEntry(path=name) if is_file else PatchEntry(patch=name)
            yield from self._read(layer, f"/patchesStrategicMerge/{at}", said)
        for at, entry in enumerate(spec.patches):
            yield from self._read(layer, f"/patches/{at}", entry)

    def _read(self, layer: Layer, entry: str, said: PatchEntry) -> Iterator[Patch]:
        path = layer.joined(said.path) if said.path else ""
        if path and path not in self._files:
            raise layer.refused(f"a patch is not there: {said.path}")
        try:
            held = text.documents(self.tree.read(path) if path else said.patch.encode())
        except ChangeRefused as error:
            raise layer.refused(f"a patch is not YAML: {path or entry}: {error}") from error
        for index, (_, content) in enumerate(held):
            if isinstance(content, list) and said.target is None:
                raise layer.refused(f"a JSON patch without a target: {path or entry}")
            if not isinstance(content, dict | list):
                raise layer.refused(f"not a patch: {path or entry}")
            yield Patch(content, entry, path, index, said.target)

    def _patched(self, layer: Layer, patch: Patch, built: list[Built]) -> list[Built]:
        try:
            fits = list(map(_meant(patch), built))
            if patch.target is None and sum(fits) != 1 and layer.folder not in self._remote:
                raise UsageError(f"of the objects it fits {sum(fits)}")
            done = [
                _patched(layer.folder, patch, each) if fit else each
                for each, fit in zip(built, fits, strict=True)
            ]
        except (UsageError, ToolError) as error:
            raise layer.refused(f"patch {patch.path or patch.entry}: {error}") from error
        return [each for each in done if each.object]  # `$patch: delete` takes one away


def _strings(value: Json) -> Iterator[str]:
    """Every text of a kustomization that may be a path, and what a generator's `key=path` names."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
    elif isinstance(value, str) and "\n" not in value:
        yield from (value, value.rpartition("=")[2])


def _folders(layer: Layer) -> Iterator[str]:
    for name in _FOLDERS:
        entries = layer.raw.get(name)
        yield from _strings(entries if isinstance(entries, list) else [])


# --- patches ------------------------------------------------------------------------------------


def _meant(patch: Patch) -> Callable[[Built], bool]:
    """Tells which objects a patch is for."""
    if patch.target is None:
        name = _id(patch.content)
        return lambda built: name in built.ids
    return partial(_fits, patch.target)


def _fits(target: Target, built: Built) -> bool:
    group, _, version = str(built.object.get("apiVersion")).rpartition("/")
    exact = ((target.group, group), (target.version, version), (target.kind, built.kind))
    return (
        all(_matches(wanted, actual) for wanted, actual in exact)
        and any(
            _matches(target.name, name) and _matches(target.namespace, namespace)
            for _, _, name, namespace in built.ids
        )
        and holds(target.label_selector, _metadata(built.object, "labels").get)
        and holds(target.annotation_selector, _metadata(built.object, "annotations").get)
    )


def _metadata(item: Json, name: str) -> Mapping[str, Json]:
    found = (item.get("metadata") or {}).get(name)
    return found if isinstance(found, dict) else {}


def _matches(pattern: str, name: str) -> bool:
    """A whole match, as kustomize makes it."""
    return not pattern or _compiled(pattern).fullmatch(name) is not None


@lru_cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Raises UsageError for one that could take for ever."""
    if re.search(r"\)[*+?{]|\\", pattern) or len(re.findall(r"[*+{]", pattern)) > 3:
        raise UsageError(f"its target is too complicated to be looked at: {pattern}")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"its target is no regular expression: {pattern}") from error


def _patched(folder: str, patch: Patch, built: Built) -> Built:
    if isinstance(patch.content, list):
        try:
            changed = jsonpatch.apply_patch(built.object, patch.content)
        except (jsonpatch.JsonPatchException, JsonPointerException, TypeError) as error:
            raise UsageError(str(error)) from error
    else:
        changed = _merged(built.object, patch.content)
    if changed and not (isinstance(changed, dict) and isinstance(changed.get("metadata"), dict)):
        raise UsageError("it leaves no object")
    return built.after(folder, patch.entry, changed, patch=patch)


def _merged(whole: Json, patch: Json) -> Json:
    """After a strategic merge; a patch names its object, it does not rename it."""
    if not merges_items(whole) and "$patch" in str(patch):
        raise UsageError(f"not looked at: $patch in one of a {whole['kind']}")
    changed = merged(whole, patch, strategic=merges_items(whole))
    if not changed or not isinstance(changed.get("metadata"), dict):
        return changed
    names = {key: whole["metadata"].get(key) for key in ("name", "namespace")}
    metadata = {**changed["metadata"], **{key: each for key, each in names.items() if each}}
    kept = {key: whole[key] for key in ("apiVersion", "kind")}
    return {**changed, **kept, "metadata": metadata}


def merges_items(whole: Json) -> bool:
    """Whether kustomize merges lists of this kind item by item, as it does where it knows the
    schema. Those of other kinds (Argo's Rollout) it replaces as a whole."""
    group = str(whole.get("apiVersion")).rpartition("/")[0]
    known = ("", "apps", "autoscaling", "batch", "extensions", "policy")
    return group in known or group.endswith(".k8s.io")


# --- the other transformers -----------------------------------------------------------------------


def _namespaced(folder: str, spec: Kustomization, built: Built) -> Built:
    if not spec.namespace or built.kind in CLUSTER_SCOPED - {"Namespace"}:
        return built
    key = "name" if built.kind == "Namespace" else "namespace"
    changed = _put(built.object, ("metadata",), {key: spec.namespace})
    return built.after(folder, "/namespace", changed)


def _renamed(folder: str, spec: Kustomization, built: Built) -> Built:
    name = built.object["metadata"].get("name")
    if built.kind in _UNPREFIXED or not name:
        return built
    called = {"name": f"{spec.name_prefix}{name}{spec.name_suffix}"}
    return built.after(folder, "/namePrefix", _put(built.object, ("metadata",), called))


def _labelled(folder: str, spec: Kustomization, built: Built) -> Built:
    entries = [(f"/labels/{at}", each) for at, each in enumerate(spec.labels)]
    common = Labels(pairs=spec.common_labels, include_selectors=True)
    for source, entry in [*entries, ("/commonLabels", common)]:
        changed = _put(built.object, ("metadata", "labels"), entry.pairs)
        if entry.include_selectors or entry.include_templates:
            for path in _template_paths(built.kind, "labels"):
                changed = _put(changed, path, entry.pairs)
        if entry.include_selectors:
            changed = _selecting(built.kind, changed, entry.pairs)
        built = built.after(folder, source, changed)
    return built


def _selecting(kind: str, whole: Json, pairs: dict[str, str]) -> Json:
    if kind in _MATCHING:
        whole = {**whole, "spec": _matching(whole.get("spec"), pairs)}
    return _put(whole, _SELECTORS[kind], pairs) if kind in _SELECTORS else whole


def _matching(value: Json, pairs: dict[str, str]) -> Json:
    """With the pairs in every `matchLabels` that is about pods."""
    if isinstance(value, list):
        return [_matching(each, pairs) for each in value]
    if not isinstance(value, dict):
        return value
    changed = dict(value)
    for key, each in value.items():
        if key == "matchLabels" and isinstance(each, dict):
            changed[key] = {**each, **pairs}
        elif key not in ("namespaceSelector", "volumeClaimTemplates"):
            changed[key] = _matching(each, pairs)
    return changed


def _annotated(folder: str, spec: Kustomization, built: Built) -> Built:
    changed = built.object
    for path in (("metadata", "annotations"), *_template_paths(built.kind, "annotations")):
        changed = _put(changed, path, spec.common_annotations)
    return built.after(folder, "/commonAnnotations", changed)


def _template_paths(kind: str, name: str) -> list[Path]:
    paths: list[Path] = [(*each, "metadata", name) for each in _TEMPLATES.get(kind, ())]
    if (kind, name) == ("StatefulSet", "labels"):
        paths.append(("spec", "volumeClaimTemplates", "metadata", name))
    return paths


def _put(value: Json, path: Path, pairs: Mapping[str, Json]) -> Json:
    """With the pairs at a path, which is made where it is missing; of a list, in each item."""
    if isinstance(value, list):
        return [_put(each, path, pairs) for each in value]
    value = {} if value is None else value
    if not pairs or not isinstance(value, dict):
        return value
    if not path:
        return {**value, **pairs}
    if path[0] == "volumeClaimTemplates" and path[0] not in value:
        return value
    return {**value, path[0]: _put(value.get(path[0]), path[1:], pairs)}


def _is_scaled(built: Built, entry: Replicas) -> bool:
    return built.kind in SCALED and any(name == entry.name for _, _, name, _ in built.ids)


def _scaled(folder: str, spec: Kustomization, built: Built) -> Built:
    for at, entry in enumerate(spec.replicas):
        if _is_scaled(built, entry):
            changed = _put(built.object, ("spec",), {"replicas": entry.count})
            ruled = frozenset({"/spec/replicas"})
            built = built.after(folder, f"/replicas/{at}", changed, ruled=ruled)
    return built


def _imaged(folder: str, spec: Kustomization, built: Built) -> Built:
    names = _image_names(built) if spec.images else set()
    for at, entry in enumerate(spec.images):
        if entry.name in names:
            ruled: set[str] = set()
            changed = _with_images(built.object, "", partial(_renewed, entry, ruled))
            built = built.after(folder, f"/images/{at}", changed, ruled=frozenset(ruled))
            names = _image_names(built)
    return built


def _image_names(built: Built) -> set[str]:
    return {split_image(image)[0] for image in images_in(built.object).values()}


def _renewed(entry: Image, ruled: set[str], pointer: str, image: str) -> str:
    name, tag, digest = split_image(image)
    if name != entry.name:
        return image
    ruled.add(pointer)
    if entry.new_tag or entry.digest:
        tag, digest = entry.new_tag, entry.digest
    return join_image(entry.new_name or name, tag, digest)


def images_in(whole: Json) -> dict[str, str]:
    """The images of an object's containers by pointer."""
    found: dict[str, str] = {}
    _with_images(whole, "", lambda pointer, image: found.setdefault(pointer, image))
    return found


def _with_images(value: Json, pointer: str, renew: Callable[[str, str], str]) -> Json:
    """With what `renew` makes of the image, at its pointer, of every container below."""
    if isinstance(value, list):
        return [
            _with_images(each, _item(pointer, at, each), renew) for at, each in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_images(each, child(pointer, key), renew) for key, each in value.items()}
    image = value.get("image")
    inside = pointer.rpartition("/")[0].endswith(("/containers", "/initContainers"))
    if inside and isinstance(image, str):
        changed["image"] = renew(child(pointer, "image"), image)
    return changed


def _item(pointer: str, at: int, each: Json) -> str:
    name = each.get("name") if isinstance(each, dict) else None
    return item(pointer, name=name) if name else f"{pointer}/{at}"


def split_image(image: str) -> tuple[str, str, str]:
    """Name, tag and digest: `reg:5000/app:1@sha256:ab` is `reg:5000/app`, `1`, `sha256:ab`."""
    rest, _, digest = image.partition("@")
    folder, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{folder}{slash}{name}", tag, digest


def join_image(name: str, tag: str, digest: str) -> str:
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
