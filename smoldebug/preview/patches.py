"""What a playbook may do in a Git repository and at its forge, in plain English."""

from collections.abc import Iterator

from smoldebug.edits.documents import described
from smoldebug.playbook.models import Playbook
from smoldebug.playbook.patches import Edit, GitTool, PullRequestTool, Select
from smoldebug.playbook.patchrules import actions_of, manifests_of
from smoldebug.playbook.rules import checks_of
from smoldebug.pull_request import does
from smoldebug.records import ChangeKind
from smoldebug.signals.words import count
from smoldebug.sources.forge.site import NAMES

_IF_DIFFERENT = {
    "stop-and-ask": "; where another value stands, the approval card warns of it",
    "overwrite": "; also where another value stands",
    "skip": "; not where another value stands",
}
_INCLUDED = {"init": "init containers", "sidecars": "sidecars"}


def kinds(playbook: Playbook) -> list[ChangeKind]:
    """Kinds of change that the playbook can make of a repository."""
    if playbook.tools.git is None:
        return []
    request = _request(playbook)
    return [ChangeKind.GIT_COMMIT, *([ChangeKind.PULL_REQUEST] if request else [])]


def reads(playbook: Playbook) -> Iterator[str]:
    checks = list(checks_of([*playbook.goal.all, *playbook.goal.any]))
    known = [(each.repo, each.paths) for each in manifests_of(checks)]
    known += [(each.edited.repo, ()) for each in checks if each.edited]
    if not known and playbook.tools.git is None:
        return
    repo, paths = known[0] if known else (".", ())
    where = "of the current folder" if repo == "." else repo
    below = f", {', '.join(paths)}" if paths else ""
    yield f"the repository {where}{below}, in the run's own clone"


def changes(playbook: Playbook) -> Iterator[str]:
    git, limits, request = playbook.tools.git, playbook.limits, _request(playbook)
    if git is None:
        return
    if not playbook.edits:
        yield "in the repository: the edits of --from-run, or those that a model proposes"
    yield from (_edit(edit, playbook) for edit in playbook.edits)
    paths, most = playbook.scope.paths, limits.changed_lines_per_container
    if not paths:
        yield "no file may be changed: scope.paths names none"
        return
    lines = f", {count(most, 'changed line')} per container" if most else ""
    where = "in any file" if "**" in paths else f"only in {', '.join(paths)}"
    yield f"{where}; at most {count(limits.files, 'file')}{lines}"
    yield _branch(git)
    yield _opened(request) if request else "no pull request: you get the link to open one"


def asks(playbook: Playbook, approval: str, by: str) -> Iterator[str]:
    """Who is asked; `approval` is the strictest that is in force."""
    what = "branch and pull request" if _request(playbook) else "the branch"
    if approval == "ask":
        yield f"you, once for {what}, with the whole diff, before anything is pushed{by}"
        return
    yield f"nobody, for {what}"
    if any(_if_different(edit) == "stop-and-ask" for edit in playbook.edits):
        yield "you, where another value stands than the one to set"


def failure(playbook: Playbook) -> str:
    request = _request(playbook)
    what = "the pull request is closed and its branch" if request else "the branch is"
    if playbook.on_failure == "undo":
        return f"{what} taken back"
    told = " and the pull request stay; a comment on it says which checks failed"
    return f"the branch{told if request else ' stays'}; smoldebug undo takes all of it back"


def _request(playbook: Playbook) -> PullRequestTool | None:
    request = playbook.tools.pull_request
    return request if request and request.forge != "none" else None


def _edit(edit: Edit, playbook: Playbook) -> str:
    checks = manifests_of(list(checks_of([*playbook.goal.all, *playbook.goal.any])))
    beside = next(iter(checks), None)
    select = edit.select or (beside.select if beside else Select(kind="object"))
    paths = edit.paths or (beside.paths if beside else ["**"])
    each = "" if select.name else "each "
    where = [f"{each}{described(select)} ({', '.join(paths)})"]
    (name,) = actions_of(edit)
    action = getattr(edit, name)
    if containers := getattr(action, "containers", ()):
        where.append(f"containers {', '.join(containers)}")
    where += [f"{_INCLUDED[one]} too" for one in getattr(action, "include", ())]
    return f"{does(edit)} in {', '.join(where)}{_IF_DIFFERENT.get(_if_different(edit), '')}"


def _if_different(edit: Edit) -> str:
    (action,) = actions_of(edit)
    return str(getattr(getattr(edit, action), "if_different", ""))


def _branch(git: GitTool) -> str:
    base = git.base or "the default branch"
    remote = f" of {git.remote}" if git.remote != "origin" else ""
    per = "a commit per file" if git.commit_per == "file" else "one commit"
    by = f" by {git.author}" if git.author else ""
    signed = ", signed off" if git.sign_off else ""
    hooks = ", your hooks are skipped" if git.hooks == "skip" else ""
    return f"pushed to branch {git.branch}{remote}, from {base}; {per}{by}{signed}{hooks}"


def _opened(request: PullRequestTool) -> str:
    where = f"on {NAMES[request.forge]}" if request.forge in NAMES else "at the remote's forge"
    where += f" at {request.host}" if request.host else ""
    owners = ["the files' owners"] if request.reviewers_from else []
    people = {
        "labels": request.labels,
        "reviewers": [*request.reviewers, *owners],
        "assignees": request.assignees,
    }
    told = "".join(f"; {name}: {', '.join(who)}" for name, who in people.items() if who)
    return f"{'draft ' if request.draft else ''}pull request {where}{told}"
