"""All and any of three outcomes: what is known decides, what is missing never counts as met."""

from collections.abc import Collection

from smoldebug.records import Outcome

MET, NOT_MET, INCONCLUSIVE = Outcome.MET, Outcome.NOT_MET, Outcome.INCONCLUSIVE


def all_of(outcomes: Collection[Outcome]) -> Outcome:
    """One that is not met decides; else one that is missing; nothing at all is inconclusive."""
    if NOT_MET in outcomes:
        return NOT_MET
    return INCONCLUSIVE if INCONCLUSIVE in outcomes or not outcomes else MET


def any_of(outcomes: Collection[Outcome]) -> Outcome:
    """One that is met decides; else one that is missing; nothing at all is inconclusive."""
    if MET in outcomes:
        return MET
    return INCONCLUSIVE if INCONCLUSIVE in outcomes or not outcomes else NOT_MET
