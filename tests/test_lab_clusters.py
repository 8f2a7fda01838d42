"""Several clusters as one lab: one kubeconfig, each cluster a process of its own."""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import in_process
from labkit import eventually, pod

from smoldebug.errors import UnreachableError, UsageError
from smoldebug.lab import clusters, control, images
from smoldebug.lab.control import LabInfo
from smoldebug.lab.faults import UNREACHABLE

PODS = "/api/v1/namespaces/default/pods"
TOLD_WITHIN = 0.05  # seconds, on a machine that is not busy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two clusters that run."""
    folder = tmp_path_factory.mktemp("set")
    clusters.start(folder, 2, dies_with_parent=True)
    yield folder
    clusters.stop(folder)


def ask(info: LabInfo, method: str, path: str, body: Any = None, timeout: float = 10) -> Any:
    connection = http.client.HTTPConnection(info.url.removeprefix("http://"), timeout=timeout)
    with closing(connection):
        headers = {"Authorization": f"Bearer {info.token}"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        assert answer.status < 300, answer.read()
        return json.loads(answer.read())


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def counted(info: LabInfo) -> dict[str, int]:
    found = control.status(info.folder)
    assert found is not None
    return dict(found.requests)


def test_one_kubeconfig_has_a_context_for_each(folder: Path) -> None:
    path = folder / "kubeconfig"
    assert path.stat().st_mode & 0o777 == 0o600
    config = yaml.safe_load(path.read_text("utf-8"))
    assert config["current-context"] == "eu-staging"
    contexts = {each["name"]: each["context"] for each in config["contexts"]}
    assert list(contexts) == ["eu-staging", "us-staging"]
    servers = {each["name"]: each["cluster"]["server"] for each in config["clusters"]}
    for info in clusters.find(folder):
        assert servers[contexts[info.name]["cluster"]] == f"{info.url}/{info.token}"


def test_each_is_a_cluster_of_its_own_without_a_shop(folder: Path) -> None:
    first, second = clusters.find(folder)
    assert first.pid != second.pid
    namespaces = [ask(info, "GET", "/api/v1/namespaces")["items"] for info in (first, second)]
    uids = [{n["metadata"]["name"]: n["metadata"]["uid"] for n in found} for found in namespaces]
    assert "shop" not in uids[0]
    assert uids[0]["kube-system"] != uids[1]["kube-system"]
    status = control.status(first.folder)
    assert status is not None
    assert (status.pods, status.customers_per_second) == (0, 0.0)


def test_a_loaded_image_is_there_in_every_cluster(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text("print('said')")
    images.load(folder / images.FOLDER, "team/say:1", tmp_path, ["python3", "/say.py"])
    main = {"name": "main", "image": "team/say:1"}
    for info in clusters.find(folder):
        ask(info, "POST", PODS, pod("say", main, restartPolicy="Never"))

    def ended(info: LabInfo) -> bool:
        return bool(ask(info, "GET", f"{PODS}/say")["status"]["phase"] == "Succeeded")

    for info in clusters.find(folder):
        eventually(lambda info=info: ended(info))


def test_what_clients_ask_is_counted_by_verb_and_looking_is_not(folder: Path) -> None:
    info = clusters.find(folder)[1]
    before = counted(info)
    ask(info, "GET", PODS)
    ask(info, "GET", PODS)
    ask(info, "GET", "/version")
    ask(info, "POST", "/api/v1/namespaces", {"metadata": {"name": "counted"}})
    with closing(http.client.HTTPConnection(info.url.removeprefix("http://"))) as watch:
        watch.request("GET", f"/{info.token}{PODS}?watch=true&timeoutSeconds=1")
        watch.getresponse()
    after = counted(info)
    more = {verb: count - before.get(verb, 0) for verb, count in after.items()}
    assert {verb: count for verb, count in more.items() if count} == {
        "list": 2,
        "discovery": 1,
        "create": 1,
        "watch": 1,
    }


def test_a_watcher_is_told_at_once(folder: Path) -> None:
    info = clusters.find(folder)[0]
    maps = "/api/v1/namespaces/default/configmaps"
    with closing(http.client.HTTPConnection(info.url.removeprefix("http://"))) as watch:
        watch.request("GET", f"/{info.token}{maps}?watch=true&timeoutSeconds=20")
        answer = watch.getresponse()
        watch.sock.settimeout(5)
        waits = []
        for number in range(5):
            began = time.monotonic()
            ask(info, "POST", maps, {"metadata": {"name": f"told-{number}"}})
            assert json.loads(answer.readline())["object"]["metadata"]["name"] == f"told-{number}"
            waits.append(time.monotonic() - began)
    assert min(waits) < TOLD_WITHIN


def test_a_cluster_that_is_made_unreachable_leaves_its_clients_waiting(folder: Path) -> None:
    first, second = clusters.find(folder)
    control.break_(second.folder, UNREACHABLE)
    try:
        with pytest.raises(TimeoutError):
            ask(second, "GET", PODS, timeout=0.3)
        broken = control.status(second.folder)
        assert broken is not None
        assert broken.faults == (UNREACHABLE,)
        ask(first, "GET", PODS)
    finally:
        assert control.fix(second.folder) == [UNREACHABLE]
    ask(second, "GET", PODS)
    assert control.fix(second.folder) == []


def test_the_command_line_drives_them(folder: Path, tmp_path: Path) -> None:
    def lab(*arguments: str, code: int = 0) -> tuple[str, str]:
        argv = ["lab", arguments[0], "--dir", str(folder), *arguments[1:]]
        done = in_process(*argv, cwd=tmp_path, env=os.environ)
        assert done.code == code, done.stderr
        return done.stdout, done.stderr

    assert lab("kubeconfig")[0].strip() == str(folder / "kubeconfig")
    told = json.loads(lab("status", "-o", "json")[0])
    assert list(told["clusters"]) == ["eu-staging", "us-staging"]
    assert "requests" in told["clusters"]["eu-staging"]
    assert "us-staging is up" in lab("status")[0]
    assert "already runs" in lab("up", code=2)[1]
    assert "already runs" in lab("up", "--clusters", "2", code=2)[1]
    assert "us-staging" in lab("break", UNREACHABLE, code=2)[1]  # which one?
    assert "no shop" in lab("break", "traffic-surge", "--cluster", "us-staging", code=2)[1]
    assert "loaded" in lab("load-image", "a/b:1", str(tmp_path), "--", "sh", "-c", "true")[1]
    assert images.find("a/b:1", folder / images.FOLDER)


def test_one_that_does_not_come_up_takes_the_others_along(tmp_path: Path) -> None:
    in_the_way = tmp_path / "clusters/ap-staging/kubeconfig"
    in_the_way.mkdir(parents=True)
    with pytest.raises(UnreachableError, match="ended at its start"):
        clusters.start(tmp_path, 3)
    assert clusters.find(tmp_path) == []
    assert not (tmp_path / "kubeconfig").exists()


def test_down_ends_all_of_them_also_one_that_hangs_and_when_one_was_killed(
    tmp_path: Path,
) -> None:
    infos = clusters.start(tmp_path, 3)
    os.kill(infos[0].pid, signal.SIGKILL)
    eventually(lambda: clusters.find(tmp_path) == infos[1:])
    control.break_(infos[1].folder, UNREACHABLE)
    with pytest.raises(UsageError, match="already runs"):
        clusters.start(tmp_path, 1)
    for _ in range(20):  # as often as it likes, also while it is ending
        os.kill(infos[2].pid, signal.SIGTERM)
    began = time.monotonic()
    assert clusters.stop(tmp_path)
    assert time.monotonic() - began < control.STOP_WITHIN  # nobody had to be killed
    assert not any(alive(info.pid) for info in infos)
    assert not clusters.stop(tmp_path)
