"""What the lab's tests share: objects to create, and waiting for what a lab does by itself."""

import contextlib
import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from smoldebug.clock import SystemClock
from smoldebug.lab.catalog import Resource
from smoldebug.lab.objects import EVENTS, NAMESPACES
from smoldebug.lab.store import Store
from smoldebug.sources.world import Object

PATIENCE = 15.0  # seconds


def new_store(*namespaces: str, **options: Any) -> Store:
    store = Store(**options)
    for name in namespaces or ("shop",):
        store.create(NAMESPACES, None, {"metadata": {"name": name}})
    return store


def eventually(holds: Callable[[], Any], what: str = "") -> Any:
    """The first true value of `holds`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        SystemClock().sleep(0.02)
    raise AssertionError(f"did not come about within {PATIENCE:g} s: {what or holds}")


def in_store(
    store: Store, kind: Resource, name: str, holds: Callable[[Object], Any], namespace: str = "shop"
) -> Object:
    """The object once `holds` is true of it."""

    def look() -> Object | None:
        found = [o for o in store.scan(kind, namespace)[0] if o["metadata"]["name"] == name]
        return found[0] if found and holds(found[0]) else None

    with store.condition:
        found = store.condition.wait_for(look, PATIENCE)
    assert found, f"{kind.kind} {name} is {[o for o in store.scan(kind, namespace)[0]]}"
    return found


def events(store: Store, reason: str) -> list[str]:
    return [e["message"] for e in store.scan(EVENTS)[0] if e["reason"] == reason]


def container(**more: Any) -> Object:
    return {"name": "main", "image": "python", **more}


def script(text: str, **more: Any) -> Object:
    """A container that runs a Python script."""
    return container(args=["-c", text], **more)


def pod(name: str, *containers: Object, **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 1, **spec},
    }


def deployment(name: str = "web", replicas: int = 3, image: str = "web:1", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            **spec,
        },
    }


def service_account_kubeconfig(admin: Path, namespace: str, name: str) -> Path:
    """Write a kubeconfig beside the lab's own whose user is a ServiceAccount, made where it is
    missing: whoever uses it is allowed what the account's roles allow."""
    config = yaml.safe_load(admin.read_text("utf-8"))
    cluster = config["clusters"][0]["cluster"]
    url = urlsplit(cluster["server"])
    accounts = f"{url.path}/api/v1/namespaces/{namespace}/serviceaccounts"
    connection = http.client.HTTPConnection(url.netloc, timeout=10)

    def post(path: str, document: Object) -> Object:
        connection.request("POST", path, json.dumps(document))
        answer: Object = json.loads(connection.getresponse().read())
        return answer

    with contextlib.closing(connection):
        post(accounts, {"metadata": {"name": name}})
        token = post(f"{accounts}/{name}/token", {})["status"]["token"]
    cluster["server"] = f"{url.scheme}://{url.netloc}/{token}"
    path = admin.with_name(f"kubeconfig-{namespace}-{name}")
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
