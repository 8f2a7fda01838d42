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
    """The change as a JSON patch (RFC 6902): tests first, then the edits."""
    tests: list[dict[str, Any]] = []
    edits: list[dict[str, Any]] = []
    if change.uid:
        tests.append({"op": "test", "path": "/metadata/uid", "value": change.uid})
    for path in sorted({*change.before, *change.after}):
        if path in change.before:
            tests.append({"op": "test", "path": path, "value": change.before[path]})
        if path in change.after:
            op = "replace" if path in change.before else "add"
            edits.append({"op": op, "path": path, "value": change.after[path]})
        else:
            edits.append({"op": "remove", "path": path})
    return tests + edits


def lookup(document: Json, pointer: str) -> Json:
    """The value at a JSON pointer (RFC 6901), None when it is absent."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            if not key.isdigit() or int(key) >= len(document):
                return None
            document = document[int(key)]
        elif isinstance(document, dict):
            document = document.get(key)
        else:
            return None
    return document


def field_diff(change: Change) -> str:
    """Lines with - and + for the touched fields only; long values as a unified diff of YAML."""
    lines: list[str] = []
    for path in dict.fromkeys((*change.before, *change.after)):
        before = _as_yaml(path, change.before)
        after = _as_yaml(path, change.after)
        lines += [
            line
            for line in difflib.unified_diff(before, after, lineterm="", n=2)
            if not line.startswith(("---", "+++", "@@"))
        ]
    return "\n".join(lines)


def _as_yaml(path: str, values: Mapping[str, Json]) -> list[str]:
    if path not in values:
        return []
    return yaml.safe_dump({_leaf(path): values[path]}, sort_keys=True).splitlines()


def kubectl_command(change: Change, context: str = "") -> str:
    """What a person would type for the same effect."""
    target = change.target
    where = [*(["--context", context] if context else [])]
    where += ["-n", target.namespace] if target.namespace else []
    kind = target.kind.lower()
    if change.kind is ChangeKind.SCALE:
        replicas = change.after.get("/spec/replicas")
        return shlex.join(
            ["kubectl", *where, "scale", f"{kind}/{target.name}", f"--replicas={replicas}"]
        )
    if change.kind is ChangeKind.RESTART:
        return shlex.join(["kubectl", *where, "rollout", "restart", f"{kind}/{target.name}"])
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
