"""A stream of chunks, as servers send it and as they should not."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelserver import delta, fragment, sse

from smoldebug.conversation import Called
from smoldebug.model import native
from smoldebug.model.streaming import Said, Trouble, completion, events, streamed, strict

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def read(*chunks: bytes) -> Said:
    return streamed(chunks, lambda made: None)


def usable(said: Said) -> tuple[Called, ...]:
    """The calls that may run."""
    calls, problem = native.called(said.calls)
    return calls if said.complete and not (said.problem or problem) else ()


def whole(*chunks: Any) -> bytes:
    return b"".join(sse(*chunks).parts)


def pieces(raw: bytes, cuts: Sequence[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[begin:end] for begin, end in zip(at, at[1:], strict=False)]


# --- calls in fragments -----------------------------------------------------------------------


def call(id: str, at: str) -> Called:
    return Called(id, "look", {"at": at})


@pytest.mark.parametrize(
    "fragments",
    [
        [fragment('{"at": ', 0, "a", "look"), fragment('"x"}')],
        [fragment('{"at": ', 0, "a", "look"), fragment('"x"}', 0, "a", "look")],
        [fragment("", 0, "a", "look"), fragment('{"at": "x"}')],
        [fragment('{"at": ', None, "a", "look"), fragment('"x"}', None)],
        [fragment('{"at": ', None, "a", "look"), fragment('"x"}', None, "a")],
    ],
    ids=["as usual", "all again", "name first", "no index", "no index but an id"],
)
def test_a_call_in_two_fragments_is_one_call(fragments):
    said = read(whole(*(delta(tool_calls=[each]) for each in fragments), delta("tool_calls")))
    assert usable(said) == (call("a", "x"),)


@pytest.mark.parametrize(
    "fragments",
    [
        [("a", 0, '{"at": "x"}'), ("b", 1, '{"at": "y"}')],
        [("b", 1, '{"at": "y"}'), ("a", 0, '{"at": "x"}')],
        [("a", 0, '{"at": "x"}'), ("b", 0, '{"at": "y"}')],
        [("a", None, '{"at": "x"}'), ("b", None, '{"at": "y"}')],
        [("a", 0, '{"at"'), ("b", 1, '{"at": '), ("", 0, ': "x"}'), ("", 1, '"y"}')],
    ],
    ids=["as usual", "out of order", "index always 0", "no index", "interleaved"],
)
def test_two_calls_are_two_calls_in_their_order(fragments):
    chunks = [
        delta(tool_calls=[fragment(text, index, id, "look" if id else "")])
        for id, index, text in fragments
    ]
    assert usable(read(whole(*chunks, delta("tool_calls")))) == (call("a", "x"), call("b", "y"))


def test_arguments_that_come_as_an_object_are_taken_and_never_mixed_with_text():
    asked: Any = fragment({"at": "x"}, 0, "a", "look")  # type: ignore[arg-type]
    assert usable(read(whole(delta("stop", tool_calls=[asked])))) == (call("a", "x"),)
    mixed = read(whole(delta(tool_calls=[asked]), delta("stop", tool_calls=[fragment("}")])))
    assert "half text, half JSON" in mixed.problem


def test_text_in_parts_is_text_and_what_it_thought_before_is_none():
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "It is DNS."}]
    assert read(whole(delta("stop", content=parts, reasoning_content="so"))).text == "It is DNS."


# --- events -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"data: a\n\ndata:b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b": hello\n\nevent: x\nid: 7\ndata: a\n\n\n\n", ["a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\nevent\nretry: 3\ndata: a\n\n", ["a"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        (b"\n\n", []),
        (b"", []),
    ],
)
def test_events_end_with_an_empty_line_of_any_kind(raw, found):
    assert list(events([raw])) == found


@given(
    st.lists(st.sampled_from([b"data: a", b"\n", b"\r", b"\r\n", b"\n: x"])),
    st.lists(st.integers(0, 50)),
)
def test_how_bytes_are_split_makes_no_difference_to_events(parts, cuts):
    def found(chunks: list[bytes]) -> list[str]:
        with suppress(Trouble):
            return list(events(chunks))
        return ["trouble"]

    raw = b"".join(parts)
    assert found(pieces(raw, cuts)) == found([raw])


# --- any bytes --------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"data: ", b"{}", b"\n\n", b"[DONE]"])))
def test_any_bytes_are_an_answer_or_a_sentence(chunks):
    with suppress(Trouble):
        usable(read(*chunks))


@st.composite
def nearly(draw: st.DrawFn, part: str) -> Any:
    """A chunk or completion of which any place may hold anything."""

    def odd(value: Any) -> Any:
        return draw(JSON) if draw(st.integers(0, 9)) == 0 else value

    function = odd({"name": odd("look"), "arguments": odd('{"at": "x"}')})
    calls = odd([odd({"index": odd(0), "id": odd("a"), "function": function})])
    message = odd({"content": odd("hi"), "tool_calls": calls})
    finish = odd(draw(st.sampled_from([None, "stop", "length"])))
    choice = odd({part: message, "finish_reason": finish, "error": odd(None)})
    return odd({"choices": odd([choice]), "usage": odd({}), "error": odd(None)})


@given(st.lists(nearly("delta"), max_size=4))
def test_chunks_with_anything_anywhere_are_an_answer_or_a_sentence(chunks):
    with suppress(Trouble):
        said = read(whole(*chunks))
        said.text.encode()
        usable(said)


@given(nearly("message"))
def test_a_completion_with_anything_anywhere_is_an_answer_or_a_sentence(body):
    with suppress(Trouble):
        said = completion(body)
        said.text.encode()
        for made in usable(said):
            json.dumps(made.arguments).encode()


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=3),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 10_000),
    st.lists(st.integers(0, 10_000), max_size=5),
)
def test_a_part_of_a_stream_yields_no_call_that_the_whole_does_not(places, size, done, end, cuts):
    chunks = []
    for index, place in enumerate(places):
        text = json.dumps({"at": place})
        chunks.append(delta(tool_calls=[fragment("", index, f"c{index}", "look")]))
        for at in range(0, len(text), size):
            chunks.append(delta(tool_calls=[fragment(text[at : at + size], index)]))
    raw = whole(*chunks, delta("tool_calls"), *["[DONE]"] * done)
    full = usable(read(*pieces(raw, cuts)))
    assert [made.id for made in full] == [f"c{index}" for index in range(len(places))]
    try:
        part = usable(read(*pieces(raw[: end % len(raw)], cuts)))
    except Trouble:
        return
    assert part in ((), full)


@given(st.text(max_size=60))
def test_strict_json_is_json_and_nothing_else(text):
    try:
        value = strict(text)
    except ValueError:
        return
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", '{"a": 1, "a": 1}', "[" * 100_000, "1" * 9000, "[1e999]"]
)
def test_what_two_readers_would_read_differently_is_refused(text):
    with pytest.raises(ValueError, match="."):
        strict(text)
