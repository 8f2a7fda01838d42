"""Deployments, StatefulSets and DaemonSets: what their rollout still waits for."""

from collections.abc import Callable
from functools import partial
from typing import Any

from smoldebug.goal.reading import dig
from smoldebug.signals.words import count
from smoldebug.sources.world import Object
from smoldebug.untrusted import one_line


def pending(item: Object, kind: str) -> str:
    """What a rollout still waits for, in words; "" when it is complete."""
    status, generation = (
        partial(dig, item, "status"),
        dig(item, "metadata", "generation", default=0),
    )
    if status("observedGeneration", default=0) < generation:
        return "its controller has not seen the latest spec yet"
    return _WAITS[kind](item)


def _deployment(item: Object) -> str:
    if deadline_exceeded(item):
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


def old_pods(item: Object, kind: str) -> str:
    """Why pods of the revision before run on although the rollout is complete, or "": whoever
    asked for that updates them later, or never."""
    update: Object = dig(item, "spec", "updateStrategy", default={})
    status = partial(dig, item, "status")
    if kind == "DaemonSet":
        wanted, updated = (
            status(f"{word}NumberScheduled", default=0) for word in ("desired", "updated")
        )
    elif kind == "StatefulSet":
        same = status("updateRevision", default="") == status("currentRevision", default="")
        wanted = dig(item, "spec", "replicas", default=1)
        updated = wanted if same else status("updatedReplicas", default=0)
    else:
        return ""
    way = "OnDelete" if dig(update, "type", default="") == "OnDelete" else "a partition"
    return f"{updated} of {wanted} updated ({way})" if updated < wanted else ""


def _available(available: int, wanted: int) -> str:
    return f"{available} of {wanted} available" if available < wanted else ""


_WAITS: dict[str, Callable[[Object], str]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
}

WORKLOADS = tuple(_WAITS)


def deadline_exceeded(item: Object) -> bool:
    """Whether a Deployment made no progress for progressDeadlineSeconds."""
    return any(
        dig(condition, "reason", default="") == "ProgressDeadlineExceeded"
        for condition in _conditions(item)
    )


def refused(item: Object) -> str:
    """Why a Deployment's pods cannot be created (a quota, say), or ""."""
    for condition in _conditions(item):
        known = (dig(condition, "type", default=""), dig(condition, "status", default=""))
        if known == ("ReplicaFailure", "True"):
            return f"pods cannot be created: {one_line(dig(condition, 'message', default=''), 160)}"
    return ""


def _conditions(item: Object) -> list[Any]:
    return dig(item, "status", "conditions", default=[])
