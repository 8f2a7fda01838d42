"""Requests that go wrong on purpose: what a client sees of each rule, and what the lab did."""

import http.client
import json
import pathlib
from collections.abc import Iterator

import pytest
from kubernetes import client, config
from labkit import eventually
from labserver import Json, Kubectl, Lab, LocalRuntime, deployment, running
from realkubectl import needs_kubectl

from smoldebug.lab.apifaults import Faults, Rule
from smoldebug.lab.catalog import resource

WEB = "/apis/apps/v1/namespaces/shop/deployments/web"
MERGE = {"Content_Type": "application/merge-patch+json"}
THREE = {"spec": {"replicas": 3}}


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def lab(tmp_path: pathlib.Path, faults: Faults) -> Iterator[Lab]:
    with running(tmp_path, runtime=LocalRuntime(), faults=faults) as lab:
        lab.apps.create_namespaced_deployment("shop", deployment())
        yield lab


def scale(lab: Lab, path: str = WEB) -> tuple[int, Json]:
    return lab.send("PATCH", path, THREE, **MERGE)


def replicas(lab: Lab) -> int:
    return int(lab.store.peek(resource("deployments"), "shop", "web")["spec"]["replicas"])


def test_a_rule_meets_so_many_requests(lab: Lab, faults: Faults):
    faults.add(Rule("patch", "deployments", times=2, status=500))
    assert [scale(lab)[0] for _ in range(4)] == [500, 500, 200, 200]


def test_a_rule_can_leave_dry_runs_alone_or_meet_them_only(lab: Lab, faults: Faults):
    faults.add(Rule("patch", "deployments", status=409, dry_run=False))
    code, status = scale(lab)
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["details"] == {"name": "web", "group": "apps", "kind": "deployments"}
    assert scale(lab, f"{WEB}?dryRun=All")[0] == 200
    faults.clear()
    faults.add(Rule("delete", "deployments", status=503, dry_run=True))
    assert lab.send("DELETE", WEB, {"dryRun": ["All"]})[0] == 503
    assert lab.send("DELETE", WEB, {})[0] == 200


def test_a_rule_for_one_object(lab: Lab, faults: Faults):
    faults.add(Rule("get", "deployments", name="api"))
    assert lab.send("GET", WEB)[0] == 200
    assert lab.send("GET", WEB.replace("web", "api"))[0] == 403


@pytest.mark.parametrize("status", [429, 503])
def test_a_client_is_told_when_to_come_back(lab: Lab, faults: Faults, status: int):
    faults.add(Rule("patch", status=status, retry_after=7))
    code, body, headers = lab.raw("PATCH", WEB, json.dumps(THREE), **MERGE)
    assert (code, headers["Retry-After"]) == (status, "7")
    assert json.loads(body)["details"] == {"retryAfterSeconds": 7}


@pytest.mark.parametrize(("after", "found"), [(False, 1), (True, 3)])
def test_a_connection_ends_before_or_after_the_change(
    lab: Lab, faults: Faults, after: bool, found: int
):
    faults.add(Rule("patch", "deployments", drop=True, after=after, times=1))
    with pytest.raises(http.client.RemoteDisconnected):
        scale(lab)
    assert replicas(lab) == found
    assert scale(lab)[0] == 200


def test_a_change_that_is_made_but_reported_as_failed(lab: Lab, faults: Faults):
    faults.add(Rule("patch", status=504, after=True))
    code, status = scale(lab)
    assert (code, status["reason"], replicas(lab)) == (504, "Timeout", 3)


def test_an_answer_that_comes_too_late_for_the_client(lab: Lab, faults: Faults):
    faults.add(Rule("patch", "deployments", status=0, delay=0.5, after=True))
    apps = client.AppsV1Api(config.new_client_from_config(str(lab.kubeconfig)))
    with pytest.raises(Exception, match="timed out"):
        apps.patch_namespaced_deployment("web", "shop", THREE, _request_timeout=0.1)
    assert replicas(lab) == 3
    apps.api_client.rest_client.pool_manager.clear()


@pytest.mark.parametrize(("after", "found"), [(False, 1), (True, 3)])
def test_the_server_dies_during_a_change_and_comes_back_with_what_it_had(
    lab: Lab, faults: Faults, after: bool, found: int
):
    faults.add(Rule("patch", "deployments", outage=0.3, after=after, times=1))
    with pytest.raises(ConnectionError):
        scale(lab)
    with pytest.raises(ConnectionError):
        lab.raw("GET", "/healthz")

    def is_back() -> bool:
        try:
            return lab.raw("GET", "/healthz")[0] == 200
        except ConnectionError:
            return False

    eventually(is_back)
    assert replicas(lab) == found


def test_a_server_can_be_stopped_and_started_by_hand(lab: Lab):
    url = lab.server.url
    lab.server.stop()
    with pytest.raises(ConnectionRefusedError):
        scale(lab)
    lab.server.start()
    assert (lab.server.url, scale(lab)[0]) == (url, 200)


def test_an_outage_ends_with_the_lab(tmp_path: pathlib.Path):
    with running(tmp_path, faults=Faults(Rule(outage=60))) as lab, pytest.raises(ConnectionError):
        lab.raw("GET", "/api/v1/pods")


@pytest.mark.parametrize("query", ["", "?dryRun=All"])
def test_the_words_of_an_admission_webhook(lab: Lab, faults: Faults, query: str):
    faults.add(Rule("patch", webhook="policy.example.com", message="image is not signed"))
    code, status = scale(lab, WEB + query)
    assert (code, status["reason"], status["message"]) == (
        403,
        "Forbidden",
        'admission webhook "policy.example.com" denied the request: image is not signed',
    )
    faults.clear()
    faults.add(Rule("patch", webhook="policy.example.com", status=400))
    code, status = scale(lab, WEB + query)
    assert (code, status["message"]) == (
        400,
        'admission webhook "policy.example.com" denied the request without explanation',
    )


def test_a_webhook_is_no_matter_of_permission(lab: Lab, faults: Faults):
    faults.add(Rule("patch", "deployments", webhook="policy.example.com"))
    asked = {"verb": "patch", "group": "apps", "resource": "deployments", "namespace": "shop"}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    _, review = lab.send("POST", path, {"spec": {"resourceAttributes": asked}})
    assert review["status"] == {"allowed": True}


@pytest.mark.kubectl
@needs_kubectl
def test_kubectl_sees_them(lab: Lab, faults: Faults, tmp_path: pathlib.Path):
    kubectl = Kubectl(lab, tmp_path)
    faults.add(Rule("patch", "deployments/scale", webhook="quiet.example.com", message="frozen"))
    refused = kubectl("scale", "deploy/web", "--replicas=2", code=1)
    assert refused == (
        'Error from server (Forbidden): admission webhook "quiet.example.com" denied the request: '
        "frozen\n"
    )
    faults.clear()
    faults.add(Rule("patch", "deployments/scale", drop=True, after=True))
    assert "EOF" in kubectl("scale", "deploy/web", "--replicas=2", code=1)
    assert replicas(lab) == 2
