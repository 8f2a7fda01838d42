"""The shipped tools, called as a model calls them, over fakes of the outside worlds."""

from dataclasses import replace

import pytest
from clusters import autoscaler, deployment, pod, service
from toolbench import SPECS, Bench

from smoldebug.records import ChangeKind, Effect
from smoldebug.sources.fakes import FakeCluster, FakeHttp, FakeMetrics, FakeProcesses, reply
from smoldebug.sources.world import Completed, Series


def test_every_tool_declares_what_it_does_and_proposals_say_which_change() -> None:
    effects = {spec.name: spec.effect for spec in SPECS}
    assert len(effects) == 41
    changing = {spec.name for spec in SPECS if spec.effect is Effect.CHANGE}
    assert changing == {spec.name for spec in SPECS if spec.changes}
    assert effects["run_command"] is Effect.EXECUTE


# --- logs -----------------------------------------------------------------------------------

LOGS = {
    "shop/auth-1": "12:00:01 INFO served 1\n12:00:02 INFO served 2\n12:00:03 ERROR pool exhausted",
    "shop/auth-2": "12:00:04 INFO served 3",
    "shop/auth-2 previous": "12:00:00 FATAL cannot bind",
}


@pytest.fixture
def logs() -> Bench:
    objects = [
        deployment(),
        service(),
        pod("auth-1"),
        pod("auth-2", restarts=1),
        pod("cart-1", "x"),
    ]
    return Bench(cluster=FakeCluster(objects, logs=LOGS))


@pytest.mark.parametrize(
    "target", ["deployment/auth", "deploy/auth", "service/auth", "auth", "Deployment/shop/auth"]
)
def test_logs_of_all_pods_of_a_workload(logs: Bench, target: str) -> None:
    data = logs.data("fetch_logs", target=target)
    assert [pod["name"] for pod in data["pods"]] == ["auth-2", "auth-1"]
    assert data["lines"] == 5
    first = data["shapes"][0]
    assert (first["last"], first["pod"], first["level"]) == (
        "12:00:00 FATAL cannot bind", "auth-2", "error",
    )  # fmt: skip


def test_logs_are_folded_into_a_line_per_shape(logs: Bench) -> None:
    assert logs.text("fetch_logs", target="auth", previous="never").splitlines() == [
        "Deployment/shop/auth: 4 lines, 2 shapes, from auth-2/web, auth-1/web",
        "    1× error 12:00:03 ERROR pool exhausted",
        "    3× info  12:00:02 INFO served 2",
    ]


def test_a_log_that_was_not_read_whole_says_so(logs: Bench) -> None:
    text = logs.text("fetch_logs", target="pod/auth-1", lines=2)
    head = "Pod/shop/auth-1: 2 lines (the newest 2 lines of each), 2 shapes, from auth-1/web"
    assert text.splitlines()[0] == head
    searched = logs.text("fetch_logs", target="pod/auth-1", lines=2, grep="pool")
    assert "1 line (the newest 2 lines of each), 1 shape, from" in searched
    assert "newest" not in logs.text("fetch_logs", target="pod/auth-1", grep="pool")


def test_logs_can_be_searched_and_only_the_previous_read(logs: Bench) -> None:
    assert logs.data("fetch_logs", target="auth", grep="POOL|bind")["lines"] == 2
    assert logs.data("fetch_logs", target="auth", previous="only")["lines"] == 1
    assert logs.data("fetch_logs", target="pod/cart-1", since="5m", container="web")["lines"] == 0


def test_logs_that_cannot_be_had(logs: Bench) -> None:
    assert "no workload, Service or Pod" in logs.refusal("fetch_logs", target="nope")
    assert "not a duration" in logs.refusal("fetch_logs", target="auth", since="soon")
    assert "not KIND/NAME" in logs.refusal("fetch_logs", target="a/b/c/d")
    assert "no log of" in logs.refusal("fetch_logs", target="auth", container="gone")


def test_what_the_playbook_limits_is_not_exceeded() -> None:
    cluster = FakeCluster([pod("auth-1")], logs=LOGS)
    Bench({"max_lines": 7}, cluster=cluster).text("fetch_logs", target="pod/auth-1", lines=5000)
    [asked] = [request for request in cluster.requests if request.verb == "logs"]
    assert asked.detail["lines"] == 7


# --- metrics --------------------------------------------------------------------------------


def test_values_now() -> None:
    bench = Bench(metrics=FakeMetrics({"up": 1.0}))
    assert bench.text("query_prometheus", query="up").splitlines()[0].split() == ["SERIES", "VALUE"]
    assert bench.data("query_prometheus", query="up")["series"][0]["points"][0][1] == 1.0


def test_a_range_says_since_when() -> None:
    points = tuple((1767268800.0 + 10 * index, 0.08 if index < 12 else 6.9) for index in range(18))
    bench = Bench(metrics=FakeMetrics({"p99": [Series({"job": "auth"}, points)]}))
    text = bench.text("query_prometheus", query="p99", range="3m")
    says = "p99 rose from 0.08 to 6.9 (×86) since 12:02:00 UTC"
    assert text.splitlines() == [
        "SERIES        LAST  MIN   MAX",
        '{job="auth"}  6.9   0.08  6.9',
        says,
    ]
    onset = bench.data("query_prometheus", query="p99", range="3m")["onset"]
    assert onset["says"] == says
    assert onset["factor"] > 80


def test_what_rose_has_a_name_and_a_unit() -> None:
    query = 'sum by (pod) (rate(errors_total{app="auth"}[1m]))'
    points = tuple((1767268800.0 + 10 * index, 0.25 if index < 12 else 1.5) for index in range(18))
    series = [Series({"pod": "a"}, points), Series({"pod": "b"}, points[:3])]
    onset = Bench(metrics=FakeMetrics({query: series})).data(
        "query_prometheus", query=query, range="3m"
    )["onset"]
    assert onset["says"] == (
        'errors_total {pod="a"} rose from 0.25 to 1.5/s (×6) since 12:02:00 UTC'
    )


def test_numbers_that_json_has_not_become_null() -> None:
    points = ((1.0, float("nan")), (2.0, float("inf")), (3.0, 1.0))
    bench = Bench(metrics=FakeMetrics({"x": [Series({}, points)]}))
    data = bench.data("query_prometheus", query="x", range="1m")
    assert data["series"][0]["points"] == [[1.0, None], [2.0, None], [3.0, 1.0]]


def test_no_series_is_an_answer() -> None:
    text = Bench(metrics=FakeMetrics({"up": []})).text("query_prometheus", query="up")
    assert text.startswith("no series")


# --- kubectl --------------------------------------------------------------------------------


@pytest.fixture
def kubectl() -> Bench:
    secret = {
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": "shop", "managedFields": [{"a": 1}]},
        "data": {"password": "aHVudGVyMg=="},
    }
    event = {
        "kind": "Event",
        "metadata": {"name": "e1", "namespace": "shop"},
        "type": "Warning",
        "reason": "Unhealthy",
        "message": "probe failed",
        "lastTimestamp": "2026-01-01T11:58:00Z",
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "auth-1"},
    }
    objects = [deployment(), service(), pod("auth-1", restarts=3), autoscaler(), secret, event]
    return Bench(cluster=FakeCluster(objects))


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("pods", ["auth-1", "1/1", "Running", "3", "-", "-"]),
        ("deploy", ["auth", "0/2", "0", "0", "auth:1", "-"]),
        ("Service", ["auth", "ClusterIP", "8080→8080", "app=auth", "-"]),
        ("hpa", ["auth", "Deployment/auth", "1..2", "0", "wants", "0", "-"]),
        ("secrets", ["db", "password", "-"]),
    ],
)
def test_objects_as_a_table_whose_first_word_is_the_name(
    kubectl: Bench, kind: str, row: list[str]
) -> None:
    assert kubectl.text("get", kind=kind).splitlines()[1].split() == row


def test_what_is_not_ready_stands_first() -> None:
    waiting = pod("web-1", ready=False)
    done = pod("job-1", ready=False)
    done["status"]["phase"] = "Succeeded"
    bench = Bench(cluster=FakeCluster([done, pod("a"), pod("b", restarts=1), waiting]))
    rows = bench.text("get", kind="pods").splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["web-1", "b", "a", "job-1"]
    assert [item["metadata"]["name"] for item in bench.data("get", kind="pods")["objects"]] == [
        "web-1", "b", "a", "job-1",
    ]  # fmt: skip
    fine = {**deployment("fine", replicas=1), "status": {"availableReplicas": 1}}
    workloads = Bench(cluster=FakeCluster([fine, deployment("stuck")]))
    assert workloads.text("get", kind="deploy").splitlines()[1].startswith("stuck ")


def test_secrets_never_leave(kubectl: Bench) -> None:
    for tool in ("get", "describe", "fetch_k8s_manifest"):
        found = kubectl.call(tool, kind="secret", name="db")
        assert found.evidence is not None
        assert "aHVudGVyMg" not in f"{found.text}{found.evidence.observation.data}"
        assert "managedFields" not in f"{found.text}{found.evidence.observation.data}"


def test_describe_shows_states_and_events(kubectl: Bench) -> None:
    text = kubectl.text("describe", kind="pod", name="auth-1")
    assert "container web: auth:1" in text
    assert "condition Ready=True" in text
    assert "Unhealthy" in text.split("events:")[1]


def test_events_of_one_object(kubectl: Bench) -> None:
    assert kubectl.text("events", object="pod/auth-1").splitlines()[1].split()[:3] == [
        "2m", "Warning", "Unhealthy",
    ]  # fmt: skip
    assert kubectl.text("events", object="deployment/auth-1") == "no events"


def test_rollout_status_says_what_it_waits_for(kubectl: Bench) -> None:
    text = kubectl.text("rollout_status", target="auth")
    assert text == "Deployment/shop/auth: not complete: 2 wanted, 0 updated, 0 available"
    assert kubectl.data("rollout_status", target="auth")["complete"] is False


def test_names_and_manifests(kubectl: Bench) -> None:
    assert "Deployment (1): auth" in kubectl.text("list_k8s_resources")
    assert "image: auth:1" in kubectl.text("fetch_k8s_manifest", kind="deploy", name="auth")
    assert "status:" not in kubectl.text("fetch_k8s_manifest", kind="pod", name="auth-1")


# --- HTTP -----------------------------------------------------------------------------------

ALLOW = {"allow": ["http://*.shop.svc:*/*", "http://127.0.0.1:8000/health"]}


def test_an_answer_with_its_route() -> None:
    url = "http://auth.shop.svc:8080/health"
    answers = [
        replace(reply(502, "bad  gateway"), seconds=0.031, route="proxy Pod/x:1"),
        reply(200),
    ]
    bench = Bench(ALLOW, http=FakeHttp({url: answers}))
    assert bench.text("http_check", url=url, times=2).splitlines()[:2] == [
        f"GET {url}: 2 of 2 answered",
        "1: 502 in 31 ms, proxy Pod/x:1: bad gateway",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/x.shop.svc:80/",
        "http://evil.example:80/?x=.shop.svc:80/",
        "http://user@auth.shop.svc:8080/",
        "http://evil.example#.shop.svc:80/",
        "https://auth.shop.svc:8080/",
        "http://auth.prod.svc:8080/",
        "http://127.0.0.1:8000/other",
        "http://127.0.0.1:8001/health",
        "http://127.0.0.1/health",
        "file:///etc/passwd",
        "",
    ],
)
def test_only_allowed_urls_are_asked(url: str) -> None:
    http = FakeHttp({})
    assert "does not allow" in Bench(ALLOW, http=http).refusal("http_check", url=url)


# --- commands and servers -------------------------------------------------------------------

COMMANDS = {
    "allow": {
        "disk": {"run": ["df", "-h"], "effect": "read", "extra_arguments": True},
        "flush": {"run": ["redis-cli", "FLUSHALL"], "effect": "execute"},
        "ps": {"run": ["ps"], "effect": "read", "in_pod": True},
    }
}


def test_a_reading_command_runs_and_its_output_is_seen() -> None:
    done = Completed(0, "50%\n", "", 0.1)
    bench = Bench(COMMANDS, processes=FakeProcesses({"df -h / ;rm": done}))
    text = bench.text("run_command", command="disk", arguments=["/", ";rm"])
    assert text == "df -h / ';rm' (local): exit code 0\n50%"


def test_a_changing_command_is_only_proposed() -> None:
    processes = FakeProcesses({})
    change = Bench(COMMANDS, processes=processes).change("run_command", command="flush")
    assert (change.kind, change.after) == (
        ChangeKind.RUN_COMMAND, {"/argv": ["redis-cli", "FLUSHALL"]},
    )  # fmt: skip
    assert change.no_undo


def test_commands_that_are_refused() -> None:
    bench = Bench(COMMANDS)
    assert "no such command: rm" in bench.refusal("run_command", command="rm")
    assert "lets nobody add" in bench.refusal("run_command", command="flush", arguments=["x"])
    assert "say which" in bench.refusal("run_command", command="ps")


SERVERS = {
    "servers": {"web": {"run": ["python3", "s.py"], "url": "http://127.0.0.1:1/", "cwd": "/x"}}
}


def test_a_local_server_that_answers_and_one_that_does_not() -> None:
    up = Bench(SERVERS, http=FakeHttp({"http://127.0.0.1:1/": [reply(200)]}))
    assert up.text("check_server", name="web") == "200 OK from http://127.0.0.1:1/"
    assert up.data("check_server", name="web")["ok"] is True


def test_a_restart_of_a_local_server_is_a_proposal() -> None:
    change = Bench(SERVERS).change("restart_server", name="web")
    assert (str(change.target), change.kind) == ("Process/local/web", ChangeKind.PROCESS_RESTART)
    assert change.after == {
        "/argv": ["python3", "s.py"], "/url": "http://127.0.0.1:1/", "/cwd": "/x",
    }  # fmt: skip
    assert "no such server" in Bench(SERVERS).refusal("restart_server", name="db", why="x")
