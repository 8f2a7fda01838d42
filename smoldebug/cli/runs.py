"""`smoldebug runs`: what earlier runs found, changed and proved, read from their journals."""

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from smoldebug.events import Stamped

COLUMNS = ("run", "began", "playbook", "context", "outcome", "changes", "seconds")

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
"""


class ListFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


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
    """List runs, newest first: id, when, playbook, outcome, changes, seconds."""
    rows = [_row(path) for path in _newest(limit)]
    if output is ListFormat.JSON:
        from smoldebug.view.jsonl import dumps

        typer.echo(dumps(rows, indent=2))
    elif rows:
        _table(rows)
    else:
        typer.echo("no runs yet; `smoldebug demo` makes one", err=True)


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    run: Annotated[str, typer.Argument(help="Id of the run, its beginning, or `last`.")],
    output: Annotated[
        ShowFormat | None, typer.Option("--output", "-o", help="rich on a terminal, else plain.")
    ] = None,
) -> None:
    """Show the report of a run, also of one that was killed."""
    from smoldebug import journal, report
    from smoldebug.view import OutputFormat, open_view, output_format

    events = journal.read(journal.find(run) / "journal.jsonl")
    if output is ShowFormat.MARKDOWN:
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


def _write(text: str) -> None:
    """A document as it is, in any encoding; on a CI system's log nothing in it is a command."""
    from smoldebug.view.plain import inert
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
    from smoldebug.journal import read

    try:
        return _summary(path.parent.name, read(path))
    except UsageError as error:
        return {"run": path.parent.name, "outcome": f"unreadable: {error}"}


def _summary(run: str, events: "list[Stamped]") -> dict[str, Any]:
    from smoldebug.report.story import story

    told = story(events)
    return {
        "run": run,
        "began": told.began.isoformat(timespec="seconds") if told.began else "",
        "playbook": told.started.playbook if told.started else "",
        "context": told.started.context if told.started else "",
        "outcome": told.outcome if told.ended else "interrupted",
        "exit_code": int(told.status),
        "changes": sum(change.touched for change in told.changes.values()),
        "seconds": told.seconds,
    }


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from smoldebug.untrusted import one_line
    from smoldebug.view.stream import encodable

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in COLUMNS:
        right = name in ("changes", "seconds")
        table.add_column(name.upper(), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(str(row.get(name, "")))) for name in COLUMNS))
    Console(file=encodable(sys.stdout), markup=False, highlight=False, emoji=False).print(table)
