"""The outside worlds of one run, opened on first use, and the seams tests put their fakes in."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from smoldebug.clock import Clock
from smoldebug.errors import UnreachableError, UsageError
from smoldebug.records import ObjectRef
from smoldebug.sources.helm import Helm
from smoldebug.sources.repository import Forge, Repository

Object = dict[str, Any]  # a Kubernetes object as plain JSON


class Cluster(Protocol):
    """One Kubernetes cluster. Every method has a time limit of its own and raises NotFound,
    AccessDenied (with the RBAC verb it needs) or UnreachableError, never a client's exception."""

    context: str
    server: str  # address of its API server, without a scheme

    def get(self, ref: ObjectRef) -> Object: ...

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """`kind` is a Kind or a plural; namespace "" lists all namespaces."""
        ...

    def listed(self, kind: str, namespace: str = "") -> "Listed":
        """The same, with the version that a watch goes on from."""
        ...

    def watch(self, kind: str, namespace: str, *, since: str, seconds: float) -> "WatchStream":
        """What happens after version `since`, for at most `seconds`; returns once the server has
        agreed. This, or the iteration, raises Expired (list again), UnreachableError when it
        breaks, AccessDenied, or UsageError for what cannot be watched. Close it in the end."""
        ...

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
        """The end of a container's log; `since` in seconds."""
        ...

    # What changes something. `note` ("RUN C1") names the run to the API server's audit log (user
    # agent, field manager `smoldebug-RUN`) and stands in the object's annotation. With `dry_run`
    # the server does everything but keep it. Raises besides the above: Conflict (409, a failed
    # JSON-patch test), ChangeRefused (any other clear no: invalid, denied by admission). A 429
    # is waited for and sent again; after an UnreachableError nobody knows whether it took.

    def patch(
        self,
        ref: ObjectRef,
        operations: Sequence[Mapping[str, Any]],
        *,
        dry_run: bool,
        note: str,
        subresource: str = "",
    ) -> Object:
        """JSON patch (RFC 6902)."""
        ...

    def apply(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        """Server-side apply, never forced: a field that another manager owns is a Conflict."""
        ...

    def create(self, manifest: Object, *, dry_run: bool, note: str) -> Object: ...

    def delete(self, ref: ObjectRef, *, uid: str, revision: str, dry_run: bool, note: str) -> None:
        """Only that very object (uid) in that very state (resourceVersion)."""
        ...

    def whoami(self) -> str:
        """The user name the API server knows this client by; "" where it does not tell."""
        ...

    def proxy(self, ref: ObjectRef, port: int | str, path: str, timeout: float) -> "Reply":
        """GET through the API server to a Pod or Service; `https:NAME` as its name means TLS.

        The API server's own answer ("no endpoints available") is an UnreachableError, not a
        Reply; 503 from the application is a Reply.
        """
        ...

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> "Completed": ...


class Expired(UnreachableError):
    """The API server no longer keeps the changes since that version (410 Gone)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of a kind as they were at a version, by namespace and name."""

    items: list[Object]
    version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED, or BOOKMARK, whose `object` is none of the cluster's.
    A watch since `version` goes on after this event."""

    type: str
    object: Object
    version: str


class WatchStream(Protocol):
    """Watch events for one thread; when another one closes it, they end at once."""

    def __iter__(self) -> Iterator[WatchEvent]: ...

    def __next__(self) -> WatchEvent: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. `route` says how it was reached: `direct`, `proxy Pod/shop/checkout-1`."""

    status: int
    body: str  # at most 64 KiB, decoded as UTF-8 with replacement
    headers: Mapping[str, str]
    seconds: float
    route: str


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """How to reach something through the API server with an HTTP client of one's own.

    `headers` is asked before every request (tokens expire); `verify` is a CA file, or whether to
    check; `cert` a (certificate, key) pair of files.
    """

    url: str
    headers: Callable[[], Mapping[str, str]]
    verify: bool | str = True
    cert: tuple[str, str] | None = None
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished command. `code` is None when it was stopped by its time limit; `cut`: it said
    more than is kept."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """One Prometheus series: labels and (unix seconds, value) points, oldest first."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class Metrics(Protocol):
    def instant(self, query: str, timeout: float = 10.0) -> list[Series]:
        """One point per series. Raises ToolError for bad PromQL, UnreachableError otherwise."""
        ...

    def range(
        self, query: str, seconds: float, step: float, timeout: float = 15.0
    ) -> list[Series]: ...


class Http(Protocol):
    def get(self, url: str, *, timeout: float = 5.0, method: str = "GET", sample: int = 0) -> Reply:
        """Reach a URL the right way. `sample` picks the n-th endpoint of a Service, modulo their
        number, so that several samples go to several pods. Raises UnreachableError (no answer)."""
        ...


class Processes(Protocol):
    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Completed:
        """A command in a process group of its own, which the time limit kills; `stdin` is what it
        reads, and stands in no file that has a name. Raises ToolError when it cannot be started."""
        ...


class World:
    """Opens each outside world once, when first asked for."""

    def __init__(
        self,
        clock: Clock,
        processes: Processes,
        *,
        cluster: Callable[[], Cluster] | None = None,
        http: Callable[["World"], Http] | None = None,
        metrics: Callable[["World"], Metrics] | None = None,
        helm: Callable[["World"], Helm] | None = None,
    ) -> None:
        self.clock, self.processes = clock, processes
        self._lock = threading.RLock()  # checks and tools run side by side; an opener may nest
        self._open: dict[str, Any] = {
            "cluster": cluster,
            "http": http,
            "metrics": metrics,
            "helm": helm,
        }
        self._cluster: Cluster | None = None
        self._helm: Helm | None = None
        self._http: Http | None = None
        self._metrics: Metrics | None = None
        self._repository: Repository | None = None
        self._forge: tuple[Forge | None] | None = None  # asked for: it may be none

    @property
    def has_cluster(self) -> bool:
        return self._open["cluster"] is not None

    @property
    def cluster(self) -> Cluster:
        with self._lock:
            if self._cluster is None:
                opener: Any = self._open["cluster"]
                if opener is None:
                    raise UsageError("this playbook uses no cluster")
                self._cluster = opener()
            return self._cluster

    @property
    def http(self) -> Http:
        with self._lock:
            if self._http is None:
                opener: Any = self._open["http"]
                if opener is None:
                    raise UsageError("this run has no HTTP client")
                self._http = opener(self)
            return self._http

    @property
    def metrics(self) -> Metrics:
        with self._lock:
            if self._metrics is None:
                opener: Any = self._open["metrics"]
                if opener is None:
                    raise UsageError("the playbook names no Prometheus: tools.metrics.url")
                self._metrics = opener(self)
            return self._metrics

    @property
    def helm(self) -> Helm:
        with self._lock:
            if self._helm is None:
                opener: Any = self._open["helm"]
                if opener is None:
                    raise UsageError("this run has no Helm: it uses no cluster")
                self._helm = opener(self)
            return self._helm

    def use_repository(
        self, repository: Callable[[], Repository], forge: Callable[[], Forge | None]
    ) -> None:
        """The repository of a run that has one, and its forge; opened like all else."""
        self._open |= {"repository": repository, "forge": forge}

    @property
    def has_repository(self) -> bool:
        return "repository" in self._open

    @property
    def repository(self) -> Repository:
        with self._lock:
            if self._repository is None:
                if not self.has_repository:
                    raise UsageError("this playbook uses no repository: it has no tools.git block")
                self._repository = self._open["repository"]()
            return self._repository

    @property
    def forge(self) -> Forge | None:
        """None: the branch is pushed, and a person opens the pull request."""
        with self._lock:
            if self._forge is None:
                self._forge = (self._open["forge"]() if self.has_repository else None,)
            return self._forge[0]

    def close(self) -> None:
        """Close the connections of what was opened."""
        for opened in (self._metrics, self._cluster, self._repository):
            close = getattr(opened, "close", None)
            if close is not None:
                close()
