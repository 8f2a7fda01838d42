"""Commands in processes of their own that are killed at a chosen point.

They are forked from a process in which everything is imported and has run once (warm.py), so that
each costs a tenth of a second, and they talk to an API server in the test's process, which survives
them.
"""

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import forkserver, get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from smoldebug import journal
from smoldebug.agent import Signals
from smoldebug.cli import complain, program
from smoldebug.cli.assemble import assemble
from smoldebug.cli.options import Options
from smoldebug.cli.takeup import idle, reopened
from smoldebug.cli.undo import carry_out, chosen
from smoldebug.clock import FakeClock
from smoldebug.errors import SmoldebugError
from smoldebug.events import RunEnded, Stamped
from smoldebug.journal import Writes
from smoldebug.lab.apifaults import Faults, Rule
from smoldebug.lab.rbac import Attributes
from smoldebug.past import past
from smoldebug.playbook.load import load
from smoldebug.records import Answer, Card, Decision
from smoldebug.run import run

WRITES = ("create", "patch", "delete")
WRITTEN = ("deployments", "configmaps")
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["warm"])


@dataclass(frozen=True)
class Point:
    """Where a process is killed: `before` or `after` it writes a line of the journal (its own
    first one is 0), or in the middle (`torn`, with that share of the line on the disk); or when
    the API server receives its write of that number, which is then `lost` or `carried out`."""

    number: int
    moment: str
    share: float = 0.5

    @property
    def at_the_server(self) -> bool:
        return self.moment in ("lost", "carried out")


@dataclass(frozen=True)
class Job:
    """A command, and where it is killed if it is. `triage`, `resume` and `undo` without arguments
    may be killed; anything else is run as it is typed."""

    home: Path
    kubeconfig: str
    playbook: Path
    script: Path
    namespace: str
    command: tuple[str, ...] = ("triage",)
    point: Point | None = None
    repo: str = ""  # of a patch
    token: str = ""

    @property
    def journal(self) -> Path:
        (path,) = (self.home / "runs").glob("*/journal.jsonl")
        return path

    @property
    def output(self) -> str:
        return (self.home / "output").read_text(encoding="utf-8")


# --- in the test's process ------------------------------------------------------------------


class Killer(Faults):
    """The API server kills a client at one of its writes."""

    def __init__(self) -> None:
        super().__init__()
        self._doomed: dict[str, tuple[Point, Future[int]]] = {}
        self._writes: dict[str, int] = {}

    def doom(self, namespace: str, point: Point) -> "Future[int]":
        """The client that writes to this namespace; the caller sets its process id."""
        self._writes[namespace] = 0
        self._doomed[namespace] = point, Future[int]()
        return self._doomed[namespace][1]

    def take(self, wanted: Attributes, *, dry_run: bool) -> Rule | None:
        doomed = self._doomed.get(wanted.namespace)
        written = wanted.verb in WRITES and wanted.resource in WRITTEN
        if doomed is None or dry_run or not written:
            return super().take(wanted, dry_run=dry_run)
        point, process = doomed
        number = self._writes[wanted.namespace]
        self._writes[wanted.namespace] += 1
        if number != point.number:
            return None
        os.kill(process.result(), signal.SIGKILL)
        return Rule(drop=True) if point.moment == "lost" else None


Play = Generator[Job, int, None]
"""Yields jobs, and is told the exit status of each; minus a signal's number if that ended it."""


def play(plays: Iterable[Play], killer: Killer, at_once: int = 6) -> None:
    """Run the jobs of several plays, so many at a time."""
    with pytest.MonkeyPatch.context() as patch:  # for the process that is forked, to find warm.py
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        forkserver.ensure_running()
    waiting, running = iter(plays), dict[int, tuple[Any, Play]]()
    for each in islice(waiting, at_once):
        _go_on(each, None, running, killer)
    while running:
        for sentinel in wait(list(running)):
            process, each = running.pop(sentinel)
            status = process.exitcode
            process.close()
            if not _go_on(each, status, running, killer):
                for following in islice(waiting, 1):
                    _go_on(following, None, running, killer)


def _go_on(each: Play, status: int | None, running: dict[int, Any], killer: Killer) -> bool:
    """Start its next job; False when it has none."""
    try:
        job = each.send(status)
    except StopIteration:
        return False
    process = FORKS.Process(target=perform, args=(job,))
    doomed = job.point and job.point.at_the_server and killer.doom(job.namespace, job.point)
    process.start()
    if doomed:
        doomed.set_result(process.pid)
    running[process.sentinel] = process, each
    return True


# --- in a process of its own ----------------------------------------------------------------


def perform(job: Job) -> None:
    """Raises SystemExit with the command's exit status, unless it is killed before."""
    os.environ |= {"HOME": str(job.home), "SMOLDEBUG_HOME": str(job.home)}
    os.environ["GITHUB_TOKEN"] = job.token
    job.home.mkdir(parents=True, exist_ok=True)
    with (job.home / "output").open("a") as out, redirect_stdout(out), redirect_stderr(out):
        try:
            sys.exit(_COMMANDS.get(job.command, _as_typed)(job))
        except SmoldebugError as error:
            sys.exit(complain(str(error), error.hint, error.status))


def _as_typed(job: Job) -> int:
    return program(list(job.command))


def _triage(job: Job) -> int:
    """As `smoldebug triage -y`, `patch -y` and `runs resume` do it, with time for free and no
    view."""
    plan = load(str(job.playbook), {"namespace": job.namespace})
    options = Options(kubeconfig=job.kubeconfig, models=[f"scripted:{job.script}"], yes=True)
    if job.repo:
        options = Options(yes=True, command="patch", repo=job.repo)
    before = past(idle(journal.find("last"))) if job.command == ("resume",) else None
    made = assemble(plan, options, _yes, Signals(), FakeClock(), before)
    with closing(made):
        crew = replace(made.crew, journal=Doomed(made.crew.journal, made.folder, job.point))
        *_, last = run(plan, crew, made.first, before)
    assert isinstance(last.event, RunEnded)
    return last.event.status


def _undo(job: Job) -> int:
    """As `smoldebug undo -y` does it."""
    folder = journal.find("last")
    before = past(idle(folder))
    entries = chosen(before, ())
    with reopened(folder, before) as (executor, me), closing(journal.open_journal(folder)) as kept:
        for _ in carry_out(before, executor, me, entries, Doomed(kept, folder, job.point)):
            pass
    return 0


_COMMANDS: dict[tuple[str, ...], Callable[[Job], int]] = {
    ("triage",): _triage,
    ("resume",): _triage,
    ("undo",): _undo,
}


def _yes(card: Card) -> Decision:
    return Decision(Answer.YES, "operator", "-y")


class Doomed:
    """A run's journal, whose process kills itself at its point."""

    def __init__(self, kept: Writes, folder: Path, point: Point | None) -> None:
        self._kept, self._path, self._point = kept, folder / "journal.jsonl", point
        self._lines = 0

    def append(self, stamped: Stamped) -> None:
        point, here = self._point, self._lines
        self._lines += 1
        if point is None or point.at_the_server or point.number != here:
            self._kept.append(stamped)
            return
        if point.moment == "before":
            _die()
        size = self._path.stat().st_size
        self._kept.append(stamped)
        if point.moment == "torn":  # the newline is what ends a line
            more = self._path.stat().st_size - size
            os.truncate(self._path, size + 1 + round(point.share * (more - 2)))
        _die()

    def close(self) -> None:
        self._kept.close()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
