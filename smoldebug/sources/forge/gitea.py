"""Gitea and Forgejo, through pyforgejo."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast
from urllib.parse import quote, urljoin, urlsplit

import httpx
from pyforgejo import PyforgejoApi
from pyforgejo.core.api_error import ApiError
from pyforgejo.core.request_options import RequestOptions

from smoldebug.clock import Clock
from smoldebug.records import CheckRun, PullRequest
from smoldebug.sources.forge.answers import Answer, words
from smoldebug.sources.forge.base import CONNECT, READ, BaseForge, ending, link
from smoldebug.sources.forge.site import Site
from smoldebug.sources.network import why
from smoldebug.sources.repository import PullRequestText
from smoldebug.untrusted import one_line, plain

_WIP = "WIP: "
_PAGES, _PAGE = 20, 50  # a server gives fewer than a page asks for, if it is told to
_SORT = "recentupdate"
_COLOR = "#ededed"  # of labels that are made
_STATES = {"success": "passed", "skipped": "skipped", "pending": "pending"}
_ONCE = RequestOptions(max_retries=0)  # it never waits by itself


class Gitea(BaseForge):
    kind = "gitea"
    reads = "the scopes read:repository and read:issue"
    writes = "the scopes write:repository and write:issue"
    trouble = (ApiError, httpx.HTTPError)

    def __init__(self, site: Site, clock: Clock) -> None:
        super().__init__(site, clock)
        self._owner, _, self._name = site.path.partition("/")
        self._at = (self._owner, self._name)
        limit = httpx.Timeout(READ, connect=CONNECT)
        http = httpx.Client(follow_redirects=True, event_hooks={"request": [_guard(site)]})
        weakref.finalize(self, http.close)
        client = PyforgejoApi(
            base_url=site.api,
            api_key=site.token or "none",  # it would take API_KEY of the environment for ""
            httpx_client=http,
            timeout=cast(float, limit),  # httpx takes both
        )
        self._repository, self._issues = client.repository, client.issue
        self._organization = client.organization

    def _answer(self, error: Exception) -> Answer:
        if isinstance(error, ApiError):
            said = getattr(error.body, "message", None) or error.body
            headers = {name.lower(): value for name, value in (error.headers or {}).items()}
            return Answer(error.status_code or 0, words(said), headers)
        return Answer(0, why(error))

    def _pulls(self, branch: str) -> Iterator[PullRequest]:
        """All open ones; of the others the one that was touched last."""
        yield from self._of_branch(branch, "open")
        for pull in self._of_branch(branch, "closed"):
            yield pull
            break

    def _of_branch(self, branch: str, state: str) -> Iterator[PullRequest]:
        listed = self._repository.repo_list_pull_requests
        for pull in _paged(lambda **page: listed(*self._at, state=state, sort=_SORT, **page)):
            # Of a branch that is gone only the label is left
            if (
                branch in (pull.head.ref, pull.head.label)
                and pull.head.repo_id == pull.base.repo_id
            ):
                yield _record(pull)

    def _get(self, number: int) -> PullRequest:
        return _record(self._pull(number))

    def _pull(self, number: int) -> Any:
        return self._repository.repo_get_pull_request(*self._at, number, request_options=_ONCE)

    def _create(self, text: PullRequestText) -> int:
        made: Any = self._repository.repo_create_pull_request(
            *self._at,
            base=text.base,
            head=text.branch,
            title=(_WIP if text.draft else "") + text.title,
            body=text.body,
            request_options=_ONCE,
        )
        return int(made.number)

    def _edit(self, number: int, text: PullRequestText) -> None:
        mark = _WIP if self._get(number).draft else ""
        self._patch(number, title=mark + text.title, body=text.body)

    def _close(self, number: int) -> None:
        self._patch(number, state="closed")

    def _patch(self, number: int, **values: Any) -> None:
        self._repository.repo_edit_pull_request(*self._at, number, **values, request_options=_ONCE)

    def _label(self, number: int, names: Sequence[str]) -> Iterable[str]:
        known = self._labels(names)
        ids: Any = [known[name] if name in known else self._new_label(name) for name in names]
        self._issues.add_label(*self._at, number, labels=ids, request_options=_ONCE)
        return ()

    def _labels(self, names: Sequence[str]) -> dict[str, int]:
        """Ids of the labels that are there: the repository's, and those of its organization."""
        own = self._issues.list_labels
        known = {label.name: label.id for label in _paged(lambda **page: own(*self._at, **page))}
        if not set(names) <= set(known):
            shared = self._organization.org_list_labels
            try:
                for label in _paged(lambda **page: shared(self._owner, **page)):
                    known.setdefault(label.name, label.id)
            except ApiError as error:  # the owner is a user; or the token may not look there
                if not self._answer(error).clear_no:
                    raise
        return known

    def _new_label(self, name: str) -> int:
        made: Any = self._issues.create_label(
            *self._at, name=name, color=_COLOR, request_options=_ONCE
        )
        return int(made.id)

    def _request(self, number: int, names: Sequence[str]) -> Iterable[str]:
        """Nobody is asked twice. Gitea knows the teams of the repository's own organization."""
        reviews = self._repository.repo_list_pull_reviews
        asked = set()
        for review in _paged(lambda **page: reviews(*self._at, number, **page)):
            asked.add(review.user.login.lower() if review.user else "")
            asked.add(f"{self._owner}/{review.team.name}".lower() if review.team else "")
        new = [name for name in names if name.lower() not in asked]
        if new:
            self._repository.repo_create_pull_review_requests(
                *self._at,
                number,
                reviewers=[name for name in new if "/" not in name],
                team_reviewers=[name.rpartition("/")[2] for name in new if "/" in name],
                request_options=_ONCE,
            )
        return ()

    def _assign(self, number: int, names: Sequence[str]) -> Iterable[str]:
        now = [user.login for user in self._pull(number).assignees or ()]
        self._patch(number, assignees=list(dict.fromkeys((*now, *names))))
        return ()

    def _checks(self, commit: str) -> Iterator[CheckRun]:
        combined = self._repository.repo_get_combined_status_by_ref

        def statuses(**page: Any) -> Any:
            return combined(*self._at, commit, **page).statuses

        for status in sorted(_paged(statuses), key=lambda each: each.id, reverse=True):
            state = _STATES.get(status.status, "failed")
            said = ending(status.description or "") if state == "failed" else ""
            url = urljoin(self.site.web, status.target_url) if status.target_url else ""
            yield CheckRun(one_line(status.context), state, link(url), said)  # Actions: relative

    def _comments(self, number: int) -> Iterator[tuple[int, str]]:
        found: Any = self._issues.get_comments(*self._at, number, request_options=_ONCE)
        for each in found or ():
            yield each.id, each.body or ""

    def _write_comment(self, number: int, text: str) -> None:
        self._issues.create_comment(*self._at, number, body=text, request_options=_ONCE)

    def _rewrite_comment(self, number: int, key: int, text: str) -> None:
        self._issues.edit_comment(*self._at, key, body=text, request_options=_ONCE)

    def _protected(self, branch: str) -> bool:
        try:
            found = self._repository.repo_get_branch(
                *self._at, quote(branch), request_options=_ONCE
            )
        except ApiError as error:
            if error.status_code != 404:
                raise
            return False
        return bool(found.protected)


def _paged(listed: Callable[..., Any]) -> Iterator[Any]:
    for page in range(1, _PAGES + 1):
        found = listed(page=page, limit=_PAGE, request_options=_ONCE)
        if not found:
            return
        yield from found


def _guard(site: Site) -> Callable[[httpx.Request], None]:
    """No request goes elsewhere; and none has a token where there is none."""
    origin = urlsplit(site.api)[:2]

    def check(request: httpx.Request) -> None:
        if urlsplit(str(request.url))[:2] != origin:
            raise httpx.RequestError("it sends us to another host")
        if not site.token:
            request.headers.pop("Authorization", None)

    return check


def _record(pull: Any) -> PullRequest:
    title = one_line(pull.title, 300)
    draft = title.startswith(_WIP) if pull.draft is None else bool(pull.draft)
    return PullRequest(
        pull.number,
        link(pull.html_url),
        "merged" if pull.merged else str(pull.state),
        str(pull.head.sha),
        title=title.removeprefix(_WIP) if draft else title,
        body=plain(pull.body or ""),
        draft=draft,
        labels=tuple(one_line(label.name) for label in pull.labels or ()),
    )
