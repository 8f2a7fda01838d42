"""The nouns everybody shares."""

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug import records
from smoldebug.errors import UsageError
from smoldebug.records import (
    Answer,
    Change,
    ChangeKind,
    CheckResult,
    Decision,
    Hypothesis,
    ObjectRef,
    Outcome,
    Quote,
    Verdict,
)

AUTH = ObjectRef("Deployment", "shop", "auth")
parts = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=5)


@given(parts, st.one_of(st.just(""), parts), parts)
def test_a_reference_is_read_as_it_is_written(kind: str, namespace: str, name: str):
    ref = ObjectRef(kind, namespace, name)
    assert ObjectRef.parse(str(ref)) == ref


@pytest.mark.parametrize("text", ["", "auth", "/", "Pod/", "/auth", "Pod//auth", "a/b/c/d", "a/b/"])
def test_what_is_no_reference_is_refused(text: str):
    with pytest.raises(UsageError, match="not KIND/NAMESPACE/NAME or KIND/NAME"):
        ObjectRef.parse(text)


def test_references_are_sorted_by_kind_namespace_and_name():
    texts = ["Node/n1", "Deployment/shop/b", "Deployment/shop/a", "Deployment/eu/c"]
    assert [str(ref) for ref in sorted(map(ObjectRef.parse, texts))] == [
        "Deployment/eu/c",
        "Deployment/shop/a",
        "Deployment/shop/b",
        "Node/n1",
    ]


def test_a_decision_reads_as_who_decided_what_and_why():
    assert str(Decision(Answer.YES, "operator", "-y")) == "approved by operator: -y"
    assert str(Decision(Answer.NO, "operator")) == "refused by operator"
    nobody = Decision(Answer.PENDING, "nobody", "no terminal to ask on")
    assert str(nobody) == "waits for a yes: no terminal to ask on"


@pytest.mark.parametrize(
    ("status", "cited", "against", "word"),
    [
        ("confirmed", {"E1": True, "E2": True}, (), "likely"),
        ("confirmed", {"E1": True, "E2": False}, (), "possible"),
        ("confirmed", {"E1": True, "E2": True}, (Quote("E3", "but"),), "possible"),
        ("testing", {"E1": True, "E2": True}, (), "testing"),
        ("ruled out", {}, (), "ruled out"),
    ],
)
def test_a_hypothesis_is_as_certain_as_its_quotes(status, cited, against, word):
    supports = tuple(Quote(id, "words", verified) for id, verified in cited.items())
    assert Hypothesis("H1", "slow", status, supports, against).certainty == word


def test_the_inverse_of_a_change_swaps_before_and_after_on_the_same_object():
    change = Change(
        ChangeKind.SCALE, AUTH, {"/a": 1}, {"/a": 2, "/b": 3}, "busy", uid="u1", settle=30
    )
    inverse = change.inverse()
    assert (inverse.before, inverse.after) == (change.after, change.before)
    assert (inverse.kind, inverse.target, inverse.uid) == (change.kind, AUTH, "u1")
    assert (inverse.why, inverse.settle) == ("undo: busy", 30)
    assert inverse.inverse().after == change.after


RECORDS = [each for each in vars(records).values() if dataclasses.is_dataclass(each)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_records_are_frozen_and_msgspec_knows_their_form(record: type):
    assert record.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert msgspec.json.schema(record)


def test_services_that_miss_a_check_alike_are_told_together_and_what_is_under_way_last():
    def row(service: str, says: str, pending: bool = False) -> CheckResult:
        return CheckResult(
            "rollout", "rollout", Outcome.NOT_MET, says, pending=pending, service=service
        )

    rows = (
        row("Deployment/a/web", "0 of 1", pending=True),
        row("Deployment/a/auth", "failed"),
        CheckResult("rollout", "rollout", Outcome.MET, "complete", service="Deployment/a/db"),
        row("Deployment/b/pay", "failed"),
        CheckResult("http /", "http", Outcome.INCONCLUSIVE, "no answer"),
    )
    missed = Verdict(Outcome.NOT_MET, Outcome.NOT_MET, rows).missed
    assert [(names, each.says) for names, each in missed] == [
        ("auth, pay", "failed"), ("", "no answer"), ("web", "0 of 1")
    ]  # fmt: skip
