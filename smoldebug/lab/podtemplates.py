"""Pod templates: making pods of them, and when two of them mean the same."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from smoldebug.lab.objects import MANAGER, PODS, Recorder, owner_reference
from smoldebug.lab.store import ApiError, Store, clone
from smoldebug.sources.world import Object

RETRY = 5.0  # seconds after a pod that could not be created


class PodMaker:
    """Creates a controller's pods; after a refusal not before a while: no quota gives way soon."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self.store, self.recorder = store, recorder
        self._not_before: dict[str, float] = {}  # uid of the owner -> monotonic seconds

    def create(self, owner: Object, pod: Object, failed: str = "Error creating") -> Object | None:
        """The new pod; None where there is none now, which an event tells (`failed`: why)."""
        meta, now = owner["metadata"], self.store.clock.monotonic()
        if self._not_before.get(meta["uid"], now) > now:
            return None
        try:
            return self.store.create(PODS, meta["namespace"], pod, manager=MANAGER)
        except ApiError as error:
            self.recorder.warning(owner, "FailedCreate", f"{failed}: {error}")
            self._not_before[meta["uid"]] = now + RETRY
            return None


def pod_of(owner: Object, labels: Mapping[str, str] | None = None) -> Object:
    """A pod of the owner's template, with more `labels`; its name is made of the owner's."""
    template = clone(owner["spec"]["template"])
    meta = {k: v for k, v in template.get("metadata", {}).items() if k != "creationTimestamp"}
    meta["labels"] = {**(meta.get("labels") or {}), **(labels or {})}
    meta["generateName"] = owner["metadata"]["name"] + "-"
    meta["ownerReferences"] = [owner_reference(owner)]
    return {"metadata": meta, "spec": template["spec"]}


def digest(template: Object) -> str:
    """Templates that mean the same have the same: a client may send null for what it leaves out."""
    text = json.dumps(_said(template), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _said(value: Any) -> Any:
    """The value without what is empty."""
    if isinstance(value, dict):
        said = {name: _said(part) for name, part in value.items()}
        return {name: part for name, part in said.items() if part not in (None, "", {}, [])}
    return [_said(part) for part in value] if isinstance(value, list) else value
