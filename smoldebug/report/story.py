"""A run's events folded into what a report tells. Works for a journal that stops anywhere."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from smoldebug.events import (
    AnyEvent,
    Blamed,
    ChangeDecided,
    ChangeProposed,
    ChangeSettled,
    Continued,
    Drafted,
    EvidenceRecorded,
    FirstCard,
    GoalChecked,
    HypothesesChanged,
    ModelAnswered,
    ModelSwitched,
    Note,
    PhaseBegan,
    RunEnded,
    RunStarted,
    Stamped,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
)
from smoldebug.ledger import Entry, Ledger
from smoldebug.records import (
    Blame,
    ChangeKind,
    Decision,
    Gap,
    Hypothesis,
    Json,
    Outcome,
    Quote,
    Usage,
    Verdict,
    Who,
)
from smoldebug.status import ExitStatus
from smoldebug.untrusted import web_address
from smoldebug.usage import plus


@dataclass(slots=True)
class Step:
    """One answered tool call. `at` is seconds since the run began."""

    turn: int
    tool: str
    arguments: Json
    at: float
    wall: datetime
    answer: ToolAnswered


@dataclass(slots=True)
class Later:
    """What became of a change when somebody took it back after the run."""

    who: Who
    at: datetime
    state: str


@dataclass(slots=True)
class Driver:
    """A model that was asked, and what that took."""

    usage: Usage = field(default_factory=Usage)
    failed: int = 0  # of its calls
    from_cache: int = 0  # answers for which nothing was sent


@dataclass(slots=True)
class Story:
    run: str = ""
    began: datetime | None = None
    seconds: float = 0.0  # elapsed at the last event
    started: RunStarted | None = None
    first: FirstCard | None = None
    drafted: Drafted | None = None  # the last edits of manifests
    baseline: Verdict | None = None
    verdict: Verdict | None = None
    hypotheses: tuple[Hypothesis, ...] = ()
    phase: str = ""  # of a run with fixed steps, the last one
    blame: Blame | None = None
    explanation: str = ""  # of a model, for the blame
    steps: list[Step] = field(default_factory=list)
    changes: Ledger = field(default_factory=Ledger)
    decided: dict[str, tuple[Decision, datetime]] = field(default_factory=dict)  # by change
    later: dict[str, Later] = field(default_factory=dict)  # by change
    unrecorded: tuple[datetime, str] | None = None  # when the journal stopped telling, and why
    edited: bool = False  # nothing acts on such a journal
    continued: list[tuple[datetime, Continued]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    drivers: dict[str, Driver] = field(default_factory=dict)  # by model, as they were asked
    switches: list[tuple[datetime, ModelSwitched]] = field(default_factory=list)
    ended: RunEnded | None = None
    passed_over: set[str] = field(default_factory=set)  # approved, and not carried out by then
    refusals: dict[str, Step] = field(default_factory=dict)  # before there was a card, by text
    first_evidence: float | None = None
    cause_named: float | None = None  # when a hypothesis was first confirmed, and stayed so
    goal_met: float | None = None
    _calls: dict[str, Json] = field(default_factory=dict)
    _carded: bool = False  # has the call under way a card?

    @property
    def status(self) -> ExitStatus:
        """A run without an end was killed: interrupted."""
        return self.ended.status if self.ended else ExitStatus.INTERRUPTED

    @property
    def outcome(self) -> str:
        """met, not met or inconclusive; "unknown" for a killed run."""
        return self.ended.outcome if self.ended else "unknown"

    @property
    def kubeconfig(self) -> str:
        """Its path where one was named: commands for people need it too."""
        return self.started.kubeconfig if self.started else ""

    @property
    def demo(self) -> bool:
        """Was it a demo? Its cluster was gone when it was told."""
        return self.started is not None and self.started.command == "demo"

    @property
    def patch(self) -> bool:
        """Was it about a pull request, and not about an incident?"""
        return self.started is not None and self.started.command == "patch"

    @property
    def upgrade(self) -> bool:
        """Did it carry out fixed steps, or was it to?"""
        return bool(self.phase) or (self.started is not None and self.started.command == "validate")

    @property
    def pull_request(self) -> str:
        """Its http(s) address; "" where none is known."""
        told = [
            change.detail.rpartition(" ")[2]
            for change in self.applied
            if change.card.change.kind is ChangeKind.PULL_REQUEST and change.stands
        ]
        results = self.verdict.results if self.verdict else ()
        told += [each.route for each in results if each.kind == "pull_request"]
        return next(filter(None, map(web_address, told)), "")

    @property
    def closed(self) -> bool:
        """Does nothing of smoldebug go on from here?"""
        return self.edited or self.demo

    @property
    def applied(self) -> list[Entry]:
        return [change for change in self.changes.values() if change.touched]

    @property
    def proposed(self) -> list[Entry]:
        """What was proposed and not applied."""
        return [change for change in self.changes.values() if not change.touched]

    @property
    def gaps(self) -> list[Gap]:
        """What could not be seen, each once, in the order it was noticed."""
        found = list(self.first.gaps if self.first else ())
        for step in self.steps:
            if seen := step.answer.observation:
                found += [Gap(step.tool, why) for why in seen.gaps]
        found += self.ended.gaps if self.ended else ()
        return list(dict.fromkeys(found))

    def decided_at(self, card: str) -> datetime | None:
        return self.decided[card][1] if card in self.decided else None

    @property
    def flagged(self) -> list[tuple[str, str]]:
        """Evidence id and line of what reads like an instruction to an AI."""
        return [(step.answer.evidence, line) for step in self.steps for line in step.answer.flags]

    @property
    def quotes(self) -> list[Quote]:
        found = [quote for item in self.hypotheses for quote in (*item.supports, *item.contradicts)]
        return [*found, *(self.blame.quotes if self.blame else ())]


def story(events: Iterable[Stamped]) -> Story:
    """Fold a run. Raises nothing: a run is told from as many events as there are."""
    told = Story()
    for stamped in events:
        if told.began is None:
            told.run, told.began = stamped.run, stamped.at
        told.seconds = stamped.elapsed
        _investigation(told, stamped, stamped.event)
        _frame(told, stamped, stamped.event)
        _audit(told, stamped, stamped.event)
        _models(told, stamped, stamped.event)
        told.changes.add(stamped)
        _refusals(told, stamped.event)
    return told


def _refusals(told: Story, event: AnyEvent) -> None:
    """What the guard did not let pass before there was a card."""
    match event:
        case ToolCalled():
            told._carded = False
        case ChangeProposed():
            told._carded = True
        case ToolAnswered(text=text) if text.startswith("REFUSED") and not told._carded:
            told.refusals.setdefault(text, told.steps[-1])
        case ToolAnswered():
            told._carded = False


def _frame(told: Story, stamped: Stamped, event: AnyEvent) -> None:
    match event:
        case RunStarted():
            told.started = event
        case Drafted():
            told.drafted = event
        case GoalChecked():
            _goal(told, event, stamped.elapsed)
        case TurnStarted(usage=usage):
            told.usage = usage
        case PhaseBegan():
            told.phase = event.phase
        case Blamed():
            told.blame, told.explanation = event.blame, event.explanation
        case RunEnded():
            told.ended, told.usage = event, event.usage
            entries = told.changes.items()
            told.passed_over = {card for card, entry in entries if entry.state == "approved"}
            told.verdict = event.verdict or told.verdict


def _models(told: Story, stamped: Stamped, event: AnyEvent) -> None:
    match event:
        case ModelAnswered():
            driver = told.drivers.setdefault(event.model, Driver())
            driver.usage = plus(driver.usage, event)
            driver.failed += bool(event.error)
            driver.from_cache += event.cached
            told.usage = plus(told.usage, event)  # until the run itself says how much it is
        case ModelSwitched():
            told.switches.append((stamped.at, event))


def _audit(told: Story, stamped: Stamped, event: AnyEvent) -> None:
    match event:
        case Note(severity="critical" | "edited"):
            told.unrecorded, told.edited = (stamped.at, event.text), event.severity == "edited"
        case Continued():
            told.continued.append((stamped.at, event))
            if event.command == "resume":
                told.ended = None  # until it ends again
        case ChangeDecided():
            known = told.decided.get(event.card)
            if known is None or known[0] != event.decision:  # told again when it is carried out
                told.decided[event.card] = event.decision, stamped.at
        case ChangeSettled() if told.continued:
            last = told.continued[-1][1]
            if last.command == "undo":
                told.later[event.card] = Later(last.who, stamped.at, event.state)


def _investigation(told: Story, stamped: Stamped, event: AnyEvent) -> None:
    match event:
        case FirstCard():
            told.first = event
            if event.changed or event.red:
                _evidence(told, stamped.elapsed)
        case ToolCalled():
            told._calls[event.call] = event.arguments
        case ToolAnswered():
            _step(told, stamped, event)
        case EvidenceRecorded():
            _step(told, stamped, event.answer())
        case HypothesesChanged(hypotheses=found) | RunEnded(hypotheses=found) if found:
            _hypotheses(told, found, stamped.elapsed)


def _goal(told: Story, event: GoalChecked, elapsed: float) -> None:
    if event.turn == 0 and told.baseline is None:
        told.baseline = event.verdict
    told.verdict = event.verdict
    if event.verdict.outcome is not Outcome.MET:
        told.goal_met = None
    elif told.goal_met is None:
        told.goal_met = elapsed


def _step(told: Story, stamped: Stamped, answer: ToolAnswered) -> None:
    arguments = told._calls.get(answer.call)
    told.steps.append(
        Step(answer.turn, answer.tool, arguments, stamped.elapsed, stamped.at, answer)
    )
    if answer.evidence:
        _evidence(told, stamped.elapsed)


def _evidence(told: Story, elapsed: float) -> None:
    if told.first_evidence is None:
        told.first_evidence = elapsed


def _hypotheses(told: Story, found: tuple[Hypothesis, ...], elapsed: float) -> None:
    told.hypotheses = found
    if not any(item.status == "confirmed" for item in found):
        told.cause_named = None
    elif told.cause_named is None:
        told.cause_named = elapsed
