"""A chat completion as it comes over the wire, whole or in pieces: untrusted bytes to `Said`.

    bytes -> events (SSE) -> Assembler -> Said -> native.py or text_protocol.py

Nothing is repaired: what is cut off or of no known shape yields no call.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NoReturn

from smoldebug.records import Json
from smoldebug.untrusted import one_line, whole

# How providers say that an answer is complete. Any other word, known or not, means cut off.
COMPLETE = {"", "stop", "tool_calls", "function_call", "tool_use", "end_turn", "stop_sequence"}
COMPLETE |= {"eos", "eos_token", "stop_token", "complete", "completed"}
CUT = {"max_tokens": "length", "max_output_tokens": "length", "safety": "content_filter"}
_IGNORED = re.compile(r":|(?:event|id|retry)(?::|\Z)|data\Z")


class Trouble(Exception):
    """A request that came to no answer. `status` is HTTP's, 0 where none came; `words` are the
    endpoint's; `again`: the same request may work a moment later; `sent`: it may have been read,
    and so be charged for."""

    def __init__(
        self, why: str, *, status: int = 0, words: str = "", again: bool = False, sent: bool = True
    ) -> None:
        super().__init__(why)
        self.status, self.words, self.again = status, words, again
        self.sent, self.after = sent and not status, ""  # Retry-After, as it came


class Ambiguous(ValueError):
    """JSON of which two readers would make different things."""


@dataclass
class Piece:
    """One call, as much of it as has come. `arguments` is text as it travels, or a JSON value."""

    id: str = ""
    name: str = ""
    arguments: Json = None

    def add(self, fragment: Mapping[str, Any]) -> None:
        """Raises ValueError for what is no part of a call."""
        function = fragment.get("function")
        if not isinstance(function, dict):
            raise ValueError("a tool call without a function")  # noqa: TRY004
        name, more = function.get("name"), function.get("arguments")
        if not isinstance(name, str | None):
            raise ValueError("a tool call whose name is no text")  # noqa: TRY004
        if name and name != self.name:  # some send it again with every fragment
            self.name += name
        self.id = self.id or _text(fragment.get("id"))
        if self.arguments is None or self.arguments == "":
            self.arguments = more
        elif more is not None and more != "":
            if not (isinstance(self.arguments, str) and isinstance(more, str)):
                raise ValueError("a tool call whose arguments are half text, half JSON")
            self.arguments += more


@dataclass
class Said:
    """What a model said, before anybody looks for calls in it. `finish` is "" only where the body
    was complete and told none; `problem` says why its calls cannot be used."""

    text: str = ""
    calls: list[Piece] = field(default_factory=list)
    finish: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def complete(self) -> bool:
        return self.finish in COMPLETE


class Assembler:
    """Chunks of a stream, in the order they came."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: list[tuple[int, Piece]] = []
        self._finish, self._problem = "", ""
        self._usage: Mapping[str, Any] = {}
        self._chunks = 0
        self.done = False  # the end was told

    def add(self, chunk: Json, part: str = "delta") -> None:
        """`part`: where the message is. Raises Trouble for an error, or what is no chunk."""
        if not isinstance(chunk, dict):
            raise Trouble("a part of the answer is no object", again=True)
        refuse_error(chunk)
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = usage
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return  # usage, or what a content filter thinks of the prompt
        choice = choices[0]
        if not isinstance(choice, dict):
            raise Trouble("the answer's choice is no object")
        refuse_error(choice)
        self._chunks += 1
        if finish := _text(choice.get("finish_reason")).lower():
            self._finish, self.done = CUT.get(finish, finish), True
        if isinstance(message := choice.get(part), dict):
            self._add(message)

    def text(self) -> str:
        return "".join(self._text)

    def said(self, ended: bool = True) -> Said:
        """What came of it. `ended`: the body was complete, or told so; else it is cut off.
        Raises Trouble where there was no answer at all."""
        if not self._chunks:
            raise Trouble("no chat completion in the endpoint's answer")
        finish = self._finish if self.done or ended else "disconnected"
        calls = [piece for _, piece in sorted(self._calls, key=lambda each: each[0])]
        return Said(_encodable(self.text()), calls, finish, self._usage, self._problem)

    def _add(self, message: Mapping[str, Any]) -> None:
        content = message.get("content")
        parts = content if isinstance(content, list) else [content or message.get("refusal")]
        self._text += [_said(part) for part in parts]
        calls = message.get("tool_calls") or []
        try:
            if not isinstance(calls, list):
                raise ValueError("tool_calls that are no list")  # noqa: TRY004
            for call in calls:
                if not isinstance(call, dict):
                    raise ValueError("a tool call that is no object")  # noqa: TRY004
                self._piece(call).add(call)
        except ValueError as error:
            self._problem = f"the provider sent {error}"

    def _piece(self, call: Mapping[str, Any]) -> Piece:
        """The call that a fragment belongs to. Some providers tell no index, or always 0."""
        index, id = call.get("index"), _text(call.get("id"))
        told = isinstance(index, int) and not isinstance(index, bool)
        for number, piece in reversed(self._calls):
            same = number == index if told else not id or piece.id == id
            if same and (not id or not piece.id or piece.id == id):
                return piece
        last = max((number for number, _ in self._calls), default=-1)
        self._calls.append((int(index) if told and index is not None else last + 1, Piece()))
        return self._calls[-1][1]


def streamed(chunks: Iterable[bytes], show: Callable[[Assembler], None]) -> Said:
    """A stream of server-sent events. `show` is called after each. Raises Trouble."""
    made = Assembler()
    for data in events(chunks):
        if data.strip() == "[DONE]":
            made.done = True
            break
        if not data.strip():
            continue
        try:
            made.add(strict(data))
        except ValueError as error:
            raise Trouble(f"a part of the answer is no JSON: {error}", again=True) from None
        show(made)
    return made.said(ended=False)


def completion(body: Json) -> Said:
    """A whole completion. Raises Trouble where there is none in it."""
    if not isinstance(body, dict) or not isinstance(body.get("choices") or [], list):
        raise Trouble("no chat completion in the endpoint's answer")
    made = Assembler()
    choices = body.get("choices") or [{}]
    choice = choices[0] if isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        refuse_error(body)
        refuse_error(choice)
        raise Trouble("no chat completion in the endpoint's answer")
    if isinstance(calls := message.get("tool_calls"), list):  # ids may be equal, indices missing
        numbered = [
            {**call, "index": number} if isinstance(call, dict) else call
            for number, call in enumerate(calls)
        ]
        body = {**body, "choices": [{**choice, "message": {**message, "tool_calls": numbered}}]}
    made.add(body, "message")
    return made.said()


def refuse_error(body: Mapping[str, Any]) -> None:
    """Raises Trouble for an error inside an answer that calls itself good."""
    error = body.get("error")
    if not error:
        return
    about = error if isinstance(error, dict) else {"message": error}
    code = about.get("code") or about.get("status")
    status = code if isinstance(code, int) and 400 <= code < 600 else 0
    words = about.get("message")
    raise Trouble(
        "the endpoint reports an error",
        status=status,
        words=words if isinstance(words, str) and words else one_line(str(error)),
        again=status >= 500,
    )


def events(chunks: Iterable[bytes]) -> Iterator[str]:
    """The data of server-sent events, however the bytes are split. Raises Trouble for a line that
    is none of theirs: what it was meant to be would be missing."""
    data: list[str] = []
    for line in _lines(chunks):
        if not line:
            if data:
                yield "\n".join(data)
            data = []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not _IGNORED.match(line):
            raise Trouble("a part of the answer is no event", words=one_line(line), again=True)
    if data:  # the last line's end is often left out
        yield "\n".join(data)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines that end in LF, CRLF or CR, without that."""
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        if b"\n" not in chunk and b"\r" not in chunk:
            continue
        held = b"\r" if rest.endswith(b"\r") else b""  # its \n may still come
        *lines, last = (
            bytes(rest[: len(rest) - len(held)])
            .replace(b"\r\n", b"\n")
            .replace(b"\r", b"\n")
            .split(b"\n")
        )
        rest = bytearray(last + held)
        yield from (line.decode("utf-8", "replace") for line in lines)
    yield from bytes(rest).decode("utf-8", "replace").splitlines()


def strict(text: str | bytes) -> Json:
    """JSON without NaN, infinities or a key given twice. Raises ValueError for anything else."""
    try:
        found: Json = json.loads(
            text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def _finite(text: str) -> float:
    """1e999 is JSON, and no number that could be written again."""
    number = float(text)
    return number if isfinite(number) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Ambiguous("a key is given twice")
    return found


def _said(part: Json) -> str:
    """The text of one part of a content; what a model thought before it answered is none."""
    return _text(part.get("text")) if isinstance(part, dict) else _text(part)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _encodable(text: str) -> str:
    return str(whole(text))
