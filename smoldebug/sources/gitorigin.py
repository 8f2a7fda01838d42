"""Where a run's clone comes from: the user's own repository, or an address. Only read, here.

Of the user's settings the clone gets those that say who commits, how commits are signed and how a
server is reached, and nothing that makes Git run something else (filters, aliases, diff drivers).
They are read where the user would commit, so `includeIf` and local settings count.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from smoldebug.errors import UsageError
from smoldebug.sources import giturl
from smoldebug.sources.gitcommand import GitCommand
from smoldebug.sources.giturl import Address
from smoldebug.untrusted import one_line

_CARRIED = re.compile(
    r"(?:author|committer|credential|gpg|hooks|http|i18n|lfs|ssh|trailer|user)\..+"
    r"|commit\.gpgsign|core\.sshcommand",
    re.DOTALL,
)
_ASKED = (
    *("--is-bare-repository", "--is-shallow-repository", "--show-object-format"),
    *("--git-common-dir", "--git-path", "objects", "--git-path", "shallow"),
)


@dataclass(frozen=True)
class Origin:
    address: Address | None  # None: there is no remote
    name: str  # for people
    settings: tuple[tuple[str, str], ...]
    hooks: str  # folder of hooks: absolute, or relative to a work tree
    folder: Path | None = None  # in the user's repository
    objects: Path | None = None  # of the user's repository, where all of a history may be found
    shallow: bytes = b""  # where that history is cut off


def from_address(address: Address, empty: GitCommand) -> Origin:
    """`empty` is the clone: what Git reads there are the settings of the user and the machine."""
    if address.password:
        raise UsageError("the repository's address holds a password", "pass it as a secret instead")
    rewritten = empty.run("ls-remote", "--get-url", "--", address.url)  # as insteadOf says
    address = giturl.parse(rewritten.strip())
    pairs = _settings(empty)
    return Origin(address, address.name, _carried(pairs), _value(pairs, "core.hookspath"))


def from_folder(folder: Path, remote: str) -> Origin:
    """Raises UsageError for what is no repository or lacks the remote; one without any is good."""
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    git = GitCommand(folder, str(folder), {})
    said = git.run("rev-parse", "--path-format=absolute", *_ASKED).splitlines()
    if len(said) != 6:
        raise UsageError(f"Git repository with an unusual path: {one_line(str(folder))}")
    bare, shallow, form, common, objects, cut = said
    if form != "sha1":
        raise UsageError(f"a repository with {form} object names is not supported: {folder}")
    pairs = _settings(git)
    address = _remote(git, remote, pairs)
    return Origin(
        address=address,
        name=address.name if address else _folder_name(Path(common), bare == "true"),
        settings=_carried(pairs),
        hooks=_value(pairs, "core.hookspath") or f"{common}/hooks",
        folder=folder,
        objects=None if _partial(pairs) and address else Path(objects),
        shallow=Path(cut).read_bytes() if shallow == "true" else b"",
    )


def branches(folder: Path) -> tuple[str, dict[str, str]]:
    """Of a repository without a remote: the current one ("": none), and the commit of each."""
    git = GitCommand(folder, str(folder), {})
    current = git.ask("symbolic-ref", "--quiet", "HEAD").text.strip()
    said = git.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/")
    heads = {ref: commit for commit, _, ref in (line.partition(" ") for line in said.splitlines())}
    if not heads:
        raise UsageError(f"the repository has no commit yet: {folder}")
    return current, heads


def work_tree(folder: Path) -> Path:
    return Path(GitCommand(folder, str(folder), {}).run("rev-parse", "--show-toplevel").strip())


def _remote(git: GitCommand, name: str, pairs: list[tuple[str, str]]) -> Address | None:
    known = {key[len("remote.") : -len(".url")] for key, _ in pairs if _IS_REMOTE.fullmatch(key)}
    if not known:
        return None
    if name not in known:
        names = one_line(", ".join(sorted(known)))
        raise UsageError(f"the repository has no remote {name}; it has: {names}")
    fetched, pushed = (
        giturl.parse(git.run("remote", "get-url", *push, "--", name).strip())
        for push in ((), ("--push",))
    )
    if fetched.name != pushed.name:
        raise UsageError(
            f"remote {name} is pushed to another repository than it is fetched from: {pushed.shown}"
        )
    return pushed


_IS_REMOTE = re.compile(r"remote\..+\.url", re.DOTALL)


def _settings(git: GitCommand) -> list[tuple[str, str]]:
    """All that count there, as Git does: later ones win, or add up."""
    entries = git.run("config", "--list", "-z").split("\0")[:-1]
    return [(key, value if is_set else "true") for key, is_set, value in map(_split, entries)]


def _split(entry: str) -> tuple[str, str, str]:
    return entry.partition("\n")


def _carried(pairs: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in pairs if _CARRIED.fullmatch(pair[0]))


def _value(pairs: list[tuple[str, str]], key: str) -> str:
    return dict(pairs).get(key, "")


def _partial(pairs: list[tuple[str, str]]) -> bool:
    """Its objects are not all there, and Git would fetch them one by one."""
    return any(key == "extensions.partialclone" or key.endswith(".promisor") for key, _ in pairs)


def _folder_name(common: Path, bare: bool) -> str:
    return common.name.removesuffix(".git") if bare else common.parent.name
