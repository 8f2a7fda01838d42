"""Kubernetes timestamps and ages as people write them."""

from datetime import UTC, datetime
from typing import Any


def when(text: Any) -> datetime | None:
    """A Kubernetes timestamp, or None for what is none."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def span(seconds: float) -> str:
    """`45s`, `12m`, `3h`, `2d`: one unit, rounded down."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def age(at: datetime | None, now: datetime) -> str:
    """`12m` since then; "" when it is not known."""
    return span((now - at).total_seconds()) if at else ""
