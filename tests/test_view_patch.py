"""A patch on the screen: what its edits reached, what would be pushed, how far its checks are."""

import io
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hostile import HOSTILE, stamped
from recorded_patch import CARD, DIFF, DRAFTED, FOLLOWS, flag, hunk, recorded_patch, verdict
from rich.console import Console

from smoldebug.clock import FakeClock
from smoldebug.events import (
    ChangeProposed,
    ChangeSettled,
    Drafted,
    Event,
    GoalChecked,
    Stamped,
)
from smoldebug.records import Card, Edited, ObjectRef, Outcome
from smoldebug.report import document, handover, markdown, sections
from smoldebug.status import ExitStatus
from smoldebug.view import OutputFormat, open_view
from smoldebug.view.pinned import Pinned
from smoldebug.view.unified import LINES, shortened

GOLDEN = Path(__file__).parent / "golden"
OWN = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")  # colours, cursor: what rich itself writes


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def rich(events: Sequence[Event], width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name, value in {"COLUMNS": f"{width}", "LINES": "50", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    out = Terminal()
    view = open_view(OutputFormat.RICH, document, stdout=out, clock=FakeClock())
    for event in events:  # without a start there is no panel
        view.show(stamped(event))
    view.close()
    return [line.rstrip() for line in OWN.sub("", out.getvalue()).splitlines()]


def plain(events: Sequence[Stamped]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    view = open_view(OutputFormat.PLAIN, document, stdout=out, stderr=err)
    for event in events:
        view.show(event)
    view.closing(sections(events))
    view.close()
    return out.getvalue(), err.getvalue()


def whole(card: Card) -> list[str]:
    err = io.StringIO()
    open_view(OutputFormat.PLAIN, document, stdout=err, stderr=err).full_diff(card)
    return err.getvalue().splitlines()


# --- as recorded ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_edits_and_card_fit_the_screen(width: int, monkeypatch: pytest.MonkeyPatch):
    lines = rich([DRAFTED, ChangeProposed(CARD)], width, monkeypatch)
    golden = (GOLDEN / f"patch-{width}.txt").read_text(encoding="utf-8")
    assert lines == golden.splitlines()


def test_a_patch_reads_as_recorded():
    out, err = plain(recorded_patch())
    assert err == (GOLDEN / "patch-progress.txt").read_text(encoding="utf-8")
    assert out == (GOLDEN / "patch-report.txt").read_text(encoding="utf-8")


def test_the_handover_of_a_patch():
    assert handover(recorded_patch()) == (GOLDEN / "patch-handover.txt").read_text("utf-8")


# --- what the edits reached ---------------------------------------------------------------------


def rows(state: str, number: int, detail: str = "") -> tuple[Edited, ...]:
    ref = ObjectRef("Deployment", "staging", "x")
    return tuple(Edited(ref, f"deploy/{state}-{n}.yaml", 3, state, detail) for n in range(number))


def drafted(*edited: Edited, problems: tuple[str, ...] = ()) -> Stamped:
    return stamped(msgspec.structs.replace(DRAFTED, edited=edited, problems=problems))


def test_what_somebody_must_look_at_comes_first_and_the_rest_is_counted():
    many = (*rows("changed", 200), *rows("differs", 2, "is false"), *rows("refused", 40, "anchor"))
    _, err = plain([drafted(*many, problems=("deploy/a.yaml:3: a tab",))])
    lines = err.splitlines()
    assert lines[0].startswith(
        "edited  200 changed, 40 refused, 2 replaces another value in 202 files of"
    )
    assert lines[1] == "  deploy/a.yaml:3: a tab"
    assert lines[2] == "  deploy/refused-0.yaml:3   Deployment/staging/x  refused"
    assert lines[3] == "    anchor"
    states = [line.split()[2] for line in lines[2:] if "Deployment/" in line]
    assert states == ["refused"] * 40 + ["replaces"] * 2 + ["changed"] * 20
    assert lines[-1] == "  … and 180 more"


def test_however_much_is_refused_fifty_are_shown():
    _, err = plain([drafted(*rows("refused", 300), problems=("bad",) * 80)])
    assert err.count(" refused\n") == 50
    assert err.count("  bad\n") == 50
    assert err.endswith("  … and 280 more\n")


def test_edits_without_a_commit_have_nothing_to_push():
    event = msgspec.structs.replace(DRAFTED, commit="", edited=rows("already so", 2))
    _, err = plain([stamped(event)])
    assert err.startswith(
        "edited  2 already so in 0 files of shop/manifests; main 3f2a1c9 → nothing"
    )


# --- the card -----------------------------------------------------------------------------------


def test_an_edit_that_many_files_get_is_shown_once_and_the_odd_ones_first():
    odd = hunk("deploy/mesh.yaml", "   env:", "-    - name: PORT", "+    - name: HOST")
    text = shortened(DIFF + odd).splitlines()
    assert text[0] == "13 files, +25 −1"
    assert text[1] == "▸ deploy/mesh.yaml  +1 −1"
    assert text[3:6] == ["   env:", "-    - name: PORT", "+    - name: HOST"]
    assert text[6] == "▸ deploy/auth.yaml  +2 −0, the same in 11 more files"
    assert len(text) == 7 + 9


def test_of_many_different_edits_the_first_are_shown_and_the_others_counted():
    diff = "".join(hunk(f"deploy/{n}.yaml", f"+  image: shop:{n}") for n in range(1000))
    text = shortened(diff).splitlines()
    assert text[0] == "1000 files, +1000 −0"
    assert len(text) < 2 * LINES
    assert (
        text[-1]
        == f"… and {1000 - LINES // 2} more files, edited otherwise (d shows the whole diff)"
    )


def test_of_a_long_edit_the_beginning_is_shown():
    text = shortened(hunk("a.yaml", *(f"+{n}" for n in range(100)))).splitlines()
    assert text[0] == "1 file, +100 −0"
    assert text[-1] == "… and 85 more lines (d shows the whole diff)"


def test_files_that_come_and_go_are_called_so():
    new = hunk("b.yaml", "+b").replace("index ", "new file mode 100644\nindex ")
    gone = hunk("c.yaml", "-c").replace("index ", "deleted file mode 100644\nindex ")
    gone = gone.replace("+++ b/c.yaml", "+++ /dev/null")
    odd = 'diff --git "a/\\303\\274.png" "b/\\303\\274.png"\nBinary files differ\n'
    text = shortened(new + gone + odd)
    assert "▸ new b.yaml  +1 −0" in text
    assert "▸ deleted c.yaml  +0 −1" in text
    assert '▸ "a/\\303\\274.png" "b/\\303\\274.png"  +0 −0' in text


def test_no_line_of_a_file_hides_another_or_passes_for_one():
    attack = hunk("a.yaml", "+x: \x1b]0;", "-secure: true", "+y\rwhy       all is well", "+\x07z")
    for text in (shortened(attack).splitlines(), whole(replace(CARD, diff=attack))):
        assert any("-secure: true" in line for line in text)
        assert not any(line.strip().startswith("why") for line in text if "well" in line)
        assert "\x1b" not in "".join(text)
    crlf = shortened(hunk("a.yaml", "+a\r", "+b\r")).splitlines()
    assert crlf[-2:] == ["+a", "+b"]


def test_the_whole_diff_is_one_key_away_with_the_text_of_the_pull_request():
    lines = whole(CARD)
    assert sum("diff --git " in line for line in lines) == 12
    assert "    **Set FEATURE_FLAG=true**" in lines
    assert "    - one item" in lines, "it is no line that was removed"


def test_a_thousand_files_do_not_make_the_screen_slow(monkeypatch: pytest.MonkeyPatch):
    card = replace(CARD, diff="".join(flag(f"service-{n}") for n in range(1000)))
    began = time.process_time()
    lines = rich([ChangeProposed(card)], 80, monkeypatch)
    assert time.process_time() - began < 1.0
    assert len(lines) < 40


def test_what_an_approval_covered_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch):
    lines = rich([ChangeProposed(CARD), ChangeProposed(FOLLOWS)], 80, monkeypatch)
    assert lines[-1] == "    ▸ C2 pull-request PullRequest/smoldebug/FEATURE_FLAG, as C1 says"


@pytest.mark.parametrize(
    "card",
    [
        replace(FOLLOWS, warnings=("somebody else edited it",)),
        replace(FOLLOWS, change=replace(FOLLOWS.change, after={"/title": "other"})),
    ],
)
def test_what_an_approval_did_not_cover_has_a_card_of_its_own(card: Card):
    _, err = plain([stamped(ChangeProposed(CARD)), stamped(ChangeProposed(card))])
    assert "change  C2 pull-request PullRequest/smoldebug/FEATURE_FLAG in its repository" in err
    assert "    open draft pull request: Set FEATURE_FLAG=true" in err
    assert "  undo      the pull request is closed, recorded" in err


def test_an_undo_of_an_update_puts_the_branch_where_it_was():
    change = replace(CARD.change, before={"/tip": "3f2a1c9" + "0" * 33})
    _, err = plain([stamped(ChangeProposed(replace(CARD, change=change)))])
    assert "undo      the branch goes back to 3f2a1c9, the pull request is closed" in err


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_an_edit_or_a_diff_is_only_text(text: str, monkeypatch: pytest.MonkeyPatch):
    edited = (Edited(ObjectRef(text, text, text), text, 3, text, text, text),)
    draft = Drafted(text, text, text, text, edited, (text,))
    card = replace(CARD, diff=hunk("a.yaml", *(f"+{line}" for line in text.split("\n"))))
    screen = "\n".join(rich([draft, ChangeProposed(card)], 80, monkeypatch))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", screen)


# --- waiting for checks -------------------------------------------------------------------------


def test_each_step_of_the_checks_is_told_once():
    _, err = plain(recorded_patch())
    assert re.findall(r"WAITING: pull request: (checks . of 3 passed; running: \w+)", err) == [
        "checks 1 of 3 passed; running: validate",
        "checks 2 of 3 passed; running: validate",
    ]
    checked = [event for event in recorded_patch() if isinstance(event.event, GoalChecked)][1]
    assert plain([checked, checked])[1].count("WAITING") == 1


def test_while_checks_run_nothing_else_seems_to_go_on():
    panel = Pinned(FakeClock())
    whole = recorded_patch()
    waiting = [n for n, each in enumerate(whole) if isinstance(each.event, GoalChecked)][1]
    for each in whole[: waiting + 1]:
        panel.update(each)
    out = io.StringIO()
    Console(file=out, width=80).print(panel)
    assert "▸ waiting for the checks of the pull request" in out.getvalue()


# --- the report ---------------------------------------------------------------------------------


def lines_of(events: Sequence[Stamped]) -> dict[str, tuple[str, ...]]:
    return {section.heading: section.lines for section in sections(events)}


def test_the_document_of_a_patch():
    found = document(recorded_patch())
    assert found["pull_request"] == {"url": "https://github.com/shop/manifests/pull/7", "number": 7}
    assert [row["state"] for row in found["edited"]] == ["changed"] * 12 + ["already so", "skipped"]
    assert found["repository"].startswith("shop/manifests on github.com")
    assert [change["undo"] for change in found["changes"]] == ["smoldebug undo 7f3a1c"] * 2


def ended(number: int, status: ExitStatus, *more: Event) -> dict[str, tuple[str, ...]]:
    """The report of a patch that ends so after so many of its events."""
    events = recorded_patch()
    end = msgspec.structs.replace(events[-1].event, status=status, verdict=None)
    return lines_of([*events[:number], *map(stamped, more), replace(events[-1], event=end)])


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (3, ExitStatus.NOT_MET, "No pull request"),
        (3, ExitStatus.LIMIT, "No pull request; stopped by a limit"),
        (7, ExitStatus.NOT_MET, "Branch pushed, no pull request"),
        (12, ExitStatus.LIMIT, "Pull request open, checks not finished; stopped by a limit"),
        (15, ExitStatus.MET, "Pull request open, checks passed"),
        (15, ExitStatus.INCONCLUSIVE, "Pull request open, checks passed; inconclusive"),
        (3, ExitStatus.MET, "Patch files written, nothing pushed"),
    ],
)
def test_the_verdict_says_how_far_a_patch_got(number: int, status: ExitStatus, words: str):
    assert ended(number, status)["VERDICT"][0] == words


def test_a_failed_check_is_said_with_its_cause():
    failed = verdict(Outcome.NOT_MET, "validate failed: unknown field: evn")
    found = ended(14, ExitStatus.NOT_MET, GoalChecked(0, failed))
    assert found["VERDICT"][0] == "Pull request open, checks not passed"
    assert "pull request is not met: validate failed: unknown field: evn" in found["NEXT"]


def test_checks_that_nobody_has_configured_did_not_pass():
    nothing = verdict(Outcome.MET, "#7 is open at 9ab12cd; no checks are configured")
    results = (*nothing.results[:2], replace(nothing.results[2], value=0.0))
    found = ended(14, ExitStatus.MET, GoalChecked(0, replace(nothing, results=results)))
    assert found["VERDICT"][0] == "Pull request open"


def test_what_was_taken_back_is_no_pull_request():
    undone = (ChangeSettled("C2", "undone", ""), ChangeSettled("C1", "undone", ""))
    found = ended(14, ExitStatus.UNDONE, *undone)
    assert found["VERDICT"][0] == "No pull request; every change taken back and verified"


def test_nothing_but_a_web_address_is_the_address_of_a_pull_request():
    events = recorded_patch()[:11]
    for told in ("opened javascript:alert(1)", "opened", "opened https://a@evil.example/"):
        events[10] = stamped(ChangeSettled("C2", "verified", told))
        assert document(events)["pull_request"] is None


def test_every_beginning_of_a_patch_has_every_report():
    whole_run = recorded_patch()
    for end in range(len(whole_run) + 1):
        assert markdown(whole_run[:end])
        assert handover(whole_run[:end])
        assert document(whole_run[:end])
