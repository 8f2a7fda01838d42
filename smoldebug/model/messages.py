"""Answers of the models that are not LLMs, in smolagents' form."""

from collections.abc import Iterable

from smolagents.models import (
    ChatMessage,
    ChatMessageToolCall,
    ChatMessageToolCallFunction,
    MessageRole,
)

from smoldebug.records import Json


def answer(thought: str, calls: Iterable[tuple[str, Json]]) -> ChatMessage:
    """A thought and tool calls (name, arguments). The agent gives calls ids of its own."""
    return ChatMessage(
        role=MessageRole.ASSISTANT,
        content=thought or None,
        tool_calls=[
            ChatMessageToolCall(
                id=f"c{number}",
                type="function",
                function=ChatMessageToolCallFunction(name=name, arguments=arguments),
            )
            for number, (name, arguments) in enumerate(calls)
        ],
    )
