"""What is known of a commit of a run's repository, worked out once: a commit never changes."""

import threading
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from smoldebug.edits.documents import find
from smoldebug.edits.render import render
from smoldebug.edits.rendered import Rendering
from smoldebug.sources.world import World

T = TypeVar("T")
_KEPT = 3  # commits of a run: its base, where its branch stood, what it proposes
_known: WeakKeyDictionary[World, "_Known"] = WeakKeyDictionary()
_lock = threading.Lock()  # the checks of a sample run side by side


class _Known:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.commits: dict[str, dict[object, object]] = {}


def proposed(world: World) -> str:
    """The commit that a goal is judged on: the newest of the run, else the one it builds on."""
    return world.repository.proposed or world.repository.start()


def rendering(world: World, commit: str, paths: tuple[str, ...]) -> Rendering:
    """All objects below these paths, and each problem once. Raises what reading a commit does."""

    def make() -> Rendering:
        tree = world.repository.tree(commit)
        found = find(tree, paths)
        made = render(tree, found)
        return Rendering(made.objects, tuple(dict.fromkeys((*found.problems, *made.problems))))

    return once(world, commit, paths, make)


def once(world: World, commit: str, what: object, make: Callable[[], T]) -> T:
    """What `make` returns for a commit, from the first time on; what it raises is not kept."""
    with _lock:
        known = _known.setdefault(world, _Known())
    with known.lock:
        of_commit = known.commits.setdefault(commit, {})
        if what not in of_commit:
            of_commit[what] = make()
        for old in list(known.commits)[:-_KEPT]:
            del known.commits[old]
        made: T = of_commit[what]  # type: ignore[assignment]
        return made
