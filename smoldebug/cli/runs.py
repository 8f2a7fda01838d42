"""`smoldebug runs`: what earlier runs found, changed and proved, read from their journals."""

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smoldebug.cli.audit import VERIFY_EXAMPLES, sent, verify
from smoldebug.cli.options import ListFormat

if TYPE_CHECKING:
    from smoldebug.events import Stamped

COLUMNS = ("RUN", "BEGAN (UTC)", "PLAYBOOK", "CONTEXT", "OUTCOME", "CHANGES", "TOOK", "COST")
UNWRAPPED = ("RUN", "BEGAN (UTC)", "CHANGES", "TOOK", "COST")
PIPE = 1000  # columns: whoever reads a pipe wants whole lines

app = typer.Typer(help="List and show earlier runs.", no_args_is_help=True, rich_markup_mode=None)

LIST_EXAMPLES = """\
Examples:

  smoldebug runs list

  smoldebug runs list --limit 100 --output json
"""

SHOW_EXAMPLES = """\
Examples:

  smoldebug runs show last

  smoldebug runs show 7f3a                        # the beginning of an id is enough

  smoldebug runs show last --output handover      # at most 15 lines, for chat

  smoldebug runs show last --output markdown > report.md

  smoldebug runs show last --show-sent            # what a model was told, word for word
"""


class ShowFormat(StrEnum):
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    MARKDOWN = "markdown"
    HANDOVER = "handover"


@app.command("list", epilog=LIST_EXAMPLES)
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="Most runs to list, newest first.")] = 20,
    output: Annotated[ListFormat, typer.Option("--output", "-o")] = ListFormat.TABLE,
) -> None:
    """List runs, newest first: id, when, playbook, outcome, changes, how long they took."""
    rows = [_row(path) for path in _newest(limit)]
    if output is ListFormat.JSON:
        from smoldebug.view.jsonl import dumps

        typer.echo(dumps(rows, indent=2))
    elif rows:
        _table(rows)
    else:
        typer.echo("no runs yet; `smoldebug demo` makes one", err=True)


app.command("verify", epilog=VERIFY_EXAMPLES)(verify)


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    run: Annotated[str, typer.Argument(help="Id of the run, its beginning, or `last`.")],
    output: Annotated[
        ShowFormat | None, typer.Option("--output", "-o", help="rich on a terminal, else plain.")
    ] = None,
    show_sent: Annotated[
        bool, typer.Option("--show-sent", help="Print what left this machine for a model instead.")
    ] = False,
) -> int:
    """Show the report of a run, also of one that was killed.

    Of a journal that was edited it tells what the lines before the edit say, and exits with 1.
    """
    from smoldebug import journal, report
    from smoldebug.status import ExitStatus
    from smoldebug.view import OutputFormat, open_view, output_format

    path = journal.find(run) / "journal.jsonl"
    events, broken = journal.intact(path)
    if broken:
        _warn(events, broken)
    if journal.is_open(path):
        typer.echo("this run is still going on; so far:", err=True)
    if show_sent:
        sent(events, machine=output is ShowFormat.JSON)
    elif output is ShowFormat.MARKDOWN:
        _write(report.markdown(events))
    elif output is ShowFormat.HANDOVER:
        _write(report.handover(events))
    else:
        view = open_view(output_format(OutputFormat(output) if output else None), report.document)
        if output is ShowFormat.JSON:
            for stamped in events:
                view.show(stamped)
        view.closing(report.sections(events))
        view.close()
    return ExitStatus.NOT_MET if broken else ExitStatus.MET


def _warn(events: "list[Stamped]", broken: str) -> None:
    """Of a journal that was edited only the lines before count, and its report says so. Raises
    UsageError where there are none."""
    from dataclasses import replace

    from smoldebug.errors import UsageError
    from smoldebug.events import Note

    if not events:
        raise UsageError(broken)
    typer.echo(
        f"WARNING: {broken}: somebody edited it. What follows is what the {len(events)} lines "
        "before that say; nothing acts on it any more",
        err=True,
    )
    events.append(replace(events[-1], event=Note(f"edited: {broken}", "edited")))


def _write(text: str) -> None:
    """A document as it is, in any encoding; on a CI system's log nothing in it is a command."""
    from smoldebug.untrusted import inert
    from smoldebug.view.stream import encodable

    encodable(sys.stdout).write(inert(text))


def _newest(limit: int) -> Iterator[Path]:
    from smoldebug.journal import runs_folder

    journals = list(runs_folder().glob("*/journal.jsonl"))
    journals.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    yield from journals[:limit]


def _row(path: Path) -> dict[str, Any]:
    """One run in short; a journal that cannot be read is listed as such."""
    from smoldebug.errors import UsageError
    from smoldebug.journal import is_open, read

    try:
        running = is_open(path)  # before reading: one that ends in between has its end then
        return _summary(path.parent.name, read(path), running)
    except UsageError as error:
        return {"run": path.parent.name, "outcome": f"unreadable: {error}"}


def _summary(run: str, events: "list[Stamped]", running: bool) -> dict[str, Any]:
    from smoldebug.report.story import story
    from smoldebug.status import ExitStatus

    told = story(events)
    said = {
        ExitStatus.USAGE: "not run",
        ExitStatus.UNDONE: "not met, undone",
        ExitStatus.UNDO_FAILED: "not met, UNDO FAILED",
        ExitStatus.NEEDS_APPROVAL: "needs approval",
        ExitStatus.UNREACHABLE: "unreachable",
        ExitStatus.INTERRUPTED: "interrupted",
    }
    outcome = said.get(told.status, told.outcome)
    if not told.ended:
        outcome = "running" if running else "killed"
    stands = any(change.stands for change in told.applied)
    undone = [card for card, later in told.later.items() if later.state == "undone"]
    if undone:
        outcome += f", {'partly ' * stands}undone later"
    elif outcome in ("interrupted", "killed") and told.applied:
        outcome += ", changes stand" if stands else ", undone"
    return {
        "run": run,
        "matrix": told.started.matrix if told.started else "",
        "began": told.began.isoformat(timespec="seconds") if told.began else "",
        "playbook": told.started.playbook if told.started else "",
        "context": told.started.context if told.started else "",
        "outcome": outcome,
        "exit_code": int(told.status) if told.ended else None,
        "changes": len(told.applied),
        "cost": told.usage.cost,
        "undone_later": undone,
        "seconds": told.seconds,
    }


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from smoldebug.untrusted import one_line
    from smoldebug.view.stream import encodable

    out = encodable(sys.stdout)
    width = None if sys.stdout.isatty() else PIPE
    console = Console(file=out, width=width, markup=False, highlight=False, emoji=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    costly = any(row.get("cost") for row in rows)  # else the column is left out
    for name in COLUMNS[: None if costly else -1]:
        right = name in ("CHANGES", "TOOK", "COST")
        table.add_column(
            name,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=name in UNWRAPPED,
        )
    for row in rows:
        cells = _cells(row)[: None if costly else -1]
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    with console.capture() as drawn:
        console.print(table)
    out.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))


def _cells(row: dict[str, Any]) -> list[str]:
    """As in COLUMNS; of an unreadable run only its id and why are known."""
    from smoldebug.clock import duration
    from smoldebug.usage import dollars

    began = row.get("began", "")
    return [
        row["run"],
        began[5:19].replace("T", " "),
        row.get("playbook", ""),
        row.get("context", ""),
        row["outcome"],
        str(row.get("changes", "")),
        duration(row["seconds"]) if "seconds" in row else "",
        dollars(row["cost"]) if row.get("cost") else "",
    ]
