"""A playbook's edits, made in the files of a tree: what these become, and what became of each
object that the edits are about."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from smoldebug.edits import text
from smoldebug.edits.documents import (
    Found,
    described,
    doubled,
    find,
    found_again,
    located,
    nowhere,
    selected,
)
from smoldebug.edits.fields import Wanted, operations
from smoldebug.edits.operations import Operation, Placed
from smoldebug.edits.render import render
from smoldebug.edits.rendered import Rendered, Rendering
from smoldebug.edits.workspace import Overlay
from smoldebug.errors import ChangeRefused, UsageError
from smoldebug.playbook.models import Playbook
from smoldebug.playbook.patches import Edit, ManifestsCheck, Select
from smoldebug.playbook.patchrules import actions_of, manifests_of
from smoldebug.playbook.rules import checks_of
from smoldebug.records import Edited
from smoldebug.sources.globs import matches
from smoldebug.sources.repository import Tree

_Key = tuple[str, int, str, str]  # of an object: its document, and the way it comes about


@dataclass(frozen=True, slots=True)
class Draft:
    """`files` are those that differ, as they become. `edited` has a row per object and edit;
    `warnings` are the values that stand there and that nobody has said to replace: ask first."""

    files: dict[str, bytes]
    edited: tuple[Edited, ...]
    problems: tuple[str, ...] = ()  # what could not be read, and so is not known
    warnings: tuple[str, ...] = ()


def selection(playbook: Playbook) -> ManifestsCheck | None:
    """The goal's first `manifests`: what edits are about that do not say so themselves."""
    goal = playbook.goal
    return next(iter(manifests_of(list(checks_of([*goal.all, *goal.any])))), None)


def drafted(playbook: Playbook, tree: Tree) -> Draft:
    """A playbook's edits, made in a tree, within its scope. Raises as `draft` does."""
    return draft(tree, playbook.edits, selection(playbook), playbook.scope.paths)


def draft(
    tree: Tree, edits: Sequence[Edit], check: ManifestsCheck | None, allowed: Sequence[str] = ()
) -> Draft:
    """Make the edits, one after the other, each on what those before it have left.

    An edit without `select` or `paths` has those of `check`. An object that cannot be edited, or
    only in a file that `allowed` (globs; none: any file) does not name, is refused, and the others
    are edited all the same. Raises UsageError for an edit of no objects.
    """
    drafting = _Drafting(tree, allowed)
    for edit in edits:
        select = edit.select or (check.select if check else None)
        if select is None:
            raise UsageError("an edit needs select: which objects it is about")
        drafting.carry_out(edit, select, tuple(edit.paths) or (check.paths if check else ("**",)))
    known = tree.files()
    return Draft(
        {p: new for p, new in drafting.files.items() if p not in known or tree.read(p) != new},
        tuple(drafting.edited),
        tuple(dict.fromkeys(drafting.problems)),
        tuple(drafting.warnings),
    )


@dataclass(frozen=True, slots=True)
class _Wish:
    """What an edit wants of an object, and the places where that is written."""

    rendered: Rendered
    wanted: Wanted
    places: tuple[Placed, ...]

    @property
    def edits(self) -> tuple[str, ...]:
        """The files among its places that are there already."""
        return tuple(each.path for each in self.places if each.content is None)

    def row(self, if_different: str, refusal: str) -> Edited:
        if refusal:
            return _row(self.rendered, "refused", refusal)
        outcome = _outcome(self.wanted, if_different)
        return _row(self.rendered, *outcome, [each.path for each in self.places])


@dataclass
class _Drafting:
    tree: Tree
    allowed: Sequence[str]
    files: dict[str, bytes] = field(default_factory=dict)
    edited: list[Edited] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    found: dict[tuple[str, ...], Found] = field(default_factory=dict)

    def carry_out(self, edit: Edit, select: Select, paths: tuple[str, ...]) -> None:
        before = self._rendering(paths)
        chosen = [each for each in before.objects if selected(each, select)]
        self.problems += before.problems
        self.problems += filter(None, (nowhere(each, select) for each in before.objects))
        self.problems += doubled(chosen)
        if not chosen:
            self.problems.append(f"no {described(select)} found below {', '.join(paths)}")
            return
        was = dict(self.files)
        rows = self._rows(edit, chosen)
        self._read_again({path for path in self.files if was.get(path) != self.files[path]})
        self.edited += judged(edit, before, self._rendering(paths), rows)

    # --- reading ----------------------------------------------------------------------------

    @property
    def _overlay(self) -> Overlay:
        return Overlay(self.tree, self.files)

    def _rendering(self, paths: tuple[str, ...]) -> Rendering:
        """What would be applied of the files as they are now."""
        overlay = self._overlay
        if paths not in self.found:
            self.found[paths] = find(overlay, paths)
        found = self.found[paths]
        made = render(overlay, found)
        return Rendering(made.objects, (*found.problems, *made.problems))

    def _read_again(self, changed: set[str]) -> None:
        for paths, found in self.found.items():
            self.found[paths] = found_again(found, self._overlay, paths, changed)

    # --- editing ----------------------------------------------------------------------------

    def _rows(self, edit: Edit, chosen: Sequence[Rendered]) -> dict[_Key, Edited]:
        """Edit every object as far as it can be; what became of it."""
        rows: dict[_Key, Edited] = {}
        wanted: list[tuple[Rendered, Wanted]] = []
        for each in chosen:
            try:
                wanted.append((each, operations(edit, each.object)))
            except ChangeRefused as error:
                rows[_key(each)] = _row(each, "refused", str(error))
        wishes: list[_Wish] = []
        for each, its, ways in _with_ways(wanted):
            try:
                wishes.append(_Wish(each, its, self._places(each, its, ways)))
            except ChangeRefused as error:
                rows[_key(each)] = _row(each, "refused", str(error))
        (action,) = actions_of(edit)
        how = getattr(getattr(edit, action), "if_different", "")
        for wish, refusal in self._written(wishes):
            rows[_key(wish.rendered)] = wish.row(how, refusal)
        for wish in wishes:
            if rows[_key(wish.rendered)].state == "differs":
                self.warnings += (f"{wish.rendered.ref}: {says}" for says in wish.wanted.differs)
        return {_key(each): rows[_key(each)] for each in chosen}

    def _places(
        self, rendered: Rendered, wanted: Wanted, ways: frozenset[str]
    ) -> tuple[Placed, ...]:
        places = rendered.place(wanted.operations, ways)
        for each in places:
            if self.allowed and not matches(each.path, self.allowed):
                raise ChangeRefused(f"outside scope.paths: {each.path}")
        return places

    def _written(self, wishes: Iterable[_Wish]) -> Iterator[tuple[_Wish, str]]:
        """Write what is wished for; each wish with why it is refused, or "". Those of one file
        are written together, since it is parsed as a whole for one edit as for many."""
        together: dict[tuple[str, ...], list[_Wish]] = {}
        for wish in wishes:
            together.setdefault(wish.edits, []).append(wish)
        done: set[str] = set()
        for group in together.values():
            yield from self._write(group, done)

    def _write(self, wishes: Sequence[_Wish], done: set[str]) -> Iterator[tuple[_Wish, str]]:
        """All of them, or where that is refused one half after the other, down to the wish that
        cannot be. `done` are the places written before: what objects share is written once."""
        places = {repr(place): place for wish in wishes for place in wish.places}
        new = [place for known, place in places.items() if known not in done]
        try:
            self.files |= self._contents(new)
        except ChangeRefused as error:
            half = len(wishes) // 2
            if not half:
                yield wishes[0], str(error)
                return
            yield from self._write(wishes[:half], done)
            yield from self._write(wishes[half:], done)
        else:
            done |= places.keys()
            yield from ((wish, "") for wish in wishes)

    def _contents(self, places: Iterable[Placed]) -> dict[str, bytes]:
        """The files that hold all operations afterwards. Raises ChangeRefused."""
        files: dict[str, bytes] = {}
        edits: dict[str, dict[int, list[Operation]]] = {}
        for each in places:
            if each.content is None:
                edits.setdefault(each.path, {}).setdefault(each.index, []).extend(each.operations)
                continue
            if any(each.path in known for known in (self.tree.files(), self.files, files)):
                raise ChangeRefused(f"it would be a new file, and there is one: {each.path}")
            files[each.path] = each.content
        for path, edit in edits.items():
            old = self.files[path] if path in self.files else self.tree.read(path)
            with located(path):
                files[path] = text.all_edited(old, edit)
        return files


def _key(rendered: Rendered) -> _Key:
    document = rendered.document
    return document.path, document.index, document.inside, rendered.via


def _with_ways(
    wishes: Sequence[tuple[Rendered, Wanted]],
) -> Iterator[tuple[Rendered, Wanted, frozenset[str]]]:
    """Each object with the ways in which objects of its document want the very same."""
    alike: dict[tuple[str, int, str], list[tuple[str, Wanted]]] = {}
    for each, wanted in wishes:
        alike.setdefault(_key(each)[:3], []).append((each.via, wanted))
    for each, wanted in wishes:
        same = (
            via for via, other in alike[_key(each)[:3]] if other.operations == wanted.operations
        )
        yield each, wanted, frozenset(same)


def _outcome(wanted: Wanted, how: str) -> tuple[str, str]:
    """The state of an object after its edit, and what else there is to say."""
    differs = "; ".join(wanted.differs)
    if not wanted.operations:
        return ("skipped" if differs else "already so"), differs
    if differs and how == "stop-and-ask":
        return "differs", differs
    said = "left" if how == "skip" else "before"
    return "changed", f"{said}: {differs}" if differs else ""


def _row(rendered: Rendered, state: str, detail: str = "", placed: Sequence[str] = ()) -> Edited:
    """Placed in another file than its own, an edit has no line."""
    document = rendered.document
    here = not placed or document.path in placed
    path, line = (document.path, document.line) if here else (placed[0], 0)
    return Edited(rendered.ref, path, line, state, detail, rendered.via)


# --- judging --------------------------------------------------------------------------------


def judged(
    edit: Edit, before: Rendering, after: Rendering, rows: Mapping[_Key, Edited]
) -> Iterator[Edited]:
    """The rows, by what would be applied now: an edit that does not get there is refused, and so
    is one that gets to an object which is not selected."""
    was = {_key(each): each.object for each in before.objects}
    now = {_key(each): each for each in after.objects}
    for key, row in rows.items():
        if row.state in ("changed", "differs") and not (key in now and _holds(edit, now[key])):
            row = replace(row, state="refused", detail="the edit is undone by what comes after it")
        yield row
    for key, each in now.items():
        if key not in rows and each.object != was.get(key, each.object):
            yield _row(each, "refused", "it is not selected, and would be changed too")


def _holds(edit: Edit, rendered: Rendered) -> bool:
    try:
        return not operations(edit, rendered.object).operations
    except ChangeRefused:
        return False
