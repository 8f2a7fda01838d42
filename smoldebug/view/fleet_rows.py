"""What stays at the bottom of the screen of a matrix: what it is about, and a row per cluster.

Redrawn a few times a second from another thread: `update` replaces whole values, and drawing only
reads them.
"""

from collections import Counter

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from smoldebug.cells import Cell
from smoldebug.clock import Clock, duration
from smoldebug.events import (
    Blamed,
    ChangeProposed,
    Continued,
    GoalChecked,
    PhaseBegan,
    RunEnded,
    RunStarted,
    Skipped,
    Stamped,
)
from smoldebug.playbook.upgrades import Matrix
from smoldebug.records import Outcome, Verdict
from smoldebug.status import ExitStatus
from smoldebug.untrusted import one_line
from smoldebug.view.fleet import named
from smoldebug.view.phrases import short
from smoldebug.view.pinned import GOAL, fit, spread

# Red, yellow and green mean something else
COLOURS = ("cyan", "magenta", "blue", "bright_cyan", "bright_magenta", "bright_blue")
OTHER_LINES = 12  # of the screen, kept for finished steps
_TOLD = RunStarted | ChangeProposed | PhaseBegan | Blamed | Continued | RunEnded | Skipped


def ending(status: ExitStatus | None) -> tuple[str, str]:
    """Symbol and style of a cluster that has ended; None: skipped."""
    if status is None:
        return "–", "dim"
    if status is ExitStatus.MET:
        return GOAL[Outcome.MET]
    return GOAL[Outcome.INCONCLUSIVE if status is ExitStatus.INCONCLUSIVE else Outcome.NOT_MET]


class Row:
    """One cluster, as it stands. `place` is its place in the matrix: its colour stays the same."""

    def __init__(self, cluster: str, place: int, width: int, clock: Clock) -> None:
        self.name = Text(f"{named(cluster):{width}}", style=COLOURS[place % len(COLOURS)])
        self._clock, self._at = clock, 0.0
        self._told: list[Stamped] = []
        self.cell = Cell(cluster, self._told)
        self._elapsed = 0.0
        self._verdict: Verdict | None = None

    def update(self, stamped: Stamped) -> None:
        self._elapsed, self._at = stamped.elapsed, self._clock.monotonic()
        if isinstance(stamped.event, GoalChecked):
            self._verdict = stamped.event.verdict
        elif isinstance(stamped.event, _TOLD):
            self._told.append(stamped)

    @property
    def state(self) -> str:
        """waiting, running, or how it ended."""
        if not self._told:
            return "waiting"
        last = self._told[-1].event
        return self.cell.verdict if isinstance(last, RunEnded | Skipped) else "running"

    @property
    def done(self) -> bool:
        return self.state not in ("waiting", "running")

    def cells(self, bar: int) -> list[Text]:
        symbol, style = {"waiting": ("○", "dim"), "running": ("▸", "bold")}.get(
            self.state, ending(self.cell.status)
        )
        word = self.cell.phase if self.state == "running" else self.state
        blank = self.state == "waiting" or self.cell.skipped
        return [
            Text(symbol, style=style),
            self.name,
            Text(one_line(word or "begins"), style=style),
            Text() if blank else self._bar(bar),
            Text(one_line(self._failing) or "-", style="red" if self._failing else "dim"),
            Text() if blank else Text(duration(int(self._seconds)), style="dim"),
        ]

    def _bar(self, width: int) -> Text:
        """`████░░ 17/20`; once all are met, how long they have held: `██░░░░ 20/20 40s/5m`."""
        verdict = self._verdict
        if verdict is None or not verdict.results:
            return Text()
        met = sum(each.outcome is Outcome.MET for each in verdict.results)
        share, words = met / len(verdict.results), f"{met}/{len(verdict.results)}"
        if verdict.sample is Outcome.MET and verdict.hold_for:
            share = min(1.0, max(0.0, verdict.held / verdict.hold_for))
            words += f" {duration(verdict.held)}/{duration(verdict.hold_for)}"
        filled = int(share * width)
        style = "green" if verdict.outcome is Outcome.MET else "cyan"
        return Text.assemble(("█" * filled, style), ("░" * (width - filled), "dim"), f" {words}")

    @property
    def _failing(self) -> str:
        """The service to blame; until that is known, the first whose check is decided."""
        if offender := self.cell.offender:
            return short(offender)
        results = self._verdict.results if self._verdict else ()
        broken = (each for each in results if each.outcome is Outcome.NOT_MET and not each.pending)
        return next((short(each.service) or each.check for each in broken), "")

    @property
    def _seconds(self) -> float:
        since = 0.0 if self.done else self._clock.monotonic() - self._at
        return self._elapsed + max(0.0, since)


class Rows:
    def __init__(self, matrix: Matrix, clock: Clock) -> None:
        self._clock, self._parallel = clock, matrix.parallel
        width = max(len(named(cluster)) for cluster in matrix.cluster)
        self.rows = {
            cluster: Row(cluster, place, width, clock)
            for place, cluster in enumerate(matrix.cluster)
        }

    def update(self, cluster: str, stamped: Stamped) -> None:
        self.rows[cluster].update(stamped)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield self._head(width)
        room = max(1, options.size.height - OTHER_LINES)
        rows = list(self.rows.values())
        # Where not all fit, those that something happens to
        shown = rows if len(rows) <= room else sorted(rows, key=_interest)[:room]
        table = Table.grid(expand=True, padding=(0, 1))
        bar = 6 if width < 100 else 20
        for fixed in (1, shown[0].name.cell_len, 15, bar + 16):
            table.add_column(width=fixed, no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(width=6, no_wrap=True, justify="right")
        for row in shown:
            table.add_row(*row.cells(bar))
        yield table
        if more := [row.state for row in rows if row not in shown]:
            states = ", ".join(f"{number} {state}" for state, number in Counter(more).items())
            yield fit(Text(f"  and {len(more)} more: {states}", style="dim"), width)

    def _head(self, width: int) -> Text:
        cells = [row.cell for row in self.rows.values()]
        playbook = next(filter(None, (cell.playbook for cell in cells)), "")
        release = next(filter(None, (cell.release for cell in cells)), "")
        about = one_line(" · ".join(filter(None, (playbook, release))), 300)
        left = Text(f"── {about} " if about else "", style="dim")
        done = sum(row.done for row in self.rows.values())
        now = f" · {self._clock.now():%H:%M:%S} UTC" if width >= 100 else ""
        right = Text.assemble(
            (f" {done} of {len(cells)} done", "bold"),
            (f", {self._parallel} at a time{now} ──", "dim"),
        )
        return spread(left, right, width, fill="─")


def _interest(row: Row) -> int:
    """Those that run or have failed first."""
    quiet = ("waiting", "met", "skipped")
    return 1 + quiet.index(row.state) if row.state in quiet else 0
