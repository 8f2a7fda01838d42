"""What is sent to create, apply or delete an object: its manifest, without what a server sets."""

from collections.abc import Mapping

from smoldebug.errors import ChangeRefused
from smoldebug.fieldvalues import SERVED
from smoldebug.records import Change, Json
from smoldebug.sources.kube_writes import ANNOTATION, ref_of
from smoldebug.sources.world import Object

_ANNOTATIONS = (ANNOTATION, "deployment.kubernetes.io/revision")
_BOUND = ("nodeName", "serviceAccount", "ephemeralContainers")  # a Pod, to what it was
_ADDRESSES = ("clusterIP", "clusterIPs", "healthCheckNodePort")
_JOBS = ("controller-uid", "job-name")  # labels, with and without the prefix batch.kubernetes.io/


def manifest_of(change: Change) -> Object:
    """Raises ChangeRefused when it is not of the target, which the guard has judged."""
    given = change.manifest or change.after.get("") or change.before.get("")
    if not isinstance(given, dict) or not isinstance(given.get("metadata"), dict):
        raise ChangeRefused(f"the manifest of {change.target} is no Kubernetes object")
    if ref_of(given) != change.target:
        raise ChangeRefused(f"the manifest is not of {change.target}: {ref_of(given)}")
    meta = _without(given["metadata"], SERVED)
    if isinstance(meta.get("annotations"), dict):
        meta["annotations"] = _without(meta["annotations"], _ANNOTATIONS)
    manifest = {**_without(given, ("status",)), "metadata": meta}
    spec = given.get("spec")
    if isinstance(spec, dict) and change.target.kind == "Pod":
        manifest["spec"] = _without(spec, _BOUND)
    if isinstance(spec, dict) and change.target.kind == "Job" and not spec.get("manualSelector"):
        manifest["spec"] = _without(spec, ("selector",)) | {"template": _template(spec)}
    return manifest


def without_addresses(manifest: Object) -> Object:
    """A Service without the addresses and node ports that the cluster picks, a ServiceAccount
    without the tokens that older clusters make for it at any moment; all else as it is."""
    if manifest.get("kind") == "ServiceAccount":
        return _without(manifest, ("secrets",))
    spec = manifest.get("spec")
    if manifest.get("kind") != "Service" or not isinstance(spec, dict):
        return manifest
    if spec.get("clusterIP") == "None":  # headless: nothing was picked
        return manifest
    ports = [_without(port, ("nodePort",)) for port in spec.get("ports") or []]
    return {**manifest, "spec": {**_without(spec, _ADDRESSES), "ports": ports}}


def _template(spec: Mapping[str, Json]) -> Json:
    """A Job's pods without the labels that a server gives them."""
    template = spec.get("template") or {}
    meta = template.get("metadata") or {}
    labels = meta.get("labels") or {}
    given = {key: labels[key] for key in labels if key.rpartition("/")[2] not in _JOBS}
    return {**template, "metadata": {**meta, "labels": given}}


def _without(values: Mapping[str, Json], keys: tuple[str, ...]) -> dict[str, Json]:
    return {key: value for key, value in values.items() if key not in keys}
