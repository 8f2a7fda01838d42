"""Container images of the lab: a name and tag stands for a program on this machine."""

import shutil
import sys

# The pods need the standard library only; the interpreter below a virtual environment starts
# three times as fast as the environment's own.
PYTHON: str = getattr(sys, "_base_executable", None) or sys.executable

_SHOP = "smoldebug.lab.shop"
IMAGES: dict[str, list[str]] = {
    "shop/auth:1.4.2": [PYTHON, "-m", f"{_SHOP}.auth"],
    "shop/checkout:2.3.0": [PYTHON, "-m", f"{_SHOP}.checkout"],
    "shop/catalog:1.9.1": [PYTHON, "-m", f"{_SHOP}.catalog"],
    "shop/web:3.0.4": [PYTHON, "-m", f"{_SHOP}.web"],
    "busybox": [shutil.which("sh") or "/bin/sh"],
    "python": [PYTHON],
}


def entrypoint(image: str) -> list[str] | None:
    """What an image runs, or None when there is no such image.

    The general purpose images exist in every tag, the shop's in the released ones alone.
    """
    return IMAGES.get(image) or IMAGES.get(image.partition(":")[0])
