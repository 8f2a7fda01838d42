"""A unified diff of many files, short enough for a card: each different edit once, odd ones first.

A hundred files that get the same two lines are one thing to read; the one file where something
else happens is what an approver must see.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smoldebug.untrusted import one_line, plain

LINES = 16  # of hunks on a card; of the first edit at least so many
FILE = "▸"  # begins the line that names a file
WHOLE = "(d shows the whole diff)"


@dataclass(frozen=True, slots=True)
class FileDiff:
    path: str
    hunks: tuple[str, ...]  # lines, from the first @@ on
    added: int
    removed: int
    how: str = ""  # new, deleted, old mode

    @property
    def edit(self) -> tuple[str, ...]:
        """What it takes away and puts there, wherever that is."""
        return tuple(line[0] + line[1:].strip() for line in self.hunks if line[0] in "+-")


def shortened(diff: str) -> str:
    """`12 files, +24 −0`, then one file of each edit, the rarest first."""
    files = list(_files(diff))
    if not files:
        return head(lines(diff))
    alike: dict[tuple[str, ...], list[FileDiff]] = {}
    for file in files:
        alike.setdefault(file.edit, []).append(file)
    told, shown, room = [stat(files)], 0, LINES
    for group in sorted(alike.values(), key=len):
        first = group[0]
        if shown and len(first.hunks) > room:
            break
        told += [_heading(first, len(group) - 1), head(first.hunks, room)]
        shown, room = shown + len(group), room - len(first.hunks)
    if left := len(files) - shown:
        told.append(f"… and {left} more files, edited otherwise {WHOLE}")
    return "\n".join(told)


def head(lines: Sequence[str], most: int = LINES) -> str:
    more = [f"… and {len(lines) - most} more lines {WHOLE}"] if lines[most:] else []
    return "\n".join([*lines[:most], *more])


def stat(files: list[FileDiff]) -> str:
    added, removed = (sum(getattr(file, side) for file in files) for side in ("added", "removed"))
    return f"{len(files)} file{'' if len(files) == 1 else 's'}, +{added} −{removed}"


def lines(diff: str) -> list[str]:
    """Each line of a file as one line that hides nothing of the next."""
    return [plain(line.removesuffix("\r").replace("\r", "␍")) for line in diff.split("\n")]


def _heading(file: FileDiff, more: int) -> str:
    alike = f", the same in {more} more file{'' if more == 1 else 's'}" if more else ""
    how = f"{file.how} " if file.how else ""
    return f"{FILE} {how}{one_line(file.path, 300)}  +{file.added} −{file.removed}{alike}"


def _files(diff: str) -> Iterator[FileDiff]:
    """Nothing for what is no diff of Git's. Only its own lines begin with `diff --git`: those of a
    file begin with a space, + or -."""
    for part in re.split(r"^(?=diff --git )", diff, flags=re.MULTILINE):
        if part.startswith("diff --git "):
            names, *hunks = re.split(r"^(?=@@ )", part, maxsplit=1, flags=re.MULTILINE)
            known = tuple(line for line in lines("".join(hunks)) if line)
            added, removed = (sum(line[0] == sign for line in known) for sign in "+-")
            how = re.search(r"^(?:new|deleted)(?= file )|^old mode", names, re.MULTILINE)
            yield FileDiff(_path(names), known, added, removed, how[0] if how else "")


def _path(names: str) -> str:
    """Where it is now; of a file that is deleted, where it was."""
    named = re.findall(r"^(?:\+\+\+|---) \"?[ab]/(.*?)\"?\t?$", names, re.MULTILINE)
    return named[-1] if named else names.splitlines()[0].removeprefix("diff --git ")
