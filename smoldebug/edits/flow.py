"""Entries put into and taken out of lists and maps between brackets, JSON files among them."""

import re
from collections.abc import Sequence

from smoldebug.edits.block import Quotes
from smoldebug.edits.brackets import brackets
from smoldebug.edits.marks import Node
from smoldebug.edits.places import entry
from smoldebug.edits.splices import Splices
from smoldebug.records import Json

_COMMA = re.compile(r"(?:\s|(?<=\s)#.*)*,")
_REST = re.compile(r"[ \t]*,?[ \t]*(?:(?<=[\s,])#.*)?\r?\n")


def add(
    splices: Splices, node: Node, added: Sequence[tuple[str | None, Json]], quotes: Quotes
) -> None:
    """Entries (key, value) of a map, or items (None, value) of a list, below the last one."""
    text, last = splices.text, node.items[-1]
    first = entry(text, node, len(node.items) - 1)
    own_lines = splices.begins_line(first) and splices.line_start(first) > node.start
    style = brackets(text, node)
    new = [
        ("" if key is None else style.key(key)) + _value(splices, node, value, own_lines, quotes)
        for key, value in added
    ]
    comma = _COMMA.match(text, last.end, node.end)
    end = comma.end() if comma else last.end
    if not own_lines:
        inside = style.comma.join(new)
        space = style.comma[1:]
        splices.replace(end, end, f"{space}{inside}," if comma else style.comma + inside)
        return
    indent, newline = splices.indent(first), splices.newline(first)
    lines = f",{newline}".join(indent + each for each in new)
    below = splices.line_end(end)
    if comma is None:
        splices.replace(end, end, "," if below < node.end else f",{newline}{lines}")
    if comma is not None or below < node.end:
        splices.replace(below, below, lines + ("," if comma else "") + newline)


def replaced(splices: Splices, node: Node, new: Json, quote: str) -> str:
    """The text of a value that takes another's place between brackets."""
    parent = node.parent
    if parent is None:
        return ""
    own_lines = splices.begins_line(entry(splices.text, parent, parent.items.index(node)))
    return _value(splices, parent, new, own_lines, {"": quote})


def _value(splices: Splices, node: Node, value: Json, own_lines: bool, quotes: Quotes) -> str:
    """A value inside a node, on one line or on several as the values beside it."""
    beside = [each for each in node.items if type(each.value) is type(value) and each.items]
    style = brackets(splices.text, beside[-1] if beside else node)
    spread = "\n" in splices.text[beside[-1].start : beside[-1].end] if beside else own_lines
    if not spread or not value or not isinstance(value, dict | list):
        return style.one_line(value, quotes)
    indent = splices.indent(entry(splices.text, node, len(node.items) - 1))
    unit = indent.removeprefix(splices.indent(node.start)) or "  "
    newline = splices.newline(node.items[-1].end)
    return style.lines(value, indent, unit).replace("\n", newline)


def remove(splices: Splices, node: Node, gone: Sequence[int]) -> list[tuple[int, int]]:
    """Takes entries out, with the comma before or behind each; whole lines where they have lines
    of their own. Some other entry stays. Returns what was removed."""
    starts = [entry(splices.text, node, at) for at in range(len(node.items))]
    found = []
    for first, last in _runs(gone):
        start, end = starts[first], node.items[last].end
        rest = _REST.match(splices.text, end)
        if rest and all(splices.begins_line(each) for each in starts[first : last + 1]):
            comma = _COMMA.match(splices.text, end, node.end)
            if last == len(starts) - 1 and comma is None:
                before = splices.text.index(",", node.items[first - 1].end)
                splices.replace(before, before + 1, "")
            start, end = splices.line_start(start), rest.end()
        elif first:
            start = node.items[first - 1].end
        else:
            end = starts[last + 1]
        splices.replace(start, end, "")
        found.append((start, end))
    return found


def _runs(gone: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbours together, as (first, last)."""
    runs: list[tuple[int, int]] = []
    for at in gone:
        if runs and runs[-1][1] == at - 1:
            runs[-1] = runs[-1][0], at
        else:
            runs.append((at, at))
    return runs
