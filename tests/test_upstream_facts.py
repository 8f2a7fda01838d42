"""What stock smolagents 1.26 does, as far as smoldebug.agent answers or uses it.

When one of these fails after an upgrade, upstream has changed and the override beside it wants
another look. They hold with and without `python -O`.
"""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import smolagents
from rich.console import Console
from smolagents import ToolCallingAgent, tool
from smolagents.agents import EMPTY_PROMPT_TEMPLATES
from smolagents.memory import ActionStep
from smolagents.models import ChatMessage, MessageRole
from smolagents.monitoring import AgentLogger
from smolagents.utils import AgentGenerationError

from smoldebug.model.scripted import ScriptedModel

deleted: list[tuple[str, str]] = []
FINAL = {"calls": [{"final_answer": {"answer": "done"}}]}
PING = {"calls": [{"ping": {"x": "1"}}]}


@tool
def ping(x: str) -> str:
    """Answer.

    Args:
        x: what to echo
    """
    return "pong " + x


@tool
def boom(x: str) -> str:
    """Fail.

    Args:
        x: shown in the error
    """
    raise RuntimeError("kaboom " + x)


@tool
def delete_pod(name: str, namespace: str | None = "default") -> str:
    """Pretend to delete a pod.

    Args:
        name: pod
        namespace: where
    """
    deleted.append((name, namespace or ""))
    return f"deleted {namespace}/{name}"


@pytest.fixture(autouse=True)
def _nothing_ran_yet() -> None:
    deleted.clear()


def stock(*turns: dict[str, Any], **options: Any) -> tuple[ToolCallingAgent, ScriptedModel]:
    model = ScriptedModel(list(turns))
    agent = ToolCallingAgent(
        tools=[ping, boom, delete_pod], model=model, verbosity_level=-1, **options
    )
    return agent, model


def names(events: Any) -> list[str]:
    return [type(event).__name__ for event in events]


def prompt(messages: list[ChatMessage]) -> str:
    return "\n".join(str(message.content) for message in messages)


def test_the_version_that_was_studied() -> None:
    assert smolagents.__version__.startswith("1.26.")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_finalize_step", ["self", "memory_step"]),
        ("_step_stream", ["self", "memory_step"]),
        ("process_tool_calls", ["self", "chat_message", "memory_step"]),
        ("provide_final_answer", ["self", "task"]),
        ("write_memory_to_messages", ["self", "summary_mode"]),
    ],
)
def test_what_the_agent_overrides_is_there(name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(ToolCallingAgent, name)).parameters) == parameters


# --- calls ----------------------------------------------------------------------------------


def test_a_cut_off_call_runs_with_the_raw_text() -> None:
    cut = '{"name": "api-7f9c", "namespace": "prod'
    agent, _ = stock({"raw": {"tool": "delete_pod", "arguments": cut}}, FINAL)
    agent.run("t")
    assert deleted == [(cut, "default")]
    assert agent.memory.steps[1].error is None


def test_one_failing_call_discards_the_results_of_the_others() -> None:
    agent, _ = stock({"calls": [{"delete_pod": {"name": "a"}}, {"boom": {"x": "1"}}]}, FINAL)
    agent.run("t")
    assert deleted == [("a", "default")]
    assert agent.memory.steps[1].observations is None


def test_a_failed_call_leaves_no_trace_in_the_next_prompt() -> None:
    agent, model = stock({"calls": [{"boom": {"x": "unusual-argument"}}]}, FINAL)
    agent.run("t")
    assert agent.memory.steps[1].tool_calls is None
    assert "Traceback" not in prompt(model.asked[1])


def test_results_are_joined_in_the_text_order_of_the_ids() -> None:
    agent, _ = stock({"calls": [{"ping": {"x": str(number)}} for number in range(11)]}, FINAL)
    agent.run("t")
    answered = agent.memory.steps[1].observations.splitlines()
    assert answered[:3] == ["pong 0", "pong 1", "pong 10"]


def test_text_without_a_call_is_the_models_mistake_and_the_run_goes_on() -> None:
    agent, _ = stock({"say": "I think it is DNS."}, FINAL)
    assert agent.run("t") == "done"
    assert "no tool call" in str(agent.memory.steps[1].error)


# --- the end of a run -----------------------------------------------------------------------

GATE = """
from tests.test_upstream_facts import FINAL, stock
asked = []
def check(answer, memory, agent):
    asked.append(answer)
    return len(asked) > 1
agent, _ = stock(FINAL, FINAL, final_answer_checks=[check])
agent.run("t")
print(len(asked))
"""


@pytest.mark.parametrize(("flags", "checks"), [(["-c"], "2"), (["-O", "-c"], "0")])
def test_final_answer_checks_vanish_under_dash_o(flags: list[str], checks: str) -> None:
    assert python(*flags, GATE).stdout.strip() == checks


def test_the_final_answer_tool_is_added_to_a_dict_and_can_be_taken_out() -> None:
    agent, _ = stock()
    assert agent.tools.pop("final_answer").name == "final_answer"


def test_running_out_of_turns_asks_the_model_once_more() -> None:
    agent, model = stock(PING, PING, {"say": "I give up"}, max_steps=2)
    assert agent.run("t") == "I give up"
    assert len(model.asked) == 3


def test_the_last_turn_is_streamed_twice_when_turns_run_out() -> None:
    agent, _ = stock(PING, {"say": "I give up"}, max_steps=1)
    events = list(agent.run("t", stream=True))
    assert names(events) == [
        *("ToolCall", "ToolOutput", "ActionOutput"),
        *("ActionStep", "ActionStep", "FinalAnswerStep"),
    ]
    assert events[3] is events[4]


# --- streams and failures -------------------------------------------------------------------


@pytest.mark.parametrize("at", ["ToolCall", "ToolOutput", "ActionOutput"])
def test_closing_a_stream_inside_a_step_raises_once_and_closes_at_the_second_try(at: str) -> None:
    agent, _ = stock(PING, FINAL)
    stream = agent.run("t", stream=True)
    assert at in (type(event).__name__ for event in stream)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        stream.close()
    assert isinstance(agent.memory.steps[-1], ActionStep)
    stream.close()


@pytest.mark.parametrize("at", ["ActionStep", "FinalAnswerStep"])
def test_closing_a_stream_between_steps_is_clean(at: str) -> None:
    agent, _ = stock(PING, FINAL)
    stream = agent.run("t", stream=True)
    assert at in (type(event).__name__ for event in stream)
    stream.close()


def test_a_failing_model_ends_the_run_and_memory_can_go_on() -> None:
    agent, model = stock(PING, {"fail": "503"}, FINAL)
    with pytest.raises(AgentGenerationError):
        agent.run("t")
    failed = agent.memory.steps[-1]
    assert failed.model_output_message is None
    assert failed.error is None
    assert agent.run("Go on.", reset=False) == "done"
    assert "pong 1" in prompt(model.asked[2])


# --- prompts and memory ---------------------------------------------------------------------


def test_instructions_alone_can_be_the_system_prompt_and_are_no_template() -> None:
    templates = {**EMPTY_PROMPT_TEMPLATES, "system_prompt": "{{custom_instructions}}"}
    agent, model = stock(FINAL, prompt_templates=templates, instructions="sum by (le) {{ 1 + 1 }}")
    agent.run("t")
    system = model.asked[0][0]
    assert system.role == MessageRole.SYSTEM
    assert "{{ 1 + 1 }}" in str(system.content)


def test_every_step_keeps_a_copy_of_the_history() -> None:
    agent, _ = stock(*[PING] * 20, FINAL, max_steps=30)
    agent.run("t")
    steps = [step for step in agent.memory.steps if isinstance(step, ActionStep)]
    assert len(steps[19].model_input_messages) == 2 + 2 * 19
    assert steps[19].model_input_messages[2] is not steps[18].model_input_messages[2]


def test_a_logger_below_zero_with_a_quiet_console_says_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    agent, _ = stock(
        {"calls": [{"boom": {"x": "1"}}]},
        FINAL,
        logger=AgentLogger(level=-1, console=Console(quiet=True)),
    )
    agent.run("t")
    assert capfd.readouterr() == ("", "")


# --- importing ------------------------------------------------------------------------------


@pytest.mark.parametrize(("disabled", "seen"), [("", "yes"), ("1", "")])
def test_importing_reads_a_dotenv_file_unless_told_not_to(
    tmp_path: Path, disabled: str, seen: str
) -> None:
    (tmp_path / ".env").write_text("SMOLDEBUG_PROBE=yes\n", encoding="utf-8")
    code = "import os, smolagents; print(os.environ.get('SMOLDEBUG_PROBE', ''))"
    done = python("-c", code, cwd=tmp_path, PYTHON_DOTENV_DISABLED=disabled)
    assert done.stdout.strip() == seen


def python(
    *arguments: str, cwd: Path = Path(__file__).parent.parent, **env: str
) -> subprocess.CompletedProcess[str]:
    clean = {**os.environ, "PYTHONOPTIMIZE": "", **env}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=clean,
        check=True,
    )
