"""The disruption controller: how many pods each PodDisruptionBudget lets go now."""

import math

from smoldebug.lab.deployments import share
from smoldebug.lab.objects import (
    BUDGETS,
    DEPLOYMENTS,
    PODS,
    REPLICASETS,
    condition,
    controller_of,
    is_active,
    is_ready,
    write_status,
)
from smoldebug.lab.selectors import selector_matches
from smoldebug.lab.store import Store, timestamp
from smoldebug.sources.world import Object


class BudgetController:
    def __init__(self, store: Store) -> None:
        self.store = store

    def step(self) -> float:
        pods, _ = self.store.scan(PODS)
        owners = {
            obj["metadata"]["uid"]: obj
            for kind in (REPLICASETS, DEPLOYMENTS)
            for obj in self.store.scan(kind)[0]
        }
        for budget in self.store.scan(BUDGETS)[0]:
            write_status(self.store, BUDGETS, budget, self._status(budget, pods, owners))
        return 30.0

    def _status(self, budget: Object, pods: list[Object], owners: dict[str, Object]) -> Object:
        chosen = [pod for pod in pods if _covers(budget, pod)]
        expected = _expected(chosen, owners)
        desired = _desired(budget["spec"], expected)
        healthy = sum(map(is_ready, chosen))
        allowed = max(0, healthy - desired) if expected else 0
        return {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "disruptionsAllowed": allowed,
            "observedGeneration": budget["metadata"]["generation"],
            "conditions": [self._condition(budget, "True" if allowed else "False")],
        }

    def _condition(self, budget: Object, state: str) -> Object:
        was = condition(budget, "DisruptionAllowed")
        if was.get("status") == state:
            return was
        return {
            "type": "DisruptionAllowed",
            "status": state,
            "reason": "SufficientPods" if state == "True" else "InsufficientPods",
            "message": "",
            "lastTransitionTime": timestamp(self.store.clock.now()),
            "observedGeneration": budget["metadata"]["generation"],
        }


def _covers(budget: Object, pod: Object) -> bool:
    meta, selector = pod["metadata"], budget["spec"].get("selector") or {}
    same = meta["namespace"] == budget["metadata"]["namespace"]
    return same and is_active(pod) and selector_matches(selector, meta.get("labels") or {})


def _expected(pods: list[Object], owners: dict[str, Object]) -> int:
    """As many as the workloads behind the pods want to have."""
    wanted: dict[str, int] = {}
    for pod in pods:
        uid, replicas = pod["metadata"]["uid"], 1
        while (owner := owners.get(controller_of(owners.get(uid, pod)))) is not None:
            uid, replicas = owner["metadata"]["uid"], owner["spec"]["replicas"]
        wanted[uid] = replicas
    return sum(wanted.values())


def _desired(spec: Object, expected: int) -> int:
    if "maxUnavailable" in spec:
        return max(0, expected - share(spec["maxUnavailable"], expected, math.ceil))
    return share(spec.get("minAvailable", 0), expected, math.ceil)
