"""A bare repository on disk, through git itself."""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smoldebug.errors import ToolError
from smoldebug.sources.process import PIPE, LocalProcesses, spawn
from smoldebug.sources.world import Completed

TIMEOUT = 120.0  # seconds a git command may take
ME = "lab-forge"

# Whoever pushes is told by the server (githttp.py) what is refused. Branch names hold no spaces.
_PRE_RECEIVE = """\
#!/bin/sh
set -f
if [ -n "$FORGE_DENY" ]; then
  printf '%s\\n' "$FORGE_DENY" >&2
  exit 1
fi
while read -r old new ref; do
  for protected in $FORGE_PROTECTED; do
    if [ "$ref" = "refs/heads/$protected" ]; then
      echo "error: GH006: Protected branch update failed for $ref." >&2
      echo "error: Changes must be made through a pull request." >&2
      exit 1
    fi
  done
done
"""


def environment(folder: Path) -> dict[str, str]:
    """For every git of the forge: its own configuration and none of the user's, which is written
    below `folder` here."""
    hooks = folder / "hooks"
    hooks.mkdir(mode=0o700, exist_ok=True)
    (hooks / "pre-receive").write_text(_PRE_RECEIVE, "utf-8")
    (hooks / "pre-receive").chmod(0o700)
    config = folder / "gitconfig"
    config.write_text(
        "[safe]\n\tdirectory = *\n"
        f"[core]\n\thooksPath = {json.dumps(str(hooks), ensure_ascii=False)}\n"
        f"[user]\n\tname = {ME}\n\temail = {ME}@localhost\n"
        "[receive]\n\tautogc = false\n\thideRefs = refs/pull\n"  # as on GitHub
        "[uploadpack]\n\tallowFilter = true\n\tallowReachableSHA1InWant = true\n"  # dito
        "[gc]\n\tauto = 0\n",
        "utf-8",
    )
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_TERMINAL_PROMPT": "0",
    }


@dataclass(frozen=True, slots=True)
class Changed:
    """A file between two commits; `status` is GitHub's word for it."""

    path: str
    status: str
    additions: int
    deletions: int


class Bare:
    """The repository in `path`. Names from outside reach git only as parts of full ref names."""

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path, self._env = path, env

    def create(self, folder: Path) -> None:
        """Make it, with the files of a plain folder as the first commit on main."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        options = ("--quiet", "--bare", "--template=", "--initial-branch=main")
        self._run("init", *options, "--", str(self.path), here=False)
        with tempfile.TemporaryDirectory() as temporary:
            work = {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": f"{temporary}/index"}
            self._run("add", "--all", ".", extra=work, cwd=folder)
            tree = self._run("write-tree", extra=work)
        commit = self._run("commit-tree", "-m", f"Import {folder.name}", tree)
        self.set_ref("refs/heads/main", commit)

    def branches(self) -> dict[str, str]:
        """Branch -> commit."""
        start = "refs/heads/"
        return {name.removeprefix(start): sha for name, sha in self.refs(start).items()}

    def refs(self, prefix: str) -> dict[str, str]:
        """Refs whose name begins with `prefix` ("refs/heads/fix-") -> commit."""
        lines = self._text("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
        pairs = (line.partition(" ") for line in lines)
        return {name: sha for sha, _, name in pairs if name.startswith(prefix)}

    def resolve(self, name: str) -> str:
        """The commit that a branch, a tag or a (short) hash names; "" for none."""
        names = [f"refs/heads/{name}", f"refs/tags/{name}"]
        if re.fullmatch(r"[0-9a-f]{7,40}", name):
            names.insert(0 if len(name) == 40 else 2, name)
        for candidate in names:
            arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options")
            found = self._try(*arguments, f"{candidate}^{{commit}}")
            if found.code == 0:
                return found.stdout.strip()
        return ""

    def set_ref(self, ref: str, new: str, old: str = "") -> None:
        """Raises ToolError when it does not stand at `old` ("": wherever), or its name is bad."""
        self._run("update-ref", "--end-of-options", ref, new, *([old] if old else []))

    def delete_ref(self, ref: str) -> None:
        self._run("update-ref", "-d", "--end-of-options", ref)

    def read(self, commit: str, path: str) -> bytes | None:
        """A file's bytes; None where there is none."""
        try:
            return self._read("cat-file", "blob", f"{commit}:{path}")
        except ToolError:
            return None

    def entries(self, commit: str, path: str) -> list[tuple[str, str, str]]:
        """(type, hash, path) of what is at `path`, or in it when it ends in a slash."""
        arguments = ["ls-tree", "-z", "--full-tree", "--end-of-options", commit]
        found = self._text(*arguments, *([f":(literal){path}"] if path else []))
        rows = (line.partition("\t") for line in found.split("\0") if line)
        return [(*meta.split()[1:3], name) for meta, _, name in rows]  # type: ignore[misc]

    def within(self, ancestor: str, commit: str) -> bool:
        return self._try("merge-base", "--is-ancestor", ancestor, commit).code == 0

    def commits(self, old: str, new: str) -> list[str]:
        """In `new` but not in `old`, oldest first."""
        return self._text("rev-list", "--reverse", f"{old}..{new}").split()

    def describe(self, commit: str) -> dict[str, str]:
        """Its tree, parents, author and message."""
        keys = ("tree", "parents", "name", "email", "date", "message")
        form = "--format=%T%x00%P%x00%an%x00%ae%x00%aI%x00%B"
        values = self._text("show", "--no-patch", form, "--end-of-options", commit).split("\0")
        return dict(zip(keys, values, strict=True))

    def changed(self, old: str, new: str) -> list[Changed]:
        """What `new` changes since it left `old` (`old...new`)."""
        arguments = ("diff", "--no-renames", "--raw", "--numstat", "-z", f"{old}...{new}")
        words, status, found = {"A": "added", "D": "removed"}, dict[str, str](), list[Changed]()
        fields = iter(self._text(*arguments).split("\0"))
        for field in fields:  # first ":MODES HASHES STATUS", PATH of each; then the counts of each
            if field.startswith(":"):
                status[next(fields)] = words.get(field[-1], "modified")
            elif field:
                added, deleted, path = field.split("\t", 2)
                found.append(Changed(path, status[path], _count(added), _count(deleted)))
        return found

    def diff(self, old: str, new: str, path: str) -> str:
        return self._text("diff", "--no-renames", f"{old}...{new}", "--", f":(literal){path}")

    def merged_tree(self, base: str, head: str) -> str:
        """The tree of a merge; "" when there are conflicts."""
        found = self._try("merge-tree", "--write-tree", base, head)
        return found.stdout.strip() if found.code == 0 else ""

    def commit_tree(self, tree: str, parents: tuple[str, ...], message: str) -> str:
        options = [word for parent in parents for word in ("-p", parent)]
        return self._run("commit-tree", *options, "-m", message, tree)

    def check_out(self, commit: str, folder: Path) -> None:
        """A clone in `folder`, which is not there yet, that stands at a commit."""
        options = ("--quiet", "--shared", "--no-checkout")
        self._run("clone", *options, "--", str(self.path), str(folder), here=False)
        self._run("checkout", "--quiet", "--detach", commit, here=False, cwd=folder)

    def _environment(self) -> dict[str, str]:
        return {**self._env, "GIT_DIR": str(self.path)}

    def _read(self, *arguments: str) -> bytes:
        """All that git prints, however much that is. Raises ToolError."""
        with spawn(["git", *arguments], env=self._environment(), stdout=PIPE) as process:
            printed: bytes = process.communicate()[0]
        if process.returncode != 0:
            raise ToolError(f"git {arguments[0]} failed in {self.path.name}")
        return printed

    def _text(self, *arguments: str) -> str:
        return self._read(*arguments).decode("utf-8", "replace").rstrip("\n")

    def _try(
        self,
        *arguments: str,
        here: bool = True,
        extra: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Completed:
        env = {**(self._environment() if here else self._env), **(extra or {})}
        return LocalProcesses().run(
            ["git", *arguments], timeout=TIMEOUT, cwd=str(cwd) if cwd else None, env=env
        )

    def _run(
        self,
        *arguments: str,
        here: bool = True,
        extra: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Raises ToolError with git's words."""
        done = self._try(*arguments, here=here, extra=extra, cwd=cwd)
        if done.code != 0:
            raise ToolError(f"git {arguments[0]}: {done.stderr.strip() or 'no answer'}")
        return done.stdout.rstrip("\n")


def _count(number: str) -> int:
    return int(number) if number.isdecimal() else 0  # "-" for binary files
