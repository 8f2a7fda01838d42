"""Commands of the playbook's allow-list, and local servers. Neither has a dry run or an inverse."""

import shlex
from collections.abc import Callable
from pathlib import Path

from smoldebug.appliers.protocol import Preview
from smoldebug.clock import Clock
from smoldebug.errors import ChangeFailed, ChangeRefused
from smoldebug.records import Change, Surroundings
from smoldebug.redact import Redactor
from smoldebug.sources import servers
from smoldebug.sources.world import Processes


class CommandApplier:
    """run-command: an argv of the playbook's allow-list, run once. There is no dry run."""

    def __init__(
        self, processes: Processes, redactor: Redactor | None = None, timeout: float = 60.0
    ) -> None:
        self._processes, self._timeout = processes, timeout
        self._redactor = redactor or Redactor()
        self._done: set[str] = set()

    def look(self, change: Change) -> Surroundings:
        return Surroundings()

    def preview(self, change: Change, note: str, *, ask: bool = True) -> Preview:
        command = _argv(change)
        return Preview(f"run: {command}", "not supported for commands", command)

    def apply(self, change: Change, note: str) -> str:
        done = self._processes.run(change.after["/argv"], timeout=self._timeout)
        output = self._redactor.text((done.stdout + done.stderr).strip())[-2000:]
        if done.code is None:
            raise ChangeFailed(f"stopped after {self._timeout:g} s: {change.after['/argv'][0]}")
        ended = f"exit code {done.code}: {output}" if output else f"exit code {done.code}"
        if done.code != 0:
            raise ChangeFailed(ended)  # what it did before it failed, nobody knows
        self._done.add(note)
        return ended

    def renewed(self, change: Change) -> Change | None:
        return None

    def drift(self, change: Change, note: str) -> str:
        return ""

    def holds(self, change: Change, note: str) -> bool:
        return note in self._done


class ServerApplier:
    """process-restart: starts a local server of the playbook, after ending the one it replaces.

    Only a process that smoldebug itself started is ended (its record is kept in `folder`).
    """

    def __init__(self, folder: Path, clock: Clock, answers: Callable[[str], bool]) -> None:
        self._folder, self._clock, self._answers = folder, clock, answers

    def look(self, change: Change) -> Surroundings:
        return Surroundings()

    def preview(self, change: Change, note: str, *, ask: bool = True) -> Preview:
        command = _argv(change)
        return Preview(f"start: {command}", "not supported for processes", command)

    def apply(self, change: Change, note: str) -> str:
        record, url = self._record(change), change.after["/url"]
        if servers.running(record) is None and self._answers(url):
            raise ChangeRefused(f"something that smoldebug did not start answers at: {url}")
        self._folder.mkdir(parents=True, exist_ok=True)
        ended = servers.end(record)
        log = record.with_suffix(".log")
        pid = servers.start(
            change.after["/argv"], cwd=change.after.get("/cwd") or None, log=log, record=record
        )
        self._wait(change)
        if servers.running(record) is None:
            raise ChangeFailed(f"it ended at once: {servers.last_words(log)}")
        return f"started pid {pid}" + (f" in place of {ended}" if ended else "")

    def renewed(self, change: Change) -> Change | None:
        return None

    def drift(self, change: Change, note: str) -> str:
        return ""

    def holds(self, change: Change, note: str) -> bool:
        """It runs and it answers: a server that starts and dies is not a restarted server."""
        running = servers.running(self._record(change)) is not None
        return running and self._answers(change.after["/url"])

    def _wait(self, change: Change) -> None:
        """Until it answers or has ended, 5 s at most."""
        deadline = self._clock.monotonic() + 5
        while servers.running(self._record(change)) is not None and not self.holds(change, ""):
            if self._clock.monotonic() > deadline:
                return
            self._clock.sleep(0.1)

    def _record(self, change: Change) -> Path:
        return self._folder / f"{change.target.name}.json"


def _argv(change: Change) -> str:
    """The command line. Raises ChangeRefused where a change of a process claims an inverse."""
    if not change.no_undo:
        raise ChangeRefused(f"a {change.kind} has no inverse; no_undo must say why")
    return shlex.join(change.after["/argv"])
