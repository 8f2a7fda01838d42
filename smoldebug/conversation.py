"""What was said between a run and its models, in nobody's dialect: `model/` translates."""

from dataclasses import dataclass
from typing import Literal

from smoldebug.records import Json


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a tool as a model made it; `arguments` is text where that was no JSON."""

    id: str  # t3c0: turn 3, first call
    name: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant", "tool"]
    text: str
    calls: tuple[Called, ...] = ()  # of an assistant
    answers: str = ""  # of a tool: id of the call
