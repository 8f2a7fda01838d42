"""The shop's customers: a real, bounded load from outside the cluster.

    python -m smoldebug.lab.shop.customers ADDRESS PORT PATH

Requests start at the rate last read from stdin (a number per line, in requests per second),
whether or not earlier ones were answered. The end of stdin ends the process.
"""

import http.client
import logging
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

IN_FLIGHT = 64  # at most; who comes on top of them gives up at once
PATIENCE = 3.0  # seconds a customer waits

log = logging.getLogger(__name__)


class _Load:
    def __init__(self, address: str, port: int, path: str) -> None:
        self.address, self.port, self.path = address, port, path
        self.rate = 0.0
        self._free = threading.Semaphore(IN_FLIGHT)
        self._pool = ThreadPoolExecutor(IN_FLIGHT)

    def run(self) -> None:
        due = time.monotonic()
        while True:
            if not self.rate:
                due = time.monotonic()
                time.sleep(0.05)
                continue
            due += random.uniform(0.5, 1.5) / self.rate
            time.sleep(max(0.0, due - time.monotonic()))
            if self._free.acquire(blocking=False):
                self._pool.submit(self._visit)

    def _visit(self) -> None:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=PATIENCE)
        try:
            connection.request("GET", self.path)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            log.debug("a customer left: %s", error)
        finally:
            connection.close()
            self._free.release()


def main(address: str, port: str, path: str) -> None:
    load = _Load(address, int(port), path)
    threading.Thread(target=load.run, daemon=True).start()
    for line in sys.stdin:
        load.rate = float(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
