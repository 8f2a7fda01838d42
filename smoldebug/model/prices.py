"""What a model's tokens cost, and where that is known from. A price is never zero by silence.

settings -> price table, offline -> on this machine: nothing -> unknown: `unknown_price` decides
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from smoldebug.errors import UsageError
from smoldebug.model.asking import FREE
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import ModelSettings, Price, Settings

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, TieredPrices

HERE = ("transformers/", "mlx/", "scripted:", "replay:")
RENAMED = {"fireworks_ai": "fireworks"}  # of LiteLLM; the table knows its other names
HUGGING_FACE = (  # whom it hands requests on to, each at a price of its own
    *("cerebras", "fireworks-ai", "groq", "hyperbolic", "nebius", "novita", "nscale", "ovhcloud"),
    *("publicai", "sambanova", "together"),
)


@dataclass(frozen=True)
class Quoted:
    """`price` is None where nobody knows it; `source` says where it is from, or that."""

    price: Price | None
    source: str


def price_of(
    name: str, about: ModelSettings, endpoint: str, settings: Settings, now: datetime | None = None
) -> Quoted:
    """The price of the model `name` (openai/gpt-5-mini, or a name of the settings) at `endpoint`, a
    base URL, "" for its provider's own. Nothing is fetched."""
    model = about.model or name
    for known in (about, settings.models.get(name), settings.models.get(model)):
        if known is not None and known.price is not None:
            return Quoted(known.price, "the settings")
    if model == "expert" or model.startswith(HERE):
        return Quoted(FREE, "free: it runs in this process")
    if found := _in_table(model, about, endpoint, now or datetime.now(UTC)):
        return found
    if is_loopback(endpoint):
        return Quoted(FREE, "free: its endpoint is on this machine")
    return Quoted(None, f"nobody knows what {model} costs" + (f" at {endpoint}" * bool(endpoint)))


def resolve(
    quoted: Quoted, unknown: Literal["ask", "refuse"] | Price, ask: Callable[[str], bool] | None
) -> Price:
    """A price to count with; `unknown` is the settings' `unknown_price`, `ask` is None where nobody
    can answer. Raises UsageError where there is none."""
    if quoted.price is not None:
        return quoted.price
    if isinstance(unknown, Price):
        return unknown
    question = f"{quoted.source}. Ask it all the same, and count it as $0?"
    if unknown == "ask" and ask is not None and ask(question):
        return FREE
    raise UsageError(
        quoted.source,
        hint="give it a price in the settings, in $ per million tokens: "
        "models: {NAME: {price: {input: $0.15, output: $0.60}}}, or unknown_price for all of them",
    )


def is_loopback(endpoint: str) -> bool:
    """Whether a URL leads nowhere but to this machine. A private network is somebody's machine."""
    try:
        host = urlsplit(endpoint).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


# --- the price table ------------------------------------------------------------------------


def _in_table(model: str, about: ModelSettings, endpoint: str, now: datetime) -> Quoted | None:
    """The dearest of what the model may mean: no tier, hour or provider costs more."""
    found = [price for ref in _references(model, endpoint) for price in _prices(*ref, now)]
    if not found or not all(map(_complete, found)):
        return None
    reach = about.context or float("inf")
    tops = [_dearest(price, reach) for price in found]
    dearest = Price(
        input=max(top.input for top in tops),
        output=max(top.output for top in tops),
        cached=max(top.input if top.cached is None else top.cached for top in tops),
    )
    several = len(set(map(str, [*tops, *(_dearest(price, 0) for price in found)]))) > 1
    return Quoted(dearest, f"price table{', the dearest of several' * several}")


def _references(model: str, endpoint: str) -> Iterator[tuple[str, str, str]]:
    """(name in the table, id of its provider, or base URL of it) of what is meant."""
    kind, _, name = model.partition("/")
    if kind == "litellm":
        kind, _, name = name.partition("/") if "/" in name else ("", "", name)
    if endpoint:
        yield name, "", endpoint
    elif kind == "hf":
        name, _, asked = name.partition(":")
        for provider in (asked,) if asked in HUGGING_FACE else HUGGING_FACE:
            yield name, f"huggingface_{provider}", ""
    else:
        yield name, RENAMED.get(kind, kind), ""


def _prices(name: str, provider: str, url: str, now: datetime) -> "Iterator[ModelPrice]":
    """Of every hour of the next day: some are dearer at noon, and a run may last."""
    from genai_prices import Usage, calc_price

    try:
        if url:
            known = calc_price(Usage(), name, provider_api_url=url).model
        else:
            known = calc_price(Usage(), name, provider_id=provider or None).model
    except LookupError:
        return
    for hours in range(24):
        yield known.get_prices(now + timedelta(hours=hours))


def _complete(price: "ModelPrice") -> bool:
    """Whether it is all said in tokens: some take money for each request too."""
    has_both = price.input_mtok is not None and price.output_mtok is not None
    return has_both and price.requests_kcount is None


def _dearest(price: "ModelPrice", reach: float) -> Price:
    """For requests of up to `reach` tokens. Some providers keep a prompt unasked, and take more for
    what they had to write than for what they read."""
    cached = price.cache_read_mtok
    return Price(
        input=max(_top(price.input_mtok, reach), _top(price.cache_write_mtok, reach)),
        output=max(_top(price.output_mtok, reach), _top(price.output_reasoning_mtok, reach)),
        cached=None if cached is None else _top(cached, reach),
    )


def _top(price: "Decimal | TieredPrices | None", reach: float) -> Money:
    if price is None or isinstance(price, Decimal):
        return Money(price or 0)
    return Money(max([price.base, *(tier.price for tier in price.tiers if tier.start < reach)]))
