"""Somebody on call: an API server with Deployment auth in it, a playbook that may change it, and
the real commands, run in this process."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from clusters import Object, Practice, deployment, practice
from commands import move_in
from labkit import in_store

from smoldebug import journal
from smoldebug.agent import Signals
from smoldebug.change import Approver
from smoldebug.cli import program
from smoldebug.cli.assemble import assemble
from smoldebug.cli.options import Options
from smoldebug.clock import FakeClock
from smoldebug.events import AnyEvent, RunEnded, Stamped
from smoldebug.lab.catalog import resource
from smoldebug.ledger import Ledger, ledger
from smoldebug.playbook.load import load
from smoldebug.records import Answer, Card, Decision
from smoldebug.run import run
from smoldebug.sources.kinds import find
from smoldebug.status import ExitStatus

SYSTEM = {"kind": "Namespace", "metadata": {"name": "kube-system"}}  # its uid is the cluster's id
READS = ["deployments", "hpa", "configmaps", "services", "nodes"]
ESCALATE = {"calls": [{"escalate": {"reason": "out of ideas"}}]}


@dataclass(frozen=True)
class Said:
    """How a command ended. `document` is what it wrote with `-o json`."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


def say_yes(card: Card) -> Decision:
    return Decision(Answer.YES, "operator")


class OnCall:
    """`folder` is home and working folder; runs are kept in `folder/home/runs`."""

    def __init__(
        self, folder: Path, cluster: Practice, captured: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.cluster, self._captured = folder, cluster, captured

    def smoldebug(self, *arguments: str) -> Said:
        self._captured.readouterr()
        code = program(list(arguments))
        said = Said(code, *self._captured.readouterr())
        assert "Traceback" not in said.err
        return said

    def triage(self, *turns: dict[str, Any], options: tuple[str, ...] = (), **more: Any) -> Said:
        """A run of a scripted model; `more` goes into its playbook."""
        script = self.folder / "script.yaml"
        script.write_text(yaml.safe_dump([*turns, ESCALATE]), encoding="utf-8")
        named = ("-p", self.playbook(**more), "--kubeconfig", self.cluster.kubeconfig)
        model = () if "-m" in options else ("-m", f"scripted:{script}")
        return self.smoldebug("triage", *named, *model, "-o", "jsonl", *options)

    def play(self, *turns: dict[str, Any], approve: Approver = say_yes, **more: Any) -> ExitStatus:
        """The same with time for free, no view, and an approver of one's own."""
        script = self.folder / "script.yaml"
        script.write_text(yaml.safe_dump([*turns, ESCALATE]), encoding="utf-8")
        plan = load(self.playbook(**more))
        options = Options(kubeconfig=self.cluster.kubeconfig, models=[f"scripted:{script}"])
        made = assemble(plan, options, approve, Signals(), FakeClock())
        with closing(made):
            *_, last = run(plan, made.crew, made.first)
        assert isinstance(last.event, RunEnded)
        return last.event.status

    def playbook(self, **more: Any) -> str:
        """Goal: auth has four replicas instead of two."""
        path = self.folder / "mine.yaml"
        goal = {"all": [replicas_are(4)], "every": "20ms", "within": "30s"}
        change = {"allow": ["scale"], "targets": ["Deployment/shop/auth"], **more.pop("change", {})}
        book = {
            "apiVersion": "smoldebug.dev/v1",
            "name": "mine",
            "goal": {**goal, **more.pop("goal", {})},
            "scope": {"namespaces": ["shop"]},
            "tools": {"kubectl": {"read": READS}, "change": change, **more.pop("tools", {})},
            **more,
        }
        path.write_text(yaml.safe_dump(book), encoding="utf-8")
        return str(path)

    # --- the cluster ------------------------------------------------------------------------

    def now(self, kind: str = "Deployment", name: str = "auth") -> Object:
        known = find(kind)
        assert known is not None
        where = "shop" if known.namespaced else None
        return self.cluster.store.get(resource(known.plural), where, name)

    @property
    def replicas(self) -> int:
        return int(self.now()["spec"]["replicas"])

    def edit(self, **spec: Any) -> None:
        """What somebody else does to auth, with a client of their own."""
        url = urlsplit(self.cluster.server.url)
        path = "/apis/apps/v1/namespaces/shop/deployments/auth?fieldManager=kubectl-edit"
        headers = {"Content-Type": "application/merge-patch+json"}
        with closing(http.client.HTTPConnection(url.netloc, timeout=10)) as connection:
            connection.request("PATCH", path, json.dumps({"spec": spec}), headers)
            assert connection.getresponse().status == 200

    def made_anew(self) -> None:
        """auth as it was at first: nobody has changed it."""
        self.cluster.store.delete(resource("deployments"), "shop", "auth")
        self.cluster.add(AUTH)

    @contextmanager
    def once(self, holds: Callable[[Object], Any], then: Callable[[], Any]) -> Iterator[None]:
        """In the meantime somebody else does something as soon as auth is like that."""

        def other() -> None:
            in_store(self.cluster.store, resource("deployments"), "auth", holds)
            then()

        thread = threading.Thread(target=other)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    # --- its runs ---------------------------------------------------------------------------

    @property
    def runs(self) -> list[Path]:
        return sorted((self.folder / "home/runs").glob("*"))

    @property
    def journal(self) -> Path:
        """Of the only run there is."""
        (run,) = self.runs
        return run / "journal.jsonl"

    @property
    def run(self) -> str:
        return self.journal.parent.name

    @property
    def events(self) -> list[Stamped]:
        return journal.read(self.journal)

    def of(self, kind: type[AnyEvent]) -> list[Any]:
        return [each.event for each in self.events if isinstance(each.event, kind)]

    @property
    def ledger(self) -> Ledger:
        return ledger(self.events)


@contextmanager
def on_call(
    folder: Path, monkeypatch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]
) -> Iterator[OnCall]:
    move_in(folder, monkeypatch, COLUMNS="160")
    with practice(folder, SYSTEM, AUTH) as cluster:
        yield OnCall(folder, cluster, captured)


def annotated(item: Object) -> Object:
    """As nearly all objects are; one without annotations takes two requests to change."""
    return {**item, "metadata": {**item["metadata"], "annotations": {"team": "shop"}}}


AUTH = annotated(deployment("auth", replicas=2))


def replicas_are(wanted: int) -> dict[str, Any]:
    auth = {"kind": "Deployment", "namespace": "shop", "name": "auth"}
    return {"object": {**auth, "matches": {"spec": {"replicas": wanted}}}}


# No change here brings that about; there is time for one on a busy machine.
MISSED = {"goal": {"all": [replicas_are(9)], "within": "1500ms"}}


def scale_to(*replicas: int) -> dict[str, Any]:
    """A turn of the model, with a call for each number."""
    auth = {"target": "deployment/auth", "namespace": "shop", "why": "E1"}
    return {"calls": [{"scale": {**auth, "replicas": number}} for number in replicas]}
