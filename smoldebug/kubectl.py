"""A change in other words: a diff for people, the kubectl command for the same, a summary."""

import difflib
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from smoldebug.fieldvalues import MAPS, SERVED
from smoldebug.pointers import Step, dotted, lookup, steps
from smoldebug.records import OF_RELEASE, Change, ChangeKind, Json

KUBE_KINDS: Sequence[ChangeKind] = (
    ChangeKind.SCALE,
    ChangeKind.RESTART,
    ChangeKind.ROLLBACK,
    ChangeKind.SET_IMAGE,
    ChangeKind.SET_ENV,
    ChangeKind.SET_RESOURCES,
    ChangeKind.SET_PROBE,
    ChangeKind.SET_COMMAND,
    ChangeKind.SET_REPLICAS_BOUNDS,
    ChangeKind.SET_CONFIG_KEY,
    ChangeKind.PATCH_SELECTOR,
    ChangeKind.PATCH_PORT,
    ChangeKind.PATCH_OBJECT,
    ChangeKind.EDIT_NETWORKPOLICY,
    ChangeKind.SUSPEND,
    ChangeKind.RESUME,
    ChangeKind.CORDON,
    ChangeKind.UNCORDON,
    ChangeKind.ADD_TAINT,
    ChangeKind.REMOVE_TAINT,
    ChangeKind.LABEL_NODE,
    ChangeKind.APPLY_OBJECT,
    ChangeKind.CREATE_OBJECT,
    ChangeKind.DELETE_OBJECT,
    ChangeKind.DEBUG_CONTAINER,
)

_MASK = re.compile(r"\[[a-z]+:[0-9a-f]{4}\]")  # of redact.py, which is a neighbour

# --- the difference -------------------------------------------------------------------------


def field_diff(change: Change) -> str:
    """Lines with - and + for the touched fields only, each with its whole path; long values as a
    unified diff of YAML."""
    lines: list[str] = []
    for path in dict.fromkeys((*change.before, *change.after)):
        before, after = _as_yaml(path, change.before), _as_yaml(path, change.after)
        found = _changed(before, after)[1:]  # where the first part is, the path says
        same = before[:1] == after[:1]
        if found and same and found[0] != f" {before[0]}":  # too far above the first part
            lines.append(f" {before[0]}")
        lines += found
    return "\n".join(lines)


def object_diff(live: Json, wanted: Json) -> str:
    """Unified diff of two whole objects as YAML; None is one that is not there."""
    return "\n".join(_changed(_as_yaml("", {"": live}), _as_yaml("", {"": wanted})))


def _changed(before: list[str], after: list[str]) -> list[str]:
    return list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]  # no file names


def _as_yaml(path: str, values: Mapping[str, Json]) -> list[str]:
    value = values.get(path)
    if path not in values or (not path and value is None):
        return []
    told = {dotted(path): value} if path else value
    text: str = yaml.dump(told, Dumper=_Dumper, sort_keys=True, width=math.inf)
    return text.splitlines()


class _Dumper(yaml.SafeDumper):
    """A file in a ConfigMap line by line, as kubectl shows it; what cannot be shown like that is
    quoted."""

    def text(self, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return self.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _Dumper.text)


# --- the command ----------------------------------------------------------------------------


def kubectl_command(change: Change, context: str = "", kubeconfig: str = "") -> str:
    """What a person would type for the same effect, in any shell; a comment where a value is
    masked, for a command would write the mask into the cluster."""
    where = ["--kubeconfig", kubeconfig] if kubeconfig else []
    where += ["--context", context] if context else []
    where += ["-n", change.target.namespace] if change.target.namespace else []
    words = _COMMANDS.get(change.kind, _patch)(change) or _patch(change)
    line = shlex.join(["kubectl", *where, *words])
    if change.kind in (ChangeKind.APPLY_OBJECT, ChangeKind.CREATE_OBJECT):
        manifest = _to_send(change.manifest or change.after.get(""))
        line = f"printf %s {shlex.quote(_compact(manifest))} | {line}"
    return "# no kubectl command: a value in it is masked here" if _MASK.search(line) else line


def helm_command(change: Change, context: str = "", kubeconfig: str = "") -> str:
    """The same of a change of a Helm release; the values come from standard input."""
    words = ["helm", *(["--kubeconfig", kubeconfig] if kubeconfig else [])]
    words += ["--kube-context", context] if context else []
    words += ["-n", change.target.namespace]
    if change.kind is ChangeKind.HELM_ROLLBACK:
        return shlex.join([*words, "rollback", change.target.name, str(change.revision)])
    chart = str(change.after["/path"])
    line = shlex.join([*words, "upgrade", change.target.name, chart, "--reset-values", "-f", "-"])
    line = f"printf %s {shlex.quote(_compact(change.after['/values']))} | {line}"
    return "# no helm command: a value in it is masked here" if _MASK.search(line) else line


def _to_send(manifest: Json) -> Json:
    """Without what a server sets: it refuses to create what has a resourceVersion, and to apply
    what has managedFields."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("metadata"), dict):
        return manifest
    meta = {key: value for key, value in manifest["metadata"].items() if key not in SERVED}
    return {key: value for key, value in manifest.items() if key != "status"} | {"metadata": meta}


def _named(change: Change) -> str:
    return f"{change.target.kind.lower()}/{change.target.name}"


def _scale(change: Change) -> list[str]:
    return ["scale", _named(change), f"--replicas={change.after.get('/spec/replicas')}"]


def _restart(change: Change) -> list[str]:
    return ["rollout", "restart", _named(change)]


def _rollback(change: Change) -> list[str]:
    to = [f"--to-revision={change.revision}"] if change.revision else []
    return ["rollout", "undo", _named(change), *to]


def _cordon(change: Change) -> list[str]:
    return [change.kind.value, change.target.name]


def _create(change: Change) -> list[str]:
    return ["create", "-f", "-"]


def _apply(change: Change) -> list[str]:
    return ["apply", "--server-side", "-f", "-"]


def _delete(change: Change) -> list[str]:
    return ["delete", _named(change)]


def _set_image(change: Change) -> list[str]:
    """Empty where it is more than images of containers."""
    images = [
        f"{name}={value}" for name, field, value in _of_containers(change) if field == "image"
    ]
    return ["set", "image", _named(change), *images] if len(images) == len(_paths(change)) else []


def _set_env(change: Change) -> list[str]:
    """Empty where it is more than plain values in one container."""
    words, containers = [], set()
    for path in _paths(change):
        match steps(path):
            case [*_, {"name": container}, "env", {"name": name}, "value"] if path in change.after:
                words.append(f"{name}={change.after[path]}")
            case [*_, {"name": container}, "env", {"name": name}]:
                value = change.after.get(path, {})
                if not isinstance(value, dict) or value.keys() - {"name", "value"}:
                    return []
                words.append(f"{name}={value.get('value', '')}" if value else f"{name}-")
            case _:
                return []
        containers.add(container)
    return ["set", "env", _named(change), "-c", *containers, *words] if len(containers) == 1 else []


def _set_resources(change: Change) -> list[str]:
    """Empty where it is more than new limits and requests of one container."""
    given: dict[str, list[str]] = {}
    containers = set()
    for path in _paths(change):
        match steps(path):
            case [*_, {"name": container}, "resources", ("limits" | "requests") as side, str(name)]:
                given.setdefault(side, []).append(f"{name}={change.after.get(path)}")
                containers.add(container)
            case _:
                return []
    if len(containers) != 1 or change.before.keys() - change.after.keys():
        return []
    amounts = [f"--{side}={','.join(given[side])}" for side in sorted(given)]
    return ["set", "resources", _named(change), "-c", *containers, *amounts]


def _taint(change: Change) -> list[str]:
    words = []
    for path in _paths(change):
        match steps(path):
            case ["spec", "taints", {"key": key, "effect": effect}]:
                value = lookup(change.after.get(path), "/value")
                said = f"{key}={value}:{effect}" if value else f"{key}:{effect}"
                words.append(said if path in change.after else f"{key}:{effect}-")
            case _:
                return []
    return ["taint", "nodes", change.target.name, *words]


def _label(change: Change) -> list[str]:
    words = []
    for path in _paths(change):
        match steps(path):
            case ["metadata", "labels", str(key)]:
                kept = path in change.after
                words.append(f"{key}={change.after[path]}" if kept else f"{key}-")
            case _:
                return []
    overwrite = ["--overwrite"] if change.before.keys() & change.after.keys() else []
    return ["label", change.target.kind.lower(), change.target.name, *words, *overwrite]


def _debug(change: Change) -> list[str]:
    match list(change.after.values()):
        case [{"image": str(image), "name": str(name), **rest}]:
            words = ["debug", change.target.name, f"--image={image}", f"--container={name}"]
            target, command = lookup(rest, "/targetContainerName"), lookup(rest, "/command")
            words += [f"--target={target}"] if target else []
            return [*words, *(["--", *map(str, command)] if command else [])]
    return []


_COMMANDS = {
    ChangeKind.SCALE: _scale,
    ChangeKind.RESTART: _restart,
    ChangeKind.ROLLBACK: _rollback,
    ChangeKind.SET_IMAGE: _set_image,
    ChangeKind.SET_ENV: _set_env,
    ChangeKind.SET_RESOURCES: _set_resources,
    ChangeKind.CORDON: _cordon,
    ChangeKind.UNCORDON: _cordon,
    ChangeKind.ADD_TAINT: _taint,
    ChangeKind.REMOVE_TAINT: _taint,
    ChangeKind.LABEL_NODE: _label,
    ChangeKind.APPLY_OBJECT: _apply,
    ChangeKind.CREATE_OBJECT: _create,
    ChangeKind.DELETE_OBJECT: _delete,
    ChangeKind.DEBUG_CONTAINER: _debug,
}


def _of_containers(change: Change) -> list[tuple[str, str, Json]]:
    """Container, field and new value of every field directly inside a container."""
    found = []
    for path in change.after:
        match steps(path):
            case [*_, {"name": name}, str(field)]:
                found.append((name, field, change.after[path]))
    return found


def _paths(change: Change) -> list[str]:
    return list(dict.fromkeys((*change.before, *change.after)))


# --- the command for what has none of its own -----------------------------------------------


def _patch(change: Change) -> list[str]:
    """A JSON patch; a merge patch where the map around a new key may have to be made; where items
    of lists are named a strategic merge patch, which can name them too (and which only
    Kubernetes' own kinds take)."""
    kind = "json"
    if any(_in_map(path) for path in change.after if path not in change.before):
        replaced = any(isinstance(change.before.get(path), dict) for path in change.after)
        kind = "strategic" if replaced else "merge"
    if any(isinstance(step, dict) for path in _paths(change) for step in steps(path)):
        kind = "strategic"
    patch = _edits(change) if kind == "json" else _merge(change)
    words = ["patch", change.target.kind.lower(), change.target.name, f"--type={kind}"]
    return [*words, "-p", _compact(patch)]


def _in_map(path: str) -> bool:
    parts: list[Step] = ["", "", *steps(path)]
    around = parts[-2]
    return isinstance(around, str) and around in MAPS


def _edits(change: Change) -> list[dict[str, Any]]:
    before, after = change.before, change.after
    edits: list[dict[str, Any]] = [
        {"op": "replace" if path in before else "add", "path": path, "value": after[path]}
        for path in after
    ]
    return edits + [{"op": "remove", "path": path} for path in before if path not in after]


def _merge(change: Change) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for path in _paths(change):
        *above, last = steps(path)
        node: Any = patch
        for step, inside in zip(above, [*above[1:], last], strict=True):
            node = _entered(node, step, [] if isinstance(inside, dict) else {})
        value = change.after.get(path)
        if isinstance(value, dict) and path in change.before:
            value = {**value, "$patch": "replace"}
        if isinstance(last, str):
            node[last] = value
        else:
            node.append({**_typed(last), "$patch": "delete"} if value is None else value)
    return patch


def _entered(node: Any, step: Step, empty: Json) -> Any:
    """What a step leads to inside a patch, made where it is missing."""
    if isinstance(step, str):
        return node.setdefault(step, empty)
    keys = _typed(step)
    for item in node:
        if all(item.get(key) == keys[key] for key in keys):
            return item
    node.append(keys)
    return keys


def _typed(keys: Mapping[str, str]) -> dict[str, Any]:
    return {
        key: int(text) if key.lower().endswith("port") and text.isdecimal() else text
        for key, text in keys.items()
    }


def _compact(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))


# --- the summary ----------------------------------------------------------------------------


def summary(change: Change) -> str:
    """`Deployment/shop/auth replicas 1→2`, or the kind where the values are long."""
    parts = []
    for path in _paths(change):
        before, after = change.before.get(path), change.after.get(path)
        if not isinstance(before, dict | list) and not isinstance(after, dict | list):
            parts.append(f"{_leaf(path)} {_short(before)}→{_short(after)}")
    said = ", ".join(parts) or " ".join(filter(None, (change.kind, revisions(change))))
    return f"{change.target} {in_git(change) or of_release(change) or said}"


def of_release(change: Change) -> str:
    """`platform-2.4.0 → platform-2.5.0`, `revision 4 → 3, platform-2.4.0`; "" of other kinds."""
    if change.kind not in OF_RELEASE:
        return ""
    old, new = (str(side.get("/chart") or "?") for side in (change.before, change.after))
    if change.kind is ChangeKind.HELM_UPGRADE:
        return f"{old} → {new}" if old != new else f"{new} with other values"
    was = change.before.get("/revision")
    return (
        f"revision {was} → {change.revision}, {new}" if was else f"back to {change.revision}, {new}"
    )


def in_git(change: Change) -> str:
    """`new, at 3f2a1c9`, `3f2a1c9 → 9ab12cd`, `opened: Set FEATURE_FLAG`; "" of other kinds."""
    before, after = change.before, change.after
    if change.kind is ChangeKind.GIT_COMMIT:
        old, new = (str(side.get("/tip") or "")[:7] for side in (before, after))
        if not new:
            return f"deleted, was at {old}"
        return f"{old} → {new}" if old else f"new, at {new}"
    if change.kind is not ChangeKind.PULL_REQUEST:
        return ""
    if "/comment" in {**before, **after}:
        return "commented on" if "/comment" in after else "comment withdrawn"
    return f"asked for: {after.get('/title')}" if after else "closed"


def revisions(change: Change) -> str:
    """`revision 3 → 2`, of a rollback that knows them; else ""."""
    known = change.revision and change.from_revision
    return f"revision {change.from_revision} → {change.revision}" if known else ""


def _leaf(pointer: str) -> str:
    """`replicas`, `containers[app].image`, `env[PATH].value`."""
    parts = steps(pointer)
    items = [place for place, step in enumerate(parts) if isinstance(step, dict)]
    start = items[-1] - 1 if items else len(parts) - 1
    return dotted("/".join(["", *pointer.split("/")[1:][start:]]))


def _short(value: Json) -> str:
    return "none" if value is None else str(value)
