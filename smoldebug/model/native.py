"""Messages, tools and calls as the APIs of providers have them."""

import json
from collections.abc import Iterable, Sequence

from smolagents import Tool

from smoldebug.conversation import Called, Message
from smoldebug.model.described import function_schemas
from smoldebug.model.streaming import Ambiguous, Piece, strict
from smoldebug.records import Json
from smoldebug.untrusted import whole


def written(messages: Iterable[Message]) -> list[Json]:
    """The wire's messages. None of them has an empty text: some providers refuse those."""
    return [_message(message) for message in messages]


def described(tools: Sequence[Tool]) -> list[Json]:
    return list[Json](function_schemas(tools))


def called(pieces: Iterable[Piece]) -> tuple[tuple[Called, ...], str]:
    """Calls as the model made them, or the problem because of which none of them may run.
    Arguments that are no JSON object stay what they are, for the toolset to refuse."""
    try:
        return tuple(
            Called(piece.id, piece.name, whole(arguments(piece.arguments))) for piece in pieces
        ), ""
    except Ambiguous as error:
        return (), f"a call's arguments: {error}"


def arguments(given: Json) -> Json:
    """An object where there is one, also one that was encoded twice. Raises Ambiguous."""
    if given is None or given == "":
        return {}
    value = given
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = strict(value)
        except Ambiguous:
            raise
        except ValueError:
            return given
    return value if isinstance(value, dict) else given


def _message(message: Message) -> Json:
    text = message.text or " "
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.answers, "content": text}
    if not message.calls:
        return {"role": message.role, "content": text}
    calls: list[Json] = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": encoded(call.arguments)},
        }
        for call in message.calls
    ]
    return {"role": "assistant", "content": message.text or None, "tool_calls": calls}


def encoded(given: Json) -> str:
    """Providers read it again: what was no object goes back inside of one."""
    value = given if isinstance(given, dict) else {"unreadable": given}
    return json.dumps(value, ensure_ascii=False)
