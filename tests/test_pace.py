"""Requests and tokens a minute: everybody gets the earliest moment there is, in order."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as testing
from hypothesis import strategies as st

from smoldebug.clock import FakeClock
from smoldebug.model.accounts import Accounts
from smoldebug.model.pace import Pace, TooFast
from smoldebug.playbook.settings import ModelSettings
from smoldebug.toolset import Cancelled

SLOW = ModelSettings(requests_per_minute=2)
SMALL = ModelSettings(tokens_per_minute=1000)


class Frozen(FakeClock):
    """Others sleep, too, while one does: it writes down how long, and time stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float, cancel: threading.Event | None = None) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def accounts(tmp_path: Path, clock: FakeClock) -> Iterator[Accounts]:
    with Accounts(tmp_path / "models.db", clock) as opened:
        yield opened


def wait(
    pace: Pace,
    about: ModelSettings = SLOW,
    tokens: int = 10,
    left: float = 300.0,
    provider: str = "openai at api.example.com",
    cancel: threading.Event | None = None,
) -> float:
    return pace.wait(provider, about, tokens, left, cancel or threading.Event())


def test_within_the_limits_nobody_waits(accounts: Accounts) -> None:
    pace = Pace(accounts)
    assert [wait(pace), wait(pace)] == [0, 0]


def test_the_next_request_waits_until_the_oldest_is_a_minute_old(
    accounts: Accounts, clock: FakeClock
) -> None:
    pace = Pace(accounts)
    wait(pace)
    clock.sleep(20)
    wait(pace)
    assert wait(pace) == 40
    assert clock.elapsed == 60


def test_tokens_have_a_minute_of_their_own(accounts: Accounts, clock: FakeClock) -> None:
    pace = Pace(accounts)
    wait(pace, SMALL, 600)
    clock.sleep(15)
    assert wait(pace, SMALL, 400) == 0
    assert wait(pace, SMALL, 100) == 45
    assert wait(pace, SMALL, 800) == 15  # the 400 must have left as well


def test_without_limits_and_in_this_process_nothing_is_kept(accounts: Accounts) -> None:
    pace = Pace(accounts)
    assert [wait(pace, ModelSettings()) for _ in range(9)] == [0] * 9
    assert [wait(pace, provider="") for _ in range(9)] == [0] * 9
    assert not accounts.path.exists()


def test_providers_do_not_wait_for_each_other(accounts: Accounts) -> None:
    pace = Pace(accounts)
    assert [wait(pace, provider=name) for name in "aabb"] == [0] * 4


def test_runs_share_a_provider_and_are_served_in_order(tmp_path: Path) -> None:
    clock = Frozen()
    with Accounts(tmp_path / "m.db", clock) as one, Accounts(tmp_path / "m.db", clock) as other:
        waits = [wait(Pace(run)) for run in (one, one, one, other, one, other)]
    assert waits == clock.slept == [0, 0, 60, 60, 120, 120]


def test_threads_share_a_provider(tmp_path: Path) -> None:
    clock = Frozen()
    with Accounts(tmp_path / "models.db", clock) as accounts:
        threads = [threading.Thread(target=wait, args=(Pace(accounts),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(clock.slept) == [0, 0, 60, 60, 120, 120]


def test_who_has_no_time_is_told_at_once_and_takes_nobodys_turn(
    accounts: Accounts, clock: FakeClock
) -> None:
    pace = Pace(accounts)
    wait(pace)
    wait(pace)
    with pytest.raises(TooFast) as told:
        wait(pace, left=59)
    assert str(told.value) == (
        "openai at api.example.com may be asked again in 60 s, and 59 s are left: "
        "requests_per_minute or tokens_per_minute"
    )
    assert not told.value.lasting
    assert clock.elapsed == 0
    assert wait(pace, left=60) == 60


def test_a_request_that_never_fits_is_not_waited_for(accounts: Accounts) -> None:
    with pytest.raises(TooFast, match="a request of 1001 tokens is over tokens_per_minute: 1000"):
        wait(Pace(accounts), SMALL, 1001, left=1e9)


def test_who_is_cancelled_gives_the_turn_back(accounts: Accounts) -> None:
    pace, cancel, one = Pace(accounts), threading.Event(), ModelSettings(requests_per_minute=1)
    wait(pace, one)
    cancel.set()
    with pytest.raises(Cancelled):
        wait(pace, one, cancel=cancel)
    assert wait(pace, one) == 60


def test_a_clock_that_goes_back_locks_nobody_out(accounts: Accounts, clock: FakeClock) -> None:
    pace = Pace(accounts)
    wait(pace)
    wait(pace)
    clock.started -= timedelta(hours=3)
    assert wait(pace) == 0


def test_without_a_file_a_run_keeps_its_own_pace(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "models.db").mkdir()
    with Accounts(tmp_path / "models.db", clock) as accounts:
        pace = Pace(accounts)
        assert [wait(pace), wait(pace), wait(pace)] == [0, 0, 60]


@testing(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0, 40), st.integers(0, 100)), max_size=25),
    st.integers(1, 5),
    st.integers(100, 300),
)
def test_no_minute_holds_more_than_is_allowed_and_order_is_kept(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[float, int]],
    requests: int,
    most: int,
) -> None:
    clock, sent = Frozen(), []
    about = ModelSettings(requests_per_minute=requests, tokens_per_minute=most)
    with Accounts(tmp_path_factory.mktemp("pace") / "models.db", clock) as accounts:
        for gap, tokens in asked:
            clock.elapsed += gap
            try:
                at = clock.elapsed + wait(Pace(accounts), about, tokens)
            except TooFast:
                continue
            sent.append((round(at, 3), tokens))
    assert [at for at, _ in sent] == sorted(at for at, _ in sent)
    for end, _ in sent:
        minute = [tokens for at, tokens in sent if end - 59.99 < at <= end]
        assert len(minute) <= requests
        assert sum(minute) <= most
