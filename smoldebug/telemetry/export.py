"""Where spans and metrics go: OTLP/HTTP as the environment says, in the background."""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter, NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracer, Span, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from smoldebug import __version__
from smoldebug.events import RunEnded, RunStarted, Skipped, Stamped
from smoldebug.redact import Redactor
from smoldebug.status import ExitStatus, worst
from smoldebug.telemetry.spans import Meters, Out, Run, finish, name, nanoseconds
from smoldebug.untrusted import one_line

WAIT = 2.0  # seconds at the end of a run for what has not been sent yet
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Exporting:
    """Traces and metrics of one process. `close` may be called once."""

    def __init__(self, signals: Sequence[str], matrix: str) -> None:
        self._finishing: list[Callable[[], object]] = []
        tracer, meter = self._tracer("TRACES" in signals), self._meter("METRICS" in signals)
        self._out = Out(tracer, Meters.of(meter), os.environ.get(CONTENT, "").lower() == "true")
        self._parent, self._matrix = _ci_trace(), matrix
        self._runs: dict[str, Run] = {}
        self._all: Span | None = None  # the span of a matrix
        self._statuses: list[ExitStatus] = []
        self._last = 0
        self._heard = _Complaints()  # last: what is wrong with a variable is told at once

    def recall(self, past: Sequence[Stamped]) -> None:
        for stamped in past:
            if isinstance(stamped.event, RunStarted):
                self._run("").started = stamped.event

    def show(self, stamped: Stamped, cluster: str = "") -> None:
        if self._matrix and self._all is None:
            self._begin_matrix(nanoseconds(stamped))
        self._last = max(self._last, nanoseconds(stamped))
        if isinstance(stamped.event, Skipped):
            if self._all is not None:
                self._all.add_event("skipped", {"smoldebug.cluster": name(cluster)}, self._last)
            return
        if isinstance(stamped.event, RunEnded):
            self._statuses.append(stamped.event.status)
        self._run(cluster).show(stamped)

    def close(self) -> str:
        for run in self._runs.values():
            run.cut()
        if self._all is not None:
            status = worst(self._statuses or [ExitStatus.INTERRUPTED])
            error = "" if status is ExitStatus.MET else status.name.lower()
            finish(self._all, {}, error, self._last)
        end = time.monotonic() + WAIT
        threads = [threading.Thread(target=each, daemon=True) for each in self._finishing]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return self._heard.ended(late=any(thread.is_alive() for thread in threads))

    def _run(self, cluster: str) -> Run:
        return self._runs.setdefault(cluster, Run(self._out, self._parent, cluster))

    def _begin_matrix(self, at: int) -> None:
        said = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": name(self._matrix),
            "smoldebug.playbook": name(self._matrix),
        }
        self._all = self._out.tracer.start_span(
            f"invoke_workflow {name(self._matrix)}", self._parent, attributes=said, start_time=at
        )
        self._parent = set_span_in_context(self._all, self._parent)

    def _tracer(self, wanted: bool) -> Tracer:
        if not wanted:
            return NoOpTracer()
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._finishing.append(provider.shutdown)
        return provider.get_tracer("smoldebug", __version__)

    def _meter(self, wanted: bool) -> Meter:
        if not wanted:
            return NoOpMeter("smoldebug")
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        provider = MeterProvider([reader], resource=_resource(), shutdown_on_exit=False)
        self._finishing.append(provider.shutdown)
        return provider.get_meter("smoldebug", __version__)


def _resource() -> Any:
    """Who tells it; what the environment says of that comes first."""
    ours = Resource.create({"service.name": "smoldebug", "service.version": __version__})
    return ours.merge(OTELResourceDetector().detect())


def _ci_trace() -> Context | None:
    """The span of a CI job that this run is part of, where TRACEPARENT names one."""
    carried = {word: os.environ.get(word.upper(), "") for word in ("traceparent", "tracestate")}
    return TraceContextTextMapPropagator().extract(carried)


class _Complaints(logging.Handler):
    """What OpenTelemetry has to say goes to its log, which would be a terminal in use."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._why, self._lost = "", False
        self._log = logging.getLogger("opentelemetry")
        self._before, self._log.propagate = self._log.propagate, False
        self._log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._why = _reason(record.getMessage()) or self._why
        self._lost |= record.levelno >= logging.ERROR

    def ended(self, *, late: bool) -> str:
        """A sentence where something was lost, or has not been taken until now."""
        if not late:  # else more may come until the process ends
            self._log.removeHandler(self)
            self._log.propagate = self._before
        if not (late or self._lost):
            return ""
        why = Redactor().text(self._why) or "no answer in time"
        return one_line(f"not all traces and metrics reached their collector: {why}", 300)


_REASONS = (
    r"\[Errno -?\d+\] ([\w ]+)",
    r"code: (\d+)",
    r"Transient error (\w[\w ]+) encountered",
)


def _reason(message: str) -> str:
    """What an operator can act on in a complaint: `Connection refused`, `401`; else ""."""
    for pattern in _REASONS:
        if found := re.search(pattern, message):
            return found[1]
    return ""
