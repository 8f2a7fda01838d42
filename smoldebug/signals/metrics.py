"""When did a series step up? Its quiet part against its end, robust against single spikes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

from smoldebug.sources.world import Series

FEWEST = 6  # points below which nothing is said
STEP = 1.5  # factor between quiet and now from which it is a step
NOISE = 4.0  # median absolute deviations a step must stand out by
SUSTAINED = 3  # points in a row beyond the middle that begin a step


@dataclass(frozen=True, slots=True)
class Onset:
    """`at` unix seconds, None where nothing stepped; `factor` now over baseline, inf from zero."""

    baseline: float  # median of the quiet part
    now: float  # median of the last three points
    factor: float
    at: float | None


def onset(points: Sequence[tuple[float, float]]) -> Onset | None:
    """Baseline against now for one series, oldest first; None with too few finite points.

    The quiet part is the first third where that is steady, so a step that lasts until now is
    found wherever it began after it. A drop is a step too (factor below 1).
    """
    known = [(at, value) for at, value in points if isfinite(value)]
    if len(known) < FEWEST:
        return None
    values = [value for _, value in known]
    quiet = values[: max(3, len(values) // 3)]
    baseline, now = median(quiet), median(values[-3:])
    factor = now / baseline if baseline else (float("inf") if now > 0 else 1.0)
    if not _stands_out(quiet, baseline, now, factor):
        return Onset(baseline, now, factor, None)
    return Onset(baseline, now, factor, _began(known, (baseline + now) / 2, up=now > baseline))


def _stands_out(quiet: Sequence[float], baseline: float, now: float, factor: float) -> bool:
    spread = median(abs(value - baseline) for value in quiet)
    return (factor >= STEP or factor <= 1 / STEP) and abs(now - baseline) > NOISE * spread


def _began(points: Sequence[tuple[float, float]], middle: float, *, up: bool) -> float | None:
    """The first of the points from which the value stayed beyond the middle for a while."""
    beyond = [(value > middle) is up for _, value in points]
    for index in range(len(points) - SUSTAINED + 1):
        if all(beyond[index : index + SUSTAINED]):
            return points[index][0]
    return None


def worst(series: Sequence[Series]) -> tuple[Series, Onset] | None:
    """The series that stepped most, up before down; None when none did."""
    found = [(item, step) for item in series if (step := onset(item.points)) and step.at]
    return max(found, key=lambda pair: pair[1].factor, default=None)
