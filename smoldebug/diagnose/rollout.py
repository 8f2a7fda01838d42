"""A new revision whose pods do not come up while an earlier revision exists: roll back first."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from smoldebug.diagnose.picture import Assessment, Call, Picture, labels, ready, ref_of
from smoldebug.records import ChangeKind, ObjectRef, Quote
from smoldebug.signals.objects import Object, meta, name, revision, revisions, status
from smoldebug.signals.times import when

SERVED = 600.0  # seconds in service from which a revision counts as one that worked
FAILED = ("CrashLoopBackOff", "Error", "ImagePullBackOff", "ErrImagePull", "RunContainerError",
          "CreateContainerConfigError", "CreateContainerError", "InvalidImageName")  # fmt: skip


def assess(picture: Picture) -> Iterator[Assessment]:
    """One assessment per Deployment in question whose newest revision has failing pods."""
    for deployment in picture.in_question():
        failing = [(pod, why) for pod in picture.pods(deployment) if (why := _failure(pod))]
        if failing:
            yield _assess(picture, deployment, failing)


def _assess(picture: Picture, deployment: Object, failing: list[tuple[Object, str]]) -> Assessment:
    called, pods = name(deployment), [name(pod) for pod, _ in failing]
    known = revisions(deployment, picture.objects("ReplicaSet"))
    new = [pod for pod, _ in failing if known and _hash(pod) == _hash(known[0])]
    works = _worked(known)
    before = [row for item in works[:1] if (row := picture.row("ReplicaSet", name(item)))]
    supports = (*_signs(picture, deployment, pods), *before, *_last_error(picture, called, pods))
    confirmed = bool(new and works and supports)
    logs = picture.logs(called)
    return Assessment(
        claim=f"the newest revision of {called} does not come up",
        subject=ref_of(deployment, "Deployment"),
        supports=supports,
        confirmed=confirmed,
        needs=tuple(
            call for call in (*picture.read("ReplicaSet"), logs) if call.tool in picture.brief.tools
        ),
        remedy=_rollback(picture, called, works) if confirmed else None,
        because=f"{called} worked before its newest revision: restore first, understand later",
    )


def _signs(picture: Picture, deployment: Object, pods: Sequence[str]) -> list[Quote]:
    """A failing pod, why it is red, and what was changed on the Deployment."""
    rows = [row for pod in pods[:2] if (row := picture.row("Pod", pod))]
    red = picture.on_first_card(str(ObjectRef("Pod", picture.brief.namespace, pods[0])))
    changed = picture.on_first_card(str(ref_of(deployment, "Deployment")))
    return [*rows[:1], *red[:1], *changed[:1]]


def _worked(known: Sequence[Object]) -> list[Object]:
    """Earlier revisions of which something proves that they worked, newest first: they have ready
    pods now, or were in service for a while before the next one came."""
    proven = []
    for newer, item in pairwise(known):
        since, until = (when(meta(each).get("creationTimestamp")) for each in (item, newer))
        served = (until - since).total_seconds() if since and until else 0.0
        if status(item).get("readyReplicas") or served >= SERVED:
            proven.append(item)
    return proven


def _failure(pod: Object) -> str:
    """Why a pod is failing, "" when it is not (a pod that is merely starting is not)."""
    if ready(pod):
        return ""
    for container in status(pod).get("containerStatuses") or []:
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            for detail in state.values():
                reason = str((detail or {}).get("reason", ""))
                if reason in FAILED or reason == "OOMKilled":
                    return reason
    return ""


def _hash(item: Object) -> str:
    return labels(item).get("pod-template-hash", "")


def _last_error(picture: Picture, workload: str, pods: Sequence[str]) -> list[Quote]:
    for line in picture.lines(workload):
        if line.level in ("error", "fatal", "critical") and line.pod in pods:
            return [line.quote()]
    return []


def _rollback(picture: Picture, called: str, earlier: Sequence[Object]) -> Call | None:
    """To the newest of the earlier revisions that worked."""
    if ChangeKind.ROLLBACK not in picture.brief.allowed:
        return None
    target = {"target": f"deployment/{called}", "namespace": picture.brief.namespace}
    why = f"the newest revision of {called} does not come up"
    return Call("rollback", {**target, "revision": revision(earlier[0]), "why": why})
