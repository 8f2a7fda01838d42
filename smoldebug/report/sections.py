"""The final report in short: VERDICT first, then what was found, changed, not seen and is next.

A line that starts with `$ ` is a command to copy. Text from the world is plain and on one line.
"""

from collections.abc import Iterable

from smoldebug.clock import duration
from smoldebug.coverage import MOST_OPEN, bounded, counted, left_out, outcome, place, reached
from smoldebug.events import Stamped
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.ledger import Entry
from smoldebug.records import Blame, ChangeKind, Section
from smoldebug.report.story import Story, story
from smoldebug.report.words import (
    BLOCKED,
    COMMAND,
    approve_commands,
    audit_words,
    awaited,
    by_hand,
    cause,
    cause_words,
    cited,
    copyable,
    goal_words,
    goes_with_branch,
    in_lines,
    models,
    moment,
    ours,
    refusal,
    resume_command,
    show_command,
    state_words,
    summary,
    to_carry_out,
    too_long,
    undo_by_hand,
    undo_command,
    used,
    verdict_words,
    verified,
    victims,
    wanted,
)
from smoldebug.status import ExitStatus
from smoldebug.untrusted import one_line, plain

LINE = 400  # characters of a line; a command to copy is never cut
FLAGGED = 3  # lines that read like instructions; all are in the evidence
QUOTES = 4  # quotes shown per hypothesis; all are in the Markdown report


def sections(events: Iterable[Stamped]) -> list[Section]:
    """Headings with their lines; headings without a line are left out."""
    told = story(events)
    return [
        Section(heading, tuple(_safe(line) for line in lines))
        for heading, lines in (
            ("VERDICT", _verdict(told)),
            ("CAUSE", _cause(told)),
            ("VICTIMS", victims(told)),
            ("CHANGED", changed(told)),
            ("COVERAGE", _coverage(told)),
            ("UNCOVERED", uncovered(told)),
            ("PROPOSED", proposed(told)),
            ("NOT SEEN", gaps(told)),
            ("RULED OUT", ruled_out(told)),
            ("NEXT", next_steps(told)),
            ("CHECKED", checked(told)),
            ("MODELS", models(told)),
            ("RECORD", record(told)),
        )
        if lines
    ]


def gaps(told: Story) -> list[str]:
    """One line for each reason, with all it hides."""
    by_reason: dict[str, list[str]] = {}
    for gap in told.gaps:
        by_reason.setdefault(gap.why, []).append(gap.what)
    return [f"{', '.join(what)}: {why}" for why, what in by_reason.items()]


def record(told: Story) -> list[str]:
    """From when on the journal of this run does not tell what happened; nothing where it does."""
    if told.unrecorded is None:
        return []
    at, why = told.unrecorded
    return [f"INCOMPLETE from {moment(told, at)} on: {why}"]


def _safe(line: str) -> str:
    return copyable(line) if line.startswith("$ ") else one_line(line, LINE)


def _verdict(told: Story) -> list[str]:
    itself = (told.patch or told.upgrade) and not told.hypotheses
    about = "" if itself else f" · {cause_words(told)}"
    lines = [f"{verdict_words(told)}{about}"]
    known = told.blame.reason if told.blame else ""  # the cause is told below
    if told.ended and (reason := told.ended.reason.removeprefix(known).removeprefix("; ")):
        lines.append(reason)
    if told.verdict:
        lines.append(f"goal {goal_words(told.verdict)}")
    lines.append(used(told))
    if told.started and told.started.break_glass:
        lines.append(f"BREAK-GLASS was allowed: {told.started.break_glass}")
    if told.continued:
        again = [f"{what.command} by {what.who.user} at {moment(told, at)}"
                 for at, what in told.continued]  # fmt: skip
        lines.append(f"taken up again: {', '.join(again)}")
    return lines


def _cause(told: Story) -> list[str]:
    if told.blame:
        return _blamed(told, told.blame)
    word, found = cause(told)
    if told.upgrade and not found:
        broken = told.applied and told.status in _FAILING
        return ["UNKNOWN: no service could be named"] if broken else []
    nothing_wrong = not told.changes and told.status is ExitStatus.MET
    if not found and (nothing_wrong or told.patch):
        return []  # there is no cause to be unsure of
    if not found:
        return ["UNKNOWN: no hypothesis is backed by a quote from the evidence"]
    lines = []
    for item in found:
        about = f" ({item.fault})" if item.fault else ""
        lines.append(f"{word}: {item.claim}{about} {cited(item.supports)}".rstrip())
        quotes = verified(item.supports)
        lines += [f"{quote.evidence} “{one_line(quote.text, 160)}”" for quote in quotes[:QUOTES]]
        lines += [f"but {cited(item.contradicts)} speaks against it"] * bool(
            verified(item.contradicts)
        )
    return lines


def _blamed(told: Story, blame: Blame) -> list[str]:
    about = f" ({blame.fault})" if blame.fault else ""
    lines = [f"{blame.reason}{about} {cited(blame.quotes)}".rstrip()]
    if blame.service:
        after = f"{duration(blame.at)} after the first step"
        lines.append(f"{blame.service}: first failed “{blame.check}”, {after}")
    quotes = verified(blame.quotes)
    lines += [f"{quote.evidence} “{one_line(quote.text, 160)}”" for quote in quotes]
    if told.explanation:
        lines.append(f"in a model's words, which nobody checked: {told.explanation}")
    return lines


def changed(told: Story) -> list[str]:
    """Every change that was made, by whom, what became of it, and how to take it back."""
    lines = []
    for change in told.applied:
        lines.append(f"{change.card.id} {summary(change.card.change)} · {state_words(change)}")
        lines.append(audit_words(told, change))
        if change.state != "verified" or change.card.change.kind is ChangeKind.PULL_REQUEST:
            lines += plain(change.detail).splitlines()
        if change.stands:
            lines += _take_back(told, change)
    return lines or ["nothing"]


def _take_back(told: Story, change: Entry) -> list[str]:
    if reason := change.card.change.no_undo:
        return [f"cannot be taken back: {reason}"]
    if goes_with_branch(told, change):
        return ["it is taken back with its branch"]
    undo, back = undo_command(told, change), undo_by_hand(told, change)
    lines = ["to take it back:", f"$ {undo}"] if undo else []
    if back:
        lines += ["or by hand:" if undo else "to take it back by hand:", *_command(told, back)]
    return lines


def _coverage(told: Story) -> list[str]:
    """What an edit reached, of many objects the first."""
    if (draft := told.drafted) is None:
        return []
    rows = bounded(found := reached(draft.edited))
    lines = [f"{counted(draft.edited)} in {draft.repository}: {draft.base} → {draft.branch}"]
    if draft.commit and not any(entry.stands for entry in told.changes.values()):
        lines.append("none of it was pushed")
    lines += [f"{place(row)} · {row.ref} · {outcome(row)}" for row in rows]
    more = len(found) - len(rows)
    return [*lines, f"… and {more} more"] if more > 0 else lines


def uncovered(told: Story) -> list[str]:
    """What an edit did not reach, and what lives where no manifest describes it."""
    lines: list[str] = []
    if draft := told.drafted:
        lines += [f"{place(row)} · {row.ref} · {outcome(row)}" for row in left_out(draft.edited)]
        lines += draft.problems
    more = len(lines) - MOST_OPEN
    lines = [*lines[:MOST_OPEN], f"… and {more} more"] if more > 0 else lines
    for result in told.verdict.results if told.verdict else ():
        if result.kind == "covers_cluster":  # `12 of 13 live have one; only in the cluster: x`
            lines += result.says.split("; ")[1:]
    return lines


def _command(told: Story, command: str) -> list[str]:
    """To be copied; of a long one the first lines, which nobody can run by mistake."""
    if not too_long(command):
        return [f"$ {command}"]
    return [*in_lines(command)[:COMMAND], f"… the whole command: {show_command(told)}"]


def proposed(told: Story) -> list[str]:
    """Every change that was not made, why not, and how a person makes it; then what was refused
    before there was a card."""
    lines = []
    latest = {change.card.digest: change.card.id for change in told.changes.values()}
    for change in told.proposed:
        if latest[change.card.digest] != change.card.id:
            continue  # the very same was proposed again
        lines.append(f"{change.card.id} {summary(change.card.change)} · {state_words(change)}")
        if command := by_hand(change):
            lines += ["by hand it is:", *_command(told, command)]
    return lines + [refusal(step) for step in told.refusals.values()]


def ruled_out(told: Story) -> list[str]:
    return [
        f"{item.id} {item.claim} {cited(item.contradicts)}".rstrip()
        for item in told.hypotheses
        if item.status == "ruled out"
    ]


def next_steps(told: Story) -> list[str]:
    """What a person should do now, by rule."""
    lines = [told.ended.question] if told.ended and told.ended.question else []
    for change in told.changes.values():
        lines += [line for line in _next_for(told, change) if line not in lines]
    if _left_changed(told):
        lines += ["nobody watches what stands; to take it back:", f"$ {ours('undo', told.run)}"]
    elif (
        told.started
        and not told.closed
        and told.status in (ExitStatus.INTERRUPTED, ExitStatus.UNREACHABLE)
    ):
        lines += ["to go on where it stopped:", f"$ {resume_command(told)}"]
    if told.ended and told.status is ExitStatus.LIMIT:
        lines += _over(told.ended.reason)
    if told.status in _FAILING and told.verdict:
        lines += [
            f"{services}{': ' if services else ''}{each.check} is {each.outcome.value}: {each.says}"
            for services, each in told.verdict.missed
        ]
    return lines


def _over(reason: str) -> list[str]:
    """What lifts the limit that a run ended at; `reason` begins with its name."""
    name = one_line(reason, 300).partition(" ")[0].rstrip(":")
    if name.startswith("limits."):
        cheaper = ", or name a cheaper model" * (name == "limits.cost")
        return [f"to let it go further raise {name} in the playbook{cheaper}"]
    if name.startswith("budgets."):
        return [f"{name} of the settings file begins again at 00:00 UTC"]
    return []


def _left_changed(told: Story) -> bool:
    """Whether an upgrade ended, not as met, without an attempt to take its steps back."""
    stands = any(change.state in ("verified", "unknown") for change in told.changes.values())
    met = told.status in (ExitStatus.MET, ExitStatus.NEEDS_APPROVAL)
    return told.upgrade and stands and not met and not told.closed


_FAILING = (
    ExitStatus.NOT_MET,
    ExitStatus.INCONCLUSIVE,
    ExitStatus.LIMIT,
    ExitStatus.UNDONE,
    ExitStatus.UNDO_FAILED,
)


def _next_for(told: Story, change: Entry) -> list[str]:
    target, name = change.card.change.target, change.card.id
    if awaited(told, change):
        commands = approve_commands(told, change)
        return [f"if {name} is right, approve it and go on:", *(f"$ {each}" for each in commands)]
    if to_carry_out(told, change):
        return [f"{name} is approved; to carry it out:", f"$ {resume_command(told)}"]
    if change.state == "unknown" and told.patch:
        return ["run the same command again: it goes on from what has arrived"]
    if change.state == "unknown":
        return [f"look whether {name} took effect on {target}: nothing says so"]
    if change.state == BLOCKED:
        return [f"{target} was changed by somebody else since {name}: settle with them what stays"]
    if change.state in ("undo failed", "cannot be undone"):
        if not (again := undo_command(told, change)):
            return [f"put {target} back by hand: {change.detail}"]
        return [f"{target} is not back: {change.detail}", "once that is mended:", f"$ {again}"]
    made = change.card.change
    if told.status is ExitStatus.MET and made.kind is ChangeKind.PULL_REQUEST and change.stands:
        return [f"review and merge {told.pull_request}"] if told.pull_request else []
    lasts = told.status is ExitStatus.MET and change.stands and not told.demo
    if lasts and made.after and made.kind in KUBE_KINDS:
        lasting = wanted(made)
        lines = [f"make it last: put {lasting} into the manifest or chart of {target}"]
        return [*lines, f"$ smoldebug patch --from-run {told.run}"] if told.run else lines
    return []


def checked(told: Story) -> list[str]:
    """What code checked of what was claimed, and what reads as if it was written to a machine."""
    quotes = told.quotes
    if told.patch and not quotes and not told.flagged:
        return []
    found = sum(quote.verified for quote in quotes)
    lines = [f"{found} of {len(quotes)} quotes found word for word in the evidence"]
    if not quotes:
        lines = ["nothing was quoted"]
    for evidence, line in told.flagged[:FLAGGED]:
        lines.append(f"reads like an instruction to an AI, kept as data: {evidence} “{line}”")
    more = len(told.flagged) - FLAGGED
    return [*lines, f"and {more} more lines like that"] if more > 0 else lines
