"""`smoldebug check`: measure a playbook's goal. No model, no key, nothing is changed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import AllowCode, Context, Kubeconfig, Namespace, Output, SetInput

if TYPE_CHECKING:
    from smoldebug.cli.verdict import Told
    from smoldebug.clock import Clock
    from smoldebug.goal import Goal
    from smoldebug.playbook.models import Playbook, RunPlan
    from smoldebug.records import Fact, Verdict
    from smoldebug.sources.world import World

PATIENCE = 300.0  # seconds waited for a goal without `within`, beyond its `for`
EXAMPLES = """\
Examples:

  smoldebug check -p triage-502 --set service=checkout

  smoldebug check -p ./goal.yaml --no-wait

  smoldebug check -p local-server --output json | jq .goal.checks

Exit status: 0 met, 1 not met, 2 usage, 3 inconclusive, 8 nothing could be reached.
"""


def check(
    playbook: Annotated[
        str, typer.Option("--playbook", "-p", help="Playbook: a name or a file.")
    ] = "triage",
    inputs: SetInput = None,
    namespace: Namespace = "",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    prometheus: Annotated[
        str, typer.Option(help="Prometheus URL, in place of the playbook's; *.svc works.")
    ] = "",
    wait: Annotated[
        bool,
        typer.Option(
            help="Measure until the goal is met or its `within` is over (5m where it has none); "
            "--no-wait takes one sample and judges that alone."
        ),
    ] = True,
    allow_code: AllowCode = False,
    output: Output = None,
) -> int:
    """Measure whether a playbook's goal holds, without a model, and without changing anything."""
    from smoldebug.cli.options import load_plan
    from smoldebug.cli.places import must_exist
    from smoldebug.cli.verdict import Told, status_of
    from smoldebug.clock import SystemClock
    from smoldebug.goal import Goal
    from smoldebug.sources.open import open_world
    from smoldebug.view import output_format

    plan = load_plan(playbook, inputs, namespace=namespace)
    clock, metrics = SystemClock(), plan.playbook.tools.metrics
    metrics_url = prometheus or (metrics.url if metrics else "")
    needs_cluster = _needs_cluster(plan.playbook, metrics_url)
    world = open_world(
        clock=clock,
        context=context,
        config=kubeconfig,
        metrics_url=metrics_url,
        needs_cluster=needs_cluster,
    )
    try:
        if needs_cluster:
            must_exist(world, plan.playbook.scope.namespaces)
        where = world.cluster.context if needs_cluster else ""
        goal = Goal(
            plan,
            world,
            clock,
            allow_code=allow_code,
            red=(lambda: _red(plan, world)) if needs_cluster else None,
        )
        told = Told(goal, plan, where, clock, output_format(output))
        patience = goal.within or PATIENCE + plan.playbook.goal.for_
        verdict = _watch(goal, clock, patience, told) if wait else _once(goal, told)
    finally:
        world.close()
    told.ended(verdict)
    return status_of(verdict, goal.unreachable)


def _once(goal: "Goal", told: "Told") -> "Verdict":
    """A single sample, judged alone: it cannot say anything about a window."""
    seen = goal.check()
    verdict = replace(seen, outcome=seen.sample, streak=0, needed=1, held=0.0, hold_for=0.0)
    told.sample(verdict)
    return verdict


def _watch(goal: "Goal", clock: "Clock", patience: float, told: "Told") -> "Verdict":
    """Samples until the goal is met or `patience` seconds are over; the last one counts."""
    until = clock.monotonic() + patience
    while True:
        verdict = goal.check()
        told.sample(verdict)
        left = until - clock.monotonic()
        if verdict.outcome == "met" or left <= 0:
            return verdict
        clock.sleep(min(goal.due_in(), left))


def _needs_cluster(playbook: "Playbook", metrics_url: str) -> bool:
    """Whether the goal does; the tools of the playbook are not used here."""
    from smoldebug.playbook.rules import checks_of
    from smoldebug.sources.http import service_of

    checks = list(checks_of([*playbook.goal.all, *playbook.goal.any]))
    urls = [check.http.url for check in checks if check.http]
    if any(check.metric or check.ratio for check in checks):
        urls.append(metrics_url)
    return any(map(service_of, urls)) or any(
        check.object or check.rollout or check.restarts or check.findings for check in checks
    )


def _red(plan: "RunPlan", world: "World") -> "Sequence[Fact]":
    from smoldebug.goal import red_lights
    from smoldebug.guard import ScopedCluster
    from smoldebug.signals.first_card import first_card

    cluster = ScopedCluster(world.cluster, plan.playbook)
    return red_lights(first_card(cluster, plan.playbook.scope.namespaces, world.clock))
