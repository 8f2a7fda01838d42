"""What every program of the shop is made of: an HTTP server, a log, /metrics and /ready."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

PORT = 8080
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 2.5, 5.0)  # seconds
_LEAVE = 0.5  # seconds a program serves on after SIGTERM, while its endpoint is taken away

Answer = tuple[int, str]  # status code, text
Route = Callable[[], Answer]
log = logging.getLogger("shop")


class Metrics:
    """Counters, gauges and one histogram, as the text Prometheus reads."""

    def __init__(self, histogram: str) -> None:
        self._histogram = histogram
        self._lock = threading.Lock()
        self._requests: dict[str, int] = {"200": 0}
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0
        self.gauges: dict[str, Callable[[], float]] = {}

    def observe(self, code: int, seconds: float) -> None:
        place = next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        with self._lock:
            self._requests[str(code)] = self._requests.get(str(code), 0) + 1
            self._counts[place] += 1
            self._sum += seconds

    def text(self) -> str:
        with self._lock:
            requests, counts, total = dict(self._requests), list(self._counts), self._sum
        lines = ["# TYPE http_requests_total counter"]
        lines += [f'http_requests_total{{code="{c}"}} {n}' for c, n in sorted(requests.items())]
        lines.append(f"# TYPE {self._histogram} histogram")
        below = 0
        for bound, number in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            below += number
            lines.append(f'{self._histogram}_bucket{{le="{bound}"}} {below}')
        lines += [f"{self._histogram}_sum {total:.6f}", f"{self._histogram}_count {below}"]
        for name, value in self.gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value():g}"]
        return "\n".join(lines) + "\n"


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own would look its address up in the DNS


def setting(name: str) -> str:
    """An environment variable the program cannot do without; ends the program if it is not set."""
    value = os.environ.get(name)
    if not value:
        log.critical("%s is not set", name)
        sys.exit(1)
    return value


def start_log(name: str) -> None:
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format=f"%(asctime)s.%(msecs)03dZ %(levelname)s {name} %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.Formatter.converter = time.gmtime


def serve(routes: Mapping[str, Route], metrics: Metrics) -> None:
    """Answer on the pod's address until SIGTERM. Only `routes` count as requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path in routes:
                start = time.monotonic()
                code, text = routes[path]()
                metrics.observe(code, time.monotonic() - start)
            elif path == "/metrics":
                code, text = 200, metrics.text()
            elif path == "/ready":
                code, text = 200, "ready\n"
            else:
                code, text = 404, f"no such page: {path}\n"
            self._answer(code, text)

        do_POST = do_GET

        def _answer(self, code: int, text: str) -> None:
            body = text.encode()
            try:
                self.send_response(code)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                log.debug("the client has gone")

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    with _Server((os.environ.get("LAB_POD_IP", "127.0.0.1"), PORT), Handler) as server:

        def leave(*_: object) -> None:
            log.info("SIGTERM received, draining")
            threading.Timer(_LEAVE, server.shutdown).start()

        signal.signal(signal.SIGTERM, leave)
        log.info("listening on %s:%d", *server.server_address[:2])
        server.serve_forever(poll_interval=0.1)
    log.info("stopped")
