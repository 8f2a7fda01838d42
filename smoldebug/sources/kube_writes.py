"""What every change sent to an API server says of itself: field manager, user agent, a note."""

from dataclasses import dataclass
from typing import Any

from smoldebug import __version__
from smoldebug.records import ObjectRef
from smoldebug.sources.world import Object

MANAGER = "smoldebug"
ANNOTATION = "smoldebug.dev/run"
JSON_PATCH, APPLY_PATCH = "application/json-patch+json", "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Write:
    """A request that may change something, without its body. `note` is `RUN C1`."""

    method: str
    path: str
    content_type: str = "application/json"
    dry_run: bool = False
    note: str = ""

    @property
    def manager(self) -> str:
        """The field manager that this change is recorded under."""
        run = self.note.partition(" ")[0]
        return f"{MANAGER}-{run}" if run else MANAGER

    @property
    def query(self) -> list[tuple[str, str]]:
        """Not for DELETE: its options stand in the body, and a server then ignores these."""
        return [("fieldManager", self.manager)] + ([("dryRun", "All")] if self.dry_run else [])

    @property
    def agent(self) -> str:
        """What the audit log of the API server shows."""
        run = self.note.partition(" ")[0]
        return f"smoldebug/{__version__}" + (f" (run {run})" if run else "")


def ref_of(manifest: Object) -> ObjectRef:
    meta = manifest.get("metadata") or {}
    return ObjectRef(manifest.get("kind", ""), meta.get("namespace", ""), meta.get("name", ""))


def annotated(manifest: Object, note: str) -> Object:
    """The manifest with the note on it."""
    if not note:
        return manifest
    meta = manifest.get("metadata") or {}
    annotations = {**(meta.get("annotations") or {}), ANNOTATION: note}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def note_of(item: Object) -> str:
    """The note of the change that last wrote to an object, "" where none did."""
    return str((item["metadata"].get("annotations") or {}).get(ANNOTATION) or "")


def signed(note: str, live: Object | None = None) -> list[dict[str, Any]]:
    """Operations that leave the note on an object, of which `live` has no annotations."""
    key = ANNOTATION.replace("/", "~1")
    if live is None:
        return [{"op": "add", "path": f"/metadata/annotations/{key}", "value": note}]
    version = (live.get("metadata") or {}).get("resourceVersion")
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION: note}},
    ]
