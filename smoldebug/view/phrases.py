"""Words that the rich and the plain view share. All of it plain, most of it on one line."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from smoldebug.clock import duration
from smoldebug.coverage import MOST_OPEN, bounded, counted, files, place, state
from smoldebug.events import (
    AnyEvent,
    Blamed,
    ChangeSettled,
    Continued,
    Drafted,
    EvidenceRecorded,
    ModelSwitched,
    ToolAnswered,
    ToolCalled,
    UndoBegan,
)
from smoldebug.pointers import dotted
from smoldebug.records import (
    IN_GIT,
    OF_RELEASE,
    Card,
    Change,
    ChangeKind,
    CheckResult,
    Fact,
    Json,
    Outcome,
    Quote,
    Usage,
    Verdict,
)
from smoldebug.redact import Redactor
from smoldebug.status import ExitStatus
from smoldebug.untrusted import clip, one_line, plain
from smoldebug.usage import dollars, spent
from smoldebug.view import unified

MODES = {"read-only": "read-only", "ask": "asks before a change", "auto": "changes without asking"}
PHASES = {
    "baseline": "the goal must hold before anything is changed",
    "steps": "carrying out the steps",
    "watching": "watching the goal after the steps",
    "explaining": "finding out which service broke the goal",
    "rolling back": "taking back what was changed",
}
WARNS = "⚠"
WHOLE = 10_000  # characters of a line on a card: more than anybody reads, less than a flood
EVIDENCE = 4000  # characters of one piece of evidence
FEW = 3  # lines of a command below a card, which must fit a small screen
POINTS = 5  # fewer points are no curve
BLOCKS = "▁▂▃▄▅▆▇█"


def is_note(answer: ToolAnswered) -> bool:
    """A hypothesis that was noted: HypothesesChanged tells it, and better."""
    return answer.ok and answer.tool == "hypothesis"


def arguments(sent: Json, limit: int = 200) -> str:
    """`deployment=auth lines=500`; whatever a model sent, valid or not."""
    if isinstance(sent, Mapping):
        pairs = (f"{key}={_value(value)}" for key, value in sent.items())
        return one_line(" ".join(pairs), limit)
    return one_line(str(sent), limit) if sent else ""


def _value(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def result(answer: ToolAnswered, limit: int = 200, fold: bool = True) -> list[str]:
    """The first lines of what a tool said, of an error the first, whole: what would have been
    allowed stands at its end. The last line tells how many more there are.

    `fold` white space; without it the columns of a table stay below each other.
    """
    text, lines = answer.text, 3 if answer.ok else 1
    if not answer.ok:
        limit = WHOLE
        text = text.replace(f"ERROR {answer.tool}: ", "Error: ", 1)
    said = [line for line in plain(text[:20_000]).splitlines() if line.strip()]
    short = one_line if fold else _cut
    shown = [short(line, limit) for line in said[:lines]] or ["(nothing)"]
    more = len(said) - lines
    return [*shown[:-1], f"{shown[-1]}  (+{count(more, 'line')})"] if more > 0 else shown


def _cut(line: str, limit: int) -> str:
    line = line.rstrip().expandtabs(4)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def goal_word(verdict: Verdict) -> str:
    """`MET`, `NOT MET`, `INCONCLUSIVE`; `HOLDS NOW` while the window fills, `WAITING` for what
    will be known later."""
    open_ = [item.pending for item in verdict.results if item.outcome is not Outcome.MET]
    enough = any if verdict.outcome is Outcome.INCONCLUSIVE else all
    if verdict.outcome is not Outcome.MET and open_ and enough(open_):
        return "WAITING"
    if verdict.outcome is Outcome.NOT_MET and verdict.sample is Outcome.MET:
        return "HOLDS NOW"
    return verdict.outcome.value.upper()


def progress(verdict: Verdict) -> str:
    """`1 of 3 checks passed; running: validate`: how far that is which is waited for."""
    return " · ".join(_said(item) for item in verdict.results if item.pending)


def _said(item: CheckResult) -> str:
    return f"{row(item)}: {item.says}" if item.service else item.says


def row(item: CheckResult) -> str:
    """`payments rollout complete`; of a goal without services the check alone."""
    return f"{short(item.service)} {item.check}" if item.service else item.check


def short(ref: str) -> str:
    """`payments` of `Deployment/platform/payments`."""
    return ref.rpartition("/")[2]


def standing(verdict: Verdict) -> str:
    """Differs when a check stands otherwise; not for another number, nor for time that passes."""
    rows = "".join(f"{item.outcome.value[0]}{item.pending:d}" for item in verdict.results)
    streak = verdict.streak if verdict.needed > 1 else ""
    return f"{goal_word(verdict)} {streak} {rows}"


def window(verdict: Verdict) -> str:
    """`●●○ 2/3`, `held 12s of 30s`; "" where one good sample is enough."""
    parts = []
    if verdict.needed > 1:
        filled = max(0, min(verdict.streak, verdict.needed))
        if verdict.needed <= 10:
            parts.append("●" * filled + "○" * (verdict.needed - filled))
        parts.append(f"{verdict.streak}/{verdict.needed}")
    if verdict.hold_for and (verdict.held or verdict.sample is Outcome.MET):
        parts.append(f"held {duration(verdict.held)} of {duration(verdict.hold_for)}")
    return " ".join(parts)


def measured(verdict: Verdict, limit: int = 300) -> str:
    """What the checks said, only those that fail if any do: `/health: answered 502`. With a row
    for each service how many are met, then what is decided before what is waited for."""
    failing = [item for item in verdict.results if item.outcome is not Outcome.MET]
    if not any(item.service for item in verdict.results):
        shown = sorted(failing, key=lambda item: item.pending) or verdict.results
        return one_line(" · ".join(f"{item.check}: {item.says}" for item in shown), limit)
    decided = [item for item in failing if not item.pending]
    says = [f"{row(item)}: {item.says}" for item in decided]
    return one_line(" · ".join([tally(verdict), *says, *_waited(failing, decided)]), limit)


def _waited(failing: Sequence[CheckResult], decided: Sequence[CheckResult]) -> Iterator[str]:
    """`auth, web rollout: 1 old replica left`: what each service waits for first, unless more than
    that is known of it."""
    first = {item.service or item.check: item for item in decided}
    for item in failing:
        first.setdefault(item.service or item.check, item)
    alike: dict[tuple[str, str], list[str]] = {}
    for item in first.values():
        if item.pending:
            alike.setdefault((item.check, item.says), []).append(short(item.service))
    for (check, says), names in alike.items():
        yield f"{', '.join(names)} {check}: {says}".lstrip()


def tally(verdict: Verdict) -> str:
    """`17 of 20 checks met`."""
    met = sum(item.outcome is Outcome.MET for item in verdict.results)
    return f"{met} of {count(len(verdict.results), 'check')} met"


def blamed(event: Blamed) -> list[str]:
    """Who broke the goal, what that rests on, and who only suffers from it."""
    blame = event.blame
    if event.explanation:  # the blame was shown before
        return [one_line(f"explained, not checked by code: {event.explanation}", WHOLE)]
    after = f"{duration(blame.at)} after the first step"
    who = (
        f"{blame.service}: first failed “{blame.check}”, {after}"
        if blame.service
        else "no single service"
    )
    lines = [who, blame.reason]
    lines += [f"{quote.evidence} “{quote.text}”" for quote in blame.quotes if quote.verified]
    if blame.victims:
        lines.append(f"probably only because of it: {', '.join(map(short, blame.victims))}")
    return [one_line(line, 400) for line in lines]


def undoing(event: UndoBegan) -> str:
    """Why it is taken back, and what an impatient operator would get."""
    stopped = event.status is ExitStatus.INTERRUPTED
    again = "; a second Ctrl-C or SIGTERM leaves it changed" if stopped else ""
    return one_line(f"{event.reason}{again}", 400)


def cited(quotes: Sequence[Quote]) -> str:
    """`[E1 E4]`, "" when nothing is cited."""
    ids = dict.fromkeys(quote.evidence for quote in quotes)
    return one_line(f"[{' '.join(ids)}]", 80) if ids else ""


def limits(usage: Usage, seconds: float) -> Iterator[tuple[str, float]]:
    """Each thing a run uses up, as `step 6/25`, and how much of it is gone (0 to 1)."""
    yield f"step {usage.turns}/{usage.max_turns or '∞'}", _part(usage.turns, usage.max_turns)
    if usage.cost:
        most = f"/{dollars(usage.max_cost)}" if usage.max_cost is not None else ""
        yield f"{dollars(usage.cost)}{most}", _part(usage.cost, usage.max_cost)
    if tokens := usage.tokens_in + usage.tokens_out:
        most = f"/{_thousands(usage.max_tokens)}" if usage.max_tokens else ""
        yield f"{_thousands(tokens)}{most} tokens", _part(tokens, usage.max_tokens)
    if usage.calls and usage.max_calls:
        yield f"{usage.calls}/{usage.max_calls} calls", _part(usage.calls, usage.max_calls)
    most = f"/{duration(usage.max_seconds)}" if usage.max_seconds else ""
    yield f"{duration(int(seconds))}{most}", _part(seconds, usage.max_seconds)
    if usage.max_changes is not None:
        noun = "change" if usage.max_changes == 1 else "changes"
        yield f"{usage.changes}/{usage.max_changes} {noun}", 0.0


def _part(used: float, most: float | None) -> float:
    share = used / most if most else 0.0
    return min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0


def _thousands(tokens: int) -> str:
    return f"{tokens / 1000:.0f}k" if tokens >= 1000 else str(tokens)


def ended(usage: Usage, seconds: float) -> str:
    """`44s · 6 steps · 5 model calls · 12,400 tokens · $0.11`; the report tells the rest."""
    steps = [count(usage.turns, "step")] if usage.turns else []
    return " · ".join([duration(seconds), *steps, *spent(usage)])


def switched(event: ModelSwitched, said: str = "") -> str:
    """`from openai/x to expert: 429 Too Many Requests`; without the reason where it was `said`."""
    names = f"from {one_line(event.model, 100)} to {one_line(event.to, 100)}"
    return names if event.why == said else f"{names}: {one_line(event.why, 300)}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


class Recorded:
    """The evidence of a run, for somebody who wants to read it before deciding."""

    def __init__(self) -> None:
        self._sent: dict[str, Json] = {}
        self._answers: dict[str, tuple[ToolAnswered, Json]] = {}

    def add(self, event: AnyEvent) -> None:
        match event:
            case ToolCalled():
                self._sent[event.call] = event.arguments
            case ToolAnswered() if event.evidence:
                self._answers[event.evidence] = event, self.sent(event)
            case EvidenceRecorded(evidence=item):
                self._answers[item.id] = event.answer(), item.arguments

    def sent(self, answer: ToolAnswered) -> Json:
        """The arguments of the call that was answered."""
        return self._sent.get(answer.call)

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, str]]:
        """`E2 query_prometheus` and its text: what was asked, then what was seen."""
        for id in ids:
            if id not in self._answers:
                yield one_line(id), "not recorded"
                continue
            answer, sent = self._answers[id]
            asked = arguments(sent, EVIDENCE)
            text = answer.observation.text if answer.observation else answer.text
            head = f"asked: {asked}\n" if asked else ""
            for line in answer.flags:
                head += (
                    f"{WARNS} reads like an instruction to an AI, kept as data: {one_line(line)}\n"
                )
            yield one_line(f"{id} {answer.tool}"), head + clip(plain(text), EVIDENCE)
        if not ids:
            yield "evidence", "the change cites none"


def age(fact: Fact, now: datetime) -> str:
    """`21m ago`, "" where the world did not say when."""
    if fact.at is None:
        return ""
    seconds = max(0.0, (now - fact.at).total_seconds())
    if seconds < 90:
        return f"{int(seconds)}s ago"
    if seconds < 5400:
        return f"{round(seconds / 60)}m ago"
    hours = round(seconds / 3600)
    return f"{hours}h ago" if hours < 48 else f"{hours // 24}d ago"


def card_rows(card: Card) -> list[tuple[str, str]]:
    """What stands below the diff, as name and text: first what speaks for caution."""
    change, undo = card.change, ("undo", f"{back_to(card.change)}, recorded before it is sent")
    if change.no_undo:
        undo = (f"{WARNS} NO UNDO", change.no_undo)
    rows = [(f"{WARNS} WARNING", text) for text in card.warnings]
    if card.managed and not any(card.managed.owner in text for text in card.warnings):
        rows += [("managed", f"by {card.managed}; it may put its own value back")]
    if change.kind in IN_GIT:  # it rests on its diff, and changes nothing that runs
        rows += [*_follows(change), ("why", change.why)]
    else:
        rows += [
            ("why", change.why if change.given else f"{change.why} [{_cited(change)}]"),
            ("expect", change.expects or "nothing was said of the goal"),
        ]
    rows += [undo, ("limits", card.limits)]
    return [(name, one_line(text, WHOLE)) for name, text in rows if text]


def _cited(change: Change) -> str:
    return " ".join(change.evidence) or "no evidence"


def _follows(change: Change) -> Iterator[tuple[str, str]]:
    """The pull request that an approval of a commit covers too."""
    if change.then is None:
        return
    asked = change.then.after
    draft = "draft " if asked.get("/draft") else ""
    yield "then", f"{draft}pull request into {asked.get('/base')}: {asked.get('/title')}"
    for name in ("labels", "reviewers", "assignees"):
        if isinstance(named := asked.get(f"/{name}"), list | tuple):
            yield name, ", ".join(map(str, named))


def where(card: Card, repository: str) -> str:
    """`on prod-eu`; of what is changed in Git `in shop/manifests on github.com, main -> fix`."""
    if card.change.kind in IN_GIT:
        return f"in {one_line(repository, 300) or 'its repository'}"
    return f"on {one_line(card.context, 300) or 'no cluster'}"


def covered(card: Card, by: Card | None) -> bool:
    """Whether an approver has seen all of it on an earlier card, which says that it follows."""
    if by is None or by.change.then is None:
        return False
    return card.change == by.change.then and set(card.warnings) <= set(by.warnings)


def following(card: Card, by: str) -> str:
    """`C2 pull-request PullRequest/fix, as C1 says`."""
    return one_line(f"{card.id} {card.change.kind} {card.change.target}, as {by} says", WHOLE)


def card_diff(card: Card) -> str:
    """All of it; of a commit, or of a pull request's text, what a card has room for."""
    if card.change.kind is ChangeKind.GIT_COMMIT:
        return unified.shortened(card.diff)
    if card.change.kind is ChangeKind.PULL_REQUEST:
        return unified.head(_quoted(card.diff))
    return card.diff


def _quoted(text: str) -> list[str]:
    """Lines that nobody takes for those of a diff, or for a row."""
    return [f"  {line}" for line in unified.lines(text)]


def dry_run(card: Card) -> str:
    """`server dry-run: accepted`; of what no server can try: `dry run: not supported ...`."""
    by = "server dry-run" if card.dry_run.startswith("accepted") else "dry run"
    return one_line(f"{by}: {card.dry_run or 'none'}", WHOLE)


def whole_command(card: Card) -> str:
    """To be copied: not a space less than what was meant."""
    return plain(card.command).strip()


def command(card: Card, before: str, width: int) -> str:
    """`before` and the command; of one that fills more than some lines of a screen the first, and
    of one with lines of its own: they would stand where a row begins."""
    whole, hang = whole_command(card), " " * len(before)
    if "\n" not in whole and len(_chopped(f"{before}{whole}", width)) <= FEW:
        return f"{before}{whole}"
    room = width - len(before)
    first = [each for line in whole.splitlines() for each in _chopped(line, room)][:FEW]
    return before + f"\n{hang}".join([*first, "… (d shows it whole)"])


def diff_lines(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` columns. What is wrapped keeps its mark and hangs below itself: no
    part of a value stands where a row of the card begins."""
    for line in plain(text).expandtabs(4).splitlines() or ["(none)"]:
        first, *_ = _chopped(line, width)
        yield first
        mark = f"{line[0]}   " if line[:1] in ("+", "-") else "    "
        if rest := line[len(first) :]:
            yield from (f"{mark}{each}" for each in _chopped(rest, width - len(mark)))


def _chopped(line: str, width: int) -> list[str]:
    if len(line) <= width and line.isascii():
        return [line]
    from rich.cells import chop_cells  # measuring a goal draws nothing

    return chop_cells(line, max(width, 8)) or [""]


def whole_diff(card: Card) -> str:
    """Also of the text of a pull request, where one follows."""
    if card.change.kind is ChangeKind.PULL_REQUEST:
        return "\n".join(_quoted(card.diff))
    if card.change.kind is ChangeKind.GIT_COMMIT:
        asked = card.change.then.after if card.change.then else {}
        text = [f"{asked.get('/title')}", "", *f"{asked.get('/body')}".split("\n")]
        follows = ["pull request:", *_quoted("\n".join(text))] if asked else []
        return "\n".join([*unified.lines(card.diff), *follows])
    return card.full_diff or f"{card.diff}\n(there is no diff of more than that)"


def settled(event: ChangeSettled) -> list[str]:
    """`C1 verified: ...`; a longer story has a line for each field."""
    head, *details = f"{event.card} {event.state}: {plain(event.detail)}".splitlines()
    return [one_line(head, WHOLE), *(one_line(line, WHOLE) for line in details)]


def drafted(event: Drafted) -> tuple[str, str]:
    """`12 changed, 1 refused in 12 files of shop/manifests`, and from where to where."""
    what = f"{counted(event.edited)} in {count(files(event.edited), 'file')} of {event.repository}"
    made = f"{event.branch} {event.commit[:7]}" if event.commit else "nothing to commit"
    onto = one_line(f"{event.base} → {made}", WHOLE)
    return one_line(what, WHOLE), f"{onto}  ({duration(event.seconds)})"


def coverage(event: Drafted) -> Iterator[tuple[str, str]]:
    """State and line of each object, first what a person must look at; "" for what belongs to the
    line above, and for how many more there are."""
    rows = bounded(event.edited)
    for problem in event.problems[:MOST_OPEN]:
        yield "refused", one_line(problem, WHOLE)
    names = [(one_line(place(row), 300), one_line(str(row.ref), 300)) for row in rows]
    wide, wider = (min(40, max((len(name[n]) for name in names), default=0)) for n in (0, 1))
    for row, (at, ref) in zip(rows, names, strict=True):
        yield row.state, f"{at:{wide}}  {ref:{wider}}  {one_line(state(row), 300)}"
        if row.detail:
            yield "", f"  {one_line(row.detail, WHOLE)}"
    more = len(event.edited) - len(rows) + max(0, len(event.problems) - MOST_OPEN)
    if more:
        yield "", f"… and {more} more"


def continued(event: Continued, at: datetime) -> str:
    return one_line(f"{event.command} by {event.who} at {at:%Y-%m-%d %H:%M:%S} UTC", 300)


def back_to(change: Change) -> str:
    """What an undo writes: `spec.replicas = 1`."""
    if change.kind in IN_GIT:
        return _taken_back(change)
    if change.from_revision and change.kind in (ChangeKind.ROLLBACK, *OF_RELEASE):
        what = "the template of revision" if change.kind is ChangeKind.ROLLBACK else "revision"
        return f"{what} {change.from_revision}"
    parts, before = [], Redactor().fields(change.before)
    for path in dict.fromkeys((*before, *change.after)):
        name = dotted(path) if path else "the object"
        if isinstance(before.get(path), dict | list):
            parts.append(f"{name} as before")
            continue
        value = f"= {json.dumps(before[path], default=str)}" if path in before else "removed"
        parts.append(f"{name} {one_line(value, 80)}")
    return one_line(", ".join(parts) or "as before", 300)


def _taken_back(change: Change) -> str:
    if change.kind is ChangeKind.PULL_REQUEST:
        return f"the pull request is {'as before' if change.before else 'closed'}"
    tip = one_line(str(change.before.get("/tip") or ""))[:7]
    back = f"the branch goes back to {tip}" if tip else "the branch is deleted"
    return f"{back}, {_taken_back(change.then)}" if change.then else back


def curves(data: Json, width: int = 24) -> Iterator[str]:
    """`▁▁▁▂▇█  0.08 → 6.9  job=auth` for each series of `{"series": [{"labels", "points"}]}`."""
    series = data.get("series") if isinstance(data, Mapping) else None
    for item in series if isinstance(series, list | tuple) else ():
        if not isinstance(item, Mapping):
            continue
        values = _numbers(item.get("points"))
        if len(values) >= POINTS:
            labels = arguments(item.get("labels"), 60)
            yield f"{_blocks(values, width)}  {values[0]:.3g} → {values[-1]:.3g}  {labels}".rstrip()


def _numbers(points: Json) -> list[float]:
    if not isinstance(points, list | tuple):
        return []
    pairs = (point for point in points if isinstance(point, list | tuple) and len(point) == 2)
    values = (value for _, value in pairs if isinstance(value, int | float))
    return [float(value) for value in values if abs(value) < 1e300]  # also drops NaN


def _blocks(values: list[float], width: int) -> str:
    """One block per value; more values than `width` are grouped, and a group shows its highest."""
    size = math.ceil(len(values) / width)
    tops = [max(values[at : at + size]) for at in range(0, len(values), size)]
    low, high = min(tops), max(tops)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in tops)
