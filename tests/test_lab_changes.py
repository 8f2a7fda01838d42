"""What the lab refuses of a change, and how: the answers are those of a real API server."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labserver import Json, Kubectl, Lab, LocalRuntime, deployment, running
from realkubectl import needs_kubectl

from smoldebug.lab import schema
from smoldebug.lab.apierror import ApiError
from smoldebug.lab.catalog import resource
from smoldebug.lab.store import clone
from smoldebug.lab.validation import validate

SHOP = "/api/v1/namespaces/shop"
CONFIGMAPS, PODS = f"{SHOP}/configmaps", f"{SHOP}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
WEB = f"{DEPLOYMENTS}/web"
TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


@pytest.fixture
def lab(tmp_path: pathlib.Path) -> Iterator[Lab]:
    with running(tmp_path, runtime=LocalRuntime()) as lab:
        lab.apps.create_namespaced_deployment("shop", deployment(), field_manager="deployer")
        yield lab


def patch(lab: Lab, how: str, body: Any, path: str = WEB) -> tuple[int, Json]:
    return lab.send("PATCH", path, body, Content_Type=TYPES[how])


def container(**fields: Any) -> Json:
    return {"spec": {"template": {"spec": {"containers": [{"name": "web"} | fields]}}}}


def causes(status: Json) -> list[tuple[str, str]]:
    return [(cause["field"], cause["message"]) for cause in status["details"]["causes"]]


# -- objects that are refused

IMAGE = "spec.template.spec.containers[0]"
AT_LEAST_0 = "must be greater than or equal to 0"


@pytest.mark.parametrize(
    ("body", "field", "why"),
    [
        ({"spec": {"replicas": -1}}, "spec.replicas", f"Invalid value: -1: {AT_LEAST_0}"),
        (container(image=""), f"{IMAGE}.image", "Required value"),
        (
            container(image=" a b"),
            f"{IMAGE}.image",
            'Invalid value: " a b": must not have leading or trailing whitespace',
        ),
        (
            container(ports=[{"containerPort": 99999}]),
            f"{IMAGE}.ports[0].containerPort",
            "Invalid value: 99999: must be between 1 and 65535, inclusive",
        ),
        (
            container(livenessProbe={"periodSeconds": 5}),
            f"{IMAGE}.livenessProbe",
            "Required value: must specify a handler type",
        ),
        (
            container(volumeMounts=[{"name": "nope", "mountPath": "/x"}]),
            f"{IMAGE}.volumeMounts[0].name",
            'Not found: "nope"',
        ),
        (
            container(imagePullPolicy="Sometimes"),
            f"{IMAGE}.imagePullPolicy",
            'Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            container(resources={"limits": {"cpu": "-1"}}),
            f"{IMAGE}.resources.limits[cpu]",
            f'Invalid value: "-1": {AT_LEAST_0}',
        ),
        (
            container(resources={"limits": {"memory": "1Mi"}, "requests": {"memory": "2Mi"}}),
            f"{IMAGE}.resources.requests",
            'Invalid value: "2Mi": must be less than or equal to memory limit of 1Mi',
        ),
        (
            {"spec": {"strategy": {"type": "Recreate"}}},
            "spec.strategy.rollingUpdate",
            "Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            {"spec": {"template": {"spec": {"restartPolicy": "Never"}}}},
            "spec.template.spec.restartPolicy",
            'Unsupported value: "Never": supported values: "Always"',
        ),
        (
            {"spec": {"template": {"metadata": {"labels": {"app": "other"}}}}},
            "spec.template.metadata.labels",
            (
                'Invalid value: map[string]string{"app":"other"}: '
                "`selector` does not match template `labels`"
            ),
        ),
        (
            {"metadata": {"uid": "abc"}},
            "metadata.uid",
            'Invalid value: "abc": field is immutable',
        ),
    ],
)
def test_a_deployment_that_is_refused(lab: Lab, body: Json, field: str, why: str):
    code, status = patch(lab, "strategic", body)
    assert (code, status["reason"], causes(status)) == (422, "Invalid", [(field, why)])
    assert status["message"] == f'Deployment.apps "web" is invalid: {field}: {why}'
    assert status["details"]["kind"] == "Deployment"


def test_every_field_that_is_wrong_is_named(lab: Lab):
    code, status = lab.send("POST", DEPLOYMENTS, {"metadata": {"name": "w2"}, "spec": {}})
    assert code == 422
    assert status["message"] == (
        'Deployment.apps "w2" is invalid: [spec.selector: Required value, '
        "spec.template.metadata.labels: Invalid value: map[string]string(nil): `selector` does "
        "not match template `labels`, spec.template.spec.containers: Required value]"
    )


TWINS = {"containers": [{"name": "a", "image": "x"}] * 2}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"metadata": {"name": "p"}, "spec": {}}, ["spec.containers"]),
        (
            {
                "metadata": {"name": "W_2"},
                "spec": {"containers": [{"name": "a", "image": "x"}] * 2},
            },
            ["metadata.name", "spec.containers[1].name"],
        ),
        (
            {"metadata": {"name": "p"}, "spec": {"containers": [{"image": "x", "env": [{}]}]}},
            ["spec.containers[0].name", "spec.containers[0].env[0].name"],
        ),
        (
            {"metadata": {"name": "p", "labels": {"a b": "c d"}}, "spec": {"containers": [{}]}},
            ["metadata.labels", "metadata.labels"]
            + ["spec.containers[0].name", "spec.containers[0].image"],
        ),
    ],
)
def test_a_pod_that_is_refused(lab: Lab, body: Json, fields: list[str]):
    code, status = lab.send("POST", PODS, body)
    assert (code, [field for field, _ in causes(status)]) == (422, fields)


def test_what_is_odd_but_allowed(lab: Lab):
    variables = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    spec = {"containers": [{"name": "a", "image": "no/such:image", "env": variables}]}
    assert lab.send("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})[0] == 201


IMMUTABLE = "Forbidden: field is immutable when `immutable` is set"
MAY_NOT = "pod updates may not"


@pytest.mark.parametrize(
    ("kind", "spec", "body", "field", "why"),
    [
        (
            "services",
            {"spec": {"ports": [{"port": 80}]}},
            {"spec": {"clusterIP": "10.0.0.1"}},
            "spec.clusterIPs[0]",
            "may not change once set",
        ),
        (
            "services",
            {"spec": {"ports": [{"port": 80}]}},
            {"spec": {"ports": []}},
            "spec.ports",
            "Required value",
        ),
        (
            "configmaps",
            {"data": {"a": "1"}, "immutable": True},
            {"data": {"a": "2"}},
            "data",
            IMMUTABLE,
        ),
        ("secrets", {"immutable": True}, {"data": {"a": "Mg=="}}, "data", IMMUTABLE),
        (
            "persistentvolumeclaims",
            {"spec": {"accessModes": ["ReadWriteOnce"]}},
            {"spec": {"accessModes": ["ReadWriteMany"]}},
            "spec",
            "Forbidden: spec is immutable after creation except resources.requests",
        ),
        (
            "pods",
            {"spec": {"containers": [{"name": "a", "image": "x"}]}},
            {"spec": {"nodeName": "other"}},
            "spec",
            f"Forbidden: {MAY_NOT} change fields other than `spec.containers[*].image`",
        ),
        (
            "pods",
            {"spec": {"containers": [{"name": "a", "image": "x"}]}},
            {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}},
            "spec",
            f"Forbidden: {MAY_NOT} change fields",
        ),
        (
            "pods",
            {"spec": {"containers": [{"name": "a", "image": "x"}]}},
            {"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}},
            "spec.containers",
            f"Forbidden: {MAY_NOT} add or remove containers",
        ),
        (
            "rolebindings",
            {"roleRef": {"kind": "Role", "name": "r"}},
            {"roleRef": {"name": "r2"}},
            "roleRef",
            "cannot change roleRef",
        ),
    ],
)
def test_what_may_not_change(lab: Lab, kind: str, spec: Json, body: Json, field: str, why: str):
    known = resource(kind)
    lab.store.create(known, "shop", {"metadata": {"name": "x"}, **spec})
    group = f"/apis/{known.api_version}" if known.group else "/api/v1"
    path = f"{group}/namespaces/shop/{kind}/x"
    code, status = patch(lab, "merge", body, path)
    assert code == 422
    assert [(f, why in w) for f, w in causes(status)] == [(field, True)]


def test_a_selector_may_not_change(lab: Lab):
    labels = {"app": "other"}
    template = {"metadata": {"labels": labels}}
    body = {"spec": {"selector": {"matchLabels": labels}, "template": template}}
    code, status = patch(lab, "merge", body)
    assert (code, causes(status)[0][0]) == (422, "spec.selector")
    assert causes(status)[0][1].endswith(": field is immutable")


def test_a_pods_image_may_change(lab: Lab):
    lab.pod()
    containers = [{"name": "web", "image": "web:2"}]
    code, pod = patch(lab, "strategic", {"spec": {"containers": containers}}, f"{PODS}/web")
    assert (code, pod["spec"]["containers"][0]["image"]) == (200, "web:2")


# -- what cannot be read, and fields nobody knows


VALUE = "EnvVar.spec.template.spec.containers.env.value"
CANNOT = "json: cannot unmarshal"
LIKE = "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            {"spec": {"replicas": "x"}},
            f"{CANNOT} string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            container(env=[{"name": "A", "value": 1}]),
            f"{CANNOT} number into Go struct field {VALUE} of type string",
        ),
        (
            container(resources={"limits": {"memory": "12Foo"}}),
            f"quantities must match the regular expression {LIKE}",
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            f"{CANNOT} number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
    ],
)
def test_a_value_of_the_wrong_type(lab: Lab, body: Json, why: str):
    code, status = patch(lab, "merge", body)
    assert (code, status["reason"]) == (422, "Invalid")
    assert status["message"] == f' "" is invalid: patch: Invalid value: "{json.dumps(body)}": {why}'
    new = {"metadata": {"name": "w2"}, **body}
    code, status = lab.send("POST", DEPLOYMENTS, new)
    assert (code, status["reason"]) == (400, "BadRequest")
    head = 'Deployment in version "v1" cannot be handled as a Deployment: '
    assert status["message"] == head + why


def test_an_unknown_field_is_dropped_with_a_warning_or_refused(lab: Lab):
    body = json.dumps({"metadata": {"name": "c"}, "data": {}, "dta": {"a": "b"}})
    code, made, headers = lab.raw("POST", f"{CONFIGMAPS}?dryRun=All", body)
    assert (code, "dta" in json.loads(made)) == (201, False)
    assert headers["Warning"] == '299 - "unknown field \\"dta\\""'
    assert "Warning" not in lab.raw("POST", f"{CONFIGMAPS}?fieldValidation=Ignore", body)[2]
    wrong = container(enviroment=[])
    code, status = patch(lab, "strategic", wrong, f"{WEB}?fieldValidation=Strict")
    assert code == 422
    unknown = 'unknown field "spec.template.spec.containers[0].enviroment"'
    assert status["message"].endswith(f": strict decoding error: {unknown}")


def test_lists_and_maps_that_are_empty_are_left_out_as_a_server_leaves_them_out(lab: Lab):
    before = lab.store.peek(resource("deployments"), "shop", "web")["spec"]["template"]
    empty = {"env": [], "args": [], "resources": {"limits": {}}}
    code, now = patch(lab, "strategic", container(**empty))
    assert (code, now["spec"]["template"]) == (200, before)
    body = {"metadata": {"name": "c", "annotations": {}}, "data": {}}
    code, made = lab.send("POST", CONFIGMAPS, body)
    assert (code, "annotations" in made["metadata"], "data" in made) == (201, False, False)
    rule = {"metadata": {"name": "r"}, "rules": []}
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles"
    assert lab.send("POST", path, rule)[1]["rules"] == []


# -- dry runs, conflicts, preconditions


@pytest.mark.parametrize("how", ["merge", "strategic", "json", "apply"])
def test_a_dry_run_of_each_patch_changes_nothing(lab: Lab, how: str):
    before = lab.store.peek(resource("deployments"), "shop", "web")
    body: Any = {"metadata": {"annotations": {"why": "test"}}}
    if how == "json":
        body = [{"op": "add", "path": "/metadata/annotations", "value": {"why": "test"}}]
    if how == "apply":
        body |= {"apiVersion": "apps/v1", "kind": "Deployment"}
    code, shown = patch(lab, how, body, f"{WEB}?dryRun=All&fieldManager=smoldebug")
    assert (code, shown["metadata"]["annotations"]) == (200, {"why": "test"})
    assert "smoldebug" in [entry["manager"] for entry in shown["metadata"]["managedFields"]]
    assert lab.store.peek(resource("deployments"), "shop", "web") is before


@pytest.mark.parametrize(
    ("method", "kind"), [("PATCH", "PatchOptions"), ("DELETE", "DeleteOptions")]
)
def test_there_is_one_kind_of_dry_run(lab: Lab, method: str, kind: str):
    code, status = lab.send(method, f"{WEB}?dryRun=Some", {}, Content_Type=TYPES["merge"])
    assert (code, status["message"]) == (
        422,
        (
            f'{kind}.meta.k8s.io "" is invalid: dryRun: Unsupported value: []string{{"Some"}}: '
            'supported values: "All"'
        ),
    )


def test_a_dry_run_of_what_would_be_refused_is_refused(lab: Lab):
    assert patch(lab, "merge", {"spec": {"replicas": -1}}, f"{WEB}?dryRun=All")[0] == 422
    code, status = lab.send("POST", f"{DEPLOYMENTS}?dryRun=All", deployment())
    assert (code, status["reason"]) == (409, "AlreadyExists")


def test_a_json_patch_guards_uid_version_and_values(lab: Lab):
    meta = lab.store.peek(resource("deployments"), "shop", "web")["metadata"]
    for field in ("uid", "resourceVersion"):
        guard = {"op": "test", "path": f"/metadata/{field}", "value": meta[field]}
        change = {"op": "replace", "path": "/spec/replicas", "value": 2}
        assert patch(lab, "json", [guard, change], f"{WEB}?dryRun=All")[0] == 200
        code, status = patch(lab, "json", [guard | {"value": "1"}, change])
        assert (code, status["message"], status["details"]) == (
            422,
            "the server rejected our request due to an error in our request",
            {},
        )


def test_a_stale_resource_version_is_a_conflict_in_every_patch(lab: Lab):
    stale = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 2}}
    typed = stale | {"apiVersion": "apps/v1", "kind": "Deployment"}
    for how, body in (("merge", stale), ("strategic", stale), ("apply", typed)):
        code, status = patch(lab, how, body, f"{WEB}?fieldManager=deployer&force=true")
        assert (code, status["reason"]) == (409, "Conflict"), how
        assert status["details"] == {"name": "web", "group": "apps", "kind": "deployments"}


def test_preconditions_of_a_deletion(lab: Lab):
    uid = lab.store.peek(resource("deployments"), "shop", "web")["metadata"]["uid"]
    code, status = lab.send("DELETE", WEB, {"preconditions": {"uid": "abc"}})
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["message"] == (
        'Operation cannot be fulfilled on Deployment.apps "web": the UID in the precondition '
        f"(abc) does not match the UID in record ({uid}). The object might have been deleted "
        "and then recreated"
    )
    code, status = lab.send("DELETE", WEB, {"preconditions": {"resourceVersion": "1"}})
    assert (code, status["reason"]) == (409, "Conflict")
    assert lab.send("DELETE", WEB, {"preconditions": {"uid": uid}, "dryRun": ["All"]})[0] == 200
    assert lab.send("DELETE", WEB, {"preconditions": {"uid": uid}})[0] == 200
    code, status = lab.send("DELETE", WEB, {})
    assert (code, status["message"]) == (404, 'deployments.apps "web" not found')


def test_a_dry_run_of_a_pods_deletion_shows_its_end(lab: Lab):
    lab.pod()
    code, shown = lab.send("DELETE", f"{PODS}/web?dryRun=All")
    assert code == 200
    assert shown["metadata"]["deletionGracePeriodSeconds"] == 30
    assert "deletionTimestamp" not in lab.store.peek(resource("pods"), "shop", "web")["metadata"]


def test_a_propagation_policy_there_is_not(lab: Lab):
    code, status = lab.send("DELETE", WEB, {"propagationPolicy": "Bogus"})
    assert (code, status["details"]["causes"][0]["field"]) == (422, "propagationPolicy")


def test_what_is_not_there_and_what_is_there_already(lab: Lab):
    assert lab.send("PUT", f"{CONFIGMAPS}/new", {"metadata": {"name": "new"}})[0] == 404
    assert lab.send("POST", f"{SHOP}/widgets", {})[0] == 404
    code, status = lab.send(
        "POST", "/api/v1/namespaces/nope/configmaps", {"metadata": {"name": "a"}}
    )
    assert (code, status["message"]) == (404, 'namespaces "nope" not found')
    code, status = lab.send("POST", DEPLOYMENTS, deployment())
    assert (code, status["message"]) == (409, 'deployments.apps "web" already exists')


def test_nothing_new_in_a_namespace_that_goes(lab: Lab):
    meta = {"name": "x", "finalizers": ["a.b/c"]}
    lab.store.create(resource("configmaps"), "shop", {"metadata": meta})
    lab.send("DELETE", SHOP)
    code, status = lab.send("POST", CONFIGMAPS, {"metadata": {"name": "y"}})
    assert (code, status["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    assert status["message"] == (
        'configmaps "y" is forbidden: unable to create new content in namespace shop because it '
        "is being terminated"
    )


# -- server-side apply


def applied(**spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": spec,
    }


def test_conflicts_name_manager_and_field(lab: Lab):
    patch(lab, "merge", {"spec": {"replicas": 3}}, f"{WEB}?fieldManager=on-call")
    path = f"{WEB}?fieldManager=me&dryRun=All"
    code, status = patch(lab, "apply", applied(replicas=4), path)
    assert (code, status["reason"], status["message"]) == (
        409,
        "Conflict",
        'Apply failed with 1 conflict: conflict with "on-call" using apps/v1: .spec.replicas',
    )
    assert status["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "on-call" using apps/v1',
            "field": ".spec.replicas",
        }
    ]
    template = container(image="other")["spec"]["template"]
    _, status = patch(lab, "apply", applied(replicas=4, template=template), path)
    assert status["message"] == (
        'Apply failed with 2 conflicts: conflicts with "deployer" using apps/v1:\n'
        '- .spec.template.spec.containers[name="web"].image\n'
        'conflicts with "on-call" using apps/v1:\n'
        "- .spec.replicas"
    )
    assert patch(lab, "apply", applied(replicas=4), f"{path}&force=true")[0] == 200


def test_an_apply_that_cannot_be(lab: Lab):
    path = f"{WEB}?fieldManager=me"
    code, status = patch(lab, "apply", applied(bogus=4), path)
    assert code == 500
    assert status["message"].endswith(".spec.bogus: field not declared in schema")
    code, status = patch(lab, "apply", applied(replicas=1))
    assert (code, status["message"]) == (
        422,
        (
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for '
            "apply patch"
        ),
    )
    one_of_old = applied(replicas=1) | {"metadata": {"name": "web", "uid": "abc"}}
    assert patch(lab, "apply", one_of_old, path)[0] == 422
    lab.send("DELETE", WEB)
    code, status = patch(lab, "apply", one_of_old, path)
    assert (code, "no existing object was found" in status["message"]) == (409, True)


# -- kubectl


@pytest.mark.kubectl
@needs_kubectl
def test_kubectl_tells_why_a_change_is_refused(lab: Lab, tmp_path: pathlib.Path):
    kubectl = Kubectl(lab, tmp_path)
    refused = kubectl("patch", "deploy", "web", "-p", '{"spec":{"replicas":-1}}', code=1)
    assert refused == (
        'The Deployment "web" is invalid: spec.replicas: Invalid value: -1: must be greater than '
        "or equal to 0\n"
    )
    test = '[{"op":"test","path":"/spec/replicas","value":9}]'
    refused = kubectl("patch", "deploy", "web", "--type=json", "-p", test, code=1)
    said = "the server rejected our request due to an error in our request"
    assert refused == f"The request is invalid: {said}\n"
    typo = deployment("typo")
    typo["spec"]["replcas"] = 2
    refused = kubectl("apply", "-f", "-", stdin=typo, code=1)
    assert 'strict decoding error: unknown field "spec.replcas"' in refused
    warned = kubectl("apply", "--validate=warn", "-f", "-", stdin=typo)
    assert 'Warning: unknown field "spec.replcas"' in warned
    refused = kubectl("create", "deployment", "web", "--image=web:1", code=1)
    assert 'deployments.apps "web" already exists' in refused
    assert "(server dry run)" in kubectl("delete", "deploy", "web", "--dry-run=server")
    assert "(server dry run)" in kubectl("scale", "deploy/web", "--replicas=7", "--dry-run=server")
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "1"


# -- whatever a client sends

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
POD_SPEC = {
    "containers": [
        {
            "name": "a",
            "image": "x",
            "env": [{"name": "A", "value": "1"}],
            "ports": [{"containerPort": 1}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }
    ],
    "volumes": [{"name": "v"}],
    "tolerations": [{"key": "a"}],
}
BODIES: dict[str, Json] = {
    "deployments": deployment(),
    "pods": {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": POD_SPEC},
    "services": {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1, "name": "a"}]}},
    "rolebindings": {
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "ann"}],
    },
    "roles": {"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "resources": ["pods"]}]},
    "horizontalpodautoscalers": {
        "metadata": {"name": "h"},
        "spec": {"minReplicas": 1, "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment"}},
    },
    "nodes": {"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@given(st.sampled_from(sorted(BODIES)), st.data())
def test_every_document_is_taken_or_refused_with_a_reason(kind: str, data: st.DataObject):
    known, body = resource(kind), clone(BODIES[kind])
    owner, key = data.draw(st.sampled_from(list(places(body))))
    owner[key] = data.draw(JSON)
    with contextlib.suppress(ApiError):
        schema.decode(known, body, strict=False)
        validate(known, None, body)
        validate(known, BODIES[kind], body)
