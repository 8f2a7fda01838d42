"""A running lab's folder: held by one process, with files that only their owner can read."""

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

from smoldebug.errors import UsageError

LOCK, INFO, TOKEN = "lab.lock", "lab.json", "token"


def claim(folder: Path, until: ExitStack) -> None:
    """Make the folder and hold its lock until `until` closes: the kernel lets go of it however
    the process ends. Raises UsageError when somebody else holds it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (folder / LOCK).open("w")
    until.callback(lock.close)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UsageError(f"a lab already runs in this folder: {folder}") from None


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
