"""`smoldebug runs verify`, `runs show --show-sent`: who did what, and what left this machine."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import ListFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoldebug.events import Stamped
    from smoldebug.records import Json

VERIFY_EXAMPLES = """\
Examples:

  smoldebug runs verify last

  smoldebug runs verify 7f3a -o json       # keep `head` elsewhere: it pins every byte before it

Exit status: 0 whole, 1 somebody edited it.
"""


def verify(
    run: Annotated[str, typer.Argument(help="Id of the run, its beginning, or `last`.")],
    output: Annotated[ListFormat, typer.Option("--output", "-o")] = ListFormat.TABLE,
) -> int:
    """Check that a run's journal is as it was written, and say who approved and changed what."""
    from smoldebug import journal
    from smoldebug.errors import UsageError
    from smoldebug.status import ExitStatus
    from smoldebug.view.jsonl import dumps

    folder = journal.find(run)
    path = folder / "journal.jsonl"
    try:
        events, broken = journal.read(path), ""
    except UsageError as error:
        events, broken = [], str(error)
    found = {
        "run": folder.name,
        "whole": not broken,
        "broken": broken,
        "events": len(events),
        "head": "" if broken else journal.head(path),
        "by": [] if broken else by_whom(events),
    }
    if output is ListFormat.JSON:
        typer.echo(dumps(found, indent=2))
    else:
        _write(broken or _words(found))
    return ExitStatus.NOT_MET if broken else ExitStatus.MET


def by_whom(events: "Sequence[Stamped]") -> "list[dict[str, Json]]":
    """Everything that somebody started, decided, sent or took back, in order."""
    from smoldebug import events as e

    found: list[dict[str, Json]] = []
    acting = ""
    for stamped in events:
        event = stamped.event
        if isinstance(event, e.RunStarted | e.Continued):
            acting = str(event.who or "")
            what = (
                f"{event.command} on {event.context}"
                if isinstance(event, e.RunStarted)
                else (event.command)
            )
        elif isinstance(event, e.ChangeDecided):
            what = f"{event.card} {event.decision} · hash {event.digest}"
        elif isinstance(event, e.ChangeIntended):
            what = f"{event.card.id} sent: {event.card.change.kind} {event.card.change.target}"
        elif isinstance(event, e.UndoIntended):
            what = f"{event.card} taking back"
        elif isinstance(event, e.ChangeSettled):
            what = f"{event.card} {event.state}"
        else:
            continue
        found.append({"at": stamped.at.isoformat(timespec="seconds"), "who": acting, "what": what})
    return found


def sent(events: "Sequence[Stamped]", machine: bool) -> None:
    """Print every message that left this machine for a model, as it left; `machine` as JSON."""
    import msgspec

    from smoldebug.events import ModelAsked
    from smoldebug.view.jsonl import dumps

    asked = [(each.at, each.event) for each in events if isinstance(each.event, ModelAsked)]
    if machine:
        documents = [
            {"at": at.isoformat(timespec="seconds"), **msgspec.to_builtins(event)}
            for at, event in asked
        ]
        typer.echo(dumps(documents, indent=2))
        return
    if not asked:
        typer.echo("no model was asked: nothing left this machine for one", err=True)
    for at, event in asked:
        _write(f"--- turn {event.turn} · {at:%H:%M:%S} UTC · to {event.model}")
        for message in event.messages:
            _write(f"[{message['role']}]\n{message['text']}\n")


def _words(found: "dict[str, Json]") -> str:
    lines = [f"{item['at']}  {item['who']}  {item['what']}" for item in found["by"]]
    lines.append(f"whole: {found['events']} events, head {found['head']}")
    return "\n".join(lines)


def _write(text: str) -> None:
    from smoldebug.untrusted import inert, plain
    from smoldebug.view.stream import encodable

    encodable(sys.stdout).write(inert(plain(text)) + "\n")
