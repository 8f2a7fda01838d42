"""Which resources the lab's API server knows, and what each may do."""

from dataclasses import dataclass

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ = ("get", "list")
CREATE = ("create",)


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of `kubectl api-resources`. `group` is "" for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`pods`, `deployments.apps`: how error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def storage(self) -> tuple[str, str]:
        """Where its objects are kept: both kinds of event are views of the same objects."""
        return ("", "events") if self.plural == "events" else (self.group, self.plural)


def _resource(
    api_version: str, names: str, kind: str, subresources: str = "", scope: str = ""
) -> Resource:
    """`names` is the plural and then the short names; `scope` holds `cluster` and `all`."""
    group, _, version = api_version.rpartition("/")
    plural, *short = names.split()
    return Resource(
        group,
        version,
        plural,
        kind,
        tuple(short),
        "cluster" not in scope,
        tuple(subresources.split()),
        ("all",) if "all" in scope else (),
        _verbs(group, kind),
    )


def _verbs(group: str, kind: str) -> tuple[str, ...]:
    if kind.endswith("Review"):
        return CREATE
    return READ if group == "metrics.k8s.io" else VERBS


_POD = "status log exec attach eviction ephemeralcontainers proxy binding"
_RBAC = "rbac.authorization.k8s.io/v1"
RESOURCES = (
    _resource("v1", "namespaces ns", "Namespace", "status finalize", "cluster"),
    _resource("v1", "nodes no", "Node", "status", "cluster"),
    _resource("v1", "pods po", "Pod", _POD, "all"),
    _resource("v1", "services svc", "Service", "status proxy", "all"),
    _resource("v1", "endpoints ep", "Endpoints"),
    _resource("v1", "configmaps cm", "ConfigMap"),
    _resource("v1", "secrets", "Secret"),
    _resource("v1", "events ev", "Event"),
    _resource("v1", "serviceaccounts sa", "ServiceAccount", "token"),
    _resource("v1", "persistentvolumeclaims pvc", "PersistentVolumeClaim", "status"),
    _resource("v1", "persistentvolumes pv", "PersistentVolume", "status", "cluster"),
    _resource("v1", "resourcequotas quota", "ResourceQuota", "status"),
    _resource("v1", "limitranges limits", "LimitRange"),
    _resource("v1", "replicationcontrollers rc", "ReplicationController", "status scale", "all"),
    _resource("apps/v1", "deployments deploy", "Deployment", "status scale", "all"),
    _resource("apps/v1", "replicasets rs", "ReplicaSet", "status scale", "all"),
    _resource("apps/v1", "statefulsets sts", "StatefulSet", "status scale", "all"),
    _resource("apps/v1", "daemonsets ds", "DaemonSet", "status", "all"),
    _resource("apps/v1", "controllerrevisions", "ControllerRevision"),
    _resource("batch/v1", "jobs", "Job", "status", "all"),
    _resource("batch/v1", "cronjobs cj", "CronJob", "status", "all"),
    _resource(
        "autoscaling/v2", "horizontalpodautoscalers hpa", "HorizontalPodAutoscaler", "status", "all"
    ),
    _resource("networking.k8s.io/v1", "ingresses ing", "Ingress", "status"),
    _resource("networking.k8s.io/v1", "networkpolicies netpol", "NetworkPolicy"),
    _resource("policy/v1", "poddisruptionbudgets pdb", "PodDisruptionBudget", "status"),
    _resource(_RBAC, "roles", "Role"),
    _resource(_RBAC, "rolebindings", "RoleBinding"),
    _resource(_RBAC, "clusterroles", "ClusterRole", "", "cluster"),
    _resource(_RBAC, "clusterrolebindings", "ClusterRoleBinding", "", "cluster"),
    _resource("coordination.k8s.io/v1", "leases", "Lease"),
    _resource("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    _resource("events.k8s.io/v1", "events ev", "Event"),
    _resource("storage.k8s.io/v1", "storageclasses sc", "StorageClass", "", "cluster"),
    _resource(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions crd crds",
        "CustomResourceDefinition",
        "status",
        "cluster",
    ),
    _resource(
        "authorization.k8s.io/v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "",
        "cluster",
    ),
    _resource(
        "authorization.k8s.io/v1",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        "",
        "cluster",
    ),
    _resource("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", "", "cluster"),
    _resource("metrics.k8s.io/v1beta1", "pods", "PodMetrics"),
    _resource("metrics.k8s.io/v1beta1", "nodes", "NodeMetrics", "", "cluster"),
)

_BY_PATH = {(r.group, r.version, r.plural): r for r in RESOURCES}
# Reversed, so that of two resources of one name the first listed wins: core before the others.
_BY_NAME = {n: r for r in reversed(RESOURCES) for n in (r.plural, r.kind, *r.short)}
BY_STORAGE = {r.storage: r for r in reversed(RESOURCES)}


def resource(name: str) -> Resource:
    """By plural, Kind or short name (`deployments`, `Deployment`, `deploy`). Raises LookupError."""
    if name not in _BY_NAME:
        raise LookupError(f"no such resource: {name}")
    return _BY_NAME[name]


def find(group: str, version: str, plural: str) -> Resource | None:
    """By the three parts of its URL."""
    return _BY_PATH.get((group, version, plural))


def group_versions() -> dict[str, list[str]]:
    """Group -> its versions, preferred first."""
    groups: dict[str, list[str]] = {}
    for item in RESOURCES:
        versions = groups.setdefault(item.group, [])
        if item.version not in versions:
            versions.append(item.version)
    return groups
