"""Requests that go wrong on purpose: denied, throttled, failed, slow, or never answered."""

import threading
from dataclasses import dataclass
from typing import Any

from smoldebug.lab.apierror import ApiError
from smoldebug.lab.identity import User
from smoldebug.lab.rbac import Attributes, forbidden

_REASONS = {
    400: ("BadRequest", "the server rejected our request for an unknown reason"),
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", ""),
    409: (
        "Conflict",
        "the object has been modified; please apply your changes to the latest version",
    ),
    429: ("TooManyRequests", "too many requests, please try again later"),
    500: ("InternalError", "Internal error occurred: the lab was told to fail"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests it meets, and what becomes of them. "*" means any.

    `resource` is a plural, with the subresource after a slash: `pods/log`. `dry_run` True meets
    dry runs only, False everything else. `times` is how many requests it meets before it is used
    up (0: all).

    The request waits `delay` seconds, then is answered with `status`; 0 means it is only delayed.
    With `drop` its connection ends without an answer, with `outage` the whole server goes away
    for so many seconds and comes back with what it had stored. With `after` all this happens
    when the request has been carried out. `webhook` names the admission webhook that refuses.
    """

    verb: str = "*"
    resource: str = "*"
    namespace: str = "*"
    name: str = "*"
    dry_run: bool | None = None
    times: int = 0
    status: int = 403
    message: str = ""
    webhook: str = ""
    retry_after: int = 1
    delay: float = 0.0
    drop: bool = False
    outage: float = 0.0
    after: bool = False

    def meets(self, wanted: Attributes) -> bool:
        asked = (wanted.verb, wanted.resource, wanted.namespace, wanted.name)
        patterns = (self.verb, self.resource, self.namespace, self.name)
        pairs = zip(patterns, asked, strict=True)
        return all(pattern in ("*", value) for pattern, value in pairs)


class Dropped(Exception):
    """The connection is to end without an answer, and the server to be away for `outage` s."""

    def __init__(self, outage: float) -> None:
        super().__init__("told to hang up")
        self.outage = outage


class Faults:
    """The rules in force; the first that meets a request decides. Thread-safe."""

    def __init__(self, *rules: Rule) -> None:
        self._lock = threading.Lock()
        self._left = [(rule, rule.times) for rule in rules]

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._left.append((rule, rule.times))

    def clear(self) -> None:
        with self._lock:
            self._left.clear()

    def find(self, wanted: Attributes) -> Rule | None:
        """The rule a request would meet."""
        with self._lock:
            return next((rule for rule, _ in self._left if rule.meets(wanted)), None)

    def take(self, wanted: Attributes, *, dry_run: bool) -> Rule | None:
        """The rule a request meets now, which is one of the `times` it does so."""
        with self._lock:
            for index, (rule, left) in enumerate(self._left):
                if rule.meets(wanted) and rule.dry_run in (None, dry_run):
                    if left == 1:
                        del self._left[index]
                    elif left:
                        self._left[index] = rule, left - 1
                    return rule
        return None


def carry_out(rule: Rule, user: User, wanted: Attributes, closing: threading.Event) -> None:
    """What a rule does to a request. Raises ApiError or Dropped."""
    if rule.delay:
        closing.wait(rule.delay)
    if rule.drop or rule.outage:
        raise Dropped(rule.outage)
    if rule.webhook:
        message = f'admission webhook "{rule.webhook}" denied the request'
        message += f": {rule.message}" if rule.message else " without explanation"
        raise ApiError(rule.status, _REASONS[rule.status][0], message)
    if rule.status == 403 and not rule.message:
        raise forbidden(user, wanted)
    if rule.status:
        raise _refusal(rule, wanted)


def _refusal(rule: Rule, wanted: Attributes) -> ApiError:
    reason, message = _REASONS.get(rule.status, ("InternalError", "the lab was told to fail"))
    details: dict[str, Any] = {}
    if rule.status in (403, 409):
        kind = wanted.resource.partition("/")[0]
        details = {"name": wanted.name, "group": wanted.group, "kind": kind}
    if rule.status in (429, 503):
        details = {"retryAfterSeconds": rule.retry_after}
    return ApiError(rule.status, reason, rule.message or message, **details)
