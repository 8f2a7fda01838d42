"""What onlookers are told of models: who was asked, what that cost, and who had to go on."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hostile import HOSTILE
from recorded_models import MODEL, by_model, stamped, start
from recorded_run import recorded_run
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from smoldebug.cells import Cell
from smoldebug.cli.runs import app
from smoldebug.clock import FakeClock
from smoldebug.events import (
    ModelAnswered,
    ModelAsked,
    ModelHeard,
    Note,
    Stamped,
    Thought,
    TurnStarted,
)
from smoldebug.journal import Journal
from smoldebug.playbook.upgrades import Matrix
from smoldebug.records import Usage
from smoldebug.report import document, fleet, handover, markdown, sections
from smoldebug.report.summary import summary
from smoldebug.usage import answered, dollars, plus, spent
from smoldebug.view import OutputFormat, open_view
from smoldebug.view.console import ConsoleView
from smoldebug.view.fleet import open_fleet_view
from smoldebug.view.github import annotations
from smoldebug.view.pinned import Pinned

CLAUDE = "litellm/anthropic/claude"
SWITCH = f"from {MODEL} to {CLAUDE}: 429 Too Many Requests"
TOTAL = "3 model calls · 1,972 tokens (85 % cached) · $0.0004"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)


def logged(output: OutputFormat, events: Sequence[Stamped]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    view = open_view(output, document, stdout=out, stderr=err, clock=FakeClock())
    for each in events:
        view.show(each)
    view.closing(sections(events))
    view.close()
    return out.getvalue(), err.getvalue()


def pinned(events: Sequence[Stamped], width: int = 80, height: int = 24) -> list[str]:
    panel = Pinned(FakeClock())
    for each in events:
        panel.update(each)
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(panel)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def heard(text: str) -> list[Stamped]:
    return stamped(start(), TurnStarted(1, Usage()), ModelHeard(1, MODEL, text))


def ended(usage: Usage) -> list[Stamped]:
    *rest, last = by_model()
    return [*rest, replace(last, event=msgspec.structs.replace(last.event, usage=usage))]


def whole() -> list[Stamped]:
    """The run, and at its end what the agent counted."""
    return ended(Usage(2, 25, 3, tokens_in=1880, tokens_out=92, cached_in=1600, cost=0.0004))


# --- while a model speaks ---------------------------------------------------------------------


def test_what_a_model_says_grows_where_its_thought_will_stand():
    *_, one = heard("A dependency that got slow")
    two = replace(one, event=ModelHeard(1, MODEL, "A dependency that got slow fits 502"))
    assert pinned([*heard(""), one])[0] == "      A dependency that got slow"
    assert pinned([*heard(""), one, two])[0] == "      A dependency that got slow fits 502"
    for after in (Thought(1, "done", MODEL), TurnStarted(2, Usage()), Note("x")):
        assert pinned([*heard("growing"), *stamped(after)])[0].startswith("── ")


def test_of_a_long_answer_the_end_is_shown_and_the_panel_keeps_its_size():
    lines = pinned(heard(" ".join(f"word{n}" for n in range(4000))))
    assert len(lines) == len(pinned(heard(""))) + 3
    assert lines[2].endswith("word" + lines[2].split("word")[-1])
    assert max(map(len, lines)) <= 80
    assert len(pinned(heard("word " * 4000), 40, 10)) == len(pinned(heard(""), 40, 10)) + 1


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_model_says_is_text_and_nothing_else(text: str):
    for width in (20, 80):
        lines = pinned(heard(text), width)
        assert all(cell_len(line) <= width for line in lines)
        assert "\x1b" not in "".join(lines)


def test_who_thinks_and_what_that_has_cost_so_far_is_pinned():
    used = Usage(turns=1, max_turns=25, max_cost=1.0, max_tokens=50_000, max_calls=40)
    events = stamped(
        start(f"{MODEL}, expert"),
        TurnStarted(1, used),
        ModelAnswered(1, MODEL, 1.0, 39_000, 3000, cost=0.3),
        ModelAsked(1, CLAUDE, ()),
    )
    lines = pinned(events, width=120)
    assert f"step 1: {CLAUDE} is thinking" in lines[-1]
    bar = next(line for line in lines if "▕" in line)
    assert "$0.30/$1.00 · 42k/50k tokens · 1/40 calls" in bar
    assert bar.endswith(f"model {CLAUDE}")
    assert bar.count("█") == 20  # of 24: the tokens are closest to their limit


def test_time_goes_on_over_the_turns():
    clock = FakeClock()
    panel = Pinned(clock)
    for event in (start(), TurnStarted(1, Usage()), TurnStarted(2, Usage(max_seconds=600.0))):
        panel.update(stamped(event)[0])
        clock.sleep(7)
    out = io.StringIO()
    Console(file=out, width=80).print(panel)
    assert "21s/10m" in out.getvalue()


def test_what_calls_cost_adds_up_to_what_a_person_would_write():
    used = Usage()
    for _ in range(3):
        used = plus(used, ModelAnswered(1, MODEL, 1.0, cost=0.1))
    assert used.cost == 0.3, "not 0.30000000000000004"


def test_whoever_pressed_ctrl_c_reads_that_it_stops_and_when():
    pressed: list[int] = []
    panel = Pinned(FakeClock(), lambda: bool(pressed))
    for each in stamped(start(), TurnStarted(1, Usage()), ModelAsked(1, MODEL, ())):
        panel.update(each)
    out = io.StringIO()
    console = Console(file=out, width=80, height=24)
    console.print(panel)
    assert "Ctrl-C" not in out.getvalue()
    pressed.append(1)
    console.print(panel)
    last = out.getvalue().splitlines()[-1]
    assert last.endswith(" stopping after this · Ctrl-C again: now ")
    assert f"step 1: {MODEL} is"[:30] in last


def test_a_free_model_shows_no_dollars():
    free = stamped(start(), TurnStarted(1, Usage()), ModelAnswered(1, "openai/x", 1.0, 900, 100))
    assert not any("$" in line for line in pinned(free))
    assert spent(Usage(calls=1, tokens_in=900, tokens_out=100)) == ["1 model call", "1,000 tokens"]


def test_a_terminal_tells_of_failures_and_switches_and_keeps_the_rest_pinned():
    out = Terminal()
    view = ConsoleView(out, FakeClock())
    for each in whole():
        view.show(each)
    view.close()
    told = " ".join(out.getvalue().split())
    assert "no answer: 429 Too Many Requests" in told
    assert f"model {SWITCH.partition(':')[0]}" in told
    assert told.count("429 Too Many Requests") == 1  # the failure before it has said why
    assert "1,830 in" not in told


@pytest.mark.parametrize(
    "output", [OutputFormat.PLAIN, OutputFormat.GITHUB, OutputFormat.GITLAB, OutputFormat.JSONL]
)
def test_no_log_holds_what_is_only_passing(output: OutputFormat):
    assert "half a sent" not in "".join(logged(output, heard("half a sent")))


def test_a_json_document_is_made_of_what_a_journal_holds():
    out, _ = logged(OutputFormat.JSON, heard("half a sent"))
    assert json.loads(out)["run"] == "7f3a1c"


@pytest.mark.parametrize("output", list(OutputFormat))
def test_a_fleet_shows_nothing_of_it_either(output: OutputFormat):
    out, err = io.StringIO(), io.StringIO()
    matrix = Matrix(cluster=["eu"])
    view = open_fleet_view(output, matrix, fleet.document, stdout=out, stderr=err)
    for each in heard("half a sent"):
        view.show("eu", each)
    view.close()
    assert "half a sent" not in out.getvalue() + err.getvalue()


# --- a line for each call ---------------------------------------------------------------------


def test_a_log_has_a_line_for_each_call():
    _, err = logged(OutputFormat.PLAIN, whole())
    lines = [line for line in err.splitlines() if line.startswith(("model", "warning"))]
    assert lines == [
        f"warning {MODEL} 1s · ~50 in: no answer: 429 Too Many Requests",
        f"warning model from {MODEL} to {CLAUDE}",
        f"model   {CLAUDE} 1s · 1,830 in (1,600 cached) · 92 out · $0.0004",
        f"model   {MODEL} as it answered the same question before",
    ]
    assert f"2 steps · {TOTAL}" in err


def test_money_is_never_nothing_for_something():
    assert [dollars(cost) for cost in (0, 0.00001, 0.0042, 0.97, 12.5)] == [
        "$0.00",
        "< $0.0001",
        "$0.0042",
        "$0.97",
        "$12.50",
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_and_errors_are_data(text: str):
    told = answered(ModelAnswered(1, text, 1.0, error=text or "x"))
    assert "\n" not in told
    assert "\x1b" not in told
    assert len(told) < 500


def test_ci_has_a_warning_for_each_switch():
    cells = [Cell("eu", whole()), Cell("us", whole())]
    switches = [line for line in annotations(cells).splitlines() if "title=model" in line]
    assert switches == [f"::warning title=model::{SWITCH}"]
    assert SWITCH in logged(OutputFormat.GITHUB, whole())[1].splitlines()[-1]


# --- afterwards -------------------------------------------------------------------------------


def test_a_report_tells_which_models_drove_the_run_and_why_they_changed():
    (section,) = [each for each in sections(whole()) if each.heading == "MODELS"]
    assert section.lines == (
        f"{MODEL}: 1 model call · 50 tokens · 1 without an answer · 1 answered before",
        f"{CLAUDE}: 1 model call · 1,922 tokens (87 % cached) · $0.0004",
        f"from {MODEL} to {CLAUDE} at 02:13:45 UTC: 429 Too Many Requests",
    )
    report = markdown(whole())
    assert "## Models" in report
    assert f"{MODEL} did not answer: 429 Too Many Requests" in report
    assert TOTAL in report.replace("\\", "")
    handed = handover(whole())
    assert f"model: {SWITCH}" in handed
    assert TOTAL in handed


def test_the_document_has_the_numbers():
    told = document(whole())
    first, second = told["models"]
    assert (first["model"], first["calls"], first["failed"], first["from_cache"]) == (
        MODEL,
        1,
        1,
        1,
    )
    assert (second["tokens_in"], second["cached_in"], second["cost"]) == (1830, 1600, 0.0004)
    (switch,) = told["switches"]
    assert (switch["from"], switch["to"]) == (MODEL, CLAUDE)


def test_a_run_that_was_killed_has_cost_what_its_calls_cost():
    assert document(by_model()[:7])["usage"]["cost"] == 0.0004


def test_a_summary_of_clusters_sums_them_up():
    cells = [Cell("eu", whole()), Cell("us", whole())]
    assert f"Models: `{MODEL}` 2 model calls · 100 tokens; `{CLAUDE}` 2 model calls" in summary(
        cells
    )
    assert fleet.document(cells)["clusters"][0]["models"][1]["model"] == CLAUDE
    assert "MODELS" in [each.heading for each in fleet.sections(cells)]


def test_a_run_without_models_says_nothing_of_them():
    old = recorded_run()
    assert "MODELS" not in [each.heading for each in sections(old)]
    assert "Models:" not in summary([Cell("eu", old)])
    assert document(old)["models"] == []


# --- the list of runs -------------------------------------------------------------------------


def test_the_list_has_a_cost_where_there_was_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    _keep(tmp_path, "aaaaaa", recorded_run())
    assert "COST" not in CliRunner().invoke(app, ["list"]).stdout
    _keep(tmp_path, "bbbbbb", whole())
    head, *rows = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    assert head.endswith("COST")
    assert sorted(row.split()[-1] for row in rows) == ["$0.0004", "44s"]


def _keep(home: Path, run: str, events: Sequence[Stamped]) -> None:
    with Journal(home / "runs" / run / "journal.jsonl") as journal:
        for each in events:
            journal.append(each)


def test_what_was_sent_is_shown_for_every_call_of_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    repair = ModelAsked(1, MODEL, ({"role": "user", "text": "missing field `name`"},))
    _keep(tmp_path, "aaaaaa", stamped(start(), by_model()[2].event, repair))
    told = CliRunner().invoke(app, ["show", "last", "--show-sent"]).stdout
    assert told.count("--- turn 1 · 02:13:4") == 2
    assert "missing field `name`" in told
