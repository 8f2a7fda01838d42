"""What a step costs beside the model: the loop and its client over HTTP, above the server's time.

    python benchmarks/model.py [--steps 200] [--latency 50] [--long 1000]

A server on loopback answers every request with one tool call, so many milliseconds after it has
read it, whole or as a stream. A step is: the prompt is made, its budget reserved, the answer
awaited, the call checked and run (a 2 KB observation), the goal measured, all of it journaled. The
comparisons are a bare httpx2 POST of the same bodies, and smolagents' own ToolCallingAgent with its
own client, without goal, journal and budget. The second table is the long run, at no latency. Each
row is a process of its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import httpx2

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from modelserver import ModelServer, Reply, calls, delta, fragment, sse

ROW = "{:<30} {:<8} {:>7} {:>9} {:>9} {:>9}"
LONG_ROW = "{:<30} {:>6} {:>12} {:>12} {:>12} {:>11}"
TEXT = "000017 INFO handled GET /checkout in 12 ms, 3 of 4 upstreams answered\n" * 29  # 2 KB


class Scripted(ModelServer):
    """Calls `look` for ever, each time at something else."""

    def __init__(self, latency: float, streams: bool) -> None:
        super().__init__([])
        self.latency, self.streams = latency, streams

    def next_reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        self.asked.append(body)
        self.pause(self.latency)
        number = len(self.asked)
        return streamed(number) if self.streams else calls(look={"at": f"page {number}"})


def streamed(number: int) -> Reply:
    first = fragment('{"at": ', id=f"c{number}", name="look")
    rest = fragment(f'"page {number}"}}')
    usage = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}
    parts = [delta(tool_calls=[first]), delta(tool_calls=[rest]), delta("tool_calls"), usage]
    return sse(*parts, "[DONE]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--latency", type=int, default=50, help="milliseconds of the server")
    parser.add_argument("--long", type=int, default=1000, help="steps of the second table; 0: none")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # a row's own process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(*options.one, options.steps)))
        return
    above(options)
    if options.long:
        at_length(options)


# --- tables -----------------------------------------------------------------------------------


def above(options: argparse.Namespace) -> None:
    print(
        ROW.format("ms a step above the server's", "answers", "steps", "median", "p95", "longest")
    )
    for streams in (False, True):
        bodies: list[Any] = []
        for name in ("openai", "hf", "stock streaming" if streams else "stock", "bare"):
            seen, asked = row(name, options.steps, options, streams, bodies)
            bodies = bodies or asked
            took = sorted(1000 * step - options.latency for step in seen["wall"])
            numbers = (statistics.median(took), took[int(len(took) * 0.95)], took[-1])
            how = "streamed" if streams else "whole"
            told = (f"{one:.1f}" for one in numbers)
            print(ROW.format(LABELS[name], how, len(took), *told), flush=True)


def at_length(options: argparse.Namespace) -> None:
    options.latency = 0
    columns = ("CPU ms/step", "of the last", "growth MB", "longest kB")
    print(LONG_ROW.format("", "steps", *columns))
    for name, steps in (("openai", options.long), ("stock", options.steps)):
        seen, asked = row(name, steps, options, False, [])
        cpu, last = seen["cpu"], max(1, steps // 10)
        longest = max(len(json.dumps(body)) for body in asked) / 1000
        numbers = (sum(cpu) / len(cpu) * 1000, sum(cpu[-last:]) / last * 1000, seen["growth"])
        told = (f"{one:.1f}" for one in (*numbers, longest))
        print(LONG_ROW.format(LABELS[name], steps, *told), flush=True)


def row(
    name: str, steps: int, options: argparse.Namespace, streams: bool, bodies: list[Any]
) -> tuple[dict[str, Any], list[Any]]:
    """What the row's process measured, and the bodies it sent."""
    command = [sys.executable, __file__, "--steps", str(steps)]
    with Scripted(options.latency / 1000, streams) as server:
        done = subprocess.run(
            [*command, "--one", name, server.url],
            input=json.dumps(bodies),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=900,
        )
        return json.loads(done.stdout), server.asked[-steps:]


# --- a row's own process ------------------------------------------------------------------------


def measured(name: str, url: str, steps: int) -> dict[str, Any]:
    """Wall and CPU seconds of each step; MB the process has grown by since it was warm."""
    for _ in RUNS[name](url, 3):  # imports, caches
        pass
    before = held()
    marks = [(time.perf_counter(), time.process_time(), held()) for _ in RUNS[name](url, steps)]
    walls, cpus, sizes = zip(*marks, strict=True)
    between = {"wall": walls, "cpu": cpus}
    seconds = {key: [end - at for at, end in pairwise(times)] for key, times in between.items()}
    return {**seconds, "growth": max(sizes) - before}


def held() -> float:
    """Memory that this process holds now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def of_smoldebug(provider: str, url: str, steps: int) -> Iterator[None]:
    """Once at the beginning, and after every step."""
    from crews import Stage

    from smoldebug.diagnose.expert import Expert
    from smoldebug.diagnose.picture import Brief
    from smoldebug.events import TurnStarted
    from smoldebug.model.factory import build
    from smoldebug.playbook import models
    from smoldebug.playbook.settings import Settings
    from smoldebug.records import Observation

    class Busy(Stage):
        def look(self, at: str) -> Observation:
            """Look at something.

            Args:
                at: What to look at.
            """
            return Observation(f"{at}\n{TEXT}", {"at": at}, "log", at)

    with tempfile.TemporaryDirectory() as folder:
        stage = Busy([], Path(folder), limits=models.Limits(max_steps=steps + 1))
        model = build(
            f"{provider}/x", Settings(), expert=Expert(stage.evidence, Brief()), api_base=url
        )
        stage.agent.chain = stage.chain(model)
        with stage.journal, closing(stage.stream()) as stream:
            turns = (stamped for stamped in stream if isinstance(stamped.event, TurnStarted))
            for _ in islice(turns, steps + 1):
                yield


def of_stock(streams: bool, url: str, steps: int) -> Iterator[None]:
    from rich.console import Console
    from smolagents import ActionStep, OpenAIModel, ToolCallingAgent, tool
    from smolagents.monitoring import AgentLogger

    @tool
    def look(at: str) -> str:
        """Look at something.

        Args:
            at: What to look at.
        """
        return f"{at}\n{TEXT}"

    model = OpenAIModel("x", api_base=url, api_key="none")
    quiet = AgentLogger(level=-1, console=Console(quiet=True))
    agent = ToolCallingAgent(tools=[look], model=model, logger=quiet, stream_outputs=streams)
    with closing(agent.run("Why is checkout slow?", stream=True, max_steps=steps + 1)) as stream:
        yield
        for _ in islice((item for item in stream if isinstance(item, ActionStep)), steps):
            yield


def of_bare(url: str, steps: int) -> Iterator[None]:
    with httpx2.Client() as client:
        yield
        for body in sent()[:steps]:
            client.post(f"{url}/chat/completions", json=body).raise_for_status()
            yield


@cache
def sent() -> list[Any]:
    """The bodies that smoldebug sent in its row."""
    bodies: list[Any] = json.load(sys.stdin)
    return bodies


RUNS: dict[str, Callable[[str, int], Iterator[None]]] = {
    "openai": partial(of_smoldebug, "openai"),
    "hf": partial(of_smoldebug, "hf"),
    "stock": partial(of_stock, False),
    "stock streaming": partial(of_stock, True),
    "bare": of_bare,
}
LABELS = {
    "openai": "smoldebug, openai/x",
    "hf": "smoldebug, hf/x",
    "stock": "stock agent, OpenAIModel",
    "stock streaming": "stock agent, OpenAIModel",
    "bare": "bare httpx2 POST",
}

if __name__ == "__main__":
    main()
