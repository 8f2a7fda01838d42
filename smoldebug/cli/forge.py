"""`smoldebug lab forge`: a practice GitHub on this machine, for pull requests that are real."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="A practice forge on this machine: real Git repositories, pull requests and checks, "
    "shaped like GitHub. Loopback only.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

UP_EXAMPLES = """\
Examples:

  smoldebug lab forge up --repo shop/manifests=./manifests

  git clone http://127.0.0.1:8418/shop/manifests.git  # password: token

  smoldebug lab forge up --dir lab --port 8418  # token: lab/forge/token

Checks run on every commit of a pull request: those of .lab-ci.yaml on its base branch,
checks: [{name: validate, run: [python3, ci/validate.py]}]

The next request for pulls fails when told so (see smoldebug/lab/forge/faults.py):

  curl -u x:$TOKEN $URL/lab/faults -d '{"path": "*/pulls", "status": 403}'
"""
DOWN_EXAMPLES = """\
Examples:

  smoldebug lab forge down                               # what was pushed stays
"""
STATUS_EXAMPLES = """\
Examples:

  smoldebug lab forge status

  smoldebug lab forge status --output json | jq '.repositories[].pulls'
"""


class StatusFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


Folder = Annotated[
    Path | None, typer.Option("--dir", help="The lab's folder [default: in the user's state].")
]


@app.command(epilog=UP_EXAMPLES)
def up(
    folder: Folder = None,
    port: Annotated[int, typer.Option(help="To listen on; 0 takes any free one.")] = 0,
    repositories: Annotated[
        list[str] | None,
        typer.Option(
            "--repo",
            metavar="OWNER/NAME=FOLDER",
            help="Import a folder as the first commit of a repository, unless there is such a "
            "repository. Repeat for more.",
        ),
    ] = None,
) -> int:
    """Start the practice forge, or use the one that runs."""
    from smoldebug.lab import control
    from smoldebug.lab.folder import TOKEN

    wanted = [_repository(text) for text in repositories or []]
    place = _place(folder)
    info = control.find(place) or control.start(place, port=port, command="lab forge")
    typer.echo(f"forge is up: {info.url}", err=True)
    for name, files in wanted:
        control.add_repository(place, name, files)
    for repository in control.forge_status(place) or []:
        typer.echo(f"git clone {repository['clone_url']}")
    typer.echo(f"token: {place / TOKEN} (the password for git; GITHUB_TOKEN for others)", err=True)
    return 0


@app.command(epilog=DOWN_EXAMPLES)
def down(folder: Folder = None) -> int:
    """Stop the practice forge and the checks that run. Repositories and pull requests stay."""
    from smoldebug.lab import control

    stopped = control.stop(_place(folder))
    typer.echo("forge is down" if stopped else "no forge was running", err=True)
    return 0


@app.command(epilog=STATUS_EXAMPLES)
def status(
    folder: Folder = None,
    output: Annotated[StatusFormat, typer.Option("--output", "-o")] = StatusFormat.TEXT,
) -> int:
    """List repositories, pull requests and their checks. Exit 1 when no forge runs."""
    import json

    from smoldebug.lab import control

    found = control.forge_status(_place(folder))
    if output is StatusFormat.JSON:
        typer.echo(json.dumps({"running": found is not None, "repositories": found or []}))
    elif found is None:
        typer.echo("forge is not running")
    else:
        for repository in found:
            typer.echo("\n".join(_lines(repository)))
    return 1 if found is None else 0


def _lines(repository: dict[str, Any]) -> list[str]:
    from smoldebug.untrusted import one_line

    lines = [f"{repository['clone_url']}  branches: {repository['branches']}"]
    for pull in repository["pulls"]:
        lines.append(f"  #{pull['number']} {pull['state']}: {one_line(pull['title'])}")
        lines.append(f"     {pull['url']}")
        lines += [f"     {one_line(name)}: {how}" for name, how in pull["checks"].items()]
    return lines


def _repository(text: str) -> tuple[str, Path]:
    from smoldebug.errors import UsageError

    name, separator, folder = text.partition("=")
    if not separator or not Path(folder).is_dir():
        raise UsageError(f"--repo wants OWNER/NAME=FOLDER, and a folder that exists: {text}")
    return name, Path(folder)


def _place(folder: Path | None) -> Path:
    """Below the folder of the lab, which may run or not."""
    if folder is not None:
        return folder.absolute() / "forge"
    from smoldebug.journal import runs_folder

    return runs_folder().parent / "lab" / "forge"
