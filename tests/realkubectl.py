"""Which kubectl this machine has, for the tests that drive it."""

import json
import shutil
import subprocess

import pytest

KUBECTL = shutil.which("kubectl")
OLDEST = 30  # 1.30 is the first whose exec speaks WebSocket; Debian 12 has 1.20


def _minor() -> int:
    if KUBECTL is None:
        return 0
    said = subprocess.run(
        [KUBECTL, "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=20
    )
    version = json.loads(said.stdout)["clientVersion"]["gitVersion"]  # v1.32.4-dispatcher
    return int(version.split(".")[1])


MINOR = _minor()
WHY = f"kubectl 1.{MINOR} is older than 1.{OLDEST}" if MINOR else "there is no kubectl on the PATH"
needs_kubectl = pytest.mark.skipif(MINOR < OLDEST, reason=WHY)
