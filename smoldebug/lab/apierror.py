"""What the API server answers when it says no: one exception, shaped like a Kubernetes Status."""

import json
from typing import Any

from smoldebug.lab.catalog import Resource
from smoldebug.sources.world import Object

_CAUSES = {
    "Required value": "FieldValueRequired",
    "Invalid value": "FieldValueInvalid",
    "Duplicate value": "FieldValueDuplicate",
    "Forbidden": "FieldValueForbidden",
    "Not found": "FieldValueNotFound",
    "Unsupported value": "FieldValueNotSupported",
}


class ApiError(Exception):
    """An error as the API reports it: HTTP `code`, `reason`, `message` and `details`."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def status(self) -> Object:
        """The Status object that is the body of the answer."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            "details": {name: value for name, value in self.details.items() if value},
            "code": self.code,
        }


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(
        404, "NotFound", f'{resource.qualified} "{name}" not found', **_of(resource, name)
    )


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, **_of(resource, name))


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, **_of(resource, name))


def invalid(resource: Resource, name: str, field: str, why: str) -> ApiError:
    """422; `why` starts with its class as in Kubernetes: `Required value: ...`."""
    return invalid_fields(resource, name, [(field, why)])


def invalid_fields(resource: Resource, name: str, errors: list[tuple[str, str]]) -> ApiError:
    """422 for several fields, each with its reason."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    said = [f"{field}: {why}" for field, why in errors]
    what = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    causes = [
        {"reason": _CAUSES[why.partition(":")[0]], "message": why, "field": field}
        for field, why in errors
    ]
    message = f'{kind} "{name}" is invalid: {what}'
    details = {"name": name, "group": resource.group, "kind": resource.kind, "causes": causes}
    return ApiError(422, "Invalid", message, **details)


def invalid_patch(patch: Any, why: str) -> ApiError:
    """422 for a patch that makes of an object what cannot be read."""
    message = f'Invalid value: "{json.dumps(patch)}": {why}'
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]
    return ApiError(422, "Invalid", f' "" is invalid: patch: {message}', causes=causes)


def _of(resource: Resource, name: str) -> dict[str, str]:
    return {"name": name, "group": resource.group, "kind": resource.plural}
