"""auth: verifies tokens with a bounded pool of workers, so that its capacity is a known number.

A worker takes SERVICE_MS for one request, so WORKERS of them do WORKERS * 1000 / SERVICE_MS
requests per second; more than that queue, and what the queue cannot hold is refused with 503.
"""

import os
import queue
import random
import threading
import time

from smoldebug.lab.shop.service import Answer, Metrics, log, serve, setting, start_log

JITTER = 0.2  # share by which one request may take more or less than SERVICE_MS
_WARN_EVERY = 1.0  # seconds between two complaints about the same thing


class Pool:
    """Workers and the queue in front of them."""

    def __init__(self, workers: int, seconds: float, places: int) -> None:
        self.workers, self.seconds = workers, seconds
        self.queue: queue.Queue[threading.Event] = queue.Queue(places)
        self._busy, self._lock, self._warned = 0, threading.Lock(), 0.0
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()

    def verify(self) -> Answer:
        """One request: wait for a worker, and for the worker to be done with it."""
        done = threading.Event()
        try:
            self.queue.put_nowait(done)
        except queue.Full:
            self._warn("queue full (%d), refusing requests", self.queue.maxsize)
            return 503, "queue full\n"
        if self._busy >= self.workers and (waiting := self.queue.qsize()) > self.workers:
            self._warn(
                "worker pool exhausted (%d/%d), queued %d", self._busy, self.workers, waiting
            )
        done.wait()
        return 200, "token valid\n"

    def _work(self) -> None:
        while True:
            done = self.queue.get()
            with self._lock:
                self._busy += 1
            time.sleep(self.seconds * random.uniform(1 - JITTER, 1 + JITTER))
            with self._lock:
                self._busy -= 1
            done.set()

    def _warn(self, message: str, *values: int) -> None:
        now = time.monotonic()
        with self._lock:
            silent = now < self._warned + _WARN_EVERY
            self._warned = self._warned if silent else now
        if not silent:
            log.warning(message, *values)


def main() -> None:
    start_log("auth")
    setting("SIGNING_KEY")
    workers = int(os.environ.get("WORKERS", "4"))
    seconds = int(os.environ.get("SERVICE_MS", "180")) / 1000
    pool = Pool(workers, seconds, int(os.environ.get("QUEUE", "18")))
    metrics = Metrics("auth_latency_seconds")
    metrics.gauges["auth_queue_depth"] = pool.queue.qsize
    metrics.gauges["auth_workers"] = lambda: pool.workers
    log.info("%d workers, %.0f ms per request", workers, seconds * 1000)
    serve({"/verify": pool.verify}, metrics)


if __name__ == "__main__":
    main()
