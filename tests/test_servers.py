"""Local servers: real processes on loopback, ended only by their record."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smoldebug.appliers import ServerApplier
from smoldebug.clock import Clock, FakeClock, SystemClock
from smoldebug.errors import ChangeFailed, ChangeRefused, ToolError
from smoldebug.records import Change, ChangeKind, ObjectRef
from smoldebug.sources import servers

SLEEP = ["sleep", "300"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where records are kept; the servers recorded there end with the test."""
    yield tmp_path
    for record in tmp_path.rglob("*.json"):
        servers.end(record, grace=0.5)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until(true: Any) -> None:
    for _ in range(500):
        if true():
            return
        SystemClock().sleep(0.01)
    raise AssertionError("it never came to be")


def launch(folder: Path, argv: list[str], cwd: str | None = None) -> int:
    return servers.start(argv, cwd=cwd, log=folder / "web.log", record=folder / "web.json")


# --- starting and ending -------------------------------------------------------------------------


def test_a_started_server_runs_and_is_recorded(folder: Path):
    pid = launch(folder, SLEEP)
    assert servers.running(folder / "web.json") == pid
    assert json.loads((folder / "web.json").read_text()) == {"pid": pid, "started": started(pid)}
    assert os.getpgid(pid) == pid != os.getpgid(0)


def test_an_ended_server_is_gone_with_its_children_and_its_record(folder: Path):
    pid = launch(folder, ["sh", "-c", "sleep 300 & echo $!; wait"])
    until(lambda: (folder / "web.log").read_text())
    child = int((folder / "web.log").read_text())
    assert servers.end(folder / "web.json") == pid
    assert gone(pid)
    until(lambda: gone(child))
    assert not (folder / "web.json").exists()
    assert servers.end(folder / "web.json") is None


def test_a_server_that_ignores_the_request_to_end_is_killed(folder: Path):
    pid = launch(folder, ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
    until(lambda: (folder / "web.log").read_text())
    assert servers.end(folder / "web.json", grace=0.2) == pid
    assert gone(pid)


def test_a_recycled_pid_is_never_ended(folder: Path):
    bystander = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        record = folder / "web.json"
        record.write_text(json.dumps({"pid": bystander.pid, "started": "1"}))
        assert servers.running(record) is None
        assert servers.end(record) is None
        assert bystander.poll() is None
        assert not record.exists()
    finally:
        bystander.kill()
        bystander.wait()


def test_a_dead_process_nobody_waited_for_does_not_run(folder: Path):
    child = subprocess.Popen(SLEEP)
    try:
        record = folder / "web.json"
        record.write_text(json.dumps({"pid": child.pid, "started": started(child.pid)}))
        assert servers.running(record) == child.pid
        child.kill()
        until(lambda: servers.running(record) is None)
        assert servers.end(record) is None
    finally:
        child.wait()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '{"pid": "x", "started": "1"}', '{"pid": 1}', '{"pid": null}']
    + [
        '{"pid": 1, "started": null}',
        '{"pid": -1, "started": "1"}',
        '{"pid": 99999999999}',
        "\xff",
    ],
)
def test_a_broken_record_names_no_process(folder: Path, content: str):
    (folder / "web.json").write_text(content, encoding="latin-1")
    assert servers.running(folder / "web.json") is None
    assert servers.end(folder / "web.json") is None


def test_what_cannot_be_started_says_why(folder: Path):
    with pytest.raises(ToolError, match=r"cannot start no-such-program: .*No such file"):
        launch(folder, ["no-such-program"])
    with pytest.raises(ToolError, match="cannot start"):
        launch(folder, SLEEP, cwd=str(folder / "nowhere"))
    assert not (folder / "web.json").exists()


def test_its_output_goes_to_its_log(folder: Path):
    launch(folder, ["sh", "-c", "pwd; echo oops >&2"], cwd="/")
    until(lambda: servers.last_words(folder / "web.log") == "oops")
    assert (folder / "web.log").read_text() == "/\noops\n"
    assert servers.last_words(folder / "none.log") == "it said nothing"


# --- process-restart -----------------------------------------------------------------------------


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status < 500)
    except OSError:
        return False


def web(argv: list[str], port: int = 1, **after: Any) -> Change:
    url = f"http://127.0.0.1:{port}/"
    return Change(
        ChangeKind.PROCESS_RESTART,
        ObjectRef("Process", "local", "web"),
        {},
        {"/argv": argv, "/url": url, **after},
        "down",
        no_undo="a restarted process cannot be un-restarted",
    )


def serving(port: int) -> Change:
    return web([sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], port)


def applier(folder: Path, answer: Any = answers, clock: Clock | None = None) -> ServerApplier:
    return ServerApplier(folder, clock or SystemClock(), answer)


def test_a_server_is_started_and_restarted_on_the_same_port(folder: Path, port: int):
    made, change = applier(folder), serving(port)
    assert not made.holds(change, "")
    assert made.preview(change, "").diff.startswith("start: ")
    assert made.apply(change, "").startswith("started pid ")
    assert made.holds(change, "")
    first = servers.running(folder / "web.json")
    assert made.apply(change, "").endswith(f" in place of {first}")
    second = servers.running(folder / "web.json")
    assert made.holds(change, "")
    assert second not in (None, first)
    assert gone(int(str(first)))


def test_what_somebody_else_runs_there_is_left_alone(folder: Path, port: int):
    other = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/"))
        made = applier(folder)
        with pytest.raises(ChangeRefused, match="did not start"):
            made.apply(serving(port), "")
        assert other.poll() is None
        assert not made.holds(serving(port), ""), "it answers, but it is not ours"
        assert list(folder.iterdir()) == []
    finally:
        other.terminate()
        other.wait()


def test_a_server_that_dies_at_once_has_its_last_words_told(folder: Path):
    change = web(["sh", "-c", "echo Address already in use; exit 1"])
    made = applier(folder, lambda url: False)
    with pytest.raises(ChangeFailed, match="it ended at once: Address already in use"):
        made.apply(change, "")
    assert not made.holds(change, "")


def test_a_server_that_does_not_answer_does_not_hold(folder: Path):
    clock = FakeClock()
    made = applier(folder / "not" / "there" / "yet", lambda url: False, clock)
    assert made.apply(web(SLEEP), "").startswith("started pid")
    assert 5 <= clock.elapsed < 6
    assert not made.holds(web(SLEEP), "")


def test_it_is_started_in_its_folder(folder: Path):
    made = applier(folder, lambda url: False)
    with pytest.raises(ChangeFailed, match="it ended at once: /$"):
        made.apply(web(["pwd"], **{"/cwd": "/"}), "")


def test_a_restart_that_claims_an_inverse_is_refused(folder: Path):
    change = Change(ChangeKind.PROCESS_RESTART, web([]).target, {}, {"/argv": ["true"]}, "x")
    with pytest.raises(ChangeRefused, match="no inverse"):
        applier(folder).preview(change, "7f3a C1")
