"""Durations as people read them."""

import pytest

from smoldebug.clock import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.0004, "1ms"),
        (0.02, "20ms"),
        (0.4, "0.4s"),
        (44.18, "44s"),
        (151, "2m31s"),
        (600, "10m"),
        (3720, "1h02m"),
    ],
)
def test_a_duration_is_short_and_nothing_that_took_time_took_none(seconds: float, words: str):
    assert duration(seconds) == words
