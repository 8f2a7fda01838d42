"""The Git repository and the forge of a run: whose clone, whose token."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from smoldebug.cli.needs import checks
from smoldebug.cli.options import Options
from smoldebug.playbook.models import Playbook, RunPlan
from smoldebug.playbook.patches import PullRequestTool
from smoldebug.sources.world import World

if TYPE_CHECKING:
    from smoldebug.sources.gitclone import Clone
    from smoldebug.sources.repository import Forge

TOKENS = ("GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "GITEA_TOKEN", "FORGEJO_TOKEN")


def use_repository(world: World, plan: RunPlan, options: Options, folder: Path) -> None:
    """Give the world the repository of the playbook, if it has one; opened on first use. The clone
    lies in `folder`, the run's, so that whoever takes the run up finds its commits."""
    playbook = plan.playbook
    git, settings = playbook.tools.git, playbook.tools.pull_request or PullRequestTool(forge="none")
    if git is None:
        return

    def repository() -> "Clone":
        from smoldebug.sources.forge.open import kind_at
        from smoldebug.sources.gitclone import open_clone

        def token(host: str) -> str:
            return _token(playbook, kind_at(settings, host), host)

        return open_clone(folder, repo=options.repo or _repo(playbook), git=git, token=token)

    def forge() -> "Forge | None":
        from smoldebug.sources.forge.open import open_forge

        def token(kind: str, host: str) -> str:
            return _token(playbook, kind, host)

        return open_forge(settings, world.repository.url, token, world.clock)

    world.use_repository(repository, forge)


def described(world: World) -> str:
    """`shop/manifests, main -> smoldebug/FLAG`."""
    repository = world.repository
    return f"{repository.name}, {repository.base} -> {repository.branch}"


def _repo(playbook: Playbook) -> str:
    named = [each.manifests.repo for each in checks(playbook) if each.manifests]
    named += [each.edited.repo for each in checks(playbook) if each.edited]
    return next(iter(named), ".")


def _token(playbook: Playbook, kind: str, host: str) -> str:
    """The one for a forge, of the variables that the playbook names; "" for none. Raises UsageError
    for a real one on its way to this machine: whatever listens here can say that it is a forge."""
    from smoldebug.errors import UsageError
    from smoldebug.sources.forge.remote import Remote
    from smoldebug.sources.forge.site import PRACTICE, forge_token

    secret, settings = playbook.secrets.get("forge_token"), playbook.tools.pull_request
    named = secret.from_env if secret else TOKENS
    names = [named] if isinstance(named, str) else named
    token = forge_token(names, os.environ, kind) if kind else ""
    host = host.lower()
    expected = settings is not None and settings.host.lower() == host
    if not token or expected or not Remote("http", host, "").loopback:
        return token
    if not token.startswith(PRACTICE):
        raise UsageError(
            f"no token but the practice forge's goes to {host} unless the playbook names it",
            hint=f"for `lab forge`, use its token; else set tools.pull_request.host: {host}",
        )
    return token
