"""GitHub and GitHub Enterprise, through PyGithub."""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import requests
from github import Auth
from github.CheckRun import CheckRun as Run
from github.GithubException import BadAttributeException, GithubException, UnknownObjectException
from github.PullRequest import PullRequest as Pull
from github.Repository import Repository
from github.Requester import Requester
from urllib3.util import Retry

from smoldebug.clock import Clock
from smoldebug.records import CheckRun, PullRequest
from smoldebug.sources.forge.answers import Answer, words
from smoldebug.sources.forge.base import MOST, READ, BaseForge, ending, link
from smoldebug.sources.forge.site import Site
from smoldebug.sources.network import why
from smoldebug.sources.repository import PullRequestText
from smoldebug.untrusted import one_line, plain

_ANNOTATIONS = 20
# PyGithub would wait for ever for what comes later, and take what is elsewhere for nothing
_NOT_NOW = (202, 302, 303, 307, 308)
_RUNS = {"success": "passed", "neutral": "skipped", "skipped": "skipped"}
_STATUSES = {"success": "passed", "pending": "pending"}


class GitHub(BaseForge):
    kind = "github"
    reads, writes = "pull_requests: read", "pull_requests: write"
    checks_need = "checks: read and statuses: read"
    trouble = (GithubException, requests.RequestException)
    odd = (*BaseForge.odd, BadAttributeException)

    def __init__(self, site: Site, clock: Clock) -> None:
        super().__init__(site, clock)
        self._requester = _Requester(
            auth=Auth.Token(site.token) if site.token else None,
            base_url=site.api,
            timeout=int(READ),  # it takes one limit, for connecting too
            user_agent="smoldebug",
            per_page=100,
            verify=True,
            retry=Retry(0, status_forcelist=_NOT_NOW, allowed_methods=None),
            pool_size=None,
            lazy=True,
        )
        weakref.finalize(self, self._requester.close)
        self._repository = Repository(self._requester, url=f"/repos/{site.path}")

    def _answer(self, error: Exception) -> Answer:
        if isinstance(error, GithubException):
            headers = {name.lower(): str(value) for name, value in (error.headers or {}).items()}
            return Answer(error.status, words(error.data), headers)
        if isinstance(error, requests.exceptions.RetryError):
            return Answer(0, "it sends us elsewhere, or asks us to come back later")
        return Answer(0, why(error))

    def _pulls(self, branch: str) -> Iterator[PullRequest]:
        head = f"{self.site.path.partition('/')[0]}:{branch}"
        found = self._repository.get_pulls(state="all", head=head, sort="created", direction="desc")
        for pull in islice(found, MOST):
            if (pull.head.label or "").casefold() == head.casefold():
                yield _record(pull)

    def _get(self, number: int) -> PullRequest:
        return _record(self._repository.get_pull(number))

    def _create(self, text: PullRequestText) -> int:
        try:
            return self._send(text, draft=text.draft)
        except GithubException as error:
            if error.status != 422 or not text.draft or "draft" not in words(error.data).lower():
                raise
        self._note(f"{self.host} has no drafts for this repository: it is open for review")
        return self._send(text, draft=False)

    def _send(self, text: PullRequestText, *, draft: bool) -> int:
        return self._repository.create_pull(
            text.base, text.branch, title=text.title, body=text.body, draft=draft
        ).number

    def _edit(self, number: int, text: PullRequestText) -> None:
        self._repository.get_pull(number).edit(title=text.title, body=text.body)

    def _close(self, number: int) -> None:
        self._repository.get_pull(number).edit(state="closed")

    def _label(self, number: int, names: Sequence[str]) -> Iterable[str]:
        """GitHub makes those that it does not have."""
        self._repository.get_pull(number).add_to_labels(*names)
        return ()

    def _request(self, number: int, names: Sequence[str]) -> Iterable[str]:
        """Nobody is asked twice: GitHub would take a review already given for outdated."""
        pull = self._repository.get_pull(number)
        asked = {user.login.lower() for user in pull.requested_reviewers}
        asked |= {f"{_organization(self.site)}/{team.slug}" for team in pull.requested_teams}
        for review in islice(pull.get_reviews(), MOST):
            user: Any = review.user  # None where the account is gone
            asked.add(user.login.lower() if user else "")
        new = [name for name in names if name.lower() not in asked]
        if new:
            pull.create_review_request(
                reviewers=[name for name in new if "/" not in name],
                team_reviewers=[name.rpartition("/")[2] for name in new if "/" in name],
            )
        return ()

    def _assign(self, number: int, names: Sequence[str]) -> Iterable[str]:
        """GitHub leaves out in silence whom it cannot assign."""
        pull = self._repository.get_pull(number)
        pull.add_to_assignees(*names)
        taken = {user.login.lower() for user in pull.assignees}
        return [name for name in names if name.lower() not in taken]

    def _checks(self, commit: str) -> Iterator[CheckRun]:
        found = self._repository.get_commit(commit)
        runs = islice(found.get_check_runs(), MOST)
        yield from map(_run, sorted(runs, key=lambda run: run.id, reverse=True))
        _, combined = self._requester.requestJsonAndCheck(  # 100 at once: PyGithub has 30
            "GET", f"{found.url}/status", {"per_page": 100}
        )
        yield from map(_status, combined["statuses"])

    def _comments(self, number: int) -> Iterator[tuple[int, str]]:
        """Not those of people who copied a marker: theirs they could change again."""
        me = self._me()
        for each in islice(self._repository.get_pull(number).get_issue_comments(), MOST):
            user: Any = each.user  # None where the account is gone
            login = user.login if user else ""
            if login == me if me else login.endswith("[bot]"):
                yield each.id, each.body or ""

    def _me(self) -> str:
        """The token's user; "" for that of a job, which is a bot and may not ask."""
        try:
            _, user = self._requester.requestJsonAndCheck("GET", "/user")
        except GithubException as error:
            if error.status not in (401, 403, 404):
                raise
            return ""
        return str(user["login"])

    def _write_comment(self, number: int, text: str) -> None:
        self._repository.get_pull(number).create_issue_comment(text)

    def _rewrite_comment(self, number: int, key: int, text: str) -> None:
        self._repository.get_pull(number).get_issue_comment(key).edit(text)

    def _protected(self, branch: str) -> bool:
        try:
            return bool(self._repository.get_branch(branch).protected)
        except UnknownObjectException:
            return False


class _Requester(Requester):
    def requestJsonAndCheck(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Raises ValueError for a page: PyGithub takes it for an object without fields."""
        headers, data = super().requestJsonAndCheck(verb, *args, **kwargs)
        if "json" not in headers.get("content-type", "") and (data is not None or verb == "GET"):
            raise ValueError("no JSON")
        return headers, data


def _organization(site: Site) -> str:
    return site.path.partition("/")[0].lower()


def _record(pull: Pull) -> PullRequest:
    state = "merged" if pull.merged_at else str(pull.state)
    return PullRequest(
        int(pull.number),
        link(pull.html_url),
        state,
        str(pull.head.sha),
        title=one_line(pull.title, 300),
        body=plain(pull.body or ""),
        draft=bool(pull.draft),
        labels=tuple(one_line(label.name) for label in pull.labels),
    )


def _run(run: Run) -> CheckRun:
    done = run.status == "completed"
    state = _RUNS.get(str(run.conclusion), "failed") if done else "pending"
    said = ending(_said(run)) if state == "failed" else ""
    return CheckRun(one_line(run.name), state, link(run.html_url), said)


def _status(status: Mapping[str, Any]) -> CheckRun:
    state = _STATUSES.get(status["state"], "failed")
    said = ending(status["description"] or "") if state == "failed" else ""
    return CheckRun(one_line(status["context"]), state, link(status["target_url"]), said)


def _said(run: Run) -> str:
    """What it printed last; else its summary and what it has to say of lines."""
    output: Any = run.output
    parts = [output.title, output.summary]
    if output.annotations_count:
        parts += [
            f"{note.path}:{note.start_line}: {note.message}"
            for note in islice(run.get_annotations(), _ANNOTATIONS)
        ]
    parts.append(output.text)
    return "\n".join(str(part) for part in parts if part) or f"it ended as {run.conclusion}"
