"""Reads answered from memory while watches live, and by the cluster itself when they do not."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labkit import eventually
from labserver import Lab, deployment, running

from smoldebug.clock import FakeClock, SystemClock
from smoldebug.errors import AccessDenied, NotFound, UnreachableError, UsageError
from smoldebug.lab.apifaults import Faults, Rule
from smoldebug.lab.catalog import resource
from smoldebug.lab.rbac import Attributes
from smoldebug.records import ObjectRef
from smoldebug.sources.fakes import FakeCluster, WatchedCluster
from smoldebug.sources.kube import connect
from smoldebug.sources.mirror import ENDING, GOAL_KINDS, SETTLE, SILENCE, Mirror
from smoldebug.sources.world import Cluster, Expired, Object

WEB = ObjectRef("Pod", "shop", "web")
AWAY = UnreachableError("cannot reach the cluster")


def pod(name: str = "web", namespace: str = "shop", **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": f"node-of-{name}"},
    }


@pytest.fixture
def cluster() -> WatchedCluster:
    return WatchedCluster([pod(), pod("api", app="api"), pod("far", "other")])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def mirror(cluster: WatchedCluster, clock: FakeClock) -> Iterator[Mirror]:
    with Mirror(cluster, ["Pod"], ["shop"], clock) as found:
        yield found


def names(cluster: Cluster, *args: str, **selectors: str) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.list(*args, **selectors)]


def told(mirror: Mirror) -> frozenset[ObjectRef]:
    assert mirror.changed.wait(5.0)
    return mirror.take()


def asks(cluster: FakeCluster, read: Callable[[], Any]) -> int:
    """How many requests it takes."""
    before = len(cluster.requests)
    with contextlib.suppress(NotFound):
        read()
    return len(cluster.requests) - before


# --- while a watch lives --------------------------------------------------------------------


def test_reads_ask_nothing_while_nothing_changes(mirror: Mirror, cluster: WatchedCluster):
    def read() -> None:
        for _ in range(50):
            assert names(mirror, "pods", "shop") == ["api", "web"]
            assert mirror.get(WEB)["spec"] == {"nodeName": "node-of-web"}
            assert mirror.get(ObjectRef("po", "shop", "web"))
            assert names(mirror, "Pod", "shop", labels="app=none") == []

    assert asks(cluster, read) == 0
    assert not mirror.changed.is_set()
    assert mirror.take() == frozenset()


def test_what_changes_is_told_and_seen(mirror: Mirror, cluster: WatchedCluster):
    cluster.put(pod("new"))
    assert told(mirror) == {ObjectRef("Pod", "shop", "new")}
    assert names(mirror, "Pod", "shop") == ["api", "new", "web"]
    cluster.put(pod() | {"status": {"phase": "Running"}})
    assert told(mirror) == {WEB}
    assert mirror.get(WEB)["status"] == {"phase": "Running"}
    cluster.remove(WEB)
    assert told(mirror) == {WEB}
    with pytest.raises(NotFound, match="Pod/shop/web does not exist"):
        mirror.get(WEB)
    assert not mirror.changed.is_set()
    cluster.put(pod("one"))
    cluster.put(pod("two"))
    eventually(lambda: names(mirror, "Pod", "shop", fields="metadata.name=two"))
    assert {ref.name for ref in told(mirror)} >= {"one"}


def test_a_heartbeat_is_no_news_but_its_version_is_kept(mirror: Mirror, cluster: WatchedCluster):
    beat = pod()
    beat["metadata"] |= {"resourceVersion": "9", "managedFields": [{"time": "now"}]}
    cluster.put(beat)
    eventually(lambda: mirror.get(WEB)["metadata"].get("resourceVersion") == "9")
    assert "managedFields" not in mirror.get(WEB)["metadata"]
    assert not mirror.changed.is_set()


def test_what_is_read_may_be_changed(mirror: Mirror):
    mirror.get(WEB)["spec"]["nodeName"] = "x"
    mirror.list("Pod", "shop")[0]["metadata"].clear()
    assert mirror.get(WEB)["spec"]["nodeName"] == "node-of-web"
    assert names(mirror, "Pod", "shop") == ["api", "web"]


@pytest.mark.parametrize(
    "selectors",
    [
        {"labels": "app=api"},
        {"labels": "app!=api"},
        {"labels": "!app"},
        {"fields": "spec.nodeName=node-of-web"},
        {"fields": "metadata.name!=web", "labels": "app in (api, db)"},
        {"fields": "no.such.field=1"},
    ],
)
def test_selectors_pick_what_the_cluster_would_pick(
    mirror: Mirror, cluster: WatchedCluster, selectors: dict[str, str]
):
    assert mirror.list("Pod", "shop", **selectors) == cluster.list("Pod", "shop", **selectors)


def test_a_name_that_is_nearly_right(mirror: Mirror):
    with pytest.raises(NotFound) as caught:
        mirror.get(ObjectRef("Pod", "shop", "wbe"))
    assert caught.value.hint == "did you mean: web?"


def test_all_namespaces_are_one_watch(cluster: WatchedCluster, clock: FakeClock):
    node = {"kind": "Node", "metadata": {"name": "n1"}}
    cluster.put(node)
    with Mirror(cluster, ["Pod", "nodes"], ["", "shop"], clock) as mirror:
        watched = [request for request in cluster.requests if request.verb == "watch"]
        assert [(each.kind, each.namespace) for each in watched] in (
            [("Pod", ""), ("Node", "")],
            [("Node", ""), ("Pod", "")],
        )

        def read() -> None:
            assert names(mirror, "Pod") == ["far", "api", "web"]
            assert names(mirror, "Pod", "other") == ["far"]
            assert mirror.get(WEB)
            assert mirror.get(ObjectRef("Node", "", "n1"))

        assert asks(cluster, read) == 0
        assert asks(cluster, lambda: mirror.list("Pod", "none")) == 1  # is there such a namespace?
        assert asks(cluster, lambda: mirror.get(ObjectRef("Pod", "none", "web"))) == 1


# --- what the cluster itself answers --------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda cluster: cluster.list("ConfigMap", "shop"),
        lambda cluster: cluster.list("Pod", "other"),
        lambda cluster: cluster.list("Pod"),
        lambda cluster: cluster.get(ObjectRef("Pod", "other", "far")),
        lambda cluster: cluster.logs("shop", "web"),
        lambda cluster: cluster.whoami(),
    ],
)
def test_what_is_not_watched_is_asked_for(mirror: Mirror, cluster: WatchedCluster, read: Any):
    assert asks(cluster, lambda: read(mirror)) == 1


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        ("list", AccessDenied("not allowed in context eu: list pods")),
        ("watch", AccessDenied("not allowed in context eu: watch pods")),
        ("list", UsageError("the cluster of context eu does not serve: Pod")),
    ],
)
def test_what_may_not_be_watched_is_a_gap(cluster: WatchedCluster, verb: str, error: Any):
    cluster.refuse(verb, "Pod", error)
    with Mirror(cluster, ["Pod", "Service"], ["shop"], FakeClock()) as mirror:
        assert mirror.gaps == (f"Pod: {error}",)
        assert asks(cluster, lambda: mirror.list("Service", "shop")) == 0
        cluster.allow(verb, "Pod")
        assert asks(cluster, lambda: names(mirror, "Pod", "shop")) == 1


def test_a_cluster_that_cannot_be_watched_is_asked_as_ever():
    cluster = FakeCluster([pod()])
    with Mirror(cluster, GOAL_KINDS, ["shop"], FakeClock()) as mirror:
        assert len(mirror.gaps) == len(GOAL_KINDS) + 1
        assert asks(cluster, lambda: mirror.get(WEB)) == 1
        assert len(cluster.requests) == 1


def test_endpoints_are_watched_where_their_slices_cannot_be(cluster: WatchedCluster):
    def watched() -> set[str]:
        return {request.kind for request in cluster.requests if request.verb == "watch"}

    with Mirror(cluster, GOAL_KINDS, ["shop"], FakeClock()):
        assert watched() == set(GOAL_KINDS)
    cluster.requests.clear()
    cluster.refuse("list", "EndpointSlice", UsageError("not served"))
    with Mirror(cluster, GOAL_KINDS, ["shop"], FakeClock()) as mirror:
        assert watched() == {*GOAL_KINDS, "Endpoints"} - {"EndpointSlice"}
        assert mirror.gaps == ("EndpointSlice: not served",)


def test_a_broken_watch_is_not_believed_until_it_is_mended(mirror: Mirror, cluster: WatchedCluster):
    cluster.refuse("*", "*", AWAY)
    cluster.refuse("watch", "Pod", AWAY)

    def fails() -> bool:
        try:
            mirror.list("Pod", "shop")
        except UnreachableError:
            return True
        return False

    eventually(fails)
    with pytest.raises(UnreachableError):
        mirror.get(WEB)
    cluster.remove(WEB)
    cluster.put(pod("late"))
    cluster.allow("*", "*")
    cluster.allow("watch", "Pod")
    assert told(mirror) == {WEB, ObjectRef("Pod", "shop", "late")}
    assert names(mirror, "Pod", "shop") == ["api", "late"]
    eventually(lambda: asks(cluster, lambda: mirror.list("Pod", "shop")) == 0)


def test_changes_that_are_no_longer_kept_are_found_by_listing(
    mirror: Mirror, cluster: WatchedCluster
):
    cluster.refuse("watch", "Pod", Expired("too old"))
    cluster.put(pod("late"))
    cluster.allow("watch", "Pod")
    assert told(mirror) == {ObjectRef("Pod", "shop", "late")}
    lists = [request for request in cluster.requests if request.verb == "list"]
    assert len(lists) >= 2


def test_silence_is_not_believed(mirror: Mirror, cluster: WatchedCluster, clock: FakeClock):
    def read() -> object:
        return mirror.get(WEB)

    clock.sleep(SILENCE - 0.1)
    assert asks(cluster, read) == 0
    clock.sleep(0.2)
    assert asks(cluster, read) == 1
    cluster.put(pod("sign-of-life"))
    told(mirror)
    eventually(lambda: asks(cluster, read) == 0)


def test_a_change_of_ones_own_is_never_missed(
    mirror: Mirror, cluster: WatchedCluster, clock: FakeClock
):
    patch = [{"op": "add", "path": "/spec/x", "value": 1}]
    mirror.patch(WEB, patch, dry_run=False, note="")
    assert asks(cluster, lambda: mirror.get(WEB)) == 1
    assert mirror.get(WEB)["spec"]["x"] == 1
    told(mirror)
    clock.sleep(SETTLE)
    assert asks(cluster, lambda: mirror.get(WEB)) == 0
    assert mirror.get(WEB)["spec"]["x"] == 1


@pytest.mark.parametrize("broken", [{}, {"metadata": "x"}, {"metadata": {"namespace": "shop"}}])
def test_an_object_that_is_none_breaks_the_watch_and_nothing_else(broken: Object):
    class Odd(WatchedCluster):
        def listed(self, kind: str, namespace: str = "") -> Any:
            found = super().listed(kind, namespace)
            found.items.append(broken)
            return found

    odd = Odd([pod()])
    with Mirror(odd, ["Pod"], ["shop"], FakeClock()) as mirror:
        assert asks(odd, lambda: mirror.get(WEB)) == 1
        assert mirror.gaps == ()


def test_a_server_whose_watches_end_at_once_is_not_pestered():
    class Hasty(WatchedCluster):
        def watch(self, kind: str, namespace: str, *, since: str, seconds: float) -> Any:
            stream = super().watch(kind, namespace, since=since, seconds=seconds)
            stream.close()
            return stream

    hasty = Hasty([pod()])
    with Mirror(hasty, ["Pod"], ["shop"], FakeClock()) as mirror:
        eventually(lambda: len(hasty.requests) >= 4)  # a list and a watch, and once more
        assert len(hasty.requests) == 4
        assert asks(hasty, lambda: mirror.get(WEB)) == 1


def test_its_threads_end_with_it(cluster: WatchedCluster):
    before = threading.active_count()
    with Mirror(cluster, GOAL_KINDS, ["shop"], FakeClock()) as mirror:
        assert threading.active_count() == before + len(GOAL_KINDS)
        began = time.monotonic()
    assert (threading.active_count(), time.monotonic() - began < ENDING) == (before, True)
    assert asks(cluster, lambda: mirror.get(WEB)) == 1
    mirror.close()  # twice is fine


def test_an_outage_at_the_beginning(cluster: WatchedCluster):
    cluster.refuse("*", "*", AWAY)
    with Mirror(cluster, ["Pod"], ["shop"], FakeClock()) as mirror:
        with pytest.raises(UnreachableError):
            mirror.get(WEB)
        assert mirror.gaps == ()
        cluster.allow("*", "*")
        eventually(lambda: asks(cluster, lambda: mirror.get(WEB)) == 0)
        assert not mirror.changed.is_set()


# --- whatever happens, it equals the cluster ------------------------------------------------

CHANGE = st.tuples(
    st.sampled_from(["put", "patch", "remove"]), st.sampled_from("abc"), st.text("xy", max_size=2)
)


@settings(max_examples=25, deadline=None)
@given(st.lists(CHANGE, max_size=12))
def test_it_comes_to_equal_the_cluster(changes: list[tuple[str, str, str]]):
    cluster = WatchedCluster([pod("a")])
    with Mirror(cluster, ["Pod"], ["shop"], FakeClock()) as mirror:
        for action, name, value in changes:
            ref = ObjectRef("Pod", "shop", name)
            if action == "put":
                cluster.put(pod(name, app=value))
            elif action == "remove":
                cluster.remove(ref)
            elif ref in cluster.objects:
                patch = [{"op": "replace", "path": "/metadata/labels", "value": {"v": value}}]
                cluster.patch(ref, patch, dry_run=False, note="")
        expected, asked = cluster.list("Pod", "shop"), len(cluster.requests)
        eventually(lambda: mirror.list("Pod", "shop") == expected)
        assert len(cluster.requests) == asked


# --- over real HTTP -------------------------------------------------------------------------

PODS = resource("pods")


class Counted(Faults):
    """Counts the requests that come in."""

    seen = 0

    def take(self, wanted: Attributes, *, dry_run: bool) -> Rule | None:
        self.seen += 1
        return super().take(wanted, dry_run=dry_run)


@pytest.fixture
def requests() -> Counted:
    return Counted()


@pytest.fixture
def lab(tmp_path: Path, requests: Counted) -> Iterator[Lab]:
    with running(tmp_path, faults=requests) as lab:
        lab.pod()
        yield lab


@pytest.fixture
def live(lab: Lab) -> Iterator[Mirror]:
    cluster = connect(None, str(lab.kubeconfig))
    with Mirror(cluster, GOAL_KINDS, ["shop"], SystemClock()) as mirror:
        yield mirror
    cluster.close()


def test_fifty_reads_of_a_quiet_cluster_cost_nothing(live: Mirror, requests: Counted):
    before = requests.seen
    for _ in range(50):
        assert names(live, "Pod", "shop") == ["web"]
        assert names(live, "Deployment", "shop") == []
        assert live.get(WEB)["apiVersion"] == "v1"
    assert (requests.seen - before, live.gaps) == (0, ())


def test_changes_are_seen_within_half_a_second(lab: Lab, live: Mirror):
    def soon(change: Callable[[], Any], seen: Callable[[], bool]) -> None:
        began = time.monotonic()
        change()
        eventually(seen)
        assert time.monotonic() - began < 0.5

    new = ObjectRef("Deployment", "shop", "new")
    soon(
        lambda: lab.apps.create_namespaced_deployment("shop", deployment("new")),
        lambda: names(live, "Deployment", "shop") == ["new"],
    )
    soon(
        lambda: lab.apps.patch_namespaced_deployment("new", "shop", {"spec": {"replicas": 3}}),
        lambda: live.get(new)["spec"]["replicas"] == 3,
    )
    soon(
        lambda: lab.apps.delete_namespaced_deployment("new", "shop"),
        lambda: names(live, "Deployment", "shop") == [],
    )
    assert live.take() == {new}


def test_an_api_server_that_restarts(lab: Lab, live: Mirror, requests: Counted):
    lab.server.stop()
    with pytest.raises(UnreachableError):
        eventually(lambda: live.list("Pod", "shop") and None)
    lab.pod("meanwhile")
    lab.server.start()
    eventually(lambda: ObjectRef("Pod", "shop", "meanwhile") in live.take())

    def quiet() -> bool:
        before = requests.seen
        return names(live, "Pod", "shop") == ["meanwhile", "web"] and requests.seen == before

    eventually(quiet)


def test_changes_that_an_api_server_has_forgotten(lab: Lab, live: Mirror, requests: Counted):
    requests.add(Rule("watch", "pods", status=410, times=1))
    lab.server.stop()
    lab.store.delete(PODS, "shop", "web", {"gracePeriodSeconds": 0})
    for number in range(1001):
        lab.pod(f"pod-{number % 2}-{number}")
    lab.server.start()
    eventually(lambda: WEB in live.take())
    assert len(live.list("Pod", "shop")) == 1001
