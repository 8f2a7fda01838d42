"""The changes of a run as its journal tells them: what to settle, take back or approve.

Read by whoever takes a run up again (`undo`, `runs resume`, `runs approve`) and by the report.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from smoldebug.events import (
    AnyEvent,
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Stamped,
    UndoIntended,
)
from smoldebug.records import Answer, Card, Decision

UNTOUCHED = ("proposed", "waiting", "approved", "refused", "failed")  # nothing was changed
_DECIDED = {Answer.YES: "approved", Answer.NO: "refused", Answer.PENDING: "waiting"}


@dataclass(slots=True)
class Entry:
    """A proposed change and what became of it.

    `state` is proposed, waiting, approved, refused, or what the executor settled on (verified,
    failed, unknown, undone, undo blocked, undo failed, cannot be undone). `intent` is change or
    undo while that was sent and nothing says how it ended: its state is unknown then.
    """

    card: Card
    state: str = "proposed"
    detail: str = ""
    intent: str = ""
    decision: Decision | None = None
    at: datetime | None = None  # of its last event

    @property
    def touched(self) -> bool:
        """May the world be, or have been, different for it?"""
        return self.state not in UNTOUCHED

    def intend(self, what: str) -> None:
        self.state, self.intent = "unknown", what

    def settle(self, state: str, detail: str) -> None:
        self.state, self.detail, self.intent = state, detail, ""

    @property
    def stands(self) -> bool:
        """Is there still something to undo?"""
        return self.touched and self.state != "undone"


class Ledger(dict[str, Entry]):
    """Entries by card id, in the order they were proposed."""

    def add(self, stamped: Stamped) -> None:
        event = stamped.event
        if isinstance(event, ChangeProposed):
            self[event.card.id] = Entry(event.card)
        elif isinstance(event, ChangeIntended):
            self.setdefault(event.card.id, Entry(event.card)).intend("change")
        if (entry := self.get(_card(event))) is None:
            return
        entry.at = stamped.at
        if isinstance(event, ChangeDecided):
            entry.decision, entry.state = event.decision, _DECIDED[event.decision.answer]
        elif isinstance(event, UndoIntended):
            entry.intend("undo")
        elif isinstance(event, ChangeSettled):
            entry.settle(event.state, event.detail)


def ledger(events: Iterable[Stamped]) -> Ledger:
    """Fold a journal. Raises nothing: it tells as much as there is."""
    found = Ledger()
    for stamped in events:
        found.add(stamped)
    return found


def _card(event: AnyEvent) -> str:
    if isinstance(event, ChangeProposed | ChangeIntended):
        return event.card.id
    if isinstance(event, ChangeDecided | UndoIntended | ChangeSettled):
        return event.card
    return ""
