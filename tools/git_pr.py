"""Manifests in a repository: find them, edit them in the run's own clone, propose a pull request.

Reading and editing touch nothing but that clone. `commit_and_push` and `open_pull_request` propose
changes, which are shown with their whole diff and asked for like any other.
"""

from collections.abc import Sequence

from smoldebug.edits.documents import Found, find, selected
from smoldebug.edits.draft import draft
from smoldebug.edits.render import render
from smoldebug.edits.rendered import Rendered
from smoldebug.errors import NotFound, ToolError
from smoldebug.playbook.patches import Edit, RemovePath, Select, SetPath
from smoldebug.records import Change, Json, Observation
from smoldebug.toolset import Patching, ToolContext, tool

OBJECTS = 200  # of one answer


@tool(effect="read", family="git", timeout=60)
def list_k8s_resources(
    ctx: ToolContext, kind: str = "Deployment", namespace: str = "", paths: list[str] | None = None
) -> Observation:
    """Objects that the repository's manifests describe, as they would be applied, with their files.

    Args:
        kind: Kind, such as Deployment.
        namespace: Empty for all.
        paths: Where to look, such as deploy/**; empty for the whole repository.
    """
    found, objects = _rendered(_patch(ctx), paths or ["**"])
    select = Select(kind=kind, namespace=namespace)
    rows = [each for each in objects if selected(each, select)]
    lines = [f"{each.ref}  {_where(each)}" for each in rows[:OBJECTS]]
    gaps = [*found.problems]
    if len(rows) > OBJECTS:
        gaps.append(f"{len(rows) - OBJECTS} more are not shown")
    data = {"objects": [{"ref": str(each.ref), "path": each.document.path} for each in rows]}
    text = "\n".join([*lines, *gaps]) or f"no {kind} in the repository"
    return Observation(text, data, "object", f"{kind} in the repository", tuple(gaps))


@tool(effect="read", family="git", timeout=60)
def fetch_k8s_manifest(ctx: ToolContext, path: str) -> Observation:
    """A file of the repository, with the edits drafted so far.

    Args:
        path: From the repository's root, such as deploy/auth.yaml.
    """
    tree = _patch(ctx).workspace.tree
    if (entry := tree.files().get(path)) is None or entry.kind != "file":
        raise NotFound(f"no such file in the repository: {path}")
    text = tree.read(path).decode("utf-8", "replace")
    drafted = path in _patch(ctx).workspace.files
    return Observation(text, {"path": path, "drafted": drafted}, ref=path)


@tool(effect="read", family="git", timeout=60)
def patch_k8s_manifest(
    ctx: ToolContext,
    kind: str,
    name: str,
    field: str,
    value: Json = None,
    namespace: str = "",
    remove: bool = False,
) -> Observation:
    """Draft one edit of one object's manifest, in the layer where it belongs. Nothing is pushed.

    Args:
        kind: Kind, such as Deployment.
        name: Its name, as it would be applied.
        field: Such as spec.template.spec.containers[app].env[FEATURE_FLAG].value.
        value: What stands there afterwards.
        namespace: Where several have that name.
        remove: Take the field away instead.
    """
    workspace = _patch(ctx).workspace
    select = Select(kind=kind, name=name, namespace=namespace)
    if remove:
        edit = Edit(select=select, paths=["**"], remove=RemovePath(path=field))
    else:
        edit = Edit(select=select, paths=["**"], set=SetPath(path=field, value=value))
    done = draft(workspace.tree, [edit], None, ctx.settings.get("paths", ()))
    refused = [each for each in done.edited if each.state == "refused"]
    if refused or not done.edited:
        why = refused[0].detail if refused else f"no {kind} {name} in the repository"
        raise ToolError(why)
    workspace.put(done.files)
    for each in done.edited:
        if not remove and each.state == "changed":
            workspace.set_by_model.setdefault(str(each.ref), {})[field] = value
    rows = [f"{row.path}:{row.line} {row.ref} {row.state} {row.detail}" for row in done.edited]
    return Observation("\n".join(rows), {"files": sorted(done.files)}, ref=f"{kind}/{name}")


@tool(effect="read", family="git", timeout=60)
def create_git_branch(ctx: ToolContext) -> Observation:
    """Begin the playbook's branch in the run's clone; says where it starts and what is drafted.
    It reaches the remote with commit_and_push."""
    workspace = _patch(ctx).workspace
    repository = workspace.repository
    there = "exists already" if repository.tip() else "is new"
    drafted = ", ".join(sorted(workspace.files)) or "nothing yet"
    text = (
        f"branch {repository.branch} of {repository.name} {there}, starts at "
        f"{workspace.start[:12]} ({repository.base}); drafted: {drafted}"
    )
    return Observation(text, {"branch": repository.branch, "start": workspace.start})


@tool(effect="change", family="git", timeout=120, changes="git-commit")
def commit_and_push(ctx: ToolContext, why: str) -> Change:
    """Propose to push what is drafted as commits on the playbook's branch.

    Args:
        why: The reason, citing evidence such as E4.
    """
    return _patch(ctx).pushed(why)


@tool(effect="change", family="pull_request", timeout=120, changes="pull-request")
def open_pull_request(ctx: ToolContext, title: str = "", summary: str = "") -> Change:
    """Propose to open the branch's pull request, or to update it.

    Args:
        title: Empty: what was edited.
        summary: What and why in a few sentences, for the reviewer; the coverage is added by code.
    """
    return _patch(ctx).requested(title, summary)


def _patch(ctx: ToolContext) -> Patching:
    if ctx.patch is None:
        raise ToolError("this playbook changes no repository: it has no tools.git block")
    return ctx.patch


def _rendered(patch: Patching, paths: Sequence[str]) -> tuple[Found, Sequence[Rendered]]:
    tree = patch.workspace.tree
    found = find(tree, paths)
    return found, render(tree, found).objects


def _where(each: Rendered) -> str:
    via = f" ({each.via})" if each.via else ""
    return f"{each.document.path}:{each.document.line}{via}"
