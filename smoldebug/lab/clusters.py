"""Several bare labs as one: a process and a folder for each, one kubeconfig for all of them."""

import contextlib
import os
import signal
from pathlib import Path

import yaml

from smoldebug.errors import UsageError
from smoldebug.lab import control
from smoldebug.lab.control import KUBECONFIG, LabInfo
from smoldebug.lab.folder import write_private
from smoldebug.lab.images import FOLDER as IMAGES
from smoldebug.sources.process import terminate

NAMES = ("eu-staging", "us-staging", "ap-staging", "sa-staging", "af-staging")
_CLUSTERS = "clusters"  # in the lab's folder


def start(folder: Path, count: int, *, dies_with_parent: bool = False) -> list[LabInfo]:
    """Start the first `count` clusters and return when all are ready; none is left when one does
    not come up. Raises UsageError, UnreachableError."""
    folder = folder.absolute()
    check_free(folder)
    launched = []
    try:
        for name in NAMES[:count]:
            options = ["--bare", "--name", name, "--images", str(folder / IMAGES)]
            launched.append(
                control.launch(_place(folder, name), options, dies_with_parent=dies_with_parent)
            )
        infos = [control.ready(lab) for lab in launched]
        write_private(folder / KUBECONFIG, _merged(infos))
    except BaseException:
        for lab in launched:
            terminate(lab.process)
        raise
    return infos


def check_free(folder: Path) -> None:
    """Raises UsageError where a lab or a set of clusters runs already."""
    if find(folder) or control.find(folder):
        raise UsageError(f"a lab already runs in {folder.absolute()}", "smoldebug lab down")


def find(folder: Path) -> list[LabInfo]:
    """The clusters that run in a folder; [] for none, and for a single lab."""
    found = (control.find(_place(folder.absolute(), name)) for name in NAMES)
    return [info for info in found if info]


def pick(folder: Path, name: str) -> Path:
    """The folder of the lab, or of one of its clusters by its name. Raises UsageError."""
    known = {info.name: info.folder for info in find(folder)}
    if not known and not name:
        return folder
    if name not in known:
        which = ", ".join(known) or "none: `lab up --clusters 3` starts some"
        raise UsageError(f"no such cluster: {name or '(none named)'}", f"--cluster: {which}")
    return known[name]


def stop(folder: Path) -> bool:
    """Stop all clusters and wait until they are gone; False when none ran. Raises
    UnreachableError."""
    infos = find(folder)
    for info in infos:  # all at once, so that waiting for one is waiting for all
        with contextlib.suppress(ProcessLookupError):
            os.kill(info.pid, signal.SIGTERM)
            os.kill(info.pid, signal.SIGCONT)  # one that hangs cannot end
    for info in infos:
        control.end(info)
    return bool(infos)


def _place(folder: Path, name: str) -> Path:
    return folder / _CLUSTERS / name


def _merged(infos: list[LabInfo]) -> str:
    """One kubeconfig with a context for each; the first is the current one."""
    configs = [yaml.safe_load(info.kubeconfig.read_text("utf-8")) for info in infos]
    lists = {
        name: [entry for config in configs for entry in config[name]]
        for name in ("clusters", "users", "contexts")
    }
    return yaml.safe_dump(configs[0] | lists, sort_keys=False)
