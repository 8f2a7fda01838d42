"""Traces and metrics, received by a collector on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hostile import runs
from hypothesis import HealthCheck, given, settings
from otlp import Collector
from recorded_models import PROMPT, by_model, stamped, start
from recorded_run import recorded_run

from smoldebug import telemetry
from smoldebug.events import (
    Continued,
    ModelAnswered,
    ModelAsked,
    RunEnded,
    Skipped,
    Stamped,
    ToolCalled,
    TurnStarted,
)
from smoldebug.records import Usage, Who
from smoldebug.status import ExitStatus

CI = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SENT = "not all traces and metrics reached their collector: "


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("OTEL_", "TRACE"))]:
        monkeypatch.delenv(name)
    yield
    for thread in threading.enumerate():  # what was left behind ends with its collector
        if thread.name.startswith("Otel"):
            thread.join(10)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


def told(events: Sequence[Stamped]) -> str:
    """Tell of a run from beginning to end; returns what is said of it."""
    watched = telemetry.opened()
    for each in events:
        watched.show(each)
    return watched.close()


# --- what is sent -----------------------------------------------------------------------------


def test_a_run_is_a_tree_of_spans(collector: Collector):
    assert told(recorded_run()) == ""
    assert collector.tree() == [
        "invoke_agent smoldebug",
        *("  turn", "    execute_tool fetch_logs"),
        *("  turn", "    execute_tool query_prometheus"),
        *("  turn", "    execute_tool fetch_logs"),
        *("  turn", "    execute_tool rollout_status"),
        *("  turn", "    execute_tool rollout_status"),
        *("  turn", "    execute_tool scale", "      change scale"),
    ]
    assert len({span.trace for span in collector.spans}) == 1


def test_the_run_says_how_it_ended_where_and_by_what(collector: Collector):
    told(recorded_run())
    run = collector.one("invoke_agent smoldebug")
    expected = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "smoldebug",
        "smoldebug.run.id": "7f3a1c",
        "smoldebug.playbook": "triage-502",
        "smoldebug.cluster": "prod-eu",
        "smoldebug.namespaces": ["shop"],
        "smoldebug.verdict": "met",
        "smoldebug.exit_status": "met",
        "smoldebug.exit_code": 0,
        "smoldebug.changes": 1,
    }
    assert expected.items() <= run.attributes.items()
    assert not run.failed
    assert run.seconds == pytest.approx(recorded_run()[-1].elapsed, abs=0.001)
    goal = [said["smoldebug.verdict"] for name, said in run.events if name == "goal"]
    assert goal == ["not met", "met"]
    assert run.resource["service.name"] == "smoldebug"


def test_a_change_tells_from_its_card_to_what_became_of_it(collector: Collector):
    told(recorded_run())
    change = collector.one("change scale")
    assert change.attributes["smoldebug.change.target"] == "Deployment/shop/auth"
    assert change.attributes["smoldebug.change.state"] == "verified"
    assert [name for name, _ in change.events] == ["decided", "sent"]
    assert change.seconds == pytest.approx(22.1, abs=0.01)


def test_a_tool_that_failed_is_an_error_and_the_others_are_none(collector: Collector):
    told(recorded_run())
    failed = [span for span in collector.spans if span.failed]
    assert [(span.name, span.attributes["error.type"]) for span in failed] == [
        ("execute_tool rollout_status", "tool_error")
    ]


def test_calls_of_models_follow_the_conventions(collector: Collector):
    told(by_model())
    failed, good = collector.one("chat qwen3"), collector.one("chat claude")
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "qwen3",
        "server.address": "gpu.example",
        "server.port": 8000,
        "error.type": "429",
        "smoldebug.tier": "cheap",
    }.items() <= failed.attributes.items()
    assert failed.failed
    assert {
        "gen_ai.provider.name": "anthropic",
        "gen_ai.usage.input_tokens": 1830,
        "gen_ai.usage.output_tokens": 92,
        "gen_ai.usage.cache_read.input_tokens": 1600,
        "gen_ai.response.finish_reasons": ["tool_calls"],
        "smoldebug.cost": 0.0004,
    }.items() <= good.attributes.items()
    assert good.seconds == pytest.approx(1.0, abs=0.001)
    run = collector.one("invoke_agent smoldebug")
    assert (run.failed, run.attributes["error.type"]) == (True, "limit")
    (name, said), *_ = run.events
    assert (name, said["smoldebug.model.to"]) == ("model switched", "litellm/anthropic/claude")


def test_a_name_of_somebodys_settings_is_told_as_what_it_stands_for(collector: Collector):
    asked = ModelAsked(1, "fast", (), real="openai/qwen3")
    told(
        stamped(start("fast"), TurnStarted(1, Usage()), asked, ModelAnswered(1, "fast", 1.0, 9, 2))
    )
    said = collector.one("chat qwen3").attributes
    assert (said["gen_ai.provider.name"], said["gen_ai.request.model"]) == ("openai", "qwen3")


def test_an_answer_from_the_cache_is_a_span_and_no_tokens(collector: Collector):
    told(by_model())
    hits = [span for span in collector.spans if "smoldebug.response_cache.hit" in span.attributes]
    assert len(hits) == 1
    assert "gen_ai.usage.input_tokens" not in hits[0].attributes


def test_metrics_count_tokens_time_cost_turns_and_changes(collector: Collector):
    told(by_model())
    total = collector.total
    assert total("gen_ai.client.token.usage", gen_ai__token__type="input") == 1880
    assert total("gen_ai.client.token.usage", gen_ai__token__type="output") == 92
    assert total("gen_ai.client.operation.duration", error__type="429") == 1.0
    assert total("gen_ai.client.operation.duration") == 2.0
    assert total("smoldebug.cost") == pytest.approx(0.0004)
    assert total("smoldebug.turns") == 2
    assert total("smoldebug.run.duration", smoldebug__exit_status="limit") == 10.0
    told(recorded_run())
    assert total("smoldebug.changes", smoldebug__change__state="verified") == 1


def test_a_run_in_ci_belongs_to_the_trace_of_its_job(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TRACEPARENT", CI)
    told(recorded_run())
    run = collector.one("invoke_agent smoldebug")
    assert (run.trace, run.parent) == tuple(CI.split("-")[1:3])


def test_a_matrix_is_one_trace_with_a_span_for_each_cluster(collector: Collector):
    watched = telemetry.opened("upgrade-payments")
    met = RunEnded(ExitStatus.MET, "met", "", Usage())
    broke = RunEnded(ExitStatus.UNDONE, "not met", "", Usage())
    away = stamped(RunEnded(ExitStatus.UNREACHABLE, "inconclusive", "", Usage()), run="")
    for cluster, ended in (("eu", met), ("us", broke)):
        for each in stamped(start("expert", "m1", cluster), ended, run=cluster):
            watched.show(each, cluster)
    watched.show(away[0], "mars")  # its run never began
    watched.show(stamped(Skipped("one failed"))[0], "asia")
    assert watched.close() == ""
    below = ["  invoke_agent smoldebug"] * 3
    assert collector.tree() == ["invoke_workflow upgrade-payments", *below]
    root, *cells = sorted(collector.spans, key=lambda span: span.name, reverse=True)
    assert (root.failed, root.events) == (True, [("skipped", {"smoldebug.cluster": "asia"})])
    assert [cell.attributes["smoldebug.cluster"] for cell in cells] == ["eu", "us", "mars"]
    assert [cell.failed for cell in cells] == [False, True, True]


def test_a_run_that_is_taken_up_again_is_a_span_that_knows_its_playbook(collector: Collector):
    past, rest = recorded_run()[:8], recorded_run()[8:]
    watched = telemetry.opened()
    watched.recall(past)
    again = Stamped("7f3a1c", 8, rest[0].elapsed, rest[0].at, Continued("resume", Who("anna")))
    for each in (again, *rest):
        watched.show(each)
    watched.close()
    run = collector.one("invoke_agent smoldebug")
    assert run.attributes["smoldebug.command"] == "resume"
    assert run.attributes["smoldebug.playbook"] == "triage-502"


# --- what is not ------------------------------------------------------------------------------


def test_texts_stay_here_unless_they_are_asked_for(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    secret = "auth is saturated"  # of a thought, a prompt, an observation
    events = [*by_model()[:-1], *recorded_run()]
    told(events)
    quiet = collector.raw
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    collector.raw = b""
    told(events)
    for text in (PROMPT, "it must be auth", "pool exhausted", "Too Many Requests", "lines"):
        assert text.encode() not in quiet, text
        assert text.encode() in collector.raw, text
    assert secret.encode() not in quiet
    asked = [span for span in collector.spans if "gen_ai.input.messages" in span.attributes]
    (message,) = json.loads(asked[0].attributes["gen_ai.input.messages"])
    assert message == {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}


def test_a_key_in_an_endpoint_is_not_sent(collector: Collector):
    told(by_model())
    assert b"key@" not in collector.raw


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        },
    ],
)
def test_nothing_is_imported_unless_somebody_listens(variables: dict[str, str]):
    code = (
        "import sys; from smoldebug import telemetry; telemetry.opened().close();"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    env = {"PATH": os.environ["PATH"], **variables}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0


@given(events=runs())
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_in_an_event_can_be_told(collector: Collector, events: list[Stamped]):
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "true"
    try:
        assert told(events) == ""
    finally:
        del os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"]


# --- whoever does not take it -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (Collector(status=500), "500"),
        (Collector(status=404, body=b"<html>nonsense"), "404"),
    ],
    ids=["broken", "nonsense"],
)
def test_a_collector_that_fails_costs_a_sentence(
    broken: Collector, why: str, monkeypatch: pytest.MonkeyPatch
):
    with broken:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", broken.url)
        assert told(recorded_run()) == f"{NOT_SENT}{why}"


def test_one_that_is_not_there_is_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    assert told(recorded_run()) == f"{NOT_SENT}Connection refused"


def test_one_that_never_answers_is_left_after_two_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5")
    with Collector(hang=True) as slow:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", slow.url)
        began = time.monotonic()
        assert told(recorded_run()) == f"{NOT_SENT}no answer in time"
        assert time.monotonic() - began < 2.4


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is grpc"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "max_queue_size"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
):
    monkeypatch.setenv(name, value)
    said = told(recorded_run())
    assert said.startswith("no traces were sent: ")
    assert why in said


def test_of_a_run_that_is_killed_what_had_ended_is_known(collector: Collector):
    """And of one that is stopped, everything."""
    told(recorded_run()[:10])
    run = collector.one("invoke_agent smoldebug")
    assert run.attributes["error.type"] == "interrupted"
    collector.spans.clear()
    code = (
        "import signal; from recorded_run import recorded_run; from smoldebug import telemetry\n"
        "watched = telemetry.opened()\n"
        "for each in recorded_run()[:10]: watched.show(each)\n"
        "signal.pause()"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OTEL_BSP_SCHEDULE_DELAY": "20"}
    with subprocess.Popen([sys.executable, "-c", code], env=env) as process:
        assert collector.until(spans=2)
        process.send_signal(signal.SIGKILL)
    assert sorted(collector.tree()) == ["  execute_tool fetch_logs", "turn"]


def test_events_without_a_beginning_are_no_trouble(collector: Collector):
    assert told(stamped(ToolCalled(1, "t1c0", "look", None), TurnStarted(1, Usage()))) == ""
