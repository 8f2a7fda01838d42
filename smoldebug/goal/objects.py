"""object: does a Kubernetes object look like this?"""

import msgspec

from smoldebug.errors import UsageError
from smoldebug.goal.check import Check, Measured, Setting, met, not_met
from smoldebug.goal.reading import ref_of
from smoldebug.playbook.models import ObjectCheck
from smoldebug.records import Json, ObjectRef
from smoldebug.sources.kinds import kind_name
from smoldebug.sources.world import Cluster
from smoldebug.untrusted import one_line


def object_(check: ObjectCheck, setting: Setting) -> Check:
    if bool(check.name) and bool(check.labels):
        raise UsageError("object check takes a name or labels, not both")
    kind = kind_name(check.kind)
    ref = ObjectRef(kind, setting.namespace_of(kind, check.namespace), check.name)
    expected = msgspec.to_builtins(check.matches, str_keys=True)
    label = f"object {ref}" + (f" with {one_line(check.labels, 40)}" if check.labels else "")
    return Check(
        label, "object", lambda _: _match(ref, check.labels, expected, setting.cluster), str(ref)
    )


def _match(ref: ObjectRef, labels: str, expected: Json, cluster: Cluster) -> Measured:
    found = [cluster.get(ref)] if ref.name else cluster.list(ref.kind, ref.namespace, labels=labels)
    if not found:
        return not_met(f"no {ref.kind} found")
    for item in found:
        if problem := difference(expected, item):
            subject = str(ref_of(item, ref.kind))
            return not_met(problem if ref.name else f"{subject}: {problem}", subject=subject)
    return met("matches" if ref.name else f"all {len(found)} match")


def difference(expected: Json, actual: Json, path: str = "") -> str:
    """Where an object fails to match, in words; "" when it does not.

    A mapping must hold the keys given, a list the same number of items, each matching in its
    place, anything else must be the same JSON value. An expected null is met by an absent key.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        parts = (
            difference(value, actual.get(key), f"{path}.{key}" if path else key)
            for key, value in expected.items()
        )
        return next(filter(None, parts), "")
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return f"{path} has {len(actual)} items, not {len(expected)}"
        pairs = enumerate(zip(expected, actual, strict=True))
        return next(
            filter(None, (difference(*pair, f"{path}[{place}]") for place, pair in pairs)), ""
        )
    if _same(expected, actual):
        return ""
    return f"{path} is {_shown(actual)}, not {_shown(expected)}"


def _same(expected: Json, actual: Json) -> bool:
    """1 is 1.0, but "1" is not 1, and true is not 1."""
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    return bool(expected == actual)


def _shown(value: Json) -> str:
    if value is None:
        return "absent"
    return one_line(msgspec.json.encode(value).decode(errors="replace"), 60)
