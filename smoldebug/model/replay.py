"""A model that says again what was said in a recorded run: `--model replay:RUN`.

Tools and goal are real, so things may turn out otherwise. It fails, and the chain goes on without
it, when the recording has ended, or cites evidence that this run does not have.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolagents import Model
from smolagents.models import ChatMessage, MessageRole

from smoldebug import journal
from smoldebug.errors import UsageError
from smoldebug.events import Stamped, Thought, ToolCalled, TurnStarted
from smoldebug.model.asking import ModelFailed
from smoldebug.model.messages import answer
from smoldebug.records import Json

_EVIDENCE = re.compile(r"\bE[1-9]\d{0,5}\b")


@dataclass
class Said:
    """One answer of a model: what it thought, and its calls (name, arguments) as it made them."""

    thought: str = ""
    calls: list[tuple[str, Json]] = field(default_factory=list)


def said(events: Iterable[Stamped]) -> list[Said]:
    """What the models of a run answered, turn by turn, whoever of the chain it was."""
    found: list[Said] = []
    for stamped in events:
        match stamped.event:
            case TurnStarted():
                found.append(Said())
            case Thought(text=text) if found:
                found[-1].thought = text
            case ToolCalled(tool=tool, arguments=arguments) if found:
                found[-1].calls.append((tool, arguments))
    return [each for each in found if each.thought or each.calls]


class ReplayModel(Model):
    """Gives the answers in order, whatever it is asked."""

    def __init__(self, answers: Iterable[Said], name: str) -> None:
        super().__init__(model_id=name)
        self._answers = iter(answers)
        self._known: set[str] = set()  # ids of evidence that this run has told it

    def generate(self, messages: list[ChatMessage], **_: Any) -> ChatMessage:
        """Raises ModelFailed, for good, when there is nothing left to say, or no ground for it."""
        self._known.update(each for text in _texts(messages) for each in _EVIDENCE.findall(text))
        following = next(self._answers, None)
        if following is None:
            raise ModelFailed("the recording has ended", lasting=True)
        if missing := sorted(set(_cited(following)) - self._known):
            why = f"the recording cites evidence that this run does not have: {', '.join(missing)}"
            raise ModelFailed(why, lasting=True)
        return answer(following.thought, following.calls)


def load(word: str) -> ReplayModel:
    """The model of a run (its id, the beginning of it, `last`) or of a path to a journal.

    Raises UsageError when there is none, or nothing was said in it.
    """
    answers = said(journal.read(path(word)))
    if not answers:
        raise UsageError(f"no model was asked in the recorded run: {word}")
    return ReplayModel(answers, f"replay:{word}")


def path(word: str) -> Path:
    """Of the journal of a run, which is named by its id or by the path itself. Raises UsageError
    when there is none."""
    if "/" in word or word.endswith(".jsonl"):
        return Path(word)
    return journal.find(word) / "journal.jsonl"


def _texts(messages: Iterable[ChatMessage]) -> Iterator[str]:
    """Of what it was told, not of what it said itself."""
    for message in messages:
        if message.role == MessageRole.ASSISTANT:
            continue
        parts = message.content if isinstance(message.content, list) else [message.content]
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                yield text


def _cited(said: Said) -> Iterator[str]:
    """Ids of evidence that its calls cite as such: in an `evidence` argument, at any depth."""
    pending: list[tuple[str, Json]] = [("", arguments) for _, arguments in said.calls]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.items())
        elif isinstance(value, list):
            pending.extend((key, each) for each in value)
        elif key == "evidence" and isinstance(value, str):
            yield value
