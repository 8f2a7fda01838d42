"""Whatever models answer: nothing unchecked runs, nothing escapes, every run ends and is recorded.

Some hundred answers by default; SMOLDEBUG_FUZZ=10000 is at least so many.
"""

import io
import os
import sys
import tempfile
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import garbage
import pytest
from askers import CHEAP, Asker
from crews import Stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smoldebug import journal
from smoldebug.conversation import Called
from smoldebug.events import PASSING, RunEnded, Stamped, to_line
from smoldebug.model.accounts import Accounts
from smoldebug.model.asking import Answer, Request, Tokens
from smoldebug.model.budget import Budget
from smoldebug.model.cache import Memory, ResponseCache
from smoldebug.model.chain import Chain, Shared
from smoldebug.model.health import Health
from smoldebug.model.pace import Pace
from smoldebug.playbook import models
from smoldebug.playbook.base import Money
from smoldebug.playbook.settings import Budgets
from smoldebug.status import ExitStatus
from smoldebug.view import OutputFormat, open_view

WANTED = int(os.environ.get("SMOLDEBUG_FUZZ", "200"))  # answers
LIMITS = models.Limits(max_steps=8, cost=Money("0.05"), tokens=50_000, calls=11, changes=3)
ESCALATE = Answer("", (Called("c0", "escalate", {"reason": "out of ideas"}),), Tokens())
VIEWS = (OutputFormat.PLAIN, OutputFormat.GITHUB, OutputFormat.JSONL, OutputFormat.RICH)
MEMORY = Path("/dev/shm")  # what a run keeps on disk is read back, not kept


class Garbage(Asker):
    """Gives what it was told to give, then fails; each time the worst case must have had room."""

    def __init__(self, name: str, answers: list[garbage.Output]) -> None:
        super().__init__(name, price=CHEAP)
        self.left, self.given = answers[::-1], []
        self.budget: Budget | None = None
        self.overdrawn: list[str] = []

    def ask(self, request: Request) -> Answer:
        cost, tokens, calls = self.budget.spent
        worst = self.count(request) + self.settings.max_output
        if calls >= LIMITS.calls or tokens + worst > LIMITS.tokens or cost >= LIMITS.cost:
            self.overdrawn.append(f"{calls} calls, {tokens} tokens, ${cost}")
        if not self.left:
            raise LookupError("nothing left to say")
        self.given.append(self.left.pop())
        return garbage.answer(self.given[-1])


class Fuzzed(Stage):
    """A run whose cheap and strong models answer garbage; its expert gives up."""

    def __init__(self, folder: Path, cheap: list[garbage.Output], strong: list[garbage.Output]):
        super().__init__([], folder, limits=LIMITS)
        self.models = Garbage("cheap", cheap), Garbage("strong", strong)
        mask = self.agent.toolset.redactor.text
        with Accounts(folder / "models.db", self.clock) as accounts:
            budget = Budget(LIMITS, Budgets(), accounts, "run1", "me")
            for model in self.models:
                model.budget = budget
            cache = ResponseCache(Memory(self.clock), mask)
            shared = Shared(budget, Pace(accounts), Health(accounts), cache)
            first, second = self.models
            expert = Asker("expert", ESCALATE)
            self.agent.chain = Chain([first], [second], expert, shared, self.clock, mask)
            self.ended = self.play()

    @property
    def given(self) -> list[garbage.Output]:
        return [output for model in self.models for output in model.given]


def shown(output: OutputFormat, events: list[Stamped]) -> str:
    stream = io.StringIO()
    view = open_view(output, lambda events: None, stdout=stream, stderr=stream)
    try:
        for item in events:
            view.show(item)
    finally:
        view.close()
    return stream.getvalue()


def check(run: Fuzzed, folder: Path) -> None:
    assert [item.event for item in run.seen if isinstance(item.event, RunEnded)] == [run.ended]
    assert isinstance(run.ended.status, ExitStatus)
    unasked = Counter(run.ran) - Counter(chain.from_iterable(map(garbage.may_run, run.given)))
    assert not unasked, "a tool ran that no whole and valid call had asked for"
    assert not [text for model in run.models for text in model.overdrawn]
    kept = [item for item in run.seen if not isinstance(item.event, PASSING)]
    assert [*map(to_line, journal.read(folder / "journal.jsonl"))] == [*map(to_line, kept)]
    assert all(before.seq + 1 == after.seq for before, after in pairwise(kept))
    for view in VIEWS:
        assert not garbage.INVISIBLE.findall(shown(view, run.seen)), view


def fuzz(capsys, wanted: int, play) -> None:
    """Play runs until `wanted` answers were given; `play` tells their kinds."""
    seen: Counter[str] = Counter()
    turns = st.lists(garbage.outputs, min_size=7, max_size=9)

    @settings(max_examples=wanted // 4, database=None, suppress_health_check=list(HealthCheck))
    @given(turns, turns)
    def play_one(cheap, strong):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            seen.update(play(Path(folder), cheap, strong))

    play_one()
    with capsys.disabled():
        sys.stdout.write(f"\n{garbage.table(seen)}\n")
    assert seen.total() >= wanted
    assert seen.keys() == garbage.KINDS.keys()


@pytest.mark.timeout(1200)
def test_nothing_unchecked_runs_and_every_run_ends(capsys):
    def play(folder, cheap, strong):
        run = Fuzzed(folder, cheap, strong)
        check(run, folder)
        return [output.kind for output in run.given]

    fuzz(capsys, WANTED, play)
