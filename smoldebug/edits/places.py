"""Where in the text the parts of a list or map stand that have no node: dashes, colons."""

import re

from smoldebug.edits.marks import Node
from smoldebug.errors import ChangeRefused

_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]+)*")
_COLON = re.compile(r"\s*:")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*", re.MULTILINE)
_DASH = re.compile(r"(?:^|(?<=\s))-(?=\s|$)", re.MULTILINE)


def entry(text: str, node: Node, at: int) -> int:
    """Where an entry of a map or an item of a list starts: its key, its dash."""
    if node.keys:
        return node.keys[at].start
    child = node.items[at]
    if node.flow or text[child.start - 2 : child.start] == "- ":
        return child.start - (0 if node.flow else 2)
    start = node.items[at - 1].end if at else node.start
    gap = _COMMENT.sub(lambda found: "#" * len(found[0]), text[start : child.start])
    dashes = list(_DASH.finditer(gap))
    if not dashes:
        raise _unusual(text, child.start)
    return start + dashes[-1].start()


def colon(text: str, node: Node) -> int:
    """Where the colon is over that stands before a value of a map."""
    found = _COLON.match(text, key(node).end)
    if not found:
        raise _unusual(text, node.start)
    return found.end()


def key(node: Node) -> Node:
    """The key of a value of a map."""
    parent = node.parent
    pairs = zip(parent.keys, parent.items, strict=True) if parent else ()
    return next(each for each, value in pairs if value is node)


def content(text: str, node: Node) -> int:
    """Where a scalar itself starts, behind its anchor and tag."""
    found = _PROPERTIES.match(text, node.start, node.end)
    return found.end() if found else node.start


def _unusual(text: str, at: int) -> ChangeRefused:
    line = text.count("\n", 0, at) + 1
    return ChangeRefused(f"line {line}: is written in an unusual way: edit it by hand")
