"""JSON for machines: valid, ASCII, complete, whatever the world sent."""

import io
import json

import msgspec
import pytest
from hostile import jsons, runs, stamped
from hypothesis import given, settings
from recorded_run import recorded_run

from smoldebug.events import PASSING, Note, Stamped, from_line, to_line
from smoldebug.report import document, sections
from smoldebug.view import OutputFormat, open_view
from smoldebug.view.jsonl import dumps


def shown(output: OutputFormat, events: list[Stamped]) -> str:
    out = io.StringIO()
    view = open_view(output, document, stdout=out, stderr=io.StringIO())
    for item in events:
        view.show(item)
    view.closing(sections(events))
    view.close()
    view.close()
    return out.getvalue()


def test_jsonl_is_one_line_per_event_that_reads_back_as_the_event():
    events = recorded_run()
    lines = shown(OutputFormat.JSONL, events).splitlines()
    assert [to_line(from_line(line)) for line in lines] == [to_line(item) for item in events]


def test_json_is_one_document_and_nothing_before_it():
    events = recorded_run()
    out = io.StringIO()
    view = open_view(OutputFormat.JSON, document, stdout=out)
    for item in events:
        view.show(item)
    assert out.getvalue() == ""
    view.close()
    assert out.getvalue() == dumps(document(events), indent=2) + "\n"
    assert json.loads(out.getvalue())["status"] == "met"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("output", [OutputFormat.JSON, OutputFormat.JSONL])
def test_whoever_is_asked_at_the_terminal_sees_the_card_and_its_evidence(output: OutputFormat):
    out, err = io.StringIO(), Terminal()
    view = open_view(output, document, stdout=out, stderr=err)
    for item in recorded_run():
        view.show(item)
    view.evidence(["E2"])
    said = err.getvalue()
    assert said.startswith("change  C1 scale Deployment/shop/auth on prod-eu\n")
    assert "+spec.replicas: 3" in said
    assert "auth p99 latency" in said
    assert "goal      NOT MET" in said
    assert "step 1" not in said
    view.close()


def test_the_document_of_a_run_that_was_taken_up_again_is_about_all_of_it():
    events = recorded_run()
    out = io.StringIO()
    view = open_view(OutputFormat.JSON, document, stdout=out, stderr=io.StringIO())
    view.recall(events[:20])
    for item in events[20:]:
        view.show(item)
    view.close()
    assert json.loads(out.getvalue()) == json.loads(dumps(document(events)))


def test_no_event_no_document():
    assert shown(OutputFormat.JSON, []) == ""


def test_nothing_in_it_is_a_command_to_a_ci_system():
    text = shown(OutputFormat.JSONL, [stamped(Note("##[error]x ##vso[y] \x9b2J \x7f"))])
    assert "##[" not in text
    assert "##vso[" not in text
    assert json.loads(text)["event"]["text"] == "##[error]x ##vso[y] \x9b2J \x7f"


@given(jsons)
@settings(max_examples=60, deadline=None)
def test_any_value_is_printable_ascii_and_valid(value):
    text = dumps(value)
    assert all(" " <= sign <= "~" for sign in text)
    msgspec.json.decode(text)


@given(runs())
@settings(max_examples=40, deadline=None)
def test_any_event_is_a_valid_line_and_part_of_a_valid_document(events: list[Stamped]):
    lines = shown(OutputFormat.JSONL, events).splitlines()
    assert len(lines) == sum(not isinstance(each.event, PASSING) for each in events)
    for line in lines:
        msgspec.json.decode(line)
    if lines:  # of a run that only ever had parts of an answer there is no document
        msgspec.json.decode(shown(OutputFormat.JSON, events))
