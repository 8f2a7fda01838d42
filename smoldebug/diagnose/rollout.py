"""A new revision whose pods do not come up while an earlier revision exists: roll back first."""

from collections.abc import Iterator

from smoldebug.diagnose.picture import Assessment, Call, Object, Picture, name_of, ready, ref_of
from smoldebug.records import ChangeKind, Quote

REVISION = "deployment.kubernetes.io/revision"
FAILED = ("CrashLoopBackOff", "Error", "ImagePullBackOff", "ErrImagePull", "RunContainerError",
          "CreateContainerConfigError", "CreateContainerError", "InvalidImageName")  # fmt: skip


def assess(picture: Picture) -> Iterator[Assessment]:
    """One assessment per Deployment whose newest revision has failing pods."""
    if "get" not in picture.brief.tools:
        return
    for deployment in picture.objects("Deployment"):
        failing = [(pod, why) for pod in picture.pods(deployment) if (why := _failure(pod))]
        if failing:
            yield _assess(picture, deployment, failing)


def _assess(picture: Picture, deployment: Object, failing: list[tuple[Object, str]]) -> Assessment:
    name, namespace = name_of(deployment), picture.brief.namespace
    revisions = _revisions(picture, deployment)
    newest = revisions[-1] if revisions else None
    new = [pod for pod, _ in failing if newest and _hash(pod) == _hash(newest)]
    seen = tuple(row for pod, _ in failing if (row := picture.row("Pod", name_of(pod))))[:2]
    error = _last_error(picture, name)
    logs = Call("fetch_logs", {"target": f"deployment/{name}", "namespace": namespace})
    confirmed = bool(new) and len(revisions) > 1
    reason = failing[0][1]
    return Assessment(
        claim=f"the newest revision of {name} does not come up ({reason})",
        subject=ref_of(deployment, "Deployment"),
        supports=(*seen, *([error] if error else [])),
        confirmed=confirmed and bool(seen),
        needs=tuple(
            call for call in (*picture.read("ReplicaSet"), logs) if call.tool in picture.brief.tools
        ),
        remedy=_rollback(picture, name) if confirmed else None,
        because=f"{name} worked before its newest revision: restore first, understand later",
    )


def _failure(pod: Object) -> str:
    """Why a pod is failing, "" when it is not (a pod that is merely starting is not)."""
    if ready(pod):
        return ""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    for status in statuses:
        for state in (status.get("state", {}), status.get("lastState", {})):
            for detail in state.values():
                reason = str((detail or {}).get("reason", ""))
                if reason in FAILED or reason == "OOMKilled":
                    return reason
    return ""


def _revisions(picture: Picture, deployment: Object) -> list[Object]:
    """The Deployment's ReplicaSets, oldest revision first."""
    uid = deployment.get("metadata", {}).get("uid")
    owned = [
        item
        for item in picture.objects("ReplicaSet")
        if any(
            owner.get("uid") == uid
            for owner in item.get("metadata", {}).get("ownerReferences") or []
        )
    ]
    return sorted(owned, key=_revision)


def _revision(item: Object) -> int:
    text = str((item.get("metadata", {}).get("annotations") or {}).get(REVISION, "0"))
    return int(text) if text.isdigit() else 0


def _hash(item: Object) -> str:
    return str((item.get("metadata", {}).get("labels") or {}).get("pod-template-hash", ""))


def _last_error(picture: Picture, workload: str) -> Quote | None:
    for line in picture.lines(workload):
        if line.level in ("error", "fatal", "critical"):
            return line.quote()
    return None


def _rollback(picture: Picture, name: str) -> Call | None:
    if ChangeKind.ROLLBACK not in picture.brief.allowed:
        return None
    why = f"the newest revision of {name} does not come up"
    target = f"deployment/{name}"
    return Call("rollback", {"target": target, "namespace": picture.brief.namespace, "why": why})
