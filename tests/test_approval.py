"""Asking the operator: what each answer means, and that silence is a no."""

import os
import pty
import pwd
import re
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO, TextIOWrapper

import pytest
from hostile import built, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldebug.cli.approval import approver, terminal
from smoldebug.clock import FakeClock
from smoldebug.records import Answer, Card, Change, ChangeKind, ObjectRef

AUTH = ObjectRef("Deployment", "shop", "auth")
CHANGE = Change(ChangeKind.SCALE, AUTH, {"/spec/replicas": 1}, {"/spec/replicas": 2}, "why",
                evidence=("E4",))  # fmt: skip
CARD = Card("C1", CHANGE, "-1\n+2", "accepted", "kubectl ...", "1 of 2", "lab", "d1")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Recording:
    """A view that remembers what it was asked to show."""

    def __init__(self) -> None:
        self.shown: list[Sequence[str] | Card] = []

    def paused(self):
        return nullcontext()

    def evidence(self, ids: Sequence[str]) -> None:
        self.shown.append(ids)

    def full_diff(self, card: Card) -> None:
        self.shown.append(card)


def typing(*lines: str | None):
    """A keyboard on which these lines are typed, then nothing for ever."""
    left = list(lines)
    return lambda seconds, tick: left.pop(0) if left else None


def asker(*lines: str | None, view: Recording | None = None):
    return approver(view or Recording(), yes=False, read=typing(*lines))


def ask(*lines: str | None, view: Recording | None = None):
    return asker(*lines, view=view)(CARD)


def card(**change: object) -> Card:
    return replace(CARD, change=replace(CHANGE, **change))


@pytest.mark.parametrize("typed", ["y\n", "Y\n", "yes\n", " y \n", "Yes\r\n"])
def test_yes_applies(typed):
    assert ask(typed).answer is Answer.YES


@pytest.mark.parametrize("typed", ["yikes\n", "you sure?\n", "yy\n", "yes but\n", "\n", "ja\n"])
def test_nothing_but_yes_is_a_yes(typed, capsys):
    assert ask(typed).answer is Answer.NO, "it is asked again, and then there is silence"
    assert "apply exactly the change shown" in capsys.readouterr().err


def test_a_yes_for_the_run_covers_nothing_that_was_refused_in_it():
    asked = asker("n\n", "ask its owner\n", "a\n", "n\n")
    assert asked(CARD).answer is Answer.NO
    web = card(target=replace(AUTH, name="web"))
    assert asked(web).answer is Answer.YES
    assert asked(card(target=replace(AUTH, name="catalog"))).answer is Answer.YES, "covered"
    assert asked(CARD).answer is Answer.NO, "it is asked, and refused, again"


def test_a_long_diff_does_not_push_what_is_asked_about_off_the_screen(capsys):
    assert asker("y\n")(CARD).answer is Answer.YES
    assert "scale Deployment/shop/auth on lab" not in capsys.readouterr().err
    assert asker("y\n")(replace(CARD, diff="-a\n" * 20)).answer is Answer.YES
    assert capsys.readouterr().err.startswith("C1 scale Deployment/shop/auth on lab\n[y] apply")


def test_a_push_is_named_with_the_pull_request_that_follows(capsys):
    request = card(kind=ChangeKind.PULL_REQUEST).change
    push = replace(card(kind=ChangeKind.GIT_COMMIT, then=request), diff="-a\n" * 20, context="")
    assert asker("y\n")(push).answer is Answer.YES
    asked = capsys.readouterr().err
    assert asked.startswith("C1 git-commit Deployment/shop/auth, then pull-request\n[y] apply")
    assert "yes for this run" not in asked, "each diff is asked for"


def test_who_is_interrupted_has_not_answered(capsys):
    decision = ask(None)
    assert (decision.answer, decision.reason) == (Answer.NO, "interrupted before an answer")
    assert capsys.readouterr().err.endswith("\n"), "what follows begins a line"


def test_no_asks_for_the_reason():
    decision = ask("n\n", "wait for the DBA\n")
    assert (decision.answer, decision.reason) == (Answer.NO, "wait for the DBA")


@pytest.mark.parametrize("silence", [None, "", "\n"])
def test_a_no_without_a_reason_is_still_a_no(silence):
    assert ask("no\n", silence).reason == ""
    assert ask("no\n", silence).answer is Answer.NO


def slowly(clock: FakeClock, *lines: str | None):
    """Each of these lines takes 61 seconds to type; tells how long one would have waited."""
    left, waited = list(lines), []

    def read(seconds: float, tick: object) -> str | None:
        waited.append(seconds)
        clock.sleep(min(61, seconds))
        return left.pop(0) if left else None

    return read, waited


def test_one_deadline_holds_for_all_questions(capsys):
    clock = FakeClock(datetime(2026, 11, 20, 15, 2, 48, tzinfo=UTC))
    read, waited = slowly(clock, "?\n", "e\n", "d\n", "n\n", "why\n")
    decision = approver(Recording(), yes=False, read=read, clock=clock)(CARD)
    assert waited == [300, 239, 178, 117, 56]
    assert decision.reason == "why"
    assert capsys.readouterr().err.count("no answer until 15:07:48 UTC is a no > ") == 4


def test_who_keeps_asking_for_more_runs_out_of_time():
    clock = FakeClock()
    read, waited = slowly(clock, *["e\n"] * 100)
    decision = approver(Recording(), yes=False, read=read, clock=clock)(CARD)
    assert (decision.answer, decision.reason) == (Answer.NO, "no answer within 5m")
    assert len(waited) == 5


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
    approver(view, yes=False, read=lambda s, _: (states.append(view.still), "n\n")[1])(CARD)
    assert states == [True, True]
    assert not view.still


@pytest.mark.parametrize("typed", [None, ""])
def test_silence_and_a_closed_terminal_are_a_no(typed):
    assert ask(typed).answer is Answer.NO


def test_the_evidence_is_shown_and_the_question_asked_again():
    view = Recording()
    assert ask("e\n", "y\n", view=view).answer is Answer.YES
    assert view.shown == [("E4",)]


@pytest.mark.parametrize("word", ["d\n", "diff\n"])
def test_the_full_diff_is_shown_and_the_question_asked_again(word, capsys):
    view = Recording()
    assert ask(word, "y\n", view=view).answer is Answer.YES
    assert view.shown == [CARD]
    assert "C1 scale Deployment/shop/auth on lab\n" in capsys.readouterr().err, (
        "the card is off the screen: what is asked, and of which cluster, is said again"
    )


def test_anything_else_explains_the_answers(capsys):
    assert ask("what?\n", "y\n").answer is Answer.YES
    assert "apply exactly the change shown" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["s\n", "p\n"])
def test_suggest_only_refuses_this_change_and_every_later_one(word):
    asked = asker(word)
    assert [asked(CARD).answer, asked(CARD).answer] == [Answer.NO, Answer.NO]


def test_whoever_answers_is_named_as_the_system_knows_them(monkeypatch):
    monkeypatch.setenv("USER", "somebody-else")
    monkeypatch.setenv("LOGNAME", "somebody-else")
    me = pwd.getpwuid(os.getuid()).pw_name
    assert [ask(word).who for word in ("y\n", "n\n", "s\n", "a\n")] == [me] * 4
    assert approver(Recording(), yes=True, read=None)(CARD).who == me


def test_minus_y_answers_and_says_that_it_did():
    decision = approver(Recording(), yes=True, read=None)(CARD)
    assert (decision.answer, decision.by, decision.reason) == (Answer.YES, "operator", "-y")


# --- yes for this run -------------------------------------------------------------------------


def test_a_yes_for_this_run_says_how_far_it_reaches_before_and_after(capsys):
    asked = asker("a\n")
    first, second = asked(CARD), asked(card(why="again"))
    assert "[a] yes for this run on lab: scale any Deployment in shop\n" in capsys.readouterr().err
    assert first.answer is second.answer is Answer.YES
    assert first.reason == second.reason == "yes for this run: scale any Deployment in shop"


OTHERS = {
    "kind of change": card(kind=ChangeKind.SET_IMAGE),
    "kind of object": card(target=ObjectRef("StatefulSet", "shop", "auth")),
    "namespace": card(target=ObjectRef("Deployment", "payments", "auth")),
    "no namespace": card(target=ObjectRef("Deployment", "", "auth")),
    "no undo": card(no_undo="a restart is over"),
    "a warning": replace(CARD, warnings=("break-glass lifts limits.changes 2",)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_yes_for_this_run_covers_nothing_else(name):
    asked = asker("a\n", "n\n", "not that one\n")
    assert asked(CARD).answer is Answer.YES
    assert asked(OTHERS[name]).reason == "not that one"


@pytest.mark.parametrize("name", ["no undo", "a warning"])
def test_a_yes_for_this_run_is_not_to_be_had_for_what_must_be_seen_each_time(name, capsys):
    decision = asker("a\n")(OTHERS[name])
    said = capsys.readouterr().err
    assert decision.answer is Answer.NO
    assert "[a]" not in said
    assert "apply exactly the change shown" in said, "the word means nothing here"


kinds = st.sampled_from([ChangeKind.SCALE, ChangeKind.RESTART, ChangeKind.SET_IMAGE])
places = st.sampled_from(["", "shop", "payments"])
cards = st.builds(
    lambda kind, of, where, no_undo, warnings: replace(
        card(kind=kind, target=ObjectRef(of, where, "x"), no_undo=no_undo), warnings=warnings
    ),
    kinds,
    st.sampled_from(["Deployment", "Node"]),
    places,
    st.sampled_from(["", "over"]),
    st.sampled_from([(), ("look out",)]),
)


@given(st.lists(cards, max_size=6), st.lists(st.sampled_from("ayns"), max_size=6))
@settings(deadline=None)
def test_nothing_is_applied_that_nobody_said_yes_to(proposed: list[Card], typed: list[str]):
    """Each yes was typed for this very change, or granted before for just this kind."""
    left, asked_now, granted = list(typed), [], set()

    def read(seconds: float, tick: object) -> str | None:
        asked_now.append(left.pop(0) if left else None)
        return asked_now[-1]

    asked = approver(Recording(), yes=False, read=read, screen=StringIO())
    for each in proposed:
        asked_now.clear()
        reach = (each.change.kind, each.change.target.kind, each.change.target.namespace)
        plain = not each.change.no_undo and not each.warnings
        decision = asked(each)
        if decision.answer is Answer.YES and asked_now:
            assert asked_now[-1] == "y" or (asked_now[-1] == "a" and plain)
        elif decision.answer is Answer.YES:
            assert reach in granted
            assert plain
        if asked_now[-1:] == ["a"]:
            granted.add(reach)


# --- the terminal -----------------------------------------------------------------------------


def test_without_anybody_to_ask_it_stays_open():
    assert approver(Recording(), yes=False, read=None)(CARD).answer is Answer.PENDING


def test_what_is_no_terminal_is_not_read():
    assert terminal(threading.Event(), StringIO("y\n"), StringIO()) is None


@pytest.fixture
def keyboard():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r+b", buffering=0) as raw, TextIOWrapper(raw, "utf-8") as stream:
        yield ours, stream
    os.close(ours)


def reader(stream, stop: threading.Event | None = None):
    read = terminal(stop or threading.Event(), stream, stream)
    assert read is not None
    return lambda seconds: read(seconds, lambda left: None)


def test_where_the_question_cannot_be_seen_nobody_is_asked(keyboard):
    assert terminal(threading.Event(), keyboard[1], StringIO()) is None


def test_a_typed_line_is_read(keyboard):
    hands, stream = keyboard
    threading.Timer(0.1, os.write, (hands, b"y\n")).start()
    assert reader(stream)(5.0) == "y\n"


def test_what_was_typed_before_the_question_is_no_answer_to_it(keyboard):
    hands, stream = keyboard
    os.write(hands, b"y\n")
    threading.Timer(0.2, os.write, (hands, b"n\n")).start()
    assert reader(stream)(5.0) == "n\n"


def test_nothing_typed_in_time_is_nothing(keyboard):
    assert reader(keyboard[1])(0.1) is None


def test_a_line_without_its_end_is_no_answer(keyboard):
    hands, stream = keyboard
    threading.Timer(0.05, os.write, (hands, b"y")).start()
    assert reader(stream)(0.3) is None


def test_the_end_of_input_is_the_end(keyboard):
    hands, stream = keyboard
    threading.Timer(0.1, os.write, (hands, b"\x04")).start()
    assert reader(stream)(5.0) == ""


def test_ctrl_c_ends_the_wait_for_an_answer(keyboard):
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    assert reader(keyboard[1], stop)(60.0) is None
    assert time.monotonic() - began < 5


# --- the countdown ----------------------------------------------------------------------------


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


def counted(monkeypatch, term: str) -> str:
    monkeypatch.setenv("TERM", term)
    screen = Screen()

    def read(seconds: float, tick) -> str:
        for left in (seconds - 0.1, seconds - 0.3, seconds - 1.2, 60.0, 9.0):
            tick(left)
        return "n"

    approver(Recording(), yes=False, read=read, screen=screen)(CARD)
    return screen.getvalue()


def test_the_time_left_is_counted_down_in_place_and_the_cursor_comes_back(monkeypatch):
    said = counted(monkeypatch, "xterm-256color")
    ticks = re.findall("\x1b7\r(.*?)\x1b8", said)
    assert ticks == ["auto-no 4:59", "auto-no 1:00", "auto-no 0:09"]
    assert "auto-no 5:00 > " in said


def test_a_terminal_that_cannot_is_told_the_time_of_day(monkeypatch):
    said = counted(monkeypatch, "dumb")
    assert "\x1b" not in said
    assert re.search(r"no answer until \d\d:\d\d:\d\d UTC is a no > ", said)


def test_the_countdown_eats_no_typed_character(keyboard, monkeypatch):
    """The line editor of a real terminal, while the countdown writes to it."""
    monkeypatch.setenv("TERM", "xterm")
    hands, stream = keyboard

    signs = [b"y", b"x", b"\x7f", b"\n"]  # the x is rubbed out
    fingers = [threading.Timer(n * 0.4, os.write, (hands, sign)) for n, sign in enumerate(signs, 1)]
    for finger in fingers:
        finger.start()
    read = terminal(threading.Event(), stream, stream)
    decision = approver(Recording(), yes=False, read=read, screen=stream)(CARD)
    for finger in fingers:
        finger.join()
    assert decision.answer is Answer.YES
    assert b"auto-no 4:59" in os.read(hands, 10_000)


@given(built(Card), st.lists(texts, max_size=4))
@settings(max_examples=60, deadline=None)
def test_no_text_of_the_world_breaks_the_question(hostile: Card, typed: list[str]):
    screen = StringIO()
    left = list(typed)

    def read(seconds: float, tick: object) -> str | None:
        return left.pop(0) if left else None

    approver(Recording(), yes=False, read=read, screen=screen)(hostile)
    assert not CONTROL.search(screen.getvalue())
