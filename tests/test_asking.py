"""From the names of models to the chain of a run: who names them, what a policy says, prices."""

import io
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, redirect_stderr
from pathlib import Path

import pytest

from smoldebug.agent import Signals
from smoldebug.cli import program
from smoldebug.cli.assemble import assemble
from smoldebug.cli.chain import Asking, limits_of, may_cost, open_chain
from smoldebug.cli.options import Options
from smoldebug.clock import FakeClock
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.errors import UsageError
from smoldebug.evidence import EvidenceStore
from smoldebug.model.budget import OverBudget
from smoldebug.past import Past
from smoldebug.playbook import models
from smoldebug.playbook.base import Money
from smoldebug.playbook.policy import Policy, read_policy
from smoldebug.playbook.settings import ModelSettings, Price, Settings
from smoldebug.records import Answer, Card, Decision, Usage
from smoldebug.redact import Redactor

LOCAL = "http://127.0.0.1:1/v1"
ELSEWHERE = "https://llm.example.com/v1"
GOAL = models.Goal(all=[models.Check(tcp=models.TcpCheck(host="db", port=5432))])


def playbook(**fields) -> models.Playbook:
    return models.Playbook(apiVersion="smoldebug.dev/v1", name="test", goal=GOAL, **fields)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.endswith("_API_KEY") or name in ("SMOLDEBUG_MODEL", "HF_TOKEN"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path))


@pytest.fixture
def policy(tmp_path: Path):
    def written(text: str) -> Policy:
        path = tmp_path / "policy.yaml"
        path.write_text(f"apiVersion: smoldebug.dev/v1\nkind: Policy\n{text}")
        return read_policy(path)

    return written


def opened(
    plan: models.Playbook | None = None,
    *policies: Policy,
    named: tuple[str, ...] = (),
    at: str = LOCAL,
    settings: Settings | None = None,
) -> Asking:
    clock = FakeClock()
    expert = Expert(EvidenceStore(clock), Brief())
    options = Options(models=named, api_base=at)
    return open_chain(
        plan or playbook(),
        options,
        settings or Settings(),
        policies,
        expert,
        Redactor(),
        clock,
        "run1",
    )


def names(*given, **more) -> tuple[str, ...]:
    with closing(opened(*given, **more)) as asking:
        return asking.chain.names()


def test_the_expert_is_asked_where_nobody_names_a_model():
    assert names() == ("expert",)


def test_the_command_goes_before_the_playbook_the_environment_and_the_settings(monkeypatch):
    settings = Settings(model="hf/settings")
    assert names(settings=settings) == ("hf/settings",)
    monkeypatch.setenv("SMOLDEBUG_MODEL", "hf/environment")
    assert names(settings=settings) == ("hf/environment",)
    plan = playbook(model=["hf/one", "hf/two", "expert"])
    assert names(plan, settings=settings) == ("hf/one", "hf/two")
    assert names(plan, named=("hf/mine",), settings=settings) == ("hf/mine",)


def test_a_playbook_may_have_a_cheap_and_a_strong_model():
    tiers = models.Tiers(cheap="hf/small", strong=["hf/big", "hf/bigger"])
    with closing(opened(playbook(model=tiers))) as asking:
        assert asking.chain.names() == ("hf/small", "hf/big", "hf/bigger")
        assert asking.chain.tiered


def test_a_price_that_nobody_knows_and_nobody_takes_is_refused():
    with pytest.raises(UsageError, match=r"nobody knows what hf/mine costs"):
        opened(named=("hf/mine",), at=ELSEWHERE)


def refuse(card: Card) -> Decision:
    return Decision(Answer.NO, "nobody")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def terminal(typed: str) -> Iterator[None]:
    before, sys.stdin = sys.stdin, Terminal(typed)
    try:
        with redirect_stderr(Terminal()):
            yield
    finally:
        sys.stdin = before


def test_only_who_looks_at_the_terminal_is_asked_for_a_price():
    with terminal("y\ny\n"), ThreadPoolExecutor(1) as pool:
        assert may_cost("Ask it all the same?")
        assert not pool.submit(may_cost, "Ask it all the same?").result()  # of a matrix


def test_a_run_that_is_taken_up_again_has_no_more_to_spend_than_before(tmp_path):
    plan = models.RunPlan(playbook=playbook(), inputs={}, source="t.yaml", folder=str(tmp_path))
    nobody = [Signals(), FakeClock()]
    first = assemble(plan, Options(), refuse, *nobody)
    first.close()
    used = Usage(turns=2, calls=3, tokens_in=200, tokens_out=50, cached_in=10, cost=0.25)
    past = Past(first.first, first.crew.run, usage=used)
    with closing(assemble(plan, Options(), refuse, *nobody, past)) as again:
        assert again.asking.budget.spent == (0.25, 250, 3)
        now = again.crew.agent.used()
    told = ("turns", "calls", "tokens_in", "tokens_out", "cached_in", "cost")
    assert [getattr(now, name) for name in told] == [getattr(used, name) for name in told]


# --- policies -----------------------------------------------------------------------------------

PRICE = Price(input=Money(1), output=Money(2))
KNOWN = Settings(models={"mine": ModelSettings(model="hf/mine", price=PRICE)})


@pytest.mark.parametrize(
    "text",
    [
        'models: {allow: ["hf/*"]}',
        'models: {endpoints: ["https://llm.example.com/*"]}',
        'models: {allow: ["azure/*", "hf/mine"], endpoints: ["https://*.example.com/v1"]}',
        "limits: {changes: 1}",
    ],
)
def test_a_policy_that_allows_a_model_lets_it_be_asked(policy, text):
    assert names(None, policy(text), named=("mine",), at=ELSEWHERE, settings=KNOWN) == ("mine",)


@pytest.mark.parametrize(
    "text",
    [
        'models: {allow: ["azure/*"]}',
        "models: {allow: []}",
        'models: {endpoints: ["https://llm.example.org/*"]}',
        'models: {allow: ["hf/*"], endpoints: []}',
        'models: {allow: ["mine"]}',  # a name of the settings is whatever its owner says
    ],
)
def test_a_policy_refuses_every_other_model_of_a_chain_before_anything_begins(policy, text):
    refused = r"policy\.yaml does not allow model hf/mine at https://llm\.example\.com/v1"
    for named in (("mine",), ("expert", "mine")):
        with pytest.raises(UsageError, match=refused):
            opened(None, policy(text), named=named, at=ELSEWHERE, settings=KNOWN)


def test_a_providers_own_endpoint_is_none_of_those_that_a_policy_names(policy, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    only = policy('models: {endpoints: ["https://llm.example.com/*"]}')
    with pytest.raises(UsageError, match=r"does not allow model hf/x at its provider's endpoint"):
        opened(None, only, named=("hf/x",), at="")


def test_a_policy_judges_the_endpoint_that_the_environment_names(policy, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_BASE", "https://elsewhere.example.org/v1")
    only = policy('models: {endpoints: ["https://llm.example.com/*"]}')
    refused = r"does not allow model litellm/anthropic/x at https://elsewhere\.example\.org/v1"
    with pytest.raises(UsageError, match=refused):
        opened(None, only, named=("litellm/anthropic/x",), at="")


def test_no_name_of_the_settings_is_taken_for_a_script(policy):
    settings = Settings(models={"a:b": ModelSettings(model="hf/mine", price=PRICE)})
    with pytest.raises(UsageError, match="does not allow model hf/mine"):
        opened(None, policy("models: {allow: []}"), named=("a:b",), settings=settings)


def test_what_runs_in_this_process_sends_nothing_and_is_always_allowed(policy, tmp_path):
    script = tmp_path / "script.yaml"
    script.write_text("- calls: [{wait: {seconds: 1, why: x}}]\n")
    nobody = policy("models: {allow: []}")
    assert names(None, nobody) == ("expert",)
    assert names(None, nobody, named=(f"scripted:{script}",)) == (f"scripted:{script}",)


def test_no_playbook_may_spend_more_than_a_policy_allows(policy):
    strict = policy("limits: {cost: $0.25}")
    limits = models.Limits(cost=Money(5))
    assert limits_of(playbook(limits=limits), [strict]).max_cost == 0.25
    assert limits_of(playbook(limits=models.Limits(cost=Money(0))), [strict]).max_cost == 0.0
    over = pytest.raises(OverBudget, match=r"limits\.cost: \$0\.00 of \$0\.25 is used")
    with closing(opened(playbook(limits=limits), strict)) as asking, over:
        asking.budget.reserve("mine", PRICE, 100_000, 100_000)


def test_a_plan_says_that_a_policy_refuses_its_model(policy, tmp_path, monkeypatch, capsys):
    policy('models: {allow: ["azure/*"]}')
    monkeypatch.setenv("SMOLDEBUG_POLICY", str(tmp_path / "policy.yaml"))
    path = tmp_path / "mine.yaml"
    path.write_text(
        "apiVersion: smoldebug.dev/v1\nname: mine\nmodel: hf/x\n"
        "goal: {all: [{tcp: {host: db, port: 5432}}]}\n"
    )
    assert program(["playbooks", "plan", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "REFUSED, the run does not begin:" in said
    assert "does not allow model hf/x at its provider's endpoint" in said
