"""For logs and CI: one line per event on stderr, the report on stdout, no control characters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from smoldebug.clock import duration
from smoldebug.events import (
    ChangeDecided,
    ChangeProposed,
    ChangeSettled,
    EvidenceRecorded,
    FirstCard,
    GoalChecked,
    HypothesesChanged,
    Note,
    RunEnded,
    RunStarted,
    Stamped,
    Thought,
    ToolAnswered,
    ToolCalled,
    Waiting,
)
from smoldebug.records import Fact, Section
from smoldebug.untrusted import inert, one_line, plain
from smoldebug.view.phrases import (
    MODES,
    Recorded,
    age,
    arguments,
    back_to,
    cited,
    ended,
    goal_word,
    is_note,
    measured,
    result,
    window,
)
from smoldebug.view.stream import encodable


class PlainView:
    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self._out, self._err = encodable(stdout), encodable(stderr)
        self._calls: dict[str, Any] = {}
        self._evidence = Recorded()
        self._hypotheses: dict[str, str] = {}
        self._goal = ""

    def show(self, stamped: Stamped) -> None:
        if say := _SAY.get(type(stamped.event)):
            for line in say(self, stamped.event, stamped):
                self._line(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._err.flush()
        yield

    def evidence(self, ids: Sequence[str]) -> None:
        for title, text in self._evidence.read(ids):
            self._line(title)
            self._line("\n".join(f"  {line}" for line in text.splitlines()))

    def closing(self, sections: Sequence[Section]) -> None:
        for section in sections:
            for number, line in enumerate(section.lines):
                heading = one_line(section.heading) if number == 0 else ""
                self._out.write(inert(f"{heading:10}{plain(line)}".rstrip()) + "\n")
        self._out.flush()

    def close(self) -> None:
        self._err.flush()

    def _line(self, text: str) -> None:
        self._err.write(inert(plain(text)).rstrip() + "\n")
        self._err.flush()

    # --- one method per event: the lines it is worth ---------------------------------------------

    def _started(self, event: RunStarted, stamped: Stamped) -> Iterator[str]:
        yield f"smoldebug {event.command}  {event.playbook}  run {stamped.run}"
        where = f"cluster {event.context}" if event.context else "no cluster"
        names = f", namespaces {', '.join(event.namespaces)}" if event.namespaces else ""
        mode = MODES.get(event.mode, event.mode)
        yield f"where   {one_line(f'{where}{names}; {mode}; model {event.model}', 300)}"
        yield f"goal    {one_line(event.goal, 300)}"

    def _checked(self, event: GoalChecked, stamped: Stamped) -> Iterator[str]:
        verdict = event.verdict
        state = f"{goal_word(verdict)} {window(verdict)}".rstrip()
        if state != self._goal:
            self._goal = state
            yield f"goal    {state}: {measured(verdict)}  ({duration(stamped.elapsed)})"

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

    def _called(self, event: ToolCalled, stamped: Stamped) -> Iterator[str]:
        self._calls[event.call] = event.arguments
        yield from ()

    def _recorded(self, event: EvidenceRecorded, stamped: Stamped) -> Iterator[str]:
        self._evidence.add(event.answer(), event.evidence.arguments)
        yield from ()

    def _answered(self, event: ToolAnswered, stamped: Stamped) -> Iterator[str]:
        sent = self._calls.pop(event.call, None)
        if event.evidence:
            self._evidence.add(event, sent)
        if is_note(event):
            return
        what = one_line(f"{event.tool} {arguments(sent)}", 300)
        cite = f", {event.evidence}" if event.evidence else ""
        told = f"{' | '.join(result(event))}  ({duration(event.seconds)}{one_line(cite)})"
        yield f"step {event.turn}  {what} -> {told}"
        for line in event.flags:
            yield f"  warning: reads like an instruction to an AI, kept as data: {one_line(line)}"

    def _hypothesis(self, event: HypothesesChanged, stamped: Stamped) -> Iterator[str]:
        for item in event.hypotheses:
            if self._hypotheses.get(item.id) != item.certainty:
                self._hypotheses[item.id] = item.certainty
                quotes = item.contradicts if item.status == "ruled out" else item.supports
                yield one_line(f"{item.id} {item.certainty}: {item.claim}  {cited(quotes)}", 300)

    def _proposed(self, event: ChangeProposed, stamped: Stamped) -> Iterator[str]:
        card, change = event.card, event.card.change
        undo = change.no_undo or back_to(change.before, change.after)
        what = one_line(
            f"{card.id} {change.kind} {change.target} on {card.context or 'no cluster'}"
        )
        yield f"change  {what}"
        yield from (f"  {line}" for line in plain(card.diff).splitlines())
        for name, text in (
            ("why", change.why),
            ("expects", change.expects),
            ("because", " ".join(change.evidence)),
            ("dry run", card.dry_run),
            ("no undo" if change.no_undo else "undo", undo),
            ("limits", card.limits),
            ("equals", card.command),
        ):
            if text:
                yield f"  {name:8}{one_line(text, 2000)}"

    def _decided(self, event: ChangeDecided, stamped: Stamped) -> Iterator[str]:
        yield f"change  {one_line(f'{event.card} {event.decision}', 300)}"

    def _settled(self, event: ChangeSettled, stamped: Stamped) -> Iterator[str]:
        yield f"change  {one_line(f'{event.card} {event.state}: {event.detail}', 300)}"

    def _waiting(self, event: Waiting, stamped: Stamped) -> Iterator[str]:
        yield f"waits   {one_line(event.why)}, at most {duration(event.until)}"

    def _note(self, event: Note, stamped: Stamped) -> Iterator[str]:
        yield f"{one_line(event.severity):8}{one_line(event.text, 300)}"

    def _ended(self, event: RunEnded, stamped: Stamped) -> Iterator[str]:
        spent = ended(event.usage, stamped.elapsed)
        yield f"ended   goal {event.outcome.upper()}: {one_line(event.reason, 300)}  ({spent})"


_SAY: dict[type, Callable[[PlainView, Any, Stamped], Iterator[str]]] = {
    RunStarted: PlainView._started,
    GoalChecked: PlainView._checked,
    EvidenceRecorded: PlainView._recorded,
    FirstCard: PlainView._first,
    Thought: PlainView._thought,
    ToolCalled: PlainView._called,
    ToolAnswered: PlainView._answered,
    HypothesesChanged: PlainView._hypothesis,
    ChangeProposed: PlainView._proposed,
    ChangeDecided: PlainView._decided,
    ChangeSettled: PlainView._settled,
    Waiting: PlainView._waiting,
    Note: PlainView._note,
    RunEnded: PlainView._ended,
}
