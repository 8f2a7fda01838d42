"""metric and ratio: what Prometheus says. An empty answer is never good news."""

import math
import operator
import re
from collections.abc import Callable
from functools import partial

import msgspec

from smoldebug.errors import UsageError
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.playbook.inputs import of_service
from smoldebug.playbook.models import MetricCheck, RatioCheck
from smoldebug.signals.metrics import metric_name, unit
from smoldebug.sources.world import Series, World
from smoldebug.untrusted import one_line

_BOUNDS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "below": ("<", operator.lt),
    "at_most": ("≤", operator.le),
    "above": (">", operator.gt),
    "at_least": ("≥", operator.ge),
    "equals": ("=", operator.eq),
}
Bounds = list[tuple[str, float]]


def metric(check: MetricCheck, setting: Setting) -> Check:
    if setting.service is not None:
        filled = of_service(check.query, setting.service.ref)
        check = msgspec.structs.replace(check, query=filled)
    bounds = _bounds(check)
    words = " and ".join(f"{_BOUNDS[name][0]} {bound:g}" for name, bound in bounds)
    label = f"metric {metric_name(check.query)} {words}"
    return Check(label, "metric", partial(_metric, check, bounds, setting.world), check.query)


def _metric(check: MetricCheck, bounds: Bounds, world: World, sample: int) -> Measured:
    series = world.metrics.instant(check.query)
    if not series:
        return inconclusive("no data")
    values = [(value_of(each), each) for each in series]
    for value, each in values:
        if not math.isnan(value) and not _within(value, bounds):
            return not_met(f"{value:.4g}{_which(each, len(series))}", value)
    for value, each in values:
        if math.isnan(value):
            return inconclusive(f"not a number{_which(each, len(series))}")
    if len(values) == 1:
        return met(f"{values[0][0]:.4g}", values[0][0])
    low, high = min(value for value, _ in values), max(value for value, _ in values)
    upper = bounds[0][0] in ("below", "at_most")  # the value nearest to its bound
    return met(f"{low:.4g} to {high:.4g} in {len(values)} series", high if upper else low)


def ratio(check: RatioCheck, setting: Setting) -> Check:
    if setting.service is not None:
        ref = setting.service.ref
        bad, total = of_service(check.bad, ref), of_service(check.total, ref)
        check = msgspec.structs.replace(check, bad=bad, total=total)
    bounds = _bounds(check)
    words = " and ".join(f"{_BOUNDS[name][0]} {bound * 100:g} %" for name, bound in bounds)
    label = f"ratio {_bad_name(check.bad)} {words}"
    return Check(label, "ratio", partial(_ratio, check, bounds, setting.world), check.bad)


def _ratio(check: RatioCheck, bounds: Bounds, world: World, sample: int) -> Measured:
    everything = world.metrics.instant(check.total)
    bad = world.metrics.instant(check.bad)
    if not everything:
        return inconclusive("the total has no data")
    total = sum(map(value_of, everything))
    if not (total > 0 and math.isfinite(total)):
        return inconclusive(f"the total is {total:g}: no traffic, nothing to judge")
    value = sum(map(value_of, bad)) / total
    if not math.isfinite(value):
        return inconclusive("bad/total is not a number")
    judge = met if _within(value, bounds) else not_met
    return judge(f"{value * 100:.3g} % of {total:.3g}{unit(check.total)}", value)


def _bounds(check: MetricCheck | RatioCheck) -> Bounds:
    found = [(name, bound) for name in _BOUNDS if (bound := getattr(check, name, None)) is not None]
    kind = "ratio" if isinstance(check, RatioCheck) else "metric"
    if not found:
        raise UsageError(f"{kind} check needs a bound, e.g.: below: 0.01")
    return found


def _within(value: float, bounds: Bounds) -> bool:
    return all(_BOUNDS[name][1](value, bound) for name, bound in bounds)


def value_of(series: Series) -> float:
    return series.points[-1][1] if series.points else math.nan


def _which(series: Series, of: int) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in sorted(series.labels.items()))
    return f" for {one_line(labels, 80)}" if of > 1 and labels else ""


def _bad_name(query: str) -> str:
    codes = re.search(r"\b([1-5])(?:\.\.|\.[*+]|xx|\[0-9\]\{2\})", query)
    return f"{codes[1]}xx" if codes else metric_name(query)
