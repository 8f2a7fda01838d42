"""rollout: is every replica of a workload new and available?"""

from collections.abc import Callable
from functools import partial
from typing import Any

from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.objects import dig, ref_of
from smoldebug.playbook.models import RolloutCheck
from smoldebug.records import ObjectRef
from smoldebug.signals.words import count
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.world import Object


def rollout(check: RolloutCheck, setting: Setting) -> Check:
    if not check.target:
        where = ", ".join(filter(None, setting.namespaces)) or "all namespaces"
        return Check(f"rollout of every workload in {where}", "rollout", _Rollout(check, setting))
    ref = workload(check.target, setting)
    return Check(f"rollout {ref}", "rollout", _Rollout(check, setting, ref), str(ref))


def workload(target: str, setting: Setting) -> ObjectRef:
    """A Deployment, StatefulSet or DaemonSet; without a namespace, in the only one in scope.

    Raises UsageError for anything else.
    """
    ref = ObjectRef.parse(target)
    kind = kind_name(ref.kind)
    if kind not in _PENDING:
        raise UsageError(f"not one of {', '.join(_PENDING)}: {target!r}")
    return ObjectRef(kind, setting.namespace_of(kind, ref.namespace), ref.name)


class _Rollout:
    def __init__(self, check: RolloutCheck, setting: Setting, ref: ObjectRef | None = None) -> None:
        self.setting, self.ref, self.limit = setting, ref, check.complete_within
        self.began = setting.clock.monotonic()

    def __call__(self, sample: int) -> Measured:
        if self.ref is not None:
            items, error = [(self.ref, self.setting.world.cluster.get(self.ref))], None
        else:
            items, error = _in_scope(self.setting)
        problems = [(ref, words) for ref, item in items if (words := pending(item, ref.kind))]
        if problems:
            return self._not_yet(problems)
        if error is not None:
            raise error
        if not items:
            return inconclusive("no workloads found")
        return met("complete" if self.ref else f"all {len(items)} complete", 0.0)

    def _not_yet(self, problems: list[tuple[ObjectRef, str]]) -> Measured:
        ref, says = problems[0]
        if not self.ref:
            says = f"{ref}: {says}" + (f" (+{len(problems) - 1} more)" if problems[1:] else "")
        elapsed = self.setting.clock.monotonic() - self.began
        if self.limit is not None and elapsed > self.limit:
            says = f"not complete after {elapsed:.0f} s: {says}"
        return not_met(says, float(len(problems)), subject=str(ref))


def _in_scope(
    setting: Setting,
) -> tuple[list[tuple[ObjectRef, Object]], SmoldebugError | None]:
    """What could be listed, and the first reason why something could not: a workload that is
    seen to be broken is reported even where others are hidden."""
    found: list[tuple[ObjectRef, Object]] = []
    hidden: SmoldebugError | None = None
    for namespace in setting.namespaces:
        for kind in _PENDING:
            try:
                items = setting.world.cluster.list(kind, namespace)
            except SmoldebugError as error:
                hidden = hidden or error
            else:
                found += [(ref_of(item, kind), item) for item in items]
    return found, hidden


def pending(item: Object, kind: str) -> str:
    """What a rollout still waits for, in words; "" when it is complete."""
    status, generation = (
        partial(dig, item, "status"),
        dig(item, "metadata", "generation", default=0),
    )
    if status("observedGeneration", default=0) < generation:
        return "its controller has not seen the latest spec yet"
    return _PENDING[kind](item)


def _deployment(item: Object) -> str:
    conditions: list[Any] = dig(item, "status", "conditions", default=[])
    for condition in conditions:
        if dig(condition, "reason", default="") == "ProgressDeadlineExceeded":
            return "progress deadline exceeded"
    wanted, status = (
        dig(item, "spec", "replicas", default=1),
        partial(dig, item, "status", default=0),
    )
    updated = status("updatedReplicas")
    if updated < wanted:
        return f"{updated} of {wanted} updated"
    if status("replicas") > updated:
        return f"{count(status('replicas') - updated, 'old replica')} left"
    return _available(status("availableReplicas"), wanted)


def _stateful_set(item: Object) -> str:
    wanted, status = dig(item, "spec", "replicas", default=1), partial(dig, item, "status")
    update: Object = dig(item, "spec", "updateStrategy", default={})
    partition = dig(update, "rollingUpdate", "partition", default=0)
    if dig(update, "type", default="") != "OnDelete":
        updated, new = status("updatedReplicas", default=0), max(0, wanted - partition)
        if status("updateRevision", default="") == status("currentRevision", default=""):
            updated = wanted  # nothing to update; some servers then leave updatedReplicas out
        if updated < new:
            return f"{updated} of {new} updated"
    ready = status("readyReplicas", default=0)
    return _available(status("availableReplicas", default=ready), wanted)


def _daemon_set(item: Object) -> str:
    status = partial(dig, item, "status", default=0)
    wanted, updated = status("desiredNumberScheduled"), status("updatedNumberScheduled")
    on_delete = dig(item, "spec", "updateStrategy", "type", default="") == "OnDelete"
    if updated < wanted and not on_delete:
        return f"{updated} of {wanted} updated"
    return _available(status("numberAvailable"), wanted)


def _available(available: int, wanted: int) -> str:
    return f"{available} of {wanted} available" if available < wanted else ""


_PENDING: dict[str, Callable[[Object], str]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
}
