"""An earlier part of a run, read from its journal, for whoever takes the run up again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from smoldebug.errors import UsageError
from smoldebug.events import (
    Continued,
    EvidenceRecorded,
    HypothesesChanged,
    ModelAnswered,
    RunEnded,
    RunStarted,
    Stamped,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
    UndoBegan,
)
from smoldebug.ledger import Ledger
from smoldebug.records import Evidence, Hypothesis, Json, Usage
from smoldebug.usage import plus


@dataclass
class Past:
    """`ended` is how the last process that worked on it ended, None when it was killed; `undoing`
    is set while it was taking everything back."""

    started: RunStarted
    run: str = ""
    events: int = 0
    elapsed: float = 0.0  # seconds
    ledger: Ledger = field(default_factory=Ledger)
    evidence: list[Evidence] = field(default_factory=list)
    hypotheses: tuple[Hypothesis, ...] = ()
    usage: Usage = field(default_factory=Usage)
    ended: RunEnded | None = None
    undoing: UndoBegan | None = None
    _calls: dict[str, Json] = field(default_factory=dict)

    def add(self, stamped: Stamped) -> None:
        self.run, self.events, self.elapsed = stamped.run, stamped.seq + 1, stamped.elapsed
        self.ledger.add(stamped)
        match event := stamped.event:
            case Continued(command="resume"):
                self.ended = None
            case UndoBegan():
                self.undoing = event
            case RunEnded(usage=usage):
                self.ended, self.undoing, self.usage = event, None, usage
            case TurnStarted(usage=usage):
                self.usage = usage
            case ModelAnswered():
                self.usage = plus(self.usage, event)
            case HypothesesChanged(hypotheses=found):
                self.hypotheses = found
            case ToolCalled():
                self._calls[event.call] = event.arguments
            case EvidenceRecorded(evidence=item):
                self.evidence.append(item)
            case ToolAnswered(observation=seen) if seen is not None:
                arguments = self._calls.get(event.call)
                given = arguments if isinstance(arguments, dict) else {}
                self.evidence.append(Evidence(event.evidence, event.tool, given, seen, stamped.at))


def past(events: Sequence[Stamped]) -> Past:
    """Fold a journal. Raises UsageError when it stops before the run had begun."""
    first = events[0].event if events else None
    if not isinstance(first, RunStarted):
        raise UsageError("this run was killed before it had begun: there is nothing in its journal")
    found = Past(first)
    for stamped in events:
        found.add(stamped)
    return found
