"""From the nodes of a document and what they should hold to replacements in its text.

What keeps its value stays as it is, byte for byte. The rules for the rest:

- A new item goes below the last one of its list, in its style. Comment lines below that one belong
  to it if they are indented deeper than its dash; others stay below the new item.
- A new key goes to its alphabetical place where a map has three keys or more, all in that order;
  else in front of the first key that `_ORDER` puts after it; else to the end; never to the top.
- With what is removed go the comment on its line and the comment lines directly above that have
  its column, unless they are an item that somebody has commented out.
- A scalar keeps its quotes where they can hold the new value.
- An alias of a scalar is replaced by the new value. Else what an anchor names changes only when
  every place that refers to it should change so.
"""

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from smoldebug.edits import flow
from smoldebug.edits.block import Block, Quotes
from smoldebug.edits.brackets import brackets
from smoldebug.edits.marks import Node, exact, is_merge
from smoldebug.edits.places import colon, content, entry, key
from smoldebug.edits.scalars import literal, written
from smoldebug.edits.splices import Splices
from smoldebug.errors import ChangeRefused
from smoldebug.fieldvalues import MAPS
from smoldebug.records import Json
from smoldebug.untrusted import one_line

_ORDER = [
    *("apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations"),
    *("replicas", "selector", "strategy", "template", "initContainers"),
    *("image", "imagePullPolicy", "command", "args", "workingDir", "ports", "envFrom", "env"),
    *("resources", "volumeMounts", "livenessProbe", "readinessProbe", "startupProbe"),
    *("lifecycle", "securityContext", "containers", "volumes", "status"),
]
_COMMENTED_ITEM = re.compile(r"^[ \t]*#[ \t]?-[ \t]", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


class Editor:
    """The edit of one document: `change(root, wanted)` fills `splices`."""

    def __init__(self, splices: Splices, root: Node, aliases: Sequence[Node]) -> None:
        self.splices = splices
        self._text = splices.text
        self._block = Block(self._text, root)
        self._aliases = aliases
        self._finals: dict[int, Json] = {}  # what nodes with an anchor will hold
        self.unfinished = False  # the text must be read again, and edited once more

    def change(self, node: Node, new: Json) -> None:
        """Make a node hold a value. Raises ChangeRefused where more than that would change."""
        if node.anchor is not None:
            self._finals[id(node)] = new
        if node.target is not None:
            self._alias(node, node.target, new)
        elif isinstance(new, dict) and any(_stays(each, new) for each in node.keys):
            self._map(node, new)
        elif isinstance(new, list) and new and node.items and not node.keys:
            self._list(node, new)
        elif not _same(node, new):
            self._replace(node, new)

    def _line(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1

    def _refuse(self, at: int, says: str) -> ChangeRefused:
        return ChangeRefused(one_line(f"line {self._line(at)}: {says}: edit it by hand", 400))

    # --- anchors ---------------------------------------------------------------------------

    def _final(self, node: Node) -> Any:
        target = node.target
        return node.value if target is None else self._finals.get(id(target), target.value)

    def _alias(self, node: Node, target: Node, new: Json) -> None:
        if exact(new) == exact(self._final(node)):
            return
        if exact(new) == node.before:
            says = (
                f"&{target.anchor} is used on line {self._line(node.start)} too, and would change"
            )
            raise self._refuse(target.start, f"{says} there")
        if target.items or isinstance(new, dict | list):
            says = f"*{target.anchor} is used in other places, which would change"
            raise self._refuse(node.start, says)
        self.splices.replace(node.start, node.end, self._scalar(node, new))

    def _inherited(self, node: Node, new: Mapping[str, Json]) -> set[str]:
        """The keys that `<<` gives a map as it should have them. Raises ChangeRefused where it
        gives something else that no key of the map's own can mend."""
        given: dict[str, Json] = {}
        for each in reversed(node.merges()):
            final = self._final(each)
            if not isinstance(final, dict):
                raise self._refuse(each.start, "what << merges would be no map")
            given |= final
        own = {each.value for each in node.keys}
        right = {k for k, v in given.items() if k in new and exact(new[k]) == exact(v)}
        for name in given.keys() - right - (own & new.keys()):
            moved = exact(given[name]) != node.before.get(name)
            if name not in new or moved or isinstance(given[name], dict | list):
                at = next(each.start for each in node.keys if is_merge(each))
                raise self._refuse(at, f"{name} comes from elsewhere, with <<")
        return right

    def _removes(self, start: int, end: int) -> None:
        """Raises ChangeRefused where something refers to what is removed."""
        for each in self._aliases:
            target = each.target
            if target and start <= target.start < end and not start <= each.start < end:
                says = f"&{target.anchor} is used on line {self._line(each.start)} too"
                raise self._refuse(target.start, says)

    # --- maps and lists --------------------------------------------------------------------

    def _map(self, node: Node, new: dict[str, Json]) -> None:
        inherited = self._inherited(node, new) if node.merges() else set()
        known = {each.value for each in node.keys if not is_merge(each)}
        for each, child in zip(node.keys, node.items, strict=True):
            if each.value in new and not is_merge(each):
                self.change(child, new[each.value])
        gone = [at for at, each in enumerate(node.keys) if not _stays(each, new)]
        added = [(k, v) for k, v in new.items() if k not in known and k not in inherited]
        if node.flow:
            self._between_brackets(node, gone, added)
            return
        self._remove(node, gone)
        top = next(at for at, each in enumerate(node.keys) if at not in gone)
        for name, value in added:
            self._new_key(node, max(top, _predecessor(node, name)), name, value)

    def _list(self, node: Node, new: list[Json]) -> None:
        pairs, gone, added = _aligned(node.items, new)
        for child, value in pairs:
            self.change(child, value)
        if node.flow:
            self._between_brackets(node, gone, [(None, value) for value in added])
            return
        self._remove(node, gone)
        if added:
            self._new_items(node, added)

    def _between_brackets(
        self, node: Node, gone: Sequence[int], added: Sequence[tuple[str | None, Json]]
    ) -> None:
        """Takes out first, and adds another time: both change the same commas."""
        for start, end in flow.remove(self.splices, node, gone):
            self._removes(start, end)
        self.unfinished |= bool(added and gone)
        if added and not gone:
            quotes = {"": _usual_quote(node)} if node.keys else _quotes(node)
            flow.add(self.splices, node, added, quotes)

    # --- taking out of block style ---------------------------------------------------------

    def _remove(self, node: Node, gone: Sequence[int]) -> None:
        starts = [entry(self._text, node, at) for at in gone]
        cuts = [self._region(node, at, start) for at, start in zip(gone, starts, strict=True)]
        if gone and gone[0] == 0 and not self.splices.begins_line(starts[0]):
            first = sum(at == place for at, place in enumerate(gone))  # so many are the first ones
            below = cuts[first - 1][1]  # behind a dash: what comes next moves up there
            cuts[:first] = [(starts[0], below + len(self.splices.indent(below)))]
        for begin, end in cuts:
            self._removes(begin, end)
            self.splices.replace(begin, end, "")

    def _region(self, node: Node, at: int, start: int) -> tuple[int, int]:
        """The lines of an entry, with its comments, and with one of two blank neighbours."""
        lines = self.splices
        column = lines.column(start)
        begin, end = lines.line_start(start), lines.after(node.items[at].end, column)
        above = lines.comments_above(begin, column)
        if not _COMMENTED_ITEM.search(self._text[above:begin]):
            begin = above
        over = lines.line_end(node.items[at - 1].end) if at else 0  # the one before
        if lines.blank_before(begin) >= over and (at == len(node.items) - 1 or lines.blank(end)):
            while (above := lines.blank_before(begin)) >= over:
                begin = above
        elif at == 0:
            while below := lines.blank(end):
                end = below
        return begin, end

    # --- adding in block style -------------------------------------------------------------

    def _new_items(self, node: Node, added: Sequence[Json]) -> None:
        last = node.items[-1]
        start = entry(self._text, node, len(node.items) - 1)
        column = self.splices.column(start)
        gap = self._text[start + 1 : last.start]
        dash = "-" + gap if gap and not gap.strip(" ") else "- "
        gaps = [self._text[one.end : two.start] for one, two in pairwise(node.items)]
        spaced = bool(gaps) and all(map(_BLANK_LINE.search, gaps))
        quotes = _quotes(node)
        lines: list[str] = []
        for value in added:
            lines += [""] * spaced
            if last.flow and last.items:
                new = brackets(self._text, last).one_line(value, quotes)
                lines.append(" " * column + dash + new)
            else:
                lines += self._block.item(value, column, dash, quotes)
        self.splices.insert_lines(self.splices.after(last.end, column), lines)

    def _new_key(self, node: Node, above: int, name: str, value: Json) -> None:
        """Below the entry with the index `above`."""
        column = self.splices.column(node.keys[0].start)
        at = self.splices.after(node.items[above].end, column)
        quotes = {"": _usual_quote(node)}
        self.splices.insert_lines(at, self._block.pair(name, value, column, quotes, node))

    # --- one value for another -------------------------------------------------------------

    def _replace(self, node: Node, new: Json) -> None:
        parent = node.parent
        if parent is None:
            raise self._refuse(node.start, "nothing of the document would be left")
        if node.items:
            self._removes(node.start, node.end)
        if parent.flow:
            start = content(self._text, node)
            text = flow.replaced(self.splices, node, new, _quote(node))
            self.splices.replace(start, node.end, _apart(start, node) + text)
        elif parent.keys and (node.block or isinstance(new, dict | list) and new):
            self._replace_lines(node, parent, new)
        elif isinstance(new, dict | list) and new:
            self._replace_item(node, new)
        else:
            start = node.start if node.items else content(self._text, node)
            self.splices.replace(start, node.end, _apart(start, node) + self._scalar(node, new))

    def _scalar(self, node: Node, new: Json) -> str:
        parent = node.parent
        if parent is not None and parent.flow:
            return brackets(self._text, parent).one_line(new, {"": _quote(node)})
        if node.style and node.style in "|>" and isinstance(new, str):
            old = self._text[content(self._text, node) : node.end]
            if block := literal(new, old, self.splices.newline(node.end)):
                return block
        kept = self._text.endswith("\n", 0, node.end)  # by a block scalar
        return written(new, _quote(node)) + (self.splices.newline(node.end) if kept else "")

    def _replace_lines(self, node: Node, parent: Node, new: Json) -> None:
        """Below its key, where a block is, or goes."""
        behind = colon(self._text, node)
        column = self.splices.column(key(node).start)
        below = self.splices.line_end(behind)
        if node.block:
            self.splices.replace(below, self.splices.after(node.end, column), "")
        else:
            self.splices.replace(behind, node.end, "")
            below = self.splices.line_end(node.end)
        if isinstance(new, dict | list) and new:
            depth = column + self._block.depth(new, parent)
            self.splices.insert_lines(below, self._block.lines(new, depth))
        else:
            self.splices.replace(behind, behind, f" {written(new)}")

    def _replace_item(self, node: Node, new: Json) -> None:
        start = content(self._text, node)
        apart = _apart(start, node)
        column = self.splices.column(start) + len(apart)
        text = self.splices.newline(start).join(self._block.lines(new, column))
        self.splices.replace(start, node.end, apart + text.lstrip())


def _apart(start: int, node: Node) -> str:
    """What must stand between a colon or dash and a value that was empty."""
    return " " * (start == node.end)


def _stays(name: Node, new: Mapping[str, Json]) -> bool:
    return is_merge(name) or name.value in new


def _same(node: Node, new: Json) -> bool:
    if type(new) is not type(node.value) or node.items:
        return False
    return not new if isinstance(new, dict | list) else exact(new) == exact(node.value)


def _aligned(
    items: Sequence[Node], new: list[Json]
) -> tuple[list[tuple[Node, Json]], list[int], list[Json]]:
    """Which items hold which values, which are gone, and what is new at the end. Lists and maps
    are known by being the same object, since operations change them where they are."""
    here = {id(each.value) for each in items} & {id(each) for each in new}

    def token(value: Json) -> object:
        return id(value) if isinstance(value, dict | list) and id(value) in here else exact(value)

    old = [token(each.value) for each in items]
    matcher = SequenceMatcher(None, old, [token(each) for each in new], autojunk=False)
    pairs: list[tuple[Node, Json]] = []
    gone: list[int] = []
    added: list[Json] = []
    for _, start, end, low, high in matcher.get_opcodes():
        both = min(end - start, high - low)
        pairs += zip(items[start : start + both], new[low : low + both], strict=True)
        gone += range(start + both, end)
        added += new[low + both : high]
        if added and end < len(items):
            both = min(len(items), len(new))
            return list(zip(items, new, strict=False)), [*range(both, len(items))], new[both:]
    return pairs, gone, added


def _predecessor(node: Node, name: str) -> int:
    """The index of the entry of a map below which a new key goes."""
    names = [each.value for each in node.keys]
    if len(names) > 2 and names == sorted(names):
        return max(bisect(names, name) - 1, 0)
    above = key(node).value if node.parent and node.parent.keys else ""
    if name in _ORDER and above not in MAPS:
        later = {*_ORDER[_ORDER.index(name) + 1 :]}
        for at, each in enumerate(names):
            if at and each in later:
                return at - 1
    return len(names) - 1


def _quote(node: Node) -> str:
    """The quotes that a value has; for one that is no text, those of the texts beside it."""
    if isinstance(node.value, str) and not node.target:
        return node.style if node.style in ("'", '"') else ""
    return _usual_quote(node.parent) if node.parent else ""


def _usual_quote(node: Node) -> str:
    """The quotes that all texts of a map or list have, if they agree."""
    styles = {
        _quote(each) for each in node.items if isinstance(each.value, str) and not each.target
    }
    return styles.pop() if len(styles) == 1 else ""


def _quotes(node: Node) -> Quotes:
    """The quotes of the texts in a list's items, by key; "" for texts that are items."""
    found = {"": _usual_quote(node)}
    for each in node.items:
        pairs = zip(each.keys, each.items, strict=False)
        found |= {k.value: _quote(v) for k, v in pairs if isinstance(v.value, str)}
    return found
