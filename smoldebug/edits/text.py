"""Edits carried out in the text of a file: the lines they must change change, and no other byte.

`documents` reads a file as kubectl does; `edited` carries operations out in one of its documents,
reads the result, and accepts nothing but what the operations mean. JSON is YAML here.
"""

from collections.abc import Sequence

from smoldebug.edits.editor import Editor
from smoldebug.edits.intended import carry_out
from smoldebug.edits.marks import File, exact, parse
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
    file = parse(data)
    if not 0 <= index < len(file.documents):
        raise ChangeRefused(f"line 1: the file has no document {index + 1}")
    wanted = [exact(each.value) for each in file.documents]
    value = file.documents[index].value
    line = file.line(file.documents[index].start)
    try:
        for each in operations:
            carry_out(value, each)
        wanted[index] = exact(value)
        unfinished = True
        while unfinished:
            root = file.documents[index]
            editor = Editor(file.text, root, file.aliases[index])
            editor.change(root, value)
            line = file.line(editor.splices.first) if editor.splices else line
            file = _reread(file, editor.splices, line) if editor.splices else file
            unfinished = editor.unfinished
    except ChangeRefused as refusal:
        if str(refusal).startswith("line "):
            raise
        raise ChangeRefused(f"line {line}: {refusal}") from refusal
    if [exact(each.value) for each in file.documents] != wanted:
        raise ChangeRefused(f"line {line}: more than the edit would change: edit it by hand")
    return file.encode()


def _reread(file: File, splices: Splices, line: int) -> File:
    try:
        return parse(file.encode(splices.applied()))
    except (ChangeRefused, UnicodeEncodeError) as error:
        raise ChangeRefused(
            f"line {line}: the edit cannot be written in the style of this place: edit it by hand"
        ) from error
