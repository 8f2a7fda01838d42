"""A pod's volumes, as folders of the lab. A pod sees this machine's files: a path below a mount
is therefore replaced wherever a command, an argument or a variable names it."""

import base64
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from smoldebug.lab.objects import CLAIMS, CONFIGMAPS, SECRETS
from smoldebug.lab.store import ApiError, Store
from smoldebug.sources.world import Object

Mounts = Mapping[str, Path]  # where a container sees it -> where it is
_KINDS = {"configMap": CONFIGMAPS, "secret": SECRETS}
_PATH = re.compile(r"(?<![\w./-])/[\w./-]+")


class MountError(Exception):
    """A volume cannot be set up: the message of a FailedMount event."""


def mount(store: Store, pod: Object, container: Object, folder: Path) -> Mounts:
    """Set up what a container mounts, below its pod's own `folder`: files of ConfigMaps and
    Secrets as these are now, an empty folder for what the lab has nothing to put into.

    Raises MountError for a ConfigMap, Secret, key or claim that is not there.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    mounts = {}
    for wanted in container.get("volumeMounts") or ():
        place = _volume(store, pod, volumes[wanted["name"]], folder)
        mounts[wanted["mountPath"].rstrip("/")] = place / wanted.get("subPath", "")
    return mounts


def relocated(text: str, real: Callable[[str], Path | None]) -> str:
    """The text with each absolute path in it replaced that `real` knows another one for."""
    return _PATH.sub(lambda found: str(real(found[0]) or found[0]), text)


def below(mounts: Mounts, path: str) -> Path | None:
    """Where a path below a mount really is."""
    for place in sorted(mounts, key=len, reverse=True):
        if path == place or path.startswith(f"{place}/"):
            return mounts[place] / path[len(place) + 1 :]
    return None


def _volume(store: Store, pod: Object, volume: Object, folder: Path) -> Path:
    namespace, place = pod["metadata"]["namespace"], folder / str(volume["name"])
    if claim := volume.get("persistentVolumeClaim"):
        place = _claimed(store, namespace, claim["claimName"], folder.parent.parent)
    files: dict[str, bytes] = {}
    sources = (volume.get("projected") or {}).get("sources") or [volume]
    kinds = [(kind, source[kind]) for source in sources for kind in _KINDS if kind in source]
    try:
        for kind, source in kinds:
            files |= _files(store, namespace, kind, source)
    except MountError as error:
        raise MountError(
            f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
        ) from None
    if kinds:  # a key that is gone leaves no file
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    return place


def _claimed(store: Store, namespace: str, name: str, folder: Path) -> Path:
    """The claim's own folder: it outlives the pods."""
    try:
        claim = store.peek(CLAIMS, namespace, name)
    except ApiError:
        raise MountError(f'persistentvolumeclaim "{name}" not found') from None
    return folder / "_claims" / str(claim["metadata"]["uid"])


def _files(store: Store, namespace: str, kind: str, source: Object) -> dict[str, bytes]:
    """Path -> content of what a ConfigMap or Secret puts into a volume."""
    name, optional = source.get("name") or source.get("secretName", ""), source.get("optional")
    try:
        data = _content(store.peek(_KINDS[kind], namespace, name))
    except ApiError:
        if optional:
            return {}
        raise MountError(f'{kind.lower()} "{name}" not found') from None
    items = source.get("items")
    if items is None:
        return data
    missing = [item["key"] for item in items if item["key"] not in data]
    if missing and not optional:
        raise MountError(f"references non-existent {kind.lower()} key: {missing[0]}")
    return {item["path"]: data[item["key"]] for item in items if item["key"] in data}


def _content(obj: Object) -> dict[str, bytes]:
    encoded = obj.get("data") if obj["kind"] == "Secret" else obj.get("binaryData")
    text = {} if obj["kind"] == "Secret" else obj.get("data") or {}
    files = {key: base64.b64decode(value) for key, value in (encoded or {}).items()}
    return files | {key: value.encode() for key, value in text.items()}
