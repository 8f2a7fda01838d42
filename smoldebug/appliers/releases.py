"""helm-upgrade: a release gets another chart or other values. helm-rollback: it goes back.

    before  /revision  its newest revision, which it must still have when it is sent
            /chart     name-version of what is deployed
    after   /chart     name-version of what will be; of an upgrade also
            /digest    of the chart: every byte of it
            /path      where it lies on this machine, so that a later process finds it again
            /values    all of the user's
            /timeout   seconds that Helm itself may take
            /to        of a rollback: the revision, which an approval binds

Undo is a rollback to the revision that was deployed, proven by the live objects and not by Helm's
record alone. Hooks are run again by it and are not taken back: their objects are in no revision.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from smoldebug.appliers import manifest_diff
from smoldebug.appliers.differences import masked
from smoldebug.appliers.manifest_diff import Difference
from smoldebug.appliers.protocol import Preview
from smoldebug.errors import (
    ChangeFailed,
    ChangeRefused,
    Conflict,
    SmoldebugError,
    ToolError,
    UnreachableError,
)
from smoldebug.kubectl import helm_command
from smoldebug.managed import built_in, managed_by
from smoldebug.records import Change, ChangeKind, Json, Managed, ObjectRef, Surroundings
from smoldebug.redact import Redactor
from smoldebug.sources.helm import (
    PENDING,
    Chart,
    Hook,
    Object,
    Release,
    Rendered,
    Revision,
    Upgrade,
)
from smoldebug.sources.kube_writes import ref_of
from smoldebug.sources.world import Cluster, World
from smoldebug.untrusted import one_line

REVISION, TO, CHART, DIGEST = "/revision", "/to", "/chart", "/digest"
PATH, VALUES, TIMEOUT = "/path", "/values", "/timeout"
SECONDS = 300.0  # Helm's own limit, where a change names none
REPLICAS = "/spec/replicas"
RECENT = 5  # revisions of which something may be left
RUNS = {"pre-upgrade", "post-upgrade", "pre-rollback", "post-rollback"}  # its undo's are run too
POLICY = "helm.sh/hook-delete-policy"  # an annotation
DELETING = {"before-hook-creation", "hook-succeeded", "hook-failed"}
AUTOSCALER = "HorizontalPodAutoscaler"
UPGRADE, ROLLBACK = ChangeKind.HELM_UPGRADE, ChangeKind.HELM_ROLLBACK


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change of a release would do, as far as could be seen."""

    differences: tuple[Difference, ...]
    unseen: tuple[Difference, ...] = ()  # may not be read: how their manifests differ
    hooks: tuple[Hook, ...] = ()
    run: tuple["Ran", ...] = ()
    crds: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """A hook that would run, as the revision before had it. `deletes`: Helm deletes an object of
    that name, which is there."""

    before: Object | None
    hook: Hook
    deletes: bool


class ReleaseApplier:
    def __init__(self, world: World, kubeconfig: str = "") -> None:
        self._world, self._kubeconfig = world, kubeconfig
        self._seen: tuple[Change, Effect] | None = None  # by look, for the preview that follows
        self._latest = 0  # newest revision that drift has judged, for the undo that follows

    def look(self, change: Change) -> Surroundings:
        """Raises Conflict when somebody has released meanwhile, ChangeRefused while another Helm
        operation is under way."""
        self._newest(change)
        made = effect(self._world, change)
        self._seen = change, made
        found, ran = (*made.differences, *made.unseen), made.run
        becomes = [(each.live, each.wanted) for each in found if each.wanted is not None]
        deleted = [each.ref for each in found if each.wanted is None]
        return Surroundings(
            managed=_managed(found),
            gaps=made.gaps,
            objects=(*(each.ref for each in found), *(each.hook.ref for each in ran)),
            deleted=(*deleted, *(each.hook.ref for each in ran if each.deletes)),
            becomes=(*becomes, *((each.before, each.hook.object) for each in ran)),
        )

    def preview(self, change: Change, note: str, *, ask: bool = True) -> Preview:
        masks = Redactor()
        told = replace(change, after=masked(change, change.after, masks))
        command = helm_command(told, self._world.cluster.context, self._kubeconfig)
        if not ask:
            return Preview("", "not asked for: approval is never", command)
        seen, self._seen = self._seen, None  # once: an approver sees how things are now
        made = seen[1] if seen and seen[0] == change else effect(self._world, change)
        diff = manifest_diff.short(made.differences) or "no object of the release would change"
        return Preview(diff, _tried(change, made), command, manifest_diff.whole(made.differences))

    def renewed(self, change: Change) -> Change | None:
        return None  # on top of another revision it is another change

    def apply(self, change: Change, note: str) -> str:
        release, helm = release_of(change), self._world.helm
        try:
            old = self._newest(change)
            wanted = upgrade_of(self._world, change) if change.kind is UPGRADE else None
        except (UnreachableError, ToolError) as error:
            raise ChangeRefused(f"it was not sent: {error}") from error
        try:
            if wanted is not None:
                helm.upgrade(wanted, description(note))
            else:
                helm.rollback(release, change.revision, _timeout(change))
        except SmoldebugError as error:
            raise self._how_it_ended(error, release, old) from error
        return f"revision {old.number}→{helm.history(release)[-1].number}"

    def holds(self, change: Change, note: str) -> bool:
        """Of a rollback Helm's record is no proof: each object must be there as it was then, and
        what was made since must be gone."""
        release, helm = release_of(change), self._world.helm
        history = helm.history(release)
        newest = history[-1]
        if newest.status != "deployed":
            return False
        if change.kind is UPGRADE:
            return (
                newest.number > change.before[REVISION]
                and newest.chart == change.after[CHART]
                and newest.description in ("", description(note))
                and _given(helm.values(release)) == _given(change.after[VALUES])
            )
        manifests = helm.objects(release, change.revision)
        if newest.number != change.revision:
            chart = next((each.chart for each in history if each.number == change.revision), "")
            old, now = (_given(helm.values(release, n)) for n in (change.revision, newest.number))
            if newest.chart != chart or old != now or helm.objects(release) != manifests:
                return False
        later = [each.number for each in history if change.revision < each.number < newest.number]
        made = [item for number in later[-RECENT:] for item in helm.objects(release, number)]
        cluster = self._world.cluster
        return not lacking(cluster, manifests) and not _left(cluster, made, manifests)

    def drift(self, change: Change, note: str) -> str:
        """A later revision that makes the same objects is no drift, since a later step's undo left
        it; nor is one that makes those to go back to: an undo that failed or was cut off."""
        release, helm = release_of(change), self._world.helm
        history = helm.history(release)
        newest, ours = history[-1], [each for each in history if _ours(change, each, note)]
        began = change.before.get(REVISION, 0)
        between = [each for each in history if began < each.number < (ours or history)[0].number]
        if between:
            return f"somebody else has released right before: {spoken(between[-1])}"
        self._latest = newest.number
        if newest.number <= began or newest in ours:
            return ""
        alike = [change.inverse().revision, *(each.number for each in ours[-1:])]
        made, *others = (
            (helm.objects(release, number), _given(helm.values(release, number)))
            for number in (newest.number, *alike)
        )
        if made in others:
            return ""
        return f"somebody else has released since: {spoken(newest)}"

    # --- helpers ----------------------------------------------------------------------------

    def _newest(self, change: Change) -> Revision:
        newest = self._world.helm.history(release_of(change))[-1]
        expected = change.before.get(REVISION) or self._latest
        if expected and newest.number != expected:
            raise Conflict(
                f"it is meant for revision {expected}, and now there is {spoken(newest)}"
            )
        if newest.status in PENDING and change.kind is UPGRADE:
            raise ChangeRefused(under_way(newest))
        return newest

    def _how_it_ended(
        self, error: SmoldebugError, release: Release, old: Revision
    ) -> SmoldebugError:
        """Nothing happened where Helm made no revision; where it did, nobody knows how far."""
        try:
            newest = self._world.helm.history(release)[-1]
        except SmoldebugError:
            return ToolError(str(error))
        if newest.number == old.number and newest.status == old.status:
            return ChangeRefused(str(error))
        said = f"revision {newest.number} is {newest.status}: {error}"
        return ChangeFailed(said) if newest.status == "failed" else ToolError(said)


# --- a change as Helm wants it --------------------------------------------------------------


def release_of(change: Change) -> Release:
    return Release(change.target.namespace, change.target.name)


def chart_of(world: World, change: Change) -> Chart:
    """The chart as it lies on this machine. Raises ChangeRefused when it is another one now."""
    path = Path(change.after[PATH])
    chart = world.helm.fetch(str(path), "", path.parent)
    if chart.digest != change.after[DIGEST]:
        raise ChangeRefused(f"the chart has changed since: {path}")
    return chart


def upgrade_of(world: World, change: Change) -> Upgrade:
    chart = chart_of(world, change)
    return Upgrade(release_of(change), chart, change.after[VALUES], _timeout(change))


def effect(world: World, change: Change) -> Effect:
    """What it would create, change and delete, by a dry run or an earlier revision."""
    release, helm = release_of(change), world.helm
    old = helm.objects(release)
    crds: tuple[str, ...] = ()
    if change.kind is UPGRADE:
        upgrade = upgrade_of(world, change)
        rendered, crds = helm.rehearse(upgrade), upgrade.chart.crds
    else:
        back = change.revision
        rendered = Rendered(helm.objects(release, back), helm.hooks(release, back))
    new = rendered.objects
    hooks = [each for each in rendered.hooks if RUNS & {*each.events}]
    refs = [*manifest_diff.refs(old, new), *(each.ref for each in hooks)]
    live = manifest_diff.read(world.cluster, refs)
    before = {each.ref: each.object for each in helm.hooks(release)} if hooks else {}
    return Effect(
        tuple(manifest_diff.differences(live, old, new)),
        tuple(manifest_diff.unseen(live, old, new)),
        rendered.hooks,
        tuple(Ran(before.get(each.ref), each, _replaced(each, live)) for each in hooks),
        crds,
        (*live.gaps, *_twice(new)),
    )


def _replaced(hook: Hook, live: manifest_diff.Live) -> bool:
    """Whether Helm deletes what is called as a hook is: it does so unless told otherwise."""
    notes = (hook.object.get("metadata") or {}).get("annotations")
    said = notes.get(POLICY) if isinstance(notes, dict) else ""
    policy = {word.strip() for word in str(said or "").split(",")} - {""}
    return live.found.get(hook.ref) is not None and (not policy or bool(policy & DELETING))


def _twice(manifests: Sequence[Object]) -> Iterator[str]:
    """Which one of two is sent last is Helm's to say, so one of them would not be judged."""
    found = Counter(map(ref_of, manifests))
    return (f"{ref} is in the chart {n} times" for ref, n in found.items() if n > 1)


def lacking(cluster: Cluster, manifests: Sequence[Object]) -> list[ObjectRef]:
    """Objects that are not there as their manifests say. How many pods a workload has is its
    autoscaler's to say, where it has one, and whom a webhook trusts is filled in by whoever makes
    its certificates. Raises ToolError for what cannot be seen."""
    live = manifest_diff.read(cluster, manifest_diff.refs(manifests))
    if live.gaps:
        raise ToolError(live.gaps[0])
    scaled = _autoscaled(cluster, manifests)

    def differs(each: Difference) -> bool:
        fields = {*each.fields.before, *each.fields.after}
        others = {field for field in fields if field.endswith("/caBundle")}
        others |= {REPLICAS} if each.ref in scaled else set()
        return each.live is None or bool(fields - others)

    return [each.ref for each in manifest_diff.differences(live, (), manifests) if differs(each)]


def _left(cluster: Cluster, made: Sequence[Object], manifests: Sequence[Object]) -> bool:
    """Whether something is still there that is in no manifest any more; Helm says nothing of what
    it could not delete. Raises ToolError for what cannot be seen."""
    there = {*manifest_diff.refs(manifests)}
    live = manifest_diff.read(
        cluster, (ref for ref in manifest_diff.refs(made) if ref not in there)
    )
    if live.gaps:
        raise ToolError(live.gaps[0])
    found = [item for item in live.found.values() if item and not manifest_diff.kept(item)]
    return any("deletionTimestamp" not in item["metadata"] for item in found)


def _autoscaled(cluster: Cluster, manifests: Sequence[Object]) -> set[ObjectRef]:
    """The workloads that an autoscaler of the release, or another one beside it, scales."""
    found = [each for each in manifests if each["kind"] == AUTOSCALER]
    for namespace in {each["metadata"].get("namespace") for each in manifests} - {None, ""}:
        with suppress(SmoldebugError):
            found += cluster.list(AUTOSCALER, str(namespace))
    return {_scaled(each) for each in found}


def description(note: str) -> str:
    """What a revision's history says of it."""
    return f"smoldebug {note}"


def spoken(revision: Revision) -> str:
    """`revision 4, platform-2.5.0, pending-upgrade, of 2026-01-01 12:00 UTC`."""
    words = f"revision {revision.number}, {revision.chart}, {revision.status}"
    return one_line(f"{words}, of {_time(revision.updated)}" if revision.updated else words)


def under_way(revision: Revision) -> str:
    since = f" since {_time(revision.updated)}" if revision.updated else ""
    return (
        f"another Helm operation is, or was, under way{since}: revision {revision.number} is "
        f"{revision.status}; if nobody is at it any more, helm rollback ends that"
    )


def deployed(history: Sequence[Revision]) -> Revision | None:
    """The revision that is deployed, else the newest that ever was."""
    for status in ("deployed", "superseded"):
        for each in reversed(history):
            if each.status == status:
                return each
    return None


def _ours(change: Change, revision: Revision, note: str) -> bool:
    """Helm writes its own words over the description of a revision that fails, and over that of
    a rollback: these are told by their number."""
    if revision.description == description(note):
        return True
    if revision.number != change.before.get(REVISION, 0) + 1:
        return False
    if change.kind is ROLLBACK:
        return True
    unfinished = revision.status in ("failed", *PENDING)
    return unfinished and revision.chart == change.after[CHART]


def _given(values: Json) -> Json:
    """Values without what is null, which Helm may keep or leave out."""
    if isinstance(values, Mapping):
        return {key: _given(value) for key, value in values.items() if value is not None}
    return [_given(each) for each in values] if isinstance(values, list) else values


def _scaled(autoscaler: Object) -> ObjectRef:
    target = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    namespace = autoscaler["metadata"].get("namespace", "")
    return ObjectRef(str(target.get("kind")), namespace, str(target.get("name")))


def _managed(found: Sequence[Difference]) -> Managed | None:
    """Who else puts the objects back: Flux makes releases of its own."""
    owners = (managed_by(each.found) for each in found if each.found)
    others = (each for each in owners if each and each.by != "Helm" and not built_in(each))
    return next(others, None)


def _timeout(change: Change) -> float:
    return float({**change.before, **change.after}.get(TIMEOUT) or SECONDS)


def _tried(change: Change, made: Effect) -> str:
    if change.kind is ROLLBACK:
        return f"not supported by Helm: compared with revision {change.revision}"
    said = ["accepted"]
    if made.hooks:
        said.append(f"hooks, which no undo takes back: {', '.join(map(_hook, made.hooks))}")
    if made.crds:
        said.append(f"CRDs, which Helm does not upgrade: {', '.join(made.crds)}")
    return one_line(" · ".join(said), 2000)


def _hook(hook: Hook) -> str:
    return f"{hook.ref} ({', '.join(hook.events)})"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
