"""What stays at the bottom of the screen: goal, budget, hypotheses, what is going on now.

Redrawn a few times a second from another thread: `update` replaces whole values, and drawing only
reads them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from smoldebug.clock import Clock, duration
from smoldebug.events import (
    AnyEvent,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    GoalChecked,
    HypothesesChanged,
    ModelAnswered,
    ModelAsked,
    ModelHeard,
    ModelSwitched,
    PhaseBegan,
    RunEnded,
    RunStarted,
    Stamped,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
    UndoIntended,
    Waiting,
)
from smoldebug.records import Hypothesis, Outcome, Usage, Verdict
from smoldebug.untrusted import one_line
from smoldebug.usage import plus
from smoldebug.view.phrases import (
    PHASES,
    arguments,
    cited,
    goal_word,
    limits,
    measured,
    window,
)

GOAL = {
    Outcome.MET: ("✓", "bold green"),
    Outcome.NOT_MET: ("✗", "bold red"),
    Outcome.INCONCLUSIVE: ("?", "bold yellow"),
}
HYPOTHESIS = {
    "open": ("○", ""),
    "testing": ("●", "cyan"),
    "likely": ("✓", "bold green"),
    "possible": ("✓", "green"),
    "ruled out": ("✗", "dim"),
}
_ORDER = ("likely", "possible", "testing", "open", "ruled out")
CLOSE = 0.8  # share of a limit from which it is shown as a warning
HEARD = 20_000  # characters of an answer that is still coming
INDENT = 6  # columns before a line of the history
OTHER_LINES = 16  # of the screen, kept for finished steps and the rest of this panel
ECHO = 4  # columns: where a terminal echoes ^C twice; a line more would leave the panel behind
STOPPING = " stopping after this · Ctrl-C again: now "


def goal_state(verdict: Verdict) -> Text:
    """`✗ NOT MET  ●○○ 1/3`."""
    symbol, style = GOAL[verdict.outcome]
    hopeful = verdict.sample is Outcome.MET or goal_word(verdict) == "WAITING"
    if verdict.outcome is not Outcome.MET and hopeful:
        symbol, style = "▸", "bold yellow"
    filled = window(verdict)
    return Text.assemble((f"{symbol} {goal_word(verdict)}", style), "  " if filled else "", filled)


class Pinned:
    def __init__(self, clock: Clock, stopping: Callable[[], bool] = lambda: False) -> None:
        """`stopping`: whether the operator has asked for the end; read from another thread."""
        self._clock, self._stopping = clock, stopping
        self._run = ""
        self._started: RunStarted | None = None
        self._verdict: Verdict | None = None
        self._checked, self._checked_at = 0.0, clock.now()
        self._usage, self._usage_at = Usage(), clock.monotonic()
        self._hypotheses: tuple[Hypothesis, ...] = ()
        self._model = ""  # who is asked
        self._heard = ""  # of an answer that is still coming
        self._doing, self._since, self._until = "", clock.monotonic(), 0.0

    def update(self, stamped: Stamped) -> None:
        now = self._clock.monotonic()
        match stamped.event:
            case RunStarted() as started:
                self._run, self._started, self._model = stamped.run, started, started.model
                self._usage, self._usage_at = started.limits, now
            case GoalChecked(verdict=verdict):
                self._verdict, self._checked, self._checked_at = verdict, now, stamped.at
            case TurnStarted(usage=usage) | RunEnded(usage=usage):
                seconds = max(usage.seconds, self._seconds(now))  # a turn may not tell them
                self._usage, self._usage_at = replace(usage, seconds=seconds), now
            case ChangeSettled(state="verified"):
                self._usage = replace(self._usage, changes=self._usage.changes + 1)
            case HypothesesChanged(hypotheses=found):
                self._hypotheses = found
        self._hear(stamped.event)
        if (doing := _doing(stamped.event)) is not None:
            self._doing, self._since, self._until = doing, now, 0.0
        if isinstance(stamped.event, Waiting):
            self._until = now + stamped.event.until

    def _hear(self, event: AnyEvent) -> None:
        """Who is asked, what that has cost, and what has come of the answer."""
        match event:
            case ModelHeard():
                self._heard = event.text
                return
            case ModelAsked():
                self._model = event.model
            case ModelSwitched():
                self._model = event.to
            case ModelAnswered():
                self._usage = plus(self._usage, event)
        self._heard = ""

    def _seconds(self, now: float) -> float:
        """That the run has taken until now."""
        return self._usage.seconds + max(0.0, now - self._usage_at)

    def shift(self, seconds: float) -> None:
        """Time that was spent waiting for a person is no time of the run."""
        self._usage_at += seconds
        self._since += seconds

    @property
    def repository(self) -> str:
        return self._started.repository if self._started else ""

    @property
    def goal(self) -> Text:
        """The goal as it stood when it was measured last, for places where this panel is not."""
        words = Text(one_line(self._started.goal, 300) + "\n" if self._started else "")
        if self._verdict is None:
            return words.append("not measured yet")
        when = f"  at {self._checked_at:%H:%M:%S} UTC: "
        said = measured(self._verdict)
        return Text.assemble(words, goal_state(self._verdict), (when, "dim"), said)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        heard = self._hearing(console, width, options.size.height)
        yield from heard
        yield self._header(width)
        yield from self._goal(width)
        yield self._budget(width)
        if self._hypotheses:
            room = options.size.height - OTHER_LINES - len(heard)
            yield self._theories(max(1, min(6, room)))
        yield self._now(width - ECHO)

    # --- its lines --------------------------------------------------------------------------

    def _hearing(self, console: Console, width: int, height: int) -> list[Text]:
        """The end of what the model has said, where its thought will stand."""
        words = Text(one_line(self._heard, HEARD), style="dim italic")
        if not words:
            return []
        lines = words.wrap(console, max(10, width - INDENT), overflow="fold")
        most = 3 if height >= 24 else 1
        return [fit(Text.assemble(" " * INDENT, line), width) for line in lines[-most:]]

    def _header(self, width: int) -> Text:
        start = self._started
        command, playbook = (start.command, start.playbook) if start else ("", "")
        names = [command, *([playbook] if playbook != command else []), f"run {self._run}"]
        where = "/".join(filter(None, (start.context, *start.namespaces))) if start else ""
        where = where or self.repository.partition(" ")[0]
        mode = f" · {one_line(start.mode)}" if start else ""
        left = Text(f"── {one_line(' · '.join(names))} ", style="dim")
        right = Text.assemble(
            " ",
            (one_line(where, 40) or "no cluster", "bold"),
            (mode, "yellow" if start and start.mode == "auto" else ""),
            (" · BREAK-GLASS" if start and start.break_glass else "", "bold red"),
            (f" · {self._clock.now():%H:%M:%S} UTC ──", "dim"),
        )
        return spread(left, right, width, fill="─")

    def _goal(self, width: int) -> Iterator[Text]:
        words = one_line(self._started.goal, 300) if self._started else ""
        yield fit(Text.assemble((" GOAL ", "bold"), words), width)
        if self._verdict is None:
            yield fit(Text("      measuring for the first time"), width)
            return
        state = Text.assemble("      ", goal_state(self._verdict))
        yield spread(state, Text(f"{self._age()} ", style="dim"), width)
        yield fit(Text(f"      {measured(self._verdict)}", style="dim"), width)

    def _age(self) -> str:
        if self._verdict is None or self._started is None:
            return ""
        seconds = max(0, int(self._clock.monotonic() - self._checked))
        every = duration(self._started.check_every)
        return f"   measured {seconds}s ago, every {every}"

    def _budget(self, width: int) -> Text:
        parts = list(limits(self._usage, self._seconds(self._clock.monotonic())))
        used = max(share for _, share in parts)
        cells = 24 if width >= 100 else 12
        filled = round(used * cells)
        style = "yellow" if used >= CLOSE else "cyan"
        line = Text.assemble(" ▕", ("█" * filled, style), ("░" * (cells - filled), "dim"), "▏ ")
        for label, share in parts:
            line.append(f"{label} · ", style="bold yellow" if share >= CLOSE else "")
        return fit(line.append(f"model {one_line(self._model, 40)}"), width)

    def _theories(self, room: int) -> Table:
        found = sorted(self._hypotheses, key=_rank)
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        for width in (10, 8, 9):
            table.add_column(no_wrap=True, width=width, overflow="ellipsis")
        more = len(found) - room
        title = " HYPOTHESES" + (f"  (and {more} more)" if more > 0 else "")
        table.add_row(*(Text(cell, style="dim") for cell in (title, "for", "against", "")))
        for item in found[:room]:
            symbol, style = HYPOTHESIS.get(item.certainty, ("○", ""))
            claim = one_line(f"{item.id}  {item.claim}", 200)
            table.add_row(
                Text(f" {symbol} {claim}", style=style),
                Text(cited(item.supports)[1:-1] or "–", style=style),
                Text(cited(item.contradicts)[1:-1] or "–", style=style),
                Text(one_line(item.certainty, 20), style=style),
            )
        return table

    def _now(self, width: int) -> Text:
        now = self._clock.monotonic()
        if self._stopping():
            return spread(Text(f" ▸ {self._doing}"), Text(STOPPING, style="bold yellow"), width)
        if self._until:
            left = duration(max(0, int(self._until - now)))
            return fit(Text(f" ▸ {self._doing}, {left} left at most"), width)
        since = max(0, int(now - self._since))
        return spread(Text(f" ▸ {self._doing or 'starting'}"), Text(f" {since}s "), width)


def _doing(event: AnyEvent) -> str | None:
    """What is going on from this event on; None when the event does not say."""
    match event:
        case TurnStarted() | ModelAsked() | ToolCalled() | ToolAnswered():
            return one_line(f"step {event.turn}: {_in_turn(event)}")
        case ChangeProposed(card=card):
            return one_line(f"{card.id} waits for a decision")
        case ChangeIntended(card=card):
            return one_line(f"applying {card.id}: {card.change.kind} {card.change.target}")
        case UndoIntended():
            return one_line(f"taking back {event.card}")
        case Waiting():
            return one_line(event.why)
        case PhaseBegan():
            return PHASES.get(event.phase, one_line(event.phase))
        case GoalChecked(verdict=verdict):
            return _watching(verdict)
    return None


def _in_turn(event: TurnStarted | ModelAsked | ToolCalled | ToolAnswered) -> str:
    match event:
        case ModelAsked(model=model):
            return f"{model} is thinking"
        case ToolCalled():
            return f"{event.tool} {arguments(event.arguments)}"
        case ToolAnswered():
            return "reading the answer"
    return "choosing what to look at"


def _watching(verdict: Verdict) -> str | None:
    if verdict.sample is Outcome.MET:
        return "the goal holds: watching whether it stays so"
    if open_ := {each.kind for each in verdict.results if each.pending}:
        pull = "the checks of the pull request" if "pull_request" in open_ else "rollouts"
        return f"waiting for {pull}"
    return None


def _rank(item: Hypothesis) -> int:
    return _ORDER.index(item.certainty) if item.certainty in _ORDER else len(_ORDER)


def fit(text: Text, width: int) -> Text:
    """One line, cut with an ellipsis where it does not fit."""
    text.no_wrap = True
    text.truncate(width, overflow="ellipsis")
    return text


def spread(left: Text, right: Text, width: int, fill: str = " ") -> Text:
    """Left and right on one line; the left side gives way."""
    right.truncate(width, overflow="ellipsis")
    room = max(0, width - right.cell_len)
    left.truncate(room, overflow="ellipsis")
    gap = Text(fill * (room - left.cell_len), style="dim")
    return fit(Text.assemble(left, gap, right), width)
