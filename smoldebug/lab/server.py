"""The API server of the lab: HTTP on loopback around `Api`."""

import logging
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from smoldebug.lab import websocket
from smoldebug.lab.api import Answer, Api
from smoldebug.lab.apierror import ApiError
from smoldebug.lab.apifaults import Dropped, Faults
from smoldebug.lab.defaultroles import bootstrap
from smoldebug.lab.identity import ADMIN, ANONYMOUS, User
from smoldebug.lab.loopback import LoopbackHandler, LoopbackServer
from smoldebug.lab.quotas import Quotas
from smoldebug.lab.requests import Exec, Reply, Request, Stream, error_reply
from smoldebug.lab.runtime import Runtime
from smoldebug.lab.store import Store

log = logging.getLogger(__name__)

Route = Callable[[str, str, Mapping[str, list[str]], bytes], tuple[int, Any]]
"""(method, path, query parameters, body) -> status, and a body: bytes, text, or JSON data."""

_OPEN = ("/healthz", "/livez", "/readyz", "/version")  # for those without a token
_BODY_LIMIT = 8 << 20  # bytes


class Server:
    """A running API server. `url` is its address; `close()` ends it and all its threads."""

    def __init__(self, port: int, api: Api, token: str, routes: Mapping[str, Route]) -> None:
        self._api, self._token, self._routes = api, token, routes
        self._closing, self._outages = threading.Event(), list[threading.Thread]()
        self._http = self._listening(port)
        self.url = self._http.url
        self._begin()

    def close(self) -> None:
        self._closing.set()
        for outage in self._outages:
            outage.join()
        self.stop()

    def stop(self) -> None:
        """Go away: no connection is left, and none is accepted. What is stored stays."""
        self._api.closing.set()
        with self._api.store.condition:
            self._api.store.condition.notify_all()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def start(self) -> None:
        """Come back at the same address. Raises OSError when the port was taken meanwhile."""
        self._api.closing.clear()
        self._http = self._listening(int(self.url.rpartition(":")[2]))
        self._begin()

    def go_away(self, seconds: float) -> None:
        """Begin an outage; returns at once, so that a request's own thread can ask for it."""
        self._http.away = True
        outage = threading.Thread(target=self._be_away, args=(seconds,), name="outage")
        self._outages.append(outage)
        outage.start()

    def _be_away(self, seconds: float) -> None:
        self.stop()
        self._closing.wait(seconds)
        self.start()

    def _listening(self, port: int) -> "_HttpServer":
        return _HttpServer(port, self._api, self._token, self._routes, self.go_away)

    def _begin(self) -> None:
        self._thread = self._http.start()

    def token_for(self, namespace: str, service_account: str) -> str:
        """A token for `kubeconfig`: whoever has it is the ServiceAccount. Raises ApiError 404."""
        return self._api.tokens.issue(namespace, service_account)[0]

    def requests(self) -> dict[str, int]:
        """How many requests of each verb there were so far: see Api."""
        return self._api.requests()

    def kubeconfig(self, token: str = "", name: str = "lab") -> str:
        """The text of a kubeconfig for this server, whose context is called `name`."""
        # In the path, because kubectl sends no bearer token over plain HTTP.
        url = f"{self.url}/{token}" if token else self.url
        return (
            f"apiVersion: v1\nkind: Config\ncurrent-context: {name}\n"
            f"clusters:\n- name: {name}\n  cluster: {{server: '{url}'}}\n"
            f"users:\n- name: {name}\n  user: {{}}\n"
            f"contexts:\n- name: {name}\n  context: {{cluster: {name}, user: {name}}}\n"
        )


def serve(
    store: Store,
    *,
    port: int = 0,
    runtime: Runtime | None = None,
    token: str = "",
    faults: Faults | None = None,
    extra_routes: Mapping[str, Route] | None = None,
) -> Server:
    """Start serving `store` on a loopback port (0: any free one).

    With a `token`, requests without it get 401: it comes as a bearer token or as the first part
    of the path, and so do the tokens of ServiceAccounts; whoever has one is allowed what RBAC
    allows it. `extra_routes` maps a path prefix to a handler of its own, looked up at each
    request. Raises OSError when the port is taken.
    """
    bootstrap(store)
    store.admission.append(Quotas(store).admit)
    api = Api(store, runtime, faults or Faults())
    return Server(port, api, token, extra_routes if extra_routes is not None else {})


class _HttpServer(LoopbackServer):
    def __init__(
        self,
        port: int,
        api: Api,
        token: str,
        routes: Mapping[str, Route],
        go_away: Callable[[float], None],
    ) -> None:
        self.api, self.token, self.routes, self.go_away = api, token, routes, go_away
        self.away = False  # from the first moment of an outage, before the port is closed
        super().__init__(port, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self.away


class _Handler(LoopbackHandler):
    server: _HttpServer

    def _handle(self) -> None:
        self._answering = False
        try:
            request = self._request()
            if self.server.away:
                raise Dropped(0.0)
            self._send(self._answer(self.server.api.admitted(request)))
        except ApiError as error:
            self._fail(error)
        except Dropped as told:
            self.close_connection = True
            if told.outage:
                self.server.go_away(told.outage)
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("%s %s", self.command, self.path)
            self._fail(ApiError(500, "InternalError", f"Internal error: {error!r}"))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _request(self) -> Request:
        """The request with its body, which is read in any case: what is left of it would be
        taken for the next request."""
        size = self.headers.get("Content-Length") or "0"
        if not size.isdecimal() or int(size) > _BODY_LIMIT or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise ApiError(413, "RequestEntityTooLarge", "the body is too large or has no length")
        body = self.rfile.read(int(size))
        url = urlsplit(self.path)
        token, path = self._split_token(url.path)
        user = self._authenticate(token, path)
        return Request(self.command, path, url.query, self.headers, body, user)

    def _split_token(self, path: str) -> tuple[str, str]:
        """The token the path begins with, if it does, and the path without it."""
        first, _, rest = path.removeprefix("/").partition("/")
        if self._is_own(first) or first in self.server.api.tokens:
            return first, f"/{rest}"
        return "", path

    def _is_own(self, token: str) -> bool:
        own = self.server.token.encode()
        return bool(own) and secrets.compare_digest(token.encode(), own)

    def _authenticate(self, token: str, path: str) -> User:
        """Who it is. Keeps web pages out, which can reach loopback too, and whoever has no token
        where the server wants one. Raises ApiError 401, 403."""
        if not self.is_local():
            raise ApiError(403, "Forbidden", "the lab answers to local clients only")
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if not token and not scheme:
            if not self.server.token:
                return ADMIN
            if path.rstrip("/") in _OPEN:
                return ANONYMOUS
        token = token or (given if scheme == "Bearer" else "")
        user = ADMIN if self._is_own(token) else self.server.api.tokens.user(token)
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return user

    def _answer(self, request: Request) -> Answer:
        for prefix, route in self.server.routes.items():
            if request.path.startswith(prefix):
                found = route(request.method, request.path, request.parameters, request.body)
                return _routed(*found)
        return self.server.api.answer(request)

    def _fail(self, error: ApiError) -> None:
        if self._answering:  # too late for another answer: a broken one says it as well
            self.close_connection = True
        else:
            self._send_reply(error_reply(error))

    def _send(self, answer: Answer) -> None:
        self._answering = True
        if isinstance(answer, Stream):
            self._send_stream(answer)
        elif isinstance(answer, Exec):
            self._run_exec(answer)
        else:
            self._send_reply(answer)

    def _send_reply(self, answer: Reply) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    def _send_stream(self, stream: Stream) -> None:
        self.send_response(200)
        self.send_header("Content-Type", stream.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for chunk in stream.chunks:
            if chunk:
                self.send_chunk(chunk)
            elif self._has_gone() or self.server.api.closing.is_set():
                self.close_connection = True
                return
        self.send_chunk(b"")

    def _has_gone(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _run_exec(self, command: Exec) -> None:
        self.send_response_only(101)
        for name, value in command.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        websocket.run(command.start, websocket.WebSocket(self.connection, self.rfile))


def _routed(status: int, body: Any) -> Reply:
    if isinstance(body, bytes):
        return Reply(status, body, "application/octet-stream")
    if isinstance(body, str):
        return Reply(status, body.encode(), "text/plain; charset=utf-8")
    return Reply(status, msgspec.json.encode(body))
