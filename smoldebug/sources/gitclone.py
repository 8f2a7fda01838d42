"""A run's own clone of a Git repository: objects, and a work tree only where hooks need one.

The user's checkout, index, branches and settings are never touched. The clone borrows the objects
of a local repository (alternates), so it costs no copy of the history; it lies in the run's folder
and is made anew where it is gone.
"""

import os
import re
import tempfile
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

from smoldebug.errors import ChangeRefused, Conflict, NotFound, UsageError
from smoldebug.records import FileChange
from smoldebug.sources import gitorigin, giturl
from smoldebug.sources.gitcommand import (
    HOOKS,
    NETWORK,
    Answer,
    GitCommand,
    Settings,
    check_version,
    words_of,
)
from smoldebug.sources.gitorigin import Origin
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
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=15"
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
_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "pre-push")
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
    giturl.check_branch(git.branch)
    if git.base:
        giturl.check_branch(git.base)
    if git.author and not _AUTHOR.fullmatch(git.author):
        raise UsageError(f"an author is written `Name <mail@example.com>`: {one_line(git.author)}")
    at = folder / "clone"
    at.mkdir(parents=True, exist_ok=True)
    place = {"GIT_DIR": str(at / ".git"), "GIT_WORK_TREE": str(at)}
    empty = GitCommand(at, one_line(repo), place)
    check_version(empty)
    empty.run("init", "--quiet", "--template=", "--object-format=sha1")
    if giturl.is_url(repo):
        origin = gitorigin.from_url(repo, empty)
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
        self.name, self.branch, self.base, self.proposed = origin.name, git.branch, git.base, ""
        self.url = origin.address.shown if origin.address else ""
        self._folder, self._origin, self._wanted, self._token = folder, origin, git, token
        self._base_commit = ""
        self._lock = threading.RLock()
        place = {"GIT_DIR": str(folder / ".git"), "GIT_WORK_TREE": str(folder)}
        self._git = GitCommand(
            folder,
            self.url or self.name,
            {**_ENV, **place, **_ssh(origin.settings)},
            (*origin.settings, *_OURS, *_remote(origin)),
        )

    def close(self) -> None:
        self._git.close()

    # --- opening ------------------------------------------------------------------------------

    def open(self) -> None:
        """Raises as `open_clone`."""
        self._borrow()
        if self._origin.address:
            default, heads = self._heads("HEAD", self._ref(self.base), self._ref(self.branch))
        else:
            default, heads = gitorigin.branches(self._origin.folder or self._folder)
        self.base = self.base or default.removeprefix("refs/heads/")
        if not self.base:
            raise UsageError(f"{self.name} has no default branch: name one, tools.git.base")
        if self.branch in (self.base, default.removeprefix("refs/heads/")):
            raise UsageError(f"a patch is never made on the base branch itself: {self.branch}")
        if self._ref(self.base) not in heads:
            raise UsageError(f"no branch {self.base} in {self.name}; it has: {self._names(heads)}")
        if self._origin.address:
            self._fetch(*(ref for ref in heads if ref in (self._ref(self.base), self._ref())))
        self._base_commit = heads[self._ref(self.base)]

    def _borrow(self) -> None:
        """What is written into the clone itself; all else is passed along."""
        inside = self._folder / ".git"
        for name in ("info", "objects/info"):
            (inside / name).mkdir(parents=True, exist_ok=True)
        (inside / "info" / "attributes").write_text(_ATTRIBUTES, "ascii")
        if self._origin.objects:
            (inside / "objects/info/alternates").write_bytes(
                os.fsencode(self._origin.objects) + b"\n"
            )
        if self._origin.shallow and not (inside / "shallow").exists():
            (inside / "shallow").write_bytes(self._origin.shallow)

    def _heads(self, *refs: str) -> tuple[str, dict[str, str]]:
        """The remote's default branch ("" where it has none) and where its branches stand, now."""
        said = self._net("ls-remote", "--symref", "--", "origin", *(ref for ref in refs if ref))
        default, heads = "", {}
        for line in said.splitlines():
            commit, _, ref = line.partition("\t")
            if commit.startswith("ref: ") and ref == "HEAD":
                default = commit.removeprefix("ref: ")
            elif ref.startswith("refs/heads/") and _ID.fullmatch(commit):
                heads[ref] = commit
        if default and default not in heads:
            heads |= self._heads(default)[1]
        return default, heads

    def _names(self, heads: Mapping[str, str]) -> str:
        if self._origin.address:
            heads = self._heads("refs/heads/*")[1]
        return one_line(", ".join(ref.removeprefix("refs/heads/") for ref in heads)) or "none"

    def _ref(self, branch: str | None = None) -> str:
        branch = self.branch if branch is None else branch
        return f"refs/heads/{branch}" if branch else ""

    def _fetch(self, *refs: str, deep: bool = False) -> None:
        """Into refs/remotes/origin, where hooks look for it. Without a local history only the
        newest commit of each; `deep` gets the rest."""
        cut = (self._folder / ".git" / "shallow").exists()
        alone = not self._origin.objects
        depth = ["--unshallow"] if deep and cut else ["--depth=1"] if alone and not deep else []
        quiet = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        specs = (f"+{ref}:{ref.replace('heads', 'remotes/origin', 1)}" for ref in refs)
        self._net("fetch", *quiet, *depth, "--", "origin", *specs)

    # --- reading ------------------------------------------------------------------------------

    def base_commit(self) -> str:
        return self._base_commit

    def tip(self) -> str:
        return self._heads(self._ref())[1].get(self._ref(), "") if self._origin.address else ""

    def start(self) -> str:
        tip = self.tip()
        return self._base_commit if not tip or self.within(tip, self._base_commit) else tip

    def tree(self, commit: str) -> CommitTree:
        return CommitTree(self._git, self._lock, self._known(commit))

    def files_changed(self, old: str, new: str) -> tuple[FileChange, ...]:
        """`containers` is for the caller to fill in."""
        said = self._git.run(
            *("diff-tree", "-z", "--raw", "--numstat", *_DIFF),
            *("--end-of-options", self._known(old), self._known(new)),
        )
        words = iter(said.split("\0")[:-1])
        status: dict[str, str] = {}
        changes = []
        for word in words:
            if word.startswith(":"):
                status[next(words)] = word[-1]
            else:
                added, removed, path = word.split("\t", 2)
                what = {"A": "added", "D": "deleted"}.get(status[path], "modified")
                changes.append(FileChange(path, _count(added), _count(removed), status=what))
        return tuple(changes)

    def diff(self, old: str, new: str) -> str:
        words = ("diff-tree", "-p", *_DIFF, "--end-of-options", self._known(old), self._known(new))
        answer = self._git.ask(*words)
        if answer.code:
            raise self._git.failure(answer)
        return answer.out.decode("utf-8", "replace")

    def within(self, ancestor: str, commit: str) -> bool:
        ids = (_checked(ancestor), self._known(commit))
        words = ("merge-base", "--is-ancestor", "--end-of-options", *ids)
        answer = self._git.ask(*words)
        if answer.code and self._cut():
            self._deepen()
            answer = self._git.ask(*words)
        return not answer.code

    def format_patches(self, old: str, new: str, folder: Path) -> list[Path]:
        span = f"{self._known(old)}..{self._known(new)}"
        into = f"--output-directory={folder.resolve()}"
        quiet = ("--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--no-signature")
        said = self._git.run("format-patch", *quiet, into, "--end-of-options", span)
        return [Path(line) for line in said.splitlines()]

    def _known(self, commit: str) -> str:
        """The id of a commit that is in the clone; if need be the run's branch is fetched for it.
        Raises NotFound."""
        if not self._has(commit) and self._origin.address:
            if self._ref() in self._heads(self._ref())[1]:
                self._fetch(self._ref())
            if not self._has(commit) and self._cut():
                self._deepen()
        if not self._has(commit):
            raise NotFound(f"no such commit in {self.name}: {commit}")
        return commit

    def _has(self, commit: str) -> bool:
        return not self._git.ask("cat-file", "-e", f"{_checked(commit)}^{{commit}}").code

    def _cut(self) -> bool:
        return bool(self._origin.address) and (self._folder / ".git" / "shallow").exists()

    def _deepen(self) -> None:
        heads = self._heads(self._ref(self.base), self._ref())[1]
        self._fetch(
            *(ref for ref in heads if ref in (self._ref(self.base), self._ref())), deep=True
        )

    # --- committing ---------------------------------------------------------------------------

    def commit(self, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """Hooks find all files of the commit checked out; what they `git add` is in it."""
        with self._lock:
            self._stage(self.tree(parent), files)
            self._git.run("symbolic-ref", "HEAD", self._ref())
            self._git.run("update-ref", self._ref(), parent)
            text = self._folder / ".git" / "message"
            text.write_text(plain(message), "utf-8", "replace")
            answer = self._git.ask(
                *("commit", "--quiet", "--cleanup=whitespace", f"--file={text}"),
                *([f"--author={self._wanted.author}"] if self._wanted.author else []),
                *(["--signoff"] if self._wanted.sign_off else []),
                settings=(*self._identity(), *self._hooked()),
                seconds=HOOKS,
            )
            if answer.code:
                raise self._not_committed(answer)
            self.proposed = self._git.run("rev-parse", "HEAD").strip()
            return self.proposed

    def _stage(self, tree: CommitTree, files: Mapping[str, bytes]) -> None:
        """The index holds the parent's files with these in their place. Their bytes go straight
        into blobs: no file is written at a path that a repository may have made a link."""
        modes = {path: tree.mode_for(path) for path in files}
        with tempfile.TemporaryDirectory(dir=self._folder / ".git") as scratch:
            paths = [Path(scratch) / str(number) for number in range(len(files))]
            for path, data in zip(paths, files.values(), strict=True):
                path.write_bytes(data)
            listed = "".join(f"{path}\n" for path in paths)
            words = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            blobs = self._git.run(*words, stdin=os.fsencode(listed)).split()
        entries = (
            f"{modes[path]} {blob}\t{path}\0" for path, blob in zip(files, blobs, strict=True)
        )
        self._check_out(tree.commit)
        self._git.run("update-index", "-z", "--index-info", stdin=os.fsencode("".join(entries)))
        if self.hooks:
            names = os.fsencode("".join(f"{path}\0" for path in files))
            self._git.run("checkout-index", "--force", "-z", "--stdin", stdin=names)

    def _check_out(self, commit: str) -> None:
        """Into the index; into the work tree too where hooks may look at it."""
        update = ["-u"] if self.hooks and self._wanted.hooks != "skip" else []
        self._git.run("read-tree", "--reset", *update, commit)

    def _identity(self) -> Settings:
        """The committer is the author where Git knows nobody else, as in CI."""
        known = dict(self._origin.settings)
        if not self._wanted.author or "user.email" in known or "committer.email" in known:
            return ()
        name, _, mail = self._wanted.author.rpartition(" ")
        return (("committer.name", name), ("committer.email", mail.strip("<>")))

    def _not_committed(self, answer: Answer) -> Exception:
        words = words_of(f"{answer.err}\n{self._git.redactor.text(answer.text)}")
        if "Please tell me who you are" in answer.err:
            return UsageError(
                "Git does not know who commits",
                "git config --global user.name NAME, user.email MAIL; or set tools.git.author",
            )
        if answer.code == 1 and self.hooks and self._wanted.hooks != "skip":
            return ChangeRefused(f"a hook refused the commit: {words}")
        if "gpg failed to sign" in answer.err or "signing" in answer.err:
            return ChangeRefused(f"the commit could not be signed: {words}")
        return self._git.failure(answer)

    # --- hooks --------------------------------------------------------------------------------

    @cached_property
    def hooks(self) -> tuple[str, ...]:
        """Names of the user's hooks that a commit or a push runs (or skips, where told to)."""
        tracked = self._tracked_hooks()
        if tracked:
            return tuple(name for name in _HOOKS if name in tracked)
        folder = Path(self._hooks_path())
        return tuple(name for name in _HOOKS if os.access(folder / name, os.X_OK))

    def _tracked_hooks(self) -> set[str]:
        """Hooks that are files of the repository, like those of `core.hooksPath=.husky`."""
        path = self._origin.hooks
        if not path or path.startswith(("/", "~")):
            return set()
        inside = PurePosixPath(path)
        tree = self.tree(self._base_commit)
        return {name for name in _HOOKS if str(inside / name) in tree.files()}

    def _hooks_path(self) -> str:
        path = Path(self._origin.hooks or os.devnull).expanduser()
        if path.is_absolute():
            return str(path)
        if self._tracked_hooks() or self._origin.folder is None:
            return str(self._folder / path)
        return str(gitorigin.work_tree(self._origin.folder) / path)

    def _hooked(self) -> Settings:
        if not self.hooks or self._wanted.hooks == "skip":
            return ()
        return (("core.hooksPath", self._hooks_path()),)

    # --- pushing ------------------------------------------------------------------------------

    def push(self, commit: str, expected: str, *, dry_run: bool = False) -> None:
        """Nothing is ever rewritten: the branch goes on, or back to where it was, or away. The
        pre-push hook is asked when it goes on."""
        if not self._origin.address:
            raise ChangeRefused(f"there is no remote to push to: {self.name}")
        onward = bool(commit) and (not expected or self.within(expected, self._known(commit)))
        if commit and not onward and not self.within(commit, expected):
            raise ChangeRefused(f"that would take commits off the branch {self.branch}: {commit}")
        asked = onward and not dry_run
        if asked and self.hooks:
            self._check_out(commit)
        answer = self._git.ask(
            *("push", "--porcelain", f"--force-with-lease={self._ref()}:{expected}"),
            *(["--dry-run"] if dry_run else []),
            *([] if asked else ["--no-verify"]),
            *("--", "origin", f"{commit}:{self._ref()}"),
            settings=(*self._credentials(), *(self._hooked() if asked else ())),
            seconds=HOOKS,
        )
        if answer.code:
            raise self._not_pushed(answer)

    def _not_pushed(self, answer: Answer) -> Exception:
        found = re.search(r"^!\t[^\t]*\t\[(remote )?rejected\] (.*)$", answer.text, re.MULTILINE)
        if not found:
            if answer.code == 1:
                return ChangeRefused(f"the pre-push hook refused: {words_of(answer.err)}")
            return self._git.failure(answer)
        reason = self._git.redactor.text(found[2])
        if not found[1] or re.search("cannot lock ref|failed to update ref|already exists", reason):
            text = f"branch {self.branch} of {self.name} stands elsewhere: {one_line(reason)}"
            return Conflict(text)
        words = words_of(f"{reason}\n{answer.err}")
        return ChangeRefused(f"{self.name} refused the push to {self.branch}: {words}")

    # --- the network --------------------------------------------------------------------------

    def _net(self, *words: str) -> str:
        return self._git.run(*words, settings=self._credentials(), seconds=NETWORK)

    def _credentials(self) -> Settings:
        """A token as a header for exactly its host, and then no other credentials: a push must not
        turn out to be somebody else's. It follows no redirect."""
        address = self._origin.address
        token = self._token(address.host) if address and address.scheme != "ssh" else ""
        if not address or not token:
            return ()
        if not token.isascii() or not token.isprintable():
            raise UsageError(f"the token for {address.host} holds characters that no token has")
        basic = b64encode(f"x-access-token:{token}".encode()).decode()
        self._git.redactor.learn((token, basic))
        header = f"http.{address.site}/{address.path}.extraHeader"
        return (
            (header, ""),  # those of the user's settings for this host are not sent too
            (header, f"Authorization: Basic {basic}"),
            ("credential.helper", ""),
            ("http.followRedirects", "false"),
        )


def _remote(origin: Origin) -> Settings:
    return (("remote.origin.url", origin.address.url),) if origin.address else ()


def _ssh(settings: Settings) -> dict[str, str]:
    """The user's own ssh command, else one that asks no questions."""
    theirs = {"GIT_SSH_COMMAND", "GIT_SSH"} & os.environ.keys() or "core.sshcommand" in dict(
        settings
    )
    return {} if theirs else {"GIT_SSH_COMMAND": _SSH}


def _count(lines: str) -> int:
    return 0 if lines == "-" else int(lines)  # of a binary file


def _checked(commit: str) -> str:
    if not _ID.fullmatch(commit):
        raise NotFound(f"not the id of a commit: {one_line(commit, 60)}")
    return commit
