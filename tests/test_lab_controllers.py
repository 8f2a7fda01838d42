"""The lab's controllers, step by step over a store: no process runs, a test is the kubelet."""

from datetime import timedelta
from typing import Any

import pytest
from labkit import deployment, events, new_store

from smoldebug.clock import FakeClock
from smoldebug.lab.catalog import resource
from smoldebug.lab.controllers import Controllers
from smoldebug.lab.deployments import REVISION
from smoldebug.lab.objects import (
    AUTOSCALERS,
    BUDGETS,
    DEPLOYMENTS,
    ENDPOINTS,
    NODES,
    PODS,
    QUOTAS,
    REPLICASETS,
    SERVICES,
    SLICES,
    condition,
    is_active,
    is_ready,
)
from smoldebug.lab.quotas import Quotas
from smoldebug.lab.store import ApiError, Store
from smoldebug.sources.world import Object


class Cluster:
    """A store with its controllers, and the kubelet's part played by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = new_store(clock=self.clock)
        self.store.create(NODES, None, {"metadata": {"name": "lab-node"}, "spec": {}})
        self._controllers = Controllers(self.store)
        self.most = 0  # pods there ever were at a time
        self.least = 10**6  # ready pods there were at a time, once all were up

    def settle(self, *, bad_image: str = "", run: bool = True) -> None:
        """Let controllers and pods act until nothing changes any more."""
        version = -1
        while version != self.store.version:
            version = self.store.version
            self._controllers.step()
            pods = self.pods()
            self.most = max(self.most, len(pods))
            self.least = min(self.least, sum(map(is_ready, pods)))
            if run:
                self._run_pods(bad_image)

    def _run_pods(self, bad_image: str) -> None:
        for number, pod in enumerate(self.store.scan(PODS)[0]):
            meta = pod["metadata"]
            if meta.get("deletionTimestamp"):
                self.store.delete(PODS, meta["namespace"], meta["name"], final=True)
                continue
            if not pod["spec"].get("nodeName"):
                continue
            image = pod["spec"]["containers"][0]["image"]
            ready = "False" if image == bad_image else "True"
            status = {"phase": "Running", "podIP": f"127.1.9.{number + 2}"}
            turned = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
            status["conditions"] = [{"type": "Ready", "status": ready, **turned}]
            self.store.update(
                PODS,
                meta["namespace"],
                meta["name"],
                lambda current, status=status: {
                    **current,
                    "status": {**status, "podIP": current["status"].get("podIP", status["podIP"])},
                },
                subresource="status",
            )

    def pods(self) -> list[Object]:
        return [p for p in self.store.scan(PODS)[0] if is_active(p)]

    def deployment(self) -> Object:
        return self.store.get(DEPLOYMENTS, "shop", "web")

    def change(self, **spec: Any) -> None:
        def merge(current: Object) -> Object:
            current["spec"] |= spec
            return current

        self.store.update(DEPLOYMENTS, "shop", "web", merge)

    def set_image(self, image: str) -> None:
        def merge(current: Object) -> Object:
            current["spec"]["template"]["spec"]["containers"][0]["image"] = image
            return current

        self.store.update(DEPLOYMENTS, "shop", "web", merge)

    def images(self) -> list[str]:
        return sorted(p["spec"]["containers"][0]["image"] for p in self.pods())


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.store.create(DEPLOYMENTS, "shop", deployment())
    cluster.settle()
    cluster.most, cluster.least = 0, 10**6
    return cluster


def test_a_deployment_becomes_a_replicaset_and_its_pods(cluster: Cluster) -> None:
    assert cluster.images() == ["web:1"] * 3
    status = cluster.deployment()["status"]
    assert (status["replicas"], status["availableReplicas"], status["updatedReplicas"]) == (3, 3, 3)
    assert condition(cluster.deployment(), "Progressing")["reason"] == "NewReplicaSetAvailable"
    [replicaset], _ = cluster.store.scan(REPLICASETS)
    name = replicaset["metadata"]["name"]
    assert events(cluster.store, "ScalingReplicaSet") == [
        f"Scaled up replica set {name} from 0 to 3"
    ]
    assert len(events(cluster.store, "SuccessfulCreate")) == 3


def test_a_settled_cluster_is_left_alone(cluster: Cluster) -> None:
    version = cluster.store.version
    cluster.settle()
    assert cluster.store.version == version


def test_scaling_makes_and_removes_pods(cluster: Cluster) -> None:
    cluster.change(replicas=5)
    cluster.settle()
    assert len(cluster.pods()) == 5
    cluster.change(replicas=0)
    cluster.settle()
    assert cluster.pods() == []


def test_a_pod_that_is_deleted_comes_back(cluster: Cluster) -> None:
    gone = cluster.pods()[0]["metadata"]["name"]
    cluster.store.delete(PODS, "shop", gone)
    cluster.settle()
    names = [p["metadata"]["name"] for p in cluster.pods()]
    assert len(names) == 3
    assert gone not in names


def test_a_rolling_update_stays_within_its_bounds(cluster: Cluster) -> None:
    cluster.change(strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
    cluster.settle()
    cluster.most, cluster.least = 0, 10**6
    cluster.set_image("web:2")
    cluster.settle()
    assert cluster.images() == ["web:2"] * 3
    assert cluster.most == 4
    assert cluster.least >= 2
    assert cluster.deployment()["metadata"]["annotations"][REVISION] == "2"


def test_recreate_has_never_both_versions(cluster: Cluster) -> None:
    cluster.change(strategy={"type": "Recreate"})
    cluster.set_image("web:2")
    cluster.settle()
    assert cluster.images() == ["web:2"] * 3
    assert (cluster.most, cluster.least) == (3, 0)


def test_a_bad_version_does_not_take_the_good_pods_away(cluster: Cluster) -> None:
    cluster.set_image("web:bad")
    cluster.settle(bad_image="web:bad")
    assert sum(map(is_ready, cluster.pods())) == 3
    assert cluster.images().count("web:bad") == 1
    assert condition(cluster.deployment(), "Progressing")["reason"] == "ReplicaSetUpdated"
    cluster.clock.elapsed += timedelta(seconds=601).total_seconds()
    cluster.settle(bad_image="web:bad")
    progressing = condition(cluster.deployment(), "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")


def test_going_back_takes_the_old_replicaset_up_again(cluster: Cluster) -> None:
    [first], _ = cluster.store.scan(REPLICASETS)
    cluster.set_image("web:bad")
    cluster.settle(bad_image="web:bad")
    cluster.set_image("web:1")
    cluster.settle()
    assert cluster.images() == ["web:1"] * 3
    again = cluster.store.get(REPLICASETS, "shop", first["metadata"]["name"])
    assert again["metadata"]["annotations"][REVISION] == "3"
    assert len(cluster.store.scan(REPLICASETS)[0]) == 2


def test_nulls_in_a_template_make_no_new_revision(cluster: Cluster) -> None:
    def kubectl_undo(current: Object) -> Object:
        current["spec"]["template"]["metadata"]["creationTimestamp"] = None
        return current

    cluster.store.update(DEPLOYMENTS, "shop", "web", kubectl_undo)
    cluster.settle()
    assert len(cluster.store.scan(REPLICASETS)[0]) == 1


def test_a_paused_deployment_scales_but_does_not_roll(cluster: Cluster) -> None:
    cluster.change(paused=True)
    cluster.set_image("web:2")
    cluster.change(replicas=4)
    cluster.settle()
    assert cluster.images() == ["web:1"] * 4
    assert condition(cluster.deployment(), "Progressing")["reason"] == "DeploymentPaused"
    cluster.change(paused=False)
    cluster.settle()
    assert cluster.images() == ["web:2"] * 4


def test_old_replicasets_are_forgotten_beyond_the_limit(cluster: Cluster) -> None:
    cluster.change(revisionHistoryLimit=2)
    for version in range(2, 8):
        cluster.set_image(f"web:{version}")
        cluster.settle()
    assert len(cluster.store.scan(REPLICASETS)[0]) == 3


def test_a_deleted_deployment_takes_everything_with_it(cluster: Cluster) -> None:
    cluster.store.delete(DEPLOYMENTS, "shop", "web")
    cluster.settle()
    assert cluster.pods() == []
    assert cluster.store.scan(REPLICASETS)[0] == []


# Services


def service(selector: dict[str, str] | None, **port: Any) -> Object:
    spec: Object = {"ports": [{"port": 80, "targetPort": 8080, **port}]}
    return {
        "metadata": {"name": "web"},
        "spec": spec | ({"selector": selector} if selector else {}),
    }


def addresses(store: Store) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ready": [], "waiting": []}
    for subset in store.get(ENDPOINTS, "shop", "web")["subsets"]:
        found["ready"] += [a["ip"] for a in subset.get("addresses", [])]
        found["waiting"] += [a["ip"] for a in subset.get("notReadyAddresses", [])]
    slices, _ = store.scan(SLICES, "shop", labels="kubernetes.io/service-name=web")
    ready = [e["addresses"][0] for s in slices for e in s["endpoints"] if e["conditions"]["ready"]]
    assert sorted(ready) == sorted(found["ready"])
    return found


def test_a_service_has_the_ready_pods_it_selects(cluster: Cluster) -> None:
    cluster.store.create(SERVICES, "shop", service({"app": "web"}))
    cluster.settle()
    assert len(addresses(cluster.store)["ready"]) == 3
    cluster.set_image("web:bad")
    cluster.settle(bad_image="web:bad")
    found = addresses(cluster.store)
    assert (len(found["ready"]), len(found["waiting"])) == (3, 1)


def test_a_service_that_selects_nothing_has_no_endpoints(cluster: Cluster) -> None:
    cluster.store.create(SERVICES, "shop", service({"app": "other"}))
    cluster.settle()
    assert addresses(cluster.store) == {"ready": [], "waiting": []}


def test_endpoints_written_by_hand_are_left_alone(cluster: Cluster) -> None:
    cluster.store.create(SERVICES, "shop", service(None))
    by_hand = {"metadata": {"name": "web"}, "subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]}
    cluster.store.create(ENDPOINTS, "shop", by_hand)
    cluster.settle()
    assert cluster.store.get(ENDPOINTS, "shop", "web")["subsets"] == by_hand["subsets"]


def test_a_deleted_service_takes_its_endpoints_with_it(cluster: Cluster) -> None:
    cluster.store.create(SERVICES, "shop", service({"app": "web"}))
    cluster.settle()
    cluster.store.delete(SERVICES, "shop", "web")
    cluster.settle()
    assert cluster.store.scan(SLICES)[0] == cluster.store.scan(ENDPOINTS)[0] == []


# The scheduler and the autoscaler


def test_a_cordoned_node_takes_no_pods_and_the_event_says_so(cluster: Cluster) -> None:
    def cordon(node: Object) -> Object:
        node["spec"]["unschedulable"] = True
        return node

    cluster.store.update(NODES, None, "lab-node", cordon)
    cluster.change(replicas=4)
    cluster.settle(run=False)
    [waiting] = [p for p in cluster.pods() if not p["spec"].get("nodeName")]
    assert condition(waiting, "PodScheduled")["reason"] == "Unschedulable"
    assert events(cluster.store, "FailedScheduling") == [
        "0/1 nodes are available: 1 node(s) were unschedulable."
    ]


def test_an_autoscaler_keeps_replicas_in_its_bounds(cluster: Cluster) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    bounds = {"minReplicas": 4, "maxReplicas": 6, "scaleTargetRef": target}
    cluster.store.create(AUTOSCALERS, "shop", {"metadata": {"name": "web"}, "spec": bounds})
    cluster.settle()
    assert len(cluster.pods()) == 4
    cluster.change(replicas=9)
    cluster.settle()
    assert len(cluster.pods()) == 6
    status = cluster.store.get(resource("hpa"), "shop", "web")["status"]
    assert status == {"currentReplicas": 6, "desiredReplicas": 6}


# -- disruption budgets


@pytest.mark.parametrize(
    ("limit", "desired", "allowed"),
    [
        ({"minAvailable": 2}, 2, 1),
        ({"minAvailable": "50%"}, 2, 1),
        ({"minAvailable": "100%"}, 3, 0),
        ({"maxUnavailable": 1}, 2, 1),
        ({"maxUnavailable": "34%"}, 1, 2),
        ({"maxUnavailable": 0}, 3, 0),
    ],
)
def test_a_budget_says_how_many_may_go(
    cluster: Cluster, limit: dict[str, Any], desired: int, allowed: int
) -> None:
    spec = {"selector": {"matchLabels": {"app": "web"}}, **limit}
    cluster.store.create(BUDGETS, "shop", {"metadata": {"name": "web"}, "spec": spec})
    cluster.settle()
    status = cluster.store.peek(BUDGETS, "shop", "web")["status"]
    assert (status["expectedPods"], status["currentHealthy"]) == (3, 3)
    assert (status["desiredHealthy"], status["disruptionsAllowed"]) == (desired, allowed)


def test_a_budget_of_nothing_allows_nothing(cluster: Cluster) -> None:
    spec = {"selector": {"matchLabels": {"app": "gone"}}, "minAvailable": 0}
    cluster.store.create(BUDGETS, "shop", {"metadata": {"name": "gone"}, "spec": spec})
    cluster.settle()
    assert cluster.store.peek(BUDGETS, "shop", "gone")["status"]["disruptionsAllowed"] == 0


# -- nodes


def patch_node(cluster: Cluster, **spec: Any) -> None:
    def change(node: Object) -> Object:
        return {**node, "spec": {**node["spec"], **spec}}

    cluster.store.update(NODES, None, "lab-node", change)
    cluster.settle()


def test_a_cordoned_node_is_tainted_and_takes_no_new_pods(cluster: Cluster) -> None:
    patch_node(cluster, unschedulable=True)
    node = cluster.store.peek(NODES, None, "lab-node")
    assert [t["key"] for t in node["spec"]["taints"]] == ["node.kubernetes.io/unschedulable"]
    cluster.change(replicas=4)
    cluster.settle()
    assert "0/1 nodes are available: 1 node(s) were unschedulable." in events(
        cluster.store, "FailedScheduling"
    )
    patch_node(cluster, unschedulable=False)
    assert "taints" not in cluster.store.peek(NODES, None, "lab-node")["spec"]
    assert sum(map(is_ready, cluster.pods())) == 4


@pytest.mark.parametrize(
    ("toleration", "placed"),
    [
        (None, False),
        ({"key": "team", "value": "data", "effect": "NoSchedule"}, True),
        ({"key": "team", "value": "web"}, False),
        ({"key": "team", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "team", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_a_taint_repels_who_does_not_tolerate_it(
    cluster: Cluster, toleration: dict[str, str] | None, placed: bool
) -> None:
    patch_node(cluster, taints=[{"key": "team", "value": "data", "effect": "NoSchedule"}])
    spec = {"containers": [{"name": "a", "image": "x"}]}
    spec |= {"tolerations": [toleration]} if toleration else {}
    cluster.store.create(PODS, "shop", {"metadata": {"name": "lone"}, "spec": spec})
    cluster.settle()
    assert bool(cluster.store.peek(PODS, "shop", "lone")["spec"].get("nodeName")) is placed
    why = "0/1 nodes are available: 1 node(s) had untolerated taint {team: data}."
    assert (why in events(cluster.store, "FailedScheduling")) is not placed


def test_no_execute_drives_pods_away(cluster: Cluster) -> None:
    before = {pod["metadata"]["name"] for pod in cluster.pods()}
    patch_node(cluster, taints=[{"key": "broken", "effect": "NoExecute"}])
    after = cluster.pods()
    assert len(after) == 3
    assert not before & {pod["metadata"]["name"] for pod in after}
    assert not any("nodeName" in pod["spec"] for pod in after)


# -- quotas


def quota(cluster: Cluster, **hard: str) -> Quotas:
    named = {name.replace("_", "."): amount for name, amount in hard.items()}
    obj = {"metadata": {"name": "q"}, "spec": {"hard": named}}
    cluster.store.create(QUOTAS, "shop", obj)
    quotas = Quotas(cluster.store)
    cluster.store.admission.append(quotas.admit)
    return quotas


def test_a_quota_stops_a_rollout_and_says_so(cluster: Cluster) -> None:
    quota(cluster, pods="4")
    cluster.change(replicas=5)
    cluster.settle()
    assert len(cluster.pods()) == 4
    assert cluster.store.peek(QUOTAS, "shop", "q")["status"] == {
        "hard": {"pods": "4"},
        "used": {"pods": "4"},
    }
    refused = events(cluster.store, "FailedCreate")[0]
    said = "exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4"
    assert refused.endswith(f"is forbidden: {said}")


def asking(cluster: Cluster, cpu: str = "", memory: str = "") -> None:
    resources = {"requests": {"cpu": cpu} if cpu else {}}
    resources["limits"] = {"memory": memory} if memory else {}
    spec = {"containers": [{"name": "a", "image": "x", "resources": resources}]}
    meta = {"generateName": "w-"}
    cluster.store.create(PODS, "shop", {"metadata": meta, "spec": spec})


def test_a_quota_counts_requests_and_limits(cluster: Cluster) -> None:
    cluster.change(replicas=0)
    cluster.settle()
    quotas = quota(cluster, requests_cpu="500m", limits_memory="1Gi")
    with pytest.raises(ApiError, match="failed quota: q: must specify limits.memory,requests.cpu"):
        asking(cluster)
    asking(cluster, "300m", "512Mi")
    said = (
        "exceeded quota: q, requested: limits.memory=768Mi,requests.cpu=300m, "
        "used: limits.memory=512Mi,requests.cpu=300m, limited: limits.memory=1Gi,requests.cpu=500m"
    )
    with pytest.raises(ApiError, match=said):
        asking(cluster, "300m", "768Mi")
    quotas.step()
    used = cluster.store.peek(QUOTAS, "shop", "q")["status"]["used"]
    assert used == {"requests.cpu": "300m", "limits.memory": "512Mi"}


def test_a_quota_counts_objects_of_a_kind(cluster: Cluster) -> None:
    obj = {"metadata": {"name": "q"}, "spec": {"hard": {"count/deployments.apps": "2"}}}
    cluster.store.create(QUOTAS, "shop", obj)
    cluster.store.admission.append(Quotas(cluster.store).admit)
    cluster.store.create(DEPLOYMENTS, "shop", deployment("one"))
    with pytest.raises(ApiError, match="requested: count/deployments.apps=1, used: count") as error:
        cluster.store.create(DEPLOYMENTS, "shop", deployment("two"), dry_run=True)
    assert (error.value.code, error.value.reason) == (403, "Forbidden")


# -- who owns what


def test_what_controllers_change_is_theirs(cluster: Cluster) -> None:
    cluster.store.create(DEPLOYMENTS, "shop", deployment("api", replicas=1), manager="on-call")
    spec = {"minReplicas": 2, "maxReplicas": 4}
    spec |= {"scaleTargetRef": {"kind": "Deployment", "name": "api"}}
    cluster.store.create(AUTOSCALERS, "shop", {"metadata": {"name": "api"}, "spec": spec})
    cluster.settle()
    entries = cluster.store.peek(DEPLOYMENTS, "shop", "api")["metadata"]["managedFields"]
    owners = {(e["manager"], e.get("subresource", "")): e["fieldsV1"] for e in entries}
    controllers = "kube-controller-manager"
    assert set(owners) == {
        ("on-call", ""),
        (controllers, "scale"),
        (controllers, ""),
        (controllers, "status"),
    }
    assert owners[controllers, "scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners["on-call", ""]["f:spec"]
    for kind in (REPLICASETS, PODS):
        (first, *_) = cluster.store.scan(kind, "shop")[0][0]["metadata"]["managedFields"]
        assert first["manager"] == controllers
