"""What hangs below an object: its scale, its log, its eviction, its ephemeral containers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from smoldebug.lab import apierror, websocket
from smoldebug.lab.apierror import ApiError, bad_request
from smoldebug.lab.catalog import Resource, resource
from smoldebug.lab.identity import Tokens
from smoldebug.lab.objects import write_status
from smoldebug.lab.requests import Exec, Request
from smoldebug.lab.runtime import LogOptions, Runtime, Usage
from smoldebug.lab.selectors import selector_matches, selector_text
from smoldebug.lab.store import Store, timestamp
from smoldebug.sources.process import Process
from smoldebug.sources.world import Object

Change = Callable[[Object], Object]

_PODS, _NODES = resource("pods"), resource("nodes")
_BUDGETS = resource("poddisruptionbudgets")
_SCALE = Resource("autoscaling", "v1", "scales", "Scale")
_TOKEN_REQUEST = Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest")
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def scale_of(obj: Object) -> Object:
    """The Scale of a workload."""
    meta = obj["metadata"]
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in names if name in meta},
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": selector_text(obj["spec"].get("selector") or {}),
        },
    }


def scaling(change: Change) -> Change:
    """A change of a Scale as a change of the workload. It raises ApiError 422."""

    def changed(obj: Object) -> Object:
        scale = change(scale_of(obj))
        replicas = (scale.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            why = f"Invalid value: {replicas}: must be greater than or equal to 0"
            raise apierror.invalid(_SCALE, obj["metadata"]["name"], "spec.replicas", why)
        version = (scale.get("metadata") or {}).get("resourceVersion")
        meta = obj["metadata"] | ({"resourceVersion": version} if version else {})
        return {**obj, "metadata": meta, "spec": obj["spec"] | {"replicas": replicas}}

    return changed


def evict(store: Store, namespace: str, name: str, options: Object) -> Object:
    """Delete a pod unless a disruption budget forbids it now. Raises ApiError 404, 429."""
    with store.condition:  # two evictions must not both take the last one allowed
        labels = store.peek(_PODS, namespace, name)["metadata"].get("labels") or {}
        budgets = [
            budget
            for budget in store.scan(_BUDGETS, namespace)[0]
            if selector_matches(budget["spec"].get("selector") or {}, labels)
        ]
        for budget in budgets:
            if (budget.get("status") or {}).get("disruptionsAllowed") == 0:
                raise _too_many_disruptions(budget)
        store.delete(_PODS, namespace, name, options)
        for budget in budgets if not options.get("dryRun") else ():
            if status := budget.get("status"):
                left = {**status, "disruptionsAllowed": status["disruptionsAllowed"] - 1}
                write_status(store, _BUDGETS, budget, left)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _too_many_disruptions(budget: Object) -> ApiError:
    status, name = budget["status"], budget["metadata"]["name"]
    needs, has = (status.get(field, 0) for field in ("desiredHealthy", "currentHealthy"))
    why = f"The disruption budget {name} needs {needs} healthy pods and has {has} currently"
    causes = [{"reason": "DisruptionBudget", "message": why}]
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return ApiError(429, "TooManyRequests", message, causes=causes)


def token(tokens: Tokens, namespace: str, name: str, asked: Object) -> Object:
    """The answered TokenRequest. Raises ApiError 404 (no such ServiceAccount), 422."""
    seconds = (asked.get("spec") or {}).get("expirationSeconds", 3600)
    if seconds < 600:
        why = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        raise apierror.invalid(_TOKEN_REQUEST, "", "spec.expirationSeconds", why)
    made, expires = tokens.issue(namespace, name, seconds)
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": seconds},
        "status": {"token": made, "expirationTimestamp": timestamp(expires)},
    }


def container_of(pod: Object, wanted: str) -> str:
    """The container a request means. Raises ApiError 400 where that is not clear."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    kinds = ("containers", "initContainers", "ephemeralContainers")
    known = [c["name"] for kind in kinds for c in spec.get(kind) or ()]
    first = [c["name"] for c in spec.get("containers") or ()]
    chosen: str = wanted or (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER, "")
    if chosen in known:
        return chosen
    if chosen or not first:
        raise bad_request(f"container {chosen} is not valid for pod {name}")
    if len(first) > 1:
        choices = " ".join(first)
        message = f"a container name must be specified for pod {name}, choose one of: [{choices}]"
        raise bad_request(message)
    only: str = first[0]
    return only


def execution(runtime: Runtime | None, pod: Object, request: Request) -> Exec:
    """The command a request wants to run in a container. Raises ApiError 400."""
    container = container_of(pod, request.query.get("container", ""))
    argv = request.parameters.get("command") or []
    if not argv:
        raise bad_request("you must specify at least 1 command for the container")
    stdin = request.query.get("stdin") in ("true", "1")

    def start() -> Process:
        if runtime is None:
            raise ApiError(500, "InternalError", "this lab runs no containers")
        return runtime.exec(pod, container, argv, stdin=stdin)

    return Exec(websocket.handshake(request.headers), start)


def logs(store: Store, runtime: Runtime | None, pod: Object, request: Request) -> Iterator[bytes]:
    """A container's log in pieces. Raises ApiError 400."""
    container = container_of(pod, request.query.get("container", ""))
    options = log_options(request, store.clock.now())
    return iter(runtime.logs(pod, container, options) if runtime else ())


def log_options(request: Request, now: datetime) -> LogOptions:
    seconds, since = request.number("sinceSeconds"), None
    if text := request.query.get("sinceTime"):
        try:
            since = datetime.fromisoformat(text)
        except ValueError:
            raise bad_request(f"invalid sinceTime: {text!r}") from None
        since = since if since.tzinfo else since.replace(tzinfo=UTC)
    if seconds is not None:
        since = now - timedelta(seconds=seconds)
    flags = {
        name: request.query.get(name) in ("true", "1")
        for name in ("previous", "follow", "timestamps")
    }
    return LogOptions(
        **flags,
        tail=request.number("tailLines"),
        since=since,
        limit=request.number("limitBytes"),
    )


def metrics(
    store: Store, runtime: Runtime | None, kind: Resource, namespace: str, labels: str
) -> list[Object]:
    """PodMetrics or NodeMetrics: what metrics-server would say."""
    now = timestamp(store.clock.now())
    pods, _ = store.scan(_PODS, namespace, labels=labels if kind.kind == "PodMetrics" else "")
    used = [(pod, usage) for pod in pods if (usage := runtime.usage(pod) if runtime else {})]
    common: Object = {"apiVersion": kind.api_version, "kind": kind.kind}
    common |= {"timestamp": now, "window": "15s"}
    if kind.kind == "NodeMetrics":
        nodes, _ = store.scan(_NODES, labels=labels)
        return [_node_metrics(common, node["metadata"], used) for node in nodes]
    return [
        common
        | {
            "metadata": _described(pod["metadata"]),
            "containers": [{"name": name, "usage": _quantities(u)} for name, u in usage.items()],
        }
        for pod, usage in used
    ]


def _node_metrics(
    common: Object, meta: Object, used: list[tuple[Object, dict[str, Usage]]]
) -> Object:
    mine = [
        usage
        for pod, containers in used
        if pod["spec"].get("nodeName") == meta["name"]
        for usage in containers.values()
    ]
    total = Usage(sum(u.cpu for u in mine), sum(u.memory for u in mine))
    return common | {"metadata": _described(meta), "usage": _quantities(total)}


def _described(meta: Object) -> Object:
    names = ("name", "namespace", "creationTimestamp", "labels")
    return {name: meta[name] for name in names if name in meta}


def _quantities(usage: Usage) -> dict[str, Any]:
    return {"cpu": f"{round(usage.cpu * 1e9)}n", "memory": f"{usage.memory // 1024}Ki"}
