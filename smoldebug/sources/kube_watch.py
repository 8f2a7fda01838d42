"""One watch of the live cluster: a streaming GET whose lines are events."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from smoldebug.errors import SmoldebugError
from smoldebug.sources.selectors import field_of
from smoldebug.sources.world import Object, WatchEvent

GRACE = 5.0  # seconds that a server may be late to end a watch
CHUNK = 64 << 10  # bytes read at once
LINE_BYTES = 16 << 20  # no object is that large: etcd takes 1.5 MB
_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")


class KubeWatch:
    """See smoldebug.sources.world.WatchStream. `answer` is an open urllib3 response; `guarded`
    calls a function and translates what goes wrong, `refused` a Status that comes as an event."""

    def __init__(
        self,
        answer: Any,
        guarded: Callable[[Callable[[], WatchEvent]], WatchEvent],
        refused: Callable[[int, Object], SmoldebugError],
    ) -> None:
        self._answer, self._guarded = answer, guarded
        self._events = _events(answer, refused)
        self._reading, self._closed = threading.Lock(), False

    def __iter__(self) -> Iterator[WatchEvent]:
        return self

    def __next__(self) -> WatchEvent:
        with self._reading:
            try:
                return self._guarded(lambda: next(self._events))
            except (SmoldebugError, ValueError, AttributeError):
                if not self._closed:
                    raise
                raise StopIteration from None  # a TLS socket that is shut down fails in many ways

    def close(self) -> None:
        self._closed = True
        with suppress(OSError, RuntimeError, ValueError):  # it may have ended by itself
            self._answer.shutdown()  # whoever is reading returns
        with self._reading:
            self._events.close()
            self._answer.close()


class _Line(msgspec.Struct):
    type: str
    object: Object


def _events(
    answer: Any, refused: Callable[[int, Object], SmoldebugError]
) -> Generator[WatchEvent, None, None]:
    rest = b""
    while chunk := answer.read1(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_BYTES:
            raise msgspec.ValidationError("a line without an end")
        for line in filter(None, lines):
            event = msgspec.json.decode(line, type=_Line)
            if event.type == "ERROR":
                code = event.object.get("code")
                raise refused(code if isinstance(code, int) else 500, event.object)
            if event.type in _TYPES:
                version = field_of(event.object, "metadata.resourceVersion")
                yield WatchEvent(event.type, event.object, str(version or ""))
