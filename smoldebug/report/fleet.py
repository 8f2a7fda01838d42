"""A matrix in short: the JSON document that `--output json` prints, and the sections for people."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec

from smoldebug.cells import Cell, speaking, status
from smoldebug.clock import duration
from smoldebug.events import SCHEMA_VERSION, RunStarted
from smoldebug.records import CheckResult, Json, Outcome, Section
from smoldebug.report.document import document as run_document
from smoldebug.report.sections import gaps, next_steps
from smoldebug.report.story import story
from smoldebug.report.words import copyable, ours
from smoldebug.status import ExitStatus
from smoldebug.untrusted import one_line

FEW = 3  # clusters that a headline names
LINE = 400  # characters; a command to copy is never cut
_OF_RUN = ("began", "outcome", "offender", "changes", "evidence", "gaps")


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
        "cluster": worst.cluster if worst else None,
        "offender": worst.offender if worst else "",
        "clusters": [_cluster(cell) for cell in cells],
    }


def _cluster(cell: Cell) -> dict[str, Json]:
    told = run_document(cell.events)
    verdict = cell.decisive
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
            ("OFFENDER", _safe([line for cell in cells for line in _blamed(cell)])),
            ("NOT SEEN", _per_cluster(cells, lambda cell: gaps(story(cell.events)))),
            ("NEXT", _per_cluster(cells, next_of)),
        )
        if lines
    ]


def headline(cells: Sequence[Cell]) -> str:
    """`Goal met in 3 of 3 clusters`, or `payments broke us-staging (rolled back); 2 met`."""
    met = sum(cell.status is ExitStatus.MET for cell in cells)
    worst = speaking(cells)
    if worst is None:
        return f"Goal met in {met} of {len(cells)} clusters"
    alike = [cell for cell in cells if _same(cell, worst)]
    where = ", ".join(cell.cluster for cell in alike[:FEW])
    where += f" and {len(alike) - FEW} more" if alike[FEW:] else ""
    what = f"{where} {worst.verdict}"
    if worst.offender:
        what = f"{worst.offender.rpartition('/')[2]} broke {where} ({worst.verdict})"
    others = Counter(cell.verdict for cell in cells if cell not in alike)
    rest = ", ".join(f"{number} {verdict}" for verdict, number in others.items())
    return f"{what}; {rest}" if rest else what


def _same(cell: Cell, other: Cell) -> bool:
    ends = [(each.verdict, each.offender, each.gave_way) for each in (cell, other)]
    return ends[0] == ends[1]


def next_of(cell: Cell) -> list[str]:
    """What a person should do now of one cluster, by rule."""
    if cell.status in (None, ExitStatus.MET):
        return []
    told = story(cell.events)
    lines = next_steps(told)
    return [*lines, f"$ {ours('runs', 'show', told.run)}"] if told.run else lines


def failing(cell: Cell) -> list[CheckResult]:
    """The checks that were not met when it was decided, those of the offender first."""
    verdict, service = cell.decisive, cell.offender
    results = verdict.results if verdict and cell.status is not ExitStatus.MET else ()
    found = [each for each in results if each.outcome is not Outcome.MET]
    return sorted(found, key=lambda each: each.service != service)


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
    if cell.release:
        yield cell.release
    if cell.rollback:
        yield f"rollback {cell.rollback}"
    yield cell.reason


def _blamed(cell: Cell) -> Iterator[str]:
    if (blame := cell.blame) is None:
        return
    after = f"{duration(blame.at)} after the first step"
    first = (
        f"{blame.service}: first failed “{blame.check}”, {after}" if blame.service else blame.reason
    )
    yield f"{cell.cluster}: {first}"
    for quote in blame.quotes:
        if quote.verified:
            yield f"{quote.evidence} “{one_line(quote.text, 200)}”"
    if blame.victims:
        yield f"probably only because of it: {', '.join(blame.victims)}"


def _per_cluster(cells: Sequence[Cell], lines: Callable[[Cell], list[str]]) -> list[str]:
    told: dict[tuple[str, ...], list[str]] = {}  # clusters of which the same is said
    for cell in cells:
        told.setdefault(tuple(lines(cell)), []).append(cell.cluster)
    blocks = [(f"{', '.join(names)}:", *found) for found, names in told.items() if found]
    return _safe([line for block in blocks for line in block])


def _safe(lines: Sequence[str]) -> list[str]:
    return [copyable(line) if line.startswith("$ ") else one_line(line, LINE) for line in lines]
