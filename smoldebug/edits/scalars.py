"""How to write a scalar of a manifest so that every reader reads the same.

Written here is what kubectl and Helm (`goyaml.py`), PyYAML (YAML 1.1) and a reader of YAML 1.2
understand alike.
"""

import json
import math
import re
from typing import Any

import yaml

from smoldebug.errors import ChangeRefused
from smoldebug.records import Json
from smoldebug.sources.goyaml import FLOAT, read

# Subsets of what may stand without quotes: in block style, and between brackets
_PLAIN = re.compile(r"(?:[\w./$^(<+;~=]|-(?=\S))(?:[^\S\n]?[^\s:#]|:(?=\S)|(?<=\S)#)*")
_BARE = re.compile(r"(?:[\w./$(]|--?(?=\w))[\w./$()@=+;~-]*")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\xa0\xad\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_WIDTH = re.compile(r"[|>][-+]?\d")  # an indentation indicator
_OTHERS: Any = yaml.resolver.Resolver()  # YAML 1.1 to the letter


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
    return str(tag).endswith(":str") and isinstance(read(value), str) and not FLOAT.fullmatch(value)


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
