"""What a matrix leaves behind besides its view: files, CI outputs, a comment."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from smoldebug.cells import Cell
from smoldebug.errors import SmoldebugError, UsageError
from smoldebug.records import Section
from smoldebug.report import fleet, junit, summary
from smoldebug.sources.forge.ci import comment
from smoldebug.untrusted import inert, one_line
from smoldebug.view import OutputFormat
from smoldebug.view.github import hand_over
from smoldebug.view.jsonl import dumps


@dataclass(frozen=True)
class Wanted:
    """What is written besides the view."""

    output: OutputFormat | None = None
    junit: Path | None = None
    summary: Path | None = None
    comment: bool = False


# By what a playbook's `report` names: the file, and what is in it
KEPT: Mapping[str, tuple[str, Callable[[Sequence[Cell]], str]]] = {
    "markdown": ("summary.md", summary.summary),
    "github": ("summary.md", summary.summary),
    "junit": ("junit.xml", junit.junit),
    "json": ("report.json", lambda cells: dumps(fleet.document(cells), indent=2)),
}


def keep(cells: Sequence[Cell], formats: Sequence[str], folder: Path) -> list[Section]:
    """Write what the playbook's `report` names into the matrix's own folder; where it is."""
    files = dict(KEPT[each] for each in formats if each in KEPT)
    try:
        for name, text in files.items():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / name).write_text(text(cells), encoding="utf-8")
    except OSError as error:
        return [Section("REPORT", (f"not kept: {error.strerror}",))]
    return [Section("REPORT", tuple(str(folder / name) for name in files))] if files else []


def write(cells: Sequence[Cell], output: OutputFormat, wanted: Wanted) -> None:
    """The files and the comment that were asked for. One that cannot be written is a warning: what
    became of the clusters is told by the exit status."""
    whole, short = summary.summary(cells), summary.comment(cells)
    report = str(wanted.junit or "")
    for path, text in ((wanted.junit, junit.junit(cells)), (wanted.summary, whole)):
        try:
            if path is not None:
                path.write_text(text, encoding="utf-8")
        except OSError as error:
            _warn(f"cannot write {path}: {error.strerror}")
    try:
        if output is OutputFormat.GITHUB:
            hand_over(cells, os.environ, summary=whole, short=short, report=report)
        if wanted.comment:
            _tell(comment(short, summary.marker(cells), os.environ))
    except SmoldebugError as error:
        _warn(str(error))


def _warn(text: str) -> None:
    _tell(f"warning: {text}")


def _tell(text: str) -> None:
    if text:
        typer.echo(inert(one_line(text, 500)), err=True)


def writable(wanted: Wanted) -> None:
    """Raises UsageError for a file whose folder is not there: seen before the first cluster."""
    for path in (wanted.junit, wanted.summary):
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UsageError(f"cannot be written: {path}")
