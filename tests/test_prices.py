"""What a token costs: from the settings, else from a table that needs no network, never nothing by
silence."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.errors import UsageError
from smoldebug.model.asking import FREE
from smoldebug.model.prices import Quoted, is_loopback, price_of, resolve
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import ModelSettings, Price, Settings

OURS = Price(input=Money(3), output=Money(7))
THEN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def quoted(name: str, endpoint: str = "", **about: Any) -> Quoted:
    return price_of(name, ModelSettings(**about), endpoint, Settings(), THEN)


Table = Callable[..., None]


@pytest.fixture
def table() -> Iterator[Table]:
    """A price table that lists acme/x at what is given, in the hours of `night` if that is."""

    def lists(
        by_day: ModelPrice | None = None, night: TimeOfDateConstraint | None = None, **prices: Any
    ) -> None:
        price = ModelPrice(**prices)
        several = [ConditionalPrice(prices=by_day or price), ConditionalPrice(night, prices=price)]
        model = ModelInfo(id="x", match=ClauseEquals("x"), prices=several)
        acme = Provider(id="acme", name="Acme", api_pattern="https://acme", models=[model])
        set_custom_snapshot(DataSnapshot(providers=[acme], from_auto_update=False))

    yield lists
    set_custom_snapshot(None)


def tiers(base: str, above: str) -> TieredPrices:
    return TieredPrices(base=Decimal(base), tiers=[Tier(start=200_000, price=Decimal(above))])


def test_the_settings_come_first() -> None:
    assert quoted("openai/gpt-5-mini", price=OURS) == Quoted(OURS, "the settings")
    assert quoted("transformers/x", price=OURS).price == OURS
    assert quoted("openai/x", "http://localhost:4000/v1", price=OURS).price == OURS


def test_a_model_with_a_name_of_its_own_has_the_price_set_for_what_it_is() -> None:
    settings = Settings(models={"openai/gpt-5": ModelSettings(price=OURS)})
    about = ModelSettings(model="openai/gpt-5")
    assert price_of("strong", about, "", settings, THEN).price == OURS


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("openai/gpt-5-mini", "openai", "gpt-5-mini"),
        ("openai/gpt-5-mini-2025-08-07", "openai", "gpt-5-mini"),
        ("azure/gpt-5-mini", "openai", "gpt-5-mini"),
        ("litellm/gpt-5", "openai", "gpt-5"),
        ("litellm/azure/gpt-5-mini", "openai", "gpt-5-mini"),
        ("litellm/groq/llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
        ("groq/llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
        ("litellm/openrouter/qwen/qwen3-32b", "openrouter", "qwen/qwen3-32b"),
        ("hf/Qwen/Qwen3-32B:groq", "huggingface_groq", "Qwen/Qwen3-32B"),
    ],
)
def test_names_are_found_in_the_table(name: str, provider: str, model: str) -> None:
    price = listed(provider, model)
    found = quoted(name)
    assert found.source == "price table"
    assert found.price == Price(
        input=money(price.input_mtok),
        output=money(price.output_mtok),
        cached=money(price.cache_read_mtok or price.input_mtok),
    )


def money(price: Any) -> Money:
    return Money(float(price))


def listed(provider: str, model: str) -> ModelPrice:
    models = next(one for one in get_snapshot().providers if one.id == provider).models
    return next(one for one in models if one.id.lower() == model.lower()).get_prices(THEN)


def test_a_model_of_bedrock_is_found_with_its_region_and_date() -> None:
    name = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    regional, through = quoted(f"bedrock/us.{name}"), quoted(f"litellm/bedrock/us.{name}")
    assert regional == through
    assert regional.price is not None
    assert regional.price.output == money(listed("aws", f"regional.{name}").output_mtok)


def test_an_endpoint_has_the_prices_of_whose_it_is() -> None:
    at_groq = quoted("openai/llama-3.3-70b-versatile", "https://api.groq.com/openai/v1")
    assert at_groq == quoted("groq/llama-3.3-70b-versatile")


def test_of_several_prices_the_dearest_counts_and_the_source_says_so() -> None:
    anywhere = quoted("hf/Qwen/Qwen3-32B")
    assert anywhere.source == "price table, the dearest of several"
    for provider in ("groq", "novita", "nebius"):
        there = quoted(f"hf/Qwen/Qwen3-32B:{provider}").price
        assert there is not None
        assert anywhere.price is not None
        assert there.input <= anywhere.price.input
        assert there.output <= anywhere.price.output


def test_the_dearer_tier_counts_unless_no_request_can_reach_it(table: Table) -> None:
    table(input_mtok=tiers("1", "2"), output_mtok=tiers("10", "15"), cache_read_mtok=Decimal("0.1"))
    dear = Price(input=Money(2), output=Money(15), cached=Money(0.1))
    assert quoted("acme/x") == Quoted(dear, "price table, the dearest of several")
    low = Price(input=Money(1), output=Money(10), cached=Money(0.1))
    assert quoted("acme/x", context=200_000).price == low
    assert quoted("acme/x", context=200_001).price == dear


def test_the_dearer_hours_of_a_day_count(table: Table) -> None:
    at_night = TimeOfDateConstraint(start_time=time(16, tzinfo=UTC), end_time=time(20, tzinfo=UTC))
    cheap = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1))
    table(cheap, night=at_night, input_mtok=Decimal(2), output_mtok=Decimal(3))
    found = Quoted(
        Price(input=Money(2), output=Money(3), cached=Money(2)),
        "price table, the dearest of several",
    )
    for hour in (0, 12, 18, 23):
        now = datetime(2026, 11, 21, hour, tzinfo=UTC)
        assert price_of("acme/x", ModelSettings(), "", Settings(), now) == found


def test_what_it_costs_to_keep_a_prompt_or_to_think_counts(table: Table) -> None:
    one = {"input_mtok": Decimal(1), "output_mtok": Decimal(2)}
    table(**one, cache_write_mtok=Decimal("1.25"), output_reasoning_mtok=Decimal(3))
    assert quoted("acme/x").price == Price(input=Money(1.25), output=Money(3), cached=Money(1.25))


def test_what_is_not_said_in_tokens_is_unknown(table: Table) -> None:
    one = {"input_mtok": Decimal(1), "output_mtok": Decimal(2)}
    table(**one)
    assert quoted("acme/x").price == Price(input=Money(1), output=Money(2), cached=Money(1))
    table(**one, requests_kcount=Decimal(5))
    assert quoted("acme/x").price is None
    table(input_mtok=Decimal(1))
    assert quoted("acme/x").price is None


@pytest.mark.parametrize("name", ["expert", "transformers/x", "scripted:x.yaml", "replay:7f3a"])
def test_what_runs_in_this_process_is_free_and_says_so(name: str) -> None:
    assert quoted(name) == Quoted(FREE, "free: it runs in this process")


def test_an_endpoint_on_this_machine_is_free_and_says_so() -> None:
    assert quoted("openai/gpt-5-mini", "http://localhost:11434/v1") == Quoted(
        FREE, "free: its endpoint is on this machine"
    )


@pytest.mark.parametrize(
    ("endpoint", "here"),
    [
        ("http://localhost:11434/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.9.1/", True),
        ("http://[::1]:8000/v1", True),
        ("http://LOCALHOST/v1", True),
        ("http://10.0.0.7:8000/v1", False),  # a private network is somebody's machine
        ("http://192.168.1.5/v1", False),
        ("http://model.svc.cluster.local/v1", False),
        ("http://127.0.0.1@api.example.com/v1", False),
        ("http://localhost.example.com/v1", False),
        ("https://api.example.com/localhost", False),
        ("http://[::1", False),
        ("http://", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_only_loopback_is_this_machine(endpoint: str, here: bool) -> None:
    assert is_loopback(endpoint) is here


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [
        ("openai/gpt-5-mini", "https://llm.example.com/v1"),  # whoever that is, with its own price
        ("openai/gpt-5-mini", "http://10.0.0.7:8000/v1"),
        ("openai/my-own-finetune", ""),
        ("azure/my-deployment", ""),
        ("openai/whisper-1", ""),  # by the hour of sound
        ("litellm/ollama/llama3", ""),
        ("nobody/x", ""),
        ("openai/", ""),
        ("", ""),
    ],
)
def test_what_nobody_knows_is_unknown_and_not_free(name: str, endpoint: str) -> None:
    found = quoted(name, endpoint)
    assert found.price is None
    assert found.source.startswith(f"nobody knows what {name} costs")
    assert endpoint in found.source


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_name_and_no_endpoint_breaks_it(name: str, endpoint: str) -> None:
    for asked in (name, f"openai/{name}", f"litellm/{name}", f"hf/{name}"):
        found = quoted(asked, endpoint)
        assert found.source
        assert found.price is None or found.price.input >= 0


OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "urllib.Request"):
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(refuse)
from smoldebug.model.prices import price_of
from smoldebug.playbook.settings import ModelSettings, Settings
for name, endpoint in (("openai/gpt-5-mini", ""), ("hf/Qwen/Qwen3-32B", ""), ("openai/nobody", ""),
                       ("openai/x", "https://api.groq.com/openai/v1")):
    print(price_of(name, ModelSettings(), endpoint, Settings()).price)
"""


def test_nothing_is_fetched() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, timeout=50
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 4


# --- unknown prices -------------------------------------------------------------------------

UNKNOWN = Quoted(None, "nobody knows what openai/x costs")


def test_an_unknown_price_is_asked_for_and_yes_counts_it_as_nothing() -> None:
    asked: list[str] = []

    def yes(question: str) -> bool:
        asked.append(question)
        return True

    assert resolve(UNKNOWN, "ask", yes) == FREE
    assert asked == ["nobody knows what openai/x costs. Ask it all the same, and count it as $0?"]
    assert resolve(Quoted(OURS, "the settings"), "refuse", yes) == OURS
    assert resolve(UNKNOWN, OURS, yes) == OURS
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("unknown", "answer"), [("ask", None), ("ask", lambda _: False), ("refuse", lambda _: True)]
)
def test_without_a_yes_the_model_is_refused_and_the_hint_says_how_to_set_a_price(
    unknown: Any, answer: Any
) -> None:
    with pytest.raises(UsageError, match="nobody knows what openai/x costs") as refused:
        resolve(UNKNOWN, unknown, answer)
    assert "price: {input: $0.15, output: $0.60}" in refused.value.hint
    assert "unknown_price" in refused.value.hint
