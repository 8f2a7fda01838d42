"""When single samples add up to "met": so many in a row, for so long, and somebody looked.

Three rules, each for a way to be wrong at three in the morning:

- Samples closer together than `every` count once. Asking faster does not make three in a row.
- A sample that is not met, or that could not be taken, starts both counts anew.
- A pause longer than 3 x `every` starts both counts anew, too: nobody was looking meanwhile, so
  nobody can say that it held. The time a slow sample itself takes is no pause.
"""

from dataclasses import dataclass

from smoldebug.errors import UsageError
from smoldebug.records import CheckResult, Outcome, Verdict

TOLERANCE = 0.1  # of `every`: a timer that fires a little early still counts
PAUSE = 3  # times `every`


@dataclass(frozen=True, slots=True)
class Progress:
    """`outcome` is MET once the window is complete; before that a met sample is NOT_MET yet."""

    outcome: Outcome
    streak: int
    held: float  # seconds


class Window:
    """Fed with samples in order of time; seconds everywhere. Keeps no clock of its own."""

    def __init__(self, consecutive: int, for_: float, every: float) -> None:
        """Raises UsageError when `every` is not positive."""
        if every <= 0:
            raise UsageError(f"goal.every must be longer than zero: {every:g}s")
        self.consecutive, self.for_, self.every = consecutive, for_, every
        self.restart()

    def restart(self) -> None:
        """Forget every sample, e.g. because a change was made."""
        self.streak, self.began, self.ended = 0, 0.0, 0.0
        self.counted: float | None = None  # when the last sample that counts was begun

    def feed(self, outcome: Outcome, at: float, took: float = 0.0) -> Progress:
        """A sample begun `at` (monotonic seconds) that took so many seconds."""
        early = self.counted is not None and at - self.counted < self.every * (1 - TOLERANCE)
        paused = at - self.ended > PAUSE * self.every
        self.ended = at + took
        if outcome is not Outcome.MET:
            self.streak, self.counted = 0, at
            return Progress(outcome, 0, 0.0)
        if self.streak == 0 or paused:
            self.streak, self.began, self.counted = 1, at, at
        elif not early:
            self.streak, self.counted = self.streak + 1, at
        held = at - self.began
        complete = self.streak >= self.consecutive and held >= self.for_ - 1e-6
        return Progress(Outcome.MET if complete else Outcome.NOT_MET, self.streak, held)

    def verdict(
        self, outcome: Outcome, results: tuple[CheckResult, ...], at: float, took: float = 0.0
    ) -> Verdict:
        """What a sample makes of the goal, with the checks it consists of; fed as above."""
        progress = self.feed(outcome, at, took)
        return Verdict(
            progress.outcome,
            outcome,
            results,
            streak=progress.streak,
            needed=self.consecutive,
            held=progress.held,
            hold_for=self.for_,
        )

    def due_in(self, now: float) -> float:
        """Seconds until the next sample counts; 0 when one is due."""
        return 0.0 if self.counted is None else max(0.0, self.counted + self.every - now)
