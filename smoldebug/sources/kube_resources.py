"""Which API resource a kind's name means: our own table first, discovery for the rest."""

import hashlib
import threading
import time
from typing import Any

import msgspec

from smoldebug.errors import UsageError
from smoldebug.sources.kinds import KINDS, did_you_mean, find

DISCOVERY_SECONDS = 6 * 3600.0  # how long found kinds are remembered on disk


class Resources:
    """The API resources behind a kind's name: our own table first, discovery for the rest."""

    def __init__(self, dynamic: Any) -> None:
        self._dynamic = dynamic
        self._lock = threading.Lock()
        self._known: dict[str, list[Any]] = {}

    def of(self, kind: str, version: str = "") -> list[Any]:
        """Candidates, newest version first, or the one of that `group/version`. A version that
        is not served may be removed."""
        with self._lock:
            key = f"{kind} {version}".strip()
            if key not in self._known:
                self._known[key] = self._built_in(kind, version) or [self._discover(kind, version)]
            return self._known[key]

    def _built_in(self, name: str, wanted: str) -> list[Any]:
        from kubernetes.dynamic import Resource

        known = find(name)
        if known is None:
            return []
        found = []
        for served in known.versions:
            if wanted not in ("", served):
                continue
            group, _, version = served.rpartition("/")
            prefix = "apis" if group else "api"
            found.append(
                Resource(
                    prefix=prefix,
                    group=group,
                    api_version=version,
                    kind=known.kind,
                    name=known.plural,
                    namespaced=known.namespaced,
                    client=self._dynamic,
                )
            )
        return found

    def _discover(self, name: str, version: str) -> Any:
        """A custom resource, by whatever the server calls it."""
        from kubernetes.dynamic import LazyDiscoverer, ResourceList

        discoverer = LazyDiscoverer(self._dynamic, _discovery_file(self._dynamic.client))
        names = {kind.kind for kind in KINDS}
        for attempt in range(2):
            for resource in (item for group in discoverer for item in group):
                if isinstance(resource, ResourceList):
                    continue
                names.add(resource.kind)
                if _called(resource, name) and version in ("", resource.group_version):
                    return resource
            if not attempt:
                discoverer.invalidate_cache()  # it may have been installed since
        close = did_you_mean(name.lower(), {word.lower(): word for word in names})
        what = f"unknown kind: {name}"
        raise UsageError(f"{what} in {version}" if version else what, hint=close)


def _called(resource: Any, name: str) -> bool:
    names = [resource.kind, resource.name, resource.singular_name, *(resource.short_names or [])]
    return name.lower() in (word.lower() for word in names)


def _discovery_file(api: Any) -> str:
    """Where found kinds are kept; an old or broken file is removed, the client would complain."""
    from platformdirs import user_cache_path

    host = api.configuration.host
    folder = user_cache_path("smoldebug")
    path = folder / f"kinds-{hashlib.sha256(host.encode()).hexdigest()[:16]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if time.time() - path.stat().st_mtime > DISCOVERY_SECONDS:
            path.unlink()
        else:
            msgspec.json.decode(path.read_bytes())
    except msgspec.MsgspecError:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # no file yet, or no place for one: the client then goes without
    return str(path)
