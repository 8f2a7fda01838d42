"""Which revision a file is from; and GitPython, for whoever else asks Git."""

import hashlib
import os
from pathlib import Path
from types import ModuleType


def gitpython() -> ModuleType:
    """The package, imported on first use: that takes 60 ms and starts Git once."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # a machine without git is no error
    import git

    return git


def revision(path: Path) -> str:
    """The short commit a file stands at: `3f2a1c9`, or `3f2a1c9+` where it differs from it.

    "" outside a repository, before its first commit, or where there is no git. Only objects are
    read (no status, no diff), so nothing that a repository configures is run.
    """
    git = gitpython()
    try:
        data = path.read_bytes()
        with git.Repo(path.parent, search_parent_directories=True) as repo:
            if repo.working_tree_dir is None or not repo.head.is_valid():
                return ""
            commit = repo.head.commit
            inside = path.resolve().relative_to(Path(repo.working_tree_dir).resolve()).as_posix()
            try:
                same = commit.tree.join(inside).hexsha == _blob(data)
            except KeyError:  # not committed at all
                same = False
            return str(commit.hexsha[:7]) + ("" if same else "+")
    except (git.exc.GitError, git.exc.GitCommandNotFound, OSError, ValueError):
        return ""


def _blob(data: bytes) -> str:
    """The name Git gives to a file's content (gitformat: `blob SIZE NUL content`, SHA-1)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
