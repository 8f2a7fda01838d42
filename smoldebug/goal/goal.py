"""A playbook's goal: its checks, measured side by side, and the window they must hold for."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from smoldebug.clock import Clock
from smoldebug.errors import AccessDenied, NotFound, SmoldebugError, UnreachableError, UsageError
from smoldebug.goal.check import Check, Measured, Setting
from smoldebug.goal.command import command, python
from smoldebug.goal.covers_cluster import covers_cluster
from smoldebug.goal.edited import edited
from smoldebug.goal.findings import findings
from smoldebug.goal.http import http, tcp
from smoldebug.goal.logic import all_of, any_of
from smoldebug.goal.manifests import manifests
from smoldebug.goal.metric import metric, ratio
from smoldebug.goal.objects import object_
from smoldebug.goal.pull_request import pull_request
from smoldebug.goal.restarts import restarts
from smoldebug.goal.rollout import rollout
from smoldebug.goal.window import Window
from smoldebug.playbook import models
from smoldebug.playbook.rules import checks_of
from smoldebug.records import CheckResult, Fact, Gap, Json, Outcome, Verdict
from smoldebug.sources.world import World
from smoldebug.untrusted import one_line

T = TypeVar("T")
WORKERS = 8  # checks measured at the same time
SOON = 0.5  # seconds until something pending is looked for again; then twice as many each time
SAYS_LIMIT = 300  # characters of what a check says; much of it comes from the world
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
}


@dataclass(frozen=True, slots=True)
class _Group:
    """A part of the goal: all, or any, of checks (their place in the goal's list) and groups."""

    combine: Callable[[Sequence[Outcome]], Outcome]
    parts: "Sequence[int | _Group]"

    def outcome(self, results: Sequence[CheckResult]) -> Outcome:
        return self.combine(
            [
                results[part].outcome if isinstance(part, int) else part.outcome(results)
                for part in self.parts
            ]
        )

    def words(self, checks: Sequence[Check]) -> str:
        said = [
            checks[part].label.removeprefix(ANY_OF)
            if isinstance(part, int)
            else f"({part.words(checks)})"
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
        self._goal, self._clock = goal, clock
        self._setting = Setting(plan, world, clock, allow_code, state, red)
        self._checks: list[Check] = []
        self._root = self._build(goal)
        self._checks = _distinct(self._checks)
        self._window = Window(goal.consecutive, float(goal.for_), float(goal.every))
        self._samples = self._waited_for = 0
        self.every = float(goal.every)
        self.within = float(goal.within) if goal.within else None
        self.unreachable = False  # nothing at all could be reached by the latest sample

    def describe(self) -> str:
        """The playbook's own words, else the checks and their window."""
        if self._goal.description:
            return self._goal.description
        words = [self._root.words(self._checks)]
        if self._goal.consecutive > 1:
            words.append(f"{self._goal.consecutive} times in a row")
        if self._goal.for_:
            words.append(f"for {self._goal.for_}")
        return ", ".join(words)

    def blind_spots(self) -> list[Gap]:
        """A goal about objects alone says nothing of what customers see. One about manifests is
        not expected to: nothing that runs has changed yet."""
        seen = ("http", "tcp", "metric", "ratio", "command", "python", "manifests", "edited")
        known = checks_of([*self._goal.all, *self._goal.any])
        if any(getattr(check, kind) for check in known for kind in seen):
            return []
        return [Gap("answers, error rate and latency", "this goal measures none of them")]

    def check(self) -> Verdict:
        """Take one sample now. What a check cannot see is in its result, never raised."""
        began = self._clock.monotonic()
        sample, self._samples = self._samples, self._samples + 1
        measured = _side_by_side(lambda check: _measure(check, sample), self._checks)
        results = tuple(result for result, _ in measured)
        self.unreachable = all(error is not None for _, error in measured)
        pending = any(result.pending for result in results)
        self._waited_for = self._waited_for + 1 if pending else 0
        outcome = self._root.outcome(results)
        progress = self._window.feed(outcome, began, self._clock.monotonic() - began)
        return Verdict(
            progress.outcome,
            outcome,
            results,
            streak=progress.streak,
            needed=self._window.consecutive,
            held=progress.held,
            hold_for=self._window.for_,
        )

    def due_in(self) -> float:
        """Seconds until the next sample counts towards the window; 0 when one is due. What is
        pending is looked for sooner at first: a quick check is not waited for as for a slow one."""
        due = self._window.due_in(self._clock.monotonic())
        return min(due, SOON * 2 ** (self._waited_for - 1)) if self._waited_for else due

    def restart_window(self) -> None:
        """What was met so far no longer counts, e.g. because a change was made."""
        self._window.restart()

    def _build(self, goal: models.Goal) -> _Group:
        if goal.each_service is not None:
            raise UsageError("not supported yet: goal.each_service")
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
        check = KINDS[kind](value, self._setting)
        self._checks.append(replace(check, label=prefix + check.label))
        return len(self._checks) - 1


def _distinct(checks: list[Check]) -> list[Check]:
    """Checks with the same label get their subject added."""
    seen = Counter(check.label for check in checks)
    return [
        replace(check, label=f"{check.label} ({check.subject})")
        if seen[check.label] > 1 and check.subject
        else check
        for check in checks
    ]


def _side_by_side(measure: Callable[[Check], T], checks: Sequence[Check]) -> list[T]:
    """Results in the order of the checks; a single one needs no thread."""
    if len(checks) == 1:
        return [measure(checks[0])]
    with ThreadPoolExecutor(min(WORKERS, len(checks)), "check") as pool:
        return list(pool.map(measure, checks))


def _measure(check: Check, sample: int) -> tuple[CheckResult, UnreachableError | None]:
    """One check, once; and the error, when nothing could be reached."""
    error: SmoldebugError | None = None
    try:
        seen = check.measure(sample)
    except SmoldebugError as raised:
        error, seen = raised, _meaning(raised)
    result = CheckResult(
        check.label,
        check.kind,
        seen.outcome,
        one_line(seen.says, SAYS_LIMIT),
        seen.value,
        seen.subject or check.subject,
        seen.route,
        seen.pending,
    )
    return result, error if isinstance(error, UnreachableError) else None


def _meaning(error: SmoldebugError) -> Measured:
    """The one place where an error becomes an outcome: what is not there is not met, what could
    not be seen is inconclusive."""
    says = str(error)
    if isinstance(error, NotFound):
        return Measured(Outcome.NOT_MET, says)
    if isinstance(error, AccessDenied) and error.needs:
        says += f" (needs: {error.needs})"
    return Measured(Outcome.INCONCLUSIVE, says)
