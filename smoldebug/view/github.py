"""For GitHub Actions: a group for each cluster, annotations, and what later steps can read.

Lines of the log that begin with `::` are commands to the runner. Text from the world is kept from
being one twice: its lines begin with their cluster, and while they are shown commands are stopped,
with a word nobody can guess.
"""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from smoldebug.cells import UNTOUCHED, Cell, speaking, status
from smoldebug.errors import UsageError
from smoldebug.events import Blamed, ModelSwitched, RunEnded, RunStarted, Stamped
from smoldebug.records import Section
from smoldebug.status import ExitStatus
from smoldebug.untrusted import one_line, plain
from smoldebug.view.phrases import short, switched
from smoldebug.view.plain import PlainView
from smoldebug.view.sectioned import SectionedFleet
from smoldebug.view.stream import encodable

MOST = 10  # annotations of one level that GitHub shows of a step; it drops others without a word
OUTPUT, SUMMARY = "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"


class GithubFleet(SectionedFleet):
    def __init__(self, clusters: Sequence[str], stdout: TextIO, stderr: TextIO) -> None:
        super().__init__(clusters, stdout, stderr)
        self._word = secrets.token_hex(16)

    def closing(self, cells: Sequence[Cell], sections: Sequence[Section]) -> None:
        super().closing(cells, sections)
        self._write(annotations(cells))

    def _before(self, cluster: str) -> str:
        return f"::group::{_data(one_line(cluster, 300))}\n::stop-commands::{self._word}\n"

    def _after(self, cluster: str) -> str:
        return f"::{self._word}::\n::endgroup::\n"


class GithubView(PlainView):
    """Of one run."""

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        super().__init__(stdout, stderr)
        self._told: list[Stamped] = []

    def show(self, stamped: Stamped) -> None:
        super().show(stamped)
        if isinstance(stamped.event, RunStarted | Blamed | ModelSwitched | RunEnded):
            self._told.append(stamped)

    def closing(self, sections: Sequence[Section]) -> None:
        super().closing(sections)
        started = (each.event for each in self._told)
        context = next((each.context for each in started if isinstance(each, RunStarted)), "")
        encodable(self._err).write(annotations([Cell(context, self._told)]))
        self._err.flush()


# --- annotations ------------------------------------------------------------------------------


def annotations(cells: Sequence[Cell]) -> str:
    """Workflow commands: an error for each cluster that failed, a warning for each that was not
    decided, not begun, or left as it was, and for each change of model."""
    lines = []
    for level in ("error", "warning"):
        found = [cell for cell in cells if _level(cell) == level]
        shown = found if len(found) <= MOST else found[: MOST - 1]
        lines += [_annotation(level, _title(cell), _message(cell)) for cell in shown]
        if more := len(found) - len(shown):
            lines.append(_annotation(level, "smoldebug", f"and {more} more clusters"))
    return "".join([*lines, *_switches(cells, MOST - len(lines))])


def _switches(cells: Sequence[Cell], most: int) -> list[str]:
    """A warning for each model that another one had to go on for, as far as there is room."""
    events = (each.event for cell in cells for each in cell.events)
    told = dict.fromkeys(switched(each) for each in events if isinstance(each, ModelSwitched))
    return [_annotation("warning", "model", words) for words in list(told)[: max(0, most)]]


def _level(cell: Cell) -> str:
    if cell.status is ExitStatus.MET:
        return "warning" if cell.idle else ""
    return "warning" if cell.status in (None, ExitStatus.INCONCLUSIVE) else "error"


def _title(cell: Cell) -> str:
    how = UNTOUCHED if cell.idle else cell.verdict
    return " ".join(filter(None, (cell.playbook, cell.cluster, how)))


def _message(cell: Cell) -> str:
    if cell.idle:
        return f"all of it was there before; {cell.reason}"
    named = short(cell.offender) in cell.reason
    return cell.reason if named else f"{cell.offender}: {cell.reason}"


def _annotation(level: str, title: str, message: str) -> str:
    name = _data(one_line(title)).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{_data(one_line(message, 1000))}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


# --- what later steps read --------------------------------------------------------------------


def hand_over(
    cells: Sequence[Cell], environ: Mapping[str, str], *, summary: str, short: str, report: str
) -> None:
    """Append the summary of the step (Markdown) and its outputs where GitHub says. `short` becomes
    the output `summary`, `report` is the path of the JUnit file. Raises UsageError."""
    for variable, text in ((SUMMARY, summary), (OUTPUT, outputs(cells, short, report))):
        if path := environ.get(variable, ""):
            try:
                with Path(path).open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                raise UsageError(f"cannot write to {variable}: {error}") from None


def outputs(cells: Sequence[Cell], short: str, report: str) -> str:
    """status, exit_code, cluster, offender, report and summary, as a step's outputs."""
    found, cell = status(cells), speaking(cells)
    values = {
        "status": found.name.lower(),
        "exit_code": str(int(found)),
        "cluster": cell.cluster if cell else "",
        "offender": cell.offender if cell else "",
        "report": report,
        "summary": short,
    }
    return "".join(_output(name, plain(value)) for name, value in values.items())


def _output(name: str, value: str) -> str:
    """As many lines as it has, up to a word nobody can guess."""
    end = secrets.token_hex(16)
    return f"{name}<<{end}\n{value.rstrip()}\n{end}\n"
