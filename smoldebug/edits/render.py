"""What would be applied of a tree: plain files as they are, kustomizations built, charts read."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

from smoldebug.edits.documents import Found
from smoldebug.edits.helm import charts
from smoldebug.edits.kustomize import Built, Kustomizations
from smoldebug.edits.overlays import Overlays
from smoldebug.edits.rendered import Rendered, Rendering
from smoldebug.sources.repository import Tree


def render(tree: Tree, found: Found) -> Rendering:
    """All objects of the tree: those of kustomizations instead of the files they consume, those
    of charts, and every other document as it is."""
    kustomizations = Kustomizations(tree, found)
    made = [
        (via, built)
        for folder, objects in kustomizations.leaves()
        for via, built in _ways(folder, objects)
    ]
    overlays = Overlays(tree, kustomizations.layers, made)
    plain = [
        Rendered(each.object, each)
        for each in found.documents
        if each.path not in kustomizations.consumed
    ]
    built_ones = [
        Rendered(
            built.object,
            built.document,
            via,
            overlays.shared(built),
            partial(overlays.place, built),
        )
        for via, built in made
    ]
    installed, problems = charts(tree, found)
    problems = [*kustomizations.problems, *problems]
    return Rendering((*plain, *built_ones, *installed), tuple(dict.fromkeys(problems)))


def _ways(folder: str, objects: tuple[Built, ...]) -> Iterator[tuple[str, Built]]:
    """Each object and how it comes about: by its kustomization, and by all those below it where
    several objects come from one document."""
    documents = [
        (each.document.path, each.document.index, each.document.inside) for each in objects
    ]
    count = Counter(documents)
    for each, document in zip(objects, documents, strict=True):
        folders = [at for at, _ in reversed(each.layers)] if count[document] > 1 else [folder]
        yield f"kustomize {' < '.join(folders)}", each
