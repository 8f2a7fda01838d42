"""What a playbook's words on patches must mean, beyond their types."""

import re
from collections.abc import Iterable

from smoldebug.errors import ToolError, UsageError
from smoldebug.playbook.convert import Report, Rules
from smoldebug.playbook.fieldpath import pointer_of
from smoldebug.playbook.models import Check, Playbook
from smoldebug.playbook.patches import (
    AddItem,
    ContainerHas,
    Edit,
    EnvVar,
    GitTool,
    ManifestsCheck,
    RemoveEnv,
    RemoveItem,
    RemovePath,
    Select,
    SetEnv,
    SetPath,
    SetProbe,
    SetResources,
)
from smoldebug.sources.selectors import holds

_ENV = re.compile(r"[A-Za-z_.-][\w.-]*", re.ASCII)
_NO_BRANCH = re.compile(  # what `git check-ref-format --branch` refuses
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^(?:@|HEAD)$|^[-/]|[/.]$|(?:^|/)\.|\.lock(?:/|$)"
)
_IDENTITY = re.compile(r"/(?:apiVersion|kind|metadata(?:/(?:name|namespace))?|status(?:/.*)?)")


def actions_of(edit: Edit) -> list[str]:
    """The keys of its actions; an edit that has been loaded has exactly one."""
    keys = (key for key in edit.__struct_fields__ if key not in ("select", "paths"))
    return [key for key in keys if getattr(edit, key) is not None]


def manifests_of(checks: list[Check]) -> list[ManifestsCheck]:
    return [check.manifests for check in checks if check.manifests is not None]


# --- goal -----------------------------------------------------------------------------------


def _manifests(check: ManifestsCheck, report: Report) -> None:
    if check.every_container_has is None and not check.matches:
        report("", "needs every_container_has or matches: what the manifests must say")
    if not check.paths:
        report("paths", "is empty: leave it out for all files")
    report_globs(check.paths, report)


def _container(has: ContainerHas, report: Report) -> None:
    if has.env is None and not has.image and not has.matches:
        report("", "needs env, image or matches")


def _select(select: Select, report: Report) -> None:
    try:
        holds(select.labels, lambda _: None)
    except ToolError as error:
        report("labels", str(error))


# --- edits ----------------------------------------------------------------------------------


def _edit(edit: Edit, report: Report) -> None:
    actions = actions_of(edit)
    if len(actions) != 1:
        known = ", ".join(key for key in edit.__struct_fields__ if key not in ("select", "paths"))
        given = f"has {len(actions)} ({', '.join(actions)})" if actions else "has none"
        report("", f"an edit is exactly one of {known}; this {given}")
    report_globs(edit.paths, report)


def _env(edit: EnvVar | SetEnv | RemoveEnv, report: Report) -> None:
    if not _ENV.fullmatch(edit.name):
        report("name", f"not a name of an environment variable: {edit.name!r}")


def _resources(edit: SetResources, report: Report) -> None:
    if not edit.requests and not edit.limits:
        report("", "needs requests or limits")


def _probe(edit: SetProbe, report: Report) -> None:
    if not edit.to:
        report("to", "needs a field of the probe")


def fixed(pointer: str) -> str:
    """Why no edit touches a field, or ""."""
    fits = _IDENTITY.fullmatch(pointer)
    return "tells which object it is, or how it is, and stays" if fits else ""


def _path(edit: SetPath | RemovePath | AddItem | RemoveItem, report: Report) -> None:
    try:
        pointer = pointer_of(edit.path)
    except UsageError as error:
        report("path", str(error))
        return
    if problem := fixed(pointer):
        report("path", f"{problem}: {edit.path}")
    if isinstance(edit, SetPath) and edit.value is None:
        report("value", "null is no value: `remove` takes a field away")


def _add_item(edit: AddItem, report: Report) -> None:
    _path(edit, report)
    value = edit.item.get(edit.key)
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        report("item", f"needs {edit.key}, the key that tells it from the others")


# --- branch and pull request ----------------------------------------------------------------


def _git(tool: GitTool, report: Report) -> None:
    for key in ("base", "branch", "remote"):
        name = getattr(tool, key)
        if (name or key != "base") and not _branch(name):
            report(key, f"not a name that Git takes: {name!r}")
    if tool.base and tool.base == tool.branch:
        report("branch", f"a patch needs a branch of its own: {tool.branch!r} is the base")


def _branch(name: str) -> bool:
    return bool(name) and len(name.encode()) <= 240 and not _NO_BRANCH.search(name)


def report_globs(globs: Iterable[str], report: Report) -> None:
    for index, glob in enumerate(globs):
        if not glob or glob.startswith(("/", "!", "~")) or "\\" in glob or "\x00" in glob:
            report(f"paths[{index}]", f"expected a path below the repository's root, got {glob!r}")
        elif ".." in glob.split("/"):
            report(f"paths[{index}]", f"must stay in the repository, got {glob!r}")


# --- the whole ------------------------------------------------------------------------------


def report_patches(playbook: Playbook, checks: list[Check], report: Report) -> None:
    """What the parts of a playbook need of each other."""
    manifests = manifests_of(checks)
    edited = [check.edited for check in checks if check.edited is not None]
    if len({*(each.repo for each in manifests), *(each.repo for each in edited)}) > 1:
        report("goal", "all its checks of a repository must name the same repo")
    if playbook.tools.git is None:
        if playbook.edits:
            report("edits", "need tools.git, the branch they are made on")
        if any(check.pull_request for check in checks):
            report("goal", "its pull_request check needs tools.git, the branch it is of")
        if playbook.tools.pull_request is not None:
            report("tools.pull_request", "needs tools.git, the branch it is of")
    if any(check.covers_cluster for check in checks) and not manifests:
        report("goal", "its covers_cluster check needs a manifests check beside it")
    for index, edit in enumerate(playbook.edits):
        if edit.select is None and not manifests:
            report(f"edits[{index}]", "needs select: the goal has no manifests check to take it of")


PATCH_RULES: Rules = {
    ManifestsCheck: _manifests,
    ContainerHas: _container,
    Select: _select,
    Edit: _edit,
    EnvVar: _env,
    SetEnv: _env,
    RemoveEnv: _env,
    SetResources: _resources,
    SetProbe: _probe,
    SetPath: _path,
    RemovePath: _path,
    AddItem: _add_item,
    RemoveItem: _path,
    GitTool: _git,
}
