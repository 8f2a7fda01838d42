"""The values of a Helm release: files and single values, laid over what it has already."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from smoldebug.errors import ToolError, UsageError
from smoldebug.records import Json
from smoldebug.sources.goyaml import documents

_STEP = re.compile(r"\.?((?:\\.|[^.\[\]\\])+)|\[([0-9]{1,4})\]")


def read(path: str, data: bytes) -> dict[str, Json]:
    """A values file, as Helm takes it. Raises UsageError, which names the path, when it is not
    one YAML map."""
    try:
        found = [each for each in documents(data.decode(), path) if each is not None]
    except (ToolError, UnicodeDecodeError) as error:
        raise UsageError(f"not a values file: {path}: {error}") from error
    if len(found) > 1 or not all(isinstance(each, dict) for each in found):
        raise UsageError(f"a values file is one map of values: {path}")
    return dict(found[0]) if found else {}


def merged(old: Mapping[str, Json], new: Mapping[str, Json]) -> dict[str, Json]:
    """Maps are merged, all else is replaced. A null stays: to Helm it takes a default away."""
    result = dict(old)
    for key, value in new.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            result[key] = merged(below, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def with_set(values: Mapping[str, Json], path: str, value: Json) -> dict[str, Json]:
    """With one value set by its path: `payments.env[0].value`, `annotations.example\\.com/x`.

    Raises UsageError for what is no path, and for an item that a list has no place for.
    """
    result: Any = copy.deepcopy(dict(values))
    node, steps = result, list(_steps(path))
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        empty: Json = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            if step > len(node):
                raise UsageError(f"there is no place for item {step}: {path}")
            node += [None] * (step == len(node))
        below = node[step] if isinstance(step, int) else node.get(step)
        if following is None:
            node[step] = value
        elif type(below) is not type(empty):
            node[step] = empty
        node = node[step]
    return dict(result)


def _steps(path: str) -> Iterator[str | int]:
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        key = found[1] if found else None
        dotted = path[at] == "."
        if found is None or (key is not None and dotted == (at == 0)):
            raise UsageError(f"not the path of a value: {path}")
        yield int(found[2]) if key is None else re.sub(r"\\(.)", r"\1", key)
        at = found.end()
    if not path or path[0] == "[":
        raise UsageError(f"not the path of a value: {path!r}")
