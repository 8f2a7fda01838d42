"""How `check` tells what it measured: progress on stderr, the result on stdout."""

import sys
from collections.abc import Mapping
from typing import TextIO

import msgspec

from smoldebug.clock import Clock, duration
from smoldebug.events import SCHEMA_VERSION
from smoldebug.goal import Goal
from smoldebug.playbook.models import RunPlan
from smoldebug.records import Json, Outcome, Verdict
from smoldebug.report.words import check_words
from smoldebug.status import ExitStatus
from smoldebug.untrusted import inert, one_line
from smoldebug.view import OutputFormat
from smoldebug.view.phrases import count, goal_word, measured, window
from smoldebug.view.stream import encodable

MARKS = {Outcome.MET: "✓", Outcome.NOT_MET: "✗", Outcome.INCONCLUSIVE: "?"}
COLOURS = {Outcome.MET: "green", Outcome.NOT_MET: "bold red", Outcome.INCONCLUSIVE: "yellow"}


def status_of(verdict: Verdict, unreachable: bool) -> ExitStatus:
    """The exit status; `unreachable` says that not one check could reach what it looks at."""
    if verdict.outcome is Outcome.MET:
        return ExitStatus.MET
    if unreachable:
        return ExitStatus.UNREACHABLE
    inconclusive = verdict.outcome is Outcome.INCONCLUSIVE
    return ExitStatus.INCONCLUSIVE if inconclusive else ExitStatus.NOT_MET


class Told:
    """Tells of the samples of one goal, and of the verdict in the end."""

    def __init__(
        self, goal: Goal, plan: RunPlan, context: str, clock: Clock, output: OutputFormat
    ) -> None:
        self._goal, self._plan, self._context = goal, plan, context
        self._clock, self._output = clock, output
        self._began, self._samples, self._said = clock.monotonic(), 0, ""

    def sample(self, verdict: Verdict) -> None:
        """A line on stderr when there is something new to say; with jsonl a document each time."""
        self._samples += 1
        if self._output is OutputFormat.JSONL:
            sys.stdout.write(msgspec.json.encode(self._document(verdict)).decode() + "\n")
            sys.stdout.flush()
        elif self._output is not OutputFormat.JSON:
            says = "  ".join(filter(None, (goal_word(verdict), window(verdict), measured(verdict))))
            if says != self._said:
                _write(sys.stderr, f"{duration(self._seconds):>5}  {says}\n")
            self._said = says

    def ended(self, verdict: Verdict) -> None:
        """The result, on stdout; with jsonl the last sample was it."""
        if self._output is OutputFormat.RICH:
            _table(verdict, self._heading(verdict))
        elif self._output is OutputFormat.JSON:
            document = msgspec.json.encode(self._document(verdict))
            sys.stdout.write(msgspec.json.format(document).decode() + "\n")
        elif self._output is not OutputFormat.JSONL:
            lines = [self._heading(verdict), *_lines(verdict)]
            _write(sys.stdout, "\n".join(lines) + "\n")

    @property
    def _seconds(self) -> float:
        return round(self._clock.monotonic() - self._began, 3)

    def _heading(self, verdict: Verdict) -> str:
        spent = f"{count(self._samples, 'sample')} in {duration(self._seconds)}"
        words = (goal_word(verdict), window(verdict), spent, self._goal.describe(), self._context)
        return one_line(" · ".join(filter(None, words)), 400)

    def _document(self, verdict: Verdict) -> Mapping[str, Json]:
        status = status_of(verdict, self._goal.unreachable)
        told: dict[str, Json] = msgspec.to_builtins(verdict)
        checks = told.pop("results")
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "check",
            "playbook": self._plan.playbook.name,
            "inputs": dict(self._plan.inputs),
            "context": self._context,
            "status": status.name.lower(),
            "exit_code": int(status),
            "outcome": told["outcome"],
            "goal": {"description": self._goal.describe(), **told, "checks": checks},
            "samples": self._samples,
            "seconds": self._seconds,
        }


def _rows(verdict: Verdict) -> list[tuple[Outcome, list[str]]]:
    """Mark, outcome, check, what it says, and how it was reached where that is worth a word."""
    return [
        (
            result.outcome,
            [
                MARKS[result.outcome],
                result.outcome.value,
                one_line(check_words(result), 120),
                one_line(result.says),
                one_line(result.route) if result.route != "direct" else "",
            ],
        )
        for result in verdict.results
    ]


def _lines(verdict: Verdict) -> list[str]:
    rows = [row for _, row in _rows(verdict)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    padded = [[*map(str.ljust, row, widths), *row[3:]] for row in rows]
    return [f" {'  '.join(row)}".rstrip() for row in padded]


def _table(verdict: Verdict, heading: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for outcome, row in _rows(verdict):
        coloured = (Text(cell, COLOURS[outcome]) for cell in row[:2])
        table.add_row(*coloured, *map(Text, row[2:]))
    console = Console(file=encodable(sys.stdout), markup=False, highlight=False, emoji=False)
    console.print(Text(heading, COLOURS[verdict.outcome]))
    console.print(table)


def _write(stream: TextIO, text: str) -> None:
    encodable(stream).write(inert(text))
