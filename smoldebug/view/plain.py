"""For logs and CI: one line per event on stderr, the report on stdout, no control characters."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from smoldebug.clock import duration
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
    Waiting,
)
from smoldebug.records import Card, Fact, Section, Verdict
from smoldebug.untrusted import inert, one_line, plain
from smoldebug.usage import answered
from smoldebug.view.phrases import (
    MODES,
    PHASES,
    WHOLE,
    Recorded,
    age,
    arguments,
    blamed,
    card_diff,
    card_rows,
    cited,
    command,
    continued,
    coverage,
    covered,
    diff_lines,
    drafted,
    dry_run,
    ended,
    following,
    goal_word,
    is_note,
    measured,
    progress,
    result,
    settled,
    switched,
    undoing,
    where,
    whole_command,
    whole_diff,
    window,
)
from smoldebug.view.stream import encodable


class PlainView:
    def __init__(self, stdout: TextIO, stderr: TextIO, taken: int = 0) -> None:
        """`taken`: columns of stderr that stand before every line."""
        self._out, self._err, self._taken = encodable(stdout), encodable(stderr), taken
        self._evidence = Recorded()
        self._why = ""  # why the last call of a model failed: told once
        self._hypotheses: dict[str, str] = {}
        self._goal, self._measured = "", ""
        self._repository = ""
        self._card: Card | None = None  # the last one

    def show(self, stamped: Stamped) -> None:
        for line in self._lines(stamped):
            self._line(line)

    def recall(self, past: Sequence[Stamped]) -> None:
        for stamped in past:
            lines = self._lines(stamped)
            if isinstance(stamped.event, RunStarted):
                for line in lines:
                    self._line(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._err.flush()
        yield

    def evidence(self, ids: Sequence[str]) -> None:
        for title, text in self._evidence.read(ids):
            self._line(title)
            self._line("\n".join(f"  {line}" for line in text.splitlines()))

    def full_diff(self, card: Card) -> None:
        self._line(f"{card.id} {one_line(str(card.change.target), 300)}")
        self._line("\n".join(self._diff(whole_diff(card))))
        self._line(f"  equals    {whole_command(card)}")

    def closing(self, sections: Sequence[Section]) -> None:
        for section in sections:
            for number, line in enumerate(section.lines):
                heading = one_line(section.heading) if number == 0 else ""
                self._out.write(inert(f"{heading:10}{plain(line)}".rstrip()) + "\n")
        self._out.flush()

    def close(self) -> None:
        self._err.flush()

    def _lines(self, stamped: Stamped) -> list[str]:
        """What an event is worth saying, now that it is known."""
        self._evidence.add(stamped.event)
        say = _SAY.get(type(stamped.event))
        return list(say(self, stamped.event, stamped)) if say else []

    def _line(self, text: str) -> None:
        self._err.write(inert(plain(text)).rstrip() + "\n")
        self._err.flush()

    # --- one method per event: the lines it is worth ---------------------------------------------

    def _started(self, event: RunStarted, stamped: Stamped) -> Iterator[str]:
        yield f"smoldebug {event.command}  {event.playbook}  run {stamped.run}"
        cluster = f"cluster {event.context}" if event.context else "no cluster"
        names = f", namespaces {', '.join(event.namespaces)}" if event.namespaces else ""
        mode = MODES.get(event.mode, event.mode)
        yield f"where   {one_line(f'{cluster}{names}; {mode}; model {event.model}', 300)}"
        yield f"goal    {one_line(event.goal, 300)}"
        self._repository = event.repository
        if event.repository:
            yield f"repo    {one_line(event.repository, 300)}"
        for policy in event.policies:
            yield f"policy  {one_line(policy, 300)}"
        if event.break_glass:
            yield f"WARNING break-glass: {one_line(event.break_glass, 300)}"

    def _checked(self, event: GoalChecked, stamped: Stamped) -> Iterator[str]:
        verdict = event.verdict
        state = f"{goal_word(verdict)} {window(verdict)}".rstrip()
        self._measured = f"{state}: {measured(verdict)}"
        if (known := self._news(verdict)) != self._goal:
            self._goal = known
            yield f"goal    {self._measured}  ({duration(stamped.elapsed)})"

    def _news(self, verdict: Verdict) -> str:
        """What must differ for the goal to be worth another line."""
        return f"{goal_word(verdict)} {window(verdict)} {progress(verdict)}"

    def _first(self, event: FirstCard, stamped: Stamped) -> Iterator[str]:
        looked = f"in the last {duration(event.window)}"
        yield from self._facts("changed", event.changed, stamped, f"nothing {looked}")
        yield from self._facts("red", event.red, stamped, "nothing")
        for gap in event.gaps:
            yield f"unseen  {one_line(f'{gap.what}: {gap.why}')}"

    def _facts(
        self, name: str, facts: Sequence[Fact], stamped: Stamped, otherwise: str
    ) -> Iterator[str]:
        for fact in facts:
            about = "" if fact.ref in fact.text else f"  [{fact.ref}]"
            yield f"{name:8}{one_line(f'{fact.text} {age(fact, stamped.at)}{about}', 300)}"
        if not facts:
            yield f"{name:8}{otherwise}"

    def _thought(self, event: Thought, stamped: Stamped) -> Iterator[str]:
        if event.text.strip():
            yield f"step {event.turn}  thinks: {one_line(event.text, 300)}"

    def _model(self, event: ModelAnswered, stamped: Stamped) -> Iterator[str]:
        self._why = event.error
        yield f"{'warning' if event.error else 'model':8}{answered(event)}"

    def _switched(self, event: ModelSwitched, stamped: Stamped) -> Iterator[str]:
        yield f"warning model {switched(event, self._why)}"

    def _answered(self, event: ToolAnswered, stamped: Stamped) -> Iterator[str]:
        sent = self._evidence.sent(event)
        if is_note(event):
            return
        what = one_line(f"{event.tool} {arguments(sent)}", 300)
        cite = f", {event.evidence}" if event.evidence else ""
        told = f"{' | '.join(result(event))}  ({duration(event.seconds)}{one_line(cite)})"
        yield f"step {event.turn}  {what} -> {told}"
        for line in event.flags:
            yield f"  warning: reads like an instruction to an AI, kept as data: {one_line(line)}"

    def _drafted(self, event: Drafted, stamped: Stamped) -> Iterator[str]:
        what, onto = drafted(event)
        yield f"edited  {what}; {onto}"
        yield from (f"  {line}" for _, line in coverage(event))

    def _hypothesis(self, event: HypothesesChanged, stamped: Stamped) -> Iterator[str]:
        for item in event.hypotheses:
            if self._hypotheses.get(item.id) != item.certainty:
                self._hypotheses[item.id] = item.certainty
                quotes = item.contradicts if item.status == "ruled out" else item.supports
                yield one_line(f"{item.id} {item.certainty}: {item.claim}  {cited(quotes)}", 300)

    def _proposed(self, event: ChangeProposed, stamped: Stamped) -> Iterator[str]:
        card, change = event.card, event.card.change
        before, self._card = self._card, card
        if before and covered(card, before):
            yield f"change  {following(card, before.id)}"
            return
        what = one_line(f"{card.id} {change.kind} {change.target}", WHOLE)
        yield f"change  {what} {where(card, self._repository)}"
        yield f"  {dry_run(card)}"
        yield from self._diff(card_diff(card))
        for name, text in (*card_rows(card), ("goal", self._measured)):
            if text:
                yield f"  {name:9} {text}"
        yield f"  hash      {one_line(card.digest)}"
        yield command(card, "  equals    ", self._columns())

    def _diff(self, text: str) -> Iterator[str]:
        return (f"  {line}" for line in diff_lines(text, self._columns() - 2))

    def _columns(self) -> int:
        """Of the terminal that wraps the lines; 80 where there is none."""
        try:
            return (os.get_terminal_size(self._err.fileno()).columns or 80) - self._taken
        except OSError:
            return 80

    def _decided(self, event: ChangeDecided, stamped: Stamped) -> Iterator[str]:
        yield f"change  {one_line(f'{event.card} {event.decision}', 300)}"

    def _settled(self, event: ChangeSettled, stamped: Stamped) -> Iterator[str]:
        head, *details = settled(event)
        yield f"change  {head}"
        yield from (f"  {line}" for line in details)

    def _undoing(self, event: UndoBegan, stamped: Stamped) -> Iterator[str]:
        yield f"undo    taking back what was changed: {undoing(event)}"

    def _continued(self, event: Continued, stamped: Stamped) -> Iterator[str]:
        yield f"again   {continued(event, stamped.at)}"

    def _waiting(self, event: Waiting, stamped: Stamped) -> Iterator[str]:
        yield f"waits   {one_line(event.why)}, at most {duration(event.until)}"

    def _note(self, event: Note, stamped: Stamped) -> Iterator[str]:
        yield f"{one_line(event.severity):8}{one_line(event.text, WHOLE)}"

    def _phase(self, event: PhaseBegan, stamped: Stamped) -> Iterator[str]:
        yield f"phase   {one_line(event.phase)}: {PHASES.get(event.phase, '')}"

    def _blamed(self, event: Blamed, stamped: Stamped) -> Iterator[str]:
        head, *details = blamed(event)
        yield f"{'broke' if details else '':8}{head}"
        yield from (f"        {line}" for line in details)

    def _skipped(self, event: Skipped, stamped: Stamped) -> Iterator[str]:
        yield f"skipped {one_line(event.reason, 300)}"

    def _ended(self, event: RunEnded, stamped: Stamped) -> Iterator[str]:
        spent = ended(event.usage, stamped.elapsed)
        yield f"ended   {self._how(event)}: {one_line(event.reason, 300)}  ({spent})"

    def _how(self, event: RunEnded) -> str:
        return f"goal {event.outcome.upper()}"


_SAY: dict[type, Callable[[PlainView, Any, Stamped], Iterator[str]]] = {
    RunStarted: PlainView._started,
    Continued: PlainView._continued,
    GoalChecked: PlainView._checked,
    FirstCard: PlainView._first,
    Thought: PlainView._thought,
    ModelAnswered: PlainView._model,
    ModelSwitched: PlainView._switched,
    Drafted: PlainView._drafted,
    ToolAnswered: PlainView._answered,
    HypothesesChanged: PlainView._hypothesis,
    ChangeProposed: PlainView._proposed,
    ChangeDecided: PlainView._decided,
    UndoBegan: PlainView._undoing,
    ChangeSettled: PlainView._settled,
    PhaseBegan: PlainView._phase,
    Blamed: PlainView._blamed,
    Skipped: PlainView._skipped,
    Waiting: PlainView._waiting,
    Note: PlainView._note,
    RunEnded: PlainView._ended,
}


class CardsOnly(PlainView):
    """For the operator of a run that a machine reads: what is asked of them, at a terminal."""

    def show(self, stamped: Stamped) -> None:
        lines = self._lines(stamped)
        if isinstance(stamped.event, ChangeProposed) and self._err.isatty():
            for line in lines:
                self._line(line)

    def recall(self, past: Sequence[Stamped]) -> None:
        for stamped in past:
            self._lines(stamped)
