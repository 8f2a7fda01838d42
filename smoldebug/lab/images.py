"""Container images of the lab: a name and tag stands for a program on this machine.

Images can be loaded: a folder that stands for the image's file system, and a command. Absolute
paths that exist there are found where a command or an argument names them, and where a variable
names a file; relative ones begin in the folder.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from smoldebug.errors import UsageError

# The pods need the standard library only; the interpreter below a virtual environment starts
# three times as fast as the environment's own.
PYTHON: str = getattr(sys, "_base_executable", None) or sys.executable

FOLDER = "images"  # in a lab's folder
_COMMAND, _ROOT = "command.json", "root"
_NAME = re.compile(r"[a-z0-9][\w.-]*([/:@][\w.-]+)*")
_SHOP = "smoldebug.lab.shop"
IMAGES: dict[str, list[str]] = {
    "shop/auth:1.4.2": [PYTHON, "-m", f"{_SHOP}.auth"],
    "shop/checkout:2.3.0": [PYTHON, "-m", f"{_SHOP}.checkout"],
    "shop/catalog:1.9.1": [PYTHON, "-m", f"{_SHOP}.catalog"],
    "shop/web:3.0.4": [PYTHON, "-m", f"{_SHOP}.web"],
    "busybox": [shutil.which("sh") or "/bin/sh"],
    "python": [PYTHON],
}


@dataclass(frozen=True, slots=True)
class Image:
    """What an image runs, and its file system; None where it has none of its own."""

    command: Sequence[str]
    root: Path | None = None

    def real(self, path: str) -> Path | None:
        """Where an absolute path that exists in the image really is."""
        if self.root is None:
            return None
        found = self.root / path.lstrip("/")
        return found if found.exists() else None


def find(name: str, loaded: Path) -> Image | None:
    """The image of this name, or None: among those in `loaded`, else one of the lab's own.

    The general purpose images exist in every tag, the shop's in the released ones alone.
    """
    place = loaded / quote(name, safe="")
    if _NAME.fullmatch(name) and (place / _COMMAND).exists():
        return Image(json.loads((place / _COMMAND).read_text("utf-8")), place / _ROOT)
    command = IMAGES.get(name) or IMAGES.get(name.partition(":")[0])
    return Image(command) if command else None


def load(loaded: Path, name: str, folder: Path, command: Sequence[str]) -> None:
    """Copy a folder into `loaded` as the image `name`, whose containers run `command`; pods that
    start from now on find it. Raises UsageError."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise UsageError(f"this is no name of an image: {name}", "such as shop/services:2.4.0")
    if not folder.is_dir():
        raise UsageError(f"there is no such folder: {folder}", "it holds the image's files")
    if loaded.is_relative_to(folder.resolve()):
        raise UsageError(f"the lab itself is in this folder: {folder}")
    if not command:
        raise UsageError(f"what does the image {name} run?", "load-image NAME FOLDER -- COMMAND...")
    loaded.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=loaded) as scratch:
        new, old, place = Path(scratch) / "new", Path(scratch) / "old", loaded / quote(name, "")
        try:
            shutil.copytree(folder, new / _ROOT, symlinks=True)
        except (OSError, shutil.Error) as error:
            raise UsageError(f"this folder cannot be copied: {folder}: {error}") from None
        (new / _COMMAND).write_text(json.dumps(list(command)), "utf-8")
        if place.exists():
            place.rename(old)
        new.rename(place)
