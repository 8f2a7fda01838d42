"""Requests that go wrong on purpose: denied, throttled, failed or slow."""

import threading
from dataclasses import dataclass

from smoldebug.lab.apierror import ApiError
from smoldebug.lab.catalog import Resource
from smoldebug.lab.requests import Target

USER = "lab-admin"
_REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    429: ("TooManyRequests", "too many requests, please try again later"),
    500: ("InternalError", "Internal error occurred: the lab was told to fail"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests it meets, and what becomes of them. "*" means any.

    `resource` is a plural, with the subresource after a slash: `pods/log`. With status 0 the
    request is only delayed, by `delay` seconds.
    """

    verb: str = "*"
    resource: str = "*"
    namespace: str = "*"
    status: int = 403
    message: str = ""
    delay: float = 0.0

    def meets(self, verb: str, resource: str, namespace: str) -> bool:
        wanted = zip(
            (self.verb, self.resource, self.namespace), (verb, resource, namespace), strict=True
        )
        return all(pattern in ("*", value) for pattern, value in wanted)


class Faults:
    """The rules in force; the first that meets a request decides. Thread-safe."""

    def __init__(self, *rules: Rule) -> None:
        self._rules, self._lock = list(rules), threading.Lock()

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def find(self, verb: str, resource: str, namespace: str) -> Rule | None:
        with self._lock:
            return next((r for r in self._rules if r.meets(verb, resource, namespace)), None)


def path_of(target: Target) -> str:
    """`pods` or `pods/log`, as in RBAC."""
    return "/".join(filter(None, (target.resource.plural, target.subresource)))


def refusal(rule: Rule, target: Target) -> ApiError:
    """The error a rule answers with."""
    if rule.status == 403:
        message = rule.message or _forbidden(target.resource, target)
        return ApiError(
            403,
            "Forbidden",
            message,
            name=target.name,
            group=target.resource.group,
            kind=target.resource.plural,
        )
    reason, message = _REASONS.get(rule.status, ("InternalError", "the lab was told to fail"))
    return ApiError(rule.status, reason, rule.message or message)


def _forbidden(resource: Resource, target: Target) -> str:
    named = f'{resource.qualified} "{target.name}"' if target.name else resource.qualified
    where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
    return (
        f'{named} is forbidden: User "{USER}" cannot {target.verb} resource "{path_of(target)}" '
        f'in API group "{resource.group}" {where}'
    )
