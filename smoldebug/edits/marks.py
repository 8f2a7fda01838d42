"""YAML text -> values as kubectl reads them, each with where in the text it stands.

Bounded in bytes, documents, depth and what aliases stand for, so that any bytes are safe. Raises
ChangeRefused, `line N: why`, and nothing else.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from smoldebug.errors import ChangeRefused
from smoldebug.records import Json
from smoldebug.sources.goyaml import read
from smoldebug.untrusted import DEEPEST, one_line

MAX_BYTES = 10_000_000
MAX_DOCUMENTS = 1_000
MAX_ALIASED = 100_000  # values that the aliases of a file stand for: a billion laughs end here

_BOM = "\ufeff"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TYPES: dict[str, Any] = {
    "bool": (bool,), "int": (int,), "float": (int, float), "null": (type(None),),
}  # fmt: skip
# Actions of Go templates, and not of those that Argo and others substitute: `{{inputs.tag}}`
_TEMPLATE = re.compile(r"\{\{(?:-|\s*[.$(\"/]|\s*[a-z]\w*\s+[^}\s])")
_ACTION = re.compile(r"^[ \t]*\{[{%]", re.MULTILINE)
_CHART = re.compile(r"\{\{[^{}]*[.](?:Values|Release|Chart|Capabilities)\b")


class Node:
    """A value and its place: text[start:end], in characters, with its anchor and tag.

    `keys` and `items` are the nodes inside: of a map one of each per entry, of a list its items.
    An alias has the `target` it stands for, and a copy of its value. `before` is the value of an
    alias, or what a map has merged in, by key, as they are in the file.
    """

    flow = False
    keys: "list[Node]" = []  # of a collection, its own
    items: "list[Node]" = []
    parent: "Node | None" = None
    anchor: str | None = None
    target: "Node | None" = None
    before: Any = None
    size = height = 1  # how many values, how many levels

    def __init__(self, start: int, end: int, value: Json, style: str = "") -> None:
        self.start, self.end = start, end
        self.value = value
        self.style = style  # of a scalar: ' " | > or "" for plain

    @property
    def block(self) -> bool:
        """A list or map in block style."""
        return bool(self.items) and not self.flow and self.target is None

    def merges(self) -> "list[Node]":
        """What `<<` names, in order of precedence."""
        found = [v for k, v in zip(self.keys, self.items, strict=False) if is_merge(k)]
        several = found and found[0].target is None and isinstance(found[0].value, list)
        return found[0].items if several else found


@dataclass(slots=True)
class File:
    text: str  # without the byte order mark
    mark: str = ""
    documents: list[Node] = field(default_factory=list)
    aliases: list[list[Node]] = field(default_factory=list)  # of each document

    def line(self, index: int) -> int:
        """The line of a character, from 1."""
        return self.text.count("\n", 0, index) + 1

    def encode(self, text: str | None = None) -> bytes:
        """Itself, or another text in its place, as bytes."""
        return (self.mark + (self.text if text is None else text)).encode()


def exact(value: Json) -> bytes:
    """Tells 1, 1.0, true and "1" apart."""
    return msgspec.json.encode(value, order="sorted")


def is_merge(key: Node) -> bool:
    return key.value == "<<" and not key.style


def parse(data: bytes) -> File:
    """A file, its documents and where everything stands."""
    if len(data) > MAX_BYTES:
        raise ChangeRefused(f"line 1: the file is larger than {MAX_BYTES // 1_000_000} MB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ChangeRefused(f"line {line}: is not UTF-8 text") from error
    file = File(text.removeprefix(_BOM), _BOM if text.startswith(_BOM) else "")
    composer = _Composer(file)
    try:
        for event in yaml.parse(file.text, Loader=_LOADER):
            composer.feed(event)
    except yaml.YAMLError as error:
        raise _explained(error, file) from error
    if "{{" in file.text:
        _refuse_templates(file, composer.opaque)
    return file


def _explained(error: yaml.YAMLError, file: File) -> ChangeRefused:
    if isinstance(error, yaml.MarkedYAMLError):
        mark: Any = error.problem_mark or error.context_mark
        line, why = file.line(mark.index) if mark else 1, error.problem or error.context
    else:
        before = file.text.encode()[: getattr(error, "position", 0)]
        line, why = before.count(b"\n") + 1, getattr(error, "reason", "unreadable")
    if "{{" in file.text.split("\n")[line - 1] or _ACTION.search(file.text):
        return _template(line)
    return ChangeRefused(one_line(f"line {line}: not YAML: {why}", 400))


def _template(line: int) -> ChangeRefused:
    return ChangeRefused(f"line {line}: is a template, whose result is not known here")


def _refuse_templates(file: File, opaque: list[Node]) -> None:
    """Raises ChangeRefused where a Go template acts outside quotes and block scalars, which may
    hold templates of others (alerts have them), or one of a Helm chart acts inside quotes."""
    bare: list[str] = []
    quoted: list[str] = []
    at = 0
    for node in opaque:
        gap, inside = file.text[at : node.start], file.text[node.start : node.end]
        bare += gap, " " * len(inside)
        quoted += " " * len(gap), inside if node.style in "'\"" else " " * len(inside)
        at = node.end
    bare.append(file.text[at:])
    for pattern, parts in ((_TEMPLATE, bare), (_CHART, quoted)):
        if found := pattern.search("".join(parts)):
            raise _template(file.line(found.start()))


class _Composer:
    """Builds nodes from parser events, without recursion."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.opaque: list[Node] = []  # scalars with quotes, and block scalars
        self._open: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._aliased = 0
        self._feed: dict[type, Callable[[Any], None]] = {
            yaml.DocumentStartEvent: self._document,
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.SequenceStartEvent: self._list,
            yaml.MappingStartEvent: self._map,
            yaml.SequenceEndEvent: self._list_end,
            yaml.MappingEndEvent: self._map_end,
        }

    def feed(self, event: yaml.Event) -> None:
        if take := self._feed.get(type(event)):
            take(event)

    def _refuse(self, at: int, says: str) -> ChangeRefused:
        return ChangeRefused(one_line(f"line {self.file.line(at)}: {says}", 400))

    def _document(self, event: Any) -> None:
        if len(self.file.documents) == MAX_DOCUMENTS:
            at = event.start_mark.index
            raise self._refuse(at, f"the file has more than {MAX_DOCUMENTS} documents")
        self._anchors = {}
        self.file.aliases.append([])

    def _scalar(self, event: Any) -> None:
        style = event.style or ""
        text, start, end = event.value, event.start_mark.index, event.end_mark.index
        value = read(text) if event.implicit[0] else text
        if event.tag:
            value = self._tagged(event.tag, text, value, start)
        node = Node(start, end, value, style)
        if style:
            self.opaque.append(node)
            if style in "|>":
                node.end = self._block_end(node)
        self._add(node, event.anchor)

    def _block_end(self, node: Node) -> int:
        """Where its last line ends: the empty ones that follow are its own if it keeps them."""
        text = self.file.text[node.start : node.end]
        if "+" in text.split("\n", 1)[0].split("#")[0]:
            return node.end
        last = text.find("\n", len(text.rstrip()))
        return node.start + len(text[:last].rstrip("\r")) if last >= 0 else node.end

    def _tagged(self, tag: str, text: str, value: Json, at: int) -> Json:
        short = tag.removeprefix(_TAG)
        if short in ("str", "!"):
            return text
        value = read(text)
        if short == tag or not isinstance(value, _TYPES.get(short, ())):
            raise self._refuse(at, f"a manifest has no such tag: {tag}")
        return float(value) if short == "float" else value

    def _collection(self, event: Any, kind: type) -> None:
        at = event.start_mark.index
        if len(self._open) == DEEPEST:
            raise self._refuse(at, f"is nested deeper than {DEEPEST} levels")
        if event.tag not in (None, "!", f"{_TAG}{'map' if kind is dict else 'seq'}"):
            raise self._refuse(at, f"a manifest has no such tag: {event.tag}")
        node = Node(at, at, kind())
        node.flow, node.anchor = event.flow_style, event.anchor
        node.keys, node.items = [], []
        self._open.append(node)

    def _list(self, event: Any) -> None:
        self._collection(event, list)

    def _map(self, event: Any) -> None:
        self._collection(event, dict)

    def _list_end(self, event: Any) -> None:
        node = self._open.pop()
        node.value = [each.value for each in node.items]
        self._close(node, event)

    def _map_end(self, event: Any) -> None:
        node = self._open.pop()
        node.value = self._merged(node)
        for key, each in zip(node.keys, node.items, strict=True):
            if not is_merge(key):
                node.value[key.value] = each.value
        self._close(node, event)

    def _close(self, node: Node, event: Any) -> None:
        node.size = 1 + sum(each.size for each in node.items)
        node.height = 1 + max((each.height for each in node.items), default=0)
        if node.flow or not node.items:
            node.end = event.end_mark.index
        else:
            node.end = node.items[-1].end
        self._add(node, node.anchor)

    def _merged(self, node: Node) -> dict[str, Json]:
        """What the merge keys of a map give it."""
        found: dict[str, Json] = {}
        for each in node.merges():
            if not isinstance(each.value, dict):
                raise self._refuse(each.start, "<< can merge only maps")
            found = each.value | found
        if found:
            found = copy.deepcopy(found)
            node.before = {key: exact(value) for key, value in found.items()}
        return found

    def _alias(self, event: Any) -> None:
        at = event.start_mark.index
        if event.anchor not in self._anchors:
            raise self._refuse(at, f"*{event.anchor} stands for nothing that ends before it")
        target = self._anchors[event.anchor]
        self._aliased += target.size
        if self._aliased > MAX_ALIASED:
            raise self._refuse(at, f"its aliases stand for more than {MAX_ALIASED} values")
        if len(self._open) + target.height > DEEPEST:
            raise self._refuse(at, f"is nested deeper than {DEEPEST} levels")
        node = Node(at, event.end_mark.index, copy.deepcopy(target.value))
        node.target, node.before = target, exact(target.value)
        node.size, node.height = target.size, target.height
        self.file.aliases[-1].append(node)
        self._add(node, None)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            node.anchor = anchor
            self._anchors[anchor] = node
        if not self._open:
            self.file.documents.append(node)
            return
        parent = node.parent = self._open[-1]
        if isinstance(parent.value, dict) and len(parent.keys) == len(parent.items):
            self._key(parent, node)
        else:
            parent.items.append(node)

    def _key(self, parent: Node, node: Node) -> None:
        key = node.value
        if isinstance(key, dict | list) or key is None:
            if self.file.text[node.start - 1 : node.start + 1] == "{{":
                raise _template(self.file.line(node.start))
            raise self._refuse(node.start, "a key must be text")
        node.value = key = key if isinstance(key, str) else str(key).lower()  # true, 1, 1.5
        if key in parent.value:
            first = next(each for each in parent.keys if each.value == key)
            says = f"{key} is given twice, first on line {self.file.line(first.start)}"
            raise self._refuse(node.start, says)
        parent.value[key] = None  # until the map ends
        parent.keys.append(node)
