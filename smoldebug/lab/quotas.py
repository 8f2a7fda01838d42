"""ResourceQuotas: counts of objects, pods, and what pods request and are limited to."""

import math

from smoldebug.lab.apierror import ApiError
from smoldebug.lab.catalog import RESOURCES, Resource
from smoldebug.lab.objects import PODS, QUOTAS, write_status
from smoldebug.lab.quantities import quantity
from smoldebug.lab.store import Store
from smoldebug.sources.world import Object

_COUNTED = frozenset(
    ("pods", "services", "configmaps", "secrets", "persistentvolumeclaims", "resourcequotas")
    + ("replicationcontrollers",)
)


class Quotas:
    """Refuses what would be too much, and keeps the quotas' status."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def admit(self, operation: str, resource: Resource, old: Object | None, new: Object) -> None:
        """Raises ApiError 403. See `Store.admission`."""
        if operation != "create" or not resource.namespaced:
            return
        for quota in self.store.scan(QUOTAS, new["metadata"]["namespace"])[0]:
            self._check(quota, resource, new)

    def _check(self, quota: Object, resource: Resource, new: Object) -> None:
        hard, name = quota["spec"].get("hard") or {}, quota["metadata"]["name"]
        asked = {key: _amount(key, resource, new) for key in sorted(hard)}
        silent = [key for key, amount in asked.items() if amount is None]
        if silent:
            raise _refusal(resource, new, f"failed quota: {name}: must specify {','.join(silent)}")
        used = {key: self._used(key, new["metadata"]["namespace"]) for key in hard}
        over = [key for key, n in asked.items() if n and used[key] + n > quantity(hard[key])]
        if over:
            requested = ",".join(f"{key}={_text(key, asked[key] or 0)}" for key in over)
            present = ",".join(f"{key}={_text(key, used[key])}" for key in over)
            limited = ",".join(f"{key}={hard[key]}" for key in over)
            words = f"requested: {requested}, used: {present}, limited: {limited}"
            raise _refusal(resource, new, f"exceeded quota: {name}, {words}")

    def _used(self, key: str, namespace: str) -> float:
        kinds = [r for r in RESOURCES if _counts(key, r)] or [PODS]
        return sum(
            _amount(key, kinds[0], obj) or 0 for obj in self.store.scan(kinds[0], namespace)[0]
        )

    def step(self) -> float:
        for quota in self.store.scan(QUOTAS)[0]:
            hard, namespace = quota["spec"].get("hard") or {}, quota["metadata"]["namespace"]
            used = {key: _text(key, self._used(key, namespace)) for key in hard}
            write_status(self.store, QUOTAS, quota, {"hard": hard, "used": used})
        return 30.0


def _counts(key: str, resource: Resource) -> bool:
    """Whether a quota's key counts objects of this kind."""
    plain = key in _COUNTED and not resource.group and resource.plural == key
    return plain or key == f"count/{resource.qualified}"


def _amount(key: str, resource: Resource, obj: Object) -> float | None:
    """How much of `key` the object takes; None for a pod that has to say and does not."""
    if _counts(key, resource):
        return float(resource is not PODS or _lasts(obj))
    group, _, name = key.partition(".")
    if resource is not PODS or key.startswith("count/") or key in _COUNTED:
        return 0.0
    if key in ("cpu", "memory"):
        group, name = "requests", key
    if group not in ("requests", "limits") or not _lasts(obj):
        return 0.0
    amounts = [
        ((container.get("resources") or {}).get(group) or {}).get(name)
        for container in obj["spec"].get("containers") or ()
    ]
    known = [quantity(amount) for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _lasts(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _text(key: str, amount: float) -> str:
    """As a quantity, in the unit that needs no fraction."""
    if key.endswith("cpu") and amount % 1:
        return f"{round(amount * 1000)}m"
    if key.endswith("memory") and amount:
        exponent = max(e for e in range(4) if amount % 1024**e == 0)
        return f"{math.floor(amount / 1024**exponent)}{('', 'Ki', 'Mi', 'Gi')[exponent]}"
    return f"{amount:g}"


def _refusal(resource: Resource, new: Object, why: str) -> ApiError:
    name = new["metadata"]["name"]
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return ApiError(403, "Forbidden", message, **details)
