"""`pods/NAME/ephemeralcontainers`: what `kubectl debug` adds to a pod that runs."""

from collections.abc import Callable, Iterator

from smoldebug.lab.apierror import invalid_fields
from smoldebug.lab.catalog import resource
from smoldebug.sources.world import Object

Change = Callable[[Object], Object]
Errors = Iterator[tuple[str, str]]  # field, why

_PODS = resource("pods")
_FIELD = "spec.ephemeralContainers"
_NOT_HERE = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
_DEFAULTS = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}


def adding(change: Change) -> Change:
    """A change of a pod of which only new ephemeral containers count. It raises ApiError 422."""

    def changed(pod: Object) -> Object:
        before = pod["spec"].get("ephemeralContainers") or []
        wanted = change(pod)["spec"].get("ephemeralContainers") or []
        after = [{**_DEFAULTS, **container} for container in wanted]
        errors = list(_errors(pod, before, after))
        if errors:
            raise invalid_fields(_PODS, pod["metadata"]["name"], errors)
        return {**pod, "spec": pod["spec"] | {"ephemeralContainers": after}}

    return changed


def _errors(pod: Object, before: list[Object], after: list[Object]) -> Errors:
    """What is wrong with a pod's ephemeral containers: field and reason."""
    names = {container.get("name"): container for container in after}
    for old in before:
        if names.get(old["name"]) != old:
            what = "changed" if old["name"] in names else "removed"
            why = f'existing ephemeral containers "{old["name"]}" may not be {what}'
            yield _FIELD, f"Forbidden: {why}"
    kinds = ("containers", "initContainers")
    taken = [c["name"] for kind in kinds for c in pod["spec"].get(kind) or ()]
    others = list(taken)
    for index, container in enumerate(after):
        yield from _errors_of(container, f"{_FIELD}[{index}]", taken, others)
        taken.append(container.get("name", ""))


def _errors_of(container: Object, at: str, taken: list[str], others: list[str]) -> Errors:
    for needed in ("name", "image"):
        if not container.get(needed):
            yield f"{at}.{needed}", "Required value"
    if container.get("name") in taken:
        yield f"{at}.name", f'Duplicate value: "{container["name"]}"'
    target = container.get("targetContainerName")
    if target and target not in others:
        yield f"{at}.targetContainerName", f'Not found: "{target}"'
    for name in _NOT_HERE:
        if container.get(name):
            yield f"{at}.{name}", "Forbidden: cannot be set for an Ephemeral Container"
