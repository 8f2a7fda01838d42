"""One question to one model, paid for: cache -> budget -> pace -> the model -> settled.

Its worst case is reserved before it is sent, so a question costs at most what the budget has left.
"""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace

from smolagents import Tool

from smoldebug.conversation import Message
from smoldebug.events import AnyEvent, ModelAnswered, ModelAsked, ModelHeard, Note, Waiting
from smoldebug.model import native
from smoldebug.model.asking import Answer, Asked, ModelFailed, Request, Tokens
from smoldebug.model.budget import Budget, Hold
from smoldebug.model.cache import ResponseCache
from smoldebug.model.health import Health
from smoldebug.model.pace import Pace
from smoldebug.playbook.settings import EXPERT
from smoldebug.records import Json, Usage
from smoldebug.toolset import Cancelled, begin, said
from smoldebug.untrusted import one_line
from smoldebug.usage import plus

ANSWER_LIMIT = 300.0  # seconds for one answer, tries included
GRACE = 2.0  # seconds beyond which a model that does not keep its time is left alone
LEAST_CONTEXT = 512  # tokens; no server has a smaller one
CUT = 0.5  # of what was counted, which errs on the high side by a third at most
LOOK = 0.02  # seconds between looks at a model that is thinking
NOTICED = 0.5  # seconds after which an operator is told what is waited for
SHOWN = 0.1  # seconds between two states of a text that is still coming

Mask = Callable[[str], str]
Messages = Callable[[Asked], Sequence[Message]]  # as many as that model has room for


@dataclass(frozen=True)
class Shared:
    """What a run shares with others: money, patience, and what was answered before."""

    budget: Budget
    pace: Pace
    health: Health
    cache: ResponseCache


@dataclass(frozen=True)
class Question:
    """One turn's question. `left`: seconds that the run has; `answer`: the most for one answer."""

    turn: int
    messages: Messages
    tools: Sequence[Tool] = ()
    tier: str = ""
    left: float = float("inf")
    cancel: threading.Event = field(default_factory=threading.Event)
    answer: float = ANSWER_LIMIT


class Calls:
    """The calls of one run's models; `used` adds up what they took."""

    def __init__(self, shared: Shared, mask: Mask) -> None:
        self._shared, self._mask = shared, mask
        self._sent: dict[str, set[tuple[str, str]]] = {}
        self._cut_short: set[str] = set()  # models that read less than they were sent
        self.used = Usage()

    def ask(self, model: Asked, question: Question) -> Generator[AnyEvent, None, Answer]:
        """Raises ModelFailed, OverBudget, or Cancelled by the operator."""
        messages, heard, shared = question.messages(model), _Heard(), self._shared
        seconds = min(ANSWER_LIMIT, max(1.0, question.left))
        request = Request(messages, question.tools, seconds, heard.say, question.cancel)
        if model.name == EXPERT:  # reads the evidence, and sends nothing anywhere
            return (yield from self._waited(model, question, request, heard))
        if (known := shared.cache.get(model, request)) is not None:
            yield ModelAnswered(question.turn, model.name, 0.0, finish=known.finish, cached=True)
            return known
        counted, began = model.count(request), time.monotonic()
        hold = shared.budget.reserve(model.name, model.price, counted, model.settings.max_output)
        request = replace(request, again=hold.again)
        stopped: Cancelled | None = None
        outcome: Answer | ModelFailed = ModelFailed("cut before it was sent")
        try:
            request = yield from self._in_turn(model, request, counted)
            request = replace(request, seconds=max(1.0, min(request.seconds, question.answer)))
            yield self._sending(model, question, messages)
            outcome = ModelFailed("cut", tokens=Tokens(counted, estimated=True))
            outcome = yield from self._waited(model, question, request, heard)
        except ModelFailed as error:
            outcome = self._masked(error)
        except Cancelled as cut:
            stopped = cut
        finally:  # also where the run is closed meanwhile
            cost = _settled(hold, outcome)
            told = _told(question.turn, model.name, outcome, cost, time.monotonic() - began)
            self.used = plus(self.used, told)
        yield told
        small = self._small(model, counted, outcome.tokens)
        for warning in filter(None, (small, shared.budget.warning(), shared.cache.warning())):
            yield Note(warning, "warning")
        if stopped is not None:
            raise stopped
        if isinstance(outcome, ModelFailed):
            if not outcome.well:
                shared.health.failed(model.provider, str(outcome))
            raise outcome
        shared.health.worked(model.provider)
        shared.cache.put(model, request, outcome)
        return outcome

    def _small(self, model: Asked, counted: int, tokens: Tokens) -> str:
        """A local server cuts a prompt that is too long for it, and says nothing. Told once."""
        told = LEAST_CONTEXT <= tokens.into < counted * CUT and not tokens.estimated
        if not told or model.name in self._cut_short:
            return ""
        self._cut_short.add(model.name)
        return (
            f"{model.name} read {tokens.into:,} tokens of about {counted:,}: its context seems to "
            "be smaller than the prompt; make it larger at the server, or set it in the settings: "
            f"models: {{{model.name}: {{context: {tokens.into}}}}}"
        )

    def _in_turn(
        self, model: Asked, request: Request, counted: int
    ) -> Generator[AnyEvent, None, Request]:
        """Wait as long as the provider's rate limit asks for; the rest of the time is the
        request's. Raises TooFast where that is too long, Cancelled by the operator."""
        about, cancel = model.settings, request.cancel
        if about.requests_per_minute is about.tokens_per_minute is None:
            return request
        pace = self._shared.pace
        work = begin(lambda: pace.wait(model.provider, about, counted, request.seconds, cancel))
        if not wait([work], NOTICED).done:
            yield Waiting(f"the rate limit of {model.provider}", request.seconds)
        waited: float = work.result()
        return replace(request, seconds=request.seconds - waited)

    def _sending(self, model: Asked, question: Question, messages: Sequence[Message]) -> ModelAsked:
        """The record of what leaves this machine: what that model has not been sent before."""
        texts = dict.fromkeys((message.role, _written(message)) for message in messages)
        before = self._sent.get(model.name, set())
        self._sent[model.name] = set(texts)
        new: tuple[Json, ...] = tuple(
            {"role": role, "text": text} for role, text in texts if (role, text) not in before
        )
        tools = tuple(tool.name for tool in question.tools)
        endpoint = self._mask(model.endpoint)
        tier, real = question.tier, model.settings.model
        return ModelAsked(question.turn, model.name, new, endpoint, tools, tier, real)

    def _waited(
        self, model: Asked, question: Question, request: Request, heard: "_Heard"
    ) -> Generator[AnyEvent, None, Answer]:
        """Let it think, and tell what it says meanwhile. Raises Cancelled when it is cut."""
        work = begin(lambda: model.ask(request))
        end = time.monotonic() + request.seconds + GRACE
        shown = time.monotonic()
        while not wait([work], LOOK).done:
            if request.cancel.is_set():
                raise Cancelled("the model was thinking")
            now = time.monotonic()
            if now > end:
                late = Tokens(model.count(request), estimated=True)
                raise ModelFailed(f"no answer within {request.seconds:.0f} s", tokens=late)
            if now - shown >= SHOWN and (text := heard.news()):
                shown = now
                yield ModelHeard(question.turn, model.name, self._mask(text))
        if request.cancel.is_set():  # it may have seen that first, and call it a failure
            raise Cancelled("the model was thinking")
        return _result(work)

    def _masked(self, error: ModelFailed) -> ModelFailed:
        """Providers quote keys: masked before a cut could halve one."""
        text = one_line(self._mask(str(error)), 300)
        return ModelFailed(text, lasting=error.lasting, well=error.well, tokens=error.tokens)


class _Heard:
    """What a model has said so far: written by the thread that asks, read by the run."""

    def __init__(self) -> None:
        self._text = ""

    def say(self, text: str) -> None:
        self._text = text

    def news(self) -> str:
        """The text, where it has changed since the last time; else ""."""
        text, self._text = self._text, ""
        return text


def _result(work: "Future[Answer]") -> Answer:
    """Raises ModelFailed for whatever a model raised."""
    error = work.exception()
    if error is None:
        return work.result()
    if isinstance(error, ModelFailed):
        raise error
    raise ModelFailed(said(error)) from error


def _written(message: Message) -> str:
    """A message with its calls, as a person can read it."""
    calls = [f"{call.name} {native.encoded(call.arguments)}" for call in message.calls]
    return "\n".join([*([message.text] if message.text else []), *calls])


def _settled(hold: Hold, outcome: Answer | ModelFailed) -> float:
    """US dollars."""
    answered, tokens = isinstance(outcome, Answer), outcome.tokens
    return hold.settle(tokens) if answered else hold.failed(tokens)


def _told(
    turn: int, name: str, outcome: Answer | ModelFailed, cost: float, seconds: float
) -> ModelAnswered:
    tokens = outcome.tokens
    return ModelAnswered(
        turn,
        name,
        round(seconds, 3),
        tokens.into,
        tokens.out,
        tokens.cached,
        cost,
        tokens.estimated,
        finish=one_line(outcome.finish, 40) if isinstance(outcome, Answer) else "",
        error="" if isinstance(outcome, Answer) else str(outcome),
    )
