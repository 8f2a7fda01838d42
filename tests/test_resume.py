"""A run that waits for a yes, or was cut off, goes on; what was approved is what is carried out."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import deployment, practice
from commands import Running, environment
from oncall import MISSED, SYSTEM, OnCall, Said, on_call, replicas_are, scale_to

from smoldebug import journal
from smoldebug.cli.kept import keep, kept
from smoldebug.cli.options import Options
from smoldebug.events import (
    ChangeDecided,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Continued,
    Note,
    RunEnded,
    RunStarted,
    ToolAnswered,
)
from smoldebug.playbook import models
from smoldebug.records import Answer, Usage
from smoldebug.status import ExitStatus

QUICK_TOOL = '''\
from dataclasses import replace
from smoldebug.proposals import propose
from smoldebug.records import ChangeKind, ObjectRef
from smoldebug.toolset import tool

@tool(effect="change", family="quick", changes="scale")
def scale_quickly(ctx, name: str, replicas: int):
    """Scale a Deployment whose pods take no time to come.

    Args:
        name: Its name.
        replicas: How many.
    """
    live = ctx.world.cluster.get(ObjectRef("Deployment", "shop", name))
    wanted = {**live, "spec": {**live["spec"], "replicas": replicas}}
    change = propose(ctx.world.cluster, ChangeKind.SCALE, live, wanted, "it is busy")
    return replace(change, settle=0.2)
'''


@pytest.fixture
def me(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[OnCall]:
    with on_call(tmp_path, monkeypatch, capsys) as made:
        yield made


def waiting(me: OnCall) -> str:
    """A run that waits for a yes to C1; returns the hash on its card."""
    said = me.triage(scale_to(4))
    assert said.code == ExitStatus.NEEDS_APPROVAL
    (proposed,) = me.of(ChangeProposed)
    assert (proposed.card.id, me.ledger["C1"].state, me.replicas) == ("C1", "waiting", 2)
    return str(proposed.card.digest)


# --- approve --------------------------------------------------------------------------------


def test_an_approved_change_is_carried_out_as_it_was_shown_and_meets_the_goal(me: OnCall) -> None:
    digest = waiting(me)
    said = me.smoldebug("runs", "approve", "last", "C1", "--hash", digest)
    assert (said.code, said.out) == (0, f"smoldebug runs resume {me.run}\n")
    assert (me.ledger["C1"].state, me.replicas) == ("approved", 2)
    assert me.smoldebug("runs", "resume", "last", "-o", "jsonl").code == ExitStatus.MET
    assert me.replicas == 4
    assert [event.card.id for event in me.of(ChangeIntended)] == ["C1"]
    assert {event.digest for event in me.of(ChangeDecided)} == {digest}
    assert [event.decision.answer for event in me.of(ChangeDecided)] == [
        Answer.PENDING,
        Answer.YES,
        Answer.YES,
    ]
    assert me.of(ChangeDecided)[-1].decision.who == me.of(Continued)[0].who.user
    assert list(me.ledger) == ["C1"]


def test_a_yes_for_other_bytes_is_refused_and_nothing_is_journaled(me: OnCall) -> None:
    digest = waiting(me)
    before = me.journal.read_bytes()
    other = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    for wrong in (other, digest[:-1], ""):
        said = me.smoldebug("runs", "approve", "last", "C1", "--hash", wrong)
        assert said.code == ExitStatus.NOT_MET
        assert f"this yes is for other bytes: C1 has the hash {digest}" in said.err
    assert me.journal.read_bytes() == before
    assert me.smoldebug("runs", "resume", "last", "-o", "jsonl").code == ExitStatus.NEEDS_APPROVAL
    assert me.replicas == 2


def test_who_approves_sees_the_card_first(me: OnCall) -> None:
    digest = waiting(me)
    before = me.journal.read_bytes()
    said = me.smoldebug("runs", "approve", "last", "C1")
    assert said.code == ExitStatus.NEEDS_APPROVAL
    assert said.out == f"smoldebug runs approve {me.run} C1 --hash {digest}\n"
    for part in (
        "goal      NOT MET",
        "C1 scale Deployment/shop/auth on ",
        "+spec.replicas: 4",
        f"hash      {digest}",
    ):
        assert part in said.err
    assert me.journal.read_bytes() == before


def test_a_limit_is_lifted_by_a_reason_given_again_and_by_no_yes_alone(me: OnCall) -> None:
    glass = ("--break-glass", "INC-7")
    limits = {"rate": {"changes": 0, "per": "1h"}}
    assert me.triage(scale_to(4), options=glass, limits=limits).code == ExitStatus.NEEDS_APPROVAL
    (proposed,) = me.of(ChangeProposed)
    me.smoldebug("runs", "approve", "last", "C1", "--hash", proposed.card.digest)
    assert me.smoldebug("runs", "resume", "last", *glass, "-o", "jsonl").code == ExitStatus.MET
    assert [event.command for event in me.of(Continued)] == ["approve", "resume"]
    decisions = [event.decision for event in me.of(ChangeDecided)]
    assert [each.reason for each in decisions[1:]] == ["runs approve"] * 2
    assert all("limits.rate" in each.lifted for each in decisions)


def test_a_yes_to_what_does_not_wait_is_a_mistake(me: OnCall) -> None:
    digest = waiting(me)
    said = me.smoldebug("runs", "approve", "last", "C2", "--hash", digest)
    assert said.code == ExitStatus.USAGE
    assert "C2 does not wait for a yes; these do: C1" in said.err
    me.smoldebug("runs", "approve", "last", "C1", "--hash", digest)
    again = me.smoldebug("runs", "approve", "last", "C1", "--hash", digest)
    assert (again.code, "these do: none" in again.err) == (ExitStatus.USAGE, True)


def test_a_yes_expires_when_the_field_was_changed_meanwhile(me: OnCall) -> None:
    digest = waiting(me)
    me.smoldebug("runs", "approve", "last", "C1", "--hash", digest)
    me.edit(replicas=3)
    said = me.smoldebug("runs", "resume", "last", "-o", "jsonl")
    assert (said.code, me.replicas) == (ExitStatus.NEEDS_APPROVAL, 3)
    assert me.of(ChangeIntended) == []
    shown = me.of(ChangeProposed)[-1].card
    assert dict(shown.change.before) == {"/spec/replicas": 3}
    assert shown.digest != digest
    assert me.smoldebug("runs", "approve", "last", shown.id, "--hash", shown.digest).code == 0
    assert me.smoldebug("runs", "resume", "last", "-o", "jsonl").code == ExitStatus.MET
    assert me.replicas == 4


def test_other_fields_may_change_before_it_is_carried_out(me: OnCall) -> None:
    digest = waiting(me)
    me.smoldebug("runs", "approve", "last", "C1", "--hash", digest)
    me.edit(minReadySeconds=3)
    assert me.smoldebug("runs", "resume", "last", "-o", "jsonl").code == ExitStatus.MET
    assert (me.replicas, me.now()["spec"]["minReadySeconds"]) == (4, 3)


def test_a_yes_holds_for_the_cluster_it_was_given_for(
    me: OnCall, tmp_path_factory: pytest.TempPathFactory
) -> None:
    digest = waiting(me)
    me.smoldebug("runs", "approve", "last", "C1", "--hash", digest)
    with practice(tmp_path_factory.mktemp("b"), SYSTEM, deployment("auth")) as other:
        Path(me.cluster.kubeconfig).write_text(Path(other.kubeconfig).read_text())
        said = me.smoldebug("runs", "resume", "last", "-o", "jsonl")
    assert said.code == ExitStatus.USAGE
    assert "context lab is another cluster than it was for run" in said.err


# --- resume ---------------------------------------------------------------------------------


def test_a_run_that_was_interrupted_goes_on_with_what_it_had_seen(me: OnCall) -> None:
    me.playbook()
    look = {"calls": [{"get": {"kind": "deployments", "namespace": "shop"}}]}
    wait = {"calls": [{"wait": {"seconds": 30, "why": "it may come"}}]}
    (me.folder / "script.yaml").write_text(str([look, wait]), encoding="utf-8")
    named = ("-p", "mine.yaml", "--kubeconfig", me.cluster.kubeconfig, "-m", "scripted:script.yaml")
    with Running("triage", *named, cwd=me.folder, env=environment(me.folder)) as running:
        running.once(lambda _: me.runs and b"ToolAnswered" in me.journal.read_bytes(), "it looked")
        running.press_ctrl_c(signal.SIGTERM)
        assert running.ended() == ExitStatus.INTERRUPTED
    seen = [event.evidence for event in me.of(ToolAnswered)]
    (me.folder / "script.yaml").write_text(str([scale_to(4)]), encoding="utf-8")
    assert me.smoldebug("runs", "resume", "last", "-y", "-o", "jsonl").code == ExitStatus.MET
    assert me.replicas == 4
    numbers = [event.evidence for event in me.of(ToolAnswered)]
    assert numbers[: len(seen)] == seen
    assert len(set(numbers)) == len(numbers)
    assert [each.seq for each in me.events] == list(range(len(me.events)))
    assert [event.status for event in me.of(RunEnded)] == [ExitStatus.INTERRUPTED, ExitStatus.MET]


def test_what_is_read_after_a_change_is_not_what_was_read_before(me: OnCall) -> None:
    get = {"get": {"kind": "deployments", "namespace": "shop"}}
    me.play({"calls": [get, get, *scale_to(4)["calls"], get]})
    first, again, last = (event.text for event in me.of(ToolAnswered) if event.tool == "get")
    assert again.startswith("as [E")
    assert not last.startswith("as [E")
    assert last != first


def met(me: OnCall) -> Said:
    return me.triage(scale_to(4), options=("-y",))


def handed_over(me: OnCall) -> Said:
    return me.triage()


def undone(me: OnCall) -> Said:
    return me.triage(scale_to(4), options=("-y",), **MISSED)


@pytest.mark.parametrize(
    ("ends", "status"),
    [(met, ExitStatus.MET), (handed_over, ExitStatus.NOT_MET), (undone, ExitStatus.UNDONE)],
)
def test_a_run_that_has_ended_is_not_taken_up_again(
    me: OnCall, ends: Callable[[OnCall], Said], status: ExitStatus
) -> None:
    assert ends(me).code == status
    before = me.journal.read_bytes()
    said = me.smoldebug("runs", "resume", "last")
    assert said.code == ExitStatus.USAGE
    assert f"run {me.run} has ended: " in said.err
    assert me.journal.read_bytes() == before


# --- harm -----------------------------------------------------------------------------------


WEB = {"kind": "Deployment", "namespace": "shop", "name": "web"}


def harm(me: OnCall, *later: dict[str, Any]) -> Said:
    """A first change of web, which breaks a check that held; then what is said later."""
    me.cluster.add(deployment("web", replicas=2))
    (me.folder / "tools").mkdir()
    (me.folder / "tools/quick.py").write_text(QUICK_TOOL, encoding="utf-8")
    steady = {"object": {**WEB, "matches": {"spec": {"replicas": 2}}}}
    return me.triage(
        {"calls": [{"hypothesis": {"id": "H1", "claim": "web is too small"}}]},
        {"calls": [{"scale_quickly": {"name": "web", "replicas": 4}}]},
        *later,
        options=("-y", "--tools", "tools"),
        goal={"all": [replicas_are(4), steady], "within": "10s"},
        change={"targets": ["Deployment/shop/*"]},
        tools={"custom": ["scale_quickly"]},
        limits={"changes": 2},
    )


def test_a_change_that_breaks_what_held_is_taken_back_and_the_agent_goes_on(me: OnCall) -> None:
    said = harm(me, {"calls": [{"scale_quickly": {"name": "auth", "replicas": 4}}]})
    assert said.code == ExitStatus.MET, me.of(Note)
    assert [(e.card, e.state) for e in me.of(ChangeSettled)] == [
        ("C1", "verified"),
        ("C1", "undone"),
        ("C2", "verified"),
    ]
    assert (me.replicas, me.now(name="web")["spec"]["replicas"]) == (4, 2)
    assert any(event.text.startswith("worse than before the change") for event in me.of(Note))


def test_where_all_that_was_changed_went_back_for_its_harm_the_status_says_so(me: OnCall) -> None:
    said = harm(me, {"calls": [{"escalate": {"reason": "nothing else helps"}}]})
    assert said.code == ExitStatus.UNDONE, said.err
    assert me.of(RunEnded)[-1].reason == "nothing else helps; changes undone and verified"
    assert me.now(name="web")["spec"]["replicas"] == 2


def test_events_after_a_resume_are_one_whole_chain(me: OnCall) -> None:
    digest = waiting(me)
    me.smoldebug("runs", "approve", "last", "C1", "--hash", digest)
    me.smoldebug("runs", "resume", "last", "-o", "jsonl")
    events = journal.read(me.journal)
    assert [each.seq for each in events] == list(range(len(events)))
    assert {each.run for each in events} == {me.run}
    assert all(a.elapsed <= b.elapsed for a, b in zip(events, events[1:], strict=False))


# --- what is kept ---------------------------------------------------------------------------


def kept_of(current: str = "lab", **options: Any) -> Options:
    playbook = models.Playbook(apiVersion="smoldebug.dev/v1", name="p", goal=models.Goal())
    plan = models.RunPlan(playbook=playbook, inputs={}, source="p.yaml", folder=".")
    given = keep(plan, Options(**options))
    started = RunStarted("triage", "p", "g", "expert", current, (), "ask", 5.0, Usage(), plan=given)
    found = kept(started)
    assert found.plan == plan
    return found.options


def test_a_yes_and_a_break_glass_are_given_anew_each_time() -> None:
    found = kept_of(yes=True, break_glass="INC-7")
    assert (found.yes, found.break_glass) == (False, "")


def test_a_run_goes_on_in_the_context_that_was_current_then() -> None:
    assert kept_of("lab").context == "lab"
    assert kept_of("lab", context="named").context == "named"
    assert [kept_of(each).context for each in ("", "in-cluster")] == [None, None]


def test_a_folder_of_tools_is_found_from_another_directory() -> None:
    assert kept_of(tools=[Path("mine")]).tools == [Path.cwd() / "mine"]
