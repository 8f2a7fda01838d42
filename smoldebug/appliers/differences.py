"""How an object differs from what a change says of it: which fields, was and is, and by whom."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from smoldebug.clock import duration
from smoldebug.fieldvalues import SERVED, same
from smoldebug.pointers import Step, diff, dotted, lookup, moved, steps
from smoldebug.records import Change, Json
from smoldebug.redact import Redactor
from smoldebug.sources.kube_writes import Write, note_of
from smoldebug.sources.world import Object
from smoldebug.untrusted import one_line

_LONGEST = 80  # characters of a value


def masked(change: Change, values: Mapping[str, Json], masks: Redactor) -> dict[str, Json]:
    """Values by pointer, secrets masked."""
    told = masks.fields(values)
    if change.target.kind == "Secret":  # whatever its keys are called
        for pointer in values:
            match steps(pointer):
                case ["data" | "stringData", str(key)]:
                    inside = {"kind": "Secret", "data": {key: values[pointer]}}
                    told[pointer] = masks.json(inside)["data"][key]
    return told


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks: a run, whose own edits are not somebody else's, and when."""

    note: str
    now: datetime

    def set_by(self, live: Object, pointer: str) -> str:
        """` (set by kubectl-edit 12s ago)`, of a field whose owner `metadata.managedFields` knows.

        Older servers do not record who scales: where our own change was the last of this run,
        that it still owns the field says nothing.
        """
        mine = self._manager if self._last_was_ours(live) else ""
        owners = [each for each in _owners(live, pointer) if each.get("manager") != mine]
        if not owners:
            return ""
        last = max(owners, key=lambda entry: str(entry.get("time") or ""))
        who = one_line(str(last.get("manager")), 60)
        return f" (set by {who}{_ago(last.get('time'), self.now)})"

    def is_somebodys(self, live: Object, pointer: str) -> bool:
        """Whether others than this run, and Kubernetes itself, are known to have set a field."""
        owners = self._others(live, pointer)
        return any(not owner.startswith("kube-") for owner in owners)

    def is_kubernetes(self, live: Object, pointer: str) -> bool:
        """Whether Kubernetes itself, and nobody else, is known to have set a field."""
        owners = self._others(live, pointer)
        return bool(owners) and all(owner.startswith("kube-") for owner in owners)

    def _others(self, live: Object, pointer: str) -> set[str]:
        return {str(each.get("manager")) for each in _owners(live, pointer)} - {self._manager}

    @property
    def _manager(self) -> str:
        return Write("PATCH", "", note=self.note).manager

    def _last_was_ours(self, live: Object) -> bool:
        """Whether the note on an object is of the change that is asked about, or of its undo."""
        said, asked = note_of(live).split(), self.note.split()
        return bool(said and asked) and (said[0], said[-1]) == (asked[0], asked[-1])


def _owners(live: Object, pointer: str) -> list[Any]:
    entries = (live.get("metadata") or {}).get("managedFields") or []
    return [each for each in entries if _owns(each.get("fieldsV1") or {}, steps(pointer))]


def before_it(change: Change, live: Object, reader: Reader) -> list[str]:
    """A line for each touched field that is not as the change found it: was, is, by whom."""
    paths = moved(change.before, (*change.before, *change.after), live)
    was, found = _told(change, change.before, paths), _told(change, _values(live, paths), paths)
    return [f"{dotted(p)}: was {was[p]}, is {found[p]}{reader.set_by(live, p)}" for p in paths]


def since(change: Change, live: Object, reader: Reader) -> list[str]:
    """A line for each touched field that is not as the change set it: before, ours, now."""
    paths = moved(change.after, (*change.before, *change.after), live)
    before, ours = _told(change, change.before, paths), _told(change, change.after, paths)
    found = _told(change, _values(live, paths), paths)
    return [
        f"{dotted(p)}: before {before[p]}, ours {ours[p]}, now {found[p]}{reader.set_by(live, p)}"
        for p in paths
    ]


def from_manifest(
    change: Change, manifest: Object, now: Object, live: Object, reader: Reader
) -> list[str]:
    """A line for each field of a manifest that an object has otherwise `now`. Where the change is
    of that very object (it has a uid), the manifest was all of it: what is new counts too, unless
    Kubernetes itself added it. To what was created a server adds its own; there new is what
    somebody else put into spec or data."""
    ours, found = diff(manifest, now)
    added = {path: value for path, value in found.items() if _counts(change, live, path, reader)}
    fields = {**ours, **added}
    paths = [p for p in fields if not same(p, ours.get(p), found.get(p))]
    said, is_now = _told(change, ours, paths), _told(change, found, paths)
    return [f"{dotted(p)}: ours {said[p]}, now {is_now[p]}{reader.set_by(live, p)}" for p in paths]


def _counts(change: Change, live: Object, path: str, reader: Reader) -> bool:
    if change.uid:
        return not reader.is_kubernetes(live, path)
    return _is_content(path) and reader.is_somebodys(live, path)


def _is_content(pointer: str) -> bool:
    return steps(pointer)[0] not in ("metadata", "status")


def tidy(item: Object | None, masks: Redactor) -> Object | None:
    """An object without what a server keeps for itself, secrets masked."""
    if item is None:
        return None
    meta = {key: value for key, value in item["metadata"].items() if key not in SERVED}
    rest = {key: value for key, value in item.items() if key != "status"}
    shown: Object = masks.json({**rest, "metadata": meta})
    return shown


def also_changed(change: Change, live: Object, answer: Object) -> list[str]:
    """Fields beyond the touched ones that the server's answer has otherwise, metadata aside."""
    touched = {*change.before, *change.after}
    before, after = diff(live, answer)
    return [
        dotted(p)
        for p in dict.fromkeys((*before, *after))
        if steps(p)[0] not in ("metadata", "status")
        and not any(_within(p, each) or _within(each, p) for each in touched)
        and not same(p, before.get(p), after.get(p))
    ]


def _within(pointer: str, other: str) -> bool:
    return pointer == other or pointer.startswith(f"{other}/")


def _values(live: Object, paths: Iterable[str]) -> dict[str, Json]:
    found = {path: lookup(live, path) for path in paths}
    return {path: value for path, value in found.items() if value is not None}


def _told(change: Change, values: Mapping[str, Json], paths: Iterable[str]) -> dict[str, str]:
    told = masked(change, values, Redactor())
    return {path: _short(told[path]) if path in values else "absent" for path in paths}


def _short(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return one_line(text, _LONGEST) or '""'


def _owns(fields: Mapping[str, Any], path: list[Step]) -> bool:
    """Whether a FieldsV1 tree names a field, or something inside it, or all that is around it."""
    for step in path:
        if not fields:
            return True
        inside = [below for key, below in fields.items() if _is(key, step)]
        if not inside:
            return False
        fields = inside[0]
    return True


def _is(key: str, step: Step) -> bool:
    if isinstance(step, str):
        return key == f"f:{step}"
    try:
        named = json.loads(key[2:]) if key.startswith("k:") else {}
    except ValueError:
        return False
    return isinstance(named, dict) and all(
        str(named.get(name, "TCP" if name == "protocol" else "")) == text
        for name, text in step.items()
    )


def _ago(time: Any, now: datetime) -> str:
    try:
        then = datetime.fromisoformat(str(time)).astimezone(UTC)
    except ValueError:
        return ""
    return f" {duration(max(0.0, (now - then).total_seconds()))} ago"
