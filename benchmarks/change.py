"""What guard, journal and approval card add to a change, beside the API calls themselves.

    python benchmarks/change.py [--changes 300] [--workloads 30] [--folder .]

A Deployment of a lab with so many workloads is scaled to and fro over HTTP, each time by an
executor as a run has it, whose events go to a journal. The journal is kept in memory (/dev/shm)
for one row and in --folder, on the disk, for the other: the difference is the fsync of the intent.
The comparison is the same change by the client alone: read, then patch.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smoldebug.appliers import KubeApplier
from smoldebug.change import Executor, Place
from smoldebug.clock import SystemClock
from smoldebug.events import Stamp
from smoldebug.guard import Guard
from smoldebug.journal import Journal
from smoldebug.lab.catalog import resource
from smoldebug.lab.server import serve
from smoldebug.lab.store import Store
from smoldebug.playbook import models
from smoldebug.pointers import operations
from smoldebug.recording import recorded
from smoldebug.records import Answer, Change, ChangeKind, Decision, ObjectRef
from smoldebug.redact import Redactor
from smoldebug.sources.kube import connect

TARGET = ObjectRef("Deployment", "shop", "web-0")
COLUMNS = "{:<44} {:>10} {:>10}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--workloads", type=int, default=30)
    parser.add_argument("--folder", default=".", help="for the journal, on the disk in question")
    options = parser.parse_args()
    store = filled(options.workloads)
    server = serve(store)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(server.kubeconfig())
        config.flush()
        cluster = Timed(connect(None, config.name))
        try:
            print(COLUMNS.format("milliseconds a change", "median", "p99"))
            measure(cluster, options.changes, options.folder)
        finally:
            cluster.close()
            server.close()


def measure(cluster: "Timed", changes: int, disk: str) -> None:
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
        tempfile.TemporaryDirectory(dir=disk) as folder,
    ):
        found = {}
        for label, place in (("in memory", memory), ("on the disk", folder)):
            with Journal(Path(place) / "journal.jsonl") as journal:
                found[label] = changed(cluster, journal, changes)
    in_memory, on_disk = found.values()
    row("guard", in_memory["guard"])
    row("journal, in memory", in_memory["journal"])
    row("journal, on this disk", on_disk["journal"])
    both = zip(on_disk["guard"], on_disk["journal"], strict=True)
    row("guard and journal, on this disk", map(sum, both))
    row("card: differences, masked; and the rest", in_memory["rest"])
    row("API calls of such a change", in_memory["cluster"])
    row("the client alone: read, then patch", bare(cluster, changes))


def changed(cluster: "Timed", journal: Journal, changes: int) -> dict[str, list[float]]:
    """Seconds of each change, by who spent them."""
    clock, kept = SystemClock(), Timed(journal)
    stamp, guard = Stamp("bench", clock), Timed(Guard(playbook(), context="lab"))
    parts = {"guard": guard, "journal": kept, "cluster": cluster}
    found: dict[str, list[float]] = {name: [] for name in (*parts, "rest")}
    for number in range(changes):
        change = proposal(cluster, number)
        for part in parts.values():
            part.seconds = 0.0
        executor = Executor(
            guard,
            {ChangeKind.SCALE: KubeApplier(lambda: cluster, clock=clock)},
            lambda card: Decision(Answer.YES, "operator"),
            clock,
            Place("bench", "lab", "cluster"),
            Redactor().text,
        )
        began = time.perf_counter()
        states = [e.event for e in recorded(executor.execute(change), kept, executor, stamp)]
        took = time.perf_counter() - began
        if getattr(states[-1], "state", "") != "verified":
            raise SystemExit(f"not verified: {states[-1]}")
        for name, part in parts.items():
            found[name].append(part.seconds)
        found["rest"].append(took - sum(part.seconds for part in parts.values()))
    return found


def bare(cluster: "Timed", changes: int) -> list[float]:
    found = []
    for number in range(changes):
        change = proposal(cluster, number)
        began = time.perf_counter()
        live = cluster.get(TARGET)
        cluster.patch(TARGET, operations(change, live), dry_run=False, note="")
        found.append(time.perf_counter() - began)
    return found


def row(label: str, seconds: Iterable[float]) -> None:
    found = sorted(1e3 * each for each in seconds)
    p99 = statistics.quantiles(found, n=100)[98]
    print(COLUMNS.format(label, f"{statistics.median(found):.2f}", f"{p99:.2f}"))


def proposal(cluster: "Timed", number: int) -> Change:
    live = cluster.get(TARGET)
    now = live["spec"]["replicas"]
    fields = {"/spec/replicas": now}, {"/spec/replicas": 4 if now == 2 else 2}
    return Change(ChangeKind.SCALE, TARGET, *fields, f"E{number}", uid=live["metadata"]["uid"])


def playbook() -> models.Playbook:
    change = models.ChangeTool(allow=[ChangeKind.SCALE], targets=["Deployment/shop/*"])
    return models.Playbook(
        apiVersion="smoldebug.dev/v1",
        name="benchmark",
        goal=models.Goal(),
        scope=models.Scope(namespaces=["shop"]),
        tools=models.Tools(change=change),
    )


def filled(workloads: int) -> Store:
    store = Store()
    store.create(resource("namespaces"), None, {"metadata": {"name": "shop"}})
    settings = [{"name": f"SETTING_{number}", "value": str(number)} for number in range(10)]
    for number in range(workloads):
        labels = {"app": f"web-{number}"}
        pod = {"containers": [{"name": "web", "image": "shop/web:1", "env": settings}]}
        meta = {"name": f"web-{number}", "labels": labels, "annotations": {"team": "shop"}}
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        store.create(resource("deployments"), "shop", {"metadata": meta, "spec": spec})
    return store


class Timed:
    """Whoever it stands before; says how many seconds its methods took."""

    def __init__(self, inside: Any) -> None:
        self._inside, self.seconds = inside, 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inside, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return found(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - began

        return call


if __name__ == "__main__":
    main()
