"""What the parts of `edits` hand to each other."""

from dataclasses import dataclass

from smoldebug.records import Json, ObjectRef


@dataclass(frozen=True, slots=True)
class Operation:
    """Set (or remove) what is at a pointer (`smoldebug.pointers`: list items by their key).

    Setting makes the parents that are missing; removing what is not there does nothing. An item
    that a selector finds nowhere is appended to its list.
    """

    pointer: str
    value: Json = None
    remove: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """One object as a file holds it. `inside` is where in its YAML document: "" or, of a List,
    `/items/2`."""

    path: str
    index: int  # of the YAML document in the file, from 0
    object: Json
    line: int = 1  # where it begins, from 1
    inside: str = ""

    @property
    def ref(self) -> ObjectRef:
        meta = self.object.get("metadata") or {}
        name, namespace = str(meta.get("name") or ""), str(meta.get("namespace") or "")
        return ObjectRef(str(self.object.get("kind") or ""), namespace, name)


@dataclass(frozen=True, slots=True)
class Placed:
    """Operations on one YAML document of one file; `content` instead is a file that is new."""

    path: str
    index: int = 0
    operations: tuple[Operation, ...] = ()
    content: bytes | None = None
