"""What the scalars of a manifest mean to kubectl, and how to write one that every reader reads.

kubectl and Helm read YAML with go-yaml: `yes`, `on` and `y` are booleans and 0644 is octal, as in
YAML 1.1; `12:30` and dates are text, as in YAML 1.2. Written here is what these, PyYAML
(YAML 1.1) and a reader of YAML 1.2 understand alike.
"""

import json
import math
import re
from functools import lru_cache
from typing import Any

import yaml

from smoldebug.errors import ChangeRefused
from smoldebug.records import Json

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
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAY_MEAN_MORE = frozenset("yYnNtTfFoO~+-.0123456789")

# Subsets of what may stand without quotes: in block style, and between brackets
_PLAIN = re.compile(r"(?:[\w./$^(<+;~=]|-(?=\S))(?:[^\S\n]?[^\s:#]|:(?=\S)|(?<=\S)#)*")
_BARE = re.compile(r"(?:[\w./$(]|--?(?=\w))[\w./$()@=+;~-]*")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\xa0\xad\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_WIDTH = re.compile(r"[|>][-+]?\d")  # an indentation indicator
_OTHERS: Any = yaml.resolver.Resolver()  # YAML 1.1 to the letter


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
    return float(digits) if _FLOAT.fullmatch(digits) else text


def _integer(digits: str) -> int | float:
    plain = digits.lstrip("+-").lower()
    octal = len(plain) > 1 and plain[0] == "0" and plain[1].isdigit()
    size = int(plain, 8 if octal else 0)
    number = -size if digits[0] == "-" else size
    if -(2**63) <= number < 2**64 or not _FLOAT.fullmatch(digits):
        return number
    return float(digits)


def written(value: Json, quote: str = "", *, flow: bool = False) -> str:
    """A scalar, or an empty list or map, on one line. `quote` is the style that text should have
    where it can; between brackets (`flow`) more must be quoted. Raises ChangeRefused for a number
    that is none."""
    if isinstance(value, str):
        return _text(value, quote, flow)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ChangeRefused(f"not a number that a manifest can hold: {value}")
        number = repr(value)
        return number if "." in number else number.replace("e", ".0e")  # YAML 1.1 wants the point
    return json.dumps(value)


def _text(value: str, quote: str, flow: bool) -> str:
    if quote == "'" and not _UNPRINTABLE.search(value):
        return "'" + value.replace("'", "''") + "'"
    if not quote and plain(value, flow=flow):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def plain(value: str, *, flow: bool = False) -> bool:
    """Whether text needs no quotes: no reader takes it for something else."""
    if not (_BARE if flow else _PLAIN).fullmatch(value) or _UNPRINTABLE.search(value):
        return False
    tag = _OTHERS.resolve(yaml.ScalarNode, value, (True, False))
    return (
        str(tag).endswith(":str") and isinstance(read(value), str) and not _FLOAT.fullmatch(value)
    )


def literal(value: str, old: str, newline: str) -> str:
    """Text of several lines in place of an old block scalar, "" where it must be quoted."""
    header, *lines = old.splitlines()
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip(" "))]
    body = value.removesuffix("\n")
    unsafe = _UNPRINTABLE.search(body.replace("\n", "").replace("\t", ""))
    if not body or body != body.strip() or unsafe or not indent or _WIDTH.match(header):
        return ""
    header = "|" + "-" * (body == value) + header.lstrip("|>+-")
    new = [header, *(indent + line if line else "" for line in body.split("\n"))]
    return newline.join(new) + newline * old.endswith("\n")
