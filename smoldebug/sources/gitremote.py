"""The remote of a run's clone: where its branches stand, what is fetched, what is pushed."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from pathlib import Path

from smoldebug.errors import ChangeRefused, Conflict, SmoldebugError, ToolError, UsageError
from smoldebug.sources.gitcommand import HOOKS, NETWORK, Answer, GitCommand, Settings, words_of
from smoldebug.sources.giturl import Address
from smoldebug.untrusted import one_line

HEADS = "refs/heads/"
_QUIET = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
_REJECTED = re.compile(r"^!\t[^\t]*\t\[(remote )?rejected\] (.*)$", re.MULTILINE)
_ELSEWHERE = re.compile("cannot lock ref|failed to update ref|reference already exists")


class Remote:
    """Refs are whole: `refs/heads/main`. `git` knows the address as `origin`, from its settings."""

    def __init__(self, git: GitCommand, address: Address, token: Callable[[str], str]) -> None:
        self._git, self.address, self._token = git, address, token
        self._cut = Path(git.env["GIT_DIR"]) / "shallow"
        if address.password:
            git.redactor.learn([address.password])

    def heads(self, *refs: str) -> tuple[str, dict[str, str]]:
        """The default branch, where HEAD is asked for too ("": there is none), and the commits
        that branches stand at, now."""
        said = self._run("ls-remote", "--symref", "--", "origin", *refs)
        default, heads = "", {}
        for line in said.splitlines():
            commit, _, ref = line.partition("\t")
            if commit.startswith("ref: ") and ref == "HEAD":
                default = commit.removeprefix("ref: ")
            elif ref.startswith(HEADS):
                heads[ref] = commit
        return default, heads

    def fetch(self, refs: Iterable[str], *, newest: bool) -> None:
        """Into refs/remotes/origin, where hooks look for it; `newest`: no history."""
        specs = (f"+{ref}:refs/remotes/origin/{ref.removeprefix(HEADS)}" for ref in refs)
        depth = ("--depth=1",) if newest else ("--unshallow",) if self.is_cut else ()
        self._run("fetch", *_QUIET, *depth, "--", "origin", *specs)

    @property
    def is_cut(self) -> bool:
        """Whether the clone lacks a part of the history."""
        return self._cut.exists()

    def push(
        self, commit: str, ref: str, expected: str, *, hooks: Settings, dry_run: bool = False
    ) -> None:
        """Raises Conflict when the branch does not stand at `expected`, and ChangeRefused."""
        answer = self._git.ask(
            *("push", "--porcelain", f"--force-with-lease={ref}:{expected}"),
            *(["--dry-run"] if dry_run else []),
            *("--", "origin", f"{commit}:{ref}"),
            settings=(*self._credentials(), *hooks),
            seconds=HOOKS,
        )
        if answer.code:
            error = self._not_pushed(answer, ref.removeprefix(HEADS))
            if hooks and type(error) is ToolError:  # nothing that is known to go wrong besides
                raise ChangeRefused(f"the pre-push hook refused: {words_of(answer.err)}")
            raise error

    def _not_pushed(self, answer: Answer, branch: str) -> SmoldebugError:
        found = _REJECTED.search(answer.text)
        if not found:
            return self._git.failure(answer)
        by_server, reason = found.groups()
        if not by_server or _ELSEWHERE.search(reason):
            where = f"branch {branch} of {self.address.name}"
            return Conflict(f"{where} does not stand where it did: {one_line(reason)}")
        words = words_of(f"{reason}\n{answer.err}")
        return ChangeRefused(f"{self.address.name} refused the push to {branch}: {words}")

    def _run(self, *words: str) -> str:
        return self._git.run(*words, settings=self._credentials(), seconds=NETWORK)

    def _credentials(self) -> Settings:
        """A token as a header for exactly this address, and then no other credentials: a push must
        not turn out to be somebody else's. It follows no redirect."""
        host = self.address.host
        token = "" if self.address.scheme == "ssh" else self._token(host)
        if not token:
            return ()
        if not token.isascii() or not token.isprintable():
            raise UsageError(f"the token holds characters that no token has: for {host}")
        basic = b64encode(f"x-access-token:{token}".encode()).decode()
        self._git.redactor.learn((token, basic))
        here = self.address.shown  # no setting is more specific than one for a whole address
        return (
            (f"http.{here}.extraHeader", ""),  # what the user's settings send is not sent too
            (f"http.{here}.extraHeader", f"Authorization: Basic {basic}"),
            (f"http.{here}.followRedirects", "false"),
            (f"credential.{here}.helper", ""),
        )
