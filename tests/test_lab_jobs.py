"""Jobs, StatefulSets and DaemonSets of the lab, step by step over a store: the test is the kubelet
and says how pods fare."""

from typing import Any

import pytest
from labkit import deployment, events, new_store

from smoldebug.clock import FakeClock
from smoldebug.lab.apierror import ApiError
from smoldebug.lab.catalog import Resource
from smoldebug.lab.controllers import Controllers
from smoldebug.lab.objects import (
    CLAIMS,
    DAEMONSETS,
    DEFINITIONS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    PODS,
    STATEFULSETS,
    condition,
    is_active,
)
from smoldebug.lab.store import Store, timestamp
from smoldebug.sources.world import Object


class Cluster:
    """Pods of the images in `stuck` are never ready; others run at once and are ready."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store: Store = new_store(clock=self.clock)
        self.store.create(NODES, None, {"metadata": {"name": "lab-node"}, "spec": {}})
        self._controllers = Controllers(self.store)
        self.stuck: set[str] = set()
        self.least = 10**6  # ready pods there were at a time, once told to count

    def settle(self) -> None:
        version = -1
        while version != self.store.version:
            version = self.store.version
            self._controllers.step()
            for pod in self.pods(active=False):
                self._run(pod)
            ready = [p for p in self.pods() if condition(p, "Ready").get("status") == "True"]
            self.least = min(self.least, len(ready))

    def later(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.settle()

    def _run(self, pod: Object) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            self.store.delete(PODS, meta["namespace"], meta["name"], final=True)
        elif pod["spec"].get("nodeName") and pod["status"]["phase"] == "Pending":
            image = pod["spec"]["containers"][0]["image"]
            ready = {"type": "Ready", "status": "False" if image in self.stuck else "True"}
            ready["lastTransitionTime"] = timestamp(self.clock.now())
            self.report(meta["name"], "Running", conditions=[ready])

    def report(self, pod: str, phase: str, restarts: int = 0, **status: Any) -> None:
        """What the kubelet says of a pod."""
        ended = {"finishedAt": timestamp(self.clock.now())}
        state = {"running": {}} if phase == "Running" else {"terminated": ended}
        said = {"phase": phase, **status}
        said["containerStatuses"] = [{"state": state, "restartCount": restarts}]
        self.store.update(
            PODS, "shop", pod, lambda now: {**now, "status": said}, subresource="status"
        )

    def ends(self, phase: str) -> None:
        """Every pod that runs ends so."""
        for pod in self.pods():
            self.report(pod["metadata"]["name"], phase)
        self.settle()

    def pods(self, *, active: bool = True) -> list[Object]:
        return [pod for pod in self.store.scan(PODS)[0] if is_active(pod) or not active]

    def names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods()]

    def images(self) -> list[str]:
        return [pod["spec"]["containers"][0]["image"] for pod in self.pods()]

    def start(self, kind: Resource, obj: Object) -> None:
        self.store.create(kind, "shop", obj)
        self.settle()

    def status(self, kind: Resource, name: str = "web") -> Object:
        found: Object = self.store.get(kind, "shop", name)["status"]
        return found

    def change(self, kind: Resource, **spec: Any) -> None:
        def merged(current: Object) -> Object:
            return {**current, "spec": {**current["spec"], **spec}}

        self.store.update(kind, "shop", "web", merged)

    def release(self, kind: Resource, image: str) -> None:
        """A new image in the workload's template."""

        def changed(current: Object) -> Object:
            current["spec"]["template"]["spec"]["containers"][0]["image"] = image
            return current

        self.store.update(kind, "shop", "web", changed)
        self.settle()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def job(policy: str = "Never", **spec: Any) -> Object:
    containers = [{"name": "main", "image": "migrate:1"}]
    template = {"spec": {"restartPolicy": policy, "containers": containers}}
    return {"metadata": {"name": "migrate"}, "spec": {"template": template, **spec}}


def workload(replicas: int = 3, **spec: Any) -> Object:
    return deployment(replicas=replicas, **spec)


def ended(status: Object) -> tuple[str, str]:
    """Type and reason of the condition a Job ended with."""
    last = (status.get("conditions") or [{}])[-1]
    return last.get("type", ""), last.get("reason", "")


# -- Jobs


def test_a_job_is_complete_when_its_pod_has_succeeded(cluster: Cluster) -> None:
    cluster.start(JOBS, job())
    assert cluster.status(JOBS, "migrate") == {
        "startTime": timestamp(cluster.clock.now()),
        "active": 1,
        "ready": 1,
    }
    cluster.ends("Succeeded")
    status = cluster.status(JOBS, "migrate")
    assert ended(status) == ("Complete", "CompletionsReached")
    assert (status["succeeded"], status["completionTime"]) == (1, status["startTime"])
    assert "active" not in status
    assert events(cluster.store, "Completed") == ["Job completed"]
    cluster.later(3600)
    assert cluster.names() == []


def test_its_pods_carry_the_labels_that_clients_look_for(cluster: Cluster) -> None:
    cluster.start(JOBS, job())
    labels = cluster.pods()[0]["metadata"]["labels"]
    assert labels["job-name"] == labels["batch.kubernetes.io/job-name"] == "migrate"
    selector = cluster.store.get(JOBS, "shop", "migrate")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()


def test_a_failed_pod_is_replaced_after_a_wait_that_doubles(cluster: Cluster) -> None:
    cluster.start(JOBS, job())
    for pause in (10, 20, 40):
        cluster.ends("Failed")
        cluster.later(pause - 1)
        assert cluster.names() == []
        cluster.later(1)
        assert len(cluster.names()) == 1


def test_a_job_fails_when_more_pods_have_failed_than_may(cluster: Cluster) -> None:
    cluster.start(JOBS, job(backoffLimit=1))
    cluster.ends("Failed")
    assert ended(cluster.status(JOBS, "migrate")) == ("", "")
    cluster.later(10)
    cluster.ends("Failed")
    status = cluster.status(JOBS, "migrate")
    assert ended(status) == ("Failed", "BackoffLimitExceeded")
    assert status["failed"] == 2
    assert events(cluster.store, "BackoffLimitExceeded")
    cluster.later(3600)
    assert cluster.names() == []


def test_restarts_within_a_pod_count_as_failures(cluster: Cluster) -> None:
    cluster.start(JOBS, job("OnFailure", backoffLimit=2))
    (name,) = cluster.names()
    cluster.report(name, "Running", restarts=1)
    cluster.settle()
    assert cluster.names() == [name]
    cluster.report(name, "Running", restarts=2)
    cluster.settle()
    assert ended(cluster.status(JOBS, "migrate")) == ("Failed", "BackoffLimitExceeded")
    assert cluster.names() == []


def test_a_job_that_hangs_fails_at_its_deadline(cluster: Cluster) -> None:
    cluster.start(JOBS, job(activeDeadlineSeconds=30))
    cluster.later(29)
    assert len(cluster.names()) == 1
    cluster.later(1)
    assert ended(cluster.status(JOBS, "migrate")) == ("Failed", "DeadlineExceeded")
    assert cluster.names() == []


def test_some_run_at_a_time_until_enough_have_succeeded(cluster: Cluster) -> None:
    cluster.start(JOBS, job(parallelism=2, completions=3))
    assert len(cluster.names()) == 2
    cluster.ends("Succeeded")
    assert len(cluster.names()) == 1
    cluster.ends("Succeeded")
    assert ended(cluster.status(JOBS, "migrate"))[0] == "Complete"


def test_a_suspended_job_has_no_pods(cluster: Cluster) -> None:
    cluster.start(JOBS, job(suspend=True, activeDeadlineSeconds=1))
    cluster.later(5)
    assert cluster.names() == []
    assert ended(cluster.status(JOBS, "migrate")) == ("", "")


def test_a_job_takes_its_pods_along(cluster: Cluster) -> None:
    cluster.start(JOBS, job())
    cluster.store.delete(JOBS, "shop", "migrate")
    cluster.settle()
    assert cluster.pods(active=False) == []


def test_what_may_not_be_created_is_told_and_tried_again(cluster: Cluster) -> None:
    def refuse(verb: str, kind: Resource, old: Object | None, new: Object) -> None:
        if kind is PODS:
            raise ApiError(403, "Forbidden", "exceeded quota")

    cluster.store.admission.append(refuse)
    cluster.start(JOBS, job())
    assert events(cluster.store, "FailedCreate") == ["Error creating: exceeded quota"]
    cluster.store.admission.remove(refuse)
    cluster.later(10)
    assert len(cluster.names()) == 1


# -- StatefulSets


def test_a_stateful_set_starts_its_pods_one_after_the_other(cluster: Cluster) -> None:
    cluster.stuck = {"web:1"}
    cluster.start(STATEFULSETS, workload())
    assert cluster.names() == ["web-0"]
    cluster.stuck = set()
    cluster.store.delete(PODS, "shop", "web-0")
    cluster.settle()
    assert cluster.names() == ["web-0", "web-1", "web-2"]
    status = cluster.status(STATEFULSETS)
    assert status["readyReplicas"] == status["updatedReplicas"] == status["replicas"] == 3
    assert status["currentRevision"] == status["updateRevision"]


def test_or_all_at_once(cluster: Cluster) -> None:
    cluster.stuck = {"web:1"}
    cluster.start(STATEFULSETS, workload(podManagementPolicy="Parallel"))
    assert cluster.names() == ["web-0", "web-1", "web-2"]


def test_an_update_goes_from_the_last_pod_to_the_first(cluster: Cluster) -> None:
    cluster.start(STATEFULSETS, workload())
    cluster.least = 10**6
    cluster.release(STATEFULSETS, "web:2")
    assert cluster.images() == ["web:2"] * 3
    assert cluster.least == 2
    deleted = [message.split()[2] for message in events(cluster.store, "SuccessfulDelete")]
    assert sorted(deleted) == ["web-0", "web-1", "web-2"]
    status = cluster.status(STATEFULSETS)
    assert status["currentRevision"] == status["updateRevision"]


def test_an_update_stops_at_a_pod_that_is_not_well(cluster: Cluster) -> None:
    cluster.start(STATEFULSETS, workload())
    cluster.stuck = {"web:2"}
    cluster.release(STATEFULSETS, "web:2")
    assert cluster.images() == ["web:1", "web:1", "web:2"]
    status = cluster.status(STATEFULSETS)
    assert (status["updatedReplicas"], status["readyReplicas"]) == (1, 2)
    assert status["currentRevision"] != status["updateRevision"]
    cluster.release(STATEFULSETS, "web:1")
    assert cluster.images() == ["web:1"] * 3


def test_an_update_leaves_out_those_below_its_partition(cluster: Cluster) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    cluster.start(STATEFULSETS, workload(updateStrategy=strategy))
    cluster.release(STATEFULSETS, "web:2")
    assert cluster.images() == ["web:1", "web:1", "web:2"]


def test_the_last_go_first_when_there_are_to_be_fewer(cluster: Cluster) -> None:
    cluster.start(STATEFULSETS, workload())
    cluster.change(STATEFULSETS, replicas=1)
    cluster.settle()
    assert cluster.names() == ["web-0"]


def test_every_pod_gets_a_claim_that_outlives_it(cluster: Cluster) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.start(STATEFULSETS, workload(1, volumeClaimTemplates=[claim]))
    before = cluster.store.get(CLAIMS, "shop", "data-web-0")
    assert before["status"]["phase"] == "Bound"
    assert before["status"]["capacity"] == {"storage": "1Gi"}
    cluster.release(STATEFULSETS, "web:2")
    (pod,) = cluster.pods()
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}
    assert pod["spec"]["volumes"] == [volume]
    assert cluster.store.get(CLAIMS, "shop", "data-web-0") == before


# -- DaemonSets


def daemons() -> Object:
    found = workload()
    del found["spec"]["replicas"]
    return found


def test_a_daemon_set_has_a_pod_on_every_node(cluster: Cluster) -> None:
    cluster.store.create(NODES, None, {"metadata": {"name": "other"}, "spec": {}})
    cluster.start(DAEMONSETS, daemons())
    assert {pod["spec"]["nodeName"] for pod in cluster.pods()} == {"lab-node", "other"}
    status = cluster.status(DAEMONSETS)
    assert status["desiredNumberScheduled"] == status["numberReady"] == 2
    assert "numberUnavailable" not in status


def test_also_on_one_that_is_closed_but_on_none_that_repels_it(cluster: Cluster) -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    node = {"metadata": {"name": "other"}, "spec": {"taints": [taint]}}
    cluster.store.create(NODES, None, node)

    def cordoned(node: Object) -> Object:
        return {**node, "spec": {"unschedulable": True}}

    cluster.store.update(NODES, None, "lab-node", cordoned)
    cluster.settle()
    cluster.start(DAEMONSETS, daemons())
    assert [pod["spec"]["nodeName"] for pod in cluster.pods()] == ["lab-node"]


def test_its_pods_are_replaced_one_by_one_and_not_past_a_bad_one(cluster: Cluster) -> None:
    cluster.store.create(NODES, None, {"metadata": {"name": "other"}, "spec": {}})
    cluster.start(DAEMONSETS, daemons())
    cluster.least = 10**6
    cluster.release(DAEMONSETS, "web:2")
    assert cluster.images() == ["web:2"] * 2
    assert cluster.least == 1
    cluster.stuck = {"web:3"}
    cluster.release(DAEMONSETS, "web:3")
    assert sorted(cluster.images()) == ["web:2", "web:3"]
    status = cluster.status(DAEMONSETS)
    assert (status["updatedNumberScheduled"], status["numberUnavailable"]) == (1, 1)
    cluster.release(DAEMONSETS, "web:2")
    assert cluster.images() == ["web:2"] * 2


# -- what a chart brings besides


def test_a_custom_resource_definition_is_established(cluster: Cluster) -> None:
    versions = [{"name": "v1", "served": True, "storage": True}]
    spec = {"group": "example.org", "names": {"kind": "Widget"}, "versions": versions}
    cluster.start(DEFINITIONS, {"metadata": {"name": "widgets.example.org"}, "spec": spec})
    found = cluster.store.get(DEFINITIONS, None, "widgets.example.org")
    assert condition(found, "Established")["status"] == "True"
    assert found["status"]["storedVersions"] == ["v1"]


def test_a_rollout_that_gets_nowhere_says_so_after_its_deadline(cluster: Cluster) -> None:
    cluster.start(DEPLOYMENTS, workload(progressDeadlineSeconds=20))
    cluster.stuck = {"web:2"}
    cluster.release(DEPLOYMENTS, "web:2")
    assert sorted(cluster.images()) == ["web:1", "web:1", "web:1", "web:2"]
    cluster.later(19)
    now = cluster.store.get(DEPLOYMENTS, "shop", "web")
    assert condition(now, "Progressing")["status"] == "True"
    cluster.later(2)
    late = condition(cluster.store.get(DEPLOYMENTS, "shop", "web"), "Progressing")
    assert (late["status"], late["reason"]) == ("False", "ProgressDeadlineExceeded")
