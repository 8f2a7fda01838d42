"""What the change of a Helm release may touch: one name on its card, and many objects behind it."""

from collections.abc import Iterator, Sequence

from smoldebug.guard import privileges
from smoldebug.guard.leaves import leaves
from smoldebug.records import Json, ObjectRef, Surroundings

RULES = {
    "Role": "rules",
    "ClusterRole": "rules",
    "RoleBinding": "subjects",
    "ClusterRoleBinding": "subjects",
}


def outside(around: Surroundings, namespaces: Sequence[str]) -> str:
    """The first object in a namespace that is not the playbook's, in a sentence, or "". What is in
    no namespace is no reason: charts bring cluster roles, and what these grant is told."""
    for ref in around.objects:
        if namespaces and ref.namespace not in (*namespaces, ""):
            return f"the release changes {ref}, which is outside the playbook's scope"
    return ""


def grants(around: Surroundings) -> Iterator[str]:
    """The rights that its objects gain, for an approver. The account that a new workload runs as
    is none: what that account may do is in roles and bindings."""
    for live, wanted in around.becomes:
        ref = _ref(wanted)
        new = privileges.gained({"": live} if live else {}, {"": wanted})
        if told := privileges.spoken(new if live else privileges.without_accounts(new)):
            yield f"{ref} gains rights: {told}"
        field = RULES.get(ref.kind)
        if field and not _entries(wanted, field) <= _entries(live, field):
            yield f"{ref} grants more: its {field} have new ones"


def _entries(item: Json, field: str) -> set[str]:
    found = item.get(field) if isinstance(item, dict) else None
    return {str(sorted(map(str, leaves(each)))) for each in (found or ())}


def _ref(item: Json) -> ObjectRef:
    meta = item.get("metadata") or {}
    return ObjectRef(str(item.get("kind")), str(meta.get("namespace") or ""), str(meta.get("name")))
