"""Start, stop and break a lab from outside: what `smoldebug lab` and `smoldebug demo` use."""

import fcntl
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoldebug.errors import UnreachableError, UsageError
from smoldebug.lab.faults import UNREACHABLE
from smoldebug.lab.folder import INFO, LOCK
from smoldebug.sources.process import STDOUT, Process, spawn, terminate

KUBECONFIG, LOG = "kubeconfig", "lab.log"
START_WITHIN, STOP_WITHIN = 40.0, 10.0  # seconds
_ANSWER_WITHIN, _IMPORT_WITHIN = 10.0, 120.0  # seconds
_POLL = 0.02  # seconds
_started: dict[int, Process] = {}  # the labs this process has to wait for when they end


@dataclass(frozen=True, slots=True)
class LabInfo:
    """A running lab, or its forge. `started` is RFC 3339, `name` the lab's context in its
    kubeconfig."""

    folder: Path
    pid: int
    url: str
    token: str
    started: str
    version: str
    name: str = "lab"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / KUBECONFIG


@dataclass(frozen=True, slots=True)
class LabStatus:
    """How a running lab is: the faults in force, its customers' rate, the shop's pods (of a bare
    lab all), and how many API requests of each verb it has answered."""

    info: LabInfo
    faults: tuple[str, ...]
    customers_per_second: float
    pods: int
    pods_ready: int
    requests: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Launched:
    """A lab that is coming up."""

    folder: Path
    process: Process


def start(
    folder: Path,
    *,
    port: int = 0,
    dies_with_parent: bool = False,
    command: str = "lab",
    options: Sequence[str] = (),
) -> LabInfo:
    """Start a lab (or its forge, `command` "lab forge") as a process of its own, with more
    `options`, and return when it is ready.

    With `dies_with_parent` it ends with the calling thread. Raises UsageError when one runs there
    already or the machine cannot, UnreachableError when it does not come up.
    """
    options = ["--port", str(port), *options]
    launched = launch(folder, options, command=command, dies_with_parent=dies_with_parent)
    try:
        return ready(launched)
    except BaseException:
        terminate(launched.process)
        raise


def launch(
    folder: Path, options: Sequence[str], *, command: str = "lab", dies_with_parent: bool = False
) -> Launched:
    """Begin to start a lab; the caller waits with `ready`, or terminates it. Raises UsageError."""
    folder = folder.absolute()
    for pid in list(_started):
        _signalled(pid, 0)  # waits for those that ended by themselves
    if _runs(folder):
        raise UsageError(f"a lab already runs in {folder}", f"smoldebug {command} down")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    module = f"smoldebug.{command.replace(' ', '.')}"
    argv = [sys.executable, "-m", module, str(folder), *options]
    with (folder / LOG).open("wb") as log:
        process = spawn(argv, stdout=log, stderr=STDOUT, dies_with_parent=dies_with_parent)
    return Launched(folder, process)


def ready(launched: Launched) -> LabInfo:
    """A launched lab once it is ready. Raises UsageError, UnreachableError."""
    folder, process = launched.folder, launched.process
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline:
        info = find(folder)
        if info is not None and info.pid == process.pid:
            _started[process.pid] = process
            return info
        if process.poll() is not None:
            raise _failure(folder, process)
        time.sleep(_POLL)
    raise UnreachableError(f"the lab was not ready after {START_WITHIN:g} s", str(folder / LOG))


def find(folder: Path) -> LabInfo | None:
    """The lab that runs in `folder`, once it is ready."""
    folder = folder.absolute()
    if not _runs(folder):
        return None
    try:
        known = json.loads((folder / INFO).read_text("utf-8"))
        fields = {name: known[name] for name in ("pid", "url", "token", "started", "version")}
        fields["name"] = known.get("name", "lab")
    except (OSError, ValueError, KeyError):
        return None
    return LabInfo(folder, **fields)


def stop(folder: Path) -> bool:
    """Stop the lab and wait until it is gone; False when none ran. Raises UnreachableError."""
    info = find(folder)
    if info is not None:
        end(info)
    return info is not None


def end(info: LabInfo) -> None:
    """Tell a lab to end and wait until it has. Raises UnreachableError."""
    _signalled(info.pid, signal.SIGCONT)  # one that hangs cannot be told to end
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _ends(info, number):
            return
    raise UnreachableError(f"the lab does not end: process {info.pid}")


def status(folder: Path) -> LabStatus | None:
    """How the lab is; None when none runs. Raises UnreachableError."""
    info = find(folder)
    if info is None:
        return None
    if _hangs(info):
        return LabStatus(info, (UNREACHABLE,), 0.0, 0, 0, {})
    answer = _ask(info, "GET", "/lab/status")
    return LabStatus(
        info,
        tuple(answer["faults"]),
        answer["customers_per_second"],
        answer["pods"],
        answer["pods_ready"],
        answer["requests"],
    )


def break_(folder: Path, name: str) -> None:
    """Bring a fault in. Raises UsageError (no lab, no such fault), UnreachableError."""
    info = _running(folder)
    if name == UNREACHABLE:
        _signalled(info.pid, signal.SIGSTOP)
    else:
        _ask(info, "POST", f"/lab/break/{name}")


def fix(folder: Path, name: str = "") -> list[str]:
    """Take one fault, or all, out; returns them. Raises UsageError, UnreachableError."""
    info = _running(folder)
    fixed = [UNREACHABLE] if _hangs(info) else []
    _signalled(info.pid, signal.SIGCONT)
    if name == UNREACHABLE:
        return fixed
    fixed += _ask(info, "POST", f"/lab/fix/{name}".rstrip("/"))["fixed"]
    return fixed


def _hangs(info: LabInfo) -> bool:
    """Whether the lab's process is stopped, so that whoever asks it waits in vain."""
    return _state(info.pid) == "T"


def _state(pid: int) -> str:
    """The letter that `ps` shows for a process; "" where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def forge_status(folder: Path) -> list[dict[str, Any]] | None:
    """The repositories of a running forge, with their pull requests and checks; None when none
    runs. Raises UnreachableError."""
    info = find(folder)
    if info is None:
        return None
    found: list[dict[str, Any]] = _ask(info, "GET", "/lab/status")["repositories"]
    return found


def add_repository(folder: Path, full_name: str, files: Path) -> str:
    """Import a plain folder into a running forge as OWNER/NAME, unless it has that already;
    returns where to clone it. Raises UsageError, UnreachableError."""
    info = _running(folder, "lab forge")
    for repository in forge_status(folder) or []:
        if repository["name"] == full_name:
            return str(repository["clone_url"])
    wanted = {"name": full_name, "folder": str(files.absolute())}
    return str(_ask(info, "POST", "/lab/repositories", wanted)["clone_url"])


def _running(folder: Path, command: str = "lab") -> LabInfo:
    info = find(folder)
    if info is None:
        raise UsageError(f"no lab runs in {folder.absolute()}", f"smoldebug {command} up")
    return info


def _ends(info: LabInfo, number: signal.Signals) -> bool:
    """Send a signal and wait for the process to end."""
    running = _signalled(info.pid, number)
    deadline = time.monotonic() + STOP_WITHIN
    while running and time.monotonic() < deadline:
        time.sleep(_POLL)
        # Some init processes bury the dead only a second later; what still runs holds the lock.
        dead = _state(info.pid) == "Z" and not _runs(info.folder)
        running = _signalled(info.pid, 0) and not dead
    return not running


def _signalled(pid: int, number: int) -> bool:
    """Send a signal (0: none); False when the process has ended."""
    ours = _started.get(pid)
    if ours is not None and ours.poll() is not None:
        del _started[pid]
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _runs(folder: Path) -> bool:
    """Whether somebody holds the folder's lock."""
    try:
        with (folder / LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _ask(info: LabInfo, method: str, path: str, wanted: Any = None) -> Any:
    host = info.url.removeprefix("http://")
    timeout = _ANSWER_WITHIN if wanted is None else _IMPORT_WITHIN
    connection = http.client.HTTPConnection(host, timeout=timeout)
    try:
        body = None if wanted is None else json.dumps(wanted)
        connection.request(method, path, body, {"Authorization": f"Bearer {info.token}"})
        answer = connection.getresponse()
        document = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnreachableError(f"the lab at {info.url} does not answer: {error}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise UsageError(str(document.get("error")), str(document.get("hint", "")))
    return document


def _failure(folder: Path, process: Process) -> UsageError | UnreachableError:
    """What a lab that ended at its start said last."""
    lines = (folder / LOG).read_text("utf-8", "replace").splitlines()
    said = next((line for line in lines if line.startswith("smoldebug: ")), "")
    hint = next((line for line in lines if line.startswith("hint: ")), "").removeprefix("hint: ")
    if process.returncode == 2 and said:
        return UsageError(said.removeprefix("smoldebug: "), hint)
    last = said.removeprefix("smoldebug: ") or (lines[-1] if lines else "no word")
    return UnreachableError(f"the lab ended at its start: {last}", str(folder / LOG))
