"""The user's hooks: which a commit and a push in a run's clone run, and from where."""

import os
from pathlib import Path

from smoldebug.sources.gitcommand import Settings
from smoldebug.sources.gitorigin import Origin, work_tree
from smoldebug.sources.repository import Tree

NAMES = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "pre-push")


class Hooks:
    """A relative `core.hooksPath` (`.husky`) means the hooks that are tracked in the base commit,
    else those that were generated in the user's checkout."""

    def __init__(self, origin: Origin, base: Tree, *, skip: bool) -> None:
        self.path, self.skip = Path(origin.hooks or os.devnull).expanduser(), skip
        found = () if self.path.is_absolute() else _tracked(self.path, base)
        if not found and origin.folder and not self.path.is_absolute():
            self.path = work_tree(origin.folder) / self.path
        self.names = found or _executable(self.path)

    @property
    def run(self) -> bool:
        """Whether there is anything to run."""
        return bool(self.names) and not self.skip

    def settings(self) -> Settings:
        """Of a call that runs them. A relative path is one in the clone's work tree."""
        return (("core.hooksPath", str(self.path)),) if self.run else ()


def _tracked(path: Path, tree: Tree) -> tuple[str, ...]:
    return tuple(name for name in NAMES if (path / name).as_posix() in tree.files())


def _executable(path: Path) -> tuple[str, ...]:
    there = path.is_absolute()
    return tuple(name for name in NAMES if there and os.access(path / name, os.X_OK))
