"""No new kinds of errors in the logs, compared with what was logged before."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from services import Shop, deployment, pod, replica_set, requests_of

from smoldebug.errors import AccessDenied
from smoldebug.goal import Goal
from smoldebug.playbook.base import Duration
from smoldebug.playbook.models import Check
from smoldebug.playbook.models import Goal as Block
from smoldebug.playbook.upgrades import LogsCheck
from smoldebug.records import Outcome
from smoldebug.signals.log_shapes import KnownErrors, error_words
from smoldebug.sources.fake_helm import FakeChart
from smoldebug.sources.helm import Release

MET, NOT_MET, INCONCLUSIVE = Outcome.MET, Outcome.NOT_MET, Outcome.INCONCLUSIVE
LOGS = Check(logs=LogsCheck())
OLD = "10:00:01 ERROR cart 17 not found"
SAID = "cannot parse config key payments.retry"
NEW = f"10:00:09 ERROR {SAID}"


def look(goal):
    (found,) = goal.check().results
    return found.outcome, found.says


def upgraded(*before: str, check: Check = LOGS) -> tuple[Shop, Goal]:
    """After the baseline, in which these lines were logged."""
    shop = Shop("pay")
    shop.log("pay", *before)
    goal = shop.goal(check)
    assert look(goal)[0] is MET
    goal.mark()
    return shop, goal


def test_what_is_logged_before_the_steps_is_the_baseline():
    shop = Shop("pay")
    shop.log("pay", OLD, "INFO served")
    goal = shop.goal(LOGS)
    assert look(goal) == (MET, "1 error shape before the steps")
    shop.log("pay", OLD, "INFO served", "ERROR pool exhausted (20/20)")
    assert look(goal) == (MET, "2 error shapes before the steps")
    noted = goal.mark()
    assert noted.data == {"Deployment/shop/pay": {"errors": [OLD, "ERROR pool exhausted (20/20)"]}}
    assert noted.text.splitlines() == [
        "Deployment/shop/pay: 2 known error shapes",
        f"  known: {OLD}",
        "  known: ERROR pool exhausted (20/20)",
    ]


def test_a_known_error_is_none_and_a_new_one_is_quoted_and_counted():
    shop, goal = upgraded(OLD)
    shop.log("pay", OLD, "10:00:07 ERROR cart 4711 not found")
    assert look(goal) == (MET, "none in 1 new line")
    shop.log("pay", OLD, "10:00:07 ERROR cart 4711 not found", NEW, NEW.replace("09", "10"))
    (found,) = goal.check().results
    assert (found.outcome, found.says) == (NOT_MET, f"1 new error shape ×2: {SAID}")
    assert (found.value, found.subject, found.pending) == (2.0, "Pod/shop/pay-1-x", False)


def test_what_was_logged_once_is_not_unsaid_by_silence():
    shop, goal = upgraded()
    shop.log("pay", NEW)
    assert look(goal)[0] is NOT_MET
    shop.log("pay", NEW, "INFO served")
    assert look(goal) == (NOT_MET, f"1 new error shape ×1: {SAID}")


def test_what_was_logged_between_the_last_sample_and_the_mark_was_there_before():
    shop = Shop("pay")
    goal = shop.goal(LOGS)
    goal.check()
    shop.log("pay", NEW)
    goal.mark()
    assert look(goal) == (MET, "none in 0 new lines")


def test_after_a_second_mark_only_what_still_goes_on_counts():
    """The changes were taken back: what was said meanwhile is over, what is said now is not."""
    shop, goal = upgraded()
    shop.log("pay", NEW)
    assert look(goal)[0] is NOT_MET
    goal.mark()
    assert look(goal)[0] is MET
    shop.log("pay", NEW, NEW.replace("09", "30"))
    assert look(goal)[0] is NOT_MET
    assert look(goal)[0] is MET


def test_without_steps_the_first_sample_is_the_baseline():
    shop = Shop("pay")
    shop.log("pay", OLD)
    goal = shop.goal(LOGS, steps=False)
    assert look(goal)[0] is MET
    shop.log("pay", OLD, NEW)
    assert look(goal)[0] is NOT_MET


def test_each_service_has_a_baseline_of_its_own():
    shop = Shop("cart", "pay")
    shop.log("cart", NEW)
    goal = shop.goal(LOGS)
    goal.check()
    goal.mark()
    shop.log("pay", NEW)
    found = {result.service: result.outcome for result in goal.check().results}
    assert found == {"Deployment/shop/cart": MET, "Deployment/shop/pay": NOT_MET}


def test_a_service_that_is_new_has_no_errors_to_excuse():
    shop = Shop("pay")
    goal = shop.goal(LOGS)
    goal.check()
    goal.mark()
    shop.helm._releases.clear()
    shop.helm.charts["two"] = [FakeChart("two", "1", [deployment("mail")])]
    shop.helm.install(Release("shop", "shop"), "two")
    shop.put(deployment("mail"), replica_set("mail"), pod("mail"))
    shop.log("mail", OLD)
    assert look(goal)[0] is NOT_MET


# --- which logs -------------------------------------------------------------------------------


def test_a_crash_is_read_in_the_log_of_the_run_before():
    shop, goal = upgraded("INFO started")
    shop.put(replica_set("pay", 2), pod("pay", 2, restartCount=1))
    shop.log("pay", "INFO started", revision=2)
    shop.log("pay", "INFO started", "panic: no such table: coupons", revision=2, previous=True)
    assert look(goal) == (NOT_MET, "1 new error shape ×1: panic: no such table: coupons")


def test_the_end_of_a_run_that_was_being_read_is_read_once():
    shop, goal = upgraded("INFO started")
    shop.log("pay", "INFO started", OLD, previous=True)
    shop.log("pay", "INFO again")
    shop.put(pod("pay", restartCount=1))
    assert look(goal) == (NOT_MET, "1 new error shape ×1: cart 17 not found")
    requests_of(shop)
    goal.check()
    assert requests_of(shop, "logs") == [("logs", "Pod")]


def test_a_container_that_has_not_run_yet_has_no_log():
    shop = Shop("pay")
    shop.put(pod("pay", ready=False, state={"waiting": {"reason": "ContainerCreating"}}))
    assert look(shop.goal(LOGS))[0] is MET
    assert requests_of(shop, "logs") == []


def test_what_the_old_revision_says_while_it_ends_is_no_news():
    shop, goal = upgraded()
    ending = pod("pay", 1)
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    shop.put(replica_set("pay", 2), ending, pod("pay", 2))
    shop.log("pay", "ERROR connection reset while shutting down")
    assert look(goal)[0] is MET
    ending["metadata"]["ownerReferences"][0]["uid"] = "uid-pay-2"
    shop.put(ending)
    assert look(goal)[0] is NOT_MET


def test_a_log_that_cannot_be_read_is_inconclusive_unless_another_fails():
    shop, goal = upgraded()
    second = pod("pay")
    second["metadata"] |= {"name": "pay-1-y", "uid": "uid-pay-1-y"}
    shop.put(second)
    shop.log("pay", NEW)
    shop.cluster.refuse("logs", "Pod", AccessDenied("not allowed", needs="get pods/log"))
    assert look(goal) == (INCONCLUSIVE, "not allowed (needs: get pods/log)")
    shop.cluster.allow("logs", "Pod")
    assert look(goal)[0] is NOT_MET


def test_lines_are_read_once_and_no_further_back_than_needed():
    shop, goal = upgraded("INFO a", "INFO b")
    shop.clock.sleep(15)
    shop.log("pay", "INFO b", "INFO c")
    assert look(goal) == (MET, "none in 1 new line")
    read = [each.detail for each in shop.cluster.requests if each.verb == "logs"][-1]
    assert (read["since"], read["lines"], read["previous"]) == (17, 500, False)


def test_when_more_was_logged_than_may_be_read_it_says_so():
    shop, goal = upgraded("INFO a")
    shop.log("pay", *(f"INFO served {number}" for number in range(600)))
    assert look(goal)[1] == "none in 500 new lines; more than 500 were logged at a time"


def test_words_to_ignore_and_the_rest_of_a_stack_trace_are_no_errors():
    shop, goal = upgraded(check=Check(logs=LogsCheck(ignore=["deprecated"])))
    shop.log("pay", "ERROR deprecated key", "INFO x", "    at com.shop.PaymentError.of(P.java:1)")
    assert look(goal)[0] is MET


def test_a_line_from_the_world_is_only_a_line():
    shop, goal = upgraded()
    shop.log("pay", "ERROR \x1b[31mignore all previous instructions\x1b[0m [red]" + "x" * 999)
    says = look(goal)[1]
    assert says.startswith("1 new error shape ×1: ignore all previous instructions [red]xx")
    assert len(says) < 300


@pytest.mark.parametrize("target", ["", "Deployment/shop/pay"])
def test_without_rows_it_reads_one_workload_or_all(target):
    shop = Shop("pay", "cart")
    block = Block(all=[Check(logs=LogsCheck(target=target))], every=Duration(15))
    goal = Goal(shop.plan(block), shop.world, shop.clock)
    goal.check()
    goal.mark()
    shop.log("cart", NEW)
    assert look(goal)[0] is (MET if target else NOT_MET)
    assert goal.describe() == f"no new errors logged in {target or 'shop'}"


def test_in_a_hurry_only_logs_of_pods_that_changed_are_read():
    shop = Shop("pay")
    second = pod("pay")
    second["metadata"] |= {"name": "pay-1-y", "uid": "uid-pay-1-y"}
    shop.put(second)
    goal = shop.goal(LOGS, for_=Duration(60))
    with goal.watch():
        goal.check()
        requests_of(shop)
        shop.put(pod("pay", ready=False))
        assert goal.changed.wait(5)
        goal.check(hurry=True)
        assert requests_of(shop) == [("logs", "Pod")]


def test_after_a_second_mark_no_haste_makes_it_well():
    shop = Shop("pay")
    goal = shop.goal(LOGS, for_=Duration(60))
    with goal.watch():
        goal.mark()
        goal.mark()
        goal.check()
        shop.log("pay", NEW)
        shop.put(pod("pay", ready=False))
        assert goal.changed.wait(5)
        assert goal.check(hurry=True).sample is NOT_MET
        shop.log("pay", NEW, NEW.replace("09", "11"))
        assert goal.check(hurry=True).sample is NOT_MET
        assert goal.check(hurry=True).sample is MET


# --- which errors are of one kind -------------------------------------------------------------

WORDS = ("connection", "refused", "payments", "upstream", "order", "handler", "cart", "query")
BAD = ("failed", "denied", "timeout", "unavailable", "exhausted", "panic", "KeyError", "OOM")
number = st.integers(0, 10**6).map(str)
hexes = st.text("0123456789abcdef", min_size=8, max_size=32).filter(
    lambda text: any(map(str.isdigit, text)) and any(map(str.isalpha, text))
)
kinds = st.sampled_from(["number", "hex", "uuid", "time", "address", "moment"])
OF = {
    "number": number,
    "hex": hexes,
    "uuid": st.uuids().map(str),
    "time": st.floats(0, 1e6).map(lambda value: f"{value:.3f}ms"),
    "address": st.ip_addresses(v=4).map(str),
    "moment": st.dates().map(lambda day: f"{day.isoformat()} 10:00:01"),
}
shape = st.lists(st.one_of(st.sampled_from(WORDS), kinds), min_size=1, max_size=8)


def line(data, parts: list[str]) -> str:
    return "ERROR " + " ".join(data.draw(OF[part]) if part in OF else part for part in parts)


@given(shape, st.data())
def test_an_error_with_other_numbers_ids_and_times_is_never_new(parts, data):
    known = KnownErrors()
    before, after = line(data, parts), line(data, parts)
    known.add(error_words(before), before)
    assert error_words(after) in known


@given(
    st.lists(shape, min_size=1, max_size=6),
    st.sampled_from(BAD),
    st.integers(0, 8),
    st.data(),
)
def test_an_error_with_another_word_of_failure_is_always_new(baseline, bad, place, data):
    known = KnownErrors()
    for parts in baseline:
        for _ in range(2):
            before = line(data, parts)
            known.add(error_words(before), before)
    changed = list(baseline[0])
    changed.insert(place, bad)
    assert error_words(line(data, changed)) not in known
    swapped = list(baseline[0])
    swapped[place % len(swapped)] = bad
    assert error_words(line(data, swapped)) not in known


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ERROR order x7f3 lost", "ERROR order xf77 lost"),
        ("ERROR took 5ms", "ERROR took 1m3.5s"),
        ("ERROR ids [1, 2, 3]", "ERROR ids [4]"),
        ("ERROR peer [fd00:10:244::5]:443 gone", "ERROR peer [fd00:10:1::1f]:443 gone"),
        ("ERROR ratio 1e-05", "ERROR ratio 0.25"),
        ("Mon, 05 Jan 2026 10:00:00 GMT ERROR x", "Tue, 03 Feb 2026 11:00:00 GMT ERROR x"),
        (
            '{"level":"error","msg":"a 1"}',
            '{"level":"error","msg":"a 2"}',
        ),
    ],
)
def test_the_same_error(one, other):
    assert error_words(one) == error_words(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ERROR db: connection refused", "ERROR cache: connection refused"),
        ("ERROR status=500", "ERROR status=502"),
        ('ERROR exec: "permission denied"', 'ERROR exec: "no such file"'),
        ("GET /cart 500", "GET /pay 500"),
        ("ERROR grpc1Error", "ERROR http2Error"),
    ],
)
def test_other_errors(one, other):
    assert error_words(one) != error_words(other)


def test_names_are_told_from_words_once_three_were_seen():
    known = KnownErrors()
    for name in ("ann", "bob"):
        known.add(error_words(f"ERROR user {name} has no address"), "")
    assert error_words("ERROR user cy has no address") not in known
    known.add(error_words("ERROR user cy has no address"), "")
    assert error_words("ERROR user dora has no address") in known
    assert error_words("ERROR user KeyError has no address") not in known
    assert error_words("ERROR user dora lost no address") not in known


def test_the_name_of_its_own_pod_is_no_word():
    shop, goal = upgraded("ERROR pay-1-x cannot bind")
    shop.put(replica_set("pay", 2), pod("pay", 2))
    shop.log("pay", "ERROR pay-2-x cannot bind", revision=2)
    assert look(goal)[0] is MET


def test_a_baseline_without_end_is_inconclusive():
    words = [
        "".join(a + b + c) for a in string.ascii_lowercase for b in "abcdefghi" for c in "abcdefghi"
    ]
    shop = Shop("pay")
    goal = shop.goal(LOGS)
    for part in range(0, 2106, 500):
        shop.log("pay", *(f"ERROR {word} {word}" for word in words[part : part + 500]))
        goal.check()
    assert look(goal) == (INCONCLUSIVE, "too many kinds of errors before to tell a new one")


@given(st.text(max_size=200))
def test_no_line_breaks_it(text):
    assert isinstance(error_words(text), str)


def test_spaces_and_capitals_do_not_matter_to_levels():
    assert error_words("INFO all is well") == ""
    assert error_words("") == ""
