"""A recorded run, once more: the loop of now over the world of then, event by event."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeGuard

import msgspec

from smoldebug.agent import Agent, Signals
from smoldebug.change import Executor, Place
from smoldebug.errors import UnreachableError
from smoldebug.events import (
    AnyEvent,
    ChangeDecided,
    ChangeProposed,
    Continued,
    EvidenceRecorded,
    FirstCard,
    GoalChecked,
    RunEnded,
    RunStarted,
    Stamped,
    ToolAnswered,
    TurnStarted,
    encode,
)
from smoldebug.evidence import EvidenceStore
from smoldebug.notebook import Notebook
from smoldebug.past import Past
from smoldebug.past import past as read_past
from smoldebug.playbook.models import Goal, RunPlan
from smoldebug.playbook.policy import Policy
from smoldebug.records import ChangeKind
from smoldebug.replay.chain import RecordedChain
from smoldebug.replay.recorded import (
    Approvals,
    RecordedApplier,
    RecordedGoal,
    RecordedGuard,
    RecordedTools,
)
from smoldebug.replay.script import NotRecordedError, Script
from smoldebug.run import Crew, run
from smoldebug.toolset import ToolSpec
from smoldebug.untrusted import one_line

# Left out of what must be the same, since a replay takes no time: how long a tool was at work, when
# evidence was numbered, and the seconds that the run took in all.
_UNTIMED = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Now:
    """What a run is made of now: its plan, the tools there are, the policies it was under."""

    plan: RunPlan
    tools: Sequence[ToolSpec]
    policies: Sequence[Policy] = ()


class Nowhere:
    """In place of a journal: what is played again is recorded already."""

    def append(self, stamped: Stamped) -> None:
        pass

    def close(self) -> None:
        pass


def by_the_loop(plan: RunPlan) -> bool:
    """Whether a run can be played again. Edits of a repository, pull requests and upgrades speak
    to more of the world than a journal holds."""
    playbook = plan.playbook
    return not (playbook.edits or playbook.steps or playbook.tools.git)


def again(events: Sequence[Stamped], now: Now) -> Generator[Stamped, None, str]:
    """Yield the events of a recording as each of them happens once more. Returns "", or where and
    how it first went another way: nothing is yielded after that."""
    began = [place for place, each in enumerate(events) if isinstance(each.event, _OPENING)]
    for first, end in zip(began, [*began[1:], len(events)], strict=True):
        opening, part = events[first].event, events[first:end]
        if isinstance(opening, RunStarted) or _resumes(opening):
            difference = yield from _part(opening, part, events[:first], now)
            if difference:
                return difference
        else:  # `runs approve`, `undo`: what somebody did to a run that was over
            yield from part
    return ""


_OPENING = (RunStarted, Continued)


def _resumes(event: AnyEvent) -> TypeGuard[Continued]:
    return isinstance(event, Continued) and event.command == "resume"


def _part(
    opening: RunStarted | Continued, part: Sequence[Stamped], before: Sequence[Stamped], now: Now
) -> Generator[Stamped, None, str]:
    """One process's part of a run. One that was killed is left where it was."""
    script, signals = Script(part), Signals()
    past = None if isinstance(opening, RunStarted) else read_past(before)
    started = opening if isinstance(opening, RunStarted) else read_past(before).started
    crew = crew_of(script, started, now, signals, past, now.plan.playbook.goal)
    stream = run(now.plan, crew, opening, past)
    try:
        for place, recorded in enumerate(part):
            replayed = _next(stream, script, place, signals)
            if difference := _difference(recorded, replayed):
                return f"event {recorded.seq} differs: {difference}"
            yield recorded
        replayed = _next(stream, script, len(part), signals) if script.ended else None
        return f"it goes on after its end: {_said(replayed)}" if replayed else ""
    finally:
        stream.close()  # type: ignore[attr-defined]


def _next(
    stream: Iterator[Stamped], script: Script, place: int, signals: Signals
) -> AnyEvent | str | None:
    """The next event, None after the last one, or why there can be none.

    What the loop decides by the clock it decided between two events: that it looked again at the
    goal, or asked, before it was late; anything else when the next event was all but there.
    """
    script.move(place)
    if not isinstance(script.following, GoalChecked | ChangeDecided):
        script.look_ahead()
    if script.stopped:
        signals.stop.set()
    try:
        found = next(stream, None)
    except NotRecordedError as error:
        return str(error)
    return found.event if found else None


def crew_of(
    script: Script,
    started: RunStarted,
    now: Now,
    signals: Signals,
    past: Past | None,
    measured: Goal,
) -> Crew:
    """The crew of a run whose world is a script. `measured` is the goal of the recording."""
    evidence = EvidenceStore(script)
    notebook = Notebook(evidence)
    specs = [spec for spec in now.tools if spec.family != "builtin"]
    tools = RecordedTools([*specs, *notebook.tools()], evidence, script)
    guard = RecordedGuard(
        now.plan.playbook,
        now.policies,
        context=started.context,
        cluster=started.cluster,
        inputs=now.plan.inputs,
    )
    guard.script = script
    applier = RecordedApplier(script)
    place = Place(script.events[0].run, started.context, started.cluster)
    executor = Executor(guard, dict.fromkeys(ChangeKind, applier), Approvals(script), script, place)
    executor.break_glass = started.break_glass
    agent = Agent(RecordedChain(script, started, past), tools, notebook, executor, signals, script)
    agent.usage = started.limits
    if past is not None:
        agent.take_up(past)
    goal = RecordedGoal(now.plan, measured, script)
    return Crew(goal, agent, _first_card(script), Nowhere(), script, place.run)


def _first_card(script: Script) -> Callable[[], FirstCard] | None:
    """None where the run had none: it used no cluster."""
    ended = script.ended
    lost = ended is not None and ended.status is UnreachableError.status
    if script.peek(FirstCard) is None and (not lost or script.peek(TurnStarted) is not None):
        return None

    def card() -> FirstCard:
        found = script.peek(FirstCard)
        if found is None:
            raise UnreachableError(ended.reason if ended else "")
        return found

    return card


# --- comparing --------------------------------------------------------------------------------


def _difference(recorded: Stamped, replayed: AnyEvent | str | None) -> str:
    """In a sentence, "" where there is none."""
    if isinstance(replayed, str):
        return f"recorded {_said(recorded.event)}; {replayed}"
    if replayed is None:
        return f"recorded {_said(recorded.event)}; the replay has ended"
    then, again = (_comparable(each) for each in (recorded.event, replayed))
    if then == again:
        return ""
    if type(replayed) is not type(recorded.event):
        return f"recorded {_said(recorded.event)}; replayed {_said(replayed)}"
    where, one, other = next(_apart(then, again, type(replayed).__name__))
    return f"{where}: recorded {_short(one)}; replayed {_short(other)}"


def _comparable(event: AnyEvent) -> Any:
    """As plain data, without the times that no clock of a replay could tell."""
    if isinstance(event, EvidenceRecorded):
        event = EvidenceRecorded(replace(event.evidence, at=_UNTIMED))
    elif isinstance(event, ToolAnswered):
        event = msgspec.structs.replace(event, seconds=0.0)
    elif isinstance(event, RunEnded):
        event = msgspec.structs.replace(event, usage=replace(event.usage, seconds=0.0))
    return msgspec.json.decode(encode(event))


def _apart(one: Any, other: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ, with the name of the field: `ToolAnswered.text`."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _apart(one.get(key), other.get(key), f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from _apart(*pair, f"{where}[{index}]")
    elif one != other:
        yield where, one, other


def _said(event: AnyEvent | str | None) -> str:
    """An event in a few words: its name, and the first of what it tells."""
    if event is None or isinstance(event, str):
        return str(event)
    if isinstance(event, ChangeProposed):
        return f"ChangeProposed {event.card.id} {event.card.change.kind} {event.card.change.target}"
    plain: dict[str, Any] = msgspec.json.decode(encode(event))
    words: Iterable[str] = (str(plain[key]) for key in _TELLING if plain.get(key))
    return " ".join([type(event).__name__, _short(" ".join(words))]).strip()


_TELLING = ("turn", "tool", "state", "outcome", "reason", "text")


def _short(value: Any) -> str:
    return one_line(value if isinstance(value, str) else encode(value).decode(), 160)
