"""Manifests in a repository: edit them in the run's own clone, propose a pull request.

Editing touches nothing but that clone. `commit_and_push` and `open_pull_request` propose
changes, which are shown with their whole diff and asked for like any other.
"""

from smoldebug.errors import ToolError
from smoldebug.records import Change, Json, ObjectRef, Observation
from smoldebug.sources.kinds import kind_name
from smoldebug.toolset import Patching, ToolContext, tool


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
    target = ObjectRef(kind_name(kind), namespace, name)
    rows = _patch(ctx).edited(target, field, value, remove=remove)
    lines = [f"{row.path}:{row.line} {row.ref} {row.state} {row.detail}" for row in rows]
    return Observation("\n".join(lines), {"files": [row.path for row in rows]}, ref=str(target))


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
        why: Reason, citing evidence such as E4.
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
