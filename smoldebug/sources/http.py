"""HTTP the right way round: plain URLs directly, `*.svc` names through the API server's proxy.

A Service is reached pod by pod, so that several samples see several pods, and the route is part
of the answer. This machine's DNS is never asked for a `*.svc` name.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from smoldebug.errors import AccessDenied, NotFound, UnreachableError, UsageError
from smoldebug.records import ObjectRef
from smoldebug.sources.network import read_some, why
from smoldebug.sources.world import Cluster, Object, Reply

BODY_BYTES = 64 << 10
REDIRECTS = 3  # on the same host; one to another host is the answer
_SERVICE = re.compile(r"(?P<name>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\.cluster\.local)?\.?")
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|::1")


class Router:
    """Implements smoldebug.sources.world.Http.

    `cluster` is asked only for a `*.svc` name; `inside` says that this process runs in that
    cluster, where the names resolve.
    """

    def __init__(self, cluster: Callable[[], Cluster], *, inside: bool = False) -> None:
        self._cluster, self._inside = cluster, inside

    def get(self, url: str, *, timeout: float = 5.0, method: str = "GET", sample: int = 0) -> Reply:
        parts = _split(url)
        service = service_of(url)
        if service is None or self._inside:
            return _direct(url, method, timeout)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return self._through(service, _Target(parts.scheme, port, path, timeout), sample)

    def _through(self, service: ObjectRef, target: "_Target", sample: int) -> Reply:
        cluster = self._cluster()
        ready = ready_endpoints(cluster, service, target.port)
        if not ready:
            raise UnreachableError(f"{service} has no ready endpoints")
        pod, port = ready[sample % len(ready)]
        if pod is not None:
            try:
                return target.by_proxy(cluster, pod, port)
            except AccessDenied:
                pass  # pods/proxy may be forbidden where services/proxy is not
        return target.by_proxy(cluster, service, target.port)


@dataclass(frozen=True, slots=True)
class _Target:
    scheme: str
    port: int
    path: str
    timeout: float

    def by_proxy(self, cluster: Cluster, ref: ObjectRef, port: int) -> Reply:
        if self.scheme == "https":
            ref = ObjectRef(ref.kind, ref.namespace, f"https:{ref.name}")
        return cluster.proxy(ref, port, self.path, self.timeout)


def service_of(url: str) -> ObjectRef | None:
    """The Service a URL's host names (`auth.shop.svc`), or None."""
    found = _SERVICE.fullmatch(urlsplit(url).hostname or "")
    return ObjectRef("Service", found["namespace"], found["name"]) if found else None


def ready_endpoints(
    cluster: Cluster, service: ObjectRef, port: int
) -> list[tuple[ObjectRef | None, int]]:
    """Ready (pod, target port) pairs behind a Service's port, sorted; pod None where it has none.

    Raises NotFound when there is no such Service, UnreachableError when it has no such port.
    """
    spec = cluster.get(service).get("spec") or {}
    if spec.get("type") == "ExternalName":
        raise UnreachableError(f"{service} is an alias outside: {spec.get('externalName')}")
    ports = spec.get("ports") or []
    name = next((item.get("name", "") for item in ports if item.get("port") == port), None)
    if name is None:
        has = ", ".join(str(item.get("port")) for item in ports) or "none"
        raise UnreachableError(f"{service} has no port {port}; it has: {has}")
    found = {
        (ref, target)
        for addresses, target_ports in _subsets(cluster, service)
        for ref in addresses
        for target in (target_ports.get(name or ""),)
        if target is not None
    }
    return sorted(found, key=lambda pair: (str(pair[0]), pair[1]))


_Subset = tuple[list[ObjectRef | None], dict[str, int]]  # ready pods, target port by port name


def _subsets(cluster: Cluster, service: ObjectRef) -> Iterator[_Subset]:
    try:
        slices = cluster.list(
            "EndpointSlice",
            service.namespace,
            labels=f"kubernetes.io/service-name={service.name}",
        )
    except (UsageError, AccessDenied):  # older than 1.17, or not allowed
        yield from _endpoints(cluster, service)
        return
    for item in slices:
        ready = [
            _pod(endpoint, service)
            for endpoint in item.get("endpoints") or []
            if (endpoint.get("conditions") or {}).get("ready") is not False
        ]
        yield ready, _ports(item.get("ports"))


def _endpoints(cluster: Cluster, service: ObjectRef) -> Iterator[_Subset]:
    try:
        found = cluster.get(ObjectRef("Endpoints", service.namespace, service.name))
    except NotFound:
        return
    for subset in found.get("subsets") or []:
        ready = [_pod(address, service) for address in subset.get("addresses") or []]
        yield ready, _ports(subset.get("ports"))


def _ports(ports: list[Object] | None) -> dict[str, int]:
    return {item.get("name") or "": item["port"] for item in ports or [] if item.get("port")}


def _pod(endpoint: Object, service: ObjectRef) -> ObjectRef | None:
    target = endpoint.get("targetRef") or {}
    if target.get("kind") != "Pod":
        return None
    return ObjectRef("Pod", target.get("namespace") or service.namespace, target["name"])


# --- plain URLs -------------------------------------------------------------------------------


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass  # a port that is no number, an address that is none
    raise UsageError(f"not an http(s) URL: {url!r}")


def _direct(url: str, method: str, timeout: float) -> Reply:
    from urllib3.exceptions import HTTPError

    began = time.monotonic()
    host = urlsplit(url).netloc.rpartition("@")[2]
    pool = _pool(urlsplit(url))
    try:
        reply = _once(pool, url, method, began, timeout)
        for _ in range(REDIRECTS):
            target = urljoin(url, reply.headers.get("location", ""))
            if not 300 <= reply.status < 400 or urlsplit(target)[:2] != urlsplit(url)[:2]:
                break
            reply, url = _once(pool, target, method, began, timeout), target
        return reply
    except (HTTPError, OSError, UnicodeError) as error:
        raise UnreachableError(f"{host}: {why(error)}") from error
    finally:
        pool.clear()


def _once(pool: Any, url: str, method: str, began: float, timeout: float) -> Reply:
    import urllib3

    left = max(0.01, began + timeout - time.monotonic())
    answer = pool.request(
        method,
        url,
        headers={"User-Agent": "smoldebug", "Accept": "*/*"},
        timeout=urllib3.Timeout(total=left),
        retries=False,
        redirect=False,
        preload_content=False,
    )
    body = read_some(answer, BODY_BYTES, max(0.01, began + timeout - time.monotonic()))
    headers = {name.lower(): value for name, value in answer.headers.items()}
    seconds = time.monotonic() - began
    return Reply(answer.status, body.decode(errors="replace"), headers, seconds, "direct")


def _pool(parts: SplitResult) -> Any:
    """A pool for one check: a new connection each time, as a load balancer's client would."""
    import urllib3

    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    if proxy and not _LOOPBACK.fullmatch(host) and not proxy_bypass(host):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()
