"""The live cluster: the official client's DynamicClient behind the Cluster seam.

Only the dynamic client (the typed APIs cost another 370 ms of import), plain JSON out of every
call, a time limit on every call, and all errors translated in kube_errors.
"""

import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode, urlsplit

import msgspec

from smoldebug.clock import Clock, SystemClock
from smoldebug.errors import (
    AccessDenied,
    ChangeRefused,
    Conflict,
    NotFound,
    SmoldebugError,
    UnreachableError,
    UsageError,
)
from smoldebug.pointers import lookup
from smoldebug.records import ObjectRef
from smoldebug.sources import kube_errors, kubeconfig
from smoldebug.sources.kinds import did_you_mean, find
from smoldebug.sources.kube_errors import Asked
from smoldebug.sources.kube_exec import drain
from smoldebug.sources.kube_resources import Resources
from smoldebug.sources.kube_watch import GRACE, KubeWatch
from smoldebug.sources.kube_writes import (
    ANNOTATION,
    APPLY_PATCH,
    JSON_PATCH,
    Write,
    annotated,
    ref_of,
    signed,
)
from smoldebug.sources.network import read_some, why
from smoldebug.sources.world import Completed, HttpAccess, Listed, Object, Reply
from smoldebug.untrusted import one_line

SECONDS = 10.0  # longest wait for one answer
WRITE_SECONDS = 30.0  # the same for a change: admission webhooks are asked first
BUSY_SECONDS = 20.0  # longest wait for a server that says it is too busy
CONNECT_SECONDS = 4.0
NO_LOG = "unable to retrieve container logs for "
PAGE = 500  # objects per list request
LOG_LINES, LOG_BYTES = 5000, 16 << 20
BODY_BYTES = 64 << 10
REVIEWS = ("v1", "v1beta1", "v1alpha1")  # of authentication.k8s.io; a 1.20 server has none

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]*[A-Za-z0-9])?")
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|\[?::1\]?")
T = TypeVar("T")
Objects = list[Object]  # inside the class, `list` is its method


def connect(
    context: str | None = None, config: str | None = None, clock: Clock | None = None
) -> "KubeCluster":
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
    return KubeCluster(ApiClient(settings), access.context, access.namespace, clock)


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

    def __init__(
        self, api: Any, context: str, namespace: str = "default", clock: Clock | None = None
    ) -> None:
        from kubernetes.dynamic import DynamicClient

        self.context, self.namespace = context, namespace
        self._clock, self._closed = clock or SystemClock(), threading.Event()
        self.server = urlsplit(api.configuration.host).netloc or api.configuration.host
        self._api = api
        send = api.call_api

        def limited(*args: Any, _request_timeout: Any = None, **named: Any) -> Any:
            return send(*args, _request_timeout=_request_timeout or _wait(SECONDS), **named)

        api.call_api = limited  # discovery passes no limit of its own
        self._dynamic = DynamicClient(api, discoverer=lambda *_: None)  # 0 requests to connect
        self._resources = Resources(self._dynamic)
        self._namespaces_seen: set[str] = set()

    def close(self) -> None:
        self._closed.set()
        self._api.rest_client.close()

    # --- reading ----------------------------------------------------------------------------

    def get(self, ref: ObjectRef) -> Object:
        return self._on(ref, lambda resource: self._fetch(resource, ref))

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Objects:
        selectors = {"label_selector": labels or None, "field_selector": fields or None}
        return self._listed(kind, namespace, selectors).items

    def listed(self, kind: str, namespace: str = "") -> Listed:
        return self._listed(kind, namespace, {})

    def _listed(self, kind: str, namespace: str, selectors: Mapping[str, Any]) -> Listed:
        _checked(namespace)

        def read(resource: Any) -> Listed:
            where = namespace if resource.namespaced else ""
            asked = Asked("list", resource.name, where)
            return self._answer(asked, lambda: self._pages(resource, where, selectors))

        found = self._first_served(kind, read)
        if namespace and not found.items:
            self._require_namespace(namespace)
        return found

    def watch(self, kind: str, namespace: str, *, since: str, seconds: float) -> KubeWatch:
        _checked(namespace)
        query = urlencode(
            {
                "watch": 1,
                "resourceVersion": since,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": math.ceil(seconds),
            }
        )

        def begin(resource: Any) -> KubeWatch:
            where = namespace if resource.namespaced else ""
            asked = Asked("watch", resource.name, where)
            path = f"{resource.path(namespace=where)}?{query}"
            answer = self._answer(asked, lambda: _good(self._raw(path, seconds + GRACE)))
            refused = partial(kube_errors.refused, asked, self.context)
            return KubeWatch(answer, partial(self._answer, asked), refused)

        return self._first_served(kind, begin)

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
            answer = _good(self._raw(f"{path}?{urlencode(query)}", SECONDS))
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
        self,
        ref: ObjectRef,
        operations: Sequence[Mapping[str, Any]],
        *,
        dry_run: bool,
        note: str,
        subresource: str = "",
    ) -> Object:
        body = [dict(operation) for operation in operations]

        def send(resource: Any) -> Object:
            asked = _asked("patch", resource, ref, subresource)
            write = Write(
                "PATCH", self._path(resource, ref, subresource), JSON_PATCH, dry_run, note
            )
            if subresource:
                return self._below(asked, write, body)
            if not note:
                return self._write(asked, write, body)
            try:  # most objects have annotations: nothing needs to be read first
                return self._write(asked, write, [*body, *signed(note)])
            except Conflict:
                live = self._fetch(resource, ref)
                if (live.get("metadata") or {}).get("annotations"):
                    raise
                return self._write(asked, write, [*body, *signed(note, live)])

        return self._on(ref, send)

    def _below(self, asked: Asked, write: Write, body: Any) -> Object:
        """A change of a subresource, which a server may not have although it has the kind."""
        try:
            return self._write(asked, write, body)
        except NotFound as error:
            if not kube_errors.no_such_api(404, getattr(error.__cause__, "body", "")):
                raise
            raise ChangeRefused(f"the API server has no {asked.resource}") from error

    def apply(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        ref = ref_of(manifest)

        def send(resource: Any) -> Object:
            asked = _asked("patch", resource, ref)
            write = Write("PATCH", self._path(resource, ref), APPLY_PATCH, dry_run, note)
            body = {**manifest, "apiVersion": resource.group_version, "kind": resource.kind}
            try:
                return self._write(asked, write, annotated(body, note))
            except Conflict as error:
                if not _only_ours(error.__cause__):
                    raise
                return self._write(asked, write, body)  # the note of an earlier run stands there

        return self._first_served(ref.kind, send, manifest.get("apiVersion", ""))

    def create(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        ref = ref_of(manifest)

        def send(resource: Any) -> Object:
            asked = _asked("create", resource, ref)
            path = self._path(resource, ref).rpartition("/")[0]
            body = {**manifest, "apiVersion": resource.group_version, "kind": resource.kind}
            write = Write("POST", path, "application/json", dry_run, note)
            return self._write(asked, write, annotated(body, note))

        return self._first_served(ref.kind, send, manifest.get("apiVersion", ""))

    def delete(self, ref: ObjectRef, *, uid: str, revision: str, dry_run: bool, note: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": revision},
            "propagationPolicy": "Background",  # what made its dependents does so again
            "dryRun": ["All"] if dry_run else [],  # with a body, nobody reads the query
        }

        def send(resource: Any) -> Object:
            path = self._path(resource, ref)
            write = Write("DELETE", path, "application/json", dry_run, note)
            return self._write(_asked("delete", resource, ref), write, body)

        self._on(ref, send)

    def whoami(self) -> str:
        asked = Asked("create", "selfsubjectreviews")
        for version in REVIEWS:
            group = f"authentication.k8s.io/{version}"
            write = Write("POST", f"/apis/{group}/selfsubjectreviews")
            try:
                answer = self._write(
                    asked, write, {"apiVersion": group, "kind": "SelfSubjectReview"}
                )
            except NotFound:
                continue
            except SmoldebugError:
                break
            return str(lookup(answer, "/status/userInfo/username") or "")
        return ""

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
                return drain(socket, began, timeout)
            finally:
                socket.sock.shutdown()  # close() would leave it open where the server closed first

        return self._answer(asked, run)

    # --- one request ------------------------------------------------------------------------

    def _answer(self, asked: Asked, send: Callable[[], T]) -> T:
        """Send, again when the server was too busy to do it, and translate what goes wrong."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        left = BUSY_SECONDS
        while True:
            try:
                return self._alive(asked, send)
            except ApiException as error:
                pause = kube_errors.told_to_wait(error.status, error.headers)
                if pause is None or pause > left or self._closed.is_set():
                    raise self._translated(asked, error) from error
            except (HTTPError, OSError, UnicodeError) as error:
                raise self._unreachable(why(error)) from error
            except msgspec.MsgspecError as error:
                words = "it does not answer like a Kubernetes API server"
                raise self._unreachable(words) from error
            left -= pause
            self._clock.sleep(pause, self._closed)

    def _alive(self, asked: Asked, send: Callable[[], T]) -> T:
        """Send; what only reads is sent once more if an idle connection had died."""
        from urllib3.exceptions import ProtocolError

        try:
            return send()
        except ProtocolError:
            if asked.verb not in ("get", "list"):
                raise
            return send()

    def _write(self, asked: Asked, write: Write, body: Any) -> Object:
        """Carry out one change; the answer is the object as the server has it now."""

        def send() -> Any:
            request = self._api.param_serialize(
                write.method,
                write.path,
                query_params=[] if write.method == "DELETE" else write.query,
                header_params={"Accept": "application/json", "Content-Type": write.content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            request[2]["User-Agent"] = write.agent  # where the client puts its own
            answer = self._api.call_api(*request, _request_timeout=_wait(WRITE_SECONDS))
            return msgspec.json.decode(_good(answer.response).data)

        answer = self._answer(asked, send)
        if not isinstance(answer, dict):
            raise self._unreachable(f"its {asked.resource} are no JSON object")
        return answer

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

    def _pages(self, resource: Any, namespace: str, selectors: Mapping[str, Any]) -> Listed:
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
            meta = page.get("metadata") or {}
            token = meta.get("continue")
            if not token:
                return Listed(items, str(meta.get("resourceVersion") or ""))

    def _object(self, body: Any, resource: Any) -> Object:
        data = msgspec.json.decode(body if isinstance(body, bytes) else body.data)
        if not isinstance(data, dict):
            raise self._unreachable(f"its {resource.name} are no JSON object")
        return data

    def _path(self, resource: Any, ref: ObjectRef, subresource: str = "") -> str:
        path: str = resource.path(**self._place(resource, ref))
        return f"{path}/{subresource}" if subresource else path

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

    def _first_served(self, kind: str, send: Callable[[Any], T], version: str = "") -> T:
        """`send` with the newest API version of a kind that this server has, or with that one."""
        candidates = self._answer(Asked("get", "apis"), lambda: self._resources.of(kind, version))
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


def _wait(seconds: float) -> tuple[float, float]:
    return (min(CONNECT_SECONDS, seconds), seconds)


def _checked(name: str) -> str:
    """A name that cannot leave its place in a URL path."""
    if name and not _NAME.fullmatch(str(name)):  # a manifest may hold `name: 5`
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


def _asked(verb: str, resource: Any, ref: ObjectRef, subresource: str = "") -> Asked:
    called = f"{resource.name}/{subresource}" if subresource else resource.name
    return Asked(verb, called, ref.namespace, ref.name)


def _good(answer: Any) -> Any:
    """A urllib3 response that is a success."""
    from kubernetes.client.exceptions import ApiException

    if answer.status >= 400:
        failure = ApiException(status=answer.status, body=answer.data)
        failure.headers = answer.headers
        raise failure
    return answer


def _only_ours(error: Any) -> bool:
    """Whether a server-side apply met nothing but the note of an earlier run."""
    return kube_errors.conflicts(getattr(error, "body", "")) == [
        f".metadata.annotations.{ANNOTATION}"
    ]
