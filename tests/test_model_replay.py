"""`--model replay:RUN`: what was said in a recorded run is said again, in a run of its own."""

import pytest
from crews import ESCALATE, LOOK, Stage, replicas_are, scale_to
from recorded_run import recorded_run
from smolagents.models import ChatMessage, MessageRole

from smoldebug.errors import UsageError
from smoldebug.events import ModelSwitched
from smoldebug.journal import Journal
from smoldebug.model.asking import ModelFailed
from smoldebug.model.messages import answer
from smoldebug.model.replay import ReplayModel, Said, load, said
from smoldebug.playbook import models


@pytest.fixture
def recording(tmp_path):
    """The journal of a run in which a model looked, scaled and was right."""
    stage = Stage([LOOK, scale_to(2)], tmp_path)
    stage.play()
    return stage.journal.path


def calls(message):
    return [(each.function.name, each.function.arguments) for each in message.tool_calls or []]


def told(text):
    return [ChatMessage(role=MessageRole.USER, content=text)]


def test_the_answers_of_a_run_come_in_order_with_thoughts_and_malformed_calls():
    answers = said(recorded_run())
    assert answers[0].thought == "A dependency that got slow fits 502 with timeouts."
    assert [name for each in answers for name, _ in each.calls] == [
        "fetch_logs",
        "query_prometheus",
        "fetch_logs",
        "rollout_status",
        "rollout_status",
        "scale",
    ]
    assert answers[3].calls == [("rollout_status", {"kind": "rollouts"})]


def test_a_recording_is_named_by_its_path_and_says_what_was_said(recording):
    model = load(str(recording))
    assert model.model_id == f"replay:{recording}"
    assert calls(model.generate([])) == [("look", {"at": "auth"})]
    assert calls(model.generate([])) == [("scale", {"replicas": 2})]


def test_a_recording_is_named_by_the_id_of_its_run(recording, tmp_path, monkeypatch):
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    (tmp_path / "runs/4f1d22").mkdir(parents=True)
    recording.rename(tmp_path / "runs/4f1d22/journal.jsonl")
    assert load("4f1d").model_id == load("last").model_id.replace("last", "4f1d")


def test_it_fails_when_the_recording_has_ended_so_that_the_chain_goes_on(recording):
    model = load(str(recording))
    for _ in range(2):
        model.generate([])
    with pytest.raises(ModelFailed, match="the recording has ended") as failed:
        model.generate([])
    assert failed.value.lasting


def test_it_fails_when_it_would_cite_evidence_that_this_run_does_not_have():
    quote = {"evidence": "E4", "quote": "pool exhausted"}
    claim = ("hypothesis", {"id": "H1", "claim": "it is full", "supports": [quote]})
    own = answer("as E4 says", [])
    with pytest.raises(ModelFailed, match="does not have: E4"):
        ReplayModel([Said("", [claim])], "replay:x").generate([*told("[E3] all is well"), own])
    known = ReplayModel([Said("", [("look", {"at": "auth"})]), Said("", [claim])], "replay:x")
    known.generate(told("look: [E4] pool exhausted"))
    assert calls(known.generate(told("what came after it"))) == [claim]


@pytest.mark.parametrize("word", ["nowhere/journal.jsonl", "4711", "last"])
def test_a_run_that_is_not_there_is_bad_input(word, tmp_path, monkeypatch):
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    with pytest.raises(UsageError):
        load(word)


def test_a_run_in_which_nobody_was_asked_is_bad_input(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as kept:
        kept.append(recorded_run()[0])
    with pytest.raises(UsageError, match="no model was asked"):
        load(str(kept.path))


def test_the_run_it_is_in_is_real(recording, tmp_path):
    model = load(str(recording))
    again = Stage([ESCALATE], tmp_path / "again")
    again.agent.chain = again.chain(model)
    assert again.play().outcome == "met"
    assert again.ran == ["look auth", "scale 2"]
    assert again.replicas == 2


def test_when_it_has_ended_the_next_model_goes_on(recording, tmp_path):
    again = Stage([ESCALATE], tmp_path / "again", goal=models.Goal(all=[replicas_are(3)]))
    again.agent.chain = again.chain(load(str(recording)), again.model)
    ended = again.play()
    (switched,) = again.events(ModelSwitched)
    assert (switched.to, switched.why) == ("scripted", "the recording has ended")
    assert ended.question == "and now?"
