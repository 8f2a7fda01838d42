"""The live cluster over real HTTP, against the lab's API server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import Practice, autoscaler, client, deployment, pod, practice, service

from smoldebug import __version__
from smoldebug.clock import FakeClock
from smoldebug.errors import (
    AccessDenied,
    ChangeRefused,
    Conflict,
    NotFound,
    SmoldebugError,
    ToolError,
    UnreachableError,
    UsageError,
)
from smoldebug.lab.apifaults import Rule
from smoldebug.records import ObjectRef
from smoldebug.sources import kubeconfig
from smoldebug.sources.kube import BUSY_SECONDS, KubeCluster, connect
from smoldebug.sources.kube_errors import Asked, refused
from smoldebug.sources.kube_writes import ANNOTATION, Write
from smoldebug.sources.world import Object

AUTH = ObjectRef("Deployment", "shop", "auth")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Practice]:
    with practice(tmp_path, deployment(), pod("auth-1"), autoscaler()) as found:
        yield found


@pytest.fixture
def cluster(here: Practice) -> Iterator[KubeCluster]:
    with client(here) as found:
        yield found


# --- reading --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Deployment", "deployments", "deploy", "deployments.apps"])
def test_a_kind_may_be_called_what_kubectl_calls_it(cluster: KubeCluster, kind: str) -> None:
    assert [item["metadata"]["name"] for item in cluster.list(kind, "shop")] == ["auth"]


def test_objects_of_a_list_say_what_they_are(cluster: KubeCluster) -> None:
    [found] = cluster.list("hpa", "shop")
    assert (found["apiVersion"], found["kind"]) == ("autoscaling/v2", "HorizontalPodAutoscaler")


def test_lists_are_read_in_pages_to_the_end(here: Practice, cluster: KubeCluster) -> None:
    labels = {"app": "many"}
    for index in range(501):
        metadata = {"name": f"c{index}", "namespace": "shop", "labels": labels}
        here.add({"kind": "ConfigMap", "metadata": metadata, "data": {}})
    assert len(cluster.list("configmaps", "shop", labels="app=many")) == 501
    assert cluster.list("configmaps", "shop", labels="app=few") == []


def test_an_unknown_kind_is_bad_usage_and_names_the_nearest(cluster: KubeCluster) -> None:
    with pytest.raises(UsageError, match="unknown kind: Deploymnt") as caught:
        cluster.list("Deploymnt", "shop")
    assert "deployment" in caught.value.hint


def test_a_missing_object_names_the_nearest(cluster: KubeCluster) -> None:
    with pytest.raises(NotFound, match="Deployment/shop/auht does not exist") as caught:
        cluster.get(ObjectRef("Deployment", "shop", "auht"))
    assert caught.value.hint == "did you mean: auth?"


@pytest.mark.parametrize("ask", [lambda c: c.list("pods", "shpo"), lambda c: c.logs("shpo", "x")])
def test_a_missing_namespace_is_told_from_an_empty_one(cluster: KubeCluster, ask: object) -> None:
    assert cluster.list("jobs", "shop") == []
    with pytest.raises(NotFound, match='namespace "shpo" does not exist') as caught:
        ask(cluster)  # type: ignore[operator]
    assert caught.value.hint == "did you mean: shop?"


@pytest.mark.parametrize("name", ["../../secrets", "a/b", "a?b", "a b", "", "é", "-x"])
def test_a_name_cannot_leave_its_place_in_the_path(cluster: KubeCluster, name: str) -> None:
    with pytest.raises(SmoldebugError):
        cluster.get(ObjectRef("Deployment", "shop", name))


def test_logs_are_text_whatever_bytes_they_hold(cluster: KubeCluster) -> None:
    assert cluster.logs("shop", "auth-1").splitlines() == [
        "pool exhausted (20/20)",
        "caf\u00e9 \u2713 \x1b[31mred",
        "\ufffd\ufffd",
    ]
    assert cluster.logs("shop", "auth-1", lines=1) == "\ufffd\ufffd\n"
    assert cluster.logs("shop", "auth-1", "web", previous=True) == "before the restart\n"


def test_logs_of_a_missing_pod(cluster: KubeCluster) -> None:
    with pytest.raises(NotFound, match='pods "gone" not found'):
        cluster.logs("shop", "gone")


# --- changing -------------------------------------------------------------------------------

CONFIG = ObjectRef("ConfigMap", "shop", "new")
THREE = [
    {"op": "test", "path": "/spec/replicas", "value": 2},
    {"op": "replace", "path": "/spec/replicas", "value": 3},
]


def config_map(**data: str) -> Object:
    metadata = {"name": "new", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def managers(item: Object) -> set[str]:
    return {entry["manager"] for entry in item["metadata"]["managedFields"]}


def test_a_dry_run_changes_nothing(cluster: KubeCluster) -> None:
    assert cluster.patch(AUTH, THREE, dry_run=True, note="")["spec"]["replicas"] == 3
    assert cluster.get(AUTH)["spec"]["replicas"] == 2
    cluster.create(config_map(), dry_run=True, note="")
    cluster.apply(config_map(), dry_run=True, note="")
    with pytest.raises(NotFound):
        cluster.get(CONFIG)
    live = cluster.get(AUTH)["metadata"]
    cluster.delete(
        AUTH, uid=live["uid"], revision=live["resourceVersion"], dry_run=True, note="7f3a C1"
    )
    assert cluster.get(AUTH)


def test_a_patch_names_its_run_and_leaves_a_note(cluster: KubeCluster) -> None:
    cluster.patch(AUTH, THREE, dry_run=False, note="7f3a C1")
    cluster.patch(AUTH, [], dry_run=False, note="8b1c C2")
    found = cluster.get(AUTH)
    assert found["metadata"]["annotations"] == {ANNOTATION: "8b1c C2"}
    assert {"smoldebug-7f3a", "smoldebug-8b1c"} <= managers(found)
    cluster.patch(AUTH, [{**THREE[1], "value": 4}], dry_run=False, note="")
    assert "smoldebug" in managers(cluster.get(AUTH))


def test_the_audit_log_of_the_server_shows_the_run(tmp_path: Path) -> None:
    from clusters import web_server

    with practice(tmp_path) as here, web_server({}) as (url, seen):
        config = here.server.kubeconfig().replace(here.server.url, url)
        Path(here.kubeconfig).write_text(config, encoding="utf-8")
        with client(here) as cluster, pytest.raises(SmoldebugError):
            cluster.create(config_map(), dry_run=True, note="7f3a C1")
    assert seen == [
        "POST /api/v1/namespaces/shop/configmaps?fieldManager=smoldebug-7f3a&dryRun=All"
    ]
    assert Write("POST", "/", note="7f3a C1").agent == f"smoldebug/{__version__} (run 7f3a)"


def test_a_field_that_has_moved_meanwhile_refuses_the_patch(cluster: KubeCluster) -> None:
    cluster.patch(AUTH, THREE, dry_run=False, note="")
    for note in ("", "7f3a C1"):
        with pytest.raises(Conflict, match="another value|/spec/replicas"):
            cluster.patch(AUTH, THREE, dry_run=False, note=note)


def test_an_object_is_created_once(cluster: KubeCluster) -> None:
    made = cluster.create(config_map(a="b"), dry_run=False, note="7f3a C1")
    assert made["metadata"]["annotations"] == {ANNOTATION: "7f3a C1"}
    with pytest.raises(Conflict, match="already exists"):
        cluster.create(config_map(), dry_run=False, note="7f3a C2")


def test_an_object_is_deleted_only_in_the_state_it_was_read_in(cluster: KubeCluster) -> None:
    meta = cluster.create(config_map(), dry_run=False, note="")["metadata"]
    for uid, revision in (("other", meta["resourceVersion"]), (meta["uid"], "1")):
        with pytest.raises(Conflict):
            cluster.delete(CONFIG, uid=uid, revision=revision, dry_run=False, note="")
    cluster.delete(
        CONFIG, uid=meta["uid"], revision=meta["resourceVersion"], dry_run=False, note=""
    )
    with pytest.raises(NotFound):
        cluster.get(CONFIG)


def test_an_apply_is_never_forced(cluster: KubeCluster) -> None:
    cluster.create(config_map(a="b"), dry_run=False, note="")
    with pytest.raises(Conflict, match=r'conflict with "smoldebug".*\.data\.a'):
        cluster.apply(config_map(a="c"), dry_run=False, note="7f3a C1")
    cluster.apply(config_map(b="c"), dry_run=False, note="7f3a C1")
    assert cluster.get(CONFIG)["data"] == {"a": "b", "b": "c"}


def test_the_manifest_says_which_version_is_meant(cluster: KubeCluster) -> None:
    with pytest.raises(UsageError, match="unknown kind: ConfigMap in knative.dev/v1"):
        cluster.create({**config_map(), "apiVersion": "knative.dev/v1"}, dry_run=True, note="")


def test_the_server_says_who_this_is(cluster: KubeCluster, here: Practice) -> None:
    assert cluster.whoami() == "lab-admin"
    here.faults.add(Rule("create", "selfsubjectreviews", status=500))
    assert cluster.whoami() == ""


# --- commands -------------------------------------------------------------------------------


def test_a_command_in_a_pod_ends_with_its_exit_code(cluster: KubeCluster) -> None:
    done = cluster.exec("shop", "auth-1", "web", ["sh", "-c", "echo out; echo err >&2; exit 3"], 5)
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert cluster.exec("shop", "auth-1", "web", ["true"], 5).code == 0


def test_a_command_that_outlives_its_limit_has_no_code(cluster: KubeCluster) -> None:
    done = cluster.exec("shop", "auth-1", "web", ["sleep", "3"], 0.2)
    assert done.code is None
    assert done.seconds < 2


def test_a_command_that_is_not_there(cluster: KubeCluster) -> None:
    with pytest.raises((ToolError, UnreachableError)):
        cluster.exec("shop", "auth-1", "web", ["no-such-program"], 5)


# --- what goes wrong ------------------------------------------------------------------------


def test_no_permission_names_the_verb_that_is_missing(here: Practice, cluster: KubeCluster) -> None:
    here.faults.add(Rule("list", "pods"))
    here.faults.add(Rule("get", "pods/log"))
    here.faults.add(Rule("patch", "deployments"))
    for ask, needs in (
        (lambda: cluster.list("Pod", "shop"), "list pods in namespace shop"),
        (lambda: cluster.list("Pod"), "list pods"),
        (lambda: cluster.logs("shop", "auth-1"), "get pods/log in namespace shop"),
        (
            lambda: cluster.patch(AUTH, THREE, dry_run=True, note=""),
            "patch deployments in namespace shop",
        ),
    ):
        with pytest.raises(AccessDenied) as caught:
            ask()  # type: ignore[no-untyped-call]
        assert caught.value.needs == needs


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, AccessDenied, "expired or wrong"),
        (429, UnreachableError, "overloaded"),
        (500, UnreachableError, "told to fail"),
        (503, UnreachableError, "unable to handle"),
    ],
)
def test_a_server_in_trouble(
    here: Practice, status: int, kind: type[SmoldebugError], words: str
) -> None:
    here.faults.add(Rule(status=status))
    with client(here, FakeClock()) as cluster, pytest.raises(kind, match=words):
        cluster.list("pods", "shop")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for_as_long_as_it_asks(here: Practice, status: int) -> None:
    here.faults.add(Rule("patch", "deployments", status=status, retry_after=3, times=2))
    clock = FakeClock()
    with client(here, clock) as cluster:
        assert cluster.patch(AUTH, THREE, dry_run=False, note="")["spec"]["replicas"] == 3
    assert clock.elapsed == 6


def test_a_server_that_stays_busy_is_not_waited_for_for_ever(here: Practice) -> None:
    here.faults.add(Rule("patch", "deployments", status=429, retry_after=3600))
    clock = FakeClock()
    with client(here, clock) as cluster, pytest.raises(ChangeRefused, match="did nothing"):
        cluster.patch(AUTH, THREE, dry_run=False, note="")
    assert clock.elapsed == BUSY_SECONDS


def test_nobody_waits_for_a_busy_server_once_the_run_is_over(here: Practice) -> None:
    here.faults.add(Rule("patch", "deployments", status=429, retry_after=9))
    with client(here) as cluster:
        cluster.close()
        with pytest.raises(ChangeRefused, match="overloaded"):
            cluster.patch(AUTH, THREE, dry_run=False, note="")


@pytest.mark.parametrize("rule", [{"drop": True}, {"status": 500}, {"status": 504}])
def test_after_a_lost_answer_nobody_knows(here: Practice, cluster: KubeCluster, rule) -> None:
    here.faults.add(Rule("patch", "deployments", after=True, **rule))
    with pytest.raises(UnreachableError):
        cluster.patch(AUTH, THREE, dry_run=False, note="")
    assert cluster.get(AUTH)["spec"]["replicas"] == 3, "sent once, and not again"


@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_what_admission_denies_is_quoted_and_a_clear_no(status: int) -> None:
    denied = 'admission webhook "a.example" denied the request: root cannot run here'
    if status == 500:
        denied = 'Internal error occurred: failed calling webhook "a.example": no endpoints'
    error = refused(Asked("patch", "pods"), "eu", status, {"kind": "Status", "message": denied})
    assert type(error) is ChangeRefused
    assert str(error) == f"the API server refused: {denied}"


def test_a_wrong_token_is_told_without_showing_it(tmp_path: Path) -> None:
    with practice(tmp_path, token="right-token") as here:
        Path(here.kubeconfig).write_text(here.server.kubeconfig("wrong-token"), encoding="utf-8")
        with client(here) as cluster, pytest.raises(AccessDenied) as caught:
            cluster.list("pods", "shop")
        assert "credentials of context lab" in str(caught.value)
        with client(here) as cluster, pytest.raises(AccessDenied):
            cluster.exec("shop", "auth-1", "", ["true"], 2)
        assert "wrong-token" not in f"{caught.value}{caught.value.hint}"


def test_a_refused_connection_names_context_and_server(tmp_path: Path) -> None:
    with practice(tmp_path) as here:
        address = here.server.url.removeprefix("http://")
    with client(here) as cluster, pytest.raises(UnreachableError) as caught:
        cluster.list("pods", "shop")
    assert str(caught.value) == (
        f"cannot reach the cluster of context lab at {address}: connection refused"
    )


def test_a_server_that_speaks_no_kubernetes(here: Practice) -> None:
    from clusters import web_server

    with web_server({}) as (url, _):
        config = here.server.kubeconfig().replace(here.server.url, url)
        Path(here.kubeconfig).write_text(config, encoding="utf-8")
        with client(here) as cluster, pytest.raises(SmoldebugError):
            cluster.list("pods", "shop")


# --- kubeconfig -----------------------------------------------------------------------------


def test_an_unknown_context_lists_the_known(here: Practice) -> None:
    with pytest.raises(UsageError, match="unknown context: labb") as caught:
        connect("labb", here.kubeconfig)
    assert "did you mean: lab?" in caught.value.hint
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not YAML"),
        ("- a", "no mapping"),
        ("", "no mapping"),
        ("contexts: [{name: lab}]", "no current context"),
        ("current-context: lab", "unknown context: lab"),
        ("current-context: lab\ncontexts: [{name: lab}]", "context lab"),
        ("current-context: lab\ncontexts: [{name: lab, context: {cluster: x}}]", "context lab"),
        ("current-context: lab\ncontexts: [1, {name: 2}, {name: lab, context: 3}]", "context lab"),
    ],
)
def test_a_broken_kubeconfig_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        connect(None, str(path))


def test_a_token_never_gets_into_a_message(tmp_path: Path) -> None:
    path = tmp_path / "config"
    user = {"name": "u", "user": {"client-certificate-data": "s3cret", "token": "s3cret"}}
    cluster = {"name": "c", "cluster": {"certificate-authority": "/nowhere/ca.crt"}}
    context = {"name": "lab", "context": {"cluster": "c", "user": "u"}}
    config = {"current-context": "lab", "contexts": [context], "clusters": [cluster]}
    path.write_text(json.dumps({**config, "users": [user]}), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        connect(None, str(path))
    assert "s3cret" not in f"{caught.value}{caught.value.hint}"


def test_where_a_kubeconfig_is_looked_for(tmp_path: Path) -> None:
    for name in ("one", "two"):
        text = f"current-context: {name}\ncontexts: [{{name: {name}, context: {{namespace: n}}}}]"
        (tmp_path / name).write_text(text, encoding="utf-8")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    both = {"KUBECONFIG": os.pathsep.join((str(tmp_path / "no"), one, two))}
    assert kubeconfig.choose(None, two, both).context == "two"
    assert kubeconfig.choose(None, None, both).context == "one"
    assert kubeconfig.choose("two", None, both).namespace == "n"
    missing = {"KUBECONFIG": str(tmp_path / "no")}
    inside = {**missing, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert kubeconfig.choose(None, None, inside).context == "in-cluster"
    with pytest.raises(UsageError, match="no kubeconfig found"):
        kubeconfig.choose(None, None, missing)
    with pytest.raises(UsageError, match="no such kubeconfig"):
        kubeconfig.choose(None, str(tmp_path / "no"), both)


def test_a_failed_login_plugin_is_denied_access(tmp_path: Path) -> None:
    path = tmp_path / "config"
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "false",
        "interactiveMode": "Never",
    }
    config = {
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"exec": plugin}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(AccessDenied, match="no credentials for context lab"):
        connect(None, str(path))


# --- start-up -------------------------------------------------------------------------------


def test_the_client_is_loaded_only_to_connect_and_says_nothing(here: Practice) -> None:
    code = (
        "import sys; import smoldebug.sources.kube as k, smoldebug.sources.open\n"
        "assert not {'kubernetes', 'urllib3', 'requests'} & set(sys.modules), 'loaded early'\n"
        f"c = k.connect(None, {here.kubeconfig!r}); assert c.list('pods', 'shop')\n"
        "c.close(); assert 'kubernetes.client.api' not in sys.modules, 'typed APIs'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_built_in_kinds_need_no_discovery(here: Practice, cluster: KubeCluster) -> None:
    here.faults.add(Rule("get", "apis", status=500))
    here.add(service())
    assert cluster.list("Service", "shop")
