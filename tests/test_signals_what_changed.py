"""What changed lately, told from the objects."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clusters import autoscaler, deployment

from smoldebug.signals.first_card import KINDS
from smoldebug.signals.what_changed import what_changed

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(minutes: float) -> str:
    return (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def told(window: float = 3600, **objects: list[Any]) -> list[str]:
    return [fact.text for fact in what_changed(objects, NOW, window)]


def managed(item: Any, manager: str, minutes: float, *fields: str, born: float = 600) -> Any:
    spec = {f"f:{field}": {} for field in fields}
    entry = {"manager": manager, "time": ago(minutes), "fieldsV1": {"f:spec": spec}}
    metadata = {"creationTimestamp": ago(born), "uid": "u1", "managedFields": [entry]}
    return {**item, "metadata": {**item["metadata"], **metadata}}


def revision(number: int, minutes: float, **container: Any) -> Any:
    found = deployment(**container)
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"auth-{number}",
            "namespace": "shop",
            "creationTimestamp": ago(minutes),
            "annotations": {"deployment.kubernetes.io/revision": str(number)},
            "ownerReferences": [{"uid": "u1", "controller": True}],
        },
        "spec": {"template": found["spec"]["template"]},
    }


AUTH = managed(deployment(), "kubectl", 500)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ({"image": "auth:2"}, "image auth:1 → auth:2"),
        ({"env": [{"name": "POOL", "value": "s3cret"}]}, "env POOL added"),
        (
            {"resources": {"limits": {"memory": "64Mi"}}},
            "resources changed (no limits → memory=64Mi)",
        ),
        ({"command": ["sleep"]}, "command changed"),
        ({"readinessProbe": {"httpGet": {}}}, "readiness probe changed"),
        ({"ports": [{"containerPort": 81}], "args": ["-v"]}, "arguments changed, ports changed"),
        ({}, "pod template changed"),
    ],
)
def test_a_rollout_says_what_the_new_revision_has(new: dict[str, Any], words: str) -> None:
    sets = [revision(3, 400), revision(4, 10, **new)]
    found = told(Deployment=[AUTH], ReplicaSet=sets)
    assert found == [f"Deployment/shop/auth: {words} (revision 4)"]


def test_a_rollback_is_dated_by_when_it_was_done() -> None:
    sets = [revision(5, 500), revision(4, 10, image="auth:2")]
    undone = managed(deployment(), "kubectl", 3, "template")
    [fact] = what_changed({"Deployment": [undone], "ReplicaSet": sets}, NOW, 3600)
    assert fact.text == "Deployment/shop/auth: image auth:2 → auth:1 (revision 5)"
    assert fact.at == NOW - timedelta(minutes=3)
    events = [scaled("down", "auth-4", 2), scaled("up", "auth-5", 1)]
    objects = {"Deployment": [undone], "ReplicaSet": sets, "Event": events}
    assert what_changed(objects, NOW, 3600)[0].at == NOW - timedelta(minutes=2)


def test_the_same_once_more_is_dated_by_when_it_was_done_again() -> None:
    """As when a pipeline is run again after its first try was taken back."""
    again = revision(5, 30, image="auth:2")
    again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] = "3"
    tried = managed(deployment(image="auth:2"), "helm", 3, "template")
    events = [scaled("down", "auth-4", 20), scaled("up", "auth-4", 10)]
    objects = {"Deployment": [tried], "ReplicaSet": [revision(4, 500), again], "Event": events}
    [fact] = what_changed(objects, NOW, 3600)
    assert fact.text == "Deployment/shop/auth: image auth:1 → auth:2 (revision 5)"
    assert fact.at == NOW - timedelta(minutes=3)


def scaled(how: str, replica_set: str, minutes: float) -> Any:
    about = {"kind": "Deployment", "namespace": "shop", "name": "auth"}
    message = f"Scaled {how} replica set {replica_set} from 0 to 2"
    return {"message": message, "lastTimestamp": ago(minutes), "involvedObject": about}


def test_more_replicas_long_after_a_rollback_are_no_rollout() -> None:
    sets = [revision(5, 500), revision(4, 400, env=[{"name": "KEY"}])]
    undone = managed(deployment(), "kubectl", 2, "template")
    undone["metadata"]["managedFields"][0]["time"] = ago(0.2)  # the same hand set replicas since
    progress = {"type": "Progressing", "status": "True", "lastUpdateTime": ago(2)}
    undone = {**undone, "status": {"conditions": [progress]}}
    objects = {"Deployment": [undone], "ReplicaSet": sets, "Event": [scaled("up", "auth-5", 0.2)]}
    [fact] = what_changed(objects, NOW, 3600)
    assert fact.text == "Deployment/shop/auth: env KEY removed (revision 5)"
    assert fact.at == NOW - timedelta(minutes=2)


def test_services_and_network_policies_name_who_edited_them() -> None:
    edited = [
        managed({"kind": kind, "metadata": {"name": "auth", "namespace": "shop"}}, "ci-bot", 4, key)
        for kind, key in (("Service", "selector"), ("NetworkPolicy", "ingress"))
    ]
    assert {"Service", "NetworkPolicy"} <= set(KINDS)
    assert told(Service=edited[:1], NetworkPolicy=edited[1:]) == [
        "Service/shop/auth: selector set by ci-bot",
        "NetworkPolicy/shop/auth: ingress set by ci-bot",
    ]


def test_only_the_window_counts_and_the_newest_comes_first() -> None:
    sets = [revision(3, 400), revision(4, 10, image="auth:2")]
    scaled = managed(autoscaler(), "ci-bot", 2, "maxReplicas")
    objects = {"Deployment": [AUTH], "ReplicaSet": sets, "HorizontalPodAutoscaler": [scaled]}
    assert [text.partition(":")[0] for text in told(**objects)] == [
        "HorizontalPodAutoscaler/shop/auth",
        "Deployment/shop/auth",
    ]
    assert len(told(window=300, **objects)) == 1
    assert told(window=60, **objects) == []


def test_bounds_and_replicas_name_who_set_them() -> None:
    hpa = managed(autoscaler(high=2), "ci-bot", 5, "maxReplicas")
    scaled = managed(deployment(replicas=1), "kubectl", 6, "replicas")
    assert told(HorizontalPodAutoscaler=[hpa], Deployment=[scaled]) == [
        "HorizontalPodAutoscaler/shop/auth: bounds now 1..2, set by ci-bot",
        "Deployment/shop/auth: replicas now 1, set by kubectl",
    ]


def test_what_an_object_was_created_with_is_no_change() -> None:
    assert told(HorizontalPodAutoscaler=[managed(autoscaler(), "x", 5, "a", born=5)]) == []


def test_configuration_is_named_never_shown() -> None:
    secret = {
        "kind": "Secret",
        "data": {"password": "aHVudGVyMg=="},
        "metadata": {
            "name": "db",
            "namespace": "shop",
            "creationTimestamp": ago(600),
            "managedFields": [{"manager": "vault", "time": ago(3)}],
        },
    }
    assert told(Secret=[secret]) == ["Secret/shop/db: changed by vault"]


def test_nodes_and_scaling_events() -> None:
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": ago(4)}
    node = {
        "kind": "Node",
        "metadata": {"name": "n1", "creationTimestamp": ago(9000)},
        "status": {"conditions": [ready]},
    }
    event = {
        "reason": "ScalingReplicaSet",
        "message": "Scaled down replica set auth-4 to 1 from 3",
        "lastTimestamp": ago(1),
        "involvedObject": {"kind": "Deployment", "namespace": "shop", "name": "auth"},
    }
    assert told(Node=[node], Event=[event]) == [
        "Deployment/shop/auth: Scaled down replica set auth-4 to 1 from 3",
        "Node/n1: became not ready",
    ]


def test_an_installation_is_one_line_without_its_scaling_events() -> None:
    made = []
    for name in ("auth", "cart", "web"):
        item = deployment(name)
        item["metadata"].update(creationTimestamp=ago(5), uid=name)
        made.append(item)
    event = {
        "reason": "ScalingReplicaSet",
        "message": "Scaled up replica set auth-1 to 2",
        "lastTimestamp": ago(4),
        "involvedObject": {"kind": "Deployment", "namespace": "shop", "name": "auth"},
    }
    found = told(Deployment=made, Event=[event])
    assert found == ["Deployment/shop: 3 created: auth, cart, web"]


def test_what_was_created_later_is_no_part_of_an_installation() -> None:
    made = []
    for name, minutes in (("auth", 9), ("cart", 9), ("web", 9), ("new", 1)):
        item = deployment(name)
        item["metadata"].update(creationTimestamp=ago(minutes), uid=name)
        made.append(item)
    assert told(Deployment=made) == [
        "Deployment/shop/new: created",
        "Deployment/shop: 3 created: auth, cart, web",
    ]


def test_objects_with_nothing_in_them_are_no_news() -> None:
    kinds = ("Deployment", "ReplicaSet", "HorizontalPodAutoscaler", "Node", "ConfigMap", "Event")
    assert told(**{kind: [{"kind": kind}, {"kind": kind, "metadata": {}}] for kind in kinds}) == []
