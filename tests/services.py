"""A release of services in a fake cluster, for the tests of goals with a row per service."""

from collections.abc import Iterable
from typing import Any

from smoldebug.clock import FakeClock
from smoldebug.goal import Goal
from smoldebug.playbook import models, upgrades
from smoldebug.playbook.base import Duration
from smoldebug.records import ObjectRef
from smoldebug.sources.fake_helm import FakeChart, FakeHelm
from smoldebug.sources.fakes import FakeHttp, WatchedCluster, reply
from smoldebug.sources.helm import Release
from smoldebug.sources.world import World

Object = dict[str, Any]
CHECKS = (
    models.Check(rollout=models.RolloutCheck(complete_within=Duration(600))),
    models.Check(http=models.HttpCheck(path="/health", skip="no-http-port")),
    models.Check(logs=upgrades.LogsCheck()),
    models.Check(restarts=models.RestartsCheck()),
)
STARTED, READY = "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z"
PROBE = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1}


def deployment(name: str, *, generation: int = 1, replicas: int = 1, **status: Any) -> Object:
    """Rolled out, unless `status` says otherwise."""
    whole = {"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas}
    container = {
        "name": "app",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": PROBE,
    }
    return {
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "generation": generation,
            "labels": {"part-of": "shop"},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container]},
            },
        },
        "status": {"observedGeneration": generation, **whole, **status},
    }


def replica_set(name: str, revision: int = 1) -> Object:
    owner = {"uid": f"uid-{name}", "controller": True}
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name}-{revision}",
            "namespace": "shop",
            "uid": f"uid-{name}-{revision}",
            "ownerReferences": [owner],
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
        },
    }


def pod(app: str, revision: int = 1, *, ready: bool = True, **status: Any) -> Object:
    """`status` are fields of its container's status; `init` that of an init container."""
    init = [status.pop("init")] if "init" in status else []
    made = f"{app}-{revision}-x"
    container = {"name": "app", "restartCount": 0, "ready": ready, "started": True}
    container |= {"state": {"running": {"startedAt": STARTED}}} | status
    name = {"name": "app", "readinessProbe": PROBE}
    return {
        "kind": "Pod",
        "metadata": {
            "name": made,
            "namespace": "shop",
            "uid": f"uid-{made}",
            "labels": {"app": app},
            "ownerReferences": [{"uid": f"uid-{app}-{revision}", "controller": True}],
        },
        "spec": {"containers": [name], "initContainers": [{"name": "init"}] if init else []},
        "status": {
            "phase": "Running",
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "lastTransitionTime": READY,
                }
            ],
            "initContainerStatuses": init,
            "containerStatuses": [container],
        },
    }


def unhealthy(app: str, revision: int, message: str, at: str = READY) -> Object:
    return {
        "kind": "Event",
        "metadata": {"name": f"{app}-{revision}-unhealthy", "namespace": "shop"},
        "reason": "Unhealthy",
        "type": "Warning",
        "message": f"Readiness probe failed: {message}",
        "lastTimestamp": at,
        "count": 3,
        "involvedObject": {
            "kind": "Pod",
            "name": f"{app}-{revision}-x",
            "namespace": "shop",
            "uid": f"uid-{app}-{revision}-x",
            "fieldPath": "spec.containers{app}",
        },
    }


class Shop:
    """A release `shop` whose services are rolled out, healthy and quiet."""

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock()
        self.http = FakeHttp()
        self.cluster = WatchedCluster(http=self.http)
        self.cluster.put({"kind": "Namespace", "metadata": {"name": "shop"}})
        charts = {"shop": [FakeChart("shop", "1.0.0", [deployment(name) for name in names])]}
        self.helm = FakeHelm(self.cluster, charts, self.clock)
        self.helm.install(Release("shop", "shop"), "shop")
        for name in names:
            self.put(deployment(name), replica_set(name), pod(name))
            self.answer(name, 200)
        self.world = World(
            self.clock,
            self.cluster.processes,
            cluster=lambda: self.cluster,
            http=lambda _: self.http,
            helm=lambda _: self.helm,
        )

    def put(self, *objects: Object) -> None:
        for item in objects:
            self.cluster.put(item)

    def gone(self, item: Object) -> None:
        self.cluster.remove(ObjectRef(item["kind"], "shop", item["metadata"]["name"]))

    def answer(self, name: str, *statuses: int | Exception, revision: int = 1) -> None:
        key = f"Pod/shop/{name}-{revision}-x:8080/health"
        answers = [each if isinstance(each, Exception) else reply(each) for each in statuses]
        self.http._script._left[key] = answers

    def log(self, name: str, *lines: str, revision: int = 1, previous: bool = False) -> None:
        key = f"shop/{name}-{revision}-x/app" + " previous" * previous
        self.cluster.log_texts[key] = "".join(f"{line}\n" for line in lines)

    def plan(self, goal: models.Goal, steps: bool = True) -> models.RunPlan:
        upgrade = upgrades.HelmUpgrade(release="shop", namespace="shop", chart="shop")
        playbook = models.Playbook(
            apiVersion="smoldebug.dev/v1",
            name="test",
            goal=goal,
            scope=models.Scope(namespaces=["shop"]),
            steps=[upgrades.Step(helm_upgrade=upgrade)] if steps else [],
        )
        return models.RunPlan(playbook=playbook, inputs={}, source="test.yaml", folder=".")

    def goal(
        self,
        *checks: models.Check,
        each: upgrades.EachService | None = None,
        steps: bool = True,
        **window: Any,
    ) -> Goal:
        block = models.Goal(
            all=list(checks or CHECKS),
            each_service=each or upgrades.EachService(from_release="shop"),
            **window,
        )
        return Goal(self.plan(block, steps), self.world, self.clock)


def requests_of(shop: Shop, *verbs: str) -> list[tuple[str, str]]:
    """(verb, kind) of what was asked of the cluster since the last time."""
    seen = [(each.verb, each.kind) for each in shop.cluster.requests]
    shop.cluster.requests.clear()
    return [each for each in seen if not verbs or each[0] in verbs]


def rows(results: Iterable[Any]) -> list[tuple[str, str, str]]:
    """(service, kind of check, outcome) of each result."""
    return [(each.service.rpartition("/")[2], each.kind, each.outcome.value) for each in results]
