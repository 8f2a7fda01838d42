"""What changed lately, from the objects themselves: most incidents follow a change.

A change is known by a creation time, a ReplicaSet revision, an entry of managedFields (who set
which field when) or an event. What leaves none of these is not seen.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from smoldebug.records import Fact
from smoldebug.signals.objects import (
    Object,
    condition,
    containers,
    meta,
    name,
    ref,
    revision,
    revisions,
    spec,
    template,
)
from smoldebug.signals.times import when

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_BEFORE = "deployment.kubernetes.io/revision-history"  # revisions a ReplicaSet was before
_SHOWN = 4  # differences named in one line
_NAMED = 6  # objects named in one line
_CREATED = ": created"
_TOGETHER = timedelta(minutes=1)  # between one and the next of an installation
_ROLLOUT_SECONDS = 300.0  # in which scaling events are part of a rollout already told


def what_changed(
    objects: Mapping[str, Sequence[Object]], now: datetime, window: float
) -> list[Fact]:
    """Changes of the last `window` seconds, newest first; `objects` by kind, lists as read."""
    since, until = now - timedelta(seconds=window), now + timedelta(minutes=5)  # clocks differ
    facts = [
        *_deployments(objects),
        *_settings(objects),
        *_configuration(objects),
        *_nodes(objects),
    ]
    facts += _scaling_events(objects.get("Event", ()), facts)
    recent = [fact for fact in facts if fact.at and since <= fact.at <= until]
    shown = _grouped(_without_repeats(recent))
    return sorted(shown, key=lambda fact: fact.at or now, reverse=True)


def _grouped(facts: list[Fact]) -> list[Fact]:
    """Many objects of one kind created together (an installation) are one line."""
    kinds: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.text.endswith(_CREATED):
            kinds.setdefault(fact.ref.rpartition("/")[0], []).append(fact)
    rest = [fact for fact in facts if not fact.text.endswith(_CREATED)]
    for kind, born in kinds.items():
        for group in _together(born):
            rest += group if len(group) <= 2 else [_one_line(kind, group)]
    return rest


def _together(facts: list[Fact]) -> Iterator[list[Fact]]:
    group: list[Fact] = []
    for fact in sorted(facts, key=_at):
        if group and _at(fact) - _at(group[-1]) > _TOGETHER:
            yield group
            group = []
        group.append(fact)
    yield group


def _at(fact: Fact) -> datetime:
    return fact.at or datetime.min.replace(tzinfo=UTC)


def _one_line(kind: str, group: list[Fact]) -> Fact:
    names = ", ".join(sorted(fact.ref.rpartition("/")[2] for fact in group)[:_NAMED])
    more = f" and {len(group) - _NAMED} more" if len(group) > _NAMED else ""
    return Fact(f"{kind}: {len(group)} created: {names}{more}", group[-1].ref, group[-1].at)


def _without_repeats(facts: Iterable[Fact]) -> list[Fact]:
    """One line per text: the newest."""
    newest: dict[str, Fact] = {}
    for fact in facts:
        known = newest.get(fact.text)
        if known is None or (fact.at and known.at and fact.at > known.at):
            newest[fact.text] = fact
    return list(newest.values())


# --- rollouts ---------------------------------------------------------------------------------


def _deployments(objects: Mapping[str, Sequence[Object]]) -> Iterator[Fact]:
    for deployment in objects.get("Deployment", ()):
        made = when(meta(deployment).get("creationTimestamp"))
        sets = revisions(deployment, objects.get("ReplicaSet", ()))
        if len(sets) < 2:
            yield Fact(f"{ref(deployment)}{_CREATED}", str(ref(deployment)), made)
            continue
        new, old = sets[0], sets[1]
        what = ", ".join(_differences(old, new)[:_SHOWN]) or "pod template changed"
        text = f"{ref(deployment)}: {what} (revision {revision(new)})"
        at = rolled_out(deployment, sets, objects.get("Event", ()))
        yield Fact(text, str(ref(deployment)), at, "warning")


def rolled_out(
    deployment: Object, sets: Sequence[Object], events: Sequence[Object]
) -> datetime | None:
    """When the newest of its revisions (`sets`, newest first) began: its ReplicaSet's birth. An old
    ReplicaSet taken up again (an undo, or the same once more after one) is dated by the scaling
    down of the one before it, unless that was scaled up since. Its own scaling up may be nothing
    but more replicas; without such an event it is the edit of the template or the rollout's
    progress, whichever came first: another edit by the same hand renews either."""
    born = [when(meta(item).get("creationTimestamp")) for item in sets]
    reused = any(other and born[0] and other > born[0] for other in born[1:])
    if not reused and _BEFORE not in (meta(sets[0]).get("annotations") or {}):
        return born[0]
    down, up = (_scaled(events, how, name(sets[1])) for how in ("down", "up"))
    if down and (up is None or up < down):
        return down
    edited = [at for at, _, fields in _edits(deployment) if "template" in fields]
    progress = when(condition(deployment, "Progressing").get("lastUpdateTime"))
    return min(
        [*([max(edited)] if edited else []), *([progress] if progress else [])], default=born[0]
    )


def _scaled(events: Iterable[Object], how: str, replica_set: str) -> datetime | None:
    """When it was last."""
    says = f"Scaled {how} replica set {replica_set} "
    found = (when(e.get("lastTimestamp")) for e in events if str(e.get("message")).startswith(says))
    return max((at for at in found if at), default=None)


def _differences(old: Object, new: Object) -> list[str]:
    """What one revision's pod template has that the other has not, most telling first."""
    before = {str(item.get("name")): item for item in containers(template(old))}
    after = {str(item.get("name")): item for item in containers(template(new))}
    found: list[str] = []
    for key in after:
        prefix = f"{key}: " if len(after) > 1 else ""
        if key not in before:
            found.append(f"container {key} added")
        else:
            found += [f"{prefix}{words}" for words in _container(before[key], after[key])]
    found += [f"container {key} removed" for key in before if key not in after]
    rest = [
        field
        for field in {**template(old), **template(new)}
        if field not in ("containers", "initContainers")
        and template(old).get(field) != template(new).get(field)
    ]
    return found + [f"{field} changed" for field in rest]


def _container(old: Object, new: Object) -> Iterator[str]:
    if old.get("image") != new.get("image"):
        yield f"image {old.get('image')} → {new.get('image')}"
    before, after = _environment(old), _environment(new)
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            how = "added" if key not in before else "removed" if key not in after else "changed"
            yield f"env {key} {how}"  # never its value: it may be a secret
    for field, words in (
        ("command", "command"),
        ("args", "arguments"),
        ("resources", "resources"),
        ("readinessProbe", "readiness probe"),
        ("livenessProbe", "liveness probe"),
        ("startupProbe", "startup probe"),
        ("ports", "ports"),
        ("envFrom", "envFrom"),
        ("volumeMounts", "volume mounts"),
    ):
        if old.get(field) != new.get(field):
            yield f"{words} changed{_limits(old, new) if field == 'resources' else ''}"


def _environment(container: Object) -> dict[str, Any]:
    return {str(item.get("name")): item for item in container.get("env") or []}


def _limits(old: Object, new: Object) -> str:
    def short(item: Object) -> str:
        limits = (item.get("resources") or {}).get("limits") or {}
        return " ".join(f"{key}={value}" for key, value in sorted(limits.items())) or "no limits"

    return f" ({short(old)} → {short(new)})"


# --- fields somebody set ----------------------------------------------------------------------

Edit = tuple[datetime, str, frozenset[str]]  # when, by whom, which fields of spec


def _edits(item: Object) -> Iterator[Edit]:
    """Who last set which fields of the spec, and when, from managedFields."""
    for entry in meta(item).get("managedFields") or []:
        at = when(entry.get("time"))
        fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if at and fields and entry.get("subresource") != "status":
            names = frozenset(key.removeprefix("f:") for key in fields)
            yield at, _who(entry), names


def _who(entry: Object) -> str:
    manager = str(entry.get("manager") or "somebody")
    if manager == "kube-controller-manager" and entry.get("subresource") == "scale":
        return "its autoscaler"
    return manager


def _settings(objects: Mapping[str, Sequence[Object]]) -> Iterator[Fact]:
    """Replica counts, autoscaler bounds, Service ports and selectors, and other specs."""
    for kind in (*WORKLOADS, "HorizontalPodAutoscaler", "Service", "CronJob", "NetworkPolicy"):
        for item in objects.get(kind, ()):
            made = when(meta(item).get("creationTimestamp"))
            for at, who, fields in _edits(item):
                if made and at <= made:
                    continue  # what it was created with
                if words := _setting(item, fields):
                    yield Fact(f"{ref(item)}: {words} by {who}", str(ref(item)), at, "warning")


def _setting(item: Object, fields: frozenset[str]) -> str:
    own = spec(item)
    if item.get("kind") == "HorizontalPodAutoscaler":
        return f"bounds now {own.get('minReplicas', 1)}..{own.get('maxReplicas')}, set"
    if item.get("kind") in WORKLOADS:
        if "replicas" in fields and "template" not in fields:
            return f"replicas now {own.get('replicas')}, set"
        rest = fields - {"replicas", "selector"}
        if item.get("kind") == "Deployment":
            rest -= {"template"}  # told by its revisions
        if "replicas" in fields and "template" in fields:
            return ""  # an apply of the whole object; its time is that of any of its fields
        return f"{', '.join(sorted(rest))} set" if rest else ""
    return f"{', '.join(sorted(fields))} set"


def _configuration(objects: Mapping[str, Sequence[Object]]) -> Iterator[Fact]:
    """ConfigMaps and Secrets by name only."""
    for kind in ("ConfigMap", "Secret"):
        for item in objects.get(kind, ()):
            if name(item) == "kube-root-ca.crt" or item.get("type") == "helm.sh/release.v1":
                continue
            made = when(meta(item).get("creationTimestamp"))
            edits = [
                (at, str(entry.get("manager") or "somebody"))
                for entry in meta(item).get("managedFields") or []
                if (at := when(entry.get("time")))
            ]
            at, who = max(edits, default=(made, ""))
            how = _CREATED if not edits or at == made else f": changed by {who}"
            yield Fact(f"{ref(item)}{how}", str(ref(item)), at)


def _nodes(objects: Mapping[str, Sequence[Object]]) -> Iterator[Fact]:
    for node in objects.get("Node", ()):
        where = str(ref(node))
        yield Fact(f"{where}: joined", where, when(meta(node).get("creationTimestamp")))
        ready = condition(node, "Ready")
        state = {"True": "ready", "False": "not ready"}.get(str(ready.get("status")), "unreachable")
        if when(ready.get("lastTransitionTime")) != when(meta(node).get("creationTimestamp")):
            yield Fact(f"{where}: became {state}", where, when(ready.get("lastTransitionTime")))
        if spec(node).get("unschedulable"):
            cordons = [at for at, _, fields in _edits(node) if "unschedulable" in fields]
            yield Fact(f"{where}: cordoned", where, max(cordons, default=None), "warning")


def _scaling_events(events: Iterable[Object], told: Sequence[Fact]) -> Iterator[Fact]:
    """Who scaled what, unless it belongs to a rollout or creation that is told already."""
    for event in events:
        if event.get("reason") not in ("ScalingReplicaSet", "SuccessfulRescale"):
            continue
        about = event.get("involvedObject") or {}
        where = "/".join(str(about.get(key)) for key in ("kind", "namespace", "name"))
        at = when(event.get("lastTimestamp")) or when(event.get("eventTime"))
        if at and not any(
            fact.ref == where and fact.at and 0 <= (at - fact.at).total_seconds() < _ROLLOUT_SECONDS
            for fact in told
        ):
            yield Fact(f"{where}: {event.get('message')}", where, at)
