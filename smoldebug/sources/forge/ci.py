"""The pull request a CI job is about, and its forge, as the job's environment tells them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from smoldebug.clock import Clock, SystemClock
from smoldebug.errors import UsageError
from smoldebug.sources.forge.open import client
from smoldebug.sources.forge.site import NAMES, Site, forge_token
from smoldebug.sources.giturl import is_loopback

_TOKENS = {
    "github": ("GITHUB_TOKEN", "GH_TOKEN"),
    "gitlab": ("GITLAB_TOKEN",),  # a job's own token may not comment
    "gitea": ("GITEA_TOKEN", "FORGEJO_TOKEN"),
}
_EVENT = 8 << 20  # bytes of the file that tells what a job was started for


def comment(body: str, marker: str, environ: Mapping[str, str], clock: Clock | None = None) -> str:
    """Write the comment that begins with `marker`, or bring it up to date. Returns what was done,
    in words; where the job is about no pull request, nothing is. Raises SmoldebugError."""
    found = pull_request(environ)
    if found is None:
        return "no comment: this job is about no pull request"
    site, number = found
    client(site, clock or SystemClock()).comment(number, body, marker)
    return f"commented on {NAMES[site.kind]} pull request {number} of {site.path}"


def pull_request(environ: Mapping[str, str]) -> tuple[Site, int] | None:
    """Its repository and number; None where the job is about none. Raises UsageError for addresses
    that a token must not go to, AccessDenied for what is no token."""
    if environ.get("GITLAB_CI"):
        return _gitlab(environ)
    return _github(environ) if environ.get("GITHUB_REPOSITORY") else None


def _github(environ: Mapping[str, str]) -> tuple[Site, int] | None:
    """Of GitHub Actions; Gitea and Forgejo speak the same to their jobs."""
    number = _number(environ)
    if not number:
        return None
    kind = "gitea" if environ.get("GITEA_ACTIONS") or environ.get("FORGEJO_ACTIONS") else "github"
    web = _address(environ, "GITHUB_SERVER_URL", "https://github.com")
    api = _address(environ, "GITHUB_API_URL", "https://api.github.com")
    return _site(kind, web, api, environ["GITHUB_REPOSITORY"], environ), number


def _gitlab(environ: Mapping[str, str]) -> tuple[Site, int] | None:
    number = environ.get("CI_MERGE_REQUEST_IID", "")
    if not re.fullmatch(r"\d{1,15}", number):
        return None
    web = _address(environ, "CI_SERVER_URL", "https://gitlab.com")
    path = environ.get("CI_MERGE_REQUEST_PROJECT_PATH") or environ.get("CI_PROJECT_PATH", "")
    return _site("gitlab", web, web, path, environ), int(number)


def _site(kind: str, web: str, api: str, path: str, environ: Mapping[str, str]) -> Site:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+", path) or ".." in path.split("/"):
        raise UsageError(f"not a repository of {NAMES[kind]}: {path!r}")
    return Site(kind, web, api, path, forge_token(_TOKENS[kind], environ, kind))


def _address(environ: Mapping[str, str], name: str, otherwise: str) -> str:
    """A token goes there: https, or this machine."""
    url = (environ.get(name) or otherwise).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme != "https" and not (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    ):
        raise UsageError(f"no token goes to an address without https: {name}")
    return url


def _number(environ: Mapping[str, str]) -> int:
    """From `refs/pull/7/merge`, else from what started the job; 0 where it is about none."""
    if found := re.fullmatch(r"refs/pull/(\d{1,15})/\w+", environ.get("GITHUB_REF", "")):
        return int(found[1])
    try:
        with Path(environ.get("GITHUB_EVENT_PATH", "")).open("rb") as file:
            event = json.loads(file.read(_EVENT))
    except (OSError, ValueError):
        return 0
    return _of_event(event)


def _of_event(event: Any) -> int:
    """That of a comment on a pull request is in `issue`, which then says so."""
    event = event if isinstance(event, dict) else {}
    issue = event.get("issue")
    commented = isinstance(issue, dict) and "pull_request" in issue
    about = issue if commented else event.get("pull_request")
    number = about.get("number") if isinstance(about, dict) else None
    return number if isinstance(number, int) and number > 0 else 0
