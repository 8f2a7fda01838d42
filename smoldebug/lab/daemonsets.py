"""The DaemonSet controller: a pod on every node that takes it. Pods of an old template go one
after the other (`maxUnavailable`); none are made in advance (`maxSurge`)."""

import math

from smoldebug.lab.deployments import share
from smoldebug.lab.objects import (
    DAEMONSETS,
    NODES,
    PODS,
    Recorder,
    is_active,
    is_available,
    is_ready,
    owned_by,
    write_status,
)
from smoldebug.lab.podtemplates import PodMaker, digest, pod_of
from smoldebug.lab.statefulsets import REVISION
from smoldebug.lab.store import Store
from smoldebug.lab.taints import repelling
from smoldebug.sources.world import Object

_TOLERATED = {
    "key": "node.kubernetes.io/unschedulable",
    "operator": "Exists",
    "effect": "NoSchedule",
}


class DaemonSetController:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.recorder = Recorder(store, "daemonset-controller")
        self._pods = PodMaker(store, self.recorder)

    def step(self) -> float:
        pods, _ = self.store.scan(PODS)
        for daemon_set in self.store.scan(DAEMONSETS)[0]:
            if not daemon_set["metadata"].get("deletionTimestamp"):
                self._reconcile(daemon_set, owned_by(daemon_set, pods))
        return 1.0  # for minReadySeconds

    def _reconcile(self, owner: Object, pods: list[Object]) -> None:
        nodes = [node for node in self.store.scan(NODES)[0] if _takes(node, owner)]
        names = {node["metadata"]["name"] for node in nodes}
        revision = digest(owner["spec"]["template"])
        there = {pod["spec"].get("nodeName"): pod for pod in pods}
        for name in sorted(names - there.keys()):
            self._create(owner, name, revision)
        for name, pod in there.items():
            if name not in names or _has_ended(pod):
                self._delete(owner, pod)
        active = [pod for name, pod in there.items() if name in names and is_active(pod)]
        self._update(owner, active, len(names), revision)
        self._write_status(owner, active, len(names), revision)

    def _update(self, owner: Object, active: list[Object], want: int, revision: str) -> None:
        strategy = owner["spec"]["updateStrategy"]
        if strategy["type"] != "RollingUpdate":
            return
        most = max(1, share(strategy["rollingUpdate"]["maxUnavailable"], want, math.ceil))
        spare = most - (want - sum(self._is_available(owner, pod) for pod in active))
        for pod in (pod for pod in active if _revision(pod) != revision):
            unavailable = not self._is_available(owner, pod)
            if unavailable or spare > 0:
                self._delete(owner, pod)
                spare -= not unavailable

    def _is_available(self, owner: Object, pod: Object) -> bool:
        wait = float(owner["spec"].get("minReadySeconds", 0))
        return is_available(pod, wait, self.store.clock.now())

    def _create(self, owner: Object, node: str, revision: str) -> None:
        pod = pod_of(owner, {REVISION: revision})
        pod["spec"]["nodeName"] = node
        pod["spec"]["tolerations"] = [*(pod["spec"].get("tolerations") or ()), _TOLERATED]
        if new := self._pods.create(owner, pod):
            name = new["metadata"]["name"]
            self.recorder.normal(owner, "SuccessfulCreate", f"Created pod: {name}")

    def _delete(self, owner: Object, pod: Object) -> None:
        if pod["metadata"].get("deletionTimestamp"):
            return
        name = pod["metadata"]["name"]
        self.store.delete(PODS, pod["metadata"]["namespace"], name)
        self.recorder.normal(owner, "SuccessfulDelete", f"Deleted pod: {name}")

    def _write_status(self, owner: Object, active: list[Object], want: int, revision: str) -> None:
        available = sum(self._is_available(owner, pod) for pod in active)
        status = {
            "currentNumberScheduled": len(active),
            "desiredNumberScheduled": want,
            "numberMisscheduled": 0,
            "numberReady": sum(map(is_ready, active)),
            "numberAvailable": available,
            "numberUnavailable": want - available,
            "updatedNumberScheduled": sum(_revision(pod) == revision for pod in active),
            "observedGeneration": owner["metadata"]["generation"],
        }
        optional = ("numberAvailable", "numberUnavailable", "updatedNumberScheduled")
        kept = {name: value for name, value in status.items() if value or name not in optional}
        write_status(self.store, DAEMONSETS, owner, kept)


def _takes(node: Object, owner: Object) -> bool:
    spec = owner["spec"]["template"]["spec"]
    wanted = spec.get("nodeSelector") or {}
    tolerant = {"spec": {"tolerations": [*(spec.get("tolerations") or ()), _TOLERATED]}}
    return wanted.items() <= (node["metadata"].get("labels") or {}).items() and not repelling(
        node, tolerant, "NoSchedule", "NoExecute"
    )


def _has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _revision(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION, ""))
