"""HTTP routing: real loopback servers, and Services behind the lab's API server."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import Practice, client, pod, practice, service, slice_of, web_server

from smoldebug.errors import NotFound, SmoldebugError, UnreachableError, UsageError
from smoldebug.lab.apifaults import Rule
from smoldebug.sources.http import Router, service_of
from smoldebug.sources.world import Cluster

ROUTES = {
    "/health": (200, {"X-Who": "me"}, b"fine \xff"),
    "/down": (503, {}, b"no endpoints available"),  # an application may say so too, in its own way
    "/here": (302, {"Location": "/health"}, b""),
    "/away": (302, {"Location": "http://127.0.0.1:9/"}, b""),
    "/round": (302, {"Location": "/round"}, b""),
    "/big": (200, {}, b"x" * 200_000),
}


def nobody() -> Cluster:
    raise AssertionError("a plain URL needs no cluster")


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with web_server(ROUTES) as (url, _):
        yield url


# --- plain URLs -----------------------------------------------------------------------------


def test_a_plain_url_is_asked_directly(web: str) -> None:
    reply = Router(nobody).get(f"{web}/health")
    assert (reply.status, reply.body, reply.route) == (200, "fine \ufffd", "direct")
    assert reply.headers["x-who"] == "me"
    assert 0 < reply.seconds < 5


def test_an_error_status_is_an_answer(web: str) -> None:
    assert Router(nobody).get(f"{web}/down").status == 503


def test_a_head_has_no_body(web: str) -> None:
    assert Router(nobody).get(f"{web}/health", method="HEAD").body == ""


def test_redirects_stay_on_their_host(web: str) -> None:
    router = Router(nobody)
    assert router.get(f"{web}/here").body.startswith("fine")
    away = router.get(f"{web}/away")
    assert (away.status, away.headers["location"]) == (302, "http://127.0.0.1:9/")
    assert router.get(f"{web}/round").status == 302


def test_a_body_is_read_up_to_64_kib(web: str) -> None:
    assert len(Router(nobody).get(f"{web}/big").body) == 64 << 10


def test_a_stream_without_an_end_is_cut_by_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(UnreachableError, match="no answer in time"):
            Router(nobody).get(url, timeout=0.2)


def test_a_refused_connection_says_so() -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9: connection refused"):
        Router(nobody).get("http://user:pass@127.0.0.1:9/")


@pytest.mark.parametrize(
    "url", ["", "ftp://a/", "http://", "http://a:99999/", "http://[::1", "/x", "http://a:b/"]
)
def test_what_is_no_url_is_bad_usage(url: str) -> None:
    with pytest.raises(UsageError, match="not an http"):
        Router(nobody).get(url)


# --- Services -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://auth.shop.svc:8080/", "Service/shop/auth"),
        ("http://auth.shop.svc.cluster.local", "Service/shop/auth"),
        ("http://auth.shop.svc.example.com/", None),
        ("http://auth.shop/", None),
        ("http://127.0.0.1/", None),
    ],
)
def test_which_hosts_are_services(url: str, name: str | None) -> None:
    found = service_of(url)
    assert (str(found) if found else None) == name


@pytest.fixture
def here(tmp_path: Path, web: str) -> Iterator[Practice]:
    port = int(web.rpartition(":")[2])
    ready = {"auth-1": True, "auth-2": True, "auth-3": False}
    objects = [pod(name, ready=state) for name, state in ready.items()]
    with practice(tmp_path, service(), slice_of("auth", ready, port), *objects) as found:
        yield found


@pytest.fixture
def router(here: Practice) -> Iterator[Router]:
    with client(here) as cluster:
        yield Router(lambda: cluster)


URL = "http://auth.shop.svc:8080/health?a=b"


def test_samples_go_to_one_ready_pod_after_another(router: Router, web: str) -> None:
    port = web.rpartition(":")[2]
    routes = [router.get(URL, sample=index).route for index in range(3)]
    assert routes == [f"proxy Pod/shop/auth-{which}:{port}" for which in (1, 2, 1)]


def test_the_answer_is_the_applications_own(router: Router) -> None:
    assert router.get(URL).body == "fine \ufffd"
    reply = router.get("http://auth.shop.svc:8080/down")
    assert (reply.status, reply.body) == (503, "no endpoints available")


def test_without_pods_proxy_the_service_is_asked(here: Practice, router: Router) -> None:
    here.faults.add(Rule("get", "pods/proxy"))
    assert router.get(URL).route == "proxy Service/shop/auth:8080"


def test_without_slices_the_endpoints_are_read(here: Practice, router: Router) -> None:
    here.faults.add(Rule("list", "endpointslices"))
    with pytest.raises(UnreachableError, match="Service/shop/auth has no ready endpoints"):
        router.get(URL)
    addresses = [{"ip": "127.0.0.1", "targetRef": {"kind": "Pod", "name": "auth-2"}}]
    ports = [{"name": "http", "port": 1}]
    here.add(
        {
            "kind": "Endpoints",
            "metadata": {"name": "auth", "namespace": "shop"},
            "subsets": [{"addresses": addresses, "ports": ports}],
        }
    )
    with pytest.raises(
        UnreachableError, match=r"Pod/auth-2: error trying to reach service.*refused"
    ):
        router.get(URL)


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("http://auth.shop.svc:81/", UnreachableError, "has no port 81; it has: 8080"),
        ("http://auth.shop.svc/", UnreachableError, "has no port 80"),
        ("http://atuh.shop.svc:8080/", NotFound, "Service/shop/atuh does not exist"),
        ("http://auth.shpo.svc:8080/", NotFound, 'namespace "shpo" does not exist'),
        ("http://auth.shop.svc:8080/../../../secrets", UsageError, "may not contain .."),
        ("http://auth.shop.svc:8080/%2e%2E/x", UsageError, "may not contain .."),
    ],
)
def test_services_that_cannot_be_reached(
    router: Router, url: str, kind: type[SmoldebugError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        router.get(url)


def test_a_service_without_ready_endpoints(here: Practice, router: Router) -> None:
    here.add(service("cart"), slice_of("cart", {"cart-1": False}, 8080))
    with pytest.raises(UnreachableError, match="Service/shop/cart has no ready endpoints"):
        router.get("http://cart.shop.svc:8080/")
