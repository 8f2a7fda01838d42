"""A Prometheus for the lab: scrapes the pods of annotated Services, answers the HTTP query API."""

import http.client
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from smoldebug.lab.endpoints import OF_SERVICE
from smoldebug.lab.objects import SERVICES, SLICES
from smoldebug.lab.store import Store
from smoldebug.lab.tsdb import Labels, Tsdb, parse_exposition
from smoldebug.sources.world import Object

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between scrapes
TIMEOUT = 0.8  # seconds a target gets
BODY_LIMIT = 4 << 20  # bytes of one scrape or request
VERSION = "2.42.0"  # whose query language and API it speaks
Params = Mapping[str, list[str]]


@dataclass(slots=True)
class Target:
    """One pod's /metrics, and how its last scrape went."""

    labels: Mapping[str, str]
    address: str
    port: int
    path: str
    series: set[Labels] = field(default_factory=set)
    error: str = ""
    scraped: float = 0.0
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.address, self.port, self.path, str(sorted(self.labels.items()))

    def describe(self) -> Object:
        return {
            "labels": dict(self.labels),
            "discoveredLabels": {"__address__": f"{self.address}:{self.port}"},
            "scrapePool": "kubernetes-service-endpoints",
            "scrapeUrl": f"http://{self.address}:{self.port}{self.path}",
            "health": "down" if self.error else "up",
            "lastError": self.error,
            "lastScrape": _rfc3339(self.scraped),
            "lastScrapeDuration": self.seconds,
            "scrapeInterval": "1s",
            "scrapeTimeout": "800ms",
        }


def discover(services: Iterable[Object], slices: Iterable[Object]) -> list[Target]:
    """The endpoints, ready or not, of the Services annotated prometheus.io/scrape: "true"."""
    annotated = {}
    for service in services:
        notes = service["metadata"].get("annotations") or {}
        if notes.get("prometheus.io/scrape") == "true":
            annotated[service["metadata"]["namespace"], service["metadata"]["name"]] = notes
    found = []
    for piece in slices:
        namespace = piece["metadata"]["namespace"]
        job = (piece["metadata"].get("labels") or {}).get(OF_SERVICE, "")
        notes = annotated.get((namespace, job))
        ports = piece.get("ports") or [{}]
        port = (notes or {}).get("prometheus.io/port") or ports[0].get("port", 0)
        if notes is None or not str(port).isdigit():
            continue
        path = notes.get("prometheus.io/path", "/metrics")
        for endpoint in piece.get("endpoints") or ():
            address = endpoint["addresses"][0]
            labels = {"job": job, "namespace": namespace, "instance": f"{address}:{port}"}
            if pod := (endpoint.get("targetRef") or {}).get("name"):
                labels["pod"] = pod
            found.append(Target(labels, address, int(port), path))
    return found


class Scraper:
    """One thread that keeps the series up to date."""

    def __init__(self, store: Store, tsdb: Tsdb) -> None:
        self.store, self.tsdb = store, tsdb
        self.targets: dict[tuple[str, int, str, str], Target] = {}
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(4, "scrape")
        self._thread = threading.Thread(target=self._run, name="scraper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + INTERVAL, time.monotonic())
            self._step()

    def _step(self) -> None:
        found = discover(self.store.scan(SERVICES)[0], self.store.scan(SLICES)[0])
        targets = {target.key: self.targets.get(target.key, target) for target in found}
        now = _now()
        for key in self.targets.keys() - targets.keys():
            for series in self.targets[key].series:
                self.tsdb.end(series, now)
        self.targets = targets
        list(self._pool.map(self.scrape, list(targets.values())))
        self.tsdb.forget(now)

    def scrape(self, target: Target) -> None:
        """Fetch a target's metrics now; what it no longer says has ended."""
        now = _now()
        start = time.monotonic()
        seen: set[Labels] = set()
        target.error, target.scraped = "", now / 1000
        try:
            for sample in parse_exposition(fetch(target)):
                labels = {**_exported(sample.labels, target), "__name__": sample.name}
                if key := self.tsdb.add(labels, now, sample.value):
                    seen.add(key)
        except (OSError, http.client.HTTPException, ValueError) as error:
            target.error = str(error) or type(error).__name__
        target.seconds = time.monotonic() - start
        for key in target.series - seen:
            self.tsdb.end(key, now)
        for name, value in (
            ("up", 0.0 if target.error else 1.0),
            ("scrape_duration_seconds", target.seconds),
            ("scrape_samples_scraped", float(len(seen))),
        ):
            if key := self.tsdb.add({**target.labels, "__name__": name}, now, value):
                seen.add(key)
        target.series = seen


def _exported(labels: Mapping[str, str], target: Target) -> dict[str, str]:
    """A sample's labels with its target's; the sample's own of the same name step aside."""
    own = {f"exported_{k}" if k in target.labels else k: v for k, v in labels.items()}
    return own | dict(target.labels)


def fetch(target: Target) -> str:
    """Raises OSError, HTTPException or ValueError."""
    connection = http.client.HTTPConnection(target.address, target.port, timeout=TIMEOUT)
    try:
        connection.request("GET", target.path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"server returned HTTP status {answer.status} {answer.reason}")
        return answer.read(BODY_LIMIT).decode("utf-8", "replace")
    finally:
        connection.close()


class Prometheus:
    """The scraper and its API on `address`; `port` 0 takes any free one."""

    def __init__(self, store: Store, address: str = "127.0.0.1", port: int = 0) -> None:
        self.tsdb = Tsdb()
        self.scraper = Scraper(store, self.tsdb)
        self.api = Api(self.tsdb, self.scraper)
        self._server = _Server((address, port), _handler(self.api))
        self.address, self.port = self._server.server_address[:2]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="prometheus", daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://{self.address!s}:{self.port}"

    def start(self) -> None:
        self.scraper.start()
        self._thread.start()

    def stop(self) -> None:
        self.scraper.stop()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Api:
    """The part of Prometheus' HTTP API that clients ask. Answers are (status, JSON document)."""

    def __init__(self, tsdb: Tsdb, scraper: Scraper) -> None:
        self.tsdb, self.scraper = tsdb, scraper
        self._routes: dict[str, Callable[[Params], Any]] = {
            "query": self.query,
            "query_range": self.query_range,
            "series": self.series,
            "labels": self.labels,
            "targets": self.targets,
            "status/buildinfo": lambda _: {"version": VERSION, "revision": "lab"},
        }

    def answer(self, path: str, params: Params) -> tuple[int, Object]:
        from smoldebug.lab.promql import BadQuery, QueryError  # its parser loads on first use

        route = path.removeprefix("/api/v1/")
        values = re.fullmatch(r"label/([^/]+)/values", route)
        try:
            if values:
                return 200, _success(self.label_values(values[1], params))
            if route not in self._routes or route == path:
                return 404, _failure("not_found", f"no such page: {path}")
            return 200, _success(self._routes[route](params))
        except BadQuery as error:
            return 400, _failure(error.kind, str(error))
        except QueryError as error:
            return 422, _failure(error.kind, str(error))
        except ValueError as error:
            return 400, _failure("bad_data", str(error))

    def query(self, params: Params) -> Any:
        from smoldebug.lab import promql

        time_ = _time(params, "time", _now())
        value = promql.instant(self.tsdb, _required(params, "query"), time_)
        at = time_ / 1000
        if isinstance(value, float):
            return {"resultType": "scalar", "result": [at, number(value)]}
        if isinstance(value, str):
            return {"resultType": "string", "result": [at, value]}
        result: list[Object] = []
        for labels, item in value.items():
            if isinstance(item, promql.Window):
                points = zip(item.times, item.values, strict=True)
                pairs = [[t / 1000, number(v)] for t, v in points]
                result.append({"metric": dict(labels), "values": pairs})
            else:
                result.append({"metric": dict(labels), "value": [at, number(item)]})
        matrix = bool(result) and "values" in result[0]
        return {"resultType": "matrix" if matrix else "vector", "result": result}

    def query_range(self, params: Params) -> Any:
        from smoldebug.lab import promql

        start, end = (_time(params, name, None) for name in ("start", "end"))
        step = _duration(_required(params, "step"))
        series = promql.over_range(self.tsdb, _required(params, "query"), start, end, step)
        result = [
            {"metric": dict(labels), "values": [[t / 1000, number(v)] for t, v in points]}
            for labels, points in sorted(series.items())
        ]
        return {"resultType": "matrix", "result": result}

    def series(self, params: Params) -> Any:
        if not params.get("match[]"):
            raise ValueError("no match[] parameter provided")
        return [dict(labels) for labels in self._matching(params)]

    def labels(self, params: Params) -> Any:
        return sorted({name for labels in self._matching(params) for name, _ in labels})

    def label_values(self, name: str, params: Params) -> Any:
        return sorted({dict(labels).get(name, "") for labels in self._matching(params)} - {""})

    def targets(self, _: Params) -> Any:
        active = [target.describe() for target in self.scraper.targets.values()]
        return {"activeTargets": active, "droppedTargets": []}

    def _matching(self, params: Params) -> list[Labels]:
        """The series with samples in [start, end] that any of match[] selects; default all."""
        from smoldebug.lab import promql

        start, end = _time(params, "start", 0), _time(params, "end", _now())
        matchers = [promql.selects(promql.selector(text)) for text in params.get("match[]", ())]
        found = self.tsdb.select(lambda labels: not matchers or any(m(labels) for m in matchers))
        return [labels for labels, series in found if series.between(start, end)[0]]


def number(value: float) -> str:
    """A sample value as Prometheus prints it: shortest form, no exponent."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value).removesuffix(".0")
    return format(Decimal(text), "f") if "e" in text else text


def _success(data: Any) -> Object:
    return {"status": "success", "data": data}


def _failure(kind: str, message: str) -> Object:
    return {"status": "error", "errorType": kind, "error": message}


def _now() -> int:
    return int(time.time() * 1000)


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _required(params: Params, name: str) -> str:
    value = params.get(name, [""])[-1]
    if not value:
        raise ValueError(f'invalid parameter "{name}": it is missing')
    return value


def _time(params: Params, name: str, default: int | None) -> int:
    """A time parameter (unix seconds or RFC 3339) in unix milliseconds."""
    from datetime import datetime

    text = params.get(name, [""])[-1]
    if not text and default is not None:
        return default
    try:
        return round(float(text) * 1000)
    except (ValueError, OverflowError):
        pass
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise ValueError(f'invalid parameter "{name}": cannot parse {text!r}') from None


def _duration(text: str) -> int:
    """`15`, `0.5` (seconds) or `1m30s` in milliseconds."""
    import promql_parser

    try:
        return round(float(text) * 1000)
    except (ValueError, OverflowError):
        pass
    try:
        return round(promql_parser.parse_duration(text).total_seconds() * 1000)
    except ValueError:
        raise ValueError(f'invalid parameter "step": cannot parse {text!r} to a duration') from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own would look its address up in the DNS


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def do_GET(self) -> None:
            self._respond("")

        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), BODY_LIMIT)
            self._respond(self.rfile.read(length).decode("utf-8", "replace"))

        def _respond(self, form: str) -> None:
            url = urlsplit(self.path)
            if url.path in ("/-/ready", "/-/healthy"):
                self._send(200, "text/plain", b"Prometheus Server is Ready.\n")
                return
            params = parse_qs(form)
            for name, values in parse_qs(url.query).items():
                params.setdefault(name, []).extend(values)
            status, document = api.answer(url.path, params)
            self._send(status, "application/json", json.dumps(document).encode())

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            log.debug(format, *args)

    return Handler
