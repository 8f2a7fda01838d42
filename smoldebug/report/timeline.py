"""What happened when: one line per event that a reader of an incident cares about."""

from collections.abc import Iterable, Iterator

from smoldebug.coverage import counted
from smoldebug.events import (
    AnyEvent,
    Blamed,
    ChangeDecided,
    ChangeProposed,
    ChangeSettled,
    Continued,
    Drafted,
    FirstCard,
    GoalChecked,
    ModelAnswered,
    ModelSwitched,
    Note,
    PhaseBegan,
    RunEnded,
    Stamped,
    ToolAnswered,
    UndoBegan,
)
from smoldebug.report.words import goal_words, summary
from smoldebug.untrusted import one_line

WIDTH = 120  # characters of what happened


def timeline(events: Iterable[Stamped]) -> list[str]:
    """`   12.3s  step 4  fetch_logs -> 312 lines [E3]`; seconds that somebody worked on it."""
    lines = []
    goal = ""
    for stamped in events:
        if isinstance(stamped.event, Continued):
            lines.append(f"{stamped.at:%Y-%m-%d %H:%M:%S} UTC")
        for words in _words(stamped.event):
            if isinstance(stamped.event, GoalChecked) and words == goal:
                continue  # the same measured again is no news
            goal = words if isinstance(stamped.event, GoalChecked) else goal
            lines.append(f"{stamped.elapsed:8.1f}s  {one_line(words, WIDTH)}")
    return lines


def _words(event: AnyEvent) -> Iterator[str]:
    match event:
        case GoalChecked(verdict=verdict):
            yield f"goal {goal_words(verdict)}"
        case FirstCard():
            for kind, facts in (("changed", event.changed), ("red", event.red)):
                for fact in facts:
                    since = f" at {fact.at:%H:%M:%S}" if fact.at else ""
                    yield f"{kind}{since}: {fact.text}"
        case ToolAnswered():
            cite = f"[{event.evidence}] " if event.evidence else ""
            failed = "" if event.ok else "FAILED "
            yield f"step {event.turn}  {event.tool} -> {failed}{cite}{event.text}"
        case Note():
            yield event.text
        case Continued():
            yield f"{event.command} by {event.who}"
        case UndoBegan():
            yield f"taking back what was changed: {event.reason}"
        case RunEnded():
            yield f"ended: {event.outcome}, {event.reason}"
        case _:
            yield from _step(event)


def _step(event: AnyEvent) -> Iterator[str]:
    match event:
        case PhaseBegan():
            yield f"{event.phase} began"
        case Blamed(explanation=""):
            yield event.blame.reason
        case ModelAnswered() if event.error:
            yield f"{event.model} did not answer: {event.error}"
        case ModelSwitched():
            yield f"model from {event.model} to {event.to}: {event.why}"
        case Drafted():
            yield f"edited: {counted(event.edited)} in {event.repository}"
        case ChangeProposed(card=card):
            yield f"{card.id} proposed: {summary(card.change)}"
        case ChangeDecided(decision=decision):
            yield f"{event.card} {decision}"
        case ChangeSettled():
            yield f"{event.card} {event.state}: {event.detail}"
