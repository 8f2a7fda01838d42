"""restarts: has any container been restarted since the run began, or since its baseline?"""

from collections.abc import Iterator
from typing import Any

from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.reading import container_statuses, dig, label_selector, ref_of
from smoldebug.goal.services import workload
from smoldebug.playbook.models import RestartsCheck
from smoldebug.records import Json, ObjectRef
from smoldebug.sources.world import Object

Container = tuple[str, str]  # uid of its pod, its name


def restarts(check: RestartsCheck, setting: Setting) -> Check:
    if setting.service is not None and not check.target:
        count = _Restarts(check.at_most, setting, None)
        subject = str(setting.service.ref)
        return Check(f"restarts ≤ {check.at_most}", "restarts", count, subject, count.mark)
    ref = workload(check.target, setting) if check.target else None
    where = str(ref) if ref else ", ".join(filter(None, setting.namespaces)) or "all namespaces"
    label = f"restarts in {where} ≤ {check.at_most}"
    count = _Restarts(check.at_most, setting, ref)
    return Check(label, "restarts", count, where, count.mark)


class _Restarts:
    """Counts against the first sample that could be taken, or the baseline, if that came later.

    A container of a pod that is new since then counts with all its restarts. One that waits in
    CrashLoopBackOff counts at least once: its next restart is certain, only late. Since a baseline
    the restarts of pods that are gone count, too: to replace a pod that crashes mends nothing.
    """

    def __init__(self, at_most: int, setting: Setting, ref: ObjectRef | None) -> None:
        self.at_most, self.setting, self.ref = at_most, setting, ref
        self.baseline: dict[Container, int] | None = {} if setting.seen.marks else None
        self.seen: dict[Container, tuple[int, Object, Any]] = {}  # the most of each

    def __call__(self, sample: int) -> Measured | None:
        pods, service = self._pods(), self.setting.service
        if service is not None and not self.ref and service.idle:
            return None
        if self.baseline is None:
            self.baseline = _counts(pods)
        if not pods:
            return inconclusive("no pods found")
        if not self.setting.seen.marks:
            self.seen.clear()
        for pod, status in _containers(pods):
            known, count = self.seen.get(_key(pod, status)), self._new(pod, status)
            if known is None or count >= known[0]:
                self.seen[_key(pod, status)] = count, pod, status
        new = list(self.seen.values())
        total = sum(count for count, _, _ in new)
        if total <= self.at_most:
            return met(f"{total} new", total)
        count, pod, status = max(new, key=lambda item: item[0])
        name, looping = dig(status, "name", default="?"), ", crash-looping" * _looping(status)
        subject = str(ref_of(pod, "Pod"))
        return not_met(f"{total} new: {subject} {name} ×{count}{looping}", total, subject=subject)

    def mark(self) -> Json:
        self.baseline, self.seen = _counts(self._pods()), {}
        return {"restarts": sum(self.baseline.values())}

    def _pods(self) -> list[Object]:
        service = self.setting.service
        if service is not None and not self.ref:
            return service.pods if service.item else []
        seen = self.setting.seen
        if self.ref is None:
            return [pod for each in self.setting.namespaces for pod in seen.list("Pod", each)]
        item = seen.cluster.get(self.ref)
        selector = label_selector(dig(item, "spec", "selector", default={}))
        return seen.cluster.list("Pod", self.ref.namespace, labels=selector) if selector else []

    def _new(self, pod: Object, status: Any) -> int:
        before = (self.baseline or {}).get(_key(pod, status), 0)
        return max(_count(status) - before, int(_looping(status)))


def _containers(pods: list[Object]) -> Iterator[tuple[Object, Any]]:
    return ((pod, status) for pod in pods for status in container_statuses(pod))


def _counts(pods: list[Object]) -> dict[Container, int]:
    return {_key(pod, status): _count(status) for pod, status in _containers(pods)}


def _key(pod: Object, status: Any) -> Container:
    return dig(pod, "metadata", "uid", default=""), dig(status, "name", default="")


def _count(status: Any) -> int:
    return dig(status, "restartCount", default=0)


def _looping(status: Any) -> bool:
    return dig(status, "state", "waiting", "reason", default="") == "CrashLoopBackOff"
