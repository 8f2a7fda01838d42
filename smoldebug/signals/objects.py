"""Reading Kubernetes objects without tripping over what is missing in them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from smoldebug.records import ObjectRef

Object = Mapping[str, Any]
REVISION = "deployment.kubernetes.io/revision"


def meta(item: Object) -> Object:
    return item.get("metadata") or {}


def spec(item: Object) -> Object:
    return item.get("spec") or {}


def status(item: Object) -> Object:
    return item.get("status") or {}


def name(item: Object) -> str:
    return str(meta(item).get("name") or "")


def ref(item: Object) -> ObjectRef:
    return ObjectRef(
        str(item.get("kind") or ""), str(meta(item).get("namespace") or ""), name(item)
    )


def containers(pod_spec: Object) -> Iterator[Object]:
    """Init containers, then containers."""
    for field in ("initContainers", "containers"):
        yield from pod_spec.get(field) or []


def template(workload: Object) -> Object:
    """The pod spec of a workload's template."""
    return spec(spec(workload).get("template") or {})


def condition(item: Object, kind: str) -> Object:
    found = status(item).get("conditions") or []
    return next((entry for entry in found if entry.get("type") == kind), {})


def controller(item: Object) -> Object:
    """The reference to the controller that owns it, {} where none does."""
    owners = meta(item).get("ownerReferences") or []
    return next((entry for entry in owners if entry.get("controller")), {})


def owner(item: Object) -> str:
    """UID of the controller that owns it, or ""."""
    return str(controller(item).get("uid") or "")


def revision(item: Object) -> int:
    """The number of a Deployment's or ReplicaSet's revision, or of a ControllerRevision."""
    text = str((meta(item).get("annotations") or {}).get(REVISION) or item.get("revision") or "")
    return int(text) if text.isdigit() else 0


def revisions(workload: Object, history: Iterable[Object]) -> list[Object]:
    """A workload's ReplicaSets or ControllerRevisions, newest revision first."""
    uid = meta(workload).get("uid")
    owned = [item for item in history if uid and owner(item) == uid]
    return sorted(owned, key=revision, reverse=True)


def selects(selector: Mapping[str, str] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a non-empty label selector of equalities matches."""
    return bool(selector) and (selector or {}).items() <= (labels or {}).items()


def wanted(workload: Object) -> int:
    """How many pods a Deployment, StatefulSet or DaemonSet should have."""
    if workload.get("kind") == "DaemonSet":
        found = status(workload).get("desiredNumberScheduled") or 0
    else:
        found = spec(workload).get("replicas", 1)
    return found if isinstance(found, int) else 1


def environment(container: Object, config: Callable[[Object], Object]) -> Iterator[tuple[str, str]]:
    """Names and values of a container's variables. `config` gives the data of the ConfigMap that a
    reference names, {} where it has not been read; Secrets are not looked at."""
    for entry in container.get("env") or []:
        source = (entry.get("valueFrom") or {}).get("configMapKeyRef") or {}
        value = entry.get("value") or config(source).get(str(source.get("key")))
        yield str(entry.get("name")), str(value or "")
    for entry in container.get("envFrom") or []:
        values = config(entry.get("configMapRef") or {})
        yield from ((str(key), str(value)) for key, value in values.items())
