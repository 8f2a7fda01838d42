"""A request as the API sees it, what it is about, and what an answer is made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
import yaml

from smoldebug.lab import protobuf
from smoldebug.lab.apierror import ApiError, bad_request, no_such_path
from smoldebug.lab.catalog import Resource, find
from smoldebug.lab.identity import ADMIN, User
from smoldebug.sources.process import Process
from smoldebug.sources.world import Object

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_ACCEPTED = "accepted media types include: application/json, application/yaml"


@dataclass(frozen=True)
class Request:
    """`path` and `query_text` are as sent, still percent-encoded."""

    method: str
    path: str
    query_text: str
    headers: Message
    body: bytes
    user: User = ADMIN

    @cached_property
    def parameters(self) -> dict[str, list[str]]:
        """Each query parameter with all its values."""
        return parse_qs(self.query_text, keep_blank_values=True)

    @cached_property
    def query(self) -> dict[str, str]:
        """Each query parameter with its last value."""
        return {name: values[-1] for name, values in self.parameters.items()}

    @property
    def accept(self) -> str:
        return self.headers.get("Accept", "")

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip()

    @property
    def dry_run(self) -> bool:
        """In the query or, when something is deleted, in the body. Raises ApiError 400, 415."""
        if self.query.get("dryRun") == "All":
            return True
        return self.method == "DELETE" and "All" in (self.object().get("dryRun") or ())

    @property
    def strict(self) -> bool:
        return self.query.get("fieldValidation") == "Strict"

    @property
    def manager(self) -> str:
        """Who is written down as the owner of the fields this request changes."""
        agent = self.headers.get("User-Agent", "").partition("/")[0]
        return self.query.get("fieldManager") or agent or "unknown"

    def number(self, name: str) -> int | None:
        """A query parameter as an integer, None if absent. Raises ApiError 400."""
        text = self.query.get(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise bad_request(f"invalid query parameter {name}: {text!r}") from None

    def document(self) -> Any:
        """The body as JSON data, {} if there is none. Raises ApiError 400 or 415."""
        if not self.body:
            return {}
        if self.body.startswith(protobuf.MAGIC):
            return self._protobuf()
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if "yaml" not in self.content_type:
                raise bad_request(f"the body of the request is no JSON: {error}") from None
        try:
            return msgspec.to_builtins(yaml.safe_load(self.body))  # dates become text again
        except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
            raise bad_request(f"the body of the request is no YAML: {error}") from None

    def object(self) -> Object:
        """The body as an object. Raises ApiError 400 or 415."""
        document = self.document()
        if not isinstance(document, dict) or not isinstance(document.get("metadata") or {}, dict):
            raise bad_request("the body of the request is no Kubernetes object")
        if "metadata" in document and document["metadata"] is None:
            del document["metadata"]
        return document

    def _protobuf(self) -> Object:
        try:
            return protobuf.decode(self.body)
        except LookupError as error:
            message = f"the body of the request was in an unknown format - {_ACCEPTED} ({error})"
            raise ApiError(415, "UnsupportedMediaType", message) from None
        except ValueError as error:
            raise bad_request(f"the body of the request is no protobuf: {error}") from None


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL below /api or /apis names. `rest` is what follows `/proxy`, as sent."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def target_of(request: Request) -> Target:
    """Raises ApiError 404 for a path that names no resource."""
    parts = request.path.split("/")[1:]
    group, version, parts = _group_version(parts)
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces" and find(group, version, parts[2]):
        namespace, parts = unquote(parts[1]), parts[2:]
    resource = find(group, version, parts[0]) if parts else None
    if resource is None or (namespace and not resource.namespaced):
        raise no_such_path()
    subresource = parts[2] if len(parts) > 2 else ""
    if (
        subresource
        and (subresource not in resource.subresources or len(parts) > 3)
        and (subresource != "proxy")
    ):
        raise no_such_path()
    name = unquote(parts[1]) if len(parts) > 1 else ""
    rest = "/".join(parts[3:])
    return Target(verb_of(request, named=bool(name)), resource, namespace, name, subresource, rest)


def _group_version(parts: list[str]) -> tuple[str, str, list[str]]:
    if "proxy" not in parts[:-1]:
        parts = [part for part in parts if part]  # `/version/` is `/version`
    if parts[:1] == ["api"] and len(parts) > 2:
        return "", parts[1], parts[2:]
    if parts[:1] == ["apis"] and len(parts) > 3:
        return parts[1], parts[2], parts[3:]
    raise no_such_path()


def verb_of(request: Request, *, named: bool) -> str:
    """What RBAC calls a method on a collection or on an object."""
    if request.method in ("GET", "HEAD"):
        if request.query.get("watch") in ("true", "1"):
            return "watch"
        return "get" if named else "list"
    verb = _VERBS.get(request.method, request.method.lower())
    return verb if named or verb != "delete" else "deletecollection"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer of unknown length. An empty chunk means "nothing new": time to look whether the
    client is still there."""

    chunks: Iterator[bytes]
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Exec:
    """A command to run over a WebSocket, accepted with these headers. `start` raises ToolError or
    ApiError."""

    headers: Mapping[str, str]
    start: Callable[[], Process]


def json_reply(document: Any, status: int = 200) -> Reply:
    return Reply(status, msgspec.json.encode(document))


def error_reply(error: ApiError) -> Reply:
    wait = error.details.get("retryAfterSeconds", 1 if error.code == 429 else 0)
    headers = {"Retry-After": str(wait)} if wait else {}
    return Reply(error.code, msgspec.json.encode(error.status()), headers=headers)
