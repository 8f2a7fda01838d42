"""Every object of the practice cluster, in memory, behind one increasing resourceVersion.

An object in the store is never mutated: a change puts a new one in its place, and what the two
share stays shared. `peek` and `scan` therefore hand out the stored objects themselves (read
only, for whoever serialises them); `get` and `list` hand out copies.
"""

import secrets
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal, NamedTuple, TypeVar

from smoldebug.clock import Clock, SystemClock
from smoldebug.lab import apierror, defaults, ownership
from smoldebug.lab.apierror import ApiError as ApiError
from smoldebug.lab.catalog import BY_STORAGE, Resource
from smoldebug.lab.catalog import resource as by_name
from smoldebug.lab.selectors import Predicate, predicate
from smoldebug.sources.world import Object

Admission = Callable[[str, Resource, Object | None, Object], None]
Key = tuple[str, str]  # namespace ("" for cluster-scoped), name
T = TypeVar("T")

_KEPT = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
)
_COUNTS_GENERATIONS = frozenset(
    ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job")
    + ("CronJob", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "EndpointSlice")
)
_NAMESPACE = by_name("namespaces")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so that no name spells a word
_POLL = 0.5  # seconds an idle watch waits before it looks whether it should end


class WatchEvent(NamedTuple):
    """SYNCED: the initial objects are through. IDLE: nothing happened for half a second.

    A watch that starts again from `version` misses nothing.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED", "SYNCED", "IDLE"]
    object: Object
    version: int


class _Logged(NamedTuple):
    version: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    storage: tuple[str, str]
    object: Object
    before: Object | None


_Changes = list[_Logged]
_Contents = list[tuple[Resource, Object]]


def clone(value: T) -> T:
    """A deep copy of plain JSON, several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {k: clone(v) for k, v in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [clone(v) for v in value]  # type: ignore[return-value]
    return value


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as in `creationTimestamp`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Thread-safe. `condition` is notified after each change; `version` is the last
    resourceVersion. `history` is how many changes a watch can go back.

    Each of `admission` is called as (`create` or `update`, resource, old or None, new) before a
    change is stored; it may complete `new` in place or raise ApiError.
    """

    def __init__(self, clock: Clock | None = None, history: int = 1000) -> None:
        self.clock = clock or SystemClock()
        self.condition = threading.Condition(threading.RLock())
        self.version = 1000
        self.admission: list[Admission] = []
        self._buckets: dict[tuple[str, str], dict[Key, Object]] = {}
        self._log: deque[_Logged] = deque(maxlen=history)

    # -- reading

    def peek(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """The stored object itself: do not change it. Raises ApiError 404."""
        with self.condition:
            found = self._bucket(resource).get(
                (namespace or "" if resource.namespaced else "", name)
            )
        if found is None:
            raise apierror.not_found(resource, name)
        return found

    def scan(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> tuple[list[Object], int]:
        """The stored objects themselves, by namespace and name, and the version they are of."""
        picks = predicate(namespace, labels, fields)
        with self.condition:
            items, version = sorted(self._bucket(resource).items()), self.version
        return [obj for _, obj in items if picks(obj)], version

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """A copy of the object. Raises ApiError 404."""
        return clone(self.peek(resource, namespace, name))

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> tuple[list[Object], int]:
        """Copies, by namespace and name, and the version they are of. None: all namespaces."""
        items, version = self.scan(resource, namespace, labels=labels, fields=fields)
        return clone(items), version

    # -- writing

    def create(
        self,
        resource: Resource,
        namespace: str | None,
        obj: Object,
        *,
        dry_run: bool = False,
        manager: str = "lab",
    ) -> Object:
        """Store a new object and return a copy. Its fields are recorded as `manager`'s unless it
        comes with managedFields. Raises ApiError 404 (namespace), 409 (exists), 422."""
        with self.condition:
            new = self._prepared(resource, namespace, clone(obj))
            meta = new["metadata"]
            key = (meta.get("namespace", ""), meta["name"])
            if key in self._bucket(resource):
                raise apierror.already_exists(resource, meta["name"])
            if "managedFields" not in meta:
                ownership.record_creation(new, manager, meta["creationTimestamp"])
            defaults.fill(resource, new)
            for admit in self.admission:
                admit("create", resource, None, new)
            if not dry_run:
                self._put("ADDED", resource, new)
            return clone(new)

    def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        change: Callable[[Object], Object],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Replace an object by what `change` makes of a private copy; return a copy of it.

        With subresource "status" only the status is taken over, otherwise everything else. A
        change that changes nothing moves no resourceVersion. Raises ApiError 404 and 409 (the
        copy came back with another resourceVersion or uid).
        """
        with self.condition:
            old = self.peek(resource, namespace, name)
            new = self.settled(resource, old, change(clone(old)), subresource)
            if not subresource:
                for admit in self.admission:
                    admit("update", resource, old, new)
            if new == old:
                return clone(old)
            meta = new["metadata"]
            if "generation" in meta and new.get("spec") != old.get("spec"):
                meta["generation"] += 1
            if dry_run:
                return new
            if _is_finished(resource, new):
                self._remove(resource, new)
            else:
                self._put("MODIFIED", resource, new, old)
            return clone(new)

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        options: Object | None = None,
        *,
        final: bool = False,
    ) -> Object:
        """Delete an object, with `options` as in DeleteOptions; return its last state.

        What has finalizers, a pod that runs and a namespace with something in it are only marked
        (`deletionTimestamp`). `final` is the kubelet's word that the pod is gone. Raises ApiError.
        """
        options = options or {}
        with self.condition:
            old = self.peek(resource, namespace, name)
            _check_preconditions(resource, old, options.get("preconditions") or {})
            grace = 0 if final else _grace(resource, old, options)
            if options.get("dryRun"):
                return clone(self._marked(resource, old, grace) if grace else old)
            namespace_in_use = resource is _NAMESPACE and self._contents(name)
            if grace or old["metadata"].get("finalizers") or namespace_in_use:
                old = self._mark(resource, old, grace)
                if namespace_in_use:
                    self._empty(name)
                return clone(old)
            orphan = options.get("propagationPolicy") == "Orphan" or options.get("orphanDependents")
            return clone(self._remove(resource, old, orphan=bool(orphan)))

    # -- watching

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        since: int | None = None,
        until: Callable[[], bool] = lambda: False,
    ) -> Iterator[WatchEvent]:
        """Changes after version `since` until `until()`; with None the present objects first, as
        ADDED, then SYNCED. Objects are the stored ones: do not change them.

        An object that comes to match the selectors is ADDED, one that ceases to is DELETED.
        Raises ApiError 410 when the changes asked for are no longer kept.
        """
        picks = predicate(namespace, labels, fields)
        if since is None:
            with self.condition:
                items, since = self.scan(resource, namespace, labels=labels, fields=fields)
            yield from (WatchEvent("ADDED", obj, since) for obj in items)
            yield WatchEvent("SYNCED", {}, since)
        while not until():
            with self.condition:
                if since >= self.version:
                    self.condition.wait(_POLL)
                changes = self._since(since)
            for change in changes:
                since = change.version
                event = _seen(change, picks) if change.storage == resource.storage else None
                if event:
                    yield event
            if not changes:
                yield WatchEvent("IDLE", {}, since)

    def _since(self, version: int) -> _Changes:
        missed = self.version - version
        if missed > len(self._log):
            oldest = self._log[0].version if self._log else self.version
            raise ApiError(410, "Expired", f"too old resource version: {version} ({oldest})")
        return [*islice(self._log, len(self._log) - missed, None)] if missed > 0 else []

    # -- how a change is carried out; all with the lock held

    def _bucket(self, resource: Resource) -> dict[Key, Object]:
        return self._buckets.setdefault(resource.storage, {})

    def _put(
        self,
        kind: Literal["ADDED", "MODIFIED"],
        resource: Resource,
        new: Object,
        old: Object | None = None,
    ) -> None:
        meta = new["metadata"]
        self._bucket(resource)[meta.get("namespace", ""), meta["name"]] = new
        self._emit(kind, resource, new, old)

    def _emit(
        self,
        kind: Literal["ADDED", "MODIFIED", "DELETED"],
        resource: Resource,
        new: Object,
        old: Object | None,
    ) -> None:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        self._log.append(_Logged(self.version, kind, resource.storage, new, old))
        self.condition.notify_all()

    def _prepared(self, resource: Resource, namespace: str | None, new: Object) -> Object:
        """A new object with everything the server sets itself."""
        meta = new.setdefault("metadata", {})
        if meta.get("resourceVersion"):
            raise apierror.bad_request("resourceVersion should not be set on objects to be created")
        if not meta.get("name"):
            if not meta.get("generateName"):
                why = "Required value: name or generateName is required"
                raise apierror.invalid(resource, "", "metadata.name", why)
            suffix = "".join(secrets.choice(_SUFFIX) for _ in range(5))
            meta["name"] = meta["generateName"] + suffix
        meta.pop("namespace" if not resource.namespaced else "deletionTimestamp", None)
        if resource.namespaced:
            meta["namespace"] = namespace or meta.get("namespace") or "default"
            self._check_namespace(resource, meta["namespace"], meta["name"])
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = timestamp(self.clock.now())
        if resource.kind in _COUNTS_GENERATIONS:
            meta["generation"] = 1
        return {"apiVersion": resource.api_version, "kind": resource.kind} | new

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        found = self.peek(_NAMESPACE, None, namespace)
        # The last events of a dying namespace are let in; they go with it.
        if found["metadata"].get("deletionTimestamp") and resource.kind != "Event":
            raise ApiError(
                403,
                "Forbidden",
                f'{resource.qualified} "{name}" is forbidden: unable to create new content in '
                f"namespace {namespace} because it is being terminated",
                name=name,
                group=resource.group,
                kind=resource.plural,
                causes=[
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {namespace} is being terminated",
                        "field": "metadata.namespace",
                    }
                ],
            )

    def settled(self, resource: Resource, old: Object, new: Object, subresource: str) -> Object:
        """What a changed object really becomes: its identity, and what was not asked for, stay.
        Raises ApiError 409 for a resourceVersion or uid that is not the present one."""
        name, before = old["metadata"]["name"], old["metadata"]
        meta = new.setdefault("metadata", {})
        if meta.get("resourceVersion", before["resourceVersion"]) != before["resourceVersion"]:
            why = "the object has been modified; please apply your changes to the latest version"
            raise apierror.conflict(resource, name, f"{why} and try again")
        if meta.get("uid", before["uid"]) != before["uid"]:
            raise apierror.conflict(resource, name, _uid_differs(meta["uid"], before["uid"]))
        meta |= {key: before[key] for key in (*_KEPT, "resourceVersion") if key in before}
        if "status" in resource.subresources:
            if subresource == "status":
                managed = {k: v for k, v in meta.items() if k == "managedFields"}
                return {**old, "metadata": before | managed, "status": new.get("status") or {}}
            new = {k: v for k, v in new.items() if k != "status"}
            new |= {"status": old["status"]} if "status" in old else {}
        if resource.kind == "Service" and "clusterIP" in (old.get("spec") or {}):
            new.setdefault("spec", {}).setdefault("clusterIP", old["spec"]["clusterIP"])
        defaults.fill(resource, new)
        return new

    def _mark(self, resource: Resource, old: Object, grace: int) -> Object:
        if old["metadata"].get("deletionGracePeriodSeconds", grace + 1) <= grace:
            return old
        new = self._marked(resource, old, grace)
        self._put("MODIFIED", resource, new, old)
        return new

    def _marked(self, resource: Resource, old: Object, grace: int) -> Object:
        meta = old["metadata"]
        end = timestamp(self.clock.now() + timedelta(seconds=grace))
        new = {
            **old,
            "metadata": meta | {"deletionTimestamp": end, "deletionGracePeriodSeconds": grace},
        }
        if resource is _NAMESPACE:
            new["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
        return new

    def _remove(self, resource: Resource, old: Object, *, orphan: bool = False) -> Object:
        meta = old["metadata"]
        namespace = meta.get("namespace", "")
        self._bucket(resource).pop((namespace, meta["name"]), None)
        gone = {**old, "metadata": dict(meta)}
        self._emit("DELETED", resource, gone, None)
        self._release_dependents(meta["uid"], orphan)
        if namespace:
            self._finish_namespace(namespace)
        return gone

    def _release_dependents(self, uid: str, orphan: bool) -> None:
        """Garbage collection: who has lost the last owner goes too, unless it is orphaned."""
        for resource, obj in self._everything():
            references = obj["metadata"].get("ownerReferences") or ()
            if all(reference.get("uid") != uid for reference in references):
                continue
            others = [reference for reference in references if reference.get("uid") != uid]
            if orphan or others:
                new = {**obj, "metadata": obj["metadata"] | {"ownerReferences": others}}
                self._put("MODIFIED", resource, new, obj)
            else:
                self._delete_quietly(resource, obj)

    def _empty(self, namespace: str) -> None:
        for resource, obj in self._everything():
            if obj["metadata"].get("namespace") == namespace:
                self._delete_quietly(resource, obj)

    def _delete_quietly(self, resource: Resource, obj: Object) -> None:
        meta = obj["metadata"]
        if (meta.get("namespace", ""), meta["name"]) in self._bucket(resource):
            self.delete(resource, meta.get("namespace"), meta["name"])

    def _finish_namespace(self, name: str) -> None:
        """A namespace that is being deleted goes with the last of its objects."""
        found = self._bucket(_NAMESPACE).get(("", name))
        if not found or not found["metadata"].get("deletionTimestamp"):
            return
        left = self._contents(name)
        if any(resource.kind != "Event" for resource, _ in left):
            return
        for resource, obj in left:
            self._bucket(resource).pop((name, obj["metadata"]["name"]))
            self._emit("DELETED", resource, {**obj, "metadata": dict(obj["metadata"])}, None)
        if not found["metadata"].get("finalizers"):
            self._remove(_NAMESPACE, found)

    def _contents(self, namespace: str) -> _Contents:
        return [x for x in self._everything() if x[1]["metadata"].get("namespace") == namespace]

    def _everything(self) -> _Contents:
        return [
            (BY_STORAGE[storage], obj)
            for storage, bucket in self._buckets.items()
            for obj in bucket.values()
        ]


def _seen(change: _Logged, picks: Predicate) -> WatchEvent | None:
    """A change as a watch with a selector sees it."""
    kind = change.type
    now = picks(change.object)
    if change.before is not None:
        was = picks(change.before)
        kind = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
        now = now or was
    return WatchEvent(kind, change.object, change.version) if now else None


def _is_finished(resource: Resource, obj: Object) -> bool:
    """Being deleted, and nothing holds it any more; only the kubelet can say so of a pod."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    return resource.kind != "Pod" or meta.get("deletionGracePeriodSeconds") == 0


def _grace(resource: Resource, obj: Object, options: Object) -> int:
    """Seconds a pod gets to end; 0 for everything else and for a pod that does not run."""
    if resource.kind != "Pod" or not obj["spec"].get("nodeName"):
        return 0
    if obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    wanted: Any = options.get("gracePeriodSeconds")
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30) if wanted is None else wanted)


def _check_preconditions(resource: Resource, obj: Object, wanted: dict[str, Any]) -> None:
    meta = obj["metadata"]
    for field, name, guess in (
        ("uid", "UID", "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "modified"),
    ):
        if wanted.get(field) and wanted[field] != meta[field]:
            why = (
                f"the {name} in the precondition ({wanted[field]}) does not match the {name} in "
                f"record ({meta[field]}). The object might have been {guess}"
            )
            # Here a real server names the kind where it names the plural elsewhere.
            raise apierror.conflict(replace(resource, plural=resource.kind), meta["name"], why)


def _uid_differs(wanted: str, found: str) -> str:
    return f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
