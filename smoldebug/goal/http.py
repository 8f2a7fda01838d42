"""http and tcp: does it answer, and with what?"""

import os
import socket
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

from smoldebug.errors import AccessDenied, NotFound, ToolError, UnreachableError, UsageError
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.goal.reading import NONE, dig, ref_of
from smoldebug.goal.seen import Seen
from smoldebug.goal.services import Service
from smoldebug.playbook.models import HttpCheck, TcpCheck
from smoldebug.records import ObjectRef
from smoldebug.signals.objects import selects
from smoldebug.sources.http import service_of
from smoldebug.sources.network import why
from smoldebug.sources.world import Object, Reply, World
from smoldebug.untrusted import one_line


def http(check: HttpCheck, setting: Setting) -> Check:
    service, path = setting.service, check.path or _parts(check.url).path or "/"
    if check.path and service is None:
        raise UsageError("an http check with a path needs goal.each_service; without, it takes url")
    label = f"http {path} = {' or '.join(map(str, _statuses(check)))}"
    if check.contains:
        label += f" with {one_line(check.contains, 30)!r}"
    if service is not None and check.path:
        return Check(label, "http", _Row(check, setting, service), str(service.ref))
    return Check(label, "http", partial(_get, check, setting.world), check.url)


def _statuses(check: HttpCheck) -> list[int]:
    return check.status if isinstance(check.status, list) else [check.status]


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass  # a port that is no number, an address that is none
    raise UsageError(f"not a url like http://name.namespace.svc:8080/path: {url!r}")


def _get(check: HttpCheck, world: World, sample: int) -> Measured:
    try:
        reply = world.http.get(check.url, timeout=check.timeout, sample=sample)
    except AccessDenied:
        raise
    except UnreachableError as error:
        if service := service_of(check.url):
            see_cluster(service.namespace, world)
        return not_met(str(error))
    return _judged(check, reply)


def _judged(check: HttpCheck, reply: Reply) -> Measured:
    says = f"{reply.status} in {reply.seconds:.2g} s"
    if reply.status not in _statuses(check):
        return not_met(says, reply.status, route=reply.route)
    if check.contains not in reply.body:
        body = one_line(reply.body, 60) or "an empty body"
        return not_met(f"{says}, but the body says: {body}", reply.status, route=reply.route)
    return met(says, reply.status, route=reply.route)


def see_cluster(namespace: str, world: World) -> None:
    """Tell a service that is down from a cluster we cannot see: raise what the cluster raises."""
    if not world.has_cluster:
        return
    try:
        world.cluster.get(ObjectRef("Namespace", "", namespace))
    except (AccessDenied, NotFound):
        return  # it answers


# --- each service ---------------------------------------------------------------------------


class _Row:
    """Asks one ready pod after the other, through the API server."""

    def __init__(self, check: HttpCheck, setting: Setting, service: Service) -> None:
        self.check, self.setting, self.service = check, setting, service
        self.asked = 0

    def __call__(self, sample: int) -> Measured | None:
        service = self.service
        if service.idle:
            return None
        port = port_of(self.check.port, service, self.setting.seen)
        if port is None:
            if self.check.skip:
                return None
            wanted = "" if self.check.port == "auto" else f" {self.check.port}"
            return inconclusive(f"it has no HTTP port{wanted}")
        if waits := service.rollout.waits:
            pending = self.setting.patient and not service.rollout.stuck
            return not_met(f"not asked before its rollout is complete: {waits}", pending=pending)
        ready = [pod for pod in service.pods if _ready(pod)]
        if not ready:
            return not_met("no pod is ready")
        pod, self.asked = ready[self.asked % len(ready)], self.asked + 1
        return self._ask(ref_of(pod, "Pod"), *port)

    def _ask(self, pod: ObjectRef, scheme: str, port: int) -> Measured:
        called, world = ObjectRef("Pod", pod.namespace, pod.name), self.setting.world
        if scheme == "https":
            called = ObjectRef("Pod", pod.namespace, f"https:{pod.name}")
        try:
            reply = world.cluster.proxy(called, port, self.check.path, self.check.timeout)
        except AccessDenied:
            raise
        except (UnreachableError, NotFound) as error:
            see_cluster(pod.namespace, world)
            return not_met(str(error), subject=str(pod))
        return replace(_judged(self.check, reply), subject=str(pod))


def port_of(wanted: int | str, service: Service, seen: Seen) -> tuple[str, int] | None:
    """(scheme, port) at which a workload's pods speak HTTP; None where nothing says that they do.

    `auto` is the port of a readiness probe by HTTP, else what a Service of theirs calls http or
    web, else where it takes 80 or 8080.
    """
    template: Object = dig(service.item, "spec", "template", default={})
    containers: list[Any] = dig(template, "spec", "containers", default=[])
    probes: list[Object] = [
        dig(each, "readinessProbe", "httpGet", default={}) for each in containers
    ]
    scheme = "https" if any(dig(p, "scheme", default="") == "HTTPS" for p in probes) else "http"
    if wanted != "auto":
        number = _number(wanted, containers)
        return (scheme, number) if number else None
    for probe in probes:
        if number := _number(probe.get("port"), containers):
            return dig(probe, "scheme", default="HTTP").lower(), number
    labels: Object = dig(template, "metadata", "labels", default={})
    found = [
        (rank, number)
        for item in seen.list("Service", service.ref.namespace)
        if selects(dig(item, "spec", "selector", default={}), labels)
        for port in dig(item, "spec", "ports", default=NONE)
        if (rank := _rank(port)) is not None and (number := _number(_target(port), containers))
    ]
    return (scheme, min(found)[1]) if found else None


def _number(port: Any, containers: list[Any]) -> int:
    """A port, or the one that a container calls so; 0 for none."""
    if isinstance(port, int):
        return port
    for container in containers:
        for each in dig(container, "ports", default=NONE):
            if dig(each, "name", default="") == port and port:
                return dig(each, "containerPort", default=0)
    return int(port) if isinstance(port, str) and port.isdecimal() else 0


def _rank(port: Any) -> int | None:
    """Which of a Service's ports is rather the one for HTTP; None: not this one."""
    name, number = dig(port, "name", default=""), dig(port, "port", default=0)
    order = ("http", "web", 80, 8080)
    return next((order.index(each) for each in (name, number) if each in order), None)


def _target(port: Any) -> Any:
    return port.get("targetPort") or port.get("port")


def _ready(pod: Object) -> bool:
    conditions: list[Any] = dig(pod, "status", "conditions", default=[])
    known = [(dig(c, "type", default=""), dig(c, "status", default="")) for c in conditions]
    leaving = dig(pod, "metadata", "deletionTimestamp", default="")
    return ("Ready", "True") in known and not leaving


def tcp(check: TcpCheck, setting: Setting) -> Check:
    where = f"{check.host}:{check.port}"
    return Check(f"tcp {where}", "tcp", partial(_connect, check), where)


def _connect(check: TcpCheck, sample: int) -> Measured:
    if service_of(f"tcp://{check.host}") and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise ToolError(f"only an http check reaches it from outside the cluster: {check.host}")
    try:
        socket.create_connection((check.host, check.port), check.timeout).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
        return not_met(why(error))
    return met("accepts connections")
