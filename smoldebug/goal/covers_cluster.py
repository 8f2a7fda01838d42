"""covers_cluster: is there a manifest for every live object, and do the two agree?"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from smoldebug import pointers
from smoldebug.edits.documents import selected
from smoldebug.edits.rendered import Rendered
from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.fieldvalues import contains, same
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.reading import dig, ref_of
from smoldebug.goal.renderings import proposed, rendering
from smoldebug.playbook.models import Playbook
from smoldebug.playbook.patches import CoversClusterCheck, ManifestsCheck, Select
from smoldebug.playbook.patchrules import manifests_of
from smoldebug.playbook.rules import checks_of
from smoldebug.records import Json, ObjectRef
from smoldebug.redact import Redactor
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.world import Cluster, Object, World
from smoldebug.untrusted import one_line

_REPLICAS = "spec.replicas"


@dataclass(frozen=True, slots=True)
class Drift:
    """A field that a manifest sets and that is otherwise in the cluster. Secrets are masked."""

    ref: ObjectRef
    path: str  # of the file in which the manifest begins
    field: str  # spec.template.spec.containers[app].image
    live: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.ref} {self.field} {self.live} live, {self.wanted} in {self.path}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """Live objects and manifests of one kind, against each other."""

    covered: tuple[ObjectRef, ...]
    only_live: tuple[ObjectRef, ...]
    not_live: tuple[Rendered, ...]  # manifests that nothing in the cluster corresponds to
    drift: tuple[Drift, ...]
    problems: tuple[str, ...]  # what of the repository could not be read: it may hold more


def covers_cluster(check: CoversClusterCheck, setting: Setting) -> Check:
    """Raises UsageError where no check says in which manifests to look, or nothing in which of
    several namespaces."""
    goal = setting.plan.playbook.goal
    beside = manifests_of(list(checks_of([*goal.all, *goal.any])))
    if not beside:
        raise UsageError("a covers_cluster check needs a manifests check beside it")
    kind = kind_name(check.kind)
    if setting.namespaces != ("",):
        named = setting.namespace_of(kind, check.namespace)
        check = msgspec.structs.replace(check, namespace=named)
    label = f"a manifest for every live {kind}"
    label += f" of {check.namespace}" if check.namespace else ""
    measure = partial(_measure, check, beside[0], setting.world)
    return Check(label, "covers_cluster", measure, one_line(check.labels, 40))


def _in_scope(check: CoversClusterCheck, playbook: Playbook) -> CoversClusterCheck:
    """With the only namespace in scope, where it names none."""
    namespaces = playbook.scope.namespaces
    if check.namespace or len(namespaces) != 1:
        return check
    return msgspec.structs.replace(check, namespace=namespaces[0])


def coverage(world: World, check: CoversClusterCheck, manifests: ManifestsCheck) -> Coverage:
    """The live objects, read now, against all of the repository that `manifests` looks at. Raises
    what reading the cluster or the repository does.

    A manifest that the run adds covers its object. What is not live and what drifts is told of the
    base branch: nobody has applied yet what the run proposes.
    """
    kind, cluster = kind_name(check.kind), world.cluster
    made = rendering(world, proposed(world), manifests.paths)
    base = rendering(world, world.repository.base_commit(), manifests.paths)
    live = {
        ref_of(item, kind): item
        for item in cluster.list(kind, check.namespace, labels=check.labels)
        if not _is_owned(item)
    }
    covering, before = (_describing(live, each.objects, manifests.select) for each in (made, base))
    matched = {id(each) for several in before.values() for each in several}
    meant = Select(kind=kind, namespace=check.namespace, labels=check.labels)
    return Coverage(
        covered=tuple(ref for ref in live if covering[ref]),
        only_live=tuple(ref for ref in live if not covering[ref]),
        not_live=tuple(
            each
            for each in base.objects
            if each.ref.name and id(each) not in matched and selected(each, meant)
        ),
        drift=_drift(cluster, check.namespace, [(live[ref], before[ref]) for ref in live]),
        problems=made.problems,
    )


def gaps(
    world: World, playbook: Playbook, manifests: ManifestsCheck | None
) -> tuple[list[str], list[str], list[str]]:
    """For people: live objects without a manifest, those that differ from theirs, and what could
    not be seen. Nothing where the goal does not ask for it."""
    known = (each.covers_cluster for each in checks_of([*playbook.goal.all, *playbook.goal.any]))
    check = next((each for each in known if each is not None), None)
    if check is None or manifests is None:
        return [], [], []
    try:
        seen = coverage(world, _in_scope(check, playbook), manifests)
    except SmoldebugError as error:
        return [], [], [f"the cluster: {error}"]
    only_live, drift = map(str, seen.only_live), map(str, seen.drift)
    return [*only_live], [*drift], [f"not in the cluster: {each.ref}" for each in seen.not_live]


def _measure(
    check: CoversClusterCheck, manifests: ManifestsCheck, world: World, sample: int
) -> Measured:
    found = coverage(world, check, manifests)
    total, lone = len(found.covered) + len(found.only_live), float(len(found.only_live))
    if not total:
        return inconclusive("there is no live one")
    says = f"{len(found.covered)} of {total} live have one"
    if found.only_live and check.missing == "fail" and found.problems:
        says = f"{says}, but not all manifests are known: {one_line(found.problems[0], 160)}"
        return inconclusive(says)
    for what, names in (
        ("only in the cluster", [_short(ref, check) for ref in found.only_live]),
        ("not in the cluster", [_short(each.ref, check) for each in found.not_live]),
        ("drift", [str(each) for each in found.drift]),
    ):
        says += f"; {what}: {_listed(names, 1 if what == 'drift' else 3)}" if names else ""
    if found.only_live and check.missing == "fail":
        return not_met(says, lone, subject=str(found.only_live[0]))
    return met(says, lone)


def _short(ref: ObjectRef, check: CoversClusterCheck) -> str:
    return ref.name if check.namespace else f"{ref.namespace}/{ref.name}".strip("/")


def _listed(names: Sequence[str], told: int) -> str:
    more = f" and {len(names) - told} more" if names[told:] else ""
    return ", ".join(names[:told]) + more


# --- which manifest describes it ------------------------------------------------------------


def _is_owned(item: Object) -> bool:
    """Whether a controller made it of another object: nobody writes a manifest for that."""
    owners: list[Json] = dig(item, "metadata", "ownerReferences", default=[])
    return any(dig(owner, "controller", default=False) for owner in owners)


def _describing(
    live: Iterable[ObjectRef], objects: Iterable[Rendered], select: Select
) -> dict[ObjectRef, list[Rendered]]:
    """The manifests of each object; several where overlays overlap. One without a namespace is of
    any, where the goal asks for none, else of those that a folder of its path is called after."""
    by_name: dict[str, list[Rendered]] = {}
    for each in objects:
        by_name.setdefault(each.ref.name, []).append(each)

    def fits(each: Rendered, ref: ObjectRef) -> bool:
        this = Select(kind=ref.kind, namespace=ref.namespace, name=ref.name)
        anywhere = each.ref.kind == ref.kind and not (each.ref.namespace or select.namespace)
        return anywhere or selected(each, this)

    return {ref: [each for each in by_name.get(ref.name, ()) if fits(each, ref)] for ref in live}


# --- drift ----------------------------------------------------------------------------------


def _drift(
    cluster: Cluster, namespace: str, pairs: Iterable[tuple[Object, list[Rendered]]]
) -> tuple[Drift, ...]:
    """Of several manifests of one object, one that agrees with it suffices."""
    found = [
        each
        for live, made in pairs
        if made
        for each in min((list(_differences(live, one)) for one in made), key=len)
    ]
    if any(each.field == _REPLICAS for each in found):
        scaled = _scaled(cluster, namespace)
        return tuple(e for e in found if e.field != _REPLICAS or not scaled(e.ref))
    return tuple(found)


def _differences(live: Object, made: Rendered) -> Iterator[Drift]:
    """Fields that applying the manifest would change, and no others: what a server filled in or a
    sidecar injector put beside them is not in it. A Secret's values are nobody's business."""
    if made.ref.kind == "Secret":
        return
    before, after = pointers.diff(live, _applied(live, _own_fields(made.object)))
    masks = Redactor()
    was, wanted = masks.fields(before), masks.fields(after)
    for pointer, value in after.items():
        now = before.get(pointer)
        if same(pointer, now, value) or contains(now, value):
            continue
        shown = _shown(was.get(pointer)), _shown(wanted[pointer])
        where = made.document.path
        yield Drift(ref_of(live, made.ref.kind), where, pointers.dotted(pointer), *shown)


def _applied(live: Object, manifest: Object) -> Json:
    try:
        return pointers.merged(live, manifest, strategic=True)
    except UsageError:  # a key that begins with $, which only a strategic merge minds
        return pointers.merged(live, manifest)


def _own_fields(manifest: Object) -> Object:
    """What of a manifest says how the object is, not which one it is."""
    metadata: Object = dig(manifest, "metadata", default={})
    told = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    kept = {k: v for k, v in manifest.items() if k not in ("apiVersion", "kind", "status")}
    return {**kept, "metadata": told}


def _scaled(cluster: Cluster, namespace: str) -> Callable[[ObjectRef], bool]:
    """Whether an autoscaler sets how many replicas something has; where they cannot be seen, it
    may be so of anything."""
    kind = "HorizontalPodAutoscaler"
    try:
        listed = cluster.list(kind, namespace)
    except SmoldebugError:
        return lambda ref: True
    targets = set()
    for item in listed:
        target: Object = dig(item, "spec", "scaleTargetRef", default={})
        where = ref_of(item, kind).namespace
        targets.add((target.get("kind"), where, target.get("name")))
    return lambda ref: (ref.kind, ref.namespace, ref.name) in targets


def _shown(value: Json) -> str:
    if value is None:
        return "absent"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode(errors="replace")
    return one_line(text, 60) or '""'
