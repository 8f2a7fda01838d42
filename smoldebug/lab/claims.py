"""The volume binder: every claim is bound, as by a storage class that makes what is asked for."""

from smoldebug.lab.objects import CLAIMS, change_object, write_status
from smoldebug.lab.store import Store
from smoldebug.sources.world import Object


class ClaimController:
    def __init__(self, store: Store) -> None:
        self.store = store

    def step(self) -> float:
        for claim in self.store.scan(CLAIMS)[0]:
            if (claim.get("status") or {}).get("phase") == "Pending":
                self._bind(claim)
        return 30.0

    def _bind(self, claim: Object) -> None:
        volume = f"pvc-{claim['metadata']['uid']}"

        def named(current: Object) -> Object:
            return {**current, "spec": {**current["spec"], "volumeName": volume}}

        bound = change_object(self.store, CLAIMS, claim, named)
        spec = claim["spec"]
        capacity = (spec.get("resources") or {}).get("requests") or {}
        modes = spec.get("accessModes") or []
        status = {"phase": "Bound", "accessModes": modes, "capacity": capacity}
        write_status(self.store, CLAIMS, bound, status)
