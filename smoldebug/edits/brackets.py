"""Values written between brackets, as JSON and YAML's flow style have them, the way a file does."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smoldebug.edits.marks import Node
from smoldebug.edits.scalars import written
from smoldebug.records import Json

_NONE: Mapping[str, str] = {}
_COLON = re.compile(r"\s*:([ \t]*)")
_COMMA = re.compile(r"\s*,([ \t]*)(?=\S)")


@dataclass(frozen=True, slots=True)
class Brackets:
    """How a file writes them: `{"a":1}` or `{ a: 1 }`."""

    comma: str = ", "
    colon: str = ": "
    pad: str = ""
    quote: str = ""  # of keys; with double ones it is JSON, and all text has them

    def one_line(self, value: Json, quotes: Mapping[str, str] = _NONE) -> str:
        """`quotes` are those that the texts in it should have, by key ("": the value itself)."""
        if isinstance(value, dict) and value:
            inside = self.comma.join(self._pair(key, each, quotes) for key, each in value.items())
            return f"{{{self.pad}{inside}{self.pad}}}"
        if isinstance(value, list) and value:
            return f"[{self.pad}{self.comma.join(map(self.one_line, value))}{self.pad}]"
        return written(value, self.quote if self.quote == '"' else quotes.get("", ""), flow=True)

    def _pair(self, key: str, value: Json, quotes: Mapping[str, str]) -> str:
        return self.key(key) + self.one_line(value, {"": quotes.get(key, "")})

    def key(self, key: str) -> str:
        return written(key, self.quote, flow=True) + self.colon

    def lines(self, value: Json, indent: str, unit: str) -> str:
        """Every entry on a line of its own; the first line stands where it is put, the others
        begin with `indent`."""
        inner = indent + unit
        if isinstance(value, dict) and value:
            pairs = (f"{self.key(k)}{self.lines(v, inner, unit)}" for k, v in value.items())
            return "{\n" + ",\n".join(inner + pair for pair in pairs) + f"\n{indent}}}"
        if isinstance(value, list) and value:
            items = (inner + self.lines(each, inner, unit) for each in value)
            return "[\n" + ",\n".join(items) + f"\n{indent}]"
        return self.one_line(value)


def brackets(text: str, node: Node) -> Brackets:
    """How those of a node are written, or else those inside or around it."""
    found = [node, *_inside(node)]
    outer = node.parent
    while outer is not None and outer.flow:
        found += outer, *_inside(outer)
        outer = outer.parent
    quote, colon = "", ": "
    if keyed := next((each for each in found if each.keys), None):
        quote = keyed.keys[0].style
        pair = _COLON.match(text, keyed.keys[0].end) if quote else None
        colon = ":" + pair[1] if pair else ": "
    gaps = (_COMMA.match(text, each.items[0].end) for each in found if len(each.items) > 1)
    gap = next(filter(None, gaps), None)
    comma = "," + (gap[1] if gap else colon[1:])
    pad = " " if node.items and text.startswith(" ", node.start + 1) else ""
    return Brackets(comma, colon, pad, quote)


def _inside(node: Node) -> Iterator[Node]:
    """The first list or map in it, the first in that, and so on."""
    while found := [each for each in node.items if each.flow and each.items][:1]:
        node = found[0]
        yield node
