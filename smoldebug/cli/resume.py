"""`smoldebug runs approve`, `runs resume`: a run that waits for a yes, or was cut off, goes on."""

from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import BreakGlass, Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoldebug.events import Stamped
    from smoldebug.past import Past

APPROVE_EXAMPLES = """\
Examples:

  smoldebug runs approve last C1                              # shows its card, with the hash

  smoldebug runs approve last C1 --hash 1f0c9a66b3d24e7f      # says yes to exactly that

  smoldebug runs resume last                                  # then carries it out
"""

RESUME_EXAMPLES = """\
Examples:

  smoldebug runs resume last

  smoldebug runs resume 7f3a -o json --report markdown=report.md

Exit status: as of `smoldebug triage`.
"""


def approve(
    run: Annotated[str, typer.Argument(help="Id of the run, its beginning, or `last`.")],
    change: Annotated[str, typer.Argument(help="The change: C1.")],
    hash_: Annotated[
        str | None,
        typer.Option("--hash", help="The hash on its card: of exactly what is approved."),
    ] = None,
) -> int:
    """Say yes to a change that a run waits for. `runs resume` then carries it out.

    Without --hash its card is shown, and nothing is approved.

    The yes is for the bytes of that hash on that cluster: if what is to be changed has moved since,
    it is shown again and must be approved again.
    """
    from contextlib import closing

    from smoldebug import journal
    from smoldebug.cli.changing import who
    from smoldebug.cli.takeup import idle
    from smoldebug.clock import SystemClock
    from smoldebug.errors import ChangeRefused, UsageError
    from smoldebug.events import ChangeDecided, Continued, Stamp
    from smoldebug.past import past
    from smoldebug.records import Answer, Decision
    from smoldebug.status import ExitStatus

    folder = journal.find(run)
    events = idle(folder)
    before = past(events)
    goes_on(before)
    entry = before.ledger.get(change)
    if entry is None or entry.state != "waiting":
        waiting = [name for name, item in before.ledger.items() if item.state == "waiting"]
        known = ", ".join(waiting) or "none"
        raise UsageError(f"{change} does not wait for a yes; these do: {known}")
    if hash_ is None:
        _show_card(events, change)
        typer.echo(f"smoldebug runs approve {before.run} {change} --hash {entry.card.digest}")
        return ExitStatus.NEEDS_APPROVAL
    if hash_ != entry.card.digest:
        raise ChangeRefused(
            f"this yes is for other bytes: {change} has the hash {entry.card.digest}",
            hint=f"`smoldebug runs approve {before.run} {change}` shows what it would do",
        )
    me, lifted = who(), entry.decision.lifted if entry.decision else ""
    decision = Decision(Answer.YES, "operator", "runs approve", me.user, lifted)
    stamp = Stamp(before.run, SystemClock(), before.events, before.elapsed)
    with closing(journal.open_journal(folder, before.events)) as kept:
        kept.append(stamp(Continued("approve", me)))
        kept.append(stamp(ChangeDecided(change, entry.card.digest, decision)))
    typer.echo(f"approved: {change} {entry.card.change.kind} {entry.card.change.target}", err=True)
    typer.echo(f"smoldebug runs resume {before.run}")
    return ExitStatus.MET


def _show_card(events: "Sequence[Stamped]", change: str) -> None:
    """As whoever ran it saw it, after how the goal stood then; on stderr."""
    from smoldebug import report
    from smoldebug.events import ChangeProposed, GoalChecked
    from smoldebug.view import OutputFormat, open_view

    goal: list[Stamped] = []
    shown: list[Stamped] = []
    for stamped in events:
        if isinstance(stamped.event, GoalChecked):
            goal = [stamped]
        if isinstance(stamped.event, ChangeProposed) and stamped.event.card.id == change:
            shown = [*goal, stamped]
    view = open_view(OutputFormat.PLAIN, report.document)
    for stamped in shown:
        view.show(stamped)
    view.close()


def goes_on(past: "Past") -> None:
    """Raises UsageError for a run that has ended for good."""
    from smoldebug.errors import UsageError
    from smoldebug.status import ExitStatus

    again = (ExitStatus.NEEDS_APPROVAL, ExitStatus.INTERRUPTED, ExitStatus.UNREACHABLE)
    if past.ended is not None and past.ended.status not in again:
        raise UsageError(
            f"run {past.run} has ended: {past.ended.reason}",
            hint="`smoldebug undo` takes back what it changed; a new run looks again",
        )


def resume(
    run: Annotated[str, typer.Argument(help="Id of the run, its beginning, or `last`.")],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Answer approvals with yes; skips no limit.")
    ] = False,
    break_glass: BreakGlass = "",
    output: Output = None,
    report: Annotated[
        list[str] | None, typer.Option(help="Also write FORMAT=PATH: markdown or json.")
    ] = None,
) -> int:
    """Go on with a run that was killed, interrupted, or waits for an approval.

    What a killed process left open is settled first, by looking at the cluster; nothing is done
    twice.
    """
    from dataclasses import replace

    from smoldebug import journal
    from smoldebug.cli.drive import drive, report_paths
    from smoldebug.cli.kept import kept
    from smoldebug.cli.takeup import idle
    from smoldebug.past import past

    events = idle(journal.find(run))
    before = past(events)
    goes_on(before)
    found = kept(before.started)
    options = replace(found.options, yes=yes, break_glass=break_glass)
    return drive(found.plan, options, output, report_paths(report or ()), events)
