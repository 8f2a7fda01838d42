"""Proposals to change workloads. Each reads live state and returns a Change; none applies it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from msgspec import Meta

from smoldebug.errors import ToolError
from smoldebug.proposals import checked, one_container, propose
from smoldebug.records import Change, ChangeKind
from smoldebug.signals.objects import Object as Item
from smoldebug.signals.objects import ref, revision, revisions, spec
from smoldebug.sources import targets
from smoldebug.sources.world import Object
from smoldebug.toolset import ToolContext, tool

RESTARTED = "kubectl.kubernetes.io/restartedAt"
SCALABLE = ("Deployment", "StatefulSet", "ReplicaSet")
TEMPLATED = ("Deployment", "StatefulSet", "DaemonSet")
Quantity = Annotated[str, Meta(pattern=r"^([0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?)?$")]


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
        target: KIND/NAME, such as deployment/auth.
        replicas: How many there should be.
        why: Reason, citing evidence such as E4.
        namespace: Empty: the run's.
    """
    live = _find(ctx, target, namespace, *SCALABLE)
    wanted = copy.deepcopy(live)
    wanted["spec"]["replicas"] = replicas
    now = spec(live).get("replicas", 1)
    expects = f"each pod gets {now}/{replicas} of the load" if now else "it answers again"
    return propose(ctx.world.cluster, ChangeKind.SCALE, live, wanted, why, expects)


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
        name: Its name.
        why: Reason, citing evidence such as E4.
        minimum: Left out: kept.
        maximum: Left out: kept.
        namespace: Empty: the run's.
    """
    live = _find(ctx, name, namespace, "HorizontalPodAutoscaler")
    wanted = copy.deepcopy(live)
    bounds = {"minReplicas": minimum, "maxReplicas": maximum}
    wanted["spec"].update({key: value for key, value in bounds.items() if value is not None})
    low, high = wanted["spec"].get("minReplicas", 1), wanted["spec"].get("maxReplicas", 1)
    if low > high:
        raise ToolError(f"the lower bound may not be above the upper one: {low} > {high}")
    kind, expects = ChangeKind.SET_REPLICAS_BOUNDS, f"between {low} and {high} pods"
    return propose(ctx.world.cluster, kind, live, wanted, why, expects)


@tool(effect="change", changes="rollback")
def rollback(
    ctx: ToolContext, target: str, why: str, revision: int = 0, namespace: str = ""
) -> Change:
    """Propose the pod template of an earlier revision of a workload.

    Args:
        target: KIND/NAME, such as deployment/auth.
        why: Reason, citing evidence such as E4.
        revision: 0: the one before.
        namespace: Empty: the run's.
    """
    live = _find(ctx, target, namespace, *TEMPLATED)
    history = "ReplicaSet" if live["kind"] == "Deployment" else "ControllerRevision"
    known = revisions(live, ctx.world.cluster.list(history, ref(live).namespace))
    old = _revision(known, revision, live)
    template = _template(old)
    if template == _template(live):
        raise ToolError(f"{ref(live)} runs that revision's template already")
    change = Change(
        ChangeKind.ROLLBACK,
        ref(live),
        before={"/spec/template": spec(live)["template"]},
        after={"/spec/template": template},
        why=why,
        expects=f"pods of revision {_number(old)}: {_images(template)}",
        revision=_number(old),
        from_revision=_number(live) or _number(known[0]),
    )
    return checked(ctx.world.cluster, live, change)


@tool(effect="change", changes="restart")
def restart(ctx: ToolContext, target: str, why: str, namespace: str = "") -> Change:
    """Propose to replace a workload's pods one by one.

    Args:
        target: KIND/NAME, such as deployment/auth.
        why: Reason, citing evidence such as E4.
        namespace: Empty: the run's.
    """
    live = _find(ctx, target, namespace, *TEMPLATED)
    wanted = copy.deepcopy(live)
    metadata = wanted["spec"]["template"].setdefault("metadata", {})
    stamp = ctx.world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata["annotations"] = {**(metadata.get("annotations") or {}), RESTARTED: stamp}
    expects = "new pods of the same revision"
    change = propose(ctx.world.cluster, ChangeKind.RESTART, live, wanted, why, expects)
    return replace(change, no_undo="a restart cannot be taken back")


# --- one container --------------------------------------------------------------------------


@tool(effect="change", changes="set-image")
def set_image(
    ctx: ToolContext,
    target: str,
    image: str,
    why: str,
    container: str = "",
    namespace: str = "",
) -> Change:
    """Propose another image of one container.

    Args:
        target: KIND/NAME, such as deployment/auth.
        image: The whole reference, such as shop/auth:1.4.2.
        why: Reason, citing evidence such as E4.
        container: Needed where there are several.
        namespace: Empty: the run's.
    """
    live = _find(ctx, target, namespace, *TEMPLATED)
    wanted, chosen = one_container(live, container)
    chosen["image"] = image
    expects = f"new pods whose {chosen['name']} runs {image}"
    return propose(ctx.world.cluster, ChangeKind.SET_IMAGE, live, wanted, why, expects)


@tool(effect="change", changes="set-env")
def set_env(
    ctx: ToolContext,
    target: str,
    name: str,
    value: str,
    why: str,
    container: str = "",
    namespace: str = "",
) -> Change:
    """Propose a value for one environment variable of one container; others stay.

    Args:
        target: KIND/NAME, such as deployment/auth.
        name: Of the variable.
        value: In place of a value or a reference.
        why: Reason, citing evidence such as E4.
        container: Needed where there are several.
        namespace: Empty: the run's.
    """
    live = _find(ctx, target, namespace, *TEMPLATED)
    wanted, chosen = one_container(live, container)
    variables = chosen.get("env") or []
    entry = {"name": name, "value": value}
    if any(variable["name"] == name for variable in variables):
        chosen["env"] = [entry if each["name"] == name else each for each in variables]
    else:
        chosen["env"] = [*variables, entry]
    expects = f"new pods with {name}"
    return propose(ctx.world.cluster, ChangeKind.SET_ENV, live, wanted, why, expects)


@tool(effect="change", changes="set-env")
def remove_env(
    ctx: ToolContext,
    target: str,
    name: str,
    why: str,
    container: str = "",
    namespace: str = "",
) -> Change:
    """Propose to remove one environment variable of one container.

    Args:
        target: KIND/NAME, such as deployment/auth.
        name: Of the variable.
        why: Reason, citing evidence such as E4.
        container: Needed where there are several.
        namespace: Empty: the run's.
    """
    live = _find(ctx, target, namespace, *TEMPLATED)
    wanted, chosen = one_container(live, container)
    known = [each["name"] for each in chosen.get("env") or []]
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ToolError(f"{ref(live)} {chosen['name']} has no {name} in env; it has: {listed}")
    chosen["env"] = [each for each in chosen["env"] if each["name"] != name]
    expects = f"new pods without {name}"
    return propose(ctx.world.cluster, ChangeKind.SET_ENV, live, wanted, why, expects)


@tool(effect="change", changes="set-resources")
def set_resources(
    ctx: ToolContext,
    target: str,
    why: str,
    container: str = "",
    cpu_request: Quantity = "",
    cpu_limit: Quantity = "",
    memory_request: Quantity = "",
    memory_limit: Quantity = "",
    namespace: str = "",
) -> Change:
    """Propose other CPU or memory requests and limits of one container.

    Args:
        target: KIND/NAME, such as deployment/auth.
        why: Reason, citing evidence such as E4.
        container: Needed where there are several.
        cpu_request: Such as 250m; empty to keep it.
        cpu_limit: Such as 1; empty to keep it.
        memory_request: Such as 128Mi; empty to keep it.
        memory_limit: Such as 256Mi; empty to keep it.
        namespace: Empty: the run's.
    """
    live = _find(ctx, target, namespace, *TEMPLATED)
    wanted, chosen = one_container(live, container)
    given = {
        "requests": {"cpu": cpu_request, "memory": memory_request},
        "limits": {"cpu": cpu_limit, "memory": memory_limit},
    }
    resources = chosen["resources"] = dict(chosen.get("resources") or {})
    for side, amounts in given.items():
        if set_ := {what: amount for what, amount in amounts.items() if amount}:
            resources[side] = {**(resources.get(side) or {}), **set_}
    expects = f"new pods whose {chosen['name']} has {_amounts(resources)}"
    return propose(ctx.world.cluster, ChangeKind.SET_RESOURCES, live, wanted, why, expects)


# --- helpers ----------------------------------------------------------------------------------


def _find(ctx: ToolContext, target: str, namespace: str, *kinds: str) -> Object:
    return targets.find_one(ctx.world.cluster, target, namespace or ctx.namespace, *kinds)


def _amounts(resources: Mapping[str, Mapping[str, str]]) -> str:
    pairs = [
        f"{what} {side.removesuffix('s')} {amount}"
        for side in ("requests", "limits")
        for what, amount in (resources.get(side) or {}).items()
    ]
    return ", ".join(pairs)


def _revision(known: Sequence[Item], number: int, live: Item) -> Item:
    """The ReplicaSet or ControllerRevision of a revision, by default the one before the newest."""
    listed = ", ".join(str(_number(item)) for item in known) or "none"
    if number == 0 and len(known) > 1:
        return known[1]
    for item in known:
        if number and _number(item) == number:
            return item
    raise ToolError(f"{ref(live)} has no such earlier revision; revisions: {listed}")


_number = revision  # the tool above has a parameter of that name


def _template(item: Item) -> Object:
    """A pod template without what only its copy in the history carries."""
    template = {**spec(item.get("data") or item)["template"]}
    template.pop("$patch", None)  # a ControllerRevision is kept as a patch
    metadata = dict(template.get("metadata") or {})
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != "pod-template-hash"}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _images(template: Item) -> str:
    return ", ".join(str(item.get("image")) for item in spec(template).get("containers") or [])
