"""Outside worlds that live in memory: for our tests, for yours, and for predicates of playbooks.

    world = fake_world(
        cluster=FakeCluster([deployment, pod]),
        http=FakeHttp({"http://checkout.shop.svc:8080/health": [reply(502), reply(200)]}),
        metrics=FakeMetrics({"up": 1.0}),
    )

They keep the promises of `world.py`, record what they are asked, and fail only on request.
"""

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import jsonpatch
from jsonpointer import JsonPointerException

from smoldebug.clock import Clock, FakeClock
from smoldebug.errors import (
    AccessDenied,
    Conflict,
    NotFound,
    SmoldebugError,
    ToolError,
    UnreachableError,
    UsageError,
)
from smoldebug.pointers import merged
from smoldebug.records import ObjectRef
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.kube_writes import annotated, ref_of
from smoldebug.sources.repository import Forge, Repository, TreeEntry
from smoldebug.sources.selectors import field_of, holds
from smoldebug.sources.world import (
    Completed,
    Listed,
    Object,
    Reply,
    Series,
    WatchEvent,
    WatchStream,
    World,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One call a fake received. `detail` holds the arguments that are not the target."""

    verb: str  # get, list, logs, patch, apply, create, delete, whoami, proxy, exec
    kind: str
    namespace: str = ""
    name: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


class FakeCluster:
    """Kubernetes objects in a dict, `objects`, by reference; change it between calls at will."""

    def __init__(
        self,
        objects: Iterable[Object] = (),
        *,
        logs: Mapping[str, str] | None = None,
        http: "FakeHttp | None" = None,
        processes: "FakeProcesses | None" = None,
        context: str = "fake",
        user: str = "",
    ) -> None:
        """`logs` by `namespace/pod` or `namespace/pod/container`, ` previous` appended for the
        instance before; `http` answers `proxy` by `Kind/namespace/name:port/path`, `processes`
        answers `exec`; `user` is who the API server takes this client for."""
        self.context, self.server, self.user = context, f"{context}.example:6443", user
        self.objects: dict[ObjectRef, Object] = {}
        self.log_texts = dict(logs or {})
        self.http, self.processes = http or FakeHttp(), processes or FakeProcesses()
        self.requests: list[Request] = []
        self._refusals: dict[tuple[str, str], SmoldebugError] = {}
        self._created = 0
        for item in objects:
            self.put(item)

    def put(self, item: Object) -> None:
        """Add or replace an object."""
        self.objects[ref_of(item)] = item

    def remove(self, ref: ObjectRef) -> None:
        """Nothing happens where it is not there."""
        self.objects.pop(ref, None)

    def refuse(self, verb: str, kind: str = "*", error: SmoldebugError | None = None) -> None:
        """Answer these calls with `error` (default: AccessDenied) from now on; `*` is any."""
        self._refusals[verb, _singular(kind)] = error or AccessDenied(
            f"not allowed to {verb}: {kind}", needs=f"{verb} {kind}"
        )

    def allow(self, verb: str, kind: str = "*") -> None:
        """Take a refusal back."""
        self._refusals.pop((verb, _singular(kind)), None)

    def get(self, ref: ObjectRef) -> Object:
        self._receive(Request("get", ref.kind, ref.namespace, ref.name))
        return copy.deepcopy(self._find(ref))

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        self._receive(Request("list", kind, namespace, "", {"labels": labels, "fields": fields}))
        return [
            copy.deepcopy(item)
            for ref, item in sorted(self.objects.items(), key=lambda entry: entry[0])
            if _singular(ref.kind) == _singular(kind)
            and namespace in ("", ref.namespace)
            and holds(labels, (item["metadata"].get("labels") or {}).get)
            and holds(fields, partial(field_of, item))
        ]

    def listed(self, kind: str, namespace: str = "") -> Listed:
        raise UsageError("this fake cannot be watched: WatchedCluster can")

    def watch(self, kind: str, namespace: str, *, since: str, seconds: float) -> WatchStream:
        raise UsageError("this fake cannot be watched: WatchedCluster can")

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
        """`since` is recorded and otherwise ignored: the texts carry no times of their own."""
        detail = {"container": container, "previous": previous, "lines": lines, "since": since}
        self._receive(Request("logs", "Pod", namespace, pod, detail))
        suffix = " previous" if previous else ""
        for key in (f"{namespace}/{pod}/{container}{suffix}", f"{namespace}/{pod}{suffix}"):
            if key in self.log_texts:
                kept = self.log_texts[key].splitlines(keepends=True)
                return "".join(kept if lines is None else kept[-lines:] if lines else [])
        self._find(ObjectRef("Pod", namespace, pod))
        if previous:
            raise NotFound(f"no previous instance of container {container!r} in: {namespace}/{pod}")
        return ""

    def patch(
        self,
        ref: ObjectRef,
        operations: Sequence[Mapping[str, Any]],
        *,
        dry_run: bool,
        note: str,
        subresource: str = "",
    ) -> Object:
        """Raises Conflict when a `test` does not hold or a path does not exist."""
        detail = {"operations": list(operations), "subresource": subresource}
        self._asked("patch", ref, dry_run, note, detail)
        before = self._find(ref)
        changes: Any = operations
        try:
            after: Object = jsonpatch.apply_patch(before, changes)
        except (jsonpatch.JsonPatchException, JsonPointerException) as error:
            raise Conflict(f"the patch does not fit {ref}: {error}") from error
        return self._keep(ref, after, dry_run, note)

    def apply(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        """Everything in the manifest is set; nobody owns fields here."""
        ref = ref_of(manifest)
        self._asked("apply", ref, dry_run, note, {"manifest": manifest})
        before = self.objects.get(ref, {})
        return self._keep(ref, merged(before, manifest, strategic=True), dry_run, note)

    def create(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        ref = ref_of(manifest)
        self._asked("create", ref, dry_run, note, {"manifest": manifest})
        if ref in self.objects:
            raise Conflict(f"it exists already: {ref}")
        return self._keep(ref, manifest, dry_run, note)

    def delete(self, ref: ObjectRef, *, uid: str, revision: str, dry_run: bool, note: str) -> None:
        self._asked("delete", ref, dry_run, note, {"uid": uid, "revision": revision})
        meta = self._find(ref)["metadata"]
        if (meta.get("uid", ""), meta.get("resourceVersion", "")) != (uid, revision):
            raise Conflict(f"it is another one, or has changed: {ref}")
        if not dry_run:
            self.remove(ref)

    def whoami(self) -> str:
        self._receive(Request("whoami", "User"))
        return self.user

    def proxy(self, ref: ObjectRef, port: int | str, path: str, timeout: float) -> Reply:
        detail = {"port": port, "path": path}
        self._receive(Request("proxy", ref.kind, ref.namespace, ref.name, detail))
        return self.http.get(f"{ref}:{port}{path}", timeout=timeout)

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Completed:
        detail = {"container": container, "argv": list(argv)}
        self._receive(Request("exec", "Pod", namespace, pod, detail))
        return self.processes.run(argv, timeout=timeout)

    def _asked(
        self, verb: str, ref: ObjectRef, dry_run: bool, note: str, detail: dict[str, Any]
    ) -> None:
        detail |= {"dry_run": dry_run, "note": note}
        self._receive(Request(verb, ref.kind, ref.namespace, ref.name, detail))

    def _keep(self, ref: ObjectRef, after: Object, dry_run: bool, note: str) -> Object:
        """The object as an API server would store it after a change, and does unless it is dry."""
        before, after = self.objects.get(ref, {}), copy.deepcopy(annotated(after, note))
        meta = after["metadata"]
        if before and after.get("spec") != before.get("spec"):
            meta["generation"] = meta.get("generation", 1) + 1
        self._created += not before
        meta.setdefault("uid", f"uid-{self._created}")
        meta["resourceVersion"] = str(int(meta.get("resourceVersion", "0")) + 1)
        if not dry_run:
            self.put(after)
        return copy.deepcopy(after)

    def _receive(self, request: Request) -> None:
        self.requests.append(request)
        if error := self._refusal(request.verb, request.kind):
            raise error

    def _refusal(self, verb: str, kind: str) -> SmoldebugError | None:
        keys = ((verb, _singular(kind)), (verb, "*"), ("*", "*"))
        return next((self._refusals[key] for key in keys if key in self._refusals), None)

    def _find(self, ref: ObjectRef) -> Object:
        if ref not in self.objects:
            raise NotFound(f"no such object: {ref}")
        return self.objects[ref]


class WatchedCluster(FakeCluster):
    """One that tells its watches of what `put`, `remove` and its other methods change, for use by
    several threads. What you change in `objects` by hand it does not notice.

    `refuse("watch", KIND, error)` also ends the watches that are open.
    """

    def __init__(self, objects: Iterable[Object] = (), **options: Any) -> None:
        self._history: list[WatchEvent] = []
        self._streams: list[_FakeWatch] = []
        self._news = threading.Condition(threading.RLock())
        super().__init__(objects, **options)

    def put(self, item: Object) -> None:
        with self._news:
            known = ref_of(item) in self.objects
            super().put(item)
            self._tell("MODIFIED" if known else "ADDED", item)

    def remove(self, ref: ObjectRef) -> None:
        with self._news:
            if ref in self.objects:
                self._tell("DELETED", self.objects[ref])
            super().remove(ref)

    def refuse(self, verb: str, kind: str = "*", error: SmoldebugError | None = None) -> None:
        with self._news:
            super().refuse(verb, kind, error)
            for stream in self._streams:
                stream.broken = stream.broken or self._refusal("watch", stream.kind)
            self._news.notify_all()

    def listed(self, kind: str, namespace: str = "") -> Listed:
        with self._news:
            return Listed(self.list(kind, namespace), str(len(self._history)))

    def watch(self, kind: str, namespace: str, *, since: str, seconds: float) -> WatchStream:
        """It goes on until it is closed, whatever `seconds` says."""
        detail = {"since": since, "seconds": seconds}
        with self._news:
            self._receive(Request("watch", kind, namespace, "", detail))
            self._streams.append(_FakeWatch(self._history, self._news, kind, namespace, since))
            return self._streams[-1]

    def _tell(self, type: str, item: Object) -> None:
        version = str(len(self._history) + 1)
        self._history.append(WatchEvent(type, copy.deepcopy(item), version))
        self._news.notify_all()


class _FakeWatch:
    def __init__(
        self,
        history: Sequence[WatchEvent],
        news: threading.Condition,
        kind: str,
        namespace: str,
        since: str,
    ) -> None:
        self.kind, self._namespace = kind, namespace
        self.broken: SmoldebugError | None = None
        self._history, self._news, self._seen = history, news, int(since or 0)
        self._closed = False

    def __iter__(self) -> Iterator[WatchEvent]:
        return self

    def __next__(self) -> WatchEvent:
        with self._news:
            while not self._closed:
                if self.broken:
                    raise self.broken
                for event in self._history[self._seen :]:
                    self._seen += 1
                    if self._fits(ref_of(event.object)):
                        return copy.deepcopy(event)
                self._news.wait()
        raise StopIteration

    def _fits(self, ref: ObjectRef) -> bool:
        same = _singular(ref.kind) == _singular(self.kind)
        return same and self._namespace in ("", ref.namespace)

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()


class _Script(Generic[T]):
    """Answers by key, in order; the last one for ever. Exceptions among them are raised."""

    def __init__(self, answers: Mapping[str, "T | Exception | list[T | Exception]"]) -> None:
        self._lock = threading.Lock()  # the checks of one sample run side by side
        self._left: dict[str, list[T | Exception]] = {
            key: list(value) if isinstance(value, list) else [value]
            for key, value in answers.items()
        }

    def next(self, key: str, otherwise: "T | Exception") -> T:
        with self._lock:
            left = self._left.get(key) or [otherwise]
            answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def reply(status: int = 200, body: str = "", route: str = "direct", **headers: str) -> Reply:
    return Reply(status, body, headers, 0.01, route)


class FakeHttp:
    """Replies or exceptions by URL; an unknown URL does not answer."""

    def __init__(
        self, replies: Mapping[str, Reply | Exception | list[Reply | Exception]] | None = None
    ) -> None:
        self._script = _Script(replies or {})
        self.requests: list[Request] = []

    def get(self, url: str, *, timeout: float = 5.0, method: str = "GET", sample: int = 0) -> Reply:
        self.requests.append(Request(method.lower(), "URL", "", url, {"sample": sample}))
        return self._script.next(url, UnreachableError(f"connection refused: {url}"))


MetricAnswer = float | Sequence[Series] | Exception | Callable[[Clock], float | Sequence[Series]]


class FakeMetrics:
    """Answers by query: series, one number, an exception, or a callable of the clock.

    A query without an answer is empty, as for a metric nobody exports.
    """

    def __init__(
        self, answers: Mapping[str, MetricAnswer] | None = None, clock: Clock | None = None
    ) -> None:
        self.answers: dict[str, MetricAnswer] = dict(answers or {})
        self.clock = clock or FakeClock()
        self.requests: list[Request] = []

    def instant(self, query: str, timeout: float = 10.0) -> list[Series]:
        self.requests.append(Request("instant", "Query", "", query))
        return [Series(each.labels, each.points[-1:]) for each in self._series(query, 0.0, 1.0)]

    def range(self, query: str, seconds: float, step: float, timeout: float = 15.0) -> list[Series]:
        """A number is a flat line; series are returned as they are."""
        detail = {"seconds": seconds, "step": step}
        self.requests.append(Request("range", "Query", "", query, detail))
        return self._series(query, seconds, step)

    def _series(self, query: str, seconds: float, step: float) -> list[Series]:
        answer = self.answers.get(query, ())
        if callable(answer):
            answer = answer(self.clock)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, (int, float)):
            end = self.clock.now().timestamp()
            times = [end - ago * step for ago in range(int(seconds // step), -1, -1)]
            return [Series({}, tuple((time, float(answer)) for time in times))]
        return list(answer)


def completed(code: int | None = 0, stdout: str = "", stderr: str = "") -> Completed:
    return Completed(code, stdout, stderr, 0.01)


class FakeProcesses:
    """Results by command line, its words joined by blanks; an unknown program does not start."""

    def __init__(
        self,
        results: Mapping[str, Completed | Exception | list[Completed | Exception]] | None = None,
    ) -> None:
        self._script = _Script(results or {})
        self.requests: list[Request] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Completed:
        line = " ".join(argv)
        self.requests.append(Request("run", "Command", "", line, {"cwd": cwd, "env": env}))
        return self._script.next(line, ToolError(f"no such program: {argv[0]}"))


class MemoryTree:
    """The files of a commit, as a `Tree`; `entries` stand for links, submodules and other sizes."""

    def __init__(
        self, contents: Mapping[str, bytes], entries: Mapping[str, TreeEntry] | None = None
    ) -> None:
        self.contents = contents
        files = {path: TreeEntry("file", len(data)) for path, data in contents.items()}
        self._entries = dict(sorted({**files, **(entries or {})}.items()))

    def files(self) -> Mapping[str, TreeEntry]:
        return self._entries

    def read(self, path: str) -> bytes:
        if path not in self.contents:
            raise NotFound(f"no such file in the commit: {path}")
        return self.contents[path]


def fake_world(  # noqa: PLR0913 one for each outside world
    *,
    cluster: FakeCluster | None = None,
    http: FakeHttp | None = None,
    metrics: FakeMetrics | None = None,
    processes: FakeProcesses | None = None,
    clock: Clock | None = None,
    repository: Repository | None = None,
    forge: Forge | None = None,
) -> World:
    """A World of fakes. Without a cluster, metrics or a repository it has none, like a playbook
    without."""
    clock = clock or FakeClock()
    if metrics is not None:
        metrics.clock = clock
    world = World(
        clock,
        processes or FakeProcesses(),
        cluster=None if cluster is None else lambda: cluster,
        http=lambda _: http or FakeHttp(),
        metrics=None if metrics is None else lambda _: metrics,
    )
    if repository is not None:
        world.use_repository(lambda: repository, lambda: forge)
    return world


# --- the parts of an API server that a fake needs -----------------------------------------------


def _singular(kind: str) -> str:
    """`Pod`, `pods` and `po` are one kind; of your own kinds, `Backup` and `backups` are."""
    return kind_name(kind).casefold().removesuffix("s")
