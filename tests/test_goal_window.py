"""Windows: when single samples add up to "met"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.errors import UsageError
from smoldebug.goal.logic import all_of, any_of
from smoldebug.goal.window import PAUSE, TOLERANCE, Window
from smoldebug.records import Outcome

MET, NOT_MET, INCONCLUSIVE = Outcome.MET, Outcome.NOT_MET, Outcome.INCONCLUSIVE
outcomes = st.sampled_from(Outcome)


def feed(window: Window, *samples: tuple[float, Outcome]) -> list[Outcome]:
    return [window.feed(outcome, at).outcome for at, outcome in samples]


def test_three_in_a_row():
    window = Window(3, 0, every=5)
    assert feed(window, (0, MET), (5, MET), (10, MET)) == [NOT_MET, NOT_MET, MET]


def test_an_eager_loop_does_not_make_three_in_a_row():
    window = Window(3, 0, every=5)
    assert feed(window, (0, MET), (1, MET), (2, MET), (3, MET)) == [NOT_MET] * 4
    assert window.streak == 1
    assert window.due_in(3) == 2


def test_a_timer_that_fires_a_little_early_still_counts():
    assert Window(2, 0, every=5).feed(MET, 0).outcome is NOT_MET
    window = Window(2, 0, every=5)
    assert feed(window, (0, MET), (4.6, MET)) == [NOT_MET, MET]


@pytest.mark.parametrize("bad", [NOT_MET, INCONCLUSIVE])
def test_a_sample_that_is_not_met_starts_anew_however_early_it_comes(bad):
    window = Window(2, 0, every=5)
    assert feed(window, (0, MET), (1, bad), (5, MET), (10, MET)) == [NOT_MET, bad, NOT_MET, MET]


def test_for_counts_from_the_first_sample_that_was_met():
    window = Window(1, 10, every=5)
    assert feed(window, (3, NOT_MET), (5, MET), (10, MET), (15, MET)) == [
        NOT_MET,
        NOT_MET,
        NOT_MET,
        MET,
    ]


def test_eager_samples_do_not_stop_for_from_growing():
    window = Window(1, 10, every=5)
    for at in range(10):
        assert window.feed(MET, at).outcome is NOT_MET
    assert window.feed(MET, 10).outcome is MET


def test_a_pause_in_which_nobody_looked_starts_anew():
    window = Window(2, 60, every=5)
    progress = [window.feed(MET, at) for at in (0, 5, 65, 70)]
    assert [each.streak for each in progress] == [1, 2, 1, 2]
    assert [each.held for each in progress] == [0, 5, 0, 5]


def test_the_time_a_slow_sample_takes_is_no_pause():
    window = Window(3, 0, every=1)
    assert [window.feed(MET, at, took=8).outcome for at in (0, 9, 18)] == [NOT_MET, NOT_MET, MET]


def test_it_stays_met_while_samples_stay_met_and_not_longer():
    window = Window(2, 0, every=5)
    assert feed(window, (0, MET), (5, MET), (6, MET), (10, MET), (11, NOT_MET))[1:] == [
        MET,
        MET,
        MET,
        NOT_MET,
    ]


def test_due_at_once_at_first_and_after_a_restart_every_seconds_later_otherwise():
    window = Window(3, 0, every=5)
    assert window.due_in(100) == 0
    window.feed(NOT_MET, 100)
    assert window.due_in(102) == 3
    assert window.due_in(200) == 0
    window.restart()
    assert window.due_in(102) == 0


def test_every_must_be_positive():
    with pytest.raises(UsageError, match="goal.every must be longer than zero: 0s"):
        Window(1, 0, every=0)


samples = st.lists(st.tuples(st.floats(0, 40), outcomes), max_size=40)
windows = st.builds(Window, st.integers(1, 4), st.floats(0, 30), st.floats(0.5, 10))


@given(windows, samples)
def test_met_means_that_enough_samples_held_for_long_enough(window, samples):
    """Checked against the definition, on the samples since the latest bad one or pause."""
    at, last, run = 0.0, -1e9, []
    for gap, outcome in samples:
        at += gap
        progress = window.feed(outcome, at)
        if outcome is not MET or at - last > PAUSE * window.every:
            run = []
        if outcome is MET:
            run.append(at)
        last = at
        counted = []
        for time in run:
            if not counted or time - counted[-1] >= window.every * (1 - TOLERANCE):
                counted.append(time)
        enough = len(counted) >= window.consecutive
        long_enough = bool(run) and run[-1] - run[0] >= window.for_ - 1e-6
        assert progress.streak == len(counted)
        assert (progress.outcome is MET) == (outcome is MET and enough and long_enough)
        if outcome is not MET:
            assert progress.outcome is outcome


@given(windows, samples)
def test_met_n_times_in_a_row_takes_its_time(window, samples):
    at = 0.0
    for gap, outcome in samples:
        at += gap
        progress = window.feed(outcome, at)
        if progress.outcome is MET:
            assert at >= window.every * (1 - TOLERANCE) * (window.consecutive - 1) - 1e-6
            assert progress.held >= window.for_ - 1e-6


@given(st.floats(0.5, 10), st.integers(1, 20), st.floats(0, 100))
def test_waiting_as_long_as_due_in_says_always_counts(every, consecutive, for_):
    window, now = Window(consecutive, for_, every), 0.0
    for count in range(1, consecutive + int(for_ / every) + 3):
        progress = window.feed(MET, now)
        assert progress.streak == count
        now += window.due_in(now)
    assert progress.outcome is MET


@given(st.lists(outcomes))
def test_all_and_any_are_mirror_images(found):
    mirror = {MET: NOT_MET, NOT_MET: MET, INCONCLUSIVE: INCONCLUSIVE}
    assert all_of(found) is mirror[any_of([mirror[outcome] for outcome in found])]


@pytest.mark.parametrize(
    ("found", "every_one", "at_least_one"),
    [
        ([MET, MET], MET, MET),
        ([MET, NOT_MET], NOT_MET, MET),
        ([MET, INCONCLUSIVE], INCONCLUSIVE, MET),
        ([NOT_MET, INCONCLUSIVE], NOT_MET, INCONCLUSIVE),
        ([NOT_MET, NOT_MET], NOT_MET, NOT_MET),
        ([], INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_what_is_missing_never_counts_as_met(found, every_one, at_least_one):
    assert (all_of(found), any_of(found)) == (every_one, at_least_one)
