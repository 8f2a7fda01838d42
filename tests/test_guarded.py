"""What stands between the chain and an endpoint: whatever the endpoint does, an answer or one
sentence, in bounded time, with a bounded number of requests."""

import json
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.util import find_spec
from typing import Any

import pytest
from modelserver import ModelServer, Reply, call, calls, completion, delta, fragment, sse, text
from smolagents import LiteLLMModel

from smoldebug.clock import FakeClock
from smoldebug.conversation import Called, Message
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.evidence import EvidenceStore
from smoldebug.model.asking import FREE, Answer, ModelFailed, Request, Tokens
from smoldebug.model.described import Described
from smoldebug.model.factory import build
from smoldebug.model.guarded import Guarded, InProcess, retry_after
from smoldebug.model.scripted import ScriptedModel
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import Key, ModelSettings, Price, Settings
from smoldebug.records import Effect, Observation
from smoldebug.toolset import describe
from smoldebug.untrusted import plain

KEY = "k3y-of-somebody-8452"
EXPERT = Expert(EvidenceStore(FakeClock()), Brief())
needs_openai = pytest.mark.skipif(find_spec("openai") is None, reason="openai is not installed")


def look(at: str, deep: int = 1) -> Observation:
    """Look somewhere.

    Args:
        at: Where.
        deep: How deep.
    """
    raise NotImplementedError


LOOK = Described(describe(look, Effect.READ))
CALLED = (Called("c1", "look", {"at": "auth"}),)
GOOD = calls(look={"at": "auth"})
PROTOCOL = '{"thought": "hm", "calls": [{"name": "look", "arguments": {"at": "auth"}}]}'


@pytest.fixture(params=["hf", pytest.param("openai", marks=needs_openai)])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_KEY", KEY)


def guarded(server: ModelServer, provider: str = "hf", **about: Any) -> Any:
    price = Price(input=Money(1), output=Money(1))
    named = ModelSettings(
        model=f"{provider}/some-model", price=price, key=Key(env="MODEL_KEY"), **about
    )
    model: Any = build("mine", Settings(models={"mine": named}), expert=EXPERT, api_base=server.url)
    model.first_pause = 0.001
    return model


def question(seconds: float = 5, *, tools: bool = True, **more: Any) -> Request:
    messages = [Message("system", "You debug."), Message("user", "What is wrong?")]
    return Request(messages, [LOOK] if tools else [], seconds, **more)


# --- every fault, and what comes of it ------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What a server does -> how many requests it gets, and what comes out: an answer's calls or
    problem, or a failure whose text holds `says`."""

    replies: list[Reply]
    requests: int = 1
    says: str = ""
    lasting: bool = False
    problem: str | None = None
    calls: tuple[Called, ...] = ()


def error(status: int, words: str = "no", **headers: str) -> Reply:
    return Reply({"error": {"message": words}}, status, headers)


def named(**function: Any) -> Reply:
    return completion({"content": None, "tool_calls": [{"id": "c1", "function": function}]})


def fails(*replies: Reply, requests: int = 1, says: str, lasting: bool = False) -> Row:
    return Row(list(replies), requests, says, lasting)


def answers(*replies: Reply, requests: int = 1, made: tuple[Called, ...] = CALLED) -> Row:
    return Row(list(replies), requests, problem="", calls=made)


def mistaken(*replies: Reply, problem: str) -> Row:
    return Row(list(replies), problem=problem)


def arguments(value: Any) -> tuple[Called, ...]:
    return (Called("c1", "look", value),)


START = delta(tool_calls=[fragment('{"at": "au', id="c1", name="look")])
REST = delta(tool_calls=[fragment('th"}')])
END = delta("tool_calls")
SOON = {"Retry-After": "0.01"}
IN_AN_HOUR = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

FAULTS = {
    # the server is busy, or gone
    "429 once": answers(error(429), GOOD, requests=2),
    "429 with a pause": answers(error(429, **SOON), GOOD, requests=2),
    "429 for ever": fails(error(429), requests=3, says="answers 429 (3 tries): no"),
    "429 for an hour": fails(error(429, **{"Retry-After": "3600"}), says="429"),
    "429 until a date": fails(error(429, **{"Retry-After": IN_AN_HOUR}), says="429"),
    "429, a pause of no sense": answers(error(429, **{"Retry-After": "soon"}), GOOD, requests=2),
    "429, nothing left to spend": fails(
        error(429, "insufficient_quota"), says="quota or balance is used up", lasting=True
    ),
    "408": answers(error(408), GOOD, requests=2),
    "503": answers(error(500), error(503), GOOD, requests=3),
    "502 in HTML": fails(Reply("<html>Bad Gateway", 502), requests=3, says="answers 502"),
    "reset": answers(Reply(reset=True), GOOD, requests=2),
    "reset for ever": fails(Reply(reset=True), requests=3, says="the connection to hf at 127"),
    "hangs": fails(Reply(hang=True), says="in time"),
    "hangs in the middle": fails(sse(START, hang=True), says="in time"),
    "lost in the middle": answers(sse(START, headers={"Content-Length": "999"}), GOOD, requests=2),
    "drips": fails(Reply(parts=(b": x\n\n",) * 500, pause=0.01), says="in time"),
    # it says no
    "400": fails(error(400, "bad \x1b[31mwords"), says="answers 400: bad words"),
    "401": fails(error(401, f"bad key {KEY}"), says="refuses the key: set", lasting=True),
    "403": fails(error(403), says="does not let this key", lasting=True),
    "404": fails(error(404), says="check the model's name and its api_base", lasting=True),
    "402": fails(error(402), says="paid first", lasting=True),
    "an error in a 200": fails(Reply({"error": {"message": "boom"}}), says="boom"),
    "an error in words": fails(Reply({"error": "boom"}), says="boom"),
    "an overload in a 200": answers(
        Reply({"error": {"message": "busy", "code": 503}}), GOOD, requests=2
    ),
    "an error in a stream": fails(sse(START, {"error": {"message": "boom"}}), says="boom"),
    "an error in a choice": fails(
        Reply({"choices": [{"error": {"message": "boom"}}]}), says="boom"
    ),
    # what comes is no completion
    "HTML": fails(Reply("<html>hello"), says="answers with a web page: is api_base right?"),
    "half of it": fails(Reply('{"id": "x", "choices": ['), says="is no JSON"),
    "nothing": fails(Reply(""), says="is no JSON"),
    "{}": fails(Reply({}), says="no chat completion"),
    "a list": fails(Reply("[]"), says="no chat completion"),
    "a number": fails(Reply("7"), says="no chat completion"),
    "NaN": fails(Reply('{"choices": NaN}'), says="NaN"),
    "deep": fails(Reply("[" * 100_000), says="nested too deeply"),
    "10 MB": fails(Reply(json.dumps({"x": "y" * (10 << 20)})), says="longer than 8 MiB"),
    "10 MB in one event": fails(sse("y" * (10 << 20)), says="longer than 8 MiB"),
    "no choices": fails(completion({}, choices=[]), says="no chat completion"),
    "choices a text": fails(completion({}, choices="many"), says="no chat completion"),
    "a choice a text": fails(completion({}, choices=["one"]), says="no chat completion"),
    "no message": fails(completion({}, choices=[{}]), says="no chat completion"),
    "a bad chunk": fails(sse(START, "{nonsense", END), requests=3, says="is no JSON"),
    "a chunk that is a list": fails(sse(START, "[]", END), requests=3, says="no object"),
    "a line that is no event": fails(
        Reply(parts=(*sse(START).parts, b"th\n\n")), requests=3, says="no event (3 tries): th"
    ),
    "a redirect elsewhere": fails(
        Reply({}, 307, {"Location": "http://localhost:9/v1/chat/completions"}),
        says="sends its callers on to localhost",
        lasting=True,
    ),
    "a redirect to another port": fails(
        Reply({}, 308, {"Location": "http://127.0.0.1:9/v1/chat/completions"}),
        says="sends its callers on to 127.0.0.1",
        lasting=True,
    ),
    "an empty stream": fails(sse("[DONE]"), says="no chat completion"),
    # it is cut off, and what is left may parse
    "length": mistaken(call("look", '{"at": "auth"}', "length"), problem="cut the answer off"),
    "filtered": mistaken(call("look", "{}", "content_filter"), problem="cut the answer off"),
    "aborted": mistaken(call("look", '{"at": "auth"}', "abort"), problem="cut the answer off"),
    "no end": mistaken(sse(START, REST), problem="cut the answer off"),
    "length in a stream": mistaken(sse(START, REST, delta("length")), problem="cut the answer off"),
    # calls of odd shapes
    "calls that are a text": mistaken(
        completion({"content": None, "tool_calls": "x"}), problem="tool_calls that are no list"
    ),
    "calls that are an object": mistaken(
        completion({"content": None, "tool_calls": {"id": "c1"}}), problem="are no list"
    ),
    "a call of nothing": mistaken(
        completion({"content": None, "tool_calls": [{}]}), problem="without a function"
    ),
    "a call that is a text": mistaken(
        completion({"content": None, "tool_calls": ["x"]}), problem="is no object"
    ),
    "a name that is a number": mistaken(named(name=7), problem="name is no text"),
    "a key twice": mistaken(
        named(name="look", arguments='{"at": "a", "at": "b"}'), problem="twice"
    ),
    "arguments as an object": answers(named(name="look", arguments={"at": "auth"})),
    "arguments encoded twice": answers(named(name="look", arguments='"{\\"at\\": \\"auth\\"}"')),
    "no arguments": answers(named(name="look"), made=arguments({})),
    "arguments cut off": answers(
        named(name="look", arguments='{"at": "a'), made=arguments('{"at": "a')
    ),
    "arguments a number": answers(named(name="look", arguments=3), made=arguments(3)),
    "arguments a list": answers(named(name="look", arguments="[1]"), made=arguments("[1]")),
    "arguments with NaN": answers(
        named(name="look", arguments='{"at": NaN}'), made=arguments('{"at": NaN}')
    ),
    "arguments nested deeply": answers(
        named(name="look", arguments="[" * 100_000), made=arguments("[" * 100_000)
    ),
    "a surrogate": answers(
        named(name="look", arguments='{"at": "\\ud800"}'), made=arguments({"at": "?"})
    ),
    "a null role": answers(completion({"role": None, **GOOD.body["choices"][0]["message"]})),
    # streams
    "a stream": answers(sse(START, REST, END, "[DONE]")),
    "a stream without [DONE]": answers(sse(START, REST, END)),
    "a stream without a finish": answers(sse(START, REST, "[DONE]")),
    "CRLF": answers(sse(START, REST, END, end="\r\n\r\n")),
    "CR": answers(sse(START, REST, END, end="\r\r")),
    "comments": answers(Reply(parts=(b": hello\n\n", *sse(START, REST, END).parts))),
    "events that say nothing": answers(sse(START, "", REST, END)),
    "a stream that calls itself JSON": answers(
        Reply(
            parts=sse(START, REST, END).parts, headers={"Content-Type": "application/json"}
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_an_endpoint_does_costs_little_and_comes_to_a_sentence(name):
    played(FAULTS[name], "hf")


@needs_openai
@pytest.mark.parametrize(
    "name",
    [
        "429 with a pause",
        "503",
        "reset",
        "hangs",
        "401",
        "10 MB",
        "choices a text",
        "length",
        "CRLF",
    ],
)
def test_it_is_the_same_behind_another_client_library(name):
    played(FAULTS[name], "openai")


def played(row: Row, provider: str) -> None:
    hangs = any(reply.hang or reply.pause for reply in row.replies)
    with ModelServer(row.replies) as server:
        model = guarded(server, provider)
        began = time.monotonic()
        if row.problem is None:
            with pytest.raises(ModelFailed) as failed:
                model.ask(question(0.2 if hangs else 5))
            came: Any = failed.value
            said = str(came)
        else:
            came = model.ask(question())
            said = came.problem
        seconds = time.monotonic() - began
    assert len(server.asked) == row.requests
    assert seconds < (0.2 + 0.5 if hangs else 1.5)
    assert KEY not in said
    assert said == plain(said)
    assert "\n" not in said
    if isinstance(came, ModelFailed):
        assert row.says in said
        assert came.lasting == row.lasting
    else:
        assert row.problem in said if row.problem else not said
        assert came.calls == row.calls
        assert came.tries == row.requests


def test_nobody_listening(provider):
    with ModelServer([GOOD]) as server:
        model = guarded(server, provider)
    with pytest.raises(ModelFailed, match=r"broke \(3 tries\): .*refused"):
        model.ask(question())


def test_a_question_that_is_called_off_ends_at_once(provider):
    cancel, cut = threading.Event(), []

    def call_off() -> None:
        cut.append(time.monotonic())
        cancel.set()

    with ModelServer([Reply(hang=True)]) as server:
        model = guarded(server, provider)
        timer = threading.Timer(0.05, call_off)
        timer.start()
        with pytest.raises(ModelFailed, match="cancelled"):
            model.ask(question(30, cancel=cancel))
        seconds = time.monotonic() - cut[0]
    timer.join()
    assert seconds < 0.1


def test_a_pause_that_is_called_off_ends_at_once():
    cancel = threading.Event()
    with ModelServer([error(429, **{"Retry-After": "15"})]) as server:
        timer = threading.Timer(0.05, cancel.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(ModelFailed, match="cancelled"):
            guarded(server).ask(question(30, cancel=cancel))
    timer.join()
    assert time.monotonic() - began < 0.3


def test_who_wants_a_longer_pause_than_a_few_seconds_loses_its_turn():
    with ModelServer([error(429, **{"Retry-After": "30"})]) as server:
        with pytest.raises(ModelFailed, match="answers 429"):
            guarded(server).ask(question(300))
        assert len(server.asked) == 1


def test_no_pause_outlives_the_question():
    with ModelServer([error(429, **{"Retry-After": "5"})]) as server:
        began = time.monotonic()
        with pytest.raises(ModelFailed, match="429"):
            guarded(server).ask(question(1))
    assert len(server.asked) == 1
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("9" * 400, None),
        ("soon", None),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0),
        ("Mon, 99 Jan 2024 00:00:00 GMT", None),
    ],
)
def test_how_long_an_endpoint_wants_to_be_left_alone(value, seconds):
    assert retry_after(value) == seconds


# --- what is sent ---------------------------------------------------------------------------

HISTORY = [
    Message("system", "You debug."),
    Message("user", "What is wrong?"),
    Message("assistant", "I look.", (Called("t0c0", "look", {"at": "auth"}),)),
    Message("tool", "auth looks busy", answers="t0c0"),
]


def test_native_tools_are_asked_for_and_answered_in_the_apis_own_form(provider):
    with ModelServer([GOOD]) as server:
        guarded(server, provider).ask(Request(HISTORY, [LOOK], 5))
    (sent,) = server.asked
    assert sent["path"] == "/v1/chat/completions"
    assert sent["model"] == "some-model"
    assert {"max_tokens": 2048, "temperature": 0.0, "stream": True}.items() <= sent.items()
    assert sent["tool_choice"] == "auto"
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["look"]
    assistant, tool = sent["messages"][2:]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] == "t0c0"
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == {"at": "auth"}
    assert tool == {"role": "tool", "tool_call_id": "t0c0", "content": "auth looks busy"}
    headers = {name.lower(): value for name, value in server.sent[0].items()}
    assert headers["authorization"] == f"Bearer {KEY}"


def test_in_the_text_protocol_roles_take_turns_and_no_tool_is_named_to_the_api(provider):
    with ModelServer([text(PROTOCOL)]) as server:
        answer = guarded(server, provider, tools="text").ask(Request(HISTORY, [LOOK], 5))
    (sent,) = server.asked
    assert [message["role"] for message in sent["messages"]] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip
    assert not {"tools", "tool_choice"} & sent.keys()
    assert sent["response_format"]["json_schema"]["strict"]
    assert "look: Look somewhere." in sent["messages"][0]["content"]
    assert sent["messages"][3]["content"] == "look answered:\n```\nauth looks busy\n```"
    assert (answer.text, answer.calls) == ("hm", (Called("", "look", {"at": "auth"}),))


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_a_model_without_tools_is_told_of_them_in_words_from_then_on(status):
    refused = error(status, "registry/some-model does not support tools")
    with ModelServer([refused, text(PROTOCOL)]) as server:
        model = guarded(server)
        assert model.ask(question()).calls
        assert model.ask(question()).calls
    assert ["tools" in sent for sent in server.asked] == [True, False, False]


def test_who_wants_native_tools_gets_no_other():
    refused = error(400, "this model does not support tools")
    with ModelServer([refused]) as server, pytest.raises(ModelFailed, match="support tools"):
        guarded(server, tools="native").ask(question())
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("words", "without", "instead"),
    [
        ("Unrecognized request argument supplied: stream_options", "stream_options", ""),
        ("Streaming is off: 'stream' must be false", "stream", ""),
        ("'temperature' does not support 0 with this model", "temperature", ""),
        ("unknown field tool_choice", "tool_choice", ""),
        ("'max_tokens': use 'max_completion_tokens'", "max_tokens", "max_completion_tokens"),
    ],
)  # fmt: skip
def test_what_an_endpoint_does_not_take_is_left_out_from_then_on(words, without, instead, provider):
    with ModelServer([error(400, words), GOOD]) as server:
        model = guarded(server, provider)
        assert model.ask(question()).calls == CALLED
        assert model.ask(question()).calls == CALLED
    kept = [without in sent and sent[without] is not False for sent in server.asked]
    assert kept == [True, False, False]
    assert not instead or server.asked[1][instead] == 2048


@pytest.mark.parametrize(
    ("status", "well"), [(400, True), (401, True), (422, True), (429, False), (503, False)]
)
def test_a_refusal_of_one_question_or_key_is_no_outage(status, well):
    with ModelServer([error(status, "no")]) as server, pytest.raises(ModelFailed) as failed:
        guarded(server, "hf").ask(question())
    assert failed.value.well is well


def test_who_asks_for_too_long_a_pause_is_named_with_what_it_asks_for():
    busy = error(429, "slow down", **{"Retry-After": "60"})
    with ModelServer([busy]) as server, pytest.raises(ModelFailed) as failed:
        guarded(server, "hf").ask(question())
    assert re.match(r"hf at 127.0.0.1:\d+ answers 429, and asks for 60 s", str(failed.value))
    assert len(server.asked) == 1


def test_an_endpoint_that_refuses_everything_is_asked_a_bounded_number_of_times(provider):
    words = "no stream, stream_options, temperature, tool_choice, max_tokens, tools"
    with ModelServer([error(400, words)]) as server, pytest.raises(ModelFailed, match="400"):
        guarded(server, provider).ask(question())
    assert len(server.asked) <= 9


# --- what comes back --------------------------------------------------------------------------


def test_several_calls_are_several_calls_whatever_their_ids(provider):
    both = [
        {"id": id, "function": {"name": "look", "arguments": json.dumps({"at": at})}}
        for id, at in [("", "a"), ("", "b"), ("x", "c"), ("x", "d")]
    ]
    with ModelServer([completion({"content": None, "tool_calls": both})]) as server:
        found = guarded(server, provider).ask(question()).calls
    assert [call.arguments for call in found] == [{"at": at} for at in "abcd"]


@pytest.mark.parametrize(
    ("more", "cached"),
    [
        ({}, 0),
        ({"prompt_tokens_details": {"cached_tokens": 8}}, 8),
        ({"prompt_tokens_details": "x"}, 0),
        ({"prompt_cache_hit_tokens": 7}, 7),
        ({"cache_read_input_tokens": 6}, 6),
        ({"cache_read_input_tokens": 70}, 9),
        ({"cache_read_input_tokens": -1}, 0),
    ],
)
def test_tokens_are_those_that_the_provider_counted(more, cached):
    usage = {"prompt_tokens": 9, "completion_tokens": 4, **more}
    with ModelServer([completion({"content": "hi"}, usage=usage)]) as server:
        found = guarded(server).ask(question(tools=False)).tokens
    assert found == Tokens(9, 4, cached)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "many",
        {"prompt_tokens": "x", "completion_tokens": -3},
        {"prompt_tokens": True},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 10**9, "completion_tokens": 10**9},
    ],
)
def test_where_it_counted_none_they_are_estimated(usage):
    with ModelServer([completion({"content": "hi there"}, usage=usage)]) as server:
        model = guarded(server)
        used = model.ask(question()).tokens
    assert used.estimated
    assert used.into == model.count(question())
    assert 0 < used.out < 10


@pytest.mark.parametrize(
    ("replies", "times"),
    [
        ([sse(START, headers={"Content-Length": "999"}), GOOD], 1),
        ([sse("{nonsense"), sse("{nonsense"), GOOD], 2),
        ([error(503), GOOD], 0),
        ([error(400, "unknown field tool_choice"), GOOD], 0),
    ],
)
def test_what_was_sent_to_no_avail_counts_as_read(replies, times):
    with ModelServer(replies) as server:
        model = guarded(server)
        used = model.ask(question()).tokens
        assert used.into == 11 + times * model.count(question())
    assert used.estimated == bool(times)


@pytest.mark.parametrize(
    ("reply", "requests", "asked"),
    [(Reply(reset=True), 2, 2), (error(503), 3, 0)],  # nobody charges for a 503
)
def test_a_try_that_may_be_charged_for_is_made_again_only_where_there_is_money(
    reply, requests, asked
):
    room = iter([True, False])
    asks: list[bool] = []

    def again() -> bool:
        asks.append(next(room))
        return asks[-1]

    with ModelServer([reply]) as server:
        with pytest.raises(ModelFailed):
            guarded(server).ask(question(again=again))
        assert (len(server.asked), len(asks)) == (requests, asked)


@pytest.mark.parametrize(("reply", "times"), [(Reply("<html>"), 1), (error(500), 0)])
def test_so_it_does_where_no_answer_came(reply, times):
    with ModelServer([reply]) as server:
        model = guarded(server)
        with pytest.raises(ModelFailed) as failed:
            model.ask(question())
    assert failed.value.tokens.into == times * model.count(question())


def test_without_tools_the_calls_of_before_are_told_in_words(provider):
    with ModelServer([text("It was DNS.")]) as server:
        answer = guarded(server, provider).ask(Request(HISTORY, (), 5))
    assert (answer.text, answer.problem) == ("It was DNS.", "")
    roles = [message["role"] for message in server.asked[0]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert "response_format" not in server.asked[0]


def test_a_limit_that_is_too_large_is_not_tried_by_another_name():
    words = "max_tokens is too large: 2048. The model has room for 1024 tokens"
    with ModelServer([error(400, words)]) as server, pytest.raises(ModelFailed, match="too large"):
        guarded(server).ask(question())
    assert len(server.asked) == 1


def test_usage_at_the_end_of_a_stream_counts(provider):
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    with ModelServer([sse(delta("stop", content="hi"), usage, "[DONE]")]) as server:
        answer = guarded(server, provider).ask(question(tools=False))
    assert (answer.text, answer.tokens) == ("hi", Tokens(9, 4))


def test_a_text_is_heard_while_it_comes(provider):
    heard: list[str] = []
    parts = [delta(content=word) for word in ("It ", "is ", "DNS.")]
    with ModelServer([sse(*parts, delta("stop"), pause=0.06)]) as server:
        answer = guarded(server, provider).ask(question(tools=False, heard=heard.append))
    assert answer.text == "It is DNS."
    assert len(heard) >= 2
    assert all("It is DNS.".startswith(words) for words in heard)


def test_of_the_protocol_only_the_thought_is_heard():
    heard: list[str] = []
    parts = [delta(content=PROTOCOL[at : at + 9]) for at in range(0, len(PROTOCOL), 9)]
    with ModelServer([sse(*parts, delta("stop"), pause=0.02)]) as server:
        answer = guarded(server, tools="text").ask(question(heard=heard.append))
    assert answer.calls
    assert {"", "hm"} >= set(heard)
    assert "hm" in heard


def test_many_small_pieces_are_told_twenty_times_a_second_at_most():
    heard: list[str] = []
    with ModelServer([sse(*[delta(content="x")] * 2000, delta("stop"))]) as server:
        began = time.monotonic()
        answer = guarded(server).ask(question(tools=False, heard=heard.append))
    assert len(answer.text) == 2000
    assert len(heard) <= 1 + 20 * (time.monotonic() - began) + 1


# --- a client library that reads the answer itself -------------------------------------------


class Gone(Exception):
    """As such a library reports a status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status} for {KEY}")
        self.status_code = status


class Timeout(Gone):
    pass


class Library:
    """In LiteLLM's place: gives objects, whatever the wire held."""

    api_key = KEY

    def __init__(self, *results: Any) -> None:
        self.results, self.asked = list(results), []

    def completion(self, **request: Any) -> Any:
        self.asked.append(request)
        result = self.results[min(len(self.asked), len(self.results)) - 1]
        if isinstance(result, Exception):
            raise result
        return result


def behind(library: Library) -> Guarded:
    model = LiteLLMModel("some/model", client=library)
    asked = Guarded("m", model, ModelSettings(), provider="p", endpoint="", price=FREE)
    asked.first_pause = 0.001
    return asked


@pytest.mark.parametrize("result", [GOOD.body, [START, REST, END]], ids=["whole", "stream"])
def test_what_it_gives_is_read_like_the_wire(result):
    library = Library(Gone(503), result)
    answer = behind(library).ask(question())
    assert (answer.calls, answer.tries) == (CALLED, 2)
    (_, sent) = library.asked
    assert (sent["model"], sent["max_tokens"], sent["stream"]) == ("some/model", 2048, True)
    assert 0 < sent["timeout"] <= 5


@pytest.mark.parametrize(
    ("result", "requests", "says"),
    [
        (Gone(401), 1, r"p refuses the key: set the right one \(401\): .*\[key\]"),
        (Gone(500), 3, r"answers 500 \(3 tries\)"),
        (Timeout(408), 1, "in time"),
        (KeyError("choices"), 1, "request failed: 'choices'"),
        ([], 1, "no chat completion"),
        ([{"error": {"message": "boom"}}], 1, "boom"),
        ([None], 3, "no object"),
        (None, 1, "request failed"),
    ],
    ids=str,
)
def test_whatever_it_raises_is_a_sentence(result, requests, says):
    library = Library(result)
    with pytest.raises(ModelFailed, match=says) as failed:
        behind(library).ask(question())
    assert len(library.asked) == requests
    assert KEY not in str(failed.value)


def test_its_stream_may_be_cut_off_too():
    answer = behind(Library([START, REST])).ask(question())
    assert (answer.calls, answer.finish) == ((), "disconnected")


# --- models of this process -------------------------------------------------------------------


def test_a_script_is_asked_in_smolagents_own_messages():
    model = ScriptedModel([{"calls": [{"look": {"at": "auth"}}]}])
    answer = InProcess("scripted", model).ask(Request(HISTORY, [LOOK], 5))
    assert answer.calls == (Called("c0", "look", {"at": "auth"}),)
    assert model.asked[0][1].content == [{"type": "text", "text": "What is wrong?"}]
    assert model.asked[0][3].content == [{"type": "text", "text": "auth looks busy"}]


def test_whatever_a_model_of_this_process_raises_is_a_failed_model():
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    class Broken(ScriptedModel):
        def generate(self, *_: Any, **__: Any) -> Any:
            raise Mute

    for model, says in ((ScriptedModel([{"fail": "503"}]), "503"), (Broken([]), "Mute")):
        with pytest.raises(ModelFailed, match=says):
            InProcess("m", model).ask(question())


def test_weights_are_told_of_tools_in_the_prompt():
    model = ScriptedModel([{"say": f"<think>so</think>{PROTOCOL}"}, {"say": "It is DNS."}])
    weights = InProcess("weights", model, told=True)
    assert weights.ask(question()).calls == (Called("", "look", {"at": "auth"}),)
    assert "look: Look somewhere." in model.asked[0][0].content[0]["text"]
    answer: Answer = weights.ask(question())
    assert (answer.calls, answer.problem[:23]) == ((), "expected one JSON objec")
    assert (weights.price, weights.provider) == (FREE, "")
