"""Models through LiteLLM, for real: its client against a server on loopback.

LiteLLM wants other versions of what smoldebug's tests need: .ci/run gives this an environment."""

import json
import struct
import threading
import zlib
from importlib.util import find_spec

import pytest
from modelserver import ModelServer, Reply, delta, fragment, sse

from smoldebug.clock import FakeClock
from smoldebug.conversation import Called, Message
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.errors import UsageError
from smoldebug.evidence import EvidenceStore
from smoldebug.model.asking import Asked, ModelFailed, Request
from smoldebug.model.described import Described
from smoldebug.model.factory import build
from smoldebug.model.trial import echo
from smoldebug.playbook.settings import Key, ModelSettings, Settings
from smoldebug.records import Effect
from smoldebug.toolset import describe

pytestmark = [
    pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed"),
    pytest.mark.filterwarnings("ignore"),  # of pydantic, about LiteLLM's classes
]
KEY = "k3y-of-somebody-8452"
EXPERT = Expert(EvidenceStore(FakeClock()), Brief())
TOOLS = [Described(describe(echo, Effect.READ))]
QUESTION = Request([Message("system", "You repair."), Message("user", "Why?")], TOOLS, seconds=20)
CLAUDE = "bedrock/anthropic.claude-3-haiku-20240307-v1:0"
CALL = sse(
    delta(content="I look."),
    delta(tool_calls=[fragment('{"word": ', id="c1", name="echo")]),
    delta(tool_calls=[fragment('"auth"}')]),
    delta("tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}},
    "[DONE]",
)
WORDS = sse(delta(content="It is DNS."), delta("stop"), "[DONE]")


def converse(event: str, **body: object) -> bytes:
    """One event as Bedrock's ConverseStream sends it: lengths, headers and checksums, in binary."""
    names = {":message-type": "event", ":event-type": event, ":content-type": "application/json"}
    headers = b"".join(
        struct.pack("!B", len(name))
        + name.encode()
        + struct.pack("!BH", 7, len(value))
        + value.encode()
        for name, value in names.items()
    )
    payload = json.dumps(body).encode()
    prelude = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


CONVERSED = (
    converse("messageStart", role="assistant"),
    converse("contentBlockDelta", contentBlockIndex=0, delta={"text": "I look."}),
    converse("contentBlockStop", contentBlockIndex=0),
    converse(
        "contentBlockStart",
        contentBlockIndex=1,
        start={"toolUse": {"toolUseId": "t1", "name": "echo"}},
    ),
    converse(
        "contentBlockDelta", contentBlockIndex=1, delta={"toolUse": {"input": '{"word": "auth"}'}}
    ),
    converse("contentBlockStop", contentBlockIndex=1),
    converse("messageStop", stopReason="tool_use"),
    converse(
        "metadata",
        metrics={"latencyMs": 1},
        usage={"inputTokens": 11, "outputTokens": 7, "totalTokens": 18},
    ),
)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def made(name: str, api_base: str, **about: object) -> Asked:
    settings = Settings(models={name: ModelSettings(**about)}, unknown_price="ask")
    return build(name, settings, expert=EXPERT, api_base=api_base, may_cost=lambda _: True)


def test_a_call_comes_back_as_a_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEAM_KEY", KEY)
    with ModelServer([CALL]) as server:
        model = made("litellm/openai/some-model", server.url, key=Key(env="TEAM_KEY"))
        answer = model.ask(QUESTION)
    (call,) = answer.calls
    assert (call.name, call.arguments) == ("echo", {"word": "auth"})
    assert (answer.tokens.into, answer.tokens.out, answer.tokens.estimated) == (11, 7, False)
    assert server.asked[0]["model"] == "some-model"
    assert server.asked[0]["tools"][0]["function"]["name"] == "echo"
    sent = {name.lower(): value for name, value in server.sent[0].items()}
    assert sent["authorization"] == f"Bearer {KEY}"
    assert model.provider.startswith("litellm at 127.0.0.1:")


def test_what_was_called_and_answered_goes_back_as_that(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    past = [
        Message("user", "Why?"),
        Message("assistant", "I look.", (Called("t1c0", "echo", {"word": "auth"}),)),
        Message("tool", "auth", answers="t1c0"),
    ]
    with ModelServer([WORDS]) as server:
        made("litellm/openai/m", server.url).ask(Request(past, TOOLS, seconds=20))
    *_, assistant, answer = server.asked[0]["messages"]
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == {"word": "auth"}
    assert (answer["role"], answer["tool_call_id"]) == ("tool", assistant["tool_calls"][0]["id"])


@pytest.mark.parametrize("status", [401, 404])
def test_a_failure_is_the_models_and_is_not_told_with_the_key(
    status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    quoted = Reply({"error": {"message": f"Incorrect API key provided: {KEY}."}}, status)
    with ModelServer([quoted]) as server, pytest.raises(ModelFailed) as caught:
        made("litellm/openai/m", server.url, key=Key(env="OPENAI_API_KEY")).ask(QUESTION)
    assert caught.value.lasting
    assert KEY not in str(caught.value)
    assert len(server.asked) == 1
    assert capfd.readouterr() == ("", ""), "LiteLLM would write to the terminal here"


def test_bedrock_is_asked_in_its_own_language_and_its_answer_is_read(aws: None):
    """smolagents' own class for Bedrock fails on the answer."""
    with ModelServer([Reply(parts=CONVERSED)]) as server:
        answer = made(CLAUDE, server.url.removesuffix("/v1")).ask(QUESTION)
    (call,) = answer.calls
    assert (answer.text, call.name, call.arguments) == ("I look.", "echo", {"word": "auth"})
    assert (answer.tokens.into, answer.tokens.out) == (11, 7)
    assert server.asked[0]["toolConfig"]["tools"][0]["toolSpec"]["name"] == "echo"
    assert KEY not in json.dumps([server.asked, server.sent])


def test_building_one_asks_nobody(aws: None):
    with ModelServer([WORDS]) as server:
        made(CLAUDE, server.url)
        made("litellm/openai/m", server.url, key=Key(env="AWS_SECRET_ACCESS_KEY"))
    assert server.asked == []
    with pytest.raises(UsageError, match="set GONE"):
        made("litellm/openai/m", server.url, key=Key(env="GONE"))
    assert all(
        thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()
    )
