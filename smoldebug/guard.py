"""What may be read and what may be changed: data in, decision out. No I/O of its own.

Before a change happens all must agree: the playbook, every policy of the organisation, the limits
of each, and the operator (`change.py`). What is not named is refused, and so is what nobody here
knows. Some of it no approval allows: see `_never`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from smoldebug import disruption, managed, privileges, provenance
from smoldebug.errors import AccessDenied
from smoldebug.leaves import Path, amount, leaves, of_change, steps
from smoldebug.limits import Tally as Tally
from smoldebug.limits import counts, exceeded, factor, no_count, objects, used
from smoldebug.playbook.models import Limits, Playbook
from smoldebug.playbook.policy import Policy, Selection
from smoldebug.provenance import anything
from smoldebug.records import Answer, Change, ChangeKind, Decision, Json, ObjectRef, Surroundings
from smoldebug.sources.kinds import find
from smoldebug.sources.world import Cluster, Completed, Object, Reply

_POD = ("/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec")
_LISTS = ("containers", "initContainers")


def _in_pods(*fields: str) -> tuple[str, ...]:
    return tuple(f"{pod}/{field}" for pod in _POD for field in fields)


def _in_containers(*fields: str) -> tuple[str, ...]:
    return _in_pods(*(f"{each}/*/{field}" for each in _LISTS for field in fields))


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

PROPOSE = "a tool changes nothing: it returns a Change"
LOCAL = (ChangeKind.PROCESS_RESTART, ChangeKind.RUN_COMMAND)  # on this machine, in no namespace

Recent = Callable[[datetime], Sequence[datetime]]  # when other runs changed something since then


# --- changes --------------------------------------------------------------------------------


class Guard:
    """Judges proposed changes by a playbook (`tools.change`, `scope`, `limits`) and by policies.

    `inputs` are the values the playbook was given; `recent` tells when other runs on this machine
    changed something, for limits over time.
    """

    def __init__(
        self,
        playbook: Playbook,
        policies: Sequence[Policy] = (),
        *,
        context: str = "",
        inputs: Mapping[str, Json] = {},
        recent: Recent = lambda since: (),
    ) -> None:
        self._playbook, self._policies, self._context = playbook, policies, context
        self._change, self._scope = playbook.tools.change, playbook.scope
        self._listed = provenance.listed(playbook, inputs)
        self._recent = recent
        self._limits: list[tuple[str, Limits]] = [
            ("", playbook.limits),
            *((f"by {each.source}, ", each.file.limits.limits()) for each in policies),
        ]

    @property
    def approval(self) -> str:
        """The strictest of ask, auto and never that applies."""
        said = {self._playbook.approval, *(each.file.approval for each in self._policies)}
        return next(word for word in ("never", "ask", "auto") if word in said)

    def judge(self, change: Change, tally: Tally) -> Decision:
        """YES when nothing stands against it (it may still need approval), NO with the reason.

        Asked before anything is read of the target, and again before it is sent. A YES whose
        `reason` is that of a break-glass may lift limits, and `lifted` names those it lifts.
        """
        for by, problem in self._forbidden(change):
            return Decision(Answer.NO, by, problem)
        over = list(self._over(change, tally))
        return self._lift(over, Decision(Answer.YES, "guard", tally.break_glass))

    def weigh(self, change: Change, around: Surroundings, verdict: Decision) -> Decision:
        """The verdict of `judge`, or NO for what is around the target. Asked before a dry run."""
        for problem in (
            self._elsewhere(change, around),
            provenance.unfounded(change, around.typed, self._listed),
            _hidden(change, around),
        ):
            if problem:
                return Decision(Answer.NO, "guard", problem)
        broken = disruption.refused(change, around)
        return self._lift([broken] if broken else [], verdict)

    def asks(self, change: Change) -> bool:
        """Whether an operator must approve it. What cannot be undone asks even under `auto`."""
        if self.approval != "auto" or asks(self._playbook, change, self._context):
            return True
        without = (each.file.allow_without_undo for each in self._policies)
        return bool(change.no_undo) and any(
            kinds is not None and change.kind not in kinds for kinds in without
        )

    def warnings(self, change: Change, around: Surroundings, verdict: Decision) -> tuple[str, ...]:
        """What an approver must know; with any, it is asked even under `auto`."""
        said = [f"break-glass ({verdict.reason}): {verdict.lifted}"] if verdict.lifted else []
        if (told := self._told(change, around)) is not None:
            said.append(told)
        said += disruption.warned(change, around)
        if right := privileges.raised(change.before, change.after):  # judge lets a rollback
            said.append(f"the earlier revision has more rights: {right}")
        return (*said, *(f"could not be seen: {gap}" for gap in around.gaps))

    def describe(self, change: Change, tally: Tally) -> str:
        """How much of the limits the change would use: `1 of 2 changes · factor 2 of 3 allowed`."""
        limits = [each for _, each in self._limits]
        most = min(each.changes for each in limits)
        parts = [f"{len(objects(change, tally.applied))} of {most} changes"]
        allowed = min(each.replicas.max_factor for each in limits)
        for _, before, after in counts(change, tally.applied):
            parts.append(f"factor {factor(before, after):.3g} of {allowed:g} allowed")
        for rate in (each.rate for each in limits if each.rate):
            count = used(rate, tally, self._since(rate.per, tally)) + 1
            parts.append(f"{count} of {rate.changes} changes per {rate.per}")
        return " · ".join(parts)

    # --- permission -------------------------------------------------------------------------

    def _forbidden(self, change: Change) -> Iterator[tuple[str, str]]:
        """Who forbids it and why: nothing lifts these."""
        yield from (("guard", problem) for problem in self._permission(change) if problem)
        for policy in self._policies:
            for problem in _against(policy.file.allow, policy.file.deny, change, self._context):
                yield "policy", f"{problem} ({policy.source})"
        for where, limits in self._limits:
            if change.kind is ChangeKind.DELETE_OBJECT and _listed(limits, change.target):
                yield "guard", f"{where}{change.target} is in limits.never_delete"
        yield from (("guard", problem) for problem in _never(change) if problem)

    def _permission(self, change: Change) -> Iterator[str]:
        if self._change is None or self._scope.cluster == "read-only":
            yield "this playbook is read-only: it has no tools.change block"
            return
        if change.kind not in self._change.allow:
            allowed = ", ".join(self._change.allow)
            yield f"{change.kind} is not in tools.change.allow: {allowed}"
        covering = [each for each in self._change.targets if covers(each, change.target)]
        if not covering:
            yield f"{change.target} is not in tools.change.targets"
        elif change.target.kind not in ORDINARY and all(each.startswith("*") for each in covering):
            yield f"tools.change.targets must name the Kind, * is not enough: {change.target.kind}"
        yield _out_of_context(self._scope.contexts, change, self._context, "the playbook's scope")
        namespaces, namespace = self._scope.namespaces, change.target.namespace
        if namespaces and change.kind not in LOCAL and namespace not in (*namespaces, ""):
            yield f"namespace {namespace} is outside the playbook's scope"

    # --- limits -----------------------------------------------------------------------------

    def _over(self, change: Change, tally: Tally) -> Iterator[str]:
        for where, limits in self._limits:
            elsewhere = self._since(limits.rate.per, tally) if limits.rate else ()
            for problem in exceeded(change, tally, limits, elsewhere):
                yield f"{where}{problem}"

    def _since(self, seconds: float, tally: Tally) -> Sequence[datetime]:
        return self._recent(tally.now - timedelta(seconds=seconds))

    def _lift(self, over: Sequence[str], verdict: Decision) -> Decision:
        """A verdict with limits in its way: NO, unless a break-glass lifts them."""
        if not over:
            return verdict
        if not verdict.reason:
            return Decision(Answer.NO, "guard", over[0])
        for policy in self._policies:
            if not policy.file.break_glass:
                why = f"{over[0]}; {policy.source} allows no break-glass"
                return Decision(Answer.NO, "policy", why)
        lifted = "; ".join(each for each in (verdict.lifted, *over) if each)
        return replace(verdict, lifted=lifted)

    # --- managed objects --------------------------------------------------------------------

    @property
    def _on_managed(self) -> str:
        """The strictest of pr, warn and allow that applies."""
        said = {self._playbook.on_managed, *(each.file.on_managed for each in self._policies)}
        return next(word for word in ("pr", "warn", "allow") if word in said)

    def _elsewhere(self, change: Change, around: Surroundings) -> str:
        """Why it is to be changed somewhere else, or ""."""
        owner = around.managed
        if owner is None or self._on_managed != "pr" or managed.built_in(owner):
            return ""
        return f"{change.target} is managed by {owner}, on_managed is pr: {managed.advice(owner)}"

    def _told(self, change: Change, around: Surroundings) -> str | None:
        owner = around.managed
        if owner is None:
            return None
        if managed.built_in(owner):
            if change.kind in (ChangeKind.DELETE_OBJECT, ChangeKind.DEBUG_CONTAINER):
                return None  # what it does then is what is wanted, or nothing
            return f"it belongs to {owner.owner}, which may set it back: {managed.advice(owner)}"
        if self._on_managed == "allow":
            return None
        return f"managed by {owner}, which may set it back: {managed.advice(owner)}"


def covers(pattern: str, target: ObjectRef) -> bool:
    """Kind/namespace/name (or Kind/name) with `*` only as a whole part."""
    wanted = pattern.split("/")
    actual = [part for part in (target.kind, target.namespace, target.name) if part]
    return len(wanted) == len(actual) and all(
        want in ("*", have) and "/" not in have for want, have in zip(wanted, actual, strict=True)
    )


def asks(playbook: Playbook, change: Change, context: str) -> bool:
    """Whether the playbook asks an operator. What cannot be undone asks even under `auto`."""
    if playbook.approval != "auto":
        return True
    if change.no_undo and change.kind not in playbook.allow_without_undo:
        return True
    facts = {"cluster": context}
    return not all(
        name in facts and any(fnmatchcase(facts[name], pattern) for pattern in patterns)
        for name, patterns in playbook.allow_auto_when.items()
    )


def _against(allow: Selection, deny: Selection, change: Change, context: str) -> Iterator[str]:
    """What a policy says against a change: each list of `allow` narrows, each of `deny` refuses."""
    target = change.target
    yield from filter(None, [_out_of_context(allow.contexts, change, context, "the policy")])
    if context and _any(deny.contexts, context):
        yield f"the policy denies changes in context {context}"
    local = change.kind in LOCAL
    if allow.namespaces and not local and not _any(allow.namespaces, target.namespace):
        where = f"namespace {target.namespace}" if target.namespace else "outside any namespace"
        yield f"the policy does not allow changes {'in ' if target.namespace else ''}{where}"
    if not local and _any(deny.namespaces, target.namespace):
        yield f"the policy denies changes in namespace {target.namespace}"
    if allow.changes and change.kind not in allow.changes:
        yield f"the policy does not allow: {change.kind}"
    if change.kind in deny.changes:
        yield f"the policy denies: {change.kind}"
    if allow.targets and not any(covers(each, target) for each in allow.targets):
        yield f"the policy does not allow changes of {target}"
    if any(covers(each, target) for each in deny.targets):
        yield f"the policy denies changes of {target}"


def _out_of_context(contexts: Sequence[str], change: Change, context: str, whose: str) -> str:
    if not contexts or (change.kind in LOCAL and not context) or _any(contexts, context):
        return ""
    return f"context {context or '(none)'} is outside {whose}: {', '.join(contexts)}"


def _any(patterns: Sequence[str], text: str) -> bool:
    return any(anything(pattern).fullmatch(text) for pattern in patterns)


def _listed(limits: Limits, target: ObjectRef) -> bool:
    return any(
        covers(each, target) if "/" in each else each == target.kind for each in limits.never_delete
    )


# --- what no approval allows ----------------------------------------------------------------


def _never(change: Change) -> Iterator[str]:
    yield _misplaced(change)
    yield _foreign_field(change)
    yield no_count(change)
    yield _other_object(change)
    right = privileges.raised(change.before, change.after)
    if right and change.kind is not ChangeKind.ROLLBACK:  # that restores what was: it is told
        yield f"it gives a pod more rights, which no approval allows: {right}"


def _misplaced(change: Change) -> str:
    kinds = ON.get(change.kind, (change.target.kind,))
    return "" if change.target.kind in kinds else f"a {change.kind} is of a {' or '.join(kinds)}"


def _foreign_field(change: Change) -> str:
    """A field that this kind of change does not touch, in words, or ""."""
    pointers = {*change.before, *change.after}
    for pointer in sorted(pointers):
        if any(other.startswith(f"{pointer}/") for other in pointers):
            return f"it touches a field and what is inside it: {pointer or 'the whole object'}"
        if (pointer == "") != (change.kind in _WHOLE):
            return f"a {change.kind} does not touch: {pointer or 'the whole object'}"
    allowed = [steps(field) for field in FIELDS.get(change.kind, ())]
    for path, _ in (*of_change(change.before), *of_change(change.after)):
        inside = any(_below(path, field) for field in allowed)
        identity = change.kind not in _WHOLE and any(_below(path, field) for field in _IDENTITY)
        if not inside or identity:
            return f"a {change.kind} does not touch: /{'/'.join(path)}"
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
        return f"a {change.kind} has no manifest"
    sides = {ChangeKind.CREATE_OBJECT: change.after, ChangeKind.DELETE_OBJECT: change.before}
    whole = sides.get(change.kind, {"": change.manifest}).get("")
    if whole is None:
        return "" if change.kind not in _WHOLE else f"a {change.kind} needs the whole object"
    meta = whole.get("metadata") if isinstance(whole, dict) else None
    if not isinstance(meta, dict):
        return "its manifest is not that of an object"
    named = (whole.get("kind"), meta.get("namespace") or "", meta.get("name"))
    target = change.target
    if named != (target.kind, target.namespace, target.name):
        return f"its manifest is of another object than {target}"
    return ""


def _hidden(change: Change, around: Surroundings) -> str:
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
            return f"its manifest sets what the change does not show: /{'/'.join(path)}"
    return ""


def _alike(one: Json, other: Json) -> bool:
    if type(one) is type(other) and one == other:
        return True
    return amount(one) is not None and amount(one) == amount(other)


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
