"""The shipped fakes keep the promises of sources/world.py."""

import pytest

from smoldebug.errors import (
    AccessDenied,
    ChangeRefused,
    Conflict,
    NotFound,
    ToolError,
    UnreachableError,
)
from smoldebug.records import ObjectRef
from smoldebug.sources.fakes import (
    FakeCluster,
    FakeHttp,
    FakeMetrics,
    FakeProcesses,
    completed,
    fake_world,
    reply,
)
from smoldebug.sources.world import Series

AUTH = ObjectRef("Deployment", "shop", "auth")


def deployment(name: str = "auth", namespace: str = "shop", **labels: str) -> dict:
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "generation": 1},
        "spec": {"replicas": 1},
        "status": {"phase": "fine"},
    }


def replicas(value: int, was: int = 1) -> list[dict]:
    return [
        {"op": "test", "path": "/spec/replicas", "value": was},
        {"op": "replace", "path": "/spec/replicas", "value": value},
    ]


def test_objects_are_copies():
    cluster = FakeCluster([deployment()])
    cluster.get(AUTH)["spec"]["replicas"] = 9
    assert cluster.get(AUTH)["spec"]["replicas"] == 1


def test_a_missing_object_is_not_found():
    with pytest.raises(NotFound, match="Deployment/shop/auth"):
        FakeCluster().get(AUTH)


@pytest.mark.parametrize("kind", ["Deployment", "deployments", "deployment"])
def test_list_takes_a_kind_or_a_plural(kind):
    cluster = FakeCluster([deployment(), deployment("other", "else")])
    assert [item["metadata"]["name"] for item in cluster.list(kind, "shop")] == ["auth"]
    assert len(cluster.list(kind)) == 2


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("Ingress", ["ingresses", "ing"]),
        ("NetworkPolicy", ["networkpolicies", "netpol"]),
        ("Backup", ["backups", "backup"]),
    ],
)
def test_irregular_plurals_short_names_and_kinds_of_your_own(kind, names):
    cluster = FakeCluster([{"kind": kind, "metadata": {"name": "x", "namespace": "shop"}}])
    assert all(len(cluster.list(name)) == 1 for name in [kind, *names])


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("", ["a", "b", "c"]),
        ("app=a", ["a"]),
        ("app==a", ["a"]),
        ("app!=a", ["b", "c"]),
        ("app in (a, b)", ["a", "b"]),
        ("app notin (a),tier", ["b"]),
        ("!tier", ["a", "c"]),
    ],
)
def test_label_selectors(selector, names):
    cluster = FakeCluster(
        [deployment("a", app="a"), deployment("b", app="b", tier="x"), deployment("c")]
    )
    found = cluster.list("Deployment", "shop", labels=selector)
    assert [item["metadata"]["name"] for item in found] == names


def test_field_selectors_and_nonsense():
    cluster = FakeCluster([deployment("a"), deployment("b")])
    assert len(cluster.list("Deployment", fields="metadata.name=a,status.phase!=bad")) == 1
    with pytest.raises(ToolError, match="not a selector"):
        cluster.list("Deployment", labels="=,")


def test_a_patch_is_guarded_by_its_tests():
    cluster = FakeCluster([deployment()])
    assert cluster.patch(AUTH, replicas(3), dry_run=False, note="run 7f3a")["spec"] == {
        "replicas": 3
    }
    assert cluster.get(AUTH)["metadata"]["generation"] == 2
    with pytest.raises(ChangeRefused, match="does not fit Deployment/shop/auth"):
        cluster.patch(AUTH, replicas(5, was=1), dry_run=False, note="")
    with pytest.raises(ChangeRefused):
        cluster.patch(AUTH, [{"op": "remove", "path": "/spec/x"}], dry_run=False, note="")


def test_a_dry_run_changes_nothing_and_everything_is_recorded():
    cluster = FakeCluster([deployment()])
    assert cluster.patch(AUTH, replicas(3), dry_run=True, note="n")["spec"] == {"replicas": 3}
    assert cluster.objects[AUTH] == deployment()
    (request,) = cluster.requests
    assert (request.verb, request.name, request.detail["dry_run"]) == ("patch", "auth", True)


def test_a_fake_creates_applies_and_deletes_like_a_server():
    cluster = FakeCluster(user="alice")
    made = cluster.create(deployment(), dry_run=False, note="7f3a C1")["metadata"]
    assert made["annotations"] == {"smoldebug.dev/run": "7f3a C1"}
    with pytest.raises(Conflict, match="exists already"):
        cluster.create(deployment(), dry_run=False, note="")
    applied = cluster.apply(
        {"kind": "Deployment", "metadata": {"name": "auth", "namespace": "shop"}, "spec": {"a": 1}},
        dry_run=False,
        note="",
    )
    assert applied["spec"] == {"replicas": 1, "a": 1}
    version = applied["metadata"]["resourceVersion"]
    for uid, revision in (("other", version), (made["uid"], made["resourceVersion"])):
        with pytest.raises(Conflict):
            cluster.delete(AUTH, uid=uid, revision=revision, dry_run=False, note="")
    cluster.delete(AUTH, uid=made["uid"], revision=version, dry_run=True, note="")
    cluster.delete(AUTH, uid=made["uid"], revision=version, dry_run=False, note="7f3a undo C1")
    assert cluster.objects == {}
    assert cluster.whoami() == "alice"
    assert [request.verb for request in cluster.requests] == [
        *("create", "create", "apply", "delete", "delete", "delete", "delete", "whoami")
    ]
    assert cluster.requests[-2].detail["note"] == "7f3a undo C1"


def test_refusals_by_verb_and_kind():
    cluster = FakeCluster([deployment()])
    cluster.refuse("list", "secrets")
    cluster.refuse("patch", error=UnreachableError("no route"))
    with pytest.raises(AccessDenied) as denied:
        cluster.list("Secret", "shop")
    assert denied.value.needs == "list secrets"
    with pytest.raises(UnreachableError, match="no route"):
        cluster.patch(AUTH, replicas(3), dry_run=True, note="")
    cluster.allow("patch")
    cluster.patch(AUTH, replicas(3), dry_run=True, note="")
    assert cluster.list("Deployment", "shop")


def test_logs_of_a_pod_a_container_and_the_instance_before():
    pod = {"kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}}
    cluster = FakeCluster([pod], logs={"shop/p": "a\nb\n", "shop/p/app previous": "died\n"})
    assert cluster.logs("shop", "p", lines=1) == "b\n"
    assert cluster.logs("shop", "p", lines=0) == ""
    assert cluster.logs("shop", "p", "app", previous=True) == "died\n"
    with pytest.raises(NotFound, match="no previous instance"):
        cluster.logs("shop", "p", "sidecar", previous=True)
    with pytest.raises(NotFound, match="Pod/shop/q"):
        cluster.logs("shop", "q")


def test_proxy_and_exec_use_the_other_fakes():
    pod = ObjectRef("Pod", "shop", "p")
    cluster = FakeCluster(
        http=FakeHttp({"Pod/shop/p:8080/health": reply(204)}),
        processes=FakeProcesses({"id -u": completed(0, "0\n")}),
    )
    assert cluster.proxy(pod, 8080, "/health", 1.0).status == 204
    assert cluster.exec("shop", "p", "app", ["id", "-u"], 1.0).stdout == "0\n"


def test_http_replies_come_in_order_and_the_last_stays():
    http = FakeHttp({"http://x/": [reply(502), UnreachableError("timed out"), reply(200)]})
    assert http.get("http://x/").status == 502
    with pytest.raises(UnreachableError, match="timed out"):
        http.get("http://x/", sample=1)
    assert [http.get("http://x/", sample=2).status for _ in range(2)] == [200, 200]
    assert [request.detail["sample"] for request in http.requests] == [0, 1, 2, 2]
    with pytest.raises(UnreachableError, match="refused"):
        http.get("http://unknown/")


def test_metrics_from_numbers_series_exceptions_and_the_clock():
    series = Series({"pod": "a"}, ((1.0, 5.0), (2.0, 6.0)))
    metrics = FakeMetrics(
        {"one": 1, "many": [series], "bad(": ToolError("parse"), "t": lambda c: c.monotonic()}
    )
    world = fake_world(metrics=metrics)
    assert world.metrics.instant("one")[0].points[0][1] == 1.0
    assert world.metrics.instant("many") == [Series({"pod": "a"}, ((2.0, 6.0),))]
    assert world.metrics.range("many", 60, 1) == [series]
    assert len(world.metrics.range("one", 60, 15)[0].points) == 5
    assert world.metrics.instant("unknown") == []
    world.clock.sleep(7)
    assert world.metrics.instant("t")[0].points[0][1] == 7.0
    with pytest.raises(ToolError, match="parse"):
        world.metrics.instant("bad(")


def test_an_unknown_program_does_not_start():
    with pytest.raises(ToolError, match="no such program: nope"):
        fake_world().processes.run(["nope"], timeout=1)
