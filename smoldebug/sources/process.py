"""Local processes: the only module that starts any. Argv only, never a shell string.

Every process leads a session of its own, so that ending it ends its children too.
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from smoldebug.errors import ToolError
from smoldebug.sources.world import Completed

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
OUTPUT_LIMIT = 1 << 20  # bytes kept of each stream; what comes after is read and dropped
Process = subprocess.Popen[bytes]
Stream = int | IO[Any] | None

# Asks the kernel to kill this process when its parent ends, then becomes the real command. A
# program of its own and not preexec_fn, which may deadlock in a parent that has threads.
_DIE_WITH_PARENT = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    os._exit(137)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


class LocalProcesses:
    """The `Processes` seam on this machine. `limit` is how many bytes of each stream it keeps;
    `die_with_us`: what is still running ends with this process, however that ends (Linux)."""

    def __init__(self, limit: int = OUTPUT_LIMIT, *, die_with_us: bool = False) -> None:
        self._limit, self._die_with_us = limit, die_with_us

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Completed:
        """Run a command to its end, or to `timeout` seconds, which kills its process group.

        Output is decoded as UTF-8 with replacement. Raises ToolError when it cannot be started.
        """
        start = time.monotonic()
        with _readable(stdin) as given:
            process = spawn(
                argv,
                env=env,
                cwd=cwd,
                stdin=given,
                stdout=PIPE,
                stderr=PIPE,
                dies_with_parent=self._die_with_us,
            )
        with process:
            try:
                streams = _output(process, start + timeout, self._limit + 1)
                code = _wait(process, start + timeout - time.monotonic())
            finally:
                signal_group(process, signal.SIGKILL)
        stdout, stderr = (_text(stream[: self._limit]) for stream in streams)
        cut = any(len(stream) > self._limit for stream in streams)
        return Completed(code, stdout, stderr, time.monotonic() - start, cut)


def spawn(  # noqa: PLR0913 what it lets through of Popen
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: Stream = DEVNULL,
    stdout: Stream = DEVNULL,
    stderr: Stream = DEVNULL,
    dies_with_parent: bool = False,
) -> Process:
    """Start a command as the leader of a session of its own.

    With `dies_with_parent` (Linux) the kernel kills it when the *thread* that called this ends,
    however that comes about: call it from a thread that lives as long as the process should.
    Raises ToolError when the command does not exist or may not be executed.
    """
    command = list(argv)
    if not command or not shutil.which(command[0], path=(env or os.environ).get("PATH")):
        raise ToolError(f"command not found: {command[0] if command else '(empty)'}")
    if dies_with_parent and sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
    try:
        return subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in an argument
        raise ToolError(f"cannot start {argv[0]}: {error}") from None


def terminate(process: Process, grace: float = 2.0) -> None:
    """End a process and its group: SIGTERM, then SIGKILL after `grace` seconds."""
    signal_group(process, signal.SIGTERM)
    _wait(process, grace)
    signal_group(process, signal.SIGKILL)  # children may outlive their leader
    process.wait()


def signal_group(process: Process, number: signal.Signals) -> None:
    """Signal a process and its children; nothing happens when there are none left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def _readable(text: str) -> Iterator[Stream]:
    """A file without a name: it is gone with the last process that has it."""
    if not text:
        yield DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file


def _wait(process: Process, seconds: float) -> int | None:
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None


def _output(process: Process, deadline: float, limit: int) -> tuple[bytes, bytes]:
    """What both streams said until they ended or `deadline` (monotonic seconds) came, at most
    `limit` bytes of each."""
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as ready:
        for stream in kept:
            ready.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
        while ready.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in ready.select(left):
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    ready.unregister(key.fileobj)
                buffer = kept[key.fileobj]  # type: ignore[index]
                buffer += chunk[: limit - len(buffer)]
    return bytes(kept[process.stdout]), bytes(kept[process.stderr])


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")
