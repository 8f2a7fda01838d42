"""Changes of Kubernetes objects: guarded by uid and by the values they replace."""

from collections.abc import Callable
from dataclasses import replace

from smoldebug.appliers import differences, surroundings
from smoldebug.appliers.differences import Reader, masked, tidy
from smoldebug.appliers.manifests import manifest_of, without_addresses
from smoldebug.appliers.protocol import Preview
from smoldebug.clock import Clock, SystemClock
from smoldebug.errors import ChangeRefused, Conflict, NotFound, UnreachableError
from smoldebug.fieldvalues import contains
from smoldebug.kubectl import field_diff, kubectl_command, object_diff
from smoldebug.pointers import lookup, moved, operations
from smoldebug.records import Change, ChangeKind, Json, Surroundings
from smoldebug.redact import Redactor
from smoldebug.sources.kube_writes import note_of
from smoldebug.sources.world import Cluster, Object

_WHOLE = (ChangeKind.CREATE_OBJECT, ChangeKind.DELETE_OBJECT, ChangeKind.APPLY_OBJECT)
ATTEMPTS = 6  # for one change, while others keep writing to the same object


class KubeApplier:
    """Sends a change as a JSON patch, an apply, a create or a delete, and reads it back.

    Where somebody else wrote to the object since it was read, but to none of the fields touched,
    it is read and sent again.
    """

    def __init__(
        self, cluster: Callable[[], Cluster], kubeconfig: str = "", clock: Clock | None = None
    ) -> None:
        self._cluster, self._kubeconfig = cluster, kubeconfig
        self._clock = clock or SystemClock()

    def look(self, change: Change) -> Surroundings:
        return surroundings.look(self._cluster(), change)

    def preview(self, change: Change, note: str, *, ask: bool = True) -> Preview:
        if ask:
            live, answer = self._send(change, note, dry_run=True)
        else:
            live, answer = self._live(change, note), None
        masks = Redactor()
        told = replace(
            change,
            before=_shown(change, masks),
            after=masked(change, change.after, masks),
            manifest=masks.json(change.manifest),
        )
        also = differences.also_changed(change, live, answer) if live and answer else []
        accepted = f"accepted · also changes: {', '.join(also)}" if also else "accepted"
        return Preview(
            field_diff(told),
            accepted if ask else "not asked for: approval is never",
            kubectl_command(told, self._cluster().context, self._kubeconfig),
            object_diff(tidy(live, masks), tidy(answer, masks)) if ask else "",
        )

    def apply(self, change: Change, note: str) -> str:
        live, answer = self._send(change, note, dry_run=False)
        before, after = _version(live), _version(answer)
        if live is None:
            return f"created at resourceVersion {after}"
        return f"resourceVersion {before}→{after}" if answer else f"deleted at {before}"

    def renewed(self, change: Change) -> Change | None:
        if change.kind in _WHOLE:
            return None
        found = self._cluster().get(change.target)
        if change.uid and _uid(found) != change.uid:
            return None
        now = {path: lookup(found, path) for path in (*change.before, *change.after)}
        before = {path: value for path, value in now.items() if value is not None}
        if before in (dict(change.before), dict(change.after)):
            return None
        return replace(change, before=before)

    def holds(self, change: Change, note: str) -> bool:
        """An object that was created is ours by its note, and one that was to be made again is
        there by its uid if it was never deleted. One that is being deleted, which nobody can
        stop, is deleted."""
        try:
            found = self._cluster().get(change.target)
        except NotFound:
            return change.kind is ChangeKind.DELETE_OBJECT
        known = bool(change.uid) and _uid(found) == change.uid
        other = bool(change.uid) and not known
        going = "deletionTimestamp" in found["metadata"]
        if change.kind is ChangeKind.DELETE_OBJECT:
            return other or going
        if change.kind is ChangeKind.CREATE_OBJECT:
            wanted = without_addresses(manifest_of(change))
            return not going and (known or note_of(found) == note) and contains(found, wanted)
        return not other and not moved(change.after, (*change.before, *change.after), found)

    def drift(self, change: Change, note: str) -> str:
        try:
            found = self._cluster().get(change.target)
        except NotFound:
            gone = change.kind is ChangeKind.DELETE_OBJECT
            return "" if gone else f"{change.target} does not exist any more"
        if change.kind is ChangeKind.DELETE_OBJECT:
            if "deletionTimestamp" in found["metadata"]:
                return f"{change.target} is still being deleted"
            return f"somebody has made another {change.target} since"
        if change.kind is ChangeKind.CREATE_OBJECT:
            return "\n".join(self._not_ours(change, found, note))
        if change.uid and _uid(found) != change.uid:
            return f"somebody has made another {change.target} since"
        return "\n".join(differences.since(change, found, self._reader(note)))

    # --- sending ----------------------------------------------------------------------------

    def _send(
        self, change: Change, note: str, *, dry_run: bool
    ) -> tuple[Object | None, Object | None]:
        """The object before and after; None is one that was, or is, not there."""
        final = change.kind in (ChangeKind.APPLY_OBJECT, ChangeKind.CREATE_OBJECT)
        left = 0 if final else ATTEMPTS
        while True:
            live, left = self._live(change, note), left - 1
            try:
                return live, self._sent(change, live, note, dry_run=dry_run)
            except Conflict:
                if left <= 0:
                    raise

    def _sent(
        self, change: Change, live: Object | None, note: str, *, dry_run: bool
    ) -> Object | None:
        cluster = self._cluster()
        if live is None:
            return _create(cluster, manifest_of(change), dry_run=dry_run, note=note)
        if change.kind is ChangeKind.DELETE_OBJECT:
            uid, revision = _uid(live), _version(live)
            cluster.delete(change.target, uid=uid, revision=revision, dry_run=dry_run, note=note)
            return None
        if change.kind is ChangeKind.APPLY_OBJECT:
            manifest = manifest_of(change)  # with its uid, or one that is gone would be made anew
            manifest["metadata"]["uid"] = _uid(live)
            return cluster.apply(manifest, dry_run=dry_run, note=note)
        return cluster.patch(
            change.target,
            operations(change, live),
            dry_run=dry_run,
            note=note,
            subresource=(
                "ephemeralcontainers" if change.kind is ChangeKind.DEBUG_CONTAINER else ""
            ),
        )

    def _live(self, change: Change, note: str) -> Object | None:
        """The object as it is, None where it is to be created. Raises ChangeRefused when it is
        not to be had, Conflict when it is not as the change found it."""
        if change.kind is ChangeKind.CREATE_OBJECT:
            return None
        try:
            found = self._cluster().get(change.target)
        except UnreachableError as error:
            raise ChangeRefused(f"it was not sent: {error}") from error
        if change.uid and _uid(found) != change.uid:
            raise Conflict(f"somebody has made another {change.target} since it was read")
        if change.kind is ChangeKind.DELETE_OBJECT:
            problems = self._not_ours(change, found, note)
        else:
            problems = differences.before_it(change, found, self._reader(note))
        if problems:
            raise Conflict(f"it has changed since it was read: {'; '.join(problems)}")
        return found

    def _not_ours(self, change: Change, found: Object, note: str) -> list[str]:
        """What makes a live object another one than a change created, or is to delete. Without a
        uid to tell, it must carry the run's note."""
        run = note.partition(" ")[0]
        if not change.uid and note_of(found).partition(" ")[0] != run:
            return [f"{change.target} was not made by this run"]
        manifest, now = without_addresses(manifest_of(change)), found
        if change.uid:
            now = without_addresses(manifest_of(replace(change, before={"": found})))
        return differences.from_manifest(change, manifest, now, found, self._reader(note))

    def _reader(self, note: str) -> Reader:
        return Reader(note, self._clock.now())


def _shown(change: Change, masks: Redactor) -> dict[str, Json]:
    """What a change replaces; of a whole object, not what a server keeps for itself: nobody would
    find the rest on a card."""
    told = masked(change, change.before, masks)
    if isinstance(whole := change.before.get(""), dict) and "metadata" in whole:
        told[""] = tidy(whole, masks)
    return told


def _create(cluster: Cluster, manifest: Object, *, dry_run: bool, note: str) -> Object:
    try:
        return cluster.create(manifest, dry_run=dry_run, note=note)
    except ChangeRefused as error:
        elsewhere = without_addresses(manifest)
        if elsewhere == manifest or "allocated" not in str(error):
            raise
        return cluster.create(elsewhere, dry_run=dry_run, note=note)


def _uid(item: Object) -> str:
    return str(item["metadata"].get("uid") or "")


def _version(item: Object | None) -> str:
    return str(((item or {}).get("metadata") or {}).get("resourceVersion") or "?")
