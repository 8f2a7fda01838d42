"""`smoldebug check`: measure a playbook's goal. No model, no key, nothing is changed."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import AllowCode, Context, Kubeconfig, Namespace, Output, SetInput

if TYPE_CHECKING:
    from smoldebug.cli.verdict import Told
    from smoldebug.clock import Clock
    from smoldebug.goal import Goal
    from smoldebug.records import Verdict

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
    from smoldebug.cli.needs import FirstLook, goal_needs_cluster, metrics_url
    from smoldebug.cli.options import Options, load_plan
    from smoldebug.cli.places import must_exist
    from smoldebug.cli.repositories import use_repository
    from smoldebug.cli.verdict import Told, status_of
    from smoldebug.clock import SystemClock
    from smoldebug.goal import Goal
    from smoldebug.sources.open import open_world
    from smoldebug.view import output_format

    plan = load_plan(playbook, inputs, namespace=namespace)
    clock, url = SystemClock(), metrics_url(plan.playbook, prometheus)
    needs_cluster = goal_needs_cluster(plan.playbook, url)
    world = open_world(
        clock=clock,
        context=context,
        config=kubeconfig,
        metrics_url=url,
        needs_cluster=needs_cluster,
    )
    clone = TemporaryDirectory(prefix="smoldebug-")  # of a playbook about a repository
    use_repository(world, plan, Options(), Path(clone.name))
    try:
        if needs_cluster:
            must_exist(world, plan.playbook.scope.namespaces)
        where = world.cluster.context if needs_cluster else ""
        goal = Goal(
            plan,
            world,
            clock,
            allow_code=allow_code,
            red=FirstLook(plan.playbook, world).red if needs_cluster else None,
        )
        told = Told(goal, plan, where, clock, output_format(output))
        patience = goal.within or PATIENCE + plan.playbook.goal.for_
        verdict = _watch(goal, clock, patience, told) if wait else _once(goal, told)
    finally:
        world.close()
        clone.cleanup()
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
