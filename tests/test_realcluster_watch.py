"""Watches of a Kubernetes that this project did not write ($SMOLDEBUG_REAL_KUBECONFIG)."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from labkit import eventually
from test_realcluster import KUBECONFIG, Namespace, pytestmark, shop

from smoldebug.clock import SystemClock
from smoldebug.records import ObjectRef
from smoldebug.sources.kube import KubeCluster, connect
from smoldebug.sources.mirror import ENDING, GOAL_KINDS, Mirror
from smoldebug.sources.world import Object

__all__ = ["pytestmark", "shop"]  # its marks and its fixture hold here too


class Recorded:
    """A cluster, and which of its methods were called."""

    def __init__(self, cluster: KubeCluster) -> None:
        self._cluster, self.asked = cluster, list[str]()

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self._cluster, name)


@pytest.fixture
def cluster() -> Iterator[KubeCluster]:
    found = connect(None, KUBECONFIG)
    yield found
    found.close()


def unmanaged(items: list[Object]) -> list[Object]:
    for item in items:
        item["metadata"].pop("managedFields", None)
    return items


def test_a_rollout_is_seen_without_asking(shop: Namespace, cluster: KubeCluster):
    recorded, web = Recorded(cluster), ObjectRef("Deployment", shop.name, "web")
    with Mirror(recorded, GOAL_KINDS, [shop.name], SystemClock()) as mirror:
        assert mirror.gaps == ()  # EndpointSlices of 1.20 are v1beta1
        recorded.asked.clear()
        for _ in range(50):
            assert mirror.get(web)["status"]["readyReplicas"] == 1
            assert len(mirror.list("EndpointSlice", shop.name)) == 1
        shop.kubectl("scale", "deployment/web", "--replicas=2")
        began = time.monotonic()
        eventually(lambda: mirror.get(web)["spec"]["replicas"] == 2)
        assert time.monotonic() - began < 0.5
        shop.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        eventually(lambda: mirror.get(web)["status"].get("readyReplicas") == 2)
        assert {ref.kind for ref in mirror.take()} >= {"Deployment", "ReplicaSet", "Pod", "Event"}
        assert recorded.asked == []
        for kind in GOAL_KINDS:
            eventually(
                lambda kind=kind: (
                    mirror.list(kind, shop.name) == unmanaged(cluster.list(kind, shop.name))
                ),
                kind,
            )
        shop.kubectl("delete", "deployment/web")
        eventually(lambda: mirror.list("Deployment", shop.name) == [])
        began = time.monotonic()
    assert time.monotonic() - began < ENDING
