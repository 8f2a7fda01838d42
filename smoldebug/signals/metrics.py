"""When did a series step up (or down)? Robust against spikes, noise and an earlier incident.

And what a query is about, in a word."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from statistics import median

from smoldebug.sources.world import Series
from smoldebug.untrusted import one_line

FEWEST = 6  # points below which nothing is said
STEP = 1.5  # factor between before and now from which it is a step
NOISE = 4.0  # median absolute deviations of the quiet points a step must stand out by
SUSTAINED = 3  # points a step must have lasted
QUIET = 0.2  # quantile that stands for the quiet level, wherever in the window that was
SWINGS = 6  # more crossings of the middle than this are an oscillation, not a step


@dataclass(frozen=True, slots=True)
class Onset:
    """`at` unix seconds, None where nothing stepped; `factor` now over baseline, inf from zero."""

    baseline: float  # median of the quiet points
    now: float  # median of the last three points
    factor: float
    at: float | None


def onset(points: Sequence[tuple[float, float]]) -> Onset | None:
    """Now against the quiet level for one series, oldest first; None with too few finite points.

    A drop is a step too (factor below 1), seen against the level from above.
    """
    known = [(at, value) for at, value in points if isfinite(value)]
    if len(known) < FEWEST:
        return None
    values = _smooth([value for _, value in known])
    now, ordered = median([value for _, value in known[-3:]]), sorted(values)
    low, high = (ordered[round(part * (len(ordered) - 1))] for part in (QUIET, 1 - QUIET))
    up = _factor(now, low) >= STEP
    middle = (now + (low if up else high)) / 2
    quiet = [value for value in values if (value <= middle) is up] or [now]
    baseline = median(quiet)
    factor = _factor(now, baseline)
    began = _began([(value > middle) is up for value in values])
    if began is None or not _stands_out(quiet, baseline, now, factor):
        return Onset(baseline, now, factor, None)
    return Onset(baseline, now, factor, known[began][0])


def _factor(now: float, baseline: float) -> float:
    if baseline:
        return now / baseline
    return inf if now > 0 else 1.0


def _smooth(values: Sequence[float]) -> list[float]:
    """The median of each point and its neighbours: a single spike is gone, a step stays."""
    inner = [median(values[index - 1 : index + 2]) for index in range(1, len(values) - 1)]
    return [values[0], *inner, values[-1]]


def _stands_out(quiet: Sequence[float], baseline: float, now: float, factor: float) -> bool:
    spread = median(abs(value - baseline) for value in quiet)
    return (factor >= STEP or factor <= 1 / STEP) and abs(now - baseline) > NOISE * spread


def _began(beyond: Sequence[bool]) -> int | None:
    """Where the last run of points beyond the middle began, if it lasts until now."""
    swings = sum(a is not b for a, b in pairwise(beyond))
    last_quiet = max((index for index, there in enumerate(beyond) if not there), default=-1)
    began = last_quiet + 1
    if began == 0 or len(beyond) - began < SUSTAINED or swings > SWINGS:
        return None
    return began


def worst(series: Sequence[Series]) -> tuple[Series, Onset] | None:
    """The series that stepped most, up before down; None when none did."""
    found = [(item, step) for item in series if (step := onset(item.points)) and step.at]
    return max(found, key=lambda pair: pair[1].factor, default=None)


# --- words for a query: cosmetic, so a guess at PromQL is enough ------------------------------

_WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "offset", "bool"}
_QUANTILE = re.compile(r"\bhistogram_quantile\(\s*0?\.(\d{1,4})\b")


def metric_name(query: str) -> str:
    """The metric a query is about, as far as a look can tell: `http_requests_total`."""
    names = re.findall(r"[a-zA-Z_:][\w:]*(?!\w)(?!\s*\()", _bare(query))
    return next((name for name in names if name not in _WORDS), one_line(query, 40))


def subject(query: str) -> str:
    """What a query's value is: `p99 of http_request_seconds`, `errors_total`."""
    named, quantile = metric_name(query), _QUANTILE.search(query)
    return f"p{quantile[1]:0<2} of {named.removesuffix('_bucket')}" if quantile else named


def unit(query: str) -> str:
    """`/s` for a rate, else "": a quotient of rates, and a quantile over them, is none."""
    bare = _bare(query)
    rate = re.search(r"\bi?rate\s*\(", bare)
    return "/s" if rate and "/" not in bare and not _QUANTILE.search(query) else ""


def _bare(query: str) -> str:
    """Without texts, selectors, ranges and grouping labels."""
    grouping = r"\"[^\"]*\"|'[^']*'|\b(?:by|without|on|ignoring)\s*\([^)]*\)"
    return re.sub(r"{[^}]*}|\[[^]]*\]", " ", re.sub(grouping, "", query))
