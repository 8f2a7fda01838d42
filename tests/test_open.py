"""The real worlds, wired: nothing is opened before it is needed, and what is missing is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import Practice, pod, practice, service, slice_of, web_server
from test_prometheus import ROUTES

from smoldebug.clock import FakeClock
from smoldebug.errors import UsageError
from smoldebug.sources.open import open_world
from smoldebug.sources.world import World


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Practice]:
    with web_server(ROUTES) as (url, _):
        port = int(url.rpartition(":")[2])
        slices = slice_of("prometheus", {"prometheus-0": True}, port)
        objects = [pod("prometheus-0", "prometheus"), service("prometheus", 9090), slices]
        with practice(tmp_path, *objects) as found:
            yield found


@pytest.fixture
def world(here: Practice) -> Iterator[World]:
    found = open_world(
        clock=FakeClock(), config=here.kubeconfig, metrics_url="http://prometheus.shop.svc:9090"
    )
    yield found
    found.close()


def test_metrics_http_and_cluster_of_one_kubeconfig(world: World) -> None:
    assert world.metrics.instant("up")[0].points[0][1] == 1.0
    route = world.http.get("http://prometheus.shop.svc:9090/api/v1/query?query=up").route
    assert route.startswith("proxy Pod/shop/prometheus-0:")
    assert world.cluster.list("pods", "shop")
    assert world.cluster is world.cluster


def test_nothing_is_opened_before_it_is_needed(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-file")
    world = open_world(clock=FakeClock(), config=missing, metrics_url="http://127.0.0.1:9")
    assert world.metrics is world.metrics
    with pytest.raises(UsageError, match="no such kubeconfig"):
        _ = world.cluster
    world.close()


def test_a_run_without_a_cluster_reaches_plain_urls_only(here: Practice) -> None:
    world = open_world(
        clock=FakeClock(), metrics_url="http://prometheus.shop.svc:9090", needs_cluster=False
    )
    with web_server({"/": (200, {}, b"")}) as (url, _):
        assert world.http.get(f"{url}/").route == "direct"
    for ask in (lambda: world.metrics, lambda: world.http.get("http://a.shop.svc/")):
        with pytest.raises(UsageError, match="cluster"):
            ask()
    without = open_world(clock=FakeClock(), needs_cluster=False)
    with pytest.raises(UsageError, match="names no Prometheus"):
        _ = without.metrics
