"""The coverage table of a patch: what became of which object, and what a person must look at."""

from collections import Counter
from collections.abc import Sequence

from smoldebug.records import Edited

EDITED = ("changed", "differs")  # what a commit brings; differs: over another value
FINE = ("changed", "already so")
_SAID = {"differs": "replaces another value"}
_ORDER = ("refused", "differs", "skipped", *FINE)  # first what somebody must look at
MOST_OPEN, MOST_FINE = 50, 20  # rows of either kind that are shown


def counted(edited: Sequence[Edited]) -> str:
    """`12 changed, 1 already so, 1 refused`."""
    found = Counter(row.state for row in edited)
    known = [state for state in (*FINE, *_ORDER[:3]) if state in found]
    others = sorted(found.keys() - set(known))
    told = (f"{found[state]} {_SAID.get(state, state)}" for state in (*known, *others))
    return ", ".join(told) or "no object found"


def files(edited: Sequence[Edited]) -> int:
    """How many are edited."""
    return len({row.path for row in edited if row.state in EDITED})


def by_need(edited: Sequence[Edited]) -> list[Edited]:
    """What was refused first, what was already so last; within a state as they came."""
    return sorted(edited, key=lambda row: _ORDER.index(row.state) if row.state in _ORDER else 0)


def reached(edited: Sequence[Edited]) -> list[Edited]:
    return [row for row in by_need(edited) if row.state in (*EDITED, *FINE)]


def left_out(edited: Sequence[Edited]) -> list[Edited]:
    return [row for row in by_need(edited) if row.state not in (*EDITED, *FINE)]


def bounded(edited: Sequence[Edited]) -> list[Edited]:
    """As many as fit a screen, first those that somebody must look at."""
    ordered = by_need(edited)
    unmet = [row for row in ordered if row.state not in FINE]
    return [*unmet[:MOST_OPEN], *ordered[len(unmet) :][:MOST_FINE]]


def place(row: Edited) -> str:
    """`deploy/auth.yaml:14`."""
    return f"{row.path}:{row.line}" if row.line else row.path


def state(row: Edited) -> str:
    """`refused (helm charts/x)`."""
    said = _SAID.get(row.state, row.state)
    return f"{said} ({row.via})" if row.via else said


def outcome(row: Edited) -> str:
    """`refused (helm charts/x): the template takes it from nowhere`."""
    return f"{state(row)}: {row.detail}" if row.detail else state(row)
