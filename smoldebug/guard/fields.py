"""Which objects and fields each kind of change may touch, and what no approval allows."""

from collections.abc import Iterator, Mapping

from smoldebug.guard import disruption, privileges
from smoldebug.guard.leaves import Path, amount, leaves, of_change, spoken, steps
from smoldebug.guard.limits import no_count
from smoldebug.records import IN_GIT, OF_RELEASE, Change, ChangeKind, Json, Surroundings

_POD = ("/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec")
_LISTS = ("containers", "initContainers")


def _in_pods(*fields: str) -> tuple[str, ...]:
    return tuple(f"{pod}/{field}" for pod in _POD for field in fields)


def _in_containers(*fields: str) -> tuple[str, ...]:
    return _in_pods(*(f"{each}/*/{field}" for each in _LISTS for field in fields))


_OF_RELEASE = ("/revision", "/to", "/chart", "/digest", "/path", "/values", "/timeout")

# What a kind of change may touch, so that allowing `scale` allows nothing else. A field stands for
# what is below it too, `*` for any one part. A kind that is not here touches nothing.
FIELDS: Mapping[ChangeKind, tuple[str, ...]] = {
    ChangeKind.SCALE: ("/spec/replicas",),
    ChangeKind.SET_REPLICAS_BOUNDS: ("/spec/minReplicas", "/spec/maxReplicas"),
    ChangeKind.RESTART: tuple(
        f"/spec/template/metadata/annotations/{key}"
        for key in ("kubectl.kubernetes.io~1restartedAt", "restartedAt")
    ),
    ChangeKind.ROLLBACK: ("/spec/template",),
    ChangeKind.SET_IMAGE: _in_containers("image"),
    ChangeKind.SET_ENV: _in_containers("env", "envFrom"),
    ChangeKind.SET_RESOURCES: _in_containers("resources"),
    ChangeKind.SET_PROBE: _in_containers("livenessProbe", "readinessProbe", "startupProbe"),
    ChangeKind.SET_COMMAND: _in_containers("command", "args"),
    ChangeKind.ADD_TOLERATION: _in_pods("tolerations"),
    ChangeKind.PATCH_SELECTOR: ("/spec/selector",),
    ChangeKind.PATCH_PORT: ("/spec/ports",),
    ChangeKind.SET_CONFIG_KEY: ("/data",),
    ChangeKind.EXPAND_PVC: ("/spec/resources/requests/storage",),
    ChangeKind.CORDON: ("/spec/unschedulable",),
    ChangeKind.UNCORDON: ("/spec/unschedulable",),
    ChangeKind.ADD_TAINT: ("/spec/taints",),
    ChangeKind.REMOVE_TAINT: ("/spec/taints",),
    ChangeKind.LABEL_NODE: ("/metadata/labels",),
    ChangeKind.EDIT_NETWORKPOLICY: ("/spec",),
    ChangeKind.SUSPEND: ("/spec/suspend", "/spec/paused"),
    ChangeKind.RESUME: ("/spec/suspend", "/spec/paused"),
    ChangeKind.DEBUG_CONTAINER: ("/spec/ephemeralContainers",),
    ChangeKind.PATCH_OBJECT: ("",),
    ChangeKind.APPLY_OBJECT: ("",),
    ChangeKind.CREATE_OBJECT: ("",),
    ChangeKind.DELETE_OBJECT: ("",),
    ChangeKind.PROCESS_RESTART: ("/argv", "/url", "/cwd"),
    ChangeKind.RUN_COMMAND: ("/argv",),
    ChangeKind.HELM_UPGRADE: _OF_RELEASE,
    ChangeKind.HELM_ROLLBACK: _OF_RELEASE,
    ChangeKind.GIT_COMMIT: ("/start", "/tip", "/set"),
    ChangeKind.PULL_REQUEST: tuple(
        f"/{field}"
        for field in ("head", "base", "title", "body", "draft", "labels", "reviewers", "assignees")
        + ("comment",)
    ),
}
_WHOLE = (ChangeKind.CREATE_OBJECT, ChangeKind.DELETE_OBJECT)  # these, and no others, take ""

# Kinds of change that make sense for some objects only
ON: Mapping[ChangeKind, tuple[str, ...]] = {
    ChangeKind.SET_REPLICAS_BOUNDS: ("HorizontalPodAutoscaler",),
    ChangeKind.PATCH_SELECTOR: ("Service",),
    ChangeKind.PATCH_PORT: ("Service",),
    ChangeKind.SET_CONFIG_KEY: ("ConfigMap",),
    ChangeKind.EXPAND_PVC: ("PersistentVolumeClaim",),
    **dict.fromkeys((ChangeKind.CORDON, ChangeKind.UNCORDON, ChangeKind.LABEL_NODE), ("Node",)),
    **dict.fromkeys((ChangeKind.ADD_TAINT, ChangeKind.REMOVE_TAINT), ("Node",)),
    ChangeKind.EDIT_NETWORKPOLICY: ("NetworkPolicy",),
    ChangeKind.DEBUG_CONTAINER: ("Pod",),
    ChangeKind.PROCESS_RESTART: ("Process",),
    ChangeKind.RUN_COMMAND: ("Command",),
    **dict.fromkeys(OF_RELEASE, ("HelmRelease",)),
    ChangeKind.GIT_COMMIT: ("Branch",),
    ChangeKind.PULL_REQUEST: ("PullRequest",),
}

# All that `*` covers as a Kind. Whatever grants rights, holds secrets, guards others or defines
# kinds must be named, and so must your own kinds: nobody here knows what they do.
ORDINARY = (
    "Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "Service",
    "Ingress", "ConfigMap", "HorizontalPodAutoscaler", "PersistentVolumeClaim", "Process",
    "Command",
)  # fmt: skip

# What makes an object this very object, or is the server's to write
_IDENTITY = tuple(
    steps(field)
    for field in (
        "/apiVersion", "/kind", "/status", "/metadata/name", "/metadata/namespace", "/metadata/uid",
        "/metadata/resourceVersion", "/metadata/generation", "/metadata/creationTimestamp",
        "/metadata/deletionTimestamp", "/metadata/managedFields", "/metadata/ownerReferences",
    )
)  # fmt: skip

_NAMES = _IDENTITY[:2] + _IDENTITY[3:5]  # what a manifest says to say which object it is of

LOCAL = (ChangeKind.PROCESS_RESTART, ChangeKind.RUN_COMMAND)  # on this machine
CLUSTERLESS = (*LOCAL, *IN_GIT)  # no context, cluster or namespace is theirs


def never(change: Change) -> Iterator[str]:
    yield _misplaced(change)
    yield _foreign_field(change)
    yield no_count(change)
    yield _other_object(change)
    right = privileges.raised(change.before, change.after)
    if right and not told_instead(change):
        yield f"it gives a pod more rights, which no approval allows: {right}"


def told_instead(change: Change) -> bool:
    """Whether more rights for a pod are told, not refused: a rollback restores what was, and what
    the playbook itself gives is what its author wants. The values of a release are no objects:
    what is made of them is looked at (`releases.py`)."""
    return change.given or change.kind in (ChangeKind.ROLLBACK, *OF_RELEASE)


def _a(change: Change) -> str:
    """`a scale`, `an apply-object`."""
    return f"{'an' if change.kind[0] in 'aeiou' else 'a'} {change.kind}"


def _misplaced(change: Change) -> str:
    kinds = ON.get(change.kind, (change.target.kind,))
    return "" if change.target.kind in kinds else f"{_a(change)} is of a {' or '.join(kinds)}"


def _foreign_field(change: Change) -> str:
    """A field that this kind of change does not touch, in words, or ""."""
    pointers = {*change.before, *change.after}
    for pointer in sorted(pointers):
        if any(other.startswith(f"{pointer}/") for other in pointers):
            return f"it touches a field and what is inside it: {spoken(steps(pointer))}"
        if (pointer == "") != (change.kind in _WHOLE):
            return f"{_a(change)} does not touch: {spoken(steps(pointer))}"
    allowed = [steps(field) for field in FIELDS.get(change.kind, ())]
    for path, _ in (*of_change(change.before), *of_change(change.after)):
        inside = any(_below(path, field) for field in allowed)
        identity = change.kind not in _WHOLE and any(_below(path, field) for field in _IDENTITY)
        if not inside or identity:
            return f"{_a(change)} does not touch: {spoken(path)}"
    return ""


def _below(path: Path, field: Path) -> bool:
    start = path[: len(field)]
    return start == field or (
        "*" in field
        and len(start) == len(field)
        and all(want in ("*", have) for want, have in zip(field, start, strict=True))
    )


def _other_object(change: Change) -> str:
    """A manifest must be that of the target: else another object would be written than judged."""
    if change.kind is ChangeKind.APPLY_OBJECT and change.manifest is None:
        return "an apply-object needs its manifest"
    if change.kind is not ChangeKind.APPLY_OBJECT and change.manifest is not None:
        return f"{_a(change)} has no manifest"
    sides = {ChangeKind.CREATE_OBJECT: change.after, ChangeKind.DELETE_OBJECT: change.before}
    whole = sides.get(change.kind, {"": change.manifest}).get("")
    if whole is None:
        return "" if change.kind not in _WHOLE else f"{_a(change)} needs the whole object"
    meta = whole.get("metadata") if isinstance(whole, dict) else None
    if not isinstance(meta, dict):
        return "its manifest is not that of an object"
    named = (whole.get("kind"), meta.get("namespace") or "", meta.get("name"))
    target = change.target
    if named != (target.kind, target.namespace, target.name):
        return f"its manifest is of another object than {target}"
    return ""


def hidden(change: Change, around: Surroundings) -> str:
    """A manifest is sent as it is: it may set nothing but what the change says and what is so
    already. Else what was judged and approved would not be what is written."""
    if change.manifest is None:
        return ""
    known: dict[Path, list[Json]] = {}
    live = leaves(dict(disruption.live(change, around)))
    for path, value in (*live, *of_change(change.after)):
        known.setdefault(path, []).append(value)
    for path, value in leaves(change.manifest):
        same = any(_alike(value, each) for each in known.get(path, ()))
        if not same and path not in _NAMES and value not in (None, [], {}):
            return f"its manifest sets what the change does not show: {spoken(path)}"
    return ""


def _alike(one: Json, other: Json) -> bool:
    if type(one) is type(other) and one == other:
        return True
    return amount(one) is not None and amount(one) == amount(other)
