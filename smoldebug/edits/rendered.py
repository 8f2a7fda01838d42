"""One object as it would be applied, and the layer of the repository in which it must be edited."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from smoldebug.edits.operations import Document, Operation, Placed
from smoldebug.records import Json, ObjectRef

# Where operations on the object belong, when the same are wanted through these ways
Placer = Callable[[Sequence[Operation], frozenset[str]], tuple[Placed, ...]]


def placed_in(document: Document, operations: Sequence[Operation]) -> tuple[Placed, ...]:
    """The operations on the document itself, wherever in its YAML document it is."""
    inside = document.inside
    moved = tuple(replace(each, pointer=f"{inside}{each.pointer}") for each in operations)
    return (Placed(document.path, document.index, moved),)


@dataclass(frozen=True, slots=True)
class Rendered:
    """An object with namespace, prefixes, patches, images and values applied.

    `document` is the file it begins in (a base, a chart's template), for messages. `via` is how it
    comes about: "" as it is written, "kustomize deploy/overlays/eu", "helm charts/search". `shared`
    are all the ways in which objects come from the same document, `via` among them.
    """

    object: Json
    document: Document
    via: str = ""
    shared: frozenset[str] = frozenset({""})
    placer: Placer | None = field(default=None, repr=False, compare=False)

    @property
    def ref(self) -> ObjectRef:
        return Document("", 0, self.object).ref

    def place(
        self, operations: Sequence[Operation], wanted: frozenset[str] = frozenset()
    ) -> tuple[Placed, ...]:
        """Where these operations on the rendered object belong.

        `wanted` are the ways (`via`) through which objects of the same document get the very same
        operations: when it holds all of `shared`, the base is edited, once, and every one of these
        objects is placed at the same spot (so drop what is placed twice). Raises ChangeRefused
        with a sentence where a person must edit.
        """
        if self.placer is None:
            return placed_in(self.document, operations)
        return self.placer(operations, wanted | {self.via})


@dataclass(frozen=True, slots=True)
class Rendering:
    """All objects of a tree. `problems` ("deploy/x.yaml:12: why") say what of it could not be
    rendered: what is selected there is not known."""

    objects: tuple[Rendered, ...]
    problems: tuple[str, ...] = ()
