"""findings: does a first card, taken now, still show something red?"""

from collections.abc import Callable, Sequence
from functools import partial

from smoldebug.errors import AccessDenied
from smoldebug.events import FirstCard
from smoldebug.goal.check import Check, Measured, Setting, inconclusive, met, not_met
from smoldebug.playbook.models import FindingsCheck
from smoldebug.records import Fact
from smoldebug.untrusted import one_line


def red_lights(card: FirstCard) -> Sequence[Fact]:
    """What is red on a card. Raises AccessDenied when nothing is, but the card saw no pods."""
    blind = next((gap for gap in card.gaps if gap.what == "Pod"), None)
    if blind is not None and not card.red:
        raise AccessDenied(f"pods cannot be seen: {blind.why}")
    return card.red


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
