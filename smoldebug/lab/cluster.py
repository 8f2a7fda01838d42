"""The lab as a whole: store, API server, controllers, kubelet, network, Prometheus and the shop."""

import contextlib
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from smoldebug import __version__
from smoldebug.errors import SmoldebugError, UnreachableError, UsageError
from smoldebug.lab.addresses import Addresses
from smoldebug.lab.catalog import resource
from smoldebug.lab.controllers import Controllers
from smoldebug.lab.customers import NORMAL, Customers
from smoldebug.lab.environment import PYTHONPATH
from smoldebug.lab.faults import Faults
from smoldebug.lab.folder import INFO, claim, write_private
from smoldebug.lab.images import FOLDER as IMAGES
from smoldebug.lab.kubelet import Kubelet
from smoldebug.lab.network import Network
from smoldebug.lab.objects import DEPLOYMENTS, NAMESPACES, PODS, SERVICES, is_ready
from smoldebug.lab.prometheus import Prometheus
from smoldebug.lab.scenario import (
    MONITORING,
    PORT,
    SHOP,
    config,
    deployments,
    namespaces,
    prometheus,
    services,
)
from smoldebug.lab.server import Server, serve
from smoldebug.lab.store import ApiError, Store, timestamp

log = logging.getLogger(__name__)

KUBECONFIG = "kubeconfig"
READY_WITHIN = 30.0  # seconds the shop gets to become ready


class Lab:
    """A practice cluster in `folder`; `port` 0 takes any free one. `name` is its context in the
    kubeconfig, `images` the folder of its loaded images; a `bare` one has no shop.

    Start it from a thread that lives as long as it: its processes die with that thread.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        name: str = "lab",
        bare: bool = False,
        images: Path | None = None,
    ) -> None:
        self.folder, self.port, self.name, self.bare = folder.absolute(), port, name, bare
        self.images = images or self.folder / IMAGES
        self.stopping = threading.Event()
        self._cleanup = contextlib.ExitStack()
        self._token = secrets.token_urlsafe(24)
        self.store = Store()
        self.server: Server
        self.faults: Faults | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring everything up; returns when the shop is ready. Raises UsageError when the folder,
        the port or the addresses are taken, UnreachableError when the shop does not come up."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        claim(self.folder, self._cleanup)
        addresses = Addresses()
        self._cleanup.callback(addresses.close)
        self.store.admission.append(addresses.admit)
        hosts = self.folder / "hosts"
        metrics = Prometheus(self.store)
        self.kubelet = Kubelet(self.store, addresses, self.folder / "pods", hosts, self.images)
        self._create_objects(str(metrics.address), int(metrics.port))
        for part in (Network(self.store, hosts), self.kubelet, Controllers(self.store), metrics):
            part.start()
            self._cleanup.callback(part.stop)
        self._serve()
        if not self.bare:
            self._wait_ready()
            self._let_customers_in()
        self._write_info()

    def stop(self) -> None:
        """End everything, the processes too. Stopping twice is stopping once."""
        self.stopping.set()
        (self.folder / INFO).unlink(missing_ok=True)
        self._cleanup.close()

    def _create_objects(self, host: str, port: int) -> None:
        for namespace in namespaces(shop=not self.bare):
            self.store.create(NAMESPACES, None, namespace)
        for kind, obj in prometheus(host, port):
            self.store.create(resource(kind), MONITORING, obj)
        if not self.bare:
            self._create_shop()

    def _create_shop(self) -> None:
        for kind, obj in config():
            self.store.create(resource(kind), SHOP, obj)
        for service in services():
            self.store.create(SERVICES, SHOP, service)
        for deployment in deployments():
            self.store.create(DEPLOYMENTS, SHOP, deployment)

    def _serve(self) -> None:
        try:
            self.server = serve(
                self.store,
                port=self.port,
                runtime=self.kubelet,
                token=self._token,
                extra_routes={"/lab/": self._administrate},
            )
        except OSError as error:
            raise UsageError(f"the lab cannot listen on port {self.port}: {error}") from None
        self._cleanup.callback(self.server.close)
        write_private(self.folder / KUBECONFIG, self.server.kubeconfig(self._token, self.name))

    def _wait_ready(self) -> None:
        with self.store.condition:
            if not self.store.condition.wait_for(self._is_ready, READY_WITHIN):
                raise UnreachableError(
                    f"the shop was not ready after {READY_WITHIN:g} s", "the pods' logs tell why"
                )

    def _is_ready(self) -> bool:
        wanted = sum(d["spec"]["replicas"] for d in deployments())
        return bool(sum(map(is_ready, self.store.scan(PODS, SHOP)[0])) >= wanted)

    def _let_customers_in(self) -> None:
        checkout = self.store.peek(SERVICES, SHOP, "checkout")
        env = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": PYTHONPATH}
        customers = Customers(checkout["spec"]["clusterIP"], PORT, "/checkout", env)
        self._cleanup.callback(customers.close)
        customers.come(NORMAL)
        self.faults = Faults(self.store, customers)

    def _write_info(self) -> None:
        self._info = {
            "name": self.name,
            "pid": os.getpid(),
            "url": self.server.url,
            "port": int(self.server.url.rpartition(":")[2]),
            "token": self._token,
            "started": timestamp(self.store.clock.now()),
            "version": __version__,
        }
        write_private(self.folder / INFO, json.dumps(self._info))

    # -- the admin endpoints

    def _administrate(
        self, method: str, path: str, parameters: Mapping[str, list[str]], body: bytes
    ) -> tuple[int, Any]:
        """GET /lab/status; POST /lab/break/NAME, /lab/fix[/NAME], /lab/stop."""
        verb, _, name = path.removeprefix("/lab/").partition("/")
        actions: dict[tuple[str, str], Callable[[str], Any]] = {
            ("GET", "status"): lambda _: self.status(),
            ("POST", "break"): self._break,
            ("POST", "fix"): self._fix,
            ("POST", "stop"): lambda _: self._stop_soon(),
        }
        if (method, verb) not in actions:
            return 404, {"error": f"no such page: {method} {path}"}
        try:
            return 200, actions[method, verb](name)
        except (SmoldebugError, ApiError) as error:
            return 400, {"error": str(error), "hint": getattr(error, "hint", "")}

    def status(self) -> dict[str, Any]:
        """What `smoldebug lab status` shows: of the shop's pods, in a bare lab of all, but for
        those that have done their work."""
        found = self.store.scan(PODS, None if self.bare else SHOP)[0]
        pods = [pod for pod in found if pod["status"].get("phase") != "Succeeded"]
        return {
            "faults": self.faults.active if self.faults else [],
            "customers_per_second": self.faults.customers.rate if self.faults else 0.0,
            "pods": len(pods),
            "pods_ready": sum(map(is_ready, pods)),
            "requests": self.server.requests(),
        }

    def _in_shop(self) -> Faults:
        if self.faults is None:
            raise UsageError(
                f"{self.name} has no shop to break", "smoldebug lab up, without --bare"
            )
        return self.faults

    def _break(self, slug: str) -> dict[str, Any]:
        self._in_shop().inject(slug)
        return {"active": self._in_shop().active}

    def _fix(self, slug: str) -> dict[str, Any]:
        if self.bare and not slug:
            return {"fixed": []}
        return {"fixed": self._in_shop().heal(slug)}

    def _stop_soon(self) -> dict[str, Any]:
        self.stopping.set()
        return {"stopping": True}
