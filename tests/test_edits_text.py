"""Edits in the text of a file: the object gets what was asked for, no other byte changes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from smoldebug.edits.intended import intended
from smoldebug.edits.operations import Operation
from smoldebug.edits.scalars import read, written
from smoldebug.edits.text import documents, edited
from smoldebug.errors import ChangeRefused
from smoldebug.pointers import child, item, lookup

FOLDER = Path(__file__).parent / "manifests"
FILES = sorted(FOLDER.iterdir())
GOOD = [path for path in FILES if ".bad." not in path.name and ".refused." not in path.name]
EMPTY = re.compile(rb"\s*(?:\[\]|\{ ?\}|~|null)?\s*(#.*)?\s*")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def put(text: str, pointer: str, value: Any) -> str:
    return edited(text.encode(), 0, [Operation(pointer, value)]).decode()


def drop(text: str, *pointers: str) -> str:
    return edited(text.encode(), 0, [Operation(each, remove=True) for each in pointers]).decode()


def difference(before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """What one is and the other has where they differ, from the first to the last byte."""
    most = min(len(before), len(after))
    start = next((at for at in range(most) if before[at] != after[at]), most)
    most -= start
    end = next((at for at in range(most) if before[-1 - at] != after[-1 - at]), most)
    return before[start : len(before) - end], after[start : len(after) - end]


# --- the corpus ------------------------------------------------------------------------------


def containers(document: Any, pointer: str = "") -> Iterator[str]:
    """Pointers of the containers called app."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "containers" and any(each["name"] == "app" for each in value):
                yield item(child(pointer, key), name="app")
            yield from containers(value, child(pointer, key))
    elif isinstance(document, list):
        for at, value in enumerate(document):
            yield from containers(value, child(pointer, str(at)))


def places(data: bytes) -> list[tuple[int, str, Any]]:
    """The documents with a container called app: index, its pointer, the document."""
    found = [(at, each) for at, (_, each) in enumerate(documents(data))]
    return [(at, place, each) for at, each in found for place in containers(each)]


def filled(document: Any, pointer: str) -> bool:
    """Whether something on the way to a pointer stands in the file with nothing in it."""
    above, _, last = pointer.rpartition("/")
    here = lookup(document, above)
    empty = isinstance(here, dict) and last in here and not here[last]
    return empty or bool(above) and filled(document, above)


def owner(container: str) -> str:
    return container.partition("/spec/")[0]


def additions(container: str) -> dict[str, Operation]:
    pod, _, _ = container.rpartition("/containers/")
    meta = f"{owner(container)}/metadata"
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5}
    mount = {"name": "tmp", "mountPath": "/tmp/a,b"}
    return {
        "env": Operation(f"{container}/env/[name=NEW]", {"name": "NEW", "value": "true"}),
        "label": Operation(f"{meta}/labels/team", "shop"),
        "annotation": Operation(f"{meta}/annotations/a.example~1note", 'two\nlines: "#"'),
        "port": Operation(
            f"{container}/ports/[containerPort=7,protocol=TCP]", {"containerPort": 7}
        ),
        "probe": Operation(f"{container}/readinessProbe", probe),
        "volume": Operation(f"{pod}/volumes/[name=tmp]", {"name": "tmp", "emptyDir": {}}),
        "mount": Operation(f"{container}/volumeMounts/[mountPath=~1tmp~1a~2b]", mount),
        "memory": Operation(f"{container}/resources/requests/memory", "64Mi"),
        "container": Operation(f"{pod}/containers/[name=new]", {"name": "new", "image": "n:1"}),
    }


def check(data: bytes, index: int, operations: list[Operation], again: bool = True) -> bytes:
    """The file after the operations, which must be what they mean and stay as it is then."""
    after = edited(data, index, operations)
    wanted = [each for _, each in documents(data)]
    wanted[index] = intended(wanted[index], operations)
    assert [each for _, each in documents(after)] == wanted
    assert not again or edited(after, index, operations) == after
    return after


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_something_new_goes_in_and_every_byte_around_it_stays(path: Path):
    data = path.read_bytes()
    assert places(data)
    for index, container, document in places(data):
        for name, operation in additions(container).items():
            after = check(data, index, [operation])
            gone, come = difference(data, after)
            empty = EMPTY.fullmatch(gone)
            assert empty, name
            assert (empty[1] or b"") in come, name
            if not filled(document, operation.pointer):
                undo = Operation(operation.pointer, remove=True)
                assert edited(after, index, [undo]) == data, name


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_a_value_is_replaced_where_it_stands(path: Path):
    data = path.read_bytes()
    for index, container, document in places(data):
        for pointer, value in ((f"{container}/image", "new:2"), (f"{container}/name", "renamed")):
            assert isinstance(lookup(document, pointer), str)
            after = check(data, index, [Operation(pointer, value)], again=value != "renamed")
            gone, come = difference(data, after)
            assert gone.strip(b"'\"* ").decode() in [
                *lookup(document, pointer),
                *data.decode(),
            ] or (gone.decode() in data.decode())
            assert b"\n" not in gone + come


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_what_is_removed_takes_nothing_else_along(path: Path):
    data = path.read_bytes()
    for index, container, document in places(data):
        for name in [each["name"] for each in lookup(document, f"{container}/env") or []]:
            after = check(data, index, [Operation(f"{container}/env/[name={name}]", remove=True)])
            gone, come = difference(data, after)
            assert come == b"" and name.encode() in gone
        after = check(data, index, [Operation(f"{container}/image", remove=True)])
        assert difference(data, after)[1] == b""


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_many_edits_of_a_document_are_made_at_once(path: Path):
    data = path.read_bytes()
    for index, container, document in places(data):
        old = [
            Operation(f"{container}/env/[name={each['name']}]", remove=True)
            for each in lookup(document, f"{container}/env") or []
        ]
        new = [*additions(container).values(), Operation(f"{container}/image", "new:2")]
        after = check(data, index, [*old, *new])
        lines = after.splitlines()
        comments = [line for line in data.splitlines() if line.lstrip().startswith(b"# about the")]
        assert all(line in lines for line in comments)
