"""What may be read and what may be changed: data in, decision out. No I/O of its own.

Three must agree before a change happens: the playbook allows it (here), the limits leave room
(here), and the operator approves it (`change.py`). What is not named is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from smoldebug.errors import AccessDenied
from smoldebug.playbook.models import Limits, Playbook
from smoldebug.records import Answer, Change, Decision, ObjectRef
from smoldebug.sources.world import Cluster, Completed, Object, Reply

REPLICA_FIELDS = ("/spec/replicas", "/spec/maxReplicas", "/spec/minReplicas")

# kubectl's short names, so that a playbook may say `hpa` and a tool `HorizontalPodAutoscaler`
SHORT_NAMES = {
    "cm": "configmaps",
    "deploy": "deployments",
    "ds": "daemonsets",
    "ep": "endpoints",
    "ev": "events",
    "hpa": "horizontalpodautoscalers",
    "ing": "ingresses",
    "netpol": "networkpolicies",
    "no": "nodes",
    "ns": "namespaces",
    "pdb": "poddisruptionbudgets",
    "po": "pods",
    "pv": "persistentvolumes",
    "pvc": "persistentvolumeclaims",
    "quota": "resourcequotas",
    "rs": "replicasets",
    "sa": "serviceaccounts",
    "sc": "storageclasses",
    "sts": "statefulsets",
    "svc": "services",
}


def plural(kind: str) -> str:
    """The resource name of a Kind, plural or short name: `hpa` -> horizontalpodautoscalers."""
    word = kind.lower()
    if word in SHORT_NAMES:
        return SHORT_NAMES[word]
    if word.endswith(("endpoints", "ies")) or (word.endswith("s") and not word.endswith("ss")):
        return word
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith("ss") else f"{word}s"


# --- changes --------------------------------------------------------------------------------


class Guard:
    """Judges proposed changes by a playbook's `tools.change`, `scope` and `limits`."""

    def __init__(self, playbook: Playbook) -> None:
        self._change = playbook.tools.change
        self._scope = playbook.scope
        self._limits = playbook.limits

    def judge(self, change: Change, applied: Sequence[Change]) -> Decision:
        """YES when nothing stands against it (it may still need approval), NO with the reason.

        `applied` are the changes made so far in this run: limits count over the whole run.
        """
        for problem in (
            self._permission(change),
            self._room(change, applied),
            replica_problem(change, applied, self._limits),
        ):
            if problem:
                return Decision(Answer.NO, "guard", problem)
        return Decision(Answer.YES, "guard")

    def _permission(self, change: Change) -> str:
        if self._change is None or self._scope.cluster == "read-only":
            return "this playbook is read-only: it has no tools.change block"
        if change.kind not in self._change.allow:
            allowed = ", ".join(self._change.allow)
            return f"{change.kind} is not in tools.change.allow: {allowed}"
        if not any(covers(pattern, change.target) for pattern in self._change.targets):
            return f"{change.target} is not in tools.change.targets"
        namespaces = self._scope.namespaces
        if namespaces and change.target.namespace not in (*namespaces, "", "local"):
            return f"namespace {change.target.namespace} is outside the playbook's scope"
        return ""

    def _room(self, change: Change, applied: Sequence[Change]) -> str:
        objects = _objects(change, applied)
        if len(objects) > self._limits.changes:
            return f"it would change more than limits.changes objects: {self._limits.changes}"
        return ""

    def describe(self, change: Change, applied: Sequence[Change]) -> str:
        """How much of the limits the change would use: `1 of 2 changes · factor 2 of 3 allowed`."""
        parts = [f"{len(_objects(change, applied))} of {self._limits.changes} changes"]
        for field in REPLICA_FIELDS:
            before, after = original(change, field, applied), change.after.get(field)
            if isinstance(before, int) and isinstance(after, int) and before:
                allowed = self._limits.replicas.max_factor
                parts.append(f"factor {after / before:.3g} of {allowed:g} allowed")
        return " · ".join(parts)


def covers(pattern: str, target: ObjectRef) -> bool:
    """Kind/namespace/name (or Kind/name) with `*` only as a whole part."""
    wanted, actual = pattern.split("/"), str(target).split("/")
    return len(wanted) == len(actual) and all(
        want in ("*", have) for want, have in zip(wanted, actual, strict=True)
    )


def _objects(change: Change, applied: Sequence[Change]) -> set[ObjectRef]:
    return {change.target, *(earlier.target for earlier in applied)}


def original(change: Change, field: str, applied: Sequence[Change]) -> Any:
    """A field's value before this run touched it: two doublings are a factor of four."""
    for earlier in applied:
        if earlier.target == change.target and field in earlier.before:
            return earlier.before[field]
    return change.before.get(field)


def replica_problem(change: Change, applied: Sequence[Change], limits: Limits) -> str:
    """Why a replica count is out of bounds, or "". Never to zero; never by more than the factor."""
    for field in REPLICA_FIELDS:
        if field not in change.after:
            continue
        before, after = original(change, field, applied), change.after[field]
        if not isinstance(after, int) or isinstance(after, bool) or after < 1:
            return f"{field} must be a whole number of at least 1: {after!r}"
        if after > limits.replicas.max:
            return f"{field} {after} is over limits.replicas.max: {limits.replicas.max}"
        if isinstance(before, int) and after > max(before, 1) * limits.replicas.max_factor:
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
    patterns = playbook.allow_auto_when.get("cluster", [])
    return bool(patterns) and not any(_matches(pattern, context) for pattern in patterns)


def _matches(pattern: str, context: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(context, pattern)


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

    def _check(self, kind: str, namespace: str, clustered: bool = False) -> None:
        if self._kinds and plural(kind) not in self._kinds:
            raise AccessDenied(
                f"the playbook does not let it read {plural(kind)}",
                needs=f"{plural(kind)} in tools.kubectl.read",
            )
        if self._namespaces and not clustered and namespace not in self._namespaces:
            where = f"namespace {namespace}" if namespace else "all namespaces"
            raise AccessDenied(
                f"{where} is outside the playbook's scope: {', '.join(self._namespaces)}",
                needs=f"{namespace or '*'} in scope.namespaces",
            )

    def get(self, ref: ObjectRef) -> Object:
        self._check(ref.kind, ref.namespace, clustered=not ref.namespace)
        return self._cluster.get(ref)

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        self._check(kind, namespace, clustered=plural(kind) in CLUSTER_SCOPED)
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
        self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]], *, dry_run: bool, note: str
    ) -> Object:
        raise AccessDenied("tools do not patch: they return a Change")

    def proxy(self, ref: ObjectRef, port: int | str, path: str, timeout: float) -> Reply:
        self._check(ref.kind, ref.namespace)
        return self._cluster.proxy(ref, port, path, timeout)

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Completed:
        self._check("pods", namespace)
        return self._cluster.exec(namespace, pod, container, argv, timeout)


CLUSTER_SCOPED = {"nodes", "namespaces", "persistentvolumes", "storageclasses"}
