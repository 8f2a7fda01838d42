"""Who owns which field: `metadata.managedFields`, in the FieldsV1 form of Kubernetes.

A set of fields is a frozenset of paths. A path is a tuple of steps: `f:NAME` for a field,
`k:{"name":"web"}` for an element of a keyed list, `v:"x"` for a value of a list used as a set.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from smoldebug.sources.world import Object

Path = tuple[str, ...]
Fields = frozenset[Path]
Change = Callable[[Object], Object]

_LIST_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "podIPs": ("ip",),
    "addresses": ("type",),
}
SETS = frozenset({"finalizers"})
_OWNED_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
_PRESENT: Any = object()  # stands for an element of a list, which is there or is not


def list_keys(field: str, items: Iterable[Any]) -> tuple[str, ...]:
    """The fields that tell the elements of this list apart; () for a list that is one value."""
    if not all(isinstance(item, dict) for item in items):
        return ()
    if field == "ports":
        inside = any("containerPort" in item for item in items)
        return ("containerPort" if inside else "port", "protocol")
    return _LIST_KEYS.get(field, ())


def element_key(item: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The `k:` step of a list element. A port without a protocol is a TCP port."""
    values = {k: item.get(k, "TCP" if k == "protocol" else None) for k in keys}
    return "k:" + json.dumps(values, separators=(",", ":"), sort_keys=True)


def leaves(obj: Object, *, status: bool = False) -> dict[Path, Any]:
    """Path -> value of every field somebody can own, in the object or in its status alone."""
    if status:
        return dict(_walk(obj.get("status") or {}, ("f:status",)))
    skip = ("apiVersion", "kind", "metadata", "status")
    meta = obj.get("metadata") or {}
    body = {k: v for k, v in obj.items() if k not in skip}
    if shared := {k: meta[k] for k in _OWNED_METADATA if k in meta}:
        body["metadata"] = shared
    return dict(_walk(body, ())) if body else {}


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _walk(child, (*path, f"f:{key}"))
        return
    if isinstance(value, list) and value:
        field = path[-1][2:]
        if field in SETS:
            yield from (((*path, "v:" + json.dumps(item)), _PRESENT) for item in value)
            return
        if keys := list_keys(field, value):
            for item in value:
                inside = (*path, element_key(item, keys))
                yield inside, _PRESENT
                yield from _walk(item, inside)
            return
    yield path, value


def to_tree(fields: Iterable[Path]) -> dict[str, Any]:
    """The `fieldsV1` document of a set."""
    tree: dict[str, Any] = {}
    members = set(fields)
    for path in sorted(members):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    for path in members:
        node = tree
        for step in path:
            node = node[step]
        if node:
            node["."] = {}
    return tree


def from_tree(tree: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    """The set of a `fieldsV1` document."""
    for step, node in tree.items():
        if step == ".":
            yield path
        elif not node:
            yield (*path, step)
        else:
            yield from from_tree(node, (*path, step))


def owners(obj: Object) -> list[dict[str, Any]]:
    """The managedFields entries; entries without a manager (a client's way to reset) are none."""
    entries = obj["metadata"].get("managedFields") or []
    return [entry for entry in entries if entry.get("manager")]


def owned(entry: dict[str, Any]) -> Fields:
    return frozenset(from_tree(entry.get("fieldsV1") or {}))


def with_fields(entry: dict[str, Any], fields: Fields, time: str = "") -> dict[str, Any]:
    changed = {**entry, "fieldsV1": to_tree(fields)}
    return changed | {"time": time} if time else changed


def set_owners(obj: Object, entries: list[dict[str, Any]]) -> None:
    entries = [entry for entry in entries if entry["fieldsV1"]]
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def as_manager(manager: str, time: str, change: Change, subresource: str = "") -> Change:
    """`change`, but what it changes is recorded as `manager`'s (operation Update) at `time`."""

    def recorded(obj: Object) -> Object:
        status = subresource == "status"
        before = leaves(obj, status=status)
        new = change(obj)
        record_update(new, before, _entry(manager, time, new["apiVersion"], subresource))
        return new

    return recorded


def record_creation(obj: Object, manager: str, time: str) -> None:
    record_update(obj, {}, _entry(manager, time, obj["apiVersion"], ""))


def record_update(new: Object, before: dict[Path, Any], mine: dict[str, Any]) -> None:
    """Give the changed fields to `mine` and take them, and the removed ones, from the others."""
    after = leaves(new, status=mine.get("subresource") == "status")
    changed = frozenset(p for p, v in after.items() if p not in before or before[p] != v)
    removed = frozenset(p for p in before if p not in after)
    if not changed and not removed:
        return
    entries, found = [], False
    for entry in owners(new):
        fields = owned(entry)
        if _same_manager(entry, mine):
            found = True
            entries.append(with_fields(entry, (fields - removed) | changed, mine["time"]))
        elif fields & (changed | removed):
            entries.append(with_fields(entry, fields - changed - removed))
        else:
            entries.append(entry)
    if not found:
        entries.append(with_fields(mine, changed))
    set_owners(new, entries)


def _entry(manager: str, time: str, api_version: str, subresource: str) -> dict[str, Any]:
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": api_version,
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    }
    return entry | {"subresource": subresource} if subresource else entry


def _same_manager(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(k) == other.get(k) for k in ("manager", "operation", "subresource"))
