"""What a playbook may do, in plain English, on one screen: `playbooks plan`.

It asks no cluster and no network: it says what the playbook, the policy files in force and the
clock allow.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import msgspec

from smoldebug.clock import SystemClock
from smoldebug.errors import UsageError
from smoldebug.goal.check import Setting
from smoldebug.goal.goal import KINDS
from smoldebug.goal.seen import Seen
from smoldebug.goal.services import which, with_example
from smoldebug.guard import LOCAL
from smoldebug.kubectl import KUBE_KINDS
from smoldebug.playbook.base import Money
from smoldebug.playbook.models import (
    Check,
    Freeze,
    Limits,
    Playbook,
    RunPlan,
    ShellCommand,
    Window,
)
from smoldebug.playbook.policy import Policy, Selection, personal_data
from smoldebug.playbook.rules import checks_of
from smoldebug.playbook.upgraderules import per_service
from smoldebug.playbook.windows import closed, minutes, moment, spoken, zone
from smoldebug.preview import patches, upgrades
from smoldebug.preview.rbac import because, is_for
from smoldebug.records import IN_GIT, OF_RELEASE, ChangeKind, Json
from smoldebug.signals import first_card
from smoldebug.signals.times import span
from smoldebug.signals.words import count
from smoldebug.sources.process import LocalProcesses
from smoldebug.sources.world import World
from smoldebug.untrusted import one_line

LINE = 1000  # characters of one line before it is wrapped
MARGIN = 12  # columns of a heading
NO_UNDO = (  # the kinds whose tools say so; deleting what a controller makes has none either
    ChangeKind.RESTART,
    ChangeKind.DEBUG_CONTAINER,
    ChangeKind.PROCESS_RESTART,
    ChangeKind.RUN_COMMAND,
)
SCALES = {ChangeKind.SCALE, ChangeKind.SET_REPLICAS_BOUNDS}
AMOUNTS = {ChangeKind.SET_RESOURCES, ChangeKind.PATCH_OBJECT, ChangeKind.APPLY_OBJECT}
UNANSWERED = "5m without an answer is a no; where nobody can answer, it waits (exit 7)"
STRICT = ("auto", "ask", "never")
HARD = ("allow", "warn", "pr")

Pairs = dict[tuple[str, ...], list[ChangeKind]]  # targets to the kinds of change allowed on them


class WorstCase(msgspec.Struct, frozen=True):
    """The most a run takes. `seconds` None: no deadline; `cost` in US dollars, of a model;
    `changes` are objects of a cluster, `files` those of a repository."""

    turns: int
    seconds: float | None
    cost: float
    changes: int
    files: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`sections` by heading, a sentence each. `changes_now` says whether a change could be made
    at this moment; `turns` when that ends or begins, by windows and freezes alone."""

    playbook: str
    description: str
    source: str
    inputs: Mapping[str, Json]
    missing: tuple[str, ...]
    policies: tuple[str, ...]
    changes_now: bool
    turns: datetime | None
    worst_case: WorstCase
    sections: Mapping[str, tuple[str, ...]]

    def json(self) -> Json:
        return msgspec.to_builtins(self, enc_hook=str)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What counts besides the playbook: policies in force, the model asked, and the time."""

    policies: tuple[Policy, ...]
    models: tuple[str, ...]
    now: datetime
    forbidden: tuple[str, ...] = ()  # models that a policy does not let a run ask, in a sentence


def plan(read: RunPlan, missing: Iterable[str], around: Circumstances) -> Plan:
    """`missing` are required inputs that samples stand in for."""
    playbook, worst = read.playbook, worst_case(read.playbook, around.policies)
    sections = {
        **_of_steps(playbook),
        "GOAL": _goal(read),
        "READS": _reads(playbook),
        "CHANGES": _changes(playbook, around),
        "ASKS": _asks(playbook, around),
        "ON FAILURE": _failure(playbook, around),
        "NOW": _now(playbook, around),
        "AT MOST": _at_most(playbook, worst, around),
        "SENT AWAY": _sent(playbook, around),
        "NOT YET": _not_yet(read),
    }
    return Plan(
        playbook=playbook.name,
        description=playbook.description,
        source=read.source,
        inputs=read.inputs,
        missing=tuple(missing),
        policies=tuple(policy.describe for policy in around.policies),
        changes_now=not _refused_now(playbook, around),
        turns=turning_point(_calendars(playbook, around), around.now)
        if _allowed(playbook)
        else None,
        worst_case=worst,
        sections={
            heading: tuple(one_line(line, LINE) for line in lines)
            for heading, lines in sections.items()
            if lines
        },
    )


def as_text(told: Plan, width: int) -> str:
    """`width` columns, headings in a margin."""
    head = f"{told.playbook}: {told.description}" if told.description else told.playbook
    given = [f"{name}={_value(value)}" for name, value in told.inputs.items() if value != ""]
    lines = [*_wrapped(head, width), *_wrapped("  ".join((told.source, *given)), width)]
    lines += [f"needs --set {name}=..., shown as if it were: {name}" for name in told.missing]
    lines.append("")
    for heading, sentences in told.sections.items():
        for number, sentence in enumerate(sentences):
            margin = f"{'' if number else heading:<{MARGIN}}"
            lines += _wrapped(sentence, width, margin, " " * MARGIN)
    return "".join(f"{line}\n" for line in lines)


def _wrapped(text: str, width: int, first: str = "", others: str = "") -> list[str]:
    return textwrap.wrap(
        one_line(text, LINE),
        width,
        initial_indent=first,
        subsequent_indent=f"{others}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(value: Json) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _of_steps(playbook: Playbook) -> dict[str, list[str]]:
    if not playbook.steps:
        return {}
    return {
        "CLUSTERS": [*upgrades.clusters(playbook)],
        "BEFORE": [*upgrades.before(playbook)],
        "STEPS": [*upgrades.steps(playbook)],
    }


# --- goal and reads -------------------------------------------------------------------------


def _goal(read: RunPlan) -> list[str]:
    goal = read.playbook.goal
    clock = SystemClock()
    world = World(clock, LocalProcesses())
    setting = Setting(read, world, clock, Seen(world, clock), red=lambda: ())
    lines = [goal.description] if goal.description else []
    if goal.each_service is not None:
        lines, setting = [*lines, f"for {which(goal.each_service)}:"], with_example(setting)
    lines += [f"- {_check(check, setting)}" for check in goal.all]
    lines += [f"- {_any(goal.any, setting)}"] if goal.any else []
    again = f"{goal.consecutive} times in a row" if goal.consecutive > 1 else "once"
    held = f" and for {goal.for_}" if goal.for_ else ""
    until = f", within {goal.within} of the start" if goal.within else ""
    if not read.playbook.steps:
        return [*lines, f"measured by code every {goal.every}; it must hold {again}{held}{until}"]
    return [
        *lines,
        f"measured by code every {goal.every}, and when an object of a service changes",
        f"after the steps it must hold {again}{held}{until}; what waiting does not mend ends it",
    ]


def _check(check: Check, setting: Setting) -> str:
    kind, value = next(
        (name, found)
        for name in check.__struct_fields__
        if (found := getattr(check, name)) is not None
    )
    if kind == "any":
        return _any(value, setting)
    if kind == "all":
        return "all of: " + ", ".join(_check(part, setting) for part in value)
    if kind == "python":
        return f"python {value} of the playbook's folder; needs --allow-code"
    if kind not in KINDS:
        return f"{kind} (this version cannot measure it)"
    try:
        made = KINDS[kind](value, setting)
    except UsageError as error:
        later = setting.plan.unsupported
        return f"{kind} ({'this version cannot measure it' if later else error})"
    label = f"{made.label}{_details(check)}"
    row = setting.service is not None and per_service(check)
    if row or not made.subject or made.subject in made.label or kind == "findings":
        return label
    once = " (once, for no service)" if setting.service is not None else ""
    return f"{label}: {made.subject}{once}"


def _details(check: Check) -> str:
    """What its label leaves out."""
    if check.rollout and check.rollout.complete_within:
        return f", complete within {check.rollout.complete_within}"
    if check.http and check.http.path:
        skipped = "; services without one are left out" if check.http.skip else ""
        port = "the port of" if check.http.port == "auto" else f"port {check.http.port} of"
        return f" on {port} a ready pod{skipped}"
    return ""


def _any(checks: Iterable[Check], setting: Setting) -> str:
    return "any of: " + ", ".join(_check(part, setting) for part in checks)


def _reads(playbook: Playbook) -> list[str]:
    tools, spaces = playbook.tools, playbook.scope.namespaces
    where = f"in {', '.join(spaces)}" if spaces else "in every namespace"
    lines = [*patches.reads(playbook)]
    if playbook.steps:
        lines += [*_measured(playbook, "for the goal, "), *upgrades.reads(playbook)]
        lines.append(f"to explain a failure, {where}: {_kinds(playbook)}")
    elif playbook.edits and not tools.kubectl:
        lines += [f"{line}; nothing else" for line in _measured(playbook)]
    elif because(playbook):
        lines.append(f"{where}: {_kinds(playbook)}")
    if tools.logs:
        lines.append(f"logs {where}, at most {count(tools.logs.max_lines, 'line')} of a container")
    if tools.metrics:
        lines.append(f"metrics of {tools.metrics.url}")
    if tools.http and tools.http.allow:
        lines.append(f"GET and HEAD of {', '.join(tools.http.allow)}")
    lines += _commands(playbook)
    if tools.custom:
        lines.append(f"whatever your own tools read: {', '.join(tools.custom)}")
    return lines or ["nothing but what the goal measures"]


def _kinds(playbook: Playbook) -> str:
    kubectl = playbook.tools.kubectl
    if kubectl is None:
        kinds = ", ".join(kind.lower() for kind in first_card.KINDS)
        return f"only what the goal and the first card list: {kinds}"
    if not kubectl.read:
        return "every kind of object but Secrets"
    secrets = "" if "secrets" in kubectl.read else "; nothing else, and no Secrets"
    return f"{', '.join(kubectl.read)}{secrets}"


def _measured(playbook: Playbook, why: str = "") -> Iterator[str]:
    """What the goal alone asks the cluster for."""
    found: dict[str, list[str]] = {}
    for grant, parts in because(playbook).items():
        if "goal" in parts:
            found.setdefault(grant.namespace, []).append(grant.resource)
    for space, resources in found.items():
        where = f"in {space}" if space else "in every namespace"
        yield f"{why}{where}: {', '.join(dict.fromkeys(resources))}"


def _commands(playbook: Playbook) -> Iterator[str]:
    """Programs that run without a question, here or in pods."""
    goal = playbook.goal
    measured = [check.command for check in checks_of([*goal.all, *goal.any]) if check.command]
    for command in measured:
        yield f"runs on this machine, to measure the goal: {' '.join(command.run)}"
    shell = playbook.tools.shell
    for name, allowed in shell.allow.items() if shell else ():
        if allowed.effect == "read":
            yield f"runs {_place(allowed)}, unasked: {name} ({_argv(allowed)})"
    process = playbook.tools.process
    for name, server in process.servers.items() if process else ():
        yield f"whether {name} answers: {server.url}"


def _place(command: ShellCommand) -> str:
    return "in pods" if command.in_pod else "on this machine"


def _argv(command: ShellCommand) -> str:
    return " ".join(command.run) + (" ..." if command.extra_arguments else "")


# --- changes --------------------------------------------------------------------------------


def _changes(playbook: Playbook, around: Circumstances) -> list[str]:
    kinds = {*_kinds_of(playbook), *patches.kinds(playbook)}
    lines = [*patches.changes(playbook), *_of_cluster(playbook)]
    if not kinds:
        return lines
    lines += [line for policy in around.policies for line in _narrowed(policy, kinds)]
    return [*lines, *_limits(playbook, around.policies, kinds)]


def _of_cluster(playbook: Playbook) -> list[str]:
    contexts = playbook.scope.contexts
    if _read_only(playbook):
        here = "nothing in the cluster" if patches.kinds(playbook) else "nothing"
        return [f"{here}: it is read-only"]
    pairs = _allowed(playbook)
    lines = [f"{', '.join(same)}: {', '.join(targets)}" for targets, same in pairs.items()]
    lines += _idle(playbook)
    if playbook.steps:
        lines.append("by the steps alone: a model changes nothing")
    if pairs and _kinds_of(playbook) & {*OF_RELEASE} and playbook.scope.namespaces:
        here = ", ".join(playbook.scope.namespaces)
        lines.append(f"a release with objects in other namespaces than {here} is refused")
    lines += [f"only in clusters called {' or '.join(contexts)}"] if contexts and pairs else []
    return lines


def _allowed(playbook: Playbook) -> Pairs:
    """Kinds of change by the targets they can be made on."""
    change = playbook.tools.change
    found: Pairs = {}
    if change is None or _read_only(playbook):
        return found
    for kind in change.allow:
        if targets := tuple(target for target in change.targets if _fits(kind, target)):
            found.setdefault(targets, []).append(kind)
    return found


def _read_only(playbook: Playbook) -> bool:
    change, scope = playbook.tools.change, playbook.scope
    return change is None or scope.cluster == "read-only" or playbook.limits.changes == 0


def _fits(kind: ChangeKind, target: str) -> bool:
    if kind in LOCAL:
        return target.startswith(("Process/", "Command/"))
    if kind in OF_RELEASE:
        return target.startswith("HelmRelease/")
    return is_for(kind, target)


def _kinds_of(playbook: Playbook) -> set[ChangeKind]:
    return {kind for kinds in _allowed(playbook).values() for kind in kinds}


def _idle(playbook: Playbook) -> list[str]:
    """Kinds that are allowed and that nothing comes of."""
    change, known = playbook.tools.change, {*KUBE_KINDS, *LOCAL, *OF_RELEASE}
    unused = [kind for kind in change.allow if kind not in _kinds_of(playbook)] if change else []
    reasons = {
        "not carried out by this version": [kind for kind in unused if kind not in known],
        "no target is of a kind for it": [kind for kind in unused if kind in known],
    }
    return [f"{reason}: {', '.join(kinds)}" for reason, kinds in reasons.items() if kinds]


_WHERE = (
    ("contexts", "in clusters"),
    ("clusters", "in clusters with the id"),
    ("namespaces", "in namespaces"),
)


def _narrowed(policy: Policy, kinds: set[ChangeKind]) -> Iterator[str]:
    """What a policy takes away of the lines above."""
    allow, deny = policy.file.allow, policy.file.deny
    lost = sorted(kind for kind in kinds if _lost(kind, allow, deny))
    if lost:
        yield f"but not {', '.join(lost)}: {policy.source}"
    for selection, verb in ((allow, "only"), (deny, "never")):
        for key, words in _WHERE if kinds - {*IN_GIT} else ():
            if entries := getattr(selection, key):
                yield f"{verb} {words} {', '.join(entries)}: {policy.source}"
        if selection.targets:
            yield f"{verb} {', '.join(selection.targets)}: {policy.source}"


def _lost(kind: ChangeKind, allow: Selection, deny: Selection) -> bool:
    return kind in deny.changes or bool(allow.changes) and kind not in allow.changes


def _limits(
    playbook: Playbook, policies: Sequence[Policy], kinds: set[ChangeKind]
) -> Iterator[str]:
    limits = playbook.limits
    bounds = [(policy.file.limits, policy.source) for policy in policies]
    if kinds - {*IN_GIT}:
        most, by = _least(limits.changes, [(each.changes, source) for each, source in bounds])
        release = ", a release counting as one" if kinds & {*OF_RELEASE} else ""
        yield f"at most {count(int(most), 'object')} in a run{by}{release}"
    if kinds & SCALES:
        factors = [(each.replicas.max_factor, source) for each, source in bounds]
        factor, by = _least(limits.replicas.max_factor, factors)
        most, also = _least(limits.replicas.max, [(b.replicas.max, source) for b, source in bounds])
        yield f"replicas: at most {most:g}{also}, at most {factor:g} times as many{by}, never 0"
    if kinds & AMOUNTS:
        factors = [(each.max_factor, source) for each, source in bounds]
        factor, by = _least(limits.max_factor, factors)
        yield f"any other number: at most {factor:g} times as much or as little{by}"
    for rate, source in ((limits.rate, ""), *((each.rate, source) for each, source in bounds)):
        if rate:
            by = f": {source}" if source else ""
            yield f"at most {count(rate.changes, 'change')} in {rate.per}, over all runs{by}"
    if ChangeKind.DELETE_OBJECT in kinds:
        never = [*limits.never_delete, *(n for each, _ in bounds for n in each.never_delete)]
        yield f"never deleted: {', '.join(dict.fromkeys(never))}"
    if playbook.tools.change and playbook.tools.change.values:
        values = ", ".join(playbook.tools.change.values)
        yield f"values: those the cluster's objects have, and {values}"


def _least(own: float, others: Iterable[tuple[float | None, str]]) -> tuple[float, str]:
    """The tightest bound, and which policy it is of where it is not the playbook's."""
    least, by = own, ""
    for bound, source in others:
        if bound is not None and bound < least:
            least, by = bound, f" (not {own:g}: {source})"
    return least, by


# --- who decides, and what then -------------------------------------------------------------


def _asks(playbook: Playbook, around: Circumstances) -> list[str]:
    pairs, in_git = _allowed(playbook), patches.kinds(playbook)
    if not pairs and not in_git:
        return ["nobody: there is nothing to ask for"]
    approval, by = _approval(playbook, around)
    if approval == "never":
        return [f"nothing: every change is refused{by}"]
    lines = _asks_for_changes(playbook, around) if pairs else []
    if in_git:
        *first, last = patches.asks(playbook, approval, by)
        lines += [*first, last if last.startswith("nobody") else f"{last}; {UNANSWERED}"]
    lines.append(_over_a_limit(around))
    if not _kinds_of(playbook) - {*LOCAL}:
        return lines
    managed, source = _managed(playbook, around)
    helm = "" if _kinds_of(playbook) <= {*LOCAL, *OF_RELEASE} else "Helm, "
    if managed == "pr":
        lines.append(f"what {helm}Argo CD, Flux or an operator manages is not changed{source}")
    elif managed == "warn":
        lines.append(f"what {helm}Argo CD, Flux or an operator manages: you, with a warning")
    return lines


def _asks_for_changes(playbook: Playbook, around: Circumstances) -> list[str]:
    approval, by = _approval(playbook, around)
    if approval == "ask":
        return [f"you, for every change, with its diff and its undo{by}; {UNANSWERED}"]
    if playbook.steps:
        return [*upgrades.asks(playbook, UNANSWERED)]
    unsafe = ", ".join(_needs_yes(playbook, around))
    asked = [f"you, for what cannot be undone: {unsafe}; {UNANSWERED}"] if unsafe else []
    return [f"nobody{upgrades.pinned(playbook)}", *asked]


def _over_a_limit(around: Circumstances) -> str:
    refused = "what goes over a limit is refused"
    for policy in around.policies:
        if not policy.file.break_glass:
            return f"{refused}, with --break-glass too ({policy.source})"
    return f"{refused}; --break-glass REASON lifts a limit once, and is recorded"


def _approval(playbook: Playbook, around: Circumstances) -> tuple[str, str]:
    """The strictest, and which policy it is of where it is not the playbook's."""
    found, by = playbook.approval, ""
    for policy in around.policies:
        wanted = policy.file.approval
        if wanted and STRICT.index(wanted) > STRICT.index(found):
            found, by = wanted, f" ({policy.source})"
    return found, by


def _managed(playbook: Playbook, around: Circumstances) -> tuple[str, str]:
    found, by = playbook.on_managed, ""
    for policy in around.policies:
        wanted = policy.file.on_managed
        if wanted and HARD.index(wanted) > HARD.index(found):
            found, by = wanted, f" ({policy.source})"
    return found, by


def _needs_yes(playbook: Playbook, around: Circumstances) -> list[ChangeKind]:
    """Of the kinds without an inverse those that `auto` does not cover."""
    lists = [policy.file.allow_without_undo for policy in around.policies]
    free = set(playbook.allow_without_undo).intersection(*(x for x in lists if x is not None))
    return [kind for kind in _without_undo(playbook) if kind not in free]


def _without_undo(playbook: Playbook) -> list[ChangeKind]:
    return [kind for kind in NO_UNDO if kind in _kinds_of(playbook)]


def _failure(playbook: Playbook, around: Circumstances) -> list[str]:
    pairs, in_git = _allowed(playbook), patches.kinds(playbook)
    if not (pairs or in_git) or _approval(playbook, around)[0] == "never":
        return ["a report; there is nothing to undo"]
    if playbook.steps:
        return [*upgrades.failure(playbook)]
    kinds = _without_undo(playbook)
    none = [f"has no undo: {', '.join(kinds)}"] if kinds else []
    lines = [patches.failure(playbook)] if in_git else []
    if pairs and playbook.on_failure in ("undo", "rollback"):
        lines.append(
            "changes are undone, newest first, each is verified, and the goal is measured again"
        )
        none = [f"{line}; after one of these it ends with exit 5" for line in none]
    elif pairs:
        lines.append("changes stay; the report says how to take each back")
    return [*lines, *none]


def worst_case(playbook: Playbook, policies: Iterable[Policy] = ()) -> WorstCase:
    limits = playbook.limits
    bounds = [float(bound) for bound in (limits.wall, playbook.goal.within) if bound]
    bounds_of = [policy.file.limits for policy in policies]
    objects, _ = _least(limits.changes, [(each.changes, "") for each in bounds_of])
    cost, _ = _least(limits.cost, [(each.cost, "") for each in bounds_of])
    seconds = upgrades.times(playbook).all if playbook.steps else min(bounds, default=None)
    return WorstCase(
        turns=0 if playbook.steps else limits.max_steps,
        seconds=seconds,
        cost=float(cost),
        changes=int(objects) if _allowed(playbook) else 0,
        files=limits.files if patches.kinds(playbook) else 0,
    )


def _at_most(playbook: Playbook, worst: WorstCase, around: Circumstances) -> list[str]:
    if playbook.steps:
        each = " in each cluster" if playbook.matrix else ""
        return [*upgrades.at_most(playbook), f"{count(worst.changes, 'object')} changed{each}"]
    limits, within = playbook.limits, playbook.goal.within
    bounds = [bound for bound in (limits.wall, within) if bound]
    long = f"{min(bounds)}, waiting for answers not counted" if bounds else "no deadline"
    objects = [count(worst.changes, "object")] if worst.changes or not worst.files else []
    files = [count(worst.files, "file")] if worst.files else []
    changed = f"{', '.join([*objects, *files])} changed"
    all_of_it = [f"{count(worst.turns, 'turn')} · {long} · {changed}"]
    return [*all_of_it, _budget(limits, worst)] if _asked(around) else all_of_it


def _budget(limits: Limits, worst: WorstCase) -> str:
    """What models may use, and what becomes of the run when it is used up."""
    tokens = [f"{limits.tokens:,} tokens"] if limits.tokens else []
    calls = [f"{limits.calls} calls"] if limits.calls else []
    then = "the built-in expert goes on"
    if limits.over_budget == "stop":
        then = "the run ends (exit 6)"
    most = ", ".join([str(Money(worst.cost)), *tokens, *calls])
    return f"{most} for models; after that {then}"


def _asked(around: Circumstances) -> list[str]:
    """The models that something is sent to."""
    return [name for name in around.models if name != "expert"]


def _sent(playbook: Playbook, around: Circumstances) -> list[str]:
    asked, lines = _asked(around), []
    if patches.kinds(playbook):
        lines.append("to the repository's remote and its forge: commits, pull request")
    lines += [f"REFUSED, the run does not begin: {why}" for why in around.forbidden]
    if asked:
        masked = ", ".join(("secrets", *personal_data(playbook, around.policies)))
        told, when = "the goal, the first card and what tools return", ""
        if playbook.steps:
            told, when = "what broke, and its evidence", ", to explain a failure and nothing else"
        if playbook.edits:
            told, when = "the goal and what tools return", ", where the edits do not suffice"
        lines.append(f"to {', then '.join(asked)}{when}: {told}; masked in it: {masked}")
    elif not lines:
        who = "code" if playbook.steps else "the built-in expert"
        lines.append(f"nothing: {who} decides, on this machine")
    if playbook.secrets:
        lines.append(f"for tools, never sent to a model: {', '.join(playbook.secrets)}")
    return lines


def _not_yet(read: RunPlan) -> list[str]:
    parts = ", ".join(part.partition(" (")[0] for part in read.unsupported)
    return [f"this version does not run it, for these parts: {parts}"] if parts else []


# --- when -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calendar:
    """Windows and freezes of the playbook (source "") or of one policy; all of them count."""

    windows: Sequence[Window]
    freezes: Sequence[Freeze]
    source: str = ""

    @property
    def by(self) -> str:
        return f": {self.source}" if self.source else ""


def _calendars(playbook: Playbook, around: Circumstances) -> list[Calendar]:
    limits = playbook.limits
    others = [(policy.file.limits, policy.source) for policy in around.policies]
    return [
        Calendar(limits.windows, limits.freezes),
        *(Calendar(bounds.windows, bounds.freezes, source) for bounds, source in others),
    ]


def _now(playbook: Playbook, around: Circumstances) -> list[str]:
    calendars = _calendars(playbook, around)
    if not any(each.windows or each.freezes for each in calendars):
        return []
    lines = []
    if patches.kinds(playbook):
        lines.append("windows and freezes hold no pull request back: whoever merges decides when")
    if not _allowed(playbook):
        return lines
    for each in calendars:
        if each.windows:
            lines.append(f"changes only {' or '.join(map(spoken, each.windows))}{each.by}")
        for freeze in each.freezes:
            reason = f" ({freeze.reason})" if freeze.reason else ""
            lines.append(f"none from {freeze.from_} to {freeze.to}{reason}{each.by}")
    why = _refused_now(playbook, around)
    lines.append(f"refused now: {why}" if why else "allowed now")
    when = turning_point(calendars, around.now)
    if when is not None:
        verb = "they end" if _closed(calendars, around.now) == "" else "they begin"
        left = span((when - around.now).total_seconds())
        lines.append(f"{verb} {when:%a %Y-%m-%d %H:%M %Z}, in {left}")
    return lines


def _refused_now(playbook: Playbook, around: Circumstances) -> str:
    pairs = _allowed(playbook)
    if not pairs and not patches.kinds(playbook):
        return "there is nothing to change"
    approval, by = _approval(playbook, around)
    if approval == "never":
        return f"approval: never{by}"
    return _closed(_calendars(playbook, around), around.now) if pairs else ""


def _closed(calendars: Iterable[Calendar], now: datetime) -> str:
    reasons = (
        f"{why}{each.by}" for each in calendars if (why := closed(each.windows, each.freezes, now))
    )
    return next(reasons, "")


def turning_point(calendars: Sequence[Calendar], now: datetime) -> datetime | None:
    """When changes begin to be allowed, or cease to be, next; None: as far as is known, never."""
    moments = [moment for each in calendars for moment in _moments(each, now)]
    shut = bool(_closed(calendars, now))
    later = sorted(moment for moment in moments if moment > now)
    return next((moment for moment in later if bool(_closed(calendars, moment)) != shut), None)


def _moments(calendar: Calendar, now: datetime) -> Iterator[datetime]:
    """Each at which one opens or closes, in the week after now and after each freeze."""
    frozen = [moment(freeze.from_) for freeze in calendar.freezes]
    frozen += [moment(freeze.to, end=True) for freeze in calendar.freezes]
    yield from frozen
    for window in calendar.windows:
        for base in (now, *frozen):
            midnight = datetime.combine(
                base.astimezone(zone(window.timezone)).date(), time(), zone(window.timezone)
            )
            for day in range(-1, 9):
                for text in (window.from_, window.to):
                    yield midnight + timedelta(days=day, minutes=minutes(text))
