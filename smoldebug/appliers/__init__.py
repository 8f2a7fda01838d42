"""How each family of changes is carried out, read back and compared. `change.py` is the caller."""

from smoldebug.appliers.branches import BranchApplier, PullRequestApplier
from smoldebug.appliers.differences import masked
from smoldebug.appliers.objects import KubeApplier
from smoldebug.appliers.processes import CommandApplier, ServerApplier
from smoldebug.appliers.protocol import Applier, Preview
from smoldebug.appliers.releases import ReleaseApplier
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.records import OF_RELEASE, ChangeKind
from smoldebug.sources.world import World

__all__ = [
    "Applier",
    "BranchApplier",
    "CommandApplier",
    "KubeApplier",
    "Preview",
    "ReleaseApplier",
    "ServerApplier",
    "appliers",
    "masked",
]


def appliers(
    world: World, server: ServerApplier, command: CommandApplier, kubeconfig: str = ""
) -> dict[ChangeKind, Applier]:
    """Who carries out which kind. Kinds that later versions bring are missing on purpose."""
    kube = KubeApplier(lambda: world.cluster, kubeconfig)
    found: dict[ChangeKind, Applier] = dict.fromkeys(KUBE_KINDS, kube)
    found[ChangeKind.PROCESS_RESTART] = server
    found[ChangeKind.RUN_COMMAND] = command
    if world.has_cluster:
        found |= dict.fromkeys(OF_RELEASE, ReleaseApplier(world, kubeconfig))
    if world.has_repository:
        found[ChangeKind.GIT_COMMIT] = BranchApplier(world)
        found[ChangeKind.PULL_REQUEST] = PullRequestApplier(world)
    return found
