"""Time as a parameter: whoever waits or stamps takes a Clock, so waiting tests take no time."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def now(self) -> datetime:
        """Wall time, timezone-aware, UTC."""
        ...

    def sleep(self, seconds: float, cancel: threading.Event | None = None) -> None:
        """Wait; return early when `cancel` is set."""
        ...


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float, cancel: threading.Event | None = None) -> None:
        if cancel is not None:
            cancel.wait(max(0.0, seconds))
        elif seconds > 0:
            time.sleep(seconds)


class FakeClock:
    """Shipped for tests and replay: sleeping moves it on at once."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.started, self.elapsed = start, 0.0

    def monotonic(self) -> float:
        return self.elapsed

    def now(self) -> datetime:
        return self.started + timedelta(seconds=self.elapsed)

    def sleep(self, seconds: float, cancel: threading.Event | None = None) -> None:
        if cancel is None or not cancel.is_set():
            self.elapsed += max(0.0, seconds)


def duration(seconds: float) -> str:
    """`20ms`, `0.4s`, `44s`, `2m31s`, `10m`, `1h`, `1h02m`."""
    if 0 < seconds < 0.1:
        return f"{max(1, round(1000 * seconds))}ms"
    if seconds < 10:
        return f"{round(seconds, 1):g}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}h" + (f"{minutes % 60:02d}m" if minutes % 60 else "")
    if not minutes:
        return f"{rest}s"
    return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"
