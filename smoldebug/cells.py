"""A matrix as reports and views see it: per cluster, the events of its run."""

from collections.abc import Sequence
from dataclasses import dataclass

from smoldebug.events import Blamed, PhaseBegan, RunEnded, RunStarted, Skipped, Stamped
from smoldebug.records import Blame
from smoldebug.status import ExitStatus, worst


@dataclass(frozen=True, slots=True)
class Cell:
    """One cluster of a matrix. `events` is the journal of its run; a cluster that was not begun
    has a single event, Skipped."""

    cluster: str  # context name
    events: Sequence[Stamped]

    @property
    def run(self) -> str:
        return next((each.run for each in self.events if isinstance(each.event, RunStarted)), "")

    @property
    def skipped(self) -> str:
        """Why it was not begun, "" if it was."""
        found = (each.event for each in self.events)
        return next((event.reason for event in found if isinstance(event, Skipped)), "")

    @property
    def ended(self) -> RunEnded | None:
        """The last one: a cluster that was upgraded may be rolled back for another one's sake."""
        found = (each.event for each in reversed(self.events))
        return next((event for event in found if isinstance(event, RunEnded)), None)

    @property
    def blame(self) -> Blame | None:
        found = (each.event for each in reversed(self.events))
        return next((event.blame for event in found if isinstance(event, Blamed)), None)

    @property
    def phase(self) -> str:
        """Where it is, or was last: baseline, steps, watching, rolling back, explaining."""
        found = (each.event for each in reversed(self.events))
        return next((event.phase for event in found if isinstance(event, PhaseBegan)), "")

    @property
    def status(self) -> ExitStatus | None:
        """None: skipped. One that has begun and not ended counts as interrupted."""
        if self.skipped:
            return None
        return self.ended.status if self.ended else ExitStatus.INTERRUPTED


def status(cells: Sequence[Cell]) -> ExitStatus:
    """The exit status over all of them: the worst. One that could not be begun, for a mistake that
    only shows there, is inconclusive where others ran."""
    found = [each.status for each in cells if each.status is not None]
    if any(each is not ExitStatus.USAGE for each in found):
        found = [ExitStatus.INCONCLUSIVE if each is ExitStatus.USAGE else each for each in found]
    return worst(found or [ExitStatus.MET])
