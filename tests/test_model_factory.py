"""Models by name: what each needs, where it is reached and with which key; `models list` and
`models test` as somebody at a terminal meets them."""

import json
import threading
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from commands import environment, in_process
from modelserver import ModelServer, Reply, calls, delta, fragment, sse, text

from smoldebug.clock import FakeClock
from smoldebug.conversation import Message
from smoldebug.diagnose.expert import Expert
from smoldebug.diagnose.picture import Brief
from smoldebug.errors import UsageError
from smoldebug.evidence import EvidenceStore
from smoldebug.model.asking import FREE, Asked, ModelFailed, Request
from smoldebug.model.factory import PROVIDERS, build, target_of
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import Key, ModelSettings, Price, Settings
from smoldebug.status import ExitStatus

KEY = "k3y-of-somebody-8452"
QUESTION = Request([Message("user", "What is wrong?")], seconds=5)
EXPERT = Expert(EvidenceStore(FakeClock()), Brief())
PLAIN = Settings()
ECHO = calls(echo={"word": "smoldebug"})
needs_openai = pytest.mark.skipif(find_spec("openai") is None, reason="openai is not installed")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS.values():
        for name in (*provider.keys, *provider.bases):
            monkeypatch.delenv(name, raising=False)


def made(name: str, settings: Settings = PLAIN, api_base: str = "") -> Asked:
    return build(name, settings, expert=EXPERT, api_base=api_base)


def one(**about: Any) -> Settings:
    return Settings(models={"mine": ModelSettings(**about)})


# --- names ----------------------------------------------------------------------------------


def test_the_expert_and_scripts_run_in_this_process(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("- say: hi\n")
    for name in ("expert", f"scripted:{tmp_path / 's.yaml'}"):
        model = made(name)
        assert (model.name, model.provider, model.endpoint, model.price) == (name, "", "", FREE)
    assert model.ask(QUESTION).text == "hi"


@pytest.mark.parametrize("name", ["hf/", "gpt-9", "nobody/x", "/x"])
def test_a_name_that_is_none_is_refused_with_what_is_known(name: str):
    with pytest.raises(UsageError, match="unknown model") as caught:
        made(name)
    assert caught.value.hint.startswith("name it as PROVIDER/ID, such as openai/gpt-5; providers: ")


def test_a_chain_in_one_name_is_no_name():
    with pytest.raises(UsageError, match="unknown model") as caught:
        made("openai/a,ollama/b")
    assert caught.value.hint == "a chain is --model several times"


def test_an_endpoint_that_goes_too_far_is_told_where_it_ends():
    with pytest.raises(UsageError, match="--api-base ends before /chat/completions: http"):
        made("hf/x", api_base="http://127.0.0.1:1/v1/chat/completions/")


def test_a_name_that_is_nearly_one_of_the_settings_is_told():
    with pytest.raises(UsageError, match="did you mean mine?"):
        made("mien", one(model="hf/x"))


def test_a_name_of_the_settings_stands_for_a_model_with_its_endpoint_and_key(monkeypatch):
    monkeypatch.setenv("TEAM_KEY", KEY)
    with ModelServer([text("It is DNS.")]) as server:
        settings = one(model="vllm/qwen", api_base=server.url, key=Key(env="TEAM_KEY"))
        model = made("mine", settings)
        assert model.ask(QUESTION).text == "It is DNS."
    assert (model.name, model.endpoint) == ("mine", server.url)
    assert model.provider == f"vllm at {server.url.split('/')[2]}"
    assert server.asked[0]["model"] == "qwen"
    sent = {name.lower(): value for name, value in server.sent[0].items()}
    assert sent["authorization"] == f"Bearer {KEY}"


def test_a_base_url_of_the_command_line_goes_before_that_of_the_settings():
    settings = one(model="vllm/qwen", api_base="http://127.0.0.1:1/v1")
    assert target_of("mine", settings, "http://127.0.0.1:2/v1").endpoint == "http://127.0.0.1:2/v1"
    with pytest.raises(UsageError, match="no http"):
        target_of("mine", settings, "localhost:8000/v1")


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("OPENAI_BASE_URL", "openai/gpt-5"),
        ("AZURE_OPENAI_ENDPOINT", "azure/prod"),
        ("ANTHROPIC_API_BASE", "litellm/anthropic/claude"),
        ("TOGETHER_AI_BASE_URL", "litellm/together-ai/x"),
        ("OLLAMA_API_BASE", "litellm/ollama_chat/x"),
        ("OPENAI_API_BASE", "litellm/gpt-5"),
        ("AWS_BEDROCK_RUNTIME_ENDPOINT", "bedrock/x"),
    ],
)
def test_where_a_client_is_sent_by_a_variable_is_no_secret(variable: str, name: str, monkeypatch):
    monkeypatch.setenv(variable, "https://llm.example.com/v1")
    assert target_of(name, PLAIN).endpoint == "https://llm.example.com/v1"
    assert target_of(name, PLAIN).shares.endswith(" at llm.example.com")
    assert target_of(name, PLAIN, "http://127.0.0.1:2/v1").endpoint == "http://127.0.0.1:2/v1"


@needs_openai
def test_and_there_it_is_asked(monkeypatch):
    with ModelServer([text("It is DNS.")]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        model = made("openai/x")
        monkeypatch.delenv("OPENAI_BASE_URL")
        assert model.ask(QUESTION).text == "It is DNS."
    assert model.endpoint == server.url


@needs_openai
def test_an_azure_endpoint_needs_a_key(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://me.openai.azure.com")
    with pytest.raises(UsageError, match="no key for azure/prod: set AZURE_OPENAI_API_KEY"):
        made("azure/prod")


def test_a_variable_that_holds_no_url_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(UsageError, match="OPENAI_BASE_URL is no http"):
        target_of("openai/x", PLAIN)


def test_a_base_url_holds_no_password():
    with pytest.raises(UsageError, match="--api-base holds a user or password") as caught:
        target_of("vllm/x", PLAIN, "http://me:hunter2@127.0.0.1:2/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("openai/gpt-5", "openai"),
        ("hf/org/model", "hf"),
        ("groq/llama", "groq"),
        ("litellm/anthropic/claude", "litellm anthropic"),
        ("bedrock/anthropic.claude", "bedrock"),
        ("ollama/qwen3:8b", "ollama at localhost:11434"),
    ],
)
def test_models_of_one_provider_share_its_outages(name: str, shares: str):
    assert target_of(name, PLAIN).shares == shares


@pytest.mark.parametrize("name", ["ollama", "vllm", "llamacpp"])
def test_a_server_of_ones_own_is_on_this_machine_and_needs_no_key(name: str):
    model = made(f"{name}/any")
    assert model.endpoint.startswith("http://localhost:")
    assert model.price == FREE


def test_every_endpoint_that_is_not_on_this_machine_is_asked_by_https():
    for provider in PROVIDERS.values():
        local = provider.base.startswith("http://localhost:")
        assert not provider.base or local or provider.base.startswith("https://")
        assert local or provider.keys or provider.finds_key or provider.in_process


# --- packages, keys, prices -----------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, each in PROVIDERS.items() if each.modules])
def test_a_missing_package_is_one_sentence_and_a_pip_command(name: str):
    provider = PROVIDERS[name]
    if all(find_spec(module) for module in provider.modules):
        pytest.skip(f"{provider.package} is installed")
    with pytest.raises(UsageError, match=f"^{name}/m needs a package$") as caught:
        made(f"{name}/m")
    assert caught.value.hint == f"pip install '{provider.package}'"


def test_every_package_that_is_named_has_the_extra_that_is_named():
    for provider in PROVIDERS.values():
        package, _, extra = provider.package.removesuffix("]").partition("[")
        assert not extra or extra in (metadata(package).get_all("Provides-Extra") or [])


@pytest.mark.parametrize("name", ["hf", "groq", pytest.param("openai", marks=needs_openai)])
def test_a_missing_key_is_named(name: str):
    (variable,) = PROVIDERS[name].keys
    with pytest.raises(UsageError, match=f"no key for {name}/x: set {variable}, or name an --api"):
        made(f"{name}/x")
    with pytest.raises(UsageError, match="no key for mine: set TEAM_KEY$"):
        made("mine", one(model=f"{name}/x", api_base="http://[::1]/v1", key=Key(env="TEAM_KEY")))


def test_a_price_that_nobody_knows_is_refused_unless_somebody_takes_it():
    name, base = "vllm/unheard-of", "https://models.example.com/v1"
    with pytest.raises(UsageError, match="nobody knows what vllm/unheard-of costs"):
        made(name, api_base=base)
    asked: list[str] = []
    price = build(
        name, PLAIN, expert=EXPERT, api_base=base, may_cost=lambda q: not asked.append(q)
    ).price
    assert price == FREE
    assert len(asked) == 1
    own = Price(input=Money(1), output=Money(2))
    assert made(name, Settings(unknown_price=own), base).price == own


@pytest.mark.parametrize(
    "name", ["hf", "groq", "ollama", pytest.param("openai", marks=needs_openai)]
)
def test_building_asks_nobody_and_leaves_no_thread(name: str):
    before = threading.active_count()
    with ModelServer([text("hi")]) as server:
        serving = threading.active_count()
        made(f"{name}/x", api_base=server.url)
        assert threading.active_count() == serving
    assert server.asked == []
    assert threading.active_count() == before


@needs_openai
def test_azure_is_asked_for_the_deployment_and_says_what_it_lacks(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
    with pytest.raises(UsageError, match="OPENAI_API_VERSION"):
        made("azure/x", api_base="http://127.0.0.1:9/")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    with ModelServer([text("It is DNS.")]) as server:
        root = server.url.removesuffix("/v1")
        assert made("azure/prod", api_base=root).ask(QUESTION).text == "It is DNS."
    assert server.asked[0]["path"].startswith("/openai/deployments/prod/chat/completions")
    assert {name.lower(): value for name, value in server.sent[0].items()}["api-key"] == KEY


# --- smoldebug models list ------------------------------------------------------------------

SETTINGS = """
model: [fast, hf/org/model, expert]
models:
  fast: {model: ollama/qwen3, tools: text, context: 32768}
  dear: {model: hf/unheard-of, key: {env: TEAM_KEY}, price: {input: $3, output: $15}}
  none: {model: nobody/x}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/settings.yaml").write_text(SETTINGS)
    return tmp_path


def listed(home: Path, **env: str) -> dict[str, Any]:
    done = in_process("models", "list", "-o", "json", cwd=home, env=environment(home, **env))
    assert done.code == ExitStatus.MET, done.stderr
    assert KEY not in done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_list_says_what_each_model_needs_and_costs(home: Path):
    found = listed(home, TEAM_KEY=KEY, SMOLDEBUG_MODEL="groq/llama")
    models = {row["model"]: row for row in found["models"]}
    assert list(models) == ["fast", "dear", "none", "hf/org/model", "groq/llama", "expert"]
    assert models["fast"] == {
        "model": "fast",
        "endpoint": "http://localhost:11434/v1",
        "key": "none needed",
        "package": "",
        "usable": True,
        "price": {"input": 0.0, "output": 0.0},
        "price_from": "free: its endpoint is on this machine",
        "tools": "text",
        "context": 32768,
    }
    assert models["dear"]["key"] == "set (env TEAM_KEY)"
    assert models["dear"]["price"] == {"input": 3.0, "output": 15.0}
    assert models["hf/org/model"]["key"] == "missing: set HF_TOKEN"
    assert models["hf/org/model"]["price"] is None
    assert (models["none"]["key"], models["none"]["usable"]) == ("unknown model 'nobody/x'", False)
    assert found["settings"] == str(home / "home/settings.yaml")


def test_the_list_names_every_provider_and_what_it_needs(home: Path):
    providers = {row["model"]: row for row in listed(home, GROQ_API_KEY=KEY)["providers"]}
    assert set(providers) == {f"{name}/ID" for name in PROVIDERS}
    assert providers["groq/ID"]["key"] == "set (env GROQ_API_KEY)"
    assert providers["openai/ID"]["key"] == "missing: set OPENAI_API_KEY"
    assert providers["litellm/ID"]["key"] == "LiteLLM looks for it"
    for name, provider in PROVIDERS.items():
        there = all(find_spec(module) for module in provider.modules)
        package = "" if there else f"pip install '{provider.package}'"
        assert providers[f"{name}/ID"]["package"] == package


def test_the_list_reads_well(home: Path):
    done = in_process("models", "list", cwd=home, env=environment(home))
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["MODEL", "ENDPOINT", "KEY", "PACKAGE", "PRICE", "TOOLS", "CONTEXT"] in lines
    assert any(line[:2] == ["expert", "this"] for line in lines if line)
    assert "$3 in, $15 out, the settings" in done.stdout
    (nobody,) = [line for line in done.stdout.splitlines() if "'nobody/x'" in line]
    assert " there " not in nobody
    assert "prices: US dollars per million tokens" in done.stdout
    assert done.stdout.endswith("settings.yaml\n")


def test_the_list_says_that_there_is_no_settings_file(tmp_path: Path):
    done = in_process("models", "list", cwd=tmp_path, env=environment(tmp_path))
    assert done.stdout.endswith("settings.yaml (there is none: all is as by default)\n")


def test_the_expert_is_no_model_to_be_tested(tmp_path: Path):
    done = in_process("models", "test", "expert", cwd=tmp_path, env=environment(tmp_path))
    assert done.code == ExitStatus.USAGE
    assert "the expert is built in" in done.stderr


def test_bad_settings_are_a_usage_error_with_their_place(home: Path):
    (home / "home/settings.yaml").write_text("models: {a/b: {keyy: x}}")
    done = in_process("models", "list", cwd=home, env=environment(home))
    assert done.code == ExitStatus.USAGE
    assert "settings.yaml:1:16 models.a/b.keyy: unknown key; did you mean key?" in done.stderr


# --- smoldebug models test ------------------------------------------------------------------


def tried(folder: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    command = ("models", "test", *arguments, "-o", "json")
    done = in_process(*command, cwd=folder, env=environment(folder, HF_TOKEN=KEY))
    assert KEY not in done.stdout + done.stderr
    return done.code, json.loads(done.stdout) if done.stdout else []


def test_a_model_that_calls_the_tool_is_fine(tmp_path: Path):
    with ModelServer([ECHO]) as server:
        code, (row,) = tried(tmp_path, "hf/some-model", "--api-base", server.url)
    assert code == ExitStatus.MET
    assert (row["model"], row["ok"], row["calls_tools"]) == ("hf/some-model", True, True)
    assert (row["tokens_in"], row["tokens_out"], row["problem"]) == (11, 7, "")
    assert 0 < row["seconds"] < 5
    assert len(server.asked) == 1, "one small question"


def test_an_answer_that_comes_in_parts_is_told_from_one_that_comes_whole(tmp_path: Path):
    called = fragment('{"word": "smoldebug"}', id="c1", name="echo")
    parts = sse(delta(content="Ready."), delta(tool_calls=[called]), delta("tool_calls"), "[DONE]")
    for reply, streams in ((parts, True), (ECHO, False)):
        with ModelServer([reply]) as server:
            _, (row,) = tried(tmp_path, "hf/some-model", "--api-base", server.url)
        assert (row["ok"], row["streams"], row["tokens_estimated"]) == (True, streams, streams)


def test_a_model_that_only_talks_is_told_from_one_that_calls(tmp_path: Path):
    with ModelServer([text("I am ready!")]) as server:
        code, (row,) = tried(tmp_path, "hf/some-model", "--api-base", server.url)
    assert code == ExitStatus.NOT_MET
    assert (row["answered"], row["calls_tools"]) == (True, False)
    assert "text protocol" in row["problem"]


def test_one_that_is_told_of_tools_in_words_has_to_answer_in_that_form(tmp_path: Path):
    (tmp_path / "home").mkdir()
    with ModelServer([text("I am ready!")]) as server:
        (tmp_path / "home/settings.yaml").write_text(
            f"models: {{a: {{model: vllm/x, api_base: '{server.url}', tools: text}}}}"
        )
        code, (row,) = tried(tmp_path)
    assert code == ExitStatus.NOT_MET
    assert "not in the form it was told" in row["problem"]


@pytest.mark.parametrize("reply", [Reply({"error": f"bad key {KEY}"}, 401), Reply({}, 404)])
def test_one_that_fails_is_a_sentence_without_the_key(tmp_path: Path, reply: Reply):
    with ModelServer([reply]) as server:
        code, (row,) = tried(tmp_path, "hf/some-model", "--api-base", server.url)
    assert code == ExitStatus.UNREACHABLE
    assert not row["answered"]
    assert row["problem"]


def test_without_names_those_of_the_settings_are_asked(tmp_path: Path):
    (tmp_path / "home").mkdir()
    file = tmp_path / "home/settings.yaml"
    assert tried(tmp_path) == (ExitStatus.USAGE, [])
    with ModelServer([ECHO]) as server:
        file.write_text(
            f"models: {{a: {{model: vllm/x, api_base: '{server.url}'}}, b: {{model: no/x}}}}"
        )
        code, rows = tried(tmp_path)
    assert [row["ok"] for row in rows] == [True, False]
    assert code == ExitStatus.USAGE, "a name that is none"
    assert rows[1]["problem"].startswith("unknown model 'no/x'")


def test_what_it_cost_counts_for_the_day(tmp_path: Path):
    (tmp_path / "home").mkdir()
    with ModelServer([ECHO]) as server:
        (tmp_path / "home/settings.yaml").write_text(
            f"models: {{a: {{model: vllm/x, api_base: '{server.url}', "
            "price: {input: $1000, output: $1000}, max_output: 64}}\nbudgets: {day: $0.25}"
        )
        code, (row,) = tried(tmp_path)
        assert (code, row["cost"]) == (ExitStatus.MET, pytest.approx(0.018))
        while code == ExitStatus.MET and len(server.asked) < 15:
            code, (row,) = tried(tmp_path)
    assert code == ExitStatus.LIMIT
    assert row["problem"].startswith("budgets.day: ")


def test_a_failed_question_names_who_was_asked(tmp_path: Path):
    with ModelServer([Reply("<html>busy</html>", 200)]) as server, pytest.raises(ModelFailed):
        made("vllm/x", api_base=server.url).ask(QUESTION)
