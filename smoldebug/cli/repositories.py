"""The Git repository and the forge of a run: whose clone, whose token."""

import os
from functools import cache
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

    @cache
    def repository() -> "Clone":
        from smoldebug.sources.forge.open import kind_at
        from smoldebug.sources.gitclone import open_clone

        def token(host: str) -> str:
            return _token(playbook, kind_at(settings, host))

        return open_clone(folder, repo=options.repo or _repo(playbook), git=git, token=token)

    @cache
    def forge() -> "Forge | None":
        from smoldebug.sources.forge.open import open_forge

        def token(kind: str, host: str) -> str:
            return _token(playbook, kind)

        return open_forge(settings, repository().url, token, world.clock)

    world.use_repository(repository, forge)


def described(world: World) -> str:
    """`shop/manifests, main -> smoldebug/FLAG`."""
    repository = world.repository
    return f"{repository.name}, {repository.base} -> {repository.branch}"


def _repo(playbook: Playbook) -> str:
    named = [each.manifests.repo for each in checks(playbook) if each.manifests]
    named += [each.edited.repo for each in checks(playbook) if each.edited]
    return next(iter(named), ".")


def _token(playbook: Playbook, kind: str) -> str:
    """The one for a kind of forge, of the variables that the playbook names; "" for none."""
    from smoldebug.sources.forge.site import forge_token

    secret = playbook.secrets.get("forge_token")
    named = secret.from_env if secret else TOKENS
    names = [named] if isinstance(named, str) else named
    return forge_token(names, os.environ, kind) if kind else ""
