"""smolagents' ToolCallingAgent, made safe enough to touch a cluster, and its turns as events.

What it changes of smolagents 1.26, and why (tests/test_upstream_facts.py pins the facts):
  - a call is checked in full before it runs; stock runs a cut-off call with the raw text
  - an answer that the provider cut off runs no call at all, even where the rest parses
  - one failing call keeps the results of the others; answers come in call order
  - every tool and model call has a time limit and can be cut by the operator
  - final_answer ends nothing: the goal does (`run.py`); the same under `python -O`
  - the prompt holds a window of turns, and no step keeps a copy of the history
  - running out of turns costs no extra model call
  - a model that fails is replaced by the next of the chain; the last one is the expert
Private name touched: _finalize_step.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from smolagents import ToolCallingAgent
from smolagents.agents import EMPTY_PROMPT_TEMPLATES
from smolagents.memory import ActionStep, TaskStep, ToolCall
from smolagents.models import ChatMessage, MessageRole, Model
from smolagents.monitoring import AgentLogger, TokenUsage
from smolagents.utils import AgentError, AgentGenerationError

from smoldebug.change import CHANGED, Executor
from smoldebug.clock import Clock
from smoldebug.errors import UnreachableError
from smoldebug.events import (
    AnyEvent,
    HypothesesChanged,
    ModelAsked,
    Note,
    Thought,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
)
from smoldebug.model.described import Described
from smoldebug.notebook import Notebook
from smoldebug.records import Card, Change, Evidence, Json, Observation, Usage
from smoldebug.toolset import Answer, Cancelled, Toolset, within_limit
from smoldebug.untrusted import one_line, plain, whole

WINDOW = 12  # turns the prompt holds; everything stays in the journal and the evidence store
EXPERT = "expert"
MODEL_LIMIT = 300.0  # seconds for one answer of a model
WORDS_LIMIT = 60.0  # seconds for a text that nothing depends on
NOT_DONE = "ERROR the goal is not met, so there is no final answer yet. Go on, or call escalate."


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

    `models` is the fallback chain, tried in order. `limits` fills the usage of the events.
    """

    def __init__(
        self,
        models: Sequence[Model],
        toolset: Toolset,
        notebook: Notebook,
        executor: Executor,
        signals: Signals,
        clock: Clock,
    ) -> None:
        self.models, self.toolset, self.notebook = list(models), toolset, notebook
        self.executor, self.signals, self.clock = executor, signals, clock
        self.usage = Usage()
        self.endpoint = ""  # base URL of the models, where one was named: for the record
        self.time_left: Callable[[], float] = lambda: float("inf")
        self.pending: Card | None = None  # waits for an approval that nobody can give now
        self._agent: _ToolCallingAgent | None = None

    @property
    def model(self) -> str:
        return str(self.models[0].model_id)

    def turns(self, system: str, task: str, max_steps: int) -> Iterator[AnyEvent | TurnEnded]:
        """Yield events; may be closed after any of them. Raises UnreachableError when the last
        model of the chain fails."""
        agent = self._agent = _ToolCallingAgent(self, system, max_steps)
        reset = True
        while True:
            stream = agent.run(
                task, stream=True, reset=reset, max_steps=max_steps - self.usage.turns
            )
            try:
                yield from self._events(stream)
                return
            except Cancelled:  # by the operator, while the model was thinking
                return
            except AgentGenerationError as error:
                cause = self._cause(error)
                if len(self.models) == 1:
                    raise UnreachableError(f"model {self.model} failed: {cause}") from error
                failed = self.models.pop(0)
                agent.model, agent.sent = _Cuttable(self), set()
                text = f"model {failed.model_id} failed, {self.model} goes on: {cause}"
                yield Note(text, "warning")
                task, reset = "Go on from here.", False
            finally:
                close(stream)

    def tell(self, text: str) -> None:
        """Add to what the model reads about the turn that just ended."""
        steps = self._agent.memory.steps if self._agent else []
        if steps and isinstance(steps[-1], ActionStep):
            last = steps[-1]
            last.observations = f"{last.observations}\n{text}" if last.observations else text

    def words(self, prompt: str) -> Generator[AnyEvent, None, str]:
        """What the first model has to say, without tools; "" where it fails or is the expert, so
        nothing may depend on it. Secrets are masked on the way out."""
        if self.model == EXPERT:
            return ""
        sent = self.toolset.redactor.text(prompt)
        said = {"role": MessageRole.USER.value, "text": sent}
        yield ModelAsked(self.usage.turns, self.model, (said,), self.endpoint)
        part = [{"type": "text", "text": sent}]
        asked = [ChatMessage(role=MessageRole.USER, content=part)]
        limit = min(WORDS_LIMIT, max(1.0, self.time_left()))
        try:
            done = within_limit(lambda: self.models[0].generate(asked), limit, self.signals.cut)
        except Cancelled:
            return ""
        failed = f"no answer within {limit:.0f} s" if done is None else done.exception()
        if done is None or failed is not None:
            why = one_line(self.toolset.redactor.text(str(failed)), 300)
            yield Note(f"model {self.model} wrote nothing: {why}", "warning")
            return ""
        self._spend(done.result().token_usage)
        return _text(done.result().content)

    def _cause(self, error: AgentError) -> str:
        """Why a model failed. Providers quote keys: masked before a cut could halve one."""
        text = self.toolset.redactor.text(str(error.__cause__ or error.message))
        return one_line(text, 300)

    def _events(self, stream: Iterator[Any]) -> Iterator[AnyEvent | TurnEnded]:
        ended: ActionStep | None = None
        for item in stream:
            if isinstance(item, AnyEvent):
                yield item
            elif isinstance(item, ActionStep) and item is not ended:  # the last one comes twice
                ended = item
                yield from self._turn_ended(item)

    def _turn_ended(self, step: ActionStep) -> Iterator[AnyEvent | TurnEnded]:
        if step.error is not None and not isinstance(step.error, AgentGenerationError):
            yield Note(one_line(f"the model's answer could not be used: {step.error.message}"))
        if isinstance(step.error, AgentGenerationError) or step.model_output_message is None:
            return  # the model failed: no turn
        self._count(step.token_usage)
        patience, self.notebook.patience = self.notebook.patience, 0.0
        yield TurnEnded(self.usage.turns, self.used(), patience, self.pending)

    def _count(self, used: TokenUsage | None) -> None:
        self._spend(used)
        self.usage = replace(self.usage, turns=self.usage.turns + 1)

    def _spend(self, used: TokenUsage | None) -> None:
        self.usage = replace(
            self.usage,
            tokens_in=self.usage.tokens_in + (used.input_tokens if used else 0),
            tokens_out=self.usage.tokens_out + (used.output_tokens if used else 0),
        )

    def used(self) -> Usage:
        """Usage now, with the changes made so far."""
        return replace(self.usage, changes=len({change.target for change in self.executor.changes}))


class _Cuttable(Model):
    """The chain's first model, called so that a time limit and Ctrl-C can cut it."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(model_id=agent.model)
        self._agent, self._model = agent, agent.models[0]

    def generate(self, messages: list[ChatMessage], **options: Any) -> ChatMessage:
        limit = min(MODEL_LIMIT, max(1.0, self._agent.time_left()))
        done = within_limit(
            lambda: self._model.generate(messages, **options), limit, self._agent.signals.cut
        )
        if done is None:
            raise TimeoutError(f"no answer within {limit:.0f} s")
        answer = done.result()
        answer.content = _text(answer.content) or None  # an empty text is refused when sent back
        if _cut_off(answer):
            answer.tool_calls = None
        return answer

    def parse_tool_calls(self, message: ChatMessage) -> ChatMessage:
        if _cut_off(message):
            raise ValueError("it was cut off by the provider; NOTHING was executed. Be shorter.")
        return self._model.parse_tool_calls(message)


def _text(content: Any) -> str:
    """An answer's text. It goes back to the provider with the next request, so it must be
    encodable."""
    return plain(_joined(content))


def _joined(content: Any) -> str:
    """A message's text, of which some come in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _cut_off(message: ChatMessage) -> bool:
    """Whether the provider ended the answer before the model did. What is left may parse and still
    not be what was meant: `replicas: 2` of 20. smolagents never reads the reason; `raw` holds it,
    in OpenAI's shape for every API model. A model without `raw` is taken at its word."""
    choices = getattr(message.raw, "choices", None) or [None]
    return getattr(choices[0], "finish_reason", None) in ("length", "content_filter")


class _ToolCallingAgent(ToolCallingAgent):
    def __init__(self, driver: Agent, system: str, max_steps: int) -> None:
        from rich.console import Console

        self.driver = driver
        self.tasks: list[TaskStep] = []
        self.prompt: list[ChatMessage] | None = None  # of the turn that begins, made for the record
        self.masked: dict[str, str] = {}  # texts of the last prompt, without their secrets
        self.sent: set[tuple[str, str]] = set()  # role and text of each message of the last prompt
        self.scanned = 0  # steps of the memory among which tasks have been looked for
        super().__init__(
            tools=[Described(spec) for spec in driver.toolset.specs.values()],
            model=_Cuttable(driver),
            prompt_templates={**EMPTY_PROMPT_TEMPLATES, "system_prompt": "{{custom_instructions}}"},
            instructions=system,
            max_steps=max_steps,
            verbosity_level=-1,
            logger=AgentLogger(level=-1, console=Console(quiet=True)),
            stream_outputs=False,
        )
        self.tools.pop("final_answer", None)  # the goal ends the run, not the model

    def write_memory_to_messages(self, summary_mode: bool = False) -> list[ChatMessage]:
        """System prompt, every task, a note on what is missing, the last turns."""
        prompt, self.prompt = self.prompt, None
        if prompt is not None:
            return prompt
        steps = self.memory.steps
        self.tasks += [step for step in steps[self.scanned :] if isinstance(step, TaskStep)]
        self.scanned = len(steps)  # looking at all of them each turn costs the square of the turns
        tasks, recent = self.tasks, steps[-WINDOW - len(self.tasks) :]
        shown = [step for step in recent if not isinstance(step, TaskStep)][-WINDOW:]
        left_out = len(steps) - len(tasks) - len(shown)
        messages = self.memory.system_prompt.to_messages(summary_mode=summary_mode)
        for step in tasks:
            messages += step.to_messages(summary_mode=summary_mode)
        if left_out:
            note = f"[{left_out} earlier turns left out; their evidence is kept]"
            part = [{"type": "text", "text": note}]
            messages.append(ChatMessage(role=MessageRole.USER, content=part))
        for step in shown:
            messages += step.to_messages(summary_mode=summary_mode)
        return self._masked(messages)

    def _masked(self, messages: Iterable[ChatMessage]) -> list[ChatMessage]:
        """The same without secrets. What was masked for the last prompt is not searched again."""
        mask, before, now = self.driver.toolset.redactor.text, self.masked, {}
        found = list(messages)
        for message in found:
            for part in message.content if isinstance(message.content, list) else ():
                text = part.get("text")
                if isinstance(text, str):
                    part["text"] = now[text] = before.get(text) or mask(text)
        self.masked = now
        return found

    def _unsent(self) -> tuple[Json, ...]:
        """The messages of this turn's prompt, made now, that the last one did not have."""
        self.prompt = self.write_memory_to_messages()
        said = ((message.role.value, _joined(message.content)) for message in self.prompt)
        texts = dict.fromkeys(said)
        new, self.sent = texts.keys() - self.sent, set(texts)
        return tuple({"role": role, "text": text} for role, text in texts if (role, text) in new)

    def _finalize_step(self, memory_step: Any) -> None:
        if isinstance(memory_step, ActionStep):  # upstream's callbacks are not used here
            memory_step.timing.end_time = time.time()
            memory_step.model_input_messages = None  # else memory grows with the square of turns

    def provide_final_answer(self, task: str) -> ChatMessage:
        """Running out of turns is a stop, not a question to the model."""
        return ChatMessage(role=MessageRole.ASSISTANT, content="out of turns")

    def _step_stream(self, memory_step: ActionStep) -> Generator[Any]:
        turn = self.driver.usage.turns + 1
        yield TurnStarted(turn, replace(self.driver.used(), turns=turn))
        if self.driver.model != EXPERT:  # which reads the evidence, and sends nothing anywhere
            yield ModelAsked(
                turn, self.driver.model, self._unsent(), self.driver.endpoint, tuple(self.tools)
            )
        yield from super()._step_stream(memory_step)

    def process_tool_calls(
        self, chat_message: ChatMessage, memory_step: ActionStep
    ) -> Generator[Any]:
        """The calls of one turn, one after another, each answered before the next one starts."""
        turn = self.driver.usage.turns + 1
        if chat_message.content:
            text = one_line(str(chat_message.content), 2000)
            yield Thought(turn, text, self.driver.model)
        calls = [
            ToolCall(
                plain(call.function.name or ""), whole(call.function.arguments), f"t{turn}c{number}"
            )
            for number, call in enumerate(chat_message.tool_calls or [])
        ]
        memory_step.tool_calls = calls
        said: list[str] = []
        for call in calls:
            given = self.driver.toolset.redactor.json(call.arguments)
            yield ToolCalled(turn, call.id, call.name, given)
            answer = yield from self._answer(call)
            cited = f"[{answer.evidence.id}] " if answer.evidence else ""
            said.append(f"{call.name}: {cited}{answer.text}")
            memory_step.observations = "\n".join(said)  # at once: survives a later crash
            yield answered(turn, call, answer)
            if call.name == "hypothesis" and answer.ok:
                yield HypothesesChanged(self.driver.notebook.hypotheses)
            if self.driver.pending or self.driver.signals.cut.is_set():
                return

    def _answer(self, call: ToolCall) -> Generator[AnyEvent, None, Answer]:
        driver = self.driver
        if call.name == "final_answer":
            return Answer(False, NOT_DONE)
        try:
            answer = driver.toolset.call(
                call.name,
                _given(call.arguments),
                limit=driver.time_left(),
                cancel=driver.signals.cut,
            )
        except Cancelled as cut:
            return Answer(False, f"CUT by the operator: {cut}")
        if answer.change is None:
            return answer
        return (yield from self._change(call, answer.change, answer.seconds))

    def _change(
        self, call: ToolCall, change: Change, seconds: float
    ) -> Generator[AnyEvent, None, Answer]:
        cited = change.evidence or self.driver.notebook.evidence_for(change.target)
        outcome = yield from self.driver.executor.execute(replace(change, evidence=cited))
        if outcome.state == "pending":
            self.driver.pending = outcome.card
        if outcome.state in CHANGED:
            self.driver.notebook.patience = change.settle
        text = self.driver.toolset.redactor.text(plain(outcome.text))
        evidence = self._record(call, change, outcome.state, text)
        return Answer(outcome.state == "verified", evidence.observation.text, seconds, evidence)

    def _record(self, call: ToolCall, change: Change, state: str, text: str) -> Evidence:
        data = {"kind": str(change.kind), "target": str(change.target), "state": state}
        seen = Observation(text, data, "change", str(change.target))
        arguments = call.arguments if isinstance(call.arguments, dict) else {}
        return self.driver.toolset.evidence.add(call.name, arguments, seen)


def _given(arguments: Any) -> Any:
    """Arguments without nulls: `nullable` invites a model to send null for what it leaves out."""
    if not isinstance(arguments, dict):
        return arguments
    return {name: value for name, value in arguments.items() if value is not None}


def answered(turn: int, call: ToolCall, answer: Answer) -> ToolAnswered:
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
