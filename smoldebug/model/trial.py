"""One small question to a model: does it answer, how fast, can it call a tool, what did it cost."""

import time
from concurrent.futures import wait
from dataclasses import dataclass

from smoldebug.conversation import Called, Message
from smoldebug.model.asking import Answer, Asked, ModelFailed, Request, Tokens
from smoldebug.model.budget import Budget
from smoldebug.model.described import Described
from smoldebug.records import Effect, Observation
from smoldebug.status import ExitStatus
from smoldebug.toolset import begin, describe
from smoldebug.untrusted import one_line

SECONDS = 60.0
LOADING = 300.0  # seconds where a model's weights are loaded first
GRACE = 2.0  # seconds beyond which a model that does not keep its time is left alone
TALKS = "it answers, but calls no tool: try `tools: text` in its settings (the text protocol)"
GARBAGE = "it answers, but not in the form it was told, so no run can go on with it"
WORD = "smoldebug"
MESSAGES = (
    Message("system", "You are asked once, to see whether you can call a tool."),
    Message("user", f"Say that you are ready, and call the tool echo with the word {WORD}."),
)


@dataclass(frozen=True)
class Trial:
    """How it went: `status` is MET where it did all that a run asks of it, else `problem` says
    what is missing. `cost` in US dollars."""

    name: str
    status: ExitStatus
    answered: bool = False
    calls_tools: bool = False
    streams: bool = False
    seconds: float = 0.0
    tokens: Tokens = Tokens()
    cost: float = 0.0
    problem: str = ""


def echo(word: str) -> Observation:
    """Say a word back.

    Args:
        word: The word.
    """
    return Observation(word)


def try_out(model: Asked, budget: Budget) -> Trial:
    """Ask it. What that costs counts like that of a run. Raises OverBudget."""
    heard: list[str] = []
    seconds = SECONDS if model.provider else LOADING
    tools = [Described(describe(echo, Effect.READ))]
    request = Request(MESSAGES, tools, seconds, heard.append)
    counted = model.count(request)
    hold = budget.reserve(model.name, model.price, counted, model.settings.max_output)
    began = time.monotonic()
    work = begin(lambda: model.ask(request))
    try:
        if not wait([work], seconds + GRACE).done:
            raise ModelFailed(
                f"no answer within {seconds:.0f} s", tokens=Tokens(counted, estimated=True)
            )
        answer = work.result()
    except ModelFailed as error:
        cost, took = hold.failed(error.tokens), time.monotonic() - began
        tokens, status = error.tokens, ExitStatus.UNREACHABLE
        return Trial(model.name, status, False, False, False, took, tokens, cost, str(error))
    took = time.monotonic() - began
    able = any(map(_good, answer.calls))
    return Trial(
        model.name,
        ExitStatus.MET if able else ExitStatus.NOT_MET,
        answered=True,
        calls_tools=able,
        streams=len(heard) > 0,
        seconds=took,
        tokens=answer.tokens,
        cost=hold.settle(answer.tokens),
        problem="" if able else _problem(model, answer),
    )


def _problem(model: Asked, answer: Answer) -> str:
    if answer.cut_off or answer.finish == "disconnected":
        return f"its answer was cut off: {one_line(answer.problem or answer.finish, 100)}"
    in_words = model.settings.tools == "text" or not model.provider
    return GARBAGE if in_words else TALKS


def _good(call: Called) -> bool:
    return call.name == "echo" and call.arguments == {"word": WORD}
