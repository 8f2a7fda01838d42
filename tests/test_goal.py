"""Goals as a whole: nesting, errors, order, progress."""

import threading

import pytest
from measuring import goal_of

from smoldebug.errors import NotFound, ToolError, UnreachableError, UsageError
from smoldebug.playbook.base import Duration
from smoldebug.playbook.models import Check, HttpCheck, MetricCheck, ObjectCheck
from smoldebug.records import Outcome
from smoldebug.sources.fakes import FakeCluster, FakeHttp, FakeMetrics, fake_world, reply

MET, NOT_MET, INCONCLUSIVE = Outcome.MET, Outcome.NOT_MET, Outcome.INCONCLUSIVE
GOOD, BAD, BLIND = "http://good/", "http://bad/", "http://blind/"
HTTP = {GOOD: reply(200), BAD: reply(500), BLIND: ToolError("cannot look")}


def check(url: str) -> Check:
    return Check(http=HttpCheck(url=url))


def sample(*checks: Check, **blocks) -> Outcome:
    return goal_of(*checks, http=FakeHttp(HTTP), **blocks).check().sample


def test_all_and_any_side_by_side_must_both_hold():
    assert sample(check(GOOD), any_of=[check(BAD), check(GOOD)]) is MET
    assert sample(check(GOOD), any_of=[check(BAD)]) is NOT_MET
    assert sample(check(GOOD), any_of=[check(BAD), check(BLIND)]) is INCONCLUSIVE


def test_groups_nest():
    either = Check(any=[Check(all=[check(GOOD), check(BLIND)]), check(GOOD)])
    assert sample(either) is MET
    assert sample(Check(all=[either, check(BAD)])) is NOT_MET


def test_results_keep_the_playbooks_order_and_say_what_is_one_of_several():
    nested = Check(any=[Check(all=[check(BAD)]), check(GOOD)])
    goal = goal_of(check(BLIND), nested, check(GOOD), http=FakeHttp(HTTP))
    results = goal.check().results
    assert [result.subject for result in results] == [BLIND, BAD, GOOD, GOOD]
    assert [result.check.startswith("any of: ") for result in results] == [0, 1, 1, 0]


def test_checks_with_one_label_are_told_apart_by_their_subject():
    labels = [result.check for result in goal_of(check(GOOD), check(BAD)).check().results]
    assert labels == [f"http / = 200 ({GOOD})", f"http / = 200 ({BAD})"]


def test_checks_are_measured_side_by_side():
    together = threading.Barrier(2, timeout=10)

    def wait(_) -> float:
        return float(together.wait() >= 0)

    metrics = FakeMetrics({"a": wait, "b": wait})
    checks = [Check(metric=MetricCheck(query=query, equals=1)) for query in "ab"]
    assert goal_of(*checks, metrics=metrics).check().outcome is MET


def test_worlds_open_once_for_checks_side_by_side():
    opened = []
    world = fake_world()
    world._open["cluster"] = lambda: opened.append(1) or FakeCluster()
    threads = [threading.Thread(target=lambda: world.cluster) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [1]


@pytest.mark.parametrize(
    ("error", "outcome", "unreachable"),
    [
        (NotFound("no such object"), NOT_MET, False),
        (UnreachableError("no answer"), INCONCLUSIVE, True),
        (UsageError("no kubeconfig"), INCONCLUSIVE, False),
        (ToolError("odd answer"), INCONCLUSIVE, False),
    ],
)
def test_errors_become_outcomes_and_never_escape(error, outcome, unreachable):
    cluster = FakeCluster()
    cluster.refuse("*", error=error)
    goal = goal_of(Check(object=ObjectCheck(kind="Pod", name="p", matches={})), cluster=cluster)
    verdict = goal.check()
    assert (verdict.outcome, verdict.results[0].says) == (outcome, str(error))
    assert goal.unreachable is unreachable


def test_what_a_check_says_is_safe_to_print():
    http = FakeHttp({GOOD: UnreachableError("\x1b]0;owned\x07[/red]\nrefused" + "x" * 999)})
    (result,) = goal_of(check(GOOD), http=http).check().results
    assert result.says.startswith("[/red] refusedx")
    assert len(result.says) == 300


def test_a_window_fills_as_time_goes_by():
    http = FakeHttp({GOOD: [reply(500), reply(200)]})
    window = {"every": Duration(5), "consecutive": 3, "for_": Duration(10), "within": Duration(60)}
    goal = goal_of(check(GOOD), http=http, window=window)
    clock, seen = goal._clock, []
    while (verdict := goal.check()).outcome is not MET:
        seen.append((verdict.sample, verdict.streak, verdict.held))
        clock.sleep(goal.due_in())
    assert seen == [(NOT_MET, 0, 0), (MET, 1, 0), (MET, 2, 5)]
    assert (verdict.streak, verdict.needed, verdict.held, verdict.hold_for) == (3, 3, 10, 10)
    assert (goal.every, goal.within, clock.monotonic()) == (5, 60, 15)


def test_a_restarted_window_counts_anew():
    goal = goal_of(check(GOOD), http=FakeHttp(HTTP), window={"consecutive": 2})
    goal.check()
    assert goal.due_in() == 5
    goal.restart_window()
    assert goal.due_in() == 0
    goal._clock.sleep(5)
    assert goal.check().streak == 1


def test_describe_takes_the_playbooks_words_or_the_checks():
    window = {"consecutive": 3, "for_": Duration(60)}
    assert goal_of(check(GOOD), window={"description": "it works"}).describe() == "it works"
    assert goal_of(check("http://x/health"), window=window).describe() == (
        "http /health = 200, 3 times in a row, for 1m"
    )
    either = Check(any=[check("http://x/a"), check("http://x/b")])
    assert goal_of(check("http://x/c"), either, any_of=[check("http://x/d")]).describe() == (
        "(http /c = 200 and (http /a = 200 or http /b = 200)) and (http /d = 200)"
    )


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ([], "the goal has no checks"),
        ([Check()], "a check is exactly one of http, tcp"),
        ([Check(http=HttpCheck(url=GOOD), python="a:b")], "a check is exactly one of"),
        ([Check(all=[])], "`all` or `any` has no checks"),
        ([Check(sql={"query": "select 1"})], "not supported yet: sql check"),
    ],
)
def test_a_goal_that_cannot_be_measured_is_refused_at_once(checks, says):
    with pytest.raises(UsageError, match=says):
        goal_of(*checks)
