"""The JUnit file: valid by both schemas, and red where a cluster did not hold."""

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from recorded_upgrade import (
    BROKEN,
    CHECKOUT,
    EU,
    LINE,
    PAYMENTS,
    ROLLOUT,
    STORIES,
    Recording,
    all_good,
    baseline_broken,
    canary_fails,
    cells,
    first_gives_way,
    interrupted,
    rollback_fails,
    saying,
    second_fails,
    unreachable,
    verdict,
)

from smoldebug.cells import Cell
from smoldebug.events import GoalChecked, PhaseBegan
from smoldebug.records import Outcome
from smoldebug.report.junit import junit
from smoldebug.status import ExitStatus

SCHEMAS = {
    path.stem: etree.XMLSchema(etree.parse(path))
    for path in (Path(__file__).parent / "schemas").glob("*.xsd")
}
RED = ("failure", "error")


def suites(story: Callable[[], list[Recording]]) -> dict[str, xml.Element]:
    """By cluster."""
    found = read(junit(cells(story)))
    return {suite.get("hostname", ""): suite for suite in found}


def read(text: str) -> xml.Element:
    return xml.fromstring(text.encode("utf-8"))


def red(suite: xml.Element) -> dict[tuple[str, str], str]:
    """What is red, by class and name."""
    return {
        (case.get("classname", ""), case.get("name", "")): result.tag
        for case in suite.iter("testcase")
        for result in case
        if result.tag in RED
    }


def case(suite: xml.Element, name: str, about: str = "") -> xml.Element:
    found = [
        each
        for each in suite.iter("testcase")
        if each.get("name") == name and each.get("classname", "").endswith(about)
    ]
    assert len(found) == 1
    return found[0]


def test_both_schemas_are_there() -> None:
    assert set(SCHEMAS) == {"junit-ant", "junit-jenkins"}


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("story", STORIES)
def test_it_is_valid(story: str, schema: str) -> None:
    document = etree.fromstring(junit(cells(STORIES[story])).encode("utf-8"))
    SCHEMAS[schema].assertValid(document)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_schemas_can_say_no(schema: str) -> None:
    text = junit(cells(all_good)).replace('time="351.200"', 'time="soon"')
    assert not SCHEMAS[schema].validate(etree.fromstring(text.encode("utf-8")))


@pytest.mark.parametrize("story", STORIES)
def test_its_numbers_are_those_of_its_cases(story: str) -> None:
    for suite in suites(STORIES[story]).values():
        tags = [result.tag for each in suite.iter("testcase") for result in each]
        counted = {"tests": len(list(suite.iter("testcase")))}
        counted |= {"failures": tags.count("failure"), "errors": tags.count("error")}
        counted |= {"skipped": tags.count("skipped")}
        assert {name: suite.get(name) for name in counted} == {
            name: str(number) for name, number in counted.items()
        }


@pytest.mark.parametrize("story", STORIES)
def test_a_cluster_is_red_where_it_did_not_hold_and_only_there(story: str) -> None:
    recorded = cells(STORIES[story])
    for cell, suite in zip(recorded, read(junit(recorded)), strict=True):
        held = cell.status in (None, ExitStatus.MET) or cell.gave_way
        assert bool(red(suite)) is not held


@pytest.mark.parametrize("story", STORIES)
def test_no_two_cases_have_the_same_name(story: str) -> None:
    """GitLab would keep one of them."""
    every = [
        (each.get("classname"), each.get("name"))
        for suite in suites(STORIES[story]).values()
        for each in suite.iter("testcase")
    ]
    assert len(set(every)) == len(every)


def test_a_suite_has_a_case_for_each_check_of_each_service() -> None:
    suite = suites(all_good)[EU]
    assert suite.get("name") == "helm-upgrade eu-staging"
    assert suite.get("timestamp") == "2026-11-20T14:00:00"
    found = [(each.get("classname"), each.get("name")) for each in suite.iter("testcase")]
    assert len(found) == 20
    assert (f"{EU}.{PAYMENTS}", "http /health = 200") in found


def test_the_time_of_a_case_is_how_long_it_took_to_be_so_since_the_first_step() -> None:
    suite = suites(all_good)[EU]
    assert case(suite, ROLLOUT, "payments").get("time") == "21.100"
    assert case(suite, ROLLOUT, "gateway").get("time") == "6.100"


def test_a_failure_says_what_was_measured_and_what_the_offender_said() -> None:
    suite = suites(canary_fails)[EU]
    (failure,) = case(suite, ROLLOUT, "payments")
    assert failure.get("message") == "not met: payments-6f9 is not ready: HTTP 500"
    assert f"E3: {LINE}" in (failure.text or "")
    evidence = suite.findtext("system-out") or ""
    assert f"E3 logs {PAYMENTS}\nstarting payments 2.5.0\n{LINE}" in evidence
    assert "smoldebug runs show" in (suite.findtext("system-err") or "")


def test_what_was_measured_after_the_rollback_hides_no_failure() -> None:
    assert red(suites(canary_fails)[EU]) == {
        (f"{EU}.{PAYMENTS}", ROLLOUT): "failure",
        (f"{EU}.{PAYMENTS}", "no new error lines"): "failure",
        (f"{EU}.{CHECKOUT}", "http /health = 200"): "failure",
    }


def test_a_victim_says_whose() -> None:
    (failure,) = case(suites(canary_fails)[EU], "http /health = 200", "checkout")
    assert f"probably only because of {PAYMENTS}" in (failure.text or "")


def test_a_rollback_is_a_case() -> None:
    assert list(case(suites(canary_fails)[EU], "rollback")) == []
    (failure,) = case(suites(rollback_fails)[EU], "rollback")
    assert failure.tag == "failure"
    assert (failure.get("message") or "").startswith("failed: ")


def test_one_that_gave_way_to_another_held_itself() -> None:
    suite = suites(first_gives_way)[EU]
    assert list(case(suite, "rollback")) == []
    assert red(suite) == {}


def test_a_cluster_that_was_not_begun_is_skipped_and_says_why() -> None:
    (skipped,) = case(suites(second_fails)["ap-staging"], "upgrade")
    assert skipped.tag == "skipped"
    assert (skipped.get("message") or "").startswith("not begun, since us-staging failed")


def test_a_baseline_that_does_not_hold_is_an_error_and_no_failure() -> None:
    assert red(suites(baseline_broken)[EU]) == {
        (f"{EU}.Deployment/platform/ledger", "http /health = 200"): "error"
    }


def test_what_nobody_could_see_is_an_error() -> None:
    assert set(red(suites(unreachable)["us-staging"]).values()) == {"error"}


def test_a_job_that_was_cancelled_found_no_failure() -> None:
    assert set(red(suites(interrupted)[EU]).values()) == {"error"}


@pytest.mark.parametrize(
    ("status", "tag"), [(ExitStatus.UNREACHABLE, "error"), (ExitStatus.NOT_MET, "failure")]
)
def test_one_that_never_measured_anything_is_red_all_the_same(status: ExitStatus, tag: str) -> None:
    lost = Recording(EU).ended(status, "eu-staging does not answer")
    (suite,) = read(junit([lost.cell()]))
    (result,) = case(suite, "upgrade")
    assert (result.tag, result.get("message")) == (tag, "eu-staging does not answer")


def test_a_failed_step_is_red_where_every_check_holds() -> None:
    stuck = Recording(EU).opening().upgraded("failed", "hook platform-migrate did not finish")
    stuck.ended(ExitStatus.NOT_MET, "helm: hook platform-migrate did not finish")
    (suite,) = read(junit([stuck.cell()]))
    assert red(suite) == {(f"{EU}.the goal", "upgrade"): "failure"}


def test_a_row_that_does_not_count_is_no_failure_of_a_goal_that_is_met() -> None:
    """Of `any`, one is enough."""
    odd = verdict({("payments", ROLLOUT): (Outcome.NOT_MET, "0 of 2", False)})
    told = Recording(EU).opening().upgraded().add(1.0, PhaseBegan("watching"), GoalChecked(0, odd))
    (suite,) = read(junit([told.ended(ExitStatus.MET, "held").cell()]))
    assert red(suite) == {}


def test_one_whose_journal_has_no_end_was_cut_off() -> None:
    cut = Recording(EU).opening().upgraded().add(1.0, GoalChecked(0, BROKEN))
    (suite,) = read(junit([cut.cell()]))
    assert set(red(suite).values()) == {"error"}


# --- text from the world ------------------------------------------------------------------------


def check(told: Sequence[Cell]) -> xml.Element:
    text = junit(told)
    document = etree.fromstring(text.encode("utf-8"))
    for schema in SCHEMAS.values():
        schema.assertValid(document)
    return read(text)


@pytest.mark.parametrize(
    "text", [*HOSTILE, "]]>", "<a>&b;\ufffe\uffff", "\ud800", "\x00\x1b[2J", ""]
)
def test_whatever_the_world_says_the_file_is_valid(text: str) -> None:
    check([saying(text).cell(), Recording(text).opening().cell()])


@given(st.text(alphabet=st.characters(), max_size=80))
def test_any_text_at_all(text: str) -> None:
    check([saying(text).cell()])


def test_a_flood_is_cut() -> None:
    flood = "x" * 1_000_000
    assert len(junit([saying(flood).cell()])) < 300_000


def test_what_looks_like_markup_is_text() -> None:
    (suite,) = check([saying("]]></failure><testcase/>").cell()])
    (failure,) = case(suite, ROLLOUT, "payments")
    assert failure.get("message") == "not met: ]]></failure><testcase/>"
