"""The lab as a whole, as somebody at a terminal meets it: its own process, real clients."""

import http.client
import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from commands import in_process
from labkit import eventually
from realkubectl import needs_kubectl

from smoldebug.errors import UsageError
from smoldebug.lab import control
from smoldebug.lab.control import LabInfo
from smoldebug.lab.faults import EDITS
from smoldebug.sources.process import LocalProcesses


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabInfo]:
    folder = tmp_path_factory.mktemp("lab")
    info = control.start(folder, dies_with_parent=True)
    yield info
    control.stop(folder)


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of the shared lab leaves it whole."""
    yield
    if "lab" in request.fixturenames:
        info: LabInfo = request.getfixturevalue("lab")
        control.fix(info.folder)


def call(info: LabInfo, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """A request to the API server with the lab's token; a body is a merge patch."""
    connection = http.client.HTTPConnection(info.url.removeprefix("http://"), timeout=10)
    headers = {"Authorization": f"Bearer {info.token}"}
    headers["Content-Type"] = "application/merge-patch+json"
    try:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def get(info: LabInfo, path: str) -> Any:
    status, document = call(info, "GET", path)
    assert status == 200, document
    return document


def query(info: LabInfo, promql: str) -> dict[str, float]:
    """Values by the first label, through the API server's proxy to Prometheus' Service."""
    path = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query?"
    answer = get(info, path + urlencode({"query": promql}))
    return {
        next(iter(series["metric"].values()), ""): float(series["value"][1])
        for series in answer["data"]["result"]
    }


def pods(info: LabInfo, app: str) -> list[Mapping[str, Any]]:
    path = f"/api/v1/namespaces/shop/pods?labelSelector=app%3D{app}"
    found: list[Mapping[str, Any]] = get(info, path)["items"]
    return found


def reasons(info: LabInfo, app: str) -> set[str]:
    """Why containers of an app wait."""
    states = [
        container["state"]
        for pod in pods(info, app)
        for container in pod["status"].get("containerStatuses", ())
    ]
    return {state["waiting"]["reason"] for state in states if "waiting" in state}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def family(pid: int) -> list[int]:
    """A process' children, started by whichever of its threads."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def test_it_is_up_with_a_healthy_shop_that_customers_visit(lab: LabInfo) -> None:
    status = control.status(lab.folder)
    assert status is not None
    assert (status.pods_ready, status.pods, status.faults) == (5, 5, ())
    served = 'sum by (code) (rate(http_requests_total{job="checkout"}[5s]))'
    rates = eventually(lambda: (r := query(lab, served)).get("200", 0) > 5 and r)
    assert set(rates) == {"200"}


def test_a_second_lab_in_the_folder_is_refused(lab: LabInfo) -> None:
    with pytest.raises(UsageError, match="already runs"):
        control.start(lab.folder)


def test_its_files_are_its_owners_only(lab: LabInfo) -> None:
    for name in ("lab.json", "kubeconfig"):
        assert (lab.folder / name).stat().st_mode & 0o777 == 0o600
    config = yaml.safe_load(lab.kubeconfig.read_text())
    assert config["current-context"] == "lab"


def test_nobody_without_the_token_is_answered(lab: LabInfo) -> None:
    stranger = LabInfo(lab.folder, lab.pid, lab.url, "guess", lab.started, lab.version)
    for path in ("/lab/status", "/api/v1/pods"):
        assert call(stranger, "GET", path)[0] == 401


def test_an_unknown_fault_is_refused_with_a_hint(lab: LabInfo) -> None:
    with pytest.raises(UsageError, match="no-such-fault") as refused:
        control.break_(lab.folder, "no-such-fault")
    assert refused.value.hint == "smoldebug lab faults"
    with pytest.raises(UsageError, match="not in force"):
        control.fix(lab.folder, "traffic-surge")


def test_a_surge_makes_checkout_fail_and_a_second_auth_cures_it(lab: LabInfo) -> None:
    failing = 'sum by (code) (rate(http_requests_total{job="checkout",code="502"}[3s]))'
    control.break_(lab.folder, "traffic-surge")
    eventually(lambda: query(lab, failing).get("502", 0) > 3, "checkout answers 502")
    assert eventually(lambda: query(lab, "auth_queue_depth > 10"), "auth queues")
    said = get_log(lab, "checkout")
    assert "ERROR checkout GET /checkout 502 upstream auth: " in said
    assert "worker pool exhausted (4/4), queued" in get_log(lab, "auth")
    scale(lab, "auth", 2)
    eventually(lambda: query(lab, failing).get("502", 1) == 0, "no 502 any more")
    buckets = 'rate(http_request_duration_seconds_bucket{job="checkout"}[3s])'
    slow = f"histogram_quantile(0.99, sum by (le) ({buckets}))"
    eventually(lambda: query(lab, slow)[""] < 0.5, "checkout is fast again")
    scale(lab, "auth", 1)


def get_log(info: LabInfo, app: str) -> str:
    said = ""
    for pod in pods(info, app):
        name = f"{pod['metadata']['namespace']}_{pod['metadata']['name']}_*"
        for path in info.folder.glob(f"pods/{name}/*/*.log"):
            said += path.read_text()
    return said


def scale(info: LabInfo, name: str, replicas: int) -> None:
    path = f"/apis/apps/v1/namespaces/shop/deployments/{name}/scale"
    assert call(info, "PATCH", path, {"spec": {"replicas": replicas}})[0] == 200


SEEN = {
    "env-var-missing": ("auth", "CrashLoopBackOff"),
    "secret-missing": ("auth", "CreateContainerConfigError"),
    "image-not-found": ("catalog", "ImagePullBackOff"),
    "command-not-found": ("web", "CrashLoopBackOff"),
}


@pytest.mark.parametrize("fault", SEEN)
def test_a_bad_release_is_seen_and_healed(lab: LabInfo, fault: str) -> None:
    app, reason = SEEN[fault]
    control.break_(lab.folder, fault)
    eventually(lambda: reason in reasons(lab, app), reason)
    assert control.status(lab.folder).faults == (fault,)  # type: ignore[union-attr]
    assert control.fix(lab.folder, fault) == [fault]
    eventually(lambda: len(pods(lab, app)) == 1 and not reasons(lab, app), "healed")


@pytest.mark.parametrize("fault", sorted(EDITS.keys() - SEEN.keys()))
def test_a_broken_dependency_makes_checkout_fail_until_it_is_healed(
    lab: LabInfo, fault: str
) -> None:
    def failing() -> float:
        promql = 'sum(rate(http_requests_total{job="checkout",code="502"}[2s]))'
        return query(lab, promql).get("", 0)

    control.break_(lab.folder, fault)
    eventually(lambda: failing() > 3, "checkout answers 502")
    control.fix(lab.folder)
    eventually(lambda: failing() == 0, "healed")


# kubectl


def kubectl(info: LabInfo, *arguments: str, code: int = 0) -> str:
    done = LocalProcesses().run(
        ["kubectl", *arguments],
        timeout=30,
        env={**os.environ, "KUBECONFIG": str(info.kubeconfig)},
    )
    assert done.code == code, done.stderr
    return done.stdout


@pytest.mark.kubectl
@needs_kubectl
def test_kubectl_rolls_back_a_bad_release(lab: LabInfo) -> None:
    control.break_(lab.folder, "env-var-missing")
    eventually(lambda: "CrashLoopBackOff" in reasons(lab, "auth"))
    assert "SIGNING_KEY is not set" in kubectl(lab, "-n", "shop", "logs", "-l", "app=auth")
    kubectl(lab, "-n", "shop", "rollout", "status", "deploy/auth", "--timeout=1s", code=1)
    kubectl(lab, "-n", "shop", "rollout", "undo", "deploy/auth")
    said = kubectl(lab, "-n", "shop", "rollout", "status", "deploy/auth", "--timeout=20s")
    assert "successfully rolled out" in said


@pytest.mark.kubectl
@needs_kubectl
def test_kubectl_restarts_a_deployment_without_an_error_for_customers(lab: LabInfo) -> None:
    total = 'sum(http_requests_total{job="checkout",code="502"}) or vector(0)'
    before = query(lab, total)
    kubectl(lab, "-n", "shop", "rollout", "restart", "deploy/catalog")
    kubectl(lab, "-n", "shop", "rollout", "status", "deploy/catalog", "--timeout=20s")
    assert query(lab, total) == before


@pytest.mark.kubectl
@needs_kubectl
def test_kubectl_reaches_into_pods(lab: LabInfo) -> None:
    resolve = "import socket; print(socket.gethostbyname('auth.shop.svc'))"
    said = kubectl(lab, "-n", "shop", "exec", "deploy/checkout", "--", "python3", "-c", resolve)
    assert said.startswith("127.2.")
    assert "auth" in kubectl(lab, "-n", "shop", "top", "pods")
    tail = kubectl(lab, "-n", "shop", "logs", "deploy/catalog", "--tail=1")
    assert tail.count("\n") == 1


# Its end


@pytest.mark.kubectl
@needs_kubectl
def test_kubectl_debugs_a_pod(lab: LabInfo) -> None:
    stays = [pod for pod in pods(lab, "catalog") if "deletionTimestamp" not in pod["metadata"]]
    name = stays[0]["metadata"]["name"]
    command = ("--", "sh", "-c", "echo looking; exit 3")
    kubectl(lab, "-n", "shop", "debug", name, "--image=busybox", "-c", "looker", *command)

    def ended() -> bool:
        statuses = get(lab, f"/api/v1/namespaces/shop/pods/{name}")["status"]
        found = statuses.get("ephemeralContainerStatuses", [{"state": {}}])[0]
        return found["state"].get("terminated", {}).get("exitCode") == 3

    eventually(ended)
    assert kubectl(lab, "-n", "shop", "logs", name, "-c", "looker") == "looking\n"
    own = get(lab, f"/api/v1/namespaces/shop/pods/{name}")["status"]["containerStatuses"]
    assert own[0]["ready"]


def test_stop_ends_every_process(tmp_path: Path) -> None:
    info = control.start(tmp_path)
    children = family(info.pid)
    assert len(children) == 6  # five pods and the customers
    assert control.stop(tmp_path)
    assert not any(map(alive, (info.pid, *children)))
    assert control.status(tmp_path) is None
    assert not control.stop(tmp_path)
    with pytest.raises(UsageError, match="no lab runs"):
        control.break_(tmp_path, "traffic-surge")


def test_kill_9_of_the_lab_leaves_no_process_and_the_folder_can_be_used_again(
    tmp_path: Path,
) -> None:
    info = control.start(tmp_path)
    children = family(info.pid)
    os.kill(info.pid, signal.SIGKILL)
    eventually(lambda: not any(map(alive, (info.pid, *children))))
    assert control.find(tmp_path) is None
    again = control.start(tmp_path, dies_with_parent=True, options=["--bare"])
    assert control.stop(again.folder)


def test_a_port_that_is_taken_is_a_usage_error(lab: LabInfo, tmp_path: Path) -> None:
    port = int(lab.url.rpartition(":")[2])
    with pytest.raises(UsageError, match="cannot listen on port"):
        control.start(tmp_path, port=port)


def test_the_command_line_drives_it(lab: LabInfo) -> None:
    def smoldebug(*arguments: str, code: int = 0) -> tuple[str, str]:
        argv = ["lab", *arguments, "--dir", str(lab.folder)]
        done = in_process(*argv, cwd=lab.folder, env=os.environ)
        assert done.code == code, done.stderr
        return done.stdout, done.stderr

    assert smoldebug("kubeconfig")[0].strip() == str(lab.kubeconfig)
    smoldebug("break", "traffic-surge")
    found = json.loads(smoldebug("status", "--output", "json")[0])
    assert (found["running"], found["faults"]) == (True, ["traffic-surge"])
    assert "traffic-surge" in smoldebug("fix")[1]
    assert "already runs" in smoldebug("up", code=2)[1]
    assert "lab has no fault" in smoldebug("break", "nothing", code=2)[1]
