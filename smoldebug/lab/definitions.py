"""CustomResourceDefinitions: they are accepted, so that what waits for them goes on. Objects of
these kinds are not served."""

from smoldebug.lab.objects import DEFINITIONS, condition, write_status
from smoldebug.lab.store import Store, timestamp
from smoldebug.sources.world import Object


class DefinitionController:
    def __init__(self, store: Store) -> None:
        self.store = store

    def step(self) -> float:
        for definition in self.store.scan(DEFINITIONS)[0]:
            if not condition(definition, "Established"):
                self._establish(definition)
        return 30.0

    def _establish(self, definition: Object) -> None:
        now, spec = timestamp(self.store.clock.now()), definition.get("spec") or {}
        said = (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
        status = {
            "acceptedNames": spec.get("names") or {},
            "storedVersions": [v["name"] for v in spec.get("versions") or () if v.get("storage")],
            "conditions": [
                {
                    "type": type_,
                    "status": "True",
                    "lastTransitionTime": now,
                    "reason": reason,
                    "message": message,
                }
                for type_, reason, message in said
            ],
        }
        write_status(self.store, DEFINITIONS, definition, status)
