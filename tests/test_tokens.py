"""What a request will take to read is known beforehand: rather too much than too little."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.conversation import Called, Message
from smoldebug.model.described import Described
from smoldebug.model.tokens import count, estimate
from smoldebug.records import Effect
from smoldebug.toolset import describe

LOG = (
    '{"level":"error","ts":"2026-11-20T12:00:41.206Z","caller":"gateway/client.go:77",'
    '"msg":"pool exhausted (20/20)","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",'
    '"latency_ms":241}\n'
) * 4
TRACE = (
    "panic: runtime error: invalid memory address or nil pointer dereference\n"
    "[signal SIGSEGV: segmentation violation code=0x1 addr=0x18 pc=0x6d1f3a]\n\n"
    "goroutine 41 [running]:\n"
    "main.(*Server).handleCheckout(0xc0001a2000, {0x1d2e3f, 0xc00001c0a0}, 0x8?)\n"
    "\t/src/checkout/server.go:88 +0x4c\n"
    "net/http.(*conn).serve(0xc0000b0000, {0x8a1b2c, 0xc00009e000})\n"
    "\t/usr/local/go/src/net/http/server.go:2109 +0x5d3\n"
)
TABLE = (
    "NAME                    READY   STATUS             RESTARTS      AGE\n"
    "auth-7d9f8b6c5-x2x4z    0/1     CrashLoopBackOff   12 (41s ago)  3d4h\n"
    "checkout-6b7f9d5c4-9tq2w  1/1   Running            0             18h\n"
)
WORDS = (
    "An upgrade broke its goal and was taken back. Code has found who is to blame; say in at most "
    "five plain sentences why it failed and what to look at before the next try. "
)
CHINESE = "数据库连接池已耗尽，请检查连接池的大小以及并发请求的数量。"


# Counted with the tokenizers of GPT (o200k), Llama 3, Claude 2 and DeepSeek; of Qwen and Mistral
# (Tekken): the most that one of them takes.
@pytest.mark.parametrize(
    ("text", "threes", "singles"),
    [(LOG, 304, 384), (TRACE, 166, 178), (TABLE, 86, 90), (WORDS, 39, 39), (CHINESE, 25, 31)],
    ids=["log", "trace", "table", "words", "chinese"],
)
def test_no_tokenizer_needs_more_and_none_much_less(text, threes, singles):
    assert threes <= estimate(text, "openai/gpt-oss-20b") <= 1.6 * threes
    assert singles <= estimate(text, "ollama/qwen3:8b") <= 1.5 * singles


def test_a_model_of_which_nothing_is_known_is_expected_to_read_digits_one_by_one():
    assert estimate("12345678") == estimate("12345678", "qwen3") > estimate("12345678", "gpt-5")


def look(target: str, lines: int = 200) -> str:
    """Look at something.

    Args:
        target: What to look at.
        lines: How much of it.
    """
    return target


def test_tools_calls_and_answers_count_too():
    asked = [Message("user", "Goal: checkout answers 200.")]
    bare = count(asked)
    assert count(asked, [Described(describe(look, Effect.READ))]) > bare + 40
    call = Message("assistant", "", (Called("t1c0", "look", {"target": "deployment/auth"}),))
    assert count([*asked, call]) > bare + 10
    assert count([*asked, call, Message("tool", LOG, answers="t1c0")]) > bare + 400


@given(st.text(), st.text())
def test_a_longer_text_never_takes_less(text, more):
    assert 0 <= estimate(text) <= estimate(f"{text}\n{more}") + 1


def test_no_text_is_nearly_free():
    """One character over and over is few tokens, but not none."""
    for character in "a =-\n\x00é":
        assert estimate(character * 16_000) >= 1000


def test_a_large_history_is_counted_in_no_time():
    asked = [Message("user", f"{number}\n{LOG}") for number in range(100)]
    count(asked)
    began = time.process_time()
    count(asked)
    assert time.process_time() - began < 0.05
