"""The built-in expert as a smolagents Model: deterministic, offline, free."""

from typing import Any

from smolagents import Model
from smolagents.models import ChatMessage

from smoldebug.diagnose.expert import Expert
from smoldebug.model.messages import answer


class ExpertModel(Model):
    """Asks the expert, which reads typed evidence, for the next move. The messages are ignored."""

    def __init__(self, expert: Expert) -> None:
        super().__init__(model_id="expert")
        self._expert = expert

    def generate(self, messages: list[ChatMessage], **_: Any) -> ChatMessage:
        move = self._expert.next_move()
        return answer(move.thought, move.calls)
