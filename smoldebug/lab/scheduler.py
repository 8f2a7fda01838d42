"""The scheduler: a pod goes to the one node if the node takes it."""

from smoldebug.lab.objects import NODES, PODS, Recorder, write_status
from smoldebug.lab.store import ApiError, Store, timestamp
from smoldebug.lab.taints import repelling
from smoldebug.sources.world import Object


class Scheduler:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.recorder = Recorder(store, "default-scheduler")

    def step(self) -> float:
        nodes, _ = self.store.scan(NODES)
        for pod in self.store.scan(PODS)[0]:
            if not pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp"):
                self._schedule(pod, nodes)
        return 30.0

    def _schedule(self, pod: Object, nodes: list[Object]) -> None:
        reasons = {node["metadata"]["name"]: _unfit(pod, node) for node in nodes}
        fitting = [name for name, reason in reasons.items() if not reason]
        if not fitting:
            why = "; ".join(f"1 {reason}" for reason in reasons.values())
            self._refuse(pod, f"0/{len(nodes)} nodes are available: {why}.")
            return
        meta = pod["metadata"]

        def bind(current: Object) -> Object:
            current["spec"]["nodeName"] = fitting[0]
            return current

        try:
            bound = self.store.update(PODS, meta["namespace"], meta["name"], bind)
        except ApiError:  # deleted meanwhile
            return
        message = f"Successfully assigned {meta['namespace']}/{meta['name']} to {fitting[0]}"
        self.recorder.normal(bound, "Scheduled", message)

    def _refuse(self, pod: Object, message: str) -> None:
        conditions = (pod.get("status") or {}).get("conditions") or []
        if any(c.get("message") == message for c in conditions):
            return
        refusal = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": timestamp(self.store.clock.now()),
        }
        status = {**pod.get("status", {}), "conditions": [refusal]}
        write_status(self.store, PODS, pod, status, "kube-scheduler")
        self.recorder.warning(pod, "FailedScheduling", message)


def _unfit(pod: Object, node: Object) -> str:
    """Why the node does not take the pod, as the scheduler words it; "" when it does."""
    if node["spec"].get("unschedulable"):
        return "node(s) were unschedulable"
    if taint := repelling(node, pod, "NoSchedule", "NoExecute"):
        return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    wanted = pod["spec"].get("nodeSelector") or {}
    if not wanted.items() <= (node["metadata"].get("labels") or {}).items():
        return "node(s) didn't match Pod's node affinity/selector"
    return ""
