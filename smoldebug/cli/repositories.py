"""The Git repository and the forge of a run: whose clone, whose token."""

from pathlib import Path

from smoldebug.cli.options import Options
from smoldebug.playbook.models import RunPlan
from smoldebug.sources.world import World


def use_repository(world: World, plan: RunPlan, options: Options, folder: Path) -> None:
    """Give the world the repository of the playbook, if it has one; opened on first use."""


def described(world: World) -> str:
    """`shop/manifests, main -> smoldebug/FLAG`."""
    return ""
