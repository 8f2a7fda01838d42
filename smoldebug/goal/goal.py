"""A playbook's goal: its checks, measured side by side, and the window they must hold for."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from smoldebug.clock import Clock
from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.goal.check import Check, Setting
from smoldebug.goal.command import command, python
from smoldebug.goal.covers_cluster import covers_cluster
from smoldebug.goal.edited import edited
from smoldebug.goal.findings import findings
from smoldebug.goal.http import http, tcp
from smoldebug.goal.logic import all_of, any_of
from smoldebug.goal.logs import logs
from smoldebug.goal.manifests import manifests
from smoldebug.goal.measure import Result, failed, measure, side_by_side
from smoldebug.goal.metric import metric, ratio
from smoldebug.goal.objects import object_
from smoldebug.goal.pull_request import pull_request
from smoldebug.goal.restarts import restarts
from smoldebug.goal.rollout import rollout
from smoldebug.goal.seen import Seen
from smoldebug.goal.services import Service, find, namespaces, which, with_example
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
from smoldebug.signals.words import count
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.mirror import Mirror
from smoldebug.sources.world import World

Key = tuple[ObjectRef | None, int]  # service (None: the goal's own), place of the check
SOON = 0.5  # seconds until something pending is looked for again; then twice as many each time
EXAMPLES = 5  # error lines of a service that are told in words
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
class _Leaf:
    """A single check of the playbook. `per_service`: it is measured for each of them."""

    kind: str
    block: Any
    prefix: str
    per_service: bool

    def check(self, setting: Setting) -> Check:
        made = KINDS[self.kind](self.block, setting)
        return replace(made, label=self.prefix + made.label)


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
        self._leaves: list[_Leaf] = []
        self._root = self._build(goal)
        self._own, self._labels = self._first_checks()
        self._rows: dict[Key, Check] = {}
        self._services: dict[ObjectRef, Service] = {}
        self._latest: dict[Key, Result] = {}
        self._lost: Result | None = None  # why there are no services, or not the latest ones
        self._outdated = goal.each_service is not None  # they must be looked up
        self._window = Window(goal.consecutive, float(goal.for_), float(goal.every))
        self._samples = self._waited_for = 0
        self._bad: Counter[Key] = Counter()  # samples in a row that fail with nothing under way
        self._full: float | None = None  # when everything was last measured anew
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
        words = [self._root.words(self._labels)]
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
        return tuple(self._services)

    # --- samples ----------------------------------------------------------------------------

    def check(self, hurry: bool = False) -> Verdict:
        """Take one sample now. What a check cannot see is in its result, never raised.

        While the goal is watched, a sample in a `hurry` (or sooner than it counts) measures what
        costs no request, what does not hold, and the services that have changed since the last
        one. The other results are carried over.
        """
        began = self._clock.monotonic()
        sample, self._samples = self._samples, self._samples + 1
        partial = self._mirror is not None and self._is_early(began, hurry=hurry)
        touched = self._mirror.take() if self._mirror else frozenset()
        self._seen.forget()
        self._seen.touched = touched if partial else None
        self._look()
        checks = dict(self._every_check())
        anew = [key for key in checks if not partial or self._again(key, checks[key], touched)]
        measured = side_by_side(lambda key: measure(checks[key], sample, key[0]), anew)
        known = self._latest | dict(zip(anew, measured, strict=True))
        self._latest = {key: known[key] for key in checks}
        self._seen.direct = False
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
        self._full, self._seen.direct = None, True
        self._outdated = self._goal.each_service is not None

    def mark(self) -> Observation:
        """Take what is now as normal (restarts so far, kinds of errors logged), and say what that
        is. Rollouts have their time from now on."""
        self._seen.forget()
        self._seen.direct, self._seen.touched = True, None
        self._look()
        checks = {key: check for key, check in self._every_check() if check.mark is not None}
        noted = dict(zip(checks, side_by_side(_marked, list(checks.values())), strict=True))
        self._seen.marks, self._seen.marked = self._seen.marks + 1, self._clock.monotonic()
        self._bad.clear()
        self.restart_window()
        return _baseline(noted, checks)

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
        """Whether not everything has to be measured anew: it was lately, and nothing but that
        keeps the window from being complete."""
        if self._full is None or now - self._full >= self.every * (1 - TOLERANCE):
            return False
        window = self._window
        held = now - window.began if window.streak else 0.0
        completes = held >= window.for_ and max(window.streak, 1) >= window.consecutive
        return not completes and (hurry or self._waited_for > 0 or self._unsure())

    def _again(self, key: Key, check: Check, touched: frozenset[ObjectRef]) -> bool:
        """Whether a check is measured anew in an early sample."""
        before = self._latest.get(key)
        if before is None or check.kind in FREE:
            return True
        if before.check is not None and before.check.outcome is not Outcome.MET:
            return True
        return key[0] is not None and self._services[key[0]].touched(touched)

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
        known = [*([self._lost] if self._lost else []), *self._latest.values()]
        results = tuple(result.check for result in known if result.check is not None)
        self.unreachable = bool(known) and all(result.unreachable for result in known)
        outcome = self._outcome()
        if not results:
            results = (_nothing(self._goal.each_service),)
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

    def _outcome(self) -> Outcome:
        """The goal's tree holds for every service; what belongs to none counts for each."""
        known: dict[ObjectRef | None, dict[int, Outcome]] = {None: {}}
        for (service, place), result in self._latest.items():
            if result.check is not None:
                known.setdefault(service, {})[place] = result.check.outcome
        own = known.pop(None)
        found = [self._root.outcome(own | rows) for rows in known.values() or [{}]]
        there = [outcome for outcome in found if outcome is not None]
        return all_of([*there, *([Outcome.INCONCLUSIVE] if self._lost else [])])

    # --- the rows ---------------------------------------------------------------------------

    def _look(self) -> None:
        block = self._goal.each_service
        if block is not None and self._outdated and self._seen.touched is None:
            self._look_up(block)
        for service in self._services.values():
            service.look()

    def _look_up(self, block: EachService) -> None:
        """Services that stay keep what is known of them; those that went have no row any more."""
        try:
            refs = find(block, self._world, self._seen, self._setting.namespaces)
        except SmoldebugError as error:
            self._lost = failed(which(block), error)
            return
        self._lost, self._outdated = None, False
        known = self._services
        self._services = {
            ref: known.get(ref) or Service(ref, self._seen, self._clock) for ref in refs
        }
        rows: dict[Key, Check] = {}
        for ref, service in self._services.items():
            rows |= {key: self._rows[key] for key in self._rows if key[0] == ref} or (
                self._row(service)
            )
        self._rows = rows

    def _row(self, service: Service) -> dict[Key, Check]:
        setting = replace(self._setting, service=service)
        leaves = [(place, leaf) for place, leaf in enumerate(self._leaves) if leaf.per_service]
        checks = _distinct([leaf.check(setting) for _, leaf in leaves])
        return {
            (service.ref, place): check for (place, _), check in zip(leaves, checks, strict=True)
        }

    def _every_check(self) -> Iterator[tuple[Key, Check]]:
        """The goal's own, then row by row."""
        yield from self._own.items()
        yield from self._rows.items()

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

    def _first_checks(self) -> tuple[dict[Key, Check], list[str]]:
        """Those that belong to no service, and what all of them are called."""
        setting = with_example(self._setting)
        made = [leaf.check(setting if leaf.per_service else self._setting) for leaf in self._leaves]
        places = [place for place, leaf in enumerate(self._leaves) if not leaf.per_service]
        own = _distinct([made[place] for place in places])
        keys: list[Key] = [(None, place) for place in places]
        return dict(zip(keys, own, strict=True)), [check.label for check in _distinct(made)]

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
        self._leaves.append(_Leaf(kind, value, prefix, rows))
        return len(self._leaves) - 1


def _nothing(block: EachService | None) -> CheckResult:
    name = "each service" if block is None else which(block)
    says = "every check was left out: there is nothing to measure"
    return CheckResult(name, "each_service", Outcome.INCONCLUSIVE, says)


def _marked(check: Check) -> Json | SmoldebugError:
    try:
        return check.mark() if check.mark else {}
    except SmoldebugError as error:
        return error


def _baseline(
    noted: Mapping[Key, Json | SmoldebugError], checks: Mapping[Key, Check]
) -> Observation:
    rows: dict[str, dict[str, Json]] = {}
    gaps = []
    for key, found in noted.items():
        name = str(key[0] or "goal")
        row = rows.setdefault(name, {})
        if isinstance(found, SmoldebugError):
            gaps.append(f"{name} {checks[key].label}: {found}")
        else:
            row |= found
    lines = [line for name, row in rows.items() for line in _said(name, row)]
    return Observation("\n".join(lines) or "nothing to note", rows, "probe", "goal", tuple(gaps))


def _said(name: str, row: Mapping[str, Json]) -> Iterator[str]:
    errors = row.get("errors", [])
    words = [count(row["restarts"], "restart")] if "restarts" in row else []
    words += [count(len(errors), "known error shape")] if "errors" in row else []
    yield f"{name}: {', '.join(words) or 'as it is'}"
    yield from (f"  known: {line}" for line in errors[:EXAMPLES])


def _distinct(checks: list[Check]) -> list[Check]:
    """Checks with the same label get their subject added."""
    seen = Counter(check.label for check in checks)
    return [
        replace(check, label=f"{check.label} ({check.subject})")
        if seen[check.label] > 1 and check.subject
        else check
        for check in checks
    ]
