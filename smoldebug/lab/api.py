"""The Kubernetes API over a store: what each verb and each subresource does."""

import base64
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from smoldebug.lab import (
    access,
    discovery,
    ephemeral,
    eventsview,
    ownership,
    patches,
    proxy,
    schema,
    subresources,
)
from smoldebug.lab.apierror import (
    ApiError,
    bad_request,
    conflict,
    invalid,
    no_such_path,
    not_found,
)
from smoldebug.lab.apifaults import Faults, carry_out
from smoldebug.lab.apply import apply
from smoldebug.lab.catalog import Resource
from smoldebug.lab.identity import Tokens
from smoldebug.lab.impersonation import impersonated
from smoldebug.lab.rbac import Rbac, attributes_of
from smoldebug.lab.requestchecks import (
    check_options,
    check_typed,
    check_uid,
    delete_options,
    fitting,
    options_kind,
)
from smoldebug.lab.requests import Exec, Reply, Request, Stream, Target, json_reply, target_of
from smoldebug.lab.runtime import Runtime
from smoldebug.lab.selectors import predicate
from smoldebug.lab.store import Store, WatchEvent, timestamp
from smoldebug.lab.tables import table
from smoldebug.lab.validation import validate
from smoldebug.sources.world import Object

Answer = Reply | Stream | Exec
Change = Callable[[Object], Object]

_WATCH_SECONDS = 1800  # without timeoutSeconds
_BOOKMARK_IDLES = 20  # half seconds without an event of its own before a watch gets a bookmark
_MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": patches.merge,
    "application/strategic-merge-patch+json": patches.strategic,
    "application/json-patch+json": patches.json_patch,
}
_APPLY = "application/apply-patch+yaml"
# Kinds whose DELETE answers with the object even when it went at once.
_RETURNED = ("Pod", "Namespace", "ServiceAccount", "PersistentVolumeClaim", "ResourceQuota")


class Api:
    """Answers requests; raises ApiError. `closing` ends its watches."""

    def __init__(self, store: Store, runtime: Runtime | None, faults: Faults) -> None:
        self.store, self.runtime, self.faults = store, runtime, faults
        self.closing = threading.Event()
        self._requests: Counter[str] = Counter()
        self._counting = threading.Lock()
        self.tokens, self.rbac = Tokens(store), Rbac(store)
        self._verbs: dict[str, Callable[[Target, Request], Answer]] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        self._reads: dict[str, Callable[[Target, Request], Answer]] = {
            "": self._get_object,
            "scale": self._get_scale,
            "log": self._log,
            "exec": self._exec,
        }
        self._creations: dict[str, Callable[[Target, Request], Answer]] = {
            "exec": self._exec,
            "eviction": self._evict,
            "token": self._token,
        }

    def requests(self) -> dict[str, int]:
        """How many requests of each verb there were so far, a watch when it began; `discovery` is
        what was about no resource."""
        with self._counting:
            return dict(self._requests)

    def admitted(self, request: Request) -> Request:
        """The request in the name of whom it is for, if that user may. Raises ApiError 403."""
        wanted = attributes_of(request)
        if not wanted.path.startswith("/lab/"):
            with self._counting:
                self._requests["discovery" if wanted.path else wanted.verb] += 1
        request = impersonated(request, self.rbac)
        self.rbac.check(request.user, wanted)
        return request

    def answer(self, request: Request) -> Answer:
        """What an admitted request is answered. Raises Dropped where a rule says so."""
        if document := _document(request):
            return document
        wanted = attributes_of(request)
        rule = self.faults.take(wanted, dry_run=request.dry_run)
        if rule and not rule.after:
            carry_out(rule, request.user, wanted, self.closing)
        answer = self._answer(request)
        if rule and rule.after:
            carry_out(rule, request.user, wanted, self.closing)
        return answer

    def _answer(self, request: Request) -> Answer:
        target = target_of(request)
        check_options(target, request)
        if target.subresource == "proxy":
            return self._proxy(target, request)
        handler = self._verbs.get(target.verb)
        if handler is None or (not target.subresource and target.verb not in target.resource.verbs):
            message = "the server does not allow this method on the requested resource"
            raise ApiError(405, "MethodNotAllowed", message)
        return handler(target, request)

    # -- reading

    def _get(self, target: Target, request: Request) -> Answer:
        return self._reads.get(target.subresource, self._get_object)(target, request)

    def _get_object(self, target: Target, request: Request) -> Reply:
        if target.resource.group == "metrics.k8s.io":
            return json_reply(self._metrics_of(target))
        return self._shown(target, request, self._peek(target))

    def _get_scale(self, target: Target, request: Request) -> Reply:
        return json_reply(subresources.scale_of(self._peek(target)))

    def _log(self, target: Target, request: Request) -> Answer:
        pieces = subresources.logs(self.store, self.runtime, self._peek(target), request)
        if request.query.get("follow") in ("true", "1"):
            first = next(pieces, b"")  # raises, if at all, before the answer has begun
            return Stream(itertools.chain((first,), pieces), "text/plain")
        return Reply(200, b"".join(pieces), "text/plain")

    def _exec(self, target: Target, request: Request) -> Exec:
        return subresources.execution(self.runtime, self._peek(target), request)

    def _proxy(self, target: Target, request: Request) -> Reply:
        return proxy.forward(self.store, target, request)

    def _list(self, target: Target, request: Request) -> Reply:
        items, meta = self._page(target, request)
        if "as=Table" in request.accept:
            return json_reply(self._table(target.resource, items, meta, request))
        kind = f"{target.resource.kind}List"
        head = {"kind": kind, "apiVersion": target.resource.api_version, "metadata": meta}
        shown = [eventsview.shown(target.resource, item) for item in items]
        return json_reply(head | {"items": shown})

    def _page(self, target: Target, request: Request) -> tuple[list[Object], Object]:
        """The objects of one page and the metadata of the list."""
        if target.resource.group == "metrics.k8s.io":
            return self._metrics(target, request.query.get("labelSelector", "")), {}
        items, version = self.store.scan(target.resource, target.namespace, **_selectors(request))
        after = _continued(request.query.get("continue", ""))
        if after:
            items = [item for item in items if _key(item) > after]
        meta: Object = {"resourceVersion": str(version)}
        limit = request.number("limit") or 0
        if 0 < limit < len(items):
            meta["remainingItemCount"] = len(items) - limit
            items = items[:limit]
            meta["continue"] = base64.urlsafe_b64encode(
                json.dumps(_key(items[-1])).encode()
            ).decode()
        return items, meta

    def _metrics(self, target: Target, labels: str = "") -> list[Object]:
        kind, namespace = target.resource, target.namespace
        return subresources.metrics(self.store, self.runtime, kind, namespace, labels)

    def _metrics_of(self, target: Target) -> Object:
        for item in self._metrics(target):
            if item["metadata"]["name"] == target.name:
                return item
        raise not_found(target.resource, target.name)

    def _watch(self, target: Target, request: Request) -> Stream:
        selectors = _selectors(request)
        if target.name:
            selectors["fields"] = f"metadata.name={target.name}"
        predicate(target.namespace, **selectors)  # a bad selector is an error of its own
        version = request.number("resourceVersion") or 0
        initial = request.query.get("sendInitialEvents") == "true"
        end = time.monotonic() + (request.number("timeoutSeconds") or _WATCH_SECONDS)
        events = self.store.watch(
            target.resource,
            target.namespace,
            **selectors,
            since=version if version and not initial else None,
            until=lambda: self.closing.is_set() or time.monotonic() >= end,
        )
        return Stream(self._watched(target.resource, request, events))

    def _watched(
        self, kind: Resource, request: Request, events: Iterator[WatchEvent]
    ) -> Iterator[bytes]:
        """Watch events as JSON lines."""
        as_table = "as=Table" in request.accept
        bookmarks = request.query.get("allowWatchBookmarks") == "true" and not as_table
        initial, first, idle = request.query.get("sendInitialEvents") == "true", True, 0
        try:
            for event in events:
                idle = idle + 1 if event.type == "IDLE" else 0
                due = idle % _BOOKMARK_IDLES == 0 if event.type == "IDLE" else initial
                if event.type in ("IDLE", "SYNCED"):
                    marked = due and bookmarks
                    yield _bookmark(kind, event) if marked else b""
                    continue
                shown = eventsview.shown(kind, event.object)
                if as_table:
                    meta = {"resourceVersion": str(event.version)}
                    shown = self._table(kind, [event.object], meta, request)
                    shown["columnDefinitions"] = shown["columnDefinitions"] if first else None
                    first = False
                yield _line(event.type, shown)
        except ApiError as error:
            yield _line("ERROR", error.status())

    # -- writing

    def _create(self, target: Target, request: Request) -> Answer:
        kind = target.resource
        if target.subresource in self._creations:
            return self._creations[target.subresource](target, request)
        if target.name:
            raise no_such_path()
        obj = request.object()
        if kind.kind.endswith("Review"):
            answered = access.review(kind, obj, request.user, self.rbac, self.faults)
            return json_reply(answered, 201)
        obj = eventsview.stored(kind, fitting(target, obj))
        warnings = schema.decode(kind, obj, strict=request.strict)
        validate(kind, None, obj)
        if "status" in kind.subresources and kind.kind != "Node":
            obj.pop("status", None)
        obj.get("metadata", {}).pop("managedFields", None)
        new = self.store.create(
            kind, target.namespace, obj, dry_run=request.dry_run, manager=request.manager
        )
        return self._shown(target, request, new, 201, warnings)

    def _evict(self, target: Target, request: Request) -> Reply:
        options = request.object().get("deleteOptions") or {}
        options |= {"dryRun": ["All"]} if request.dry_run else {}
        evicted = subresources.evict(self.store, target.namespace, target.name, options)
        return json_reply(evicted, 201)

    def _token(self, target: Target, request: Request) -> Reply:
        asked = request.object()
        made = subresources.token(self.tokens, target.namespace, target.name, asked)
        return json_reply(made, 201)

    def _update(self, target: Target, request: Request) -> Reply:
        obj, warnings = request.object(), list[str]()
        if target.subresource != "scale":
            obj = eventsview.stored(target.resource, fitting(target, obj))
            warnings = schema.decode(target.resource, obj, strict=request.strict)
        return self._changed(target, request, lambda _: obj, warnings)

    def _patch(self, target: Target, request: Request) -> Reply:
        if request.content_type == _APPLY:
            return self._apply(target, request)
        combine = _MERGES.get(request.content_type)
        if combine is None:
            accepted = ", ".join((*_MERGES, _APPLY))
            raise ApiError(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types "
                f"include: {accepted}",
            )
        patch = request.document()
        if isinstance(patch, dict) == (combine is patches.json_patch):
            raise bad_request("the body of the request is no patch of the type it is sent as")

        warnings: list[str] = []

        def change(obj: Object) -> Object:
            uid = obj["metadata"].get("uid")
            new = fitting(target, combine(obj, patch))
            if target.subresource != "scale":
                check_uid(target, uid, new)
                warnings[:] = schema.decode(
                    target.resource, new, strict=request.strict, patch=patch
                )
            return new

        return self._changed(target, request, change, warnings)

    def _changed(
        self, target: Target, request: Request, change: Change, warnings: list[str]
    ) -> Reply:
        """Carry out a change of an object or of one of its subresources."""
        kind, subresource = target.resource, target.subresource
        if subresource == "scale":
            change = subresources.scaling(change)
        elif subresource == "ephemeralcontainers":
            change = ephemeral.adding(change)
        elif kind.group == "events.k8s.io":
            asked = change
            change = lambda obj: eventsview.stored(kind, asked(eventsview.shown(kind, obj)))  # noqa: E731
        now = timestamp(self.store.clock.now())
        recorded = ownership.as_manager(request.manager, now, change, subresource)
        new = self._store(target, request, recorded)
        if subresource == "scale":
            return json_reply(subresources.scale_of(new))
        return self._shown(target, request, new, warnings=warnings)

    def _apply(self, target: Target, request: Request) -> Reply:
        config = fitting(target, request.object())
        if target.subresource:
            raise bad_request("the lab applies whole objects only")
        if not request.query.get("fieldManager"):
            why = "Required value: is required for apply patch"
            raise invalid(options_kind("Patch"), "", "fieldManager", why)
        check_typed(target, config)
        now, force = timestamp(self.store.clock.now()), request.query.get("force") == "true"
        manager = request.manager

        def change(live: Object | None) -> Object:
            uid = live["metadata"]["uid"] if live else None
            new = apply(live, config, manager, now, force=force)
            check_uid(target, uid, new)
            return new

        try:
            self._peek(target)
        except ApiError:
            made = self._applied_anew(target, change(None), dry_run=request.dry_run)
            return self._shown(target, request, made, 201)
        return self._shown(target, request, self._store(target, request, change))

    def _applied_anew(self, target: Target, new: Object, *, dry_run: bool) -> Object:
        kind = target.resource
        if uid := new["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object "
            raise conflict(kind, target.name, why + "was found")
        new["metadata"]["name"] = target.name
        validate(kind, None, new)
        return self.store.create(kind, target.namespace, new, dry_run=dry_run)

    def _store(self, target: Target, request: Request, change: Change) -> Object:
        kind, subresource = target.resource, target.subresource
        written = "status" if subresource == "status" else ""

        def checked(obj: Object) -> Object:
            old = self._peek(target)
            new = self.store.settled(kind, old, change(obj), written)
            if not subresource:
                validate(kind, old, new)
            return new

        return self.store.update(
            kind,
            target.namespace,
            target.name,
            checked,
            subresource=written,
            dry_run=request.dry_run,
        )

    def _delete(self, target: Target, request: Request) -> Reply:
        kind = target.resource
        gone = self.store.delete(kind, target.namespace, target.name, delete_options(request))
        if gone["metadata"].get("deletionTimestamp") or kind.kind in _RETURNED:
            return json_reply(gone)
        details = {"name": target.name, "group": kind.group, "kind": kind.plural}
        details["uid"] = gone["metadata"]["uid"]
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return json_reply(status | {"details": details})

    def _delete_collection(self, target: Target, request: Request) -> Reply:
        kind, options = target.resource, delete_options(request)
        items, _ = self.store.scan(kind, target.namespace, **_selectors(request))
        for item in items:
            meta = item["metadata"]
            self.store.delete(kind, meta.get("namespace"), meta["name"], options)
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": {}}
        return json_reply(head | {"items": items})

    # -- what several verbs need

    def _peek(self, target: Target) -> Object:
        return self.store.peek(target.resource, target.namespace, target.name)

    def _shown(
        self,
        target: Target,
        request: Request,
        obj: Object,
        status: int = 200,
        warnings: Sequence[str] = (),
    ) -> Reply:
        shown = eventsview.shown(target.resource, obj)
        if "as=Table" in request.accept:
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            shown = self._table(target.resource, [obj], meta, request)
        reply = json_reply(shown, status)
        if warnings and request.query.get("fieldValidation") != "Ignore":
            said = ", ".join(f"299 - {json.dumps(warning)}" for warning in warnings)
            reply = replace(reply, headers={"Warning": said})
        return reply

    def _table(self, kind: Resource, items: list[Object], meta: Object, request: Request) -> Object:
        include = request.query.get("includeObject", "")
        return table(kind, items, meta, self.store.clock.now(), include)


def _document(request: Request) -> Reply | None:
    """The answer to a path that is about the API itself, or None."""
    parts = [part for part in request.path.split("/") if part]
    if parts in (["healthz"], ["livez"], ["readyz"]):
        return Reply(200, b"ok", "text/plain")
    if parts == ["openapi", "v2"] and "protobuf" in request.accept:
        return Reply(200, discovery.OPENAPI_V2_PROTOBUF, "application/octet-stream")
    if parts in (["api"], ["apis"]):
        for version in ("v2", "v2beta1"):
            kind = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            if kind in request.accept:
                found = discovery.aggregated(parts == ["api"], version)
                return Reply(200, msgspec.json.encode(found), kind)
    found_document = discovery.document(parts)
    return json_reply(found_document) if found_document else None


def _selectors(request: Request) -> dict[str, str]:
    names = {"labels": "labelSelector", "fields": "fieldSelector"}
    return {name: request.query.get(parameter, "") for name, parameter in names.items()}


def _key(obj: Object) -> list[str]:
    return [obj["metadata"].get("namespace", ""), obj["metadata"]["name"]]


def _continued(token: str) -> list[str]:
    """The key after which the next page begins; [] for the first page."""
    try:
        key = json.loads(base64.urlsafe_b64decode(token)) if token else []
    except ValueError:
        raise bad_request("continue key is not valid") from None
    if not isinstance(key, list) or not all(isinstance(part, str) for part in key):
        raise bad_request("continue key is not valid")
    return key


def _line(type_: str, obj: Object) -> bytes:
    return msgspec.json.encode({"type": type_, "object": obj}) + b"\n"


def _bookmark(kind: Resource, event: WatchEvent) -> bytes:
    meta: Object = {"resourceVersion": str(event.version), "creationTimestamp": None}
    if event.type == "SYNCED":
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
    return _line("BOOKMARK", obj)
