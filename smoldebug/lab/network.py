"""The service proxy and the names: what kube-proxy and the cluster's DNS are elsewhere.

A Service's address is really listened on while it has ready endpoints, so that without any the
connection is refused by the kernel, as it is in a cluster.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from smoldebug.lab.endpoints import OF_SERVICE
from smoldebug.lab.objects import SERVICES, SLICES, Loop
from smoldebug.lab.store import Store
from smoldebug.sources.world import Object

log = logging.getLogger(__name__)

Address = tuple[str, int]
Routes = dict[Address, tuple[Address, ...]]  # a Service's address and port -> ready endpoints
_CONNECT = 1.0  # seconds
_CHUNK = 1 << 16


class Network:
    """Keeps the proxy and the hosts file in step with the store's Services."""

    def __init__(self, store: Store, hosts: Path) -> None:
        self.store, self.hosts = store, hosts
        self.proxy = Proxy()
        self._loop = Loop(store, self._step, "network")

    def start(self) -> None:
        write_hosts(self.hosts, self.store.scan(SERVICES)[0])
        self.proxy.start()
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()
        self.proxy.stop()

    def _step(self) -> float:
        services, _ = self.store.scan(SERVICES)
        write_hosts(self.hosts, services)
        self.proxy.route(routes(services, self.store.scan(SLICES)[0]))
        return 30.0


def routes(services: Iterable[Object], slices: Iterable[Object]) -> Routes:
    """Where the connections to each Service's ports may go."""
    found: Routes = {}
    behind: dict[tuple[str, str], list[Object]] = {}
    for piece in slices:
        meta = piece["metadata"]
        name = (meta.get("labels") or {}).get(OF_SERVICE, "")
        behind.setdefault((meta["namespace"], name), []).append(piece)
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        if spec.get("clusterIP", "None") == "None":
            continue
        for port in spec.get("ports") or ():
            pieces = behind.get((meta["namespace"], meta["name"]), [])
            targets = tuple(_targets(pieces, port.get("name", "")))
            found[spec["clusterIP"], port["port"]] = targets
    return found


def _targets(pieces: Iterable[Object], port_name: str) -> Iterable[Address]:
    for piece in pieces:
        for port in piece.get("ports") or ():
            if port.get("name", "") == port_name:
                for endpoint in piece.get("endpoints") or ():
                    if (endpoint.get("conditions") or {}).get("ready", True):
                        yield endpoint["addresses"][0], port["port"]


def write_hosts(path: Path, services: Iterable[Object]) -> None:
    """One line per Service with an address: `127.2.0.2 auth.shop.svc.cluster.local`."""
    lines = [
        f"{s['spec']['clusterIP']} {s['metadata']['name']}.{s['metadata']['namespace']}"
        ".svc.cluster.local\n"
        for s in services
        if s["spec"].get("clusterIP", "None") != "None"
    ]
    text = "".join(sorted(lines))
    if not path.exists() or path.read_text("utf-8") != text:
        new = path.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(path)  # a pod never reads half a file


class Proxy:
    """A TCP proxy in one thread. Each connection goes to the next ready endpoint in turn."""

    def __init__(self) -> None:
        self._routes: Routes = {}
        self._listeners: dict[Address, socket.socket] = {}
        self._refused: set[Address] = set()
        self._turns: defaultdict[Address, Iterator[int]] = defaultdict(count)
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def route(self, new: Routes) -> None:
        """Take over new routes; returns when they are in force."""
        if new != self._routes:
            asyncio.run_coroutine_threadsafe(self._apply(dict(new)), self._loop).result()

    def stop(self) -> None:
        """Close every connection and end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _apply(self, new: Routes) -> None:
        self._routes = new
        wanted = {address for address, targets in new.items() if targets}
        for address in self._listeners.keys() - wanted:
            self._unlisten(address)
        for address in wanted - self._listeners.keys():
            self._listen(address)

    async def _close(self) -> None:
        for address in list(self._listeners):
            self._unlisten(address)
        await asyncio.sleep(0)  # connections that have just come get into their `with`
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _listen(self, address: Address) -> None:
        try:
            listener = socket.create_server(address, backlog=128)
        except OSError as error:
            if address not in self._refused:  # once: a port below 1024 needs privileges
                log.warning("no proxy on %s:%d: %s", *address, error)
            self._refused.add(address)
            return
        listener.setblocking(False)
        self._listeners[address] = listener
        self._loop.add_reader(listener, self._accept, address, listener)

    def _unlisten(self, address: Address) -> None:
        listener = self._listeners.pop(address)
        self._loop.remove_reader(listener)
        listener.close()

    def _accept(self, address: Address, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            connection = self._loop.create_task(self._forward(address, client))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    async def _forward(self, address: Address, client: socket.socket) -> None:
        with client, socket.socket() as backend:
            for end in (client, backend):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                async with asyncio.timeout(_CONNECT):
                    await self._loop.sock_connect(backend, self._next_target(address))
            except (OSError, TimeoutError):  # RST, as a dead endpoint itself would answer
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            await asyncio.gather(self._copy(client, backend), self._copy(backend, client))

    def _next_target(self, address: Address) -> Address:
        targets = self._routes.get(address)
        if not targets:
            raise ConnectionRefusedError
        return targets[next(self._turns[address]) % len(targets)]

    async def _copy(self, source: socket.socket, target: socket.socket) -> None:
        """Copy one direction until its end, and pass the end on."""
        with contextlib.suppress(OSError):
            while chunk := await self._loop.sock_recv(source, _CHUNK):
                await self._loop.sock_sendall(target, chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
