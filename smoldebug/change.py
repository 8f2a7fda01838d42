"""The one executor of changes: guard, dry run, approval, ledger, apply, read back, undo.

Tools, fixed steps and undos all come through here. The intent, with what undoes it, is journaled
and fsynced before anything is sent (`events.ChangeIntended`; `run.py` journals each event before
it goes on), so a process killed at any point leaves a change that can be found and taken back.
"""

import hashlib
import json
import shlex
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import msgspec

from smoldebug.clock import Clock
from smoldebug.errors import (
    AccessDenied,
    ChangeFailed,
    ChangeRefused,
    NotFound,
    SmoldebugError,
    UnreachableError,
)
from smoldebug.events import (
    AnyEvent,
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    UndoIntended,
)
from smoldebug.guard import Guard, asks
from smoldebug.kubectl import KUBE_KINDS, field_diff, kubectl_command, lookup, operations, summary
from smoldebug.playbook.models import Playbook
from smoldebug.records import Answer, Card, Change, ChangeKind, Decision
from smoldebug.redact import Redactor
from smoldebug.sources import servers
from smoldebug.sources.world import Cluster, Object, Processes

Approver = Callable[[Card], Decision]


class Applier(Protocol):
    """How one family of changes is carried out. Raises ChangeRefused or ChangeFailed."""

    def preview(self, change: Change) -> "Preview": ...

    def apply(self, change: Change, note: str) -> str:
        """Carry it out; returns a short detail such as `resourceVersion 12→15`."""
        ...

    def holds(self, change: Change) -> bool:
        """Read back: does the world now have the change's `after`?"""
        ...


@dataclass(frozen=True, slots=True)
class Preview:
    diff: str
    dry_run: str  # "accepted", or why there is none
    command: str  # what a person would type


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a proposal. `text` is for the model; `state` for the expert and the run."""

    state: str  # verified | refused | declined | pending | failed | unknown
    text: str
    card: Card | None = None


Steps = Generator[AnyEvent, None, Outcome]


class Executor:
    """Carries out the changes of one run and can take them back.

    `waited` is the time spent waiting for approvals (seconds), which no deadline counts.
    """

    def __init__(
        self,
        playbook: Playbook,
        appliers: Mapping[ChangeKind, Applier],
        approver: Approver,
        clock: Clock,
        *,
        context: str = "",
        run: str = "",
    ) -> None:
        self._playbook, self._appliers, self._approver = playbook, appliers, approver
        self._clock, self._context, self._run = clock, context, run
        self._guard = Guard(playbook)
        self.shown: Callable[[str], str] = str  # what masks secrets on cards; `assemble` sets it
        self.applied: list[Card] = []  # in order; what undo goes through backwards
        self.waited = 0.0
        self._proposed = 0

    @property
    def changes(self) -> list[Change]:
        """What has been applied and not taken back, in order."""
        return [card.change for card in self.applied]

    def execute(self, change: Change) -> Steps:
        """Try a proposed change. Yields events; returns what became of it, never raises for it."""
        verdict = self._guard.judge(change, self.changes)
        if verdict.answer is Answer.NO:
            return Outcome("refused", f"REFUSED by the guard: {verdict.reason}. Nothing changed.")
        try:
            card = self._card(change)
        except (SmoldebugError, KeyError) as error:
            return Outcome("refused", f"REFUSED before it was sent: {error}. Nothing changed.")
        yield ChangeProposed(card)
        decision = self._decide(card)
        yield ChangeDecided(card.id, card.digest, decision)
        if decision.answer is Answer.PENDING:
            return Outcome("pending", f"waits for approval: {decision.reason}", card)
        if decision.answer is Answer.NO:
            why = decision.reason or "no reason given"
            return Outcome("declined", f"DECLINED by {decision.by}: {why}. Nothing changed.", card)
        return (yield from self._carry_out(card))

    def take_back(self) -> Generator[AnyEvent, None, bool]:
        """Undo everything applied, newest first. Returns whether all of it is back, verified."""
        clean = True
        while self.applied:
            card = self.applied.pop()
            yield UndoIntended(card.id)
            state, detail = self._undo(card)
            clean = clean and state == "undone"
            yield self._settled(card, state, detail)
        return clean

    def _settled(self, card: Card, state: str, detail: str) -> ChangeSettled:
        return ChangeSettled(card.id, state, self.shown(detail))

    def _card(self, change: Change) -> Card:
        applier = self._appliers.get(change.kind)
        if applier is None:
            raise ChangeRefused(f"nothing here can carry out a change of kind: {change.kind}")
        preview = applier.preview(change)
        self._proposed += 1
        return Card(
            id=f"C{self._proposed}",
            change=change,
            diff=self.shown(preview.diff),
            dry_run=preview.dry_run,
            command=self.shown(preview.command),
            limits=self._guard.describe(change, self.changes),
            context=self._context,
            digest=digest(change),
        )

    def _decide(self, card: Card) -> Decision:
        if self._playbook.approval == "never":
            return Decision(Answer.NO, "playbook", "approval: never")
        if not asks(self._playbook, card.change, self._context):
            return Decision(Answer.YES, "playbook", "approval: auto")
        began = self._clock.monotonic()
        decision = self._approver(card)
        self.waited += self._clock.monotonic() - began
        return decision

    def _carry_out(self, card: Card) -> Steps:
        change = card.change
        if digest(change) != card.digest:
            why = "it is not the change that was approved"
            return Outcome("refused", f"REFUSED before it was sent: {why}. Nothing changed.", card)
        applier = self._appliers[change.kind]
        undo = None if change.no_undo else msgspec.to_builtins(change.inverse())
        yield ChangeIntended(card, undo)
        try:
            detail = applier.apply(change, f"{self._run} {card.id}".strip())
        except (ChangeRefused, NotFound, AccessDenied) as error:  # a clear no: nothing happened
            yield self._settled(card, "failed", str(error))
            return Outcome("failed", f"FAILED, nothing changed: {error}", card)
        except SmoldebugError as error:  # cut off: look at the world instead of guessing
            if not self._holds(change):
                self.applied.append(card)
                yield self._settled(card, "unknown", str(error))
                return Outcome("unknown", f"OUTCOME UNKNOWN: {error}", card)
            detail = f"no answer, but it took: {error}"
        self.applied.append(card)
        if not self._holds(change):
            yield self._settled(card, "unknown", f"{detail}; read back something else")
            return Outcome("unknown", "sent, but reading it back shows something else", card)
        yield self._settled(card, "verified", detail)
        return Outcome("verified", f"applied and verified: {summary(change)} ({detail})", card)

    def _undo(self, card: Card) -> tuple[str, str]:
        change = card.change
        if change.no_undo:
            return "cannot be undone", change.no_undo
        inverse = change.inverse()
        if self._holds(inverse):
            return "undone", "it was already as before"
        try:
            detail = self._appliers[change.kind].apply(inverse, f"{self._run} undo {card.id}")
        except SmoldebugError as error:
            if not self._holds(inverse):
                return "undo failed", str(error)
            detail = f"no answer, but it took: {error}"
        if not self._holds(inverse):
            return "undo failed", f"{detail}; read back something else"
        return "undone", f"{summary(inverse)} ({detail})"

    def _holds(self, change: Change) -> bool:
        try:
            return self._appliers[change.kind].holds(change)
        except SmoldebugError:
            return False


def digest(change: Change) -> str:
    """Hash of the exact content an approval is bound to."""
    content = [change.kind, str(change.target), change.uid, dict(change.before), dict(change.after)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


# --- Kubernetes objects ---------------------------------------------------------------------


class KubeApplier:
    """JSON patches guarded by uid and by the before-values of exactly the fields touched."""

    def __init__(self, cluster: Callable[[], Cluster], kubeconfig: str = "") -> None:
        self._cluster, self._kubeconfig = cluster, kubeconfig

    def preview(self, change: Change) -> Preview:
        cluster = self._cluster()
        self._live(change)
        cluster.patch(change.target, operations(change), dry_run=True, note="dry run")
        masks = Redactor()
        told = replace(change, before=masks.fields(change.before), after=masks.fields(change.after))
        command = kubectl_command(told, cluster.context, self._kubeconfig)
        return Preview(field_diff(told), "accepted", command)

    def apply(self, change: Change, note: str) -> str:
        before = self._live(change)["metadata"].get("resourceVersion", "?")
        patched = self._cluster().patch(change.target, operations(change), dry_run=False, note=note)
        after = patched["metadata"].get("resourceVersion", "?")
        return f"resourceVersion {before}→{after}"

    def _live(self, change: Change) -> Object:
        """The object now. Raises ChangeRefused when it is not to be had, or when a field that the
        change adds is there already: JSON patch has no test for that, and would overwrite it."""
        try:
            found = self._cluster().get(change.target)
        except UnreachableError as error:
            raise ChangeRefused(f"it was not sent: {error}") from error
        for path in change.after:
            if path not in change.before and lookup(found, path) is not None:
                raise ChangeRefused(f"somebody else has set it meanwhile: {path}")
        return found

    def holds(self, change: Change) -> bool:
        found = self._cluster().get(change.target)
        if change.uid and found["metadata"].get("uid") != change.uid:
            return False
        paths = dict.fromkeys((*change.before, *change.after))
        return all(lookup(found, path) == change.after.get(path) for path in paths)


# --- local processes ------------------------------------------------------------------------


class CommandApplier:
    """run-command: an argv of the playbook's allow-list, run once. There is no dry run."""

    def __init__(
        self, processes: Processes, redactor: Redactor | None = None, timeout: float = 60.0
    ) -> None:
        self._processes, self._timeout = processes, timeout
        self._redactor = redactor or Redactor()
        self._done: set[str] = set()

    def preview(self, change: Change) -> Preview:
        command = _argv(change)
        return Preview(f"run: {command}", "not supported for commands", command)

    def apply(self, change: Change, note: str) -> str:
        done = self._processes.run(change.after["/argv"], timeout=self._timeout)
        output = self._redactor.text((done.stdout + done.stderr).strip())[-2000:]
        if done.code is None:
            raise ChangeFailed(f"stopped after {self._timeout:g} s: {change.after['/argv'][0]}")
        ended = f"exit code {done.code}: {output}" if output else f"exit code {done.code}"
        if done.code != 0:
            raise ChangeFailed(ended)  # what it did before it failed, nobody knows
        self._done.add(digest(change))
        return ended

    def holds(self, change: Change) -> bool:
        return digest(change) in self._done


class ServerApplier:
    """process-restart: starts a local server of the playbook, after ending the one it replaces.

    Only a process that smoldebug itself started is ended (its record is kept in `folder`).
    """

    def __init__(self, folder: Path, clock: Clock, answers: Callable[[str], bool]) -> None:
        self._folder, self._clock, self._answers = folder, clock, answers

    def preview(self, change: Change) -> Preview:
        command = _argv(change)
        return Preview(f"start: {command}", "not supported for processes", command)

    def apply(self, change: Change, note: str) -> str:
        record, url = self._record(change), change.after["/url"]
        if servers.running(record) is None and self._answers(url):
            raise ChangeRefused(f"something that smoldebug did not start answers at: {url}")
        self._folder.mkdir(parents=True, exist_ok=True)
        ended = servers.end(record)
        log = record.with_suffix(".log")
        pid = servers.start(
            change.after["/argv"], cwd=change.after.get("/cwd") or None, log=log, record=record
        )
        self._wait(change)
        if servers.running(record) is None:
            raise ChangeFailed(f"it ended at once: {servers.last_words(log)}")
        return f"started pid {pid}" + (f" in place of {ended}" if ended else "")

    def holds(self, change: Change) -> bool:
        """It runs and it answers: a server that starts and dies is not a restarted server."""
        running = servers.running(self._record(change)) is not None
        return running and self._answers(change.after["/url"])

    def _wait(self, change: Change) -> None:
        """Until it answers or has ended, 5 s at most."""
        deadline = self._clock.monotonic() + 5
        while servers.running(self._record(change)) is not None and not self.holds(change):
            if self._clock.monotonic() > deadline:
                return
            self._clock.sleep(0.1)

    def _record(self, change: Change) -> Path:
        return self._folder / f"{change.target.name}.json"


def _argv(change: Change) -> str:
    """The command line. Raises ChangeRefused where a change of a process claims an inverse."""
    if not change.no_undo:
        raise ChangeRefused(f"a {change.kind} has no inverse; no_undo must say why")
    return shlex.join(change.after["/argv"])


def appliers(
    cluster: Callable[[], Cluster],
    server: ServerApplier,
    command: CommandApplier,
    kubeconfig: str = "",
) -> dict[ChangeKind, Applier]:
    """Who carries out which kind. Kinds that later versions bring are missing on purpose."""
    kube = KubeApplier(cluster, kubeconfig)
    found: dict[ChangeKind, Applier] = dict.fromkeys(KUBE_KINDS, kube)
    found[ChangeKind.PROCESS_RESTART] = server
    found[ChangeKind.RUN_COMMAND] = command
    return found
