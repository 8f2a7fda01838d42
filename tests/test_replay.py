"""`runs replay`: the loop runs again over what was recorded, and says where it differs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from crews import AUTH, ESCALATE, LOOK, Stage, replicas_are, scale_to
from recorded_patch import recorded_patch

from smoldebug import journal
from smoldebug.cli import program
from smoldebug.clock import FakeClock
from smoldebug.events import (
    ChangeDecided,
    ChangeIntended,
    Continued,
    GoalChecked,
    ModelSwitched,
    Note,
    RunEnded,
    Stamp,
    ToolAnswered,
    UndoBegan,
)
from smoldebug.journal import Journal
from smoldebug.past import past
from smoldebug.playbook import models
from smoldebug.records import Answer, Decision, Who
from smoldebug.replay.again import Now, again
from smoldebug.run import run
from smoldebug.shipped import shipped
from smoldebug.status import ExitStatus

RECORDED = shipped("examples") / "05-playbook-test/tests/auth-is-too-small/run/journal.jsonl"


def no(card):
    return Decision(Answer.NO, "operator", "too risky", who="anna")


def later(card):
    return Decision(Answer.PENDING, "nobody", "no terminal to ask on, and no -y")


def now_of(stage):
    return Now(stage.plan, list(stage.agent.toolset.specs.values()))


def replayed(events, now):
    """The events that happen again, and where they differ from there on."""
    found, stream = [], again(events, now)
    while True:
        try:
            found.append(next(stream))
        except StopIteration as stop:
            return found, stop.value


def played(stage):
    """The journal of a run that was played to its end."""
    stage.play()
    return journal.read(stage.journal.path)


def claim(**more):
    quote = {"evidence": "E2", "quote": "auth looks busy"}
    return (
        {"calls": [{"hypothesis": {"id": "H1", "claim": "it is busy", **more}}]}
        | {"thought": "because of its queue"}
        if more
        else {"calls": [{"hypothesis": {"id": "H1", "claim": "x", "supports": [quote]}}]}
    )


RUNS = {
    "met": ([LOOK, scale_to(2)], {}),
    "quotes that hold, and do not": (
        [
            LOOK,
            claim(status="confirmed", supports=[{"evidence": "E2", "quote": "auth looks busy"}]),
            claim(status="confirmed", supports=[{"evidence": "E2", "quote": "auth is idle"}]),
            scale_to(2),
        ],
        {},
    ),
    "handed over": ([LOOK, ESCALATE], {}),
    "a call that is cut off": (
        [{"raw": {"tool": "scale", "arguments": '{"repl'}}, scale_to(2)],
        {},
    ),
    "text without a call": ([{"say": "I would scale it"}, scale_to(2)], {}),
    "a tool that raises": ([{"calls": [{"explode": {"why": "boom"}}]}, scale_to(2)], {}),
    "several calls in a turn": ([{"calls": [*LOOK["calls"], *scale_to(2)["calls"]]}], {}),
    "declined": ([scale_to(2), ESCALATE], {"approver": no}),
    "nobody to ask": ([scale_to(2), ESCALATE], {"approver": later}),
    "approval: auto": ([scale_to(2)], {"approval": "auto"}),
    "refused by the guard": ([scale_to(50), scale_to(2)], {}),
    "taken back": ([scale_to(3), ESCALATE], {}),
    "left as it is": ([scale_to(3), ESCALATE], {"on_failure": "report"}),
    "out of turns": ([LOOK, LOOK, LOOK], {"limits": models.Limits(max_steps=2)}),
    "watched": (
        [scale_to(2)],
        {"goal": models.Goal(all=[replicas_are(2)], consecutive=3, every=models.Duration(5))},
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_the_same_way_again(name, tmp_path):
    turns, fields = RUNS[name]
    stage = Stage(turns, tmp_path, **fields)
    events = played(stage)
    assert replayed(events, now_of(stage)) == (events, "")


def test_nothing_is_looked_at_changed_or_written_meanwhile(tmp_path):
    stage = Stage([LOOK, scale_to(3), ESCALATE], tmp_path)
    events = played(stage)
    before = stage.journal.path.read_bytes(), list(stage.ran), stage.cluster.requests[:]
    replayed(events, now_of(stage))
    assert (stage.journal.path.read_bytes(), stage.ran, stage.cluster.requests) == before


def test_a_model_that_failed_fails_again_and_the_next_goes_on(tmp_path):
    from smoldebug.model.scripted import ScriptedModel

    second = ScriptedModel([scale_to(2)], "second")
    stage = Stage([LOOK, {"fail": "503"}], tmp_path, fallback=[second])
    events = played(stage)
    assert any(isinstance(each.event, ModelSwitched) for each in events)
    assert replayed(events, now_of(stage)) == (events, "")


def test_the_last_models_failure_ends_it_again(tmp_path):
    stage = Stage([LOOK, {"fail": "503"}], tmp_path)
    stage.agent.chain = stage.chain(last=stage.model)
    events = played(stage)
    assert events[-1].event.status is ExitStatus.UNREACHABLE
    assert replayed(events, now_of(stage)) == (events, "")


@pytest.mark.parametrize("after", [GoalChecked, ToolAnswered])
def test_a_run_that_the_operator_stopped_stops_there_again(after, tmp_path):
    stage = Stage([LOOK, scale_to(3), LOOK], tmp_path)
    stream = stage.stream()
    with stage.journal:
        for stamped in stream:
            if isinstance(stamped.event, after) and stamped.event.turn == 2:
                stage.signals.stop.set()
    events = journal.read(stage.journal.path)
    assert events[-1].event.status is ExitStatus.INTERRUPTED
    assert replayed(events, now_of(stage)) == (events, "")


def test_a_killed_run_is_replayed_as_far_as_it_came(tmp_path):
    stage = Stage([LOOK, scale_to(2)], tmp_path)
    events = played(stage)
    for length in range(1, len(events)):
        assert replayed(events[:length], now_of(stage)) == (events[:length], "")


def go_on(stage, kept):
    """What `runs resume` does with a journal."""
    before = past(journal.read(kept.path))
    stage.agent.take_up(before)
    stage.crew = replace(stage.crew, journal=kept)
    list(run(stage.plan, stage.crew, Continued("resume", Who("anna")), before))


def test_a_run_that_was_taken_up_again_is_replayed_part_by_part(tmp_path):
    """It waited for a yes, got one, and was gone on with by another process."""
    first = Stage([LOOK, scale_to(2)], tmp_path, approver=later)
    events = played(first)
    stamp = Stamp("run1", first.clock, len(events), events[-1].elapsed)
    card = next(each.event for each in events if isinstance(each.event, ChangeDecided))
    given = Decision(Answer.YES, "operator", "runs approve", "anna")
    again_ = Stage([ESCALATE], tmp_path / "again", cluster=first.cluster)
    again_.clock.elapsed = first.clock.elapsed + 60
    with again_.journal, Journal(first.journal.path) as kept:
        kept.append(stamp(Continued("approve", Who("anna"))))
        kept.append(stamp(ChangeDecided("C1", card.digest, given)))
        go_on(again_, kept)
    events = journal.read(first.journal.path)
    assert events[-1].event.status is ExitStatus.MET
    assert replayed(events, now_of(first)) == (events, "")


def test_a_process_that_was_killed_between_intent_and_outcome(tmp_path):
    """Whoever took it up found the change applied, and took it back: so it is found again."""
    first = Stage([scale_to(3), ESCALATE], tmp_path)
    events = played(first)
    place = next(n for n, e in enumerate(events) if isinstance(e.event, ChangeIntended))
    again_ = Stage([ESCALATE], tmp_path / "again", cluster=first.cluster)
    first.cluster.objects[AUTH]["spec"]["replicas"] = 3
    with again_.journal as kept:
        for stamped in events[: place + 1]:
            kept.append(stamped)
        go_on(again_, kept)
    events = journal.read(kept.path)
    assert any(isinstance(each.event, UndoBegan) for each in events)
    assert replayed(events, now_of(first)) == (events, "")


def test_an_approved_change_that_was_refused_before_it_was_sent_is_refused_again(tmp_path):
    """Somebody else had changed the same field until the run was gone on with."""
    first = Stage([scale_to(2)], tmp_path, approver=later)
    events = played(first)
    first.cluster.objects[AUTH]["spec"]["replicas"] = 4
    given = Decision(Answer.YES, "operator", "runs approve", "anna")
    card = next(each.event for each in events if isinstance(each.event, ChangeDecided))
    stamp = Stamp("run1", first.clock, len(events), events[-1].elapsed)
    again_ = Stage([ESCALATE], tmp_path / "again", cluster=first.cluster)
    with again_.journal, Journal(first.journal.path) as kept:
        kept.append(stamp(Continued("approve", Who("anna"))))
        kept.append(stamp(ChangeDecided("C1", card.digest, given)))
        go_on(again_, kept)
    events = journal.read(first.journal.path)
    assert any(e.event.text.startswith("REFUSED") for e in events if isinstance(e.event, Note))
    assert replayed(events, now_of(first)) == (events, "")


def test_a_run_that_was_late_is_late_again_by_whatever_it_was(tmp_path):
    """Milliseconds between two events are in no journal: as if all were spent on an approval."""
    goal = models.Goal(all=[replicas_are(9)], within=models.Duration(12), every=models.Duration(5))
    stage = Stage([scale_to(3)], tmp_path, goal=goal, limits=models.Limits(max_steps=1))
    events = played(stage)
    assert "within 12 s" in events[-1].event.reason
    place = next(n for n, e in enumerate(events) if isinstance(e.event, ChangeDecided))
    delayed = [replace(e, elapsed=e.elapsed + 0.004 * (n == place)) for n, e in enumerate(events)]
    assert replayed(delayed, now_of(stage)) == (delayed, "")


# --- differences ------------------------------------------------------------------------------


def stricter(stage, **limits):
    playbook = msgspec.structs.replace(stage.plan.playbook, limits=models.Limits(**limits))
    return replace(now_of(stage), plan=msgspec.structs.replace(stage.plan, playbook=playbook))


def test_where_a_replay_first_differs_is_told_in_a_sentence(tmp_path):
    stage = Stage([LOOK, scale_to(2)], tmp_path)
    events = played(stage)
    found, difference = replayed(events, stricter(stage, changes=0))
    assert found == events[: len(found)]
    assert difference == (
        f"event {len(found)} differs: recorded ChangeProposed C1 scale "
        "Deployment/shop/auth; replayed ToolAnswered 2 scale REFUSED by the guard: it would change "
        "more than limits.changes objects: 0. Nothing changed."
    )


def altered(events, kind, **changes):
    """The recording with one event as if it had been otherwise."""
    place = next(n for n, e in enumerate(events) if isinstance(e.event, kind))
    event = msgspec.structs.replace(events[place].event, **changes)
    return [*events[:place], replace(events[place], event=event), *events[place + 1 :]]


def test_the_field_that_differs_is_named(tmp_path):
    stage = Stage([LOOK, scale_to(2)], tmp_path)
    events = altered(played(stage), RunEnded, reason="it went away by itself")
    _, difference = replayed(events, now_of(stage))
    assert difference == (
        f"event {len(events) - 1} differs: RunEnded.reason: recorded it went away by itself; "
        "replayed the goal is met"
    )


def test_a_run_that_goes_on_after_its_recorded_end_differs(tmp_path):
    stage = Stage([LOOK, ESCALATE], tmp_path)
    events = played(stage)
    ended = replace(events[-1], seq=len(events) - 2)
    found, difference = replayed([*events[:-2], ended], now_of(stage))
    assert (len(found), "differs: recorded RunEnded" in difference) == (len(events) - 2, True)


def test_a_tool_that_is_gone_is_named(tmp_path):
    stage = Stage([LOOK, scale_to(2)], tmp_path)
    events = played(stage)
    tools = [spec for spec in stage.agent.toolset.specs.values() if spec.name != "look"]
    _, difference = replayed(events, Now(stage.plan, tools))
    assert "offers no look, which the recording uses" in difference


def test_a_recording_with_an_event_too_few_or_too_many_differs_and_never_crashes(tmp_path):
    stage = Stage([LOOK, scale_to(3), ESCALATE], tmp_path)
    events = played(stage)
    for place in range(1, len(events) - 1):
        for other in (
            [*events[:place], *events[place + 1 :]],
            [*events[:place], events[place], *events[place:]],
            [*events[:place], events[place + 1], events[place], *events[place + 2 :]],
        ):
            found, difference = replayed(other, now_of(stage))
            assert found == other[: len(found)]
            assert difference or found == other


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The run of the example, as one of this machine."""
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    (tmp_path / "runs/4f1d22").mkdir(parents=True)
    shutil.copyfile(RECORDED, tmp_path / "runs/4f1d22/journal.jsonl")
    return tmp_path


def test_a_run_is_replayed_in_any_view_and_ends_as_it_did(home, capsys):
    assert program(["runs", "replay", "last", "-o", "plain"]) == ExitStatus.MET
    said = capsys.readouterr()
    assert said.out.startswith("VERDICT   Fixed and verified")
    assert said.err.endswith(f"replayed: {len(journal.read(RECORDED))} events, same verdict\n")


def test_twice_it_prints_the_same_bytes_with_the_recorded_times(home, capsys):
    printed = []
    for _ in range(2):
        assert program(["runs", "replay", "4f1d", "-o", "jsonl"]) == ExitStatus.MET
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    times = [json.loads(line)["elapsed"] for line in printed[0].splitlines()]
    assert times == [each.elapsed for each in journal.read(RECORDED)]


def test_a_journal_is_replayed_by_its_path(tmp_path, monkeypatch):
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    assert program(["runs", "replay", str(RECORDED), "-o", "json"]) == ExitStatus.MET
    assert list(tmp_path.iterdir()) == []


def rewritten(path: Path, events):
    path.unlink()
    with Journal(path) as kept:
        for stamped in events:
            kept.append(stamped)


def test_a_difference_is_exit_1(home, capsys):
    path = home / "runs/4f1d22/journal.jsonl"
    rewritten(path, altered(journal.read(path), RunEnded, reason="luck"))
    assert program(["runs", "replay", "last", "-o", "jsonl"]) == ExitStatus.NOT_MET
    assert "RunEnded.reason: recorded luck; replayed the goal is met" in capsys.readouterr().err


def test_a_killed_run_ends_as_one(home, capsys):
    path = home / "runs/4f1d22/journal.jsonl"
    rewritten(path, journal.read(path)[:9])
    assert program(["runs", "replay", "last", "-o", "plain"]) == ExitStatus.INTERRUPTED
    assert "replayed: 9 events, the recording ends here" in capsys.readouterr().err


def test_a_run_that_was_killed_twice_ends_as_killed(home, capsys):
    path = home / "runs/4f1d22/journal.jsonl"
    events = journal.read(path)[:9]
    again_ = Stamp(events[0].run, FakeClock(), len(events))(Continued("resume", Who("anna")))
    rewritten(path, [*events, again_])
    assert program(["runs", "replay", "last", "-o", "jsonl"]) == ExitStatus.INTERRUPTED
    assert "replayed: 10 events, the recording ends here" in capsys.readouterr().err


def test_a_run_with_edits_is_shown_and_says_so(home, capsys):
    """Its journal does not hold the repository."""
    tools, goal = {"git": {}}, {"all": []}
    playbook = {"apiVersion": "smoldebug.dev/v1", "name": "x", "goal": goal, "tools": tools}
    plan = {"playbook": playbook, "inputs": {}, "source": "x", "folder": "."}
    path = home / "runs/4f1d22/journal.jsonl"
    started, *rest = recorded_patch()
    kept = {"plan": plan, "options": {}}
    event = msgspec.structs.replace(started.event, plan=kept)
    rewritten(path, [replace(started, event=event), *rest])
    status = program(["runs", "replay", "last", "-o", "plain"])
    assert status == rest[-1].event.status
    assert "the loop was not run again" in capsys.readouterr().err


def test_a_run_that_is_still_going_on_is_not_replayed(home, capsys):
    with Journal(home / "runs/4f1d22/journal.jsonl"):
        assert program(["runs", "replay", "last"]) == ExitStatus.USAGE
    assert "still going on: 4f1d22" in capsys.readouterr().err


def test_an_edited_journal_is_not_replayed(home, capsys):
    path = home / "runs/4f1d22/journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"auth", b"host", 1))
    assert program(["runs", "replay", "last"]) == ExitStatus.USAGE
    assert "hash chain is broken" in capsys.readouterr().err
