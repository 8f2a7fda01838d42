"""The run's journal: append-only JSONL, hash-chained, one file per run. The source of truth.

Each line is `{"chain": ..., "record": {...}}`, where `chain` is the SHA-256 of the chain before it
and of the bytes of the record: whoever edits a line breaks it there. A torn last line (the process
was killed while writing) is left out on reading and cut off before appending again.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

import msgspec

from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.events import (
    ChangeIntended,
    Stamped,
    UndoIntended,
    encode,
    from_line,
    to_line,
)
from smoldebug.untrusted import whole

MEANWHILE = "somebody else is going on with this run"
GENESIS = "0" * 64


def runs_folder() -> Path:
    """`$SMOLDEBUG_HOME/runs`, else `runs` in the user's state folder. Not created here."""
    if home := os.environ.get("SMOLDEBUG_HOME"):
        return Path(home).expanduser() / "runs"
    from platformdirs import user_state_path

    return user_state_path("smoldebug") / "runs"


def matrix_folder(id: str) -> Path:
    """Beside the runs: what is kept of several of them together."""
    return runs_folder().parent / "matrices" / id


def new_run_id() -> str:
    """Six hex digits, short enough to type at 3 am, that no run on this machine has."""
    folder = runs_folder()
    while (folder / (run := secrets.token_hex(3))).exists():
        pass
    return run


class _Line(msgspec.Struct):
    chain: str
    record: msgspec.Raw


class Writes(Protocol):
    """What records the events of one run."""

    def append(self, stamped: Stamped) -> None:
        """Raises SmoldebugError when it cannot be written, e.g. because the disk is full."""
        ...

    def close(self) -> None: ...


class Unwritable:
    """In place of a journal whose folder cannot be written: nothing is changed without one."""

    def __init__(self, why: str) -> None:
        self._why = why

    def append(self, stamped: Stamped) -> None:
        raise SmoldebugError(self._why)

    def close(self) -> None:
        pass


def open_journal(folder: Path, after: int | None = None) -> Writes:
    """The journal in a run's folder, which is made; of a run taken up again `after` so many events.

    Raises UsageError where somebody else is, or has been, going on with it.
    """
    try:
        return Journal(folder / "journal.jsonl", after)
    except OSError as error:
        return Unwritable(f"cannot write below {folder.parent}: {error.strerror}")


class Journal:
    """Appends the events of one run. Only its owner may read it: evidence is in there.

    An intent (to change, to undo) is on the disk (fsync) when `append` returns: what undoes a
    change is safe before the change is sent. Everything else is handed to the system, so that a
    killed process loses nothing.
    """

    def __init__(self, path: Path, after: int | None = None) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        new = not path.exists()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0)
        try:
            _lock(self._file)
            lines = list(_whole_lines(path))
            if after not in (None, len(lines)):
                raise UsageError(MEANWHILE)
            self._chain = _cut_torn_line(path, lines)
        except BaseException:
            self._file.close()
            raise
        if new:
            _sync_folder(path.parent)
            _sync_folder(path.parent.parent)

    def append(self, stamped: Stamped) -> None:
        record = _record(stamped)
        chain = _link(self._chain, record)
        line = memoryview(encode(_Line(chain, msgspec.Raw(record))) + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
            if isinstance(stamped.event, ChangeIntended | UndoIntended):
                os.fsync(self._file.fileno())
        except OSError as error:
            self._file.close()  # a torn line: whatever is written after it could not be read
            raise SmoldebugError(f"cannot write the journal: {error.strerror}") from error
        except ValueError as error:
            raise SmoldebugError("the journal could not be written before") from error
        self._chain = chain

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> list[Stamped]:
    """All whole events. Raises UsageError when the chain is broken: somebody edited the file."""
    found, broken = intact(path)
    if broken:
        run = path.parent.name
        raise UsageError(
            broken,
            hint=f"nothing acts on it any more; `smoldebug runs show {run}` tells what the lines "
            "before that one say, and what takes a change back by hand",
        )
    return found


def intact(path: Path) -> tuple[list[Stamped], str]:
    """The events up to the first line that is not as it was written, and what is wrong with that
    one ("" where none is). Raises UsageError when the file cannot be read."""
    found: list[Stamped] = []
    chain = GENESIS
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            item = msgspec.json.decode(line, type=_Line)
            stamped = from_line(bytes(item.record))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return found, f"{path}:{number}: not a journal line: {error}"
        chain = _link(chain, bytes(item.record))
        if item.chain != chain:
            return found, f"{path}:{number}: the journal's hash chain is broken"
        found.append(stamped)
    return found, ""


def head(path: Path) -> str:
    """The hash that stands for the whole journal; GENESIS for an empty one. Raises UsageError."""
    lines = list(_whole_lines(path))
    return msgspec.json.decode(lines[-1], type=_Line).chain if lines else GENESIS


def is_open(path: Path) -> bool:
    """Whether a process holds the journal open: the lock goes with it, however it ends."""
    with suppress(OSError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


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
    complete, _, _ = data.rpartition(b"\n")
    return iter(complete.split(b"\n") if complete else [])


def _lock(file: IO[bytes]) -> None:
    """Nobody else goes on with this run while we do. Raises UsageError where somebody does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(MEANWHILE) from None
    except OSError:  # a file system without locks: the run just looks killed
        return


def _cut_torn_line(path: Path, lines: Sequence[bytes]) -> str:
    """The chain so far; what follows the last whole line is cut off, so that it goes on.

    Raises UsageError when the last whole line is none of a journal's.
    """
    with path.open("r+b") as file:
        file.truncate(sum(len(line) + 1 for line in lines))
    try:
        return msgspec.json.decode(lines[-1], type=_Line).chain if lines else GENESIS
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}:{len(lines)}: not a journal line: {error}") from error


def _record(stamped: Stamped) -> bytes:
    """Whatever is in an event, it is written: without its journal nothing goes on."""
    try:
        return to_line(stamped)
    except UnicodeEncodeError:  # lone surrogates
        return encode(whole(msgspec.to_builtins(stamped)))


def _link(chain: str, record: bytes) -> str:
    return hashlib.sha256(chain.encode() + record).hexdigest()


def _sync_folder(folder: Path) -> None:
    """A new file is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
