"""Stand-ins for what a run sees and changes: each answers as it was recorded.

Everything that judges is the real thing: arguments are checked, quotes verified, permissions and
limits weighed, the window of the goal kept. Only what the journal does not hold is taken as
settled: the surroundings of a target, which the guard weighed before there was a card.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from threading import Event as Flag

import msgspec

from smoldebug.appliers import Applier
from smoldebug.appliers.protocol import Preview
from smoldebug.errors import ChangeFailed, ChangeRefused, Conflict, ToolError, UsageError
from smoldebug.events import (
    ChangeDecided,
    ChangeProposed,
    ChangeSettled,
    GoalChecked,
    Note,
    RunEnded,
    ToolAnswered,
    TurnStarted,
)
from smoldebug.evidence import EvidenceStore
from smoldebug.goal import Goal
from smoldebug.guard import Guard
from smoldebug.playbook import models
from smoldebug.records import (
    Answer as Said,
)
from smoldebug.records import Card, Change, Decision, Json, Outcome, Surroundings, Verdict
from smoldebug.redact import Redactor
from smoldebug.replay.script import NotRecordedError, Script
from smoldebug.sources.fakes import FakeCluster, fake_world
from smoldebug.sources.world import World
from smoldebug.toolset import (
    Answer,
    Cancelled,
    ToolContext,
    Toolset,
    ToolSpec,
    shipped_tools,
)

CUT = "CUT by the operator: "
BY_GUARD, BEFORE = "REFUSED by the guard: ", "REFUSED before it was sent: "
UNCHANGED = ". Nothing changed."
READ_BACK = "; read back something else"
UNTIL = (TurnStarted, RunEnded)


class Unmasked(Redactor):
    """What was recorded is masked already."""

    def text(self, text: str) -> str:
        return text

    def json(self, value: Json) -> Json:
        return value


def no_world(script: Script) -> World:
    """A world without anything in it: for what wants one, and must not look at it."""
    return fake_world(cluster=FakeCluster(), clock=script)


# --- seeing -----------------------------------------------------------------------------------


class RecordedTools(Toolset):
    """Calls are checked in full; those of the notebook are carried out, all others are answered."""

    def __init__(self, specs: Iterable[ToolSpec], evidence: EvidenceStore, script: Script) -> None:
        super().__init__(specs, lambda _: ToolContext(no_world(script)), evidence, Unmasked())
        self._script = script

    def call(
        self,
        name: str,
        arguments: Json,
        *,
        limit: float = float("inf"),
        cancel: Flag | None = None,
    ) -> Answer:
        recorded = self._script.peek(ToolAnswered, lambda each: each.tool == name, UNTIL)
        spec = self.specs.get(name)
        if spec is None and recorded is not None and recorded.evidence:
            raise NotRecordedError(f"{_block(name)} offers no {name}, which the recording uses")
        if spec is None or spec.family == "builtin":
            return super().call(name, arguments, cancel=cancel)
        try:
            given = msgspec.to_builtins(self.parse(name, arguments))
        except UsageError as error:
            return Answer(False, f"ERROR {error}", refused=True)
        return self._recorded(name, given, recorded, cancel)

    def _recorded(
        self, name: str, given: Json, recorded: ToolAnswered | None, cancel: Flag | None
    ) -> Answer:
        proposed = self._script.peek(ChangeProposed, until=(ToolAnswered, *UNTIL))
        if proposed is not None:
            change = proposed.card.change
            return Answer(True, f"proposed: {change.kind} {change.target}", change=change)
        if recorded is None:
            raise NotRecordedError(f"the recording has no answer to another call of {name}")
        if recorded.text.startswith(CUT):
            if cancel is not None:
                cancel.set()
            raise Cancelled(recorded.text.removeprefix(CUT))
        self._script.take(ToolAnswered, lambda each: each is recorded)
        seen = recorded.observation
        return Answer(
            recorded.ok,
            recorded.text,
            recorded.seconds,
            self.evidence.add(name, given, seen) if seen is not None else None,
            flags=recorded.flags,
        )


def _block(name: str) -> str:
    """The part of a playbook that decides whether there is such a tool."""
    spec = next((spec for spec in shipped_tools() if spec.name == name), None)
    if spec is None:
        return "tools.custom"
    return "tools.change.allow" if spec.changes is not None else f"tools.{spec.family}"


class RecordedGoal(Goal):
    """`recorded` is the goal that was measured. Another one is judged by the same measurements."""

    def __init__(self, plan: models.RunPlan, recorded: models.Goal, script: Script) -> None:
        super().__init__(plan, no_world(script), script, allow_code=True)
        self._script, self._recorded = script, recorded

    def check(self, hurry: bool = False) -> Verdict:
        seen = self._script.take(GoalChecked, until=UNTIL)
        if seen is None:
            told = ", ".join(self._other_windows()) or "the goal"
            raise NotRecordedError(f"{told}: it is watched longer than it was")
        return seen.verdict if self._goal == self._recorded else self._judged(seen.verdict)

    def due_in(self) -> float:
        return 0.0

    def _other_windows(self) -> Iterator[str]:
        for name in ("consecutive", "for_", "every", "within"):
            if getattr(self._goal, name) != getattr(self._recorded, name):
                yield f"goal.{name.removesuffix('_')}"

    def _judged(self, seen: Verdict) -> Verdict:
        """Another goal, by the same measurements."""
        if self._goal.each_service is not None:
            raise NotRecordedError("goal.each_service: its rows can only be measured anew")
        measured = {each.check: each for each in seen.results}
        for label, path in zip(self._rows.labels, _paths(self._goal, "goal"), strict=True):
            if label not in measured:
                raise NotRecordedError(f"{path} was not measured in the recording: {label}")
        results = tuple(measured[label] for label in self._rows.labels)
        outcomes = {place: result.outcome for place, result in enumerate(results)}
        outcome = self._root.outcome(outcomes) or Outcome.INCONCLUSIVE
        return self._window.verdict(outcome, results, self._script.monotonic())


def _paths(block: models.Goal | models.Check, path: str) -> Iterator[str]:
    """Of the single checks below a goal or a group, in the order in which a Goal holds them."""
    for key in ("all", "any"):
        for index, check in enumerate(getattr(block, key) or ()):
            below = f"{path}.{key}[{index}]"
            group = check.all is not None or check.any is not None
            yield from _paths(check, below) if group else (below,)


# --- changing ---------------------------------------------------------------------------------


class RecordedGuard(Guard):
    """Permissions, limits and windows are judged anew, from the change alone."""

    script: Script

    def weigh(self, change: Change, around: Surroundings, verdict: Decision) -> Decision:
        why = refused(self.script, BY_GUARD)
        return Decision(Said.NO, "guard", why) if why else verdict

    def warnings(self, change: Change, around: Surroundings, verdict: Decision) -> tuple[str, ...]:
        return proposed(self.script, change).warnings


def proposed(script: Script, change: Change) -> Card:
    """The card that a change had."""

    def is_it(event: ChangeProposed) -> bool:
        return (event.card.change.kind, event.card.change.target) == (change.kind, change.target)

    found = script.peek(ChangeProposed, is_it, UNTIL)
    if found is None:
        raise NotRecordedError(f"the recording has no such change: {change.kind} {change.target}")
    return found.card


def refused(script: Script, how: str) -> str:
    """Why a change that was approved before was not even asked for again, "" where it was."""
    event = script.following
    text = event.text if isinstance(event, Note) else ""
    return text.removeprefix(how).removesuffix(UNCHANGED) if text.startswith(how) else ""


class Approvals:
    """The operator, deciding as they did. A yes that nobody had to give then is given now."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def __call__(self, card: Card) -> Decision:
        found = self._script.take(ChangeDecided, until=(ToolAnswered, *UNTIL))
        if found is None:
            raise NotRecordedError(f"nobody decided about {card.id} in the recording")
        decision = found.decision
        if decision.by == "playbook" and decision.answer is Said.YES:
            return replace(decision, by="operator", reason="asked now; the recording went on")
        return decision


class RecordedApplier(Applier):
    """Sends nothing: a change, and what takes it back, end as they did."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._names: dict[str, str] = {}  # of cards, here -> in the recording
        self._sent: set[str] = set()

    def look(self, change: Change) -> Surroundings:
        if why := refused(self._script, BEFORE):
            raise ChangeRefused(why)
        if refused(self._script, BY_GUARD):
            return Surroundings()
        return Surroundings(managed=proposed(self._script, change).managed)

    def preview(self, change: Change, note: str, *, ask: bool = True) -> Preview:
        card = proposed(self._script, change)
        self._names[_card(note)] = card.id
        return Preview(card.diff, card.dry_run, card.command, card.full_diff)

    def renewed(self, change: Change) -> Change | None:
        found = self._script.peek(ChangeProposed, until=(ToolAnswered, *UNTIL))
        return found.card.change if found else None

    def apply(self, change: Change, note: str) -> str:
        settled = self._settled(note)
        self._sent.add(note)
        if _undoes(note):
            if settled.state != "undone":
                raise ToolError(settled.detail)
            return settled.detail.partition(" (")[2].removesuffix(")")
        if settled.state == "failed":
            moved = self.renewed(change) is not None
            raise Conflict(settled.detail) if moved else ChangeRefused(settled.detail)
        if settled.state == "unknown" and not settled.detail.endswith(READ_BACK):
            answer = self._script.peek(ToolAnswered, until=UNTIL)
            half = answer is not None and answer.text.startswith("FAILED, and may be half done")
            raise (ChangeFailed if half else ToolError)(settled.detail)
        return settled.detail.removesuffix(READ_BACK)

    def holds(self, change: Change, note: str) -> bool:
        settled = self._settled(note)
        if _undoes(note):
            already = settled.detail == "it was already as before"
            return settled.state == "undone" and (already or note in self._sent)
        if settled.state == "failed":  # as it was before
            return change.why.startswith("undo: ")
        return settled.state == "verified"

    def drift(self, change: Change, note: str) -> str:
        settled = self._script.peek(ChangeSettled, lambda each: each.card == self._name(note))
        return settled.detail if settled and settled.state == "undo blocked" else ""

    def _settled(self, note: str) -> ChangeSettled:
        found = self._script.peek(ChangeSettled, lambda each: each.card == self._name(note))
        if found is None:
            raise NotRecordedError(f"the recording does not tell how this ended: {note}")
        return found

    def _name(self, note: str) -> str:
        return self._names.get(_card(note), _card(note))


def _card(note: str) -> str:
    """`RUN C1`, `RUN undo C1` -> C1."""
    return note.split()[-1]


def _undoes(note: str) -> bool:
    return "undo" in note.split()[:-1]
