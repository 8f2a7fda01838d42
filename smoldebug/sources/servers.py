"""Local servers that outlive the run: started detached, recorded, ended only by that record."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from smoldebug.errors import ToolError
from smoldebug.sources.process import LocalProcesses

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


def end(record: Path) -> int | None:
    """End the recorded server, if it still runs; returns its pid. Never ends anything else."""
    pid = running(record)
    if pid is not None:
        os.killpg(pid, signal.SIGTERM)
    record.unlink(missing_ok=True)
    return pid


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
