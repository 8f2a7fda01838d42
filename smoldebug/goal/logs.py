"""logs: has anything logged an error of a kind that was not there before?

Until the baseline is noted every line belongs to it. From then on an error of another kind fails
the check, and goes on failing it: what was logged once is not unsaid by silence. After a second
baseline (changes were taken back) only what is still being logged counts.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from smoldebug.errors import NotFound, SmoldebugError
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.reading import container_statuses, dig, ref_of
from smoldebug.goal.rollout import in_scope
from smoldebug.goal.services import Service, workload
from smoldebug.playbook.models import LogsTool
from smoldebug.playbook.upgrades import LogsCheck
from smoldebug.records import Json, ObjectRef
from smoldebug.signals.log_shapes import KnownErrors, error_words, message
from smoldebug.signals.words import count
from smoldebug.sources.world import Object
from smoldebug.untrusted import one_line

OVERLAP = 2.0  # seconds read again: a log is asked for by its age in whole seconds
REMEMBERED = 2000  # lines of a container that are known again
SAID = 200  # characters of a line

Run = tuple[str, str, int]  # uid of a pod, its container, the times that one was restarted


def logs(check: LogsCheck, setting: Setting) -> Check:
    reader = _Logs(check, setting)
    if setting.service is not None and not check.target:
        return Check("no new errors", "logs", reader, str(setting.service.ref), reader.mark)
    where = check.target or ", ".join(filter(None, setting.namespaces)) or "all namespaces"
    return Check(f"no new errors logged in {where}", "logs", reader, where, reader.mark)


@dataclass
class _Container:
    """What has been read of one run of a container."""

    lines: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))  # hashes
    read: float | None = None  # monotonic seconds
    over: bool = False  # it has ended, and was read to its end

    def fresh(self, text: str) -> list[str]:
        """The lines that come after those read before. Lines without times may be told apart
        wrongly when they are equal, which then changes no more than their number."""
        lines = text.splitlines()
        hashes, known = [hash(line) for line in lines], list(self.lines)
        same = min(len(hashes), len(known))
        while same and hashes[:same] != known[-same:]:
            same -= 1
        self.lines.extend(hashes[same:])
        return lines[same:]


@dataclass
class _New:
    """Errors of kinds that the baseline does not have."""

    kinds: set[str] = field(default_factory=set)
    lines: int = 0
    first: str = ""
    pod: str = ""

    def add(self, words: str, line: str, pod: ObjectRef) -> None:
        self.first, self.pod = self.first or line, self.pod or str(pod)
        self.lines += 1
        if len(self.kinds) < 1000:
            self.kinds.add(words)


class _Logs:
    def __init__(self, check: LogsCheck, setting: Setting) -> None:
        self._check, self._setting = check, setting
        self._most = (setting.plan.playbook.tools.logs or LogsTool()).max_lines
        self._known: dict[ObjectRef, KnownErrors] = {}
        self._runs: dict[Run, _Container] = {}
        self._unread: set[ObjectRef] = set()  # pods whose log could not be read
        self._services: dict[ObjectRef, Service] = {}
        self._new, self._sampled, self._cut = _New(), False, False
        self._again = False  # it failed, and holds again only if nothing more is logged

    def __call__(self, sample: int) -> Measured | None:
        services, seen = self._look(), self._setting.seen
        if self._setting.service is not None and services and services[0].idle:
            return None
        if seen.marks != 1:
            self._again, self._new = bool(self._new.kinds), _New()
        judged = seen.marks > 0 or (self._sampled and not self._setting.plan.playbook.steps)
        lines, problem = self._read(services, judged=judged)
        self._sampled = True
        return self._judged(services, lines, problem, judged=judged)

    def mark(self) -> Json:
        """Whatever is logged up to now is known, at the first baseline, or over."""
        services = self._look()
        _, problem = self._read(services, judged=self._setting.seen.marks > 0)
        self._new = _New()
        if problem is not None:
            raise problem
        found = [line for known in self._known.values() for line in known.examples.values()]
        return {"errors": found}

    def _judged(
        self,
        services: Sequence[Service],
        lines: int,
        problem: SmoldebugError | None,
        *,
        judged: bool,
    ) -> Measured:
        new = self._new
        if new.kinds:
            says = f"{count(len(new.kinds), 'new error shape')} ×{new.lines}: "
            return not_met(says + one_line(message(new.first), SAID), new.lines, subject=new.pod)
        if problem is not None:
            raise problem
        if not services or not any(service.pods for service in services):
            return inconclusive("no pods found")
        if any(known.full for known in self._known.values()):
            return inconclusive("too many kinds of errors before to tell a new one")
        if not judged:
            kinds = sum(len(known.examples) for known in self._known.values())
            return met(f"{count(kinds, 'error shape')} before the steps", 0.0)
        more = f"; more than {self._most} were logged at a time" if self._cut else ""
        return met(f"none in {count(lines, 'new line')}{more}", 0.0)

    def _look(self) -> list[Service]:
        setting = self._setting
        if setting.service is not None and not self._check.target:
            return [setting.service] if setting.service.item else []
        if self._check.target:
            ref = workload(self._check.target, setting)
            found = [(ref, setting.cluster.get(ref))]
        else:
            found, hidden = in_scope(setting)
            if hidden is not None:
                raise hidden
        for ref, item in found:
            service = self._services.setdefault(ref, Service(ref, setting.seen, setting.clock))
            service.look(item)
        return [service for ref, _ in found if (service := self._services[ref]).item]

    # --- reading ----------------------------------------------------------------------------

    def _read(
        self, services: Sequence[Service], *, judged: bool
    ) -> tuple[int, SmoldebugError | None]:
        """Lines that are new, and the first reason why a log could not be read."""
        total, problem, self._cut = 0, None, False
        pods = [(service, pod) for service in services for pod in self._pods(service)]
        there = {_uid(pod) for _, pod in pods}
        self._runs = {run: state for run, state in self._runs.items() if run[0] in there}
        for service, pod in pods:
            ref = ref_of(pod, "Pod")
            if not self._wanted(ref):
                continue
            self._unread.discard(ref)
            try:
                for line in self._lines(pod, ref):
                    total += 1
                    self._take(service.ref, ref, line, judged=judged)
            except SmoldebugError as error:
                self._unread.add(ref)
                problem = problem or error
        return total, problem

    def _wanted(self, pod: ObjectRef) -> bool:
        touched = self._setting.seen.touched
        return touched is None or pod in {*touched, *self._unread} or self._again

    def _pods(self, service: Service) -> Iterator[Object]:
        """What the pods of an older revision say while they end is no news."""
        newest = {_uid(pod) for pod in service.newest}
        for pod in service.pods:
            ending = dig(pod, "metadata", "deletionTimestamp", default="")
            if not ending or _uid(pod) in newest:
                yield pod

    def _lines(self, pod: Object, ref: ObjectRef) -> Iterator[str]:
        for status in container_statuses(pod):
            name, restarts = dig(status, "name", default=""), dig(status, "restartCount", default=0)
            state: Object = dig(status, "state", default={})
            last: Object = dig(status, "lastState", default={})
            if not {*state, *last} & {"running", "terminated"}:
                continue  # it has not run yet
            running = "running" in state
            if restarts and running:
                yield from self._once(ref, (_uid(pod), name, restarts - 1), previous=True)
            current = (_uid(pod), name, restarts)
            if running:
                yield from self._text(ref, current)
            else:
                yield from self._once(ref, current)

    def _once(self, pod: ObjectRef, run: Run, *, previous: bool = False) -> list[str]:
        """The rest of a run that is over."""
        known = self._runs.setdefault(run, _Container())
        if known.over:
            return []
        lines = self._text(pod, run, previous=previous)
        self._runs[run] = _Container(over=True)
        return lines

    def _text(self, pod: ObjectRef, run: Run, *, previous: bool = False) -> list[str]:
        now, state = self._setting.clock.monotonic(), self._runs.setdefault(run, _Container())
        since = None if state.read is None or previous else now - state.read + OVERLAP
        try:
            text = self._setting.world.cluster.logs(
                pod.namespace,
                pod.name,
                run[1],
                previous=previous,
                lines=self._most,
                since=since,
            )
        except NotFound:
            return []  # the pod went, or its earlier run
        fresh = state.fresh(text)
        self._cut |= state.read is not None and len(fresh) >= self._most
        state.read = now
        return fresh

    def _take(self, service: ObjectRef, pod: ObjectRef, line: str, *, judged: bool) -> None:
        if line[:1].isspace() or any(word in line for word in self._check.ignore):
            return  # the indented rest of a stack trace, or nothing to worry about
        words = error_words(line.replace(pod.name, "<id>"))
        if not words:
            return
        known = self._known.setdefault(service, KnownErrors())
        if not judged:
            known.add(words, line)
        elif words not in known:
            self._new.add(words, line, pod)


def _uid(pod: Any) -> str:
    return dig(pod, "metadata", "uid", default="") or dig(pod, "metadata", "name", default="")
