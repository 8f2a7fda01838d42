"""Logs with a section for each cluster that a reader can fold: GitHub's groups, GitLab's sections.

Sections cannot be told side by side. So one cluster is told as it happens, and what the others say
meanwhile waits until its section is closed.
"""

from collections.abc import Sequence
from typing import TextIO

from smoldebug.cells import Cell
from smoldebug.events import RunEnded, Skipped, Stamped
from smoldebug.records import Section
from smoldebug.untrusted import inert, one_line
from smoldebug.view.fleet import PlainFleet, named
from smoldebug.view.stream import Prefixed


class SectionedFleet(PlainFleet):
    """`_before` and `_after` are the lines that begin and end a section."""

    def __init__(self, clusters: Sequence[str], stdout: TextIO, stderr: TextIO) -> None:
        self._waiting = {cluster: list[str]() for cluster in clusters}
        self._begun: list[str] = []  # those that are not told to their end; the first is open
        self._ended: dict[str, Cell] = {}
        super().__init__(clusters, stdout, stderr)

    def closing(self, cells: Sequence[Cell], sections: Sequence[Section]) -> None:
        self._finish()
        super().closing(cells, sections)

    def close(self) -> None:
        super().close()
        self._finish()

    def _finish(self) -> None:
        """Also of a job that was cancelled."""
        with self._turn:
            while self._begun:
                self._next()
            self._hide()

    def said(self, cluster: str, text: str) -> None:
        """By the view of one cluster."""
        if self._asking or self._begun[:1] in ([], [cluster]):
            self._write(text)
        else:
            self._waiting[cluster].append(text)

    def _stream(self, cluster: str, prefix: str) -> TextIO:
        kept: TextIO = _Kept(self, cluster, self._err)  # type: ignore[assignment]
        return Prefixed(kept, prefix)  # type: ignore[return-value]

    def _shown(self, cluster: str, stamped: Stamped) -> None:
        if cluster not in self._begun and not isinstance(stamped.event, Skipped):
            self._begun.append(cluster)  # again, where it is taken back later
            self._ended.pop(cluster, None)
            if len(self._begun) == 1:
                self._write(self._before(cluster))
        super()._shown(cluster, stamped)
        if isinstance(stamped.event, RunEnded):
            self._ended[cluster] = Cell(cluster, [stamped])
        while self._begun and self._begun[0] in self._ended:
            self._next()

    def _next(self) -> None:
        """Close the section that is open; what became of it stays in sight when it is folded."""
        cluster = self._begun.pop(0)
        self._write(self._after(cluster))
        if cell := self._ended.get(cluster):
            words = one_line(f"{cell.verdict}: {cell.reason}", 400)
            self._write(inert(f"{named(cluster)}  {words}") + "\n")
        if self._begun:
            self._write(self._before(self._begun[0]))
            self._tell_waiting(self._begun[0])

    def _hide(self) -> None:
        """Who is asked must see the card, whosever section is open."""
        for cluster in self._waiting:
            self._tell_waiting(cluster)

    def _tell_waiting(self, cluster: str) -> None:
        self._write("".join(self._waiting[cluster]))
        self._waiting[cluster].clear()

    def _write(self, text: str) -> None:
        self._err.write(text)
        self._err.flush()

    def _before(self, cluster: str) -> str:
        raise NotImplementedError

    def _after(self, cluster: str) -> str:
        raise NotImplementedError


class _Kept:
    """The stream of one cluster."""

    def __init__(self, fleet: SectionedFleet, cluster: str, stream: TextIO) -> None:
        self._fleet, self._cluster, self._stream = fleet, cluster, stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        self._fleet.said(self._cluster, text)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()
