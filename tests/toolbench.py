"""All shipped tools, called as a model calls them, over fakes of the outside worlds."""

from datetime import UTC, datetime
from typing import Any

from smoldebug.clock import FakeClock
from smoldebug.evidence import EvidenceStore
from smoldebug.records import Change, Json
from smoldebug.redact import Redactor
from smoldebug.sources.fakes import fake_world
from smoldebug.toolset import Answer, ToolContext, Toolset, shipped_tools

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPECS = shipped_tools()


class Bench:
    """All shipped tools over the given fakes; `call` gives the answer, `data` what was seen."""

    def __init__(self, settings: Json = None, **worlds: Any) -> None:
        clock = FakeClock(NOW)
        evidence = EvidenceStore(clock)
        context = ToolContext(
            fake_world(clock=clock, **worlds), settings or {}, evidence, namespace="shop"
        )
        self.tools = Toolset(SPECS, lambda spec: context, evidence, Redactor())

    def call(self, tool: str, **arguments: Json) -> Answer:
        return self.tools.call(tool, arguments)

    def text(self, tool: str, **arguments: Json) -> str:
        found = self.call(tool, **arguments)
        assert found.ok, found.text
        return found.text

    def data(self, tool: str, **arguments: Json) -> Any:
        found = self.call(tool, **arguments)
        assert found.evidence is not None, found.text
        return found.evidence.observation.data

    def change(self, tool: str, **arguments: Json) -> Change:
        found = self.call(tool, why="E1", **arguments)
        assert found.change is not None, found.text
        return found.change

    def refusal(self, tool: str, **arguments: Json) -> str:
        found = self.call(tool, **arguments)
        assert not found.ok
        return found.text
