"""A playbook's steps: baseline, change, watch, and back if a service breaks.

    goal holds for baseline.for? -> else inconclusive, and nothing is touched
    what is normal is noted (error shapes, restarts) -> the steps, one after the other
    goal watched until it held for goal.for, or a check fails that waiting does not mend
    broken -> evidence read while it is there, the offender named -> taken back -> goal again

No model decides anything here. One is asked, at the end, what it makes of the evidence.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from smoldebug import ending as end
from smoldebug.agent import Agent
from smoldebug.change import CHANGED
from smoldebug.clock import duration
from smoldebug.diagnose import hooks
from smoldebug.diagnose.offender import blame
from smoldebug.diagnose.witness import Witness
from smoldebug.ending import Ending
from smoldebug.errors import SmoldebugError
from smoldebug.events import (
    AnyEvent,
    Blamed,
    EvidenceRecorded,
    Note,
    PhaseBegan,
    UndoBegan,
    Waiting,
)
from smoldebug.goal import Goal
from smoldebug.goal.rollout import COMPLETE
from smoldebug.playbook import models
from smoldebug.playbook.base import Duration
from smoldebug.playbook.models import RolloutCheck, RunPlan
from smoldebug.playbook.upgrades import Baseline
from smoldebug.prompt import explain_prompt
from smoldebug.records import Blame, Change, ChangeKind, ObjectRef, Outcome, Verdict
from smoldebug.signals.objects import Object, ref
from smoldebug.signals.words import count
from smoldebug.sources.helm import Release
from smoldebug.sources.world import World
from smoldebug.status import ExitStatus
from smoldebug.steps import Material, WaitFor, changes, ready
from smoldebug.watching import Watch

T = TypeVar("T")
CAVEATS = 5  # of a goal that is met
AGAIN = 300.0  # seconds that a goal gets to hold again after a rollback
LONGEST = 1800.0  # seconds besides goal.for that a goal without a limit of its own is watched
BLIND = 3  # samples in a row that see nothing: a baseline is not waited for any longer
CUT_OFF = Ending(
    ExitStatus.NOT_MET, "it was cut off after its steps had begun: nobody watched what they did"
)
Late = Callable[[], Ending | None]


@dataclass
class Upgrade:
    """The steps of one run. `folder` is the run's own: charts are kept there. Runs of one matrix
    share their `material`."""

    plan: RunPlan
    world: World
    folder: Path
    witness: Witness
    material: Material = field(default_factory=Material)
    blamed: Blame | None = None
    _before: Sequence[ObjectRef] = ()  # the services that there were
    _samples: list[tuple[float, Verdict]] = field(default_factory=list)

    def carry_out(
        self, agent: Agent, watch: Watch, late: Late, *, approved: bool
    ) -> Generator[AnyEvent, None, Ending]:
        """All of it, up to the verdict. `late` says when the run is out of time; `approved`: it
        waited for a yes, and goes on with the step that got it."""
        begun = bool(agent.executor.applied)
        if begun and not approved:
            return CUT_OFF
        ready(self.plan, self.world, self.folder, self.material)
        with watch.goal.watch():
            if (baseline := self.plan.playbook.baseline) and not begun:
                yield PhaseBegan("baseline")
                if ending := (yield from self._baseline(baseline, watch, late)):
                    return ending
            normal = agent.toolset.shown(watch.goal.mark())
            yield EvidenceRecorded(agent.toolset.evidence.add("baseline", {}, normal))
            self._before = watch.goal.services()
            yield PhaseBegan("steps")
            began, waited = watch.clock.monotonic(), agent.executor.waited
            if ending := (yield from self._steps(agent, watch, began)):
                return ending
            began += agent.executor.waited - waited  # for a yes
            yield PhaseBegan("watching")
            ending = yield from self._watched(watch, late, began)
        if ending.status is ExitStatus.MET and (drift := agent.executor.overtaken()):
            return Ending(ExitStatus.INCONCLUSIVE, f"what held is not what the steps made: {drift}")
        return ending

    def after_failure(
        self, ending: Ending, agent: Agent, watch: Watch
    ) -> Generator[AnyEvent, None, Ending]:
        """Take the steps back, where the playbook says so, and see that the goal holds again."""
        ending = yield from self._back(ending, agent, watch)
        if self.blamed:
            agent.notebook.question = hooks.left(self.world.cluster, self.blamed.service)
        return ending

    def _back(
        self, ending: Ending, agent: Agent, watch: Watch
    ) -> Generator[AnyEvent, None, Ending]:
        interrupted = ending.status is ExitStatus.INTERRUPTED
        waits = ending.status is ExitStatus.NEEDS_APPROVAL
        if ending.status is ExitStatus.INCONCLUSIVE and agent.executor.overtaken():
            yield Note("nothing is taken back: what stands there is somebody else's", "warning")
            return ending
        if self.plan.playbook.on_failure not in ("undo", "rollback") or waits:
            yield Note("what was changed stays", "warning")
            return ending
        if interrupted and agent.signals.cut.is_set():
            yield Note("stopped at once: what was changed stays, and nobody watches it", "warning")
            return ending
        yield UndoBegan(ending.status, ending.reason)
        yield PhaseBegan("rolling back")
        clean = yield from agent.executor.take_back()
        if interrupted or not clean:
            yield from watch.measure()
        if interrupted:
            return _interrupted(ending, clean=clean)
        holds = clean and (yield from self._again(watch))
        yield from self._explained(agent)
        if clean and not holds and watch.stopped():
            return _unproven(ending)
        return _taken_back(ending, clean=clean, holds=holds, verdict=watch.verdict)

    # --- before -----------------------------------------------------------------------------

    def _baseline(
        self, baseline: Baseline, watch: Watch, late: Late
    ) -> Generator[AnyEvent, None, Ending | None]:
        within = baseline.within or Duration(60 + 2 * baseline.for_)
        began, blind = watch.clock.monotonic(), 0

        def over() -> bool:
            nonlocal blind
            unseen = watch.verdict and watch.verdict.sample is Outcome.INCONCLUSIVE
            blind = blind + 1 if unseen else 0
            waited = watch.clock.monotonic() - began
            hopeless = bool(watch.broken()) or blind >= BLIND
            return hopeless or waited >= within or late() is not None or watch.stopped()

        if (yield from watch.hold(float(baseline.for_), over)):
            return None
        if watch.stopped():
            return end.STOPPED
        status, seen = ExitStatus.INCONCLUSIVE, "does not hold"
        if watch.goal.unreachable:
            status, seen = ExitStatus.UNREACHABLE, "cannot be seen"
        why = end.unmet(watch.verdict).reason
        return Ending(status, f"the baseline {seen}, so nothing was touched: {why}")

    # --- the steps --------------------------------------------------------------------------

    def _steps(
        self, agent: Agent, watch: Watch, began: float
    ) -> Generator[AnyEvent, None, Ending | None]:
        for step in self.plan.playbook.steps:
            for item in changes(step, self.plan, self.world, self.folder, self.material):
                if watch.stopped():
                    return end.STOPPED
                if isinstance(item, str):
                    yield Note(item)
                elif isinstance(item, WaitFor):
                    if ending := (yield from self._rolled_out(item, watch)):
                        return ending
                else:
                    agent.toolset.shown(item)  # its secrets are masked from here on, whoever tells
                    outcome = yield from agent.executor.execute(item)
                    if outcome.state not in CHANGED:
                        unasked = outcome.state == "declined" and watch.stopped()  # no no, Ctrl-C
                        return end.STOPPED if unasked else end.not_carried_out(outcome)
                    if outcome.state == "unknown":
                        return (yield from self._half_done(item, outcome.text, watch, began))
        return end.STOPPED if watch.stopped() else None

    def _half_done(
        self, change: Change, said: str, watch: Watch, began: float
    ) -> Generator[AnyEvent, None, Ending]:
        """An upgrade may have failed on a hook, which tells more of it than Helm does."""
        if (stuck := self._stuck(change, said)) is None:
            return Ending(ExitStatus.NOT_MET, said)
        event, hook = stuck
        yield PhaseBegan("explaining")
        for item in self.witness.gather([ref(hook)], {ref(hook).kind: [hook]}):
            yield EvidenceRecorded(item)
        lasted = watch.clock.monotonic() - began
        self.blamed = hooks.blame(event, hook, self.witness.evidence, lasted)
        yield Blamed(self.blamed)
        return Ending(ExitStatus.NOT_MET, self.blamed.reason)

    def _stuck(self, change: Change, said: str) -> tuple[str, Object] | None:
        if change.kind is not ChangeKind.HELM_UPGRADE:
            return None
        try:
            made = self.world.helm.hooks(Release(change.target.namespace, change.target.name))
            return hooks.not_done(self.world.cluster, made, said)
        except SmoldebugError:
            return None

    # --- after ------------------------------------------------------------------------------

    def _watched(self, watch: Watch, late: Late, began: float) -> Generator[AnyEvent, None, Ending]:
        """`began` is when the first step did (monotonic seconds)."""
        watch.goal.restart_window()
        watch.steady.restart()

        def out_of_time() -> Ending | None:
            playbook, waited = self.plan.playbook, watch.clock.monotonic() - began
            if (
                playbook.goal.within
                or playbook.limits.wall
                or waited < LONGEST + playbook.goal.for_
            ):
                return late()
            why = f"the goal was not met within {duration(waited)} of the first step"
            return Ending(ExitStatus.NOT_MET, why)

        def over() -> bool:
            self._note(watch, began)
            return bool(watch.broken()) or out_of_time() is not None or watch.stopped()

        ending, failed = None, False
        while ending is None and not failed:
            if (yield from watch.until(over)):
                return Ending(ExitStatus.MET, self._proven(watch))
            if watch.stopped():
                return end.STOPPED
            ending = out_of_time()
            # All of it once more: a sample in haste leaves out services that have not changed, and
            # what holds by now was not broken for good
            watch.goal.restart_window()
            yield from watch.measure()
            self._note(watch, began)
            failed = _fails(watch)
        yield PhaseBegan("explaining")
        found = yield from self._blame(watch)
        if found is None:
            missed = end.unmet(watch.verdict)
            return replace(ending, reason=f"{ending.reason}: {missed.reason}") if ending else missed
        if ending is None:
            return Ending(ExitStatus.NOT_MET, found.reason)
        return replace(ending, reason=f"{ending.reason}: {found.reason}")

    def _proven(self, watch: Watch) -> str:
        checks = len(watch.verdict.results) if watch.verdict else 0
        services, held = len(watch.goal.services()), self.plan.playbook.goal.for_
        rows = f" of {count(services, 'service')}" if services else ""
        lasted = f" for {duration(held)}" if held else ""
        return f"{count(checks, 'check')}{rows} held{lasted} after the steps{self._but(watch)}"

    def _but(self, watch: Watch) -> str:
        """What a goal that is met says nothing of."""
        now, results = watch.goal.services(), watch.verdict.results if watch.verdict else ()
        told = [f"{ref} is gone" for ref in self._before if ref not in now]
        rollouts = [each for each in results if each.kind == "rollout" and each.service]
        told += [f"{each.service} is {each.says}" for each in rollouts if each.says != COMPLETE]
        return "".join(f"; {each}" for each in told[:CAVEATS]) + "; …" * bool(told[CAVEATS:])

    def _note(self, watch: Watch, began: float) -> None:
        if watch.verdict is not None:
            self._samples.append((watch.clock.monotonic() - began, watch.verdict))

    def _blame(self, watch: Watch) -> Generator[AnyEvent, None, Blame | None]:
        """Evidence first: a rollback removes it."""
        results = watch.verdict.results if watch.verdict else ()
        failing = dict.fromkeys(
            ObjectRef.parse(each.service)
            for each in results
            if each.service and each.outcome is not Outcome.MET
        )
        for item in self.witness.gather(list(failing)):
            yield EvidenceRecorded(item)
        self.blamed = blame(
            self._samples,
            self.witness.calls(),
            self.witness.evidence,
            self.witness.changed(),
            every=float(self.plan.playbook.goal.every),
        )
        if self.blamed is not None:
            yield Blamed(self.blamed)
        return self.blamed

    def _explained(self, agent: Agent) -> Generator[AnyEvent, None, None]:
        if self.blamed is None:
            return
        text = yield from agent.words(explain_prompt(self.blamed, self.witness.evidence))
        if text:
            yield Blamed(self.blamed, text)

    def _rolled_out(self, item: WaitFor, watch: Watch) -> Generator[AnyEvent, None, Ending | None]:
        """A step that only waits."""
        target = str(item.target) if item.target else ""
        rollout = RolloutCheck(target=target, complete_within=Duration(item.within))
        wanted = models.Goal(all=[models.Check(rollout=rollout)])
        playbook = msgspec.structs.replace(self.plan.playbook, goal=wanted)
        goal = Goal(msgspec.structs.replace(self.plan, playbook=playbook), self.world, watch.clock)
        waits, began = watch.of(goal), watch.clock.monotonic()

        def over() -> bool:
            waited = watch.clock.monotonic() - began
            return bool(waits.broken()) or waited >= item.within or waits.stopped()

        yield Waiting(f"for the rollout of {target or 'every workload'}", item.within)
        with goal.watch():
            complete = _silently(waits.until(over))
        if complete or waits.stopped():
            return None
        return Ending(ExitStatus.NOT_MET, end.unmet(waits.verdict).reason)

    def _again(self, watch: Watch) -> Generator[AnyEvent, None, bool]:
        """Whether the goal holds again, as long as it had to before."""
        watch.goal.mark()
        watch.goal.restart_window()
        watch.steady.restart()
        baseline, began = self.plan.playbook.baseline, watch.clock.monotonic()
        lasting = float(baseline.for_) if baseline else 0.0

        def over() -> bool:
            return watch.clock.monotonic() - began >= AGAIN + lasting or watch.stopped()

        with watch.goal.watch():
            return (yield from watch.hold(lasting, over))


def _fails(watch: Watch) -> bool:
    results = watch.verdict.results if watch.verdict else ()
    return any(each.outcome is Outcome.NOT_MET and not each.pending for each in results)


def _silently(events: Generator[AnyEvent, None, T]) -> T:
    """What a generator returns; its events are about another goal than the run's."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            found: T = stop.value
            return found


def _interrupted(ending: Ending, *, clean: bool) -> Ending:
    if not clean:
        return ending.after_undo(clean=False)
    return replace(ending, reason=f"{ending.reason}; changes undone and verified")


def _unproven(ending: Ending) -> Ending:
    why = f"taken back and verified, but {end.STOPPED.reason} before the goal held again"
    return Ending(ExitStatus.INTERRUPTED, f"{ending.reason}; {why}")


def _taken_back(ending: Ending, *, clean: bool, holds: bool, verdict: Verdict | None) -> Ending:
    if not clean:
        return ending.after_undo(clean=False)
    if holds:
        reason = f"{ending.reason}; taken back, and the goal holds again"
        return Ending(ExitStatus.UNDONE, reason)
    why = end.unmet(verdict).reason
    reason = f"{ending.reason}; taken back, but the goal does not hold again: {why}"
    return Ending(ExitStatus.UNDO_FAILED, reason)
