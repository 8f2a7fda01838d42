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

import yaml
from smolagents import Model
from smolagents.models import ChatMessage, MessageRole

from smoldebug.errors import UsageError
from smoldebug.model.messages import answer

Turn = dict[str, Any]


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
    kinds = {"calls", "say", "raw", "fail"}
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and len(kinds & turn.keys()) == 1 for turn in turns
    ):
        raise UsageError(f"{path}: every turn of a script has one of: {', '.join(sorted(kinds))}")
    return ScriptedModel(turns, f"scripted:{path.name}")
