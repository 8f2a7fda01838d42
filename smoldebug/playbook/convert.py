"""The tree of a file -> typed blocks, reporting everything that is wrong, each where it stands.

msgspec checks the values; it would stop at the first mistake and knows no lines, so the walk over
blocks, lists and maps is done here.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec

from smoldebug.playbook.base import Duration, Model, Money
from smoldebug.playbook.fields import (
    Hint,
    allowed,
    describe,
    did_you_mean,
    element_of,
    fields_of,
    is_block,
    is_map,
    options,
)
from smoldebug.playbook.tree import (
    At,
    Block,
    Given,
    Items,
    Node,
    Problem,
    Scalar,
    plain_value,
    resolve,
)
from smoldebug.records import Json
from smoldebug.untrusted import one_line

Report = Callable[[str, str], None]  # (key below this block, or "" for itself; what is wrong)
Rules = Mapping[type[Model], Callable[[Any, Report], None]]

_NUMERIC = (int, float, bool)
_SAMPLES = {int: 1, float: 1.0, bool: False, Duration: "1", Money: "1"}


class _Wrong(Exception):
    """This part has been reported; what holds it cannot be built."""


class Converter:
    """Builds blocks out of nodes. `problems`, `later`, `marks` and `samples` fill as it goes.

    `later` are the paths of parts that this version does not run; `marks` says where each path
    stands; `samples` are the paths whose value stands in for an input nobody has given. `rules`
    judge a block once it is built.
    """

    def __init__(self, rules: Rules, what: str = "playbook") -> None:
        self.problems: list[Problem] = []
        self.later: list[str] = []
        self.marks: dict[str, At] = {}
        self.samples: set[str] = set()
        self._rules, self._what = rules, what

    def convert(self, node: Node, hint: Any, path: str = "") -> Any:
        """A value of type `hint`, or None when it cannot be built (see `problems`)."""
        try:
            return self._value(node, hint, path)
        except _Wrong:
            return None

    def _wrong(self, at: At, path: str, says: str) -> _Wrong:
        self.problems.append(Problem(at, path, says))
        return _Wrong()

    def _value(self, node: Node, hint: Any, path: str) -> Any:
        self.marks.setdefault(path, node.at)
        if isinstance(node, Given) and node.sample:
            self.samples.add(path)
        if options(hint) == (Any,):
            return self._plain(node, path)
        match node:
            case Block():
                return self._block(node, hint, path)
            case Items():
                return self._list(node, hint, path)
            case Given(at, list(values), sample):
                return self._list(
                    Items(at, tuple(Given(at, value, sample) for value in values)), hint, path
                )
        return self._scalar(node, hint, path)

    def _all(self, parts: Iterable[tuple[Node, Any, str]]) -> list[Any]:
        """Every part's value; all are looked at before one that is wrong stops it."""
        values, wrong = [], False
        for node, hint, path in parts:
            try:
                values.append(self._value(node, hint, path))
            except _Wrong:
                wrong = True
        if wrong:
            raise _Wrong
        return values

    # --- blocks, maps and lists -------------------------------------------------------------

    def _block(self, node: Block, hint: Any, path: str) -> Any:
        for option in options(hint):
            if is_block(option):
                return self._struct(node, option, path)
            if is_map(option):
                inner = element_of(option)
                parts = [(child, inner, f"{path}.{key}") for key, child in node.nodes.items()]
                return dict(zip(node.nodes, self._all(parts), strict=True))
        raise self._wrong(node.at, path, f"expected {describe(hint)}, got a block")

    def _struct(self, node: Block, block: type[Model], path: str) -> Model:
        fields = fields_of(block)
        before = len(self.problems)
        names, parts = [], []
        for key, child in node.nodes.items():
            below = f"{path}.{key}" if path else key
            self.marks[below] = node.keys[key]
            if field := fields.get(key):
                names.append(field.name)
                parts.append((child, field.hint, below))
                self.later += [below] if field.later else []
            else:
                self._wrong(node.keys[key], below, f"unknown key{did_you_mean(key, fields)}")
        for field in fields.values():
            if field.required and field.key not in node.nodes:
                self._wrong(node.at, path or self._what, f"needs {field.key}: {field.description}")
        wrong = len(self.problems) > before
        values = self._all(parts)
        if wrong:
            raise _Wrong
        built = block(**dict(zip(names, values, strict=True)))
        self._judge(built, path)
        return built

    def _judge(self, built: Model, path: str) -> None:
        def report(key: str, says: str) -> None:
            below = f"{path}.{key}" if path and key else path or key
            if below not in self.samples:
                at = self.marks.get(below, self.marks[path])
                self.problems.append(Problem(at, below, says))

        if rule := self._rules.get(type(built)):
            rule(built, report)

    def _list(self, node: Items, hint: Any, path: str) -> Any:
        for option in options(hint):
            inner = element_of(option)
            if inner and not is_map(option):
                if not node.nodes and any(meta.min_length for meta in get_args(hint)[1:]):
                    break
                parts = ((child, inner, f"{path}[{i}]") for i, child in enumerate(node.nodes))
                make: Any = get_origin(option)
                return make(self._all(parts))
        got = "a list" if node.nodes else "an empty list"
        raise self._wrong(node.at, path, f"expected {describe(hint)}, got {got}")

    # --- single values ----------------------------------------------------------------------

    def _plain(self, node: Node, path: str) -> Json:
        try:
            return plain_value(node)
        except ValueError as error:
            raise self._wrong(node.at, path, str(error)) from error

    def _scalar(self, node: Scalar | Given, hint: Any, path: str) -> Any:
        if isinstance(node, Scalar) and node.bare and node.text in ("", "~", "null"):
            blocks = any(map(is_block, options(hint)))
            hint_for_it = "; write {} for its defaults" if blocks else ""
            raise self._wrong(node.at, path, f"is empty{hint_for_it}")
        reason = ""
        for option in options(hint):
            if is_block(option):
                continue
            try:
                wanted = _bounded(option, hint)
                return msgspec.convert(_candidate(node, option), wanted, dec_hook=_decode)
            except msgspec.ValidationError:
                continue
            except ValueError as error:
                reason = str(error)
        raise self._wrong(node.at, path, reason or _explain(node, hint))


def _bounded(option: Hint, hint: Any) -> Any:
    """One of a hint's types with the hint's bounds, which msgspec takes for no `int | None`."""
    metas = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return Annotated[(option, *metas)] if metas else option


def text_of(value: Json) -> str:
    """A value given for an input, as text inside other text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _candidate(node: Scalar | Given, option: Hint) -> Json:
    """What a scalar may mean where `option` is wanted. Raises ValueError as `resolve` does."""
    if isinstance(node, Given):
        if node.sample and option is not str:
            words = allowed(option)
            return words[0] if words else _SAMPLES.get(option)
        if option not in _NUMERIC:
            return text_of(node.value)
        return resolve(node.value) if isinstance(node.value, str) else node.value
    return resolve(node.text) if option in _NUMERIC and node.bare else node.text


def _decode(kind: type[Any], text: Any) -> Any:
    """msgspec's dec_hook. Its ValueError becomes a ValidationError."""
    parse: Callable[[str], Any] = kind.parse  # Duration or Money
    return parse(str(text))


def _explain(node: Scalar | Given, hint: Any) -> str:
    text = node.text if isinstance(node, Scalar) else text_of(node.value)
    shown = f"{one_line(text, 60)!r}"
    words = [word for option in options(hint) for word in allowed(option)]
    if words:
        return f"unknown value {shown}{did_you_mean(text, words)}"
    advice = ""
    if any(element_of(option) is str for option in options(hint)):
        advice = f"; write [{one_line(text, 60)}]"
    elif isinstance(node, Scalar) and not node.bare and set(options(hint)) & set(_NUMERIC):
        advice = "; leave out the quotes"
    return f"expected {describe(hint)}, got {shown}{advice}"
