"""Models for tests of the chain: what each answers is a list, and what it was asked is kept."""

import threading
from collections.abc import Sequence
from typing import Any

from smoldebug.conversation import Called
from smoldebug.model.asking import FREE, Answer, ModelFailed, Request, Tokens
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import ModelSettings, Price

CHEAP = Price(input=Money(1), output=Money(2))  # dollars per million tokens
USED = Tokens(100, 10)
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
        self.says: list[str] = []  # while it thinks
        self.may_answer = threading.Event()
        self.may_answer.set()

    def count(self, request: Request) -> int:
        return 100

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
