"""Who will put an object back, told by what each tool leaves on the objects it writes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.managed import advice, built_in, managed_by
from smoldebug.records import Managed

TRACKED = "payments:apps/Deployment:shop/auth"


def live(**meta: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "auth", "namespace": "shop", **meta}}


def owner(kind: str, group: str = "apps/v1", **fields: Any) -> list[dict[str, Any]]:
    return [{"kind": kind, "apiVersion": group, "name": "x", "controller": True, **fields}]


@pytest.mark.parametrize(
    ("meta", "who"),
    [
        (
            {"annotations": {"meta.helm.sh/release-name": "auth",
                             "meta.helm.sh/release-namespace": "ops"}},
            "Helm: release ops/auth",
        ),
        ({"annotations": {"meta.helm.sh/release-name": "auth"}}, "Helm: release shop/auth"),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}},
         "Helm: a release that it does not name"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": TRACKED}},
         "Argo CD: Application payments"),
        ({"labels": {"argocd.argoproj.io/instance": "payments"}}, "Argo CD: Application payments"),
        (
            {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps",
                        "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}},
            "Flux: Kustomization flux-system/apps",
        ),
        (
            {"labels": {"helm.toolkit.fluxcd.io/name": "auth",
                        "helm.toolkit.fluxcd.io/namespace": "shop"},
             "annotations": {"meta.helm.sh/release-name": "auth"}},
            "Flux: HelmRelease shop/auth",
        ),
        ({"ownerReferences": owner("PostgresCluster", "postgres-operator.crunchydata.com/v1")},
         "PostgresCluster: PostgresCluster/shop/x"),
        ({"ownerReferences": owner("ReplicaSet"),
          "labels": {"app.kubernetes.io/managed-by": "Helm"}},
         "ReplicaSet: ReplicaSet/shop/x"),
        ({"ownerReferences": owner("Node", "v1")}, "Node: Node/x"),
        ({"ownerReferences": owner("Deployment", "mine.example/v1")},
         "Deployment.mine.example: Deployment/shop/x"),
        ({"managedFields": [{"manager": "kubectl"}, {"manager": "argocd-controller"}]},
         "Argo CD: what its field manager argocd-controller applies"),
    ],
)  # fmt: skip
def test_who_keeps_it_as_it_is(meta: dict[str, Any], who: str):
    assert str(managed_by(live(**meta))) == who


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"labels": {"app.kubernetes.io/instance": "auth", "app.kubernetes.io/managed-by": "me"}},
        {"annotations": {"argocd.argoproj.io/tracking-id": "app:apps/Deployment:shop/other"}},
        {"ownerReferences": owner("ConfigMap", "v1", controller=False)},
        {"managedFields": [{"manager": "helm-controller", "subresource": "status"}]},
        {"managedFields": [{"manager": "kubectl-client-side-apply"}, {"manager": "smoldebug-x"}]},
        {"labels": None, "annotations": "x", "ownerReferences": {}, "managedFields": [None, "x"]},
    ],
)
def test_what_says_nothing_is_nobody(meta: dict[str, Any]):
    assert managed_by(live(**meta)) is None


@pytest.mark.parametrize(
    ("by", "where", "own"),
    [
        ("Helm", "change the values of its chart and upgrade X", False),
        ("Argo CD", "change it in Git, where X takes it from", False),
        ("Flux", "change it in Git, where X takes it from", False),
        ("PostgresCluster", "change X instead", False),
        ("ReplicaSet", "change X instead", True),
        ("Deployment.mine.example", "change X instead", False),
    ],
)
def test_it_is_said_where_to_change_it(by: str, where: str, own: bool):
    assert advice(Managed(by, "X")) == where
    assert built_in(Managed(by, "X")) is own


json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=5,
)
KEYS = ("labels", "annotations", "ownerReferences", "managedFields", "name", "namespace")


@given(st.one_of(json, st.dictionaries(st.sampled_from(KEYS), json)))
def test_any_metadata_is_read_and_what_is_found_is_one_line(meta):
    found = managed_by({"metadata": meta})
    assert found is None or "\n" not in str(found)
