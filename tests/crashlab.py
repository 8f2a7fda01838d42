"""Runs to be killed: what they change, on one API server with a namespace for each of them."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from clusters import deployment
from crashes import Job, Killer
from oncall import ESCALATE, READS, SYSTEM, annotated

from smoldebug.lab.catalog import resource
from smoldebug.lab.server import serve
from smoldebug.lab.store import Store

Object = dict[str, Any]
AUTH = {"target": "deployment/auth", "why": "E1"}
READY = {"spec": {"minReadySeconds": 5}}


@dataclass(frozen=True)
class Story:
    """What a run does: its calls, all in one turn, and the goal that they bring about; without
    one they are in vain and taken back. `follows` is the object that they change."""

    calls: Sequence[dict[str, Object]]
    allow: Sequence[str]
    goal: Object | None = None
    follows: tuple[str, str] = ("deployments", "auth")
    undoable: bool = True


def call(tool: str, **arguments: Any) -> dict[str, Object]:
    return {tool: {**AUTH, **arguments}}


def config(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}}


def auth(matches: Object) -> Object:
    return {"kind": "Deployment", "name": "auth", "matches": matches}


NEVER = auth({"spec": {"paused": True}})
SCALE, PATCH = call("scale", replicas=4), call("apply_k8s_patch", patch=READY)
MANIFEST = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "auth"}, **READY}
EXTRA = {"kind": "ConfigMap", "name": "extra", "matches": {"data": {"a": "1"}}}
STORIES = {
    "scale": Story([SCALE], ["scale"], auth({"spec": {"replicas": 4}})),
    "apply": Story(
        [{"apply_manifest": {"manifest": MANIFEST, "why": "E1"}}], ["apply-object"], auth(READY)
    ),
    "create": Story(
        [{"create_object": {"manifest": config("extra"), "why": "E1"}}],
        ["create-object"],
        EXTRA,
        ("configmaps", "extra"),
    ),
    "delete in vain": Story(
        [call("delete_object", target="configmap/old")],
        ["delete-object"],
        follows=("configmaps", "old"),
    ),
    "set-env in vain": Story([call("set_env", name="MODE", value="slow")], ["set-env"]),
    "scale and patch in vain": Story([SCALE, PATCH], ["scale", "patch-object"]),
    "restart in vain": Story([call("restart")], ["restart"], undoable=False),
}


@dataclass
class CrashLab:
    """`folder` holds a playbook and a script for each story, and a home for each run."""

    folder: Path
    store: Store
    killer: Killer
    kubeconfig: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def job(self, story: str) -> Job:
        """The job of running a story, in a new namespace."""
        store, namespace = self.store, f"run-{next(self._numbers)}"
        store.create(resource("namespaces"), None, {"metadata": {"name": namespace}})
        for kind, item in (
            ("deployments", deployment("auth", replicas=2)),
            ("configmaps", config("old")),
        ):
            store.create(resource(kind), namespace, annotated(item))
        playbook, script = self.folder / f"{story}.yaml", self.folder / f"{story}.script"
        return Job(self.folder / namespace, self.kubeconfig, playbook, script, namespace)

    def write(self, name: str, story: Story) -> None:
        namespace = "${{ inputs.namespace }}"
        targets = [f"{kind}/{namespace}/*" for kind in ("Deployment", "ConfigMap")]
        change = {"allow": list(story.allow), "targets": targets, "values": ["*"]}
        goal = {"object": {**(story.goal or NEVER), "namespace": namespace}}
        book = {
            "apiVersion": "smoldebug.dev/v1",
            "name": "crash",
            "inputs": {"namespace": {"required": True}},
            "goal": {"all": [goal], "every": "3s", "within": "4s"},
            "scope": {"namespaces": [namespace]},
            "tools": {"kubectl": {"read": READS}, "change": change},
            "allow_without_undo": ["restart"],
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(book))
        turns = [{"calls": list(story.calls)}, ESCALATE]
        (self.folder / f"{name}.script").write_text(yaml.safe_dump(turns))

    def history(self, story: Story, namespace: str) -> list[Any]:
        """What the story's object was, from write to write; None: it was not there."""
        kind, name = story.follows
        found: list[Any] = [None] if name == "extra" else []
        once = iter((False, True)).__next__
        for event in self.store.watch(resource(kind), namespace, since=1000, until=once):
            if event.object["metadata"]["name"] == name:
                content = [event.object.get(key) for key in ("spec", "data")]
                found.append(None if event.type == "DELETED" else content)
        return found


@contextmanager
def crash_lab(folder: Path) -> Iterator[CrashLab]:
    store, killer = Store(history=1_000_000), Killer()
    server = serve(store, faults=killer)
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(server.kubeconfig(), encoding="utf-8")
    store.create(resource("namespaces"), None, SYSTEM)
    lab = CrashLab(folder, store, killer, str(kubeconfig))
    for name, story in STORIES.items():
        lab.write(name, story)
    try:
        yield lab
    finally:
        server.close()
