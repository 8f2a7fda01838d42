"""A post-mortem fix as a pull request: how long, how much of a diff, and how it grows.

    python benchmarks/patch.py [--manifests 250 500 1000 2000] [--files 20000] [--runs 3]

First the whole command on the repository of examples/03-env-var-pull-request, to a pull request in
a practice forge over HTTP; and the same edit made by loading and dumping each file (PyYAML, keys
unsorted; json), which is what a script of ten lines does. Then a repository of so many files, among
them so many Deployments that all get the variable: find, edit, commit and diff, in the run's own
clone; each row is a process of its own.
"""

import argparse
import base64
import difflib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from smoldebug.edits.draft import draft
from smoldebug.lab.forge.repository import Bare
from smoldebug.lab.forge.server import Forge, serve_forge
from smoldebug.playbook.patches import (
    ContainerHas,
    Edit,
    EnvVar,
    GitTool,
    ManifestsCheck,
    Select,
    SetEnv,
)
from smoldebug.shipped import shipped
from smoldebug.sources.gitclone import open_clone

BRANCH, COLUMNS = "smoldebug/FEATURE_FLAG", "{:<40} {:>9} {:>9} {:>9}"
GROWTH = "{:>9} {:>8} {:>12} {:>8} {:>8} {:>8} {:>13}"
MANIFEST = """\
# Owned by team-{number}.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-{number}
  namespace: staging
  labels: {{app: app-{number}, team: team-{team}}}
spec:
  replicas: 2
  selector:
    matchLabels: {{app: app-{number}}}
  template:
    metadata:
      labels: {{app: app-{number}}}
    spec:
      containers:
        - name: app
          image: registry.example.org/app-{number}:1.{number}   # bumped by a robot
          ports:
            - containerPort: 8080
          env:
            # Seconds; raised after an outage.
            - name: TIMEOUT
              value: "{number}"
            - name: DATABASE
              valueFrom:
                secretKeyRef: {{name: app-{number}, key: url}}
          resources:
            requests: {{cpu: 50m, memory: 64Mi}}
            limits: {{memory: 128Mi}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifests", type=int, nargs="*", default=[250, 500, 1000, 2000])
    parser.add_argument("--files", type=int, default=20_000, help="of the large repository")
    parser.add_argument("--runs", type=int, default=3, help="of the whole command")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # a row's own process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one)))
        return
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        whole_command(Path(folder), options.runs)
        print()
        growth(Path(folder), options.manifests, options.files)


# --- the whole command ----------------------------------------------------------------------


def whole_command(folder: Path, runs: int) -> None:
    """Without the cluster, whose part is one list of Deployments."""
    book = (shipped("playbooks") / "add-env-var.yaml").read_text("utf-8")
    lines = [line for line in book.splitlines() if "covers_cluster" not in line]
    (folder / "flag.yaml").write_text("\n".join(lines).replace("add-env-var", "flag"), "utf-8")
    source = shipped("examples") / "03-env-var-pull-request/repo"
    with serve_forge(folder / "forge") as forge:
        found = [patched(folder, forge, f"shop/run-{number}", source) for number in range(runs)]
        bare = forge.hub.bare(forge.hub.state.projects["shop/run-0"])
        print(COLUMNS.format("12 Deployments, seconds", "best", "median", "worst"))
        for label, key in (
            ("the branch is pushed", "pushed"),
            ("the pull request is open", "open"),
            ("its checks have passed, the command ends", "ended"),
        ):
            times = sorted(each[key] for each in found)
            shown = (times[0], times[len(times) // 2], times[-1])
            print(COLUMNS.format(label, *(f"{each:.1f}" for each in shown)))
        print()
        noise(bare, source)


def patched(folder: Path, forge: Forge, name: str, source: Path) -> dict[str, float]:
    """Seconds from the start of the process, by what had come about."""
    url, checkout = forge.create_repository(name, source), folder / name
    login = base64.b64encode(f"x:{forge.token}".encode()).decode()
    header = f"http.extraHeader=Authorization: Basic {login}"
    git(folder, "-c", header, "clone", "-q", url, str(checkout))
    for key, value in (("user.name", "On Call"), ("user.email", "on-call@example.org")):
        git(checkout, "config", key, value)
    command = [sys.executable, "-m", "smoldebug", "patch", "-p", str(folder / "flag.yaml"), "-y"]
    began = time.time()
    done = subprocess.run(
        [*command, "-o", "json"],
        cwd=checkout,
        env={**os.environ, "GITHUB_TOKEN": forge.token, "SMOLDEBUG_HOME": str(folder / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    ended = time.time() - began
    if done.returncode != 0:
        raise SystemExit(f"exit status {done.returncode}: {done.stderr}")
    *_, last = sorted((folder / "home/runs").glob("*/journal.jsonl"), key=os.path.getmtime)
    records = [json.loads(line)["record"] for line in last.read_text("utf-8").splitlines()]
    settled = [each for each in records if each["event"]["event"] == "ChangeSettled"]
    outside = ended - records[-1]["elapsed"]  # before the run begins: Python and its imports
    pushed, opened = (outside + each["elapsed"] for each in settled)
    return {"pushed": pushed, "open": opened, "ended": ended}


def noise(bare: Bare, source: Path) -> None:
    paths = [each.path for each in bare.changed("main", BRANCH)]
    old = {path: (source / path).read_bytes() for path in paths}
    ways = {
        "smoldebug": {path: bare.read(BRANCH, path) or b"" for path in paths},
        "load, set, dump": {path: dumped(path, data) for path, data in old.items()},
    }
    print(
        COLUMNS.format(f"the same edit in {len(paths)} files, lines", "added", "removed", "# lost")
    )
    for label, new in ways.items():
        changed = [line for path in paths for line in difference(old[path], new[path])]
        added, removed = (sum(line[0] == sign for line in changed) for sign in "+-")
        lost = sum(line[0] == "-" and "#" in line for line in changed)
        kept = sum(line[0] == "+" and "#" in line for line in changed)
        print(COLUMNS.format(label, added, removed, lost - kept))


def difference(old: bytes, new: bytes) -> Iterator[str]:
    one, other = (text.decode().splitlines(keepends=True) for text in (old, new))
    for line in difflib.unified_diff(one, other, n=0):
        if line[0] in "+-" and not line.startswith(("+++", "---")):
            yield line


def dumped(path: str, data: bytes) -> bytes:
    """With the variable, as whoever does it in a script does it."""
    documents = list(yaml.safe_load_all(data))
    for document in documents:
        for holder in holders(document):
            holder.setdefault("env", []).append({"name": "FEATURE_FLAG", "value": "true"})
    if path.endswith(".json"):
        return json.dumps(documents[0], indent=2).encode()
    return yaml.safe_dump_all(documents, sort_keys=False).encode()


def holders(document: Any) -> list[dict[str, Any]]:
    """What gets it: the containers of a Deployment, the values of a chart."""
    if not isinstance(document, dict) or "kind" not in document:
        return [document]
    if document["kind"] != "Deployment":
        return []
    return list(document["spec"]["template"]["spec"]["containers"])


# --- a large repository ---------------------------------------------------------------------


def growth(folder: Path, sizes: list[int], files: int) -> None:
    heads = ("manifests", "clone s", "find, edit s", "commit s", "diff s", "all s", "peak RSS MB")
    print(GROWTH.format(*heads))
    for size in sizes:
        repository = folder / f"large-{size}"
        make(repository, size, files)
        command = [sys.executable, __file__, "--one", str(repository)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
        seen = json.loads(done.stdout)
        if seen["changed"] != size:
            raise SystemExit(f"{seen['changed']} of {size} changed")
        parts = [seen[name] for name in ("clone", "edit", "commit", "diff")]
        shown = [f"{each:.2f}" for each in (*parts, sum(parts[1:]))]
        print(GROWTH.format(size, *shown, f"{seen['peak']:.0f}"), flush=True)


def measured(repository: Path) -> dict[str, float]:
    """Seconds of each part, and the process's memory."""
    select = Select(kind="Deployment", namespace="staging")
    wanted = ContainerHas(env=EnvVar(name="FLAG", value="true"))
    check = ManifestsCheck(paths=("**",), select=select, every_container_has=wanted)
    edits = [Edit(set_env=SetEnv(name="FLAG", value="true"))]
    marks = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as folder:
        git_tool = GitTool(base="main", branch="flag", commit_per="patch")
        clone = open_clone(Path(folder), repo=str(repository), git=git_tool, token=lambda _: "")
        base = clone.base_commit()
        marks.append(time.perf_counter())
        done = draft(clone.tree(base), edits, check)
        marks.append(time.perf_counter())
        commit = clone.commit(base, done.files, "Set FLAG")
        marks.append(time.perf_counter())
        diff, changed = clone.diff(base, commit), clone.files_changed(base, commit)
        marks.append(time.perf_counter())
        clone.close()
    if diff.count("\n@@") != len(changed):
        raise SystemExit("more than one hunk in a file")
    parts = [later - earlier for earlier, later in zip(marks, marks[1:], strict=False)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    names = ("clone", "edit", "commit", "diff")
    return {**dict(zip(names, parts, strict=True)), "changed": len(changed), "peak": peak}


def make(repository: Path, manifests: int, files: int) -> None:
    """So many Deployments in folders of their own; of the other files a fifth is YAML too."""
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    stream = subprocess.Popen(
        ["git", "fast-import", "--quiet"], cwd=repository, stdin=subprocess.PIPE
    )
    assert stream.stdin
    with stream.stdin as pipe:
        pipe.write(b"commit refs/heads/main\ncommitter A <a@example.org> 0 +0000\n")
        pipe.write(b"data 5\nfiles\n")
        for path, content in contents(manifests, files):
            data = content.encode()
            pipe.write(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
    if stream.wait() != 0:
        raise SystemExit("git fast-import failed")
    for key, value in (("user.name", "Bench"), ("user.email", "bench@example.org")):
        git(repository, "config", key, value)


def contents(manifests: int, files: int) -> Iterator[tuple[str, str]]:
    for number in range(manifests):
        text = MANIFEST.format(number=number, team=number % 20)
        yield f"services/app-{number}/deploy/deployment.yaml", text
    for number in range(files - manifests):
        folder = f"services/app-{number % max(manifests, 1)}"
        if number % 5 == 0:
            yield (
                f"{folder}/config-{number}.yaml",
                f"# settings\ntimeout: {number}\nhosts: [a]\n" * 9,
            )
        else:
            yield f"{folder}/src/module_{number}.py", f"value = {number}\n" * 60


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True)


if __name__ == "__main__":
    main()
