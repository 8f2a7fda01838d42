"""What the chain asks of a model, and what it gets: the contract between them."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from smolagents import Tool

from smoldebug.conversation import Called, Message
from smoldebug.errors import UnreachableError
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import ModelSettings, Price

FREE = Price(input=Money(0), output=Money(0))


@dataclass(frozen=True, slots=True)
class Tokens:
    """`cached` of those that went in were still known to the provider."""

    into: int = 0
    out: int = 0
    cached: int = 0
    estimated: bool = False  # the provider told none: counted here


@dataclass(frozen=True)
class Request:
    """One question. From the thread that asks, `heard` is called with the text so far, and `again`
    where the last try may be charged for and another is to be sent: false where nobody pays it."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()  # none: only words are wanted
    seconds: float = 300.0  # for everything, tries and pauses included
    heard: Callable[[str], None] = lambda text: None
    cancel: threading.Event = field(default_factory=threading.Event)
    again: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Answer:
    """`calls` is empty where the provider cut the answer off: what is left may parse and still not
    be what was meant."""

    text: str
    calls: tuple[Called, ...]  # ids are the provider's, and prove nothing
    tokens: Tokens
    finish: str = ""
    tries: int = 1
    problem: str = ""  # why there are no calls, for the model: "line 1: ',' expected"

    def __post_init__(self) -> None:
        if self.cut_off:
            object.__setattr__(self, "calls", ())

    @property
    def cut_off(self) -> bool:
        return self.finish in ("length", "content_filter")


class ModelFailed(UnreachableError):
    """No answer. `tokens`: what was used all the same. `lasting`: asking again will not help
    (a wrong key, an unknown model); else the next minute may. `well`: it was this question, or
    this key, that the provider would not take; it is no outage."""

    def __init__(
        self, why: str, *, lasting: bool = False, well: bool = False, tokens: Tokens | None = None
    ) -> None:
        super().__init__(why)
        self.lasting, self.tokens = lasting, tokens or Tokens()
        self.well = well or lasting


class Asked(Protocol):
    """A model of the chain."""

    name: str  # as the user wrote it: openai/gpt-oss-20b
    endpoint: str  # base URL, "" for the provider's own
    provider: str  # whose outage and rate limits it shares: "openai at api.example.com"; "" is here
    settings: ModelSettings
    price: Price  # FREE for what runs here, e.g. the expert

    def count(self, request: Request) -> int:
        """Tokens that the request will take to read; an estimate where no tokenizer is known."""
        ...

    def ask(self, request: Request) -> Answer:
        """Raises ModelFailed. Nothing else escapes."""
        ...
