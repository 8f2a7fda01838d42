"""`smoldebug playbooks test`: playbooks over recorded runs, without a model or a cluster."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoldebug.cli.options import ListFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoldebug.cli.options import Options
    from smoldebug.events import Stamped
    from smoldebug.playbook.load import Draft
    from smoldebug.playbook.models import RunPlan
    from smoldebug.replay.rehearsal import Rehearsed

EXAMPLES = """\
Examples:

  smoldebug playbooks test                                  # every test below ./tests

  smoldebug playbooks test tests/auth-is-too-small --junit junit.xml

  smoldebug playbooks test tests/auth-is-too-small --record last

  smoldebug playbooks test tests/auth-is-too-small --update # what happens now is expected

Exit status: 0 all as expected, 1 not, 2 a test that cannot be run.
"""
JOURNAL, PLAYBOOK, EXPECT = Path("run/journal.jsonl"), "playbook.yaml", "expect.yaml"


@dataclass
class Tested:
    """`problems` say what is not as expected; `unusable`, why the test could not be run."""

    name: str
    problems: list[str] = field(default_factory=list)
    unusable: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not (self.problems or self.unusable)


def run_tests(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Tests, or folders with some; else ./tests.")
    ] = None,
    record: Annotated[
        str, typer.Option(metavar="RUN", help="Make a test of a run, in the one folder given.")
    ] = "",
    update: Annotated[
        bool, typer.Option("--update", help="Rewrite expect.yaml from what happens now.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file.")] = None,
    output: Annotated[ListFormat, typer.Option("--output", "-o")] = ListFormat.TABLE,
) -> int:
    """Run playbooks over recorded runs, and compare what becomes of them with what is expected.

    A test is a folder with run/journal.jsonl, expect.yaml, and a playbook.yaml (or `playbook:` in
    expect.yaml). Models, tools and measurements answer as they were recorded; the playbook is the
    one of now. Nothing is contacted.
    """
    from smoldebug.errors import UsageError
    from smoldebug.status import ExitStatus

    if record:
        if not folders or len(folders) != 1:
            raise UsageError("--record makes one test: name its folder")
        _record(record, folders[0])
    found = _tests(folders or [Path("tests")])
    results = [_tested(each, update=update or bool(record)) for each in found]
    if junit is not None:
        _keep_junit(junit, results)
    _tell(results, output)
    if any(each.unusable for each in results):
        return ExitStatus.USAGE
    return ExitStatus.MET if all(each.passed for each in results) else ExitStatus.NOT_MET


def _tests(folders: "Sequence[Path]") -> list[Path]:
    """Raises UsageError for a folder without any."""
    from smoldebug.errors import UsageError

    found: dict[Path, None] = {}
    for folder in folders:
        here = sorted(path.parent.parent for path in folder.rglob(str(JOURNAL)))
        if not here:
            raise UsageError(
                f"no playbook tests in: {folder}",
                hint=f"smoldebug playbooks test {folder}/NAME --record RUN",
            )
        found.update(dict.fromkeys(here))
    return list(found)


# --- one test ---------------------------------------------------------------------------------


def _tested(folder: Path, *, update: bool) -> Tested:
    import time

    from smoldebug.errors import UsageError

    began, made = time.monotonic(), Tested(str(folder))
    try:
        made.problems = _problems(folder, update=update)
    except UsageError as error:
        made.unusable = f"{error} ({error.hint})" if error.hint else str(error)
    made.seconds = round(time.monotonic() - began, 3)
    return made


def _problems(folder: Path, *, update: bool) -> list[str]:
    from smoldebug import journal
    from smoldebug.replay import expect

    expected = folder / EXPECT
    events = journal.read(folder / JOURNAL)
    read = _draft(folder, events)
    rehearsed = _rehearsed(folder, read, events)
    if rehearsed.stopped:
        return [_placed(read, rehearsed.stopped)]
    if update:
        _write_expected(expected, rehearsed.events)
        return []
    wanted = expect.read(expected)
    found = wanted.problems(rehearsed.events) + _over(read, rehearsed)
    if (ended := rehearsed.ended) and int(ended.status) != wanted.expected.exit:
        found.append(_placed(read, f"the run ended: {ended.reason}"))
    return found


def _rehearsed(folder: Path, read: "Draft", events: "Sequence[Stamped]") -> "Rehearsed":
    from dataclasses import replace

    from smoldebug.cli.kept import kept
    from smoldebug.cli.recorded import tools_of
    from smoldebug.past import past
    from smoldebug.playbook.load import planned, require_supported
    from smoldebug.replay.again import Now
    from smoldebug.replay.rehearsal import rehearse

    plan = planned(read)
    require_supported(plan)
    was = kept(past(events).started)
    own = [folder / "tools"] if (folder / "tools").is_dir() else []
    options = replace(was.options, tools=own)
    return rehearse(events, Now(plan, tools_of(plan, options)), was.plan.playbook.goal)


def _draft(folder: Path, events: "Sequence[Stamped]") -> "Draft":
    """The playbook of now, with the inputs that were given to the one of then."""
    from smoldebug.cli.kept import kept
    from smoldebug.past import past
    from smoldebug.playbook.find import find
    from smoldebug.playbook.load import draft, planned
    from smoldebug.replay import expect

    path = folder / PLAYBOOK
    if not path.is_file() and (named := expect.read(folder / EXPECT).expected.playbook):
        path = find(named if "/" not in named else str(folder / named))
    was, declared = kept(past(events).started).plan, planned(draft(path)).playbook.inputs
    given = {
        name: _as_text(value)
        for name, value in was.inputs.items()
        if name in declared and value != _default(was, name)
    }
    return draft(path, given)


def _default(plan: "RunPlan", name: str) -> object:
    import msgspec

    entry = plan.playbook.inputs.get(name)
    default = entry.default if entry else None
    return "" if default is msgspec.UNSET else default


def _as_text(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def _over(read: "Draft", rehearsed: "Rehearsed") -> list[str]:
    """What the recording cost, where the playbook does not allow that much any more."""
    from smoldebug.playbook.base import Money

    limits, ended = read.plan and read.plan.playbook.limits, rehearsed.ended
    if not limits or not ended or ended.usage.cost <= limits.cost:
        return []
    cost = Money(ended.usage.cost)
    return [_placed(read, f"limits.cost is {limits.cost}; what was recorded has cost {cost}")]


def _placed(read: "Draft", problem: str) -> str:
    """With the line of the playbook's key that it names, or of the block where that would stand."""
    import re

    from smoldebug.playbook.tree import place

    named = re.search(r"\b[a-z_]+(?:\.[a-z_]+|\[\d+\])+", problem)
    key = named[0] if named else ""
    while key and key not in read.marks:
        key = key.rpartition(".")[0]
    return f"{place(read.file, read.marks[key])} {problem}" if key else f"{read.file} {problem}"


def _write_expected(path: Path, events: "Sequence[Stamped]") -> None:
    """Keeps which playbook it is about."""
    import msgspec
    import yaml

    from smoldebug.errors import UsageError
    from smoldebug.replay import expect

    found = expect.happened(events)
    if path.is_file():
        found = msgspec.structs.replace(found, playbook=expect.read(path).expected.playbook)
    try:
        path.write_text(yaml.safe_dump(expect.as_data(found), sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {path}: {error.strerror}") from error


# --- recording --------------------------------------------------------------------------------


def _record(run: str, folder: Path) -> None:
    """Raises UsageError where there is a recording already, or the run cannot be a test."""
    import msgspec

    from smoldebug import journal
    from smoldebug.cli.kept import keep, kept
    from smoldebug.errors import UsageError
    from smoldebug.model.replay import path as journal_of
    from smoldebug.past import past
    from smoldebug.replay.portable import portable
    from smoldebug.replay.rehearsal import require_testable, until_undone

    if (folder / JOURNAL).exists():
        raise UsageError(f"there is a recording already: {folder / JOURNAL}")
    events = until_undone(journal.read(journal_of(run)))
    was = kept(past(events).started)
    require_testable(events, was.plan)
    options = msgspec.to_builtins(keep(was.plan, _plain(was.options)))["options"]
    try:
        with journal.Journal(folder / JOURNAL) as kept_:
            for stamped in portable(events, options):
                kept_.append(stamped)
        (folder / JOURNAL).chmod(0o644)  # unlike those of runs it is meant for others
        (folder / JOURNAL).parent.chmod(0o755)
        _name_playbook(was.plan, folder)
    except OSError as error:
        raise UsageError(f"cannot be written: {folder}: {error.strerror}") from error


def _plain(options: "Options") -> "Options":
    """What of the command's options says what is seen; not where, or as whom."""
    from smoldebug.cli.options import Options

    return Options(
        target=options.target,
        namespace=options.namespace,
        prometheus=options.prometheus,
        command=options.command,
    )


def _name_playbook(plan: "RunPlan", folder: Path) -> None:
    """A copy of the playbook, or the name of one that is found by it."""
    import shutil

    from smoldebug.playbook.find import available

    source = Path(plan.source)
    if (folder / PLAYBOOK).exists() or (folder / EXPECT).exists():
        return
    named = next((each for each in available() if each.path.absolute() == source.absolute()), None)
    if named is None and source.is_file():
        shutil.copyfile(source, folder / PLAYBOOK)
        return
    name = named.name if named else plan.playbook.name
    text = f"playbook: {name}\noutcome: met\nexit: 0\n"
    (folder / EXPECT).write_text(text, encoding="utf-8")


# --- telling ----------------------------------------------------------------------------------


def _tell(results: "Sequence[Tested]", output: ListFormat) -> None:
    from smoldebug.untrusted import inert
    from smoldebug.view.jsonl import dumps
    from smoldebug.view.stream import encodable

    if output is ListFormat.JSON:
        rows = [
            {
                "test": each.name,
                "passed": each.passed,
                "problems": [*each.problems, *filter(None, [each.unusable])],
                "seconds": each.seconds,
            }
            for each in results
        ]
        typer.echo(dumps(rows, indent=2))
        return
    for each in results:
        word = "ok" if each.passed else "CANNOT BE RUN" if each.unusable else "FAILED"
        lines = [f"{each.name} {word} ({each.seconds:.2f} s)"]
        lines += [f"  {problem}" for problem in (*each.problems, each.unusable) if problem]
        encodable(sys.stdout).write(inert("".join(f"{line}\n" for line in lines)))


def _keep_junit(path: Path, results: "Sequence[Tested]") -> None:
    """A suite with a case for each test. Raises UsageError when it cannot be written."""
    from xml.etree import ElementTree as xml

    from smoldebug.errors import UsageError
    from smoldebug.untrusted import plain

    suite = xml.Element(
        "testsuite",
        {
            "name": "playbooks",
            "tests": str(len(results)),
            "failures": str(sum(bool(each.problems) for each in results)),
            "errors": str(sum(bool(each.unusable) for each in results)),
            "time": f"{sum(each.seconds for each in results):.3f}",
        },
    )
    for each in results:
        names = {"classname": "playbooks", "name": each.name, "time": f"{each.seconds:.3f}"}
        case = xml.SubElement(suite, "testcase", names)
        text = plain("\n".join([*each.problems, *filter(None, [each.unusable])]))
        if not each.passed:
            kind = "error" if each.unusable else "failure"
            message = text.partition("\n")[0]
            xml.SubElement(case, kind, {"message": message, "type": kind}).text = text
    xml.indent(suite)
    try:
        path.write_bytes(xml.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n")
    except OSError as error:
        raise UsageError(f"cannot be written: {path}: {error.strerror}") from error
