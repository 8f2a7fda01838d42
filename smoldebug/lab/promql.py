"""PromQL over the lab's series, as Prometheus 2 evaluates it; the parser is promql-parser.

A value is a float (scalar), a str, a Vector (labels -> value) or a Matrix (labels -> samples).
What is not supported raises Unsupported with its name.
"""

import math
import operator
import re
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import promql_parser as ast

from smoldebug.lab.tsdb import Labels, Matcher, Series, Tsdb, is_stale

Vector = dict[Labels, float]
Matrix = dict[Labels, "Window"]
Value = float | str | Vector | Matrix

LOOKBACK = 5 * 60_000  # milliseconds an instant selector looks back
_MANY = "multiple matches for labels"
MAX_POINTS = 11_000  # per series of a range query, as Prometheus limits it


class QueryError(Exception):
    """A query that cannot be answered; `kind` is Prometheus' errorType."""

    kind = "execution"


class BadQuery(QueryError):
    kind = "bad_data"


class Unsupported(QueryError):
    def __init__(self, what: str) -> None:
        super().__init__(f"not supported by the lab's Prometheus: {what}")


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of one series in a range [start, end] (unix ms)."""

    times: "array[int]"
    values: "array[float]"
    start: int
    end: int


def parse(query: str) -> Any:
    """Raises BadQuery."""
    try:
        return ast.parse(query)
    except ValueError as error:
        raise BadQuery(f'invalid parameter "query": {error}') from None


def instant(tsdb: Tsdb, query: str, time: int) -> Value:
    """The value of a query at `time` (unix ms). Raises QueryError."""
    return Evaluator(tsdb, time).evaluate(parse(query))


def over_range(
    tsdb: Tsdb, query: str, start: int, end: int, step: int
) -> dict[Labels, list[tuple[int, float]]]:
    """The points of each series between start and end (unix ms). Raises QueryError."""
    if step <= 0 or end < start:
        raise BadQuery("zero or negative step or range")
    if (end - start) // step >= MAX_POINTS:
        raise BadQuery(f"exceeded maximum resolution of {MAX_POINTS:,} points per timeseries")
    tree = parse(query)
    points: dict[Labels, list[tuple[int, float]]] = {}
    for time in range(start, end + 1, step):
        value = Evaluator(tsdb, time).evaluate(tree)
        vector: Any = {(): value} if isinstance(value, float) else value
        if isinstance(vector, str) or any(isinstance(v, Window) for v in vector.values()):
            raise BadQuery("invalid expression type for range query, must be Scalar or Vector")
        for labels, number in vector.items():
            points.setdefault(labels, []).append((time, number))
    return points


def selector(text: str) -> Any:
    """A parsed `match[]` parameter. Raises BadQuery."""
    tree = parse(text)
    if type(tree).__name__ != "VectorSelector":
        raise BadQuery(f'invalid parameter "match[]": not a selector: {text}')
    return tree


def selects(selector: Any) -> Matcher:
    """What a parsed vector selector asks of a series' labels. Raises BadQuery, Unsupported."""
    if selector.matchers.or_matchers:
        raise Unsupported("or between matchers")
    tests = [_matcher(m) for m in selector.matchers.matchers]
    if selector.name:
        name = selector.name
        tests.append(lambda labels: labels.get("__name__") == name)
    return lambda labels: all(test(labels) for test in tests)


def _matcher(matcher: Any) -> Matcher:
    name, value, op = matcher.name, matcher.value, matcher.op
    if op in (ast.MatchOp.Equal, ast.MatchOp.NotEqual):
        equal = op == ast.MatchOp.Equal
        return lambda labels: (labels.get(name, "") == value) is equal
    pattern = _regex(value)
    positive = op == ast.MatchOp.Re
    return lambda labels: (pattern.fullmatch(labels.get(name, "")) is not None) is positive


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise BadQuery(f"error parsing regexp: {error}: {text!r}") from None


def _without(labels: Labels, *names: str) -> Labels:
    return tuple(pair for pair in labels if pair[0] not in names)


def _only(labels: Labels, names: Iterable[str]) -> Labels:
    return tuple(pair for pair in labels if pair[0] in set(names))


def _unique(pairs: Iterable[tuple[Labels, float]]) -> Vector:
    vector: Vector = {}
    for labels, value in pairs:
        if labels in vector:
            raise QueryError("vector cannot contain metrics with the same labelset")
        vector[labels] = value
    return vector


class Evaluator:
    """Evaluates a parsed query at one time (unix ms)."""

    def __init__(self, tsdb: Tsdb, time: int) -> None:
        self.tsdb, self.time = tsdb, time

    def evaluate(self, node: Any) -> Value:
        visit = getattr(self, f"_{type(node).__name__}", None)
        if visit is None:
            raise Unsupported(type(node).__name__.removesuffix("Expr").lower())
        value: Value = visit(node)
        return value

    def vector(self, node: Any) -> Vector:
        value = self.evaluate(node)
        return value if isinstance(value, dict) else {}  # type: ignore[return-value]

    def scalar(self, node: Any) -> float:
        value = self.evaluate(node)
        return value if isinstance(value, float) else math.nan

    def samples(self, selector: Any) -> Iterable[tuple[Labels, int, float]]:
        """The last sample of each selected series: labels, its time, its value."""
        end = self.time - _offset(selector)
        for labels, series in self.tsdb.select(selects(selector)):
            if sample := series.at(end, LOOKBACK):
                yield labels, *sample

    def _NumberLiteral(self, node: Any) -> Value:
        return float(node.val)

    def _StringLiteral(self, node: Any) -> Value:
        return str(node.val)

    def _ParenExpr(self, node: Any) -> Value:
        return self.evaluate(node.expr)

    def _UnaryExpr(self, node: Any) -> Value:
        value = self.evaluate(node.expr)
        return -value if isinstance(value, float) else _map(value, operator.neg)  # type: ignore[arg-type]

    def _VectorSelector(self, node: Any) -> Value:
        return {labels: value for labels, _, value in self.samples(node)}

    def _MatrixSelector(self, node: Any) -> Value:
        selector = node.vector_selector
        end = self.time - _offset(selector)
        start = end - round(node.range.total_seconds() * 1000)
        windows = (
            (labels, _window(series, start, end))
            for labels, series in self.tsdb.select(selects(selector))
        )
        return {labels: window for labels, window in windows if window.times}

    def _AggregateExpr(self, node: Any) -> Value:
        return aggregate(self, node)

    def _BinaryExpr(self, node: Any) -> Value:
        return binary(self, node)

    def _Call(self, node: Any) -> Value:
        name = node.func.name
        if name in OVER_TIME:
            return _over_time(self, name, node.args)
        if name in NUMERIC:
            return _map(self.vector(node.args[0]), NUMERIC[name])
        if name not in FUNCTIONS:
            raise Unsupported(f"{name}()")
        return FUNCTIONS[name](self, node.args)


def _offset(selector: Any) -> int:
    if selector.at is not None:
        raise Unsupported("the @ modifier")
    return round(selector.offset.total_seconds() * 1000) if selector.offset else 0


def _window(series: Series, start: int, end: int) -> Window:
    times, values = series.between(start, end)
    if any(is_stale(value) for value in values):
        kept = [(t, v) for t, v in zip(times, values, strict=True) if not is_stale(v)]
        times, values = array("q", (t for t, _ in kept)), array("d", (v for _, v in kept))
    return Window(times, values, start, end)


def _single(value: float) -> Vector:
    return {(): value}


def _map(vector: Vector, change: Callable[[float], float]) -> Vector:
    return _unique((_without(labels, "__name__"), change(v)) for labels, v in vector.items())


# Functions over a range ---------------------------------------------------------------------


def _increase(window: Window, *, counter: bool = True) -> float | None:
    """The change over the whole range, extrapolated to its ends as Prometheus does."""
    times, values = window.times, window.values
    if len(times) < 2:
        return None
    change = values[-1] - values[0]
    if counter:
        change += sum(a for a, b in zip(values, values[1:], strict=False) if b < a)
    sampled = (times[-1] - times[0]) / 1000
    to_start, to_end = (times[0] - window.start) / 1000, (window.end - times[-1]) / 1000
    if counter and change > 0 and values[0] >= 0:
        to_start = min(to_start, sampled * values[0] / change)  # a counter starts at zero
    average = sampled / (len(times) - 1)
    covered = sampled
    for gap in (to_start, to_end):
        covered += gap if gap < average * 1.1 else average / 2
    return change * covered / sampled


def _rate(window: Window) -> float | None:
    change = _increase(window)
    return None if change is None else change / ((window.end - window.start) / 1000)


def _last_change(window: Window, *, rate: bool) -> float | None:
    if len(window.times) < 2:
        return None
    before, last = window.values[-2:]
    seconds = (window.times[-1] - window.times[-2]) / 1000
    if not rate:
        return last - before
    return (last if last < before else last - before) / seconds


def _deviation(values: Iterable[float]) -> float:
    numbers = list(values)
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum((v - mean) ** 2 for v in numbers) / len(numbers))


def quantile(q: float, values: Iterable[float]) -> float:
    ordered = sorted(values)
    if not ordered or math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return -math.inf if q < 0 else math.inf
    rank = q * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] * (1 - (rank - low)) + ordered[high] * (rank - low)


def _pairs(window: Window, test: Callable[[float, float], bool]) -> float:
    values = window.values
    return float(sum(test(a, b) for a, b in zip(values, values[1:], strict=False)))


OVER_TIME: dict[str, Callable[[Window], float | None]] = {
    "rate": _rate,
    "increase": _increase,
    "delta": lambda w: _increase(w, counter=False),
    "irate": lambda w: _last_change(w, rate=True),
    "idelta": lambda w: _last_change(w, rate=False),
    "changes": lambda w: _pairs(w, operator.ne),
    "resets": lambda w: _pairs(w, operator.gt),
    "sum_over_time": lambda w: math.fsum(w.values),
    "avg_over_time": lambda w: math.fsum(w.values) / len(w.values),
    "min_over_time": lambda w: min(w.values),
    "max_over_time": lambda w: max(w.values),
    "count_over_time": lambda w: float(len(w.values)),
    "last_over_time": lambda w: w.values[-1],
    "present_over_time": lambda _: 1.0,
    "stddev_over_time": lambda w: _deviation(w.values),
}


def _over_time(run: Evaluator, name: str, args: list[Any]) -> Value:
    return _windows(run, args[0], OVER_TIME[name], keep_name=name == "last_over_time")


def _windows(
    run: Evaluator, node: Any, reduce: Callable[[Window], float | None], *, keep_name: bool = False
) -> Vector:
    matrix: Matrix = run.evaluate(node)  # type: ignore[assignment]
    values = ((labels, reduce(window)) for labels, window in matrix.items())
    return _unique(
        (labels if keep_name else _without(labels, "__name__"), value)
        for labels, value in values
        if value is not None
    )


# Functions over an instant ------------------------------------------------------------------


def _guarded(function: Callable[[float], float], at_zero: float) -> Callable[[float], float]:
    """A function of `math` that answers as IEEE arithmetic does instead of raising."""

    def answer(value: float) -> float:
        try:
            return function(value)
        except (ValueError, OverflowError):
            return at_zero if value == 0 or value > 1 else math.nan

    return answer


def _whole(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: float(function(value)) if math.isfinite(value) else value


NUMERIC: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "ceil": _whole(math.ceil),
    "floor": _whole(math.floor),
    "sqrt": _guarded(math.sqrt, math.nan),
    "exp": _guarded(math.exp, math.inf),
    "ln": _guarded(math.log, -math.inf),
    "log2": _guarded(math.log2, -math.inf),
    "log10": _guarded(math.log10, -math.inf),
    "sgn": lambda v: v if v == 0 or math.isnan(v) else math.copysign(1.0, v),
}


def _round(run: Evaluator, args: list[Any]) -> Value:
    inverse = 1 / (run.scalar(args[1]) if len(args) > 1 else 1.0)
    floor = NUMERIC["floor"]
    return _map(run.vector(args[0]), lambda v: floor(v * inverse + 0.5) / inverse)


def _clamp(run: Evaluator, args: list[Any]) -> Value:
    low, high = run.scalar(args[1]), run.scalar(args[2])
    return {} if low > high else _map(run.vector(args[0]), lambda v: max(low, min(high, v)))


def _clamp_min(run: Evaluator, args: list[Any]) -> Value:
    low = run.scalar(args[1])
    return _map(run.vector(args[0]), lambda v: max(low, v))


def _clamp_max(run: Evaluator, args: list[Any]) -> Value:
    high = run.scalar(args[1])
    return _map(run.vector(args[0]), lambda v: min(high, v))


def _scalar(run: Evaluator, args: list[Any]) -> Value:
    values = list(run.vector(args[0]).values())
    return values[0] if len(values) == 1 else math.nan


def _timestamp(run: Evaluator, args: list[Any]) -> Value:
    if type(args[0]).__name__ != "VectorSelector":
        return _map(run.vector(args[0]), lambda _: run.time / 1000)
    return _unique((_without(k, "__name__"), at / 1000) for k, at, _ in run.samples(args[0]))


def _absent(run: Evaluator, args: list[Any]) -> Value:
    if run.vector(args[0]):
        return {}
    if type(args[0]).__name__ != "VectorSelector":
        return _single(1.0)
    matchers = args[0].matchers.matchers
    names = [m.name for m in matchers]
    known = [m for m in matchers if m.op == ast.MatchOp.Equal and names.count(m.name) == 1]
    return {tuple(sorted((m.name, m.value) for m in known if m.name != "__name__")): 1.0}


def _sort(run: Evaluator, args: list[Any], *, reverse: bool = False) -> Value:
    """NaN last, in both directions."""
    sign = -1 if reverse else 1
    items = run.vector(args[0]).items()
    return dict(sorted(items, key=lambda kv: (math.isnan(kv[1]), sign * kv[1])))


def _label_replace(run: Evaluator, args: list[Any]) -> Value:
    target, replacement, source, text = (str(run.evaluate(arg)) for arg in args[1:])
    pattern = _regex(text)

    def expand(found: re.Match[str]) -> str:
        def group(reference: re.Match[str]) -> str:
            name = reference[1].strip("{}")
            try:
                return found[int(name) if name.isdigit() else name] or ""
            except IndexError:
                return ""

        return re.sub(
            r"\$(\w+|\{\w+\}|\$)", lambda r: "$" if r[1] == "$" else group(r), replacement
        )

    def relabel(labels: Labels) -> Labels:
        found = pattern.fullmatch(dict(labels).get(source, ""))
        if not found:
            return labels
        changed = {**dict(labels), target: expand(found)}
        return tuple(sorted((name, value) for name, value in changed.items() if value))

    return _unique((relabel(labels), v) for labels, v in run.vector(args[0]).items())


def _quantile_over_time(run: Evaluator, args: list[Any]) -> Value:
    q = run.scalar(args[0])
    return _windows(run, args[1], lambda window: quantile(q, window.values))


def _histogram_quantile(run: Evaluator, args: list[Any]) -> Value:
    q = run.scalar(args[0])
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in run.vector(args[1]).items():
        try:
            bound = float(dict(labels).get("le", ""))
        except ValueError:
            continue
        groups.setdefault(_without(labels, "__name__", "le"), []).append((bound, value))
    return {labels: bucket_quantile(q, buckets) for labels, buckets in groups.items()}


def bucket_quantile(q: float, buckets: list[tuple[float, float]]) -> float:
    """The q-quantile of cumulative (upper bound, count) buckets, linear inside a bucket."""
    merged: dict[float, float] = {}
    for bound, count in sorted(buckets):
        merged[bound] = merged.get(bound, 0.0) + count
    bounds, counts = list(merged), list(merged.values())
    if math.isnan(q) or bounds[-1] != math.inf or len(bounds) < 2:
        return math.nan
    if not 0 <= q <= 1:
        return -math.inf if q < 0 else math.inf
    for i in range(1, len(counts)):  # scrapes are not atomic: a later bucket may lag behind
        counts[i] = max(counts[i], counts[i - 1])
    if not counts[-1] > 0:
        return math.nan
    rank = q * counts[-1]
    index = next((i for i, count in enumerate(counts[:-1]) if count >= rank), len(counts) - 1)
    if index == len(counts) - 1:
        return bounds[-2]
    if index == 0 and bounds[0] <= 0:
        return bounds[0]
    start, below = (bounds[index - 1], counts[index - 1]) if index else (0.0, 0.0)
    inside = counts[index] - below
    return start + (bounds[index] - start) * ((rank - below) / inside if inside else math.nan)


FUNCTIONS: dict[str, Callable[[Evaluator, list[Any]], Value]] = {
    "round": _round,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "scalar": _scalar,
    "vector": lambda run, args: _single(run.scalar(args[0])),
    "time": lambda run, _: run.time / 1000,
    "timestamp": _timestamp,
    "absent": _absent,
    "sort": _sort,
    "sort_desc": lambda run, args: _sort(run, args, reverse=True),
    "label_replace": _label_replace,
    "quantile_over_time": _quantile_over_time,
    "histogram_quantile": _histogram_quantile,
}


# Aggregation --------------------------------------------------------------------------------


def _extreme(values: list[float], choose: Callable[[Iterable[float]], float]) -> float:
    numbers = [v for v in values if not math.isnan(v)]
    return choose(numbers) if numbers else math.nan


AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "min": lambda values: _extreme(values, min),
    "max": lambda values: _extreme(values, max),
    "count": lambda values: float(len(values)),
    "group": lambda _: 1.0,
    "stddev": _deviation,
    "stdvar": lambda values: _deviation(values) ** 2,
}


def aggregate(run: Evaluator, node: Any) -> Vector:
    name = str(node.op)
    if name not in AGGREGATES and name not in ("topk", "bottomk", "quantile"):
        raise Unsupported(f"{name}()")
    groups: dict[Labels, Vector] = {}
    for labels, value in run.vector(node.expr).items():
        groups.setdefault(_group(labels, node.modifier), {})[labels] = value
    if name in AGGREGATES:
        return {key: AGGREGATES[name](list(group.values())) for key, group in groups.items()}
    param = run.scalar(node.param)
    if name == "quantile":
        return {key: quantile(param, group.values()) for key, group in groups.items()}
    count = int(param) if math.isfinite(param) else 0
    sign = -1 if name == "topk" else 1
    best: Vector = {}
    for group in groups.values():
        ranked = sorted(group.items(), key=lambda kv: (math.isnan(kv[1]), sign * kv[1]))
        best.update(ranked[: max(0, count)])
    return best


def _group(labels: Labels, modifier: Any) -> Labels:
    if modifier is None:
        return ()
    if modifier.type == ast.AggModifierType.By:
        return _only(labels, modifier.labels)
    return _without(labels, "__name__", *modifier.labels)


# Operators ----------------------------------------------------------------------------------


def _divide(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a * (1 / _unit(b)))
    return a / b


def _unit(zero: float) -> float:
    return math.copysign(1.0, zero)


def _modulo(a: float, b: float) -> float:
    return math.nan if b == 0 or math.isinf(a) else math.fmod(a, b)


def _power(a: float, b: float) -> float:
    try:
        result = a**b
    except ZeroDivisionError:
        return math.inf
    except OverflowError:
        return math.inf if a > 0 or b % 2 == 0 else -math.inf
    return result if isinstance(result, float) else math.nan


ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": _modulo,
    "^": _power,
    "atan2": math.atan2,
}
COMPARISON: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True)
class _Operator:
    """One arithmetic operator or comparison, with what it does to a metric's name."""

    name: str
    as_bool: bool

    @property
    def keeps_name(self) -> bool:
        return self.name in COMPARISON and not self.as_bool

    def __call__(self, left: float, right: float) -> float | None:
        """None when a comparison filters the sample out."""
        if self.name in ARITHMETIC:
            return ARITHMETIC[self.name](left, right)
        holds = COMPARISON[self.name](left, right)
        if self.as_bool:
            return float(holds)
        return left if holds else None


def binary(run: Evaluator, node: Any) -> Value:
    name = str(node.op)
    left, right = run.evaluate(node.lhs), run.evaluate(node.rhs)
    if name in ("and", "or", "unless"):
        return _set_operation(name, left, right, node.modifier)  # type: ignore[arg-type]
    if name not in ARITHMETIC and name not in COMPARISON:
        raise Unsupported(f"operator {name}")
    op = _Operator(name, bool(node.modifier and node.modifier.return_bool))
    if isinstance(left, float) and isinstance(right, float):
        return op(left, right) or 0.0
    if isinstance(left, dict) and isinstance(right, dict):
        return _match_vectors(op, left, right, node.modifier)  # type: ignore[arg-type]
    return _with_scalar(op, left, right)


def _with_scalar(op: _Operator, left: Value, right: Value) -> Vector:
    vector: Vector = left if isinstance(left, dict) else right  # type: ignore[assignment]
    pairs = []
    for labels, value in vector.items():
        result = op(left, value) if isinstance(left, float) else op(value, right)  # type: ignore[arg-type]
        if result is not None:
            if op.keeps_name:
                pairs.append((labels, value))
            else:
                pairs.append((_without(labels, "__name__"), result))
    return _unique(pairs)


def _signature(modifier: Any) -> Callable[[Labels], Labels]:
    matching = modifier and modifier.matching
    if matching and matching.type == ast.LabelModifierType.Include:
        return lambda labels: _only(labels, matching.labels)
    ignored = matching.labels if matching else []
    return lambda labels: _without(labels, "__name__", *ignored)


def _set_operation(name: str, left: Vector, right: Vector, modifier: Any) -> Vector:
    signature = _signature(modifier)
    if name == "or":
        known = {signature(labels) for labels in left}
        return {**left, **{k: v for k, v in right.items() if signature(k) not in known}}
    known = {signature(labels) for labels in right}
    return {k: v for k, v in left.items() if (signature(k) in known) is (name == "and")}


def _match_vectors(op: _Operator, left: Vector, right: Vector, modifier: Any) -> Vector:
    cardinality = modifier.card if modifier else ast.VectorMatchCardinality.OneToOne
    swapped = cardinality == ast.VectorMatchCardinality.OneToMany
    one_to_one = cardinality == ast.VectorMatchCardinality.OneToOne
    many, one = (right, left) if swapped else (left, right)
    signature = _signature(modifier)
    partners = _partners(one, signature)
    result: Vector = {}
    matched: set[Labels] = set()
    for labels, value in many.items():
        key = signature(labels)
        if key not in partners:
            continue
        if one_to_one and key in matched:
            raise QueryError(f"{_MANY}: many-to-one matching must be explicit")
        matched.add(key)
        partner, other = partners[key]
        number = op(other, value) if swapped else op(value, other)
        if number is None:
            continue
        named = labels if op.keeps_name else _without(labels, "__name__")
        include = None if one_to_one else modifier.group_labels
        target = _one_to_one(named, modifier) if one_to_one else _grouped(named, partner, include)
        if target in result:
            raise QueryError(f"{_MANY}: grouping labels must ensure unique matches")
        result[target] = number
    return result


def _partners(
    one: Vector, signature: Callable[[Labels], Labels]
) -> dict[Labels, tuple[Labels, float]]:
    partners: dict[Labels, tuple[Labels, float]] = {}
    for labels, value in one.items():
        if signature(labels) in partners:
            raise QueryError(
                "found duplicate series for the match group on one side of the operation; "
                "many-to-many matching not allowed: matching labels must be unique on one side"
            )
        partners[signature(labels)] = labels, value
    return partners


def _one_to_one(labels: Labels, modifier: Any) -> Labels:
    matching = modifier and modifier.matching
    if not matching:
        return labels
    if matching.type == ast.LabelModifierType.Include:
        return _only(labels, matching.labels)
    return _without(labels, *matching.labels)


def _grouped(labels: Labels, partner: Labels, include: list[str] | None) -> Labels:
    names = include or []
    return tuple(sorted((*_without(labels, *names), *_only(partner, names))))
