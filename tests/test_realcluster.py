"""Against a Kubernetes that this project did not write: $SMOLDEBUG_REAL_KUBECONFIG names it.

Not $KUBECONFIG: a test suite must never touch a cluster that merely happens to be configured.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

KUBECONFIG = os.environ.get("SMOLDEBUG_REAL_KUBECONFIG", "")
pytestmark = [
    pytest.mark.realcluster,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not KUBECONFIG, reason="SMOLDEBUG_REAL_KUBECONFIG names no cluster"),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl"),
]
SERVE = (
    "import http.server as h\n"
    "class A(h.BaseHTTPRequestHandler):\n"
    "  def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'ok')\n"
    "h.HTTPServer(('', 8080), A).serve_forever()\n"
)


def deployment(command: list[str]) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "local/python:3",
        "command": command,
        "ports": [{"containerPort": 8080, "name": "http"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    }


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
}


class Namespace:
    """A namespace of its own on the cluster, with kubectl and smoldebug pointed at it."""

    def __init__(self, home: Path) -> None:
        self.name = f"smoldebug-{uuid.uuid4().hex[:6]}"
        self._env = {**os.environ, "KUBECONFIG": KUBECONFIG, "SMOLDEBUG_HOME": str(home)}

    def kubectl(self, *words: str, given: Any = None) -> str:
        argv = ["kubectl", "-n", self.name, *words]
        text = json.dumps(given) if given is not None else None
        done = subprocess.run(
            argv, env=self._env, input=text, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def smoldebug(self, *words: str) -> tuple[int, dict[str, Any]]:
        argv = [sys.executable, "-m", "smoldebug", *words, "-n", self.name, "--output", "json"]
        done = subprocess.run(
            argv, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        return done.returncode, json.loads(done.stdout)

    def until(self, what: str, *words: str) -> None:
        end = time.monotonic() + 90
        while what not in self.kubectl(*words):
            assert time.monotonic() < end, f"never saw {what}: {self.kubectl(*words)}"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Namespace]:
    namespace = Namespace(tmp_path)
    namespace.kubectl("create", "namespace", namespace.name)
    try:
        namespace.kubectl("apply", "-f", "-", given=deployment(["python3", "-c", SERVE]))
        namespace.kubectl("apply", "-f", "-", given=SERVICE)
        namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        yield namespace
    finally:
        namespace.kubectl("delete", "namespace", namespace.name, "--wait=false")


def test_a_healthy_workload_is_left_alone(shop: Namespace):
    status, document = shop.smoldebug("triage", "deployment/web")
    assert (status, document["changes"]) == (0, [])


def test_a_url_is_measured_through_the_api_server(shop: Namespace, tmp_path: Path):
    playbook = tmp_path / "web.yaml"
    playbook.write_text(
        "apiVersion: smoldebug.dev/v1\n"
        "name: web\n"
        "inputs: {namespace: {default: default}}\n"
        "goal:\n"
        '  all: [{http: {url: "http://web.${{ inputs.namespace }}.svc/", status: 200}}]\n',
        encoding="utf-8",
    )
    status, document = shop.smoldebug("check", "-p", str(playbook), "--no-wait")
    assert status == 0
    assert "proxy Pod/" in json.dumps(document)


def test_a_broken_release_is_rolled_back_and_proven_well(shop: Namespace):
    shop.kubectl("apply", "-f", "-", given=deployment(["python3", "/no/such/file.py"]))
    shop.until("Error", "get", "pods")
    status, document = shop.smoldebug("triage", "deployment/web", "-y")
    assert status == 0
    (change,) = document["changes"]
    assert (change["kind"], change["state"]) == ("rollback", "verified")
    assert "smoldebug" in shop.kubectl("get", "deployment", "web", "-o", "yaml")


def test_without_approval_nothing_is_changed(shop: Namespace):
    shop.kubectl("apply", "-f", "-", given=deployment(["python3", "/no/such/file.py"]))
    shop.until("Error", "get", "pods")
    before = shop.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.generation}")
    status, _ = shop.smoldebug("triage", "deployment/web")
    after = shop.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.generation}")
    assert (status, after) == (7, before)
