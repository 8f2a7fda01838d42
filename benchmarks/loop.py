"""What a turn of the loop costs without a model: CPU, wall time and memory.

    python benchmarks/loop.py [--turns 1000 5000] [--stock 200] [--observation 2048]

One turn: a model that answers at once calls a tool that returns text; the goal is measured over a
fake cluster; every event is journaled to disk. The comparison is a stock ToolCallingAgent with the
same model and tool, without goal and journal. Each row is a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

COLUMNS = "{:<28} {:>6} {:>13} {:>14} {:>12} {:>13}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--stock", type=int, default=200, help="turns of the stock agent; 0: none")
    parser.add_argument("--observation", type=int, default=2048, help="bytes of each observation")
    parser.add_argument("--one", choices=RUNS, help=argparse.SUPPRESS)  # a row's own process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.turns[0], options.observation)))
        return
    print(COLUMNS.format("", "turns", "CPU ms/turn", "wall ms/turn", "growth MB", "peak RSS MB"))
    rows = [("smoldebug", turns) for turns in options.turns]
    rows += [("stock", options.stock)] if options.stock else []
    for name, turns in rows:
        print(row(name, turns, options.observation), flush=True)


def row(name: str, turns: int, size: int) -> str:
    command = [sys.executable, __file__, "--one", name, "--turns", str(turns)]
    done = subprocess.run(
        [*command, "--observation", str(size)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    seen = json.loads(done.stdout)
    label = "smoldebug" if name == "smoldebug" else "stock ToolCallingAgent"
    return COLUMNS.format(
        label,
        turns,
        f"{seen['cpu'] / turns * 1000:.2f}",
        f"{seen['wall'] / turns * 1000:.2f}",
        f"{seen['growth']:.1f}",
        f"{seen['peak']:.0f}",
    )


def measure(name: str, turns: int, size: int) -> dict[str, float]:
    """CPU and wall seconds of all turns; MB the process has grown by since it was warm."""
    RUNS[name](10, size)  # imports, caches
    before = peak()
    cpu, wall = time.process_time(), time.perf_counter()
    RUNS[name](turns, size)
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "growth": peak() - before,
        "peak": peak(),
    }


def peak() -> float:
    """The most memory this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def text(number: int, size: int) -> str:
    line = f"{number:06} INFO handled GET /checkout in 12 ms\n"
    return (line * (size // len(line) + 1))[:size]


def steady_model() -> Any:
    """A model that calls `read_log` with a new argument each turn, at once."""
    from smolagents import Model

    from smoldebug.model.messages import answer

    class Steady(Model):
        asked = 0

        def generate(self, messages: Any, **_: Any) -> Any:
            self.asked += 1
            return answer("", [("read_log", {"page": self.asked})])

    return Steady(model_id="steady")


def smoldebug_turns(turns: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        crew, plan, started = crew_of(turns, size, Path(folder))
        from smoldebug.run import run

        count = sum(1 for stamped in run(plan, crew, started) if is_answer(stamped.event))
        crew.journal.close()
    if count != turns:
        raise SystemExit(f"{count} turns instead of {turns}")


def is_answer(event: Any) -> bool:
    return type(event).__name__ == "ToolAnswered" and event.ok


def crew_of(turns: int, size: int, folder: Path) -> Any:
    """A read-only run whose goal never holds."""
    from askers import chain_of

    from smoldebug.agent import Agent, Signals
    from smoldebug.change import Executor
    from smoldebug.clock import SystemClock
    from smoldebug.events import RunStarted
    from smoldebug.evidence import EvidenceStore
    from smoldebug.goal import Goal
    from smoldebug.guard import Guard
    from smoldebug.journal import Journal
    from smoldebug.notebook import Notebook
    from smoldebug.playbook import models
    from smoldebug.records import Decision, Effect, Observation, Usage
    from smoldebug.redact import Redactor
    from smoldebug.run import Crew
    from smoldebug.sources.fakes import FakeCluster, fake_world
    from smoldebug.toolset import ToolContext, Toolset, describe

    def read_log(page: int) -> Observation:
        """A page of a log.

        Args:
            page: Its number.
        """
        return Observation(text(page, size), {"page": page}, "log")

    labels = {"name": "auth", "namespace": "shop"}
    cluster = FakeCluster([{"kind": "Deployment", "metadata": labels, "spec": {"replicas": 1}}])
    wanted = {"spec": {"replicas": 2}}
    check = models.ObjectCheck(kind="Deployment", namespace="shop", name="auth", matches=wanted)
    playbook = models.Playbook(
        apiVersion="smoldebug.dev/v1",
        name="benchmark",
        goal=models.Goal(all=[models.Check(object=check)]),
        limits=models.Limits(max_steps=turns),
    )
    plan = models.RunPlan(playbook=playbook, inputs={}, source="", folder=str(folder))
    clock = SystemClock()
    world, evidence = fake_world(cluster=cluster), EvidenceStore(clock)
    notebook = Notebook(evidence)
    specs = [describe(read_log, Effect.READ), *notebook.tools()]
    toolset = Toolset(specs, lambda _: ToolContext(world), evidence, Redactor())
    executor = Executor(Guard(playbook), {}, lambda _: Decision("no", "benchmark"), clock)
    chain = chain_of(steady_model(), folder=folder, clock=clock, mask=toolset.redactor.text)
    agent = Agent(chain, toolset, notebook, executor, Signals(), clock)
    journal = Journal(folder / "journal.jsonl")
    crew = Crew(Goal(plan, world, clock), agent, None, journal, clock, "bench")
    started = RunStarted("triage", "benchmark", "", "steady", "", (), "read-only", 5, Usage())
    return crew, plan, started


def stock_turns(turns: int, size: int) -> None:
    from smolagents import ToolCallingAgent, tool

    @tool
    def read_log(page: int) -> str:
        """A page of a log.

        Args:
            page: its number
        """
        return text(page, size)

    agent = ToolCallingAgent(
        tools=[read_log], model=steady_model(), max_steps=turns, verbosity_level=-1
    )
    agent.run("Read the log.")


RUNS: dict[str, Callable[[int, int], None]] = {"smoldebug": smoldebug_turns, "stock": stock_turns}

if __name__ == "__main__":
    main()
