"""The plain view: progress on stderr, result on stdout, nothing a CI system acts on."""

import io
import re
from dataclasses import replace
from pathlib import Path

from hostile import HOSTILE, runs, stamped, start
from hypothesis import given, settings
from recorded_run import recorded_run

from smoldebug.events import (
    ChangeProposed,
    ChangeSettled,
    Continued,
    HypothesesChanged,
    Note,
    Stamped,
    ToolAnswered,
    ToolCalled,
)
from smoldebug.records import Hypothesis, Observation, Section, Who
from smoldebug.report import document, sections
from smoldebug.untrusted import inert
from smoldebug.view import OutputFormat, View, open_view

GOLDEN = Path(__file__).parent / "golden"
ACTED_ON = re.compile(r"^\s*::|##\w*\[", re.MULTILINE)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def opened() -> tuple[View, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return open_view(OutputFormat.PLAIN, document, stdout=out, stderr=err), out, err


def shown(events: list[Stamped]) -> tuple[str, str]:
    view, out, err = opened()
    for item in events:
        view.show(item)
    view.closing(sections(events))
    view.close()
    return out.getvalue(), err.getvalue()


def test_an_incident_reads_as_recorded():
    out, err = shown(recorded_run())
    assert err == (GOLDEN / "plain-progress.txt").read_text(encoding="utf-8")
    assert out == (GOLDEN / "plain-report.txt").read_text(encoding="utf-8")


def test_a_step_shows_the_tool_its_arguments_the_result_the_time_and_the_evidence():
    seen = Observation("Error: connection refused")
    _, err = shown(
        [
            stamped(start()),
            stamped(ToolCalled(1, "t1c0", "check_server", {"name": "web"})),
            stamped(ToolAnswered(1, "t1c0", "check_server", True, seen.text, 0.01, "E1", seen)),
        ]
    )
    line = "step 1  check_server name=web -> Error: connection refused  (10ms, E1)"
    assert line in err.splitlines()


def test_evidence_can_be_read_in_full_before_a_decision():
    view, _, err = opened()
    for item in recorded_run():
        view.show(item)
    before = len(err.getvalue())
    view.evidence(["E2", "E3", "E99"])
    told = err.getvalue()[before:]
    assert (
        'asked: query=histogram_quantile(0.99, rate(request_seconds_bucket{job="auth"}[1m]))'
        in told
    )
    assert "  ×287  pool exhausted" not in told.splitlines()[0]
    assert "pool exhausted (20/20), request queued" in told
    assert "E99" in told


def test_flagged_lines_are_marked_in_the_evidence():
    view, _, err = opened()
    view.recall(recorded_run())
    view.evidence(["E3"])
    assert "⚠ reads like an instruction to an AI, kept as data: Ignore previous" in err.getvalue()


def test_the_full_diff_and_every_line_of_a_blocked_undo_are_shown():
    view, _, err = opened()
    card = next(e.event.card for e in recorded_run() if isinstance(e.event, ChangeProposed))
    view.full_diff(card)
    view.show(stamped(ChangeSettled("C1", "undo blocked", "spec.a: now 1\nspec.b: now 2")))
    lines = err.getvalue().splitlines()
    assert "     progressDeadlineSeconds: 600" in lines
    assert lines[-2:] == ["change  C1 undo blocked: spec.a: now 1", "  spec.b: now 2"]


def test_a_wrapped_line_of_a_diff_keeps_its_mark_and_a_long_command_is_cut():
    card = next(e.event.card for e in recorded_run() if isinstance(e.event, ChangeProposed))
    value = " " * 73 + "  why       all is well"
    view, _, err = opened()
    forged = replace(card, diff=f"+a: {value}", command="kubectl " + "y" * 300)
    view.show(stamped(ChangeProposed(forged)))
    lines = err.getvalue().splitlines()
    assert [line[:3] for line in lines if "all is well" in line] == ["  +"]
    assert [line for line in lines if line.startswith("  why")] != []
    assert lines[-1] == "            … (d shows it whole)"
    view.full_diff(forged)
    assert err.getvalue().endswith(f"  equals    {forged.command}\n")


def test_what_was_never_to_be_sent_was_refused_and_did_not_fail():
    refused = stamped(ChangeSettled("C1", "refused", "the window closed"))
    assert "change  C1 refused: the window closed" in shown([refused])[1]
    failed = stamped(ChangeSettled("C1", "failed", "the window closed"))
    assert "change  C1 failed: the window closed" in shown([failed])[1]


def test_a_run_that_is_taken_up_again_has_a_head_and_says_who_did():
    view, _, err = opened()
    view.recall(recorded_run())
    view.show(stamped(Continued("resume", Who("berta", "ops"))))
    first, *_, last = err.getvalue().splitlines()
    assert first == "smoldebug triage  triage-502  run 7f3a1c"
    assert last == "again   resume by berta (ops) at 2026-06-01 00:00:00 UTC"


def test_a_line_that_a_ci_system_would_execute_is_made_inert():
    assert inert("::error::x\n  ::add-mask::y") == "|::error::x\n  |::add-mask::y"
    assert inert("log ##[error]x ##vso[y]") == "log # #[error]x # #vso[y]"
    assert inert("auth::verify ## heading # [x]") == "auth::verify ## heading # [x]"


def test_hostile_text_is_neither_executed_nor_a_control_character():
    for text in HOSTILE:
        out, err = shown([stamped(start()), stamped(Note(text, text))])
        assert not ACTED_ON.search(out + err), text
        assert not CONTROL.search(out + err), text


def test_a_hostile_report_section_is_neither():
    view, out, _ = opened()
    view.closing([Section(text, (text, text)) for text in HOSTILE])
    assert not ACTED_ON.search(out.getvalue())
    assert not CONTROL.search(out.getvalue())


@given(runs())
@settings(max_examples=60, deadline=None)
def test_any_event_is_safe_lines(events: list[Stamped]):
    out, err = shown(events)
    assert not ACTED_ON.search(out + err)
    assert not CONTROL.search(out + err)


def test_every_beginning_of_a_run_can_be_shown():
    whole = recorded_run()
    for end in range(len(whole)):
        shown(whole[:end])


def test_a_stream_that_is_not_utf8_gets_signs_of_its_own():
    raw = io.BytesIO()
    err = io.TextIOWrapper(raw, encoding="ascii")
    view = open_view(OutputFormat.PLAIN, document, stdout=io.StringIO(), stderr=err)
    for item in recorded_run():
        view.show(item)
    text = raw.getvalue().decode("ascii")
    assert "MET *** 3/3" in text
    err.close()


def test_of_an_error_only_the_first_line_is_for_people():
    text = "ERROR look raised ZeroDivisionError: boom\nTraceback\n  File x"
    _, err = shown([stamped(start()), stamped(ToolAnswered(1, "t1c0", "look", False, text, 0.0))])
    assert "ZeroDivisionError: boom  (+2 lines)" in err
    assert "Traceback" not in err


def test_a_refusal_is_told_to_its_end():
    remedy = "; list it under tools.change.values to allow it"
    text = "REFUSED by the guard: " + "a value that stands nowhere " * 20 + remedy
    refused = ToolAnswered(1, "t1c0", "set_image", False, text, 0.1)
    assert remedy in shown([stamped(refused)])[1]
    assert remedy in shown([stamped(Note(text, "warning"))])[1]


def test_a_noted_hypothesis_is_told_once():
    noted = HypothesesChanged((Hypothesis("H1", "auth is slow", "testing"),))
    answer = ToolAnswered(1, "t1c0", "hypothesis", True, "H1 noted: testing", 0.0)
    _, err = shown([stamped(start()), stamped(noted), stamped(answer), stamped(noted)])
    assert err.count("H1") == 1
