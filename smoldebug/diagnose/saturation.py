"""A dependency that cannot keep up: its callers time out while it is up and running.

Signals: the caller's log names it, its own log speaks of exhausted capacity, its latency has
stepped up. Two of them, one of them its own, confirm it. Crashing pods rule it out: that is another
fault. Remedy: more replicas, through its autoscaler where it has one.
"""

import re
from collections.abc import Iterator

from smoldebug.diagnose.picture import (
    Assessment,
    Call,
    Line,
    Picture,
    ready,
    ref_of,
)
from smoldebug.records import ChangeKind, Quote
from smoldebug.signals.objects import Object, name, spec

FAILING = re.compile(
    r"timed? ?out|timeout|deadline|unavailable|too many|50[34]\b",
    re.IGNORECASE,  # not "refused"
)
EXHAUSTED = re.compile(
    r"exhaust|saturat|overload|queue|backlog|too many|pool|at capacity|throttl", re.IGNORECASE
)
LATELY = "2m"  # what was logged before may be over
STEP_UP = 2.0  # factor over its own quiet part (catalogue: latency "high")


def assess(picture: Picture) -> Iterator[Assessment]:
    """One assessment per dependency of the goal's workloads, where the goal measures traffic."""
    if not picture.brief.traffic:
        return
    for caller in picture.target_deployments():
        for service in picture.dependencies(caller):
            callee = picture.behind(service)
            if callee is not None and callee is not caller and picture.pods(callee):
                yield _assess(picture, caller, callee, service)


def _assess(picture: Picture, caller: Object, callee: Object, service: str) -> Assessment:
    blames = _blames(picture, name(caller), service)
    exhausted = _exhausted(picture, name(callee))
    slow = _latency(picture, service)
    broken = [pod for pod in picture.pods(callee) if not ready(pod)]
    own = [quote for quote in (exhausted, slow) if quote]
    supports = tuple(([blames.quote()] if blames else []) + own)
    claim = f"{service} is saturated; {name(caller)} times out waiting for it"
    confirmed = bool(own) and len(supports) >= 2 and not broken
    return Assessment(
        claim=claim,
        subject=ref_of(callee, "Deployment"),
        fault="traffic-surge" if confirmed else "",
        supports=supports,
        contradicts=_rows(picture, broken),
        confirmed=confirmed,
        ruled_out=bool(broken),
        needs=() if broken else _needs(picture, caller, callee, service),
        remedy=_remedy(picture, callee, service) if confirmed else None,
        because=f"{service} answers too slowly for its callers, its pods are up: it needs capacity",
    )


def _needs(picture: Picture, caller: Object, callee: Object, service: str) -> tuple[Call, ...]:
    """The caller's log first: it says whom it waits for. Then the callee's own signals."""
    calls = [
        picture.logs(name(caller), LATELY),
        *(Call("http_check", {"url": url}) for url in picture.brief.urls),
    ]
    if _blames(picture, name(caller), service):
        histogram = _histogram(picture, service)
        calls.append(
            Call("query_prometheus", _latency_arguments(histogram, service))
            if histogram
            else Call("query_prometheus", {"query": _names_query(service)})
        )
        calls.append(picture.logs(name(callee), LATELY))
    return tuple(call for call in calls if call.tool in picture.brief.tools)


def _blames(picture: Picture, caller: str, service: str) -> Line | None:
    word = re.compile(rf"(?<![\w-]){re.escape(service)}(?![\w-])")
    for line in picture.lines(caller):
        if word.search(line.text) and FAILING.search(line.text):
            return line
    return None


def _exhausted(picture: Picture, callee: str) -> Quote | None:
    for line in picture.lines(callee):
        if EXHAUSTED.search(line.text) and line.level in ("error", "warning", "warn"):
            return line.quote()
    return None


def _rows(picture: Picture, pods: list[Object]) -> tuple[Quote, ...]:
    rows = [picture.row("Pod", name(pod)) for pod in pods]
    return tuple(row for row in rows if row)


# --- metrics --------------------------------------------------------------------------------


def _names_query(service: str) -> str:
    return f'count by (__name__) ({{job="{service}"}})'


def _latency_query(histogram: str, service: str) -> str:
    rate = f'rate({histogram}{{job="{service}"}}[1m])'
    return f"histogram_quantile(0.99, sum by (le) ({rate}))"


def _latency_arguments(histogram: str, service: str) -> dict[str, str]:
    return {"query": _latency_query(histogram, service), "range": "5m", "step": "2s"}


def _histogram(picture: Picture, service: str) -> str:
    """A latency histogram the service exposes, if its metric names have been read."""
    found = picture.evidence.latest("query_prometheus", query=_names_query(service))
    data = found.observation.data if found else None
    series = data.get("series", []) if isinstance(data, dict) else []
    names = sorted(str(item.get("labels", {}).get("__name__", "")) for item in series)
    fitting = [name for name in names if re.fullmatch(r"[a-zA-Z_:][\w:]*_seconds_bucket", name)]
    fitting.sort(key=lambda name: "latency" not in name)  # the most telling name first
    return fitting[0] if fitting else ""


def _latency(picture: Picture, service: str) -> Quote | None:
    histogram = _histogram(picture, service)
    found = picture.fresh("query_prometheus", query=_latency_query(histogram, service))
    data = found.observation.data if found and histogram else None
    onset = data.get("onset") if isinstance(data, dict) else None
    if not found or not isinstance(onset, dict) or onset.get("factor", 0) < STEP_UP:
        return None
    return Quote(found.id, str(onset["says"]))


# --- the remedy -----------------------------------------------------------------------------


def _remedy(picture: Picture, callee: Object, service: str) -> Call | None:
    """Twice the replicas, within the playbook's limits."""
    brief, why = picture.brief, f"{service} is saturated"
    if (hpa := picture.hpa(callee)) is not None:
        more = _more(picture, "HorizontalPodAutoscaler", hpa, "maxReplicas")
        if not more or ChangeKind.SET_REPLICAS_BOUNDS not in brief.allowed:
            return None
        bounds = {"name": name(hpa), "namespace": brief.namespace, "maximum": more}
        return Call("set_replicas_bounds", {**bounds, "why": why})
    more = _more(picture, "Deployment", callee, "replicas")
    if not more or ChangeKind.SCALE not in brief.allowed:
        return None
    target = {"target": f"deployment/{name(callee)}", "namespace": brief.namespace}
    return Call("scale", {**target, "replicas": more, "why": why})


def _more(picture: Picture, kind: str, item: Object, field: str) -> int:
    """The doubled count; the factor counts from where the run began. 0: there is no room."""
    now = int(spec(item).get(field, 1))
    first = int(spec(picture.at_first(kind, name(item)) or item).get(field, 1))
    allowed = min(int(max(first, 1) * picture.brief.max_factor), picture.brief.max_replicas)
    more = min(max(now, 1) * 2, allowed)
    return more if more > now else 0
