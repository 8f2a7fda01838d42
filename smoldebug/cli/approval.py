"""Asking the operator about a change: one card, one answer, no answer in time is a no."""

import select
import sys
import termios
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

from smoldebug.change import Approver
from smoldebug.clock import Clock, SystemClock, duration
from smoldebug.records import Answer, Card, Decision
from smoldebug.untrusted import one_line
from smoldebug.view import View

TIME_LIMIT = 300.0  # seconds until silence counts as no
PROMPT = "[y] apply  [n] no, say why  [e] evidence  [s] suggest only  [?] help > "
HELP = """\
y  apply exactly the change shown above; what undoes it is recorded first
n  do not apply it; your reason is told to the model
e  show the evidence it rests on
s  suggest only: refuse this change and every later one of this run
"""
Reader = Callable[[float], str | None]


def approver(view: View, *, yes: bool, read: Reader | None, clock: Clock | None = None) -> Approver:
    """How changes are approved: `yes` answers for the operator (-y), `read` gets a line typed
    within so many seconds (None: timed out, "" at end of input); without it nobody can answer."""
    if yes:
        return lambda card: Decision(Answer.YES, "operator", "-y")
    if read is None:
        return lambda card: Decision(Answer.PENDING, "nobody", "no terminal to ask on, and no -y")
    return _Asker(view, read, clock or SystemClock())


def terminal(stop: threading.Event, stream: TextIO | None = None) -> Reader | None:
    """Reads lines typed on standard input, if that is a terminal. Ctrl-C (`stop`) ends the wait."""
    keyboard = stream or sys.stdin
    if keyboard is None or not keyboard.isatty():
        return None

    def read(seconds: float) -> str | None:
        termios.tcflush(keyboard, termios.TCIFLUSH)  # typed before the question: no answer to it
        end = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < end:
            ready, _, _ = select.select([keyboard], [], [], 0.1)  # a signal does not end a select
            if ready:
                return keyboard.readline()
        return None

    return read


class _Asker:
    def __init__(self, view: View, read: Reader, clock: Clock) -> None:
        self._view, self._read, self._clock = view, read, clock
        self._suggest_only = False

    def __call__(self, card: Card) -> Decision:
        if self._suggest_only:
            return Decision(Answer.NO, "operator", "suggestions only in this run")
        with self._view.paused():
            return self._ask(card)

    def _ask(self, card: Card) -> Decision:
        while True:
            typed = self._line(card, PROMPT)
            if not typed:
                return Decision(Answer.NO, "operator", "no answer")
            match typed.strip().lower():  # whole words: "yikes" is no yes
                case "y" | "yes":
                    return Decision(Answer.YES, "operator")
                case "n" | "no":
                    why = self._line(card, "why not? > ") or ""
                    return Decision(Answer.NO, "operator", why.strip())
                case "s" | "suggest only":
                    self._suggest_only = True
                    return Decision(Answer.NO, "operator", "suggestions only in this run")
                case "e" | "evidence":
                    self._view.evidence(card.change.evidence)
                case _:
                    sys.stderr.write(HELP)

    def _line(self, card: Card, prompt: str) -> str | None:
        until = self._clock.now() + timedelta(seconds=TIME_LIMIT)
        what = one_line(f"{card.id} {card.change.kind} {card.change.target}", 120)
        limit = f"no answer until {until:%H:%M:%S} UTC ({duration(TIME_LIMIT)}) is a no"
        sys.stderr.write(f"{what}: {limit}\n{prompt}")
        sys.stderr.flush()
        return self._read(TIME_LIMIT)
