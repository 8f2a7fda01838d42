"""rollout: is every replica of a workload new and available?"""

from smoldebug.errors import SmoldebugError
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.reading import ref_of
from smoldebug.goal.services import Rollout, Service, workload
from smoldebug.goal.workloads import WORKLOADS, old_pods, pending
from smoldebug.playbook.models import RolloutCheck
from smoldebug.records import Json, ObjectRef
from smoldebug.sources.world import Object

COMPLETE = "complete"
PATIENCE = 600.0  # seconds; Kubernetes' own progressDeadlineSeconds


def rollout(check: RolloutCheck, setting: Setting) -> Check:
    if setting.service is not None and not check.target:
        measure = _Row(check, setting, setting.service)
        return Check("rollout", "rollout", measure, str(setting.service.ref), measure.mark)
    if not check.target:
        where = ", ".join(filter(None, setting.namespaces)) or "all namespaces"
        label, ref, subject = f"rollout of every workload in {where}", None, ""
    else:
        ref = workload(check.target, setting)
        label, subject = f"rollout {ref}", str(ref)
    several = _Rollouts(check, setting, ref)
    return Check(label, "rollout", several, subject, several.mark)


class _Timed:
    """Counts from the baseline on, else from the start."""

    def __init__(self, check: RolloutCheck, setting: Setting) -> None:
        self.setting, self.limit = setting, check.complete_within
        self.began = setting.seen.marked

    def mark(self) -> Json:
        self.began = self.setting.clock.monotonic()
        return {}

    def not_yet(self, says: str, problems: int, ref: ObjectRef, *, stuck: bool) -> Measured:
        elapsed = self.setting.clock.monotonic() - self.began
        if self.limit is not None and elapsed > self.limit:
            says, stuck = f"not complete after {elapsed:.0f} s: {says}", True
        pending = self.setting.patient and not stuck and elapsed <= (self.limit or PATIENCE)
        return not_met(says, float(problems), subject=str(ref), pending=pending)


class _Row(_Timed):
    def __init__(self, check: RolloutCheck, setting: Setting, service: Service) -> None:
        super().__init__(check, setting)
        self.service = service

    def __call__(self, sample: int) -> Measured:
        idle, seen = self.service.idle, self.service.rollout
        if seen.waits:
            return self.not_yet(seen.waits, 1, self.service.ref, stuck=seen.stuck)
        old = old_pods(self.service.item, self.service.ref.kind)
        why = "it wants no pods" if idle else old
        return met(f"{COMPLETE}: {why}" if why else COMPLETE, 0.0)


class _Rollouts(_Timed):
    """One workload by name, or all in scope."""

    def __init__(self, check: RolloutCheck, setting: Setting, ref: ObjectRef | None) -> None:
        super().__init__(check, setting)
        self.ref, self.known = ref, dict[ObjectRef, Service]()

    def __call__(self, sample: int) -> Measured:
        if self.ref is not None:
            items, error = [(self.ref, self.setting.cluster.get(self.ref))], None
        else:
            items, error = in_scope(self.setting)
        problems = [(ref, seen) for ref, item in items if (seen := self._look(ref, item)).waits]
        if problems:
            worst = sorted(problems, key=lambda each: not each[1].stuck)
            ref, seen = worst[0]
            more = f" (+{len(problems) - 1} more)" if problems[1:] else ""
            says = seen.waits if self.ref else f"{ref}: {seen.waits}{more}"
            return self.not_yet(says, len(problems), ref, stuck=seen.stuck)
        if error is not None:
            raise error
        if not items:
            return inconclusive("no workloads found")
        return met("complete" if self.ref else f"all {len(items)} complete", 0.0)

    def _look(self, ref: ObjectRef, item: Object) -> Rollout:
        """Whether waiting helps is only asked where somebody would wait."""
        waits = pending(item, ref.kind)
        if not waits or not self.setting.patient:
            return Rollout(waits)
        service = self.known.setdefault(ref, Service(ref, self.setting.seen, self.setting.clock))
        service.look(item)
        return service.rollout if service.rollout.waits else Rollout(waits)


def in_scope(
    setting: Setting,
) -> tuple[list[tuple[ObjectRef, Object]], SmoldebugError | None]:
    """What could be listed, and the first reason why something could not: a workload that is
    seen to be broken is reported even where others are hidden."""
    found: list[tuple[ObjectRef, Object]] = []
    hidden: SmoldebugError | None = None
    for namespace in setting.namespaces:
        for kind in WORKLOADS:
            try:
                items = setting.seen.list(kind, namespace)
            except SmoldebugError as error:
                hidden = hidden or error
            else:
                found += [(ref_of(item, kind), item) for item in items]
    return found, hidden
