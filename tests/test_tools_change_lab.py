"""Every tool that proposes a change, against the lab's API server with the real client: what it
proposes is applied by the executor, read back, and taken back until all is as it was."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Practice, autoscaler, client, deployment, pod, practice, service
from test_change import played
from toolbench import Bench

from smoldebug.appliers import KubeApplier
from smoldebug.change import Executor, Place
from smoldebug.clock import FakeClock
from smoldebug.errors import NotFound
from smoldebug.guard import Guard
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.lab.catalog import resource
from smoldebug.playbook import models
from smoldebug.records import Answer, Card, Change, ChangeKind, Decision, ObjectRef
from smoldebug.sources.kube import KubeCluster

AUTH = "deployment/auth"
ENV = [{"name": "A", "value": "1"}, {"name": "URL", "value": "http://x"}]
TAINT = {"key": "a", "effect": "NoSchedule"}
TEMPLATED = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "x:2"}]}}}}


def config(**data: str) -> Any:
    metadata = {"name": "settings", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def node(**spec: Any) -> Any:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": spec}


def applied(**spec: Any) -> Any:
    """A manifest that names a few fields of the Deployment only."""
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "auth"}, "spec": spec,
    }  # fmt: skip


TOOLS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("scale", [deployment()], {"target": AUTH, "replicas": 4}),
    ("set_replicas_bounds", [autoscaler()], {"name": "auth", "maximum": 4}),
    ("set_image", [deployment()], {"target": AUTH, "image": "auth:2"}),
    ("set_env", [deployment()], {"target": AUTH, "name": "URL", "value": "http://y"}),
    ("set_env", [deployment(env=ENV)], {"target": AUTH, "name": "URL", "value": "http://y"}),
    ("remove_env", [deployment(env=ENV)], {"target": AUTH, "name": "A"}),
    ("set_resources", [deployment()], {"target": AUTH, "memory_limit": "64Mi"}),
    ("apply_k8s_patch", [deployment()], {"target": AUTH, "patch": TEMPLATED}),
    ("apply_json_patch", [deployment()],
     {"target": AUTH, "operations": [{"op": "add", "path": "/spec/minReadySeconds", "value": 5}]}),
    ("apply_manifest", [deployment()], {"manifest": applied(minReadySeconds=5)}),
    ("apply_manifest", [], {"manifest": config(a="1")}),
    ("create_object", [], {"manifest": config(a="1")}),
    ("delete_object", [config(a="1")], {"target": "configmap/settings"}),
    ("set_config_key", [config(a="1")], {"configmap": "settings", "key": "b", "value": "2"}),
    ("set_selector", [service("auth"), pod("cart-1", "cart")],
     {"service": "auth", "selector": {"app": "cart"}}),
    ("set_target_port", [service()], {"service": "auth", "target_port": "http"}),
    ("cordon", [node()], {"node": "n1"}),
    ("uncordon", [node(unschedulable=True)], {"node": "n1"}),
    ("add_taint", [node()], {"node": "n1", "key": "a", "effect": "NoExecute", "value": "1"}),
    ("remove_taint", [node(taints=[TAINT])], {"node": "n1", "key": "a", "effect": "NoSchedule"}),
]  # fmt: skip


class Stage:
    """The tools and the executor over one served store."""

    def __init__(self, here: Practice, cluster: KubeCluster) -> None:
        self.here, self.cluster = here, cluster
        self.bench = Bench(cluster=cluster)
        tool = models.ChangeTool(allow=list(ChangeKind), targets=["*/*/*", "Node/*"], values=["*"])
        playbook = models.Playbook(
            apiVersion="smoldebug.dev/v1",
            name="test",
            goal=models.Goal(),
            tools=models.Tools(change=tool),
        )
        kinds = dict.fromkeys(KUBE_KINDS, KubeApplier(lambda: cluster))
        guard, place = Guard(playbook, context="lab"), Place("7f3a1c", "lab")
        self.executor = Executor(guard, kinds, yes, FakeClock(), place)

    def apply(self, change: Change) -> None:
        _, outcome = played(self.executor.execute(change))
        assert outcome.state == "verified", outcome.text

    def take_back(self) -> bool:
        _, clean = played(self.executor.take_back())
        return bool(clean)

    def now(self, ref: ObjectRef) -> Any:
        """What a user can change of an object, None when it is not there."""
        try:
            found = self.cluster.get(ref)
        except NotFound:
            return None
        return {key: found.get(key) for key in ("spec", "data")}


def yes(card: Card) -> Decision:
    return Decision(Answer.YES, "operator")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with practice(tmp_path) as here, client(here) as cluster:
        yield Stage(here, cluster)


@pytest.mark.parametrize(("tool", "objects", "arguments"), TOOLS, ids=[each[0] for each in TOOLS])
def test_what_a_tool_proposes_is_applied_and_taken_back(
    stage: Stage, tool: str, objects: list[Any], arguments: dict[str, Any]
) -> None:
    stage.here.add(*objects)
    change = stage.bench.change(tool, **arguments)
    before = stage.now(change.target)
    stage.apply(change)
    assert stage.now(change.target) != before
    assert stage.take_back()
    assert stage.now(change.target) == before


# --- revisions ------------------------------------------------------------------------------


def history(kind: str, live: Any, images: dict[int, str]) -> Iterator[Any]:
    """The revisions of a workload as its controller keeps them."""
    for number, image in images.items():
        template = deployment(image=image)["spec"]["template"]
        owner = {"apiVersion": "apps/v1", "kind": kind, "name": "auth", "controller": True}
        metadata = {
            "name": f"auth-{number}",
            "namespace": "shop",
            "annotations": {"deployment.kubernetes.io/revision": str(number)},
            "ownerReferences": [{**owner, "uid": live["metadata"]["uid"]}],
        }
        if kind == "Deployment":
            spec = {"selector": {"matchLabels": {"app": "auth"}}, "template": template}
            yield {"kind": "ReplicaSet", "metadata": metadata, "spec": spec}
        else:
            data = {"spec": {"template": {**template, "$patch": "replace"}}}
            del metadata["annotations"]
            yield {
                "kind": "ControllerRevision", "metadata": metadata, "revision": number,
                "data": data,
            }  # fmt: skip


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_rollback_is_applied_and_taken_back(stage: Stage, kind: str) -> None:
    workload = {**deployment(image="auth:2"), "kind": kind}
    if kind == "DaemonSet":
        del workload["spec"]["replicas"]
    if kind == "StatefulSet":
        workload["spec"]["serviceName"] = "auth"
    stage.here.add(workload)
    ref = ObjectRef(kind, "shop", "auth")
    live = stage.cluster.get(ref)
    stage.here.add(*history(kind, live, {1: "auth:1", 2: "auth:2"}))
    before = stage.now(ref)
    stage.apply(stage.bench.change("rollback", target=f"{kind}/auth"))
    (container,) = stage.now(ref)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "auth:1"
    assert stage.take_back()
    assert stage.now(ref) == before


# --- what has no inverse --------------------------------------------------------------------


def test_a_restart_leaves_all_but_its_mark(stage: Stage) -> None:
    stage.here.add(deployment())
    ref = ObjectRef("Deployment", "shop", "auth")
    before = stage.now(ref)
    stage.apply(stage.bench.change("restart", target=AUTH))
    after = stage.now(ref)
    assert after["spec"]["template"]["metadata"].pop("annotations")
    assert after["spec"] == before["spec"]
    assert not stage.take_back()


def test_a_debug_container_is_added_to_a_pod(stage: Stage) -> None:
    stage.here.add(pod("auth-1"))
    given = {"pod": "auth-1", "image": "busybox:1", "command": ["true"]}
    stage.apply(stage.bench.change("debug_container", **given))
    (found,) = stage.here.store.scan(resource("pods"), "shop")[0]
    (added,) = found["spec"]["ephemeralContainers"]
    assert (added["name"], added["targetContainerName"]) == ("debug-1", "web")
    assert not stage.take_back()


def test_a_deleted_workload_comes_back_as_another_object(stage: Stage) -> None:
    stage.here.add(deployment(env=ENV))
    ref = ObjectRef("Deployment", "shop", "auth")
    before, uid = stage.now(ref), stage.cluster.get(ref)["metadata"]["uid"]
    stage.apply(stage.bench.change("delete_object", target=AUTH))
    assert stage.now(ref) is None
    assert stage.take_back()
    assert stage.now(ref) == before
    assert stage.cluster.get(ref)["metadata"]["uid"] != uid
