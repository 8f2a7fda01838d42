"""The columns `kubectl get` shows: like the real API server, ours prints them itself."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from smoldebug.lab.catalog import Resource
from smoldebug.lab.selectors import selector_text
from smoldebug.sources.world import Object

Cells = list[Any]


class _Reader:
    """One object, and the few looks at it that many kinds of row share."""

    def __init__(self, obj: Object, now: datetime) -> None:
        self.meta: Object = obj["metadata"]
        self.spec: Object = obj.get("spec") or {}
        self.status: Object = obj.get("status") or {}
        self.object, self.now = obj, now

    def ago(self, moment: str | None) -> str:
        if not moment:
            return "<unknown>"
        then = datetime.fromisoformat(moment)
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return duration((self.now - then).total_seconds())

    @property
    def age(self) -> str:
        return self.ago(self.meta.get("creationTimestamp"))

    def containers(self) -> Cells:
        """Names, images and selector of a workload's pods."""
        found = self.spec.get("template", {}).get("spec", {}).get("containers") or []
        selector = selector_text(self.spec.get("selector") or {})
        return [
            _joined(c.get("name") for c in found),
            _joined(c.get("image") for c in found),
            selector,
        ]


def duration(seconds: float) -> str:
    """How long, in at most two units: `95s`, `5m30s`, `3h`, `12d`."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    return f"{days}d{hours % 24}h" if days < 8 and hours % 24 else f"{days}d"


def table(
    resource: Resource, items: Iterable[Object], meta: Object, now: datetime, include: str = ""
) -> Object:
    """The Table of these objects. `include` says what a row carries of its object: `Metadata` (if
    empty), `Object` or `None`."""
    columns, row = _KINDS.get(resource.kind, ("Age", lambda o: [o.age]))
    shown, _, wide = columns.partition("|")
    named = resource.kind != "Event"
    definitions = [_column("Name", 0)] if named else []
    definitions += [_column(name, 0) for name in shown.split(",")]
    definitions += [_column(name, 1) for name in wide.split(",") if name]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": definitions,
        "rows": [
            {
                "cells": ([obj["metadata"]["name"]] if named else []) + row(_Reader(obj, now)),
                **_carried(obj, include),
            }
            for obj in items
        ],
    }


def _column(name: str, priority: int) -> Object:
    name = name.strip()
    style = "name" if name == "Name" else ""
    return {
        "name": name,
        "type": "string",
        "format": style,
        "description": "",
        "priority": priority,
    }


def _carried(obj: Object, include: str) -> Object:
    if include == "None":
        return {}
    if include == "Object":
        return {"object": obj}
    meta = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    kind = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {"object": kind | {"metadata": meta}}


def _joined(values: Iterable[Any], empty: str = "<none>") -> str:
    return ",".join(str(value) for value in values) or empty


def _first(items: Iterable[str], most: int = 3) -> str:
    listed = list(items)
    more = f" + {len(listed) - most} more..." if len(listed) > most else ""
    return _joined(listed[:most]) + more


def _pod(o: _Reader) -> Cells:
    statuses = o.status.get("containerStatuses") or []
    init = o.status.get("initContainerStatuses") or []
    initializing = _initializing(init, len(o.spec.get("initContainers") or []))
    reason = initializing or _running(statuses, o.status)
    if o.meta.get("deletionTimestamp") and o.status.get("phase") not in ("Succeeded", "Failed"):
        reason = "Terminating"
    counted = init if initializing else [*init, *statuses]
    restarts = sum(c.get("restartCount", 0) for c in counted)
    ends = [_terminated(c, "lastState").get("finishedAt") or "" for c in counted]
    last = max(ends, default="")
    return [
        f"{sum(bool(c.get('ready')) for c in statuses)}/{len(o.spec.get('containers') or [])}",
        reason,
        f"{restarts} ({o.ago(last)} ago)" if restarts and last else str(restarts),
        o.age,
        o.status.get("podIP") or "<none>",
        o.spec.get("nodeName") or "<none>",
        o.status.get("nominatedNodeName") or "<none>",
        "<none>",
    ]


def _terminated(container: Object, when: str = "state") -> Object:
    found: Object = (container.get(when) or {}).get("terminated") or {}
    return found


def _ending(container: Object) -> str:
    """Why a container is not running, in one word; "" while it is."""
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, _terminated(container)
    if waiting.get("reason") or ended.get("reason"):
        return str(waiting.get("reason") or ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode')}" if ended else ""


def _initializing(containers: list[Object], total: int) -> str:
    """The state of a pod whose init containers are not through, else ""."""
    for number, container in enumerate(containers):
        ended = _terminated(container)
        if ended and ended.get("exitCode") == 0:
            continue
        reason = _ending(container)
        return f"Init:{number}/{total}" if reason in ("", "PodInitializing") else f"Init:{reason}"
    return ""


def _running(containers: list[Object], status: Object) -> str:
    reason = next(filter(None, map(_ending, containers)), "")
    reason = reason or status.get("reason") or status.get("phase") or "Pending"
    if reason == "Completed" and any(c.get("ready") for c in containers):
        ready = any(
            c.get("type") == "Ready" and c.get("status") == "True"
            for c in status.get("conditions") or ()
        )
        return "Running" if ready else "NotReady"
    return str(reason)


def _deployment(o: _Reader) -> Cells:
    ready = f"{o.status.get('readyReplicas', 0)}/{o.spec.get('replicas', 1)}"
    counts = [o.status.get("updatedReplicas", 0), o.status.get("availableReplicas", 0)]
    return [ready, *counts, o.age, *o.containers()]


def _replicaset(o: _Reader) -> Cells:
    counts = [o.status.get("replicas", 0), o.status.get("readyReplicas", 0)]
    return [o.spec.get("replicas", 1), *counts, o.age, *o.containers()]


def _statefulset(o: _Reader) -> Cells:
    ready = f"{o.status.get('readyReplicas', 0)}/{o.spec.get('replicas', 1)}"
    return [ready, o.age, *o.containers()[:2]]


def _daemonset(o: _Reader) -> Cells:
    names = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady"]
    names += ["updatedNumberScheduled", "numberAvailable"]
    nodes = o.spec.get("template", {}).get("spec", {}).get("nodeSelector") or {}
    return [
        *(o.status.get(name, 0) for name in names),
        _joined(f"{k}={v}" for k, v in nodes.items()),
        o.age,
        *o.containers(),
    ]


def _job(o: _Reader) -> Cells:
    true = {c["type"] for c in o.status.get("conditions") or () if c.get("status") == "True"}
    state = next((name for name in ("Complete", "Failed", "Suspended") if name in true), "Running")
    done = f"{o.status.get('succeeded', 0)}/{o.spec.get('completions', 1)}"
    start, end = o.status.get("startTime"), o.status.get("completionTime")
    took = o.ago(start) if start else ""
    if start and end:
        seconds = datetime.fromisoformat(end) - datetime.fromisoformat(start)
        took = duration(seconds.total_seconds())
    return [state, done, took, o.age, *o.containers()]


def _cronjob(o: _Reader) -> Cells:
    last = o.status.get("lastScheduleTime")
    return [
        o.spec.get("schedule"),
        o.spec.get("timeZone") or "<none>",
        str(o.spec.get("suspend", False)),
        len(o.status.get("active") or ()),
        o.ago(last) if last else "<none>",
        o.age,
    ]


def _hpa(o: _Reader) -> Cells:
    target = o.spec.get("scaleTargetRef") or {}
    current = o.status.get("currentMetrics") or []
    goals = [
        _metric(metric, current[number] if number < len(current) else {})
        for number, metric in enumerate(o.spec.get("metrics") or [])
    ]
    return [
        f"{target.get('kind')}/{target.get('name')}",
        _first(goals, 2),
        o.spec.get("minReplicas", 1),
        o.spec.get("maxReplicas"),
        o.status.get("currentReplicas", 0),
        o.age,
    ]


def _metric(wanted: Object, current: Object) -> str:
    """`cpu: 40%/80%`, `<unknown>` for what was not measured."""
    source = str(wanted.get("type", "Resource"))
    field = source[:1].lower() + source[1:]
    goal = (wanted.get(field) or {}).get("target") or {}
    now = (current.get(field) or {}).get("current") or {}
    name = (wanted.get(field) or {}).get("name")
    if "averageUtilization" in goal:
        measured = f"{now['averageUtilization']}%" if "averageUtilization" in now else "<unknown>"
        text = f"{measured}/{goal['averageUtilization']}%"
    else:
        text = " / ".join(
            str(x.get("averageValue") or x.get("value") or "<unknown>") for x in (now, goal)
        ).replace(" ", "")
    return f"{name}: {text}" if name else text


def _service(o: _Reader) -> Cells:
    ports = (
        f"{p.get('port')}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/"
        f"{p.get('protocol', 'TCP')}"
        for p in o.spec.get("ports") or ()
    )
    outside = o.spec.get("externalIPs") or []
    outside += [i.get("ip") or i.get("hostname") for i in _load_balancer(o)]
    if o.spec.get("type") == "ExternalName":
        outside = [o.spec.get("externalName")]
    return [
        o.spec.get("type", "ClusterIP"),
        o.spec.get("clusterIP", "None"),
        _joined(outside),
        _joined(ports),
        o.age,
        _joined(f"{k}={v}" for k, v in (o.spec.get("selector") or {}).items()),
    ]


def _load_balancer(o: _Reader) -> list[Object]:
    return list((o.status.get("loadBalancer") or {}).get("ingress") or ())


def _ingress(o: _Reader) -> Cells:
    hosts = [rule.get("host") or "*" for rule in o.spec.get("rules") or ()]
    address = _joined((i.get("ip") or i.get("hostname") for i in _load_balancer(o)), "")
    ports = "80, 443" if o.spec.get("tls") else "80"
    return [o.spec.get("ingressClassName") or "<none>", _joined(hosts, "*"), address, ports, o.age]


def _endpoints(o: _Reader) -> Cells:
    found = (
        f"{address['ip']}:{port['port']}"
        for subset in o.object.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    )
    return [_first(found), o.age]


def _endpointslice(o: _Reader) -> Cells:
    ports = _first(str(p.get("port")) for p in o.object.get("ports") or ())
    addresses = (a for e in o.object.get("endpoints") or () for a in e.get("addresses") or ())
    shown = (
        (ports if ports != "<none>" else "<unset>"),
        _first(addresses).replace("<none>", "<unset>"),
    )
    return [o.object.get("addressType"), *shown, o.age]


def _event(o: _Reader) -> Cells:
    involved, source = o.object.get("involvedObject") or {}, o.object.get("source") or {}
    where = _joined((source[k] for k in ("component", "host") if source.get(k)), "")
    first = o.object.get("firstTimestamp") or o.object.get("eventTime")
    return [
        o.ago(o.object.get("lastTimestamp") or o.object.get("eventTime")),
        o.object.get("type"),
        o.object.get("reason"),
        f"{str(involved.get('kind', '')).lower()}/{involved.get('name')}",
        str(o.object.get("message", "")).strip(),
        involved.get("fieldPath", ""),
        where.replace(",", ", "),
        o.ago(first),
        o.object.get("count", 1),
        o.meta["name"],
    ]


def _node(o: _Reader) -> Cells:
    ready = [c.get("status") for c in o.status.get("conditions") or () if c.get("type") == "Ready"]
    state = "Ready" if ready == ["True"] else "NotReady"
    prefix = "node-role.kubernetes.io/"
    labels = o.meta.get("labels") or {}
    roles = sorted(label.removeprefix(prefix) for label in labels if label.startswith(prefix))
    info = o.status.get("nodeInfo") or {}
    address = {a.get("type"): a.get("address") for a in o.status.get("addresses") or ()}
    names = ("osImage", "kernelVersion", "containerRuntimeVersion")
    return [
        state + (",SchedulingDisabled" if o.spec.get("unschedulable") else ""),
        _joined(roles),
        o.age,
        info.get("kubeletVersion", ""),
        address.get("InternalIP", "<none>"),
        address.get("ExternalIP", "<none>"),
        *(info.get(name, "<unknown>") for name in names),
    ]


def _claim(o: _Reader) -> Cells:
    return [
        o.status.get("phase", "Pending"),
        o.spec.get("volumeName", ""),
        (o.status.get("capacity") or {}).get("storage", ""),
        _joined(o.status.get("accessModes") or (), ""),
        o.spec.get("storageClassName", ""),
        o.age,
    ]


def _budget(o: _Reader) -> Cells:
    limits = [o.spec.get(name, "N/A") for name in ("minAvailable", "maxUnavailable")]
    return [*limits, o.status.get("disruptionsAllowed", 0), o.age]


_PODS = "|Containers,Images,Selector"
_KINDS: dict[str, tuple[str, Callable[[_Reader], Cells]]] = {
    "Pod": ("Ready,Status,Restarts,Age|IP,Node,Nominated Node,Readiness Gates", _pod),
    "Deployment": (f"Ready,Up-to-date,Available,Age{_PODS}", _deployment),
    "ReplicaSet": (f"Desired,Current,Ready,Age{_PODS}", _replicaset),
    "StatefulSet": ("Ready,Age|Containers,Images", _statefulset),
    "DaemonSet": (
        f"Desired,Current,Ready,Up-to-date,Available,Node Selector,Age{_PODS}",
        _daemonset,
    ),
    "Job": (f"Status,Completions,Duration,Age{_PODS}", _job),
    "CronJob": ("Schedule,Timezone,Suspend,Active,Last Schedule,Age", _cronjob),
    "HorizontalPodAutoscaler": ("Reference,Targets,MinPods,MaxPods,Replicas,Age", _hpa),
    "Service": ("Type,Cluster-IP,External-IP,Port(s),Age|Selector", _service),
    "Ingress": ("Class,Hosts,Address,Ports,Age", _ingress),
    "Endpoints": ("Endpoints,Age", _endpoints),
    "EndpointSlice": ("AddressType,Ports,Endpoints,Age", _endpointslice),
    "Event": (
        "Last Seen,Type,Reason,Object,Message|Subobject,Source,First Seen,Count,Name",
        _event,
    ),
    "Node": (
        "Status,Roles,Age,Version|Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime",
        _node,
    ),
    "Namespace": ("Status,Age", lambda o: [o.status.get("phase", "Active"), o.age]),
    "ConfigMap": ("Data,Age", lambda o: [_data(o), o.age]),
    "Secret": ("Type,Data,Age", lambda o: [o.object.get("type", "Opaque"), _data(o), o.age]),
    "ServiceAccount": (
        "Secrets,Age",
        lambda o: [len(o.object.get("secrets") or ()), o.age],
    ),
    "PersistentVolumeClaim": ("Status,Volume,Capacity,Access Modes,StorageClass,Age", _claim),
    "PodDisruptionBudget": ("Min Available,Max Unavailable,Allowed Disruptions,Age", _budget),
    "NetworkPolicy": (
        "Pod-Selector,Age",
        lambda o: [selector_text(o.spec.get("podSelector") or {}) or "<none>", o.age],
    ),
    "Lease": ("Holder,Age", lambda o: [o.spec.get("holderIdentity", ""), o.age]),
}


def _data(o: _Reader) -> int:
    return sum(len(o.object.get(field) or ()) for field in ("data", "binaryData"))
