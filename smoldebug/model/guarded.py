"""The models of a chain: `Guarded` for a provider's API, `InProcess` for what runs here.

Guarded: one answer within `Request.seconds`, whatever the endpoint does.
    try -> 429, 5xx, connection lost: again after a pause -> 400 that names a parameter: without it
        -> anything else: ModelFailed, and the chain goes on with the next model
"""

import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from smolagents import Model, Tool
from smolagents.models import ApiModel, ChatMessage, MessageRole
from smolagents.monitoring import TokenUsage

from smoldebug.conversation import Called, Message
from smoldebug.model import native, text_protocol, tokens
from smoldebug.model.asking import FREE, Answer, ModelFailed, Request, Tokens
from smoldebug.model.endpoint import LATE, PASSING, Endpoint, Exchange, said, text_of
from smoldebug.model.streaming import Piece, Said, Trouble
from smoldebug.playbook.settings import ModelSettings, Price
from smoldebug.records import Json
from smoldebug.toolset import begin
from smoldebug.untrusted import one_line

TRIES = 3
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0  # seconds; who wants more loses its turn to the next model
LOOK = 0.02  # seconds between looks at a flag while an endpoint is waited for
CHANGES = 8  # of a request that an endpoint refuses, at most
# What an endpoint may not know, the longer names first; all of them can be done without.
OPTIONAL = ("stream_options", "response_format", "tool_choice", "temperature", "stream")
UNKNOWN = re.compile(
    r"(?i)max_completion_tokens|unsupported|not (?:supported|permitted|allowed)|unknown|unrecogni"
)
UNLIKELY, MUCH = 10, 2000  # times more tokens than can be, where there are so many
NO_TOOLS = re.compile(r"(?i)\btools?\b|\bfunction.?call")
SPENT = re.compile(r"(?i)insufficient.quota|exceeded your current quota|insufficient.balance")
ADVICE = {
    401: "refuses the key: set the right one",
    402: "wants to be paid first",
    403: "does not let this key use the model",
    404: "knows no such model or address: check the model's name and its api_base",
}


class Guarded:
    """An API model. What an endpoint has refused it is not sent again by this object."""

    def __init__(
        self,
        name: str,
        model: ApiModel,
        settings: ModelSettings,
        *,
        provider: str,
        endpoint: str,
        price: Price,
    ) -> None:
        self.name, self.settings, self.price = name, settings, price
        self.provider, self.endpoint = provider, endpoint
        self.first_pause = FIRST_PAUSE
        self._wire, self._id = Endpoint(model), str(model.model_id)
        self._keys = self._wire.keys()
        self._text = settings.tools == "text"
        self._dropped: set[str] = set()
        self._described: tuple[tuple[Tool, ...], list[Json]] = ((), [])

    def count(self, request: Request) -> int:
        return tokens.count(request.messages, request.tools, self._id)

    def ask(self, request: Request) -> Answer:
        """Raises ModelFailed. Nothing else escapes."""
        end = time.monotonic() + request.seconds
        tries = changes = lost = 0
        while True:
            try:
                answer = self._answer(request, self._try(request, end), tries + 1)
                return replace(answer, tokens=self._with(answer.tokens, lost, request))
            except Trouble as trouble:
                lost += trouble.sent
                if changes < CHANGES and self._without(trouble):
                    changes += 1
                    continue
                tries += 1
                pause = self._pause(trouble, tries)
                late = pause is None or time.monotonic() + pause >= end
                if late or (trouble.sent and not request.again()):
                    raise self._failed(trouble, tries, lost, request) from trouble
            if request.cancel.wait(pause):
                raise ModelFailed("cancelled", tokens=self._with(Tokens(), lost, request))

    def _with(self, used: Tokens, lost: int, request: Request) -> Tokens:
        """Plus what was sent to no avail `lost` times: the provider may charge for it."""
        more = lost * self.count(request)
        return replace(used, into=used.into + more, estimated=True) if lost else used

    # --- one try ----------------------------------------------------------------------------

    def _try(self, request: Request, end: float) -> Said:
        exchange = Exchange(self._body(request), end, self._heard(request))
        work = self._wire.send(exchange)
        while not wait([work], LOOK).done:
            if request.cancel.is_set():
                exchange.stop()
                raise ModelFailed("cancelled", tokens=self._with(Tokens(), 1, request))
            if time.monotonic() > end:
                exchange.stop()
                raise Trouble(LATE)
        return said(work)

    def _body(self, request: Request) -> dict[str, Any]:
        about, textual = self.settings, self._text or not request.tools  # calls told need tools
        body: dict[str, Any] = {
            "temperature": about.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if textual:
            body["messages"] = text_protocol.written(request.messages, request.tools)
        else:
            body["messages"] = native.written(request.messages)
            body |= {"tools": self._tools(request.tools), "tool_choice": "auto"}
        if textual and request.tools:
            body["response_format"] = text_protocol.answer_format(request.tools)
        body = {name: value for name, value in body.items() if name not in self._dropped}
        newer = "max_tokens" in self._dropped
        body["max_completion_tokens" if newer else "max_tokens"] = about.max_output
        return body

    def _tools(self, tools: Sequence[Tool]) -> list[Json]:
        if self._described[0] != tuple(tools):
            self._described = tuple(tools), native.described(tools)
        return self._described[1]

    def _heard(self, request: Request) -> Callable[[str], None]:
        if not (self._text and request.tools):
            return request.heard
        return lambda text: request.heard(text_protocol.thought(text))

    # --- what came ----------------------------------------------------------------------------

    def _answer(self, request: Request, came: Said, tries: int) -> Answer:
        used = _used(came, lambda: self.count(request), self.settings.max_output)
        text, finish = came.text, one_line(came.finish, 60)
        calls, problem = native.called(came.calls)
        problem = came.problem or problem
        if not came.complete:
            problem = f"the provider cut the answer off: {finish}"
        elif request.tools and not calls and not problem:
            text, calls, problem = _written(text, strictly=self._text)
        return Answer(text, () if problem else calls, used, finish, tries, problem)

    def _without(self, trouble: Trouble) -> bool:
        """Whether the next request leaves out what this one was refused for."""
        words, refused = trouble.words, trouble.status in (400, 404, 422, 501)
        for name in (*OPTIONAL, "max_tokens") if refused else ():
            if name in self._dropped or not re.search(rf"\b{name}\b", words):
                continue
            if name == "max_tokens" and not UNKNOWN.search(words):
                continue  # too large for it: by the newer name it would be, too
            self._dropped |= {name, "stream_options"} if name == "stream" else {name}
            return True
        refused = refused or trouble.status == 500  # llama.cpp: "tools param requires --jinja"
        if not (refused and NO_TOOLS.search(words)) or self._text:
            return False
        self._text = self.settings.tools == "auto"
        return self._text

    def _pause(self, trouble: Trouble, tries: int) -> float | None:
        """Seconds to wait before another try; None when there should be none."""
        if not trouble.again or tries >= TRIES or SPENT.search(trouble.words):
            return None
        asked = retry_after(trouble.after)
        if asked is not None:
            return asked if asked <= LONGEST_PAUSE else None
        return random.uniform(0, min(LONGEST_PAUSE, self.first_pause * 2**tries))

    def _failed(self, trouble: Trouble, tries: int, lost: int, request: Request) -> ModelFailed:
        advice = ADVICE.get(trouble.status)
        if SPENT.search(trouble.words):
            advice = "says that its quota or balance is used up"
        why = f"the endpoint {advice} ({trouble.status})" if advice else str(trouble)
        who = self.provider or self.name  # of several in a chain one must know which
        why = why.replace("the endpoint", who) if "the endpoint" in why else f"{who}: {why}"
        if tries > 1:
            why = f"{why} ({tries} tries)"
        if (asked := retry_after(trouble.after) or 0.0) > LONGEST_PAUSE:
            why = f"{why}, and asks for {asked:.0f} s"
        words = trouble.words
        for key in self._keys:
            words = words.replace(key, "[key]")
        words = one_line(words)
        used = self._with(Tokens(), lost, request)
        said = f"{why}: {words}" if words else why
        well = 400 <= trouble.status < 500 and trouble.status not in PASSING
        lasting = advice is not None or 300 <= trouble.status < 400  # it lives elsewhere now
        return ModelFailed(said, lasting=lasting, well=well, tokens=used)


class InProcess:
    """A model that needs no network. `told`: it is told of tools in the prompt, and calls them in
    its text; else it answers with calls by itself, as the expert and scripts do."""

    provider = endpoint = ""
    price = FREE

    def __init__(self, name: str, model: Model, *, told: bool = False) -> None:
        self.name, self.model, self.settings = name, model, ModelSettings()
        self._told, self._busy = told, threading.Lock()

    def count(self, request: Request) -> int:
        return tokens.count(request.messages, request.tools)

    def ask(self, request: Request) -> Answer:
        """Raises ModelFailed for whatever the model raises, as it is where it is one."""
        work = begin(lambda: self._generated(request))
        end = time.monotonic() + request.seconds
        while not wait([work], LOOK).done:
            if request.cancel.is_set():
                raise ModelFailed("cancelled")
            if time.monotonic() > end:
                raise ModelFailed(f"no answer within {request.seconds:.0f} s")
        error = work.exception()
        if isinstance(error, ModelFailed):
            raise error
        if error is not None:
            raise ModelFailed(one_line(text_of(error), 300)) from error
        answer: Answer = work.result()
        return answer

    def _generated(self, request: Request) -> Answer:
        messages = [_chat_message(message) for message in request.messages]
        if self._told:
            told = text_protocol.written(request.messages, request.tools)
            messages = [ChatMessage.from_dict(_parts(each)) for each in told]
        tools = None if self._told else list(request.tools) or None
        with self._busy:
            answer = self.model.generate(messages, tools_to_call_from=tools)
        text = answer.content if isinstance(answer.content, str) else ""
        calls, problem = native.called(
            Piece(call.id, call.function.name, call.function.arguments)
            for call in answer.tool_calls or ()
        )
        if request.tools and not calls and not problem:
            text, calls, problem = _written(text, strictly=self._told)
        return Answer(text, calls, _counted(answer.token_usage), "stop", problem=problem)


# --- answers ----------------------------------------------------------------------------------


def _written(text: str, *, strictly: bool) -> tuple[str, tuple[Called, ...], str]:
    """Thought, calls and problem of an answer that is only text. Unless `strictly`, words without
    any call are no mistake in form: the agent says what is missing."""
    try:
        return *text_protocol.read(text), ""
    except text_protocol.Malformed as error:
        return text, (), str(error) if strictly else ""


def _used(came: Said, counted: Callable[[], int], most: int) -> Tokens:
    """What the provider says that it was, estimated where it does not, or says what cannot be:
    nothing for something, or many times what was sent and asked for (`most` tokens out)."""
    usage = came.usage
    written = came.text + "".join(str(piece.arguments) for piece in came.calls)
    into, out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if into is not None and (not into or into > UNLIKELY * max(MUCH, counted())):
        into = None
    if out is not None and (out < bool(written) or out > UNLIKELY * max(MUCH, most)):
        out = None
    if into is None or out is None:
        out = tokens.estimate(written) if out is None else out
        return Tokens(counted() if into is None else into, out, estimated=True)
    details = usage.get("prompt_tokens_details")
    places = (
        (details if isinstance(details, dict) else {}, "cached_tokens"),
        (usage, "prompt_cache_hit_tokens"),
        (usage, "cache_read_input_tokens"),
    )
    cached = max((_count(place, name) or 0 for place, name in places), default=0)
    return Tokens(into, out, min(cached, into))


def _count(usage: Any, name: str) -> int | None:
    found = usage.get(name)
    usable = isinstance(found, int) and not isinstance(found, bool) and found >= 0
    return found if usable else None


def _counted(usage: TokenUsage | None) -> Tokens:
    return Tokens(usage.input_tokens, usage.output_tokens) if usage else Tokens()


def retry_after(value: str) -> float | None:
    """Seconds, from seconds or an HTTP date; None where there is neither."""
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value.strip(), re.ASCII):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


# --- smolagents' messages ---------------------------------------------------------------------


def _chat_message(message: Message) -> ChatMessage:
    role = MessageRole.TOOL_RESPONSE if message.role == "tool" else MessageRole(message.role)
    calls = [f"{call.name} {native.encoded(call.arguments)}" for call in message.calls]
    text = "\n".join(filter(None, (message.text, *calls)))
    return ChatMessage(role=role, content=[{"type": "text", "text": text or " "}])


def _parts(message: Any) -> dict[str, Any]:
    return {**message, "content": [{"type": "text", "text": message["content"]}]}
