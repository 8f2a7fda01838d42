"""Local processes: limits hold, groups end, nothing is left behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from smoldebug.errors import ToolError
from smoldebug.sources.process import OUTPUT_LIMIT, PIPE, LocalProcesses, spawn, terminate

RUN = LocalProcesses().run
PY = sys.executable


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process ended (a zombie nobody waits for counts as ended)."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        os.sched_yield()
    return False


def test_a_command_says_what_it_said_and_how_it_ended():
    done = RUN(
        [PY, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"],
        timeout=20,
    )
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert done.seconds > 0


def test_the_time_limit_keeps_the_output_and_kills_the_children_too():
    script = "sleep 300 & echo $!; wait"
    done = RUN(["sh", "-c", script], timeout=0.5)
    assert done.code is None
    assert done.seconds < 5
    assert gone(int(done.stdout))


def test_a_child_left_behind_does_not_outlive_its_command():
    done = RUN(["sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"], timeout=20)
    assert done.code == 0
    assert gone(int(done.stdout))


def test_output_is_bounded():
    done = RUN([PY, "-c", f"print('x' * {3 * OUTPUT_LIMIT})"], timeout=20)
    assert done.code == 0
    assert len(done.stdout) == OUTPUT_LIMIT


@pytest.mark.parametrize("text", ["", "geheim ✓", "x" * 300_000])
def test_what_it_reads_stands_in_no_file_with_a_name(text: str):
    where = "print(len(sys.stdin.read()), os.stat(0).st_nlink)"
    done = RUN([PY, "-c", f"import os, sys; {where}"], timeout=9, stdin=text)
    assert done.stdout.split() == [str(len(text)), "0" if text else "1"]


def test_bytes_that_are_no_text_are_replaced():
    done = RUN([PY, "-c", "import sys; sys.stdout.buffer.write(b'\\xff\\n')"], timeout=20)
    assert done.stdout == "\ufffd\n"


@pytest.mark.parametrize("argv", [[], ["/does/not/exist"], ["no-such-command"], ["echo", "\0"]])
def test_what_cannot_start_is_a_tool_error(argv: list[str]):
    with pytest.raises(ToolError):
        RUN(argv, timeout=1)


def test_a_folder_that_does_not_exist_is_a_tool_error():
    with pytest.raises(ToolError, match="no-such-folder"):
        RUN(["echo"], timeout=1, cwd="/no-such-folder")


def test_terminate_asks_first_and_kills_after_the_grace():
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)\n"
    with spawn([PY, "-c", stubborn + "time.sleep(300)"], stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        terminate(process, grace=0.1)
        assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_a_process_that_dies_with_its_parent_does_so_even_after_kill_9():
    parent = (
        "import sys, time; from smoldebug.sources.process import spawn\n"
        "print(spawn(['sleep', '300'], dies_with_parent=True).pid, flush=True); time.sleep(300)"
    )
    with spawn([PY, "-c", parent], stdout=PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        assert gone(child)


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_a_command_that_is_run_need_not_outlive_whoever_waits_for_it(tmp_path):
    """A Helm that went on alone would apply what has been taken back by then."""
    told = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ > {told}.new; mv {told}.new {told}; exec sleep 300"]
    parent = (
        "from smoldebug.sources.process import LocalProcesses\n"
        f"LocalProcesses(die_with_us=True).run({command!r}, timeout=300)"
    )
    with spawn([PY, "-c", parent]) as process:
        deadline = time.monotonic() + 10
        while not told.exists() and time.monotonic() < deadline:
            os.sched_yield()
        child = int(told.read_text())
        os.kill(process.pid, signal.SIGKILL)
        assert gone(child)
