"""What was spent on models, read from the accounts. Calls under way count at their worst case."""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

By = Literal["day", "model", "run", "user"]

NANO: Final = 10**9  # the unit of the accounts is a billionth of a dollar: sums are never rounded


@dataclass(frozen=True, slots=True)
class Spent:
    """Money in billionths of a dollar."""

    cost: int = 0
    tokens: int = 0
    calls: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.cost + other.cost, self.tokens + other.tokens, self.calls + other.calls)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.cost - other.cost, self.tokens - other.tokens, self.calls - other.calls)


@dataclass(frozen=True, slots=True)
class Group:
    """Calls of one day, model, run or user. `unsettled`: under way, or of a run that was killed
    meanwhile; their `cost` (US dollars) and tokens are the worst case."""

    name: str
    calls: int
    failed: int
    unsettled: int
    tokens_in: int
    cached_in: int  # of tokens_in
    tokens_out: int
    cost: float


def groups(db: sqlite3.Connection, since: float, by: By) -> list[Group]:
    """Everything since a Unix time: days in order, else the dearest first."""
    order = "name" if by == "day" else "spent DESC, name"
    found = db.execute(
        f"SELECT {by} AS name, COUNT(*), SUM(state = 'failed'), SUM(state = 'held'),"
        " SUM(tokens_in), SUM(cached), SUM(tokens_out), SUM(cost) / 1e9 AS spent"
        f" FROM calls WHERE at >= ? GROUP BY name ORDER BY {order}",
        (since,),
    )
    return [Group(*row) for row in found]


def of_run(db: sqlite3.Connection, run: str) -> Spent:
    return _total(db, "run = ?", run)


def today(db: sqlite3.Connection, now: float, user: str) -> Spent:
    """Of one user, on the day of a Unix time."""
    return _total(db, "day = ? AND user = ?", day_of(now), user)


def _total(db: sqlite3.Connection, where: str, *values: str) -> Spent:
    found = db.execute(
        "SELECT COALESCE(SUM(cost), 0), COALESCE(SUM(tokens_in + tokens_out), 0), COUNT(*)"
        f" FROM calls WHERE {where}",
        values,
    )
    return Spent(*found.fetchone())


def day_of(now: float) -> str:
    """The day of a Unix time, in UTC."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
