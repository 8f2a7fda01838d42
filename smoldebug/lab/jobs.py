"""The Job controller: pods that run to their end, until enough have succeeded or too many failed.

Every completion is alike: there are no indexed Jobs, and no pod failure policies.
"""

import math
from datetime import datetime, timedelta
from typing import NamedTuple

from smoldebug.lab.objects import (
    JOBS,
    PODS,
    Recorder,
    condition,
    is_active,
    is_ready,
    owned_by,
    write_status,
)
from smoldebug.lab.podtemplates import RETRY, PodMaker, pod_of
from smoldebug.lab.store import Store, timestamp
from smoldebug.sources.world import Object

_IDLE = 30.0  # seconds
_BACKOFF_LIMIT = 600.0  # seconds
_BACKOFF_EXCEEDED = "Job has reached the specified backoff limit"
_DEADLINE_EXCEEDED = "Job was active longer than specified deadline"


class _Pods(NamedTuple):
    active: list[Object]
    succeeded: list[Object]
    failed: list[Object]


class JobController:
    """`backoff`: seconds before a failed pod is replaced; they double with each failure."""

    def __init__(self, store: Store, backoff: float = 10.0) -> None:
        self.store, self.backoff = store, backoff
        self.recorder = Recorder(store, "job-controller")
        self._pods = PodMaker(store, self.recorder)

    def step(self) -> float:
        """Reconcile every Job; returns the seconds until the next deadline or retry."""
        pods, _ = self.store.scan(PODS)
        waits = [_IDLE]
        for job in self.store.scan(JOBS)[0]:
            if not job["metadata"].get("deletionTimestamp") and not is_finished(job):
                waits.append(self._reconcile(job, _sorted(owned_by(job, pods))))
        return min(waits)

    def _reconcile(self, job: Object, pods: _Pods) -> float:
        spec, now = job["spec"], self.store.clock.now()
        status: Object = {"startTime": timestamp(now)} | (job.get("status") or {})
        left = self._seconds_left(job, status["startTime"])
        if _too_often(job, pods):
            self._fail(job, status, pods, "BackoffLimitExceeded", _BACKOFF_EXCEEDED)
            return _IDLE
        if left <= 0:
            self._fail(job, status, pods, "DeadlineExceeded", _DEADLINE_EXCEEDED)
            return _IDLE
        if len(pods.succeeded) >= spec["completions"]:
            self.recorder.normal(job, "Completed", "Job completed")
            status["completionTime"] = timestamp(now)
            said = self._said("CompletionsReached", "Reached expected number of succeeded pods")
            status["conditions"] = [{"type": t, **said} for t in ("SuccessCriteriaMet", "Complete")]
            self._write_status(job, status, pods)
            return _IDLE
        wait = self._keep_going(job, pods)
        self._write_status(job, status, pods)
        return min(left, wait)

    def _seconds_left(self, job: Object, started: str) -> float:
        limit = job["spec"].get("activeDeadlineSeconds")
        if limit is None or job["spec"]["suspend"]:
            return math.inf
        end = datetime.fromisoformat(started) + timedelta(seconds=limit)
        return (end - self.store.clock.now()).total_seconds()

    def _keep_going(self, job: Object, pods: _Pods) -> float:
        """Have as many pods run as there should be now; returns the seconds until a retry."""
        spec = job["spec"]
        want = min(spec["parallelism"], spec["completions"] - len(pods.succeeded))
        want = 0 if spec["suspend"] else want
        if len(pods.active) > want:
            self._delete(job, pods.active[want:])
        missing = want - len(pods.active)
        wait = self._seconds_to_retry(pods) if missing > 0 else 0.0
        if wait > 0:
            return wait
        return min((self._create(job) for _ in range(missing)), default=_IDLE)

    def _seconds_to_retry(self, pods: _Pods) -> float:
        if not pods.failed:
            return 0.0
        pause = min(_BACKOFF_LIMIT, self.backoff * 2 ** min(len(pods.failed) - 1, 10))
        last = max(map(_ended, pods.failed))
        due = datetime.fromisoformat(last) + timedelta(seconds=pause)
        return (due - self.store.clock.now()).total_seconds()

    def _create(self, job: Object) -> float:
        """Returns the seconds until it is worth looking again."""
        new = self._pods.create(job, pod_of(job))
        if new is None:
            return RETRY
        self.recorder.normal(job, "SuccessfulCreate", f"Created pod: {new['metadata']['name']}")
        return _IDLE

    def _delete(self, job: Object, pods: list[Object]) -> None:
        for pod in pods:
            name = pod["metadata"]["name"]
            self.store.delete(PODS, pod["metadata"]["namespace"], name)
            self.recorder.normal(job, "SuccessfulDelete", f"Deleted pod: {name}")

    # -- how it ends

    def _fail(self, job: Object, status: Object, pods: _Pods, reason: str, message: str) -> None:
        self.recorder.warning(job, reason, message)
        self._delete(job, pods.active)
        status["conditions"] = [
            {"type": type_, **self._said(reason, message)} for type_ in ("FailureTarget", "Failed")
        ]
        gone = pods._replace(active=[], failed=[*pods.failed, *pods.active])
        self._write_status(job, status, gone)

    def _said(self, reason: str, message: str) -> Object:
        now = timestamp(self.store.clock.now())
        times = {"lastProbeTime": now, "lastTransitionTime": now}
        return {"status": "True", "reason": reason, "message": message} | times

    def _write_status(self, job: Object, status: Object, pods: _Pods) -> None:
        counts = {"active": len(pods.active), "failed": len(pods.failed)}
        counts |= {"succeeded": len(pods.succeeded)}
        rest = {name: value for name, value in status.items() if name not in counts}
        rest |= {name: count for name, count in counts.items() if count}
        rest["ready"] = sum(map(is_ready, pods.active))
        write_status(self.store, JOBS, job, rest)


def is_finished(job: Object) -> bool:
    return any(condition(job, type_).get("status") == "True" for type_ in ("Complete", "Failed"))


def _sorted(pods: list[Object]) -> _Pods:
    by_phase = {
        phase: [pod for pod in pods if (pod.get("status") or {}).get("phase") == phase]
        for phase in ("Succeeded", "Failed")
    }
    return _Pods([p for p in pods if is_active(p)], by_phase["Succeeded"], by_phase["Failed"])


def _too_often(job: Object, pods: _Pods) -> bool:
    """Whether more has failed than may; restarts within a pod count where pods are restarted."""
    limit, policy = job["spec"]["backoffLimit"], job["spec"]["template"]["spec"]["restartPolicy"]
    if len(pods.failed) > limit:
        return True
    restarts = sum(sum(_restarts(pod)) for pod in pods.active)
    return policy == "OnFailure" and restarts > 0 and restarts >= limit


def _restarts(pod: Object) -> list[int]:
    status = pod.get("status") or {}
    kinds = ("initContainerStatuses", "containerStatuses")
    return [container["restartCount"] for kind in kinds for container in status.get(kind) or ()]


def _ended(pod: Object) -> str:
    """When the last of a pod's containers ended, RFC 3339."""
    ends: list[str] = [
        container["state"]["terminated"]["finishedAt"]
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
        if "terminated" in container["state"]
    ]
    return max(ends, default=str(pod["metadata"]["creationTimestamp"]))
