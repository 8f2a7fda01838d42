"""Taking samples: checks side by side, and what an error means."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from smoldebug.errors import AccessDenied, NotFound, SmoldebugError, UnreachableError
from smoldebug.goal.check import Check, Measured
from smoldebug.records import CheckResult, ObjectRef, Outcome
from smoldebug.untrusted import one_line

A = TypeVar("A")
B = TypeVar("B")
WORKERS = 8  # checks measured at the same time
SAYS_LIMIT = 300  # characters of what a check says; much of it comes from the world


@dataclass(frozen=True, slots=True)
class Result:
    """`check` is None for one that is left out."""

    check: CheckResult | None
    unreachable: bool = False


def side_by_side(do: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """Results in order; a single one needs no thread."""
    if len(items) < 2:
        return [do(item) for item in items]
    with ThreadPoolExecutor(min(WORKERS, len(items)), "check") as pool:
        return list(pool.map(do, items))


def measure(check: Check, sample: int, service: ObjectRef | None) -> Result:
    """One check, once."""
    error: SmoldebugError | None = None
    seen: Measured | None
    try:
        seen = check.measure(sample)
    except SmoldebugError as raised:
        error, seen = raised, _meaning(raised)
    if seen is None:
        return Result(None)
    result = CheckResult(
        check.label,
        check.kind,
        seen.outcome,
        one_line(seen.says, SAYS_LIMIT),
        seen.value,
        seen.subject or check.subject,
        seen.route,
        seen.pending,
        str(service or ""),
    )
    return Result(result, isinstance(error, UnreachableError))


def failed(label: str, error: SmoldebugError) -> Result:
    """That something could not even be begun to be measured."""
    says = one_line(_meaning(error).says, SAYS_LIMIT)
    result = CheckResult(label, "each_service", Outcome.INCONCLUSIVE, says)
    return Result(result, isinstance(error, UnreachableError))


def _meaning(error: SmoldebugError) -> Measured:
    """The one place where an error becomes an outcome: what is not there is not met, what could
    not be seen is inconclusive."""
    says = str(error)
    if isinstance(error, NotFound):
        return Measured(Outcome.NOT_MET, says)
    if isinstance(error, AccessDenied) and error.needs not in says:
        says += f" (needs: {error.needs})"
    return Measured(Outcome.INCONCLUSIVE, says)
