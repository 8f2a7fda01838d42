"""`smoldebug validate`: a playbook's steps in every cluster, proven or taken back."""

from pathlib import Path
from typing import Annotated

import typer

from smoldebug.cli.options import (
    ApiBase,
    Approval,
    BreakGlass,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    SetInput,
)

EXAMPLES = """\
Examples:

  smoldebug validate -p helm-upgrade --set version=2.5.0 --dry-run

  smoldebug validate -p helm-upgrade --set version=2.5.0

  smoldebug validate -p helm-upgrade --set version=2.5.0 --set clusters=eu,us --set chart=./platform

  smoldebug validate -p helm-upgrade --set version=2.5.0 --output github --junit report.xml

  smoldebug validate -p helm-upgrade --set version=2.5.0 --kubeconfig eu.yaml:us.yaml -y

Exit status: 0 every cluster holds, 2 usage, 3 inconclusive (a baseline does not hold), 4 one broke
and was taken back, 5 taking back failed, 6 a limit, 7 needs approval, 8 unreachable,
130 interrupted. Over several clusters 5 > 130 > 4 > 6 > 7 > 8 > 3 > 1 > 0.
"""


def validate(
    playbook: Annotated[
        str, typer.Option("--playbook", "-p", help="Playbook with steps: a name or a file.")
    ],
    inputs: SetInput = None,
    namespace: Namespace = "",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Asked to explain a failure; see triage --help."),
    ] = None,
    api_base: ApiBase = "",
    prometheus: Annotated[
        str, typer.Option(help="Prometheus URL, in place of the playbook's; *.svc works.")
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what each step would change, whole on stdout; change nothing."
        ),
    ] = False,
    approval: Approval = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Answer approvals with yes; skips no limit.")
    ] = False,
    break_glass: BreakGlass = "",
    output: Output = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here.")] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Write a Markdown summary of all clusters here.")
    ] = None,
    comment: Annotated[
        bool,
        typer.Option("--comment", help="In CI: keep one comment on the pull request up to date."),
    ] = False,
) -> int:
    """Upgrade cluster after cluster, watch every service, roll back what breaks, name who broke it.

    The goal must hold before the first step, or that cluster is not touched. With a matrix in the
    playbook the first cluster is the canary: if it breaks, the next ones are not begun.
    """
    from smoldebug.cli.fleet import drive
    from smoldebug.cli.options import Options
    from smoldebug.cli.reports import Wanted

    options = Options(
        context=context,
        kubeconfig=kubeconfig,
        namespace=namespace,
        models=tuple(model or ()),
        api_base=api_base,
        prometheus=prometheus,
        yes=yes,
        break_glass=break_glass,
        command="validate",
    )
    wanted = Wanted(output=output, junit=junit, summary=summary, comment=comment)
    if dry_run:
        from smoldebug.cli.foresee import foresee

        return foresee(playbook, inputs or (), approval, options, wanted)
    return drive(playbook, inputs or (), approval, options, wanted)
