"""Kubernetes objects as short tables, and without what nobody reads. A model pays per token."""

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from smoldebug.records import Json
from smoldebug.signals.objects import (
    Object,
    condition,
    containers,
    meta,
    name,
    revision,
    spec,
    status,
    template,
    wanted,
)
from smoldebug.signals.red import available, container_statuses
from smoldebug.signals.services import WORKLOADS
from smoldebug.signals.times import age, when
from smoldebug.untrusted import one_line

VALUE = 2000  # characters of one ConfigMap value
_NOISE = ("kubectl.kubernetes.io/last-applied-configuration",)
Row = Callable[[Object], Sequence[Any]]


def columns(rows: Sequence[Sequence[Any]]) -> str:
    """Left-aligned columns, two spaces apart; the first row is the header."""
    cells = [
        ["-" if cell is None else one_line(str(cell), 300) or "-" for cell in row] for row in rows
    ]
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in cells
    )


def table(kind: str, items: Sequence[Object], now: datetime) -> str:
    """What `kubectl get` would show, one line per object; its name is the first word."""
    header, row = _ROWS.get(kind, (("STATUS",), _other))
    several = len({meta(item).get("namespace") for item in items}) > 1
    rows: list[Sequence[Any]] = [("NAME", *(["NAMESPACE"] if several else []), *header, "AGE")]
    for item in items:
        made = age(when(meta(item).get("creationTimestamp")), now)
        where = [meta(item).get("namespace")] if several else []
        rows.append((name(item), *where, *row(item), made))
    return columns(rows)


def unready_first(items: Sequence[Object]) -> list[Object]:
    """What needs attention on top: not ready, then restarted; otherwise in the order given."""
    return sorted(items, key=lambda item: (not _unready(item), -_restarts(item)))


def _unready(item: Object) -> bool:
    if item.get("kind") in WORKLOADS:
        return wanted(item) > available(item)
    done = status(item).get("phase") == "Succeeded"
    return not done and condition(item, "Ready").get("status", "True") != "True"


def _restarts(item: Object) -> int:
    return sum(entry.get("restartCount") or 0 for entry in container_statuses(item))


def trimmed(item: Object) -> dict[str, Json]:
    """A copy without managedFields and apply's copy of the object. A Secret keeps its keys only."""
    kept: dict[str, Json] = copy.deepcopy(dict(item))
    metadata = kept.get("metadata") or {}
    metadata.pop("managedFields", None)
    annotations = metadata.get("annotations") or {}
    for key in _NOISE:
        annotations.pop(key, None)
    for field in ("data", "stringData", "binaryData"):
        values = kept.get(field)
        if isinstance(values, dict):
            kept[field] = {key: _value(kept.get("kind"), text) for key, text in values.items()}
    return kept


def _value(kind: Json, text: Json) -> Json:
    if kind == "Secret":
        return "<secret>"
    return (
        text if len(str(text)) <= VALUE else f"{str(text)[:VALUE]}… ({len(str(text))} characters)"
    )


# --- rows per kind ----------------------------------------------------------------------------


def pod_state(pod: Object) -> str:
    """The word `kubectl get pods` shows: Running, CrashLoopBackOff, Terminating ..."""
    if meta(pod).get("deletionTimestamp"):
        return "Terminating"
    for container in container_statuses(pod):
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            reason = (state.get(kind) or {}).get("reason")
            if reason and reason != "Completed":
                return str(reason)
    return str(status(pod).get("reason") or status(pod).get("phase") or "Unknown")


def _pod(pod: Object) -> Sequence[Any]:
    running = status(pod).get("containerStatuses") or []
    ready = f"{sum(bool(item.get('ready')) for item in running)}/{len(running)}"
    return ready, pod_state(pod), _restarts(pod), spec(pod).get("nodeName")


def _workload(item: Object) -> Sequence[Any]:
    found = status(item)
    wanted = spec(item).get("replicas", found.get("desiredNumberScheduled", 0))
    ready = found.get("readyReplicas", found.get("numberReady", 0))
    updated = found.get("updatedReplicas", found.get("updatedNumberScheduled", 0))
    return f"{ready}/{wanted}", updated, found.get("availableReplicas", ready), _images(item)


def _replica_set(item: Object) -> Sequence[Any]:
    ready = f"{status(item).get('readyReplicas', 0)}/{spec(item).get('replicas', 0)}"
    return ready, revision(item), _images(item)


def _images(item: Object) -> str:
    return ",".join(str(entry.get("image")) for entry in containers(template(item)))


def _service(item: Object) -> Sequence[Any]:
    ports = ",".join(
        f"{entry.get('port')}→{entry.get('targetPort', entry.get('port'))}"
        for entry in spec(item).get("ports") or []
    )
    return spec(item).get("type", "ClusterIP"), ports, pairs(spec(item).get("selector"))


def _autoscaler(item: Object) -> Sequence[Any]:
    target = spec(item).get("scaleTargetRef") or {}
    bounds = f"{spec(item).get('minReplicas', 1)}..{spec(item).get('maxReplicas')}"
    found = status(item)
    now = f"{found.get('currentReplicas', 0)} wants {found.get('desiredReplicas', 0)}"
    return f"{target.get('kind')}/{target.get('name')}", bounds, now


def _node(item: Object) -> Sequence[Any]:
    entries = status(item).get("conditions") or []
    bad = [entry["type"] for entry in entries if entry.get("status") == "True"]
    state = ",".join(bad) or "NotReady"
    if spec(item).get("unschedulable"):
        state += ",SchedulingDisabled"
    taints = ",".join(str(taint.get("key")) for taint in spec(item).get("taints") or [])
    return state, (status(item).get("nodeInfo") or {}).get("kubeletVersion"), taints


def _slice(item: Object) -> Sequence[Any]:
    endpoints = item.get("endpoints") or []
    ready = [
        str((entry.get("targetRef") or {}).get("name") or ",".join(entry.get("addresses") or []))
        for entry in endpoints
        if (entry.get("conditions") or {}).get("ready") is not False
    ]
    ports = ",".join(str(entry.get("port")) for entry in item.get("ports") or [])
    return f"{len(ready)}/{len(endpoints)}", ports, ",".join(ready)


def _keys(item: Object) -> Sequence[Any]:
    return (",".join([*(item.get("data") or {}), *(item.get("binaryData") or {})]),)


def _quota(item: Object) -> Sequence[Any]:
    hard, used = status(item).get("hard") or {}, status(item).get("used") or {}
    return (", ".join(f"{key} {used.get(key, 0)}/{most}" for key, most in hard.items()),)


def _other(item: Object) -> Sequence[Any]:
    return (status(item).get("phase"),)


def pairs(labels: Mapping[str, Any] | None) -> str:
    """`app=auth,tier=db`"""
    return ",".join(f"{key}={value}" for key, value in (labels or {}).items())


_WORKLOAD = (("READY", "UPDATED", "AVAILABLE", "IMAGES"), _workload)
_ROWS: dict[str, tuple[tuple[str, ...], Row]] = {
    "Pod": (("READY", "STATUS", "RESTARTS", "NODE"), _pod),
    "Deployment": _WORKLOAD,
    "StatefulSet": _WORKLOAD,
    "DaemonSet": _WORKLOAD,
    "ReplicaSet": (("READY", "REVISION", "IMAGES"), _replica_set),
    "Service": (("TYPE", "PORTS", "SELECTOR"), _service),
    "HorizontalPodAutoscaler": (("TARGET", "BOUNDS", "NOW"), _autoscaler),
    "Node": (("STATUS", "VERSION", "TAINTS"), _node),
    "EndpointSlice": (("READY", "PORTS", "PODS"), _slice),
    "ConfigMap": (("KEYS",), _keys),
    "Secret": (("KEYS",), _keys),
    "ResourceQuota": (("USED",), _quota),
}
