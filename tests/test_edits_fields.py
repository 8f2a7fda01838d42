"""What a playbook's edit wants of an object, what stands there instead, and whom it refuses."""

import copy
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldebug.edits.fields import container_problems, containers_changed, operations
from smoldebug.edits.operations import Operation
from smoldebug.errors import ChangeRefused, UsageError
from smoldebug.playbook.fieldpath import pointer_of
from smoldebug.playbook.patches import (
    AddItem,
    ContainerHas,
    Edit,
    EnvVar,
    Key,
    KeyValue,
    RemoveEnv,
    RemoveItem,
    RemovePath,
    SetEnv,
    SetImage,
    SetPath,
    SetProbe,
    SetReplicas,
    SetResources,
)
from smoldebug.pointers import dotted

FLAG = Edit(set_env=SetEnv(name="FLAG", value=True))
APP = "/spec/template/spec/containers/[name=app]"


def workload(kind="Deployment", version="apps/v1", *containers, **fields):
    """A Deployment with a container `app`, or another kind with other containers."""
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": list(containers) or [{"name": "app", "image": "web:1"}]},
    }
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **fields}
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": spec}}
    if kind == "Pod":
        spec = template["spec"]
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


def env(*entries, name="app"):
    return {"name": name, "image": "web:1", "env": list(entries)}


def with_env(*entries):
    return workload("Deployment", "apps/v1", env(*entries))


def set_env(**fields):
    return Edit(set_env=SetEnv(**{"name": "FLAG", "value": "true", **fields}))


def pointers(wanted):
    return [each.pointer for each in wanted.operations]


# --- environment variables ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "version", "where"),
    [
        ("Deployment", "apps/v1", "/spec/template/spec"),
        ("StatefulSet", "apps/v1", "/spec/template/spec"),
        ("DaemonSet", "apps/v1", "/spec/template/spec"),
        ("ReplicaSet", "apps/v1", "/spec/template/spec"),
        ("Job", "batch/v1", "/spec/template/spec"),
        ("CronJob", "batch/v1", "/spec/jobTemplate/spec/template/spec"),
        ("Rollout", "argoproj.io/v1alpha1", "/spec/template/spec"),
        ("Pod", "v1", "/spec"),
    ],
)
def test_every_workload_with_a_pod_template_can_get_a_variable(kind, version, where):
    (operation,) = operations(FLAG, workload(kind, version)).operations
    assert operation.pointer == f"{where}/containers/[name=app]/env/[name=FLAG]"
    assert operation.value == {"name": "FLAG", "value": "true"}


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (1, "1"), (0.5, "0.5"), ("0123", "0123")]
)
def test_a_value_is_always_text(value, text):
    (operation,) = operations(set_env(value=value), workload()).operations
    assert operation.value["value"] == text


def test_a_variable_that_has_the_value_needs_nothing():
    assert operations(FLAG, with_env({"name": "FLAG", "value": "true"})).already


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"value": "false"}, 'container app sets FLAG to "false"'),
        ({"value": True}, "container app sets FLAG to true"),
        ({}, 'container app sets FLAG to ""'),
    ],
)
@pytest.mark.parametrize("if_different", ["stop-and-ask", "overwrite", "skip"])
def test_another_value_is_told_and_set_unless_it_is_to_be_skipped(entry, says, if_different):
    wanted = operations(set_env(if_different=if_different), with_env({"name": "FLAG", **entry}))
    assert wanted.differs == (says,)
    assert not wanted.already
    set_it = Operation(f"{APP}/env/[name=FLAG]/value", "true")
    assert wanted.operations == (() if if_different == "skip" else (set_it,))


def test_a_value_from_elsewhere_is_a_different_one():
    source = {"configMapKeyRef": {"name": "flags", "key": "flag"}}
    wanted = operations(FLAG, with_env({"name": "FLAG", "valueFrom": source}))
    assert wanted.differs == ("container app takes FLAG from configMapKeyRef",)
    at = f"{APP}/env/[name=FLAG]"
    assert wanted.operations == (
        Operation(f"{at}/valueFrom", remove=True),
        Operation(f"{at}/value", "true"),
    )


def test_a_secret_that_stands_there_is_not_shown():
    edit = set_env(name="DB_PASSWORD", value="x")
    (said,) = operations(edit, with_env({"name": "DB_PASSWORD", "value": "hunter2hunter2"})).differs
    assert said.startswith('container app sets DB_PASSWORD to "[secret:')


def test_a_variable_that_is_set_twice_is_not_touched():
    twice = with_env({"name": "FLAG", "value": "a"}, {"name": "FLAG", "value": "true"})
    for edit in (FLAG, Edit(remove_env=RemoveEnv(name="FLAG"))):
        with pytest.raises(ChangeRefused, match="container app sets FLAG twice"):
            operations(edit, twice)


def test_a_removed_variable_takes_an_empty_list_with_it():
    edit = Edit(remove_env=RemoveEnv(name="FLAG"))
    both = with_env({"name": "FLAG", "value": "a"}, {"name": "B", "value": "b"})
    assert operations(edit, both).operations == (Operation(f"{APP}/env/[name=FLAG]", remove=True),)
    alone = with_env({"name": "FLAG", "value": "a"})
    assert operations(edit, alone).operations == (Operation(f"{APP}/env", remove=True),)
    assert operations(edit, workload()).already


# --- which containers -----------------------------------------------------------------------


def crowd():
    found = workload("Deployment", "apps/v1", {"name": "app"}, {"name": "proxy"})
    found["spec"]["template"]["spec"]["initContainers"] = [
        {"name": "migrate"},
        {"name": "mesh", "restartPolicy": "Always"},
    ]
    return found


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["app", "proxy"]),
        ({"include": ["init"]}, ["app", "proxy", "migrate"]),
        ({"include": ["sidecars"]}, ["app", "proxy", "mesh"]),
        ({"containers": ["proxy"]}, ["proxy"]),
        ({"containers": ["migrate", "app"]}, ["app", "migrate"]),
    ],
)
def test_init_containers_and_sidecars_only_when_they_are_asked_for(fields, names):
    found = pointers(operations(set_env(**fields), crowd()))
    assert [pointer.split("[name=")[1].split("]")[0] for pointer in found] == names


def test_a_container_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ChangeRefused, match="no container web, only app, proxy, migrate, mesh$"):
        operations(set_env(containers=["web"]), crowd())


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ({"apiVersion": "v1", "kind": "Service", "spec": {}}, "it has no pod template"),
        (workload("DeploymentConfig", "apps.openshift.io/v1"), "it has no pod template"),
        (workload("Rollout", "example.com/v1"), "it has no pod template"),
        (
            {"apiVersion": "argoproj.io/v1", "kind": "Rollout", "spec": {"workloadRef": {"a": 1}}},
            "its pods are those of another workload: spec.workloadRef",
        ),
        (workload("Deployment", "apps/v1", {"image": "x"}), "one of its containers has no name"),
        (workload("Deployment", "apps/v1", "x"), "one of its containers has no name"),
        (
            workload("Deployment", "apps/v1", {"name": "a"}, {"name": "a"}),
            "two of its containers have one name",
        ),
        (
            workload("Deployment", "apps/v1", {"name": "a", "env": {"FLAG": "x"}}),
            "container a: env is no list",
        ),
    ],
)
def test_what_cannot_be_edited_says_why(manifest, says):
    with pytest.raises(ChangeRefused) as caught:
        operations(FLAG, manifest)
    assert str(caught.value) == says


# --- the other edits ------------------------------------------------------------------------


def test_an_image_is_set_where_it_is_clear_whose():
    edit = Edit(set_image=SetImage(image="web:2"))
    wanted = operations(edit, workload())
    assert wanted.operations == (Operation(f"{APP}/image", "web:2"),)
    assert wanted.differs == ('container app runs "web:1"',)
    with pytest.raises(ChangeRefused, match="several containers.*: app, proxy$"):
        operations(edit, crowd())
    named = Edit(set_image=SetImage(image="web:2", containers=["proxy"]))
    assert len(operations(named, crowd()).operations) == 1


def test_resources_not_named_stay_and_amounts_are_compared_as_such():
    app = {"name": "app", "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}}}
    edit = Edit(set_resources=SetResources(limits={"cpu": "500m", "memory": "2Gi"}))
    wanted = operations(edit, workload("Deployment", "apps/v1", app))
    assert wanted.operations == (Operation(f"{APP}/resources/limits/memory", "2Gi"),)


def test_replicas_of_what_has_them():
    edit = Edit(set_replicas=SetReplicas(replicas=3))
    assert operations(edit, workload()).operations == (Operation("/spec/replicas", 3),)
    assert operations(edit, workload(replicas=3)).already
    with pytest.raises(ChangeRefused, match="it has no replicas"):
        operations(edit, workload("DaemonSet", "apps/v1"))


def test_a_probe_keeps_its_other_fields_and_has_one_handler():
    app = {"name": "app", "livenessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 5}}
    to = {"httpGet": {"path": "/health", "port": 80}}
    edit = Edit(set_probe=SetProbe(probe="liveness", to=to))
    wanted = operations(edit, workload("Deployment", "apps/v1", app))
    assert wanted.operations == (
        Operation(f"{APP}/livenessProbe/tcpSocket", remove=True),
        Operation(f"{APP}/livenessProbe/httpGet", to["httpGet"]),
    )
    assert wanted.differs == ("spec.template.spec.containers[app].livenessProbe has tcpSocket",)
    new = operations(edit, workload())
    assert new.operations == (Operation(f"{APP}/livenessProbe", to),)


def test_labels_and_annotations_of_the_object_and_of_its_pods():
    edit = Edit(set_label=KeyValue(name="a/b", value=1, pods=True))
    wanted = operations(edit, workload())
    assert wanted.operations == (
        Operation("/metadata/labels/a~1b", "1"),
        Operation("/spec/template/metadata/labels/a~1b", "1"),
    )
    gone = operations(Edit(remove_annotation=Key(name="a/b")), workload())
    assert gone.already


@pytest.mark.parametrize(
    "edit",
    [
        Edit(set_label=KeyValue(name="app", value="other", pods=True)),
        Edit(remove_label=Key(name="app", pods=True)),
    ],
)
def test_a_label_that_a_selector_needs_stays_on_the_pods(edit):
    with pytest.raises(ChangeRefused, match="selector, which is immutable, needs the label app"):
        operations(edit, workload())


def test_any_field():
    edit = Edit(set=SetPath(path='metadata.annotations["a/b"]', value="x"))
    assert operations(edit, workload()).operations == (
        Operation("/metadata/annotations/a~1b", "x"),
    )
    there = Edit(set=SetPath(path="spec.template.spec.containers[app].image", value="web:1"))
    assert operations(there, workload()).already
    gone = operations(Edit(remove=RemovePath(path="/spec/replicas")), workload(replicas=2))
    assert gone.operations == (Operation("/spec/replicas", remove=True),)


def test_a_field_of_a_list_item_that_is_not_there_makes_the_item():
    path = "spec.template.spec.containers[app].env[FLAG].value"
    found = operations(Edit(set=SetPath(path=path, value="x")), workload()).operations
    assert found == (Operation(f"{APP}/env/[name=FLAG]", {"name": "FLAG", "value": "x"}),)
    path = "spec.template.spec.volumes[tmp].emptyDir.medium"
    found = operations(Edit(set=SetPath(path=path, value="Memory")), workload()).operations
    assert found[0].value == {"name": "tmp", "emptyDir": {"medium": "Memory"}}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("spec.template.spec.containers[web].image", "there is no such item"),
        ("spec.template.spec.volumes[web]", "there is no such item"),
        ("spec.template.spec.containers[app].ports[80,TCP].name", "there is no such item"),
        ("spec.template.spec.containers[4].image", "there is no place for"),
        ("spec.template.spec.containers.image", "there is no place for"),
        ("metadata.name.first", "there is no place for"),
    ],
)
def test_a_field_that_has_no_place_is_refused(path, says):
    with pytest.raises(ChangeRefused, match=says):
        operations(Edit(set=SetPath(path=path, value="x")), workload())


def test_items_are_added_and_removed_by_their_key():
    path, volume = "spec.template.spec.volumes", {"name": "tmp", "emptyDir": {}}
    add = Edit(add_item=AddItem(path=path, key="name", item=volume))
    remove = Edit(remove_item=RemoveItem(path=path, key="name", value="tmp"))
    at = "/spec/template/spec/volumes"
    assert operations(add, workload()).operations == (Operation(f"{at}/[name=tmp]", volume),)
    assert operations(remove, workload()).already
    has = workload()
    has["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    assert operations(add, has).already
    assert operations(remove, has).operations == (Operation(at, remove=True),)
    has["spec"]["template"]["spec"]["volumes"][0] = {"name": "tmp", "hostPath": {"path": "/"}}
    assert operations(add, has).differs
    with pytest.raises(ChangeRefused, match=r"it is no list: spec\.replicas"):
        operations(
            Edit(add_item=AddItem(path="spec.replicas", key="a", item={"a": 1})),
            workload(replicas=1),
        )


def test_an_object_is_never_changed_by_asking():
    manifest = crowd()
    before = copy.deepcopy(manifest)
    operations(FLAG, manifest)
    assert manifest == before


# --- paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("spec.replicas", "/spec/replicas"),
        ("spec.template.spec.containers[app].image", f"{APP}/image"),
        ('metadata.annotations["example.com/x"]', "/metadata/annotations/example.com~1x"),
        ("spec.taints[NoSchedule,dedicated]", "/spec/taints/[effect=NoSchedule,key=dedicated]"),
        ("spec.ports[80]", "/spec/ports/80"),
        ("spec.ports[80,UDP].name", "/spec/ports/[port=80,protocol=UDP]/name"),
        (
            "spec.containers[app].volumeMounts[mountPath=/data]",
            "/spec/containers/[name=app]/volumeMounts/[mountPath=~1data]",
        ),
        ("spec.containers[0].args[1]", "/spec/containers/0/args/1"),
        ("/spec/replicas", "/spec/replicas"),
        (f"{APP}/image", f"{APP}/image"),
    ],
)
def test_paths_are_pointers(path, pointer):
    assert pointer_of(path) == pointer


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "spec.",
        "spec..x",
        "spec[",
        "spec[]",
        "a b",
        "labels.a/b",
        'x[""]',
        "spec.rules[web]",
        "/",
        "/spec/",
        "/spec/~3",
        "/spec/containers/-",
        "a[b=c",
    ],
)
def test_what_is_no_path_is_refused(path):
    with pytest.raises(UsageError):
        pointer_of(path)


@given(st.text(alphabet='ab.[]"=/,~0-', max_size=12))
def test_any_text_is_a_path_or_refused(path):
    with suppress(UsageError):
        assert pointer_of(path).startswith("/")


_KEY = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,6}", fullmatch=True)


@given(st.lists(st.one_of(_KEY, st.tuples(st.just("containers"), _KEY)), min_size=1, max_size=5))
def test_what_people_read_can_be_written_back(steps):
    pointer = "".join(
        f"/{step}" if isinstance(step, str) else f"/{step[0]}/[name={step[1]}]" for step in steps
    )
    assert pointer_of(dotted(pointer)) == pointer


# --- judging --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "says"),
    [
        (ContainerHas(env=EnvVar(name="A", value=1)), []),
        (ContainerHas(env=EnvVar(name="A", value="2")), ['container app sets A to "1"']),
        (ContainerHas(env=EnvVar(name="B", value="2")), ["container app: B is not set"]),
        (ContainerHas(image="web:1"), []),
        (ContainerHas(image="web:2"), ['container app: image is "web:1"']),
        (
            ContainerHas(matches={"resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}),
            [
                'container app: resources.limits.memory is "2Gi"',
                "container app: resources.limits.cpu is not set",
            ],
        ),
        (ContainerHas(matches={"resources": {"limits": {"memory": "2048Mi"}}}), []),
        (ContainerHas(matches={"command": None}), []),
        (ContainerHas(matches={"image": None}), ['container app: image is "web:1"']),
    ],
)
def test_what_a_container_lacks(has, says):
    app = env({"name": "A", "value": "1"}) | {"resources": {"limits": {"memory": "2Gi"}}}
    assert container_problems(workload("Deployment", "apps/v1", app), has, []) == says


def test_a_check_and_its_edit_are_of_the_same_containers():
    has = ContainerHas(env=EnvVar(name="FLAG", value="true"))
    for include in ([], ["init"], ["sidecars"], ["init", "sidecars"]):
        problems = container_problems(crowd(), has, include)
        assert len(problems) == len(operations(set_env(include=include), crowd()).operations)
    assert container_problems({"kind": "Service"}, has, []) == ["it has no pod template"]


# --- how many containers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "count"),
    [
        ("containers: [{name: a}, {name: b}]", "containers: [{name: a}, {name: b, image: x}]", 1),
        ("containers: [{name: a}]\n---\ncontainers: [{name: a}]",
         "containers: [{name: a, x: 1}]\n---\ncontainers: [{name: a, x: 1}]", 2),
        ("items: [{spec: {initContainers: [{name: a}]}}]",
         "items: [{spec: {initContainers: [{name: b}]}}]", 1),
        ("a: {replicas: 1}\nb: {replicas: 1}", "a: {replicas: 2}\nb: {replicas: 2}", 2),
        ("images: []", "images: [{name: web, newTag: x}]", 1),
        ("", "spec: {containers: [{name: a}, {name: b}]}", 2),
        ("a: 1", "a: 1 # the same", 0),
    ],
)  # fmt: skip
def test_how_many_containers_or_maps_differ(old, new, count):
    assert containers_changed(old.encode(), new.encode()) == count


# --- anything -------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "app", "FLAG", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "value", "env", "spec", "template", "containers", "metadata"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
_EDITS = st.sampled_from(
    [
        FLAG,
        Edit(remove_env=RemoveEnv(name="FLAG")),
        Edit(set_image=SetImage(image="x")),
        Edit(set_resources=SetResources(limits={"cpu": "1"})),
        Edit(set_probe=SetProbe(probe="startup", to={"exec": {"command": ["x"]}})),
        Edit(set_label=KeyValue(name="x", value="y", pods=True)),
        Edit(remove_annotation=Key(name="x", pods=True)),
        Edit(set_replicas=SetReplicas(replicas=2)),
        Edit(set=SetPath(path="spec.template.spec.containers[app].name", value="x")),
        Edit(add_item=AddItem(path="spec.env", key="name", item={"name": "x"})),
    ]
)


@settings(max_examples=150)
@given(_EDITS, _JSON, st.sampled_from(["Deployment", "CronJob", "Pod", "Service"]))
def test_any_object_is_edited_or_refused(edit, spec, kind):
    manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    with suppress(ChangeRefused):
        wanted = operations(edit, manifest)
        assert wanted.already or wanted.operations
