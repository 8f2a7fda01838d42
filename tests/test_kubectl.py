"""A change in other words: the patch that is sent, the diff that is shown, the command."""

import copy
import json
import shlex
from dataclasses import replace
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldebug.kubectl import field_diff, kubectl_command, lookup, operations, summary
from smoldebug.records import Change, ChangeKind, ObjectRef

AUTH = ObjectRef("Deployment", "shop", "auth")


def change(before: dict[str, Any], after: dict[str, Any], **fields: Any) -> Change:
    return Change(fields.pop("kind", ChangeKind.PATCH_OBJECT), AUTH, before, after, "why", **fields)


# --- the patch ---------------------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "c/d", "~", "0", "10", "replicas"])
leaves = st.one_of(st.booleans(), st.integers(-3, 3), st.text(max_size=3))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=12), st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)
documents = st.dictionaries(keys, values, max_size=5)


def escaped(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


class Editor:
    """Draws edits of a document, field by field, none of them inside another."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}

    def edit(self, node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                self.touch(value, f"{path}/{escaped(key)}", ["keep", "keep", "set", "drop"])
            for key in set(self.draw(st.lists(keys, max_size=2))) - node.keys():
                self.after[f"{path}/{escaped(key)}"] = self.draw(values)
        elif isinstance(node, list):
            self.edit_list(node, path)

    def edit_list(self, node: list[Any], path: str) -> None:
        """Items are replaced, or some removed, or some added: each moves the ones after it."""
        way = self.draw(st.sampled_from(["set", "drop", "add"]))
        if way == "add":
            for place in self.draw(st.sets(st.integers(0, len(node)))):
                self.after[f"{path}/{place}"] = self.draw(values)
            return
        for place, value in enumerate(node):
            self.touch(value, f"{path}/{place}", [way, "keep" if way == "set" else "leave"])

    def touch(self, value: Any, path: str, ways: list[str]) -> None:
        how = self.draw(st.sampled_from(ways))
        if how in ("set", "drop"):
            self.before[path] = value
        if how == "set":
            self.after[path] = self.draw(values)
        if how == "keep":
            self.edit(value, path)


@st.composite
def edits(draw: st.DrawFn) -> tuple[dict[str, Any], Change]:
    """An object, and a change of some of its fields."""
    document, editor = draw(documents), Editor(draw)
    editor.edit(document, "")
    return document, change(editor.before, editor.after)


@given(edits())
def test_the_inverse_takes_an_edit_back(given_edit: tuple[dict[str, Any], Change]):
    document, edit = given_edit
    changed = jsonpatch.apply_patch(document, operations(edit))
    assert jsonpatch.apply_patch(changed, operations(edit.inverse())) == document


@settings(max_examples=50)
@given(edits())
def test_the_patch_does_not_fit_when_a_field_it_changes_was_touched(
    given_edit: tuple[dict[str, Any], Change],
):
    document, edit = given_edit
    for path in edit.before:
        moved = copy.deepcopy(document)
        patch = [{"op": "replace", "path": path, "value": "somebody else's"}]
        with pytest.raises(jsonpatch.JsonPatchTestFailed):
            jsonpatch.apply_patch(jsonpatch.apply_patch(moved, patch), operations(edit))


def test_tests_come_first_the_uid_before_all():
    done = operations(change({"/b": 1, "/a": 2}, {"/b": 3, "/c": 4}, uid="u1"))
    assert done == [
        {"op": "test", "path": "/metadata/uid", "value": "u1"},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/b", "value": 1},
        {"op": "replace", "path": "/b", "value": 3},
        {"op": "remove", "path": "/a"},
        {"op": "add", "path": "/c", "value": 4},
    ]


def test_removing_several_items_of_a_list_removes_those():
    items = list("abcdefghijkl")
    done = operations(change({"/l/2": "c", "/l/3": "d", "/l/10": "k"}, {}))
    assert jsonpatch.apply_patch({"l": items}, done) == {"l": list("abefghijl")}


# --- pointers ----------------------------------------------------------------------------------


def test_a_pointer_finds_its_value_or_nothing():
    document = {"a": [{"b/c": 1, "~": 2}], "": {"": 3}, "n": None}
    assert lookup(document, "") is document
    assert lookup(document, "/a/0/b~1c") == 1
    assert lookup(document, "/a/0/~0") == 2
    assert lookup(document, "//") == 3
    for absent in ("/a/1", "/a/-", "/a/-1", "/a/²", "/x", "/a/0/b~1c/d", "/n"):
        assert lookup(document, absent) is None


# --- for people ----------------------------------------------------------------------------------


def test_the_diff_names_every_field_by_its_whole_path():
    image = "/spec/template/spec/containers/{}/image"
    diff = field_diff(
        change({image.format(0): "auth:1"}, {image.format(0): "auth:2", image.format(1): "x"})
    )
    assert diff.splitlines() == [
        "-/spec/template/spec/containers/0/image: auth:1",
        "+/spec/template/spec/containers/0/image: auth:2",
        "+/spec/template/spec/containers/1/image: x",
    ]


def test_a_long_value_shows_what_differs_with_its_surroundings():
    env = [{"name": f"V{number}", "value": "old"} for number in range(9)]
    new = [*env[:4], {"name": "V4", "value": "new"}, *env[5:]]
    diff = field_diff(change({"/env": env}, {"/env": new})).splitlines()
    assert [line for line in diff if line[0] in "+-"] == ["-  value: old", "+  value: new"]
    assert " - name: V4" in diff
    assert len(diff) == 6


def test_types_show_in_the_diff():
    diff = field_diff(change({"/a": "1"}, {"/a": 1}))
    assert diff == "-/a: '1'\n+/a: 1"


@pytest.mark.parametrize("key", ["--x", "++x", "-- x", "@@ x", "-"])
def test_no_value_can_hide_as_a_header_of_the_diff(key: str):
    for values in (
        {f"/{key}": "v"},
        {"/data": {key: "v"}},
        {"/args": [key]},
        {"/s": f"a\n{key}\n"},
    ):
        assert key in field_diff(change(values, {}))
        assert key in field_diff(change({}, values))


@given(values, values)
def test_the_diff_is_empty_only_for_the_same_value(one: Any, other: Any):
    shown = field_diff(change({"/v": one}, {"/v": other}))
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (shown == "") == same


HOSTILE = ["auth", "a b", "$(reboot)", "`x`", "'; rm -rf /; '", '"', "a\nb", "--all", "é", ""]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "kind", [ChangeKind.SCALE, ChangeKind.RESTART, ChangeKind.ROLLBACK, ChangeKind.PATCH_OBJECT]
)
def test_the_command_is_safe_to_paste(kind: ChangeKind, text: str):
    target = ObjectRef("Deployment", f"ns{text}", f"auth{text}")
    made = Change(kind, target, {"/a": 1}, {"/a": text, "/spec/replicas": text}, "why")
    words = shlex.split(kubectl_command(made, text))
    assert words[0] == "kubectl"
    assert (words[1:3] == ["--context", text]) == bool(text)
    assert f"ns{text}" in words
    assert any(word.endswith(f"auth{text}") for word in words)


def test_commands_people_know():
    two = Change(ChangeKind.SCALE, AUTH, {"/spec/replicas": 1}, {"/spec/replicas": 2}, "busy")
    assert kubectl_command(two) == "kubectl -n shop scale deployment/auth --replicas=2"
    assert kubectl_command(two, "lab", "/tmp/a b") == (
        "kubectl --kubeconfig '/tmp/a b' --context lab -n shop scale deployment/auth --replicas=2"
    )
    back = Change(ChangeKind.ROLLBACK, AUTH, {}, {}, "bad", revision=4, from_revision=7)
    assert kubectl_command(back).endswith("rollout undo deployment/auth --to-revision=4")
    assert kubectl_command(back.inverse()).endswith("--to-revision=7")
    again = Change(ChangeKind.RESTART, AUTH, {}, {"/a": "now"}, "stuck")
    assert kubectl_command(again, "eu") == (
        "kubectl --context eu -n shop rollout restart deployment/auth"
    )
    back = Change(ChangeKind.ROLLBACK, AUTH, {"/t": 1}, {"/t": 2}, "bad", revision=3)
    assert kubectl_command(back) == "kubectl -n shop rollout undo deployment/auth --to-revision=3"
    assert kubectl_command(replace(back, revision=0)) == (
        "kubectl -n shop rollout undo deployment/auth"
    )
    node = Change(ChangeKind.PATCH_OBJECT, ObjectRef("Node", "", "n1"), {"/a": 1}, {"/a": 2}, "x")
    assert shlex.split(kubectl_command(node)) == [
        "kubectl", "patch", "node", "n1", "--type=json", "-p",
        '[{"op":"replace","path":"/a","value":2}]',
    ]  # fmt: skip


def test_the_summary_is_short():
    assert summary(change({"/spec/replicas": 1}, {"/spec/replicas": 2})) == (
        "Deployment/shop/auth replicas 1→2"
    )
    assert summary(change({}, {"/x/a~1b": "v"})) == "Deployment/shop/auth a/b none→v"
    long = change({"/spec/template": {}}, {"/spec/template": {"a": 1}}, kind=ChangeKind.ROLLBACK)
    assert summary(long) == "Deployment/shop/auth rollback"
    mixed = change({"/x": {"a": 1}, "/y": 1}, {"/x": 2, "/y": 3})
    assert summary(mixed) == "Deployment/shop/auth y 1→3"
