"""Where the new values of a change come from: typed state, an earlier revision, the playbook.

Whoever can write a log line, an event or an annotation can suggest a value to a model. So a value
that stands only in such text is refused, however well the model argues. What counts: `spec` of
what is around the target, the data of ConfigMaps, names and labels, what the change itself
replaces, and what the playbook lists. Numbers may also move within the limits (`limits.py`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smoldebug import pointers
from smoldebug.guard.leaves import Path, amount, leaves, of_change, spoken, steps
from smoldebug.guard.limits import REPLICA_FIELDS, is_port, names_something
from smoldebug.playbook.models import Playbook
from smoldebug.records import OF_RELEASE, Change, ChangeKind, Json, ObjectRef
from smoldebug.untrusted import one_line

_REPLICAS = {steps(field) for field in REPLICA_FIELDS}
# The playbook holds the words of these; of a pull request an approver reads each
_ELSEWHERE = (
    ChangeKind.PROCESS_RESTART,
    ChangeKind.RUN_COMMAND,
    ChangeKind.PULL_REQUEST,
    *OF_RELEASE,
)

# Words of Kubernetes' own, which point nowhere and name nothing
_CONSTANTS = {
    "", "true", "false", "TCP", "UDP", "SCTP", "HTTP", "HTTPS", "Always", "IfNotPresent", "Never",
    "OnFailure", "RollingUpdate", "Recreate", "OnDelete", "Parallel", "OrderedReady", "Exists",
    "Equal", "In", "NotIn", "DoesNotExist", "NoSchedule", "PreferNoSchedule", "NoExecute",
    "ScheduleAnyway", "DoNotSchedule", "ClusterIP", "Cluster", "Local", "Ingress", "Egress",
    "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod", "Filesystem", "Block",
    "Resource", "Utilization", "AverageValue", "Allow", "Forbid", "Replace", "RuntimeDefault",
    "ClusterFirst", "File", "FallbackToLogsOnError", "ALL",
}  # fmt: skip
_SCHEMA = ("apiVersion", "kind")  # checked against the target, not against what is around it

# Objects whose keys are names that somebody chose
_NAMED = {
    "annotations", "labels", "matchLabels", "selector", "nodeSelector",
    "data", "binaryData", "stringData", "limits", "requests", "hard",
}  # fmt: skip
_KEYS = {"cpu", "memory", "storage", "ephemeral-storage", "pods", "matchExpressions", *_NAMED}
_META = ("name", "namespace", "uid", "labels")
_DATA = ("ConfigMap", "ControllerRevision")  # whose `data` is typed: a revision is kept there
_DEBUGGER = re.compile(r"debug-[0-9]{1,3}", re.ASCII)
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)?(?P<host>[a-z0-9]([a-z0-9.-]*[a-z0-9])?)"
    r"(:(?P<port>[0-9]{1,5}))?(?P<rest>/.*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a playbook allows to be set, whatever the cluster holds."""

    words: frozenset[str] = frozenset()
    patterns: tuple[Callable[[str], object], ...] = ()

    def has(self, value: Json) -> bool:
        text = str(value)
        return text in self.words or any(matches(text) for matches in self.patterns)


def listed(playbook: Playbook, inputs: Mapping[str, Json]) -> Listed:
    """Values of inputs, names in targets and scope, and the patterns of `tools.change.values`."""
    tool = playbook.tools.change
    words = {*playbook.scope.namespaces}
    for _, value in leaves(dict(inputs)):
        words |= {str(value)}
    for target in tool.targets if tool else ():
        words |= {*target.split("/")[1:]} - {"*"}
    patterns = tuple(anything(each).fullmatch for each in (tool.values if tool else ()))
    return Listed(frozenset(words), patterns)


def anything(pattern: str) -> re.Pattern[str]:
    """A pattern in which `*` stands for anything and all else for itself."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def unfounded(change: Change, typed: Sequence[Json], known: Listed) -> str:
    """The first new value of a change that comes from nowhere it may come from, in a sentence with
    what to do about it; "" when each has a source."""
    if change.given or change.kind in _ELSEWHERE or _is_revision(change, typed):
        return ""
    wanted = _new(change, known)
    for each in typed:
        if not wanted:
            return ""
        _strike(wanted, each)
    for path, value in wanted:
        if not _address(path, value, change, typed):
            return _sentence(change.kind, f"{spoken(path)} {one_line(repr(value), 80)}")
    return ""


def _sentence(kind: ChangeKind, what: str) -> str:
    if kind is ChangeKind.ROLLBACK:
        return f"no earlier revision that could be read has {what}"
    return (
        f"{what} stands nowhere in the cluster's typed state (spec, ConfigMaps, names, labels): if "
        "it is right, list it under tools.change.values or give it as an input of the playbook"
    )


# --- what a change sets anew --------------------------------------------------------------------


def _new(change: Change, known: Listed) -> list[tuple[Path, Json]]:
    """What has to be found: new values, and new keys where keys are names."""
    before, after = of_change(change.before), of_change(change.after)
    if change.kind is ChangeKind.GIT_COMMIT:  # what a model wants set; edits are the playbook's
        after = [leaf for leaf in after if leaf[0][:1] == ("set",)]
    same = {(path, _exact(value)) for path, value in before}
    here = {value for path, value in before if isinstance(value, str) and _typed_path(path)}
    here |= {change.target.name, change.target.namespace}
    numbers = {path for path, value in before if amount(value) is not None}
    if change.kind is ChangeKind.GIT_COMMIT:
        numbers = set()  # no limit judges how far they move
    keys = {path for path, _ in before}
    found: dict[tuple[Path, str], tuple[Path, Json]] = {}
    for path, value in (*after, *_keys(after, keys)):
        if (path, _exact(value)) in same or _harmless(path, value, change.kind):
            continue
        if value in here or known.has(value) or _moves(path, value, numbers):
            continue
        found[path, _exact(value)] = (path, value)
    return list(found.values())


def _keys(after: Iterable[tuple[Path, Json]], before: set[Path]) -> Iterator[tuple[Path, Json]]:
    """New keys of maps whose keys somebody chose, each as a value of its map."""
    for path, _ in after:
        for at, part in enumerate(path[:-1]):
            if part in _NAMED and path not in before and path[at + 1] not in _KEYS:
                yield path[: at + 1], path[at + 1]


def _harmless(path: Path, value: Json, kind: ChangeKind) -> bool:
    if value is None or isinstance(value, bool) or value in ([], {}):
        return True
    if not path or path[-1] in _SCHEMA or value in _CONSTANTS:
        return True
    if kind is ChangeKind.RESTART and "annotations" in path:
        return True  # the guard lets it touch its own stamp only
    return (
        kind is ChangeKind.DEBUG_CONTAINER
        and path[-1] == "name"
        and bool(_DEBUGGER.fullmatch(str(value)))
    )


def _moves(path: Path, value: Json, numbers: set[Path]) -> bool:
    """Is it a number in place of a number? How far it moves, the limits judge."""
    if path in _REPLICAS:
        return True
    return amount(value) is not None and path in numbers and not names_something(path)


# --- where it may come from ---------------------------------------------------------------------


def _strike(wanted: list[tuple[Path, Json]], source: Json) -> None:
    """Take off what an object of the cluster vouches for: a text wherever it stands, a number only
    where it is one of the same thing."""
    texts = {value for _, value in wanted if isinstance(value, str)}
    numbers = {(_sort(path), _exact(value)) for path, value in wanted}
    found: set[Json] = set()
    for key, value in _decided(source):
        if isinstance(value, str):
            if value in texts:
                found.add(value)
        elif isinstance(value, int | float) and (_sort((key,)), _exact(value)) in numbers:
            found.add((_sort((key,)), _exact(value)))
    wanted[:] = [
        (path, value)
        for path, value in wanted
        if value not in found and (_sort(path), _exact(value)) not in found
    ]


def _decided(source: Json) -> Iterator[tuple[str, Json]]:
    """What an object says that somebody decided, each with its key: no status, no annotation, no
    message, and of a Secret its keys only. Keys that are names count as values."""
    if not isinstance(source, Mapping) or source.get("kind") == "Event":
        return
    meta, data = source.get("metadata"), source.get("data")
    if isinstance(meta, Mapping):
        yield from _inside("metadata", {key: meta.get(key) for key in _META})
    yield from _inside("spec", source.get("spec"))
    if source.get("kind") in _DATA:
        yield from _inside("data", data)
    elif isinstance(data, Mapping):
        yield from (("data", key) for key in data)


def _inside(key: str, value: Json) -> Iterator[tuple[str, Json]]:
    """Scalars below a value. No paths, as elsewhere: there may be very many."""
    pending = [(key, value)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            if key in _NAMED:
                yield from ((key, each) for each in value)
            pending += [item for item in value.items() if item[0] != "annotations"]
        elif isinstance(value, list):
            pending += [(key, each) for each in value]
        else:
            yield key, value


def _typed_path(path: Path) -> bool:
    return "annotations" not in path and path[:1] != ("status",)


def _sort(path: Path) -> str:
    """What a number is of: its key, and any port is a port. Items of a list are what it is of."""
    key = next((part for part in reversed(path) if not part.isdecimal()), "")
    return "port" if is_port(key) else key


def _is_revision(change: Change, typed: Sequence[Json]) -> bool:
    """Does a rollback set nothing but what one earlier revision has there?"""
    if change.kind is not ChangeKind.ROLLBACK:
        return False
    return any(_restores(change, _revision(each)) for each in typed if _owned(each, change.target))


def _restores(change: Change, revision: Json) -> bool:
    fields = {*change.before, *change.after}
    return all(pointers.lookup(revision, each) == change.after.get(each) for each in fields)


def _owned(each: Json, target: ObjectRef) -> bool:
    meta = each.get("metadata") if isinstance(each, Mapping) else None
    owners = meta.get("ownerReferences") if isinstance(meta, Mapping) else None
    return any(
        isinstance(owner, Mapping)
        and (owner.get("kind"), owner.get("name")) == (target.kind, target.name)
        for owner in (owners if isinstance(owners, list) else ())
    )


def _revision(each: Mapping[str, Any]) -> Json:
    """A ReplicaSet or ControllerRevision as its workload has it, without what only a copy in the
    history carries."""
    source = each.get("data") if each.get("kind") == "ControllerRevision" else each
    spec = source.get("spec") if isinstance(source, Mapping) else None
    template = spec.get("template") if isinstance(spec, Mapping) else None
    if not isinstance(template, Mapping):
        return {}
    meta = dict(template.get("metadata") or {})
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != "pod-template-hash"}
    rest = {key: value for key, value in template.items() if key != "$patch"}
    return {"spec": {"template": {**rest, "metadata": {**meta, "labels": labels}}}}


def _address(path: Path, value: Json, change: Change, typed: Sequence[Json]) -> bool:
    """Is it where a Service answers that is really there? Scheme and path must be those of what it
    replaces."""
    parts = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        return False
    old = [text for at, text in of_change(change.before) if at == path]
    was = _ADDRESS.fullmatch(str(old[0])) if old else None
    if (parts["scheme"], parts["rest"]) != ((was["scheme"], was["rest"]) if was else (None, None)):
        return False
    services = (each for each in typed if isinstance(each, dict) and each.get("kind") == "Service")
    return any(_answers(each, parts, change.target.namespace) for each in services)


def _answers(service: Mapping[str, Any], parts: re.Match[str], namespace: str) -> bool:
    meta, spec = service.get("metadata") or {}, service.get("spec") or {}
    name, where = meta.get("name"), meta.get("namespace")
    full = f"{name}.{where}"
    hosts = {full, f"{full}.svc", f"{full}.svc.cluster.local"}
    hosts |= {str(name)} if where == namespace else set()
    ports = {str(port.get("port")) for port in spec.get("ports") or ()}
    return parts["host"] in hosts and (parts["port"] is None or parts["port"] in ports)


def _exact(value: Json) -> str:
    """Python takes 1, 1.0 and True for the same."""
    return f"{type(value).__name__} {value}"
