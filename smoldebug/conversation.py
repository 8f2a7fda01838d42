"""What was said between a run and its models, in nobody's dialect: `model/` translates.

    system                   never changes
    task                     and, once turns have been left out, what is known from them
    turn, turn, turn, ...    only ever added to

A provider charges less for what begins as the request before did. So nothing above the end changes
while everything fits; when it does not, half of the room is made free at once, and what is left out
becomes notes and one line per call. The evidence store keeps all of it: `read_on` shows it again.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from smoldebug.records import Json
from smoldebug.untrusted import clip, fence, one_line, whole

WINDOW = 12_000  # tokens, also of models that could read more: each is paid for again every turn
OBSERVATION = 4000  # characters of one answer of a tool
TURN = 12_000  # of all answers of one turn together
THOUGHT = 2000  # of what a model said besides its calls
ARGUMENTS = 4000  # of one call, as JSON
LEAST = 300  # of an answer, where hardly anything fits
MESSAGE = 8  # tokens around a message or a call


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a tool as a model made it; `arguments` is text where that was no JSON."""

    id: str  # t3c0: turn 3, first call
    name: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant", "tool"]
    text: str
    calls: tuple[Called, ...] = ()  # of an assistant
    answers: str = ""  # of a tool: id of the call


@dataclass(slots=True)
class _Turn:
    text: str
    calls: tuple[Called, ...]
    answers: dict[str, "_Seen"] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def messages(self, limit: int = OBSERVATION) -> Iterator[Message]:
        """`limit`: characters of each answer."""
        if self.text or self.calls:
            yield Message("assistant", self.text, self.calls)
        for call in self.calls:
            seen = self.answers.get(call.id, NOT_DONE)
            yield Message("tool", seen.text(limit), answers=call.id)
        if self.told:
            yield Message("user", "\n".join(self.told))

    def lines(self) -> Iterator[str]:
        """Its calls, the newest first, each on one line."""
        for call in reversed(self.calls):
            given = one_line(json.dumps(call.arguments, ensure_ascii=False), 120)
            yield f"{self.answers.get(call.id, NOT_DONE).line()} <- {call.name} {given}"


@dataclass(frozen=True, slots=True)
class _Seen:
    """An answer, as much of it as a prompt may hold."""

    evidence: str
    head: str
    tail: str = ""
    size: int = 0  # characters of all of it

    def text(self, limit: int) -> str:
        begin, end = self.head, self.tail
        if self.size <= len(begin) + len(end) <= limit:
            return self._cited(begin + end)
        begin, end = _whole_lines(begin, limit * 3 // 4), end[-(limit // 4) :]
        out = f"{self.size - len(begin) - len(end)} of {self.size} characters left out"
        if self.evidence:
            out += f'; read_on(evidence="{self.evidence}", start={len(begin)}) shows them'
        return self._cited(f"{begin}\n... [{out}] ...\n{end}")

    def line(self) -> str:
        return self._cited(one_line(self.head.strip().partition("\n")[0], 120))

    def _cited(self, text: str) -> str:
        return f"[{self.evidence}] {text}" if self.evidence else text


NOT_DONE = _Seen("", "NOT executed.")


@dataclass(slots=True)
class _Window:
    """What a request of one size holds: turns from `first` on, and `earlier` of those before."""

    first: int = 0
    earlier: str = ""


class Conversation:
    """One run's. Every text passes `mask` once, on its way in; `notes` is what must outlive the
    turns it comes from; `size` estimates the tokens of a text."""

    def __init__(
        self,
        system: str,
        mask: Callable[[str], str],
        size: Callable[[str], int],
        notes: Callable[[], str] = lambda: "",
    ) -> None:
        self._mask, self._size, self._notes = mask, size, notes
        self._system = Message("system", mask(system))
        self._task = ""
        self._turns: list[_Turn] = []
        self._sizes: list[int] = []  # tokens of each turn but the last, which still grows
        self._windows: dict[int, _Window] = {}  # by room

    def say(self, text: str) -> None:
        """A task; it is never left out."""
        self._task = f"{self._task}\n\n{self._mask(text)}".strip()

    def turn(self, thought: str, calls: Sequence[Called]) -> None:
        """A model's answer. Without calls it was no usable one: `tell` what was wrong with it."""
        if self._turns:
            self._sizes.append(self._tokens(self._turns[-1].messages()))
        given = (Called(call.id, _name(call.name), self._given(call.arguments)) for call in calls)
        self._turns.append(_Turn(clip(self._mask(thought), THOUGHT), tuple(given)))

    def answered(self, id: str, text: str, evidence: str = "") -> None:
        """What came of the last turn's call `id`: the whole text, and its number as evidence."""
        turn = self._turns[-1]
        limit = max(LEAST, min(OBSERVATION, TURN // max(1, len(turn.calls))))
        text = self._mask(text)
        if len(text) <= limit:
            turn.answers[id] = _Seen(evidence, text, "", len(text))
            return
        head, tail = _whole_lines(text, limit * 3 // 4), text[-(limit // 4) :]
        turn.answers[id] = _Seen(evidence, head, tail, len(text))

    def tell(self, text: str) -> None:
        """Add to what the model reads after the last turn, e.g. how the goal stands."""
        if self._turns:
            self._turns[-1].told.append(self._mask(text))
        else:
            self.say(text)

    def messages(self, room: int | None = None) -> list[Message]:
        """The next request's. `room`: tokens for it, without its tools, the same every time for the
        same model. What cannot be left out (system, task, the last turn's calls) is there even
        where it does not fit."""
        room = WINDOW if room is None else min(room, WINDOW)
        window = self._windows.setdefault(room, _Window())
        left = room - self._tokens((self._system, Message("user", self._task)))
        if self._used(window) > left:
            self._move(window, left)
        return self._joined(window, left)

    # --- the window ---------------------------------------------------------------------------

    def _used(self, window: _Window) -> int:
        """Tokens of what the window shows below the task."""
        last = self._tokens(self._turns[-1].messages()) if self._turns else 0
        return sum(self._sizes[window.first :]) + last + self._size(window.earlier)

    def _move(self, window: _Window, left: int) -> None:
        """Leave out the oldest turns, until what is shown in full takes a half of the room and what
        is said of the others a quarter."""
        first = max(0, len(self._turns) - 1)
        full = self._tokens(self._turns[first].messages()) if self._turns else 0
        while first > window.first and full + self._sizes[first - 1] <= left // 2:
            first -= 1
            full += self._sizes[first]
        window.first = first
        window.earlier = self._earlier(first, left // 4) if first else ""

    def _earlier(self, first: int, room: int) -> str:
        """What is known from the turns before `first`."""
        notes = clip(self._mask(self._notes()), max(LEAST, room))  # about a third of the room
        room -= self._size(notes)
        lines: list[str] = []
        calls = (line for turn in reversed(self._turns[:first]) for line in turn.lines())
        for line in calls:
            room -= self._size(line) + 1
            if room < 0:
                break
            lines.append(line)
        parts = [f"[{first} earlier turns are left out. What came of them, newest last:]"]
        parts += [fence("\n".join(reversed(lines)))] if lines else []
        parts += ["Your notes so far:", fence(notes)] if notes else []
        return "\n".join(parts)

    def _joined(self, window: _Window, left: int) -> list[Message]:
        messages = [self._system]
        opening = "\n\n".join(filter(None, (self._task, window.earlier)))
        shown = self._turns[window.first :]
        said = [Message("user", opening)] if opening else []
        said += [message for turn in shown[:-1] for message in turn.messages()]
        if shown:
            said += self._last(shown[-1], left - self._size(window.earlier))
        for message in said:
            if message.role == messages[-1].role == "user":  # some templates take turns strictly
                message = Message("user", f"{messages.pop().text}\n\n{message.text}")
            messages.append(message)
        return messages

    def _last(self, turn: _Turn, left: int) -> list[Message]:
        """The last turn, its answers shortened where it does not even fit alone."""
        messages = list(turn.messages())
        if self._tokens(messages) <= left or not turn.calls:
            return messages
        return list(turn.messages(max(LEAST, left * 2 // len(turn.calls))))

    def _tokens(self, messages: Sequence[Message] | Iterator[Message]) -> int:
        return sum(tokens(message, self._size) for message in messages)

    def _given(self, arguments: Json) -> Json:
        """Arguments without secrets, and no longer than a prompt can bear."""
        masked = whole(arguments, text=self._mask)
        length = len(json.dumps(masked, ensure_ascii=False))
        return masked if length <= ARGUMENTS else {"left_out": f"{length} characters"}


def _name(name: str) -> str:
    """As every provider takes it: one that refuses a name refuses all requests from then on."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "_"


def tokens(message: Message, size: Callable[[str], int]) -> int:
    """Of a message with its calls, by what `size` says of a text."""
    calls = (size(call.name) + size(json.dumps(call.arguments)) + MESSAGE for call in message.calls)
    return MESSAGE + size(message.text) + sum(calls)


def _whole_lines(text: str, limit: int) -> str:
    """At most `limit` characters of the beginning, cut at the end of a line where there is one."""
    if len(text) <= limit:
        return text
    end = text.rfind("\n", limit // 2, limit)
    return text[: end if end > 0 else limit]
