"""The tree of a file: values that know where they stand, and what a bare scalar means.

Scalars stay text here: what `on`, `1.10` or `5m` means is decided by the type that is wanted
(`convert.py`).
"""

import re
from typing import NamedTuple

import msgspec

from smoldebug.records import Json
from smoldebug.untrusted import one_line

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?|[-+]?\.[0-9]+")
_AMBIGUOUS = re.compile(r"[-+]?0[0-9_]+|0[xob][0-9a-fA-F_]+|[-+]?\.(inf|nan)", re.IGNORECASE)
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_LARGEST = 2**53  # beyond it JSON readers disagree


class At(NamedTuple):
    """Where something stands, 1-based."""

    line: int
    column: int


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing wrong with a file. `key` is a dotted path such as `goal.all[0].http`, or ""."""

    at: At
    key: str
    says: str

    def text(self, file: str) -> str:
        return f"{place(file, self.at)} {self.message}"

    @property
    def message(self) -> str:
        subject = f"{one_line(self.key, 120)}: " if self.key else ""
        return subject + one_line(self.says, 400)


class Scalar(msgspec.Struct, frozen=True):
    at: At
    text: str
    bare: bool  # written without quotes


class Given(msgspec.Struct, frozen=True):
    """A value put in for an expression. `sample` stands for an input nobody has given yet."""

    at: At
    value: Json
    sample: bool = False


class Items(msgspec.Struct, frozen=True):
    at: At
    nodes: "tuple[Node, ...]"


class Block(msgspec.Struct, frozen=True):
    at: At
    nodes: "dict[str, Node]"
    keys: dict[str, At]


Node = Scalar | Given | Items | Block


def resolve(text: str) -> Json:
    """What a bare scalar means in YAML 1.2's core schema: null, true, 5, 0.5, else text.

    `on`, `yes`, `NO` and `1:30` are text. Raises ValueError for what readers disagree about.
    """
    if text.lower() in _WORDS and text in (text.lower(), text.upper(), text.capitalize()):
        return _WORDS[text.lower()]
    if _AMBIGUOUS.fullmatch(text):
        raise ValueError(
            f"YAML readers disagree about {text[:20]}: quote it, or write it in decimal"
        )
    if _INT.fullmatch(text):
        number = int(text) if len(text) < 20 else _LARGEST + 1
        if abs(number) > _LARGEST:
            raise ValueError(f"{text[:20]} is too large a number")
        return number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{text[:20]} is too large a number")
        return value
    return text


def plain_value(node: Node) -> Json:
    """Plain data of a part that no type describes. Raises ValueError as `resolve` does."""
    match node:
        case Scalar():
            return resolve(node.text) if node.bare else node.text
        case Given():
            return node.value
        case Items():
            return [plain_value(item) for item in node.nodes]
        case Block():
            return {key: plain_value(item) for key, item in node.nodes.items()}


def place(file: str, at: At) -> str:
    return f"{one_line(file, 4096)}:{at.line}:{at.column}"
