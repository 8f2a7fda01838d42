"""The coverage table of a patch: what became of which object, and what a person must look at."""

from collections import Counter
from collections.abc import Sequence

from smoldebug.records import Edited

FINE = ("changed", "already so")
_ORDER = ("refused", "differs", "skipped", *FINE)  # first what somebody must look at
MOST_OPEN, MOST_FINE = 50, 20  # rows of either kind that are shown


def counted(edited: Sequence[Edited]) -> str:
    """`12 changed, 1 already so, 1 refused`."""
    found = Counter(row.state for row in edited)
    known = [state for state in (*FINE, *_ORDER[:3]) if state in found]
    others = sorted(found.keys() - set(known))
    return ", ".join(f"{found[state]} {state}" for state in (*known, *others)) or "no object found"


def files(edited: Sequence[Edited]) -> int:
    """How many were changed."""
    return len({row.path for row in edited if row.state == "changed"})


def by_need(edited: Sequence[Edited]) -> list[Edited]:
    """What was refused first, what was already so last; within a state as they came."""
    return sorted(edited, key=lambda row: _ORDER.index(row.state) if row.state in _ORDER else 0)


def open_rows(edited: Sequence[Edited]) -> list[Edited]:
    """What the edit did not reach, or found to be otherwise."""
    return [row for row in by_need(edited) if row.state not in FINE]


def fine_rows(edited: Sequence[Edited]) -> list[Edited]:
    return [row for row in by_need(edited) if row.state in FINE]


def place(row: Edited) -> str:
    """`deploy/auth.yaml:14`."""
    return f"{row.path}:{row.line}" if row.line else row.path


def outcome(row: Edited) -> str:
    """`refused: the template takes it from nowhere (helm charts/x)`."""
    said = f"{row.state}: {row.detail}" if row.detail else row.state
    return f"{said} ({row.via})" if row.via else said
