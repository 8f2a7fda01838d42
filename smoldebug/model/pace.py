"""Requests and tokens a minute, as a provider allows them, over all runs of a user on this machine.

Whoever wants to send gets the earliest moment that fits, in the order they asked, and sleeps until
then, once.
"""

import sqlite3
import threading

from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import ModelFailed
from smoldebug.playbook.settings import ModelSettings
from smoldebug.toolset import Cancelled

MINUTE = 60.0
FURTHEST = 600.0  # seconds ahead; nobody waits as long for a turn


class TooFast(ModelFailed):
    """Nothing was sent, and the provider is well: this run has no time to wait for its turn."""

    def __init__(self, why: str) -> None:
        super().__init__(why, well=True)


class Pace:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def wait(
        self,
        provider: str,
        about: ModelSettings,
        tokens: int,
        seconds_left: float,
        cancel: threading.Event,
    ) -> float:
        """Seconds waited until a request that takes `tokens` to read may be sent.

        Raises TooFast when that takes longer than `seconds_left`, Cancelled when `cancel` is set.
        """
        requests, most = about.requests_per_minute, about.tokens_per_minute
        if not provider or requests is most is None:
            return 0.0
        if most is not None and tokens > most:
            raise TooFast(f"a request of {tokens} tokens is over tokens_per_minute: {most}")

        def turn(db: sqlite3.Connection) -> tuple[int, float]:
            now = self._accounts.now()
            sent = _sent(db, provider, now)
            wait = _earliest(sent, now, requests, most, tokens) - now
            if wait > seconds_left:
                raise TooFast(
                    f"{provider} may be asked again in {wait:.0f} s, and {seconds_left:.0f} s are"
                    " left: requests_per_minute or tokens_per_minute"
                )
            row = db.execute("INSERT INTO sent VALUES (?, ?, ?)", (provider, now + wait, tokens))
            return int(row.lastrowid or 0), wait

        turn_id, wait = self._accounts.change(turn)
        self._accounts.clock.sleep(wait, cancel)
        if cancel.is_set():
            self._accounts.change(
                lambda db: db.execute("DELETE FROM sent WHERE rowid = ?", (turn_id,))
            )
            raise Cancelled("waiting for a provider's rate limit")
        return wait


def _sent(db: sqlite3.Connection, provider: str, now: float) -> list[tuple[float, int]]:
    """(when, tokens) of what still counts, and of the turns given out, in order of time. What lies
    further ahead than anybody waits was written before the clock went back."""
    db.execute("DELETE FROM sent WHERE at <= ? OR at > ?", (now - MINUTE, now + FURTHEST))
    return db.execute(
        "SELECT at, tokens FROM sent WHERE provider = ? ORDER BY at", (provider,)
    ).fetchall()


def _earliest(
    sent: list[tuple[float, int]], now: float, requests: int | None, most: int | None, tokens: int
) -> float:
    """The first moment at which the minute before it has room, beside the turns given out."""
    start = now
    if requests is not None and len(sent) >= requests:
        start = max(start, sent[-requests][0] + MINUTE)
    if most is not None:
        room = most - tokens
        for at, used in reversed(sent):
            room -= used
            if room < 0:
                return max(start, at + MINUTE)
    return start
