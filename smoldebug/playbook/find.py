"""Where playbooks are looked for: path -> ./playbooks -> $SMOLDEBUG_HOME/playbooks -> shipped."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from smoldebug.errors import PlaybookError
from smoldebug.playbook.fields import did_you_mean
from smoldebug.shipped import shipped
from smoldebug.untrusted import one_line

SUFFIXES = (".yaml", ".yml")


class Place(msgspec.Struct, frozen=True):
    label: str  # what a person calls it: ./playbooks, $SMOLDEBUG_HOME/playbooks, shipped
    folder: Path


class Listed(msgspec.Struct, frozen=True):
    name: str
    place: Place
    path: Path
    hides: tuple[Place, ...] = ()  # places whose playbook of this name is not used


def places() -> tuple[Place, ...]:
    """The folders of this process, first hit first."""
    found = [Place("./playbooks", Path("playbooks"))]
    if home := os.environ.get("SMOLDEBUG_HOME"):
        found.append(Place("$SMOLDEBUG_HOME/playbooks", Path(home) / "playbooks"))
    found.append(Place("shipped", shipped("playbooks")))
    return tuple(found)


def find(name_or_path: str, search: Sequence[Place] | None = None) -> Path:
    """The file of a playbook. A path has a slash or ends in .yaml or .yml; a name is looked up.

    Raises PlaybookError, with where it looked and what is close.
    """
    if "/" in name_or_path or name_or_path.endswith(SUFFIXES):
        path = Path(name_or_path)
        if not _is_file(path):
            raise PlaybookError("no such file", one_line(name_or_path, 4096))
        return path
    found = available(search)
    for entry in found:
        if entry.name == name_or_path:
            return _unhidden(entry)
    said = f"no such playbook: {one_line(name_or_path, 80)}"
    for suffix in SUFFIXES:
        if _is_file(Path(name_or_path + suffix)):
            meant = one_line(f"./{name_or_path}{suffix}", 80)
            raise PlaybookError(said, hint=f"a file is given by its path: {meant}")
    looked = ", ".join(place.label for place in (places() if search is None else search))
    close = did_you_mean(name_or_path, [entry.name for entry in found])
    raise PlaybookError(f"{said}{close}", hint=f"looked in {looked}")


def _unhidden(entry: Listed) -> Path:
    """A folder somebody works in may be a stranger's: what a name means must not depend on it."""
    if entry.hides and not entry.place.folder.is_absolute():
        hidden = ", ".join(place.label for place in entry.hides)
        raise PlaybookError(
            f"{entry.path} has the name of another playbook: {hidden}",
            hint=f"-p ./{entry.path} if it is meant",
        )
    return entry.path


def available(search: Sequence[Place] | None = None) -> list[Listed]:
    """Every playbook that can be named, by name; a name's first place hides the others."""
    found: dict[str, Listed] = {}
    for place in places() if search is None else search:
        for path in _files(place.folder):
            name = path.stem
            if name not in found:
                found[name] = Listed(name, place, path)
            elif place not in (found[name].place, *found[name].hides):
                first = found[name]
                if not _same(path, first.path):
                    found[name] = Listed(name, first.place, first.path, (*first.hides, place))
    return [found[name] for name in sorted(found)]


def _same(one: Path, other: Path) -> bool:
    """In a checkout they are, be it installed from there or copied."""
    try:
        return one.resolve() == other.resolve() or one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())  # .yaml sorts before .yml
    except OSError:
        return
    yield from (path for path in paths if path.suffix in SUFFIXES and _is_file(path))


def _is_file(path: Path) -> bool:
    """Only regular files: reading a pipe would never end."""
    try:
        return path.is_file()
    except OSError:  # e.g. a name longer than the file system allows
        return False
