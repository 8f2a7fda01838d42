"""Objects by name and as YAML: of the repository in a run about one, else of the live cluster."""

from collections.abc import Sequence

import yaml

from smoldebug.edits.rendered import Rendered
from smoldebug.errors import NotFound
from smoldebug.records import ObjectRef, Observation
from smoldebug.signals.tables import trimmed
from smoldebug.sources.kinds import find as find_kind
from smoldebug.sources.kinds import kind_name
from smoldebug.toolset import Patching, ToolContext, tool

OVERVIEW = ("Deployment", "StatefulSet", "DaemonSet", "Pod", "Service", "HorizontalPodAutoscaler")
NAMES = 60  # of one kind in an overview
ROWS = 200  # of one answer


@tool(effect="read", timeout=60)
def list_k8s_resources(ctx: ToolContext, kind: str = "", namespace: str = "") -> Observation:
    """Names of objects, by kind. Of a repository: as it would be applied, with file and line.

    Args:
        kind: Such as Pod or hpa; empty for an overview.
        namespace: Empty: the run's (of a repository: every one); all: every one.
    """
    if ctx.patch is not None:
        return _described(ctx.patch, kind, "" if namespace == "all" else namespace)
    kinds = [kind_name(kind)] if kind else OVERVIEW
    found = {
        each: [
            str(item["metadata"]["name"])
            for item in ctx.world.cluster.list(each, _namespace(ctx, each, namespace))
        ]
        for each in kinds
    }
    lines = [f"{each} ({len(names)}): {_some(names)}" for each, names in found.items()]
    return Observation("\n".join(lines), {"names": found}, "object", namespace or ctx.namespace)


@tool(effect="read", timeout=60)
def fetch_k8s_manifest(ctx: ToolContext, kind: str, name: str, namespace: str = "") -> Observation:
    """The YAML of one object, without status. Of a repository: its file, edits included.

    Args:
        kind: Such as Pod or hpa.
        name: Its name.
        namespace: Empty: the run's (of a repository: any).
    """
    if ctx.patch is not None:
        return _file(ctx.patch, kind_name(kind), name, namespace)
    kind = kind_name(kind)
    where = ObjectRef(kind, _namespace(ctx, kind, namespace), name)
    item = trimmed(ctx.world.cluster.get(where))
    item.pop("status", None)
    text = yaml.safe_dump(item, sort_keys=False, allow_unicode=True)
    return Observation(text, {"object": item}, "object", str(where))


# --- of a repository --------------------------------------------------------------------------


def _described(patch: Patching, kind: str, namespace: str) -> Observation:
    made = patch.described(kind_name(kind) if kind else "", "", namespace)
    lines = [f"{each.ref}  {_place(each)}" for each in made.objects[:ROWS]]
    gaps = [*made.problems]
    if len(made.objects) > ROWS:
        gaps.append(f"{len(made.objects) - ROWS} more are not shown: name a kind or a namespace")
    data = {
        "objects": [{"ref": str(each.ref), "path": each.document.path} for each in made.objects]
    }
    text = "\n".join([*lines, *gaps]) or f"no {kind or 'object'} in the repository"
    return Observation(text, data, "object", "the repository", tuple(gaps))


def _file(patch: Patching, kind: str, name: str, namespace: str) -> Observation:
    made, tree = patch.described(kind, name, namespace).objects, patch.workspace.tree
    if not made:
        raise NotFound(f"no manifest of the repository describes: {kind}/{name}")
    parts = []
    for path in dict.fromkeys(each.document.path for each in made):
        ways = ", ".join(each.via for each in made if each.document.path == path and each.via)
        head = f"# {path}" + (f" ({ways})" if ways else "")
        parts.append(f"{head}\n{tree.read(path).decode('utf-8', 'replace')}")
    data = {"paths": [each.document.path for each in made]}
    return Observation("\n".join(parts), data, "object", str(made[0].ref))


def _place(each: Rendered) -> str:
    via = f" ({each.via})" if each.via else ""
    return f"{each.document.path}:{each.document.line}{via}"


# --- of the cluster ---------------------------------------------------------------------------


def _namespace(ctx: ToolContext, kind: str, namespace: str) -> str:
    known = find_kind(kind)
    if namespace == "all" or (known is not None and not known.namespaced):
        return ""
    return namespace or ctx.namespace


def _some(names: Sequence[str]) -> str:
    more = f", ... {len(names) - NAMES} more" if len(names) > NAMES else ""
    return (", ".join(names[:NAMES]) or "none") + more
