"""The roles a cluster comes with: cluster-admin, admin, edit, view, and what everybody may."""

from collections.abc import Iterator

from smoldebug.lab.catalog import RESOURCES, Resource, resource
from smoldebug.lab.identity import AUTHENTICATED, MASTERS
from smoldebug.lab.rbac import GROUP
from smoldebug.lab.store import ApiError, Store
from smoldebug.sources.world import Object

READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]

# Of these, view shows nothing: who reads them could become somebody else.
_SECRET = ("secrets", "roles", "rolebindings")
_NOT_EDITED = ("namespaces", "events", "endpoints", "resourcequotas", "limitranges")
_RUN = ("pods/exec", "pods/attach", "pods/proxy", "services/proxy", "pods/eviction")
_INFO = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_INFO]


def bootstrap(store: Store) -> None:
    """Create what is not there yet."""
    for kind, obj in _objects():
        try:
            store.create(resource(kind), None, obj, manager="kube-apiserver")
        except ApiError as error:
            if error.code != 409:
                raise


def _objects() -> Iterator[tuple[str, Object]]:
    view, edit = _view(), _edit()
    roles = {
        "cluster-admin": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
        "admin": [*view, *edit, _rule(GROUP, ["rolebindings", "roles"], READ + WRITE)],
        "edit": [*view, *edit],
        "view": view,
        "system:basic-user": [
            _rule(
                "authorization.k8s.io",
                ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ["create"],
            ),
            _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
        ],
        "system:discovery": [{"nonResourceURLs": _DISCOVERY, "verbs": ["get"]}],
        "system:public-info-viewer": [{"nonResourceURLs": _INFO, "verbs": ["get"]}],
    }
    for name, rules in roles.items():
        yield "clusterroles", _named(name) | {"rules": rules}
    everybody = ("system:basic-user", "system:discovery", "system:public-info-viewer")
    for name, groups in {
        "cluster-admin": (MASTERS,),
        **dict.fromkeys(everybody, (AUTHENTICATED,)),
        "system:public-info-viewer": (AUTHENTICATED, "system:unauthenticated"),
    }.items():
        subjects = [{"kind": "Group", "apiGroup": GROUP, "name": group} for group in groups]
        ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
        yield "clusterrolebindings", _named(name) | {"roleRef": ref, "subjects": subjects}


def _named(name: str) -> Object:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    return {"metadata": {"name": name, "labels": labels}}


def _rule(group: str, resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _view() -> list[Object]:
    shown = [r for r in _of_namespaces() if r.plural not in _SECRET]
    rules = [
        _rule(g, [*n, *_extra(shown, g, ("status", "log", "scale"))], READ)
        for g, n in _by_group(shown)
    ]
    return [*rules, _rule("", ["namespaces"], READ)]


def _edit() -> list[Object]:
    edited = [
        r
        for r in _of_namespaces()
        if r.plural not in _NOT_EDITED and r.group not in (GROUP, "metrics.k8s.io")
    ]
    rules = [_rule(g, [*n, *_extra(edited, g, ("scale",))], WRITE) for g, n in _by_group(edited)]
    return [*rules, _rule("", ["secrets"], READ), _rule("", list(_RUN), READ[:1] + WRITE)]


def _of_namespaces() -> list[Resource]:
    return [r for r in RESOURCES if r.namespaced]


def _by_group(resources: list[Resource]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for item in resources:
        groups.setdefault(item.group, []).append(item.plural)
    return list(groups.items())


def _extra(resources: list[Resource], group: str, wanted: tuple[str, ...]) -> list[str]:
    return [
        f"{r.plural}/{sub}"
        for r in resources
        if r.group == group
        for sub in r.subresources
        if sub in wanted
    ]
