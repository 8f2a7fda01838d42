"""An OpenAI-compatible endpoint on loopback that plays a script, misbehaving included.

    with ModelServer([calls(look={"at": "auth"}), Reply(status=500)]) as server:
        build("hf/some-model", expert, server.url)

Every request takes the next reply; the last one is given for ever.
"""

import json
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One answer. `hang` never answers; `reset` cuts the connection without a word."""

    body: Json | str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    reset: bool = False


def completion(message: Json, finish: str = "stop", **over: Any) -> Reply:
    """A chat completion; a field of `over` that is None is left out."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
    body = {**body, "choices": [choice], **over}
    return Reply({name: value for name, value in body.items() if value is not None})


def text(content: str, finish: str = "stop") -> Reply:
    return completion({"content": content}, finish)


def call(tool: str, arguments: str, finish: str = "tool_calls", **over: Any) -> Reply:
    """One tool call; `arguments` is the text as it travels, whether it is JSON or not."""
    function = {"name": tool, "arguments": arguments}
    calls = [{"id": "c1", "type": "function", "function": function}]
    return completion({"content": None, "tool_calls": calls}, finish, **over)


def calls(**tools: Json) -> Reply:
    """One call with good arguments."""
    ((tool, arguments),) = tools.items()
    return call(tool, json.dumps(arguments))


class ModelServer:
    """Serves POST .../chat/completions in threads. `asked`: the body of every request, in order;
    `sent`: their headers."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies, self.asked, self.sent = list(replies), [], []
        self._closing, self._lock = threading.Event(), threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> "ModelServer":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def next_reply(self, body: Json, headers: dict[str, str]) -> Reply:
        with self._lock:
            self.asked.append(body)
            self.sent.append(headers)
            reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        if reply.hang:
            self._closing.wait()
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them, so that nothing stays open
    block_on_close = True


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = server.next_reply({**body, "path": self.path}, dict(self.headers))
            if reply.hang:
                return
            if reply.reset:  # no lingering: the client sees a reset, not an end
                option = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                return
            html = isinstance(reply.body, str)
            raw = (reply.body if html else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", "text/html" if html else "application/json")
            self.send_header("Content-Length", str(len(raw)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
