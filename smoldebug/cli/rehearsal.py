"""`patch --dry-run`: what a patch would change, with nothing committed, pushed or recorded."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import typer

from smoldebug.cli.options import Options
from smoldebug.cli.repositories import use_repository
from smoldebug.clock import SystemClock
from smoldebug.coverage import by_need, counted, outcome, place
from smoldebug.edits.draft import drafted
from smoldebug.playbook.models import RunPlan
from smoldebug.redact import Redactor
from smoldebug.sources.open import open_world
from smoldebug.sources.repository import Repository
from smoldebug.status import ExitStatus
from smoldebug.untrusted import inert, one_line, plain


def rehearse(plan: RunPlan, options: Options) -> ExitStatus:
    """The diff on stdout, the coverage table on stderr. Exit 1 when something cannot be edited."""
    masks = Redactor()
    world = open_world(clock=SystemClock(), needs_cluster=False)
    with tempfile.TemporaryDirectory(prefix="smoldebug-") as folder:
        use_repository(world, plan, options, Path(folder))
        try:
            repository = world.repository
            start = repository.start()
            done = drafted(plan.playbook, repository.tree(start))
            text = _diff(repository, start, done.files)
        finally:
            world.close()
    for data in done.files.values():  # a diff may show a secret without its name
        masks.text(data.decode(errors="replace"))
    typer.echo(inert(masks.text(plain(text))), nl=False)
    rows = (f"{place(row)}  {row.ref}  {outcome(row)}" for row in by_need(done.edited))
    for line in (*rows, *done.problems, *done.warnings):
        typer.echo(inert(masks.text(one_line(line, 500))), err=True)
    typer.echo(f"{counted(done.edited)}; nothing was pushed", err=True)
    refused = any(row.state == "refused" for row in done.edited)
    return ExitStatus.NOT_MET if refused else ExitStatus.MET


def _diff(repository: Repository, start: str, files: Mapping[str, bytes]) -> str:
    if not files:
        return ""
    return repository.diff(start, repository.commit(start, files, "smoldebug patch --dry-run"))
