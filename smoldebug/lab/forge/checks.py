"""Checks that really run: a clone of the commit, the command in it, its exit status."""

import os
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

import yaml

from smoldebug.errors import ToolError
from smoldebug.lab.forge.faults import Faults
from smoldebug.lab.forge.repository import Bare
from smoldebug.lab.forge.state import Check, now
from smoldebug.sources.process import STDOUT, Process, signal_group, spawn

CONFIG = ".lab-ci.yaml"
TIMEOUT = 300.0  # seconds a check may take
_TAIL = 60_000  # characters of output that are kept; GitHub takes 65535
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    argv: list[str]


def configured(content: bytes) -> list[Command]:
    """The checks a `.lab-ci.yaml` names. Raises ToolError when it is not one."""
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: month 13
        raise ToolError(f"{CONFIG} is no YAML: {error}") from None
    checks = document.get("checks") if isinstance(document, dict) else None
    if not isinstance(checks, list) or not all(map(_is_check, checks)):
        raise ToolError(f"{CONFIG} wants `checks: [{{name: TEXT, run: [PROGRAM, ARGUMENT]}}]`")
    return [Command(check["name"], check["run"]) for check in checks]


def _is_check(check: Any) -> bool:
    return (
        isinstance(check, dict)
        and isinstance(check.get("name"), str)
        and isinstance(check.get("run"), list)
        and bool(check["run"])
        and all(isinstance(word, str) for word in check["run"])
    )


class Runner:
    """Runs checks in threads of its own; `changed` is called, in them, after every step."""

    def __init__(self, faults: Faults, changed: Callable[[], None]) -> None:
        self._faults, self._changed = faults, changed
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check")
        self._lock = threading.Lock()
        self._running: set[Process] = set()

    def start(self, bare: Bare, full_name: str, check: Check) -> None:
        self._pool.submit(self._run, bare, full_name, check)

    def close(self) -> None:
        """End what runs; it stays incomplete."""
        self._closing.set()
        with self._lock:
            for process in self._running:
                signal_group(process, SIGKILL)
        self._pool.shutdown(cancel_futures=True)

    def _run(self, bare: Bare, full_name: str, check: Check) -> None:
        check.status, check.started = "in_progress", now()
        self._changed()
        fault = self._faults.take("CHECK", f"/{full_name}/{check.name}")
        if fault:
            self._closing.wait(fault.delay)
        if fault and fault.status:
            self._finish(check, 1, fault.message or "told to fail")
            return
        with tempfile.TemporaryDirectory(prefix="forge-", ignore_cleanup_errors=True) as temporary:
            self._finish(check, *self._outcome(bare, check, Path(temporary)))

    def _finish(self, check: Check, code: int, output: str) -> None:
        if not self._closing.is_set():
            finish(check, code, output)
            self._changed()

    def _outcome(self, bare: Bare, check: Check, temporary: Path) -> tuple[int, str]:
        folder, printed = temporary / "work", temporary / "printed"
        try:
            bare.check_out(check.sha, folder)
            code = self._execute(check.argv, folder, printed)
            return code, printed.read_text("utf-8", "replace")
        except (ToolError, OSError) as error:
            return 1, str(error)

    def _execute(self, argv: list[str], folder: Path, printed: Path) -> int:
        """The exit status; negative when a signal ended it."""
        program = sys.executable if argv[0] == "python3" else argv[0]
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder.parent),
            "CI": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with printed.open("wb") as output:
            process = spawn(
                [program, *argv[1:]], env=env, cwd=str(folder), stdout=output, stderr=STDOUT
            )
            timer = threading.Timer(TIMEOUT, self._time_out, (process, output))
            with self._lock:
                self._running.add(process)
            timer.start()
            try:
                if self._closing.is_set():
                    signal_group(process, SIGKILL)
                return process.wait()
            finally:
                timer.cancel()
                with self._lock:
                    self._running.discard(process)
                signal_group(process, SIGKILL)  # children may outlive their leader

    @staticmethod
    def _time_out(process: Process, output: Any) -> None:
        output.write(f"\nnot done after {TIMEOUT:g} s\n".encode())
        output.flush()
        signal_group(process, SIGKILL)


def finish(check: Check, code: int, output: str) -> None:
    """Complete a check with an exit status and what was printed."""
    check.completed = now()
    check.started = check.started or check.completed
    check.conclusion = "failure" if code else "success"
    check.title = f"{check.name} {'failed' if code else 'passed'}"
    lines = [line for line in output.splitlines() if line.strip()]
    check.summary = f"exit status {code}" + (f": {lines[-1].strip()}" if lines else "")
    check.text = output[-_TAIL:]
    check.status = "completed"  # last, since others read it meanwhile
