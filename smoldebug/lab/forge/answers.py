"""What goes back to a client, and the ways GitHub says no."""

import json
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from smoldebug.lab.forge.faults import Rule

DOCS = "https://docs.github.com/rest"
LIMIT = 5000  # requests per hour, as GitHub grants; the forge itself never runs out

_MESSAGES = {
    401: "Bad credentials",
    403: "Resource not accessible by personal access token",
    404: "Not Found",
    422: "Validation Failed",
    429: "API rate limit exceeded for user ID 1.",
    500: "Server Error",
    502: "Server Error",
    503: "Service Unavailable",
}
_SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` in one piece, or in chunks as they come."""

    status: int
    body: bytes | Generator[bytes]
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def whole(self) -> "Answer":
        """With the body in one piece, once all of it has come."""
        return self if isinstance(self.body, bytes) else replace(self, body=b"".join(self.body))


class ForgeError(Exception):
    """A no: HTTP status, message, and GitHub's list of what is wrong."""

    def __init__(
        self, status: int, message: str = "", *errors: Any, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message or _MESSAGES.get(status, "Error"))
        self.status, self.errors, self.headers = status, errors, headers or {}

    def answer(self) -> Answer:
        document = {
            "message": str(self),
            **({"errors": self.errors} if self.errors else {}),
            "documentation_url": DOCS,
            "status": str(self.status),
        }
        return as_json(document, self.status, {**rate_limit_headers(), **self.headers})


def not_found() -> ForgeError:
    return ForgeError(404)


def invalid(resource: str, field: str = "", code: str = "invalid", message: str = "") -> ForgeError:
    """A 422 with one entry in `errors`."""
    entry = {"resource": resource, "code": code}
    entry |= {name: value for name, value in (("field", field), ("message", message)) if value}
    return ForgeError(422, "", entry)


def as_json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    body = b"" if status == 204 else json.dumps(document).encode()
    return Answer(status, body, headers=headers or rate_limit_headers())


def as_text(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, text.encode(), "text/plain; charset=utf-8", headers or {})


def rate_limit_headers(remaining: int = LIMIT - 1, reset_in: int = 3600) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(LIMIT),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Used": str(LIMIT - remaining),
        "X-RateLimit-Reset": str(int(time.time()) + reset_in),
        "X-RateLimit-Resource": "core",
    }


def refusal(rule: Rule) -> ForgeError:
    """The error a fault asks for."""
    wait = {"Retry-After": str(rule.retry_after)} if rule.retry_after else {}
    if rule.status == 403 and wait:
        return ForgeError(403, rule.message or _SECONDARY, headers=wait)
    if rule.status == 429:
        limits = rate_limit_headers(0, rule.retry_after or 1)
        return ForgeError(429, rule.message, headers={**limits, **wait})
    if rule.status == 422 and rule.message:
        return invalid("PullRequest", code="custom", message=rule.message)
    return ForgeError(rule.status, rule.message, headers=wait)
