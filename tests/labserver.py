"""A lab's API server on loopback with a store, official clients and a real kubectl for it."""

import contextlib
import copy
import http.client
import json
import pathlib
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from labkit import service_account_kubeconfig
from realkubectl import KUBECTL

from smoldebug.clock import SystemClock
from smoldebug.lab.apierror import ApiError
from smoldebug.lab.catalog import resource
from smoldebug.lab.runtime import LogOptions, Usage
from smoldebug.lab.server import Server, serve
from smoldebug.lab.store import Store
from smoldebug.sources import process

Json = dict[str, Any]


class LocalRuntime:
    """Containers whose log is two lines and whose commands run on this machine."""

    def logs(self, pod: Json, container: str, options: LogOptions) -> Iterable[bytes]:
        if options.previous:
            raise ApiError(400, "BadRequest", f'previous terminated container "{container}"')
        lines = [f"{container}: one\n".encode(), f"{container}: two\n".encode()]
        return lines[-options.tail :] if options.tail else lines

    def exec(
        self, pod: Json, container: str, argv: Sequence[str], *, stdin: bool
    ) -> process.Process:
        feed = process.PIPE if stdin else process.DEVNULL
        return process.spawn(argv, stdin=feed, stdout=process.PIPE, stderr=process.PIPE)

    def usage(self, pod: Json) -> dict[str, Usage]:
        return {"web": Usage(0.25, 64 << 20)}


class Lab:
    """A server, its store, and the clients that talk to it."""

    def __init__(self, folder: pathlib.Path, **options: Any) -> None:
        self.store = Store(SystemClock())
        for name in ("default", "shop"):
            self.store.create(resource("namespaces"), None, {"metadata": {"name": name}})
        self.server: Server = serve(self.store, **options)
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(self.server.kubeconfig(), encoding="utf-8")
        self.api = config.new_client_from_config(str(self.kubeconfig))
        self.core = client.CoreV1Api(self.api)
        self.apps = client.AppsV1Api(self.api)

    def close(self) -> None:
        self.api.rest_client.pool_manager.clear()
        self.server.close()

    def raw(
        self, method: str, path: str, body: str = "", **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of one request, without any client in between."""
        host = self.server.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=10)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, named)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())

    def send(
        self, method: str, path: str, document: Any = None, as_: str = "", **headers: str
    ) -> tuple[int, Json]:
        """Status and JSON of one request, of the user `as_` if one is named."""
        headers |= {"Impersonate_User": as_} if as_ else {}
        body = "" if document is None else json.dumps(document)
        code, text, _ = self.raw(method, path, body, **headers)
        return code, json.loads(text)

    def account(self, *rules: Json, name: str = "bot", role: str = "Role") -> str:
        """The user name of a ServiceAccount in namespace shop, bound to a role of its own."""
        for kind, obj in (
            ("serviceaccounts", {}),
            ("clusterroles" if role == "ClusterRole" else "roles", {"rules": list(rules)}),
            (
                "clusterrolebindings" if role == "ClusterRole" else "rolebindings",
                {
                    "roleRef": {"kind": role, "name": name},
                    "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "shop"}],
                },
            ),
        ):
            self.store.create(resource(kind), "shop", {"metadata": {"name": name}, **obj})
        return f"system:serviceaccount:shop:{name}"

    def pod(self, name: str = "web", **more: Any) -> Json:
        containers = [{"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]}]
        spec = {"containers": more.pop("containers", containers), "nodeName": "node"}
        meta = {"name": name, "labels": {"app": "web"}}
        return self.store.create(resource("pods"), "shop", {"metadata": meta, "spec": spec, **more})


@contextlib.contextmanager
def running(folder: pathlib.Path, **options: Any) -> Iterator[Lab]:
    lab = Lab(folder, **options)
    try:
        yield lab
    finally:
        lab.close()


def deployment(name: str = "web", **spec: Any) -> Json:
    containers = [{"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}]}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    selector = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": selector, "template": template, **spec},
    }


def refusal(call: Callable[..., Any], *args: Any, **options: Any) -> tuple[int, Json]:
    """The status and the Status of the error a client's call ends with."""
    with pytest.raises(ApiException) as caught:
        call(*args, **options)
    return caught.value.status, json.loads(caught.value.body)


class Kubectl:
    def __init__(self, lab: Lab, folder: pathlib.Path) -> None:
        self.kubeconfig, self.cache = lab.kubeconfig, folder / "cache"

    def of(self, service_account: str) -> Self:
        """The same for a ServiceAccount in namespace shop."""
        other = copy.copy(self)
        other.kubeconfig = service_account_kubeconfig(self.kubeconfig, "shop", service_account)
        return other

    def __call__(self, *arguments: str, stdin: Any = None, code: int = 0) -> str:
        """What a command wrote, both streams; its exit status must be `code`."""
        options = ["--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.cache)]
        done = subprocess.run(
            [str(KUBECTL), *options, "-n", "shop", *arguments],
            input=json.dumps(stdin) if stdin else None,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        text = done.stdout + done.stderr
        assert done.returncode == code, text
        return text
