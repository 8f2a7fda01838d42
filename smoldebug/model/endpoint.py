"""What stands between a smolagents model and its HTTP endpoint: limits, one retry, a sane answer.

smolagents sends every request of an API model through the model's `retryer`. The stock one sleeps
for minutes on 429, gives up at once on 503, and what comes back is read as if it were complete.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from smolagents.models import ApiModel

PASSING = (408, 409, 425, 429)  # and 5xx: the same request may work a moment later
# By name: each client library has classes of its own, and none of them need be installed.
LOST = {"APIConnectionError", "NetworkError", "RemoteProtocolError"}


@dataclass(frozen=True)
class RequestLimits:
    """Times in seconds. All tries together stay below the agent's own limit for one answer."""

    timeout: float = 120.0  # without a byte from the endpoint
    tries: int = 2
    pause: float = 1.0  # before another try, where no Retry-After says how long
    longest_pause: float = 20.0  # who asks for more loses its turn to the next of the chain


def through(model: ApiModel, limits: RequestLimits) -> ApiModel:
    """The model, its requests bounded by `limits` and its answers made complete."""
    model.retryer = _Requests(limits)
    return model


class _Requests:
    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits

    def __call__(self, send: Callable[..., Any], **request: Any) -> Any:
        for _ in range(self.limits.tries - 1):
            try:
                return _answer(send, request)
            except Exception as error:
                pause = self._pause(error)
                if pause is None:
                    raise
            time.sleep(pause)
        return _answer(send, request)

    def _pause(self, error: Exception) -> float | None:
        """Seconds to wait before another try; None when there should be none."""
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", 0)
        if not status and not _lost(error):
            return None
        if status and status < 500 and status not in PASSING:
            return None
        pause = _retry_after(response, self.limits.pause)
        return pause if pause <= self.limits.longest_pause else None


def _lost(error: Exception) -> bool:
    """The connection broke. A time-out is none: it has cost the operator enough time already."""
    names = {each.__name__ for each in type(error).__mro__}
    return bool(names & LOST) and "Timeout" not in type(error).__name__


def _retry_after(response: Any, otherwise: float) -> float:
    value = getattr(response, "headers", {}).get("retry-after", "")
    return float(value) if value.replace(".", "", 1).isdecimal() else otherwise


def _answer(send: Callable[..., Any], request: dict[str, Any]) -> Any:
    """The response, with a usage: smolagents fails without one, and many servers send none.

    Raises ValueError when it holds no answer. What it holds instead is quoted in full: whoever
    shows it masks secrets first and shortens it then.
    """
    try:
        response = send(**request)
    except json.JSONDecodeError as error:
        raise ValueError(f"the endpoint's answer is no JSON: {error}") from error
    if not getattr(response, "choices", None):
        raise ValueError(f"no chat completion in the endpoint's answer: {response}")
    response.usage = SimpleNamespace(
        prompt_tokens=_tokens(response.usage, "prompt_tokens"),
        completion_tokens=_tokens(response.usage, "completion_tokens"),
    )
    return response


def _tokens(usage: Any, name: str) -> int:
    count = getattr(usage, name, None)
    return max(0, count) if isinstance(count, int) else 0
