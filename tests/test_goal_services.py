"""A goal with a row per service: what a rollout does, what answers, what was restarted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from services import (
    CHECKS,
    Shop,
    deployment,
    pod,
    replica_set,
    requests_of,
    rows,
    unhealthy,
)

from smoldebug.errors import AccessDenied, ToolError, UnreachableError
from smoldebug.goal import Goal
from smoldebug.playbook.base import Duration
from smoldebug.playbook.models import (
    Check,
    CommandCheck,
    HttpCheck,
    MetricCheck,
    RestartsCheck,
    RolloutCheck,
)
from smoldebug.playbook.models import Goal as Block
from smoldebug.playbook.upgrades import EachService
from smoldebug.records import ObjectRef, Outcome
from smoldebug.sources.fake_helm import FakeChart
from smoldebug.sources.fakes import FakeMetrics, completed
from smoldebug.sources.helm import Release, Upgrade
from smoldebug.sources.world import World

MET, NOT_MET, INCONCLUSIVE = Outcome.MET, Outcome.NOT_MET, Outcome.INCONCLUSIVE
ROLLOUT, HTTP, LOGS, RESTARTS = CHECKS


def row(goal, kind: str, service: str = "pay"):
    found = goal.check().results
    return next(r for r in found if (r.kind, r.service) == (kind, f"Deployment/shop/{service}"))


# --- which rows there are ---------------------------------------------------------------------


def test_every_check_is_measured_for_every_service_of_a_release_in_a_fixed_order():
    goal = Shop("pay", "cart").goal()
    verdict = goal.check()
    kinds = ["rollout", "http", "logs", "restarts"]
    assert rows(verdict.results) == [(s, k, "met") for s in ("cart", "pay") for k in kinds]
    assert verdict.outcome is MET
    assert [str(ref) for ref in goal.services()] == ["Deployment/shop/cart", "Deployment/shop/pay"]
    assert [result.check for result in verdict.results[:4]] == [
        "rollout",
        "http /health = 200",
        "no new errors",
        "restarts ≤ 0",
    ]


@pytest.mark.parametrize(
    ("each", "names"),
    [
        (EachService(from_release="shop/shop"), ["cart", "pay"]),
        (EachService(selector="part-of=shop"), ["cart", "other", "pay"]),
        (EachService(workloads=["deployment/pay", "Deployment/shop/other"]), ["pay", "other"]),
    ],
)
def test_services_of_a_release_by_labels_or_by_name(each, names):
    shop = Shop("pay", "cart")
    shop.put(deployment("other"), replica_set("other"), pod("other"))
    goal = shop.goal(ROLLOUT, each=each)
    assert goal.check().outcome is MET
    assert [ref.name for ref in goal.services()] == names


def test_without_services_it_is_inconclusive_and_says_why():
    goal = Shop("pay").goal(each=EachService(from_release="shp"))
    verdict = goal.check()
    assert (verdict.outcome, verdict.results[0].check) == (
        INCONCLUSIVE,
        "each service of release shp",
    )
    assert verdict.results[0].says == "no such release in namespace shop: shp"
    nothing = Shop("pay").goal(each=EachService(selector="app=nothing")).check()
    assert nothing.results[0].says == "no workload in scope has the labels app=nothing"


def test_what_could_not_be_looked_up_once_is_looked_up_again():
    shop = Shop("pay")
    shop.helm.fail("objects", UnreachableError("no answer"))
    goal = shop.goal()
    assert goal.check().outcome is INCONCLUSIVE
    assert goal.unreachable
    shop.helm.recover("objects")
    assert goal.check().sample is MET


def test_a_change_adds_and_removes_rows(tmp_path):
    shop = Shop("pay", "cart")
    goal = shop.goal(ROLLOUT)
    goal.check()
    goal.mark()
    shop.helm.charts["shop"] = [FakeChart("shop", "2.0.0", [deployment("pay"), deployment("mail")])]
    chart = shop.helm.fetch("shop", "2.0.0", tmp_path)
    shop.helm.upgrade(Upgrade(Release("shop", "shop"), chart), "")
    goal.restart_window()
    assert rows(goal.check().results) == [("mail", "rollout", "met"), ("pay", "rollout", "met")]


def test_a_check_that_names_what_it_is_about_is_measured_once():
    shop = Shop("pay", "cart")
    shop.cluster.processes._script._left["true"] = [completed(0)]
    goal = shop.goal(
        Check(command=CommandCheck(run=["true"])),
        ROLLOUT,
        Check(restarts=RestartsCheck(target="Deployment/shop/pay")),
    )
    assert rows(goal.check().results) == [
        ("", "command", "met"),
        ("", "restarts", "met"),
        ("cart", "rollout", "met"),
        ("pay", "rollout", "met"),
    ]


def test_any_of_several_must_hold_for_each_service():
    shop = Shop("pay", "cart")
    shop.answer("pay", 500)
    goal = shop.goal(Check(any=[HTTP, RESTARTS]))
    assert goal.check().sample is MET
    shop.put(pod("pay", restartCount=2))
    assert goal.check().sample is NOT_MET
    assert goal.describe() == ("each service of release shop: (http /health = 200 or restarts ≤ 0)")


def test_a_service_that_is_gone_is_not_met():
    shop = Shop("pay")
    goal = shop.goal(ROLLOUT)
    goal.check()
    shop.gone(deployment("pay"))
    found = row(goal, "rollout")
    assert (found.outcome, found.says) == (NOT_MET, "Deployment/shop/pay does not exist")


def test_a_service_that_is_scaled_to_nothing_has_a_rollout_and_nothing_else():
    shop = Shop("pay")
    shop.put(deployment("pay", replicas=0))
    shop.gone(pod("pay"))
    (found,) = shop.goal().check().results
    assert (found.kind, found.outcome, found.says) == (
        "rollout",
        MET,
        "complete: it wants no pods",
    )


def test_fifty_services_take_no_more_lists_than_one():
    def lists(count: int) -> list[tuple[str, str]]:
        shop = Shop(*(f"s{number}" for number in range(count)))
        goal = shop.goal()
        goal.check()
        requests_of(shop)
        assert goal.check().outcome is MET
        return requests_of(shop, "list", "get")

    assert sorted(lists(50)) == sorted(lists(1))


# --- rollout ----------------------------------------------------------------------------------


def upgrading(shop: Shop, new: dict, name: str = "pay") -> None:
    """The old pod is still there, and this is the new one."""
    under_way = deployment(name, generation=2, updatedReplicas=1, replicas=1, availableReplicas=0)
    shop.put(under_way, replica_set(name, 2), new)


def test_a_rollout_under_way_is_worth_waiting_for():
    shop = Shop("pay")
    goal = shop.goal()
    goal.mark()
    upgrading(shop, pod("pay", 2, ready=False, state={"waiting": {"reason": "ContainerCreating"}}))
    found = {result.kind: result for result in goal.check().results}
    assert (found["rollout"].outcome, found["rollout"].pending) == (NOT_MET, True)
    assert found["rollout"].says == "0 of 1 available"
    assert (found["http"].outcome, found["http"].pending) == (NOT_MET, True)
    assert found["http"].says == "not asked before its rollout is complete: 0 of 1 available"


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
            },
            "pay-2-x: app CrashLoopBackOff (last exit: OOMKilled, code 137)",
        ),
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off\npulling"}}},
            "pay-2-x: app ImagePullBackOff: Back-off pulling",
        ),
        (
            {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no key"}}},
            "pay-2-x: app CreateContainerConfigError: no key",
        ),
        (
            {"init": {"name": "init", "state": {"terminated": {"exitCode": 3}}}, "state": {}},
            "pay-2-x: init container init failed (exit code 3)",
        ),
    ],
)
def test_a_pod_that_waiting_does_not_mend_fails_the_rollout(status, says):
    shop = Shop("pay")
    goal = shop.goal()
    upgrading(shop, pod("pay", 2, ready=False, **status))
    found = {result.kind: result for result in goal.check().results}
    assert (found["rollout"].says, found["rollout"].pending) == (says, False)
    assert found["http"].pending is False


def test_a_failed_pod_says_its_reason():
    shop = Shop("pay")
    new = pod("pay", 2, ready=False, state={})
    new["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "out of disk"}
    upgrading(shop, new)
    assert row(shop.goal(), "rollout").says == "pay-2-x: failed: out of disk"


def test_what_ails_a_pod_of_the_old_revision_is_not_the_new_ones_fault():
    shop = Shop("pay")
    shop.put(pod("pay", 1, ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}}))
    upgrading(shop, pod("pay", 2, ready=False, state={"waiting": {"reason": "ContainerCreating"}}))
    assert row(shop.goal(), "rollout").pending


def test_one_failed_pull_may_be_a_hiccup_two_are_not():
    shop = Shop("pay")
    goal = shop.goal()
    upgrading(shop, pod("pay", 2, ready=False, state={"waiting": {"reason": "ErrImagePull"}}))
    assert row(goal, "rollout").pending
    found = row(goal, "rollout")
    assert (found.says, found.pending) == ("pay-2-x: app ErrImagePull", False)


def test_a_pod_that_finds_no_node_waits_and_says_so():
    shop = Shop("pay")
    new = pod("pay", 2, ready=False, state={})
    new["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    ]
    upgrading(shop, new)
    found = row(shop.goal(), "rollout")
    assert (found.says, found.pending) == ("pay-2-x: not scheduled: 0/3 nodes are available", True)


def test_pods_that_may_not_be_created_say_so():
    shop = Shop("pay")
    refusal = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    shop.put(deployment("pay", updatedReplicas=0, conditions=[refusal]), replica_set("pay", 2))
    found = row(shop.goal(), "rollout")
    assert (found.says, found.pending) == ("pods cannot be created: exceeded quota: small", True)


def test_a_pod_that_does_not_answer_its_probe_may_only_be_slow():
    """Kubernetes never gives a readiness probe up."""
    shop = Shop("pay")
    goal = shop.goal()
    upgrading(shop, pod("pay", 2, ready=False))
    assert row(goal, "rollout").pending
    shop.clock.sleep(59)
    assert row(goal, "rollout").pending
    shop.clock.sleep(1)
    found = row(goal, "rollout")
    says = "pay-2-x: readiness probe failing: not ready 1m after its start"
    assert (found.says, found.pending) == (says, False)


def test_what_the_kubelet_said_of_the_probe_is_quoted_and_its_times_count():
    """The old pod, still ready, took 2 s to start: three times that is no start any more."""
    shop = Shop("pay")
    new = pod("pay", 2, ready=False)
    upgrading(shop, new)
    words = "HTTP probe failed with statuscode: 503"
    shop.put(unhealthy("pay", 2, words, at="2026-01-01T00:00:05Z"))
    assert row(shop.goal(), "rollout").pending
    shop.put(unhealthy("pay", 2, words, at="2026-01-01T00:00:06Z"))
    found = row(shop.goal(), "rollout")
    assert found.says == f"pay-2-x: readiness probe failing: {words}"
    assert not found.pending


def test_a_new_pod_may_take_three_times_as_long_to_start_as_one_that_is_ready_did():
    shop = Shop("pay")
    slow = pod("pay")
    slow["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:01:00Z"
    shop.put(slow)
    goal = shop.goal()
    upgrading(shop, pod("pay", 2, ready=False))
    goal.check()
    shop.clock.sleep(179)
    assert row(goal, "rollout").pending
    shop.clock.sleep(1)
    assert not row(goal, "rollout").pending


def test_a_startup_probe_comes_first():
    shop = Shop("pay")
    goal = shop.goal()
    upgrading(shop, pod("pay", 2, ready=False, started=False))
    goal.check()
    shop.clock.sleep(300)
    assert row(goal, "rollout").pending


def test_complete_within_counts_from_the_baseline_on():
    shop = Shop("pay")
    goal = shop.goal()
    goal.check()
    shop.clock.sleep(700)
    goal.mark()
    upgrading(shop, pod("pay", 2, ready=False, state={"waiting": {"reason": "ContainerCreating"}}))
    assert row(goal, "rollout").pending
    shop.clock.sleep(601)
    found = row(goal, "rollout")
    assert found.says == "not complete after 601 s: 0 of 1 available"
    assert not found.pending


def test_without_a_limit_a_rollout_is_waited_for_as_long_as_kubernetes_does():
    shop = Shop("pay")
    goal = shop.goal(Check(rollout=RolloutCheck()))
    upgrading(shop, pod("pay", 2, ready=False, state={}))
    shop.clock.sleep(601)
    assert not row(goal, "rollout").pending


def test_the_progress_deadline_is_final():
    shop = Shop("pay")
    over = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    shop.put(deployment("pay", conditions=[over]))
    found = row(shop.goal(), "rollout")
    assert (found.says, found.pending) == ("progress deadline exceeded", False)


@pytest.mark.parametrize("name", ["", "Deployment/shop/pay"])
def test_a_plain_rollout_is_judged_alike_where_the_playbook_has_steps(name):
    shop = Shop("pay")
    plain = Check(rollout=RolloutCheck(target=name))
    stuck = {"waiting": {"reason": "CrashLoopBackOff"}}
    for state, steps, pending in (({}, True, True), (stuck, True, False), ({}, False, False)):
        upgrading(shop, pod("pay", 2, ready=False, state=state))
        goal = Goal(shop.plan(Block(all=[plain]), steps), shop.world, shop.clock)
        (found,) = goal.check().results
        assert (found.outcome, found.pending) == (NOT_MET, pending)


# --- http -------------------------------------------------------------------------------------


def test_http_asks_one_ready_pod_after_the_other():
    shop = Shop("pay")
    second = pod("pay")
    second["metadata"] |= {"name": "pay-1-y", "uid": "uid-pay-1-y"}
    shop.put(second)
    goal = shop.goal(HTTP)
    shop.http._script._left["Pod/shop/pay-1-y:8080/health"] = shop.http._script._left[
        "Pod/shop/pay-1-x:8080/health"
    ]
    asked = [row(goal, "http").subject for _ in range(3)]
    assert asked == ["Pod/shop/pay-1-x", "Pod/shop/pay-1-y", "Pod/shop/pay-1-x"]


def test_the_answer_of_the_service_and_that_of_what_is_between_are_told_apart():
    shop = Shop("pay")
    goal = shop.goal(HTTP)
    shop.answer("pay", 503)
    assert row(goal, "http").says == "503 in 0.01 s"
    shop.answer("pay", UnreachableError("error trying to reach service: refused"))
    assert row(goal, "http").outcome is NOT_MET
    shop.cluster.refuse("get", "Namespace", UnreachableError("the API server does not answer"))
    found = row(goal, "http")
    assert (found.outcome, found.says) == (INCONCLUSIVE, "the API server does not answer")


def test_a_proxy_that_may_not_be_used_is_inconclusive_and_names_the_right():
    shop = Shop("pay")
    shop.cluster.refuse("proxy", "Pod", AccessDenied("not allowed", needs="get pods/proxy"))
    found = row(shop.goal(HTTP), "http")
    assert (found.outcome, found.says) == (INCONCLUSIVE, "not allowed (needs: get pods/proxy)")


def test_no_ready_pod_is_not_met():
    shop = Shop("pay")
    shop.put(pod("pay", ready=False))
    found = row(shop.goal(HTTP), "http")
    assert (found.outcome, found.says, found.pending) == (NOT_MET, "no pod is ready", False)


def service_of(port: dict) -> dict:
    spec = {"selector": {"app": "pay"}, "ports": [port]}
    return {"kind": "Service", "metadata": {"name": "pay", "namespace": "shop"}, "spec": spec}


@pytest.mark.parametrize(
    ("probe", "port", "where"),
    [
        ({"httpGet": {"port": "http"}}, None, "pay-1-x:8080"),
        ({"httpGet": {"port": 9000}}, {"name": "http", "port": 80}, "pay-1-x:9000"),
        ({"httpGet": {"port": 9000, "scheme": "HTTPS"}}, None, "https:pay-1-x:9000"),
        (
            {"tcpSocket": {"port": 1}},
            {"name": "web", "port": 1, "targetPort": "http"},
            "pay-1-x:8080",
        ),
        ({}, {"port": 80, "targetPort": 8000}, "pay-1-x:8000"),
        ({}, {"port": 8080}, "pay-1-x:8080"),
        ({}, {"name": "sql", "port": 5432}, ""),
        ({}, None, ""),
    ],
)
def test_the_port_is_that_of_the_probe_else_the_http_port_of_the_service(probe, port, where):
    shop = Shop("pay")
    item = deployment("pay")
    item["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe
    shop.put(item, *([service_of(port)] if port else []))
    shop.goal(HTTP).check()
    asked = [each for each in shop.cluster.requests if each.verb == "proxy"]
    assert [f"{each.name}:{each.detail['port']}" for each in asked] == ([where] if where else [])


def test_a_service_without_an_http_port_is_left_out_or_inconclusive():
    shop = Shop("pay")
    item = deployment("pay")
    del item["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    shop.put(item)
    assert shop.goal(HTTP, ROLLOUT).check().outcome is MET
    alone = shop.goal(HTTP).check()
    assert (alone.outcome, alone.results[0].says) == (
        INCONCLUSIVE,
        "every check was left out: there is nothing to measure",
    )
    found = row(shop.goal(Check(http=HttpCheck(path="/health"))), "http")
    assert (found.outcome, found.says) == (INCONCLUSIVE, "it has no HTTP port")
    named = row(shop.goal(Check(http=HttpCheck(path="/health", port="http"))), "http")
    assert named.outcome is MET


# --- restarts and metrics ---------------------------------------------------------------------


def test_restarts_count_from_the_baseline_on():
    shop = Shop("pay")
    goal = shop.goal(RESTARTS)
    goal.check()
    shop.put(pod("pay", restartCount=4))
    assert row(goal, "restarts").outcome is NOT_MET
    noted = goal.mark()
    assert noted.data == {"Deployment/shop/pay": {"restarts": 4}}
    assert noted.text == "Deployment/shop/pay: 4 restarts"
    assert row(goal, "restarts").outcome is MET
    shop.put(replica_set("pay", 2), pod("pay", 2, restartCount=1))
    found = row(goal, "restarts")
    assert (found.says, found.pending) == ("1 new: Pod/shop/pay-2-x app ×1", False)


def test_a_query_is_asked_for_each_service():
    shop = Shop("pay", "cart")
    query = "errors{job=\"${{ service.name }}\",ns='${{service.namespace}}'}"
    metrics = FakeMetrics(
        {"errors{job=\"pay\",ns='shop'}": 7.0, "errors{job=\"cart\",ns='shop'}": 1}
    )
    world = World(
        shop.clock,
        shop.cluster.processes,
        cluster=lambda: shop.cluster,
        metrics=lambda _: metrics,
        helm=lambda _: shop.helm,
    )
    shop.world = world
    goal = shop.goal(Check(metric=MetricCheck(query=query, below=5)))
    assert rows(goal.check().results) == [("cart", "metric", "met"), ("pay", "metric", "not met")]


# --- watched ----------------------------------------------------------------------------------


def test_a_row_that_fails_is_looked_at_again_soon_until_it_is_sure():
    shop = Shop("pay")
    goal = shop.goal(HTTP, every=Duration(15))
    goal.check()
    assert goal.due_in() == 15
    shop.answer("pay", 500)
    due = []
    for _ in range(4):
        goal.check()
        due.append(goal.due_in())
        shop.clock.sleep(1)
    assert due == [1, 1, 15, 15]


def test_the_first_sample_after_a_change_asks_the_cluster_itself():
    shop = Shop("pay")
    goal = shop.goal(ROLLOUT)
    with goal.watch():
        goal.check()
        requests_of(shop)
        goal.restart_window()
        goal.check()
        assert ("list", "Deployment") in requests_of(shop)


def test_in_a_hurry_only_what_changed_is_measured_anew():
    shop = Shop("cart", "pay")
    goal = shop.goal(every=Duration(15), for_=Duration(60))
    with goal.watch():
        first = goal.check()
        requests_of(shop)
        assert not goal.changed.is_set()
        shop.put(pod("pay", restartCount=1))
        assert goal.changed.wait(5)
        second = goal.check(hurry=True)
        asked = requests_of(shop)
        assert {kind for kind in asked} == {("logs", "Pod"), ("proxy", "Pod")}
        assert not goal.changed.is_set()
        before, after = (
            {(each.service, each.kind): each for each in verdict.results}
            for verdict in (first, second)
        )
        kept = [key for key in before if before[key] is after[key]]
        assert kept == [("Deployment/shop/cart", "http"), ("Deployment/shop/cart", "logs")]
        assert after["Deployment/shop/pay", "restarts"].outcome is NOT_MET
        shop.clock.sleep(15)
        goal.check(hurry=True)
        assert len(requests_of(shop, "logs")) == 2  # everything is due again
    assert goal.check().sample is NOT_MET
    assert ("list", "Deployment") in requests_of(shop)


def test_a_goal_that_is_not_watched_knows_no_hurry():
    shop = Shop("pay")
    goal = shop.goal()
    goal.check()
    requests_of(shop)
    goal.check(hurry=True)
    assert ("proxy", "Pod") in requests_of(shop)


def test_what_no_list_can_be_had_of_is_told_in_every_row():
    shop = Shop("pay")
    goal = shop.goal(ROLLOUT, RESTARTS)
    shop.cluster.refuse("list", "Pod", ToolError("odd answer"))
    assert rows(goal.check().results) == [
        ("pay", "rollout", "inconclusive"),
        ("pay", "restarts", "inconclusive"),
    ]


def test_a_service_is_what_it_is_called():
    assert Shop("pay").goal().services() == ()
    goal = Shop("pay").goal()
    goal.check()
    assert goal.services() == (ObjectRef("Deployment", "shop", "pay"),)
    assert goal.blind_spots() == []


# --- odd worlds -------------------------------------------------------------------------------


def test_pods_of_another_workload_with_the_same_labels_are_not_its_own():
    shop = Shop("pay")
    canary = pod("pay", 7, restartCount=3)
    canary["metadata"]["ownerReferences"][0]["uid"] = "uid-of-the-canary"
    shop.put(canary)
    goal = shop.goal(RESTARTS)
    goal.mark()
    canary["status"]["containerStatuses"][0]["restartCount"] = 9
    shop.put(canary)
    assert row(goal, "restarts").outcome is MET
    shop.cluster.refuse("list", "ReplicaSet")
    assert row(goal, "restarts").outcome is NOT_MET  # then the labels alone decide


@pytest.mark.parametrize(
    ("kind", "status", "label"),
    [
        (
            "StatefulSet",
            {"updateRevision": "b", "currentRevision": "a"},
            "controller-revision-hash",
        ),
        ("DaemonSet", {"desiredNumberScheduled": 2}, "pod-template-generation"),
    ],
)
def test_only_pods_of_the_latest_revision_are_judged(kind, status, label):
    shop = Shop("pay")
    item = deployment("pay")
    item["metadata"]["annotations"] = {"deprecated.daemonset.template.generation": "b"}
    item |= {"kind": kind, "status": {"observedGeneration": 1, **status}}
    broken = pod("pay", ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}})
    broken["metadata"]["ownerReferences"][0]["uid"] = "uid-pay"
    goal = shop.goal(ROLLOUT, each=EachService(workloads=[f"{kind}/shop/pay"]))
    for revision, pending in (("a", True), ("b", False)):
        broken["metadata"]["labels"][label] = revision
        shop.put(item, broken)
        (found,) = goal.check().results
        assert (found.outcome, found.pending) == (NOT_MET, pending)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PLACES = (
    ("Deployment", "spec", "template"),
    ("Deployment", "spec", "selector"),
    ("Deployment", "status"),
    ("Pod", "status"),
    ("Pod", "status", "containerStatuses"),
    ("Pod", "status", "containerStatuses", 0, "state"),
    ("Pod", "status", "containerStatuses", 0, "state", "running"),
    ("Pod", "status", "conditions"),
    ("Pod", "spec"),
    ("Pod", "spec", "containers", 0, "readinessProbe"),
    ("Pod", "metadata", "ownerReferences"),
    ("Event", "involvedObject"),
    ("Event", "message"),
    ("Service", "spec"),
    ("Service", "spec", "ports"),
)


@given(st.sampled_from(PLACES), json)
def test_odd_objects_are_told_and_never_break_it(place, odd):
    shop = Shop("pay")
    port = service_of({"name": "http", "port": 80})
    upgrading(shop, pod("pay", 2, ready=False))
    objects = {item["kind"]: item for item in shop.cluster.objects.values()}
    objects |= {"Event": unhealthy("pay", 2, "no"), "Service": port}
    item = objects[place[0]]
    inner = item
    for key in place[1:-1]:
        inner = inner[key]
    inner[place[-1]] = odd
    if place[0] == "Service":  # which is only looked at where no probe tells the port
        del objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    shop.put(objects["Event"], port, item)
    goal = shop.goal()
    assert goal.check().results
    goal.mark()
    assert goal.check().outcome in (MET, NOT_MET, INCONCLUSIVE)
