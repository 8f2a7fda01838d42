"""Models as the chain asks them."""

from collections.abc import Iterable

from smolagents import Model
from smolagents.models import ChatMessage, MessageRole

from smoldebug.conversation import Called, Message
from smoldebug.model.asking import FREE, Answer, ModelFailed, Request, Tokens
from smoldebug.model.tokens import count
from smoldebug.playbook.settings import ModelSettings


class InProcess:
    """A model of this process: the expert, a script, a recording, local weights. It costs nothing,
    and nobody waits for a network."""

    provider = endpoint = ""
    price = FREE

    def __init__(self, name: str, model: Model) -> None:
        self.name, self.model = name, model
        self.settings = ModelSettings()

    def count(self, request: Request) -> int:
        return count(request.messages, request.tools)

    def ask(self, request: Request) -> Answer:
        try:
            said = self.model.generate(list(_chat(request.messages)))
        except Exception as error:
            raise ModelFailed(str(error) or type(error).__name__) from error
        calls = tuple(
            Called(call.id, call.function.name, call.function.arguments)
            for call in said.tool_calls or ()
        )
        return Answer(str(said.content or ""), calls, Tokens())


def _chat(messages: Iterable[Message]) -> Iterable[ChatMessage]:
    for message in messages:
        part = [{"type": "text", "text": message.text}]
        role = "tool-response" if message.role == "tool" else message.role
        yield ChatMessage(MessageRole(role), part)
