"""What a run is about to propose: the files of its branch as they are to become."""

from collections.abc import Callable, Iterator, Mapping

from smoldebug.playbook.patches import GitTool
from smoldebug.records import Json
from smoldebug.sources.repository import Repository, Tree, TreeEntry


class Overlay:
    """A tree with some files replaced."""

    def __init__(self, tree: Tree, files: Mapping[str, bytes]) -> None:
        self._tree, self._changed = tree, files

    def files(self) -> Mapping[str, TreeEntry]:
        new = {path: TreeEntry("file", len(data)) for path, data in self._changed.items()}
        return dict(sorted({**self._tree.files(), **new}.items()))

    def read(self, path: str) -> bytes:
        return self._changed[path] if path in self._changed else self._tree.read(path)


class Workspace:
    """Edits in a run's own clone, by code or by a model's tools. Nothing here leaves the clone.

    `files` are those that differ from `start`, the commit the patch builds on. `set_by_model` are
    the values that no playbook asked for, by file and field: the guard wants to know their origin.
    """

    def __init__(self, repository: Repository, git: GitTool) -> None:
        self.repository, self._git = repository, git
        self.files: dict[str, bytes] = {}
        self.set_by_model: dict[str, dict[str, Json]] = {}
        self._start = ""

    @property
    def start(self) -> str:
        if not self._start:
            self._start = self.repository.start()
        return self._start

    @property
    def tree(self) -> Tree:
        """The files as they are now."""
        return Overlay(self.repository.tree(self.start), self.files)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Replace files; one that is again as it was is no change."""
        before = self.repository.tree(self.start)
        known = before.files()
        for path, data in files.items():
            if path in known and before.read(path) == data:
                self.files.pop(path, None)
            else:
                self.files[path] = data

    def commit(self, message: Callable[[tuple[str, ...]], str]) -> str:
        """The newest of the commits that hold all of it; `message` gets the paths of each one."""
        commit = self.start
        for batch in self._batches():
            commit = self.repository.commit(commit, batch, message(tuple(batch)))
        self.repository.proposed = commit
        return commit

    def _batches(self) -> Iterator[dict[str, bytes]]:
        if self._git.commit_per == "file":
            yield from ({path: data} for path, data in sorted(self.files.items()))
        elif self.files:
            yield dict(sorted(self.files.items()))
