"""Whatever point a process is killed at, whoever takes its run up ends it well: no change is made
twice, none is lost, and what is taken back is as it was."""

import random
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import pytest
from crashes import Job, Play, Point, play
from crashlab import STORIES, CrashLab, Story, crash_lab

from smoldebug import journal
from smoldebug.events import (
    AnyEvent,
    ChangeIntended,
    ChangeProposed,
    ChangeSettled,
    Stamped,
    UndoBegan,
    UndoIntended,
)
from smoldebug.ledger import ledger
from smoldebug.status import ExitStatus

SEED = 3
Killed = tuple[str, Point]  # a command, and where
UNDO = ("undo", "last", "-y")
RESUME = ("resume",)  # with time for free
FROM_THE_START = "scale"  # the other stories differ from their change on


@dataclass(frozen=True)
class Crash:
    """Commands, each killed at its point; then somebody takes up what they left."""

    story: str
    killed: tuple[Killed, ...]
    then: tuple[str, ...]


@dataclass(frozen=True)
class Pilot:
    """The same without the last kill: the lines it writes, what becomes of the object, how often
    that is written."""

    lines: Sequence[Stamped]
    history: Sequence[Any]
    writes: int

    def points(self, rng: random.Random, first: int = 0) -> Iterator[Point]:
        """Before every line of the journal, in the middle of a sixth of them, right after an
        intent; and at every write, on either side of its being carried out."""
        for number, stamped in enumerate(self.lines[first:], start=first):
            yield Point(number, "before")
            if rng.random() < 1 / 6:
                yield Point(number, "torn", rng.random())
            if isinstance(stamped.event, ChangeIntended | UndoIntended):
                yield Point(number, "after")
        for number in range(self.writes):
            yield Point(number, "lost")
            yield Point(number, "carried out")

    def first(self, kind: type[AnyEvent]) -> int:
        return self._kinds.index(kind)

    def last(self, kind: type[AnyEvent]) -> int:
        """Before anything is taken back."""
        end = self._kinds.index(UndoBegan) if UndoBegan in self._kinds else len(self._kinds)
        return max(at for at in range(end) if self._kinds[at] is kind)

    @property
    def _kinds(self) -> list[type[AnyEvent]]:
        return [type(stamped.event) for stamped in self.lines]


@dataclass
class Crashes:
    """All crashes of each story, found by runs that nobody kills."""

    lab: CrashLab
    _found: dict[str, tuple[Sequence[Any], list[Crash]]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[Sequence[Any], list[Crash]]:
        """What the story's changes make of its object, one after another; its crashes."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> tuple[Sequence[Any], list[Crash]]:
        story, rng = STORIES[name], random.Random(f"{SEED} {name}")
        ways = (UNDO, RESUME) if story.undoable else (UNDO,)
        pilot = self._pilot(name, "triage")
        first = 0 if name == FROM_THE_START else pilot.first(ChangeProposed)
        found = crashes(name, pilot.points(rng, first), ways, "triage")
        stands = "triage", Point(pilot.last(ChangeSettled), "after")
        again = self._pilot(name, "undo", stands)
        found += crashes(name, again.points(rng), (UNDO,), "undo", stands)
        if story.undoable:
            unsent = "triage", Point(pilot.last(ChangeIntended), "after")
            again = self._pilot(name, "resume", unsent)
            some = rng.sample([*again.points(rng)], 4)
            found += crashes(name, some, ways, "resume", unsent)
        return pilot.history[: len(story.calls) + 1], found

    def _pilot(self, name: str, command: str, *killed: Killed) -> Pilot:
        seen: list[Pilot] = []

        def pilot(story: Story, job: Job) -> Play:
            yield from kill(job, killed)
            lines = len(journal.read(job.journal)) if killed else 0
            before = len(self.lab.history(story, job.namespace))
            yield replace(job, command=(command,))
            history = self.lab.history(story, job.namespace)
            own = journal.read(job.journal)[lines:]
            seen.append(Pilot(own, history, len(history) - before))

        play([pilot(STORIES[name], self.lab.job(name))], self.lab.killer)
        return seen[0]


def crashes(
    name: str,
    points: Iterable[Point],
    ways: Sequence[tuple[str, ...]],
    command: str,
    *killed: Killed,
) -> list[Crash]:
    """A command killed at these points, after others that were; taken up in these ways by turns."""
    return [
        Crash(name, (*killed, (command, point)), way)
        for point, way in zip(points, cycle(ways), strict=False)
    ]


def kill(job: Job, killed: Sequence[Killed]) -> Play:
    for command, point in killed:
        status = yield replace(job, command=(command,), point=point)
        assert status == -signal.SIGKILL, (killed, status, job.output)


# --- what is left, and what becomes of it ---------------------------------------------------


def taken_up(lab: CrashLab, way_up: Sequence[Any], crash: Crash) -> Play:
    story, job = STORIES[crash.story], lab.job(crash.story)
    yield from kill(job, crash.killed)
    begun = bool(journal.read(job.journal))
    status = yield replace(job, command=crash.then)
    events, history = journal.read(job.journal), lab.history(story, job.namespace)
    said = (crash, status, history, job.output)
    assert [each.seq for each in events] == list(range(len(events))), said
    if not begun:
        assert (status, history) == (ExitStatus.USAGE, way_up[:1]), said
        return
    entries = list(ledger(events).values())
    assert not any(entry.intent for entry in entries), said
    top = max(way_up.index(each) for each in history)
    assert states(events).count("verified") == top, said
    there, back = [*way_up[: top + 1]], [*way_up[:top]][::-1]
    if crash.then == RESUME and story.goal is not None:
        assert (status, history) == (ExitStatus.MET, way_up), said
    elif story.undoable:
        assert history == there + back, said
        assert not any(entry.stands for entry in entries), said
        assert status == (ExitStatus.UNDONE if crash.then == RESUME else ExitStatus.MET), said
    else:
        assert history == there, said
        assert status == (ExitStatus.UNDO_FAILED if top else ExitStatus.MET), said
        assert sum(entry.stands for entry in entries) == top, said


def states(events: Sequence[Stamped]) -> list[str]:
    return [each.event.state for each in events if isinstance(each.event, ChangeSettled)]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    with crash_lab(tmp_path_factory.mktemp("crash")) as lab:
        yield Crashes(lab)


@pytest.mark.parametrize("name", STORIES)
def test_a_run_killed_anywhere_is_taken_up_and_ends_well(every: Crashes, name: str) -> None:
    way_up, found = every.of(name)
    assert len(way_up) == len(STORIES[name].calls) + 1
    play((taken_up(every.lab, way_up, crash) for crash in found), every.lab.killer)


def test_at_least_two_hundred_points_are_tried(every: Crashes) -> None:
    assert sum(len(every.of(name)[1]) for name in STORIES) >= 200
