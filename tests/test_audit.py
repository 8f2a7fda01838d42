"""Who did what is provable afterwards, what left the machine is known, and without a place to
record it nothing is changed."""

import json
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelserver import ModelServer, calls
from oncall import MISSED, OnCall, Said, on_call, scale_to

from smoldebug.events import (
    AnyEvent,
    ChangeIntended,
    ChangeSettled,
    ModelAsked,
    RunStarted,
    ToolCalled,
)
from smoldebug.status import ExitStatus

KEY = "sk-proj-" + "Tq7vXw2LmN8sRk4Zb1Yc6Hd3" * 2
PASSWORD = "Vb9kQz3xLw7t"


@pytest.fixture
def me(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[OnCall]:
    with on_call(tmp_path, monkeypatch, capsys) as made:
        yield made


# --- the journal ----------------------------------------------------------------------------


def test_a_whole_journal_says_who_approved_and_changed_what(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    me.smoldebug("undo", "last", "-y")
    said = me.smoldebug("runs", "verify", "last", "-o", "json")
    assert (said.code, said.document["whole"]) == (ExitStatus.MET, True)
    assert said.document["events"] == len(me.events)
    (begun,) = me.of(RunStarted)
    digest = me.ledger["C1"].card.digest
    user = begun.who.user
    assert [item["what"] for item in said.document["by"]] == [
        "triage on lab",
        f"C1 approved by operator {user}: -y · hash {digest}",
        "C1 sent: scale Deployment/shop/auth",
        "C1 verified",
        "undo",
        "C1 taking back",
        "C1 undone",
    ]
    assert {item["who"] for item in said.document["by"]} == {str(begun.who)}
    shown = me.smoldebug("runs", "verify", "last").out
    assert f"hash {digest}" in shown
    assert f"head {said.document['head']}" in shown


def test_the_head_stands_for_every_byte_before_it(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    head = me.smoldebug("runs", "verify", "last", "-o", "json").document["head"]
    me.smoldebug("undo", "last", "-y")
    assert me.smoldebug("runs", "verify", "last", "-o", "json").document["head"] != head
    chains = [json.loads(line)["chain"] for line in me.journal.read_text().splitlines()]
    assert head in chains


EDITS = {
    "a value": lambda lines: [line.replace(b'"replicas"', b'"replicaz"') for line in lines],
    "a line left out": lambda lines: [*lines[:4], *lines[5:]],
    "two lines changed about": lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
    "a line of its own": lambda lines: [*lines[:4], lines[1], *lines[4:]],
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_journal_names_the_line_and_nothing_is_undone_from_it(
    me: OnCall, edit: str
) -> None:
    me.triage(scale_to(4), options=("-y",))
    was = me.journal.read_bytes().splitlines(keepends=True)
    now = EDITS[edit](was)
    me.journal.write_bytes(b"".join(now))
    first = next(n for n, (a, b) in enumerate(zip(was, now, strict=False), start=1) if a != b)
    said = me.smoldebug("runs", "verify", "last")
    assert said.code == ExitStatus.NOT_MET
    assert f"journal.jsonl:{first}: the journal's hash chain is broken" in said.out
    found = me.smoldebug("runs", "verify", "last", "-o", "json").document
    assert (found["whole"], found["head"], found["by"]) == (False, "", [])
    for command in (("undo", "last", "-y"), ("runs", "resume", "last")):
        said = me.smoldebug(*command)
        assert (said.code, "hash chain is broken" in said.err) == (ExitStatus.USAGE, True)
        assert f"`smoldebug runs show {me.run}` tells what the lines before" in said.err
    assert me.replicas == 4


def test_of_an_edited_journal_the_lines_before_are_shown_with_what_to_do_by_hand(
    me: OnCall,
) -> None:
    me.triage(scale_to(4), options=("-y",))
    lines = me.journal.read_bytes().splitlines(keepends=True)
    me.journal.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b"goal", b"gaol")]))
    for output in ("plain", "markdown", "handover", "json"):
        said = me.smoldebug("runs", "show", "last", "-o", output)
        assert said.code == ExitStatus.NOT_MET
        assert said.err.startswith("WARNING: ")
        assert f"journal.jsonl:{len(lines)}: the journal's hash chain is broken" in said.err
        assert "scale deployment/auth --replicas=2" in said.out
        for refused in ("smoldebug undo", "smoldebug runs resume"):
            assert refused not in said.out
    shown = me.smoldebug("runs", "show", "last", "-o", "plain").out
    assert "VERDICT   Unfinished" in shown
    assert re.search("^RECORD +INCOMPLETE from .* on: edited: .*chain is broken$", shown, re.M)
    me.journal.write_bytes(b"x\n")
    nothing = me.smoldebug("runs", "show", "last")
    assert (nothing.code, "not a journal line" in nothing.err) == (ExitStatus.USAGE, True)


def test_the_end_of_a_torn_line_is_no_edit(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    with me.journal.open("ab") as file:
        file.write(b'{"chain": "12')
    assert me.smoldebug("runs", "verify", "last").code == ExitStatus.MET
    assert me.smoldebug("undo", "last", "-y").code == ExitStatus.MET
    assert me.smoldebug("runs", "verify", "last").code == ExitStatus.MET


def test_only_its_owner_may_read_a_journal(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    assert me.journal.stat().st_mode & 0o077 == 0
    assert me.journal.parent.stat().st_mode & 0o077 == 0


# --- what left the machine ------------------------------------------------------------------


def test_a_secret_that_a_call_holds_is_in_no_report_of_it(me: OnCall) -> None:
    call = {"namespace": "shop", "object": f"password={PASSWORD}"}
    me.triage({"calls": [{"events": call}]})
    assert [event.tool for event in me.of(ToolCalled)][0] == "events"
    for form in ("plain", "json", "markdown"):
        assert PASSWORD not in me.smoldebug("runs", "show", "last", "-o", form).out
    assert PASSWORD not in me.journal.read_text(encoding="utf-8")


def test_what_was_sent_is_shown_word_for_word_and_holds_no_secret(
    me: OnCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    containers = me.now()["spec"]["template"]["spec"]["containers"]
    containers[0]["env"] = [
        {"name": "DB_PASSWORD", "value": PASSWORD},
        {"name": "DB_URL", "value": f"postgres://shop:{PASSWORD}@db/shop"},
        {"name": "MODE", "value": "fast"},
    ]
    me.edit(template={"spec": {"containers": containers}})
    script = [
        calls(fetch_k8s_manifest={"kind": "deployment", "name": "auth", "namespace": "shop"}),
        calls(scale={**scale_to(4)["calls"][0]["scale"]}),
    ]
    with ModelServer(script) as server:
        model = ("-m", "openai/some-model", "--api-base", server.url)
        assert me.triage(options=("-y", *model)).code == ExitStatus.MET
    shown = me.smoldebug("runs", "show", "last", "--show-sent")
    assert shown.code == 0
    texts = [
        text for body in server.asked for message in body["messages"] for text in said(message)
    ]
    assert len(server.asked) == 2
    assert any("MODE" in text for text in texts)
    for text in texts:
        assert text in shown.out, text
    asked = me.smoldebug("runs", "show", "last", "--show-sent", "-o", "json").document
    assert [each["model"] for each in asked] == [event.model for event in me.of(ModelAsked)]
    assert [each["messages"] for each in asked] == [
        list(event.messages) for event in me.of(ModelAsked)
    ]
    sent = [each["text"] for event in me.of(ModelAsked) for each in event.messages]
    assert len(sent) == len(set(sent))  # each once
    assert set(sent) == {text for text in texts if text}
    for secret in (PASSWORD, KEY):
        assert secret not in json.dumps(server.asked)
        assert secret not in shown.out
        assert secret.encode() not in me.journal.read_bytes()


def said(message: dict[str, Any]) -> list[str]:
    """The texts of a message of a request, and its calls."""
    calls = [each["function"] for each in message.get("tool_calls") or []]
    texts = [message.get("content"), *(f"{each['name']} {each['arguments']}" for each in calls)]
    return [text for text in texts if text]


def test_the_expert_sends_nothing(me: OnCall) -> None:
    me.triage(options=("-m", "expert"))
    shown = me.smoldebug("runs", "show", "last", "--show-sent")
    assert (shown.code, shown.out) == (0, "")
    assert shown.err == "no model was asked: nothing left this machine for one\n"
    assert me.smoldebug("runs", "show", "last", "--show-sent", "-o", "json").document == []


# --- where nothing can be recorded ----------------------------------------------------------


def test_a_folder_that_cannot_be_written_changes_nothing_and_says_why(me: OnCall) -> None:
    (me.folder / "home").write_text("in the way")  # root may write anywhere, but not below a file
    said = me.triage(scale_to(4), options=("-y", "-o", "plain"))
    assert (said.code, me.replicas) == (ExitStatus.NOT_MET, 2)
    assert "cannot write below" in said.err
    assert "from here on nothing new is changed" in said.err
    assert "REFUSED, since what undoes it cannot be recorded" in said.err
    assert said.out.startswith("VERDICT   Not fixed")
    assert "REPORT    not kept: Not a directory" in said.out


def test_an_undo_that_cannot_be_recorded_sends_nothing_and_says_why(me: OnCall) -> None:
    me.triage(scale_to(4), options=("-y",))
    done = limited(me, me.journal.stat().st_size, "undo", "last", "-y")
    assert (done.code, me.replicas) == (ExitStatus.UNDO_FAILED, 4), done.err
    assert "C1 scale Deployment/shop/auth · lab · undo failed" in done.out
    assert "nothing was sent: cannot write the journal: File too large" in done.out
    assert me.smoldebug("undo", "last", "-y").code == ExitStatus.MET
    assert me.replicas == 2


def test_a_yes_that_cannot_be_recorded_is_none(me: OnCall) -> None:
    me.triage(scale_to(4))
    size, digest = me.journal.stat().st_size, me.ledger["C1"].card.digest
    done = limited(me, size, "runs", "approve", "last", "C1", "--hash", digest)
    assert (done.code, me.ledger["C1"].state) == (ExitStatus.NOT_MET, "waiting")
    assert done.err == "smoldebug: cannot write the journal: File too large\n"


@pytest.mark.parametrize(
    ("full_from", "sent"), [(RunStarted, False), (ChangeIntended, False), (ChangeSettled, True)]
)
def test_a_disk_that_fills_up(me: OnCall, full_from: type[AnyEvent], sent: bool) -> None:
    """From the middle of that line on nothing can be written."""
    assert me.triage(scale_to(4), options=("-y",)).code == ExitStatus.MET
    room = 0
    for line, stamped in zip(me.journal.read_bytes().split(b"\n"), me.events, strict=False):
        room += len(line) // 2 if isinstance(stamped.event, full_from) else len(line) + 1
        if isinstance(stamped.event, full_from):
            break
    me.journal.parent.rename(me.folder / "before")
    me.made_anew()  # so that the next journal is as long, line for line
    named = ("-p", "mine.yaml", "--kubeconfig", me.cluster.kubeconfig, "-m", "scripted:script.yaml")
    done = limited(me, room, "triage", *named, "-y", "-o", "plain")
    assert me.replicas == (4 if sent else 2)
    assert done.code == (ExitStatus.MET if sent else ExitStatus.NOT_MET)
    assert "cannot write the journal: File too large: from here on nothing new " in done.err
    assert done.out.startswith("VERDICT   Fixed" if sent else "VERDICT   Not fixed")
    if sent:  # what is on the disk is enough to take it back
        assert me.smoldebug("undo", "last", "-y").code == ExitStatus.MET
        assert me.replicas == 2


def test_what_a_full_disk_has_no_record_of_is_taken_back_all_the_same_and_said(me: OnCall) -> None:
    assert me.triage(scale_to(4), options=("-y",), **MISSED).code == ExitStatus.UNDONE
    room = 0
    for line, stamped in zip(me.journal.read_bytes().split(b"\n"), me.events, strict=False):
        room += len(line) + 1
        if isinstance(stamped.event, ChangeIntended):
            break
    room += 30  # the times of another run may take more digits
    me.journal.parent.rename(me.folder / "before")
    me.made_anew()
    named = ("-p", "mine.yaml", "--kubeconfig", me.cluster.kubeconfig, "-m", "scripted:script.yaml")
    done = limited(me, room, "triage", *named, "-y", "-o", "plain")
    assert (done.code, me.replicas) == (ExitStatus.UNDONE, 2)
    assert "C1 undone" in done.err
    (record,) = [line for line in done.out.splitlines() if line.startswith("RECORD ")]
    assert "INCOMPLETE from " in record
    assert "cannot write the journal: File too large: from here on nothing new" in record
    shown = me.smoldebug("runs", "show", "last").out
    assert "look whether C1 took effect" in shown
    for options in (("-y",), ("--dry-run",), ()):
        again = limited(me, room, "undo", "last", *options)
        assert again.code == ExitStatus.MET
        assert "C1 scale Deployment/shop/auth · lab · as before already" in again.out


def test_of_a_report_that_does_not_fit_nothing_stays(me: OnCall) -> None:
    me.triage(scale_to(4))
    named = ("-p", "mine.yaml", "--kubeconfig", me.cluster.kubeconfig, "-m", "scripted:script.yaml")
    me.journal.parent.rename(me.folder / "before")
    done = limited(me, 100, "triage", *named, "-o", "plain")
    assert "REPORT    not kept: File too large" in done.out
    assert not list(me.journal.parent.glob("report*"))


def limited(me: OnCall, size: int, *arguments: str) -> Said:
    """A command, while none of the files that this process writes may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        return me.smoldebug(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
