"""Everything that happens in a run, as frozen dataclasses and one JSON line each.

The loop yields events; `Stamp` puts each into an envelope with run id, sequence and times. Views
and the journal know these and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from smoldebug.clock import Clock
from smoldebug.records import (
    Blame,
    Card,
    Decision,
    Edited,
    Evidence,
    Fact,
    Gap,
    Hypothesis,
    Json,
    Observation,
    Usage,
    Verdict,
    Who,
)
from smoldebug.status import ExitStatus

SCHEMA_VERSION = 1


class Event(msgspec.Struct, frozen=True, tag_field="event"):
    """Base of all events; the JSON field `event` holds the class name."""


class RunStarted(Event, frozen=True):
    command: str  # triage, validate, patch
    playbook: str
    goal: str  # its description, or its checks in words
    model: str
    context: str  # cluster context; "" when the playbook uses no cluster
    namespaces: tuple[str, ...]
    mode: str  # "read-only", "ask", "auto"
    check_every: float
    limits: Usage
    inputs: Mapping[str, Json] = {}
    version: str = ""
    kubeconfig: str = ""  # its path where one was named: commands for people need it too
    revision: str = ""  # the playbook's commit in Git, + where it was edited since
    cluster: str = ""  # uid of its namespace kube-system: another cluster has another one
    who: Who | None = None
    policies: tuple[str, ...] = ()  # path and hash of each policy file in force
    plan: Json = None  # playbook and inputs as they ran, and the options given: for `runs resume`
    break_glass: str = ""  # the reason given, where one was
    repository: str = ""  # of a patch: "shop/manifests on github.com, main -> smoldebug/FLAG"
    matrix: str = ""  # id that the runs of one matrix share


class Continued(Event, frozen=True):
    """Somebody took up a run again: `runs resume`, `runs approve`, `undo`."""

    command: str
    who: Who


class GoalChecked(Event, frozen=True):
    turn: int  # 0 = before the first turn
    verdict: Verdict


class EvidenceRecorded(Event, frozen=True):
    """Evidence that no tool call brought: how the goal stood at first, and the first card."""

    evidence: Evidence

    def answer(self) -> "ToolAnswered":
        """The same in the form of a tool's answer, for whoever lists evidence."""
        item = self.evidence
        seen = item.observation
        return ToolAnswered(0, "", item.tool, True, seen.text, 0.0, item.id, seen)


class FirstCard(Event, frozen=True):
    """What changed and what is red, found without a model."""

    changed: tuple[Fact, ...]
    red: tuple[Fact, ...]
    gaps: tuple[Gap, ...]
    window: float  # seconds looked back
    seconds: float  # how long it took


class TurnStarted(Event, frozen=True):
    turn: int
    usage: Usage


class Thought(Event, frozen=True):
    turn: int
    text: str
    model: str


class ModelAsked(Event, frozen=True):
    """What left this machine for a model: messages as sent (redacted), each once."""

    turn: int
    model: str
    messages: tuple[Json, ...]  # those that it had not been sent before
    endpoint: str = ""  # base URL, where one was named
    tools: tuple[str, ...] = ()  # whose descriptions (docs/tools.md) go along each time
    tier: str = ""  # cheap or strong, where the playbook has both
    real: str = ""  # PROVIDER/ID, where `model` is a name of somebody's settings


class ModelHeard(Event, frozen=True):
    """What a model has said so far of an answer that is still coming. In no journal."""

    turn: int
    model: str
    text: str


class ModelAnswered(Event, frozen=True):
    """How one call of a model ended, and what it cost."""

    turn: int
    model: str
    seconds: float
    tokens_in: int = 0
    tokens_out: int = 0
    cached_in: int = 0  # of tokens_in: those that the provider still had
    cost: float = 0.0  # US dollars
    estimated: bool = False  # the provider told no usage: counted here
    finish: str = ""  # stop, tool_calls, length ...: the provider's word for why it ended
    error: str = ""  # why there is no answer
    cached: bool = False  # answered from the response cache: nothing was sent


class ModelSwitched(Event, frozen=True):
    """Another model of the chain goes on."""

    turn: int
    model: str  # who is asked no more
    to: str
    why: str


class ToolCalled(Event, frozen=True):
    turn: int
    call: str  # t3c0: turn 3, first call
    tool: str
    arguments: Json  # what the model sent, valid or not; secrets masked


class ToolAnswered(Event, frozen=True):
    """`ok` is false when the call was refused (invalid) or the tool failed: `text` says why."""

    turn: int
    call: str
    tool: str
    ok: bool
    text: str  # what the model reads
    seconds: float
    evidence: str = ""  # E4; "" when nothing was observed
    observation: Observation | None = None
    flags: tuple[str, ...] = ()  # lines that read like instructions to an AI


class HypothesesChanged(Event, frozen=True):
    hypotheses: tuple[Hypothesis, ...]


class ChangeProposed(Event, frozen=True):
    card: Card


class ChangeDecided(Event, frozen=True):
    card: str  # C1
    digest: str
    decision: Decision


class ChangeIntended(Event, frozen=True):
    """Written and fsynced before the change is sent, with what undoes it."""

    card: Card
    undo: Json  # the inverse Change, or null


class UndoBegan(Event, frozen=True):
    """The goal was not met: from here on everything that was changed is taken back."""

    status: ExitStatus  # how the run would have ended without
    reason: str


class UndoIntended(Event, frozen=True):
    """Written and fsynced before the inverse of a change is sent."""

    card: str


class ChangeSettled(Event, frozen=True):
    """How a change ended: verified, failed, unknown, undone, or refused in spite of a yes."""

    card: str
    state: str
    detail: str  # "resourceVersion 88121→88140", or what went wrong


class Drafted(Event, frozen=True):
    """Edits made by code, in the run's own clone: nothing has left it."""

    repository: str  # shop/manifests
    base: str  # "main 3f2a1c9": what they start from
    branch: str
    commit: str  # "" when there is nothing to commit
    edited: tuple[Edited, ...]
    problems: tuple[str, ...] = ()  # files that could not be read or edited, with their place
    seconds: float = 0.0


class PhaseBegan(Event, frozen=True):
    """Where a run with fixed steps is: baseline, steps, watching, rolling back, or explaining."""

    phase: str


class Blamed(Event, frozen=True):
    """The goal broke after the steps: who is to blame, found by code."""

    blame: Blame
    explanation: str = ""  # of a model, where one was asked; not checked by code


class Skipped(Event, frozen=True):
    """A cluster of a matrix that was not begun; in no journal, since there is no run. `status` is
    what that makes of the matrix, None where another cluster decides."""

    reason: str
    status: ExitStatus | None = None


class Waiting(Event, frozen=True):
    """The loop waits for the goal; `until` is seconds from now at most."""

    why: str
    until: float


class Note(Event, frozen=True):
    """Something the operator should know: a fallback, a limit at 80 %, a gap."""

    text: str
    severity: str = "info"


class RunEnded(Event, frozen=True):
    status: ExitStatus
    outcome: str  # met | not met | inconclusive
    reason: str  # one sentence
    usage: Usage
    verdict: Verdict | None = None
    hypotheses: tuple[Hypothesis, ...] = ()
    gaps: tuple[Gap, ...] = ()
    question: str = ""  # what an escalation asks of a human
    blame: Blame | None = None


AnyEvent = (
    RunStarted
    | Continued
    | GoalChecked
    | EvidenceRecorded
    | FirstCard
    | TurnStarted
    | Thought
    | ModelAsked
    | ModelHeard
    | ModelAnswered
    | ModelSwitched
    | ToolCalled
    | ToolAnswered
    | HypothesesChanged
    | ChangeProposed
    | ChangeDecided
    | ChangeIntended
    | UndoBegan
    | UndoIntended
    | ChangeSettled
    | Drafted
    | PhaseBegan
    | Blamed
    | Skipped
    | Waiting
    | Note
    | RunEnded
)


PASSING = (ModelHeard,)  # shown while it happens, and in no journal


@dataclass(frozen=True, slots=True)
class Stamped:
    """An event with where and when. `elapsed` is monotonic seconds since the run began."""

    run: str
    seq: int
    elapsed: float
    at: datetime
    event: AnyEvent
    schema_version: int = SCHEMA_VERSION


class Stamp:
    """Numbers and times the events of one run."""

    def __init__(self, run: str, clock: Clock, first_seq: int = 0, elapsed: float = 0.0) -> None:
        self.run, self.clock, self.seq = run, clock, first_seq
        self.began = clock.monotonic() - elapsed

    def __call__(self, event: AnyEvent) -> Stamped:
        """What is in no journal takes no number there."""
        stamped = Stamped(
            self.run,
            self.seq,
            round(self.clock.monotonic() - self.began, 3),
            self.clock.now(),
            event,
        )
        self.seq += not isinstance(event, PASSING)
        return stamped


def encode(value: Any) -> bytes:
    """JSON of events and what is in them; subclasses of float and str count as what they are."""
    return msgspec.json.encode(value, enc_hook=plainest)


def plainest(value: Any) -> Any:
    """A float, str or int of a subclass as what it is. Raises TypeError for all else."""
    for kind in (float, str, int):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"no JSON form: {type(value).__name__}")


_decoder = msgspec.json.Decoder(Stamped)


def to_line(stamped: Stamped) -> bytes:
    """One JSON line, without the newline."""
    return encode(stamped)


def from_line(line: bytes | str) -> Stamped:
    """Inverse of `to_line`. Raises msgspec.DecodeError for anything that is no event."""
    return _decoder.decode(line)


def to_json(stamped: Stamped) -> dict[str, Any]:
    """The same as plain data, for documents that embed events."""
    plain: dict[str, Any] = msgspec.to_builtins(stamped)
    return plain
