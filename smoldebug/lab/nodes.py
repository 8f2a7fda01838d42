"""The node controller: a cordoned node gets its taint, and NoExecute drives pods away."""

from smoldebug.lab.objects import NODES, PODS, change_object, is_active
from smoldebug.lab.store import Store, timestamp
from smoldebug.lab.taints import repelling
from smoldebug.sources.world import Object

CORDONED = "node.kubernetes.io/unschedulable"


class NodeController:
    def __init__(self, store: Store) -> None:
        self.store = store

    def step(self) -> float:
        for node in self.store.scan(NODES)[0]:
            self._mark(node)
            self._drive_away(node)
        return 30.0

    def _mark(self, node: Object) -> None:
        """A node that is closed to new pods says so by a taint, too."""
        taints = node["spec"].get("taints") or []
        others = [taint for taint in taints if taint["key"] != CORDONED]
        if bool(node["spec"].get("unschedulable")) == (len(others) < len(taints)):
            return
        if len(others) == len(taints):
            now = timestamp(self.store.clock.now())
            others.append({"key": CORDONED, "effect": "NoSchedule", "timeAdded": now})

        def change(current: Object) -> Object:
            rest = {name: value for name, value in current["spec"].items() if name != "taints"}
            return {**current, "spec": rest | ({"taints": others} if others else {})}

        change_object(self.store, NODES, node, change)

    def _drive_away(self, node: Object) -> None:
        name = node["metadata"]["name"]
        for pod in self.store.scan(PODS, fields=f"spec.nodeName={name}")[0]:
            if is_active(pod) and repelling(node, pod, "NoExecute"):
                self.store.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
