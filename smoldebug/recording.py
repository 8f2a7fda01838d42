"""Events on their way out: stamped, and on the disk before whoever made them goes on."""

from collections.abc import Iterator

from smoldebug.change import Executor
from smoldebug.errors import SmoldebugError
from smoldebug.events import PASSING, AnyEvent, Note, Stamp, Stamped
from smoldebug.journal import Writes


def recorded(
    events: Iterator[AnyEvent], journal: Writes, executor: Executor, stamp: Stamp
) -> Iterator[Stamped]:
    """Each event stamped, and journaled before the next one is asked for.

    From the first that cannot be written (a full disk, a folder that is read-only) nothing new is
    changed: what undoes a change could not be found again. What was changed is still taken back.
    """
    for event in events:
        stamped = stamp(event)
        if not (executor.unrecorded or isinstance(event, PASSING)):
            try:
                journal.append(stamped)
            except SmoldebugError as error:
                executor.unrecorded = str(error)
                yield stamp(Note(f"{error}: from here on nothing new is changed", "critical"))
        yield stamped
