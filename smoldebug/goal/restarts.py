"""restarts: has any container been restarted since the run began?"""

from collections.abc import Iterator
from typing import Any

from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.objects import dig, ref_of
from smoldebug.goal.rollout import workload
from smoldebug.playbook.models import RestartsCheck
from smoldebug.records import ObjectRef
from smoldebug.sources.world import Object

NONE: list[Any] = []
Container = tuple[str, str]  # uid of its pod, its name


def restarts(check: RestartsCheck, setting: Setting) -> Check:
    ref = workload(check.target, setting) if check.target else None
    where = str(ref) if ref else ", ".join(filter(None, setting.namespaces)) or "all namespaces"
    label = f"restarts in {where} ≤ {check.at_most}"
    return Check(label, "restarts", _Restarts(check.at_most, setting, ref), where)


class _Restarts:
    """Counts against the first sample that could be taken.

    A container of a pod that is new since then counts with all its restarts. One that waits in
    CrashLoopBackOff counts at least once: its next restart is certain, only late.
    """

    def __init__(self, at_most: int, setting: Setting, ref: ObjectRef | None) -> None:
        self.at_most, self.setting, self.ref = at_most, setting, ref
        self.baseline: dict[Container, int] | None = None

    def __call__(self, sample: int) -> Measured:
        pods = self._pods()
        seen = [(pod, status) for pod in pods for status in _containers(pod)]
        if self.baseline is None:
            self.baseline = {_key(pod, status): _count(status) for pod, status in seen}
        if not pods:
            return inconclusive("no pods found")
        new = [(self._new(pod, status), pod, status) for pod, status in seen]
        total = sum(count for count, _, _ in new)
        if total <= self.at_most:
            return met(f"{total} new", total)
        count, pod, status = max(new, key=lambda item: item[0])
        name, looping = dig(status, "name", default="?"), ", crash-looping" * _looping(status)
        subject = str(ref_of(pod, "Pod"))
        return not_met(f"{total} new: {subject} {name} ×{count}{looping}", total, subject=subject)

    def _pods(self) -> list[Object]:
        cluster = self.setting.world.cluster
        if self.ref is None:
            return [pod for each in self.setting.namespaces for pod in cluster.list("Pod", each)]
        selector = label_selector(dig(cluster.get(self.ref), "spec", "selector", default={}))
        return cluster.list("Pod", self.ref.namespace, labels=selector) if selector else []

    def _new(self, pod: Object, status: Any) -> int:
        before = (self.baseline or {}).get(_key(pod, status), 0)
        return max(_count(status) - before, int(_looping(status)))


def _containers(pod: Object) -> Iterator[Any]:
    for block in ("initContainerStatuses", "containerStatuses"):
        yield from dig(pod, "status", block, default=[])


def _key(pod: Object, status: Any) -> Container:
    return dig(pod, "metadata", "uid", default=""), dig(status, "name", default="")


def _count(status: Any) -> int:
    return dig(status, "restartCount", default=0)


def _looping(status: Any) -> bool:
    return dig(status, "state", "waiting", "reason", default="") == "CrashLoopBackOff"


def label_selector(selector: Any) -> str:
    """A workload's selector as the API server takes it in a query; "" selects nothing here."""
    labels: Object = dig(selector, "matchLabels", default={})
    terms = [f"{key}={value}" for key, value in labels.items()]
    expressions: list[Any] = dig(selector, "matchExpressions", default=[])
    for term in expressions:
        key, values = dig(term, "key", default=""), dig(term, "values", default=NONE)
        listed = ",".join(map(str, values))
        spelled = {
            "In": f"{key} in ({listed})",
            "NotIn": f"{key} notin ({listed})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        terms.append(spelled.get(dig(term, "operator", default=""), key))
    return ",".join(terms)
