"""`kubectl auth can-i` and `whoami`: reviews, answered by what decides requests."""

from smoldebug.lab.apierror import invalid_fields
from smoldebug.lab.apifaults import Faults
from smoldebug.lab.catalog import Resource
from smoldebug.lab.identity import MASTERS, User
from smoldebug.lab.rbac import Attributes, Rbac
from smoldebug.sources.world import Object

_EVERYTHING = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


def review(resource: Resource, asked: Object, user: User, rbac: Rbac, faults: Faults) -> Object:
    """The answered SelfSubjectAccessReview, -RulesReview or SelfSubjectReview.

    Raises ApiError 422 for a review that asks nothing.
    """
    spec = asked.get("spec") or {}
    if resource.kind == "SelfSubjectAccessReview":
        status = _access(resource, spec, user, rbac, faults)
    elif resource.kind == "SelfSubjectRulesReview":
        status = _rules(spec, user, rbac)
    else:
        info: Object = {"username": user.name, "groups": list(user.groups)}
        status = {"userInfo": info | ({"uid": user.uid} if user.uid else {})}
    head = {"kind": resource.kind, "apiVersion": resource.api_version}
    return asked | head | {"status": status}


def _access(resource: Resource, spec: Object, user: User, rbac: Rbac, faults: Faults) -> Object:
    asked, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes") or {}
    if bool(asked) == bool(other):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        field = "spec.resourceAttributes"
        raise invalid_fields(resource, "", [(field, f'Invalid value: "null": {why}')])
    wanted = _attributes(asked) if asked else _other(other)
    rule = faults.find(wanted)
    if rule and rule.status == 403 and not rule.webhook:
        return {"allowed": False, "reason": rule.message or "denied by a rule of the lab"}
    allowed, reason = rbac.decide(user, wanted)
    return {"allowed": allowed} | ({"reason": reason} if reason else {})


def _attributes(asked: Object) -> Attributes:
    names = ("verb", "group", "namespace", "name")
    words = {name: str(asked.get(name) or "") for name in names}
    what = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
    return Attributes(**words, resource=what)


def _other(asked: Object) -> Attributes:
    return Attributes(str(asked.get("verb") or ""), path=str(asked.get("path") or ""))


def _rules(spec: Object, user: User, rbac: Rbac) -> Object:
    found = [rule for rule, _ in rbac.rules(user, str(spec.get("namespace") or ""))]
    if MASTERS in user.groups:
        found = list(_EVERYTHING)
    return {
        "resourceRules": [rule for rule in found if "nonResourceURLs" not in rule],
        "nonResourceRules": [rule for rule in found if "nonResourceURLs" in rule],
        "incomplete": False,
    }
