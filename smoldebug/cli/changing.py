"""Who may change what, where, in whose name: the executor of a run, and of an undo."""

import os
import pwd
from collections.abc import Mapping, Sequence

from smoldebug.appliers import Applier, CommandApplier, ServerApplier, appliers
from smoldebug.change import Approver, Executor, Place
from smoldebug.cli.options import Options
from smoldebug.cli.recent import recent_changes
from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.events import RunStarted
from smoldebug.guard import Guard
from smoldebug.journal import runs_folder
from smoldebug.playbook.models import RunPlan
from smoldebug.playbook.policy import Policy
from smoldebug.records import ChangeKind, ObjectRef, Who
from smoldebug.redact import Redactor
from smoldebug.sources.world import World


def guard(plan: RunPlan, place: Place, policies: Sequence[Policy]) -> Guard:
    """What a run may change: by its playbook and inputs, the policies in force, and what other
    runs on this machine did."""
    return Guard(
        plan.playbook,
        policies,
        context=place.context,
        cluster=place.cluster,
        server=place.server,
        inputs=plan.inputs,
        recent=recent_changes(runs_folder(), place.run),
    )


def executor(
    guard: Guard,
    options: Options,
    approver: Approver,
    world: World,
    place: Place,
    redactor: Redactor,
) -> Executor:
    """The one executor of a run's changes, on the real world."""
    made = Executor(
        guard,
        _appliers(world, options.kubeconfig_path, redactor),
        approver,
        world.clock,
        place,
        redactor.text,
    )
    made.break_glass = options.break_glass
    return made


def whereabouts(world: World, run: str) -> Place:
    """The run, the context and the cluster's own id (the uid of its namespace kube-system, "" where
    that may not be read)."""
    if not world.has_cluster:
        return Place(run)
    try:
        found = world.cluster.get(ObjectRef("Namespace", "", "kube-system"))
    except SmoldebugError:
        return Place(run, world.cluster.context, server=world.cluster.server)
    uid = str(found["metadata"].get("uid") or "")
    return Place(run, world.cluster.context, uid, world.cluster.server)


def who(world: World | None = None) -> Who:
    """The user of this machine, whatever $USER says, and who the API server takes them for."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container with a user id that has no name
        user = f"uid {os.getuid()}"
    return Who(user, world.cluster.whoami() if world is not None and world.has_cluster else "")


def same_cluster(started: RunStarted, place: Place) -> None:
    """Raises UsageError when the context leads to another cluster than it did for the run."""
    if started.cluster and place.cluster and started.cluster != place.cluster:
        raise UsageError(
            f"context {place.context} is another cluster than it was for run {place.run}",
            hint="nothing was changed; point your kubeconfig at the cluster of that run",
        )


def _appliers(world: World, kubeconfig: str, redactor: Redactor) -> Mapping[ChangeKind, Applier]:
    def answers(url: str) -> bool:
        try:
            return world.http.get(url, timeout=1).status < 500
        except SmoldebugError:
            return False

    server = ServerApplier(runs_folder().parent / "servers", world.clock, answers)
    command = CommandApplier(world.processes, redactor)
    return appliers(world, server, command, kubeconfig)
