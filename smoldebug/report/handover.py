"""The handover: at most 15 lines for chat. Known, ruled out, changed, proposed, open, question."""

from collections.abc import Iterable

from smoldebug.coverage import counted
from smoldebug.events import Stamped
from smoldebug.ledger import Entry
from smoldebug.report.sections import gaps, next_steps, ruled_out, uncovered
from smoldebug.report.story import Story, story
from smoldebug.report.words import (
    BLOCKED,
    approve_commands,
    awaited,
    by_hand,
    cause,
    cited,
    copyable,
    goal_words,
    goes_with_branch,
    refusal,
    show_command,
    state_words,
    summary,
    too_long,
    undo_by_hand,
    undo_command,
    used,
    verdict_words,
    victims,
)
from smoldebug.untrusted import one_line

LIMIT = 15  # lines
EACH = 2  # lines of one kind; more are counted
WIDTH = 300  # characters of a line; a command is never cut


def handover(events: Iterable[Stamped]) -> str:
    """Plain text, one fact per line."""
    told = story(events)
    lines = [_headline(told), *_cause(told), *_some("ruled out", ruled_out(told)), *_changes(told)]
    lines += _coverage(told)
    lines += _some(
        "model", [f"from {each.model} to {each.to}: {each.why}" for _, each in told.switches]
    )
    lines += [*_proposed(told), *_some("not seen", gaps(told))]
    lines += _some("open", [line for line in next_steps(told) if not line.startswith("$ ")])
    return "\n".join(lines[:LIMIT]) + "\n"


def _headline(told: Story) -> str:
    where = told.started
    what = f"{where.playbook} on {where.context or 'no cluster'}" if where else "run"
    goal = f" · goal {goal_words(told.verdict)}" if told.verdict else ""
    return one_line(f"{what} [{told.run}]: {verdict_words(told)} · {used(told)}{goal}", WIDTH)


def _cause(told: Story) -> list[str]:
    if blame := told.blame:
        told_of = _some("cause", [f"{blame.reason} {cited(blame.quotes)}".rstrip()])
        return [*told_of, *_some("victims", victims(told))]
    word, found = cause(told)
    if (told.patch or told.upgrade) and not found:
        return []
    claims = [f"{item.claim} {cited(item.supports)}" for item in found] or ["not found"]
    return _some(f"cause {word}", claims[:1])


def _changes(told: Story) -> list[str]:
    lines = []
    for change in told.applied[-2:]:
        made = one_line(f"changed: {summary(change.card.change)} ({state_words(change)})", WIDTH)
        lines.append(made)
        if change.stands:
            lines += _take_back(told, change)
    return lines or ["changed: nothing"]


def _proposed(told: Story) -> list[str]:
    """The last change that was not made: the ones before it came to nothing earlier."""
    if not told.proposed:
        return _some("proposed", [refusal(step) for step in told.refusals.values()])
    change = told.proposed[-1]
    words = f"proposed: {summary(change.card.change)} ({state_words(change)})"
    if awaited(told, change):
        commands = [f"approve: $ {command}" for command in approve_commands(told, change)]
    else:
        command = by_hand(change)
        commands = [f"by hand: {_command(told, command)}"] if command else []
    return [one_line(words, WIDTH), *map(_whole, commands)]


def _coverage(told: Story) -> list[str]:
    lines = [f"pull request: {told.pull_request}"] if told.pull_request else []
    if told.drafted:
        lines.append(one_line(f"coverage: {counted(told.drafted.edited)}", WIDTH))
    return [*lines, *_some("not covered", uncovered(told))]


def _take_back(told: Story, change: Entry) -> list[str]:
    if goes_with_branch(told, change):
        return []
    if undo := undo_command(told, change) or undo_by_hand(told, change):
        return [_whole(f"undo: {_command(told, undo)}")]
    blocked = change.detail.splitlines()[:EACH] if change.state == BLOCKED else []
    why = change.card.change.no_undo
    return [one_line(f"  no undo: {each}", WIDTH) for each in [why, *blocked] if each]


def _command(told: Story, command: str) -> str:
    """Whole, or what shows it."""
    return f"see $ {show_command(told)}" if too_long(command) else f"$ {command}"


def _whole(command: str) -> str:
    """A line with a command, of which not a space is missing."""
    return f"  {copyable(command)}"


def _some(label: str, lines: list[str]) -> list[str]:
    shown = [one_line(f"{label}: {line}", WIDTH) for line in lines[:EACH]]
    more = len(lines) - len(shown)
    return [*shown[:-1], f"{shown[-1]} (and {more} more)"] if more else shown
