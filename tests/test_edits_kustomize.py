"""Kustomizations: built as kustomize builds them, and edited in the layer a reviewer expects."""

import json
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from realkubectl import KUBECTL, needs_kubectl
from smoldebug.edits.documents import find
from smoldebug.edits.operations import Operation
from smoldebug.edits.render import render
from smoldebug.edits.rendered import Rendered, Rendering
from smoldebug.errors import ChangeRefused
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
    files = {path: text.encode() for part in parts for path, text in part.items()}
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

    with pytest.raises(ChangeRefused, match=r"its (commonL|l)abels set metadata.labels.team for"):
        found.place([Operation("/metadata/labels/team", "shop")])


def test_a_name_that_is_no_file_name_makes_no_patch_file() -> None:
    base = {**BASE, "deploy/base/checkout.yaml": DEPLOYMENT.replace("name: checkout", "name: ../x")}
    staging = of(rendered(base, overlay("staging"), overlay("eu")), STAGING)

    with pytest.raises(ChangeRefused, match="no name for a patch file"):
        staging.place([FLAG])
