"""Who keeps an object as it is: Helm, Argo CD, Flux, an operator, or a controller of Kubernetes.

A live change of such an object does not last. What each tool leaves on the objects it writes is
read here, and nothing else: a label that anybody may set for show (`app.kubernetes.io/instance`)
says nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from smoldebug.records import Json, Managed
from smoldebug.sources.kinds import find
from smoldebug.untrusted import one_line

Object = Mapping[str, Any]

_MANAGERS = {  # field managers of server-side apply
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "helm": "Helm",
}
_FLUX = {"kustomize.toolkit.fluxcd.io": "Kustomization", "helm.toolkit.fluxcd.io": "HelmRelease"}


def managed_by(live: Object) -> Managed | None:
    """Whoever will put this object back, or None. The closest one: a controller that owns it, then
    what synchronises it from Git, then Helm."""
    for found in (_controller(live), _flux(live), _argo(live), _helm(live), _manager(live)):
        if found is not None:
            return Managed(one_line(found.by, 60), one_line(found.owner, 120))
    return None


def built_in(managed: Managed) -> bool:
    """Is it a controller of Kubernetes' own, which only ever follows another object?"""
    return find(managed.by) is not None


def advice(managed: Managed) -> str:
    """Where to make the change instead."""
    if managed.by == "Helm":
        return f"change the values of its chart and upgrade {managed.owner}"
    if managed.by in ("Argo CD", "Flux"):
        return f"change it in Git, where {managed.owner} takes it from"
    return f"change {managed.owner} instead"


def _controller(live: Object) -> Managed | None:
    for owner in _list(_meta(live).get("ownerReferences")):
        if isinstance(owner, Mapping) and owner.get("controller"):
            kind, name = str(owner.get("kind")), str(owner.get("name"))
            known = find(kind)
            # a ReplicaSet of one's own API group is none of Kubernetes'
            groups = {each.rpartition("/")[0] for each in known.versions} if known else set()
            group = str(owner.get("apiVersion", "")).rpartition("/")[0]
            by = kind if group in groups else f"{kind}.{group}" if known else kind
            where = "" if kind == "Node" else str(_meta(live).get("namespace") or "")
            return Managed(by, "/".join(part for part in (kind, where, name) if part))
    return None


def _flux(live: Object) -> Managed | None:
    labels = _map(_meta(live).get("labels"))
    for group, kind in _FLUX.items():
        if name := labels.get(f"{group}/name"):
            return Managed("Flux", f"{kind} {labels.get(f'{group}/namespace', '')}/{name}")
    return None


def _argo(live: Object) -> Managed | None:
    """Tracked by annotation (`app:group/Kind:namespace/name`) or by Argo CD's own label. The
    annotation is copied along with a manifest; it counts for the object that it names."""
    labels, notes = (_map(_meta(live).get(key)) for key in ("labels", "annotations"))
    application, _, what = str(notes.get("argocd.argoproj.io/tracking-id", "")).partition(":")
    if application and what.endswith(f"/{_meta(live).get('name')}"):
        return Managed("Argo CD", f"Application {application}")
    if name := labels.get("argocd.argoproj.io/instance"):
        return Managed("Argo CD", f"Application {name}")
    return None


def _helm(live: Object) -> Managed | None:
    labels, notes = (_map(_meta(live).get(key)) for key in ("labels", "annotations"))
    if name := notes.get("meta.helm.sh/release-name"):
        where = notes.get("meta.helm.sh/release-namespace", _meta(live).get("namespace", ""))
        return Managed("Helm", f"release {where}/{name}")
    if labels.get("app.kubernetes.io/managed-by") == "Helm":
        return Managed("Helm", "a release that it does not name")
    return None


def _manager(live: Object) -> Managed | None:
    """By who applied its fields, where whatever it leaves otherwise was taken off."""
    for entry in _list(_meta(live).get("managedFields")):
        entry = _map(entry)
        by = _MANAGERS.get(str(entry.get("manager")))
        if by and not entry.get("subresource"):
            return Managed(by, f"what its field manager {entry['manager']} applies")
    return None


def _meta(live: Object) -> Mapping[str, Any]:
    return _map(live.get("metadata"))


def _map(value: Json) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Json) -> Iterator[Any]:
    return iter(value if isinstance(value, list) else ())
