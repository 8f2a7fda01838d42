"""Forges on loopback for tests: the lab's GitHub, and small ones in the shape of GitLab's and
Gitea's REST, with one handle for all three.

    with bench("gitlab", tmp_path) as forges:
        branch, commit = forges.branch()
        forges.faults.add(Rule("POST", "*/merge_requests", status=502))
        forges.open().find(branch)
"""

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from smoldebug.clock import FakeClock
from smoldebug.lab.forge.faults import Faults, Rule
from smoldebug.lab.forge.server import Forge as LabForge
from smoldebug.lab.forge.server import serve_forge
from smoldebug.lab.forge.state import Check, Status
from smoldebug.lab.loopback import LoopbackHandler, LoopbackServer
from smoldebug.playbook.patches import PullRequestTool
from smoldebug.sources.forge.base import BaseForge
from smoldebug.sources.forge.open import open_forge
from smoldebug.sources.forge.site import Token

TOKEN = "tok-Zx81-of-the-tests"
REPOSITORY = "shop/manifests"
Kind = Literal["auto", "github", "gitlab", "gitea"]


class Bench(ABC):
    """A forge with the repository shop/manifests; alice and bob have accounts, ghost has none."""

    kind: str
    named: Kind = "auto"
    url: str
    token: str = TOKEN
    faults: Faults

    def __init__(self) -> None:
        self.clock = FakeClock(datetime.now(UTC))

    def open(self, token: str | None = None) -> BaseForge:
        given = Token(self.token if token is None else token, "SHOP_TOKEN")
        forge = open_forge(
            PullRequestTool(forge=self.named),
            f"{self.url}/{REPOSITORY}.git",
            lambda kind, host: given,
            self.clock,
        )
        assert isinstance(forge, BaseForge)
        return forge

    @abstractmethod
    def refuse_people(self) -> None:
        """Let the forge refuse who has no account, where it is too simple to do so itself."""

    @abstractmethod
    def branch(self) -> tuple[str, str]:
        """A new branch with a commit of its own."""

    @abstractmethod
    def check(self, commit: str, name: str, state: str, said: str = "") -> None: ...
    @abstractmethod
    def status(self, commit: str, name: str, state: str, said: str = "") -> None: ...
    @abstractmethod
    def protect(self, branch: str) -> None: ...
    @abstractmethod
    def merge(self, number: int) -> None: ...
    @abstractmethod
    def comments(self, number: int) -> list[str]: ...
    @abstractmethod
    def people(self, number: int) -> tuple[list[str], list[str]]:
        """Reviewers and assignees."""


class LabBench(Bench):
    kind = "github"

    def __init__(self, forge: LabForge, folder: Path) -> None:
        super().__init__()
        self.forge, self.url, self.token, self.faults = forge, forge.url, forge.token, forge.faults
        (folder / "seed").mkdir()
        (folder / "seed" / "a.yaml").write_text("a: 1\n")
        forge.create_repository(REPOSITORY, folder / "seed")
        self.project = forge.hub.project(*REPOSITORY.split("/"))
        self.bare = forge.hub.bare(self.project)
        self.main = self.bare.branches()["main"]
        self.tree = self.bare.describe(self.main)["tree"]
        self._names = count(1)

    def refuse_people(self) -> None:
        self.faults.add(
            Rule("POST", "*/requested_reviewers", times=2, status=422, message="no such user")
        )

    def branch(self) -> tuple[str, str]:
        name = f"smoldebug/patch-{next(self._names)}"
        commit = self.bare.commit_tree(self.tree, (self.main,), name)
        self.bare.set_ref(f"refs/heads/{name}", commit)
        return name, commit

    def check(self, commit: str, name: str, state: str, said: str = "") -> None:
        words = {"passed": "success", "failed": "failure", "skipped": "neutral", "pending": ""}
        status = "in_progress" if state == "pending" else "completed"
        number = self.forge.hub.state.new_id()
        self.project.checks.append(Check(number, name, commit, [], status, words[state], text=said))

    def status(self, commit: str, name: str, state: str, said: str = "") -> None:
        word = {"passed": "success", "failed": "failure"}.get(state, state)
        number = self.forge.hub.state.new_id()
        self.project.statuses.append(Status(number, commit, word, name, said, "", _now()))

    def protect(self, branch: str) -> None:
        self.project.protected.append(branch)

    def merge(self, number: int) -> None:
        pull = self.forge.hub.pull(self.project, number)
        pull.open, pull.merged = False, _now()

    def comments(self, number: int) -> list[str]:
        return [each.body for each in self.project.comments if each.number == number]

    def people(self, number: int) -> tuple[list[str], list[str]]:
        pull = self.forge.hub.pull(self.project, number)
        return [*pull.reviewers, *(f"shop/{team}" for team in pull.teams)], pull.assignees


# --- GitLab and Gitea -------------------------------------------------------------------------


class Refused(Exception):
    def __init__(self, status: int, message: Any = "") -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Pull:
    number: int
    title: str
    body: str
    source: str
    target: str
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    comments: dict[int, str] = field(default_factory=dict)


@dataclass
class Reported:
    id: int
    commit: str
    name: str
    state: str
    said: str


@dataclass
class Request:
    words: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]


Handler = Callable[..., Any]


class SmallForge(Bench):
    """What the two have in common: everything but the shapes of the answers."""

    prefix: str
    routes: list[tuple[str, str, str]]  # method, pattern, name of the method that answers
    users = {"alice": 2, "bob": 3, "robot": 9}
    headers: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__()
        self.faults, self.requests = Faults(), list[str]()
        self.branches = {"main": "0" * 40}
        self.guarded = set[str]()
        self.pulls = list[Pull]()
        self.labels = {"bug": 1}
        self.reported = list[Reported]()
        self._ids = count(100)
        self._compiled = [
            (method, re.compile(self.prefix + pattern), name)
            for method, pattern, name in self.routes
        ]

    def branch(self) -> tuple[str, str]:
        name, commit = f"smoldebug/patch-{len(self.branches)}", f"{len(self.branches):040x}"
        self.branches[name] = commit
        return name, commit

    def check(self, commit: str, name: str, state: str, said: str = "") -> None:
        self.reported.append(Reported(next(self._ids), commit, name, state, said))

    status = check

    def refuse_people(self) -> None:
        pass

    def protect(self, branch: str) -> None:
        self.guarded.add(branch)

    def merge(self, number: int) -> None:
        self.pull(number).state = "merged"

    def comments(self, number: int) -> list[str]:
        return list(self.pull(number).comments.values())

    def people(self, number: int) -> tuple[list[str], list[str]]:
        return self.pull(number).reviewers, self.pull(number).assignees

    def pull(self, number: int) -> Pull:
        if not 1 <= number <= len(self.pulls):
            raise Refused(404, "404 Not found")
        return self.pulls[number - 1]

    def add(self, title: str, body: str, source: str, target: str) -> Pull:
        if any(each.state == "open" and each.source == source for each in self.pulls):
            raise Refused(409, ["Another open one already exists for this source branch"])
        if not title:
            raise Refused(422, {"title": ["can't be blank"]})
        self.pulls.append(Pull(len(self.pulls) + 1, title, body, source, target))
        return self.pulls[-1]

    def answer(self, method: str, target: str, token: str, body: bytes) -> tuple[int, Any]:
        url = urlsplit(target)
        self.requests.append(f"{method} {target}")
        for wanted, pattern, name in self._compiled:
            if wanted == method and (found := pattern.fullmatch(url.path)):
                if token != TOKEN and "version" not in url.path:
                    raise Refused(401, "401 Unauthorized")
                words = {key: unquote(value) for key, value in found.groupdict().items()}
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                request = Request(words, query, json.loads(body or b"{}"))
                handler: Handler = getattr(self, name)
                return (201 if method == "POST" else 200), handler(request)
        raise Refused(404, "404 Not Found")


class GitLabServer(SmallForge):
    kind = "gitlab"
    prefix = "/api/v4"
    _project = "/projects/shop%2Fmanifests"
    _mr = f"{_project}/merge_requests"
    routes = [
        ("GET", "/version", "version"),
        ("GET", "/users", "find_users"),
        ("GET", _mr, "list_pulls"),
        ("POST", _mr, "create"),
        ("GET", f"{_mr}/(?P<number>\\d+)", "get"),
        ("PUT", f"{_mr}/(?P<number>\\d+)", "edit"),
        ("GET", f"{_mr}/(?P<number>\\d+)/notes", "notes"),
        ("POST", f"{_mr}/(?P<number>\\d+)/notes", "add_note"),
        ("PUT", f"{_mr}/(?P<number>\\d+)/notes/(?P<id>\\d+)", "edit_note"),
        ("GET", f"{_project}/pipelines", "pipelines"),
        ("GET", f"{_project}/repository/commits/(?P<sha>\\w+)/statuses", "statuses"),
        ("GET", f"{_project}/repository/commits/(?P<sha>\\w+)/merge_requests", "requests_of"),
        ("GET", f"{_project}/jobs/(?P<id>\\d+)/trace", "trace"),
        ("GET", f"{_project}/repository/branches/(?P<branch>[^/]+)", "get_branch"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.one_reviewer = False  # as without a paid plan
        self.merged_results = dict[str, str]()  # commit -> that of its pipeline

    def version(self, request: Request) -> Any:
        return {"version": "18.1.0", "revision": "abc"}

    def find_users(self, request: Request) -> Any:
        name = request.query["username"].lower()
        return [{"id": self.users[name], "username": name}] if name in self.users else []

    def list_pulls(self, request: Request) -> Any:
        source = request.query["source_branch"]
        return [self._document(each) for each in reversed(self.pulls) if each.source == source]

    def create(self, request: Request) -> Any:
        wanted = request.body
        return self._document(
            self.add(
                wanted["title"].removeprefix("Draft: ") and wanted["title"],
                wanted["description"],
                wanted["source_branch"],
                wanted["target_branch"],
            )
        )

    def get(self, request: Request) -> Any:
        return self._document(self.pull(int(request.words["number"])))

    def edit(self, request: Request) -> Any:
        pull, wanted = self.pull(int(request.words["number"])), request.body
        if wanted.get("state_event") == "close":
            pull.state = "closed"
        pull.title, pull.body = (
            wanted.get("title", pull.title),
            wanted.get("description", pull.body),
        )
        new = [name for name in wanted.get("add_labels", "").split(",") if name]
        pull.labels = list(dict.fromkeys((*pull.labels, *new)))
        by_id = {number: name for name, number in self.users.items()}
        if "reviewer_ids" in wanted:
            pull.reviewers = [by_id[each] for each in wanted["reviewer_ids"]]
            pull.reviewers = pull.reviewers[:1] if self.one_reviewer else pull.reviewers
        if "assignee_ids" in wanted:
            pull.assignees = [by_id[each] for each in wanted["assignee_ids"]]
        return self._document(pull)

    def notes(self, request: Request) -> Any:
        comments = self.pull(int(request.words["number"])).comments
        return [{"id": number, "body": body} for number, body in comments.items()]

    def add_note(self, request: Request) -> Any:
        number, body = next(self._ids), request.body["body"]
        self.pull(int(request.words["number"])).comments[number] = body
        return {"id": number, "body": body}

    def edit_note(self, request: Request) -> Any:
        comments, number = self.pull(int(request.words["number"])).comments, request.words["id"]
        comments[int(number)] = request.body["body"]
        return {"id": int(number), "body": comments[int(number)]}

    def pipelines(self, request: Request) -> Any:
        sha = request.query["sha"]
        runs = any(each.commit == sha for each in self.reported)
        return [{"id": 7, "sha": sha}] if runs else []

    def requests_of(self, request: Request) -> Any:
        sha = request.words["sha"]
        return [
            {"iid": pull.number, "state": "opened", "sha": sha}
            for pull in self.pulls
            if pull.state == "open" and self.branches[pull.source] == sha
        ]

    def statuses(self, request: Request) -> Any:
        words = {"passed": "success", "failed": "failed", "pending": "running"}
        return [
            {
                "id": each.id,
                "name": each.name,
                "status": words.get(each.state, "failed"),
                "allow_failure": each.state == "skipped",
                "target_url": f"{self.url}/shop/manifests/-/jobs/{each.id}",
                "description": None,
            }
            for each in self.reported
            if each.commit == request.words["sha"]
        ]

    def trace(self, request: Request) -> Any:
        wanted = int(request.words["id"])
        said = next(each.said for each in self.reported if each.id == wanted)
        return f"section_start:1:run\r\x1b[0Krunning\n{said}\nsection_end:1:run\r\x1b[0K".encode()

    def get_branch(self, request: Request) -> Any:
        branch = request.words["branch"]
        if branch not in self.branches:
            raise Refused(404, "404 Branch Not Found")
        return {"name": branch, "protected": branch in self.guarded}

    def _document(self, pull: Pull) -> Any:
        commit = self.branches[pull.source]
        merged = self.merged_results.get(commit)
        return {
            "iid": pull.number,
            "web_url": f"{self.url}/shop/manifests/-/merge_requests/{pull.number}",
            "state": {"open": "opened"}.get(pull.state, pull.state),
            "sha": commit,
            "title": pull.title,
            "description": pull.body,
            "draft": pull.title.startswith("Draft: "),
            "labels": pull.labels,
            "source_project_id": 1,
            "target_project_id": 1,
            "reviewers": [self._user(name) for name in pull.reviewers],
            "assignees": [self._user(name) for name in pull.assignees],
            "head_pipeline": {"id": 8, "sha": merged} if merged else None,
        }

    def _user(self, name: str) -> Any:
        return {"id": self.users[name], "username": name}


class GiteaServer(SmallForge):
    kind = "gitea"
    prefix = "/api/v1"
    _repo = "/repos/shop/manifests"
    _number = "(?P<number>\\d+)"
    routes = [
        ("GET", "/version", "version"),
        ("GET", f"{_repo}/pulls", "list_pulls"),
        ("POST", f"{_repo}/pulls", "create"),
        ("GET", f"{_repo}/pulls/{_number}", "get"),
        ("PATCH", f"{_repo}/pulls/{_number}", "edit"),
        ("GET", f"{_repo}/pulls/{_number}/reviews", "reviews"),
        ("POST", f"{_repo}/pulls/{_number}/requested_reviewers", "request"),
        ("GET", f"{_repo}/labels", "list_labels"),
        ("POST", f"{_repo}/labels", "create_label"),
        ("POST", f"{_repo}/issues/{_number}/labels", "add_labels"),
        ("GET", f"{_repo}/issues/{_number}/comments", "list_comments"),
        ("POST", f"{_repo}/issues/{_number}/comments", "add_comment"),
        ("PATCH", f"{_repo}/issues/comments/(?P<id>\\d+)", "edit_comment"),
        ("GET", f"{_repo}/commits/(?P<sha>\\w+)/status", "combined"),
        ("GET", f"{_repo}/branches/(?P<branch>.+)", "get_branch"),
    ]

    def version(self, request: Request) -> Any:
        return {"version": "1.24.0"}

    def list_pulls(self, request: Request) -> Any:
        wanted = request.query["state"]
        found = [each for each in self.pulls[::-1] if (each.state == "open") == (wanted == "open")]
        return [self._document(each) for each in self._page(found, request)]

    def create(self, request: Request) -> Any:
        wanted = request.body
        return self._document(
            self.add(wanted["title"], wanted["body"], wanted["head"], wanted["base"])
        )

    def get(self, request: Request) -> Any:
        return self._document(self.pull(int(request.words["number"])))

    def edit(self, request: Request) -> Any:
        pull, wanted = self.pull(int(request.words["number"])), request.body
        unknown = [name for name in wanted.get("assignees", ()) if name not in self.users]
        if unknown:
            raise Refused(422, f"Assignee does not exist: [name: {unknown[0]}]")
        pull.title, pull.body = wanted.get("title", pull.title), wanted.get("body", pull.body)
        pull.state = wanted.get("state", pull.state)
        pull.assignees = wanted.get("assignees", pull.assignees)
        return self._document(pull)

    def reviews(self, request: Request) -> Any:
        people = self.pull(int(request.words["number"])).reviewers
        found = [
            {"team": {"id": 1, "name": name.partition("/")[2]}}
            if "/" in name
            else {"user": {"login": name}}
            for name in people
        ]
        return self._page(found, request)

    def request(self, request: Request) -> Any:
        pull, wanted = self.pull(int(request.words["number"])), request.body
        unknown = [name for name in wanted["reviewers"] if name not in self.users]
        if unknown:
            raise Refused(404, f"user does not exist [name: {unknown[0]}]")
        pull.reviewers += [*wanted["reviewers"], *(f"shop/{t}" for t in wanted["team_reviewers"])]
        return []

    def list_labels(self, request: Request) -> Any:
        return self._page([{"id": i, "name": name} for name, i in self.labels.items()], request)

    def create_label(self, request: Request) -> Any:
        name = request.body["name"]
        self.labels[name] = next(self._ids)
        return {"id": self.labels[name], "name": name}

    def add_labels(self, request: Request) -> Any:
        pull, names = (
            self.pull(int(request.words["number"])),
            {i: n for n, i in self.labels.items()},
        )
        wanted = [names[number] for number in request.body["labels"]]
        pull.labels = list(dict.fromkeys((*pull.labels, *wanted)))
        return []

    def list_comments(self, request: Request) -> Any:
        comments = self.pull(int(request.words["number"])).comments
        return [{"id": number, "body": body} for number, body in comments.items()]

    def add_comment(self, request: Request) -> Any:
        number, body = next(self._ids), request.body["body"]
        self.pull(int(request.words["number"])).comments[number] = body
        return {"id": number, "body": body}

    def edit_comment(self, request: Request) -> Any:
        wanted = int(request.words["id"])
        pull = next(each for each in self.pulls if wanted in each.comments)
        pull.comments[wanted] = request.body["body"]
        return {"id": wanted, "body": pull.comments[wanted]}

    def combined(self, request: Request) -> Any:
        words = {"passed": "success", "failed": "failure"}
        newest = {each.name: each for each in self.reported if each.commit == request.words["sha"]}
        found = [
            {
                "id": each.id,
                "context": each.name,
                "status": words.get(each.state, each.state),
                "description": each.said,
                "target_url": "/shop/manifests/actions/runs/1",
            }
            for each in newest.values()
        ]
        return {"state": "", "statuses": self._page(found, request), "total_count": len(found)}

    def get_branch(self, request: Request) -> Any:
        branch = request.words["branch"]
        if branch not in self.branches:
            raise Refused(404, "The target couldn't be found.")
        return {"name": branch, "protected": branch in self.guarded}

    def _page(self, found: list[Any], request: Request) -> list[Any]:
        size, page = int(request.query["limit"]), int(request.query["page"])
        return found[(page - 1) * size : page * size]

    def _document(self, pull: Pull) -> Any:
        side = {"repo_id": 1, "label": pull.source, "ref": pull.source}
        return {
            "number": pull.number,
            "html_url": f"{self.url}/shop/manifests/pulls/{pull.number}",
            "state": "open" if pull.state == "open" else "closed",
            "merged": pull.state == "merged",
            "head": {**side, "sha": self.branches[pull.source]},
            "base": {"repo_id": 1, "label": pull.target, "ref": pull.target},
            "title": pull.title,
            "body": pull.body,
            "draft": pull.title.startswith("WIP: "),
            "labels": [{"id": self.labels[name], "name": name} for name in pull.labels],
            "assignees": [{"login": name} for name in pull.assignees] or None,
        }


Small = TypeVar("Small", bound=SmallForge)


class _Server(LoopbackServer):
    def __init__(self, forge: SmallForge) -> None:
        self.forge = forge
        super().__init__(0, _Handler)


class _Handler(LoopbackHandler):
    server: _Server

    def do_GET(self) -> None:
        forge = self.server.forge
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization", "").rpartition(" ")[2]
        rule = forge.faults.take(self.command, self.path)
        if rule and rule.drop:
            self.close_connection = True
            return
        try:
            if rule and not rule.after:
                raise Refused(rule.status, rule.message)
            status, answer = forge.answer(self.command, self.path, token, body)
            if rule:
                raise Refused(rule.status, rule.message)
        except Refused as error:
            status, answer = error.status, {"message": error.args[0]}
        self._send(status, answer, rule.retry_after if rule else 0)

    do_POST = do_PUT = do_PATCH = do_GET

    def _send(self, status: int, answer: Any, retry_after: int) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        kind = "text/plain" if isinstance(answer, bytes) else "application/json"
        headers = {"Content-Type": kind, **self.server.forge.headers}
        if retry_after:
            headers["Retry-After"] = str(retry_after)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


@contextmanager
def serving(forge: Small) -> Iterator[Small]:
    server = _Server(forge)
    forge.url = server.url
    thread = server.start()
    try:
        yield forge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def bench(kind: str, folder: Path) -> Iterator[Bench]:
    if kind == "github":
        with serve_forge(folder / "forge") as lab:
            yield LabBench(lab, folder)
    else:
        with serving(GitLabServer() if kind == "gitlab" else GiteaServer()) as small:
            yield small


class OddServer(SmallForge):
    """Answers everything alike, as a login page or a proxy does."""

    prefix, routes = "", []

    def __init__(self, kind: Kind, status: int, body: bytes, **headers: str) -> None:
        super().__init__()
        self.named, self.reply, self.headers = kind, (status, body), headers

    def answer(self, method: str, target: str, token: str, body: bytes) -> tuple[int, Any]:
        self.requests.append(f"{method} {target} {token}")
        return self.reply


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
