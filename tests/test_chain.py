"""Who is asked next, what that costs, and what happens when nobody answers."""

import threading
from dataclasses import replace

import pytest
from askers import CHEAP, Asker, down, look, text

from smoldebug.clock import FakeClock
from smoldebug.conversation import Called, Message
from smoldebug.errors import LimitReached
from smoldebug.events import (
    AnyEvent,
    ModelAnswered,
    ModelAsked,
    ModelHeard,
    ModelSwitched,
    Note,
)
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import Answer, ModelFailed, Tokens
from smoldebug.model.budget import Budget
from smoldebug.model.cache import Memory, ResponseCache
from smoldebug.model.call import Question, Shared
from smoldebug.model.chain import Chain
from smoldebug.model.health import Health
from smoldebug.model.pace import Pace
from smoldebug.playbook.models import Limits
from smoldebug.playbook.settings import Budgets
from smoldebug.toolset import Cancelled

PROMPT = (Message("system", "be brief"), Message("user", "the goal is not met"))


class Played:
    """A chain over fakes, and what it told while it was asked."""

    def __init__(self, tmp_path, *models, strong=(), limits=None, mask=str, cache=False) -> None:
        self.clock = FakeClock()
        self.accounts = Accounts(tmp_path / "models.db", self.clock)
        self.expert = Asker("expert", look("expert"))
        shared = Shared(
            Budget(limits or Limits(), Budgets(), self.accounts, "run1", "me"),
            Pace(self.accounts),
            Health(self.accounts),
            ResponseCache(Memory(self.clock) if cache else None, mask),
        )
        strong = strong or models
        self.chain = Chain(models, strong, self.expert, shared, self.clock, mask)
        self.events: list[AnyEvent] = []

    def ask(self, turn: int = 1, tier: str = "", **more) -> Answer:
        return self.run(self.chain.ask(Question(turn, lambda model: PROMPT, tier=tier, **more)))

    def words(self) -> str:
        return self.run(self.chain.words(Question(1, lambda model: PROMPT)))

    def run(self, asking):
        try:
            while True:
                self.events.append(next(asking))
        except StopIteration as done:
            return done.value

    def of(self, kind) -> list:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def play(tmp_path):
    made = []

    def playing(*models, **more) -> Played:
        made.append(Played(tmp_path, *models, **more))
        return made[-1]

    yield playing
    for played in made:
        played.accounts.close()


def at(answer: Answer) -> str:
    """What the answer's call looks at: each model of these tests looks at something else."""
    return answer.calls[0].arguments["at"]


# --- fallback ---------------------------------------------------------------------------------


def test_the_first_model_is_asked_as_long_as_it_answers(play):
    first, second = Asker("a", look("a")), Asker("b", look("b"))
    played = play(first, second)
    assert [at(played.ask(turn)) for turn in (1, 2)] == ["a", "a"]
    assert not second.requests
    assert not played.of(ModelSwitched)


def test_a_model_that_fails_is_replaced_by_the_next_one_and_that_is_told(play):
    played = play(Asker("a", down("503: overloaded")), Asker("b", look("b")))
    assert at(played.ask()) == "b"
    assert played.of(ModelSwitched) == [ModelSwitched(1, "a", "b", "503: overloaded")]
    assert [each.error for each in played.of(ModelAnswered)] == ["503: overloaded", ""]


def test_the_expert_is_the_last_of_every_chain(play):
    played = play(Asker("a", down()), Asker("b", down()))
    assert at(played.ask()) == "expert"
    assert [each.to for each in played.of(ModelSwitched)] == ["b", "expert"]


def test_the_expert_is_asked_without_a_record_since_nothing_leaves_the_machine(play):
    played = play()
    assert at(played.ask()) == "expert"
    assert played.events == []
    assert played.chain.names() == ("expert",)


def test_a_model_that_failed_is_left_alone_for_a_while_and_then_tried_again(play):
    first = Asker("a", down(), look("a"))
    played = play(first, Asker("b", look("b")))
    assert at(played.ask(1)) == "b"
    played.clock.sleep(30)
    assert at(played.ask(2)) == "b"
    assert len(first.requests) == 1
    played.clock.sleep(31)
    assert at(played.ask(3)) == "a"
    assert played.of(ModelSwitched)[-1].to == "a"


HAND_OVER = Answer("", (Called("c0", "escalate", {"reason": "not found"}),), Tokens())


def test_before_the_expert_hands_over_who_failed_for_a_moment_is_asked_once_more(play):
    first = Asker("a", down(), look("a"))
    played = play(first)
    played.expert.replies = [HAND_OVER]
    assert at(played.ask()) == "a"
    assert [each.to for each in played.of(ModelSwitched)] == ["expert", "a"]


def test_what_the_expert_notes_before_it_hands_over_is_kept(play):
    note = Called("c0", "hypothesis", {"id": "H1", "claim": "auth is slow"})
    played = play(Asker("a", down(), look("a")))
    played.expert.replies = [Answer("", (note, *HAND_OVER.calls), Tokens())]
    assert played.ask(1).calls == (note,)
    assert at(played.ask(2)) == "a"


def test_who_would_not_take_the_question_is_not_asked_it_once_more(play):
    first = Asker("a", down("400: too long", well=True))
    played = play(first)
    played.expert.replies = [HAND_OVER]
    assert played.ask() == HAND_OVER
    assert len(first.requests) == 1


def test_it_hands_over_where_that_does_not_help(play):
    first, wrong = Asker("a", down()), Asker("b", down("401", lasting=True))
    played = play(first, wrong)
    played.expert.replies = [HAND_OVER]
    assert played.ask() == HAND_OVER
    assert played.ask(2) == HAND_OVER
    assert (len(first.requests), len(wrong.requests)) == (2, 1)


def test_a_wrong_key_is_not_tried_twice_in_a_run(play):
    first = Asker("a", down("401: no such key", lasting=True), look("a"))
    played = play(first, Asker("b", look("b")))
    played.ask(1)
    played.clock.sleep(3600)
    assert at(played.ask(2)) == "b"
    assert len(first.requests) == 1


def test_a_provider_that_failed_in_other_runs_is_not_asked(play):
    for _ in range(3):
        play(Asker("a", down("502"))).ask()
    fourth = Asker("a", look("a"))
    played = play(fourth)
    assert at(played.ask()) == "expert"
    assert not fourth.requests
    (switch,) = played.of(ModelSwitched)
    assert "host of a failed before and is left alone until" in switch.why


@pytest.mark.parametrize(
    "refusal", [{"lasting": True}, {"well": True}], ids=["a wrong key", "a prompt too long"]
)
def test_what_a_provider_refuses_is_no_outage(play, refusal):
    for _ in range(5):
        play(Asker("a", down("400", **refusal))).ask()
    assert at(play(Asker("a", look("a"))).ask()) == "a"


def test_the_last_one_failing_is_a_failure(play):
    played = play(Asker("a", down("reset")))
    played.expert.replies = [RuntimeError("a bug")]
    with pytest.raises(ModelFailed, match="RuntimeError: a bug"):
        played.ask()


def test_whatever_a_model_raises_is_a_failure_of_that_model(play):
    played = play(Asker("a", ZeroDivisionError("oops")))
    assert at(played.ask()) == "expert"
    assert played.of(ModelAnswered)[0].error == "ZeroDivisionError: oops"


def test_secrets_in_a_failure_are_masked_before_it_is_told(play):
    played = play(
        Asker("a", down("bad key sk-123")), mask=lambda text: text.replace("sk-123", "[key]")
    )
    played.ask()
    assert played.of(ModelSwitched)[0].why == "bad key [key]"
    assert "sk-123" not in str(played.events)


def test_a_model_may_be_given_up_for_the_rest_of_the_run(play):
    first = Asker("a", text("hm"))
    played = play(first, Asker("b", look("b")))
    played.ask(1)
    assert played.run(played.chain.give_up(1, "nothing usable"))
    played.clock.sleep(3600)
    assert at(played.ask(2)) == "b"
    assert played.of(ModelSwitched) == [ModelSwitched(1, "a", "b", "nothing usable")]


def test_who_goes_on_after_a_model_that_was_given_up_is_of_its_tier(play):
    small, other = Asker("small", look("small")), Asker("other", look("other"))
    played = play(small, strong=[Asker("big", text("hm")), other])
    played.ask(1, "strong")
    assert played.run(played.chain.give_up(1, "nothing usable"))
    assert at(played.ask(1, "strong")) == "other"
    assert [each.to for each in played.of(ModelSwitched)] == ["other"]


def test_the_expert_is_never_given_up(play):
    played = play(Asker("a", down(), look("a")))
    assert at(played.ask()) == "expert"
    played.clock.sleep(61)
    assert not played.run(played.chain.give_up(1, "nothing usable"))
    assert played.chain.current == "expert"


# --- tiers --------------------------------------------------------------------------------------


def test_the_tier_says_who_is_asked_first_and_the_other_tier_stands_in(play):
    cheap, strong = Asker("small", look("small")), Asker("big", down())
    played = play(cheap, strong=[strong])
    assert at(played.ask(1, "cheap")) == "small"
    assert at(played.ask(2, "strong")) == "small"
    assert [each.tier for each in played.of(ModelAsked)] == ["cheap", "strong", "strong"]


def test_that_a_model_failed_once_is_told_once(play):
    small = Asker("small", down(), look("small"))
    played = play(small, strong=[Asker("big", look("big"))])
    played.ask(1, "cheap")
    played.clock.sleep(61)
    for turn in range(2, 6):
        played.ask(turn, "strong" if turn % 2 else "cheap")
    assert [each.to for each in played.of(ModelSwitched)] == ["big", "small"]


def test_any_answer_ends_the_row_of_failures_that_other_runs_hear_of(play):
    for replies in ([down()], [down()], [look()], [down()], [down()]):
        play(Asker("a", *replies)).ask()
    last = Asker("a")
    play(last).ask()
    assert len(last.requests) == 1


def test_changing_the_tier_is_no_failure(play):
    played = play(Asker("small", look("small")), strong=[Asker("big", look("big"))])
    assert [at(played.ask(n, tier)) for n, tier in ((1, "cheap"), (2, "strong"))] == [
        "small",
        "big",
    ]
    assert not played.of(ModelSwitched)


# --- money ---------------------------------------------------------------------------------------


def test_what_an_answer_costs_is_told_and_added_up(play):
    played = play(Asker("a", look(tokens=Tokens(1000, 500, 200)), price=CHEAP))
    played.ask(1)
    played.ask(2)
    told = played.of(ModelAnswered)[0]
    assert (told.tokens_in, told.tokens_out, told.cached_in) == (1000, 500, 200)
    assert told.cost == pytest.approx(0.002)
    used = played.chain.used
    assert (used.calls, used.tokens_in, used.cost) == (2, 2000, pytest.approx(0.004))


def test_a_failed_call_counts(play):
    played = play(Asker("a", down(tokens=Tokens(1000, 0)), price=CHEAP))
    played.ask()
    assert played.chain.used.calls == 1
    assert played.chain.used.cost == pytest.approx(0.001)


def test_a_call_that_could_cost_too_much_is_not_made(play):
    dear = Asker("a", look("a"), price=CHEAP, max_output=1000)
    played = play(dear, limits=Limits(cost=0.002))
    assert at(played.ask()) == "expert"
    assert not dear.requests
    assert "limits.cost" in played.of(ModelSwitched)[0].why


def test_a_cheaper_model_of_the_chain_may_still_be_asked(play):
    dear, free = Asker("a", price=CHEAP, max_output=10_000), Asker("b", look("b"))
    assert at(play(dear, free, limits=Limits(cost=0.002)).ask()) == "b"


def test_tries_that_may_be_charged_for_stay_within_the_budget_too(play):
    class Flaky(Asker):
        def ask(self, request):
            self.tries = [request.again() for _ in range(3)]
            return super().ask(request)

    model = Flaky("a", look(tokens=Tokens(200, 2000)), price=CHEAP, max_output=1000)
    played = play(model, limits=Limits(cost=0.0045))  # each at most $0.0021
    played.ask()
    assert model.tries == [True, False, False]
    assert played.chain.used.cost == pytest.approx(0.0042)


def test_the_run_stops_over_its_budget_where_the_playbook_says_so(play):
    played = play(Asker("a", price=CHEAP), limits=Limits(cost=0.001))
    played.chain.stop_over_budget = True
    with pytest.raises(LimitReached, match=r"limits\.cost"):
        played.ask()


def test_it_does_not_stop_while_somebody_cheaper_answers(play):
    dear, free = Asker("a", price=CHEAP, max_output=10_000), Asker("b", look("b"), down())
    played = play(dear, free, limits=Limits(cost=0.002))
    played.chain.stop_over_budget = True
    assert at(played.ask(1)) == "b"
    with pytest.raises(LimitReached, match=r"limits\.cost"):
        played.ask(2)  # the cheaper one is down now


def test_a_model_that_would_cost_too_much_is_not_tried_again_in_that_run(play):
    played = play(Asker("a", price=CHEAP, max_output=10_000), limits=Limits(cost=0.002))
    for turn in (1, 2):
        assert at(played.ask(turn)) == "expert"
        played.clock.sleep(61)
    assert len(played.of(ModelSwitched)) == 1


def test_calls_can_be_limited_also_of_models_that_cost_nothing(play):
    played = play(Asker("a", look("a")), limits=Limits(calls=2))
    assert [at(played.ask(turn)) for turn in (1, 2, 3)] == ["a", "a", "expert"]


def test_at_four_fifths_of_a_budget_there_is_a_warning_once(play):
    played = play(Asker("a", look("a")), limits=Limits(calls=5))
    for turn in range(1, 6):
        played.ask(turn)
    (warning,) = played.of(Note)
    assert "limits.calls: 4 of 5 calls are used" in warning.text


def test_a_server_that_cuts_the_prompt_without_a_word_is_told_about_once(play):
    model = Asker("a", look(tokens=Tokens(2048, 10)))
    model.counted = 6000
    played = play(model)
    for turn in (1, 2):
        played.ask(turn)
    (warning,) = played.of(Note)
    assert warning.text.startswith("a read 2,048 tokens of about 6,000: its context seems to be")


@pytest.mark.parametrize("tokens", [Tokens(3100, 10), Tokens(11, 7), Tokens(2048, 1, 0, True)])
def test_a_count_that_only_differs_is_no_cut(play, tokens):
    model = Asker("a", look(tokens=tokens))
    model.counted = 6000
    played = play(model)
    played.ask()
    assert not played.of(Note)


# --- time and the operator -----------------------------------------------------------------------


def test_a_model_gets_half_of_the_time_that_is_left_so_that_somebody_can_go_on(play):
    model = Asker("a")
    play(model).ask(left=12.0)
    assert model.requests[0].seconds == 6.0


@pytest.mark.parametrize(("left", "seconds"), [(0.2, 1.0), (1e9, 300.0)])
def test_no_answer_gets_less_than_a_second_or_more_than_five_minutes(play, left, seconds):
    model = Asker("a")
    play(model).ask(left=left)
    assert model.requests[0].seconds == seconds


def test_the_operator_can_cut_a_model_that_is_thinking(play):
    model, cut = Asker("a"), threading.Event()
    model.may_answer.clear()
    played = play(model)
    asking = played.chain.ask(Question(1, lambda model: PROMPT, cancel=cut))
    assert isinstance(next(asking), ModelAsked)
    cut.set()
    told = next(asking)  # it may have been read: it counts
    assert isinstance(told, ModelAnswered)
    assert (told.error, told.tokens_in, told.estimated) == ("cut", 100, True)
    with pytest.raises(Cancelled):
        next(asking)
    model.may_answer.set()
    assert played.chain.used.calls == 1


def test_what_a_model_says_is_told_while_it_is_still_thinking(play):
    model = Asker("a", look("a"))
    model.says = ["I look ", "I look at sk-1"]
    model.may_answer.clear()
    played = play(model, mask=lambda text: text.replace("sk-1", "[key]"))
    asking = played.chain.ask(Question(1, lambda model: PROMPT))
    assert isinstance(next(asking), ModelAsked)
    assert next(asking) == ModelHeard(1, "a", "I look at [key]")
    model.may_answer.set()
    played.run(asking)


def test_a_rate_limit_that_is_waited_for_is_told_and_costs_the_request_its_time(play):
    model = Asker("a", requests_per_minute=1)
    played = play(model)
    played.ask(1, left=100.0)
    played.ask(2, left=100.0)
    assert [round(request.seconds) for request in model.requests] == [50, 40]


def test_a_model_whose_turn_comes_too_late_is_well_and_the_next_one_goes_on(play):
    model = Asker("a", requests_per_minute=1)
    played = play(model, Asker("b", look("b")))
    played.ask(1)
    assert at(played.ask(2, left=10.0)) == "b"
    assert "may be asked again in 60 s" in played.of(ModelSwitched)[0].why
    assert len(played.of(ModelAsked)) == 2  # nothing was sent to the first one again


class Slow(Asker):
    """Takes its time, by the run's clock, and fails."""

    def __init__(self, name: str, seconds: float, cut: threading.Event | None = None) -> None:
        super().__init__(name, down("too slow"))
        self.seconds, self.cut = seconds, cut

    def ask(self, request):
        self.clock.sleep(self.seconds)
        if self.cut:
            self.cut.set()
        return super().ask(request)


def test_what_one_model_took_the_next_one_has_no_more(play):
    first, second, third = Slow("a", 8.0), Slow("b", 2.0), Asker("c")
    played = play(first, second, third)
    first.clock = second.clock = played.clock
    assert at(played.ask(left=10.0)) == "expert"
    assert [each.requests[0].seconds for each in (first, second)] == [5.0, 1.0]
    assert not third.requests  # no time is left to hear what would have to be paid for


def test_a_question_that_is_called_off_is_no_failure_of_the_model(play):
    cut = threading.Event()
    first, second = Slow("a", 0.0, cut), Asker("b")
    played = play(first, second)
    first.clock = played.clock
    with pytest.raises(Cancelled):
        played.ask(cancel=cut)
    assert not second.requests
    assert not played.of(ModelSwitched)


# --- the record ----------------------------------------------------------------------------------


def test_only_what_a_model_was_not_sent_before_is_recorded(play):
    played = play(Asker("a"), Asker("b"))
    played.ask(1)
    longer = (*PROMPT, Message("user", "and now?"))
    played.run(played.chain.ask(Question(2, lambda model: longer)))
    first, second = played.of(ModelAsked)
    assert [message["text"] for message in first.messages] == ["be brief", "the goal is not met"]
    assert [message["text"] for message in second.messages] == ["and now?"]


def test_the_same_prompt_is_answered_from_the_cache_for_nothing(play):
    model = Asker("a", text("it is the same"), price=CHEAP)
    played = play(model, cache=True)
    assert [played.ask(turn).text for turn in (1, 2)] == ["it is the same"] * 2
    assert len(model.requests) == 1
    assert [(each.cached, each.cost > 0) for each in played.of(ModelAnswered)] == [
        (False, True),
        (True, False),
    ]


# --- words ---------------------------------------------------------------------------------------


def test_words_come_from_the_first_model(play):
    assert play(Asker("a", text("All get the flag."))).words() == "All get the flag."


def test_words_of_a_model_that_fails_are_none_and_nobody_else_is_asked(play):
    second = Asker("b", text("me"))
    played = play(Asker("a", down("503")), second)
    assert played.words() == ""
    assert not second.requests
    assert "model a wrote nothing: 503" in played.of(Note)[0].text


def test_words_are_waited_for_a_minute_at_most_and_not_at_all_where_they_are_called_off(play):
    model, cut = Slow("a", 0.0), threading.Event()
    played = play(model)
    model.clock, model.replies = played.clock, [text("hm")]
    assert played.words() == "hm"
    assert model.requests[0].seconds == 60.0
    cut.set()
    assert played.run(played.chain.words(Question(1, lambda model: PROMPT, cancel=cut))) == ""


def test_a_model_that_just_failed_is_not_asked_for_words(play):
    model = Asker("a", down())
    played = play(model)
    played.ask()
    assert played.words() == ""
    assert len(model.requests) == 1


def test_no_secret_comes_back_in_words(play):
    played = play(Asker("a", text("it is sk-1")), mask=lambda text: text.replace("sk-1", "[key]"))
    assert played.words() == "it is [key]"


def test_an_endpoint_is_told_without_a_key_in_it(play):
    model = Asker("a")
    model.endpoint = "https://llm.example/v1?key=sk-1"
    played = play(model, mask=lambda text: text.replace("sk-1", "[key]"))
    played.ask()
    assert played.of(ModelAsked)[0].endpoint == "https://llm.example/v1?key=[key]"


def test_the_expert_has_no_words(play):
    played = play()
    assert played.words() == ""
    assert not played.expert.requests


def test_a_question_can_be_asked_anew(play):
    played = play(Asker("a"))
    question = Question(1, lambda model: PROMPT)
    played.run(played.chain.ask(question))
    assert at(played.run(played.chain.ask(replace(question, turn=2)))) == "auth"
