"""Where in an object a change acts: JSON pointers that name list items by what identifies them.

`/spec/template/spec/containers/[name=app]/image` is a JSON pointer (RFC 6901) with one extension:
where the document has a list, `[name=app]` or `[effect=NoSchedule,key=dedicated]` selects the item
with these fields. So a change of one container neither depends on its index nor collides with
somebody's edit of its sibling. In a selector `~2` stands for a comma; `~0` and `~1` as ever.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from smoldebug.errors import ChangeRefused, Conflict, UsageError
from smoldebug.fieldvalues import MAPS, same
from smoldebug.records import Change, Json

Operations = list[dict[str, Any]]  # a JSON patch (RFC 6902)
Step = str | dict[str, str]  # a key, or the fields that a selector names

# The fields that tell the items of a list apart. In lists of the second set their order says
# nothing; in the others, say env or initContainers, it does.
KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "webhooks": ("name",),
    "taints": ("effect", "key"),
}
LISTS = {*KEYS, "ports"}
_UNORDERED = {"ports", "taints", "volumes", "volumeMounts", "imagePullSecrets", "ownerReferences"}
_REPLACED = {"taints"}  # as a whole by a strategic merge


# --- the syntax -----------------------------------------------------------------------------


def child(pointer: str, key: str) -> str:
    """The pointer of a field of an object."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"


def item(pointer: str, **keys: Json) -> str:
    """The pointer of an item of a list: `item("/spec/taints", key="a", effect="NoSchedule")`."""
    inside = ",".join(f"{key}={_escaped(str(keys[key]))}" for key in sorted(keys))
    return f"{pointer}/[{inside}]"


def dotted(pointer: str) -> str:
    """As people write it: `spec.template.spec.containers[app].image`; "object" for the whole."""
    said = ""
    for step in steps(pointer):
        said += f".{step}" if isinstance(step, str) else f"[{','.join(step.values())}]"
    return said.removeprefix(".") or "object"


def steps(pointer: str) -> list[Step]:
    return [_selector(segment) or _unescaped(segment) for segment in _segments(pointer)]


def _escaped(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1").replace(",", "~2")


def _unescaped(text: str) -> str:
    return text.replace("~1", "/").replace("~0", "~")


def _segments(pointer: str) -> list[str]:
    return pointer.split("/")[1:]


def _selector(segment: str) -> dict[str, str]:
    """The fields that a selector names, {} where the segment is none."""
    if not (segment.startswith("[") and segment.endswith("]") and "=" in segment):
        return {}
    pairs = (pair.partition("=") for pair in segment[1:-1].split(","))
    return {key: _unescaped(value.replace("~2", ",")) for key, _, value in pairs}


# --- finding --------------------------------------------------------------------------------


def lookup(document: Json, pointer: str) -> Json:
    """The value at a pointer, None when it is absent. Of several items that a selector fits the
    last one counts, as in `env`."""
    for segment in _segments(pointer):
        places = _places(document, segment)
        if not places:
            return None
        document = document[places[-1]]
    return document


def resolve(document: Json, pointer: str) -> str:
    """The same place as a plain RFC 6901 pointer in this document; `/-` at the end for an item
    that is not there yet. Raises ChangeRefused when a selector fits several items or none."""
    plain = ""
    segments = _segments(pointer)
    for depth, segment in enumerate(segments):
        places = _places(document, segment)
        if len(places) > 1:
            raise ChangeRefused(f"several items of a list are: {dotted(pointer)}")
        if places:
            plain = child(plain, str(places[0]))
            document = document[places[0]]
        elif isinstance(document, list) and _selector(segment):
            if depth + 1 < len(segments):
                raise ChangeRefused(f"there is no such item: {dotted(pointer)}")
            plain, document = f"{plain}/-", None
        else:
            plain, document = f"{plain}/{segment}", None
    return plain


def _places(document: Json, segment: str) -> list[Any]:
    """The keys or indices in `document` that a segment means."""
    if isinstance(document, dict):
        key = _unescaped(segment)
        return [key] if key in document else []
    if not isinstance(document, list):
        return []
    if keys := _selector(segment):
        wanted = tuple(keys.values())
        return [at for at, each in enumerate(document) if _identity(each, keys) == wanted]
    return [int(segment)] if segment.isdecimal() and int(segment) < len(document) else []


def _identity(each: Json, keys: Iterable[str]) -> tuple[str, ...]:
    """The values of the identifying fields as text, () where one is missing. A port without a
    protocol is a TCP port."""
    if not isinstance(each, dict):
        return ()
    values = [each.get(key, "TCP" if key == "protocol" else None) for key in keys]
    plain = all(isinstance(value, str | int) and not isinstance(value, bool) for value in values)
    return tuple(map(str, values)) if plain else ()


def _keys(name: str, *lists: list[Any]) -> tuple[str, ...]:
    """The fields that tell the items of these lists apart; () for a list that is one value."""
    keys = KEYS.get(name, ())
    if name == "ports":
        inside = any(isinstance(e, dict) and "containerPort" in e for each in lists for e in each)
        keys = ("containerPort" if inside else "port", "protocol")
    for each in lists:
        known = {_identity(one, keys) for one in each}
        if len(known) != len(each) or () in known:
            return ()
    return keys


# --- comparing ------------------------------------------------------------------------------


def diff(live: Json, wanted: Json) -> tuple[dict[str, Json], dict[str, Json]]:
    """What differs as (before, after), with the finest pointers there are. A null is absent."""
    found = _Differences()
    found.compare("", "", live, wanted)
    return found.before, found.after


@dataclass
class _Differences:
    before: dict[str, Json] = field(default_factory=dict)
    after: dict[str, Json] = field(default_factory=dict)

    def compare(self, pointer: str, name: str, old: Json, new: Json) -> None:
        if name in MAPS and None in (old, new):  # each key is a field of its own, map or no map
            old, new = (_map_like(side, other) for side, other in ((old, new), (new, old)))
        if isinstance(old, dict) and isinstance(new, dict):
            for key in {**old, **new}:
                self.compare(child(pointer, key), key, old.get(key), new.get(key))
        elif not self._items(pointer, name, old, new) and _exact(old) != _exact(new):
            if old is not None:
                self.before[pointer] = old
            if new is not None:
                self.after[pointer] = new

    def _items(self, pointer: str, name: str, old: Json, new: Json) -> bool:
        """Compare two lists item by item; False where they can only be compared as a whole."""
        old, new = ([] if side is None else side for side in (old, new))
        if not isinstance(old, list) or not isinstance(new, list) or not old + new:
            return False
        keys = _keys(name, old, new)
        was, now = ({_identity(each, keys): each for each in side} for side in (old, new))
        kept = [each for each in was if each in now]
        in_place = list(was)[: len(kept)] == list(now)[: len(kept)] == kept
        if not keys or not (in_place or name in _UNORDERED):
            return False
        for each in {**was, **now}:
            inside = item(pointer, **dict(zip(keys, each, strict=True)))
            self.compare(inside, "", was.get(each), now.get(each))
        return True


def _map_like(value: Json, other: Json) -> Json:
    """An empty map for one that is missing beside another."""
    return {} if value is None and isinstance(other, dict) else value


def _exact(value: Json) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def moved(values: Mapping[str, Json], pointers: Iterable[str], live: Json) -> list[str]:
    """The pointers at which `live` has not what `values` says (nothing, where it is silent)."""
    pointers = dict.fromkeys(pointers)
    return [each for each in pointers if not same(each, values.get(each), lookup(live, each))]


def projected(live: Json, *shapes: Json, name: str = "") -> Json:
    """What a live object has of the fields that these set: keys that one of them has, items of
    lists that one of them names; any other list as it is."""
    maps = [each for each in shapes if isinstance(each, dict)]
    if isinstance(live, dict) and maps:
        return {
            key: projected(value, *(each[key] for each in maps if key in each), name=key)
            for key, value in live.items()
            if any(key in each for each in maps)
        }
    lists = [each for each in shapes if isinstance(each, list)]
    keys = _keys(name, live, *lists) if isinstance(live, list) and lists else ()
    if not keys:
        return live
    given: dict[tuple[str, ...], list[Json]] = {}
    for each in (item for items in lists for item in items):
        given.setdefault(_identity(each, keys), []).append(each)
    known = ((each, given.get(_identity(each, keys))) for each in live)
    return [projected(each, *items) for each, items in known if items]


# --- merging --------------------------------------------------------------------------------


def merged(live: Json, patch: Json, *, strategic: bool = False, name: str = "") -> Json:
    """The object after a merge patch (RFC 7386; null removes) or, `strategic`, one of Kubernetes,
    which merges items of well-known lists by what identifies them and obeys `$patch: replace` and
    `$patch: delete`. Raises UsageError for another directive."""
    if strategic and isinstance(patch, list):
        return _merged_items(name, live if isinstance(live, list) else [], patch)
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    directive, patch = _directive(patch) if strategic else ("merge", patch)
    if directive != "merge":
        return patch if directive == "replace" else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value, strategic=strategic, name=key)
    return result


def _merged_items(name: str, live: list[Any], patch: list[Any]) -> list[Any]:
    given = [_directive(each) if isinstance(each, dict) else ("merge", each) for each in patch]
    rest = [each for how, each in given if how != "replace" or each]
    keys = () if name in _REPLACED else _keys(name, live, [each for each in rest if each])
    if not keys or len(rest) < len(given):
        if any(how == "delete" for how, _ in given):
            raise UsageError(f"a strategic merge replaces this list as a whole: {name}")
        return rest
    result = {_identity(each, keys): each for each in live}
    for how, each in given:
        who = _identity(each, keys)
        if how == "delete":
            result.pop(who, None)
        else:
            result[who] = merged(result.get(who), each, strategic=True)
    return list(result.values())


def _directive(patch: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What `$patch` says, and the patch without it."""
    rest = {key: value for key, value in patch.items() if key != "$patch"}
    directive = patch.get("$patch", "merge")
    if unknown := [key for key in rest if key.startswith("$")]:
        raise UsageError(f"not supported in a strategic merge patch: {unknown[0]}")
    if directive not in ("merge", "replace", "delete"):
        raise UsageError(f"not a directive of a strategic merge patch: $patch: {directive}")
    return directive, rest


# --- patching -------------------------------------------------------------------------------


def operations(change: Change, live: Json) -> Operations:
    """The change as a JSON patch of this object: tests first, then the edits.

    Tested are the uid, every value that is replaced or removed, and the identity of every list
    item that an index stands for. There is no test for what must be absent: where something is
    added, that of the resourceVersion stands in for it. Raises Conflict where a field is not as
    the change found it.
    """
    if changed := moved(change.before, (*change.before, *change.after), live):
        raise Conflict(f"it has changed since it was read: {', '.join(map(dotted, changed))}")
    there = {each: lookup(live, each) for each in (*change.before, *change.after)}
    tests: dict[str, Json] = {"/metadata/uid": change.uid} if change.uid else {}
    version = lookup(live, "/metadata/resourceVersion")
    if version and any(there[each] is None for each in change.after):
        tests["/metadata/resourceVersion"] = version
    for each in sorted(there):
        tests.update(_identities(live, each))
        if there[each] is not None:
            tests[resolve(live, each)] = there[each]
    patch = _Patch(copy.deepcopy(live))
    for each in change.after:
        if there[each] is not None:
            patch.replace(each, change.after[each])
    gone = [each for each in there if each not in change.after and there[each] is not None]
    for each in sorted(gone, key=_place, reverse=True):
        patch.remove(each)
    for each in sorted((each for each in change.after if there[each] is None), key=_place):
        patch.add(each, change.after[each])
    return [*({"op": "test", "path": p, "value": v} for p, v in tests.items()), *patch.edits]


def _place(pointer: str) -> list[int]:
    """Sorts indices as numbers, /a/2 before /a/10, and leaves all else in its order."""
    return [int(key) if key.isdecimal() else -1 for key in pointer.split("/")]


def _identities(document: Json, pointer: str) -> dict[str, Json]:
    """The identifying fields of the list items that a pointer goes through, by plain pointer."""
    found: dict[str, Json] = {}
    plain = name = ""
    for segment in _segments(pointer):
        places = _places(document, segment)
        if not places:
            break
        keys = _selector(segment) or _keys(name, document) if isinstance(document, list) else ()
        plain, name = child(plain, str(places[0])), segment
        document = document[places[0]]
        found |= {child(plain, key): document[key] for key in keys if key in document}
    return found


class _Patch:
    """Edits of a document, each in terms of what those before it have left."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self.edits: Operations = []

    def replace(self, pointer: str, value: Json) -> None:
        where = resolve(self._document, pointer)
        parent, last = self._parent(where)
        parent[int(last) if isinstance(parent, list) else _unescaped(last)] = value
        self.edits.append({"op": "replace", "path": where, "value": value})

    def remove(self, pointer: str) -> None:
        where = resolve(self._document, pointer)
        parent, last = self._parent(where)
        del parent[int(last) if isinstance(parent, list) else _unescaped(last)]
        self.edits.append({"op": "remove", "path": where})

    def add(self, pointer: str, value: Json) -> None:
        segments = _segments(pointer)
        for depth in range(1, len(segments)):
            above = "/" + "/".join(segments[:depth])
            if lookup(self._document, above) is None:
                if _selector(segments[depth - 1]):
                    raise ChangeRefused(f"there is no such item: {dotted(above)}")
                items = _selector(segments[depth]) and segments[depth - 1] not in MAPS
                self._insert(above, [] if items else {})
        self._insert(pointer, value)

    def _insert(self, pointer: str, value: Json) -> None:
        where = resolve(self._document, pointer)
        parent, last = self._parent(where)
        if isinstance(parent, list) and (last == "-" or last.isdecimal()):
            parent.insert(len(parent) if last == "-" else int(last), copy.deepcopy(value))
        elif isinstance(parent, dict):
            parent[_unescaped(last)] = copy.deepcopy(value)
        else:
            raise ChangeRefused(f"there is no place for: {dotted(pointer)}")
        self.edits.append({"op": "add", "path": where, "value": value})

    def _parent(self, where: str) -> tuple[Any, str]:
        above, _, last = where.rpartition("/")
        return lookup(self._document, above), last
