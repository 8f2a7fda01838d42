"""What the controllers and the kubelet share: owners, conditions, events and the control loop."""

import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime

from smoldebug.lab.catalog import Resource, resource
from smoldebug.lab.ownership import Change, as_manager
from smoldebug.lab.store import ApiError, Store, timestamp
from smoldebug.sources.world import Object

log = logging.getLogger(__name__)

PODS, NODES, NAMESPACES = resource("pods"), resource("nodes"), resource("namespaces")
DEPLOYMENTS, REPLICASETS = resource("deployments"), resource("replicasets")
SERVICES, ENDPOINTS = resource("services"), resource("endpoints")
SLICES, EVENTS = resource("endpointslices"), resource("Event")
CONFIGMAPS, SECRETS = resource("configmaps"), resource("secrets")
AUTOSCALERS = resource("horizontalpodautoscalers")
BUDGETS, QUOTAS = resource("poddisruptionbudgets"), resource("resourcequotas")
STATEFULSETS, DAEMONSETS = resource("statefulsets"), resource("daemonsets")
JOBS, CLAIMS = resource("jobs"), resource("persistentvolumeclaims")
DEFINITIONS = resource("customresourcedefinitions")

NODE = "lab-node"
MANAGER = "kube-controller-manager"  # who the controllers are in managedFields
EVENT_LIMIT = 500  # events kept; the oldest go first
SETTLE = 0.02  # seconds a loop lets changes gather before it looks


def controller_of(obj: Object) -> str:
    """The uid of the object's controller, or ""."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def owned_by(owner: Object, objects: Iterable[Object]) -> list[Object]:
    uid = owner["metadata"]["uid"]
    return [obj for obj in objects if controller_of(obj) == uid]


def owner_reference(owner: Object) -> Object:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition(obj: Object, type_: str) -> Object:
    """A status condition by its type; {} where there is none."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == type_), {})


def is_ready(pod: Object) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def is_available(pod: Object, min_ready_seconds: float, now: datetime) -> bool:
    """Ready, and that for some time."""
    if not is_ready(pod) or not min_ready_seconds:
        return is_ready(pod)
    since = datetime.fromisoformat(condition(pod, "Ready")["lastTransitionTime"])
    return (now - since).total_seconds() >= min_ready_seconds


def is_active(pod: Object) -> bool:
    """Whether a pod counts as a replica: neither ended nor on its way out."""
    phase = (pod.get("status") or {}).get("phase")
    return not pod["metadata"].get("deletionTimestamp") and phase not in ("Succeeded", "Failed")


def change_object(
    store: Store,
    resource_: Resource,
    obj: Object,
    change: Change,
    subresource: str = "",
    manager: str = MANAGER,
) -> Object:
    """Update an object as one of the cluster's components: it owns what it changes. Raises
    ApiError."""
    meta, now = obj["metadata"], timestamp(store.clock.now())
    recorded = as_manager(manager, now, change, subresource)
    written = "status" if subresource == "status" else ""
    return store.update(
        resource_, meta.get("namespace"), meta["name"], recorded, subresource=written
    )


def write_status(
    store: Store, resource_: Resource, obj: Object, status: Object, manager: str = MANAGER
) -> None:
    """Store a new status if it differs; an object that is gone meanwhile is no error."""
    if status == obj.get("status"):
        return
    try:
        change_object(
            store,
            resource_,
            obj,
            lambda current: {**current, "status": status},
            "status",
            manager,
        )
    except ApiError as error:
        if error.code != 404:
            raise


class Recorder:
    """Writes events as a cluster's components do: a repeated one counts up."""

    def __init__(self, store: Store, component: str) -> None:
        self.store, self.component = store, component
        self._known: OrderedDict[tuple[str, ...], tuple[str, str]] = OrderedDict()

    def normal(self, obj: Object, reason: str, message: str, field: str = "") -> None:
        self._record("Normal", obj, reason, message, field)

    def warning(self, obj: Object, reason: str, message: str, field: str = "") -> None:
        self._record("Warning", obj, reason, message, field)

    def _record(self, type_: str, obj: Object, reason: str, message: str, field: str) -> None:
        key = (obj["metadata"]["uid"], type_, reason, message, field)
        now = timestamp(self.store.clock.now())

        def again(event: Object) -> Object:
            return {**event, "count": event["count"] + 1, "lastTimestamp": now}

        try:
            if key in self._known:
                self._known.move_to_end(key)
                self.store.update(EVENTS, *self._known[key], again)
                return
        except ApiError:  # its namespace or the event itself was deleted
            del self._known[key]
        self._create(key, self._event(obj, now, field) | {"reason": reason, "type": type_}, message)

    def _create(self, key: tuple[str, ...], event: Object, message: str) -> None:
        event |= {"message": message[:1024]}
        namespace = event["metadata"]["namespace"]
        try:
            stored = self.store.create(EVENTS, namespace, event, manager=self.component)
        except ApiError as error:
            log.warning("event not recorded: %s", error)
            return
        self._known[key] = namespace, stored["metadata"]["name"]
        while len(self._known) > EVENT_LIMIT:
            _, oldest = self._known.popitem(last=False)
            try:
                self.store.delete(EVENTS, *oldest)
            except ApiError:
                log.debug("event %s was gone already", oldest)

    def _event(self, obj: Object, now: str, field: str) -> Object:
        meta = obj["metadata"]
        namespace = meta.get("namespace", "default")
        involved = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "name": meta["name"]}
        involved |= {"namespace": namespace, "uid": meta["uid"]}
        involved |= {"fieldPath": field} if field else {}
        return {
            "metadata": {
                "name": f"{meta['name']}.{self.store.version:016x}",
                "namespace": namespace,
            },
            "involvedObject": involved,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": "",
        }


class Loop:
    """A thread that calls `step` after every change of the store, and at the latest after the
    seconds that `step` returned."""

    def __init__(self, store: Store, step: Callable[[], float], name: str) -> None:
        self.store, self.step = store, step
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        with self.store.condition:
            self.store.condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _changed(self, seen: int) -> bool:
        return self._stop.is_set() or self.store.version != seen

    def _run(self) -> None:
        seen, wait = -1, 0.0
        while not self._stop.is_set():
            with self.store.condition:
                self.store.condition.wait_for(functools.partial(self._changed, seen), wait)
                seen = self.store.version
            try:
                wait = self.step()
            except Exception:  # one bad object must not end the control loop
                log.exception("control loop %s", self._thread.name)
                wait = 1.0
            self._stop.wait(SETTLE)
