"""What the API server answers when it says no: one exception, shaped like a Kubernetes Status."""

from typing import Any

from smoldebug.lab.catalog import Resource
from smoldebug.sources.world import Object


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
            "reason": self.reason,
            "details": self.details,
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
    return ApiError(
        422,
        "Invalid",
        f'{resource.kind} "{name}" is invalid: {field}: {why}',
        name=name,
        group=resource.group,
        kind=resource.kind,
        causes=[
            {"reason": f"FieldValue{why.split()[0].title()}", "message": why, "field": field},
        ],
    )


def _of(resource: Resource, name: str) -> dict[str, str]:
    return {"name": name, "group": resource.group, "kind": resource.plural}
