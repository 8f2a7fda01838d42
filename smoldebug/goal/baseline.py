"""What is normal before the steps: noted by the checks, and told in words."""

from collections.abc import Iterator, Mapping

from smoldebug.errors import SmoldebugError
from smoldebug.goal.check import Check
from smoldebug.goal.measure import side_by_side
from smoldebug.goal.rows import Key
from smoldebug.records import Json, Observation
from smoldebug.signals.words import count

EXAMPLES = 5  # error lines of a service that are told in words


def note(checks: Mapping[Key, Check]) -> Observation:
    """Have every check take what is now as normal. What one could not see is a gap."""
    rows: dict[str, dict[str, Json]] = {}
    gaps = []
    noted = side_by_side(_noted, list(checks.values()))
    for (service, _), check, found in zip(checks, checks.values(), noted, strict=True):
        name = str(service or "goal")
        row = rows.setdefault(name, {})
        if isinstance(found, SmoldebugError):
            gaps.append(f"{name} {check.label}: {found}")
        else:
            row |= found
    lines = [line for name, row in rows.items() for line in _said(name, row)]
    return Observation("\n".join(lines) or "nothing to note", rows, "probe", "goal", tuple(gaps))


def _noted(check: Check) -> dict[str, Json] | SmoldebugError:
    try:
        return check.mark() if check.mark else {}
    except SmoldebugError as error:
        return error


def _said(name: str, row: Mapping[str, Json]) -> Iterator[str]:
    errors = row.get("errors", [])
    words = [count(row["restarts"], "restart")] if "restarts" in row else []
    words += [count(len(errors), "known error shape")] if "errors" in row else []
    yield f"{name}: {', '.join(words) or 'as it is'}"
    yield from (f"  known: {line}" for line in errors[:EXAMPLES])
