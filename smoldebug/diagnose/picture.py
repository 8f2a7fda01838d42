"""What the rules may know: the run's brief, and evidence read as Kubernetes objects and log lines.

Only typed data is read here, never a model's text. A name found in a log line counts only when an
object of that name was seen too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from smoldebug.evidence import EvidenceStore
from smoldebug.records import ChangeKind, Evidence, Json, ObjectRef, Quote
from smoldebug.signals.objects import (
    Object,
    condition,
    containers,
    environment,
    meta,
    name,
    selects,
    spec,
    template,
)


@dataclass(frozen=True, slots=True)
class Brief:
    """What the expert is told of a run: where to look and what may be changed."""

    namespace: str = ""
    targets: tuple[ObjectRef, ...] = ()  # workloads and Services the goal is about
    urls: tuple[str, ...] = ()  # that the goal expects to answer
    tools: frozenset[str] = frozenset()
    allowed: frozenset[ChangeKind] = frozenset()
    max_factor: float = 3.0
    max_replicas: int = 20
    servers: tuple[str, ...] = ()  # local servers of the playbook
    kinds: frozenset[str] = frozenset()  # that may be read; empty: all
    traffic: bool = False  # the goal measures answers, errors or latency


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call the expert wants to make."""

    tool: str
    arguments: Mapping[str, Json] = field(default_factory=dict)

    def key(self) -> str:
        return f"{self.tool} {sorted(self.arguments.items())}"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a rule makes of the evidence so far."""

    claim: str
    subject: ObjectRef | None = None
    fault: str = ""
    supports: tuple[Quote, ...] = ()
    contradicts: tuple[Quote, ...] = ()
    confirmed: bool = False
    ruled_out: bool = False
    needs: tuple[Call, ...] = ()  # what would decide it, most telling first
    remedy: Call | None = None
    because: str = ""  # one sentence for the operator


@dataclass(frozen=True, slots=True)
class Line:
    """A log line with where it was read and how often its shape occurred."""

    text: str
    count: int
    level: str
    evidence: str
    pod: str = ""

    def quote(self) -> Quote:
        return Quote(self.evidence, self.text)


class Picture:
    """Evidence since the last change, as objects and lines."""

    def __init__(self, evidence: EvidenceStore, brief: Brief, fresh_after: int = 0) -> None:
        """`fresh_after`: evidence numbers up to it describe the world before the last change."""
        self.evidence, self.brief, self._fresh_after = evidence, brief, fresh_after

    def fresh(self, tool: str, **arguments: Json) -> Evidence | None:
        """The newest evidence of that call, unless a change has made it stale."""
        found = self.evidence.latest(tool, **arguments)
        return found if found and int(found.id[1:]) > self._fresh_after else None

    # --- objects ----------------------------------------------------------------------------

    def objects(self, kind: str) -> list[Object]:
        found = self.fresh("get", kind=kind, namespace=self.brief.namespace)
        data = found.observation.data if found else None
        items = data.get("objects", []) if isinstance(data, dict) else []
        return [item for item in items if isinstance(item, dict)]

    def read(self, *kinds: str) -> tuple[Call, ...]:
        """Calls that read those kinds in the run's namespace, as far as they may be read."""
        may = self.brief.kinds or frozenset(kinds)
        where = self.brief.namespace
        return tuple(
            Call("get", {"kind": kind, "namespace": where})
            for kind in kinds
            if where and kind in may
        )

    def at_first(self, kind: str, called: str) -> Object | None:
        """An object as it was before this run changed anything."""
        for found in self.evidence.of("get"):
            data = found.observation.data
            if found.arguments.get("kind") == kind and isinstance(data, dict):
                objects = data.get("objects", [])
                return next((item for item in objects if name(item) == called), None)
        return None

    def logs(self, workload: str, since: str = "") -> Call:
        """The call that reads a Deployment's logs; after a change only what came since."""
        target = {"target": f"deployment/{workload}", "namespace": self.brief.namespace}
        since = "20s" if self._fresh_after else since
        return Call("fetch_logs", {**target, "since": since} if since else target)

    def on_first_card(self, about: str) -> list[Quote]:
        """Lines of the first card about an object: why it is red, and what changed on it."""
        found = self.fresh("first_card")
        lines = found.observation.text.splitlines() if found else []
        return [
            Quote(found.id if found else "", line.removeprefix("- "))
            for line in lines
            if line.startswith("- ") and re.search(rf"(?<![\w-]){re.escape(about)}(?![\w-])", line)
        ]

    def first_red(self) -> str:
        """The first red light of the first card, "" when nothing is red."""
        found = self.evidence.latest("first_card")
        _, _, red = found.observation.text.partition("red now:\n") if found else ("", "", "")
        line = red.partition("\n")[0].removeprefix("- ")
        return "" if line == "nothing seen" else line

    def row(self, kind: str, called: str) -> Quote | None:
        """The line of the object's table that shows it, for quoting."""
        found = self.fresh("get", kind=kind, namespace=self.brief.namespace)
        for line in found.observation.text.splitlines() if found else []:
            if line.split()[:1] == [called]:
                return Quote(found.id if found else "", line.strip())
        return None

    def deployment(self, called: str) -> Object | None:
        return next((item for item in self.objects("Deployment") if name(item) == called), None)

    def behind(self, service: str) -> Object | None:
        """The Deployment whose pods a Service selects."""
        for item in self.objects("Service"):
            selector = spec(item).get("selector") or {}
            if name(item) != service or not selector:
                continue
            for deployment in self.objects("Deployment"):
                if selects(selector, labels(spec(deployment).get("template") or {})):
                    return deployment
        return None

    def target_deployments(self) -> list[Object]:
        """The Deployments the goal is about; all of the namespace when it names none."""
        found = []
        for ref in self.brief.targets:
            item = self.behind(ref.name) if ref.kind == "Service" else self.deployment(ref.name)
            if item is not None and item not in found:
                found.append(item)
        return found or (self.objects("Deployment") if not self.brief.targets else [])

    def services_in_question(self) -> list[Object]:
        """The Services of the targets and of what they depend on; all when there is no target."""
        wanted = {ref.name for ref in self.brief.targets}
        for deployment in self.target_deployments():
            wanted.update(self.dependencies(deployment))
        found = self.objects("Service")
        return [item for item in found if name(item) in wanted or not self.brief.targets]

    def in_question(self) -> list[Object]:
        """The targets and the Deployments behind what they depend on."""
        found = self.target_deployments()
        for item in list(found):
            behind = [self.behind(service) for service in self.dependencies(item)]
            found += [each for each in behind if each is not None and each not in found]
        return found

    def dependencies(self, deployment: Object) -> list[str]:
        """Services that a Deployment's environment names: typed edges of the call graph."""
        values = [
            value
            for container in containers(template(deployment))
            for _, value in environment(container, self.config)
        ]
        hosts = {host for value in values for host in _hosts(value)}
        services = [name(service) for service in self.objects("Service")]
        return [known for known in services if known in hosts and known != name(deployment)]

    def config(self, reference: Object) -> Mapping[str, Json]:
        """The data of the ConfigMap that a container's environment refers to, as far as read."""
        for item in self.objects("ConfigMap"):
            if name(item) == reference.get("name"):
                return item.get("data") or {}
        return {}

    def pods(self, deployment: Object) -> list[Object]:
        selector = (spec(deployment).get("selector") or {}).get("matchLabels")
        return [pod for pod in self.objects("Pod") if selects(selector, labels(pod))]

    def hpa(self, deployment: Object) -> Object | None:
        for item in self.objects("HorizontalPodAutoscaler"):
            target = spec(item).get("scaleTargetRef") or {}
            if (target.get("kind"), target.get("name")) == ("Deployment", name(deployment)):
                return item
        return None

    # --- logs -------------------------------------------------------------------------------

    def lines(self, workload: str) -> list[Line]:
        """One line per log shape of a Deployment, most frequent first."""
        found = self.fresh("fetch_logs", target=f"deployment/{workload}")
        data = found.observation.data if found else None
        shapes = data.get("shapes", []) if isinstance(data, dict) else []
        return [
            Line(
                shape["last"],
                shape["count"],
                shape.get("level") or "",
                found.id if found else "",
                shape.get("pod") or "",
            )
            for shape in shapes
        ]


def labels(item: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = meta(item).get("labels") or {}
    return found


def ready(pod: Object) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def ref_of(item: Object, kind: str) -> ObjectRef:
    """Objects of a list carry no kind of their own."""
    return ObjectRef(kind, str(meta(item).get("namespace") or ""), name(item))


def _hosts(value: str) -> Iterator[str]:
    """First labels of the host names in an environment value: a URL or host:port."""
    for word in re.split(r"[\s,;]+", value):
        host = urlsplit(word if "//" in word else f"//{word}")
        try:
            words = host.hostname or ""
        except ValueError:  # brackets that are no IPv6 address
            continue
        if re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", words):
            yield words.split(".")[0]
