"""Our tools as smolagents describes them to a model."""

from typing import Any

from smolagents import Tool

from smoldebug.toolset import ToolSpec


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


def _smol(schema: dict[str, Any], optional: bool) -> dict[str, Any]:
    """A property's JSON Schema in smolagents' dialect: a plain `type`, and `nullable`."""
    kinds = [part for part in schema.get("anyOf", []) if part.get("type") != "null"]
    plainest = {**schema, **(kinds[0] if kinds else {})}
    plainest.pop("anyOf", None)
    if plainest.get("default", "") is None:
        del plainest["default"]  # null is no value of the plain type
    plainest.setdefault("type", "string")  # an enum has values, but no type
    return {**plainest, "nullable": True} if optional else plainest
