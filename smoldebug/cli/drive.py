"""Runs a plan in front of an operator: signals, view, run folder, reports, exit status."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import typer

from smoldebug import telemetry
from smoldebug.agent import Signals
from smoldebug.cli import drop_unread
from smoldebug.cli.approval import approver, terminal
from smoldebug.cli.assemble import assemble
from smoldebug.cli.options import Options
from smoldebug.clock import SystemClock
from smoldebug.errors import UsageError
from smoldebug.events import RunEnded, Stamped
from smoldebug.past import past as read_past
from smoldebug.playbook.models import RunPlan
from smoldebug.records import Section
from smoldebug.report import document, markdown, sections
from smoldebug.run import run
from smoldebug.status import ExitStatus
from smoldebug.untrusted import inert
from smoldebug.view import OutputFormat, View, open_view, output_format
from smoldebug.view.jsonl import dumps

REPORTS = ("markdown", "json")


def drive(
    plan: RunPlan,
    options: Options,
    output: OutputFormat | None,
    reports: Mapping[str, Path],
    past: Sequence[Stamped] = (),
) -> ExitStatus:
    """Run to the end and report; `past` is the journal of a run that is taken up again.

    Ctrl-C (or SIGTERM) once ends it after the current turn, twice now; what was found and changed
    is reported either way.
    """
    clock, signals = SystemClock(), Signals()
    view = open_view(output_format(output), document, clock=clock, stopping=signals.stop.is_set)
    seen: list[Stamped] = list(past)
    watched = telemetry.opened()
    watched.recall(past)
    try:
        with interruptible(signals):
            approve = approver(view, yes=options.yes, read=terminal(signals.stop))
            before = read_past(past) if past else None
            made = assemble(plan, options, approve, signals, clock, before)
            try:
                with readers_may_leave(signals):
                    view.recall(past)
                for stamped in run(plan, made.crew, made.first, before):
                    seen.append(stamped)
                    watched.show(stamped)
                    with readers_may_leave(signals):
                        view.show(stamped)
            finally:
                made.close()
        with readers_may_leave(signals):
            _report(seen, view, made.folder, reports)
    finally:
        with readers_may_leave(signals):
            view.close()
            send_rest(watched)
    return _status(seen)


def report_paths(words: Sequence[str]) -> dict[str, Path]:
    """`FORMAT=PATH` options. Raises UsageError for an unknown format or a missing path."""
    found: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if name not in REPORTS or not path:
            raise UsageError(f"--report takes FORMAT=PATH with one of {', '.join(REPORTS)}: {word}")
        found[name] = Path(path)
    return found


def keep_report(seen: Sequence[Stamped], folder: Path) -> str:
    """Write it into the run's folder; returns `kept in PATH`, or why not."""
    kept = folder / "report.md"
    try:
        _write_whole(kept, markdown(seen))
    except OSError as error:
        return f"not kept: {error.strerror}"
    return f"kept in {kept}"


def send_rest(watched: telemetry.Telemetry) -> None:
    """What OpenTelemetry did not take is said, and is no failure of the run."""
    if trouble := watched.close():
        typer.echo(inert(f"note: {trouble}"), err=True)


def _report(seen: Sequence[Stamped], view: View, folder: Path, reports: Mapping[str, Path]) -> None:
    where = keep_report(seen, folder)
    for name, path in reports.items():
        text = markdown(seen) if name == "markdown" else dumps(document(seen), indent=2)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write the report: {error}", hint=where) from None
    view.closing([*sections(seen), Section("REPORT", (where.removeprefix("kept in "),))])


def _write_whole(path: Path, text: str) -> None:
    """All of it or nothing: a disk that is full leaves no part of a report. Raises OSError."""
    beside = path.with_name(f"{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


def _status(seen: Sequence[Stamped]) -> ExitStatus:
    last = seen[-1].event if seen else None
    return last.status if isinstance(last, RunEnded) else ExitStatus.INTERRUPTED


@contextmanager
def readers_may_leave(signals: Signals) -> Iterator[None]:
    """A reader that leaves (`... | head`) is a Ctrl-C: what was changed is still taken back."""
    try:
        yield
    except BrokenPipeError:
        drop_unread()
        signals.stop.set()


@contextmanager
def interruptible(signals: Signals) -> Iterator[None]:
    """SIGINT and SIGTERM ask the run to stop: once after the turn, twice at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if signals.cut.is_set():
            raise KeyboardInterrupt
        # Never one that is set: a signal amid another's `set` would wait for ever for its lock.
        (signals.cut if signals.stop.is_set() else signals.stop).set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
