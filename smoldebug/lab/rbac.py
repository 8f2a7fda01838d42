"""Who may do what: Roles, ClusterRoles and their bindings, evaluated as a real server does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from smoldebug.lab.apierror import ApiError
from smoldebug.lab.catalog import resource
from smoldebug.lab.identity import MASTERS, User, service_account_of
from smoldebug.lab.requests import Request, verb_of
from smoldebug.lab.selectors import exact_field
from smoldebug.lab.store import Store
from smoldebug.sources.world import Object

GROUP = "rbac.authorization.k8s.io"
PolicyRule = Mapping[str, Any]

_ROLES, _CLUSTER_ROLES = resource("roles"), resource("clusterroles")
_BINDINGS, _CLUSTER_BINDINGS = resource("rolebindings"), resource("clusterrolebindings")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request wants, in the words of RBAC. `resource` has the subresource behind a slash:
    `pods/log`. What is about no resource has a `path`, and its HTTP method as the verb."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def attributes_of(request: Request) -> Attributes:
    """From the URL alone: who may not even ask learns nothing about what there is."""
    parts = [unquote(part) for part in request.path.split("/") if part]
    match parts:
        case ["api", _, _, *_]:
            group, rest = "", parts[2:]
        case ["apis", group, _, _, *_]:
            rest = parts[3:]
        case _:
            return Attributes(request.method.lower(), path=request.path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    named = len(rest) > 1
    name = rest[1] if named else exact_field(request.query.get("fieldSelector", ""))
    what = "/".join((rest[0], *rest[2:3]))
    return Attributes(verb_of(request, named=named), group, what, namespace, name)


def forbidden(user: User, wanted: Attributes, why: str = "") -> ApiError:
    """The 403 of a real server, word for word."""
    who = f'User "{user.name}" cannot {wanted.verb}'
    if wanted.path:
        return ApiError(403, "Forbidden", f'forbidden: {who} path "{wanted.path}"{why}')
    plural = wanted.resource.partition("/")[0]
    what = f"{plural}.{wanted.group}" if wanted.group else plural
    named = f'{what} "{wanted.name}"' if wanted.name else what
    where = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    message = (
        f'{named} is forbidden: {who} resource "{wanted.resource}" '
        f'in API group "{wanted.group}" {where}{why}'
    )
    details = {"name": wanted.name, "group": wanted.group, "kind": plural}
    return ApiError(403, "Forbidden", message, **details)


class Rbac:
    """The rules that are stored now; a user in system:masters needs none."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def check(self, user: User, wanted: Attributes) -> None:
        """Raises ApiError 403."""
        allowed, why = self.decide(user, wanted)
        if not allowed:
            raise forbidden(user, wanted, f": {why}" if why else "")

    def decide(self, user: User, wanted: Attributes) -> tuple[bool, str]:
        """Whether it is allowed, and what a server says about it."""
        if MASTERS in user.groups:
            return True, ""
        missing: list[str] = []
        for rule, binding in self.rules(user, wanted.namespace, missing):
            if _covers(rule, wanted):
                return True, f"RBAC: allowed by {binding}"
        said = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
        return False, f"RBAC: {said}" if missing else ""

    def rules(
        self, user: User, namespace: str, missing: list[str] | None = None
    ) -> Iterator[tuple[PolicyRule, str]]:
        """Each rule that holds for the user there, and the binding it comes by; a role that is
        bound but not there is named in `missing`."""
        for binding in self._bindings(namespace):
            subject = _subject_of(binding, user)
            if not subject:
                continue
            meta, ref = binding["metadata"], binding["roleRef"]
            place = "/".join(filter(None, (meta["name"], meta.get("namespace"))))
            by = f'{binding["kind"]} "{place}" of {ref["kind"]} "{ref["name"]}" to {subject}'
            for rule in self._rules_of(ref, meta.get("namespace"), missing):
                yield rule, by

    def _bindings(self, namespace: str) -> list[Object]:
        found = self.store.scan(_CLUSTER_BINDINGS)[0]
        return found + self.store.scan(_BINDINGS, namespace)[0] if namespace else found

    def _rules_of(
        self, ref: Mapping[str, str], namespace: str | None, missing: list[str] | None
    ) -> list[PolicyRule]:
        kind = _ROLES if ref["kind"] == "Role" else _CLUSTER_ROLES
        try:
            return self.store.peek(kind, namespace, ref["name"]).get("rules") or []
        except ApiError:
            if missing is not None:
                missing.append(f'{ref["kind"].lower()}.{GROUP} "{ref["name"]}" not found')
            return []


def _subject_of(binding: Object, user: User) -> str:
    """The subject that is the user or one of its groups, as `User "ann"`; "" for none."""
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind == "ServiceAccount":
            namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
            if service_account_of(user.name) == (namespace, name):
                return f'ServiceAccount "{name}/{namespace}"'
        elif (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups):
            return f'{kind} "{name}"'
    return ""


def _covers(rule: PolicyRule, wanted: Attributes) -> bool:
    if not _names(rule, "verbs", wanted.verb):
        return False
    if wanted.path:
        patterns = rule.get("nonResourceURLs") or ()
        return any(_is_below(pattern, wanted.path) for pattern in patterns)
    return (
        _names(rule, "apiGroups", wanted.group)
        and _covers_resource(rule, wanted.resource)
        and (not rule.get("resourceNames") or wanted.name in rule["resourceNames"])
    )


def _names(rule: PolicyRule, field: str, value: str) -> bool:
    listed = rule.get(field) or ()
    return "*" in listed or value in listed


def _covers_resource(rule: PolicyRule, asked: str) -> bool:
    """`pods` is not `pods/log`; `*/log` is the log of everything."""
    subresource = asked.partition("/")[2]
    anything = f"*/{subresource}" if subresource else "*"
    return _names(rule, "resources", asked) or anything in (rule.get("resources") or ())


def _is_below(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
