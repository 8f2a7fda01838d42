"""`smoldebug lab`: a practice cluster on this machine, to break and to repair."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli import forge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smoldebug.lab.control import LabInfo, LabStatus

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

  smoldebug lab up --clusters 3                 # eu-staging, us-staging, ap-staging: no shop
"""
DOWN_EXAMPLES = """\
Examples:

  smoldebug lab down
"""
STATUS_EXAMPLES = """\
Examples:

  smoldebug lab status

  smoldebug lab status --output json | jq .faults

  smoldebug lab status -o json | jq '.clusters[].requests'   # what clients asked so far
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
LOAD_IMAGE_EXAMPLES = """\
Examples:

  smoldebug lab load-image shop/services:2.5.0 ./image -- python3 /app/service.py
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
Cluster = Annotated[str, typer.Option(help="Which of several clusters.")]


@app.command(epilog=UP_EXAMPLES)
def up(
    folder: Folder = None,
    port: Annotated[int, typer.Option(help="Of the API server; 0 takes any free one.")] = 0,
    foreground: Annotated[bool, typer.Option(help="Stay, until Ctrl-C.")] = False,
    manifests: Annotated[
        list[Path] | None,
        typer.Option(help="Also apply the objects of this file or folder. Repeat for more."),
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(min=1, max=5, help="So many bare clusters, in one kubeconfig.")
    ] = None,
    bare: Annotated[bool, typer.Option(help="Without the shop and its customers.")] = False,
) -> int:
    """Start the practice cluster: a shop with its customers, ready in about two seconds."""
    place = _place(folder)
    if clusters and port:
        from smoldebug.errors import UsageError

        raise UsageError("each of several clusters takes a free port", "leave out --port")
    bring = _bringing(manifests or [])
    typer.echo("starting the lab ...", err=True)
    infos = _start(place, clusters, port=port, foreground=foreground, bare=bare)
    try:
        for info in infos:
            bring(info.kubeconfig)
    except BaseException:
        _stop(place)
        raise
    if clusters:
        for info in infos:
            typer.echo(f"{info.name} is up: {info.url}", err=True)
    else:
        typer.echo(f"lab is up: {infos[0].url}", err=True)
    typer.echo(f"export KUBECONFIG={_kubeconfig(place)}")
    if foreground:
        _stay(place)
    return 0


@app.command(epilog=DOWN_EXAMPLES)
def down(folder: Folder = None) -> int:
    """Stop the practice cluster, or all of several, and all their processes."""
    stopped = _stop(_place(folder))
    typer.echo("lab is down" if stopped else "no lab was running", err=True)
    return 0


@app.command(epilog=STATUS_EXAMPLES)
def status(
    folder: Folder = None,
    output: Annotated[StatusFormat, typer.Option("--output", "-o")] = StatusFormat.TEXT,
) -> int:
    """Say whether the lab runs and what is broken in it. Exit 1 when it does not run."""
    from smoldebug.lab import clusters, control

    place = _place(folder)
    infos = clusters.find(place)
    found = [control.status(info.folder) for info in infos] or [control.status(place)]
    running = [each for each in found if each]
    if output is StatusFormat.JSON:
        typer.echo(_as_json(running, place if infos else None))
    else:
        typer.echo("\n".join(map(_as_text, running)) or "lab is not running")
    return 0 if running else 1


@app.command("break", epilog=BREAK_EXAMPLES)
def break_(
    name: Annotated[str, typer.Argument(help="A fault: see `smoldebug lab faults`.")],
    folder: Folder = None,
    cluster: Cluster = "",
) -> int:
    """Bring a fault into the lab."""
    from smoldebug.lab import clusters, control

    control.break_(clusters.pick(_place(folder), cluster), name)
    typer.echo(f"broken: {name}", err=True)
    return 0


@app.command(epilog=FIX_EXAMPLES)
def fix(
    name: Annotated[str, typer.Argument(help="A fault; without it all of them.")] = "",
    folder: Folder = None,
    cluster: Cluster = "",
) -> int:
    """Take a fault, or all of them, out of the lab again."""
    from smoldebug.lab import clusters, control

    fixed = control.fix(clusters.pick(_place(folder), cluster), name)
    typer.echo(f"fixed: {', '.join(fixed)}" if fixed else "nothing was broken", err=True)
    return 0


@app.command(epilog=KUBECONFIG_EXAMPLES)
def kubeconfig(folder: Folder = None) -> int:
    """Print the path of the lab's kubeconfig."""
    from smoldebug.errors import UsageError
    from smoldebug.lab import clusters, control

    place = _place(folder)
    if control.find(place) is None and not clusters.find(place):
        raise UsageError(f"no lab runs in {place}", "smoldebug lab up")
    typer.echo(str(_kubeconfig(place)))
    return 0


@app.command("load-image", epilog=LOAD_IMAGE_EXAMPLES)
def load_image(
    name: Annotated[str, typer.Argument(help="Such as shop/services:2.5.0.")],
    files: Annotated[Path, typer.Argument(help="The image's files; copied.")],
    command: Annotated[list[str], typer.Argument(help="What its containers run.")],
    folder: Folder = None,
) -> int:
    """Make an image for the lab's pods of a folder and a command, in every cluster."""
    from smoldebug.lab import images

    images.load(_place(folder) / images.FOLDER, name, files.absolute(), command)
    typer.echo(f"loaded: {name}", err=True)
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


def _start(
    place: Path, count: int | None, *, port: int, foreground: bool, bare: bool
) -> "list[LabInfo]":
    from smoldebug.lab import clusters, control

    clusters.check_free(place)
    if count:
        return clusters.start(place, count, dies_with_parent=foreground)
    options = ["--bare"] if bare else []
    return [control.start(place, port=port, dies_with_parent=foreground, options=options)]


def _stop(place: Path) -> bool:
    from smoldebug.lab import clusters, control

    return clusters.stop(place) or control.stop(place)


def _kubeconfig(place: Path) -> Path:
    from smoldebug.lab.control import KUBECONFIG

    return place / KUBECONFIG


def _stay(place: Path) -> None:
    import time

    from smoldebug.lab import clusters, control

    try:
        while control.find(place) or clusters.find(place):
            time.sleep(0.2)
    finally:
        _stop(place)


def _as_json(running: "list[LabStatus]", several: Path | None) -> str:
    """One lab as it is; of several (their folder) each below its name."""
    import json

    if not running:
        return json.dumps({"running": False})
    if several is None:
        return json.dumps({"running": True, **_described(running[0])})
    found = {each.info.name: _described(each) for each in running}
    head = {"running": True, "folder": str(several), "kubeconfig": str(_kubeconfig(several))}
    return json.dumps({**head, "clusters": found})


def _described(found: "LabStatus") -> dict[str, object]:
    return {
        "folder": str(found.info.folder),
        "pid": found.info.pid,
        "url": found.info.url,
        "kubeconfig": str(found.info.kubeconfig),
        "started": found.info.started,
        "faults": list(found.faults),
        "customers_per_second": found.customers_per_second,
        "pods": found.pods,
        "pods_ready": found.pods_ready,
        "requests": dict(found.requests),
    }


def _as_text(found: "LabStatus") -> str:
    info = found.info
    asked = sum(found.requests.values())
    return (
        f"{info.name} is up since {info.started}: {info.url} (process {info.pid})\n"
        f"pods ready: {found.pods_ready}/{found.pods}\n"
        f"customers:  {found.customers_per_second:g} requests per second\n"
        f"broken:     {', '.join(found.faults) or 'nothing'}\n"
        f"answered:   {asked} API requests"
    )
