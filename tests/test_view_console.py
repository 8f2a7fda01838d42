"""The rich view: a goal that never scrolls away, and no escape sequence but its own."""

import io
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from hostile import HOSTILE, runs, stamped, start
from hypothesis import given, settings
from recorded_run import recorded_run
from rich.cells import cell_len
from rich.console import Console

from smoldebug.clock import FakeClock
from smoldebug.events import (
    ChangeProposed,
    ChangeSettled,
    Continued,
    HypothesesChanged,
    Note,
    Stamped,
    ToolAnswered,
    TurnStarted,
)
from smoldebug.records import Card, Hypothesis, ObjectRef, Section, Usage, Who
from smoldebug.report import document, sections
from smoldebug.view import OutputFormat, View, open_view, output_format
from smoldebug.view.console import ConsoleView
from smoldebug.view.phrases import curves
from smoldebug.view.pinned import Pinned

OWN = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")  # colours, cursor: what rich itself writes
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def opened(terminal: io.StringIO | None = None) -> tuple[View, io.StringIO]:
    out = terminal or Terminal()
    return open_view(OutputFormat.RICH, document, stdout=out, clock=FakeClock()), out


def shown(events: Sequence[Stamped], terminal: io.StringIO | None = None) -> str:
    view, out = opened(terminal)
    try:
        for item in events:
            view.show(item)
        view.closing(sections(events))
    finally:
        view.close()
    return out.getvalue()


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)


def pinned(events: Sequence[Stamped], width: int = 80, height: int = 24) -> list[str]:
    clock = FakeClock()
    panel = Pinned(clock)
    for item in events:
        panel.update(item)
    clock.sleep(4)
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(panel)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def until(kind: str) -> list[Stamped]:
    """The recorded run up to and with the first event of a kind."""
    whole = recorded_run()
    names = [type(item.event).__name__ for item in whole]
    return whole[: names.index(kind) + 1]


# --- what stays on the screen -----------------------------------------------------------------


def test_the_panel_shows_goal_age_budget_hypotheses_and_what_is_going_on():
    assert pinned(until("ChangeIntended")) == [
        "── triage · triage-502 · run 7f3a1c ─────── prod-eu/shop · ask · 00:00:04 UTC ──",
        " GOAL /health answers 200 three times in a row and 5xx stay under 1%",
        "      ✗ NOT MET  ○○○ 0/3                              measured 4s ago, every 5s",
        "      http checkout.shop /health = 200: answered 502 · 5xx ratio of checkout be…",
        " ▕███░░░░░░░░░▏ step 6/25 · 6s/10m · 0/2 changes · model expert",
        " HYPOTHESES                                        for        against",
        " ✓ H1 auth is saturated: checkout's calls to it t… E1 E2 E3   –        likely",
        " ✗ H2 a bad release of checkout                    –          E4       ruled out",
        " ▸ applying C1: scale Deployment/shop/auth                               4s",
    ]


def test_the_panel_leaves_room_for_the_steps_however_many_hypotheses_there_are():
    many = tuple(Hypothesis(f"H{n}", HOSTILE[n % len(HOSTILE)]) for n in range(40))
    whole = recorded_run()
    crowded = [*whole[:6], stamped(HypothesesChanged(many))]
    for width, height in ((80, 24), (120, 40), (40, 10)):
        lines = pinned(crowded, width, height)
        assert len(lines) <= height // 2 + 3
        assert all(len(line) <= width for line in lines)


def test_a_limit_that_is_almost_used_up_fills_the_bar():
    used = Usage(turns=3, max_turns=25, tokens_out=41_000, cost=0.9, max_cost=1.0)
    bar = next(
        line for line in pinned([stamped(start()), stamped(TurnStarted(3, used))]) if "▕" in line
    )
    assert "▕███████████░▏" in bar
    assert "$0.90/$1.00 · 41k tokens" in bar


def test_waiting_for_a_person_is_no_time_of_the_run():
    clock = FakeClock()
    view = ConsoleView(Terminal(), clock)
    view.show(stamped(start()))
    view.show(stamped(TurnStarted(1, Usage(turns=1, max_turns=25, seconds=2.0, max_seconds=600))))
    with view.paused():
        clock.sleep(300)
    out = io.StringIO()
    Console(file=out, width=80).print(view._pinned)
    view.close()
    assert " 2s/10m " in out.getvalue()


# --- what scrolls -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "auth: replicas 3 -> 1 by ci-bot (helm revision 41)  21m ago",
        "▁▁▁▁▁▁▃▅▇███  0.08 → 6.9  job=auth",
        "1 line written like an instruction to an AI, kept as data",
        "PROPOSED CHANGE C1",
        "on prod-eu · server dry-run: accepted",
        "-spec.replicas: 1",
        "hash 5d1f0e6a9c3b7a21",
        "managed   by Helm: release shop/auth; it may put its own value back",
        "C1 approved by operator anna",
        "MET  ●●● 3/3",
        "✓ GOAL MET  44s · 6 steps",
        "✓ H1 likely: auth is saturated: checkout's calls to it time out",
        "expect    p99 of auth under 0.5 s within a minute, 5xx under 1 %",
        "goal      /health answers 200 three times in a row and 5xx stay under 1%",
        "✗ NOT MET  ○○○ 0/3  at 02:13:41 UTC: http checkout.shop",
        "undo      spec.replicas = 1, recorded before it is sent",
        " equals  kubectl --context prod-eu -n shop scale deployment/auth --replicas=3",
        "http checkout.shop /health = 200: answered 502 · 5xx ratio",
        "VERDICT   Fixed and verified",
        "           kubectl --context prod-eu -n shop scale deployment/auth --replicas=1",
    ],
)
def test_an_incident_shows(words: str):
    assert words in OWN.sub("", shown(recorded_run()))


def cursor_hidden(text: str) -> bool:
    return text.rfind("\x1b[?25l") > text.rfind("\x1b[?25h")


def test_a_prompt_has_the_terminal_to_itself():
    view, out = opened()
    view.show(stamped(start()))
    assert cursor_hidden(out.getvalue())
    with view.paused():
        assert not cursor_hidden(out.getvalue())
        view.show(stamped(Note("said meanwhile")))
        assert out.getvalue().endswith("said meanwhile\n")
    assert cursor_hidden(out.getvalue())
    view.close()
    with view.paused():
        pass
    assert not cursor_hidden(out.getvalue())


def test_the_terminal_is_given_back_wherever_a_run_stops():
    whole = recorded_run()
    for end in range(len(whole)):
        view, out = opened()
        for item in whole[:end]:
            view.show(item)
        view.close()
        assert not cursor_hidden(out.getvalue())


def test_a_second_start_leaves_nothing_behind():
    before = sys.stdout
    view, out = opened()
    view.show(stamped(start()))
    view.show(stamped(start()))
    view.close()
    assert sys.stdout is before
    assert not cursor_hidden(out.getvalue())


def test_no_colour_is_written_when_none_is_wanted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    codes = set(re.findall(r"\x1b\[([\d;]*)m", shown(recorded_run())))
    assert not [code for code in codes if re.search(r"(^|;)(3[0-8]|9[0-7])($|;)", code)]


def test_a_terminal_without_utf8_gets_signs_of_its_own():
    class Latin(Terminal):
        encoding = "ascii"

    text = shown(recorded_run(), Latin())
    assert text.isascii()
    assert "+ GOAL MET" in OWN.sub("", text)


# --- the approval card ------------------------------------------------------------------------


def proposed(**fields: object) -> Card:
    event = until("ChangeProposed")[-1].event
    assert isinstance(event, ChangeProposed)
    return replace(event.card, **fields)


def asked(card: Card, width: int = 80) -> list[str]:
    """What stands on the screen when the operator is asked, without colour."""
    out = Terminal()
    view = ConsoleView(out, FakeClock())
    view._console.width = width
    for item in until("GoalChecked")[1:]:  # without a start there is no panel
        view.show(item)
    before = len(out.getvalue())
    view.show(stamped(ChangeProposed(card)))
    return OWN.sub("", out.getvalue()[before:]).splitlines()


WARNED = (
    "break-glass (INC-4711 checkout is down): it would change more than limits.changes objects: 2",
    "managed by Helm: release shop/auth, which may set it back: change the values of its chart",
)


def test_the_card_has_the_diff_first_and_all_one_must_know():
    assert asked(proposed(warnings=WARNED)) == [
        "╭─ PROPOSED CHANGE C1 ─────────────────────────────────────────────────────────╮",
        "│ scale Deployment/shop/auth                                                   │",
        "│ on prod-eu · server dry-run: accepted                                        │",
        "│ -spec.replicas: 1                                                            │",
        "│ +spec.replicas: 3                                                            │",
        "│ ⚠ WARNING break-glass (INC-4711 checkout is down): it would change more than │",
        "│           limits.changes objects: 2                                          │",
        "│ ⚠ WARNING managed by Helm: release shop/auth, which may set it back: change  │",
        "│           the values of its chart                                            │",
        "│ why       auth is saturated: checkout's calls to it time out [E1 E2 E3]      │",
        "│ expect    p99 of auth under 0.5 s within a minute, 5xx under 1 %             │",
        "│ goal      ✗ NOT MET  ○○○ 0/3  at 02:13:41 UTC: http checkout.shop /health =  │",
        "│           200: answered 502 · 5xx ratio of checkout below 1 %: 7.4 % of      │",
        "│           requests                                                           │",
        "│ undo      spec.replicas = 1, recorded before it is sent                      │",
        "│ limits    1 of 2 changes · factor 3 of 3 allowed                             │",
        "╰────────────────────────────────────────────────────── hash 5d1f0e6a9c3b7a21 ─╯",
        " equals  kubectl --context prod-eu -n shop scale deployment/auth --replicas=3",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_on_a_card_is_cut(width: int):
    name = "n" * 253
    why = "because " * 60
    card = proposed(
        change=replace(proposed().change, target=ObjectRef("Deployment", "shop", name), why=why),
        context="arn:aws:eks:eu-central-1:123456789012:cluster/prod-eu-1",
        command="kubectl patch x -p '" + "y  z" * 3000 + "'",
        warnings=("word " * 100,),
    )
    lines = asked(card, width)
    end = next(at for at, line in enumerate(lines) if line.startswith("╰"))
    box, command = lines[: end + 1], lines[end + 1 :]
    words = "".join(line.strip("│ ") for line in box).replace(" ", "")
    for whole in (name, why, card.context, card.warnings[0]):
        assert whole.replace(" ", "") in words
    assert all(len(line) == width for line in box)
    assert len(command) == 4
    assert command[-1] == "         … (d shows it whole)"
    assert card.command.startswith("".join(line[9:] for line in command[:3]))


@pytest.mark.parametrize("pad", [" ", ".", "界"])
def test_no_part_of_a_value_stands_where_a_row_begins(pad: str):
    forged = "why       all is well".ljust(76)
    for lead in range(60, 80):
        value = pad * (lead // cell_len(pad)) + forged + "undo      nothing is lost"
        lines = asked(proposed(diff=f"-a: x\n+a: {value}"))
        rows = [line for line in lines if line.startswith(("│ why", "│ undo"))]
        assert len(rows) == 2
        assert not any("well" in row or "lost" in row for row in rows)
        wrapped = [line for line in lines if "well" in line or "lost" in line]
        assert wrapped
        assert all(line.startswith("│ +") for line in wrapped)


def test_a_line_of_a_command_does_not_stand_where_a_row_begins():
    command = "printf %s 'a\nundo      nothing is lost' | kubectl apply -f -"
    assert asked(proposed(command=command))[-3:] == [
        " equals  printf %s 'a",
        "         undo      nothing is lost' | kubectl apply -f -",
        "         … (d shows it whole)",
    ]


def test_a_command_that_is_cut_on_the_card_stands_whole_below_the_full_diff():
    card = proposed(command="kubectl patch x -p '" + "y  z" * 300 + "'")
    view, out = opened()
    view.full_diff(card)
    assert OWN.sub("", out.getvalue()).splitlines()[-1] == f" equals  {card.command}"


def test_what_has_no_undo_and_what_nobody_expects_are_said():
    change = replace(proposed().change, no_undo="a restart is over", expects="", evidence=())
    text = "\n".join(asked(proposed(change=change, dry_run="not supported for commands")))
    assert "⚠ NO UNDO a restart is over" in text
    assert "expect    nothing was said of the goal" in text
    assert "[no evidence]" in text
    assert "dry run: not supported for commands" in text


def test_with_a_goal_of_two_checks_and_two_warnings_it_fits_a_small_screen():
    view, out = opened()
    for item in until("TurnStarted"):
        view.show(item)
    before = len(out.getvalue())
    view.show(stamped(ChangeProposed(proposed(warnings=WARNED))))
    view.close()
    card = OWN.sub("", out.getvalue()[before:]).split("PROPOSED")[1].splitlines()
    questions = 3
    assert len(card) + questions <= 24


def test_the_panel_gives_way_to_a_card_until_it_is_decided():
    view, out = opened()
    for item in until("ChangeProposed"):
        view.show(item)
    assert not cursor_hidden(out.getvalue())
    with view.paused():
        pass
    assert not cursor_hidden(out.getvalue())
    view.show(until("ChangeDecided")[-1])
    assert cursor_hidden(out.getvalue())
    view.close()


def test_the_full_diff_is_shown_whole():
    view, out = opened()
    view.full_diff(proposed())
    view.full_diff(proposed(full_diff=""))
    text = OWN.sub("", out.getvalue())
    assert "progressDeadlineSeconds: 600" in text
    assert "there is no diff of more than that" in text


# --- what comes after -------------------------------------------------------------------------


def test_break_glass_and_policies_are_in_plain_sight():
    begun = msgspec.structs.replace(start(), break_glass="INC-4711", policies=("/etc/p.yaml 3f",))
    text = OWN.sub("", shown([stamped(begun)]))
    assert "⚠ BREAK-GLASS: INC-4711" in text
    assert "policy /etc/p.yaml 3f" in text
    assert "BREAK-GLASS" in pinned([stamped(begun)])[0]


def test_a_blocked_undo_has_a_line_for_each_field():
    drift = "spec.replicas: before 1, ours 3, now 5 (kubectl-edit)\nspec.paused: ours absent"
    text = shown([stamped(ChangeSettled("C1", "undo blocked", drift))])
    lines = [line.strip() for line in OWN.sub("", text).splitlines()]
    at = lines.index("✗ C1 undo blocked: spec.replicas: before 1, ours 3, now 5 (kubectl-edit)")
    assert lines[at + 1] == "spec.paused: ours absent"


def test_a_run_that_is_taken_up_again_knows_its_goal_and_its_evidence():
    view, out = opened()
    view.recall(until("ChangeProposed"))
    view.show(stamped(Continued("resume", Who("berta"))))
    view.show(stamped(Note("settling C1")))
    view.evidence(["E2"])
    view.close()
    text = OWN.sub("", out.getvalue())
    assert "▸ resume by berta at 2026-06-01 00:00:00 UTC" in text
    assert "GOAL /health answers 200" in text
    assert "auth p99 latency" in text
    assert "PROPOSED CHANGE" not in text, "what was shown is not shown again"


# --- hostile text -----------------------------------------------------------------------------


def test_hostile_text_leaves_no_escape_sequence_of_its_own():
    for text in HOSTILE:
        out = shown([stamped(start()), stamped(Note(text, text))])
        assert not FORBIDDEN.search(OWN.sub("", out).replace("\r", "")), text
        assert "\x1b]" not in out


def test_a_hostile_report_section_does_neither():
    view, out = opened()
    view.closing([Section(text, (text, f"$ {text}")) for text in HOSTILE])
    assert not FORBIDDEN.search(OWN.sub("", out.getvalue()))


@given(runs())
@settings(max_examples=60, deadline=None)
def test_any_event_is_shown_without_an_exception_or_an_escape(events: list[Stamped]):
    assert not FORBIDDEN.search(OWN.sub("", shown(events)).replace("\r", ""))


# --- sparklines -------------------------------------------------------------------------------


def test_a_refusal_is_wrapped_and_told_to_its_end():
    text = "REFUSED by the guard: " + "a value that stands nowhere " * 20 + "under change.values"
    for event in (ToolAnswered(1, "t1c0", "set_image", False, text, 0.1), Note(text, "warning")):
        view, out = opened()
        view.show(stamped(event))
        words = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).split()
        assert text in " ".join(words)


def test_a_curve_needs_five_points():
    points = [[float(n), float(n)] for n in range(4)]
    assert list(curves({"series": [{"labels": {}, "points": points}]})) == []
    points.append([4.0, 4.0])
    assert list(curves({"series": [{"labels": {"job": "a"}, "points": points}]})) == [
        "▁▃▅▆█  0 → 4  job=a"
    ]


def test_a_flat_series_is_a_flat_line_and_a_short_spike_stays_visible():
    flat = [[float(n), 7.0] for n in range(5)]
    spike = [[float(n), 100.0 if n == 333 else 1.0] for n in range(1000)]
    line, peak = curves(
        {"series": [{"labels": {}, "points": flat}, {"labels": {}, "points": spike}]}
    )
    assert line.startswith("▁▁▁▁▁  ")
    assert "█" in peak
    assert len(peak.split("  ")[0]) <= 24


# --- which view -------------------------------------------------------------------------------


def test_rich_needs_a_terminal_that_can_draw():
    terminal, pipe = Terminal(), io.StringIO()
    assert output_format(None, terminal, {"TERM": "xterm"}) is OutputFormat.RICH
    assert output_format(None, terminal, {"TERM": "dumb"}) is OutputFormat.PLAIN
    assert output_format(None, terminal, {"CI": "true"}) is OutputFormat.PLAIN
    assert output_format(None, terminal, {"CI": "false"}) is OutputFormat.RICH
    assert output_format(None, pipe, {}) is OutputFormat.PLAIN
    assert output_format(OutputFormat.JSON, terminal, {}) is OutputFormat.JSON


def test_rich_into_a_file_is_plain_text():
    assert "\x1b" not in shown(recorded_run(), io.StringIO())
