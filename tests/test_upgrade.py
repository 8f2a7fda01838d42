"""A run with steps: what must hold before, who is blamed after, and what is taken back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from askers import chain_of

from smoldebug.agent import Agent, Signals
from smoldebug.appliers import CommandApplier, ServerApplier, appliers
from smoldebug.change import Approver, Executor, Place
from smoldebug.clock import FakeClock
from smoldebug.diagnose.witness import Witness
from smoldebug.errors import AccessDenied, ToolError, UnreachableError
from smoldebug.events import (
    AnyEvent,
    Blamed,
    ChangeProposed,
    ChangeSettled,
    Continued,
    GoalChecked,
    Note,
    PhaseBegan,
    RunEnded,
    RunStarted,
    Stamped,
    UndoBegan,
)
from smoldebug.evidence import EvidenceStore
from smoldebug.goal import Goal
from smoldebug.goal.steady import Steady
from smoldebug.guard import Guard
from smoldebug.journal import Journal
from smoldebug.model.scripted import ScriptedModel
from smoldebug.notebook import Notebook
from smoldebug.past import Past, past
from smoldebug.playbook import models, upgrades
from smoldebug.playbook.base import Duration
from smoldebug.records import (
    Answer,
    Card,
    ChangeKind,
    CheckResult,
    Decision,
    ObjectRef,
    Outcome,
    Usage,
    Verdict,
    Who,
)
from smoldebug.redact import Redactor
from smoldebug.run import Crew, roll_back, run
from smoldebug.sources.fake_helm import FakeChart, FakeHelm
from smoldebug.sources.fakes import FakeCluster, FakeProcesses
from smoldebug.sources.helm import Hook, Release
from smoldebug.sources.helm import Upgrade as Upgrading
from smoldebug.sources.world import World
from smoldebug.status import ExitStatus
from smoldebug.toolset import ToolContext, Toolset
from smoldebug.upgrade import AGAIN, LONGEST, Upgrade

PLATFORM = Release("shop", "platform")
PAYMENTS = ObjectRef("Deployment", "shop", "payments")
CHART = "oci://registry.example/platform"
UPGRADE = upgrades.Step(
    helm_upgrade=upgrades.HelmUpgrade(
        release="platform", namespace="shop", chart=CHART, version="2.0"
    )
)
WAITING = {"updatedReplicas": 0}
DEADLINE = {
    "updatedReplicas": 0,
    "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
}


def yes(card: Card) -> Decision:
    return Decision(Answer.YES, "operator")


def nobody(card: Card) -> Decision:
    return Decision(Answer.PENDING, "nobody", "no terminal")


ROLLED_OUT = {
    "replicas": 1,
    "updatedReplicas": 1,
    "availableReplicas": 1,
    "observedGeneration": 1,
}


def workload(name: str, version: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "generation": 1},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"spec": {"containers": [{"name": "app", "image": f"{name}:{version}"}]}},
        },
    }


def pod(app: str) -> dict[str, Any]:
    container = {"name": "app", "restartCount": 0, "ready": True, "state": {"running": {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{app}-1", "namespace": "shop", "labels": {"app": app}},
        "status": {"phase": "Running", "containerStatuses": [container]},
    }


class Rolling(FakeHelm):
    """Where the controllers do their work at once. `becomes`: how payments is, by chart."""

    becomes: Mapping[str, Mapping[str, Any]] = {}

    def upgrade(self, upgrade: Upgrading, description: str) -> None:
        try:
            super().upgrade(upgrade, description)
        finally:
            self.roll_out(upgrade.release)

    def rollback(self, release: Release, revision: int, timeout: float) -> None:
        super().rollback(release, revision, timeout)
        self.roll_out(release)

    def roll_out(self, release: Release) -> None:
        newest = self.history(release)[-1]
        for ref, item in self.cluster.objects.items():
            if ref.kind == "Deployment":
                item["status"] = dict(ROLLED_OUT)
                if ref.name == "payments":
                    item["status"] |= self.becomes.get(newest.chart, {})


def chart(version: str) -> FakeChart:
    return FakeChart("platform", version, [workload("web", version), workload("payments", version)])


@dataclass
class Stage:
    """One upgrade of two services, ready to be played. `bad` is how payments is after it."""

    folder: Path
    bad: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)  # how payments is before it
    steps: list[upgrades.Step] = field(default_factory=lambda: [UPGRADE])
    baseline: upgrades.Baseline | None = upgrades.Baseline(for_=Duration(10))
    on_failure: str = "rollback"
    approval: str = "auto"
    approver: Approver = yes
    within: float = 600
    words: list[dict[str, Any]] = field(default_factory=list)  # of a model

    def __post_init__(self) -> None:
        self.clock, self.signals, self.seen = FakeClock(), Signals(), list[Stamped]()
        self.cluster = FakeCluster([pod("web"), pod("payments")], context="eu")
        charts = [chart("1.0"), chart("2.0")]
        self.helm = Rolling(self.cluster, {CHART: charts[:1]}, self.clock)
        self.helm.becomes = {"platform-1.0": self.before, "platform-2.0": self.bad}
        self.helm.install(PLATFORM, CHART)
        self.helm.roll_out(PLATFORM)
        self.helm.charts[CHART] = charts
        self.world = World(
            self.clock,
            FakeProcesses(),
            cluster=lambda: self.cluster,
            helm=lambda _: self.helm,
        )
        goal = models.Goal(
            each_service=upgrades.EachService(from_release="platform"),
            all=[models.Check(rollout=models.RolloutCheck()), models.Check(restarts=NO_RESTARTS)],
            every=Duration(5),
            for_=Duration(30),
            within=Duration(self.within) if self.within else None,
        )
        change = models.ChangeTool(
            allow=[ChangeKind.HELM_UPGRADE, ChangeKind.HELM_ROLLBACK, ChangeKind.SET_IMAGE],
            targets=["HelmRelease/shop/platform", "Deployment/shop/*"],
            values=["*"],
        )
        playbook = models.Playbook(
            apiVersion="smoldebug.dev/v1",
            name="upgrade",
            goal=goal,
            scope=models.Scope(namespaces=["shop"]),
            tools=models.Tools(change=change),
            approval=self.approval,
            on_failure=self.on_failure,
            baseline=self.baseline,
            steps=self.steps,
            on_managed="allow",
        )
        self.plan = models.RunPlan(playbook=playbook, inputs={}, source="t.yaml", folder=".")

    def crew(self, journal: Journal) -> Crew:
        """A new one each time: what a run knows is in its journal."""
        playbook = self.plan.playbook
        evidence = EvidenceStore(self.clock)
        notebook = Notebook(evidence)
        server = ServerApplier(self.folder, self.clock, lambda url: True)
        executor = Executor(
            Guard(playbook, context="eu"),
            appliers(self.world, server, CommandApplier(FakeProcesses())),
            self.approver,
            self.clock,
            Place("run1", "eu"),
            (redactor := Redactor()).text,
        )
        toolset = Toolset([], lambda _: ToolContext(self.world), evidence, redactor)
        self.model = ScriptedModel(self.words)
        chain = chain_of(self.model, folder=self.folder, clock=self.clock, mask=redactor.text)
        agent = Agent(chain, toolset, notebook, executor, self.signals, self.clock)
        witness = Witness(self.cluster, evidence, toolset.shown, self.clock)
        upgrade = Upgrade(self.plan, self.world, self.folder, witness)
        goal = Goal(self.plan, self.world, self.clock)
        return Crew(goal, agent, None, journal, self.clock, "run1", upgrade=upgrade)

    def play(
        self, before: Past | None = None, at: Callable[[AnyEvent], None] = lambda event: None
    ) -> RunEnded:
        """`at` is told each event, as it comes."""
        first = (
            Continued("resume", Who("anna"))
            if before
            else RunStarted("validate", "upgrade", "healthy", "expert", "eu", ("shop",), "auto",
                            5.0, Usage())
        )  # fmt: skip
        journal = Journal(self.folder / "journal.jsonl", before.events if before else None)
        with journal:
            self.last = self.crew(journal)
            for stamped in run(self.plan, self.last, first, before):
                self.seen.append(stamped)
                at(stamped.event)
        ended = self.seen[-1].event
        assert isinstance(ended, RunEnded)
        return ended

    def events(self, kind: type[AnyEvent]) -> list[Any]:
        return [item.event for item in self.seen if isinstance(item.event, kind)]

    def phases(self) -> list[str]:
        return [event.phase for event in self.events(PhaseBegan)]

    def charts(self) -> list[str]:
        """Of every revision of the release, oldest first."""
        return [each.chart for each in self.helm.history(PLATFORM)]

    def verbs(self) -> list[str]:
        """What Helm was asked to do to the release."""
        return [each.verb for each in self.helm.requests if each.verb in ("upgrade", "rollback")]


NO_RESTARTS = models.RestartsCheck()


# --- what happens ---------------------------------------------------------------------------


def test_a_good_upgrade_is_proven_by_the_goal_and_stays(tmp_path):
    stage = Stage(tmp_path)
    ended = stage.play()
    assert (ended.status, ended.outcome) == (ExitStatus.MET, Outcome.MET)
    assert ended.reason == "4 checks of 2 services held for 30s after the steps"
    assert stage.phases() == ["baseline", "steps", "watching"]
    assert stage.charts() == ["platform-1.0", "platform-2.0"]


def test_the_goal_must_hold_for_its_time_before_and_after_the_steps(tmp_path):
    stage = Stage(tmp_path)
    stage.play()
    at = {item.event.phase: item.elapsed for item in stage.seen if type(item.event) is PhaseBegan}
    assert at["steps"] - at["baseline"] >= 10
    assert stage.seen[-1].elapsed - at["watching"] >= 30


def test_a_baseline_that_does_not_hold_leaves_the_cluster_untouched(tmp_path):
    stage = Stage(tmp_path, before=DEADLINE)
    ended = stage.play()
    assert (ended.status, ended.outcome) == (ExitStatus.INCONCLUSIVE, Outcome.INCONCLUSIVE)
    assert "the baseline does not hold, so nothing was touched" in ended.reason
    assert "progress deadline exceeded" in ended.reason
    assert stage.verbs() == []
    assert stage.events(ChangeProposed) == []


def test_a_baseline_that_mends_in_time_is_one(tmp_path):
    stage = Stage(tmp_path, before=WAITING)

    def mend(event: AnyEvent) -> None:
        if isinstance(event, GoalChecked) and stage.clock.elapsed >= 20:
            for item in stage.cluster.objects.values():
                item["status"]["updatedReplicas"] = 1

    assert stage.play(at=mend).status is ExitStatus.MET


def test_a_release_that_is_not_there_is_told_before_anything_else(tmp_path):
    step = upgrades.Step(
        helm_upgrade=upgrades.HelmUpgrade(release="shop", namespace="shop", chart=CHART)
    )
    stage = Stage(tmp_path, steps=[step])
    ended = stage.play()
    assert ended.status is not ExitStatus.MET
    assert "shop" in ended.reason
    assert stage.phases() == []


def test_a_chart_that_is_not_there_is_bad_input_and_nothing_is_touched(tmp_path):
    stage = Stage(tmp_path)
    stage.helm.charts.clear()
    ended = stage.play()
    assert (ended.status, ended.outcome) == (ExitStatus.USAGE, Outcome.INCONCLUSIVE)
    assert ended.reason == f"no such chart: {CHART} 2.0"
    assert stage.phases() == []


def test_of_services_that_may_not_be_seen_alike_it_is_said_once(tmp_path):
    stage = Stage(tmp_path)
    denied = AccessDenied("not allowed: list pods in namespace shop", "list pods in namespace shop")
    stage.cluster.refuse("list", "Pod", denied)
    ended = stage.play()
    assert (ended.status, ended.outcome) == (ExitStatus.UNREACHABLE, Outcome.INCONCLUSIVE)
    says = "not allowed: list pods in namespace shop"
    assert ended.reason == (
        f"the baseline cannot be seen, so nothing was touched: payments, web rollout: {says}; "
        f"payments, web restarts ≤ 0: {says}"
    )


def test_a_service_that_breaks_is_named_and_the_release_goes_back(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE)
    ended = stage.play()
    assert (ended.status, ended.outcome) == (ExitStatus.UNDONE, Outcome.NOT_MET)
    assert ended.blame is not None
    assert ended.blame.service == "Deployment/shop/payments"
    assert "taken back, and the goal holds again" in ended.reason
    assert stage.phases() == ["baseline", "steps", "watching", "explaining", "rolling back"]
    assert stage.charts() == ["platform-1.0", "platform-2.0", "platform-1.0"]
    assert [event.state for event in stage.events(ChangeSettled)] == ["verified", "undone"]


def test_it_is_sure_after_three_samples_and_does_not_wait_for_the_deadline(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE)
    stage.play()
    at = {item.event.phase: item.elapsed for item in stage.seen if type(item.event) is PhaseBegan}
    assert at["explaining"] - at["watching"] <= 5


def test_what_holds_when_all_is_measured_once_more_was_not_broken(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE)
    samples = 0

    def mend(event: AnyEvent) -> None:
        nonlocal samples
        failing = isinstance(event, GoalChecked) and event.verdict.sample is Outcome.NOT_MET
        samples += failing
        if failing and samples == 3:
            stage.cluster.objects[PAYMENTS]["status"] = dict(ROLLED_OUT)

    assert stage.play(at=mend).status is ExitStatus.MET
    assert samples == 3
    assert stage.events(Blamed) == []


@pytest.mark.parametrize(("kind", "samples"), [("http", 3), ("rollout", 3), ("logs", 2)])
def test_a_check_counts_as_broken_once_it_is_sure(kind, samples):
    """What was logged stays so: one sample more only shows who else fails."""
    steady = Steady()
    for number in range(samples):
        assert steady.broken() == []
        says = f"sample {number}"
        row = CheckResult(f"{kind} of web", kind, Outcome.NOT_MET, says, service="Deployment/a/web")
        steady.add(Verdict(Outcome.NOT_MET, Outcome.NOT_MET, (row,)))
        steady.add(Verdict(Outcome.NOT_MET, Outcome.NOT_MET, (row,)))  # carried over: no news
    assert steady.broken() == [0]


def test_what_is_still_under_way_is_never_broken():
    steady = Steady()
    for number in range(5):
        row = CheckResult("rollout", "rollout", Outcome.NOT_MET, f"{number} of 9", pending=True)
        steady.add(Verdict(Outcome.NOT_MET, Outcome.NOT_MET, (row,)))
    assert steady.broken() == []


def test_a_rollout_that_is_under_way_is_waited_for(tmp_path):
    stage = Stage(tmp_path, bad=WAITING)

    def finish(event: AnyEvent) -> None:
        if isinstance(event, GoalChecked) and stage.clock.elapsed >= 120:
            for item in stage.cluster.objects.values():
                item["status"]["updatedReplicas"] = 1

    assert stage.play(at=finish).status is ExitStatus.MET


def test_one_that_never_ends_is_taken_back_when_the_goals_time_is_over(tmp_path):
    stage = Stage(tmp_path, bad=WAITING, within=100)
    ended = stage.play()
    assert ended.status is ExitStatus.UNDONE
    assert stage.verbs() == ["upgrade", "rollback"]


def test_a_cluster_that_is_gone_for_good_is_waited_for_and_named(tmp_path):
    stage = Stage(tmp_path, within=100)

    def leave(event: AnyEvent) -> None:
        if isinstance(event, PhaseBegan) and event.phase == "watching":
            for verb in ("get", "list"):
                stage.cluster.refuse(verb, "*", UnreachableError("no answer in time"))
            stage.helm.fail("history", UnreachableError("no answer in time"))

    ended = stage.play(at=leave)
    assert ended.status is ExitStatus.UNDO_FAILED
    assert ended.reason.startswith("the goal was not met within 100 s: ")
    assert "no answer in time" in ended.reason


def test_a_playbook_without_any_limit_is_not_watched_for_ever(tmp_path):
    stage = Stage(tmp_path, bad=WAITING, within=0)

    def hide(event: AnyEvent) -> None:
        if isinstance(event, PhaseBegan) and event.phase in ("watching", "explaining"):
            hidden = event.phase == "watching"
            change = stage.cluster.refuse if hidden else stage.cluster.allow
            change("list", "Pod")

    ended = stage.play(at=hide)
    assert ended.status is ExitStatus.UNDONE
    assert stage.clock.elapsed >= LONGEST


def test_a_goal_that_does_not_hold_again_after_the_rollback_is_no_success(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE)

    def spoil(event: AnyEvent) -> None:
        if isinstance(event, ChangeSettled) and event.state == "undone":
            for item in stage.cluster.objects.values():
                item["status"] |= DEADLINE

    ended = stage.play(at=spoil)
    assert ended.status is ExitStatus.UNDO_FAILED
    assert "taken back, but the goal does not hold again" in ended.reason
    assert stage.clock.elapsed >= AGAIN


def test_a_cluster_that_goes_away_after_the_rollback_ends_the_run_and_nothing_escapes(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE)

    def leave(event: AnyEvent) -> None:
        if isinstance(event, ChangeSettled) and event.state == "undone":
            for verb in ("get", "list"):
                stage.cluster.refuse(verb, "*", UnreachableError("connection refused"))

    ended = stage.play(at=leave)
    assert ended.status is ExitStatus.UNDO_FAILED
    assert "connection refused" in ended.reason


def test_one_who_stops_it_while_it_goes_back_is_not_told_that_this_failed(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE)

    def stop(event: AnyEvent) -> None:
        if isinstance(event, UndoBegan):
            stage.signals.stop.set()

    ended = stage.play(at=stop)
    assert ended.status is ExitStatus.INTERRUPTED
    assert "taken back and verified, but stopped by the operator before the goal" in ended.reason
    assert stage.charts()[-1] == "platform-1.0"


def test_a_rollback_that_fails_says_so(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE)
    stage.helm.fail("rollback", ToolError("no space left"))
    ended = stage.play()
    assert ended.status is ExitStatus.UNDO_FAILED
    kinds = [type(each.event) for each in stage.seen]
    assert GoalChecked in kinds[kinds.index(UndoBegan) :]  # how it is now, and not how it was
    assert stage.charts() == ["platform-1.0", "platform-2.0"]


class Hooked(Stage):
    """An upgrade whose hook does not get done; Helm waits for it, and gives up."""

    def __init__(self, folder: Path, log: str, ended: Mapping[str, Any], **given: Any) -> None:
        super().__init__(folder, **given)
        job = {"kind": "Job", "metadata": {"name": "migrate", "namespace": "shop"}}
        hook = Hook(ObjectRef("Job", "shop", "migrate"), ("pre-upgrade",), job)
        self.helm.charts[CHART] = [chart("1.0"), replace(chart("2.0"), hooks=(hook,))]
        said = "pre-upgrade hooks failed: timed out waiting for the condition"
        self.helm.fail("upgrade", ToolError(said), "failed")
        state = {"terminated": {"exitCode": 3}} if ended else {"running": {}}
        container = {"name": "app", "restartCount": 0, "state": state}
        made = pod("migrate")
        made["status"] = {"containerStatuses": [container]}
        self.hook = {
            **job,
            "spec": {"selector": {"matchLabels": {"app": "migrate"}}},
            "status": ended,
        }
        self.cluster.put(self.hook)
        self.cluster.put(made)
        self.cluster.log_texts["shop/migrate-1"] = log


def test_an_upgrade_that_fails_on_a_hook_quotes_its_log_before_it_goes_back(tmp_path):
    failed = {"conditions": [{"type": "Failed", "status": "True"}]}
    log = 'level=info msg=begun\nlevel=error msg="schema is at 6, this needs 7"\n'
    stage = Hooked(tmp_path, log, failed)
    ended = stage.play()
    assert ended.status is ExitStatus.UNDONE
    why = "pre-upgrade hook migrate: it exits with code 3; its log: “schema is at 6, this needs 7”"
    assert ended.reason.startswith(why)
    assert stage.phases() == ["baseline", "steps", "explaining", "rolling back"]
    assert ended.blame is not None
    assert ended.blame.service == "Job/shop/migrate"
    assert ended.blame.quotes[0].text == "schema is at 6, this needs 7"
    assert ended.question == ""


@pytest.mark.parametrize("on_failure", ["rollback", "report"])
def test_a_hook_that_hangs_runs_on_after_the_rollback_and_that_is_told(tmp_path, on_failure):
    stage = Hooked(tmp_path, "waiting for the lock of orders\n", {}, on_failure=on_failure)
    ended = stage.play()
    why = "pre-upgrade hook migrate: it was not done when Helm's time was over; its log ends: "
    assert ended.reason.startswith(f"{why}“waiting for the lock of orders”")
    assert ended.question == (
        "Job/shop/migrate runs on, and a rollback does not end it: "
        "kubectl --context eu -n shop delete job migrate"
    )


def test_an_upgrade_that_fails_after_its_hooks_blames_none_of_them(tmp_path):
    stage = Hooked(tmp_path, "", {"conditions": [{"type": "Complete", "status": "True"}]})
    stage.helm.fail("upgrade", ToolError("cannot patch web"), "failed")
    ended = stage.play()
    assert "cannot patch web" in ended.reason
    assert ended.blame is None


def test_what_was_changed_stays_where_the_playbook_only_reports(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE, on_failure="report")
    ended = stage.play()
    assert ended.status is ExitStatus.NOT_MET
    assert stage.charts()[-1] == "platform-2.0"
    assert [note.text for note in stage.events(Note)] == ["what was changed stays"]


def test_an_upgrade_that_helm_refuses_changes_nothing(tmp_path):
    stage = Stage(tmp_path)
    stage.helm.fail("upgrade", ToolError("no such field: replica"))
    ended = stage.play()
    assert ended.status is ExitStatus.NOT_MET
    assert "no such field: replica" in ended.reason
    assert stage.events(UndoBegan) == []


def test_an_upgrade_that_helm_leaves_half_done_goes_back(tmp_path):
    stage = Stage(tmp_path)
    stage.helm.fail("upgrade", ToolError("timed out waiting for the condition"), leaves="failed")
    ended = stage.play()
    assert ended.status is ExitStatus.UNDONE
    assert "timed out waiting for the condition" in ended.reason
    assert stage.charts()[-1] == "platform-1.0"


def test_a_cluster_that_goes_away_in_the_middle_is_unknown(tmp_path):
    stage = Stage(tmp_path)
    stage.helm.fail("upgrade", UnreachableError("connection refused"), leaves="pending-upgrade")
    stage.helm.fail("rollback", UnreachableError("connection refused"))
    ended = stage.play()
    assert ended.status is ExitStatus.UNDO_FAILED
    assert [event.state for event in stage.events(ChangeSettled)][0] == "unknown"


def test_an_upgrade_that_changes_nothing_is_said_and_the_goal_is_proven_all_the_same(tmp_path):
    stage = Stage(tmp_path)
    stage.helm.charts[CHART] = [chart("2.0")]
    stage.helm.install(PLATFORM, CHART)
    stage.helm.roll_out(PLATFORM)
    ended = stage.play()
    assert ended.status is ExitStatus.MET
    assert stage.verbs() == []
    assert any("nothing" in note.text for note in stage.events(Note))


def test_steps_follow_each_other_and_all_of_them_go_back(tmp_path):
    image = upgrades.SetImage(target="Deployment/shop/web", image="web:9")
    stage = Stage(tmp_path, bad=DEADLINE, steps=[UPGRADE, upgrades.Step(set_image=image)])
    assert stage.play().status is ExitStatus.UNDONE
    kinds = [event.card.change.kind for event in stage.events(ChangeProposed)]
    assert kinds == [ChangeKind.HELM_UPGRADE, ChangeKind.SET_IMAGE]
    states = [event.state for event in stage.events(ChangeSettled)]
    assert states == ["verified", "verified", "undone", "undone"]


def test_a_step_that_waits_for_a_rollout_stops_the_ones_after_it(tmp_path):
    wait = upgrades.Step(wait_for_rollout=upgrades.WaitForRollout(within=Duration(60)))
    image = upgrades.SetImage(target="Deployment/shop/web", image="web:9")
    steps = [UPGRADE, wait, upgrades.Step(set_image=image)]
    stage = Stage(tmp_path, bad=WAITING, steps=steps)
    ended = stage.play()
    assert ended.status is ExitStatus.UNDONE
    assert "0 of 1 updated" in ended.reason
    kinds = [event.card.change.kind for event in stage.events(ChangeProposed)]
    assert kinds == [ChangeKind.HELM_UPGRADE]


# --- people ---------------------------------------------------------------------------------


def test_an_operator_who_stops_it_while_it_watches_gets_the_release_back(tmp_path):
    stage = Stage(tmp_path)

    def stop(event: AnyEvent) -> None:
        if isinstance(event, PhaseBegan) and event.phase == "watching":
            stage.signals.stop.set()

    ended = stage.play(at=stop)
    assert ended.status is ExitStatus.INTERRUPTED
    assert ended.reason == "stopped by the operator; changes undone and verified"
    assert stage.charts()[-1] == "platform-1.0"


def test_one_who_stops_it_in_place_of_an_answer_has_not_said_no(tmp_path):
    stage = Stage(tmp_path, approval="ask")

    def asked(card: Card) -> Decision:
        stage.signals.stop.set()
        return Decision(Answer.NO, "operator", "interrupted before an answer")

    stage.approver = asked
    assert stage.play().status is ExitStatus.INTERRUPTED
    assert stage.verbs() == []


def test_one_who_stops_it_at_once_keeps_what_there_is(tmp_path):
    stage = Stage(tmp_path)

    def cut(event: AnyEvent) -> None:
        if isinstance(event, PhaseBegan) and event.phase == "watching":
            stage.signals.stop.set()
            stage.signals.cut.set()

    ended = stage.play(at=cut)
    assert ended.status is ExitStatus.INTERRUPTED
    assert stage.charts()[-1] == "platform-2.0"
    assert "stays" in stage.events(Note)[-1].text


def test_stopped_before_the_steps_nothing_was_touched(tmp_path):
    stage = Stage(tmp_path)

    def stop(event: AnyEvent) -> None:
        if isinstance(event, PhaseBegan) and event.phase == "baseline":
            stage.signals.stop.set()

    assert stage.play(at=stop).status is ExitStatus.INTERRUPTED
    assert stage.verbs() == []


def test_a_step_that_waits_for_a_yes_is_carried_out_by_the_one_who_resumes(tmp_path):
    stage = Stage(tmp_path, approval="ask", approver=nobody)
    assert stage.play().status is ExitStatus.NEEDS_APPROVAL
    assert stage.verbs() == []
    stage.approver = yes
    assert stage.play(past(stage.seen)).status is ExitStatus.MET
    assert stage.verbs() == ["upgrade"]


@pytest.mark.parametrize("phase", ["steps", "watching"])
def test_a_run_that_was_cut_off_after_its_steps_is_rolled_back_by_the_one_who_resumes(
    tmp_path, phase
):
    """Nobody watched what it did meanwhile."""
    stage = Stage(tmp_path)

    class Killed(Exception):
        pass

    def kill(event: AnyEvent) -> None:
        settled = isinstance(event, ChangeSettled)
        watching = isinstance(event, PhaseBegan) and event.phase == "watching"
        if settled if phase == "steps" else watching:
            raise Killed

    with pytest.raises(Killed):
        stage.play(at=kill)
    ended = stage.play(past(stage.seen))
    assert ended.status is ExitStatus.UNDONE
    assert "nobody watched" in ended.reason
    assert stage.charts()[-1] == "platform-1.0"


def test_one_that_was_cut_off_before_its_steps_begins_anew(tmp_path):
    stage = Stage(tmp_path)

    class Killed(Exception):
        pass

    def kill(event: AnyEvent) -> None:
        if isinstance(event, PhaseBegan):
            raise Killed

    with pytest.raises(Killed):
        stage.play(at=kill)
    assert stage.play(past(stage.seen)).status is ExitStatus.MET
    assert stage.verbs() == ["upgrade"]


def test_it_goes_back_for_the_sake_of_another_cluster(tmp_path):
    stage = Stage(tmp_path)
    stage.play()
    with Journal(tmp_path / "journal.jsonl", len(stage.seen)) as journal:
        crew = replace(stage.last, journal=journal)
        again = list(roll_back(stage.plan, crew, stage.seen[-1], Who("anna"), "us failed"))
    ended = again[-1].event
    assert ended.status is ExitStatus.UNDONE
    assert ended.reason == "us failed; taken back, and the goal holds again"
    assert stage.charts()[-1] == "platform-1.0"
    assert past([*stage.seen, *again]).ended is ended


# --- a model ------------------------------------------------------------------------------


def test_a_model_is_asked_only_to_explain_and_only_at_the_end(tmp_path):
    stage = Stage(tmp_path, bad=DEADLINE, words=[{"say": "payments cannot start"}])
    assert stage.play().status is ExitStatus.UNDONE
    first, second = stage.events(Blamed)
    assert (first.explanation, second.explanation) == ("", "payments cannot start")
    assert first.blame == second.blame
    assert len(stage.model.asked) == 1


def test_no_model_is_asked_where_nothing_broke(tmp_path):
    stage = Stage(tmp_path)
    stage.play()
    assert stage.model.asked == []
