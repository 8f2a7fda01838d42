"""Reading Kubernetes objects from the world, which may be odd: nothing here trips over them."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from smoldebug.records import ObjectRef
from smoldebug.sources.world import Object

T = TypeVar("T")
NONE: list[Any] = []


def dig(item: Any, *path: str, default: T) -> T:
    """A field of an object from the world; `default` where it is absent or of another type."""
    for key in path:
        item = item.get(key) if isinstance(item, Mapping) else None
    return item if isinstance(item, type(default)) else default


def ref_of(item: Object, kind: str) -> ObjectRef:
    """Lists leave the kind out of their items, so the caller gives the one it asked for."""
    meta: Object = dig(item, "metadata", default={})
    return ObjectRef(kind, dig(meta, "namespace", default=""), dig(meta, "name", default="?"))


def owner_of(item: Object) -> str:
    """UID of the controller that made an object, or ""."""
    owners: list[Any] = dig(item, "metadata", "ownerReferences", default=[])
    made = [each for each in owners if dig(each, "controller", default=False)]
    return dig(made[0], "uid", default="") if made else ""


def labels_of(item: Object) -> Object:
    return dig(item, "metadata", "labels", default={})


def container_statuses(pod: Object) -> Iterator[Any]:
    """Of init containers, then of containers."""
    for block in ("initContainerStatuses", "containerStatuses"):
        yield from dig(pod, "status", block, default=[])


def label_selector(selector: Any) -> str:
    """A workload's selector as the API server takes it in a query; "" selects nothing here."""
    labels: Object = dig(selector, "matchLabels", default={})
    terms = [f"{key}={value}" for key, value in labels.items()]
    expressions: list[Any] = dig(selector, "matchExpressions", default=[])
    for term in expressions:
        key, values = dig(term, "key", default=""), dig(term, "values", default=NONE)
        listed = ",".join(map(str, values))
        spelled = {
            "In": f"{key} in ({listed})",
            "NotIn": f"{key} notin ({listed})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        terms.append(spelled.get(dig(term, "operator", default=""), key))
    return ",".join(terms)
