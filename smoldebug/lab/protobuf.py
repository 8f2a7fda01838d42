"""Request bodies in protobuf: kubectl from 1.32 on and Helm 4 post a few kinds that way."""

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple

from smoldebug.sources.world import Object

MAGIC = b"k8s\0"


class _Map(NamedTuple):
    """A field that maps strings to values of one type."""

    value: str


Message = dict[int, tuple[str, Any]]  # field number -> name and type
# Types: "text", "bytes" (becomes base64), "int", "bool", "int or text", a message, a map, and
# [type] if repeated; "inside" is what the first field of a message holds.
_TEXTS = _Map("text")
_META: Message = {
    1: ("name", "text"),
    2: ("generateName", "text"),
    3: ("namespace", "text"),
    5: ("uid", "text"),
    6: ("resourceVersion", "text"),
    11: ("labels", _TEXTS),
    12: ("annotations", _TEXTS),
    14: ("finalizers", ["text"]),
} | dict.fromkeys((7, 8, 9, 10, 17), ("", "dropped"))  # the server's own business
_DELETE_OPTIONS: Message = {
    1: ("gracePeriodSeconds", "int"),
    2: ("preconditions", {1: ("uid", "text"), 2: ("resourceVersion", "text")}),
    3: ("orphanDependents", "bool"),
    4: ("propagationPolicy", "text"),
    5: ("dryRun", ["text"]),
}
_ATTRIBUTES: Message = {
    number: (name, "text")
    for number, name in enumerate(
        ("namespace", "verb", "group", "version", "resource", "subresource", "name"), 1
    )
}
_ACCESS: Message = {
    1: ("resourceAttributes", _ATTRIBUTES),
    2: ("nonResourceAttributes", {1: ("path", "text"), 2: ("verb", "text")}),
}
_POLICY_RULE: Message = {
    number: (name, ["text"])
    for number, name in enumerate(
        ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1
    )
}
_SUBJECT: Message = {
    number: (name, "text")
    for number, name in enumerate(("kind", "apiGroup", "name", "namespace"), 1)
}
_ROLE: Message = {1: ("metadata", _META), 2: ("rules", [_POLICY_RULE])}
_REF: Message = {1: ("apiGroup", "text"), 2: ("kind", "text"), 3: ("name", "text")}
_BINDING: Message = {
    1: ("metadata", _META),
    2: ("subjects", [_SUBJECT]),
    3: ("roleRef", _REF),
}
_TOKEN: Message = {1: ("audiences", ["text"]), 4: ("expirationSeconds", "int")}
# As much of a pod as `kubectl create deployment` can write.
_CONTAINER: Message = {
    1: ("name", "text"),
    2: ("image", "text"),
    3: ("command", ["text"]),
    4: ("args", ["text"]),
    6: ("ports", [{1: ("name", "text"), 3: ("containerPort", "int"), 4: ("protocol", "text")}]),
    7: ("env", [{1: ("name", "text"), 2: ("value", "text")}]),
    18: ("stdin", "bool"),
    19: ("stdinOnce", "bool"),
    20: ("tty", "bool"),
}
_TEMPLATE: Message = {
    1: ("metadata", _META),
    2: ("spec", {2: ("containers", [_CONTAINER]), 3: ("restartPolicy", "text")}),
}
_SELECTOR: Message = {1: ("matchLabels", _TEXTS)}
_BUDGET_SPEC: Message = {
    1: ("minAvailable", "int or text"),
    2: ("selector", _SELECTOR),
    3: ("maxUnavailable", "int or text"),
}
_SERVICE_PORT: Message = {
    1: ("name", "text"),
    2: ("protocol", "text"),
    3: ("port", "int"),
    4: ("targetPort", "int or text"),
    5: ("nodePort", "int"),
}
_SERVICE_SPEC: Message = {
    1: ("ports", [_SERVICE_PORT]),
    2: ("selector", _TEXTS),
    3: ("clusterIP", "text"),
    4: ("type", "text"),
    10: ("externalName", "text"),
}
_QUOTA_SPEC: Message = {1: ("hard", _Map("inside")), 2: ("scopes", ["text"])}
_DEPLOYMENT_SPEC: Message = {
    1: ("replicas", "int"),
    2: ("selector", _SELECTOR),
    3: ("template", _TEMPLATE),
}
_JOB_SPEC: Message = {
    1: ("parallelism", "int"),
    2: ("completions", "int"),
    3: ("activeDeadlineSeconds", "int"),
    6: ("template", _TEMPLATE),
    7: ("backoffLimit", "int"),
}
_KINDS: dict[str, Message] = {
    "Deployment": {1: ("metadata", _META), 2: ("spec", _DEPLOYMENT_SPEC)},
    "Job": {1: ("metadata", _META), 2: ("spec", _JOB_SPEC)},
    "Secret": {
        1: ("metadata", _META),
        2: ("data", _Map("bytes")),
        3: ("type", "text"),
        4: ("stringData", _TEXTS),
        5: ("immutable", "bool"),
    },
    "ConfigMap": {
        1: ("metadata", _META),
        2: ("data", _TEXTS),
        3: ("binaryData", _Map("bytes")),
        4: ("immutable", "bool"),
    },
    "Namespace": {1: ("metadata", _META)},
    "ServiceAccount": {1: ("metadata", _META)},
    "Eviction": {1: ("metadata", _META), 2: ("deleteOptions", _DELETE_OPTIONS)},
    "DeleteOptions": _DELETE_OPTIONS,
    "SelfSubjectAccessReview": {1: ("metadata", _META), 2: ("spec", _ACCESS)},
    "SelfSubjectRulesReview": {1: ("metadata", _META), 2: ("spec", {1: ("namespace", "text")})},
    "PodDisruptionBudget": {1: ("metadata", _META), 2: ("spec", _BUDGET_SPEC)},
    "ResourceQuota": {1: ("metadata", _META), 2: ("spec", _QUOTA_SPEC)},
    "Service": {1: ("metadata", _META), 2: ("spec", _SERVICE_SPEC)},
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "TokenRequest": {1: ("metadata", _META), 2: ("spec", _TOKEN)},
    "SelfSubjectReview": {1: ("metadata", _META)},
}


_ENVELOPE: Message = {
    1: ("type", {1: ("apiVersion", "text"), 2: ("kind", "text")}),
    2: ("content", "raw"),
}


def decode(body: bytes) -> Object:
    """The object in a body that starts with MAGIC. Raises ValueError for what cannot be read and
    LookupError for a kind whose layout is not known here."""
    envelope = _read(body[len(MAGIC) :], _ENVELOPE)
    named: Object = envelope.get("type") or {}
    kind = named.get("kind", "")
    if kind not in _KINDS:
        raise LookupError(f"no protobuf layout for kind {kind!r}")
    return named | _read(envelope.get("content", b""), _KINDS[kind])


def _read(data: bytes, message: Message) -> Object:
    result: Object = {}
    for number, value in _fields(data):
        if number not in message and _is_empty(value):
            continue
        if number not in message:  # better refused than stored without it
            raise LookupError(f"no protobuf layout for field {number}")
        name, kind = message[number]
        if kind == "dropped":
            continue
        if isinstance(kind, list):
            result.setdefault(name, []).append(_value(value, kind[0]))
        elif isinstance(kind, _Map):
            pair = _read(_bytes(value), {1: ("key", "text"), 2: ("value", kind.value)})
            result.setdefault(name, {})[pair.get("key", "")] = pair.get("value", "")
        else:
            found = _value(value, kind)
            if found not in ("", {}):
                result[name] = found
    return result


def _is_empty(value: int | bytes) -> bool:
    """Go writes unused fields too: as 0, "", or a message of nothing but such fields."""
    if not value or isinstance(value, int):
        return not value
    try:
        return all(_is_empty(inner) for _, inner in _fields(value))
    except ValueError:
        return False


def _value(value: int | bytes, kind: Any) -> Any:
    if kind in ("int", "bool"):
        return bool(value) if kind == "bool" else int(value)
    if kind == "text":
        return _bytes(value).decode()
    if kind == "int or text":
        said = _read(_bytes(value), {1: ("isText", "bool"), 2: ("int", "int"), 3: ("text", "text")})
        return said.get("text", "") if said.get("isText") else said.get("int", 0)
    if kind == "inside":
        return _read(_bytes(value), {1: ("inside", "text")}).get("inside", "")
    if kind == "bytes":
        return base64.b64encode(_bytes(value)).decode()
    return _bytes(value) if kind == "raw" else _read(_bytes(value), kind)


def _bytes(value: int | bytes) -> bytes:
    match value:
        case bytes():
            return value
        case _:
            raise ValueError("a number where text was expected")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and raw value of each field; only the wire types that Kubernetes uses here."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value, position = _varint(data, position)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2 and position + value <= len(data):
            yield tag >> 3, data[position : position + value]
            position += value
        else:
            raise ValueError("truncated, or of an unknown wire type")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, position
        shift += 7
    raise ValueError("truncated number")
