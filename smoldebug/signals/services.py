"""Services that cannot answer, and workloads that call an address which no Service has.

Who calls whom is read from the environment and arguments of the workloads, and from the ConfigMaps
their environment names. Secrets are not read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from smoldebug.records import Fact
from smoldebug.signals.objects import (
    Object,
    containers,
    environment,
    meta,
    name,
    ref,
    selects,
    spec,
    status,
    template,
    wanted,
)
from smoldebug.signals.times import when
from smoldebug.untrusted import one_line

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
STARTING_SECONDS = 60.0  # in which a pod that is not ready is no emergency
LONGEST = 4000  # characters of one setting that are searched for addresses

_NO_TIME = datetime.min.replace(tzinfo=UTC)  # who calls whom is no question of time

Key = tuple[str, str]  # namespace, name of a Service

# A host where an address can begin, after // or @ or at the start of a list item, and its port
_ADDRESS = re.compile(
    r"(?:(?P<url>//|@)|(?:^|(?<=[\s,;=])))"
    r"(?P<host>[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*)(?::(?P<port>\d{1,5}))?(?=[/?,;\s]|$)"
)
_HOST_SETTING = re.compile(r"HOST|ADDR|URL|URI|ENDPOINT|SERVER|BROKER", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """An address in the settings of a workload that wants pods."""

    caller: Object
    setting: str
    service: Key
    port: int = 0  # 0: the address has none
    qualified: bool = False  # written as NAME.NAMESPACE.svc

    def __str__(self) -> str:
        return f"{ref(self.caller)} calls it ({self.setting})"


def red_services(objects: Mapping[str, Sequence[Object]], now: datetime) -> Iterator[Fact]:
    """Services by their pods and EndpointSlices, then calls that reach none of their ports."""
    seen = _Seen(objects, now)
    for key in sorted({*seen.ready, *seen.services}):
        if found := seen.wrong_port(key) or seen.unanswered(key):
            severity, text = found
            where = f"Service/{key[0]}/{key[1]}"
            yield Fact(f"{where}: {text}", where, None, severity)
    yield from seen.calls_in_vain()


def call_graph(objects: Mapping[str, Sequence[Object]]) -> dict[str, set[str]]:
    """Which workload calls which others (`Deployment/shop/auth`), by the addresses of Services in
    its settings and in the ConfigMaps that it mounts."""
    seen = _Seen(objects, _NO_TIME)
    found: dict[str, set[str]] = {}
    for call in (*seen.calls, *seen.mounted_calls()):
        caller = str(ref(call.caller))
        called = {str(ref(item)) for item in seen.behind(call.service)}
        found.setdefault(caller, set()).update(called - {caller})
    return {caller: called for caller, called in found.items() if called}


class _Seen:
    """The objects of a first card, seen from their Services."""

    def __init__(self, objects: Mapping[str, Sequence[Object]], now: datetime) -> None:
        self.objects, self.now = objects, now
        self.services = {_key(item): item for item in objects.get("Service", ())}
        self.workloads = [item for kind in WORKLOADS for item in objects.get(kind, ())]
        self.configs = {_key(item): item.get("data") or {} for item in objects.get("ConfigMap", ())}

    @cached_property
    def ready(self) -> dict[Key, int]:
        """Ready endpoints of each Service that has an EndpointSlice."""
        found: dict[Key, int] = {}
        for item in self.objects.get("EndpointSlice", ()):
            service = (meta(item).get("labels") or {}).get("kubernetes.io/service-name")
            if service:
                key = (_key(item)[0], str(service))
                found[key] = found.get(key, 0) + sum(
                    (endpoint.get("conditions") or {}).get("ready") is not False
                    for endpoint in item.get("endpoints") or []
                )
        return found

    @cached_property
    def calls(self) -> list[Call]:
        return [
            call
            for item in self.workloads
            if wanted(item) > 0
            for setting, text in self._settings(item)
            for call in addresses(item, setting, text[:LONGEST])
        ]

    def _settings(self, workload: Object) -> Iterator[tuple[str, str]]:
        for container in containers(template(workload)):
            for text in (*(container.get("command") or []), *(container.get("args") or [])):
                yield "arguments", str(text)
            yield from environment(container, lambda source: self._config(workload, source))

    def _config(self, workload: Object, source: Object) -> Object:
        return self.configs.get((_key(workload)[0], str(source.get("name"))), {})

    def mounted_calls(self) -> Iterator[Call]:
        """Addresses in files: any text may stand there, so only names of Services count."""
        for item in self.workloads:
            for volume in template(item).get("volumes") or []:
                source = (volume or {}).get("configMap") or {}
                for key, text in self._config(item, source).items():
                    unquoted = re.sub("[\"']", " ", str(text)[:LONGEST])
                    yield from addresses(item, f"{source.get('name')} {key}", unquoted)

    def called(self, key: Key) -> Call | None:
        """A call of that Service by another workload than its own."""
        own = self.behind(key)
        return next((c for c in self.calls if c.service == key and c.caller not in own), None)

    def behind(self, key: Key) -> list[Object]:
        """The workloads whose pods a Service selects; by its name where it could not be read."""
        service = self.services.get(key)
        return [
            item
            for item in self.workloads
            if _key(item)[0] == key[0]
            and (
                selects(spec(service).get("selector"), _template_labels(item))
                if service
                else name(item) == key[1]
            )
        ]

    @cached_property
    def _labelled(self) -> dict[tuple[str, str, str], list[Object]]:
        """Pods by namespace and each of their labels: thousands are not searched per Service."""
        found: dict[tuple[str, str, str], list[Object]] = {}
        for pod in self.objects.get("Pod", ()):
            if not meta(pod).get("deletionTimestamp"):
                for label, value in (meta(pod).get("labels") or {}).items():
                    found.setdefault((_key(pod)[0], label, value), []).append(pod)
        return found

    def pods(self, key: Key) -> list[Object]:
        """The pods a Service selects, without those that are being deleted."""
        selector = spec(self.services.get(key, {})).get("selector") or {}
        groups = [self._labelled.get((key[0], *pair), []) for pair in selector.items()]
        fewest = min(groups, key=len, default=[])
        return [pod for pod in fewest if selects(selector, meta(pod).get("labels"))]

    # --- what is wrong with a Service: (severity, text) -----------------------------------------

    def unanswered(self, key: Key) -> tuple[str, str] | None:
        """None of its endpoints is ready, although it should have some."""
        service, says = self.services.get(key), "no ready endpoints"
        if self.ready.get(key) != 0 or (service and not has_pods(service)):
            return None
        own, pods = self.behind(key), self.pods(key)
        if own and not any(map(wanted, own)):
            if call := self.called(key):
                return "critical", f"{says}: {ref(own[0])} is scaled to zero, and {call}"
            return "info", f"{says} (its workload is scaled to zero)"
        if pods and not own and all(_finished(pod) for pod in pods):
            return None  # of a Job that is done
        awaited = [pod for pod in pods if not _finished(pod)] or own
        starting = bool(awaited) and all(map(self._young, awaited))
        return "warning" if starting else "critical", says

    def _young(self, item: Object) -> bool:
        made = when(meta(item).get("creationTimestamp"))
        return made is not None and self.now - made < timedelta(seconds=STARTING_SECONDS)

    def wrong_port(self, key: Key) -> tuple[str, str] | None:
        """Its targetPorts are no container ports of its pods."""
        service, pods = self.services.get(key, {}), self.pods(key)
        unfit = [target_port(port) for port in unserved(service, pods)]
        if not unfit:
            return None
        call = self.called(key)
        named = all(isinstance(target, str) for target in unfit)
        fatal = len(unfit) == len(_ports(service)) and (call or named)
        shown = ", ".join(map(_port, container_ports(pods))) or "none"
        text = f"targetPort {unfit[0]} is no container port of its pods ({shown})"
        return "critical" if fatal else "warning", f"{text}; {call}" if call else text

    # --- calls ----------------------------------------------------------------------------------

    def calls_in_vain(self) -> Iterator[Fact]:
        """Addresses whose Service has not that port, or that no Service has."""
        told: set[tuple[str, str]] = set()
        for call in self.calls:
            where, found = str(ref(call.caller)), self._in_vain(call)
            if found and (where, call.setting) not in told:
                told.add((where, call.setting))
                severity, text = found
                yield Fact(f"{where}: {call.setting} names {text}", where, None, severity)

    def _in_vain(self, call: Call) -> tuple[str, str] | None:
        namespace, called = call.service
        service = self.services.get(call.service)
        if service is None:
            here = namespace == _key(call.caller)[0] and "Service" in self.objects
            text = f"{called}.{namespace}.svc, and there is no such Service"
            return ("warning", text) if here and call.qualified else None
        if answers(service, call):
            return None
        listed = ", ".join(str(port.get("port")) for port in _ports(service))
        return "critical", f"{called}:{call.port}, but {ref(service)} has port {listed}"


def unserved(service: Object, pods: Sequence[Object]) -> list[Object]:
    """The ports of a Service whose targetPort is no container port of its pods.

    A port number need not be declared, so it counts only where all containers declare theirs and
    the Service has no other port that fits.
    """
    apps = _containers(pods)
    if not apps or not has_pods(service) or spec(service).get("clusterIP") == "None":
        return []
    fields = ("name", "containerPort")
    known = {port.get(field) for port in container_ports(pods) for field in fields}
    missing = [port for port in _ports(service) if target_port(port) not in known]
    if len(missing) == len(_ports(service)) and all(app.get("ports") for app in apps):
        return missing
    return [port for port in missing if isinstance(target_port(port), str)]


def target_port(port: Object) -> int | str:
    found: int | str = port.get("targetPort", port.get("port"))
    return found


def container_ports(pods: Iterable[Object]) -> list[Object]:
    """The ports that the containers of those pods that are not finished declare."""
    return [port for app in _containers(pods) for port in app.get("ports") or []]


def _containers(pods: Iterable[Object]) -> list[Object]:
    return [c for pod in pods if not _finished(pod) for c in containers(spec(pod))]


def answers(service: Object, call: Call) -> bool:
    """Whether a Service has the port of an address; nobody can tell where the address has none or
    reaches the pods themselves."""
    ports = [port.get("port") for port in _ports(service)]
    if not call.port or not ports or call.port in ports or not has_pods(service):
        return True
    here = _key(call.caller)[0] == call.service[0]
    own = here and selects(spec(service).get("selector"), _template_labels(call.caller))
    return own or spec(service).get("clusterIP") == "None"


def _key(item: Object) -> Key:
    return str(meta(item).get("namespace") or ""), name(item)


def _template_labels(workload: Object) -> Mapping[str, str] | None:
    labels: Mapping[str, str] | None = meta(spec(workload).get("template") or {}).get("labels")
    return labels


def has_pods(service: Object) -> bool:
    """Whether pods are to answer for it: not for an alias or hand-made endpoints."""
    own = spec(service)
    return bool(own.get("selector")) and own.get("type") != "ExternalName"


def _ports(service: Object) -> Sequence[Object]:
    return spec(service).get("ports") or ()


def _finished(pod: Object) -> bool:
    return status(pod).get("phase") in ("Succeeded", "Failed")


def _port(port: Object) -> str:
    called = f"{port['name']} " if port.get("name") else ""
    return one_line(f"{called}{port.get('containerPort')}", 40)


def addresses(caller: Object, setting: str, text: str) -> Iterator[Call]:
    """Hosts that may be Services. One without a dot is in the caller's namespace, and counts only
    where something says that it is a host: a URL, a port or the setting's name."""
    for match in _ADDRESS.finditer(text):
        called, *rest = match["host"].split(".")
        if not rest and not (match["url"] or match["port"] or _HOST_SETTING.search(setting)):
            continue
        namespace = rest[0] if rest else _key(caller)[0]
        if rest[1:2] not in ([], ["svc"]):
            continue
        port = int(match["port"] or 0)
        yield Call(caller, one_line(setting, 60), (namespace, called), port, rest[1:2] == ["svc"])
