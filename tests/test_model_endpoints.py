"""Runs with a model behind real HTTP: good answers, and everything an endpoint does wrong."""

import json
import socket
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import move_in
from crews import Stage
from modelserver import ModelServer, Reply, call, calls, completion, text

from smoldebug.cli import program
from smoldebug.clock import FakeClock
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.errors import UsageError
from smoldebug.events import Note, TurnStarted
from smoldebug.evidence import EvidenceStore
from smoldebug.model.endpoint import RequestLimits
from smoldebug.model.factory import build, chain, keys
from smoldebug.model.scripted import ScriptedModel
from smoldebug.playbook import models
from smoldebug.sources import servers
from smoldebug.status import ExitStatus

KEY = "k3y-of-somebody-8452"
QUICK = RequestLimits(timeout=0.5, pause=0.01, longest_pause=0.2)
LOOK, REPAIR = calls(look={"at": "auth"}), calls(scale={"replicas": 2})
needs_openai = pytest.mark.skipif(find_spec("openai") is None, reason="openai is not installed")


@pytest.fixture(params=["hf", pytest.param("openai", marks=needs_openai)])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


EXPERT = Expert(EvidenceStore(FakeClock()), Brief())


def stage(tmp_path: Path, provider: str, server: ModelServer, **options: Any) -> Stage:
    """A run whose first model is behind HTTP; `second` stands by and knows the repair."""
    set_up = Stage([], tmp_path, **options)
    model = build(f"{provider}/some-model", EXPERT, server.url, QUICK)
    second = ScriptedModel([{"calls": [{"scale": {"replicas": 2}}]}], "second")
    set_up.agent.models = [model, second]
    set_up.agent.toolset.redactor.learn(keys())
    return set_up


def told(server: ModelServer, turn: int) -> str:
    """The whole prompt of a request (1 = the first)."""
    messages = server.asked[turn - 1]["messages"]
    return "\n".join(part["text"] for message in messages for part in message["content"])


def notes(played: Stage) -> str:
    return "\n".join(note.text for note in played.events(Note))


# --- good answers ---------------------------------------------------------------------------


def test_a_model_behind_http_repairs_in_two_turns(tmp_path, provider):
    with ModelServer([LOOK, REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        ended = played.play()
    assert ended.status is ExitStatus.MET
    assert played.ran == ["look auth", "scale 2"]
    assert len(server.asked) == 2
    assert "auth looks busy" in told(server, 2)


def test_the_endpoint_learns_which_model_is_meant_and_gets_the_key(tmp_path, provider, monkeypatch):
    monkeypatch.setenv({"hf": "HF_TOKEN", "openai": "OPENAI_API_KEY"}[provider], KEY)
    with ModelServer([REPAIR]) as server:
        stage(tmp_path, provider, server).play()
    assert server.asked[0]["model"] == "some-model"
    assert server.asked[0]["path"] == "/v1/chat/completions"
    sent = {name.lower(): value for name, value in server.sent[0].items()}
    assert sent["authorization"] == f"Bearer {KEY}"


def test_tokens_are_counted(tmp_path, provider):
    with ModelServer([LOOK, REPAIR]) as server:
        usage = stage(tmp_path, provider, server).play().usage
    assert (usage.turns, usage.tokens_in, usage.tokens_out) == (2, 22, 14)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": 3}])
def test_an_answer_without_usage_is_an_answer(tmp_path, provider, usage):
    with ModelServer([call("scale", '{"replicas": 2}', usage=usage)]) as server:
        ended = stage(tmp_path, provider, server).play()
    assert ended.status is ExitStatus.MET
    assert ended.usage.tokens_in == 0
    assert len(server.asked) == 1


def test_null_for_what_may_be_left_out_means_left_out(tmp_path, provider):
    arguments = {"reason": "out of ideas", "question": None}
    with ModelServer([calls(escalate=arguments)]) as server:
        ended = stage(tmp_path, provider, server).play()
    assert ended.reason == "out of ideas"


# --- the request ----------------------------------------------------------------------------


def test_the_request_is_stable_and_describes_each_tool_once(tmp_path, provider):
    with ModelServer([LOOK, LOOK, REPAIR]) as server:
        stage(tmp_path, provider, server).play()
    for first, second in pairwise(server.asked):
        assert first["tools"] == second["tools"]
        assert first["messages"][0] == second["messages"][0]
        assert first["messages"][0]["role"] == "system"
    system, tools = told(server, 1), server.asked[0]["tools"]
    described = [tool["function"]["description"] for tool in tools]
    assert len(described) == len(set(described)) > 5
    assert not [description for description in described if description in system]
    assert "Tools that propose a change: restart, scale." in system


def test_tool_schemas_are_what_a_strict_provider_accepts(tmp_path):
    with ModelServer([REPAIR]) as server:
        stage(tmp_path, "hf", server).play()
    for tool in server.asked[0]["tools"]:
        parameters = tool["function"]["parameters"]
        assert set(parameters["required"]) <= set(parameters["properties"])
        for schema in parameters["properties"].values():
            assert schema["type"] in ("string", "integer", "number", "boolean", "array", "object")
            assert schema["type"] != "array" or "type" in schema["items"]
            assert not {"anyOf", "$ref", "title"} & schema.keys()
            assert schema.get("default", "") is not None
    (status,) = (
        tool["function"]["parameters"]["properties"]["status"]
        for tool in server.asked[0]["tools"]
        if tool["function"]["name"] == "hypothesis"
    )
    assert status["enum"] == ["confirmed", "open", "ruled out", "testing"]


# --- answers that cannot be used ------------------------------------------------------------


@pytest.mark.parametrize("finish", ["length", "tool_calls"])
def test_a_cut_off_call_never_runs_and_the_run_goes_on(tmp_path, provider, finish):
    with ModelServer([call("scale", '{"replicas": 2', finish), REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        ended = played.play()
    assert ended.status is ExitStatus.MET
    assert played.ran == ["scale 2"]
    assert "executed" in told(server, 2)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_what_is_left_of_a_cut_off_call_may_parse_and_still_does_not_run(
    tmp_path, provider, finish
):
    left = call("scale", '{"replicas": 20}', finish)
    with ModelServer([left, REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["scale 2"]
    assert "cut off by the provider; NOTHING was executed" in told(server, 2)
    assert "cut off by the provider" in notes(played)


def test_a_call_in_the_text_of_a_cut_off_answer_does_not_run_either(tmp_path, provider):
    hidden = text('{"name": "scale", "arguments": {"replicas": 20}} and then', "length")
    with ModelServer([hidden, REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["scale 2"]


def test_a_call_written_as_text_by_a_small_model_does_run(tmp_path, provider):
    written = text('I will scale.\n{"name": "scale", "arguments": {"replicas": 2}}')
    with ModelServer([written]) as server:
        assert stage(tmp_path, provider, server).play().status is ExitStatus.MET


@pytest.mark.parametrize("says", ["It is DNS. It is always DNS.", "", "{not json}"])
def test_a_model_that_only_talks_is_told_so(tmp_path, provider, says):
    with ModelServer([text(says), REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        assert played.play().status is ExitStatus.MET
    assert "the model's answer could not be used" in notes(played)
    assert "Error:" in told(server, 2)
    for message in server.asked[1]["messages"]:
        assert all(part["text"] for part in message["content"])  # providers refuse empty texts


def named(name: Any, arguments: Any) -> Reply:
    function = {"name": name, "arguments": arguments}
    return completion({"content": None, "tool_calls": [{"id": "c1", "function": function}]})


@pytest.mark.parametrize(
    "reply",
    [
        completion({"content": [{"type": "thinking"}, {"type": "text", "text": "Let me think."}]}),
        completion({"content": 42}),
        completion({"content": None}),
        completion({"role": None, "content": "hi"}),
        completion({"content": "broken \ud800 text"}),
        completion({"content": "hi"}, usage={"prompt_tokens": "many", "completion_tokens": -3}),
        named(None, "{}"),
        named("look", None),
        named("look", "3"),
        named("look", "[" * 100_000),
    ],
    ids=lambda reply: str(reply.body["choices"][0]["message"])[:60],
)
def test_an_odd_answer_costs_a_turn_and_not_the_model(tmp_path, provider, reply):
    with ModelServer([reply, REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["scale 2"]
    assert len(server.asked) == 2
    assert "failed" not in notes(played)


@pytest.mark.parametrize("tool_calls", ["x", [{}], [{"id": "c1", "type": "function"}]], ids=str)
def test_calls_of_no_known_shape_cost_the_model_and_not_the_run(tmp_path, provider, tool_calls):
    with ModelServer([completion({"content": None, "tool_calls": tool_calls})]) as server:
        played = stage(tmp_path, provider, server)
        assert played.play().status is ExitStatus.MET
    assert "model some-model failed, second goes on:" in notes(played)


# --- endpoints that fail --------------------------------------------------------------------

GATEWAY = Reply("<html>502 Bad Gateway</html>")
BUSY = Reply({"error": {"message": "slow down"}}, 429)


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        (Reply({"error": {"message": "boom"}}, 500), 2),
        (BUSY, 2),
        (Reply(BUSY.body, 429, {"Retry-After": "3600"}), 1),
        (Reply({"error": {"message": "no such model"}}, 404), 1),
        (Reply({"error": {"message": "bad key"}}, 401), 1),
        (Reply(hang=True), 1),
        (Reply(reset=True), 2),
        (GATEWAY, 1),
        (Reply('{"id": "x", "choices": ['), 1),
        (completion({}, choices=[]), 1),
        (Reply({}), 1),
        (Reply({"choices": [{}]}), 1),
    ],
    ids=str,
)
def test_a_failing_endpoint_costs_little_and_the_next_model_goes_on(
    tmp_path, provider, reply, requests
):
    with ModelServer([LOOK, reply]) as server:
        played = stage(tmp_path, provider, server)
        began = time.monotonic()
        ended = played.play()
        seconds = time.monotonic() - began
    assert ended.status is ExitStatus.MET
    assert len(server.asked) == 1 + requests
    assert seconds < 5
    assert "model some-model failed, second goes on:" in notes(played)


@pytest.mark.parametrize(
    "reply", [Reply(BUSY.body, 429, {"Retry-After": "0.05"}), Reply({}, 503), Reply(reset=True)]
)
def test_a_passing_failure_costs_one_more_request_and_not_the_model(tmp_path, provider, reply):
    with ModelServer([reply, REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        assert played.play().status is ExitStatus.MET
    assert len(server.asked) == 2
    assert "failed" not in notes(played)


def test_nobody_listening_is_a_failed_model_too(tmp_path, provider):
    with ModelServer([LOOK]) as server:
        played = stage(tmp_path, provider, server)
    assert played.play().status is ExitStatus.MET
    assert "model some-model failed, second goes on:" in notes(played)


def test_a_failed_model_does_not_buy_more_turns(tmp_path):
    with ModelServer([LOOK, LOOK, Reply({}, 401)]) as server:
        played = stage(tmp_path, "hf", server, limits=models.Limits(max_steps=3))
        played.agent.models[1] = ScriptedModel([{"say": "hm"}] * 9, "second")
        assert played.play().status is ExitStatus.LIMIT
    assert len({event.turn for event in played.events(TurnStarted)}) == 3


# --- keys -----------------------------------------------------------------------------------


def test_no_key_is_written_anywhere_even_when_the_provider_quotes_it(
    tmp_path, provider, monkeypatch, capsys
):
    move_in(tmp_path, monkeypatch, OPENAI_API_KEY=KEY, HF_TOKEN=KEY)
    quoted = Reply({"error": {"message": f"Incorrect API key provided: {KEY}."}}, 401)
    playbook = tmp_path / "hopeless.yaml"
    with ModelServer([quoted]) as server:
        goal = {"all": [{"http": {"url": "http://127.0.0.1:9/", "timeout": "1s"}}]}
        book = {"apiVersion": "smoldebug.dev/v1", "name": "hopeless", "goal": goal}
        playbook.write_text(json.dumps({**book, "tools": {"http": {"allow": []}}}))
        named = ["--model", f"{provider}/one", "--model", f"{provider}/two"]
        program(["triage", "-p", str(playbook), *named, "--api-base", server.url, "-o", "jsonl"])
    out, err = capsys.readouterr()
    assert "model one failed, two goes on" in out
    assert "model two failed, expert goes on" in out
    assert "Traceback" not in err
    assert [body["model"] for body in server.asked] == ["one", "two"]
    written = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert any(path.name == "journal.jsonl" for path in written)
    for said in (out, err, *(path.read_text() for path in written)):
        assert KEY not in said
    assert "[secret:" in out


# --- chains ---------------------------------------------------------------------------------


def test_the_chain_is_in_the_order_given_and_ends_at_the_expert(tmp_path):
    names = ["hf/one", "expert", "hf/two"]
    found = chain(names, EXPERT, "http://127.0.0.1:1/v1")
    assert [model.model_id for model in found] == ["one", "two", "expert"]


def test_each_model_of_a_chain_is_asked_until_it_fails(tmp_path, provider):
    with ModelServer([LOOK, Reply({}, 401), LOOK, Reply({}, 403), REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        names = [f"{provider}/{name}" for name in ("one", "two", "three")]
        played.agent.models = chain(names, EXPERT, server.url, QUICK)
        assert played.play().status is ExitStatus.MET
    asked = [body["model"] for body in server.asked]
    assert asked == ["one", "one", "two", "two", "three"]
    assert notes(played).count("auth looks busy") == 0
    assert told(server, 5).count("auth looks busy") == 2


@pytest.mark.parametrize("name", ["hf/", "gpt-9", "nobody/x"])
def test_a_model_that_is_none_is_refused_with_what_is_known(tmp_path, name):
    with pytest.raises(UsageError, match="known: expert, scripted:FILE, openai/ID, hf/ID"):
        build(name, EXPERT)


def test_a_missing_key_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(UsageError, match="set HF_TOKEN, or name an --api-base"):
        build("hf/x", EXPERT)


def test_an_api_base_that_is_no_url_is_refused():
    with pytest.raises(UsageError, match="no http"):
        build("hf/x", EXPERT, "localhost:8000/v1")


@needs_openai
def test_azure_says_what_it_lacks(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
    with pytest.raises(UsageError, match="OPENAI_API_VERSION"):
        build("azure/x", EXPERT, "http://127.0.0.1:9/")


# --- the command line -----------------------------------------------------------------------


def test_triage_repairs_with_a_model_behind_http(tmp_path, provider, monkeypatch, capsys):
    """The shipped local-server playbook: a real server is down, the model has it started."""
    move_in(tmp_path, monkeypatch)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    restart = {"name": "web", "why": "E1 says that nobody answers"}
    with ModelServer(
        [calls(check_server={"name": "web"}), calls(restart_server=restart)]
    ) as server:
        try:
            model = ["--model", f"{provider}/some-model", "--api-base", server.url]
            named = ["-p", "local-server", "--set", f"port={port}"]
            code = program(["triage", *named, *model, "-o", "plain"])
        finally:
            for record in (tmp_path / "home/servers").glob("*.json"):
                servers.end(record, grace=0.5)
    out, err = capsys.readouterr()
    assert code == ExitStatus.MET, out + err
    assert len(server.asked) == 2
    assert "some-model" in err
