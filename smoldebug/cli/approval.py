"""Asking the operator about a change: one card, one deadline, no answer in time is a no."""

import os
import select
import sys
import termios
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TextIO

from smoldebug.change import Approver
from smoldebug.cli.changing import who
from smoldebug.clock import Clock, SystemClock, duration
from smoldebug.records import IN_GIT, Answer, Card, ChangeKind, Decision, ObjectRef
from smoldebug.untrusted import one_line
from smoldebug.view import Asking

TIME_LIMIT = 300.0  # seconds until silence counts as no, however many questions are asked meanwhile
SHORT = 8  # lines of a diff that push the head of its card off no screen
KEYS = "[y] apply  [n] no, say why  [e] evidence  [d] full diff  [s] suggest only  [?]"
HELP = """\
y  apply exactly the change shown above; what undoes it is recorded first
n  do not apply it; your reason is recorded, and told to a model if there is one
e  show the evidence it rests on
d  show the whole diff: of the object, or of every file with the pull request's text
s  (or p) suggest only: refuse this change and every later one of this run
a  where it is offered: apply it, and every later one of just this kind without asking
"""
Tick = Callable[[float], None]
Reach = tuple[ChangeKind, str, str]  # kind of change, kind of object, namespace


class Reader(Protocol):
    def __call__(self, seconds: float, tick: Tick, /) -> str | None:
        """A line typed within so many seconds; None: not in time, "" at the end of input.

        `tick` is told several times a second how many seconds are left.
        """
        ...


def approver(
    view: Asking,
    *,
    yes: bool,
    read: Reader | None,
    clock: Clock | None = None,
    screen: TextIO | None = None,
) -> Approver:
    """How changes are approved: `yes` answers for the operator (-y), `read` gets what is typed on
    `screen` (stderr); without it nobody can answer."""
    if yes:
        return lambda card: Decision(Answer.YES, "operator", "-y", who().user)
    if read is None:
        return lambda card: Decision(Answer.PENDING, "nobody", "no terminal to ask on, and no -y")
    return _Asker(view, read, clock or SystemClock(), screen)


def terminal(
    stop: threading.Event, keyboard: TextIO | None = None, screen: TextIO | None = None
) -> Reader | None:
    """Reads lines typed on standard input, if that and stderr, where the question stands, are
    terminals. Ctrl-C (`stop`) ends the wait."""
    keys, seen = keyboard or sys.stdin, screen or sys.stderr
    if keys is None or seen is None or not (keys.isatty() and seen.isatty()):
        return None

    def read(seconds: float, tick: Tick) -> str | None:
        termios.tcflush(keys, termios.TCIFLUSH)  # typed before the question: no answer to it
        end = time.monotonic() + seconds
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            tick(left)
            ready, _, _ = select.select([keys], [], [], min(left, 0.1))  # a signal ends no select
            if ready:
                return keys.readline()
        return None

    return read


class _Asker:
    def __init__(self, view: Asking, read: Reader, clock: Clock, screen: TextIO | None) -> None:
        self._view, self._read, self._clock, self._given = view, read, clock, screen
        self._suggest_only = False
        self._granted: set[Reach] = set()
        self._refused: set[ObjectRef] = set()  # no yes for the run covers these

    def __call__(self, card: Card) -> Decision:
        if self._suggest_only:
            return _decided(Answer.NO, "suggestions only in this run")
        if _reach(card) in self._granted and card.change.target not in self._refused:
            return _granted(card)
        with self._view.paused():
            decision = self._ask(card)
        if decision.answer is not Answer.YES:
            self._refused.add(card.change.target)
        return decision

    @property
    def _screen(self) -> TextIO:
        """Looked up each time: a view that draws has put itself in its place until it pauses."""
        return self._given or sys.stderr

    def _ask(self, card: Card) -> Decision:
        until = self._clock.monotonic() + TIME_LIMIT
        question = f"{KEYS}\n"
        if _reach(card) is not None:
            here = f" on {one_line(card.context, 60)}" if card.context else ""
            question += f"[a] yes for this run{here}: {_words(card)}\n"
        what = f"{_named(card)}\n"
        self._say(f"{what}{question}" if card.diff.count("\n") > SHORT else question)
        while typed := self._choice(until):
            if decision := self._answer(card, typed, until):
                return decision
            self._say(f"{what}{question}")
        self._say("\n")  # what follows begins a line
        if until > self._clock.monotonic():  # Ctrl-C, or the terminal is gone
            return _decided(Answer.NO, "interrupted before an answer")
        return _decided(Answer.NO, f"no answer within {duration(TIME_LIMIT)}")

    def _answer(self, card: Card, typed: str, until: float) -> Decision | None:
        """None when it decides nothing. Whole words only: "yikes" is no yes."""
        match typed.strip().lower():
            case "y" | "yes":
                return _decided(Answer.YES)
            case "n" | "no":
                self._say("why not? (recorded; a model is told) > ")
                why = self._read(until - self._clock.monotonic(), lambda left: None) or ""
                return _decided(Answer.NO, why.strip())
            case "a" if (reach := _reach(card)) is not None:
                self._granted.add(reach)
                return _granted(card)
            case "s" | "p":
                self._suggest_only = True
                return _decided(Answer.NO, "suggestions only in this run")
            case "e" | "evidence":
                self._view.evidence(card.change.evidence)
            case "d" | "diff":
                self._view.full_diff(card)
            case _:
                self._say(HELP)
        return None

    def _choice(self, until: float) -> str | None:
        left = until - self._clock.monotonic()
        if left <= 0:
            return None
        if not self._live():
            at = self._clock.now() + timedelta(seconds=left)
            self._say(f"no answer until {at:%H:%M:%S} UTC is a no > ")
            return self._read(left, lambda left: None)
        self._say(f"{_remaining(left)} > ")
        return self._read(left, _Countdown(self._screen, _remaining(left)))

    def _live(self) -> bool:
        return self._screen.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def _say(self, text: str) -> None:
        self._screen.write(text)
        self._screen.flush()


class _Countdown:
    """Rewrites the start of the line in place; the cursor, and what was typed there, stay."""

    def __init__(self, screen: TextIO, shown: str) -> None:
        self._screen, self._shown = screen, shown

    def __call__(self, left: float) -> None:
        if (words := _remaining(left)) != self._shown:
            self._shown = words
            self._screen.write(f"\x1b7\r{words}\x1b8")  # save the cursor, restore it
            self._screen.flush()


def _remaining(seconds: float) -> str:
    """`auto-no 4:58`, always as wide."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"auto-no {minutes}:{rest:02d}"


def _named(card: Card) -> str:
    """`C1 scale Deployment/shop/auth on prod-eu`; a pull request that follows, too."""
    change = card.change
    what = one_line(f"{card.id} {change.kind} {change.target}", 1000)
    if change.kind in IN_GIT:
        return f"{what}, then {change.then.kind}" if change.then else what
    return f"{what} on {one_line(card.context, 300) or 'no cluster'}"


def _reach(card: Card) -> Reach | None:
    """What a yes for this run would cover; None where each one must be asked for."""
    change = card.change
    if change.no_undo or card.warnings or change.kind in IN_GIT:  # a yes is to one diff
        return None
    return change.kind, change.target.kind, change.target.namespace


def _words(card: Card) -> str:
    kind, target = card.change.kind, card.change.target
    where = f" in {target.namespace}" if target.namespace else ""
    return one_line(f"{kind} any {target.kind}{where}", 300)


def _granted(card: Card) -> Decision:
    return _decided(Answer.YES, f"yes for this run: {_words(card)}")


def _decided(answer: Answer, reason: str = "") -> Decision:
    return Decision(answer, "operator", reason, who().user)
