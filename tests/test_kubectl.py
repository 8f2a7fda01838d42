"""A change in other words: the diff that is shown, the command, the summary."""

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.kubectl import KUBE_KINDS, field_diff, kubectl_command, object_diff, summary
from smoldebug.pointers import item
from smoldebug.records import Change, ChangeKind, ObjectRef
from smoldebug.redact import mask

AUTH = ObjectRef("Deployment", "shop", "auth")


def change(before: dict[str, Any], after: dict[str, Any], **fields: Any) -> Change:
    return Change(fields.pop("kind", ChangeKind.PATCH_OBJECT), AUTH, before, after, "why", **fields)


keys = st.sampled_from(["a", "b", "c/d", "~", "0", "10", "replicas"])
leaves = st.one_of(st.booleans(), st.integers(-3, 3), st.text(max_size=3))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=12), st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


# --- for people ----------------------------------------------------------------------------------


def test_the_diff_names_every_field_by_its_whole_path():
    key = "/metadata/annotations/example.com~1a"
    diff = field_diff(change({f"{APP}/image": "auth:1"}, {f"{APP}/image": "auth:2", key: "x"}))
    assert diff.splitlines() == [
        "-spec.template.spec.containers[app].image: auth:1",
        "+spec.template.spec.containers[app].image: auth:2",
        "+metadata.annotations.example.com/a: x",
    ]


def test_a_long_value_shows_what_differs_with_its_surroundings():
    env = [{"name": f"V{number}", "value": "old"} for number in range(9)]
    new = [*env[:4], {"name": "V4", "value": "new"}, *env[5:]]
    diff = field_diff(change({"/env": env}, {"/env": new})).splitlines()
    assert [line for line in diff if line[0] in "+-"] == ["-  value: old", "+  value: new"]
    assert " - name: V4" in diff
    assert diff[0] == " env:"
    assert len(diff) == 7


def test_a_file_in_a_config_map_shows_line_by_line():
    lines = [f"line {number}: {'x ' * 60}y" for number in range(40)]
    changed = [*lines]
    changed[3], changed[30] = "three", "thirty"
    before, after = ("\n".join([*each, ""]) for each in (lines, changed))
    diff = field_diff(change({"/data/nginx.conf": before}, {"/data/nginx.conf": after}))
    marked = [line for line in diff.splitlines() if line[0] in "+-"]
    assert marked == [f"-  {lines[3]}", "+  three", f"-  {lines[30]}", "+  thirty"]
    assert diff.count("@@ -") == 1, "it shows that lines are left out between the two"


def test_what_a_terminal_would_obey_is_quoted_in_the_diff():
    hostile = "a\n\x1b[31mb\n\u202ec \n"
    diff = field_diff(change({}, {"/data/k": hostile}))
    assert diff == r'+data.k: "a\n\e[31mb\n\u202Ec \n"'


def test_types_show_in_the_diff():
    diff = field_diff(change({"/a": "1"}, {"/a": 1}))
    assert diff == "-a: '1'\n+a: 1"


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


def test_a_whole_object_is_shown_without_a_path():
    made = change({}, {"": {"kind": "ConfigMap", "data": {"a": "b"}}})
    assert field_diff(made) == "+data:\n+  a: b\n+kind: ConfigMap"
    assert field_diff(made.inverse()) == "-data:\n-  a: b\n-kind: ConfigMap"
    assert object_diff(None, {"a": 1}) == "@@ -0,0 +1 @@\n+a: 1"
    assert object_diff({"a": 1}, {"a": 1}) == ""


HOSTILE = ["auth", "a b", "$(reboot)", "`x`", "'; rm -rf /; '", '"', "a\nb", "--all", "é", ""]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", KUBE_KINDS)
def test_the_command_is_safe_to_paste(kind: ChangeKind, text: str):
    target = ObjectRef("Deployment", f"ns{text}", f"auth{text}")
    env = f"/c/{item('', name='app')[1:]}/env/{item('', name=f'A{text}')[1:]}"
    made = Change(kind, target, {"/a": 1}, {"/a": text, "/spec/replicas": text}, "why")
    keyed = Change(kind, target, {env: {"name": "x"}}, {f"{env}/value": text}, "why")
    for each in (made, keyed, replace(made, before={}, after={"": {"a": text}})):
        words = shlex.split(kubectl_command(each, text))
        words = words[words.index("kubectl") :]
        assert (words[1:3] == ["--context", text]) == bool(text)
        assert f"ns{text}" in words
        fed = kind in (ChangeKind.CREATE_OBJECT, ChangeKind.APPLY_OBJECT)
        assert fed or any(word.endswith(f"auth{text}") for word in words)
        assert "[name=" not in " ".join(words).replace(f"A{text}", "")


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


APP = "/spec/template/spec/containers/[name=app]"
NODE = ObjectRef("Node", "", "n1")
TAINT = "/spec/taints/[effect=NoSchedule,key=gpu]"
STRATEGIC = """-n shop patch deployment auth --type=strategic -p '{"spec":{"template":{"spec":"""
TWO_CONTAINERS = {f"{APP}/image": "b:2", "/spec/template/spec/containers/[name=x]/image": "c:3"}


@pytest.mark.parametrize(
    ("kind", "before", "after", "command"),
    [
        (ChangeKind.SET_IMAGE, {f"{APP}/image": "a:1"}, TWO_CONTAINERS,
         "-n shop set image deployment/auth app=b:2 x=c:3"),
        (ChangeKind.SET_ENV, {f"{APP}/env/[name=A]": {"name": "A"}},
         {f"{APP}/env/[name=B]/value": "1", f"{APP}/env/[name=C]": {"name": "C", "value": "x y"}},
         "-n shop set env deployment/auth -c app A- B=1 'C=x y'"),
        (ChangeKind.SET_RESOURCES, {f"{APP}/resources/limits/cpu": "1"},
         {f"{APP}/resources/limits/cpu": "2", f"{APP}/resources/requests/memory": "1Gi"},
         "-n shop set resources deployment/auth -c app --limits=cpu=2 --requests=memory=1Gi"),
        (ChangeKind.SET_ENV, {}, {f"{APP}/env/[name=A]": {"name": "A", "valueFrom": {"x": 1}}},
         f"""{STRATEGIC}{{"containers":[{{"name":"app","env":[{{"name":"A","valueFrom":{{"x":1}}}}]}}]}}}}}}}}'"""),
        (ChangeKind.PATCH_OBJECT, {f"{APP}/ports/[containerPort=80,protocol=TCP]": {}, APP: {}},
         {APP: {"name": "app", "image": "x"}},
         STRATEGIC + """{"containers":[{"name":"app","ports":[{"containerPort":80,"""
         + """"protocol":"TCP","$patch":"delete"}]},"""
         + """{"name":"app","image":"x","$patch":"replace"}]}}}}'"""),
        (ChangeKind.DELETE_OBJECT, {"": {}}, {}, "-n shop delete deployment/auth"),
    ],
)  # fmt: skip
def test_commands_of_what_names_list_items(kind, before, after, command: str):
    assert kubectl_command(change(before, after, kind=kind)) == f"kubectl {command}"


@pytest.mark.parametrize(
    ("kind", "before", "after", "command"),
    [
        (ChangeKind.CORDON, {}, {"/spec/unschedulable": True}, "cordon n1"),
        (ChangeKind.UNCORDON, {"/spec/unschedulable": True}, {}, "uncordon n1"),
        (ChangeKind.ADD_TAINT, {}, {TAINT: {"value": "yes"}}, "taint nodes n1 gpu=yes:NoSchedule"),
        (ChangeKind.REMOVE_TAINT, {TAINT: {"value": "yes"}}, {}, "taint nodes n1 gpu:NoSchedule-"),
        (ChangeKind.LABEL_NODE, {"/metadata/labels/a": "1", "/metadata/labels/b~1c": "2"},
         {"/metadata/labels/a": "3"}, "label node n1 a=3 b/c- --overwrite"),
    ],
)  # fmt: skip
def test_commands_of_nodes(kind: ChangeKind, before, after, command: str):
    assert kubectl_command(Change(kind, NODE, before, after, "x")) == f"kubectl {command}"


def test_a_map_that_may_be_missing_is_made_by_the_command():
    label, other = "/metadata/labels/a~1b", "/spec/x"
    assert kubectl_command(change({other: 1}, {label: "c"})) == (
        "kubectl -n shop patch deployment auth --type=merge -p "
        """'{"spec":{"x":null},"metadata":{"labels":{"a/b":"c"}}}'"""
    )
    assert kubectl_command(change({other: {"a": 1}}, {label: "c", other: {"b": 1}})) == (
        "kubectl -n shop patch deployment auth --type=strategic -p "
        """'{"spec":{"x":{"b":1,"$patch":"replace"}},"metadata":{"labels":{"a/b":"c"}}}'"""
    )


def test_a_manifest_is_fed_to_the_command():
    made = change({}, {"": {"kind": "A'b"}}, kind=ChangeKind.CREATE_OBJECT)
    assert kubectl_command(made) == (
        """printf %s '{"kind":"A'"'"'b"}' | kubectl -n shop create -f -"""
    )
    applied = change({}, {"/a": 1}, kind=ChangeKind.APPLY_OBJECT, manifest={"kind": "A"})
    assert kubectl_command(applied).endswith("| kubectl -n shop apply --server-side -f -")


def test_what_is_created_again_by_hand_goes_without_what_a_server_refuses():
    live = {
        "kind": "A",
        "metadata": {"name": "a", "labels": {"b": "c"}, "uid": "u", "resourceVersion": "7"}
        | {"managedFields": [], "creationTimestamp": "2026-11-20T00:00:00Z"},
        "status": {"x": 1},
    }
    command = kubectl_command(change({}, {"": live}, kind=ChangeKind.CREATE_OBJECT))
    sent = json.loads(shlex.split(command)[2])
    assert sent == {"kind": "A", "metadata": {"name": "a", "labels": {"b": "c"}}}


def test_a_command_never_writes_a_mask_into_the_cluster():
    masked = mask("hunter2")
    for changed in (
        change({}, {"": {"kind": "A", "data": {"p": masked}}}, kind=ChangeKind.CREATE_OBJECT),
        change({"/data/p": "a"}, {"/data/p": f"password={masked}"}),
    ):
        assert kubectl_command(changed).startswith("# no kubectl command: ")


def test_the_summary_is_short():
    env = f"{APP}/env/[name=PATH]/value"
    assert summary(change({env: "a"}, {env: "b"})) == "Deployment/shop/auth env[PATH].value a→b"
    assert summary(change({f"{APP}/image": "a"}, {f"{APP}/image": "b"})).endswith(
        "containers[app].image a→b"
    )
    gone = change({"": {"kind": "Deployment"}}, {}, kind=ChangeKind.DELETE_OBJECT)
    assert summary(gone) == "Deployment/shop/auth delete-object"
    assert summary(change({"/spec/replicas": 1}, {"/spec/replicas": 2})) == (
        "Deployment/shop/auth replicas 1→2"
    )
    assert summary(change({}, {"/x/a~1b": "v"})) == "Deployment/shop/auth a/b none→v"
    long = change({"/spec/template": {}}, {"/spec/template": {"a": 1}}, kind=ChangeKind.ROLLBACK)
    assert summary(long) == "Deployment/shop/auth rollback"
    known = replace(long, revision=2, from_revision=3)
    assert summary(known) == "Deployment/shop/auth rollback revision 3 → 2"
    mixed = change({"/x": {"a": 1}, "/y": 1}, {"/x": 2, "/y": 3})
    assert summary(mixed) == "Deployment/shop/auth y 1→3"


@pytest.mark.parametrize(
    ("kind", "before", "after", "words"),
    [
        (ChangeKind.GIT_COMMIT, {}, {"/tip": "9ab12cd4e5"}, "new, at 9ab12cd"),
        (ChangeKind.GIT_COMMIT, {"/tip": "3f2a1c9aa"}, {"/tip": "9ab12cd4e5"}, "3f2a1c9 → 9ab12cd"),
        (ChangeKind.GIT_COMMIT, {"/tip": "9ab12cd4e5"}, {}, "deleted, was at 9ab12cd"),
        (ChangeKind.PULL_REQUEST, {}, {"/title": "Set A", "/body": "long"}, "asked for: Set A"),
        (ChangeKind.PULL_REQUEST, {"/title": "Set A"}, {}, "closed"),
        (ChangeKind.PULL_REQUEST, {}, {"/comment": "failed"}, "commented on"),
        (ChangeKind.PULL_REQUEST, {"/comment": "failed"}, {}, "comment withdrawn"),
    ],
)
def test_the_summary_of_a_branch_and_of_a_pull_request(
    kind: ChangeKind, before: dict[str, Any], after: dict[str, Any], words: str
):
    made = replace(change(before, after, kind=kind), target=ObjectRef("Branch", "", "fix"))
    assert summary(made) == f"Branch/fix {words}"
