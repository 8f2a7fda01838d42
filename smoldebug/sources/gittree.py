"""The files of one commit, read from a clone's objects."""

import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePosixPath

from smoldebug.errors import NotFound, ToolError, UsageError
from smoldebug.sources.gitcommand import GitCommand
from smoldebug.sources.repository import TreeEntry
from smoldebug.untrusted import one_line, plain

_KINDS = {"120000": "link", "160000": "submodule"}


class CommitTree:
    """Implements `sources.repository.Tree`. Listed once; blobs come from one process that stays."""

    def __init__(self, git: GitCommand, lock: threading.RLock, commit: str) -> None:
        self._git, self._lock, self.commit = git, lock, commit

    def files(self) -> Mapping[str, TreeEntry]:
        return self._listing[0]

    def read(self, path: str) -> bytes:
        _, blob = self._object(path)
        with self._lock:  # of that process
            try:
                return bytes(self._git.git.get_object_data(blob)[3])
            except (ValueError, OSError):
                self._git.close()
                raise ToolError(f"the run's clone is damaged: {one_line(path)}") from None

    def mode_for(self, path: str) -> str:
        """Of a file to write: its own, or that of a plain new file. Raises UsageError where none
        can be: below a link, in place of a folder, outside the repository."""
        if path in self.files():
            return self._object(path)[0]
        pure = PurePosixPath(path)
        odd = str(pure) != path or pure.is_absolute() or path != plain(path) or "\n" in path
        if odd or any(part == ".." or part.lower() == ".git" for part in pure.parts):
            raise UsageError(f"not a path for a new file: {one_line(path)}")
        above = {str(parent) for parent in pure.parents}
        if any(name in above or name.startswith(f"{path}/") for name in self.files()):
            raise UsageError(f"a file here would take the place of another one: {one_line(path)}")
        return "100644"

    def _object(self, path: str) -> tuple[str, str]:
        """Mode and id of a file's content."""
        entry = self.files().get(path)
        if entry is None or entry.kind != "file":
            what = f"a {entry.kind}, not a file" if entry else "no such file"
            raise NotFound(f"{what} in {self.commit[:12]}: {one_line(path)}")
        return self._listing[1][path]

    @cached_property
    def _listing(self) -> tuple[dict[str, TreeEntry], dict[str, tuple[str, str]]]:
        words = ("-r", "-l", "-z", "--full-tree", "--end-of-options", self.commit)
        entries, objects = {}, {}
        for line in self._git.run("ls-tree", *words).split("\0")[:-1]:
            about, _, path = line.partition("\t")
            mode, _, name, size = about.split()
            entries[path] = TreeEntry(_KINDS.get(mode, "file"), int(size) if size != "-" else 0)
            objects[path] = (mode, name)
        return entries, objects
