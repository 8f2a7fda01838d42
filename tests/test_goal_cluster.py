"""Checks of a goal that look at Kubernetes objects: object, rollout, restarts."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measuring import goal_of, measure

from smoldebug.errors import UnreachableError, UsageError
from smoldebug.goal.objects import difference
from smoldebug.goal.restarts import label_selector
from smoldebug.goal.rollout import pending
from smoldebug.playbook.base import Duration
from smoldebug.playbook.models import Check, ObjectCheck, RestartsCheck, RolloutCheck
from smoldebug.records import Outcome
from smoldebug.sources.fakes import FakeCluster

MET, NOT_MET, INCONCLUSIVE = Outcome.MET, Outcome.NOT_MET, Outcome.INCONCLUSIVE


def thing(kind: str, name: str, spec=None, status=None, generation: int = 1, **meta) -> dict:
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "generation": generation, **meta},
        "spec": spec or {},
        "status": status or {},
    }


# --- object -----------------------------------------------------------------------------------

AUTH = thing("Deployment", "auth", {"replicas": 2, "paused": False}, labels={"app": "auth"})


def look(*objects, **block):
    block = {"kind": "Deployment", "matches": {"spec": {"replicas": 2}}} | block
    found = measure(Check(object=ObjectCheck(**block)), cluster=FakeCluster(objects))
    return found.outcome, found.says


def test_an_object_matches_in_part():
    assert look(AUTH, name="auth") == (MET, "matches")
    assert look(AUTH, name="auth", matches={"spec": {"replicas": 3}}) == (
        NOT_MET,
        "spec.replicas is 2, not 3",
    )


def test_a_missing_object_is_not_met():
    assert look(name="auth") == (NOT_MET, "no such object: Deployment/shop/auth")
    assert look(labels="app=auth") == (NOT_MET, "no Deployment found")


def test_without_a_name_every_object_selected_must_match():
    other = thing("Deployment", "other", {"replicas": 1}, labels={"app": "other"})
    assert look(AUTH, other, labels="app=auth") == (MET, "all 1 match")
    assert look(AUTH, other) == (NOT_MET, "Deployment/shop/other: spec.replicas is 1, not 2")


def test_an_object_that_may_not_be_read_is_inconclusive():
    cluster = FakeCluster([AUTH])
    cluster.refuse("get", "deployments")
    found = measure(
        Check(object=ObjectCheck(kind="deploy", name="auth", matches={})), cluster=cluster
    )
    assert (found.outcome, found.subject) == (INCONCLUSIVE, "Deployment/shop/auth")


def test_an_object_check_says_where_to_look():
    check = Check(object=ObjectCheck(kind="Pod", name="p", matches={}))
    with pytest.raises(UsageError, match="in which namespace to look for: Pod"):
        goal_of(check, namespaces=("a", "b"))
    node = Check(object=ObjectCheck(kind="nodes", name="n1", matches={}))
    assert goal_of(node, namespaces=("a", "b")).describe() == "object Node/n1"
    with pytest.raises(UsageError, match="a name or labels, not both"):
        goal_of(Check(object=ObjectCheck(kind="Pod", name="p", labels="a=b", matches={})))


@pytest.mark.parametrize(
    ("expected", "actual", "says"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}, ""),
        ({"a": [{"x": 1}, {}]}, {"a": [{"x": 1, "y": 2}, {"z": 3}]}, ""),
        ({"a": [1, 2]}, {"a": [2, 1]}, "a[0] is 2, not 1"),
        ({"a": [1]}, {"a": [1, 2]}, "a has 2 items, not 1"),
        ({"a": 1}, {"a": 1.0}, ""),
        ({"a": 1}, {"a": "1"}, 'a is "1", not 1'),
        ({"a": True}, {"a": 1}, "a is 1, not true"),
        ({"a": None}, {}, ""),
        ({"a": {}}, {}, "a is absent, not {}"),
        ({"a": {"b": 1}}, {"a": [1]}, 'a is [1], not {"b":1}'),
        ({"a": {"b": 1}}, {"a": None}, 'a is absent, not {"b":1}'),
    ],
)
def test_differences_in_words(expected, actual, says):
    assert difference(expected, actual) == says


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(json, json)
def test_everything_matches_itself_and_anything_added_to_a_mapping(value, more):
    assert difference(value, copy.deepcopy(value)) == ""
    assert difference({"a": value}, {"a": value, "b": more}) == ""


@given(json, json)
def test_a_difference_is_found_both_ways_or_one_is_part_of_the_other(one, other):
    if one != other and not difference(one, other) and not difference(other, one):
        assert _without_nulls(one) == _without_nulls(other)


def _without_nulls(value):
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


# --- rollout ----------------------------------------------------------------------------------


def deployment(name="auth", wanted=3, updated=3, available=3, total=None, **status) -> dict:
    status = {
        "observedGeneration": 1,
        "replicas": total or updated,
        "updatedReplicas": updated,
        "availableReplicas": available,
    } | status
    return thing("Deployment", name, {"replicas": wanted}, status)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (deployment(), ""),
        (deployment(wanted=0, updated=0, available=0), ""),
        (deployment(updated=1, available=1), "1 of 3 updated"),
        (deployment(total=4), "1 old replica left"),
        (deployment(available=2), "2 of 3 available"),
        (deployment(observedGeneration=0), "its controller has not seen the latest spec yet"),
        (
            deployment(conditions=[{"reason": "ProgressDeadlineExceeded"}]),
            "progress deadline exceeded",
        ),
        (thing("Deployment", "new"), "its controller has not seen the latest spec yet"),
    ],
)
def test_deployments(item, says):
    assert pending(item, "Deployment") == says


def stateful(update=None, **status) -> dict:
    status = {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 3} | status
    spec = {"replicas": 3, "updateStrategy": update or {"type": "RollingUpdate"}}
    return thing("StatefulSet", "db", spec, status)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (stateful(), ""),
        (stateful(updatedReplicas=0, updateRevision="a", currentRevision="a"), ""),
        (stateful(updatedReplicas=1, updateRevision="b", currentRevision="a"), "1 of 3 updated"),
        (stateful(readyReplicas=2), "2 of 3 available"),
        (stateful(availableReplicas=1), "1 of 3 available"),
        (
            stateful(
                {"rollingUpdate": {"partition": 2}},
                updatedReplicas=1,
                updateRevision="b",
                currentRevision="a",
            ),
            "",
        ),
        (
            stateful(
                {"type": "OnDelete"}, updatedReplicas=0, updateRevision="b", currentRevision="a"
            ),
            "",
        ),
    ],
)
def test_stateful_sets(item, says):
    assert pending(item, "StatefulSet") == says


def daemon(**status) -> dict:
    counts = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}
    return thing("DaemonSet", "agent", {}, {"observedGeneration": 1} | counts | status)


def test_daemon_sets():
    assert pending(daemon(), "DaemonSet") == ""
    assert pending(daemon(updatedNumberScheduled=1), "DaemonSet") == "1 of 2 updated"
    assert pending(daemon(numberAvailable=1), "DaemonSet") == "1 of 2 available"


@given(json, st.sampled_from(["Deployment", "StatefulSet", "DaemonSet"]))
def test_odd_objects_do_not_break_it(odd, kind):
    assert isinstance(pending({"spec": odd, "status": odd, "metadata": odd}, kind), str)
    assert isinstance(pending({"status": {"conditions": [odd]}}, kind), str)


def roll(cluster, **block):
    found = measure(Check(rollout=RolloutCheck(**block)), cluster=cluster)
    return found.outcome, found.says, found.subject


def test_a_rollout_by_name():
    target = "deploy/shop/auth"
    assert roll(FakeCluster([deployment()]), target=target)[:2] == (MET, "complete")
    assert roll(FakeCluster([deployment(available=2)]), target=target) == (
        NOT_MET,
        "2 of 3 available",
        "Deployment/shop/auth",
    )
    assert roll(FakeCluster(), target=target)[0] is NOT_MET


def test_every_workload_in_scope():
    elsewhere = copy.deepcopy(deployment(available=0))
    elsewhere["metadata"]["namespace"] = "other"
    assert roll(FakeCluster([deployment(), stateful(), elsewhere]))[:2] == (MET, "all 2 complete")
    bad = [deployment("a", available=2), deployment("b", updated=0), stateful()]
    assert roll(FakeCluster(bad)) == (
        NOT_MET,
        "Deployment/shop/a: 2 of 3 available (+1 more)",
        "Deployment/shop/a",
    )


def test_no_workload_at_all_is_inconclusive():
    assert roll(FakeCluster())[:2] == (INCONCLUSIVE, "no workloads found")


def test_what_is_seen_to_be_broken_counts_even_where_something_is_hidden():
    cluster = FakeCluster([deployment()])
    cluster.refuse("list", "StatefulSet")
    assert roll(cluster)[0] is INCONCLUSIVE
    cluster.put(deployment(available=0))
    assert roll(cluster)[0] is NOT_MET


def test_a_rollout_that_takes_too_long_says_so():
    check = Check(rollout=RolloutCheck(complete_within=Duration(60)))
    goal = goal_of(check, cluster=FakeCluster([deployment(available=0)]))
    goal._clock.sleep(61)
    (result,) = goal.check().results
    assert result.says == "not complete after 61 s: Deployment/shop/auth: 0 of 3 available"


@pytest.mark.parametrize("target", ["auth", "Pod/shop/auth", "a/b/c/d"])
def test_a_target_is_a_workload(target):
    with pytest.raises(UsageError, match="^not (KIND|one of Deployment, StatefulSet, DaemonSet)"):
        goal_of(Check(rollout=RolloutCheck(target=target)))


def test_a_target_without_a_namespace_is_in_the_only_one_in_scope():
    check = Check(rollout=RolloutCheck(target="deploy/auth"))
    assert goal_of(check).describe() == "rollout Deployment/shop/auth"
    with pytest.raises(UsageError, match="in which namespace to look for: Deployment"):
        goal_of(check, namespaces=())


# --- restarts ---------------------------------------------------------------------------------


def pod(name: str, restarts: int, uid: str = "", waiting: str = "", init: int = 0) -> dict:
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    status = {
        "initContainerStatuses": [{"name": "init", "restartCount": init}],
        "containerStatuses": [{"name": "app", "restartCount": restarts, "state": state}],
    }
    return thing("Pod", name, {}, status, uid=uid or name, labels={"app": "auth"})


def count(cluster: FakeCluster, *later: dict, **block):
    """A first sample, then what the second one says after these pods were put."""
    goal = goal_of(Check(restarts=RestartsCheck(**block)), cluster=cluster)
    goal.check()
    for item in later:
        cluster.put(item)
    (result,) = goal.check().results
    return result.outcome, result.says


def test_only_restarts_since_the_first_sample_count():
    assert count(FakeCluster([pod("a", 7)])) == (MET, "0 new")
    assert count(FakeCluster([pod("a", 7)]), pod("a", 9)) == (NOT_MET, "2 new: Pod/shop/a app ×2")
    assert count(FakeCluster([pod("a", 7)]), pod("a", 9), at_most=2) == (MET, "2 new")
    assert count(FakeCluster([pod("a", 7)]), pod("a", 7, init=1))[0] is NOT_MET


def test_a_pod_that_is_new_counts_with_all_its_restarts():
    assert count(FakeCluster([pod("a", 7)]), pod("a", 0, uid="other")) == (MET, "0 new")
    assert count(FakeCluster([pod("a", 7)]), pod("b", 3))[1] == "3 new: Pod/shop/b app ×3"


def test_a_container_that_keeps_crashing_counts_between_its_restarts():
    looping = FakeCluster([pod("a", 7, waiting="CrashLoopBackOff")])
    assert count(looping) == (NOT_MET, "1 new: Pod/shop/a app ×1, crash-looping")
    assert count(FakeCluster([pod("a", 7, waiting="ContainerCreating")]))[0] is MET


def test_restarts_of_one_workload():
    owner = thing("Deployment", "auth", {"selector": {"matchLabels": {"app": "auth"}}})
    other = pod("z", 0)
    other["metadata"]["labels"] = {"app": "other"}
    cluster = FakeCluster([owner, pod("a", 0), other])
    changed = copy.deepcopy(other)
    changed["status"]["containerStatuses"][0]["restartCount"] = 5
    assert count(cluster, changed, target="Deployment/shop/auth") == (MET, "0 new")
    assert count(cluster, pod("a", 1), target="Deployment/shop/auth")[0] is NOT_MET


def test_restarts_that_cannot_be_seen_are_inconclusive():
    assert count(FakeCluster())[0] is INCONCLUSIVE
    cluster = FakeCluster([pod("a", 0)])
    cluster.refuse("list", "pods", UnreachableError("no answer"))
    assert count(cluster) == (INCONCLUSIVE, "no answer")


def test_the_baseline_is_the_first_sample_that_could_be_taken():
    cluster = FakeCluster([pod("a", 7)])
    cluster.refuse("list", "pods")
    goal = goal_of(Check(restarts=RestartsCheck()), cluster=cluster)
    assert goal.check().outcome is INCONCLUSIVE
    cluster.allow("list", "pods")
    goal.restart_window()
    assert goal.check().outcome is MET
    cluster.put(pod("a", 8))
    goal.restart_window()
    assert goal.check().outcome is NOT_MET


def test_selectors_are_spelled_for_a_query():
    selector = {
        "matchLabels": {"app": "auth"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "env", "operator": "NotIn", "values": ["dev"]},
            {"key": "x", "operator": "Exists"},
            {"key": "y", "operator": "DoesNotExist"},
        ],
    }
    assert label_selector(selector) == "app=auth,tier in (a,b),env notin (dev),x,!y"
    assert label_selector(None) == ""


@given(json)
def test_odd_pods_do_not_break_it(odd):
    strange = {"kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "status": odd}
    inner = {**strange, "status": {"containerStatuses": [odd]}}
    for item in (strange, inner):
        (result,) = (
            goal_of(Check(restarts=RestartsCheck()), cluster=FakeCluster([item])).check().results
        )
        assert result.outcome is MET
