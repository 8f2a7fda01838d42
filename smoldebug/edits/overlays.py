"""In which layer an edit of a kustomization's object belongs: the base, or an overlay's own part.

The lowest layer is right through which only objects come that get the very same edit, unless a
layer above it sets the same field: then it is that layer's patch, image or number of replicas.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import jsonpatch

from smoldebug.edits import text
from smoldebug.edits.kustomize import (
    SCALED,
    Built,
    Layer,
    Patch,
    Step,
    images_in,
    merges_items,
    split_image,
)
from smoldebug.edits.operations import Operation, Placed
from smoldebug.edits.rendered import placed_in
from smoldebug.errors import ChangeRefused
from smoldebug.pointers import child, dotted, item, lookup, resolve, steps
from smoldebug.records import Json
from smoldebug.sources.repository import Tree

_IMAGE = re.compile(r"/(c|initC)ontainers/[^/]+/image$")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_Key = tuple[str, int, str]  # of a document


def _key(built: Built) -> _Key:
    return (built.document.path, built.document.index, built.document.inside)


@dataclass
class Overlays:
    """All objects of a tree's kustomizations, each with its way (`via`), and who shares what."""

    tree: Tree
    layers: dict[str, Layer]
    made: Sequence[tuple[str, Built]]

    def __post_init__(self) -> None:
        self.files = self.tree.files()
        self._through: dict[str, list[Built]] = defaultdict(list)
        self._named: dict[str, dict[str, list[Built]]] = {}
        self._images: dict[str, dict[str, set[tuple[_Key, str]]]] = {}
        self._ways: dict[tuple[_Key, str], set[str]] = defaultdict(set)
        self._touched: dict[tuple[str, str], set[tuple[_Key, str]]] = defaultdict(set)
        for via, built in self.made:
            for folder in ("", *(folder for folder, _ in built.layers)):
                self._ways[_key(built), folder].add(via)
                self._through[folder].append(built)
            for step in built.steps:
                self._touched[step.folder, step.source].add((_key(built), via))

    def shared(self, built: Built) -> frozenset[str]:
        """The ways of all objects that come from the same document."""
        return frozenset(self._ways[_key(built), ""])

    def place(
        self, built: Built, operations: Sequence[Operation], wanted: frozenset[str]
    ) -> tuple[Placed, ...]:
        """See `Rendered.place`."""
        edits = _Edits(self, built, wanted, {each.pointer for each in operations})
        for operation in operations:
            edits.place(operation)
        return tuple(edits.placed())

    def only(self, step: Step, built: Built, wanted: Collection[str]) -> bool:
        """Whether an entry of a kustomization is about no other objects."""
        meant = {(_key(built), via) for via in wanted}
        return self._touched[step.folder, step.source] <= meant

    def leads(self, folder: str, built: Built, wanted: Collection[str]) -> bool:
        """Whether the object comes through a folder ("": from its document) only as wanted."""
        return self._ways[_key(built), folder] <= set(wanted)

    def named(self, folder: str, name: str) -> list[Built]:
        """The objects that come to a folder's kustomization under a name."""
        if folder not in self._named:
            self._named[folder] = defaultdict(list)
            for built in self._through[folder]:
                for called in {called for _, _, called, _ in built.ids}:
                    self._named[folder][called].append(built)
        return self._named[folder][name]

    def running(self, folder: str, name: str) -> set[tuple[_Key, str]]:
        """The documents and pointers of all images of a name in a folder's objects."""
        if folder not in self._images:
            self._images[folder] = defaultdict(set)
            for built in self._through[folder]:
                for whole in (_entering(built, folder), built.object):
                    for pointer, image in images_in(whole).items():
                        used = self._images[folder][split_image(image)[0]]
                        used.add((_key(built), pointer))
        return self._images[folder][name]


def _entering(built: Built, folder: str) -> Json:
    """The object as it came to a kustomization, None when it did not."""
    return next((came for at, came in built.layers if at == folder), None)


def _leaving(built: Built, folder: str) -> Json:
    folders = [at for at, _ in built.layers]
    after = folders.index(folder) + 1
    return built.layers[after][1] if after < len(folders) else built.object


@dataclass
class _Edits:
    """The operations on one object, each brought to its place."""

    overlays: Overlays
    built: Built
    wanted: frozenset[str]
    pointers: set[str]
    files: dict[tuple[str, int], list[Operation]] = field(default_factory=dict)
    patches: dict[str, list[Operation]] = field(default_factory=dict)  # new ones, by folder
    inline: dict[tuple[str, str, int], list[Operation]] = field(default_factory=dict)

    def place(self, operation: Operation) -> None:
        set_by = self._set_by(operation.pointer)
        last = self.built.steps[set_by] if set_by >= 0 else None
        if last is None and self.overlays.leads("", self.built, self.wanted):
            for each in placed_in(self.built.document, [operation]):
                self._add(each.path, each.index, *each.operations)
        elif last is None or not self._in_step(last, operation):
            self._in_layer(set_by, operation)

    def placed(self) -> Iterator[Placed]:
        for (path, index), operations in self.files.items():
            yield Placed(path, index, tuple(operations))
        for (folder, pointer, index), operations in self.inline.items():
            layer = self.overlays.layers[folder]
            said = text.edited(lookup(layer.raw, pointer).encode(), index, operations).decode()
            yield Placed(layer.path, 0, (Operation(pointer, said),))
        for folder, operations in self.patches.items():
            yield from self._new_patch(folder, operations)

    def _add(self, path: str, index: int, *operations: Operation) -> None:
        self.files.setdefault((path, index), []).extend(operations)

    def _add_to(self, patch: Patch, folder: str, operation: Operation) -> None:
        if patch.path:
            self._add(patch.path, patch.index, operation)
        else:
            written = isinstance(lookup(self.overlays.layers[folder].raw, patch.entry), str)
            pointer = patch.entry if written else f"{patch.entry}/patch"
            self.inline.setdefault((folder, pointer, patch.index), []).append(operation)

    def _set_by(self, pointer: str) -> int:
        """The last step that rules a field, or brings the list item it is in; -1: none."""
        steps = enumerate(self.built.steps)
        return max((at for at, step in steps if _sets(step, pointer)), default=-1)

    # --- where it is set already

    def _in_step(self, step: Step, operation: Operation) -> bool:
        """Edit the entry that sets the field; False when that is not possible or not wanted."""
        if not self.overlays.only(step, self.built, self.wanted):
            return False
        path, patch = self.overlays.layers[step.folder].path, step.patch
        if patch is not None:
            return self._in_patch(patch, step, operation)
        if step.source.startswith("/replicas/") and not operation.remove:
            self._add(path, 0, Operation(f"{step.source}/count", operation.value))
            return True
        if step.source.startswith("/images/") and step.ruled <= self.pointers:
            entry = lookup(self.overlays.layers[step.folder].raw, step.source)
            self._add(path, 0, *_image_edits(step.source, entry, operation))
            return True
        return False

    def _in_patch(self, patch: Patch, step: Step, operation: Operation) -> bool:
        if isinstance(patch.content, list):
            found = _json_patch_place(patch.content, step.before, operation.pointer)
            if found is None or operation.remove:
                return False
            operation = Operation(found, operation.value)
        elif merges_items(step.before) and (
            not operation.remove or lookup(step.before, operation.pointer) is not None
        ):
            operation = _strategic(step.before, operation)
        self._add_to(patch, step.folder, operation)
        return True

    # --- where nothing sets it yet

    def _in_layer(self, set_by: int, operation: Operation) -> None:
        """Set the field in the lowest layer, at or above the step that sets it now."""
        folders = [folder for folder, _ in self.built.layers]
        last = self.built.steps[set_by] if set_by >= 0 else None
        if last is not None:
            first = folders.index(last.folder)
            wins = last.source.startswith(("/patches/", "/patchesStrategicMerge/"))
            folders = folders[first if wins else first + 1 :]
        for folder in folders:
            if self.overlays.leads(folder, self.built, self.wanted):
                self._in_folder(folder, set_by, operation)
                return
        raise self._refused(last, operation)

    def _refused(self, step: Step | None, operation: Operation) -> ChangeRefused:
        folder = step.folder if step else self.built.layers[-1][0]
        entry = step.source.split("/")[1] if step else "resources"
        return ChangeRefused(
            f"{self.overlays.layers[folder].path}:1: its {entry} set {dotted(operation.pointer)}, "
            "and nothing could override that for this object alone, edit it by hand"
        )

    def _in_folder(self, folder: str, set_by: int, operation: Operation) -> None:
        layer = self.overlays.layers[folder]
        if entry := self._image_entry(folder, operation) or self._count_entry(folder, operation):
            self._add(layer.path, 0, entry)
            return
        if "/[" in operation.pointer and not merges_items(self.built.object):
            raise ChangeRefused(
                f"{layer.path}:1: a patch would replace the lists of a {self.built.kind} as a "
                f"whole, edit it by hand: {dotted(operation.pointer)}"
            )
        operation = _strategic(_leaving(self.built, folder), operation)
        if own := self._own_patch(folder, set_by):
            self._add_to(own, folder, operation)
        else:
            self.patches.setdefault(folder, []).append(operation)

    def _own_patch(self, folder: str, set_by: int) -> Patch | None:
        """The layer's last patch for this object alone, after the step that sets the field."""
        own = [
            step.patch
            for step in self.built.steps[set_by + 1 :]
            if step.folder == folder and step.patch
            and isinstance(step.patch.content, dict)
            and self.overlays.only(step, self.built, self.wanted)
        ]  # fmt: skip
        return own[-1] if own else None

    def _image_entry(self, folder: str, operation: Operation) -> Operation | None:
        """An entry of `images`, where no other container runs the same one."""
        image = lookup(_leaving(self.built, folder), operation.pointer)
        if not _IMAGE.search(operation.pointer) or not isinstance(image, str) or operation.remove:
            return None
        name = split_image(image)[0]
        own = {(_key(self.built), pointer) for pointer in self.pointers}
        if not self.overlays.running(folder, name) <= own:
            return None
        new_name, tag, digest = split_image(str(operation.value))
        entry = {"name": name, "newName": new_name, "newTag": tag, "digest": digest}
        if new_name == name:
            del entry["newName"]
        said = {key: each for key, each in entry.items() if each}
        return Operation(item("/images", name=name), said) if tag or digest else None

    def _count_entry(self, folder: str, operation: Operation) -> Operation | None:
        """An entry of `replicas`."""
        if operation.pointer != "/spec/replicas" or not isinstance(operation.value, int):
            return None
        name = _entering(self.built, folder)["metadata"].get("name")
        same = [each for each in self.overlays.named(folder, name) if each.kind in SCALED]
        if [_key(each) for each in same] != [_key(self.built)]:
            return None
        return Operation(item("/replicas", name=name), {"name": name, "count": operation.value})

    def _new_patch(self, folder: str, operations: list[Operation]) -> Iterator[Placed]:
        layer, came = self.overlays.layers[folder], _entering(self.built, folder)
        name = self._patch_name(folder, came)
        meta = ((key, came["metadata"].get(key)) for key in ("name", "namespace"))
        head = [Operation(f"/{key}", came[key]) for key in ("apiVersion", "kind")]
        head += [Operation(child("/metadata", key), value) for key, value in meta if value]
        content = text.edited(b"apiVersion: v1\n", 0, [*head, *operations])
        yield Placed(layer.joined(name), content=content)
        yield Placed(layer.path, 0, (_entry(layer, name),))

    def _patch_name(self, folder: str, came: Json) -> str:
        layer, name = self.overlays.layers[folder], str(came["metadata"].get("name"))
        kind = str(came.get("kind")).lower()
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(kind):
            raise ChangeRefused(f"{layer.path}:1: no name for a patch file: {name}")
        alike = self.overlays.named(folder, name)
        others = [each for each in alike if each.has_pods and each.kind != self.built.kind]
        names = [f"patch-{name}.yaml", f"patch-{kind}-{name}.yaml"]
        for each in names[1:] if others else names:
            if layer.joined(each) not in self.overlays.files:
                return each
        raise ChangeRefused(f"{layer.path}:1: a file is in the way of a new patch: {names[-1]}")


# --- what sets a field --------------------------------------------------------------------------


def _sets(step: Step, pointer: str) -> bool:
    if pointer in step.ruled or lookup(step.before, pointer) != lookup(step.after, pointer):
        return True
    above = _list_item(pointer)
    if above and lookup(step.before, above) is None and lookup(step.after, above) is not None:
        return True
    content = step.patch.content if step.patch else None
    if isinstance(content, list):
        return _json_patch_place(content, step.before, pointer) is not None
    whole_list = not merges_items(step.before) and pointer.partition("/[")[0]
    return lookup(content, whole_list or pointer) is not None


def _list_item(pointer: str) -> str:
    """The first list item that a pointer goes through, say a container; "" for none."""
    found = re.match(r".*?/\[[^/]*\](?=/)", pointer)
    return found[0] if found else ""


def _json_patch_place(patch: list[Json], whole: Json, pointer: str) -> str | None:
    """Where in a JSON patch the value at a pointer is written, None where it is not."""
    found = None
    for at, operation in enumerate(patch):
        where = str(operation.get("path"))
        if where.endswith("/-"):
            where = f"{where[:-1]}{len(lookup(whole, where[:-2]) or [])}"
        whole = jsonpatch.apply_patch(whole, [operation])
        try:
            plain = resolve(whole, pointer)
        except ChangeRefused:
            continue
        if operation.get("op") in ("add", "replace") and f"{plain}/".startswith(f"{where}/"):
            rest = pointer.split("/")[where.count("/") + 1 :]
            found = "/".join([f"/{at}/value", *rest])
    return found


# --- how it is said in a kustomization ----------------------------------------------------------


def _strategic(whole: Json, operation: Operation) -> Operation:
    """The operation as part of a strategic merge patch of an object."""
    pointer = operation.pointer
    if not operation.remove:
        return Operation(pointer, _covering(lookup(whole, pointer), operation.value))
    last = steps(pointer)[-1]
    return Operation(pointer, {**last, "$patch": "delete"} if isinstance(last, dict) else None)


def _covering(old: Json, new: Json) -> Json:
    """A map that leaves nothing of the old one when it is merged into it: null takes away."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone = {key: None for key in old if key not in new}
    return {**{key: _covering(old.get(key), each) for key, each in new.items()}, **gone}


def _image_edits(source: str, entry: Json, operation: Operation) -> Iterator[Operation]:
    """The fields of an entry of `images` that must differ."""
    name, tag, digest = split_image(str(operation.value))
    wanted = {
        "newName": "" if name == entry.get("name") else name,
        "newTag": tag,
        "digest": digest,
    }
    if not tag and not digest:
        raise ChangeRefused(f"an entry of `images` takes a tag or a digest: {operation.value}")
    for key, value in wanted.items():
        if value and value != entry.get(key):
            yield Operation(f"{source}/{key}", value)
        elif not value and key in entry:
            yield Operation(f"{source}/{key}", remove=True)


def _entry(layer: Layer, name: str) -> Operation:
    """The entry of a new patch file in its kustomization, in the list that is used there."""
    if layer.raw.get("patchesStrategicMerge") and not layer.raw.get("patches"):
        return Operation("/patchesStrategicMerge/-", name)
    return Operation(item("/patches", path=name), {"path": name})
