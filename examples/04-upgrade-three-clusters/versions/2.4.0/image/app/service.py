"""Runs the program that $SERVICE names, and answers HTTP for it until SIGTERM.

A program is a module with a function start(), which returns its pages: path -> function -> text.
/health tells whether its own settings are in order, and not whether those it calls are up.
"""

import importlib
import os
import signal
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from common import NAME, BadSetting, CallFailed, log

DRAIN = 2.0  # seconds to serve on after SIGTERM, while others still know the address

pages = {}
trouble = ""


def answer(path: str) -> tuple[int, str]:
    if path == "/health" or trouble:
        return (503, trouble) if trouble else (200, "ok")
    if path not in pages:
        return 404, "no such page"
    try:
        return 200, pages[path]()
    except CallFailed as error:
        log("error", "call failed", path=path, error=error)
        return 502, str(error)
    except (LookupError, TypeError, ValueError) as error:
        log("error", "request failed", path=path, error=f"{type(error).__name__}: {error}")
        return 500, "internal error"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, text = answer(self.path)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode() + b"\n")

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    server_bind = socketserver.TCPServer.server_bind  # without a look into the DNS


def main() -> None:
    global trouble
    program = importlib.import_module(NAME)
    try:
        pages.update(program.start())
    except BadSetting as error:
        trouble = str(error)
        log("error", trouble)
    with Server((os.environ.get("POD_IP", ""), 8080), Handler) as server:

        def leave(*_: object) -> None:
            log("info", "draining")
            threading.Timer(DRAIN, server.shutdown).start()

        signal.signal(signal.SIGTERM, leave)
        log("info", "listening", port=8080)
        server.serve_forever(poll_interval=0.1)


main()
