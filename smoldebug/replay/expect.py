"""`expect.yaml` of a playbook test: what is to become of a run, and what became of it instead."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from smoldebug.errors import UsageError
from smoldebug.events import RunEnded, Stamped
from smoldebug.ledger import ledger
from smoldebug.playbook.base import Model, Money, doc
from smoldebug.playbook.convert import Converter
from smoldebug.playbook.load import problems_error, read_file
from smoldebug.playbook.parse import MAX_BYTES, parse
from smoldebug.playbook.tree import At, Block, Problem, place
from smoldebug.records import ChangeKind, Json
from smoldebug.untrusted import one_line


class ExpectedChange(Model, frozen=True, kw_only=True):
    """A change that was proposed, in order. What the guard refuses at once is none."""

    kind: Annotated[ChangeKind, doc("Kind of change.", "scale")]
    target: Annotated[str, doc("Kind/namespace/name.", "Deployment/shop/auth")]
    state: Annotated[str, doc("What became of it: verified, refused, undone ...", "verified")]
    by: Annotated[
        Literal["operator", "playbook", "policy", "nobody"],
        doc("Who decides: a playbook does under `approval: auto`.", "operator"),
    ] = "operator"


class ExpectedCause(Model, frozen=True, kw_only=True):
    """A confirmed hypothesis."""

    subject: Annotated[str, doc("The object it is about.", "Deployment/shop/auth")] = ""
    fault: Annotated[str, doc("Fault of the catalogue.", "traffic-surge")] = ""


class Expected(Model, frozen=True, kw_only=True):
    outcome: Annotated[Literal["met", "not met", "inconclusive"], doc("Of the goal.", "met")]
    exit: Annotated[int, Meta(ge=0, le=255), doc("Exit status of the run.", 0)]
    playbook: Annotated[
        str,
        doc("Name, or path from here, of the playbook, where no playbook.yaml is here.", "triage"),
    ] = ""
    changes: Annotated[list[ExpectedChange], doc("Every change, in order.")] = []
    causes: Annotated[list[ExpectedCause], doc("Every confirmed hypothesis, in any order.")] = []
    max_turns: Annotated[int | None, Meta(ge=0), doc("Most turns of a model.")] = None
    max_cost: Annotated[Money | None, doc("Most it may cost.", "$0.05")] = None


@dataclass(frozen=True)
class Expectation:
    """`marks` says where in `file` each key stands."""

    file: str
    expected: Expected
    marks: Mapping[str, At]

    def problems(self, events: Sequence[Stamped]) -> list[str]:
        """What became otherwise, each with its place. `events` are those of a whole run."""
        found = happened(events)
        return [
            f"{place(self.file, self._at(key))} {key}: expected {_words(wanted)}, got {_words(got)}"
            for key, wanted, got in _apart(self.expected, found)
        ]

    def _at(self, key: str) -> At:
        known = (key, key.rpartition(".")[0], key.partition("[")[0], "")
        return next(self.marks[each] for each in known if each in self.marks)


def read(path: Path) -> Expectation:
    """Raises PlaybookError with every problem of the file, each with its place."""
    file = str(path)
    root, problems = parse(read_file(path, MAX_BYTES + 1), file)
    converter, found = Converter({}, "expect"), None
    if isinstance(root, Block):
        found = converter.convert(root, Expected)
        problems = [*problems, *converter.problems]
    else:
        says = "expected what a run is to end with: a map with outcome and exit"
        problems = [*problems, Problem(root.at if root else At(1, 1), "", says)]
    if problems or found is None:
        raise problems_error(file, sorted(set(problems)))
    return Expectation(file, found, converter.marks)


def happened(events: Sequence[Stamped]) -> Expected:
    """What became of a run. Its turns and its cost are the most that are expected of it."""
    ended = events[-1].event
    if not isinstance(ended, RunEnded):
        raise UsageError("the run has not ended")
    return Expected(
        outcome=ended.outcome,  # type: ignore[arg-type]
        exit=int(ended.status),
        changes=[
            ExpectedChange(
                kind=entry.card.change.kind,
                target=str(entry.card.change.target),
                state=entry.state,
                by=entry.decision.by if entry.decision else "operator",  # type: ignore[arg-type]
            )
            for entry in ledger(events).values()
        ],
        causes=[
            ExpectedCause(subject=each.subject, fault=each.fault)
            for each in ended.hypotheses
            if each.status == "confirmed"
        ],
        max_turns=ended.usage.turns,
        max_cost=Money(ended.usage.cost) if ended.usage.cost else None,
    )


def as_data(expected: Expected) -> Json:
    """For a file."""
    plain: dict[str, Json] = msgspec.to_builtins(expected, enc_hook=str)
    return {key: value for key, value in plain.items() if value not in ("", [], None)}


def _apart(wanted: Expected, got: Expected) -> Iterator[tuple[str, object, object]]:
    for key in ("outcome", "exit"):
        if getattr(wanted, key) != getattr(got, key):
            yield key, getattr(wanted, key), getattr(got, key)
    for index in range(max(len(wanted.changes), len(got.changes))):
        one, other = (each.changes[index : index + 1] for each in (wanted, got))
        if one != other:
            yield f"changes[{index}]", one, other
    for cause in wanted.causes:
        if cause not in got.causes:
            yield f"causes[{wanted.causes.index(cause)}]", [cause], got.causes
    if extra := [each for each in got.causes if each not in wanted.causes]:
        yield "causes", "no other", extra
    for key in ("max_turns", "max_cost"):
        most, used = getattr(wanted, key), getattr(got, key)
        if most is not None and used is not None and used > most:
            yield key, f"at most {most}", used


def _words(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "nothing"
    if isinstance(value, ExpectedChange):
        return one_line(f"{value.kind} {value.target} {value.state} (by {value.by})", 300)
    if isinstance(value, ExpectedCause):
        return one_line(f"{value.fault or 'a cause'} of {value.subject or 'nothing named'}", 300)
    return one_line(str(value), 300)
