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
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One answer. `hang` never answers; `reset` cuts the connection without a word. `parts` are
    sent one by one in place of the body, `pause` seconds apart; then it hangs or is reset."""

    body: Json | str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    reset: bool = False
    parts: tuple[bytes, ...] = ()
    pause: float = 0.0


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


def sse(*chunks: Json | str, end: str = "\n\n", **more: Any) -> Reply:
    """Server-sent events, one part each: objects as JSON, texts as they are, [DONE] not added."""
    data = (each if isinstance(each, str) else json.dumps(each) for each in chunks)
    return Reply(parts=tuple(f"data: {each}{end}".encode() for each in data), **more)


def delta(finish: str | None = None, **message: Any) -> Json:
    """A chunk of a stream: content="..." or tool_calls=[...]."""
    return {"choices": [{"index": 0, "delta": message, "finish_reason": finish}]}


def fragment(arguments: str, index: int | None = 0, id: str = "", name: str = "") -> Json:
    """A part of a tool call, as one of a delta's tool_calls."""
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    call = {"index": index, "id": id, "function": function}
    return {key: value for key, value in call.items() if value not in (None, "")}


class ModelServer:
    """Serves POST .../chat/completions in threads. `asked`: the body of every request, in order;
    `sent`: their headers."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies, self.asked, self.sent = list(replies), [], []
        self._closing, self._lock = threading.Event(), threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.model = self
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
            return self.replies[min(len(self.asked), len(self.replies)) - 1]

    def pause(self, seconds: float | None) -> bool:
        """Wait, for ever without `seconds`; true when the server is closing."""
        return self._closing.wait(seconds)


class Killed(ModelServer):
    """Refuses connections from its last answer on."""

    def next_reply(self, body: Json, headers: dict[str, str]) -> Reply:
        reply = super().next_reply(body, headers)
        if len(self.asked) == len(self.replies):
            self._http.shutdown()
            self._http.socket.close()
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them, so that nothing stays open
    block_on_close = True
    model: ModelServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.server.model.next_reply({**body, "path": self.path}, dict(self.headers))
        with suppress(OSError):  # a client may have had enough
            self._send_parts(reply) if reply.parts else self._send_whole(reply)
        if reply.hang:
            self.server.model.pause(None)

    def _send_parts(self, reply: Reply) -> None:
        self._send(reply, "text/event-stream")
        for part in reply.parts:
            self.wfile.write(part)
            if reply.pause and self.server.model.pause(reply.pause):
                return
        if reply.reset:
            self._reset()

    def _send_whole(self, reply: Reply) -> None:
        if reply.reset:
            self._reset()
        elif not reply.hang:
            html = isinstance(reply.body, str)
            raw = (reply.body if html else json.dumps(reply.body)).encode()
            self._send(reply, "text/html" if html else "application/json", len(raw))
            self.wfile.write(raw)

    def _reset(self) -> None:
        """No lingering: the client sees a reset, not an end."""
        option = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)

    def _send(self, reply: Reply, kind: str, length: int | None = None) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass
