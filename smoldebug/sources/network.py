"""Why a connection failed, in the few words an engineer would use."""

import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from smoldebug.untrusted import one_line

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "connection refused"),
    (socket.gaierror, "its name does not resolve"),
    (ConnectionResetError, "connection reset"),
    (BrokenPipeError, "connection reset"),
    (TimeoutError, "no answer in time"),
)


def why(error: BaseException) -> str:
    """`connection refused`, `TLS: self-signed certificate`, ... for any client's exception."""
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {cause.verify_message}"
        for kind, words in _WORDS:
            if isinstance(cause, kind):
                return words
    text = " ".join(f"{type(cause).__name__} {cause}" for cause in chain)
    if "Timeout" in text or "timed out" in text:
        return "no answer in time"
    if "CERTIFICATE_VERIFY_FAILED" in text or "SSL" in text:
        return one_line(f"TLS: {str(error).rpartition('] ')[2] or error}", 160)
    if any(sign in text for sign in ("RemoteDisconnected", "Connection aborted", "RemoteProtocol")):
        return "it closed the connection without an answer"
    return one_line(str(error).rpartition(">: ")[2] or type(error).__name__, 160)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what caused it, also where a client keeps the cause in `reason` or args."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [getattr(current, "reason", None), *current.args]
        pending += [item for item in inner if isinstance(item, BaseException)]
        pending += [current.__cause__, current.__context__]


def read_some(response: Any, limit: int, seconds: float) -> bytes:
    """At most `limit` bytes of a urllib3 response, and what came within `seconds`.

    A stream that never ends is cut there. The connection goes back to its pool only when the
    body was read to its end.
    """
    body = bytearray()
    end = time.monotonic() + seconds
    ended = False
    try:
        while len(body) < limit and time.monotonic() < end and not ended:
            chunk = response.read1(min(16384, limit - len(body)))
            ended = not chunk
            body += chunk
    finally:
        if ended:
            response.release_conn()
        else:
            response.close()
    return bytes(body)
