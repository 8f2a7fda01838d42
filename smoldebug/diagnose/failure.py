"""What is wrong with one service, by what the witness recorded of its pods, warnings and logs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from smoldebug.evidence import EvidenceStore
from smoldebug.records import Evidence, Json, ObjectRef, Quote
from smoldebug.signals.log_shapes import KnownErrors, error_words, message, serves_error
from smoldebug.signals.objects import Object, condition, name, status
from smoldebug.signals.red import container_statuses
from smoldebug.signals.times import span, when
from smoldebug.untrusted import instruction_like, one_line

WORDS = 200  # characters that are quoted
EXITS = "container-exits-cause-unknown"  # unless its log tells
Faults = Mapping[str, str]  # catalogue slug -> words that tell it

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_STARTING = ("CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun")
_REFERENCES = {
    "configmap-missing": r'configmap "[^"]*" not found',
    "secret-missing": r'secret "[^"]*" not found',
    "config-key-missing": r"couldn't find key",
}
_IMAGE_FAULTS = {
    "image-not-found": r"not found|manifest unknown|does not exist|InvalidImageName|couldn't parse",
    "image-pull-unauthorized": r"unauthorized|denied|forbidden|require authorization|authenticat",
    "image-architecture-wrong": r"no match for platform",
    "image-registry-unresolvable": r"no such host",
    "image-registry-unreachable": r"connection refused|timeout|timed out|too ?many ?requests",
}
_START_FAULTS = {"command-not-found": r"executable file not found|no such file or directory"}
_CREATION_FAULTS = {
    "serviceaccount-missing": r"serviceaccount \S+ not found",
    "pod-security-violation": r"violates PodSecurity",
    "quota-cpu-exceeded": r"exceeded quota.*requested: [^;]*\bcpu",
    "quota-memory-exceeded": r"exceeded quota.*requested: [^;]*\bmemory",
    "quota-pods-exceeded": r"exceeded quota.*requested: [^;]*\bpods",
}
_SCHEDULING_FAULTS = {
    "insufficient-cpu": "Insufficient cpu",
    "insufficient-memory": "Insufficient memory",
    "taint-not-tolerated": "untolerated taint",
    "node-selector-unmatched": "node affinity/selector",
}
_PROBE = re.compile(r"(?P<probe>Readiness|Startup|Liveness) probe failed: ?(?P<rest>.*)", re.DOTALL)
_EXCEPTION = re.compile(r"\b\w*(?:Exception|Error)\b|\bpanic\b|Traceback")
_TELLING = re.compile(r"\d+\.\d+\.\d+|(?i:\b(?:config|key|env|variable|setting|flag|option)\b)")


@dataclass(frozen=True, slots=True)
class Failure:
    """`says` is a sentence about the service, "" where its pods show nothing; `subject` what of it
    can be said to fail; `words` what the cluster says where no log can; `quotes` are not verified.
    """

    says: str = ""
    fault: str = ""
    words: str = ""
    quotes: tuple[Quote, ...] = ()
    subject: str = "it"
    own: bool = False  # about the service itself, whatever it calls
    node: bool = False  # it is the node's


@dataclass(frozen=True, slots=True)
class Line:
    """What a log says of a failure, and the other services that it names."""

    words: str
    count: int
    evidence: str
    names: frozenset[str] = frozenset()

    @property
    def fault(self) -> str:
        """Of a container that exits after it."""
        return "app-crash-exception" if _EXCEPTION.search(self.words) else ""


# --- pods and warnings ------------------------------------------------------------------------


def failure(evidence: EvidenceStore, service: str) -> Failure:
    """The most specific sign that the pods and warnings of a service show."""
    about = ObjectRef.parse(service)
    found = evidence.latest("describe", kind=about.kind, name=about.name, namespace=about.namespace)
    if found is None or not isinstance(found.observation.data, dict):
        return Failure()
    seen = _Seen(found)
    signs = (_node, _image, _configured, _started, _ended, _created, _mounted, _scheduled, _probed)
    return next((sign for look in signs if (sign := look(seen))), None) or _unready(seen)


class _Seen:
    """A description by the witness."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, data = evidence, evidence.observation.data
        self.pods: Sequence[Object] = data.get("pods") or []
        self.events: Sequence[Object] = data.get("events") or []
        self.since: datetime | None = when(data.get("since"))
        self.changed: Sequence[str] = data.get("changed") or []
        self.red: Sequence[str] = data.get("red") or []
        self.image = str(data.get("image") or "")

    @property
    def subject(self) -> str:
        """What of the service fails, as far as its revisions tell."""
        if not self.image:
            return "its new revision" if any("(revision" in each for each in self.changed) else "it"
        tag = self.image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        return f"the new image ({one_line(tag, 40)})" if tag else "the new image"

    def containers(self) -> Iterator[tuple[Object, Object]]:
        """Pods that are not ready first, as the witness lists them."""
        yield from ((pod, entry) for pod in self.pods for entry in container_statuses(pod))

    def messages(self, *reasons: str) -> list[str]:
        """Of the warnings with these reasons, newest first."""
        return [
            str(event.get("message") or "")
            for event in self.events
            if event.get("reason") in reasons
        ]

    def quote(self, text: str) -> Quote:
        return Quote(self.evidence.id, text[:WORDS].rstrip())

    def rows(self, pod: Object) -> list[Quote]:
        """Why a pod is red."""
        return [self.quote(line) for line in self.red if f"/{name(pod)}:" in line][:1]

    def sign(self, says: str, fault: str, *quotes: Quote, words: str = "") -> Failure:
        told = [*quotes, *map(self.quote, self.changed[:1])]
        return Failure(says, fault, one_line(words, WORDS), tuple(told), own=True)


def _fault(texts: Sequence[str], faults: Faults, otherwise: str) -> tuple[str, str]:
    """The one fault that the words tell, and the words that tell it; of several, none is sure."""
    told = {
        fault: text
        for text in texts
        for fault, pattern in faults.items()
        if re.search(pattern, text, re.IGNORECASE)
    }
    if len(told) == 1:
        return next(iter(told.items()))
    return otherwise, next(iter([*told.values(), *texts]), "")


def _node(seen: _Seen) -> Failure | None:
    """A node that is not ready takes its pods along, whatever else they show."""
    for line in seen.red:
        if line.startswith("Node/") and ": not ready" in line:
            says = f"its node is gone: {one_line(line)}"
            return Failure(says, quotes=(seen.quote(line),), node=True)
    return None


def _waiting(seen: _Seen, reasons: Sequence[str]) -> Iterator[tuple[Object, Object, str]]:
    for pod, entry in seen.containers():
        waiting = (entry.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in reasons:
            yield pod, entry, str(waiting.get("message") or "")


def _image(seen: _Seen) -> Failure | None:
    for _, entry, said in _waiting(seen, _IMAGE):
        image = str(entry.get("image") or seen.image)
        told = [text for text in seen.messages("Failed", "InspectFailed") if image in text]
        fault, words = _fault([*told, said], _IMAGE_FAULTS, "image-pull-failing")
        says = f"the image {one_line(image, 120)} cannot be pulled"
        return seen.sign(says, fault, seen.quote(words), words=words)
    return None


def _configured(seen: _Seen) -> Failure | None:
    for _, entry, said in _waiting(seen, ("CreateContainerConfigError",)):
        fault, words = _fault([said, *seen.messages("Failed")], _REFERENCES, "")
        says = f"its container {entry.get('name')} cannot be configured"
        return seen.sign(says, fault, seen.quote(words), words=words)
    return None


def _started(seen: _Seen) -> Failure | None:
    found = [(entry, said) for _, entry, said in _waiting(seen, _STARTING)]
    found += [
        (entry, str(ended.get("message") or ""))
        for _, entry, ended in _endings(seen)
        if ended.get("reason") in _STARTING
    ]
    for entry, said in found:
        told = [said, *seen.messages("Failed")]
        fault, words = _fault(told, _START_FAULTS, "container-create-failed")
        says = f"its container {entry.get('name')} cannot be started"
        return seen.sign(says, fault, seen.quote(words), words=words)
    return None


def _endings(seen: _Seen) -> Iterator[tuple[Object, Object, Object]]:
    """Pods, containers and how they last ended, since the steps began."""
    for pod, entry in seen.containers():
        for state in (entry.get("state") or {}, entry.get("lastState") or {}):
            ended = state.get("terminated")
            at = when(ended.get("finishedAt")) if ended else None
            if ended and not (seen.since and at and at < seen.since):
                yield pod, entry, ended
                break


def _ended(seen: _Seen) -> Failure | None:
    inits = {
        str(entry.get("name"))
        for pod in seen.pods
        for entry in status(pod).get("initContainerStatuses") or []
    }
    for pod, entry, ended in _endings(seen):
        called, code = str(entry.get("name")), ended.get("exitCode")
        if called in inits and not code:
            continue  # it did what it is for
        lasted = _lasted(ended)
        if ended.get("reason") == "OOMKilled":
            says, fault = f"is killed at its memory limit (OOMKilled){lasted}", "oom-killed"
        elif called in inits:
            says = f"does not get past its init container {called} (exit code {code})"
            fault = "init-container-crashing"
        elif probe := _probe(seen, pod, "Liveness"):
            says, fault = f"is restarted: {probe[0]}", probe[1]
        else:
            says, fault = f"exits with code {code}{lasted}", EXITS
        return seen.sign(f"{seen.subject} {says}", fault, *seen.rows(pod))
    return None


def _lasted(ended: Object) -> str:
    begun, over = when(ended.get("startedAt")), when(ended.get("finishedAt"))
    seconds = (over - begun).total_seconds() if begun and over else 0.0
    return f" after {span(seconds)}" if seconds >= 1 else ""


def _created(seen: _Seen) -> Failure | None:
    if told := seen.messages("FailedCreate"):
        fault, words = _fault(told, _CREATION_FAULTS, "pod-creation-refused")
        return seen.sign("its pods cannot be created", fault, seen.quote(words), words=words)
    return None


def _mounted(seen: _Seen) -> Failure | None:
    told = seen.messages("FailedMount", "FailedAttachVolume")
    if told and any(status(pod).get("phase") == "Pending" for pod in seen.pods):
        fault, words = _fault(told, _REFERENCES, "volume-mount-failed")
        return seen.sign("a volume cannot be mounted", fault, seen.quote(words), words=words)
    return None


def _scheduled(seen: _Seen) -> Failure | None:
    for pod in seen.pods:
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            told = [str(scheduled.get("message") or "")]
            fault, words = _fault(told, _SCHEDULING_FAULTS, "pod-unschedulable")
            return seen.sign("its pods find no node", fault, seen.quote(words), words=words)
    return None


def _probed(seen: _Seen) -> Failure | None:
    for pod in seen.pods:
        if condition(pod, "Ready").get("status") == "True":
            continue
        for kind in ("Startup", "Readiness"):
            if found := _probe(seen, pod, kind):
                says, fault, text = found
                return seen.sign(f"{seen.subject} {says}", fault, seen.quote(text))
    return None


def _probe(seen: _Seen, pod: Object, kind: str) -> tuple[str, str, str] | None:
    """What a pod's probe meets, the fault it tells, and the kubelet's words."""
    for event in seen.events:
        text = str(event.get("message") or "")
        found = _PROBE.search(text)
        own = (event.get("involvedObject") or {}).get("name") == name(pod)
        if own and found and found["probe"] == kind:
            meets, fault = _meets(found["rest"])
            return f"fails its {kind.lower()} probe{meets}", fault, text
    return None


def _meets(rest: str) -> tuple[str, str]:
    if answered := re.search(r"statuscode: (\d{3})", rest):
        code = answered[1]
        slug = "probe-path-wrong" if code == "404" else "health-endpoint-failing"
        return f" (HTTP {code})", slug
    for words, says in (("refused", "connection refused"), ("deadline", "no answer in time"),
                        ("timeout", "no answer in time")):  # fmt: skip
        if words in rest:
            return f" ({says})", ""
    return "", ""


def _unready(seen: _Seen) -> Failure:
    """Pods that run and are not ready, while nothing says why; this may be a dependency's doing."""
    for pod in seen.pods:
        if (
            status(pod).get("phase") == "Running"
            and condition(pod, "Ready").get("status") != "True"
        ):
            quotes = [*seen.rows(pod), *map(seen.quote, seen.changed[:1])]
            says = f"{seen.subject} runs, but is not ready"
            return Failure(says, quotes=tuple(quotes))
    return Failure(quotes=tuple(map(seen.quote, seen.changed[:1])), subject=seen.subject)


# --- logs -------------------------------------------------------------------------------------


def log_of(evidence: EvidenceStore, service: str) -> Evidence | None:
    about = ObjectRef.parse(service)
    target = f"{about.kind}/{about.name}".lower()
    return evidence.latest("fetch_logs", target=target, namespace=about.namespace)


def telling_line(evidence: EvidenceStore, service: str, others: Mapping[str, str]) -> Line | None:
    """The line of its log that says best what is wrong with a service: new since the steps, not
    merely a request that was answered with 5xx, about itself, the last before its end. `others`
    are further services, by the name that a line may call them.

    A line that reads like an instruction to an AI explains nothing.
    """
    found = log_of(evidence, service)
    data = found.observation.data if found else None
    if found is None or not isinstance(data, dict):
        return None
    known, ends = _known(evidence, service), data.get("ends") or []
    ranked: list[tuple[tuple[Json, ...], Line]] = []
    for shape in data.get("shapes") or []:
        text, level = str(shape["last"]), shape["level"]
        if level not in ("error", "warn") or instruction_like(text) or error_words(text) in known:
            continue
        words = message(text)[:WORDS].rstrip(" …")
        names = frozenset(other for called, other in others.items() if _names(text, called))
        line = Line(words, shape["count"], found.id, names)
        rank = (serves_error(text), level != "error", bool(names), text not in ends,
                not _TELLING.search(words), -line.count, words)  # fmt: skip
        ranked.append((rank, line))
    return min(ranked, key=lambda each: each[0])[1] if ranked else None


def _names(text: str, called: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(called)}(?![\w-])", text) is not None


def _known(evidence: EvidenceStore, service: str) -> KnownErrors:
    """What a service had logged before the steps, as it was noted then."""
    found, noted = KnownErrors(), evidence.latest("baseline")
    rows = noted.observation.data if noted else None
    row = rows.get(service) if isinstance(rows, dict) else None
    for line in (row or {}).get("errors") or []:
        found.add(error_words(line), line)
    return found
