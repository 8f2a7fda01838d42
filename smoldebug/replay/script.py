"""A recorded part of a run, read in order by everybody who stands in for the world."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from smoldebug.events import (
    AnyEvent,
    Event,
    GoalChecked,
    RunEnded,
    Stamped,
    ToolAnswered,
    TurnStarted,
    UndoBegan,
)
from smoldebug.status import ExitStatus

E = TypeVar("E", bound=Event)
ACTIVITY: tuple[type[Event], ...] = (GoalChecked, TurnStarted, ToolAnswered)
LATE = ("the goal was not met within ", "limits.wall reached: ")  # reasons of an end


class NotRecordedError(Exception):
    """The run wants to see what the recording does not hold. Nothing can go on then, so it is none
    of the errors that a run lives with."""


def anything(event: Any) -> bool:
    return True


class Script:
    """`at` is the place up to which everything has happened; a Clock that stands at the time of
    what happened last. Times are the recorded ones, and waiting takes none."""

    def __init__(self, events: Sequence[Stamped]) -> None:
        self.events, self.at = events, 0
        self._now, self._late = events[0], 0.0

    # --- what happened ------------------------------------------------------------------------

    def peek(
        self,
        kind: type[E],
        wanted: Callable[[E], bool] = anything,
        until: tuple[type[Event], ...] = (),
    ) -> E | None:
        """The next event of that kind, but for those after an event of `until`."""
        found = self._find(kind, wanted, until)
        return None if found is None else found[1]

    def take(
        self,
        kind: type[E],
        wanted: Callable[[E], bool] = anything,
        until: tuple[type[Event], ...] = (),
    ) -> E | None:
        """The same; it has happened then, and all before it."""
        found = self._find(kind, wanted, until)
        if found is None:
            return None
        self.move(found[0] + 1)
        return found[1]

    def move(self, at: int) -> None:
        """Everything before `at` has happened."""
        self.at = at
        if 0 < at <= len(self.events):
            self._now = self.events[at - 1]

    def look_ahead(self) -> None:
        """The clock moves on to the next event: what it comes of was over by then. Where the run
        was late it is late again, though some milliseconds of it are not in its journal."""
        if self.at < len(self.events):
            self._now = self.events[self.at]
        ended = self.peek(UndoBegan, until=ACTIVITY) or self.peek(RunEnded, until=ACTIVITY)
        self._late = 1.0 if ended is not None and ended.reason.startswith(LATE) else 0.0

    @property
    def following(self) -> AnyEvent | None:
        return self.events[self.at].event if self.at < len(self.events) else None

    @property
    def ended(self) -> RunEnded | None:
        """How this part ended, None where its process was killed."""
        last = self.events[-1].event
        return last if isinstance(last, RunEnded) else None

    @property
    def stopped(self) -> bool:
        """Whether nothing but the end follows, and the operator had asked for it."""
        ended = self.ended
        if ended is None or ended.status is not ExitStatus.INTERRUPTED:
            return False
        return not any(isinstance(each.event, ACTIVITY) for each in self.events[self.at :])

    def _find(
        self, kind: type[E], wanted: Callable[[E], bool], until: tuple[type[Event], ...]
    ) -> tuple[int, E] | None:
        for place in range(self.at, len(self.events)):
            event = self.events[place].event
            if isinstance(event, kind) and wanted(event):
                return place, event
            if isinstance(event, until):
                return None
        return None

    # --- the clock ----------------------------------------------------------------------------

    def monotonic(self) -> float:
        return self._now.elapsed + self._late

    def now(self) -> datetime:
        return self._now.at

    def sleep(self, seconds: float, cancel: Any = None) -> None:
        pass
