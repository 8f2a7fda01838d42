"""From what a tool wants of a live object to a Change: exactly the fields that differ.

Refuses, in words a model can act on, what the API server or a controller would not let stand.
"""

from collections.abc import Mapping
from dataclasses import replace

from smoldebug import pointers
from smoldebug.errors import ToolError
from smoldebug.records import Change, ChangeKind
from smoldebug.redact import masked
from smoldebug.signals.objects import Object, controller, meta, name, ref, spec
from smoldebug.sources.world import Cluster

# Fields that keep the value they were created with, or that are the server's, by kind.
FIXED: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("/spec/selector",),
    "ReplicaSet": ("/spec/selector",),
    "DaemonSet": ("/spec/selector",),
    "StatefulSet": (
        "/spec/selector",
        "/spec/serviceName",
        "/spec/podManagementPolicy",
        "/spec/volumeClaimTemplates",
    ),
    "Job": ("/spec/selector", "/spec/template", "/spec/completionMode"),
    "Service": ("/spec/clusterIP", "/spec/clusterIPs"),
    "RoleBinding": ("/roleRef",),
    "ClusterRoleBinding": ("/roleRef",),
}
SERVED = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
OF_ALL = (
    "/apiVersion",
    "/kind",
    "/status",
    *(f"/metadata/{key}" for key in ("name", "namespace", *SERVED)),
)
CONTROLLERS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")


def propose(
    cluster: Cluster, kind: ChangeKind, live: Object, wanted: Object, why: str, expects: str = ""
) -> Change:
    """The change that makes a live object as it is wanted. Raises as `checked` does."""
    before, after = pointers.diff(live, wanted)
    return checked(cluster, live, Change(kind, ref(live), before, after, why, expects))


def checked(cluster: Cluster, live: Object, change: Change) -> Change:
    """A change of a live object, bound to that very object.

    Raises ToolError when it changes nothing, or something that cannot be changed or would not
    last; AccessDenied when it cannot be seen whether an autoscaler is in charge.
    """
    touched = {*unmasked(change).before, *change.after}
    if change.before == change.after:
        raise ToolError(f"{change.target} has these values already")
    if change.target.kind == "Secret":
        raise ToolError("Secrets are not changed: their values would be shown")
    for field in (*OF_ALL, *FIXED.get(change.target.kind, ())):
        if _touches(touched, field) or any(_within(field, pointer) for pointer in touched):
            raise ToolError(f"cannot be changed on a {change.target.kind}: {field}")
    if problem := _undone_by(cluster, live, touched):
        raise ToolError(f"{change.target} {problem}")
    return replace(change, uid=uid(live))


def unmasked(change: Change) -> Change:
    """The change itself. Raises ToolError when it would write a mask in place of a secret."""
    for pointer, value in change.after.items():
        if masked(str(value)):
            raise ToolError(
                f"a mask stands for a value that is not known here: {pointer or 'manifest'}"
            )
    return change


def uid(live: Object) -> str:
    return str(meta(live).get("uid") or "")


def made_by(live: Object) -> str:
    """The controller of Kubernetes' own that makes such objects: `replicaset/auth-7d9`, or ""."""
    owner = controller(live)
    kind = str(owner.get("kind"))
    return f"{kind.lower()}/{owner.get('name')}" if kind in CONTROLLERS else ""


def _undone_by(cluster: Cluster, live: Object, touched: set[str]) -> str:
    """Why a change of these fields would not take effect or not last, or ""."""
    if (maker := made_by(live)) and _touches(touched, "/spec"):
        return f"is made by {maker}: change that"
    if "/spec/replicas" in touched and (hpa := _autoscaler(cluster, live)):
        return (
            f"is scaled by HorizontalPodAutoscaler {hpa}, which would set it back: "
            f"use set_replicas_bounds on {hpa}"
        )
    paused = spec(live).get("paused") and "/spec/paused" not in touched
    if paused and _touches(touched, "/spec/template"):
        return "is paused, so nothing would be rolled out: resume it first (spec.paused)"
    return ""


def _touches(touched: set[str], field: str) -> bool:
    return any(_within(pointer, field) for pointer in touched)


def _within(pointer: str, field: str) -> bool:
    return pointer == field or pointer.startswith(f"{field}/")


def _autoscaler(cluster: Cluster, live: Object) -> str:
    """Name of the autoscaler that sets a workload's replicas, or ""."""
    where = ref(live)
    for item in cluster.list("HorizontalPodAutoscaler", where.namespace):
        target = spec(item).get("scaleTargetRef") or {}
        if (target.get("kind"), target.get("name")) == (where.kind, where.name):
            return name(item)
    return ""
