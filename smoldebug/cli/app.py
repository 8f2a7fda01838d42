"""All commands in one place. Their modules import nothing heavy before they run."""

from typing import Annotated

import typer

from smoldebug.cli import (
    check,
    cost,
    demo,
    lab,
    models,
    patch,
    playbook_tests,
    playbooks,
    replay,
    resume,
    runs,
    triage,
    undo,
    validate,
)

app = typer.Typer(
    name="smoldebug",
    help="Find out why a goal does not hold, make it hold with changes that can be taken back, and "
    "prove it. Works without a model and without a network.",
    epilog="Start with: smoldebug demo",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # plain help: half the start time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("triage", epilog=triage.EXAMPLES)(triage.triage)
app.command("patch", epilog=patch.EXAMPLES)(patch.patch)
app.command("validate", epilog=validate.EXAMPLES)(validate.validate)
app.command("undo", epilog=undo.EXAMPLES)(undo.undo)
app.command("check", epilog=check.EXAMPLES)(check.check)
app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
app.add_typer(lab.app, name="lab")
app.add_typer(models.app, name="models")
playbooks.app.command("test", epilog=playbook_tests.EXAMPLES)(playbook_tests.run_tests)
app.add_typer(playbooks.app, name="playbooks")
runs.app.command("approve", epilog=resume.APPROVE_EXAMPLES)(resume.approve)
runs.app.command("resume", epilog=resume.RESUME_EXAMPLES)(resume.resume)
runs.app.command("replay", epilog=replay.EXAMPLES)(replay.replay)
app.add_typer(runs.app, name="runs")
app.command("cost", epilog=cost.EXAMPLES)(cost.cost)


@app.command()
def version() -> None:
    """Print the version."""
    from smoldebug import __version__

    typer.echo(f"smoldebug {__version__}")


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """`--debug` is read in `main`, before anything can fail."""
