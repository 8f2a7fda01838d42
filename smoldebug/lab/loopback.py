"""An HTTP server for this machine only: what the lab's API server and its forge have in common."""

import contextlib
import http.server
import logging
import socket
import socketserver
import threading
from typing import Any
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

HOST = "127.0.0.1"


class LoopbackServer(socketserver.ThreadingTCPServer):
    """A thread per connection; `server_close` ends the connections and joins their threads."""

    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, port: int, handler: type["LoopbackHandler"]) -> None:
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, port), handler)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"

    def start(self) -> threading.Thread:
        """Serve in a thread of its own, until `shutdown`."""
        thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        thread.start()
        return thread

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("connection of %s ended", client_address, exc_info=True)


class LoopbackHandler(http.server.BaseHTTPRequestHandler):
    """Requests of one connection, not logged."""

    protocol_version = "HTTP/1.1"
    server_version = "smoldebug-lab"
    disable_nagle_algorithm = True  # 180 requests/s with Nagle's algorithm, thousands without
    wbufsize = 1 << 16

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that hangs up is no error
            super().handle_one_request()
            return
        self.close_connection = True

    def is_local(self) -> bool:
        """Whether this comes from no web page of elsewhere: those can reach loopback too."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        return urlsplit(f"//{host}").hostname in (HOST, "localhost") and (
            origin is None or urlsplit(origin).netloc == host
        )

    def send_chunk(self, chunk: bytes) -> None:
        """A part of a body sent with `Transfer-Encoding: chunked`; the empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.flush()
