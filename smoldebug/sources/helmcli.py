"""Helm by a command: `helm` (3 or 4) where there is one, else `helmsdk.py`, which takes the same
words.

Options are always `--name=value` and names follow a `--`, so nothing that a playbook says becomes
an option. Which cluster is meant is said by kubeconfig and context alone, never by $HELM_KUBE...
"""

import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from smoldebug.errors import ToolError, UnreachableError, UsageError
from smoldebug.records import Json, ObjectRef
from smoldebug.sources import helmcharts, kubeconfig
from smoldebug.sources.goyaml import documents, written
from smoldebug.sources.helm import Chart, Helm, Hook, Object, Release, Rendered, Revision, Upgrade
from smoldebug.sources.helm_errors import failure
from smoldebug.sources.kinds import CLUSTER_SCOPED
from smoldebug.sources.world import Processes
from smoldebug.untrusted import one_line

Options = Mapping[str, object]
LONGEST_OUTPUT = 64 << 20  # bytes: a dry run in JSON holds the whole chart beside what it renders
READ, PULL = 60.0, 300.0  # seconds
GRACE = 15.0  # seconds beyond Helm's own limit, so that Helm says itself what it waited for
OLDEST, NEWEST = 3, 4  # major versions
DRY_RUN_SERVER = (3, 13)  # from there on a plain dry run answers `lookup` with nothing
HOOK = "helm.sh/hook"  # an annotation
KEPT, MOST = 10, 256  # revisions: Helm's own limit; as many as `history` tells

_RELEASE = re.compile(
    r"(?=.{1,53}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
)
_NAMESPACE = re.compile(r"(?=.{1,63}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_REMOTE = re.compile(r"oci://\S+|\w[\w.-]*/[\w.-]+")
_ELSEWHERE = ("HELM_KUBE", "HELM_NAMESPACE", "HELM_DEBUG")


def open_helm(
    processes: Processes,
    context: str | None,
    config: str | None,
    answers: Callable[[], object] = lambda: None,
) -> Helm:
    """`processes` should keep LONGEST_OUTPUT bytes. `answers` is asked before Helm is, which waits
    long for a cluster that hangs; it raises UnreachableError for one that does. Raises UsageError
    where there is no such context, or no Helm."""
    access = kubeconfig.choose(context, config, os.environ)
    named = access.context if access.files else ""
    return HelmCli(processes, command(), answers, context=named, kubeconfig=access.files)


def command() -> list[str]:
    """What a Helm command line begins with. Raises UsageError where there is no Helm."""
    if found := shutil.which("helm"):
        return [found]
    if find_spec("helm_python"):  # -P: nothing of the current folder is imported
        return [sys.executable, "-P", "-m", "smoldebug.sources.helmsdk"]
    raise UsageError(
        "there is no Helm on this machine", hint="install helm, or: pip install 'smoldebug[helm]'"
    )


class _Row(msgspec.Struct):
    """A line of `helm history -o json`."""

    revision: int
    status: str
    chart: str
    updated: str = ""
    app_version: str = ""
    description: str = ""


class _Hook(msgspec.Struct):
    manifest: str
    events: list[str] = []


class _DryRun(msgspec.Struct):
    manifest: str = ""
    hooks: list[_Hook] | None = None


class HelmCli:
    """`argv` begins every command line; context and kubeconfig "" are the pod's own."""

    def __init__(
        self,
        processes: Processes,
        argv: Sequence[str],
        answers: Callable[[], object] = lambda: None,
        *,
        context: str,
        kubeconfig: str,
    ) -> None:
        self._processes, self._argv, self._context = processes, list(argv), context
        self._answers = answers
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith((*_ELSEWHERE, "KUBECONFIG"))
        }
        self._env = {**kept, "KUBECONFIG": kubeconfig} if kubeconfig else kept

    @cached_property
    def version(self) -> str:
        said = self._run(["version", "--template={{.Version}}"], READ, "version")
        found = re.search(r"v?((\d+)\.\d+\.\d+\S*)", said)
        if not found or not OLDEST <= int(found[2]) <= NEWEST:
            raise ToolError(f"Helm {OLDEST} or {NEWEST} is needed, this is: {one_line(said)}")
        return found[1]

    def history(self, release: Release) -> Sequence[Revision]:
        said = self._about("history", release, {"output": "json", "max": MOST})
        rows = _decoded(said, list[_Row])
        return [_revision(row) for row in sorted(rows, key=lambda row: row.revision)]

    def objects(self, release: Release, revision: int = 0) -> tuple[Object, ...]:
        said = self._about("get manifest", release, _at(revision))
        return tuple(_objects(said, release))

    def hooks(self, release: Release, revision: int = 0) -> tuple[Hook, ...]:
        said = self._about("get hooks", release, _at(revision))
        return tuple(Hook(_ref(item), _events(item), item) for item in _objects(said, release))

    def values(self, release: Release, revision: int = 0) -> dict[str, Json]:
        said = self._about("get values", release, {"output": "json"} | _at(revision))
        return _decoded(said, dict[str, Any] | None) or {}

    def fetch(self, chart: str, version: str, folder: Path) -> Chart:
        if os.path.exists(chart):  # noqa: PTH110 False too for what no file can be called
            path = Path(chart).absolute()
            if path.is_relative_to(folder.absolute()):
                return helmcharts.load(path, chart, version)
            return helmcharts.copied(path, chart, version, folder)
        if not _REMOTE.fullmatch(chart):
            raise ToolError(
                f"no such chart: {chart}", hint="a folder, an archive, repo/name or oci://..."
            )
        with tempfile.TemporaryDirectory(prefix="smoldebug-") as into:
            options = {"destination": into} | ({"version": version} if version else {})
            about = f"the chart {chart} {version}".strip()
            self._run(["pull", *_options(options), "--", chart], PULL, about)
            archives = list(Path(into).glob("*.tgz"))
            if len(archives) != 1:
                raise ToolError(f"Helm has pulled no chart, and told no error: {chart}")
            return helmcharts.copied(archives[0], chart, "", folder)

    def rehearse(self, upgrade: Upgrade) -> Rendered:
        major, minor = map(int, self.version.split(".")[:2])
        dry = "server" if (major, minor) >= DRY_RUN_SERVER else "true"
        said = self._upgrade(upgrade, {"dry-run": dry, "output": "json"})
        done, release = _decoded(said, _DryRun), upgrade.release
        return Rendered(
            tuple(_objects(done.manifest, release)),
            tuple(
                Hook(_ref(item), tuple(hook.events), item)
                for hook in done.hooks or []
                for item in _objects(hook.manifest, release)
            ),
        )

    def upgrade(self, upgrade: Upgrade, description: str) -> None:
        limit = self._limit(upgrade.release)
        self._upgrade(upgrade, {"description": description, "history-max": limit})

    def rollback(self, release: Release, revision: int, timeout: float) -> None:
        options = {"history-max": self._limit(release)}
        self._about("rollback", release, options, str(revision), timeout=timeout)

    def _limit(self, release: Release) -> int:
        """How many revisions to keep: those that whoever else upgrades it has kept."""
        count = len(self.history(release))
        return 0 if count == MOST else max(KEPT, count)  # 0: all of them

    def _upgrade(self, upgrade: Upgrade, options: Options) -> str:
        """Values go in by standard input: there they are seen in no list of processes, and left
        behind in no file by whatever ends this one."""
        return self._about(
            "upgrade",
            upgrade.release,
            {**options, "reset-values": "true", "values": "-"},
            str(upgrade.chart.path),
            timeout=upgrade.timeout,
            stdin=written(dict(upgrade.values)),
        )

    def _about(
        self,
        verb: str,
        release: Release,
        options: Options,
        *names: str,
        timeout: float = 0.0,
        stdin: str = "",
    ) -> str:
        """A command about a release. `timeout` (seconds) is Helm's own."""
        where = f"{release.namespace}/{release.name}"
        if not _RELEASE.fullmatch(release.name) or not _NAMESPACE.fullmatch(release.namespace):
            raise ToolError(f"Helm has no releases of such a name: {one_line(where)}")
        options, about = {"namespace": release.namespace, **options}, f"release {where}"
        if self._context:
            options["kube-context"], about = self._context, f"{about} in context {self._context}"
        if timeout:
            options["timeout"] = f"{math.ceil(timeout)}s"
        self._answers()
        words = [*verb.split(), *_options(options), "--", release.name, *names]
        return self._run(words, timeout + GRACE if timeout else READ, about, stdin)

    def _run(self, words: Sequence[str], seconds: float, about: str, stdin: str = "") -> str:
        argv = [*self._argv, *words]
        done = self._processes.run(argv, timeout=seconds, env=self._env, stdin=stdin)
        if done.code is None:
            raise UnreachableError(f"Helm was stopped after {seconds:g} s: {words[0]} of {about}")
        if done.code:
            raise failure(done.stderr or done.stdout, about)
        if done.cut:
            raise ToolError(f"Helm says too much to be read: {words[0]} of {about}")
        return done.stdout


def _options(options: Options) -> list[str]:
    return [f"--{key}={value}" for key, value in options.items()]


def _at(revision: int) -> dict[str, object]:
    return {"revision": revision} if revision else {}


def _decoded(said: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(said, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ToolError(one_line(f"Helm's answer is not what Helm answers: {error}")) from None


def _revision(row: _Row) -> Revision:
    try:
        updated = datetime.fromisoformat(row.updated)
    except ValueError:
        updated = None
    return Revision(row.revision, row.status, row.chart, row.app_version, updated, row.description)


def _objects(manifest: str, release: Release) -> Iterator[Object]:
    """The objects of a manifest, lists taken apart, each with its namespace where its kind has
    one. Where Helm would see an object, one is seen here: who guards must not overlook any."""
    for document in documents(manifest, f"the manifest of {release.name}"):
        for item in _items(document):
            meta = {**item["metadata"]}
            maps = [meta.get("labels"), meta.get("annotations")]
            maps += [item.get("data"), item.get("stringData")] if item["kind"] == "Secret" else []
            if not all(isinstance(each or {}, dict) for each in maps):
                raise ToolError(f"{one_line(item['kind'])} in {release.name} is no object")
            meta["name"] = str(meta.get("name") or meta.get("generateName") or "")
            if item["kind"] in CLUSTER_SCOPED:
                meta.pop("namespace", None)
            else:
                meta["namespace"] = str(meta.get("namespace") or release.namespace)
            yield {**item, "metadata": meta}


def _items(document: Json, kind: str = "") -> Iterator[Object]:
    """To Kubernetes a list is what has `items`, and `kind` is that of items which say none."""
    if not isinstance(document, dict):
        return
    if kind and not document.get("kind") and not document.get("apiVersion"):
        document = {**document, "kind": kind}
    own, items = str(document.get("kind") or ""), document.get("items")
    if isinstance(items, list):
        for item in items:
            yield from _items(item, own.removesuffix("List"))
    elif own and isinstance(document.get("metadata"), dict):
        yield {**document, "kind": own}


def _events(item: Mapping[str, Any]) -> tuple[str, ...]:
    notes = item["metadata"].get("annotations")
    words = str(notes.get(HOOK) or "") if isinstance(notes, dict) else ""
    return tuple(word.strip() for word in words.split(","))


def _ref(item: Mapping[str, Any]) -> ObjectRef:
    meta = item["metadata"]
    return ObjectRef(item["kind"], str(meta.get("namespace") or ""), meta["name"])
