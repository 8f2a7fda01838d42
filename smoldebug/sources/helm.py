"""Helm as the rest of smoldebug knows it: releases, their revisions, charts. See `helmcli.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from smoldebug.records import Json, ObjectRef

Object = dict[str, Any]
PENDING = ("pending-install", "pending-upgrade", "pending-rollback")  # statuses


@dataclass(frozen=True, slots=True)
class Release:
    """`HelmRelease/NAMESPACE/NAME` is what changes call it."""

    namespace: str
    name: str

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("HelmRelease", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release. `status` is Helm's word: deployed, superseded, failed,
    pending-upgrade, ..."""

    number: int
    status: str
    chart: str  # platform-2.4.0
    app_version: str = ""
    updated: datetime | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart on this machine. `digest` covers every byte of it (`sha256:...`)."""

    path: Path  # folder or .tgz
    name: str
    version: str
    app_version: str
    digest: str
    crds: tuple[str, ...] = ()  # names of what lies in crds/: Helm installs these, and never again


@dataclass(frozen=True, slots=True)
class Hook:
    """An object that Helm creates around an upgrade, and waits for where it is a Job or Pod."""

    ref: ObjectRef
    events: tuple[str, ...]  # pre-upgrade, post-upgrade, pre-rollback ...
    object: Object = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What an upgrade would leave in the cluster."""

    objects: tuple[Object, ...]
    hooks: tuple[Hook, ...] = ()


@dataclass(frozen=True, slots=True)
class Upgrade:
    """`values` are all of the user's: nothing of an earlier revision is added to them."""

    release: Release
    chart: Chart
    values: Mapping[str, Json] = field(default_factory=dict)
    timeout: float = 300.0  # seconds


class Helm(Protocol):
    """One cluster's Helm. All raise NotFound (no such release or revision), ToolError (Helm says
    no, or is not there: with its own words), AccessDenied and UnreachableError."""

    @property
    def version(self) -> str:
        """`3.10.1`, `4.2.3`: found out when first asked for."""
        ...

    def history(self, release: Release) -> Sequence[Revision]:
        """Oldest first, at most the last 256."""
        ...

    def objects(self, release: Release, revision: int = 0) -> tuple[Object, ...]:
        """What a revision (0: the newest) was rendered to, without hooks; each with its
        namespace where its kind has one."""
        ...

    def hooks(self, release: Release, revision: int = 0) -> tuple[Hook, ...]:
        """Those that a revision was rendered to."""
        ...

    def values(self, release: Release, revision: int = 0) -> dict[str, Json]:
        """What the user gave, without the chart's defaults."""
        ...

    def fetch(self, chart: str, version: str, folder: Path) -> Chart:
        """A copy of the chart below `folder`, which Helm is given from there on: of a folder or
        archive of this machine, or pulled. What lies there already is taken as it is."""
        ...

    def rehearse(self, upgrade: Upgrade) -> Rendered:
        """A dry run; nothing is kept."""
        ...

    def upgrade(self, upgrade: Upgrade, description: str) -> None:
        """Carry it out, hooks included, without waiting for rollouts. `description` goes into
        the release's history. A ToolError leaves open how far it came: see `history`."""
        ...

    def rollback(self, release: Release, revision: int, timeout: float) -> None:
        """Back to a revision, as a new one; likewise."""
        ...
