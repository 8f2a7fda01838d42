"""Edits carried out in the text of a file: the lines they must change change, and no other byte.

`documents` reads a file as kubectl does; `edited` carries operations out in one of its documents,
reads the result, and accepts nothing but what the operations mean. JSON is YAML here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from smoldebug.edits.editor import Editor
from smoldebug.edits.intended import carry_out
from smoldebug.edits.marks import File, Node, exact, parse
from smoldebug.edits.operations import Operation
from smoldebug.edits.splices import Splices
from smoldebug.errors import ChangeRefused
from smoldebug.records import Json


def documents(data: bytes) -> list[tuple[int, Json]]:
    """The YAML documents of a file with the line, from 1, on which each begins; an empty one is
    None. Raises ChangeRefused, `line N: why`, for a file that is no YAML, gives a key twice, is a
    template or is too large."""
    file = parse(data)
    found: list[tuple[int, Json]] = []
    line, at = 1, 0
    for node in file.documents:
        line += file.text.count("\n", at, node.start)
        at = node.start
        found.append((line, node.value))
    return found


def edited(data: bytes, index: int, operations: Sequence[Operation]) -> bytes:
    """The file with the operations carried out in its document of that index, from 0.

    Where they change nothing it is the same bytes. Raises ChangeRefused, `line N: why`, where it
    cannot be done without changing more.
    """
    return all_edited(data, {index: operations})


def all_edited(data: bytes, edits: Mapping[int, Sequence[Operation]]) -> bytes:
    """The same for several documents of a file, by index: all of them or, with ChangeRefused,
    none. The file is parsed as often as for one."""
    file = parse(data)
    wanted = [exact(each.value) for each in file.documents]
    values: dict[int, Json] = {}
    for index, operations in edits.items():
        values[index] = _carried_out(file, index, operations)
        wanted[index] = exact(values[index])
    line, unfinished = 1, True
    while unfinished:
        splices, unfinished = _changes(file, values)
        if splices:
            line = file.line(splices.first)
            file = _reread(file, splices, line)
    if [exact(each.value) for each in file.documents] != wanted:
        raise ChangeRefused(f"line {line}: more than the edit would change: edit it by hand")
    return file.encode()


def _carried_out(file: File, index: int, operations: Sequence[Operation]) -> Json:
    """The value of a document, which the operations change in place."""
    if not 0 <= index < len(file.documents):
        raise ChangeRefused(f"line 1: the file has no document {index + 1}")
    root = file.documents[index]
    with _located(file, root):
        for each in operations:
            carry_out(root.value, each)
    return root.value


def _changes(file: File, values: Mapping[int, Json]) -> tuple[Splices, bool]:
    """What to replace so that documents get their values, and whether that is not all of it."""
    splices = Splices(file.text)
    unfinished = False
    for index, value in values.items():
        root = file.documents[index]
        editor = Editor(splices, root, file.aliases[index])
        with _located(file, root):
            editor.change(root, value)
        unfinished |= editor.unfinished
    return splices, unfinished


@contextmanager
def _located(file: File, root: Node) -> Iterator[None]:
    """A refusal that does not say a line says that of the document."""
    try:
        yield
    except ChangeRefused as refusal:
        if str(refusal).startswith("line "):
            raise
        raise ChangeRefused(f"line {file.line(root.start)}: {refusal}") from refusal


def _reread(file: File, splices: Splices, line: int) -> File:
    try:
        return parse(file.encode(splices.applied()))
    except (ChangeRefused, UnicodeEncodeError) as error:
        raise ChangeRefused(
            f"line {line}: the edit cannot be written in the style of this place: edit it by hand"
        ) from error
