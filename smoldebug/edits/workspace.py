"""What a run is about to propose: the files of its branch as they are to become."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from smoldebug.playbook.patches import GitTool
from smoldebug.sources.repository import Repository, Tree, TreeEntry


class Overlay:
    """A tree with some files replaced, as they are when it is made."""

    def __init__(self, tree: Tree, files: Mapping[str, bytes]) -> None:
        self._tree, self._changed = tree, dict(files)

    def files(self) -> Mapping[str, TreeEntry]:
        return self._entries

    @cached_property
    def _entries(self) -> Mapping[str, TreeEntry]:
        new = {path: TreeEntry("file", len(data)) for path, data in self._changed.items()}
        return dict(sorted({**self._tree.files(), **new}.items()))

    def read(self, path: str) -> bytes:
        return self._changed[path] if path in self._changed else self._tree.read(path)


class Workspace:
    """Edits in a run's own clone, by code or by a model's tools. Nothing here leaves the clone.

    `files` are those that differ from `start`, the commit the next one builds on: what the run has
    pushed last, once it has; `touched` are all that the run has ever edited. `set_by_model` are the
    fields that no playbook asked for, by object: the guard wants to know where values come from.
    """

    def __init__(self, repository: Repository, git: GitTool) -> None:
        self.repository, self._git = repository, git
        self.files: dict[str, bytes] = {}
        self.touched: set[str] = set()
        self.set_by_model: dict[str, set[str]] = {}
        self._start = self._pushed = ""

    @property
    def start(self) -> str:
        pushed = self.repository.proposed
        if not self._start or pushed != self._pushed:  # also one that was taken back
            self._start, self._pushed = pushed or self.repository.start(), pushed
            self.files = {}
        return self._start

    @property
    def before(self) -> Tree:
        """The files of `start`."""
        return self.repository.tree(self.start)

    @property
    def tree(self) -> Tree:
        """The files as they are now."""
        return Overlay(self.before, self.files)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Replace files; one that is again as it was is no change."""
        before = self.before
        known = before.files()
        for path, data in files.items():
            if path in known and before.read(path) == data:
                self.files.pop(path, None)
            else:
                self.files[path] = data
                self.touched.add(path)

    def commit(self, message: Callable[[tuple[str, ...]], str]) -> str:
        """The newest of the commits that hold all of it; `message` gets the paths of each one."""
        commit = self.start
        for batch in self._batches():
            commit = self.repository.commit(commit, batch, message(tuple(batch)))
        return commit

    def _batches(self) -> Iterator[dict[str, bytes]]:
        if self._git.commit_per == "file":
            yield from ({path: data} for path, data in sorted(self.files.items()))
        elif self.files:
            yield dict(sorted(self.files.items()))
