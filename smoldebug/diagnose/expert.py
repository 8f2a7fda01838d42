"""The expert: which tool next, from what is not yet known; then a remedy; else an honest end.

Deterministic: the same evidence gives the same move. It never proposes a remedy for a hypothesis
that is not confirmed, and escalates instead of guessing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from smoldebug.diagnose import overview, rollout, saturation, scaled_to_zero, server, services
from smoldebug.diagnose.picture import Assessment, Brief, Call, Picture
from smoldebug.evidence import EvidenceStore
from smoldebug.records import Json

Rule = Callable[[Picture], Iterator[Assessment]]
RULES: Sequence[Rule] = (
    server.assess,
    overview.assess,
    scaled_to_zero.assess,
    services.assess,
    rollout.assess,
    saturation.assess,
)
READS_PER_TURN = 5  # independent reads go out together: a run is counted in turns


@dataclass(frozen=True, slots=True)
class Move:
    thought: str
    calls: list[tuple[str, Json]] = field(default_factory=list)


_BECAME = {  # what became of a change, by its state; else its own words say it
    "verified": "what was tried did not help",
    "unknown": "whether what was tried took effect is not known",
    "declined": "the proposed change was declined",
}


class Expert:
    """Chooses the moves of one run from its evidence store."""

    def __init__(
        self, evidence: EvidenceStore, brief: Brief, rules: Sequence[Rule] = RULES
    ) -> None:
        self._evidence, self._brief, self._rules = evidence, brief, rules
        self._asked: set[str] = set()
        self._tried: set[str] = set()
        self._noted: dict[str, tuple[str, Json]] = {}  # claim -> (id, what was noted)
        self._stale = 0  # evidence numbers up to this one are older than the last change

    def next_move(self) -> Move:
        self._forget_what_a_change_made_stale()
        picture = Picture(self._evidence, self._brief, self._stale)
        found = [item for rule in self._rules for item in rule(picture)]
        notes = self._notes(found)
        for item in found:
            if item.confirmed and item.remedy and not self._unread(item) and self._new(item.remedy):
                self._tried.add(item.remedy.key())
                return Move(item.because, [*notes, _plain(item.remedy)])
        reads = self._reads(found)
        if reads:
            return Move(self._looking(found, reads), [*notes, *map(_plain, reads)])
        return Move("nothing more to learn here", [*notes, ("escalate", self._escalation())])

    def confident(self) -> bool:
        """Whether the evidence so far confirms a cause."""
        picture = Picture(self._evidence, self._brief, self._stale)
        return any(item.confirmed for rule in self._rules for item in rule(picture))

    def _reads(self, found: Sequence[Assessment]) -> list[Call]:
        """The next unknowns, the likeliest hypothesis first; each is asked once per state."""
        ordered = sorted(found, key=lambda item: (item.ruled_out, -len(item.supports)))
        wanted = {call.key(): call for item in ordered for call in self._unread(item)}
        reads = list(wanted.values())[:READS_PER_TURN]
        self._asked.update(call.key() for call in reads)
        return reads

    def _unread(self, item: Assessment) -> list[Call]:
        """What would still tell more about it: all of that is read before anything is changed."""
        return [
            call
            for call in item.needs
            if call.key() not in self._asked and call.tool in self._brief.tools
        ]

    def _new(self, remedy: Call) -> bool:
        return remedy.key() not in self._tried

    def _forget_what_a_change_made_stale(self) -> None:
        changed = [
            int(item.id[1:])
            for item in self._evidence
            if item.observation.source == "change"
            and (item.observation.data or {}).get("state") in ("verified", "unknown")
        ]
        if changed and changed[-1] > self._stale:
            self._stale = changed[-1]
            self._asked.clear()

    def _notes(self, found: Sequence[Assessment]) -> list[tuple[str, Json]]:
        """Hypothesis calls for whatever is new or has changed."""
        calls: list[tuple[str, Json]] = []
        for item in found:
            if item.subject is None or not (item.supports or item.contradicts):
                continue
            known = self._noted.get(item.claim)
            if known is None and item.ruled_out:
                continue  # nobody had suspected it
            if known and _weaker(item, known[1]):
                continue  # it was the cause; a change that removes its signs does not deny it
            id = known[0] if known else f"H{len(self._noted) + 1}"
            arguments = _hypothesis(id, item)
            if known is None or known[1] != arguments:
                self._noted[item.claim] = (id, arguments)
                calls.append(("hypothesis", arguments))
        return calls

    def _looking(self, found: Sequence[Assessment], reads: Sequence[Call]) -> str:
        open_ones = [item for item in found if item.supports and not item.ruled_out]
        what = ", ".join(dict.fromkeys(call.tool for call in reads))
        if not open_ones:
            red = Picture(self._evidence, self._brief).first_red()
            return f"{red}: {what}" if red else f"nothing points anywhere yet: {what}"
        return f"maybe {open_ones[0].claim}: {what}"

    def _escalation(self) -> Json:
        confirmed = [c for c, (_, noted) in self._noted.items() if noted["status"] == "confirmed"]
        if confirmed:
            claim = confirmed[0]
            question = f"What should be done: {claim}?"
            return {"reason": f"{claim}; {self._attempt()}", "question": question}
        red = Picture(self._evidence, self._brief).first_red()
        still = f"; red at first: {red}" if red else ""
        return {
            "reason": f"no cause was found in what could be seen{still}",
            "question": "What else could it be, or what may be read in addition?",
        }

    def _attempt(self) -> str:
        """What became of the last change, for whoever takes over."""
        if not self._tried:
            return "nothing may be changed here"
        for item in reversed(list(self._evidence)):
            if item.observation.source == "change":
                state = str((item.observation.data or {}).get("state"))
                return _BECAME.get(state, item.observation.text)
        return "no change could be made"


def _weaker(item: Assessment, noted: Json) -> bool:
    confirmed = noted["status"] == "confirmed" and not item.ruled_out
    return confirmed and len(item.supports) < len(noted["supports"])


def _plain(call: Call) -> tuple[str, Json]:
    return call.tool, dict(call.arguments)


def _hypothesis(id: str, item: Assessment) -> Json:
    status = "confirmed" if item.confirmed else "ruled out" if item.ruled_out else "testing"
    return {
        "id": id,
        "claim": item.claim,
        "status": status,
        "supports": [{"evidence": quote.evidence, "quote": quote.text} for quote in item.supports],
        "contradicts": [
            {"evidence": quote.evidence, "quote": quote.text} for quote in item.contradicts
        ],
        "subject": str(item.subject),
        "fault": item.fault,
    }
