"""When other runs on this machine changed something: for limits over time."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from smoldebug.events import Stamped, from_line
from smoldebug.guard import Recent
from smoldebug.ledger import ledger


class _Line(msgspec.Struct):
    record: msgspec.Raw


def recent_changes(runs: Path, own: str) -> Recent:
    """Reads only journals written since then, and of those only the lines about changes. `own` is
    the run that asks, which knows its own. What cannot be read counts as nothing: a journal of
    another version stops nobody."""

    def since(moment: datetime) -> list[datetime]:
        return [
            entry.at
            for path in runs.glob("*/journal.jsonl")
            if path.parent.name != own and _written(path) >= moment.timestamp()
            for entry in ledger(_about_changes(path)).values()
            if entry.touched and entry.at is not None and entry.at > moment
        ]

    return since


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0


def _about_changes(path: Path) -> Iterator[Stamped]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        if b'"event":"Change' in line:
            try:
                yield from_line(bytes(msgspec.json.decode(line, type=_Line).record))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
