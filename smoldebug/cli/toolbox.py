"""Which tools a run gets: shipped ones by the playbook, your own by --tools and by name."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from smoldebug.cli.needs import metrics_url
from smoldebug.cli.options import Options
from smoldebug.errors import PlaybookError, UsageError
from smoldebug.evidence import EvidenceStore
from smoldebug.guard import ScopedCluster, ScopedHelm
from smoldebug.notebook import Notebook
from smoldebug.playbook.models import Playbook, RunPlan
from smoldebug.reads import Reads
from smoldebug.records import IN_GIT, OF_RELEASE, Effect, Json
from smoldebug.redact import Redactor
from smoldebug.sources.world import World
from smoldebug.toolset import (
    Patching,
    ToolContext,
    Toolset,
    ToolSpec,
    load_entry_points,
    load_folder,
    shipped_tools,
)


def toolset(
    plan: RunPlan,
    options: Options,
    world: World,
    evidence: EvidenceStore,
    notebook: Notebook,
    redactor: Redactor,
    reads: Reads | None = None,
    patch: Patching | None = None,
) -> Toolset:
    """The tools this run may use, seeing the cluster only as far as the playbook lets them.

    Raises PlaybookError for a tool it names that is not there.
    """
    playbook, metrics = plan.playbook, bool(metrics_url(plan.playbook, options.prometheus))
    specs, installed = shipped_tools(), load_entry_points()
    given = [spec for folder in options.tools for spec in load_folder(folder)]
    usable = [spec for spec in specs if enabled(spec, playbook, metrics)]
    usable += [spec for spec in installed if spec.name in playbook.tools.custom]
    usable += [spec for spec in given if harmless(spec) or spec.name in playbook.tools.custom]
    known = {spec.name for spec in (*specs, *installed, *given)}
    if missing := [name for name in playbook.tools.custom if name not in known]:
        raise PlaybookError(
            f"tools.custom names a tool that is not there: {', '.join(missing)}",
            plan.source,
            hint="--tools DIR loads your own",
        )
    seen = World(
        world.clock,
        world.processes,
        cluster=(lambda: ScopedCluster(world.cluster, playbook)) if world.has_cluster else None,
        http=lambda _: world.http,
        metrics=(lambda _: world.metrics) if metrics else None,
        helm=(lambda _: ScopedHelm(world.helm, playbook)) if world.has_cluster else None,
    )
    namespace = options.namespace or next(iter(playbook.scope.namespaces), "default")

    def context(spec: ToolSpec) -> ToolContext:
        return ToolContext(seen, _settings(plan, spec.family), evidence, namespace, patch)

    if playbook.scope.namespaces == [namespace]:
        usable = [_in_one(spec) for spec in usable]
    return Toolset([*usable, *notebook.tools()], context, evidence, redactor, reads)


def _in_one(spec: ToolSpec) -> ToolSpec:
    """The tool as it is told of where there is only one namespace: nobody need name that."""
    told = {**spec.schema["properties"]}
    if "namespace" not in spec.schema.get("required", ()):
        told.pop("namespace", None)
    return replace(spec, schema={**spec.schema, "properties": told})


def harmless(spec: ToolSpec) -> bool:
    """Whoever gives --tools DIR may look with them; what changes something is for the playbook."""
    return spec.effect in (Effect.READ, Effect.PROBE)


def enabled(spec: ToolSpec, playbook: Playbook, metrics: bool) -> bool:
    """Whether a shipped tool may be used: its family is in `tools:`, its change is allowed.

    `metrics`: whether a Prometheus is known; without one, nobody is offered to query it.
    """
    if spec.family == "metrics":
        return metrics
    change, git = playbook.tools.change, playbook.tools.git
    if spec.family == "manifests":  # of the one or the other
        return playbook.tools.kubectl is not None or git is not None
    if spec.changes in IN_GIT:
        return git is not None and getattr(playbook.tools, spec.family) is not None
    if spec.changes is not None:
        writable = playbook.scope.cluster != "read-only"
        return change is not None and writable and spec.changes in change.allow
    if spec.family == "helm":  # of a playbook that is about releases
        return change is not None and not {*OF_RELEASE}.isdisjoint(change.allow)
    return getattr(playbook.tools, spec.family, None) is not None


def _settings(plan: RunPlan, family: str) -> Mapping[str, Json]:
    block = msgspec.to_builtins(getattr(plan.playbook.tools, family, None), enc_hook=float) or {}
    for server in block.get("servers", {}).values():
        server["cwd"] = str(Path(plan.folder, server.get("cwd", "")).resolve())
    if family == "git":
        block["paths"] = plan.playbook.scope.paths
    return dict(block)


def secret_values(playbook: Playbook) -> Iterable[str]:
    """Values of declared secrets, to be masked. Raises UsageError when one is missing."""
    for name, secret in playbook.secrets.items():
        variables = [secret.from_env] if isinstance(secret.from_env, str) else secret.from_env
        values = [value for variable in variables if (value := os.environ.get(variable))]
        if not values and secret.required:
            raise UsageError(f"secret {name} is not set: {', '.join(variables)}")
        yield from values
