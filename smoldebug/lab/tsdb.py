"""Time series in memory: the exposition text of /metrics in, samples of the last minutes out."""

import re
import struct
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]  # sorted pairs, the metric's name as __name__
Matcher = Callable[[Mapping[str, str]], bool]

RETENTION = 15 * 60_000  # milliseconds; a series without newer samples is forgotten
SERIES_LIMIT = 20_000  # a pod that invents labels must not eat the machine
_STALE_BITS = struct.pack("<Q", 0x7FF8_0000_0000_DEAD)
STALE: float = struct.unpack("<d", _STALE_BITS)[0]  # a NaN that says: this series has ended

_LINE = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?'
    r"[ \t]*(?P<value>[^ \t]+)(?:[ \t]+(?P<time>-?[0-9]+))?[ \t]*"
)
_LABEL = re.compile(
    r'[ \t]*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"(?P<value>(?:[^"\\]|\\.)*)"[ \t]*(?:,|$)'
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


def is_stale(value: float) -> bool:
    return value != value and struct.pack("<d", value) == _STALE_BITS


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


def parse_exposition(text: str) -> Iterator[Sample]:
    """Read the Prometheus text format. Raises ValueError at the first line that is none.

    Timestamps are checked and dropped: every sample counts as of its scrape.
    """
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        try:
            if not found or "_" in found["value"]:  # float() would accept 1_000
                raise ValueError("not a sample")
            yield Sample(found["name"], _parse_labels(found["labels"] or ""), float(found["value"]))
        except ValueError:
            raise ValueError(f"line {number} is not a sample: {line[:80]!r}") from None


def _parse_labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    position = 0
    while position < len(text.rstrip(" \t")):
        found = _LABEL.match(text, position)
        if not found or found["name"] in labels:
            raise ValueError("not a label")
        unescaped = _ESCAPE.sub(lambda e: _ESCAPED.get(e[1], e[0]), found["value"])
        labels[found["name"]] = unescaped
        position = found.end()
    return labels


@dataclass(slots=True)
class Series:
    """One series; `times` are unix milliseconds, oldest first."""

    labels: Mapping[str, str]
    times: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, time: int, value: float) -> None:
        if self.times and time <= self.times[-1]:
            return
        self.times.append(time)
        self.values.append(value)
        if self.times[0] < time - RETENTION - 60_000:  # in blocks: deleting at the front is slow
            self.forget(time - RETENTION)

    def forget(self, before: int) -> None:
        cut = bisect_left(self.times, before)
        del self.times[:cut], self.values[:cut]

    def between(self, start: int, end: int) -> "tuple[array[int], array[float]]":
        """The samples of [start, end]."""
        low, high = bisect_left(self.times, start), bisect_right(self.times, end)
        return self.times[low:high], self.values[low:high]

    def at(self, time: int, lookback: int) -> tuple[int, float] | None:
        """The last sample of (time - lookback, time], unless the series has ended."""
        index = bisect_right(self.times, time) - 1
        if index < 0 or self.times[index] <= time - lookback or is_stale(self.values[index]):
            return None
        return self.times[index], self.values[index]


class Tsdb:
    """All series. One thread writes, many read."""

    def __init__(self) -> None:
        self._series: dict[Labels, Series] = {}
        self._lock = threading.Lock()

    def add(self, labels: Mapping[str, str], time: int, value: float) -> Labels | None:
        """Append a sample at `time` (unix ms); None when there are too many series already."""
        key = tuple(sorted((name, text) for name, text in labels.items() if text))
        with self._lock:
            series = self._series.get(key)
            if series is None:
                if len(self._series) >= SERIES_LIMIT:
                    return None
                series = self._series[key] = Series(dict(key))
            series.add(time, value)
        return key

    def end(self, key: Labels, time: int) -> None:
        """Say that a series has no newer samples."""
        with self._lock:
            if key in self._series:
                self._series[key].add(time, STALE)

    def forget(self, now: int) -> None:
        """Drop the series whose last sample is older than the retention."""
        with self._lock:
            old = [k for k, s in self._series.items() if s.times[-1] < now - RETENTION]
            for key in old:
                del self._series[key]

    def select(self, matches: Matcher) -> list[tuple[Labels, Series]]:
        with self._lock:
            return [(key, s) for key, s in self._series.items() if matches(s.labels)]
