"""An OpenTelemetry collector on loopback, as far as OTLP/HTTP goes: what it was sent, decoded."""

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


@dataclass(frozen=True)
class Seen:
    """One span."""

    id: str
    parent: str  # "" of a trace's first
    trace: str
    name: str
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    seconds: float
    failed: bool
    resource: dict[str, Any]


class Collector:
    """Takes traces and metrics. `status` is what it answers; `hang`: nothing, until it ends."""

    def __init__(self, status: int = 200, body: bytes = b"", hang: bool = False) -> None:
        self.status, self.body, self.hang = status, body, hang
        self.spans: list[Seen] = []
        self.points: list[tuple[str, dict[str, Any], float]] = []  # metric, attributes, sum
        self.raw = b""
        self.got, self.ended = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Collector":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, path: str, body: bytes) -> None:
        self.raw += body
        if path == "/v1/traces":
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        elif path == "/v1/metrics":
            self.points += _points(ExportMetricsServiceRequest.FromString(body))
        self.got.set()

    def until(self, spans: int) -> bool:
        """Wait until so many have come."""
        while len(self.spans) < spans and self.got.wait(20):
            self.got.clear()
        return len(self.spans) >= spans

    def tree(self) -> list[str]:
        """Names, each below its parent and indented, in the order they began."""
        known = {span.id for span in self.spans}
        roots = [span for span in self.spans if span.parent not in known]
        return [line for root in roots for line in self._below(root, 0)]

    def _below(self, span: Seen, depth: int) -> Iterator[str]:
        yield "  " * depth + span.name
        for each in self.spans:
            if each.parent == span.id:
                yield from self._below(each, depth + 1)

    def one(self, name: str) -> Seen:
        """The first span with this name."""
        return next(span for span in self.spans if span.name == name)

    def total(self, metric: str, **attributes: str) -> float:
        """The sum of a metric's points that have these attributes; `__` stands for a dot."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        return sum(
            value
            for name, said, value in self.points
            if name == metric and wanted.items() <= said.items()
        )


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if collector.hang:
                collector.got.set()
                collector.ended.wait()
                self.close_connection = True
                return
            if collector.status == 200:
                collector.take(self.path, body)
            self.send_response(collector.status)
            self.send_header("Content-Length", str(len(collector.body)))
            self.end_headers()
            self.wfile.write(collector.body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Handler


def _spans(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for group in request.resource_spans:
        resource = _said(group.resource.attributes)
        spans = [span for scope in group.scope_spans for span in scope.spans]
        for span in sorted(spans, key=lambda each: each.start_time_unix_nano):
            yield Seen(
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.trace_id.hex(),
                span.name,
                _said(span.attributes),
                [(event.name, _said(event.attributes)) for event in span.events],
                (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                span.status.code == span.status.STATUS_CODE_ERROR,
                resource,
            )


def _points(request: ExportMetricsServiceRequest) -> Iterator[tuple[str, dict[str, Any], float]]:
    for group in request.resource_metrics:
        for metric in (each for scope in group.scope_metrics for each in scope.metrics):
            for point in metric.histogram.data_points:
                yield metric.name, _said(point.attributes), point.sum
            for point in metric.sum.data_points:
                yield metric.name, _said(point.attributes), point.as_double or point.as_int


def _said(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
