"""The Deployment controller: a ReplicaSet per revision, and the way from one to the next."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from smoldebug.lab.catalog import Resource
from smoldebug.lab.objects import (
    DEPLOYMENTS,
    MANAGER,
    REPLICASETS,
    Recorder,
    change_object,
    condition,
    owned_by,
    owner_reference,
    write_status,
)
from smoldebug.lab.podtemplates import digest
from smoldebug.lab.store import Store, clone, timestamp
from smoldebug.sources.world import Object

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
HASH = "pod-template-hash"
_NOT_COPIED = (REVISION, "kubectl.kubernetes.io/last-applied-configuration")
_MANY_SECONDS = 30.0


@dataclass(slots=True)
class Rollout:
    """A Deployment with its ReplicaSets: `new` is the one of the present template."""

    deployment: Object
    new: Object | None
    old: list[Object]  # oldest revision first

    @property
    def want(self) -> int:
        return int(self.deployment["spec"]["replicas"])

    @property
    def all(self) -> list[Object]:
        return [*self.old, self.new] if self.new else self.old

    def bounds(self) -> tuple[int, int]:
        """How many pods there may be at most, and how many must be available at least."""
        strategy = self.deployment["spec"]["strategy"]
        if strategy["type"] == "Recreate":
            return self.want, 0
        rolling = strategy["rollingUpdate"]
        surge = share(rolling["maxSurge"], self.want, math.ceil)
        unavailable = share(rolling["maxUnavailable"], self.want, math.floor)
        if not surge and not unavailable:
            unavailable = 1
        return self.want + surge, max(0, self.want - unavailable)


class DeploymentController:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.recorder = Recorder(store, "deployment-controller")

    def step(self) -> float:
        """Reconcile every Deployment; returns the seconds until the next progress deadline."""
        replicasets, _ = self.store.scan(REPLICASETS)
        waits = [_MANY_SECONDS]
        for deployment in self.store.scan(DEPLOYMENTS)[0]:
            if deployment["metadata"].get("deletionTimestamp"):
                continue
            rollout = _rollout(deployment, owned_by(deployment, replicasets))
            if not deployment["spec"].get("paused"):
                self._ensure_new(rollout)
                self._adopt_revision(rollout)
            self._scale(rollout)
            self._forget_old(rollout)
            waits.append(self._write_status(rollout))
        return min(waits)

    # -- revisions

    def _ensure_new(self, rollout: Rollout) -> None:
        revision = max((_revision(r) for r in rollout.old), default=0) + 1
        if rollout.new is None:
            rollout.new = self._create(rollout, revision)
        elif _revision(rollout.new) < revision:
            rollout.new = self._annotate(REPLICASETS, rollout.new, str(revision))

    def _create(self, rollout: Rollout, revision: int) -> Object:
        deployment = rollout.deployment
        meta, template = deployment["metadata"], clone(deployment["spec"]["template"])
        hashed = digest(template)
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[HASH] = hashed
        selector = clone(deployment["spec"]["selector"])
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: hashed}
        notes = meta.get("annotations") or {}
        annotations = {k: v for k, v in notes.items() if k not in _NOT_COPIED}
        spec = {"replicas": 0, "selector": selector, "template": template}
        if "minReadySeconds" in deployment["spec"]:
            spec["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        return self.store.create(
            REPLICASETS,
            meta["namespace"],
            {
                "metadata": {
                    "name": f"{meta['name']}-{hashed}",
                    "labels": dict(labels),
                    "annotations": {**annotations, REVISION: str(revision)},
                    "ownerReferences": [owner_reference(deployment)],
                },
                "spec": spec,
            },
            manager=MANAGER,
        )

    def _adopt_revision(self, rollout: Rollout) -> None:
        if rollout.new and _revision(rollout.deployment) != _revision(rollout.new):
            rollout.deployment = self._annotate(
                DEPLOYMENTS, rollout.deployment, str(_revision(rollout.new))
            )

    def _annotate(self, kind: Resource, obj: Object, revision: str) -> Object:
        def change(current: Object) -> Object:
            annotations = current["metadata"].setdefault("annotations", {})
            if kind is REPLICASETS and (old := annotations.get(REVISION)):
                annotations[HISTORY] = ",".join(filter(None, (annotations.get(HISTORY), old)))
            annotations[REVISION] = revision
            return current

        return change_object(self.store, kind, obj, change)

    def _forget_old(self, rollout: Rollout) -> None:
        limit = rollout.deployment["spec"]["revisionHistoryLimit"]
        idle = [r for r in rollout.old if not r["spec"]["replicas"] and not _count(r, "replicas")]
        for replicaset in idle[: max(0, len(idle) - limit)]:
            meta = replicaset["metadata"]
            self.store.delete(REPLICASETS, meta["namespace"], meta["name"])

    # -- scaling

    def _scale(self, rollout: Rollout) -> None:
        active = [r for r in rollout.all if r["spec"]["replicas"]]
        if rollout.deployment["spec"].get("paused"):
            if len(active) == 1:
                self._set_replicas(rollout, active[0], rollout.want)
            return
        if rollout.new is None:
            return
        if rollout.deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(rollout, rollout.new)
        else:
            self._roll(rollout, rollout.new)

    def _recreate(self, rollout: Rollout, new: Object) -> None:
        for replicaset in rollout.old:
            self._set_replicas(rollout, replicaset, 0)
        if not any(_count(replicaset, "replicas") for replicaset in rollout.old):
            self._set_replicas(rollout, new, rollout.want)

    def _roll(self, rollout: Rollout, new: Object) -> None:
        most, least = rollout.bounds()
        have = new["spec"]["replicas"]
        others = sum(r["spec"]["replicas"] for r in rollout.old)
        if have > rollout.want or not others:
            self._set_replicas(rollout, new, rollout.want)
        elif have < rollout.want:
            self._set_replicas(rollout, new, min(rollout.want, have + max(0, most - have - others)))
        have = new["spec"]["replicas"]
        spare = others + have - least - (have - min(have, _count(new, "availableReplicas")))
        spare = self._scale_down(rollout, spare, unavailable_only=True)
        available = sum(_count(r, "availableReplicas") for r in rollout.all)
        self._scale_down(rollout, min(spare, available - least), unavailable_only=False)

    def _scale_down(self, rollout: Rollout, spare: int, *, unavailable_only: bool) -> int:
        """Take up to `spare` pods from the old ReplicaSets; returns what is left to take."""
        for replicaset in rollout.old:
            have = replicaset["spec"]["replicas"]
            candidates = (
                have - _count(replicaset, "availableReplicas") if unavailable_only else have
            )
            fewer = min(candidates, spare)
            if fewer > 0:
                self._set_replicas(rollout, replicaset, have - fewer)
                spare -= fewer
        return spare

    def _set_replicas(self, rollout: Rollout, replicaset: Object, count: int) -> None:
        was = replicaset["spec"]["replicas"]
        if count == was:
            return
        meta = replicaset["metadata"]

        def change(current: Object) -> Object:
            current["spec"]["replicas"] = count
            return current

        change_object(self.store, REPLICASETS, replicaset, change)
        replicaset["spec"] = {**replicaset["spec"], "replicas": count}
        self.recorder.normal(
            rollout.deployment,
            "ScalingReplicaSet",
            f"Scaled {'up' if count > was else 'down'} replica set {meta['name']}"
            f" from {was} to {count}",
        )

    # -- status

    def _write_status(self, rollout: Rollout) -> float:
        deployment, before = rollout.deployment, rollout.deployment.get("status") or {}
        available = sum(_count(r, "availableReplicas") for r in rollout.all)
        counts = {
            "replicas": sum(_count(r, "replicas") for r in rollout.all),
            "updatedReplicas": _count(rollout.new, "replicas") if rollout.new else 0,
            "readyReplicas": sum(_count(r, "readyReplicas") for r in rollout.all),
            "availableReplicas": available,
            "unavailableReplicas": max(0, rollout.want - available),
        }
        status: Object = {name: count for name, count in counts.items() if count}
        status["observedGeneration"] = deployment["metadata"]["generation"]
        wait = _MANY_SECONDS
        conditions = [self._available(rollout, available)]
        progress = self._progressing(rollout, counts, before)
        if progress:
            conditions.append(progress)
            wait = self._seconds_left(deployment, progress)
        status["conditions"] = conditions
        write_status(self.store, DEPLOYMENTS, deployment, status)
        return wait

    def _available(self, rollout: Rollout, available: int) -> Object:
        if available >= rollout.bounds()[1]:
            message = "Deployment has minimum availability."
            return self._condition(
                rollout, "Available", "True", "MinimumReplicasAvailable", message
            )
        message = "Deployment does not have minimum availability."
        return self._condition(rollout, "Available", "False", "MinimumReplicasUnavailable", message)

    def _progressing(self, rollout: Rollout, counts: dict[str, int], before: Object) -> Object:
        now = condition(rollout.deployment, "Progressing")
        if rollout.deployment["spec"].get("paused"):
            return self._progress(rollout, "DeploymentPaused", "Deployment is paused", "Unknown")
        if rollout.new is None:
            return now
        name = f'ReplicaSet "{rollout.new["metadata"]["name"]}"'
        done = counts["replicas"] == counts["updatedReplicas"] == rollout.want
        if done and counts["availableReplicas"] == rollout.want:
            message = f"{name} has successfully progressed."
            return self._progress(rollout, "NewReplicaSetAvailable", message)
        if now.get("reason") == "NewReplicaSetAvailable" and name in now.get("message", ""):
            return now  # a rollout that came to its end stays so, whatever the pods do later
        if _moved(counts, before) or not now or name not in now.get("message", ""):
            message = f"{name} is progressing."
            return self._progress(rollout, "ReplicaSetUpdated", message, renew=True)
        if self._seconds_left(rollout.deployment, now) <= 0:
            message = f"{name} has timed out progressing."
            return self._progress(rollout, "ProgressDeadlineExceeded", message, "False")
        return now

    def _progress(
        self, rollout: Rollout, reason: str, message: str, state: str = "True", renew: bool = False
    ) -> Object:
        new = self._condition(rollout, "Progressing", state, reason, message)
        return {**new, "lastUpdateTime": timestamp(self.store.clock.now())} if renew else new

    def _condition(
        self, rollout: Rollout, type_: str, state: str, reason: str, message: str
    ) -> Object:
        """The condition with its times: they move only when what it says does."""
        now = timestamp(self.store.clock.now())
        was = condition(rollout.deployment, type_)
        new = {"type": type_, "status": state, "reason": reason, "message": message}
        if was and all(was.get(key) == value for key, value in new.items()):
            return was
        turned = was.get("lastTransitionTime", now) if was.get("status") == state else now
        return {**new, "lastUpdateTime": now, "lastTransitionTime": turned}

    def _seconds_left(self, deployment: Object, progress: Object) -> float:
        if progress.get("reason") != "ReplicaSetUpdated":
            return _MANY_SECONDS
        since = datetime.fromisoformat(progress["lastUpdateTime"])
        passed = (self.store.clock.now() - since).total_seconds()
        return float(deployment["spec"]["progressDeadlineSeconds"]) - passed


def _rollout(deployment: Object, replicasets: list[Object]) -> Rollout:
    hashed = digest(deployment["spec"]["template"])
    ordered = [dict(r) for r in sorted(replicasets, key=_revision)]
    new = next((r for r in ordered if r["metadata"]["labels"].get(HASH) == hashed), None)
    return Rollout(deployment, new, [r for r in ordered if r is not new])


def _revision(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _count(replicaset: Object, field: str) -> int:
    return int((replicaset.get("status") or {}).get(field, 0))


def share(value: int | str, whole: int, rounded: Callable[[float], int]) -> int:
    """A number, or a percentage of `whole`."""
    if isinstance(value, str) and value.endswith("%"):
        return int(rounded(whole * float(value[:-1]) / 100))
    return int(value)


def _moved(counts: dict[str, int], before: Object) -> bool:
    """Whether a rollout came closer to its end."""
    had = {name: int(before.get(name, 0)) for name in counts}
    grew = ("updatedReplicas", "readyReplicas", "availableReplicas")
    fewer_old = (
        counts["replicas"] - counts["updatedReplicas"] < had["replicas"] - had["updatedReplicas"]
    )
    return fewer_old or any(counts[name] > had[name] for name in grew)
