"""`smoldebug triage` and `demo` end to end, a real incident on the lab: in processes of their own
where they are stopped or carry the whole story, else the same commands in the test's process.

The playbooks are the shipped ones; only the goal is measured more often than every five seconds.
"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Running, environment, in_process, smoldebug
from labkit import eventually

from smoldebug import journal
from smoldebug.events import ChangeProposed, ChangeSettled, RunEnded, from_line
from smoldebug.lab import control
from smoldebug.records import ObjectRef
from smoldebug.shipped import shipped
from smoldebug.sources.kube import connect
from smoldebug.sources.world import Completed

SURGE = ("triage", "-p", "triage-502", "--set", "service=checkout", "--set", "window=3s")


class Shop:
    """A lab, and a terminal in a folder from which `smoldebug` sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lab = folder, folder / "lab"
        info = control.start(self.lab, dies_with_parent=True)
        self.env = environment(folder, KUBECONFIG=str(info.kubeconfig))
        mine = folder / "home/playbooks"  # $SMOLDEBUG_HOME: one in ./ replaces no shipped one
        mine.mkdir(parents=True)
        for name, every in (("triage.yaml", "300ms"), ("triage-502.yaml", "1s")):
            text = (shipped("playbooks") / name).read_text(encoding="utf-8")
            assert text.count("every: 5s") == 1
            (mine / name).write_text(text.replace("every: 5s", f"every: {every}"))

    def smoldebug(self, *arguments: str) -> Completed:
        return in_process(*arguments, cwd=self.folder, env=self.env)

    def running(self, *arguments: str) -> Running:
        return Running(*arguments, cwd=self.folder, env=self.env)

    def break_(self, fault: str) -> None:
        control.break_(self.lab, fault)

    def get(self, kind: str, name: str) -> Any:
        cluster = connect(None, str(self.lab / "kubeconfig"))
        try:
            return cluster.get(ObjectRef(kind, "shop", name))
        finally:
            cluster.close()

    def scale(self, name: str, replicas: int) -> None:
        cluster = connect(None, str(self.lab / "kubeconfig"))
        edit = {"op": "replace", "path": "/spec/replicas", "value": replicas}
        try:
            cluster.patch(
                ObjectRef("Deployment", "shop", name), [edit], dry_run=False, note="by the test"
            )
        finally:
            cluster.close()

    def spec(self, name: str) -> tuple[int, int]:
        """(replicas, generation): together they tell whether anybody wrote to it."""
        found = self.get("Deployment", name)
        return found["spec"]["replicas"], found["metadata"]["generation"]

    def last_run(self) -> list[Any]:
        folders = sorted((self.folder / "home/runs").iterdir(), key=lambda one: one.stat().st_mtime)
        return [stamped.event for stamped in journal.read(folders[-1] / "journal.jsonl")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"))
    try:
        yield made
    finally:
        control.stop(made.lab)


@pytest.fixture
def surge(shop: Shop) -> Iterator[Shop]:
    """The incident: checkout answers 502 now and then, because auth is saturated."""
    shop.break_("traffic-surge")
    until_said(shop, "auth", "worker pool exhausted")
    until_said(shop, "checkout", " 502 upstream auth")
    yield shop
    control.fix(shop.lab)


def until_said(shop: Shop, app: str, words: str) -> None:
    """Until an app's log says it once more than it does now."""
    before = logs(shop, app).count(words)
    eventually(lambda: logs(shop, app).count(words) > before, f"{app}: {words}")


def logs(shop: Shop, app: str) -> str:
    files = (shop.lab / "pods").glob(f"shop_{app}-*/*/*.log")
    return "".join(path.read_text(encoding="utf-8") for path in files)


def document_of(done: Completed) -> dict[str, Any]:
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["exit_code"] == done.code
    return found


# --- nobody to ask, and nobody to be asked --------------------------------------------------


def test_without_a_terminal_the_change_waits_and_nothing_is_touched(surge: Shop) -> None:
    before = surge.spec("auth")
    done = surge.smoldebug(*SURGE, "--output", "json")
    told = document_of(done)
    assert (done.code, told["status"], told["cause"]["confidence"]) == (
        7,
        "needs_approval",
        "likely",
    )
    (change,) = told["changes"]
    assert (change["target"], change["state"]) == ("Deployment/shop/auth", "waiting")
    assert surge.spec("auth") == before


def test_approval_never_investigates_and_changes_nothing(shop: Shop) -> None:
    shop.break_("command-not-found")
    before = shop.spec("web")
    arguments = ("triage", "deployment/web", "-n", "shop", "-y", "--approval", "never")
    done = shop.smoldebug(*arguments, "--output", "json")
    told = document_of(done)
    assert (done.code, told["mode"], told["cause"]["confidence"]) == (1, "never", "likely")
    assert {(one["state"], one["decided_by"]) for one in told["changes"]} == {
        ("refused", "playbook")
    }
    assert shop.spec("web") == before


# --- stopped in the middle ------------------------------------------------------------------


def test_what_a_stopped_run_has_changed_stays_and_the_report_says_how_to_take_it_back(
    surge: Shop,
) -> None:
    replicas, _ = surge.spec("auth")
    with surge.running(*SURGE, "-y", "--output", "plain") as run:
        run.once(lambda run: "C1 verified" in run.stderr, "the change is made")
        run.press_ctrl_c()
        assert run.ended() == 130
        assert "Traceback" not in run.stderr
        assert run.stdout.startswith("VERDICT")
        assert f"scale deployment/auth --replicas={replicas}" in run.stdout
    assert surge.spec("auth")[0] == replicas + 1
    events = surge.last_run()
    settled = [event.state for event in events if isinstance(event, ChangeSettled)]
    assert (settled, events[-1].status) == (["verified"], 130)
    surge.scale("auth", replicas)


# --- the incident ---------------------------------------------------------------------------


def test_the_incident_is_explained_repaired_and_proven_repaired(surge: Shop) -> None:
    arguments = (*SURGE, "-y", "--output", "json", "--report", "markdown=report.md")
    done = smoldebug(*arguments, cwd=surge.folder, env=surge.env)
    told = document_of(done)
    assert (done.code, told["outcome"]) == (0, "met")
    assert (told["goal"]["streak"], told["goal"]["needed"]) == (3, 3)
    (cause,) = [one for one in told["hypotheses"] if one["id"] in told["cause"]["hypotheses"]]
    assert (cause["status"], cause["fault"]) == ("confirmed", "traffic-surge")
    texts = {one["id"]: one["text"] for one in told["evidence"]}
    assert cause["supports"]
    for quote in cause["supports"]:
        assert quote["text"] in texts[quote["evidence"]]
    (change,) = told["changes"]
    assert (change["kind"], change["target"]) == ("scale", "Deployment/shop/auth")
    assert (change["state"], change["decided_by"]) == ("verified", "operator")
    assert change["after"] == {"/spec/replicas": surge.spec("auth")[0]}
    assert cause["claim"] in (surge.folder / "report.md").read_text(encoding="utf-8")
    events = surge.last_run()
    assert isinstance(events[-1], RunEnded)
    assert json.loads(surge.smoldebug("runs", "show", "last", "--output", "json").stdout) == told


def test_a_bad_release_is_rolled_back_by_the_playbook_that_needs_no_metrics(shop: Shop) -> None:
    shop.break_("command-not-found")
    done = shop.smoldebug("triage", "deployment/web", "-n", "shop", "-y", "--output", "jsonl")
    events = [from_line(line).event for line in done.stdout.splitlines()]
    assert (done.code, events[-1].status) == (0, 0), done.stdout
    (card,) = [event.card for event in events if isinstance(event, ChangeProposed)]
    assert (card.change.kind, str(card.change.target)) == ("rollback", "Deployment/shop/web")
    command = shop.get("Deployment", "web")["spec"]["template"]["spec"]["containers"][0].get(
        "command"
    )
    assert command != ["/usr/local/bin/web-server"]


CONNECTIONS = {
    "service-selector-mismatch": ("patch-selector", "Service", "auth"),
    "service-target-port-wrong": ("patch-port", "Service", "auth"),
    "env-address-wrong": ("set-env", "Deployment", "checkout"),
}


@pytest.fixture(params=CONNECTIONS)
def misdirected(shop: Shop, request: pytest.FixtureRequest) -> Iterator[str]:
    shop.break_(request.param)
    yield request.param
    control.fix(shop.lab)


def test_a_connection_that_leads_nowhere_is_repaired_and_the_repair_can_be_taken_back(
    shop: Shop, misdirected: str
) -> None:
    kind, *target = CONNECTIONS[misdirected]
    broken = shop.get(*target)["spec"]
    done = shop.smoldebug("triage", "-n", "shop", "-y", "--output", "json")
    told = document_of(done)
    assert (done.code, told["cause"]["confidence"]) == (0, "likely"), done.stderr
    (change,) = told["changes"]
    assert (change["kind"], change["state"]) == (kind, "verified")
    assert change["target"] == f"{target[0]}/shop/{target[1]}"
    (cause,) = [one for one in told["hypotheses"] if one["status"] == "confirmed"]
    assert cause["fault"] == misdirected
    assert shop.smoldebug("undo", "last", "-y").code == 0
    assert shop.get(*target)["spec"] == broken


# --- demo -----------------------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for file in files for child in file.read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_no_process_and_no_file(
    tmp_path: Path, number: signal.Signals
) -> None:
    env = environment(tmp_path, TMPDIR=str(tmp_path))
    with Running("demo", cwd=tmp_path, env=env) as demo:
        demo.once(lambda demo: "up after" in demo.stderr, "the lab is up")
        (info,) = tmp_path.glob("smoldebug-demo-*/lab.json")
        lab = json.loads(info.read_text())["pid"]
        family = [lab, *descendants(lab)]
        assert len(family) == 7  # the lab, five pods, the customers
        demo.press_ctrl_c(number)
        assert demo.ended() == 130
        assert "Traceback" not in demo.stderr
        assert demo.stderr.endswith("the practice cluster is gone\n")
    assert not any(map(alive, family))
    assert list(tmp_path.glob("smoldebug-demo-*")) == []


# --- the cluster goes away (last: it takes the lab of this file with it) --------------------


GATED = """\
apiVersion: smoldebug.dev/v1
name: gated
goal:
  all:
    - command: {run: [sh, -c, "touch FOLDER/measured; until [ -e FOLDER/go ]; do sleep 0.02; done"]}
    - rollout: {target: deployment/catalog}
scope: {namespaces: [shop]}
tools: {kubectl: {read: [pods, deployments, events]}, logs: {}}
"""


def test_a_cluster_that_goes_away_ends_the_run_with_a_sentence(shop: Shop) -> None:
    shop.break_("image-not-found")
    path = shop.folder / "gated.yaml"
    path.write_text(GATED.replace("FOLDER", str(shop.folder)), encoding="utf-8")
    with shop.running("triage", "-p", str(path), "--output", "plain") as run:
        run.once(lambda _: (shop.folder / "measured").exists(), "the first measurement")
        control.stop(shop.lab)
        (shop.folder / "go").touch()
        assert run.ended() == 3, run.stderr
        assert "Traceback" not in run.stderr
        assert "connection refused" in run.stdout
