"""A real Helm on a cluster of the lab, whose pods really run: workloads, hooks, definitions."""

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from labkit import eventually
from realhelm import each_helm

from smoldebug.lab import control
from smoldebug.lab.control import LabInfo
from smoldebug.sources.process import LocalProcesses
from smoldebug.sources.world import Completed

pytestmark = pytest.mark.helm

SERVICE = """\
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(os.environ["STATUS"]))
        self.end_headers()
        self.wfile.write(open(sys.argv[1], "rb").read())
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def object_(api: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, **more.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **more}


def workload(kind: str, name: str, container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    volumes = [{"name": "files", "configMap": {"name": "files"}}]
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}
    template = {"metadata": {"labels": labels}, "spec": pod}
    whole = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return object_("apps/v1", kind, name, spec=whole)


def chart(folder: Path) -> Path:
    """Two workloads that serve what a ConfigMap says, a hook that runs before each upgrade."""
    container = {
        "name": "main",
        "image": "python:3",
        "args": ["/files/service.py", "/files/greeting"],
        "env": [{"name": "STATUS", "value": "{{ .Values.status }}"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "files", "mountPath": "/files"}],
    }
    data = {"service.py": SERVICE, "greeting": "{{ .Values.greeting }}"}
    hook = {"name": "main", "image": "python:3", "args": ["-c", "{{ .Values.hook }}"]}
    notes = {"helm.sh/hook": "pre-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"}
    job = {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never"}}}
    job["template"]["spec"]["containers"] = [hook]  # type: ignore[index]
    ports = [{"port": 80, "targetPort": 8080}]
    objects = [
        object_("v1", "ConfigMap", "files", data=data),
        object_("v1", "Service", "web", spec={"selector": {"app": "web"}, "ports": ports}),
        workload("Deployment", "web", container),
        workload("StatefulSet", "db", container, serviceName="db"),
        workload("DaemonSet", "agent", container),
        object_("batch/v1", "Job", "migrate", metadata={"annotations": notes}, spec=job),
    ]
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {}}]
    names = {"plural": "widgets", "kind": "Widget"}
    group = {"group": "x.io", "scope": "Namespaced", "names": names, "versions": versions}
    crd = object_("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.x.io", spec=group)
    values = {"greeting": "one", "status": 200, "hook": "print(1)"}
    files = {
        "Chart.yaml": {"apiVersion": "v2", "name": "shop", "version": "1.0.0"},
        "values.yaml": values,
        "crds/widgets.yaml": crd,
    }
    for path, document in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(yaml.safe_dump(document), "utf-8")
    (folder / "templates").mkdir()
    (folder / "templates/all.yaml").write_text(yaml.safe_dump_all(objects), "utf-8")
    return folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabInfo]:
    folder = tmp_path_factory.mktemp("lab")
    yield control.start(folder, dies_with_parent=True, options=["--bare"])
    control.stop(folder)


class Release:
    """The chart as release shop, in a namespace of its own, installed by one Helm."""

    def __init__(self, lab: LabInfo, argv: list[str], folder: Path) -> None:
        self.lab, self.argv, self.folder = lab, argv, folder
        self.namespace = folder.name.replace("_", "-")
        self.chart = chart(folder / "chart")
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        host = self.lab.url.removeprefix("http://")
        with closing(http.client.HTTPConnection(host, timeout=10)) as connection:
            headers = {"Authorization": f"Bearer {self.lab.token}"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            text = connection.getresponse().read().decode()
        return json.loads(text) if text.startswith("{") else text

    def helm(self, *words: str) -> Completed:
        env = {**os.environ, "KUBECONFIG": str(self.lab.kubeconfig)}
        place = ["--namespace", self.namespace]
        return LocalProcesses().run([*self.argv, *words, *place], timeout=50, env=env)

    def upgrade(self, *words: str, timeout: str = "30s", **values: Any) -> Completed:
        path = self.folder / "values.yaml"
        path.write_text(json.dumps(values), "utf-8")
        given = ["--values", str(path), "--timeout", timeout, *words]
        return self.helm("upgrade", "shop", str(self.chart), *given)

    def history(self) -> list[str]:
        rows = json.loads(self.helm("history", "shop", "--output", "json").stdout)
        return [row["status"] for row in rows]

    def get(self, path: str) -> Any:
        group, _, rest = path.partition(" ")
        return self.ask("GET", f"/{group}/namespaces/{self.namespace}/{rest}")

    def ready(self) -> list[int]:
        """Pods that are up to date and ready: of the Deployment, StatefulSet and DaemonSet."""
        counts = []
        for path, new in (
            ("deployments/web", "updatedReplicas"),
            ("statefulsets/db", "updatedReplicas"),
            ("daemonsets/agent", "updatedNumberScheduled"),
        ):
            found = self.get(f"apis/apps/v1 {path}")
            status = found.get("status") or {}
            seen = status.get("observedGeneration") == found["metadata"]["generation"]
            well = status.get("readyReplicas", status.get("numberReady", 0))
            counts.append(min(status.get(new, 0), well) if seen else 0)
        return counts

    def served(self) -> str:
        return str(self.get("api/v1 services/web:80/proxy/"))


@pytest.fixture
def release(lab: LabInfo, helm_argv: list[str], tmp_path: Path) -> Release:
    return Release(lab, helm_argv, tmp_path)


def went_well(done: Completed) -> None:
    assert done.code == 0, done.stderr


@each_helm
def test_a_release_is_installed_upgraded_and_rolled_back(release: Release) -> None:
    went_well(release.upgrade("--install"))
    eventually(lambda: release.ready() == [1, 1, 1])
    eventually(lambda: release.served() == "one")
    definition = release.ask(
        "GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.x.io"
    )
    assert definition["status"]["conditions"][-1]["type"] == "Established"

    went_well(release.upgrade(greeting="two", status=201))
    eventually(lambda: release.ready() == [1, 1, 1])
    eventually(lambda: release.served() == "two")
    job = release.get("apis/batch/v1 jobs/migrate")
    assert job["status"]["succeeded"] == 1

    went_well(release.helm("rollback", "shop", "1"))
    eventually(lambda: release.ready() == [1, 1, 1])
    eventually(lambda: release.served() == "one")
    assert release.history() == ["superseded", "superseded", "deployed"]


@each_helm
def test_a_hook_that_fails_or_hangs_ends_the_upgrade_before_it_begins(release: Release) -> None:
    went_well(release.upgrade("--install"))
    failed = release.upgrade(hook="raise SystemExit(3)", greeting="two")
    assert failed.code == 1
    assert "pre-upgrade hooks failed" in failed.stderr
    late = release.upgrade(hook="import time; time.sleep(60)", timeout="2s")
    assert late.code == 1
    assert release.history() == ["deployed", "failed", "failed"]
    assert release.get("api/v1 configmaps/files")["data"]["greeting"] == "one"
    went_well(release.upgrade())


@each_helm
def test_helm_waits_and_takes_back_what_does_not_become_ready(release: Release) -> None:
    if "--wait" not in release.helm("upgrade", "--help").stdout:
        pytest.skip("smoldebug's own command for Helm as a package cannot wait")
    went_well(release.upgrade("--install", "--wait"))
    assert release.ready()[:2] == [1, 1]
    assert release.upgrade("--atomic", timeout="4s", status=503).code == 1
    assert release.history() == ["superseded", "failed", "deployed"]
    went_well(release.helm("uninstall", "shop"))
    eventually(lambda: not release.get("api/v1 pods?labelSelector=app").get("items"))
