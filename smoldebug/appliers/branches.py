"""git-commit: moves the run's branch on the remote. pull-request: opens, updates or closes it.

The commit is made in the run's own clone before anybody is asked; its id stands for every byte of
it, so an approval of the id is one of exactly that diff. Undo moves the branch back (or away), and
closes the pull request.

`/tip` is where the branch stands, absent where it is not there; `/start`, before, the commit that
the new ones are made on; `/set/OBJECT/FIELD` what a model wants there. The uid of both kinds is the
repository's address: a yes is for one.
"""

import shlex

from smoldebug.appliers.protocol import Preview
from smoldebug.edits.documents import find
from smoldebug.edits.fields import containers_changed
from smoldebug.errors import ChangeRefused, Conflict, NotFound
from smoldebug.records import Change, FileChange, PullRequest, Surroundings
from smoldebug.sources.repository import Forge, PullRequestText, Repository, Tree
from smoldebug.sources.world import World
from smoldebug.untrusted import one_line

TIP, START, SET = "/tip", "/start", "/set"
COMMENT = "/comment"


class BranchApplier:
    def __init__(self, world: World) -> None:
        self._world = world

    def look(self, change: Change) -> Surroundings:
        """The files of the commit. Raises ChangeRefused for a branch that is protected."""
        repository, forge = _repository(self._world, change), self._world.forge
        if forge is not None and forge.protected(repository.branch):
            raise ChangeRefused(f"the branch is protected: {repository.branch}")
        old, new = _range(change)
        files = tuple(
            _counted(each, repository.tree(old), repository.tree(new))
            for each in repository.files_changed(old, new)
        )
        model_set_some = any(pointer.startswith(f"{SET}/") for pointer in change.after)
        known = find(repository.tree(old), ["**"]).documents if model_set_some else ()
        return Surroundings(files=files, typed=tuple(each.object for each in known))

    def preview(self, change: Change, note: str, *, ask: bool = True) -> Preview:
        repository, (old, new) = _repository(self._world, change), _range(change)
        tip = change.after.get(TIP, "")
        # The commit is in the clone only
        push = f"git -C {shlex.quote(repository.folder)} push {repository.url}"
        command = f"{push} {tip[:12]}:refs/heads/{repository.branch}"
        if not tip:
            command = f"{push} --delete refs/heads/{repository.branch}"
            return Preview(f"the branch is deleted; it stands at {old[:12]}", "", command)
        said = "not asked"
        if ask:
            repository.push(tip, change.before.get(TIP, ""), dry_run=True)
            said = "accepted"
        return Preview(repository.diff(old, new), said, command)

    def renewed(self, change: Change) -> Change | None:
        return None  # a commit on top of another one is another commit

    def apply(self, change: Change, note: str) -> str:
        repository = _repository(self._world, change)
        new, old = change.after.get(TIP, ""), change.before.get(TIP, "")
        try:
            repository.push(new, old)
        except Conflict:  # git sends a push again whose answer was lost
            if repository.tip() != new:
                raise
        moved = f"{old[:7] or 'new'}→{new[:7] or 'deleted'}"
        return f"branch {repository.branch} of {repository.name} {moved}"

    def holds(self, change: Change, note: str) -> bool:
        repository, wanted = _repository(self._world, change), change.after.get(TIP, "")
        if repository.tip() != wanted:
            return False
        repository.proposed = wanted  # also where the answer to the push was lost
        return True

    def drift(self, change: Change, note: str) -> str:
        ours, now = change.after.get(TIP, ""), _repository(self._world, change).tip()
        if now == ours:
            return ""
        stands = f"now {now[:7]}" if now else "now deleted"
        return f"branch {change.target.name}: ours {ours[:7]}, {stands}: somebody else moved it"


def _range(change: Change) -> tuple[str, str]:
    """The commits to compare: where the new ones begin, and where they end. Where the base branch
    stands now is another matter: what others have merged since is no part of this."""
    old, new = (side.get(START) or side[TIP] for side in (change.before, change.after))
    return old, new


def _repository(world: World, change: Change) -> Repository:
    """Raises ChangeRefused where another one is at that place now: a yes was for the old one."""
    repository = world.repository
    if change.uid != repository.url:
        raise ChangeRefused(f"it was made for {change.uid}, and now there is {repository.url}")
    return repository


def _counted(file: FileChange, old: Tree, new: Tree) -> FileChange:
    before = b"" if file.status == "added" else old.read(file.path)
    after = b"" if file.status == "deleted" else new.read(file.path)
    return FileChange(
        file.path, file.added, file.removed, containers_changed(before, after), file.status
    )


class PullRequestApplier:
    """`after` holds its fields; without any it is closed. `/comment` alone is a comment on it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._commented: dict[str, str] = {}  # by the change's note: what was written

    def look(self, change: Change) -> Surroundings:
        _repository(self._world, change)
        return Surroundings()

    def preview(self, change: Change, note: str, *, ask: bool = True) -> Preview:
        forge = self._forge(change)
        where = f"{forge.host}/{self._world.repository.name}"
        if COMMENT in change.after:
            return Preview(change.after[COMMENT], "", f"comment on the pull request at {where}")
        if not change.after:
            closed = forge.find(change.target.name)
            at = closed.url if closed else where
            return Preview("the pull request is closed", "", f"close the pull request {at}")
        text = _text(change)
        found = forge.find(text.branch)
        what = f"update #{found.number}" if _open(found) and found else "open"
        draft = "draft " if text.draft else ""
        lines = [f"{what} {draft}pull request: {text.title}", f"{text.branch} -> {text.base}"]
        for name in ("labels", "reviewers", "assignees"):
            if people := getattr(text, name):
                lines.append(f"{name}: {', '.join(people)}")
        command = f"pull request at {where}: {text.branch} into {text.base}"
        return Preview("\n".join([*lines, "", text.body]), "not supported by forges", command)

    def renewed(self, change: Change) -> Change | None:
        return None

    def apply(self, change: Change, note: str) -> str:
        forge = self._forge(change)
        found = forge.find(change.target.name)
        if COMMENT in {**change.before, **change.after}:
            return self._comment(forge, found, change, note)
        if not change.after:
            if found is None:
                raise NotFound(f"no pull request of branch {change.target.name}")
            forge.close(found.number)
            return f"closed {found.url}"
        told, text = len(forge.notes), _text(change)
        if found is not None and _open(found):
            done = f"updated {forge.update(found.number, text).url}"
        else:
            done = f"opened {forge.open(text).url}"
        return "; ".join([*forge.notes[told:], done])

    def holds(self, change: Change, note: str) -> bool:
        if COMMENT in {**change.before, **change.after}:
            return note in self._commented
        found = self._forge(change).find(change.target.name)
        if not change.after:  # a merged one is not gone
            return found is None or found.state == "closed"
        return found is not None and _open(found) and _same(found.body, change.after["/body"])

    def drift(self, change: Change, note: str) -> str:
        if COMMENT in change.after:
            return ""
        found = self._forge(change).find(change.target.name)
        if found is None or not _open(found):
            state = found.state if found else "gone"
            return f"the pull request is {state}: what it brought is reverted by another one"
        if not _same(found.body, change.after["/body"]):
            return f"somebody else edited it: {found.url}"
        return ""

    def _comment(self, forge: Forge, found: PullRequest | None, change: Change, note: str) -> str:
        if found is None:
            raise NotFound(f"no pull request of branch {change.target.name}")
        body = change.after.get(COMMENT, "Withdrawn: what it was about was taken back.")
        forge.comment(found.number, body, marker(note))
        self._commented[note] = body
        return f"commented on {found.url}"

    def _forge(self, change: Change) -> Forge:
        _repository(self._world, change)
        forge = self._world.forge
        if forge is None:
            raise ChangeRefused("no forge is known for this repository: open it by hand")
        return forge


def marker(note: str) -> str:
    """An HTML comment that tells the comments of a run from all others, whatever change it is."""
    return f"<!-- smoldebug {one_line(note, 80).split(' ')[0]} -->"


def _text(change: Change) -> PullRequestText:
    after = change.after
    return PullRequestText(
        base=after["/base"],
        branch=change.target.name,
        title=after["/title"],
        body=after["/body"],
        draft=bool(after.get("/draft")),
        labels=tuple(after.get("/labels", ())),
        reviewers=tuple(after.get("/reviewers", ())),
        assignees=tuple(after.get("/assignees", ())),
    )


def _open(found: PullRequest | None) -> bool:
    return found is not None and found.state == "open"


def _same(one: str, other: str) -> bool:
    """Forges turn line ends into their own and cut white space at the end."""
    return one.replace("\r\n", "\n").strip() == other.replace("\r\n", "\n").strip()
