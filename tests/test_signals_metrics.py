"""When a series stepped up."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.signals.metrics import metric_name, onset, subject, unit, worst
from smoldebug.sources.world import Series


def points(*values: float) -> list[tuple[float, float]]:
    return [(float(index * 15), value) for index, value in enumerate(values)]


def test_a_step_is_found_where_it_began() -> None:
    found = onset(points(*[0.08] * 10, *[6.9] * 6))
    assert found is not None
    assert (found.baseline, found.now, found.at) == (0.08, 6.9, 150.0)
    assert found.factor == pytest.approx(86.25)


def test_a_step_from_zero_and_a_step_down() -> None:
    rose, fell = onset(points(*[0] * 8, *[5] * 4)), onset(points(*[10] * 8, *[1] * 4))
    assert rose is not None
    assert (rose.factor, rose.at) == (inf, 120.0)
    assert fell is not None
    assert (fell.factor, fell.at) == (0.1, 120.0)


def test_an_earlier_incident_does_not_hide_this_one() -> None:
    found = onset(points(*[2.4] * 20, *[0.25] * 20, *[2.4] * 10))
    assert found is not None
    assert (found.baseline, found.now, found.at) == (0.25, 2.4, 600.0)


def test_a_step_is_found_however_the_values_wobble() -> None:
    quiet = [0.2, 0.25, 0.22, 0.3, 0.21, 0.9, 0.24, 0.26, 0.2, 0.23]
    found = onset(points(*quiet, 2.0, 2.4, 1.9, 2.2, 2.3))
    assert found is not None
    assert found.at == 150.0


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 20,
        [1, 1, 1, 50, 1, 1, 1, 1, 1, 1],  # a spike that is over
        [1, 9, 2, 8, 1, 9, 3, 7, 1, 9, 2, 8],  # noise
        [1, 1.1, 1, 1.1, 1, 1.2, 1.2, 1.2],  # a little more
    ],
)
def test_what_is_no_step(values: list[float]) -> None:
    found = onset(points(*values))
    assert found is not None
    assert found.at is None


def test_gaps_are_skipped_and_too_little_says_nothing() -> None:
    assert onset(points(1, 2, nan, inf, 3)) is None
    found = onset(points(nan, *[1] * 6, nan, *[4] * 6, nan))
    assert found is not None
    assert found.at == 8 * 15


def test_the_worst_series_is_the_one_that_stepped_most() -> None:
    flat = Series({"a": "flat"}, tuple(points(*[1] * 12)))
    double = Series({"a": "double"}, tuple(points(*[1] * 8, *[2] * 4)))
    tenfold = Series({"a": "tenfold"}, tuple(points(*[1] * 8, *[10] * 4)))
    found = worst([flat, double, tenfold])
    assert found is not None
    assert found[0] is tenfold
    assert worst([flat]) is None
    assert worst([]) is None


@given(st.lists(st.floats(), max_size=60))
def test_any_series_is_read(values: list[float]) -> None:
    found = onset(points(*values))
    if found and found.at is not None:
        assert found.at in [at for at, _ in points(*values)]


P99 = "histogram_quantile(0.99, sum by (le) (rate(http_request_seconds_bucket[1m])))"


@pytest.mark.parametrize(
    ("query", "says", "per"),
    [
        ('sum(rate(errors_total{job="a/b"}[1m]))', "errors_total", "/s"),
        ("sum(increase(errors_total[1m]))", "errors_total", ""),
        ("sum(rate(bad_total[1m])) / sum(rate(all_total[1m]))", "bad_total", ""),
        (P99, "p99 of http_request_seconds", ""),
        ("histogram_quantile(0.5, x_bucket)", "p50 of x", ""),
        ("sum by (pod) (container_memory_bytes)", "container_memory_bytes", ""),
        ("1 + 1", "1 + 1", ""),
        ("", "", ""),
    ],
)
def test_what_a_query_is_about(query: str, says: str, per: str) -> None:
    assert (subject(query), unit(query)) == (says, per)


@given(st.text(max_size=60))
def test_any_text_has_a_name(text: str) -> None:
    assert len(metric_name(text)) <= len(text)
