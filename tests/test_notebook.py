"""Claims quote recorded evidence word for word, or they are not noted."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.clock import FakeClock
from smoldebug.evidence import EvidenceStore
from smoldebug.notebook import Notebook
from smoldebug.records import Evidence, Hypothesis, Observation, Quote
from smoldebug.redact import Redactor
from smoldebug.sources.fakes import fake_world
from smoldebug.toolset import Answer, ToolContext, Toolset

LINE = "2026-11-20 ERROR  upstream auth:\ttimed out after 1.0s"


class Desk:
    def __init__(self) -> None:
        self.evidence = EvidenceStore(FakeClock())
        self.evidence.add("fetch_logs", {"pod": "a"}, Observation(LINE, {"lines": [LINE, "deep"]}))
        self.evidence.add("get", {}, Observation("replicas: 1", {"spec": {"image": "auth:7"}}))
        self.notebook = Notebook(self.evidence)
        self.toolset = Toolset(
            self.notebook.tools(), lambda _: ToolContext(fake_world()), self.evidence, Redactor()
        )

    def call(self, tool: str, **arguments: Any) -> Answer:
        return self.toolset.call(tool, arguments)

    def note(self, quote: str = "timed out", evidence: str = "E1", **more: Any) -> Answer:
        supports = [{"evidence": evidence, "quote": quote}]
        given = {"id": "H1", "claim": "auth is slow", "supports": supports, **more}
        return self.call("hypothesis", **given)


# --- hypotheses ----------------------------------------------------------------------------------


def test_a_hypothesis_is_noted_with_verified_quotes():
    desk = Desk()
    answer = desk.note(status="confirmed", subject="Deployment/shop/auth", fault="saturation")
    assert (answer.ok, answer.text, answer.evidence) == (True, "H1 noted: confirmed", None)
    assert desk.notebook.hypotheses == (
        Hypothesis(
            "H1",
            "auth is slow",
            "confirmed",
            (Quote("E1", "timed out", verified=True),),
            (),
            "Deployment/shop/auth",
            "saturation",
        ),
    )


def test_the_same_id_updates_and_keeps_its_place():
    desk = Desk()
    desk.note()
    desk.note(id="H2", claim="the disk is full")
    desk.note(status="ruled out")
    assert [(each.id, each.status) for each in desk.notebook.hypotheses] == [
        ("H1", "ruled out"),
        ("H2", "open"),
    ]


@pytest.mark.parametrize("side", ["supports", "contradicts"])
@pytest.mark.parametrize(
    ("evidence", "quote"),
    [
        ("E1", "timed out after 2.0s"),
        ("E2", "timed out"),
        ("E9", "timed out"),
        ("", "x"),
        ("E1", ""),
    ],
)
def test_a_quote_that_is_not_in_the_evidence_is_refused(side: str, evidence: str, quote: str):
    desk = Desk()
    answer = desk.call(
        "hypothesis", id="H1", claim="x", **{side: [{"evidence": evidence, "quote": quote}]}
    )
    assert not answer.ok
    assert f"not word for word in the evidence: {quote!r} in {evidence}" in answer.text
    assert desk.notebook.hypotheses == ()


def test_a_cause_without_evidence_is_not_confirmed():
    desk = Desk()
    assert not desk.call("hypothesis", id="H1", claim="x", status="confirmed").ok
    assert desk.call("hypothesis", id="H1", claim="x", status="testing").ok
    assert [each.status for each in desk.notebook.hypotheses] == ["testing"]


def test_another_status_is_no_status():
    assert not Desk().note(status="probably").ok


# --- waiting and handing over --------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "ok"), [(0, False), (-1, False), (0.1, True), (120, True)])
def test_a_wait_has_a_limit(seconds: float, ok: bool):
    desk = Desk()
    assert desk.call("wait", seconds=seconds, why="it starts").ok is ok
    assert desk.notebook.patience == (seconds if ok else 0)


def test_a_longer_wait_is_refused_with_the_limit():
    assert "at most 120: 121" in Desk().call("wait", seconds=121, why="x").text


def test_handing_over_takes_a_reason():
    desk = Desk()
    assert not desk.call("escalate", reason=" \n").ok
    assert desk.notebook.escalation == ""
    assert desk.call("escalate", reason="no idea", question="who deployed?").ok
    assert (desk.notebook.escalation, desk.notebook.question) == ("no idea", "who deployed?")


# --- evidence ------------------------------------------------------------------------------------


def test_evidence_is_numbered_and_found():
    store = Desk().evidence
    assert [item.id for item in store] == ["E1", "E2"]
    assert len(store) == 2
    third = store.add("fetch_logs", {"pod": "b", "lines": 5}, Observation("x"))
    assert third.id == "E3"
    assert store.get("E3") is third
    assert store.get("E4") is None
    assert store.latest("fetch_logs") is third
    assert store.latest("fetch_logs", pod="b", lines=5) is third
    found = store.latest("fetch_logs", pod="a")
    assert found is not None
    assert found.id == "E1"
    assert store.latest("fetch_logs", pod="c") is None
    assert [item.id for item in store.of("fetch_logs")] == ["E1", "E3"]


def test_restored_evidence_is_the_same_and_counting_goes_on():
    store, copy = Desk().evidence, EvidenceStore(FakeClock())
    for item in store:
        copy.restore(item)
    assert list(copy) == list(store)
    assert copy.add("get", {}, Observation("x")).id == "E3"


def test_counting_goes_on_after_the_highest_number():
    store = EvidenceStore(FakeClock())
    seen = Observation("x")
    store.restore(Evidence("E7", "get", {}, seen, FakeClock().now()))
    assert store.add("get", {}, seen).id == "E8"


@pytest.mark.parametrize(
    ("evidence", "text", "held"),
    [
        ("E1", "upstream auth: timed out", True),
        ("E1", "  ERROR\nupstream  auth:", True),
        ("E1", "deep", True),
        ("E2", "auth:7", True),
        ("E1", "Timed out", False),
        ("E1", "ERROR auth", False),
        ("E2", "deep", False),
        ("E2", "spec", False),
        ("E1", "1.0s deep", False),
        ("E1", " \n", False),
    ],
)
def test_a_quote_is_verified_word_for_word(evidence: str, text: str, held: bool):
    assert Desk().evidence.verify(Quote(evidence, text)).verified is held


def test_only_code_verifies():
    assert Desk().evidence.verify(Quote("E1", "lie", verified=True)).verified is False


@given(st.text(), st.text(), st.text())
def test_every_part_of_a_text_is_in_it_and_nothing_else(before: str, words: str, after: str):
    store = EvidenceStore(FakeClock())
    store.add("get", {}, Observation((before + words + after).replace("☃", "")))
    assert store.verify(Quote("E1", words.replace("☃", ""))).verified is bool(
        words.replace("☃", "").strip()
    )
    assert not store.verify(Quote("E1", f"{words}☃")).verified


# --- what was left out ---------------------------------------------------------------------------


def test_an_observation_is_read_on_until_its_end():
    desk = Desk()
    text = "\n".join(f"line {number}" for number in range(1000))
    desk.evidence.add("fetch_logs", {}, Observation(text))
    start, found = 0, ""
    while True:
        answer = desk.call("read_on", evidence="E3", start=start)
        assert (answer.ok, answer.evidence) == (True, None)
        head, _, part = answer.text.partition("\n")
        part, more, rest = part.partition("\n... [")
        assert head == f"E3, characters {start} to {start + len(part)} of {len(text)}:"
        found += part
        if not more:
            break
        start = int(rest.partition("start=")[2].partition(" ")[0])
    assert found == text


def test_what_was_read_on_can_be_quoted():
    desk = Desk()
    desk.evidence.add("fetch_logs", {}, Observation("a\n" * 5000 + "pool exhausted (20/20)"))
    assert "pool exhausted" in desk.call("read_on", evidence="E3", start=9000).text
    assert desk.note("pool exhausted (20/20)", "E3").ok


@pytest.mark.parametrize(("evidence", "start"), [("E9", 0), ("E1", 5000), ("E1", -1)])
def test_where_there_is_nothing_the_model_is_told(evidence, start):
    answer = Desk().call("read_on", evidence=evidence, start=start)
    assert not answer.ok
    assert evidence in answer.text
