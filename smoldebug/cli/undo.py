"""`smoldebug undo`: put back what a run changed, newest first, each verified by reading it back."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smoldebug.change import Executor
    from smoldebug.cli.approval import Reader
    from smoldebug.events import AnyEvent, Stamped
    from smoldebug.journal import Writes
    from smoldebug.ledger import Entry
    from smoldebug.past import Past
    from smoldebug.records import Who
    from smoldebug.status import ExitStatus

    Ends = dict[str, tuple[str, str]]  # by change: how its undo ended or would end, and why

ALREADY = "as before already"
AS_BEFORE = ("undone", "would be undone", ALREADY, "failed")  # the last: it was never applied

EXAMPLES = """\
Examples:

  smoldebug undo last --dry-run          # what would be put back, and what stands in the way

  smoldebug undo 7f3a                    # everything that run changed, newest first

  smoldebug undo 7f3a --change C1 -y

Exit status: 0 all of it is back (or nothing was to do), 5 something is not, 7 nobody can say yes.
"""


def undo(
    run: Annotated[str, typer.Argument(help="Id of the run, its beginning, or `last`.")],
    change: Annotated[
        list[str] | None, typer.Option("--change", help="Only this change: C1. Repeatable.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = None,
) -> int:
    """Put back what a run changed, in reverse order, and prove it by reading it back.

    A field that somebody else has changed since is left alone and shown: before, ours, now.
    """
    from contextlib import closing
    from threading import Event

    from smoldebug import journal
    from smoldebug.cli.approval import terminal
    from smoldebug.cli.takeup import idle, reopened
    from smoldebug.past import past
    from smoldebug.status import ExitStatus
    from smoldebug.view import OutputFormat, output_format

    folder = journal.find(run)
    before = past(idle(folder))
    entries = chosen(before, change or [])
    machine = output_format(output) in (OutputFormat.JSON, OutputFormat.JSONL)
    if not entries:
        _tell(before, {}, machine, change or ())
        return ExitStatus.MET
    with reopened(folder, before) as (executor, me):
        found = {} if yes and not dry_run else _rehearsed(executor, entries)
        if dry_run or not (yes or _possible(found)):
            _tell(before, found, machine)
            return _status(found)
        if not yes and not confirmed(before, found, terminal(Event())):
            return ExitStatus.NEEDS_APPROVAL
        with closing(journal.open_journal(folder, before.events)) as kept:
            for stamped in carry_out(before, executor, me, entries, kept):
                before.add(stamped)
    ended = {entry.card.id: before.ledger[entry.card.id] for entry in entries}
    done = {name: (entry.state, entry.detail) for name, entry in ended.items()}
    _tell(before, done, machine)
    return _status(done)


def chosen(past: "Past", wanted: "Sequence[str]") -> "list[Entry]":
    """The changes of a run that stand, newest first. Raises UsageError for one it does not have."""
    from smoldebug.errors import UsageError

    for name in wanted:
        if name not in past.ledger:
            known = ", ".join(past.ledger) or "none"
            raise UsageError(f"run {past.run} has no change {name}; its changes: {known}")
    stands = [entry for entry in past.ledger.values() if entry.stands]
    return [entry for entry in reversed(stands) if not wanted or entry.card.id in wanted]


def carry_out(
    past: "Past", executor: "Executor", me: "Who", entries: "Sequence[Entry]", kept: "Writes"
) -> "Iterator[Stamped]":
    """Settle what a killed process left open of the chosen changes, then undo what stands."""
    from smoldebug.clock import SystemClock
    from smoldebug.events import ChangeSettled, Continued, Stamp
    from smoldebug.recording import recorded

    def events() -> "Iterator[AnyEvent]":
        yield Continued("undo", me)
        if why := executor.unrecorded:
            for name, (state, detail) in _rehearsed(executor, entries).items():
                held = state == ALREADY
                settled = (state, detail) if held else ("undo failed", f"nothing was sent: {why}")
                yield ChangeSettled(name, *settled)
            return
        yield from executor.settle(entries)
        executor.restore(entry for entry in reversed(entries) if entry.stands)
        yield from executor.take_back()

    stamp = Stamp(past.run, SystemClock(), past.events, past.elapsed)
    return recorded(events(), kept, executor, stamp)


def _rehearsed(executor: "Executor", entries: "Sequence[Entry]") -> "Ends":
    from smoldebug.errors import SmoldebugError

    found = {}
    for entry in entries:
        try:
            state, detail = executor.rehearse(entry.card)
        except SmoldebugError as error:
            state, detail = "undo failed", str(error)
        if state == "undone":  # without anything being sent
            state, detail = ALREADY, "nothing is to be put back"
        found[entry.card.id] = (state, detail)
    return found


def confirmed(past: "Past", found: "Ends", read: "Reader | None") -> bool:
    """Ask at the terminal. Without one nobody can say yes, and nothing is changed; no answer is
    a no."""
    from smoldebug.cli.approval import TIME_LIMIT

    if read is None:
        typer.echo("nobody to ask here: -y says yes, --dry-run only shows it", err=True)
        return False
    sys.stderr.write(_words(past, found))
    what = f"put back {' '.join(_possible(found))}"
    sys.stderr.write(f"{what} on {past.started.context or 'this machine'}? [y/N] > ")
    sys.stderr.flush()
    said = read(TIME_LIMIT, lambda left: None) or ""
    if said.strip().lower() in ("y", "yes"):
        return True
    sys.stderr.write(
        "nothing was put back\n" if said.endswith("\n") else "\nnothing was put back\n"
    )
    return False


def _possible(found: "Ends") -> list[str]:
    return [name for name, (state, _) in found.items() if state == "would be undone"]


def _status(found: "Ends") -> "ExitStatus":
    from smoldebug.status import ExitStatus

    good = all(state in AS_BEFORE for state, _ in found.values())
    return ExitStatus.MET if good else ExitStatus.UNDO_FAILED


def _tell(past: "Past", found: "Ends", machine: bool, asked: "Sequence[str]" = ()) -> None:
    from smoldebug.untrusted import inert
    from smoldebug.view.jsonl import dumps
    from smoldebug.view.stream import encodable

    if not machine:
        encodable(sys.stdout).write(inert(_words(past, found) or _nothing(past, asked)))
        return
    changes = [
        {"id": name, "target": str(past.ledger[name].card.change.target), "state": state,
         "detail": detail}
        for name, (state, detail) in found.items()
    ]  # fmt: skip
    done = {"run": past.run, "changes": changes, "exit_code": int(_status(found))}
    typer.echo(dumps(done, indent=2))


def _words(past: "Past", found: "Ends") -> str:
    from smoldebug.untrusted import plain

    lines = []
    for name, (state, detail) in found.items():
        change = past.ledger[name].card.change
        lines.append(f"{name} {change.kind} {change.target} · {past.started.context} · {state}")
        lines += [f"   {line}" for line in plain(detail).splitlines()]
    return "".join(f"{line}\n" for line in lines)


def _nothing(past: "Past", asked: "Sequence[str]") -> str:
    """Why there is nothing to undo."""
    states = ", ".join(f"{name} is {past.ledger[name].state}" for name in asked)
    return f"nothing to undo: {states or 'no change of this run stands'}\n"
