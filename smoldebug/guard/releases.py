"""What the change of a Helm release may touch: one name on its card, and many objects behind it."""

from collections.abc import Iterator, Sequence

from smoldebug.guard import privileges
from smoldebug.guard.leaves import leaves
from smoldebug.records import Json, ObjectRef, Surroundings

# What of an object gives rights, or power over other objects
GRANTS = {
    "Role": ("rules",),
    "ClusterRole": ("rules", "aggregationRule"),
    "RoleBinding": ("subjects",),
    "ClusterRoleBinding": ("subjects",),
    "MutatingWebhookConfiguration": ("webhooks",),
    "ValidatingWebhookConfiguration": ("webhooks",),
}
_ADDS_UP = "rbac.authorization.k8s.io/"  # labels of a ClusterRole whose rules are other roles' too


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
        for field in GRANTS.get(ref.kind, ()):
            if not _entries(wanted, field) <= _entries(live, field):
                yield f"{ref} grants more: its {field} have new ones"
        if not _sums(wanted) <= _sums(live):
            yield f"{ref} grants more: what it grants is granted by other roles, too"


def _entries(item: Json, field: str) -> set[str]:
    """One for each item of a list. Whom a webhook trusts is filled in anew by many charts."""
    found = item.get(field) if isinstance(item, dict) else None
    listed = found if isinstance(found, list) else [found] if found else []
    return {
        str(sorted(str(leaf) for leaf in leaves(each) if leaf[0][-1:] != ("caBundle",)))
        for each in listed
    }


def _sums(item: Json) -> set[tuple[str, str]]:
    meta = item.get("metadata") if isinstance(item, dict) else None
    labels = meta.get("labels") if isinstance(meta, dict) else None
    found = labels.items() if isinstance(labels, dict) else ()
    return {(key, str(value)) for key, value in found if key.startswith(_ADDS_UP)}


def _ref(item: Json) -> ObjectRef:
    meta = item.get("metadata") or {}
    return ObjectRef(str(item.get("kind")), str(meta.get("namespace") or ""), str(meta.get("name")))
