"""What keeping a budget adds to a call of a model: its worst case reserved, then settled.

    python benchmarks/budget.py [--calls 500] [--processes 8] [--folder .]

Every process makes so many calls on one file, all of them with a day's budget to check, while the
file already holds as many calls of today as --kept says. The comparison is a bare INSERT with a
COMMIT of its own into a file of the same settings (WAL, synchronous NORMAL), in the same run.
"""

import argparse
import os
import sqlite3
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from smoldebug.clock import SystemClock
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import Tokens
from smoldebug.model.budget import Budget
from smoldebug.playbook.base import Money
from smoldebug.playbook.models import Limits
from smoldebug.playbook.settings import Budgets, Price

PRICE = Price(input=Money(1), output=Money(2))
COLUMNS = "{:<36} {:>10} {:>10} {:>10} {:>12}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=500, help="of each process")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--kept", type=int, default=1000, help="calls of today in the file before")
    parser.add_argument("--folder", default=".", help="for the file, on the disk in question")
    options = parser.parse_args()
    print(COLUMNS.format("milliseconds a call", "median", "p99", "longest", "calls/s"))
    for processes in (1, options.processes):
        for name, work in (("reserve and settle", kept), ("bare insert", inserted)):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                path = Path(folder) / "models.db"
                fill(path, options.kept)
                began = time.perf_counter()
                took = sorted(at_once(processes, partial(work, path, options.calls)))
                rate = len(took) / (time.perf_counter() - began)
            numbers = (statistics.median(took), took[int(len(took) * 0.99)], took[-1])
            label = f"{name}, {processes} process{'es' * (processes > 1)}"
            print(COLUMNS.format(label, *(f"{one:.2f}" for one in numbers), f"{rate:.0f}"))


def fill(path: Path, calls: int) -> None:
    with Accounts(path, SystemClock()) as accounts:
        for _ in call(accounts, calls):
            pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bare (at REAL, run TEXT, model TEXT, cost INTEGER)")


def kept(path: Path, calls: int) -> list[float]:
    with Accounts(path, SystemClock()) as accounts:
        took = list(call(accounts, calls))
        if accounts.trouble:
            raise SystemExit(accounts.trouble)
    return took


def call(accounts: Accounts, calls: int) -> Iterator[float]:
    budget = Budget(Limits(cost=Money(1e6)), Budgets(day=Money(1e6)), accounts, "run", "me")
    for _ in range(calls):
        began = time.perf_counter()
        budget.reserve("openai/x", PRICE, 2_000, 2_048).settle(Tokens(2_000, 300, 1_500))
        yield 1000 * (time.perf_counter() - began)


def inserted(path: Path, calls: int) -> list[float]:
    took = []
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = NORMAL")
        for _ in range(calls):
            began = time.perf_counter()
            db.execute("INSERT INTO bare VALUES (?, 'run', 'openai/x', 1)", (time.time(),))
            took.append(1000 * (time.perf_counter() - began))
    return took


def at_once(processes: int, work: Callable[[], list[float]]) -> list[float]:
    """What every one of so many child processes measured, together."""
    pipes = []
    for _ in range(processes):
        reading, writing = os.pipe()
        if not os.fork():
            os.close(reading)
            took = work()
            with os.fdopen(writing, "wb") as out:
                out.write(struct.pack(f"{len(took)}d", *took))
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
    found: list[float] = []
    for reading in pipes:
        with os.fdopen(reading, "rb") as file:
            data = file.read()
        found += struct.unpack(f"{len(data) // 8}d", data)
        os.wait()
    return found


if __name__ == "__main__":
    main()
