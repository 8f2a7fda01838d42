"""The real outside worlds of a run, wired together; each is opened when first asked for."""

import os
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from smoldebug.clock import Clock
from smoldebug.errors import AccessDenied, NotFound, UsageError
from smoldebug.records import ObjectRef
from smoldebug.sources import kubeconfig
from smoldebug.sources.http import Router, service_of
from smoldebug.sources.process import LocalProcesses
from smoldebug.sources.world import Metrics, World

if TYPE_CHECKING:
    from smoldebug.sources.helm import Helm
    from smoldebug.sources.kube import KubeCluster


def open_world(
    *,
    clock: Clock,
    context: str | None = None,
    config: str | None = None,
    metrics_url: str = "",
    needs_cluster: bool = True,
) -> World:
    """`config` is a kubeconfig file. Nothing is read or sent before it is first used; what can go
    wrong then is documented on each source. Close the World when done."""

    @cache
    def cluster() -> "KubeCluster":
        from smoldebug.sources.kube import connect

        return connect(context, config, clock)

    def metrics(world: World) -> Metrics:
        from smoldebug.sources.prometheus import Prometheus

        service = service_of(metrics_url)
        if service is None or _inside(context, config):
            return Prometheus(metrics_url, clock)
        if not world.has_cluster:
            raise UsageError(f"only a cluster can reach: {metrics_url}")
        return Prometheus(metrics_url, clock, cluster().http_access(service, metrics_url))

    def helm(world: World) -> "Helm":
        from smoldebug.sources.helmcli import LONGEST_OUTPUT, open_helm

        def answers() -> None:
            with suppress(NotFound, AccessDenied):  # that is an answer, too
                world.cluster.get(ObjectRef("Namespace", "", "kube-system"))

        # One that went on alone would apply what a run taken up again has taken back by then
        ours = LocalProcesses(LONGEST_OUTPUT, die_with_us=True)
        return open_helm(ours, context, config, answers)

    def http(world: World) -> Router:
        return Router(lambda: world.cluster, inside=needs_cluster and _inside(context, config))

    return World(
        clock,
        LocalProcesses(),
        cluster=cluster if needs_cluster else None,
        http=http,
        metrics=metrics if metrics_url else None,
        helm=helm if needs_cluster else None,
    )


def _inside(context: str | None, config: str | None) -> bool:
    """Whether this process is a pod of the very cluster the run is about."""
    try:
        return not kubeconfig.choose(context, config, os.environ).files
    except UsageError:
        return False
