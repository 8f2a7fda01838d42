"""A run's clone of a Git repository and the forge it belongs to: the seams, as protocols."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smoldebug.records import CheckRun, FileChange, PullRequest


class Tree(Protocol):
    """The files of one commit."""

    def files(self) -> Mapping[str, "TreeEntry"]:
        """By path from the repository's root, in Git's order."""
        ...

    def read(self, path: str) -> bytes:
        """Raises NotFound where there is no such file."""
        ...


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """`kind` is file, link (symbolic) or submodule; only files are ever read or written."""

    kind: str
    size: int  # bytes


class Repository(Protocol):
    """A run's own clone of one Git repository, opened on first use; never the user's checkout.

    All may raise UsageError (no such repository, refused URL), AccessDenied, UnreachableError.
    """

    name: str  # "shop/manifests": for people
    url: str  # of the remote, without credentials; "" when there is none
    folder: str  # of the clone, where its commits are
    base: str  # branch that patches start from
    branch: str  # the run's own
    proposed: str  # the commit that this run pushed last, or wrote as patch files; "" before

    def base_commit(self) -> str:
        """Where the base branch stood when the clone was opened (40 hex digits)."""
        ...

    def tip(self) -> str:
        """Where the run's branch stands on the remote now; "" when it is not there."""
        ...

    def start(self) -> str:
        """The commit a patch builds on: the branch's tip, or the base where the branch is not
        there or all of it is in the base already."""
        ...

    def tree(self, commit: str) -> Tree: ...

    def commit(self, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """A commit in the clone with these files in place of the parent's. Author, sign-off,
        signature and hooks are the user's. Raises ChangeRefused with a hook's words when one says
        no."""
        ...

    def files_changed(self, old: str, new: str) -> tuple[FileChange, ...]: ...

    def diff(self, old: str, new: str) -> str:
        """Unified, for people."""
        ...

    def within(self, ancestor: str, commit: str) -> bool:
        """Whether a commit contains another."""
        ...

    def push(self, commit: str, expected: str, *, dry_run: bool = False) -> None:
        """Move the branch on the remote from `expected` ("": not there) to `commit` ("": away).
        Raises Conflict when it stands elsewhere, ChangeRefused when it is protected or a hook
        says no."""
        ...

    def format_patches(self, old: str, new: str, folder: Path) -> list[Path]:
        """`git format-patch` files, for a repository without a remote."""
        ...


@dataclass(frozen=True, slots=True)
class PullRequestText:
    """What is asked of a forge."""

    base: str
    branch: str
    title: str
    body: str
    draft: bool = True
    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()  # user names, or org/team
    assignees: tuple[str, ...] = ()


class Forge(Protocol):
    """Where pull requests are opened: GitHub, GitLab, Gitea or Forgejo. Every method has a time
    limit and raises AccessDenied (401, 403, with the permission it needs), NotFound, ChangeRefused
    (any other clear no), UnreachableError (network, 5xx, a rate limit that does not end soon)."""

    kind: str  # github | gitlab | gitea
    host: str
    notes: list[str]  # what could not be added to a pull request (a label, a reviewer), for people

    def find(self, branch: str) -> PullRequest | None:
        """The open one of this branch, else the newest that was."""
        ...

    def open(self, text: PullRequestText) -> PullRequest: ...

    def update(self, number: int, text: PullRequestText) -> PullRequest:
        """Title, body, labels, reviewers, assignees; labels and people are added, never removed."""
        ...

    def close(self, number: int) -> None: ...

    def checks(self, commit: str) -> tuple[CheckRun, ...]:
        """Check runs and commit statuses, each name once (the newest)."""
        ...

    def comment(self, number: int, body: str, marker: str) -> None:
        """Write the comment that holds `marker` (an HTML comment), or replace it."""
        ...

    def protected(self, branch: str) -> bool: ...

    def compare_url(self, base: str, branch: str) -> str:
        """Where a person opens the pull request by hand; "" when there is no such page."""
        ...
