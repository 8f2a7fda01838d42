"""Globs over the paths of a repository: `deploy/**`, `**/values.yaml`, `deploy`."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache


def matches(path: str, globs: Iterable[str]) -> bool:
    """Whether one of the globs means this file, a path from the repository's root.

    `**` stands for any number of folders, `*`, `?` and `[a-z]` for something inside one name. A
    glob counts from the root; one without any of these is a file, or all that is in a folder.
    """
    return any(_fits(_parts(glob), path.split("/")) for glob in globs)


@lru_cache(maxsize=256)
def _parts(glob: str) -> tuple[str, ...]:
    parts = tuple(part for part in glob.split("/") if part not in ("", "."))
    plain = not any(mark in glob for mark in "*?[")
    return (*parts, "**") if plain or glob.endswith("/") else parts


def _fits(glob: Sequence[str], path: Sequence[str]) -> bool:
    """Greedy. Only the last `**` ever takes one more, so no glob makes this slow."""
    at = place = taken = 0
    last = -1  # of the `**` seen so far
    while place < len(path):
        if at < len(glob) and glob[at] == "**":
            last, taken = at, place
            at += 1
        elif at < len(glob) and fnmatchcase(path[place], glob[at]):
            at, place = at + 1, place + 1
        elif last >= 0:
            taken += 1
            at, place = last + 1, taken
        else:
            return False
    return all(part == "**" for part in glob[at:])
