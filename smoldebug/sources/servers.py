"""Local servers that outlive the run: started detached, recorded, ended only by that record."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from smoldebug.errors import ToolError
from smoldebug.sources.process import LocalProcesses

GRACE = 5.0  # seconds a server has to end after SIGTERM, and once more after SIGKILL

# Starts the server in a session of its own and leaves: the server belongs to init from then on.
_LAUNCH = """\
import subprocess, sys
with open(sys.argv[1], "ab") as log:
    server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              start_new_session=True)
print(server.pid)
server.returncode = 0
"""


def start(argv: Sequence[str], *, cwd: str | None, log: Path, record: Path) -> int:
    """Start a server, detached; its output goes to `log`. Returns its pid.

    Raises ToolError when it cannot be started.
    """
    done = LocalProcesses().run(
        [sys.executable, "-I", "-c", _LAUNCH, str(log), *argv], timeout=10, cwd=cwd
    )
    if done.code != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ToolError(f"cannot start {argv[0]}: {last}")
    pid = int(done.stdout)
    record.write_text(json.dumps({"pid": pid, "started": _started(pid)}), encoding="utf-8")
    return pid


def running(record: Path) -> int | None:
    """The pid of the recorded server if that very process still runs."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        pid, started = int(found["pid"]), found["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if started is not None and _started(pid) == started else None


def end(record: Path, grace: float = GRACE) -> int | None:
    """End the recorded server, if it still runs, and wait until it has: its port is free then.

    Returns its pid. Never ends anything else. Raises ToolError when it does not end.
    """
    pid = running(record)
    if pid is not None and not any(
        _signalled(record, number, grace) for number in (signal.SIGTERM, signal.SIGKILL)
    ):
        raise ToolError(f"cannot end the server with pid: {pid}")
    record.unlink(missing_ok=True)
    return pid


def last_words(log: Path) -> str:
    """The last line of a server's log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"


def _signalled(record: Path, number: signal.Signals, grace: float) -> bool:
    """Whether the server is gone within `grace` seconds of a signal to its process group."""
    if (pid := running(record)) is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
    deadline = time.monotonic() + grace
    while running(record) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _started(pid: int) -> str | None:
    """When the kernel started a process (clock ticks since boot), which makes a pid unique.

    None where that cannot be known (no /proc): then nothing is ever ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
