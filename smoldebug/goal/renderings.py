"""What would be applied of a run's repository, rendered once per commit: a commit never changes."""

import threading
from weakref import WeakKeyDictionary

from smoldebug.edits.documents import find
from smoldebug.edits.render import render
from smoldebug.edits.rendered import Rendering
from smoldebug.sources.world import World

_KEPT = 3  # commits of a run: its base, where its branch stood, what it proposes
_known: WeakKeyDictionary[World, "_Known"] = WeakKeyDictionary()
_lock = threading.Lock()  # the checks of a sample run side by side


class _Known:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.renderings: dict[tuple[str, tuple[str, ...]], Rendering] = {}


def proposed(world: World) -> str:
    """The commit that a goal is judged on: the newest of the run, else the one it builds on."""
    return world.repository.proposed or world.repository.start()


def rendering(world: World, commit: str, paths: tuple[str, ...]) -> Rendering:
    """All objects below these paths, and each problem once. Raises what reading a commit does."""
    with _lock:
        known = _known.setdefault(world, _Known())
    with known.lock:
        if (commit, paths) not in known.renderings:
            tree = world.repository.tree(commit)
            found = find(tree, paths)
            made = render(tree, found)
            problems = tuple(dict.fromkeys((*found.problems, *made.problems)))
            known.renderings[commit, paths] = Rendering(made.objects, problems)
            for old in list(known.renderings)[:-_KEPT]:
                del known.renderings[old]
        return known.renderings[commit, paths]
