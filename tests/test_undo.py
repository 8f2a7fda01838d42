"""What a run changed is put back and proven to be back by the run or by `smoldebug undo`."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from clusters import deployment, practice
from commands import Running, environment
from labserver import Kubectl
from oncall import MISSED, SYSTEM, OnCall, on_call, replicas_are, scale_to
from realkubectl import needs_kubectl

from smoldebug.cli.undo import confirmed
from smoldebug.events import ChangeSettled, GoalChecked, UndoBegan, UndoIntended
from smoldebug.journal import Journal, read
from smoldebug.lab.catalog import resource
from smoldebug.past import past
from smoldebug.status import ExitStatus

DEPLOYMENTS = resource("deployments")


@pytest.fixture
def me(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[OnCall]:
    with on_call(tmp_path, monkeypatch, capsys) as made:
        yield made


# --- by the run itself ----------------------------------------------------------------------


def test_a_change_that_does_not_meet_the_goal_is_undone_and_verified(me: OnCall) -> None:
    said = me.triage(scale_to(4), options=("-y",), **MISSED)
    assert said.code == ExitStatus.UNDONE
    assert [event.state for event in me.of(ChangeSettled)] == ["verified", "undone"]
    assert me.replicas == 2
    kinds = [type(each.event) for each in me.events]
    after = kinds[kinds.index(ChangeSettled, kinds.index(UndoBegan)) :]
    assert GoalChecked in after  # measured once more, with everything back


def test_an_undo_that_somebody_elses_edit_blocks_says_whose_it_is(me: OnCall) -> None:
    with me.once(lambda auth: auth["spec"]["replicas"] == 4, lambda: me.edit(replicas=7)):
        said = me.triage(scale_to(4), options=("-y",), **MISSED)
    assert said.code == ExitStatus.UNDO_FAILED
    assert me.replicas == 7
    entry = me.ledger["C1"]
    assert entry.state == "undo blocked"
    assert entry.detail.startswith("spec.replicas: before 2, ours 4, now 7 (set by kubectl-edit ")
    report = (me.journal.parent / "report.md").read_text(encoding="utf-8")
    assert "kubectl-edit" in report


# --- by command -----------------------------------------------------------------------------


def test_undo_puts_back_what_a_run_left_and_reads_it_back(me: OnCall) -> None:
    assert me.triage(scale_to(4), options=("-y",)).code == ExitStatus.MET
    assert me.replicas == 4
    said = me.smoldebug("undo", "last", "-y", "-o", "json")
    assert (said.code, me.replicas) == (ExitStatus.MET, 2)
    (row,) = me.smoldebug("runs", "list", "-o", "json").document
    assert (row["outcome"], row["undone_later"]) == ("met, undone later", ["C1"])
    (change,) = said.document["changes"]
    assert (change["id"], change["state"]) == ("C1", "undone")
    assert me.ledger["C1"].state == "undone"
    assert len(me.of(UndoIntended)) == 1
    again = me.smoldebug("undo", "last", "-y")
    assert (again.code, again.out) == (0, "nothing to undo: no change of this run stands\n")
    assert len(me.of(UndoIntended)) == 1


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    before = me.journal.read_bytes()
    said = me.smoldebug("undo", "last", "--dry-run")
    assert (said.code, me.replicas) == (ExitStatus.MET, 4)
    assert "would be undone" in said.out
    assert "scale deployment/auth --replicas=2" in said.out
    assert me.journal.read_bytes() == before


def test_what_is_as_before_already_is_said_and_nobody_is_asked(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    me.edit(replicas=2)
    for options in (("--dry-run",), ()):
        said = me.smoldebug("undo", "last", *options)
        assert (said.code, said.err) == (ExitStatus.MET, "")
        assert "C1 scale Deployment/shop/auth · lab · as before already" in said.out


def test_only_the_chosen_change_is_undone(me: OnCall) -> None:
    me.triage(scale_to(4, 6), options=("-y",), goal={"all": [replicas_are(6)]})
    assert me.replicas == 6
    assert me.smoldebug("undo", "last", "--change", "C2", "-y").code == 0
    assert "met, partly undone later" in me.smoldebug("runs", "list").out
    assert (me.replicas, me.ledger["C1"].state) == (4, "verified")
    again = me.smoldebug("undo", "last", "--change", "C2", "-y")
    assert (again.code, again.out) == (0, "nothing to undo: C2 is undone\n")
    assert me.smoldebug("undo", "last", "--change", "C1", "-y").code == 0
    assert me.replicas == 2


def test_changes_go_back_in_reverse_order(me: OnCall) -> None:
    me.triage(scale_to(4, 6), options=("-y",), goal={"all": [replicas_are(6)]})
    assert me.smoldebug("undo", "last", "-y").code == 0
    assert [event.card for event in me.of(UndoIntended)] == ["C2", "C1"]
    assert me.replicas == 2


def test_an_older_change_under_a_newer_one_is_blocked_by_it(me: OnCall) -> None:
    me.triage(scale_to(4, 6), options=("-y",), goal={"all": [replicas_are(6)]})
    said = me.smoldebug("undo", "last", "--change", "C1", "-y")
    assert (said.code, me.replicas) == (ExitStatus.UNDO_FAILED, 6)
    assert f"spec.replicas: before 2, ours 4, now 6 (set by smoldebug-{me.run} " in said.out


def test_undo_leaves_alone_what_somebody_else_changed_since(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    me.edit(replicas=7)
    for arguments in (("--dry-run",), ("-y",)):
        said = me.smoldebug("undo", "last", *arguments)
        assert (said.code, me.replicas) == (ExitStatus.UNDO_FAILED, 7)
        for fact in ("undo blocked", "spec.replicas: before 2, ours 4, now 7", "kubectl-edit"):
            assert fact in said.out
    me.edit(replicas=4)
    assert me.smoldebug("undo", "last", "-y").code == 0
    assert me.replicas == 2


@needs_kubectl
@pytest.mark.kubectl
def test_whose_edit_it_is_with_a_real_kubectl(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    kubectl = Kubectl(me.cluster, me.folder)  # type: ignore[arg-type] # it needs the kubeconfig
    kubectl("scale", "deployment/auth", "--replicas=5")
    said = me.smoldebug("undo", "last", "-y")
    assert (said.code, me.replicas) == (ExitStatus.UNDO_FAILED, 5)
    assert "spec.replicas: before 2, ours 4, now 5 (set by kubectl " in said.out


def test_fields_that_a_run_did_not_touch_may_have_changed(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    me.edit(paused=True)
    assert me.smoldebug("undo", "last", "-y").code == 0
    assert (me.replicas, me.now()["spec"]["paused"]) == (2, True)


# --- who says yes ---------------------------------------------------------------------------


def test_without_a_terminal_nobody_can_say_yes(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    before = me.journal.read_bytes()
    said = me.smoldebug("undo", "last")
    assert (said.code, me.replicas) == (ExitStatus.NEEDS_APPROVAL, 4)
    assert "-y" in said.err
    assert me.journal.read_bytes() == before


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y\n", True), ("yes\n", True), ("n\n", False), ("yikes\n", False),
                           ("", False), (None, False)]
)  # fmt: skip
def test_whoever_is_asked_sees_what_would_be_sent_and_says_yes_or_it_is_a_no(
    me: OnCall, capsys: pytest.CaptureFixture[str], answer: str | None, agreed: bool
) -> None:
    me.triage(scale_to(4), options=("-y",))
    would = {"C1": ("would be undone", "-spec.replicas: 4\n+spec.replicas: 2")}
    assert confirmed(past(read(me.journal)), would, lambda seconds, tick: answer) is agreed
    asked = capsys.readouterr().err
    assert "scale Deployment/shop/auth · lab · would be undone" in asked
    assert "   +spec.replicas: 2" in asked
    assert "put back C1 on lab? [y/N]" in asked
    assert asked.endswith("> " if agreed else "nothing was put back\n")


def test_nobody_is_asked_where_nothing_can_be_put_back(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    me.edit(replicas=7)
    said = me.smoldebug("undo", "last")
    assert (said.code, "undo blocked" in said.out, said.err) == (ExitStatus.UNDO_FAILED, True, "")


def test_whoever_is_asked_is_told_what_stays(
    me: OnCall, capsys: pytest.CaptureFixture[str]
) -> None:
    me.triage(scale_to(4, 6), options=("-y",), goal={"all": [replicas_are(6)]})
    found = {"C2": ("undo blocked", "now 9"), "C1": ("would be undone", "")}
    confirmed(past(read(me.journal)), found, lambda seconds, tick: "n\n")
    assert "put back C1 on lab? [y/N]" in capsys.readouterr().err


# --- what cannot be undone from here --------------------------------------------------------


def test_a_change_it_does_not_have_is_a_mistake(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    said = me.smoldebug("undo", "last", "--change", "C7", "-y")
    assert said.code == ExitStatus.USAGE
    assert f"run {me.run} has no change C7; its changes: C1" in said.err
    assert me.replicas == 4


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_journal_that_others_may_write_to_is_read_and_never_acted_on(
    me: OnCall, mode: int
) -> None:
    me.triage(scale_to(4), options=("-y",))
    me.journal.chmod(mode)
    for command in (("undo", "last", "-y"), ("runs", "resume", "last")):
        said = me.smoldebug(*command)
        assert (said.code, me.replicas) == (ExitStatus.USAGE, 4)
        assert "may be written by others: what it says would be sent as you" in said.err
    assert me.smoldebug("runs", "show", "last").code == 0
    me.journal.chmod(0o600)
    me.journal.parent.chmod(0o777)
    assert me.smoldebug("undo", "last", "-y").code == ExitStatus.USAGE
    me.journal.parent.chmod(0o700)
    assert (me.smoldebug("undo", "last", "-y").code, me.replicas) == (0, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_journal_of_another_user_is_never_acted_on(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    os.chown(me.journal, 65534, -1)
    said = me.smoldebug("undo", "last", "-y")
    assert (said.code, me.replicas) == (ExitStatus.USAGE, 4)
    assert "belongs to another user" in said.err


def test_a_run_that_goes_on_is_left_to_itself(me: OnCall) -> None:
    me.playbook()
    arguments = ("triage", "-p", "mine.yaml", "--kubeconfig", me.cluster.kubeconfig)
    with Running(*arguments, cwd=me.folder, env=environment(me.folder)) as running:
        running.once(lambda _: me.runs and me.journal.exists(), "it has a journal")
        for command in (("undo", "last", "-y"), ("runs", "resume", "last")):
            said = me.smoldebug(*command)
            assert said.code == ExitStatus.USAGE
            assert f"this run is still going on: {me.run}" in said.err


def test_another_cluster_under_the_same_context_name_is_not_touched(
    me: OnCall, tmp_path_factory: pytest.TempPathFactory
) -> None:
    me.triage(scale_to(4), options=("-y",))
    before = me.journal.read_bytes()
    with practice(tmp_path_factory.mktemp("b"), SYSTEM, deployment("auth", replicas=4)) as other:
        Path(me.cluster.kubeconfig).write_text(Path(other.kubeconfig).read_text())
        for how in ("-y", "--dry-run"):
            said = me.smoldebug("undo", "last", how)
            assert said.code == ExitStatus.USAGE
            assert f"context lab is another cluster than it was for run {me.run}" in said.err
            assert "hint: nothing was changed" in said.err
        assert other.store.get(DEPLOYMENTS, "shop", "auth")["spec"]["replicas"] == 4
    assert me.journal.read_bytes() == before


def test_a_cluster_that_is_gone_from_the_kubeconfig_is_a_mistake(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    config = Path(me.cluster.kubeconfig)
    config.write_text(config.read_text().replace("lab", "barn"))
    said = me.smoldebug("undo", "last", "-y")
    assert said.code == ExitStatus.USAGE
    assert "unknown context: lab" in said.err


def test_a_run_of_another_version_says_so(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    first, *rest = me.events
    begun = msgspec.structs.replace(first.event, plan={"playbook": "of another shape"})
    me.journal.unlink()
    with Journal(me.journal) as kept:
        for each in (replace(first, event=begun), *rest):
            kept.append(each)
    for command in (("undo", "last", "-y"), ("undo", "last", "--dry-run")):
        said = me.smoldebug(*command)
        assert said.code == ExitStatus.USAGE
        assert "another version of smoldebug made this run: " in said.err
    assert me.replicas == 4
