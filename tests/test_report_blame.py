"""What a report says of an upgrade: who broke it, where, why, and who only suffers from it."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hostile import stamped, start
from recorded_run import recorded_run

from smoldebug.events import (
    AnyEvent,
    Blamed,
    ChangeProposed,
    ChangeSettled,
    Continued,
    GoalChecked,
    PhaseBegan,
    RunEnded,
    Stamped,
)
from smoldebug.records import (
    Blame,
    Change,
    ChangeKind,
    CheckResult,
    ObjectRef,
    Outcome,
    Quote,
    Usage,
    Verdict,
    Who,
)
from smoldebug.report import document, handover, markdown, sections
from smoldebug.report.timeline import timeline
from smoldebug.status import ExitStatus

KEY = "cannot parse config key payments.retry (new in 2.5.0)"
REASON = f"payments: the new image (2.5.0) fails its readiness probe (HTTP 503); its log: “{KEY}”"
BLAME = Blame(
    "Deployment/platform/payments",
    "rollout",
    REASON,
    12.0,
    (Quote("E3", KEY, True), Quote("E2", "nobody said that")),
    ("Deployment/platform/checkout", "Deployment/platform/web"),
    "health-endpoint-failing",
)
UPGRADE = Change(
    ChangeKind.HELM_UPGRADE,
    ObjectRef("HelmRelease", "platform", "platform"),
    {"/chart": "platform-2.4.0"},
    {"/chart": "platform-2.5.0"},
    "a step",
)


def begun() -> AnyEvent:
    return msgspec.structs.replace(start("auto"), command="validate", context="us-staging")


def sent(change: Change = UPGRADE) -> ChangeProposed:
    card = next(e.event for e in recorded_run() if isinstance(e.event, ChangeProposed)).card
    return ChangeProposed(replace(card, change=change))


def ended(status: ExitStatus, reason: str = "because", **given: Any) -> RunEnded:
    return RunEnded(status, "not met", reason, Usage(), **given)


def run(*events: AnyEvent) -> list[Stamped]:
    return [stamped(event, seq) for seq, event in enumerate((begun(), *events))]


def upgraded(*events: AnyEvent, left: str = "undone") -> list[Stamped]:
    made = (PhaseBegan("steps"), sent(), ChangeSettled("C1", "verified", ""))
    return run(*made, PhaseBegan("watching"), *events, ChangeSettled("C1", left, ""))


def blamed(status: ExitStatus = ExitStatus.UNDONE, left: str = "undone", **given: Any) -> Any:
    over = ended(status, f"{REASON}; taken back, and the goal holds again")
    return upgraded(Blamed(replace(BLAME, **given)), over, left=left)


def told(events: list[Stamped]) -> dict[str, tuple[str, ...]]:
    return {section.heading: section.lines for section in sections(events)}


# --- the verdict ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "left", "fate"),
    [
        (ExitStatus.UNDONE, "undone", "rolled back, goal holds again"),
        (ExitStatus.UNDO_FAILED, "undone",
         "ROLLED BACK, BUT THE GOAL DOES NOT HOLD AGAIN: page a human"),
        (ExitStatus.UNDO_FAILED, "undo failed",
         "NOT EVERYTHING COULD BE ROLLED BACK: page a human"),
        (ExitStatus.NOT_MET, "verified", "not met; it stays as it is"),
    ],
)  # fmt: skip
def test_the_verdict_names_what_broke_whom_where_and_what_became_of_it(status, left, fate):
    words = f"2.5.0 broke payments on us-staging: {fate}"
    found = told(blamed(status, left))
    assert found["VERDICT"][0] == words
    assert found["VERDICT"][1] == "taken back, and the goal holds again"
    assert words in markdown(blamed(status, left))
    assert words in handover(blamed(status, left)).splitlines()[0]


def test_what_could_not_be_rolled_back_names_the_command_and_who_did_it_later():
    events = blamed(ExitStatus.UNDO_FAILED, "undo failed")
    run_id = events[0].run
    where = "HelmRelease/platform/platform is not back"
    assert told(events)["NEXT"][:3] == (
        f"{where}:", "once that is mended:", f"$ smoldebug undo {run_id}",
    )  # fmt: skip
    later = [Continued("undo", Who("berta")), ChangeSettled("C1", "undone", "")]
    events += [stamped(event, len(events) + seq) for seq, event in enumerate(later)]
    assert told(events)["VERDICT"][0].startswith(
        "2.5.0 broke payments on us-staging: NOT EVERYTHING COULD BE ROLLED BACK; C1 undone later"
    )


def test_an_upgrade_that_nobody_watches_is_taken_back_and_not_gone_on_with():
    settled = ChangeSettled("C1", "verified", "")
    for status in (ExitStatus.INTERRUPTED, ExitStatus.NOT_MET):  # on_failure: report
        assert told(run(sent(), settled, ended(status)))["NEXT"] == (
            "nobody watches what stands; to take it back:", "$ smoldebug undo 7f3a1c",
        )  # fmt: skip
    begun_only = told(run(PhaseBegan("baseline"), ended(ExitStatus.INTERRUPTED)))
    assert begun_only["NEXT"][0] == "to go on where it stopped:"


def test_what_was_proposed_again_is_told_once():
    first, again = sent(), sent()
    again = ChangeProposed(replace(again.card, id="C2"))
    events = [first, again, ChangeSettled("C2", "verified", ""), ended(ExitStatus.MET)]
    assert "PROPOSED" not in told(run(*events))


def test_the_verdict_of_an_upgrade_that_holds():
    events = upgraded(ended(ExitStatus.MET), left="verified")
    assert told(events)["VERDICT"][0] == "2.5.0 holds on us-staging"
    assert "CAUSE" not in told(events)


def test_a_cluster_that_was_not_changed_is_said_not_to_be():
    unheld = told(run(PhaseBegan("baseline"), ended(ExitStatus.INCONCLUSIVE)))
    assert unheld["VERDICT"][0] == "Inconclusive; us-staging was not changed"
    assert "CAUSE" not in unheld
    there = told(run(PhaseBegan("steps"), ended(ExitStatus.MET)))
    assert there["VERDICT"][0] == "Goal met; us-staging was not changed"


def test_where_nobody_is_to_blame_the_verdict_says_so():
    late = upgraded(ended(ExitStatus.UNDONE))
    assert told(late)["VERDICT"][0] == "2.5.0 on us-staging: rolled back, goal holds again"
    assert told(late)["CAUSE"] == ("UNKNOWN: no service could be named",)
    assert document(late)["offender"] is None
    all_at_once = told(blamed(service="", check="", victims=()))
    assert all_at_once["VERDICT"][0].startswith(
        "2.5.0 broke several services at once on us-staging"
    )
    assert "VICTIMS" not in all_at_once


def test_an_image_is_called_by_its_name():
    image = "registry.example/shop/auth:1.4.3"
    change = replace(UPGRADE, kind=ChangeKind.SET_IMAGE, before={}, after={"/spec": image})
    settled = ChangeSettled("C1", "verified", "")
    over = (settled, PhaseBegan("watching"), ended(ExitStatus.MET))
    events = run(PhaseBegan("steps"), sent(change), *over)
    assert told(events)["VERDICT"][0] == "auth:1.4.3 holds on us-staging"


# --- the cause --------------------------------------------------------------------------------


def test_the_cause_is_the_blame_with_its_verified_quotes():
    found = told(blamed())
    assert found["CAUSE"] == (
        f"{REASON} (health-endpoint-failing) [E3]",
        "Deployment/platform/payments: first failed “rollout”, 12s after the first step",
        f"E3 “{KEY}”",
    )
    assert found["VICTIMS"] == ("checkout, web: probably only because of payments",)
    assert found["CHECKED"] == ("1 of 2 quotes found word for word in the evidence",)


def test_what_a_model_makes_of_it_is_marked_as_unchecked():
    said = Blamed(BLAME, "2.5.0 renamed a key.")
    found = told(upgraded(Blamed(BLAME), said, ended(ExitStatus.UNDONE)))
    assert found["CAUSE"][-1] == ("in a model's words, which nobody checked: 2.5.0 renamed a key.")


def test_the_handover_and_the_timeline_name_the_offender():
    lines = handover(blamed()).splitlines()
    assert f"cause: {REASON} [E3]" in lines
    assert "victims: checkout, web: probably only because of payments" in lines
    assert [line.split("s  ", 1)[1] for line in timeline(blamed())[:1]] == ["steps began"]
    assert any("payments: the new image (2.5.0) fails" in line for line in timeline(blamed()))


def test_the_document_has_the_offender():
    assert json.loads(json.dumps(document(blamed())["offender"])) == {
        "service": "Deployment/platform/payments",
        "check": "rollout",
        "reason": REASON,
        "at": 12.0,
        "quotes": [
            {"evidence": "E3", "text": KEY, "verified": True},
            {"evidence": "E2", "text": "nobody said that", "verified": False},
        ],
        "victims": ["Deployment/platform/checkout", "Deployment/platform/web"],
        "fault": "health-endpoint-failing",
        "explanation": "",
    }
    assert document(recorded_run())["offender"] is None


# --- a row per service ------------------------------------------------------------------------


def test_a_goal_with_many_rows_is_told_by_those_that_fail():
    rows = [CheckResult("rollout", "rollout", Outcome.MET, "complete", service=f"Deployment/p/s{n}")
            for n in range(4)]  # fmt: skip
    bad = replace(rows[3], outcome=Outcome.NOT_MET, says="0 of 2 updated")
    seen = Verdict(Outcome.NOT_MET, Outcome.NOT_MET, (*rows[:3], bad))
    found = told(upgraded(GoalChecked(0, seen), ended(ExitStatus.NOT_MET), left="verified"))
    assert (
        "goal NOT MET: 3 of 4 checks of 4 services met; s3: rollout: 0 of 2 updated"
        in found["VERDICT"]
    )
    assert "s3: rollout is not met: 0 of 2 updated" in found["NEXT"]


def test_a_goal_that_holds_again_is_said_to_before_its_window_is_over():
    good = CheckResult("rollout", "rollout", Outcome.MET, "complete", service="Deployment/p/s")
    seen = GoalChecked(0, Verdict(Outcome.NOT_MET, Outcome.MET, (good,)))
    found = told(upgraded(seen, ended(ExitStatus.UNDONE)))
    assert "goal HOLDS NOW: 1 of 1 check of 1 service met" in found["VERDICT"]
