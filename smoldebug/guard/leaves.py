"""The single values inside an object or a change, each with the path of names that leads to it.

Items of a list go by what identifies them (`name`, `mountPath` ...), else by their index, and so
do the selectors of a pointer: a value has one path whether a change names it alone or sets it with
all that is around it.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from smoldebug.pointers import LISTS
from smoldebug.records import Json

Path = tuple[str, ...]

_IDENTITY = ("name", "mountPath", "key", "containerPort", "port", "ip", "uid")
_AMOUNT = re.compile(r"(-?[0-9]{1,18}(?:\.[0-9]{1,9})?)([A-Za-z%]{0,3})", re.ASCII)
_SUFFIXES = {
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
    "": Decimal(1),
}


def leaves(value: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    """Every scalar and every empty list or map in a value, in order. A path may come twice: two
    entries of an `env` of the same name are two."""
    pending = [(path, value)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict) and value:
            pending += [((*path, str(key)), each) for key, each in reversed(value.items())]
        elif isinstance(value, list) and value:
            inside = [((*path, _identity(each, at)), each) for at, each in enumerate(value)]
            pending += reversed(inside)
        else:
            yield path, value


def of_change(values: Mapping[str, Json]) -> list[tuple[Path, Json]]:
    """The leaves of one side of a change."""
    return [leaf for pointer, value in values.items() for leaf in leaves(value, steps(pointer))]


def steps(pointer: str) -> Path:
    """The path that a pointer leads to: `/spec/containers/[name=app]` -> spec, containers, app."""
    return tuple(map(_step, pointer.split("/")[1:]))


def spoken(path: Path) -> str:
    """As people write it: `spec.template.spec.containers[app].image`."""
    said = ""
    for above, step in zip(("", *path), path, strict=False):
        said += f"[{step}]" if above in LISTS or step.isdecimal() else f".{step}"
    return said.removeprefix(".") or "the whole object"


def amount(value: Json) -> tuple[Decimal, str] | None:
    """A number or a quantity, and its unit where that is not one of Kubernetes' suffixes: `64Mi`
    is 67108864, `30s` is 30 of s. None for what is neither."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    found = _AMOUNT.fullmatch(value if isinstance(value, str) else f"{value}")
    if not found:
        return None
    number, unit = Decimal(found[1]), found[2]
    return (number * _SUFFIXES[unit], "") if unit in _SUFFIXES else (number, unit)


def _identity(each: Json, at: int) -> str:
    found = (each.get(key) for key in _IDENTITY) if isinstance(each, dict) else ()
    return next((str(key) for key in found if isinstance(key, str | int)), str(at))


def _step(segment: str) -> str:
    if segment.startswith("[") and segment.endswith("]") and "=" in segment:
        pairs = dict(pair.partition("=")[::2] for pair in segment[1:-1].split(","))
        segment = next((pairs[key] for key in _IDENTITY if key in pairs), segment)
        segment = segment.replace("~2", ",")
    return segment.replace("~1", "/").replace("~0", "~")
