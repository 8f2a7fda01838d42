"""Each example says what it shows and shows it; the slow one runs in CI, not here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smoldebug.shipped import shipped

EXAMPLES = sorted(path.parent for path in shipped("examples").glob("*/run.sh"))
COMMAND = Path(sys.executable).parent / "smoldebug"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_a_page_and_one_command(example):
    assert os.access(example / "run.sh", os.X_OK)
    assert "bash run.sh" in (example / "README.md").read_text(encoding="utf-8")
    index = (example.parent / "README.md").read_text(encoding="utf-8")
    assert f"]({example.name}/)" in index


@pytest.mark.skipif(not COMMAND.exists(), reason="the smoldebug command is not installed")
def test_the_local_web_server_is_found_down_and_started_again():
    done = subprocess.run(
        ["bash", str(shipped("examples") / "01-local-web-server" / "run.sh")],
        env={**os.environ, "SMOLDEBUG": str(COMMAND)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert "connection refused" in done.stderr
    assert "started pid" in done.stderr
    assert done.stdout.startswith("VERDICT   Fixed and verified")
