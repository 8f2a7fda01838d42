"""PromQL of the lab: the same answers as a real Prometheus gives over the same samples."""

import contextlib
import http.client
import json
import math
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.clock import SystemClock
from smoldebug.lab import promql
from smoldebug.lab.prometheus import Api, Scraper, number
from smoldebug.lab.store import Store
from smoldebug.lab.tsdb import Tsdb, parse_exposition
from smoldebug.sources.process import DEVNULL, LocalProcesses, spawn, terminate

START = 1_700_000_000  # unix seconds of the first sample
LENGTH = 600  # seconds of samples
AT = START + 500.3


def samples() -> Iterator[tuple[str, dict[str, str], int, float]]:
    """Counters with a reset and a gap, gauges, and a histogram; (name, labels, seconds, value)."""
    for second in range(0, LENGTH, 5):
        at = START + second
        for pod, pace in (("a", 1.0), ("b", 2.5)):
            labels = {"job": "checkout", "pod": pod}
            restarted = second - 300 if pod == "b" and second >= 300 else second
            if not 200 < second < 240:  # scrapes that failed
                total = round(pace * restarted + (7 if pod == "a" else 0), 3)
                yield "http_requests_total", {**labels, "code": "200"}, at, total
                yield "http_requests_total", {**labels, "code": "502"}, at, float(restarted // 20)
            yield "queue_depth", labels, at, 10 + 8 * math.sin(second / 40) * pace
            below = 0.0
            for bound, share in (("0.1", 0.5), ("0.5", 0.3), ("1.0", 0.15), ("+Inf", 0.05)):
                below += share * second * pace
                yield "latency_seconds_bucket", {**labels, "le": bound}, at, round(below, 3)
        if second >= 450:
            yield "late_total", {"job": "late"}, at, float(second - 450)
        yield "limit", {"job": "checkout"}, at, 12.5


QUERIES = [
    "queue_depth",
    'http_requests_total{code=~"5.."}',
    'http_requests_total{code!~"5..",pod="a"}',
    "queue_depth offset 1m",
    "rate(http_requests_total[1m])",
    "rate(http_requests_total[37s])",
    "rate(late_total[5m])",
    "increase(http_requests_total[5m])",
    "irate(http_requests_total[30s])",
    "delta(queue_depth[2m])",
    "idelta(queue_depth[2m])",
    "changes(queue_depth[2m]) + resets(http_requests_total{code='200'}[5m])",
    "resets(http_requests_total[10m])",
    "avg_over_time(queue_depth[90s])",
    "max_over_time(queue_depth[90s]) - min_over_time(queue_depth[90s])",
    "count_over_time(queue_depth[1m]) * sum_over_time(queue_depth[1m])",
    "quantile_over_time(0.9, queue_depth[3m])",
    "stddev_over_time(queue_depth[3m])",
    "last_over_time(queue_depth[3m])",
    "sum by (job) (rate(http_requests_total[1m]))",
    "sum without (pod) (queue_depth)",
    "avg(queue_depth)",
    "count by (code) (http_requests_total)",
    "topk(2, http_requests_total)",
    "bottomk(1, queue_depth)",
    "quantile(0.3, queue_depth)",
    "stddev(queue_depth)",
    "histogram_quantile(0.95, sum by (le) (rate(latency_seconds_bucket[2m])))",
    "histogram_quantile(0.5, rate(latency_seconds_bucket[2m]))",
    "histogram_quantile(0.999, latency_seconds_bucket)",
    'sum(rate(http_requests_total{code=~"5.."}[1m])) / sum(rate(http_requests_total[1m]))',
    "queue_depth > 12",
    "queue_depth > bool 12",
    "queue_depth > on (job) group_left limit",
    "limit < on (job) group_right queue_depth",
    "queue_depth / ignoring (pod) group_left limit",
    'http_requests_total{code="200"} / ignoring (code) http_requests_total{code="502"}',
    'http_requests_total{code="200"} and on (pod) queue_depth > 12',
    'queue_depth unless on (pod) http_requests_total{pod="a"}',
    'queue_depth{pod="a"} or http_requests_total{code="502"}',
    "-queue_depth ^ 2 % 7",
    "1 / 0 - 2 * limit",
    "scalar(limit) + 1",
    "vector(1) == 1",
    "absent(nothing{job='x', pod=~'.+'})",
    "absent(limit)",
    "clamp(queue_depth, 5, 11)",
    "clamp_max(clamp_min(queue_depth, 9), 10)",
    "round(queue_depth, 0.25)",
    "abs(-limit) + ceil(limit) + floor(limit) + sqrt(limit) + exp(limit) + ln(limit)",
    "log2(limit) - log10(limit) * sgn(limit)",
    'label_replace(queue_depth, "where", "pod-$1", "pod", "(.*)")',
    "time() - timestamp(queue_depth)",
    "sort_desc(queue_depth)",
    "queue_depth[30s]",
    "3 > bool 2",
    "'text'",
]
REFUSED = [
    ("sum(", 400),
    ('queue_depth{pod=~"("}', 400),
    ("queue_depth + on (job) queue_depth", 422),
    ("http_requests_total * on (pod) queue_depth", 422),
    ('label_replace(queue_depth, "pod", "x", "", "")', 422),
]
UNSUPPORTED = ["rate(queue_depth[5m:1m])", "queue_depth @ 5", "predict_linear(limit[1m], 5)"]


@pytest.fixture(scope="module")
def lab() -> Api:
    tsdb = Tsdb()
    for name, labels, at, value in samples():
        tsdb.add({**labels, "__name__": name}, at * 1000, value)
    return Api(tsdb, Scraper(Store(), tsdb))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Real"]:
    """A real Prometheus with the same samples."""
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        pytest.skip("no prometheus and promtool on this machine to compare with")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples.om").write_text(openmetrics())
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    made = LocalProcesses().run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "samples.om", "data"],
        timeout=30,
        cwd=str(folder),
    )
    assert made.code == 0, made.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = spawn(
        [
            "prometheus",
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        cwd=str(folder),
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        server = Real(port)
        server.wait()
        yield server
    finally:
        terminate(process)


class Real:
    def __init__(self, port: int) -> None:
        self.port = port

    def answer(self, path: str, params: dict[str, list[str]]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"{path}?{urlencode(params, doseq=True)}")
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if self.answer("/api/v1/query", {"query": ["1"], "time": ["1"]})[0] == 200:
                    return
            except (OSError, ValueError):  # not listening yet, or not ready yet
                SystemClock().sleep(0.02)
        raise TimeoutError("prometheus did not come up")


def openmetrics() -> str:
    families: dict[str, list[str]] = {}
    for name, labels, at, value in samples():
        pairs = ",".join(f'{k}="{v}"' for k, v in labels.items())
        families.setdefault(name, []).append(f"{name}{{{pairs}}} {number(value)} {at}")
    lines = []
    for name, rows in families.items():
        lines += [f"# TYPE {name} unknown", *rows]
    return "\n".join([*lines, "# EOF", ""])


def close(ours: Any, theirs: Any) -> bool:
    """Equal, numbers within a billionth."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(close, ours, theirs))
    if isinstance(ours, str) and isinstance(theirs, str) and ours != theirs:
        try:
            return math.isclose(float(ours), float(theirs), rel_tol=1e-9, abs_tol=1e-9)
        except ValueError:
            return False
    return ours == theirs or (isinstance(ours, float) and math.isclose(ours, theirs))


def same_result(ours: Any, theirs: Any) -> None:
    assert ours["resultType"] == theirs["resultType"]
    ours, theirs = ours["result"], theirs["result"]
    if ours and isinstance(ours[0], dict):
        ours, theirs = (
            {json.dumps(s["metric"], sort_keys=True): s for s in result}
            for result in (ours, theirs)
        )
        assert ours.keys() == theirs.keys()
        for key, series in ours.items():
            points = series.get("value") or series["values"]
            expected = theirs[key].get("value") or theirs[key]["values"]
            assert close(points, expected), f"{key}: {points} is not {expected}"
    else:
        assert close(ours, theirs)


@pytest.mark.parametrize("query", QUERIES)
def test_an_instant_query_answers_as_prometheus_does(query: str, lab: Api, real: Real) -> None:
    params = {"query": [query], "time": [str(AT)]}
    ours, theirs = lab.answer("/api/v1/query", params), real.answer("/api/v1/query", params)
    assert ours[0] == theirs[0] == 200, (ours, theirs)
    same_result(ours[1]["data"], theirs[1]["data"])


@pytest.mark.parametrize("query", [q for q in QUERIES if q not in ("queue_depth[30s]", "'text'")])
def test_a_range_query_answers_as_prometheus_does(query: str, lab: Api, real: Real) -> None:
    params = {"query": [query], "start": [str(START - 20)], "end": [str(START + 950)]}
    params["step"] = ["17"]
    ours = lab.answer("/api/v1/query_range", params)
    theirs = real.answer("/api/v1/query_range", params)
    assert ours[0] == theirs[0] == 200, (ours, theirs)
    same_result(ours[1]["data"], theirs[1]["data"])


@pytest.mark.parametrize(("query", "status"), REFUSED)
def test_what_prometheus_refuses_is_refused(query: str, status: int, lab: Api, real: Real) -> None:
    params = {"query": [query], "time": [str(AT)]}
    ours, theirs = lab.answer("/api/v1/query", params), real.answer("/api/v1/query", params)
    assert ours[0] == theirs[0] == status
    assert ours[1]["errorType"] == theirs[1]["errorType"]


@pytest.mark.parametrize("query", UNSUPPORTED)
def test_what_is_not_supported_is_named(query: str, lab: Api) -> None:
    status, document = lab.answer("/api/v1/query", {"query": [query], "time": [str(AT)]})
    assert status == 422
    assert document["errorType"] == "execution"
    assert "not supported" in document["error"]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/api/v1/series", {"match[]": ['http_requests_total{pod="a"}', "limit"]}),
        ("/api/v1/labels", {}),
        ("/api/v1/labels", {"match[]": ["limit"]}),
        ("/api/v1/label/pod/values", {}),
        ("/api/v1/label/__name__/values", {"match[]": ['{job="checkout"}']}),
    ],
)
def test_metadata_answers_as_prometheus_does(
    path: str, params: dict[str, list[str]], lab: Api, real: Real
) -> None:
    params = {**params, "start": [str(START)], "end": [str(START + LENGTH)]}
    ours, theirs = lab.answer(path, params), real.answer(path, params)
    assert ours[0] == theirs[0] == 200
    order = json.dumps if path.endswith("series") else str
    assert sorted(ours[1]["data"], key=order) == sorted(theirs[1]["data"], key=order)


NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,10}", fullmatch=True)
LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=12),
    max_size=4,
)


@given(NAMES, LABELS, st.floats(allow_nan=False))
def test_what_an_exporter_writes_is_read_back(
    name: str, labels: dict[str, str], value: float
) -> None:
    escaped = {
        k: v.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        for k, v in labels.items()
    }
    body = ",".join(f'{k}="{v}"' for k, v in escaped.items())
    [sample] = parse_exposition(f"# HELP x y\n{name}{{{body}}} {number(value)} 1700000000000\n\n")
    assert (sample.name, sample.labels, sample.value) == (name, labels, value)


@given(st.text(max_size=200))
def test_any_text_is_samples_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        list(parse_exposition(text))


def test_a_series_that_ended_is_gone_from_instant_queries() -> None:
    tsdb = Tsdb()
    key = tsdb.add({"__name__": "up"}, 1000, 1.0)
    assert promql.instant(tsdb, "up", 2000)
    assert key is not None
    tsdb.end(key, 2500)
    assert promql.instant(tsdb, "up", 3000) == {}
    assert promql.instant(tsdb, "count_over_time(up[1m])", 3000) == {(): 1.0}


def test_old_samples_are_forgotten() -> None:
    tsdb = Tsdb()
    for second in range(3600):
        tsdb.add({"__name__": "x"}, second * 1000, float(second))
    [(_, series)] = tsdb.select(lambda labels: True)
    assert len(series.times) < 16 * 60 + 60
    tsdb.forget(2 * 3600 * 1000)
    assert tsdb.select(lambda labels: True) == []
