"""A Git repository and a forge that live in memory, for tests: `fakes.py` has the other worlds."""

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from smoldebug.errors import ChangeRefused, Conflict
from smoldebug.records import CheckRun, FileChange, PullRequest
from smoldebug.sources.fakes import MemoryTree
from smoldebug.sources.repository import PullRequestText


class FakeRepository:
    """A Git repository in memory: `commits` are the files of each, `remote` its branches."""

    def __init__(
        self,
        contents: Mapping[str, bytes],
        *,
        branch: str = "smoldebug/patch",
        name: str = "shop/manifests",
        url: str = "https://git.example/shop/manifests.git",
    ) -> None:
        self.name, self.url, self.base, self.branch, self.proposed = name, url, "main", branch, ""
        self.folder = f"/clones/{name}"
        self.commits: dict[str, dict[str, bytes]] = {}
        self._parents: dict[str, str] = {}
        self.remote = {self.base: self._add("", contents)}

    def base_commit(self) -> str:
        return self.remote[self.base]

    def tip(self) -> str:
        return self.remote.get(self.branch, "")

    def start(self) -> str:
        tip, base = self.tip(), self.base_commit()
        return base if not tip or self.within(tip, base) else tip

    def tree(self, commit: str) -> MemoryTree:
        return MemoryTree(self.commits[commit])

    def commit(self, parent: str, files: Mapping[str, bytes], message: str) -> str:
        return self._add(parent, {**self.commits[parent], **files})

    def files_changed(self, old: str, new: str) -> tuple[FileChange, ...]:
        changes = []
        for path, was, now in self._differing(old, new):
            lines = list(difflib.ndiff(was or [], now or []))
            added, removed = (sum(line[:2] == mark for line in lines) for mark in ("+ ", "- "))
            status = "added" if was is None else "deleted" if now is None else "modified"
            changes.append(FileChange(path, added, removed, status=status))
        return tuple(changes)

    def diff(self, old: str, new: str) -> str:
        return "".join(
            line
            for path, was, now in self._differing(old, new)
            for line in difflib.unified_diff(was or [], now or [], f"a/{path}", f"b/{path}")
        )

    def within(self, ancestor: str, commit: str) -> bool:
        while commit and commit != ancestor:
            commit = self._parents[commit]
        return bool(commit)

    def push(self, commit: str, expected: str, *, dry_run: bool = False) -> None:
        if self.tip() != expected:
            raise Conflict(f"the branch stands elsewhere: {self.branch}")
        if commit and expected and not self._in_line(commit, expected):
            raise ChangeRefused(f"commits would be lost on {self.branch}")
        if not dry_run:
            self.proposed = commit
            moved = {**self.remote, self.branch: commit}
            self.remote = {branch: at for branch, at in moved.items() if at}

    def _in_line(self, one: str, other: str) -> bool:
        return self.within(one, other) or self.within(other, one)

    def format_patches(self, old: str, new: str, folder: Path) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "0001-patch.patch"
        path.write_text(self.diff(old, new), encoding="utf-8")
        self.proposed = new
        return [path]

    def _add(self, parent: str, contents: Mapping[str, bytes]) -> str:
        content = repr((parent, sorted(contents.items()))).encode()
        commit = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self.commits[commit], self._parents[commit] = dict(contents), parent
        return commit

    def _differing(
        self, old: str, new: str
    ) -> Iterator[tuple[str, list[str] | None, list[str] | None]]:
        was, now = (
            {path: data.decode().splitlines(keepends=True) for path, data in each.items()}
            for each in (self.commits[old], self.commits[new])
        )
        for path in sorted({**was, **now}):
            if was.get(path) != now.get(path):
                yield path, was.get(path), now.get(path)


class FakeForge:
    """Pull requests in memory; they follow the branches of a FakeRepository. `runs` are the checks
    of every commit, `pulls` may be changed between calls."""

    kind = "github"

    def __init__(
        self, repository: FakeRepository, runs: Sequence[CheckRun] = (), host: str = "git.example"
    ) -> None:
        self.repository, self.runs, self.host = repository, runs, host
        self.pulls: dict[int, PullRequest] = {}
        self.notes: list[str] = []
        self.comments: dict[tuple[int, str], str] = {}
        self.guarded = {repository.base}
        self._branches: dict[int, str] = {}

    def find(self, branch: str) -> PullRequest | None:
        mine = [self._now(number) for number in self.pulls if self._branches[number] == branch]
        still = [each for each in mine if each.state == "open"]
        return next(iter([*still[::-1], *mine[::-1]]), None)

    def open(self, text: PullRequestText) -> PullRequest:
        number = len(self.pulls) + 1
        url = f"https://{self.host}/{self.repository.name}/pull/{number}"
        head = self.repository.remote[text.branch]
        self.pulls[number] = PullRequest(number, url, "open", head, draft=text.draft)
        self._branches[number] = text.branch
        return self.update(number, text)

    def update(self, number: int, text: PullRequestText) -> PullRequest:
        old = self._now(number)
        labels = tuple(dict.fromkeys((*old.labels, *text.labels)))
        self.pulls[number] = replace(old, title=text.title, body=text.body, labels=labels)
        return self.pulls[number]

    def close(self, number: int) -> None:
        self.pulls[number] = replace(self._now(number), state="closed")

    def merge(self, number: int) -> None:
        """What a person does."""
        self.pulls[number] = replace(self._now(number), state="merged")

    def checks(self, commit: str) -> tuple[CheckRun, ...]:
        return tuple(self.runs)

    def comment(self, number: int, body: str, marker: str) -> None:
        self.comments[number, marker] = body

    def protected(self, branch: str) -> bool:
        return branch in self.guarded

    def compare_url(self, base: str, branch: str) -> str:
        return f"https://{self.host}/{self.repository.name}/compare/{base}...{branch}"

    def _now(self, number: int) -> PullRequest:
        """An open one stands where its branch does."""
        pull = self.pulls[number]
        head = self.repository.remote.get(self._branches[number], pull.head)
        return replace(pull, head=head) if pull.state == "open" else pull
