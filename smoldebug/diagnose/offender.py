"""Which of the services that fail broke the goal, and which only suffer from it.

The suspects are the services with a check that failed for good; one whose rollout is still under
way is a suspect, too, where its own pods fail and a service that failed for good calls it. Then, in
this order, because each is more telling than the next:

1. Its own failure before a dependency's. A crash, an image, a probe speak of the service itself;
   5xx, while something it calls fails as well, may be that one's. Logs are between: errors that
   name another service that fails speak of that one.
2. Who is called before who calls. What fails because of another cannot have failed long before it:
   a dependency that could only have failed later explains nothing.
3. Who failed first. Within one sampling interval nobody did: the order of measuring is chance.
4. Who was changed. A service that nobody touched is rarely the offender.
5. Who failed more than once, whose log names nobody else, who is called by most others.

Where everything failed at once, nothing shows a failure of its own, and what nobody touched is
among it, no service is named: that is rather the cluster.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from smoldebug.diagnose.failure import EXITS, Failure, Line, failure, log_of, telling_line
from smoldebug.evidence import EvidenceStore
from smoldebug.records import Blame, CheckResult, ObjectRef, Outcome, Quote, Verdict
from smoldebug.signals.words import count
from smoldebug.untrusted import one_line

QUOTES = 3
SAYS = 200  # characters of what a check says
NAMED = 3  # services named in a sentence
APART = 1.0  # seconds between two samples at least: closer than that, nobody was first
ONCE = 3  # services from which "everything" is a word
ABOUT_ITSELF = ("rollout", "restarts")  # kinds of checks; the others measure what callees do, too

Samples = Sequence[tuple[float, Verdict]]
Calls = Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class _Row:
    """A check of a service that fails now. `at` is when its last streak of failures began, `since`
    the same with the samples in which it was still under way."""

    result: CheckResult
    at: float
    since: float
    samples: int

    @property
    def rank(self) -> tuple[float, bool, str]:
        return self.at, self.result.kind not in ABOUT_ITSELF, self.result.check


@dataclass(frozen=True, slots=True)
class _Suspect:
    service: str
    first: _Row  # that failed first
    since: float  # it may have failed from here on
    kinds: frozenset[str]
    samples: int
    failure: Failure
    line: Line | None
    calls: frozenset[str] = frozenset()  # the other suspects that it reaches
    specific: int = 0

    @property
    def name(self) -> str:
        return self.service.rpartition("/")[2]


def blame(
    samples: Samples,
    calls: Calls,
    evidence: EvidenceStore,
    changed: Collection[str] | None = None,
    every: float = 0.0,
) -> Blame | None:
    """None where no service fails. `samples` are (seconds since the first step, verdict) in order;
    `calls`: which workload calls which; `changed`: those that the steps changed, none where nobody
    knows; `every`: seconds between the samples of one check, as far as more than the samples tell.
    """
    suspects, changed = _suspects(samples, calls, evidence), changed or None
    if not suspects:
        return None
    slack = max([APART, every, *(after - at for (at, _), (after, _) in pairwise(samples))])
    roots = _roots(suspects, slack)
    services = {each.service for _, verdict in samples for each in verdict.results if each.service}
    if all(each.failure.node for each in suspects):
        return _cluster(suspects, suspects[0].failure.says, evidence)
    if _at_once(suspects, services, slack) and _unexplained(roots, changed):
        also = ", also what the steps did not touch" if changed else ""
        return _cluster(suspects, f"all at once{also}", evidence)
    return _told(_first(roots, suspects, changed, slack), suspects, bool(calls), evidence)


# --- who fails --------------------------------------------------------------------------------


def _suspects(samples: Samples, calls: Calls, evidence: EvidenceStore) -> list[_Suspect]:
    rows = _rows(samples)
    final = {
        service: [row for row in known if not row.result.pending]
        for service, known in rows.items()
        if not all(row.result.pending for row in known)
    }
    reached = {each for service in final for each in _reach(service, calls)}
    seen = {service: failure(evidence, service) for service in rows}
    under_way = {
        service: known
        for service, known in rows.items()
        if service not in final and (not final or (service in reached and seen[service].own))
    }
    names = {ObjectRef.parse(service).name: service for service in rows}
    found = []
    for service, known in sorted({**final, **under_way}.items()):
        others = {called: other for called, other in names.items() if other != service}
        found.append(
            _Suspect(
                service,
                min(known, key=lambda row: row.rank),
                min(row.since for row in rows[service]),
                frozenset(row.result.kind for row in known),
                max(row.samples for row in known),
                seen[service],
                telling_line(evidence, service, others),
            )
        )
    return _placed(found, calls)


def _rows(samples: Samples) -> dict[str, list[_Row]]:
    """Per service, its checks that are not met by the last sample."""
    history: dict[tuple[str, str], list[tuple[float, CheckResult]]] = {}
    for at, verdict in samples:
        worst: dict[tuple[str, str], CheckResult] = {}
        for result in verdict.results:
            key = (result.service, result.check)
            worst[key] = max(worst.get(key, result), result, key=_badness)
        for key, result in worst.items():
            history.setdefault(key, []).append((at, result))
    found: dict[str, list[_Row]] = {}
    last = {(each.service, each.check) for each in samples[-1][1].results} if samples else set()
    for (service, check), known in sorted(history.items()):
        row = _row(known) if service and (service, check) in last else None
        if row:
            found.setdefault(service, []).append(row)
    return found


def _badness(result: CheckResult) -> tuple[int, bool, str]:
    """Of several results of one check in one sample the worst counts."""
    order = (Outcome.MET, Outcome.INCONCLUSIVE, Outcome.NOT_MET)
    return order.index(result.outcome), not result.pending, result.says


def _row(known: Sequence[tuple[float, CheckResult]]) -> _Row | None:
    """An inconclusive sample in between says nothing."""
    last = known[-1][1]
    if last.outcome is not Outcome.NOT_MET:
        return None
    at = since = known[-1][0]
    failing, samples = True, 0
    for when, result in reversed(known):
        if result.outcome is Outcome.INCONCLUSIVE:
            continue
        if result.outcome is Outcome.MET:
            break
        since, failing = when, failing and result.pending == last.pending
        if failing:
            at, samples = when, samples + 1
    return _Row(last, at, since, samples)


# --- who did it -------------------------------------------------------------------------------


def _reach(service: str, calls: Calls) -> set[str]:
    """Everything that a service calls, directly or through others."""
    found: set[str] = set()
    pending = [service]
    while pending:
        for called in calls.get(pending.pop(), ()):
            if called not in found:
                found.add(called)
                pending.append(called)
    return found - {service}


def _placed(suspects: Sequence[_Suspect], calls: Calls) -> list[_Suspect]:
    """With what each calls, and how much of its failure is its own."""
    known = {each.service for each in suspects}
    reach = {each.service: frozenset(_reach(each.service, calls) & known) for each in suspects}
    one_way = {
        service: {other for other in called if service not in reach[other]}
        for service, called in reach.items()
    }
    return [
        replace(each, calls=reach[each.service], specific=_specific(each, one_way[each.service]))
        for each in suspects
    ]


def _specific(suspect: _Suspect, depends: Collection[str]) -> int:
    """2: about itself. 1: nobody can tell. 0: what it calls fails, and it shows nothing else."""
    line = suspect.line
    if suspect.failure.own or suspect.kinds & {*ABOUT_ITSELF}:
        # Typed edges only: whatever stands in a log, it clears nobody of a crash by itself
        return 1 if line and line.names & {*depends} else 2
    speaks = "logs" in suspect.kinds and line is not None and not line.names
    return int(speaks) + int(not depends)


def _roots(suspects: Sequence[_Suspect], slack: float) -> list[_Suspect]:
    """The most specific of them that no other one of these explains."""
    most = max(each.specific for each in suspects)
    pool = {each.service: each for each in suspects if each.specific == most}

    def explained(each: _Suspect) -> bool:
        return any(
            each.service not in pool[other].calls and pool[other].since <= each.first.at + slack
            for other in each.calls & pool.keys()
        )

    return [each for each in pool.values() if not explained(each)]


def _first(
    roots: Sequence[_Suspect],
    suspects: Sequence[_Suspect],
    changed: Collection[str] | None,
    slack: float,
) -> _Suspect:
    began = min(each.first.at for each in roots)

    def key(each: _Suspect) -> tuple[bool, bool, bool, bool, int, str]:
        later = each.first.at > began + slack
        untouched = changed is not None and each.service not in changed
        points_away = each.line is not None and bool(each.line.names)
        explains = sum(each.service in other.calls for other in suspects)
        return later, untouched, each.samples < 2, points_away, -explains, each.service

    return min(roots, key=key)


# --- everything at once -----------------------------------------------------------------------


def _at_once(suspects: Sequence[_Suspect], services: Collection[str], slack: float) -> bool:
    times = [each.first.at for each in suspects]
    everything = len(suspects) == len(services) >= ONCE
    shown = any(each.failure.own for each in suspects)
    return everything and not shown and max(times) - min(times) <= slack


def _unexplained(roots: Sequence[_Suspect], changed: Collection[str] | None) -> bool:
    """Whether several fail for no common reason, one of them (as far as known) untouched."""
    untouched = changed is None or any(each.service not in changed for each in roots)
    return len(roots) > 1 and untouched


def _cluster(suspects: Sequence[_Suspect], how: str, evidence: EvidenceStore) -> Blame:
    """Without victims: there is no offender that they could suffer from."""
    failed = f"{count(len(suspects), 'service')} failed ({_named(suspects)})"
    quotes = (evidence.verify(quote) for quote in suspects[0].failure.quotes)
    return Blame(
        service="",
        check="",
        reason=f"{failed}, {how}: rather the cluster than one of them",
        at=min(each.first.at for each in suspects),
        quotes=tuple(quote for quote in quotes if quote.verified)[:QUOTES],
    )


# --- why --------------------------------------------------------------------------------------


def _told(
    offender: _Suspect, suspects: Sequence[_Suspect], mapped: bool, evidence: EvidenceStore
) -> Blame:
    """`mapped`: somebody knows who calls whom."""
    others = [each for each in suspects if each is not offender]
    own = [each for each in others if each.specific >= (offender.specific if mapped else 2)]
    own_names = {each.service for each in own}
    alone = [each for each in own if not each.calls & {offender.service, *own_names}]
    quotes = [evidence.verify(quote) for quote in _quotes(offender)]
    fault = offender.failure.fault
    return Blame(
        offender.service,
        offender.first.result.check,
        f"{offender.name}: {_what(offender)}{_why(offender, evidence)}{_more(alone)}",
        offender.first.at,
        tuple(dict.fromkeys(quote for quote in quotes if quote.verified))[:QUOTES],
        tuple(each.service for each in others if each not in alone),
        offender.line.fault if offender.line and fault == EXITS else fault,
    )


def _what(offender: _Suspect) -> str:
    if offender.failure.says:
        return offender.failure.says
    if offender.first.result.kind == "logs" and offender.line:
        return f"{offender.failure.subject} logs errors that were not logged before"
    result = offender.first.result
    return f"{one_line(result.check, SAYS)}: {one_line(result.says, SAYS)}"


def _why(offender: _Suspect, evidence: EvidenceStore) -> str:
    if offender.failure.words:
        return f": “{offender.failure.words}”"
    if line := offender.line:
        times = f" ×{line.count}" if line.count > 1 else ""
        return f"; its log: “{one_line(line.words)}”{times}"
    found = log_of(evidence, offender.service)
    read = found is not None and isinstance(found.observation.data, dict)
    lines = found.observation.data["lines"] if found and read else 0
    return "; its log says nothing about it" if lines else "; none of its log could be read"


def _quotes(offender: _Suspect) -> list[Quote]:
    """The cluster's words first where there can be no log, else the line of the log."""
    line = [Quote(offender.line.evidence, offender.line.words)] if offender.line else []
    told = list(offender.failure.quotes)
    return [*told, *line] if offender.failure.words else [*line, *told]


def _more(alone: Sequence[_Suspect]) -> str:
    if not alone:
        return ""
    fail = "fails by itself" if len(alone) == 1 else "fail by themselves"
    return f"; and {len(alone)} more {fail}: {_named(alone)}"


def _named(suspects: Sequence[_Suspect]) -> str:
    more = ", …" if suspects[NAMED:] else ""
    return ", ".join(each.name for each in suspects[:NAMED]) + more
