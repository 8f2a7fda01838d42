"""What a field of a playbook block accepts, in words: for errors, `explain` and the reference."""

import types
from collections.abc import Iterable
from enum import EnumType
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from smoldebug.playbook.base import Duration, Model, Money
from smoldebug.records import Json

Hint = Any  # a type as it stands in an annotation, without None and Annotated

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Duration: "a duration such as 500ms, 30s, 5m or 1h30m",
    Money: "an amount of money such as $1.00",
    Any: "any value",
}


class Field(msgspec.Struct, frozen=True):
    """One key of a block. `hint` is its whole annotation, `options` the types it may hold."""

    key: str  # as written in the file
    name: str  # of the attribute
    hint: Any
    options: tuple[Hint, ...]
    description: str
    required: bool
    default: Json
    examples: tuple[Json, ...]
    later: bool  # loads, and is not run by this version


@cache
def fields_of(block: type[Model]) -> dict[str, Field]:
    """A block's fields by the key they have in the file, in order."""
    found = {}
    for info in msgspec.structs.fields(block):
        metas = [part for part in get_args(info.type) if isinstance(part, msgspec.Meta)]
        described = next((meta for meta in metas if meta.description), msgspec.Meta())
        found[info.encode_name] = Field(
            key=info.encode_name,
            name=info.name,
            hint=info.type,
            options=options(info.type),
            description=described.description or "",
            required=info.required,
            default=_default(info),
            examples=tuple(described.examples or ()),
            later=bool((described.extra or {}).get("later")),
        )
    return found


def _default(info: msgspec.structs.FieldInfo) -> Json:
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    return None if info.default in (msgspec.NODEFAULT, msgspec.UNSET) else info.default


def options(hint: Any) -> tuple[Hint, ...]:
    """The types a value may have: `Annotated[int | list[int] | None, ...]` -> (int, list[int])."""
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(bare) in (Union, types.UnionType):
        return tuple(part for part in get_args(bare) if part is not type(None))
    return (bare,)


def block_of(hint: Hint) -> type[Model] | None:
    """The block below a type, through lists and maps: list[Check] -> Check."""
    for option in options(hint):
        if is_block(option):
            return option  # type: ignore[no-any-return]
        if element := element_of(option):
            return block_of(element)
    return None


def element_of(option: Hint) -> Hint | None:
    """What a list or a map holds: list[Check] -> Check, dict[str, Input] -> Input."""
    if is_map(option):
        return get_args(option)[1]
    origin: Any = get_origin(option)
    return get_args(option)[0] if origin in (list, tuple) else None


def is_map(option: Hint) -> bool:
    origin: Any = get_origin(option)
    return origin is dict


def is_block(option: Hint) -> bool:
    return isinstance(option, type) and issubclass(option, Model)


def allowed(option: Hint) -> tuple[str, ...]:
    """The words an enumeration consists of; () for any other type."""
    origin: Any = get_origin(option)
    if origin is Literal:
        return tuple(map(str, get_args(option)))
    members: Iterable[Any] = option if isinstance(option, EnumType) else ()
    return tuple(map(str, members))


def describe(hint: Any) -> str:
    """`a whole number, 1 or more`, `a list of text`, `one of ask, auto, never`."""
    said = " or ".join(dict.fromkeys(_describe(option) for option in options(hint)))
    for meta in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        said += _bounds(meta)
    return said


def _describe(option: Hint) -> str:
    if words := [word for word in allowed(option) if word]:
        return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
    if is_block(option):
        return f"a block ({', '.join(fields_of(option))})"
    if element := element_of(option):
        kind = "map from names to" if is_map(option) else "list of"
        return f"a {kind} {_inner(element)}"
    return _WORDS[option]


def _inner(hint: Any) -> str:
    found = block_of(hint)
    if found and is_block(options(hint)[0]):
        return f"{found.__name__} blocks"
    return describe(hint).replace("a whole number", "whole numbers").removeprefix("one of ")


def _bounds(meta: msgspec.Meta) -> str:
    if meta.pattern:
        return f" of the form `{meta.pattern}`"
    if meta.min_length:
        return ", not empty"
    if meta.ge is not None and meta.le is not None:
        return f", {meta.ge} to {meta.le}"
    return f", {meta.ge} or more" if meta.ge is not None else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean every?` or, when nothing is close, `; known: all, any ...`."""
    from difflib import get_close_matches  # only ever needed for an error

    words = list(known)
    close = get_close_matches(word.lower()[:80], words, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(words) or 'none'}"
