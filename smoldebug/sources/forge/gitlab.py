"""GitLab, through python-gitlab: its merge requests, its pipelines."""

import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from gitlab import Gitlab
from gitlab.exceptions import GitlabError, GitlabGetError, RedirectError

from smoldebug.clock import Clock
from smoldebug.records import CheckRun, PullRequest
from smoldebug.sources.forge.answers import Answer, words
from smoldebug.sources.forge.base import CONNECT, MOST, READ, BaseForge, ending, link
from smoldebug.sources.forge.site import Site
from smoldebug.sources.network import why
from smoldebug.sources.repository import PullRequestText
from smoldebug.untrusted import one_line, plain

_DRAFT = "Draft: "
_TRACES = 5  # of failed jobs that are read
_TRACE_BYTES = 8 << 20
_STATES = {"opened": "open", "locked": "open"}  # locked: it is being merged
_JOBS = {"success": "passed", "skipped": "skipped", "manual": "skipped"}
_ENDED_BADLY = ("failed", "canceled")


class GitLab(BaseForge):
    kind = "gitlab"
    reads, writes = "the scope read_api", "the scope api and the role Developer"
    trouble = (GitlabError, requests.RequestException)

    def __init__(self, site: Site, clock: Clock) -> None:
        super().__init__(site, clock)
        self._session = _Session(site)
        weakref.finalize(self, self._session.close)
        job = site.variable == "CI_JOB_TOKEN"
        client = _Client(
            site.api,
            oauth_token=None if job else site.token or None,  # takes access tokens of all kinds
            job_token=site.token if job else None,
            timeout=cast(float, (CONNECT, READ)),  # requests takes both
            session=self._session,
            keep_base_url=True,  # the next page is read from where the first one was
            user_agent="smoldebug",
            per_page=100,
        )
        self._users = client.users
        self._project = client.projects.get(site.path, lazy=True)

    def _answer(self, error: Exception) -> Answer:
        if isinstance(error, GitlabError):
            headers = {name.lower(): value for name, value in self._session.headers_seen.items()}
            status = error.response_code or (302 if isinstance(error, RedirectError) else 200)
            return Answer(status, words(error.args[0]), headers)
        return Answer(0, why(error))

    def _pulls(self, branch: str) -> Iterator[PullRequest]:
        found = self._project.mergerequests.list(
            source_branch=branch, state="all", order_by="created_at", sort="desc", get_all=False
        )
        for each in found:
            if each.source_project_id == each.target_project_id:
                yield _record(each)

    def _get(self, number: int) -> PullRequest:
        return _record(self._project.mergerequests.get(number))

    def _create(self, text: PullRequestText) -> int:
        request = {
            "source_branch": text.branch,
            "target_branch": text.base,
            "title": (_DRAFT if text.draft else "") + text.title,
            "description": text.body,
        }
        return int(self._project.mergerequests.create(request).iid)

    def _edit(self, number: int, text: PullRequestText) -> None:
        mark = _DRAFT if self._get(number).draft else ""
        self._put(number, {"title": mark + text.title, "description": text.body})

    def _close(self, number: int) -> None:
        if self._get(number).state == "open":  # closing twice is refused
            self._put(number, {"state_event": "close"})

    def _label(self, number: int, names: Sequence[str]) -> Iterable[str]:
        """GitLab makes those that it does not have, and tells labels apart by commas."""
        self._put(number, {"add_labels": ",".join(name for name in names if "," not in name)})
        return [name for name in names if "," in name]

    def _request(self, number: int, names: Sequence[str]) -> Iterable[str]:
        return self._people(number, "reviewers", "reviewer_ids", names)

    def _assign(self, number: int, names: Sequence[str]) -> Iterable[str]:
        return self._people(number, "assignees", "assignee_ids", names)

    def _people(self, number: int, field: str, ids: str, names: Sequence[str]) -> Iterable[str]:
        """No groups; and a plan that has one person only leaves the others out in silence."""
        request: Any = self._project.mergerequests.get(number)
        now = {user["username"].lower(): user["id"] for user in getattr(request, field)}
        new = {
            name.lower(): self._user(name)
            for name in names
            if "/" not in name and name.lower() not in now
        }
        known = {name: user for name, user in new.items() if user}
        if known:
            done = self._put(number, {ids: [*now.values(), *known.values()]})
            now = {user["username"].lower(): user["id"] for user in done[field]}
        return [name for name in names if name.lower() not in now]

    def _user(self, name: str) -> int:
        found: Any = next(iter(self._users.list(username=name, get_all=False)), None)
        return found.id if found else 0

    def _checks(self, commit: str) -> Iterator[CheckRun]:
        """Of the newest pipeline. Jobs and what other systems report are statuses alike."""
        pipeline = self._pipeline(commit)
        wanted = {"pipeline_id": pipeline["id"]} if pipeline else {}  # older ones take all of them
        at: Any = self._project.commits.get(pipeline["sha"] if pipeline else commit, lazy=True)
        found = islice(at.statuses.list(iterator=True, query_parameters=wanted), MOST)
        traces = _TRACES
        for status in sorted(found, key=lambda each: each.id, reverse=True):
            state = _state(status.status, bool(status.allow_failure))
            detail = ""
            if state == "failed":
                detail = self._trace(status.id) if traces > 0 else ""
                detail, traces = detail or ending(status.description or ""), traces - 1
            yield CheckRun(one_line(status.name), state, link(status.target_url), detail)

    def _pipeline(self, commit: str) -> dict[str, Any] | None:
        """One of merged results stands at a commit of its own, which only its request knows."""
        for each in self._project.pipelines.list(sha=commit, get_all=False):
            return each.asdict()
        at: Any = self._project.commits.get(commit, lazy=True)
        for each in at.merge_requests():
            if each["state"] == "opened" and each["sha"] == commit:
                request: Any = self._project.mergerequests.get(each["iid"])
                return cast("dict[str, Any] | None", request.head_pipeline)
        return None

    def _trace(self, job: int) -> str:
        """The end of a job's log; "" for a status that is no job, or when it may not be read."""
        kept = b""
        try:
            chunks: Any = self._project.jobs.get(job, lazy=True).trace(streamed=True, iterator=True)
            for chunk in islice(chunks, _TRACE_BYTES // 1024):
                kept = (kept + chunk)[-16384:]
        except GitlabError as error:
            if not self._answer(error).clear_no:
                raise
        lines = plain(kept.decode("utf-8", "replace")).splitlines()
        return ending("\n".join(line for line in lines if not line.startswith("section_")))

    def _comments(self, number: int) -> Iterator[tuple[int, str]]:
        notes: Any = self._project.mergerequests.get(number, lazy=True).notes
        for each in islice(notes.list(iterator=True, sort="asc"), MOST):
            yield each.id, each.body or ""

    def _write_comment(self, number: int, text: str) -> None:
        self._project.mergerequests.get(number, lazy=True).notes.create({"body": text})

    def _rewrite_comment(self, number: int, key: int, text: str) -> None:
        self._project.mergerequests.get(number, lazy=True).notes.update(key, {"body": text})

    def _protected(self, branch: str) -> bool:
        try:
            return bool(self._project.branches.get(branch).protected)
        except GitlabGetError as error:
            if error.response_code != 404:
                raise
            return False

    def _put(self, number: int, values: dict[str, Any]) -> dict[str, Any]:
        return self._project.mergerequests.update(number, values)


class _Client(Gitlab):
    def http_request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Never waits by itself."""
        return super().http_request(*args, **{**kwargs, "obey_rate_limit": False})


class _Session(requests.Session):
    """Follows nobody to another host, and remembers the headers, which errors do not have."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._origin = urlsplit(site.api)[:2]
        self.headers_seen: Any = {}
        self.auth = _as_it_is  # else a .netrc would speak for who gives no token
        self.hooks["response"].append(self._remember)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        return target if target and self._stays(target) else None

    def _stays(self, target: str) -> bool:
        return (
            target.startswith("/")
            and not target.startswith("//")
            or (urlsplit(target)[:2] == self._origin)
        )

    def _remember(self, response: requests.Response, **_: Any) -> None:
        self.headers_seen = response.headers


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _state(status: str, may_fail: bool) -> str:
    if status in _ENDED_BADLY:
        return "skipped" if may_fail else "failed"
    return _JOBS.get(status, "pending")


def _record(request: Any) -> PullRequest:
    title, draft = one_line(request.title, 300), bool(request.draft)
    return PullRequest(
        request.iid,
        link(request.web_url),
        _STATES.get(request.state, str(request.state)),
        str(request.sha or ""),
        title=title.removeprefix(_DRAFT) if draft else title,
        body=plain(request.description or ""),
        draft=draft,
        labels=tuple(one_line(str(label)) for label in request.labels),
    )
