"""The goal of one run, measured and waited for, as a generator of events."""

from collections.abc import Callable, Generator
from dataclasses import replace

from smoldebug.agent import Signals
from smoldebug.clock import Clock
from smoldebug.events import AnyEvent, GoalChecked, Waiting
from smoldebug.goal import Goal
from smoldebug.goal.steady import Steady
from smoldebug.goal.window import Window
from smoldebug.records import CheckResult, Outcome, Verdict

SLICE = 0.1  # seconds: how soon a watched change, or the operator, ends a wait
LEAST = 0.001  # seconds: what is left of a wait may be too small to move a clock
APART = 0.5  # seconds between samples, however much changes


class Watch:
    """`time_left` are the seconds until the run must end; `shown` masks secrets.

    `turn` is that of the run, for its events. `verdict` is the latest one.
    """

    def __init__(
        self,
        goal: Goal,
        clock: Clock,
        signals: Signals,
        shown: Callable[[Verdict], Verdict],
        time_left: Callable[[], float],
    ) -> None:
        self.goal, self.clock, self._signals = goal, clock, signals
        self._shown, self._time_left = shown, time_left
        self.turn = 0
        self.verdict: Verdict | None = None
        self.steady = Steady()

    def of(self, goal: Goal) -> "Watch":
        """Another goal, in the same run."""
        return Watch(goal, self.clock, self._signals, self._shown, self._time_left)

    def measure(self, *, hurry: bool = False) -> Generator[AnyEvent, None, bool]:
        """One sample; `hurry`: only of what has changed or costs nothing. Returns whether the goal
        is met."""
        seen, news = self._sample(hurry=hurry)
        self.verdict = seen
        if news:
            yield GoalChecked(self.turn, seen)
        return seen.outcome is Outcome.MET

    def go_on(self, patience: float) -> Generator[AnyEvent, None, bool]:
        """Measure while the goal may become met: as long as samples hold or are pending, and up to
        `patience` seconds for a change to take effect."""
        until = self.clock.monotonic() + patience
        if patience and not self.stopped():
            yield Waiting("watching the goal", patience)
        while self._hopeful(until) and self._time_left() > 0 and not self.stopped():
            self.clock.sleep(self.pause(), self._signals.stop)
            if (yield from self.measure()):
                return True
        return False

    def until(self, over: Callable[[], bool]) -> Generator[AnyEvent, None, bool]:
        """Measure when it is due, and at once when something watched changes, until the goal is
        met or `over` says so after a sample. Returns whether it is met."""
        hurry = False
        while not (yield from self.measure(hurry=hurry)):
            if over():
                return False
            hurry = self._wait()
        return True

    def hold(self, seconds: float, over: Callable[[], bool]) -> Generator[AnyEvent, None, bool]:
        """The same until samples have been met for so long, whatever window the goal itself has."""
        window, hurry = Window(1, seconds, self.goal.every), False
        while True:
            began = self.clock.monotonic()
            seen, news = self._sample(hurry=hurry)
            progress = window.feed(seen.sample, began, self.clock.monotonic() - began)
            if progress.outcome is Outcome.MET and not self.goal.sure:
                self.goal.anew()
                hurry = False
                continue
            self.verdict = replace(
                seen,
                outcome=progress.outcome,
                streak=progress.streak,
                needed=1,
                held=progress.held,
                hold_for=seconds,
            )
            if news:
                yield GoalChecked(self.turn, self.verdict)
            if progress.outcome is Outcome.MET:
                return True
            if over():
                return False
            hurry = self._wait()

    def broken(self) -> list[CheckResult]:
        """The results of checks that waiting does not mend."""
        results = self.verdict.results if self.verdict else ()
        return [results[place] for place in self.steady.broken()]

    def pause(self) -> float:
        """Seconds until the next sample is due, or until time is up: what is taken back after that
        is watched at the goal's own pace."""
        due, left = self.goal.due_in(), self._time_left()
        return min(due, max(0.05, left)) if left > 0 else due

    def stopped(self) -> bool:
        return self._signals.stop.is_set() or self._signals.cut.is_set()

    def _sample(self, *, hurry: bool) -> tuple[Verdict, bool]:
        """One, and whether it is news."""
        sample = self.goal.check(hurry=True) if hurry else self.goal.check()
        self.steady.add(sample)
        seen, before = self._shown(sample), self.verdict
        return seen, not hurry or before is None or _differs(before, seen)

    def _wait(self) -> bool:
        """Returns whether something changed before a sample was due."""
        began, due = self.clock.monotonic(), self.pause()
        while (waited := self.clock.monotonic() - began) < due and not self.stopped():
            if self.goal.changed.is_set() and waited >= APART:
                return True
            self.clock.sleep(max(LEAST, min(SLICE, due - waited)), self._signals.stop)
        return False

    def _hopeful(self, until: float) -> bool:
        seen = self.verdict
        open_ = seen and (seen.sample is Outcome.MET or any(each.pending for each in seen.results))
        return bool(open_) or self.clock.monotonic() < until


def _differs(before: Verdict, now: Verdict) -> bool:
    """Whether a check stands otherwise: the same words with another number are no news."""
    return (before.outcome, before.sample) != (now.outcome, now.sample) or [
        (each.check, each.service, each.outcome, each.pending) for each in before.results
    ] != [(each.check, each.service, each.outcome, each.pending) for each in now.results]
