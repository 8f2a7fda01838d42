"""Runs with models behind real HTTP. What one request may come to is tests/test_guarded.py's."""

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
from modelserver import Killed, ModelServer, Reply, call, calls, completion, text

from smoldebug.cli import program
from smoldebug.clock import FakeClock
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.events import ModelSwitched, Note, TurnStarted
from smoldebug.evidence import EvidenceStore
from smoldebug.model.asking import FREE
from smoldebug.model.factory import build
from smoldebug.model.scripted import ScriptedModel
from smoldebug.playbook import models
from smoldebug.playbook.settings import ModelSettings, Settings
from smoldebug.sources import servers
from smoldebug.status import ExitStatus

KEY = "k3y-of-somebody-8452"
LOOK, REPAIR = calls(look={"at": "auth"}), calls(scale={"replicas": 2})
needs_openai = pytest.mark.skipif(find_spec("openai") is None, reason="openai is not installed")


@pytest.fixture(params=["hf", pytest.param("openai", marks=needs_openai)])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


EXPERT = Expert(EvidenceStore(FakeClock()), Brief())


def remote(name: str, server: ModelServer, **about: Any) -> Any:
    settings = Settings(models={name: ModelSettings(price=FREE, **about)})
    model: Any = build(name, settings, expert=EXPERT, api_base=server.url)
    model.first_pause = 0.001
    return model


def stage(tmp_path: Path, provider: str, server: ModelServer, **options: Any) -> Stage:
    """A run whose first model is behind HTTP; `second` stands by and knows the repair."""
    played = Stage([], tmp_path, **options)
    second = ScriptedModel([{"calls": [{"scale": {"replicas": 2}}]}], "second")
    played.agent.chain = played.chain(remote(f"{provider}/some-model", server), second)
    return played


def told(server: ModelServer, request: int) -> str:
    """The whole prompt of a request (1 = the first)."""
    return "\n".join(each["content"] or "" for each in server.asked[request - 1]["messages"])


def notes(played: Stage) -> str:
    return "\n".join(note.text for note in played.events(Note))


def switches(played: Stage) -> list[tuple[str, str]]:
    return [(each.model, each.to) for each in played.events(ModelSwitched)]


# --- good answers ---------------------------------------------------------------------------


def test_a_model_behind_http_repairs_in_two_turns(tmp_path, provider):
    with ModelServer([LOOK, REPAIR]) as server:
        played = stage(tmp_path, provider, server)
        ended = played.play()
    assert ended.status is ExitStatus.MET
    assert played.ran == ["look auth", "scale 2"]
    assert len(server.asked) == 2
    assert "auth looks busy" in told(server, 2)
    assert (ended.usage.turns, ended.usage.tokens_in, ended.usage.tokens_out) == (2, 22, 14)


def test_so_does_one_that_knows_no_tools(tmp_path):
    def said(**tools: Any) -> Reply:
        ((name, arguments),) = tools.items()
        made = {"thought": "hm", "calls": [{"name": name, "arguments": arguments}]}
        return text(json.dumps(made))

    refused = Reply({"error": {"message": "some-model does not support tools"}}, 400)
    with ModelServer([refused, said(look={"at": "auth"}), said(scale={"replicas": 2})]) as server:
        played = stage(tmp_path, "hf", server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["look auth", "scale 2"]
    assert switches(played) == []
    assert "look answered:" in told(server, 3)


def test_an_answer_without_usage_is_an_answer_and_its_tokens_are_estimated(tmp_path):
    with ModelServer([call("scale", '{"replicas": 2}', usage=None)]) as server:
        ended = stage(tmp_path, "hf", server).play()
    assert ended.status is ExitStatus.MET
    assert ended.usage.tokens_in > 500
    assert len(server.asked) == 1


def test_null_for_what_may_be_left_out_means_left_out(tmp_path):
    arguments = {"reason": "out of ideas", "question": None}
    with ModelServer([calls(escalate=arguments)]) as server:
        ended = stage(tmp_path, "hf", server).play()
    assert ended.reason == "out of ideas"


# --- the request ----------------------------------------------------------------------------


def test_the_request_only_grows_at_its_end_and_describes_each_tool_once(tmp_path, provider):
    with ModelServer([LOOK, LOOK, REPAIR]) as server:
        stage(tmp_path, provider, server).play()
    for first, second in pairwise(server.asked):
        assert first["tools"] == second["tools"]
        assert first["messages"] == second["messages"][: len(first["messages"])]
        assert first["messages"][0]["role"] == "system"
    system, tools = server.asked[0]["messages"][0]["content"], server.asked[0]["tools"]
    described = [tool["function"]["description"] for tool in tools]
    assert len(described) == len(set(described)) > 5
    assert not [description for description in described if description in system]
    assert "a change too: restart, scale." in system


def test_tool_schemas_are_what_a_strict_provider_accepts(tmp_path):
    with ModelServer([REPAIR]) as server:
        stage(tmp_path, "hf", server).play()
    for tool in server.asked[0]["tools"]:
        parameters = tool["function"]["parameters"]
        assert set(parameters.get("required", [])) <= set(parameters["properties"])
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
def test_a_cut_off_call_never_runs_and_the_run_goes_on(tmp_path, finish):
    with ModelServer([call("scale", '{"replicas": 2', finish), REPAIR]) as server:
        played = stage(tmp_path, "hf", server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["scale 2"]
    assert "executed" in told(server, 2)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_what_is_left_of_a_cut_off_call_may_parse_and_still_does_not_run(tmp_path, finish):
    left = call("scale", '{"replicas": 20}', finish)
    with ModelServer([left, REPAIR]) as server:
        played = stage(tmp_path, "hf", server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["scale 2"]
    assert "cut off by the provider: be shorter. NOTHING was executed" in told(server, 2)
    assert "cut off by the provider" in notes(played)


def test_a_call_in_the_text_of_a_cut_off_answer_does_not_run_either(tmp_path):
    hidden = text('{"name": "scale", "arguments": {"replicas": 20}}', "length")
    with ModelServer([hidden, REPAIR]) as server:
        played = stage(tmp_path, "hf", server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["scale 2"]


def test_a_call_written_as_text_by_a_small_model_does_run(tmp_path):
    with ModelServer([text('{"name": "scale", "arguments": {"replicas": 2}}')]) as server:
        assert stage(tmp_path, "hf", server).play().status is ExitStatus.MET


def test_a_call_among_words_is_none(tmp_path):
    quoted = text('A log says {"name": "scale", "arguments": {"replicas": 20}}.')
    with ModelServer([quoted, REPAIR]) as server:
        played = stage(tmp_path, "hf", server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["scale 2"]


@pytest.mark.parametrize("says", ["It is DNS. It is always DNS.", "", "{not json}"])
def test_a_model_that_only_talks_is_told_so(tmp_path, says):
    with ModelServer([text(says), REPAIR]) as server:
        played = stage(tmp_path, "hf", server)
        assert played.play().status is ExitStatus.MET
    assert "the model's answer could not be used" in notes(played)
    assert "ERROR" in told(server, 2)
    for message in server.asked[1]["messages"]:  # providers refuse empty texts
        assert message["content"] or message["tool_calls"]


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
        completion({"content": None, "tool_calls": "x"}),
        completion({"content": None, "tool_calls": [{}]}),
        named(None, "{}"),
        named("look", None),
        named("look", "3"),
        named("look", '{"at": "auth", "at": "shop"}'),
        named("look", "[" * 100_000),
    ],
    ids=lambda reply: str(reply.body["choices"][0]["message"])[:60],
)
def test_an_odd_answer_costs_a_question_and_not_the_model(tmp_path, reply):
    with ModelServer([reply, REPAIR]) as server:
        played = stage(tmp_path, "hf", server)
        assert played.play().status is ExitStatus.MET
    assert played.ran == ["scale 2"]
    assert len(server.asked) == 2
    assert switches(played) == []


# --- endpoints that fail --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        (Reply({"error": {"message": "boom"}}, 500), 3),
        (Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "3600"}), 1),
        (Reply({"error": {"message": "bad key"}}, 401), 1),
        (Reply(reset=True), 3),
        (Reply("<html>502 Bad Gateway</html>"), 1),
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
        assert played.play().status is ExitStatus.MET
        seconds = time.monotonic() - began
    assert len(server.asked) == 1 + requests
    assert seconds < 3
    assert switches(played) == [(f"{provider}/some-model", "second")]


def test_a_passing_failure_costs_one_more_request_and_not_the_model(tmp_path):
    with ModelServer([Reply({}, 503), REPAIR]) as server:
        played = stage(tmp_path, "hf", server)
        assert played.play().status is ExitStatus.MET
    assert len(server.asked) == 2
    assert switches(played) == []


def test_nobody_listening_is_a_failed_model_too(tmp_path, provider):
    with ModelServer([LOOK]) as server:
        played = stage(tmp_path, provider, server)
    assert played.play().status is ExitStatus.MET
    assert switches(played) == [(f"{provider}/some-model", "second")]


def test_an_endpoint_that_dies_in_the_middle_ends_no_run(tmp_path, provider):
    with Killed([LOOK, text("Hm."), LOOK]) as server:
        played = Stage([], tmp_path)
        expert = ScriptedModel([{"calls": [{"scale": {"replicas": 2}}]}], "expert")
        played.agent.chain = played.chain(remote(f"{provider}/some-model", server), last=expert)
        ended = played.play()
    assert (ended.status, ended.usage.turns, played.replicas) == (ExitStatus.MET, 3, 2)
    assert switches(played) == [(f"{provider}/some-model", "expert")]
    assert str(expert.asked[0]).count("auth looks busy") == 2  # nothing it saw is lost


def test_a_failed_model_does_not_buy_more_turns(tmp_path):
    with ModelServer([LOOK, LOOK, Reply({}, 401)]) as server:
        played = Stage([], tmp_path, limits=models.Limits(max_steps=3))
        looks = ScriptedModel([{"calls": [{"look": {"at": "auth"}}]}] * 9, "second")
        played.agent.chain = played.chain(remote("hf/some-model", server), looks)
        assert played.play().status is ExitStatus.LIMIT
    assert len({event.turn for event in played.events(TurnStarted)}) == 3


def test_each_model_of_a_chain_is_asked_until_it_fails(tmp_path):
    with ModelServer([LOOK, Reply({}, 401), LOOK, Reply({}, 403), REPAIR]) as server:
        played = stage(tmp_path, "hf", server)
        names = [f"hf/{name}" for name in ("one", "two", "three")]
        played.agent.chain = played.chain(*(remote(name, server) for name in names))
        assert played.play().status is ExitStatus.MET
    asked = [body["model"] for body in server.asked]
    assert asked == ["one", "one", "two", "two", "three"]
    assert told(server, 5).count("auth looks busy") == 2


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
    events = [json.loads(line)["event"] for line in out.splitlines()]
    went = [(e["model"], e["to"]) for e in events if e["event"] == "ModelSwitched"]
    assert went == [(f"{provider}/one", f"{provider}/two"), (f"{provider}/two", "expert")]
    assert "Traceback" not in err
    assert [body["model"] for body in server.asked] == ["one", "two"]
    written = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert any(path.name == "journal.jsonl" for path in written)
    for said in (out, err, *(path.read_text(errors="replace") for path in written)):
        assert KEY not in said
    assert "Incorrect API key provided: [key]." in out


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
