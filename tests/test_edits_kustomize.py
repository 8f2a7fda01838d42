"""Kustomizations: built as kustomize builds them, and edited in the layer a reviewer expects."""

import contextlib
import json
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from realkubectl import KUBECTL, needs_kubectl

from smoldebug.edits import text
from smoldebug.edits.documents import find
from smoldebug.edits.intended import intended
from smoldebug.edits.operations import Operation, Placed
from smoldebug.edits.render import render
from smoldebug.edits.rendered import Rendered, Rendering
from smoldebug.errors import ChangeRefused
from smoldebug.pointers import lookup
from smoldebug.sources.fakes import MemoryTree

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: checkout
  labels: {team: shop}
spec:
  replicas: 2
  selector:
    matchLabels: {app: checkout}
  template:
    metadata:
      labels: {app: checkout}
    spec:
      containers:
        - name: app
          image: registry.example:5000/shop/checkout:1.4.1
          env:
            - name: LOG_LEVEL
              value: info
"""
BASE = {
    "deploy/base/kustomization.yaml": "resources: [checkout.yaml]\n",
    "deploy/base/checkout.yaml": DEPLOYMENT,
}
APP = "/spec/template/spec/containers/[name=app]"
FLAG = Operation(f"{APP}/env/[name=FEATURE_FLAG]", {"name": "FEATURE_FLAG", "value": "true"})


def overlay(name: str, *lines: str) -> dict[str, str]:
    head = ("resources: [../../base]", f"namespace: {name}")
    return {f"deploy/overlays/{name}/kustomization.yaml": "\n".join((*head, *lines, ""))}


def rendered(*parts: Mapping[str, str], paths: tuple[str, ...] = ("**",)) -> Rendering:
    files = {path: said.encode() for part in parts for path, said in part.items()}
    tree = MemoryTree(files)
    return render(tree, find(tree, paths))


def only(*parts: Mapping[str, str]) -> Rendered:
    whole = rendered(*parts)
    assert whole.problems == ()
    (found,) = whole.objects
    return found


def of(whole: Rendering, via: str) -> Rendered:
    (found,) = (each for each in whole.objects if each.via == via)
    return found


def placed(found: Rendered, *operations: Operation, wanted: frozenset[str] = frozenset()) -> Any:
    """What is edited: by file, the operations; of a new file its text."""
    return {
        each.path: list(each.operations) if each.content is None else each.content.decode()
        for each in found.place(operations, wanted)
    }


STAGING, EU = "kustomize deploy/overlays/staging", "kustomize deploy/overlays/eu"
KUSTOMIZATION = "deploy/overlays/staging/kustomization.yaml"
PATCH = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout}
spec:
  template:
    spec:
      containers:
        - name: app
          env:
            - {name: LOG_LEVEL, value: debug}
"""


# --- building -----------------------------------------------------------------------------------


def test_a_base_is_not_applied_by_itself_but_through_its_overlays() -> None:
    whole = rendered(BASE, overlay("staging"), overlay("eu"))

    assert [str(each.ref) for each in whole.objects] == [
        "Deployment/eu/checkout",
        "Deployment/staging/checkout",
    ]
    assert {each.document.path for each in whole.objects} == {"deploy/base/checkout.yaml"}
    assert {each.shared for each in whole.objects} == {frozenset({STAGING, EU})}


def test_files_that_only_kustomizations_use_are_no_manifests() -> None:
    files = {"deploy/overlays/staging/patch.yaml": PATCH, "deploy/plain.yaml": DEPLOYMENT}
    whole = rendered(BASE, overlay("staging", "patches: [{path: patch.yaml}]"), files)

    assert sorted((each.via, each.document.path) for each in whole.objects) == [
        ("", "deploy/plain.yaml"),
        (STAGING, "deploy/base/checkout.yaml"),
    ]


def test_overlays_that_a_third_one_collects_are_told_apart() -> None:
    every = {"deploy/kustomization.yaml": "resources: [overlays/staging, overlays/eu]\n"}
    whole = rendered(BASE, overlay("staging"), overlay("eu"), every)
    via = "kustomize deploy < deploy/overlays/staging < deploy/base"
    staging = of(whole, via)

    assert len(whole.objects) == 2
    assert staging.ref.namespace == "staging"
    assert set(placed(staging, FLAG)) == {
        "deploy/overlays/staging/patch-checkout.yaml",
        KUSTOMIZATION,
    }


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["transformers: [x.yaml]"], "not built: Object contains unknown field `transformers`"),
        (["replacements: []"], "not built: Object contains unknown field `replacements`"),
        (["images: [{name: a, tagSuffix: x}]"], "unknown field `tagSuffix`"),
        (["namePrefix: 7"], "not built: Expected `str`, got `int`"),
        (["components: [../nowhere]"], "no file and no kustomization of the repository"),
        (["patches: [{path: gone.yaml}]"], "a patch is not there: gone.yaml"),
        (["patches: [{patch: 'a: ['}]"], "a patch is not YAML"),
        (["patches: [{patch: '[]'}]"], "a JSON patch without a target"),
        (["patches: [{patch: '{kind: Pod}'}]"], "of the objects it fits 0"),
        (["patches: [{patch: '{}', target: {name: '(a+)+'}}]"], "too complicated"),
        (["patches: [{patch: '{}', target: {labelSelector: '&'}}]"], "not a selector"),
        (
            ["patches: [{patch: '[{op: remove, path: /x}]', target: {kind: Deployment}}]"],
            "patch /patches/0: can't remove a non-existent object 'x'",
        ),
        (["replicas: [{name: auth, count: 2}]"], "replicas of an object that is not there: auth"),
        (["bases: [.]"], "it uses itself through its resources"),
    ],
)
def test_a_kustomization_that_cannot_be_built_is_a_problem_and_no_object(
    lines: list[str], problem: str
) -> None:
    whole = rendered(BASE, overlay("staging", *lines))

    assert whole.objects == ()
    assert problem in "\n".join(whole.problems)
    assert whole.problems[0].startswith(f"{KUSTOMIZATION}:1: ")


def test_kustomizations_in_a_circle_are_a_problem() -> None:
    circle = {"a/kustomization.yaml": "bases: [../b]", "b/kustomization.yaml": "bases: [../a]"}

    assert "a/kustomization.yaml:1: not built: it uses itself" in rendered(circle).problems[0]


def test_what_is_remote_is_told_and_the_rest_is_built() -> None:
    remote = "components: ['https://github.com/shop/base?ref=v1']"
    whole = rendered(BASE, overlay("staging", remote))

    assert len(whole.objects) == 1
    assert "a resource is remote, not looked at: https://github.com" in whole.problems[0]


# --- where an edit belongs ------------------------------------------------------------------------


def test_the_base_of_one_overlay_is_edited_itself() -> None:
    found = only(BASE, overlay("staging", "namePrefix: shop-"))

    assert str(found.ref) == "Deployment/staging/shop-checkout"
    assert placed(found, FLAG) == {"deploy/base/checkout.yaml": [FLAG]}


def test_a_base_is_edited_once_when_all_its_overlays_want_the_same() -> None:
    whole = rendered(BASE, overlay("staging"), overlay("eu"))
    places = [each.place([FLAG], frozenset({STAGING, EU})) for each in whole.objects]

    assert places[0] == places[1]
    assert [each.path for each in places[0]] == ["deploy/base/checkout.yaml"]


def test_in_one_of_several_overlays_an_edit_is_a_new_patch() -> None:
    staging = of(rendered(BASE, overlay("staging"), overlay("eu")), STAGING)

    assert placed(staging, FLAG) == {
        "deploy/overlays/staging/patch-checkout.yaml": (
            "apiVersion: apps/v1\n"
            "kind: Deployment\n"
            "metadata:\n"
            "  name: checkout\n"
            "spec:\n"
            "  template:\n"
            "    spec:\n"
            "      containers:\n"
            "        - name: app\n"
            "          env:\n"
            "            - name: FEATURE_FLAG\n"
            '              value: "true"\n'
        ),
        KUSTOMIZATION: [
            Operation("/patches/[path=patch-checkout.yaml]", {"path": "patch-checkout.yaml"})
        ],
    }


def test_an_image_and_a_number_of_replicas_have_fields_of_their_own_in_an_overlay() -> None:
    staging = of(rendered(BASE, overlay("staging"), overlay("eu")), STAGING)
    name = "registry.example:5000/shop/checkout"
    image = Operation(f"{APP}/image", f"{name}:1.4.2")

    assert placed(staging, image, Operation("/spec/replicas", 5)) == {
        KUSTOMIZATION: [
            Operation(
                "/images/[name=registry.example:5000~1shop~1checkout]",
                {"name": name, "newTag": "1.4.2"},
            ),
            Operation("/replicas/[name=checkout]", {"name": "checkout", "count": 5}),
        ]
    }


def test_entries_that_are_there_are_edited() -> None:
    lines = (
        "images: [{name: 'registry.example:5000/shop/checkout', digest: 'sha256:ab'}]",
        "replicas: [{name: checkout, count: 3}]",
    )
    found = only(BASE, overlay("staging", *lines))  # its only overlay, and yet not in the base
    image = Operation(f"{APP}/image", "mirror.example/checkout:1.4.2")

    assert placed(found, image, Operation("/spec/replicas", 5)) == {
        KUSTOMIZATION: [
            Operation("/images/0/newName", "mirror.example/checkout"),
            Operation("/images/0/newTag", "1.4.2"),
            Operation("/images/0/digest", remove=True),
            Operation("/replicas/0/count", 5),
        ]
    }


def test_a_patch_that_sets_the_field_is_where_it_changes() -> None:
    level = Operation(f"{APP}/env/[name=LOG_LEVEL]/value", "warn")
    files = {"deploy/overlays/staging/patch.yaml": PATCH}
    found = only(BASE, overlay("staging", "patchesStrategicMerge: [patch.yaml]"), files)

    assert placed(found, level) == {"deploy/overlays/staging/patch.yaml": [level]}
    assert placed(found, FLAG) == {"deploy/base/checkout.yaml": [FLAG]}


def test_a_patch_inside_the_kustomization_is_edited_there() -> None:
    inside = "patches:\n  - patch: |-\n" + "".join(f"      {x}\n" for x in PATCH.splitlines())
    whole = rendered(BASE, overlay("staging", inside), overlay("eu"))
    edit = {KUSTOMIZATION: [Operation("/patches/0/patch", PATCH.replace("debug", "warn")[:-1])]}

    level = Operation(f"{APP}/env/[name=LOG_LEVEL]/value", "warn")
    assert placed(of(whole, STAGING), level) == edit


def test_a_json_patch_is_edited_where_it_writes_the_very_value() -> None:
    patch = """\
- {op: replace, path: /spec/replicas, value: 3}
- op: add
  path: /spec/template/spec/containers/0/env/-
  value: {name: FEATURE_FLAG, value: "false"}
"""
    target = "patches: [{path: patch.yaml, target: {kind: Deployment, name: checkout}}]"
    files = {"deploy/overlays/staging/patch.yaml": patch}
    found = only(BASE, overlay("staging", target), files)
    on = Operation(f"{APP}/env/[name=FEATURE_FLAG]/value", "true")

    assert placed(found, on, Operation("/spec/replicas", 5)) == {
        "deploy/overlays/staging/patch.yaml": [
            Operation("/1/value/value", "true"),
            Operation("/0/value", 5),
        ]
    }


def test_a_patch_of_several_objects_is_not_edited_for_one() -> None:
    other = {
        "deploy/base/kustomization.yaml": "resources: [checkout.yaml, auth.yaml]\n",
        "deploy/base/auth.yaml": DEPLOYMENT.replace("checkout", "auth"),
        "deploy/overlays/staging/patch.yaml": PATCH,
    }
    broad = overlay("staging", "patches: [{path: patch.yaml, target: {kind: Deployment}}]")
    whole = rendered(BASE, other, broad)
    checkout = next(each for each in whole.objects if each.ref.name == "checkout")
    level = Operation(f"{APP}/env/[name=LOG_LEVEL]/value", "warn")

    assert set(placed(checkout, level)) == {
        "deploy/overlays/staging/patch-checkout.yaml",
        KUSTOMIZATION,
    }


def test_what_an_overlay_takes_away_it_says_so() -> None:
    staging = of(rendered(BASE, overlay("staging"), overlay("eu")), STAGING)
    (patch, _) = staging.place([Operation(f"{APP}/env/[name=LOG_LEVEL]", remove=True)])

    assert patch.content is not None
    assert patch.content.decode().endswith("- name: LOG_LEVEL\n              $patch: delete\n")


def test_a_variable_from_a_secret_gets_a_plain_value_in_an_overlay() -> None:
    secret = "valueFrom: {secretKeyRef: {name: s, key: k}}"
    base = {**BASE, "deploy/base/checkout.yaml": DEPLOYMENT.replace("value: info", secret)}
    staging = of(rendered(base, overlay("staging"), overlay("eu")), STAGING)
    at = f"{APP}/env/[name=LOG_LEVEL]"
    (patch, _) = staging.place(
        [Operation(f"{at}/valueFrom", remove=True), Operation(f"{at}/value", "x")]
    )

    assert patch.content is not None
    assert patch.content.decode().endswith("valueFrom: null\n              value: x\n")


def test_a_list_that_kustomize_would_replace_is_left_to_a_person() -> None:
    rollout = DEPLOYMENT.replace("apps/v1", "argoproj.io/v1alpha1").replace(
        "kind: Deployment", "kind: Rollout"
    )
    base = {**BASE, "deploy/base/checkout.yaml": rollout}
    staging = of(rendered(base, overlay("staging"), overlay("eu")), STAGING)

    with pytest.raises(ChangeRefused, match="would replace the lists of a Rollout as a whole"):
        staging.place([FLAG])
    assert placed(staging, FLAG, wanted=staging.shared) == {"deploy/base/checkout.yaml": [FLAG]}


@pytest.mark.parametrize(
    "line", ["commonLabels: {team: infra}", "labels: [{pairs: {team: infra}}]"]
)
def test_a_field_that_the_overlay_sets_for_all_objects_is_left_to_a_person(line: str) -> None:
    found = only(BASE, overlay("staging", line))

    with pytest.raises(ChangeRefused, match=r"its (commonL|l)abels set metadata.labels.team, and"):
        found.place([Operation("/metadata/labels/team", "shop")])


def test_a_name_that_is_no_file_name_makes_no_patch_file() -> None:
    base = {**BASE, "deploy/base/checkout.yaml": DEPLOYMENT.replace("name: checkout", "name: ../x")}
    staging = of(rendered(base, overlay("staging"), overlay("eu")), STAGING)

    with pytest.raises(ChangeRefused, match="no name for a patch file"):
        staging.place([FLAG])


WORDS = st.sampled_from(
    (
        *("all.yaml", "patch.yaml", ".", "../x", "app", "n.*", "(", "$patch", "delete", "a=b", ""),
        *("Deployment", "add", "remove", "replace", "/spec", "/metadata", "/spec/containers/-"),
    )
)
KEYS = st.sampled_from(
    (
        *("op", "path", "value", "kind", "apiVersion", "metadata", "name", "labels", "spec"),
        *("template", "containers", "env", "image", "target", "patch", "$patch", "labelSelector"),
        *("images", "replicas", "patches", "patchesStrategicMerge", "resources", "components"),
    )
)
ANYTHING = st.recursive(
    st.one_of(WORDS, st.none(), st.booleans(), st.integers(0, 3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
PATCHES = st.fixed_dictionaries(
    {"patch": st.one_of(WORDS, ANYTHING.map(json.dumps))},
    optional={"target": st.dictionaries(st.sampled_from(("kind", "name")), WORDS)},
)


@settings(max_examples=150)
@given(
    st.dictionaries(KEYS, ANYTHING, max_size=3)
    | st.fixed_dictionaries({"patches": st.lists(PATCHES, max_size=3)}),
    st.dictionaries(KEYS, ANYTHING, max_size=4),
    ANYTHING,
)
def test_anything_is_a_kustomization_that_is_built_or_told(
    spec: Any, item: dict[str, Any], patch: Any
) -> None:
    item = {"metadata": {"name": "app"}} | item | {"apiVersion": "apps/v1", "kind": "Deployment"}
    files = {"all.yaml": item, "patch.yaml": patch}
    files["kustomization.yaml"] = {"resources": ["all.yaml"]} | spec
    whole = rendered({path: json.dumps(content) for path, content in files.items()})

    for each in whole.objects:
        with contextlib.suppress(ChangeRefused):
            each.place([FLAG, Operation("/spec/replicas", 2)])


# --- the same as kustomize ------------------------------------------------------------------------

Object = dict[str, Any]
KINDS = ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "Pod", "Rollout", "Service")
VERSIONS = {"CronJob": "batch/v1", "Job": "batch/v1", "Pod": "v1", "Service": "v1"}
IMAGES = ("shop/app:1", "shop/app", "reg.example:5000/app:1.2", "shop/side@sha256:0123ab", "x:1")


class Some:
    """A random kustomization over random objects, two overlays of one base, in a folder."""

    def __init__(self, seed: int) -> None:
        self.random, self.folder = random.Random(seed), f"case{seed}"
        self.files: dict[str, str] = {}
        kinds = self.random.sample(KINDS, 3)
        self.objects = [self.workload(kind, f"n{at}") for at, kind in enumerate(kinds)]
        self.write("base/all.yaml", yaml.safe_dump_all(self.objects))
        self.write("base/kustomization.yaml", yaml.safe_dump({"resources": ["all.yaml"]}))
        for name in ("mid", "one", "two"):
            below = "../mid" if name == "one" else "../base"
            spec: Object = {"resources": [below], "namePrefix": f"{self.folder}-{name}-"}
            for field in self.random.sample(FIELDS, self.random.randint(0, 5)):
                for key, value in getattr(self, field)(name).items():
                    spec[key] = spec.get(key, []) + value if isinstance(value, list) else value
            self.write(f"{name}/kustomization.yaml", yaml.safe_dump(spec))

    def write(self, path: str, said: str) -> None:
        self.files[f"{self.folder}/{path}"] = said

    def chance(self) -> bool:
        return self.random.random() < 0.5

    # objects

    def container(self, name: str) -> Object:
        names = self.random.sample(("ALPHA", "BETA", "GAMMA"), self.random.randint(0, 2))
        env = [{"name": each, "value": self.random.choice(("1", "no", "é"))} for each in names]
        found: Object = {"name": name, "image": self.random.choice(IMAGES)}
        return found | ({"env": env} if env else {})

    def workload(self, kind: str, name: str) -> Object:
        version = "argoproj.io/v1alpha1" if kind == "Rollout" else VERSIONS.get(kind, "apps/v1")
        metadata: Object = {"name": name} | ({"labels": {"team": name}} if self.chance() else {})
        pods: Object = {"containers": [self.container(each) for each in ("app", "side")]}
        if self.chance():
            pods["initContainers"] = [self.container("init")]
        template: Object = {"metadata": {"labels": {"app": name}}, "spec": pods}
        spec: Object = {"selector": {"matchLabels": {"app": name}}, "template": template}
        if kind in ("Deployment", "StatefulSet", "Rollout") and self.chance():
            spec["replicas"] = 2
        if kind == "CronJob":
            spec = {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}}
        if kind in ("Pod", "Job"):
            spec = pods if kind == "Pod" else {"template": template}
        if kind == "Service":
            spec = {"selector": {"app": name}, "ports": [{"port": 80, "name": "http"}]}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}

    # fields of a kustomization

    def namespace(self, _: str) -> Object:
        return {"namespace": "eu"}

    def suffix(self, _: str) -> Object:
        return {"nameSuffix": "-x"}

    def labels(self, _: str) -> Object:
        how = self.random.choice(({}, {"includeSelectors": True}, {"includeTemplates": True}))
        return {"labels": [{"pairs": {"tier": "web"}} | how]}

    def common(self, _: str) -> Object:
        return {"commonLabels": {"site": "b"}, "commonAnnotations": {"note": "1"}}

    def images(self, _: str) -> Object:
        changes = ({"newTag": "9"}, {"newName": "z/z"}, {"newName": "z:5/z", "digest": "sha256:ff"})
        names = self.random.sample(("shop/app", "reg.example:5000/app", "x"), 2)
        return {"images": [{"name": each} | self.random.choice(changes) for each in names]}

    def replicas(self, _: str) -> Object:
        scaled = [each for each in self.objects if each["kind"] in ("Deployment", "StatefulSet")]
        named = [{"name": each["metadata"]["name"], "count": 5} for each in scaled]
        return {"replicas": named} if named else {}

    def patch(self, name: str) -> Object:
        """A strategic merge of one object, in a file or inside."""
        item = self.random.choice(self.objects)
        change = {"name": "app", "env": [{"name": "BETA", "value": "p"}]}
        delete = {"name": "ALPHA", "$patch": "delete"}
        if item["kind"] != "Rollout" and self.chance():
            change["env"].append(delete)  # type: ignore[attr-defined]
        said: Object = {key: item[key] for key in ("apiVersion", "kind")}
        said |= {"metadata": {"name": item["metadata"]["name"], "annotations": {"by": "patch"}}}
        if item["kind"] != "Service":
            said |= _nested(_pods(item), {"containers": [change]})
        if self.chance():
            return {"patches": [{"patch": yaml.safe_dump(said)}]}
        self.write(f"{name}/patch.yaml", yaml.safe_dump(said))
        return self.random.choice(
            ({"patches": [{"path": "patch.yaml"}]}, {"patchesStrategicMerge": ["patch.yaml"]})
        )

    def broad(self, _: str) -> Object:
        """Patches of all that a target fits."""
        target = self.random.choice(({"name": "n.*"}, {"kind": "Deploy.*|Service"}, {"name": "an"}))
        steps = [{"op": "add", "path": "/metadata/annotations", "value": {"by": "json"}}]
        merge = {"metadata": {"name": "any", "labels": {"broad": "yes"}}, "kind": "Any"}
        content = self.random.choice((steps, merge | {"apiVersion": "v1"}))
        return {"patches": [{"target": target, "patch": yaml.safe_dump(content)}]}

    def json_patch(self, name: str) -> Object:
        item = self.random.choice([each for each in self.objects if each["kind"] != "Service"])
        path = f"{_pods(item)}/containers/0/env"
        self.write(f"{name}/steps.json", json.dumps([_add(path, [{"name": "J", "value": "j"}])]))
        target = {"kind": item["kind"], "name": item["metadata"]["name"]}
        return {"patchesJson6902": [{"target": target, "path": "steps.json"}]}

    def component(self, name: str) -> Object:
        kind = {"kind": "Component", "apiVersion": "kustomize.config.k8s.io/v1alpha1"}
        spec = kind | self.labels(name) | self.broad(name)
        self.write("part/kustomization.yaml", yaml.safe_dump(spec))
        return {"components": ["../part"]}


FIELDS = (
    *("namespace", "suffix", "labels", "common", "images", "replicas"),
    *("patch", "broad", "json_patch", "component"),
)


def _pods(item: Object) -> str:
    templates = {"CronJob": "/spec/jobTemplate/spec/template/spec", "Pod": "/spec"}
    return templates.get(item["kind"], "/spec/template/spec")


def _nested(pointer: str, value: Object) -> Object:
    for key in reversed(pointer.split("/")[1:]):
        value = {key: value}
    return value


def _add(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}


def by_kustomize(files: Mapping[str, bytes], folder: Path) -> dict[str, Object]:
    """All that the leaves come to, in one call of kubectl."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    leaves = sorted({path.split("/")[0] for path in files})
    resources = [f"{leaf}/{name}" for leaf in leaves for name in ("one", "two")]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": resources}))
    assert KUBECTL is not None
    said = subprocess.run(
        [KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 0, said.stderr
    return known(yaml.safe_load_all(said.stdout))


def known(objects: Any) -> dict[str, Object]:
    """By kind and name; lists whose items have names in the order of these."""
    return {f"{each['kind']} {each['metadata']['name']}": _sorted(each) for each in objects}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items() if each not in ({}, [])}
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=lambda each: str(each.get("name")))
    return value


@pytest.fixture(scope="module")
def some() -> dict[str, bytes]:
    files = [Some(seed).files for seed in range(30)]
    return {path: said.encode() for part in files for path, said in part.items()}


@needs_kubectl
@pytest.mark.kubectl
def test_objects_are_built_as_kubectl_builds_them(some: dict[str, bytes], tmp_path: Path) -> None:
    tree = MemoryTree(some)
    whole = render(tree, find(tree, ["**"]))
    expected = by_kustomize(some, tmp_path)

    assert whole.problems == ()
    ours = known(each.object for each in whole.objects)
    assert {name: each for name, each in ours.items() if each != expected.get(name)} == {}
    assert set(ours) == set(expected)


def an_edit(dice: random.Random, item: Object) -> list[Operation]:
    """Two fields of its container, or a label where it has none."""
    app = f"{_pods(item)}/containers/[name=app]"
    if lookup(item, app) is None:
        return [Operation("/metadata/labels/owner", "me")]
    choices = [
        Operation(f"{app}/env/[name=NEW]", {"name": "NEW", "value": "true"}),
        Operation(f"{app}/resources/limits/memory", "1Gi"),
        Operation("/metadata/labels/team", "other"),
    ]
    if lookup(item, f"{app}/image"):
        choices.append(Operation(f"{app}/image", "shop/other:7"))
    if item["kind"] in ("Deployment", "StatefulSet"):
        choices.append(Operation("/spec/replicas", 9))
    for name in ("ALPHA", "BETA", "J"):
        at = f"{app}/env/[name={name}]"
        if lookup(item, at):
            pair = (Operation(at, remove=True), Operation(f"{at}/value", "changed"))
            choices.append(dice.choice(pair))
    return dice.sample(choices, 2)


def carried_out(files: dict[str, bytes], places: dict[str, Placed]) -> None:
    for each in places.values():
        if each.content is not None:
            files[each.path] = each.content
        else:
            files[each.path] = text.edited(files[each.path], each.index, each.operations)


@needs_kubectl
@pytest.mark.kubectl
def test_an_edit_changes_what_kubectl_builds_of_its_object_and_of_no_other(
    some: dict[str, bytes], tmp_path: Path
) -> None:
    """In a third of the cases all objects of the same document get it, else one."""
    tree, files, dice, refused = MemoryTree(some), dict(some), random.Random(1), 0
    objects = render(tree, find(tree, ["**"])).objects
    expected = known(each.object for each in objects)
    for case in range(30):
        its = [each for each in objects if each.via.startswith(f"kustomize case{case}/")]
        chosen, everywhere = dice.choice(its), dice.random() < 0.3
        alike = [each for each in its if everywhere and each.document == chosen.document]
        operations = an_edit(dice, chosen.object)
        wanted = chosen.shared if everywhere else frozenset()
        try:
            places = [
                place for each in alike or [chosen] for place in each.place(operations, wanted)
            ]
        except ChangeRefused:
            refused += 1
            continue
        carried_out(files, {repr(each): each for each in places})
        expected |= known(intended(each.object, operations) for each in alike or [chosen])

    built = by_kustomize(files, tmp_path)
    assert {name: each for name, each in built.items() if each != expected[name]} == {}
    assert refused < 10
