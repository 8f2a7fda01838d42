"""The events of one run as spans and measurements, named as the GenAI conventions name them."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from smoldebug import __version__
from smoldebug.events import (
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Continued,
    GoalChecked,
    ModelAnswered,
    ModelAsked,
    ModelSwitched,
    PhaseBegan,
    RunEnded,
    RunStarted,
    Stamped,
    Thought,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
    UndoIntended,
    Waiting,
)
from smoldebug.records import Answer
from smoldebug.status import ExitStatus
from smoldebug.untrusted import clip, one_line, plain

NAME = 200  # characters of a name
TEXT = 8000  # characters of a prompt or an observation, where they are asked for
GOOD = ("applied", "verified", "undone")  # states of a change
RUN, PHASE, TURN, CALL, CHANGE = range(5)  # a span ends when another of its rank or above begins
TOKENS = [4**power for power in range(14)]
SECONDS = [0.01 * 2**power for power in range(14)]
RUNS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600]  # seconds
#: What the convention calls providers that our model names call otherwise
PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
Attributes = dict[str, Any]


@dataclass(frozen=True)
class Meters:
    tokens: Any
    answered: Any
    ran: Any
    cost: Any
    changes: Any
    turns: Any

    @classmethod
    def of(cls, meter: Meter) -> "Meters":
        timed = meter.create_histogram
        return cls(
            timed(
                "gen_ai.client.token.usage",
                "{token}",
                "Tokens of one call of a model.",
                explicit_bucket_boundaries_advisory=TOKENS,
            ),
            timed(
                "gen_ai.client.operation.duration",
                "s",
                "How long one call of a model took.",
                explicit_bucket_boundaries_advisory=SECONDS,
            ),
            timed(
                "smoldebug.run.duration",
                "s",
                "How long a run took.",
                explicit_bucket_boundaries_advisory=RUNS,
            ),
            meter.create_counter("smoldebug.cost", "{USD}", "What models have cost."),
            meter.create_counter("smoldebug.changes", "{change}", "Changes, by what became."),
            meter.create_counter("smoldebug.turns", "{turn}", "Turns of the agent."),
        )


@dataclass(frozen=True)
class Out:
    tracer: Tracer
    meters: Meters
    content: bool  # prompts and observations too

    def text(self, name: str, value: str) -> Attributes:
        """Nothing, unless whoever runs it wants texts to leave."""
        return {name: clip(plain(value), TEXT)} if self.content else {}


@dataclass(frozen=True)
class _Open:
    rank: int
    key: str  # call, card or model
    span: Span
    context: Context


class Run:
    """The spans of one run that are open, the innermost last."""

    def __init__(self, out: Out, parent: Context | None, cluster: str) -> None:
        self.out, self._parent, self._cluster = out, parent, cluster
        self.started: RunStarted | None = None
        self._open: list[_Open] = []
        self._real: dict[str, str] = {}  # of a name in somebody's settings: dashboards add up
        self._kinds: dict[str, str] = {}  # of changes
        self._zero: int | None = None
        self._now = 0
        self._outcome = ""

    def show(self, stamped: Stamped) -> None:
        """Times are a beginning's wall clock and what has elapsed since: they never go back."""
        elapsed = int(stamped.elapsed * 1e9)
        if self._zero is None or isinstance(stamped.event, Continued):
            self._zero = nanoseconds(stamped) - elapsed
        self._now = self._zero + elapsed
        if see := _SEE.get(type(stamped.event)):
            see(self, stamped.event, stamped)

    def cut(self) -> None:
        """The run did not get to its end."""
        self._close(RUN, "interrupted")

    # --- spans ------------------------------------------------------------------------------

    def _begin(
        self, rank: int, name: str, said: Attributes, key: str = "", at: int | None = None
    ) -> None:
        self._close(rank)
        parent = self._open[-1].context if self._open else self._parent
        calls = said.get("gen_ai.operation.name") == "chat"
        span = self.out.tracer.start_span(
            name,
            parent,
            SpanKind.CLIENT if calls else SpanKind.INTERNAL,
            said,
            start_time=at or self._now,
        )
        self._open.append(_Open(rank, key, span, set_span_in_context(span, parent)))

    def _end(self, rank: int, key: str, said: Attributes, error: str = "") -> None:
        """The span with this key, and what is open inside it."""
        if any((each.rank, each.key) == (rank, key) for each in self._open):
            self._close(rank + 1)
            finish(self._open.pop().span, said, error, self._now)

    def _close(self, rank: int, error: str = "cut") -> None:
        """Whatever is open from this rank on; a turn and a phase simply end."""
        while self._open and self._open[-1].rank >= rank:
            last = self._open.pop()
            finish(last.span, {}, "" if last.rank in (PHASE, TURN) else error, self._now)

    def _event(self, name: str, said: Attributes) -> None:
        if self._open:
            self._open[0].span.add_event(name, said, self._now)

    # --- one method per event -----------------------------------------------------------------

    def _began(self, event: RunStarted | Continued, stamped: Stamped) -> None:
        if isinstance(event, RunStarted):
            self.started = event
        self._begin_run(event.command, stamped)

    def _begin_run(self, command: str, stamped: Stamped) -> None:
        said: Attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "smoldebug",
            "gen_ai.agent.version": __version__,
            "smoldebug.run.id": name(stamped.run),
            "smoldebug.command": name(command),
            "smoldebug.cluster": name(self._cluster),
        }
        if start := self.started:
            said |= {
                **_model(start.model.partition(",")[0]),
                "smoldebug.playbook": name(start.playbook),
                "smoldebug.playbook.revision": name(start.revision),
                "smoldebug.cluster": name(start.context),
                "smoldebug.namespaces": [name(each) for each in start.namespaces],
                "smoldebug.mode": name(start.mode),
                "smoldebug.matrix.id": name(start.matrix),
            }
        self._begin(RUN, "invoke_agent smoldebug", {k: v for k, v in said.items() if v})

    def _ended(self, event: RunEnded, stamped: Stamped) -> None:
        if not self._open:  # of a matrix, a cluster that could not be begun
            self._begin_run("validate", stamped)
        status, used = event.status.name.lower(), event.usage
        verdict = {"smoldebug.verdict": name(event.outcome), "smoldebug.exit_status": status}
        said = {
            **verdict,
            "smoldebug.exit_code": int(event.status),
            "gen_ai.usage.input_tokens": used.tokens_in,
            "gen_ai.usage.output_tokens": used.tokens_out,
            "smoldebug.cost": used.cost,
            "smoldebug.turns": used.turns,
            "smoldebug.changes": used.changes,
            **self.out.text("smoldebug.reason", event.reason),
        }
        self._end(RUN, "", said, "" if event.status is ExitStatus.MET else status)
        self.out.meters.ran.record(used.seconds or stamped.elapsed, self._where() | verdict)

    def _where(self) -> Attributes:
        start = self.started
        said = {
            "smoldebug.command": name(start.command) if start else "",
            "smoldebug.playbook": name(start.playbook) if start else "",
            "smoldebug.cluster": name(start.context) if start else "",
        }
        return {name: value for name, value in said.items() if value}

    def _checked(self, event: GoalChecked, stamped: Stamped) -> None:
        self._pause(event, stamped)
        if (outcome := event.verdict.outcome.value) != self._outcome:
            self._outcome = outcome
            self._event("goal", {"smoldebug.verdict": outcome})

    def _pause(self, event: GoalChecked | Waiting, stamped: Stamped) -> None:
        """A turn is over when the goal is looked at, unless a tool of it waits for the goal."""
        if self._open and self._open[-1].rank == TURN:
            self._close(TURN)

    def _phase(self, event: PhaseBegan, stamped: Stamped) -> None:
        self._begin(PHASE, f"phase {name(event.phase)}", {"smoldebug.phase": name(event.phase)})

    def _turn(self, event: TurnStarted, stamped: Stamped) -> None:
        self._begin(TURN, "turn", {"smoldebug.turn": event.turn})
        self.out.meters.turns.add(1, self._where())

    def _thought(self, event: Thought, stamped: Stamped) -> None:
        if self._open:
            self._open[-1].span.set_attributes(self.out.text("smoldebug.thought", event.text))

    def _asked(self, event: ModelAsked, stamped: Stamped) -> None:
        self._real[event.model] = real = event.real or event.model
        said = {**_chat(real), **_server(event.endpoint), "smoldebug.turn": event.turn}
        if event.tier:
            said["smoldebug.tier"] = name(event.tier)
        if self.out.content:
            said["gen_ai.input.messages"] = json.dumps([_message(each) for each in event.messages])
        self._begin(CALL, _chat_name(real), said, event.model)

    def _answered(self, event: ModelAnswered, stamped: Stamped) -> None:
        if not any((each.rank, each.key) == (CALL, event.model) for each in self._open):
            began = self._now - int(event.seconds * 1e9)  # one that never left has no beginning
            real = self._real.get(event.model, event.model)
            self._begin(CALL, _chat_name(real), _chat(real), event.model, began)
        error = _error_type(event.error)
        said: Attributes = {"smoldebug.cost": event.cost}
        if event.cached:
            said["smoldebug.response_cache.hit"] = True
        else:
            said |= {
                "gen_ai.usage.input_tokens": event.tokens_in,
                "gen_ai.usage.output_tokens": event.tokens_out,
                "gen_ai.usage.cache_read.input_tokens": event.cached_in,
                "smoldebug.usage.estimated": event.estimated,
            }
            self._measure(event, {"error.type": error} if error else {})
        if event.finish:
            said["gen_ai.response.finish_reasons"] = [name(event.finish)]
        said |= self.out.text("smoldebug.error", event.error) if error else {}
        self._end(CALL, event.model, said, error)

    def _measure(self, event: ModelAnswered, error: Attributes) -> None:
        real = self._real.get(event.model, event.model)
        meters, said = self.out.meters, _chat(real)
        meters.answered.record(event.seconds, said | error)
        for kind, tokens in (("input", event.tokens_in), ("output", event.tokens_out)):
            if tokens:
                meters.tokens.record(tokens, {**said, "gen_ai.token.type": kind})
        if event.cost:
            meters.cost.add(event.cost, {**self._where(), **_model(real)})

    def _switched(self, event: ModelSwitched, stamped: Stamped) -> None:
        said = {"smoldebug.model.from": name(event.model), "smoldebug.model.to": name(event.to)}
        self._event("model switched", {**said, **self.out.text("smoldebug.reason", event.why)})

    def _called(self, event: ToolCalled, stamped: Stamped) -> None:
        said = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name(event.tool),
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": name(event.call),
            "smoldebug.turn": event.turn,
        }
        if self.out.content:
            given = json.dumps(event.arguments, default=str)
            said |= self.out.text("gen_ai.tool.call.arguments", given)
        self._begin(CALL, f"execute_tool {name(event.tool)}", said, event.call)

    def _told(self, event: ToolAnswered, stamped: Stamped) -> None:
        said = self.out.text("gen_ai.tool.call.result", event.text)
        if event.evidence:
            said["smoldebug.evidence"] = name(event.evidence)
        refused = "refused" if event.text.startswith("REFUSED") else "tool_error"
        self._end(CALL, event.call, said, "" if event.ok else refused)

    def _proposed(self, event: ChangeProposed, stamped: Stamped) -> None:
        card, change = event.card, event.card.change
        self._kinds[card.id] = str(change.kind)
        said = {
            "smoldebug.change.id": name(card.id),
            "smoldebug.change.kind": str(change.kind),
            "smoldebug.change.target": name(str(change.target)),
            "smoldebug.change.digest": name(card.digest),
        }
        self._begin(CHANGE, f"change {change.kind}", said, card.id)

    def _decided(self, event: ChangeDecided, stamped: Stamped) -> None:
        answer = event.decision.answer
        if self._open and self._open[-1].key == event.card:
            said = {"answer": str(answer.value), "by": name(event.decision.by)}
            self._open[-1].span.add_event("decided", said, self._now)
        if answer is not Answer.YES:
            self._end(CHANGE, event.card, {"smoldebug.change.state": str(answer.value)})

    def _sent(self, event: ChangeIntended, stamped: Stamped) -> None:
        if self._open and self._open[-1].key == event.card.id:
            self._open[-1].span.add_event("sent", {}, self._now)

    def _undoing(self, event: UndoIntended, stamped: Stamped) -> None:
        said = {"smoldebug.change.id": name(event.card)}
        self._begin(CHANGE, f"undo {name(event.card)}", said, event.card)

    def _settled(self, event: ChangeSettled, stamped: Stamped) -> None:
        state = name(event.state)
        error = "" if event.state in GOOD else state
        self._end(CHANGE, event.card, {"smoldebug.change.state": state}, error)
        kind = self._kinds.get(event.card, "unknown")
        said = {"smoldebug.change.kind": kind, "smoldebug.change.state": state}
        self.out.meters.changes.add(1, self._where() | said)


_SEE: Mapping[type, Callable[[Run, Any, Stamped], None]] = {
    RunStarted: Run._began,
    Continued: Run._began,
    GoalChecked: Run._checked,
    Waiting: Run._pause,
    PhaseBegan: Run._phase,
    TurnStarted: Run._turn,
    Thought: Run._thought,
    ModelAsked: Run._asked,
    ModelAnswered: Run._answered,
    ModelSwitched: Run._switched,
    ToolCalled: Run._called,
    ToolAnswered: Run._told,
    ChangeProposed: Run._proposed,
    ChangeDecided: Run._decided,
    ChangeIntended: Run._sent,
    ChangeSettled: Run._settled,
    UndoIntended: Run._undoing,
    RunEnded: Run._ended,
}


# --- words ----


def finish(span: Span, said: Attributes, error: str, at: int) -> None:
    span.set_attributes(said)
    if error:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR, error)
    span.end(at)


def nanoseconds(stamped: Stamped) -> int:
    return int(stamped.at.timestamp() * 1e9)


def name(text: str) -> str:
    return one_line(text, NAME)


def _model(full: str) -> Attributes:
    """`openai/qwen3` as provider and model; the expert is both."""
    path = name(full).removeprefix("litellm/")
    provider, _, model = path.rpartition("/") if path.count("/") == 1 else path.partition("/")
    if not model:
        provider, model = "smoldebug", path
    return {
        "gen_ai.provider.name": PROVIDERS.get(provider, provider) or "smoldebug",
        "gen_ai.request.model": model,
    }


def _chat(model: str) -> Attributes:
    return {"gen_ai.operation.name": "chat", **_model(model)}


def _chat_name(model: str) -> str:
    return f"chat {_model(model)['gen_ai.request.model']}"


def _server(endpoint: str) -> Attributes:
    """Host and port of a base URL, and nothing else of it: a key may stand there."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return {}
    if not parts.hostname:
        return {}
    return {"server.address": name(parts.hostname), **({"server.port": port} if port else {})}


def _message(message: Any) -> Attributes:
    found = message if isinstance(message, Mapping) else {}
    text = clip(plain(str(found.get("text", ""))), TEXT)
    return {"role": str(found.get("role", "")), "parts": [{"type": "text", "content": text}]}


def _error_type(error: str) -> str:
    """An HTTP status, `timeout`, or the convention's word for all else; "" where it worked."""
    if not error:
        return ""
    if status := re.search(r"\b[45]\d\d\b", error):
        return status[0]
    return "timeout" if re.search(r"no answer within|timed out|timeout", error) else "_OTHER"
