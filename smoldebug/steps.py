"""A playbook's steps as changes, made one by one from how things are when each one's turn comes.

`ready` says what is wrong with them before the first one; `changes` makes them. What a step's
files, charts and values say is the playbook's own: nothing of it comes from a model.
"""

import copy
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from smoldebug.appliers.releases import (
    CHART,
    DIGEST,
    PATH,
    REVISION,
    TIMEOUT,
    VALUES,
    deployed,
    effect,
    release_of,
    spoken,
)
from smoldebug.edits import values
from smoldebug.edits.documents import find
from smoldebug.edits.kustomize import Kustomizations
from smoldebug.errors import ChangeRefused, NotFound, ToolError, UsageError
from smoldebug.playbook.models import RunPlan
from smoldebug.playbook.upgrades import HelmRollback, HelmUpgrade, KubectlApply, SetImage, Step
from smoldebug.proposals import applied, helm_rollback, manifest, one_container, propose
from smoldebug.records import Change, ChangeKind, Json, ObjectRef
from smoldebug.signals.objects import ref
from smoldebug.sources import targets
from smoldebug.sources.folder_tree import FolderTree
from smoldebug.sources.helm import PENDING, Chart, Object, Release, Revision
from smoldebug.sources.world import World
from smoldebug.untrusted import one_line

T = TypeVar("T")
_FIRST = ("Namespace", "CustomResourceDefinition")  # other objects need these


class Material:
    """What steps are made of: charts, values, manifests. Each is read once, so every cluster of a
    matrix gets what the first one got, whatever becomes of the files meanwhile."""

    def __init__(self) -> None:
        self._lock, self._known = threading.Lock(), dict[tuple[str, ...], object]()

    def once(self, what: tuple[str, ...], read: Callable[[], T]) -> T:
        with self._lock:
            if what not in self._known:
                self._known[what] = read()
            known: T = copy.deepcopy(self._known[what])  # type: ignore[assignment]
            return known


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Nothing is changed until the rollout of `target` (None: of every workload) is complete."""

    target: ObjectRef | None
    within: float  # seconds


Item = str | WaitFor | Change  # a str says why there is nothing to change


def changes(
    step: Step, plan: RunPlan, world: World, folder: Path, material: Material | None = None
) -> Iterator[Item]:
    """The changes of one step, each from the world as the one before has left it.

    A chart is fetched once, into `folder`. Raises UsageError or ToolError for a step that cannot
    be made.
    """
    made = _Steps(plan, world, folder, material or Material())
    for item in made.of(step):
        yield replace(item, given=True) if isinstance(item, Change) else item


def ready(plan: RunPlan, world: World, folder: Path, material: Material | None = None) -> None:
    """See before the first step that each can be made: releases and charts are there, files hold
    what they should. Raises UsageError for one that cannot, and UnreachableError."""
    made = _Steps(plan, world, folder, material or Material())
    for step in plan.playbook.steps:
        try:
            made.see(step)
        except ToolError as error:
            raise UsageError(str(error), error.hint) from error


def local_chart(plan: RunPlan, chart: str) -> Path | None:
    """A folder or archive; None for what Helm pulls. A path in the playbook counts from its
    folder, one that --set has given from where the user stands. Raises UsageError where there is
    none."""
    known = plan.playbook.inputs
    given = any(
        value == chart and value != known[key].default
        for key, value in plan.inputs.items()
        if key in known
    )
    path = (Path.cwd() if given else Path(plan.folder)) / Path(chart).expanduser()
    if "://" not in chart and path.exists():
        return path.resolve()
    if chart.startswith((".", "/", "~")) or chart.endswith(".tgz") and "://" not in chart:
        raise UsageError(f"no such chart: {path}")
    return None


@dataclass
class _Steps:
    plan: RunPlan
    world: World
    folder: Path
    material: Material
    namespace: str = field(init=False)  # of what names none

    def __post_init__(self) -> None:
        spaces = self.plan.playbook.scope.namespaces
        self.namespace = spaces[0] if len(spaces) == 1 else ""

    def of(self, step: Step) -> Iterator[Item]:
        if step.helm_upgrade:
            yield from self._upgrade(step.helm_upgrade)
        elif step.helm_rollback:
            yield self._rollback(step.helm_rollback)
        elif step.kubectl_apply:
            yield from self._apply(step.kubectl_apply)
        elif step.set_image:
            yield self._set_image(step.set_image)
        elif wait := step.wait_for_rollout:
            target = targets.parse(wait.target, self.namespace) if wait.target else None
            yield WaitFor(target, float(wait.within))

    def see(self, step: Step) -> None:
        if upgrade := step.helm_upgrade:
            self.history(upgrade)
            self.chart(upgrade)
            self.values(upgrade, {})
        elif step.helm_rollback:
            self.history(step.helm_rollback)
        elif step.kubectl_apply:
            self.manifests(step.kubectl_apply)

    # --- Helm -------------------------------------------------------------------------------

    def _upgrade(self, step: HelmUpgrade) -> Iterator[Item]:
        chart, history = self.chart(step), self.history(step)
        wanted = self.values(step, {})  # whatever is wrong with them is said before all else
        if history[-1].status in PENDING:
            yield self._freed(step, history)
            history = self.history(step)
        base, release = _last_deployed(step, history), self._release(step)
        wanted = self.values(step, self.world.helm.values(release, base.number))
        name = f"{chart.name}-{chart.version}"
        change = Change(
            ChangeKind.HELM_UPGRADE,
            release.ref,
            before={REVISION: history[-1].number, CHART: base.chart},
            after={
                CHART: name,
                DIGEST: chart.digest,
                PATH: str(chart.path),
                VALUES: wanted,
                TIMEOUT: float(step.timeout),
            },
            why=f"a step of {self.plan.playbook.name}: chart {one_line(step.chart)}",
            expects=f"release {release.name} runs {name}",
            from_revision=base.number,
        )
        yield self._unless_there(change, history[-1])

    def _unless_there(self, change: Change, newest: Revision) -> Item:
        """The change, or that there is none: the same chart and values, and in the cluster all
        that they make."""
        same = newest.status == "deployed" and newest.chart == change.after[CHART]
        if not same or self.world.helm.values(release_of(change)) != change.after[VALUES]:
            return change
        seen = effect(self.world, change)
        if seen.differences or seen.gaps:
            return change
        return f"{change.target} has all of it already: {spoken(newest)}; nothing is changed"

    def _freed(self, step: HelmUpgrade, history: Sequence[Revision]) -> Change:
        """Away with an operation that Helm began and nobody ended, always asked for."""
        why = "Helm refuses an upgrade until what is under way has ended"
        back = _last_deployed(step, history).number
        return helm_rollback(self._release(step), history, back, why, float(step.timeout))

    def _rollback(self, step: HelmRollback) -> Item:
        history, why = self.history(step), f"a step of {self.plan.playbook.name}"
        release, newest = self._release(step), history[-1]
        change = helm_rollback(release, history, step.revision, why, float(step.timeout))
        same = newest.status == "deployed" and change.revision == newest.number
        if same and not effect(self.world, change).differences:
            return f"{change.target} is there already: {spoken(newest)}; nothing is changed"
        return change

    def history(self, step: HelmUpgrade | HelmRollback) -> Sequence[Revision]:
        release = self._release(step)
        try:
            found = self.world.helm.history(release)
        except NotFound as error:
            raise UsageError(
                f"no release in namespace {release.namespace} is called: {release.name}",
                hint="a playbook upgrades what is there: helm install it first",
            ) from error
        return found

    def chart(self, step: HelmUpgrade) -> Chart:
        """A copy in the run's folder, so that a run that is taken up again finds the very same;
        in a matrix it is one of the first cluster's."""
        local = local_chart(self.plan, step.chart)
        reference = str(local or step.chart)
        about = hashlib.sha256(f"{step.chart} {step.version}".encode()).hexdigest()[:12]
        mine, fetch = self.folder / "charts" / about, self.world.helm.fetch
        if known := sorted(mine.glob("[!.]*")):
            return fetch(str(known[0]), "", mine)
        first = self.material.once(
            ("chart", reference, step.version), lambda: fetch(reference, step.version, mine)
        )
        if first.path.is_relative_to(mine):
            return first
        found = fetch(str(first.path), "", mine)
        if found.digest != first.digest:
            raise ToolError(f"the chart that another cluster got has changed since: {first.path}")
        return found

    def values(self, step: HelmUpgrade, old: Mapping[str, Json]) -> dict[str, Json]:
        """Those it has, then the files in order, then the single ones."""
        result = dict(old)
        for name in step.values:
            file = self._beside(name)
            data = self.material.once(("file", str(file)), partial(_bytes, file))
            result = values.merged(result, values.read(name, data))
        for path, value in step.set.items():
            result = values.with_set(result, path, value)
        return result

    def _release(self, step: HelmUpgrade | HelmRollback) -> Release:
        if not (namespace := step.namespace or self.namespace):
            raise UsageError(f"say in which namespace the release is: {step.release}")
        return Release(namespace, step.release)

    # --- objects ----------------------------------------------------------------------------

    def _apply(self, step: KubectlApply) -> Iterator[Item]:
        why = f"a step of {self.plan.playbook.name}: {step.path}"
        for each in self.manifests(step):
            same = f"{ref(each)} is so already; nothing is changed"
            yield applied(self.world.cluster, each, why) or same

    def manifests(self, step: KubectlApply) -> list[Object]:
        return self.material.once(("manifests", step.path), partial(self._manifests, step))

    def _manifests(self, step: KubectlApply) -> list[Object]:
        """As `kubectl apply` takes them: of a folder with a kustomization what that builds, of
        another one the files directly in it; what others need first."""
        path, tree = self._beside(step.path), FolderTree(Path(self.plan.folder))
        inside = PurePosixPath(step.path).as_posix()
        found = find(tree, ["**"] if path.is_dir() else [inside])
        built = Kustomizations(tree, found)
        try:
            if inside in built.layers:
                made = list(built.whole(inside))
            else:
                made = [each.object for each in found.documents if _directly(each.path, inside)]
        except ChangeRefused as error:
            raise UsageError(str(error)) from error
        if problems := [each for each in found.problems if _directly(each.split(":")[0], inside)]:
            raise UsageError(problems[0])
        if not made:
            raise UsageError(f"no manifests: {step.path}")
        manifests = [manifest(each, self.namespace) for each in made]
        if lost := [each for each in manifests if each["metadata"].get("namespace") == ""]:
            raise UsageError(f"{ref(lost[0])} names no namespace, and the scope has several")
        return sorted(manifests, key=lambda each: each["kind"] not in _FIRST)

    def _set_image(self, step: SetImage) -> Item:
        live = targets.find_one(
            self.world.cluster,
            step.target,
            self.namespace,
            "Deployment",
            "StatefulSet",
            "DaemonSet",
        )
        wanted, chosen = one_container(live, step.container)
        if chosen["image"] == step.image:
            return f"{ref(live)} runs {one_line(step.image)} already; nothing is changed"
        chosen["image"] = step.image
        why = f"a step of {self.plan.playbook.name}"
        expects = f"new pods whose {chosen['name']} runs {one_line(step.image)}"
        kind = ChangeKind.SET_IMAGE
        return propose(self.world.cluster, kind, live, wanted, why, expects)

    def _beside(self, path: str) -> Path:
        """A file or folder of the playbook's own. Raises UsageError for any other."""
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise UsageError(f"only files beside the playbook: {one_line(path)}")
        folder = Path(self.plan.folder)
        if not (found := folder / path).exists():
            raise UsageError(f"no such file: {found}")
        if not found.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"only files beside the playbook: {one_line(path)} leads out of it")
        return found


# --- helpers --------------------------------------------------------------------------------


def _last_deployed(step: HelmUpgrade, history: Sequence[Revision]) -> Revision:
    if (found := deployed(history)) is None:
        raise ToolError(f"release {step.release} was never deployed: {spoken(history[-1])}")
    return found


def _directly(path: str, folder: str) -> bool:
    """Whether a file is the one that is meant, or one directly in that folder."""
    return path == folder or (path.rpartition("/")[0] or ".") == folder


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read: {path}: {error.strerror}") from error
