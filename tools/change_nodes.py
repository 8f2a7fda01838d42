"""Proposals to keep pods off a node, or to let them on again; none applies it."""

from typing import Any, Literal

from smoldebug.errors import ToolError
from smoldebug.proposals import propose
from smoldebug.records import Change, ChangeKind
from smoldebug.signals.objects import name, spec
from smoldebug.sources import targets
from smoldebug.sources.world import Object
from smoldebug.toolset import ToolContext, tool

TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


@tool(effect="change", family="change", changes="cordon")
def cordon(ctx: ToolContext, node: str, why: str) -> Change:
    """Propose that no new pods are scheduled on a node; those that run there stay.

    Args:
        node: Its name.
        why: Reason, citing evidence such as E4.
    """
    live = _node(ctx, node)
    expects = f"no new pods on {name(live)}"
    return _proposed(ctx, ChangeKind.CORDON, live, {"unschedulable": True}, why, expects)


@tool(effect="change", family="change", changes="uncordon")
def uncordon(ctx: ToolContext, node: str, why: str) -> Change:
    """Propose that pods may be scheduled on a node again.

    Args:
        node: Its name.
        why: Reason, citing evidence such as E4.
    """
    live = _node(ctx, node)
    expects = f"new pods on {name(live)} again"
    return _proposed(ctx, ChangeKind.UNCORDON, live, {"unschedulable": None}, why, expects)


@tool(effect="change", family="change", changes="add-taint")
def add_taint(
    ctx: ToolContext, node: str, key: str, effect: TaintEffect, why: str, value: str = ""
) -> Change:
    """Propose a taint: pods that do not tolerate it are kept off a node.

    Args:
        node: Its name.
        key: Key of the taint, such as dedicated.
        effect: NoExecute also evicts the pods that run there.
        why: Reason, citing evidence such as E4.
        value: Value of the taint; empty for none.
    """
    live = _node(ctx, node)
    kept = [each for each in _taints(live) if (each["key"], each["effect"]) != (key, effect)]
    taint = {"key": key, "effect": effect, **({"value": value} if value else {})}
    evicted = "; those that run there are evicted" if effect == "NoExecute" else ""
    expects = f"no new pods on {name(live)} that do not tolerate {key}{evicted}"
    wanted = {"taints": [*kept, taint]}
    return _proposed(ctx, ChangeKind.ADD_TAINT, live, wanted, why, expects)


@tool(effect="change", family="change", changes="remove-taint")
def remove_taint(ctx: ToolContext, node: str, key: str, effect: TaintEffect, why: str) -> Change:
    """Propose to remove a taint from a node.

    Args:
        node: Its name.
        key: Key of the taint.
        effect: Effect of the taint.
        why: Reason, citing evidence such as E4.
    """
    live = _node(ctx, node)
    kept = [each for each in _taints(live) if (each["key"], each["effect"]) != (key, effect)]
    if len(kept) == len(_taints(live)):
        known = ", ".join(f"{each['key']}:{each['effect']}" for each in kept) or "none"
        raise ToolError(f"{name(live)} has no taint {key}:{effect}; it has: {known}")
    expects = f"pods on {name(live)} that do not tolerate {key}"
    return _proposed(ctx, ChangeKind.REMOVE_TAINT, live, {"taints": kept}, why, expects)


# --- helpers ----------------------------------------------------------------------------------


def _node(ctx: ToolContext, called: str) -> Object:
    return targets.find_one(ctx.world.cluster, called, "", "Node")


def _taints(node: Object) -> list[dict[str, Any]]:
    return list(spec(node).get("taints") or [])


def _proposed(
    ctx: ToolContext, kind: ChangeKind, live: Object, fields: Object, why: str, expects: str
) -> Change:
    wanted = {**live, "spec": {**spec(live), **fields}}
    return propose(ctx.world.cluster, kind, live, wanted, why, expects)
