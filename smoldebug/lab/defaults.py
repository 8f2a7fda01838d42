"""What a real API server fills in, so that `describe` and rollouts look as they do in life."""

import base64
import uuid
from collections.abc import Iterable
from typing import Any

from smoldebug.lab.catalog import Resource
from smoldebug.sources.world import Object

_POD = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "terminationGracePeriodSeconds": 30,
    "schedulerName": "default-scheduler",
    "securityContext": {},
}
_CONTAINER = {
    "imagePullPolicy": "IfNotPresent",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "resources": {},
}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_ROLLING = {"maxUnavailable": "25%", "maxSurge": "25%"}
_SPEC: dict[str, dict[str, Any]] = {
    "Deployment": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
    "ReplicaSet": {"replicas": 1},
    "ReplicationController": {"replicas": 1},
    "StatefulSet": {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "podManagementPolicy": "OrderedReady",
    },
    "DaemonSet": {"revisionHistoryLimit": 10},
    "Job": {
        "parallelism": 1,
        "completions": 1,
        "completionMode": "NonIndexed",
        "backoffLimit": 6,
        "suspend": False,
    },
    "CronJob": {"concurrencyPolicy": "Allow", "suspend": False},
    "HorizontalPodAutoscaler": {"minReplicas": 1},
    "Service": {"type": "ClusterIP", "sessionAffinity": "None"},
    "Namespace": {"finalizers": ["kubernetes"]},
}
_JOB_UID = "batch.kubernetes.io/controller-uid"
_RBAC = "rbac.authorization.k8s.io"
_PHASE = {"Namespace": "Active", "Pod": "Pending", "PersistentVolumeClaim": "Pending"}


def fill(resource: Resource, obj: Object) -> None:
    """Add the defaults of its kind to a new or changed object, in place."""
    kind = resource.kind
    if kind == "Namespace":
        obj.setdefault("spec", {})
    if kind in _PHASE:
        obj.setdefault("status", {"phase": _PHASE[kind]})
    if kind in _FILL_OBJECT:
        _FILL_OBJECT[kind](obj)
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    _add(spec, _SPEC.get(kind, {}))
    for pod in _pod_specs(resource, spec):
        _fill_pod(pod)
    if kind in _FILL_SPEC:
        _FILL_SPEC[kind](obj, spec)


def _pod_specs(resource: Resource, spec: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if resource.kind == "Pod":
        yield spec
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        yield template["spec"]


def _fill_pod(pod: dict[str, Any]) -> None:
    _add(pod, _POD)
    for kind in ("containers", "initContainers"):
        for container in pod.get(kind) or ():
            _add(container, _CONTAINER)
            _fill_ports(container)
            for name in ("livenessProbe", "readinessProbe", "startupProbe"):
                if probe := container.get(name):
                    _add(probe, _PROBE)
                    if "httpGet" in probe:
                        _add(probe["httpGet"], {"path": "/", "scheme": "HTTP"})


def _fill_secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    for key, text in (obj.pop("stringData", None) or {}).items():
        _child(obj, "data")[key] = base64.b64encode(str(text).encode()).decode()


def _fill_binding(obj: Object) -> None:
    _add(obj.get("roleRef") or {}, {"apiGroup": _RBAC})
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", _RBAC)


def _fill_deployment(obj: Object, spec: dict[str, Any]) -> None:
    strategy = _child(spec, "strategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        _add(_child(strategy, "rollingUpdate"), _ROLLING)


def _fill_stateful_set(obj: Object, spec: dict[str, Any]) -> None:
    strategy = _child(spec, "updateStrategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        _add(_child(strategy, "rollingUpdate"), {"partition": 0})


def _fill_daemon_set(obj: Object, spec: dict[str, Any]) -> None:
    strategy = _child(spec, "updateStrategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        _add(_child(strategy, "rollingUpdate"), {"maxUnavailable": 1, "maxSurge": 0})


def _fill_job(obj: Object, spec: dict[str, Any]) -> None:
    """Its pods are told by its uid, unless the author chose otherwise."""
    if spec.get("manualSelector"):
        return
    meta = obj["metadata"]
    uid, name = {"controller-uid": meta["uid"]}, {"job-name": meta["name"]}
    told = {f"batch.kubernetes.io/{key}": value for key, value in (uid | name).items()}
    spec.setdefault("selector", {"matchLabels": {_JOB_UID: meta["uid"]}})
    template = _child(spec, "template")
    _add(_child(_child(template, "metadata"), "labels"), uid | name | told)


def _fill_pods_requests(obj: Object, spec: dict[str, Any]) -> None:
    """Of pods alone: a template keeps what was written."""
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or ():
            _fill_requests(container["resources"])


def _fill_requests(resources: dict[str, Any]) -> None:
    if limits := resources.get("limits"):
        _add(_child(resources, "requests"), limits)


def _fill_service(obj: Object, spec: dict[str, Any]) -> None:
    _fill_ports(spec)
    for port in spec.get("ports") or ():
        port.setdefault("targetPort", port.get("port"))
    if spec["type"] != "ExternalName" and "clusterIP" not in spec:
        # Out of the uid: stable, without a table of what is taken.
        number = uuid.UUID(obj["metadata"]["uid"]).int % 65534 + 1
        spec["clusterIP"] = f"10.96.{number >> 8}.{number & 255}"
    if "clusterIP" in spec:
        spec.setdefault("clusterIPs", [spec["clusterIP"]])


def _fill_ports(owner: dict[str, Any]) -> None:
    for port in owner.get("ports") or ():
        port.setdefault("protocol", "TCP")


def _add(target: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        target.setdefault(key, value.copy() if isinstance(value, dict | list) else value)


def _child(owner: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(owner.get(name), dict):
        owner[name] = {}
    child: dict[str, Any] = owner[name]
    return child


_FILL_OBJECT = {
    "Secret": _fill_secret,
    "RoleBinding": _fill_binding,
    "ClusterRoleBinding": _fill_binding,
}
_FILL_SPEC = {
    "Deployment": _fill_deployment,
    "StatefulSet": _fill_stateful_set,
    "DaemonSet": _fill_daemon_set,
    "Job": _fill_job,
    "Service": _fill_service,
    "Pod": _fill_pods_requests,
}
