"""A matrix as reports and views see it: per cluster, the events of its run."""

from collections.abc import Sequence
from dataclasses import dataclass

from smoldebug.events import (
    Blamed,
    ChangeProposed,
    Continued,
    GoalChecked,
    PhaseBegan,
    RunEnded,
    RunStarted,
    Skipped,
    Stamped,
    UndoBegan,
)
from smoldebug.ledger import ledger
from smoldebug.records import Blame, ChangeKind, Verdict
from smoldebug.status import ExitStatus, worst

WORDS = {
    ExitStatus.MET: "met",
    ExitStatus.NOT_MET: "not met",
    ExitStatus.USAGE: "not run",
    ExitStatus.INCONCLUSIVE: "inconclusive",
    ExitStatus.UNDONE: "rolled back",
    ExitStatus.UNDO_FAILED: "rollback failed",
    ExitStatus.LIMIT: "stopped by a limit",
    ExitStatus.NEEDS_APPROVAL: "needs approval",
    ExitStatus.UNREACHABLE: "unreachable",
    ExitStatus.INTERRUPTED: "interrupted",
}
UNTOUCHED = "nothing was changed"


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
    def explanation(self) -> str:
        """What a model said of it, which nobody checked; "" where none was asked."""
        found = (each.event for each in reversed(self.events))
        said = (event.explanation for event in found if isinstance(event, Blamed))
        return next(filter(None, said), "")

    @property
    def offender(self) -> str:
        """The service that broke the goal, "" where none did, or no single one."""
        return self.blame.service if self.blame else ""

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

    @property
    def counts(self) -> ExitStatus | None:
        """What it makes of the matrix; None: another cluster decides."""
        found = (each.event for each in self.events)
        skipped = next((event for event in found if isinstance(event, Skipped)), None)
        return skipped.status if skipped else self.status

    @property
    def verdict(self) -> str:
        """How it ended, in the words of every view and report."""
        return WORDS[self.status] if self.status is not None else "skipped"

    @property
    def reason(self) -> str:
        """Why it ended so, in a sentence."""
        return self.skipped or (self.ended.reason if self.ended else "its journal has no end")

    @property
    def playbook(self) -> str:
        found = (each.event for each in self.events)
        return next((event.playbook for event in found if isinstance(event, RunStarted)), "")

    @property
    def charts(self) -> tuple[str, str]:
        """That of the first release that is upgraded, before and after; "" where none is."""
        cards = (each.event.card for each in self.events if isinstance(each.event, ChangeProposed))
        upgrades = (card.change for card in cards if card.change.kind is ChangeKind.HELM_UPGRADE)
        if (change := next(upgrades, None)) is None:
            return "", ""
        return str(change.before.get("/chart") or ""), str(change.after.get("/chart") or "")

    @property
    def release(self) -> str:
        """`platform-2.4.0 → 2.5.0`, "" where no release is upgraded."""
        old, new = self.charts
        chart = old.rpartition("-")[0]
        return " → ".join(filter(None, (old, new.removeprefix(f"{chart}-") if chart else new)))

    @property
    def now(self) -> str:
        """What the cluster is left with: `runs platform-2.5.0`, `back at platform-2.4.0`; "" where
        its journal does not tell, or it was not begun."""
        entries = [entry for entry in ledger(self.events).values() if entry.touched]
        states, (old, new) = {entry.state for entry in entries}, self.charts
        if self.status is None or self.ended is None:
            return ""
        if not states:
            return UNTOUCHED
        if states == {"undone"}:
            return f"back at {old}" if old else "as before"
        if states == {"verified"} and self.undoing is None:
            return f"runs {new}" if new else "changed"
        return ""

    @property
    def idle(self) -> bool:
        """It holds, but nothing was tried: all of it was there before."""
        return self.status is ExitStatus.MET and self.now == UNTOUCHED

    @property
    def seconds(self) -> float:
        return self.events[-1].elapsed if self.events else 0.0

    @property
    def undoing(self) -> Stamped | None:
        """When it began to be taken back."""
        return next((each for each in self.events if isinstance(each.event, UndoBegan)), None)

    @property
    def decisive(self) -> Verdict | None:
        """The goal as it was measured last before anything was taken back."""
        found = None
        for each in self.events:
            if isinstance(each.event, UndoBegan):
                break
            if isinstance(each.event, GoalChecked):
                found = each.event.verdict
        return found

    @property
    def gave_way(self) -> bool:
        """It held, and was taken back for another cluster's sake."""
        ends = [each.event for each in self.events if isinstance(each.event, RunEnded | Continued)]
        return any(
            isinstance(event, RunEnded) and event.status is ExitStatus.MET for event in ends[:-1]
        )

    @property
    def rollback(self) -> str:
        """verified, failed or unfinished; "" where nothing was taken back."""
        if self.undoing is None:
            return ""
        if self.status is ExitStatus.UNDO_FAILED:
            return "failed"
        standing = any(entry.stands for entry in ledger(self.events).values())
        return "unfinished" if standing else "verified"


def status(cells: Sequence[Cell]) -> ExitStatus:
    """The exit status over all of them: the worst. One that could not be begun, for a mistake that
    only shows there, is inconclusive where others ran."""
    found = [each.counts for each in cells if each.counts is not None]
    if any(each is not ExitStatus.USAGE for each in found):
        found = [ExitStatus.INCONCLUSIVE if each is ExitStatus.USAGE else each for each in found]
    return worst(found or [ExitStatus.MET])


def speaking(cells: Sequence[Cell]) -> Cell | None:
    """The one that the exit status over all of them is about; None where every one was met."""
    found = [each for each in cells if each.counts not in (None, ExitStatus.MET)]
    found = [each for each in found if not each.gave_way] or found
    last = worst(each.counts for each in found if each.counts is not None) if found else None
    return next((each for each in found if each.counts is last), None)
