"""Whether a request says one thing: its URL, its body and its options agree and can be meant."""

import json

from smoldebug.lab import schema
from smoldebug.lab.apierror import ApiError, bad_request, invalid
from smoldebug.lab.catalog import Resource
from smoldebug.lab.requests import Request, Target
from smoldebug.sources.world import Object

_POLICIES = ("Foreground", "Background", "Orphan")


def fitting(target: Target, obj: Object) -> Object:
    """The object, if it is of the kind, name and namespace of its URL. Raises ApiError 400."""
    kind, meta = target.resource, obj.get("metadata") or {}
    if target.subresource not in ("", "status", "ephemeralcontainers"):
        return obj
    if obj.get("kind", kind.kind) != kind.kind:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind})")
    if obj.get("apiVersion", kind.api_version) != kind.api_version:
        raise bad_request(
            f"the API version in the data ({obj['apiVersion']}) does not match the expected "
            f"API version ({kind.api_version})"
        )
    if target.name and meta.get("name", target.name) != target.name:
        raise bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL "
            f"({target.name})"
        )
    if target.namespace and meta.get("namespace", target.namespace) != target.namespace:
        if target.verb != "create":
            raise bad_request(
                f"the namespace of the object ({meta['namespace']}) does not match the namespace "
                f"on the request ({target.namespace})"
            )
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    return obj


def check_uid(target: Target, uid: str | None, new: Object) -> None:
    """A patch cannot make one object of another. Raises ApiError 422."""
    wanted = (new.get("metadata") or {}).get("uid")
    if uid and wanted and wanted != uid:
        why = f'Invalid value: "{wanted}": field is immutable'
        raise invalid(target.resource, target.name, "metadata.uid", why)


def check_typed(target: Target, config: Object) -> None:
    """Whether an apply configuration has only fields there are. Raises ApiError 500, as is."""
    kind, what = target.resource, f"{target.namespace}/{target.name}"
    head = f"failed to create typed patch object ({what}; {kind.api_version}, Kind={kind.kind}): "
    try:
        unknown = schema.unknown_fields(kind, config)
    except schema.Undecodable as error:
        raise ApiError(500, "", head + str(error)) from None
    if unknown:
        path = unknown[0].split('"')[1]
        raise ApiError(500, "", f"{head}.{path}: field not declared in schema")


def check_options(target: Target, request: Request) -> None:
    """Raises ApiError 422 for a dry run or a propagation policy that there is not."""
    deletion = request.object() if request.method == "DELETE" else {}
    verb = {"deletecollection": "Delete"}.get(target.verb, target.verb.title())
    asked = [*(deletion.get("dryRun") or ()), *request.parameters.get("dryRun", ())]
    if any(word != "All" for word in asked):
        shown = f"[]string{{{', '.join(json.dumps(word) for word in asked)}}}"
        why = f'Unsupported value: {shown}: supported values: "All"'
        raise invalid(options_kind(verb), "", "dryRun", why)
    policy = deletion.get("propagationPolicy") or request.query.get("propagationPolicy")
    if policy and policy not in _POLICIES:
        known = ", ".join(json.dumps(name) for name in (*_POLICIES, "nil"))
        why = f'Unsupported value: "{policy}": supported values: {known}'
        raise invalid(options_kind(verb), "", "propagationPolicy", why)


def delete_options(request: Request) -> Object:
    """DeleteOptions from the body and, for what it leaves open, from the query."""
    options = request.object()
    if (grace := request.number("gracePeriodSeconds")) is not None:
        options.setdefault("gracePeriodSeconds", grace)
    if policy := request.query.get("propagationPolicy"):
        options.setdefault("propagationPolicy", policy)
    if request.dry_run:
        options["dryRun"] = ["All"]
    return options


def options_kind(verb: str) -> Resource:
    return Resource("meta.k8s.io", "v1", "", f"{verb}Options")
