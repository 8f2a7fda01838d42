"""Upgrades of a release in several clusters as events: `smoldebug validate -p helm-upgrade`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from smoldebug.cells import Cell
from smoldebug.clock import FakeClock
from smoldebug.events import (
    AnyEvent,
    Blamed,
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Continued,
    EvidenceRecorded,
    GoalChecked,
    PhaseBegan,
    RunEnded,
    RunStarted,
    Skipped,
    Stamp,
    Stamped,
    UndoBegan,
    UndoIntended,
)
from smoldebug.records import (
    Answer,
    Blame,
    Card,
    Change,
    ChangeKind,
    CheckResult,
    Decision,
    Evidence,
    ObjectRef,
    Observation,
    Outcome,
    Quote,
    Usage,
    Verdict,
    Who,
)
from smoldebug.status import ExitStatus

BEGAN = datetime(2026, 11, 20, 14, 0, 0, tzinfo=UTC)
EU, US, AP = "eu-staging", "us-staging", "ap-staging"
SERVICES = ("catalog", "checkout", "gateway", "ledger", "payments")
ROLLOUT, HTTP, LOGS, RESTARTS = CHECKS = (
    "rollout complete",
    "http /health = 200",
    "no new error lines",
    "restarts at most 0",
)
PAYMENTS, CHECKOUT = "Deployment/platform/payments", "Deployment/platform/checkout"
LINE = "ConfigError: cannot parse config key 'ledger.mode': expected sync or async, got 'fast'"
REASON = "payments: the new image fails its readiness probe"
Rows = dict[tuple[str, str], tuple[Outcome, str, bool]]  # of service and check


def verdict(rows: Rows | None = None, *, held: float = 0.0, hold_for: float = 300.0) -> Verdict:
    """20 rows: all met, except `rows` (outcome, what it says, pending)."""
    odd = rows or {}
    results = tuple(
        CheckResult(
            check,
            check.split()[0],
            outcome,
            says,
            subject=f"Deployment/platform/{service}",
            pending=pending,
            service=f"Deployment/platform/{service}",
        )
        for service in SERVICES
        for check in CHECKS
        for outcome, says, pending in [
            odd.get((service, check), (Outcome.MET, "2 of 2 replicas ready", False))
        ]
    )
    sample = Outcome.MET
    if any(outcome is Outcome.INCONCLUSIVE for outcome, _, _ in odd.values()):
        sample = Outcome.INCONCLUSIVE
    if any(outcome is Outcome.NOT_MET for outcome, _, _ in odd.values()):
        sample = Outcome.NOT_MET
    outcome = sample
    if sample is Outcome.MET and held < hold_for:
        outcome = Outcome.NOT_MET
    return Verdict(outcome, sample, results, int(held > 0), 1, held, hold_for)


ROLLING = verdict({
    ("payments", ROLLOUT): (Outcome.NOT_MET, "0 of 2 replicas updated and ready", True),
    ("catalog", ROLLOUT): (Outcome.NOT_MET, "1 of 2 replicas updated and ready", True),
})  # fmt: skip
BROKEN = verdict({
    ("payments", ROLLOUT): (Outcome.NOT_MET, "payments-6f9 is not ready: HTTP 500", False),
    ("payments", LOGS): (Outcome.NOT_MET, f"new: {LINE}", False),
    ("checkout", HTTP): (Outcome.NOT_MET, "answered 502", False),
})  # fmt: skip
UNSEEN = verdict({
    (service, check): (Outcome.INCONCLUSIVE, "us-staging: connection refused", False)
    for service in SERVICES for check in CHECKS
})  # fmt: skip
HEALTHY = verdict(held=30, hold_for=30)
BLAME = Blame(
    PAYMENTS,
    ROLLOUT,
    REASON,
    34.0,
    (Quote("E3", LINE, verified=True), Quote("E2", "Readiness probe failed: HTTP 500", True)),
    (CHECKOUT,),
    "bad-config-value",
)
UPGRADE = Change(
    ChangeKind.HELM_UPGRADE,
    ObjectRef("HelmRelease", "platform", "platform"),
    {"/revision": 3, "/chart": "platform-2.4.0"},
    {"/chart": "platform-2.5.0", "/digest": "sha256:9f2c", "/values": {"replicas": 2}},
    "step 1 of the playbook",
    from_revision=3,
)


@dataclass
class Recording:
    """One cluster's journal, said event by event."""

    cluster: str
    clock: FakeClock = field(default_factory=lambda: FakeClock(BEGAN))
    events: list[Stamped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = f"r{self.cluster[:2]}7f3a"
        self._stamp = Stamp(self.run, self.clock)

    def add(self, pause: float, *events: AnyEvent) -> "Recording":
        self.clock.sleep(pause)
        self.events += map(self._stamp, events)
        return self

    def cell(self) -> Cell:
        return Cell(self.cluster, self.events)

    # --- parts of a run -------------------------------------------------------------------

    def opening(self, baseline: Verdict = HEALTHY) -> "Recording":
        started = RunStarted(
            command="validate",
            playbook="helm-upgrade",
            goal="All services of the release roll out and stay healthy",
            model="expert",
            context=self.cluster,
            namespaces=("platform",),
            mode="auto",
            check_every=15.0,
            limits=Usage(max_turns=15, max_seconds=2400.0),
            inputs={"release": "platform", "version": "2.5.0"},
            version="0.1.0",
            cluster=f"uid-{self.cluster}",
            who=Who("ci", "system:serviceaccount:ci:upgrader"),
            matrix="m1",
        )
        self.add(0.0, started, PhaseBegan("baseline"))
        return self.add(30.0, GoalChecked(0, baseline))

    def upgraded(self, state: str = "verified", detail: str = "revision 3→4") -> "Recording":
        card = Card(
            id="C1",
            change=UPGRADE,
            diff="- image: platform/payments:2.4.0\n+ image: platform/payments:2.5.0",
            dry_run="accepted",
            command=f"helm --kube-context {self.cluster} -n platform upgrade platform ./platform",
            limits="1 of 1 changes",
            context=self.cluster,
            digest="ab12cd34",
        )
        normal = Observation("error shapes: none\nrestarts: none", source="log", ref="baseline")
        self.add(0.1, EvidenceRecorded(Evidence("E1", "baseline", {}, normal, self.clock.now())))
        self.add(0.0, PhaseBegan("steps"), ChangeProposed(card))
        self.add(0.1, ChangeDecided("C1", "ab12cd34", Decision(Answer.YES, "playbook")))
        self.add(0.0, ChangeIntended(card, {"kind": "helm-rollback"}))
        return self.add(6.0, ChangeSettled("C1", state, detail))

    def held(self) -> "Recording":
        self.add(0.0, PhaseBegan("watching"), GoalChecked(0, ROLLING))
        self.add(15.0, GoalChecked(0, verdict(held=1)))
        for held in (150, 300):
            self.add(150.0, GoalChecked(0, verdict(held=held)))
        return self.ended(ExitStatus.MET, "20 checks of 5 services held for 5m after the steps")

    def broke(self, blame: Blame = BLAME) -> "Recording":
        self.add(0.0, PhaseBegan("watching"), GoalChecked(0, ROLLING))
        self.add(28.0, GoalChecked(0, BROKEN), PhaseBegan("explaining"))
        for id, tool, text, source in (
            ("E2", "events", "Warning Unhealthy: Readiness probe failed: HTTP 500", "event"),
            ("E3", "logs", f"starting payments 2.5.0\n{LINE}\nshutting down", "log"),
        ):
            seen = Observation(text, source=source, ref=PAYMENTS)
            self.add(0.2, EvidenceRecorded(Evidence(id, tool, {}, seen, self.clock.now())))
        return self.add(0.1, Blamed(blame))

    def taken_back(self, reason: str, *, clean: bool = True, holds: bool = True) -> "Recording":
        self.add(0.0, UndoBegan(ExitStatus.NOT_MET, reason), PhaseBegan("rolling back"))
        self.add(0.0, UndoIntended("C1"))
        if not clean:
            self.add(5.0, ChangeSettled("C1", "undo failed", "helm: release is locked"))
            return self.ended(ExitStatus.UNDO_FAILED, f"{reason}; not all of it was taken back")
        self.add(5.0, ChangeSettled("C1", "undone", "revision 4→5"))
        if not holds:
            self.add(20.0, GoalChecked(0, BROKEN))
            why = f"{reason}; taken back, but the goal does not hold again"
            return self.ended(ExitStatus.UNDO_FAILED, why)
        self.add(20.0, GoalChecked(0, HEALTHY))
        return self.ended(ExitStatus.UNDONE, f"{reason}; taken back, and the goal holds again")

    def ended(self, status: ExitStatus, reason: str, blame: Blame | None = None) -> "Recording":
        outcome = {ExitStatus.MET: Outcome.MET, ExitStatus.INCONCLUSIVE: Outcome.INCONCLUSIVE}
        told = outcome.get(status, Outcome.NOT_MET)
        return self.add(0.0, RunEnded(status, told, reason, Usage(), blame=blame))


# --- how a matrix goes --------------------------------------------------------------------------


def good(cluster: str) -> Recording:
    return Recording(cluster).opening().upgraded().held()


def rolled_back(cluster: str) -> Recording:
    return Recording(cluster).opening().upgraded().broke().taken_back(REASON)


def skipped(cluster: str, failed: str) -> Recording:
    return not_begun(cluster, f"not begun, since {failed} failed (matrix.stop_after_failures)")


def not_begun(cluster: str, reason: str) -> Recording:
    """There is no run."""
    stamped = Stamp("", FakeClock(BEGAN))(Skipped(reason))
    return Recording(cluster, events=[stamped])


def all_good() -> list[Recording]:
    return [good(EU), good(US), good(AP)]


def canary_fails() -> list[Recording]:
    return [rolled_back(EU), skipped(US, EU), skipped(AP, EU)]


def second_fails() -> list[Recording]:
    """The first is kept."""
    return [good(EU), rolled_back(US), skipped(AP, US)]


def first_gives_way() -> list[Recording]:
    """It held, and goes back with the second."""
    reason = "us-staging failed (on_failure_others: rollback)"
    first = good(EU).add(70.0, Continued("validate", Who("ci")))
    return [first.taken_back(reason), rolled_back(US), skipped(AP, US)]


def baseline_broken() -> list[Recording]:
    seen = verdict({("ledger", HTTP): (Outcome.NOT_MET, "answered 503", False)}, hold_for=30)
    reason = "the baseline does not hold, so nothing was touched: ledger http /health: answered 503"
    first = Recording(EU).opening(seen).ended(ExitStatus.INCONCLUSIVE, reason)
    return [first, skipped(US, EU), skipped(AP, EU)]


def unreachable() -> list[Recording]:
    """In the middle of the upgrade; the others go on."""
    lost = Recording(US).opening().upgraded("unknown", "connection refused while Helm was at work")
    lost.add(15.0, PhaseBegan("watching"), GoalChecked(0, UNSEEN))
    lost.ended(ExitStatus.UNREACHABLE, "us-staging does not answer: connection refused")
    return [good(EU), lost, good(AP)]


def interrupted() -> list[Recording]:
    """The job is cancelled while the first rolls out: taken back, the others not begun."""
    first = Recording(EU).opening().upgraded()
    first.add(0.0, PhaseBegan("watching"), GoalChecked(0, ROLLING))
    first.add(3.0, UndoBegan(ExitStatus.INTERRUPTED, "stopped by the operator"))
    first.add(0.0, PhaseBegan("rolling back"), UndoIntended("C1"))
    first.add(5.0, ChangeSettled("C1", "undone", "revision 4→5"), GoalChecked(0, HEALTHY))
    first.ended(ExitStatus.INTERRUPTED, "stopped by the operator; changes undone and verified")
    return [first, *(not_begun(each, "stopped by the operator") for each in (US, AP))]


def rollback_fails() -> list[Recording]:
    first = Recording(EU).opening().upgraded().broke().taken_back(REASON, clean=False)
    return [first, skipped(US, EU), skipped(AP, EU)]


STORIES: dict[str, Callable[[], list[Recording]]] = {
    each.__name__: each
    for each in (
        all_good,
        canary_fails,
        second_fails,
        first_gives_way,
        baseline_broken,
        unreachable,
        interrupted,
        rollback_fails,
    )
}


def cells(story: Callable[[], list[Recording]]) -> list[Cell]:
    return [each.cell() for each in story()]


def side_by_side(recordings: Sequence[Recording]) -> list[tuple[str, Stamped]]:
    """As a matrix merges them when all run at once: by time, then in the order of clusters."""
    merged = [
        (each.at, place, recording.cluster, each)
        for place, recording in enumerate(recordings)
        for each in recording.events
    ]
    ordered = sorted(merged, key=lambda item: (item[0], item[1], item[3].seq))
    return [(cluster, stamped) for _, _, cluster, stamped in ordered]


def one_by_one(recordings: Sequence[Recording]) -> list[tuple[str, Stamped]]:
    """As a matrix with `parallel: 1` does."""
    return [(each.cluster, stamped) for each in recordings for stamped in each.events]


def saying(text: str) -> Recording:
    """A run that breaks, in which the world says `text` wherever it is quoted."""
    quotes = (Quote("E3", text, verified=True),)
    blame = replace(BLAME, reason=text, quotes=quotes, victims=(text,))
    told = Recording(EU).opening().upgraded(detail=text)
    told.add(0.0, PhaseBegan("watching"), GoalChecked(0, verdict({
        ("payments", ROLLOUT): (Outcome.NOT_MET, text, False)})))  # fmt: skip
    seen = Observation(text, source="log", ref=PAYMENTS)
    told.add(0.1, EvidenceRecorded(Evidence("E3", "logs", {}, seen, told.clock.now())))
    return told.add(0.1, Blamed(blame, text)).taken_back(text)
