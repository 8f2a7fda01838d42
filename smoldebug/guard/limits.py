"""How much may be changed, how often, how far and when. Data in, sentences out.

A limit can be lifted once by break-glass; what no change may ever be is in `fields.py`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from smoldebug.clock import duration
from smoldebug.guard.leaves import Path, amount, of_change, spoken, steps
from smoldebug.playbook.models import Limits, Rate
from smoldebug.playbook.windows import closed
from smoldebug.records import IN_GIT, OF_RELEASE, Change, ChangeKind, Json, ObjectRef

REPLICA_FIELDS = ("/spec/replicas", "/spec/minReplicas", "/spec/maxReplicas")
_REPLICAS = {steps(field): field for field in REPLICA_FIELDS}

# Numbers that name something: twice a port is no more of it
_PORTS = re.compile(r"(?:.*[_.-])?ports?|.*[a-z]Ports?|.*[_.-]PORTS?|PORTS?", re.ASCII)
_IDS = {
    "number", "runAsUser", "runAsGroup", "fsGroup", "supplementalGroups", "defaultMode", "mode",
    "revision", "generation", "uid", "priority",
}  # fmt: skip
# These restore what was there as a whole, or set no values at all
_UNMEASURED = (
    ChangeKind.ROLLBACK,
    ChangeKind.CREATE_OBJECT,
    ChangeKind.DELETE_OBJECT,
    *OF_RELEASE,
)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run has done so far: limits count over the whole run. `times` are those of its
    changes; `break_glass` is the operator's reason to go over a limit once, "" without one."""

    applied: tuple[Change, ...] = ()
    times: tuple[datetime, ...] = ()
    now: datetime = datetime.min.replace(tzinfo=UTC)
    break_glass: str = ""


def exceeded(
    change: Change, tally: Tally, limits: Limits, elsewhere: Sequence[datetime]
) -> Iterator[str]:
    """Every limit that the change would go over, in words. `elsewhere` are the times of changes
    that other runs on this machine made. A commit or a pull request waits for nobody's window and
    counts its files (`patches.py`), not objects: whoever merges it decides when."""
    if rate := limits.rate:
        yield from _too_often(rate, counted(rate, tally, elsewhere), tally.now)
    if change.kind in IN_GIT:
        return
    if len(objects(change, tally.applied)) > limits.changes:
        yield f"it would change more than limits.changes objects: {limits.changes}"
    if shut := closed(limits.windows, limits.freezes, tally.now):
        yield shut
    yield from _replicas(change, tally.applied, limits)
    yield from _numbers(change, tally.applied, limits)


def objects(change: Change, applied: Sequence[Change]) -> set[ObjectRef]:
    return {each.target for each in (*applied, change) if each.kind not in IN_GIT}


def counted(rate: Rate, tally: Tally, elsewhere: Sequence[datetime]) -> list[datetime]:
    """The changes that count against a rate now; also one of the future, by a clock set back."""
    since = tally.now - timedelta(seconds=rate.per)
    return sorted(each for each in (*tally.times, *elsewhere) if each > since)


def _too_often(rate: Rate, recent: Sequence[datetime], now: datetime) -> Iterator[str]:
    if len(recent) < rate.changes:
        return
    said = f"{rate.changes} change{'' if rate.changes == 1 else 's'} per {rate.per}"
    if rate.changes:
        free = recent[-rate.changes] + timedelta(seconds=rate.per)
        said += f"; the next one in {duration((free - now).total_seconds())}"
    yield f"limits.rate is used up: {said}"


def no_count(change: Change) -> str:
    """Why a replica count is none to go on with, or "". No limit is wide enough for zero."""
    for path, value in of_change(change.after):
        field = _REPLICAS.get(path[:2], "")
        if field and (len(path) > 2 or type(value) is not int or value < 1):
            return f"{field} must be a whole number of at least 1: {value!r}"
    return ""


def counts(change: Change, applied: Sequence[Change]) -> Iterator[tuple[str, int, int]]:
    """Each replica field it sets: the field, the count before the run touched it, the new one. One
    that it removes is left to the API server, which makes it 1."""
    if change.kind is ChangeKind.DELETE_OBJECT:
        return
    gone = {path: 1 for path, _ in of_change(change.before) if path in _REPLICAS}
    kept = {path: value for path, value in of_change(change.after) if path in _REPLICAS}
    first_of = _originals(change, applied) if gone or kept else {}
    for path, value in {**gone, **kept}.items():
        if isinstance(value, int):
            first = first_of[path]
            yield _REPLICAS[path], first if isinstance(first, int) else 1, value


def factor(before: int, after: int) -> float:
    """How many times more or fewer: 3 -> 1 is 3. None counts as one."""
    before, after = max(before, 1), max(after, 1)
    return max(after / before, before / after)


def names_something(path: Path) -> bool:
    """Is a number at this path a name (a port, an id) and no magnitude? An environment variable
    counts by its own name."""
    last = path[-2] if path[-1:] == ("value",) and len(path) > 1 else "".join(path[-1:])
    return is_port(last) or last in _IDS


def is_port(key: str) -> bool:
    """`port`, `targetPort`, `DB_PORT`; neither `report` nor `export`."""
    return bool(_PORTS.fullmatch(key))


def _replicas(change: Change, applied: Sequence[Change], limits: Limits) -> Iterator[str]:
    for field, before, after in counts(change, applied):
        if after > limits.replicas.max:
            yield f"{field} {after} is over limits.replicas.max: {limits.replicas.max}"
        if factor(before, after) > limits.replicas.max_factor:
            yield (
                f"{field} {before} -> {after} is over limits.replicas.max_factor: "
                f"{limits.replicas.max_factor:g}"
            )


def _numbers(change: Change, applied: Sequence[Change], limits: Limits) -> Iterator[str]:
    """Numbers and quantities that grow or shrink too far, over the whole run."""
    if change.kind in _UNMEASURED:
        return
    first_of = _originals(change, applied)
    for path, value in of_change(change.after):
        if path in _REPLICAS or names_something(path) or (new := amount(value)) is None:
            continue
        first = first_of[path]
        old = amount(first)
        if old is not None and old[1] == new[1] and not _near(old[0], new[0], limits.max_factor):
            yield (
                f"{spoken(path)} {first} -> {value} is over limits.max_factor: "
                f"{limits.max_factor:g}"
            )


def _near(old: Decimal, new: Decimal, most: float) -> bool:
    """Zero can only grow from one: nothing is a multiple of it, and nothing may shrink to it."""
    old = old or Decimal(1)
    if old == new:
        return True
    if new == 0 or (old < 0) != (new < 0):
        return False
    return float(max(old / new, new / old)) <= most


def _originals(change: Change, applied: Sequence[Change]) -> dict[Path, Json]:
    """The values before this run touched them: two doublings are a factor of four. What was not
    there is what the run first made of it, and one replica, as the API server fills that in."""
    found: dict[Path, Json] = {}
    for each in (*applied, change):
        if each.target == change.target:
            for path, value in of_change(each.before):
                found.setdefault(path, value)
            for path, value in of_change(each.after):
                found.setdefault(path, 1 if path in _REPLICAS else value)
    return found
