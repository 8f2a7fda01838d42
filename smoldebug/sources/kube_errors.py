"""What an API server's refusal means, in one place: HTTP status and Status body to our errors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from smoldebug.errors import (
    AccessDenied,
    ChangeRefused,
    Conflict,
    NotFound,
    SmoldebugError,
    ToolError,
    UnreachableError,
)
from smoldebug.sources.world import Expired
from smoldebug.untrusted import one_line

_WRITES = ("patch", "create", "delete", "update")
_PROXY_WORDS = ("error trying to reach service", "no endpoints available", "no service port")

# What a real server says of a JSON patch whose test fails
_SAYS_NOTHING = "the server rejected our request due to an error in our request"


_DENIED = re.compile(r'User ".*" cannot [a-z]+ ')  # in the words of RBAC, not of a webhook
_NO_ANSWER_OF_WEBHOOK = "failed calling webhook"  # with status 500, before anything is stored
LONGEST_PAUSE = 10.0  # seconds; a server that asks for more is asked again after that


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the API server, spelled as an RBAC rule needs it."""

    verb: str
    resource: str  # plural, with the subresource: pods/log
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{where}"


def status_of(body: Any) -> dict[str, Any]:
    """A Kubernetes Status from a response body, or an empty dict."""
    if isinstance(body, bytes | str):
        try:
            body = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeError):
            return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def message_of(body: Any) -> str:
    """The server's own sentence, on one line."""
    found = status_of(body)
    if str(found.get("message")).startswith(_SAYS_NOTHING):
        causes = (found.get("details") or {}).get("causes") or []
        given = "; ".join(str(cause.get("message")) for cause in causes if cause.get("message"))
        return one_line(given, 300) or "a field has another value by now, or is not there"
    return one_line(str(found.get("message") or ""), 300)


def no_such_api(status: int, body: Any) -> bool:
    """Whether a 404 speaks of the API itself (group, version, resource), not of one object."""
    known = status_of(body)
    return status == 404 and (
        not known or "could not find the requested resource" in str(known.get("message"))
    )


def conflicts(body: Any) -> list[str]:
    """The fields that other managers own, of a refused server-side apply: `.spec.replicas`."""
    causes = (status_of(body).get("details") or {}).get("causes") or []
    return [
        str(cause.get("field")) for cause in causes if cause.get("reason") == "FieldManagerConflict"
    ]


def told_to_wait(status: int | None, headers: Mapping[str, str] | None) -> float | None:
    """Seconds after which to send again what a server was too busy to do; None: do not."""
    given = (headers or {}).get("Retry-After", "")
    if status == 429 or (status == 503 and given):
        return min(float(given), LONGEST_PAUSE) if given.isdecimal() else 1.0
    return None


def refused(asked: Asked, context: str, status: int, body: Any) -> SmoldebugError:
    """The error for an answer that is no success."""
    says = message_of(body) or f"HTTP {status}"
    if status == 401:
        return AccessDenied(f"the credentials of context {context} are expired or wrong")
    if status == 403 and (asked.verb not in _WRITES or _DENIED.search(says)):
        return AccessDenied(f"not allowed in context {context}: {asked}", needs=str(asked))
    if status == 404:
        return NotFound(says if asked.name in says else f"{asked.name} not found: {says}")
    if status == 410:
        return Expired(f"the API server of context {context} no longer knows what changed: {says}")
    if asked.verb in _WRITES and (refusal := _write_refused(status, says, body)):
        return refusal
    if status in (400, 403, 405, 409, 415, 422):
        return ToolError(f"the API server refused: {says}")
    if status == 429:
        return UnreachableError(f"the API server of context {context} is overloaded: {says}")
    return UnreachableError(f"the API server of context {context} could not {asked}: {says}")


def _write_refused(status: int, says: str, body: Any) -> ChangeRefused | None:
    """A clear no to a change: nothing has happened. None where that is not known."""
    if status == 409:
        return Conflict(f"the API server refused: {says}")
    if status == 422 and str(status_of(body).get("message")).startswith(_SAYS_NOTHING):
        return Conflict(f"it is not as it was read: {says}")
    if status == 429:
        return ChangeRefused(f"the API server is overloaded and did nothing: {says}")
    if status < 500 or _NO_ANSWER_OF_WEBHOOK in says:
        return ChangeRefused(f"the API server refused: {says}")
    return None


def proxy_failure(asked: Asked, context: str, status: int, body: bytes) -> SmoldebugError | None:
    """The error when the API server's proxy, not the application behind it, gave this answer."""
    known = status_of(body)
    if status >= 500:
        says = message_of(body) if known else one_line(body[:300].decode(errors="replace"), 300)
        words = _PROXY_WORDS if known else _PROXY_WORDS[:1]  # older servers send it as text
        if says.lower().startswith(words):
            return UnreachableError(f"{asked.name}: {says}")
    if status == 401 and known.get("reason") == "Unauthorized":
        return refused(asked, context, status, body)
    if status == 403 and asked.resource in str(known.get("message")):
        return refused(asked, context, status, body)
    kind = (known.get("details") or {}).get("kind")
    if status == 404 and kind == asked.resource.partition("/")[0]:
        return refused(asked, context, status, body)
    return None
