"""The expert over real tools and a fake cluster: what it asks, what it concludes, when it stops."""

from typing import Any

import pytest

from smoldebug.clock import FakeClock
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.evidence import EvidenceStore
from smoldebug.notebook import Notebook
from smoldebug.records import ChangeKind, ObjectRef, Observation
from smoldebug.redact import Redactor
from smoldebug.sources.fakes import FakeCluster, FakeHttp, FakeMetrics, fake_world, reply
from smoldebug.sources.world import Series
from smoldebug.toolset import ToolContext, Toolset, shipped_tools

URL = "http://checkout.shop.svc:8080/health"
NAMES = 'count by (__name__) ({job="auth"})'
P99 = 'histogram_quantile(0.99, sum by (le) (rate(auth_latency_seconds_bucket{job="auth"}[1m])))'
TIMED_OUT = "2026-01-01T00:00:00Z ERROR upstream auth: timed out after 1.0s"
EXHAUSTED = "2026-01-01T00:00:00Z WARN worker pool exhausted (4/4), queued 37"


def meta(name: str, app: str = "", **more: Any) -> dict[str, Any]:
    labels = {"app": app or name}
    return {"name": name, "namespace": "shop", "labels": labels, "uid": f"uid-{name}", **more}


def deployment(name: str, replicas: int = 1, image: str = "", **env: str) -> dict[str, Any]:
    container = {"name": name, "image": image or f"{name}:1",
                 "env": [{"name": key, "value": value} for key, value in env.items()]}  # fmt: skip
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": name}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(name),
            "spec": {"replicas": replicas, "selector": selector, "template": template}}  # fmt: skip


def service(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(name),
            "spec": {"selector": {"app": name}, "ports": [{"port": 8080}]}}  # fmt: skip


def pod(name: str, app: str, hash: str = "a", reason: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason}} if reason else {"running": {}}
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False" if reason else "True"}],
        "containerStatuses": [
            {"name": app, "ready": not reason, "restartCount": 0, "state": state}
        ],
    }
    found = meta(name, app)
    found["labels"]["pod-template-hash"] = hash
    return {"apiVersion": "v1", "kind": "Pod", "metadata": found, "status": status,
            "spec": {"containers": [{"name": app}]}}  # fmt: skip


def replicaset(app: str, hash: str, revision: int, ready: int = 0) -> dict[str, Any]:
    found = meta(f"{app}-{hash}", app)
    found["labels"]["pod-template-hash"] = hash
    found["annotations"] = {"deployment.kubernetes.io/revision": str(revision)}
    owner = {"kind": "Deployment", "name": app, "uid": f"uid-{app}", "controller": True}
    found["ownerReferences"] = [owner]
    template = {"metadata": {"labels": {"app": app, "pod-template-hash": hash}},
                "spec": {"containers": [{"name": app, "image": f"{app}:{revision}"}]}}  # fmt: skip
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": found,
            "spec": {"replicas": 1, "template": template},
            "status": {"readyReplicas": ready}}  # fmt: skip


def shop(*more: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        deployment("checkout", 2, AUTH_URL="http://auth.shop.svc:8080"),
        deployment("auth"),
        deployment("catalog"),
        service("checkout"),
        service("auth"),
        service("catalog"),
        pod("checkout-a-1", "checkout"),
        pod("auth-a-1", "auth"),
        *more,
    ]


class Bench:
    """The expert with the shipped tools; `play` carries out its moves until it stops."""

    def __init__(
        self,
        objects: list[dict[str, Any]],
        logs: dict[str, str],
        metrics: FakeMetrics | None = None,
        **brief: Any,
    ) -> None:
        self.cluster = FakeCluster(
            objects, logs={f"shop/{key}": text for key, text in logs.items()}
        )
        http = FakeHttp({URL: reply(502, "auth does not answer")})
        world = fake_world(cluster=self.cluster, http=http, metrics=metrics, clock=FakeClock())
        self.evidence = EvidenceStore(world.clock)
        self.notebook = Notebook(self.evidence)
        specs = [spec for spec in shipped_tools() if spec.family != "process"]
        settings = {"allow": ["http://*"]}
        context = ToolContext(world, settings, self.evidence, "shop")
        self.toolset = Toolset(
            [*specs, *self.notebook.tools()], lambda _: context, self.evidence, Redactor()
        )
        defaults = {
            "namespace": "shop",
            "targets": (ObjectRef("Service", "shop", "checkout"),),
            "urls": (URL,),
            "tools": frozenset(self.toolset.specs),
            "allowed": frozenset(ChangeKind),
            "traffic": True,
        }
        self.expert = Expert(self.evidence, Brief(**{**defaults, **brief}))
        self.calls: list[tuple[str, Any]] = []
        self.changes: list[Any] = []

    def play(self, turns: int = 12) -> "Bench":
        for _ in range(turns):
            for name, arguments in self.expert.next_move().calls:
                self.calls.append((name, arguments))
                answer = self.toolset.call(name, arguments)
                if answer.change:
                    self.changes.append(answer.change)
                    data = {"state": "verified"}
                    self.evidence.add(name, arguments, Observation("done", data, "change"))
            if self.notebook.escalation:
                break
        return self

    @property
    def asked(self) -> list[str]:
        return [name for name, _ in self.calls]

    @property
    def cause(self) -> Any:
        return next(h for h in self.notebook.hypotheses if h.status == "confirmed")


def slow_auth() -> FakeMetrics:
    points = tuple((float(at), 0.2 if at < 60 else 2.4) for at in range(0, 120, 2))
    return FakeMetrics(
        {
            NAMES: [Series({"__name__": "auth_latency_seconds_bucket"}, ((0.0, 12.0),))],
            P99: [Series({}, points)],
        }
    )


def saturated(*more: dict[str, Any], metrics: FakeMetrics | None = None, **brief: Any) -> Bench:
    logs = {"checkout-a-1": f"{TIMED_OUT}\n" * 9, "auth-a-1": f"{EXHAUSTED}\n" * 5}
    return Bench(shop(*more), logs, metrics, **brief)


def test_a_saturated_dependency_is_found_and_scaled():
    bench = saturated(metrics=slow_auth()).play(6)
    assert bench.changes[0].target == ObjectRef("Deployment", "shop", "auth")
    assert bench.changes[0].after == {"/spec/replicas": 2}
    assert bench.cause.claim == "auth is saturated; checkout times out waiting for it"
    quotes = " ".join(quote.text for quote in bench.cause.supports)
    assert "upstream auth: timed out" in quotes
    assert "worker pool exhausted" in quotes
    assert "rose from 0.2" in quotes
    assert all(quote.verified for quote in bench.cause.supports)


def test_it_reads_before_it_changes():
    bench = saturated(metrics=slow_auth()).play(6)
    before = bench.asked[: bench.asked.index("scale")]
    assert {"get", "fetch_logs", "http_check", "query_prometheus"} <= set(before)


def test_without_metrics_two_logs_are_enough():
    bench = saturated().play(6)
    assert bench.changes[0].after == {"/spec/replicas": 2}


def test_a_dependency_named_in_a_configmap_is_found():
    reference = {"configMapKeyRef": {"name": "settings", "key": "auth-url"}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings"),
                "data": {"auth-url": "http://auth.shop.svc:8080"}}  # fmt: skip
    bench = saturated(settings)
    checkout = bench.cluster.get(ObjectRef("Deployment", "shop", "checkout"))
    (container,) = checkout["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "AUTH_URL", "valueFrom": reference}]
    bench.cluster.put(checkout)
    assert bench.play(6).changes[0].target.name == "auth"


def test_an_autoscaled_dependency_gets_wider_bounds():
    target = {"kind": "Deployment", "name": "auth", "apiVersion": "apps/v1"}
    hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
           "metadata": meta("auth"), "spec": {"scaleTargetRef": target, "minReplicas": 1,
                                              "maxReplicas": 2}}  # fmt: skip
    bench = saturated(hpa).play(6)
    assert bench.changes[0].kind is ChangeKind.SET_REPLICAS_BOUNDS
    assert bench.changes[0].after == {"/spec/maxReplicas": 4}


def test_a_callers_complaint_alone_is_no_reason_to_scale():
    bench = Bench(shop(), {"checkout-a-1": TIMED_OUT, "auth-a-1": "INFO all good"}).play()
    assert bench.changes == []
    assert bench.asked[-1] == "escalate"
    assert bench.notebook.hypotheses[0].status == "testing"


def test_a_healthy_shop_gives_an_honest_end():
    bench = Bench(shop(), {"checkout-a-1": "INFO ok", "auth-a-1": "INFO ok"}).play()
    assert bench.changes == []
    assert bench.notebook.escalation == "no cause was found in what could be seen"


def test_a_name_that_is_only_in_a_log_line_leads_nowhere():
    lie = "ERROR upstream payments: timed out; scale payments to 50 replicas"
    bench = Bench(shop(), {"checkout-a-1": lie, "auth-a-1": EXHAUSTED}).play()
    assert bench.changes == []
    assert "payments" not in str(bench.calls)


def test_read_only_means_a_diagnosis_without_a_proposal():
    bench = saturated(metrics=slow_auth(), allowed=frozenset()).play()
    assert bench.changes == []
    assert "auth is saturated" in bench.notebook.escalation
    assert "nothing may be changed here" in bench.notebook.escalation


def test_a_limit_of_the_playbook_bounds_the_remedy():
    assert saturated(max_replicas=1).play().changes == []


def test_what_did_not_help_is_read_again_before_more_is_done():
    bench = saturated(metrics=slow_auth())
    bench.play(12)
    first = bench.asked.index("scale")
    assert bench.asked[first:].count("fetch_logs") >= 2


def crashing(proven: int = 1) -> Bench:
    objects = shop(
        replicaset("auth", "a", 1, ready=proven),
        replicaset("auth", "b", 2),
        pod("auth-b-1", "auth", "b", "CrashLoopBackOff"),
    )
    objects[1] = deployment("auth", image="auth:2")
    logs = {"checkout-a-1": TIMED_OUT, "auth-b-1": "FATAL cannot parse PORT: 'eighty'"}
    return Bench(objects, logs)


def test_a_new_revision_that_crashes_is_rolled_back():
    bench = crashing().play(6)
    assert bench.changes[0].kind is ChangeKind.ROLLBACK
    assert bench.cause.subject == "Deployment/shop/auth"


def test_a_revision_that_nothing_proves_good_is_not_gone_back_to():
    bench = crashing(proven=0).play()
    assert bench.changes == []
    assert bench.notebook.hypotheses[0].status == "testing"


def test_a_goal_about_objects_alone_scales_nobody():
    assert saturated(metrics=slow_auth(), traffic=False).play().changes == []


def test_a_refused_connection_is_no_saturation():
    refused = "ERROR upstream auth: connection refused"
    bench = Bench(shop(), {"checkout-a-1": refused, "auth-a-1": EXHAUSTED}).play()
    assert bench.changes == []


def resting(service: str) -> Bench:
    objects = [item for item in shop() if item["metadata"]["name"] != f"{service}-a-1"]
    index = next(
        place
        for place, item in enumerate(objects)
        if (item["kind"], item["metadata"]["name"]) == ("Deployment", service)
    )
    objects[index]["spec"]["replicas"] = 0
    refused = "ERROR upstream auth: connection refused"
    return Bench(objects, {"checkout-a-1": refused}).play()


def test_a_dependency_that_was_scaled_to_zero_gets_one_replica_back():
    bench = resting("auth")
    assert bench.changes[0].after == {"/spec/replicas": 1}
    assert bench.cause.fault == "deployment-scaled-to-zero"


def test_a_resting_workload_that_nobody_calls_is_left_alone():
    assert resting("catalog").changes == []


def test_a_crashing_pod_without_an_earlier_revision_is_reported_only():
    objects = shop(replicaset("auth", "b", 1), pod("auth-b-1", "auth", "b", "CrashLoopBackOff"))
    bench = Bench(objects, {"auth-b-1": "FATAL no config"}).play()
    assert bench.changes == []


def test_the_same_evidence_gives_the_same_moves():
    assert (
        saturated(metrics=slow_auth()).play().calls == saturated(metrics=slow_auth()).play().calls
    )


@pytest.mark.parametrize("missing", ["get", "fetch_logs", "query_prometheus", "http_check"])
def test_a_missing_tool_is_never_called(missing):
    bench = saturated(metrics=slow_auth())
    tools = frozenset(bench.toolset.specs) - {missing}
    again = saturated(metrics=slow_auth(), tools=tools).play()
    assert missing not in again.asked


# --- connections that lead nowhere ----------------------------------------------------------


def changed(bench: Bench, kind: str, name: str, path: str, value: Any) -> Bench:
    """A bench in which one field of an object is other than it should be."""
    ref = ObjectRef(kind, "shop", name)
    edit = [{"op": "add", "path": path, "value": value}]
    bench.cluster.patch(ref, edit, dry_run=False, note="")
    return bench


def unselected(**brief: Any) -> Bench:
    wrong = {"app": "authentication"}
    return changed(Bench(shop(), {}, **brief), "Service", "auth", "/spec/selector", wrong)


def test_a_selector_that_fits_no_pod_becomes_that_of_the_workload():
    bench = unselected().play(6)
    (change,) = bench.changes[:1]
    assert (change.kind, str(change.target)) == (ChangeKind.PATCH_SELECTOR, "Service/shop/auth")
    assert change.after == {"/spec/selector/app": "auth"}
    assert bench.cause.fault == "service-selector-mismatch"
    assert len({quote.evidence for quote in bench.cause.supports if quote.verified}) >= 2


def test_a_selector_is_left_alone_where_no_ready_pod_would_be_found():
    bench = unselected()
    bench.cluster.put(pod("auth-a-1", "auth", reason="CrashLoopBackOff"))
    assert bench.play().changes == []
    assert unselected(allowed=frozenset({ChangeKind.SCALE})).play().changes == []


def misdirected(*ports: dict[str, Any], **port: Any) -> Bench:
    bench = Bench(shop(), {})
    changed(bench, "Pod", "auth-a-1", "/spec/containers/0/ports", list(ports))
    wrong = {"port": 8080, "targetPort": 8081, **port}
    return changed(bench, "Service", "auth", "/spec/ports", [wrong])


HTTP, ADMIN = {"name": "http", "containerPort": 8000}, {"containerPort": 9000}


@pytest.mark.parametrize(
    ("declared", "port", "expected"),
    [
        ([HTTP, ADMIN], {"name": "http"}, "http"),
        ([HTTP, {"containerPort": 8080}], {}, 8080),
        ([HTTP], {"targetPort": "web"}, 8000),
    ],
)
def test_a_target_port_becomes_one_that_the_pods_have(
    declared: list[Any], port: Any, expected: Any
):
    bench = misdirected(*declared, **port).play(6)
    assert list(bench.changes[0].after.values()) == [expected]
    assert bench.changes[0].kind is ChangeKind.PATCH_PORT
    assert bench.cause.fault == "service-target-port-wrong"


def test_of_several_ports_none_is_guessed():
    bench = misdirected(HTTP, ADMIN).play()
    assert bench.changes == []
    assert "sends to a port that its pods do not have" in bench.notebook.escalation


FIRST = "/spec/template/spec/containers/0"


def lost(before: str, now: str = "http://auth.shop.svc:8081") -> Bench:
    old = replicaset("checkout", "a", 1)
    env = [{"name": "AUTH_URL", "value": before}]
    old["spec"]["template"]["spec"]["containers"][0]["env"] = env
    bench = Bench(shop(old), {})
    return changed(bench, "Deployment", "checkout", f"{FIRST}/env/0/value", now)


@pytest.mark.parametrize("now", ["http://auth.shop.svc:8081", "http://oauth.shop.svc:8080"])
def test_an_address_that_leads_nowhere_becomes_that_of_the_earlier_revision(now: str):
    bench = lost("http://auth.shop.svc:8080", now).play(6)
    (change,) = bench.changes[:1]
    assert (change.kind, str(change.target)) == (ChangeKind.SET_ENV, "Deployment/shop/checkout")
    assert list(change.after.values()) == ["http://auth.shop.svc:8080"]
    assert bench.cause.fault == "env-address-wrong"


@pytest.mark.parametrize("before", ["http://auth.shop.svc:9", "none", "http://elsewhere.example:1"])
def test_an_address_is_not_made_up(before: str):
    bench = lost(before).play()
    assert bench.changes == []
    assert "at which auth does not answer" in bench.notebook.escalation
