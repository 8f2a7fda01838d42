"""PromQL: a compact table, and a sentence on when a series stepped up."""

from datetime import UTC, datetime
from math import isfinite, isinf
from typing import Any

from smoldebug.records import Observation
from smoldebug.signals.metrics import Onset, subject, unit, worst
from smoldebug.signals.tables import columns
from smoldebug.signals.times import seconds
from smoldebug.sources.world import Series
from smoldebug.toolset import ToolContext, tool

SHOWN = 25  # series in the text; all of them are in the data
POINTS = 60  # of a range, unless a step is given
FROM_ZERO = 1e9  # stands for infinity, which JSON has not


@tool(effect="read", timeout=20)
def query_prometheus(ctx: ToolContext, query: str, range: str = "", step: str = "") -> Observation:
    """Ask Prometheus: values now, or over a while with what stepped up and when.

    Args:
        query: PromQL. Counters need rate() or increase().
        range: Look back so far, such as 15m; empty: now.
        step: Between points of a range, such as 15s.
    """
    metrics = ctx.world.metrics
    if not range:
        series = metrics.instant(query)
        step_up = None
    else:
        span = seconds(range)
        series = metrics.range(query, span, seconds(step) if step else span / POINTS)
        step_up = worst(series)
    series = sorted(series, key=_last, reverse=True)
    onset = _onset(query, *step_up, several=len(series) > 1) if step_up else None
    data = {
        "query": query,
        "series": [{"labels": dict(item.labels), "points": _points(item)} for item in series],
        "onset": onset,
    }
    return Observation(_text(series, bool(range), onset), data, "metric", query)


def _text(series: list[Series], ranged: bool, onset: dict[str, Any] | None) -> str:
    if not series:
        return "no series: nothing of that name and labels has been scraped in that time"
    header = ("SERIES", "LAST", "MIN", "MAX") if ranged else ("SERIES", "VALUE")
    rows = [header, *(_row(item, ranged) for item in series[:SHOWN])]
    lines = [columns(rows)]
    if len(series) > SHOWN:
        lines.append(f"... {len(series) - SHOWN} more series; aggregate or select fewer")
    if onset:
        lines.append(str(onset["says"]))
    elif ranged:
        lines.append("no step up or down that lasts until now")
    return "\n".join(lines)


def _row(item: Series, ranged: bool) -> tuple[str, ...]:
    values = [value for _, value in item.points if isfinite(value)]
    last = _number(item.points[-1][1]) if item.points else "-"
    if not ranged:
        return _labels(item), last
    return _labels(item), last, *(_number(pick(values)) if values else "-" for pick in (min, max))


def _onset(query: str, item: Series, step: Onset, *, several: bool) -> dict[str, Any]:
    at = datetime.fromtimestamp(step.at or 0, UTC)
    word = "rose" if step.factor > 1 else "fell"
    times = "from nothing" if isinf(step.factor) else f"×{step.factor:.2g}"
    which = subject(query) + (f" {_braces(item)}" if several else "")
    values = f"from {_number(step.baseline)} to {_number(step.now)}{unit(query)}"
    return {
        "labels": dict(item.labels),
        "baseline": step.baseline,
        "now": step.now,
        "factor": min(step.factor, FROM_ZERO),
        "at": step.at,
        "says": f"{which} {word} {values} ({times}) since {at:%H:%M:%S} UTC",
    }


def _points(item: Series) -> list[list[float | None]]:
    return [[at, value if isfinite(value) else None] for at, value in item.points]


def _last(item: Series) -> float:
    value = item.points[-1][1] if item.points else 0.0
    return value if isfinite(value) else 0.0


def _labels(item: Series) -> str:
    return f"{item.labels.get('__name__', '')}{_braces(item)}" or "value"


def _braces(item: Series) -> str:
    rest = [f'{key}="{value}"' for key, value in item.labels.items() if key != "__name__"]
    return f"{{{','.join(rest)}}}" if rest else ""


def _number(value: float) -> str:
    return f"{value:.4g}"
