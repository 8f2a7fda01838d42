"""`services/NAME:PORT/proxy/PATH` and `pods/NAME:PORT/proxy/PATH`: through the API to a pod."""

import http.client
import itertools
from typing import Any

from smoldebug.lab.apierror import ApiError, bad_request
from smoldebug.lab.catalog import resource
from smoldebug.lab.requests import Reply, Request, Target
from smoldebug.lab.store import Store
from smoldebug.sources.world import Object

Address = tuple[str, int]

_PODS, _SERVICES = resource("pods"), resource("services")
_SLICES, _ENDPOINTS = resource("endpointslices"), resource("endpoints")
_TIMEOUT = 30.0  # seconds for a connection, and between two pieces of an answer
_LIMIT = 16 << 20  # bytes of an answer that are passed on
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer")
    + ("transfer-encoding", "upgrade", "content-length", "host", "authorization", "date", "server")
)
_turns = itertools.count()


def forward(store: Store, target: Target, request: Request) -> Reply:
    """Pass the request on to the pod that `target` names, or to a ready endpoint of the Service,
    each in turn. Raises ApiError 404, or 503 where nothing answers."""
    scheme, name, port = _split(target)
    if scheme not in ("", "http"):
        raise bad_request(f"the lab's proxy speaks plain HTTP only, not {scheme}")
    find = _pod_address if target.resource.plural == "pods" else _endpoint
    address = find(store, target.namespace, name, port)
    query = f"?{request.query_text}" if request.query_text else ""
    return _exchange(address, request, f"/{target.rest}{query}")


def _split(target: Target) -> tuple[str, str, str]:
    """`[scheme:]name[:port]`; the port may be empty."""
    parts = target.name.split(":")
    if len(parts) > 3 or not parts[-1 if len(parts) == 1 else -2]:
        kind = target.resource.kind.lower()
        raise bad_request(f'invalid {kind} request "{target.name}"')
    if len(parts) == 1:
        return "", parts[0], ""
    scheme, name, port = parts if len(parts) == 3 else ["", *parts]
    return scheme, name, port


def _pod_address(store: Store, namespace: str, name: str, port: str) -> Address:
    pod = store.peek(_PODS, namespace, name)
    ports = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
    named = {p.get("name"): p["containerPort"] for p in ports if p.get("containerPort")}
    first = ports[0]["containerPort"] if ports else 80
    number = named.get(port) or (port if port else first)
    if not str(number).isdecimal():
        raise bad_request(f'pod "{name}" has no port named "{port}"')
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise ApiError(503, "ServiceUnavailable", f'pod "{name}" has no address yet')
    return str(address), int(number)


def _endpoint(store: Store, namespace: str, name: str, port: str) -> Address:
    service = store.peek(_SERVICES, namespace, name)
    ports = service["spec"].get("ports") or []
    wanted = [p for p in ports if port in (str(p.get("port")), p.get("name"))]
    if not port and len(ports) == 1:
        wanted = ports
    if not wanted:
        what = f"port {port}" if port.isdecimal() else f'port "{port}"'
        raise _unavailable(f'no service {what} found for service "{name}"')
    found = _ready(store, namespace, name, wanted[0].get("name") or "")
    if not found:
        raise _unavailable(f'no endpoints available for service "{name}"')
    return found[next(_turns) % len(found)]


def _ready(store: Store, namespace: str, name: str, port: str) -> list[Address]:
    """Where the port with this name is served, from slices, or from Endpoints without any."""
    slices, _ = store.scan(_SLICES, namespace, labels=f"kubernetes.io/service-name={name}")
    if slices:
        return [address for part in slices for address in _of_slice(part, port)]
    try:
        subsets = store.peek(_ENDPOINTS, namespace, name).get("subsets") or ()
    except ApiError:
        return []
    return [
        (address["ip"], number)
        for subset in subsets
        for number in _numbers(subset.get("ports"), port)
        for address in subset.get("addresses") or ()
    ]


def _of_slice(part: Object, port: str) -> list[Address]:
    return [
        (address, number)
        for endpoint in part.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for number in _numbers(part.get("ports"), port)
        for address in endpoint.get("addresses") or ()
    ]


def _numbers(ports: Any, name: str) -> list[int]:
    return [p["port"] for p in ports or () if (p.get("name") or "") == name and p.get("port")]


def _unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def _exchange(address: Address, request: Request, path: str) -> Reply:
    connection = http.client.HTTPConnection(*address, timeout=_TIMEOUT)
    headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
    try:
        connection.request(request.method, path, request.body or None, headers)
        answer = connection.getresponse()
        body = answer.read(_LIMIT)
    except (OSError, http.client.HTTPException) as error:
        raise _unavailable(f"error trying to reach service: {_reason(address, error)}") from None
    finally:
        connection.close()
    kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
    content_type = kept.pop("Content-Type", "text/plain")
    return Reply(answer.status, body, content_type, kept)


def _reason(address: Address, error: Exception) -> str:
    """In the words of the API server's own HTTP client."""
    dial = f"dial tcp {address[0]}:{address[1]}"
    if isinstance(error, ConnectionRefusedError):
        return f"{dial}: connect: connection refused"
    if isinstance(error, TimeoutError):
        return f"{dial}: i/o timeout"
    if isinstance(error, ConnectionResetError):
        return f"read tcp {address[0]}:{address[1]}: read: connection reset by peer"
    return "EOF" if isinstance(error, http.client.HTTPException) else f"{dial}: {error}"
