"""Paths of fields as people write them: `spec.template.spec.containers[app].image`."""

import re

from smoldebug.errors import UsageError
from smoldebug.pointers import KEYS, child, item
from smoldebug.untrusted import one_line

_STEP = re.compile(
    r"\.(?P<key>[\w$-]+)"
    r"|\[\"(?P<quoted>[^\"]+)\"\]"
    r"|\[(?P<index>\d+)\]"
    r"|\[(?P<fields>\w+=[^\[\],=]+(?:,\w+=[^\[\],=]+)*)\]"
    r"|\[(?P<values>[^\[\]\"=]+)\]",
    re.ASCII,
)


def pointer_of(path: str) -> str:
    """The pointer (`smoldebug.pointers`) of a path, which may be a JSON pointer itself.

    `[app]` is the list item that is called so, `[mountPath=/data]` the one with this field,
    `[0]` the first, `["example.com/x"]` a key that is no single word. Raises UsageError.
    """
    if path.startswith("/"):
        return _checked(path)
    pointer, place = "", 0
    path = f".{path}" if not path.startswith("[") else path
    while place < len(path):
        step = _STEP.match(path, place)
        if step is None:
            raise UsageError(
                'expected a path such as spec.replicas, spec.volumes[tmp] or labels["a/b"], '
                f"got: {one_line(path.removeprefix('.'), 80)}"
            )
        pointer = _with(pointer, step)
        place = step.end()
    return pointer


def _with(pointer: str, step: re.Match[str]) -> str:
    if key := step["key"] or step["quoted"] or step["index"]:
        return child(pointer, key)
    if step["fields"]:
        fields = dict(field.split("=", 1) for field in step["fields"].split(","))
    else:
        fields = _named(pointer, step["values"].split(","))
    return item(pointer, **fields)


def _named(pointer: str, values: list[str]) -> dict[str, str]:
    """The fields by which the items of the list at `pointer` are told apart, with these values."""
    name = pointer.rpartition("/")[2]
    keys: tuple[str, ...] = KEYS.get(name, ())
    if name == "ports":
        inside = "containers/" in pointer.lower()
        keys = ("containerPort" if inside else "port", "protocol")
        values = [*values, "TCP"][:2]
    if len(keys) != len(values):
        known = f"[{','.join(f'{key}=...' for key in keys or ('name',))}]"
        raise UsageError(f"say by which field the item of {name or 'a list'} is known: {known}")
    return dict(zip(keys, values, strict=True))


def _checked(pointer: str) -> str:
    if re.search(r"~(?![012])|//|/-?$", pointer):
        raise UsageError(f"not a JSON pointer to a field: {one_line(pointer, 80)}")
    return pointer
