"""A pod's volumes, as folders of the lab."""

import base64
from pathlib import Path

from smoldebug.lab.objects import CLAIMS, CONFIGMAPS, SECRETS
from smoldebug.lab.store import ApiError, Store
from smoldebug.sources.world import Object

_KINDS = {"configMap": CONFIGMAPS, "secret": SECRETS}


class MountError(Exception):
    """A volume cannot be set up: the message of a FailedMount event."""


def mount(store: Store, pod: Object, container: Object, folder: Path) -> dict[str, Path]:
    """Set up what a container mounts, below its pod's own `folder`: files of ConfigMaps and
    Secrets as these are now, an empty folder for what the lab has nothing to put into. Returns
    where each mount really is.

    Raises MountError for a ConfigMap, Secret, key or claim that is not there.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    mounts = {}
    for wanted in container.get("volumeMounts") or ():
        place = _volume(store, pod, volumes[wanted["name"]], folder)
        mounts[wanted["mountPath"].rstrip("/")] = place / wanted.get("subPath", "")
    return mounts


def _volume(store: Store, pod: Object, volume: Object, folder: Path) -> Path:
    namespace, place = pod["metadata"]["namespace"], folder / str(volume["name"])
    sources = (volume.get("projected") or {}).get("sources") or [volume]
    kinds = [(kind, source[kind]) for source in sources for kind in _KINDS if kind in source]
    try:
        if claim := volume.get("persistentVolumeClaim"):
            place = _claimed(store, namespace, claim["claimName"], folder.parent.parent)
        place.mkdir(parents=True, exist_ok=True)
        if kinds:
            found = (_files(store, namespace, kind, source) for kind, source in kinds)
            _write(place, {path: content for files in found for path, content in files.items()})
    except (MountError, OSError) as error:
        what = f'MountVolume.SetUp failed for volume "{volume["name"]}"'
        raise MountError(f"{what} : {error}") from None
    return place


def _write(place: Path, files: dict[str, bytes]) -> None:
    """Make a folder hold these files and no others; another container may be reading them."""
    for old in [path for path in place.rglob("*") if path.is_file()]:
        if str(old.relative_to(place)) not in files:
            old.unlink()
    for path, content in files.items():
        whole = place / path
        if not whole.resolve().is_relative_to(place.resolve()):
            raise MountError(f"a path outside the volume: {path}")
        whole.parent.mkdir(parents=True, exist_ok=True)
        new = whole.with_name(f"..{whole.name}")
        new.write_bytes(content)
        new.replace(whole)


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
