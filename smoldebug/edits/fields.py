"""A playbook's edit as operations on one object, and what stands there instead."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.json import encode

from smoldebug.edits import text
from smoldebug.edits.operations import Operation
from smoldebug.errors import ChangeRefused
from smoldebug.fieldvalues import same
from smoldebug.playbook.convert import text_of
from smoldebug.playbook.fieldpath import pointer_of
from smoldebug.playbook.patches import (
    AddItem,
    ContainerHas,
    Edit,
    Key,
    KeyValue,
    RemoveEnv,
    RemoveItem,
    RemovePath,
    SetEnv,
    SetImage,
    SetPath,
    SetProbe,
    SetReplicas,
    SetResources,
)
from smoldebug.playbook.patchrules import actions_of
from smoldebug.pointers import KEYS, child, dotted, item, lookup, resolve, steps
from smoldebug.records import Json
from smoldebug.redact import Redactor
from smoldebug.untrusted import one_line

# Where a workload keeps the template of its pods
_TEMPLATES = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), "/spec/template"),
    **dict.fromkeys(("ReplicationController", "Job", "Rollout"), "/spec/template"),
    "CronJob": "/spec/jobTemplate/spec/template",
    "Pod": "",
}
_SCALED = ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController", "Rollout")
_CONTAINER = re.compile(r"/(c|initC|ephemeralC)ontainers/\d+$")
_HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")  # a probe has one of them


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an edit wants of an object. `differs` are the places where another value stands:
    `container app sets FEATURE_FLAG to "false"`; of these, `if_different: skip` leaves no
    operation."""

    operations: tuple[Operation, ...] = ()
    differs: tuple[str, ...] = ()

    @property
    def already(self) -> bool:
        return not self.operations and not self.differs


@dataclass(frozen=True, slots=True)
class _Wish:
    operations: tuple[Operation, ...]
    instead: str = ""  # of what another value is


def operations(edit: Edit, manifest: Json) -> Wanted:
    """Carried out, they make the object as the edit says; none where it is so already.

    Raises ChangeRefused, with a reason, for an object of which that cannot be said.
    """
    (name,) = actions_of(edit)
    action = getattr(edit, name)
    skip = getattr(action, "if_different", "") == "skip"
    wishes = list(_WISHES[name](action, manifest))
    wanted = (each for wish in wishes if not (skip and wish.instead) for each in wish.operations)
    return Wanted(tuple(wanted), tuple(wish.instead for wish in wishes if wish.instead))


# --- containers -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Container:
    pointer: str
    name: str
    fields: Mapping[str, Any]

    @property
    def called(self) -> str:
        return f"container {one_line(self.name, 63)}"


def _template(manifest: Json) -> str:
    """Where an object's pod template is. Raises ChangeRefused when it has none."""
    kind, version = str(manifest.get("kind")), str(manifest.get("apiVersion"))
    known = kind in _TEMPLATES and (kind != "Rollout" or version.startswith("argoproj.io/"))
    if known and isinstance(lookup(manifest, f"{_TEMPLATES[kind]}/spec"), dict):
        return _TEMPLATES[kind]
    if lookup(manifest, "/spec/workloadRef") is not None:
        raise ChangeRefused("its pods are those of another workload: spec.workloadRef")
    raise ChangeRefused("it has no pod template")


def _containers(
    manifest: Json, include: Sequence[str], names: Sequence[str] = ()
) -> list[_Container]:
    """The containers meant: those named, whichever they are, else all of the kinds included.
    Raises ChangeRefused when there is none, or one has no name of its own."""
    pod = f"{_template(manifest)}/spec"
    every = [*_listed(manifest, f"{pod}/containers")]
    for each in _listed(manifest, f"{pod}/initContainers"):
        kind = "sidecars" if each.fields.get("restartPolicy") == "Always" else "init"
        every += [each] if names or kind in include else []
    known = [each.name for each in every]
    if missing := [name for name in names if name not in known]:
        raise ChangeRefused(f"it has no container {missing[0]}, only {', '.join(known)}")
    if not every:
        raise ChangeRefused("it has no containers")
    if len(set(known)) < len(known):
        raise ChangeRefused("two of its containers have one name")
    return [each for each in every if not names or each.name in names]


def _listed(manifest: Json, pointer: str) -> Iterator[_Container]:
    listed = lookup(manifest, pointer)
    for each in listed if isinstance(listed, list) else ():
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str) or not name:
            raise ChangeRefused("one of its containers has no name")
        yield _Container(item(pointer, name=name), name, each)


def _entries(container: _Container, name: str) -> list[Mapping[str, Any]]:
    """The entries of `env` that set a variable. Raises ChangeRefused when it is no list."""
    env = container.fields.get("env") or []
    if not isinstance(env, list):
        raise ChangeRefused(f"{container.called}: env is no list")
    return [each for each in env if isinstance(each, dict) and each.get("name") == name]


def _entry(container: _Container, name: str) -> Mapping[str, Any] | None:
    found = _entries(container, name)
    if len(found) > 1:
        raise ChangeRefused(f"{container.called} sets {name} twice")
    return found[0] if found else None


# --- what each edit wants -------------------------------------------------------------------


def _set_env(edit: SetEnv, manifest: Json) -> Iterator[_Wish]:
    value = text_of(edit.value)
    for container in _containers(manifest, edit.include, edit.containers):
        entry = _entry(container, edit.name)
        at = item(f"{container.pointer}/env", name=edit.name)
        if entry is None:
            yield _Wish((Operation(at, {"name": edit.name, "value": value}),))
        elif instead := _otherwise(container, edit.name, entry, value):
            elsewhere = (Operation(f"{at}/valueFrom", remove=True),) * ("valueFrom" in entry)
            yield _Wish((*elsewhere, Operation(f"{at}/value", value)), instead)


def _otherwise(container: _Container, name: str, entry: Mapping[str, Any], value: str) -> str:
    """How a container sets a variable, "" when it is to this value."""
    if "valueFrom" in entry:
        source = entry["valueFrom"]
        kind = next(iter(source), "nowhere") if isinstance(source, dict) else "nowhere"
        return f"{container.called} takes {name} from {one_line(kind, 40)}"
    found = entry.get("value", "")
    if found == value:
        return ""
    return f"{container.called} sets {name} to {_shown(f'/{name}/value', found)}"


def _remove_env(edit: RemoveEnv, manifest: Json) -> Iterator[_Wish]:
    for container in _containers(manifest, edit.include, edit.containers):
        if _entry(container, edit.name) is not None:
            yield from _gone(manifest, item(f"{container.pointer}/env", name=edit.name))


def _set_image(edit: SetImage, manifest: Json) -> Iterator[_Wish]:
    meant = _containers(manifest, edit.include, edit.containers)
    if len(meant) > 1 and not edit.containers:
        names = ", ".join(each.name for each in meant)
        raise ChangeRefused(f"it has several containers, say which in `containers`: {names}")
    for each in meant:
        yield from _set(manifest, f"{each.pointer}/image", edit.image, f"{each.called} runs")


def _set_resources(edit: SetResources, manifest: Json) -> Iterator[_Wish]:
    for each in _containers(manifest, edit.include, edit.containers):
        for kind, amounts in (("requests", edit.requests), ("limits", edit.limits)):
            for resource, amount in amounts.items():
                at = child(f"{each.pointer}/resources/{kind}", resource)
                yield from _set(manifest, at, amount)


def _set_replicas(edit: SetReplicas, manifest: Json) -> Iterator[_Wish]:
    if manifest.get("kind") not in _SCALED and lookup(manifest, "/spec/replicas") is None:
        raise ChangeRefused("it has no replicas")
    yield from _set(manifest, "/spec/replicas", edit.replicas)


def _set_probe(edit: SetProbe, manifest: Json) -> Iterator[_Wish]:
    for each in _containers(manifest, (), edit.containers):
        at = f"{each.pointer}/{edit.probe}Probe"
        if any(handler in edit.to for handler in _HANDLERS):
            for other in (handler for handler in _HANDLERS if handler not in edit.to):
                for gone in _gone(manifest, f"{at}/{other}"):
                    yield _Wish(gone.operations, f"{dotted(at)} has {other}")
        yield from _merge(manifest, at, edit.to)


def _keys(edit: Key, manifest: Json, field: str) -> list[str]:
    """Where a label or annotation belongs. Raises ChangeRefused for a label that a selector, which
    never changes, demands of the pods."""
    where = ["/metadata"]
    if edit.pods and manifest.get("kind") != "Pod":
        where.append(f"{_template(manifest)}/metadata")
        if field == "labels" and _demanded(manifest, edit):
            raise ChangeRefused(f"its selector, which is immutable, needs the label {edit.name}")
    return [child(f"{each}/{field}", edit.name) for each in where]


def _demanded(manifest: Json, edit: Key) -> bool:
    demanded = lookup(manifest, child("/spec/selector/matchLabels", edit.name))
    value = text_of(edit.value) if isinstance(edit, KeyValue) else None
    return demanded is not None and demanded != value


def _set_key(field: str, edit: KeyValue, manifest: Json) -> Iterator[_Wish]:
    for pointer in _keys(edit, manifest, field):
        yield from _set(manifest, pointer, text_of(edit.value))


def _remove_key(field: str, edit: Key, manifest: Json) -> Iterator[_Wish]:
    for pointer in _keys(edit, manifest, field):
        yield from _gone(manifest, pointer)


def _set_path(edit: SetPath, manifest: Json) -> Iterator[_Wish]:
    pointer = pointer_of(edit.path)
    yield from _set(manifest, *_with_item(manifest, pointer, edit.value))


def _with_item(manifest: Json, pointer: str, value: Json) -> tuple[str, Json]:
    """Where and what to set when a field is one of a list item that is not there yet: the item.
    Raises ChangeRefused for one that nobody makes by the way, such as a container."""
    segments = pointer.split("/")
    for end, step in enumerate(steps(pointer), start=2):
        at = "/".join(segments[:end])
        if isinstance(step, str) or lookup(manifest, at) is not None:
            continue
        name, inside = segments[end - 2], steps("/".join(["", *segments[end:]]))
        for key in reversed(inside):
            value = {key: value} if isinstance(key, str) else None
        if name.lower().endswith("containers") or name not in KEYS or not isinstance(value, dict):
            raise ChangeRefused(f"there is no such item: {dotted(at)}")
        return at, {**step, **value}
    return pointer, value


def _remove_path(edit: RemovePath, manifest: Json) -> Iterator[_Wish]:
    yield from _gone(manifest, pointer_of(edit.path))


def _add_item(edit: AddItem, manifest: Json) -> Iterator[_Wish]:
    pointer = pointer_of(edit.path)
    if not isinstance(lookup(manifest, pointer), list | None):
        raise ChangeRefused(f"it is no list: {dotted(pointer)}")
    yield from _set(manifest, item(pointer, **{edit.key: edit.item[edit.key]}), edit.item)


def _remove_item(edit: RemoveItem, manifest: Json) -> Iterator[_Wish]:
    yield from _gone(manifest, item(pointer_of(edit.path), **{edit.key: edit.value}))


_WISHES: Mapping[str, Callable[[Any, Json], Iterator[_Wish]]] = {
    "set_env": _set_env,
    "remove_env": _remove_env,
    "set_image": _set_image,
    "set_resources": _set_resources,
    "set_replicas": _set_replicas,
    "set_probe": _set_probe,
    "set_label": partial(_set_key, "labels"),
    "remove_label": partial(_remove_key, "labels"),
    "set_annotation": partial(_set_key, "annotations"),
    "remove_annotation": partial(_remove_key, "annotations"),
    "set": _set_path,
    "remove": _remove_path,
    "add_item": _add_item,
    "remove_item": _remove_item,
}


# --- single fields --------------------------------------------------------------------------


def _set(manifest: Json, pointer: str, value: Json, says: str = "") -> Iterator[_Wish]:
    """What makes a field have a value, nothing when it has. Raises ChangeRefused when there is no
    place for it, or several."""
    _require_place(manifest, pointer)
    found = lookup(manifest, pointer)
    if _equal(pointer, found, value):
        return
    says = f"{says or dotted(pointer) + ' is'} {_shown(pointer, found)}"
    yield _Wish((Operation(pointer, value),), "" if found is None else says)


def _equal(pointer: str, found: Json, value: Json) -> bool:
    """Whether both are the same to a reader of the file, who knows that 0.5 CPUs are 500m."""
    if found is None or isinstance(value, dict | list):
        return encode(found, order="sorted") == encode(value, order="sorted")
    return same(pointer, found, value)


def _merge(manifest: Json, pointer: str, value: Json) -> Iterator[_Wish]:
    """The same for the fields of a map; those that it does not name stay."""
    if isinstance(value, dict) and isinstance(lookup(manifest, pointer), dict):
        for key in value:
            yield from _merge(manifest, child(pointer, key), value[key])
    else:
        yield from _set(manifest, pointer, value)


def _gone(manifest: Json, pointer: str) -> Iterator[_Wish]:
    """What takes a field away, and with the last item or label the list or map itself. Raises
    ChangeRefused when several items are meant."""
    if lookup(manifest, pointer) is None:
        return
    resolve(manifest, pointer)
    above = pointer.rpartition("/")[0]
    rest = lookup(manifest, above)
    emptied = isinstance(rest, list) or above.endswith(("/labels", "/annotations"))
    yield _Wish((Operation(above if emptied and len(rest) == 1 else pointer, remove=True),))


def _require_place(manifest: Json, pointer: str) -> None:
    above = plain = resolve(manifest, pointer)
    while above and lookup(manifest, above) is None:
        above = above.rpartition("/")[0]
    found = lookup(manifest, above)
    appended = isinstance(found, list) and plain == f"{above}/-"
    if above != plain and not isinstance(found, dict) and not appended:
        raise ChangeRefused(f"there is no place for: {dotted(pointer)}")


def _shown(pointer: str, value: Json) -> str:
    """A value of a file for people, masked where it is that of a secret."""
    safe = Redactor().fields({pointer: value})[pointer]
    return one_line(encode(safe).decode(errors="replace"), 60)


# --- judging --------------------------------------------------------------------------------


def container_problems(manifest: Json, has: ContainerHas, include: Sequence[str]) -> list[str]:
    """What the containers of an object lack: `container app: FEATURE_FLAG is not set`."""
    try:
        return [lack for each in _containers(manifest, include) for lack in _lacks(each, has)]
    except ChangeRefused as error:
        return [str(error)]


def _lacks(container: _Container, has: ContainerHas) -> Iterator[str]:
    if has.env is not None:
        entries = _entries(container, has.env.name)
        if not entries:
            yield f"{container.called}: {has.env.name} is not set"
        elif instead := _otherwise(container, has.env.name, entries[-1], text_of(has.env.value)):
            yield instead
    fields = has.matches | ({"image": has.image} if has.image else {})
    for wish in _merge(container.fields, "", fields):
        missing = f"{dotted(wish.operations[0].pointer)} is not set"
        yield f"{container.called}: {wish.instead or missing}"


def containers_changed(old: bytes, new: bytes) -> int:
    """How many containers differ between two versions of a file; where none does (values, a
    kustomization, labels), how many maps and lists. Raises ChangeRefused when one is not YAML."""
    was, now = (dict(_parts("", [item for _, item in text.documents(e)])) for e in (old, new))
    changed = [at for at in {**was, **now} if was.get(at, []) != now.get(at, [])]
    return sum(map(bool, map(_CONTAINER.search, changed))) or len(changed)


def _parts(at: str, value: Json) -> Iterator[tuple[str, Json]]:
    """Every map and list by pointer, with what stands in itself; a container as a whole."""
    if not isinstance(value, dict | list) or _CONTAINER.search(at):
        yield at, value
        return
    own = []
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(each, dict | list):
            yield from _parts(f"{at}/{key}", each)
        else:
            own.append((key, each))
    yield at, own
