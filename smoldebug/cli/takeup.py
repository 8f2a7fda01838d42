"""Taking up what an earlier run left: its journal, its cluster, an executor for its changes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IWGRP, S_IWOTH

from smoldebug import journal
from smoldebug.change import Executor
from smoldebug.cli.assemble import mask_key, uses_cluster
from smoldebug.cli.changing import executor, guard, same_cluster, whereabouts, who
from smoldebug.cli.kept import kept
from smoldebug.cli.needs import metrics_url
from smoldebug.cli.repositories import use_repository
from smoldebug.clock import SystemClock
from smoldebug.errors import UsageError
from smoldebug.events import Stamped
from smoldebug.past import Past
from smoldebug.playbook.policy import load_policies, personal_data
from smoldebug.records import Answer, Card, Decision, Who
from smoldebug.redact import Redactor, use_key
from smoldebug.sources.open import open_world


def idle(folder: Path) -> list[Stamped]:
    """The journal of a run that nobody is working on, to be acted on: what it says may be sent.

    Raises UsageError while somebody is, or where somebody else may write to it.
    """
    path = folder / "journal.jsonl"
    for each in (folder, path):
        if why := _foreign(each):
            raise UsageError(
                f"{each} {why}: what it says would be sent as you",
                hint=f"`smoldebug runs show {folder.name}` reads it; `chown` and `chmod go-w` "
                "make it yours, if you trust it",
            )
    if journal.is_open(path):
        raise UsageError(
            f"this run is still going on: {folder.name}", hint="end it first, with Ctrl-C"
        )
    return journal.read(path)


def _foreign(path: Path) -> str:
    """Why somebody else may have written it, or ""."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        return "belongs to another user"
    return "may be written by others" if found.st_mode & (S_IWGRP | S_IWOTH) else ""


@contextmanager
def reopened(folder: Path, past: Past) -> Iterator[tuple[Executor, Who]]:
    """An executor for the changes of a run, on the cluster it ran on, and who is using it.

    Raises UsageError when its context is gone, or leads to another cluster now.
    """
    found = kept(past.started)
    playbook = found.plan.playbook
    use_key(mask_key(folder))
    world = open_world(
        clock=SystemClock(),
        context=found.options.context,
        config=found.options.kubeconfig,
        needs_cluster=uses_cluster(playbook, metrics_url(playbook, found.options.prometheus)),
    )
    use_repository(world, found.plan, found.options, folder)
    try:
        place = whereabouts(world, past.run)
        same_cluster(past.started, place)
        policies = load_policies()
        redactor = Redactor(classes=personal_data(playbook, policies))
        rules = guard(found.plan, place, policies)
        yield executor(rules, found.options, _nobody, world, place, redactor), who(world)
    finally:
        world.close()


def _nobody(card: Card) -> Decision:
    return Decision(Answer.NO, "nobody", "an undo proposes nothing")
