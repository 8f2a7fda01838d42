"""Logs of a workload: all its pods, the container before a restart too, folded into shapes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from smoldebug.errors import SmoldebugError, ToolError
from smoldebug.records import Observation
from smoldebug.signals.log_shapes import Shape, log_shapes
from smoldebug.signals.times import seconds
from smoldebug.signals.words import count
from smoldebug.sources import targets
from smoldebug.toolset import ToolContext, tool

PODS = 6  # read at most; those that are not ready or restarted come first
SHOWN = 25  # shapes in the text; all of them are in the data


@dataclass(frozen=True, slots=True)
class _Log:
    pod: str
    container: str
    previous: bool

    def __str__(self) -> str:
        return f"{self.pod}/{self.container}{' (before its restart)' if self.previous else ''}"


@tool(effect="read", timeout=30)
def fetch_logs(
    ctx: ToolContext,
    target: str,
    namespace: str = "",
    container: str = "",
    lines: Annotated[int, Meta(ge=1, le=50000)] = 200,
    since: str = "",
    grep: str = "",
    previous: Literal["auto", "only", "never"] = "auto",
) -> Observation:
    """Read logs of a workload's pods, folded: one line per kind of message, errors first.

    Args:
        target: KIND/NAME, such as deployment/auth, or a bare name.
        namespace: Empty: the run's.
        container: Empty for all.
        lines: Newest, of each container.
        since: Only the last, such as 5m.
        grep: Lines that contain this, in any case; a|b for either.
        previous: Log from before a restart; auto: where there was one.
    """
    cluster = ctx.world.cluster
    ref, item = targets.find(cluster, target, namespace or ctx.namespace)
    pods = sorted(targets.pods_of(cluster, ref, item), key=_calm)
    if not pods:
        raise ToolError(f"{ref} has no pods, so there are no logs")
    wanted = [log for pod in pods[:PODS] for log in _logs(pod, container, previous)]
    most = min(lines, int(ctx.settings.get("max_lines", 500)))
    span = seconds(since) if since else None

    def read(log: _Log) -> str | SmoldebugError:
        try:
            text = cluster.logs(
                ref.namespace, log.pod, log.container, previous=log.previous, lines=most, since=span
            )
        except SmoldebugError as error:
            return error
        return text

    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip(wanted, pool.map(read, wanted), strict=True))
    gaps = [f"{log}: {text}" for log, text in answers.items() if isinstance(text, SmoldebugError)]
    texts = {str(log): text for log, text in answers.items() if isinstance(text, str)}
    cut = any(len(text.splitlines()) >= most for text in texts.values())
    if not texts:
        raise ToolError(f"no log of {ref} can be read: {'; '.join(gaps) or 'no such container'}")
    gaps += [f"{count(len(pods) - PODS, 'more pod')}"] if len(pods) > PODS else []
    texts = {log: _matching(text, grep) for log, text in texts.items()}
    return _observation(str(ref), texts, gaps, pods, most if cut else 0)


def _observation(
    ref: str, texts: dict[str, str], gaps: list[str], pods: list[dict[str, Any]], limit: int
) -> Observation:
    """`limit`: how many lines of each log were read, 0 when that was all of them."""
    shapes = log_shapes(texts)
    lines = sum(len(text.splitlines()) for text in texts.values())
    read = f" (the newest {count(limit, 'line')} of each)" if limit else ""
    head = f"{ref}: {count(lines, 'line')}{read}, {count(len(shapes), 'shape')}"
    head += f", from {', '.join(texts)}"
    rows = [head, *(_row(shape) for shape in shapes[:SHOWN])]
    if len(shapes) > SHOWN:
        rows.append(f"... {count(len(shapes) - SHOWN, 'more shape')}; narrow it with grep or since")
    rows += [f"not read: {gap}" for gap in gaps]
    data = {
        "lines": lines,
        "shapes": [{**_plain(shape), "pod": shape.source.partition("/")[0]} for shape in shapes],
        "pods": [{"name": _name(pod), "restarts": _restarts(pod)} for pod in pods],
    }
    return Observation("\n".join(rows), data, "log", ref, tuple(gaps))


def _row(shape: Shape) -> str:
    return f"{shape.count:>5}× {shape.level or '-':5} {shape.last}"


def _plain(shape: Shape) -> dict[str, Any]:
    found = asdict(shape)
    del found["source"]
    return found


def _matching(text: str, grep: str) -> str:
    words = [word for word in grep.lower().split("|") if word]
    lines = text.splitlines()
    return "\n".join(x for x in lines if not grep or any(word in x.lower() for word in words))


# --- which containers -------------------------------------------------------------------------


def _logs(pod: dict[str, Any], container: str, previous: str) -> Iterator[_Log]:
    """Running containers, and init containers that are not done."""
    status = pod.get("status") or {}
    for field in ("initContainerStatuses", "containerStatuses"):
        for item in status.get(field) or []:
            ended = (item.get("state") or {}).get("terminated") or {}
            done = field.startswith("init") and ended.get("exitCode") == 0
            if container not in ("", item["name"]) or (done and not container):
                continue
            restarted = bool(item.get("restartCount"))
            if previous != "never" and restarted:
                yield _Log(_name(pod), item["name"], True)
            if previous != "only":
                yield _Log(_name(pod), item["name"], False)


def _calm(pod: dict[str, Any]) -> tuple[bool, int]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return all(item.get("ready") for item in statuses), -_restarts(pod)


def _restarts(pod: dict[str, Any]) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return sum(item.get("restartCount") or 0 for item in statuses)


def _name(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["name"])
