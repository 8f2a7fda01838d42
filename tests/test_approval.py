"""Asking the operator: what each answer means, and that silence is a no."""

import os
import pty
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from io import StringIO

import pytest

from smoldebug.cli.approval import approver, terminal
from smoldebug.clock import FakeClock
from smoldebug.records import Answer, Card, Change, ChangeKind, ObjectRef

AUTH = ObjectRef("Deployment", "shop", "auth")
CHANGE = Change(ChangeKind.SCALE, AUTH, {"/spec/replicas": 1}, {"/spec/replicas": 2}, "why",
                evidence=("E4",))  # fmt: skip
CARD = Card("C1", CHANGE, "-1\n+2", "accepted", "kubectl ...", "1 of 2", "lab", "d1")


class Recording:
    """A view that remembers what it was asked to show."""

    def __init__(self) -> None:
        self.shown: list[Sequence[str]] = []

    def paused(self):
        return nullcontext()

    def evidence(self, ids: Sequence[str]) -> None:
        self.shown.append(ids)


def typing(*lines: str | None):
    """A keyboard on which these lines are typed, then nothing for ever."""
    left = list(lines)
    return lambda seconds: left.pop(0) if left else None


def ask(*lines: str | None, view: Recording | None = None):
    return approver(view or Recording(), yes=False, read=typing(*lines))(CARD)


@pytest.mark.parametrize("typed", ["y\n", "Y\n", "yes\n", " y \n", "Yes\r\n"])
def test_yes_applies(typed):
    assert ask(typed).answer is Answer.YES


@pytest.mark.parametrize("typed", ["yikes\n", "you sure?\n", "yy\n", "yes but\n", "\n", "ja\n"])
def test_nothing_but_yes_is_a_yes(typed, capsys):
    assert ask(typed).answer is Answer.NO, "it is asked again, and then there is silence"
    assert "apply exactly the change shown" in capsys.readouterr().err


def test_no_asks_for_the_reason():
    decision = ask("n\n", "wait for the DBA\n")
    assert (decision.answer, decision.reason) == (Answer.NO, "wait for the DBA")


@pytest.mark.parametrize("silence", [None, "", "\n"])
def test_a_no_without_a_reason_is_still_a_no(silence):
    assert ask("no\n", silence).reason == ""
    assert ask("no\n", silence).answer is Answer.NO


def test_every_question_waits_the_same_five_minutes():
    waited: list[float] = []
    left = ["e\n", "?\n", "n\n", "why\n"]
    approver(Recording(), yes=False, read=lambda s: (waited.append(s), left.pop(0))[1])(CARD)
    assert waited == [300.0] * 4


def test_every_question_says_when_silence_becomes_a_no(capsys):
    clock = FakeClock(datetime(2026, 11, 20, 15, 2, 48, tzinfo=UTC))
    left = ["?\n", "y\n"]

    def read(_: float) -> str:
        clock.sleep(61)
        return left.pop(0)

    approver(Recording(), yes=False, read=read, clock=clock)(CARD)
    said = [line for line in capsys.readouterr().err.splitlines() if "is a no" in line]
    assert said == [
        "C1 scale Deployment/shop/auth: no answer until 15:07:48 UTC (5m) is a no",
        "C1 scale Deployment/shop/auth: no answer until 15:08:49 UTC (5m) is a no",
    ]


def test_the_screen_stands_still_while_it_is_asked():
    states: list[bool] = []

    class Drawing(Recording):
        still = False

        @contextmanager
        def paused(self):
            self.still = True
            yield
            self.still = False

    view = Drawing()
    approver(view, yes=False, read=lambda _: (states.append(view.still), "n\n")[1])(CARD)
    assert states == [True, True]
    assert not view.still


@pytest.mark.parametrize("typed", [None, ""])
def test_silence_and_a_closed_terminal_are_a_no(typed):
    assert ask(typed).answer is Answer.NO


def test_the_evidence_is_shown_and_the_question_asked_again():
    view = Recording()
    assert ask("e\n", "y\n", view=view).answer is Answer.YES
    assert view.shown == [("E4",)]


def test_anything_else_explains_the_answers(capsys):
    assert ask("what?\n", "y\n").answer is Answer.YES
    assert "apply exactly the change shown" in capsys.readouterr().err


def test_suggest_only_refuses_this_change_and_every_later_one():
    asked = approver(Recording(), yes=False, read=typing("s\n"))
    assert [asked(CARD).answer, asked(CARD).answer] == [Answer.NO, Answer.NO]


def test_minus_y_answers_and_says_that_it_did():
    decision = approver(Recording(), yes=True, read=None)(CARD)
    assert (decision.answer, decision.reason) == (Answer.YES, "-y")


def test_without_anybody_to_ask_it_stays_open():
    assert approver(Recording(), yes=False, read=None)(CARD).answer is Answer.PENDING


def test_what_is_no_terminal_is_not_read():
    assert terminal(threading.Event(), StringIO("y\n")) is None


@pytest.fixture
def keyboard():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r", encoding="utf-8") as stream:
        yield ours, stream
    os.close(ours)


def test_a_typed_line_is_read(keyboard):
    hands, stream = keyboard
    threading.Timer(0.1, os.write, (hands, b"y\n")).start()
    assert terminal(threading.Event(), stream)(5.0) == "y\n"


def test_what_was_typed_before_the_question_is_no_answer_to_it(keyboard):
    hands, stream = keyboard
    os.write(hands, b"y\n")
    threading.Timer(0.2, os.write, (hands, b"n\n")).start()
    assert terminal(threading.Event(), stream)(5.0) == "n\n"


def test_nothing_typed_in_time_is_nothing(keyboard):
    assert terminal(threading.Event(), keyboard[1])(0.1) is None


def test_a_line_without_its_end_is_no_answer(keyboard):
    hands, stream = keyboard
    threading.Timer(0.05, os.write, (hands, b"y")).start()
    assert terminal(threading.Event(), stream)(0.3) is None


def test_the_end_of_input_is_the_end(keyboard):
    hands, stream = keyboard
    threading.Timer(0.1, os.write, (hands, b"\x04")).start()
    assert terminal(threading.Event(), stream)(5.0) == ""


def test_ctrl_c_ends_the_wait_for_an_answer(keyboard):
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    assert terminal(stop, keyboard[1])(60.0) is None
    assert time.monotonic() - began < 5
