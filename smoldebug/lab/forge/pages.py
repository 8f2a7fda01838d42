"""Plain text for people at the addresses that are printed: no credentials, no file contents."""

import re
from urllib.parse import unquote, urlsplit

from smoldebug.lab.forge.answers import Answer, as_text, not_found
from smoldebug.lab.forge.hub import NAME, Hub
from smoldebug.lab.forge.state import Check, Project, Pull
from smoldebug.untrusted import plain

_REPO = rf"/(?P<owner>{NAME.pattern})/(?P<repo>{NAME.pattern})"
_PULL = re.compile(rf"{_REPO}/pull/(?P<number>\d{{1,9}})")
_CHECK = re.compile(rf"{_REPO}/runs/(?P<number>\d{{1,9}})")
_COMPARE = re.compile(rf"{_REPO}/compare/(?P<base>.+?)\.\.\.(?P<head>.+)")


def is_page(path: str) -> bool:
    return any(pattern.fullmatch(path) for pattern in (_PULL, _CHECK, _COMPARE))


def answer(hub: Hub, target: str) -> Answer:
    """Raises ForgeError 404."""
    path = unquote(urlsplit(target).path)
    with hub.lock:
        if match := _PULL.fullmatch(path):
            project = hub.project(match["owner"], match["repo"])
            text = _pull(hub, project, hub.pull(project, int(match["number"])))
        elif match := _CHECK.fullmatch(path):
            project = hub.project(match["owner"], match["repo"])
            text = _check(project, int(match["number"]))
        elif match := _COMPARE.fullmatch(path):
            text = _compare(hub, hub.project(match["owner"], match["repo"]), *match.groups()[2:])
        else:
            raise not_found()
    return as_text(plain(text), headers={"X-Content-Type-Options": "nosniff"})


def state_of(pull: Pull) -> str:
    if pull.merged:
        return "merged"
    return ("draft" if pull.draft else "open") if pull.open else "closed"


def _pull(hub: Hub, project: Project, pull: Pull) -> str:
    checks = [check for check in project.checks if check.sha == pull.head_sha]
    lines = [
        f"{project.full_name} #{pull.number}: {pull.title}",
        f"{state_of(pull)}: {pull.head} into {pull.base}, at {pull.head_sha[:12]}",
        *(f"check {check.name}: {check.conclusion or check.status}" for check in checks),
        *([f"labels: {', '.join(pull.labels)}"] if pull.labels else []),
        "",
        *_files(hub, project, pull.base_sha, pull.head_sha),
        "",
        pull.body,
    ]
    return "\n".join(lines) + "\n"


def _check(project: Project, number: int) -> str:
    check = next((check for check in project.checks if check.id == number), None)
    if check is None:
        raise not_found()
    return "\n".join([_title(check), f"commit: {check.sha}", check.summary, "", check.text])


def _title(check: Check) -> str:
    return f"check {check.name}: {check.conclusion or check.status}"


def _compare(hub: Hub, project: Project, base: str, head: str) -> str:
    bare = hub.bare(project)
    old, new = bare.resolve(base), bare.resolve(head)
    if not old or not new:
        raise not_found()
    titles = (bare.describe(sha)["message"].partition("\n")[0] for sha in bare.commits(old, new))
    files = _files(hub, project, old, new)
    return "\n".join([f"{project.full_name}: {base}...{head}", "", *titles, "", *files, ""])


def _files(hub: Hub, project: Project, old: str, new: str) -> list[str]:
    files = hub.bare(project).changed(old, new)
    return [f"{file.path}  +{file.additions} -{file.deletions}" for file in files]
