"""The words every report shares: verdicts, changes, durations, how to take a change back."""

import json
import re
import shlex
import textwrap
from dataclasses import replace
from datetime import datetime

from smoldebug.clock import duration
from smoldebug.kubectl import (
    KUBE_KINDS,
    helm_command,
    in_git,
    kubectl_command,
    of_release,
    revisions,
)
from smoldebug.ledger import Entry
from smoldebug.pointers import dotted
from smoldebug.records import (
    IN_GIT,
    OF_RELEASE,
    Answer,
    Change,
    ChangeKind,
    CheckResult,
    Hypothesis,
    Json,
    Outcome,
    Quote,
    Verdict,
)
from smoldebug.redact import Redactor
from smoldebug.report.story import Driver, Step, Story
from smoldebug.status import ExitStatus
from smoldebug.untrusted import one_line, plain
from smoldebug.usage import spent

MASKS = Redactor()  # before-values are whole in the journal, for the undo, and only there
COMMAND = 10  # lines of a command by hand
BLOCKED = "undo blocked"  # by what somebody else has changed since
_STATUS = {
    ExitStatus.MET: "Goal met",
    ExitStatus.NOT_MET: "Not fixed",
    ExitStatus.USAGE: "Nothing was run",
    ExitStatus.INCONCLUSIVE: "Inconclusive",
    ExitStatus.UNDONE: "Not fixed; every change taken back and verified",
    ExitStatus.UNDO_FAILED: "NOT FIXED, AND A CHANGE COULD NOT BE TAKEN BACK: page a human",
    ExitStatus.LIMIT: "Not fixed; stopped by a limit",
    ExitStatus.NEEDS_APPROVAL: "Not fixed; a change waits for approval",
    ExitStatus.UNREACHABLE: "Could not look: something does not answer",
    ExitStatus.INTERRUPTED: "Interrupted",
}
_NOTHING = "Goal met; smoldebug changed nothing"


def verdict_words(told: Story) -> str:
    """`Fixed and verified; C1 undone later by anna at 09:12:03 UTC`."""
    words = _upgraded(told) if told.upgrade and told.ended else _verdict(told)
    if told.patch:
        words = re.sub("Not fixed|Fixed and verified", _patched(told), words)
        words = words.replace(_STATUS[ExitStatus.INCONCLUSIVE], f"{_patched(told)}; inconclusive")
        if told.drafted and told.drafted.commit:
            words = words.replace(_NOTHING, "Patch files written, nothing pushed")
    return "; ".join([words, *(later_words(told, card) for card in told.later)])


def _upgraded(told: Story) -> str:
    """`2.5.0 broke payments on us-staging: rolled back, goal holds again`."""
    where = one_line(told.started.context if told.started else "") or "the cluster"
    stands = any(change.stands for change in told.changes.values())
    if not told.applied:
        unchanged = f"{where} was not changed"
        words = _STATUS[told.status].replace("Not fixed", "Not upgraded")
        return (
            f"Goal met; {unchanged}" if told.status is ExitStatus.MET else f"{words}; {unchanged}"
        )
    what, fate = _brought(told), _fate(told, stands=stands)
    if told.status is ExitStatus.MET:
        return f"{what} holds on {where}"
    if told.blame is None:
        return f"{what} on {where}: {fate}"
    broke = short(told.blame.service) or "several services at once"
    return f"{what} broke {broke} on {where}: {fate}"


def _fate(told: Story, *, stands: bool) -> str:
    """What became of the steps of a run that did not end as met."""
    ended = _STATUS[told.status].replace("Not fixed", "not met")
    back = {
        ExitStatus.UNDONE: "rolled back, goal holds again",
        ExitStatus.UNDO_FAILED: "ROLLED BACK, BUT THE GOAL DOES NOT HOLD AGAIN: page a human",
    }.get(told.status, f"{ended}; rolled back")
    if told.status is ExitStatus.UNDO_FAILED and (stands or told.later):
        return "NOT EVERYTHING COULD BE ROLLED BACK" + (": page a human" if stands else "")
    return f"{ended}; it stays as it is" if stands else back


def _brought(told: Story) -> str:
    """What the steps brought, as far as a word says it: a version, an image, else `the change`."""
    for change in told.applied:
        made, found = change.card.change, ""
        if made.kind is ChangeKind.HELM_UPGRADE:
            found = re.sub(r"^.*?-(?=v?\d+\.)", "", str(made.after.get("/chart", "")))
        elif made.kind is ChangeKind.SET_IMAGE:
            found = str(next(iter(made.after.values()), "")).rpartition("/")[2]
        if found:
            return one_line(found, 60)
    return "the change"


def short(service: str) -> str:
    """`payments` of `Deployment/shop/payments`."""
    return one_line(service.rpartition("/")[2], 60)


def victims(told: Story) -> list[str]:
    """Who probably fails only because of the offender."""
    if told.blame is None or not told.blame.victims:
        return []
    names = ", ".join(map(short, told.blame.victims))
    return [f"{names}: probably only because of {short(told.blame.service)}"]


def _patched(told: Story) -> str:
    """`Pull request open, checks passed`: how far a patch got, by what stands of it."""
    kinds = {change.card.change.kind: change.state for change in told.applied if change.stands}
    pushed, asked = (kinds.get(kind) for kind in (ChangeKind.GIT_COMMIT, ChangeKind.PULL_REQUEST))
    if "unknown" in (pushed, asked):
        return f"Nothing says whether the {'pull request is open' if asked else 'branch is pushed'}"
    if not asked:
        return "Branch pushed, no pull request" if pushed else "No pull request"
    results = told.verdict.results if told.verdict else ()
    checks = [result for result in results if result.kind == "pull_request"]
    if any(result.pending for result in checks):
        return "Pull request open, checks not finished"
    if any(result.outcome is not Outcome.MET for result in checks):
        return "Pull request open, checks not passed"
    passed = any(result.value for result in checks)  # how many; there may be none
    return f"Pull request open{', checks passed' if passed else ''}"


def later_words(told: Story, card: str) -> str:
    later = told.later[card]
    by = f"undone later by {later.who.user}"
    if later.state != "undone":
        by = f"{later.state} when {later.who.user} took it back"
    return f"{card} {by} at {moment(told, later.at)}"


def moment(told: Story, at: datetime) -> str:
    """`09:12:03 UTC`, with the date when it is not the day the run began."""
    same_day = told.began is not None and told.began.date() == at.date()
    return f"{at:%H:%M:%S} UTC" if same_day else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _verdict(told: Story) -> str:
    if told.ended is None:
        return "Unfinished: killed, or still running"
    if told.status is ExitStatus.NOT_MET and told.ended.question:
        return "Not fixed; handed over to a human"
    if told.status is ExitStatus.NEEDS_APPROVAL and _approved(told):
        return "Not fixed; an approved change waits for `smoldebug runs resume`"
    if told.status is not ExitStatus.MET:
        return _STATUS[told.status]
    if told.later or any(change.stands for change in told.changes.values()):
        return "Fixed and verified"
    if told.baseline and told.baseline.outcome is Outcome.MET:
        return "Already true, nothing done"
    return _NOTHING


def _approved(told: Story) -> bool:
    changes = told.changes.values()
    waits = any(awaited(told, change) for change in changes)
    return not waits and any(to_carry_out(told, change) for change in changes)


def cause(told: Story) -> tuple[str, list[Hypothesis]]:
    """LIKELY, POSSIBLE or UNKNOWN, and the hypotheses that the word is about.

    A hypothesis that nobody confirmed is possible once one of its quotes is verified.
    """
    if likely := [item for item in told.hypotheses if item.certainty == "likely"]:
        return "LIKELY", likely
    confirmed = [item for item in told.hypotheses if item.status == "confirmed"]
    candidates = confirmed or [
        item for item in told.hypotheses if item.status != "ruled out" and verified(item.supports)
    ]
    return ("POSSIBLE" if candidates else "UNKNOWN"), candidates


def verified(quotes: tuple[Quote, ...]) -> list[Quote]:
    return [quote for quote in quotes if quote.verified]


def cited(quotes: tuple[Quote, ...]) -> str:
    """`[E1 E4]`, verified quotes only; "" when there is none."""
    ids = dict.fromkeys(quote.evidence for quote in verified(quotes))
    return f"[{' '.join(ids)}]" if ids else ""


def fields(change: Change) -> str:
    """`spec.replicas 1 → 3`, comma-separated; of long values only that they differ, of a rollback
    its revisions, of a release its charts."""
    if told := of_release(change) or revisions(change) or in_git(change):
        return told
    paths = dict.fromkeys((*change.before, *change.after))
    return ", ".join(_field(change, path) for path in paths)


def _field(change: Change, path: str) -> str:
    if any(isinstance(side.get(path), dict | list) for side in (change.before, change.after)):
        became = "added" if path not in change.before else "removed"
        became = "replaced" if path in change.before and path in change.after else became
        return f"{_dotted(path)} {became}"
    return f"{_dotted(path)} {_value(change.before, path)} → {_value(change.after, path)}"


def wanted(change: Change) -> str:
    """`spec.replicas = 3`: what a manifest must say for the change to last."""
    return ", ".join(
        f"{_dotted(path)} as in its diff"
        if isinstance(change.after[path], dict | list)
        else f"{_dotted(path)} = {_value(change.after, path)}"
        for path in change.after
    )


def _dotted(pointer: str) -> str:
    return dotted(pointer) if pointer else "the object"


def _value(values: Json, path: str) -> str:
    if path not in values:
        return "none"
    return one_line(json.dumps(MASKS.fields(values)[path], ensure_ascii=False), 60)


def summary(change: Change) -> str:
    told = change.kind in (*KUBE_KINDS, *IN_GIT, *OF_RELEASE)
    touched = fields(change) if told else ""
    return f"{change.kind} {change.target}" + (f": {touched}" if touched else "")


def state_words(change: Entry) -> str:
    """`verified`; of one that was not applied why: `refused by operator: too risky`."""
    if forbidden(change):
        return f"refused: {change.detail}"
    if change.state in ("refused", "waiting"):
        return str(change.decision)
    if change.state == "failed":
        return f"failed: {change.detail}"
    return {"approved": "approved, but never sent", "proposed": "not decided"}.get(
        change.state, change.state
    )


def forbidden(change: Entry) -> bool:
    """Did the guard refuse it in spite of a yes? Nobody is told then how to do it by hand."""
    yes = change.decision is not None and change.decision.answer is Answer.YES
    return change.state == "refused" and yes


def refusal(step: Step) -> str:
    """`scale deployment=auth replicas=9: REFUSED by the guard: ...`."""
    wanted = step.arguments if isinstance(step.arguments, dict) else {}
    pairs = " ".join(f"{name}={one_line(str(value), 60)}" for name, value in wanted.items())
    return f"{step.tool} {one_line(pairs, 160)}".rstrip() + f": {step.answer.text}"


def by_hand(change: Entry) -> str:
    """The command that makes it; "" where there is none, or it is forbidden."""
    return "" if forbidden(change) else _runnable(change.card.command)


def _runnable(command: str) -> str:
    """ "" of a command that is only a comment: why there is none."""
    return "" if command.startswith("#") else command


def in_lines(command: str) -> list[str]:
    """As lines of a screen."""
    return [
        piece
        for line in plain(command).splitlines()
        for piece in textwrap.wrap(
            line, 80, replace_whitespace=False, drop_whitespace=False, break_on_hyphens=False
        )
    ]


def too_long(command: str) -> bool:
    return len(in_lines(command)) > COMMAND


def show_command(told: Story) -> str:
    """What prints every command of a run whole."""
    return ours("runs", "show", told.run, "-o", "json")


def audit_words(told: Story, change: Entry) -> str:
    """Who decided when on which bytes, and in whose name it was made."""
    parts = [f"{change.decision}" if change.decision else "no decision is recorded"]
    if at := told.decided_at(change.card.id):
        parts.append(f"at {moment(told, at)}")
    parts.append(f"hash {change.card.digest}")
    if told.started and told.started.who:
        parts.append(f"made by {told.started.who}")
    return " · ".join(parts)


def undo_command(told: Story, change: Entry) -> str:
    """What takes it back and proves it; "" where nothing does, or it would be refused."""
    if change.card.change.no_undo or change.state == BLOCKED or told.closed:
        return ""
    standing = [other for other in told.changes.values() if other.stands]
    together = all(other.card.change.kind in IN_GIT for other in standing)
    only = [] if together or len(standing) == 1 else ["--change", change.card.id]
    return ours("undo", told.run, *only)


def goes_with_branch(told: Story, change: Entry) -> bool:
    """Is it a pull request that the undo of its branch takes back too?"""
    kinds = (other.card.change.kind for other in told.applied if other.stands)
    return change.card.change.kind is ChangeKind.PULL_REQUEST and ChangeKind.GIT_COMMIT in kinds


def undo_by_hand(told: Story, change: Entry) -> str:
    """The same with kubectl or helm; "" where that is not to be had, or would undo somebody's edit
    too."""
    made = change.card.change
    known = (*KUBE_KINDS, *OF_RELEASE)
    if made.no_undo or made.kind not in known or change.state == BLOCKED or told.demo:
        return ""
    if made.kind in OF_RELEASE:
        return _runnable(helm_command(made.inverse(), change.card.context, told.kubeconfig))
    back = replace(made.inverse(), after=MASKS.fields(made.before))
    return _runnable(kubectl_command(back, change.card.context, told.kubeconfig))


def awaited(told: Story, change: Entry) -> bool:
    """Is it what the run waits for? A later card, or answer, settles an earlier one."""
    if told.closed or change.state != "waiting" or told.status is not ExitStatus.NEEDS_APPROVAL:
        return False
    alike = [other for other in told.changes.values() if _asks(other) == _asks(change)]
    return alike[-1] is change


def _asks(change: Entry) -> tuple[str, str]:
    made = change.card.change
    return made.kind.value, str(made.target)


def to_carry_out(told: Story, change: Entry) -> bool:
    """Would a resume carry it out? Not one that was approved and that a resume did not take: what
    it was to change had moved, and a card of its own asks about that."""
    return (
        not told.closed
        and change.state == "approved"
        and told.status is ExitStatus.NEEDS_APPROVAL
        and change.card.id not in told.passed_over
    )


def approve_commands(told: Story, change: Entry) -> list[str]:
    card = change.card
    approve = ours("runs", "approve", told.run, card.id, "--hash", card.digest)
    return [approve, resume_command(told)]


def resume_command(told: Story) -> str:
    return ours("runs", "resume", told.run)


def copyable(command: str) -> str:
    """On one line, with every space that is meant: inside quotes they count."""
    return plain(command).replace("\n", " ").strip()


def ours(*words: str) -> str:
    return shlex.join(["smoldebug", *(one_line(word) for word in words)])


def cause_words(told: Story) -> str:
    """`cause LIKELY (3 pieces of evidence, 1 gap)`."""
    word, found = cause(told)
    pieces = {quote.evidence for item in found for quote in verified(item.supports)}
    parts = [count(len(pieces), "piece") + " of evidence"] if pieces else []
    parts += [count(len(told.gaps), "gap")] if told.gaps else []
    return f"cause {word}" + (f" ({', '.join(parts)})" if parts else "")


def goal_words(verdict: Verdict) -> str:
    """`MET 3/3: http checkout.shop /health = 200: answered 200 · ...`."""
    window = f" {verdict.streak}/{verdict.needed}" if verdict.needed > 1 else ""
    if services := {item.service for item in verdict.results if item.service}:
        failing = [item for item in verdict.results if item.outcome is not Outcome.MET]
        held = f"{len(verdict.results) - len(failing)} of {count(len(verdict.results), 'check')}"
        now = "HOLDS NOW" if not failing else verdict.outcome.value.upper()
        now = "MET" if verdict.outcome is Outcome.MET else now
        head = f"{now}{window}: {held} of {count(len(services), 'service')} met"
        return "; ".join([head, *(f"{check_words(item)}: {item.says}" for item in failing)])
    says = " · ".join(f"{item.check}: {item.says}" for item in verdict.results)
    return f"{verdict.outcome.value.upper()}{window}" + (f": {says}" if says else "")


def check_words(result: CheckResult) -> str:
    """`payments: rollout`, where there is a row for each service."""
    return f"{short(result.service)}: {result.check}" if result.service else result.check


def used(told: Story) -> str:
    """`44s · 6 steps · 1 change, undone · 5 model calls · 12,400 tokens · $0.11`."""
    parts = [duration(told.seconds), count(told.usage.turns, "step"), _changes(told)]
    return " · ".join([*parts, *spent(told.usage)])


def models(told: Story) -> list[str]:
    """Which models drove the run, what each took, and why another one had to go on."""
    lines = [f"{name}: {_drove(driver)}" for name, driver in told.drivers.items()]
    for at, event in told.switches:
        lines.append(f"from {event.model} to {event.to} at {moment(told, at)}: {event.why}")
    return lines


def _drove(driver: Driver) -> str:
    failed = [f"{driver.failed} without an answer"] if driver.failed else []
    known = [f"{driver.from_cache} answered before"] if driver.from_cache else []
    return " · ".join([*spent(driver.usage), *failed, *known])


def _changes(told: Story) -> str:
    made, undone = len(told.applied), sum(change.state == "undone" for change in told.applied)
    if not undone:
        return count(made, "change")
    return f"{count(made, 'change')}, {'undone' if undone == made else f'{undone} undone'}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
