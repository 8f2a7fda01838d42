"""Change windows and freezes: when anything may be changed at all."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from smoldebug.playbook.models import Freeze, Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def closed(windows: Sequence[Window], freezes: Iterable[Freeze], now: datetime) -> str:
    """Why nothing may be changed at this moment (aware), or "". A freeze outweighs any window."""
    for freeze in freezes:
        if moment(freeze.from_) <= now < moment(freeze.to, end=True):
            why = f" ({freeze.reason})" if freeze.reason else ""
            return f"changes are frozen until {freeze.to}{why}"
    if windows and not any(_open(window, now) for window in windows):
        return f"it is outside the change windows: {', '.join(map(spoken, windows))}"
    return ""


def spoken(window: Window) -> str:
    """`mon-fri 09:00-17:00 Europe/Berlin` as a list of days."""
    days = f"{' '.join(window.days)} " if window.days else ""
    return f"{days}{window.from_}-{window.to} {window.timezone}"


def minutes(text: str) -> int:
    """Minutes since midnight of `09:00`; `24:00` is the end of the day. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"expected a time of day such as 09:00, got {text[:40]!r}")
    return int(text[:2]) * 60 + int(text[3:])


def moment(text: str, *, end: bool = False) -> datetime:
    """A date is its midnight UTC, as an `end` the next one. Raises ValueError, also where a time
    has no zone: nobody could tell whose it is."""
    wanted = "expected a date such as 2026-12-20, or a time with its zone: 2026-12-20T18:00+01:00"
    try:
        if _DATE.fullmatch(text):
            day = date.fromisoformat(text) + timedelta(days=int(end))
            return datetime.combine(day, time(), UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{wanted}; got {text[:40]!r}") from error
    if found.tzinfo is None:
        raise ValueError(f"{wanted}; got no zone: {text[:40]!r}")
    return found


def zone(name: str) -> tzinfo:
    """Raises ValueError where nobody knows it."""
    if name == "UTC":
        return UTC  # also where the system has no time zone data
    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"not a time zone: {name[:60]!r}") from error
    except KeyError as error:
        raise ValueError(f"unknown time zone {name[:60]!r}, as in Europe/Berlin") from error


def _open(window: Window, now: datetime) -> bool:
    """By the clock on the wall there. A window over midnight belongs to the day it opens on."""
    local = now.astimezone(zone(window.timezone))
    at, opens, closes = local.hour * 60 + local.minute, minutes(window.from_), minutes(window.to)
    today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
    days = window.days or DAYS
    if opens < closes:
        return today in days and opens <= at < closes
    return (today in days and at >= opens) or (yesterday in days and at < closes)
