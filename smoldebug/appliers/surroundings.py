"""What is around the target of a change, for the guard: read just before, and no more of it than
this kind of change needs."""

from collections.abc import Callable, Mapping
from typing import Any

from smoldebug.errors import NotFound, SmoldebugError
from smoldebug.managed import managed_by
from smoldebug.records import Budget, Change, ChangeKind, Json, Surroundings
from smoldebug.sources.kube_writes import ref_of
from smoldebug.sources.world import Cluster, Object

_REVISIONS = {  # of the workloads that have any
    "Deployment": "ReplicaSet",
    "StatefulSet": "ControllerRevision",
    "DaemonSet": "ControllerRevision",
}
_OWN = "its own kind"
_CONTAINER = (_OWN,)
_ANY = (_OWN, "Service", "ConfigMap")
_PODS = (_OWN, *_REVISIONS)

# The kinds of objects that the new values of a change may come from, besides the target
_SOURCES: Mapping[ChangeKind, tuple[str, ...]] = {
    **dict.fromkeys((ChangeKind.SET_IMAGE, ChangeKind.SET_RESOURCES), _CONTAINER),
    **dict.fromkeys((ChangeKind.SET_PROBE, ChangeKind.SET_COMMAND), _CONTAINER),
    **dict.fromkeys((ChangeKind.SET_ENV, ChangeKind.PATCH_OBJECT), _ANY),
    **dict.fromkeys((ChangeKind.APPLY_OBJECT, ChangeKind.CREATE_OBJECT), _ANY),
    **dict.fromkeys((ChangeKind.PATCH_SELECTOR, ChangeKind.PATCH_PORT), _PODS),
    ChangeKind.EDIT_NETWORKPOLICY: _PODS,
    ChangeKind.SET_CONFIG_KEY: (_OWN, "Service"),
    ChangeKind.LABEL_NODE: (_OWN,),
    ChangeKind.ROLLBACK: (),
}
# What a manifest may refer to by name; only the names are kept
_REFERRED = {
    "Secret": ("secretKeyRef", "secretRef", "secretName", "imagePullSecrets"),
    "PersistentVolumeClaim": ("persistentVolumeClaim", "claimName"),
    "ServiceAccount": ("serviceAccountName", "serviceAccount"),
}
_HARMLESS = (ChangeKind.CREATE_OBJECT, ChangeKind.SET_REPLICAS_BOUNDS)  # to the pods there are


def look(cluster: Cluster, change: Change) -> Surroundings:
    """Raises NotFound when the target does not exist (and is not to be created)."""
    return _Look(cluster, change).around()


class _Look:
    def __init__(self, cluster: Cluster, change: Change) -> None:
        self._cluster, self._change = cluster, change
        self._where = change.target.namespace
        self._gaps: list[str] = []

    def around(self) -> Surroundings:
        live = self._target()
        budgets = [
            Budget(
                item["metadata"]["name"],
                int((item.get("status") or {}).get("disruptionsAllowed") or 0),
                int((item.get("status") or {}).get("desiredHealthy") or 0),
            )
            for item in self._budgets(live)
        ]
        return Surroundings(
            managed=managed_by(live) if live else None,
            budgets=tuple(budgets),
            replicas=_replicas(live),
            typed=(*([live] if live else []), *self._typed(live)),
            gaps=tuple(self._gaps),
        )

    def _target(self) -> Object | None:
        try:
            return self._cluster.get(self._change.target)
        except NotFound:
            if self._change.kind is ChangeKind.CREATE_OBJECT:
                return None
            raise
        except SmoldebugError as error:
            self._gaps.append(str(error))
            return None

    def _budgets(self, live: Object | None) -> list[Object]:
        labels = _pod_labels(live)
        if not labels or self._change.kind in _HARMLESS:
            return []
        found = self._list("PodDisruptionBudget")
        return [each for each in found if _selects((each.get("spec") or {}), labels)]

    def _typed(self, live: Object | None) -> list[Json]:
        if self._change.kind not in _SOURCES:
            return []
        target, found = self._change.target, list[Json]()
        if live and target.kind in _REVISIONS:
            found += [each for each in self._list(_REVISIONS[target.kind]) if _owned_by(each, live)]
        kinds = [target.kind if kind is _OWN else kind for kind in _SOURCES[self._change.kind]]
        for kind in dict.fromkeys(kinds):
            if self._where or kind == target.kind:
                found += [each for each in self._list(kind) if not _same_object(each, live)]
        # what a rollback names, its revision names: nobody need be allowed to list Secrets for it
        named = _referred(self._change) if self._where and kinds else ()
        for kind in named:
            found += [_name_only(each) for each in self._list(kind)]
        return found

    def _list(self, kind: str) -> list[Object]:
        try:
            return self._cluster.list(kind, self._where)
        except SmoldebugError as error:
            self._gaps.append(str(error))
            return []


def _referred(change: Change) -> list[str]:
    """The kinds of objects that the new values name."""
    keys: set[str] = set()
    for pointer, value in change.after.items():
        keys |= {*pointer.split("/"), *_keys(value)}
    keys |= _keys(change.manifest)
    return [kind for kind, names in _REFERRED.items() if not keys.isdisjoint(names)]


def _keys(value: Json) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(key for each in value.values() for key in _keys(each))}
    return {key for each in value for key in _keys(each)} if isinstance(value, list) else set()


def _name_only(item: Object) -> Object:
    meta = item["metadata"]
    names = {key: meta[key] for key in ("name", "namespace") if key in meta}
    return {"apiVersion": item.get("apiVersion"), "kind": item.get("kind"), "metadata": names}


def _owned_by(item: Object, owner: Object) -> bool:
    owners = item["metadata"].get("ownerReferences") or []
    return owner["metadata"].get("uid") in [each.get("uid") for each in owners]


def _same_object(one: Object, other: Object | None) -> bool:
    return other is not None and ref_of(one) == ref_of(other)


def _replicas(live: Object | None) -> int | None:
    kind, spec = (live or {}).get("kind"), (live or {}).get("spec") or {}
    if kind in ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"):
        replicas = spec.get("replicas", 1)
    elif kind == "DaemonSet":
        replicas = ((live or {}).get("status") or {}).get("desiredNumberScheduled", 0)
    else:
        replicas = 1 if kind == "Pod" else None
    return replicas if isinstance(replicas, int) else None


def _pod_labels(live: Object | None) -> Mapping[str, Any]:
    """The labels of the pods that a workload, or Pod, stands for."""
    if live is None:
        return {}
    template = live if live.get("kind") == "Pod" else (live.get("spec") or {}).get("template")
    labels = ((template or {}).get("metadata") or {}).get("labels")
    return labels if isinstance(labels, dict) else {}


_OPERATORS: Mapping[str, Callable[[Any, list[Any]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, values: value is not None,
    "DoesNotExist": lambda value, values: value is None,
}


def _selects(budget: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether a budget covers pods with these labels; in doubt it does."""
    selector = budget.get("selector") or {}
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    return all(
        _OPERATORS.get(str(each.get("operator")), _OPERATORS["Exists"])(
            labels.get(each.get("key")), each.get("values") or []
        )
        for each in selector.get("matchExpressions") or ()
    )
