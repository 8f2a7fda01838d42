"""Our tools as smolagents describes them to a model."""

from collections.abc import Mapping
from typing import Any

from smolagents import Tool

from smoldebug.records import Json
from smoldebug.toolset import ToolSpec

# Of a parameter's JSON Schema: what helps a model to write a call. The rest is checked all the
# same, and a model is told what was wrong.
TOLD = ("type", "description", "enum", "items", "properties", "required", "additionalProperties")


class Described(Tool):
    """A ToolSpec in smolagents' form. It is never called: the agent calls."""

    skip_forward_signature_validation = True
    output_type = "string"

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec
        self.name, self.description = spec.name, spec.description
        required = spec.schema.get("required", [])
        self.inputs = {
            name: _smol(schema, name not in required)
            for name, schema in spec.schema["properties"].items()
        }
        super().__init__()


def function_schema(tool: Tool) -> dict[str, Json]:
    """A tool as OpenAI's API takes it, in as few tokens as it can be said: in place of smolagents'
    `get_tool_json_schema`, which sends defaults and `nullable` along."""
    inputs: Mapping[str, Any] = tool.inputs
    parameters: dict[str, Json] = {
        "type": "object",
        "properties": {name: _told(schema) for name, schema in inputs.items()},
    }
    required = [name for name, schema in inputs.items() if not schema.get("nullable")]
    if required:
        parameters["required"] = required
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _told(schema: Mapping[str, Any]) -> dict[str, Json]:
    told = {key: schema[key] for key in TOLD if schema.get(key)}  # `additionalProperties: false`
    if isinstance(told.get("items"), dict):
        told["items"] = _told(told["items"])
    if properties := told.get("properties"):
        told["properties"] = {name: _told(part) for name, part in properties.items()}
    if isinstance(schema.get("default"), int | str) and schema["default"]:
        told["default"] = schema["default"]
    return told


def _smol(schema: dict[str, Any], optional: bool) -> dict[str, Any]:
    """A property's JSON Schema in smolagents' dialect: a plain `type`, and `nullable`."""
    kinds = [part for part in schema.get("anyOf", []) if part.get("type") != "null"]
    plainest = {**schema, **(kinds[0] if kinds else {})}
    plainest.pop("anyOf", None)
    if plainest.get("default", "") is None:
        del plainest["default"]  # null is no value of the plain type
    plainest.setdefault("type", "string")  # an enum has values, but no type
    return {**plainest, "nullable": True} if optional else plainest
