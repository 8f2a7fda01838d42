"""`smoldebug validate` over three practice clusters with five services each: how long, how soon.

    python benchmarks/validate.py [--runs 3]

The chart, its versions and the playbook are those of examples/04-upgrade-three-clusters. A good
upgrade with a stability window of ten seconds; how soon each bad version is found out, counted from
the first line of its own log that tells of the fault; what a validated upgrade takes beyond
`helm upgrade --wait` of the same versions in the same cluster; and what is asked of the API servers
meanwhile, counted by these. Needs a helm on the PATH.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from smoldebug.lab import control
from smoldebug.shipped import shipped

EXAMPLE = shipped("examples") / "04-upgrade-three-clusters"
CLUSTERS = ("eu-staging", "us-staging", "ap-staging")
LAYERS = ("2.4.0", "2.5.0")  # every later version is laid over these
OFFENDERS = {"2.5.1": "payments", "2.5.2": "auth", "2.5.3": "catalog"}
FIRST = re.compile(r"(\S+) level=error ")
EVERY = 3.0  # seconds between samples in that playbook
COLUMNS = "{:<58} {:>8} {:>8} {:>8}"
Event = tuple[datetime, str, dict[str, Any]]  # when, its name, the event


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    version = helm("version", "--short").strip()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; helm {version}")
    with tempfile.TemporaryDirectory() as folder, Bench.up(Path(folder)) as bench:
        print(COLUMNS.format("seconds", "best", "median", "worst"))
        alone = [bench.overhead() for _ in range(runs)]
        for number, label in enumerate(("helm upgrade --wait", "smoldebug validate", "overhead")):
            row(f"one cluster, no windows: {label}", [each[number] for each in alone])
        good = [bench.validated("2.5.0", stable=10) for _ in range(runs)]
        row("good upgrade of three clusters, window of 10 s", [each.wall for each in good])
        for version, offender in OFFENDERS.items():
            bad = [bench.validated(version, stable=25, code=4) for _ in range(runs)]
            found = [each.detection(name, offender) for each in bad for name in CLUSTERS]
            row(f"{version}: from the first bad line of {offender} to its name", found)
        print()
        rates = [each.rate(name) for each in good for name in CLUSTERS]
        row("API requests a second and cluster, all well", rates)


def row(label: str, values: Sequence[float]) -> None:
    ranked = sorted(values)
    shown = (ranked[0], ranked[len(ranked) // 2], ranked[-1])
    print(COLUMNS.format(label, *(f"{each:.1f}" for each in shown)), flush=True)


# --- one validated upgrade ------------------------------------------------------------------


@dataclass
class Observed:
    """`requests`: at which moment, how many each cluster had answered. `lines`: when a service's
    log first told of an error, by cluster and service."""

    wall: float
    journals: dict[str, list[Event]]
    requests: list[tuple[float, dict[str, int]]]
    lines: dict[tuple[str, str], datetime]

    def moment(self, cluster: str, name: str, **fields: str) -> datetime:
        return next(
            at
            for at, event, body in self.journals[cluster]
            if event == name and all(body[key] == value for key, value in fields.items())
        )

    def detection(self, cluster: str, offender: str) -> float:
        """Seconds until it was given up on: from then on it is taken back."""
        blamed = next(body for _, name, body in self.journals[cluster] if name == "Blamed")
        if blamed["blame"]["service"] != f"Deployment/platform/{offender}":
            raise SystemExit(f"{cluster} blames {blamed['blame']['service']}, not {offender}")
        decided = self.moment(cluster, "Blamed")
        return (decided - self.lines[cluster, offender]).total_seconds()

    def rate(self, cluster: str) -> float:
        """Over three intervals of `every`, before the last sample."""
        ended = self.moment(cluster, "RunEnded").timestamp() - EVERY / 2
        began = ended - 3 * EVERY
        seen = [counts[cluster] for at, counts in self.requests if began <= at <= ended]
        return (seen[-1] - seen[0]) / (ended - began)


# --- the clusters ---------------------------------------------------------------------------


@dataclass
class Bench:
    """Three clusters in which 2.4.0 runs."""

    folder: Path
    charts: dict[str, Path] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def up(cls, folder: Path) -> Iterator["Bench"]:
        os.environ["SMOLDEBUG_HOME"] = str(folder)
        os.environ["KUBECONFIG"] = str(folder / "lab/kubeconfig")
        smoldebug("lab", "up", "--clusters", str(len(CLUSTERS)))
        try:
            bench = cls(folder)
            for version in (*LAYERS, *OFFENDERS):
                bench.build(version)
            for cluster in CLUSTERS:
                bench.install(cluster)
            yield bench
        finally:
            smoldebug("lab", "down")

    def build(self, version: str) -> None:
        out = self.folder / "versions" / version
        layers = LAYERS[: LAYERS.index(version) + 1] if version in LAYERS else (*LAYERS, version)
        for layer in layers:
            shutil.copytree(EXAMPLE / "versions" / layer, out, dirs_exist_ok=True)
        about = out / "chart/Chart.yaml"
        about.write_text(about.read_text("utf-8").replace(LAYERS[0], version), "utf-8")
        command = ("--", "python3", "/app/service.py")
        smoldebug("lab", "load-image", f"platform/services:{version}", str(out / "image"), *command)
        self.charts[version] = out / "chart"

    def install(self, cluster: str) -> None:
        """2.4.0, as if nothing had been there before."""
        place = ("--namespace", "platform", "--kube-context", cluster)
        if "platform" in helm("list", "--short", *place):
            helm("uninstall", "platform", *place)
        chart = str(self.charts["2.4.0"])
        helm("install", "platform", chart, "--create-namespace", "--wait", *place)

    def validated(self, version: str, *, stable: int, code: int = 0) -> Observed:
        for cluster in CLUSTERS:
            self.install(cluster)
        before = set((self.folder / "runs").glob("*"))
        with self.watched() as (requests, lines):
            began = time.monotonic()
            self.command(EXAMPLE / "upgrade.yaml", version, CLUSTERS, stable, code)
            wall = time.monotonic() - began
        runs = sorted(set((self.folder / "runs").glob("*")) - before)
        return Observed(wall, dict(map(journal, runs)), requests, lines)

    def command(
        self, playbook: Path, version: str, clusters: Sequence[str], stable: int, code: int = 0
    ) -> None:
        inputs = {
            "chart": str(self.charts[version]),
            "version": version,
            "clusters": ",".join(clusters),
            "stable": f"{stable}s",
        }
        sets = [word for key, value in inputs.items() for word in ("--set", f"{key}={value}")]
        smoldebug("validate", "-p", str(playbook), *sets, "--output", "plain", code=code)

    def overhead(self) -> tuple[float, float, float]:
        """Seconds in one cluster: Helm alone, smoldebug without any window, the difference."""
        cluster, *_ = CLUSTERS
        playbook = self.folder / "upgrade.yaml"
        text = (EXAMPLE / "upgrade.yaml").read_text("utf-8")
        playbook.write_text(re.sub(r"baseline: {for: \w+}", "baseline: {for: 0s}", text), "utf-8")
        place = ("--namespace", "platform", "--kube-context", cluster)
        self.install(cluster)
        began = time.monotonic()
        helm("upgrade", "platform", str(self.charts["2.5.0"]), "--wait", *place)
        alone = time.monotonic() - began
        self.install(cluster)
        began = time.monotonic()
        self.command(playbook, "2.5.0", [cluster], stable=0)
        both = time.monotonic() - began
        return alone, both, both - alone

    @contextmanager
    def watched(self) -> Iterator[tuple[list[Any], dict[Any, datetime]]]:
        """Until the block ends: the counters of the API servers, and the logs of the pods, which
        the lab keeps as files while the pods exist."""
        requests: list[tuple[float, dict[str, int]]] = []
        lines: dict[tuple[str, str], datetime] = {}
        over = threading.Event()
        began = time.time()

        def look() -> None:
            while not over.wait(0.2):
                found = {name: control.status(self.cluster(name)) for name in CLUSTERS}
                counts = {name: sum(s.requests.values()) for name, s in found.items() if s}
                requests.append((time.time(), counts))
                for name in CLUSTERS:
                    with suppress(OSError):  # a pod goes while its folder is read
                        for log in (self.cluster(name) / "pods").glob("*/*/*.log"):
                            note(lines, name, log, began)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        yield requests, lines
        over.set()
        thread.join()

    def cluster(self, name: str) -> Path:
        return self.folder / "lab/clusters" / name


def note(lines: dict[tuple[str, str], datetime], cluster: str, log: Path, began: float) -> None:
    key = cluster, log.parent.name
    found = map(FIRST.search, log.read_text("utf-8", "replace").splitlines())
    times = (datetime.fromisoformat(each[1]) for each in found if each)
    for at in times:
        if at.timestamp() >= began:
            lines[key] = min(at, lines.get(key, at))


def journal(run: Path) -> tuple[str, list[Event]]:
    """The cluster of a run, and its events."""
    lines = (run / "journal.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line)["record"] for line in lines]
    events = [
        (datetime.fromisoformat(each["at"]), each["event"]["event"], each["event"])
        for each in records
    ]
    cluster = next(body["context"] for _, name, body in events if name == "RunStarted")
    return cluster, events


def smoldebug(*words: str, code: int = 0) -> None:
    called([sys.executable, "-m", "smoldebug", *words], code)


def helm(*words: str) -> str:
    return called(["helm", *words])


def called(argv: Sequence[str], code: int = 0) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != code:
        said = (done.stdout + done.stderr)[-3000:]
        raise SystemExit(f"exit status {done.returncode}, not {code}: {' '.join(argv)}\n{said}")
    return done.stdout


if __name__ == "__main__":
    main()
