"""Against a Kubernetes that this project did not write: $SMOLDEBUG_REAL_KUBECONFIG names it.

Not $KUBECONFIG: a test suite must never touch a cluster that merely happens to be configured.
What its version does not have yet is skipped, each by name (see `since`).
"""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from toolbench import Bench

from smoldebug.appliers import KubeApplier
from smoldebug.change import Executor, Place
from smoldebug.clock import SystemClock
from smoldebug.errors import NotFound
from smoldebug.events import ChangeSettled
from smoldebug.guard import Guard
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.playbook import models
from smoldebug.records import Answer, ChangeKind, Decision, ObjectRef
from smoldebug.sources.kube import KubeCluster, connect

T = TypeVar("T")
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
        code, out, _ = self.typed(*words, "-n", self.name, "--output", "json")
        return code, json.loads(out)

    def typed(self, *words: str) -> tuple[int, str, str]:
        argv = [sys.executable, "-m", "smoldebug", *words]
        done = subprocess.run(
            argv, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

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


# --- every kind of change, there and back ---------------------------------------------------
# No pod of these ever runs: what is tested is between the API server and us.


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubeCluster]:
    found = connect(None, KUBECONFIG)
    yield found
    found.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A namespace with a Deployment, a ConfigMap and a Service that nothing serves."""
    namespace = Namespace(tmp_path_factory.mktemp("place"))
    namespace.kubectl("create", "namespace", namespace.name)
    try:
        yield namespace
    finally:
        namespace.kubectl("delete", "namespace", namespace.name, "--wait=false")


@pytest.fixture
def auth(place: Namespace) -> Namespace:
    idle = deployment(["python3", "-c", SERVE])
    idle["metadata"]["name"], idle["spec"]["replicas"] = "auth", 0
    place.kubectl("delete", "deployment/auth", "configmap/old", "--ignore-not-found")
    place.kubectl("apply", "-f", "-", given=idle)
    place.kubectl("create", "configmap", "old", "--from-literal=a=1")
    return place


@pytest.fixture
def node(place: Namespace) -> Iterator[str]:
    """The name of a node, which is as it was afterwards whatever happens."""
    name = place.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    yield name
    place.kubectl("uncordon", name)
    if "smoldebug-test" in place.kubectl("get", "node", name, "-o", "json"):
        place.kubectl("taint", "node", name, "smoldebug-test-")


def executor(cluster: KubeCluster, namespace: str, run: str = "7f3a") -> Executor:
    kinds = [kind for kind in ChangeKind if kind in KUBE_KINDS]
    targets = [f"{kind}/{namespace}/*" for kind in ("Deployment", "ConfigMap", "Pod")] + ["Node/*"]
    change = models.ChangeTool(allow=kinds, targets=targets, values=["*"])
    playbook = models.Playbook(
        apiVersion="smoldebug.dev/v1",
        name="real",
        goal=models.Goal(),
        tools=models.Tools(change=change),
    )
    applier = KubeApplier(lambda: cluster)
    return Executor(
        Guard(playbook, context="real"),
        dict.fromkeys(kinds, applier),
        lambda card: Decision(Answer.YES, "operator"),
        SystemClock(),
        Place(run, "real"),
    )


def drained(steps: Generator[Any, None, T]) -> T:
    """What a generator returns, its events aside."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]


CONTROLLERS = "node.kubernetes.io/"  # their taints come and go with what they watch


def content(item: dict[str, Any]) -> dict[str, Any]:
    """What whoever made it said: nothing of the server's, nor the note of the run."""
    spec = dict(item.get("spec") or {})
    taints = [each for each in spec.pop("taints", []) if not each["key"].startswith(CONTROLLERS)]
    return {
        "spec": spec,
        "taints": taints,
        "data": item.get("data"),
        "labels": item["metadata"].get("labels"),
    }


AUTH: dict[str, Any] = {"target": "deployment/auth"}
READY = {"spec": {"minReadySeconds": 5}}
MANIFEST = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "auth"}, **READY}
OLD = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}, "data": {"b": "2"}}
TWO = [{"op": "add", "path": "/spec/minReadySeconds", "value": 2}]
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "scale": ("scale", {**AUTH, "replicas": 3}),
    "set-env": ("set_env", {**AUTH, "name": "MODE", "value": "slow"}),
    "set-image": ("set_image", {**AUTH, "image": "local/python:4"}),
    "set-resources": ("set_resources", {**AUTH, "memory_limit": "64Mi"}),
    "patch-object, strategic": ("apply_k8s_patch", {**AUTH, "patch": READY}),
    "patch-object, json": ("apply_json_patch", {**AUTH, "operations": TWO}),
    "apply-object": ("apply_manifest", {"manifest": MANIFEST}),
    "create-object": ("create_object", {"manifest": OLD}),
    "delete-object": ("delete_object", {"target": "configmap/old"}),
    "set-config-key": ("set_config_key", {"configmap": "old", "key": "b", "value": "2"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_goes_there_and_back(auth: Namespace, cluster: KubeCluster, name: str):
    tool, arguments = CHANGES[name]
    change = Bench(cluster=cluster).change(tool, namespace=auth.name, **arguments)
    before, acts = looked_at(cluster, change.target), executor(cluster, auth.name)
    outcome = drained(acts.execute(change))
    assert outcome.state == "verified", outcome.text
    assert looked_at(cluster, change.target) != before
    assert drained(acts.take_back())
    assert looked_at(cluster, change.target) == before


def looked_at(cluster: KubeCluster, ref: ObjectRef) -> dict[str, Any] | None:
    try:
        return content(cluster.get(ref))
    except NotFound:
        return None


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("cordon", {}), ("add_taint", {"key": "smoldebug-test", "effect": "PreferNoSchedule"})],
)
def test_a_node_goes_there_and_back(
    node: str, place: Namespace, cluster: KubeCluster, tool: str, arguments: dict[str, Any]
):
    change = Bench(cluster=cluster).change(tool, node=node, **arguments)
    before, acts = looked_at(cluster, change.target), executor(cluster, place.name)
    outcome = drained(acts.execute(change))
    assert outcome.state == "verified", outcome.text
    assert drained(acts.take_back())
    assert looked_at(cluster, change.target) == before


def test_a_field_that_somebody_else_applied_is_theirs(auth: Namespace, cluster: KubeCluster):
    theirs = {**MANIFEST, "spec": {"minReadySeconds": 9}}
    argo = ("--server-side", "--field-manager=argo", "--validate=false")
    auth.kubectl("apply", *argo, "-f", "-", given=theirs)
    change = Bench(cluster=cluster).change("apply_manifest", manifest=MANIFEST, namespace=auth.name)
    outcome = drained(executor(cluster, auth.name).execute(change))
    assert outcome.state == "refused"
    assert "argo" in outcome.text
    assert "minReadySeconds" in outcome.text
    kept = auth.kubectl("get", "deployment/auth", "-o", "jsonpath={.spec.minReadySeconds}")
    assert kept == "9"


def test_what_the_server_does_not_accept_is_refused_by_its_dry_run(
    auth: Namespace, cluster: KubeCluster
):
    before = looked_at(cluster, ObjectRef("Deployment", auth.name, "auth"))
    wrong = [{"op": "replace", "path": "/spec/template/spec/restartPolicy", "value": "Never"}]
    change = Bench(cluster=cluster).change(
        "apply_json_patch", **AUTH, operations=wrong, namespace=auth.name
    )
    outcome = drained(executor(cluster, auth.name).execute(change))
    assert outcome.state == "refused"
    assert "restartPolicy" in outcome.text
    assert looked_at(cluster, ObjectRef("Deployment", auth.name, "auth")) == before


def test_an_undo_that_somebody_elses_edit_blocks_says_whose(auth: Namespace, cluster: KubeCluster):
    acts = executor(cluster, auth.name)
    change = Bench(cluster=cluster).change("scale", **AUTH, replicas=3, namespace=auth.name)
    assert drained(acts.execute(change)).state == "verified"
    auth.kubectl("patch", "deployment/auth", "-p", '{"spec": {"replicas": 5}}')
    events = list(acts.take_back())
    (settled,) = [event for event in events if isinstance(event, ChangeSettled)]
    assert settled.state == "undo blocked"
    assert settled.detail.startswith("spec.replicas: before 0, ours 3, now 5 (set by kubectl")


# --- by command -----------------------------------------------------------------------------


def write_run(folder: Path, namespace: str) -> tuple[str, ...]:
    """The arguments of a run that scales auth to 3, which is its goal."""
    auth = {"kind": "Deployment", "namespace": namespace, "name": "auth"}
    change = {"allow": ["scale"], "targets": [f"Deployment/{namespace}/auth"]}
    book = {
        "apiVersion": "smoldebug.dev/v1",
        "name": "real",
        "goal": {"all": [{"object": {**auth, "matches": {"spec": {"replicas": 3}}}}]},
        "scope": {"namespaces": [namespace]},
        "tools": {"kubectl": {"read": ["deployments", "hpa"]}, "change": change},
    }
    (folder / "real.yaml").write_text(yaml.safe_dump(book))
    call = {**AUTH, "namespace": namespace, "replicas": 3, "why": "E1"}
    (folder / "script.yaml").write_text(yaml.safe_dump([{"calls": [{"scale": call}]}]))
    return "triage", "-p", str(folder / "real.yaml"), "-m", f"scripted:{folder}/script.yaml"


def replicas(namespace: Namespace) -> str:
    return namespace.kubectl("get", "deployment/auth", "-o", "jsonpath={.spec.replicas}")


def test_a_run_is_approved_resumed_and_undone(auth: Namespace, tmp_path: Path):
    code, _, said = auth.typed(*write_run(tmp_path, auth.name))
    assert (code, replicas(auth)) == (7, "0"), said
    document = json.loads(auth.typed("runs", "show", "last", "-o", "json")[1])
    digest = document["changes"][0]["digest"]
    code, _, said = auth.typed("runs", "approve", "last", "C1", "--hash", digest[::-1])
    assert (code, "this yes is for other bytes" in said) == (1, True)
    assert auth.typed("runs", "approve", "last", "C1", "--hash", digest)[0] == 0
    assert auth.typed("runs", "resume", "last", "-o", "plain")[0] == 0
    assert replicas(auth) == "3"
    auth.kubectl("patch", "deployment/auth", "-p", '{"spec": {"replicas": 4}}')
    code, out, _ = auth.typed("undo", "last", "-y")
    assert (code, replicas(auth)) == (5, "4")
    assert "spec.replicas: before 0, ours 3, now 4 (set by kubectl" in out
    auth.kubectl("scale", "deployment/auth", "--replicas=3")
    assert auth.typed("undo", "last", "-y")[0] == 0
    assert replicas(auth) == "0"
    assert auth.typed("runs", "verify", "last")[0] == 0


# --- what its version may not have yet ------------------------------------------------------


@pytest.fixture(scope="module")
def minor(place: Namespace) -> int:
    found = json.loads(place.kubectl("version", "-o", "json"))["serverVersion"]["minor"]
    return int(found.rstrip("+"))


def since(version: int, minor: int, what: str) -> None:
    if minor < version:
        pytest.skip(f"Kubernetes 1.{minor} has no {what} (1.{version})")


def test_a_debug_container(cluster: KubeCluster, minor: int, request: pytest.FixtureRequest):
    since(25, minor, "ephemeral containers")
    shop: Namespace = request.getfixturevalue("shop")
    pod = shop.kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    look = {"pod": pod, "image": "local/python:3", "command": ["python3", "-V"]}
    change = Bench(cluster=cluster).change("debug_container", **look, namespace=shop.name)
    outcome = drained(executor(cluster, shop.name).execute(change))
    assert outcome.state == "verified", outcome.text


def test_who_we_are(cluster: KubeCluster, minor: int):
    since(28, minor, "SelfSubjectReview in authentication.k8s.io/v1")
    assert cluster.whoami()


@pytest.mark.parametrize(
    "kind", ["PodDisruptionBudget", "CronJob", "EndpointSlice", "HorizontalPodAutoscaler"]
)
def test_a_kind_is_read_in_the_newest_version_there_is(
    place: Namespace, cluster: KubeCluster, kind: str
):
    """1.20 has no policy/v1, no CronJobs in batch/v1, no discovery.k8s.io/v1, no autoscaling/v2."""
    assert cluster.list(kind, place.name) == []
