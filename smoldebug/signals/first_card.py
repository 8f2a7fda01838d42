"""The first card: what changed and what is red, read in parallel, without a model."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from smoldebug.clock import Clock
from smoldebug.errors import AccessDenied, SmoldebugError, UnreachableError
from smoldebug.events import FirstCard
from smoldebug.records import Gap
from smoldebug.signals.objects import Object
from smoldebug.signals.red import what_is_red
from smoldebug.signals.what_changed import what_changed
from smoldebug.sources.world import Cluster

NAMESPACED = (
    "Pod",
    "Event",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "HorizontalPodAutoscaler",
    "EndpointSlice",
    "ConfigMap",
    "Service",
    "NetworkPolicy",
)
KINDS = (*NAMESPACED, "Node")  # each is one list request
PARALLEL = 5

Objects = dict[str, list[Object]]


def first_card(
    cluster: Cluster, namespaces: Sequence[str], clock: Clock, window: float = 3600.0
) -> FirstCard:
    """Looks back `window` seconds; no namespaces means all. What cannot be read is a Gap."""
    began = clock.monotonic()
    objects, gaps = read(cluster, namespaces)
    now = clock.now()
    return FirstCard(
        changed=tuple(what_changed(objects, now, window)),
        red=tuple(what_is_red(objects, now)),
        gaps=tuple(gaps),
        window=window,
        seconds=round(clock.monotonic() - began, 3),
    )


def read(cluster: Cluster, namespaces: Sequence[str]) -> tuple[Objects, list[Gap]]:
    """Objects by kind. A kind that was refused is missing; an empty one is an empty list.

    Raises UnreachableError when nothing at all could be read for that reason.
    """
    wanted = [(kind, space) for kind in NAMESPACED for space in namespaces or [""]]
    wanted.append(("Node", ""))

    def look(kind: str, namespace: str) -> list[Object] | SmoldebugError:
        try:
            return list(cluster.list(kind, namespace))
        except SmoldebugError as error:
            return error

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="first card") as pool:
        answers = list(pool.map(look, *zip(*wanted, strict=True)))
    objects: Objects = {}
    gaps: dict[str, Gap] = {}
    for (kind, _), answer in zip(wanted, answers, strict=True):
        if isinstance(answer, SmoldebugError):
            gap = _gap(kind, answer)
            gaps[gap.what] = gap
        else:
            objects.setdefault(kind, []).extend(answer)
    if not objects and isinstance(answers[0], SmoldebugError):
        _raise_if_down([item for item in answers if isinstance(item, SmoldebugError)])
    return objects, list(gaps.values())


def _gap(kind: str, error: SmoldebugError) -> Gap:
    needs = error.needs if isinstance(error, AccessDenied) else ""
    if needs.endswith("in tools.kubectl.read"):  # one reason for all such kinds
        return Gap(kind, "left out by the playbook's tools.kubectl.read")
    return Gap(kind, f"{error}; needs: {needs}" if needs else str(error))


def _raise_if_down(errors: list[SmoldebugError]) -> None:
    """Ten refused connections are one unreachable cluster, not ten gaps."""
    if all(isinstance(error, UnreachableError) for error in errors) and not any(
        isinstance(error, AccessDenied) and error.needs for error in errors
    ):
        raise errors[0]
