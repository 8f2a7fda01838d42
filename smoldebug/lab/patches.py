"""The three patch formats of the API: JSON merge patch, strategic merge patch, JSON patch."""

from collections.abc import Iterable, Sequence
from typing import Any

from smoldebug.lab.apierror import ApiError, bad_request
from smoldebug.lab.ownership import SETS, list_keys
from smoldebug.lab.store import clone
from smoldebug.sources.world import Object

_DIRECTIVES = ("$patch", "$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/")


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Any, patch: Any) -> Any:
    """Kubernetes' strategic merge: lists whose elements have a key are merged by that key, new
    elements first, and the `$` directives are obeyed. Raises ApiError 400 for an unknown one."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive in ("replace", "delete"):
        return {} if directive == "delete" else _content(patch)
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type found: {directive}")
    target = target if isinstance(target, dict) else {}
    result = _thinned(target, patch)
    for key, value in _content(patch).items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _merge_lists(key, result.get(key) or [], value)
        else:
            result[key] = strategic(result.get(key), value)
    for key, order in _named(patch, "$setElementOrder/"):
        if key in result:
            result[key] = _arrange(key, result[key], order, target.get(key) or [])
    return result


def _thinned(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """A copy without what `$retainKeys` and `$deleteFromPrimitiveList` take away."""
    kept = patch.get("$retainKeys", target)
    result = {key: value for key, value in target.items() if key in kept}
    for key, gone in _named(patch, "$deleteFromPrimitiveList/"):
        result[key] = [item for item in result.get(key) or () if item not in gone]
    return result


def _content(patch: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in patch.items() if not key.startswith(_DIRECTIVES)}


def _named(patch: dict[str, Any], directive: str) -> Iterable[tuple[str, Any]]:
    return ((k.removeprefix(directive), v) for k, v in patch.items() if k.startswith(directive))


def _merge_lists(field: str, old: list[Any], patch: list[Any]) -> list[Any]:
    if field in SETS:
        return _arrange(field, [*old, *(item for item in patch if item not in old)], patch, old)
    key = _merge_key(field, [*old, *patch])
    if not key:
        return [strategic(None, item) for item in patch]
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    merged = {_identity(key, item): item for item in old}
    changes = [item for item in patch if item.get("$patch") != "delete"]
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        identity = item[key]
        if item.get("$patch") == "delete":
            merged.pop(identity, None)
        else:
            merged[identity] = strategic(merged.get(identity), item)
    return _arrange(field, list(merged.values()), changes, old)


def _arrange(field: str, items: list[Any], wanted: Sequence[Any], old: list[Any]) -> list[Any]:
    """The elements that `wanted` names in its order, the others in their old order; where two of
    them meet, their old order decides, and what was not there before comes first."""
    key = _merge_key(field, items)
    before = [_identity(key, item) for item in old]
    order = [_identity(key, item) for item in wanted]
    named = sorted(
        (item for item in items if _identity(key, item) in order),
        key=lambda item: order.index(_identity(key, item)),
    )
    others = [item for item in items if _identity(key, item) not in order]
    result = []
    while named and others:
        left, right = _identity(key, others[0]), _identity(key, named[0])
        kept = left in before and right in before and before.index(left) < before.index(right)
        result.append((others if kept else named).pop(0))
    return result + named + others


def _merge_key(field: str, items: list[Any]) -> str:
    """The first of the list's keys: strategic merge looks at one only."""
    return next(iter(list_keys(field, items)), "")


def _identity(key: str, item: Any) -> Any:
    return item.get(key) if key and isinstance(item, dict) else item


def json_patch(target: Object, operations: Any) -> Object:
    """RFC 6902. Raises ApiError 400 for what is no patch and 422 for one that does not apply."""
    import jsonpatch
    from jsonpointer import JsonPointerException

    failures = (jsonpatch.JsonPatchException, JsonPointerException, TypeError, ValueError)
    try:
        steps = [jsonpatch.JsonPatch([operation]) for operation in operations]
    except (*failures, AttributeError, KeyError) as error:
        raise bad_request(f"error decoding patch: {error}") from None
    document: Any = clone(target)
    for step in steps:
        try:
            document = step.apply(document, in_place=True)
        except (*failures, KeyError, IndexError):
            raise _unprocessable() from None
    if not isinstance(document, dict):
        raise _unprocessable()
    return document


def _unprocessable() -> ApiError:
    """A real server does not say which operation failed, or why."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", message)
