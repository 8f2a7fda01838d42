"""A playbook's edits in the files of a repository: which objects, which files, and nothing else."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldebug.edits.documents import MAX_BYTES, find, selected
from smoldebug.edits.draft import draft, judged
from smoldebug.edits.rendered import Rendered, Rendering
from smoldebug.errors import ToolError
from smoldebug.playbook.patches import (
    Edit,
    ManifestsCheck,
    RemoveEnv,
    Select,
    SetEnv,
    SetImage,
    SetReplicas,
)
from smoldebug.records import Edited
from smoldebug.sources.fakes import MemoryTree
from smoldebug.sources.globs import matches
from smoldebug.sources.repository import TreeEntry

STAGING = Select(kind="Deployment", namespace="staging")
CHECK = ManifestsCheck(paths=("deploy/**",), select=STAGING, matches={"a": 1})


KUSTOMIZATION = (
    b"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: x}\n"
)


def manifest(name="auth", namespace="staging", kind="Deployment", env="", labels="{}"):
    lines = [
        "apiVersion: apps/v1",
        f"kind: {kind}",
        "metadata:",
        f"  name: {name}  # who",
        *([f"  namespace: {namespace}"] if namespace else []),
        f"  labels: {labels}",
        "spec:",
        "  template:",
        "    spec:",
        "      containers:",
        "        - name: app",
        "          image: web:1",
        "          env:",
        "            - name: PORT",
        '              value: "80"',
        *env.splitlines(),
    ]
    return ("\n".join(lines) + "\n").encode()


def set_flag(**fields):
    return Edit(set_env=SetEnv(**{"name": "FLAG", "value": "true", **fields}))


def env_entry(value, name="FLAG"):
    return f'            - name: {name}\n              value: "{value}"'


def states(done):
    return {row.ref.name: row.state for row in done.edited}


# --- globs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "inside", "outside"),
    [
        ("deploy/**", "deploy/a.yaml deploy/a/b/c.yaml", "deploy2/a.yaml a/deploy/b.yaml"),
        ("*.yaml", "a.yaml", "a.yml deploy/a.yaml"),
        ("**/values.yaml", "values.yaml a/b/values.yaml", "a/myvalues.yaml values.yaml/x"),
        ("deploy", "deploy/a/b.yaml deploy", "deployment/x.yaml"),
        ("./deploy/", "deploy/a/b.yaml", "x/deploy/a.yaml"),
        ("deploy/*/a.yaml", "deploy/eu/a.yaml", "deploy/a.yaml deploy/eu/x/a.yaml"),
        ("deploy/**/a-?[0-9].yaml", "deploy/a-x1.yaml deploy/eu/a-y2.yaml", "deploy/a-1.yaml"),
        ("**", "a b/c/d", ""),
        ("deploy/[", "deploy/[", "deploy/x"),
    ],
)
def test_which_files_a_glob_means(glob, inside, outside):
    assert all(matches(path, [glob]) for path in inside.split())
    assert not any(matches(path, [glob]) for path in outside.split())


@given(st.lists(st.sampled_from(["a", "b", "ab", "x.yaml"]), min_size=1, max_size=6))
def test_a_path_is_meant_by_itself_and_by_each_folder_above(parts):
    path = "/".join(parts)
    for depth in range(1, len(parts) + 1):
        assert matches(path, ["/".join(parts[:depth])])
        assert matches(path, ["/".join([*parts[:depth], "**"])])
        assert matches(path, ["/".join(["**", *parts[depth - 1 :]])])


def test_no_glob_is_slow():
    path = "/".join(["a" * 200] * 100)
    began = time.process_time()
    assert not matches(path, ["/".join(["**", "a*a*a*a*a*a*a*a*b"] * 50), "**/" * 100 + "x"])
    assert time.process_time() - began < 0.5


# --- finding --------------------------------------------------------------------------------


def test_every_object_of_every_kind_of_file_is_found():
    listed = (
        b"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: p}}\n"
    )
    tree = MemoryTree(
        {
            "deploy/a.yaml": manifest("a") + b"---\n# nothing\n---\n" + manifest("b"),
            "deploy/b.json": b'{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}}',
            "deploy/list.yml": listed,
            "deploy/README.md": b"kind: apiVersion",
            "other/d.yaml": manifest("d"),
        }
    )
    found = find(tree, ["deploy/**"])
    assert [(each.path, each.index, each.inside, each.ref.name) for each in found.documents] == [
        ("deploy/a.yaml", 0, "", "a"),
        ("deploy/a.yaml", 2, "", "b"),
        ("deploy/b.json", 0, "", "c"),
        ("deploy/list.yml", 0, "/items/0", "p"),
    ]
    assert found.documents[1].line == 19
    assert found.problems == ()


def test_what_is_no_manifest_is_no_problem():
    tree = MemoryTree(
        {
            "deploy/values.yaml": b"image: {tag: 1}\n",
            "deploy/kustomization.yaml": KUSTOMIZATION,
            "deploy/ci.yml": b"stages: [a]\n",
            "deploy/tsconfig.json": b"{// comments\n}",
            "deploy/words.yaml": b"- apiVersion and kind\n- [a]\n- 5\n",
            "deploy/kind.yaml": b"apiVersion: x/v1\nkind: [Cluster]\nmetadata: 5\n",
        }
    )
    found = find(tree, ["**"])
    assert (found.documents, found.problems) == ((), ())
    assert set(found.others) == set(tree.contents)


def test_what_cannot_be_read_is_a_problem_with_its_place():
    tree = MemoryTree(
        {
            "a.yaml": manifest("a") + b"  - x: [\n",
            "b.yaml": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "c.yaml": b"",
            "d.yaml": manifest("d"),
        },
        {"c.yaml": TreeEntry("file", MAX_BYTES + 1)},
    )
    found = find(tree, ["**"])
    assert [each.ref.name for each in found.documents] == ["d"]
    broken, lfs, large = found.problems
    assert broken.startswith("a.yaml:16: ")
    assert lfs == "b.yaml: kept in Git LFS, not read"
    assert large == "c.yaml: larger than 10 MB, not read: 10.0 MB"


def test_links_submodules_and_the_templates_of_charts_are_left_alone():
    template = b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: {{ .Values.name }}}\n"
    tree = MemoryTree(
        {
            "link.yaml": manifest("out"),
            "sub/x.yaml": manifest("sub"),
            "charts/web/Chart.yaml": b"apiVersion: v2\nname: web\n",
            "charts/web/templates/web.yaml": template,
            "charts/web/templates/more/web.yaml": template,
            "charts/web/crds/crd.yaml": manifest("crd"),
            "templates/t.yaml": manifest("plain"),
        },
        {"link.yaml": TreeEntry("link", 9), "sub/x.yaml": TreeEntry("submodule", 0)},
    )
    found = find(tree, ["**"])
    assert [each.ref.name for each in found.documents] == ["crd", "plain"]
    assert found.problems == ()


def test_a_thousand_manifests_among_twenty_thousand_files_are_found_quickly():
    contents = {f"src/{n // 100}/{n}.py": b"" for n in range(15_000)}
    contents |= {f"ci/{n}.yaml": b"steps: [a, b]\n" * 20 for n in range(4_000)}
    contents |= {f"deploy/{n}.yaml": manifest(f"web-{n}") for n in range(1_000)}
    tree = MemoryTree(contents)
    began = time.process_time()
    assert len(find(tree, ["**"]).documents) == 1_000
    assert time.process_time() - began < 3


# --- selecting ------------------------------------------------------------------------------


def only(path="deploy/x.yaml", via="", **fields):
    (document,) = find(MemoryTree({path: manifest(**fields)}), ["**"]).documents
    return Rendered(document.object, document, via)


@pytest.mark.parametrize(
    ("rendered", "select", "meant"),
    [
        (only(), STAGING, True),
        (only(), Select(kind="deploy"), True),
        (only(kind="StatefulSet"), STAGING, False),
        (only(namespace="prod"), STAGING, False),
        (only(namespace=""), STAGING, False),
        (only("deploy/staging/x.yaml", namespace=""), STAGING, True),
        (only("deploy/staging-2/x.yaml", namespace=""), STAGING, False),
        (only("deploy/staging/x.yaml", namespace="prod"), STAGING, False),
        (only("base/x.yaml", "kustomize overlays/staging", namespace=""), STAGING, True),
        (only("base/x.yaml", "kustomize a/staging < b/eu", namespace=""), STAGING, True),
        (only("staging/x.yaml", "kustomize overlays/prod", namespace=""), STAGING, False),
        (only(namespace=""), Select(kind="Deployment"), True),
        (only(), Select(kind="Deployment", name="auth"), True),
        (only(), Select(kind="Deployment", name="aut"), False),
        (only(labels="{team: shop}"), Select(kind="Deployment", labels="team=shop"), True),
        (only(labels="{team: shop}"), Select(kind="Deployment", labels="team notin (shop)"), False),
        (only(labels="[team]"), Select(kind="Deployment", labels="!team"), True),
    ],
)
def test_which_objects_are_meant(rendered, select, meant):
    assert selected(rendered, select) is meant


def test_a_selector_that_is_none_is_said_so():
    with pytest.raises(ToolError, match="not a selector"):
        selected(only(), Select(kind="Deployment", labels="(("))


# --- drafting -------------------------------------------------------------------------------


def test_selected_objects_are_edited_and_all_else_keeps_its_bytes():
    tree = MemoryTree(
        {
            "deploy/auth.yaml": manifest("auth"),
            "deploy/prod.yaml": manifest("auth", "prod"),
            "deploy/both.yaml": manifest("cart") + b"---\n" + manifest("cart", "prod"),
            "docs/auth.yaml": manifest("auth"),
            "deploy/has.yaml": manifest("has", env=env_entry("true")),
        }
    )
    done = draft(tree, [set_flag()], CHECK)
    assert states(done) == {"auth": "changed", "cart": "changed", "has": "already so"}
    assert done.files["deploy/auth.yaml"] == manifest("auth", env=env_entry("true"))
    assert done.files["deploy/both.yaml"] == (
        manifest("cart", env=env_entry("true")) + b"---\n" + manifest("cart", "prod")
    )
    assert set(done.files) == {"deploy/auth.yaml", "deploy/both.yaml"}
    assert (done.problems, done.warnings) == ((), ())
    row = done.edited[0]
    assert (str(row.ref), row.path, row.line) == ("Deployment/staging/auth", "deploy/auth.yaml", 1)


@pytest.mark.parametrize(
    ("if_different", "state", "files", "warned"),
    [
        ("stop-and-ask", "differs", 1, 1),
        ("overwrite", "changed", 1, 0),
        ("skip", "skipped", 0, 0),
    ],
)
def test_another_value_is_warned_of_or_overwritten_or_left(if_different, state, files, warned):
    tree = MemoryTree({"deploy/auth.yaml": manifest(env=env_entry("false"))})
    done = draft(tree, [set_flag(if_different=if_different)], CHECK)
    (row,) = done.edited
    assert row.state == state
    assert row.detail.removeprefix("before: ") == 'container app sets FLAG to "false"'
    assert len(done.files) == files
    assert (
        done.warnings == ('Deployment/staging/auth: container app sets FLAG to "false"',) * warned
    )


def test_edits_see_what_those_before_them_have_left():
    tree = MemoryTree({"deploy/auth.yaml": manifest()})
    done = draft(
        tree,
        [
            set_flag(value="a"),
            set_flag(value="b", if_different="overwrite"),
            Edit(set_replicas=SetReplicas(replicas=3)),
        ],
        CHECK,
    )
    assert [row.state for row in done.edited] == ["changed"] * 3
    assert yaml.safe_load(done.files["deploy/auth.yaml"])["spec"]["replicas"] == 3
    assert b'value: "b"' in done.files["deploy/auth.yaml"]
    back = draft(tree, [set_flag(), Edit(remove_env=RemoveEnv(name="FLAG"))], CHECK)
    assert back.files == {}


def test_an_object_that_cannot_be_edited_stops_no_other():
    twice = "\n".join([env_entry("a"), env_entry("b")])
    tree = MemoryTree(
        {
            "deploy/auth.yaml": manifest("auth", env=twice),
            "deploy/cart.yaml": manifest("cart"),
            "deploy/broken.yaml": b"apiVersion: v1\nkind: [\n",
        }
    )
    done = draft(tree, [set_flag()], CHECK)
    assert states(done) == {"auth": "refused", "cart": "changed"}
    assert done.edited[0].detail == "container app sets FLAG twice"
    assert list(done.files) == ["deploy/cart.yaml"]
    assert [problem.split(":")[0] for problem in done.problems] == ["deploy/broken.yaml"]


@pytest.mark.parametrize("bad", [set(), {0}, {2, 3}, {0, 1, 4}, {0, 1, 2, 3, 4}])
def test_a_document_that_cannot_be_edited_stops_no_other_of_its_file(bad):
    shared = "        - name: other\n          env: *env\n"  # which is not to get the variable
    broken = manifest(env=shared).replace(b"env:\n", b"env: &env\n")

    def file(env):
        return b"---\n".join(broken if at in bad else manifest(env=env) for at in range(5))

    done = draft(MemoryTree({"deploy/all.yaml": file("")}), [set_flag(containers=["app"])], CHECK)
    assert [row.state == "refused" for row in done.edited] == [at in bad for at in range(5)]
    now = done.files.get("deploy/all.yaml", file(""))
    assert now == file(env_entry("true"))
    said = [row.detail.split(" ")[0] for row in done.edited if row.detail]
    lines = enumerate(now.decode().splitlines(), 1)
    assert said == [f"deploy/all.yaml:{number}:" for number, line in lines if "&env" in line]


def test_a_file_outside_the_scope_is_refused():
    tree = MemoryTree({"deploy/a/x.yaml": manifest("a"), "deploy/b/x.yaml": manifest("b")})
    done = draft(tree, [set_flag()], CHECK, ["deploy/a/**"])
    assert states(done) == {"a": "changed", "b": "refused"}
    assert done.edited[1].detail == "outside scope.paths: deploy/b/x.yaml"


def test_nothing_to_edit_is_a_problem():
    assert draft(MemoryTree({}), [set_flag()], CHECK).problems == (
        "no Deployment of namespace staging found below deploy/**",
    )


def test_an_object_of_no_namespace_is_a_problem_where_one_is_asked_for():
    tree = MemoryTree({"deploy/x.yaml": manifest("x", ""), "deploy/y.yaml": manifest("z")})
    done = draft(tree, [set_flag()], CHECK)
    assert done.problems == ("deploy/x.yaml:1: Deployment/x names no namespace",)
    assert states(done) == {"z": "changed"}
    any_namespace = ManifestsCheck(select=Select(kind="Deployment"), matches={"a": 1})
    assert draft(tree, [set_flag()], any_namespace).problems == ()


def test_an_object_that_is_there_twice_is_a_problem_and_edited_in_both_places():
    tree = MemoryTree(
        {"deploy/a.yaml": manifest(), "deploy/b.yaml": manifest(), "deploy/eu/a.yaml": manifest()}
    )
    done = draft(tree, [set_flag()], CHECK)
    assert done.problems == (
        "deploy/a.yaml:1 and deploy/b.yaml:1: Deployment/staging/auth is there twice",
    )
    assert len(done.files) == 3


def test_an_edit_may_have_a_selection_of_its_own():
    tree = MemoryTree({"deploy/a.yaml": manifest(), "k8s/b.yaml": manifest("b", "prod")})
    select = Select(kind="deployments", name="b")
    edit = Edit(select=select, paths=["k8s"], set_image=SetImage(image="web:2"))
    assert list(draft(tree, [edit], CHECK).files) == ["k8s/b.yaml"]
    assert list(draft(tree, [edit], None).files) == ["k8s/b.yaml"]


# --- layers ---------------------------------------------------------------------------------


def overlays():
    top = b"namespace: %s\nresources:\n  - ../../base\n"
    return MemoryTree(
        {
            "deploy/base/auth.yaml": manifest("auth", ""),
            "deploy/base/kustomization.yaml": b"resources: [auth.yaml]\n",
            "deploy/overlays/prod/kustomization.yaml": top % b"prod",
            "deploy/overlays/staging/kustomization.yaml": top % b"staging",
        }
    )


def test_what_all_overlays_want_is_edited_once_in_their_base():
    everywhere = ManifestsCheck(select=Select(kind="Deployment"), matches={"a": 1})
    done = draft(overlays(), [set_flag()], everywhere)
    assert [row.via for row in done.edited] == [
        "kustomize deploy/overlays/prod",
        "kustomize deploy/overlays/staging",
    ]
    assert done.files == {"deploy/base/auth.yaml": manifest("auth", "", env=env_entry("true"))}


def test_what_one_overlay_wants_is_not_edited_in_the_base():
    tree = overlays()
    done = draft(tree, [set_flag()], CHECK)
    (row,) = done.edited
    assert (row.state, row.ref.namespace, row.line) == ("changed", "staging", 0)
    assert done.files
    assert all(path.startswith("deploy/overlays/staging/") for path in done.files)
    again = draft(MemoryTree({**tree.contents, **done.files}), [set_flag()], CHECK)
    assert (states(again), again.files) == ({"auth": "already so"}, {})
    scoped = draft(tree, [set_flag()], CHECK, ["deploy/base/**"])
    assert (states(scoped), scoped.files) == ({"auth": "refused"}, {})


def test_an_edit_counts_by_what_would_be_applied_afterwards():
    tree = {"a.yaml": manifest("auth"), "b.yaml": manifest("cart"), "c.yaml": manifest("docs")}
    edited = {**tree, "c.yaml": manifest("docs", env=env_entry("true"))}
    before, after = (
        Rendering(
            tuple(Rendered(each.object, each) for each in find(MemoryTree(t), ["**"]).documents)
        )
        for t in (tree, edited)
    )
    key = ("a.yaml", 0, "", "")
    row = Edited(before.objects[0].ref, "a.yaml", 1, "changed")
    undone, stranger = judged(set_flag(), before, after, {key: row})
    assert (undone.state, undone.detail) == ("refused", "the edit is undone by what comes after it")
    assert (str(stranger.ref), stranger.state) == ("Deployment/staging/docs", "refused")
    assert stranger.detail == "it is not selected, and would be changed too"


# --- any tree -------------------------------------------------------------------------------

_OBJECTS = st.lists(
    st.tuples(
        st.sampled_from(["deploy/a.yaml", "deploy/b.yaml", "deploy/staging/c.yaml", "x/d.yaml"]),
        st.sampled_from(["staging", "prod", ""]),
        st.sampled_from(["Deployment", "StatefulSet", "Service"]),
        st.sampled_from(["", env_entry("true"), env_entry("false"), env_entry("x", "OTHER")]),
    ),
    max_size=8,
)
_EDITS = st.lists(
    st.sampled_from(
        [
            set_flag(),
            set_flag(if_different="skip"),
            Edit(remove_env=RemoveEnv(name="OTHER")),
            Edit(set_image=SetImage(image="web:2")),
            Edit(set_replicas=SetReplicas(replicas=2)),
        ]
    ),
    min_size=1,
    max_size=3,
)


def written(objects):
    contents: dict[str, bytes] = {}
    for number, (path, namespace, kind, env) in enumerate(objects):
        more = manifest(f"web-{number}", namespace, kind, env)
        contents[path] = contents[path] + b"---\n" + more if path in contents else more
    return contents


@settings(max_examples=60, deadline=None)
@given(_OBJECTS, _EDITS)
def test_a_second_time_nothing_changes_and_nothing_else_ever_does(objects, edits):
    tree = MemoryTree(written(objects))
    done = draft(tree, edits, CHECK)
    edited = MemoryTree({**tree.contents, **done.files})
    again = draft(edited, edits, CHECK)
    assert again.files == {}
    assert {row.state for row in again.edited} <= {"already so", "skipped", "refused"}
    before, after = (find(each, ["**"]).documents for each in (tree, edited))
    touched = {(row.ref, row.path) for row in done.edited}
    for old, new in zip(before, after, strict=True):
        assert old.ref == new.ref
        assert (new.ref, new.path) in touched or old.object == new.object
