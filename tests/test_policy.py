"""An organisation's policy: where it is read from, what is said of a bad one, when changes may be
made, and what other runs count for. What a policy refuses is in test_guard.py."""

import os
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.cli import program
from smoldebug.cli.recent import recent_changes
from smoldebug.clock import FakeClock
from smoldebug.errors import PlaybookError
from smoldebug.events import ChangeIntended, ChangeProposed, ChangeSettled, Note, Stamp
from smoldebug.journal import Journal
from smoldebug.playbook.models import Freeze, Playbook, Window
from smoldebug.playbook.policy import PolicyFile, load_policies, personal_data, read_policy
from smoldebug.playbook.windows import closed
from smoldebug.preview.explain import table
from smoldebug.records import Card, Change, ChangeKind, ObjectRef
from smoldebug.status import ExitStatus

PAGE = Path(__file__).parent.parent / "docs" / "policy.md"
HEAD = "apiVersion: smoldebug.dev/v1\nkind: Policy\n"
BEGIN = "<!-- keys: made by tests/test_policy.py -->"
END = "<!-- end of keys -->"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "policy.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


# --- where it is read from ------------------------------------------------------------------


def test_both_files_are_in_force(write, tmp_path):
    system, own = write(HEAD, "system.yaml"), write(HEAD + "break_glass: false\n", "own.yaml")
    found = load_policies({"SMOLDEBUG_POLICY": str(own)}, system)
    assert [policy.source for policy in found] == [str(system), str(own)]
    assert [policy.file.break_glass for policy in found] == [True, False]
    assert len(load_policies({"SMOLDEBUG_POLICY": str(system)}, system)) == 1, "the same file"
    assert load_policies({}, tmp_path / "none.yaml") == ()


def test_a_policy_is_named_by_its_path_and_its_bytes(write):
    (one,) = load_policies({}, write(HEAD))
    (other,) = load_policies({}, write(HEAD + "# a comment\n"))
    assert re.fullmatch(rf"{re.escape(one.source)} sha256:[0-9a-f]{{12}}", one.describe)
    assert one.describe != other.describe


def test_a_policy_that_is_named_must_be_there(tmp_path):
    with pytest.raises(PlaybookError, match="none.yaml cannot be read: No such file") as caught:
        load_policies({"SMOLDEBUG_POLICY": str(tmp_path / "none.yaml")}, tmp_path / "no.yaml")
    assert caught.value.status is ExitStatus.USAGE


def test_what_cannot_be_read_is_not_taken_for_nothing(tmp_path):
    broken = tmp_path / "policy.yaml"
    broken.symlink_to(tmp_path / "gone.yaml")
    file = tmp_path / "file"
    file.write_text("")
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (broken, file / "policy.yaml", tmp_path, tmp_path / "pipe.yaml"):
        with pytest.raises(PlaybookError, match="cannot be read"):
            load_policies({}, path)


def test_a_run_that_may_change_something_does_not_begin_without_its_policy(
    write, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    monkeypatch.setenv("SMOLDEBUG_POLICY", str(write(HEAD + "approval: maybe\n")))
    assert program(["triage", "-p", "local-server"]) is ExitStatus.USAGE
    assert "policy.yaml:3:11 approval: unknown value 'maybe'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


# --- what is said of a bad one --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1:1 expected a policy: a map that begins with apiVersion"),
        ("[]", "1:1 expected a policy: a map that begins with apiVersion"),
        ("kind: Policy\n", "1:1 policy: needs apiVersion: The version of this format."),
        (HEAD + "alow: {}\n", "3:1 alow: unknown key; did you mean allow?"),
        (HEAD + "allow: {namespaces: []}\n", "3:21 allow.namespaces: expected a list of text, not"),
        (HEAD + "approval: auto\n", "3:11 approval: unknown value 'auto'"),
        (HEAD + "deny: {targets: [Pod]}\n", "3:18 deny.targets[0]: expected Kind/namespace/name"),
        (HEAD + 'deny: {contexts: ["${{ inputs.x }}"]}\n', "3:19 deny.contexts[0]: expected plain"),
        (HEAD + "deny: {changes: [scael]}\n", "did you mean scale?"),
        (HEAD + "limits: {never_delete: [pods]}\n", "expected a Kind such as Service, got 'pods'"),
        (HEAD + "limits: {wall: 1m}\n", "3:10 limits.wall: unknown key"),
        (HEAD + "limits: {windows: [{to: 25:00}]}\n", "expected a time of day such as 09:00"),
        (HEAD + "name: x\nname: y\n", "4:1 name: is given twice"),
    ],
)
def test_a_bad_policy_is_refused_with_its_place(write, text: str, says: str):
    path = write(text)
    with pytest.raises(PlaybookError) as caught:
        read_policy(path)
    assert str(caught.value).startswith(f"{path}:")
    assert says in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_an_error(tmp_path_factory, content: bytes):
    path = tmp_path_factory.getbasetemp() / "any-policy.yaml"
    for head in (b"", HEAD.encode()):
        path.write_bytes(head + content)
        with suppress(PlaybookError):
            assert read_policy(path).sha256


def test_masked_is_what_playbook_or_policy_names(write):
    policy = read_policy(write(HEAD + "redact: [phone, email]\n"))
    playbook = Playbook(apiVersion="smoldebug.dev/v1", name="x", goal={}, redact=("email", "card"))
    assert personal_data(playbook, [policy]) == ("email", "card", "phone")


# --- the reference --------------------------------------------------------------------------


def test_the_example_of_the_reference_is_a_policy(write):
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        read_policy(write(block))


def test_the_reference_holds_the_table_of_today():
    """To renew it: python tests/test_policy.py"""
    _, _, rest = PAGE.read_text().partition(BEGIN)
    assert rest.partition(END)[0].strip() == table(PolicyFile).strip()


# --- windows and freezes --------------------------------------------------------------------


BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = Window(days=["mon", "fri"], from_="09:00", to="17:00", timezone="Europe/Berlin")
NIGHT = Window(days=["fri"], from_="22:00", to="02:00", timezone="Europe/Berlin")
WEEKEND = Window(days=["sat", "sun"])


@pytest.mark.parametrize(
    ("window", "local", "is_open"),
    [
        (OFFICE, "2026-11-20 08:59", False),
        (OFFICE, "2026-11-20 09:00", True),
        (OFFICE, "2026-11-20 16:59", True),
        (OFFICE, "2026-11-20 17:00", False),
        (OFFICE, "2026-11-19 12:00", False),
        (OFFICE, "2026-07-20 09:00", True),  # summer time
        (NIGHT, "2026-11-20 21:59", False),
        (NIGHT, "2026-11-20 22:00", True),
        (NIGHT, "2026-11-21 01:59", True),  # Saturday: it opened on Friday
        (NIGHT, "2026-11-21 02:00", False),
        (NIGHT, "2026-11-21 23:00", False),
        (NIGHT, "2026-11-20 01:00", False),  # opened on Thursday: no window
        (WEEKEND, "2026-11-22 12:00", True),
        (Window(), "2026-11-20 23:59", True),
        (Window(from_="02:30", to="03:30", timezone="Europe/Berlin"), "2026-03-29 03:15", True),
    ],
)
def test_a_window_is_open_by_the_clock_on_the_wall_there(window, local: str, is_open: bool):
    now = datetime.fromisoformat(local).replace(tzinfo=BERLIN).astimezone(UTC)
    assert (closed([window], [], now) == "") is is_open
    assert closed([WEEKEND, window], [], now) == "" or not is_open


def test_an_hour_that_comes_twice_is_open_twice():
    window = Window(from_="02:00", to="03:00", timezone="Europe/Berlin")
    for utc in ("2026-10-25T00:30Z", "2026-10-25T01:30Z"):
        assert closed([window], [], datetime.fromisoformat(utc)) == ""


@pytest.mark.parametrize(
    ("moment", "frozen"),
    [
        ("2026-12-19T23:59Z", False),
        ("2026-12-20T00:00Z", True),
        ("2027-01-02T23:59Z", True),
        ("2027-01-03T00:00Z", False),
    ],
)
def test_a_freeze_of_dates_is_of_whole_days(moment: str, frozen: bool):
    freeze = Freeze(from_="2026-12-20", to="2027-01-02", reason="year end")
    said = closed([Window()], [freeze], datetime.fromisoformat(moment))
    assert said == ("changes are frozen until 2027-01-02 (year end)" if frozen else "")


def test_a_freeze_of_times_is_of_their_zone():
    freeze = Freeze(from_="2026-11-20T18:00+01:00", to="2026-11-20T20:00+01:00")
    assert closed([], [freeze], datetime(2026, 11, 20, 17, 30, tzinfo=UTC))
    assert not closed([], [freeze], datetime(2026, 11, 20, 19, 0, tzinfo=UTC))


# --- other runs on this machine -------------------------------------------------------------


def record(runs: Path, run: str, clock: FakeClock, state: str) -> datetime:
    """A run that sent one change; when."""
    target = ObjectRef("Deployment", "shop", "auth")
    change = Change(ChangeKind.SCALE, target, {"/spec/replicas": 1}, {"/spec/replicas": 2}, "busy")
    card = Card("C1", change, "", "accepted", "kubectl", "", "lab", "hash")
    stamp = Stamp(run, clock)
    with Journal(runs / run / "journal.jsonl") as journal:
        for event in (ChangeProposed(card), ChangeIntended(card, None), Note("x" * 100)):
            journal.append(stamp(event))
        journal.append(stamp(ChangeSettled("C1", state, "")))
    return clock.now()


def test_changes_of_other_runs_are_found_in_their_journals(tmp_path):
    clock = FakeClock(datetime.now(UTC))
    runs = tmp_path / "runs"
    sent = record(runs, "aaaaaa", clock, "verified")
    record(runs, "bbbbbb", clock, "failed")  # the server's clear no: nothing happened
    own = record(runs, "cccccc", clock, "verified")
    (runs / "dddddd").mkdir()
    (runs / "dddddd" / "journal.jsonl").write_bytes(b'{"event":"ChangeIntended" torn\n\xff')
    recent = recent_changes(runs, "cccccc")
    assert recent(sent - timedelta(hours=1)) == [sent]
    assert recent(sent + timedelta(seconds=1)) == []
    assert recent_changes(runs, "aaaaaa")(sent - timedelta(hours=1)) == [own]
    assert recent_changes(tmp_path / "none", "")(sent) == []


def renew() -> None:
    """Write the generated part of the reference anew."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(PolicyFile)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    renew()
