"""One run per cluster: begun in order, some at a time, and no more once too many have failed.

    first cluster (the canary) -> ... -> as many at a time as matrix.parallel says
    stop_after_failures reached, matrix.wall over, or the operator stops -> the rest is skipped
    one failed and on_failure_others: rollback -> those that were upgraded go back, too

Each cluster has its own run, journal and ledger of changes; here their events are only merged.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from smoldebug.cells import Cell
from smoldebug.clock import Clock
from smoldebug.errors import SmoldebugError
from smoldebug.events import RunEnded, Skipped, Stamp, Stamped
from smoldebug.playbook.upgrades import Matrix
from smoldebug.records import Outcome, Usage
from smoldebug.redact import Redactor
from smoldebug.status import ExitStatus


class Begun(Protocol):
    """A run that is open."""

    def events(self) -> Iterator[Stamped]: ...

    def roll_back(self, reason: str) -> Iterator[Stamped]:
        """Take back what it changed, after it had ended as met."""
        ...

    def close(self) -> None: ...


Begin = Callable[[str], Begun]
Merged = tuple[str, Stamped]  # cluster, event
Done = tuple[str, Stamped | Future[None]]  # the latter when a cluster is done

# How a run ends whose steps broke something: the others may go back for its sake
_BROKE = (ExitStatus.NOT_MET, ExitStatus.UNDONE, ExitStatus.UNDO_FAILED, ExitStatus.LIMIT)


@dataclass
class Fleet:
    """The clusters of one matrix. `begin` opens the run of one, in a thread of its own; it raises
    SmoldebugError where it cannot. `stop` is set to begin no more, as the runs themselves see it.
    """

    matrix: Matrix
    begin: Begin
    clock: Clock
    stop: threading.Event
    others_back: bool = False  # on_failure_others: rollback
    _begun: dict[str, Begun] = field(default_factory=dict)
    _seen: dict[str, list[Stamped]] = field(default_factory=dict)

    def cells(self) -> Sequence[Cell]:
        """The clusters with their events so far, in order."""
        return [Cell(cluster, seen) for cluster, seen in self._seen.items()]

    def events(self) -> Iterator[Merged]:
        """Every event of every cluster, as it comes. Closed early, it stops the runs."""
        self._seen = {cluster: [] for cluster in self.matrix.cluster}
        try:
            for cluster, stamped in self._all():
                self._seen[cluster].append(stamped)
                yield cluster, stamped
        finally:
            for begun in self._begun.values():
                begun.close()

    def _all(self) -> Iterator[Merged]:
        with ThreadPoolExecutor(self.matrix.parallel, "cluster") as pool:
            try:
                yield from self._forward(pool)
            except BaseException:
                self.stop.set()
                raise
        if self.others_back and not self.stop.is_set():
            yield from self._back()

    def _forward(self, pool: ThreadPoolExecutor) -> Iterator[Merged]:
        waiting, done = deque(self.matrix.cluster), SimpleQueue[Done]()
        began, running = self.clock.monotonic(), 0
        while True:
            while waiting and running < self.matrix.parallel and not self._halted(began):
                cluster, running = waiting.popleft(), running + 1
                future = pool.submit(self._run, cluster, done)
                future.add_done_callback(partial(_tell, done, cluster))
            if not running:
                break
            cluster, item = done.get()
            if isinstance(item, Stamped):
                yield cluster, item
            else:
                running -= 1
                item.result()
        if halted := self._halted(began):
            for cluster in waiting:
                yield cluster, Stamp("", self.clock)(halted)

    def _run(self, cluster: str, done: SimpleQueue[Done]) -> None:
        try:
            self._begun[cluster] = begun = self.begin(cluster)
        except SmoldebugError as error:
            done.put((cluster, Stamp("", self.clock)(_never_began(error))))
            return
        for stamped in begun.events():
            done.put((cluster, stamped))

    def _halted(self, began: float) -> Skipped | None:
        """Why no other cluster is begun."""
        if self.stop.is_set():
            return Skipped("stopped by the operator", ExitStatus.INTERRUPTED)
        failed = [cell.cluster for cell in self.cells() if _failed(cell)]
        most, wall = self.matrix.stop_after_failures, self.matrix.wall
        if most and len(failed) >= most:
            why = f"not begun, since {', '.join(failed)} failed (matrix.stop_after_failures)"
            return Skipped(why)
        if wall and self.clock.monotonic() - began >= wall:
            return Skipped(f"not begun, since matrix.wall is over: {wall}", ExitStatus.LIMIT)
        return None

    def _back(self) -> Iterator[Merged]:
        cells = self.cells()
        broke = [cell.cluster for cell in cells if cell.status in _BROKE]
        upgraded = [cell.cluster for cell in cells if cell.status is ExitStatus.MET]
        for cluster in upgraded if broke else ():
            reason = f"{', '.join(broke)} failed (on_failure_others: rollback)"
            for stamped in self._begun[cluster].roll_back(reason):
                yield cluster, stamped


def _tell(done: SimpleQueue[Done], cluster: str, future: Future[None]) -> None:
    done.put((cluster, future))


def _failed(cell: Cell) -> bool:
    return cell.ended is not None and cell.ended.status is not ExitStatus.MET


def _never_began(error: SmoldebugError) -> RunEnded:
    reason = Redactor().text(f"{error} ({error.hint})" if error.hint else str(error))
    return RunEnded(error.status, Outcome.INCONCLUSIVE, reason, Usage())
