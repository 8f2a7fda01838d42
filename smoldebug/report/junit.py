"""JUnit XML of a matrix: a suite for each cluster, a case for each check of each service.

What could not be decided is an error, not a skipped case: most CI systems show those green. A
cluster that was not begun is skipped, with the reason. Where a cluster did not hold, at least one
case is red. Valid by the schema of Ant's JUnit task and by that of Jenkins: so evidence stands in
a suite's `system-out`, and a case has one result at most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as xml

from smoldebug.cells import Cell
from smoldebug.events import GoalChecked, PhaseBegan, UndoBegan
from smoldebug.records import CheckResult, Outcome
from smoldebug.report.fleet import next_of, stood
from smoldebug.report.story import Step, story
from smoldebug.status import ExitStatus
from smoldebug.untrusted import clip, one_line, plain

EVIDENCE, EVIDENCES = 8000, 200_000  # characters of one piece, and of a suite; the journal has all
BODY = 4000  # characters of what a case says
ALL = "the goal"  # stands for the service where a check is about none
_UNDECIDED = (
    ExitStatus.USAGE,
    ExitStatus.INCONCLUSIVE,
    ExitStatus.NEEDS_APPROVAL,
    ExitStatus.UNREACHABLE,
    ExitStatus.INTERRUPTED,
)
# What XML 1.0 has no place for; the rest of it `untrusted.plain` takes away
_NO_CHARACTERS = dict.fromkeys((0xFFFE, 0xFFFF))


@dataclass(frozen=True, slots=True)
class Case:
    """`result` is failure, error, skipped, or "" for one that passed."""

    about: str  # service
    name: str
    seconds: float = 0.0
    result: str = ""
    message: str = ""
    body: str = ""


def junit(cells: Sequence[Cell]) -> str:
    """A whole document, for a file in UTF-8."""
    root = xml.Element("testsuites")
    playbook = next((cell.playbook for cell in cells if cell.playbook), "")
    for number, cell in enumerate(cells):
        root.append(_suite(number, cell, playbook))
    xml.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml.tostring(root, encoding="unicode")}\n'


def _suite(number: int, cell: Cell, playbook: str) -> xml.Element:
    cases = list(_cases(cell))
    results = [case.result for case in cases]
    began = f"{cell.events[0].at:%Y-%m-%dT%H:%M:%S}" if cell.events else "1970-01-01T00:00:00"
    suite = xml.Element(
        "testsuite",
        {
            "name": _name(f"{playbook} {cell.cluster}"),
            "package": _name(playbook),
            "id": str(number),
            "timestamp": began,
            "hostname": _name(cell.cluster),
            "tests": str(len(cases)),
            "failures": str(results.count("failure")),
            "errors": str(results.count("error")),
            "skipped": str(results.count("skipped")),
            "time": f"{cell.seconds:.3f}",
        },
    )
    properties = xml.SubElement(suite, "properties")
    for name, value in (("run", cell.run), ("verdict", cell.verdict), ("reason", cell.reason)):
        xml.SubElement(properties, "property", {"name": name, "value": _line(value)})
    for case in cases:
        _case(suite, cell.cluster, case)
    xml.SubElement(suite, "system-out").text = _text(_evidence(cell), EVIDENCES)
    xml.SubElement(suite, "system-err").text = _text("\n".join(next_of(cell)), BODY)
    return suite


def _case(suite: xml.Element, cluster: str, case: Case) -> None:
    # With the cluster: GitLab keeps one of several cases of the same class and name
    of = f"{cluster}.{case.about}"
    names = {"classname": _name(of), "name": _name(case.name), "time": f"{case.seconds:.3f}"}
    element = xml.SubElement(suite, "testcase", names)
    if case.result == "skipped":
        xml.SubElement(element, "skipped", {"message": _line(case.message)})
    elif case.result:
        told = {"message": _line(case.message), "type": _name(case.name)}
        xml.SubElement(element, case.result, told).text = _text(case.body or case.message, BODY)


# --- cases ------------------------------------------------------------------------------------


def _cases(cell: Cell) -> Iterator[Case]:
    if cell.skipped:
        yield Case(ALL, "upgrade", result="skipped", message=cell.skipped)
        return
    cases = [*_checks(cell), *_rollback(cell)]
    yield from cases
    held = cell.status is ExitStatus.MET or cell.gave_way
    if not cases or not (held or any(case.result for case in cases)):
        result = "error" if cell.status in _UNDECIDED else "failure"
        yield Case(ALL, "upgrade", cell.seconds, "" if held else result, cell.reason)


def _checks(cell: Cell) -> Iterator[Case]:
    """Each row of the goal as it stood when that was decided."""
    verdict = cell.decisive
    since = _since(cell)
    for each in verdict.results if verdict else ():
        about, seconds = each.service or ALL, since.get((each.service, each.check), 0.0)
        result = _result(cell, each)
        message = f"{stood(each)}: {each.says}" if result else ""
        yield Case(about, each.check, seconds, result, message, _because(cell, each))


def _result(cell: Cell, row: CheckResult) -> str:
    """A row of a goal that held may be not met: of `any`, one is enough."""
    if row.outcome is Outcome.MET or cell.status is ExitStatus.MET or cell.gave_way:
        return ""
    decided = row.outcome is Outcome.NOT_MET and not row.pending
    return "failure" if decided and cell.status not in _UNDECIDED else "error"


def _because(cell: Cell, row: CheckResult) -> str:
    lines = [f"{row.check}: {row.says}"]
    if (blame := cell.blame) and row.service == blame.service != "":
        lines += [blame.reason]
        lines += [f"{quote.evidence}: {quote.text}" for quote in blame.quotes if quote.verified]
    elif blame and row.service in blame.victims:
        lines.append(f"probably only because of {blame.service}: {blame.reason}")
    elif cell.status in _UNDECIDED:
        lines.append(cell.reason)
    return "\n".join(lines)


def _rollback(cell: Cell) -> Iterator[Case]:
    if cell.undoing is None:
        return
    seconds = cell.seconds - cell.undoing.elapsed
    if cell.rollback == "verified":
        yield Case(ALL, "rollback", seconds)
    else:
        yield Case(ALL, "rollback", seconds, "failure", f"{cell.rollback}: {cell.reason}")


def _since(cell: Cell) -> dict[tuple[str, str], float]:
    """By service and check, the seconds from the first step until it stood as it did in the end."""
    began, stands = 0.0, dict[tuple[str, str], tuple[Outcome, float]]()
    for stamped in cell.events:
        match stamped.event:
            case UndoBegan():
                break
            case PhaseBegan(phase="steps"):
                began = stamped.elapsed
                stands.clear()
            case GoalChecked(verdict=verdict):
                for row in verdict.results:
                    key = row.service, row.check
                    if stands.get(key, (None,))[0] is not row.outcome:
                        stands[key] = row.outcome, stamped.elapsed - began
    return {key: seconds for key, (_, seconds) in stands.items()}


# --- text -------------------------------------------------------------------------------------


def _evidence(cell: Cell) -> str:
    steps = [step for step in story(cell.events).steps if step.answer.evidence]
    return "\n\n".join(_piece(step) for step in steps) if cell.status is not ExitStatus.MET else ""


def _piece(step: Step) -> str:
    seen = step.answer.observation
    text = seen.text if seen else step.answer.text
    about = f" {seen.ref}" if seen and seen.ref else ""
    return f"{step.answer.evidence} {step.tool}{about}\n{clip(text, EVIDENCE)}"


def _text(text: str, limit: int) -> str:
    return clip(plain(text).translate(_NO_CHARACTERS), limit)


def _line(text: str) -> str:
    return one_line(text.translate(_NO_CHARACTERS), 1000)


def _name(text: str) -> str:
    """Never empty: what has no name is ignored."""
    return _line(text) or "?"
