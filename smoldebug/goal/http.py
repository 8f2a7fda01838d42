"""http and tcp: does it answer, and with what?"""

import os
import socket
from functools import partial
from urllib.parse import SplitResult, urlsplit

from smoldebug.errors import AccessDenied, NotFound, ToolError, UnreachableError, UsageError
from smoldebug.goal.check import Check, Measured, Setting, met, not_met
from smoldebug.playbook.models import HttpCheck, TcpCheck
from smoldebug.records import ObjectRef
from smoldebug.sources.http import service_of
from smoldebug.sources.network import why
from smoldebug.sources.world import World
from smoldebug.untrusted import one_line


def http(check: HttpCheck, setting: Setting) -> Check:
    parts = _parts(check.url)
    statuses = check.status if isinstance(check.status, list) else [check.status]
    path = parts.path or "/"
    label = f"http {path} = {' or '.join(map(str, statuses))}"
    if check.contains:
        label += f" with {one_line(check.contains, 30)!r}"
    return Check(label, "http", partial(_get, check, statuses, setting.world), check.url)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass  # a port that is no number, an address that is none
    raise UsageError(f"not a url like http://name.namespace.svc:8080/path: {url!r}")


def _get(check: HttpCheck, statuses: list[int], world: World, sample: int) -> Measured:
    try:
        reply = world.http.get(check.url, timeout=check.timeout, sample=sample)
    except AccessDenied:
        raise
    except UnreachableError as error:
        see_cluster(check.url, world)
        return not_met(str(error))
    says = f"{reply.status} in {reply.seconds:.2g} s"
    if reply.status not in statuses:
        return not_met(says, reply.status, route=reply.route)
    if check.contains not in reply.body:
        body = one_line(reply.body, 60) or "an empty body"
        return not_met(f"{says}, but the body says: {body}", reply.status, route=reply.route)
    return met(says, reply.status, route=reply.route)


def see_cluster(url: str, world: World) -> None:
    """Tell a service that is down from a cluster we cannot see: raise what the cluster raises."""
    service = service_of(url)
    if service is None or not world.has_cluster:
        return
    try:
        world.cluster.get(ObjectRef("Namespace", "", service.namespace))
    except (AccessDenied, NotFound):
        return  # it answers


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
