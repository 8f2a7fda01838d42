"""What a container finds in its environment: its spec's variables, and its cluster's."""

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from smoldebug.lab.catalog import Resource
from smoldebug.lab.objects import CONFIGMAPS, SECRETS, SERVICES
from smoldebug.lab.store import ApiError, Store
from smoldebug.sources.world import Object

_HERE = Path(__file__).parent
PYTHONPATH = os.pathsep.join((str(_HERE / "dns"), str(_HERE.parent.parent)))
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


class ConfigError(Exception):
    """A container cannot be configured: the message of CreateContainerConfigError."""


def environment(
    store: Store,
    pod: Object,
    container: Object,
    hosts: Path,
    real_paths: Callable[[str], str] = str,
) -> dict[str, str]:
    """All variables of one container; `hosts` is the file its names are resolved with, `real_paths`
    puts the real ones in place of a container's.

    Raises ConfigError for a Secret, ConfigMap or key that is not there.
    """
    meta = pod["metadata"]
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOSTNAME": meta["name"],
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": PYTHONPATH,
        "LAB_HOSTS": str(hosts),
        "LAB_NAMESPACE": meta["namespace"],
        "LAB_POD_IP": pod["status"]["podIP"],
    }
    env |= dict(service_variables(store, meta["namespace"]))
    for source in container.get("envFrom") or ():
        found = _from_source(store, meta["namespace"], source)
        env |= {name: real_paths(value) for name, value in found.items()}
    for variable in container.get("env") or ():
        value = _value(store, pod, variable)
        if value is not None:
            env[variable["name"]] = expand(real_paths(value), env)
    if not env["PYTHONPATH"].endswith(PYTHONPATH):  # its own modules, and the cluster's names
        env["PYTHONPATH"] += os.pathsep + PYTHONPATH
    return env


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace $(NAME) as Kubernetes does: unknown names stay, $$ is a dollar."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else env.get(found[1], found[0])

    return _REFERENCE.sub(value, text)


def service_variables(store: Store, namespace: str) -> Iterator[tuple[str, str]]:
    """AUTH_SERVICE_HOST, AUTH_SERVICE_PORT: the namespace's Services."""
    for service in store.scan(SERVICES, namespace)[0]:
        spec = service["spec"]
        if spec.get("clusterIP", "None") != "None" and spec.get("ports"):
            name = service["metadata"]["name"].upper().replace("-", "_")
            yield f"{name}_SERVICE_HOST", spec["clusterIP"]
            yield f"{name}_SERVICE_PORT", str(spec["ports"][0]["port"])


def _value(store: Store, pod: Object, variable: Object) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return str(variable.get("value", ""))
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    for kind, name in ((CONFIGMAPS, "configMapKeyRef"), (SECRETS, "secretKeyRef")):
        if name in source:
            return _key(store, kind, pod["metadata"]["namespace"], source[name])
    raise ConfigError(f"variable {variable['name']}: the lab knows no source {list(source)}")


def _key(store: Store, kind: Resource, namespace: str, ref: Object) -> str | None:
    data = _data(store, kind, namespace, ref)
    if ref["key"] in data:
        return data[ref["key"]]
    if ref.get("optional"):
        return None
    raise ConfigError(f"couldn't find key {ref['key']} in {kind.kind} {namespace}/{ref['name']}")


def _from_source(store: Store, namespace: str, source: Object) -> dict[str, str]:
    kind, name = CONFIGMAPS, "configMapRef"
    if "secretRef" in source:
        kind, name = SECRETS, "secretRef"
    prefix = source.get("prefix", "")
    data = _data(store, kind, namespace, source[name])
    return {prefix + key: value for key, value in data.items()}


def _data(store: Store, kind: Resource, namespace: str, ref: Object) -> dict[str, str]:
    """The text values of a ConfigMap or Secret; {} when it is optional and not there."""
    try:
        obj = store.peek(kind, namespace, ref["name"])
    except ApiError:
        if ref.get("optional"):
            return {}
        raise ConfigError(f'{kind.kind.lower()} "{ref["name"]}" not found') from None
    data = obj.get("data") or {}
    if kind is SECRETS:
        return {k: base64.b64decode(v).decode("utf-8", "replace") for k, v in data.items()}
    return data


def _field(pod: Object, path: str) -> str:
    """A `fieldRef`: metadata.name, metadata.labels['app'], status.podIP, spec.nodeName."""
    found = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if found:
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    value: object = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)
