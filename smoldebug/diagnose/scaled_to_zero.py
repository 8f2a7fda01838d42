"""A workload that others call was scaled to zero: there is nobody to answer."""

from collections.abc import Iterator

from smoldebug.diagnose.picture import Assessment, Call, Picture, ref_of
from smoldebug.records import ChangeKind
from smoldebug.signals.objects import Object, name, spec


def assess(picture: Picture) -> Iterator[Assessment]:
    """One assessment per Deployment without replicas that is a target, or that a target calls.

    One that nobody calls was probably meant to rest: it is left alone.
    """
    callers = picture.target_deployments()
    called = {service for caller in callers for service in picture.dependencies(caller)}
    wanted = [item for service in sorted(called) if (item := picture.behind(service))]
    if picture.brief.targets:
        wanted = [*callers, *wanted]
    for item in wanted:
        if spec(item).get("replicas") == 0:
            yield _assess(picture, item)


def _assess(picture: Picture, item: Object) -> Assessment:
    ref, row = ref_of(item, "Deployment"), picture.row("Deployment", name(item))
    signs = [*([row] if row else []), *picture.on_first_card(str(ref))]
    allowed = ChangeKind.SCALE in picture.brief.allowed
    target = {"target": f"deployment/{name(item)}", "namespace": picture.brief.namespace}
    why = f"{name(item)} is scaled to zero, and it is needed"
    return Assessment(
        claim=f"{name(item)} is scaled to zero",
        subject=ref,
        fault="deployment-scaled-to-zero",
        supports=tuple(signs[:3]),
        confirmed=bool(signs),
        remedy=Call("scale", {**target, "replicas": 1, "why": why}) if allowed else None,
        because=f"{name(item)} has no replicas, so nobody can answer: one is the least that can",
    )
