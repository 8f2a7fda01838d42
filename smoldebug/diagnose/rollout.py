"""A new revision whose pods do not come up while an earlier revision exists: roll back first."""

from collections.abc import Iterator, Sequence

from smoldebug.diagnose.picture import Assessment, Call, Picture, labels, ready, ref_of
from smoldebug.records import ChangeKind, Quote
from smoldebug.signals.objects import Object, name, revision, revisions, status

FAILED = ("CrashLoopBackOff", "Error", "ImagePullBackOff", "ErrImagePull", "RunContainerError",
          "CreateContainerConfigError", "CreateContainerError", "InvalidImageName")  # fmt: skip


def assess(picture: Picture) -> Iterator[Assessment]:
    """One assessment per Deployment in question whose newest revision has failing pods."""
    if "get" not in picture.brief.tools:
        return
    for deployment in picture.in_question():
        failing = [(pod, why) for pod in picture.pods(deployment) if (why := _failure(pod))]
        if failing:
            yield _assess(picture, deployment, failing)


def _assess(picture: Picture, deployment: Object, failing: list[tuple[Object, str]]) -> Assessment:
    called = name(deployment)
    known = revisions(deployment, picture.objects("ReplicaSet"))
    newest = known[0] if known else None
    new = [pod for pod, _ in failing if newest and _hash(pod) == _hash(newest)]
    seen = tuple(row for pod, _ in failing if (row := picture.row("Pod", name(pod))))[:2]
    error = _last_error(picture, called, {name(pod) for pod, _ in failing})
    logs = picture.logs(called)
    confirmed = bool(new) and len(known) > 1
    works = [item for item in known[1:] if status(item).get("readyReplicas")]
    before = [row for item in works[:1] if (row := picture.row("ReplicaSet", name(item)))]
    return Assessment(
        claim=f"the newest revision of {called} does not come up",
        subject=ref_of(deployment, "Deployment"),
        supports=(*seen, *before, *([error] if error else [])),
        confirmed=confirmed and bool(seen),
        needs=tuple(
            call for call in (*picture.read("ReplicaSet"), logs) if call.tool in picture.brief.tools
        ),
        remedy=_rollback(picture, called, works or known[1:]) if confirmed else None,
        because=f"{called} worked before its newest revision: restore first, understand later",
    )


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


def _last_error(picture: Picture, workload: str, pods: set[str]) -> Quote | None:
    for line in picture.lines(workload):
        if line.level in ("error", "fatal", "critical") and line.pod in pods:
            return line.quote()
    return None


def _rollback(picture: Picture, called: str, earlier: Sequence[Object]) -> Call | None:
    """To the first of these: earlier revisions, newest first, those with ready pods if any."""
    if ChangeKind.ROLLBACK not in picture.brief.allowed:
        return None
    target = {"target": f"deployment/{called}", "namespace": picture.brief.namespace}
    why = f"the newest revision of {called} does not come up"
    return Call("rollback", {**target, "revision": revision(earlier[0]), "why": why})
