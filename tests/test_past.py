"""What a journal tells whoever takes the run up again."""

from typing import Any

import pytest

from smoldebug.clock import FakeClock
from smoldebug.errors import UsageError
from smoldebug.events import (
    AnyEvent,
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Continued,
    EvidenceRecorded,
    HypothesesChanged,
    ModelAnswered,
    RunEnded,
    RunStarted,
    Stamp,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
    UndoBegan,
    UndoIntended,
)
from smoldebug.past import Past, past
from smoldebug.records import (
    Answer,
    Card,
    Change,
    ChangeKind,
    Decision,
    Evidence,
    Hypothesis,
    ObjectRef,
    Observation,
    Usage,
    Who,
)
from smoldebug.status import ExitStatus

STARTED = RunStarted("triage", "p", "g", "expert", "lab", (), "ask", 5.0, Usage())
UNDOING = UndoBegan(ExitStatus.LIMIT, "out of turns")
RESUME, UNDO = Continued("resume", Who("anna")), Continued("undo", Who("anna"))
SEEN = Observation("auth is red", {"a": 1}, "object", "auth")


def ended(status: ExitStatus = ExitStatus.INTERRUPTED, **fields: Any) -> RunEnded:
    return RunEnded(status, "not met", "stopped", **{"usage": Usage(turns=3), **fields})


def told(*events: AnyEvent) -> Past:
    clock = FakeClock()
    stamp = Stamp("7f3a", clock)
    stamped = []
    for event in (STARTED, *events):
        stamped.append(stamp(event))
        clock.sleep(2)
    return past(stamped)


def test_numbers_and_time_go_on_where_they_stopped():
    found = told(RESUME, RESUME)
    assert (found.run, found.started, found.events, found.elapsed) == ("7f3a", STARTED, 3, 4.0)


@pytest.mark.parametrize("events", [(), (RESUME,), (ended(), RESUME), (UNDO,)])
def test_a_run_that_nobody_ended_was_killed(events: tuple[AnyEvent, ...]):
    assert told(*events).ended is None


def test_a_run_ends_as_its_last_process_says_and_an_undo_by_hand_does_not_open_it_again():
    last = ended(ExitStatus.NOT_MET)
    assert told(ended(), RESUME, last).ended == last
    assert told(last, UNDO).ended == last


def test_taking_everything_back_is_under_way_until_the_run_ends():
    assert told(UNDOING).undoing == told(UNDOING, RESUME).undoing == UNDOING
    assert told(UNDOING, ended()).undoing is None


def test_what_was_used_is_that_of_the_last_turn_or_of_the_end():
    turns = [TurnStarted(number, Usage(turns=number)) for number in (1, 2)]
    assert told(*turns).usage.turns == 2
    assert told(*turns, ended()).usage.turns == 3


def test_what_a_killed_turn_had_asked_of_models_counts():
    began = TurnStarted(2, Usage(turns=2, calls=3, tokens_in=100, cost=0.5))
    asked = ModelAnswered(2, "hf/x", 1.0, tokens_in=10, tokens_out=5, cost=0.25)
    used = told(began, asked, asked).usage
    assert (used.turns, used.calls, used.tokens_in, used.cost) == (2, 5, 120, 1.0)


def test_all_evidence_comes_back_with_its_numbers():
    opening = Evidence("E1", "goal", {}, SEEN, FakeClock().now())
    called = ToolCalled(1, "t1c0", "get", {"kind": "pods"})
    answer = ToolAnswered(1, "t1c0", "get", True, "red", 0.1, "E2", SEEN)
    found = told(
        EvidenceRecorded(opening),
        called,
        answer,
        ToolCalled(1, "t1c1", "get", "{kind: "),
        ToolAnswered(1, "t1c1", "get", False, "ERROR", 0.0),
    ).evidence
    assert [(item.id, item.tool, item.arguments) for item in found] == [
        ("E1", "goal", {}),
        ("E2", "get", {"kind": "pods"}),
    ]
    assert found[1].observation == SEEN


def test_hypotheses_are_the_latest():
    first, second = Hypothesis("H1", "disk"), Hypothesis("H1", "disk", "confirmed")
    found = told(HypothesesChanged((first,)), HypothesesChanged((second,)))
    assert found.hypotheses == (second,)


def test_a_journal_that_stops_before_the_run_began_says_so():
    with pytest.raises(UsageError, match="killed before it had begun"):
        past([])
    with pytest.raises(UsageError, match="killed before it had begun"):
        past([Stamp("7f3a", FakeClock())(UNDO)])


# --- the changes ----------------------------------------------------------------------------

SCALE = Change(ChangeKind.SCALE, ObjectRef("Deployment", "shop", "auth"), {}, {}, "busy")
CARD = Card("C1", SCALE, "", "", "", "", "lab", "abc")
YES = ChangeDecided("C1", "abc", Decision(Answer.YES, "operator"))
NO = ChangeDecided("C1", "abc", Decision(Answer.NO, "operator"))
WAITS = ChangeDecided("C1", "abc", Decision(Answer.PENDING, "nobody"))
SENT, DONE = ChangeIntended(CARD, None), ChangeSettled("C1", "verified", "12→15")
BACK, UNDONE = UndoIntended("C1"), ChangeSettled("C1", "undone", "")
BLOCKED, FAILED = ChangeSettled("C1", "undo blocked", ""), ChangeSettled("C1", "failed", "")


@pytest.mark.parametrize(
    ("events", "state", "intent", "stands"),
    [
        ((), "proposed", "", False),
        ((WAITS,), "waiting", "", False),
        ((NO,), "refused", "", False),
        ((WAITS, YES), "approved", "", False),
        ((YES, SENT), "unknown", "change", True),
        ((YES, SENT, FAILED), "failed", "", False),
        ((YES, SENT, DONE), "verified", "", True),
        ((YES, SENT, DONE, BACK), "unknown", "undo", True),
        ((YES, SENT, DONE, BACK, BLOCKED), "undo blocked", "", True),
        ((YES, SENT, DONE, BACK, UNDONE), "undone", "", False),
    ],
)
def test_how_far_a_change_came(events: tuple[AnyEvent, ...], state: str, intent: str, stands: bool):
    found = told(ChangeProposed(CARD), *events)
    [entry] = found.ledger.values()
    assert (entry.state, entry.intent, entry.stands) == (state, intent, stands)
    assert entry.at is not None
    assert (entry.at - FakeClock().now()).total_seconds() == found.elapsed, "of its last event"


def test_an_intent_is_enough_to_find_a_change_by():
    [entry] = told(SENT).ledger.values()
    assert (entry.card, entry.intent) == (CARD, "change")


def test_what_is_said_of_a_change_that_nobody_proposed_is_nothing():
    assert told(DONE, BACK, YES).ledger == {}
