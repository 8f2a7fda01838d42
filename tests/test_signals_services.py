"""Which Services cannot answer, and who calls them in vain; a healthy cluster stays quiet."""

from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest
from clusters import deployment, pod, service, slice_of

from smoldebug.signals.services import red_services

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EMPTY = [slice_of("auth", {}, 1)]
IDLE = "Service/shop/auth: no ready endpoints (its workload is scaled to zero)"


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def red(**objects: list[Any]) -> list[tuple[str, str]]:
    return [(fact.severity, fact.text) for fact in red_services(objects, NOW)]


def caller(value: str, key: str = "AUTH_URL") -> Any:
    return deployment("checkout", env=[{"name": key, "value": value}])


def from_config(data: dict[str, str], **container: Any) -> dict[str, list[Any]]:
    config = {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}, "data": data}
    return {"ConfigMap": [config], "Deployment": [deployment("checkout", **container)]}


# --- scaled to zero -------------------------------------------------------------------------


def test_a_service_scaled_to_zero_that_nobody_calls_is_a_plain_fact() -> None:
    idle = deployment(replicas=0)
    for known in ({}, {"Service": [service()]}):
        assert red(EndpointSlice=EMPTY, Deployment=[idle], **known) == [("info", IDLE)]
    own = deployment(replicas=0, env=[{"name": "SELF_URL", "value": "http://auth:8080"}])
    assert red(EndpointSlice=EMPTY, Deployment=[own], Service=[service()]) == [("info", IDLE)]


@pytest.mark.parametrize(
    "value",
    [
        "http://auth.shop.svc:8080",
        "http://auth.shop.svc.cluster.local/login",
        "http://auth:8080/v1",
        "postgres://user:pass@auth/db",
        "auth:8080",
        "cart:8080,auth:8080",
        "auth",
    ],
)
def test_a_service_scaled_to_zero_that_somebody_calls_is_critical(value: str) -> None:
    found = red(
        EndpointSlice=EMPTY,
        Service=[service()],
        Deployment=[deployment(replicas=0), caller(value)],
    )
    text = (
        "Service/shop/auth: no ready endpoints: Deployment/shop/auth is scaled to zero, "
        "and Deployment/shop/checkout calls it (AUTH_URL)"
    )
    assert found == [("critical", text)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODE", "auth"),
        ("AUTH_URL", "http://auth.other.svc:8080"),
        ("AUTH_URL", "http://auth.example.com"),
        ("AUTH_URL", "http://oauth:8080"),
        ("AUTH_URL", "http://cart/auth"),
        ("NOTE", "we auth: later"),
    ],
)
def test_what_only_looks_like_a_call(key: str, value: str) -> None:
    found = red(
        EndpointSlice=EMPTY,
        Service=[service()],
        Deployment=[deployment(replicas=0), caller(value, key)],
    )
    assert found == [("info", IDLE)]


def test_addresses_are_found_in_config_maps_and_arguments() -> None:
    reference = {"name": "U", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "auth-url"}}}
    ways = [
        from_config({"auth-url": "http://auth:8080"}, env=[reference]),
        from_config({"auth-url": "http://auth:8080"}, envFrom=[{"configMapRef": {"name": "c"}}]),
        from_config({}, args=["--auth=http://auth:8080"]),
    ]
    for way in ways:
        way["Deployment"].append(deployment(replicas=0))
        assert red(EndpointSlice=EMPTY, Service=[service()], **way)[0][0] == "critical"
    unused = from_config({"auth-url": "http://auth:8080"})
    unused["Deployment"].append(deployment(replicas=0))
    assert red(EndpointSlice=EMPTY, Service=[service()], **unused) == [("info", IDLE)]


def test_a_caller_without_pods_calls_nobody() -> None:
    asleep = caller("http://auth:8080")
    asleep["spec"]["replicas"] = 0
    both = [deployment(replicas=0), asleep]
    assert red(EndpointSlice=EMPTY, Service=[service()], Deployment=both) == [("info", IDLE)]


# --- no endpoints for another reason --------------------------------------------------------


def test_a_selector_that_selects_nobody_is_critical() -> None:
    wrong = service()
    wrong["spec"]["selector"] = {"app": "auht"}
    wrong["metadata"]["creationTimestamp"] = ago(5)
    objects = {"Service": [wrong], "Deployment": [deployment()], "Pod": [pod("auth-1")]}
    assert red(EndpointSlice=EMPTY, **objects) == [
        ("critical", "Service/shop/auth: no ready endpoints")
    ]


@pytest.mark.parametrize(("age", "severity"), [(20, "warning"), (90, "critical")])
def test_pods_that_are_starting_are_no_emergency(age: float, severity: str) -> None:
    starting = pod("auth-1", ready=False)
    starting["metadata"]["creationTimestamp"] = ago(age)
    objects = {"Service": [service()], "Pod": [starting], "Deployment": [deployment()]}
    slices = [slice_of("auth", {"auth-1": False}, 8080)]
    assert [found for found, _ in red(EndpointSlice=slices, **objects)] == [severity]


def test_a_workload_without_pods_yet_is_no_emergency() -> None:
    fresh = deployment()
    fresh["metadata"]["creationTimestamp"] = ago(5)
    objects = {"Service": [service()], "Pod": [], "Deployment": [fresh]}
    assert [found for found, _ in red(EndpointSlice=EMPTY, **objects)] == ["warning"]


def test_the_service_of_a_job_that_is_done_is_quiet() -> None:
    done = pod("auth-1", ready=False)
    done["status"]["phase"] = "Succeeded"
    assert red(EndpointSlice=EMPTY, Service=[service()], Pod=[done]) == []


def of(**spec: Any) -> Any:
    found = service()
    return {**found, "spec": {**found["spec"], **spec}}


@pytest.mark.parametrize("spec", [{"type": "ExternalName"}, {"selector": None}])
def test_services_that_no_pod_answers_for(spec: dict[str, Any]) -> None:
    found = red(
        EndpointSlice=EMPTY,
        Service=[of(**spec)],
        Pod=[serving(9999)],
        Deployment=[caller("http://auth:1")],
    )
    assert found == []


# --- ports ----------------------------------------------------------------------------------


def serving(port: int, called: str = "http") -> Any:
    found = pod("auth-1")
    found["spec"]["containers"][0]["ports"] = [{"name": called, "containerPort": port}]
    return found


def targets(*ports: int | str) -> Any:
    return of(ports=[{"port": 8080 + i, "targetPort": port} for i, port in enumerate(ports)])


@pytest.mark.parametrize(
    ("ports", "calls", "severity"),
    [
        (("http",), True, None),
        ((8080,), True, None),
        (("web",), False, "critical"),  # a name that no container has goes nowhere
        (("web",), True, "critical"),
        ((8081,), True, "critical"),
        ((8081,), False, "warning"),  # a number need not be declared
        ((8080, 9090), True, None),
        ((8080, "metrics"), True, "warning"),
    ],
)
def test_a_target_port_that_no_container_has(
    ports: tuple[int | str, ...], calls: bool, severity: str | None
) -> None:
    users = [caller("http://auth:8080")] if calls else []
    found = red(Service=[targets(*ports)], Pod=[serving(8080)], Deployment=[deployment(), *users])
    assert [each for each, _ in found] == ([severity] if severity else [])


def test_a_wrong_target_port_says_which_there_are_and_who_calls() -> None:
    users = [deployment(), caller("http://auth:8080")]
    [(_, text)] = red(Service=[targets(8081)], Pod=[serving(8080)], Deployment=users)
    assert text == (
        "Service/shop/auth: targetPort 8081 is no container port of its pods (http 8080); "
        "Deployment/shop/checkout calls it (AUTH_URL)"
    )


def test_a_container_that_declares_no_ports_may_listen_on_any() -> None:
    sidecar = serving(15090, "metrics")
    sidecar["spec"]["containers"].append({"name": "app"})
    for item in (pod("auth-1"), sidecar):
        assert red(Service=[service()], Pod=[item], Deployment=[caller("http://auth:8080")]) == []


def test_a_headless_service_leads_to_the_pods_themselves() -> None:
    headless = targets("web")
    headless["spec"]["clusterIP"] = "None"
    objects = {"Service": [headless], "Pod": [serving(8080)]}
    assert red(**objects, Deployment=[caller("http://auth:5432")]) == []


# --- calls in vain --------------------------------------------------------------------------


def test_an_address_with_a_port_the_service_has_not() -> None:
    [found] = red(Service=[service()], Deployment=[deployment(), caller("http://auth.shop.svc:81")])
    assert found == (
        "critical",
        "Deployment/shop/checkout: AUTH_URL names auth:81, but Service/shop/auth has port 8080",
    )
    own = deployment(env=[{"name": "LISTENERS", "value": "PLAINTEXT://auth:9092"}])
    assert red(Service=[service()], Deployment=[own]) == []


def test_an_address_of_no_service() -> None:
    gone = "http://auht.shop.svc:8080"
    assert red(Service=[service()], Deployment=[caller(gone)]) == [
        (
            "warning",
            "Deployment/shop/checkout: AUTH_URL names auht.shop.svc, and there is no such Service",
        )
    ]
    assert red(Deployment=[caller(gone)]) == []  # Services could not be read
    for elsewhere in ("http://auht.other.svc", "http://auht", "http://auht.shop"):
        assert red(Service=[service()], Deployment=[caller(elsewhere)]) == []


def test_many_services_and_pods_are_looked_at_in_an_instant() -> None:
    names = [f"s{number}" for number in range(200)]
    objects = {
        "Service": [service(called) for called in names],
        "EndpointSlice": [slice_of(called, {f"{called}-1": True}, 8080) for called in names],
        "Pod": [pod(f"{called}-{number}", called) for called in names for number in range(20)],
        "Deployment": [deployment(called) for called in names],
    }
    began = perf_counter()
    assert red(**objects) == []
    assert perf_counter() - began < 0.5
