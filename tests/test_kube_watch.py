"""Watches of a live cluster over real HTTP: the lab's API server, and servers that misbehave."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import web_server
from labserver import Lab, running

from smoldebug.clock import SystemClock
from smoldebug.errors import AccessDenied, NotFound, UnreachableError, UsageError
from smoldebug.lab.apifaults import Faults, Rule
from smoldebug.lab.catalog import resource
from smoldebug.lab.server import serve
from smoldebug.lab.store import Store
from smoldebug.sources.kube import KubeCluster, connect
from smoldebug.sources.world import Expired, WatchStream

PODS = resource("pods")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def lab(tmp_path: Path, faults: Faults) -> Iterator[Lab]:
    with running(tmp_path, faults=faults) as lab:
        yield lab


@pytest.fixture
def cluster(lab: Lab) -> Iterator[KubeCluster]:
    found = connect(None, str(lab.kubeconfig))
    yield found
    found.close()


def watch(cluster: KubeCluster, since: str = "", seconds: float = 30.0) -> WatchStream:
    since = since or cluster.listed("Pod", "shop").version
    return cluster.watch("Pod", "shop", since=since, seconds=seconds)


def test_a_watch_tells_what_happened_since_a_list(lab: Lab, cluster: KubeCluster):
    lab.pod("old")
    listed = cluster.listed("Pod", "shop")
    assert [item["metadata"]["name"] for item in listed.items] == ["old"]
    lab.pod("new")
    lab.core.patch_namespaced_pod("new", "shop", {"metadata": {"labels": {"a": "b"}}})
    lab.core.delete_namespaced_pod("old", "shop", grace_period_seconds=0)
    stream = watch(cluster, listed.version)
    events = [next(stream) for _ in range(3)]
    stream.close()
    told = [(event.type, event.object["metadata"]["name"]) for event in events]
    assert told == [("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "old")]
    assert events[1].object["metadata"]["labels"]["a"] == "b"
    assert events[1].object["kind"] == "Pod"
    again = watch(cluster, events[1].version)
    assert next(again) == events[2]
    again.close()


def test_other_namespaces_and_kinds_are_not_told(lab: Lab, cluster: KubeCluster):
    stream, everywhere = watch(cluster), cluster.watch("po", "", since="1001", seconds=9.0)
    lab.store.create(PODS, "default", {"metadata": {"name": "elsewhere"}, "spec": {}})
    lab.store.create(resource("configmaps"), "shop", {"metadata": {"name": "other"}})
    lab.pod("here")
    assert next(stream).object["metadata"]["name"] == "here"
    assert next(everywhere).object["metadata"]["name"] == "elsewhere"
    stream.close()
    everywhere.close()


def test_a_watch_ends_when_its_time_is_over(cluster: KubeCluster):
    assert list(watch(cluster, seconds=1.0)) == []


def test_another_thread_ends_it_at_once(cluster: KubeCluster):
    stream, seen = watch(cluster), list[object]()
    reader = threading.Thread(target=lambda: seen.append(list(stream)))
    reader.start()
    SystemClock().sleep(0.1)  # it reads by now; if not, it ends all the same
    began = time.monotonic()
    stream.close()
    reader.join(5.0)
    assert (seen, time.monotonic() - began < 0.5) == ([[]], True)
    stream.close()  # twice is fine


def test_what_is_no_longer_kept_must_be_listed_again(tmp_path: Path):
    store = Store(history=3)
    with_server = serve(store)
    try:
        (tmp_path / "config").write_text(with_server.kubeconfig(), encoding="utf-8")
        cluster = connect(None, str(tmp_path / "config"))
        with pytest.raises(Expired, match="too old resource version"):
            next(cluster.watch("Pod", "", since="1", seconds=5.0))
        cluster.close()
    finally:
        with_server.close()


def test_it_is_named_what_is_not_allowed(faults: Faults, cluster: KubeCluster):
    faults.add(Rule("watch", "pods"))
    with pytest.raises(AccessDenied) as caught:
        watch(cluster)
    assert caught.value.needs == "watch pods in namespace shop"


def test_a_kind_that_is_not_served_and_a_namespace_that_does_not_exist(cluster: KubeCluster):
    with pytest.raises(UsageError, match="unknown kind: Deploymnt"):
        cluster.watch("Deploymnt", "shop", since="1", seconds=5.0)
    with pytest.raises(NotFound, match='namespace "shpo" does not exist'):
        cluster.listed("Pod", "shpo")
    with pytest.raises(UsageError):
        cluster.watch("Pod", "../x", since="1", seconds=5.0)


def test_a_server_that_hangs_up_is_unreachable(faults: Faults, cluster: KubeCluster):
    faults.add(Rule("watch", drop=True))
    with pytest.raises(UnreachableError, match="cannot reach the cluster of context lab"):
        watch(cluster)


# --- answers of other servers ---------------------------------------------------------------

PATH = "/api/v1/namespaces/shop/pods"


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[object]:
    """Watches a server that answers with these bytes."""
    opened = []

    def begin(body: bytes, status: int = 200) -> list[str]:
        with web_server({PATH: (status, {}, body)}) as (url, seen):
            text = (
                "apiVersion: v1\nkind: Config\ncurrent-context: eu\n"
                f"clusters: [{{name: eu, cluster: {{server: '{url}'}}}}]\n"
                "users: [{name: eu, user: {}}]\n"
                "contexts: [{name: eu, context: {cluster: eu, user: eu}}]\n"
            )
            (tmp_path / "config").write_text(text, encoding="utf-8")
            cluster = connect(None, str(tmp_path / "config"))
            opened.append(cluster)
            stream = cluster.watch("Pod", "shop", since="7", seconds=30.0)
            try:
                return [f"{e.type} {e.version}" for e in stream] + seen
            finally:
                stream.close()

    yield begin
    for cluster in opened:
        cluster.close()


def line(type: str, **more: object) -> bytes:
    return json.dumps({"type": type, "object": {"kind": "Pod", **more}}).encode() + b"\n"


def test_bookmarks_and_what_is_asked_for(answer):
    bookmark = line("BOOKMARK", metadata={"resourceVersion": "9"})
    asked = f"GET {PATH}?watch=1&resourceVersion=7&allowWatchBookmarks=true&timeoutSeconds=30"
    assert answer(bookmark + line("SURPRISE") + b"\n") == ["BOOKMARK 9", asked]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ({"kind": "Status", "code": 410, "message": "too old"}, Expired),
        ({"kind": "Status", "code": 403, "message": "no"}, AccessDenied),
        ({"kind": "Status", "code": "x"}, UnreachableError),
    ],
)
def test_a_watch_may_end_with_a_status(answer, status, error):
    with pytest.raises(error):
        answer(line("ADDED", metadata={}) + line("ERROR", **status))


def test_gone_may_be_the_answer_itself(answer):
    with pytest.raises(Expired, match="too old"):
        answer(json.dumps({"kind": "Status", "code": 410, "message": "too old"}).encode(), 410)


@pytest.mark.parametrize("body", [b"<html>\n", b'{"type": "ADDED"}\n', b"[]\n", b"\xff\xfe\n"])
def test_nonsense_is_told_as_such(answer, body):
    with pytest.raises(UnreachableError, match="does not answer like a Kubernetes API server"):
        answer(body)
