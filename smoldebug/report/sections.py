"""The final report in short: VERDICT, CAUSE, CHANGED, PROPOSED, NOT SEEN, RULED OUT, NEXT, CHECKED.

A line that starts with `$ ` is a command to copy. Text from the world is plain and on one line.
"""

from collections.abc import Iterable

from smoldebug.events import Stamped
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.ledger import Entry
from smoldebug.records import Outcome, Section
from smoldebug.report.story import Story, story
from smoldebug.report.words import (
    cause,
    cause_words,
    cited,
    goal_words,
    state_words,
    summary,
    undo_words,
    used,
    verdict_words,
    verified,
    wanted,
)
from smoldebug.status import ExitStatus
from smoldebug.untrusted import one_line

LINE = 400  # characters of a line; a command is never cut
QUOTES = 4  # quotes shown per hypothesis; all are in the Markdown report


def sections(events: Iterable[Stamped]) -> list[Section]:
    """Headings with their lines; headings without a line are left out."""
    told = story(events)
    return [
        Section(heading, tuple(_safe(line) for line in lines))
        for heading, lines in (
            ("VERDICT", _verdict(told)),
            ("CAUSE", _cause(told)),
            ("CHANGED", changed(told)),
            ("PROPOSED", proposed(told)),
            ("NOT SEEN", gaps(told)),
            ("RULED OUT", ruled_out(told)),
            ("NEXT", next_steps(told)),
            ("CHECKED", [checked(told)]),
        )
        if lines
    ]


def gaps(told: Story) -> list[str]:
    """One line for each reason, with all it hides."""
    by_reason: dict[str, list[str]] = {}
    for gap in told.gaps:
        by_reason.setdefault(gap.why, []).append(gap.what)
    return [f"{', '.join(what)}: {why}" for why, what in by_reason.items()]


def _safe(line: str) -> str:
    return line if line.startswith("$ ") else one_line(line, LINE)


def _verdict(told: Story) -> list[str]:
    lines = [f"{verdict_words(told)} · {cause_words(told)}"]
    if told.ended and told.ended.reason:
        lines.append(told.ended.reason)
    if told.verdict:
        lines.append(f"goal {goal_words(told.verdict)}")
    return [*lines, used(told)]


def _cause(told: Story) -> list[str]:
    word, found = cause(told)
    if not found and not told.changes and told.status is ExitStatus.MET:
        return []  # nothing was wrong: there is no cause to be unsure of
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


def changed(told: Story) -> list[str]:
    """Every change that was made, what became of it, and how to take it back while it stands."""
    lines = []
    for change in told.applied:
        lines.append(f"{change.card.id} {summary(change.card.change)} · {state_words(change)}")
        if change.detail and change.state != "verified":
            lines.append(change.detail)
        if change.stands:
            lines += ["to take it back:", undo_words(change, told.kubeconfig)]
    return lines or ["nothing"]


def proposed(told: Story) -> list[str]:
    """Every change that was not made, why not, and how a person makes it."""
    lines = []
    for change in told.proposed:
        lines.append(f"{change.card.id} {summary(change.card.change)} · {state_words(change)}")
        lines += ["by hand it is:", f"$ {change.card.command}"]
    return lines


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
        lines += _next_for(change, told.status)
    if told.status in _FAILING and told.verdict:
        lines += [
            f"{result.check} is {result.outcome.value}: {result.says}"
            for result in told.verdict.results
            if result.outcome is not Outcome.MET
        ]
    return lines


_FAILING = (
    ExitStatus.NOT_MET,
    ExitStatus.INCONCLUSIVE,
    ExitStatus.LIMIT,
    ExitStatus.UNDONE,
    ExitStatus.UNDO_FAILED,
)


def _next_for(change: Entry, status: ExitStatus) -> list[str]:
    target = change.card.change.target
    if change.state == "waiting":
        return [f"approve {change.card.id}: run it again at a terminal or with -y"]
    if change.state == "unknown":
        return [f"look whether {change.card.id} took effect on {target}: nothing says so"]
    if change.state in ("undo failed", "undo blocked", "cannot be undone"):
        return [f"put {target} back by hand: {change.detail}"]
    made = change.card.change
    if status is ExitStatus.MET and change.stands and made.after and made.kind in KUBE_KINDS:
        lasting = wanted(made)
        return [f"make it last: put {lasting} into the manifest or chart of {target}"]
    return []


def checked(told: Story) -> str:
    quotes = told.quotes
    if not quotes:
        return "nothing was quoted"
    found = sum(quote.verified for quote in quotes)
    return f"{found} of {len(quotes)} quotes found word for word in the evidence"
