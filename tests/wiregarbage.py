"""The same garbage as it comes over the wire: whole, in pieces, cut off, one part replaced.

`asked` of each reply is what may run of it, read here once more.
"""

import copy
import json
from dataclasses import dataclass
from typing import Any

import garbage
from garbage import Output
from hypothesis import strategies as st
from modelserver import Reply

COMPLETE = ("", "stop", "tool_calls", "function_call", "tool_use", "end_turn", "stop_sequence")
COMPLETE += ("eos", "eos_token", "stop_token", "complete", "completed")


@dataclass(frozen=True)
class Wired:
    kind: str
    reply: Reply
    asked: Output | None = None


def body(output: Output, usage: Any = None) -> dict[str, Any]:
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": _text(arguments)}}
        for id, name, arguments in output.calls
    ]
    message = {"role": "assistant", "content": output.text or None, "tool_calls": calls}
    choice = {"index": 0, "finish_reason": output.finish, "message": message}
    usage = usage or {"prompt_tokens": output.tokens.into, "completion_tokens": output.tokens.out}
    return {"id": "x", "model": "m", "choices": [choice], "usage": usage}


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def stream(output: Output, cut: float = 2.0) -> tuple[str, bool]:
    """Server-sent events up to a part of their text, and whether that tells how it ended."""
    parts: list[Any] = [{"content": output.text}]
    for number, (id, name, arguments) in enumerate(output.calls):
        text = _text(arguments)
        half = len(text) // 2
        parts += [
            {"tool_calls": [{"index": number, "id": id, "function": {"name": name}}]},
            {"tool_calls": [{"index": number, "function": {"arguments": text[:half]}}]},
            {"tool_calls": [{"index": number, "function": {"arguments": text[half:]}}]},
        ]
    events = "".join(_event({"choices": [{"delta": part}]}) for part in parts)
    events += _event({"choices": [{"delta": {}, "finish_reason": output.finish}]})
    whole = events + "data: [DONE]\n\n"
    kept = whole[: int(cut * len(whole))]
    return kept, len(kept) >= len(events) - 2  # the last line's end may be missing


def _event(chunk: Any) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


def mutated(made: dict[str, Any], where: list[int], junk: Any) -> dict[str, Any]:
    """With one node replaced, found by walking down."""
    made = copy.deepcopy(made)
    node: Any = made
    for step, turn in enumerate(where):
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            break
        key = keys[turn % len(keys)]
        if step == len(where) - 1 or not isinstance(node[key], dict | list):
            node[key] = junk
            break
        node = node[key]
    return made


def read(made: Any) -> Output:
    """What a patient reader finds in a completion."""
    try:
        choice = made["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        calls = [
            ("", call["function"]["name"], call["function"].get("arguments"))
            for call in message.get("tool_calls") or []
        ]
        content = message.get("content")
    except (KeyError, TypeError, IndexError, AttributeError):
        return Output("nothing")
    named = [call for call in calls if isinstance(call[1], str)]
    ended = not isinstance(finish, str) or finish.lower() in COMPLETE
    return Output("read", "", (*named, *protocol(content)), "stop" if ended else "length")


def protocol(text: Any) -> list[tuple[str, str, Any]]:
    """The calls of one JSON object that begins a text, or stands in a fence."""
    try:
        found = json.loads(text.strip().removeprefix("```json").removesuffix("```"))
        calls = found.get("calls", [found])
        return [("", call["name"], call.get("arguments", {})) for call in calls]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


# --- strategies -------------------------------------------------------------------------------

spoken = st.sampled_from(sorted(garbage.KINDS.keys() - {"exception"})).flatmap(
    garbage.KINDS.__getitem__
)
usages = st.one_of(
    garbage.jsons,
    st.fixed_dictionaries(
        {
            "prompt_tokens": st.sampled_from([-1, 1.5, "12", None, True, 2**70, [], {}]),
            "completion_tokens": st.sampled_from([-(10**9), 0.1, "x", None, 10**30]),
            "prompt_tokens_details": garbage.jsons,
        }
    ),
)
told = st.builds(
    lambda calls, thought: json.dumps(
        {"thought": thought, "calls": [{"name": n, "arguments": a} for n, a in calls]}
    ),
    st.lists(st.one_of(garbage.good, garbage.wrong, garbage.unknown), max_size=3),
    garbage.words,
)


def _completion(output: Output) -> Wired:
    return Wired("whole completion", Reply(body(output)), read(body(output)))


def _with_usage(output: Output, usage: Any) -> Wired:
    made = body(output, usage)
    return Wired("odd usage", Reply(made), read(made))


def _stream(output: Output) -> Wired:
    return Wired("stream", Reply(stream(output)[0]), read(body(output)))


def _cut_stream(output: Output, cut: float) -> Wired:
    text, ended = stream(output, cut)
    return Wired("cut stream", Reply(text), read(body(output)) if ended else None)


def _cut_body(output: Output, cut: float) -> Wired:
    text = json.dumps(body(output))
    return Wired("cut body", Reply(text[: int(cut * len(text))]))


def _mutated(output: Output, where: list[int], junk: Any) -> Wired:
    made = mutated(body(output), where, junk)
    return Wired("one part replaced", Reply(json.dumps(made)), read(made))


def _protocol(text: str, cut: float, before: str, finish: str) -> Wired:
    output = Output("", before + text[: int(cut * len(text))], (), finish)
    return Wired("text protocol", Reply(body(output)), read(body(output)))


fractions = st.floats(0, 0.999)
good = st.one_of(garbage.KINDS["well formed"], spoken)  # what is cut off should be worth it
KINDS: dict[str, st.SearchStrategy[Wired]] = {
    "whole completion": st.builds(_completion, spoken),
    "stream": st.builds(_stream, spoken),
    "cut body": st.builds(_cut_body, good, fractions),
    "cut stream": st.builds(_cut_stream, good, fractions),
    "odd usage": st.builds(_with_usage, spoken, usages),
    "one part replaced": st.builds(
        _mutated, good, st.lists(st.integers(0, 9), min_size=1, max_size=7), garbage.jsons
    ),
    "text protocol": st.builds(
        _protocol,
        told,
        st.one_of(st.just(2.0), fractions),
        st.one_of(st.just(""), garbage.words),
        st.sampled_from(["stop", "stop", "stop", "length", ""]),
    ),
    "no completion": st.builds(
        lambda text: Wired("no completion", Reply(text)),
        st.one_of(
            st.sampled_from(
                ["", "null", "[]", "{}", '{"choices":[]}', '{"choices":[null]}', "NaN", "<html>"]
                + ['{"error": {"message": "overloaded", "code": 503}}', "[" * 50_000]
                + [
                    "data: [DONE]\n\n",
                    "data: {\n\ndata: }\n\n",
                    ": ping\n\n",
                    "event: x\ndata:\n\n",
                ]
            ),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
        ),
    ),
    "error status": st.builds(
        lambda status, words: Wired("error status", Reply(words, status=status)),
        st.sampled_from([400, 401, 404, 408, 418, 422, 429, 500, 503, 529]),
        st.one_of(
            st.sampled_from(
                ["tools are not supported", "unknown parameter: stream", "<h1>Bad</h1>", ""]
                + ['{"error": {"message": "temperature"}}', '{"error": "max_tokens"}', "[[[["]
            ),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        ),
    ),
}
replies = st.sampled_from(sorted(KINDS)).flatmap(KINDS.__getitem__)
