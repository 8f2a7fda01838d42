"""Kubernetes' own kinds: names people type for them, and the API versions that serve them.

What stands here needs no discovery request. Versions are in order of preference, newest first, so
that 1.20 and 1.36 both find one.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object. `versions` are `v1` or `group/version`."""

    kind: str
    plural: str
    short: tuple[str, ...] = ()
    versions: tuple[str, ...] = ("v1",)
    namespaced: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Everything, in lower case, that people call it."""
        group = self.versions[0].rpartition("/")[0]
        qualified = (f"{self.plural}.{group}",) if group else ()
        return (self.kind.lower(), self.plural, *self.short, *qualified)


_APPS, _POLICY = ("apps/v1",), ("policy/v1", "policy/v1beta1")
_BATCH = ("batch/v1", "batch/v1beta1")
_NETWORKING = ("networking.k8s.io/v1", "networking.k8s.io/v1beta1")
_RBAC, _STORAGE = ("rbac.authorization.k8s.io/v1",), ("storage.k8s.io/v1",)
_AUTOSCALING = ("autoscaling/v2", "autoscaling/v2beta2", "autoscaling/v1")

KINDS = (
    Kind("Pod", "pods", ("po",)),
    Kind("Service", "services", ("svc",)),
    Kind("Endpoints", "endpoints", ("ep",)),
    Kind("Event", "events", ("ev",)),
    Kind("ConfigMap", "configmaps", ("cm",)),
    Kind("Secret", "secrets"),
    Kind("ServiceAccount", "serviceaccounts", ("sa",)),
    Kind("PersistentVolumeClaim", "persistentvolumeclaims", ("pvc",)),
    Kind("ReplicationController", "replicationcontrollers", ("rc",)),
    Kind("ResourceQuota", "resourcequotas", ("quota",)),
    Kind("LimitRange", "limitranges", ("limits",)),
    Kind("Node", "nodes", ("no",), namespaced=False),
    Kind("Namespace", "namespaces", ("ns",), namespaced=False),
    Kind("PersistentVolume", "persistentvolumes", ("pv",), namespaced=False),
    Kind("Deployment", "deployments", ("deploy",), _APPS),
    Kind("ReplicaSet", "replicasets", ("rs",), _APPS),
    Kind("StatefulSet", "statefulsets", ("sts",), _APPS),
    Kind("DaemonSet", "daemonsets", ("ds",), _APPS),
    Kind("ControllerRevision", "controllerrevisions", (), _APPS),
    Kind("Job", "jobs", (), ("batch/v1",)),
    Kind("CronJob", "cronjobs", ("cj",), _BATCH),
    Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", ("hpa",), _AUTOSCALING),
    Kind("PodDisruptionBudget", "poddisruptionbudgets", ("pdb",), _POLICY),
    Kind("Ingress", "ingresses", ("ing",), _NETWORKING),
    Kind("IngressClass", "ingressclasses", (), _NETWORKING, namespaced=False),
    Kind("NetworkPolicy", "networkpolicies", ("netpol",), _NETWORKING),
    Kind(
        "EndpointSlice",
        "endpointslices",
        (),
        ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"),
    ),
    Kind("StorageClass", "storageclasses", ("sc",), _STORAGE, namespaced=False),
    Kind("Lease", "leases", (), ("coordination.k8s.io/v1",)),
    Kind("Role", "roles", (), _RBAC),
    Kind("RoleBinding", "rolebindings", (), _RBAC),
    Kind("ClusterRole", "clusterroles", (), _RBAC, namespaced=False),
    Kind("ClusterRoleBinding", "clusterrolebindings", (), _RBAC, namespaced=False),
)

# Of no namespace; what is on neither list, a kind of your own, is taken for one that has one
CLUSTER_SCOPED = {kind.kind for kind in KINDS if not kind.namespaced} | {
    "APIService",
    "CSIDriver",
    "CertificateSigningRequest",
    "CustomResourceDefinition",
    "FlowSchema",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "PodSecurityPolicy",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}

_BY_NAME = {name: kind for kind in KINDS for name in kind.names}


def find(name: str) -> Kind | None:
    """The built-in kind behind `Deployment`, `deployments`, `deploy` or `deployments.apps`."""
    return _BY_NAME.get(name.lower())


def kind_name(name: str) -> str:
    """`deploy` -> `Deployment`; what is not built in stays as it is."""
    known = find(name)
    return known.kind if known else name


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`did you mean: auth?`, or nothing when no option is close."""
    close = difflib.get_close_matches(word, list(options), n=1)
    return f"did you mean: {close[0]}?" if close else ""
