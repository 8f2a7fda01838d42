"""What a model reads of a run: the same beginning every time, a bounded length, nothing lost."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.conversation import OBSERVATION, WINDOW, Called, Conversation, Message, tokens


def size(text: str) -> int:
    return len(text) // 3 + 1


def talk(mask=lambda text: text, notes=lambda: "") -> Conversation:
    conversation = Conversation("You debug.", mask, size, notes)
    conversation.say("Goal: checkout answers 200.")
    return conversation


def look(conversation: Conversation, turn: int, *texts: str, told: str = "goal: not met") -> None:
    """A turn that reads something with each call; its evidence is E10, E11, ... in turn 1."""
    calls = [Called(f"t{turn}c{n}", "fetch_logs", {"at": f"pod-{turn}"}) for n in range(len(texts))]
    conversation.turn(f"Turn {turn}.", calls)
    for number, text in enumerate(texts):
        conversation.answered(f"t{turn}c{number}", text, f"E{turn * 10 + number}")
    conversation.tell(told)


def roles(messages: list[Message]) -> list[str]:
    return [message.role for message in messages]


def total(messages: list[Message]) -> int:
    return sum(tokens(message, size) for message in messages)


def test_system_task_and_every_turn_in_order():
    conversation = talk()
    look(conversation, 1, "45 lines", "2 pods")
    messages = conversation.messages()
    assert roles(messages) == ["system", "user", "assistant", "tool", "tool", "user"]
    assert messages[1].text == "Goal: checkout answers 200."
    assert messages[2].calls[0] == Called("t1c0", "fetch_logs", {"at": "pod-1"})
    assert [(m.text, m.answers) for m in messages[3:5]] == [
        ("[E10] 45 lines", "t1c0"),
        ("[E11] 2 pods", "t1c1"),
    ]
    assert messages[5].text == "goal: not met"


def test_a_model_that_could_read_more_is_sent_no_more():
    conversation = talk()
    for turn in range(1, 40):
        look(conversation, turn, f"line {turn}\n" * 200)
    assert conversation.messages(1_000_000) == conversation.messages()
    assert total(conversation.messages(1_000_000)) <= WINDOW


def test_a_request_begins_as_the_one_before_did():
    conversation, before = talk(), []
    for turn in range(1, 20):
        look(conversation, turn, f"line {turn}\n" * 50)
        now = conversation.messages()
        assert now[: len(before)] == before
        before = now


def test_when_it_does_not_fit_half_of_the_room_is_made_free_at_once():
    conversation, moves, before = talk(), 0, []
    for turn in range(1, 101):
        look(conversation, turn, f"line {turn}\n" * 50)
        now = conversation.messages(6000)
        assert total(now) <= 6000
        moves += now[: len(before)] != before
        before = now
    assert 5 <= moves <= 15


def test_what_is_left_out_is_a_line_with_its_evidence_and_the_notes():
    conversation = talk(notes=lambda: "H1 testing: the pool is exhausted (E10 'pool 20/20')")
    for turn in range(1, 30):
        look(conversation, turn, f"{turn} lines in 3 shapes\n" + "line\n" * 300)
    opening = conversation.messages(6000)[1].text
    assert opening.startswith("Goal: checkout answers 200.")
    assert '[E200] 20 lines in 3 shapes <- fetch_logs {"at": "pod-20"}' in opening
    assert "H1 testing: the pool is exhausted (E10 'pool 20/20')" in opening


def test_a_long_observation_is_shortened_and_says_how_to_read_on():
    conversation = talk()
    lines = "\n".join(f"line {number}" for number in range(2000))
    look(conversation, 1, lines)
    [shown] = [m.text for m in conversation.messages() if m.role == "tool"]
    assert len(shown) < OBSERVATION + 200
    assert shown.startswith("[E10] line 0\n")
    assert shown.endswith("line 1999")
    start = int(shown.partition("start=")[2].partition(")")[0])
    assert shown.partition("\n... [")[0] == f"[E10] {lines[:start]}"
    assert 'read_on(evidence="E10", start=' in shown


def test_many_calls_of_one_turn_share_the_room():
    conversation = talk()
    look(conversation, 1, *["line\n" * 1000] * 12)
    assert total(conversation.messages()) < 6000


def test_a_model_with_little_room_gets_a_shorter_last_turn():
    conversation = talk()
    look(conversation, 1, "line\n" * 1000, "line\n" * 1000)
    assert total(conversation.messages()) > 2000
    assert total(conversation.messages(1000)) <= 1000
    assert total(conversation.messages()) > 2000  # another model is not made to suffer for it


def test_a_call_that_nothing_answered_has_an_answer_all_the_same():
    conversation = talk()
    conversation.turn("", [Called("t1c0", "scale", {})])
    assert conversation.messages()[-1] == Message("tool", "NOT executed.", answers="t1c0")


def test_an_answer_without_a_usable_call_is_shown_with_what_was_wrong():
    conversation = talk()
    conversation.turn("I am done.", ())
    conversation.tell("Call a tool.")
    conversation.turn("", ())  # a provider that sends nothing
    conversation.tell("Call a tool.")
    messages = conversation.messages()
    assert roles(messages) == ["system", "user", "assistant", "user"]
    assert messages[2].text == "I am done."


def test_every_text_is_masked_once():
    seen = []

    def mask(text: str) -> str:
        seen.append(text)
        return text.replace("hunter2", "***")

    conversation = talk(mask, notes=lambda: "hunter2")
    for turn in range(1, 40):
        look(conversation, turn, f"{turn} password hunter2\n" + "line\n" * 500)
        conversation.turn("hunter2", [Called("x", "set_env", {"value": ["hunter2"]})])
        conversation.messages(6000)
    assert "hunter2" not in str(conversation.messages(6000))
    given = [text for text in seen if text.startswith("7 password")]
    assert len(given) == 1


@pytest.mark.parametrize("name", ["", "é'); drop", "x" * 500, "a b\n"])
def test_a_name_of_a_tool_is_one_that_every_provider_takes(name):
    conversation = talk()
    conversation.turn("", [Called("t1c0", name, "no JSON")])
    call = conversation.messages()[-2].calls[0]
    assert len(call.name) <= 64
    assert call.name.isascii()
    assert call.name.replace("_", "a").replace("-", "a").isalnum()


def test_huge_arguments_are_not_sent_again():
    conversation = talk()
    conversation.turn("", [Called("t1c0", "set_env", {"value": "x" * 100_000})])
    assert total(conversation.messages()) < 300


def test_a_thousand_turns_stay_fast():
    conversation, began = talk(), time.process_time()
    for turn in range(1000):
        look(conversation, turn, f"{turn} line\n" * 40)
        conversation.messages()
    assert time.process_time() - began < 2.0


texts = st.text(max_size=400) | st.integers(0, 9000).map(lambda n: "line 1\n" * (n // 7))


@given(
    st.lists(st.lists(texts, max_size=5), max_size=30),
    st.integers(1, 2 * WINDOW),
)
def test_calls_and_answers_stay_together_and_the_room_is_kept(turns, room):
    conversation, asked = talk(notes=lambda: "H1 open: something" * 20), []
    for turn, observations in enumerate(turns, start=1):
        look(conversation, turn, *observations)
        asked = conversation.messages(room)
        assert asked == conversation.messages(room)
    for before, message in zip(asked, asked[1:], strict=False):
        assert not before.role == message.role == "user"
    called = [call.id for message in asked for call in message.calls]
    assert called == [message.answers for message in asked if message.role == "tool"]
    if room > 4000:
        assert total(asked) <= room
