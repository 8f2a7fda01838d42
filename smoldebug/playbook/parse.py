"""YAML text -> the tree of `tree.py`. No Python objects, no guessing.

Bounded in size, depth and what aliases expand to, so that any bytes are safe.
"""

import re
from typing import Any

import msgspec
import yaml

from smoldebug.errors import PlaybookError
from smoldebug.playbook.tree import At, Block, Items, Node, Problem, Scalar, place
from smoldebug.untrusted import one_line

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_KEY = 200
MAX_NODES = 20_000  # after aliases are expanded: a billion laughs end here

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def parse(content: bytes, file: str) -> tuple[Node | None, list[Problem]]:
    """The tree (None when empty) and what is wrong with it. Raises PlaybookError when the text
    is no YAML at all, is too large, or is not UTF-8."""
    if len(content) > MAX_BYTES:
        raise _refusal(file, At(1, 1), f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(errors="replace")
        raise _refusal(file, _position(before), "is not UTF-8 text") from error
    if found := _FORBIDDEN.search(text.replace("\r\n", "\n")):
        at = _position(text.replace("\r\n", "\n")[: found.start()])
        raise _refusal(file, at, f"control or invisible character U+{ord(found[0]):04X}")
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=LOADER):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = At(mark.line + 1, mark.column + 1) if mark else At(1, 1)
        raise _refusal(file, at, _explain(error, text, at)) from error
    except yaml.YAMLError as error:
        raise _refusal(file, At(1, 1), f"not YAML: {error}") from error
    return builder.root, builder.problems


class _Open(msgspec.Struct):
    """A collection whose end has not been seen yet. `size` and `height` count what is in it."""

    at: At
    anchor: str | None
    mapping: bool
    nodes: list[Node]
    names: list[str]
    keys: dict[str, At]
    size: int = 1
    height: int = 1


class _Builder:
    """Builds the tree from parser events, without recursion."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._documents = 0

    def feed(self, event: yaml.Event) -> None:
        mark: Any = event.start_mark
        at = At(mark.line + 1, mark.column + 1)
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _refusal(self.file, at, "a second document: one playbook per file")
            case yaml.ScalarEvent():
                self._tag(event.tag, at)
                if found := _FORBIDDEN.search(event.value):
                    said = f"control or invisible character U+{ord(found[0]):04X}"
                    self._problem(at, "", said)
                self._add(Scalar(at, event.value, event.implicit[0]), event.anchor, (1, 1))
            case yaml.AliasEvent():
                self._alias(str(event.anchor), at)
            case yaml.CollectionStartEvent():
                self._tag(event.tag, at)
                mapping = isinstance(event, yaml.MappingStartEvent)
                self._open.append(_Open(at, event.anchor, mapping, [], [], {}))
                self._bounds(at, len(self._open), 0)
            case yaml.CollectionEndEvent():
                self._close()

    def _tag(self, tag: str | None, at: At) -> None:
        if tag is not None:
            self._problem(at, "", f"YAML tags are not used here: {tag}")

    def _problem(self, at: At, key: str, says: str) -> None:
        self.problems.append(Problem(at, key, says))

    def _alias(self, anchor: str, at: At) -> None:
        if anchor not in self._anchors:
            raise _refusal(self.file, at, f"*{anchor} stands for nothing that ends before it")
        node, size, height = self._anchors[anchor]
        self._add(node, None, (size, height))

    def _close(self) -> None:
        done = self._open.pop()
        node: Node = Items(done.at, tuple(done.nodes))
        if done.mapping:
            node = Block(done.at, dict(zip(done.names, done.nodes, strict=True)), done.keys)
        self._add(node, done.anchor, (done.size, done.height))

    def _add(self, node: Node, anchor: str | None, extent: tuple[int, int]) -> None:
        size, height = extent
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.size += size
        parent.height = max(parent.height, height + 1)
        self._bounds(node.at, parent.height, parent.size)
        if parent.mapping and len(parent.names) == len(parent.nodes):
            self._key(parent, node)
        else:
            parent.nodes.append(node)

    def _key(self, parent: _Open, node: Node) -> None:
        text = node.text if isinstance(node, Scalar) else ""
        if not isinstance(node, Scalar):
            self._problem(node.at, "", "a key must be one word")
        elif len(text) > MAX_KEY:
            raise _refusal(self.file, node.at, f"a key longer than {MAX_KEY} characters")
        elif text == "<<":
            self._problem(node.at, text, "merge keys are not used here: repeat the values")
        elif "${{" in text:
            self._problem(node.at, text, "an expression cannot be a key")
        elif text in parent.keys:
            first = parent.keys[text].line
            self._problem(node.at, text, f"is given twice, first on line {first}")
        parent.names.append(text)
        parent.keys.setdefault(text, node.at)

    def _bounds(self, at: At, depth: int, size: int) -> None:
        if depth > MAX_DEPTH:
            raise _refusal(self.file, at, f"is nested deeper than {MAX_DEPTH} levels")
        if size > MAX_NODES:
            raise _refusal(self.file, at, f"holds more than {MAX_NODES} values")


def _refusal(file: str, at: At, says: str) -> PlaybookError:
    return PlaybookError(one_line(says, 400), place(file, at))


def _position(before: str) -> At:
    return At(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _explain(error: yaml.MarkedYAMLError, text: str, at: At) -> str:
    lines = text.splitlines()
    line = lines[at.line - 1] if at.line <= len(lines) else ""
    said, hint = f"{error.context} {error.problem}", ""
    if "block" in said or "mapping values" in said:
        hint = "; is it indented as its neighbours are?"
    if "mapping values" in said:
        hint += ' A text with ": " in it needs quotes'
    if "${{" in line:
        hint = '; quote the expression: "${{ inputs.x }}"'
    if "\t" in line[: at.column]:
        hint = "; indent with spaces, not tabs"
    return f"not YAML: {error.problem or error.context}{hint}"
