"""A response cache in a real Redis, and what becomes of a run whose Redis is gone, slow or evil."""

import contextlib
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from test_response_cache import GOOD, MODEL, QUESTION, SECRET, called

from smoldebug.conversation import Message
from smoldebug.model.asking import Request
from smoldebug.model.cache import AGE, LARGEST, ResponseCache, key
from smoldebug.redact import Redactor
from smoldebug.sources.redis_store import PREFIX, RedisStore

BINARY = shutil.which("redis-server")
PASSWORD = "open-sesame-4711"
needs_redis = pytest.mark.skipif(BINARY is None, reason="there is no redis-server on the PATH")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Server:
    """A redis-server on loopback that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD]
        options += ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        assert BINARY is not None
        self.process = subprocess.Popen([BINARY, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert any("Ready to accept connections" in line for line in self.process.stdout)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    def client(self) -> Redis:
        return Redis.from_url(self.url)


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def server(running) -> Server:
    with running.client() as client:
        client.flushall()
    return running


def run(url: str, redactor: Redactor | None = None) -> ResponseCache:
    """The cache of one run."""
    return ResponseCache(RedisStore(url, LARGEST), (redactor or Redactor()).text)


@needs_redis
def test_what_one_run_was_answered_another_one_is_too(server):
    mine, other = run(server.url), run(server.url)
    assert mine.get(MODEL, QUESTION) is None
    mine.put(MODEL, QUESTION, GOOD)
    found = other.get(MODEL, QUESTION)
    assert found is not None
    assert found.calls[0].arguments == {"at": "auth"}
    assert mine.warning() == other.warning() == ""


@needs_redis
def test_an_answer_ends_with_the_hour(server):
    run(server.url).put(MODEL, QUESTION, GOOD)
    with server.client() as client:
        assert 0 < client.pttl(PREFIX + key(MODEL, QUESTION)) <= 1000 * AGE


@needs_redis
@pytest.mark.parametrize(
    "value",
    [b"", b"garbage\xff", b"{}", b"[" * 5000, b'{"format":1', b"x" * (4 * LARGEST)],
)
def test_garbage_in_its_place_is_a_miss_and_is_replaced(server, value):
    name, kept = PREFIX + key(MODEL, QUESTION), run(server.url)
    with server.client() as client:
        client.set(name, value)
        assert kept.get(MODEL, QUESTION) is None
        kept.put(MODEL, QUESTION, GOOD)
    assert kept.get(MODEL, QUESTION) is not None
    assert kept.warning() == ""


@needs_redis
def test_a_value_of_another_type_is_a_miss_told_once(server):
    with server.client() as client:
        client.lpush(PREFIX + key(MODEL, QUESTION), "1")
    kept = run(server.url)
    assert kept.get(MODEL, QUESTION) is None
    assert "WRONGTYPE" in kept.warning()


@needs_redis
def test_a_full_redis_evicts_and_a_run_does_not_notice(server):
    kept = run(server.url)
    many = [Request((Message("user", str(number)),), QUESTION.tools) for number in range(40)]
    with server.client() as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", used + 1_000_000)
        for question in many:
            kept.put(MODEL, question, called({"at": "x" * 100_000}))
        client.config_set("maxmemory", 0)
    found = [kept.get(MODEL, question) is not None for question in many]
    assert any(found)
    assert not all(found)
    assert kept.warning() == ""


@needs_redis
def test_a_redis_that_takes_no_more_is_told_once(server):
    kept = run(server.url)
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        kept.put(MODEL, QUESTION, GOOD)
        client.config_set("maxmemory", 0)
    assert "maxmemory" in kept.warning()


@needs_redis
def test_a_restart_in_between_loses_answers_and_nothing_else(tmp_path):
    server = Server(tmp_path)
    try:
        kept = run(server.url)
        kept.put(MODEL, QUESTION, GOOD)
        server.stop()
        server.start()
        assert kept.get(MODEL, QUESTION) is None
        kept.put(MODEL, QUESTION, GOOD)
        assert kept.get(MODEL, QUESTION) is not None
        assert kept.warning() == ""
    finally:
        server.stop()


@needs_redis
def test_whoever_watches_every_command_sees_no_secret(server):
    redactor = Redactor([SECRET])
    words = Message("user", redactor.text(f"DB_PASSWORD={SECRET} is in the log"))
    question, kept = Request((words,), QUESTION.tools), run(server.url, redactor)
    with server.client() as client, client.monitor() as watched:
        kept.put(MODEL, question, GOOD)
        kept.put(MODEL, QUESTION, called({"at": SECRET}))
        kept.get(MODEL, question)
        client.echo("the end")
        seen = []
        for command in watched.listen():
            seen.append(command["command"])
            if "the end" in seen[-1]:
                break
    said = "\n".join(seen)
    assert said.count(f"GETRANGE {PREFIX}{key(MODEL, question)}") == 1
    assert said.count("SET smoldebug:answer:") == 1
    for secret in (SECRET, PASSWORD, "in the log"):
        assert secret not in said


@needs_redis
def test_a_wrong_password_is_told_and_not_repeated(server):
    kept = run(server.url.replace(PASSWORD, "guess-0815-guess"))
    assert kept.get(MODEL, QUESTION) is None
    told = kept.warning()
    assert "password" in told
    assert "guess-0815" not in told


# --- a Redis that is none -------------------------------------------------------------------


@contextlib.contextmanager
def endpoint(play: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something on loopback that plays Redis: `play` gets each connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                play(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()
        thread.join()


def says_nothing(peer: socket.socket) -> None:
    while peer.recv(4096):
        pass


def drips(peer: socket.socket) -> None:
    """A byte now and then: no single read is late."""
    peer.settimeout(0.05)
    while True:
        peer.sendall(b"+")
        with contextlib.suppress(TimeoutError):
            peer.recv(4096)


def floods(peer: socket.socket) -> None:
    peer.sendall(b"$99999999999\r\n")
    while True:
        peer.sendall(b"x" * 65536)


def nests(peer: socket.socket) -> None:
    peer.sendall(b"*1\r\n" * 100_000)


def answers(reply: bytes) -> Callable[[socket.socket], None]:
    def play(peer: socket.socket) -> None:
        while peer.recv(4096):
            peer.sendall(reply)

    return play


EVIL: list[Callable[[socket.socket], None]] = [
    says_nothing,
    drips,
    floods,
    nests,
    answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    answers(b"-ERR \x1b]0;owned\x07 no\r\n"),
    answers(b":1\r\n"),
    answers(b"*-1\r\n"),
    answers(b"$-1\r\n"),
    answers(b"*2\r\n$3\r\nfoo\r\n:5\r\n"),
    answers(b"$5\r\n\xff\xfe\x00{]\r\n"),
    answers(b"\x00\x01\x02" * 1000),
    lambda peer: peer.close(),
]


@pytest.mark.parametrize("play", EVIL)
def test_whatever_answers_in_its_place_is_a_miss_within_a_second(play):
    before = threading.active_count()
    with endpoint(play) as url:
        kept, began = run(url), time.monotonic()
        for _ in range(5):
            assert kept.get(MODEL, QUESTION) is None
            kept.put(MODEL, QUESTION, GOOD)
        assert time.monotonic() - began < 1.5  # 1 s, and room for a loaded machine
        assert "\x1b" not in kept.warning()
        assert kept.warning() == ""
        del kept  # and with it a connection that was fine
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert threading.active_count() <= before  # nobody goes on reading


def test_where_nobody_listens_a_run_goes_on_with_one_note():
    kept = run(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    for _ in range(3):
        assert kept.get(MODEL, QUESTION) is None
    told = kept.warning()
    assert "refused" in told
    assert PASSWORD not in told


@pytest.mark.parametrize("url", ["localhost", "http://127.0.0.1", f"redis://:{PASSWORD}@h:port/0"])
def test_a_url_that_is_none_is_told_without_its_password(url):
    kept = run(url)
    assert kept.get(MODEL, QUESTION) is None
    told = kept.warning()
    assert told.endswith("cache.redis in the settings file is no URL of a Redis")


def test_without_the_package_the_note_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    kept = run("redis://127.0.0.1/0")
    assert kept.get(MODEL, QUESTION) is None
    assert kept.warning().endswith("pip install 'smoldebug[redis]'")
