"""The endpoints controllers: which pods stand behind a Service, as Endpoints and EndpointSlice.

What belongs to a Service without a selector is written by hand and left alone.
"""

from typing import Any

from smoldebug.lab.objects import (
    ENDPOINTS,
    MANAGER,
    NODE,
    PODS,
    SERVICES,
    SLICES,
    change_object,
    controller_of,
    is_active,
    is_ready,
    owner_reference,
)
from smoldebug.lab.store import ApiError, Store
from smoldebug.sources.world import Object

OF_SERVICE = "kubernetes.io/service-name"
_Ports = tuple[tuple[str, int, str], ...]  # name, number, protocol


class EndpointsController:
    def __init__(self, store: Store) -> None:
        self.store = store

    def step(self) -> float:
        pods, _ = self.store.scan(PODS)
        for service in self.store.scan(SERVICES)[0]:
            selector = service["spec"].get("selector")
            if selector:
                chosen = [pod for pod in pods if _selects(service, selector, pod)]
                self._reconcile(service, chosen)
        return 30.0

    def _reconcile(self, service: Object, pods: list[Object]) -> None:
        groups: dict[_Ports, list[Object]] = {}
        for pod in pods:
            groups.setdefault(_ports(service, pod), []).append(pod)
        self._write_endpoints(service, groups)
        self._write_slices(service, groups)

    def _write_endpoints(self, service: Object, groups: dict[_Ports, list[Object]]) -> None:
        meta = service["metadata"]
        subsets = []
        for ports, pods in groups.items():
            ready = [_address(pod) for pod in pods if is_ready(pod)]
            waiting = [_address(pod) for pod in pods if not is_ready(pod)]
            subset: Object = {"addresses": ready} if ready else {}
            subset |= {"notReadyAddresses": waiting} if waiting else {}
            subsets.append(subset | {"ports": _port_objects(ports)})
        new = {
            "metadata": {
                "name": meta["name"],
                "labels": meta.get("labels") or {},
                "ownerReferences": [owner_reference(service)],
            },
            "subsets": subsets,
        }
        self._put(ENDPOINTS, meta["namespace"], meta["name"], new)

    def _write_slices(self, service: Object, groups: dict[_Ports, list[Object]]) -> None:
        meta = service["metadata"]
        present = [
            s["metadata"]["name"]
            for s in self.store.scan(SLICES, meta["namespace"])[0]
            if controller_of(s) == meta["uid"]
        ]
        wanted = groups or {(): []}
        for ports, pods in wanted.items():
            new = {
                "metadata": {
                    "generateName": meta["name"] + "-",
                    "labels": {
                        **(meta.get("labels") or {}),
                        OF_SERVICE: meta["name"],
                        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    },
                    "ownerReferences": [owner_reference(service)],
                },
                "addressType": "IPv4",
                "endpoints": [_endpoint(pod) for pod in pods],
                "ports": _port_objects(ports),
            }
            self._put(SLICES, meta["namespace"], present.pop(0) if present else "", new)
        for name in present:
            self.store.delete(SLICES, meta["namespace"], name)

    def _put(self, kind: Any, namespace: str, name: str, new: Object) -> None:
        """Create the object, or bring the one of that name up to date."""

        def change(current: Object) -> Object:
            labels = new["metadata"]["labels"]
            rest = {k: v for k, v in new.items() if k != "metadata"}
            return {**current, **rest, "metadata": {**current["metadata"], "labels": labels}}

        try:
            if name:
                at = {"metadata": {"namespace": namespace, "name": name}}
                change_object(self.store, kind, at, change)
                return
        except ApiError as error:
            if error.code != 404:
                raise
        self.store.create(kind, namespace, new, manager=MANAGER)


def _selects(service: Object, selector: dict[str, str], pod: Object) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return (
        pod["metadata"]["namespace"] == service["metadata"]["namespace"]
        and selector.items() <= labels.items()
        and is_active(pod)
        and bool((pod.get("status") or {}).get("podIP"))
    )


def _ports(service: Object, pod: Object) -> _Ports:
    """The Service's ports as this pod serves them; a named one it does not have is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        target = port["targetPort"]
        if isinstance(target, str):
            target = _named_port(pod, target)
        if target:
            found.append((port.get("name", ""), int(target), port["protocol"]))
    return tuple(found)


def _named_port(pod: Object, name: str) -> int | None:
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == name:
                return int(port["containerPort"])
    return None


def _port_objects(ports: _Ports) -> list[Object]:
    return [
        {"port": number, "protocol": protocol} | ({"name": name} if name else {})
        for name, number, protocol in ports
    ]


def _target(pod: Object) -> Object:
    meta = pod["metadata"]
    return {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}


def _address(pod: Object) -> Object:
    return {"ip": pod["status"]["podIP"], "nodeName": NODE, "targetRef": _target(pod)}


def _endpoint(pod: Object) -> Object:
    ready = is_ready(pod)
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": NODE,
        "targetRef": _target(pod),
    }
