"""examples/04-upgrade-three-clusters where kubelets, containers and networks are real.

Needs three clusters in $SMOLDEBUG_REAL_KUBECONFIG, and in $SMOLDEBUG_REALCLUSTER the command that
made them and loads images. Images that the test loads are removed from its store, not from the
clusters.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from realhelm import HELMS, SDK

from smoldebug.shipped import shipped

KUBECONFIG = os.environ.get("SMOLDEBUG_REAL_KUBECONFIG", "")
REALCLUSTER = os.environ.get("SMOLDEBUG_REALCLUSTER", "")
HELM = HELMS[0] if HELMS else []


def contexts() -> list[str]:
    if not KUBECONFIG:
        return []
    found = yaml.safe_load(Path(KUBECONFIG).read_text("utf-8"))["contexts"]
    return [each["name"] for each in found]


pytestmark = [
    pytest.mark.realcluster,
    pytest.mark.helm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(len(contexts()) < 3, reason="there are no three real clusters"),
    pytest.mark.skipif(not REALCLUSTER, reason="SMOLDEBUG_REALCLUSTER names no command"),
    pytest.mark.skipif(not HELM, reason="there is no helm"),
]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for the PATH, with a helm unless it is the Python package."""
    commands = {"python3": [sys.executable], "smoldebug": [sys.executable, "-m", "smoldebug"]}
    for name, argv in (commands | ({} if HELM == SDK else {"helm": HELM})).items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {" ".join(argv)} "$@"\n')
        path.chmod(0o755)
    return tmp_path / "bin"


@pytest.fixture
def home() -> Iterator[Path]:
    """Where the clusters keep their images."""
    home = Path(KUBECONFIG).parent.parent
    before = set(home.glob("images/*.tar"))
    yield home
    for image in set(home.glob("images/*.tar")) - before:
        image.unlink()


def test_every_verdict_and_every_offender_is_right_on_real_clusters(programs: Path, home: Path):
    env = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "KUBECONFIG": KUBECONFIG,
        "EXAMPLE_CONTEXTS": ",".join(contexts()[:3]),
        "EXAMPLE_LOAD_IMAGE": f"{sys.executable} {Path(__file__).parent / 'realimages.py'}",
        "REALCLUSTER_HOME": str(home),
    }
    example = shipped("examples") / "04-upgrade-three-clusters/run.sh"
    done = subprocess.run(
        ["bash", str(example)], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if shutil.which("kubectl"):
        for context in contexts()[:3]:
            gone = ["kubectl", "--context", context, "delete", "namespace", "platform"]
            subprocess.run([*gone, "--wait=false"], env=env, check=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
