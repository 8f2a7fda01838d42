"""`validate --dry-run`: what each step would change in each cluster; nothing is sent or kept."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer

from smoldebug.change import Executor
from smoldebug.cli.changing import executor, guard, whereabouts
from smoldebug.cli.fleet import clusters
from smoldebug.cli.options import Options, Strictness, load_plan
from smoldebug.clock import SystemClock
from smoldebug.errors import SmoldebugError
from smoldebug.events import ChangeProposed, Stamp
from smoldebug.playbook.models import RunPlan
from smoldebug.playbook.policy import load_policies, personal_data
from smoldebug.records import Answer, Card, Change, Decision
from smoldebug.redact import Redactor
from smoldebug.report import document
from smoldebug.sources.open import open_world
from smoldebug.sources.world import World
from smoldebug.status import ExitStatus
from smoldebug.steps import WaitFor, changes, ready
from smoldebug.untrusted import inert, one_line
from smoldebug.view import OutputFormat, open_view


def foresee(
    playbook: str, inputs: Sequence[str], approval: Strictness | None, options: Options
) -> ExitStatus:
    """The card of each step on stderr, its whole diff with it. Each step is shown from how things
    are now: what an earlier one would change is not in it. Exit 1 when one cannot be made."""
    matrix = clusters(
        load_plan(playbook, inputs, namespace=options.namespace, approval=approval).playbook,
        options,
    )
    ends = []
    for cluster in matrix.cluster:
        here = {"cluster": cluster}
        plan = load_plan(playbook, inputs, namespace=options.namespace, matrix=here)
        typer.echo(f"cluster {one_line(cluster, 200)}", err=True)
        try:
            ends.append(_one(plan, options, cluster))
        except SmoldebugError as error:
            typer.echo(inert(f"cannot be made: {one_line(str(error), 500)}"), err=True)
            ends.append(ExitStatus.NOT_MET)
    typer.echo("nothing was changed", err=True)
    return max(ends, default=ExitStatus.MET)


def _one(plan: RunPlan, options: Options, cluster: str) -> ExitStatus:
    world = open_world(clock=SystemClock(), context=cluster, config=options.kubeconfig)
    with tempfile.TemporaryDirectory(prefix="smoldebug-") as folder:
        try:
            ready(plan, world, Path(folder))
            acts = _executor(plan, options, world)
            for step in plan.playbook.steps:
                item = next(changes(step, plan, world, Path(folder)), None)
                if isinstance(item, Change):
                    _show(acts.foresee(item))
                else:
                    _say(item)
        finally:
            world.close()
    return ExitStatus.MET


def _executor(plan: RunPlan, options: Options, world: World) -> Executor:
    policies, place = load_policies(), whereabouts(world, "")
    masks = Redactor(classes=personal_data(plan.playbook, policies))
    return executor(guard(plan, place, policies), options, _nobody, world, place, masks)


def _nobody(card: Card) -> Decision:
    return Decision(Answer.NO, "nobody", "this is a dry run")


def _show(card: Card) -> None:
    view = open_view(OutputFormat.PLAIN, document)
    view.show(Stamp("", SystemClock())(ChangeProposed(card)))
    view.full_diff(card)
    view.close()


def _say(item: str | WaitFor | None) -> None:
    if isinstance(item, WaitFor):
        item = f"then waits for the rollout of {item.target or 'every workload'}"
    typer.echo(inert(one_line(item or "nothing to change", 500)), err=True)
