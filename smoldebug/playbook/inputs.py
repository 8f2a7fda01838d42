"""`--set` and defaults -> typed values, and their place in the file: `${{ inputs.x }}`.

Substitution only, no code. A value is data wherever it lands: it is escaped for a PromQL string
and a URL, and refused where it would have to be more than a word. The whole rule is `_land`.

Two kinds of expressions wait: `${{ matrix.cluster }}` until a cluster is given, and, in queries,
`${{ service.name }}` (`namespace`, `kind`) until the goal knows its services.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

import msgspec

from smoldebug.errors import UsageError
from smoldebug.playbook.convert import text_of
from smoldebug.playbook.fields import did_you_mean
from smoldebug.playbook.models import Input
from smoldebug.playbook.tree import Block, Given, Items, Node, Problem, Scalar, resolve
from smoldebug.records import Json, ObjectRef
from smoldebug.untrusted import one_line, plain

Path = tuple[str | int, ...]  # of a node: ("goal", "all", 0, "http", "url")

MAX_TEXT = 10_000  # characters; every expression is judged by all that stands before it

_EXPRESSION = re.compile(r"\$\{\{\s*(\w+)\.([\w-]+)\s*\}\}", re.ASCII)
_OF_SERVICE = re.compile(r"\$\{\{\s*service\.(name|namespace|kind)\s*\}\}")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_BASE = re.compile(r"https?://[A-Za-z0-9._-]+(:[0-9]+)?(/[A-Za-z0-9._~-]+)*")
_PROMQL_WORD = re.compile(r"[A-Za-z0-9_:.]+")
SAMPLE = ObjectRef("Deployment", "name-space", "ser-vice")  # as a query must take it


# --- values ---------------------------------------------------------------------------------


class Values:
    """The inputs of one run. `missing` were required and not given: `sample` stands in for them.

    Raises UsageError when an override is unknown or has the wrong type.
    """

    def __init__(self, declared: Mapping[str, Input], overrides: Mapping[str, str]) -> None:
        for name in overrides:
            if name not in declared:
                known = did_you_mean(name, declared)
                raise UsageError(f"no such input: --set {one_line(name, 80)}{known}")
        self.given: dict[str, Json] = {}
        self.missing: list[str] = []
        for name, entry in declared.items():
            wanted = entry.required and entry.default is msgspec.UNSET
            if wanted and not overrides.get(name):  # --set version=$VERSION, and nobody set that
                self.missing.append(name)
            elif name in overrides:
                self.given[name] = _typed(name, overrides[name], entry.default)
            else:
                self.given[name] = "" if entry.default is msgspec.UNSET else entry.default

    def find(self, name: str) -> tuple[Json, bool] | None:
        """(value, is it a sample), or None when no input has that name."""
        if name in self.given:
            return self.given[name], False
        return (name.strip("_-") or "x", True) if name in self.missing else None


def _typed(name: str, text: str, default: Json) -> Json:
    """A --set value with the type of the input's default."""
    if not _is_clean(text):
        raise UsageError(f"--set {name}: holds a control character: {one_line(text, 60)!r}")
    if isinstance(default, list):
        return _listed(name, text)
    if not isinstance(default, bool | int | float):
        return text
    try:
        value = resolve(text.lower() if isinstance(default, bool) else text)
    except ValueError:
        value = text
    wanted = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
        kind = {bool: "true or false", int: "a whole number"}.get(type(default), "a number")
        raise UsageError(f"--set {name}: expected {kind}, got: {one_line(text, 60)}")
    return value


def _is_clean(text: str) -> bool:
    return text == plain(text) and "\n" not in text and "\t" not in text


def _listed(name: str, text: str) -> list[Json]:
    if not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.json.decode(text.encode(), type=list[str | int | float | bool])
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise UsageError(f"--set {name}: not a JSON list: {one_line(text, 60)}") from error


# --- expressions ----------------------------------------------------------------------------


class Refused(Exception):
    """A value cannot stand where an expression is."""


class Substitution:
    """Puts values into a tree. What cannot be put in is a problem, at its place.

    `whole` names the input of each key (`goal.all[0].rollout.target`) that is nothing but one.
    `matrix` are the values of one cluster; without, expressions of the matrix stay as they are.
    """

    def __init__(
        self,
        find: Callable[[str], tuple[Json, bool] | None],
        known: Sequence[str],
        matrix: Mapping[str, str] | None = None,
    ):
        self._matrix, self._has_matrix = matrix, False
        self.problems: list[Problem] = []
        self.used: set[str] = set()
        self.whole: dict[str, str] = {}
        self._find, self._known = find, known

    def tree(self, node: Node, path: Path = ()) -> Node:
        match node:
            case Block():
                self._has_matrix |= not path and "matrix" in node.nodes
                nodes = {key: self.tree(child, (*path, key)) for key, child in node.nodes.items()}
                return Block(node.at, nodes, node.keys)
            case Items():
                nodes_ = (self.tree(child, (*path, i)) for i, child in enumerate(node.nodes))
                return Items(node.at, tuple(nodes_))
            case Scalar() if "${{" in node.text:
                try:
                    return self._scalar(node, path)
                except Refused as error:
                    self.problems.append(Problem(node.at, _key(path), str(error)))
                    return Given(node.at, node.text, sample=True)
        return node

    def _scalar(self, node: Scalar, path: Path) -> Given:
        """Raises Refused when a value cannot land here."""
        if len(node.text) > MAX_TEXT:
            raise Refused(f"a text with expressions is at most {MAX_TEXT} characters long")
        if whole := _EXPRESSION.fullmatch(node.text):
            value, sample = self._look_up(whole, "", path)
            _check_whole(value, path)
            if whole[1] == "inputs":
                self.whole[_key(path)] = whole[2]
            return Given(node.at, value, sample)
        text, end, sampled = "", 0, False
        for match in _EXPRESSION.finditer(node.text):
            literal = node.text[end : match.start()]
            _no_expression(literal)
            text += literal
            value, sample = self._look_up(match, text, path)
            text += match[0] if self._waits(match[1]) else _land(value, text, path)
            sampled |= sample
            end = match.end()
        _no_expression(node.text[end:])
        return Given(node.at, text + node.text[end:], sampled)

    def _look_up(self, match: re.Match[str], before: str, path: Path) -> tuple[Json, bool]:
        """(value, is it a sample); an expression that waits is its own value."""
        space, name = match.groups()
        if space == "matrix":
            return self._of_matrix(match)
        if space == "service":
            return _waits_for_service(match, before, path), False
        if space != "inputs":
            raise Refused(f"unknown expression {match[0]}; known: ${{{{ inputs.NAME }}}}")
        self.used.add(name)
        found = self._find(name)
        if found is None:
            raise Refused(f"no such input: {name}{did_you_mean(name, self._known)}")
        value, sample = found
        for item in value if isinstance(value, list) else [value]:
            _require_clean(text_of(item))
        return value, sample

    def _waits(self, space: str) -> bool:
        return space == "service" or (space == "matrix" and self._matrix is None)

    def _of_matrix(self, match: re.Match[str]) -> tuple[Json, bool]:
        if match[2] != "cluster":
            raise Refused(f"unknown expression {match[0]}; known: ${{{{ matrix.cluster }}}}")
        if not self._has_matrix:
            raise Refused(f"{match[0]} needs the block matrix, which says which clusters")
        if self._matrix is None:
            return match[0], True
        value = self._matrix.get("cluster", "")
        _require_clean(value)
        return value, False


def of_service(query: str, service: ObjectRef) -> str:
    """A query of a goal with each_service, for one of them. Raises Refused where its name does
    not fit, which a query that has been loaded never does."""
    text, end = "", 0
    for match in _OF_SERVICE.finditer(query):
        text += query[end : match.start()]
        text, end = text + _promql(getattr(service, match[1]), text), match.end()
    return text + query[end:]


def asks_for_service(query: str) -> bool:
    return _OF_SERVICE.search(query) is not None


def _waits_for_service(match: re.Match[str], before: str, path: Path) -> str:
    """The expression itself, once a service's value is known to fit there."""
    if _landing(path) is not _promql:
        raise Refused(f"{match[0]} stands only in the query of a metric or ratio check")
    if match[2] not in ("name", "namespace", "kind"):
        raise Refused(f"unknown expression {match[0]}; known: service.name, .namespace, .kind")
    _promql(getattr(SAMPLE, match[2]), of_service(before, SAMPLE))
    return match[0]


def _require_clean(text: str) -> None:
    if not _is_clean(text):
        raise Refused(f"a value with a control character: {one_line(text, 60)!r}")


def _key(path: Path) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def _no_expression(literal: str) -> None:
    if "${{" in literal:
        raise Refused("not an expression; write ${{ inputs.NAME }}")


def _check_whole(value: Json, path: Path) -> None:
    """A scalar that is nothing but an expression takes the value as it is."""
    kind = _landing(path)
    if kind is _fixed:
        _fixed(text_of(value), "")
    if kind is _argument:
        for item in value if isinstance(value, list) else [value]:
            _argument(text_of(item), "")


def _land(value: Json, before: str, path: Path) -> str:
    """The text that stands for a value after `before`. Raises Refused when it cannot."""
    if isinstance(value, list):
        raise Refused("a list cannot be part of a text: let the expression stand alone")
    return _landing(path)(text_of(value), before)


def _landing(path: Path) -> Callable[[str, str], str]:
    """How a value must be escaped at this place of the file."""
    keys = [part for part in path if isinstance(part, str)]
    last = keys[-1] if keys else ""
    if not keys or keys[0] in ("apiVersion", "name", "inputs", "secrets", "hints"):
        return _fixed
    if last == "python" or (last == "run" and path[-1] in (0, "run")):
        return _fixed
    if "matches" in keys:  # of an object: its keys are Kubernetes' words, not ours
        return _text
    if last in ("query", "bad", "total"):
        return _promql
    if keys[-2:] == ["kubectl_apply", "path"]:
        return _text
    if last in ("url", "path") or keys[-2:] == ["http", "allow"]:
        return _url
    if last in ("targets", "target", "namespaces", "from_release", "selector", "list"):
        return _name
    if keys[-2:] == ["object", "labels"]:
        return _name
    return _argument if last == "run" else _text


def _text(value: str, before: str) -> str:
    return value


def _fixed(value: str, before: str) -> str:
    raise Refused("an expression is not allowed here")


def _argument(value: str, before: str) -> str:
    if value.startswith("-") and not before:
        raise Refused(f"a value cannot be an option of a command: {one_line(value, 60)!r}")
    return value


def _name(value: str, before: str) -> str:
    if not _NAME.fullmatch(value):
        raise Refused(f"a value here must be a name: {one_line(value, 60)!r}")
    return value


def _promql(value: str, before: str) -> str:
    if "${{" in value:
        raise Refused(f"a value cannot be an expression: {one_line(value, 60)!r}")
    inside = _promql_state(before)
    if inside in ("'", '"'):
        return value.replace("\\", "\\\\").replace(inside, f"\\{inside}")
    if inside == "`" and not {"`", "\\"} & set(value):  # raw, and parsers differ on backslashes
        return value
    if inside or not _PROMQL_WORD.fullmatch(value):
        raise Refused(f"a value here must be a word, number or duration: {one_line(value, 60)!r}")
    return value


def _promql_state(text: str) -> str:
    """What a PromQL text leaves open: a quote mark, `#` a comment, `\\` an escape, or ""."""
    inside = escape = ""
    for char in text:
        if escape:
            escape = ""
        elif inside == "#":
            inside = "" if char == "\n" else inside
        elif inside:
            escape = char if char == "\\" and inside != "`" else ""
            inside = "" if char == inside else inside
        elif char in "\"'`#":
            inside = char
    return escape or inside


def _url(value: str, before: str) -> str:
    if not before:
        if not _BASE.fullmatch(value):
            raise Refused(f"a URL must begin like http://host:port: {one_line(value, 60)!r}")
        return value
    scheme, found, rest = before.partition("://")
    if found and not re.search(r"[/?#]", rest):
        if not _NAME.fullmatch(value):
            raise Refused(f"a value cannot be part of a host: {one_line(value, 60)!r}")
        return value
    if not value.strip("."):
        raise Refused(f"a value cannot be a step of a path: {value!r}")
    return quote(value, safe="")
