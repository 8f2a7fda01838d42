"""The HorizontalPodAutoscaler's bounds: replicas stay between minReplicas and maxReplicas.

Metrics are not looked at; within its bounds a workload keeps the size somebody gave it.
"""

from smoldebug.lab.catalog import resource
from smoldebug.lab.objects import AUTOSCALERS, Recorder, change_object, write_status
from smoldebug.lab.store import ApiError, Store
from smoldebug.sources.world import Object


class Autoscaler:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.recorder = Recorder(store, "horizontal-pod-autoscaler")

    def step(self) -> float:
        for autoscaler in self.store.scan(AUTOSCALERS)[0]:
            self._reconcile(autoscaler)
        return 30.0

    def _reconcile(self, autoscaler: Object) -> None:
        spec, target = autoscaler["spec"], autoscaler["spec"]["scaleTargetRef"]
        namespace, name = autoscaler["metadata"]["namespace"], target["name"]
        try:
            kind = resource(target["kind"])
            workload = self.store.peek(kind, namespace, name)
            now = workload["spec"]["replicas"]
        except (ApiError, LookupError, KeyError) as error:
            message = f"the HPA controller was unable to get the target's current scale: {error}"
            self.recorder.warning(autoscaler, "FailedGetScale", message)
            return
        wanted = max(spec["minReplicas"], min(spec["maxReplicas"], now)) if now else 0

        def scale(current: Object) -> Object:
            current["spec"]["replicas"] = wanted
            return current

        if wanted != now:
            change_object(self.store, kind, workload, scale, "scale")
            bound = "below" if wanted > now else "above"
            message = f"New size: {wanted}; reason: Current number of replicas {bound} Spec."
            message += "MinReplicas" if wanted > now else "MaxReplicas"
            self.recorder.normal(autoscaler, "SuccessfulRescale", message)
        status = {**(autoscaler.get("status") or {}), "currentReplicas": now}
        write_status(self.store, AUTOSCALERS, autoscaler, {**status, "desiredReplicas": wanted})
