"""The memory for outages: who failed is left alone for a while, by all runs, and tried by one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as testing
from hypothesis import strategies as st

from smoldebug.clock import FakeClock
from smoldebug.model.accounts import Accounts
from smoldebug.model.health import Health

NAME = "openai at api.example.com"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def accounts(tmp_path: Path, clock: FakeClock) -> Iterator[Accounts]:
    with Accounts(tmp_path / "models.db", clock) as opened:
        yield opened


@pytest.fixture
def health(accounts: Accounts) -> Health:
    return Health(accounts)


def break_down(health: Health) -> None:
    for _ in range(3):
        health.failed(NAME, "503 from the provider")


def pause(health: Health, clock: FakeClock) -> float:
    """Seconds for which the provider is left alone; 0 when it may be asked."""
    until = health.closed_until(NAME)
    return (until - clock.now()).total_seconds() if until else 0.0


def test_three_failures_in_a_row_and_it_is_left_alone(health: Health) -> None:
    for _ in range(2):
        health.failed(NAME, "503 from the provider")
        assert health.closed_until(NAME) is None
    health.failed(NAME, "503\x1b[31m from\nthe provider")
    assert health.closed_until(NAME) == NOON + timedelta(seconds=30)
    assert health.why(NAME) == "503 from the provider"
    assert health.closed_until("another") is None
    assert health.why("another") == ""


def test_an_answer_in_between_begins_the_count_again(health: Health) -> None:
    for _ in range(5):
        health.failed(NAME, "503")
        health.failed(NAME, "503")
        health.worked(NAME)
    assert health.closed_until(NAME) is None


def test_time_outs_of_minutes_count_as_in_a_row(health: Health, clock: FakeClock) -> None:
    for _ in range(3):
        clock.sleep(300)
        health.failed(NAME, "no answer within 300 s")
    assert pause(health, clock) == 30


def test_old_failures_say_nothing_about_now(health: Health, clock: FakeClock) -> None:
    health.failed(NAME, "503")
    health.failed(NAME, "503")
    clock.sleep(601)
    health.failed(NAME, "503")
    assert health.closed_until(NAME) is None


def test_other_runs_know(accounts: Accounts, tmp_path: Path, clock: FakeClock) -> None:
    break_down(Health(accounts))
    with Accounts(tmp_path / "models.db", clock) as elsewhere:
        assert pause(Health(elsewhere), clock) == 30


def test_after_the_pause_one_run_tries_and_the_others_wait_for_it(
    accounts: Accounts, clock: FakeClock
) -> None:
    first, second = Health(accounts), Health(accounts)
    break_down(first)
    clock.sleep(30)
    assert pause(second, clock) == 0
    assert pause(second, clock) == 0  # still its trial
    assert pause(first, clock) == 60
    second.worked(NAME)
    assert pause(first, clock) == 0


def test_a_trial_that_never_ends_is_another_runs_turn_after_a_minute(
    accounts: Accounts, clock: FakeClock
) -> None:
    killed, other = Health(accounts), Health(accounts)
    break_down(killed)
    clock.sleep(30)
    assert pause(killed, clock) == 0
    clock.sleep(60)
    assert pause(other, clock) == 0
    assert pause(killed, clock) == 60


def test_the_pause_doubles_up_to_ten_minutes(health: Health, clock: FakeClock) -> None:
    break_down(health)
    seen = []
    for _ in range(7):
        seen.append(pause(health, clock))
        clock.sleep(seen[-1])
        assert pause(health, clock) == 0  # the trial is ours
        health.failed(NAME, "503")
    assert seen == [30, 60, 120, 240, 480, 600, 600]


def test_calls_that_began_before_the_pause_do_not_make_it_longer(
    accounts: Accounts, clock: FakeClock
) -> None:
    break_down(Health(accounts))
    late = Health(accounts)
    for _ in range(5):
        late.failed(NAME, "503")
    assert pause(late, clock) == 30


def test_an_outage_of_yesterday_is_forgotten(health: Health, clock: FakeClock) -> None:
    break_down(health)
    clock.sleep(86400)
    assert pause(health, clock) == 0
    health.failed(NAME, "503")
    assert pause(health, clock) == 0


def test_what_runs_in_this_process_has_no_outages(health: Health, accounts: Accounts) -> None:
    for _ in range(9):
        health.failed("", "out of memory")
    health.worked("")
    assert health.closed_until("") is None
    assert not accounts.path.exists()


def test_a_clock_that_goes_back_locks_nobody_out(health: Health, clock: FakeClock) -> None:
    break_down(health)
    clock.started -= timedelta(hours=3)
    assert health.closed_until(NAME) is None


def test_without_a_file_a_run_remembers_for_itself(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "models.db").mkdir()
    with Accounts(tmp_path / "models.db", clock) as accounts:
        health = Health(accounts)
        break_down(health)
        assert pause(health, clock) == 30


@testing(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["ask", "fail", "work"]), st.floats(0, 200)),
        max_size=30,
    )
)
def test_nobody_is_locked_out_for_more_than_ten_minutes_and_an_answer_always_opens(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[int, str, float]]
) -> None:
    clock = FakeClock(NOON)
    with Accounts(tmp_path_factory.mktemp("health") / "models.db", clock) as accounts:
        runs = [Health(accounts) for _ in range(3)]
        for run, deed, gap in deeds:
            clock.sleep(gap)
            if deed == "fail":
                runs[run].failed(NAME, "503")
            elif deed == "work":
                runs[run].worked(NAME)
                assert [pause(one, clock) for one in runs] == [0, 0, 0]
            else:
                assert 0 <= pause(runs[run], clock) <= 600
