"""Local servers of the playbook: does one answer, and (re)start it."""

from collections.abc import Mapping
from http.client import responses
from typing import Any

from smoldebug.errors import ToolError, UnreachableError
from smoldebug.records import Change, ChangeKind, ObjectRef, Observation
from smoldebug.toolset import ToolContext, tool


@tool(effect="probe", timeout=10)
def check_server(ctx: ToolContext, name: str) -> Observation:
    """Ask a local server's URL: 200 OK, or why there is no answer.

    Args:
        name: Its name in the playbook.
    """
    url = str(_server(ctx, name)["url"])
    try:
        reply = ctx.world.http.get(url, timeout=3.0)
    except UnreachableError as error:
        return Observation(f"Error: {error}", {"ok": False, "url": url}, "probe", url)
    text = f"{reply.status} {responses.get(reply.status, '')} from {url}"
    data = {"ok": 200 <= reply.status < 400, "status": reply.status, "url": url}
    return Observation(text, data, "probe", url)


@tool(effect="change", changes="process-restart")
def restart_server(ctx: ToolContext, name: str, why: str) -> Change:
    """Propose to start a local server, in place of the one that runs.

    Args:
        name: Its name in the playbook.
        why: The reason, citing evidence such as E1.
    """
    server = _server(ctx, name)
    after = {"/argv": list(server["run"]), "/url": server["url"]}
    if cwd := server.get("cwd"):
        after["/cwd"] = cwd
    return Change(
        ChangeKind.PROCESS_RESTART,
        ObjectRef("Process", "local", name),
        before={},
        after=after,
        why=why,
        expects=f"{server['url']} answers",
        no_undo="a restarted process cannot be un-restarted",
    )


def _server(ctx: ToolContext, name: str) -> Mapping[str, Any]:
    servers: Mapping[str, Any] = ctx.settings.get("servers", {})
    if name not in servers:
        raise ToolError(f"no such server: {name}; the playbook has: {', '.join(servers)}")
    found: Mapping[str, Any] = servers[name]
    return found
