"""findings: does a first card, taken now, still show something red?"""

from collections.abc import Callable, Sequence
from functools import partial

from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.playbook.models import FindingsCheck
from smoldebug.records import Fact
from smoldebug.untrusted import one_line


def findings(check: FindingsCheck, setting: Setting) -> Check:
    fatal = ("critical",) if check.severity == "critical" else ("critical", "warning")
    label = f"no {' or '.join(fatal)} finding"
    return Check(label, "findings", partial(_look, fatal, setting.red))


def _look(fatal: Sequence[str], red: Callable[[], Sequence[Fact]] | None, sample: int) -> Measured:
    if red is None:
        return inconclusive("nobody looked for findings")
    found = [fact for fact in red() if fact.severity in fatal]
    if not found:
        return met("none", 0.0)
    more = f" (+{len(found) - 1} more)" if found[1:] else ""
    return not_met(f"{one_line(found[0].text, 160)}{more}", float(len(found)), subject=found[0].ref)
