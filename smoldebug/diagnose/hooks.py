"""The hook that an upgrade failed on: named, with what its log says, while its pods are there."""

import re
import shlex
from collections.abc import Sequence

from smoldebug.diagnose.failure import WORDS, failure, log_of, telling_line
from smoldebug.errors import NotFound, SmoldebugError
from smoldebug.evidence import EvidenceStore
from smoldebug.records import Blame, ObjectRef, Quote
from smoldebug.signals.log_shapes import message
from smoldebug.signals.objects import Object, condition, meta, ref, status
from smoldebug.sources.helm import Hook
from smoldebug.sources.world import Cluster

WAITED_FOR = ("Job", "Pod")  # kinds
_EVENT = re.compile(r"\b(p(?:re|ost)-[a-z]+) hooks failed")  # as Helm says it


def not_done(cluster: Cluster, hooks: Sequence[Hook], said: str) -> tuple[str, Object] | None:
    """The event and the Job or Pod that Helm waited for when it failed, by its words (`said`) and
    the cluster. Raises SmoldebugError for what cannot be seen."""
    told = _EVENT.search(said)
    events = [told[1]] if told else ["pre-upgrade", "post-upgrade"]
    found = [
        (event, item)
        for event in events
        for hook in hooks
        if event in hook.events and hook.ref.kind in WAITED_FOR
        if (item := _get(cluster, hook.ref)) and not _succeeded(item)
    ]
    return max(found, key=lambda each: _made(each[1]), default=None)


def left(cluster: Cluster, blamed: str) -> str:
    """That a hook runs on, which no rollback ends, and what does; "" where none does."""
    hook = ObjectRef.parse(blamed) if blamed else None
    if hook is None or hook.kind not in WAITED_FOR:
        return ""
    try:
        item = _get(cluster, hook)
    except SmoldebugError as error:
        return f"nobody knows whether {hook} runs on: {error}"
    if item is None or _succeeded(item) or _failed(item):
        return ""
    where = ["--context", cluster.context, "-n", hook.namespace]
    ends = shlex.join(["kubectl", *where, "delete", hook.kind.lower(), hook.name])
    return f"{hook} runs on, and a rollback does not end it: {ends}"


def blame(event: str, hook: Object, evidence: EvidenceStore, at: float) -> Blame:
    """By what a witness has recorded of it; `at` are the seconds since the first step."""
    about = str(ref(hook))
    seen, line = failure(evidence, about), telling_line(evidence, about, {})
    quotes = list(seen.quotes)
    if seen.words:
        why = f": “{seen.words}”"
    elif line:
        why, quotes = f"; its log: “{line.words}”", [Quote(line.evidence, line.words), *quotes]
    elif last := _last_line(evidence, about):
        why, quotes = f"; its log ends: “{last.text}”", [last, *quotes]
    else:
        why = "; it has logged nothing that could be read"
    at_last = "it failed" if _failed(hook) else "it was not done when Helm's time was over"
    return Blame(
        service=about,
        check=f"{event} hook",
        reason=f"{event} hook {ref(hook).name}: {seen.says or at_last}{why}",
        at=at,
        quotes=tuple(each for each in map(evidence.verify, quotes) if each.verified),
        fault=seen.fault,
    )


def _get(cluster: Cluster, hook: ObjectRef) -> Object | None:
    try:
        return cluster.get(hook)
    except NotFound:  # not begun, or deleted by its policy
        return None


def _succeeded(item: Object) -> bool:
    complete = condition(item, "Complete").get("status") == "True"
    return complete or status(item).get("phase") == "Succeeded"


def _failed(item: Object) -> bool:
    return (
        condition(item, "Failed").get("status") == "True" or status(item).get("phase") == "Failed"
    )


def _made(item: Object) -> str:
    return str(meta(item).get("creationTimestamp") or "")


def _last_line(evidence: EvidenceStore, about: str) -> Quote | None:
    found = log_of(evidence, about)
    data = found.observation.data if found else None
    last = data.get("last") if isinstance(data, dict) else ""
    return Quote(found.id, message(last)[:WORDS].rstrip(" …")) if found and last else None
