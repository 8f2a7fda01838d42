"""Budgets of a run and of a day: reserved before a call, settled after it, never exceeded."""

import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as testing
from hypothesis import strategies as st

from smoldebug.clock import FakeClock
from smoldebug.model import accounts as shared
from smoldebug.model.accounts import Accounts, accounts_file
from smoldebug.model.asking import FREE, Tokens
from smoldebug.model.budget import Budget, Hold, OverBudget, cost_of
from smoldebug.playbook.base import Money
from smoldebug.playbook.models import Limits
from smoldebug.playbook.settings import Budgets, Price
from smoldebug.records import Usage
from smoldebug.status import ExitStatus
from smoldebug.usage import dollars

PRICE = Price(input=Money(1), output=Money(10), cached=Money(0.1))  # $ per million tokens
ROOMY = Limits(cost=Money(1000))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    with Accounts(tmp_path / "models.db", FakeClock(NOON)) as opened:
        yield opened


def budget(
    accounts: Accounts, limits: Limits = ROOMY, run: str = "run1", user: str = "me", **day: float
) -> Budget:
    kept = Budgets(
        day=Money(day["day"]) if "day" in day else None,
        day_tokens=int(day["day_tokens"]) if "day_tokens" in day else None,
    )
    return Budget(limits, kept, accounts, run, user)


def call(of: Budget, tokens: Tokens, name: str = "openai/x", price: Price = PRICE) -> float:
    return of.reserve(name, price, tokens.into, tokens.out).settle(tokens)


def rows(path: Path, what: str = "*") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {what} FROM calls").fetchall()


# --- one run --------------------------------------------------------------------------------


def test_a_call_costs_what_its_tokens_cost_and_cached_ones_less(accounts: Accounts) -> None:
    mine = budget(accounts)
    assert call(mine, Tokens(100_000, 10_000)) == pytest.approx(0.2)
    assert call(mine, Tokens(100_000, 10_000, cached=90_000)) == pytest.approx(0.119)
    assert mine.spent == (pytest.approx(0.319), 220_000, 2)


def test_without_a_price_of_its_own_a_cached_token_costs_as_any_other(accounts: Accounts) -> None:
    price = Price(input=Money(1), output=Money(10))
    assert call(budget(accounts), Tokens(100_000, 0, cached=90_000), price=price) == 0.1


def test_the_worst_case_is_refused_before_it_is_sent(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(cost=Money(1)))
    call(mine, Tokens(70_000, 90_000))
    with pytest.raises(OverBudget) as refused:
        mine.reserve("openai/x", PRICE, 20_000, 10_000)
    assert str(refused.value) == (
        "limits.cost: $0.97 of $1.00 is used, this call may cost up to $0.12"
    )
    assert refused.value.status is ExitStatus.LIMIT
    mine.reserve("openai/x", PRICE, 20_000, 1_000)


def test_calls_side_by_side_do_not_spend_the_same_dollar(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(cost=Money(1)))
    first = mine.reserve("openai/x", PRICE, 0, 60_000)
    with pytest.raises(OverBudget):
        mine.reserve("openai/x", PRICE, 0, 60_000)
    first.settle(Tokens(0, 100))
    mine.reserve("openai/x", PRICE, 0, 60_000)


def test_tokens_and_calls_have_limits_too(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(tokens=1000, calls=2))
    with pytest.raises(OverBudget, match="limits.tokens: 0 of 1000 tokens are used, this call"):
        mine.reserve("openai/x", PRICE, 500, 501)
    call(mine, Tokens(10, 10))
    mine.reserve("openai/x", PRICE, 10, 10).failed(Tokens())
    with pytest.raises(OverBudget, match="limits.calls: 2 of 2 calls are used, this would be o"):
        mine.reserve("openai/x", PRICE, 10, 10)


def test_a_failed_call_costs_what_it_used(accounts: Accounts) -> None:
    mine = budget(accounts)
    assert mine.reserve("openai/x", PRICE, 100_000, 10_000).failed(Tokens(100_000)) == 0.1
    assert mine.spent == (0.1, 100_000, 1)


def test_what_is_free_is_asked_also_where_too_much_was_spent_before(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(cost=Money(1)))
    mine.restore(Usage(cost=2.0))
    mine.reserve("here/x", FREE, 10_000, 10_000).settle(Tokens(10, 10))


def test_what_costs_next_to_nothing_costs_something() -> None:
    assert cost_of(Price(input=Money("0.0001"), output=Money(0)), Tokens(1, 0)) == 1


def test_another_try_of_a_call_needs_as_much_room_again(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(cost=Money("0.25")))
    hold = mine.reserve("openai/x", PRICE, 100_000, 0)
    assert [hold.again(), hold.again()] == [True, False]
    assert hold.settle(Tokens(120_000, 0)) == pytest.approx(0.12)
    assert mine.spent == (pytest.approx(0.12), 120_000, 2)
    assert not hold.again()  # nobody waits for it any more
    assert {state for (state,) in rows(accounts.path, "state")} == {"answered", "failed"}


def test_what_is_settled_is_settled_once(accounts: Accounts) -> None:
    mine = budget(accounts)
    hold = mine.reserve("openai/x", PRICE, 100_000, 10_000)
    assert hold.settle(Tokens(100_000)) == hold.failed(Tokens(100_000)) == 0.1
    assert mine.spent == (0.1, 100_000, 1)


def test_a_free_model_is_refused_by_no_amount_of_money(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(cost=Money(0)), day=0)
    assert call(mine, Tokens(10**6, 10**6), price=FREE) == 0.0
    assert mine.warning() == ""
    with pytest.raises(OverBudget):
        mine.reserve("openai/x", PRICE, 1, 1)


def test_a_provider_that_counts_more_than_was_reserved_is_believed(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(cost=Money(1)))
    mine.reserve("openai/x", PRICE, 10, 50_000).settle(Tokens(10, 120_000))
    assert mine.spent[0] == pytest.approx(1.2, abs=1e-4)
    with pytest.raises(OverBudget, match=r"\$1.20 of \$1.00"):
        mine.reserve("openai/x", PRICE, 1, 1)


@pytest.mark.parametrize(
    "odd",
    [Tokens(-5, -5, -5), Tokens(10, 0, 10**30), Tokens(10**40, 10**40), Tokens(1, 1, 50)],
    ids=str,
)
def test_counts_no_provider_can_mean_break_nothing(accounts: Accounts, odd: Tokens) -> None:
    dear = Price(input=Money(999_999_999), output=Money(999_999_999))
    mine = budget(accounts, Limits(cost=Money(999_999_999)), day=999_999_999)
    for _ in range(3):
        assert mine.reserve("openai/x", dear, 1, 1).settle(odd) >= 0


def test_warns_once_for_each_limit_at_80_percent(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(cost=Money(1), calls=3), day=1.2)
    call(mine, Tokens(0, 79_000))
    assert mine.warning() == ""
    call(mine, Tokens(0, 2_000))
    assert mine.warning() == "limits.cost: $0.81 of $1.00 is used"
    call(mine, Tokens(0, 16_000))
    assert mine.warning() == (
        "limits.calls: 3 of 3 calls are used; budgets.day: $0.97 of $1.20 is used today (UTC)"
    )
    assert mine.warning() == ""


def test_a_resumed_run_goes_on_with_what_it_had_used(accounts: Accounts) -> None:
    mine = budget(accounts, Limits(cost=Money(1), calls=5))
    mine.restore(Usage(calls=4, tokens_in=100, tokens_out=50, cost=0.7))
    assert mine.spent == (0.7, 150, 4)
    with pytest.raises(OverBudget, match=r"\$0.70 of \$1.00"):
        mine.reserve("openai/x", PRICE, 0, 31_000)


def test_a_call_that_was_under_way_when_the_run_was_killed_counts_in_full(
    accounts: Accounts,
) -> None:
    killed = budget(accounts, Limits(cost=Money(1)))
    call(killed, Tokens(0, 10_000))
    killed.reserve("openai/x", PRICE, 0, 60_000)
    resumed = budget(accounts, Limits(cost=Money(1)))
    resumed.restore(Usage(calls=1, tokens_out=10_000, cost=0.1))
    assert resumed.spent == (pytest.approx(0.7), 70_000, 2)


# --- a day ----------------------------------------------------------------------------------


def test_the_runs_of_a_day_share_its_budget(accounts: Accounts) -> None:
    call(budget(accounts, run="run1", day=1), Tokens(0, 60_000))
    other = budget(accounts, run="run2", day=1)
    with pytest.raises(OverBudget) as refused:
        other.reserve("openai/x", PRICE, 0, 50_000)
    assert str(refused.value) == (
        "budgets.day: $0.60 of $1.00 is used today (UTC), this call may cost up to $0.50"
    )
    assert len(rows(accounts.path)) == 1  # what is refused leaves nothing behind
    accounts.clock.sleep(12 * 3600)  # midnight
    other.reserve("openai/x", PRICE, 0, 50_000)


def test_tokens_of_a_day_are_counted_for_free_models_too(accounts: Accounts) -> None:
    call(budget(accounts, day_tokens=1000), Tokens(900, 50), price=FREE)
    with pytest.raises(OverBudget, match="budgets.day_tokens: 950 of 1000 tokens are used tod"):
        budget(accounts, day_tokens=1000).reserve("openai/x", FREE, 50, 50)


def test_each_user_has_a_day_of_their_own(accounts: Accounts) -> None:
    call(budget(accounts, user="ann", day=1), Tokens(0, 90_000))
    budget(accounts, user="bob", day=1).reserve("openai/x", PRICE, 0, 90_000)


def test_a_clock_that_goes_back_gives_no_money_back(accounts: Accounts) -> None:
    call(budget(accounts, day=1), Tokens(0, 60_000))
    assert isinstance(accounts.clock, FakeClock)
    accounts.clock.started -= timedelta(hours=6)
    with pytest.raises(OverBudget):
        budget(accounts, day=1).reserve("openai/x", PRICE, 0, 50_000)


def test_threads_share_a_day_and_a_run(accounts: Accounts) -> None:
    refused: list[OverBudget] = []
    mine = budget(accounts, Limits(cost=Money(1)), day=0.8)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(20):
            try:
                hold = mine.reserve("openai/x", PRICE, 0, 5_000)
            except OverBudget as error:
                refused.append(error)
            else:
                hold.settle(Tokens(0, chance.randint(0, 5_000)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.75 < mine.spent[0] <= 0.8
    assert mine.spent[2] + len(refused) == 120


HAMMER = """
import os, random, signal, sys
from pathlib import Path
from smoldebug.clock import FakeClock
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import Tokens
from smoldebug.model.budget import Budget, OverBudget
from smoldebug.playbook.base import Money
from smoldebug.playbook.models import Limits
from smoldebug.playbook.settings import Budgets, Price

def die(db):
    db.execute("DELETE FROM calls")  # and no COMMIT
    os.kill(os.getpid(), signal.SIGKILL)

def spend(seed):
    chance, price = random.Random(seed), Price(input=Money(1), output=Money(10))
    accounts = Accounts(Path(sys.argv[1]), FakeClock())
    budget = Budget(Limits(), Budgets(day=Money(2)), accounts, f"run{seed}", "me")
    if seed == 0:
        budget.reserve("openai/x", price, 100, 2_000)
    os.close(gate[1])
    os.read(gate[0], 1)  # all at once
    if seed == 0:
        accounts.change(die)
    for _ in range(40):
        try:
            hold = budget.reserve("openai/x", price, 100, 2_000)
        except OverBudget as error:
            if accounts.trouble:
                raise
            continue
        used = Tokens(chance.randint(0, 100), chance.randint(0, 2_000))
        chance.choice((hold.settle, hold.failed))(used)
    os.write(1, f"{budget.spent[0]}\\n".encode())
    os._exit(0)

gate, children = os.pipe(), []
for seed in range(8):
    child = os.fork()
    if not child:
        spend(seed)
    children.append(child)
os.close(gate[1])
for child in children:
    os.waitpid(child, 0)
"""


def test_processes_never_exceed_a_day_and_one_that_is_killed_keeps_its_reservation(
    tmp_path: Path,
) -> None:
    path = tmp_path / "models.db"
    done = subprocess.run(
        [sys.executable, "-c", HAMMER, str(path)], capture_output=True, text=True, timeout=50
    )
    assert done.stderr == ""
    told = [float(line) for line in done.stdout.split()]
    assert len(told) == 7  # and one was killed
    kept = rows(path, "state, cost, run")
    total = sum(int(str(cost)) for _, cost, _ in kept)
    assert 1.95 * 10**9 < total <= 2 * 10**9
    worst = 100 * 1000 + 2_000 * 10_000
    assert [row for row in kept if row[0] == "held"] == [("held", worst, "run0")]
    assert sum(told) < total / 10**9


# --- any order of things --------------------------------------------------------------------

TOKENS = st.tuples(st.integers(0, 3000), st.integers(0, 3000))
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "fail", "kill"]),
        st.integers(0, 1),
        TOKENS,
        st.floats(0, 1),
    ),
    max_size=40,
)


@testing(max_examples=60)
@given(DEEDS)
def test_whatever_happens_in_whatever_order_no_limit_is_passed(
    deeds: list[tuple[str, int, tuple[int, int], float]],
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Accounts(Path(folder) / "models.db", FakeClock(NOON)) as accounts,
    ):
        limits, day = Limits(cost=Money(0.06)), 0.1
        runs = [budget(accounts, limits, f"run{number}", day=day) for number in range(2)]
        open_: list[list[tuple[Hold, Tokens]]] = [[], []]
        for deed, run, (into, out), part in deeds:
            if deed == "reserve":
                try:
                    hold = runs[run].reserve("openai/x", PRICE, into, out)
                except OverBudget:
                    continue
                open_[run].append((hold, Tokens(round(into * part), round(out * part), into // 2)))
            elif deed == "kill":
                known, open_[run] = runs[run].spent, []
                runs[run] = budget(accounts, limits, f"run{run}", day=day)
                runs[run].restore(Usage(calls=known[2], tokens_in=known[1], cost=known[0]))
                assert runs[run].spent[0] >= known[0]
            elif open_[run]:
                hold, tokens = open_[run].pop()
                (hold.settle if deed == "settle" else hold.failed)(tokens)
            kept = accounts.change(lambda db: db.execute("SELECT cost FROM calls").fetchall())
            kept = [cost for (cost,) in kept]
            assert min(kept, default=0) >= 0
            assert sum(kept) <= day * 10**9
            for mine, holds in zip(runs, open_, strict=True):
                under_way = sum(hold.worst.cost for hold, _ in holds)
                assert mine.spent[0] * 10**9 + under_way <= 0.06 * 10**9 + 1


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_no_call_that_stays_within_its_worst_case_costs_more(a: int, b: int, out: int) -> None:
    less, more = sorted((a, b))
    assert cost_of(PRICE, Tokens(less, out)) <= cost_of(PRICE, Tokens(more, out))
    assert cost_of(PRICE, Tokens(more, out, less)) <= cost_of(PRICE, Tokens(more, out))


# --- accounts that cannot be used -----------------------------------------------------------


def test_only_its_owner_may_read_the_file(accounts: Accounts) -> None:
    call(budget(accounts), Tokens(1, 1))
    assert {path.stat().st_mode & 0o777 for path in accounts.path.parent.glob("models.db*")} == {
        0o600
    }


def test_the_file_is_beside_the_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))
    assert accounts_file() == tmp_path / "models.db"
    assert not accounts_file().exists()


def corrupt(path: Path) -> None:
    path.write_bytes(b"not a database at all, but a text of some length" * 100)


def torn(path: Path) -> None:
    with Accounts(path, FakeClock(NOON)) as fresh:
        call(budget(fresh), Tokens(1, 1))
    path.write_bytes(path.read_bytes()[:4096] + b"\x00" * 3000)


def newer(path: Path) -> None:
    with Accounts(path, FakeClock(NOON)) as fresh:
        call(budget(fresh), Tokens(1, 1))
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(shared.VERSIONS) + 1}")


def a_folder(path: Path) -> None:
    path.mkdir()


UNUSABLE = pytest.mark.parametrize("spoil", [corrupt, torn, newer, a_folder])


@UNUSABLE
def test_without_a_day_budget_the_run_goes_on_and_says_so_once(tmp_path: Path, spoil) -> None:
    path = tmp_path / "models.db"
    spoil(path)
    with Accounts(path, FakeClock(NOON)) as accounts:
        mine = budget(accounts, Limits(cost=Money(1)))
        call(mine, Tokens(0, 60_000))
        warning = mine.warning()
        assert warning.startswith(f"cannot keep accounts in {path}: ")
        assert warning.endswith("; this run counts for itself")
        assert mine.warning() == ""
        with pytest.raises(OverBudget, match="limits.cost"):
            mine.reserve("openai/x", PRICE, 0, 60_000)


def test_a_file_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    newer(path)
    with Accounts(path, FakeClock(NOON)) as accounts:
        call(budget(accounts), Tokens(1, 1))
        assert accounts.trouble.endswith("a newer version of smoldebug wrote it")
    assert len(rows(path)) == 1


@UNUSABLE
def test_with_a_day_budget_only_free_models_are_asked(tmp_path: Path, spoil) -> None:
    path = tmp_path / "models.db"
    spoil(path)
    with Accounts(path, FakeClock(NOON)) as accounts:
        mine = budget(accounts, day=5)
        with pytest.raises(OverBudget, match="nobody knows what is left of budgets.day"):
            mine.reserve("openai/x", PRICE, 1, 1)
        assert call(mine, Tokens(1, 1), price=FREE) == 0


def test_a_disk_that_fills_up_meanwhile_forgets_no_reservation(accounts: Accounts) -> None:
    mine = budget(accounts, day=5)
    call(mine, Tokens(0, 10_000))
    hold = mine.reserve("openai/x", PRICE, 0, 60_000)
    pages = accounts.change(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    accounts.change(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    big = "x" * 10_000  # a name that needs a page more than there are
    with pytest.raises(OverBudget, match="database or disk is full; nobody knows what is left of"):
        mine.reserve(big, PRICE, 1, 1)
    assert hold.settle(Tokens(0, 1_000)) == 0.01
    assert mine.spent[0] == pytest.approx(0.11)
    assert [row[0] for row in rows(accounts.path, "state")] == ["answered", "held"]


def test_a_name_that_is_no_text_is_kept_all_the_same(accounts: Accounts) -> None:
    call(budget(accounts), Tokens(1, 1), name="openai/\udcff\x1b[31mx")
    assert rows(accounts.path, "model") == [("openai/x",)]
    assert accounts.trouble == ""


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (0, "$0.00"),
        (1.005, "$1.00"),
        (0.0123, "$0.012"),
        (0.015, "$0.015"),
        (0.0996, "$0.10"),
        (0.0042, "$0.0042"),
        (1e-7, "< $0.0001"),
    ],
)
def test_money_as_people_read_it(cost: float, said: str) -> None:
    assert dollars(cost) == said
