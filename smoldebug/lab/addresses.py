"""The lab's loopback addresses: pods on 127.1.B.y, Services on 127.2.B.y, B its own block.

Several labs on one machine take different blocks; a bound socket on the node's address is the
claim, so that a block is free again whenever its lab has ended, however it ended.
"""

import errno
import random
import socket
import threading
from collections import deque

from smoldebug.errors import UsageError
from smoldebug.lab.catalog import Resource
from smoldebug.sources.world import Object

BLOCKS = 255
_CLAIM_PORT = 10250  # where a real kubelet listens


class Addresses:
    """Hands out addresses; thread-safe. Raises UsageError where there are none to have."""

    def __init__(self) -> None:
        self._claim, self.block = _claim_block()
        self.node = f"127.1.{self.block}.1"
        hosts = range(2, 255)
        self._pods = deque(f"127.1.{self.block}.{host}" for host in hosts)
        self._services = deque(f"127.2.{self.block}.{host}" for host in hosts)
        self._lock = threading.Lock()

    def close(self) -> None:
        self._claim.close()

    def take_pod(self) -> str:
        with self._lock:
            return self._pods.popleft()

    def give_back_pod(self, address: str) -> None:
        """Last in line again: an address is not reused while somebody may remember it."""
        with self._lock:
            self._pods.append(address)

    def admit(self, verb: str, kind: Resource, old: Object | None, new: Object) -> None:
        """Admission: a new Service gets a ClusterIP this machine can really listen on."""
        spec = new.get("spec")
        if verb != "create" or kind.kind != "Service" or not isinstance(spec, dict):
            return
        if spec.get("clusterIP", "None") == "None" or spec.get("type") == "ExternalName":
            return
        with self._lock:
            spec["clusterIP"] = self._services.popleft()
            self._services.append(spec["clusterIP"])
        spec["clusterIPs"] = [spec["clusterIP"]]


def _claim_block() -> tuple[socket.socket, int]:
    """In random order: ports of a lab that has just ended may still be in TIME_WAIT."""
    for block in random.sample(range(BLOCKS), BLOCKS):
        claim = socket.socket()
        try:
            claim.bind((f"127.1.{block}.1", _CLAIM_PORT))
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise UsageError(
                    f"the lab cannot use addresses such as 127.1.0.1 on this machine: {error}",
                    "the lab runs on Linux, where all of 127.0.0.0/8 is loopback",
                ) from None
        else:
            return claim, block
    raise UsageError(f"all {BLOCKS} address blocks are taken by other labs on this machine")
