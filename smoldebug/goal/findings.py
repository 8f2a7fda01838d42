"""findings: does a first card, taken now, still show something red?"""

import re
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
    about = f" about {check.target}" if check.target else ""
    label = f"no {' or '.join(fatal)} finding{about}"

    def matters(fact: Fact) -> bool:
        return fact.severity in fatal and (not check.target or belongs(fact.ref, check.target))

    return Check(label, "findings", partial(_look, matters, setting.red))


def belongs(ref: str, target: str) -> bool:
    """Whether an object is the target or one of its pods, told by the names controllers give."""
    if ref == target:
        return True
    kind, _, rest = target.partition("/")
    suffix = "-[a-z0-9]+-[a-z0-9]{5}" if kind == "Deployment" else "-[a-z0-9]+"
    return re.fullmatch(f"Pod/{re.escape(rest)}{suffix}", ref) is not None


def _look(
    matters: Callable[[Fact], bool], red: Callable[[], Sequence[Fact]] | None, sample: int
) -> Measured:
    if red is None:
        return inconclusive("nobody looked for findings")
    found = [fact for fact in red() if matters(fact)]
    if not found:
        return met("none", 0.0)
    more = f" (+{len(found) - 1} more)" if found[1:] else ""
    return not_met(f"{one_line(found[0].text, 160)}{more}", float(len(found)), subject=found[0].ref)
