"""From a playbook and options to the crew of one run: who reads, decides, changes and records."""

import secrets
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from smoldebug.agent import Agent, Signals
from smoldebug.change import Approver
from smoldebug.cli.chain import Asking, limits_of, open_chain
from smoldebug.cli.changing import executor, guard, same_cluster, whereabouts, who
from smoldebug.cli.kept import keep
from smoldebug.cli.needs import FirstLook, checks, goal_needs_cluster, metrics_url
from smoldebug.cli.options import Options
from smoldebug.cli.places import must_exist
from smoldebug.cli.repositories import described, use_repository
from smoldebug.cli.toolbox import secret_values, toolset
from smoldebug.clock import Clock
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.events import Continued, RunStarted
from smoldebug.evidence import EvidenceStore
from smoldebug.goal import Goal
from smoldebug.guard import Guard, ScopedCluster
from smoldebug.journal import new_run_id, open_journal, runs_folder
from smoldebug.model.keys import keys
from smoldebug.notebook import Notebook
from smoldebug.past import Past
from smoldebug.patch import Patch
from smoldebug.playbook.models import Playbook, RunPlan
from smoldebug.playbook.policy import Policy, load_policies, personal_data
from smoldebug.playbook.settings import load_settings
from smoldebug.reads import Reads
from smoldebug.records import Json, ObjectRef
from smoldebug.redact import Redactor, use_key
from smoldebug.run import Crew
from smoldebug.sources import gitrepo, targets
from smoldebug.sources.http import service_of
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.open import open_world
from smoldebug.sources.world import World
from smoldebug.toolset import Toolset

if TYPE_CHECKING:
    from smoldebug.upgrade import Upgrade


@dataclass
class Assembled:
    crew: Crew
    first: RunStarted | Continued
    world: World
    asking: Asking
    folder: Path

    def close(self) -> None:
        self.crew.journal.close()
        self.asking.close()
        self.world.close()

    def discard(self) -> None:
        """Of a run that is not to begin nothing is kept."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def assemble(
    plan: RunPlan,
    options: Options,
    approver: Approver,
    signals: Signals,
    clock: Clock,
    past: Past | None = None,
    *,
    key: bytes | None = None,
) -> Assembled:
    """Open what the playbook needs and put the crew together; `past` is taken up again. `key` is
    that of the masks, where runs share one.

    Raises UsageError, PlaybookError or UnreachableError before anything was done.
    """
    playbook = plan.playbook
    prometheus = metrics_url(playbook, options.prometheus)
    world = open_world(
        clock=clock,
        context=options.context,
        config=options.kubeconfig,
        metrics_url=prometheus,
        needs_cluster=uses_cluster(playbook, prometheus),
    )
    run = past.run if past else new_run_id()
    use_repository(world, plan, options, runs_folder() / run)
    try:
        return _crew(plan, options, approver, signals, world, past, run, key)
    except BaseException:
        world.close()
        if past is None:  # of a run that never began nobody would find the clone again
            shutil.rmtree(runs_folder() / run, ignore_errors=True)
        raise


def _crew(
    plan: RunPlan,
    options: Options,
    approver: Approver,
    signals: Signals,
    world: World,
    past: Past | None,
    run: str,
    key: bytes | None,
) -> Assembled:
    playbook, clock, settings = plan.playbook, world.clock, load_settings()
    policies = load_policies()
    if world.has_cluster:
        namespaces = playbook.scope.namespaces
        here = options.namespace or next(iter(namespaces), "default")
        must_exist(world, namespaces, options.target, here)
    place = whereabouts(world, run)
    folder = runs_folder() / place.run
    use_key(key := key or mask_key(folder))
    masked = personal_data(playbook, policies)
    redactor = Redactor([*secret_values(playbook), *keys(settings)], classes=masked)
    evidence = EvidenceStore(clock)
    notebook = Notebook(evidence)
    patch = _patch(plan, options, world, run, redactor) if world.has_repository else None
    reads = Reads(clock, settings.cache.reads)
    tools = toolset(plan, options, world, evidence, notebook, redactor, reads, patch)
    rules = guard(plan, place, policies)
    acts = executor(rules, options, approver, world, place, redactor)
    acts.sending = reads.forget
    by_code = playbook.edits or playbook.steps  # nobody looks around first
    look = FirstLook(playbook, world) if world.has_cluster and not by_code else None
    goal = Goal(
        plan,
        world,
        clock,
        allow_code=options.allow_code,
        state=lambda: _state(evidence, plan),
        red=look.red if look else None,
    )
    expert = Expert(evidence, brief(plan, tools, options.namespace))
    asking = open_chain(playbook, options, settings, policies, expert, redactor, clock, place.run)
    agent = Agent(asking.chain, tools, notebook, acts, signals, clock)
    agent.usage, agent.confident = limits_of(playbook, policies), expert.confident
    if patch is not None:
        patch.model = agent.model
    first: RunStarted | Continued
    if past is None:
        first = _started(plan, options, goal, agent, world, place.cluster)
        first = _under(first, policies, rules)
    else:
        first = Continued("resume", who(world))
        same_cluster(past.started, place)
        agent.take_up(past)
        asking.budget.restore(past.usage)
    journal = open_journal(folder, past.events if past else None)
    keep_mask_key(folder, key)
    crew = Crew(
        goal,
        agent,
        look,
        journal,
        clock,
        place.run,
        patch if playbook.edits else None,
        _upgrade(plan, world, folder, tools) if playbook.steps else None,
    )
    return Assembled(crew, first, world, asking, folder)


def _patch(plan: RunPlan, options: Options, world: World, run: str, redactor: Redactor) -> Patch:
    patch = Patch(plan, world, run, gitrepo.revision(Path(plan.source)))
    patch.patches, patch.quotes, patch.shown = options.patches, options.quotes, redactor.text
    return patch


def _upgrade(plan: RunPlan, world: World, folder: Path, tools: Toolset) -> "Upgrade":
    from smoldebug.diagnose.witness import Witness
    from smoldebug.upgrade import Upgrade

    seen = ScopedCluster(world.cluster, plan.playbook)
    witness = Witness(seen, tools.evidence, tools.shown, world.clock)
    return Upgrade(plan, world, folder, witness)


def mask_key(folder: Path) -> bytes:
    """The same value gets the same mask when a run is taken up again."""
    try:
        return bytes.fromhex((folder / MASK_KEY).read_text())
    except (OSError, ValueError):
        return secrets.token_bytes(16)


def keep_mask_key(folder: Path, key: bytes) -> None:
    with suppress(OSError):  # no journal either: nobody takes this run up again
        (folder / MASK_KEY).touch(mode=0o600)
        (folder / MASK_KEY).write_text(key.hex())


# --- what the playbook needs ----------------------------------------------------------------


MASK_KEY = "mask.key"  # in a run's folder
TRAFFIC_CHECKS = ("http", "tcp", "metric", "ratio")


def uses_cluster(playbook: Playbook, prometheus: str) -> bool:
    """Whether any part of the playbook speaks to Kubernetes."""
    tools = playbook.tools
    return bool(
        playbook.steps
        or tools.logs
        or tools.kubectl
        or service_of(prometheus)
        or goal_needs_cluster(playbook, prometheus)
    )


def _started(
    plan: RunPlan, options: Options, goal: Goal, agent: Agent, world: World, cluster: str
) -> RunStarted:
    from smoldebug import __version__

    playbook = plan.playbook
    writes = playbook.tools.git or (playbook.tools.change and playbook.scope.cluster != "read-only")
    approval = "yes to all" if options.yes and playbook.approval == "ask" else playbook.approval
    return RunStarted(
        command=options.command,
        playbook=playbook.name,
        goal=playbook.goal.description or goal.describe(),
        model=", ".join(agent.chain.names()),
        context=world.cluster.context if world.has_cluster else "",
        namespaces=tuple(playbook.scope.namespaces),
        mode=approval if writes else "read-only",
        check_every=goal.every,
        limits=agent.usage,
        inputs=dict(plan.inputs),
        version=__version__,
        revision=gitrepo.revision(Path(plan.source)),
        kubeconfig=options.kubeconfig_path,
        cluster=cluster,
        who=who(world),
        plan=keep(plan, options),
        break_glass=options.break_glass,
        repository=described(world) if world.has_repository else "",
        matrix=options.matrix,
    )


def _under(first: RunStarted, policies: Sequence[Policy], rules: Guard) -> RunStarted:
    """The same, with the policies in force and what they make of `approval: auto`."""
    mode = first.mode if first.mode in ("read-only", "yes to all") else rules.approval
    told = tuple(policy.describe for policy in policies)
    return msgspec.structs.replace(first, policies=told, mode=mode)


# --- what the expert and the goal are told --------------------------------------------------


def brief(plan: RunPlan, toolset: Toolset, namespace: str) -> Brief:
    """What the expert may know and do, from the playbook alone."""
    playbook = plan.playbook
    change, limits = playbook.tools.change, playbook.limits.replicas
    urls = tuple(check.http.url for check in checks(playbook) if check.http and check.http.url)
    allowed = change.allow if change and playbook.scope.cluster != "read-only" else []
    where, kubectl = next(iter(playbook.scope.namespaces), namespace), playbook.tools.kubectl
    return Brief(
        namespace=where,
        targets=tuple(_targets(plan, urls, where)),
        urls=urls if playbook.tools.http else (),
        tools=frozenset(toolset.specs),
        allowed=frozenset(allowed),
        max_factor=limits.max_factor,
        max_replicas=limits.max,
        servers=tuple(playbook.tools.process.servers) if playbook.tools.process else (),
        kinds=frozenset(map(kind_name, kubectl.read if kubectl else ())),
        traffic=any(getattr(check, kind) for check in checks(playbook) for kind in TRAFFIC_CHECKS),
    )


def _targets(plan: RunPlan, urls: Sequence[str], namespace: str) -> Iterable[ObjectRef]:
    for url in urls:
        if (service := service_of(url)) is not None:
            yield ObjectRef("Service", service.namespace, service.name)
    for check in checks(plan.playbook):
        for part in (check.rollout, check.restarts):
            if part is not None and part.target:
                yield targets.parse(part.target, namespace)


def _state(evidence: EvidenceStore, plan: RunPlan) -> dict[str, Json]:
    return {
        "observations": [item.observation.text for item in evidence],
        "evidence": {item.id: item.observation.data for item in evidence},
        "inputs": dict(plan.inputs),
    }
