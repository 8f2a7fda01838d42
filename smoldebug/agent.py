"""smolagents' ToolCallingAgent, made safe enough to touch a cluster, and its turns as events.

What it changes of smolagents 1.26, and why (tests/test_upstream_facts.py pins the facts):
  - a turn is ours: who is asked, what is sent and what comes back is the chain's (model/chain.py)
  - a call is checked in full before it runs; stock runs a cut-off call with the raw text
  - an answer without a usable call is told what was wrong and asked again: no turn is lost
  - one failing call keeps the results of the others; answers come in call order
  - every tool and model call has a time limit and can be cut by the operator
  - final_answer ends nothing: the goal does (`run.py`); the same under `python -O`
  - what was said is kept once (conversation.py), not copied into every step
  - running out of turns costs no extra model call
Private name touched: _finalize_step.
"""

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from smolagents import Model, ToolCallingAgent
from smolagents.agents import EMPTY_PROMPT_TEMPLATES
from smolagents.memory import ActionStep
from smolagents.models import ChatMessage, MessageRole
from smolagents.monitoring import AgentLogger

from smoldebug.change import CHANGED, Executor
from smoldebug.clock import Clock
from smoldebug.conversation import Called, Conversation, Message
from smoldebug.errors import UnreachableError
from smoldebug.events import (
    AnyEvent,
    HypothesesChanged,
    Note,
    Thought,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
)
from smoldebug.model.asking import Answer as Said
from smoldebug.model.asking import Asked, ModelFailed
from smoldebug.model.call import Question
from smoldebug.model.chain import Chain
from smoldebug.model.described import Described
from smoldebug.model.tokens import count, estimate
from smoldebug.notebook import Notebook
from smoldebug.past import Past
from smoldebug.prompt import notes_text
from smoldebug.records import Card, Change, Evidence, Observation, Usage
from smoldebug.toolset import Answer, Cancelled, Toolset
from smoldebug.untrusted import one_line, plain, unmarked, whole

REPAIRS = 3  # answers in a row that no call could be made of; then the next model goes on
NOT_DONE = "ERROR the goal is not met, so there is no final answer yet. Go on, or call escalate."
NO_CALL = "there is no tool call in it"
CUT_OFF = "it was cut off by the provider: be shorter"
AGAIN = "ERROR {}. NOTHING was executed. Answer with a call of one of the tools."
TOO_MANY = "ERROR more than {} calls in one answer: the others were NOT executed."
MOST_CALLS = 20  # of one answer: each is answered, and every answer is read again
NAME = 200  # characters of a call's name, that of a tool or not
CHEAP_TURNS = 2  # the first ones: they look around


@dataclass
class Signals:
    """What the operator asked for: Ctrl-C once = `stop` after this turn, twice = `cut` now."""

    stop: threading.Event = field(default_factory=threading.Event)
    cut: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class TurnEnded:
    """What `run.py` decides on after each turn. `patience`: seconds the goal is watched now."""

    turn: int
    usage: Usage
    patience: float = 0.0
    pending: Card | None = None


class Agent:
    """The turns of one run: events out, and a TurnEnded after each.

    `usage` holds the limits, and what an earlier part of the run had used.
    """

    def __init__(
        self,
        chain: Chain,
        toolset: Toolset,
        notebook: Notebook,
        executor: Executor,
        signals: Signals,
        clock: Clock,
    ) -> None:
        self.chain, self.toolset, self.notebook = chain, toolset, notebook
        self.executor, self.signals, self.clock = executor, signals, clock
        self.usage = Usage()
        self.time_left: Callable[[], float] = lambda: float("inf")
        self.confident: Callable[[], bool] = lambda: True  # does the expert know the cause?
        self.pending: Card | None = None  # waits for an approval that nobody can give now
        self.conversation = self._conversation("")

    @property
    def model(self) -> str:
        """Who is asked next."""
        return self.chain.current

    def turns(self, system: str, task: str, max_steps: int) -> Iterator[AnyEvent | TurnEnded]:
        """Yield events; may be closed after any of them. Raises UnreachableError when the last
        model of the chain fails, LimitReached when the budget is used up and nobody goes on."""
        self.conversation = self._conversation(system)
        self.conversation.say(task)
        agent = _ToolCallingAgent(self)
        stream = agent.run(task, stream=True, max_steps=max_steps - self.usage.turns)
        try:
            for item in stream:
                if isinstance(item, AnyEvent | TurnEnded):
                    yield item
        except Cancelled:  # by the operator, while the model was thinking
            return
        except ModelFailed as error:
            raise UnreachableError(f"model {self.model} failed: {error}") from error
        finally:
            close(stream)

    def take_up(self, past: Past) -> None:
        """What an earlier process had found and used."""
        for item in past.evidence:
            self.toolset.evidence.restore(item)
        self.notebook.restore(past.hypotheses)
        used = past.usage
        self.usage = replace(
            self.usage,
            turns=used.turns,
            calls=used.calls,
            tokens_in=used.tokens_in,
            tokens_out=used.tokens_out,
            cached_in=used.cached_in,
            cost=used.cost,
        )

    def tell(self, text: str) -> None:
        """Add to what the model reads about the turn that just ended."""
        self.conversation.tell(text)

    def words(self, prompt: str) -> Generator[AnyEvent, None, str]:
        """What the first model has to say, without tools; "" where it fails or is the expert, so
        nothing may depend on it. Secrets are masked on the way out."""
        asked = (Message("user", self._quoted(prompt)),)
        left, cut = self.time_left(), self.signals.cut
        question = Question(self.usage.turns, lambda model: asked, left=left, cancel=cut)
        return (yield from self.chain.words(question))

    def used(self) -> Usage:
        """Usage now, with the changes made so far."""
        now = self.chain.used
        return replace(
            self.usage,
            calls=self.usage.calls + now.calls,
            tokens_in=self.usage.tokens_in + now.tokens_in,
            tokens_out=self.usage.tokens_out + now.tokens_out,
            cached_in=self.usage.cached_in + now.cached_in,
            cost=round(self.usage.cost + now.cost, 9),
            changes=len({change.target for change in self.executor.changes}),
        )

    # --- one turn ---------------------------------------------------------------------------

    def turn(self, tools: list[Described]) -> Generator[AnyEvent | TurnEnded, None, None]:
        """Ask until a call was carried out: what could not be used is told, and asked again."""
        number = self.usage.turns + 1
        yield TurnStarted(number, replace(self.used(), turns=number))
        calls = 0
        for answers in itertools.count(1):
            said = yield from self.chain.ask(self._question(number, tools))
            usable = yield from self._carried_out(number, said, calls)
            calls += len(said.calls)
            if usable or self.signals.stop.is_set() or self.time_left() <= 0:
                break
            if answers % REPAIRS == 0:
                why = f"{REPAIRS} answers in a row without a usable call"
                if not (yield from self.chain.give_up(number, why)):
                    break
        self.usage = replace(self.usage, turns=number)
        patience, self.notebook.patience = self.notebook.patience, 0.0
        yield TurnEnded(number, self.used(), patience, self.pending)

    def _question(self, turn: int, tools: list[Described]) -> Question:
        def messages(model: Asked) -> list[Message]:
            context, answer = model.settings.context, model.settings.max_output
            if context is None:
                return self._sendable(self.conversation.messages())
            described = count((), tools, model.name)
            return self._sendable(self.conversation.messages(context - answer - described))

        left, cut = self.time_left(), self.signals.cut
        return Question(turn, messages, tools, self._tier(turn), left, cut)

    def _sendable(self, messages: list[Message]) -> list[Message]:
        """What was said before somebody knew that it is a secret is not said again."""
        if self.toolset.redactor.known == self._known:
            return messages
        mask = self.toolset.redactor.text
        return [
            replace(
                message,
                text=mask(message.text),
                calls=tuple(
                    replace(call, arguments=whole(call.arguments, text=mask))
                    for call in message.calls
                ),
            )
            for message in messages
        ]

    def _tier(self, turn: int) -> str:
        """Strong where two causes compete, or nobody is confident of one after the first turns."""
        if not self.chain.tiered:
            return ""
        if turn <= CHEAP_TURNS:
            return "cheap"
        rivals = [item for item in self.notebook.hypotheses if item.status in ("open", "testing")]
        return "strong" if len(rivals) > 1 or not self.confident() else "cheap"

    def _carried_out(self, turn: int, said: Said, before: int) -> Generator[AnyEvent, None, bool]:
        """The calls of an answer, one after another, each answered before the next one starts.
        False where none of them could be used. `before`: calls of this turn's earlier answers."""
        text = self.toolset.redactor.text(plain(said.text))
        if text:
            yield Thought(turn, one_line(text, 2000), self.model)
        calls = [
            Called(f"t{turn}c{number}", plain(call.name)[:NAME], whole(call.arguments))
            for number, call in enumerate(said.calls[:MOST_CALLS], start=before)
        ]
        self.conversation.turn(text, calls)
        if not calls:
            problem = CUT_OFF if said.cut_off else said.problem or NO_CALL
            problem = self.toolset.redactor.text(plain(problem))
            yield Note(f"the model's answer could not be used: {one_line(problem, 300)}")
            self.conversation.tell(AGAIN.format(problem))
            return False
        usable = False
        for call in calls:
            given = self.toolset.redactor.json(call.arguments)
            yield ToolCalled(turn, call.id, call.name, given)
            answer = yield from self._answer(call)
            seen = answer.evidence
            text = seen.observation.text if seen else answer.text
            self.conversation.answered(call.id, text, seen.id if seen else "")
            usable |= not answer.refused
            yield answered(turn, call, answer)
            if call.name == "hypothesis" and answer.ok:
                yield HypothesesChanged(self.notebook.hypotheses)
            if self.pending or self.signals.cut.is_set():
                return True
        if len(said.calls) > len(calls):
            self.conversation.tell(TOO_MANY.format(MOST_CALLS))
        return usable

    def _answer(self, call: Called) -> Generator[AnyEvent, None, Answer]:
        if call.name == "final_answer":
            return Answer(False, NOT_DONE, refused=True)
        try:
            answer = self.toolset.call(
                call.name,
                _given(call.arguments),
                limit=self.time_left(),
                cancel=self.signals.cut,
            )
        except Cancelled as cut:
            return Answer(False, f"CUT by the operator: {cut}")
        if answer.change is None:
            return answer
        return (yield from self._change(call, answer.change, answer.seconds))

    def _change(
        self, call: Called, change: Change, seconds: float
    ) -> Generator[AnyEvent, None, Answer]:
        cited = change.evidence or self.notebook.evidence_for(change.target)
        outcome = yield from self.executor.execute(replace(change, evidence=cited))
        if outcome.state == "pending":
            self.pending = outcome.card
        if outcome.state in CHANGED:
            self.notebook.patience = change.settle
        text = self.toolset.redactor.text(plain(outcome.text))
        evidence = self._record(call, change, outcome.state, text)
        return Answer(outcome.state == "verified", evidence.observation.text, seconds, evidence)

    def _record(self, call: Called, change: Change, state: str, text: str) -> Evidence:
        data = {"kind": str(change.kind), "target": str(change.target), "state": state}
        seen = Observation(text, data, "change", str(change.target))
        arguments = call.arguments if isinstance(call.arguments, dict) else {}
        return self.toolset.evidence.add(call.name, arguments, seen)

    def _conversation(self, system: str) -> Conversation:
        self._known = self.toolset.redactor.known
        return Conversation(system, self._quoted, estimate, self._notes)

    def _quoted(self, text: str) -> str:
        return unmarked(self.toolset.redactor.text(text))

    def _notes(self) -> str:
        """What must outlive the turns it comes from."""
        return notes_text(self.notebook.hypotheses, self.toolset.evidence)


class _ToolCallingAgent(ToolCallingAgent):
    """smolagents' loop around our turns."""

    def __init__(self, driver: Agent) -> None:
        from rich.console import Console

        self.driver = driver
        super().__init__(
            tools=[Described(spec) for spec in driver.toolset.specs.values()],
            model=Model(model_id=driver.model),  # never asked: the chain is
            prompt_templates={**EMPTY_PROMPT_TEMPLATES, "system_prompt": ""},
            verbosity_level=-1,
            logger=AgentLogger(level=-1, console=Console(quiet=True)),
            stream_outputs=False,
        )
        self.tools.pop("final_answer", None)  # the goal ends the run, not the model

    def _step_stream(self, memory_step: ActionStep) -> Generator[Any]:
        yield from self.driver.turn(list(self.tools.values()))

    def _finalize_step(self, memory_step: Any) -> None:
        if isinstance(memory_step, ActionStep):  # upstream's callbacks are not used here
            memory_step.timing.end_time = time.time()

    def provide_final_answer(self, task: str) -> ChatMessage:
        """Running out of turns is a stop, not a question to the model."""
        return ChatMessage(role=MessageRole.ASSISTANT, content="out of turns")


def _given(arguments: Any) -> Any:
    """Arguments without nulls: `nullable` invites a model to send null for what it leaves out."""
    if not isinstance(arguments, dict):
        return arguments
    return {name: value for name, value in arguments.items() if value is not None}


def answered(turn: int, call: Called, answer: Answer) -> ToolAnswered:
    return ToolAnswered(
        turn,
        call.id,
        call.name,
        answer.ok,
        answer.text,
        round(answer.seconds, 3),
        answer.evidence.id if answer.evidence else "",
        answer.evidence.observation if answer.evidence else None,
        answer.flags,
    )


def close(stream: Any) -> None:
    """Close smolagents' stream, in the middle of a step too: upstream yields inside `finally`
    there, so the first close() raises after storing the step and the second one ends it."""
    try:
        stream.close()
    except RuntimeError:
        stream.close()
