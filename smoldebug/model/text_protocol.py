"""Tools for a model whose API knows none: told in the prompt, called by one JSON object.

{"thought": "the pods restart since 14:02", "calls": [{"name": "logs", "arguments": {...}}]}
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from smolagents import Tool
from smolagents.models import get_tool_json_schema

from smoldebug.conversation import Called, Message
from smoldebug.model.streaming import strict
from smoldebug.records import Json
from smoldebug.untrusted import fence, one_line, whole

RULES = """\
# How to answer
Answer with exactly one JSON object and nothing else:
{"thought": "why, in a sentence or two", "calls": [{"name": "TOOL", "arguments": {}}]}
`calls` holds at least one call of the tools below; several are done in order.

# Tools (a `?` after its name: the argument may be left out)
"""
_THINK = re.compile(r"\A\s*(?:<think>)?.*?</think>", re.DOTALL)
_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL)
_THOUGHT = re.compile(
    r'\A\s*(?:```(?:json)?\s*)?\{\s*"thought"\s*:\s*"((?:[^"\\]|\\.)*)', re.DOTALL
)
_HALF_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{0,3}\Z")


class Malformed(ValueError):
    """Why a text is no call, in a sentence that the model can act on."""


def written(messages: Iterable[Message], tools: Sequence[Tool]) -> list[Json]:
    """The messages with calls and answers in words, roles taking turns."""
    told: list[tuple[str, str]] = []
    names: dict[str, str] = {}
    for message in messages:
        role, text = message.role, message.text
        if role == "assistant":
            names = {call.id: call.name for call in message.calls}
            text = _answer(message) if message.calls else text
        elif role == "tool":
            name = names.get(message.answers, "a tool")  # fenced: it is no word of the user's
            role, text = "user", f"{name} answered:\n{fence(text)}"
        elif role == "system" and tools:
            text = f"{text}\n\n{described(tools)}"
        if told and told[-1][0] == role:
            text = f"{told.pop()[1]}\n\n{text}"
        told.append((role, text))
    return [{"role": role, "content": text or " "} for role, text in told]


def described(tools: Sequence[Tool]) -> str:
    """The rules of the protocol, and one line per tool and argument."""
    return RULES + "\n".join(line for tool in tools for line in _lines(tool))


def read(text: str) -> tuple[str, tuple[Called, ...]]:
    """Thought and calls of an answer. Raises Malformed, whatever is wrong with it."""
    found = _THINK.sub("", text, count=1).strip()
    if fenced := _FENCED.match(found):
        found = fenced[1].strip()
    if not found.startswith("{"):
        raise Malformed("expected one JSON object and nothing before or after it")
    try:
        answer = strict(found)
    except ValueError as error:
        raise Malformed(f"not one JSON object: {error}") from None
    if not isinstance(answer, dict):
        raise Malformed("expected one JSON object")
    if "calls" not in answer and {"name", "arguments"} == answer.keys():
        answer = {"calls": [answer]}  # what many models write unasked
    thought, calls = answer.get("thought") or "", answer.get("calls")
    if extra := answer.keys() - {"thought", "calls"}:
        raise Malformed(
            f"expected only the keys thought and calls, got {one_line(min(extra), 40)!r}"
        )
    if not isinstance(thought, str) or not isinstance(calls, list) or not calls:
        raise Malformed('expected "thought", a text, and "calls", a list of at least one call')
    return str(whole(thought)), tuple(_called(call, n) for n, call in enumerate(calls, start=1))


def thought(text: str) -> str:
    """As much of the thought as has come of an answer that is still being written."""
    found = _THOUGHT.match(text)
    if not found:
        return ""
    try:
        said = json.loads(f'"{_HALF_ESCAPE.sub("", found[1])}"', strict=False)
    except ValueError:
        return ""
    return str(whole(said))


def answer_format(tools: Sequence[Tool]) -> Json:
    """The protocol as `response_format`, for providers that hold a model to a schema."""
    choices: list[Json] = [_schema(tool) for tool in tools]
    calls = {"type": "array", "items": {"anyOf": choices}}
    schema = _object({"thought": {"type": "string"}, "calls": calls})
    named: dict[str, Json] = {"name": "answer", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": named}


def _called(call: Json, number: int) -> Called:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise Malformed(f'call {number}: expected {{"name": TOOL, "arguments": {{...}}}}')
    given = call.get("arguments", {})
    if not isinstance(given, dict) or call.keys() - {"name", "arguments"}:
        raise Malformed(f"call {number}: expected only name, and arguments as an object")
    return Called("", str(whole(call["name"])), whole(given))


def _answer(message: Message) -> str:
    calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
    return json.dumps({"thought": message.text, "calls": calls}, ensure_ascii=False)


def _lines(tool: Tool) -> Iterable[str]:
    yield f"{tool.name}: {tool.description.strip()}"
    for name, about in tool.inputs.items():
        mark = "?" if about.get("nullable") else ""
        kind = "|".join(map(str, about["enum"])) if "enum" in about else about["type"]
        yield f"  {name}{mark} ({kind}): {about.get('description', '').strip()}"


def _schema(tool: Tool) -> dict[str, Json]:
    parameters: dict[str, Any] = get_tool_json_schema(tool)["function"]["parameters"]
    properties: dict[str, Json] = {}
    for name, about in parameters["properties"].items():
        kept = {key: about[key] for key in ("type", "enum", "items", "properties") if key in about}
        optional = name not in parameters["required"]
        properties[name] = {"anyOf": [kept, {"type": "null"}]} if optional else kept
    return _object(
        {"name": {"type": "string", "enum": [tool.name]}, "arguments": _object(properties)}
    )


def _object(properties: dict[str, Json]) -> dict[str, Json]:
    """Strict schemas want every property, and no other."""
    required: list[Json] = list(properties)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
