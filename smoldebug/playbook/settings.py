"""The settings file of one person or machine: which models there are, their keys and prices.

    apiVersion: smoldebug.dev/v1
    model: [fast, expert]
    models:
      fast: {model: openai/gpt-oss-20b, api_base: "http://localhost:11434/v1"}
    budgets: {day: $5}

It never holds a key itself: only where one is.
"""

from typing import Annotated, Literal

from msgspec import Meta

from smoldebug.playbook.base import Duration, Model, Money, doc
from smoldebug.playbook.models import Tiers


class Key(Model, frozen=True, kw_only=True):
    """Where a key is; exactly one of the three."""

    env: Annotated[str, doc("Environment variable.", "OPENAI_API_KEY")] = ""
    file: Annotated[str, doc("File that holds nothing else.", "~/.config/openai.key")] = ""
    keyring: Annotated[str, doc("SERVICE/USER of the system's keyring.", "openai/me")] = ""


class Price(Model, frozen=True, kw_only=True):
    """US dollars per million tokens."""

    input: Annotated[Money, doc("Of what is sent.", "$0.15")]
    output: Annotated[Money, doc("Of what comes back.", "$0.60")]
    cached: Annotated[
        Money | None, doc("Of what is sent and the provider still has; else as input.", "$0.075")
    ] = None


class ModelSettings(Model, frozen=True, kw_only=True):
    model: Annotated[
        str, doc("Which one it is, where the name is your own.", "openai/gpt-oss-20b")
    ] = ""
    api_base: Annotated[str, doc("Base URL of its endpoint.", "http://localhost:8000/v1")] = ""
    key: Annotated[Key | None, doc("Where its key is; else the provider's usual variable.")] = None
    price: Annotated[Price | None, doc("In place of the price table's.")] = None
    tools: Annotated[
        Literal["auto", "native", "text"],
        doc("How it is told of tools: by the API, in the prompt, or by the API if that works."),
    ] = "auto"
    context: Annotated[int | None, Meta(ge=1024), doc("Tokens it can read and write at once.")] = (
        None
    )
    max_output: Annotated[int, Meta(ge=64), doc("Most tokens of one answer.")] = 2048
    temperature: Annotated[float, Meta(ge=0, le=2), doc("0: as repeatable as it can be.")] = 0.0
    requests_per_minute: Annotated[int | None, Meta(ge=1), doc("Most requests a minute.")] = None
    tokens_per_minute: Annotated[int | None, Meta(ge=1), doc("Most tokens a minute.")] = None


class Budgets(Model, frozen=True, kw_only=True):
    """Per user and day (UTC), over all runs on this machine."""

    day: Annotated[Money | None, doc("Most that models may cost.", "$5")] = None
    day_tokens: Annotated[int | None, Meta(ge=1), doc("Most tokens, in and out.")] = None


class Cache(Model, frozen=True, kw_only=True):
    responses: Annotated[bool, doc("Answer the same prompt from memory, at temperature 0.")] = True
    reads: Annotated[
        Duration, doc("How long a read of a tool counts as fresh; any change ends it. 0s: never.")
    ] = Duration(3)
    redis: Annotated[str, doc("URL of a Redis to share them.", "redis://localhost:6379/0")] = ""


class Settings(Model, frozen=True, kw_only=True):
    apiVersion: Annotated[Literal["smoldebug.dev/v1"], doc("The version of this format.")] = (
        "smoldebug.dev/v1"
    )
    model: Annotated[
        str | list[str] | Tiers, doc("Where neither the command nor the playbook names one.")
    ] = ""
    models: Annotated[dict[str, ModelSettings], doc("Models by name.")] = {}
    budgets: Annotated[Budgets, doc("What may be spent in a day.")] = Budgets()
    unknown_price: Annotated[
        Literal["ask", "refuse"] | Price,
        doc("A model whose price nobody knows: ask, refuse it, or count it at a price."),
    ] = "ask"
    cache: Annotated[Cache, doc("What is not asked or read twice.")] = Cache()
