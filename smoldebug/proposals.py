"""From what a tool wants of a live object to a Change: exactly the fields that differ.

Refuses, in words a model can act on, what the API server or a controller would not let stand.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from smoldebug import pointers
from smoldebug.appliers import releases
from smoldebug.errors import NotFound, ToolError
from smoldebug.fieldvalues import same
from smoldebug.records import Change, ChangeKind
from smoldebug.redact import masked
from smoldebug.signals.objects import (
    Object,
    containers,
    controller,
    meta,
    name,
    ref,
    spec,
    template,
)
from smoldebug.sources.helm import PENDING, Release, Revision
from smoldebug.sources.kinds import CLUSTER_SCOPED
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


def manifest(given: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """A manifest to send: in a namespace where its kind has one (`namespace` where it names none),
    without what the server adds. Raises ToolError when it does not name an object."""
    metadata = given.get("metadata")
    kind, called = given.get("kind"), metadata.get("name") if isinstance(metadata, dict) else ""
    if not (isinstance(metadata, dict) and given.get("apiVersion") and kind and called):
        raise ToolError("a manifest needs apiVersion, kind and metadata.name")
    if kind == "Secret":
        raise ToolError(f"Secrets are not written, their values would be shown: {called}")
    kept = {key: value for key, value in metadata.items() if key not in SERVED}
    if kind not in CLUSTER_SCOPED:
        kept["namespace"] = metadata.get("namespace") or namespace
    return {**{k: v for k, v in given.items() if k != "status"}, "metadata": kept}


def applied(cluster: Cluster, manifest: dict[str, Any], why: str) -> Change | None:
    """A server-side apply of a manifest, or the creation of what is not there; None where all of
    it is so already. Raises as `checked` does."""
    try:
        live = cluster.get(ref(manifest))
    except NotFound:
        return creation(manifest, why)
    before, after = pointers.diff(live, pointers.merged(live, manifest, strategic=True))
    if all(same(each, before.get(each), after.get(each)) for each in {**before, **after}):
        return None
    change = Change(ChangeKind.APPLY_OBJECT, ref(manifest), before, after, why, manifest=manifest)
    return checked(cluster, live, change)


def creation(manifest: dict[str, Any], why: str) -> Change:
    where, after = ref(manifest), {"": manifest}
    return unmasked(Change(ChangeKind.CREATE_OBJECT, where, {}, after, why, f"a new {where.kind}"))


def helm_rollback(
    release: Release, history: Sequence[Revision], number: int, why: str, timeout: float = 300.0
) -> Change:
    """A release goes back to a revision (0: the last one that was deployed before the newest).

    Taking that back ends at the newest revision, unless that never was deployed. An operation
    under way is ended by it: whoever approves must know. Raises ToolError where there is no such
    revision, or nothing to go back to.
    """
    newest, earlier = history[-1], releases.deployed(history[:-1])
    if not number and earlier is None:
        raise ToolError(f"release {release.name} has no earlier revision that was deployed")
    number = number or (earlier.number if earlier else 0)
    to = next((each for each in history if each.number == number), None)
    if to is None:
        raise ToolError(f"release {release.name} has no revision {number}")
    return Change(
        ChangeKind.HELM_ROLLBACK,
        release.ref,
        before={releases.REVISION: newest.number, releases.CHART: newest.chart},
        after={releases.TO: number, releases.CHART: to.chart, releases.TIMEOUT: timeout},
        why=why,
        expects=f"release {release.name} runs {to.chart} of revision {number}",
        revision=number,
        from_revision=newest.number if newest.status == "deployed" else number,
        notes=(releases.under_way(newest),) if newest.status in PENDING else (),
    )


def one_container(live: Object, called: str) -> tuple[Any, Any]:
    """A copy of a workload, and in it the container meant: by name, or the only one there is."""
    wanted = copy.deepcopy(live)
    found = template(wanted)
    every: list[Any] = list(containers(found))
    chosen = [each for each in every if each["name"] == called] if called else found["containers"]
    if len(chosen) != 1:
        listed = ", ".join(each["name"] for each in every)
        raise ToolError(
            f"{ref(live)} has no container {called}; it has: {listed}"
            if called
            else f"{ref(live)} has several containers; say which: {listed}"
        )
    return wanted, chosen[0]


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
