"""Taints of nodes and what pods tolerate."""

from smoldebug.sources.world import Object


def repelling(node: Object, pod: Object, *effects: str) -> Object | None:
    """The first taint with one of these effects that the pod does not tolerate."""
    tolerations = pod["spec"].get("tolerations") or ()
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in effects and not any(_tolerates(t, taint) for t in tolerations):
            found: Object = taint
            return found
    return None


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    key = toleration.get("key")
    if toleration.get("operator", "Equal") == "Exists":
        return key in (None, "", taint["key"])
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return bool(key == taint["key"] and same_value)
