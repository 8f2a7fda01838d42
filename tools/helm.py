"""A Helm release over time: its revisions, what it was given, what one of them changed."""

import yaml

from smoldebug.errors import ToolError
from smoldebug.proposals import helm_rollback
from smoldebug.records import Change, Observation
from smoldebug.signals.releases import changed_objects, changed_values, shown
from smoldebug.signals.tables import columns
from smoldebug.signals.times import age
from smoldebug.sources.helm import Release
from smoldebug.toolset import ToolContext, tool

REVISIONS = 20  # of one answer


@tool(effect="read", timeout=60)
def helm_history(ctx: ToolContext, release: str, namespace: str = "") -> Observation:
    """The revisions of a Helm release, newest last: when, which chart, how each ended.

    Args:
        release: Its name.
        namespace: Empty: the run's.
    """
    which, now = _release(ctx, release, namespace), ctx.world.clock.now()
    rows = [("REVISION", "AGE", "STATUS", "CHART", "APP", "DESCRIPTION")]
    for each in ctx.world.helm.history(which)[-REVISIONS:]:
        about = (each.status, each.chart, each.app_version, each.description)
        rows.append((str(each.number), age(each.updated, now), *about))
    data = {"revisions": [dict(zip(map(str.lower, rows[0]), row, strict=True)) for row in rows[1:]]}
    return Observation(columns(rows), data, "object", str(which.ref))


@tool(effect="read", timeout=60)
def helm_values(
    ctx: ToolContext, release: str, revision: int = 0, namespace: str = ""
) -> Observation:
    """The values that a Helm release was given, without the chart's defaults; secrets masked.

    Args:
        release: Its name.
        revision: Its number; 0 for the newest.
        namespace: Empty: the run's.
    """
    which = _release(ctx, release, namespace)
    values = dict(shown(ctx.world.helm.values(which, revision)))
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else "none"
    return Observation(text.rstrip(), {"values": values}, "object", str(which.ref))


@tool(effect="read", timeout=60)
def helm_changes(
    ctx: ToolContext, release: str, revision: int = 0, before: int = 0, namespace: str = ""
) -> Observation:
    """What one revision of a Helm release changed: values given, and fields of its objects.

    Args:
        release: Its name.
        revision: Its number; 0 for the newest.
        before: The revision to compare with; 0 for the one before it.
        namespace: Empty: the run's.
    """
    which, helm = _release(ctx, release, namespace), ctx.world.helm
    numbers = [each.number for each in helm.history(which)]
    new = revision or numbers[-1]
    old = before or max((each for each in numbers if each < new), default=0)
    if not old:
        raise ToolError(f"release {release} has no revision before {new}")
    values = changed_values(helm.values(which, old), helm.values(which, new))
    objects = changed_objects(helm.objects(which, old), helm.objects(which, new))
    lines = [f"revision {old} -> {new}", "values:", *_indented(values)]
    lines += ["objects:", *_indented(objects)]
    data = {"values": values, "objects": objects}
    return Observation("\n".join(lines), data, "object", str(which.ref))


@tool(effect="change", timeout=60, changes="helm-rollback")
def rollback_release(
    ctx: ToolContext, release: str, why: str, revision: int = 0, namespace: str = ""
) -> Change:
    """Propose to roll a Helm release back, all of its objects at once.

    Args:
        release: Its name.
        why: Reason, citing evidence such as E4.
        revision: Which to go back to; 0 for the last one that was deployed before the newest.
        namespace: Empty: the run's.
    """
    which = _release(ctx, release, namespace)
    return helm_rollback(which, ctx.world.helm.history(which), revision, why)


# --- helpers ----------------------------------------------------------------------------------


def _release(ctx: ToolContext, name: str, namespace: str) -> Release:
    return Release(namespace or ctx.namespace, name)


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines] or ["  none"]
