"""The models of one run, and who is asked next.

tier -> the first of the chain that works -> call.py -> its answer
        it fails, or gives nothing usable, or would cost too much -> the next of the chain
                                                             ... -> the expert, always last
"""

from collections.abc import Generator, Sequence
from dataclasses import replace

from smoldebug.clock import Clock
from smoldebug.errors import LimitReached
from smoldebug.events import AnyEvent, ModelSwitched, Note
from smoldebug.model.asking import Answer, Asked, ModelFailed
from smoldebug.model.budget import OverBudget
from smoldebug.model.call import ANSWER_LIMIT, Calls, Mask, Question, Shared
from smoldebug.records import Usage
from smoldebug.toolset import Cancelled
from smoldebug.untrusted import plain

HAND_OVER = "escalate"  # the tool that ends a run
WORDS_LIMIT = 60.0  # seconds for a text that nothing depends on
ASIDE = 60.0  # seconds for which a run does not ask a model again that failed


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
        self._asked_again: set[str] = set()  # before the expert handed over
        self._tier = ""  # of the last question
        self._over = ""  # why a model of this run would have cost too much
        self.stop_over_budget = False  # in place of going on with the expert
        self.current = self._first().name
        self._calls = Calls(shared, mask)

    @property
    def used(self) -> Usage:
        """What all models took; the fields that are about models."""
        return self._calls.used

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
            if self._over and model is self._last and self.stop_over_budget:
                raise LimitReached(self._over)
            left = end - self._clock.monotonic()  # one that hangs takes the next one's time
            if why := self._unavailable(model) or self._too_late(model, left):
                failed = failed or ModelFailed(why)
                continue
            yield from self._switch(question.turn, model, failed)
            try:
                share = min(ANSWER_LIMIT, left / 2)  # after one that hangs somebody can go on
                asked = replace(question, left=left, answer=share)
                answer = yield from self._calls.ask(model, asked)
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
            answer = yield from self._calls.ask(model, short)
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
        self._over = str(error) if isinstance(error, OverBudget) else self._over
        if isinstance(error, ModelFailed) and error.well:  # it would not take this once more either
            self._asked_again.add(model.name)
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
