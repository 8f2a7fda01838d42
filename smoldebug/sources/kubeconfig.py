"""Which kubeconfig and context a run uses, read without the Kubernetes client (it is slow to load).

Messages name files, contexts and keys, never a value: user entries hold tokens.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from smoldebug.errors import UsageError
from smoldebug.sources.kinds import did_you_mean

DEFAULT = "~/.kube/config"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Access:
    """`files` is as in $KUBECONFIG, or "" for a pod's own service account."""

    context: str
    namespace: str
    files: str


def choose(context: str | None, kubeconfig: str | None, environ: Mapping[str, str]) -> Access:
    """Flag, then $KUBECONFIG, then the default file, then the pod's service account.

    Raises UsageError when there is none, or it has no such context.
    """
    files = kubeconfig or environ.get("KUBECONFIG") or DEFAULT
    found = [path for path in _paths(files) if path.is_file()]
    if kubeconfig and not found:
        raise UsageError(f"no such kubeconfig: {kubeconfig}")
    if not found and not context and environ.get("KUBERNETES_SERVICE_HOST"):
        return Access("in-cluster", _pod_namespace(), "")
    if not found:
        raise UsageError(
            f"no kubeconfig found: {files}", hint="give --kubeconfig FILE, or set KUBECONFIG"
        )
    contexts, current = _read(found)
    name = context or current
    if name not in contexts:
        raise _unknown(name, list(contexts), files)
    return Access(name, contexts[name], os.pathsep.join(map(str, found)))


def _unknown(name: str, contexts: list[str], files: str) -> UsageError:
    if not name:
        what = f"kubeconfig {files} sets no current context; give --context"
    else:
        what = f"unknown context: {name}"
    close = did_you_mean(name, contexts)
    listed = f"contexts of {files}: {', '.join(contexts) or 'none'}"
    return UsageError(what, hint=f"{close} {listed}".strip())


def _paths(files: str) -> Iterator[Path]:
    for part in files.split(os.pathsep):
        if part:
            yield Path(part).expanduser()


def _read(paths: list[Path]) -> tuple[dict[str, str], str]:
    """Contexts with their default namespace, and the current one. The first file wins a name."""
    contexts: dict[str, str] = {}
    current = ""
    for path in paths:
        data = _parse(path)
        current = current or str(data.get("current-context") or "")
        for entry in data.get("contexts") or []:
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                inner = entry.get("context")
                namespace = inner.get("namespace") if isinstance(inner, dict) else None
                contexts.setdefault(entry["name"], str(namespace or "default"))
    return contexts, current


def _parse(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 a SafeLoader
    except OSError as error:
        raise UsageError(f"cannot read kubeconfig {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"kubeconfig is not text: {path}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UsageError(f"kubeconfig is not YAML: {path}{line}") from None
    if not isinstance(data, dict):
        raise UsageError(f"kubeconfig holds no mapping: {path}")
    return data


def _pod_namespace() -> str:
    try:
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"
