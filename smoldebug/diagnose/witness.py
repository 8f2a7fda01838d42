"""What can be seen of services that fail, before a rollback removes it: pods, warnings, logs.

For each service two pieces of evidence: its description (what changed on it, its pods, why they are
red, warnings about them) and the end of its logs. How much is read, and how long, is bounded; what
could not be read is a gap.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from smoldebug.clock import Clock
from smoldebug.errors import SmoldebugError, ToolError
from smoldebug.evidence import EvidenceStore
from smoldebug.records import Evidence, Fact, Gap, Json, ObjectRef, Observation
from smoldebug.signals.first_card import read
from smoldebug.signals.log_shapes import LINE, SHOWN, log_shapes, read_line, serves_error
from smoldebug.signals.objects import (
    Object,
    containers,
    controller,
    meta,
    name,
    ref,
    revisions,
    spec,
    template,
)
from smoldebug.signals.red import container_statuses, what_is_red
from smoldebug.signals.services import WORKLOADS, call_graph
from smoldebug.signals.tables import columns, table, trimmed, unready_first
from smoldebug.signals.times import age, when
from smoldebug.signals.what_changed import rolled_out, what_changed
from smoldebug.signals.words import count
from smoldebug.sources.selectors import holds
from smoldebug.sources.targets import selector_text
from smoldebug.sources.world import Cluster
from smoldebug.toolset import within_limit
from smoldebug.untrusted import one_line

SERVICES = 6  # described, those first that look worst and that most others call
PODS = 3  # of each whose logs are read
LOGS = 40  # read in all
LINES = 300  # of each log
EVENTS = 12  # of each service
SECONDS = 3.0  # for all of it
BEFORE = timedelta(minutes=10)  # looked back where no baseline says when the steps began
SKEW = timedelta(seconds=5)  # between this clock and the cluster's
RELEVANT = (*WORKLOADS, "Pod", "Event", "ReplicaSet", "Service", "ConfigMap", "Node")


@dataclass(frozen=True, slots=True)
class _Log:
    namespace: str
    pod: str
    container: str
    previous: bool

    def __str__(self) -> str:
        return f"{self.pod}/{self.container}{' (before its restart)' if self.previous else ''}"


@dataclass
class Witness:
    """Reads `cluster`, as far as the playbook lets it be seen, into `evidence`; `shown` masks the
    secrets in an observation. Of logs at most `lines` are read each."""

    cluster: Cluster
    evidence: EvidenceStore
    shown: Callable[[Observation], Observation]
    clock: Clock
    lines: int = LINES
    _objects: Mapping[str, Sequence[Object]] = field(default_factory=dict, init=False)
    _gaps: tuple[str, ...] = field(default=(), init=False)

    def gather(
        self, services: Sequence[ObjectRef], known: Mapping[str, Sequence[Object]] = {}
    ) -> list[Evidence]:
        """Everything about these workloads. Takes about three seconds at most; raises nothing for
        what the cluster does not show. `known` are objects by kind that need not be read."""
        began = self.clock.monotonic()
        self._read(sorted({service.namespace for service in services}))
        self._objects = {**self._objects, **known}
        workloads = [self._workload(service) for service in self._most_telling(services)]
        found = [self._described(item) for item in workloads if item]
        wanted = {str(ref(item)): list(self._logs_of(item)) for item in workloads if item}
        left = SECONDS - (self.clock.monotonic() - began)
        texts = self._fetch([log for logs in wanted.values() for log in logs][:LOGS], left)
        found += [
            self._folded(ObjectRef.parse(about), {log: texts[log] for log in logs if log in texts})
            for about, logs in wanted.items()
            if logs
        ]
        return found

    def calls(self) -> dict[str, set[str]]:
        """Which workload calls which, as of `gather`: `Deployment/shop/web` and the like."""
        return call_graph(self._objects)

    def changed(self) -> set[str]:
        """The workloads that were changed since the steps began, themselves or a ConfigMap that
        they name."""
        touched = {fact.ref for fact in self._changes()}
        return {
            str(ref(item))
            for kind in WORKLOADS
            for item in self._objects.get(kind, ())
            if touched & {str(ref(item)), *_configs(item)}
        }

    # --- objects ----------------------------------------------------------------------------

    def _read(self, namespaces: Sequence[str]) -> None:
        objects: Mapping[str, Sequence[Object]] = {}
        gaps: list[Gap] = []
        done = within_limit(lambda: read(self.cluster, namespaces), SECONDS, None)
        try:
            if done is None:
                raise ToolError(f"no answer within {SECONDS:g} s")
            objects, gaps = done.result()
        except SmoldebugError as error:
            gaps = [Gap("the services that fail", str(error))]
        self._objects = objects
        by_reason: dict[str, list[str]] = {}
        for gap in gaps:
            if gap.what in RELEVANT or not objects:
                by_reason.setdefault(gap.why, []).append(gap.what)
        self._gaps = tuple(f"{', '.join(what)}: {why}" for why, what in by_reason.items())

    @property
    def _since(self) -> datetime:
        """When the steps began: what was normal is noted right before."""
        baseline = self.evidence.latest("baseline")
        return baseline.at if baseline else self.clock.now() - BEFORE

    def _changes(self) -> Sequence[Fact]:
        now = self.clock.now()
        return what_changed(self._objects, now, (now - self._since + SKEW).total_seconds())

    def _workload(self, service: ObjectRef) -> Object | None:
        known = self._objects.get(service.kind, ())
        return next((item for item in known if ref(item) == service), None)

    def _pods(self, workload: Object) -> list[Object]:
        """Those that are not ready or were restarted first. One that is being ended, as a rollout
        does with the old ones, says nothing of the new; unless there is no other."""
        if workload.get("kind") == "Pod":
            return [workload]
        selector = selector_text(spec(workload).get("selector") or {})
        here = meta(workload).get("namespace")
        found = [
            pod
            for pod in self._objects.get("Pod", ())
            if selector
            and meta(pod).get("namespace") == here
            and holds(selector, (meta(pod).get("labels") or {}).get)
        ]
        staying = [pod for pod in found if not meta(pod).get("deletionTimestamp")]
        return unready_first(staying or found)

    def _most_telling(self, services: Sequence[ObjectRef]) -> list[ObjectRef]:
        red = {fact.ref for fact in what_is_red(self._objects, self.clock.now())}
        called = [service for callees in self.calls().values() for service in callees]

        def interest(service: ObjectRef) -> tuple[bool, int]:
            item = self._workload(service)
            pods = {str(ref(pod)) for pod in self._pods(item)} if item else set()
            return not pods & red, -called.count(str(service))

        return sorted(dict.fromkeys(services), key=interest)[:SERVICES]

    # --- what is told of one ----------------------------------------------------------------

    def _described(self, workload: Object) -> Evidence:
        about, now, pods = ref(workload), self.clock.now(), self._pods(workload)
        related = {str(about), *_configs(workload)}
        changed = [fact.text for fact in self._changes() if fact.ref in related]
        here = {spec(pod).get("nodeName") for pod in pods}
        nodes = [item for item in self._objects.get("Node", ()) if name(item) in here]
        red = [fact.text for fact in what_is_red({"Pod": pods, "Node": nodes}, now)]
        warnings = self._warnings(workload, pods)
        lines = [table(about.kind, [workload], now)]
        lines += ["changed since the steps began:", *_list(changed)]
        lines += [table("Pod", pods, now)] if pods else ["it has no pods"]
        lines += ["red:", *_list(red)]
        lines += [_events(warnings, now)] if warnings else ["no warnings"]
        lines += [f"not seen: {gap}" for gap in self._gaps]
        data = {
            "pods": [trimmed(pod) for pod in pods[:SERVICES]],
            "events": [trimmed(event) for event in warnings],
            "changed": changed,
            "red": red,
            "image": self._image(workload),
            "since": self._since.isoformat(),
        }
        seen = Observation("\n".join(lines), data, "object", str(about), self._gaps)
        return self._add("describe", about, {"kind": about.kind, "name": about.name}, seen)

    def _image(self, workload: Object) -> Json:
        """The image that the newest revision brought, None where it is the one before's."""
        known = revisions(workload, self._objects.get("ReplicaSet", ()))
        if len(known) < 2:
            return None
        began = rolled_out(workload, known, self._objects.get("Event", ()))
        if not began or began < self._since - SKEW:
            return None
        old = {entry.get("image") for entry in containers(template(known[1]))}
        new = [entry.get("image") for entry in containers(template(known[0]))]
        return next((image for image in new if image not in old), None)

    def _warnings(self, workload: Object, pods: Sequence[Object]) -> list[Object]:
        """Newest first, about the workload, its ReplicaSets and its pods, since the steps began."""
        own = {ref(workload), *map(ref, pods)}
        own |= {
            ref(item)
            for item in self._objects.get("ReplicaSet", ())
            if controller(item).get("uid") == meta(workload).get("uid")
        }
        found = [
            (at, index, event)
            for index, event in enumerate(self._objects.get("Event", ()))
            if event.get("type") == "Warning"
            and _about(event) in own
            and (at := _last_seen(event))
            and at >= self._since - SKEW
        ]
        return [event for _, _, event in sorted(found, key=lambda each: each[:2])[::-1][:EVENTS]]

    def _add(
        self, tool: str, about: ObjectRef, arguments: Mapping[str, Json], seen: Observation
    ) -> Evidence:
        given = {**arguments, "namespace": about.namespace}
        return self.evidence.add(tool, given, self.shown(seen))

    # --- logs -------------------------------------------------------------------------------

    def _logs_of(self, workload: Object) -> Iterator[_Log]:
        """Of containers that have run, and of what they wrote before a restart."""
        for pod in self._pods(workload)[:PODS]:
            where = str(meta(pod).get("namespace") or ""), name(pod)
            for entry in container_statuses(pod):
                ran = entry.get("lastState") or {}
                called, state = str(entry.get("name")), entry.get("state") or {}
                if ran:
                    yield _Log(*where, called, previous=True)
                if not state.get("waiting"):
                    yield _Log(*where, called, previous=False)

    def _fetch(self, wanted: Sequence[_Log], seconds: float) -> dict[_Log, str | SmoldebugError]:
        since = (self.clock.now() - self._since + SKEW).total_seconds()

        def fetch(log: _Log) -> str | SmoldebugError:
            try:
                return self.cluster.logs(
                    log.namespace,
                    log.pod,
                    log.container,
                    previous=log.previous,
                    lines=self.lines,
                    since=None if log.previous else since,
                )
            except SmoldebugError as error:
                return error

        late = ToolError("no answer in time")
        pool = ThreadPoolExecutor(8, "witness")
        pending = {log: pool.submit(fetch, log) for log in wanted}
        done, _ = wait(pending.values(), timeout=max(0.5, seconds))
        pool.shutdown(wait=False, cancel_futures=True)  # what is late has a limit of its own
        return {log: each.result() if each in done else late for log, each in pending.items()}

    def _folded(self, about: ObjectRef, read: Mapping[_Log, str | SmoldebugError]) -> Evidence:
        texts = {str(log): text for log, text in read.items() if isinstance(text, str)}
        gaps = tuple(f"{log}: {text}" for log, text in read.items() if not isinstance(text, str))
        shapes = log_shapes(texts)
        lines = sum(len(text.splitlines()) for text in texts.values())
        rows = [f"{about}: {count(lines, 'line')}, {count(len(shapes), 'shape')}"]
        rows += [f"{each.count:>5}× {each.level or '-':5} {each.last}" for each in shapes]
        rows += [f"not read: {gap}" for gap in gaps]
        data = {
            "lines": lines,
            "shapes": [asdict(shape) for shape in shapes],
            "ends": [end for text in texts.values() if (end := _last_error(text))],
            "last": next((text.splitlines()[-1][:LINE] for text in texts.values() if text), ""),
        }
        seen = Observation("\n".join(rows), data, "log", str(about), gaps)
        return self._add(
            "fetch_logs", about, {"target": f"{about.kind}/{about.name}".lower()}, seen
        )


def _list(texts: Sequence[str]) -> list[str]:
    return [f"- {text}" for text in texts] or ["- nothing seen"]


def _configs(workload: Object) -> set[str]:
    """The ConfigMaps that a workload's pods read: `ConfigMap/shop/auth-config`."""
    pod, names = template(workload), set()
    for container in containers(pod):
        for entry in container.get("env") or []:
            source = (entry.get("valueFrom") or {}).get("configMapKeyRef") or {}
            names.add(source.get("name"))
        for entry in container.get("envFrom") or []:
            names.add((entry.get("configMapRef") or {}).get("name"))
    for volume in pod.get("volumes") or []:
        names.add((volume.get("configMap") or {}).get("name"))
    here = str(meta(workload).get("namespace") or "")
    return {str(ObjectRef("ConfigMap", here, str(called))) for called in names if called}


def _about(event: Object) -> ObjectRef:
    about = event.get("involvedObject") or {}
    return ObjectRef(*(str(about.get(key) or "") for key in ("kind", "namespace", "name")))


def _last_seen(event: Object) -> datetime | None:
    return when(event.get("lastTimestamp")) or when(event.get("eventTime"))


def _events(found: Sequence[Object], now: datetime) -> str:
    rows: list[tuple[str, ...]] = [("AGE", "REASON", "OBJECT", "COUNT", "MESSAGE")]
    for event in found:
        about, times = _about(event), str(event.get("count") or 1)
        words = str(event.get("message"))
        where = f"{about.kind}/{about.name}"
        rows.append((age(_last_seen(event), now), str(event.get("reason")), where, times, words))
    return columns(rows)


def _last_error(text: str) -> str:
    """The last line that says what went wrong; that a request was answered with 5xx does not."""
    for line in reversed(text.splitlines()):
        line = line[:LINE].rstrip()
        indented = line[:1] in ("", " ", "\t")
        if not indented and read_line(line)[0] == "error" and not serves_error(line):
            return one_line(line, SHOWN)
    return ""
