"""A playbook over a recorded world: what would have become of it there, as far as that is known.

The models say what they said then. Where the run goes another way than the recording, so far that
nobody can tell what the world would have been, it ends there, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from smoldebug.agent import Signals
from smoldebug.change import CHANGED
from smoldebug.errors import UsageError
from smoldebug.events import (
    AnyEvent,
    Continued,
    RunEnded,
    RunStarted,
    Stamped,
    ToolAnswered,
    TurnStarted,
)
from smoldebug.past import past
from smoldebug.playbook.models import Goal, RunPlan
from smoldebug.replay.again import Now, by_the_loop, crew_of
from smoldebug.replay.recorded import UNTIL
from smoldebug.replay.script import NotRecordedError, Script
from smoldebug.run import run
from smoldebug.status import ExitStatus

AGAIN = "record it again"


class Unmade(NotRecordedError):
    """A change of the recording is not made: what was seen after it is no longer what would be."""


@dataclass
class Rehearsed:
    """`stopped` says why nobody can tell how it would have gone on, "" where it has ended."""

    events: list[Stamped] = field(default_factory=list)
    stopped: str = ""

    @property
    def ended(self) -> RunEnded | None:
        last = self.events[-1].event if self.events else None
        return last if isinstance(last, RunEnded) else None


def rehearse(events: Sequence[Stamped], now: Now, measured: Goal) -> Rehearsed:
    """`measured` is the goal of the recording. Raises UsageError as `require_testable`."""
    require_testable(events, now.plan)
    script, started = Script(events), _begun(events, now.plan)
    signals, found = Signals(), Rehearsed()
    crew = crew_of(script, started, now, signals, None, measured)
    stream = run(now.plan, crew, started)
    try:
        for stamped in stream:
            found.events.append(stamped)
            _follow(script, stamped.event)
    except NotRecordedError as error:
        found.stopped = str(error) if isinstance(error, Unmade) else f"{error}: {AGAIN}"
    return found


def until_undone(events: Sequence[Stamped]) -> Sequence[Stamped]:
    """A run without the `undo` that took back later what it had changed: in practice one does."""
    for at, stamped in enumerate(events):
        if isinstance(stamped.event, Continued):
            ended = at > 0 and isinstance(events[at - 1].event, RunEnded)
            return events[:at] if stamped.event.command == "undo" and ended else events
    return events


def require_testable(events: Sequence[Stamped], plan: RunPlan) -> None:
    """Raises UsageError for a recording, or a playbook, that no test can be made of."""
    last = events[-1].event
    ended = last.status if isinstance(last, RunEnded) else None
    again = any(isinstance(each.event, Continued) for each in events)
    if again or ended in (None, ExitStatus.INTERRUPTED):
        raise UsageError(
            "the recorded run did not come to its end by itself, in one go",
            hint="record one that was neither interrupted nor taken up again",
        )
    if not by_the_loop(plan):
        raise UsageError("a playbook with edits, steps or tools.git cannot be tested this way")


def _begun(events: Sequence[Stamped], plan: RunPlan) -> RunStarted:
    limits, first = plan.playbook.limits, past(events).started
    bounds = replace(
        first.limits,
        max_turns=limits.max_steps,
        max_cost=float(limits.cost),
        max_changes=limits.changes,
    )
    return msgspec.structs.replace(first, playbook=plan.playbook.name, limits=bounds)


def _follow(script: Script, event: AnyEvent) -> None:
    """What has happened here has happened in the recording, too. Raises NotRecordedError where it
    has not."""
    if isinstance(event, TurnStarted) and script.take(TurnStarted) is None:
        raise NotRecordedError("it goes on where the recording has ended")
    if isinstance(event, ToolAnswered):
        then = script.take(ToolAnswered, lambda each: each.call == event.call, UNTIL)
        if then is not None and _made(then) and not _made(event):
            raise Unmade(f"{event.tool} was carried out in the recording, not now: {event.text}")


def _made(answered: ToolAnswered) -> bool:
    """Whether a change was, or may have been, carried out."""
    seen = answered.observation
    if seen is None or seen.source != "change" or not isinstance(seen.data, dict):
        return False
    return seen.data.get("state") in CHANGED
