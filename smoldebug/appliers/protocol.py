"""What `change.py` asks of whoever carries out a family of changes."""

from dataclasses import dataclass
from typing import Protocol

from smoldebug.records import Change, Surroundings


@dataclass(frozen=True, slots=True)
class Preview:
    diff: str  # of the touched fields
    dry_run: str  # "accepted", or why there is none
    command: str  # what a person would type
    full_diff: str = ""  # of the whole object, live against what the server would keep


class Applier(Protocol):
    """`note` names the change to the world: `RUN C1`, `RUN undo C1`.

    All raise ChangeRefused for a clear no (nothing happened), NotFound and AccessDenied likewise;
    any other SmoldebugError means that nobody knows.
    """

    def look(self, change: Change) -> Surroundings:
        """What is around the target, for the guard."""
        ...

    def preview(self, change: Change, note: str, *, ask: bool = True) -> Preview:
        """`ask` the server for a dry run, where it has one."""
        ...

    def renewed(self, change: Change) -> Change | None:
        """The same change from how things are now; None where that makes no sense any more."""
        ...

    def apply(self, change: Change, note: str) -> str:
        """Carry it out; returns a short detail such as `resourceVersion 12→15`."""
        ...

    def holds(self, change: Change, note: str) -> bool:
        """Read back: does the world now have the change's `after`?"""
        ...

    def drift(self, change: Change, note: str) -> str:
        """What stands between an applied change and its undo: "" when each field it set still is
        as it set it, else before, ours and now of the fields that are not, and whose they are."""
        ...
