"""Whole runs over fakes: a scripted model, a few tools, one Deployment, a free clock."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from askers import chain_of
from smolagents import Model

from smoldebug.agent import Agent, Signals
from smoldebug.appliers import CommandApplier, ServerApplier, appliers
from smoldebug.change import Approver, Executor, Place
from smoldebug.clock import FakeClock
from smoldebug.events import AnyEvent, RunEnded, RunStarted, Stamped
from smoldebug.evidence import EvidenceStore
from smoldebug.goal import Goal
from smoldebug.guard import Guard
from smoldebug.journal import Journal
from smoldebug.model.asking import Asked
from smoldebug.model.chain import Chain
from smoldebug.model.scripted import ScriptedModel
from smoldebug.notebook import Notebook
from smoldebug.playbook import models
from smoldebug.records import (
    Answer,
    Card,
    Change,
    ChangeKind,
    Decision,
    Effect,
    ObjectRef,
    Observation,
    Usage,
)
from smoldebug.redact import Redactor
from smoldebug.run import Crew, run
from smoldebug.sources.fakes import FakeCluster, FakeProcesses, fake_world
from smoldebug.toolset import ToolContext, Toolset, describe

AUTH = ObjectRef("Deployment", "shop", "auth")
ALLOWED = models.ChangeTool(allow=[ChangeKind.SCALE, ChangeKind.RESTART], targets=[str(AUTH)])
LOOK = {"calls": [{"look": {"at": "auth"}}]}
ESCALATE = {"calls": [{"escalate": {"reason": "out of ideas", "question": "and now?"}}]}


def scale_to(replicas: int) -> dict[str, Any]:
    return {"calls": [{"scale": {"replicas": replicas}}]}


def deployment(replicas: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "auth", "namespace": "shop", "uid": "u1", "resourceVersion": "1"},
        "spec": {"replicas": replicas, "template": {"metadata": {"annotations": {}}}},
    }


def replicas_are(wanted: int) -> models.Check:
    matches = {"spec": {"replicas": wanted}}
    return models.Check(
        object=models.ObjectCheck(kind="Deployment", namespace="shop", name="auth", matches=matches)
    )


def yes(card: Card) -> Decision:
    return Decision(Answer.YES, "operator")


@dataclass
class Stage:
    """One run, ready to be played; whatever a test wants to look at afterwards is a field."""

    turns: list[dict[str, Any]]
    tmp_path: Path
    goal: models.Goal = field(default_factory=lambda: models.Goal(all=[replicas_are(2)]))
    approver: Approver = yes
    approval: str = "ask"
    on_failure: str = "undo"
    limits: models.Limits = field(default_factory=models.Limits)
    without_undo: list[ChangeKind] = field(default_factory=list)
    change: models.ChangeTool | None = field(default_factory=lambda: ALLOWED)
    fallback: list[ScriptedModel] = field(default_factory=list)
    cluster: FakeCluster = field(default_factory=lambda: FakeCluster([deployment()]))

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.signals = Signals()
        self.ran: list[str] = []
        self.model = ScriptedModel(self.turns)
        self.seen: list[Stamped] = []
        playbook = models.Playbook(
            apiVersion="smoldebug.dev/v1",
            name="test",
            goal=self.goal,
            scope=models.Scope(namespaces=["shop"]),
            tools=models.Tools(change=self.change),
            approval=self.approval,
            on_failure=self.on_failure,
            limits=self.limits,
            allow_without_undo=self.without_undo,
        )
        self.plan = models.RunPlan(playbook=playbook, inputs={}, source="t.yaml", folder=".")
        world = fake_world(cluster=self.cluster, clock=self.clock)
        self.evidence = EvidenceStore(self.clock)
        notebook = Notebook(self.evidence)
        specs = [
            describe(self.look, Effect.READ),
            describe(self.hang, Effect.READ, timeout=0.05),
            describe(self.explode, Effect.READ),
            describe(self.scale, Effect.CHANGE),
            describe(self.restart, Effect.CHANGE),
            *notebook.tools(),
        ]
        self.redactor = Redactor()
        toolset = Toolset(specs, lambda _: ToolContext(world), self.evidence, self.redactor)
        server = ServerApplier(self.tmp_path, self.clock, lambda url: True)
        carried_out_by = appliers(world, server, CommandApplier(FakeProcesses()))
        executor = Executor(
            Guard(playbook, context="fake"),
            carried_out_by,
            self.approve,
            self.clock,
            Place("run1", "fake"),
        )
        goal = Goal(self.plan, world, self.clock)
        self.agent = Agent(
            self.chain(self.model, *self.fallback),
            toolset,
            notebook,
            executor,
            self.signals,
            self.clock,
        )
        self.agent.usage = Usage(max_turns=self.limits.max_steps)
        self.journal = Journal(self.tmp_path / "journal.jsonl")
        self.crew = Crew(goal, self.agent, None, self.journal, self.clock, "run1")

    def chain(self, *models: Model | Asked, last: Model | None = None) -> Chain:
        mask = self.redactor.text
        return chain_of(
            *models,
            folder=self.tmp_path,
            clock=self.clock,
            last=last,
            limits=self.limits,
            mask=mask,
        )

    def approve(self, card: Card) -> Decision:
        return self.approver(card)

    # --- tools ------------------------------------------------------------------------------

    def look(self, at: str) -> Observation:
        """Look at something.

        Args:
            at: What to look at.
        """
        self.ran.append(f"look {at}")
        return Observation(f"{at} looks busy", {"at": at}, "object", at)

    def hang(self, seconds: float) -> str:
        """Take too long.

        Args:
            seconds: How long.
        """
        self.signals.cut.wait(seconds)
        return "at last"

    def explode(self, why: str) -> str:
        """Fail.

        Args:
            why: The message.
        """
        raise ZeroDivisionError(why)

    def scale(self, replicas: int) -> Change:
        """Scale auth.

        Args:
            replicas: How many.
        """
        self.ran.append(f"scale {replicas}")
        now = self.cluster.get(AUTH)
        return Change(
            ChangeKind.SCALE,
            AUTH,
            {"/spec/replicas": now["spec"]["replicas"]},
            {"/spec/replicas": replicas},
            "auth is busy",
            uid="u1",
        )

    def restart(self) -> Change:
        """Restart auth."""
        return Change(
            ChangeKind.RESTART,
            AUTH,
            {},
            {"/spec/template/metadata/annotations/restartedAt": "now"},
            "auth is stuck",
            no_undo="a restart cannot be taken back",
        )

    # --- playing ----------------------------------------------------------------------------

    def started(self) -> RunStarted:
        return RunStarted("triage", "test", "two replicas", "scripted", "fake", ("shop",), "ask",
                          5.0, self.agent.usage)  # fmt: skip

    def stream(self):
        return run(self.plan, self.crew, self.started())

    def play(self) -> RunEnded:
        with self.journal:
            for stamped in self.stream():
                self.seen.append(stamped)
        ended = self.seen[-1].event
        assert isinstance(ended, RunEnded)
        return ended

    def events(self, kind: type[AnyEvent]) -> list[Any]:
        return [item.event for item in self.seen if isinstance(item.event, kind)]

    def told(self, turn: int) -> str:
        """What the model had been told when it was asked for that turn (1 = first)."""
        return "\n".join(
            part["text"]
            for message in self.model.asked[turn - 1]
            for part in message.content
            if "text" in part
        )

    @property
    def replicas(self) -> int:
        return self.cluster.objects[AUTH]["spec"]["replicas"]
