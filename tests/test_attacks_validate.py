"""A hostile chart, service, release or neighbour, and an upgrade: nothing is hidden from the guard,
no other bytes are sent than were approved, nothing broken is called well, nothing leaks."""

from typing import Any

import pytest
from test_helm import Spoken, helm
from test_releases import SHOP

from smoldebug.sources.helm import Object

# --- what a manifest hides from whoever reads it otherwise than Helm does ------------------------


def seen(manifest: str) -> list[Object]:
    """The objects of a release with that manifest, as the guard gets them."""
    return list(helm(Spoken(get=manifest)).objects(SHOP))


def names(manifest: str) -> list[str]:
    found = [(each["kind"], each["metadata"]) for each in seen(manifest)]
    return [f"{kind}/{meta.get('namespace', '')}/{meta['name']}" for kind, meta in found]


@pytest.mark.parametrize(
    ("metadata", "namespace"),
    [  # each as Helm 3.6, 3.10 and 4.2 took it on a lab
        ("{name: x, namespace: shop, <<: {namespace: kube-system}}", "kube-system"),
        ("{name: x, <<: {namespace: kube-system}, namespace: shop}", "shop"),
        ('{name: x, namespace: kube-system, "<<": {namespace: shop}}', "kube-system"),
        ("{name: x, <<: [{namespace: kube-system}, {namespace: shop}]}", "kube-system"),
        ("{name: x, namespace: shop, namespace: kube-system}", "kube-system"),
        ("{name: x, namespace: !!binary a3ViZS1zeXN0ZW0=}", "kube-system"),
        ("{name: !!binary eA==}", "shop"),
        ("{name: x, namespace: null}", "shop"),
    ],
)
def test_an_object_is_where_helm_puts_it(metadata: str, namespace: str):
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n"
    assert names(text) == [f"ConfigMap/{namespace}/x"]


def test_whatever_has_items_is_a_list_and_gives_them_its_kind():
    """A ConfigMap to whoever looks, and to Kubernetes a list of what it should not have."""
    text = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: innocent}
items:
- {apiVersion: v1, kind: Secret, metadata: {name: a, namespace: kube-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBindingList
items:
- {metadata: {name: admin, namespace: shop}, roleRef: {kind: ClusterRole, name: cluster-admin}}
---
kind: List
items: [{kind: RoleList, apiVersion: rbac.authorization.k8s.io/v1, items: [{metadata: {name: b}}]}]
---
{apiVersion: batch/v1, kind: Job, metadata: {generateName: c-, namespace: kube-system}}
"""
    assert names(text) == [
        "Secret/kube-system/a",
        "ClusterRoleBinding//admin",
        "Role/shop/b",
        "Job/kube-system/c-",
    ]


@pytest.mark.parametrize("value", ['!!bool "true"', "yes", "on", "&x true", "!!bool yes"])
def test_a_privilege_is_one_however_it_is_spelt(value: str):
    text = f"kind: Pod\nmetadata: {{name: x}}\nspec: {{privileged: {value}}}"
    [pod] = seen(text)
    assert pod["spec"] == {"privileged": True}


@pytest.mark.parametrize(
    "odd", ["{name: 5}", "{name: [x]}", "{name: {}}", "{name: x, namespace: 7}", "{}", "[]", "null"]
)
def test_odd_names_are_names_or_nothing(odd: str):
    for item in seen(f"kind: Job\nmetadata: {odd}"):
        meta: dict[str, Any] = item["metadata"]
        assert isinstance(meta["name"], str)
        assert isinstance(meta["namespace"], str)
