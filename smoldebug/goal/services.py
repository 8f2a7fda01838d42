"""each_service: which workloads a goal has a row for, and how each of them is right now."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from smoldebug.clock import Clock
from smoldebug.errors import NotFound, SmoldebugError, UsageError
from smoldebug.goal.check import Setting
from smoldebug.goal.reading import dig, labels_of, ref_of
from smoldebug.goal.seen import Seen
from smoldebug.goal.stuck import Stuck, unscheduled
from smoldebug.goal.workloads import WORKLOADS, deadline_exceeded, pending, refused
from smoldebug.playbook.upgrades import EachService
from smoldebug.records import ObjectRef
from smoldebug.sources.helm import Release
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.selectors import holds
from smoldebug.sources.world import Object, World


@dataclass(frozen=True, slots=True)
class Rollout:
    """What a rollout still waits for ("" when it is complete), and whether waiting helps."""

    waits: str = ""
    stuck: bool = False


class Service:
    """One workload, looked at once per sample, before its checks are measured side by side."""

    def __init__(self, ref: ObjectRef, seen: Seen, clock: Clock) -> None:
        self.ref = ref
        self._seen, self._clock, self._stuck = seen, clock, Stuck()
        self._item: Object = {}
        self._error: SmoldebugError | None = None
        self.pods: list[Object] = []
        self.newest: list[Object] = []  # of them, those of the latest revision
        self.rollout = Rollout()

    @property
    def item(self) -> Object:
        """The workload itself. Raises what kept the sample from seeing it, or its pods."""
        if self._error is not None:
            raise self._error
        return self._item

    @property
    def idle(self) -> bool:
        """It is scaled to nothing on purpose: there is nothing that could answer or log."""
        if self.ref.kind == "DaemonSet":
            wanted = dig(self.item, "status", "desiredNumberScheduled", default=0)
        else:
            wanted = dig(self.item, "spec", "replicas", default=1)
        return wanted == 0 and not self.pods

    def look(self, item: Object | None = None) -> None:
        """`item` where the caller has read it already."""
        self._error, before = None, self.pods
        try:
            self._item = self._seen.find(self.ref) if item is None else item
            self.pods = self._seen.pods(self.ref, self._item)
            self.newest = self._seen.newest(self.ref, self._item, self.pods)
            self.rollout = self._rollout()
        except SmoldebugError as error:
            self._error, self.pods, self.newest = error, [], []
        self._known = {self.ref, *(ref_of(pod, "Pod") for pod in (*before, *self.pods))}

    def touched(self, changed: Iterable[ObjectRef]) -> bool:
        return not self._known.isdisjoint(changed)

    def _rollout(self) -> Rollout:
        kind, item = self.ref.kind, self._item
        waits = pending(item, kind)
        if not waits:
            self._stuck = Stuck()
            return Rollout()
        alive = [p for p in self.newest if not dig(p, "metadata", "deletionTimestamp", default="")]
        events = self._events() if alive else []
        if why := self._stuck.why(alive, self.pods, events, self._clock.monotonic()):
            return Rollout(why, stuck=True)
        why = unscheduled(alive) or refused(item)
        return Rollout(why or waits, stuck=deadline_exceeded(item))

    def _events(self) -> list[Object]:
        try:
            return self._seen.list("Event", self.ref.namespace)
        except SmoldebugError:
            return []  # they only lend their words


def which(block: EachService) -> str:
    """In words, before anybody has looked: `each service of release shop`."""
    if block.from_release:
        return f"each service of release {block.from_release}"
    return f"each service with {block.selector}" if block.selector else "each service"


def with_example(setting: Setting) -> Setting:
    """To learn what the checks of a row are called."""
    ref = ObjectRef("Deployment", "namespace", "name")
    return replace(setting, service=Service(ref, setting.seen, setting.clock))


def find(block: EachService, setting: Setting) -> list[ObjectRef]:
    """The workloads, in a fixed order. Raises SmoldebugError where they cannot be known, or where
    there are none."""
    if block.workloads:
        return list(dict.fromkeys(workload(each, setting) for each in block.workloads))
    if block.from_release:
        return _of_release(_release(block.from_release, setting), setting.world)
    found = [
        ref_of(item, kind)
        for namespace in setting.namespaces
        for kind in WORKLOADS
        for item in setting.seen.list(kind, namespace)
        if holds(block.selector, labels_of(item).get)
    ]
    if not found:
        raise NotFound(f"no workload in scope has the labels {block.selector}")
    return sorted(found)


def autoscaled(ref: ObjectRef, seen: Seen) -> bool:
    """Whether an autoscaler is known that says how many pods a workload has."""
    try:
        found = seen.list("HorizontalPodAutoscaler", ref.namespace)
    except SmoldebugError:
        return False
    for item in found:
        target: Object = dig(item, "spec", "scaleTargetRef", default={})
        if (target.get("kind"), target.get("name")) == (ref.kind, ref.name):
            return True
    return False


def namespaces(block: EachService) -> set[str]:
    """Those that it names itself."""
    named = [each.split("/")[1] for each in block.workloads if each.count("/") == 2]
    return {*named, block.from_release.rpartition("/")[0]} - {""}


def workload(target: str, setting: Setting) -> ObjectRef:
    """A Deployment, StatefulSet or DaemonSet; without a namespace, in the only one in scope.

    Raises UsageError for anything else.
    """
    ref = ObjectRef.parse(target)
    kind = kind_name(ref.kind)
    if kind not in WORKLOADS:
        raise UsageError(f"not one of {', '.join(WORKLOADS)}: {target!r}")
    return ObjectRef(kind, setting.namespace_of(kind, ref.namespace), ref.name)


def _release(text: str, setting: Setting) -> Release:
    namespace, _, name = text.rpartition("/")
    return Release(setting.namespace_of("Deployment", namespace), name)


def _of_release(release: Release, world: World) -> list[ObjectRef]:
    objects = world.helm.objects(release)
    kinds = [(str(item.get("kind")), item) for item in objects]
    found = {ref_of(item, kind) for kind, item in kinds if kind in WORKLOADS}
    if not found:
        raise NotFound(f"release {release.namespace}/{release.name} has no workloads")
    return sorted(found)
