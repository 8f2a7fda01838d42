"""Every kind of change there and back on a Kubernetes that this project did not write.

A 1.20 server has no ephemeral containers for a debug container, and does not say who asks.
"""

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from test_objects import EDITS, NOTE, UNDO, Edit, proposed
from test_realcluster import KUBECONFIG

from smoldebug.appliers import KubeApplier
from smoldebug.errors import ChangeRefused, Conflict, NotFound
from smoldebug.fieldvalues import same
from smoldebug.records import Change, ChangeKind, ObjectRef
from smoldebug.sources.kube import KubeCluster, connect
from smoldebug.sources.world import Object

pytestmark = [
    pytest.mark.realcluster,
    pytest.mark.skipif(not KUBECONFIG, reason="SMOLDEBUG_REAL_KUBECONFIG names no cluster"),
]
SLEEP = {"name": "web", "image": "local/busybox:1", "command": ["sleep", "1000"]}
SLEEP["env"] = [{"name": "A", "value": "1"}]
TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [SLEEP]}}
JOB = {"template": {"spec": {"restartPolicy": "Never", "containers": [SLEEP]}}}
WORKLOAD = {"selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}
PORTS = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
KINDS: dict[str, tuple[str, Object]] = {
    "Deployment": ("apps/v1", {"spec": {**WORKLOAD, "replicas": 1}}),
    "StatefulSet": ("apps/v1", {"spec": {**WORKLOAD, "serviceName": "a"}}),
    "DaemonSet": ("apps/v1", {"spec": WORKLOAD}),
    "Job": ("batch/v1", {"spec": JOB}),
    "Service": ("v1", {"spec": {"selector": {"app": "a"}, "ports": PORTS}}),
    "ConfigMap": ("v1", {"data": {"a": "b"}}),
    "Secret": ("v1", {"data": {"a": "c3VwZXJzZWNyZXQxMjM="}}),
    "NetworkPolicy": ("networking.k8s.io/v1", {"spec": {"podSelector": {}, "ingress": [{}]}}),
    "ServiceAccount": ("v1", {}),
}
OTHERS: dict[str, tuple[str, Edit]] = {
    "a selector": ("Service", lambda item: item["spec"]["selector"].update(app="b")),
    "a target port": ("Service", lambda item: item["spec"]["ports"][1].update(targetPort=9)),
    "a port of a service": ("Service", lambda item: item["spec"]["ports"][1].update(port=88)),
    "a key": ("ConfigMap", lambda item: item["data"].update(a="c")),
    "an empty key": ("ConfigMap", lambda item: item["data"].update(n="")),
    "a policy": ("NetworkPolicy", lambda item: item["spec"].update(ingress=[])),
    "a pause": ("Deployment", lambda item: item["spec"].update(paused=True)),
}
EVERY = {name: ("Deployment", edit) for name, edit in EDITS.items()} | OTHERS


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubeCluster]:
    found = connect(None, KUBECONFIG)
    yield found
    found.close()


@pytest.fixture(scope="module")
def space(cluster: KubeCluster) -> Iterator[str]:
    name = f"smoldebug-{uuid.uuid4().hex[:6]}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    meta = cluster.create(manifest, dry_run=False, note="")["metadata"]
    yield name
    meta = cluster.get(ObjectRef("Namespace", "", name))["metadata"]
    cluster.delete(
        ObjectRef("Namespace", "", name),
        uid=meta["uid"],
        revision=meta["resourceVersion"],
        dry_run=False,
        note="",
    )


@pytest.fixture
def applier(cluster: KubeCluster) -> KubeApplier:
    return KubeApplier(lambda: cluster)


def manifest(kind: str, space: str) -> Object:
    version, body = KINDS[kind]
    metadata = {"name": f"a{uuid.uuid4().hex[:6]}", "namespace": space}
    return copy.deepcopy({"apiVersion": version, "kind": kind, "metadata": metadata, **body})


def made(cluster: KubeCluster, kind: str, space: str) -> ObjectRef:
    item = cluster.create(manifest(kind, space), dry_run=False, note="")
    return ObjectRef(kind, space, item["metadata"]["name"])


def content(item: Object) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key in ("spec", "data")}


@pytest.mark.parametrize(("kind", "edit"), EVERY.values(), ids=EVERY)
def test_an_edit_there_and_back(cluster, space, applier, kind: str, edit: Edit):
    target = made(cluster, kind, space)
    before = cluster.get(target)
    change = proposed(cluster, edit, target=target)
    assert applier.preview(change, NOTE).dry_run == "accepted"
    assert not applier.holds(change, NOTE)
    applier.apply(change, NOTE)
    assert applier.holds(change, NOTE)
    assert applier.drift(change, NOTE) == ""
    applier.apply(change.inverse(), UNDO)
    assert applier.holds(change.inverse(), UNDO)
    assert same("", content(cluster.get(target)), content(before))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_created_and_deleted_there_and_back(cluster, space, applier, kind: str):
    item = manifest(kind, space)
    target = ObjectRef(kind, space, item["metadata"]["name"])
    create = Change(ChangeKind.CREATE_OBJECT, target, {}, {"": item}, "why")
    assert applier.preview(create, NOTE).dry_run == "accepted"
    assert not applier.holds(create, NOTE)
    applier.apply(create, NOTE)
    assert applier.holds(create, NOTE)
    live = cluster.get(target)
    uid = live["metadata"]["uid"]
    delete = Change(ChangeKind.DELETE_OBJECT, target, {"": live}, {}, "why", uid=uid)
    assert applier.preview(delete, NOTE).dry_run == "accepted"
    assert not applier.holds(delete, NOTE), "a dry run of a delete deletes nothing"
    applier.apply(delete, NOTE)
    assert applier.holds(delete, NOTE)
    applier.apply(delete.inverse(), UNDO)
    assert applier.holds(delete.inverse(), UNDO)
    applier.apply(create.inverse(), UNDO)
    with pytest.raises(NotFound):
        cluster.get(target)


def test_what_the_server_says_no_to(cluster, space, applier):
    target = made(cluster, "ConfigMap", space)
    held = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "c"}}
    held["metadata"] = {"name": target.name, "namespace": space}
    with pytest.raises(Conflict, match=r'conflict with "smoldebug".*\.data\.a'):
        cluster.apply(held, dry_run=True, note=NOTE)
    workload = made(cluster, "Deployment", space)
    for wrong, error in (("test", Conflict), ("replace", ChangeRefused)):
        operation = {"op": wrong, "path": "/spec/replicas", "value": -1}
        with pytest.raises(error):
            cluster.patch(workload, [operation], dry_run=True, note="")
