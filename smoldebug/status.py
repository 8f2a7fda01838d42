"""How a command ended, as the shell and CI see it. The table is docs/exit-codes.md's source."""

from collections.abc import Iterable
from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit codes of every command. They are an API: never renumber."""

    MET = 0  # goal met and verified; scan: no finding
    NOT_MET = 1  # goal not met, report written; scan: findings
    USAGE = 2  # bad usage, playbook or input; nothing was run
    INCONCLUSIVE = 3  # baseline broken, data missing, checks disagree
    UNDONE = 4  # goal not met, changes undone and verified
    UNDO_FAILED = 5  # goal not met, undo failed or unverified: page a human
    LIMIT = 6  # a limit (steps, time, cost, changes) stopped it
    NEEDS_APPROVAL = 7  # a change needs approval and nobody can answer
    UNREACHABLE = 8  # cluster, metrics or model unreachable
    INTERRUPTED = 130  # Ctrl-C or SIGTERM; state saved


#: Where several apply (and over the cells of a matrix), the first of these wins.
PRECEDENCE = (
    ExitStatus.UNDO_FAILED,
    ExitStatus.INTERRUPTED,
    ExitStatus.UNDONE,
    ExitStatus.LIMIT,
    ExitStatus.NEEDS_APPROVAL,
    ExitStatus.UNREACHABLE,
    ExitStatus.INCONCLUSIVE,
    ExitStatus.NOT_MET,
    ExitStatus.MET,
)


def worst(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """The status that speaks for several. USAGE comes before anything ran, so it outranks all."""
    found = set(statuses)
    if ExitStatus.USAGE in found:
        return ExitStatus.USAGE
    return next(status for status in PRECEDENCE if status in found)
