"""What every block of a playbook is made of: durations, money, documented fields."""

import re

import msgspec
from msgspec import Meta

from smoldebug.records import Json

_DURATION = re.compile(
    r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9}(?:\.\d{1,3})?)s)?(?:(\d{1,9})ms)?",
    re.ASCII,
)
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1), ("ms", 0.001))
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)


class Duration(float):
    """Seconds, written as `500ms`, `30s`, `5m`, `1h30m` or a bare number of seconds."""

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Raises ValueError unless `text` is a duration."""
        if _NUMBER.fullmatch(text):
            return cls(text)
        found = _DURATION.fullmatch(text)
        if not found or not text:
            raise ValueError(f"not a duration: {text!r}")
        return cls(
            sum(float(n or 0) * size for n, (_, size) in zip(found.groups(), _UNITS, strict=True))
        )

    def __str__(self) -> str:
        """The shortest spelling that `parse` reads back to the millisecond: `1h30m`, `500ms`."""
        left, said = round(self * 1000), ""
        for unit, size in _UNITS:
            count, left = divmod(left, round(size * 1000))
            said += f"{count}{unit}" if count else ""
        return said or "0s"


class Money(float):
    """US dollars, written as `$1.00` or a bare number."""

    @classmethod
    def parse(cls, text: str) -> "Money":
        """Raises ValueError unless `text` is an amount of money."""
        if not _NUMBER.fullmatch(text.removeprefix("$")):
            raise ValueError(f"not an amount of money: {text!r}")
        return cls(text.removeprefix("$"))

    def __str__(self) -> str:
        cents = f"{float(self):.2f}"
        return f"${cents if float(cents) == self else format(float(self), '.6f').rstrip('0')}"


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all playbook blocks: unknown keys are errors."""


def doc(text: str, *examples: Json) -> Meta:
    return Meta(description=text, examples=list(examples) or None)


def later(text: str) -> Meta:
    """A part that loads and that this version does not run: see RunPlan.unsupported."""
    return Meta(description=f"{text} (not supported yet).", extra={"later": True})
