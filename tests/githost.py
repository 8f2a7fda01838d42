"""A Git server for tests: smart HTTP by `git http-backend` over real bare repositories. It speaks
version 0 of the protocol, which takes half the requests; the lab's forge speaks version 2."""

import base64
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

WHO = {
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.com",
}


def git(folder, *words, stdin=None, env=None):
    """Plain git, as a person would run it."""
    done = subprocess.run(
        ["git", *words], cwd=folder, input=stdin, capture_output=True, env=os.environ | (env or WHO)
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def commit_all(folder, files, message="a change"):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


class GitHost(ThreadingHTTPServer):
    """Serves the bare repositories below `root`. With `token` it wants it as password; `faults`
    are what the next requests for a path that ends so get instead: a status, or None for a
    connection that ends without an answer; `asked` are the Authorization headers it has seen."""

    daemon_threads = True

    def __init__(self, root):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.token, self.faults, self.asked, self.moved = root, "", {}, [], ""
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def create(self, name, source=None):
        """A bare repository, with the branches of a local one."""
        path = self.root / f"{name}.git"
        git(self.root, "init", "-q", "--bare", "-b", "main", str(path))
        git(path, "config", "http.receivepack", "true")
        if source:
            git(source, "push", "-q", str(path), "refs/heads/*:refs/heads/*")
        return f"{self.url}/{name}.git"


class _Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def do_GET(self):
        body = self._body()
        url, login = urlsplit(self.path), self.headers.get("Authorization", "")
        self.server.asked.append(login)
        wanted = base64.b64encode(f"x-access-token:{self.server.token}".encode()).decode()
        for part, status in self.server.faults.items():
            if part in self.path:
                return self._fail(status)
        if self.server.moved:
            return self._say(301, {"Location": self.server.moved + self.path}, b"")
        if self.server.token and login != f"Basic {wanted}":
            return self._say(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        return self._backend(url, body)

    do_POST = do_GET

    def _fail(self, status):
        if status is None:
            self.close_connection = True
        else:
            self._say(status, {}, b"")

    def _backend(self, url, body):
        env = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = int(headers.pop("Status", "200").split()[0])
        self._say(status, headers, answer)

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _say(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
