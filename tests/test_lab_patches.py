"""Patches, server-side apply, and who owns which field."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.lab import ownership, protobuf
from smoldebug.lab.apierror import ApiError
from smoldebug.lab.apply import apply
from smoldebug.lab.ownership import as_manager
from smoldebug.lab.patches import json_patch, merge, strategic
from smoldebug.lab.store import clone

KEYS = st.sampled_from("abc")
SCALARS = st.booleans() | st.integers(0, 9) | st.text("xyz", max_size=2)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner), max_leaves=6
)
DOCUMENTS = st.dictionaries(KEYS, VALUES)
PATCHES = st.recursive(
    SCALARS | st.none() | st.lists(SCALARS, max_size=2),
    lambda inner: st.dictionaries(KEYS, inner),
    max_leaves=6,
)


def refusal(call: Any, *args: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*args, **options)
    return caught.value


# -- merge patch


def difference(old: Any, new: Any) -> Any:
    """The merge patch from one document to another."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    gone: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    return gone | {k: difference(old.get(k), v) for k, v in new.items() if old.get(k) != v}


def has_null(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else ()
    return value is None or any(map(has_null, inside))


@given(DOCUMENTS, DOCUMENTS)
def test_a_merge_patch_leads_from_any_document_to_any_other(
    old: dict[str, Any], new: dict[str, Any]
):
    before = clone(old)
    assert merge(old, difference(old, new)) == new
    assert old == before


@given(DOCUMENTS, PATCHES)
def test_a_merge_patch_applied_twice_is_applied_once(document: dict[str, Any], patch: Any):
    once = merge(document, patch)
    assert merge(once, patch) == once


@given(PATCHES.filter(lambda patch: isinstance(patch, dict)))
def test_a_null_in_a_merge_patch_is_never_stored(patch: dict[str, Any]):
    assert not has_null(merge({}, patch))


# -- strategic merge


def pod(*env: str, **more: Any) -> dict[str, Any]:
    variables = [{"name": name, "value": "old"} for name in env]
    return {"spec": {"containers": [{"name": "web", "image": "web:1", "env": variables}], **more}}


def env_patch(*names: str, order: list[str] | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "web",
        "env": [{"name": name, "value": "new"} for name in names],
    }
    if order:
        container["$setElementOrder/env"] = [{"name": name} for name in order]
    return {"spec": {"containers": [container]}}


def env_of(obj: dict[str, Any]) -> list[str]:
    return [item["name"] for item in obj["spec"]["containers"][0]["env"]]


def test_elements_are_merged_by_their_key_and_the_rest_stays():
    merged = strategic(pod("A", "B"), env_patch("B"))
    (web,) = merged["spec"]["containers"]
    assert web["image"] == "web:1"
    assert web["env"] == [{"name": "A", "value": "old"}, {"name": "B", "value": "new"}]


def test_new_elements_come_first():
    assert env_of(strategic(pod("A", "B"), env_patch("C"))) == ["C", "A", "B"]
    assert env_of(strategic(pod("A", "B"), env_patch("C", "B"))) == ["C", "A", "B"]


def test_a_wanted_order_is_kept():
    patch = env_patch("C", order=["B", "A", "C"])
    assert env_of(strategic(pod("A", "B"), patch)) == ["B", "A", "C"]


def test_what_only_the_server_has_keeps_its_place_in_a_wanted_order():
    patch = env_patch("C", order=["A", "B", "C"])
    assert env_of(strategic(pod("A", "X", "B"), patch)) == ["A", "X", "B", "C"]


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"$patch": "delete", "name": "A"}, ["B"]),
        ({"$patch": "replace"}, []),
        ({"$patch": "delete", "name": "unknown"}, ["A", "B"]),
    ],
)
def test_directives_in_a_list(patch: dict[str, Any], expected: list[str]):
    container = {"name": "web", "env": [patch]}
    assert env_of(strategic(pod("A", "B"), {"spec": {"containers": [container]}})) == expected


def test_directives_in_a_map():
    spec = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    retain = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert strategic(spec, retain) == {"strategy": {"type": "Recreate"}}
    replace = {"strategy": {"$patch": "replace", "type": "Recreate"}}
    assert strategic(spec, replace) == {"strategy": {"type": "Recreate"}}
    assert strategic(spec, {"strategy": {"$patch": "delete"}}) == {"strategy": {}}
    assert strategic(spec, {"strategy": None}) == {}
    assert refusal(strategic, spec, {"$patch": "explode"}).code == 400


def test_lists_used_as_sets_grow_and_shrink():
    meta = {"finalizers": ["a", "b"]}
    assert sorted(strategic(meta, {"finalizers": ["c"]})["finalizers"]) == ["a", "b", "c"]
    gone = {"$deleteFromPrimitiveList/finalizers": ["a"]}
    assert strategic(meta, gone) == {"finalizers": ["b"]}


def test_lists_without_a_key_are_replaced():
    assert strategic({"command": ["a", "b"]}, {"command": ["c"]}) == {"command": ["c"]}
    tolerations = {"tolerations": [{"key": "a"}]}
    assert strategic(tolerations, {"tolerations": [{"key": "b"}]}) == {
        "tolerations": [{"key": "b"}]
    }


def test_an_element_without_its_key_is_an_error():
    patch = {"spec": {"containers": [{"image": "web:2"}]}}
    assert "merge key: name" in refusal(strategic, pod("A"), patch).message


NAMES = st.lists(st.sampled_from("ABCDEF"), unique=True)


@given(NAMES, NAMES)
def test_a_strategic_patch_adds_and_updates_but_loses_nothing(old: list[str], new: list[str]):
    result = env_of(strategic(pod(*old), env_patch(*new)))
    assert sorted(result) == sorted({*old, *new})
    assert [name for name in result if name in old] == [name for name in result if name in set(old)]
    server_only = [name for name in old if name not in new]
    assert [name for name in result if name in server_only] == server_only


@given(NAMES)
def test_an_object_patched_with_itself_is_unchanged(names: list[str]):
    obj = pod(*names, restartPolicy="Always", volumes=[{"name": "tmp", "emptyDir": {}}])
    assert strategic(obj, clone(obj)) == obj


@given(DOCUMENTS)
def test_without_lists_and_directives_strategic_merge_is_merge_patch(document: dict[str, Any]):
    patch = {"a": {"b": 1, "c": None}}
    assert strategic(document, patch) == merge(document, patch)


# -- JSON patch


def test_a_json_patch_changes_a_copy():
    obj = {"spec": {"replicas": 1, "args": ["a"]}}
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 2},
        {"op": "add", "path": "/spec/args/-", "value": "b"},
    ]
    assert json_patch(obj, operations) == {"spec": {"replicas": 2, "args": ["a", "b"]}}
    assert obj == {"spec": {"replicas": 1, "args": ["a"]}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/spec/replicas", "value": 9},
        {"op": "test", "path": "/spec/gone", "value": 9},
        {"op": "replace", "path": "/spec/gone", "value": 9},
        {"op": "remove", "path": "/gone/deeper"},
        {"op": "add", "path": "/spec/args/7", "value": 1},
        {"op": "add", "path": "/spec/args/x", "value": 1},
        {"op": "add", "path": "/spec/replicas/x", "value": 1},
        {"op": "move", "from": "/gone", "path": "/spec/a"},
    ],
)
def test_a_json_patch_that_does_not_apply_is_unprocessable(operation: dict[str, Any]):
    error = refusal(json_patch, {"spec": {"replicas": 1, "args": ["a"]}}, [operation])
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.details == {}  # a real server does not say which operation it was


@pytest.mark.parametrize(
    "operations", [[{"op": "explode", "path": "/a"}], [{"path": "/a"}], ["x"], [7], [{"op": "add"}]]
)
def test_what_is_no_json_patch_is_a_bad_request(operations: Any):
    assert refusal(json_patch, {}, operations).code == 400


@given(
    DOCUMENTS,
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "test", "move", "copy"]),
                "path": st.text("/abc01-~", max_size=6),
                "from": st.text("/abc01", max_size=4),
                "value": VALUES,
            }
        ),
        max_size=4,
    ),
)
def test_any_json_patch_applies_or_is_refused(
    document: dict[str, Any], operations: list[dict[str, Any]]
):
    before = clone(document)
    try:
        code = 200 if isinstance(json_patch(document, operations), dict) else 500
    except ApiError as error:
        code = error.code
    assert code in (200, 400, 422)
    assert document == before


# -- who owns what


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def fields_of(obj: dict[str, Any], manager: str) -> list[str]:
    """The last steps of the fields a manager owns."""
    return sorted(
        path[-1]
        for entry in ownership.owners(obj)
        if entry["manager"] == manager
        for path in ownership.owned(entry)
    )


def changed(obj: dict[str, Any], manager: str, **data: str | None) -> dict[str, Any]:
    def change(old: dict[str, Any]) -> dict[str, Any]:
        return merge(old, {"data": data})

    return as_manager(manager, "2026-01-01T00:00:00Z", change)(clone(obj))


def applied(live: Any, manager: str, force: bool = False, **data: str) -> dict[str, Any]:
    return apply(live, config(**data), manager, "2026-01-01T00:00:00Z", force=force)


def test_a_change_is_recorded_for_who_made_it_and_taken_from_who_had_it():
    obj = changed(config(), "first", x="1", y="1")
    obj = changed(obj, "second", x="2")
    assert fields_of(obj, "first") == ["f:y"]
    assert fields_of(obj, "second") == ["f:x"]
    obj = changed(obj, "third", y=None)
    assert fields_of(obj, "first") == []
    assert [entry["manager"] for entry in ownership.owners(obj)] == ["second"]


def test_a_change_that_changes_nothing_is_nobodys():
    obj = changed(config(), "first", x="1")
    assert changed(obj, "second", x="1") == obj


def test_an_entry_says_who_how_and_when():
    (entry,) = changed(config(), "kubectl-edit", x="1")["metadata"]["managedFields"]
    assert entry == {
        "manager": "kubectl-edit",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:x": {}}},
    }


def test_list_elements_are_owned_by_their_keys():
    obj = {"metadata": {"labels": {"a": "b"}, "uid": "x"}, **pod("A")}
    obj["spec"]["containers"][0]["ports"] = [{"containerPort": 80}]
    assert ownership.to_tree(ownership.leaves(obj)) == {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"web"}': {
                    ".": {},
                    "f:name": {},
                    "f:image": {},
                    "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
                    "f:ports": {
                        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                    },
                }
            }
        },
    }


_STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])


@given(st.frozensets(st.lists(_STEPS, min_size=1, max_size=4).map(tuple)))
def test_a_set_of_fields_survives_its_document(fields: frozenset[tuple[str, ...]]):
    assert frozenset(ownership.from_tree(ownership.to_tree(fields))) == fields


# -- server-side apply


def test_applying_again_removes_what_is_no_longer_named():
    live = applied(None, "m1", a="1", b="1")
    live = applied(live, "m1", a="1")
    assert live["data"] == {"a": "1"}
    assert fields_of(live, "m1") == ["f:a"]


def test_what_another_owns_too_stays():
    live = applied(None, "m1", a="1", b="1")
    live = applied(live, "m2", b="1")
    assert applied(live, "m1", a="1")["data"] == {"a": "1", "b": "1"}


def test_another_value_for_anothers_field_is_a_conflict():
    live = applied(None, "m1", a="1", b="1")
    error = refusal(applied, live, "m2", a="2", b="1")
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == 'Apply failed with 1 conflict: conflict with "m1": .data.a'
    assert error.details["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": ".data.a"}
    ]


def test_a_conflict_with_a_plain_change_names_its_version_of_the_api():
    live = changed(applied(None, "m1", a="1"), "kubectl-edit", a="2")
    assert (
        'conflict with "kubectl-edit" using v1: .data.a'
        in refusal(applied, live, "m1", a="1").message
    )


def test_force_takes_the_field_over():
    live = applied(None, "m1", a="1", b="1")
    live = applied(live, "m2", force=True, a="2")
    assert live["data"] == {"a": "2", "b": "1"}
    assert (fields_of(live, "m1"), fields_of(live, "m2")) == (["f:b"], ["f:a"])
    assert refusal(applied, live, "m1", a="1").code == 409


def test_an_element_that_is_no_longer_named_goes_with_its_defaults():
    def deployment(*env: str) -> dict[str, Any]:
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, **pod(*env)}

    live = apply(None, deployment("A", "B"), "m1", "t")
    live["spec"]["containers"][0]["env"][0]["defaulted"] = True
    live = apply(live, deployment("B", "C"), "m1", "t")
    assert env_of(live) == ["B", "C"]


def test_a_conflict_inside_a_list_names_the_element():
    first = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, **pod("A")}
    second = clone(first)
    second["spec"]["containers"][0]["image"] = "web:2"
    error = refusal(apply, apply(None, first, "m1", "t"), second, "m2", "t")
    assert error.details["causes"][0]["field"] == '.spec.containers[name="web"].image'


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "ConfigMap"},
        {"apiVersion": "v1"},
        {**config(), "metadata": {"managedFields": [{"manager": "me"}]}},
    ],
)
def test_what_cannot_be_applied(body: dict[str, Any]):
    assert refusal(apply, None, body, "m1", "t").code == 400


DATA = st.dictionaries(KEYS, st.sampled_from("12"))


@given(st.lists(st.tuples(st.sampled_from(["m1", "m2"]), DATA), min_size=1, max_size=6))
def test_after_a_forced_apply_the_manager_has_what_it_asked_for(
    steps: list[tuple[str, dict[str, str]]],
):
    live: Any = None
    for manager, data in steps:
        live = applied(live, manager, force=True, **data)
        assert data.items() <= live.get("data", {}).items()
        again = applied(live, manager, **data)
        assert again == live
    owned = {step for m in ("m1", "m2") for step in fields_of(live, m)} - {"f:data"}
    assert owned == {f"f:{key}" for key in live.get("data") or ()}


# -- protobuf bodies


def message(*fields: tuple[int, bytes]) -> bytes:
    """A protobuf message of length-delimited fields shorter than 128 bytes."""
    return b"".join(bytes([number << 3 | 2, len(value)]) + value for number, value in fields)


def body(kind: bytes, *fields: tuple[int, bytes]) -> bytes:
    envelope = message((1, message((1, b"v1"), (2, kind))), (2, message(*fields)))
    return protobuf.MAGIC + envelope


def test_a_secret_in_protobuf():
    meta = message((1, b"db"), (11, message((1, b"app"), (2, b"web"))))
    data = message((1, b"password"), (2, b"s3cret\xff"))
    assert protobuf.decode(body(b"Secret", (1, meta), (2, data), (3, b"Opaque"))) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "labels": {"app": "web"}},
        "data": {"password": base64.b64encode(b"s3cret\xff").decode()},
        "type": "Opaque",
    }


def test_delete_options_in_protobuf():
    options = body(b"DeleteOptions", (2, message((1, b"some-uid"))), (4, b"Background"))
    decoded = protobuf.decode(options)
    assert decoded["preconditions"] == {"uid": "some-uid"}
    assert decoded["propagationPolicy"] == "Background"


@given(st.binary(max_size=40))
def test_what_is_no_protobuf_is_a_value_or_lookup_error(content: bytes):
    for data in (content, body(b"Secret")[4:] + content, body(b"Secret", (1, content))[4:]):
        try:
            protobuf.decode(protobuf.MAGIC + data)
        except (ValueError, LookupError):
            continue
