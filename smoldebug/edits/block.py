"""Lists and maps in block style, in lines, indented as the document they go into has it."""

from collections import Counter
from collections.abc import Iterator, Mapping

from smoldebug.edits.marks import Node
from smoldebug.edits.places import entry
from smoldebug.edits.scalars import written
from smoldebug.records import Json

Quotes = Mapping[str, str]  # that texts should have, by the key they are the value of; "": itself
_NONE: Quotes = {}


class Block:
    """How a document is written."""

    def __init__(self, text: str, root: Node) -> None:
        self._text = text
        self._root = root
        self._usual: tuple[int, int] | None = None
        self._keys = '"' if all(each.style == '"' for each in root.keys) else ""  # their quotes

    def lines(self, value: Json, column: int, quotes: Quotes = _NONE) -> list[str]:
        """A list or map that is not empty."""
        if isinstance(value, list):
            return [line for each in value for line in self.item(each, column, "- ", quotes)]
        pairs = ((key, each, {"": quotes.get(key, "")}) for key, each in value.items())
        return [line for key, v, quote in pairs for line in self.pair(key, v, column, quote)]

    def pair(
        self, key: str, value: Json, column: int, quotes: Quotes, beside: Node | None = None
    ) -> list[str]:
        """An entry of a map; `beside` others whose indentation it should have."""
        head = f"{' ' * column}{written(key, self._keys)}:"
        if not isinstance(value, dict | list) or not value:
            return [f"{head} {written(value, quotes.get('', ''))}"]
        return [head, *self.lines(value, column + self.depth(value, beside))]

    def item(self, value: Json, column: int, dash: str, quotes: Quotes) -> list[str]:
        """An item of a list; `dash` with the space behind it."""
        head = " " * column + dash
        if not isinstance(value, dict | list) or not value:
            return [head + written(value, quotes.get("", ""))]
        first, *others = self.lines(value, len(head), quotes)
        return [head + first.lstrip(), *others]

    def depth(self, value: Json, beside: Node | None = None) -> int:
        """How much deeper than its key a list or map goes: as those beside it, or as most do."""
        lists = isinstance(value, list)
        for is_list, width in self._depths(beside) if beside else ():
            if is_list == lists:
                return width
        self._usual = self._usual or self._most()
        return self._usual[lists]

    def _most(self) -> tuple[int, int]:
        counts: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        nodes = [self._root]
        while nodes:
            node = nodes.pop()
            nodes += (each for each in node.items if each.block)
            for is_list, width in self._depths(node):
                counts[is_list][width] += 1
        maps, lists = ([width for width, _ in each.most_common(1)] for each in counts)
        step = maps[0] if maps else 2
        return step, lists[0] if lists else step

    def _depths(self, node: Node) -> Iterator[tuple[bool, int]]:
        for key, each in zip(node.keys, node.items, strict=False):
            if each.block:
                column = self._column(entry(self._text, each, 0))
                yield not each.keys, column - self._column(key.start)

    def _column(self, at: int) -> int:
        return at - self._text.rfind("\n", 0, at) - 1
