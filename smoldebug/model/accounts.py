"""What all runs of a user on this machine share: what was spent, what was sent, who was out of
order. One SQLite file, safe under many threads and processes.

A file that cannot be used (corrupt, unwritable, full disk) costs no run: it goes on with accounts
of its own, in memory, and says so. Whoever must know what others spent asks for `trouble`.
"""

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from smoldebug.clock import Clock
from smoldebug.journal import runs_folder

BUSY = 10.0  # seconds to wait for others that are writing; a write takes a millisecond

CALLS = """
CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    at REAL NOT NULL,          -- Unix time
    day TEXT NOT NULL,         -- UTC, 2026-11-21
    run TEXT NOT NULL,
    user TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,       -- held, answered or failed
    cost INTEGER NOT NULL,     -- billionths of a dollar; while held, the worst case
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cached INTEGER NOT NULL    -- of tokens_in
)"""
# All that a day's budget asks for: the calls themselves need not be read.
TODAY = "CREATE INDEX today ON calls (day, user, cost, tokens_in, tokens_out)"
SENT = "CREATE TABLE sent (provider TEXT NOT NULL, at REAL NOT NULL, tokens INTEGER NOT NULL)"
OUTAGES = """
CREATE TABLE outages (
    provider TEXT PRIMARY KEY,
    failures INTEGER NOT NULL, -- in a row
    pause REAL NOT NULL,       -- seconds it is left alone; 0: it is asked
    until REAL NOT NULL,       -- Unix time: end of the pause, or of the trial after it
    trial TEXT NOT NULL,       -- who tries it
    why TEXT NOT NULL
)"""
# What brings a file from one version to the next. Never edit one: append.
VERSIONS = ((CALLS, TODAY, SENT, OUTAGES),)

T = TypeVar("T")


def accounts_file() -> Path:
    """`$SMOLDEBUG_HOME/models.db`, else beside the folder of the runs. Not created here."""
    return runs_folder().parent / "models.db"


class Accounts:
    """The file is opened, and made, when first used."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self.clock = path, clock
        self.trouble = ""  # one sentence: why these are accounts of this run alone
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None

    def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` answers, in a transaction that no other process is in. It may be called
        twice: again in memory, where the file failed. What it raises takes its changes back."""
        with self._lock:
            if not self.trouble:
                try:
                    return self._transaction(work)
                except (sqlite3.Error, OSError) as error:
                    self._close()
                    self.trouble = f"cannot keep accounts in {self.path}: {error}"
            return self._transaction(work)

    def now(self) -> float:
        """Unix time, which other processes know too."""
        return self.clock.now().timestamp()

    def close(self) -> None:
        with self._lock:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._open is None:
            self._open = _memory() if self.trouble else _file(self.path)
        with _alone(self._open) as connection:
            return work(connection)


@contextmanager
def _alone(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _file(path: Path) -> sqlite3.Connection:
    """Raises sqlite3.Error or OSError. What SQLite puts beside the file gets its mode."""
    if not path.exists():
        _make(path)
    connection = _connected(str(path))
    try:
        # a power cut may lose the last calls, never the file; a killed process loses nothing
        connection.execute("PRAGMA synchronous = NORMAL")
        _upgrade(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    """It appears whole, readable for its owner only: SQLite does not wait for another process that
    is just beginning the same file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, draft = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    os.close(number)
    try:
        with closing(_connected(draft)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            _upgrade(connection)
        with suppress(FileExistsError):  # another process was faster
            os.link(draft, path)
    finally:
        Path(draft).unlink()


def _memory() -> sqlite3.Connection:
    connection = _connected(":memory:")
    _upgrade(connection)
    return connection


def _connected(name: str) -> sqlite3.Connection:
    return sqlite3.connect(name, timeout=BUSY, isolation_level=None, check_same_thread=False)


def _upgrade(connection: sqlite3.Connection) -> None:
    if _version(connection) == len(VERSIONS):
        return
    with _alone(connection):
        known = _version(connection)  # another process may have been faster
        if known > len(VERSIONS):
            raise sqlite3.DatabaseError("a newer version of smoldebug wrote it")
        for statement in chain.from_iterable(VERSIONS[known:]):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(VERSIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
