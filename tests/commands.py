"""smoldebug as somebody at a terminal meets it: a process of its own; or the same command in the
process of the test, which takes a second less."""

import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from labkit import eventually

from smoldebug.cli import program
from smoldebug.sources.process import LocalProcesses, Process, signal_group, spawn
from smoldebug.sources.world import Completed

SMOLDEBUG = [sys.executable, "-m", "smoldebug"]
FOREIGN = ("KUBECONFIG", "OPENAI_API_KEY", "HF_TOKEN", "SMOLDEBUG_MODEL", "CI", "GITHUB_ACTIONS")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of whoever runs the tests: `folder` is home, and where runs are kept."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**kept, "HOME": str(folder), "SMOLDEBUG_HOME": str(folder / "home"), **more}


def move_in(folder: Path, patch: pytest.MonkeyPatch, **more: str) -> None:
    """The same for this process, which works in that folder."""
    for name in FOREIGN:
        patch.delenv(name, raising=False)
    for name, value in environment(folder, **more).items():
        patch.setenv(name, value)
    patch.chdir(folder)


def smoldebug(*arguments: str, cwd: Path, env: Mapping[str, str]) -> Completed:
    return LocalProcesses().run([*SMOLDEBUG, *arguments], timeout=50, cwd=str(cwd), env=env)


def in_process(*arguments: str, cwd: Path, env: Mapping[str, str]) -> Completed:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in os.environ.keys() - env.keys():
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        patch.chdir(cwd)
        code = program(list(arguments))
    return Completed(code, *(each.detach().getvalue().decode() for each in (out, err)), seconds=0)


class Running:
    """A command that runs: what it said so far, and how it ended. Leaving the block ends it."""

    def __init__(
        self, *arguments: str, cwd: Path, env: Mapping[str, str], stdout: int | None = None
    ) -> None:
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        with _ctrl_c_is_heard():
            self.process: Process = spawn(
                [*SMOLDEBUG, *arguments],
                cwd=str(cwd),
                env=env,
                stdout=self._out if stdout is None else stdout,
                stderr=self._err,
            )

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        signal_group(self.process, signal.SIGKILL)
        self.process.wait()
        self._out.close()
        self._err.close()

    @property
    def stdout(self) -> str:
        return _all(self._out)

    @property
    def stderr(self) -> str:
        return _all(self._err)

    def once(self, holds: Callable[["Running"], Any], what: str) -> Any:
        """The first true value of `holds`; fails at once when the command ends before."""

        def look() -> Any:
            found = holds(self)
            assert found or self.process.poll() is None, f"ended before {what}: {self.stderr}"
            return found

        return eventually(look, what)

    def press_ctrl_c(self, number: signal.Signals = signal.SIGINT) -> None:
        """To the whole foreground group, as a terminal does."""
        signal_group(self.process, number)

    def ended(self) -> int:
        eventually(lambda: self.process.poll() is not None, "the command ends")
        return int(self.process.returncode)


@contextmanager
def _ctrl_c_is_heard() -> Iterator[None]:
    """A child inherits that SIGINT is ignored, as it is in `pytest &`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _all(file: Any) -> str:
    return os.pread(file.fileno(), 1 << 22, 0).decode("utf-8", "replace")
