"""Commands the playbook lists by name. Arguments are a list; there is never a shell.

What a command does is decided in the playbook: `effect: read` runs it and shows its output,
`effect: execute` makes it a proposal that is asked for like any change.
"""

import shlex
from collections.abc import Mapping
from typing import Any

from smoldebug.errors import ToolError
from smoldebug.records import Change, ChangeKind, ObjectRef, Observation
from smoldebug.toolset import ToolContext, tool

SECONDS = 30.0
HEAD, TAIL = 40, 40  # lines of output in the text


@tool(effect="execute", timeout=40)
def run_command(
    ctx: ToolContext,
    command: str,
    arguments: list[str] | None = None,
    pod: str = "",
    namespace: str = "",
    why: str = "",
) -> Observation | Change:
    """Run a command of the playbook's list.

    Args:
        command: Its name in the playbook.
        arguments: More arguments, where the playbook lets the caller add some.
        pod: The pod to run it in, for commands that run in pods.
        namespace: Of the pod; empty for the run's namespace.
        why: The reason, citing evidence; needed for commands that change something.
    """
    allowed: Mapping[str, Any] = ctx.settings.get("allow", {})
    found = allowed.get(command)
    if found is None:
        raise ToolError(f"no such command: {command}; the playbook has: {', '.join(allowed)}")
    if arguments and not found.get("extra_arguments"):
        raise ToolError(f"the playbook lets nobody add arguments to: {command}")
    argv = [*found["run"], *(arguments or [])]
    reads = found.get("effect") == "read"
    if found.get("in_pod"):
        if not reads:
            raise ToolError(f"only commands with effect: read run in pods: {command}")
        return _in_pod(ctx, argv, pod, namespace or ctx.namespace)
    if reads:
        done = ctx.world.processes.run(argv, timeout=SECONDS)
        return _observed(argv, done.code, done.stdout, done.stderr, "local")
    return Change(
        ChangeKind.RUN_COMMAND,
        ObjectRef("Command", "local", command),
        before={},
        after={"/argv": argv},
        why=why or "no reason given",
        no_undo="a command cannot be taken back",
    )


def _in_pod(ctx: ToolContext, argv: list[str], pod: str, namespace: str) -> Observation:
    if not pod:
        raise ToolError("this command runs in a pod: say which")
    name = pod.removeprefix("pod/")
    done = ctx.world.cluster.exec(namespace, name, "", argv, SECONDS)
    return _observed(argv, done.code, done.stdout, done.stderr, f"Pod/{namespace}/{name}")


def _observed(
    argv: list[str], code: int | None, stdout: str, stderr: str, where: str
) -> Observation:
    ended = f"exit code {code}" if code is not None else f"stopped after {SECONDS:g} s"
    lines = [f"{shlex.join(argv)} ({where}): {ended}", *_some(stdout)]
    if stderr.strip():
        lines += ["stderr:", *_some(stderr)]
    data = {"argv": argv, "code": code, "stdout": stdout, "stderr": stderr}
    return Observation("\n".join(lines), data, "process", where)


def _some(output: str) -> list[str]:
    lines = output.rstrip().splitlines()
    if len(lines) <= HEAD + TAIL:
        return lines
    cut = len(lines) - HEAD - TAIL
    return [*lines[:HEAD], f"... {cut} lines cut ...", *lines[-TAIL:]]
