"""Goals over fakes, for the goal tests."""

from typing import Any

from smoldebug.goal import Goal
from smoldebug.playbook import models
from smoldebug.records import CheckResult
from smoldebug.sources.fake_repository import FakeForge, FakeRepository
from smoldebug.sources.fakes import FakeCluster, FakeHttp, FakeMetrics, FakeProcesses, fake_world


def plan_of(goal: models.Goal, folder: str = ".", namespaces: tuple[str, ...] = ("shop",)):
    playbook = models.Playbook(
        apiVersion="smoldebug.dev/v1",
        name="test",
        goal=goal,
        scope=models.Scope(namespaces=list(namespaces)),
        tools=models.Tools(metrics=models.MetricsTool(url="http://prometheus.monitoring.svc:9090")),
    )
    return models.RunPlan(playbook=playbook, inputs={"x": 1}, source="test.yaml", folder=folder)


def goal_of(
    *checks: models.Check,
    cluster: FakeCluster | None = None,
    http: FakeHttp | None = None,
    metrics: FakeMetrics | None = None,
    processes: FakeProcesses | None = None,
    repository: FakeRepository | None = None,
    forge: FakeForge | None = None,
    folder: str = ".",
    namespaces: tuple[str, ...] = ("shop",),
    any_of: list[models.Check] | None = None,
    window: dict[str, Any] | None = None,
    **powers: Any,
) -> Goal:
    world = fake_world(
        cluster=cluster,
        http=http,
        metrics=metrics,
        processes=processes,
        repository=repository,
        forge=forge,
    )
    block = models.Goal(all=list(checks), any=any_of or [], **(window or {}))
    return Goal(plan_of(block, folder, namespaces), world, world.clock, **powers)


def measure(check: models.Check, **worlds: Any) -> CheckResult:
    """One check, once."""
    (result,) = goal_of(check, **worlds).check().results
    return result
