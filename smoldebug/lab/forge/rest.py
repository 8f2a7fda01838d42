"""GitHub's REST API below /api/v3: each function answers one method of one path."""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from smoldebug.errors import ToolError
from smoldebug.lab.forge.answers import (
    LIMIT,
    Answer,
    ForgeError,
    as_json,
    invalid,
    not_found,
    rate_limit_headers,
)
from smoldebug.lab.forge.documents import Document, Documents
from smoldebug.lab.forge.hub import Hub
from smoldebug.lab.forge.repository import ME, Bare
from smoldebug.lab.forge.state import Comment, Project, Pull, Status, now

PREFIX = "/api/v3"
_PER_PAGE, _PER_PAGE_LIMIT = 30, 100
_VERSION = "3.15.0"


@dataclass(frozen=True, slots=True)
class Listing:
    """Items to be sent page by page, below `key` when that is not empty."""

    items: list[Any]
    key: str = ""


@dataclass(frozen=True, slots=True)
class Created:
    document: Any


class Call:
    """A request: the words its path matched, its query (the first of each name), its JSON."""

    def __init__(self, hub: Hub, url: str, words: Mapping[str, str], query: str, body: Any) -> None:
        self.hub, self.words, self.body = hub, words, body
        self.query = {name: values[0] for name, values in parse_qs(query).items()}
        self.documents = Documents(url)

    @property
    def fields(self) -> dict[str, Any]:
        """The body, where it has to be an object."""
        if not isinstance(self.body, dict):
            raise ForgeError(400, "Problems parsing JSON")
        return self.body

    @property
    def project(self) -> Project:
        return self.hub.project(self.words["owner"], self.words["repo"])

    @property
    def bare(self) -> Bare:
        return self.hub.bare(self.project)

    @property
    def pull(self) -> Pull:
        return self.hub.pull(self.project, int(self.words["number"]))

    def commit(self, name: str) -> str:
        sha = self.bare.resolve(name)
        if not sha:
            raise ForgeError(422, f"No commit found for SHA: {name}")
        return sha

    def text(self, name: str) -> str:
        """A field that has to be there. Raises ForgeError 422."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            raise invalid("Resource", name, "missing_field")
        return value

    def names(self, field: str) -> list[str]:
        """A list of names: the body itself, or a field of it."""
        found = self.body.get(field, []) if isinstance(self.body, dict) else self.body
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise ForgeError(422, "Invalid request.", f"{field} is not a list of names")
        return found


Handler = Callable[[Call], Any]
_ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def _route(method: str, path: str) -> Callable[[Handler], Handler]:
    """`{name}` matches one part of a path, `{name*}` the rest of it."""
    pattern = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", path.replace(".", r"\."))
    pattern = re.sub(r"\{(number|id)\}", r"(?P<\1>\\d{1,9})", pattern)
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)

    def register(handler: Handler) -> Handler:
        _ROUTES.append((method, re.compile(pattern), handler))
        return handler

    return register


_REPO = "/repos/{owner}/{repo}"


def answer(hub: Hub, base: str, method: str, target: str, body: bytes) -> Answer:
    """Answer a request for `target` (path and query) of the forge at `base`.

    Raises ForgeError.
    """
    url = urlsplit(target)
    handler, words = _find(method, url.path.removeprefix(PREFIX).rstrip("/"))
    try:
        document = json.loads(body) if body.strip() else {}
    except ValueError:
        raise ForgeError(400, "Problems parsing JSON") from None
    call = Call(hub, base, words, url.query, document)
    with hub.lock if method == "GET" else hub.changing():
        try:
            result = handler(call)
        except ToolError as error:
            raise ForgeError(422, str(error)) from None
    if isinstance(result, Listing):
        return _paged(result, base + url.path, call.query)
    if isinstance(result, Created):
        return as_json(result.document, 201)
    return as_json(result, 204 if result is None else 200)


def _find(method: str, path: str) -> tuple[Handler, dict[str, str]]:
    for wanted, pattern, handler in _ROUTES:
        match = pattern.fullmatch(path) if wanted == method else None
        if match:
            return handler, {name: unquote(word) for name, word in match.groupdict().items()}
    raise not_found()


def _paged(listing: Listing, address: str, query: dict[str, str]) -> Answer:
    size = max(1, min(_number(query, "per_page", _PER_PAGE), _PER_PAGE_LIMIT))
    page = max(1, _number(query, "page", 1))
    last = max(1, math.ceil(len(listing.items) / size))
    pages = {"prev": page - 1, "next": page + 1, "first": 1, "last": last}
    if page <= 1:
        del pages["prev"], pages["first"]
    if page >= last:
        del pages["next"], pages["last"]
    links = ", ".join(
        f'<{address}?{urlencode({**query, "page": number})}>; rel="{name}"'
        for name, number in pages.items()
    )
    items = listing.items[(page - 1) * size : page * size]
    counted = {"total_count": len(listing.items), listing.key: items}
    headers = rate_limit_headers() | ({"Link": links} if links else {})
    return as_json(counted if listing.key else items, 200, headers)


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    given = query.get(name, "")
    return int(given) if given.isdecimal() and len(given) < 10 else default


# -- the forge and its users


@_route("GET", "")
def _root(call: Call) -> Document:
    return {"current_user_url": f"{call.documents.api}/user"}


@_route("GET", "/meta")
def _meta(call: Call) -> Document:
    return {"installed_version": _VERSION, "verifiable_password_authentication": True}


@_route("GET", "/rate_limit")
def _rate_limit(call: Call) -> Document:
    reset = int(rate_limit_headers()["X-RateLimit-Reset"])
    core = {"limit": LIMIT, "remaining": LIMIT - 1, "used": 1, "reset": reset}
    return {"resources": {"core": core, "search": core, "graphql": core}, "rate": core}


@_route("GET", "/user")
def _user(call: Call) -> Document:
    return call.documents.user(ME)


@_route("GET", "/users/{login}")
def _user_by_name(call: Call) -> Document:
    return call.documents.user(call.words["login"])


@_route("GET", "/orgs/{owner}/teams/{team}")
def _team(call: Call) -> Document:
    return call.documents.team(call.words["team"], call.words["owner"])


# -- repositories, branches, refs, files


@_route("GET", _REPO)
def _repository(call: Call) -> Document:
    return call.documents.repository(call.project)


@_route("GET", f"{_REPO}/branches")
def _branches(call: Call) -> Listing:
    branches = call.bare.branches().items()
    return Listing([call.documents.branch(call.project, name, sha) for name, sha in branches])


@_route("GET", f"{_REPO}/branches/{{branch*}}/protection")
def _protection(call: Call) -> Document:
    branch = _existing_branch(call)
    if branch not in call.project.protected:
        raise ForgeError(404, "Branch not protected")
    url = f"{call.documents.api}/repos/{call.project.full_name}/branches/{branch}/protection"
    return {"url": url, "enforce_admins": {"url": f"{url}/enforce_admins", "enabled": True}}


@_route("PUT", f"{_REPO}/branches/{{branch*}}/protection")
def _protect(call: Call) -> Document:
    branch = _existing_branch(call)
    if branch not in call.project.protected:
        call.project.protected.append(branch)
    return _protection(call)  # type: ignore[no-any-return]


@_route("DELETE", f"{_REPO}/branches/{{branch*}}/protection")
def _unprotect(call: Call) -> None:
    if call.words["branch"] not in call.project.protected:
        raise ForgeError(404, "Branch not protected")
    call.project.protected.remove(call.words["branch"])


@_route("GET", f"{_REPO}/branches/{{branch*}}")
def _branch(call: Call) -> Document:
    branch = _existing_branch(call)
    sha = call.bare.branches()[branch]
    commit = call.documents.commit(call.project, sha, call.bare)
    return call.documents.branch(call.project, branch, sha) | {"commit": commit}


def _existing_branch(call: Call) -> str:
    if call.words["branch"] not in call.bare.branches():
        raise ForgeError(404, "Branch not found")
    return call.words["branch"]


@_route("GET", f"{_REPO}/git/ref/{{ref*}}")
def _ref(call: Call) -> Document:
    ref = f"refs/{call.words['ref']}"
    refs = call.bare.refs(ref)
    if ref not in refs:
        raise not_found()
    return call.documents.ref(call.project, ref, refs[ref])


@_route("GET", f"{_REPO}/git/refs/{{ref*}}")
def _ref_as_it_was(call: Call) -> Document:
    return _ref(call)  # type: ignore[no-any-return]


@_route("GET", f"{_REPO}/git/refs")
def _refs(call: Call) -> Listing:
    refs = call.bare.refs("refs/").items()
    return Listing([call.documents.ref(call.project, ref, sha) for ref, sha in refs])


@_route("GET", f"{_REPO}/git/matching-refs/{{ref*}}")
def _matching_refs(call: Call) -> Listing:
    refs = call.bare.refs(f"refs/{call.words['ref']}").items()
    return Listing([call.documents.ref(call.project, ref, sha) for ref, sha in refs])


@_route("POST", f"{_REPO}/git/refs")
def _create_ref(call: Call) -> Created:
    ref, sha = call.text("ref"), call.commit(call.text("sha"))
    if not ref.startswith("refs/heads/"):
        raise ForgeError(422, "Reference name must start with 'refs/heads/'")
    if ref in call.bare.refs(ref):
        raise ForgeError(422, "Reference already exists")
    call.bare.set_ref(ref, sha)
    call.hub.sync(call.project)
    return Created(call.documents.ref(call.project, ref, sha))


@_route("PATCH", f"{_REPO}/git/refs/heads/{{branch*}}")
def _move_ref(call: Call) -> Document:
    branch, sha = _unprotected_branch(call), call.commit(call.text("sha"))
    old = call.bare.branches()[branch]
    if not call.fields.get("force") and not call.bare.within(old, sha):
        raise ForgeError(422, "Update is not a fast forward")
    call.bare.set_ref(f"refs/heads/{branch}", sha, old)
    call.hub.sync(call.project)
    return call.documents.ref(call.project, f"refs/heads/{branch}", sha)


@_route("DELETE", f"{_REPO}/git/refs/heads/{{branch*}}")
def _delete_ref(call: Call) -> None:
    call.bare.delete_ref(f"refs/heads/{_unprotected_branch(call)}")
    call.hub.sync(call.project)


def _unprotected_branch(call: Call) -> str:
    branch = call.words["branch"]
    if branch not in call.bare.branches():
        raise ForgeError(422, "Reference does not exist")
    if branch in call.project.protected:
        raise ForgeError(422, "Cannot update this protected branch")
    return branch


@_route("GET", f"{_REPO}/contents")
@_route("GET", f"{_REPO}/contents/{{path*}}")
def _contents(call: Call) -> Document | Listing:
    path = call.words.get("path", "")
    ref = call.query.get("ref") or call.project.default_branch
    sha = call.bare.resolve(ref)
    if not sha:
        raise ForgeError(404, f"No commit found for the ref {ref}")
    entries = call.bare.entries(sha, path)
    if not path or (entries and entries[0][0] == "tree"):
        inside = call.bare.entries(sha, f"{path}/" if path else "")
        return Listing([_entry(call, kind, blob, name, ref) for kind, blob, name in inside])
    content = call.bare.read(sha, path)
    if content is None or not entries:
        raise not_found()
    coded = base64.encodebytes(content).decode()
    described = _entry(call, *entries[0], ref)
    return described | {"size": len(content), "encoding": "base64", "content": coded}


def _entry(call: Call, kind: str, blob: str, path: str, ref: str) -> Document:
    at = f"{call.documents.api}/repos/{call.project.full_name}"
    return {
        "type": {"tree": "dir", "commit": "submodule"}.get(kind, "file"),
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": blob,
        "url": f"{at}/contents/{path}?{urlencode({'ref': ref})}",
        "git_url": f"{at}/git/{kind}s/{blob}",
    }


@_route("GET", f"{_REPO}/compare/{{base*}}...{{head*}}")
def _compare(call: Call) -> Document:
    base, head = (call.bare.resolve(call.words[side]) for side in ("base", "head"))
    if not base or not head:
        raise not_found()
    ahead, behind = call.bare.commits(base, head), call.bare.commits(head, base)
    words = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}
    return {
        "status": words.get((bool(ahead), bool(behind)), "identical"),
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
        "commits": [call.documents.commit(call.project, sha, call.bare) for sha in ahead],
        "files": _changed_files(call, base, head),
    }


def _changed_files(call: Call, base: str, head: str) -> list[Document]:
    return [
        call.documents.file(call.project, file, call.bare.diff(base, head, file.path))
        for file in call.bare.changed(base, head)
    ]


# -- pull requests


@_route("GET", f"{_REPO}/pulls")
def _pulls(call: Call) -> Listing:
    wanted, query = call.query.get("state", "open"), call.query
    head = query.get("head", "").removeprefix(f"{call.project.owner}:")
    found = [
        call.documents.pull(call.project, pull)
        for pull in call.project.pulls
        if wanted in ("all", "open" if pull.open else "closed")
        and head in ("", pull.head)
        and query.get("base", "") in ("", pull.base)
    ]
    ascending = query.get("direction") == "asc"
    return Listing(found if ascending else found[::-1])


@_route("POST", f"{_REPO}/pulls")
def _open_pull(call: Call) -> Created:
    pull = call.hub.open_pull(call.project, call.fields)
    return Created(call.documents.pull_in_full(call.project, pull, call.bare))


@_route("GET", f"{_REPO}/pulls/{{number}}")
def _pull(call: Call) -> Document:
    return call.documents.pull_in_full(call.project, call.pull, call.bare)


@_route("PATCH", f"{_REPO}/pulls/{{number}}")
def _edit_pull(call: Call) -> Document:
    call.hub.edit_pull(call.project, call.pull, call.fields)
    return call.documents.pull_in_full(call.project, call.pull, call.bare)


@_route("GET", f"{_REPO}/pulls/{{number}}/files")
def _pull_files(call: Call) -> Listing:
    return Listing(_changed_files(call, call.pull.base_sha, call.pull.head_sha))


@_route("GET", f"{_REPO}/pulls/{{number}}/commits")
def _pull_commits(call: Call) -> Listing:
    found = call.bare.commits(call.pull.base_sha, call.pull.head_sha)
    return Listing([call.documents.commit(call.project, sha, call.bare) for sha in found])


@_route("GET", f"{_REPO}/pulls/{{number}}/merge")
def _is_merged(call: Call) -> None:
    if not call.pull.merged:
        raise not_found()


@_route("PUT", f"{_REPO}/pulls/{{number}}/merge")
def _merge(call: Call) -> Document:
    sha = call.hub.merge(call.project, call.pull, call.fields)
    return {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}


@_route("GET", f"{_REPO}/pulls/{{number}}/reviews")
def _reviews(call: Call) -> Listing:
    """There is one user, who opened them all."""
    return Listing([])


@_route("GET", f"{_REPO}/pulls/{{number}}/requested_reviewers")
def _reviewers(call: Call) -> Document:
    document = call.documents.pull(call.project, call.pull)
    return {"users": document["requested_reviewers"], "teams": document["requested_teams"]}


@_route("POST", f"{_REPO}/pulls/{{number}}/requested_reviewers")
def _request_review(call: Call) -> Created:
    reviewers, teams = call.names("reviewers"), call.names("team_reviewers")
    if ME in reviewers:
        raise ForgeError(422, "Review cannot be requested from pull request author.")
    _add(call.pull.reviewers, reviewers)
    _add(call.pull.teams, teams)
    return Created(call.documents.pull(call.project, call.pull))


@_route("DELETE", f"{_REPO}/pulls/{{number}}/requested_reviewers")
def _withdraw_review(call: Call) -> Document:
    _remove(call.pull.reviewers, call.names("reviewers"))
    _remove(call.pull.teams, call.names("team_reviewers"))
    return call.documents.pull(call.project, call.pull)


def _add(known: list[str], names: list[str]) -> None:
    known.extend(name for name in dict.fromkeys(names) if name not in known)


def _remove(known: list[str], names: list[str]) -> None:
    known[:] = [name for name in known if name not in names]


# -- issues: labels, assignees, comments


@_route("GET", f"{_REPO}/issues/{{number}}")
def _issue(call: Call) -> Document:
    return call.documents.issue(call.project, call.pull)


@_route("GET", f"{_REPO}/labels")
def _labels(call: Call) -> Listing:
    return Listing([call.documents.label(call.project, name) for name in call.project.labels])


@_route("POST", f"{_REPO}/labels")
def _create_label(call: Call) -> Created:
    name = call.text("name")
    if name in call.project.labels:
        raise invalid("Label", "name", "already_exists")
    call.project.labels.append(name)
    return Created(call.documents.label(call.project, name))


@_route("GET", f"{_REPO}/labels/{{label}}")
def _label(call: Call) -> Document:
    if call.words["label"] not in call.project.labels:
        raise not_found()
    return call.documents.label(call.project, call.words["label"])


@_route("GET", f"{_REPO}/issues/{{number}}/labels")
def _pull_labels(call: Call) -> Listing:
    return Listing([call.documents.label(call.project, name) for name in call.pull.labels])


@_route("POST", f"{_REPO}/issues/{{number}}/labels")
def _add_labels(call: Call) -> Listing:
    _add(call.project.labels, call.names("labels"))
    _add(call.pull.labels, call.names("labels"))
    return _pull_labels(call)  # type: ignore[no-any-return]


@_route("DELETE", f"{_REPO}/issues/{{number}}/labels/{{label}}")
def _remove_label(call: Call) -> Listing:
    if call.words["label"] not in call.pull.labels:
        raise ForgeError(404, "Label does not exist")
    _remove(call.pull.labels, [call.words["label"]])
    return _pull_labels(call)  # type: ignore[no-any-return]


@_route("POST", f"{_REPO}/issues/{{number}}/assignees")
def _assign(call: Call) -> Created:
    _add(call.pull.assignees, call.names("assignees"))
    return Created(call.documents.issue(call.project, call.pull))


@_route("DELETE", f"{_REPO}/issues/{{number}}/assignees")
def _unassign(call: Call) -> Document:
    _remove(call.pull.assignees, call.names("assignees"))
    return call.documents.issue(call.project, call.pull)


@_route("GET", f"{_REPO}/issues/{{number}}/comments")
def _comments(call: Call) -> Listing:
    number = call.pull.number
    found = [comment for comment in call.project.comments if comment.number == number]
    return Listing([call.documents.comment(call.project, comment) for comment in found])


@_route("POST", f"{_REPO}/issues/{{number}}/comments")
def _comment_on(call: Call) -> Created:
    moment = now()
    comment = Comment(call.hub.state.new_id(), call.pull.number, call.text("body"), moment, moment)
    call.project.comments.append(comment)
    return Created(call.documents.comment(call.project, comment))


@_route("GET", f"{_REPO}/issues/comments/{{id}}")
def _comment(call: Call) -> Document:
    return call.documents.comment(call.project, _existing_comment(call))


@_route("PATCH", f"{_REPO}/issues/comments/{{id}}")
def _edit_comment(call: Call) -> Document:
    comment = _existing_comment(call)
    comment.body, comment.updated = call.text("body"), now()
    return call.documents.comment(call.project, comment)


@_route("DELETE", f"{_REPO}/issues/comments/{{id}}")
def _delete_comment(call: Call) -> None:
    call.project.comments.remove(_existing_comment(call))


def _existing_comment(call: Call) -> Comment:
    wanted = int(call.words["id"])
    found = next((comment for comment in call.project.comments if comment.id == wanted), None)
    if found is None:
        raise not_found()
    return found


# -- commits, checks, statuses


@_route("GET", f"{_REPO}/commits/{{ref*}}/check-runs")
def _check_runs(call: Call) -> Listing:
    sha, name = call.commit(call.words["ref"]), call.query.get("check_name", "")
    found = [
        call.documents.check(call.project, check)
        for check in call.project.checks
        if check.sha == sha and name in ("", check.name)
    ]
    return Listing(found, "check_runs")


@_route("GET", f"{_REPO}/check-runs/{{id}}")
def _check_run(call: Call) -> Document:
    wanted = int(call.words["id"])
    found = next((check for check in call.project.checks if check.id == wanted), None)
    if found is None:
        raise not_found()
    return call.documents.check(call.project, found)


@_route("GET", f"{_REPO}/commits/{{ref*}}/status")
def _combined_status(call: Call) -> Document:
    return call.documents.combined_status(call.project, call.commit(call.words["ref"]))


@_route("GET", f"{_REPO}/commits/{{ref*}}/statuses")
@_route("GET", f"{_REPO}/statuses/{{ref*}}")
def _statuses(call: Call) -> Listing:
    sha = call.commit(call.words["ref"])
    found = [status for status in call.project.statuses if status.sha == sha][::-1]
    return Listing([call.documents.status(call.project, status) for status in found])


@_route("POST", f"{_REPO}/statuses/{{ref}}")
def _create_status(call: Call) -> Created:
    if call.fields.get("state") not in ("error", "failure", "pending", "success"):
        raise invalid("Status", "state")
    status = Status(
        call.hub.state.new_id(),
        call.commit(call.words["ref"]),
        call.fields["state"],
        str(call.fields.get("context") or "default"),
        str(call.fields.get("description") or ""),
        str(call.fields.get("target_url") or ""),
        now(),
    )
    call.project.statuses.append(status)
    return Created(call.documents.status(call.project, status))


@_route("GET", f"{_REPO}/commits/{{ref*}}")
def _commit(call: Call) -> Document:
    return call.documents.commit(call.project, call.commit(call.words["ref"]), call.bare)
