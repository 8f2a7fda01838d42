"""The kubelet: pods as real local processes, each on a loopback address of its own."""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smoldebug.lab import podlogs
from smoldebug.lab.addresses import Addresses
from smoldebug.lab.apierror import bad_request
from smoldebug.lab.container import Container, Kind, Node
from smoldebug.lab.objects import NODE, NODES, PODS, Loop, Recorder, condition, write_status
from smoldebug.lab.podlogs import LogPump
from smoldebug.lab.runtime import LogOptions, Usage
from smoldebug.lab.store import Store, timestamp
from smoldebug.sources.process import DEVNULL, PIPE, Process, spawn
from smoldebug.sources.world import Object

_TICK = 0.1  # seconds between looks at the processes
_PROBERS = 8  # threads; a probe that hangs holds one for its timeoutSeconds


class Kubelet:
    """Runs the pods bound to the node. `folder` holds their logs and volumes and is their working
    directory; `images` holds the loaded images."""

    def __init__(
        self,
        store: Store,
        addresses: Addresses,
        folder: Path,
        hosts: Path,
        images: Path,
        backoff: float = 10.0,
    ) -> None:
        self.store, self.addresses, self.folder = store, addresses, folder
        self.pods: dict[str, PodWorker] = {}
        pool = ThreadPoolExecutor(_PROBERS, "probe")
        recorder = Recorder(store, "kubelet")
        self._node = Node(store, recorder, LogPump(), pool, folder, hosts, images, backoff)
        self._loop = Loop(store, self._step, "kubelet")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        node = node_object(self.addresses.node, self.store)
        self.store.create(NODES, None, node, manager="kubelet")
        self._loop.start()

    def stop(self) -> None:
        """Kill every pod's processes and wait until they are gone."""
        self._loop.stop()
        for worker in self.pods.values():
            worker.kill()
        self._node.pool.shutdown(wait=True, cancel_futures=True)
        self._node.pump.stop()

    # -- what the API server asks

    def logs(self, pod: Object, container: str, options: LogOptions) -> Iterable[bytes]:
        """See Runtime."""
        name, found = pod["metadata"]["name"], self._container(pod, container)
        path = found.log_of(previous=options.previous) if found else None
        what = f'container "{container}" in pod "{name}"'
        if path is None and options.previous:
            raise bad_request(f"previous terminated {what} not found")
        if found is None or path is None:
            waiting = found.state.get("waiting", {}) if found else {}
            raise bad_request(f"{what} is waiting to start: {waiting.get('reason', 'PodPending')}")
        if not options.follow:
            return [podlogs.read(path, options)]
        return podlogs.follow(path, options, lambda: path in found.logs and bool(found.process))

    def exec(self, pod: Object, container: str, argv: Sequence[str], *, stdin: bool) -> Process:
        """See Runtime. The caller's thread has to live as long as the command."""
        found = self._container(pod, container)
        if found is None or found.process is None:
            raise bad_request(f"container not found ({json.dumps(container)})")
        return spawn(
            found.argv(argv),
            env=found.env,
            cwd=found.workdir,
            stdin=PIPE if stdin else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            dies_with_parent=True,
        )

    def usage(self, pod: Object) -> dict[str, Usage]:
        """See Runtime."""
        worker = self.pods.get(pod["metadata"]["uid"])
        containers = list(worker.containers.values()) if worker else []
        return {c.name: c.usage for c in containers if c.usage}

    def _container(self, pod: Object, name: str) -> Container | None:
        worker = self.pods.get(pod["metadata"]["uid"])
        return worker.containers.get(name) if worker else None

    # -- the loop

    def _step(self) -> float:
        pods = {
            pod["metadata"]["uid"]: pod
            for pod in self.store.scan(PODS)[0]
            if pod["spec"].get("nodeName") == NODE
        }
        for uid in [uid for uid in self.pods if uid not in pods]:
            self._forget(uid)
        for uid, pod in pods.items():
            self._sync(uid, pod)
        return _TICK

    def _sync(self, uid: str, pod: Object) -> None:
        worker = self.pods.get(uid)
        deleted = pod["metadata"].get("deletionTimestamp")
        if worker is None and not deleted:
            worker = self.pods[uid] = PodWorker(self._node, self.addresses.take_pod())
        if worker is not None and not deleted:
            write_status(self.store, PODS, pod, worker.step(pod), "kubelet")
        elif worker is None or worker.stop(pod):
            meta = pod["metadata"]
            self.store.delete(PODS, meta["namespace"], meta["name"], final=True)

    def _forget(self, uid: str) -> None:
        worker = self.pods.pop(uid)
        worker.kill()
        self.addresses.give_back_pod(worker.address)
        for folder in self.folder.glob(f"*_{uid}"):
            shutil.rmtree(folder, ignore_errors=True)


class PodWorker:
    """One pod: its containers in their order, and the status they add up to."""

    def __init__(self, node: Node, address: str) -> None:
        self.node, self.address = node, address
        self.containers: dict[str, Container] = {}
        self._started = timestamp(node.store.clock.now())
        self._stopping = False

    def step(self, pod: Object) -> Object:
        """Look after every container; returns the pod's new status."""
        known = pod.get("status") or {}
        host = self.address.rpartition(".")[0] + ".1"
        pod = {**pod, "status": {**known, "podIP": self.address, "hostIP": host}}
        init = self._of(pod, "initContainers", "init")
        regular = self._of(pod, "containers", "regular")
        waiting_for = next((c for c in init if c.exit_code != 0), None)
        if waiting_for is not None:
            waiting_for.step(pod)
        else:
            for container in regular:
                container.step(pod)
        ephemeral = self._of(pod, "ephemeralContainers", "ephemeral")
        for container in ephemeral:
            container.step(pod)
        status = {
            **pod["status"],
            "podIPs": [{"ip": self.address}],
            "startTime": self._started,
            "qosClass": _qos(pod),
            "phase": _phase(init, regular),
            "containerStatuses": [c.status() for c in regular],
        }
        if init:
            status["initContainerStatuses"] = [c.status() for c in init]
        if ephemeral:
            status["ephemeralContainerStatuses"] = [c.status() for c in ephemeral]
        status["conditions"] = self._conditions(pod, init, regular)
        return status

    def stop(self, pod: Object) -> bool:
        """End the pod within its grace period; True when nothing of it runs any more."""
        if not self._stopping:
            self._stopping = True
            grace = float(pod["metadata"].get("deletionGracePeriodSeconds", 30))
            for container in self.containers.values():
                if container.process is not None:
                    message = f"Stopping container {container.name}"
                    field = f"spec.containers{{{container.name}}}"
                    self.node.recorder.normal(pod, "Killing", message, field)
                container.stop(grace)
        return all([container.ended(pod) for container in self.containers.values()])

    def kill(self) -> None:
        for container in self.containers.values():
            container.kill()

    def _of(self, pod: Object, field: str, kind: Kind) -> list[Container]:
        """The pod's containers of one kind; a changed image takes hold at the next restart."""
        found = []
        for spec in pod["spec"].get(field) or ():
            container = self.containers.get(spec["name"])
            if container is None:
                container = self.containers[spec["name"]] = Container(self.node, kind, spec)
            container.spec = spec
            found.append(container)
        return found

    def _conditions(
        self, pod: Object, init: list[Container], regular: list[Container]
    ) -> list[Object]:
        unready = [c.name for c in regular if not c.ready]
        message = f"containers with unready status: [{' '.join(unready)}]" if unready else ""
        uninitialized = [c.name for c in init if c.exit_code != 0]
        pending = f"containers with incomplete status: [{' '.join(uninitialized)}]"
        wanted = (
            ("PodScheduled", True, "", ""),
            ("Initialized", not uninitialized, "ContainersNotInitialized", pending),
            ("ContainersReady", not unready, "ContainersNotReady", message),
            ("Ready", not unready, "ContainersNotReady", message),
        )
        now = timestamp(self.node.store.clock.now())
        conditions = []
        for type_, holds, reason, why in wanted:
            status, was = "True" if holds else "False", condition(pod, type_)
            turned = was.get("lastTransitionTime", now) if was.get("status") == status else now
            new = {"type": type_, "status": status, "lastTransitionTime": turned}
            conditions.append(new if holds else {**new, "reason": reason, "message": why})
        return conditions


def _phase(init: list[Container], regular: list[Container]) -> str:
    if any(c.finished and c.exit_code != 0 for c in init):
        return "Failed"
    if regular and all(c.finished for c in regular):
        return "Succeeded" if all(c.exit_code == 0 for c in regular) else "Failed"
    begun = any(c.process is not None or c.logs or c.last_state for c in regular)
    return "Running" if begun else "Pending"


def _qos(pod: Object) -> str:
    resources = [c.get("resources") or {} for c in pod["spec"]["containers"]]
    if not any(r.get("limits") or r.get("requests") for r in resources):
        return "BestEffort"
    whole = all(
        r.get("limits", {}).keys() >= {"cpu", "memory"} and r.get("requests") == r["limits"]
        for r in resources
    )
    return "Guaranteed" if whole else "Burstable"


def node_object(address: str, store: Store) -> Object:
    """The one node: this machine."""
    now = timestamp(store.clock.now())
    machine = os.uname()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    capacity = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": "110"}
    healthy = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    )
    return {
        "metadata": {
            "name": NODE,
            "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"},
        },
        "spec": {},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": NODE},
            ],
            "conditions": [
                {
                    "type": type_,
                    "status": status,
                    "reason": reason,
                    "message": "the lab's node is this machine",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
                for type_, status, reason in healthy
            ],
            "nodeInfo": {
                "architecture": machine.machine,
                "bootID": "",
                "containerRuntimeVersion": "process://1",
                "kernelVersion": machine.release,
                "kubeProxyVersion": "v1.32.0",
                "kubeletVersion": "v1.32.0",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "local processes",
                "systemUUID": "",
            },
        },
    }
