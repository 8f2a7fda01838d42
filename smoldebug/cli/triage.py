"""`smoldebug triage`: investigate and repair until the goal of a playbook is met."""

from pathlib import Path
from typing import Annotated

import typer

from smoldebug.cli.options import (
    AllowCode,
    ApiBase,
    Approval,
    BreakGlass,
    Context,
    Kubeconfig,
    Models,
    Namespace,
    Output,
    SetInput,
)

DEFAULT = "triage"  # the shipped playbook that needs no -p
EXAMPLES = """\
Examples:

  smoldebug triage deployment/checkout -n shop

  smoldebug triage -p triage-502 --set service=checkout

  smoldebug triage -p ./mine.yaml --model openai/gpt-oss-20b --api-base URL

  smoldebug triage -p ./mine.yaml -y -o json --report markdown=report.md

Exit status: 0 met, 1 not met, 2 usage, 3 inconclusive, 4 not met and undone, 5 undo failed,
6 a limit, 7 needs approval, 8 unreachable, 130 interrupted.
"""


def triage(
    target: Annotated[
        str, typer.Argument(metavar="[KIND/NAME]", help="What is broken, for the default playbook.")
    ] = "",
    playbook: Annotated[
        str, typer.Option("--playbook", "-p", help="Playbook: a name or a file.")
    ] = DEFAULT,
    inputs: SetInput = None,
    namespace: Namespace = "",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    model: Models = None,
    api_base: ApiBase = "",
    prometheus: Annotated[
        str, typer.Option(help="Prometheus URL, in place of the playbook's; *.svc works.")
    ] = "",
    approval: Approval = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Answer approvals with yes; skips no limit.")
    ] = False,
    break_glass: BreakGlass = "",
    tools: Annotated[
        list[Path] | None, typer.Option(help="Folder with tools of your own (Python files).")
    ] = None,
    allow_code: AllowCode = False,
    output: Output = None,
    report: Annotated[
        list[str] | None, typer.Option(help="Also write FORMAT=PATH: markdown or json.")
    ] = None,
) -> int:
    """Find out why a goal does not hold, repair it, and prove that it holds.

    Without -p the shipped playbook `triage` looks after every workload of the namespace.
    """
    from smoldebug.cli.drive import drive, report_paths
    from smoldebug.cli.options import Options, current_namespace, load_plan
    from smoldebug.errors import UsageError

    if playbook == DEFAULT and not namespace:
        namespace = current_namespace(context, kubeconfig)
    plan = load_plan(playbook, inputs, target=target, namespace=namespace, approval=approval)
    if plan.playbook.steps:
        name = plan.playbook.name
        raise UsageError(f"playbook {name} has steps", hint=f"smoldebug validate -p {playbook}")
    options = Options(
        context=context,
        kubeconfig=kubeconfig,
        target=target,
        namespace=namespace,
        models=tuple(model or ()),
        api_base=api_base,
        prometheus=prometheus,
        tools=tuple(tools or ()),
        allow_code=allow_code,
        yes=yes,
        break_glass=break_glass,
    )
    return drive(plan, options, output, report_paths(report or ()))
