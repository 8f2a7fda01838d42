"""`validate --dry-run`: what each step would change in each cluster; nothing is sent or kept."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote

import msgspec
import typer

from smoldebug.appliers.releases import PATH
from smoldebug.change import Executor
from smoldebug.cli.changing import executor, guard, whereabouts
from smoldebug.cli.fleet import clusters
from smoldebug.cli.options import Options, Strictness, load_plan
from smoldebug.cli.reports import Wanted
from smoldebug.clock import SystemClock
from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.events import SCHEMA_VERSION, ChangeProposed, Stamp
from smoldebug.playbook.models import RunPlan
from smoldebug.playbook.policy import load_policies, personal_data
from smoldebug.playbook.upgrades import Step
from smoldebug.records import Answer, Card, Change, Decision, Json
from smoldebug.redact import Redactor
from smoldebug.sources.open import open_world
from smoldebug.sources.world import World
from smoldebug.status import ExitStatus, worst
from smoldebug.steps import WaitFor, changes, ready
from smoldebug.untrusted import inert, one_line, plain
from smoldebug.view import OutputFormat
from smoldebug.view.jsonl import dumps, shown
from smoldebug.view.phrases import whole_diff
from smoldebug.view.plain import PlainView
from smoldebug.view.stream import encodable


@dataclass
class Foreseen:
    """One cluster: a card for each step that would change something, a sentence for each that would
    not, and why the rest cannot be made."""

    cluster: str
    steps: list[Card | str] = field(default_factory=list)
    error: str = ""
    status: ExitStatus = ExitStatus.MET

    @property
    def cards(self) -> list[Card]:
        return [step for step in self.steps if isinstance(step, Card)]

    @property
    def same(self) -> tuple[Json, ...]:
        """Equal where the very same would happen in two clusters."""
        told = [
            (step.diff, step.full_diff, step.dry_run, step.warnings, str(step.managed))
            if isinstance(step, Card)
            else step
            for step in self.steps
        ]
        return (*told, self.error)


def foresee(
    playbook: str,
    inputs: Sequence[str],
    approval: Strictness | None,
    options: Options,
    wanted: Wanted,
) -> ExitStatus:
    """The whole diff on stdout, the card of each step on stderr, once for all clusters where the
    same would happen; with json a document. Each step is shown from how things are now: what an
    earlier one would change is not in it. Ends as the worst of what cannot be made."""
    if wanted.junit or wanted.summary or wanted.comment:
        raise UsageError("a dry run writes no report: --junit, --summary and --comment are a run's")
    whole = load_plan(playbook, inputs, namespace=options.namespace, approval=approval)
    found = []
    for cluster in clusters(whole.playbook, options).cluster:
        plan = load_plan(
            playbook,
            inputs,
            namespace=options.namespace,
            approval=approval,
            matrix={"cluster": cluster},
        )
        found.append(_one(plan, options, cluster))
    if wanted.output in (OutputFormat.JSON, OutputFormat.JSONL):
        typer.echo(dumps(_document(whole.playbook.name, found), indent=2))
    else:
        _tell(found)
    return worst(each.status for each in found)


def _one(plan: RunPlan, options: Options, cluster: str) -> Foreseen:
    made = Foreseen(cluster)
    try:
        world = open_world(clock=SystemClock(), context=cluster, config=options.kubeconfig)
        try:
            made.steps += _steps(plan, options, world)
        finally:
            world.close()
    except SmoldebugError as error:
        hint = f" ({error.hint})" if error.hint else ""
        made.error, made.status = one_line(f"{error}{hint}", 500), error.status
    return made


def _steps(plan: RunPlan, options: Options, world: World) -> Iterator[Card | str]:
    with tempfile.TemporaryDirectory(prefix="smoldebug-") as folder:
        ready(plan, world, Path(folder))
        acts = _executor(plan, options, world)
        for step in plan.playbook.steps:
            item = next(changes(step, plan, world, Path(folder)), "nothing to change")
            if isinstance(item, WaitFor):
                item = f"then waits for the rollout of {item.target or 'every workload'}"
            if isinstance(item, Change):
                yield _lasting(acts.foresee(item), step)
            else:
                yield one_line(item, 500)


def _lasting(card: Card, step: Step) -> Card:
    """Its command takes the chart from where the step does: the copy here will be gone."""
    if (upgrade := step.helm_upgrade) is None:
        return card
    version = f" --version {quote(upgrade.version)}" if upgrade.version else ""
    copy = quote(str(card.change.after[PATH]))
    return replace(card, command=card.command.replace(copy, quote(upgrade.chart) + version))


def _executor(plan: RunPlan, options: Options, world: World) -> Executor:
    policies, place = load_policies(), whereabouts(world, "")
    masks = Redactor(classes=personal_data(plan.playbook, policies))
    return executor(guard(plan, place, policies), options, _nobody, world, place, masks)


def _nobody(card: Card) -> Decision:
    return Decision(Answer.NO, "nobody", "this is a dry run")


# --- what is told -----------------------------------------------------------------------------


def _tell(found: Sequence[Foreseen]) -> None:
    alike: dict[tuple[Json, ...], list[Foreseen]] = {}
    for each in found:
        alike.setdefault(each.same, []).append(each)
    for group in alike.values():
        names = one_line(", ".join(each.cluster for each in group), 1000)
        _whole(names, group[0])
        _card(names, group[0])
    would = sum(bool(each.cards) for each in found)
    apart = "; not the same in all of them" if len(alike) > 1 else ""
    failed = sum(bool(each.error) for each in found)
    cannot = f", {failed} cannot be" if failed else ""
    _say(f"{would} of {len(found)} clusters would be changed{cannot}{apart}; nothing was changed")


def _whole(names: str, made: Foreseen) -> None:
    out = encodable(sys.stdout)
    for card in made.cards:
        out.write(inert(f"# {card.id} {one_line(str(card.change.target), 300)} in {names}\n"))
        out.write(inert(plain(whole_diff(card))) + "\n")
    out.flush()


def _card(names: str, made: Foreseen) -> None:
    _say(f"cluster {names}")
    view = PlainView(sys.stdout, sys.stderr)
    for step in made.steps:
        if isinstance(step, Card):
            view.show(Stamp("", SystemClock())(ChangeProposed(step)))
        else:
            _say(step)
    view.close()
    if made.error:
        _say(f"cannot be made: {made.error}")


def _say(text: str) -> None:
    typer.echo(inert(text), err=True)


def _document(playbook: str, found: Sequence[Foreseen]) -> Json:
    """What is masked on a card is masked here."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "validate --dry-run",
        "playbook": playbook,
        "clusters": [
            {
                "cluster": each.cluster,
                "changes": [shown(msgspec.to_builtins(card)) for card in each.cards],
                "notes": [step for step in each.steps if isinstance(step, str)],
                "error": each.error,
                "exit_code": int(each.status),
            }
            for each in found
        ],
    }
