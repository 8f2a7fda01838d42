"""`kubectl auth can-i` and `whoami`: everything is allowed but what the fault rules deny."""

from smoldebug.lab.apifaults import USER, Faults
from smoldebug.sources.world import Object


def review(kind: str, asked: Object, faults: Faults) -> Object:
    """The answered review: a SelfSubjectAccessReview, -RulesReview or SelfSubjectReview."""
    if kind == "SelfSubjectAccessReview":
        return asked | {"status": _access(asked.get("spec") or {}, faults)}
    if kind == "SelfSubjectRulesReview":
        return asked | {
            "status": {
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": False,
            }
        }
    groups = ["system:masters", "system:authenticated"]
    return asked | {"status": {"userInfo": {"username": USER, "groups": groups}}}


def _access(spec: Object, faults: Faults) -> Object:
    wanted = spec.get("resourceAttributes") or {}
    path = "/".join(filter(None, (wanted.get("resource"), wanted.get("subresource"))))
    rule = faults.find(wanted.get("verb", ""), path, wanted.get("namespace", ""))
    if rule and rule.status == 403:
        return {"allowed": False, "reason": rule.message or "denied by a rule of the lab"}
    return {"allowed": True, "reason": "RBAC: allowed"}
