"""Git's smart HTTP protocol, spoken by `git http-backend` itself."""

import re
from collections.abc import Generator
from email.message import Message
from signal import SIGKILL
from typing import IO
from urllib.parse import urlsplit

from smoldebug.lab.forge.answers import Answer, as_text
from smoldebug.lab.forge.hub import NAME, Hub
from smoldebug.lab.forge.repository import ME
from smoldebug.lab.forge.state import Project
from smoldebug.sources.process import PIPE, Process, signal_group, spawn

BODY_LIMIT = 1 << 30  # bytes of a push
_CHUNK = 1 << 16  # bytes
_PATH = re.compile(
    rf"/(?P<owner>{NAME.pattern})/(?P<repo>{NAME.pattern})\.git"
    r"/(?P<page>info/refs|git-upload-pack|git-receive-pack)"
)
_REPOSITORY = re.compile(r"/[^/]+/[^/]+\.git/")
_SERVICES = ("service=git-upload-pack", "service=git-receive-pack")


def is_git(path: str) -> bool:
    return bool(_REPOSITORY.match(path))


def answer(hub: Hub, method: str, target: str, headers: Message, body: IO[bytes]) -> Answer:
    """Answer a git client. `body` is a real file, at its start."""
    url = urlsplit(target)
    match = _PATH.fullmatch(url.path)
    project = hub.state.projects.get(f"{match['owner']}/{match['repo']}") if match else None
    if match is None or project is None:
        return as_text("Repository not found.\n", 404)
    if match["page"] == "info/refs":
        if method != "GET" or url.query not in _SERVICES:
            return as_text("Please upgrade your git client.\n", 403)
    elif method != "POST":
        return as_text("Method not allowed.\n", 405)
    environment = _environment(hub, project, headers)
    if match["page"] == "git-receive-pack" and (
        fault := hub.faults.take("PUSH", f"/{project.full_name}")
    ):
        environment["FORGE_DENY"] = fault.message or "told to refuse"
    environment |= {"REQUEST_METHOD": method, "PATH_INFO": url.path, "QUERY_STRING": url.query}
    environment["CONTENT_LENGTH"] = str(body.seek(0, 2))
    body.seek(0)
    process = spawn(["git", "http-backend"], env=environment, stdin=body, stdout=PIPE)
    answer = _answer(process)
    return _pushed(hub, project, answer) if match["page"] == "git-receive-pack" else answer


def _environment(hub: Hub, project: Project, headers: Message) -> dict[str, str]:
    """What CGI and the pre-receive hook want to know."""
    protocol = headers.get("Git-Protocol") or ""
    environment = {
        **hub.env,
        "GIT_PROJECT_ROOT": str(hub.repositories),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": ME,
        "CONTENT_TYPE": headers.get("Content-Type") or "",
        "FORGE_PROTECTED": " ".join(project.protected),
    }
    if re.fullmatch(r"version=\d", protocol):
        environment["GIT_PROTOCOL"] = protocol
    if headers.get("Content-Encoding") == "gzip":
        environment["HTTP_CONTENT_ENCODING"] = "gzip"
    return environment


def _answer(process: Process) -> Answer:
    """A CGI answer: headers, an empty line, and a body that is still coming."""
    headers = dict[str, str]()
    while process.stdout and (line := process.stdout.readline().decode("latin-1").strip()):
        name, _, value = line.partition(": ")
        headers[name] = value
    status = int(headers.pop("Status", "200")[:3])
    content_type = headers.pop("Content-Type", "")
    if not content_type and status == 200:  # it said nothing at all
        status, headers = 500, {}
    return Answer(status, _output(process), content_type or "text/plain", headers)


def _output(process: Process) -> Generator[bytes]:
    with process:
        try:
            while process.stdout and (chunk := process.stdout.read1(_CHUNK)):  # type: ignore[attr-defined]
                yield chunk
        finally:
            signal_group(process, SIGKILL)


def _pushed(hub: Hub, project: Project, answer: Answer) -> Answer:
    """The pull requests have followed before the one who pushed hears of it."""
    whole = answer.whole()
    with hub.changing():
        hub.sync(project)
    return whole
