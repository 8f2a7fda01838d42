"""What may be read and what may be changed: data in, decision out. No I/O of its own.

Before a change happens all must agree: the playbook, every policy of the organisation, the limits
of each, and the operator (`change.py`). What is not named is refused, and so is what nobody here
knows. Some of it no approval allows: see `fields.never`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from smoldebug import managed
from smoldebug.guard import disruption, patches, privileges, provenance, releases
from smoldebug.guard.fields import CLUSTERLESS, ORDINARY, hidden, never
from smoldebug.guard.limits import Tally, counted, counts, exceeded, factor, objects
from smoldebug.guard.provenance import anything
from smoldebug.playbook.models import Limits, Playbook
from smoldebug.playbook.policy import Policy, PolicyFile, Selection
from smoldebug.records import (
    IN_GIT,
    OF_RELEASE,
    Answer,
    Change,
    ChangeKind,
    Decision,
    Json,
    ObjectRef,
    Surroundings,
)

Recent = Callable[[datetime], Sequence[datetime]]  # when other runs changed something since then


# --- changes --------------------------------------------------------------------------------


class Guard:
    """Judges proposed changes by a playbook (`tools.change`, `scope`, `limits`) and by policies.

    `context`, `cluster` (its id) and `server` (its address) say where; `inputs` are the values the
    playbook was given; `recent` tells when other runs on this machine changed something, for
    limits over time.
    """

    def __init__(  # noqa: PLR0913 three of them say where
        self,
        playbook: Playbook,
        policies: Sequence[Policy] = (),
        *,
        context: str = "",
        cluster: str = "",
        server: str = "",
        inputs: Mapping[str, Json] = {},
        recent: Recent = lambda since: (),
    ) -> None:
        self._playbook, self._policies = playbook, policies
        self._context, self._cluster, self._server = context, cluster, server
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
            hidden(change, around),
            patches.misplaced(change, around, self._scope.paths),
            releases.outside(around, self._scope.namespaces),
            *self._inside(change, around),
        ):
            if problem:
                return Decision(Answer.NO, "guard", problem)
        broken = [disruption.refused(change, around)] + [
            f"{where}{each}"
            for where, limits in self._limits
            for each in patches.over(around, limits)
        ]
        return self._lift([each for each in broken if each], verdict)

    def asks(self, change: Change) -> bool:
        """Whether an operator must approve it. What cannot be undone asks even under `auto`."""
        where = {"cluster": self._context, "uid": self._cluster, "server": self._server}
        if self.approval != "auto" or asks(self._playbook, change, where):
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
        said += self._rights(change, around)
        return (
            *said,
            *change.notes,
            *around.notes,
            *(f"could not be seen: {gap}" for gap in around.gaps),
        )

    def _rights(self, change: Change, around: Surroundings) -> Iterator[str]:
        """What more its pods may do: `judge` lets some changes."""
        if change.kind in OF_RELEASE:
            yield from releases.grants(around)
        elif right := privileges.raised(change.before, change.after):
            rollback = change.kind is ChangeKind.ROLLBACK
            whose = "the earlier revision has" if rollback else "it gives a pod"
            yield f"{whose} more rights: {right}"

    def describe(self, change: Change, tally: Tally, files: int = 0) -> str:
        """How much of the limits the change would use: `1 of 2 changes · factor 2 of 3 allowed`."""
        limits = [each for _, each in self._limits]
        if change.kind in IN_GIT:
            most = min(each.files for each in limits)
            parts = [f"{files} of {most} files"] if files else []
        else:
            most = min(each.changes for each in limits)
            parts = [f"{len(objects(change, tally.applied))} of {most} {_changes(most)}"]
        allowed = min(each.replicas.max_factor for each in limits)
        for _, before, after in counts(change, tally.applied):
            parts.append(f"factor {factor(before, after):.3g} of {allowed:g} allowed")
        for rate in (each.rate for each in limits if each.rate):
            count = len(counted(rate, tally, self._since(rate.per, tally))) + 1
            parts.append(f"{count} of {rate.changes} {_changes(rate.changes)} per {rate.per}")
        return " · ".join(parts)

    # --- permission -------------------------------------------------------------------------

    def _forbidden(self, change: Change) -> Iterator[tuple[str, str]]:
        """Who forbids it and why: nothing lifts these."""
        yield from (("guard", problem) for problem in self._permission(change) if problem)
        for policy in self._policies:
            for problem in self._against(policy.file, change):
                yield "policy", f"{problem} ({policy.source})"
        if change.kind is ChangeKind.DELETE_OBJECT:
            yield from (("guard", problem) for problem in self._kept(change.target))
        yield from (("guard", problem) for problem in never(change) if problem)

    def _kept(self, target: ObjectRef) -> Iterator[str]:
        for where, limits in self._limits:
            if _listed(limits, target):
                yield f"{where}{target} is in limits.never_delete"

    def _inside(self, change: Change, around: Surroundings) -> Iterator[str]:
        """What stands against the objects that the change of a release deletes or changes."""
        for ref in around.deleted:
            yield from (f"the release would lose {problem}" for problem in self._kept(ref))
        for policy in self._policies:
            allow = Selection(namespaces=policy.file.allow.namespaces)
            denied = policy.file.deny
            deny = Selection(namespaces=denied.namespaces, targets=denied.targets)
            for ref in around.objects:
                for problem in _against(allow, deny, replace(change, target=ref), ""):
                    yield f"the release changes {ref}: {problem} ({policy.source})"

    def _permission(self, change: Change) -> Iterator[str]:
        if change.kind in IN_GIT:
            yield patches.forbidden(change, self._playbook.tools)
            return
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
        if namespaces and change.kind not in CLUSTERLESS and namespace not in (*namespaces, ""):
            yield f"namespace {namespace} is outside the playbook's scope"

    def _against(self, policy: PolicyFile, change: Change) -> Iterator[str]:
        yield from _against(policy.allow, policy.deny, change, self._context)
        if change.kind in CLUSTERLESS:
            return
        known, denied = self._cluster, policy.deny.clusters
        if policy.allow.clusters and known not in policy.allow.clusters:
            yield f"the policy does not allow changes of this cluster: {known or 'id unknown'}"
        if denied and (not known or known in denied):
            yield f"the policy denies changes of this cluster: {known or 'id unknown'}"

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


def _changes(count: int) -> str:
    return "change" if count == 1 else "changes"


def covers(pattern: str, target: ObjectRef) -> bool:
    """Kind/namespace/name (or Kind/name) with `*` only as a whole part. The name of a branch may
    have slashes, that of an object has none."""
    actual = [part for part in (target.kind, target.namespace, target.name) if part]
    branch = target.kind in ("Branch", "PullRequest")
    wanted = pattern.split("/", len(actual) - 1 if branch else -1)
    return len(wanted) == len(actual) and all(
        want in ("*", have) and (branch or "/" not in have)
        for want, have in zip(wanted, actual, strict=True)
    )


def asks(playbook: Playbook, change: Change, where: Mapping[str, str]) -> bool:
    """Whether the playbook asks an operator. What cannot be undone asks even under `auto`.

    `where` it would happen: `cluster` is the context's name, `uid` that of kube-system, `server`
    the API server's address ("": not known, which nothing matches but `cluster: ["*"]`).
    """
    if playbook.approval != "auto":
        return True
    if change.no_undo and change.kind not in playbook.allow_without_undo:
        return True
    return not all(
        (where.get(name) or name == "cluster") and any(_is(where, name, each) for each in patterns)
        for name, patterns in playbook.allow_auto_when.items()
    )


def _is(where: Mapping[str, str], name: str, pattern: str) -> bool:
    return fnmatchcase(where.get(name, ""), pattern.removeprefix("https://"))


def _against(allow: Selection, deny: Selection, change: Change, context: str) -> Iterator[str]:
    """What a policy says against a change: each list of `allow` narrows, each of `deny` refuses."""
    target = change.target
    yield from filter(None, [_out_of_context(allow.contexts, change, context, "the policy")])
    if context and change.kind not in IN_GIT and _any(deny.contexts, context):
        yield f"the policy denies changes in context {context}"
    local = change.kind in CLUSTERLESS
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
    elsewhere = change.kind in IN_GIT or (change.kind in CLUSTERLESS and not context)
    if not contexts or elsewhere or _any(contexts, context):
        return ""
    return f"context {context or '(none)'} is outside {whose}: {', '.join(contexts)}"


def _any(patterns: Sequence[str], text: str) -> bool:
    return any(anything(pattern).fullmatch(text) for pattern in patterns)


def _listed(limits: Limits, target: ObjectRef) -> bool:
    return any(
        covers(each, target) if "/" in each else each == target.kind for each in limits.never_delete
    )
