"""Watches in place of polling: a Cluster that answers reads from memory while its watches live.

    with Mirror(cluster, GOAL_KINDS, ["shop"], clock) as mirror:
        mirror.list("Pod", "shop")  # no request
        mirror.changed.wait(5.0)
        mirror.take()  # frozenset({ObjectRef("Pod", "shop", "checkout-1")})

What is answered from memory is at most `SILENCE` seconds old, and that only where a connection
died without a sign; a watch that works is milliseconds behind. Whatever cannot be answered so
(other kinds and namespaces, a broken watch, the seconds after a change of one's own) is asked of
the cluster itself, whose errors a reader then sees.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar

import msgspec

from smoldebug.clock import Clock
from smoldebug.errors import AccessDenied, NotFound, SmoldebugError, UnreachableError, UsageError
from smoldebug.records import ObjectRef
from smoldebug.sources.kinds import did_you_mean, find, kind_name
from smoldebug.sources.selectors import field_of, holds
from smoldebug.sources.world import Cluster, Object, WatchEvent, WatchStream

P = ParamSpec("P")
T = TypeVar("T")

GOAL_KINDS = (
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "Pod",
    "Service",
    "EndpointSlice",  # Endpoints where it cannot be watched
    "Event",
)
_INSTEAD = {"EndpointSlice": "Endpoints"}
SECONDS = 30.0  # one watch, then it is renewed: a server says nothing for a minute if all is quiet
SILENCE = SECONDS + 5.0  # without a word for so long, a watch is not believed any more
RENEWAL = 1.0  # the time a renewal may take
SETTLE = 2.0  # after a change of one's own, so that its effect cannot be missed
FIRST = 10.0  # longest wait for the first lists
PAUSE, LONGEST_PAUSE = 0.5, 8.0  # before a broken watch is begun again
ENDING = 1.0  # longest wait for the threads to end


class Mirror:
    """See smoldebug.sources.world.Cluster. Watches within its `with` block, once; outside of it
    everything passes through.

    `namespaces`: "" stands for all. `changed` is set by every change of a watched object but
    heartbeats; `take` says of which and clears it. Safe to use from several threads.
    """

    def __init__(
        self, cluster: Cluster, kinds: Iterable[str], namespaces: Sequence[str], clock: Clock
    ) -> None:
        self._cluster, self._clock, self._namespaces = cluster, clock, namespaces
        self.context, self.server = cluster.context, cluster.server
        self.changed = threading.Event()
        self._lock = threading.Lock()
        self._news: set[ObjectRef] = set()
        self._closed = threading.Event()
        self._caught_up = 0.0  # when what was changed through this object has reached every watch
        self._kinds = [kind_name(kind) for kind in kinds]
        self._feeds: dict[tuple[str, str], _Feed] = {}
        self._threads: list[threading.Thread] = []
        self.listed, self.watch = cluster.listed, cluster.watch
        self.logs, self.exec = cluster.logs, cluster.exec
        self.whoami, self.proxy = cluster.whoami, cluster.proxy
        self.patch, self.apply = self._settling(cluster.patch), self._settling(cluster.apply)
        self.create, self.delete = self._settling(cluster.create), self._settling(cluster.delete)

    def __enter__(self) -> Self:
        """Returns when the first lists are in, at the latest after `FIRST` seconds."""
        end = time.monotonic() + FIRST
        self._begin(self._kinds, end)
        gaps = [kind for (kind, _), feed in self._feeds.items() if feed.gap]
        self._begin({_INSTEAD[kind] for kind in gaps if kind in _INSTEAD}, end)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all watches, within a second."""
        end = time.monotonic() + ENDING
        self._closed.set()
        for feed in self._feeds.values():
            feed.end()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    @property
    def gaps(self) -> tuple[str, ...]:
        """What cannot be watched, each with the reason: `Event: not allowed in context eu: ...`."""
        return tuple(f"{feed.kind}: {feed.gap}" for feed in self._feeds.values() if feed.gap)

    def take(self) -> frozenset[ObjectRef]:
        """The objects that changed since this was last asked."""
        with self._lock:
            taken, self._news = frozenset(self._news), set()
            self.changed.clear()
        return taken

    def get(self, ref: ObjectRef) -> Object:
        ref = ObjectRef(kind_name(ref.kind), ref.namespace, ref.name)
        feed = self._believed(ref.kind, ref.namespace)
        known = feed.snapshot() if feed else {}
        if ref in known:
            return known[ref].copy()
        if feed is None or feed.namespace != ref.namespace:  # there may be no such namespace
            return self._cluster.get(ref)
        hint = did_you_mean(ref.name, [each.name for each in known])
        raise NotFound(f"{ref} does not exist", hint=hint)

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        feed = self._believed(kind_name(kind), namespace)
        found = _picked(feed.snapshot(), namespace, labels, fields) if feed else []
        if feed and (found or (feed.namespace == namespace and not fields)):
            return found
        # Of nothing, only the cluster can say that there is no such namespace or field.
        return self._cluster.list(kind, namespace, labels=labels, fields=fields)

    def _believed(self, kind: str, namespace: str) -> "_Feed | None":
        """The watch that answers a read; None when the cluster itself must."""
        now = self._clock.monotonic()
        if self._closed.is_set() or now < self._caught_up:
            return None
        feed = self._feeds.get((kind, namespace)) or self._feeds.get((kind, ""))
        return feed if feed and now < feed.good_until else None

    def _begin(self, kinds: Iterable[str], end: float) -> None:
        begun = []
        for kind in kinds:
            known = find(kind)
            clustered = known is not None and not known.namespaced
            for namespace in ("",) if clustered or "" in self._namespaces else self._namespaces:
                feed = _Feed(self._cluster, kind, namespace, self._clock, self._closed, self._tell)
                self._feeds[kind, namespace] = feed
                begun.append(feed)
        for feed in begun:
            name = f"watch of {feed.kind} in {feed.namespace or 'all namespaces'}"
            self._threads.append(threading.Thread(target=feed.run, name=name, daemon=True))
            self._threads[-1].start()
        for feed in begun:
            feed.tried.wait(max(0.0, end - time.monotonic()))

    def _tell(self, refs: Iterable[ObjectRef]) -> None:
        with self._lock:
            self._news.update(refs)
            if self._news:
                self.changed.set()

    def _settling(self, write: Callable[P, T]) -> Callable[P, T]:
        def written(*args: P.args, **options: P.kwargs) -> T:
            try:
                return write(*args, **options)
            finally:
                self._caught_up = self._clock.monotonic() + SETTLE

        return written


@dataclass(frozen=True, slots=True)
class _Kept:
    """An object as JSON, without managedFields. A heartbeat alters nothing but the version."""

    body: bytes
    version: Any
    labels: dict[str, Any]

    @classmethod
    def of(cls, item: Object) -> Self:
        metadata = dict(item["metadata"])
        metadata.pop("managedFields", None)
        version, labels = metadata.pop("resourceVersion", None), metadata.get("labels")
        # Sorted, because a list and a watch need not agree on the order.
        body = msgspec.json.encode({**item, "metadata": metadata}, order="deterministic")
        return cls(body, version, labels if isinstance(labels, dict) else {})

    def copy(self) -> Object:
        item: Object = msgspec.json.decode(self.body)
        if self.version is not None:
            item["metadata"]["resourceVersion"] = self.version
        return item


_Known = dict[ObjectRef, _Kept]


class _Feed:
    """What is known of one kind in one namespace, or in all (""), and the watch that keeps it so.

    `good_until` is the time until which it can be believed; `tried` is set once it was listed,
    or once that failed; `gap` is why it cannot be watched.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        namespace: str,
        clock: Clock,
        closed: threading.Event,
        tell: Callable[[Iterable[ObjectRef]], None],
    ) -> None:
        self.kind, self.namespace, self.gap = kind, namespace, ""
        self.good_until, self.tried = 0.0, threading.Event()
        self._cluster, self._clock, self._closed, self._tell = cluster, clock, closed, tell
        self._lock = threading.Lock()
        self._known: _Known = {}
        self._version, self._pause = "", PAUSE
        self._stream: WatchStream | None = None

    def snapshot(self) -> _Known:
        with self._lock:
            return dict(self._known)

    def end(self) -> None:
        """For another thread, once `closed` is set."""
        if self._stream is not None:
            self._stream.close()

    def run(self) -> None:
        """List, watch, and begin again when that breaks, until closed. Ends early if it is not
        allowed, or not served, from the beginning.

        It waits by itself and not on the clock, which a thread in the background must not move.
        """
        while not self._closed.is_set():
            try:
                self._list()
                while not self._closed.is_set():
                    self._watch()
            except (AccessDenied, UsageError) as error:
                self.gap = str(error)
                if not self._stream:
                    return
            except SmoldebugError:
                pass  # whoever reads asks the cluster itself, and is told
            finally:
                self.good_until = 0.0
                self.tried.set()
            self._closed.wait(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _list(self) -> None:
        listed = self._cluster.listed(self.kind, self.namespace)
        after = dict(map(self._entry, listed.items))
        before, first = self._known, not self._version
        with self._lock:
            self._known = after
        self._version = listed.version
        if not first:
            self._tell(
                ref
                for ref in before.keys() | after.keys()
                if _differ(before.get(ref), after.get(ref))
            )

    def _watch(self) -> None:
        """One watch, from where the last one ended."""
        began = time.monotonic()
        self._stream = self._cluster.watch(
            self.kind, self.namespace, since=self._version, seconds=SECONDS
        )
        try:
            if self._closed.is_set():  # it was set before `end` could see this stream
                return
            self._heard(SILENCE)
            self.gap = ""
            self.tried.set()
            for event in self._stream:
                self._learn(event)
        finally:
            self._stream.close()
        if time.monotonic() - began < RENEWAL:  # or it would be asked again and again
            raise UnreachableError(f"watches of {self.kind} end at once")
        self._heard(RENEWAL)

    def _learn(self, event: WatchEvent) -> None:
        if event.type != "BOOKMARK":
            ref, kept = self._entry(event.object)
            before = self._known.get(ref)
            with self._lock:
                if event.type == "DELETED":
                    self._known.pop(ref, None)
                else:
                    self._known[ref] = kept
            if event.type == "DELETED" or _differ(before, kept):
                self._tell([ref])
        self._version = event.version or self._version
        self._pause = PAUSE
        self._heard(SILENCE)

    def _heard(self, good_for: float) -> None:
        self.good_until = self._clock.monotonic() + good_for

    def _entry(self, item: Object) -> tuple[ObjectRef, _Kept]:
        try:
            metadata = item["metadata"]
            namespace, name = str(metadata.get("namespace") or ""), str(metadata["name"])
            ref = ObjectRef(self.kind, namespace, name)
            return ref, _Kept.of(item)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            words = f"the API server of context {self._cluster.context} sent a {self.kind} without"
            raise UnreachableError(f"{words} a name") from error


def _differ(one: _Kept | None, other: _Kept | None) -> bool:
    return one is None or other is None or one.body != other.body


def _picked(known: _Known, namespace: str, labels: str, fields: str) -> list[Object]:
    """Copies of the objects that the selectors pick, by namespace and name."""
    refs = sorted(
        ref
        for ref, kept in known.items()
        if namespace in ("", ref.namespace) and holds(labels, kept.labels.get)
    )
    copies = (known[ref].copy() for ref in refs)
    return [item for item in copies if not fields or holds(fields, partial(field_of, item))]
