"""`smoldebug lab`: a practice cluster on this machine, to break and to repair."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli import forge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smoldebug.lab.control import LabStatus

app = typer.Typer(
    help="A practice cluster on this machine: real processes, loopback only. Break it, repair it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(forge.app, name="forge")

UP_EXAMPLES = """\
Examples:

  smoldebug lab up

  export KUBECONFIG=$(smoldebug lab kubeconfig); kubectl -n shop get pods

  smoldebug lab up --foreground --dir ./lab     # Ctrl-C ends it

  smoldebug lab up --manifests ./deploy/staging # beside the shop, your own objects
"""
DOWN_EXAMPLES = """\
Examples:

  smoldebug lab down
"""
STATUS_EXAMPLES = """\
Examples:

  smoldebug lab status

  smoldebug lab status --output json | jq .faults
"""
BREAK_EXAMPLES = """\
Examples:

  smoldebug lab faults                          # what can be broken

  smoldebug lab break traffic-surge

  export KUBECONFIG=$(smoldebug lab kubeconfig)

  smoldebug triage -p triage-502 --set service=checkout
"""
FIX_EXAMPLES = """\
Examples:

  smoldebug lab fix traffic-surge

  smoldebug lab fix                             # everything
"""
KUBECONFIG_EXAMPLES = """\
Examples:

  export KUBECONFIG=$(smoldebug lab kubeconfig)
"""
FAULTS_EXAMPLES = """\
Examples:

  smoldebug lab faults
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
    port: Annotated[int, typer.Option(help="Of the API server; 0 takes any free one.")] = 0,
    foreground: Annotated[bool, typer.Option(help="Stay, until Ctrl-C.")] = False,
    manifests: Annotated[
        list[Path] | None,
        typer.Option(help="Also apply the objects of this file or folder. Repeat for more."),
    ] = None,
) -> int:
    """Start the practice cluster: a shop with its customers, ready in about two seconds."""
    from smoldebug.lab import control

    place = _place(folder)
    bring = _bringing(manifests or [])
    typer.echo("starting the lab ...", err=True)
    info = control.start(place, port=port, dies_with_parent=foreground)
    try:
        bring(info.kubeconfig)
    except BaseException:
        control.stop(place)
        raise
    typer.echo(f"lab is up: {info.url}", err=True)
    typer.echo(f"export KUBECONFIG={info.kubeconfig}")
    if foreground:
        _stay(place)
    return 0


@app.command(epilog=DOWN_EXAMPLES)
def down(folder: Folder = None) -> int:
    """Stop the practice cluster and all its processes."""
    from smoldebug.lab import control

    stopped = control.stop(_place(folder))
    typer.echo("lab is down" if stopped else "no lab was running", err=True)
    return 0


@app.command(epilog=STATUS_EXAMPLES)
def status(
    folder: Folder = None,
    output: Annotated[StatusFormat, typer.Option("--output", "-o")] = StatusFormat.TEXT,
) -> int:
    """Say whether the lab runs and what is broken in it. Exit 1 when it does not run."""
    from smoldebug.lab import control

    found = control.status(_place(folder))
    typer.echo(_as_json(found) if output is StatusFormat.JSON else _as_text(found))
    return 0 if found else 1


@app.command("break", epilog=BREAK_EXAMPLES)
def break_(
    name: Annotated[str, typer.Argument(help="A fault: see `smoldebug lab faults`.")],
    folder: Folder = None,
) -> int:
    """Bring a fault into the lab."""
    from smoldebug.lab import control

    control.break_(_place(folder), name)
    typer.echo(f"broken: {name}", err=True)
    return 0


@app.command(epilog=FIX_EXAMPLES)
def fix(
    name: Annotated[str, typer.Argument(help="A fault; without it all of them.")] = "",
    folder: Folder = None,
) -> int:
    """Take a fault, or all of them, out of the lab again."""
    from smoldebug.lab import control

    fixed = control.fix(_place(folder), name)
    typer.echo(f"fixed: {', '.join(fixed)}" if fixed else "nothing was broken", err=True)
    return 0


@app.command(epilog=KUBECONFIG_EXAMPLES)
def kubeconfig(folder: Folder = None) -> int:
    """Print the path of the lab's kubeconfig."""
    from smoldebug.errors import UsageError
    from smoldebug.lab import control

    place = _place(folder)
    info = control.find(place)
    if info is None:
        raise UsageError(f"no lab runs in {place}", "smoldebug lab up")
    typer.echo(str(info.kubeconfig))
    return 0


@app.command(epilog=FAULTS_EXAMPLES)
def faults() -> int:
    """List what can be broken."""
    from smoldebug.lab.faults import TITLES

    width = max(map(len, TITLES))
    for slug, title in TITLES.items():
        typer.echo(f"{slug:{width}}  {title}")
    return 0


def _bringing(manifests: "Sequence[Path]") -> "Callable[[Path], None]":
    """What puts these manifests into a cluster; they are read before there is one."""
    if not manifests:
        return lambda kubeconfig: None
    from smoldebug.cli import seed

    documents = seed.read(manifests)

    def bring(kubeconfig: Path) -> None:
        for line in seed.unknown(documents):
            typer.echo(f"left out: {line}", err=True)
        typer.echo(f"applied: {seed.apply(documents, kubeconfig)} objects", err=True)

    return bring


def _place(folder: Path | None) -> Path:
    if folder is not None:
        return folder.absolute()
    from smoldebug.journal import runs_folder

    return runs_folder().parent / "lab"


def _stay(place: Path) -> None:
    import time

    from smoldebug.lab import control

    try:
        while control.find(place):
            time.sleep(0.2)
    finally:
        control.stop(place)


def _as_json(found: "LabStatus | None") -> str:
    import json

    if found is None:
        return json.dumps({"running": False})
    return json.dumps(
        {
            "running": True,
            "folder": str(found.info.folder),
            "pid": found.info.pid,
            "url": found.info.url,
            "kubeconfig": str(found.info.kubeconfig),
            "started": found.info.started,
            "faults": list(found.faults),
            "customers_per_second": found.customers_per_second,
            "pods": found.pods,
            "pods_ready": found.pods_ready,
        }
    )


def _as_text(found: "LabStatus | None") -> str:
    if found is None:
        return "lab is not running"
    return (
        f"lab is up since {found.info.started}: {found.info.url} (process {found.info.pid})\n"
        f"pods ready: {found.pods_ready}/{found.pods}\n"
        f"customers:  {found.customers_per_second:g} requests per second\n"
        f"broken:     {', '.join(found.faults) or 'nothing'}"
    )
