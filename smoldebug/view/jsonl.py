"""For machines: a line per event, or one document at the end. ASCII, valid JSON, stdout.

Whoever sits at the terminal sees on stderr what is asked of them: a card, and what it rests on.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from smoldebug.events import PASSING, Stamped, to_json
from smoldebug.records import Card, Json, Section
from smoldebug.redact import Redactor
from smoldebug.view.plain import CardsOnly


def dumps(value: Json, indent: int | None = None) -> str:
    """JSON that any parser takes and no terminal or CI system acts on.

    ASCII only, so no control characters; NaN and infinity become null, lone surrogates U+FFFD;
    `##[`, which GitHub Actions reads as a command anywhere in a line, is written as an escape.
    """
    text = json.dumps(_portable(value), indent=indent, allow_nan=False)
    return re.sub(r"##(?=\w*\[)", r"#\\u0023", text.replace("\x7f", r"\u007f"))


def shown(value: Json) -> Json:
    """An event as it may be seen: what a change replaces and what a run is resumed with are whole
    in the journal only."""
    if isinstance(value, Mapping):
        return {key: _changed(key, item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list | tuple) else value


def _changed(key: str, value: Json) -> Json:
    if key in ("before", "after") and isinstance(value, Mapping):
        return Redactor().fields(value)
    return Redactor().json(value) if key in ("manifest", "inputs", "plan") else shown(value)


def _portable(value: Json) -> Json:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_portable(str(key)): _portable(item) for key, item in value.items()}
    return [_portable(item) for item in value] if isinstance(value, list | tuple) else value


class JsonlView:
    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self._out, self._asked = stdout, CardsOnly(stderr, stderr)

    def show(self, stamped: Stamped) -> None:
        if not isinstance(stamped.event, PASSING):
            self._told(stamped)

    def _told(self, stamped: Stamped) -> None:
        self._asked.show(stamped)
        self._out.write(dumps(shown(to_json(stamped))) + "\n")
        self._out.flush()

    def recall(self, past: Sequence[Stamped]) -> None:
        self._asked.recall(past)

    @contextmanager
    def paused(self) -> Iterator[None]:
        yield

    def evidence(self, ids: Sequence[str]) -> None:
        self._asked.evidence(ids)

    def full_diff(self, card: Card) -> None:
        self._asked.full_diff(card)

    def closing(self, sections: Sequence[Section]) -> None:
        """Nothing: the events on stdout hold it."""

    def close(self) -> None:
        self._out.flush()


class JsonView(JsonlView):
    """Keeps the events and writes the document when the view is closed, also after an error."""

    def __init__(
        self, stdout: TextIO, stderr: TextIO, document: Callable[[Sequence[Stamped]], Json]
    ) -> None:
        super().__init__(stdout, stderr)
        self._document, self._events = document, list[Stamped]()
        self._written = False

    def _told(self, stamped: Stamped) -> None:
        self._asked.show(stamped)
        self._events.append(stamped)

    def recall(self, past: Sequence[Stamped]) -> None:
        super().recall(past)
        self._events.extend(past)

    def close(self) -> None:
        if self._events and not self._written:
            self._out.write(dumps(self._document(self._events), indent=2) + "\n")
            self._written = True
        super().close()
