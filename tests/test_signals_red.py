"""What is red now, and the first card as a whole."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clusters import autoscaler, client, deployment, pod, practice, service, slice_of

from smoldebug.clock import FakeClock, SystemClock
from smoldebug.errors import AccessDenied, UnreachableError
from smoldebug.signals.first_card import KINDS, first_card
from smoldebug.signals.red import what_is_red
from smoldebug.sources.fakes import FakeCluster

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(minutes: float) -> str:
    return (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def red(**objects: list[Any]) -> list[tuple[str, str]]:
    return [(fact.severity, fact.text) for fact in what_is_red(objects, NOW)]


def workload(available: int, *, born: float = 60, **status: Any) -> Any:
    found = deployment(replicas=2)
    found["metadata"]["creationTimestamp"] = ago(born)
    return {**found, "status": {"availableReplicas": available, **status}}


@pytest.mark.parametrize(("available", "severity"), [(2, None), (1, "warning"), (0, "critical")])
def test_a_workload_without_its_pods(available: int, severity: str | None) -> None:
    text = f"Deployment/shop/auth: {available} of 2 available"
    assert red(Deployment=[workload(available)]) == ([(severity, text)] if severity else [])


def test_a_workload_that_only_just_began_is_no_emergency() -> None:
    assert red(Deployment=[workload(0, born=0.5)])[0][0] == "warning"


def test_a_stuck_rollout_says_why() -> None:
    stuck = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": "timed out",
    }
    [(_, text)] = red(Deployment=[workload(1, conditions=[stuck])])
    assert text.endswith("(ProgressDeadlineExceeded: timed out)")


ENDED = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": ago(2)}


@pytest.mark.parametrize(
    ("state", "last", "words"),
    [
        ({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, {},
         "web ImagePullBackOff, 3 restarts: no such image"),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": ENDED},
         "web CrashLoopBackOff, last exit OOMKilled (exit code 137), 3 restarts"),
        ({"terminated": {"exitCode": 1, "reason": "Error"}}, {}, "web ended: Error (exit code 1)"),
        ({"running": {}}, {"terminated": ENDED}, "web restarted: OOMKilled (exit code 137)"),
        ({"waiting": {"reason": "ContainerCreating"}}, {}, None),
        ({"running": {}}, {}, None),
    ],
)  # fmt: skip
def test_a_container_in_trouble(state: Any, last: Any, words: str | None) -> None:
    item = pod("auth-1", restarts=3)
    item["status"]["containerStatuses"][0].update(state=state, lastState=last)
    found = [text for _, text in red(Pod=[item])]
    assert found == ([f"Pod/shop/auth-1: {words}"] if words else [])


def test_one_restart_is_not_many() -> None:
    item = pod("auth-1", restarts=1)
    item["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert red(Pod=[item]) == [("critical", "Pod/shop/auth-1: web CrashLoopBackOff, 1 restart")]


def test_a_pod_nobody_can_place_and_one_that_is_not_ready() -> None:
    pending = pod("auth-2", ready=False)
    pending["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
        ],
    }
    assert red(Pod=[pod("auth-1", ready=False), pending]) == [
        ("critical", "Pod/shop/auth-2: not scheduled: 0/3 nodes are available"),
        ("warning", "Pod/shop/auth-1: running, not ready"),
    ]


def event(name: str, minutes: float, reason: str = "Unhealthy") -> Any:
    return {
        "type": "Warning",
        "reason": reason,
        "message": "probe failed",
        "count": 7,
        "lastTimestamp": ago(minutes),
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": name},
    }


def test_a_warning_counts_while_it_is_current() -> None:
    line = ("warning", "Pod/shop/auth-1: Unhealthy ×7: probe failed")
    assert red(Event=[event("auth-1", 1), event("auth-1", 3)]) == [line]
    assert red(Event=[event("auth-1", 11)]) == []


def test_a_warning_of_a_pod_that_is_gone_or_ready_again_is_over() -> None:
    assert red(Pod=[pod("auth-1")], Event=[event("auth-1", 3)]) == []
    assert red(Pod=[pod("auth-1")], Event=[event("auth-1", 0.5)]) != []
    assert red(Pod=[], Event=[event("auth-1", 0.5)]) == []
    started = pod("auth-1")
    started["status"]["conditions"][0]["lastTransitionTime"] = ago(0.4)
    assert red(Pod=[started], Event=[event("auth-1", 0.5)]) == []


def test_harmless_warnings_of_a_healthy_start() -> None:
    assert red(Event=[event("auth-1", 1, "FailedToUpdateEndpointSlices")]) == []


def test_an_autoscaler_that_wants_more() -> None:
    limited = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas"}
    status = {"currentReplicas": 2, "desiredReplicas": 2, "conditions": [limited]}
    assert red(HorizontalPodAutoscaler=[{**autoscaler(high=2), "status": status}]) == [
        ("warning", "HorizontalPodAutoscaler/shop/auth: at its maximum of 2")
    ]
    assert red(HorizontalPodAutoscaler=[{**autoscaler(high=4), "status": status}]) == []


def test_a_service_nobody_answers_for() -> None:
    line = ("critical", "Service/shop/auth: no ready endpoints")
    assert red(EndpointSlice=[slice_of("auth", {"auth-1": False}, 1)]) == [line]
    assert red(EndpointSlice=[slice_of("auth", {"auth-1": True}, 1)]) == []


def test_a_node_that_is_not_ready() -> None:
    bad = {"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting"}
    node = {"kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [bad]}}
    assert red(Node=[node]) == [("critical", "Node/n1: not ready: Kubelet stopped posting")]


def test_objects_with_nothing_in_them_are_no_emergency() -> None:
    hollow = {kind: [{"kind": kind}, {"kind": kind, "spec": None}] for kind in KINDS}
    assert "critical" not in [
        severity for severity, text in red(**hollow) if "0 of 1 available" not in text
    ]


# --- the first card -------------------------------------------------------------------------


def test_the_first_card_over_real_http(tmp_path: Path) -> None:
    objects = [deployment(), pod("auth-1"), service(), slice_of("auth", {"auth-1": False}, 8080)]
    with practice(tmp_path, *objects) as here, client(here) as cluster:
        card = first_card(cluster, ["shop"], SystemClock())
    assert [fact.text for fact in card.changed] == ["Deployment/shop/auth: created"]
    assert "Service/shop/auth: no ready endpoints" in [fact.text for fact in card.red]
    assert card.gaps == ()
    assert card.seconds < 2


def test_twelve_requests_for_one_namespace() -> None:
    cluster = FakeCluster([])
    first_card(cluster, ["shop"], FakeClock())
    assert sorted(request.kind for request in cluster.requests) == sorted(KINDS)
    assert len(KINDS) == 12


def test_what_may_not_be_read_is_a_gap_and_the_rest_is_told() -> None:
    cluster = FakeCluster([workload(0)])
    denied = AccessDenied("not allowed in context lab", needs="list pods in namespace shop")
    cluster.refuse("list", "Pod", denied)
    card = first_card(cluster, ["shop"], FakeClock(NOW))
    [gap] = card.gaps
    assert (gap.what, gap.why) == (
        "Pod",
        "not allowed in context lab; needs: list pods in namespace shop",
    )
    assert card.red[0].ref == "Deployment/shop/auth"


def test_a_cluster_that_does_not_answer_is_no_list_of_gaps() -> None:
    cluster = FakeCluster([])
    cluster.refuse("list", "*", UnreachableError("connection refused"))
    with pytest.raises(UnreachableError, match="connection refused"):
        first_card(cluster, ["shop"], FakeClock())
