"""Why a pod of a new revision will not become ready by waiting, or what it still waits for."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from smoldebug.clock import duration
from smoldebug.goal.reading import NONE, container_statuses, dig
from smoldebug.signals.times import when
from smoldebug.sources.world import Object
from smoldebug.untrusted import one_line

STUCK = (  # reasons for which a container waits, and that do not go away by themselves
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
ONCE = "ErrImagePull"  # may be a hiccup of the registry; so may not a second one
PROBE = {"initialDelaySeconds": 0, "periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 1}
# Kubernetes never gives up a readiness probe: what does not listen yet may only be slow, and so may
# what says that it is not ready. How long pods of the workload took to get ready tells how slow.
SLOWER = 3  # times as long as a pod that is ready took; all of a release may start at once
ANSWERED = "HTTP probe failed with statuscode"  # the program itself says no
AT_LEAST, UNANSWERED = 5.0, 60.0  # seconds until such a no counts; and silence
LONG = 160  # characters of a message

Key = tuple[str, str, str]  # uid of the pod, its container, what is wrong


class Stuck:
    """Remembers since when each container of a workload has been as it is."""

    def __init__(self) -> None:
        self._since: dict[Key, float] = {}  # monotonic seconds

    def why(
        self, pods: Iterable[Object], ready: Iterable[Object], events: Iterable[Object], now: float
    ) -> str:
        """`payments-7d9: readiness probe failing: HTTP probe failed ...`, "" where waiting may
        help. `ready` are the workload's pods: what is ready tells how long a start takes."""
        before, self._since = self._since, {}
        usual = max(map(_start_took, ready), default=0.0)
        told = list(events)
        found = ""
        for pod in pods:  # all of them: each is remembered
            why = self._pod(pod, (before, now, usual), told)
            found = found or (f"{_name(pod)}: {why}" if why else "")
        return found

    def _pod(
        self, pod: Object, past: tuple[dict[Key, float], float, float], events: list[Object]
    ) -> str:
        before, now, usual = past
        uid = dig(pod, "metadata", "uid", default="") or _name(pod)
        if dig(pod, "status", "phase", default="") == "Failed":
            return f"failed: {_words(dig(pod, 'status', default={})) or 'no reason given'}"
        found = ""
        for status in container_statuses(pod):
            name = dig(status, "name", default="?")
            reason = dig(status, "state", "waiting", "reason", default="")
            state = reason or f"run {dig(status, 'restartCount', default=0)}"
            key = (uid, name, state)
            self._since[key] = before.get(key, now)
            if reason in STUCK or (reason == ONCE and key in before):
                found = found or f"{name} {_waiting(status)}"
            elif not reason:
                found = found or self._run(pod, status, (now - self._since[key], usual), events)
        return found

    def _run(
        self, pod: Object, status: Any, times: tuple[float, float], events: list[Object]
    ) -> str:
        """What is wrong with a container that runs, or has ended."""
        name, code = (
            dig(status, "name", default=""),
            dig(status, "state", "terminated", "exitCode", default=0),
        )
        if code and _is(pod, "initContainers", name):
            return f"init container {name} failed (exit code {code})"
        probe: Object = dig(_is(pod, "containers", name), "readinessProbe", default={})
        starting = dig(status, "started", default=True) is False
        started = when(dig(status, "state", "running", "startedAt", default=""))
        if not probe or starting or started is None or dig(status, "ready", default=False):
            return ""
        known, usual = times
        event = _unhealthy(pod, name, events)
        last = _last(event)
        lasted = max(known, (last - started).total_seconds() if last else 0.0)
        startup: Object = dig(_is(pod, "containers", name), "startupProbe", default={})
        said = dig(event, "message", default="").partition("probe failed: ")[2]
        patience = _allowed(probe) + (_allowed(startup) if startup else 0.0)
        least = AT_LEAST if said.startswith(ANSWERED) else UNANSWERED
        if lasted < max(patience, SLOWER * usual, least):
            return ""
        quoted = one_line(said, LONG) or f"not ready {duration(lasted)} after its start"
        return f"readiness probe failing: {quoted}"


def unscheduled(pods: Iterable[Object]) -> str:
    """`payments-7d9: not scheduled: 0/3 nodes are available ...`, or "": room may be made."""
    for pod in pods:
        conditions: list[Any] = dig(pod, "status", "conditions", default=[])
        for condition in conditions:
            known = (dig(condition, "type", default=""), dig(condition, "status", default=""))
            if known == ("PodScheduled", "False"):
                return f"{_name(pod)}: not scheduled: {_words(condition)}"
    return ""


def _name(pod: Object) -> str:
    return dig(pod, "metadata", "name", default="?")


def _words(item: Any) -> str:
    """The message of a condition or state, else its reason."""
    message, reason = dig(item, "message", default=""), dig(item, "reason", default="")
    return one_line(message, LONG) or reason


def _waiting(status: Any) -> str:
    """`CrashLoopBackOff (last exit: OOMKilled, code 137)`, `ImagePullBackOff: Back-off ...`."""
    reason = dig(status, "state", "waiting", "reason", default="")
    last: Object = dig(status, "lastState", "terminated", default={})
    if last:
        ended = dig(last, "reason", default="") or "ended"
        return f"{reason} (last exit: {ended}, code {dig(last, 'exitCode', default=0)})"
    message = one_line(dig(status, "state", "waiting", "message", default=""), LONG)
    return f"{reason}: {message}" if message else reason


def _is(pod: Object, block: str, name: str) -> Object:
    """The container of that name in a block of the pod's spec, {} where it is in another."""
    listed: list[Any] = dig(pod, "spec", block, default=[])
    return next((each for each in listed if dig(each, "name", default="") == name), {})


def _allowed(probe: Object) -> float:
    """Seconds after which a probe that never succeeds has failed for good."""
    delay, period, times, timeout = (dig(probe, key, default=usual) for key, usual in PROBE.items())
    return float(delay + period * times + timeout)


def _start_took(pod: Object) -> float:
    """Seconds from the start of a pod's containers until it was ready; 0 where it is not."""
    conditions: list[Any] = dig(pod, "status", "conditions", default=[])
    ready: Object = next((c for c in conditions if dig(c, "type", default="") == "Ready"), {})
    at = when(dig(ready, "lastTransitionTime", default=""))
    starts = [
        when(dig(status, "state", "running", "startedAt", default=""))
        for status in dig(pod, "status", "containerStatuses", default=NONE)
    ]
    known = [start for start in starts if start is not None]
    if dig(ready, "status", default="") != "True" or at is None or not known:
        return 0.0
    return max(0.0, (at - max(known)).total_seconds())


def _unhealthy(pod: Object, container: str, events: list[Object]) -> Object:
    """The newest event of a readiness probe that failed, {} where there is none."""
    uid, found = dig(pod, "metadata", "uid", default=""), []
    for event in events:
        about: Object = dig(event, "involvedObject", default={})
        where = dig(about, "fieldPath", default="") or f"spec.containers{{{container}}}"
        if (
            dig(event, "reason", default="") == "Unhealthy"
            and dig(event, "message", default="").startswith("Readiness probe failed")
            and dig(about, "name", default="") == _name(pod)
            and dig(about, "uid", default=uid) == uid
            and where == f"spec.containers{{{container}}}"
        ):
            found.append(event)
    return max(found, key=lambda event: str(_last(event) or ""), default={})


def _last(event: Object) -> datetime | None:
    series = when(dig(event, "series", "lastObservedTime", default=""))
    return series or when(
        dig(event, "lastTimestamp", default="") or dig(event, "eventTime", default="")
    )
