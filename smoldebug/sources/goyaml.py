"""YAML as kubectl and Helm read it, which is with go-yaml: `yes`, `on` and `y` are booleans and
0644 is octal, as in YAML 1.1; `12:30` and dates are text, as in YAML 1.2. Of keys that are there
twice the last one counts, those of a `<<` too, which stands in its place among the others. A guard
that read it otherwise would judge another object than the one that is sent.

Any text is safe to read: depth, and what aliases expand to, are bounded.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import yaml

from smoldebug.errors import ToolError
from smoldebug.records import Json
from smoldebug.untrusted import DEEPEST, one_line

MOST_NODES = 1_000_000  # of one text, aliases expanded: a billion laughs end here

_WORDS: dict[str, Json] = {
    spelt: value
    for value, words in (
        (True, "y yes true on"),
        (False, "n no false off"),
        (None, "~ null"),
        (math.nan, ".nan"),
        (math.inf, ".inf +.inf"),
        (-math.inf, "-.inf"),
    )
    for word in words.split()
    for spelt in (word, word.capitalize(), word.upper())
} | {"": None, ".NaN": math.nan, ".Inf": math.inf, "+.Inf": math.inf, "-.Inf": -math.inf}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAY_MEAN_MORE = frozenset("yYnNtTfFoO~+-.0123456789")
_UNREADABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MEANING = tuple(f"{_TAG}{kind}" for kind in ("bool", "int", "float", "null"))  # even in quotes
_MERGE = object()  # a `<<` that is a key and is not in quotes


@lru_cache(4096)
def read(text: str) -> Json:
    """What a scalar without quotes means."""
    if text and text[0] not in _MAY_MEAN_MORE:
        return text
    if text in _WORDS:
        return _WORDS[text]
    digits = text.replace("_", "") if text[0] != "." else text
    if _INTEGER.fullmatch(digits):
        return _integer(digits)
    return float(digits) if FLOAT.fullmatch(digits) else text


def _integer(digits: str) -> int | float:
    plain = digits.lstrip("+-").lower()
    octal = len(plain) > 1 and plain[0] == "0" and plain[1].isdigit()
    size = int(plain, 8 if octal else 0)
    number = -size if digits[0] == "-" else size
    if -(2**63) <= number < 2**64 or not FLOAT.fullmatch(digits):
        return number
    return float(digits)


def written(value: Json) -> str:
    """JSON that go-yaml reads: with 😀 as it is, for it does not know pairs of surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNREADABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def documents(text: str, what: str) -> Iterator[Json]:
    """Each document's value. Raises ToolError, which names `what` was read, where it is no YAML,
    or too deep or large."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentEndEvent):
                yield builder.finished()
            else:
                builder.feed(event)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an integer of 5,000 digits
        raise ToolError(one_line(f"{what} cannot be read: {error}", 300)) from None


class _Builder:
    """Values of parser events, without recursion: PyYAML's own loaders crash on depth."""

    def __init__(self) -> None:
        self._open: list[tuple[list[Json], str | None, bool, int]] = []
        self._nodes: list[Json] = []  # of the innermost collection that is open
        self._anchors: dict[str, tuple[Json, int]] = {}
        self._size = 0

    def finished(self) -> Json:
        (value,) = self._nodes
        self._nodes, self._anchors = [], {}
        return value

    def feed(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._add(self._scalar(event), event.anchor, 1)
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise yaml.YAMLError(f"*{event.anchor} stands for nothing")
                value, size = self._anchors[event.anchor]
                self._add(value, None, size)
            case yaml.CollectionStartEvent():
                if len(self._open) == DEEPEST:
                    raise yaml.YAMLError(f"nested deeper than {DEEPEST}")
                mapping = isinstance(event, yaml.MappingStartEvent)
                self._open.append((self._nodes, event.anchor, mapping, self._size))
                self._nodes = []
            case yaml.CollectionEndEvent():
                nodes = self._nodes
                self._nodes, anchor, mapping, before = self._open.pop()
                inner, self._size = self._size - before, before
                self._add(_map(nodes) if mapping else nodes, anchor, inner + 1)

    def _scalar(self, event: yaml.ScalarEvent) -> Json:
        if event.value == "<<" and (event.implicit[0] or event.tag == f"{_TAG}merge"):
            key = self._open and self._open[-1][2] and len(self._nodes) % 2 == 0
            return _MERGE if key else event.value
        if event.implicit[0] or event.tag in _MEANING:
            return read(event.value)
        return _binary(event.value) if event.tag == f"{_TAG}binary" else event.value

    def _add(self, value: Json, anchor: str | None, size: int) -> None:
        self._size += size
        if self._size > MOST_NODES:
            raise yaml.YAMLError(f"more than {MOST_NODES} values")
        if anchor is not None:
            self._anchors[anchor] = "<<" if value is _MERGE else value, size
        self._nodes.append(value)


def _map(nodes: list[Json]) -> dict[str, Json]:
    """Keys are text in JSON; of the maps that a `<<` lays into it the first one counts most."""
    made: dict[str, Json] = {}
    for key, value in zip(nodes[::2], nodes[1::2], strict=True):
        if key is not _MERGE:
            made[_key(key)] = value
            continue
        for each in reversed(value) if isinstance(value, list) else [value]:
            if not isinstance(each, dict):
                raise yaml.YAMLError("what is merged must be a map")
            made.update(each)
    return made


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except binascii.Error as error:
        raise yaml.YAMLError(f"no base64: {error}") from None


def _key(key: Json) -> str:
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, dict | list):
        raise yaml.YAMLError("a key must be one word")
    return "null" if key is None else str(key)
