"""The smallest role a playbook can run under: `playbooks rbac`.

Each method of `_Parts` says what one part of smoldebug requests. tests/test_rbac.py records what
the parts really send, and fails on a request without a grant and on a grant without a request.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import yaml

from smoldebug.errors import UsageError
from smoldebug.goal.services import namespaces
from smoldebug.guard import plural
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.playbook.models import Check, Playbook, RunPlan
from smoldebug.playbook.rules import checks_of
from smoldebug.playbook.upgraderules import per_service
from smoldebug.preview.charts import Made, made_by
from smoldebug.records import OF_RELEASE, ChangeKind, Json
from smoldebug.signals import first_card
from smoldebug.sources import targets
from smoldebug.sources.http import service_of
from smoldebug.sources.kinds import KINDS, find, kind_name
from smoldebug.untrusted import one_line

K = TypeVar("K")
V = TypeVar("V")

API = "rbac.authorization.k8s.io"
READS = ("get", "list", "watch")
ROLLED_OUT = ("Deployment", "StatefulSet", "DaemonSet")
LOOKED_AT = (*ROLLED_OUT, "ReplicaSet", "Pod", "Event")  # of a rollout that is waited for
LOGGED = (*targets.BARE, "ReplicaSet")  # whose pods' logs may be asked for

_ACCOUNT = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/([a-z0-9][a-z0-9.-]{0,252})")
_PATTERN = re.compile(r"(?P<scheme>https?)://(?P<host>[^/:]*)(:(?P<port>[\d*]+))?(/.*)?")
_ONE_SERVICE = re.compile(r"(?P<name>[^.]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\.cluster\.local)?")
_SERVICES = (".svc", ".svc.cluster.local")


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One kind of request. Without a namespace in all of them, without a name for any object."""

    namespace: str
    group: str  # "*": a custom resource, whose group only its cluster knows
    resource: str  # with its subresource: pods/log
    verb: str
    name: str = ""


OWN, REVISIONS = "its own kind", "its earlier revisions"  # of a change's target
HISTORY = {
    "Deployment": "ReplicaSet",
    "StatefulSet": "ControllerRevision",
    "DaemonSet": "ControllerRevision",
}
PODS = (*ROLLED_OUT, "ReplicaSet", "Job", "Pod")  # what a disruption budget may select


@dataclass(frozen=True, slots=True)
class Requests:
    """What a kind of change requests. `on` are the kinds of object it is for; none: all. It sends
    `verbs` to its target (`sub` is a subresource). In the target's namespace it lists `finds` to
    be proposed, `sources` to see where a value is from, and budgets where it may `disrupt`."""

    on: tuple[str, ...] = ()
    finds: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    disrupts: bool = True
    verbs: tuple[str, ...] = ("get", "patch")
    sub: str = ""


_HPA, _NODE, _SERVICE = ("HorizontalPodAutoscaler",), ("Node",), ("Service",)
_WHOLE = ("create", "delete", "get")  # one of them is the other's undo
_CONTAINER = (REVISIONS, OWN)
_REFERENCES = (REVISIONS, OWN, "Service", "ConfigMap")
# Not Secrets, though a value may name one: a role that lists them reads them all. What names one
# that is used nowhere else is refused instead.
_ANYTHING = (*_REFERENCES, "PersistentVolumeClaim")
_CALLED = (OWN, *ROLLED_OUT)
CHANGES: Mapping[ChangeKind, Requests] = {
    ChangeKind.SCALE: Requests(("Deployment", "StatefulSet", "ReplicaSet"), finds=_HPA),
    ChangeKind.RESTART: Requests(ROLLED_OUT),
    ChangeKind.ROLLBACK: Requests(ROLLED_OUT, finds=(REVISIONS,), sources=(REVISIONS,)),
    ChangeKind.SET_REPLICAS_BOUNDS: Requests(_HPA),
    ChangeKind.SET_IMAGE: Requests(ROLLED_OUT, sources=_CONTAINER),
    ChangeKind.SET_ENV: Requests(ROLLED_OUT, sources=_REFERENCES),
    ChangeKind.SET_RESOURCES: Requests(ROLLED_OUT, sources=_CONTAINER),
    ChangeKind.SET_PROBE: Requests(ROLLED_OUT, sources=_CONTAINER),
    ChangeKind.SET_COMMAND: Requests(ROLLED_OUT, sources=_CONTAINER),
    ChangeKind.SET_CONFIG_KEY: Requests(("ConfigMap",), sources=(OWN, "Service")),
    ChangeKind.PATCH_SELECTOR: Requests(_SERVICE, finds=("Pod",), sources=_CALLED),
    ChangeKind.PATCH_PORT: Requests(_SERVICE, sources=_CALLED),
    ChangeKind.EDIT_NETWORKPOLICY: Requests(("NetworkPolicy",), sources=_CALLED),
    ChangeKind.SUSPEND: Requests(),
    ChangeKind.RESUME: Requests(),
    ChangeKind.PATCH_OBJECT: Requests(finds=_HPA, sources=_ANYTHING),
    ChangeKind.APPLY_OBJECT: Requests(finds=_HPA, sources=_ANYTHING),
    ChangeKind.CREATE_OBJECT: Requests(sources=_ANYTHING, disrupts=False, verbs=_WHOLE),
    ChangeKind.DELETE_OBJECT: Requests(verbs=_WHOLE),
    ChangeKind.CORDON: Requests(_NODE),
    ChangeKind.UNCORDON: Requests(_NODE),
    ChangeKind.ADD_TAINT: Requests(_NODE),
    ChangeKind.REMOVE_TAINT: Requests(_NODE),
    ChangeKind.LABEL_NODE: Requests(_NODE, sources=(OWN,)),
    ChangeKind.DEBUG_CONTAINER: Requests(("Pod",), sub="ephemeralcontainers"),
}

Charts = Mapping[tuple[str, str], Made]  # by (namespace of the release, chart)
Because = dict[Grant, list[str]]  # the parts that need it, in their order


def because(playbook: Playbook, made: Charts | None = None, *, read_only: bool = False) -> Because:
    """Every grant the playbook needs and what for; none is implied by another. `made` is what its
    charts would make; `read_only` leaves out what changes something."""
    found: Because = {}
    for part, grant in _Parts(playbook, made).grants():
        if not read_only or grant.verb in READS or grant.resource == "pods/exec":
            found.setdefault(grant, []).append(part)
    return without_implied(found)


def without_implied(found: Because) -> Because:
    """The same with no grant that another one makes superfluous."""
    kept: Because = {}
    for grant, parts in sorted(found.items()):
        widest = next((wide for wide in _wider(grant) if wide in found), grant)
        kept[widest] = list(dict.fromkeys((*kept.get(widest, ()), *found[widest], *parts)))
    return kept


def _wider(grant: Grant) -> Iterator[Grant]:
    """Grants that make this one superfluous, the widest first."""
    for namespace in ("", grant.namespace):
        for name in ("", grant.name):
            yield Grant(namespace, grant.group, grant.resource, grant.verb, name)


# --- the parts ------------------------------------------------------------------------------


class _Parts:
    def __init__(self, playbook: Playbook, made: Charts | None = None) -> None:
        self._playbook, self._tools, self._charts = playbook, playbook.tools, made or {}
        self._spaces = playbook.scope.namespaces or [""]
        read = playbook.tools.kubectl.read if playbook.tools.kubectl else []
        everything = [kind.plural for kind in KINDS if kind.plural != "secrets"]
        self._readable = list(dict.fromkeys(plural(kind) for kind in read)) or everything
        self._checks = list(checks_of([*playbook.goal.all, *playbook.goal.any]))

    def grants(self) -> Iterator[tuple[str, Grant]]:
        reached = [*self.goal(), *self.metrics()]
        if not (reached or self._tools.logs or self._tools.kubectl or self._playbook.steps):
            return  # it speaks to no cluster
        for part, needs in PARTS.items():
            yield from ((part, grant) for grant in needs(self))

    def cluster(self) -> Iterator[Grant]:
        """Which cluster is it? An approval binds a change to it."""
        yield Grant("", "", "namespaces", "get", "kube-system")

    def namespaces(self) -> Iterator[Grant]:
        """Does it exist? Asked before a run, and to tell an empty namespace from a wrong one."""
        for space in filter(None, self._spaces):
            yield Grant(space, "", "namespaces", "get", space)

    def goal(self) -> Iterator[Grant]:
        for check in self._checks:
            yield from self._objects(check)
            if check.http and (service := service_of(check.http.url)):
                yield from _routes(check.http.url)
                space = service.namespace
                yield Grant(space, "", "namespaces", "get", space)  # is it down, or the cluster?
            if check.rollout:
                yield from self._rollout(check.rollout.target)
            if check.restarts:
                yield from self._restarts(check.restarts.target)
            if check.logs and check.logs.target:
                yield from _on_target(check.logs.target, self._spaces, "get")
            yield from self._looked_at(check)
        yield from self._services()

    def _services(self) -> Iterator[Grant]:
        """Which ones each_service means, and the port that a check of their HTTP takes."""
        block = self._playbook.goal.each_service
        if block and block.from_release:
            space = block.from_release.rpartition("/")[0] or self._spaces[0]
            yield from _on("Secret", space, "get", "list")  # where Helm keeps it
        paths = [check.http for check in self._checks if check.http and check.http.path]
        for space in self._rows_in() if block and paths else ():
            yield from _on("Service", space, "list")
            yield from _on("Pod", space, "get", sub="proxy")
            yield Grant(space, "", "namespaces", "get", space)  # is it down, or the cluster?

    def _looked_at(self, check: Check) -> Iterator[Grant]:
        """Pods and what makes them, where a check waits for them; with steps they are watched."""
        steps, row = bool(self._playbook.steps), self._is_row(check)
        waits = steps and (check.rollout or check.restarts)
        if not (row or waits or check.logs):
            return
        target = getattr(check.rollout or check.restarts or check.logs, "target", "")
        spaces = _spaces_of(target, self._spaces) if target else self._spaces
        spaces = self._rows_in() if row else spaces
        for space in spaces:
            yield from (grant for kind in LOOKED_AT for grant in _on(kind, space, "list"))
            if check.logs:
                yield from _on("Pod", space, "get", sub="log")

    def watches(self) -> Iterator[Grant]:
        """While steps are carried out: what the goal waits for is not asked for again and again."""
        if not self._playbook.steps:
            return
        kinds = {kind_name(check.object.kind) for check in self._checks if check.object}
        rows = [check for check in self._checks if self._is_row(check)]
        parts = [check.rollout or check.restarts or check.logs for check in self._checks]
        if rows or any(parts) or any(step.wait_for_rollout for step in self._playbook.steps):
            kinds |= {*LOOKED_AT}
        if any(check.http for check in rows):
            kinds.add("Service")
        for space in self._watched_in():
            yield from (grant for kind in kinds for grant in _on(kind, space, "list", "watch"))

    def _is_row(self, check: Check) -> bool:
        return self._playbook.goal.each_service is not None and per_service(check)

    def _rows_in(self) -> list[str]:
        """Namespaces of the services."""
        block = self._playbook.goal.each_service
        named = sorted(namespaces(block)) if block else []
        return named or self._spaces

    def _watched_in(self) -> list[str]:
        parts = [check.rollout or check.restarts or check.logs for check in self._checks]
        targets = [part.target for part in parts if part]
        named = [each.split("/")[1] for each in targets if each.count("/") == 2]
        named += [check.object.namespace for check in self._checks if check.object]
        return sorted({*self._spaces, *self._rows_in(), *filter(None, named)})

    def _objects(self, check: Check) -> Iterator[Grant]:
        if wanted := check.object:
            verb = "get" if wanted.name else "list"
            space = wanted.namespace or self._spaces[0]
            yield from _on(wanted.kind, space, verb, name=wanted.name)
        if covers := check.covers_cluster:
            space = covers.namespace or (self._spaces[0] if len(self._spaces) == 1 else "")
            scaled = kind_name(covers.kind) in CHANGES[ChangeKind.SCALE].on
            for kind in (covers.kind, *(_HPA if scaled else ())):
                yield from _on(kind, space, "list")

    def _rollout(self, target: str) -> Iterator[Grant]:
        for space in self._spaces if not target else ():
            yield from (grant for kind in ROLLED_OUT for grant in _on(kind, space, "list"))
        if target:
            yield from _on_target(target, self._spaces, "get")

    def _restarts(self, target: str) -> Iterator[Grant]:
        spaces = self._spaces
        if target:
            yield from _on_target(target, self._spaces, "get")
            spaces = _spaces_of(target, spaces)
        for space in spaces:
            yield from _on("Pod", space, "list")

    def first_card(self) -> Iterator[Grant]:
        if not (self._playbook.edits or self._playbook.steps):  # a run with these looks at none
            yield from self._reading(first_card.KINDS, "list")

    def evidence(self) -> Iterator[Grant]:
        """Of a failure after steps, read before they are taken back."""
        if self._playbook.steps:
            yield from self._reading(first_card.KINDS, "list")
            for space in self._spaces if "pods" in self._readable else ():
                yield from _on("Pod", space, "get", sub="log")

    def kubectl(self) -> Iterator[Grant]:
        if self._tools.kubectl and not self._playbook.steps:
            yield from self._reading(self._readable, "get", "list")

    def logs(self) -> Iterator[Grant]:
        if self._tools.logs and "pods" in self._readable and not self._playbook.steps:
            yield from self._reading(LOGGED, "get")
            yield from self._reading(["Pod"], "list")
            for space in self._spaces:
                yield from _on("Pod", space, "get", sub="log")

    def metrics(self) -> Iterator[Grant]:
        url = self._tools.metrics.url if self._tools.metrics else ""
        if service_of(url):
            yield from (grant for grant in _routes(url) if grant.resource == "services/proxy")

    def http(self) -> Iterator[Grant]:
        tool = None if self._playbook.steps else self._tools.http
        for pattern in tool.allow if tool else ():
            yield from _routes(pattern)

    def shell(self) -> Iterator[Grant]:
        tool = None if self._playbook.steps else self._tools.shell
        commands = tool.allow.values() if tool else ()
        if any(command.in_pod for command in commands):
            for space in self._spaces:  # servers before 1.35 ask for get alone
                yield from _on("Pod", space, "create", "get", sub="exec")

    def proposals(self) -> Iterator[Grant]:
        for kind, target in self.allowed():
            if plural(target.partition("/")[0]) in self._readable:
                yield from _on_target(target, self._spaces, "get")
            yield from self._beside(target, self._may(_meant(CHANGES[kind].finds, target)))

    def changes(self) -> Iterator[Grant]:
        for kind, target in self.allowed():
            needs = CHANGES[kind]
            for verb in needs.verbs:
                sub = needs.sub if verb == "patch" else ""
                yield from _on_target(target, self._spaces, verb, sub=sub)
            yield from self._beside(target, _meant(needs.sources, target))
            if needs.disrupts and target.partition("/")[0] in PODS:
                yield from self._beside(target, ["PodDisruptionBudget"])

    def releases(self) -> Iterator[Grant]:
        """Helm keeps each revision in a Secret, whose name nobody knows beforehand."""
        change = self._tools.change
        kinds = [kind for kind in change.allow if kind in OF_RELEASE] if change else []
        if self._playbook.scope.cluster == "read-only" or not kinds:
            return
        for target in change.targets if change else ():
            for space in _spaces_of(target, self._spaces) if _of_release(target) else ():
                yield from _on("Secret", space, "get", "list", "create", "update", "delete")

    def charts(self) -> Iterator[Grant]:
        for (space, _), made in self._charts.items():
            for kind in made.kinds:
                yield from _on(kind, space, "get", "create", "patch", "delete")
            for kind in made.hooks:
                yield from _on(kind, space, "list", "watch")

    def _beside(self, target: str, kinds: Iterable[str]) -> Iterator[Grant]:
        for kind in kinds:
            for space in _spaces_of(target, self._spaces):
                yield from _on(kind, space, "list")

    def allowed(self) -> Iterator[tuple[ChangeKind, str]]:
        """Pairs of a kind of change and a target that it is for."""
        change = self._tools.change
        if change is None or self._playbook.scope.cluster == "read-only":
            return
        never = self._playbook.limits.never_delete
        for kind in change.allow:
            for target in change.targets:
                kept = kind is ChangeKind.DELETE_OBJECT and target.partition("/")[0] in never
                if is_for(kind, target) and not kept:
                    yield kind, target

    def _reading(self, kinds: Iterable[str], *verbs: str) -> Iterator[Grant]:
        """Reads through the playbook's own eyes: what it does not let be read is not granted."""
        for kind in self._may(kinds):
            yield from (grant for space in self._spaces for grant in _on(kind, space, *verbs))

    def _may(self, kinds: Iterable[str]) -> Iterator[str]:
        return (kind for kind in kinds if plural(kind) in self._readable)


PARTS: Mapping[str, Callable[[_Parts], Iterable[Grant]]] = {  # in the order of a run
    "cluster's id": _Parts.cluster,
    "namespaces": _Parts.namespaces,
    "goal": _Parts.goal,
    "watches": _Parts.watches,
    "first card": _Parts.first_card,
    "explanation": _Parts.evidence,
    "tools.kubectl": _Parts.kubectl,
    "tools.logs": _Parts.logs,
    "tools.metrics": _Parts.metrics,
    "tools.http": _Parts.http,
    "tools.shell": _Parts.shell,
    "proposals": _Parts.proposals,
    "changes": _Parts.changes,
    "Helm's releases": _Parts.releases,
    "chart": _Parts.charts,
}


def _on(kind: str, space: str, *verbs: str, name: str = "", sub: str = "") -> Iterator[Grant]:
    known = find(kind)
    group = known.versions[0].rpartition("/")[0] if known else "*"
    where = space if known is None or known.namespaced else ""
    resource = "/".join(filter(None, (plural(kind), sub)))
    yield from (Grant(where, group, resource, verb, name) for verb in verbs)


def _on_target(target: str, spaces: list[str], verb: str, sub: str = "") -> Iterator[Grant]:
    """On what `Kind/namespace/name`, `Kind/name` or a pattern of these names."""
    kind, *_, name = target.split("/")
    anything = name == "*" or verb == "create"  # what is not there yet has no name for RBAC
    for space in _spaces_of(target, spaces):
        yield from _on(kind, space, verb, name="" if anything else name, sub=sub)


def _spaces_of(target: str, spaces: list[str]) -> list[str]:
    """Namespaces a target lies in, as far as the scope goes."""
    _, *between, _ = target.split("/")
    if not between or between == ["*"]:
        return spaces
    return between if spaces == [""] or between[0] in spaces else []


def _of_release(target: str) -> bool:
    return target.partition("/")[0] == "HelmRelease"


def is_for(kind: ChangeKind, target: str) -> bool:
    """Whether this version can make such a change on such a target at all."""
    if kind not in KUBE_KINDS:
        return False
    on, made_of = CHANGES[kind].on, target.partition("/")[0]
    return made_of in on if on else made_of not in ("Process", "Command", "Secret")


def _meant(kinds: Iterable[str], target: str) -> Iterator[str]:
    """Those that can matter to such a target, OWN and REVISIONS as the kinds they are."""
    own = target.partition("/")[0]
    known = find(own)
    alone = known is not None and not known.namespaced  # nothing else lies beside it
    claims = own in (*PODS, "CronJob")
    pointless = {REVISIONS} if claims else {REVISIONS, "PersistentVolumeClaim"}
    for kind in kinds:
        if kind == OWN:
            yield own
        elif kind == REVISIONS and own in HISTORY:
            yield HISTORY[own]
        elif kind not in pointless and not alone:
            yield kind


def _routes(url: str) -> Iterator[Grant]:
    """How HTTP reaches a Service from outside: pod by pod, else as the Service itself. `url` may
    be a pattern; one that may mean any Service is granted in all namespaces."""
    parts = _PATTERN.fullmatch(url)
    if parts is None:
        return
    host, scheme = parts["host"].lower(), parts["scheme"]
    port = parts["port"] or ("443" if scheme == "https" else "80")
    one = _ONE_SERVICE.fullmatch(host)
    end = host.rpartition("*")[2]
    if not one and ("*" not in host or not any(name.endswith(end) for name in _SERVICES)):
        return
    space = one["namespace"] if one else ""
    name = one["name"] if one and "*" not in one["name"] else ""
    named = f"{name}:{port}" if name and port.isdecimal() else ""
    yield from _on("Service", space, "get", name=name)
    yield from _on("EndpointSlice", space, "list")
    yield from _on("Pod", space, "get", sub="proxy")
    tls = "https:" if named and scheme == "https" else ""
    yield from _on("Service", space, "get", sub="proxy", name=f"{tls}{named}")


# --- roles ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """A PolicyRule, and the parts of the playbook it is for."""

    group: str
    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    names: tuple[str, ...]
    parts: tuple[str, ...]

    def json(self) -> dict[str, Json]:
        names = {"resourceNames": [*self.names]} if self.names else {}
        return {
            "apiGroups": [self.group],
            "resources": [*self.resources],
            **names,
            "verbs": [*self.verbs],
        }


def rules(found: Because, namespace: str) -> list[Rule]:
    """One for each group, verbs and names, sorted; together they allow what is granted, no more."""
    here = {grant: parts for grant, parts in found.items() if grant.namespace == namespace}
    verbs = _gather(((one.group, one.resource, one.name), one.verb) for one in sorted(here))
    names = _gather(((group, what, (*may,)), name) for (group, what, name), may in verbs.items())
    whats = _gather(((group, may, (*given,)), what) for (group, what, may), given in names.items())
    return [
        Rule(group, may, (*resources,), (*filter(None, given),), _parts(here, may, resources))
        for (group, may, given), resources in sorted(whats.items())
    ]


def _parts(found: Because, verbs: Iterable[str], resources: Iterable[str]) -> tuple[str, ...]:
    """In the order of _Parts.grants, which is that of a run."""
    named = [p for one, p in found.items() if one.verb in verbs and one.resource in resources]
    return tuple(sorted({part for parts in named for part in parts}, key=[*PARTS].index))


def _gather(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount."""

    namespace: str
    name: str = "smoldebug"

    @classmethod
    def parse(cls, text: str) -> "Account":
        """`shop/smoldebug`. Raises UsageError for anything else."""
        found = _ACCOUNT.fullmatch(text)
        if not found:
            raise UsageError(f"not NAMESPACE/NAME of a ServiceAccount: {one_line(text, 80)!r}")
        return cls(found[1], found[2])


@dataclass(frozen=True, slots=True)
class Role:
    """A Role of a namespace, or (without one) a ClusterRole, bound to an account."""

    name: str
    namespace: str
    rules: tuple[Rule, ...]
    account: Account

    def documents(self) -> list[dict[str, Json]]:
        """The role and its binding."""
        kind = "Role" if self.namespace else "ClusterRole"
        subject = {
            "kind": "ServiceAccount",
            "namespace": self.account.namespace,
            "name": self.account.name,
        }
        bound = {
            "roleRef": {"apiGroup": API, "kind": kind, "name": self.name},
            "subjects": [subject],
        }
        allowed = {"rules": [rule.json() for rule in self.rules]}
        return [self._document(kind, allowed), self._document(f"{kind}Binding", bound)]

    def _document(self, kind: str, content: dict[str, Json]) -> dict[str, Json]:
        where = {"namespace": self.namespace} if self.namespace else {}
        metadata = {"name": self.name, **where}
        return {"apiVersion": f"{API}/v1", "kind": kind, "metadata": metadata, **content}


def roles(plan: RunPlan, account: Account, *, read_only: bool = False) -> list[Role]:
    """What must be there for the playbook to run; nothing where it speaks to no cluster.

    Their name says whose they are: another account's roles stay beside them.
    """
    found = because(plan.playbook, made_by(plan), read_only=read_only)
    return [
        Role(
            f"{account.name}-{plan.playbook.name}-{account.namespace}",
            namespace,
            tuple(rules(found, namespace)),
            account,
        )
        for namespace in sorted({grant.namespace for grant in found})
    ]


def default_account(playbook: Playbook) -> Account:
    """`smoldebug` in the first namespace of the scope."""
    return Account(next(iter(playbook.scope.namespaces), "default"))


def as_list(made: Iterable[Role]) -> dict[str, Json]:
    """A List that `kubectl apply -f -` takes."""
    items = [document for role in made for document in role.documents()]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def as_yaml(made: Iterable[Role], above: Iterable[str]) -> str:
    """The same as YAML, with a comment `above` it and above each rule the parts it is for."""
    said = "".join(f"# {one_line(note, 1000)}\n" for note in above)
    return said + "".join(
        f"---\n{_document(role, document)}" for role in made for document in role.documents()
    )


def notes(plan: RunPlan, account: Account) -> list[str]:
    """How to use the role, and what it cannot cover."""
    playbook, who = plan.playbook, f"-n {account.namespace}"
    if not because(playbook):
        return [f"playbook {playbook.name} speaks to no cluster: it needs no role"]
    said = [
        f"what playbook {playbook.name} needs, and nothing else; the account itself is made with:",
        f"kubectl {who} create serviceaccount {account.name}",
    ]
    if plan.unsupported:
        parts = ", ".join(part.partition(" (")[0] for part in plan.unsupported)
        said.append(f"not covered, this version does not run: {parts}")
    if any(CHANGES[kind].sources == _ANYTHING for kind, _ in _Parts(playbook).allowed()):
        said.append("not granted, Secrets: a change that names one nothing else uses is refused")
    said += _of_helm(playbook, account, made_by(plan))
    if custom := playbook.tools.custom:
        said.append(f"not covered, what tools of your own request: {', '.join(custom)}")
    return said


def _of_helm(playbook: Playbook, account: Account, made: Charts) -> Iterator[str]:
    spaces = {grant.namespace for grant in _Parts(playbook).releases()}
    if spaces:
        where = ", ".join(filter(None, sorted(spaces))) or "all namespaces"
        yield f"Helm keeps releases in Secrets: who may do that may read every Secret of {where}"
        if not made:
            yield "not covered, the objects of the releases: their playbook does not name a chart"
    for (space, chart), found in made.items():
        if found.unseen:
            yield f"not covered, what chart {chart} makes: {found.unseen}; unless you know better:"
            yield (
                f"kubectl -n {space} create rolebinding {account.name}-chart --clusterrole=admin "
                f"--serviceaccount={account.namespace}:{account.name}"
            )
            continue
        kinds = ", ".join(sorted(found.kinds)) or "no kind"
        yield f"chart {chart}, by its templates, and what ran before it: {kinds}"
        if found.more:
            yield "not covered, templates of it whose kind is computed"
        if found.kinds & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}:
            yield "roles of a chart can grant no more than the account itself has"


def _document(role: Role, document: dict[str, Json]) -> str:
    if "rules" not in document:
        return _dump(document)
    head = {key: value for key, value in document.items() if key != "rules"}
    body = "".join(f"# {', '.join(rule.parts)}\n{_dump([rule.json()])}" for rule in role.rules)
    return f"{_dump(head)}rules:\n{body}"


def _dump(value: Json) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=100)
