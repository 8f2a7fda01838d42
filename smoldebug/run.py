"""THE loop of one run: goal, agent turn, goal, ... as a generator of stamped events.

    goal measured; first card: what changed, what is red (no model)
    already met? -> say so, exit 0
    edits of the playbook, made by code -> goal watched
    agent turn -> goal watched -> ... until met | limits | escalated | stopped
                  a check that held is worse for a change, once that had its time to take
                  effect -> that change is taken back, and the run goes on
    not met -> undo what was changed -> goal again -> report

Only the goal ends a run as met. The loop does no terminal I/O, may be closed after any event, and
journals each event before it goes on (so the intent of a change is on disk before it is sent).
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from smoldebug import ending as end
from smoldebug.agent import Agent, TurnEnded
from smoldebug.change import CHANGED
from smoldebug.clock import Clock
from smoldebug.ending import Ending
from smoldebug.errors import LimitReached, SmoldebugError
from smoldebug.events import (
    AnyEvent,
    Continued,
    EvidenceRecorded,
    FirstCard,
    Note,
    RunEnded,
    RunStarted,
    Stamp,
    Stamped,
    UndoBegan,
)
from smoldebug.goal import Goal
from smoldebug.goal.steady import Check
from smoldebug.journal import Writes
from smoldebug.past import Past
from smoldebug.patch import UNCHANGED, Patch
from smoldebug.playbook.models import RunPlan
from smoldebug.playbook.settings import EXPERT
from smoldebug.prompt import first_card_text, goal_text, system_prompt, task_text
from smoldebug.recording import recorded
from smoldebug.records import Evidence, Gap, Observation, Who
from smoldebug.status import ExitStatus
from smoldebug.upgrade import Upgrade
from smoldebug.watching import Watch

Events = Generator[AnyEvent, None, "Ending | None"]


@dataclass(frozen=True)
class Crew:
    """Who does the work of one run; `cli` puts it together."""

    goal: Goal
    agent: Agent
    first_card: Callable[[], FirstCard] | None  # None: the playbook uses no cluster
    journal: Writes
    clock: Clock
    run: str
    patch: Patch | None = None  # the playbook's edits
    upgrade: Upgrade | None = None  # the playbook's steps


# What was changed stays then, and the status as it is: it is met, or somebody goes on later
_AS_IT_IS = (ExitStatus.MET, ExitStatus.INTERRUPTED, ExitStatus.NEEDS_APPROVAL)


def run(
    plan: RunPlan, crew: Crew, first: RunStarted | Continued, past: Past | None = None
) -> Iterator[Stamped]:
    """Yield every event of the run, journaled. Errors of the world end the run, never escape.

    `past` is what an earlier process left of it: the run is taken up where that one stopped.
    """
    seq, elapsed = (past.events, past.elapsed) if past else (0, 0.0)
    events, executor = _Run(plan, crew, first, past).events(), crew.agent.executor
    stamp = Stamp(crew.run, crew.clock, seq, elapsed)
    for stamped in recorded(events, crew.journal, executor, stamp):
        if past:
            past.ledger.add(stamped)  # the agent is told of these changes
        yield stamped


def roll_back(plan: RunPlan, crew: Crew, last: Stamped, who: Who, reason: str) -> Iterator[Stamped]:
    """Take back the steps of a run that ended as met with `last`, for a reason outside of it."""
    again = _Run(plan, crew, Continued("validate", who), None)
    stamp = Stamp(crew.run, crew.clock, last.seq + 1, last.elapsed)
    events = again.taken_back(Ending(ExitStatus.NOT_MET, reason))
    return recorded(events, crew.journal, crew.agent.executor, stamp)


class _Run:
    def __init__(
        self, plan: RunPlan, crew: Crew, first: RunStarted | Continued, past: Past | None
    ) -> None:
        self.plan, self.crew, self.first, self.past = plan, crew, first, past
        self.goal, self.agent, self.clock = crew.goal, crew.agent, crew.clock
        self.began = self.clock.monotonic()
        shown, signals = self.agent.toolset.shown, self.agent.signals
        self.watch = Watch(self.goal, self.clock, signals, shown, self.time_left)
        self.watched = 0  # changes that the goal was watched after
        self.earlier = self.past.ledger.values() if self.past else ()
        self.took_back = any(entry.state == "undone" for entry in self.earlier)
        self.opening: list[Evidence] = []  # what the run saw before anybody was asked
        self.gaps: list[Gap] = []
        self.agent.time_left = self.time_left

    # --- time -------------------------------------------------------------------------------

    def elapsed(self) -> float:
        """Seconds since the run began; waiting for approval does not count."""
        return self.clock.monotonic() - self.began - self.agent.executor.waited

    def time_left(self) -> float:
        """Seconds until the first of `goal.within` and `limits.wall`."""
        bounds = (self.plan.playbook.goal.within, self.plan.playbook.limits.wall)
        return min((bound for bound in bounds if bound), default=float("inf")) - self.elapsed()

    def out_of_time(self) -> Ending | None:
        return end.out_of_time(self.plan.playbook, self.elapsed())

    # --- the run ----------------------------------------------------------------------------

    def events(self) -> Iterator[AnyEvent]:
        yield self.first
        try:
            ending = (yield from self.take_up()) or (yield from self.until_met())
        except LimitReached as error:
            ending = Ending(ExitStatus.LIMIT, str(error))
        except SmoldebugError as error:
            ending = Ending(error.status, f"{error} ({error.hint})" if error.hint else str(error))
        ending = replace(ending, reason=self.agent.toolset.redactor.text(ending.reason))
        undoing = self.agent.executor.applied or (self.past and self.past.undoing)
        if ending.status is not ExitStatus.MET and undoing:
            ending = yield from self.after_failure(ending)
        elif self.took_back and ending.status not in _AS_IT_IS:
            ending = ending.after_undo(clean=True)
        yield self.ended(ending)

    def ended(self, ending: Ending) -> RunEnded:
        used = replace(self.agent.used(), seconds=round(self.elapsed(), 1))
        blame = self.crew.upgrade.blamed if self.crew.upgrade else None
        return ending.event(used, self.watch.verdict, self.agent.notebook, self.gaps, blame)

    def take_up(self) -> Events:
        """Settle what an earlier process left open, and finish an undo that it had begun."""
        if self.past is None:
            return None
        yield from self.agent.executor.settle(self.earlier)
        self.agent.executor.restore(self.earlier)
        self.watched, begun = len(self.agent.executor.applied), self.past.undoing
        return Ending(begun.status, begun.reason) if begun else None

    def until_met(self) -> Generator[AnyEvent, None, Ending]:
        if upgrade := self.crew.upgrade:
            ended = self.past.ended if self.past else None
            approved = ended is not None and ended.status is ExitStatus.NEEDS_APPROVAL
            steps = upgrade.carry_out(self.agent, self.watch, self.out_of_time, approved=approved)
            return (yield from steps)
        met = yield from self.watch.measure()
        card = yield from self.look_first()
        if self.crew.patch is None and (met or (yield from self.watch.go_on(0.0))):
            resumed = bool(self.agent.executor.applied)
            return end.MET if resumed else Ending(ExitStatus.MET, end.already_met(card))
        if ending := (yield from self.carry_out_approved()):
            return ending
        if self.watch.stopped():
            return end.STOPPED
        if self.crew.patch and (ending := (yield from self.carry_out_edits(self.crew.patch))):
            return ending
        playbook = self.plan.playbook
        task = task_text(self.plan, self.opening, self.past)
        for item in self.agent.turns(
            system_prompt(self.plan, self.agent.toolset), task, playbook.limits.max_steps
        ):
            if not isinstance(item, TurnEnded):
                yield item
                continue
            self.watch.turn = item.turn
            if ending := (yield from self.after_turn(item)):
                return ending
        if self.watch.stopped():
            return end.STOPPED
        return Ending(ExitStatus.LIMIT, f"limits.max_steps reached: {playbook.limits.max_steps}")

    def carry_out_approved(self) -> Events:
        """What was approved while nobody was running; a patch that must be again waits for that."""
        for entry in [entry for entry in self.earlier if entry.state == "approved"]:
            if self.watch.stopped():
                break
            outcome = yield from self.agent.executor.execute(entry.card.change, entry.card.id)
            yield Note(outcome.text, "info" if outcome.state == "verified" else "warning")
            if self.crew.patch and outcome.state == "pending":
                return end.not_carried_out(outcome)
            if outcome.state in CHANGED and (yield from self.effect(entry.card.change.settle)):
                return end.MET
        return None

    def carry_out_edits(self, patch: Patch) -> Events:
        """The playbook's edits, by code; a model is only asked where they do not suffice (None)."""
        outcome = yield from patch.steps(self.agent)
        if outcome.state not in (*CHANGED, UNCHANGED):
            return end.not_carried_out(outcome)
        if (yield from self.effect(0.0)):
            return end.MET if outcome.state in CHANGED else Ending(ExitStatus.MET, outcome.text)
        if self.watch.stopped():
            return end.STOPPED
        if self.agent.model == EXPERT:  # which knows clusters, not manifests
            return self.out_of_time() or end.unmet(self.watch.verdict)
        return None

    def look_first(self) -> Generator[AnyEvent, None, FirstCard | None]:
        """The first card: seen before any model is asked, and the run's first evidence."""
        if (seen := self.watch.verdict) is not None:
            yield self.record("goal", Observation(goal_text(seen), None, "probe", "goal"))
        if self.crew.first_card is None:
            return None
        card = self.agent.toolset.shown(self.crew.first_card())
        self.gaps += [*card.gaps, *self.goal.blind_spots()]
        yield card
        yield self.record("first_card", first_card_text(card))
        return card

    def record(self, name: str, seen: Observation) -> EvidenceRecorded:
        self.opening.append(self.agent.toolset.evidence.add(name, {}, seen))
        return EvidenceRecorded(self.opening[-1])

    def after_turn(self, turn: TurnEnded) -> Events:
        """Measure the goal, then decide whether the loop goes on (None)."""
        if turn.pending is not None:
            return end.needs_approval(turn.pending)
        if (yield from self.effect(turn.patience)):
            return end.MET
        if self.watch.stopped():
            return end.STOPPED
        if escalation := self.agent.notebook.escalation:
            return end.unmet(self.watch.verdict, escalation)
        if late := self.out_of_time():
            return late
        if self.watch.verdict is not None:
            self.agent.tell(goal_text(self.watch.verdict))
        return None

    def take_back_harm(self, held: set[Check], last: int) -> Generator[AnyEvent, None, None]:
        """A check that held before these changes and fails after them: they go back now."""
        worse = self.watch.steady.worse(held)
        if not worse or not self.undoes:
            return
        yield Note(f"worse than before the change, so it is taken back: {worse[0]}", "warning")
        clean = yield from self.agent.executor.take_back(last)
        self.took_back |= clean
        self.goal.restart_window()
        done = "taken back" if clean else "could not be taken back"
        self.agent.tell(f"{worse[0]} held before your change and failed after it: {done}.")
        yield from self.watch.measure()

    def effect(self, patience: float) -> Generator[AnyEvent, None, bool]:
        """Measure the goal now, then go on. Returns whether it is met; if it is not, the changes
        made since the last time go back where they did harm."""
        held, changed = self.watch.steady.held(), len(self.agent.executor.applied) - self.watched
        if changed:
            self.goal.restart_window()  # what held before the change proves nothing about it
        met = (yield from self.watch.measure()) or (yield from self.watch.go_on(patience))
        if changed and not met:
            yield from self.take_back_harm(held, changed)
        self.watched = len(self.agent.executor.applied)
        return met

    @property
    def undoes(self) -> bool:
        return self.plan.playbook.on_failure in ("undo", "rollback")

    # --- the end ----------------------------------------------------------------------------

    def taken_back(self, ending: Ending) -> Iterator[AnyEvent]:
        yield self.first
        ending = yield from self.after_failure(ending)
        yield self.ended(ending)

    def after_failure(self, ending: Ending) -> Generator[AnyEvent, None, Ending]:
        """Take back what was changed, where the playbook says so, and measure the goal again."""
        if self.crew.upgrade:
            return (yield from self.crew.upgrade.after_failure(ending, self.agent, self.watch))
        if ending.status in _AS_IT_IS:
            yield Note("what was changed stays: whoever takes over goes on, or takes it back")
            return ending
        if not self.undoes:
            yield Note("what was changed stays, as on_failure says", "warning")
            if self.crew.patch:
                yield from self.crew.patch.tell_failure(self.agent.executor)
            return ending
        yield UndoBegan(ending.status, ending.reason)
        clean = yield from self.agent.executor.take_back()
        yield from self.watch.measure()
        return ending.after_undo(clean=clean)
