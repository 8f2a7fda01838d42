"""What the agent notes during a run: hypotheses with checked quotes, a wait, an escalation.

These are the built-in tools. They touch nothing but this notebook, work the same for the expert
and for any model, and give the view its hypotheses and the report its cause.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from smoldebug.errors import ToolError
from smoldebug.evidence import EvidenceStore
from smoldebug.records import Effect, Hypothesis, ObjectRef, Quote
from smoldebug.toolset import Remark, ToolSpec, describe

PART = 3500  # characters: less than a prompt holds of one answer
LONGEST_WAIT = 120.0  # seconds; after that a model should look again


class Citation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words copied from a piece of evidence."""

    evidence: str
    quote: str


class Notebook:
    def __init__(self, evidence: EvidenceStore) -> None:
        self._evidence = evidence
        self._hypotheses: dict[str, Hypothesis] = {}
        self.patience = 0.0  # seconds the agent wants the goal watched before its next turn
        self.escalation = ""
        self.question = ""

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        return tuple(self._hypotheses.values())

    def restore(self, hypotheses: Iterable[Hypothesis]) -> None:
        """Put back what a journal recorded."""
        self._hypotheses = {item.id: item for item in hypotheses}

    def evidence_for(self, target: ObjectRef) -> tuple[str, ...]:
        """What supports the hypotheses about an object, for whoever must approve a change of it."""
        about = [
            item
            for item in self.hypotheses
            if item.subject == str(target) and item.status != "ruled out"
        ]
        return tuple(dict.fromkeys(quote.evidence for item in about for quote in item.supports))

    def tools(self) -> list[ToolSpec]:
        return [
            describe(function, Effect.READ, timeout=5, family="builtin")
            for function in (self.hypothesis, self.wait, self.escalate, self.read_on)
        ]

    def hypothesis(
        self,
        id: str,
        claim: str,
        status: Literal["open", "testing", "confirmed", "ruled out"] = "open",
        supports: tuple[Citation, ...] = (),
        contradicts: tuple[Citation, ...] = (),
        subject: str = "",
        fault: str = "",
    ) -> Remark:
        """Note or update a possible cause, with words copied from the evidence for and against it.

        Args:
            id: H1, H2, ... the same id updates it.
            claim: The cause in one sentence.
            status: How it stands.
            supports: Quotes for it.
            contradicts: Quotes against it.
            subject: Kind/namespace/name of the culprit.
            fault: Its name in the fault catalogue, if known.
        """
        quotes = self._verified(supports), self._verified(contradicts)
        wrong = [quote for quote in (*quotes[0], *quotes[1]) if not quote.verified]
        if wrong:
            listed = "; ".join(f"{quote.text!r} in {quote.evidence}" for quote in wrong)
            raise ToolError(f"not word for word in the evidence: {listed}")
        if status == "confirmed" and not supports:
            raise ToolError("a confirmed hypothesis needs at least one quote that supports it")
        self._hypotheses[id] = Hypothesis(id, claim, status, *quotes, subject, fault)
        return Remark(f"{id} noted: {status}")

    def wait(self, seconds: float, why: str) -> Remark:
        """Have the goal measured for a while before the next turn.

        Args:
            seconds: At most; ends when the goal is met.
            why: What should happen meanwhile.
        """
        if not 0 < seconds <= LONGEST_WAIT:
            raise ToolError(f"seconds must be above 0 and at most {LONGEST_WAIT:g}: {seconds:g}")
        self.patience = seconds
        return Remark(f"the goal is watched for up to {seconds:g} s: {why}")

    def escalate(self, reason: str, question: str = "") -> Remark:
        """End the run and hand over to a person, honestly, instead of guessing.

        Args:
            reason: What is known, and what is not.
            question: For that person.
        """
        if not reason.strip():
            raise ToolError("say what is known, and what could not be seen or decided")
        self.escalation, self.question = reason, question
        return Remark("handed over to a person")

    def read_on(self, evidence: str, start: int = 0) -> Remark:
        """More of an observation of which a part was left out.

        Args:
            evidence: Its number, such as E7.
            start: The character to begin at.
        """
        found = self._evidence.get(evidence)
        if found is None:
            raise ToolError(f"there is no evidence {evidence}")
        text = found.observation.text
        if not 0 <= start < max(1, len(text)):
            raise ToolError(f"{evidence} has {len(text)} characters, beginning at 0")
        part = text[start : start + PART]
        end = start + len(part)
        more = f"\n... [{len(text) - end} more; start={end} shows them]" if end < len(text) else ""
        return Remark(f"{evidence}, characters {start} to {end} of {len(text)}:\n{part}{more}")

    def _verified(self, citations: tuple[Citation, ...]) -> tuple[Quote, ...]:
        return tuple(self._evidence.verify(Quote(item.evidence, item.quote)) for item in citations)
