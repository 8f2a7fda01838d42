"""The cluster as one sample sees it: each list is read once, however many services ask for it."""

import threading
from dataclasses import dataclass, field

from smoldebug.clock import Clock
from smoldebug.errors import NotFound, SmoldebugError
from smoldebug.goal.reading import dig, label_selector, labels_of, owner_of
from smoldebug.records import ObjectRef
from smoldebug.signals.objects import REVISION
from smoldebug.sources.selectors import holds
from smoldebug.sources.world import Cluster, Object, World

Names = list[str]
Objects = list[Object]  # inside the class, `list` is its method
_GENERATION = "deprecated.daemonset.template.generation"  # still there in 1.36


@dataclass
class _List:
    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: list[Object] | SmoldebugError | None = None


class Seen:
    """What the checks of one goal share.

    `mirror` stands for the cluster while the goal is watched, unless what is known must be later
    than a change that was just made (`direct`). `touched` is what has changed since
    the sample before, None when everything is measured anew. `marks` counts the times that the
    baseline was noted, last at `marked` (monotonic seconds).
    """

    def __init__(self, world: World, clock: Clock) -> None:
        self._world = world
        self._lock, self._lists = threading.Lock(), dict[tuple[str, str], _List]()
        self.mirror: Cluster | None = None
        self.direct = False
        self.touched: frozenset[ObjectRef] | None = None
        self.marks, self.marked = 0, clock.monotonic()

    @property
    def cluster(self) -> Cluster:
        return self._world.cluster if self.mirror is None or self.direct else self.mirror

    def forget(self) -> None:
        """Another sample begins."""
        with self._lock:
            self._lists.clear()

    def list(self, kind: str, namespace: str) -> list[Object]:
        """Raises what the cluster does."""
        with self._lock:
            once = self._lists.setdefault((kind, namespace), _List())
        with once.lock:
            if once.answer is None:
                try:
                    once.answer = self.cluster.list(kind, namespace)
                except SmoldebugError as error:
                    once.answer = error
            if isinstance(once.answer, SmoldebugError):
                raise once.answer
            return once.answer

    def find(self, ref: ObjectRef) -> Object:
        """One of a list, so that fifty services take no fifty requests. Raises NotFound."""
        for item in self.list(ref.kind, ref.namespace):
            if dig(item, "metadata", "name", default="") == ref.name:
                return item
        raise NotFound(f"{ref} does not exist")

    def pods(self, ref: ObjectRef, item: Object) -> Objects:
        """A workload's pods by name; where two selectors overlap, those that it made."""
        selector = label_selector(dig(item, "spec", "selector", default={}))
        if not selector:
            return []
        owners = self._owners(ref, item)
        chosen = [
            pod
            for pod in self.list("Pod", ref.namespace)
            if holds(selector, labels_of(pod).get)
            and (not owners or owner_of(pod) in {*owners, ""})
        ]
        return sorted(chosen, key=lambda pod: dig(pod, "metadata", "name", default=""))

    def newest(self, ref: ObjectRef, item: Object, pods: Objects) -> Objects:
        """Those of a workload's pods that run its latest revision; all where nothing tells."""
        if ref.kind == "Deployment":
            latest = max(self._replica_sets(ref, item), key=_revision, default={})
            uid = dig(latest, "metadata", "uid", default="")
            return [pod for pod in pods if owner_of(pod) == uid] if uid else pods
        if ref.kind == "StatefulSet":
            label, wanted = (
                "controller-revision-hash",
                dig(item, "status", "updateRevision", default=""),
            )
        else:
            label = "pod-template-generation"
            wanted = dig(item, "metadata", "annotations", _GENERATION, default="")
        return [
            pod
            for pod in pods
            if not wanted or dig(pod, "metadata", "labels", label, default=wanted) == wanted
        ]

    def _owners(self, ref: ObjectRef, item: Object) -> Names:
        """UIDs of what makes a workload's pods; none where that is not known."""
        if ref.kind != "Deployment":
            return [uid] if (uid := dig(item, "metadata", "uid", default="")) else []
        return [dig(each, "metadata", "uid", default="") for each in self._replica_sets(ref, item)]

    def _replica_sets(self, ref: ObjectRef, item: Object) -> Objects:
        uid = dig(item, "metadata", "uid", default="")
        try:
            found = self.list("ReplicaSet", ref.namespace)
        except SmoldebugError:  # may not be read: then the selector alone decides
            return []
        return [each for each in found if uid and owner_of(each) == uid]


def _revision(item: Object) -> int:
    text = dig(item, "metadata", "annotations", REVISION, default="")
    return int(text) if text.isdecimal() else 0
