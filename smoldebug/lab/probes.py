"""Probes: ask a container over HTTP, TCP or a command whether it is well."""

import http.client
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from smoldebug.errors import ToolError
from smoldebug.sources.process import LocalProcesses
from smoldebug.sources.world import Object

_EAGER = 0.2  # seconds between readiness probes until the first one holds
Answer = tuple[bool, str]  # whether it is well; what was wrong, in the kubelet's words


@dataclass(slots=True)
class Prober:
    """One probe of one run of a container: when it is due, and what the answers so far mean."""

    spec: Object
    ask: Callable[[Object], Answer]
    start: float
    held: bool = False  # whether it has ever held
    good: int = 0
    bad: int = 0
    due: float = 0.0
    pending: Future[Answer] | None = None
    _asked: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.due = self.start + self.spec.get("initialDelaySeconds", 0)

    def poll(self, pool: Executor) -> Answer | None:
        """Start asking when it is time to; the answer when there is a new one."""
        now = time.monotonic()
        if self.pending is None:
            if now >= self.due:
                self._asked = now
                self.pending = pool.submit(self.ask, self.spec)
            return None
        if not self.pending.done():
            return None
        well, why = self.pending.result()
        self.pending = None
        self.good, self.bad = (self.good + 1, 0) if well else (0, self.bad + 1)
        self.held = self.held or well
        self.due = self._asked + self._period()
        return well, why

    def _period(self) -> float:
        """A container that has just started is looked at more often, so that a lab is up soon."""
        period = float(self.spec["periodSeconds"])
        young = self._asked < self.start + period
        return min(period, _EAGER) if young and not self.held else period

    @property
    def starting(self) -> bool:
        """Whether a failure is no news yet: it has never held and is still young."""
        return not self.held and self._asked < self.start + float(self.spec["periodSeconds"])

    @property
    def holds(self) -> bool:
        return bool(self.good >= self.spec["successThreshold"])

    @property
    def failed(self) -> bool:
        return self.bad >= int(self.spec["failureThreshold"]) and not self.starting


def asker(
    pod: Object,
    container: Object,
    env: dict[str, str],
    argv: Callable[[Iterable[object]], list[str]],
) -> Callable[[Object], Answer]:
    """A function that carries out a probe of this container, whose commands `argv` makes."""
    address = pod["status"]["podIP"]

    def ask(spec: Object) -> Answer:
        timeout = float(spec["timeoutSeconds"])
        if "httpGet" in spec:
            return _http(address, _port(container, spec["httpGet"]), spec["httpGet"], timeout)
        if "tcpSocket" in spec:
            return _tcp(address, _port(container, spec["tcpSocket"]), timeout)
        if "exec" in spec:
            return _exec(argv(spec["exec"].get("command") or ()), env, timeout)
        return False, "the lab knows httpGet, tcpSocket and exec probes only"

    return ask


def _port(container: Object, target: Object) -> int:
    """A port number, or a container port's by its name; 0 (refused) for what is neither."""
    port = target["port"]
    if isinstance(port, int) or port.isdigit():
        return int(port)
    named = {p.get("name"): p["containerPort"] for p in container.get("ports") or ()}
    return int(named.get(port, 0))


def _http(address: str, port: int, target: Object, timeout: float) -> Answer:
    url = f"http://{address}:{port}{target['path']}"
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", target["path"], headers={"User-Agent": "kube-probe/1.32"})
        status = connection.getresponse().status
    except TimeoutError:
        return False, f'Get "{url}": context deadline exceeded'
    except (OSError, http.client.HTTPException) as error:
        return False, f'Get "{url}": {_refusal(address, port, error)}'
    finally:
        connection.close()
    return 200 <= status < 400, f"HTTP probe failed with statuscode: {status}"


def _tcp(address: str, port: int, timeout: float) -> Answer:
    try:
        socket.create_connection((address, port), timeout).close()
    except OSError as error:
        return False, _refusal(address, port, error)
    return True, ""


def _exec(command: list[str], env: dict[str, str], timeout: float) -> Answer:
    try:
        done = LocalProcesses().run(command, timeout=timeout, env=env)
    except ToolError as error:
        return False, str(error)
    if done.code is None:
        return False, f"command timed out after {timeout:g}s"
    return done.code == 0, (done.stdout + done.stderr)[:500].strip()


def _refusal(address: str, port: int, error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {address}:{port}: connect: connection refused"
    return str(error) or type(error).__name__
