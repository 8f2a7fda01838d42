"""Our tools as smolagents describes them to a model."""

from collections.abc import Iterable, Mapping
from typing import Any

from smolagents import Tool

from smoldebug.records import Json
from smoldebug.toolset import ToolSpec

# Of JSON Schema: what helps a model to write a call. The rest is checked all the same, and a model
# is told what was wrong.
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


def function_schemas(tools: Iterable[Tool]) -> list[dict[str, Json]]:
    """Tools as OpenAI's API takes them, in as few tokens as they can be said: in place of
    smolagents' `get_tool_json_schema`, which sends every default and `nullable` along.

    What describes a parameter is said once, by the first tool that has it; so is the form of items.
    """
    said: set[str] = set()
    return [_function(tool, said) for tool in tools]


def _function(tool: Tool, said: set[str]) -> dict[str, Json]:
    inputs: Mapping[str, Any] = tool.inputs
    properties = {name: _once(name, _told(schema), said) for name, schema in inputs.items()}
    parameters: dict[str, Json] = {"type": "object", "properties": properties}
    if required := [name for name, schema in inputs.items() if not schema.get("nullable")]:
        parameters["required"] = required
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _once(name: str, told: dict[str, Json], said: set[str]) -> dict[str, Json]:
    """Without what an earlier parameter has said."""
    words, form = f"{name}: {told.get('description')}", told.get("items", {})
    if words in said:
        del told["description"]
    if str(form) in said:
        told["items"] = {"type": form["type"]}
    said.add(words)
    if form.get("properties"):
        said.add(str(form))
    return told


def _told(schema: Mapping[str, Any]) -> dict[str, Json]:
    told = {key: schema[key] for key in TOLD if schema.get(key)}  # no `additionalProperties: false`
    if items := told.get("items"):
        told["items"] = {key: value for key, value in _told(items).items() if key != "description"}
    if properties := told.get("properties"):
        told["properties"] = {name: _told(part) for name, part in properties.items()}
    if schema.get("default") and "enum" not in schema:
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
