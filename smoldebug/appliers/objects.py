"""Changes of Kubernetes objects: guarded by uid and by the values they replace."""

from collections.abc import Callable
from dataclasses import replace

from smoldebug.appliers.protocol import Preview
from smoldebug.errors import ChangeRefused, UnreachableError
from smoldebug.kubectl import field_diff, kubectl_command, lookup, operations
from smoldebug.records import Change, Surroundings
from smoldebug.redact import Redactor
from smoldebug.sources.world import Cluster, Object


class KubeApplier:
    """JSON patches guarded by uid and by the before-values of exactly the fields touched."""

    def __init__(self, cluster: Callable[[], Cluster], kubeconfig: str = "") -> None:
        self._cluster, self._kubeconfig = cluster, kubeconfig

    def look(self, change: Change) -> Surroundings:
        return Surroundings()

    def preview(self, change: Change, note: str) -> Preview:
        cluster = self._cluster()
        self._live(change)
        cluster.patch(change.target, operations(change), dry_run=True, note=note)
        masks = Redactor()
        told = replace(change, before=masks.fields(change.before), after=masks.fields(change.after))
        command = kubectl_command(told, cluster.context, self._kubeconfig)
        return Preview(field_diff(told), "accepted", command)

    def apply(self, change: Change, note: str) -> str:
        before = self._live(change)["metadata"].get("resourceVersion", "?")
        patched = self._cluster().patch(change.target, operations(change), dry_run=False, note=note)
        after = patched["metadata"].get("resourceVersion", "?")
        return f"resourceVersion {before}→{after}"

    def _live(self, change: Change) -> Object:
        """The object now. Raises ChangeRefused when it is not to be had, or when a field that the
        change adds is there already: JSON patch has no test for that, and would overwrite it."""
        try:
            found = self._cluster().get(change.target)
        except UnreachableError as error:
            raise ChangeRefused(f"it was not sent: {error}") from error
        for path in change.after:
            if path not in change.before and lookup(found, path) is not None:
                raise ChangeRefused(f"somebody else has set it meanwhile: {path}")
        return found

    def holds(self, change: Change, note: str) -> bool:
        found = self._cluster().get(change.target)
        if change.uid and found["metadata"].get("uid") != change.uid:
            return False
        paths = dict.fromkeys((*change.before, *change.after))
        return all(lookup(found, path) == change.after.get(path) for path in paths)

    def drift(self, change: Change, note: str) -> str:
        return ""
