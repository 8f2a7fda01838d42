"""PromQL over real HTTP: a small stub that answers like Prometheus, also behind the API server."""

import json
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from clusters import Practice, client, pod, practice, service, slice_of, web_server

from smoldebug.clock import FakeClock
from smoldebug.errors import AccessDenied, SmoldebugError, ToolError, UnreachableError
from smoldebug.records import ObjectRef
from smoldebug.sources.prometheus import Prometheus


def answer(result: Any, kind: str = "vector") -> tuple[int, dict[str, str], bytes]:
    body = {"status": "success", "data": {"resultType": kind, "result": result}}
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def refusal(status: int, kind: str, words: str) -> tuple[int, dict[str, str], bytes]:
    body = {"status": "error", "errorType": kind, "error": words}
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


UP = [{"metric": {"job": "auth"}, "value": [1700000000.5, "1"]}]
RANGE = [{"metric": {}, "values": [[1, "0.5"], [2, "NaN"], [3, "+Inf"]]}]
ROUTES = {
    "/api/v1/query?query=up": answer(UP),
    "/api/v1/query?query=time%28%29": answer([1700000000, "2"], "scalar"),
    "/api/v1/query?query=slow": refusal(503, "timeout", "query timed out"),
    "/api/v1/query?query=twice": refusal(422, "execution", "duplicate series"),
    "/api/v1/query?query=bad": refusal(400, "bad_data", "unknown function"),
    "/api/v1/query?query=secret": (403, {}, b"no"),
    "/api/v1/query?query=html": (200, {}, b"<html>"),
    "/api/v1/query?query=odd": (200, {}, b'{"data": {"result": [{"metric": 3}]}}'),
    "/api/v1/query_range": answer(RANGE, "matrix"),
}


@pytest.fixture(scope="module")
def stub() -> Iterator[tuple[str, list[str]]]:
    with web_server(ROUTES) as found:
        yield found


@pytest.fixture
def metrics(stub: tuple[str, list[str]]) -> Iterator[Prometheus]:
    found = Prometheus(stub[0], FakeClock())
    yield found
    found.close()


def test_an_instant_query(metrics: Prometheus) -> None:
    [found] = metrics.instant("up")
    assert (dict(found.labels), found.points) == ({"job": "auth"}, ((1700000000.5, 1.0),))


def test_a_scalar_is_a_series_without_labels(metrics: Prometheus) -> None:
    [found] = metrics.instant("time()")
    assert found.points == ((1700000000.0, 2.0),)


def test_a_range_ends_now_and_keeps_nan(metrics: Prometheus, stub: tuple[str, list[str]]) -> None:
    [found] = metrics.range("up", 300, 5)
    assert [at for at, _ in found.points] == [1, 2, 3]
    assert isnan(found.points[1][1])
    end = int(FakeClock().now().timestamp())
    assert f"start={end - 300}&end={end}&step=5" in stub[1][-1]


@pytest.mark.parametrize("query", ["sum(", "up{", "rate(up)", "", "drop table", "up[5m"])
def test_what_is_no_promql_is_not_sent(
    metrics: Prometheus, stub: tuple[str, list[str]], query: str
) -> None:
    before = len(stub[1])
    with pytest.raises(ToolError, match="not PromQL"):
        metrics.instant(query)
    assert len(stub[1]) == before


@pytest.mark.parametrize(
    ("query", "kind", "words"),
    [
        ("bad", ToolError, "refused the query: unknown function"),
        ("twice", ToolError, "duplicate series"),
        ("slow", UnreachableError, "query timed out"),
        ("secret", AccessDenied, "refuses us: HTTP 403"),
        ("html", UnreachableError, "does not answer like Prometheus"),
        ("odd", UnreachableError, "does not answer like Prometheus"),
        ("nowhere", UnreachableError, "HTTP 404"),
    ],
)
def test_what_goes_wrong(
    metrics: Prometheus, query: str, kind: type[SmoldebugError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        metrics.instant(query)


def test_nobody_there() -> None:
    metrics = Prometheus("http://127.0.0.1:9", FakeClock())
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:9: connection refused"):
        metrics.instant("up")
    metrics.close()


# --- behind the API server ------------------------------------------------------------------

URL = "http://prometheus.shop.svc:9090"
SERVICE = ObjectRef("Service", "shop", "prometheus")


@pytest.fixture
def here(tmp_path: Path, stub: tuple[str, list[str]]) -> Iterator[Practice]:
    port = int(stub[0].rpartition(":")[2])
    slices = slice_of("prometheus", {"prometheus-0": True}, port)
    behind = [pod("prometheus-0", "prometheus"), service("prometheus", 9090), slices]
    with practice(tmp_path, *behind, token="right") as found:
        yield found


def test_a_service_is_reached_with_the_clusters_credentials(here: Practice) -> None:
    with client(here) as cluster:
        metrics = Prometheus(URL, FakeClock(), cluster.http_access(SERVICE, URL))
        assert metrics.instant("up")[0].points[0][1] == 1.0
        metrics.close()


def test_a_service_that_is_not_there_is_unreachable(here: Practice) -> None:
    gone = "http://prometheus.shop.svc:9091"
    with client(here) as cluster:
        metrics = Prometheus(gone, FakeClock(), cluster.http_access(SERVICE, gone))
        with pytest.raises(UnreachableError, match="no service port 9091"):
            metrics.instant("up")
        metrics.close()
