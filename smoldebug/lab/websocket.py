"""`pods/exec` over WebSocket, subprotocols v4 and v5: kubectl from 1.30 on, the Python client."""

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable
from email.message import Message
from io import BufferedIOBase
from typing import IO

import msgspec

from smoldebug.errors import ToolError
from smoldebug.lab.apierror import ApiError, bad_request
from smoldebug.sources.process import Process, terminate
from smoldebug.sources.world import Object

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
_MESSAGE, _CLOSE, _PING, _PONG = 2, 8, 9, 10
_FRAME_LIMIT = 1 << 20  # bytes; no client sends as much of its stdin at once


def handshake(headers: Message) -> dict[str, str]:
    """The headers that accept a WebSocket. Raises ApiError 400."""
    if "websocket" not in headers.get("Upgrade", "").lower():
        raise bad_request("Upgrade request required")
    offered = [name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    chosen = next((protocol for protocol in PROTOCOLS if protocol in offered), None)
    if chosen is None:
        raise bad_request(f"unable to negotiate a protocol: need one of {', '.join(PROTOCOLS)}")
    key = headers.get("Sec-WebSocket-Key", "").encode()
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept,
        "Sec-WebSocket-Protocol": chosen,
    }


class WebSocket:
    """The server's end of an accepted connection; `send` may be called from several threads."""

    def __init__(self, connection: socket.socket, reader: BufferedIOBase) -> None:
        self._connection, self._reader, self._lock = connection, reader, threading.Lock()

    def send(self, channel: int, data: bytes) -> None:
        self._frame(_MESSAGE, bytes([channel]) + data)

    def receive(self) -> tuple[int, bytes] | None:
        """The next message as channel and data; None at the end of the connection."""
        while True:
            opcode, data = self._read_frame()
            if opcode == _CLOSE:
                return None
            if opcode == _PING:
                self._frame(_PONG, data)
            elif opcode in (1, _MESSAGE) and data:
                return data[0], data[1:]

    def close(self) -> None:
        """Say goodbye, and stop whoever waits in `receive`."""
        with contextlib.suppress(OSError):
            self._frame(_CLOSE, struct.pack(">H", 1000))
            self._connection.shutdown(socket.SHUT_RD)

    def _frame(self, opcode: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", 0x80 | opcode, size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, size)
        with self._lock:
            self._connection.sendall(head + data)

    def _read_frame(self) -> tuple[int, bytes]:
        head = self._reader.read(2)
        if len(head) < 2:
            return _CLOSE, b""
        size = head[1] & 127
        if size > 125:
            wide = 2 if size == 126 else 8
            size = int.from_bytes(self._reader.read(wide), "big")
        if size > _FRAME_LIMIT:
            return _CLOSE, b""
        mask = self._reader.read(4) if head[1] & 128 else bytes(4)
        data = self._reader.read(size)
        return head[0] & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def run(start: Callable[[], Process], web: WebSocket) -> None:
    """Start a process and connect it with the client until it ends; a client that leaves ends
    it. A client whose command cannot be started is told why."""
    try:
        process = start()
    except (ApiError, ToolError) as error:
        code, why = 500, f"Internal error occurred: error executing command in container: {error}"
        failure = error if isinstance(error, ApiError) else ApiError(code, "InternalError", why)
        _finish(web, failure.status())
        return
    with process:
        outputs = ((process.stdout, STDOUT), (process.stderr, STDERR))
        pumps = [_thread(_pump, stream, channel, web) for stream, channel in outputs]
        feeder = _thread(_feed, process, web)
        for thread in pumps:
            thread.join()
        _finish(web, _outcome(process.wait()))
        feeder.join()


def _thread(target: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def _finish(web: WebSocket, status: Object) -> None:
    with contextlib.suppress(OSError):  # the client may be gone
        web.send(ERROR, msgspec.json.encode(status))
    web.close()


def _pump(stream: IO[bytes], channel: int, web: WebSocket) -> None:
    with contextlib.suppress(OSError, ValueError):  # the client has gone
        while data := stream.read1(1 << 14):  # type: ignore[attr-defined]
            web.send(channel, data)


def _feed(process: Process, web: WebSocket) -> None:
    with contextlib.suppress(OSError):  # the client has gone
        while message := web.receive():
            _write(process.stdin, *message)
    if process.poll() is None:
        terminate(process, grace=1.0)


def _write(stdin: IO[bytes] | None, channel: int, data: bytes) -> None:
    if stdin is None:
        return
    with contextlib.suppress(OSError, ValueError):  # the command has closed its stdin
        if channel == STDIN:
            stdin.write(data)
            stdin.flush()
        elif channel == CLOSE:
            stdin.close()


def _outcome(code: int) -> Object:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    code = code if code > 0 else 128 - code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
