"""How a run ends: its exit status, and why in a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass

from smoldebug.change import Outcome as Changed
from smoldebug.events import FirstCard, RunEnded
from smoldebug.notebook import Notebook
from smoldebug.playbook.models import Playbook
from smoldebug.records import Blame, Card, Gap, Outcome, Usage, Verdict
from smoldebug.status import ExitStatus

_NOT_SEEN = (ExitStatus.INCONCLUSIVE, ExitStatus.USAGE, ExitStatus.UNREACHABLE)


@dataclass(frozen=True)
class Ending:
    status: ExitStatus
    reason: str

    @property
    def outcome(self) -> Outcome:
        """Of the goal."""
        if self.status in _NOT_SEEN:
            return Outcome.INCONCLUSIVE
        return Outcome.MET if self.status is ExitStatus.MET else Outcome.NOT_MET

    def event(
        self,
        used: Usage,
        verdict: Verdict | None,
        notebook: Notebook,
        gaps: Iterable[Gap],
        blame: Blame | None = None,
    ) -> RunEnded:
        return RunEnded(
            status=self.status,
            outcome=self.outcome,
            reason=self.reason,
            usage=used,
            verdict=verdict,
            hypotheses=notebook.hypotheses,
            gaps=tuple(gaps),
            question=notebook.question,
            blame=blame,
        )

    def after_undo(self, *, clean: bool) -> "Ending":
        """The same, after all (or not all) that was changed is back."""
        status = ExitStatus.UNDONE if clean else ExitStatus.UNDO_FAILED
        done = "changes undone and verified" if clean else "not everything could be undone"
        return Ending(status, f"{self.reason}; {done}")


MET = Ending(ExitStatus.MET, "the goal is met")
STOPPED = Ending(ExitStatus.INTERRUPTED, "stopped by the operator")


def needs_approval(card: Card) -> Ending:
    what = f"{card.change.kind} {card.change.target}"
    return Ending(ExitStatus.NEEDS_APPROVAL, f"{what} needs approval and nobody can answer")


def not_carried_out(outcome: Changed) -> Ending:
    """Of a change that code proposed and nobody, or the guard, let pass, or that failed."""
    if outcome.state == "pending" and outcome.card:
        return needs_approval(outcome.card)
    return Ending(ExitStatus.NOT_MET, outcome.text)


def out_of_time(playbook: Playbook, elapsed: float) -> Ending | None:
    """`elapsed` are the seconds of the run, waiting for approval excluded."""
    within, wall = playbook.goal.within, playbook.limits.wall
    if wall and elapsed >= wall:
        return Ending(ExitStatus.LIMIT, f"limits.wall reached: {wall:g} s")
    if within and elapsed >= within:
        return Ending(ExitStatus.NOT_MET, f"the goal was not met within {within:g} s")
    return None


def unmet(verdict: Verdict | None, reason: str = "") -> Ending:
    """When nobody is left to try anything else; the checks give the reason where there is none."""
    unsure = verdict is not None and verdict.sample is Outcome.INCONCLUSIVE
    status = ExitStatus.INCONCLUSIVE if unsure else ExitStatus.NOT_MET
    missed = verdict.missed if verdict else []
    says = [f"{services} {each.check}: {each.says}".lstrip() for services, each in missed]
    return Ending(status, reason or "; ".join(says) or "the goal is not met")


def already_met(card: FirstCard | None) -> str:
    """Why nothing was done, and what is red all the same."""
    red = [fact for fact in card.red if fact.severity != "info"] if card else []
    if not red:
        return "the goal already holds: nothing to do, nothing was done"
    more = f" and {len(red) - 1} more" if red[1:] else ""
    return f"the goal already holds, so nothing was done; but this is red: {red[0].text}{more}"
