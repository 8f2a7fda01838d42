"""For a terminal: finished steps scroll by, goal, budget and hypotheses stay at the bottom.

Every text from the world goes through `plain` or `one_line` into a rich Text: never markup, never
an escape sequence. Drawing happens four times a second; nothing blinks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from smoldebug.clock import Clock, duration
from smoldebug.events import (
    Blamed,
    ChangeDecided,
    ChangeProposed,
    ChangeSettled,
    Continued,
    Drafted,
    FirstCard,
    GoalChecked,
    HypothesesChanged,
    ModelAnswered,
    ModelSwitched,
    Note,
    PhaseBegan,
    RunEnded,
    RunStarted,
    Skipped,
    Stamped,
    Thought,
    ToolAnswered,
    UndoBegan,
)
from smoldebug.records import Answer, Card, Fact, Outcome, Section
from smoldebug.untrusted import one_line, plain
from smoldebug.usage import answered
from smoldebug.view.card import Diff, approval_card
from smoldebug.view.phrases import (
    PHASES,
    WHOLE,
    Recorded,
    age,
    arguments,
    blamed,
    cited,
    command,
    continued,
    count,
    coverage,
    covered,
    curves,
    drafted,
    ended,
    following,
    is_note,
    measured,
    progress,
    result,
    settled,
    standing,
    switched,
    undoing,
    whole_command,
    whole_diff,
)
from smoldebug.view.pinned import GOAL, HYPOTHESIS, Pinned, goal_state, spread
from smoldebug.view.stream import drawn_on

FACTS = 6  # lines of the first card of one kind
CURVES = 3
EQUALS = " equals  "
_EDITED = {
    "changed": ("✓", "green"),
    "already so": ("·", ""),
    "refused": ("✗", "red"),
    "": ("", ""),  # more of the line above
}
_SEVERITY = {"critical": ("✗", "bold red"), "warning": ("⚠", "yellow"), "info": ("·", "")}


class ConsoleView:
    def __init__(
        self, stdout: TextIO, clock: Clock, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._console = Console(
            file=drawn_on(stdout), markup=False, highlight=False, emoji=False, soft_wrap=False
        )
        self._clock = clock
        self._pinned = Pinned(clock, stopping)
        self._live: Live | None = None
        self._held = False  # until a change is decided
        self._card: Card | None = None  # the last one
        self._evidence = Recorded()
        self._why = ""  # why the last call of a model failed: told once
        self._hypotheses: dict[str, str] = {}
        self._goal = ""
        self.verdict_style = "bold"

    def show(self, stamped: Stamped) -> None:
        self._pinned.update(stamped)
        self._evidence.add(stamped.event)
        if isinstance(stamped.event, RunEnded):
            self._ended(stamped.event, stamped)
        elif say := _SAY.get(type(stamped.event)):
            say(self, stamped.event, stamped)

    def recall(self, past: Sequence[Stamped]) -> None:
        for stamped in past:
            self._pinned.update(stamped)
            self._evidence.add(stamped.event)
        if past:
            self._start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        running, began = self._live is not None, self._clock.monotonic()
        self._stop()
        try:
            yield
        finally:
            self._pinned.shift(self._clock.monotonic() - began)
            if running:
                self._start()

    def evidence(self, ids: Sequence[str]) -> None:
        for title, text in self._evidence.read(ids):
            self._panel(title, Text(text, overflow="fold"))

    def full_diff(self, card: Card) -> None:
        self._panel(one_line(f"{card.id} {card.change.target}", 300), Diff(whole_diff(card)))
        self._command(EQUALS, whole_command(card))

    def closing(self, sections: Sequence[Section]) -> None:
        self._stop()
        for section in sections:
            style = self.verdict_style if section.heading == "VERDICT" else ""
            for number, line in enumerate(section.lines):
                self._report_line(section.heading if number == 0 else "", line, style)
                style = ""
        self._print()

    def close(self) -> None:
        self._stop()

    # --- drawing ----------------------------------------------------------------------------

    def _start(self) -> None:
        self._stop()
        self._live = Live(
            get_renderable=lambda: self._pinned,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, *what: RenderableType) -> None:
        self._console.print(*what)

    def _whole(self, what: RenderableType) -> None:
        """Over the whole width, for whoever decides."""
        self._console.print(what)

    def _width(self) -> int:
        return self._console.width

    def _row(self, mark: str, style: str, what: Text) -> None:
        """A line of the history: `     ✓ what`, wrapped below itself."""
        table = Table.grid(padding=(0, 1))
        table.add_column(width=5, justify="right", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(Text(mark, style=style), what)
        self._print(table)

    def _panel(self, title: str, words: RenderableType) -> None:
        self._whole(Panel(words, title=Text(f" {title} "), title_align="left"))

    def _report_line(self, heading: str, line: str, style: str) -> None:
        if line.startswith("$ "):  # to be copied: the terminal wraps it, nothing is put between
            self._command(" " * 11, line[2:])
            return
        table = Table.grid(padding=(0, 1))
        table.add_column(width=10, no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(Text(f" {one_line(heading)}", style="bold"), Text(plain(line), style=style))
        self._print(table)

    def _command(self, before: str, words: str) -> None:
        command = Text.assemble((before, "dim"), (plain(words), "cyan"))
        self._console.print(command, soft_wrap=True)

    # --- one method per event ---------------------------------------------------------------

    def _started(self, event: RunStarted, stamped: Stamped) -> None:
        if event.break_glass:
            words = one_line(f"BREAK-GLASS: {event.break_glass}", 400)
            self._row("⚠", "bold red", Text(words, style="bold red"))
        if event.policies:
            self._row("", "", Text(one_line(f"policy {', '.join(event.policies)}", 400)))
        if event.repository:
            self._row("", "", Text(one_line(f"repository {event.repository}", 400)))
        self._start()

    def _checked(self, event: GoalChecked, stamped: Stamped) -> None:
        state = goal_state(event.verdict)
        known = f"{standing(event.verdict)} {progress(event.verdict)}"
        if known != self._goal:  # the same again is only an age, and that is pinned
            self._goal = known
            held = event.verdict.sample is Outcome.MET is not event.verdict.outcome
            says = "" if held else measured(event.verdict)
            self._row("goal", "bold", Text.assemble(state, "  ", says))

    def _first(self, event: FirstCard, stamped: Stamped) -> None:
        looked = f"last {duration(event.window)}"
        self._print(Text.assemble((" CHANGED", "bold"), (f"  {looked}", "dim")))
        self._facts(event.changed, stamped, "nothing that can be seen")
        self._print(Text(" RED NOW", style="bold"))
        self._facts(event.red, stamped, "nothing")
        for gap in event.gaps[:FACTS]:
            self._row("?", "yellow", Text(one_line(f"not seen: {gap.what}: {gap.why}", 300)))
        self._print(Text(f" first look took {duration(event.seconds)}, no model\n", style="dim"))

    def _facts(self, facts: Sequence[Fact], stamped: Stamped, otherwise: str) -> None:
        for fact in facts[:FACTS]:
            symbol, style = _SEVERITY.get(fact.severity, _SEVERITY["info"])
            about = "" if fact.ref in fact.text else f"  {one_line(fact.ref)}"
            when = f"  {age(fact, stamped.at)}"
            self._row(symbol, style, Text.assemble(one_line(fact.text, 300), when, (about, "dim")))
        if not facts:
            self._row("✓", "green", Text(otherwise))
        if len(facts) > FACTS:
            self._row("", "", Text(f"and {len(facts) - FACTS} more", style="dim"))

    def _thought(self, event: Thought, stamped: Stamped) -> None:
        if event.text.strip():
            self._row("", "", Text(one_line(event.text, 300), style="dim italic"))

    def _model(self, event: ModelAnswered, stamped: Stamped) -> None:
        """What it cost is pinned."""
        self._why = event.error
        if event.error:
            self._row("⚠", "yellow", Text(answered(event), style="yellow"))

    def _switched(self, event: ModelSwitched, stamped: Stamped) -> None:
        self._row("⚠", "bold yellow", Text(f"model {switched(event, self._why)}", style="yellow"))

    def _answered(self, event: ToolAnswered, stamped: Stamped) -> None:
        sent = self._evidence.sent(event)
        if is_note(event):
            return
        symbol, style = ("✓", "green") if event.ok else ("✗", "red")
        left = Text.assemble(
            f"{event.turn:>3} ",
            (f"{symbol} ", style),
            (one_line(event.tool), "bold"),
            (f" {arguments(sent)}", "dim"),
        )
        cite = Text.assemble(
            f"  {duration(event.seconds):>5}  ", (f"{one_line(event.evidence):<4}", "cyan")
        )
        self._print(spread(left, cite, self._width()))
        for line in result(event, fold=False):
            self._indented(line, "" if event.ok else "red")
        if event.observation:
            for _, curve in zip(range(CURVES), curves(event.observation.data), strict=False):
                self._indented(curve, "cyan")
        if event.flags:
            lines = count(len(event.flags), "line")
            self._indented(
                f"⚠ {lines} written like an instruction to an AI, kept as data: "
                f"“{one_line(event.flags[0], 80)}”",
                "yellow",
            )

    def _indented(self, text: str, style: str) -> None:
        self._row("", "", Text(text, style=style))

    def _drafted(self, event: Drafted, stamped: Stamped) -> None:
        what, onto = drafted(event)
        self._print(Text.assemble((" EDITED", "bold"), f"  {what}", overflow="fold"))
        self._row("", "", Text(onto, style="dim"))
        for state, line in coverage(event):
            symbol, style = _EDITED.get(state, ("⚠", "yellow"))
            self._row(symbol, style, Text(line, style="" if state else "dim"))

    def _hypothesis(self, event: HypothesesChanged, stamped: Stamped) -> None:
        for item in event.hypotheses:
            word = item.certainty
            known = self._hypotheses.get(item.id)
            self._hypotheses[item.id] = word
            if known != word and word in ("likely", "possible", "ruled out"):
                symbol, style = HYPOTHESIS[word]
                quotes = item.contradicts if word == "ruled out" else item.supports
                words = one_line(f"{item.id} {word}: {item.claim}  {cited(quotes)}", 300)
                self._row(symbol, style, Text(words, style=style))

    def _proposed(self, event: ChangeProposed, stamped: Stamped) -> None:
        card, before, self._card = event.card, self._card, event.card
        if before and covered(card, before):
            self._row("▸", "bold", Text(following(card, before.id)))
            return
        self._held = self._live is not None
        self._stop()  # the panel would push the card's head off a small screen
        self._whole(approval_card(card, self._pinned.goal, self._pinned.repository))
        shown = command(card, EQUALS, self._console.width)
        self._command(EQUALS, shown.removeprefix(EQUALS))

    def _decided(self, event: ChangeDecided, stamped: Stamped) -> None:
        symbol, style = {
            Answer.YES: ("✓", "green"),
            Answer.NO: ("✗", "red"),
            Answer.PENDING: ("?", "yellow"),
        }[event.decision.answer]
        self._row(symbol, style, Text(one_line(f"{event.card} {event.decision}", 400)))
        if self._held:
            self._held = False
            self._start()

    def _settled(self, event: ChangeSettled, stamped: Stamped) -> None:
        good = event.state in ("applied", "verified", "undone")
        symbol, style = ("✓", "green") if good else ("✗", "bold red")
        for line in settled(event):
            self._row(symbol, style, Text(line))
            symbol = ""

    def _undoing(self, event: UndoBegan, stamped: Stamped) -> None:
        self._row("▸", "bold yellow", Text(f"taking it back: {undoing(event)}"))

    def _continued(self, event: Continued, stamped: Stamped) -> None:
        self._row("▸", "bold", Text(continued(event, stamped.at)))

    def _note(self, event: Note, stamped: Stamped) -> None:
        symbol, style = _SEVERITY.get(event.severity, _SEVERITY["info"])
        self._row(symbol, style, Text(one_line(event.text, WHOLE), style=style))

    def _phase(self, event: PhaseBegan, stamped: Stamped) -> None:
        words = (one_line(event.phase), "bold"), f"  {PHASES.get(event.phase, '')}"
        self._row("▸", "bold", Text.assemble(*words))

    def _blamed(self, event: Blamed, stamped: Stamped) -> None:
        head, *details = blamed(event)
        if not details:
            self._row("", "", Text(head, style="dim italic"))
            return
        self._row("✗", "bold red", Text(head, style="bold red"))
        for line in details:
            self._row("", "", Text(line))

    def _skipped(self, event: Skipped, stamped: Stamped) -> None:
        self._row("–", "yellow", Text(one_line(f"skipped: {event.reason}", 400)))

    def _ended(self, event: RunEnded, stamped: Stamped) -> None:
        self._stop()
        found = next((item for item in Outcome if item.value == event.outcome), None)
        symbol, self.verdict_style = GOAL[found or Outcome.INCONCLUSIVE]
        word = f" {symbol} GOAL {one_line(event.outcome).upper()}"
        spent = ended(event.usage, stamped.elapsed)
        self._print(Text())
        self._print(Text.assemble((word, self.verdict_style), f"  {spent}"))
        self._print(Text())


_SAY: dict[type, Callable[[ConsoleView, Any, Stamped], None]] = {
    RunStarted: ConsoleView._started,
    Continued: ConsoleView._continued,
    GoalChecked: ConsoleView._checked,
    FirstCard: ConsoleView._first,
    Thought: ConsoleView._thought,
    ModelAnswered: ConsoleView._model,
    ModelSwitched: ConsoleView._switched,
    Drafted: ConsoleView._drafted,
    ToolAnswered: ConsoleView._answered,
    HypothesesChanged: ConsoleView._hypothesis,
    ChangeProposed: ConsoleView._proposed,
    ChangeDecided: ConsoleView._decided,
    UndoBegan: ConsoleView._undoing,
    ChangeSettled: ConsoleView._settled,
    PhaseBegan: ConsoleView._phase,
    Blamed: ConsoleView._blamed,
    Skipped: ConsoleView._skipped,
    Note: ConsoleView._note,
}
