"""Text as the world may send it, and strategies that put it into every field of every event."""

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from smoldebug.events import AnyEvent, RunStarted, Stamped
from smoldebug.records import Change, Usage

HOSTILE = (
    "boom [/] x [/var/log]",
    "[link=https://evil.example]here[/link] [bold]loud[/bold] :boom:",
    "\x1b]0;owned\x07\x1b[2J\x1b]52;c;cm0gLXJm\x07",
    "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x9b31m\x9d0;x\x9c\x85next",
    "lone \ud800 surrogate \udfff",
    "::error file=x::stop\n::stop-commands::token",
    "  ::add-mask::x",
    "##[error]stop ##vso[task.complete] ##teamcity[x]",
    "![pixel](https://evil.example/p.png) <img src=x> [text](javascript:x)",
    "@everyone see #1 and https://evil.example/`` ` ```\n```\nout of the fence",
    "abc\u202edcba\u2066 zero\u200bwidth \ufeff",
    "# heading\n- item\n> quote\n1. one\n| a | b |\n---",
    "x" * 100_000,
    "",
    "\r\rover\rwritten\n\n\n",
    "漢字かな 🎉 e\u0301",
)

texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=40))
numbers = st.one_of(st.integers(-3, 2000), st.floats(-1e9, 1e9), st.sampled_from([float("nan")]))
jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
_when = st.floats(-1e8, 1e8).map(lambda s: datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=s))
_points = st.lists(st.lists(st.one_of(numbers, texts), min_size=2, max_size=2), max_size=9)
_series = st.fixed_dictionaries({"labels": jsons, "points": st.one_of(_points, jsons)})
_data = st.one_of(jsons, st.fixed_dictionaries({"series": st.lists(_series, max_size=3)}))


def of(hint: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Any value of a type used in events, with hostile text wherever text fits."""
    if name == "then":
        return st.none() | _CHANGES
    if hint is Any:
        return _data if name == "data" else jsons
    if hint is str:
        return st.sampled_from(["C1", "C2"]) if name in ("card", "id") else texts
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(0, 50)
    if hint is float:
        return st.floats(0, 1e6)
    if hint is datetime:
        return _when
    if hint is type(None):
        return st.none()
    return _of_compound(hint)


def _of_compound(hint: Any) -> st.SearchStrategy[Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(of, inner))
    if origin is tuple:
        return st.lists(of(inner[0]), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(texts, jsons, max_size=3)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return built(hint)


def built(kind: type) -> st.SearchStrategy[Any]:
    """Any instance of a record or an event."""
    names = [item.name for item in fields(kind)] if is_dataclass(kind) else kind.__struct_fields__
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: of(hints[name], name) for name in names})


_CHANGES = st.deferred(lambda: built(Change))  # one may be followed by another
events = st.one_of(*(st.deferred(lambda kind=kind: built(kind)) for kind in get_args(AnyEvent)))


@st.composite
def runs(draw: st.DrawFn) -> list[Stamped]:
    """A few arbitrary events, as a journal would hold them; often after a proper start."""
    found = draw(st.lists(events, min_size=1, max_size=8))
    if draw(st.booleans()):
        found.insert(0, start())
    began = datetime(2026, 6, 1, tzinfo=UTC)
    return [
        Stamped(f"run{HOSTILE[0]}", seq, seq * 1.5, began + timedelta(seconds=seq * 1.5), event)
        for seq, event in enumerate(found)
    ]


def start(mode: str = "ask") -> RunStarted:
    return RunStarted(
        "triage", "triage-502", "health", "expert", "lab", ("shop",), mode, 5.0, Usage()
    )


def stamped(event: AnyEvent, seq: int = 0) -> Stamped:
    return Stamped("7f3a1c", seq, float(seq), datetime(2026, 6, 1, tzinfo=UTC), event)
