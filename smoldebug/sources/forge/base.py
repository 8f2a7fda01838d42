"""What every forge does alike: one pull request per branch, people asked once, patience."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, TypeVar

from smoldebug.clock import Clock
from smoldebug.errors import UnreachableError
from smoldebug.records import CheckRun, PullRequest
from smoldebug.sources.forge.answers import LONGEST_WAIT, Answer, Asked, no_token, pause, refused
from smoldebug.sources.forge.site import NAMES, Site, compare_url
from smoldebug.sources.repository import PullRequestText
from smoldebug.untrusted import clip, one_line, plain

T = TypeVar("T")

CONNECT, READ = 5.0, 15.0  # seconds
MOST = 300  # of anything that is listed: pull requests of a branch, checks, comments
DETAIL = 2000  # characters of what a failed check said
_TITLE, _BODY = 250, 60_000  # characters; GitHub takes 256 and 65,536

# What comes of a body that is no forge's: clients read fields without looking
_ODD = (TypeError, ValueError, KeyError, AttributeError, IndexError, AssertionError, RuntimeError)


class BaseForge(ABC):
    """Implements smoldebug.sources.repository.Forge.

    `notes`: what could not be added to a pull request, for people; none of it fails the rest. An
    operation looks before it writes, so all of it is simply tried again where that helps.
    """

    kind: str
    reads: ClassVar[str]  # the permission
    writes: ClassVar[str]
    checks_need: ClassVar[str] = ""  # where that is another one
    trouble: ClassVar[tuple[type[Exception], ...]]  # what the client raises for a refusal
    odd: ClassVar[tuple[type[Exception], ...]] = _ODD

    def __init__(self, site: Site, clock: Clock) -> None:
        self.site, self.host, self.clock = site, site.host, clock
        self.notes: list[str] = []

    def find(self, branch: str) -> PullRequest | None:
        return self._read("read pull requests", lambda: self._find(branch))

    def open(self, text: PullRequestText) -> PullRequest:
        """Where the branch has an open one already, that is updated."""
        return self._write("open a pull request", lambda: self._open(_fitting(text)))

    def update(self, number: int, text: PullRequestText) -> PullRequest:
        """A draft stays one, and what somebody has made ready stays ready."""
        work = f"update pull request {number}"
        return self._write(work, lambda: self._update(number, _fitting(text)))

    def close(self, number: int) -> None:
        self._write(f"close pull request {number}", lambda: self._close(number))

    def checks(self, commit: str) -> tuple[CheckRun, ...]:
        return self._read("read checks", lambda: each_once(self._checks(commit)), self.checks_need)

    def comment(self, number: int, body: str, marker: str) -> None:
        text = clip(body if body.startswith(marker) else f"{marker}\n{body}", _BODY)
        work = f"comment on pull request {number}"
        self._write(work, lambda: self._comment(number, text, marker))

    def protected(self, branch: str) -> bool:
        return self._read("read branches", lambda: self._protected(branch))

    def compare_url(self, base: str, branch: str) -> str:
        return compare_url(self.kind, self.site.page, base, branch)

    # --- one operation ------------------------------------------------------------------------

    def _write(self, doing: str, work: Callable[[], T]) -> T:
        asked = Asked(doing, self.writes)
        if not self.site.token:
            raise no_token(self.site, asked)
        return self._try(asked, work)

    def _read(self, doing: str, work: Callable[[], T], needs: str = "") -> T:
        return self._try(Asked(doing, needs or self.reads), work)

    def _try(self, asked: Asked, work: Callable[[], T]) -> T:
        waited, tries = 0.0, 0
        while True:
            try:
                return work()
            except self.trouble as error:
                answer, cause = self._answer(error), error
            except self.odd as error:
                says = one_line(f"{type(error).__name__}: {error}", 120)
                raise UnreachableError(
                    f"{self.host} does not answer as {NAMES[self.kind]} does: {self._clean(says)}"
                ) from error
            wait = pause(answer, tries, self.clock.now())
            if wait is None or waited + wait > LONGEST_WAIT:
                raise refused(answer, asked, self.site, self.clock.now()) from cause
            self.clock.sleep(wait)
            waited, tries = waited + wait, tries + 1

    def _clean(self, text: str) -> str:
        return text.replace(self.site.token, "[token]") if self.site.token else text

    # --- what they have in common ---------------------------------------------------------------

    def _find(self, branch: str) -> PullRequest | None:
        newest = None
        for each in self._pulls(branch):
            if each.state == "open":
                return each
            newest = newest or each
        return newest

    def _open(self, text: PullRequestText) -> PullRequest:
        found = self._find(text.branch)
        if found and found.state == "open":
            return self._update(found.number, text)
        return self._dressed(self._create(text), text)

    def _update(self, number: int, text: PullRequestText) -> PullRequest:
        self._edit(number, text)
        return self._dressed(number, text)

    def _dressed(self, number: int, text: PullRequestText) -> PullRequest:
        self._add(number, "label", text.labels, self._label)
        self._add(number, "reviewer", text.reviewers, self._request)
        self._add(number, "assignee", text.assignees, self._assign)
        return self._get(number)

    def _add(
        self,
        number: int,
        what: str,
        names: Sequence[str],
        add: Callable[[int, Sequence[str]], Iterable[str]],
    ) -> None:
        """All at once; one by one where that is refused, and what still is becomes a note."""
        if not names:
            return
        try:
            for name in add(number, names):
                self._note(f"{self.host} did not take the {what}: {name}")
        except self.trouble as error:
            answer = self._answer(error)
            if not answer.clear_no:
                raise
            if len(names) == 1:
                says = self._clean(answer.says) or f"HTTP {answer.status}"
                self._note(f"{self.host} did not take the {what}: {names[0]} ({says})")
            else:
                for name in names:
                    self._add(number, what, (name,), add)

    def _note(self, text: str) -> None:
        note = one_line(text, 300)
        if note not in self.notes:
            self.notes.append(note)

    def _comment(self, number: int, text: str, marker: str) -> None:
        for key, body in self._comments(number):
            ours = body.lstrip().startswith(marker)
            if ours and (body == text or self._rewritten(number, key, text)):
                return
        self._write_comment(number, text)

    def _rewritten(self, number: int, key: int, text: str) -> bool:
        """Not where it is somebody else's, or gone."""
        try:
            self._rewrite_comment(number, key, text)
        except self.trouble as error:
            if self._answer(error).status not in (403, 404):
                raise
            return False
        return True

    # --- what each does in its own way ----------------------------------------------------------

    @abstractmethod
    def _answer(self, error: Exception) -> Answer: ...
    @abstractmethod
    def _pulls(self, branch: str) -> Iterable[PullRequest]:
        """The newest first."""

    @abstractmethod
    def _get(self, number: int) -> PullRequest: ...
    @abstractmethod
    def _create(self, text: PullRequestText) -> int: ...
    @abstractmethod
    def _edit(self, number: int, text: PullRequestText) -> None: ...
    @abstractmethod
    def _close(self, number: int) -> None: ...
    @abstractmethod
    def _label(self, number: int, names: Sequence[str]) -> Iterable[str]:
        """Returns those that were not taken, as do the next two."""

    @abstractmethod
    def _request(self, number: int, names: Sequence[str]) -> Iterable[str]: ...
    @abstractmethod
    def _assign(self, number: int, names: Sequence[str]) -> Iterable[str]: ...
    @abstractmethod
    def _checks(self, commit: str) -> Iterable[CheckRun]:
        """The newest first."""

    @abstractmethod
    def _comments(self, number: int) -> Iterable[tuple[int, str]]: ...
    @abstractmethod
    def _write_comment(self, number: int, text: str) -> None: ...
    @abstractmethod
    def _rewrite_comment(self, number: int, key: int, text: str) -> None: ...
    @abstractmethod
    def _protected(self, branch: str) -> bool: ...


def each_once(checks: Iterable[CheckRun]) -> tuple[CheckRun, ...]:
    """Each name once, in the order of names."""
    found: dict[str, CheckRun] = {}
    for check in checks:
        found.setdefault(check.name, check)
    return tuple(found[name] for name in sorted(found))


def ending(text: str) -> str:
    """The end of what a failed check said, made safe."""
    return plain(text[-10 * DETAIL :])[-DETAIL:].strip()


def link(url: object) -> str:
    """A web address from a forge, or "" for anything else."""
    text = one_line(str(url or ""), 500)
    return text if re.match(r"https?://", text) else ""


def _fitting(text: PullRequestText) -> PullRequestText:
    return replace(text, title=one_line(text.title, _TITLE), body=clip(text.body, _BODY))
