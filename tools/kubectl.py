"""Reading the cluster as `kubectl get`, `describe` and `events` would show it, in fewer words."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from smoldebug.records import ObjectRef, Observation
from smoldebug.signals.objects import condition, containers, meta, ref, spec, status, template
from smoldebug.signals.tables import columns, pairs, pod_state, table, trimmed, unready_first
from smoldebug.signals.times import age, when
from smoldebug.signals.words import count
from smoldebug.sources import targets
from smoldebug.sources.kinds import find, kind_name
from smoldebug.toolset import ToolContext, tool

OBJECTS = 200  # of one answer
EVENTS = 20

Object = Mapping[str, Any]


@tool(effect="read")
def get(
    ctx: ToolContext, kind: str, name: str = "", namespace: str = "", selector: str = ""
) -> Observation:
    """List objects of a kind as a table, or one object by name.

    Args:
        kind: Such as Pod, deployments or hpa.
        name: Empty for all.
        namespace: Empty: the run's; all: every one.
        selector: Labels such as app=auth.
    """
    cluster, kind, where = ctx.world.cluster, kind_name(kind), _namespace(ctx, kind, namespace)
    if name:
        items = [cluster.get(ObjectRef(kind, where, name))]
    else:
        items = cluster.list(kind, where, labels=selector)
    subject = "/".join(part for part in (kind, where, name) if part)
    if not items:
        return Observation(
            f"no {kind} in {where or 'the cluster'}", {"objects": []}, "object", subject
        )
    shown = unready_first(items)[:OBJECTS]
    text = table(kind, shown, ctx.world.clock.now())
    gaps: list[str] = []
    if len(items) > OBJECTS:
        gaps.append(f"{len(items) - OBJECTS} more {kind} are not shown; use a selector")
    data = {"objects": [trimmed(item) for item in shown]}
    return Observation("\n".join([text, *gaps]), data, "object", subject, tuple(gaps))


@tool(effect="read")
def describe(ctx: ToolContext, kind: str, name: str, namespace: str = "") -> Observation:
    """One object: owner, containers, conditions, states, latest events.

    Args:
        kind: Such as Pod or hpa.
        name: Its name.
        namespace: Empty: the run's.
    """
    cluster, kind, now = ctx.world.cluster, kind_name(kind), ctx.world.clock.now()
    item = cluster.get(ObjectRef(kind, _namespace(ctx, kind, namespace), name))
    found = _events_of(ctx, ref(item))
    lines = [table(kind, [item], now), *_description(item, now)]
    lines += ["events:", _event_table(found, now)] if found else ["events: none"]
    data = {"object": trimmed(item), "events": [trimmed(event) for event in found]}
    return Observation("\n".join(lines), data, "object", str(ref(item)))


@tool(effect="read")
def events(ctx: ToolContext, namespace: str = "", object: str = "") -> Observation:
    """Events of the namespace or of one object, warnings first, newest first.

    Args:
        namespace: Empty: the run's.
        object: KIND/NAME or NAME; empty for all.
    """
    where = namespace or ctx.namespace
    about = targets.parse(object, where) if object else ObjectRef("", where, "")
    found = _events_of(ctx, about)
    if not found:
        return Observation("no events", {"events": []}, "event", object or where)
    data = {"events": [trimmed(event) for event in found]}
    text = _event_table(found, ctx.world.clock.now())
    return Observation(text, data, "event", object or where)


@tool(effect="read")
def rollout_status(ctx: ToolContext, target: str, namespace: str = "") -> Observation:
    """Whether a rollout is complete, and what it waits for.

    Args:
        target: KIND/NAME or a bare name.
        namespace: Empty: the run's.
    """
    where, item = targets.find(ctx.world.cluster, target, namespace or ctx.namespace)
    found = status(item)
    wanted = spec(item).get("replicas", found.get("desiredNumberScheduled", 0))
    updated = found.get("updatedReplicas", found.get("updatedNumberScheduled", 0))
    available = found.get("availableReplicas", found.get("numberAvailable", 0))
    observed = found.get("observedGeneration", 0) >= (meta(item).get("generation") or 0)
    old = (found.get("replicas") or 0) - updated if "replicas" in found else 0
    complete = observed and updated >= wanted and available >= wanted and old <= 0
    state = "complete" if complete else "not complete"
    text = f"{where}: {state}: {wanted} wanted, {updated} updated, {available} available"
    text += f", {count(old, 'old pod')} left" if old > 0 else ""
    progress = condition(item, "Progressing")
    if not complete and progress:
        text += f"; {progress.get('reason')}: {progress.get('message')}"
    data = {"complete": complete, "wanted": wanted, "updated": updated, "available": available}
    return Observation(text, data, "object", str(where))


# --- helpers ----------------------------------------------------------------------------------


def _namespace(ctx: ToolContext, kind: str, namespace: str) -> str:
    known = find(kind)
    if namespace == "all" or (known is not None and not known.namespaced):
        return ""
    return namespace or ctx.namespace


def _events_of(ctx: ToolContext, about: ObjectRef) -> list[Object]:
    """Warnings first, newest first. The server selects by name only, so the kind is compared."""
    fields = f"involvedObject.name={about.name}" if about.name else ""
    found: list[Object] = [
        event
        for event in ctx.world.cluster.list("Event", about.namespace, fields=fields)
        if about.kind in ("", (event.get("involvedObject") or {}).get("kind"))
    ]
    found.sort(key=lambda event: str(_last_seen(event) or ""), reverse=True)
    found.sort(key=lambda event: event.get("type") != "Warning")
    return found[:EVENTS]


def _last_seen(event: Object) -> datetime | None:
    return when(event.get("lastTimestamp")) or when(event.get("eventTime"))


def _event_table(found: Sequence[Object], now: datetime) -> str:
    rows = [("AGE", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE")]
    for event in found:
        about = event.get("involvedObject") or {}
        rows.append(
            (
                age(_last_seen(event), now),
                str(event.get("type")),
                str(event.get("reason")),
                f"{about.get('kind')}/{about.get('name')}",
                str(event.get("count") or 1),
                str(event.get("message")),
            )
        )
    return columns(rows)


def _description(item: Object, now: datetime) -> Iterator[str]:
    for owner in meta(item).get("ownerReferences") or []:
        yield f"owned by {owner.get('kind')}/{owner.get('name')}"
    if labels := meta(item).get("labels"):
        yield f"labels {pairs(labels)}"
    pod_spec = spec(item) if item.get("kind") == "Pod" else template(item)
    for container in containers(pod_spec):
        yield _container(container)
    yield from _states(item, now)
    for entry in status(item).get("conditions") or []:
        why = " ".join(str(entry[key]) for key in ("reason", "message") if entry.get(key))
        since = age(when(entry.get("lastTransitionTime")), now)
        yield f"condition {entry.get('type')}={entry.get('status')} since {since or '?'} {why}"


def _container(container: Object) -> str:
    """Image, ports, limits, probes and the names of its environment variables."""
    parts = [f"container {container.get('name')}: {container.get('image')}"]
    ports = ",".join(str(port.get("containerPort")) for port in container.get("ports") or [])
    parts += [f"ports {ports}"] if ports else []
    resources = container.get("resources") or {}
    parts += [
        f"{key} {pairs(resources[key])}" for key in ("requests", "limits") if resources.get(key)
    ]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if found := container.get(probe):
            parts.append(f"{probe.removesuffix('Probe')} {_probe(found)}")
    names = ",".join(str(entry.get("name")) for entry in container.get("env") or [])
    parts += [f"env {names}"] if names else []
    return "; ".join(parts)


def _probe(probe: Object) -> str:
    for how in ("httpGet", "tcpSocket", "grpc"):
        if found := probe.get(how):
            return f"{how} {found.get('path', '')}:{found.get('port')}"
    return f"exec {' '.join((probe.get('exec') or {}).get('command') or [])}"


def _states(item: Object, now: datetime) -> Iterator[str]:
    if item.get("kind") != "Pod":
        return
    yield f"state {pod_state(item)} on node {spec(item).get('nodeName') or 'none'}"
    for entry in status(item).get("containerStatuses") or []:
        last = (entry.get("lastState") or {}).get("terminated")
        if last:
            ended = age(when(last.get("finishedAt")), now)
            yield (
                f"container {entry.get('name')} restarted {entry.get('restartCount')}×, last ended "
                f"{ended} ago: {last.get('reason')} (exit code {last.get('exitCode')})"
            )
