"""Kubernetes timestamps and ages as people write them."""

import re
from datetime import UTC, datetime
from typing import Any

from smoldebug.errors import ToolError

_N = r"(\d{1,9}(?:\.\d{1,3})?)"
_PARTS = re.compile(rf"(?:{_N}h)?(?:{_N}m)?(?:{_N}s)?|{_N}")


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


def seconds(text: str) -> float:
    """`90s`, `5m`, `1h30m` or a bare number of seconds. Raises ToolError for anything else."""
    found = _PARTS.fullmatch(text.strip())
    if found and any(found.groups()):
        hours, minutes, rest, bare = (float(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + rest + bare
    raise ToolError(f"not a duration like 30s, 5m or 1h30m: {text!r}")
