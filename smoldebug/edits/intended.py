"""What operations make of an object, on plain data: what their edits of a text must come to."""

import copy
from collections.abc import Iterable
from typing import Any

from smoldebug.edits.operations import Operation
from smoldebug.errors import ChangeRefused
from smoldebug.fieldvalues import MAPS
from smoldebug.pointers import dotted, resolve, steps
from smoldebug.records import Json

_NUMBERS = {"containerPort", "port"}  # in selectors
# Maps that say nothing once they are empty; an empty `emptyDir` or `selector` says a lot
_POINTLESS = {"labels", "annotations", "nodeSelector", "limits", "requests", "resources"}


def intended(document: Json, operations: Iterable[Operation]) -> Json:
    """The document after the operations. Raises ChangeRefused where one has no place in it."""
    document = copy.deepcopy(document)
    for each in operations:
        carry_out(document, each)
    return document


def carry_out(document: Json, operation: Operation) -> None:
    """One operation, in place. With the last item of a list the list goes too, and with the last
    entry a map that says nothing when it is empty."""
    pointer = operation.pointer
    segments = pointer.split("/")[1:]
    if not segments:
        raise ChangeRefused("an edit is of a field, not of the object as a whole")
    if operation.remove:
        _remove(document, segments)
        return
    here = document
    for segment, following in zip(segments, segments[1:], strict=False):
        place = _place(here, segment, pointer)
        if _get(here, place) is None:
            _put(here, place, _parent(here, segment, following))
        here = here[place]
    _put(here, _place(here, segments[-1], pointer), copy.deepcopy(operation.value))


def _place(here: Json, segment: str, pointer: str) -> Any:
    """The key or index that a segment means; the length of a list for an item it lacks."""
    if isinstance(here, dict):
        return segment.replace("~1", "/").replace("~0", "~")
    if isinstance(here, list):
        last = resolve(here, f"/{segment}")[1:]
        at = len(here) if last == "-" else int(last) if last.isdecimal() else -1
        if 0 <= at <= len(here):
            return at
    raise ChangeRefused(f"there is no place for: {dotted(pointer)}")


def _get(here: Any, place: Any) -> Json:
    if isinstance(here, dict):
        return here.get(place)
    return here[place] if place < len(here) else None


def _put(here: Any, place: Any, value: Json) -> None:
    if isinstance(here, list) and place == len(here):
        here.append(value)
    else:
        here[place] = value


def _selects(segment: str) -> dict[str, str]:
    (step,) = steps(f"/{segment}")
    return step if isinstance(step, dict) else {}


def _parent(here: Json, segment: str, following: str) -> Json:
    """A parent that is missing, for what follows."""
    if isinstance(here, list):
        fields = _selects(segment).items()
        return {k: int(v) if k in _NUMBERS and v.isdecimal() else v for k, v in fields}
    return [] if _selects(following) and segment not in MAPS else {}


def _remove(document: Json, segments: list[str]) -> None:
    path: list[tuple[Any, Any]] = []
    here = document
    for segment in segments:
        if not isinstance(here, dict | list):
            return
        place = _place(here, segment, "")
        if place not in here if isinstance(here, dict) else place >= len(here):
            return
        path.append((here, place))
        here = here[place]
    here, place = path.pop()
    del here[place]
    while path and not here:
        above, place = path.pop()
        if not isinstance(above, dict) or not (isinstance(here, list) or place in _POINTLESS):
            return
        del above[place]
        here = above
