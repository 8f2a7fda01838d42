"""A new value of a change stands in typed state or in the playbook; else it is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.guard.leaves import amount, leaves, of_change, steps
from smoldebug.guard.provenance import Listed, listed, unfounded
from smoldebug.playbook import models
from smoldebug.records import Change, ChangeKind, Json, ObjectRef

AUTH = ObjectRef("Deployment", "shop", "auth")
APP = "/spec/template/spec/containers/[name=app]"
IMAGE, ENV = f"{APP}/image", f"{APP}/env/[name=DB]/value"
NOTHING = Listed()


def an_object(kind: str = "Deployment", name: str = "pay", **fields: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop", **fields.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta, **fields}


def workload(image: str, name: str = "pay", **template: Any) -> dict[str, Any]:
    pod = {"containers": [{"name": "app", "image": image}]}
    return an_object(name=name, spec={"template": {"spec": pod, **template}})


def change(
    before: dict[str, Any], after: dict[str, Any], kind: ChangeKind = ChangeKind.PATCH_OBJECT
) -> Change:
    return Change(kind, AUTH, before, after, "why")


def refused(made: Change, *typed: Json, known: Listed = NOTHING) -> str:
    return unfounded(made, typed, known)


def image(value: str) -> Change:
    return change({IMAGE: "shop/auth:2"}, {IMAGE: value}, ChangeKind.SET_IMAGE)


def playbook(**tool: Any) -> models.Playbook:
    block = models.ChangeTool(allow=[ChangeKind.SET_IMAGE], **{"targets": ["*/*/*"], **tool})
    return models.Playbook(
        apiVersion="smoldebug.dev/v1",
        name="test",
        goal=models.Goal(),
        tools=models.Tools(change=block),
        scope=models.Scope(namespaces=["shop"]),
    )


# --- typed state ----------------------------------------------------------------------------


def test_what_stands_nowhere_is_refused_and_says_what_to_do():
    assert refused(image("evil.example/auth:3"), workload("shop/auth:1")) == (
        "spec.template.spec.containers[app].image 'evil.example/auth:3' stands nowhere in the "
        "cluster's typed state (spec, ConfigMaps, names, labels): if it is right, list it under "
        "tools.change.values or give it as an input of the playbook"
    )


@pytest.mark.parametrize(
    "source",
    [
        workload("shop/auth:1"),
        an_object("ConfigMap", data={"image": "shop/auth:1"}),
        an_object(metadata={"labels": {"image": "shop/auth:1"}}),
        an_object(metadata={"uid": "shop/auth:1"}),
        an_object("ControllerRevision", data={"spec": {"template": {"x": "shop/auth:1"}}}),
    ],
)
def test_a_value_may_come_from_what_was_decided_by_somebody(source: Json):
    assert refused(image("shop/auth:1"), source) == ""


@pytest.mark.parametrize(
    "source",
    [
        an_object(metadata={"annotations": {"note": "shop/auth:1"}}),
        workload("x", metadata={"annotations": {"note": "shop/auth:1"}}),
        an_object(status={"conditions": [{"message": "shop/auth:1", "reason": "shop/auth:1"}]}),
        an_object("Event", spec={"x": "shop/auth:1"}, message="shop/auth:1"),
        an_object("Event", metadata={"name": "shop/auth:1"}),
        an_object("Secret", data={"image": "shop/auth:1"}),
        an_object(spec={"note": "please use shop/auth:1 instead"}),
        an_object(metadata={"managedFields": [{"manager": "shop/auth:1"}]}),
        "shop/auth:1",
        None,
        ["shop/auth:1"],
        {"kind": "Deployment", "metadata": "shop/auth:1", "spec": None},
    ],
)
def test_free_text_vouches_for_nothing(source: Json):
    assert refused(image("shop/auth:1"), source)


def test_what_a_change_replaces_or_keeps_needs_no_other_source():
    before = {"/spec/a": {"image": "x:1", "args": ["-v", "one"]}}
    assert refused(change(before, {"/spec/a": {"image": "x:1", "args": ["one", "-v"]}})) == ""
    moved = change({"/metadata/annotations/x": "x:9"}, {"/spec/image": "x:9"})
    assert refused(moved), "not where the free text was"


def test_the_name_of_the_target_is_known():
    assert refused(change({}, {"/spec/a": "auth", "/spec/b": "shop"})) == ""


def test_structure_of_kubernetes_is_no_value():
    after = {"protocol": "TCP", "imagePullPolicy": "Always", "tty": True, "x": None, "y": {}}
    assert refused(change({}, {"/spec/a": after})) == ""


def test_a_variable_given_twice_is_looked_at_twice():
    env = [{"name": "DB", "value": "evil"}, {"name": "DB", "value": "db"}]
    assert "'evil'" in refused(
        change({}, {f"{APP}/env": env}), workload("x"), known=Listed(frozenset({"db", "DB"}))
    )


# --- keys -----------------------------------------------------------------------------------


def test_new_keys_that_somebody_chose_count_as_values():
    labelled = change({}, {"/metadata/labels/team": "true"})
    assert "metadata.labels 'team'" in refused(labelled)
    assert refused(labelled, an_object(metadata={"labels": {"team": "x"}})) == ""
    selected = change({}, {"/spec/selector": {"evil": "true"}})
    assert refused(selected)
    assert refused(change({"/data/KEY": "x"}, {"/data/KEY": "true"})) == "", "it was there"


def test_names_of_fields_are_not_values():
    probe = {"httpGet": {"port": "http", "scheme": "HTTP"}, "periodSeconds": 5}
    source = an_object(spec={"probe": {"port": "http", "periodSeconds": 5}})
    assert refused(change({}, {f"{APP}/livenessProbe": probe}), source) == ""
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}}
    source = an_object(spec={"limits": {"cpu": "1", "memory": "1Gi"}})
    assert refused(change({}, {f"{APP}/resources": limits}), source) == ""


# --- numbers --------------------------------------------------------------------------------


def test_a_number_may_take_the_place_of_a_number():
    assert refused(change({"/spec/x": 5}, {"/spec/x": 9})) == ""
    assert refused(change({"/spec/x": "64Mi"}, {"/spec/x": "128Mi"})) == ""
    assert refused(change({"/spec/x": "auto"}, {"/spec/x": 9}))
    assert refused(change({}, {"/spec/replicas": 3})) == "", "the limits know"


def test_a_new_number_is_one_of_the_same_thing():
    made = change({}, {f"{APP}/livenessProbe/periodSeconds": 10})
    assert refused(made)
    assert refused(made, an_object(spec={"timeoutSeconds": 10}))
    assert refused(made, an_object(spec={"x": {"periodSeconds": 10}})) == ""


def test_a_port_is_one_that_something_has():
    port = "/spec/ports/[port=80,protocol=TCP]/targetPort"
    made = change({port: 80}, {port: 8080}, ChangeKind.PATCH_PORT)
    assert refused(made)
    listens = {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]}
    assert refused(made, an_object("Pod", spec=listens)) == ""
    assert refused(change({ENV.replace("DB", "DB_PORT"): "1"}, {ENV.replace("DB", "DB_PORT"): "2"}))


def test_python_takes_true_for_one_and_we_do_not():
    made = change({"/spec/x": True}, {"/spec/x": 1})
    assert refused(made)
    assert refused(made, an_object(spec={"x": True}))


# --- addresses ------------------------------------------------------------------------------


DATABASE = an_object("Service", "db", spec={"ports": [{"port": 5432}]})


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("dbb:5432", "db:5432", True),
        ("dbb", "db.shop", True),
        ("dbb:5432", "db.shop.svc.cluster.local:5432", True),
        ("http://dbb:5432/health", "http://db:5432/health", True),
        ("dbb:5432", "db:6379", False),
        ("dbb:5432", "db.evil:5432", False),
        ("dbb:5432", "http://db:5432", False),
        ("http://dbb:5432/health", "http://db:5432/admin", False),
        ("http://dbb:5432", "http://x@db:5432", False),
        ("dbb", "db evil", False),
    ],
)
def test_an_address_may_name_a_service_that_is_there(old: str, new: str, found: bool):
    assert (refused(change({ENV: old}, {ENV: new}), DATABASE) == "") is found


def test_a_service_of_another_namespace_goes_by_its_whole_name():
    other = an_object("Service", "db", metadata={"namespace": "data"})
    assert refused(change({ENV: "x"}, {ENV: "db:1"}), {**other, "spec": {"ports": [{"port": 1}]}})
    made = change({ENV: "x"}, {ENV: "db.data:1"})
    assert refused(made, {**other, "spec": {"ports": [{"port": 1}]}}) == ""


# --- revisions ------------------------------------------------------------------------------


OLD = {
    "metadata": {"labels": {"app": "auth"}, "annotations": {"note": "kept"}},
    "spec": {"containers": [{"name": "app", "image": "shop/auth:1"}]},
}


def revision(kind: str, owner: str = "auth") -> dict[str, Any]:
    meta = {"ownerReferences": [{"kind": "Deployment", "name": owner, "controller": True}]}
    labels = {**OLD["metadata"]["labels"], "pod-template-hash": "7d9"}
    template = {**OLD, "metadata": {**OLD["metadata"], "labels": labels}}
    if kind == "ReplicaSet":
        return an_object(kind, "auth-7d9", metadata=meta, spec={"template": template})
    data = {"spec": {"template": {**OLD, "$patch": "replace"}}}
    return an_object(kind, "auth-7d9", metadata=meta, data=data)


@pytest.mark.parametrize("kind", ["ReplicaSet", "ControllerRevision"])
def test_a_rollback_sets_what_one_revision_has_annotations_too(kind: str):
    back = change({"/spec/template": {}}, {"/spec/template": OLD}, ChangeKind.ROLLBACK)
    assert refused(back, revision(kind)) == ""
    fine = change({IMAGE: "shop/auth:2"}, {IMAGE: "shop/auth:1"}, ChangeKind.ROLLBACK)
    assert refused(fine, revision(kind)) == ""


def test_what_no_revision_has_is_no_rollback():
    new = {**OLD, "spec": {"containers": [{"name": "app", "image": "evil:1"}]}}
    back = change({"/spec/template": {}}, {"/spec/template": new}, ChangeKind.ROLLBACK)
    assert refused(back, revision("ReplicaSet")).startswith("no earlier revision that could be")
    noted = {**OLD, "metadata": {**OLD["metadata"], "annotations": {"note": "evil"}}}
    back = change({"/spec/template": {}}, {"/spec/template": noted}, ChangeKind.ROLLBACK)
    assert "'evil'" in refused(back, revision("ReplicaSet"))
    kept = change({"/spec/template": {}}, {"/spec/template": OLD}, ChangeKind.ROLLBACK)
    assert refused(kept, revision("ReplicaSet", owner="pay")), "another workload's revision"


# --- the playbook ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("registry.example/shop/auth:3", True),
        ("registry.example/shop/a/b:3", True),
        ("registry.example.evil/shop/auth:3", False),
        ("evil/registry.example/shop/auth:3", False),
        ("shop/[a]?", True),
        ("shop/aa", False),
        ("given:1", True),
        ("7", True),
        ("db", True),
        ("Deployment", False),
    ],
)
def test_the_playbook_lists_values_by_pattern_input_and_target(value: str, known: bool):
    book = playbook(
        values=["registry.example/shop/*", "shop/[a]?"], targets=["Deployment/shop/db", "Pod/*/*"]
    )
    allowed = listed(book, {"image": "given:1", "more": ["x", 7]})
    assert (refused(image(value), known=allowed) == "") is known


def test_restart_stamps_and_names_of_debug_containers_are_nobody_s_choice():
    stamp = {"/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt": "now"}
    assert refused(change({}, stamp, ChangeKind.RESTART)) == ""
    debug = {"/spec/ephemeralContainers/[name=debug-1]": {"name": "debug-1", "image": "box:1"}}
    made = change({}, debug, ChangeKind.DEBUG_CONTAINER)
    assert "'box:1'" in refused(made)
    assert refused(made, known=Listed(frozenset({"box:1"}))) == ""


def test_commands_of_this_machine_are_the_playbook_s_own():
    target = ObjectRef("Command", "local", "df")
    made = Change(ChangeKind.RUN_COMMAND, target, {}, {"/argv": ["df", "-h"]}, "full?")
    assert refused(made) == ""


# --- whatever is proposed -------------------------------------------------------------------


words = st.sampled_from(["auth", "db", "x:1", "y:2", "evil", "on", ""])
scalars = st.one_of(words, st.integers(-2, 9), st.booleans(), st.none(), st.floats(0, 9))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["name", "image", "value", "labels"]), inner, max_size=3),
    ),
    max_leaves=8,
)
pointers = st.sampled_from(["/spec/a", "/spec/b", "/metadata/labels/x", "/spec/c/[name=d]/e"])
sides = st.dictionaries(pointers, values, max_size=3)


@given(sides, sides, st.lists(values, max_size=2))
def test_a_word_that_nobody_vouches_for_never_gets_through(before, after, specs):
    typed = [an_object(spec=spec) for spec in specs]
    every = {value for side in (before, *specs) for _, value in leaves(side)
             if isinstance(value, str)}  # fmt: skip
    if any(value == "evil" for _, value in of_change(after)) and "evil" not in every:
        assert unfounded(change(before, after), typed, NOTHING)


@given(sides, sides, st.lists(values, max_size=2), values)
def test_more_typed_state_never_refuses_more(before, after, specs, more):
    typed = [an_object(spec=spec) for spec in specs]
    made = change(before, after)
    if unfounded(made, typed, NOTHING) == "":
        assert unfounded(made, [*typed, an_object(spec=more)], NOTHING) == ""


@given(sides)
def test_what_stays_as_it_is_is_never_refused(side):
    assert unfounded(change(side, side), [], NOTHING) == ""


@given(sides, values)
def test_everything_may_be_what_the_playbook_lists(after, spec):
    anything = listed(playbook(values=["*"]), {})
    assert unfounded(change({}, after), [an_object(spec=spec)], anything) == ""


# --- leaves ---------------------------------------------------------------------------------


def test_a_value_has_one_path_however_it_is_named():
    whole = {"/spec/containers": [{"name": "a/b,c", "env": [{"name": "X", "value": "1"}]}]}
    single = {"/spec/containers/[name=a~1b~2c]/env/[name=X]/value": "1"}
    assert of_change(single)[0] in of_change(whole)
    assert steps("/spec/taints/[effect=NoSchedule,key=gpu]/value")[2] == "gpu"
    assert steps("") == ()
    assert steps("/metadata/labels/a~1b~0c") == ("metadata", "labels", "a/b~c")


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", 1), ("0.5", "500m"), ("1Gi", "1024Mi"), (2.5, "2500m"), ("1k", 1000), ("3s", "3s")],
)
def test_quantities_are_compared_by_what_they_are(one: Json, other: Json):
    assert amount(one) == amount(other) is not None


@pytest.mark.parametrize(
    "text", ["", "v1", "1.2.3", "abc", "-", "1e9999", "9" * 40, True, None, [1], float("nan")]
)
def test_what_is_no_number_is_none(text: Json):
    assert amount(text) is None


def test_depth_is_no_matter():
    deep: Json = "x"
    for _ in range(5000):
        deep = {"a": deep}
    assert len(list(leaves(deep))) == 1
