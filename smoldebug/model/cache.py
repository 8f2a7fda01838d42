"""Answers of models that need no asking again: the same prompt, at temperature 0.

An answer is kept where the same question can only mean the same again: it is whole, its calls fit
the tools' schemas, and there is nothing in it to mask. One that has to be mended is not, so a model
that is told of its mistake is asked, and not quoted; one that is kept becomes part of the next
prompt, so no run is answered with it for ever.

Who is asked for an answer may be another machine (Redis). What comes from there is checked like
what a model says, and it is given a second of a run's time at most.
"""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from smoldebug.clock import Clock
from smoldebug.conversation import Called
from smoldebug.errors import UsageError
from smoldebug.model.asking import Answer, Asked, Request, Tokens
from smoldebug.model.described import Described
from smoldebug.playbook.settings import Cache
from smoldebug.records import Json
from smoldebug.sources.redis_store import RedisStore
from smoldebug.toolset import checked_arguments, within_limit
from smoldebug.untrusted import one_line, plain, whole

FORMAT: Literal[1] = 1  # of keys and values: another version of either finds nothing of this one
AGE = 3600.0  # seconds
LARGEST = 256 * 1024  # bytes of one answer
MEMORY = 16 * 1024 * 1024  # bytes of all answers together
ONE_LOOK = 0.5  # seconds for one answer of a store
PATIENCE = 1.0  # seconds for all answers of a store in one run

Mask = Callable[[str], str]


class Store(Protocol):
    """Bytes by name, kept for a while. What it raises counts as a miss."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, value: bytes, seconds: float) -> None: ...

    def close(self) -> None:
        """Let go of everything; also while another thread waits for an answer."""
        ...


class Memory:
    """A store of this process: at most `limit` bytes, those go first that were not wanted for the
    longest time. Safe to share between threads."""

    def __init__(self, clock: Clock, limit: int = MEMORY) -> None:
        self._clock, self._limit, self._size = clock, limit, 0
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            value, until = self._kept.get(key, (None, 0.0))
            if value is None:
                return None
            if self._clock.monotonic() >= until:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return value

    def put(self, key: str, value: bytes, seconds: float) -> None:
        with self._lock:
            self._drop(key)
            self._kept[key] = value, self._clock.monotonic() + seconds
            self._size += len(value)
            while self._size > self._limit:
                self._drop(next(iter(self._kept)))

    def close(self) -> None:
        """Nothing is held open."""

    def _drop(self, key: str) -> None:
        if key in self._kept:
            self._size -= len(self._kept.pop(key)[0])


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]  # FORMAT
    text: str
    calls: tuple[tuple[str, Json], ...]  # tool, arguments
    finish: str


class ResponseCache:
    """What a run's models were asked before. Without a store nothing is kept.

    `mask` takes secrets out of text: an answer that it would alter is not kept.
    """

    def __init__(self, store: Store | None, mask: Mask) -> None:
        self._store, self._mask = store, mask
        self._patience, self._trouble = PATIENCE, ""

    def get(self, asked: Asked, request: Request) -> Answer | None:
        """The answer to the same question, if it is still known; it took no tokens."""
        store = self._store
        if store is None or not _repeats(asked):
            return None
        name = key(asked, request)
        return _answer(self._done(lambda: store.get(name)), request)

    def put(self, asked: Asked, request: Request, answer: Answer) -> None:
        store = self._store
        if store is None or not _repeats(asked) or not _usable(answer, request):
            return
        calls = tuple((call.name, call.arguments) for call in answer.calls)
        kept = _Kept(FORMAT, plain(answer.text), calls, plain(answer.finish))
        value = msgspec.json.encode(kept)
        if len(value) > LARGEST or self._secret(kept):
            return
        name = key(asked, request)
        self._done(lambda: store.put(name, value, AGE))

    def warning(self) -> str:
        """Why nothing is looked up any more, told once; else ""."""
        told, self._trouble = self._trouble, ""
        return told

    def _secret(self, kept: _Kept) -> bool:
        """Whether something is to be masked: then nothing is kept, since a call with a mask in
        its arguments is another call."""
        said = [kept.text, *(json.dumps(arguments) for _, arguments in kept.calls)]
        return any(self._mask(text) != text for text in said)

    def _done(self, work: Callable[[], bytes | None]) -> bytes | None:
        """What a store answers in time; the first time that it does not is the last."""
        began, limit = time.monotonic(), min(ONE_LOOK, self._patience)
        done = within_limit(work, limit, None)
        self._patience -= time.monotonic() - began
        late = TimeoutError(f"no answer within {limit:.1g} s")
        error = late if done is None else done.exception()
        if error is not None or self._patience <= 0:
            self._give_up(str(error or f"it took {PATIENCE:g} s of this run"))
        return None if done is None or error is not None else done.result()

    def _give_up(self, why: str) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None
        said = one_line(self._mask(why), 200)
        self._trouble = f"the response cache is not used any more in this run: {said}"


def response_cache(settings: Cache, clock: Clock, mask: Mask) -> ResponseCache:
    """As the settings file has it. Nothing is connected before the first question."""
    if not settings.responses:
        return ResponseCache(None, mask)
    return ResponseCache(
        RedisStore(settings.redis, LARGEST) if settings.redis else Memory(clock), mask
    )


def key(asked: Asked, request: Request) -> str:
    """SHA-256 of all that an answer depends on. The messages are masked before they get here, as
    they are for the model: no secret can be tried until this fits."""
    how = asked.settings
    material = [
        FORMAT,
        [asked.provider, asked.endpoint, asked.name, how.model],
        [how.temperature, how.max_output, how.tools],
        [[tool.name, tool.description, tool.inputs] for tool in request.tools],
        [msgspec.to_builtins(message) for message in request.messages],
    ]
    return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()


def _repeats(asked: Asked) -> bool:
    """What runs in this process costs nothing, and may have other weights or another script under
    the same name a minute later."""
    return bool(asked.provider) and asked.settings.temperature == 0


def _usable(answer: Answer, request: Request) -> bool:
    """Whole, and nothing in it would be sent back to be mended."""
    if answer.cut_off or answer.problem:
        return False
    if not request.tools:
        return bool(answer.text.strip()) and not answer.calls
    known = {tool.name: tool for tool in request.tools}
    return bool(answer.calls) and all(_fits(call, known.get(call.name)) for call in answer.calls)


def _fits(call: Called, tool: object) -> bool:
    if not isinstance(tool, Described) or not isinstance(call.arguments, dict):
        return False
    try:
        checked_arguments(tool.spec, call.arguments)
    except UsageError:
        return False
    return True


def _answer(value: bytes | None, request: Request) -> Answer | None:
    """What a store returned, if it is what was put there: anybody may have written to it."""
    if value is None or len(value) > LARGEST:
        return None
    try:
        kept = msgspec.json.decode(value, type=_Kept)
    except (msgspec.MsgspecError, RecursionError):
        return None
    calls = tuple(
        Called(f"c{number}", name, whole(arguments))
        for number, (name, arguments) in enumerate(kept.calls)
    )
    answer = Answer(plain(kept.text), calls, Tokens(), plain(kept.finish))
    return answer if _usable(answer, request) else None
