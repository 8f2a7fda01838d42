"""The live cluster: the official client's DynamicClient behind the Cluster seam.

Only the dynamic client (the typed APIs cost another 370 ms of import), plain JSON out of every
call, a time limit on every call, and all errors translated in kube_errors.
"""

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode, urlsplit

import msgspec

from smoldebug.errors import (
    AccessDenied,
    NotFound,
    SmoldebugError,
    ToolError,
    UnreachableError,
    UsageError,
)
from smoldebug.records import ObjectRef
from smoldebug.sources import kube_errors, kubeconfig
from smoldebug.sources.kinds import KINDS, did_you_mean, find
from smoldebug.sources.kube_errors import Asked
from smoldebug.sources.network import read_some, why
from smoldebug.sources.world import Completed, HttpAccess, Object, Reply
from smoldebug.untrusted import one_line

MANAGER = "smoldebug"
ANNOTATION = "smoldebug.dev/run"
SECONDS = 10.0  # longest wait for one answer
CONNECT_SECONDS = 4.0
NO_LOG = "unable to retrieve container logs for "
PAGE = 500  # objects per list request
LOG_LINES, LOG_BYTES = 5000, 16 << 20
BODY_BYTES = 64 << 10
OUTPUT_CHARACTERS = 1 << 20
DISCOVERY_SECONDS = 6 * 3600.0  # how long found kinds are remembered on disk

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]*[A-Za-z0-9])?")
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|\[?::1\]?")
T = TypeVar("T")
Objects = list[Object]  # inside the class, `list` is its method


def connect(context: str | None = None, config: str | None = None) -> "KubeCluster":
    """A cluster by kubeconfig context; no request is sent yet.

    Raises UsageError (no kubeconfig, unknown context) or AccessDenied (a login plugin failed).
    """
    from kubernetes.client import ApiClient, Configuration

    access = kubeconfig.choose(context, config, os.environ)
    settings = Configuration(host="none")
    with _complaints() as said:
        _load(access, settings)
    if settings.host == "none":
        raise UsageError(f"context {access.context} is malformed: its cluster has no server")
    if said:
        raise AccessDenied(
            f"no credentials for context {access.context}: {one_line(said[0], 160)}",
            hint="log in again with the command your kubeconfig uses",
        )
    settings.retries = False
    if _LOOPBACK.fullmatch(urlsplit(settings.host).hostname or ""):
        settings.proxy = None  # HTTPS_PROXY is not meant for this machine
    return KubeCluster(ApiClient(settings), access.context, access.namespace)


def _load(access: kubeconfig.Access, settings: Any) -> None:
    from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

    try:
        if not access.files:
            load_incluster_config(client_configuration=settings)
            return
        load_kube_config(
            config_file=access.files,
            context=access.context,
            client_configuration=settings,
            persist_config=False,
        )
    except ConfigException as error:  # its text goes on with the entry itself, tokens included
        words = one_line(str(error).partition(" in ")[0], 160)
        raise UsageError(f"context {access.context} cannot be used: {words}") from None
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        kind = type(error).__name__
        raise UsageError(f"context {access.context} is malformed ({kind})") from None


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the client writes to the root logger (its way to report a failed login plugin)."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, root = Keep(logging.ERROR), logging.getLogger()
    root.addHandler(handler)
    try:
        yield said
    finally:
        root.removeHandler(handler)


class KubeCluster:
    """See smoldebug.sources.world.Cluster. Safe to use from several threads."""

    def __init__(self, api: Any, context: str, namespace: str = "default") -> None:
        from kubernetes.dynamic import DynamicClient

        self.context, self.namespace = context, namespace
        self.server = urlsplit(api.configuration.host).netloc or api.configuration.host
        self._api = api
        send = api.call_api

        def limited(*args: Any, _request_timeout: Any = None, **named: Any) -> Any:
            return send(*args, _request_timeout=_request_timeout or _wait(SECONDS), **named)

        api.call_api = limited  # discovery passes no limit of its own
        self._dynamic = DynamicClient(api, discoverer=lambda *_: None)  # 0 requests to connect
        self._resources = _Resources(self._dynamic)
        self._namespaces_seen: set[str] = set()

    def close(self) -> None:
        self._api.rest_client.close()

    # --- reading ----------------------------------------------------------------------------

    def get(self, ref: ObjectRef) -> Object:
        return self._on(ref, lambda resource: self._fetch(resource, ref))

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Objects:
        _checked(namespace)
        selectors = {"label_selector": labels or None, "field_selector": fields or None}

        def read(resource: Any) -> Objects:
            where = namespace if resource.namespaced else ""
            asked = Asked("list", resource.name, where)
            return self._answer(asked, lambda: self._pages(resource, where, selectors))

        items = self._first_served(kind, read)
        if namespace and not items:
            self._require_namespace(namespace)
        return items

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        previous: bool = False,
        lines: int | None = None,
        since: float | None = None,
    ) -> str:
        query: dict[str, Any] = {"tailLines": lines or LOG_LINES, "limitBytes": LOG_BYTES}
        if container:
            query["container"] = _checked(container)
        if previous:
            query["previous"] = "true"
        if since is not None:
            query["sinceSeconds"] = max(1, int(since))
        path = f"/api/v1/namespaces/{_checked(namespace)}/pods/{_checked(pod)}/log"
        asked = Asked("get", "pods/log", namespace, pod)

        def read() -> bytes:
            answer = self._raw(f"{path}?{urlencode(query)}", SECONDS)
            if answer.status >= 400:
                raise kube_errors.refused(asked, self.context, answer.status, answer.data)
            return read_some(answer, LOG_BYTES, SECONDS)

        try:
            text = self._answer(asked, read).decode(errors="replace")
        except NotFound:
            self._require_namespace(namespace)
            raise
        if text.startswith(NO_LOG):  # the kubelet says so with status 200, in place of a log
            raise NotFound(f"the log of {pod} is gone: {one_line(text, 120)}")
        return text

    def proxy(self, ref: ObjectRef, port: int | str, path: str, timeout: float) -> Reply:
        plural = _proxied(ref)
        asked = Asked("get", f"{plural}/proxy", ref.namespace, f"{ref.kind}/{ref.name}")
        address = self._proxy_path(ref, plural, port) + _safe_path(path)
        began = time.monotonic()

        def read() -> Reply:
            answer = self._raw(address, timeout)
            body = read_some(answer, BODY_BYTES, timeout)
            if failure := kube_errors.proxy_failure(asked, self.context, answer.status, body):
                raise failure
            headers = {name.lower(): value for name, value in answer.headers.items()}
            text, seconds = body.decode(errors="replace"), time.monotonic() - began
            return Reply(answer.status, text, headers, seconds, f"proxy {ref}:{port}")

        return self._answer(asked, read)

    def http_access(self, service: ObjectRef, url: str) -> HttpAccess:
        """How another HTTP client reaches a Service's `url` through the API server."""
        settings, parts = self._api.configuration, urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme == "https":
            service = ObjectRef("Service", service.namespace, f"https:{service.name}")
        return HttpAccess(
            url=settings.host.rstrip("/")
            + self._proxy_path(service, "services", port)
            + _safe_path(parts.path),
            headers=self._credentials,
            verify=settings.verify_ssl and (settings.ssl_ca_cert or True),
            cert=(settings.cert_file, settings.key_file) if settings.cert_file else None,
            proxy=settings.proxy,
        )

    # --- changing ---------------------------------------------------------------------------

    def patch(
        self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]], *, dry_run: bool, note: str
    ) -> Object:
        body = [dict(operation) for operation in operations]

        def send(resource: Any) -> Object:
            asked = Asked("patch", resource.name, ref.namespace, ref.name)
            if note:
                body[len(operations) :] = _annotate(self._fetch(resource, ref), note)
            answer = self._answer(
                asked,
                lambda: (
                    self._dynamic.patch(
                        resource,
                        body=body,
                        content_type="application/json-patch+json",
                        field_manager=MANAGER,
                        dry_run="All" if dry_run else None,
                        serialize=False,
                        **self._place(resource, ref),
                    ).data
                ),
            )
            return self._object(answer, resource)

        return self._on(ref, send)

    def whoami(self) -> str:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        asked = Asked("create", "selfsubjectreviews")
        request = self._api.param_serialize(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=review,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._answer(asked, lambda: self._api.call_api(*request).response)
            status = msgspec.json.decode(answer.data).get("status") or {}
        except (SmoldebugError, msgspec.MsgspecError, AttributeError):
            return ""  # 1.27 and older do not tell
        return str((status.get("userInfo") or {}).get("username") or "")

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Completed:
        """Run a program in a container. One that outlives `timeout` is left alone there."""
        from kubernetes.stream import ws_client

        path = f"/api/v1/namespaces/{_checked(namespace)}/pods/{_checked(pod)}/exec"
        query = [("command", word) for word in argv] + [("stdout", "true"), ("stderr", "true")]
        if container:
            query.append(("container", _checked(container)))
        asked = Asked("create", "pods/exec", namespace, pod)
        host, began = self._api.configuration.host, time.monotonic()

        def run() -> Completed:
            socket = ws_client.websocket_call(
                self._api.configuration,
                "GET",
                host + path,
                query_params=query,
                headers=self._credentials(),
                _preload_content=False,
                capture_all=False,
            )
            try:
                return _drain(socket, began, timeout)
            finally:
                socket.sock.shutdown()  # close() would leave it open where the server closed first

        return self._answer(asked, run)

    # --- one request ------------------------------------------------------------------------

    def _answer(self, asked: Asked, send: Callable[[], T]) -> T:
        """Send, once more if an idle connection had died, and translate what goes wrong."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError, ProtocolError

        try:
            try:
                return send()
            except ProtocolError:
                if asked.verb not in ("get", "list"):
                    raise
                return send()
        except ApiException as error:
            raise self._translated(asked, error) from error
        except (HTTPError, OSError, UnicodeError) as error:
            raise self._unreachable(why(error)) from error
        except msgspec.MsgspecError as error:
            raise self._unreachable("it does not answer like a Kubernetes API server") from error

    def _translated(self, asked: Asked, error: Any) -> SmoldebugError:
        if error.status:
            return kube_errors.refused(asked, self.context, error.status, error.body)
        reason = str(error.reason)  # status 0: TLS, or a WebSocket that was refused
        if handshake := re.search(r"Handshake status (\d+)", reason):
            body = reason.rpartition("-+-+- ")[2].strip().removeprefix("b'").removesuffix("'")
            return kube_errors.refused(asked, self.context, int(handshake[1]), body)
        return self._unreachable(why(error.__cause__ or error.__context__ or OSError(reason)))

    def _unreachable(self, words: str) -> UnreachableError:
        return UnreachableError(
            f"cannot reach the cluster of context {self.context} at {self.server}: {words}"
        )

    def _raw(self, path: str, timeout: float) -> Any:
        """A GET whose answer, whatever its status, is the caller's to read and release."""
        request = self._api.param_serialize(
            "GET", path, header_params={"Accept": "*/*"}, auth_settings=["BearerToken"]
        )
        return self._api.call_api(*request, _request_timeout=_wait(timeout)).response

    def _credentials(self) -> dict[str, str]:
        request = self._api.param_serialize("GET", "/", auth_settings=["BearerToken"])
        return {name.lower(): value for name, value in request[2].items()}

    def _proxy_path(self, ref: ObjectRef, plural: str, port: int | str) -> str:
        name, port = _checked(ref.name), _checked(str(port))
        return f"/api/v1/namespaces/{_checked(ref.namespace)}/{plural}/{name}:{port}/proxy"

    def _fetch(self, resource: Any, ref: ObjectRef) -> Object:
        asked = Asked("get", resource.name, ref.namespace, ref.name)
        place = self._place(resource, ref)
        return self._object(
            self._answer(asked, lambda: self._dynamic.get(resource, serialize=False, **place).data),
            resource,
        )

    def _pages(self, resource: Any, namespace: str, selectors: Mapping[str, Any]) -> Objects:
        items: Objects = []
        token = None
        while True:
            answer = self._dynamic.get(
                resource,
                namespace=namespace or None,
                serialize=False,
                limit=PAGE,
                _continue=token,
                **selectors,
            )
            page = self._object(answer.data, resource)
            found = page.get("items") or []
            for item in found:  # a real server leaves these out of lists
                item.setdefault("kind", resource.kind)
                item.setdefault("apiVersion", resource.group_version)
            items += found
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items

    def _object(self, body: Any, resource: Any) -> Object:
        data = msgspec.json.decode(body if isinstance(body, bytes) else body.data)
        if not isinstance(data, dict):
            raise self._unreachable(f"its {resource.name} are no JSON object")
        return data

    def _place(self, resource: Any, ref: ObjectRef) -> dict[str, Any]:
        if resource.namespaced and not ref.namespace:
            raise UsageError(f"{ref.kind} lives in a namespace: {ref.kind}/NAMESPACE/{ref.name}")
        if not ref.name:
            raise UsageError(f"which {ref.kind}? it needs a name")
        namespace = _checked(ref.namespace) if resource.namespaced else None
        return {"name": _checked(ref.name), "namespace": namespace}

    # --- kinds and names --------------------------------------------------------------------

    def _on(self, ref: ObjectRef, send: Callable[[Any], Object]) -> Object:
        """For one object: a missing one is NotFound, with the nearest name there is."""
        try:
            return self._first_served(ref.kind, send)
        except NotFound as error:
            if ref.namespace:
                self._require_namespace(ref.namespace)
            raise NotFound(f"{ref} does not exist", hint=self._similar(ref)) from error

    def _similar(self, ref: ObjectRef) -> str:
        try:
            found = self.list(ref.kind, ref.namespace)
        except SmoldebugError:
            return ""
        return did_you_mean(ref.name, [item["metadata"]["name"] for item in found])

    def _require_namespace(self, namespace: str) -> None:
        if namespace in self._namespaces_seen:
            return
        resource = self._resources.of("Namespace")[0]
        try:
            self._fetch(resource, ObjectRef("Namespace", "", namespace))
        except NotFound:
            hint = self._similar(ObjectRef("Namespace", "", namespace))
            raise NotFound(f'namespace "{namespace}" does not exist', hint=hint) from None
        except AccessDenied:
            pass  # it cannot be told; the caller's own answer stands
        self._namespaces_seen.add(namespace)

    def _first_served(self, kind: str, send: Callable[[Any], T]) -> T:
        """`send` with the newest API version of a kind that this server has."""
        candidates = self._answer(Asked("get", "apis"), lambda: self._resources.of(kind))
        for resource in tuple(candidates):
            try:
                return send(resource)
            except NotFound as error:
                cause = error.__cause__
                if not kube_errors.no_such_api(404, getattr(cause, "body", {"kind": "Status"})):
                    raise
                if len(candidates) > 1:
                    candidates.remove(resource)
        raise UsageError(f"the cluster of context {self.context} does not serve: {kind}")


class _Resources:
    """The API resources behind a kind's name: our own table first, discovery for the rest."""

    def __init__(self, dynamic: Any) -> None:
        self._dynamic = dynamic
        self._lock = threading.Lock()
        self._known: dict[str, list[Any]] = {}

    def of(self, kind: str) -> list[Any]:
        """Candidates, newest version first. A version that is not served may be removed."""
        with self._lock:
            if kind not in self._known:
                self._known[kind] = self._built_in(kind) or [self._discover(kind)]
            return self._known[kind]

    def _built_in(self, name: str) -> list[Any]:
        from kubernetes.dynamic import Resource

        known = find(name)
        if known is None:
            return []
        found = []
        for served in known.versions:
            group, _, version = served.rpartition("/")
            prefix = "apis" if group else "api"
            found.append(
                Resource(
                    prefix=prefix,
                    group=group,
                    api_version=version,
                    kind=known.kind,
                    name=known.plural,
                    namespaced=known.namespaced,
                    client=self._dynamic,
                )
            )
        return found

    def _discover(self, name: str) -> Any:
        """A custom resource, by whatever the server calls it."""
        from kubernetes.dynamic import LazyDiscoverer, ResourceList

        discoverer = LazyDiscoverer(self._dynamic, _discovery_file(self._dynamic.client))
        names = {kind.kind for kind in KINDS}
        for attempt in range(2):
            for resource in (item for group in discoverer for item in group):
                if isinstance(resource, ResourceList):
                    continue
                called = [resource.kind, resource.name, resource.singular_name]
                if name.lower() in (word.lower() for word in called + (resource.short_names or [])):
                    return resource
                names.add(resource.kind)
            if not attempt:
                discoverer.invalidate_cache()  # it may have been installed since
        close = did_you_mean(name.lower(), {word.lower(): word for word in names})
        raise UsageError(f"unknown kind: {name}", hint=close)


def _discovery_file(api: Any) -> str:
    """Where found kinds are kept; an old or broken file is removed, the client would complain."""
    from platformdirs import user_cache_path

    host = api.configuration.host
    folder = user_cache_path("smoldebug")
    path = folder / f"kinds-{hashlib.sha256(host.encode()).hexdigest()[:16]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if time.time() - path.stat().st_mtime > DISCOVERY_SECONDS:
            path.unlink()
        else:
            msgspec.json.decode(path.read_bytes())
    except msgspec.MsgspecError:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # no file yet, or no place for one: the client then goes without
    return str(path)


def _wait(seconds: float) -> tuple[float, float]:
    return (min(CONNECT_SECONDS, seconds), seconds)


def _checked(name: str) -> str:
    """A name that cannot leave its place in a URL path."""
    if name and not _NAME.fullmatch(name):
        raise UsageError(f"not a Kubernetes name: {one_line(name, 80)!r}")
    return name


def _proxied(ref: ObjectRef) -> str:
    known = find(ref.kind)
    if known is None or known.kind not in ("Pod", "Service"):
        raise UsageError(f"only a Pod or a Service can be reached: {ref}")
    return known.plural


def _safe_path(path: str) -> str:
    """Refuses what the server would resolve to another place than below this proxy."""
    if ".." in unquote(unquote(path.partition("?")[0])).replace("\\", "/").split("/"):
        raise UsageError(f"a path may not contain ..: {one_line(path, 80)!r}")
    return path if path.startswith("/") else f"/{path}"


def _annotate(live: Object, note: str) -> list[dict[str, Any]]:
    """Operations that leave the note on the object, without touching other annotations."""
    key = ANNOTATION.replace("~", "~0").replace("/", "~1")
    metadata = live.get("metadata") or {}
    if metadata.get("annotations"):
        return [{"op": "add", "path": f"/metadata/annotations/{key}", "value": note}]
    version = metadata.get("resourceVersion")
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION: note}},
    ]


def _drain(socket: Any, began: float, timeout: float) -> Completed:
    """Output and exit code of a running exec; channel 3 carries a Status when it ends."""
    stdout = stderr = status = ""
    while socket.is_open() and len(stdout) + len(stderr) < OUTPUT_CHARACTERS:
        left = began + timeout - time.monotonic()
        if left <= 0:
            break
        socket.update(timeout=left)
        stdout += socket.read_channel(1)
        stderr += socket.read_channel(2)
    status = socket.read_channel(3)
    return Completed(_exit_code(status), stdout, stderr, time.monotonic() - began)


def _exit_code(status: str) -> int | None:
    known = kube_errors.status_of(status) or _bare_status(status)
    if not known:
        return None
    if known.get("status") == "Success":
        return 0
    for cause in (known.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise ToolError(f"the command did not start: {one_line(str(known.get('message')), 200)}")


def _bare_status(status: str) -> dict[str, Any]:
    """Older servers send it without a kind."""
    try:
        data = msgspec.json.decode(status)
    except msgspec.MsgspecError:
        return {}
    return data if isinstance(data, dict) else {}
