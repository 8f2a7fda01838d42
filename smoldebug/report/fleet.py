"""A matrix in short: the JSON document that `--output json` prints, and the sections for people."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec

from smoldebug.cells import UNTOUCHED, Cell, speaking, status
from smoldebug.clock import duration
from smoldebug.events import SCHEMA_VERSION, RunStarted
from smoldebug.records import CheckResult, Json, Outcome, Section
from smoldebug.report.document import document as run_document
from smoldebug.report.sections import gaps, next_steps
from smoldebug.report.story import story
from smoldebug.report.words import copyable, models, ours
from smoldebug.status import ExitStatus
from smoldebug.untrusted import one_line

FEW = 3  # clusters that a headline names
LINE = 400  # characters; a command to copy is never cut
_HOW_MUCH = re.compile(r"×\d+|\b\d+(?:\.\d+)?m?s\b")  # differs where the reason is the same
_OF_RUN = (
    "began",
    "outcome",
    "offender",
    "changes",
    "evidence",
    "gaps",
    "usage",
    "models",
    "switches",
)


# --- for machines -----------------------------------------------------------------------------


def document(cells: Sequence[Cell]) -> dict[str, Json]:
    """Plain JSON values; its fields are an API. Seconds are since that cluster's run began."""
    found, worst = status(cells), speaking(cells)
    started = next(
        (
            each.event
            for cell in cells
            for each in cell.events
            if isinstance(each.event, RunStarted)
        ),
        None,
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "validate",
        "playbook": started.playbook if started else "",
        "revision": started.revision if started else "",
        "matrix": started.matrix if started else "",
        "status": found.name.lower(),
        "exit_code": int(found),
        "headline": headline(cells),
        "cluster": worst.cluster if worst else None,
        "offender": worst.offender if worst else "",
        "clusters": [_cluster(cell) for cell in cells],
    }


def _cluster(cell: Cell) -> dict[str, Json]:
    told = run_document(cell.events)
    verdict, (before, after) = cell.decisive, cell.charts
    return {
        **{name: told[name] for name in _OF_RUN},
        "uid": told["cluster"],
        "cluster": cell.cluster,
        "run": cell.run,
        "status": cell.status.name.lower() if cell.status is not None else "skipped",
        "exit_code": int(cell.status) if cell.status is not None else None,
        "reason": cell.reason,
        "skipped": cell.skipped,
        "phase": cell.phase,
        "seconds": cell.seconds,
        "rollback": cell.rollback,
        "release": {"before": before, "after": after} if after else None,
        "now": cell.now,
        "checks": msgspec.to_builtins(verdict.results) if verdict else [],
        "next": next_of(cell),
    }


# --- for people -------------------------------------------------------------------------------


def sections(cells: Sequence[Cell]) -> list[Section]:
    """Headings with their lines; headings without a line are left out. A line that starts with
    `$ ` is a command to copy."""
    return [
        Section(heading, tuple(lines))
        for heading, lines in (
            ("VERDICT", _safe([headline(cells), f"exit status {int(status(cells))}"])),
            ("CLUSTERS", _rows(cells)),
            ("OFFENDER", _safe([line for group in alike(cells) for line in _blamed(group)])),
            ("NOT SEEN", _per_cluster(cells, lambda cell: gaps(story(cell.events)))),
            ("NEXT", _next(cells)),
            ("MODELS", _per_cluster(cells, lambda cell: models(story(cell.events)))),
        )
        if lines
    ]


def headline(cells: Sequence[Cell]) -> str:
    """`Goal met in 3 of 3 clusters`, or `payments broke us-staging (rolled back); 2 met`."""
    met = sum(cell.status is ExitStatus.MET for cell in cells)
    worst = speaking(cells)
    if worst is None:
        idle = [cell for cell in cells if cell.idle]
        where = "" if len(idle) == len(cells) else f" in {_names(idle)}"
        said = f"; {UNTOUCHED}{where}" if idle else ""
        return f"Goal met in {met} of {len(cells)} clusters{said}"
    same = [cell for cell in cells if _end(cell) == _end(worst)]
    what = f"{_names(same)} {worst.verdict}"
    if worst.offender:
        what = f"{_short(worst.offender)} broke {_names(same)} ({worst.verdict})"
    others = Counter(cell.verdict for cell in cells if cell not in same)
    rest = ", ".join(f"{number} {verdict}" for verdict, number in others.items())
    return f"{what}; {rest}" if rest else what


def alike(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Clusters that ended in the same way, for the same reason, together."""
    found: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        found.setdefault((*_end(cell), _HOW_MUCH.sub("", cell.reason)), []).append(cell)
    return list(found.values())


def _end(cell: Cell) -> tuple[str, str, bool]:
    return cell.verdict, cell.offender, cell.gave_way


def _names(cells: Sequence[Cell]) -> str:
    more = f" and {len(cells) - FEW} more" if cells[FEW:] else ""
    return ", ".join(cell.cluster for cell in cells[:FEW]) + more


def _short(service: str) -> str:
    return service.rpartition("/")[2]


def next_of(cell: Cell) -> list[str]:
    """What a person should do now of one cluster, by rule, and where to read more of it."""
    if cell.status in (None, ExitStatus.MET):
        return []
    return [*todo(cell), *_to_read([cell])]


def todo(cell: Cell) -> list[str]:
    """What a person should do now of one cluster, by rule."""
    if cell.status in (None, ExitStatus.MET):
        return []
    settled = cell.status in (ExitStatus.UNDONE, ExitStatus.INTERRUPTED)
    if not settled or cell.rollback != "verified":
        return next_steps(story(cell.events))
    left = cell.ended.question if cell.ended else ""
    again = f"mend {_short(cell.offender)}, then validate again" if cell.offender else ""
    if left:
        return [left, *filter(None, [again])]
    return [": ".join(filter(None, ["nothing is left to do there", again]))]


def _next(cells: Sequence[Cell]) -> list[str]:
    lines = _per_cluster(cells, todo)
    commands = any(line.startswith("$ ") for line in lines)  # each belongs to a cluster
    return lines if commands else [*lines, *_to_read(cells)]


def _to_read(cells: Sequence[Cell]) -> list[str]:
    """Where all of the cluster is told that the verdict is about; the others' runs are named."""
    worst = speaking(cells)
    told = worst is not None and worst.run and worst.status is not ExitStatus.USAGE
    return [f"$ {ours('runs', 'show', worst.run)}"] if worst and told else []


def failing(cell: Cell) -> list[CheckResult]:
    """The checks that were not met when it was decided, those of the offender first."""
    verdict, service = cell.decisive, cell.offender
    results = verdict.results if verdict and cell.status is not ExitStatus.MET else ()
    found = [each for each in results if each.outcome is not Outcome.MET]
    return sorted(found, key=lambda each: (each.service != service, each.pending))


def stood(row: CheckResult) -> str:
    """How it stood when it was decided: `not met`, or `under way`, which decides nothing."""
    return "under way" if row.pending else row.outcome.value


def _rows(cells: Sequence[Cell]) -> list[str]:
    names = [one_line(cell.cluster, 60) for cell in cells]
    wide, wider = max(map(len, names)), max(len(cell.verdict) for cell in cells)
    return [
        f"{name:{wide}}  {cell.verdict:{wider}}  {one_line(' · '.join(_facts(cell)), LINE)}"
        for name, cell in zip(names, cells, strict=True)
    ]


def _facts(cell: Cell) -> Iterator[str]:
    if not cell.skipped:
        yield duration(cell.seconds)
    if cell.run and cell.status not in (ExitStatus.MET, ExitStatus.USAGE):
        yield f"run {cell.run}"
    if stands := _stands(cell):
        yield stands
    if reason := beside_blame(cell):
        yield reason


def _stands(cell: Cell) -> str:
    if cell.status in (ExitStatus.USAGE, ExitStatus.INCONCLUSIVE) and cell.now == UNTOUCHED:
        return ""  # their reason says so
    if cell.status is ExitStatus.MET:
        return UNTOUCHED if cell.idle else cell.release
    return cell.now or (f"{cell.release}: not settled" if cell.release else "")


def beside_blame(cell: Cell) -> str:
    """Why it ended so, without what its blame says."""
    said = cell.blame.reason if cell.blame else ""
    return cell.reason.removeprefix(said).removeprefix("; ")


def _blamed(group: Sequence[Cell]) -> Iterator[str]:
    """Of clusters that broke alike, as the first of them showed it."""
    if (blame := group[0].blame) is None:
        return
    yield f"{', '.join(cell.cluster for cell in group)}: {blame.service or 'no single service'}"
    yield blame.reason
    if blame.service:
        yield f"first failed “{blame.check}”, {duration(blame.at)} after the first step"
    for quote in blame.quotes:
        if quote.verified:
            yield f"{quote.evidence} “{one_line(quote.text, 200)}”"
    if blame.victims:
        yield f"probably only because of it: {', '.join(map(_short, blame.victims))}"


def _per_cluster(cells: Sequence[Cell], lines: Callable[[Cell], list[str]]) -> list[str]:
    told: dict[tuple[str, ...], list[str]] = {}  # clusters of which the same is said
    for cell in cells:
        told.setdefault(tuple(lines(cell)), []).append(cell.cluster)
    blocks = [(f"{', '.join(names)}:", *found) for found, names in told.items() if found]
    return _safe([line for block in blocks for line in block])


def _safe(lines: Sequence[str]) -> list[str]:
    return [copyable(line) if line.startswith("$ ") else one_line(line, LINE) for line in lines]
