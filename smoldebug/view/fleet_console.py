"""A matrix on a terminal: finished steps scroll above, one row per cluster stays at the bottom."""

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from smoldebug.cells import Cell, status
from smoldebug.clock import Clock
from smoldebug.events import ChangeDecided, ChangeProposed, RunEnded, RunStarted, Stamped
from smoldebug.playbook.upgrades import Matrix
from smoldebug.records import Section
from smoldebug.untrusted import one_line
from smoldebug.view import Asking
from smoldebug.view.console import ConsoleView
from smoldebug.view.fleet import Turns
from smoldebug.view.fleet_rows import Rows, ending
from smoldebug.view.stream import drawn_on


class ConsoleFleet(Turns):
    def __init__(self, matrix: Matrix, stdout: TextIO, clock: Clock) -> None:
        super().__init__()
        self._console = Console(
            file=drawn_on(stdout), markup=False, highlight=False, emoji=False, soft_wrap=False
        )
        self._rows = Rows(matrix, clock)
        self._views = {
            cluster: _Column(self._console, stdout, clock, row.name)
            for cluster, row in self._rows.rows.items()
        }
        self._report = ConsoleView(stdout, clock)
        self._live: Live | None = None
        self._undecided: set[str] = set()  # clusters whose card is shown

    def closing(self, cells: Sequence[Cell], sections: Sequence[Section]) -> None:
        self._hide()
        _, self._report.verdict_style = ending(status(cells))
        self._report.closing(sections)

    def close(self) -> None:
        super().close()
        self._hide()

    def asking(self, cluster: str) -> Asking:
        return self._views[cluster]

    def _shown(self, cluster: str, stamped: Stamped) -> None:
        self._rows.update(cluster, stamped)
        if isinstance(stamped.event, ChangeProposed):
            self._undecided.add(cluster)
            self._hide()  # the rows would push the card's head off a small screen
        elif isinstance(stamped.event, ChangeDecided):
            self._undecided.discard(cluster)
        self._views[cluster].show(stamped)
        self._draw()

    def _draw(self) -> None:
        if self._live is None and not self._undecided and not self._closed:
            self._live = Live(
                get_renderable=lambda: self._rows,
                console=self._console,
                refresh_per_second=4,
                transient=True,
                vertical_overflow="crop",
            )
            self._live.start(refresh=True)

    def _hide(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Column(ConsoleView):
    """The history of one cluster, its name beside every line. What is at the bottom of the screen
    is not its business."""

    def __init__(self, console: Console, stdout: TextIO, clock: Clock, name: Text) -> None:
        super().__init__(stdout, clock)
        self._console, self._name = console, name

    def show(self, stamped: Stamped) -> None:
        super().show(stamped)
        if isinstance(stamped.event, RunStarted):
            self._row("▸", "bold", Text(one_line(f"run {stamped.run}")))

    def _print(self, *what: RenderableType) -> None:
        for each in what:
            table = Table.grid(padding=(0, 1))
            table.add_column(width=self._name.cell_len, no_wrap=True)
            table.add_column(overflow="fold")
            table.add_row(self._name, each)
            super()._print(table)

    def _width(self) -> int:
        return super()._width() - self._name.cell_len - 1

    def _start(self) -> None: ...

    def _stop(self) -> None: ...

    def _ended(self, event: RunEnded, stamped: Stamped) -> None:
        symbol, style = ending(event.status)
        cell = Cell("", [stamped])
        words = Text(one_line(f"{cell.verdict}: {cell.reason}", 400), style=style)
        self._row(symbol, style, words)
