"""Every key of a playbook in words: `playbooks explain`, and the table of docs/playbooks.md."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from smoldebug.errors import UsageError
from smoldebug.playbook.base import Duration, Model, Money
from smoldebug.playbook.fields import (
    Field,
    Hint,
    allowed,
    block_of,
    describe,
    did_you_mean,
    element_of,
    fields_of,
    is_block,
    is_map,
    options,
)
from smoldebug.playbook.models import Playbook
from smoldebug.records import Json
from smoldebug.untrusted import one_line

TABLE_BEGIN = "<!-- keys: made by tests/test_preview.py -->"
TABLE_END = "<!-- end of keys -->"
FEW = 3  # places of a key that are named

_SAMPLES: dict[Any, Json] = {
    str: "text",
    int: 1,
    float: 0.01,
    bool: True,
    Duration: "30s",
    Money: "$1.00",
    Any: "...",
}


class Explained(msgspec.Struct, frozen=True):
    """One key. `default` and `example` are spelled as in YAML."""

    key: str
    description: str
    type: str
    default: str
    required: bool
    example: str
    keys: tuple[str, ...] = ()  # below it


def explain(path: str) -> Explained:
    """The key of a dotted path such as `goal.consecutive`.

    Indexes and the names of a map may stand in it: `inputs.port.default`, `goal.all[0].http`.
    Raises UsageError, with what is close, when there is no such key.
    """
    trail: list[Field] = []
    for part in path.split("."):
        name = part.partition("[")[0]
        block = block_of(trail[-1].hint) if trail else Playbook
        fields = fields_of(block) if block else {}
        if name in fields:
            trail.append(fields[name])
        elif not trail or not is_map(options(trail[-1].hint)[0]):
            known = did_you_mean(name, fields) if fields else "; it is not a block"
            raise UsageError(f"no such key: {one_line(path, 80)}{_elsewhere(path) or known}")
    return _explained(trail)


def _elsewhere(path: str) -> str:
    """Where a key is that was asked for without the blocks around it."""
    found = [each.key for each in tree() if each.key.endswith(f".{path}")]
    return f"; did you mean {' or '.join(found)}?" if 0 < len(found) <= FEW else ""


def tree(block: type[Model] = Playbook) -> Iterator[Explained]:
    """Every key there is, in order; blocks within themselves (checks in checks) only once."""
    yield from _below(block, [])


def table(block: type[Model] = Playbook) -> str:
    """The keys as a Markdown table."""
    rows = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    for entry in tree(block):
        kind = "block" if entry.type.startswith("a block") else entry.type
        default = "required" if entry.required else f"`{entry.default}`" if entry.default else ""
        rows.append(f"| `{entry.key}` | {kind} | {default} | {entry.description} |")
    return "\n".join(rows) + "\n"


def spell(value: Json) -> str:
    """A value on one line of YAML."""
    import yaml

    plain = msgspec.to_builtins(value, enc_hook=str)
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _below(block: type[Model], trail: list[Field]) -> Iterator[Explained]:
    for field in fields_of(block).values():
        here = [*trail, field]
        yield _explained(here)
        inner = block_of(field.hint)
        if inner and inner not in [block_of(above.hint) for above in trail]:
            yield from _below(inner, here)


def _explained(trail: list[Field]) -> Explained:
    field = trail[-1]
    inner = block_of(field.hint)
    return Explained(
        key=".".join(each.key for each in trail),
        description=field.description,
        type=describe(field.hint),
        default="" if field.default in (None, "", [], {}) else spell(field.default),
        required=field.required,
        example=_example(trail),
        keys=tuple(fields_of(inner)) if inner else (),
    )


# --- examples -------------------------------------------------------------------------------


def _example(trail: Iterable[Field]) -> str:
    """The key in its place, with a value that loads."""
    import yaml

    *above, last = trail
    value: Json = {last.key: sample(last)}
    for field in reversed(above):
        value = {field.key: _wrapped(options(field.hint)[0], value)}
    return yaml.safe_dump(value, sort_keys=False, width=90).strip()


def _wrapped(option: Hint, value: Json) -> Json:
    if is_map(option):
        return {"name": value}
    return [value] if element_of(option) else value


def sample(field: Field) -> Json:
    """A value that a field accepts: its example, its default, or one of its type."""
    if field.examples:
        return field.examples[0]
    if field.default not in (None, "", [], {}) and not block_of(field.hint):
        return msgspec.to_builtins(field.default, enc_hook=str)
    return _of(options(field.hint)[0])


def _of(option: Hint) -> Json:
    if is_block(option):
        return _block(option)
    if element := element_of(option):
        return _wrapped(option, _of(options(element)[0]))
    words = [word for word in allowed(option) if word]
    return words[0] if words else _SAMPLES[option]


def _block(block: type[Model]) -> Json:
    fields = fields_of(block).values()
    needed = [field for field in fields if field.required]
    telling = [field for field in fields if field.examples or block_of(field.hint)]
    return {field.key: sample(field) for field in (needed or telling[:1] or [*fields][:1])}
