"""`smoldebug runs`: journals in, tables and reports out."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import typer
from recorded_run import recorded_run
from typer.testing import CliRunner, Result

from smoldebug.cli.runs import app
from smoldebug.errors import UsageError
from smoldebug.events import Stamped
from smoldebug.journal import Journal
from smoldebug.report import handover, markdown
from smoldebug.status import ExitStatus

GOLDEN = Path(__file__).parent / "golden"
Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def runs() -> Run:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return call


def keep(home: Path, run: str, events: list[Stamped], age: float = 0.0) -> Path:
    path = home / "runs" / run / "journal.jsonl"
    with Journal(path) as journal:
        for item in events:
            journal.append(item)
    stamp = path.stat().st_mtime - age
    os.utime(path, (stamp, stamp))
    return path


def test_list_says_what_became_of_each_run_newest_first(home: Path, runs: Run):
    keep(home, "aaaaaa", recorded_run(), age=60)
    keep(home, "bbbbbb", recorded_run()[:20])
    rows = json.loads(runs("list", "--output", "json").stdout)
    assert [(row["run"], row["outcome"], row["changes"]) for row in rows] == [
        ("bbbbbb", "killed", 0),
        ("aaaaaa", "met", 1),
    ]


@pytest.mark.parametrize("columns", ["80", "160"])
def test_a_table_has_a_line_for_each_run_that_can_be_read_and_copied(
    home: Path, runs: Run, monkeypatch: pytest.MonkeyPatch, columns: str
):
    monkeypatch.setenv("COLUMNS", columns)
    keep(home, "aaaaaa", recorded_run())
    begun = recorded_run()[0]
    context = "arn:aws:eks:eu-central-1:123456789012:cluster/production-europe"
    long = replace(begun, event=msgspec.structs.replace(begun.event, context=context))
    keep(home, "bbbbbb", [long, *recorded_run()[1:]], age=60)
    lines = runs("list").stdout.splitlines()
    assert [re.split("  +", line) for line in lines] == [
        ["RUN", "BEGAN (UTC)", "PLAYBOOK", "CONTEXT", "OUTCOME", "CHANGES", "TOOK"],
        ["aaaaaa", "11-20 02:13:41", "triage-502", "prod-eu", "met", "1", "44s"],
        ["bbbbbb", "11-20 02:13:41", "triage-502", context, "met", "1", "44s"],
    ]


def test_a_run_is_running_as_long_as_its_process_has_the_journal(home: Path, runs: Run):
    with Journal(home / "runs" / "aaaaaa" / "journal.jsonl") as journal:
        for item in recorded_run()[:20]:
            journal.append(item)
        assert state(runs) == ("running", None)
        assert "still going on" in runs("show", "last").stderr
    assert state(runs) == ("killed", None)
    assert "still going on" not in runs("show", "last").stderr


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (ExitStatus.NOT_MET, "not met"),
        (ExitStatus.UNDONE, "not met, undone"),
        (ExitStatus.UNDO_FAILED, "not met, UNDO FAILED"),
        (ExitStatus.INTERRUPTED, "interrupted, changes stand"),
        (ExitStatus.NEEDS_APPROVAL, "needs approval"),
    ],
)
def test_the_list_says_what_a_run_has_left_behind(
    home: Path, runs: Run, status: ExitStatus, outcome: str
):
    *rest, last = recorded_run()
    event = msgspec.structs.replace(last.event, status=status, outcome="not met")
    keep(home, "aaaaaa", [*rest, replace(last, event=event)])
    assert state(runs) == (outcome, int(status))


def state(runs: Run) -> tuple[str, int | None]:
    (row,) = json.loads(runs("list", "--output", "json").stdout)
    return row["outcome"], row["exit_code"]


def test_list_takes_a_limit_and_says_when_there_is_nothing(home: Path, runs: Run):
    nothing = runs("list")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no runs yet" in nothing.stderr
    for name in ("aaaaaa", "bbbbbb", "cccccc"):
        keep(home, name, recorded_run())
    assert len(json.loads(runs("list", "--limit", "2", "--output", "json").stdout)) == 2


def test_a_journal_that_was_edited_is_listed_as_unreadable(home: Path, runs: Run):
    path = keep(home, "aaaaaa", recorded_run())
    path.write_bytes(path.read_bytes().replace(b"checkout", b"shipping"))
    assert "unreadable" in runs("list").stdout


def test_show_takes_the_beginning_of_an_id_or_last(home: Path, runs: Run):
    keep(home, "7f3a1c", recorded_run())
    report = (GOLDEN / "plain-report.txt").read_text(encoding="utf-8")
    for name in ("7f3", "last", "7f3a1c"):
        assert runs("show", name).stdout == report
    with pytest.raises(UsageError, match="no such run"):
        runs("show", "beef")


def test_show_writes_every_format(home: Path, runs: Run):
    events = recorded_run()
    keep(home, "7f3a1c", events)
    assert runs("show", "last", "-o", "markdown").stdout == markdown(events)
    assert runs("show", "last", "-o", "handover").stdout == handover(events)
    assert json.loads(runs("show", "last", "-o", "json").stdout)["run"] == "7f3a1c"
    assert "VERDICT   Fixed and verified" in runs("show", "last", "-o", "rich").stdout


def test_a_killed_run_is_shown_with_a_torn_last_line(home: Path, runs: Run):
    path = keep(home, "7f3a1c", recorded_run()[:28])
    with path.open("ab") as file:
        file.write(b'{"prev": "0')
    told = runs("show", "last").stdout
    assert told.startswith("VERDICT   Unfinished: killed")
    assert "look whether C1 took effect" in told


def test_help_shows_examples(runs: Run):
    assert "smoldebug runs show last" in runs("show", "--help").stdout
    assert "smoldebug runs list" in runs("list", "--help").stdout
    assert isinstance(app, typer.Typer)
