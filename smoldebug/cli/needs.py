"""What a playbook needs of the outside worlds: a cluster, a Prometheus, a look at what is red."""

from collections.abc import Sequence

from smoldebug.events import FirstCard
from smoldebug.goal import red_lights
from smoldebug.guard import ScopedCluster
from smoldebug.playbook.models import Check, Playbook
from smoldebug.playbook.rules import checks_of
from smoldebug.records import Fact
from smoldebug.signals.first_card import first_card
from smoldebug.sources.http import service_of
from smoldebug.sources.world import World

CLUSTER_CHECKS = ("object", "rollout", "restarts", "logs", "findings", "covers_cluster")


def checks(playbook: Playbook) -> list[Check]:
    """Every single check of the goal."""
    return list(checks_of([*playbook.goal.all, *playbook.goal.any]))


def metrics_url(playbook: Playbook, named: str) -> str:
    """The Prometheus of a run: the one named on the command line, else the playbook's, else ""."""
    return named or (playbook.tools.metrics.url if playbook.tools.metrics else "")


def goal_needs_cluster(playbook: Playbook, prometheus: str) -> bool:
    """Whether the goal does; the tools of the playbook are not looked at."""
    known = checks(playbook)
    urls = [check.http.url for check in known if check.http]
    if any(check.metric or check.ratio for check in known):
        urls.append(prometheus)
    return any(map(service_of, urls)) or any(
        getattr(check, kind) for check in known for kind in CLUSTER_CHECKS
    )


class FirstLook:
    """The first card, taken when asked for; the `findings` check reads its red lights afresh."""

    def __init__(self, playbook: Playbook, world: World) -> None:
        self._playbook, self._world = playbook, world

    def __call__(self) -> FirstCard:
        cluster = ScopedCluster(self._world.cluster, self._playbook)
        return first_card(cluster, self._playbook.scope.namespaces, self._world.clock)

    def red(self) -> Sequence[Fact]:
        return red_lights(self())
