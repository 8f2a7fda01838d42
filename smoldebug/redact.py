"""Secrets out of text, with stable masks: the same value is the same mask everywhere in a run."""

import hashlib
import re
from collections.abc import Iterable

from smoldebug.records import Json

_PATTERNS = (
    re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<secret>.*?)-----END [A-Z ]*PRIVATE KEY-----", re.S
    ),
    re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@]+:(?P<secret>[^\s/@]+)@"),
    re.compile(r"\b(?P<secret>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"),
    re.compile(r"(?i)\bauthorization:\s*(?:bearer|basic|token)\s+(?P<secret>\S+)"),
    re.compile(r"(?i)\bbearer\s+(?P<secret>[\w.~+/-]{16,}=*)"),
    re.compile(r"\b(?P<secret>(?:gh[pousr]_|glpat-|xox[abp]-|sk-|hf_|AKIA|AIza)[\w-]{12,})"),
    re.compile(
        r"(?i)\b[\w.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)[\w.-]*"
        r"[\"']?\s*[=:]\s*[\"']?(?P<secret>[^\s\"',;&]{4,})"
    ),
)
_SHORT = 6  # shorter values are too common to mask wherever they occur


class Redactor:
    """Masks patterns of secrets and the exact values it has been told."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self.learn(values)

    def learn(self, values: Iterable[str]) -> None:
        """Exact values to mask from now on: Secrets and environment variables the tool has read."""
        self._values.update(value for value in values if len(value) >= _SHORT)

    def text(self, text: str) -> str:
        for value in sorted(self._values, key=len, reverse=True):
            if value in text:
                text = text.replace(value, mask(value))
        for pattern in _PATTERNS:
            text = pattern.sub(_masked, text)
        return text

    def json(self, value: Json) -> Json:
        """The same for every string of a JSON value (keys are left alone)."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.json(item) for item in value]
        return value


def mask(value: str) -> str:
    """`[secret:3f2a]`: tells two secrets apart without telling what they are."""
    return f"[secret:{hashlib.sha256(value.encode(errors='replace')).hexdigest()[:4]}]"


def _masked(match: re.Match[str]) -> str:
    secret = match.group("secret")
    if secret.startswith("[secret:"):
        return match.group()
    start, end = match.span("secret")
    whole, offset = match.group(), match.start()
    return whole[: start - offset] + mask(secret) + whole[end - offset :]
