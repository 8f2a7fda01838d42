"""The one executor of changes: guard, dry run, approval, ledger, apply, read back, undo.

Tools, fixed steps and undos all come through here. The intent, with what undoes it, is journaled
and fsynced before anything is sent (`events.ChangeIntended`; `run.py` journals each event before
it goes on), so a process killed at any point leaves a change that can be found and taken back.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from smoldebug.appliers import Applier, masked
from smoldebug.clock import Clock
from smoldebug.errors import (
    AccessDenied,
    ChangeFailed,
    ChangeRefused,
    Conflict,
    NotFound,
    SmoldebugError,
)
from smoldebug.events import (
    AnyEvent,
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    UndoIntended,
)
from smoldebug.guard import LOCAL, Guard, Tally
from smoldebug.kubectl import summary
from smoldebug.ledger import Entry
from smoldebug.records import (
    OF_RELEASE,
    Answer,
    Card,
    Change,
    ChangeKind,
    Decision,
    Surroundings,
)
from smoldebug.redact import Redactor

Approver = Callable[[Card], Decision]
LASTS = timedelta(hours=1)  # how long a yes given beforehand counts; after that it is asked again
AGAIN = 2  # times that a change is asked for anew because what it replaces has moved
CHANGED = ("verified", "unknown")  # states of an outcome after which the world may be different
LATE = (0.2, 0.4, 0.8, 1.6)  # seconds between looks for a change whose answer was lost
LOOKING = 8.0  # seconds after which no look is repeated: a world that hangs keeps each waiting


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a proposal. `text` is for the model; `state` for the expert and the run."""

    state: str  # verified | refused | declined | pending | failed | unknown
    text: str
    card: Card | None = None


Steps = Generator[AnyEvent, None, Outcome]


@dataclass(frozen=True, slots=True)
class Place:
    """Which run changes which cluster: the world is told the one, an approval binds the other."""

    run: str = ""
    context: str = ""  # of the kubeconfig
    cluster: str = ""  # the cluster's own id
    server: str = ""  # the API server's address


class Executor:
    """Carries out the changes of one run and can take them back.

    `waited` is the time spent waiting for approvals (seconds), which no deadline counts.
    `unrecorded` says why the journal cannot be written; while it does, nothing is changed.
    """

    def __init__(
        self,
        guard: Guard,
        appliers: Mapping[ChangeKind, Applier],
        approver: Approver,
        clock: Clock,
        place: Place = Place(),
        shown: Callable[[str], str] = str,
    ) -> None:
        self._guard, self._appliers, self._approver = guard, appliers, approver
        self._clock, self._place, self._shown = clock, place, shown
        self.applied: list[Card] = []  # in order; what undo goes through backwards
        self.waited = 0.0
        self.unrecorded = ""
        self.break_glass = ""  # the reason, until it was used
        self.sending: Callable[[], None] = lambda: None  # told before anything is changed
        self._times: list[datetime] = []
        self._proposed = 0
        self._answers: dict[str, Entry] = {}  # by digest: approved while nobody was running
        # By card: the yes it was carried out with, and what the limits had counted until then
        self._given: dict[str, tuple[Decision, Tally]] = {}

    @property
    def changes(self) -> list[Change]:
        """What has been applied and not taken back, in order."""
        return [card.change for card in self.applied]

    def restore(self, entries: Iterable[Entry]) -> None:
        """Where an earlier process left off: what stands, what was decided, how it was numbered."""
        now, entries = self._clock.now(), list(entries)
        over = {entry.card.digest for entry in entries if entry.touched or entry.state == "refused"}
        for entry in entries:
            self._proposed += 1
            if entry.decision and entry.touched and _counts_still(entry, now):
                self._given[entry.card.id] = entry.decision, self._tally()
            if entry.stands:
                self.applied.append(entry.card)
            if entry.touched and entry.at is not None:
                self._times.append(entry.at)
            if entry.touched and entry.decision and entry.decision.lifted:
                self.break_glass = ""
            if entry.state in ("approved", "verified") and _counts_still(entry, now):
                then = entry.card.change.then
                bound = digest(then, self._place) if entry.touched and then else entry.card.digest
                if bound not in over:
                    self._answers[bound] = entry

    def execute(self, change: Change, approved: str = "") -> Steps:
        """Try a proposed change, and what is to follow it. Yields events; returns what became of
        it, never raises for it.

        `approved` is the id of the card that this very change had when somebody said yes to it.
        """
        outcome = yield from self._try(change, approved)
        for _ in range(AGAIN):
            renewed = self._renewed(change) if outcome.state == "moved" else None
            if renewed is None:
                break
            outcome = yield from self._try(change := renewed)
        if outcome.state == "verified" and change.then is not None:
            outcome = yield from self._try(change.then, under=outcome.card)
        return replace(outcome, state="failed") if outcome.state == "moved" else outcome

    def foresee(self, change: Change) -> Card:
        """What its card would say; nobody is asked and nothing is sent. Raises ChangeRefused where
        the guard stands against it, and what a dry run does."""
        first = self._guard.judge(change, self._tally())
        if first.answer is not Answer.NO:
            around, first = self._weighed(change, first)
            if first.answer is not Answer.NO:
                return self._card(change, around, first, "", None)
        raise ChangeRefused(f"refused by the guard: {first.reason}")

    def follow(self, change: Change, card: Card) -> Steps:
        """A change that the approval of an earlier one covers, because its card said so."""
        return (yield from self._try(change, under=card))

    def _try(self, change: Change, approved: str = "", under: Card | None = None) -> Steps:
        first = self._guard.judge(change, self._tally(under))
        if first.answer is Answer.NO:
            return _refused(first)
        if self.unrecorded:
            return self._unrecordable()
        try:
            around, verdict = self._weighed(change, first)
            if verdict.answer is Answer.YES and change.then is not None:
                verdict, around = self._foreseen(change.then, verdict, around)
            if verdict.answer is Answer.NO:
                return _refused(verdict)
            card = self._card(change, around, verdict, approved, under)
        except (SmoldebugError, KeyError) as error:
            return Outcome("refused", f"REFUSED before it was sent: {error}. Nothing changed.")
        yield ChangeProposed(card)
        decision = replace(self._decide(card, under), lifted=verdict.lifted)
        yield ChangeDecided(card.id, card.digest, decision)
        if decision.answer is Answer.PENDING:
            return Outcome("pending", f"waits for approval: {decision.reason}", card)
        if decision.answer is Answer.NO:
            why = decision.reason or "no reason given"
            return Outcome("declined", f"DECLINED by {decision.by}: {why}. Nothing changed.", card)
        late = self._guard.judge(change, self._tally(under))  # a window may have closed meanwhile
        if late.lifted != first.lifted:  # nobody was told of that
            late = Decision(Answer.NO, "guard", f"a limit came in its way: {late.lifted}")
        if late.answer is Answer.NO:
            yield self._settled(card, "refused", late.reason)
            return _refused(late, card)
        self._given[card.id] = decision, self._tally(under)
        return (yield from self._carry_out(card, decision))

    def take_back(self, last: int | None = None) -> Generator[AnyEvent, None, bool]:
        """Undo what was applied, newest first (or the `last` so many). Returns whether all of that
        is back, verified; what is not stays in `applied`."""
        clean = True
        for card in reversed(self.applied[-last if last else None :]):
            yield UndoIntended(card.id)
            state, detail = self._undo(card)
            if state == "undone":
                self.applied.remove(card)
            clean = clean and state == "undone"
            yield self._settled(card, state, detail)
        return clean

    def rehearse(self, card: Card) -> tuple[str, str]:
        """How its undo would end, and what it would send (or what stands in the way), checked by
        the server's dry run. Raises SmoldebugError when that cannot be told."""
        change, note = card.change, self._note(f"undo {card.id}")
        if change.no_undo:
            return "cannot be undone", change.no_undo
        inverse = change.inverse()
        if self._holds(inverse, note):
            return "undone", "it is as before already"
        if drift := self._applier(change).drift(change, self._note(card.id)):
            return "undo blocked", self._shown(drift)
        preview = self._applier(inverse).preview(inverse, note)
        return "would be undone", self._shown(f"{preview.diff}\n$ {preview.command}")

    def overtaken(self) -> str:
        """What somebody else has released over what was applied, or "": then it is not what was
        applied that runs."""
        last = {card.change.target: card for card in self.applied if card.change.kind in OF_RELEASE}
        for card in last.values():
            with suppress(SmoldebugError):  # what cannot be seen is nobody's doing
                if drift := self._applier(card.change).drift(card.change, self._note(card.id)):
                    return self._shown(drift)
        return ""

    def settle(self, entries: Iterable[Entry]) -> Generator[AnyEvent, None, None]:
        """Close what a killed process left open, by looking at the world. An undo that had begun
        is finished; a change that was sent is found to stand, or not to have happened."""
        for entry in entries:
            if entry.intent == "undo":
                state, detail = self._undo(entry.card)
            elif entry.intent == "change":
                state, detail = self._found(entry.card)
            else:
                continue
            entry.settle(state, self._shown(detail))
            yield self._settled(entry.card, state, detail)

    # --- before -----------------------------------------------------------------------------

    def _weighed(self, change: Change, first: Decision) -> tuple[Surroundings, Decision]:
        around = self._applier(change).look(change)
        return around, self._guard.weigh(change, around, first)

    def _foreseen(
        self, then: Change, verdict: Decision, around: Surroundings
    ) -> tuple[Decision, Surroundings]:
        """The verdict on what would follow, before anybody is asked for the two; what an approver
        must know of it stands among the notes of the first one."""
        first = self._guard.judge(then, self._tally())
        if first.answer is Answer.NO:
            return first, around
        beyond, second = self._weighed(then, first)
        told = self._guard.warnings(then, beyond, second)
        lifted = "; ".join(each for each in (verdict.lifted, second.lifted) if each)
        merged = replace(second, lifted=lifted)
        return merged, replace(around, notes=(*around.notes, *told))

    def _tally(self, under: Card | None = None) -> Tally:
        """What the limits count: a change under the approval of another one is one with it."""
        if under and under.id in self._given:
            return replace(self._given[under.id][1], now=self._clock.now())
        return Tally(tuple(self.changes), tuple(self._times), self._clock.now(), self.break_glass)

    def _applier(self, change: Change) -> Applier:
        applier = self._appliers.get(change.kind)
        if applier is None:
            raise ChangeRefused(f"nothing here can carry out a change of kind: {change.kind}")
        return applier

    def _card(
        self,
        change: Change,
        around: Surroundings,
        verdict: Decision,
        approved: str,
        under: Card | None,
    ) -> Card:
        card_id = approved or f"C{self._proposed + 1}"
        preview = self._applier(change).preview(
            change, self._note(card_id), ask=self._guard.approval != "never"
        )
        self._proposed += not approved
        return Card(
            id=card_id,
            change=change,
            diff=self._shown(preview.diff),
            dry_run=self._shown(preview.dry_run),
            command=self._shown(preview.command),
            limits=self._guard.describe(change, self._tally(under), len(around.files)),
            context=self._place.context,
            digest=digest(change, self._place),
            full_diff=self._shown(preview.full_diff),
            managed=around.managed,
            warnings=tuple(map(self._shown, self._guard.warnings(change, around, verdict))),
        )

    def _decide(self, card: Card, under: Card | None = None) -> Decision:
        if self._guard.approval == "never":
            return Decision(Answer.NO, "playbook", "approval: never")
        given = self._given.get(under.id) if under else None
        if under and given and set(card.warnings) <= set(under.warnings):
            return replace(given[0], reason=f"with {under.id}")
        approved = self._answers.pop(card.digest, None)
        if approved and approved.decision and set(card.warnings) <= set(approved.card.warnings):
            return approved.decision
        if not card.warnings and not self._guard.asks(card.change):
            return Decision(Answer.YES, "playbook", "approval: auto")
        began = self._clock.monotonic()
        decision = self._approver(card)
        self.waited += self._clock.monotonic() - began
        return decision

    # --- carrying out -----------------------------------------------------------------------

    def _carry_out(self, card: Card, decision: Decision) -> Steps:
        change, note = card.change, self._note(card.id)
        if digest(change, self._place) != card.digest:
            why = "it is not the change that was approved"
            yield self._settled(card, "refused", why)
            return Outcome("refused", f"REFUSED before it was sent: {why}. Nothing changed.", card)
        undo = None if change.no_undo else msgspec.to_builtins(change.inverse())
        yield ChangeIntended(card, undo)
        if self.unrecorded:
            yield self._settled(card, "failed", self.unrecorded)
            return self._unrecordable(card)
        self.sending()
        try:
            detail = self._applier(change).apply(change, note)
        except (ChangeRefused, NotFound, AccessDenied) as error:  # a clear no: nothing happened
            yield self._settled(card, "failed", str(error))
            state = "moved" if isinstance(error, Conflict) else "failed"
            return Outcome(state, f"FAILED, nothing changed: {error}", card)
        except SmoldebugError as error:  # cut off: look at the world instead of guessing
            if not self._appears(change, note):
                self._count(card, decision)
                yield self._settled(card, "unknown", str(error))
                failed = isinstance(error, ChangeFailed)
                what = "FAILED, and may be half done" if failed else "OUTCOME UNKNOWN"
                return Outcome("unknown", f"{what}: {error}", card)
            detail = f"no answer, but it took: {error}"
        self._count(card, decision)
        if not self._holds(change, note):
            yield self._settled(card, "unknown", f"{detail}; read back something else")
            return Outcome("unknown", "sent, but reading it back shows something else", card)
        yield self._settled(card, "verified", detail)
        return Outcome("verified", f"applied and verified: {_told(change)} ({detail})", card)

    def _count(self, card: Card, decision: Decision) -> None:
        """It was, or may have been, carried out: what was clearly refused uses up no limit."""
        self.applied.append(card)
        self._times.append(self._clock.now())
        if decision.lifted:
            self.break_glass = ""

    def _renewed(self, change: Change) -> Change | None:
        """The same change from how things are now, to be judged and asked for like any other."""
        try:
            return self._applier(change).renewed(change)
        except SmoldebugError:
            return None

    def _unrecordable(self, card: Card | None = None) -> Outcome:
        text = f"REFUSED, since what undoes it cannot be recorded: {self.unrecorded}"
        return Outcome("refused", f"{text}. Nothing changed.", card)

    def _settled(self, card: Card, state: str, detail: str) -> ChangeSettled:
        return ChangeSettled(card.id, state, self._shown(detail))

    def _undo(self, card: Card) -> tuple[str, str]:
        change, note = card.change, self._note(f"undo {card.id}")
        if change.no_undo:
            return "cannot be undone", change.no_undo
        inverse = change.inverse()
        try:
            if self._holds(inverse, note):
                return "undone", "it was already as before"
            if drift := self._applier(change).drift(change, self._note(card.id)):
                return "undo blocked", drift
            self.sending()
            detail = self._applier(inverse).apply(inverse, note)
        except Conflict as error:  # somebody was quicker
            return "undo blocked", str(error)
        except SmoldebugError as error:
            if not self._appears(inverse, note):
                return "undo failed", str(error)
            detail = f"no answer, but it took: {error}"
        if not self._holds(inverse, note):
            return "undo failed", f"{detail}; read back something else"
        return "undone", f"{_told(inverse)} ({detail})"

    def _found(self, card: Card) -> tuple[str, str]:
        """How a change ended whose process was killed between intent and outcome."""
        change, note = card.change, self._note(card.id)
        if self._appears(change, note):
            return "verified", "found applied afterwards"
        if change.kind not in LOCAL and self._holds(change.inverse(), note):  # as it was before
            return "failed", "found not applied"
        return "unknown", "the world shows neither what was before nor what was meant"

    def _appears(self, change: Change, note: str) -> bool:
        """Read back, also late: a server whose answer was lost may still be at it."""
        until = self._clock.monotonic() + LOOKING
        for pause in () if change.kind in LOCAL else LATE:  # a command is over when it is
            if self._holds(change, note):
                return True
            if self._clock.monotonic() >= until:
                return False
            self._clock.sleep(pause)
        return self._holds(change, note)

    def _holds(self, change: Change, note: str) -> bool:
        try:
            return self._applier(change).holds(change, note)
        except SmoldebugError:
            return False

    def _note(self, what: str) -> str:
        return f"{self._place.run} {what}".strip()


def _counts_still(entry: Entry, now: datetime) -> bool:
    """Whether an operator said yes to it beforehand, not too long ago. What a playbook or a policy
    let pass then, that of now must let pass again."""
    by_operator = entry.decision is not None and entry.decision.by == "operator"
    recent = entry.at is not None and now - entry.at < LASTS
    return by_operator and recent


def _refused(verdict: Decision, card: Card | None = None) -> Outcome:
    text = f"REFUSED by the guard: {verdict.reason}. Nothing changed."
    return Outcome("refused", text, card)


def _told(change: Change) -> str:
    """What it does, in a line, without secrets."""
    masks = Redactor()
    before, after = (masked(change, side, masks) for side in (change.before, change.after))
    return summary(replace(change, before=before, after=after))


def digest(change: Change, place: Place = Place()) -> str:
    """Hash of what an approval is bound to: the exact content, in that very cluster."""
    content = [
        place.context,
        place.cluster,
        change.kind,
        str(change.target),
        change.uid,
        dict(change.before),
        dict(change.after),
        change.manifest,
        *([digest(change.then, place)] if change.then else []),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
