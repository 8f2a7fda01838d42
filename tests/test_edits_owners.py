"""From a live object to the repository it comes from, and from live changes to durable edits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.edits.owners import Owner, edits_of, not_durable, owner
from smoldebug.playbook import patches
from smoldebug.pointers import diff
from smoldebug.records import Change, ChangeKind, ObjectRef
from smoldebug.redact import mask

URL = "https://git.example/shop/manifests.git"


def live(**meta: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "auth", "namespace": "shop", **meta}}


def named(kind: str, namespace: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}


def found(item: Any, *objects: dict[str, Any]) -> Owner:
    refs = {
        ObjectRef(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]): each
        for each in objects
    }
    return owner(item, refs.get)


# --- Argo CD ----------------------------------------------------------------------------------

TRACKED = live(annotations={"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/auth"})
SOURCE = {"repoURL": URL, "path": "deploy/prod", "targetRevision": "main"}


def test_an_application_of_argo_cd_says_from_where_its_objects_are():
    application = named("Application", "argocd", "shop", spec={"source": SOURCE})
    assert found(TRACKED, application) == Owner(
        "Argo CD", URL, "deploy/prod", "main", "Application argocd/shop"
    )


def test_applications_live_in_other_namespaces_too():
    application = named("Application", "teams", "shop", spec={"source": SOURCE})
    tracked = live(
        annotations={"argocd.argoproj.io/tracking-id": "teams_shop:apps/Deployment:shop/auth"}
    )
    assert found(tracked, application).path == "deploy/prod"
    openshift = named("Application", "openshift-gitops", "shop", spec={"source": SOURCE})
    assert found(TRACKED, openshift).repo == URL


def test_of_several_sources_the_first_with_a_folder_in_git_counts():
    chart = {"repoURL": "https://charts.example", "chart": "shop", "targetRevision": "1.2.3"}
    values = {"repoURL": "https://git.example/values", "ref": "values"}
    application = named("Application", "argocd", "shop", spec={"sources": [chart, values, SOURCE]})
    assert found(TRACKED, application) == Owner(
        "Argo CD",
        URL,
        "deploy/prod",
        "main",
        "Application argocd/shop, one of its 2 repositories",
    )
    alone = named("Application", "argocd", "shop", spec={"source": chart})
    assert found(TRACKED, alone) == Owner(
        "Argo CD", detail="Application argocd/shop takes it from no Git repository"
    )


def test_head_is_the_default_branch_and_dots_are_no_folders():
    source = {"repoURL": URL, "path": "./deploy/../deploy/", "targetRevision": "HEAD"}
    application = named("Application", "argocd", "shop", spec={"source": source})
    assert found(TRACKED, application).path == "deploy/deploy"
    assert found(TRACKED, application).revision == ""


def test_credentials_in_a_url_go_no_further():
    source = {"repoURL": "https://bot:hunter2@git.example/shop/manifests", "path": "."}
    application = named("Application", "argocd", "shop", spec={"source": source})
    assert found(TRACKED, application).repo == "https://git.example/shop/manifests"
    source["repoURL"] = "git@git.example:shop/manifests.git"
    assert found(TRACKED, application).repo == "git@git.example:shop/manifests.git"


def test_a_label_that_anybody_may_set_counts_where_the_application_lists_the_object():
    labelled = live(labels={"app.kubernetes.io/instance": "shop",
                            "app.kubernetes.io/managed-by": "Helm"})  # fmt: skip
    listed = [{"kind": "Deployment", "namespace": "shop", "name": "auth"}]
    application = named(
        "Application", "argocd", "shop", spec={"source": SOURCE}, status={"resources": listed}
    )
    assert found(labelled, application).repo == URL
    listed[0]["name"] = "other"
    assert found(labelled, application).tool == "Helm"


def test_an_application_that_cannot_be_read_is_told():
    assert found(TRACKED) == Owner("Argo CD", detail="Application shop cannot be read")


# --- Flux and Helm ------------------------------------------------------------------------------


def flux(group: str) -> dict[str, Any]:
    group = f"{group}.toolkit.fluxcd.io"
    return live(labels={f"{group}/name": "apps", f"{group}/namespace": "flux-system"})


GIT = named(
    "GitRepository",
    "flux-system",
    "fleet",
    spec={"url": "ssh://git@git.example/shop/fleet", "ref": {"branch": "main"}},
)


def test_a_kustomization_of_flux_says_from_where_its_objects_are():
    kustomization = named(
        "Kustomization",
        "flux-system",
        "apps",
        spec={"path": "./apps/prod", "sourceRef": {"kind": "GitRepository", "name": "fleet"}},
    )
    assert found(flux("kustomize"), kustomization, GIT) == Owner(
        "Flux",
        "ssh://git@git.example/shop/fleet",
        "apps/prod",
        "main",
        "Kustomization flux-system/apps",
    )
    assert found(flux("kustomize"), kustomization) == Owner(
        "Flux", detail="GitRepository/flux-system/fleet cannot be read"
    )
    assert found(flux("kustomize")).detail == "Kustomization flux-system/apps cannot be read"


def test_a_helm_release_of_flux_names_its_chart():
    source = {"kind": "GitRepository", "name": "fleet", "namespace": "flux-system"}
    spec = {"chart": {"spec": {"chart": "./charts/auth", "sourceRef": source}}}
    release = named("HelmRelease", "flux-system", "apps", spec=spec)
    assert found(flux("helm"), release, GIT).path == "charts/auth"
    source["kind"] = "HelmRepository"
    assert found(flux("helm"), release, GIT) == Owner(
        "Flux", detail="HelmRelease flux-system/apps takes it from no Git repository"
    )


@pytest.mark.parametrize(
    ("ref", "revision"),
    [
        ({}, ""),
        ({"branch": "prod", "commit": "3f2a1c9"}, "prod"),
        ({"name": "refs/heads/prod"}, "prod"),
        ({"tag": "v1"}, "v1"),
        ({"semver": "1.x"}, ""),
    ],
)
def test_what_flux_follows(ref: dict[str, str], revision: str):
    source = {"kind": "GitRepository", "name": "fleet"}
    kustomization = named("Kustomization", "flux-system", "apps", spec={"sourceRef": source})
    git = named("GitRepository", "flux-system", "fleet", spec={"url": URL, "ref": ref})
    assert found(flux("kustomize"), kustomization, git).revision == revision


def test_plain_helm_does_not_say_where_its_chart_is():
    released = live(annotations={"meta.helm.sh/release-name": "auth"})
    assert found(released) == Owner(
        "Helm",
        detail="Helm: release shop/auth: change the values of its chart and upgrade release "
        "shop/auth",
    )


def test_nobody_owns_it_or_an_operator_does():
    assert found(live()) == Owner()
    owned = live(ownerReferences=[{"kind": "PostgresCluster", "name": "db", "controller": True}])
    assert found(owned).tool == ""
    assert "PostgresCluster/shop/db" in found(owned).detail


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["spec", "source", "sources", "repoURL", "path", "metadata", "status"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_an_application_holds_it_is_an_answer(application: Any):
    assert owner(TRACKED, lambda ref: application).tool == "Argo CD"
    assert owner(flux("kustomize"), lambda ref: application).tool == "Flux"
    owner(live(labels={"app.kubernetes.io/instance": "shop"}), lambda ref: application)


# --- edits of live changes ----------------------------------------------------------------------

AUTH = ObjectRef("Deployment", "shop", "auth")
SELECT = patches.Select(kind="Deployment", namespace="shop", name="auth")


def deployment(**container: Any) -> dict[str, Any]:
    pods = {"spec": {"containers": [{"name": "app", "image": "auth:1", **container}]}}
    return {"kind": "Deployment", "spec": {"replicas": 2, "template": pods}}


def changed(kind: str, was: Any, now: Any, target: ObjectRef = AUTH) -> Change:
    before, after = diff(was, now)
    return Change(ChangeKind(kind), target, before, after, "it helps")


def test_a_scale_sets_the_replicas():
    was, now = deployment(), deployment()
    now["spec"]["replicas"] = 6
    assert edits_of([changed("scale", was, now)]) == [
        patches.Edit(select=SELECT, set_replicas=patches.SetReplicas(replicas=6))
    ]


def test_an_image_and_resources_are_those_of_their_container():
    memory = {"resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m"}}}
    more = {"resources": {"limits": {"memory": "2Gi"}, "requests": {"cpu": "200m"}}}
    change = changed("set-resources", deployment(**memory), deployment(**more))
    image = changed("set-image", deployment(), deployment(image="auth:2"))
    assert edits_of([image, change]) == [
        patches.Edit(select=SELECT, set_image=patches.SetImage(image="auth:2", containers=["app"])),
        patches.Edit(
            select=SELECT,
            set_resources=patches.SetResources(limits={"memory": "2Gi"}, containers=["app"]),
        ),
        patches.Edit(
            select=SELECT,
            set_resources=patches.SetResources(requests={"cpu": "200m"}, containers=["app"]),
        ),
    ]


@pytest.mark.parametrize(
    "env",
    [
        None,
        [],
        [{"name": "FLAG", "value": "false"}],
        [{"name": "FLAG", "valueFrom": {"configMapKeyRef": {"name": "flags", "key": "a"}}}],
    ],
)
def test_a_variable_is_set_whatever_it_was(env: Any):
    now = [{"name": "FLAG", "value": "true"}]
    change = changed("set-env", deployment(env=env), deployment(env=now))
    wanted = patches.SetEnv(name="FLAG", value="true", containers=["app"], if_different="overwrite")
    assert edits_of([change]) == [patches.Edit(select=SELECT, set_env=wanted)]


def test_a_variable_is_taken_away():
    flag = {"name": "FLAG", "value": "true"}
    other = {"name": "OTHER", "value": "1"}
    change = changed("set-env", deployment(env=[flag, other]), deployment(env=[other]))
    removal = patches.RemoveEnv(name="FLAG", containers=["app"])
    assert edits_of([change]) == [patches.Edit(select=SELECT, remove_env=removal)]


def test_bounds_of_an_autoscaler_are_fields_as_any_other():
    hpa = ObjectRef("HorizontalPodAutoscaler", "shop", "auth")
    change = changed("set-replicas-bounds", {"spec": {"maxReplicas": 3}},
                     {"spec": {"maxReplicas": 6}}, hpa)  # fmt: skip
    assert edits_of([change]) == [
        patches.Edit(
            select=patches.Select(kind=hpa.kind, namespace="shop", name="auth"),
            set=patches.SetPath(path="/spec/maxReplicas", value=6),
        )
    ]


def test_a_patch_sets_adds_and_removes():
    was = deployment(readinessProbe={"periodSeconds": 5, "failureThreshold": 1})
    now = deployment(readinessProbe={"periodSeconds": 9}, ports=[{"containerPort": 8080}])
    app = "/spec/template/spec/containers/[name=app]"
    period, failures, port = edits_of([changed("patch-object", was, now)])
    assert period.set == patches.SetPath(path=f"{app}/readinessProbe/periodSeconds", value=9)
    assert failures.remove == patches.RemovePath(path=f"{app}/readinessProbe/failureThreshold")
    assert port.add_item == patches.AddItem(
        path=f"{app}/ports",
        key="containerPort",
        item={"containerPort": 8080},
        if_different="overwrite",
    )


def test_the_last_change_of_a_field_counts():
    two, four, six = deployment(), deployment(), deployment()
    four["spec"]["replicas"], six["spec"]["replicas"] = 4, 6
    (edit,) = edits_of([changed("scale", two, four), changed("scale", four, six)])
    assert edit.set_replicas == patches.SetReplicas(replicas=6)


@pytest.mark.parametrize(
    ("kind", "instead"),
    [
        ("restart", ""),
        ("debug-container", ""),
        ("cordon", ""),
        ("rollback", ": revert the commit that brought the later revision"),
        ("delete-object", ": remove its manifest by hand"),
    ],
)
def test_what_no_manifest_says_is_told(kind: str, instead: str):
    change = changed(kind, deployment(), deployment(image="auth:2"))
    assert edits_of([change]) == []
    assert not_durable([change]) == [f"{kind} Deployment/shop/auth cannot be made durable{instead}"]


def test_a_mask_is_never_written_to_a_manifest():
    env = [{"name": "PASSWORD", "value": mask("hunter2")}]
    change = changed("set-env", deployment(), deployment(env=env))
    assert edits_of([change]) == []
    assert not_durable([change]) == [
        "set-env Deployment/shop/auth cannot be made durable: a mask stands for its value"
    ]


def test_a_durable_change_is_not_told():
    assert not_durable([changed("set-image", deployment(), deployment(image="auth:2"))]) == []
