"""Runs a playbook's steps over its clusters in front of an operator: cells, view, reports."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from smoldebug import journal, telemetry
from smoldebug.agent import Signals
from smoldebug.cells import status
from smoldebug.cli import reports
from smoldebug.cli.approval import approver, terminal
from smoldebug.cli.assemble import Assembled, assemble
from smoldebug.cli.changing import who
from smoldebug.cli.drive import interruptible, keep_report, readers_may_leave, send_rest
from smoldebug.cli.options import Options, Strictness, load_plan
from smoldebug.clock import SystemClock
from smoldebug.errors import UsageError
from smoldebug.events import RunStarted, Stamped
from smoldebug.matrix import Fleet
from smoldebug.playbook.models import Playbook, RunPlan
from smoldebug.playbook.upgrades import Matrix
from smoldebug.report import fleet
from smoldebug.run import roll_back, run
from smoldebug.sources import helmcli, kubeconfig
from smoldebug.status import ExitStatus
from smoldebug.steps import Material
from smoldebug.view import output_format
from smoldebug.view.fleet import FleetView, open_fleet_view


@dataclass
class Cells:
    """Opens the run of each cluster, from plans that were all loaded before the first one began:
    the playbook that the canary got is the one that the others get."""

    plans: Mapping[str, RunPlan]  # by cluster
    options: Options
    signals: Signals
    view: FleetView
    clock: SystemClock
    key: bytes = field(default_factory=lambda: os.urandom(16))  # one mask for a secret everywhere
    material: Material = field(default_factory=Material)
    known: dict[str, str] = field(default_factory=dict)  # the context of each, by its own id

    def begin(self, cluster: str) -> "Run":
        plan, read = self.plans[cluster], terminal(self.signals.stop)
        approve = approver(self.view.of(cluster), yes=self.options.yes, read=read)
        options = replace(self.options, context=cluster)
        made = assemble(plan, options, approve, self.signals, self.clock, key=self.key)
        self._only_once(cluster, made)
        if made.crew.upgrade:
            made.crew.upgrade.material = self.material
        return Run(plan, made)

    def _only_once(self, cluster: str, made: Assembled) -> None:
        """Raises UsageError for a context of a cluster that another run is at work on."""
        uid = made.first.cluster if isinstance(made.first, RunStarted) else ""
        if uid and (other := self.known.setdefault(uid, cluster)) != cluster:
            made.discard()
            raise UsageError(
                f"contexts {other} and {cluster} lead to the same cluster",
                hint="it is upgraded once, by the first of them",
            )


@dataclass
class Run:
    plan: RunPlan
    made: Assembled
    seen: list[Stamped] = field(default_factory=list)

    def events(self) -> Iterator[Stamped]:
        yield from self._noted(run(self.plan, self.made.crew, self.made.first))

    def roll_back(self, reason: str) -> Iterator[Stamped]:
        me = who(self.made.world)
        yield from self._noted(roll_back(self.plan, self.made.crew, self.seen[-1], me, reason))

    def close(self) -> None:
        self.made.close()
        keep_report(self.seen, self.made.folder)

    def _noted(self, events: Iterator[Stamped]) -> Iterator[Stamped]:
        for stamped in events:
            self.seen.append(stamped)
            yield stamped


def drive(
    playbook: str,
    inputs: Sequence[str],
    approval: Strictness | None,
    options: Options,
    wanted: reports.Wanted,
) -> ExitStatus:
    """Begin the clusters in order, show what happens, report. Raises UsageError before anything
    has run for what is wrong with the playbook, the options or the kubeconfig.

    Ctrl-C or SIGTERM once: what is under way (a Helm operation) is finished, the steps are taken
    back where the playbook says so, and no other cluster is begun. Twice: at once.
    """
    load = partial(load_plan, playbook, inputs, namespace=options.namespace, approval=approval)
    plan = load()
    reports.writable(wanted)
    matrix, clock, signals = clusters(plan.playbook, options), SystemClock(), Signals()
    plans = {cluster: load(matrix={"cluster": cluster}) for cluster in matrix.cluster}
    output = output_format(wanted.output)
    view = open_fleet_view(output, matrix, fleet.document, clock=clock)
    several = replace(options, matrix=journal.new_run_id())
    cells = Cells(plans, several, signals, view, clock)
    back = plan.playbook.on_failure_others == "rollback"
    runs = Fleet(matrix, cells.begin, clock, signals.stop, others_back=back)
    watched = telemetry.opened(plan.playbook.name)
    try:
        with interruptible(signals):
            for cluster, stamped in runs.events():
                watched.show(stamped, cluster)
                with readers_may_leave(signals):
                    view.show(cluster, stamped)
        done = runs.cells()
        kept = reports.keep(done, plan.playbook.report, journal.matrix_folder(several.matrix))
        with readers_may_leave(signals):
            view.closing(done, [*fleet.sections(done), *kept])
        reports.write(done, output, wanted)
    finally:
        with readers_may_leave(signals):
            view.close()
            send_rest(watched)
    return status(runs.cells())


def clusters(playbook: Playbook, options: Options) -> Matrix:
    """The playbook's matrix, or the one cluster of --context. Raises UsageError for a context that
    no kubeconfig has, and where a step needs Helm and there is none."""
    if not playbook.steps:
        raise UsageError(
            f"playbook {playbook.name} has no steps: nothing to validate",
            hint="`smoldebug triage` looks for a cause, `smoldebug check` only measures",
        )
    if any(step.helm_upgrade or step.helm_rollback for step in playbook.steps):
        helmcli.command()
    matrix = playbook.matrix
    if matrix is None:
        found = kubeconfig.choose(options.context, options.kubeconfig, os.environ)
        return Matrix(cluster=[found.context])
    if options.context:
        raise UsageError(
            f"--context {options.context} stands against the playbook's matrix",
            hint=f"its clusters: {', '.join(matrix.cluster)}",
        )
    for context in matrix.cluster:
        kubeconfig.choose(context, options.kubeconfig, os.environ)
    return matrix
