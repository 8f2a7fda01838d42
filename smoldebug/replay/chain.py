"""The models of a recorded run: what they answered, cost and failed of."""

from collections.abc import Generator
from dataclasses import replace

from smoldebug.conversation import Called
from smoldebug.errors import LimitReached
from smoldebug.events import (
    AnyEvent,
    Event,
    GoalChecked,
    ModelAnswered,
    ModelAsked,
    ModelSwitched,
    Note,
    RunEnded,
    RunStarted,
    Thought,
    ToolCalled,
    TurnStarted,
    UndoBegan,
    Waiting,
)
from smoldebug.model.asking import Answer, ModelFailed, Tokens
from smoldebug.model.call import Question
from smoldebug.model.chain import Chain
from smoldebug.past import Past
from smoldebug.records import Usage
from smoldebug.replay.script import NotRecordedError, Script
from smoldebug.status import ExitStatus
from smoldebug.toolset import Cancelled
from smoldebug.usage import plus

UNUSABLE = "the model's answer could not be used: "  # as the agent notes it
_OF_MODELS = (ModelAsked, ModelAnswered, ModelSwitched)
_TOLD = (*_OF_MODELS, Note, Waiting)  # by a chain
_OVER: tuple[type[Event], ...] = (*_OF_MODELS, TurnStarted, GoalChecked, UndoBegan, RunEnded)


class RecordedChain(Chain):
    """Who is asked, what is said and what that costs happens as it was recorded."""

    def __init__(self, script: Script, started: RunStarted, past: Past | None) -> None:
        self._script, self._before = script, past.usage if past else Usage()
        self._models = tuple(started.model.split(", "))
        self.current, self._used = self._models[0], Usage()
        self.stop_over_budget = False

    @property
    def used(self) -> Usage:
        return self._used

    @property
    def tiered(self) -> bool:
        return False

    def names(self) -> tuple[str, ...]:
        return self._models

    def ask(self, question: Question) -> Generator[AnyEvent, None, Answer]:
        script = self._script
        while isinstance(event := script.following, _TOLD) and not _unusable(event):
            script.move(script.at + 1)
            self._count(event)
            yield event
        if not isinstance(event, Thought | ToolCalled) and not _unusable(event):
            self._fail()
        return self._answer()

    def give_up(self, turn: int, why: str) -> Generator[AnyEvent, None, bool]:
        event = self._script.following
        if not isinstance(event, ModelSwitched):
            return False
        self._script.move(self._script.at + 1)
        self._count(event)
        yield event
        return True

    def _answer(self) -> Answer:
        text, problem, calls = "", "", list[Called]()
        for stamped in self._script.events[self._script.at :]:
            match event := stamped.event:
                case Thought():
                    text, self.current = event.text, event.model
                case ToolCalled():
                    calls.append(Called(event.call, event.tool, event.arguments))
                case Note() if _unusable(event) and not calls:
                    problem = event.text.removeprefix(UNUSABLE)
                    break
            if isinstance(event, _OVER):
                break
        return Answer(text, tuple(calls), Tokens(), problem=problem)

    def _fail(self) -> None:
        """Nobody answered: the run ended, for a reason that it told."""
        undoing = self._script.peek(UndoBegan, until=(TurnStarted,))
        ended = undoing or self._script.peek(RunEnded, until=(TurnStarted,))
        if ended is None:
            raise NotRecordedError("no model was asked once more in the recording")
        if isinstance(ended, RunEnded) and ended.status is ExitStatus.INTERRUPTED:
            self._cut(ended.usage)
            raise Cancelled("the model was thinking")
        if ended.status is ExitStatus.LIMIT:
            raise LimitReached(ended.reason)
        raise ModelFailed(ended.reason.removeprefix(f"model {self.current} failed: "))

    def _cut(self, total: Usage) -> None:
        """A call that was cut has cost what nothing but the end of the run tells."""
        before = self._before
        self._used = replace(
            self._used,
            calls=total.calls - before.calls,
            tokens_in=total.tokens_in - before.tokens_in,
            tokens_out=total.tokens_out - before.tokens_out,
            cached_in=total.cached_in - before.cached_in,
            cost=total.cost - before.cost,
        )

    def _count(self, event: AnyEvent) -> None:
        if isinstance(event, ModelSwitched):
            self.current = event.to
        elif isinstance(event, ModelAnswered):
            self._used = plus(self._used, event)


def _unusable(event: AnyEvent | None) -> bool:
    return isinstance(event, Note) and event.text.startswith(UNUSABLE)
