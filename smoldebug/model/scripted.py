"""A model that plays a script: for tests, examples and demonstrations without an LLM.

The file is YAML, a list of turns; after the last one it escalates:

    - thought: The server may be down.
      calls:
        - check_server: {name: web}
    - say: just text, no call        # what a confused model does
    - raw: {tool: check_server, arguments: '{"name": "w'}   # a call cut off in the middle
    - fail: 503 from the provider    # the provider fails
"""

from pathlib import Path
from typing import Any

import msgspec
import yaml
from smolagents import Model
from smolagents.models import ChatMessage, MessageRole

from smoldebug.errors import UsageError
from smoldebug.model.messages import answer
from smoldebug.records import Json

Turn = dict[str, Any]
KINDS = ("calls", "say", "raw", "fail")


class _Raw(msgspec.Struct, forbid_unknown_fields=True):
    tool: str
    arguments: Json


class _Turn(msgspec.Struct, forbid_unknown_fields=True):
    """What a turn may hold; exactly one of KINDS."""

    thought: str = ""
    calls: list[dict[str, Json]] = []
    say: Json = None
    raw: _Raw | None = None
    fail: Json = None


class ScriptedFailure(RuntimeError):
    """The failure that a script asked for."""


class ScriptedModel(Model):
    """Plays turns in order. `asked` keeps the messages of every call, for tests."""

    def __init__(self, turns: list[Turn], name: str = "scripted") -> None:
        super().__init__(model_id=name)
        self._turns = list(turns)
        self.asked: list[list[ChatMessage]] = []

    def generate(self, messages: list[ChatMessage], **_: Any) -> ChatMessage:
        self.asked.append(messages)
        if len(self.asked) > len(self._turns):
            return answer("", [("escalate", {"reason": "the script has ended"})])
        turn = self._turns[len(self.asked) - 1]
        if "fail" in turn:
            raise ScriptedFailure(str(turn["fail"]))
        if "say" in turn:
            return ChatMessage(role=MessageRole.ASSISTANT, content=str(turn["say"]))
        if "raw" in turn:
            return answer("", [(turn["raw"]["tool"], turn["raw"]["arguments"])])
        calls = [(name, arguments) for call in turn["calls"] for name, arguments in call.items()]
        return answer(turn.get("thought", ""), calls)

    def parse_tool_calls(self, message: ChatMessage) -> ChatMessage:
        """Text without a call is a mistake to be told about, not text to search for JSON."""
        raise ValueError("the answer holds no tool call; call one of the tools")


def load(path: Path) -> ScriptedModel:
    """The script of a file. Raises UsageError when it is none."""
    try:
        turns = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the script: {error}") from error
    try:
        msgspec.convert(turns, list[_Turn])
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: not a script: {error}") from error
    for number, turn in enumerate(turns, start=1):
        if len(turn.keys() & set(KINDS)) != 1:
            raise UsageError(f"{path}: turn {number} must have one of: {', '.join(KINDS)}")
    return ScriptedModel(turns, f"scripted:{path.name}")
