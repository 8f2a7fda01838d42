"""Server-side apply: an object merged field by field, with an owner for each field."""

import json
from typing import Any

from smoldebug.lab import ownership
from smoldebug.lab.apierror import ApiError, bad_request
from smoldebug.lab.ownership import SETS, Fields, Path, element_key, list_keys
from smoldebug.lab.store import clone
from smoldebug.sources.world import Object

_Conflict = tuple[dict[str, Any], Path]  # the owner's entry, the field


def apply(
    live: Object | None, config: Object, manager: str, time: str, *, force: bool = False
) -> Object:
    """The object after `manager` applied `config`; `live` is None when it is new.

    What the manager owned and no longer names is removed, unless another owns it too. Raises
    ApiError 409 naming each field that another manager set otherwise; `force` takes those over.
    """
    if (config.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if not config.get("apiVersion") or not config.get("kind"):
        raise bad_request("apiVersion and kind must be set in an apply configuration")
    wanted = ownership.leaves(config)
    entries = ownership.owners(live) if live else []
    mine, others = _split(entries, manager)
    conflicts = _conflicts(ownership.leaves(live) if live else {}, wanted, others)
    if conflicts and not force:
        raise _refusal(conflicts)
    others = [_without(entry, conflicts) for entry in others]
    new = clone(live) if live else {"metadata": {}}
    owned_before = ownership.owned(mine) if mine else frozenset()
    owned_by_others = [path for entry in others for path in ownership.owned(entry)]
    for path in sorted(owned_before - wanted.keys(), key=len):
        needed = any(other[: len(path)] == path for other in owned_by_others)
        if not needed and not _identifies(path):
            _remove(new, path)
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": config["apiVersion"],
        "time": mine["time"] if mine and owned_before == wanted.keys() else time,
        "fieldsType": "FieldsV1",
    }
    new = {**new, **_overlay(new, config)}
    ownership.set_owners(new, [*others, ownership.with_fields(entry, frozenset(wanted))])
    return new


def _split(
    entries: list[dict[str, Any]], manager: str
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    mine = [e for e in entries if e["manager"] == manager and e["operation"] == "Apply"]
    return (mine[0] if mine else None), [e for e in entries if e not in mine]


def _conflicts(
    live: dict[Path, Any], wanted: dict[Path, Any], others: list[dict[str, Any]]
) -> list[_Conflict]:
    """Fields of other managers to which the configuration gives another value."""
    return [
        (entry, path)
        for entry in others
        for path in sorted(ownership.owned(entry) & wanted.keys())
        if path in live and live[path] != wanted[path]
    ]


def _refusal(conflicts: list[_Conflict]) -> ApiError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {_owner(entry)}",
            "field": _dotted(path),
        }
        for entry, path in conflicts
    ]
    return ApiError(409, "Conflict", _summary(causes), causes=causes)


def _summary(causes: list[dict[str, str]]) -> str:
    if len(causes) == 1:
        return f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    lines = []
    for who in sorted({cause["message"] for cause in causes}):
        lines.append(who.replace("conflict", "conflicts", 1) + ":")
        lines += [f"- {cause['field']}" for cause in causes if cause["message"] == who]
    return f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)


def _owner(entry: dict[str, Any]) -> str:
    """`"kubectl" with subresource "scale" using apps/v1`."""
    name = f'"{entry["manager"]}"'
    if entry.get("subresource"):
        name += f' with subresource "{entry["subresource"]}"'
    return f"{name} using {entry['apiVersion']}" if entry["operation"] == "Update" else name


def _dotted(path: Path) -> str:
    """`.spec.containers[name="web"].image`, as Kubernetes writes it."""
    return "".join(f".{step[2:]}" if step[0] == "f" else _bracketed(step) for step in path)


def _bracketed(step: str) -> str:
    value = json.loads(step[2:])
    keys = value.items() if step[0] == "k" else ()
    return f"[{','.join(f'{k}={json.dumps(v)}' for k, v in keys) or f'={step[2:]}'}]"


def _without(entry: dict[str, Any], conflicts: list[_Conflict]) -> dict[str, Any]:
    lost: Fields = frozenset(path for owner, path in conflicts if owner is entry)
    fields = ownership.owned(entry)
    return ownership.with_fields(entry, fields - lost) if fields & lost else entry


def _remove(obj: Any, path: Path) -> None:
    """Remove a field or an element of a list, and the maps and lists this leaves empty."""
    at, rest = _position(obj, path[0]), path[1:]
    if at is None:
        return
    if rest:
        _remove(obj[at], rest)
    if not rest or obj[at] in ({}, []):
        del obj[at]


def _position(obj: Any, step: str) -> Any:
    """The key or the index in `obj` that a step of a path means, or None."""
    if step.startswith("f:"):
        return step[2:] if isinstance(obj, dict) and step[2:] in obj else None
    wanted = json.loads(step[2:])
    for index, item in enumerate(obj if isinstance(obj, list) else ()):
        if item == wanted if step.startswith("v:") else element_key(item, tuple(wanted)) == step:
            return index
    return None


def _identifies(path: Path) -> bool:
    """Whether the field tells its list element from others: it stays as long as the element."""
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])


def _overlay(live: Any, config: Any, field: str = "") -> Any:
    """`live` with the values of `config`; elements of a keyed list keep their place."""
    if isinstance(config, dict):
        result = dict(live) if isinstance(live, dict) else {}
        for key, value in config.items():
            if value is not None:
                result[key] = _overlay(result.get(key), value, key)
        return result
    if not isinstance(config, list) or not isinstance(live, list):
        return config
    if field in SETS:
        return [*live, *(item for item in config if item not in live)]
    keys = list_keys(field, [*live, *config])
    if not keys:
        return config
    merged = {element_key(item, keys): item for item in live}
    for item in config:
        merged[element_key(item, keys)] = _overlay(merged.get(element_key(item, keys)), item)
    return list(merged.values())
