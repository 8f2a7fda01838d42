"""`smoldebug patch`: edit the manifests of a repository and open a pull request that passes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from smoldebug.cli.options import Options
    from smoldebug.playbook.models import RunPlan

FROM_RUN = "durable-fix"  # the shipped playbook of --from-run
EXAMPLES = """\
Examples:

  smoldebug patch -p add-env-var --set name=FEATURE_FLAG --set value=true

  smoldebug patch -p add-env-var --set namespace=shop --dry-run     # only show the diff

  smoldebug patch -p ./mine.yaml --repo https://github.com/acme/manifests -y -o json

  smoldebug patch -p add-env-var --patches ./out                    # git am reads these

  smoldebug patch --from-run last --repo ~/src/manifests            # make a triage's fix last

Exit status: 0 met or nothing to do, 1 not met, 2 usage, 3 inconclusive, 4 not met and undone,
5 undo failed, 6 a limit, 7 needs approval, 8 unreachable, 130 interrupted.
"""


def patch(
    playbook: Annotated[
        str, typer.Option("--playbook", "-p", help="Playbook: a name or a file.")
    ] = "",
    inputs: SetInput = None,
    from_run: Annotated[
        str, typer.Option(help="Make the live changes of this triage last: its id, or `last`.")
    ] = "",
    repo: Annotated[
        str, typer.Option(help="Repository, in place of the playbook's: a folder or a URL.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be changed; push nothing.")
    ] = False,
    patches: Annotated[
        Path | None, typer.Option(help="Write `git format-patch` files here; push nothing.")
    ] = None,
    namespace: Namespace = "",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="For what the edits do not cover; see triage --help."),
    ] = None,
    api_base: ApiBase = "",
    approval: Approval = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Answer approvals with yes; skips no limit.")
    ] = False,
    break_glass: BreakGlass = "",
    output: Output = None,
    report: Annotated[
        list[str] | None, typer.Option(help="Also write FORMAT=PATH: markdown or json.")
    ] = None,
) -> int:
    """Edit manifests in a repository and open one pull request; wait until its checks pass.

    The edits are made in a clone of the run's own: your checkout is never touched. One approval
    shows the whole diff before anything is pushed.
    """
    from smoldebug.cli.drive import drive, report_paths
    from smoldebug.cli.options import Options, load_plan
    from smoldebug.errors import UsageError

    if not playbook and not from_run:
        raise UsageError("say what to do: -p PLAYBOOK or --from-run RUN", hint="smoldebug patch -h")
    plan = load_plan(playbook or FROM_RUN, inputs, namespace=namespace, approval=approval)
    options = Options(
        context=context,
        kubeconfig=kubeconfig,
        namespace=namespace,
        models=tuple(model or ()),
        api_base=api_base,
        yes=yes,
        break_glass=break_glass,
        command="patch",
        repo=_repository(repo),
        patches=str(patches.expanduser().resolve()) if patches else "",
    )
    if patches:
        plan = _without_pull_request(plan)
    if from_run:
        from smoldebug.cli.durable import made_to_last

        plan, options = made_to_last(plan, options, from_run)
    if plan.playbook.tools.git is None:
        raise UsageError(f"playbook {plan.playbook.name} has no tools.git block: nothing to patch")
    return (
        _rehearse(plan, options)
        if dry_run
        else drive(plan, options, output, report_paths(report or ()))
    )


def _repository(given: str) -> str:
    """Absolute where it is a folder: a run that is taken up may be so from elsewhere."""
    remote = "://" in given or (":" in given and not Path(given).exists())
    return given if remote or not given else str(Path(given).expanduser().absolute())


def _without_pull_request(plan: "RunPlan") -> "RunPlan":
    """The goal of patch files: whoever gets them opens the pull request, or none."""
    from msgspec.structs import replace

    goal = plan.playbook.goal
    every, one = (
        [check for check in checks if check.pull_request is None] for checks in (goal.all, goal.any)
    )
    if every or one:
        goal = replace(goal, all=every, any=one)
    return replace(plan, playbook=replace(plan.playbook, goal=goal))


def _rehearse(plan: "RunPlan", options: "Options") -> int:
    from smoldebug.cli.rehearsal import rehearse

    return rehearse(plan, options)
