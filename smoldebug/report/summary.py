"""A matrix as Markdown: the summary of a CI step, and the comment on a pull request.

The table comes first. Nothing in it can fetch a remote address, ping somebody or close an issue:
text from the world is escaped, or stands in a fence.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from smoldebug.cells import Cell
from smoldebug.clock import duration
from smoldebug.events import ModelAnswered
from smoldebug.pull_request import Markdown, bounded
from smoldebug.records import CheckResult, Usage
from smoldebug.redact import Redactor
from smoldebug.report.fleet import alike, failing, headline, next_of, stood
from smoldebug.report.words import copyable, count
from smoldebug.status import ExitStatus
from smoldebug.untrusted import one_line
from smoldebug.usage import plus, spent

MOST = 1 << 20  # bytes of the summaries of a step; GitHub shows nothing of a larger one
COMMENT = 60_000  # characters; GitHub takes 65,536
CHECKS = 30  # failing checks of a cluster; in a comment fewer
FEW = 5
CLUSTERS = 20  # names in the title of a section
QUOTES, QUOTE = 6, 2000  # quotes of a cluster, characters of one
SAID = 2000  # characters of what a model said
CUT = "\n\nMore does not fit here: the JUnit file and the journals have all of it.\n"
_TEXT = Markdown(Redactor().text)


def summary(cells: Sequence[Cell]) -> str:
    """For --summary and $GITHUB_STEP_SUMMARY; at most 1 MiB, cut between two sections."""
    failed = [cell for cell in cells if cell.status is not ExitStatus.MET]
    told = (_section(group, CHECKS) for group in alike(failed))
    return _fitting(chain(_head(cells, MOST // 4), told), MOST)


def comment(cells: Sequence[Cell]) -> str:
    """The same in short, below the marker by which it is found again."""
    failed = [cell for cell in cells if cell.status not in (None, ExitStatus.MET)]
    told = (_section(group, FEW) for group in alike(failed) if not group[0].gave_way)
    return _fitting(chain([marker(cells)], _head(cells, COMMENT // 4), told), COMMENT)


def marker(cells: Sequence[Cell]) -> str:
    """An HTML comment that tells the comment of this playbook from all others."""
    name = next((cell.playbook for cell in cells if cell.playbook), "")
    word = re.sub(r"[^\w.]+", "-", one_line(name, 60)).strip("-") or "upgrade"
    return f"<!-- smoldebug validate {word} -->"


def _fitting(parts: Iterable[str], most: int) -> str:
    """As many whole parts as there is room for, in bytes."""
    kept, room = list[str](), most - len(CUT.encode())
    for part in parts:
        room -= len(part.encode()) + 2
        if room < 0:
            return "\n\n".join(kept) + CUT
        kept.append(part)
    return "\n\n".join(kept) + "\n"


def _head(cells: Sequence[Cell], room: int) -> list[str]:
    """Title and table, of which at most `room` characters."""
    playbook = next((cell.playbook for cell in cells if cell.playbook), "upgrade")
    names = (
        "| Cluster | Verdict | Now | Offender | Rollback | Seconds |\n"
        "| --- | --- | --- | --- | --- | ---: |"
    )
    table = f"{names}\n{bounded(cells, _row, room, chr(10))}"
    found = [f"## {_TEXT.line(playbook)}: {_TEXT.line(headline(cells))}", table]
    return [*found, *_models(cells)]


def _models(cells: Sequence[Cell]) -> Iterator[str]:
    """What models took in all clusters; nothing where none was asked."""
    drivers = dict[str, Usage]()
    for event in (each.event for cell in cells for each in cell.events):
        if isinstance(event, ModelAnswered):
            drivers[event.model] = plus(drivers.get(event.model, Usage()), event)
    told = [f"{_cell(name)} {' · '.join(spent(used))}" for name, used in drivers.items()]
    if told:
        yield f"Models: {'; '.join(told[:FEW])}"


def _row(cell: Cell) -> str:
    strong = "**" if cell.status not in (None, ExitStatus.MET) else ""
    offender = _cell(cell.offender) if cell.offender else "–"
    seconds = "–" if cell.skipped else f"{cell.seconds:.0f}"
    verdict = f"{strong}{cell.verdict}{strong}"
    now = _cell(cell.now) if cell.now else "–" if cell.skipped else "**not settled**"
    told = (_cell(cell.cluster), verdict, now, offender, cell.rollback or "–", seconds)
    return f"| {' | '.join(told)} |"


def _cell(text: str) -> str:
    return _TEXT.code(text, 200).replace("|", r"\|")


def _section(group: Sequence[Cell], most: int) -> str:
    """Clusters that ended alike, as the first of them showed it. Shown whole, or not at all."""
    cell, more = group[0], len(group) - CLUSTERS
    names = ", ".join(_cell(each.cluster) for each in group[:CLUSTERS])
    names += f" and {more} more" if more > 0 else ""
    parts = [f"### {names}: {cell.verdict}", _TEXT.line(cell.reason, 1000)]
    if cell.now or cell.release:
        parts.append(
            f"Release: {_cell(cell.release)}; now: {_TEXT.line(cell.now or 'not settled')}"
        )
    if len(group) > 1 and not cell.skipped:
        parts.append(f"As {_cell(cell.cluster)} showed it:")
    parts += _blamed(cell)
    if rows := failing(cell):
        parts.append("\n".join(_checks(rows, most)))
    if lines := next_of(cell):
        parts.append("\n".join(["Next:", "", *map(_step, lines)]))
    return "\n\n".join(parts)


def _blamed(cell: Cell) -> Iterator[str]:
    if (blame := cell.blame) is None:
        return
    if blame.service:
        after = f"{duration(blame.at)} after the first step"
        first = f"first failed “{_TEXT.line(blame.check)}”, {after}"
        yield f"Broken by {_cell(blame.service)}: {first}."
    if blame.reason not in cell.reason:
        yield _TEXT.line(blame.reason)
    quotes: dict[str, list[str]] = {}
    for quote in [quote for quote in blame.quotes if quote.verified][:QUOTES]:
        quotes.setdefault(quote.evidence, []).append(quote.text)
    for evidence, texts in quotes.items():
        yield f"{_TEXT.line(evidence, 20)}:\n\n{_TEXT.fence(chr(10).join(texts), QUOTE)}"
    if cell.explanation:
        yield f"> In a model's words, which nobody checked: {_TEXT.line(cell.explanation, SAID)}"
    if blame.victims:
        yield f"Probably only because of it: {', '.join(map(_cell, blame.victims))}"


def _checks(rows: Sequence[CheckResult], most: int) -> Iterator[str]:
    """A line for each; for all that say the same, as of a cluster that does not answer, one."""
    same: dict[tuple[str, str], list[CheckResult]] = {}
    for row in rows:
        same.setdefault((stood(row), row.says), []).append(row)
    for (outcome, says), found in list(same.items())[:most]:
        about = f"{_cell(found[0].service)} " if found[0].service else ""
        what = count(len(found), "check") if found[1:] else f"{about}{_TEXT.line(found[0].check)}"
        yield f"- {what}: {outcome}, {_TEXT.line(says)}"
    if more := sum(map(len, list(same.values())[most:])):
        yield f"- … and {count(more, 'more check')}"


def _step(line: str) -> str:
    if line.startswith("$ "):
        return f"- {_TEXT.code(copyable(line[2:]), 1000)}"
    return f"- {_TEXT.line(line)}"
