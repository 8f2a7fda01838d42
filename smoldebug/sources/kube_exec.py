"""A running exec over a WebSocket: what it wrote, and how it ended."""

import time
from typing import Any

import msgspec

from smoldebug.errors import ToolError
from smoldebug.sources.kube_errors import status_of
from smoldebug.sources.world import Completed
from smoldebug.untrusted import one_line

OUTPUT_CHARACTERS = 1 << 20


def drain(socket: Any, began: float, timeout: float) -> Completed:
    """Output and exit code of a running exec; channel 3 carries a Status when it ends."""
    stdout = stderr = status = ""
    while socket.is_open() and len(stdout) + len(stderr) < OUTPUT_CHARACTERS:
        left = began + timeout - time.monotonic()
        if left <= 0:
            break
        socket.update(timeout=left)
        stdout += socket.read_channel(1)
        stderr += socket.read_channel(2)
    status = socket.read_channel(3)
    return Completed(_exit_code(status), stdout, stderr, time.monotonic() - began)


def _exit_code(status: str) -> int | None:
    known = status_of(status) or _bare_status(status)
    if not known:
        return None
    if known.get("status") == "Success":
        return 0
    for cause in (known.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise ToolError(f"the command did not start: {one_line(str(known.get('message')), 200)}")


def _bare_status(status: str) -> dict[str, Any]:
    """Older servers send it without a kind."""
    try:
        data = msgspec.json.decode(status)
    except msgspec.MsgspecError:
        return {}
    return data if isinstance(data, dict) else {}
