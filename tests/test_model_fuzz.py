"""Whatever models answer: nothing unchecked runs, nothing escapes, every run ends and is recorded.

A hundred answers and more by default; with SMOLDEBUG_FUZZ=6000 at least so many, and a quarter of
that over the wire.
"""

import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import garbage
import pytest
import wiregarbage
from askers import CHEAP, Asker
from crews import Stage
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from modelserver import ModelServer, Reply
from smolagents import OpenAIModel

from smoldebug import journal
from smoldebug.conversation import Called
from smoldebug.events import PASSING, RunEnded, Stamped, to_line
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import Answer, Asked, Request, Tokens
from smoldebug.model.budget import Budget
from smoldebug.model.cache import Memory, ResponseCache
from smoldebug.model.call import Shared
from smoldebug.model.chain import Chain
from smoldebug.model.guarded import Guarded
from smoldebug.model.health import Health
from smoldebug.model.pace import Pace
from smoldebug.playbook import models
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import Budgets, ModelSettings
from smoldebug.status import ExitStatus
from smoldebug.view import OutputFormat, open_view

WANTED = int(os.environ.get("SMOLDEBUG_FUZZ", "100"))  # answers
MANY = 1000  # of which every kind has its share
LIMITS = models.Limits(max_steps=8, cost=Money("0.05"), tokens=50_000, calls=11, changes=3)
ESCALATE = Answer("", (Called("c0", "escalate", {"reason": "out of ideas"}),), Tokens())
VIEWS = (OutputFormat.PLAIN, OutputFormat.GITHUB, OutputFormat.JSONL, OutputFormat.RICH)
MEMORY = Path("/dev/shm")  # what a run keeps on disk is read back, not kept


class Garbage(Asker):
    """Gives what it was told to give, then fails."""

    def __init__(self, name: str, answers: list[garbage.Output]) -> None:
        super().__init__(name, price=CHEAP)
        self.left, self.given = answers[::-1], []

    def ask(self, request: Request) -> Answer:
        if not self.left:
            raise LookupError("nothing left to say")
        self.given.append(self.left.pop())
        return garbage.answer(self.given[-1])


class Watched:
    """A model that notes when it is asked without room for the worst case."""

    def __init__(self, model: Asked, budget: Budget, overdrawn: list[str]) -> None:
        self._model, self._budget, self._overdrawn = model, budget, overdrawn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def ask(self, request: Request) -> Answer:
        cost, tokens, calls = self._budget.spent
        worst = self.count(request) + self.settings.max_output
        if calls >= LIMITS.calls or tokens + worst > LIMITS.tokens or cost >= LIMITS.cost:
            self._overdrawn.append(f"{calls} calls, {tokens} tokens, ${cost}")
        return self._model.ask(request)


class Fuzzed(Stage):
    """A run whose cheap and strong models are given; its expert gives up."""

    def __init__(self, folder: Path, cheap: Asked, strong: Asked) -> None:
        super().__init__([], folder, limits=LIMITS)
        self.folder = folder
        mask = self.agent.toolset.redactor.text
        with Accounts(folder / "models.db", self.clock) as accounts:
            budget, self.overdrawn = Budget(LIMITS, Budgets(), accounts, "run1", "me"), []
            cache = ResponseCache(Memory(self.clock), mask)
            shared = Shared(budget, Pace(accounts), Health(accounts), cache)
            first, second = (Watched(each, budget, self.overdrawn) for each in (cheap, strong))
            expert = Asker("expert", ESCALATE)
            self.agent.chain = Chain([first], [second], expert, shared, self.clock, mask)
            self.ended = self.play()


def shown(output: OutputFormat, events: list[Stamped]) -> str:
    stream = io.StringIO()
    view = open_view(output, lambda events: None, stdout=stream, stderr=stream)
    try:
        for item in events:
            view.show(item)
    finally:
        view.close()
    return stream.getvalue()


def check(run: Fuzzed, asked: Iterable[garbage.Output]) -> None:
    assert [item.event for item in run.seen if isinstance(item.event, RunEnded)] == [run.ended]
    assert isinstance(run.ended.status, ExitStatus)
    unasked = Counter(run.ran) - Counter(chain.from_iterable(map(garbage.may_run, asked)))
    assert not unasked, "a tool ran that no whole and valid call had asked for"
    assert not run.overdrawn
    kept = [item for item in run.seen if not isinstance(item.event, PASSING)]
    assert [*map(to_line, journal.read(run.folder / "journal.jsonl"))] == [*map(to_line, kept)]
    assert all(before.seq + 1 == after.seq for before, after in pairwise(kept))
    for view in VIEWS:
        assert not garbage.INVISIBLE.findall(shown(view, run.seen)), view


def fuzz(capsys, wanted: int, each: int, kinds, answers, play) -> None:
    """Play runs until `wanted` answers were given, `each` at least on average; `play` tells their
    kinds."""
    seen: Counter[str] = Counter()
    turns = st.lists(answers, min_size=7, max_size=9)

    @settings(
        max_examples=wanted // each,
        phases=[Phase.generate],  # a run is long: looking for a shorter one takes minutes
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(turns, turns)
    def play_one(cheap, strong):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            seen.update(play(Path(folder), cheap, strong))

    play_one()
    with capsys.disabled():
        sys.stdout.write(f"\n{garbage.table(seen, kinds)}\n")
    assert wanted < MANY or seen.total() >= wanted
    assert wanted < MANY or seen.keys() == set(kinds)


@pytest.mark.timeout(1200)
def test_nothing_unchecked_runs_and_every_run_ends(capsys):
    def play(folder, cheap, strong):
        models = Garbage("cheap", cheap), Garbage("strong", strong)
        run = Fuzzed(folder, *models)
        given = [output for model in models for output in model.given]
        check(run, given)
        return [output.kind for output in given]

    fuzz(capsys, WANTED, 5, garbage.KINDS, garbage.outputs, play)


@pytest.mark.timeout(1200)
def test_nor_does_anything_that_comes_over_the_wire(capsys):
    """Real requests to a real server: one model is told of tools natively, one in the prompt."""
    refused = Reply("no such key", status=401)
    with ModelServer([refused]) as first, ModelServer([refused]) as second:
        servers = first, second
        models = guarded("cheap", first.url, "native"), guarded("strong", second.url, "text")

        def play(folder, cheap, strong):
            for server, answers in zip(servers, (cheap, strong), strict=True):
                server.replies, server.asked = [*(each.reply for each in answers), refused], []
            run = Fuzzed(folder, *models)
            given = cheap[: len(first.asked)] + strong[: len(second.asked)]
            check(run, [each.asked for each in given if each.asked])
            return [each.kind for each in given]

        fuzz(capsys, WANTED // 4, 4, wiregarbage.KINDS, wiregarbage.replies, play)


def guarded(name: str, url: str, tools: str) -> Guarded:
    client = OpenAIModel("m", api_base=url, api_key="k-4711-4711")
    about = ModelSettings(tools=tools)
    model = Guarded(name, client, about, provider=f"{name} here", endpoint=url, price=CHEAP)
    model.first_pause = 0.0
    return model
