"""How a run ends: its exit status, and why in a sentence."""

from dataclasses import dataclass

from smoldebug.events import FirstCard
from smoldebug.records import Outcome
from smoldebug.status import ExitStatus


@dataclass(frozen=True)
class Ending:
    status: ExitStatus
    reason: str

    @property
    def outcome(self) -> Outcome:
        """Of the goal."""
        if self.status is ExitStatus.INCONCLUSIVE:
            return Outcome.INCONCLUSIVE
        return Outcome.MET if self.status is ExitStatus.MET else Outcome.NOT_MET

    def after_undo(self, *, clean: bool) -> "Ending":
        """The same, after all (or not all) that was changed is back."""
        status = ExitStatus.UNDONE if clean else ExitStatus.UNDO_FAILED
        done = "changes undone and verified" if clean else "not everything could be undone"
        return Ending(status, f"{self.reason}; {done}")


def already_met(card: FirstCard | None) -> str:
    """Why nothing was done, and what is red all the same."""
    red = [fact for fact in card.red if fact.severity != "info"] if card else []
    if not red:
        return "the goal already holds: nothing to do, nothing was done"
    more = f" and {len(red) - 1} more" if red[1:] else ""
    return f"the goal already holds, so nothing was done; but this is red: {red[0].text}{more}"
