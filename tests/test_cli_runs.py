"""`smoldebug runs`: journals in, tables and reports out."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from recorded_run import recorded_run
from typer.testing import CliRunner, Result

from smoldebug.cli.runs import app
from smoldebug.errors import UsageError
from smoldebug.events import Stamped
from smoldebug.journal import Journal
from smoldebug.report import handover, markdown

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
        ("bbbbbb", "interrupted", 0),
        ("aaaaaa", "met", 1),
    ]
    lines = runs("list").stdout.splitlines()
    assert lines[0].split() == [
        "RUN",
        "BEGAN",
        "PLAYBOOK",
        "CONTEXT",
        "OUTCOME",
        "CHANGES",
        "SECONDS",
    ]
    assert lines[2].split() == [
        "aaaaaa",
        "2026-11-20T02:13:41+00:00",
        "triage-502",
        "prod-eu",
        "met",
        "1",
        "44.18",
    ]


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
    with pytest.raises(UsageError, match="chain"):
        runs("show", "aaaaaa")


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
    assert told.startswith("VERDICT   Interrupted")
    assert "look whether C1 took effect" in told


def test_help_shows_examples(runs: Run):
    assert "smoldebug runs show last" in runs("show", "--help").stdout
    assert "smoldebug runs list" in runs("list", "--help").stdout
    assert isinstance(app, typer.Typer)
