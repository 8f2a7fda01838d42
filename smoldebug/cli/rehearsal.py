"""`patch --dry-run`: what a patch would change, with nothing committed, pushed or recorded."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import typer

from smoldebug.cli.needs import checks
from smoldebug.cli.options import Options
from smoldebug.cli.repositories import use_repository
from smoldebug.clock import SystemClock
from smoldebug.coverage import by_need, counted, outcome, place
from smoldebug.edits.draft import draft
from smoldebug.playbook.models import RunPlan
from smoldebug.redact import Redactor
from smoldebug.sources.open import open_world
from smoldebug.sources.repository import Repository
from smoldebug.status import ExitStatus
from smoldebug.untrusted import inert


def rehearse(plan: RunPlan, options: Options) -> ExitStatus:
    """The diff on stdout, the coverage table on stderr. Exit 1 when something cannot be edited."""
    playbook, masks = plan.playbook, Redactor()
    world = open_world(clock=SystemClock(), needs_cluster=False)
    with tempfile.TemporaryDirectory(prefix="smoldebug-") as folder:
        use_repository(world, plan, options, Path(folder))
        try:
            repository = world.repository
            start = repository.start()
            known = (check.manifests for check in checks(playbook) if check.manifests)
            tree = repository.tree(start)
            done = draft(tree, playbook.edits, next(known, None), playbook.scope.paths)
            text = _diff(repository, start, done.files)
        finally:
            world.close()
    typer.echo(inert(masks.text(text)), nl=False)
    for row in by_need(done.edited):
        typer.echo(inert(f"{place(row)}  {row.ref}  {outcome(row)}"), err=True)
    for problem in (*done.problems, *done.warnings):
        typer.echo(inert(problem), err=True)
    typer.echo(f"{counted(done.edited)}; nothing was pushed", err=True)
    refused = any(row.state == "refused" for row in done.edited)
    return ExitStatus.NOT_MET if refused else ExitStatus.MET


def _diff(repository: Repository, start: str, files: Mapping[str, bytes]) -> str:
    if not files:
        return ""
    return repository.diff(start, repository.commit(start, files, "smoldebug patch --dry-run"))
