"""The fields an API object has, and their types: what cannot be read, and what is unknown.

`schema.txt` has a line for each type: its fields, with the type of those that are looked at.
`[x]` is a list, `{x}` a map of strings; a field without a type, like a kind without a line, may
hold anything.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from smoldebug.lab.apierror import ApiError, bad_request, invalid_patch
from smoldebug.lab.catalog import Resource
from smoldebug.sources.world import Object

_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")
_SUFFIX = re.compile(r"(?:[numkMGTPE]?|[KMGTPE]i|[eE][-+]?[0-9]+)")
_WORDS = {
    str: "string",
    bool: "bool",
    dict: "object",
    list: "array",
    int: "number",
    float: "number",
}
_KEPT = ("containers", "rules", "verbs")  # written also when they are empty
_GO = {"int": "int32", "str": "string", "bool": "bool"}


class _Place(NamedTuple):
    """A value's type, the struct it is a field of, and its path with and without indices."""

    type: str
    owner: str
    path: str
    plain: str


class Undecodable(ValueError):
    """A value of the wrong type, in the words of the server's decoder."""


def decode(resource: Resource, obj: Object, *, strict: bool, patch: Any = None) -> list[str]:
    """Take the unknown and the empty fields out of an object, in place; returns a warning for each
    unknown one.

    Raises ApiError 400 (422 for what a `patch` made of it) for a value of the wrong type and,
    when `strict`, for unknown fields.
    """
    try:
        unknown = unknown_fields(resource, obj)
    except Undecodable as error:
        raise _refused(resource, patch, str(error)) from None
    if unknown and strict:
        raise _refused(resource, patch, f"strict decoding error: {', '.join(unknown)}")
    return unknown


def unknown_fields(resource: Resource, obj: Object) -> list[str]:
    """Take them out, in place; `unknown field "spec.x"` for each. Raises Undecodable."""
    whole, at = obj, _Place(resource.kind, "", "", "")
    if resource.kind not in _types():
        whole, at = obj.get("metadata") or {}, _Place("ObjectMeta", "", "metadata", "metadata")
    return [f'unknown field "{path}"' for path in _walk(whole, at)]


def _refused(resource: Resource, patch: Any, why: str) -> ApiError:
    if patch is not None:
        return invalid_patch(patch, why)
    kind = resource.kind
    return bad_request(
        f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {why}'
    )


@cache
def _types() -> dict[str, dict[str, str]]:
    """Type -> field -> type."""
    types = {}
    for line in Path(__file__).with_suffix(".txt").read_text("ascii").splitlines():
        name, _, fields = line.partition(": ")
        pairs = (field.partition("=") for field in fields.split())
        types[name] = {field: type_ or "*" for field, _, type_ in pairs}
    return types


def _walk(value: Any, at: _Place) -> Iterator[str]:
    """Check a value; the paths of the unknown fields in it, which are gone then, as are nulls and
    empty lists and maps."""
    if value is None or at.type == "*":
        return
    if at.type in _SCALARS:
        _SCALARS[at.type](value, at)
    elif at.type[0] == "[":
        _expect(value, list, at)
        if at.type[1:-1] in _types():
            value[:] = [{} if item is None else item for item in value]
        for index, item in enumerate(value):
            yield from _walk(item, at._replace(type=at.type[1:-1], path=f"{at.path}[{index}]"))
    elif at.type[0] == "{":
        _expect(value, dict, at)
        for item in value.values():
            yield from _walk(item, at._replace(type=at.type[1:-1]))
    else:
        _expect(value, dict, at)
        yield from _walk_struct(value, at)


def _walk_struct(value: Object, at: _Place) -> Iterator[str]:
    fields = _types()[at.type]
    for name in list(value):
        path = f"{at.path}.{name}" if at.path else name
        plain = f"{at.plain}.{name}" if at.plain else name
        if name in fields and (value[name] is None or _left_out(name, fields[name], value[name])):
            del value[name]  # what is null is not there
        elif name in fields:
            yield from _walk(value[name], _Place(fields[name], at.type, path, plain))
        elif name not in ("apiVersion", "kind"):
            del value[name]
            yield path


def _left_out(name: str, type_: str, value: Any) -> bool:
    """Whether a server that writes the object down leaves this field out, since it is empty."""
    return type_[0] in "[{" and value in ([], {}) and name not in _KEPT


def _expect(value: Any, wanted: type, at: _Place) -> None:
    if type(value) is wanted:
        return
    go = _GO.get(at.type) or {"[": "[]v1." + at.type[1:-1], "{": "map[string]string"}.get(
        at.type[0], f"v1.{at.type}"
    )
    raise Undecodable(
        f"json: cannot unmarshal {_WORDS[type(value)]} into Go struct field "
        f"{at.owner}.{at.plain} of type {go}"
    )


def _quantity(value: Any, at: _Place) -> None:
    found = _QUANTITY.fullmatch(str(value))
    if isinstance(value, dict | list | bool) or not found:
        rule = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
        raise Undecodable(f"quantities must match the regular expression '{rule}'")
    if not _SUFFIX.fullmatch(found[2]):
        raise Undecodable("unable to parse quantity's suffix")


def _base64(value: Any, at: _Place) -> None:
    _expect(value, str, at._replace(type="str"))
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Undecodable("illegal base64 data at input byte 0") from None


_SCALARS: dict[str, Callable[[Any, _Place], None]] = {
    "int": lambda value, at: _expect(value, int, at),
    "str": lambda value, at: _expect(value, str, at),
    "bool": lambda value, at: _expect(value, bool, at),
    "quantity": _quantity,
    "base64": _base64,
}
