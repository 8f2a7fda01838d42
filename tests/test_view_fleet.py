"""Views of a matrix: what happens in several clusters, each line with its cluster."""

import io
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hostile import HOSTILE, runs
from hypothesis import given, settings
from recorded_run import recorded_run
from recorded_upgrade import (
    AP,
    BEGAN,
    BLAME,
    EU,
    HTTP,
    LOGS,
    ROLLOUT,
    US,
    Recording,
    all_good,
    canary_fails,
    cells,
    good,
    interrupted,
    one_by_one,
    saying,
    second_fails,
    side_by_side,
    verdict,
)
from rich.cells import cell_len
from rich.console import Console

from smoldebug.cli.approval import Tick, approver
from smoldebug.clock import FakeClock
from smoldebug.events import (
    Blamed,
    ChangeProposed,
    GoalChecked,
    PhaseBegan,
    RunEnded,
    Skipped,
    Stamped,
)
from smoldebug.playbook.upgrades import Matrix
from smoldebug.records import Answer, Decision, Outcome
from smoldebug.report import fleet
from smoldebug.view import OutputFormat, open_view, output_format
from smoldebug.view.fleet import FleetView, named, open_fleet_view
from smoldebug.view.fleet_rows import Rows

OWN = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")  # colours, cursor: what rich itself writes
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")
Merged = Sequence[tuple[str, Stamped]]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)


def opened(
    output: OutputFormat, clusters: Sequence[str], parallel: int = 1, out: io.StringIO | None = None
) -> tuple[FleetView, io.StringIO, io.StringIO]:
    out, err = out or io.StringIO(), io.StringIO()
    matrix = Matrix(cluster=list(clusters), parallel=parallel)
    clock = FakeClock(BEGAN)
    view = open_fleet_view(output, matrix, fleet.document, stdout=out, stderr=err, clock=clock)
    return view, out, err


def shown(
    output: OutputFormat,
    recordings: Sequence[Recording],
    merged: Callable[[Sequence[Recording]], Merged] = one_by_one,
    out: io.StringIO | None = None,
) -> tuple[str, str]:
    """What it writes on stdout and stderr, report included."""
    view, out, err = opened(output, [each.cluster for each in recordings], out=out)
    try:
        for cluster, stamped in merged(recordings):
            view.show(cluster, stamped)
        told = [each.cell() for each in recordings]
        view.closing(told, fleet.sections(told))
    finally:
        view.close()
    return out.getvalue(), err.getvalue()


# --- which view ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"GITHUB_ACTIONS": "true", "CI": "true"}, OutputFormat.GITHUB),
        ({"GITLAB_CI": "true", "CI": "true"}, OutputFormat.GITLAB),
        ({"CI": "true"}, OutputFormat.PLAIN),
        ({"GITHUB_ACTIONS": "", "TERM": "xterm"}, OutputFormat.RICH),
        ({"TERM": "dumb"}, OutputFormat.PLAIN),
    ],
)
def test_a_ci_system_is_known_by_its_variables(env: dict[str, str], expected: OutputFormat) -> None:
    assert output_format(None, Terminal(), env) is expected
    assert output_format(OutputFormat.JSON, Terminal(), env) is OutputFormat.JSON


# --- plain --------------------------------------------------------------------------------------


def test_every_line_begins_with_its_cluster() -> None:
    _, err = shown(OutputFormat.PLAIN, second_fails(), side_by_side)
    assert {line[:12] for line in err.splitlines()} == {f"{each}  " for each in (EU, US, AP)}


@pytest.mark.parametrize(
    "line",
    [
        "eu-staging  phase   baseline: the goal must hold before anything is changed",
        "eu-staging  change  C1 helm-upgrade HelmRelease/platform/platform on eu-staging",
        "eu-staging  ended   met: 20 checks of 5 services held for 5m after the steps",
        "us-staging  goal    WAITING: 18 of 20 checks met · catalog rollout complete: 1 of 2",
        "us-staging  goal    NOT MET: 17 of 20 checks met · checkout http /health = 200: answered",
        "us-staging  broke   Deployment/platform/payments: first failed “rollout complete”, 34s",
        "us-staging          E3 “ConfigError: cannot parse config key 'ledger.mode'",
        "us-staging          probably only because of it: checkout",
        "us-staging  undo    taking back what was changed: payments: the new image",
        "us-staging  ended   rolled back: payments: the new image fails its readiness probe",
        "us-staging    undo      revision 3, recorded before it is sent",
        "ap-staging  skipped not begun, since us-staging failed (matrix.stop_after_failures)",
    ],
)
def test_the_log_says_each_step(line: str) -> None:
    _, err = shown(OutputFormat.PLAIN, second_fails())
    assert any(each.startswith(line) for each in err.splitlines())


def test_services_that_wait_alike_are_told_together_and_each_once() -> None:
    left, unasked = "1 old replica left", "not asked before its rollout is complete"
    rolling = verdict({
        ("catalog", ROLLOUT): (Outcome.NOT_MET, left, True),
        ("catalog", HTTP): (Outcome.NOT_MET, unasked, True),
        ("ledger", ROLLOUT): (Outcome.NOT_MET, left, True),
        ("payments", ROLLOUT): (Outcome.NOT_MET, left, True),
        ("payments", LOGS): (Outcome.NOT_MET, "new: out of luck", False),
    })  # fmt: skip
    _, err = shown(OutputFormat.PLAIN, [Recording(EU).add(0.0, GoalChecked(0, rolling))])
    assert (
        "15 of 20 checks met · payments no new error lines: new: out of luck"
        " · catalog, ledger rollout complete: 1 old replica left  ("
    ) in err


def test_a_goal_that_stands_as_before_is_no_news() -> None:
    """Its window fills for five minutes."""
    patient = Recording(EU).opening().upgraded().add(0.0, PhaseBegan("watching"))
    for held in range(1, 300, 15):
        patient.add(15.0, GoalChecked(0, verdict(held=held)))
    _, err = shown(OutputFormat.PLAIN, [patient])
    watching = err.partition("phase   watching")[2]
    assert watching.count("goal    HOLDS NOW") == 1


def test_the_report_of_all_clusters_is_on_stdout() -> None:
    out, _ = shown(OutputFormat.PLAIN, second_fails())
    assert [line[:79] for line in out.splitlines()[:5]] == [
        "VERDICT   payments broke us-staging (rolled back); 1 met, 1 skipped",
        "          exit status 4",
        "CLUSTERS  eu-staging  met          5m51s · platform-2.4.0 → 2.5.0 · 20 checks o",
        "          us-staging  rolled back  1m30s · run rus7f3a · back at platform-2.4.0",
        "          ap-staging  skipped      not begun, since us-staging failed (matrix.s",
    ]


def test_a_long_name_is_known_by_its_end() -> None:
    assert named("arn:aws:eks:eu-west-1:123456789012:cluster/prod") == "…789012:cluster/prod"
    assert named("eu\n::error::x") == "eu ::error::x"


# --- what stays at the bottom of the screen -----------------------------------------------------


def rows(
    recordings: Sequence[Recording], many: int, width: int = 80, height: int = 24, parallel: int = 1
) -> list[str]:
    """After so many events."""
    clock = FakeClock(BEGAN)
    matrix = Matrix(cluster=[each.cluster for each in recordings], parallel=parallel)
    panel = Rows(matrix, clock)
    for cluster, stamped in one_by_one(recordings)[:many]:
        panel.update(cluster, stamped)
    clock.sleep(2)
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(panel)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def until(recordings: Sequence[Recording], last: type, nth: int = 1) -> int:
    """How many events there are up to the nth of a kind."""
    kinds = [type(stamped.event) for _, stamped in one_by_one(recordings)]
    places = [place for place, kind in enumerate(kinds) if kind is last]
    return places[nth - 1] + 1


def test_before_the_first_all_wait() -> None:
    assert rows(all_good(), 0) == [
        "──────────────────────────────────────────────────── 0 of 3 done, 1 at a time ──",
        "○ eu-staging waiting                                -",
        "○ us-staging waiting                                -",
        "○ ap-staging waiting                                -",
    ]


def test_a_row_shows_phase_bar_offender_and_time() -> None:
    broken = second_fails()
    assert rows(broken, until(broken, Blamed)) == [
        "── helm-upgrade · platform-2.4.0 → 2.5.0 ─────────── 1 of 3 done, 1 at a time ──",
        "✓ eu-staging met             ██████ 20/20 5m/5m     -                      5m51s",
        "▸ us-staging explaining      █████░ 17/20           payments               1m06s",
        "○ ap-staging waiting                                -",
    ]


def test_the_bar_is_the_window_once_all_checks_are_met() -> None:
    row = rows(all_good(), until(all_good(), GoalChecked, 4))[1]
    assert row.startswith("▸ eu-staging watching        ███░░░ 20/20 2m30s/5m")


def test_a_wide_terminal_has_a_longer_bar_and_the_time_of_day() -> None:
    head, first, *_ = rows(all_good(), until(all_good(), GoalChecked, 4), width=120)
    assert head.endswith(" 0 of 3 done, 1 at a time · 14:00:02 UTC ──")
    assert "██████████░░░░░░░░░░ 20/20 2m30s/5m" in first


def test_how_each_ended_is_a_sign_and_a_word() -> None:
    everything = second_fails()
    states = [line[:28].strip().split(maxsplit=2) for line in rows(everything, 1000)[1:]]
    assert states == [
        ["✓", EU, "met"],
        ["✗", US, "rolled back"],
        ["–", AP, "skipped"],
    ]


def test_a_rollout_under_way_is_no_failure() -> None:
    everything = all_good()
    row = rows(everything, until(everything, GoalChecked, 2))[1]
    assert "18/20" in row
    assert "payments" not in row


def test_with_more_clusters_than_lines_those_that_something_happens_to_are_shown() -> None:
    many = [good(f"cluster-{number:02}") for number in range(20)]
    many[11] = canary_fails()[0]
    shown_rows = rows(many, sum(len(each.events) for each in many[:17]) + 2, height=16)
    assert [line.split()[1] for line in shown_rows[1:3]] == [EU, "cluster-17"]
    assert shown_rows[-1] == "  and 16 more: 16 met"
    assert len(shown_rows) == 6


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_row_is_wider_than_the_screen(width: int) -> None:
    names = ["a" * 300, "漢字" * 40, HOSTILE[4], ""]
    odd = [replace(saying(HOSTILE[0]), cluster=name) for name in names]
    lines = rows(odd, 1000, width=width)
    assert len(lines) == 5
    assert all(cell_len(line) <= width for line in lines)


# --- on a terminal ------------------------------------------------------------------------------


def test_steps_scroll_by_with_the_name_of_their_cluster() -> None:
    drawn, _ = shown(OutputFormat.RICH, second_fails(), side_by_side, Terminal())
    lines = [line.rstrip() for line in OWN.sub("", drawn).replace("\r", "\n").splitlines()]
    assert "eu-staging     ▸ watching  watching the goal after the steps" in lines
    assert "us-staging       probably only because of it: checkout" in lines
    assert (
        "│ on eu-staging · server dry-run: accepted                                     │" in lines
    )
    assert " VERDICT   payments broke us-staging (rolled back); 1 met, 1 skipped" in lines


def test_a_cluster_keeps_its_colour() -> None:
    drawn, _ = shown(OutputFormat.RICH, second_fails(), out=Terminal())
    colours = {name: set(re.findall(rf"\x1b\[([\d;]+)m{name}", drawn)) for name in (EU, US)}
    assert colours == {EU: {"36", "1;33"}, US: {"35", "1;33"}}  # bold yellow: on its card


def test_nothing_is_coloured_where_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    drawn, _ = shown(OutputFormat.RICH, second_fails(), out=Terminal())
    colours = {code for code in re.findall(r"\x1b\[([\d;]*)m", drawn) for code in code.split(";")}
    assert colours <= {"", "0", "1", "2", "3"}  # bold, dim, italic


# --- for machines -------------------------------------------------------------------------------


def test_json_is_one_document() -> None:
    out, _ = shown(OutputFormat.JSON, second_fails())
    document = json.loads(out)
    assert {name: document[name] for name in ("schema_version", "playbook", "status")} == {
        "schema_version": 1,
        "playbook": "helm-upgrade",
        "status": "undone",
    }
    assert (document["exit_code"], document["cluster"]) == (4, US)
    assert document["offender"] == BLAME.service
    first, second, third = document["clusters"]
    assert (first["status"], first["exit_code"], len(first["checks"])) == ("met", 0, 20)
    assert second["offender"]["quotes"][0]["evidence"] == "E3"
    assert (second["phase"], second["rollback"]) == ("rolling back", "verified")
    assert [each["state"] for each in second["changes"]] == ["undone"]
    outcomes = [each["outcome"] for each in second["checks"]]
    assert outcomes.count("not met") == 3
    assert (third["status"], third["exit_code"], third["run"]) == ("skipped", None, "")
    assert third["skipped"].startswith("not begun")


def test_json_is_written_after_an_error_too() -> None:
    view, out, _ = opened(OutputFormat.JSON, [EU, US])
    view.show(EU, good(EU).events[0])
    view.close()
    view.close()
    document = json.loads(out.getvalue())
    assert [each["status"] for each in document["clusters"]] == ["interrupted", "interrupted"]


def test_every_line_of_jsonl_names_its_cluster() -> None:
    recordings = second_fails()
    out, _ = shown(OutputFormat.JSONL, recordings, side_by_side)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [each["cluster"] for each in lines] == [c for c, _ in side_by_side(recordings)]
    assert lines[-1]["event"]["event"] == "RunEnded" or lines[-1]["cluster"] == AP


# --- who is asked -------------------------------------------------------------------------------


class Operator:
    """Answers as told; while they think, `meanwhile` happens."""

    def __init__(self, meanwhile: Callable[[], None], *answers: str) -> None:
        self.meanwhile, self.answers = meanwhile, list(answers)

    def __call__(self, seconds: float, tick: Tick) -> str | None:
        self.meanwhile()
        return self.answers.pop(0)


def upgrade(cluster: str) -> tuple[Stamped, ...]:
    events = good(cluster).events
    return tuple(events[: [type(each.event) for each in events].index(ChangeProposed) + 1])


@pytest.mark.parametrize("output", [OutputFormat.PLAIN, OutputFormat.RICH, OutputFormat.GITHUB])
def test_while_one_cluster_is_asked_about_the_others_wait_to_be_shown(
    output: OutputFormat,
) -> None:
    screen = Terminal()
    view, out, err = opened(output, [EU, US], 2, screen)
    seen = screen if output is OutputFormat.RICH else err
    for stamped in upgrade(EU):
        view.show(EU, stamped)
    during: list[str] = []

    def meanwhile() -> None:
        view.show(US, good(US).events[1])
        during.append(seen.getvalue())

    ask = approver(
        view.of(EU), yes=False, read=Operator(meanwhile, "y\n"), clock=FakeClock(), screen=seen
    )
    card = next(each.event.card for each in upgrade(EU) if isinstance(each.event, ChangeProposed))
    decision = ask(card)
    view.close()
    assert decision.answer is Answer.YES
    assert "C1" in during[0]
    assert "us-staging" not in OWN.sub("", during[0]).rpartition("apply  [n]")[2]
    if output is not OutputFormat.GITHUB:
        assert "baseline" in OWN.sub("", seen.getvalue()).rpartition("us-staging")[2]


def test_the_evidence_of_the_cluster_that_is_asked_about_is_shown() -> None:
    view, _, err = opened(OutputFormat.PLAIN, [EU, US])
    for stamped in recorded_run():
        view.show(US, stamped)
    view.of(US).evidence(["E1"])
    view.of(EU).evidence(["E1"])
    assert "us-staging  E1 fetch_logs" in err.getvalue()
    assert "eu-staging    not recorded" in err.getvalue()


def test_a_question_waits_until_its_card_is_shown() -> None:
    """The run is in a thread of its own, and may be quicker than the screen."""
    view, _, err = opened(OutputFormat.PLAIN, [EU])
    asked: list[str] = []

    def question() -> None:
        with view.of(EU).paused():
            asked.append(err.getvalue())

    run = threading.Thread(target=question)
    run.start()
    for stamped in upgrade(EU):
        view.show(EU, stamped)
    run.join(10)
    assert "change  C1 helm-upgrade" in asked[0]


@pytest.mark.parametrize("output", [OutputFormat.PLAIN, OutputFormat.RICH, OutputFormat.GITHUB])
def test_the_card_above_a_question_is_the_one_that_is_asked_about(output: OutputFormat) -> None:
    screen = Terminal()
    view, _, err = opened(output, [EU, US, AP], 3, screen)
    seen = screen if output is OutputFormat.RICH else err
    for cluster in (EU, US, AP):
        for stamped in upgrade(cluster):
            view.show(cluster, stamped)
    for cluster in (US, EU, AP):
        with view.of(cluster).paused():
            card = OWN.sub("", seen.getvalue()).rpartition("on " + cluster)
            assert card[1]
            assert "helm-upgrade" not in card[2]
    view.close()


def test_a_view_that_is_closed_lets_nobody_wait() -> None:
    view, _, _ = opened(OutputFormat.PLAIN, [EU])
    view.close()
    with view.of(EU).paused():
        pass


# --- one cluster --------------------------------------------------------------------------------


@pytest.mark.parametrize("output", [OutputFormat.PLAIN, OutputFormat.GITLAB])
def test_a_single_run_says_phases_and_who_broke_it(output: OutputFormat) -> None:
    out, err = io.StringIO(), io.StringIO()
    view = open_view(output, lambda events: None, stdout=out, stderr=err)
    for stamped in canary_fails()[0].events:
        view.show(stamped)
    assert "\nphase   steps: carrying out the steps\n" in err.getvalue()
    assert (
        "\nbroke   Deployment/platform/payments: first failed “rollout complete”" in err.getvalue()
    )


def test_the_terminal_of_a_single_run_says_what_it_waits_for() -> None:
    out = Terminal()
    view = open_view(OutputFormat.RICH, lambda events: None, stdout=out, clock=FakeClock())
    events = interrupted()[0].events
    for stamped in events:
        view.show(stamped)
        if isinstance(stamped.event, GoalChecked) and stamped.event.verdict.results[0].pending:
            break
    view.close()
    assert "waiting for rollouts" in OWN.sub("", out.getvalue())


# --- text from the world ------------------------------------------------------------------------

LINES = (OutputFormat.PLAIN, OutputFormat.GITHUB, OutputFormat.GITLAB, OutputFormat.JSONL)


def harmless(output: OutputFormat, text: str) -> None:
    """Nothing a terminal or a CI system acts on, but what is the view's own."""
    if output is OutputFormat.GITLAB:
        text = re.sub(r"\x1b\[0Ksection_(start|end):\d+:[\w.-]+\r\x1b\[0K", "", text)
    if output is OutputFormat.GITHUB:
        own = (
            r"group::.*|stop-commands::\w{32}|\w{32}::|endgroup::|(error|warning) title=[^:,]*::.*"
        )
        text = re.sub(rf"^::({own})$", "", text, flags=re.MULTILINE)
    assert not FORBIDDEN.search(text.replace("\n", ""))
    assert not re.search(r"^\s*::", text, re.MULTILINE)
    assert "##[" not in text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("output", LINES)
def test_a_cluster_that_says_commands_is_quoted(output: OutputFormat, text: str) -> None:
    odd = [
        saying(text),
        replace(saying(text), cluster=f"{text}x"),
        Recording(AP).add(0.0, Skipped(text)),
    ]
    for part in shown(output, odd, side_by_side):
        harmless(output, part)


@pytest.mark.parametrize("text", HOSTILE[:8])
def test_a_terminal_gets_no_escape_sequence_but_its_own(text: str) -> None:
    drawn, _ = shown(OutputFormat.RICH, [saying(text)], out=Terminal())
    assert not FORBIDDEN.search(OWN.sub("", drawn))


@settings(max_examples=30)
@given(runs(), runs())
def test_no_event_breaks_a_view(first: list[Stamped], second: list[Stamped]) -> None:
    for output in LINES:
        view, out, err = opened(output, [EU, US], 2)
        for pair in zip(first, second, strict=False):
            for cluster, stamped in zip((EU, US), pair, strict=True):
                view.show(cluster, stamped)
        view.close()
        harmless(output, out.getvalue())
        harmless(output, err.getvalue())


def test_a_decision_that_no_card_asked_for_does_no_harm() -> None:
    view, _, _ = opened(OutputFormat.RICH, [EU], out=Terminal())
    events = good(EU).events
    for stamped in events:
        if not isinstance(stamped.event, ChangeProposed):
            view.show(EU, stamped)
    view.close()
    assert Decision(Answer.YES, "playbook") in [
        getattr(each.event, "decision", None) for each in events
    ]
    assert cells(all_good)[0].ended == next(
        each.event for each in events if isinstance(each.event, RunEnded)
    )
