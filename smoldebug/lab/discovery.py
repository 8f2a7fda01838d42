"""What the API says about itself: versions, groups, resources, and OpenAPI without schemas."""

from typing import Any

from smoldebug.lab.apierror import no_such_path
from smoldebug.lab.catalog import RESOURCES, Resource, group_versions

VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+smoldebug-lab",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2024-12-11T18:00:00Z",
    "goVersion": "go1.23.3",
    "compiler": "gc",
    "platform": "linux/amd64",
}
# A gnostic document that says `swagger: "2.0"` and nothing else: kubectl up to 1.28 and Helm find
# no schema in it and validate nothing.
OPENAPI_V2_PROTOBUF = b"\x0a\x032.0"

_KIND_OF = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "binding": ("", "v1", "Binding"),
    "exec": ("", "v1", "PodExecOptions"),
    "attach": ("", "v1", "PodAttachOptions"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_CHANGED = ["get", "patch", "update"]
_VERBS_OF = {
    "status": _CHANGED,
    "scale": _CHANGED,
    "ephemeralcontainers": _CHANGED,
    "log": ["get"],
    "exec": ["create", "get"],
    "attach": ["create", "get"],
    "proxy": ["create", "get"],
    "eviction": ["create"],
    "token": ["create"],
    "binding": ["create"],
    "finalize": ["update"],
}
Document = dict[str, Any]


def aggregated(core: bool, version: str) -> Document:
    """Every group in one APIGroupDiscoveryList; `version` is v2 or v2beta1."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": group, "creationTimestamp": None},
                "versions": [
                    {"version": v, "freshness": "Current", "resources": _described(group, v)}
                    for v in versions
                ],
            }
            for group, versions in group_versions().items()
            if (group == "") == core
        ],
    }


def _described(group: str, version: str) -> list[Document]:
    return [
        {
            "resource": r.plural,
            "responseKind": _kind(r),
            "scope": "Namespaced" if r.namespaced else "Cluster",
            "singularResource": r.kind.lower(),
            "verbs": list(r.verbs),
            "shortNames": list(r.short),
            "categories": list(r.categories),
            "subresources": [
                {"subresource": sub, "responseKind": _kind(r, sub), "verbs": _VERBS_OF[sub]}
                for sub in r.subresources
            ],
        }
        for r in _of(group, version)
    ]


def _of(group: str, version: str) -> list[Resource]:
    return [r for r in RESOURCES if (r.group, r.version) == (group, version)]


def _kind(resource: Resource, subresource: str = "") -> Document:
    own = (resource.group, resource.version, resource.kind)
    group, version, kind = _KIND_OF.get(subresource, own)
    return {"group": group, "version": version, "kind": kind}


def core_versions() -> Document:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
    }


def groups() -> Document:
    found = [_group(name) for name in group_versions() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(name: str) -> Document:
    """Raises ApiError 404."""
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name)


def _group(name: str) -> Document:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for version in group_versions().get(name, [])
    ]
    if not name or not versions:
        raise no_such_path()
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resources(group: str, version: str) -> Document:
    """The legacy form of discovery: one document per group and version. Raises ApiError 404."""
    rows = []
    for r in _of(group, version):
        row = {"namespaced": r.namespaced, "singularName": r.kind.lower()}
        row |= {"name": r.plural, "kind": r.kind, "verbs": list(r.verbs)}
        row |= {"shortNames": list(r.short)} if r.short else {}
        row |= {"categories": list(r.categories)} if r.categories else {}
        rows.append(row)
        for sub in r.subresources:
            row = {"namespaced": r.namespaced, "singularName": "", "verbs": _VERBS_OF[sub]}
            rows.append(row | {"name": f"{r.plural}/{sub}"} | _kind(r, sub))
    if not rows:
        raise no_such_path()
    named = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": named, "resources": rows}


def openapi_v2() -> Document:
    info = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}


def openapi_v3_index() -> Document:
    names = (
        f"apis/{group}/{version}" if group else f"api/{version}"
        for group, versions in group_versions().items()
        for version in versions
    )
    return {"paths": {n: {"serverRelativeURL": f"/openapi/v3/{n}?hash=1"} for n in names}}


def openapi_v3(group: str, version: str) -> Document:
    """Just what kubectl looks at: whether PATCH takes `fieldValidation`, and that DELETE and the
    others exist. Raises ApiError 404."""
    if not _of(group, version):
        raise no_such_path()
    base = f"/apis/{group}/{version}" if group else f"/api/{version}"
    paths = {}
    for r in _of(group, version):
        scope = "/namespaces/{namespace}" if r.namespaced else ""
        paths[f"{base}{scope}/{r.plural}/{{name}}"] = {
            method: _operation(method, r) for method in ("get", "patch")
        }
    info = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


def _operation(method: str, resource: Resource) -> Document:
    operation: Document = {
        "x-kubernetes-action": method,
        "x-kubernetes-group-version-kind": _kind(resource),
        "responses": {"200": {"description": "OK"}},
    }
    if method == "patch":
        names = ("dryRun", "fieldManager", "fieldValidation", "force")
        schema = {"type": "string", "uniqueItems": True}
        operation["parameters"] = [{"name": n, "in": "query", "schema": schema} for n in names]
    return operation


def document(path: list[str]) -> Document | None:
    """The JSON document at a path about the API itself; None for any other path."""
    match path:
        case ["version"]:
            return VERSION
        case ["api"]:
            return core_versions()
        case ["apis"]:
            return groups()
        case ["api", version]:
            return resources("", version)
        case ["apis", name]:
            return group(name)
        case ["apis", name, version]:
            return resources(name, version)
        case ["openapi", *rest]:
            return _openapi(rest)
    return None


def _openapi(path: list[str]) -> Document | None:
    match path:
        case ["v2"]:
            return openapi_v2()
        case ["v3"]:
            return openapi_v3_index()
        case ["v3", "api", version]:
            return openapi_v3("", version)
        case ["v3", "apis", name, version]:
            return openapi_v3(name, version)
    return None
