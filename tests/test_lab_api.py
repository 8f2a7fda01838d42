"""The lab's API server over HTTP, as the official Python client and kubectl see it."""

import contextlib
import http.client
import http.server
import json
import pathlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.stream import stream
from labserver import Json, Kubectl, Lab, LocalRuntime, deployment, refusal, running
from realkubectl import needs_kubectl

from smoldebug.lab.apierror import ApiError
from smoldebug.lab.apifaults import Faults, Rule
from smoldebug.lab.catalog import resource
from smoldebug.lab.runtime import LogOptions
from smoldebug.lab.tables import duration
from smoldebug.sources import process


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., Lab]]:
    with contextlib.ExitStack() as labs:
        yield lambda **options: labs.enter_context(running(tmp_path, **options))


@pytest.fixture
def lab(start: Callable[..., Lab]) -> Lab:
    return start(runtime=LocalRuntime())


# -- objects


def test_an_object_is_created_read_replaced_and_deleted(lab: Lab):
    made = lab.apps.create_namespaced_deployment("shop", deployment())
    assert made.spec.strategy.type == "RollingUpdate"
    made.spec.replicas = 3
    assert lab.apps.replace_namespaced_deployment("web", "shop", made).metadata.generation == 2
    gone = lab.apps.delete_namespaced_deployment("web", "shop")
    assert (gone["status"], gone["details"]["uid"]) == ("Success", made.metadata.uid)
    code, status = refusal(lab.apps.read_namespaced_deployment, "web", "shop")
    assert (code, status["reason"]) == (404, "NotFound")
    assert status["message"] == 'deployments.apps "web" not found'


def test_graceful_deletion_answers_with_the_object(lab: Lab):
    lab.pod()
    assert lab.core.delete_namespaced_pod("web", "shop").metadata.deletion_timestamp
    assert lab.core.delete_namespaced_pod("web", "shop", grace_period_seconds=0)
    assert not lab.core.list_namespaced_pod("shop").items


def test_a_replacement_by_a_stale_copy_is_a_conflict(lab: Lab):
    stale = lab.apps.create_namespaced_deployment("shop", deployment())
    lab.apps.patch_namespaced_deployment("web", "shop", {"spec": {"replicas": 2}})
    code, status = refusal(lab.apps.replace_namespaced_deployment, "web", "shop", stale)
    assert (code, status["reason"]) == (409, "Conflict")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"kind": "Pod"}, "must be of type ConfigMap"),
        ({"apiVersion": "v2"}, "does not match the expected API version (v1)"),
        ({"metadata": {"name": "a", "namespace": "other"}}, "does not match the namespace sent"),
    ],
)
def test_what_does_not_fit_its_url_is_a_bad_request(lab: Lab, body: Json, message: str):
    good = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}}
    code, status = refusal(lab.core.create_namespaced_config_map, "shop", good | body)
    assert code == 400
    assert message in status["message"]


def test_lists_by_label_field_and_page(lab: Lab):
    for number in range(5):
        labels = {"parity": "odd" if number % 2 else "even"}
        body = {"metadata": {"name": f"c{number}", "labels": labels}}
        lab.core.create_namespaced_config_map("shop", body)
    odd = lab.core.list_namespaced_config_map("shop", label_selector="parity in (odd)").items
    assert [item.metadata.name for item in odd] == ["c1", "c3"]
    one = lab.core.list_namespaced_config_map("shop", field_selector="metadata.name=c2").items
    assert [item.metadata.name for item in one] == ["c2"]
    pages, token = [], ""
    while True:
        page = lab.core.list_namespaced_config_map("shop", limit=2, _continue=token)
        pages.append([item.metadata.name for item in page.items])
        if len(pages) == 1:
            lab.core.delete_namespaced_config_map("c0", "shop")  # a page is not lost by this
        token = page.metadata._continue
        if not token:
            break
    assert pages == [["c0", "c1"], ["c2", "c3"], ["c4"]]


@pytest.mark.parametrize("query", ["labelSelector=a%3D%28", "continue=x", "limit=many"])
def test_a_list_that_cannot_be_understood_is_a_bad_request(lab: Lab, query: str):
    code, body, _ = lab.raw("GET", f"/api/v1/namespaces/shop/pods?{query}")
    assert (code, json.loads(body)["reason"]) == (400, "BadRequest")


def test_a_collection_is_deleted_by_selector(lab: Lab):
    for name in ("a", "b"):
        body = {"metadata": {"name": name, "labels": {"app": name}}}
        lab.core.create_namespaced_config_map("shop", body)
    lab.core.delete_collection_namespaced_config_map("shop", label_selector="app=a")
    left = lab.core.list_namespaced_config_map("shop").items
    assert [item.metadata.name for item in left] == ["b"]


def test_dry_runs_change_nothing(lab: Lab):
    version = lab.store.version
    lab.apps.create_namespaced_deployment("shop", deployment(), dry_run="All")
    assert lab.store.version == version
    lab.apps.create_namespaced_deployment("shop", deployment())
    patched = lab.apps.patch_namespaced_deployment(
        "web", "shop", {"spec": {"replicas": 7}}, dry_run="All"
    )
    lab.apps.delete_namespaced_deployment("web", "shop", dry_run="All")
    assert patched.spec.replicas == 7
    assert lab.apps.read_namespaced_deployment("web", "shop").spec.replicas == 1


# -- patches


def test_a_typed_patch_is_strategic_and_a_list_is_a_json_patch(lab: Lab):
    lab.apps.create_namespaced_deployment("shop", deployment())
    container = {"name": "web", "env": [{"name": "B", "value": "2"}]}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    (web,) = lab.apps.patch_namespaced_deployment(
        "web", "shop", patch
    ).spec.template.spec.containers
    assert (web.image, [e.name for e in web.env]) == ("web:1", ["B", "A"])
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 2}]
    assert lab.apps.patch_namespaced_deployment("web", "shop", operations).spec.replicas == 2
    failing = [{"op": "test", "path": "/spec/replicas", "value": 9}]
    code, status = refusal(lab.apps.patch_namespaced_deployment, "web", "shop", failing)
    assert (code, status["reason"]) == (422, "Invalid")


def test_an_unknown_patch_type_is_unsupported(lab: Lab):
    lab.pod()
    path = "/api/v1/namespaces/shop/pods/web"
    assert lab.raw("PATCH", path, "{}", Content_Type="application/json")[0] == 415
    code, _, _ = lab.raw("PATCH", path, "[]", Content_Type="application/merge-patch+json")
    assert code == 400


def test_managed_fields_name_who_changed_what(lab: Lab):
    lab.apps.create_namespaced_deployment("shop", deployment(), field_manager="deployer")
    lab.apps.patch_namespaced_deployment(
        "web", "shop", {"spec": {"replicas": 4}}, field_manager="on-call"
    )
    lab.apps.patch_namespaced_deployment_scale(
        "web", "shop", {"spec": {"replicas": 5}}, field_manager="scaler"
    )
    entries = lab.apps.read_namespaced_deployment("web", "shop").metadata.managed_fields
    assert [(e.manager, e.operation, e.subresource) for e in entries] == [
        ("deployer", "Update", None),
        ("scaler", "Update", "scale"),
    ]
    assert entries[1].fields_v1 == {"f:spec": {"f:replicas": {}}}


def test_server_side_apply_through_the_dynamic_client(lab: Lab):
    maps = dynamic.DynamicClient(lab.api).resources.get(api_version="v1", kind="ConfigMap")

    def apply(manager: str, data: Json, **options: Any) -> Json:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
        made = maps.server_side_apply(
            body=body, name="a", namespace="shop", field_manager=manager, **options
        )
        return dict(made.data)

    assert apply("m1", {"a": "1", "b": "1"}) == {"a": "1", "b": "1"}
    assert apply("m1", {"a": "1"}) == {"a": "1"}
    code, status = refusal(apply, "m2", {"a": "2"})
    assert code == 409
    assert [cause["field"] for cause in status["details"]["causes"]] == [".data.a"]
    assert apply("m2", {"a": "2"}, force_conflicts=True) == {"a": "2"}


def test_apply_takes_yaml_and_wants_a_field_manager(lab: Lab):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {day: '2026-01-01'}\n"
    path = "/api/v1/namespaces/shop/configmaps/a"
    apply = {"Content_Type": "application/apply-patch+yaml"}
    assert lab.raw("PATCH", path, text, **apply)[0] == 422
    code, body, _ = lab.raw("PATCH", f"{path}?fieldManager=me", text, **apply)
    assert (code, json.loads(body)["data"]) == (201, {"day": "2026-01-01"})
    assert lab.raw("PATCH", f"{path}?fieldManager=me", "{a: [", **apply)[0] == 400


# -- watches


def test_a_watch_tells_changes_and_ends_in_time(lab: Lab):
    version = lab.core.list_namespaced_config_map("shop").metadata.resource_version
    lab.core.create_namespaced_config_map("shop", {"metadata": {"name": "a"}})
    lab.core.patch_namespaced_config_map("a", "shop", {"data": {"x": "y"}})
    lab.core.delete_namespaced_config_map("a", "shop")
    events = watch.Watch().stream(
        lab.core.list_namespaced_config_map, "shop", resource_version=version, timeout_seconds=1
    )
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]


def test_a_watch_list_is_closed_by_a_bookmark(lab: Lab):
    lab.pod()
    query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=1"
    _, body, headers = lab.raw("GET", f"/api/v1/pods?{query}")
    added, bookmark = (json.loads(line) for line in body.splitlines())
    assert headers["Transfer-Encoding"] == "chunked"
    assert (added["type"], bookmark["type"]) == ("ADDED", "BOOKMARK")
    annotations = bookmark["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


def test_a_watch_from_a_forgotten_version_is_expired(lab: Lab):
    _, body, _ = lab.raw("GET", "/api/v1/pods?watch=1&resourceVersion=1&timeoutSeconds=5")
    event = json.loads(body)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_closing_the_server_ends_watches_and_idle_connections(tmp_path: pathlib.Path):
    before = set(threading.enumerate())
    lab = Lab(tmp_path)
    host = lab.server.url.removeprefix("http://")
    idle, watching = http.client.HTTPConnection(host), http.client.HTTPConnection(host)
    idle.request("GET", "/version")
    idle.getresponse().read()
    watching.request("GET", "/api/v1/pods?watch=1")
    answer = watching.getresponse()
    lab.close()
    with contextlib.suppress(http.client.IncompleteRead):
        assert answer.read() == b""
    idle.close()
    watching.close()
    assert set(threading.enumerate()) <= before


# -- subresources


def test_scale_is_read_and_written(lab: Lab):
    lab.apps.create_namespaced_deployment("shop", deployment())
    scale = lab.apps.read_namespaced_deployment_scale("web", "shop")
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=web")
    scale.spec.replicas = 4
    assert lab.apps.replace_namespaced_deployment_scale("web", "shop", scale).spec.replicas == 4
    code, status = refusal(
        lab.apps.patch_namespaced_deployment_scale, "web", "shop", {"spec": {"replicas": -1}}
    )
    assert code == 422
    assert "must be greater than or equal to 0" in status["message"]
    assert refusal(lab.apps.replace_namespaced_deployment_scale, "web", "shop", scale)[0] == 409


def test_logs(lab: Lab):
    lab.pod()
    assert lab.core.read_namespaced_pod_log("web", "shop") == "web: one\nweb: two\n"
    assert lab.core.read_namespaced_pod_log("web", "shop", tail_lines=1) == "web: two\n"
    lines = watch.Watch().stream(lab.core.read_namespaced_pod_log, "web", "shop")
    assert list(lines) == ["web: one", "web: two"]
    assert refusal(lab.core.read_namespaced_pod_log, "web", "shop", previous=True)[0] == 400
    code, status = refusal(lab.core.read_namespaced_pod_log, "web", "shop", container="x")
    assert (code, status["message"]) == (400, "container x is not valid for pod web")


def test_logs_of_one_of_several_containers(lab: Lab):
    lab.pod(containers=[{"name": "web", "image": "w"}, {"name": "sidecar", "image": "s"}])
    code, status = refusal(lab.core.read_namespaced_pod_log, "web", "shop")
    assert code == 400
    assert "choose one of: [web sidecar]" in status["message"]
    log = lab.core.read_namespaced_pod_log("web", "shop", container="sidecar", tail_lines=1)
    assert log == "sidecar: two\n"


@contextlib.contextmanager
def exec_in(lab: Lab, *command: str, stdin: bool = False) -> Iterator[Any]:
    flags = {"stdin": stdin, "stdout": True, "stderr": True, "tty": False}
    call = lab.core.connect_get_namespaced_pod_exec
    web = stream(call, "web", "shop", command=list(command), _preload_content=False, **flags)
    yield web
    web.close()
    web.sock.shutdown()  # close() leaves the socket open when the server ended the connection


PYTHON = (sys.executable, "-I", "-c")


def test_exec_carries_both_streams_and_the_exit_code(lab: Lab):
    lab.pod()
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    with exec_in(lab, *PYTHON, script) as web:
        web.run_forever(timeout=20)
        assert (web.read_stdout(), web.read_stderr()) == ("out\n", "err\n")
        assert web.returncode == 3


def test_exec_passes_stdin_on(lab: Lab):
    lab.pod()
    with exec_in(lab, *PYTHON, "print(input()[::-1])", stdin=True) as web:
        web.write_stdin("abc" + "x" * 70_000 + "\n")
        web.run_forever(timeout=20)
        text = web.read_stdout()
        assert (len(text), text[-4:]) == (70_004, "cba\n")
        assert web.returncode == 0


def test_a_client_that_leaves_ends_its_command(start: Callable[..., Lab]):
    started: list[process.Process] = []

    class Recording(LocalRuntime):
        def exec(
            self, pod: Json, container: str, argv: Sequence[str], *, stdin: bool
        ) -> process.Process:
            started.append(super().exec(pod, container, argv, stdin=stdin))
            return started[0]

    lab = start(runtime=Recording())
    lab.pod()
    with exec_in(lab, *PYTHON, "print('up', flush=True); input()", stdin=True) as web:
        assert web.readline_stdout(timeout=20) == "up"
    assert started[0].wait(20) < 0


def test_a_command_that_cannot_be_started_says_why(lab: Lab):
    lab.pod()
    with exec_in(lab, "no-such-command") as web:
        web.run_forever(timeout=20)
        assert "command not found: no-such-command" in web.read_channel(3)


def test_exec_wants_a_websocket(lab: Lab):
    lab.pod()
    code, body, _ = lab.raw("POST", "/api/v1/namespaces/shop/pods/web/exec?command=ls")
    assert (code, json.loads(body)["message"]) == (400, "Upgrade request required")


def test_an_eviction_deletes_unless_a_budget_forbids(lab: Lab):
    lab.pod()
    budget = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}
    budgets = resource("poddisruptionbudgets")
    lab.store.create(budgets, "shop", {**budget, "status": {"disruptionsAllowed": 0}})
    path = "/api/v1/namespaces/shop/pods/web/eviction"
    code, body, _ = lab.raw("POST", path, "{}")
    assert (code, json.loads(body)["reason"]) == (429, "TooManyRequests")
    lab.store.delete(budgets, "shop", "web")
    assert lab.raw("POST", f"{path}?dryRun=All", "{}")[0] == 201
    assert not lab.core.read_namespaced_pod("web", "shop").metadata.deletion_timestamp
    lab.core.create_namespaced_pod_eviction("web", "shop", {"metadata": {"name": "web"}})
    assert lab.core.read_namespaced_pod("web", "shop").metadata.deletion_timestamp


def test_a_stream_that_breaks_is_no_second_answer(start: Callable[..., Lab]):
    class Breaking(LocalRuntime):
        def logs(self, pod: Json, container: str, options: LogOptions) -> Iterable[bytes]:
            yield b"one\n"
            raise ApiError(500, "InternalError", "the log is gone")

    lab = start(runtime=Breaking())
    lab.pod()
    with pytest.raises(http.client.IncompleteRead) as caught:
        lab.raw("GET", f"{PODS}/web/log?follow=true")
    assert caught.value.partial == b"one\n"
    assert lab.raw("GET", f"{PODS}/web/log")[0] == 500


def test_ephemeral_containers_are_added_and_stay(lab: Lab):
    lab.pod()
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
    call = lab.core.patch_namespaced_pod_ephemeralcontainers
    assert call("web", "shop", debug).spec.ephemeral_containers[0].name == "debug"
    for patch, field, why in (
        (
            [{"op": "remove", "path": "/spec/ephemeralContainers/0"}],
            "spec.ephemeralContainers",
            'Forbidden: existing ephemeral containers "debug" may not be removed',
        ),
        (
            [{"op": "replace", "path": "/spec/ephemeralContainers/0/image", "value": "other"}],
            "spec.ephemeralContainers",
            'Forbidden: existing ephemeral containers "debug" may not be changed',
        ),
        (
            {"spec": {"ephemeralContainers": [{"name": "web", "image": "busybox"}]}},
            "spec.ephemeralContainers[0].name",
            'Duplicate value: "web"',
        ),
        (
            {
                "spec": {
                    "ephemeralContainers": [{"name": "d2", "image": "b", "lifecycle": {"x": 1}}]
                }
            },
            "spec.ephemeralContainers[0].lifecycle",
            "Forbidden: cannot be set for an Ephemeral Container",
        ),
    ):
        code, status = refusal(call, "web", "shop", patch)
        assert (code, status["details"]["causes"][0]["field"]) == (422, field)
        assert status["details"]["causes"][0]["message"] == why
    assert len(lab.core.read_namespaced_pod("web", "shop").spec.ephemeral_containers) == 1


def test_an_eviction_takes_one_of_the_disruptions_allowed(lab: Lab):
    lab.pod("web-1")
    lab.pod("web-2")
    budgets = resource("poddisruptionbudgets")
    spec = {"selector": {"matchLabels": {"app": "web"}}}
    status = {"disruptionsAllowed": 1, "desiredHealthy": 1, "currentHealthy": 2}
    lab.store.create(budgets, "shop", {"metadata": {"name": "b"}, "spec": spec, "status": status})
    assert lab.send("POST", f"{PODS}/web-1/eviction", {})[0] == 201
    code, status = lab.send("POST", f"{PODS}/web-2/eviction", {})
    assert (code, status["details"]["causes"][0]["message"]) == (
        429,
        "The disruption budget b needs 1 healthy pods and has 2 currently",
    )


def test_metrics_of_pods_and_nodes(lab: Lab):
    lab.store.create(resource("nodes"), None, {"metadata": {"name": "node"}})
    lab.pod()
    api = client.CustomObjectsApi(lab.api)
    pods = api.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", "shop", "pods")
    assert pods["items"][0]["containers"] == [
        {"name": "web", "usage": {"cpu": "250000000n", "memory": "65536Ki"}}
    ]
    node = api.get_cluster_custom_object("metrics.k8s.io", "v1beta1", "nodes", "node")
    assert node["usage"]["cpu"] == "250000000n"


def test_events_in_both_forms(lab: Lab):
    event = {
        "metadata": {"name": "e1"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "shop"},
        "message": "Back-off",
        "count": 3,
        "source": {"component": "kubelet"},
    }
    lab.store.create(resource("events"), "shop", event)
    _, body, _ = lab.raw("GET", "/apis/events.k8s.io/v1/namespaces/shop/events/e1")
    new = json.loads(body)
    assert (new["apiVersion"], new["note"]) == ("events.k8s.io/v1", "Back-off")
    assert (new["regarding"]["name"], new["deprecatedCount"]) == ("web", 3)
    posted = {"metadata": {"name": "e2"}, "note": "hello", "regarding": {"name": "api"}}
    lab.raw("POST", "/apis/events.k8s.io/v1/namespaces/shop/events", json.dumps(posted))
    found = lab.core.list_namespaced_event("shop", field_selector="involvedObject.name=api").items
    assert [item.message for item in found] == ["hello"]


def test_text_in_a_secret_is_stored_as_data(lab: Lab):
    body = {"metadata": {"name": "db"}, "stringData": {"password": "x"}}
    assert lab.core.create_namespaced_secret("shop", body).data == {"password": "eA=="}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (601, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
    ],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: float, text: str):
    assert duration(seconds) == text


# -- proxy


class Backend(http.server.BaseHTTPRequestHandler):
    """Says what it was asked; fails below /fail."""

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        said = f"{self.command} {self.path} {self.rfile.read(size).decode()}".strip().encode()
        self.send_response(502 if self.path.startswith("/fail") else 200)
        self.send_header("Content-Length", str(len(said)))
        self.send_header("X-Authorization", str("Authorization" in self.headers))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend) as backend:
        thread = threading.Thread(target=backend.serve_forever, args=(0.01,))
        thread.start()
        yield backend.server_address[1]
        backend.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    with http.server.HTTPServer(("127.0.0.1", 0), Backend) as backend:
        return int(backend.server_address[1])


def service(lab: Lab, port: int, **endpoint: Any) -> None:
    """A Service with port 80 named http, and one endpoint of it on `port`."""
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    lab.store.create(
        resource("services"), "shop", {"metadata": {"name": "web"}, "spec": {"ports": ports}}
    )
    meta = {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}
    found = {"addresses": ["127.0.0.1"], "conditions": {"ready": True}, **endpoint}
    ports = [{"name": "http", "port": port}]
    slice_ = {"metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": [found]}
    lab.store.create(resource("endpointslices"), "shop", slice_)


SERVICES, PODS = "/api/v1/namespaces/shop/services", "/api/v1/namespaces/shop/pods"


@pytest.mark.parametrize("name", ["web:80", "web:http", "web", "http:web:80"])
def test_a_service_is_reached_by_port_number_name_or_as_the_only_one(
    lab: Lab, port: int, name: str
):
    service(lab, port)
    code, body, _ = lab.raw("GET", f"{SERVICES}/{name}/proxy/a%2Fb/?q=%20x&q=2")
    assert (code, body) == (200, "GET /a%2Fb/?q=%20x&q=2")


def test_a_pod_is_reached_at_its_address(lab: Lab, port: int):
    ports = [{"name": "http", "containerPort": port}]
    containers = [{"name": "web", "image": "w", "ports": ports}]
    lab.pod(containers=containers, status={"podIP": "127.0.0.1"})
    for name in ("web", f"web:{port}", "web:http"):
        assert lab.raw("GET", f"{PODS}/{name}/proxy/healthz")[:2] == (200, "GET /healthz")


def test_method_body_status_and_headers_pass_through_but_not_the_token(
    start: Callable[..., Lab], port: int
):
    lab = start(token="sesame")
    service(lab, port)
    token = {"Authorization": "Bearer sesame"}
    code, body, headers = lab.raw("POST", f"{SERVICES}/web:80/proxy/fail", "why", **token)
    assert (code, body) == (502, "POST /fail why")
    assert headers["X-Authorization"] == "False"
    assert lab.raw("HEAD", f"{SERVICES}/web:80/proxy/x", **token)[:2] == (200, "")


def test_the_proxys_own_errors(lab: Lab, closed_port: int):
    service(lab, closed_port)
    service_code, body, _ = lab.raw("GET", f"{SERVICES}/web:80/proxy/")
    assert service_code == 503
    assert json.loads(body)["message"] == (
        "error trying to reach service: "
        f"dial tcp 127.0.0.1:{closed_port}: connect: connection refused"
    )
    code, body, _ = lab.raw("GET", f"{SERVICES}/gone:80/proxy/")
    assert (code, json.loads(body)["message"]) == (404, 'services "gone" not found')
    code, body, _ = lab.raw("GET", f"{SERVICES}/web:81/proxy/")
    assert (code, json.loads(body)["message"]) == (
        503,
        'no service port 81 found for service "web"',
    )


def test_a_service_without_ready_endpoints(lab: Lab, port: int):
    service(lab, port, conditions={"ready": False})
    code, body, _ = lab.raw("GET", f"{SERVICES}/web:80/proxy/")
    status = json.loads(body)
    assert (code, status["reason"]) == (503, "ServiceUnavailable")
    assert status["message"] == 'no endpoints available for service "web"'


# -- who may do what


def test_a_request_without_the_right_token_is_unauthorized(start: Callable[..., Lab]):
    lab = start(token="sesame")
    for headers in ({}, {"Authorization": "Bearer expired"}):
        code, body, _ = lab.raw("GET", "/api/v1/pods", **headers)
        assert (code, json.loads(body)["reason"]) == (401, "Unauthorized")
    assert lab.raw("GET", "/healthz")[0] == 200
    assert lab.raw("GET", "/api/v1/pods", Authorization="Bearer sesame")[0] == 200


def test_the_kubeconfig_carries_the_token(start: Callable[..., Lab], tmp_path: pathlib.Path):
    lab = start(token="sesame")
    path = tmp_path / "with-token"
    path.write_text(lab.server.kubeconfig("sesame"), encoding="utf-8")
    api = config.new_client_from_config(str(path))
    assert client.CoreV1Api(api).list_namespace().items
    api.rest_client.pool_manager.clear()
    assert refusal(lab.core.list_namespace)[0] == 401


@pytest.mark.parametrize(
    ("rule", "code", "reason", "message"),
    [
        (
            Rule("list", "pods", "shop"),
            403,
            "Forbidden",
            'pods is forbidden: User "lab-admin" cannot list resource "pods" in API group ""',
        ),
        (Rule(status=401), 401, "Unauthorized", "Unauthorized"),
        (Rule("*", "pods", status=429), 429, "TooManyRequests", "too many requests"),
        (Rule("list", status=500, message="etcd is slow"), 500, "InternalError", "etcd is slow"),
    ],
)
def test_a_rule_makes_requests_fail(
    start: Callable[..., Lab], rule: Rule, code: int, reason: str, message: str
):
    lab = start(faults=Faults(rule))
    found, body, headers = lab.raw("GET", f"{PODS}?limit=5")
    status = json.loads(body)
    assert (found, status["code"], status["reason"]) == (code, code, reason)
    assert status["message"].startswith(message)
    assert ("Retry-After" in headers) == (code == 429)


def test_a_rule_meets_only_what_it_names(start: Callable[..., Lab]):
    faults = Faults(Rule("get", "pods/log", "shop"))
    lab = start(faults=faults, runtime=LocalRuntime())
    lab.pod()
    assert lab.core.read_namespaced_pod("web", "shop")
    code, status = refusal(lab.core.read_namespaced_pod_log, "web", "shop")
    assert code == 403
    assert 'cannot get resource "pods/log"' in status["message"]
    faults.clear()
    assert lab.core.read_namespaced_pod_log("web", "shop")


def test_a_rule_can_delay(start: Callable[..., Lab]):
    faults = Faults()
    lab = start(faults=faults)
    faults.add(Rule("list", "pods", status=0, delay=0.3))
    api = config.new_client_from_config(str(lab.kubeconfig))
    with pytest.raises(Exception, match="timed out"):
        client.CoreV1Api(api).list_namespaced_pod("shop", _request_timeout=0.1)
    api.rest_client.pool_manager.clear()
    assert lab.core.list_namespaced_pod("shop", _request_timeout=10).items == []


def test_access_reviews_follow_the_rules(start: Callable[..., Lab]):
    lab = start(faults=Faults(Rule("delete", "pods", "shop")))
    review = client.AuthorizationV1Api(lab.api).create_self_subject_access_review

    def allowed(verb: str) -> bool:
        asked = {"verb": verb, "resource": "pods", "namespace": "shop"}
        return bool(review({"spec": {"resourceAttributes": asked}}).status.allowed)

    assert (allowed("get"), allowed("delete")) == (True, False)


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
def test_web_pages_are_kept_out(lab: Lab, headers: dict[str, str]):
    assert lab.raw("GET", "/api/v1/pods", **headers)[0] == 403


# -- HTTP


@pytest.mark.parametrize(
    "path",
    ["/", "/nowhere", "/api/v2/pods", "/apis/apps/v1/pods", "/api/v1/pods/a/b/c", "/apis/none"],
)
def test_an_unknown_path_is_not_found(lab: Lab, path: str):
    code, body, _ = lab.raw("GET", path)
    assert (code, json.loads(body)["message"]) == (
        404,
        "the server could not find the requested resource",
    )


def test_a_method_a_resource_does_not_have(lab: Lab):
    code, body, _ = lab.raw("DELETE", "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/a")
    assert (code, json.loads(body)["reason"]) == (405, "MethodNotAllowed")


@pytest.mark.parametrize("body", ["{", "[]", '"x"', '{"metadata": 1}', "\xff", "k8s\0xyz"])
def test_a_body_that_is_no_object_is_refused(lab: Lab, body: str):
    code, answer, _ = lab.raw("POST", "/api/v1/namespaces/shop/configmaps", body)
    assert code in (400, 415)
    assert json.loads(answer)["kind"] == "Status"


def test_a_connection_survives_errors_with_a_body(lab: Lab):
    host = lab.server.url.removeprefix("http://")
    with contextlib.closing(http.client.HTTPConnection(host, timeout=10)) as connection:
        for _ in range(3):
            connection.request("POST", "/nowhere", json.dumps({"a": "b" * 5000}))
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (404, True)


def test_the_version_is_one_that_exists(lab: Lab):
    version = client.VersionApi(lab.api).get_code()
    assert (version.major, version.minor) == ("1", "32")
    assert version.git_version == "v1.32.0+smoldebug-lab"


def test_routes_of_the_labs_own(start: Callable[..., Lab]):
    def route(method: str, path: str, query: Any, body: bytes) -> tuple[int, Any]:
        return 202, {"method": method, "path": path, "query": query, "body": body.decode()}

    lab = start(extra_routes={"/lab/": route})
    code, body, _ = lab.raw("POST", "/lab/break?x=1&x=2", "now")
    assert code == 202
    assert json.loads(body) == {
        "method": "POST",
        "path": "/lab/break",
        "query": {"x": ["1", "2"]},
        "body": "now",
    }


# -- kubectl


@pytest.fixture
def kubectl(lab: Lab, tmp_path: pathlib.Path) -> Kubectl:
    return Kubectl(lab, tmp_path)


class TestKubectl:
    pytestmark = [pytest.mark.kubectl, needs_kubectl]

    def test_get_prints_the_columns_of_each_kind(self, lab: Lab, kubectl: Kubectl):
        container = {"name": "web", "ready": False, "restartCount": 2, "image": "web:1"}
        container["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
        lab.pod(status={"phase": "Running", "podIP": "127.1.0.9", "containerStatuses": [container]})
        lab.apps.create_namespaced_deployment("shop", deployment(replicas=2))
        columns = kubectl("get", "pods", "-o", "wide").splitlines()[0].split()
        assert columns[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
        row = kubectl("get", "pods", "--no-headers", "-o", "wide").split()
        assert row[:4] + row[5:7] == ["web", "0/1", "CrashLoopBackOff", "2", "127.1.0.9", "node"]
        everything = kubectl("get", "all")
        assert "pod/web" in everything
        assert "deployment.apps/web   0/2" in everything
        assert (
            kubectl("get", "pods", "-l", "app=other") == "No resources found in shop namespace.\n"
        )
        assert "not found" in kubectl("get", "pods", "nope", code=1)

    def test_get_yaml_and_describe(self, lab: Lab, kubectl: Kubectl):
        lab.apps.create_namespaced_deployment("shop", deployment())
        assert "image: web:1" in kubectl("get", "deploy", "web", "-o", "yaml")
        described = kubectl("describe", "deployment", "web")
        assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in described
        assert "Selector:               app=web" in described

    def test_apply_diff_and_apply_again(self, kubectl: Kubectl):
        assert "created" in kubectl("apply", "-f", "-", stdin=deployment())
        assert "unchanged" in kubectl("apply", "-f", "-", stdin=deployment())
        changed = deployment(replicas=3)
        assert "+  replicas: 3" in kubectl("diff", "-f", "-", stdin=changed, code=1)
        assert "configured" in kubectl("apply", "-f", "-", stdin=changed)
        kubectl("scale", "deploy/web", "--replicas=5")
        refused = kubectl("apply", "--server-side", "-f", "-", stdin=changed, code=1)
        assert 'conflict with "kubectl" with subresource "scale" using apps/v1' in refused
        forced = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
        assert "serverside-applied" in forced
        assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "3"

    def test_patch_set_and_label(self, lab: Lab, kubectl: Kubectl):
        lab.apps.create_namespaced_deployment("shop", deployment())
        kubectl("patch", "deploy", "web", "-p", '{"spec":{"replicas":2}}')
        kubectl("patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"paused":true}}')
        test = '[{"op":"test","path":"/spec/replicas","value":9}]'
        kubectl("patch", "deploy", "web", "--type=json", "-p", test, code=1)
        kubectl("set", "env", "deploy/web", "B=2")
        kubectl("label", "deploy", "web", "team=shop")
        web = lab.apps.read_namespaced_deployment("web", "shop")
        assert (web.spec.replicas, web.spec.paused) == (2, True)
        assert {e.name for e in web.spec.template.spec.containers[0].env} == {"A", "B"}
        managers = {entry.manager for entry in web.metadata.managed_fields}
        assert {"kubectl-patch", "kubectl-set", "kubectl-label"} <= managers

    def test_create_delete_and_namespaces(self, lab: Lab, kubectl: Kubectl):
        kubectl("create", "namespace", "extra")
        kubectl("create", "configmap", "settings", "--from-literal=mode=fast")
        kubectl("create", "secret", "generic", "db", "--from-literal=password=x")
        kubectl("create", "service", "clusterip", "db", "--tcp=5432:pg")
        kubectl("create", "poddisruptionbudget", "b", "--selector=app=web", "--max-unavailable=50%")
        kubectl("create", "quota", "q", "--hard=configmaps=9,requests.cpu=2")
        ports = "jsonpath={.spec.ports[0].port} {.spec.ports[0].targetPort} {.spec.selector.app}"
        assert kubectl("get", "service", "db", "-o", ports) == "5432 pg db"
        assert kubectl("get", "pdb", "b", "-o", "jsonpath={.spec.maxUnavailable}") == "50%"
        assert kubectl("get", "quota", "q", "-o", "jsonpath={.spec.hard.requests\\.cpu}") == "2"
        kubectl("create", "job", "once", "--image=web:1", "--", "migrate")
        command = "jsonpath={.spec.template.spec.containers[0].command[0]} {.spec.backoffLimit}"
        assert kubectl("get", "job", "once", "-o", command) == "migrate 6"
        kubectl("create", "deployment", "made", "--image=web:1", "--replicas=2", "--port=80")
        assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data.mode}") == "fast"
        assert kubectl("get", "secret", "db", "-o", "jsonpath={.data.password}") == "eA=="
        image = (
            "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].ports[0].containerPort}"
        )
        assert kubectl("get", "deploy", "made", "-o", image) == "2 80"
        kubectl("delete", "deploy,cm", "--all", "--timeout=10s")
        kubectl("delete", "namespace", "extra", "--timeout=10s")
        assert "extra" not in kubectl("get", "namespaces")

    def test_logs_exec_top_and_access(self, lab: Lab, kubectl: Kubectl):
        lab.store.create(resource("nodes"), None, {"metadata": {"name": "node"}})
        lab.pod()
        assert kubectl("logs", "web", "--tail=1") == "web: two\n"
        assert kubectl("exec", "web", "--", *PYTHON, "print('hi')") == "hi\n"
        failed = kubectl("exec", "web", "--", *PYTHON, "raise SystemExit(4)", code=4)
        assert "exit code 4" in failed
        assert "250m         64Mi" in kubectl("top", "pods")
        assert kubectl("auth", "can-i", "delete", "pods") == "yes\n"
        assert "lab-admin" in kubectl("auth", "whoami")
        assert kubectl("get", "--raw", "/healthz") == "ok"

    def test_cordon_taint_and_drain(self, lab: Lab, kubectl: Kubectl):
        lab.store.create(resource("nodes"), None, {"metadata": {"name": "node"}, "spec": {}})
        lab.pod()
        kubectl("cordon", "node")
        assert "SchedulingDisabled" in kubectl("get", "nodes")
        kubectl("taint", "node", "node", "team=data:NoSchedule")
        assert "Taints:             team=data:NoSchedule" in kubectl("describe", "node", "node")
        dry = kubectl("drain", "node", "--force", "--dry-run=server")
        assert "evicting pod shop/web (server dry run)" in dry
        kubectl("uncordon", "node")
        assert "SchedulingDisabled" not in kubectl("get", "nodes")

    def test_events_are_found_by_describe(self, lab: Lab, kubectl: Kubectl):
        pod = lab.pod()
        involved = {
            "kind": "Pod",
            "name": "web",
            "namespace": "shop",
            "uid": pod["metadata"]["uid"],
        }
        event = {"metadata": {"name": "e"}, "involvedObject": involved, "type": "Warning"}
        event |= {"reason": "BackOff", "message": "Back-off restarting", "count": 1}
        event |= {"firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"}
        lab.store.create(resource("events"), "shop", event)
        assert "Back-off restarting" in kubectl("describe", "pod", "web")
        assert "pod/web" in kubectl("get", "events")
        assert "Back-off restarting" in kubectl("events")

    def test_a_watch_prints_changes(self, lab: Lab, kubectl: Kubectl):
        lab.pod()
        change = threading.Timer(0.5, lab.store.delete, (resource("pods"), "shop", "web"))
        change.start()
        printed = kubectl("get", "pods", "-w", "--request-timeout=2s", "--no-headers")
        change.join()
        assert [line.split()[2] for line in printed.splitlines()[:2]] == ["Pending", "Terminating"]
