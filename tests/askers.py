"""Models for tests of the chain: what each answers is a list, and what it was asked is kept."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolagents import Model

from smoldebug.clock import Clock
from smoldebug.conversation import Called
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import FREE, Answer, Asked, ModelFailed, Request, Tokens
from smoldebug.model.budget import Budget
from smoldebug.model.cache import ResponseCache
from smoldebug.model.call import Mask, Shared
from smoldebug.model.chain import Chain
from smoldebug.model.guarded import InProcess
from smoldebug.model.health import Health
from smoldebug.model.pace import Pace
from smoldebug.model.scripted import ScriptedModel
from smoldebug.playbook.base import Money
from smoldebug.playbook.models import Limits
from smoldebug.playbook.settings import Budgets, ModelSettings, Price

CHEAP = Price(input=Money(1), output=Money(2))  # dollars per million tokens
USED = Tokens(100, 10)
NO_LIMITS = Limits(cost=Money(1000))
Reply = Answer | Exception


def look(at: str = "auth", tokens: Tokens = USED) -> Answer:
    """An answer that calls the tool `look`."""
    return Answer("", (Called("c0", "look", {"at": at}),), tokens, "tool_calls")


def text(words: str, tokens: Tokens = USED) -> Answer:
    return Answer(words, (), tokens, "stop")


class Asker:
    """Answers from a list, the last one for ever; `requests` is what it was asked."""

    def __init__(self, name: str, *replies: Reply, price: Price = FREE, **settings: Any) -> None:
        self.name, self.provider, self.endpoint = name, f"host of {name}", ""
        self.settings, self.price = ModelSettings(**settings), price
        self.replies: Sequence[Reply] = replies or (look(),)
        self.requests: list[Request] = []
        self.counted = 100
        self.says: list[str] = []  # while it thinks
        self.may_answer = threading.Event()
        self.may_answer.set()

    def count(self, request: Request) -> int:
        return self.counted

    def ask(self, request: Request) -> Answer:
        self.requests.append(request)
        for words in self.says:
            request.heard(words)
        self.may_answer.wait(5)
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return reply


def down(why: str = "503", **more: Any) -> ModelFailed:
    return ModelFailed(why, **more)


def in_process(model: Model) -> Asked:
    return InProcess(str(model.model_id), model)


def chain_of(
    *models: Model | Asked,
    folder: Path,
    clock: Clock,
    last: Model | None = None,
    limits: Limits = NO_LIMITS,
    mask: Mask = str,
) -> Chain:
    """A chain over them. `last` is in the expert's place; else one that gives up at once is."""
    asked = [in_process(model) if isinstance(model, Model) else model for model in models]
    accounts = Accounts(folder / "models.db", clock)
    budget = Budget(limits, Budgets(), accounts, "run1", "me")
    shared = Shared(budget, Pace(accounts), Health(accounts), ResponseCache(None, mask))
    end = in_process(last or ScriptedModel([], "expert"))
    return Chain(asked, asked, end, shared, clock, mask)
