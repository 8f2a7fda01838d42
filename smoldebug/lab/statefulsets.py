"""The StatefulSet controller: pods by number, each with its name and its volumes.

There are no ControllerRevisions: a pod that is missing is made of the present template, whatever
its number.
"""

from smoldebug.lab.objects import (
    CLAIMS,
    MANAGER,
    PODS,
    STATEFULSETS,
    Recorder,
    is_active,
    is_available,
    is_ready,
    owned_by,
    write_status,
)
from smoldebug.lab.podtemplates import PodMaker, digest, pod_of
from smoldebug.lab.store import ApiError, Store, clone
from smoldebug.sources.world import Object

REVISION = "controller-revision-hash"


class StatefulSetController:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.recorder = Recorder(store, "statefulset-controller")
        self._pods = PodMaker(store, self.recorder)

    def step(self) -> float:
        pods, _ = self.store.scan(PODS)
        for stateful_set in self.store.scan(STATEFULSETS)[0]:
            if not stateful_set["metadata"].get("deletionTimestamp"):
                self._reconcile(stateful_set, owned_by(stateful_set, pods))
        return 1.0  # for minReadySeconds

    def _reconcile(self, owner: Object, pods: list[Object]) -> None:
        named = {pod["metadata"]["name"]: pod for pod in pods}
        revision = f"{owner['metadata']['name']}-{digest(owner['spec']['template'])}"
        self._act(owner, named, revision)
        self._write_status(owner, pods, revision)

    def _act(self, owner: Object, named: dict[str, Object], revision: str) -> None:
        """Take the next step; one at a time, unless the pods need not be in order."""
        spec = owner["spec"]
        in_order = spec["podManagementPolicy"] == "OrderedReady"
        first = (spec.get("ordinals") or {}).get("start", 0)
        wanted = [f"{owner['metadata']['name']}-{first + n}" for n in range(spec["replicas"])]
        for name in wanted:
            pod = named.get(name)
            if pod is None:
                self._create(owner, name, revision)
            elif not is_active(pod) and not pod["metadata"].get("deletionTimestamp"):
                self._delete(owner, name)
            if in_order and not (pod and is_active(pod) and self._is_available(owner, pod)):
                break
        else:
            if self._shrink(owner, named, wanted, in_order=in_order):
                return
        self._update(owner, named, wanted, revision)

    def _shrink(
        self, owner: Object, named: dict[str, Object], wanted: list[str], *, in_order: bool
    ) -> bool:
        """Take away those with the highest numbers; False when there are none too many."""
        surplus = sorted(named.keys() - set(wanted), key=_number, reverse=True)
        for name in surplus[: 1 if in_order else None]:
            if not named[name]["metadata"].get("deletionTimestamp"):
                self._delete(owner, name)
        return bool(surplus)

    def _update(
        self, owner: Object, named: dict[str, Object], wanted: list[str], revision: str
    ) -> None:
        """Replace the last pod of an old revision, once those after it are well."""
        strategy = owner["spec"]["updateStrategy"]
        if strategy["type"] != "RollingUpdate":
            return
        partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
        for name in reversed([name for name in wanted if _number(name) >= partition]):
            pod = named.get(name)
            if pod is None or pod["metadata"].get("deletionTimestamp"):
                return
            if _revision(pod) != revision:
                self._delete(owner, name)
                return
            if not self._is_available(owner, pod):
                return

    def _is_available(self, owner: Object, pod: Object) -> bool:
        wait = float(owner["spec"].get("minReadySeconds", 0))
        return is_available(pod, wait, self.store.clock.now())

    def _create(self, owner: Object, name: str, revision: str) -> None:
        labels = {REVISION: revision, "statefulset.kubernetes.io/pod-name": name}
        labels["apps.kubernetes.io/pod-index"] = str(_number(name))
        pod = pod_of(owner, labels)
        pod["metadata"]["name"] = name
        pod["spec"] |= {"hostname": name, "subdomain": owner["spec"].get("serviceName", "")}
        volumes = self._claim(owner, name)
        kept = [v for v in pod["spec"].get("volumes") or () if v["name"] not in volumes]
        claims = [
            {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
            for volume, claim in volumes.items()
        ]
        if kept or claims:
            pod["spec"]["volumes"] = kept + claims
        what = f"create Pod {name} in StatefulSet {owner['metadata']['name']}"
        if self._pods.create(owner, pod, f"{what} failed error"):
            self.recorder.normal(owner, "SuccessfulCreate", f"{what} successful")

    def _claim(self, owner: Object, pod: str) -> dict[str, str]:
        """Volume -> the claim of this pod's own, made where it is missing; it stays."""
        found = {}
        for template in owner["spec"].get("volumeClaimTemplates") or ():
            volume = template["metadata"]["name"]
            found[volume] = f"{volume}-{pod}"
            claim = {"metadata": {"name": found[volume]}, "spec": clone(template["spec"])}
            try:
                self.store.create(CLAIMS, owner["metadata"]["namespace"], claim, manager=MANAGER)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
        return found

    def _delete(self, owner: Object, name: str) -> None:
        self.store.delete(PODS, owner["metadata"]["namespace"], name)
        message = f"delete Pod {name} in StatefulSet {owner['metadata']['name']} successful"
        self.recorder.normal(owner, "SuccessfulDelete", message)

    def _write_status(self, owner: Object, pods: list[Object], revision: str) -> None:
        before = owner.get("status") or {}
        active = [pod for pod in pods if is_active(pod)]
        updated = [pod for pod in active if _revision(pod) == revision]
        current = before.get("currentRevision", revision)
        if len(updated) == len(active) == owner["spec"]["replicas"] and all(map(is_ready, active)):
            current = revision
        status = {
            "replicas": len(active),
            "readyReplicas": sum(map(is_ready, active)),
            "availableReplicas": sum(self._is_available(owner, pod) for pod in active),
            "currentReplicas": sum(_revision(pod) == current for pod in active),
            "updatedReplicas": len(updated),
            "currentRevision": current,
            "updateRevision": revision,
            "collisionCount": 0,
            "observedGeneration": owner["metadata"]["generation"],
        }
        optional = ("readyReplicas", "currentReplicas", "updatedReplicas")
        kept = {name: value for name, value in status.items() if value or name not in optional}
        write_status(self.store, STATEFULSETS, owner, kept)


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _revision(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION, ""))
