"""The JSON Schema of playbooks, for editors: docs/playbook.schema.json.

Made from the same fields as everything else: msgspec's own generator knows neither durations nor
that an expression may stand where a number is wanted.
"""

from typing import Annotated, Any, get_args, get_origin

import msgspec

from smoldebug.playbook.base import Duration, Model, Money
from smoldebug.playbook.fields import (
    Field,
    Hint,
    allowed,
    block_of,
    element_of,
    fields_of,
    is_block,
    is_map,
    options,
)
from smoldebug.playbook.models import Playbook
from smoldebug.records import Json

_EXPRESSION = {"type": "string", "pattern": r"^\$\{\{.*\}\}$"}
_DURATION = r"^([0-9]+(\.[0-9]+)?|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+(\.[0-9]+)?s)?([0-9]+ms)?)$"
_MONEY = r"^\$?[0-9]+(\.[0-9]+)?$"
_NUMBER = {"type": "number", "minimum": 0}
_SCALARS: dict[Any, dict[str, Json]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Duration: {"anyOf": [_NUMBER, {"type": "string", "pattern": _DURATION}]},
    Money: {"anyOf": [_NUMBER, {"type": "string", "pattern": _MONEY}]},
    Any: {},
}
_LIMITS = {"ge": "minimum", "le": "maximum", "pattern": "pattern", "min_length": "minItems"}


def schema() -> dict[str, Json]:
    """JSON Schema (2020-12). Where a value is not text, an expression may stand instead."""
    blocks: dict[str, Json] = {}
    _collect(Playbook, blocks)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "smoldebug playbook",
        "$ref": "#/$defs/Playbook",
        "$defs": blocks,
    }


def text() -> str:
    """The schema as its file holds it."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"


def _collect(block: type[Model], blocks: dict[str, Json]) -> None:
    if block.__name__ in blocks:
        return
    fields = fields_of(block).values()
    required = [field.key for field in fields if field.required]
    blocks[block.__name__] = {
        "type": "object",
        "properties": {field.key: _field(field) for field in fields},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }
    for field in fields:
        if inner := block_of(field.hint):
            _collect(inner, blocks)


def _field(field: Field) -> dict[str, Json]:
    about: dict[str, Json] = {"description": field.description}
    if field.examples:
        about["examples"] = list(field.examples)
    if not field.required and field.default not in (None, "", [], {}):
        about["default"] = msgspec.to_builtins(field.default, enc_hook=str)
    return {**about, **_value(field.hint)}


def _value(hint: Any) -> dict[str, Json]:
    kinds, limits = options(hint), _limits(hint)
    choices = [_option(option) for option in kinds]
    for choice in choices:
        choice.update(limits)
    if not any(option in (str, Any) or is_block(option) or is_map(option) for option in kinds):
        choices.append(_EXPRESSION)
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _option(option: Hint) -> dict[str, Json]:
    if is_block(option):
        return {"$ref": f"#/$defs/{option.__name__}"}
    if words := allowed(option):
        return {"enum": list(words)}
    if element := element_of(option):
        if is_map(option):
            return {"type": "object", "additionalProperties": _value(element)}
        return {"type": "array", "items": _value(element)}
    return dict(_SCALARS[option])


def _limits(hint: Any) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for meta in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        for name, keyword in _LIMITS.items():
            if (value := getattr(meta, name)) is not None:
                found[keyword] = value
    return found
