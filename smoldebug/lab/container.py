"""One container of a pod: a real local process with its probes, restarts and status."""

import math
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smoldebug.errors import ToolError
from smoldebug.lab.environment import ConfigError, environment, expand
from smoldebug.lab.images import PYTHON, Image, find
from smoldebug.lab.objects import Recorder
from smoldebug.lab.paths import Paths
from smoldebug.lab.podlogs import LogPump
from smoldebug.lab.probes import Prober, asker
from smoldebug.lab.quantities import quantity
from smoldebug.lab.runtime import Usage
from smoldebug.lab.store import Store, timestamp
from smoldebug.lab.volumes import MountError, mount
from smoldebug.sources.process import PIPE, STDOUT, Process, signal_group, spawn
from smoldebug.sources.world import Object

Kind = Literal["regular", "init", "ephemeral"]
BACKOFF_LIMIT = 300.0  # seconds
_CALM = 600.0  # seconds a container has to run for its crashes to be forgotten
_PULL_RETRY, _CONFIG_RETRY, _MEASURE_EVERY = 5.0, 1.0, 0.5  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_FIELDS = {
    "regular": "spec.containers",
    "init": "spec.initContainers",
    "ephemeral": "spec.ephemeralContainers",
}


@dataclass(frozen=True, slots=True)
class Node:
    """What all containers of the node share. `backoff`: seconds before the second restart."""

    store: Store
    recorder: Recorder
    pump: LogPump
    pool: Executor
    folder: Path
    hosts: Path
    images: Path
    backoff: float = 10.0


@dataclass(slots=True)
class Container:
    node: Node
    kind: Kind
    spec: Object
    process: Process | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False
    restarts: int = 0
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    usage: Usage | None = None  # None when nothing runs
    logs: list[Path] = field(default_factory=list)  # the previous run's and the present one's
    _paths: Paths = field(default_factory=lambda: Paths(Image(())))
    _probes: dict[str, Prober] = field(default_factory=dict)
    _retry: float = 0.0  # when to start (again), monotonic seconds
    _since: float = 0.0
    _crashes: int = 0
    _deadline: float = math.inf  # when SIGTERM becomes SIGKILL
    _measure_due: float = 0.0
    _cpu: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=10))
    _out_of_memory: bool = False

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def finished(self) -> bool:
        """Ended, and not to be started again."""
        return "terminated" in self.state and self._retry == math.inf

    @property
    def exit_code(self) -> int | None:
        ended = self.state.get("terminated")
        return ended["exitCode"] if ended else None

    def step(self, pod: Object) -> None:
        """Look after the process: start it, probe it, notice its end, start it again."""
        if self.process is not None:
            self._watch(pod, self.process)
        elif "running" not in self.state and time.monotonic() >= self._retry:
            self._start(pod)

    def stop(self, grace: float) -> None:
        """Ask the process to end; `step` or `ended` kills it after `grace` seconds."""
        self._retry = math.inf
        if self.process is not None and self._deadline == math.inf:
            self._deadline = time.monotonic() + grace
            signal_group(self.process, signal.SIGTERM if grace > 0 else signal.SIGKILL)

    def ended(self, pod: Object) -> bool:
        """Whether a container that was told to stop has done so."""
        if self.process is not None:
            self._watch(pod, self.process)
        return self.process is None

    def kill(self) -> None:
        if self.process is not None:
            signal_group(self.process, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def status(self) -> Object:
        process = self.process
        return {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": f"lab://{self.spec['image']}" if self.logs else "",
            "containerID": f"process://{process.pid}" if process else "",
            "restartCount": self.restarts,
            "ready": self.ready,
            "started": process is not None and self._started,
            "state": self.state,
            "lastState": self.last_state,
        }

    def log_of(self, *, previous: bool) -> Path | None:
        """The log of the present run, or of the one before; None where there is none.

        Between two runs both words mean the run that has just ended.
        """
        if previous and self.process is not None:
            return self.logs[-2] if len(self.logs) > 1 else None
        if previous and "terminated" not in self.last_state:
            return None
        return self.logs[-1] if self.logs else None

    # -- starting

    def _start(self, pod: Object) -> None:
        self._retry = time.monotonic() + _CONFIG_RETRY
        image, store = find(self.spec["image"], self.node.images), self.node.store
        if image is None:
            self._image_missing(pod)
            return
        try:
            mounts = mount(store, pod, self.spec, self._folder(pod) / "_volumes")
            self._paths = Paths(image, mounts)
            real = self._paths.in_variable
            self.env = environment(store, pod, self.spec, self.node.hosts, real)
        except MountError as error:
            self.node.recorder.warning(pod, "FailedMount", str(error))
            return
        except ConfigError as error:
            self._wait("CreateContainerConfigError", str(error))
            self._warn(pod, "Failed", f"Error: {error}")
            return
        if "terminated" in self.last_state:
            self.restarts += 1
        command = self.spec.get("command") or image.command
        self._tell(
            pod, "Pulled", f'Container image "{self.spec["image"]}" already present on machine'
        )
        self._run(pod, self.argv((*command, *(self.spec.get("args") or ()))))

    def argv(self, command: Iterable[object]) -> list[str]:
        """A command of the container as it is run on this machine."""
        argv = [expand(self._paths.in_command(str(part)), self.env) for part in command]
        if argv and Path(argv[0]).name in ("python", "python3"):
            argv[0] = PYTHON
        return argv

    def _folder(self, pod: Object) -> Path:
        meta = pod["metadata"]
        return self.node.folder / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"

    @property
    def workdir(self) -> str:
        wanted = self._paths.in_command(self.spec.get("workingDir") or "")
        return wanted or str(self._paths.image.root or self.node.folder)

    def _image_missing(self, pod: Object) -> None:
        image = self.spec["image"]
        self._retry = time.monotonic() + _PULL_RETRY
        if "ImagePull" in self.state.get("waiting", {}).get("reason", ""):
            self._wait("ImagePullBackOff", f'Back-off pulling image "{image}"')
            self._tell(pod, "BackOff", f'Back-off pulling image "{image}"')
            self._warn(pod, "Failed", "Error: ImagePullBackOff")
            return
        why = (
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": '
            f'failed to resolve reference "{image}": {image}: not found'
        )
        self._wait("ErrImagePull", why)
        self._tell(pod, "Pulling", f'Pulling image "{image}"')
        self._warn(pod, "Failed", f'Failed to pull image "{image}": {why}')
        self._warn(pod, "Failed", "Error: ErrImagePull")
        self._retry = time.monotonic() + 1.0

    def _run(self, pod: Object, argv: list[str]) -> None:
        self._since = time.monotonic()
        try:
            self.process = spawn(
                argv,
                env=self.env,
                cwd=self.workdir,
                stdout=PIPE,
                stderr=STDOUT,
                dies_with_parent=True,
            )
        except ToolError:
            what = f'exec: "{argv[0]}": executable file not found in $PATH'
            why = f"failed to create containerd task: failed to create shim task: {what}: unknown"
            self._warn(pod, "Failed", f"Error: {why}")
            self._end(pod, 128, "StartError", why)
            return
        self._keep_log(pod)
        self._deadline, self._out_of_memory = math.inf, False
        self.state = {"running": {"startedAt": self._now()}}
        ask = asker(pod, self.spec, dict(self.env), self.argv)
        self._probes = {
            name: Prober(self.spec[f"{name}Probe"], ask, self._since)
            for name in ("startup", "readiness", "liveness")
            if self.spec.get(f"{name}Probe")
        }
        self.ready = self.kind == "regular" and not {"readiness", "startup"} & set(self._probes)
        self._tell(pod, "Created", f"Created container: {self.name}")
        self._tell(pod, "Started", f"Started container {self.name}")

    def _keep_log(self, pod: Object) -> None:
        path = self._folder(pod) / self.name / f"{self.restarts}.log"
        if self.process is not None and self.process.stdout is not None:
            self.node.pump.attach(self.process.stdout, path)
        for old in self.logs[:-1]:
            old.unlink(missing_ok=True)
        self.logs = [*self.logs[-1:], path]

    # -- watching

    @property
    def _started(self) -> bool:
        return "startup" not in self._probes or self._probes["startup"].held

    def _watch(self, pod: Object, process: Process) -> None:
        code = process.poll()
        if code is not None:
            signal_group(process, signal.SIGKILL)  # what it left behind
            self._end(pod, code if code >= 0 else 128 - code)
            return
        now = time.monotonic()
        if now >= self._deadline:
            signal_group(process, signal.SIGKILL)
        if now >= self._measure_due:
            self._measure_due = now + _MEASURE_EVERY
            self._measure(process, now)
        if self._deadline == math.inf:
            self._probe(pod)

    def _measure(self, process: Process, now: float) -> None:
        """Take the process's use of CPU and memory, and kill it at its memory limit."""
        try:
            values = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        cpu, memory = (int(values[11]) + int(values[12])) / _TICKS, int(values[21]) * _PAGE
        self._cpu.append((now, cpu))
        then, before = self._cpu[0]
        self.usage = Usage((cpu - before) / (now - then) if now > then else 0.0, memory)
        limit = ((self.spec.get("resources") or {}).get("limits") or {}).get("memory")
        if limit and memory > quantity(limit):
            self._out_of_memory = True
            signal_group(process, signal.SIGKILL)

    def _probe(self, pod: Object) -> None:
        for name, prober in self._probes.items():
            if name != "startup" and not self._started:
                continue
            answer = prober.poll(self.node.pool)
            if answer is None:
                continue
            well, why = answer
            if not well and not prober.starting:
                self._warn(pod, "Unhealthy", f"{name.capitalize()} probe failed: {why}")
            if name == "readiness":
                self.ready = prober.holds or (self.ready and not prober.failed)
            elif name == "startup" and prober.held:
                self.ready = "readiness" not in self._probes
            elif prober.failed:
                message = f"Container {self.name} failed {name} probe, will be restarted"
                self._tell(pod, "Killing", message)
                self._stop_to_restart(pod)

    def _stop_to_restart(self, pod: Object) -> None:
        grace = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
        retry = self._retry
        self.stop(grace)
        self._retry = retry

    # -- ending

    def _end(self, pod: Object, code: int, reason: str = "", message: str = "") -> None:
        stopping = self._retry == math.inf
        started = self.state.get("running", {}).get("startedAt", self._now())
        if not reason:
            reason = "Completed" if code == 0 else "Error"
            reason = "OOMKilled" if self._out_of_memory else reason
        ended = {"exitCode": code, "reason": reason, "startedAt": started}
        ended |= {"finishedAt": self._now()} | ({"message": message} if message else {})
        if self.process is not None:
            ended["containerID"] = f"process://{self.process.pid}"
        ran = time.monotonic() - self._since
        self.process, self.ready, self.usage = None, False, None
        self._cpu.clear()
        self.state = {"terminated": ended}
        if stopping or not self._restarts_after(pod, code):
            self._retry = math.inf
            return
        self._crashes = 1 if ran > _CALM else self._crashes + 1
        self.last_state = {"terminated": ended}
        self._back_off(pod)

    def _restarts_after(self, pod: Object, code: int) -> bool:
        policy = pod["spec"].get("restartPolicy", "Always")
        if self.kind == "ephemeral" or policy == "Never":
            return False
        return code != 0 or (policy == "Always" and self.kind == "regular")

    def _back_off(self, pod: Object) -> None:
        """The first restart is immediate; then the waits double."""
        if self._crashes == 1:
            self._retry = time.monotonic()
            return
        wait = min(BACKOFF_LIMIT, self.node.backoff * 2 ** min(self._crashes - 2, 10))
        self._retry = time.monotonic() + wait
        meta = pod["metadata"]
        full = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        self._wait(
            "CrashLoopBackOff",
            f"back-off {wait:g}s restarting failed container={self.name} pod={full}",
        )
        message = f"Back-off restarting failed container {self.name} in pod {full}"
        self._warn(pod, "BackOff", message)

    # -- saying so

    def _wait(self, reason: str, message: str) -> None:
        self.state = {"waiting": {"reason": reason, "message": message}}

    def _now(self) -> str:
        return timestamp(self.node.store.clock.now())

    def _tell(self, pod: Object, reason: str, message: str) -> None:
        self.node.recorder.normal(pod, reason, message, f"{_FIELDS[self.kind]}{{{self.name}}}")

    def _warn(self, pod: Object, reason: str, message: str) -> None:
        self.node.recorder.warning(pod, reason, message, f"{_FIELDS[self.kind]}{{{self.name}}}")
