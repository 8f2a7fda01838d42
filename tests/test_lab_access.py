"""Who may do what in the lab: RBAC, tokens and impersonation, word for word as a real server.

The messages are those of a real API server.
"""

import pathlib
from collections.abc import Iterator

import pytest
from kubernetes import client, config
from labkit import service_account_kubeconfig
from labserver import Json, Kubectl, Lab, LocalRuntime, deployment, running
from realkubectl import needs_kubectl

from smoldebug.clock import FakeClock
from smoldebug.lab.catalog import resource
from smoldebug.lab.identity import ADMIN, AUTHENTICATED, MASTERS, Tokens, User
from smoldebug.lab.rbac import Attributes, Rbac
from smoldebug.lab.store import Store

SHOP = "/api/v1/namespaces/shop"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
REVIEWS = "/apis/authorization.k8s.io/v1"
BOT = "system:serviceaccount:shop:bot"


@pytest.fixture
def lab(tmp_path: pathlib.Path) -> Iterator[Lab]:
    with running(tmp_path, runtime=LocalRuntime()) as lab:
        yield lab


def rule(verbs: str, resources: str, group: str = "", *names: str) -> Json:
    found = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
    return found | ({"resourceNames": list(names)} if names else {})


# -- what a rule covers


@pytest.mark.parametrize(
    ("granted", "wanted", "allowed"),
    [
        (rule("get", "pods"), Attributes("get", "", "pods", "shop", "web"), True),
        (rule("get", "pods"), Attributes("list", "", "pods", "shop"), False),
        (rule("get", "pods"), Attributes("get", "apps", "pods", "shop"), False),
        (rule("get", "pods"), Attributes("get", "", "pods/log", "shop", "web"), False),
        (rule("get", "pods/log"), Attributes("get", "", "pods/log", "shop", "web"), True),
        (rule("get", "pods/log"), Attributes("get", "", "pods", "shop", "web"), False),
        (rule("get", "*/log"), Attributes("get", "", "pods/log", "shop", "web"), True),
        (rule("get", "*/log"), Attributes("get", "", "pods", "shop", "web"), False),
        (rule("*", "*", "*"), Attributes("patch", "apps", "deployments/scale", "shop"), True),
        (rule("get", "pods", "", "web"), Attributes("get", "", "pods", "shop", "web"), True),
        (rule("get", "pods", "", "web"), Attributes("get", "", "pods", "shop", "api"), False),
        (rule("list", "pods", "", "web"), Attributes("list", "", "pods", "shop"), False),
        (rule("get", "pods"), Attributes("get", "", "pods", "other", "web"), False),
        (rule("get", "pods"), Attributes("get", "", "pods"), False),
    ],
)
def test_a_rule_covers_what_it_names(lab: Lab, granted: Json, wanted: Attributes, allowed: bool):
    bot = User(lab.account(granted), (AUTHENTICATED,))
    assert Rbac(lab.store).decide(bot, wanted)[0] is allowed


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [("/metrics", "/metrics", True), ("/metrics", "/metrics/x", False), ("/m*", "/m/x", True)],
)
def test_a_path_that_is_no_resource(lab: Lab, pattern: str, path: str, allowed: bool):
    granted = {"nonResourceURLs": [pattern], "verbs": ["get"]}
    bot = User(lab.account(granted, role="ClusterRole"), ())
    assert Rbac(lab.store).decide(bot, Attributes("get", path=path))[0] is allowed


def test_a_cluster_role_bound_in_a_namespace_holds_there_alone(lab: Lab):
    binding = {
        "metadata": {"name": "viewers"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "Group", "name": "devs"}],
    }
    lab.store.create(resource("rolebindings"), "shop", binding)
    ann, rbac = User("ann", ("devs",)), Rbac(lab.store)
    allowed, why = rbac.decide(ann, Attributes("list", "apps", "deployments", "shop"))
    assert (allowed, why) == (
        True,
        'RBAC: allowed by RoleBinding "viewers/shop" of ClusterRole "view" to Group "devs"',
    )
    assert not rbac.decide(ann, Attributes("list", "apps", "deployments", "default"))[0]
    assert not rbac.decide(ann, Attributes("get", "", "secrets", "shop", "db"))[0]


def test_the_labs_own_user_may_do_everything(lab: Lab):
    assert ADMIN.groups == (MASTERS, AUTHENTICATED)
    assert Rbac(lab.store).decide(ADMIN, Attributes("*", "*", "*")) == (True, "")


# -- what a denied request is told


IN_SHOP = 'in the namespace "shop"'


@pytest.mark.parametrize(
    ("request_", "what", "cannot", "details"),
    [
        (
            f"GET {SHOP}/pods",
            "pods",
            f'list resource "pods" in API group "" {IN_SHOP}',
            {"kind": "pods"},
        ),
        (
            f"GET {SHOP}/pods/x/log",
            'pods "x"',
            f'get resource "pods/log" in API group "" {IN_SHOP}',
            {"name": "x", "kind": "pods"},
        ),
        (
            f"PATCH {DEPLOYMENTS}/web?dryRun=All",
            'deployments.apps "web"',
            f'patch resource "deployments" in API group "apps" {IN_SHOP}',
            {"name": "web", "group": "apps", "kind": "deployments"},
        ),
        (
            f"DELETE {SHOP}/pods",
            "pods",
            f'deletecollection resource "pods" in API group "" {IN_SHOP}',
            {"kind": "pods"},
        ),
        (
            f"GET {SHOP}",
            'namespaces "shop"',
            f'get resource "namespaces" in API group "" {IN_SHOP}',
            {"name": "shop", "kind": "namespaces"},
        ),
        (
            "GET /api/v1/nodes",
            "nodes",
            'list resource "nodes" in API group "" at the cluster scope',
            {"kind": "nodes"},
        ),
        (
            "GET /apis/example.com/v1/widgets",
            "widgets.example.com",
            'list resource "widgets" in API group "example.com" at the cluster scope',
            {"group": "example.com", "kind": "widgets"},
        ),
    ],
)
def test_the_403_of_a_real_server(lab: Lab, request_: str, what: str, cannot: str, details: Json):
    code, status = lab.send(*request_.split(), as_=BOT)
    assert (code, status["reason"], status["details"]) == (403, "Forbidden", details)
    assert status["message"] == f'{what} is forbidden: User "{BOT}" cannot {cannot}'


def test_the_403_of_what_is_no_resource(lab: Lab):
    _, status = lab.send("GET", "/metrics", as_=BOT)
    assert status["message"] == f'forbidden: User "{BOT}" cannot get path "/metrics"'
    assert status["details"] == {}


def test_a_binding_to_a_role_that_is_not_there_is_named(lab: Lab):
    bot = lab.account(rule("get", "pods"))
    lab.store.delete(resource("roles"), "shop", "bot")
    _, status = lab.send("GET", f"{SHOP}/pods/web", as_=bot)
    assert status["message"].endswith(': RBAC: role.rbac.authorization.k8s.io "bot" not found')


def test_everybody_may_discover_and_ask_about_themselves(lab: Lab):
    for path in ("/api", "/apis", "/version", "/api/v1", "/apis/apps/v1", "/openapi/v3"):
        assert lab.send("GET", path, as_="ann")[0] == 200
    assert lab.send("GET", "/lab/status", as_="ann")[0] == 403


def test_each_subresource_needs_a_rule_of_its_own(lab: Lab):
    lab.pod()
    lab.apps.create_namespaced_deployment("shop", deployment())
    bot = lab.account(
        rule("get", "pods/log services/proxy"), rule("patch", "deployments/scale", "apps")
    )
    assert lab.raw("GET", f"{SHOP}/pods/web/log", Impersonate_User=bot)[0] == 200
    for method, path in (
        ("GET", f"{SHOP}/pods/web"),
        ("GET", f"{SHOP}/pods/web/exec?command=ls"),
        ("POST", f"{SHOP}/pods/web/exec?command=ls"),
        ("PATCH", f"{SHOP}/pods/web/ephemeralcontainers"),
        ("POST", f"{SHOP}/pods/web/eviction"),
        ("POST", f"{SHOP}/services/web:80/proxy/"),
        ("PATCH", f"{DEPLOYMENTS}/web"),
        ("PATCH", f"{DEPLOYMENTS}/web/status"),
    ):
        assert lab.send(method, path, {}, as_=bot)[0] == 403, (method, path)
    assert lab.send("GET", f"{SHOP}/services/web:80/proxy/", as_=bot)[0] == 404  # no such Service
    patch = {"Content_Type": "application/merge-patch+json"}
    body = {"spec": {"replicas": 2}}
    assert lab.send("PATCH", f"{DEPLOYMENTS}/web/scale", body, as_=bot, **patch)[0] == 200


def test_a_name_in_a_field_selector_counts_as_the_name(lab: Lab):
    lab.pod()
    bot = lab.account(rule("list watch", "pods", "", "web"))
    assert lab.send("GET", f"{SHOP}/pods?fieldSelector=metadata.name%3Dweb", as_=bot)[0] == 200
    assert lab.send("GET", f"{SHOP}/pods?fieldSelector=metadata.name%3Dapi", as_=bot)[0] == 403
    assert lab.send("GET", f"{SHOP}/pods", as_=bot)[0] == 403


# -- reviews


def can(lab: Lab, user: str, **wanted: str) -> Json:
    body = {"spec": {"resourceAttributes": wanted}}
    code, answer = lab.send("POST", f"{REVIEWS}/selfsubjectaccessreviews", body, as_=user)
    assert code == 201
    return answer["status"]


def test_an_access_review_says_what_would_happen_and_by_which_binding(lab: Lab):
    bot = lab.account(rule("get", "pods pods/log"))
    assert can(lab, bot, verb="get", resource="pods", subresource="log", namespace="shop") == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "bot/shop" of Role "bot" to '
        'ServiceAccount "bot/shop"',
    }
    assert can(lab, bot, verb="get", resource="secrets", namespace="shop") == {"allowed": False}
    code, status = lab.send("POST", f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {}})
    assert (code, status["details"]["causes"][0]["field"]) == (422, "spec.resourceAttributes")


def test_a_rules_review_lists_the_rules(lab: Lab):
    granted = rule("get list", "deployments", "apps", "web")
    bot, body = lab.account(granted), {"spec": {"namespace": "shop"}}
    _, answer = lab.send("POST", f"{REVIEWS}/selfsubjectrulesreviews", body, as_=bot)
    assert granted in answer["status"]["resourceRules"]
    assert answer["status"]["incomplete"] is False
    _, everything = lab.send("POST", f"{REVIEWS}/selfsubjectrulesreviews", body)
    assert everything["status"]["resourceRules"][0]["verbs"] == ["*"]


def test_who_am_i(lab: Lab):
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    _, answer = lab.send("POST", path, {}, as_=BOT)
    assert answer["status"]["userInfo"] == {
        "username": BOT,
        "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", AUTHENTICATED],
    }


# -- impersonation


def test_only_who_may_speaks_for_others(lab: Lab):
    bot = lab.account(rule("get", "pods"))
    path = service_account_kubeconfig(lab.kubeconfig, "shop", "bot")
    token = {"Authorization": f"Bearer {path.read_text('utf-8').split('/')[3].split()[0]}"}
    code, status = lab.send("GET", f"{SHOP}/pods/x", as_="ann", **token)
    assert code == 403
    assert status["message"] == (
        f'users "ann" is forbidden: User "{bot}" cannot impersonate resource "users" '
        'in API group "" at the cluster scope'
    )
    code, status = lab.send("GET", f"{SHOP}/pods", as_="system:serviceaccount:shop:x", **token)
    assert 'cannot impersonate resource "serviceaccounts"' in status["message"]
    assert lab.send("GET", f"{SHOP}/pods", Impersonate_Group="devs")[0] == 500


def test_impersonated_groups_count(lab: Lab):
    masters = {"Impersonate_Group": MASTERS}
    assert lab.send("GET", "/api/v1/nodes", as_="ann")[0] == 403
    assert lab.send("GET", "/api/v1/nodes", as_="ann", **masters)[0] == 200


# -- tokens


@pytest.mark.parametrize("token", ["", "sesame"])
def test_a_token_is_its_service_account_as_bearer_and_in_the_path(
    tmp_path: pathlib.Path, token: str
):
    with running(tmp_path, token=token) as lab:
        lab.account(rule("list", "pods"))
        bearer = {"Authorization": f"Bearer {lab.server.token_for('shop', 'bot')}"}
        assert lab.send("GET", f"{SHOP}/pods", **bearer)[0] == 200
        assert lab.send("GET", f"{SHOP}/secrets", **bearer)[0] == 403
        given = lab.server.token_for("shop", "bot")
        assert lab.send("GET", f"/{given}{SHOP}/pods")[0] == 200
        assert lab.send("GET", f"/{given}{SHOP}/secrets")[0] == 403
        lab.store.delete(resource("serviceaccounts"), "shop", "bot")
        assert lab.send("GET", f"/{given}{SHOP}/pods")[0] == 401
        assert lab.send("GET", f"{SHOP}/pods", **bearer)[0] == 401


def test_a_token_request(lab: Lab):
    accounts = f"{SHOP}/serviceaccounts"
    lab.account()
    code, made = lab.send("POST", f"{accounts}/bot/token", {"spec": {"expirationSeconds": 600}})
    assert (code, made["kind"], made["spec"]["expirationSeconds"]) == (201, "TokenRequest", 600)
    code, status = lab.send("POST", f"{accounts}/bot/token", {"spec": {"expirationSeconds": 60}})
    assert code == 422
    assert status["message"] == (
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: '
        "Invalid value: 60: may not specify a duration less than 10 minutes"
    )
    assert lab.send("POST", f"{accounts}/nobody/token", {})[0] == 404


def test_a_token_expires_and_does_not_outlive_its_account():
    store = Store(FakeClock())
    store.create(resource("namespaces"), None, {"metadata": {"name": "shop"}})
    accounts, tokens = resource("serviceaccounts"), Tokens(store)
    store.create(accounts, "shop", {"metadata": {"name": "bot"}})
    token, _ = tokens.issue("shop", "bot", 600)
    assert tokens.user(token).name == BOT
    store.clock.sleep(601)
    assert tokens.user(token) is None
    token, _ = tokens.issue("shop", "bot", 600)
    store.delete(accounts, "shop", "bot")
    store.create(accounts, "shop", {"metadata": {"name": "bot"}})
    assert tokens.user(token) is None
    assert token in tokens


def test_a_kubeconfig_for_a_service_account(tmp_path: pathlib.Path):
    with running(tmp_path, token="sesame") as lab:
        lab.kubeconfig.write_text(lab.server.kubeconfig("sesame"), encoding="utf-8")
        lab.account(rule("list", "pods"))
        path = service_account_kubeconfig(lab.kubeconfig, "shop", "bot")
        api = config.new_client_from_config(str(path))
        assert client.CoreV1Api(api).list_namespaced_pod("shop").items == []
        with pytest.raises(client.ApiException, match="Forbidden"):
            client.CoreV1Api(api).list_namespace()
        api.rest_client.pool_manager.clear()


# -- kubectl


@pytest.mark.kubectl
@needs_kubectl
def test_kubectl_makes_roles_and_lives_by_them(lab: Lab, tmp_path: pathlib.Path):
    kubectl = Kubectl(lab, tmp_path)
    kubectl("create", "serviceaccount", "bot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log")
    kubectl(
        *("create", "role", "scaler", "--verb=patch,get", "--resource=deployments.apps/scale"),
        "--resource-name=web",
    )
    kubectl("create", "clusterrole", "nodes", "--verb=list", "--resource=nodes")
    kubectl(
        "create", "clusterrolebinding", "nodes", "--clusterrole=nodes", "--serviceaccount=shop:bot"
    )
    for role in ("reader", "scaler"):
        kubectl("create", "rolebinding", role, f"--role={role}", "--serviceaccount=shop:bot")
    lab.pod()
    bot = kubectl.of("bot")
    assert bot("get", "pods", "--no-headers").split()[0] == "web"
    assert bot("logs", "web", "--tail=1") == "web: two\n"
    assert bot("get", "nodes") == "No resources found\n"
    denied = bot("delete", "pod", "web", code=1)
    assert denied == (
        f'Error from server (Forbidden): pods "web" is forbidden: User "{BOT}" cannot delete '
        'resource "pods" in API group "" in the namespace "shop"\n'
    )
    assert bot("auth", "can-i", "get", "pods", "--subresource=log") == "yes\n"
    assert "no" in bot("auth", "can-i", "delete", "pods", code=1)
    assert kubectl("auth", "can-i", "list", "pods", f"--as={BOT}") == "yes\n"
    listed = bot("auth", "can-i", "--list")
    assert "deployments.apps/scale" in listed
    assert "[web]" in listed
    assert BOT in bot("auth", "whoami")
    assert len(kubectl("create", "token", "bot").strip()) > 20


@pytest.mark.kubectl
@needs_kubectl
def test_kubectl_applies_roles_from_a_manifest(lab: Lab, tmp_path: pathlib.Path):
    kubectl = Kubectl(lab, tmp_path)
    group = "rbac.authorization.k8s.io"
    meta = {"name": "reader", "namespace": "shop"}
    head = {"apiVersion": f"{group}/v1", "metadata": meta}
    ref = {"apiGroup": group, "kind": "Role", "name": "reader"}
    subjects = [{"kind": "User", "apiGroup": group, "name": "ann"}]
    items = [
        head | {"kind": "Role", "rules": [rule("get", "pods")]},
        head | {"kind": "RoleBinding", "roleRef": ref, "subjects": subjects},
    ]
    manifest = {"apiVersion": "v1", "kind": "List", "items": items}
    assert kubectl("apply", "-f", "-", stdin=manifest).count("created") == 2
    assert kubectl("auth", "can-i", "get", "pods", "--as=ann") == "yes\n"
    items[0]["rules"] = [rule("list", "pods")]
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
    assert "no" in kubectl("auth", "can-i", "get", "pods", "--as=ann", code=1)
