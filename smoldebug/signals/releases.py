"""What one revision of a Helm release changed, in lines; secrets masked."""

from collections.abc import Iterator, Mapping, Sequence

import yaml

from smoldebug.pointers import diff, dotted
from smoldebug.records import Json
from smoldebug.redact import Redactor
from smoldebug.signals.objects import ref
from smoldebug.sources.helm import Object
from smoldebug.untrusted import one_line

VALUE = 200  # characters of one value


def shown(values: Mapping[str, Json]) -> Mapping[str, Json]:
    """Values that a release was given, without secrets."""
    told: Mapping[str, Json] = Redactor().json(dict(values))
    return told


def changed_values(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    return list(_fields(shown(old), shown(new)))


def changed_objects(old: Sequence[Object], new: Sequence[Object]) -> list[str]:
    """Each different edit once, with the objects that get it, the rarest first."""
    return list(_objects(*(Redactor().json(list(side)) for side in (old, new))))


def _objects(old: list[Object], new: list[Object]) -> Iterator[str]:
    was, becomes = ({str(ref(each)): each for each in side} for side in (old, new))
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in {**was, **becomes}:
        if name not in becomes or name not in was:
            yield f"{name} {'created' if name in becomes else 'deleted'}"
        elif edit := tuple(_fields(was[name], becomes[name])):
            alike.setdefault(edit, []).append(name)
    for edit, names in sorted(alike.items(), key=lambda item: len(item[1])):
        yield ", ".join(names)
        yield from (f"  {line}" for line in edit)


def _fields(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[str]:
    before, after = diff(old, new)
    for each in dict.fromkeys((*before, *after)):
        was, becomes = (_short(side[each]) if each in side else "-" for side in (before, after))
        yield f"{dotted(each)}: {was} -> {becomes}"


def _short(value: Json) -> str:
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)
    return one_line(text.removesuffix("...\n"), VALUE)
