"""What is wrong with playbook files, and what is allowed but probably not meant."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from smoldebug.errors import PlaybookError, UsageError
from smoldebug.playbook.load import Draft, draft
from smoldebug.playbook.models import Playbook, RunPlan
from smoldebug.playbook.rules import checks_of
from smoldebug.playbook.tree import At, Problem, place
from smoldebug.preview.lint_upgrades import upgrades
from smoldebug.records import Json

Warn = Callable[[str, str], None]  # (dotted path, what is doubtful)


class Linted(msgspec.Struct, frozen=True):
    """One file: error lines, warning lines, and the parts this version does not run."""

    file: str
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()

    def json(self) -> Json:
        return msgspec.to_builtins(self)


def lint(path: Path) -> Linted:
    """All problems of one file. Required inputs need not be given."""
    try:
        read = draft(path)
    except (PlaybookError, UsageError) as error:
        return Linted(str(path), (str(error),))
    if read.plan is None:
        return Linted(read.file, tuple(problem.text(read.file) for problem in read.problems))
    problems = sorted(set(_warnings(read, read.plan, path)))
    return Linted(
        read.file,
        (),
        tuple(f"{place(read.file, p.at)} warning: {p.message}" for p in problems),
        read.plan.unsupported,
    )


def _warnings(read: Draft, plan: RunPlan, path: Path) -> list[Problem]:
    found: list[Problem] = []

    def warn(key: str, says: str) -> None:
        at = read.marks.get(key) or read.marks.get(key.partition(".")[0]) or At(1, 1)
        found.append(Problem(at, key, says))

    if plan.playbook.name != path.stem:
        warn("name", f"the file is called {path.stem}, and that is the name to run it by")
    for name in read.unused:
        if name != "incident" or plan.playbook.tools.git is None:  # told in every pull request
            warn(f"inputs.{name}", "is never used")
    _goal(plan.playbook, warn)
    _changes(plan.playbook, warn)
    _patches(plan.playbook, warn)
    upgrades(plan.playbook, warn)
    return found


def _goal(playbook: Playbook, warn: Warn) -> None:
    goal = playbook.goal
    checks = list(checks_of([*goal.all, *goal.any]))
    if all(check.restarts for check in checks) and not playbook.steps:
        warn("goal", "new restarts are counted from the start: this holds before anything is done")
    once = goal.consecutive == 1 and not goal.for_
    if once and any(check.http or check.tcp or check.metric or check.ratio for check in checks):
        warn("goal", "one lucky sample meets it: consecutive: 3 or for: 30s asks for more")
    if goal.within is None and playbook.limits.wall is None:
        ends = "nothing ends a run whose goal neither holds nor fails for good"
        ends = ends if playbook.steps else "only limits.max_steps ends a run that fails"
        warn("goal", f"has no deadline (within): {ends}")
    if goal.within and goal.every > goal.within:
        warn("goal.every", f"{goal.every} is longer than within: it is measured once")
    if goal.within and playbook.limits.wall and playbook.limits.wall < goal.within:
        warn("limits.wall", f"{playbook.limits.wall} ends a run before within does: {goal.within}")


def _changes(playbook: Playbook, warn: Warn) -> None:
    change = playbook.tools.change
    if change is None:
        if playbook.allow_without_undo:
            warn("allow_without_undo", "has no effect without tools.change")
        return
    for kind in playbook.allow_without_undo:
        if kind not in change.allow:
            warn("allow_without_undo", f"{kind} is not in tools.change.allow")
    if playbook.scope.cluster == "read-only":
        warn("tools.change", "has no effect: scope.cluster is read-only")
    if playbook.limits.changes == 0:
        warn("tools.change", "has no effect: limits.changes is 0")
    for index, target in _outside(playbook):
        warn(f"tools.change.targets[{index}]", f"{target} lies outside scope.namespaces")
    local = all(target.startswith("Process/") for target in change.targets)
    if playbook.approval == "auto" and not playbook.allow_auto_when and not local:
        warn(
            "approval", "auto holds in every cluster: allow_auto_when names the contexts it is for"
        )


def _patches(playbook: Playbook, warn: Warn) -> None:
    git, request, limits = playbook.tools.git, playbook.tools.pull_request, playbook.limits
    checks = list(checks_of([*playbook.goal.all, *playbook.goal.any]))
    waits = any(check.pull_request for check in checks)
    if git is None:
        return
    if not playbook.scope.paths:
        warn("tools.git", "has no effect: scope.paths names no files that may change")
    if limits.files == 0:
        warn("tools.git", "has no effect: limits.files is 0")
    if playbook.edits and not any(check.manifests or check.edited for check in checks):
        warn("edits", "are measured by nothing: `edited: {}` in the goal does")
    if waits and (request is None or request.forge == "none"):
        warn("goal", "its pull_request check waits for one that tools.pull_request does not open")
    if request and request.forge != "none" and not waits:
        warn("tools.pull_request", "is opened and not waited for: the goal has no pull_request")
    if playbook.tools.change is None and (limits.windows or limits.freezes):
        warn("limits", "windows and freezes hold no pull request back: whoever merges decides when")


def _outside(playbook: Playbook) -> Iterator[tuple[int, str]]:
    namespaces = playbook.scope.namespaces
    change = playbook.tools.change
    for index, target in enumerate(change.targets if change else ()):
        kind, *rest = target.split("/")
        if namespaces and len(rest) == 2 and kind != "Process" and rest[0] not in namespaces:
            yield index, target
