"""Checks of a goal that look at traffic, metrics, commands, code and findings."""

import math
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measuring import goal_of, measure

from smoldebug.errors import AccessDenied, ToolError, UnreachableError, UsageError
from smoldebug.events import FirstCard
from smoldebug.goal import red_lights
from smoldebug.playbook.models import (
    Check,
    CommandCheck,
    FindingsCheck,
    HttpCheck,
    MetricCheck,
    RatioCheck,
    TcpCheck,
)
from smoldebug.records import Fact, Gap, Outcome
from smoldebug.sources.fakes import (
    FakeCluster,
    FakeHttp,
    FakeMetrics,
    FakeProcesses,
    completed,
    reply,
)
from smoldebug.sources.world import Series

MET, NOT_MET, INCONCLUSIVE = Outcome.MET, Outcome.NOT_MET, Outcome.INCONCLUSIVE
URL = "http://checkout.shop.svc:8080/health"
NAMESPACE = {"kind": "Namespace", "metadata": {"name": "shop"}}

# --- http -------------------------------------------------------------------------------------


def http(answer, cluster=None, **block):
    block.setdefault("url", URL)
    found = measure(
        Check(http=HttpCheck(**block)), http=FakeHttp({block["url"]: answer}), cluster=cluster
    )
    return found.outcome, found.says


def test_http_says_what_was_expected_and_what_came():
    found = measure(
        Check(http=HttpCheck(url=URL)), http=FakeHttp({URL: reply(502, route="proxy Pod/shop/c-1")})
    )
    assert (found.check, found.kind, found.subject) == ("http /health = 200", "http", URL)
    assert (found.outcome, found.says, found.value) == (NOT_MET, "502 in 0.01 s", 502)
    assert found.route == "proxy Pod/shop/c-1"


def test_http_takes_one_status_of_several_and_a_text():
    assert http(reply(204), status=[200, 204])[0] is MET
    assert http(reply(200, "all ok"), contains="ok")[0] is MET
    outcome, says = http(reply(200, "\x1b[2Jdown"), contains="ok")
    assert (outcome, says) == (NOT_MET, "200 in 0.01 s, but the body says: down")
    assert measure(
        Check(http=HttpCheck(url="http://x", status=[200, 204], contains="ok"))
    ).check == ("http / = 200 or 204 with 'ok'")


def test_http_without_an_answer_is_not_met():
    assert http(UnreachableError("connection refused")) == (NOT_MET, "connection refused")
    assert http(UnreachableError("refused"), cluster=FakeCluster([NAMESPACE]))[0] is NOT_MET


def test_http_is_not_met_where_the_cluster_answers_but_hides_its_namespaces():
    cluster = FakeCluster([NAMESPACE])
    cluster.refuse("get", "Namespace")
    assert http(UnreachableError("no ready endpoints"), cluster=cluster)[0] is NOT_MET


def test_http_that_we_may_not_or_cannot_ask_is_inconclusive():
    outcome, says = http(AccessDenied("not allowed", needs="get services/proxy"))
    assert (outcome, says) == (INCONCLUSIVE, "not allowed (needs: get services/proxy)")
    cluster = FakeCluster()
    cluster.refuse("*", error=UnreachableError("the API server does not answer"))
    assert http(UnreachableError("no route"), cluster=cluster) == (
        INCONCLUSIVE,
        "the API server does not answer",
    )
    # a URL outside the cluster has nothing to do with the cluster
    assert http(UnreachableError("no"), cluster=cluster, url="http://example.com/")[0] is NOT_MET


def test_http_samples_go_to_one_endpoint_after_the_other():
    fake = FakeHttp({URL: reply(200)})
    goal = goal_of(Check(http=HttpCheck(url=URL)), http=fake)
    for _ in range(3):
        goal.check()
    assert [request.detail["sample"] for request in fake.requests] == [0, 1, 2]


@pytest.mark.parametrize("url", ["", "checkout:8080", "ftp://x/", "http://[::1", "http://x:y/"])
def test_http_needs_a_url(url):
    with pytest.raises(UsageError, match="not a url like"):
        goal_of(Check(http=HttpCheck(url=url)))


# --- tcp --------------------------------------------------------------------------------------


def test_tcp_connects():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = measure(Check(tcp=TcpCheck(host="127.0.0.1", port=port)))
        assert (found.outcome, found.check) == (MET, f"tcp 127.0.0.1:{port}")
    found = measure(Check(tcp=TcpCheck(host="127.0.0.1", port=port)))
    assert (found.outcome, found.says) == (NOT_MET, "connection refused")


def test_tcp_never_asks_this_machines_dns_for_a_name_of_the_cluster(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    found = measure(Check(tcp=TcpCheck(host="db.shop.svc", port=5432)))
    assert found.outcome is INCONCLUSIVE
    assert "only an http check reaches it" in found.says


def test_tcp_with_nonsense_for_a_host_is_not_met():
    assert measure(Check(tcp=TcpCheck(host="a" * 70 + ".example", port=1))).outcome is NOT_MET


# --- metric -----------------------------------------------------------------------------------


def metric(answer, **bounds):
    check = Check(metric=MetricCheck(query="q", **bounds))
    found = measure(check, metrics=FakeMetrics({"q": answer}))
    return found.outcome, found.says, found.value


def series(*values: float) -> list[Series]:
    return [Series({"pod": f"p{i}"}, ((0.0, value),)) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("bounds", "value", "outcome"),
    [
        ({"below": 5}, 4.9, MET),
        ({"below": 5}, 5, NOT_MET),
        ({"at_most": 5}, 5, MET),
        ({"above": 5}, 5, NOT_MET),
        ({"at_least": 5}, 5, MET),
        ({"equals": 5}, 5, MET),
        ({"equals": 5}, 4, NOT_MET),
        ({"at_least": 1, "below": 5}, 3, MET),
        ({"at_least": 1, "below": 5}, 0, NOT_MET),
        ({"below": 0}, -1, MET),
        ({"below": 5}, math.inf, NOT_MET),
    ],
)
def test_metric_bounds(bounds, value, outcome):
    assert metric(float(value), **bounds)[0] is outcome


def test_without_a_prometheus_a_metric_is_inconclusive():
    found = measure(Check(metric=MetricCheck(query="up", equals=1)))
    assert found.outcome is INCONCLUSIVE
    assert "names no Prometheus: tools.metrics.url" in found.says


def test_every_series_must_satisfy():
    assert metric(series(1, 2, 3), below=5) == (MET, "1 to 3 in 3 series", 3)
    assert metric(series(1, 2, 3), above=0) == (MET, "1 to 3 in 3 series", 1)
    assert metric(series(1, 7), below=5) == (NOT_MET, "7 for pod=p1", 7)


def test_missing_data_is_never_met():
    assert metric([], below=5) == (INCONCLUSIVE, "no data", None)
    assert metric(series(1, math.nan), below=5)[:2] == (INCONCLUSIVE, "not a number for pod=p1")
    assert metric([Series({}, ())], below=5)[0] is INCONCLUSIVE
    assert metric(ToolError("parse error"), below=5)[:2] == (INCONCLUSIVE, "parse error")
    assert metric(UnreachableError("refused"), below=5)[0] is INCONCLUSIVE


def test_a_series_that_fails_outweighs_one_that_is_missing():
    assert metric(series(math.nan, 7), below=5)[0] is NOT_MET


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("up", "metric up ≥ 1"),
        ('sum by (pod) (rate(errors_total{job="a"}[1m]))', "metric errors_total ≥ 1"),
        ("histogram_quantile(0.99, sum(rate(x_bucket[1m])) by (le))", "metric x_bucket ≥ 1"),
        ("vector(1)", "metric vector(1) ≥ 1"),
    ],
)
def test_metric_labels_are_short(query, label):
    assert measure(Check(metric=MetricCheck(query=query, at_least=1))).check == label


def test_a_check_without_a_bound_cannot_be_measured():
    with pytest.raises(UsageError, match="metric check needs a bound"):
        goal_of(Check(metric=MetricCheck(query="up")))
    with pytest.raises(UsageError, match="ratio check needs a bound"):
        goal_of(Check(ratio=RatioCheck(bad="a", total="b")))


# --- ratio ------------------------------------------------------------------------------------


def ratio(bad, total, **bounds):
    check = Check(ratio=RatioCheck(bad="bad", total="total", **(bounds or {"below": 0.01})))
    found = measure(check, metrics=FakeMetrics({"bad": bad, "total": total}))
    return found.outcome, found.says


@pytest.mark.parametrize(
    ("bad", "total", "outcome", "says"),
    [
        (0.5, 100.0, MET, "0.5 % of 100"),
        (7.4, 100.0, NOT_MET, "7.4 % of 100"),
        (1.0, 100.0, NOT_MET, "1 % of 100"),
        ([], 100.0, MET, "0 % of 100"),  # no error has ever been counted
        ([], [], INCONCLUSIVE, "the total has no data"),
        (0.0, 0.0, INCONCLUSIVE, "the total is 0: no traffic, nothing to judge"),
        (0.0, math.nan, INCONCLUSIVE, "the total is nan: no traffic, nothing to judge"),
        (math.nan, 100.0, INCONCLUSIVE, "bad/total is not a number"),
        (series(1, 2), series(10, 90), NOT_MET, "3 % of 100"),  # several series are added up
    ],
)
def test_ratio(bad, total, outcome, says):
    assert ratio(bad, total) == (outcome, says)


def test_a_ratio_of_rates_says_per_second():
    total = "sum(rate(http_requests_total[1m]))"
    check = Check(ratio=RatioCheck(bad="bad", total=total, below=0.01))
    found = measure(check, metrics=FakeMetrics({"bad": 1.0, total: 26.8}))
    assert found.says == "3.73 % of 26.8/s"


def test_ratio_label_names_the_status_class():
    bad = 'sum(rate(http_requests_total{code=~"5.."}[1m]))'
    found = measure(Check(ratio=RatioCheck(bad=bad, total="t", below=0.01)))
    assert found.check == "ratio 5xx < 1 %"
    found = measure(Check(ratio=RatioCheck(bad="errors_total", total="t", at_most=0.005)))
    assert found.check == "ratio errors_total ≤ 0.5 %"


numbers = st.floats() | st.just([])


@given(numbers, numbers)
def test_ratio_is_met_only_by_real_traffic(bad, total):
    outcome, _ = ratio(bad, total)
    if outcome is MET:
        assert isinstance(total, float)
        assert 0 < total < math.inf
        assert bad == [] or bad / total < 0.01


@given(st.lists(st.floats(), max_size=4), st.floats(allow_nan=False))
def test_metric_is_met_only_when_every_value_is(values, bound):
    expected = bool(values) and all(value < bound for value in values)
    assert (metric(series(*values), below=bound)[0] is MET) == expected


# --- command ----------------------------------------------------------------------------------


def command(result, **block):
    check = Check(command=CommandCheck(run=["pg_isready", "-h", "db"], **block))
    found = measure(check, processes=FakeProcesses({"pg_isready -h db": result}))
    return found.outcome, found.says


def test_command_judges_exit_code_and_output():
    assert command(completed(0, "accepting"), contains="accepting") == (MET, "exit 0 in 0.01 s")
    assert command(completed(2, "", "a\nno\x1b[1m response\n")) == (NOT_MET, "exit 2: no response")
    assert command(completed(2), exit_code=2)[0] is MET
    assert command(completed(0, "x"), contains="ok") == (
        NOT_MET,
        "exit 0, but the output does not contain: ok",
    )
    assert command(completed(None)) == (NOT_MET, "not finished after 30 s")


def test_a_command_that_does_not_start_says_nothing_about_the_goal():
    assert command(ToolError("command not found: pg_isready"))[0] is INCONCLUSIVE


# --- python -----------------------------------------------------------------------------------

PREDICATE = '''\
"""A predicate of the playbook."""
from dataclasses import dataclass

@dataclass
class Seen:
    n: int

def holds(state): return True
def seen(state): return ("ok" in state["observations"], f"{Seen(state['inputs']['x']).n} seen")
def odd(state): return "yes"
def boom(state): raise KeyError("no evidence yet")
def leave(state): raise SystemExit(0)
'''


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "mine.py").write_text(PREDICATE)
    (tmp_path / "broken.py").write_text("raise ValueError('at import')")
    return str(tmp_path)


def predicate(folder, spec, **powers):
    found = measure(Check(python=spec), folder=folder, allow_code=True, **powers)
    return found.outcome, found.says


def test_a_predicate_decides(folder):
    assert predicate(folder, "checks.mine:holds") == (MET, "holds")
    assert predicate(folder, "checks.mine:seen") == (NOT_MET, "1 seen")
    state = {"observations": ["ok"], "evidence": []}
    assert predicate(folder, "checks.mine:seen", state=lambda: state) == (MET, "1 seen")


def test_a_predicate_that_fails_decides_nothing(folder):
    assert predicate(folder, "checks.mine:boom") == (
        INCONCLUSIVE,
        "raised KeyError: 'no evidence yet'",
    )
    assert predicate(folder, "checks.mine:odd") == (
        INCONCLUSIVE,
        "returned 'yes', not True or False",
    )
    assert predicate(folder, "checks.mine:leave") == (INCONCLUSIVE, "raised SystemExit: 0")
    assert predicate(folder, "checks.mine:gone")[1].endswith("mine.py has no function gone")
    assert predicate(folder, "broken:any") == (INCONCLUSIVE, "raised ValueError: at import")


def test_code_needs_the_operators_word(folder):
    with pytest.raises(UsageError, match="runs the playbook's own code: broken:any") as refused:
        goal_of(Check(python="broken:any"), folder=folder)
    assert refused.value.hint == "add --allow-code"


def test_code_is_not_imported_before_it_is_asked(folder):
    goal_of(Check(python="broken:any"), folder=folder, allow_code=True)


@pytest.mark.parametrize("spec", ["os", "os:", "../x:f", ".x:f", "/etc/x:f", "a b:c", "m:f()"])
def test_a_predicate_has_a_plain_name(folder, spec):
    with pytest.raises(UsageError, match="not module:function"):
        goal_of(Check(python=spec), folder=folder, allow_code=True)


def test_a_predicate_lives_in_the_playbooks_folder_only(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "evil.py"
    outside.write_text("def f(state): return True")
    Path(folder, "link.py").symlink_to(outside)
    for spec in ("os:getcwd", "link:f"):
        with pytest.raises(UsageError, match="beside the playbook"):
            goal_of(Check(python=spec), folder=folder, allow_code=True)


# --- findings ---------------------------------------------------------------------------------


def findings(*facts, severity="critical"):
    check = Check(findings=FindingsCheck(severity=severity))
    found = measure(check, red=lambda: list(facts))
    return found.outcome, found.says


def test_findings_of_that_severity_or_worse_fail():
    critical = Fact("auth: OOMKilled ×3", "Deployment/shop/auth", severity="critical")
    warning = Fact("auth: slow", "Deployment/shop/auth", severity="warning")
    assert findings() == (MET, "none")
    assert findings(warning) == (MET, "none")
    assert findings(critical, critical) == (NOT_MET, "auth: OOMKilled ×3 (+1 more)")
    assert findings(warning, severity="warning") == (NOT_MET, "auth: slow")
    assert findings(critical, severity="warning")[0] is NOT_MET


def test_no_red_light_on_a_card_that_saw_no_pods_proves_nothing():
    red = Fact("Node/n1: not ready", "Node/n1", severity="critical")
    blind, hidden = Gap("Pod", "not allowed"), Gap("Node", "not allowed")
    assert red_lights(_card((), hidden)) == ()
    assert red_lights(_card((red,), blind)) == (red,)
    with pytest.raises(AccessDenied, match="pods cannot be seen: not allowed"):
        red_lights(_card((), blind))


def _card(red: tuple[Fact, ...], gap: Gap) -> FirstCard:
    return FirstCard(changed=(), red=red, gaps=(gap,), window=3600, seconds=0.1)


def test_findings_without_anybody_who_looks_are_inconclusive():
    assert measure(Check(findings=FindingsCheck())).outcome is INCONCLUSIVE
