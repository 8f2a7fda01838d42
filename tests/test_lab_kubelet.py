"""The process kubelet: containers are real processes; what becomes of them is a pod's status."""

import base64
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from labkit import container, events, eventually, in_store, new_store, pod, script

from smoldebug.errors import ToolError, UsageError
from smoldebug.lab import images
from smoldebug.lab.addresses import Addresses
from smoldebug.lab.kubelet import Kubelet
from smoldebug.lab.objects import (
    CLAIMS,
    CONFIGMAPS,
    EVENTS,
    PODS,
    SECRETS,
    SERVICES,
    condition,
    is_ready,
)
from smoldebug.lab.podlogs import SIZE_LIMIT
from smoldebug.lab.runtime import LogOptions
from smoldebug.lab.scheduler import Scheduler
from smoldebug.lab.store import ApiError
from smoldebug.sources.world import Object

SERVE = (
    "import http.server, os, socketserver\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(int(self.path[1:] or 200)); self.end_headers()\n"
    "socketserver.TCPServer.allow_reuse_address = True\n"
    "socketserver.TCPServer((os.environ['LAB_POD_IP'], 8080), H).serve_forever()"
)


class Node:
    """A store with a running kubelet, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.store, self.addresses = new_store(), Addresses()
        hosts, self.images = folder / "hosts", folder / "images"
        self.kubelet = Kubelet(self.store, self.addresses, folder, hosts, self.images, backoff=0.3)
        (folder / "hosts").write_text("127.2.0.9 auth.shop.svc.cluster.local\n")
        self.kubelet.start()

    def run(self, obj: Object) -> None:
        self.store.create(PODS, "shop", obj)
        Scheduler(self.store).step()

    def wait(self, name: str, holds: Any) -> Object:
        return in_store(self.store, PODS, name, holds)

    def ended(self, name: str) -> Object:
        found = self.wait(name, lambda p: p["status"]["phase"] in ("Succeeded", "Failed"))
        return found["status"]["containerStatuses"][0]["state"]["terminated"]

    def output(self, obj: Object) -> str:
        """What a pod that ends by itself says."""
        name = obj["metadata"]["name"]
        self.run(obj)
        self.ended(name)
        return self.log(name)

    def log(self, name: str, **options: Any) -> str:
        found = self.store.get(PODS, "shop", name)
        eventually(lambda: self.kubelet.pods[found["metadata"]["uid"]].containers["main"].logs)
        return b"".join(self.kubelet.logs(found, "main", LogOptions(**options))).decode()

    def close(self) -> None:
        self.kubelet.stop()
        self.addresses.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("kubelet"))
    yield node
    node.close()


@pytest.fixture(autouse=True)
def left_empty(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test leaves running would crash, probe and answer beside all that follow."""
    yield
    if "node" in request.fixturenames:
        node: Node = request.getfixturevalue("node")
        for each in node.store.scan(PODS)[0]:
            node.store.delete(PODS, "shop", each["metadata"]["name"])


def status(found: Object) -> Object:
    unknown = [{"state": {}, "restartCount": 0}]
    first: Object = found["status"].get("containerStatuses", unknown)[0]
    return first


def waiting(reason: str) -> Any:
    return lambda p: status(p)["state"].get("waiting", {}).get("reason") == reason


def once(name: str, text: str, **more: Any) -> Object:
    return pod(name, script(text, **more), restartPolicy="Never")


def test_a_pod_runs_becomes_ready_and_has_an_address_of_its_own(node: Node) -> None:
    probe = {"httpGet": {"path": "/200", "port": "http"}, "periodSeconds": 1}
    ports = [{"name": "http", "containerPort": 8080}]
    for name in ("one", "two"):
        node.run(pod(name, script(SERVE, readinessProbe=probe, ports=ports)))
    ready = [node.wait(name, is_ready) for name in ("one", "two")]
    assert len({p["status"]["podIP"] for p in ready}) == 2
    assert all(p["status"]["podIP"].startswith("127.1.") for p in ready)
    assert ready[0]["status"]["phase"] == "Running"
    assert condition(ready[0], "ContainersReady")["status"] == "True"
    assert "Started container main" in events(node.store, "Started")


@pytest.mark.parametrize("code", [0, 3])
def test_a_pod_that_is_not_to_be_restarted_ends_with_its_process(node: Node, code: int) -> None:
    node.run(once(f"ends-{code}", f"raise SystemExit({code})"))
    ended = node.ended(f"ends-{code}")
    assert (ended["exitCode"], ended["reason"]) == (code, "Error" if code else "Completed")


def test_a_crash_loop_backs_off_and_keeps_the_log_of_the_crash(node: Node) -> None:
    node.run(pod("crash", script("print('FATAL: no key'); raise SystemExit(7)")))
    found = node.wait(
        "crash", lambda p: waiting("CrashLoopBackOff")(p) and status(p)["restartCount"]
    )
    assert status(found)["lastState"]["terminated"]["exitCode"] == 7
    assert not is_ready(found)
    assert node.log("crash", previous=True) == "FATAL: no key\n"
    assert any(
        "Back-off restarting failed container main" in e for e in events(node.store, "BackOff")
    )


def test_previous_is_the_run_before_the_present_one(node: Node) -> None:
    node.run(
        pod("again", script("import time, os; print(os.getpid(), flush=True); time.sleep(60)"))
    )
    first = node.wait("again", is_ready)
    with pytest.raises(ApiError, match="previous terminated container"):
        node.log("again", previous=True)
    old = eventually(lambda: node.log("again"))
    pid = status(first)["containerID"].removeprefix("process://")
    node.kubelet.exec(first, "main", ["kill", "-9", pid], stdin=False).communicate()
    node.wait("again", lambda p: status(p)["restartCount"] == 1 and is_ready(p))
    assert node.log("again", previous=True) == old
    assert eventually(lambda: node.log("again")) != old


def test_the_environment_is_the_specs_and_the_clusters(node: Node) -> None:
    meta = {"name": "settings"}
    node.store.create(
        CONFIGMAPS, "shop", {"metadata": meta, "data": {"mode": "fast", "COLOR": "red"}}
    )
    secret = base64.b64encode(b"s3cret").decode()
    node.store.create(SECRETS, "shop", {"metadata": meta, "data": {"key": secret}})
    service = {"ports": [{"port": 8080}], "clusterIP": "127.2.0.9"}
    node.store.create(SERVICES, "shop", {"metadata": {"name": "auth"}, "spec": service})
    ref = {"name": "settings"}
    env = [
        {"name": "PLAIN", "value": "$(MODE)-$(NOBODY)-$$(MODE)"},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {**ref, "key": "mode"}}},
        {"name": "LATER", "value": "$(MODE)"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {**ref, "key": "key"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {**ref, "key": "no", "optional": True}}},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    sources = [{"configMapRef": ref, "prefix": "P_"}]
    names = "PLAIN MODE LATER KEY NONE ME APP IP P_COLOR AUTH_SERVICE_HOST AUTH_SERVICE_PORT HOME"
    said = node.output(
        once(
            "environment",
            f"import os; [print(n, os.environ.get(n)) for n in '{names}'.split()]",
            env=env,
            envFrom=sources,
        )
    )
    values = dict(line.split(" ", 1) for line in said.splitlines())
    address = values.pop("IP")
    assert address.startswith("127.1.")
    assert values == {
        "PLAIN": "$(MODE)-$(NOBODY)-$(MODE)",
        "MODE": "fast",
        "LATER": "fast",
        "KEY": "s3cret",
        "NONE": "None",
        "ME": "environment",
        "APP": "environment",
        "P_COLOR": "red",
        "AUTH_SERVICE_HOST": "127.2.0.9",
        "AUTH_SERVICE_PORT": "8080",
        "HOME": "None",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "gone", "key": "k"}}, 'secret "gone" not found'),
        ({"configMapKeyRef": {"name": "gone", "key": "k"}}, 'configmap "gone" not found'),
    ],
)
def test_missing_configuration_is_a_config_error(node: Node, source: Object, message: str) -> None:
    name = f"config-{next(iter(source)).lower()}"
    node.run(pod(name, script("", env=[{"name": "X", "valueFrom": source}])))
    found = node.wait(name, waiting("CreateContainerConfigError"))
    assert status(found)["state"]["waiting"]["message"] == message
    with pytest.raises(ApiError, match="waiting to start: CreateContainerConfigError"):
        node.kubelet.logs(found, "main", LogOptions())


def test_an_unknown_image_cannot_be_pulled(node: Node) -> None:
    node.run(pod("image", container(image="registry.example.com/none:1")))
    node.wait("image", waiting("ImagePullBackOff"))
    assert any("not found" in message for message in events(node.store, "Failed"))


def test_an_unknown_command_is_a_start_error(node: Node) -> None:
    node.run(pod("command", container(command=["no-such-program"])))
    found = node.wait("command", waiting("CrashLoopBackOff"))
    ended = status(found)["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert '"no-such-program": executable file not found' in ended["message"]
    assert status(found)["restartCount"] < 5


def test_a_container_is_killed_at_its_memory_limit(node: Node) -> None:
    hog = "import time; x = bytearray(200 << 20); time.sleep(60)"
    node.run(once("hog", hog, resources={"limits": {"memory": "64Mi"}}))
    ended = node.ended("hog")
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.parametrize(
    ("probe", "why"),
    [
        ({"httpGet": {"path": "/500", "port": 8080}}, "HTTP probe failed with statuscode: 500"),
        ({"httpGet": {"path": "/200", "port": 9}}, "connect: connection refused"),
        ({"tcpSocket": {"port": 9}}, "connect: connection refused"),
        ({"exec": {"command": ["sh", "-c", "echo not yet; exit 1"]}}, "not yet"),
        ({"exec": {"command": ["sleep", "9"]}, "timeoutSeconds": 1}, "timed out"),
    ],
)
def test_a_readiness_probe_that_fails_says_why(node: Node, probe: Object, why: str) -> None:
    name = f"probe-{abs(hash(why + str(probe)))}"
    node.run(pod(name, script(SERVE, readinessProbe={**probe, "periodSeconds": 1})))
    eventually(lambda: any(why in message for message in events(node.store, "Unhealthy")))
    assert not is_ready(node.store.get(PODS, "shop", name))
    node.store.delete(PODS, "shop", name)


@pytest.mark.parametrize(
    "probe", [{"tcpSocket": {"port": 8080}}, {"exec": {"command": ["true"]}}], ids=["tcp", "exec"]
)
def test_a_probe_that_holds_makes_ready(node: Node, probe: Object) -> None:
    name = f"holds-{next(iter(probe)).lower()}"
    node.run(pod(name, script(SERVE, startupProbe=probe, readinessProbe=probe)))
    assert status(node.wait(name, is_ready))["started"]


def test_a_failing_liveness_probe_restarts_the_container(node: Node) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
    node.run(pod("liveness", script("import time; time.sleep(60)", livenessProbe=probe)))
    found = node.wait("liveness", lambda p: status(p)["restartCount"] >= 1)
    assert status(found)["lastState"]["terminated"]["exitCode"] == 143
    assert "Container main failed liveness probe, will be restarted" in events(
        node.store, "Killing"
    )


def test_init_containers_run_one_after_the_other_and_first(node: Node) -> None:
    first = {**script("import time; time.sleep(.2)"), "name": "first"}
    node.run(pod("init", script(SERVE), initContainers=[first, {**first, "name": "second"}]))
    found = node.wait("init", is_ready)
    ended = [s["state"]["terminated"] for s in found["status"]["initContainerStatuses"]]
    assert [e["reason"] for e in ended] == ["Completed"] * 2
    assert condition(found, "Initialized")["status"] == "True"


def test_an_ephemeral_container_joins_a_running_pod(node: Node) -> None:
    node.run(pod("debugged", script(SERVE)))
    node.wait("debugged", is_ready)

    def debug(current: Object) -> Object:
        current["spec"]["ephemeralContainers"] = [{**script("print('looking')"), "name": "debug"}]
        return current

    node.store.update(PODS, "shop", "debugged", debug)
    found = node.wait("debugged", lambda p: p["status"].get("ephemeralContainerStatuses"))
    found = node.wait(
        "debugged",
        lambda p: "terminated" in p["status"]["ephemeralContainerStatuses"][0]["state"],
    )
    assert is_ready(found)
    assert eventually(lambda: list(node.kubelet.logs(found, "debug", LogOptions()))) == [
        b"looking\n"
    ]


def test_deleting_asks_the_process_first_and_frees_the_address(node: Node) -> None:
    polite = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit(0)))\n"
        "print('up', flush=True); time.sleep(60)"
    )
    node.run(pod("polite", script(polite)))
    found = node.wait("polite", is_ready)
    eventually(lambda: node.log("polite") == "up\n")
    said: list[bytes] = []
    stream = node.kubelet.logs(found, "main", LogOptions(follow=True))
    follower = threading.Thread(target=lambda: said.extend(stream))
    follower.start()
    node.store.delete(PODS, "shop", "polite")
    follower.join(10)
    assert b"".join(said) == b"up\nbye\n"
    eventually(lambda: "polite" not in [p["metadata"]["name"] for p in node.store.scan(PODS)[0]])
    eventually(lambda: found["metadata"]["uid"] not in node.kubelet.pods)


def test_a_process_that_does_not_listen_is_killed_after_the_grace(node: Node) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    node.run(pod("deaf", script(deaf)))
    node.wait("deaf", is_ready)
    node.store.delete(PODS, "shop", "deaf")
    eventually(lambda: "deaf" not in [p["metadata"]["name"] for p in node.store.scan(PODS)[0]])


def test_a_log_is_cut_to_what_was_asked_for(node: Node) -> None:
    node.output(once("lines", "for n in range(10): print('line', n)"))
    assert node.log("lines", tail=2) == "line 8\nline 9\n"
    assert node.log("lines", tail=0) == ""
    assert node.log("lines", limit=9) == "line 0\nli"
    now = datetime.now(UTC)
    assert node.log("lines", since=now - timedelta(hours=1)).count("\n") == 10
    assert node.log("lines", since=now + timedelta(hours=1)) == ""
    stamp, _, rest = node.log("lines", tail=1, timestamps=True).partition(" ")
    assert rest == "line 9\n"
    assert abs(datetime.fromisoformat(stamp) - now) < timedelta(minutes=1)


def test_a_log_does_not_grow_without_bound(node: Node) -> None:
    said = node.output(once("chatty", f"for n in range({SIZE_LIMIT // 50}): print('x' * 90, n)"))
    assert len(said) < SIZE_LIMIT * 1.1
    assert said.endswith(f" {SIZE_LIMIT // 50 - 1}\n")


def test_exec_runs_in_the_containers_environment(node: Node) -> None:
    node.run(pod("shell", script(SERVE, env=[{"name": "COLOR", "value": "blue"}])))
    found = node.wait("shell", is_ready)
    process = node.kubelet.exec(found, "main", ["sh", "-c", "cat; echo $COLOR"], stdin=True)
    assert process.communicate(b"in ", timeout=10)[0] == b"in blue\n"
    with pytest.raises(ToolError, match="no-such-command"):
        node.kubelet.exec(found, "main", ["no-such-command"], stdin=False)
    with pytest.raises(ApiError, match="container not found"):
        node.kubelet.exec(found, "other", ["true"], stdin=False)


def test_a_busy_container_is_seen_to_be_busy(node: Node) -> None:
    node.run(pod("busy", script("while True: pass"), script(SERVE) | {"name": "calm"}))
    found = node.wait("busy", is_ready)
    usage = eventually(
        lambda: (u := node.kubelet.usage(found)) and u["main"].cpu > 0.1 and len(u) == 2 and u
    )
    assert usage["main"].cpu > usage["calm"].cpu
    assert 5 << 20 < usage["calm"].memory < 200 << 20
    node.store.delete(PODS, "shop", "busy")


def test_names_resolve_as_in_a_cluster(node: Node) -> None:
    script_ = (
        "import socket\n"
        "for name in ('auth', 'auth.shop', 'auth.shop.svc', 'auth.shop.svc.cluster.local',"
        " 'AUTH.', 'localhost', 'no.shop.svc', 'no'):\n"
        "    try: print(name, socket.getaddrinfo(name, 80)[0][4][0])\n"
        "    except socket.gaierror as error: print(name, 'unknown')"
    )
    assert node.output(once("names", script_)).splitlines() == [
        "auth 127.2.0.9",
        "auth.shop 127.2.0.9",
        "auth.shop.svc 127.2.0.9",
        "auth.shop.svc.cluster.local 127.2.0.9",
        "AUTH. 127.2.0.9",
        "localhost 127.0.0.1",
        "no.shop.svc unknown",
        "no unknown",
    ]


# -- files: volumes and images


def config(node: Node, name: str, **data: str) -> None:
    node.store.create(CONFIGMAPS, "shop", {"metadata": {"name": name}, "data": data})


def reading(name: str, path: str, volume: Object, **mount: str) -> Object:
    """A pod that prints the file at `path`, of a volume mounted at /etc/app."""
    code = "import sys; print(open(sys.argv[1]).read(), end='')"
    mounts = [{"name": "files", "mountPath": "/etc/app", **mount}]
    main = container(args=["-c", code, path], volumeMounts=mounts)
    return pod(name, main, restartPolicy="Never", volumes=[{"name": "files", **volume}])


def test_a_path_below_a_mount_is_read_where_it_is(node: Node) -> None:
    config(node, "files", **{"a.yaml": "A"})
    secret = {"metadata": {"name": "files"}, "stringData": {"key": "S"}}
    node.store.create(SECRETS, "shop", secret)
    files, item = {"name": "files"}, {"key": "a.yaml", "path": "x/b"}
    key = {"name": "files", "items": [{"key": "key", "path": "key"}]}
    both = {"projected": {"sources": [{"configMap": files}, {"secret": key}]}}
    for name, path, volume in (
        ("reads-map", "/etc/app/a.yaml", {"configMap": files}),
        ("reads-item", "/etc/app/x/b", {"configMap": {**files, "items": [item]}}),
        ("reads-secret", "/etc/app/key", {"secret": {"secretName": "files"}}),
        ("reads-both", "/etc/app/key", both),
    ):
        node.run(reading(name, path, volume))
    node.run(reading("reads-sub", "/etc/app", {"configMap": files}, subPath="a.yaml"))
    said = {}
    for name in ("map", "item", "secret", "both", "sub"):
        node.ended(f"reads-{name}")
        said[name] = node.log(f"reads-{name}").strip()
    assert said == {"map": "A", "item": "A", "secret": "S", "both": "S", "sub": "A"}


def test_a_variable_names_a_mounted_file_too_and_a_new_pod_sees_the_change(node: Node) -> None:
    def says(name: str) -> str:
        mounts = [{"name": "files", "mountPath": "/conf"}]
        env = [{"name": "SETTINGS", "value": "/conf/level"}]
        code = "import os; print(open(os.environ['SETTINGS']).read())"
        main = container(args=["-c", code], env=env, volumeMounts=mounts)
        volume = {"name": "files", "configMap": {"name": "changing"}}
        return node.output(pod(name, main, restartPolicy="Never", volumes=[volume]))

    config(node, "changing", level="info")
    assert says("reads-before") == "info\n"
    node.store.update(CONFIGMAPS, "shop", "changing", lambda c: {**c, "data": {"level": "debug"}})
    assert says("reads-after") == "debug\n"


def test_a_pod_waits_for_a_volume_that_is_not_there_yet(node: Node) -> None:
    node.run(reading("patient", "/etc/app/a", {"configMap": {"name": "late"}}))
    why = 'MountVolume.SetUp failed for volume "files" : configmap "late" not found'
    eventually(lambda: why in events(node.store, "FailedMount"))
    waits = node.wait("patient", waiting("ContainerCreating"))
    assert waits["status"]["phase"] == "Pending"
    config(node, "late", a="at last")
    assert node.ended("patient")["exitCode"] == 0


def test_a_volume_keeps_to_its_folder(node: Node) -> None:
    config(node, "sly", a="A")
    items = [{"key": "a", "path": "../../outside"}]
    node.run(reading("sly", "/etc/app/a", {"configMap": {"name": "sly", "items": items}}))
    eventually(lambda: any("outside the volume" in e for e in events(node.store, "FailedMount")))
    assert not [*node.kubelet.folder.rglob("outside")]


def test_a_claim_keeps_what_a_pod_wrote(node: Node) -> None:
    node.store.create(CLAIMS, "shop", {"metadata": {"name": "data"}, "spec": {}})

    def run(name: str, code: str) -> str:
        mounts = [{"name": "data", "mountPath": "/data"}]
        main = container(args=["-c", code, "/data/file"], volumeMounts=mounts)
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        return node.output(pod(name, main, restartPolicy="Never", volumes=[volume]))

    run("writes", "import sys; open(sys.argv[1], 'w').write('kept')")
    node.store.delete(PODS, "shop", "writes")
    assert run("reads", "import sys; print(open(sys.argv[1]).read())") == "kept\n"


def test_a_loaded_image_runs_its_command_with_its_files(node: Node, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/service.py").write_text("import sys; print(sys.argv[1:])")
    node.run(pod("early", {"name": "main", "image": "team/app:1"}, restartPolicy="Never"))
    node.wait("early", waiting("ErrImagePull"))
    images.load(node.images, "team/app:1", tmp_path, ["python3", "/app/service.py", "/no/file"])
    shutil.rmtree(tmp_path / "app")
    main = {"name": "main", "image": "team/app:1"}
    assert node.output(pod("loaded", main, restartPolicy="Never")) == "['/no/file']\n"
    own = {**main, "command": ["python3", "app/service.py", "--at=/app"]}
    root = node.images / "team%2Fapp%3A1/root"
    said = node.output(pod("own-command", own, restartPolicy="Never"))
    assert said == f"['--at={root}/app']\n"
    assert node.ended("early")["exitCode"] == 0  # the pull is tried again


def test_an_image_loaded_again_is_a_new_one_for_pods_that_start_later(
    node: Node, tmp_path: Path
) -> None:
    for said in ("old", "new"):
        (tmp_path / "say.py").write_text(f"print('{said}')")
        images.load(node.images, "team/say:1", tmp_path, ["python3", "/say.py"])
        main = {"name": "main", "image": "team/say:1"}
        assert node.output(pod(f"says-{said}", main, restartPolicy="Never")) == f"{said}\n"


@pytest.mark.parametrize("name", ["", "../x", "a b", "UPPER", "a//b", "-x"])
def test_what_is_no_name_of_an_image_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name of an image"):
        images.load(tmp_path / "images", name, tmp_path, ["python3"])
    assert images.find(name, tmp_path / "images") is None


def test_an_image_is_made_of_a_folder_that_is_not_the_labs_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        images.load(tmp_path / "images", "a:1", tmp_path / "nowhere", ["python3"])
    with pytest.raises(UsageError, match="lab itself"):
        images.load(tmp_path / "images", "a:1", tmp_path, ["python3"])


def test_a_server_on_all_addresses_listens_on_its_pods(node: Node) -> None:
    serve = SERVE.replace("os.environ['LAB_POD_IP']", "''")
    assert serve != SERVE
    probe = {"httpGet": {"path": "/200", "port": 8080}, "periodSeconds": 1}
    for name in ("all-one", "all-two"):
        node.run(pod(name, script(serve, readinessProbe=probe)))
    for name in ("all-one", "all-two"):
        node.wait(name, is_ready)


def test_every_failed_readiness_probe_is_told_in_one_event_that_counts(node: Node) -> None:
    probe = {"httpGet": {"path": "/503", "port": 8080}, "periodSeconds": 1}
    node.run(pod("unwell", script(SERVE, readinessProbe=probe)))
    why = "Readiness probe failed: HTTP probe failed with statuscode: 503"

    def told() -> list[int]:
        found = node.store.scan(EVENTS, "shop", fields="involvedObject.name=unwell")[0]
        return [event["count"] for event in found if event["message"] == why]

    eventually(lambda: told() and told()[0] > 1)
    assert len(told()) == 1


def test_stopping_leaves_no_process(tmp_path: Path) -> None:
    node = Node(tmp_path)
    try:
        child = "import subprocess; subprocess.run(['sleep', '300'])"
        node.run(pod("family", script(child)))
        found = node.wait("family", is_ready)
        pid = int(status(found)["containerID"].removeprefix("process://"))
        children = Path(f"/proc/{pid}/task/{pid}/children")
        eventually(lambda: children.read_text().strip())
        family = [pid, *map(int, children.read_text().split())]
    finally:
        node.close()
    eventually(lambda: not any(Path(f"/proc/{p}").exists() for p in family))


def test_two_kubelets_have_different_addresses(tmp_path: Path) -> None:
    first, second = Addresses(), Addresses()
    assert first.block != second.block
    first.close()
    second.close()
