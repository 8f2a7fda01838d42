"""The tools that propose changes, called as a model calls them. None of them sends anything."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from clusters import autoscaler, deployment, pod, service
from hypothesis import given
from hypothesis import strategies as st
from toolbench import SPECS, Bench

from smoldebug import pointers
from smoldebug.records import Change, ChangeKind, Effect, Json
from smoldebug.sources.fakes import FakeCluster

AUTH = "deployment/auth"
POD_SPEC = "/spec/template/spec"
WEB = f"{POD_SPEC}/containers/[name=web]"


def with_uid(item: Any, uid: str = "u1", **metadata: Any) -> Any:
    return {**item, "metadata": {**item["metadata"], "uid": uid, **metadata}}


def owned(item: Any, kind: str, name: str, uid: str = "u1") -> Any:
    owner = {"kind": kind, "name": name, "uid": uid, "controller": True}
    return with_uid(item, f"{uid}-{item['metadata']['name']}", ownerReferences=[owner])


def bench(*objects: Any) -> Bench:
    return Bench(cluster=FakeCluster(objects))


def change(tool: str, *objects: Any, **arguments: Json) -> Change:
    return bench(*objects).change(tool, **arguments)


def fields(tool: str, *objects: Any, **arguments: Json) -> tuple[Mapping[str, Any], ...]:
    """Before and after of what is proposed."""
    found = change(tool, *objects, **arguments)
    return found.before, found.after


def refusal(tool: str, *objects: Any, **arguments: Json) -> str:
    return bench(*objects).refusal(tool, why="E1", **arguments)


# --- replicas -------------------------------------------------------------------------------


def test_scaling_reads_what_it_replaces() -> None:
    found = change("scale", with_uid(deployment(replicas=2)), target=AUTH, replicas=4)
    assert (found.kind, str(found.target), found.uid) == (
        ChangeKind.SCALE, "Deployment/shop/auth", "u1",
    )  # fmt: skip
    assert (found.before, found.after) == ({"/spec/replicas": 2}, {"/spec/replicas": 4})
    assert found.expects == "each pod gets 2/4 of the load"
    assert "already" in refusal("scale", deployment(replicas=2), target=AUTH, replicas=2)


def test_what_an_autoscaler_sets_is_not_scaled_by_hand() -> None:
    said = "use set_replicas_bounds on auth"
    objects = (deployment(), autoscaler())
    assert said in refusal("scale", *objects, target=AUTH, replicas=4)
    patch = {"spec": {"replicas": 4}}
    assert said in refusal("apply_k8s_patch", *objects, target=AUTH, patch=patch)
    assert said in refusal("apply_manifest", *objects, manifest=deployment(replicas=4))


def test_bounds_touch_only_what_is_given() -> None:
    one = autoscaler(low=1, high=2)
    assert fields("set_replicas_bounds", one, name="auth", maximum=6) == (
        {"/spec/maxReplicas": 2}, {"/spec/maxReplicas": 6},
    )  # fmt: skip
    assert "already" in refusal("set_replicas_bounds", one, name="auth", maximum=2)
    assert "already" in refusal("set_replicas_bounds", one, name="auth")
    assert "above" in refusal("set_replicas_bounds", one, name="auth", minimum=3)


# --- revisions ------------------------------------------------------------------------------


def replica_set(number: int, image: str) -> Any:
    template = deployment(image=image)["spec"]["template"]
    labels = {**template["metadata"]["labels"], "pod-template-hash": f"h{number}"}
    annotations = {"deployment.kubernetes.io/revision": str(number)}
    item = {
        "kind": "ReplicaSet",
        "metadata": {"name": f"auth-{number}", "namespace": "shop", "annotations": annotations},
        "spec": {"replicas": 1, "template": {**template, "metadata": {"labels": labels}}},
    }
    return owned(item, "Deployment", "auth")


def controller_revision(kind: str, number: int, image: str) -> Any:
    template = deployment(image=image)["spec"]["template"]
    item = {
        "kind": "ControllerRevision",
        "metadata": {"name": f"auth-{number}", "namespace": "shop"},
        "revision": number,
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
    }
    return owned(item, kind, "auth")


def test_a_rollback_takes_the_template_of_the_revision_before() -> None:
    live = with_uid(
        deployment(image="auth:2"), annotations={"deployment.kubernetes.io/revision": "3"}
    )
    sets = [replica_set(1, "auth:0"), replica_set(2, "auth:1"), replica_set(3, "auth:2")]
    assert fields("rollback", live, *sets, target=AUTH) == (
        {"/spec/template": live["spec"]["template"]},
        {"/spec/template": deployment(image="auth:1")["spec"]["template"]},
    )
    older = change("rollback", live, *sets, target="auth", revision=1)
    assert older.expects == "pods of revision 1: auth:0"
    assert (older.revision, older.inverse().revision) == (1, 3)
    assert "revisions: 3, 2, 1" in refusal("rollback", live, *sets, target="auth", revision=7)
    assert "already" in refusal("rollback", live, *sets, target="auth", revision=3)
    assert "no such earlier revision" in refusal("rollback", live, target=AUTH)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_what_is_no_deployment_has_controller_revisions(kind: str) -> None:
    live = with_uid({**deployment(image="auth:2"), "kind": kind})
    history = [controller_revision(kind, 1, "auth:1"), controller_revision(kind, 2, "auth:2")]
    found = change("rollback", live, *history, target=f"{kind}/auth")
    assert found.after == {"/spec/template": deployment(image="auth:1")["spec"]["template"]}
    assert (found.revision, found.inverse().revision) == (1, 2)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_restart_cannot_be_taken_back(kind: str) -> None:
    pointer = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"
    live = {**deployment(), "kind": kind}
    found = change("restart", live, target=f"{kind}/auth")
    assert (found.before, found.after) == ({}, {pointer: "2026-01-01T12:00:00Z"})
    assert found.no_undo
    live["spec"]["template"]["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/restartedAt": "before"
    }
    assert change("restart", live, target=f"{kind}/auth").before == {pointer: "before"}


# --- one container --------------------------------------------------------------------------


def two_containers() -> Any:
    live = deployment(env=[{"name": "A", "value": "1"}])
    inside = live["spec"]["template"]["spec"]
    inside["containers"].append({"name": "proxy", "image": "proxy:1"})
    inside["initContainers"] = [{"name": "migrate", "image": "auth:1"}]
    return live


def test_another_image_of_the_only_container() -> None:
    found = change("set_image", with_uid(deployment()), target=AUTH, image="auth:2")
    assert (found.kind, found.uid) == (ChangeKind.SET_IMAGE, "u1")
    assert (found.before, found.after) == ({f"{WEB}/image": "auth:1"}, {f"{WEB}/image": "auth:2"})


def test_of_several_containers_one_is_named() -> None:
    given = {"target": AUTH, "image": "x:2"}
    said = refusal("set_image", two_containers(), **given)
    assert said.endswith("has several containers; say which: migrate, web, proxy")
    wrong = refusal("set_image", two_containers(), **given, container="app")
    assert wrong.endswith("has no container app; it has: migrate, web, proxy")
    for name, where in (("proxy", "containers"), ("migrate", "initContainers")):
        _, after = fields("set_image", two_containers(), **given, container=name)
        assert after == {f"{POD_SPEC}/{where}/[name={name}]/image": "x:2"}


def test_a_variable_is_added_changed_and_taken_from_a_reference() -> None:
    entry = {"name": "URL", "value": "http://x"}
    given = {"target": AUTH, "name": "URL", "value": "http://x"}
    assert fields("set_env", deployment(), **given) == ({}, {f"{WEB}/env/[name=URL]": entry})
    old = deployment(env=[{"name": "A", "value": "1"}, {"name": "URL", "value": "http://y"}])
    pointer = f"{WEB}/env/[name=URL]"
    assert fields("set_env", old, **given) == (
        {f"{pointer}/value": "http://y"}, {f"{pointer}/value": "http://x"},
    )  # fmt: skip
    source = {"configMapKeyRef": {"name": "c", "key": "k"}}
    referring = deployment(env=[{"name": "URL", "valueFrom": source}])
    assert fields("set_env", referring, **given) == (
        {f"{pointer}/valueFrom": source}, {f"{pointer}/value": "http://x"},
    )  # fmt: skip
    assert "already" in refusal("set_env", deployment(env=[entry]), **given)


def test_a_variable_is_removed() -> None:
    entry = {"name": "A", "value": "1"}
    given = {"target": AUTH, "name": "A"}
    found = change("remove_env", deployment(env=[entry]), **given)
    assert (found.kind, found.before, found.after) == (
        ChangeKind.SET_ENV, {f"{WEB}/env/[name=A]": entry}, {},
    )  # fmt: skip
    said = refusal("remove_env", two_containers(), **given, container="proxy")
    assert said.endswith("Deployment/shop/auth proxy has no A in env; it has: none")


def test_resources_are_set_one_by_one() -> None:
    live = deployment(resources={"limits": {"memory": "64Mi"}})
    given = {"target": AUTH, "memory_limit": "128Mi", "cpu_request": "250m"}
    assert fields("set_resources", live, **given) == (
        {f"{WEB}/resources/limits/memory": "64Mi"},
        {
            f"{WEB}/resources/limits/memory": "128Mi",
            f"{WEB}/resources/requests/cpu": "250m",
        },
    )
    expects = change("set_resources", live, **given).expects
    assert expects == "new pods whose web has cpu request 250m, memory limit 128Mi"
    assert "already" in refusal("set_resources", live, target=AUTH)
    assert "invalid call" in refusal("set_resources", live, target=AUTH, cpu_limit="much")


# --- any object -----------------------------------------------------------------------------


def test_a_merge_patch_becomes_the_fields_it_touches() -> None:
    patch = {"spec": {"replicas": 3, "paused": True}, "metadata": {"labels": {"a/b": "c"}}}
    assert fields("apply_k8s_patch", deployment(replicas=2), target=AUTH, patch=patch) == (
        {"/spec/replicas": 2},
        {"/spec/replicas": 3, "/spec/paused": True, "/metadata/labels/a~1b": "c"},
    )
    patch = {"spec": {"replicas": None}}
    assert fields("apply_k8s_patch", deployment(replicas=2), target="auth", patch=patch) == (
        {"/spec/replicas": 2}, {},
    )  # fmt: skip


def test_a_strategic_patch_merges_the_items_of_a_list() -> None:
    containers = [{"name": "proxy", "image": "proxy:2"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    given = {"target": AUTH, "patch": patch}
    pointer = f"{POD_SPEC}/containers/[name=proxy]/image"
    assert fields("apply_k8s_patch", two_containers(), **given) == (
        {pointer: "proxy:1"}, {pointer: "proxy:2"},
    )  # fmt: skip
    _, after = fields("apply_k8s_patch", two_containers(), **given, type="merge")
    assert after == {f"{POD_SPEC}/containers": containers}


def test_a_json_patch_becomes_the_fields_it_changes() -> None:
    patch = [
        {"op": "test", "path": "/spec/replicas", "value": 2},
        {"op": "replace", "path": f"{POD_SPEC}/containers/0/image", "value": "auth:2"},
        {"op": "remove", "path": "/spec/replicas"},
        {"op": "add", "path": "/spec/replicas", "value": 2},
    ]
    given: Any = {"target": AUTH}
    assert fields("apply_json_patch", deployment(), operations=patch, **given) == (
        {f"{WEB}/image": "auth:1"}, {f"{WEB}/image": "auth:2"},
    )  # fmt: skip
    for wrong in (
        [{"op": "test", "path": "/spec/replicas", "value": 9}],
        [{"op": "remove", "path": "/spec/nothing"}],
        [{"path": "/spec/replicas"}],
        [{"op": "add", "path": 3, "value": 1}],
        [{"op": "add", "path": f"{POD_SPEC}/containers/x", "value": 1}],
    ):
        said = refusal("apply_json_patch", deployment(), operations=wrong, **given)
        assert "does not fit" in said
    whole = [{"op": "replace", "path": "", "value": [1]}]
    said = refusal("apply_json_patch", deployment(), operations=whole, **given)
    assert "cannot be changed" in said


def test_an_applied_manifest_touches_the_fields_it_names() -> None:
    manifest = deployment(replicas=2)
    del manifest["metadata"]["namespace"], manifest["spec"]["template"]
    manifest["spec"]["paused"] = True
    found = change("apply_manifest", with_uid(deployment(replicas=2)), manifest=manifest)
    assert (found.kind, found.uid) == (ChangeKind.APPLY_OBJECT, "u1")
    assert (found.before, found.after) == ({}, {"/spec/paused": True})
    assert found.manifest == {**manifest, "metadata": {"name": "auth", "namespace": "shop"}}
    assert found.inverse().kind is ChangeKind.PATCH_OBJECT
    again = with_uid(deployment(), resourceVersion="7", managedFields=[])
    again["status"] = {"replicas": 1}
    assert "already" in refusal("apply_manifest", with_uid(deployment()), manifest=again)


@pytest.mark.parametrize("tool", ["apply_manifest", "create_object"])
def test_what_is_not_there_is_created(tool: str) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}}
    found = change(tool, manifest=manifest)
    assert (found.kind, str(found.target)) == (ChangeKind.CREATE_OBJECT, "ConfigMap/shop/c")
    whole = {**manifest, "metadata": {"name": "c", "namespace": "shop"}}
    assert (found.before, found.after) == ({}, {"": whole})
    assert change(tool, manifest=manifest, namespace="eu").target.namespace == "eu"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    assert str(change(tool, manifest=node).target) == "Node/n1"


def test_manifests_that_name_no_object() -> None:
    manifest: Any
    for manifest in ({}, {"kind": "ConfigMap"}, {"kind": "Pod", "metadata": "x"}):
        assert "a manifest needs" in refusal("create_object", manifest=manifest)
        assert "a manifest needs" in refusal("apply_manifest", manifest=manifest)
    assert "exists already" in refusal("create_object", deployment(), manifest=deployment())


def test_a_deletion_keeps_the_whole_manifest() -> None:
    live = with_uid(deployment(), resourceVersion="12")
    found = change("delete_object", live, target=AUTH)
    assert (found.before, found.after, found.uid) == ({"": live}, {}, "u1")
    assert found.no_undo == ""
    assert found.inverse().kind is ChangeKind.CREATE_OBJECT


def test_deletions_that_cannot_be_taken_back() -> None:
    found = change(
        "delete_object", owned(pod("auth-1"), "ReplicaSet", "auth-x"), target="pod/auth-1"
    )
    assert found.no_undo == "replicaset/auth-x makes another one"
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "db", "namespace": "shop"}}
    assert change("delete_object", claim, target="pvc/db").no_undo == "its data may go with it"


def test_a_key_of_a_config_map() -> None:
    live = {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}}
    given = {"configmap": "c", "key": "a.conf", "value": "x"}
    assert fields("set_config_key", live, **given) == ({}, {"/data/a.conf": "x"})
    live["data"] = {"a.conf": "y", "b": "z"}
    assert fields("set_config_key", live, **given) == ({"/data/a.conf": "y"}, {"/data/a.conf": "x"})
    live["immutable"] = True
    assert "is immutable" in refusal("set_config_key", live, **given)
    binary = {**live, "immutable": False, "binaryData": {"a.conf": "eA=="}}
    assert "binary" in refusal("set_config_key", binary, **given)


def test_a_selector_must_select_somebody() -> None:
    live = service()
    live["spec"]["selector"] = {"app": "authentication", "tier": "x"}
    objects, given = (live, pod("auth-1")), {"service": "auth", "selector": {"app": "auth"}}
    assert fields("set_selector", *objects, **given) == (
        {"/spec/selector/app": "authentication", "/spec/selector/tier": "x"},
        {"/spec/selector/app": "auth"},
    )
    assert change("set_selector", *objects, **given).expects == "auth sends to auth-1"
    given["selector"] = {"app": "nobody"}
    assert "no pod in namespace shop" in refusal("set_selector", *objects, **given)
    assert "no pod in namespace shop" in refusal(
        "set_selector", *objects, service="auth", selector={}
    )


def test_the_port_behind_a_service() -> None:
    live = service(port=8080)
    pointer = "/spec/ports/[port=8080,protocol=TCP]/targetPort"
    for port in (9090, "http"):
        assert fields("set_target_port", live, service="auth", target_port=str(port)) == (
            {pointer: 8080}, {pointer: port},
        )  # fmt: skip
    live["spec"]["ports"].append({"name": "admin", "port": 9000, "targetPort": 9000})
    several = refusal("set_target_port", live, service="auth", target_port="1")
    assert several.endswith("say which port of Service/shop/auth; it has: 8080, 9000")
    _, after = fields("set_target_port", live, service="auth", target_port="1", port=9000)
    assert after == {"/spec/ports/[port=9000,protocol=TCP]/targetPort": 1}


# --- nodes and pods -------------------------------------------------------------------------


def node(**spec: Any) -> Any:
    return {"kind": "Node", "metadata": {"name": "n1", "uid": "u1"}, "spec": spec}


def test_a_node_is_cordoned_and_uncordoned() -> None:
    found = change("cordon", node(), node="n1")
    assert (str(found.target), found.before, found.after) == (
        "Node/n1", {}, {"/spec/unschedulable": True},
    )  # fmt: skip
    back = change("uncordon", node(unschedulable=True), node="node/n1")
    assert (back.before, back.after) == ({"/spec/unschedulable": True}, {})
    assert (found.inverse().kind, found.inverse().after) == (back.kind, back.after)
    assert "already" in refusal("cordon", node(unschedulable=True), node="n1")
    assert "already" in refusal("uncordon", node(), node="n1")


def test_taints_are_told_apart_by_key_and_effect() -> None:
    other = {"key": "a", "effect": "NoExecute"}
    taint = {"key": "a", "effect": "NoSchedule", "value": "1"}
    pointer = "/spec/taints/[effect=NoSchedule,key=a]"
    given = {"node": "n1", "key": "a", "effect": "NoSchedule"}
    for live in (node(), node(taints=[other])):
        assert fields("add_taint", live, **given, value="1") == ({}, {pointer: taint})
    assert fields("add_taint", node(taints=[taint]), **given, value="2") == (
        {f"{pointer}/value": "1"}, {f"{pointer}/value": "2"},
    )  # fmt: skip
    assert fields("remove_taint", node(taints=[other, taint]), **given) == ({pointer: taint}, {})
    said = refusal("remove_taint", node(taints=[other]), **given)
    assert said.endswith("n1 has no taint a:NoSchedule; it has: a:NoExecute")
    assert "invalid call" in refusal("add_taint", node(), **{**given, "effect": "Never"})


def test_a_debug_container_stays_until_the_pod_ends() -> None:
    given = {"pod": "auth-1", "image": "busybox:1", "command": ["nslookup", "auth"]}
    live = owned(pod("auth-1"), "ReplicaSet", "auth-x")
    found = change("debug_container", live, **given)
    assert found.no_undo == "it stays until the pod ends"
    assert (found.before, found.after) == (
        {},
        {
            "/spec/ephemeralContainers/[name=debug-1]": {
                "name": "debug-1",
                "image": "busybox:1",
                "command": ["nslookup", "auth"],
                "targetContainerName": "web",
            }
        },
    )
    live["spec"]["ephemeralContainers"] = [{"name": "debug-1"}]
    [added] = change("debug_container", live, **given).after.values()
    assert added["name"] == "debug-2"
    assert "it has: web" in refusal("debug_container", live, **given, container="x")


# --- what would not stand -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"spec": {"selector": {"matchLabels": {"app": "x"}}}}, "/spec/selector"),
        ({"metadata": {"name": "x"}}, "/metadata/name"),
        ({"metadata": None}, "/metadata/name"),
        ({"status": {"replicas": 4}}, "/status"),
        ({"spec": None}, "/spec/selector"),
    ],
)
def test_fields_that_cannot_be_changed(patch: Any, field: str) -> None:
    said = refusal("apply_k8s_patch", deployment(), target=AUTH, patch=patch)
    assert said.endswith(f"cannot be changed on a Deployment: {field}")


def test_what_a_controller_makes_is_changed_there() -> None:
    sets = replica_set(1, "auth:1")
    said = "is made by deployment/auth: change that"
    assert said in refusal("scale", sets, target="rs/auth-1", replicas=3)
    patch = {"spec": {"replicas": 3}}
    assert said in refusal("apply_k8s_patch", sets, target="rs/auth-1", patch=patch)
    one = owned(pod("auth-1"), "ReplicaSet", "auth-x")
    patch = {"metadata": {"labels": {"app": "aside"}}}  # taken out of its Service: that is fine
    assert change("apply_k8s_patch", one, target="pod/auth-1", patch=patch).after
    operated = owned(deployment(), "PostgresCluster", "db")  # the playbook's on_managed decides
    assert change("scale", operated, target=AUTH, replicas=3).after


def test_a_paused_rollout_is_resumed_first() -> None:
    live = deployment()
    live["spec"]["paused"] = True
    assert "is paused" in refusal("set_image", live, target=AUTH, image="x:2")
    assert "is paused" in refusal("restart", live, target=AUTH)
    assert change("scale", live, target=AUTH, replicas=3).after
    template = {"spec": {"containers": [{"name": "web", "image": "x:2"}]}}
    patch = {"spec": {"paused": None, "template": template}}
    assert change("apply_k8s_patch", live, target=AUTH, patch=patch).after


def test_secrets_are_left_alone() -> None:
    live = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}}
    said, patch = "Secrets are not", {"data": {"a": "eA=="}}
    assert said in refusal("apply_k8s_patch", live, target="secret/s", patch=patch)
    assert said in refusal("apply_manifest", live, manifest=live)
    assert said in refusal("create_object", manifest=live)
    assert said in refusal("delete_object", live, target="secret/s")


def test_a_mask_is_never_written_in_place_of_what_it_hides() -> None:
    given = {"target": AUTH, "name": "DB", "value": "postgres://u:[secret:3f2a]@db"}
    said = "a mask stands for a value that is not known here"
    assert said in refusal("set_env", deployment(), **given)
    manifest = deployment(env=[{"name": "DB", "value": "[secret:3f2a]"}])
    assert said in refusal("apply_manifest", deployment(), manifest=manifest)
    assert said in refusal("create_object", manifest=manifest)


def test_changes_of_the_wrong_thing() -> None:
    objects = (service(), deployment())
    assert "needs a Deployment or" in refusal("rollback", *objects, target="svc/auth")
    assert "needs a Service" in refusal("set_selector", *objects, service=AUTH, selector={})
    assert "invalid call" in refusal("scale", *objects, target=AUTH, replicas=-1)


def test_every_tool_that_proposes_says_which_kind_and_asks_for_a_reason() -> None:
    for spec in SPECS:
        if spec.family == "change":
            assert spec.effect is Effect.CHANGE
            assert spec.changes
            assert "why" in spec.schema["required"]


# --- properties -----------------------------------------------------------------------------

plain = st.none() | st.booleans() | st.integers(0, 3) | st.text("ab~/", max_size=3)
documents = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "name", "env", "spec"]), inner, max_size=3)
    ),
    max_leaves=8,
)


paths = st.sampled_from(
    ["", "/", "/spec/replicas", "/spec/x", "/metadata/labels", "/spec/template/spec/containers/0",
     "/spec/template/spec/containers/-", "/spec/template/spec/containers/x", "/a~b", "x"]
)  # fmt: skip
operations = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]) | plain,
        "path": paths | plain,
        "from": paths | plain,
        "value": documents,
    },
)


@given(edits=st.lists(operations, max_size=3))
def test_any_json_patch_is_a_change_or_a_refusal(edits: Any) -> None:
    live = with_uid(deployment())
    answer = bench(live).call("apply_json_patch", target=AUTH, operations=edits, why="E1")
    assert answer.change or answer.text.startswith("ERROR apply_json_patch: "), answer.text


@given(patch=st.dictionaries(st.sampled_from(["spec", "data", "metadata"]), documents, max_size=3))
@pytest.mark.parametrize("type", ["merge", "strategic"])
def test_any_patch_is_a_change_that_does_what_it_says_or_a_refusal(patch: Any, type: str) -> None:
    live = with_uid(deployment(env=[{"name": "a", "value": "1"}]))
    answer = bench(live).call("apply_k8s_patch", target=AUTH, patch=patch, type=type, why="E1")
    if answer.change is None:
        assert answer.text.startswith("ERROR apply_k8s_patch: ")
        assert "Traceback" not in answer.text
        return
    found = answer.change
    for pointer in {*found.before, *found.after}:
        assert pointers.lookup(live, pointer) == found.before.get(pointer)
    wanted = pointers.merged(copy.deepcopy(live), patch, strategic=type == "strategic")
    for pointer, value in found.after.items():
        assert pointers.lookup(wanted, pointer) == value
