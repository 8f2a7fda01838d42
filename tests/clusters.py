"""An API server on loopback with a few objects in it, and a client for it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from smoldebug.clock import Clock
from smoldebug.lab.apifaults import Faults
from smoldebug.lab.catalog import resource
from smoldebug.lab.runtime import LogOptions, Usage
from smoldebug.lab.server import Server, serve
from smoldebug.lab.store import Store
from smoldebug.sources.kinds import find
from smoldebug.sources.kube import KubeCluster, connect
from smoldebug.sources.process import PIPE, Process, spawn

Object = dict[str, Any]


@dataclass
class Practice:
    """A served store, and where its kubeconfig is."""

    store: Store
    server: Server
    faults: Faults
    kubeconfig: str

    def add(self, *objects: Object) -> None:
        for item in objects:
            known = find(item["kind"])
            assert known is not None
            space = item["metadata"].get("namespace")
            self.store.create(resource(known.plural), space, item)


class Container:
    """The runtime behind the server: a log of two lines, and commands run on this machine."""

    def logs(self, pod: Object, container: str, options: LogOptions) -> Iterable[bytes]:
        lines = [
            b"pool exhausted (20/20)\n",
            "caf\u00e9 \u2713 \x1b[31mred\n".encode(),
            b"\xff\xfe\n",
        ]
        yield from [b"before the restart\n"] if options.previous else lines[-(options.tail or 9) :]

    def exec(self, pod: Object, container: str, argv: list[str], *, stdin: bool) -> Process:
        return spawn(argv, stdout=PIPE, stderr=PIPE)

    def usage(self, pod: Object) -> dict[str, Usage]:
        return {}


@contextmanager
def practice(folder: Path, *objects: Object, token: str = "") -> Iterator[Practice]:
    """Namespace shop and the objects, served."""
    store, faults = Store(), Faults()
    server = serve(store, runtime=Container(), faults=faults, token=token)
    path = folder / "kubeconfig"
    path.write_text(server.kubeconfig(token), encoding="utf-8")
    here = Practice(store, server, faults, str(path))
    try:
        here.add({"kind": "Namespace", "metadata": {"name": "shop"}}, *objects)
        yield here
    finally:
        server.close()


@contextmanager
def client(here: Practice, clock: Clock | None = None) -> Iterator[KubeCluster]:
    cluster = connect(None, here.kubeconfig, clock)
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def web_server(
    answers: Mapping[str, tuple[int, Mapping[str, str], bytes]],
) -> Iterator[tuple[str, list[str]]]:
    """A real HTTP server on loopback: (base URL, requests as they came in)."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append(f"{self.command} {self.path}")
            path = self.path if self.path in answers else self.path.partition("?")[0]
            status, headers, body = answers.get(path, (404, {}, b"not here"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- objects --------------------------------------------------------------------------------


def deployment(name: str = "auth", *, replicas: int = 2, **container: Any) -> Object:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": f"{name}:1", **container}]},
            },
        },
    }


def pod(name: str, app: str = "auth", *, ready: bool = True, restarts: int = 0) -> Object:
    state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    container = {"name": "web", "ready": ready, "restartCount": restarts, "state": state}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
        "spec": {"containers": [{"name": "web", "image": f"{app}:1"}]},
        "status": {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [container],
        },
    }


def service(name: str = "auth", port: int = 8080) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "targetPort": port}],
        },
    }


def slice_of(name: str, pods: Mapping[str, bool], port: int) -> Object:
    """An EndpointSlice of a Service: pods and whether each is ready."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["127.0.0.1"],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": item, "namespace": "shop"},
            }
            for item, ready in pods.items()
        ],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


def autoscaler(name: str = "auth", low: int = 1, high: int = 2) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high},
    }
