"""What a model reads in the demo incident, step by step, and how much of it a provider still has.

    python benchmarks/prompts.py [--journal FILE] [--times 8]

Runs `smoldebug demo` (or reads a run's journal), then makes the request of every step as a model
would get it that makes the same moves: the conversation of smoldebug/conversation.py, against one
that sends the last 12 turns whole, with tools as smolagents describes them. `same` is the share of
a request that begins as the one before did, which providers charge less for. `--times`: the turns
of the run, so many times over, for what becomes of a long one. Tokens are estimated, 1.1 to 1.35
times the true number (smoldebug/model/tokens.py).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smolagents import Tool
from smolagents.models import get_tool_json_schema

from smoldebug import journal
from smoldebug.cli.demo import INPUTS
from smoldebug.cli.options import Options
from smoldebug.cli.toolbox import toolset
from smoldebug.clock import FakeClock
from smoldebug.conversation import Called, Conversation, Message, tokens
from smoldebug.events import (
    EvidenceRecorded,
    GoalChecked,
    Stamped,
    Thought,
    ToolAnswered,
    ToolCalled,
    TurnStarted,
)
from smoldebug.evidence import EvidenceStore
from smoldebug.model.described import Described, function_schemas
from smoldebug.model.tokens import estimate
from smoldebug.notebook import Notebook
from smoldebug.playbook.load import load
from smoldebug.prompt import goal_text, system_prompt, task_text
from smoldebug.records import Evidence
from smoldebug.redact import Redactor
from smoldebug.sources.fakes import fake_world

WINDOW = 12  # turns of the way that is compared with
ROW = "{:>5} {:>7} {:>6} {:>6} {:>8} {:>7} {:>6}   {:>13} {:>6}"
TITLES = ("step", "system", "tools", "task", "history", "total", "same", "last 12 turns", "same")
MODEL = "gpt"  # whose tokens are estimated


@dataclass
class Turn:
    thought: str = ""
    calls: list[ToolCalled] = field(default_factory=list)
    answers: list[ToolAnswered] = field(default_factory=list)
    goal: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--journal", type=Path, help="of a run; without it the demo is run")
    parser.add_argument("--times", type=int, default=8, help="length of the long run, in runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        events = journal.read(options.journal or demo(Path(home)))
    opening, turns = read(events)
    plan = load("triage-502", INPUTS)
    evidence = EvidenceStore(FakeClock())
    specs = toolset(plan, Options(), fake_world(), evidence, Notebook(evidence), Redactor())
    tools = [Described(spec) for spec in specs.specs.values()]
    head = system_prompt(plan, specs), task_text(plan, opening)
    print("the demo incident")
    table(head, tools, turns, every=True)
    print(f"\nits turns {options.times} times over")
    table(head, tools, turns * options.times, every=False)


def demo(home: Path) -> Path:
    """The journal of a demo."""
    command = [sys.executable, "-m", "smoldebug", "demo", "--output", "plain"]
    subprocess.run(
        command,
        env={**os.environ, "SMOLDEBUG_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    return next(home.rglob("journal.jsonl"))


def read(events: Sequence[Stamped]) -> tuple[list[Evidence], list[Turn]]:
    """What the task begins with, and the turns."""
    opening: list[Evidence] = []
    turns: list[Turn] = []
    for stamped in events:
        match stamped.event:
            case EvidenceRecorded(evidence=evidence) if not turns:
                opening.append(evidence)
            case TurnStarted():
                turns.append(Turn())
            case Thought(text=text):
                turns[-1].thought = text
            case ToolCalled() as called:
                turns[-1].calls.append(called)
            case ToolAnswered() as answered:
                turns[-1].answers.append(answered)
            case GoalChecked(verdict=verdict) if turns:
                turns[-1].goal = goal_text(verdict)
    return opening, turns


def table(
    head: tuple[str, str], tools: Sequence[Tool], turns: Sequence[Turn], *, every: bool
) -> None:
    print(ROW.format(*TITLES))
    compact = json.dumps(function_schemas(tools), separators=(",", ":"))
    stock = json.dumps([get_tool_json_schema(tool) for tool in tools], separators=(",", ":"))
    before: tuple[str, str] = "", ""
    sums = [0, 0, 0, 0]
    steps = list(zip(requests(*head, turns), last_turns(*head, turns), strict=True))
    for number, (now, then) in enumerate(steps, start=1):
        parts = [size(now[:1]), estimate(compact, MODEL), size(now[1:2]), size(now[2:])]
        totals = sum(parts), estimate(stock, MODEL) + size(then)
        texts = compact + text(now), stock + text(then)
        same = [shared(old, new) for old, new in zip(before, texts, strict=True)]
        before = texts
        for place, value in enumerate((*totals, totals[0] * same[0], totals[1] * same[1])):
            sums[place] += round(value)
        if every or number in (1, len(steps)):
            print(row(number, parts, totals, same))
    shares = [sums[2] / sums[0], sums[3] / sums[1]]
    print(row("all", [""] * 4, (sums[0], sums[1]), shares))
    print(f"new to the provider: {sums[0] - sums[2]:,} tokens; of the other: {sums[1] - sums[3]:,}")


def row(
    name: object, parts: Sequence[object], totals: tuple[int, int], same: Sequence[float]
) -> str:
    return ROW.format(name, *parts, totals[0], f"{same[0]:.0%}", totals[1], f"{same[1]:.0%}")


def requests(system: str, task: str, turns: Sequence[Turn]) -> Iterator[list[Message]]:
    """Each step's, as the agent makes them."""
    conversation = Conversation(system, Redactor().text, estimate)
    conversation.say(task)
    for number, turn in enumerate(turns):
        yield conversation.messages()
        ids = {call.call: f"t{number}c{place}" for place, call in enumerate(turn.calls)}
        calls = [Called(ids[call.call], call.tool, call.arguments) for call in turn.calls]
        conversation.turn(turn.thought, calls)
        for answer in turn.answers:
            seen = answer.observation.text if answer.observation else answer.text
            conversation.answered(ids[answer.call], seen, answer.evidence)
        conversation.tell(turn.goal)


def last_turns(system: str, task: str, turns: Sequence[Turn]) -> Iterator[list[Message]]:
    """Each step's, with the last turns whole and nothing of those before."""
    for number in range(len(turns)):
        messages = [Message("system", system), Message("user", task)]
        if number > WINDOW:
            messages.append(Message("user", f"[{number - WINDOW} earlier turns left out]"))
        for turn in turns[max(0, number - WINDOW) : number]:
            calls = [{"name": call.tool, "arguments": call.arguments} for call in turn.calls]
            answers = [f"{each.tool}: [{each.evidence}] {each.text}" for each in turn.answers]
            messages.append(Message("assistant", turn.thought))
            messages.append(Message("assistant", f"Calling tools:\n{json.dumps(calls)}"))
            messages.append(Message("user", "\n".join(["Observation:", *answers, turn.goal])))
        yield messages


def size(messages: Sequence[Message]) -> int:
    return sum(tokens(message, lambda said: estimate(said, MODEL)) for message in messages)


def text(messages: Sequence[Message]) -> str:
    calls = ([call.arguments for call in message.calls] for message in messages)
    return "".join(
        f"{message.role}{message.text}{given}"
        for message, given in zip(messages, calls, strict=True)
    )


def shared(old: str, new: str) -> float:
    """The share of `new` that begins as `old` does."""
    return len(os.path.commonprefix([old, new])) / len(new)


if __name__ == "__main__":
    main()
