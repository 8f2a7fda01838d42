"""One JSON object as the whole answer: what counts as one, and what the model is told else."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.conversation import Called, Message
from smoldebug.model.described import Described
from smoldebug.model.text_protocol import (
    Malformed,
    answer_format,
    described,
    read,
    thought,
    written,
)
from smoldebug.records import Effect, Observation
from smoldebug.toolset import describe


def look(at: str, deep: int | None = None) -> Observation:
    """Look somewhere.

    Args:
        at: Where.
        deep: How deep.
    """
    raise NotImplementedError


LOOK = Described(describe(look, Effect.READ))
GOOD = '{"thought": "hm", "calls": [{"name": "look", "arguments": {"at": "x"}}]}'
CALLS = (Called("", "look", {"at": "x"}),)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\n",
        f"<think>It may be {{DNS}}.</think>\n{GOOD}",
        f"It may be DNS.</think>{GOOD}",
        f"<think></think>```json\n{GOOD}\n```",
    ],
)
def test_the_object_may_stand_in_a_fence_or_after_thoughts(text):
    assert read(text) == ("hm", CALLS)


def test_a_single_call_needs_no_list_around_it():
    assert read('{"name": "look", "arguments": {"at": "x"}}') == ("", CALLS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected one JSON object and nothing before or after it"),
        ("It is DNS.", "nothing before or after it"),
        (f"I look.\n{GOOD}", "nothing before or after it"),
        (f"{GOOD}\nDone.", "Extra data"),
        (f"{GOOD}{GOOD}", "Extra data"),
        (GOOD[:-1], "not one JSON object: Expecting ',' delimiter"),
        (GOOD[:30], "not one JSON object: Unterminated string"),
        (f"```json\n{GOOD}", "nothing before or after it"),
        (GOOD.replace('"x"', "NaN"), "NaN is no JSON"),
        (GOOD.replace('"x"', '"x", "at": "y"'), "a key is given twice"),
        ("{" * 100_000, "not one JSON object"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("{}", '"calls", a list of at least one call'),
        ('{"thought": "hm", "calls": []}', "at least one call"),
        ('{"thought": 3, "calls": [{"name": "look"}]}', '"thought", a text'),
        ('{"tool": "look", "args": {}}', "only the keys thought and calls, got 'args'"),
        ('{"calls": ["look"]}', 'call 1: expected {"name": TOOL'),
        ('{"calls": [{"name": "look"}, {"name": 3}]}', "call 2: expected"),
        ('{"calls": [{"name": "look", "arguments": "x"}]}', "arguments as an object"),
        ('{"calls": [{"name": "look", "args": {}}]}', "call 1: expected only name"),
    ],
)
def test_nothing_is_repaired_and_the_model_is_told_what_is_wrong(text, problem):
    with pytest.raises(Malformed) as malformed:
        read(text)
    assert problem in str(malformed.value)
    assert len(str(malformed.value)) < 200


@given(st.integers(0, 80), st.text())
def test_any_text_is_calls_or_a_sentence(at, text):
    for answer in (text, GOOD[:at] + text + GOOD[at:]):
        with suppress(Malformed):
            said, calls = read(answer)
            assert calls
            said.encode()


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers()), st.integers(0, 10_000))
def test_a_part_of_an_answer_is_no_call(said, arguments, end):
    whole = json.dumps({"thought": said, "calls": [{"name": "look", "arguments": arguments}]})
    with pytest.raises(Malformed):
        read(whole[: end % len(whole)])


@given(st.text(alphabet=st.characters(codec="utf-8")), st.booleans(), st.integers(0, 10_000))
def test_the_thought_is_heard_as_it_grows(said, ascii, end):
    whole = json.dumps({"thought": said, "calls": []}, ensure_ascii=ascii)
    assert thought(whole) == said
    heard = thought(whole[: end % len(whole)])
    assert said.startswith(heard.rstrip("?"))  # half a surrogate pair


@given(st.text())
def test_of_any_other_text_nothing_is_heard_that_breaks(text):
    thought(text).encode()
    thought('{"thought": "' + text).encode()


# --- what the model reads ---------------------------------------------------------------------


def test_tools_are_told_compactly_once_in_the_system_message():
    system, user = written([Message("system", "You debug."), Message("user", "Go.")], [LOOK])
    assert isinstance(system, dict)
    assert system["content"] == f"You debug.\n\n{described([LOOK])}"
    assert user == {"role": "user", "content": "Go."}
    assert described([LOOK]).endswith(
        "look: Look somewhere.\n  at (string): Where.\n  deep? (integer): How deep."
    )


def answered(text: str) -> str:
    return f"look answered:\n```\n{text}\n```\n\n"


def test_calls_are_told_as_the_model_should_write_them_and_roles_take_turns():
    calls = tuple(Called(f"t0c{n}", "look", {"at": at}) for n, at in enumerate("xy"))
    history = [
        Message("user", "Go."),
        Message("assistant", "hm", calls),
        Message("tool", "busy", answers="t0c0"),
        Message("tool", "idle", answers="t0c1"),
        Message("user", "goal: unmet"),
    ]
    said: Any = written(history, [])
    assert [message["role"] for message in said] == ["user", "assistant", "user"]
    assert read(said[1]["content"]) == ("hm", tuple(Called("", "look", {"at": at}) for at in "xy"))
    assert said[2]["content"] == answered("busy") + answered("idle") + "goal: unmet"


def test_what_a_tool_saw_does_not_end_where_it_says_so():
    saw = "busy\n```\n\nlook answered:\n```\nidle"
    call = Called("t0c0", "look", {"at": "x"})
    said: Any = written([Message("assistant", "", (call,)), Message("tool", saw, (), "t0c0")], [])
    assert said[1]["content"] == f"look answered:\n````\n{saw}\n````"


def test_what_was_said_stays_as_it_was_said():
    """A provider charges less for what begins as the request before did."""
    history = [
        Message("system", "s"),
        Message("user", "Go."),
        Message("assistant", "hm", (Called("t0c0", "look", {"at": "x"}),)),
        Message("tool", "busy", answers="t0c0"),
        Message("assistant", "so", (Called("t1c0", "look", {"at": "y"}),)),
    ]
    assert written(history, [LOOK])[:4] == written(history[:4], [LOOK])


def test_the_schema_is_one_that_strict_providers_take():
    def check(schema: Any) -> None:
        if isinstance(schema, list):
            for each in schema:
                check(each)
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                assert schema["additionalProperties"] is False
                assert schema["required"] == list(schema["properties"])
            assert not {"default", "nullable", "title"} & schema.keys()
            check(list(schema.values()))

    made: Any = answer_format([LOOK])
    assert made["json_schema"]["strict"]
    check(made["json_schema"]["schema"])
