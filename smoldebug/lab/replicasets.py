"""The ReplicaSet controller: as many pods as asked for."""

from smoldebug.lab.objects import (
    MANAGER,
    PODS,
    REPLICASETS,
    Recorder,
    is_active,
    is_available,
    is_ready,
    owned_by,
    write_status,
)
from smoldebug.lab.podtemplates import pod_of
from smoldebug.lab.store import ApiError, Store, timestamp
from smoldebug.sources.world import Object

_RETRY = 5.0  # seconds after a pod that could not be created


class ReplicaSetController:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.recorder = Recorder(store, "replicaset-controller")
        self._failed: dict[str, tuple[float, Object]] = {}  # uid -> when to try again, condition

    def step(self) -> float:
        pods, _ = self.store.scan(PODS)
        for replicaset in self.store.scan(REPLICASETS)[0]:
            if not replicaset["metadata"].get("deletionTimestamp"):
                self._reconcile(replicaset, owned_by(replicaset, pods))
        return 1.0  # for minReadySeconds

    def _reconcile(self, replicaset: Object, pods: list[Object]) -> None:
        pods = [pod for pod in pods if is_active(pod)]
        want = replicaset["spec"]["replicas"]
        uid = replicaset["metadata"]["uid"]
        waits = self._failed.get(uid, (0.0, {}))[0] > self.store.clock.monotonic()
        if len(pods) >= want or not waits:
            self._failed.pop(uid, None)
        if len(pods) < want and not waits:
            self._create(replicaset, want - len(pods))
        elif len(pods) > want:
            young_first = sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])[::-1]
            gone = sorted(young_first, key=is_ready)[: len(pods) - want]
            self._delete(replicaset, gone)
            pods = [pod for pod in pods if pod not in gone]
        self._write_status(replicaset, pods)

    def _create(self, replicaset: Object, count: int) -> None:
        pod = pod_of(replicaset)
        for _ in range(count):
            try:
                new = self.store.create(
                    PODS, replicaset["metadata"]["namespace"], pod, manager=MANAGER
                )
            except ApiError as error:
                self._note_failure(replicaset, str(error))
                return
            name = new["metadata"]["name"]
            self.recorder.normal(replicaset, "SuccessfulCreate", f"Created pod: {name}")

    def _note_failure(self, replicaset: Object, message: str) -> None:
        """Say it, and try again a little later: a quota does not give way at once."""
        self.recorder.warning(replicaset, "FailedCreate", f"Error creating: {message}")
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
        failure |= {"message": message, "lastTransitionTime": timestamp(self.store.clock.now())}
        later = self.store.clock.monotonic() + _RETRY
        self._failed[replicaset["metadata"]["uid"]] = later, failure

    def _delete(self, replicaset: Object, pods: list[Object]) -> None:
        for pod in pods:
            name = pod["metadata"]["name"]
            self.store.delete(PODS, pod["metadata"]["namespace"], name)
            self.recorder.normal(replicaset, "SuccessfulDelete", f"Deleted pod: {name}")

    def _write_status(self, replicaset: Object, pods: list[Object]) -> None:
        labels = replicaset["spec"]["template"].get("metadata", {}).get("labels") or {}
        wait, now = float(replicaset["spec"].get("minReadySeconds", 0)), self.store.clock.now()
        counts = {
            "fullyLabeledReplicas": sum(
                labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in pods
            ),
            "readyReplicas": sum(map(is_ready, pods)),
            "availableReplicas": sum(is_available(pod, wait, now) for pod in pods),
        }
        status: Object = {name: count for name, count in counts.items() if count}
        status["replicas"] = len(pods)
        if failed := self._failed.get(replicaset["metadata"]["uid"]):
            status["conditions"] = [failed[1]]
        status["observedGeneration"] = replicaset["metadata"]["generation"]
        write_status(self.store, REPLICASETS, replicaset, status)
