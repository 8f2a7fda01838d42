"""Helm over a fake cluster, in memory, for tests: `fakes.py` has the other worlds.

helm = FakeHelm(cluster, {"charts/shop": [FakeChart("shop", "1.0.0", [deployment])]})
helm.install(Release("shop", "shop"), "charts/shop", {"replicas": 2})
helm.fail("upgrade", ToolError("timed out"), leaves="failed")
"""

import copy
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smoldebug.clock import Clock, FakeClock
from smoldebug.errors import NotFound, SmoldebugError, ToolError
from smoldebug.records import Json
from smoldebug.sources.fakes import FakeCluster, Request
from smoldebug.sources.helm import (
    PENDING,
    Chart,
    Hook,
    Object,
    Release,
    Rendered,
    Revision,
    Upgrade,
)
from smoldebug.sources.kube_writes import ref_of

Values = Mapping[str, Json]
Template = Callable[[Values], Sequence[Object]]
KEPT = ("uid", "resourceVersion", "generation")  # of an object that is replaced


@dataclass(frozen=True, slots=True)
class FakeChart:
    """`objects` is what it renders to, or a function of the user's values that says so."""

    name: str
    version: str
    objects: Sequence[Object] | Template
    hooks: tuple[Hook, ...] = ()
    crds: tuple[str, ...] = ()
    build: str = ""  # tells charts of one version apart

    @property
    def digest(self) -> str:
        content = f"{self.name}-{self.version} {self.build}"
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    def rendered(self, values: Values) -> tuple[Object, ...]:
        made = self.objects(values) if callable(self.objects) else self.objects
        return tuple(copy.deepcopy(list(made)))


@dataclass(frozen=True, slots=True)
class _Kept:
    revision: Revision
    objects: tuple[Object, ...]
    values: dict[str, Json]
    hooks: tuple[Hook, ...] = ()


class FakeHelm:
    """Keeps the promises of `helm.py`. `charts` by the reference that names them, each one's
    versions oldest first; `requests` records every call; it fails only on request."""

    version = "3.10.1"

    def __init__(
        self,
        cluster: FakeCluster,
        charts: Mapping[str, Sequence[FakeChart]],
        clock: Clock | None = None,
    ) -> None:
        self.cluster, self.charts, self.clock = cluster, dict(charts), clock or FakeClock()
        self.requests: list[Request] = []
        self.archives: dict[str, FakeChart] = {}  # on this machine, by path; change them at will
        self._releases: dict[Release, list[_Kept]] = {}
        self._failures: dict[str, tuple[SmoldebugError, str]] = {}
        self._lock = threading.RLock()

    def install(
        self,
        release: Release,
        chart: str,
        values: Mapping[str, Json] = {},
        status: str = "deployed",
    ) -> None:
        """A revision that somebody made, of the newest version of a chart; with a pending status
        one that is, or was, under way and has changed no object."""
        made = self.charts[chart][-1]
        self._release(release, made, values, "Install complete", status)

    def fail(self, verb: str, error: SmoldebugError, leaves: str = "") -> None:
        """Answer this call with `error` from now on. An upgrade or rollback `leaves` a revision of
        that status behind: nothing of the objects when it is pending."""
        self._failures[verb] = error, leaves

    def recover(self, verb: str) -> None:
        self._failures.pop(verb, None)

    def history(self, release: Release) -> Sequence[Revision]:
        self._receive("history", release)
        return [each.revision for each in self._known(release)][-256:]

    def objects(self, release: Release, revision: int = 0) -> tuple[Object, ...]:
        self._receive("objects", release, revision=revision)
        return copy.deepcopy(self._at(release, revision).objects)

    def hooks(self, release: Release, revision: int = 0) -> tuple[Hook, ...]:
        self._receive("hooks", release, revision=revision)
        return self._at(release, revision).hooks

    def values(self, release: Release, revision: int = 0) -> dict[str, Json]:
        self._receive("values", release, revision=revision)
        return copy.deepcopy(self._at(release, revision).values)

    def fetch(self, chart: str, version: str, folder: Path) -> Chart:
        self._receive("fetch", Release("", chart), version=version)
        path = Path(chart)
        made = self.archives.get(chart) or self.archives.get(path.name)
        if made is None:
            known = self.charts.get(chart, ()) or self.charts.get(path.name, ())
            fitting = [each for each in known if version in ("", each.version)]
            if not fitting:
                raise ToolError(f"no such chart: {chart} {version}".strip())
            made = fitting[-1]
            if not path.exists():
                path = folder / f"{made.name}-{made.version}.tgz"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(made.digest, encoding="utf-8")
                self.archives[str(path)] = made
        return Chart(path, made.name, made.version, "", made.digest, made.crds)

    def rehearse(self, upgrade: Upgrade) -> Rendered:
        self._receive("rehearse", upgrade.release, upgrade=upgrade)
        self._known(upgrade.release)
        chart = self._chart(upgrade.chart)
        return Rendered(chart.rendered(upgrade.values), chart.hooks)

    def upgrade(self, upgrade: Upgrade, description: str) -> None:
        detail = {"upgrade": upgrade, "description": description}
        if (newest := self._at(upgrade.release, 0).revision).status in PENDING:
            raise ToolError(f"another operation is in progress: revision {newest.number}")
        chart = self._chart(upgrade.chart)
        self._carry_out("upgrade", upgrade.release, chart, upgrade.values, (description, detail))

    def rollback(self, release: Release, revision: int, timeout: float) -> None:
        old = self._at(release, revision)
        chart = FakeChart("", old.revision.chart, old.objects, old.hooks)
        said = f"Rollback to {old.revision.number}", {"revision": revision, "timeout": timeout}
        self._carry_out("rollback", release, chart, old.values, said)

    # --- helpers ----------------------------------------------------------------------------

    def _carry_out(
        self,
        verb: str,
        release: Release,
        chart: FakeChart,
        values: Values,
        said: tuple[str, Mapping[str, Json]],
    ) -> None:
        error, leaves = self._failures.get(verb, (None, "deployed"))
        self.requests.append(Request(verb, "HelmRelease", release.namespace, release.name, said[1]))
        if leaves:
            words = said[0] if error is None or leaves in PENDING else f"failed: {error}"
            self._release(release, chart, values, words, leaves)
        if error is not None:
            raise error

    def _release(
        self, release: Release, chart: FakeChart, values: Values, description: str, status: str
    ) -> None:
        with self._lock:
            kept = self._releases.setdefault(release, [])
            old = next(
                (each for each in reversed(kept) if each.revision.status == "deployed"), None
            )
            called = f"{chart.name}-{chart.version}".lstrip("-")
            number = len(kept) + 1
            made = Revision(number, status, called, "", self.clock.now(), description)
            objects = chart.rendered(values)
            if status not in PENDING:
                self._put(old.objects if old else (), objects)
            if status == "deployed":
                kept[:] = [replace(each, revision=_over(each.revision)) for each in kept]
            kept.append(_Kept(made, objects, copy.deepcopy(dict(values)), chart.hooks))

    def _put(self, old: Sequence[Object], new: Sequence[Object]) -> None:
        for each in new:
            live = self.cluster.objects.get(ref_of(each), {})
            meta = {key: value for key, value in live.get("metadata", {}).items() if key in KEPT}
            status = {"status": live["status"]} if "status" in live else {}
            meta = {"uid": f"uid-{each['metadata']['name']}", **meta, **each["metadata"]}
            self.cluster.put({**copy.deepcopy(each), "metadata": meta, **status})
        for gone in {ref_of(each) for each in old} - {ref_of(each) for each in new}:
            self.cluster.objects.pop(gone, None)

    def _chart(self, chart: Chart) -> FakeChart:
        known = [*self.archives.values(), *(each for some in self.charts.values() for each in some)]
        return next(each for each in known if each.digest == chart.digest)

    def _known(self, release: Release) -> list[_Kept]:
        if release not in self._releases:
            raise NotFound(f"no such release in namespace {release.namespace}: {release.name}")
        return self._releases[release]

    def _at(self, release: Release, revision: int) -> _Kept:
        for each in reversed(self._known(release)):
            if revision in (0, each.revision.number):
                return each
        raise NotFound(f"release {release.name} has no revision {revision}")

    def _receive(self, verb: str, release: Release, **detail: Json) -> None:
        self.requests.append(Request(verb, "HelmRelease", release.namespace, release.name, detail))
        if verb in self._failures:
            raise self._failures[verb][0]


def _over(revision: Revision) -> Revision:
    return replace(revision, status="superseded") if revision.status == "deployed" else revision
