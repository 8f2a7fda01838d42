"""The user's hooks: which a commit and a push in a run's clone run, and from where."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from smoldebug.sources.gitcommand import Settings
from smoldebug.sources.gitorigin import Origin, work_tree

NAMES = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "pre-push")


class Hooks:
    """`files` are the paths of the base commit. A relative `core.hooksPath` (`.husky`) means the
    hooks that are tracked there, else the ones generated in the user's checkout."""

    def __init__(self, origin: Origin, files: Iterable[str], *, skip: bool) -> None:
        self.path, self.skip = Path(origin.hooks or os.devnull).expanduser(), skip
        inside = {str(PurePosixPath(self.path, name)): name for name in NAMES}
        tracked = {inside[path] for path in files if path in inside}
        if not tracked and not self.path.is_absolute() and origin.folder:
            self.path = work_tree(origin.folder) / self.path
        if not tracked and self.path.is_absolute():
            tracked = {name for name in NAMES if os.access(self.path / name, os.X_OK)}
        self.names = tuple(name for name in NAMES if name in tracked)

    @property
    def run(self) -> bool:
        """Whether there is anything to run."""
        return bool(self.names) and not self.skip

    def settings(self) -> Settings:
        """Of a call that runs them. A relative path is one in the clone's work tree."""
        return (("core.hooksPath", str(self.path)),) if self.run else ()
