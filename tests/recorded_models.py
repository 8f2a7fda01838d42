"""A run that models drove: one fails, another goes on, one answer comes from the cache."""

from datetime import timedelta

from recorded_run import BEGAN

from smoldebug.events import (
    AnyEvent,
    ModelAnswered,
    ModelAsked,
    ModelSwitched,
    RunEnded,
    RunStarted,
    Stamped,
    Thought,
    TurnStarted,
)
from smoldebug.records import Usage
from smoldebug.status import ExitStatus

PROMPT = "the prompt of a run"
MODEL = "openai/qwen3"


def stamped(*events: AnyEvent, run: str = "7f3a1c") -> list[Stamped]:
    """A second apart."""
    return [
        Stamped(run, number, float(number), BEGAN + timedelta(seconds=number), event)
        for number, event in enumerate(events)
    ]


def start(model: str = MODEL, matrix: str = "", context: str = "prod-eu") -> RunStarted:
    return RunStarted(
        "triage", "triage-502", "", model, context, ("shop",), "ask", 5.0, Usage(), matrix=matrix
    )


def by_model() -> list[Stamped]:
    messages = ({"role": "user", "text": PROMPT},)
    return stamped(
        start(f"{MODEL}, litellm/anthropic/claude"),
        TurnStarted(1, Usage(turns=1)),
        ModelAsked(1, MODEL, messages, "http://key@gpu.example:8000/v1", ("look",), "cheap"),
        ModelAnswered(1, MODEL, 1.0, error="429 Too Many Requests", tokens_in=50, estimated=True),
        ModelSwitched(1, MODEL, "litellm/anthropic/claude", "429 Too Many Requests"),
        ModelAsked(1, "litellm/anthropic/claude", messages, ""),
        ModelAnswered(
            1, "litellm/anthropic/claude", 1.0, 1830, 92, 1600, 0.0004, finish="tool_calls"
        ),
        Thought(1, "it must be auth", "litellm/anthropic/claude"),
        TurnStarted(2, Usage(turns=2)),
        ModelAnswered(2, MODEL, 0.0, cached=True),
        RunEnded(
            ExitStatus.LIMIT,
            "not met",
            "cost used up",
            Usage(2, 25, 2, tokens_in=1880, cost=0.0004),
        ),
    )
