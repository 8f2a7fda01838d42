"""The models of one run, and who is asked next.

    tier -> the first of the chain that works -> cache -> budget -> pace -> the model
            it fails, or gives nothing usable, or would cost too much -> the next of the chain
                                                                 ... -> the expert, always last

A question costs at most what `budget` has left: its worst case is reserved before it is sent.
"""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace

from smolagents import Tool

from smoldebug.clock import Clock
from smoldebug.conversation import Message
from smoldebug.errors import LimitReached
from smoldebug.events import (
    AnyEvent,
    ModelAnswered,
    ModelAsked,
    ModelHeard,
    ModelSwitched,
    Note,
    Waiting,
)
from smoldebug.model import native
from smoldebug.model.asking import Answer, Asked, ModelFailed, Request, Tokens
from smoldebug.model.budget import Budget, Hold, OverBudget
from smoldebug.model.cache import ResponseCache
from smoldebug.model.health import Health
from smoldebug.model.pace import Pace
from smoldebug.records import Json, Usage
from smoldebug.toolset import Cancelled, begin, said
from smoldebug.untrusted import one_line, plain

EXPERT = "expert"
HAND_OVER = "escalate"  # the tool that ends a run
ANSWER_LIMIT = 300.0  # seconds for one answer, tries included
WORDS_LIMIT = 60.0  # seconds for a text that nothing depends on
ASIDE = 60.0  # seconds for which a run does not ask a model again that failed
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
    """What a chain shares with other runs: money, patience, and what was answered before."""

    budget: Budget
    pace: Pace
    health: Health
    cache: ResponseCache


@dataclass(frozen=True)
class Question:
    """One turn's question. `left`: seconds that the run has."""

    turn: int
    messages: Messages
    tools: Sequence[Tool] = ()
    tier: str = ""
    left: float = float("inf")
    cancel: threading.Event = field(default_factory=threading.Event)


class Chain:
    """`cheap` and `strong` are the models in the order they are asked, the same twice where the
    playbook has one chain; `last` is the expert, which needs nothing and costs nothing."""

    def __init__(
        self,
        cheap: Sequence[Asked],
        strong: Sequence[Asked],
        last: Asked,
        shared: Shared,
        clock: Clock,
        mask: Mask,
    ) -> None:
        self._tiers = {"cheap": list(cheap), "strong": list(strong)}
        self._last, self._shared, self._clock, self._mask = last, shared, clock, mask
        self._aside: dict[str, tuple[float, str]] = {}  # name -> (until, why), by this run's clock
        self._cut_short: set[str] = set()  # models that read less than they were sent
        self._asked_again: set[str] = set()  # before the expert handed over
        self._sent: dict[str, set[tuple[str, str]]] = {}
        self._tier = ""  # of the last question
        self.stop_over_budget = False  # in place of going on with the expert
        self.current = self._first().name
        self.used = Usage()

    @property
    def tiered(self) -> bool:
        return self._tiers["cheap"] != self._tiers["strong"]

    def names(self) -> tuple[str, ...]:
        """Every model but the expert, which is always there; the expert alone is `expert`."""
        found = dict.fromkeys(model.name for tier in self._tiers.values() for model in tier)
        return tuple(found) or (self._last.name,)

    # --- questions --------------------------------------------------------------------------

    def ask(self, question: Question) -> Generator[AnyEvent, None, Answer]:
        """The answer of the first model that gives one. Raises ModelFailed when the last one
        fails, LimitReached when the budget says so, Cancelled by the operator."""
        failed: ModelFailed | OverBudget | None = None
        end, self._tier = self._clock.monotonic() + question.left, question.tier
        for model in self._order(question.tier):
            if isinstance(failed, OverBudget) and model is self._last and self.stop_over_budget:
                raise LimitReached(str(failed))
            left = end - self._clock.monotonic()  # one that hangs takes the next one's time
            if why := self._unavailable(model) or self._too_late(model, left):
                failed = failed or ModelFailed(why)
                continue
            yield from self._switch(question.turn, model, failed)
            try:
                answer = yield from self._asked(model, replace(question, left=left))
            except (ModelFailed, OverBudget) as error:
                self._set_aside(model, error)
                failed = error
                continue
            rest = tuple(call for call in answer.calls if call.name != HAND_OVER)
            if model is self._last and len(rest) < len(answer.calls) and self._rested():
                if rest:  # what it notes is kept; the next turn is the other model's
                    return replace(answer, calls=rest)
                return (yield from self.ask(replace(question, left=end - self._clock.monotonic())))
            return answer
        raise failed or ModelFailed("there is no model to ask")

    def words(self, question: Question) -> Generator[AnyEvent, None, str]:
        """What the first model has to say, without tools; "" where it fails or is the expert, so
        nothing may depend on it."""
        model = self._order(question.tier)[0]
        if model is self._last or self._unavailable(model):
            return ""
        short = replace(question, left=min(question.left, WORDS_LIMIT))
        try:
            answer = yield from self._asked(model, short)
        except (ModelFailed, OverBudget) as error:
            yield Note(f"model {model.name} wrote nothing: {error}", "warning")
            return ""
        except Cancelled:
            return ""
        return self._mask(plain(answer.text))

    def give_up(self, turn: int, why: str) -> Generator[AnyEvent, None, bool]:
        """Ask the current model no more in this run; False where nobody else is left."""
        others = [
            model
            for model in self._order(self._tier)
            if model.name != self.current and not self._unavailable(model)
        ]
        if not others or self.current == self._last.name:
            return False
        self._aside[self.current] = float("inf"), why
        yield from self._switch(turn, others[0], ModelFailed(why))
        return True

    # --- who ----------------------------------------------------------------------------------

    def _first(self) -> Asked:
        return next(iter(self._order("")))

    def _order(self, tier: str) -> list[Asked]:
        """The tier's models, those of the other one, the expert; each once."""
        other = "cheap" if tier == "strong" else "strong"
        models = [*self._tiers[tier or "cheap"], *self._tiers[other], self._last]
        return list({model.name: model for model in models}.values())

    def _unavailable(self, model: Asked) -> str:
        """Why it is not asked now; "" when it is."""
        until, why = self._aside.get(model.name, (0.0, ""))
        if self._clock.monotonic() < until:
            return why
        closed = self._shared.health.closed_until(model.provider)
        if closed is not None and model.provider:
            return f"{model.provider} failed before and is left alone until {closed:%H:%M:%S}"
        return ""

    def _too_late(self, model: Asked, left: float) -> str:
        """What is sent must be paid for, whether there is time to hear the answer or not."""
        return "no time is left" if left <= 0 and model is not self._last else ""

    def _rested(self) -> bool:
        """Before the expert hands over, whoever only failed for a moment is asked once more."""
        now = self._clock.monotonic()
        resting = [
            model
            for model in self._order("")
            if now < self._aside.get(model.name, (0.0, ""))[0] < float("inf")
            and model.name not in self._asked_again
        ]
        for model in resting:
            self._aside[model.name] = now, ""
            self._asked_again.add(model.name)
        return bool(resting)

    def _set_aside(self, model: Asked, error: ModelFailed | OverBudget) -> None:
        lasting = isinstance(error, OverBudget) or error.lasting
        until = float("inf") if lasting else self._clock.monotonic() + ASIDE
        self._aside[model.name] = until, str(error)

    def _switch(
        self, turn: int, model: Asked, failed: ModelFailed | OverBudget | None
    ) -> Generator[AnyEvent, None, None]:
        """From now on this one; another tier's turn is told by who is asked, and is no event."""
        before, self.current = self.current, model.name
        again = self._aside.pop(model.name, None) is not None
        why = str(failed or ("it may answer again" if again else ""))
        if before != model.name and why:
            yield ModelSwitched(turn, before, model.name, why)

    # --- one model ------------------------------------------------------------------------------

    def _asked(self, model: Asked, question: Question) -> Generator[AnyEvent, None, Answer]:
        """One question to one model, paid for. Raises ModelFailed or OverBudget."""
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
        stopped: Cancelled | None = None
        outcome: Answer | ModelFailed = ModelFailed("cut before it was sent")
        try:
            request = yield from self._in_turn(model, request, counted)
            yield self._sending(model, question, messages)
            outcome = ModelFailed("cut", tokens=Tokens(counted, estimated=True))
            outcome = yield from self._waited(model, question, request, heard)
        except ModelFailed as error:
            outcome = self._masked(error)
        except Cancelled as cut:
            stopped = cut
        finally:  # also where the run is closed meanwhile
            cost = self._settle(hold, outcome)
        yield _told(question.turn, model.name, outcome, cost, time.monotonic() - began)
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
        return replace(request, seconds=max(1.0, request.seconds - waited))

    def _sending(self, model: Asked, question: Question, messages: Sequence[Message]) -> ModelAsked:
        """The record of what leaves this machine: what that model has not been sent before."""
        texts = dict.fromkeys((message.role, _written(message)) for message in messages)
        before = self._sent.get(model.name, set())
        self._sent[model.name] = set(texts)
        new: tuple[Json, ...] = tuple(
            {"role": role, "text": text} for role, text in texts if (role, text) not in before
        )
        tools = tuple(tool.name for tool in question.tools)
        tier = question.tier if self.tiered else ""
        endpoint = self._mask(model.endpoint)
        return ModelAsked(question.turn, model.name, new, endpoint, tools, tier)

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

    def _settle(self, hold: Hold, outcome: Answer | ModelFailed) -> float:
        answered, tokens = isinstance(outcome, Answer), outcome.tokens
        cost = hold.settle(tokens) if answered else hold.failed(tokens)
        self.used = replace(
            self.used,
            calls=self.used.calls + 1,
            tokens_in=self.used.tokens_in + tokens.into,
            tokens_out=self.used.tokens_out + tokens.out,
            cached_in=self.used.cached_in + tokens.cached,
            cost=self.used.cost + cost,
        )
        return cost


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
