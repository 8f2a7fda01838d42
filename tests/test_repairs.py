"""An answer that nobody can use: told what was wrong, asked again, and in the end given up."""

import pytest
from askers import Asker, look, text
from crews import ESCALATE, Stage

from smoldebug.conversation import Called
from smoldebug.events import (
    ModelAnswered,
    ModelAsked,
    ModelSwitched,
    Note,
    Thought,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
)
from smoldebug.model.asking import Answer, Tokens
from smoldebug.playbook import models
from smoldebug.status import ExitStatus


def call(tool: str, arguments: object, finish: str = "tool_calls") -> Answer:
    return Answer("", (Called("c0", tool, arguments),), Tokens(), finish)


HAND_OVER = call("escalate", {"reason": "out of ideas"})
WRONG = call("look", {"where": "auth"})


def played(tmp_path, *askers: Asker, **options) -> Stage:
    stage = Stage([], tmp_path, **options)
    stage.agent.chain = stage.chain(*askers)
    stage.ended = stage.play()
    return stage


def said(asker: Asker, request: int) -> str:
    """All that a model was told with a request (1 = first)."""
    return "\n".join(message.text for message in asker.requests[request - 1].messages)


@pytest.mark.parametrize(
    ("unusable", "problem"),
    [
        (text("I think auth is slow."), "there is no tool call in it"),
        (text(""), "there is no tool call in it"),
        (Answer("I scale", (), Tokens(), "length"), "it was cut off by the provider"),
        (Answer("{", (), Tokens(), problem="line 1: no JSON"), "line 1: no JSON"),
        (WRONG, "unknown field `where`"),
        (call("look", '{"at": "au'), "invalid call to look"),
        (call("reboot", {}), "unknown tool 'reboot'; available: escalate"),
        (call("final_answer", {"answer": "fixed"}), "there is no final answer yet"),
    ],
)
def test_it_is_told_what_was_wrong_and_asked_again_within_the_turn(tmp_path, unusable, problem):
    asker = Asker("a", unusable, look(), HAND_OVER)
    stage = played(tmp_path, asker)
    assert problem in said(asker, 2)
    assert stage.ran == ["look auth"]
    assert [event.turn for event in stage.events(TurnStarted)] == [1, 2]
    assert stage.ended.usage.turns == 2
    assert stage.ended.usage.calls == 3


def test_one_good_call_is_enough_and_the_others_are_told_what_was_wrong(tmp_path):
    both = Answer("", (*WRONG.calls, *look().calls), Tokens())
    asker = Asker("a", both, HAND_OVER)
    stage = played(tmp_path, asker)
    assert stage.ran == ["look auth"]
    assert "unknown field `where`" in said(asker, 2)
    assert len(asker.requests) == 2


def test_calls_of_one_turn_have_names_of_their_own(tmp_path):
    stage = played(tmp_path, Asker("a", WRONG, WRONG, look(), HAND_OVER))
    ids = [event.call for event in stage.events(ToolCalled)]
    assert ids == ["t1c0", "t1c1", "t1c2", "t2c0"]
    assert ids == [event.call for event in stage.events(ToolAnswered)]


def test_after_three_in_a_row_the_next_model_goes_on(tmp_path):
    first, second = Asker("a", text("hm")), Asker("b", look(), HAND_OVER)
    stage = played(tmp_path, first, second)
    assert (len(first.requests), len(second.requests)) == (3, 2)
    (switch,) = stage.events(ModelSwitched)
    assert (switch.model, switch.to) == ("a", "b")
    assert switch.why == "3 answers in a row without a usable call"
    assert stage.ended.usage.turns == 2


def test_a_usable_answer_forgives_those_before_it(tmp_path):
    asker = Asker("a", WRONG, WRONG, look(), WRONG, WRONG, look(), HAND_OVER)
    stage = played(tmp_path, asker)
    assert not stage.events(ModelSwitched)
    assert stage.ended.usage.turns == 3


def test_garbage_ends_at_the_expert_and_costs_no_turn(tmp_path):
    stage = played(tmp_path, Asker("a", text("hm")), limits=models.Limits(max_steps=1))
    assert (stage.ended.status, stage.ended.reason) == (ExitStatus.NOT_MET, "the script has ended")


def test_a_last_model_that_says_nothing_usable_uses_up_the_turns(tmp_path):
    stage = Stage([{"say": "hm"}] * 99, tmp_path, limits=models.Limits(max_steps=2))
    stage.agent.chain = stage.chain(last=stage.model)
    assert stage.play().status is ExitStatus.LIMIT
    assert len(stage.model.asked) == 6


def test_the_operators_stop_ends_the_repairs(tmp_path):
    stage = Stage([], tmp_path)
    asker = Asker("a", text("hm"))
    stage.agent.chain = stage.chain(asker)
    stage.signals.stop.set()
    assert stage.play().status is ExitStatus.INTERRUPTED
    assert len(asker.requests) <= 1


def test_what_a_model_thinks_beside_its_call_is_told(tmp_path):
    stage = Stage([{"thought": "auth?", "calls": [{"look": {"at": "auth"}}]}, ESCALATE], tmp_path)
    stage.play()
    assert [event.text for event in stage.events(Thought)] == ["auth?"]
    assert [event.model for event in stage.events(ModelAsked)] == ["scripted"] * 2
    assert len(stage.events(ModelAnswered)) == 2
    assert not stage.events(Note)


# --- tiers ------------------------------------------------------------------------------------


def note(id: str, status: str = "testing") -> Answer:
    return call("hypothesis", {"id": id, "claim": f"cause {id}", "status": status})


def asked(tmp_path, *answers: Answer, confident: bool = True) -> list[str]:
    """Which tier each turn got."""
    stage = Stage([], tmp_path)
    cheap, strong = Asker("small"), Asker("big")
    for model in (cheap, strong):  # whichever is asked gives the next of these answers
        model.replies = answers
        model.requests = cheap.requests
    stage.agent.chain = stage.chain(cheap)
    stage.agent.chain._tiers["strong"] = [strong]
    stage.agent.confident = lambda: confident
    stage.play()
    return [event.tier for event in stage.events(ModelAsked)]


def test_the_first_turns_are_for_the_cheap_model_and_so_are_clear_cases(tmp_path):
    answers = [look(), note("H1"), look(), HAND_OVER]
    assert asked(tmp_path, *answers) == ["cheap"] * 4


def test_the_strong_one_is_asked_where_two_causes_compete(tmp_path):
    answers = [note("H1"), note("H2"), look(), note("H2", "ruled out"), HAND_OVER]
    assert asked(tmp_path, *answers) == ["cheap", "cheap", "strong", "strong", "cheap"]


def test_the_strong_one_is_asked_where_the_expert_knows_no_cause(tmp_path):
    answers = [look(), look(), look(), HAND_OVER]
    assert asked(tmp_path, *answers, confident=False) == ["cheap", "cheap", "strong", "strong"]
