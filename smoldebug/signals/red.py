"""What is red right now, from the objects alone: state that is wrong, with the reason it gives."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from smoldebug.records import Fact
from smoldebug.signals.objects import (
    Object,
    condition,
    meta,
    ref,
    spec,
    status,
    wanted,
)
from smoldebug.signals.services import STARTING_SECONDS, WORKLOADS, red_services
from smoldebug.signals.times import when
from smoldebug.signals.words import count
from smoldebug.untrusted import one_line

EVENT_SECONDS = 600.0  # a warning older than this is history
SETTLED_SECONDS = 60.0  # after which a ready pod's last warning is over
RESTART_SECONDS = 600.0  # a restart within this is news
SEVERITIES = ("critical", "warning", "info")

# What a healthy start leaves behind (real clusters write these about workloads that are fine)
_HARMLESS = ("FailedToUpdateEndpointSlices", "FailedToCreateEndpoint", "FailedToUpdateEndpoint")


def what_is_red(objects: Mapping[str, Sequence[Object]], now: datetime) -> list[Fact]:
    """Critical first. `objects` by kind; kinds that could not be read are simply missing."""
    pods = [*_pods(objects.get("Pod", ()), now)]
    facts = [
        *_nodes(objects.get("Node", ())),
        *_workloads(objects, now),
        *pods,
        *_autoscalers(objects.get("HorizontalPodAutoscaler", ())),
        *red_services(objects, now),
    ]
    facts += _events(objects, {fact.ref for fact in pods}, now)
    return sorted(facts, key=lambda fact: SEVERITIES.index(fact.severity))


def _nodes(nodes: Iterable[Object]) -> Iterator[Fact]:
    for node in nodes:
        ready = condition(node, "Ready")
        if ready and ready.get("status") != "True":
            text = f"{ref(node)}: not ready: {one_line(str(ready.get('message') or ''), 120)}"
            at = when(ready.get("lastTransitionTime"))
            yield Fact(text.rstrip(": "), str(ref(node)), at, "critical")
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure"):
            found = condition(node, kind)
            if found.get("status") == "True":
                at = when(found.get("lastTransitionTime"))
                yield Fact(f"{ref(node)}: {kind}", str(ref(node)), at, "warning")


# --- workloads --------------------------------------------------------------------------------


def _workloads(objects: Mapping[str, Sequence[Object]], now: datetime) -> Iterator[Fact]:
    for kind in WORKLOADS:
        for item in objects.get(kind, ()):
            pods, there = wanted(item), available(item)
            if pods <= there:
                continue
            at = when(condition(item, "Available").get("lastTransitionTime"))
            text = f"{ref(item)}: {there} of {pods} available{_stuck(item)}"
            young = _younger(item, now, STARTING_SECONDS)
            severity = "critical" if there == 0 and not young else "warning"
            yield Fact(text, str(ref(item)), at, severity)


def available(item: Object) -> int:
    """How many pods of a workload are available."""
    found = status(item)
    if item.get("kind") == "DaemonSet":
        return _number(found.get("numberAvailable"))
    pods = found.get("availableReplicas")
    if pods is None and item.get("kind") == "StatefulSet":
        pods = found.get("readyReplicas")  # before 1.22
    return _number(pods)


def _stuck(item: Object) -> str:
    for kind in ("ReplicaFailure", "Progressing"):
        found = condition(item, kind)
        bad = "True" if kind == "ReplicaFailure" else "False"
        if found.get("status") == bad:
            return f" ({found.get('reason')}: {one_line(str(found.get('message') or ''), 160)})"
    return ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _younger(item: Object, now: datetime, seconds: float) -> bool:
    made = when(meta(item).get("creationTimestamp"))
    return made is not None and now - made < timedelta(seconds=seconds)


# --- pods -------------------------------------------------------------------------------------


def _pods(pods: Iterable[Object], now: datetime) -> Iterator[Fact]:
    for pod in pods:
        if meta(pod).get("deletionTimestamp"):
            continue
        if found := _pod(pod, now):
            severity, text, at = found
            yield Fact(f"{ref(pod)}: {text}", str(ref(pod)), at, severity)


_Red = tuple[str, str, datetime | None]


def _pod(pod: Object, now: datetime) -> _Red | None:
    phase = status(pod).get("phase")
    if phase == "Succeeded":
        return None
    if phase == "Failed":
        return "warning", f"failed: {_reason(status(pod)) or 'no reason given'}", None
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        why = one_line(str(scheduled.get("message") or scheduled.get("reason") or ""), 160)
        return "critical", f"not scheduled: {why}", when(scheduled.get("lastTransitionTime"))
    for container in container_statuses(pod):
        if found := _container(container, now):
            return found
    ready = condition(pod, "Ready")
    if ready.get("status") == "False" and not _younger(pod, now, STARTING_SECONDS):
        return "warning", "running, not ready", when(ready.get("lastTransitionTime"))
    return None


def container_statuses(pod: Object) -> Iterator[Object]:
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from status(pod).get(field) or []


def _container(container: Object, now: datetime) -> _Red | None:
    """A container that cannot start, keeps ending, or ended lately."""
    last = (container.get("lastState") or {}).get("terminated") or {}
    state = container.get("state") or {}
    restarts = _number(container.get("restartCount"))
    waiting = state.get("waiting") or {}
    if waiting.get("reason") not in (None, "", "ContainerCreating", "PodInitializing"):
        why = one_line(str(waiting.get("message") or ""), 160)
        before = f", last exit {_ending(last)}" if last else ""
        text = f"{container.get('name')} {waiting['reason']}{before}, {count(restarts, 'restart')}"
        text += f": {why}" if why and not last else ""
        return "critical", text, when(last.get("finishedAt"))
    ended = state.get("terminated") or {}
    if ended and ended.get("exitCode") != 0:
        text = f"{container.get('name')} ended: {_ending(ended)}"
        return "critical", text, when(ended.get("finishedAt"))
    at = when(last.get("finishedAt"))
    if restarts and at and now - at < timedelta(seconds=RESTART_SECONDS):
        return "warning", f"{container.get('name')} restarted: {_ending(last)}", at
    return None


def _ending(terminated: Object) -> str:
    reason = str(terminated.get("reason") or "Error")
    return f"{reason} (exit code {terminated.get('exitCode')})"


def _reason(item: Object) -> str:
    parts = (str(item.get("reason") or ""), one_line(str(item.get("message") or ""), 160))
    return ": ".join(part for part in parts if part)


# --- the rest ---------------------------------------------------------------------------------


def _autoscalers(items: Iterable[Object]) -> Iterator[Fact]:
    for item in items:
        most, now = spec(item).get("maxReplicas"), status(item).get("currentReplicas")
        wanted = status(item).get("desiredReplicas")
        limited = condition(item, "ScalingLimited")
        if (
            most
            and now == most
            and wanted == most
            and limited.get("reason") != "DesiredWithinRange"
        ):
            at = when(limited.get("lastTransitionTime"))
            yield Fact(f"{ref(item)}: at its maximum of {most}", str(ref(item)), at, "warning")
        active = condition(item, "ScalingActive")
        if active.get("status") == "False" and active.get("reason") != "ScalingDisabled":
            at = when(active.get("lastTransitionTime"))
            text = f"{ref(item)}: cannot scale: {_reason(active)}"
            yield Fact(text, str(ref(item)), at, "warning")


def _events(objects: Mapping[str, Sequence[Object]], told: set[str], now: datetime) -> list[Fact]:
    """Current warnings, one line per object and reason, unless the object's own line says it."""
    alive = {str(ref(pod)): pod for pod in objects.get("Pod", ())}
    newest: dict[tuple[str, str], tuple[datetime, Object]] = {}
    for event in objects.get("Event", ()):
        at = when(event.get("lastTimestamp")) or when(event.get("eventTime"))
        if event.get("type") != "Warning" or event.get("reason") in _HARMLESS or at is None:
            continue
        where, age = _about(event), (now - at).total_seconds()
        known = newest.get((where, str(event.get("reason"))))
        if where in told or age > EVENT_SECONDS or (known and known[0] >= at):
            continue
        if where.startswith("Pod/") and "Pod" in objects and _over(alive.get(where), at, age):
            continue
        newest[where, str(event.get("reason"))] = at, event
    return [_event(where, at, event) for (where, _), (at, event) in newest.items()]


def _over(pod: Object | None, at: datetime, age: float) -> bool:
    """Whether a pod's warning is history: the pod is gone, or became ready after it."""
    if pod is None:
        return True
    ready = condition(pod, "Ready")
    since = when(ready.get("lastTransitionTime"))
    return ready.get("status") == "True" and (
        age > SETTLED_SECONDS or (since is not None and since >= at)
    )


def _event(where: str, at: datetime, event: Object) -> Fact:
    times = _number(event.get("count")) or 1
    words = one_line(str(event.get("message") or ""), 160)
    return Fact(f"{where}: {event.get('reason')} ×{times}: {words}", where, at, "warning")


def _about(event: Object) -> str:
    about = event.get("involvedObject") or {}
    parts = (about.get("kind"), about.get("namespace"), about.get("name"))
    return "/".join(str(part) for part in parts if part)
