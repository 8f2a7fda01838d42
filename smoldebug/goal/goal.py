"""A playbook's goal: its checks, measured side by side, and the window they must hold for."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from smoldebug.clock import Clock
from smoldebug.errors import UsageError
from smoldebug.goal.baseline import note
from smoldebug.goal.check import Check, Setting
from smoldebug.goal.command import command, python
from smoldebug.goal.covers_cluster import covers_cluster
from smoldebug.goal.edited import edited
from smoldebug.goal.findings import findings
from smoldebug.goal.http import http, tcp
from smoldebug.goal.logic import all_of, any_of
from smoldebug.goal.logs import logs
from smoldebug.goal.manifests import manifests
from smoldebug.goal.measure import Result, measure, side_by_side
from smoldebug.goal.metric import metric, ratio
from smoldebug.goal.objects import object_
from smoldebug.goal.pull_request import pull_request
from smoldebug.goal.restarts import restarts
from smoldebug.goal.rollout import rollout
from smoldebug.goal.rows import Key, Leaf, Rows
from smoldebug.goal.seen import Seen
from smoldebug.goal.services import autoscaled, namespaces, which
from smoldebug.goal.window import TOLERANCE, Window
from smoldebug.goal.workloads import WORKLOADS
from smoldebug.playbook import models
from smoldebug.playbook.upgraderules import per_service
from smoldebug.playbook.upgrades import EachService
from smoldebug.records import (
    CheckResult,
    Fact,
    Gap,
    Json,
    ObjectRef,
    Observation,
    Outcome,
    Verdict,
)
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.mirror import Mirror
from smoldebug.sources.world import World

SOON = 0.5  # seconds until something pending is looked for again; then twice as many each time
AGAIN = 1.0  # seconds until what fails in a row of a service is looked at again
SURE = 3  # samples in a row after which it is believed
FREE = ("rollout", "restarts", "object")  # cost no request while the goal is watched
ANY_OF = "any of: "  # before labels, so that a red line in a goal that is met explains itself
KINDS: dict[str, Callable[[Any, Setting], Check]] = {
    "http": http,
    "tcp": tcp,
    "metric": metric,
    "ratio": ratio,
    "object": object_,
    "rollout": rollout,
    "restarts": restarts,
    "command": command,
    "python": python,
    "findings": findings,
    "manifests": manifests,
    "edited": edited,
    "covers_cluster": covers_cluster,
    "pull_request": pull_request,
    "logs": logs,
}


@dataclass(frozen=True, slots=True)
class _Group:
    """A part of the goal: all, or any, of checks (their place in the goal's list) and groups."""

    combine: Callable[[Sequence[Outcome]], Outcome]
    parts: "Sequence[int | _Group]"

    def outcome(self, known: Mapping[int, Outcome]) -> Outcome | None:
        """None where every check was left out."""
        found = [
            known.get(part) if isinstance(part, int) else part.outcome(known) for part in self.parts
        ]
        there = [outcome for outcome in found if outcome is not None]
        return self.combine(there) if there else None

    def words(self, labels: Sequence[str]) -> str:
        said = [
            labels[part].removeprefix(ANY_OF)
            if isinstance(part, int)
            else f"({part.words(labels)})"
            for part in self.parts
        ]
        return (" or " if self.combine is any_of else " and ").join(said)


class Goal:
    """Measures; never waits. `check()` takes one sample now, `due_in()` says when the next is due.

    Raises UsageError at once for a goal that can never be measured: no checks, a kind of a later
    version, a target that is none, code that is not allowed.
    """

    def __init__(
        self,
        plan: models.RunPlan,
        world: World,
        clock: Clock,
        *,
        allow_code: bool = False,
        state: Callable[[], Mapping[str, Json]] | None = None,
        red: Callable[[], Sequence[Fact]] | None = None,
    ) -> None:
        goal = plan.playbook.goal
        self._goal, self._clock, self._world = goal, clock, world
        self._seen = Seen(world, clock)
        self._setting = Setting(plan, world, clock, self._seen, allow_code, state, red)
        self._leaves: list[Leaf] = []
        self._root = self._build(goal)
        self._rows = Rows(self._leaves, self._setting)
        self._latest: dict[Key, Result] = {}
        self._window = Window(goal.consecutive, float(goal.for_), float(goal.every))
        self._samples = self._waited_for = 0
        self._bad: Counter[Key] = Counter()  # samples in a row that fail with nothing under way
        self._full: float | None = None  # when everything was last measured anew
        self._sure = False
        self._normal: frozenset[Key] = frozenset()  # rows that there were before the steps
        self._mirror: Mirror | None = None
        self.changed = threading.Event()
        self.every = float(goal.every)
        self.within = float(goal.within) if goal.within else None
        self.unreachable = False  # nothing at all could be reached by the latest sample

    # --- in words ---------------------------------------------------------------------------

    def describe(self) -> str:
        """The playbook's own words, else the checks and their window."""
        if self._goal.description:
            return self._goal.description
        words = [self._root.words(self._rows.labels)]
        if self._goal.each_service is not None:
            words[0] = f"{which(self._goal.each_service)}: {words[0]}"
        if self._goal.consecutive > 1:
            words.append(f"{self._goal.consecutive} times in a row")
        if self._goal.for_:
            words.append(f"for {self._goal.for_}")
        return ", ".join(words)

    def blind_spots(self) -> list[Gap]:
        """A goal about objects alone says nothing of what customers see. One about manifests is
        not expected to: nothing that runs has changed yet."""
        seen = ("http", "tcp", "metric", "ratio", "command", "python", "manifests", "edited")
        if any(leaf.kind in seen for leaf in self._leaves):
            return []
        return [Gap("answers, error rate and latency", "this goal measures none of them")]

    def services(self) -> tuple[ObjectRef, ...]:
        """Of a goal with each_service, as the latest sample knows them."""
        return tuple(self._rows.services)

    # --- samples ----------------------------------------------------------------------------

    def check(self, hurry: bool = False) -> Verdict:
        """Take one sample now. What a check cannot see is in its result, never raised.

        While the goal is watched, a sample in a `hurry` (or sooner than it counts) measures what
        costs no request, what does not hold, and the services that have changed since the last
        one. The other results are carried over. But that a goal is met is said only of a sample
        of everything, for which the cluster itself was asked: a watch may have died without a sign.
        """
        seen = self._sample(hurry=hurry)
        if seen.outcome is not Outcome.MET or self.sure:
            return seen
        self.anew()
        return self._sample(hurry=False)

    @property
    def sure(self) -> bool:
        """Whether all was measured by the latest sample, and no watch answered for the cluster."""
        return self._mirror is None or self._sure

    def anew(self) -> None:
        """Have the next sample be such a one."""
        self._full, self._seen.direct = None, True

    def _sample(self, *, hurry: bool) -> Verdict:
        began = self._clock.monotonic()
        sample, self._samples = self._samples, self._samples + 1
        partial = self._mirror is not None and self._is_early(began, hurry=hurry)
        touched = self._mirror.take() if self._mirror else frozenset()
        self._seen.forget()
        self._seen.touched = touched if partial else None
        self._rows.look()
        checks = dict(self._rows.checks())
        anew = [key for key in checks if not partial or self._again(key, checks[key], touched)]
        measured = side_by_side(lambda key: measure(checks[key], sample, key[0]), anew)
        known = self._latest | dict(zip(anew, measured, strict=True))
        self._latest = {key: self._or_missing(key, checks[key], known[key]) for key in checks}
        self._sure, self._seen.direct = self._seen.direct, False
        if not partial:
            self._full = began
        self._count(anew)
        return self._verdict(began)

    def due_in(self) -> float:
        """Seconds until the next sample counts towards the window; 0 when one is due. What is
        pending is looked for sooner at first: a quick check is not waited for as for a slow one.
        So is what fails in the row of a service, until it is sure."""
        now = self._clock.monotonic()
        due = self._window.due_in(now)
        if self._mirror is not None and self._full is not None:
            due = min(due, max(0.0, self._full + self.every - now))
        if self._waited_for:
            due = min(due, SOON * 2 ** (self._waited_for - 1))
        return min(due, AGAIN) if self._unsure() else due

    def restart_window(self) -> None:
        """What was met so far no longer counts, e.g. because a change was made: services may have
        come and gone, and a watch may not have heard of it yet."""
        self._window.restart()
        self.anew()
        self._rows.outdated = True

    def mark(self) -> Observation:
        """Take what is now as normal (restarts so far, kinds of errors logged), and say what that
        is. Rollouts have their time from now on."""
        if not self._latest:
            self._sample(hurry=False)
        self._seen.forget()
        self._seen.direct, self._seen.touched = True, None
        self._rows.look()
        noted = note({key: check for key, check in self._rows.checks() if check.mark is not None})
        if not self._seen.marks:
            measured = (key for key, result in self._latest.items() if result.check is not None)
            self._normal = frozenset(key for key in measured if key[0] is not None)
        self._seen.marks, self._seen.marked = self._seen.marks + 1, self._clock.monotonic()
        self._bad.clear()
        self.restart_window()
        return noted

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Within it the goal hears of changes: `changed` is set, and reading objects is free."""
        kinds = self._watched_kinds()
        with ExitStack() as stack:
            if kinds and self._world.has_cluster:
                spaces = sorted({*self._setting.namespaces, *self._elsewhere()})
                mirror = Mirror(self._world.cluster, kinds, spaces, self._clock)
                self._mirror = self._seen.mirror = stack.enter_context(mirror)
                self.changed = mirror.changed
            try:
                yield
            finally:
                self._mirror, self._seen.mirror, self._full = None, None, None
                self.changed = threading.Event()

    # --- helpers ----------------------------------------------------------------------------
    def _is_early(self, now: float, *, hurry: bool) -> bool:
        """Whether not everything has to be measured anew, since it was lately."""
        if self._full is None or now - self._full >= self.every * (1 - TOLERANCE):
            return False
        return hurry or self._waited_for > 0 or self._unsure()

    def _again(self, key: Key, check: Check, touched: frozenset[ObjectRef]) -> bool:
        """Whether a check is measured anew in an early sample."""
        before = self._latest.get(key)
        if before is None or check.kind in FREE:
            return True
        if before.check is not None and before.check.outcome is not Outcome.MET:
            return True
        return key[0] is not None and self._rows.services[key[0]].touched(touched)

    def _or_missing(self, key: Key, check: Check, result: Result) -> Result:
        """What was measured of a service before the steps is not left out after them: that nothing
        answers or logs any more is no success. An autoscaler may want it so."""
        service = self._rows.services.get(key[0]) if key[0] is not None else None
        if result.check is not None or service is None or key not in self._normal:
            return result
        if service.idle and autoscaled(service.ref, self._seen):
            return result
        says = "it wants no pods any more" if service.idle else "there is no HTTP port any more"
        return Result(
            CheckResult(check.label, check.kind, Outcome.NOT_MET, says, service=str(service.ref))
        )

    def _unsure(self) -> bool:
        return any(0 < times < SURE for times in self._bad.values())

    def _count(self, anew: Sequence[Key]) -> None:
        results = {key: result.check for key, result in self._latest.items() if result.check}
        self._waited_for = self._waited_for + 1 if any(r.pending for r in results.values()) else 0
        if self._goal.each_service is None:
            return
        for key in anew:
            seen = results.get(key)
            bad = seen is not None and seen.outcome is not Outcome.MET and not seen.pending
            self._bad[key] = self._bad[key] + 1 if bad else 0
        self._bad = Counter({key: times for key, times in self._bad.items() if key in results})

    def _verdict(self, began: float) -> Verdict:
        lost = [self._rows.lost] if self._rows.lost else []
        known = [*lost, *self._latest.values()]
        results = tuple(result.check for result in known if result.check is not None)
        self.unreachable = bool(known) and all(result.unreachable for result in known)
        outcome = self._outcome()
        if not results:
            results = (_nothing(self._goal.each_service),)
        return self._window.verdict(outcome, results, began, self._clock.monotonic() - began)

    def _outcome(self) -> Outcome:
        """The goal's tree holds for every service; what belongs to none counts for each."""
        known: dict[ObjectRef | None, dict[int, Outcome]] = {None: {}}
        for (service, place), result in self._latest.items():
            if result.check is not None:
                known.setdefault(service, {})[place] = result.check.outcome
        own = known.pop(None)
        found = [self._root.outcome(own | rows) for rows in known.values() or [{}]]
        there = [outcome for outcome in found if outcome is not None]
        return all_of([*there, *([Outcome.INCONCLUSIVE] if self._rows.lost else [])])

    def _watched_kinds(self) -> tuple[str, ...]:
        kinds: set[str] = set()
        for leaf in self._leaves:
            if leaf.per_service or leaf.kind in ("rollout", "restarts", "logs"):
                kinds |= {*WORKLOADS, "ReplicaSet", "Pod", "Event"}
            if leaf.per_service and leaf.kind == "http":
                kinds.add("Service")
            if leaf.kind == "object":
                kinds.add(kind_name(leaf.block.kind))
        return tuple(sorted(kinds))

    def _elsewhere(self) -> Iterator[str]:
        """Namespaces that the goal names itself."""
        if self._goal.each_service is not None:
            yield from namespaces(self._goal.each_service)
        for leaf in self._leaves:
            target = getattr(leaf.block, "target", "")
            if target.count("/") == 2:
                yield target.split("/")[1]
            elif leaf.kind == "object" and leaf.block.namespace:
                yield leaf.block.namespace

    # --- the tree ---------------------------------------------------------------------------

    def _build(self, goal: models.Goal) -> _Group:
        groups = [
            self._group(combine, checks)
            for combine, checks in ((all_of, goal.all), (any_of, goal.any))
            if checks
        ]
        if not groups:
            raise UsageError("the goal has no checks: add goal.all or goal.any")
        return groups[0] if len(groups) == 1 else _Group(all_of, groups)

    def _group(
        self,
        combine: Callable[[Sequence[Outcome]], Outcome],
        checks: Sequence[models.Check],
        prefix: str = "",
    ) -> _Group:
        if not checks:
            raise UsageError("a goal's `all` or `any` has no checks")
        prefix = ANY_OF if combine is any_of else prefix
        return _Group(combine, [self._part(check, prefix) for check in checks])

    def _part(self, block: models.Check, prefix: str) -> "int | _Group":
        given = [name for name in block.__struct_fields__ if getattr(block, name) is not None]
        if len(given) != 1:
            raise UsageError(f"a check is exactly one of {', '.join(KINDS)}, all, any: {given}")
        (kind,) = given
        value = getattr(block, kind)
        if kind in ("all", "any"):
            return self._group(all_of if kind == "all" else any_of, value, prefix)
        if kind not in KINDS:
            raise UsageError(f"not supported yet: {kind} check")
        rows = self._goal.each_service is not None and per_service(block)
        self._leaves.append(Leaf(kind, value, KINDS[kind], prefix, rows))
        return len(self._leaves) - 1


def _nothing(block: EachService | None) -> CheckResult:
    name = "each service" if block is None else which(block)
    says = "every check was left out: there is nothing to measure"
    return CheckResult(name, "each_service", Outcome.INCONCLUSIVE, says)
