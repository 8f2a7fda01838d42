"""The service proxy: connections go to ready endpoints in turn, or are refused."""

import contextlib
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoldebug.lab.network import Address, Proxy, routes, write_hosts
from smoldebug.sources.world import Object

SERVICE = ("127.2.254.1", 18080)


class Echo(socketserver.ThreadingTCPServer):
    """Answers with its name and everything it was sent."""

    allow_reuse_address = True

    def __init__(self, name: str) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(name.encode() + b":" + self.rfile.read())

        super().__init__(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def address(self) -> Address:
        return ("127.0.0.1", self.server_address[1])

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture
def echoes() -> Iterator[list[Echo]]:
    servers = [Echo("a"), Echo("b")]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    proxy.start()
    yield proxy
    proxy.stop()


def say(text: bytes = b"hello", to: Address = SERVICE) -> bytes:
    with socket.create_connection(to, 5) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while chunk := connection.recv(1 << 16):
            heard += chunk
        return heard


def test_connections_take_the_endpoints_in_turn(proxy: Proxy, echoes: list[Echo]) -> None:
    proxy.route({SERVICE: tuple(e.address for e in echoes)})
    assert Counter(say() for _ in range(10)) == {b"a:hello": 5, b"b:hello": 5}


def test_two_services_in_step_both_share_fairly(proxy: Proxy, echoes: list[Echo]) -> None:
    other = (SERVICE[0], SERVICE[1] + 1)
    targets = tuple(e.address for e in echoes)
    proxy.route({SERVICE: targets, other: targets})
    heard = Counter(say(to=to) for _ in range(4) for to in (SERVICE, other))
    assert heard == {b"a:hello": 4, b"b:hello": 4}


def test_much_data_passes_both_ways(proxy: Proxy, echoes: list[Echo]) -> None:
    proxy.route({SERVICE: (echoes[0].address,)})
    much = bytes(range(256)) * 20_000
    assert say(much) == b"a:" + much


def test_without_endpoints_the_connection_is_refused(proxy: Proxy, echoes: list[Echo]) -> None:
    proxy.route({SERVICE: (echoes[0].address,)})
    assert say() == b"a:hello"
    proxy.route({SERVICE: ()})
    with pytest.raises(ConnectionRefusedError):
        say()
    proxy.route({SERVICE: (echoes[1].address,)})
    assert say() == b"b:hello"


def test_an_endpoint_that_is_gone_resets_the_connection(proxy: Proxy) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy.route({SERVICE: (nobody.getsockname(),)})
        with pytest.raises(ConnectionResetError):
            say()


def test_a_connection_that_stays_open_does_not_hold_up_the_stop(echoes: list[Echo]) -> None:
    proxy = Proxy()
    proxy.start()
    proxy.route({SERVICE: (echoes[0].address,)})
    with socket.create_connection(SERVICE, 5) as connection:
        connection.sendall(b"x")
        proxy.stop()
        connection.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) in (b"", b"a")


def service(name: str, ip: str, *ports: Object) -> Object:
    meta = {"name": name, "namespace": "shop"}
    return {"metadata": meta, "spec": {"clusterIP": ip, "ports": list(ports)}}


def piece(name: str, ready: dict[str, bool], *ports: Object) -> Object:
    labels = {"kubernetes.io/service-name": name}
    return {
        "metadata": {"name": f"{name}-x", "namespace": "shop", "labels": labels},
        "endpoints": [{"addresses": [a], "conditions": {"ready": r}} for a, r in ready.items()],
        "ports": list(ports),
    }


def test_routes_lead_to_ready_endpoints_of_the_port_of_that_name() -> None:
    http, admin = {"name": "http", "port": 80}, {"name": "admin", "port": 81}
    services = [service("web", "127.2.0.2", http, admin), service("none", "None", http)]
    slices = [
        piece("web", {"127.1.0.2": True, "127.1.0.3": False}, {"name": "http", "port": 8080}),
        piece("web", {"127.1.0.4": True}, {"name": "http", "port": 9090}),
    ]
    assert routes(services, slices) == {
        ("127.2.0.2", 80): (("127.1.0.2", 8080), ("127.1.0.4", 9090)),
        ("127.2.0.2", 81): (),
    }


def test_the_hosts_file_names_every_service_with_an_address(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    write_hosts(hosts, [service("web", "127.2.0.2"), service("none", "None")])
    assert hosts.read_text() == "127.2.0.2 web.shop.svc.cluster.local\n"
    write_hosts(hosts, [])
    assert hosts.read_text() == ""
