"""`smoldebug playbooks rbac`: the role it prints is what a run requests, no less and no more.

A run is played against a real API server that evaluates RBAC and writes down every request, by a
script that uses all the playbook allows, as a ServiceAccount that has the printed role and
nothing else.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from clusters import Container, autoscaler, deployment, pod, service
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.agent import MOST_CALLS, Signals
from smoldebug.cli.assemble import assemble
from smoldebug.cli.options import Options
from smoldebug.clock import FakeClock
from smoldebug.errors import UsageError
from smoldebug.events import AnyEvent, PhaseBegan, UndoBegan
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.lab.api import Api
from smoldebug.lab.apierror import ApiError
from smoldebug.lab.apifaults import Faults
from smoldebug.lab.catalog import resource
from smoldebug.lab.defaultroles import bootstrap
from smoldebug.lab.rbac import Attributes, attributes_of
from smoldebug.lab.requests import Request
from smoldebug.lab.server import Server
from smoldebug.lab.store import Store
from smoldebug.playbook.base import Duration
from smoldebug.playbook.load import load
from smoldebug.playbook.models import RunPlan
from smoldebug.preview import rbac
from smoldebug.records import Answer, Card, Decision
from smoldebug.run import run
from smoldebug.sources.kinds import KINDS, find

Call = dict[str, dict[str, Any]]
Object = dict[str, Any]
EVERYBODY = "authentication.k8s.io"  # who am I? needs no rule
# Servers before 1.35 ask for get alone when a command is run in a pod.
LATER = rbac.Grant("", "", "pods/exec", "create")


BOUNDS = {"name": "auth", "maximum": 3, "why": "E1"}
_CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}


class Recording(Api):
    """An API that writes down what ServiceAccounts ask of it, and what of that it refuses."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Container(), Faults())
        self.asked: list[Attributes] = []
        self.refused: list[Attributes] = []

    def admitted(self, request: Request) -> Request:
        wanted = attributes_of(request)
        if not request.user.name.startswith("system:serviceaccount:") or wanted.path:
            return super().admitted(request)
        if wanted.group != EVERYBODY:
            self.asked.append(wanted)
        try:
            return super().admitted(request)
        except ApiError:
            self.refused.append(wanted)
            raise


@dataclass
class Cluster:
    store: Store
    api: Recording
    server: Server
    folder: Path

    def add(self, item: Object) -> None:
        known = find(item["kind"])
        assert known is not None
        self.store.create(resource(known.plural), item["metadata"].get("namespace"), item)

    def grant(self, plan: RunPlan, *, read_only: bool = False, without: str = "") -> None:
        """Bind what is printed to the account it is for, but for one verb on one resource."""
        account = rbac.default_account(plan.playbook)
        for role in rbac.roles(plan, account, read_only=read_only):
            for document in role.documents():
                self.add(_lacking(document, without))

    def play(self, plan: RunPlan, calls: list[Call]) -> list[AnyEvent]:
        """A run in which a model makes those calls and an operator says yes."""
        account = rbac.default_account(plan.playbook)
        config = self.folder / "kubeconfig"
        token = self.server.token_for(account.namespace, account.name)
        config.write_text(self.server.kubeconfig(token), encoding="utf-8")
        script = self.folder / "script.yaml"
        turns = [calls[at : at + MOST_CALLS] for at in range(0, len(calls), MOST_CALLS)]
        script.write_text(json.dumps([{"calls": each} for each in turns]), encoding="utf-8")
        options = Options(kubeconfig=str(config), models=(f"scripted:{script}",))
        made = assemble(plan, options, yes, Signals(), FakeClock())
        try:
            return [stamped.event for stamped in run(plan, made.crew, made.first)]
        finally:
            made.close()

    def unused(self, plan: RunPlan) -> list[rbac.Grant]:
        granted = rbac.because(plan.playbook)
        return [one for one in granted if not any(allows(one, each) for each in self.api.asked)]


def _lacking(document: Object, without: str) -> Object:
    verb, _, what = without.partition(" ")
    kept = []
    for rule in document.get("rules", ()):
        if what in rule["resources"]:
            rest = [each for each in rule["resources"] if each != what]
            verbs = [each for each in rule["verbs"] if each != verb]
            kept += [{**rule, "resources": rest}] if rest else []
            kept += [{**rule, "resources": [what], "verbs": verbs}] if verbs else []
        else:
            kept.append(rule)
    return {**document, "rules": kept} if "rules" in document else document


def yes(card: Card) -> Decision:
    return Decision(Answer.YES, "operator")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path / "home"))
    with _served(tmp_path) as served:
        yield served


@contextmanager
def _served(folder: Path) -> Iterator[Cluster]:
    store = Store()
    bootstrap(store)
    api = Recording(store)
    server = Server(0, api, "of the admin", {})
    try:
        served = Cluster(store, api, server, folder)
        for item in _shop():
            served.add(item)
        checkout = store.peek(resource("deployments"), "shop", "checkout")
        for number in (1, 2):
            served.add(_revision(checkout, number))
        yield served
    finally:
        server.close()


def _shop() -> Iterator[Object]:
    for name in ("kube-system", "shop", "monitoring", "default"):
        yield {"kind": "Namespace", "metadata": {"name": name}}
    for name in ("shop", "default"):
        account = {"name": "smoldebug", "namespace": name}
        yield {"kind": "ServiceAccount", "metadata": account}
    for name in ("auth", "checkout"):
        yield deployment(name)
        yield service(name)
        yield pod(f"{name}-1", name)
    yield autoscaler("auth")
    for kind in ("StatefulSet", "DaemonSet"):
        made = deployment("db")
        del made["spec"]["replicas"]
        yield {**made, "kind": kind}
    yield _slice("checkout", {"kind": "Pod", "name": "checkout-1", "namespace": "shop"})
    config = {"name": "settings", "namespace": "shop"}
    yield {"kind": "ConfigMap", "metadata": config, "data": {"a": "b"}}
    yield {"kind": "Node", "metadata": {"name": "n1"}}


def _revision(owner: Object, number: int) -> Object:
    """A ReplicaSet of a Deployment, with a value from a Secret."""
    key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}
    name = owner["metadata"]["name"]
    made = deployment(name, env=[key], image=f"{name}:{number}")
    made["metadata"] |= {
        "name": f"{name}-{number}",
        "annotations": {"deployment.kubernetes.io/revision": str(number)},
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": name,
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
        ],
    }
    return {**made, "kind": "ReplicaSet"}


def _slice(name: str, target: Object) -> Object:
    """A Service's endpoints: a pod, and an address that is none."""
    labels = {"kubernetes.io/service-name": name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "namespace": "shop", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["127.0.0.1"], "targetRef": target},
            {"addresses": ["127.0.0.2"]},
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def loose(plan: RunPlan) -> RunPlan:
    """The plan without limits on how much a script may do, and with a goal measured rarely."""
    playbook = plan.playbook
    goal = msgspec.structs.replace(playbook.goal, every=Duration(3600), within=None)
    limits = msgspec.structs.replace(playbook.limits, changes=99, max_steps=500)
    return replaced(plan, goal=goal, limits=limits)


def replaced(plan: RunPlan, **blocks: Any) -> RunPlan:
    playbook = msgspec.structs.replace(plan.playbook, **blocks)
    return msgspec.structs.replace(plan, playbook=playbook)


def written(folder: Path, text: str) -> RunPlan:
    return loose(exactly(folder, text))


def exactly(folder: Path, text: str) -> RunPlan:
    path = folder / "mine.yaml"
    path.write_text(f"apiVersion: smoldebug.dev/v1\nname: mine\n{text}", encoding="utf-8")
    return load(str(path))


def readings(plan: RunPlan) -> list[Call]:
    """Every call that reads, once for each kind there is."""
    kubectl = plan.playbook.tools.kubectl
    kinds = (kubectl.read if kubectl else []) or [kind.plural for kind in KINDS]
    calls: list[Call] = []
    for kind in kinds if kubectl else ():
        calls += [{"get": {"kind": kind}}, {"get": {"kind": kind, "name": "none"}}]
    for kind in rbac.LOGGED if plan.playbook.tools.logs else ():
        name = {"Pod": "auth-1", "StatefulSet": "db", "DaemonSet": "db"}.get(kind, "auth")
        calls.append({"fetch_logs": {"target": f"{kind}/{name}"}})
    return calls


def allows(grant: rbac.Grant, asked: Attributes) -> bool:
    return (
        (grant.verb, grant.resource) == (asked.verb, asked.resource)
        and grant.group in ("*", asked.group)
        and grant.namespace in ("", asked.namespace)
        and grant.name in ("", asked.name)
    )


# --- what is printed is what is requested ---------------------------------------------------


def test_triage_requests_what_its_role_allows_and_all_of_it(cluster: Cluster):
    plan = loose(load("triage", {"namespace": "shop"}))
    changes: list[Call] = [
        {"scale": {"target": "deployment/checkout", "replicas": 3, "why": "E1"}},
        {"scale": {"target": "statefulset/db", "replicas": 2, "why": "E1"}},
        {"set_replicas_bounds": BOUNDS},
        {"rollback": {"target": "deployment/checkout", "why": "E1"}},
        {"restart": {"target": "daemonset/db", "why": "E1"}},
        {"set_selector": {"service": "auth", "selector": {"app": "checkout"}, "why": "E1"}},
    ]
    cluster.grant(plan)
    cluster.play(plan, [*readings(plan), *changes])
    assert cluster.api.refused == []
    assert cluster.unused(plan) == []


def test_so_does_a_playbook_with_urls_and_metrics(cluster: Cluster):
    plan = loose(load("triage-502", {"service": "checkout"}))
    calls: list[Call] = [
        *readings(plan),
        {"http_check": {"url": "http://checkout.shop.svc:8080/health", "times": 2}},
        {"query_prometheus": {"query": "up"}},
        {"scale": {"target": "deployment/checkout", "replicas": 3, "why": "E1"}},
        {"set_replicas_bounds": BOUNDS},
        {"rollback": {"target": "deployment/checkout", "why": "E1"}},
    ]
    cluster.grant(plan)
    cluster.play(plan, calls)
    assert cluster.api.refused == []
    auth = rbac.Grant("shop", "apps", "deployments", "patch", "auth")
    assert cluster.unused(plan) == [
        auth
    ]  # it has one revision only: there is nothing to go back to


def test_a_goal_alone_requests_little(cluster: Cluster, tmp_path: Path):
    plan = written(
        tmp_path,
        """
goal:
  all:
    - rollout: {target: deployment/auth}
    - restarts: {target: deployment/auth}
    - object: {kind: Service, name: auth, matches: {}}
    - object: {kind: Lease, labels: app=auth, matches: {}}
    - http: {url: "https://checkout.shop.svc:8080/"}
scope: {namespaces: [shop]}
""",
    )
    cluster.grant(plan)
    cluster.play(plan, [])
    assert cluster.api.refused == []
    assert cluster.unused(plan) == []
    assert rbac.Grant("shop", "", "services/proxy", "get", "https:checkout:8080") in (
        rbac.because(plan.playbook)
    )


def test_without_namespaces_everything_is_granted_everywhere(cluster: Cluster, tmp_path: Path):
    plan = written(
        tmp_path,
        """
goal: {all: [{rollout: {}}, {restarts: {}}]}
tools:
  logs: {}
  kubectl: {}
  shell: {allow: {disks: {run: [echo, all], effect: read, in_pod: true}}}
""",
    )
    calls: list[Call] = [
        *(
            {"get": {**call["get"], "namespace": "shop"}}
            for call in readings(plan)
            if "get" in call
        ),
        *({"fetch_logs": {**c["fetch_logs"], "namespace": "shop"}} for c in readings(plan)[-7:]),
        {"run_command": {"command": "disks", "pod": "auth-1", "namespace": "shop"}},
    ]
    cluster.grant(plan)
    cluster.play(plan, calls)
    assert cluster.api.refused == []
    assert cluster.unused(plan) == [LATER]
    (role,) = rbac.roles(plan, rbac.default_account(plan.playbook))
    assert (role.namespace, role.account) == ("", rbac.Account("default"))
    assert "secrets" not in {what for rule in role.rules for what in rule.resources}


AUTH: Object = {"target": "deployment/auth", "why": "E1"}
NEW: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}}
NODE: Object = {"node": "n1", "why": "E1"}


def in_pods(**spec: Any) -> Object:
    return {"spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize(
    ("allowed", "target", "calls"),
    [
        ("set-image", "Deployment/shop/auth", [{"set_image": {**AUTH, "image": "auth:2"}}]),
        (
            "set-env, set-resources",
            "Deployment/shop/*",
            [
                {"set_env": {**AUTH, "name": "A", "value": "b"}},
                {"set_resources": {**AUTH, "cpu_limit": "1"}},
            ],
        ),
        (
            "patch-object",
            "Deployment/shop/auth",
            [
                {"apply_k8s_patch": {**AUTH, "patch": in_pods(volumes=[_CLAIM])}},
                {"apply_k8s_patch": {**AUTH, "patch": {"spec": {"replicas": 3}}}},
            ],
        ),
        (
            "patch-port, patch-selector",
            "Service/shop/auth",
            [
                {"set_selector": {"service": "auth", "selector": {"app": "checkout"}, "why": "E1"}},
            ],
        ),
        (
            "create-object, delete-object",
            "ConfigMap/shop/new",
            [
                {"create_object": {"manifest": {**NEW, "data": {"a": "b"}}, "why": "E1"}},
                {"delete_object": {"target": "configmap/new", "why": "E1"}},
            ],
        ),
        (
            "set-config-key",
            "ConfigMap/shop/settings",
            [{"set_config_key": {"configmap": "settings", "key": "a", "value": "c", "why": "E1"}}],
        ),
        (
            "cordon, add-taint",
            "Node/n1",
            [
                {"cordon": NODE},
                {"add_taint": {**NODE, "key": "a", "effect": "NoSchedule"}},
            ],
        ),
        (
            "debug-container",
            "Pod/shop/auth-1",
            [{"debug_container": {"pod": "auth-1", "image": "b", "command": ["c"], "why": "E1"}}],
        ),
    ],
)
def test_each_kind_of_change_requests_what_is_granted_for_it(
    cluster: Cluster, tmp_path: Path, allowed: str, target: str, calls: list[Call]
):
    plan = written(
        tmp_path,
        f"""
goal: {{all: [{{object: {{kind: Namespace, name: shop, matches: {{spec: {{x: 1}}}}}}}}]}}
scope: {{namespaces: [shop]}}
tools: {{change: {{allow: [{allowed}], targets: [{target}], values: ["*"]}}}}
""",
    )
    cluster.grant(plan)
    cluster.play(plan, calls)
    assert cluster.api.refused == []
    assert cluster.unused(plan) == []


def test_a_rollback_needs_no_secrets(cluster: Cluster, tmp_path: Path):
    plan = written(
        tmp_path,
        """
goal: {all: [{object: {kind: Namespace, name: shop, matches: {spec: {x: 1}}}}]}
scope: {namespaces: [shop]}
tools: {change: {allow: [rollback], targets: [Deployment/shop/*]}}
""",
    )
    cluster.grant(plan)
    cluster.play(plan, [{"rollback": {"target": "deployment/checkout", "why": "E1"}}])
    assert cluster.api.refused == []
    assert cluster.unused(plan) == []


def test_what_speaks_to_no_cluster_needs_no_role():
    assert rbac.roles(load("local-server"), rbac.Account("shop")) == []


@pytest.mark.parametrize(
    ("missing", "call"),
    [
        ("get pods/log", {"fetch_logs": {"target": "deployment/auth"}}),
        ("get services/proxy", {"query_prometheus": {"query": "up"}}),
        ("list events", {"events": {}}),
        ("patch horizontalpodautoscalers", {"set_replicas_bounds": BOUNDS}),
    ],
)
def test_without_one_verb_the_run_says_which_is_missing(cluster: Cluster, missing: str, call: Call):
    plan = loose(load("triage-502", {"service": "checkout"}))
    cluster.grant(plan, without=missing)
    told = cluster.play(plan, [call])
    assert {f"{one.verb} {one.resource}" for one in cluster.api.refused} == {missing}
    assert any(missing in str(event) for event in told)


# --- steps ----------------------------------------------------------------------------------

SERVICES = """
goal:
  each_service: {list: [Deployment/shop/web]}
  all: [{rollout: {}}, {http: {path: /health, port: 1}}, {logs: {}}, {restarts: {}}]
  every: 1m
  within: 2m
scope: {namespaces: [shop]}
tools:
  kubectl: {read: [pods, deployments, events]}
  change: {allow: [set-image], targets: [Deployment/shop/web], values: ["*"]}
approval: auto
steps: [{set_image: {target: deployment/web, image: "web:2"}}]
on_failure: rollback
"""


@pytest.fixture
def rolled_out(cluster: Cluster) -> Cluster:
    """With a service that is rolled out, whatever changes, and does not answer."""
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 2)
    cluster.add({**deployment("web"), "status": {"observedGeneration": 99, **counts}})
    cluster.add(pod("web-1", "web"))
    return cluster


def test_steps_request_what_they_watch_change_and_explain(rolled_out: Cluster, tmp_path: Path):
    plan = exactly(tmp_path, SERVICES)
    rolled_out.grant(plan)
    told = rolled_out.play(plan, [])
    assert {event.phase for event in told if isinstance(event, PhaseBegan)} == {
        "steps",
        "watching",
        "explaining",
        "rolling back",
    }
    assert rolled_out.api.refused == []
    assert rolled_out.unused(plan) == []


@pytest.mark.parametrize(
    "missing",
    [
        "list events",
        "get pods/log",
        "get pods/proxy",
        "list deployments",
        "patch deployments",
    ],
)
def test_without_one_verb_the_steps_say_which_is_missing(
    rolled_out: Cluster, tmp_path: Path, missing: str
):
    plan = exactly(tmp_path, SERVICES)
    rolled_out.grant(plan, without=missing)
    told = rolled_out.play(plan, [])
    assert {f"{one.verb} {one.resource}" for one in rolled_out.api.refused} == {missing}
    assert any(missing in str(event) for event in told)


def test_where_nothing_may_be_watched_steps_are_carried_out_all_the_same(
    rolled_out: Cluster, tmp_path: Path
):
    plan = exactly(tmp_path, SERVICES)
    rolled_out.grant(plan, without="watch pods")
    told = rolled_out.play(plan, [])
    assert {f"{one.verb} {one.resource}" for one in rolled_out.api.refused} == {"watch pods"}
    assert any(isinstance(event, UndoBegan) for event in told)


RELEASE = """
goal: {each_service: {from_release: web}, all: [{rollout: {}}]}
scope: {namespaces: [shop]}
tools: {change: {allow: [helm-upgrade, helm-rollback], targets: [HelmRelease/shop/web]}}
steps: [{helm_upgrade: {release: web, chart: CHART}}]
"""
TEMPLATES = {
    "Chart.yaml": "name: web\nversion: 1.0.0\n",
    "templates/web.yaml": "kind: Deployment\n---\nkind: Service  # and a comment\n",
    "templates/_help.tpl": '{{ define "x" }}\nkind: "ConfigMap"\n{{ end }}',
    "templates/hook.yaml": "metadata: {annotations: {helm.sh/hook: test}}\nkind: Job\n",
    "templates/roles.yaml": "kind: RoleBinding\nroleRef:\n  kind: ClusterRole\n",
    "charts/db/templates/db.yaml": "apiVersion: x.io/v1\nkind: Database\n",
    "README.md": "kind: Ingress\n",
}


def releasing(folder: Path, templates: dict[str, str], chart: str = "./web") -> RunPlan:
    for name, text in templates.items():
        path = folder / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return exactly(folder, RELEASE.replace("CHART", chart))


def granted(plan: RunPlan, **how: Any) -> dict[str, set[str]]:
    """Verbs by resource, of the namespace."""
    found: dict[str, set[str]] = {}
    for role in rbac.roles(plan, rbac.Account("ops"), **how):
        for rule in role.rules if role.namespace else ():
            for what in rule.resources:
                found.setdefault(what, set()).update(rule.verbs)
    return found


def test_a_release_is_kept_in_secrets_and_makes_what_its_templates_name(tmp_path: Path):
    plan = releasing(tmp_path, TEMPLATES)
    verbs, makes = granted(plan), {"create", "delete", "get", "patch"}
    assert verbs["secrets"] == {"get", "list", "create", "update", "delete"}
    assert verbs["databases"] == makes < verbs["configmaps"]  # also listed, to explain a failure
    assert verbs["jobs"] == makes | {"list", "watch"}  # a hook is waited for
    assert verbs["deployments"] == makes | {"list", "watch"}  # and a rollout
    assert "ingresses" not in verbs
    assert "clusterroles" not in verbs
    reads = granted(plan, read_only=True)
    assert {verb for found in reads.values() for verb in found} == {"get", "list", "watch"}
    said = rbac.notes(plan, rbac.Account("ops"))[2:]
    assert said == [
        "Helm keeps releases in Secrets: who may do that may read every Secret of shop",
        (
            "chart ./web, by its templates, and what ran before it: ConfigMap, Database, "
            "Deployment, Job, RoleBinding, Service"
        ),
        "roles of a chart can grant no more than the account itself has",
    ]


def test_what_a_chart_makes_that_cannot_be_told_is_said(tmp_path: Path):
    computed = {"templates/any.yaml": "kind: {{ .Values.kind }}\n"}
    said = rbac.notes(releasing(tmp_path, TEMPLATES | computed), rbac.Account("ops"))
    assert "not covered, templates of it whose kind is computed" in said
    *_, why, how = rbac.notes(releasing(tmp_path, {}, "oci://x.example/web"), rbac.Account("ops"))
    assert why.startswith("not covered, what chart oci://x.example/web makes: it is not on this")
    assert how == (
        "kubectl -n shop create rolebinding smoldebug-chart --clusterrole=admin "
        "--serviceaccount=ops:smoldebug"
    )


def test_a_playbook_that_only_rolls_a_release_back_names_no_chart(tmp_path: Path):
    text = RELEASE.replace(
        "helm_upgrade: {release: web, chart: CHART}", "helm_rollback: {release: web}"
    )
    plan = exactly(tmp_path, text.replace("helm-upgrade, ", ""))
    assert "create" in granted(plan)["secrets"]
    *_, said = rbac.notes(plan, rbac.Account("ops"))
    assert said.startswith("not covered, the objects of the releases")


# --- read-only ------------------------------------------------------------------------------


def test_read_only_leaves_out_all_that_changes_something():
    playbook = load("triage", {"namespace": "shop"}).playbook
    everything, reads = rbac.because(playbook), rbac.because(playbook, read_only=True)
    assert {one.verb for one in reads} == {"get", "list"}
    assert {one.verb for one in {*everything} - {*reads}} == {"patch"}


def test_a_run_that_never_changes_anything_needs_no_more_than_read_only(cluster: Cluster):
    plan = replaced(loose(load("triage", {"namespace": "shop"})), approval="never")
    cluster.grant(plan, read_only=True)
    cluster.play(plan, [{"scale": {"target": "deployment/checkout", "replicas": 3, "why": "E1"}}])
    assert [one for one in cluster.api.refused if one.verb != "patch"] == []


# --- how it is spelled ----------------------------------------------------------------------


def test_each_change_that_is_carried_out_has_its_requests():
    assert {*KUBE_KINDS} <= {*rbac.CHANGES}


@pytest.mark.parametrize(
    ("pattern", "namespace", "name"),
    [
        ("http://auth.shop.svc:8080/*", "shop", "auth:8080"),
        ("http://auth.shop.svc.cluster.local/*", "shop", "auth:80"),
        ("https://auth.shop.svc/*", "shop", "https:auth:443"),
        ("http://auth.shop.svc:*/*", "shop", ""),
        ("http://*.shop.svc:*/*", "shop", ""),
        ("http://auth.*.svc:80/*", "", ""),
        ("http://*:80/*", "", ""),
        ("http://*local:80/*", "", ""),
    ],
)
def test_a_url_pattern_grants_the_services_it_can_mean(
    tmp_path: Path, pattern: str, namespace: str, name: str
):
    granted = rbac.because(written(tmp_path, _http(pattern)).playbook)
    proxied = {(one.namespace, one.name) for one in granted if one.resource == "services/proxy"}
    assert proxied == {(namespace, name)}


@pytest.mark.parametrize("pattern", ["http://*.example.com/*", "http://127.0.0.1:*/*"])
def test_one_that_can_mean_no_service_grants_nothing(tmp_path: Path, pattern: str):
    granted = rbac.because(written(tmp_path, _http(pattern)).playbook)
    assert not [one for one in granted if "proxy" in one.resource]


def _http(pattern: str) -> str:
    return f"goal: {{all: [{{rollout: {{}}}}]}}\ntools: {{http: {{allow: ['{pattern}']}}}}\n"


def test_what_a_repository_shall_cover_is_listed_with_what_scales_it(tmp_path: Path):
    plan = written(
        tmp_path,
        """
goal:
  all:
    - manifests: {select: {kind: Deployment}, matches: {spec: {replicas: 2}}}
    - covers_cluster: {kind: Deployment, namespace: staging}
scope: {namespaces: [shop]}
""",
    )
    listed = {
        grant.resource for grant in rbac.because(plan.playbook) if grant.namespace == "staging"
    }
    assert listed == {"deployments", "horizontalpodautoscalers"}


def test_a_patch_needs_to_list_what_it_compares_with_and_nothing_else():
    found = [
        {(one.namespace, one.resource, one.verb) for one in rbac.because(load(name).playbook)}
        for name in ("add-env-var", "durable-fix")
    ]
    assert found[0] == {
        ("", "namespaces", "get"),  # the cluster's id
        ("staging", "deployments", "list"),
        ("staging", "horizontalpodautoscalers", "list"),
    }
    assert found[1] == set()


def test_a_custom_resource_is_granted_by_its_name_in_whatever_group(tmp_path: Path):
    plan = written(
        tmp_path,
        """
goal: {all: [{object: {kind: Certificate, name: web, namespace: shop, matches: {}}}]}
scope: {namespaces: [shop]}
tools: {change: {allow: [patch-object], targets: [Certificate/shop/web]}}
""",
    )
    granted = rbac.because(plan.playbook)
    assert rbac.Grant("shop", "*", "certificates", "patch", "web") in granted


def test_targets_outside_the_scope_are_not_granted(tmp_path: Path):
    plan = written(
        tmp_path,
        """
goal: {all: [{rollout: {}}]}
scope: {namespaces: [shop, pay]}
tools: {change: {allow: [scale], targets: [Deployment/ops/web, Deployment/*/web]}}
""",
    )
    patched = {one.namespace for one in rbac.because(plan.playbook) if one.verb == "patch"}
    assert patched == {"shop", "pay"}


def test_yaml_and_json_say_the_same():
    plan = load("triage-502", {"service": "checkout"})
    account = rbac.Account("ops", "robot")
    roles = rbac.roles(plan, account)
    text = rbac.as_yaml(roles, rbac.notes(plan, account))
    assert [*yaml.safe_load_all(text)] == rbac.as_list(roles)["items"]
    assert "# first card, tools.kubectl\n- apiGroups: ['']\n  resources: [nodes]" in text
    bindings = [one for one in rbac.as_list(roles)["items"] if "subjects" in one]
    assert {json.dumps(one["subjects"]) for one in bindings} == {
        '[{"kind": "ServiceAccount", "namespace": "ops", "name": "robot"}]'
    }


@pytest.mark.parametrize("text", ["smoldebug", "shop/", "Shop/x", "a/b/c", "shop/x\n"])
def test_an_account_is_a_namespace_and_a_name(text: str):
    with pytest.raises(UsageError, match="NAMESPACE/NAME"):
        rbac.Account.parse(text)


GRANTS = st.builds(
    rbac.Grant,
    st.just("shop"),
    st.sampled_from(["", "apps"]),
    st.sampled_from(["pods", "pods/log", "deployments"]),
    st.sampled_from(["get", "list", "patch"]),
    st.sampled_from(["", "a", "b"]),
)


@given(st.sets(GRANTS))
def test_rules_allow_what_is_granted_and_nothing_else(grants: set[rbac.Grant]):
    kept = rbac.without_implied({one: ["goal"] for one in grants})
    rules = rbac.rules(kept, "shop")
    spelled = [
        rbac.Grant("shop", rule.group, what, verb, name)
        for rule in rules
        for what in rule.resources
        for verb in rule.verbs
        for name in rule.names or ("",)
    ]
    assert sorted(spelled) == sorted(kept)
    assert {*kept} <= grants
    assert all(one in kept or replace(one, name="") in kept for one in grants)
    alike = [(rule.group, rule.verbs, rule.names) for rule in rules]
    assert len({*alike}) == len(alike)
