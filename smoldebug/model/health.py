"""Which providers are out of order, remembered over all runs of a user on this machine.

Three failures in a row, and a provider is left alone for 30 seconds; then one run tries it, and
where that fails too the pause doubles, up to 10 minutes. Any answer ends it.
"""

import secrets
import sqlite3
from dataclasses import astuple, dataclass
from datetime import UTC, datetime

from smoldebug.model.accounts import Accounts
from smoldebug.untrusted import one_line

FAILURES = 3  # in a row, over all runs
PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds
TRIAL = 60.0  # seconds that one run has to try it, before another may
FORGOTTEN = 600.0  # seconds after which an outage says nothing about now


@dataclass(frozen=True, slots=True)
class _Outage:
    """The columns of `outages` after the provider."""

    failures: int = 0
    pause: float = 0.0
    until: float = 0.0
    trial: str = ""
    why: str = ""


class Health:
    """As one run sees it: the trial it was given is its own until it ends."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts, self._me = accounts, secrets.token_hex(8)

    def closed_until(self, provider: str) -> datetime | None:
        """Until when it is not to be asked; None where it may be. After a pause one run hears None
        and is to try it, the others are told to wait for that."""
        if not provider:
            return None  # in this process: there is no network to fail
        until = self._accounts.change(lambda db: self._until(db, provider))
        return datetime.fromtimestamp(until, UTC) if until else None

    def why(self, provider: str) -> str:
        """What the last failure in a row was; "" where there is none."""
        now = self._accounts.now()
        return self._accounts.change(lambda db: _outage(db, provider, now)).why

    def failed(self, provider: str, why: str) -> None:
        """It did not answer, for a reason that every question to it would meet."""
        if provider:
            self._accounts.change(lambda db: self._count(db, provider, one_line(why)))

    def worked(self, provider: str) -> None:
        if provider:
            self._accounts.change(
                lambda db: db.execute("DELETE FROM outages WHERE provider = ?", (provider,))
            )

    def _until(self, db: sqlite3.Connection, provider: str) -> float:
        """Unix time; 0 where it may be asked."""
        now = self._accounts.now()
        known = _outage(db, provider, now)
        if now < known.until:
            return 0.0 if known.trial == self._me else known.until
        if known.pause:
            db.execute(
                "UPDATE outages SET until = ?, trial = ? WHERE provider = ?",
                (now + TRIAL, self._me, provider),
            )
        return 0.0

    def _count(self, db: sqlite3.Connection, provider: str, why: str) -> None:
        now = self._accounts.now()
        known = _outage(db, provider, now)
        if now < known.until and known.trial != self._me:
            return  # asked before the pause began, or before somebody else's trial
        failures = known.failures + 1
        pause = min(2 * known.pause, LONGEST_PAUSE)
        if not pause and failures >= FAILURES:
            pause = PAUSE
        row = _Outage(failures, pause, now + pause, "", why)
        db.execute("REPLACE INTO outages VALUES (?, ?, ?, ?, ?, ?)", (provider, *astuple(row)))


def _outage(db: sqlite3.Connection, provider: str, now: float) -> _Outage:
    """What is known and still counts; what lies further ahead than any pause was written before the
    clock went back."""
    found = db.execute(
        "SELECT failures, pause, until, trial, why FROM outages WHERE provider = ?",
        (provider,),
    ).fetchone()
    known = _Outage(*found) if found else _Outage()
    counts = now - FORGOTTEN <= known.until <= now + LONGEST_PAUSE
    return known if counts else _Outage()
