"""What may be read and what may be changed: data in, decision out. No I/O of its own.

Three must agree before a change happens: the playbook allows it (here), the limits leave room
(here), and the operator approves it (`change.py`). What is not named is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from smoldebug.errors import AccessDenied
from smoldebug.kubectl import lookup
from smoldebug.playbook.models import Limits, Playbook
from smoldebug.records import Answer, Change, ChangeKind, Decision, Json, ObjectRef, Surroundings
from smoldebug.sources.kinds import find
from smoldebug.sources.world import Cluster, Completed, Object, Reply

REPLICA_FIELDS = ("/spec/replicas", "/spec/maxReplicas", "/spec/minReplicas")

# What a kind of change may touch, so that allowing `scale` allows nothing else. A pointer stands
# for what is below it too. Kinds that are not here touch what their tool says.
FIELDS: Mapping[ChangeKind, tuple[str, ...]] = {
    ChangeKind.SCALE: ("/spec/replicas",),
    ChangeKind.SET_REPLICAS_BOUNDS: ("/spec/minReplicas", "/spec/maxReplicas"),
    ChangeKind.RESTART: ("/spec/template/metadata/annotations",),
    ChangeKind.ROLLBACK: ("/spec/template",),
}
PROPOSE = "a tool changes nothing: it returns a Change"
LOCAL = (ChangeKind.PROCESS_RESTART, ChangeKind.RUN_COMMAND)  # on this machine, in no namespace


# --- changes --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run has done so far: limits count over the whole run. `times` are those of its
    changes; `break_glass` is the operator's reason to go over a limit once, "" without one."""

    applied: tuple[Change, ...] = ()
    times: tuple[datetime, ...] = ()
    now: datetime = datetime.min.replace(tzinfo=UTC)
    break_glass: str = ""


class Guard:
    """Judges proposed changes by a playbook's `tools.change`, `scope` and `limits`."""

    def __init__(self, playbook: Playbook, *, context: str = "") -> None:
        self._playbook, self._context = playbook, context
        self._change = playbook.tools.change
        self._scope = playbook.scope
        self._limits = playbook.limits

    @property
    def approval(self) -> str:
        """The strictest of ask, auto and never that applies."""
        return self._playbook.approval

    def judge(self, change: Change, tally: Tally) -> Decision:
        """YES when nothing stands against it (it may still need approval), NO with the reason.

        Asked before anything is read of the target, and again before it is sent.
        """
        for problem in (
            self._permission(change),
            self._room(change, tally.applied),
            replica_problem(change, tally.applied, self._limits),
        ):
            if problem:
                return Decision(Answer.NO, "guard", problem)
        return Decision(Answer.YES, "guard")

    def weigh(self, change: Change, around: Surroundings, verdict: Decision) -> Decision:
        """The verdict of `judge`, or NO for what is around the target. Asked before a dry run."""
        return verdict

    def asks(self, change: Change) -> bool:
        """Whether an operator must approve it. What cannot be undone asks even under `auto`."""
        return asks(self._playbook, change, self._context)

    def warnings(self, change: Change, around: Surroundings, verdict: Decision) -> tuple[str, ...]:
        """What an approver must know; with any, it is asked even under `auto`."""
        return ()

    def _permission(self, change: Change) -> str:
        if self._change is None or self._scope.cluster == "read-only":
            return "this playbook is read-only: it has no tools.change block"
        if change.kind not in self._change.allow:
            allowed = ", ".join(self._change.allow)
            return f"{change.kind} is not in tools.change.allow: {allowed}"
        if not any(covers(pattern, change.target) for pattern in self._change.targets):
            return f"{change.target} is not in tools.change.targets"
        return self._out_of_scope(change) or _foreign_field(change)

    def _out_of_scope(self, change: Change) -> str:
        namespaces, namespace = self._scope.namespaces, change.target.namespace
        if not namespaces or change.kind in LOCAL or namespace in (*namespaces, ""):
            return ""
        return f"namespace {namespace} is outside the playbook's scope"

    def _room(self, change: Change, applied: Sequence[Change]) -> str:
        objects = _objects(change, applied)
        if len(objects) > self._limits.changes:
            return f"it would change more than limits.changes objects: {self._limits.changes}"
        return ""

    def describe(self, change: Change, tally: Tally) -> str:
        """How much of the limits the change would use: `1 of 2 changes · factor 2 of 3 allowed`."""
        applied = tally.applied
        parts = [f"{len(_objects(change, applied))} of {self._limits.changes} changes"]
        for field in REPLICA_FIELDS:
            after = value_at(change.after, field)
            if isinstance(after, int):
                factor = after / max(original(change, field, applied), 1)
                allowed = self._limits.replicas.max_factor
                parts.append(f"factor {factor:.3g} of {allowed:g} allowed")
        return " · ".join(parts)


def covers(pattern: str, target: ObjectRef) -> bool:
    """Kind/namespace/name (or Kind/name) with `*` only as a whole part."""
    wanted = pattern.split("/")
    actual = [part for part in (target.kind, target.namespace, target.name) if part]
    return len(wanted) == len(actual) and all(
        want in ("*", have) and "/" not in have for want, have in zip(wanted, actual, strict=True)
    )


def _foreign_field(change: Change) -> str:
    pointers = {*change.before, *change.after}
    for pointer in sorted(pointers):
        if any(other.startswith(f"{pointer}/") for other in pointers):
            return f"it touches a field and what is inside it: {pointer}"
        allowed = FIELDS.get(change.kind, (pointer,))
        if not any(pointer == field or pointer.startswith(f"{field}/") for field in allowed):
            return f"a {change.kind} does not touch: {pointer}"
    return ""


def value_at(values: Mapping[str, Json], field: str) -> Json:
    """What a side of a change has at a field, set by itself or with all that is around it."""
    for pointer, value in values.items():
        if field == pointer or field.startswith(f"{pointer}/"):
            return lookup(value, field.removeprefix(pointer))
    return None


def _objects(change: Change, applied: Sequence[Change]) -> set[ObjectRef]:
    return {change.target, *(earlier.target for earlier in applied)}


def original(change: Change, field: str, applied: Sequence[Change]) -> int:
    """A replica count before this run touched it: two doublings are a factor of four. What the
    object leaves open is 1, as the API server fills it in."""
    for each in (*applied, change):
        sides = (value_at(each.before, field), value_at(each.after, field))
        if each.target == change.target and sides != (None, None):
            return sides[0] if isinstance(sides[0], int) else 1
    return 1


def replica_problem(change: Change, applied: Sequence[Change], limits: Limits) -> str:
    """Why a replica count is out of bounds, or "". Never to zero; never by more than the factor."""
    for field in REPLICA_FIELDS:
        after = value_at(change.after, field)
        if after is None:
            continue
        if not isinstance(after, int) or isinstance(after, bool) or after < 1:
            return f"{field} must be a whole number of at least 1: {after!r}"
        if after > limits.replicas.max:
            return f"{field} {after} is over limits.replicas.max: {limits.replicas.max}"
        before = original(change, field, applied)
        if after > max(before, 1) * limits.replicas.max_factor:
            return (
                f"{field} {before} -> {after} is over limits.replicas.max_factor: "
                f"{limits.replicas.max_factor:g}"
            )
    return ""


def asks(playbook: Playbook, change: Change, context: str) -> bool:
    """Whether an operator must approve it. What cannot be undone asks even under `auto`."""
    if playbook.approval != "auto":
        return True
    if change.no_undo and change.kind not in playbook.allow_without_undo:
        return True
    facts = {"cluster": context}
    return not all(
        name in facts and any(fnmatchcase(facts[name], pattern) for pattern in patterns)
        for name, patterns in playbook.allow_auto_when.items()
    )


# --- reads ----------------------------------------------------------------------------------


class ScopedCluster:
    """A cluster as far as the playbook lets it be seen. Binds tools, first card and rules alike.

    What `scope.namespaces` or `tools.kubectl.read` leave out raises AccessDenied, which readers
    report as a gap. Goals and the executor use the unscoped cluster: their targets are declared.
    """

    def __init__(self, cluster: Cluster, playbook: Playbook) -> None:
        self._cluster, self.context = cluster, cluster.context
        self._namespaces = playbook.scope.namespaces
        read = playbook.tools.kubectl.read if playbook.tools.kubectl else []
        self._kinds = {plural(kind) for kind in read}

    def _check(self, kind: str, namespace: str) -> None:
        name, known = plural(kind), find(kind)
        if name not in self._kinds if self._kinds else name == "secrets":
            raise AccessDenied(
                f"the playbook does not let it read {name}",
                needs=f"{name} in tools.kubectl.read",
            )
        clustered = known is not None and not known.namespaced
        if self._namespaces and not clustered and namespace not in self._namespaces:
            where = f"namespace {namespace}" if namespace else "all namespaces"
            raise AccessDenied(
                f"{where} is outside the playbook's scope: {', '.join(self._namespaces)}",
                needs=f"{namespace or '*'} in scope.namespaces",
            )

    def get(self, ref: ObjectRef) -> Object:
        self._check(ref.kind, ref.namespace)
        return self._cluster.get(ref)

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        self._check(kind, namespace)
        return self._cluster.list(kind, namespace, labels=labels, fields=fields)

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        previous: bool = False,
        lines: int | None = None,
        since: float | None = None,
    ) -> str:
        self._check("pods", namespace)
        return self._cluster.logs(
            namespace, pod, container, previous=previous, lines=lines, since=since
        )

    def patch(
        self,
        ref: ObjectRef,
        operations: Sequence[Mapping[str, Any]],
        *,
        dry_run: bool,
        note: str,
        subresource: str = "",
    ) -> Object:
        raise AccessDenied(PROPOSE)

    def apply(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        raise AccessDenied(PROPOSE)

    def create(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        raise AccessDenied(PROPOSE)

    def delete(self, ref: ObjectRef, *, uid: str, revision: str, dry_run: bool, note: str) -> None:
        raise AccessDenied(PROPOSE)

    def whoami(self) -> str:
        return self._cluster.whoami()

    def proxy(self, ref: ObjectRef, port: int | str, path: str, timeout: float) -> Reply:
        self._check(ref.kind, ref.namespace)
        return self._cluster.proxy(ref, port, path, timeout)

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Completed:
        self._check("pods", namespace)
        return self._cluster.exec(namespace, pod, container, argv, timeout)


def plural(kind: str) -> str:
    """The resource name of a Kind, plural or short name: `hpa` -> horizontalpodautoscalers."""
    if known := find(kind):
        return known.plural
    word = kind.lower()  # a custom resource
    if word.endswith("s") and not word.endswith("ss"):
        return word
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"
