"""Rendered manifests against live objects: what they would create, change and delete.

Compared is what the old or the new manifest sets. So a server's defaults are no difference, and a
field that somebody has edited by hand is one: it would be overwritten.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from textwrap import wrap

from smoldebug.appliers.differences import masked
from smoldebug.errors import NotFound, SmoldebugError
from smoldebug.fieldvalues import SERVED, same
from smoldebug.kubectl import field_diff, object_diff
from smoldebug.pointers import child, diff, projected
from smoldebug.records import Change, ChangeKind, Json, ObjectRef
from smoldebug.redact import Redactor
from smoldebug.sources.kube_writes import ref_of
from smoldebug.sources.world import Cluster, Object

AT_A_TIME = 8  # requests for live objects
MOST = 40  # lines of a short diff
NAMES = 9  # of objects that get the same edit
WIDTH = 60  # columns of their lines
KEEP = ("helm.sh/resource-policy", "keep")  # an annotation: it stays when it leaves the manifest
_MARK = {"created": "+ ", "deleted": "- ", "changed": "▸ "}


@dataclass(frozen=True, slots=True)
class Difference:
    """One object. `live` and `wanted` hold what the manifests set, spelled alike where it means
    the same; `found` is the whole live object. None: it is not there."""

    ref: ObjectRef
    live: Object | None
    wanted: Object | None
    found: Object | None

    @property
    def what(self) -> str:
        if self.live is None:
            return "created"
        return "deleted" if self.wanted is None else "changed"

    @property
    def fields(self) -> Change:
        """Before and after of the fields that differ, as a patch of that object."""
        before, after = diff(self.live, self.wanted)
        real = [
            each
            for each in dict.fromkeys((*before, *after))
            if not same(each, before.get(each), after.get(each))
        ]
        was, becomes = ({p: side[p] for p in real if p in side} for side in (before, after))
        return Change(ChangeKind.PATCH_OBJECT, self.ref, was, becomes, "")


@dataclass(frozen=True, slots=True)
class Live:
    """What was found of some objects; `gaps` say of which nothing could be seen."""

    found: Mapping[ObjectRef, Object | None]
    gaps: tuple[str, ...] = ()


def read(cluster: Cluster, refs: Iterable[ObjectRef]) -> Live:
    """The live objects, None for those that are not there."""
    wanted = list(dict.fromkeys(refs))

    def one(ref: ObjectRef) -> Object | SmoldebugError | None:
        try:
            return cluster.get(ref)
        except NotFound:
            return None
        except SmoldebugError as error:
            return error

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = dict(zip(wanted, pool.map(one, wanted), strict=True))
    found = {ref: got for ref, got in answers.items() if not isinstance(got, SmoldebugError)}
    gaps = [str(got) for got in answers.values() if isinstance(got, SmoldebugError)]
    return Live(found, tuple(dict.fromkeys(gaps)))


def refs(*manifests: Sequence[Object]) -> list[ObjectRef]:
    return list(dict.fromkeys(ref_of(each) for some in manifests for each in some))


def differences(live: Live, old: Sequence[Object], new: Sequence[Object]) -> Iterator[Difference]:
    """What replacing the old manifests by the new ones would change, in the order of the new."""
    before, after = ({ref_of(each): stored(each) for each in some} for some in (old, new))
    for ref, wanted in after.items():
        if ref not in live.found:
            continue
        found = live.found[ref]
        if found is None:
            yield Difference(ref, None, wanted, None)
            continue
        is_now = _alike("", projected(found, before.get(ref), wanted), wanted)
        one = Difference(ref, is_now, wanted, found)
        if one.fields.before or one.fields.after:
            yield one
    for ref, manifest in before.items():
        if ref not in after and (found := live.found.get(ref)) and not kept(found):
            yield Difference(ref, projected(found, manifest), None, found)


def unseen(live: Live, old: Sequence[Object], new: Sequence[Object]) -> Iterator[Difference]:
    """How the manifests themselves differ, of what may not be read."""
    before, after = ({ref_of(each): stored(each) for each in some} for some in (old, new))
    for ref in dict.fromkeys((*after, *before)):
        if ref not in live.found and before.get(ref) != after.get(ref):
            yield Difference(ref, before.get(ref), after.get(ref), None)


def stored(manifest: Object) -> Object:
    """As a server keeps it: the `stringData` of a Secret among its `data`, nothing that is null,
    and nothing that is the server's to say."""
    whole = _without_nulls(manifest)
    meta = {key: value for key, value in whole["metadata"].items() if key not in SERVED}
    rest = {key: value for key, value in whole.items() if key != "status"}
    if whole["kind"] == "Secret" and (given := rest.pop("stringData", None)):
        encoded = {key: base64.b64encode(str(given[key]).encode()).decode() for key in given}
        rest["data"] = {**(whole.get("data") or {}), **encoded}
    return {**rest, "metadata": meta}


def short(found: Sequence[Difference]) -> str:
    """Each different edit once, with which other objects get the same, the rarest first; what is
    created or deleted by name. Secrets masked."""
    masks = Redactor()
    alike: dict[str, list[tuple[Difference, str]]] = {}
    for each in found:
        edit = field_diff(_shown(each.fields, masks)) if each.what == "changed" else ""
        # A container is mostly called as its workload is
        same = edit.replace(f"[{each.ref.name}]", "[]")
        alike.setdefault(f"{_MARK[each.what]}{same or each.ref}", []).append((each, edit))
    groups = [([each for each, _ in group], group[0][1]) for group in alike.values()]
    groups.sort(key=lambda item: _rank(item[0]))
    return _capped([_block(group, edit) for group, edit in groups])


def whole(found: Sequence[Difference]) -> str:
    """Every object, all that the manifests set of it, secrets masked."""
    masks = Redactor()
    return "\n".join(
        f"{_MARK['changed']}{each.ref} ({each.what})\n"
        f"{object_diff(masks.json(each.live), masks.json(each.wanted))}"
        for each in found
    )


# --- helpers --------------------------------------------------------------------------------


def _shown(change: Change, masks: Redactor) -> Change:
    before, after = (masked(change, side, masks) for side in (change.before, change.after))
    return replace(change, before=before, after=after)


def _rank(group: list[Difference]) -> tuple[bool, int]:
    return (group[0].what == "changed", len(group))


def _block(group: list[Difference], edit: str) -> list[str]:
    first = group[0]
    if first.what != "changed":
        return [f"{_MARK[first.what]}{first.ref} ({first.what})"]
    heads = [str(first.ref), *_others(group)]
    return [*(_MARK["changed"] + head for head in heads), *edit.split("\n")]


def _others(group: list[Difference]) -> list[str]:
    """Lines that fit any screen."""
    first, *rest = (each.ref for each in group)
    if not rest:
        return []
    names = [ref.name if ref.kind == first.kind else f"{ref.kind}/{ref.name}" for ref in rest]
    told = ", ".join([*names[:NAMES], *(["…"] if names[NAMES:] else [])])
    return wrap(f"the same in {len(rest)} more: {told}", WIDTH)


def _capped(blocks: list[list[str]]) -> str:
    lines = [line for block in blocks for line in block]
    if len(lines) <= MOST:
        return "\n".join(lines)
    left = len(blocks) - sum(block[0] in lines[:MOST] for block in blocks)
    more = f"… and {len(lines) - MOST} more lines, {left} more edits"
    return "\n".join([*lines[:MOST], more])


def _alike(pointer: str, live: Json, wanted: Json) -> Json:
    """The live value, spelled as wanted where the two mean the same."""
    if same(pointer, live, wanted):
        return wanted
    if isinstance(live, dict) and isinstance(wanted, dict):
        keys = {**live, **wanted}
        merged = {key: _alike(child(pointer, key), live.get(key), wanted.get(key)) for key in keys}
        return {key: value for key, value in merged.items() if value is not None}
    if isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        return [_alike(pointer, *pair) for pair in zip(live, wanted, strict=True)]
    return live


def _without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def kept(live: Object) -> bool:
    annotations = live["metadata"].get("annotations") or {}
    return bool(annotations.get(KEEP[0]) == KEEP[1])
