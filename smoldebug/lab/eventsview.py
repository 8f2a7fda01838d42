"""Events in the two forms the API offers: core `v1`, as stored, and `events.k8s.io/v1`."""

from smoldebug.lab.catalog import Resource
from smoldebug.sources.world import Object

_CORE_NAME = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_NEW_NAME = {core: new for new, core in _CORE_NAME.items()}


def shown(resource: Resource, obj: Object) -> Object:
    """A stored object in the form of the resource it was asked for by."""
    if resource.group != "events.k8s.io":
        return obj
    return _renamed(obj, _NEW_NAME) | {"apiVersion": resource.api_version}


def stored(resource: Resource, obj: Object) -> Object:
    """The reverse of `shown`."""
    if resource.group != "events.k8s.io":
        return obj
    return _renamed(obj, _CORE_NAME) | {"apiVersion": "v1"}


def _renamed(obj: Object, names: dict[str, str]) -> Object:
    return {names.get(key, key): value for key, value in obj.items()}
