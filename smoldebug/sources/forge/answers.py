"""What a forge's refusal means, in one place: HTTP status, headers and words to our errors."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from smoldebug.clock import duration
from smoldebug.errors import (
    AccessDenied,
    ChangeRefused,
    NotFound,
    SmoldebugError,
    UnreachableError,
)
from smoldebug.sources.forge.site import NAMES, Site
from smoldebug.untrusted import one_line

LONGEST_WAIT = 60.0  # seconds, all pauses of one operation together
PAUSES = (1.0, 2.0, 4.0)  # before another try, where nobody says how long
_BUSY = (502, 503, 504)
_SECONDARY = 60.0  # GitHub asks for a minute where it names no time
_CUT = ("connection reset", "it closed the connection without an answer")


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal. `status` 0: there was none, and `says` tells why. Header names in lower case."""

    status: int
    says: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def limited(self) -> bool:
        """A limit of requests, GitHub's by status 403 too."""
        return self.status == 429 or (
            self.status == 403
            and (
                "retry-after" in self.headers
                or self.headers.get("x-ratelimit-remaining") == "0"
                or "rate limit" in self.says.lower()
            )
        )

    @property
    def clear_no(self) -> bool:
        """Nothing has happened, and the next try would end the same way."""
        return 400 <= self.status < 500 and self.status not in (401, 408) and not self.limited


@dataclass(frozen=True, slots=True)
class Asked:
    doing: str  # "open a pull request"
    needs: str  # the permission: "pull_requests: write"


def words(body: Any) -> str:
    """What a forge says of a refusal, whichever shape it has: one line, fields with their names."""
    return one_line("; ".join(dict.fromkeys(part for part in _parts(body) if part)), 300)


def _parts(body: Any, depth: int = 4) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, list) and depth:
        for item in body[:10]:
            yield from _parts(item, depth - 1)
    elif isinstance(body, dict) and depth:
        yield from _of_fields(body, depth - 1)


_SAID = ("message", "error_description", "error", "errors")


def _of_fields(body: Mapping[Any, Any], depth: int) -> Iterator[str]:
    if "field" in body:  # GitHub: {"resource": "PullRequest", "field": "base", "code": "invalid"}
        yield f"{body['field']}: {body.get('message') or body.get('code')}"
    elif any(name in body for name in _SAID):
        for name in _SAID:
            yield from _parts(body.get(name), depth)
    else:  # GitLab: {"title": ["can't be blank"]}
        for name, value in body.items():
            said = ", ".join(_parts(value, depth))
            if said:
                yield f"{name}: {said}"


def pause(answer: Answer, tries: int, now: datetime) -> float | None:
    """Seconds to wait before another try; None: another would not help."""
    cut = answer.status == 0 and answer.says in _CUT
    if tries >= len(PAUSES) or not (cut or answer.limited or answer.status in _BUSY):
        return None
    told = _told(answer, now)
    if told is not None:
        return max(told, 1.0)
    secondary = answer.status == 403 or "secondary" in answer.says.lower()
    return _SECONDARY if secondary else PAUSES[tries]


def _told(answer: Answer, now: datetime) -> float | None:
    """Seconds, as the headers tell them."""
    after = answer.headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,6}", after):
        return float(after)
    if after:
        try:
            return (parsedate_to_datetime(after).astimezone(UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    if answer.limited:
        for name in ("x-ratelimit-reset", "ratelimit-reset"):
            if re.fullmatch(r"\d{1,11}", answer.headers.get(name, "")):
                return float(answer.headers[name]) - now.timestamp() + 1
    return None


def refused(answer: Answer, asked: Asked, site: Site, now: datetime) -> SmoldebugError:
    """The error for an answer that is no success, after the last try."""
    says = answer.says.replace(site.token, "[token]") if site.token else answer.says
    because = f": {says}" if says else ""
    if answer.status == 0:
        return UnreachableError(f"{site.host}: {says}")
    if answer.limited:
        return UnreachableError(f"{site.host} allows no more requests{_until(answer, now)}")
    if answer.status < 300:
        return UnreachableError(f"{site.host} does not answer as {NAMES[site.kind]} does{because}")
    if answer.status < 400:
        return UnreachableError(f"{site.host} sends us elsewhere (HTTP {answer.status}){because}")
    if answer.status in (401, 403, 404) and not site.token:
        return no_token(site, asked)
    if answer.status == 401:
        return AccessDenied(f"{site.host} does not accept the token in {site.variable}")
    if answer.status == 403:
        return _forbidden(answer, asked, site, because)
    if answer.status == 404:
        return NotFound(
            f"cannot {asked.doing}: {site.host} has no such thing, or the token in "
            f"{site.variable} cannot see it: {site.path}"
        )
    if answer.clear_no:
        return ChangeRefused(f"{site.host} refused to {asked.doing}{because}")
    return UnreachableError(f"{site.host} could not {asked.doing}: HTTP {answer.status}{because}")


def no_token(site: Site, asked: Asked) -> AccessDenied:
    return AccessDenied(
        f"{site.host} needs a token to {asked.doing}, set: {site.variable}", needs=asked.needs
    )


def _forbidden(answer: Answer, asked: Asked, site: Site, because: str) -> AccessDenied:
    told = answer.headers.get("x-accepted-github-permissions", "")  # a=write,b=read;c=write
    for sign, word in (("=", ": "), (",", " and "), (";", " or ")):
        told = told.replace(sign, word)
    needs = one_line(told, 120) or asked.needs
    return AccessDenied(
        f"the token in {site.variable} may not {asked.doing} in {site.path}, "
        f"it needs {needs}{because}",
        needs=needs,
    )


def _until(answer: Answer, now: datetime) -> str:
    wait = _told(answer, now)
    if wait is None or not 0 < wait < 10 * 86400:
        return ""
    return f" until {now + timedelta(seconds=wait):%H:%M:%S} UTC (in {duration(wait)})"
