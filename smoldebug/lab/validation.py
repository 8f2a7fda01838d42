"""What a real API server refuses in an object it can read: 422, naming every field and why.

Only common mistakes, and the fields that may not change. Messages are the server's own; where it
adds a difference of Go structs or a regular expression, they stop before it.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from smoldebug.lab.apierror import invalid_fields
from smoldebug.lab.catalog import Resource
from smoldebug.lab.quantities import quantity
from smoldebug.lab.selectors import selector_matches
from smoldebug.sources.world import Object

Errors = Iterator[tuple[str, str]]  # field, why

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_RBAC_NAMES = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
_BE_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character"
)
_BE_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character"
)
_BE_KEY = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character"
)
_BE_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character"
)
_POD_CHANGES = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set "
    "to 1 if it was previously negative)"
)
_SET_CHANGES = (
    "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', "
    "'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' "
    "and 'minReadySeconds' are forbidden"
)
_SET_MAY_CHANGE = frozenset(
    ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit")
    + ("persistentVolumeClaimRetentionPolicy", "minReadySeconds")
)
_CLAIM_CHANGES = (
    "Forbidden: spec is immutable after creation except resources.requests and "
    "volumeAttributesClassName for bound claims"
)


def validate(resource: Resource, old: Object | None, new: Object) -> None:
    """Check a new object, or what an `old` one is to become. Raises ApiError 422."""
    errors = list(_errors(resource, old, new))
    if errors:
        raise invalid_fields(resource, (new.get("metadata") or {}).get("name", ""), errors)


def _errors(resource: Resource, old: Object | None, new: Object) -> Errors:
    yield from _metadata(resource, new.get("metadata") or {})
    if rules := _RULES.get(resource.kind):
        yield from rules(new)
    if old is not None and (rules_of_change := _CHANGES.get(resource.kind)):
        yield from rules_of_change(old, new)


def _invalid(value: Any, why: str) -> str:
    shown = json.dumps(value) if isinstance(value, str | int | float) else _go(value)
    return f"Invalid value: {shown}: {why}"


def _go(value: Any) -> str:
    """A map of strings as Go prints it, anything else as JSON."""
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        inside = ", ".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in sorted(value.items()))
        return f"map[string]string{{{inside}}}"
    return json.dumps(value)


def _unsupported(value: Any, *supported: str) -> str:
    known = ", ".join(json.dumps(word) for word in supported)
    return f"Unsupported value: {json.dumps(value)}: supported values: {known}"


# -- what every object has


def _metadata(resource: Resource, meta: Object) -> Errors:
    name = meta.get("name")
    if name and resource.kind not in _RBAC_NAMES and not _SUBDOMAIN.fullmatch(name):
        yield "metadata.name", _invalid(name, _BE_SUBDOMAIN)
    yield from _labels(meta, "metadata")


def _labels(meta: Object, at: str) -> Errors:
    for key, value in (meta.get("labels") or {}).items():
        if not _KEY.fullmatch(key):
            yield f"{at}.labels", _invalid(key, _BE_KEY)
        if not _VALUE.fullmatch(value or ""):
            yield f"{at}.labels", _invalid(value, _BE_VALUE)
    for key in meta.get("annotations") or {}:
        if not _KEY.fullmatch(key):
            yield f"{at}.annotations", _invalid(key, _BE_KEY)


# -- pods


def _pod_spec(spec: Object, at: str) -> Errors:
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    if not spec.get("containers"):
        yield f"{at}.containers", "Required value"
    for kind in ("initContainers", "containers"):
        names: set[str] = set()
        for index, container in enumerate(spec.get(kind) or ()):
            here = f"{at}.{kind}[{index}]"
            yield from _name_of(container, here, names)
            yield from _container(container, here)
            yield from _mounts(container, here, volumes)


def _name_of(container: Object, at: str, names: set[str]) -> Errors:
    name = container.get("name")
    if not name:
        yield f"{at}.name", "Required value"
    elif not _LABEL.fullmatch(name):
        yield f"{at}.name", _invalid(name, _BE_LABEL)
    elif name in names:
        yield f"{at}.name", f"Duplicate value: {json.dumps(name)}"
    names.add(name or "")


def _container(container: Object, at: str) -> Errors:
    image = container.get("image") or ""
    if not image:
        yield f"{at}.image", "Required value"
    elif image != image.strip():
        yield f"{at}.image", _invalid(image, "must not have leading or trailing whitespace")
    policies = ("Always", "IfNotPresent", "Never")
    if container.get("imagePullPolicy", "Always") not in policies:
        yield f"{at}.imagePullPolicy", _unsupported(container["imagePullPolicy"], *policies)
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield f"{at}.env[{index}].name", "Required value"
        elif variable.get("value") and variable.get("valueFrom"):
            why = "may not be specified when `value` is not empty"
            yield f"{at}.env[{index}].valueFrom", _invalid("", why)
    for index, port in enumerate(container.get("ports") or ()):
        yield from _port(port.get("containerPort"), f"{at}.ports[{index}].containerPort")
    yield from _probes(container, at)
    yield from _resources(container.get("resources") or {}, f"{at}.resources")


def _probes(container: Object, at: str) -> Errors:
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe and not any(probe.get(way) for way in ("httpGet", "exec", "tcpSocket", "grpc")):
            yield f"{at}.{name}", "Required value: must specify a handler type"


def _mounts(container: Object, at: str, volumes: set[str]) -> Errors:
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield f"{at}.volumeMounts[{index}].name", f"Not found: {json.dumps(mount.get('name'))}"


def _port(port: Any, at: str) -> Errors:
    if not isinstance(port, int) or not 0 < port < 65536:
        yield at, _invalid(port or 0, "must be between 1 and 65535, inclusive")


def _resources(resources: Object, at: str) -> Errors:
    for kind in ("limits", "requests"):
        for name, amount in (resources.get(kind) or {}).items():
            if name not in _RESOURCES and "/" not in name and not name.startswith("hugepages-"):
                why = "must be a standard resource type or fully qualified"
                yield f"{at}.{kind}[{name}]", _invalid(name, why)
            elif quantity(amount) < 0:
                why = "must be greater than or equal to 0"
                yield f"{at}.{kind}[{name}]", _invalid(str(amount), why)
    limits = resources.get("limits") or {}
    for name, amount in (resources.get("requests") or {}).items():
        if name in limits and quantity(amount) > quantity(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield f"{at}.requests", _invalid(str(amount), why)


_RESOURCES = ("cpu", "memory", "ephemeral-storage", "storage")


def _pod(pod: Object) -> Errors:
    yield from _pod_spec(pod.get("spec") or {}, "spec")


def _changed_pod(old: Object, new: Object) -> Errors:
    before, after = old["spec"], new["spec"]
    for kind in ("containers", "initContainers"):
        if len(before.get(kind) or ()) != len(after.get(kind) or ()):
            yield f"spec.{kind}", "Forbidden: pod updates may not add or remove containers"
            return
    tolerated = after.get("tolerations") or []
    kept = all(toleration in tolerated for toleration in before.get("tolerations") or ())
    if _fixed(before) != _fixed(after) or not kept:
        yield "spec", _POD_CHANGES


def _fixed(spec: Object) -> Object:
    """What of a pod's spec may never change."""
    free = ("activeDeadlineSeconds", "tolerations")
    fixed = {name: value for name, value in spec.items() if name not in free}
    for kind in ("containers", "initContainers"):
        if kind in fixed:
            fixed[kind] = [container | {"image": ""} for container in fixed[kind]]
    return fixed


# -- workloads


def _workload(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    yield from _counts(spec)
    template = spec.get("template") or {}
    labels, selector = (template.get("metadata") or {}).get("labels") or {}, spec.get("selector")
    if not selector:
        yield "spec.selector", "Required value"
    if not selector or not selector_matches(selector, labels):
        shown = _go(labels) if labels else "map[string]string(nil)"
        why = "`selector` does not match template `labels`"
        yield "spec.template.metadata.labels", f"Invalid value: {shown}: {why}"
    yield from _template(template, "Always")


def _counts(spec: Object) -> Errors:
    for name in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        if (spec.get(name) or 0) < 0:
            yield f"spec.{name}", _invalid(spec[name], "must be greater than or equal to 0")


def _template(template: Object, *policies: str) -> Errors:
    yield from _labels(template.get("metadata") or {}, "spec.template")
    spec = template.get("spec") or {}
    yield from _pod_spec(spec, "spec.template.spec")
    policy = spec.get("restartPolicy", policies[0])
    if policy not in policies:
        yield "spec.template.spec.restartPolicy", _unsupported(policy, *policies)


def _deployment(obj: Object) -> Errors:
    yield from _workload(obj)
    strategy = (obj.get("spec") or {}).get("strategy") or {}
    kind = strategy.get("type", "RollingUpdate")
    if kind not in ("Recreate", "RollingUpdate"):
        yield "spec.strategy.type", _unsupported(kind, "Recreate", "RollingUpdate")
    if kind == "Recreate" and strategy.get("rollingUpdate"):
        why = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield "spec.strategy.rollingUpdate", why


def _job(obj: Object) -> Errors:
    policies = ("OnFailure", "Never")
    template = (obj.get("spec") or {}).get("template") or {}
    yield from _template(template, *policies)
    if "restartPolicy" not in (template.get("spec") or {}):
        yield "spec.template.spec.restartPolicy", f"Required value: valid values: {policies}"


def _same_selector(old: Object, new: Object) -> Errors:
    if old["spec"].get("selector") != new["spec"].get("selector"):
        yield "spec.selector", _invalid(new["spec"].get("selector"), "field is immutable")


def _changed_job(old: Object, new: Object) -> Errors:
    yield from _same_selector(old, new)
    if old["spec"].get("template") != new["spec"].get("template"):
        yield "spec.template", _invalid(new["spec"].get("template"), "field is immutable")


def _changed_set(old: Object, new: Object) -> Errors:
    def fixed(obj: Object) -> Object:
        return {k: v for k, v in obj["spec"].items() if k not in _SET_MAY_CHANGE}

    if fixed(old) != fixed(new):
        yield "spec", _SET_CHANGES


# -- the others


def _service(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    types = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    kind, ports = spec.get("type", "ClusterIP"), spec.get("ports") or []
    if kind not in types:
        yield "spec.type", _unsupported(kind, *types)
    if not ports and kind != "ExternalName" and spec.get("clusterIP") != "None":
        yield "spec.ports", "Required value"
    for index, port in enumerate(ports):
        yield from _port(port.get("port"), f"spec.ports[{index}].port")
        if len(ports) > 1 and not port.get("name"):
            yield f"spec.ports[{index}].name", "Required value"


def _changed_service(old: Object, new: Object) -> Errors:
    before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
    if before and after != before and new["spec"].get("type") != "ExternalName":
        yield "spec.clusterIPs[0]", _invalid([after], "may not change once set")


def _changed_data(old: Object, new: Object) -> Errors:
    """A ConfigMap or a Secret that was made immutable; a Secret never changes its type."""
    if old.get("type") != new.get("type"):
        yield "type", _invalid(new.get("type"), "field is immutable")
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield "immutable", "Forbidden: field is immutable when `immutable` is set"
    for field in ("data", "binaryData"):
        if old.get(field) != new.get(field):
            yield field, "Forbidden: field is immutable when `immutable` is set"


def _changed_claim(old: Object, new: Object) -> Errors:
    bound = (old.get("status") or {}).get("phase") == "Bound"
    free = ("resources", "volumeAttributesClassName", "volumeName") if bound else ("volumeName",)

    def fixed(obj: Object) -> Object:
        return {k: v for k, v in obj["spec"].items() if k not in free}

    if fixed(old) != fixed(new):
        yield "spec", _CLAIM_CHANGES


def _role(obj: Object) -> Errors:
    for index, rule in enumerate(obj.get("rules") or ()):
        if not rule.get("verbs"):
            yield f"rules[{index}].verbs", "Required value: verbs must contain at least one value"


def _binding(obj: Object) -> Errors:
    kinds, ref = ("ServiceAccount", "User", "Group"), obj.get("roleRef") or {}
    if ref.get("kind") not in ("Role", "ClusterRole"):
        yield "roleRef.kind", _unsupported(ref.get("kind"), "Role", "ClusterRole")
    if not ref.get("name"):
        yield "roleRef.name", "Required value"
    for index, subject in enumerate(obj.get("subjects") or ()):
        if subject.get("kind") not in kinds:
            yield f"subjects[{index}].kind", _unsupported(subject.get("kind"), *kinds)
        if not subject.get("name"):
            yield f"subjects[{index}].name", "Required value"


def _changed_binding(old: Object, new: Object) -> Errors:
    if old.get("roleRef") != new.get("roleRef"):
        yield "roleRef", _invalid(new.get("roleRef"), "cannot change roleRef")


def _autoscaler(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas") or 1, spec.get("maxReplicas") or 0
    if most < 1:
        yield "spec.maxReplicas", _invalid(most, "must be greater than 0")
    elif most < least:
        why = "must be greater than or equal to `minReplicas`"
        yield "spec.maxReplicas", _invalid(most, why)


def _node(obj: Object) -> Errors:
    effects = ("NoExecute", "NoSchedule", "PreferNoSchedule")
    for index, taint in enumerate((obj.get("spec") or {}).get("taints") or ()):
        if taint.get("effect") not in effects:
            field = f"metadata.taints[{index}].effect"
            yield field, _unsupported(taint.get("effect"), *effects)


_RULES: dict[str, Callable[[Object], Errors]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "DaemonSet": _workload,
    "Job": _job,
    "Service": _service,
    "Role": _role,
    "ClusterRole": _role,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "HorizontalPodAutoscaler": _autoscaler,
    "Node": _node,
}
_CHANGES: dict[str, Callable[[Object, Object], Errors]] = {
    "Pod": _changed_pod,
    "Deployment": _same_selector,
    "ReplicaSet": _same_selector,
    "DaemonSet": _same_selector,
    "StatefulSet": _changed_set,
    "Job": _changed_job,
    "Service": _changed_service,
    "ConfigMap": _changed_data,
    "Secret": _changed_data,
    "PersistentVolumeClaim": _changed_claim,
    "RoleBinding": _changed_binding,
    "ClusterRoleBinding": _changed_binding,
}
