"""Which pods a change takes down, and what their disruption budgets say to that.

The API server asks budgets about evictions only: a rollout, a smaller replica count or a deleted
pod passes them by. Here they count for those too.
"""

from collections.abc import Mapping
from typing import Any

from smoldebug.guard.leaves import of_change
from smoldebug.guard.limits import counts
from smoldebug.records import Change, ChangeKind, Json, Surroundings

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")


def refused(change: Change, around: Surroundings) -> str:
    """Why the pods may not go down now, or ""."""
    fewer = _fewer(change)
    for budget in around.budgets:
        if fewer is not None and fewer < budget.needed:
            return f"PodDisruptionBudget {budget.name} wants {budget.needed} pods: {fewer} is less"
        if budget.allowed > 0:
            continue
        if fewer is not None or _deletes_pods(change):
            return f"PodDisruptionBudget {budget.name} allows no disruption now"
        if _replaces_pods(change) and not _sick(change, around, budget.needed):
            return f"PodDisruptionBudget {budget.name} allows no disruption now"
    return ""


def warned(change: Change, around: Surroundings) -> list[str]:
    """What an approver should know of the pods that go down. A repair of pods that are down
    already is not refused for a budget that they break."""
    said = []
    replaces = _replaces_pods(change)
    for budget in around.budgets:
        if replaces and budget.allowed <= 0 and _sick(change, around, budget.needed):
            said.append(
                f"PodDisruptionBudget {budget.name} wants {budget.needed} healthy pods and has "
                "fewer already"
            )
    if around.replicas == 1 and (replaces or _deletes_pods(change)) and _ready(change, around) != 0:
        said.append(f"{change.target} runs a single pod: nothing may answer until another is ready")
    return said


def live(change: Change, around: Surroundings) -> Mapping[str, Any]:
    """The target among what was read around it, {} where it is not."""
    for each in around.typed:
        meta = each.get("metadata") if isinstance(each, dict) else None
        if isinstance(meta, dict):
            found = (each.get("kind"), meta.get("namespace") or "", meta.get("name"))
            if found == (change.target.kind, change.target.namespace, change.target.name):
                return dict(each)
    return {}


def _fewer(change: Change) -> int | None:
    """The replica count it goes down to, or None."""
    for field, before, after in counts(change, ()):
        if field == "/spec/replicas" and after < before:
            return after
    return None


def _replaces_pods(change: Change) -> bool:
    """Does it change the pod template of a workload, which then replaces its pods one by one?"""
    if change.target.kind not in WORKLOADS:
        return False
    sides = (*of_change(change.before), *of_change(change.after))
    return any(path[:2] == ("spec", "template") for path, _ in sides)


def _deletes_pods(change: Change) -> bool:
    pods = change.target.kind in ("Pod", "Job", *WORKLOADS)
    return change.kind is ChangeKind.DELETE_OBJECT and pods


def _sick(change: Change, around: Surroundings, needed: int) -> bool:
    """Are fewer pods ready than the budget wants, whatever the change does?"""
    ready = _ready(change, around)
    return ready is not None and ready < needed


def _ready(change: Change, around: Surroundings) -> int | None:
    """How many pods of the target are ready, None where that cannot be told."""
    found = live(change, around)
    status: Json = found.get("status")
    if not isinstance(status, dict) or change.target.kind not in WORKLOADS:
        return None
    ready = status.get("numberReady" if change.target.kind == "DaemonSet" else "readyReplicas", 0)
    return ready if isinstance(ready, int) else None
