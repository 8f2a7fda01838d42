"""The same prompt at temperature 0 is not asked twice; what is kept is whole, and fits."""

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from askers import Asker, text
from askers import look as look_at
from crews import Stage
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.clock import FakeClock
from smoldebug.conversation import Called, Message
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import FREE, Answer, Request, Tokens
from smoldebug.model.budget import Budget
from smoldebug.model.cache import AGE, LARGEST, Memory, ResponseCache, key, response_cache
from smoldebug.model.call import Shared
from smoldebug.model.chain import Chain
from smoldebug.model.described import Described
from smoldebug.model.health import Health
from smoldebug.model.pace import Pace
from smoldebug.playbook.models import Limits
from smoldebug.playbook.settings import Budgets, Cache, ModelSettings
from smoldebug.records import Effect, Observation
from smoldebug.redact import Redactor
from smoldebug.toolset import describe
from smoldebug.untrusted import plain

SECRET = "hunter2-4711-xyz"


def look(at: str, deep: bool = False) -> Observation:
    """Look at something.

    Args:
        at: What to look at.
        deep: Whether to look twice.
    """
    return Observation(at)


LOOK = Described(describe(look, Effect.READ))


@dataclass
class Model:
    name: str = "openai/x"
    endpoint: str = "http://127.0.0.1:1/v1"
    provider: str = "openai at 127.0.0.1:1"
    settings: ModelSettings = ModelSettings()
    price: Any = FREE

    def count(self, request: Request) -> int:
        return 1

    def ask(self, request: Request) -> Answer:
        raise NotImplementedError


@dataclass
class Shelf:
    """A store that shows all that was ever given to it."""

    kept: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0
    closed: int = 0

    def get(self, key: str) -> bytes | None:
        self.asked += 1
        return self.kept.get(key)

    def put(self, key: str, value: bytes, seconds: float) -> None:
        self.kept[key] = value

    def close(self) -> None:
        self.closed += 1


MODEL = Model()
QUESTION = Request((Message("system", "be brief"), Message("user", "what is wrong?")), (LOOK,))
TOKENS = Tokens(100, 10)


def called(*arguments: Any, name: str = "look", finish: str = "tool_calls") -> Answer:
    calls = tuple(Called(f"x{number}", name, given) for number, given in enumerate(arguments))
    return Answer("let me look", calls, TOKENS, finish)


GOOD = called({"at": "auth"})


def cache(store: Any = None, redactor: Redactor | None = None) -> ResponseCache:
    return ResponseCache(store or Memory(FakeClock()), (redactor or Redactor()).text)


def test_the_same_question_is_answered_again_and_took_no_tokens():
    kept = cache()
    assert kept.get(MODEL, QUESTION) is None
    kept.put(MODEL, QUESTION, GOOD)
    again = kept.get(MODEL, QUESTION)
    assert again == Answer(
        "let me look", (Called("c0", "look", {"at": "auth"}),), Tokens(), "tool_calls"
    )


def test_words_are_kept_where_no_tools_were_offered():
    kept, question = cache(), replace(QUESTION, tools=())
    kept.put(MODEL, question, Answer("it is the disk", (), TOKENS, "stop"))
    found = kept.get(MODEL, question)
    assert found is not None
    assert found.text == "it is the disk"


def other(**changes: Any) -> Model:
    return Model(settings=msgspec.structs.replace(MODEL.settings, **changes))


@pytest.mark.parametrize(
    ("model", "question"),
    [
        (Model(name="openai/y"), QUESTION),
        (Model(endpoint="http://127.0.0.1:2/v1"), QUESTION),
        (Model(provider="another at 127.0.0.1:1"), QUESTION),
        (other(model="openai/z"), QUESTION),
        (other(max_output=4096), QUESTION),
        (other(tools="text"), QUESTION),
        (MODEL, replace(QUESTION, tools=())),
        (MODEL, replace(QUESTION, messages=QUESTION.messages[:1])),
        (MODEL, replace(QUESTION, messages=QUESTION.messages[::-1])),
        (MODEL, replace(QUESTION, messages=(*QUESTION.messages, Message("user", "go on")))),
    ],
)
def test_another_model_setting_tool_or_message_is_another_question(model, question):
    assert key(model, question) != key(MODEL, QUESTION)


def test_calls_and_what_they_answer_are_part_of_the_question():
    call = Message("assistant", "", (Called("t1c0", "look", {"at": "auth"}),))
    elsewhere = Message("assistant", "", (Called("t1c0", "look", {"at": "db"}),))
    answered = Message("tool", "busy", answers="t1c0")
    keys = {
        key(MODEL, Request((*QUESTION.messages, *more), (LOOK,)))
        for more in ((), (call,), (elsewhere,), (call, answered), (elsewhere, answered))
    }
    assert len(keys) == 5


def test_what_is_no_part_of_the_prompt_is_no_part_of_the_question():
    waits = replace(QUESTION, seconds=1.0, cancel=threading.Event(), heard=print)
    assert key(MODEL, waits) == key(MODEL, QUESTION)


@pytest.mark.parametrize("model", [other(temperature=0.7), Model(provider="")])
def test_a_model_that_varies_or_runs_here_is_neither_kept_nor_looked_up(model):
    shelf = Shelf()
    kept = cache(shelf)
    kept.put(model, QUESTION, GOOD)
    assert kept.get(model, QUESTION) is None
    assert (shelf.kept, shelf.asked) == ({}, 0)


@pytest.mark.parametrize(
    "answer",
    [
        called({"at": "auth"}, finish="length"),
        called({"at": "auth"}, finish="content_filter"),
        called({"at": 3}),
        called({"at": "auth"}, {}),  # one that fits does not save the other
        called({"at": "auth", "and": "more"}),
        called({"at": "auth", "deep": float("nan")}),
        called({"at": "\ud800"}),
        called('{"at": "auth"}'),
        called('{"at": "au'),
        called(None),
        called({"at": "auth"}, name="delete_everything"),
        called({"at": "auth"}, name="final_answer"),
        called({"at": "x" * (LARGEST + 1)}),
        called(),
        Answer("", (), TOKENS, "stop"),
        Answer("I would look at auth", (), TOKENS, "stop"),
    ],
)
def test_what_would_be_mended_or_is_not_whole_is_asked_again(answer):
    shelf = Shelf()
    cache(shelf).put(MODEL, QUESTION, answer)
    assert not shelf.kept


def test_silence_half_a_sentence_and_calls_that_nobody_offered_are_no_words():
    shelf, words = Shelf(), replace(QUESTION, tools=())
    half = Answer("it is", (), TOKENS, "disconnected", problem="the provider cut the answer off")
    for answer in (Answer(" \n", (), TOKENS), GOOD, half):
        cache(shelf).put(MODEL, words, answer)
    assert not shelf.kept


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_of_a_model_is_too_odd_to_be_kept(text, finish):
    kept = cache()
    kept.put(MODEL, QUESTION, replace(GOOD, text=text, finish=finish))
    found = kept.get(MODEL, QUESTION)
    cut = plain(finish) in ("length", "content_filter")
    assert (found is None) is cut


# --- secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        replace(GOOD, text=f"the password is {SECRET}"),
        called({"at": SECRET}),
        called({"at": "postgres://app:s3cr3t-pw@db/shop"}),
    ],
)
def test_an_answer_that_holds_a_secret_is_not_kept(answer):
    shelf = Shelf()
    kept = cache(shelf, Redactor([SECRET]))
    kept.put(MODEL, QUESTION, answer)
    assert not shelf.kept


def test_a_store_sees_neither_the_question_nor_a_secret():
    redactor, shelf = Redactor([SECRET]), Shelf()
    masked = redactor.text(f"DB_PASSWORD={SECRET}")
    question = replace(QUESTION, messages=(Message("user", f"the log says: {masked}"),))
    kept = cache(shelf, redactor)
    kept.get(MODEL, question)
    kept.put(MODEL, question, GOOD)
    ((name, value),) = shelf.kept.items()
    assert name == key(MODEL, question)
    assert len(name) == 64
    for word in (SECRET.encode(), b"the log says", masked.encode()):
        assert word not in value


def test_what_a_run_asks_and_keeps_holds_no_secret(tmp_path):
    """The messages are the material of the keys, and a tool has seen a password."""
    leaked = look_at(f"DB_PASSWORD={SECRET}")
    asked, shelf = Asker("x", leaked, look_at("auth"), text("nothing more to say")), Shelf()
    stage = Stage([], tmp_path)
    mask = stage.agent.toolset.redactor.text
    with Accounts(tmp_path / "models.db", stage.clock) as accounts:
        budget = Budget(Limits(), Budgets(), accounts, "run1", "me")
        kept = ResponseCache(shelf, mask)
        shared = Shared(budget, Pace(accounts), Health(accounts), kept)
        expert = Asker("expert", Answer("", (Called("", "escalate", {"reason": "x"}),), Tokens()))
        stage.agent.chain = Chain([asked], [asked], expert, shared, stage.clock, mask)
        stage.play()
    assert SECRET in "".join(stage.ran)
    assert len(asked.requests) > 2
    assert SECRET not in str([request.messages for request in asked.requests])
    assert b"auth" in b"".join(shelf.kept.values())
    assert SECRET.encode() not in b"".join(shelf.kept.values())


# --- a store --------------------------------------------------------------------------------


def test_an_answer_is_kept_for_an_hour():
    clock = FakeClock()
    kept = cache(Memory(clock))
    kept.put(MODEL, QUESTION, GOOD)
    clock.sleep(AGE - 1)
    assert kept.get(MODEL, QUESTION) is not None
    clock.sleep(1)
    assert kept.get(MODEL, QUESTION) is None


def test_a_full_memory_lets_go_of_what_was_not_wanted_for_the_longest_time():
    memory = Memory(FakeClock(), limit=10)
    for name in ("a", "b", "c"):
        memory.put(name, b"xxx", 60)
    assert memory.get("a") == b"xxx"
    memory.put("d", b"xxx", 60)
    assert [name for name in "abcd" if memory.get(name)] == ["a", "c", "d"]
    memory.put("e", b"x" * 11, 60)
    assert not any(map(memory.get, "abcde"))


def test_what_is_put_again_counts_once():
    memory = Memory(FakeClock(), limit=10)
    for _ in range(5):
        memory.put("a", b"xxxxx", 60)
    memory.put("b", b"xxxxx", 60)
    assert memory.get("a")
    assert memory.get("b")


@given(st.binary(max_size=200))
def test_what_a_store_makes_up_is_a_miss(value):
    shelf = Shelf({key(MODEL, QUESTION): value})
    kept = cache(shelf)
    assert kept.get(MODEL, QUESTION) is None
    assert kept.warning() == ""


@pytest.mark.parametrize(
    "value",
    [
        b'{"format":2,"text":"","calls":[["look",{"at":"auth"}]],"finish":""}',
        b'{"format":1,"text":"","calls":[["look",{"at":1}]],"finish":""}',
        b'{"format":1,"text":"","calls":[["drop",{"at":"auth"}]],"finish":""}',
        b'{"format":1,"text":"","calls":[["look",{"at":"auth"}]],"finish":"length"}',
        b'{"format":1,"text":"","calls":[["look",{"at":"auth"}]],"finish":"","more":1}',
        b'{"format":1,"text":"yes","calls":[],"finish":""}',
        b'{"format":1,"text":' + b"[" * 100_000,
        b"\x80\x04\x95.",  # a pickle
        b" " * LARGEST + b'{"format":1,"text":"","calls":[["look",{"at":"auth"}]],"finish":""}',
    ],
)
def test_what_a_store_returns_is_checked_like_what_a_model_says(value):
    assert cache(Shelf({key(MODEL, QUESTION): value})).get(MODEL, QUESTION) is None


def test_what_a_store_returns_is_made_plain():
    value = (
        '{"format":1,"text":"\\u001b[31mred","calls":[["look",{"at":"auth"}]],"finish":"\\u0007"}'
    )
    found = cache(Shelf({key(MODEL, QUESTION): value.encode()})).get(MODEL, QUESTION)
    assert found is not None
    assert (found.text, found.finish) == ("red", "")


class Broken(Shelf):
    def get(self, key: str) -> bytes | None:
        self.asked += 1
        raise RecursionError(f"\x1b[31mno luck with {SECRET}")


def test_a_store_that_fails_is_a_miss_told_once_and_asked_no_more():
    broken = Broken()
    kept = cache(broken, Redactor([SECRET]))
    for _ in range(3):
        assert kept.get(MODEL, QUESTION) is None
        kept.put(MODEL, QUESTION, GOOD)
    assert (broken.asked, broken.closed, broken.kept) == (1, 1, {})
    told = kept.warning()
    assert told.startswith("the response cache is not used any more in this run: no luck with [s")
    assert kept.warning() == ""


class Slow(Shelf):
    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def get(self, key: str) -> bytes | None:
        self.asked += 1
        self.let_go.wait(30)
        return None

    def close(self) -> None:
        self.let_go.set()


def test_a_store_that_hangs_costs_a_run_half_a_second():
    slow, began = Slow(), time.monotonic()
    kept = cache(slow)
    for _ in range(10):
        kept.get(MODEL, QUESTION)
    assert time.monotonic() - began < 0.9
    assert slow.asked == 1
    assert kept.warning().endswith("no answer within 0.5 s")


def test_without_a_store_nothing_is_kept():
    off = response_cache(Cache(responses=False), FakeClock(), str)
    off.put(MODEL, QUESTION, GOOD)
    assert off.get(MODEL, QUESTION) is None
    by_default = response_cache(Cache(), FakeClock(), str)
    by_default.put(MODEL, QUESTION, GOOD)
    assert by_default.get(MODEL, QUESTION) is not None
