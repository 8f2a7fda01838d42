"""The run's evidence store: every observation, numbered and indexed.

The expert, the rules, the goals and the quote checker read this; a model gets text and ids.
`toolset.call` fills it; replay rebuilds it from the journal.
"""

from collections.abc import Iterator, Mapping

from smoldebug.clock import Clock
from smoldebug.records import Evidence, Json, Observation, Quote


class EvidenceStore:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._items: dict[str, Evidence] = {}
        self._last = 0  # highest number given

    def add(self, tool: str, arguments: Mapping[str, Json], observation: Observation) -> Evidence:
        self._last += 1
        evidence = Evidence(f"E{self._last}", tool, arguments, observation, self._clock.now())
        self._items[evidence.id] = evidence
        return evidence

    def restore(self, evidence: Evidence) -> None:
        """Put back what a journal recorded."""
        self._items[evidence.id] = evidence
        self._last = max(self._last, int(evidence.id.removeprefix("E")))

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def get(self, id: str) -> Evidence | None:
        return self._items.get(id)

    def latest(self, tool: str, **arguments: Json) -> Evidence | None:
        """The newest evidence of a tool whose call had these arguments."""
        for evidence in reversed(self._items.values()):
            if evidence.tool == tool and all(
                evidence.arguments.get(name) == value for name, value in arguments.items()
            ):
                return evidence
        return None

    def of(self, tool: str) -> list[Evidence]:
        return [evidence for evidence in self if evidence.tool == tool]

    def verify(self, quote: Quote) -> Quote:
        """The quote, verified if its words stand in the evidence it names (white space folded).

        Evidence is what a model read and the recorded data behind it, e.g. a whole log line.
        """
        words = " ".join(quote.text.split())
        evidence = self.get(quote.evidence)
        held = (
            bool(words)
            and evidence is not None
            and any(words in " ".join(text.split()) for text in _texts(evidence.observation))
        )
        return Quote(quote.evidence, quote.text, verified=held)


def _texts(observation: Observation) -> Iterator[str]:
    yield observation.text
    pending = [observation.data]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
