"""The files below a folder on this machine, as a `Tree`: manifests beside a playbook."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from smoldebug.errors import NotFound
from smoldebug.sources.repository import TreeEntry


class FolderTree:
    """Paths with slashes. Links lead nowhere, and hidden folders are left out."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self) -> Mapping[str, TreeEntry]:
        return self._entries

    def read(self, path: str) -> bytes:
        if self._entries.get(path, TreeEntry("", 0)).kind != "file":
            raise NotFound(f"no such file: {path}")
        return (self._root / path).read_bytes()

    @cached_property
    def _entries(self) -> dict[str, TreeEntry]:
        found = {}
        for folder, inside, names in os.walk(self._root):
            inside[:] = sorted(each for each in inside if not each.startswith("."))
            for name in names:
                path = Path(folder, name)
                kind = "link" if path.is_symlink() else "file"
                size = path.lstat().st_size
                found[path.relative_to(self._root).as_posix()] = TreeEntry(kind, size)
        return dict(sorted(found.items()))
