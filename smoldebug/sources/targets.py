"""What people type for a workload - `deployment/auth`, `svc/auth`, `auth` - to objects and pods."""

from collections.abc import Mapping
from typing import Any

from smoldebug.errors import AccessDenied, NotFound, UsageError
from smoldebug.records import ObjectRef
from smoldebug.sources.kinds import find as find_kind
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.world import Cluster, Object

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")
BARE = ("Deployment", "StatefulSet", "DaemonSet", "Pod", "Service", "Job")  # tried in this order


def parse(text: str, namespace: str) -> ObjectRef:
    """`kind/name` or `Kind/namespace/name`; a bare name has kind "". Raises UsageError."""
    parts = text.strip().split("/")
    if not all(parts) or len(parts) > 3:
        raise UsageError(f"not KIND/NAME: {text!r}")
    if len(parts) == 1:
        return ObjectRef("", namespace, parts[0])
    known = find_kind(parts[0])
    where = parts[1] if len(parts) == 3 else "" if known and not known.namespaced else namespace
    return ObjectRef(kind_name(parts[0]), where, parts[-1])


def find(cluster: Cluster, text: str, namespace: str) -> tuple[ObjectRef, Object]:
    """The object a target names. Raises NotFound when there is none."""
    ref = parse(text, namespace)
    if ref.kind:
        return ref, cluster.get(ref)
    for kind in BARE:
        candidate = ObjectRef(kind, ref.namespace, ref.name)
        try:
            return candidate, cluster.get(candidate)
        except (NotFound, AccessDenied) as error:
            if str(error).startswith('namespace "'):
                raise
    raise NotFound(f"no workload, Service or Pod in namespace {namespace} is called: {ref.name}")


def find_one(cluster: Cluster, text: str, namespace: str, *kinds: str) -> Object:
    """The object a target names, of one of these kinds; where there is one kind only, its bare
    name will do. Raises UsageError for another kind, NotFound when there is none."""
    bare = len(kinds) == 1 and "/" not in text
    ref, item = find(cluster, f"{kinds[0]}/{text}" if bare else text, namespace)
    if ref.kind not in kinds:
        raise UsageError(f"needs a {' or '.join(kinds)}: {ref}")
    return item


def pods_of(cluster: Cluster, ref: ObjectRef, item: Object) -> list[Object]:
    """The pods behind a workload or Service; a Pod itself. Raises UsageError for other kinds."""
    if ref.kind == "Pod":
        return [item]
    spec = item.get("spec") or {}
    if ref.kind == "Service":
        labels = ",".join(f"{key}={value}" for key, value in (spec.get("selector") or {}).items())
    elif ref.kind in WORKLOADS:
        labels = selector_text(spec.get("selector") or {})
    else:
        raise UsageError(f"no pods belong to a {ref.kind}: {ref}")
    if not labels:
        return []
    return cluster.list("Pod", ref.namespace, labels=labels)


def selector_text(selector: Mapping[str, Any]) -> str:
    """A LabelSelector as a list request wants it."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or []:
        key, values = rule.get("key"), ",".join(rule.get("values") or [])
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": f"{key}",
                "DoesNotExist": f"!{key}",
            }[str(rule.get("operator"))]
        )
    return ",".join(parts)
