"""The run's journal: append-only JSONL, hash-chained, one file per run. The source of truth.

Each line is `{"prev": <sha256 of the line before>, "at": ..., "event": {...}}`. A torn last line
(the process was killed while writing) is left out on reading and cut off before appending again.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from smoldebug.errors import UsageError
from smoldebug.events import ChangeIntended, Stamped, encode

GENESIS = "0" * 64


def runs_folder() -> Path:
    """`$SMOLDEBUG_HOME/runs`, else `runs` in the user's state folder. Not created here."""
    if home := os.environ.get("SMOLDEBUG_HOME"):
        return Path(home).expanduser() / "runs"
    from platformdirs import user_state_path

    return user_state_path("smoldebug") / "runs"


def new_run_id() -> str:
    """Six hex digits: short enough to type at 3 am, unique enough for one machine's runs."""
    return secrets.token_hex(3)


class _Line(msgspec.Struct):
    prev: str
    record: Stamped


class Journal:
    """Appends the events of one run.

    A ChangeIntended is on the disk (fsync) when `append` returns: what undoes a change is safe
    before the change is sent. Everything else is flushed, so that a killed process loses nothing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._prev = _cut_torn_line(path)
        self._file = path.open("ab")

    def append(self, stamped: Stamped) -> None:
        line = encode(_Line(self._prev, stamped))
        self._file.write(line + b"\n")
        self._file.flush()
        if isinstance(stamped.event, ChangeIntended):
            os.fsync(self._file.fileno())
        self._prev = hashlib.sha256(line).hexdigest()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> list[Stamped]:
    """All whole events. Raises UsageError when the chain is broken: somebody edited the file."""
    found: list[Stamped] = []
    prev = GENESIS
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            item = msgspec.json.decode(line, type=_Line)
        except msgspec.MsgspecError as error:
            raise UsageError(f"{path}:{number}: not a journal line: {error}") from error
        if item.prev != prev:
            raise UsageError(f"{path}:{number}: the journal's hash chain is broken")
        found.append(item.record)
        prev = hashlib.sha256(line).hexdigest()
    return found


def find(prefix: str) -> Path:
    """The folder of a run by its id, a unique prefix of it, or `last`.

    Raises UsageError when there is none, or several.
    """
    folder = runs_folder()
    runs = [path for path in folder.glob("*") if (path / "journal.jsonl").exists()]
    runs.sort(key=lambda path: (path / "journal.jsonl").stat().st_mtime)
    if prefix == "last" and runs:
        return runs[-1]
    matches = [path for path in runs if path.name.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    what = "several runs start with" if matches else "no such run"
    raise UsageError(f"{what}: {prefix}", hint="`smoldebug runs list` shows them")


def _whole_lines(path: Path) -> Iterator[bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the journal: {error}") from error
    whole, _, _ = data.rpartition(b"\n")
    return iter(whole.split(b"\n") if whole else [])


def _cut_torn_line(path: Path) -> str:
    """Hash of the last whole line; what follows it is cut off, so that appending stays a chain."""
    if not path.exists():
        return GENESIS
    lines = list(_whole_lines(path))
    with path.open("r+b") as file:
        file.truncate(sum(len(line) + 1 for line in lines))
    return hashlib.sha256(lines[-1]).hexdigest() if lines else GENESIS
