"""A change in other words: a JSON patch, a diff for people, the kubectl command for the same."""

import difflib
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from smoldebug.records import Change, ChangeKind, Json

KUBE_KINDS: Sequence[ChangeKind] = (
    ChangeKind.SCALE,
    ChangeKind.RESTART,
    ChangeKind.ROLLBACK,
    ChangeKind.SET_REPLICAS_BOUNDS,
    ChangeKind.PATCH_OBJECT,
)


def operations(change: Change) -> list[dict[str, Any]]:
    """The change as a JSON patch (RFC 6902): tests first, then the edits.

    Removals go from the last item of a list to the first, additions the other way round, so that
    no edit moves what the next one means.
    """
    before, after = change.before, change.after
    uid = {"/metadata/uid": change.uid} if change.uid else {}
    replaced = sorted({*before} & {*after}, key=_place)
    removed = sorted({*before} - {*after}, key=_place, reverse=True)
    added = sorted({*after} - {*before}, key=_place)
    return [
        *({"op": "test", "path": path, "value": value} for path, value in uid.items()),
        *({"op": "test", "path": path, "value": before[path]} for path in sorted(before)),
        *({"op": "replace", "path": path, "value": after[path]} for path in replaced),
        *({"op": "remove", "path": path} for path in removed),
        *({"op": "add", "path": path, "value": after[path]} for path in added),
    ]


def _place(pointer: str) -> list[tuple[int, str]]:
    """Sorts list indices as numbers: /a/2 before /a/10."""
    return [(int(key) if key.isdecimal() else -1, key) for key in pointer.split("/")]


def lookup(document: Json, pointer: str) -> Json:
    """The value at a JSON pointer (RFC 6901), None when it is absent."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            if not key.isdecimal() or int(key) >= len(document):
                return None
            document = document[int(key)]
        elif isinstance(document, dict):
            document = document.get(key)
        else:
            return None
    return document


def field_diff(change: Change) -> str:
    """Lines with - and + for the touched fields only, each with its whole path; long values as a
    unified diff of YAML."""
    lines: list[str] = []
    for path in dict.fromkeys((*change.before, *change.after)):
        before = _as_yaml(path, change.before)
        after = _as_yaml(path, change.after)
        body = list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]  # no file names
        lines += [line for line in body if not line.startswith("@@")]
    return "\n".join(lines)


def _as_yaml(path: str, values: Mapping[str, Json]) -> list[str]:
    if path not in values:
        return []
    return yaml.safe_dump({path: values[path]}, sort_keys=True).splitlines()


def kubectl_command(change: Change, context: str = "", kubeconfig: str = "") -> str:
    """What a person would type for the same effect, in any shell."""
    target = change.target
    where = ["--kubeconfig", kubeconfig] if kubeconfig else []
    where += ["--context", context] if context else []
    where += ["-n", target.namespace] if target.namespace else []
    kind = target.kind.lower()
    if change.kind is ChangeKind.SCALE:
        replicas = change.after.get("/spec/replicas")
        return shlex.join(
            ["kubectl", *where, "scale", f"{kind}/{target.name}", f"--replicas={replicas}"]
        )
    if change.kind is ChangeKind.RESTART:
        return shlex.join(["kubectl", *where, "rollout", "restart", f"{kind}/{target.name}"])
    if change.kind is ChangeKind.ROLLBACK:
        to = [f"--to-revision={change.revision}"] if change.revision else []
        return shlex.join(["kubectl", *where, "rollout", "undo", f"{kind}/{target.name}", *to])
    edits = [edit for edit in operations(change) if edit["op"] != "test"]
    patch = json.dumps(edits, separators=(",", ":"))
    return shlex.join(["kubectl", *where, "patch", kind, target.name, "--type=json", "-p", patch])


def summary(change: Change) -> str:
    """`Deployment/shop/auth replicas 1→2`, or the kind where the values are long."""
    parts = []
    for path in dict.fromkeys((*change.before, *change.after)):
        before, after = change.before.get(path), change.after.get(path)
        if not isinstance(before, dict | list) and not isinstance(after, dict | list):
            parts.append(f"{_leaf(path)} {_short(before)}→{_short(after)}")
    return f"{change.target} {', '.join(parts) or change.kind}"


def _leaf(pointer: str) -> str:
    return pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def _short(value: Json) -> str:
    return "none" if value is None else str(value)
