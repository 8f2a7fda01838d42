"""What a patch may change of a repository: which branch, which files, how many lines."""

from collections.abc import Iterator, Sequence

from smoldebug.playbook.models import Limits, Tools
from smoldebug.records import Change, ChangeKind, FileChange, Surroundings
from smoldebug.sources.globs import matches
from smoldebug.untrusted import one_line


def forbidden(change: Change, tools: Tools) -> str:
    """Why the playbook does not let a branch be pushed or a pull request be opened, or ""."""
    if tools.git is None:
        return "this playbook changes no repository: it has no tools.git block"
    if change.kind is ChangeKind.PULL_REQUEST and tools.pull_request is None:
        return "this playbook opens no pull request: it has no tools.pull_request block"
    if change.target.name != tools.git.branch:
        return f"the playbook's branch is {tools.git.branch}, not {change.target.name}"
    return ""


def misplaced(change: Change, around: Surroundings, paths: Sequence[str]) -> str:
    """The first file outside `scope.paths`, in a sentence; "" when all are inside."""
    if change.kind is not ChangeKind.GIT_COMMIT:
        return ""
    if not paths:
        return "the playbook names no files that may change: scope.paths"
    for each in around.files:
        if not matches(each.path, paths):
            return f"outside scope.paths: {one_line(each.path, 200)}"
    return ""


def over(around: Surroundings, limits: Limits) -> Iterator[str]:
    """Every limit on files and lines that a commit goes over."""
    if len(around.files) > limits.files:
        yield f"it would change {len(around.files)} files, limits.files is {limits.files}"
    most = limits.changed_lines_per_container
    edited = (each for each in around.files if each.status != "added")  # a new one is all new
    for each in edited if most else ():
        if _lines(each) > most * max(each.containers, 1):
            yield (
                f"{one_line(each.path, 200)} changes {_lines(each)} lines in "
                f"{max(each.containers, 1)} containers, "
                f"limits.changed_lines_per_container is {most}"
            )


def _lines(file: FileChange) -> int:
    """Lines a reviewer reads as changed: a replaced one counts once."""
    return max(file.added, file.removed)
