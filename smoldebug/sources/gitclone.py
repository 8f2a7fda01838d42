"""A run's own clone of a Git repository: objects, and a work tree only where hooks need one.

The user's checkout, index, branches and settings are never touched. The clone borrows the objects
of a local repository (alternates), so it costs no copy of the history; it lies in the run's folder
and is made anew where it is gone.
"""

import os
import re
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from smoldebug.errors import ChangeRefused, NotFound, SmoldebugError, UsageError
from smoldebug.records import FileChange
from smoldebug.sources import gitorigin, giturl
from smoldebug.sources.gitcommand import (
    HOOKS,
    Answer,
    GitCommand,
    Settings,
    check_version,
    words_of,
    written_to_disk,
)
from smoldebug.sources.githooks import Hooks
from smoldebug.sources.gitorigin import Origin
from smoldebug.sources.gitremote import HEADS, Remote
from smoldebug.sources.gittree import CommitTree
from smoldebug.untrusted import one_line, plain

_ENV = {
    "GIT_ASKPASS": "",  # helpers and agents are asked, people are not
    "GIT_ALLOW_PROTOCOL": "https:http:ssh",
    "GIT_CONFIG_GLOBAL": os.devnull,  # settings are those of the origin, and ours
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_PARAMETERS": "",
    "GIT_EDITOR": ":",
    "GIT_NO_LAZY_FETCH": "1",
}
# With these set, Git is about another repository than the one in a folder.
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15"
_OURS = (
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("core.logAllRefUpdates", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("user.useConfigOnly", "true"),  # an identity is never made up of a login and a host name
    ("http.lowSpeedLimit", "100"),  # bytes a second, for so many seconds
    ("http.lowSpeedTime", "60"),
)
# Over whatever .gitattributes say: bytes in a file are the bytes of its blob, whoever checks it out
# or adds it (no line ends, LFS or other filters), and every text has a diff.
_ATTRIBUTES = "* -text -ident -filter -working-tree-encoding !diff\n"
_AUTHOR = re.compile(r"[^<>\x00-\x1f]+ <[^<>\s\x00-\x1f]+>")
_ID = re.compile(r"[0-9a-f]{40}")
_STATUS = {"A": "added", "D": "deleted"}
_DIFF = ("-r", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color")


class GitSettings(Protocol):
    """What `tools.git` of a playbook says (playbook.patches.GitTool)."""

    @property
    def base(self) -> str: ...
    @property
    def branch(self) -> str: ...
    @property
    def remote(self) -> str: ...
    @property
    def author(self) -> str: ...
    @property
    def sign_off(self) -> bool: ...
    @property
    def hooks(self) -> str: ...


def open_clone(
    folder: Path, *, repo: str, git: GitSettings, token: Callable[[str], str]
) -> "Clone":
    """The clone in `folder` (the run's), new or as an earlier part of the run left it.

    `repo` is a folder in a local repository or an address. `token` is asked for the one to use at a
    host ("git.corp.example", or with a port), "" for the user's own credentials; it goes to that
    host alone, over https (http on this machine). Raises UsageError, AccessDenied,
    UnreachableError.
    """
    _check(git, repo)
    address = giturl.parse(repo) if giturl.is_url(repo) else None
    check_version()
    at = folder / "clone"
    with written_to_disk():
        at.mkdir(parents=True, exist_ok=True)
        for stale in (at / ".git").rglob("*.lock"):  # of a process that was killed
            stale.unlink()
    empty = GitCommand(at, one_line(repo), _place(at))
    first = f"--initial-branch={git.branch}"  # what hooks take for the current one
    empty.run("init", "--quiet", "--template=", "--object-format=sha1", first)
    if address:
        origin = gitorigin.from_address(address, empty)
    else:
        origin = gitorigin.from_folder(Path(repo).resolve(), git.remote)
    clone = Clone(at, origin, git, token)
    clone.open()
    return clone


class Clone:
    """Implements `sources.repository.Repository`."""

    def __init__(
        self, folder: Path, origin: Origin, git: GitSettings, token: Callable[[str], str]
    ) -> None:
        address = origin.address
        self.name, self.url = origin.name, address.shown if address else ""
        self.folder = str(folder)
        self.base, self.branch, self.proposed = git.base, git.branch, ""
        self._folder, self._origin, self._wanted = folder / ".git", origin, git
        self._base_commit = ""
        self._seen: set[str] = set()  # commits that are here
        self._lock = threading.RLock()
        self._git = GitCommand(
            folder,
            self.url or self.name,
            {**_ENV, **_place(folder), **_ssh(origin.settings)},
            (*origin.settings, *_OURS, *([("remote.origin.url", address.url)] if address else [])),
        )
        self._remote = Remote(self._git, address, token) if address else None

    def close(self) -> None:
        self._git.close()

    @property
    def _ref(self) -> str:
        return HEADS + self.branch

    # --- opening ------------------------------------------------------------------------------

    def open(self) -> None:
        """Raises as `open_clone`."""
        self._borrow()
        named = [self._ref, *([HEADS + self.base] if self.base else [])]
        if self._remote:
            default, heads = self._remote.heads("HEAD", *named)
        else:
            default, heads = gitorigin.branches(self._origin.folder or self._folder)
        self.base = self.base or default.removeprefix(HEADS)
        if not self.base:
            raise UsageError(f"{self.name} has no default branch: name one, tools.git.base")
        giturl.check_branch(self.base)  # it may be the server that says so
        if self._ref in (HEADS + self.base, default):
            raise UsageError(f"a patch is never made on the base branch itself: {self.branch}")
        if self._remote and HEADS + self.base not in heads:
            heads |= self._remote.heads(HEADS + "*")[1]  # the default branch, or for the message
        if HEADS + self.base not in heads:
            names = one_line(", ".join(ref.removeprefix(HEADS) for ref in heads)) or "none"
            raise UsageError(f"no branch {self.base} in {self.name}; it has: {names}")
        self._base_commit = heads[HEADS + self.base]
        if self._remote:
            self._fetch(heads)
            fetched = f"refs/remotes/origin/{self.base}"  # it may have moved in between
            self._base_commit = self._git.run("rev-parse", "--verify", fetched).strip()

    @written_to_disk()
    def _borrow(self) -> None:
        """What is written into the clone itself; all else is passed along."""
        for name in ("info", "objects/info"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "info/attributes").write_text(_ATTRIBUTES, "ascii")
        if self._origin.objects:
            path = os.fsencode(self._origin.objects)
            (self._folder / "objects/info/alternates").write_bytes(path + b"\n")
        if self._origin.shallow and not (self._folder / "shallow").exists():
            (self._folder / "shallow").write_bytes(self._origin.shallow)

    def _fetch(self, heads: Collection[str], *, history: bool = False) -> None:
        """Those of the base and the run's branch that are there. Where no local repository has the
        history, only the newest commit of each, unless it is asked for."""
        if self._remote:
            ours = [ref for ref in (HEADS + self.base, self._ref) if ref in heads]
            self._remote.fetch(ours, newest=not history and not self._origin.objects)

    def _fetch_again(self, *, history: bool) -> None:
        if self._remote:
            heads = self._remote.heads(HEADS + self.base, self._ref)[1]
            self._fetch(heads, history=history)

    # --- reading ------------------------------------------------------------------------------
    def base_commit(self) -> str:
        return self._base_commit

    def tip(self) -> str:
        return self._remote.heads(self._ref)[1].get(self._ref, "") if self._remote else ""

    def start(self) -> str:
        tip = self.tip()
        return self._base_commit if not tip or self.within(tip, self._base_commit) else tip

    def tree(self, commit: str) -> CommitTree:
        return CommitTree(self._git, self._lock, self._known(commit))

    def files_changed(self, old: str, new: str) -> tuple[FileChange, ...]:
        """`containers` is for the caller to fill in."""
        ids = self._known(old), self._known(new)
        words = ("diff-tree", "-z", "--raw", "--numstat", *_DIFF, "--end-of-options", *ids)
        parts = iter(self._git.run(*words).split("\0")[:-1])
        status: dict[str, str] = {}
        changes = []
        for part in parts:
            if part.startswith(":"):  # all of these come first
                status[next(parts)] = _STATUS.get(part[-1], "modified")
            else:
                added, removed, path = part.split("\t", 2)
                changes.append(FileChange(path, _lines(added), _lines(removed), 0, status[path]))
        return tuple(changes)

    def diff(self, old: str, new: str) -> str:
        ids = self._known(old), self._known(new)
        answer = self._git.ask("diff-tree", "-p", *_DIFF, "--end-of-options", *ids)
        if answer.code:
            raise self._git.failure(answer)
        return answer.out.decode("utf-8", "replace")

    def within(self, ancestor: str, commit: str) -> bool:
        ids = _checked(ancestor), self._known(commit)
        words = ("merge-base", "--is-ancestor", "--end-of-options", *ids)
        answer = self._git.ask(*words)
        if answer.code and self._remote and self._remote.is_cut:
            self._fetch_again(history=True)
            answer = self._git.ask(*words)
        return not answer.code

    def format_patches(self, old: str, new: str, folder: Path) -> list[Path]:
        ids = f"{self._known(old)}..{self._known(new)}"
        plainly = ("--no-signature", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color")
        into = f"--output-directory={folder.resolve()}"
        said = self._git.run("format-patch", *plainly, into, "--end-of-options", ids)
        self.proposed = new
        return [Path(line) for line in said.splitlines()]

    def _known(self, commit: str) -> str:
        """The id of a commit that is in the clone, fetched if need be. Raises NotFound."""
        for history in (False, True):
            if self._has(commit):
                return commit
            self._fetch_again(history=history)
        if not self._has(commit):
            raise NotFound(f"no such commit in {self.name}: {commit}")
        return commit

    def _has(self, commit: str) -> bool:
        if commit not in self._seen and _checked(commit):
            if self._git.ask("cat-file", "-e", f"{commit}^{{commit}}").code:
                return False
            self._seen.add(commit)
        return True

    # --- committing and pushing ---------------------------------------------------------------

    @cached_property
    def hooks(self) -> Hooks:
        skip = self._wanted.hooks == "skip"
        return Hooks(self._origin, self.tree(self._base_commit), skip=skip)

    def commit(self, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """Hooks find all files of the commit checked out; what they `git add` is in it."""
        with self._lock:
            self._stage(self.tree(parent), files)
            if not self._git.ask("diff-index", "--cached", "--quiet", parent).code:
                raise ChangeRefused("nothing to commit: the files are as they were")
            self._git.run("update-ref", self._ref, parent)
            text = self._folder / "message"
            text.write_text(plain(message), "utf-8", "replace")
            answer = self._git.ask(
                *("commit", "--quiet", "--cleanup=whitespace", f"--file={text}"),
                *([f"--author={self._wanted.author}"] if self._wanted.author else []),
                *(["--signoff"] if self._wanted.sign_off else []),
                settings=(*self._committer(), *self.hooks.settings()),
                seconds=HOOKS,
            )
            if answer.code:
                raise self._not_committed(answer)
            return self._git.run("rev-parse", "HEAD").strip()

    @written_to_disk()
    def _stage(self, tree: CommitTree, files: Mapping[str, bytes]) -> None:
        """The index holds the parent's files with these in their place. Their bytes go straight
        into blobs: no file is written at a path that a repository may have made a link."""
        modes = [tree.mode_for(path) for path in files]
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            paths = [Path(scratch, str(number)) for number in range(len(files))]
            for path, data in zip(paths, files.values(), strict=True):
                path.write_bytes(data)
            listed = os.fsencode("".join(f"{path}\n" for path in paths))
            words = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            blobs = self._git.run(*words, stdin=listed).split()
        entries = "".join(
            f"{mode} {blob}\t{path}\0" for mode, blob, path in zip(modes, blobs, files, strict=True)
        )
        self._check_out(tree.commit)
        self._git.run("update-index", "-z", "--index-info", stdin=os.fsencode(entries))
        if self.hooks.run:
            names = os.fsencode("".join(f"{path}\0" for path in files))
            self._git.run("checkout-index", "--force", "-z", "--stdin", stdin=names)

    def _check_out(self, commit: str) -> None:
        """Into the index; into the work tree too where hooks will look at it."""
        self._git.run("read-tree", "--reset", *(["-u"] if self.hooks.run else []), commit)

    def _committer(self) -> Settings:
        """The author, where Git knows nobody else: as in CI."""
        known = {key for key, _ in self._origin.settings}
        if not self._wanted.author or {"user.email", "committer.email"} & known:
            return ()
        name, _, mail = self._wanted.author.rpartition(" ")
        return (("committer.name", name), ("committer.email", mail.strip("<>")))

    def _not_committed(self, answer: Answer) -> SmoldebugError:
        words = words_of(answer.err)
        if "Please tell me who you are" in answer.err:
            return UsageError(
                "Git does not know who commits",
                "git config --global user.name NAME, user.email MAIL; or set tools.git.author",
            )
        if "failed to write commit object" in answer.err:
            return ChangeRefused(f"the commit could not be signed: {words}")
        if answer.code == 1 and self.hooks.run:
            return ChangeRefused(f"a hook refused the commit: {words}")
        return self._git.failure(answer)

    def push(self, commit: str, expected: str, *, dry_run: bool = False) -> None:
        """Nothing is ever rewritten: the branch goes on, or back to where it was, or away. The
        pre-push hook is asked when it really goes on."""
        if not self._remote:
            raise ChangeRefused(f"there is no remote to push to: {self.name}")
        onward = bool(commit) and self._goes_on(commit, expected)
        hooks: Settings = ()
        if onward and not dry_run and self.hooks.run:
            self._check_out(commit)
            hooks = self.hooks.settings()
        expected = expected and _checked(expected)
        self._remote.push(commit, self._ref, expected, hooks=hooks, dry_run=dry_run)
        if not dry_run:
            self.proposed = commit

    def _goes_on(self, commit: str, expected: str) -> bool:
        """False: it goes back. Raises ChangeRefused when it does neither."""
        self._known(commit)
        if not expected or self.within(expected, commit):
            return True
        if not self.within(commit, expected):
            raise ChangeRefused(f"commits would be lost on {self.branch}: {expected} is not kept")
        return False


def _check(git: GitSettings, repo: str) -> None:
    """Before any of it reaches Git."""
    if astray := next((name for name in _ELSEWHERE if name in os.environ), ""):
        raise UsageError(f"Git is pointed at another repository: unset {astray}")
    giturl.check_branch(git.branch)
    giturl.check_branch(git.remote, "remote")
    if git.base:
        giturl.check_branch(git.base)
    if git.author and (not _AUTHOR.fullmatch(git.author) or git.author != plain(git.author)):
        raise UsageError(f"an author is written `Name <mail@example.com>`: {one_line(git.author)}")
    if repo != plain(repo):
        raise UsageError(f"not a repository: {one_line(repo)}")


def _place(folder: Path) -> dict[str, str]:
    """Said outright, so that Git never looks for a repository further up: that is the user's."""
    return {"GIT_DIR": str(folder / ".git"), "GIT_WORK_TREE": str(folder)}


def _ssh(settings: Settings) -> dict[str, str]:
    """The user's own ssh command, else one that asks no questions."""
    theirs = {"GIT_SSH_COMMAND", "GIT_SSH"} & os.environ.keys() or "core.sshcommand" in dict(
        settings
    )
    return {} if theirs else {"GIT_SSH_COMMAND": _SSH}


def _checked(commit: str) -> str:
    if not _ID.fullmatch(commit):
        raise NotFound(f"not the id of a commit: {one_line(commit, 60)}")
    return commit


def _lines(count: str) -> int:
    return 0 if count == "-" else int(count)  # of a binary file
