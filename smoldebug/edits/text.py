"""Edits carried out in the text of a file: only the lines they must change change.

`documents` reads a file as kubectl does; `edited` carries operations out in one of its documents.
"""

from smoldebug.edits.marks import parse
from smoldebug.records import Json


def documents(data: bytes) -> list[tuple[int, Json]]:
    """The YAML documents of a file (JSON is YAML) with the line, from 1, on which each begins.
    An empty one is None. Raises ChangeRefused, `line N: why`, for a file that is no YAML, a Go
    template, too large, or that different readers would read differently."""
    file = parse(data)
    found, line, at = [], 1, 0
    for node in file.documents:
        line += file.text.count("\n", at, node.start)
        at = node.start
        found.append((line, node.value))
    return found
