"""The demo by a scripted model over HTTP: to its end, and with the model's server gone in the
middle. Each takes a practice cluster and 45 seconds, so .ci/run runs them, at the same time:

    python -m pytest -n 2 tests/demo_by_model.py
"""

from pathlib import Path
from typing import Any

import pytest
from commands import SMOLDEBUG, environment
from modelserver import Killed, ModelServer, calls, text

from smoldebug import journal
from smoldebug.events import (
    AnyEvent,
    ChangeSettled,
    ModelAnswered,
    ModelSwitched,
    RunEnded,
    ToolCalled,
)
from smoldebug.sources.process import LocalProcesses
from smoldebug.status import ExitStatus

pytestmark = pytest.mark.timeout(150)
NAME = "openai/x"
LOOKS = [
    text("Let me think about this."),  # no call, so it is asked again
    calls(get={"kind": "Pod", "namespace": "shop"}),
    calls(fetch_logs={"target": "deployment/checkout", "namespace": "shop", "since": "2m"}),
]
TWO = {"target": "deployment/auth", "namespace": "shop", "replicas": 2, "why": "it is slow"}
WAIT = calls(wait={"seconds": 20, "why": "the window has to pass"})


class Demo:
    """The command, ended, and what it left behind."""

    def __init__(self, server: ModelServer, folder: Path) -> None:
        words = ("demo", "--model", NAME, "--api-base", server.url, "-o", "plain")
        with server:
            self.done = LocalProcesses().run(
                [*SMOLDEBUG, *words], timeout=140, cwd=str(folder), env=environment(folder)
            )
        assert self.done.code == ExitStatus.MET, self.done.stdout + self.done.stderr
        (run,) = (folder / "home" / "runs").iterdir()
        self.events = [stamped.event for stamped in journal.read(run / "journal.jsonl")]
        self.report = (run / "report.md").read_text("utf-8")

    def only(self, kind: type[AnyEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def answers(self) -> list[tuple[str, bool]]:
        """Who was asked over HTTP, and whether an answer came."""
        return [(each.model, not each.error) for each in self.only(ModelAnswered)]


def fixed(demo: Demo) -> bool:
    states = [each.state for each in demo.only(ChangeSettled)]
    return demo.only(RunEnded)[0].status is ExitStatus.MET and states == ["verified"]


def test_the_model_repairs_it(tmp_path: Path) -> None:
    server = ModelServer([*LOOKS, calls(scale=TWO), WAIT])
    demo = Demo(server, tmp_path)
    assert fixed(demo)
    assert demo.answers == [(NAME, True)] * len(server.asked)
    assert not demo.only(ModelSwitched)
    assert [call.arguments for call in demo.only(ToolCalled) if call.tool == "scale"] == [TWO]
    for told in (demo.done.stdout, demo.report):
        assert f"{NAME}: {len(server.asked)} model calls" in told


def test_the_expert_goes_on_where_the_models_server_is_gone(tmp_path: Path) -> None:
    server = Killed(LOOKS)
    demo = Demo(server, tmp_path)
    assert fixed(demo)
    assert len(server.asked) == len(LOOKS)
    assert demo.answers == [*[(NAME, True)] * len(LOOKS), (NAME, False)]
    (switch,) = demo.only(ModelSwitched)
    assert (switch.model, switch.to) == (NAME, "expert")
    assert "Connection refused" in switch.why
    for told in (demo.done.stdout, demo.report):
        assert f"from {NAME} to expert" in told
        assert "Connection refused" in told
