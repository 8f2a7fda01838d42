"""What may be read: a cluster as far as a playbook lets it be seen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoldebug.errors import AccessDenied
from smoldebug.playbook.models import Playbook
from smoldebug.records import Json, ObjectRef
from smoldebug.sources.helm import Chart, Helm, Hook, Release, Rendered, Revision, Upgrade
from smoldebug.sources.kinds import find
from smoldebug.sources.world import Cluster, Completed, Listed, Object, Reply, WatchStream

PROPOSE = "a tool changes nothing: it returns a Change"


class ScopedCluster:
    """A cluster as far as the playbook lets it be seen. Binds tools, first card and rules alike.

    What `scope.namespaces` or `tools.kubectl.read` leave out raises AccessDenied, which readers
    report as a gap. Goals and the executor use the unscoped cluster: their targets are declared.
    """

    def __init__(self, cluster: Cluster, playbook: Playbook) -> None:
        self._cluster, self.context, self.server = cluster, cluster.context, cluster.server
        self._namespaces = playbook.scope.namespaces
        read = playbook.tools.kubectl.read if playbook.tools.kubectl else []
        self._kinds = {plural(kind) for kind in read}

    def _check(self, kind: str, namespace: str) -> None:
        name, known = plural(kind), find(kind)
        if name not in self._kinds if self._kinds else name == "secrets":
            raise AccessDenied(
                f"the playbook does not let it read {name}",
                needs=f"{name} in tools.kubectl.read",
            )
        clustered = known is not None and not known.namespaced
        if self._namespaces and not clustered and namespace not in self._namespaces:
            where = f"namespace {namespace}" if namespace else "all namespaces"
            raise AccessDenied(
                f"{where} is outside the playbook's scope: {', '.join(self._namespaces)}",
                needs=f"{namespace or '*'} in scope.namespaces",
            )

    def get(self, ref: ObjectRef) -> Object:
        self._check(ref.kind, ref.namespace)
        return self._cluster.get(ref)

    def list(
        self, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        self._check(kind, namespace)
        return self._cluster.list(kind, namespace, labels=labels, fields=fields)

    def listed(self, kind: str, namespace: str = "") -> Listed:
        self._check(kind, namespace)
        return self._cluster.listed(kind, namespace)

    def watch(self, kind: str, namespace: str, *, since: str, seconds: float) -> WatchStream:
        self._check(kind, namespace)
        return self._cluster.watch(kind, namespace, since=since, seconds=seconds)

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        previous: bool = False,
        lines: int | None = None,
        since: float | None = None,
    ) -> str:
        self._check("pods", namespace)
        return self._cluster.logs(
            namespace, pod, container, previous=previous, lines=lines, since=since
        )

    def patch(
        self,
        ref: ObjectRef,
        operations: Sequence[Mapping[str, Any]],
        *,
        dry_run: bool,
        note: str,
        subresource: str = "",
    ) -> Object:
        raise AccessDenied(PROPOSE)

    def apply(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        raise AccessDenied(PROPOSE)

    def create(self, manifest: Object, *, dry_run: bool, note: str) -> Object:
        raise AccessDenied(PROPOSE)

    def delete(self, ref: ObjectRef, *, uid: str, revision: str, dry_run: bool, note: str) -> None:
        raise AccessDenied(PROPOSE)

    def whoami(self) -> str:
        return self._cluster.whoami()

    def proxy(self, ref: ObjectRef, port: int | str, path: str, timeout: float) -> Reply:
        self._check(ref.kind, ref.namespace)
        return self._cluster.proxy(ref, port, path, timeout)

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], timeout: float
    ) -> Completed:
        self._check("pods", namespace)
        return self._cluster.exec(namespace, pod, container, argv, timeout)


class ScopedHelm:
    """The Helm releases that a playbook lets be read: those in its namespaces."""

    def __init__(self, helm: Helm, playbook: Playbook) -> None:
        self._helm, self._namespaces = helm, playbook.scope.namespaces

    @property
    def version(self) -> str:
        return self._helm.version

    def history(self, release: Release) -> Sequence[Revision]:
        return self._seen(release).history(release)

    def objects(self, release: Release, revision: int = 0) -> tuple[Object, ...]:
        return self._seen(release).objects(release, revision)

    def hooks(self, release: Release, revision: int = 0) -> tuple[Hook, ...]:
        return self._seen(release).hooks(release, revision)

    def values(self, release: Release, revision: int = 0) -> dict[str, Json]:
        return self._seen(release).values(release, revision)

    def fetch(self, chart: str, version: str, folder: Path) -> Chart:
        raise AccessDenied(PROPOSE)

    def rehearse(self, upgrade: Upgrade) -> Rendered:
        raise AccessDenied(PROPOSE)

    def upgrade(self, upgrade: Upgrade, description: str) -> None:
        raise AccessDenied(PROPOSE)

    def rollback(self, release: Release, revision: int, timeout: float) -> None:
        raise AccessDenied(PROPOSE)

    def _seen(self, release: Release) -> Helm:
        if self._namespaces and release.namespace not in self._namespaces:
            raise AccessDenied(
                f"namespace {release.namespace} is outside the playbook's scope: "
                f"{', '.join(self._namespaces)}",
                needs=f"{release.namespace} in scope.namespaces",
            )
        return self._helm


def plural(kind: str) -> str:
    """The resource name of a Kind, plural or short name: `hpa` -> horizontalpodautoscalers."""
    if known := find(kind):
        return known.plural
    word = kind.lower()  # a custom resource
    if word.endswith("s") and not word.endswith("ss"):
        return word
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"
