"""`patch --from-run`: the live changes of a triage as edits of the manifests behind them."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from smoldebug import journal
from smoldebug.cli.kept import kept
from smoldebug.cli.options import Options
from smoldebug.clock import SystemClock
from smoldebug.edits.owners import Owner, edits_of, not_durable, owner
from smoldebug.errors import NotFound, SmoldebugError, UsageError
from smoldebug.past import Past
from smoldebug.past import past as read_past
from smoldebug.playbook.models import RunPlan
from smoldebug.records import Json, ObjectRef, Quote
from smoldebug.sources.open import open_world
from smoldebug.sources.world import World
from smoldebug.untrusted import one_line


def made_to_last(plan: RunPlan, options: Options, run: str) -> tuple[RunPlan, Options]:
    """The plan with the edits that make a run's verified changes last, and the repository that
    owns their objects, as Argo CD or Flux tells, unless one is named.

    Raises UsageError where the run changed nothing that a manifest could hold, or where its
    objects come from several repositories.
    """
    past = read_past(journal.read(journal.find(run) / "journal.jsonl"))
    changes = [each.card.change for each in past.ledger.values() if each.state == "verified"]
    edits = edits_of(changes)
    if not edits:
        left = "; ".join(not_durable(changes)) or "it changed nothing"
        raise UsageError(f"run {past.run} made no change that a manifest could hold: {left}")
    if not options.repo:
        where = _owner(past, [change.target for change in changes])
        options = replace(options, repo=where.repo)
        inside = [f"{where.path}/**"] if where.path else []
        edits = [msgspec.structs.replace(edit, paths=inside) for edit in edits]
    options = replace(options, quotes=_quotes(past))
    playbook = msgspec.structs.replace(plan.playbook, edits=edits)
    playbook = msgspec.structs.replace(
        playbook,
        tools=msgspec.structs.replace(playbook.tools, git=_branch(playbook.tools.git, past.run)),
        description=f"{playbook.description} Run {past.run}: {one_line(past.started.goal, 200)}",
    )
    return msgspec.structs.replace(plan, playbook=playbook), options


def _branch(git: Json, run: str) -> Json:
    """A branch for each triage: its fix is reviewed by itself."""
    return git and msgspec.structs.replace(git, branch=f"{git.branch}-{run}")


def _quotes(past: Past) -> tuple[Quote, ...]:
    """What the run found its cause by, word for word."""
    confirmed = [each for each in past.hypotheses if each.status == "confirmed"]
    return tuple(quote for each in confirmed for quote in each.supports if quote.verified)


def _owner(past: Past, targets: Sequence[ObjectRef]) -> Owner:
    """Who keeps the objects, by the cluster that the run was on; nobody known: the repository of
    this folder."""
    options = kept(past.started).options
    world = open_world(clock=SystemClock(), context=options.context, config=options.kubeconfig)
    try:
        found = {one for target in targets if (one := _seen(world, target)).repo}
    except SmoldebugError as error:
        raise UsageError(
            f"the objects of run {past.run} cannot be read: {error}", hint="name it with --repo"
        ) from error
    finally:
        world.close()
    if len(found) > 1:
        where = ", ".join(sorted(f"{each.repo} {each.path}".strip() for each in found))
        raise UsageError(f"its objects come from several repositories: {where}", "use --repo")
    return found.pop() if found else Owner()


def _seen(world: World, target: ObjectRef) -> Owner:
    def lookup(ref: ObjectRef) -> Json | None:
        try:
            return world.cluster.get(ref)
        except SmoldebugError:  # Argo CD's objects may not be readable, or not be there
            return None

    try:
        return owner(world.cluster.get(target), lookup)
    except NotFound:
        return Owner()
