"""An API server that is busy, fails, hangs up or goes away: a run finds out what became of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oncall import MISSED, OnCall, on_call, say_yes, scale_to

from smoldebug.events import ChangeIntended, ChangeProposed, ChangeSettled, UndoIntended
from smoldebug.lab.apifaults import Rule
from smoldebug.records import Card, Decision
from smoldebug.status import ExitStatus

MADE, NOT_MADE = {"after": True}, {"after": False}  # when it goes wrong


@pytest.fixture
def me(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[OnCall]:
    with on_call(tmp_path, monkeypatch, capsys) as made:
        yield made


def meets(me: OnCall, **how: Any) -> None:
    """What the next write to auth meets; dry runs meet nothing."""
    me.cluster.faults.add(Rule("patch", "deployments", dry_run=False, **{"times": 1, **how}))


def settled(me: OnCall) -> list[tuple[str, str]]:
    return [(event.card, event.state) for event in me.of(ChangeSettled)]


def writes(me: OnCall) -> int:
    """How often the spec of auth was changed."""
    return int(me.now()["metadata"]["generation"]) - 1


# --- a change -------------------------------------------------------------------------------


def test_a_busy_server_is_waited_for(me: OnCall) -> None:
    meets(me, status=429, retry_after=1, times=2)
    assert me.play(scale_to(4)) is ExitStatus.MET
    assert (settled(me), me.replicas, writes(me)) == ([("C1", "verified")], 4, 1)


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 500}, {"status": 504}], ids=str)
def test_a_lost_answer_to_a_change_that_was_made_is_found_to_have_taken(
    me: OnCall, fault: dict[str, Any]
) -> None:
    meets(me, **fault, **MADE)
    assert me.play(scale_to(4)) is ExitStatus.MET
    assert (settled(me), me.replicas, writes(me)) == ([("C1", "verified")], 4, 1)
    assert "no answer, but it took" in me.ledger["C1"].detail


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 500}, {"status": 504}], ids=str)
def test_a_lost_answer_to_a_change_that_was_not_made_is_unknown_until_the_undo_looks(
    me: OnCall, fault: dict[str, Any]
) -> None:
    meets(me, **fault, **NOT_MADE)
    assert me.play(scale_to(4), goal={"within": "1s"}) is ExitStatus.UNDONE
    assert (settled(me), me.replicas, writes(me)) == ([("C1", "unknown"), ("C1", "undone")], 2, 0)
    assert "already as before" in me.ledger["C1"].detail


@pytest.mark.parametrize("status", [400, 403, 409])
def test_a_clear_no_changes_nothing_and_is_not_undone(me: OnCall, status: int) -> None:
    meets(me, status=status, times=0)
    assert me.play(scale_to(4)) is ExitStatus.NOT_MET
    assert (settled(me), me.replicas, writes(me)) == ([("C1", "failed")], 2, 0)
    assert me.of(UndoIntended) == []


def test_a_field_that_moved_after_the_yes_is_asked_for_again(me: OnCall) -> None:
    shown: list[Card] = []

    def somebody_was_quicker(card: Card) -> Decision:
        shown.append(card)
        if len(shown) == 1:
            me.edit(replicas=3)
        return say_yes(card)

    assert me.play(scale_to(4), scale_to(4), approve=somebody_was_quicker) is ExitStatus.MET
    assert [card.change.before for card in shown] == [{"/spec/replicas": 2}, {"/spec/replicas": 3}]
    assert settled(me) == [("C1", "failed"), ("C2", "verified")]
    assert "spec.replicas: was 2, is 3 (set by kubectl-edit" in me.ledger["C1"].detail
    assert (me.replicas, writes(me)) == (4, 2)


@pytest.mark.parametrize(
    ("when", "within"), [(MADE, "4s"), (NOT_MADE, "2s")], ids=["made", "not made"]
)
def test_a_server_that_dies_during_a_change_and_comes_back(
    me: OnCall, when: dict[str, bool], within: str
) -> None:
    """With the real command and real time: a goal that is not met is waited for to the end."""
    meets(me, outage=0.5, **when)
    said = me.triage(scale_to(4), options=("-y",), goal={"within": within})
    found = said.code, settled(me), me.replicas, writes(me)
    if when is MADE:
        assert found == (ExitStatus.MET, [("C1", "verified")], 4, 1)
    else:
        assert found == (ExitStatus.UNDONE, [("C1", "unknown"), ("C1", "undone")], 2, 0)


# --- an undo --------------------------------------------------------------------------------


def test_an_undo_that_a_run_could_not_send_is_made_up_for_later(me: OnCall) -> None:
    with me.once(lambda auth: auth["spec"]["replicas"] == 4, lambda: meets(me, drop=True)):
        said = me.triage(scale_to(4), options=("-y",), **MISSED)
    assert (said.code, me.replicas) == (ExitStatus.UNDO_FAILED, 4)
    assert settled(me)[-1] == ("C1", "undo failed")
    assert me.smoldebug("undo", "last", "-y").code == ExitStatus.MET
    assert (me.replicas, writes(me)) == (2, 2)


def test_a_lost_answer_to_an_undo_that_was_made_is_found_to_have_taken(me: OnCall) -> None:
    assert me.play(scale_to(4)) is ExitStatus.MET
    meets(me, drop=True, **MADE)
    assert me.smoldebug("undo", "last", "-y").code == ExitStatus.MET
    assert (me.ledger["C1"].state, me.replicas, writes(me)) == ("undone", 2, 2)
    assert me.smoldebug("undo", "last", "-y").out.startswith("nothing to undo")


def test_an_undo_while_the_server_is_gone_fails_and_succeeds_once_it_is_back(me: OnCall) -> None:
    assert me.play(scale_to(4)) is ExitStatus.MET
    me.cluster.server.stop()
    said = me.smoldebug("undo", "last", "-y")
    assert said.code == ExitStatus.UNDO_FAILED
    assert "C1 scale Deployment/shop/auth · lab · undo failed" in said.out
    assert "cannot reach the cluster of context lab" in said.out
    dry = me.smoldebug("undo", "last", "--dry-run")
    assert (dry.code, "cannot reach" in dry.out) == (ExitStatus.UNDO_FAILED, True)
    me.cluster.server.start()
    assert me.replicas == 4
    assert me.smoldebug("undo", "last", "-y").code == ExitStatus.MET
    assert (me.replicas, writes(me)) == (2, 2)
    assert [event.card.id for event in me.of(ChangeIntended)] == ["C1"]
    assert len(me.of(ChangeProposed)) == 1
