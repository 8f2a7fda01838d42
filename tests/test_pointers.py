"""Pointers that name list items, and what a change is in terms of them."""

import copy
from contextlib import suppress
from typing import Any

import jsonpatch
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonpointer import resolve_pointer

from smoldebug.errors import ChangeRefused, Conflict, UsageError
from smoldebug.fieldvalues import MAPS, same
from smoldebug.pointers import child, diff, dotted, item, lookup, merged, operations, resolve
from smoldebug.records import Change, ChangeKind, ObjectRef

AUTH = ObjectRef("Deployment", "shop", "auth")
POD = "/spec/template/spec"
APP = f"{POD}/containers/[name=app]"


def change(before: dict[str, Any], after: dict[str, Any], uid: str = "u1") -> Change:
    return Change(ChangeKind.PATCH_OBJECT, AUTH, before, after, "why", uid=uid)


def deployment(**env: str) -> dict[str, Any]:
    containers = [
        {"name": "proxy", "image": "proxy:1"},
        {
            "name": "app",
            "image": "app:1",
            "env": [{"name": name, "value": value} for name, value in env.items()],
            "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/var/a,b"}],
        },
    ]
    return {
        "metadata": {"name": "auth", "uid": "u1", "resourceVersion": "7"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": containers}}},
    }


def patched(live: Any, edit: Change, on: Any = None) -> Any:
    """The patch made for `live`, applied to it or to another state of it."""
    return jsonpatch.apply_patch(copy.deepcopy(live if on is None else on), operations(edit, live))


# --- the syntax ------------------------------------------------------------------------------


def test_a_pointer_finds_its_value_or_nothing():
    document = {"a": [{"b/c": 1, "~": 2}], "": {"": 3}, "n": None}
    assert lookup(document, "") is document
    assert lookup(document, "/a/0/b~1c") == 1
    assert lookup(document, "/a/0/~0") == 2
    assert lookup(document, "//") == 3
    for absent in ("/a/1", "/a/-", "/a/-1", "/a/²", "/x", "/a/0/b~1c/d", "/n", "/a/[b=1]"):
        assert lookup(document, absent) is None


def test_an_item_is_found_by_what_identifies_it():
    live = deployment(PATH="/bin")
    assert lookup(live, f"{APP}/image") == "app:1"
    assert lookup(live, f"{APP}/env/[name=PATH]/value") == "/bin"
    assert lookup(live, f"{APP}/ports/[containerPort=53,protocol=TCP]") == {"containerPort": 53}
    assert lookup(live, item(f"{APP}/volumeMounts", mountPath="/var/a,b"))["name"] == "tmp"
    assert lookup(live, f"{APP}/env/[name=HOME]") is None


def test_selectors_are_escaped_and_in_one_order():
    assert item("/spec/taints", key="a/b,~", effect="NoSchedule") == (
        "/spec/taints/[effect=NoSchedule,key=a~1b~2~0]"
    )
    assert child("/metadata/labels", "a/b~") == "/metadata/labels/a~1b~0"


def test_a_segment_is_a_selector_only_where_there_is_a_list():
    document = {"[name=a]": 1, "l": [{"name": "a"}]}
    assert lookup(document, "/[name=a]") == 1
    assert resolve(document, "/[name=a]") == "/[name=a]"
    assert resolve(document, "/l/[name=a]/x") == "/l/0/x"


def test_resolving_gives_a_plain_pointer_and_refuses_what_is_not_one_place():
    live = deployment(A="1")
    assert resolve(live, f"{APP}/env/[name=A]/value") == f"{POD}/containers/1/env/0/value"
    assert resolve(live, f"{APP}/env/[name=B]") == f"{POD}/containers/1/env/-"
    with pytest.raises(ChangeRefused, match="no such item"):
        resolve(live, f"{APP}/env/[name=B]/value")
    live["spec"]["template"]["spec"]["containers"][1]["env"] *= 2
    with pytest.raises(ChangeRefused, match=r"several items.*containers\[app\].env\[A\]"):
        resolve(live, f"{APP}/env/[name=A]/value")


def test_people_read_dots():
    assert dotted(f"{APP}/env/[name=A]/value") == (
        "spec.template.spec.containers[app].env[A].value"
    )
    assert dotted("/metadata/labels/a~1b") == "metadata.labels.a/b"
    assert dotted("") == "object"


# --- the difference --------------------------------------------------------------------------


def test_a_difference_has_the_finest_pointers():
    live = deployment(A="1", B="2")
    wanted = deployment(A="1", B="3", C="4")
    wanted["metadata"]["annotations"] = {"a/b": "x"}
    wanted["spec"]["replicas"] = 2
    assert diff(live, wanted) == (
        {"/spec/replicas": 1, f"{APP}/env/[name=B]/value": "2"},
        {
            "/spec/replicas": 2,
            f"{APP}/env/[name=B]/value": "3",
            f"{APP}/env/[name=C]": {"name": "C", "value": "4"},
            "/metadata/annotations/a~1b": "x",
        },
    )


def test_what_is_no_list_of_known_items_is_one_value():
    assert diff({"args": ["a", "b"]}, {"args": ["a"]}) == (
        {"/args": ["a", "b"]},
        {"/args": ["a"]},
    )
    twice = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    assert diff({"env": twice}, {"env": twice[:1]})[0] == {"/env": twice}


def test_where_order_matters_a_list_in_another_order_is_another_value():
    one, two = {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}
    assert diff({"env": [one, two]}, {"env": [two]}) == ({"/env": [one, two]}, {"/env": [two]})
    assert diff({"env": [one, two]}, {"env": [one]}) == ({"/env/[name=B]": two}, {})
    assert diff({"volumes": [one, two]}, {"volumes": [two]}) == ({"/volumes/[name=A]": one}, {})


def test_a_port_without_a_protocol_is_a_tcp_port():
    live = {"ports": [{"port": 80, "targetPort": 8080}]}
    wanted = {"ports": [{"port": 80, "targetPort": 8081, "protocol": "TCP"}]}
    assert diff(live, wanted)[1] == {
        "/ports/[port=80,protocol=TCP]/targetPort": 8081,
        "/ports/[port=80,protocol=TCP]/protocol": "TCP",
    }


# --- merging ---------------------------------------------------------------------------------


def test_a_merge_patch_replaces_lists_and_removes_with_null():
    live = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merged(live, {"a": {"b": None, "c": [3]}, "e": {"f": None, "g": 1}}) == {
        "a": {"c": [3]},
        "d": 1,
        "e": {"g": 1},
    }
    assert live == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_a_strategic_merge_merges_items_of_known_lists():
    live = deployment(A="1")["spec"]["template"]["spec"]
    patch = {"name": "app", "env": [{"name": "B", "value": "2"}, {"name": "A", "$patch": "delete"}]}
    [proxy, app] = merged(live, {"containers": [patch]}, strategic=True)["containers"]
    assert (proxy["image"], app["image"], app["env"]) == (
        "proxy:1",
        "app:1",
        [{"name": "B", "value": "2"}],
    )
    assert len(app["ports"]) == 2
    [only] = merged(live, {"containers": [{"$patch": "replace"}, {"name": "x"}]}, strategic=True)[
        "containers"
    ]
    assert only == {"name": "x"}
    assert merged(
        {"a": {"b": 1, "c": 2}}, {"a": {"$patch": "replace", "c": 3}}, strategic=True
    ) == {"a": {"c": 3}}
    assert merged({"args": ["a"]}, {"args": ["b"]}, strategic=True) == {"args": ["b"]}


@pytest.mark.parametrize(
    "patch",
    [{"$retainKeys": ["a"]}, {"$patch": "vanish"}, {"args": [{"x": 1, "$patch": "delete"}]}],
)
def test_a_directive_that_is_not_understood_is_refused(patch: dict[str, Any]):
    with pytest.raises(UsageError):
        merged({"args": []}, patch, strategic=True)


# --- the patch -------------------------------------------------------------------------------


def test_tests_come_first_and_include_the_identity_behind_every_index():
    live = deployment(A="1")
    pointer = f"{APP}/env/[name=A]/value"
    assert operations(change({pointer: "1"}, {pointer: "2"}), live) == [
        {"op": "test", "path": "/metadata/uid", "value": "u1"},
        {"op": "test", "path": f"{POD}/containers/1/name", "value": "app"},
        {"op": "test", "path": f"{POD}/containers/1/env/0/name", "value": "A"},
        {"op": "test", "path": f"{POD}/containers/1/env/0/value", "value": "1"},
        {"op": "replace", "path": f"{POD}/containers/1/env/0/value", "value": "2"},
    ]


def test_what_is_added_must_still_be_absent_which_only_the_version_says():
    live = deployment()
    done = operations(change({}, {"/metadata/annotations/a": "x", f"{APP}/env/[name=A]": 1}), live)
    assert {"op": "test", "path": "/metadata/resourceVersion", "value": "7"} in done
    assert done[-3:] == [
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/a", "value": "x"},
        {"op": "add", "path": f"{POD}/containers/1/env/-", "value": 1},
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"/spec/replicas": 2}, {"/spec/replicas": 3}),
        ({f"{APP}/env/[name=Z]/value": "1"}, {}),
        ({}, {f"{APP}/image": "app:2"}),
    ],
)
def test_a_change_that_the_object_has_left_behind_is_a_conflict(before, after):
    with pytest.raises(Conflict, match="has changed since it was read: spec"):
        operations(change(before, after), deployment(A="2"))


@pytest.mark.parametrize("pointer", [f"{APP}/env/[name=B]/value", "/metadata/name/x"])
def test_what_has_no_place_is_refused(pointer: str):
    with pytest.raises(ChangeRefused):
        operations(change({}, {pointer: "1"}), deployment(A="1"))


def test_removing_several_items_of_a_list_removes_those():
    live = {"l": list("abcdefghijkl")}
    gone = change({"/l/2": "c", "/l/3": "d", "/l/10": "k"}, {}, uid="")
    assert patched(live, gone) == {"l": list("abefghijl")}


def test_the_server_may_spell_a_value_its_own_way():
    live = {"limits": {"cpu": "500m"}, "probe": {"path": "/", "periodSeconds": 10}}
    pointers = {"/limits/cpu": "0.5", "/probe": {"path": "/"}}
    undone = patched(live, change(pointers, {"/limits/cpu": "1"}, uid=""))
    assert undone == {"limits": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("pointer", "one", "other", "equal"),
    [
        ("/resources/limits/cpu", "1", "1000m", True),
        ("/resources/limits", {"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ("/resources", {"limits": {"cpu": 1}}, {"limits": {"cpu": "1"}}, True),
        ("/resources/limits/cpu", "1", "1001m", False),
        ("/resources/limits/cpu", "1", None, False),
        ("/metadata/annotations/a", "1", "1000m", False),
        ("/spec/paused", False, None, True),
        ("/spec/paused", True, None, False),
        ("/spec/replicas", 1, True, False),
        ("/spec/replicas", 0, None, False),
        ("/spec/ports", [{"port": 80}], [{"port": 80, "protocol": "TCP"}], True),
        ("/spec/ports", [{"port": 80}], [{"port": 80, "protocol": "UDP"}], False),
        ("/spec/template", {"a": 1}, {"a": 1, "nodeSelector": {}}, True),
        ("/spec/template", {"a": 1}, {"a": 1, "nodeSelector": {"type": ""}}, False),
        ("/metadata/labels/type", "ClusterIP", None, False),
        ("/data/value", "", None, False),
        ("/from", [{"namespaceSelector": {}}], [{}], False),
        ("/livenessProbe", {"httpGet": {"port": 1}}, None, False),
        ("/env/[name=A]", {"name": "A", "value": ""}, {"name": "A"}, True),
    ],
)
def test_values_that_mean_the_same_are_the_same(pointer: str, one: Any, other: Any, equal: bool):
    assert same(pointer, one, other) is equal
    assert same(pointer, other, one) is equal


# --- any document, any edit --------------------------------------------------------------------

keys = st.sampled_from(["a", "b/c", "~", "0", "[name=A]", "labels", "metadata"])
leaves = st.one_of(st.integers(2, 5), st.text(min_size=1, max_size=3))
names = st.sampled_from(["A", "B", "C", "a,b", "x/y", "~2", "k=v", "[name=A]"])


def items(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    one = st.builds(lambda name, more: {"name": name, **more}, names, st.dictionaries(keys, inner))
    return st.lists(one, max_size=4, unique_by=lambda each: each["name"])


values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=4),
        st.fixed_dictionaries({}, optional={"env": items(inner), "volumes": items(inner)}),
    ),
    max_leaves=12,
)
documents = st.dictionaries(keys | st.sampled_from(["x", "y"]), values, max_size=5)


@st.composite
def edited(draw: st.DrawFn) -> tuple[Any, Any]:
    """A document, and what somebody made of it."""
    live = draw(documents)
    wanted = copy.deepcopy(live)
    for _ in range(draw(st.integers(1, 4))):
        node: Any = wanted
        while isinstance(node, dict | list) and node and draw(st.booleans()):
            node = node[
                draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
            ]
        if isinstance(node, dict):
            key = draw(keys | st.sampled_from([*node, "env", "volumes"]))
            node[key] = draw(items(values) if key in ("env", "volumes") else values)
            if draw(st.booleans()):
                del node[key]
        elif isinstance(node, list) and node and draw(st.booleans()):
            del node[draw(st.integers(0, len(node) - 1))]
    return live, wanted


def settled(value: Any, name: str = "") -> Any:
    """Without what the server would not keep: empty maps and lists of items, their order."""
    if isinstance(value, dict):
        inside = {key: settled(each, key) for key, each in value.items()}
        return {
            key: each
            for key, each in inside.items()
            if each or key not in (*MAPS, "env", "volumes")
        }
    if isinstance(value, list):
        inside = [settled(each) for each in value]
        return sorted(inside, key=lambda each: str(each)) if name == "volumes" else inside
    return value


def made(live: Any, wanted: Any) -> Change:
    before, after = diff(live, wanted)
    return change(before, after, uid="")


def meaning(edit: Change, live: Any) -> Change:
    """Leaves out edits to what means the same to a server: those it does not tell apart."""
    everything = dict.fromkeys((*edit.before, *edit.after))
    assume(not any(same(p, edit.before.get(p), edit.after.get(p)) for p in everything))
    return edit


@given(edited())
def test_the_operations_of_a_difference_make_what_was_wanted(pair: tuple[Any, Any]):
    live, wanted = pair
    assert settled(patched(live, made(live, wanted))) == settled(wanted)


@given(edited())
def test_the_inverse_takes_an_edit_back(pair: tuple[Any, Any]):
    live, wanted = pair
    edit = made(live, wanted)
    changed = patched(live, edit)
    assert settled(patched(changed, edit.inverse())) == settled(live)


@given(edited(), st.integers(2, 9))
def test_what_others_changed_elsewhere_stays_when_an_edit_is_taken_back(pair, number: int):
    live, wanted = pair
    for document in (live, wanted):
        document["spec"] = {"env": [{"name": "MINE", "value": "1"}, {"name": "THEIRS"}]}
    wanted["spec"]["env"][0]["value"] = "2"
    edit = made(live, wanted)
    changed = patched(live, edit)
    changed["spec"]["env"].insert(0, {"name": "NEW"})
    changed["spec"]["env"][2]["value"] = number
    changed["other"] = number
    expected = copy.deepcopy(live) | {"other": number}
    expected["spec"]["env"] = [
        {"name": "NEW"},
        {"name": "MINE", "value": "1"},
        {"name": "THEIRS", "value": number},
    ]
    assert settled(patched(changed, edit.inverse())) == settled(expected)


@settings(max_examples=50)
@given(edited())
def test_the_patch_does_not_fit_when_a_field_it_changes_was_touched(pair: tuple[Any, Any]):
    live, wanted = pair
    live["metadata"], wanted["metadata"] = {"resourceVersion": "1"}, {"resourceVersion": "1"}
    edit = meaning(made(live, wanted), live)
    for pointer in edit.before:
        touched = copy.deepcopy(live)
        where = resolve(touched, pointer)
        parent = resolve_pointer(touched, where.rpartition("/")[0])
        last = where.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        parent[int(last) if isinstance(parent, list) else last] = "somebody else's"
        with pytest.raises(jsonpatch.JsonPatchTestFailed):
            patched(live, edit, on=touched)
    if set(edit.after) - set(edit.before):
        moved = {**copy.deepcopy(live), "metadata": {"resourceVersion": "2"}}
        with pytest.raises(jsonpatch.JsonPatchTestFailed):
            patched(live, edit, on=moved)


@given(values, values)
def test_no_pointer_or_document_is_too_strange(one: Any, other: Any):
    before, after = diff(one, other)
    for pointer in {**before, **after}:
        assert dotted(pointer)
        assert lookup(one, pointer) == before.get(pointer)
        with suppress(ChangeRefused):
            resolve(other, pointer)
