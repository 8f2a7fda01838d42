"""What is allowed in a playbook with steps, or with a matrix, but probably not meant."""

import math
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from smoldebug.guard.guard import covers
from smoldebug.playbook.base import Duration
from smoldebug.playbook.models import Playbook
from smoldebug.playbook.upgraderules import KINDS_OF, actions_of
from smoldebug.playbook.upgrades import Matrix
from smoldebug.preview.upgrades import TAKES_BACK
from smoldebug.records import ChangeKind, ObjectRef

Warn = Callable[[str, str], None]  # (dotted path, what is doubtful)


def upgrades(playbook: Playbook, warn: Warn) -> None:
    matrix = playbook.matrix
    if matrix is None and playbook.on_failure_others == "rollback":
        warn("on_failure_others", "has no effect: without a matrix there is one cluster")
    if matrix and not playbook.steps:
        warn("matrix", "has no effect: only a playbook with steps is run in several clusters")
    if not playbook.steps:
        return
    if matrix:
        _clusters(playbook, matrix, warn)
    _windows(playbook, warn)
    _changes(playbook, warn)


def _clusters(playbook: Playbook, matrix: Matrix, warn: Warn) -> None:
    number = len(matrix.cluster)
    if matrix.stop_after_failures > number:
        more = f"{matrix.stop_after_failures} can never fail: it has {number}"
        warn("matrix.stop_after_failures", f"{more}; 0 says that all are tried")
    if matrix.parallel > number:
        warn("matrix.parallel", f"{matrix.parallel} at a time, and it has {number}")
    before = (math.ceil(number / matrix.parallel) - 1) * _least(playbook)
    if matrix.wall and 0 < before >= matrix.wall:
        says = f"{matrix.wall} is over before the last cluster can begin: at {Duration(before)}"
        warn("matrix.wall", says)
    if playbook.on_failure_others == "rollback" and playbook.on_failure not in TAKES_BACK:
        says = f"rollback has no effect: on_failure is {playbook.on_failure}"
        warn("on_failure_others", says)
    patterns = playbook.allow_auto_when.get("cluster", [])
    named = any(fnmatchcase(each, pattern) for each in matrix.cluster for pattern in patterns)
    if patterns and not named and playbook.approval == "auto":
        warn("allow_auto_when.cluster", "matches no cluster of the matrix: each one asks")


def _windows(playbook: Playbook, warn: Warn) -> None:
    """A run's deadlines count from its start, so its baseline is within them."""
    goal, wall = playbook.goal, playbook.limits.wall
    for key, bound in (("goal.within", goal.within), ("limits.wall", wall)):
        if bound and bound < _least(playbook):
            parts = f"baseline.for and goal.for: {Duration(_least(playbook))}"
            warn(key, f"{bound} is over before {parts}")


def _least(playbook: Playbook) -> float:
    """Seconds that a run takes at least that ends as met."""
    baseline = playbook.baseline.for_ if playbook.baseline else 0.0
    return baseline + playbook.goal.for_


def _changes(playbook: Playbook, warn: Warn) -> None:
    change, targets = playbook.tools.change, dict(_targets(playbook))
    if change is None:
        return
    for key, target in targets.items():
        if not any(covers(each, target) for each in change.targets):
            warn(key, f"will be refused: {target} is not in tools.change.targets")
    if len({*targets.values()}) > playbook.limits.changes:
        says = f"{playbook.limits.changes} is less than the steps change: {len(targets)}"
        warn("limits.changes", says)
    made = {KINDS_OF.get(action) for step in playbook.steps for action, _ in actions_of(step)}
    made |= {ChangeKind.HELM_ROLLBACK} if ChangeKind.HELM_UPGRADE in made else set()
    made |= {ChangeKind.CREATE_OBJECT} if ChangeKind.APPLY_OBJECT in made else set()
    for kind in change.allow:
        if kind not in made:
            warn("tools.change.allow", f"{kind} is no step of it, and nobody else changes anything")


def _targets(playbook: Playbook) -> Iterator[tuple[str, ObjectRef]]:
    """What the steps change, by their place; what manifests say is not known here."""
    for index, step in enumerate(playbook.steps):
        helm = step.helm_upgrade or step.helm_rollback
        if helm:
            yield f"steps[{index}]", ObjectRef("HelmRelease", helm.namespace, helm.release)
        elif step.set_image:
            yield f"steps[{index}]", ObjectRef.parse(step.set_image.target)
