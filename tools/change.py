"""Proposals to change the cluster. Each reads live state and returns a Change; none applies it."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from smoldebug.errors import ToolError
from smoldebug.records import Change, ChangeKind, ObjectRef
from smoldebug.signals.objects import meta, name, revision, revisions, spec
from smoldebug.sources import targets
from smoldebug.toolset import ToolContext, tool

RESTARTED = "kubectl.kubernetes.io/restartedAt"
SCALABLE = ("Deployment", "StatefulSet", "ReplicaSet")
RESTARTABLE = ("Deployment", "StatefulSet", "DaemonSet")

Object = Mapping[str, Any]


@tool(effect="change", changes="scale")
def scale(
    ctx: ToolContext,
    target: str,
    replicas: Annotated[int, Meta(ge=0)],
    why: str,
    namespace: str = "",
) -> Change:
    """Propose another number of replicas. Refused where an autoscaler sets it.

    Args:
        target: deployment/NAME, statefulset/NAME or replicaset/NAME.
        replicas: How many there should be.
        why: The reason, citing evidence such as E4.
        namespace: Empty for the run's namespace.
    """
    where, item = _workload(ctx, target, namespace, SCALABLE)
    if hpa := _autoscaler(ctx, where):
        raise ToolError(
            f"{where} is scaled by HorizontalPodAutoscaler {hpa}, which would set it back: "
            f"use set_replicas_bounds on {hpa}"
        )
    now = spec(item).get("replicas", 1)
    return Change(
        ChangeKind.SCALE,
        where,
        before={"/spec/replicas": now},
        after={"/spec/replicas": replicas},
        why=why,
        expects=f"{replicas} pods instead of {now}",
        uid=_uid(item),
    )


@tool(effect="change", changes="set-replicas-bounds")
def set_replicas_bounds(
    ctx: ToolContext,
    name: str,
    why: str,
    minimum: Annotated[int, Meta(ge=1)] | None = None,
    maximum: Annotated[int, Meta(ge=1)] | None = None,
    namespace: str = "",
) -> Change:
    """Propose other bounds of a HorizontalPodAutoscaler.

    Args:
        name: Name of the autoscaler.
        why: The reason, citing evidence such as E4.
        minimum: New lower bound; leave out to keep it.
        maximum: New upper bound; leave out to keep it.
        namespace: Empty for the run's namespace.
    """
    where = ObjectRef("HorizontalPodAutoscaler", namespace or ctx.namespace, name)
    item = ctx.world.cluster.get(where)
    wanted = {"/spec/minReplicas": minimum, "/spec/maxReplicas": maximum}
    after = {path: value for path, value in wanted.items() if value is not None}
    before = {path: _at(item, path) for path in after if _at(item, path) is not None}
    if not after or after == before:
        raise ToolError(f"{where} has these bounds already; give another minimum or maximum")
    low = after.get("/spec/minReplicas", spec(item).get("minReplicas") or 1)
    high = after.get("/spec/maxReplicas", spec(item).get("maxReplicas") or 1)
    if low > high:
        raise ToolError(f"the lower bound may not be above the upper one: {low} > {high}")
    kind, expects = ChangeKind.SET_REPLICAS_BOUNDS, f"between {low} and {high} pods"
    return Change(kind, where, before, after, why, expects, uid=_uid(item))


@tool(effect="change", changes="rollback")
def rollback(
    ctx: ToolContext, target: str, why: str, revision: int = 0, namespace: str = ""
) -> Change:
    """Propose the pod template of an earlier revision of a Deployment.

    Args:
        target: deployment/NAME.
        why: The reason, citing evidence such as E4.
        revision: Its number; 0 for the one before the current one.
        namespace: Empty for the run's namespace.
    """
    where, item = _workload(ctx, target, namespace, ("Deployment",))
    known = revisions(item, ctx.world.cluster.list("ReplicaSet", where.namespace))
    old = _revision(known, revision, where)
    template = _template(old)
    if template == _template(item):
        raise ToolError(f"{where} runs that revision's template already")
    return Change(
        ChangeKind.ROLLBACK,
        where,
        before={"/spec/template": spec(item)["template"]},
        after={"/spec/template": template},
        why=why,
        expects=f"pods of revision {_number(old)}: {_images(template)}",
        uid=_uid(item),
        revision=_number(old),
        from_revision=_number(item),
    )


@tool(effect="change", changes="restart")
def restart(ctx: ToolContext, target: str, why: str, namespace: str = "") -> Change:
    """Propose to replace a workload's pods one by one.

    Args:
        target: deployment/NAME, statefulset/NAME or daemonset/NAME.
        why: The reason, citing evidence such as E4.
        namespace: Empty for the run's namespace.
    """
    where, item = _workload(ctx, target, namespace, RESTARTABLE)
    parent, key = "/spec/template/metadata/annotations", RESTARTED.replace("/", "~1")
    before: dict[str, Any]
    after: dict[str, Any]
    stamp = ctx.world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    annotations = _at(item, parent)
    if annotations is None:
        before, after = {}, {parent: {RESTARTED: stamp}}
    else:
        old = annotations.get(RESTARTED)
        before, after = {f"{parent}/{key}": old} if old else {}, {f"{parent}/{key}": stamp}
    return Change(
        ChangeKind.RESTART,
        where,
        before,
        after,
        why,
        expects="new pods of the same revision",
        no_undo="a restart cannot be taken back",
        uid=_uid(item),
    )


@tool(effect="change", changes="patch-object")
def apply_k8s_patch(
    ctx: ToolContext, target: str, patch: dict[str, Any], why: str, namespace: str = ""
) -> Change:
    """Propose a JSON merge patch of one object; null removes a field.

    Args:
        target: KIND/NAME.
        patch: The fields to change, nested as in the object.
        why: The reason, citing evidence such as E4.
        namespace: Empty for the run's namespace.
    """
    where, item = targets.find(ctx.world.cluster, target, namespace or ctx.namespace)
    if where.kind == "Secret":
        raise ToolError("Secrets are not patched: their values would be shown")
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    _merge(item, patch, "", before, after)
    if before == after:
        raise ToolError(f"{where} has these values already")
    return Change(ChangeKind.PATCH_OBJECT, where, before, after, why, uid=_uid(item))


# --- helpers ----------------------------------------------------------------------------------


def _workload(
    ctx: ToolContext, target: str, namespace: str, kinds: tuple[str, ...]
) -> tuple[ObjectRef, Object]:
    where, item = targets.find(ctx.world.cluster, target, namespace or ctx.namespace)
    if where.kind not in kinds:
        raise ToolError(f"needs a {' or '.join(kinds)}: {where}")
    return where, item


def _autoscaler(ctx: ToolContext, where: ObjectRef) -> str:
    """Name of the autoscaler that sets a workload's replicas, or "". Raises AccessDenied when
    that cannot be seen: a scale that is set back at once helps nobody."""
    for item in ctx.world.cluster.list("HorizontalPodAutoscaler", where.namespace):
        target = spec(item).get("scaleTargetRef") or {}
        if (target.get("kind"), target.get("name")) == (where.kind, where.name):
            return name(item)
    return ""


def _revision(known: list[Object], number: int, where: ObjectRef) -> Object:
    """The ReplicaSet of a revision, by default the one before the newest."""
    listed = ", ".join(str(_number(item)) for item in known) or "none"
    if number == 0 and len(known) > 1:
        return known[1]
    for item in known:
        if number and _number(item) == number:
            return item
    raise ToolError(f"{where} has no such earlier revision; revisions: {listed}")


_number = revision  # the tool above has a parameter of that name


def _template(item: Object) -> dict[str, Any]:
    """A pod template without the label that only ReplicaSets carry."""
    template = dict(spec(item)["template"])
    metadata = dict(template.get("metadata") or {})
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != "pod-template-hash"}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _images(template: Object) -> str:
    return ", ".join(str(item.get("image")) for item in spec(template).get("containers") or [])


def _merge(
    live: Any, patch: Mapping[str, Any], path: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """A merge patch (RFC 7386) as before and after values of the fields it touches."""
    for key, value in patch.items():
        pointer = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        old = live.get(key) if isinstance(live, Mapping) else None
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            _merge(old, value, pointer, before, after)
            continue
        if old is not None:
            before[pointer] = old
        if value is not None:
            after[pointer] = value


def _at(item: Object, pointer: str) -> Any:
    found: Any = item
    for key in pointer.split("/")[1:]:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _uid(item: Object) -> str:
    return str(meta(item).get("uid") or "")
