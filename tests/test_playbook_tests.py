"""`playbooks test`: the playbook of now over a run of then, with docs/playbook-tests.md's word."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as xml

import msgspec
import pytest
import yaml
from crews import ESCALATE, LOOK, Stage, replicas_are, scale_to

from smoldebug import journal
from smoldebug.cli import program
from smoldebug.cli.kept import keep
from smoldebug.cli.options import Options
from smoldebug.clock import FakeClock
from smoldebug.events import (
    ChangeDecided,
    ChangeProposed,
    ChangeSettled,
    Continued,
    ModelAnswered,
    ModelAsked,
    Stamp,
    TurnStarted,
    UndoIntended,
)
from smoldebug.journal import Journal
from smoldebug.playbook import models
from smoldebug.records import Answer, Decision, Who
from smoldebug.replay import expect
from smoldebug.replay.again import Now
from smoldebug.replay.portable import portable
from smoldebug.replay.rehearsal import rehearse
from smoldebug.shipped import shipped
from smoldebug.status import ExitStatus

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/playbook-tests.md").read_text(encoding="utf-8")
EXAMPLE = shipped("examples") / "05-playbook-test/tests/auth-is-too-small"
PLAYBOOK = (shipped("playbooks") / "triage-502.yaml").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(.*?)` \| `(.*?)` \| `(.*?)` \|$", PAGE, re.M)


@pytest.fixture
def test(tmp_path, monkeypatch):
    """A copy of the example's test, below ./tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SMOLDEBUG_POLICY", raising=False)
    return Path(shutil.copytree(EXAMPLE, "tests/auth-is-too-small"))


def said(capsys, *arguments):
    status = program(["playbooks", "test", *map(str, arguments)])
    return status, capsys.readouterr().out


# --- passing and failing ------------------------------------------------------------------------


def test_every_test_below_tests_is_run_where_none_is_named(test, capsys):
    shutil.copytree(test, test.parent / "another")
    status, out = said(capsys)
    assert status == ExitStatus.MET
    assert re.findall(r"^(\S+) ok", out, re.M) == ["tests/another", "tests/auth-is-too-small"]


@pytest.mark.parametrize(("old", "new", "says"), ROWS)
def test_a_playbook_that_would_fare_otherwise_fails_with_a_line(old, new, says, test, capsys):
    assert old in PLAYBOOK
    (test / "playbook.yaml").write_text(PLAYBOOK.replace(old, new, 1))
    status, out = said(capsys, test)
    assert status == ExitStatus.NOT_MET
    assert says in out
    assert re.search(r"^  tests/auth-is-too-small/(playbook|expect)\.yaml(:\d+:\d+)? ", out, re.M)


def test_the_line_is_that_of_the_key(test, capsys):
    (test / "playbook.yaml").write_text(PLAYBOOK.replace("changes: 2", "changes: 0", 1))
    line = PLAYBOOK[: PLAYBOOK.index("changes: 2")].count("\n") + 1
    assert f"playbook.yaml:{line}:3 scale was carried out" in said(capsys, test)[1]


@pytest.mark.parametrize(
    ("old", "new"), [("consecutive: 3", "consecutive: 2"), ("max_steps: 25", "max_steps: 9")]
)
def test_a_playbook_that_fares_the_same_passes(old, new, test, capsys):
    (test / "playbook.yaml").write_text(PLAYBOOK.replace(old, new, 1))
    assert said(capsys, test)[0] == ExitStatus.MET


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outcome": "not met"}, "outcome: expected not met, got met"),
        ({"exit": 1}, "exit: expected 1, got 0"),
        ({"changes": []}, "changes[0]: expected nothing, got scale Deployment/shop/auth verified"),
        ({"causes": []}, "causes: expected no other, got traffic-surge of Deployment/shop/auth"),
        ({"causes": [{"fault": "oom"}]}, "causes[0]: expected oom of nothing named, got"),
        ({"max_turns": 4}, "max_turns: expected at most 4, got 5"),
    ],
)
def test_what_is_expected_is_compared_with_what_happened(changes, says, test, capsys):
    path = test / "expect.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    status, out = said(capsys, test)
    assert status == ExitStatus.NOT_MET
    assert says in out


def test_update_expects_what_happens_now(test, capsys):
    path = test / "expect.yaml"
    before = path.read_text()
    path.write_text(before.replace("exit: 0", "exit: 4").replace("max_turns: 5", "max_turns: 1"))
    assert said(capsys, test, "--update")[0] == ExitStatus.MET
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(before)


@pytest.mark.parametrize("answer", list(Answer))
def test_what_happened_can_be_written_down_and_expected(answer, tmp_path):
    """Whatever became of a change, and whoever decided."""
    by = "nobody" if answer is Answer.PENDING else "operator"
    asked = lambda card: Decision(answer, by)  # noqa: E731
    _, events = kept_run(tmp_path, [scale_to(3), ESCALATE], approver=asked)
    path = tmp_path / "expect.yaml"
    path.write_text(yaml.safe_dump(expect.as_data(expect.happened(events))))
    assert expect.read(path).problems(events) == []


# --- for machines -------------------------------------------------------------------------------


def test_json_and_junit_tell_the_same(test, capsys):
    shutil.copytree(test, test.parent / "broken")
    (test.parent / "broken/expect.yaml").write_text("outcome: fine\n")
    (test / "expect.yaml").write_text("playbook: triage-502\noutcome: met\nexit: 1\n")
    status, out = said(capsys, "tests", "--junit", "junit.xml", "-o", "json")
    rows, suite = json.loads(out), xml.parse("junit.xml").getroot()
    assert status == ExitStatus.USAGE
    assert [(row["test"], row["passed"]) for row in rows] == [
        ("tests/auth-is-too-small", False),
        ("tests/broken", False),
    ]
    assert [case[0].tag for case in suite] == ["failure", "error"]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "1")
    assert suite[0][0].text.split("\n") == rows[0]["problems"]


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("outcome: fine\nexit: 0\n", "expect.yaml:1:10 outcome: unknown value 'fine'"),
        ("outcome: met\n", "needs exit"),
        ("outcome: met\nexit: 0\nchange: []\n", "expect.yaml:3:1 change: unknown key"),
        ("[]", "a map with outcome and exit"),
        ("playbook: nowhere\noutcome: met\nexit: 0\n", "no such playbook: nowhere"),
        ("playbook: ../x.yaml\noutcome: met\nexit: 0\n", "no such file"),
    ],
)
def test_what_is_wrong_with_expect_yaml_is_told_with_its_place(text, says, test, capsys):
    (test / "expect.yaml").write_text(text)
    status, out = said(capsys, test)
    assert status == ExitStatus.USAGE
    assert says in out


def test_a_playbook_that_cannot_be_used_cannot_be_tested(test, capsys):
    (test / "playbook.yaml").write_text(PLAYBOOK.replace("approval: ask", "approval: maybe"))
    status, out = said(capsys, test)
    assert status == ExitStatus.USAGE
    assert "approval: unknown value 'maybe'" in out


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["a", "b", "--record", "last"]])
def test_no_tests_is_bad_input(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    assert program(["playbooks", "test", *arguments]) == ExitStatus.USAGE


# --- recording ----------------------------------------------------------------------------------


SECRET = "hunter2-and-more"


def kept_run(folder, turns, **fields):
    """A run over fakes as a real one is kept: with its plan, by somebody, of some machine."""
    stage = Stage(turns, folder, **fields)
    playbook = folder / "mine.yaml"
    playbook.write_text("the playbook\n")
    plan = msgspec.structs.replace(stage.plan, source=str(playbook), folder=str(folder))
    options = Options(kubeconfig=str(folder / "kubeconfig"), context="fake", api_base="http://m")
    started = msgspec.structs.replace(
        stage.started(),
        plan=keep(plan, options),
        kubeconfig=str(folder / "kubeconfig"),
        cluster="0c4e-uid",
        who=Who("anna", "anna@example.org"),
        policies=("/etc/smoldebug/policy.yaml sha256:1",),
        inputs={"token": SECRET},
    )
    stage.started = lambda: started
    stage.play()
    return stage, journal.read(stage.journal.path)


def test_a_recording_holds_nothing_of_the_machine_and_no_secret(tmp_path):
    stage, events = kept_run(tmp_path, [LOOK, scale_to(2)])
    found = portable(events, {})
    text = repr(found)
    for word in (str(tmp_path), "anna", "0c4e-uid", "policy.yaml", SECRET):
        assert word in repr(events)
        assert word not in text
    assert [each.seq for each in found] == [each.seq for each in events]
    asked = [each.event for each in found if isinstance(each.event, ModelAsked)]
    assert asked
    assert all(not (each.messages or each.endpoint) for each in asked)


def test_what_was_approved_keeps_being_what_is_carried_out(tmp_path):
    """Its hash is another one, of the cluster without its id, the same on card and decision."""
    _, events = kept_run(tmp_path, [scale_to(2)])
    before, after = (
        [
            each.event.digest if isinstance(each.event, ChangeDecided) else each.event.card.digest
            for each in part
            if isinstance(each.event, ChangeDecided | ChangeProposed)
        ]
        for part in (events, portable(events, {}))
    )
    assert len(set(before)) == len(set(after)) == 1
    assert len(after) == 2


def now_of(stage, **changes):
    playbook = msgspec.structs.replace(stage.plan.playbook, **changes)
    plan = msgspec.structs.replace(stage.plan, playbook=playbook)
    return Now(plan, list(stage.agent.toolset.specs.values()))


def test_a_recording_plays_as_the_run_did(tmp_path):
    stage, events = kept_run(tmp_path, [LOOK, scale_to(2)])
    measured = stage.plan.playbook.goal
    found = rehearse(portable(events, {}), now_of(stage), measured)
    assert (found.stopped, found.ended.outcome) == ("", "met")


def test_a_test_is_made_of_a_run_with_its_playbook_or_its_name(test, tmp_path, capsys):
    home = tmp_path / "home/runs/4f1d22"
    home.mkdir(parents=True)
    shutil.copyfile(EXAMPLE / "run/journal.jsonl", home / "journal.jsonl")
    status, out = said(capsys, "tests/new", "--record", "last")
    assert (status, out.startswith("tests/new ok")) == (ExitStatus.MET, True)
    expected, example = (
        yaml.safe_load((folder / "expect.yaml").read_text())
        for folder in (test.parent / "new", EXAMPLE)
    )
    assert expected == example
    assert program(["playbooks", "test", "tests/new", "--record", "last"]) == ExitStatus.USAGE


def test_a_run_that_was_undone_later_is_a_test_up_to_its_own_end(test, tmp_path, capsys):
    run = tmp_path / "home/runs/abc123/journal.jsonl"
    shutil.copytree(test / "run", run.parent)
    events = journal.read(run)
    stamp = Stamp(events[0].run, FakeClock(), len(events), events[-1].elapsed)
    with Journal(run) as kept:
        kept.append(stamp(Continued("undo", Who("anna"))))
        kept.append(stamp(UndoIntended("C1")))
        kept.append(stamp(ChangeSettled("C1", "undone", "as before")))
    status, _ = said(capsys, "tests/new", "--record", "abc123")
    assert status == ExitStatus.MET
    assert len(journal.read(Path("tests/new/run/journal.jsonl"))) == len(events)


def test_a_run_that_was_killed_is_no_test(test, tmp_path, capsys):
    home = tmp_path / "home/runs/4f1d22"
    with Journal(home / "journal.jsonl") as kept:
        for stamped in journal.read(EXAMPLE / "run/journal.jsonl")[:-1]:
            kept.append(stamped)
    assert program(["playbooks", "test", "tests/new", "--record", "last"]) == ExitStatus.USAGE
    assert "did not come to its end by itself" in capsys.readouterr().err
    assert not (test.parent / "new").exists()


# --- a world that is known only so far ------------------------------------------------------------


def test_where_a_run_goes_on_after_its_recording_it_stops(tmp_path):
    stage, events = kept_run(tmp_path, [LOOK], limits=models.Limits(max_steps=1))
    found = rehearse(events, now_of(stage, limits=models.Limits()), stage.plan.playbook.goal)
    assert found.stopped == "it goes on where the recording has ended: record it again"


def test_an_undo_that_was_not_recorded_is_not_known(tmp_path):
    stage, events = kept_run(tmp_path, [scale_to(3), ESCALATE], on_failure="report")
    found = rehearse(events, now_of(stage, on_failure="undo"), stage.plan.playbook.goal)
    assert "does not tell how this ended: run1 undo C1: record it again" in found.stopped


def test_a_goal_of_several_checks_is_judged_by_what_was_measured(tmp_path):
    """One check of it may go, another may not come."""
    there = models.ObjectCheck(kind="Deployment", namespace="shop", name="auth", matches={})
    two = models.Goal(all=[models.Check(object=there)], any=[replicas_are(2)])
    stage, events = kept_run(tmp_path / "two", [scale_to(2)], goal=two)
    one = models.Goal(all=two.all)
    found = rehearse(events, now_of(stage, goal=one), two)
    assert found.ended.outcome == "met"
    other = msgspec.structs.replace(there, name="web")
    more = models.Goal(all=[*two.all, models.Check(object=other)])
    found = rehearse(events, now_of(stage, goal=more), two)
    assert found.stopped.startswith("goal.all[1] was not measured in the recording: ")


def test_a_run_that_cost_more_than_the_playbook_allows_now_fails(test, capsys):
    """As if a model had been asked in it, for money."""
    path = test / "run/journal.jsonl"
    events = journal.read(path)
    place = next(n for n, e in enumerate(events) if isinstance(e.event, TurnStarted)) + 1
    paid = ModelAnswered(1, "openai/x", 0.1, 1000, 100, cost=0.5)
    path.unlink()
    with Journal(path) as kept:
        for stamped in (*events[:place], replace(events[place], event=paid), *events[place:]):
            kept.append(stamped)
    assert said(capsys, test)[0] == ExitStatus.MET
    (test / "playbook.yaml").write_text(PLAYBOOK.replace("cost: $1.00", "cost: $0.10"))
    status, out = said(capsys, test)
    assert status == ExitStatus.NOT_MET
    assert "limits.cost is $0.10; what was recorded has cost $0.50" in out
    assert "playbook.yaml:42:3 " in out


# --- the page -----------------------------------------------------------------------------------


def test_the_commands_of_the_page_run(test, tmp_path, capsys, monkeypatch):
    home = tmp_path / "home/runs/4f1d22"
    home.mkdir(parents=True)
    shutil.copyfile(EXAMPLE / "run/journal.jsonl", home / "journal.jsonl")
    shutil.rmtree(test)
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        arguments = shlex.split(line.removeprefix("$ smoldebug "), comments=True)
        if "--speed" in arguments:
            arguments[arguments.index("--speed") + 1] = "1000"
        assert program(arguments) == ExitStatus.MET, line
    capsys.readouterr()


def test_the_expectations_of_the_page_are_met(test, capsys):
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    (test / "expect.yaml").write_text(block)
    assert said(capsys, test)[0] == ExitStatus.MET
