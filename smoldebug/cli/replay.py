"""`smoldebug runs replay`: a recorded run once more, offline."""

from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import Output

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from smoldebug.clock import Clock
    from smoldebug.events import RunEnded, Stamped
    from smoldebug.replay.again import Now

EXAMPLES = """\
Examples:

  smoldebug runs replay last

  smoldebug runs replay 7f3a --speed 10          # ten times as fast as it was

  smoldebug runs replay tests/auth-is-too-small/run/journal.jsonl -o jsonl

Exit status: that of the recorded run, or 1 where the replay differs from it.
"""


def replay(
    run: Annotated[
        str, typer.Argument(help="Id of the run, its beginning, `last`, or a path to a journal.")
    ],
    output: Output = None,
    speed: Annotated[
        float, typer.Option(min=0, help="1 is as fast as it was, 10 ten times as fast; 0: at once.")
    ] = 0.0,
) -> int:
    """Run the loop of a recorded run again, offline, and say whether it goes the same way.

    Models, tools, measurements, approvals and changes answer as they were recorded; everything
    that judges them is the code of now. Nothing is contacted, and nothing is written.

    Runs with edits, pull requests or steps are shown as they were recorded: more of the world
    than their journal holds would have to be played.
    """
    from smoldebug import journal, report
    from smoldebug.clock import SystemClock
    from smoldebug.errors import UsageError
    from smoldebug.model.replay import path
    from smoldebug.past import past
    from smoldebug.replay.again import again, by_the_loop
    from smoldebug.status import ExitStatus
    from smoldebug.view import open_view, output_format

    where = path(run)
    if journal.is_open(where):
        raise UsageError(f"this run is still going on: {where.parent.name}")
    events = journal.read(where)
    now = now_of(events)
    plays = by_the_loop(now.plan)
    view = open_view(output_format(output), report.document)
    seen: list[Stamped] = []
    differences: list[str] = []
    try:
        for stamped in _noted(again(events, now), differences) if plays else events:
            _pause(stamped, seen, speed, SystemClock())
            seen.append(stamped)
            view.show(stamped)
        if not any(differences):
            view.closing(report.sections(seen))
    finally:
        view.close()
    ended, difference = past(events).ended, "".join(differences)
    typer.echo(_told(events, ended, difference, plays=plays), err=True)
    if difference:
        return ExitStatus.NOT_MET
    return ended.status if ended else ExitStatus.INTERRUPTED


def _noted(stream: "Generator[Stamped, None, str]", returned: list[str]) -> "Iterator[Stamped]":
    returned.append((yield from stream))


def now_of(events: "Sequence[Stamped]") -> "Now":
    """What the run of a journal is made of now. Raises UsageError for one of another version, or
    with tools of the user's own that are gone."""
    from smoldebug.cli.kept import kept
    from smoldebug.cli.recorded import tools_of
    from smoldebug.past import past
    from smoldebug.playbook.policy import load_policies
    from smoldebug.replay.again import Now, by_the_loop

    started = past(events).started
    found = kept(started)
    if not by_the_loop(found.plan):
        return Now(found.plan, ())
    policies = tuple(each for each in load_policies() if each.describe in started.policies)
    return Now(found.plan, tools_of(found.plan, found.options), policies)


def _pause(stamped: "Stamped", seen: "Sequence[Stamped]", speed: float, clock: "Clock") -> None:
    if speed and seen:
        clock.sleep(max(0.0, stamped.elapsed - seen[-1].elapsed) / speed)


def _told(
    events: "Sequence[Stamped]", ended: "RunEnded | None", difference: str, *, plays: bool
) -> str:
    from smoldebug.untrusted import inert, one_line

    if difference:
        return inert(one_line(difference, 1000))
    if not plays:
        return (
            f"shown: {len(events)} recorded events; the loop was not run again, since the playbook "
            "has edits, steps or tools.git"
        )
    last = "same verdict" if ended else "the recording ends here: the process was killed"
    return f"replayed: {len(events)} events, {last}"
