"""The forge as a running server: git, REST and pages at one loopback address."""

import base64
import binascii
import contextlib
import logging
import secrets
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

import msgspec

from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.lab.folder import TOKEN, write_private
from smoldebug.lab.forge import githttp, graphql, pages, rest
from smoldebug.lab.forge.answers import Answer, ForgeError, as_json, as_text, not_found, refusal
from smoldebug.lab.forge.faults import Faults, Rule
from smoldebug.lab.forge.hub import Hub
from smoldebug.lab.forge.state import Project
from smoldebug.lab.loopback import LoopbackHandler, LoopbackServer
from smoldebug.sources.forge.site import PRACTICE

log = logging.getLogger(__name__)

_BODY_LIMIT = 1 << 20  # bytes of anything but a push
_MEMORY = 1 << 20  # bytes of a body before it goes to disk
_LINE = 1 << 10  # bytes of a line between chunks


class Forge:
    """A running forge. `url` is its address, `token` what it wants as password or token."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self.closing = folder, threading.Event()
        self.token = _token(folder / TOKEN)
        self.hub = Hub(folder)
        try:
            self._http = _HttpServer(port, self)
        except OSError as error:
            self.hub.close()
            raise UsageError(f"the forge cannot listen on port {port}: {error}") from None
        self.url = self._http.url
        self._thread = self._http.start()

    @property
    def api_url(self) -> str:
        """For a GitHub client."""
        return f"{self.url}{rest.PREFIX}"

    @property
    def faults(self) -> Faults:
        return self.hub.faults

    def create_repository(self, full_name: str, folder: Path) -> str:
        """Import a plain folder as OWNER/NAME; returns where to clone it. Raises UsageError."""
        self.hub.create(full_name, folder)
        return f"{self.url}/{full_name}.git"

    def wait_for_checks(self, seconds: float) -> bool:
        """Whether all checks were complete within so many seconds."""
        return self.hub.wait_for_checks(seconds)

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self.hub.close()

    def status(self) -> dict[str, Any]:
        """Repositories, their pull requests, and the checks of those."""
        with self.hub.lock:
            projects = list(self.hub.state.projects.values())
            return {"repositories": [self._described(project) for project in projects]}

    def _described(self, project: Project) -> dict[str, Any]:
        return {
            "name": project.full_name,
            "clone_url": f"{self.url}/{project.full_name}.git",
            "branches": len(self.hub.bare(project).branches()),
            "pulls": [
                {
                    "number": pull.number,
                    "title": pull.title,
                    "state": pages.state_of(pull),
                    "branch": pull.head,
                    "url": f"{self.url}/{project.full_name}/pull/{pull.number}",
                    "checks": {
                        check.name: check.conclusion or check.status
                        for check in project.checks
                        if check.sha == pull.head_sha
                    },
                }
                for pull in project.pulls
            ],
        }

    def administrate(self, method: str, path: str, body: bytes) -> Answer:
        """GET /lab/status; POST /lab/repositories {name, folder}; POST, DELETE /lab/faults."""
        try:
            if (method, path) == ("GET", "/lab/status"):
                return as_json(self.status())
            if (method, path) == ("POST", "/lab/repositories"):
                wanted = msgspec.json.decode(body, type=dict[str, str])
                url = self.create_repository(wanted.get("name", ""), Path(wanted.get("folder", "")))
                return as_json({"clone_url": url})
            if (method, path) == ("POST", "/lab/faults"):
                self.faults.add(msgspec.json.decode(body, type=Rule))
                return as_json({})
            if (method, path) == ("DELETE", "/lab/faults"):
                self.faults.clear()
                return as_json({})
        except (SmoldebugError, msgspec.MsgspecError) as error:
            return as_json({"error": str(error), "hint": getattr(error, "hint", "")}, 400)
        raise not_found()


@contextlib.contextmanager
def serve_forge(folder: Path, port: int = 0) -> Iterator[Forge]:
    """A forge over what is below `folder`, in this process. Raises UsageError."""
    forge = Forge(folder, port)
    try:
        yield forge
    finally:
        forge.close()


def _token(path: Path) -> str:
    """The same one every time, so that clones stay usable."""
    with contextlib.suppress(FileNotFoundError):
        if found := path.read_text("utf-8").strip():
            return found
    token = f"{PRACTICE}{secrets.token_urlsafe(24)}"
    write_private(path, f"{token}\n")
    return token


class _HttpServer(LoopbackServer):
    def __init__(self, port: int, forge: Forge) -> None:
        self.forge = forge
        super().__init__(port, _Handler)


class _Dropped(Exception):
    """The connection is to end without an answer."""


class _Handler(LoopbackHandler):
    server: _HttpServer

    def _handle(self) -> None:
        self._answering = False
        try:
            with tempfile.SpooledTemporaryFile(_MEMORY) as body:
                self._read(cast(IO[bytes], body))
                self._send(self._answer_or_fault(cast(IO[bytes], body)))
        except ForgeError as error:  # git shows its user what is plain text
            git = githttp.is_git(self.path)
            self._send(as_text(f"{error}\n", error.status) if git else error.answer())
        except _Dropped:
            self.close_connection = True
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("%s %s", self.command, self.path)
            self._fail(error)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _fail(self, error: Exception) -> None:
        if self._answering:  # too late for another answer: a broken one says it as well
            self.close_connection = True
        else:
            self._send(ForgeError(500, f"Server Error: {error!r}").answer())

    def _read(self, body: IO[bytes]) -> None:
        """Read the request's body in any case: what is left of it would be taken for the next
        request. Raises ForgeError 413."""
        pushes = githttp.is_git(self.path) and self._is_known()
        limit = githttp.BODY_LIMIT if pushes else _BODY_LIMIT
        try:
            for chunk in self._chunks():
                if body.tell() + len(chunk) > limit:
                    self.close_connection = True
                    raise ForgeError(413, "Request body is too large")
                body.write(chunk)
        except ValueError:  # a length that is no number
            self.close_connection = True
            raise ForgeError(400, "Bad Request") from None
        body.seek(0)

    def _chunks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(_LINE).partition(b";")[0], 16):
                yield from self._exactly(size)
                self.rfile.readline(_LINE)
            while self.rfile.readline(_LINE).strip():
                pass  # trailers
        else:
            yield from self._exactly(int(self.headers.get("Content-Length") or 0))

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size > 0:
            chunk = self.rfile.read(min(size, _MEMORY))
            if not chunk:
                raise ConnectionError("the client went away")
            size -= len(chunk)
            yield chunk

    def _answer_or_fault(self, body: IO[bytes]) -> Answer:
        told = self.path == "/lab/faults"  # the way out of a rule that meets everything
        rule = None if told else self.server.forge.faults.take(self.command, self.path)
        if rule is None:
            return self._answer(body)
        if rule.after:
            answer = self._answer(body).whole()
            self._carry_out(rule)
            return answer
        self._carry_out(rule)
        return self._answer(body)

    def _carry_out(self, rule: Rule) -> None:
        if rule.delay:
            self.server.forge.closing.wait(rule.delay)
        if rule.drop:
            raise _Dropped
        if rule.status:
            raise refusal(rule)

    def _answer(self, body: IO[bytes]) -> Answer:
        forge, path = self.server.forge, urlsplit(self.path).path
        if not self.is_local():
            raise ForgeError(403, "The lab answers to local clients only")
        if self.command == "GET" and pages.is_page(path):
            return pages.answer(forge.hub, self.path)
        git = githttp.is_git(path)
        if not self._is_known():
            return self._unauthorized(git)
        if git:
            return githttp.answer(forge.hub, self.command, self.path, self.headers, body)
        if path.startswith("/lab/"):
            return forge.administrate(self.command, path, body.read())
        if path == graphql.PATH and self.command == "POST":
            return graphql.answer(forge.hub, body.read())
        if path.startswith(rest.PREFIX):
            return rest.answer(forge.hub, forge.url, self.command, self.path, body.read())
        raise not_found()

    def _is_known(self) -> bool:
        """Whether the request has the forge's token: as a token, or as name or password."""
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        candidates = [given.strip()]
        if scheme.lower() == "basic":
            try:
                candidates = base64.b64decode(given, validate=True).decode().split(":", 1)
            except (binascii.Error, UnicodeDecodeError):
                return False
        own = self.server.forge.token.encode()
        return any(secrets.compare_digest(given.encode(), own) for given in candidates)

    def _unauthorized(self, git: bool) -> Answer:
        given = "Authorization" in self.headers
        if git:
            told = "Invalid username or password." if given else "Authentication required."
            return as_text(f"{told}\n", 401, {"WWW-Authenticate": 'Basic realm="lab forge"'})
        return ForgeError(401, "" if given else "Requires authentication").answer()

    def _send(self, answer: Answer) -> None:
        self._answering = True
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Type", answer.content_type)
        if isinstance(answer.body, bytes):
            self._send_whole(answer.body, answer.status)
        else:
            self._send_stream(answer.body)
        self.wfile.flush()

    def _send_whole(self, body: bytes, status: int) -> None:
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_stream(self, chunks: Generator[bytes]) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.closing(chunks):
            for chunk in chunks:
                self.send_chunk(chunk)
        self.send_chunk(b"")
