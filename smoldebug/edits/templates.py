"""Helm templates evaluated as far as that can be done for sure, to see what would be applied.

This is the part of Go's template language that charts use for workloads. Anything else (another
function, a value that nobody gave a field to) raises `Unknown` with its line: never a guess.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smoldebug.edits.scalars import written
from smoldebug.records import Json

_ACTION = re.compile(r"\{\{(-(?=\s))?\s*(/\*.*?\*/|.*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*("(?:\\.|[^"\\])*"|`[^`]*`|[()|,]|:=|-?\d+|\$\w*(?:\.\w+)*|\.(?:\w+(?:\.\w+)*)?|\w+)"""
)
_DEEPEST = 30  # blocks or parentheses in each other, templates that include each other
_LONGEST = 1_000_000  # characters that a value may come to
_WIDEST = 200  # columns of an indent
_MOST = 100_000  # nodes that one evaluation may take


class Unknown(Exception):
    """What cannot be evaluated, and on which line (from 1) of which template."""

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.path, self.line = "", line


class Known(dict[str, Json]):
    """A map that has other keys too, whose values nobody knows."""


# --- parsing ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """A piece of text, an expression (`print`), or a block with its branches."""

    kind: str  # text, print, set, if, with, range
    said: str
    line: int
    body: "list[Node]" = field(default_factory=list)
    otherwise: "list[Node]" = field(default_factory=list)


def parse(text: str, defined: dict[str, list[Node]]) -> list[Node]:
    """A template as nodes; what it defines goes into `defined`. Raises Unknown."""
    top: list[Node] = []
    open_at: list[tuple[Node, list[Node]]] = []  # blocks, and where text after them goes
    here = top
    for kind, said, line in _pieces(text):
        word, _, rest = said.partition(" ")
        if len(open_at) > _DEEPEST:
            raise Unknown("not evaluated: too many blocks in each other", line)
        if kind == "text":
            here.append(Node("text", said, line))
        elif word in ("if", "with", "range", "define"):
            node = Node(word, rest, line)
            open_at.append((node, here))
            here = node.body
        elif word == "else" and open_at and not rest:
            here = open_at[-1][0].otherwise
        elif word == "else" and rest.startswith("if ") and open_at:
            inner = Node("else if", rest.removeprefix("if "), line)
            open_at[-1][0].otherwise.append(inner)
            open_at.append((inner, here))
            here = inner.body
        elif word == "end" and open_at:
            here = _closed(open_at, defined)
        elif not said.startswith("/*"):
            here.append(Node("set" if ":=" in said else "print", said, line))
    return top


def _closed(open_at: list[tuple[Node, list[Node]]], defined: dict[str, list[Node]]) -> list[Node]:
    node, here = open_at.pop()
    while node.kind == "else if":
        node.kind = "if"
        node, here = open_at.pop()
    if node.kind == "define":
        defined[node.said.strip('" ')] = node.body
    else:
        here.append(node)
    return here


def _pieces(text: str) -> Iterator[tuple[str, str, int]]:
    """Text and actions in turn, white space trimmed as `{{-` and `-}}` ask."""
    at, line, trim = 0, 1, False
    for found in _ACTION.finditer(text):
        piece = text[at : found.start()]
        shown = piece.lstrip() if trim else piece
        yield "text", shown.rstrip() if found[1] else shown, line
        line += piece.count("\n")
        yield "action", found[2], line
        line += found[0].count("\n")
        at, trim = found.end(), bool(found[3])
    yield "text", text[at:].lstrip() if trim else text[at:], line


# --- evaluating ---------------------------------------------------------------------------------


@dataclass
class Evaluation:
    """A chart's templates with one set of values. `top` is the dot: Values, Chart, Release."""

    top: Mapping[str, Json]
    defined: Mapping[str, list[Node]]
    depth: int = 0
    left: list[int] = field(default_factory=lambda: [_MOST])

    def text(self, path: str, nodes: Sequence[Node]) -> str:
        """Raises Unknown where it is not clear what comes out."""
        try:
            return self._text(nodes, self.top, {"$": self.top})
        except Unknown as error:
            error.path = path
            raise

    def _text(self, nodes: Sequence[Node], dot: Json, names: dict[str, Json]) -> str:
        said: list[str] = []
        for node in nodes:
            self.left[0] -= 1
            try:
                if self.left[0] < 0:
                    raise Unknown("not evaluated: it takes too long")
                said += self._node(node, dot, names)
            except Unknown as error:
                error.line = error.line or node.line
                raise
        whole = "".join(said)
        if len(whole) > _LONGEST:
            raise Unknown("not evaluated: it becomes too long")
        return whole

    def _node(self, node: Node, dot: Json, names: dict[str, Json]) -> Iterator[str]:
        if node.kind == "text":
            yield node.said
        elif node.kind == "print":
            yield _printed(self._value(node.said, dot, names))
        elif node.kind == "set":
            name, _, expression = node.said.partition(":=")
            names[name.strip()] = self._value(expression, dot, names)
        elif node.kind == "range":
            yield from self._range(node, dot, names)
        else:
            value = self._value(node.said, dot, names)
            body = node.otherwise if _empty(value) else node.body
            inside = value if node.kind == "with" and not _empty(value) else dot
            yield self._text(body, inside, dict(names))

    def _range(self, node: Node, dot: Json, names: dict[str, Json]) -> Iterator[str]:
        called, found, expression = node.said.rpartition(":=")
        value = self._value(expression, dot, names)
        variables = [each.strip() for each in called.split(",")] if found else []
        if not isinstance(value, list | dict | None):
            raise Unknown("range over something that is no list")
        pairs: list[tuple[Json, Json]] = list(enumerate(value or []))
        if isinstance(value, dict):
            pairs = [(key, value[key]) for key in sorted(value)]
        for key, each in pairs:
            bound = (key, each) if len(variables) == 2 else (each,)
            inside = names | dict(zip(variables, bound, strict=False))
            yield self._text(node.body, each, inside)
        if not pairs:
            yield self._text(node.otherwise, dot, dict(names))

    def _value(self, expression: str, dot: Json, names: Mapping[str, Json]) -> Json:
        if "sha256sum" in expression:
            return "0" * 64  # of another template: it changes with it, and says nothing
        tokens: list[str] = []
        expression, at = expression.strip(), 0
        if expression.count("(") > _DEEPEST:
            raise Unknown("not evaluated: too many parentheses")
        while at < len(expression):
            found = _TOKEN.match(expression, at)
            if not found:
                raise Unknown(f"not evaluated: {expression}")
            tokens.append(found[1])
            at = found.end()
        value = self._pipeline(tokens, dot, names)
        if tokens:
            raise Unknown(f"not evaluated: {expression}")
        return value

    def _pipeline(self, tokens: list[str], dot: Json, names: Mapping[str, Json]) -> Json:
        """Consumes the tokens up to the end, or the parenthesis that closes it."""
        value = self._command(tokens, [], dot, names)
        while tokens and tokens[0] == "|":
            tokens.pop(0)
            value = self._command(tokens, [value], dot, names)
        return value

    def _command(
        self, tokens: list[str], piped: list[Json], dot: Json, names: Mapping[str, Json]
    ) -> Json:
        if not tokens:
            raise Unknown("an action without an end")
        if not re.fullmatch(r"[a-zA-Z]\w*", tokens[0]) or tokens[0] in _WORDS:
            if piped:
                raise Unknown(f"not a function: {tokens[0]}")
            return self._operand(tokens, dot, names)
        function = tokens.pop(0)
        arguments: list[Json] = []
        while tokens and tokens[0] not in (")", "|"):
            arguments.append(self._operand(tokens, dot, names))
        return self._call(function, [*arguments, *piped])

    def _operand(self, tokens: list[str], dot: Json, names: Mapping[str, Json]) -> Json:
        token = tokens.pop(0)
        if token == "(":
            value = self._pipeline(tokens, dot, names)
            if not tokens or tokens.pop(0) != ")":
                raise Unknown("a parenthesis without an end")
            return value
        if token in _WORDS:
            return _WORDS[token]
        if token[0] in '"`':
            return json.loads(token) if token[0] == '"' else token[1:-1]
        if re.fullmatch(r"-?\d+", token):
            return int(token)
        if token[0] not in ".$":
            raise Unknown(f"not evaluated: {token}")
        name, *keys = token.split(".")
        if name and name not in names:
            raise Unknown(f"no such variable: {name}")
        return _field(names[name] if name else dot, [key for key in keys if key], token)

    def _call(self, function: str, arguments: list[Json]) -> Json:
        if function == "include" and len(arguments) == 2:
            return self._include(str(arguments[0]), arguments[1])
        if function not in _FUNCTIONS:
            raise Unknown(f"not evaluated: the function {function}")
        try:
            value = _FUNCTIONS[function](*arguments)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise Unknown(f"not evaluated: {function} with these arguments") from error
        if isinstance(value, str) and len(value) > _LONGEST:
            raise Unknown("not evaluated: it becomes too long")
        return value

    def _include(self, name: str, dot: Json) -> str:
        if name not in self.defined or self.depth >= _DEEPEST:
            raise Unknown(f"not evaluated: include {name}")
        inner = Evaluation(self.top, self.defined, self.depth + 1, self.left)
        return inner._text(self.defined[name], dot, {"$": dot})


def _field(value: Json, keys: Sequence[str], token: str) -> Json:
    for key in keys:
        if not isinstance(value, dict) or (isinstance(value, Known) and key not in value):
            raise Unknown(f"nothing there: {token}")
        value = value.get(key)
    return value


def _empty(value: Json) -> bool:
    return value in (None, "", 0, False) or value == [] or value == {}


def _printed(value: Json) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | None):
        return value or ""
    if isinstance(value, int) and abs(value) < 1_000_000:
        return str(value)
    raise Unknown("a value that may be printed in more than one way")  # 1e+06, map[a:b]


# --- functions ----------------------------------------------------------------------------------


def _to_yaml(value: Json) -> str:
    """In block style, as `toYaml` does, so that what follows may go on with the same list."""
    if isinstance(value, dict) and value:
        return "\n".join(f"{written(key)}:{_below(value[key])}" for key in sorted(value))
    if isinstance(value, list) and value:
        return "\n".join("- " + _indent(2, _to_yaml(each)).lstrip(" ") for each in value)
    return written(value)


def _below(value: Json) -> str:
    if not value or not isinstance(value, dict | list):
        return f" {written(value)}"
    return f"\n{_indent(2, _to_yaml(value))}"


def _quoted(value: Json) -> str:
    return "" if value is None else json.dumps(_printed(value), ensure_ascii=False)


def _indent(width: int, text: str) -> str:
    if width > _WIDEST:
        raise ValueError(width)
    return "\n".join(" " * width + line for line in text.split("\n"))


def _print(*values: Json) -> str:
    """Only of texts: what else comes out as `<nil>`, `%!s(float64=2)` or with spaces."""
    return "".join(_text(each) for each in values)


def _printf(form: str, *values: Json) -> str:
    if re.sub(r"%[sv]", "", form).count("%"):
        raise ValueError(form)
    return re.sub(r"%v", "%s", form) % tuple(map(_text, values))


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _trunc(width: int, text: str) -> str:
    return text[:width] if width >= 0 else text[width:]


def _eq(value: Json, *others: Json) -> bool:
    """Of numbers Go has several kinds, which it does not compare with each other."""
    if not others or any(type(each) not in (str, bool) for each in (value, *others)):
        raise TypeError
    if len({type(each) for each in (value, *others)}) > 1:
        raise TypeError
    return value in others


def _required(why: str, value: Json) -> Json:
    if value in (None, ""):
        raise ValueError(why)
    return value


def _and(*values: Json) -> Json:
    return next((each for each in values if _empty(each)), values[-1])


def _or(*values: Json) -> Json:
    return next((each for each in values if not _empty(each)), values[-1])


_WORDS = {"true": True, "false": False, "nil": None}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "coalesce": _or,
    "contains": lambda part, text: part in text,
    "default": lambda instead, value=None: instead if _empty(value) else value,
    "empty": _empty,
    "eq": _eq,
    "hasKey": lambda value, key: key in value,
    "indent": _indent,
    "int": int,
    "lower": lambda text: text.lower(),
    "ne": lambda one, other: not _eq(one, other),
    "nindent": lambda width, text: "\n" + _indent(width, text),
    "not": _empty,
    "or": _or,
    "print": _print,
    "printf": _printf,
    "quote": _quoted,
    "replace": lambda old, new, text: text.replace(old, new),
    "required": _required,
    "squote": lambda value: "" if value is None else f"'{_printed(value)}'",
    "ternary": lambda yes, no, chosen: yes if chosen else no,
    "toString": lambda value: _printed(value if value is not None else []),  # <nil>
    "toYaml": _to_yaml,
    "trim": lambda text: text.strip(),
    "trimSuffix": lambda end, text: text.removesuffix(end),
    "trunc": _trunc,
    "upper": lambda text: text.upper(),
}
